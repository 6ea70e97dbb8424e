"""Many TCP sockets in the network namespace of this process: connections over loopback, in several processes.

python bench/tcp_sockets.py 100000       prints "ready COUNT" when they stand, and holds them until standard input ends
"""

import os
import socket
import sys

PER_PROCESS = 19_900  # below a hard limit of 20,000 descriptors


def hold(count: int, number: int, ready: int, stop: int) -> None:
    """Make one listener and `count - 1` ends of connections, say so, and wait until every writer of `stop` is gone."""
    import resource

    soft = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = socket.socket()
    server.bind((f"127.0.{number}.1", 8000 + number))
    server.listen(1024)
    kept = []
    for _ in range((count - 1) // 2):
        client = socket.socket()
        client.bind((f"127.1.{number}.1", 0))
        client.connect(server.getsockname())
        kept.append((client, server.accept()[0]))
    os.write(ready, b"x")
    os.read(stop, 1)


def make(count: int) -> tuple[int, list[int]]:
    """Fork the holders: the descriptor whose closing ends them, and their pids."""
    ready_reader, ready = os.pipe()
    stop, stop_writer = os.pipe()
    pids = []
    number = 0
    while count > 1:
        share = min(count, PER_PROCESS)
        count -= share
        number += 1
        pid = os.fork()
        if pid == 0:
            os.close(stop_writer)
            try:
                hold(share, number, ready, stop)
            except OSError as error:
                print(f"tcp_sockets: {error}", file=sys.stderr)
                os.write(ready, b"!")
            os._exit(0)
        pids.append(pid)
    os.close(ready)
    left = len(pids)
    while left:
        got = os.read(ready_reader, left)
        if not got or b"!" in got:
            raise SystemExit("a process could not make its sockets: is the limit of descriptors below 20,000, or the namespace in use?")
        left -= len(got)
    os.close(ready_reader)
    return stop_writer, pids


def main() -> None:
    """Make them, say so, wait."""
    stop_writer, pids = make(int(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.read()
    os.close(stop_writer)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
