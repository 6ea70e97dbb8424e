"""One connection full of data: the twin beside Linux's loopback, from Python, 64 KiB per call.

python bench/bench_bulk.py [--json] [--record]"""

import json
import sys

from twin_calls import LinuxCalls, TwinCalls, transfer
from twin_kit import builds, cpu_seconds, finish, row, worker

CHUNKS = {"pure": 500, "compiled": 4000}
TARGET = {("pure", 65536): 2000, ("compiled", 65536): 4000, ("pure", 1500): 200, ("compiled", 1500): 450}


def megabytes(chunks: int, seconds: float) -> float:
    """Return MB/s."""
    return chunks * 65536 / seconds / 1e6


def main() -> None:
    """Measure and print."""
    if "--worker" in sys.argv:
        mtu, chunks = int(sys.argv[-2]), int(sys.argv[-1])
        print(json.dumps({"megabytes": megabytes(chunks, cpu_seconds(lambda: transfer(TwinCalls(mtu), chunks)))}))
        return
    linux = LinuxCalls()
    peer = megabytes(4000, cpu_seconds(lambda: transfer(linux, 4000)))
    rows = []
    for mtu, name in ((65536, "bulk, 64 KiB segments"), (1500, "bulk, MSS 1448")):
        for build in builds():
            figure = worker(__file__, build, str(mtu), str(CHUNKS[build]))["megabytes"]
            rows.append(row(name, build, figure, peer, "Linux from Python", "MB/s", TARGET[build, mtu]))
    finish(rows)


if __name__ == "__main__":
    main()
