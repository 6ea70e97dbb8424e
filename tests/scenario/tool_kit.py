"""What the scenarios of the tools share: a command run in this process, its JSON, raw segments, other users."""

import contextlib
import io
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from twinsock.ui import cli

LOOPBACK = "127.0.0.1"
NOBODY = 65534
RST, SYN = 4, 2
SYN_SENT = 2


def tool(*argv: str) -> dict[str, Any]:
    """Run `twinsock COMMAND ... --json`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([*argv, "--json"])
    assert out.getvalue(), err.getvalue()
    answer: dict[str, Any] = json.loads(out.getvalue())
    assert answer["exit_code"] == code
    assert answer["schema"] == f"twinsock.{argv[0]}/1"
    return answer


def tool_text(*argv: str) -> tuple[int, str, str]:
    """Run a command as text: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(argv))
    return code, out.getvalue(), err.getvalue()


def here() -> str:
    """Name this process's namespace for --netns."""
    return str(os.getpid())


def listening(backlog: int, *options: int, address: tuple[str, int] = (LOOPBACK, 0)) -> socket.socket:
    """Make a TCP listener with SOL_SOCKET options set to 1."""
    sock = socket.socket()
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(address)
    sock.listen(backlog)
    return sock


def until(settled: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Wait until a condition holds; False if it does not within the limit, so that the test can show what it found."""
    end = time.monotonic() + limit_s
    pause = 0.002
    while not settled():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.2)
    return True


def drain_loopback() -> None:
    """Return when every segment sent over `lo` so far, and two rounds of answers to it, have been received.

    Each CPU keeps what was sent over `lo` in one queue, in order, which a busy machine may leave to a kernel thread: a
    datagram that comes back shows that everything before it was taken from that queue.
    """
    cpus = os.sched_getaffinity(0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.settimeout(10)
        try:
            for _ in range(3):
                for cpu in cpus:
                    os.sched_setaffinity(0, {cpu})
                    sock.sendto(b"x", sock.getsockname())
                    sock.recv(1)
        finally:
            os.sched_setaffinity(0, cpus)


def connecting(server: socket.socket, count: int) -> list[socket.socket]:
    """Begin connections, and return when the kernel has answered them, or has dropped them."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        clients.append(client)
    drain_loopback()
    return clients


def give_up(clients: list[socket.socket]) -> None:
    """Close the clients that got no answer to their SYN, so that they do not send it again."""
    for client in clients:
        if client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == SYN_SENT:
            client.close()


def send_segment(port: int, flags: int) -> None:
    """Send a bare TCP segment to a local port (root)."""
    header = struct.pack("!HHIIBBHHH", 5555, port, 1000, 0, 0x50, flags, 1000, 0, 0)
    pseudo = socket.inet_aton(LOOPBACK) * 2 + struct.pack("!BBH", 0, 6, len(header))
    total = sum(struct.unpack("!16H", pseudo + header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:16] + struct.pack("!H", ~total & 0xFFFF) + header[18:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(header, (LOOPBACK, 0))


def become_nobody() -> None:
    """Give up every privilege."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def write(path: str, text: str) -> None:
    """Set a sysctl."""
    with open(path, "w") as file:
        file.write(text)


@contextlib.contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """Run `work` in a child that then sleeps; yield its pid when the work is done, and end it afterwards."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        kept = work()
        os.write(writer, b"x")  # and keep it open: a child at its descriptor limit stays there
        while kept is not reader:
            time.sleep(60)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
