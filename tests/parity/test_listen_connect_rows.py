"""Rows of the sheets on listen, accept, connect and close that a program over loopback can ask, one after the other."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_tcp_programs import bits, pair, reset, settle, so_error

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
UNSPEC = bytes(16)
INHERITED = (
    *((1, 2), (1, 15), (1, 9), (1, 10), (1, 7), (1, 8), (1, 18), (1, 36), (1, 60), (1, 5), (1, 29), (1, 12), (0, 2), (0, 1), (0, 11)),
    *((6, 1), (6, 3), (6, 4), (6, 5), (6, 6), (6, 18), (6, 8), (6, 7), (6, 25), (6, 9), (6, 2)),
)


def queue(sock: Any) -> tuple[int, ...]:
    """Return a listener's (children that wait, limit)."""
    return struct.unpack_from("=2I", sock.getsockopt(6, 11, 232), 24)


def opening(env: Any) -> tuple[Any, Any, Any]:
    """Return a listener whose queue is full, its client, and a socket in SYN_SENT."""
    server = env.socket.socket()
    server.bind((LO, 0))
    server.listen(0)
    first, second = env.socket.socket(), env.socket.socket()
    first.connect(server.getsockname())
    second.setblocking(False)
    attempt(second.connect, server.getsockname())
    return server, first, second


def limits_of_listeners(env: Any) -> Any:
    out: list[Any] = []
    sock = env.socket.socket()
    for backlog in (-1, -5, -(2**31), 2**31 - 1, 0, 3, 5000):
        out.append((backlog, env.sys.listen(sock.fileno(), backlog), queue(sock)))
    out += [env.sysctl("core/somaxconn", text) for text in ("-1", "2147483648", "2147483647", "0", "10")]
    out += [queue(sock), env.sys.listen(sock.fileno(), 50), queue(sock)]
    client = env.socket.socket()
    client.connect((LO, sock.getsockname()[1]))
    return [*out, queue(sock), [line.split()[1:6] for line in env.proc("tcp").splitlines()[1:] if line.split()[3] == "0A"] != []]


def listening_in_each_state(env: Any) -> Any:
    s = env.socket
    out: list[Any] = [attempt(s.socket(s.AF_INET, s.SOCK_DGRAM).listen, 1)]
    server, a, b = pair(env)
    out += [attempt(a.listen, 1), attempt(b.listen, 1)]
    a.shutdown(1)
    settle(env)
    out += [attempt(a.listen, 1), attempt(b.listen, 1)]
    _full, _first, second = opening(env)
    out += [attempt(second.listen, 1), attempt(second.shutdown, 2), attempt(second.listen, 1), second.getsockname()[0]]
    name = server.getsockname()
    out += [attempt(server.connect, name), attempt(server.bind, name), attempt(server.recv, 1), attempt(server.send, b"x")]
    out += [attempt(env.fcntl.ioctl, server, number, bytes(4)) for number in (0x541B, 0x5411, 0x8905)]
    waiting = s.socket()
    waiting.connect(name)
    out += [attempt(server.shutdown, 1), bits(env, server), attempt(server.shutdown, 0), attempt(waiting.recv, 1)]
    out += [server.getsockname() == name, attempt(server.accept), attempt(server.shutdown, 0), attempt(server.listen, 1)]
    again = s.socket()
    again.connect(server.getsockname())
    out += [env.sys.connect(server.fileno(), UNSPEC, 16), attempt(again.recv, 1), attempt(server.accept), server.getsockname()[0]]
    fresh = s.socket()
    fresh.listen(1)
    return [*out, fresh.getsockname()[0], attempt(fresh.shutdown, 2), fresh.getsockname()[0]]


def what_a_child_inherits(env: Any) -> Any:
    server = env.socket.socket()
    for level, name in INHERITED:
        if (level, name) != (1, 18):
            attempt(server.setsockopt, level, name, {7: 20000, 8: 30000}.get(name, 5) if level == 1 else {2: 500}.get(name, 1))
    server.setsockopt(0, 2, 77)
    server.setsockopt(6, 13, b"reno")
    server.setsockopt(1, 13, struct.pack("ii", 1, 9))
    server.setsockopt(1, 20, struct.pack("ll", 7, 0))
    server.setsockopt(6, 9, 0)
    server.bind((LO, 0))
    server.listen(5)
    client = env.socket.socket()
    client.connect(server.getsockname())
    server.setblocking(False)
    child = server.accept()[0]
    out: list[Any] = [(level, name, attempt(child.getsockopt, level, name)) for level, name in INHERITED]
    out += [child.getsockopt(1, 13, 8), child.getsockopt(1, 20, 16), child.getsockopt(6, 13, 16)]
    return [*out, env.fcntl.fcntl(child.fileno(), 3) & 0o4000]


def children_that_end_while_waiting(env: Any) -> Any:
    server = env.socket.socket()
    server.bind((LO, 0))
    server.listen(5)
    first, second, third = (env.socket.socket() for _ in range(3))
    for client in (first, second, third):
        client.connect(server.getsockname())
    second.send(b"data")
    second.shutdown(1)
    reset(env, first)
    out: list[Any] = []
    for _ in range(2):
        child, peer = server.accept()
        out += [
            peer[0],
            attempt(child.getpeername),
            so_error(env, child),
            attempt(child.recv, 10),
            attempt(child.recv, 10),
            bits(env, child),
        ]
    server.close()
    settle(env)
    return [*out, attempt(third.recv, 1), attempt(env.socket.socket(2, 2).accept), attempt(env.socket.socket().accept)]


def order_of_connect(env: Any) -> Any:
    good = b"\2\0\0\x09\x7f\0\0\1" + bytes(8)
    out: list[Any] = []
    for state in ("fresh", "connected", "listening", "opening"):
        for addr, length in ((good, 1), (UNSPEC, 1), (good, 15), (b"\x0a\0" + good[2:], 16), (b"\1\0" + good[2:], 16), (good, 129)):
            if state == "opening":
                keep = opening(env)
                sock = keep[2]
            elif state == "connected":
                keep = pair(env)
                sock = keep[1]
            else:
                sock = env.socket.socket()
                if state == "listening":
                    sock.listen(1)
            out.append((state, length, env.sys.connect(sock.fileno(), addr, length)))
    for host in ("224.0.0.5", "255.255.255.255", "127.255.255.255", "10.1.2.3", "0.0.0.0", "240.0.0.1"):
        out.append((host, attempt(env.socket.socket().connect, (host, 9))))
    out.append(attempt(env.socket.socket().connect, (LO, 0)))
    server, a, _b = pair(env)
    same = env.socket.socket()
    same.setsockopt(1, 2, 1)
    return [*out, attempt(a.connect, server.getsockname()), attempt(same.connect, server.getsockname())]


def connecting_again(env: Any) -> Any:
    out: list[Any] = []
    server, _first, second = opening(env)
    name = server.getsockname()
    out += [
        attempt(second.connect, name),
        bits(env, second),
        attempt(second.getpeername),
        attempt(second.send, b"x"),
        attempt(second.recv, 1),
    ]
    out += [env.sys.connect(second.fileno(), UNSPEC, 16), so_error(env, second), bits(env, second)]
    gone = env.socket.socket()
    gone.bind((LO, 0))
    closed = gone.getsockname()
    gone.close()
    for read in (0, 2):
        sock = env.socket.socket()
        sock.setblocking(False)
        out.append(attempt(sock.connect, closed))
        settle(env)
        out += [so_error(env, sock) for _ in range(read)] + [attempt(sock.connect, closed)]
        out += [attempt(sock.connect, closed), sock.getsockname()[0]]
    listener, _a, _b = pair(env)
    sock = env.socket.socket()
    sock.setblocking(False)
    out += [attempt(sock.connect, listener.getsockname()) for _ in range(3)]
    bound = env.socket.socket()
    bound.bind((LO, 0))
    mine = bound.getsockname()
    out += [attempt(bound.connect, closed), bound.getsockname() == mine, attempt(bound.connect, listener.getsockname())]
    return [*out, bound.getsockname() == mine]


def disconnecting(env: Any) -> Any:
    fresh = env.socket.socket()
    out: list[Any] = [env.sys.connect(fresh.fileno(), UNSPEC, 16)]
    for state in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT2"):
        server, a, b = pair(env)
        if state != "ESTABLISHED":
            (b if state == "CLOSE_WAIT" else a).shutdown(1)
            settle(env)
        out += [state, env.sys.connect(a.fileno(), UNSPEC, 16), bits(env, a), attempt(a.recv, 1), attempt(a.recv, 1)]
        settle(env)
        out += [attempt(b.recv, 1), attempt(a.connect, server.getsockname())]
    return out


def shutting_down(env: Any) -> Any:
    out: list[Any] = []
    for how in (0, 1, 2, 3, -1):
        fresh = env.socket.socket()
        _server, _first, second = opening(env)
        _server2, a, b = pair(env)
        out += [how, attempt(fresh.shutdown, how), bits(env, fresh), attempt(second.shutdown, how), so_error(env, second)]
        out += [attempt(a.shutdown, how), attempt(a.shutdown, how), attempt(a.send, b"x"), bits(env, a)]
        settle(env)
        out += [attempt(b.send, b"later"), bits(env, b)]
        settle(env)
        a.setblocking(False)
        out += [attempt(a.recv, 10), attempt(a.recv, 10), bits(env, b)]
    return out


def to_itself(env: Any) -> Any:
    sock = env.socket.socket()
    sock.bind((LO, 0))
    before = env.proc("sockstat").splitlines()[1]
    out: list[Any] = [attempt(sock.connect, sock.getsockname()), sock.getsockname() == sock.getpeername(), sock.send(b"echo"), sock.recv(9)]
    out += [before.split()[2], env.proc("sockstat").splitlines()[1].split()[2], env.proc("tcp").count("\n")]
    out += [attempt(sock.shutdown, 1), bits(env, sock), attempt(sock.getpeername)]
    return [*out, [line.split()[3] for line in env.proc("tcp").splitlines()[1:]]]


PROGRAMS = [
    *(limits_of_listeners, listening_in_each_state, what_a_child_inherits, children_that_end_while_waiting, order_of_connect),
    *(connecting_again, disconnecting, shutting_down, to_itself),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_listening_and_connecting_do_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
