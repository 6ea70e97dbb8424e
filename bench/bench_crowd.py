"""How cost grows with the number of established connections: time to make one more, and memory of an idle one (both ends).

    python bench/bench_crowd.py [--json] [--record] [COUNT]      COUNT connections at most, 10,000 unless said otherwise

Linux's peer figure is the memory that its slabs give a TCP socket: sk_mem is not counted, struct sizes of /proc/slabinfo are."""

import gc
import json
import resource
import sys
import time

from twin_calls import TwinCalls
from twin_kit import builds, finish, row, worker

PER_HOST = 10_000  # clients per local address: bind(2) searches long once half of the range of ports is gone, as on Linux
LINUX_BYTES = 2 * (2560 + 832 + 256 + 192)  # both ends: TCP, sock_inode_cache, filp, dentry


def resident_bytes() -> int:
    """Return the memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def crowd(count: int) -> dict[str, float]:
    """Hold up to `count` connections: microseconds each at 1, 10, ... and bytes per connection."""
    env = TwinCalls()
    server = env.server()
    gc.collect()
    gc.freeze()
    before = resident_bytes()
    found: dict[str, float] = {}
    held = 0
    step = 1
    while step <= count:
        start, first = time.process_time(), held
        while held < step:
            env.connection(server, 2 + held // PER_HOST)
            held += 1
        found[str(step)] = (time.process_time() - start) / max(held - first, 1) * 1e6
        step *= 10
    gc.collect()
    found["bytes"] = (resident_bytes() - before) / held
    return found


def main() -> None:
    """Measure and print."""
    if "--worker" in sys.argv:
        print(json.dumps(crowd(int(sys.argv[-1]))))
        return
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    count = numbers[0] if numbers else 10_000
    rows = []
    for build in builds():
        found = worker(__file__, build, str(count))
        each = found.pop("bytes")
        rows.append(
            row(
                f"bytes of an idle connection of {max(map(int, found))}",
                build,
                each,
                each**2 / LINUX_BYTES,
                "ours over Linux",
                "bytes",
                4096,
            )
        )
        for step, cost in found.items():
            rows.append(row(f"connection {step}", build, 1e6 / cost, 1e6 / found["10"], "the tenth", "/s"))
    finish(rows)


if __name__ == "__main__":
    main()
