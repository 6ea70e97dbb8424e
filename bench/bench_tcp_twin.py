"""TCP of the twin beside Linux's loopback, both driven by blocking calls of Python in this process and run one after the other.

    python bench/bench_tcp_twin.py [--connections 10000] [--megabytes 64]

prints connections per second (connect, accept), megabytes per second of one connection and, for the twin, the memory of an idle
connection: both ends, with descriptors and files."""

import argparse
import gc
import resource
import socket
import sys
import time

from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.kernel.net.core.net_namespace import copy_net_ns
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.facade_sys import TwinSys
from twinsock.uapi.resource import RLIMIT_NOFILE

CHUNK = 65536
BACKLOG = 4096


def twin() -> TwinEnv:
    """Boot a host with loopback."""
    kernel = start_kernel(1)
    net = copy_net_ns(kernel.tasks[0])
    net_init_loopback(net)
    return TwinEnv(kernel, net)


def resident_bytes() -> int:
    """Return the memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def connect_many(module: object, count: int, addresses: int = 1) -> tuple[float, list[object]]:
    """Make `count` connections to one listener: (seconds, every socket)."""
    server = module.socket()  # type: ignore[attr-defined]
    server.bind(("127.0.0.1", 0))
    server.listen(BACKLOG)
    name = server.getsockname()
    kept = [server]
    start = time.perf_counter()
    for number in range(count):
        client = module.socket()  # type: ignore[attr-defined]
        if addresses > 1:
            client.bind((f"127.0.1.{number % addresses + 1}", 0))
        client.connect(name)
        kept += [client, server.accept()[0]]
    return time.perf_counter() - start, kept


def transfer(module: object, size: int) -> float:
    """Send `size` bytes through one connection, 64 KiB at a time, and read them: seconds."""
    _, (server, client, peer) = connect_many(module, 1)
    data = bytes(CHUNK)
    start = time.perf_counter()
    for _ in range(size // CHUNK):
        client.sendall(data)  # type: ignore[attr-defined]
        left = CHUNK
        while left:
            left -= len(peer.recv(left))  # type: ignore[attr-defined]
    seconds = time.perf_counter() - start
    for sock in (client, peer, server):
        sock.close()  # type: ignore[attr-defined]
    return seconds


def on_twin(connections: int, size: int) -> tuple[float, float, float]:
    """Return (seconds to connect, bytes per connection, seconds to transfer)."""
    env = twin()
    TwinSys(env).set_nofile(1 << 20)
    assert env.task.rlim_cur[RLIMIT_NOFILE] == 1 << 20
    gc.collect()
    before = resident_bytes()

    def program(env: TwinEnv) -> tuple[float, float, float]:
        connecting, kept = connect_many(env.socket, connections)
        gc.collect()
        each = (resident_bytes() - before) / connections
        moving = transfer(env.socket, size)
        for sock in kept:
            sock.close()  # type: ignore[attr-defined]
        return connecting, each, moving

    result = env.run(program)
    assert isinstance(result, tuple)
    return result


def on_linux(connections: int, size: int) -> tuple[int, float, float]:
    """Return (connections made, seconds to connect, seconds to transfer): no more connections than descriptors allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    made = min(connections, (min(hard, 1 << 20) - 100) // 2)
    connecting, kept = connect_many(socket, made, 16)
    for sock in kept:
        sock.close()  # type: ignore[attr-defined]
    moving = transfer(socket, size)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return made, connecting, moving


def main() -> int:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000, help="held at once, at least 1")
    parser.add_argument("--megabytes", type=int, default=64, help="through one connection, at least 1")
    args = parser.parse_args()
    if args.connections < 1 or args.megabytes < 1:
        parser.error("both numbers must be at least 1")
    size = args.megabytes << 20
    connecting, each, moving = on_twin(args.connections, size)
    made, live_connecting, live_moving = on_linux(args.connections, size)
    rate, live_rate = args.connections / connecting, made / live_connecting
    speed, live_speed = size / moving / 1e6, size / live_moving / 1e6
    print(f"connections/s   twin {rate:10.0f} ({args.connections})   Linux {live_rate:10.0f} ({made})   ratio {rate / live_rate:.4f}")
    print(f"MB/s            twin {speed:10.1f}   Linux {live_speed:10.1f}   ratio {speed / live_speed:.4f}")
    print(f"idle connection twin {each:10.0f} bytes, both ends")
    return 0


if __name__ == "__main__":
    sys.exit(main())
