"""TCP sockets over loopback as programs see them: poll bits in every state, receive flags, urgent data, zero-copy, errors once."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = [pytest.mark.root]

EVERY = 0x1 | 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000
TCP = 6


def bits(env: Any, sock: Any) -> str:
    """Return the poll bits of a socket in hexadecimal."""
    poller = env.select.poll()
    poller.register(sock.fileno(), EVERY)
    found = poller.poll(0)
    return hex(found[0][1]) if found else "0"


def settle(env: Any) -> None:
    env.yield_now()


def pair(env: Any, setup: Any = None) -> tuple[Any, Any, Any]:
    """Return a listener and the two ends of a connection."""
    server = env.socket.socket()
    if setup is not None:
        setup(server)
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    client = env.socket.socket()
    if setup is not None:
        setup(client)
    client.connect(server.getsockname())
    child, _ = server.accept()
    return server, client, child


def reset(env: Any, sock: Any) -> None:
    """Close with a RST."""
    sock.setsockopt(env.socket.SOL_SOCKET, env.socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    settle(env)


def so_error(env: Any, sock: Any) -> int:
    return int(sock.getsockopt(env.socket.SOL_SOCKET, env.socket.SO_ERROR))


def poll_without_connection(env: Any) -> Any:
    sock = env.socket.socket()
    out = [bits(env, sock)]
    sock.bind(("127.0.0.1", 0))
    out.append(bits(env, sock))
    sock.listen(5)
    out.append(bits(env, sock))
    client = env.socket.socket()
    client.connect(sock.getsockname())
    out.append(bits(env, sock))
    reset(env, client)
    out.append(bits(env, sock))
    child, _ = sock.accept()
    out += [bits(env, child), bits(env, sock)]
    sock.shutdown(2)
    out.append(bits(env, sock))
    return out


def poll_of_a_refused_connect(env: Any) -> Any:
    gone = env.socket.socket()
    gone.bind(("127.0.0.1", 0))
    port = gone.getsockname()[1]
    gone.close()
    out: list[Any] = []
    sock = env.socket.socket()
    sock.setblocking(False)
    out.append(attempt(sock.connect, ("127.0.0.1", port)))
    settle(env)
    out += [bits(env, sock), so_error(env, sock), bits(env, sock)]
    blocking = env.socket.socket()
    out += [attempt(blocking.connect, ("127.0.0.1", port)), bits(env, blocking)]
    return out


def poll_through_a_connection(env: Any) -> Any:
    _server, a, b = pair(env)
    out = [bits(env, a), bits(env, b)]
    a.send(b"12345")
    out.append(bits(env, b))
    b.recv(5)
    out.append(bits(env, b))
    a.send(b"x", env.socket.MSG_OOB)
    out += [bits(env, b), b.recv(1, env.socket.MSG_OOB), bits(env, b)]
    a.shutdown(1)
    settle(env)
    out += [bits(env, a), bits(env, b)]
    b.send(b"later")
    out.append(bits(env, a))
    b.shutdown(1)
    settle(env)
    out += [bits(env, a), bits(env, b)]
    return out


def poll_after_shutdowns(env: Any) -> Any:
    out = []
    for how in (0, 1, 2):
        _server, a, b = pair(env)
        a.shutdown(how)
        settle(env)
        out += [(how, bits(env, a), bits(env, b))]
    return out


def poll_after_resets(env: Any) -> Any:
    out: list[Any] = []
    for data in (b"", b"unread"):
        _server, a, b = pair(env)
        if data:
            a.send(data)
        reset(env, a)
        out += [bits(env, b), so_error(env, b), bits(env, b)]
        out += [attempt(b.recv, 10), attempt(b.send, b"x")]
    _server, a, b = pair(env)
    a.shutdown(1)
    settle(env)
    reset(env, a)
    out += [bits(env, b), so_error(env, b), bits(env, b)]
    return out


def poll_after_disconnect(env: Any) -> Any:
    _server, a, b = pair(env)
    out: list[Any] = [env.sys.connect(a.fileno(), bytes(16), 16), bits(env, a), so_error(env, a), bits(env, a)]
    settle(env)
    out += [bits(env, b), so_error(env, b)]
    return out


def poll_and_lowat(env: Any) -> Any:
    _server, a, b = pair(env)
    out = []
    for value in (1, 0, 5, -1):
        b.setsockopt(1, 18, value)
        out.append(b.getsockopt(1, 18) if value >= 0 else b.getsockopt(1, 18) > 1000)
    b.setsockopt(1, 18, 5)
    for piece in (b"12", b"34", b"5"):
        a.send(piece)
        out.append(bits(env, b))
    out += [b.recv(2), bits(env, b), b.recv(100, env.socket.MSG_DONTWAIT)]
    return out


def reading_and_peeking(env: Any) -> Any:
    s = env.socket
    _server, a, b = pair(env)
    b.setblocking(False)
    out: list[Any] = [attempt(b.recv, 10), env.sys.recvfrom(b.fileno(), 0, 0), attempt(b.recv, 10, s.MSG_PEEK)]
    a.send(b"0123456789")
    out += [b.recv(4, s.MSG_PEEK), b.recv(4, s.MSG_PEEK), b.recv(3), env.sys.recvfrom(b.fileno(), 2, s.MSG_TRUNC)[0], b.recv(2)]
    out += [env.sys.recvfrom(b.fileno(), 2, s.MSG_TRUNC | s.MSG_PEEK)[0], b.recv(100), attempt(b.recv, 1)]
    a.send(b"abcdefgh")
    out.append(b.getsockopt(1, 42))
    b.setsockopt(1, 42, 0)
    out += [b.recv(2, s.MSG_PEEK), b.recv(2, s.MSG_PEEK), b.getsockopt(1, 42), b.recv(3), b.getsockopt(1, 42)]
    out += [attempt(b.recv, 10, 0x10000000), attempt(b.recv, 10, s.MSG_WAITALL | s.MSG_DONTWAIT)]
    a.shutdown(1)
    settle(env)
    out += [b.recv(10), b.recv(10), b.recv(0)]
    return out


def waiting_for_all(env: Any) -> Any:
    s = env.socket
    _server, a, b = pair(env)
    reader = env.spawn(b.recv, 6, s.MSG_WAITALL)
    for piece in (b"ab", b"cd", b"ef"):
        env.yield_now()
        a.send(piece)
    out: list[Any] = [reader.join()]
    b.setsockopt(1, 20, struct.pack("ll", 0, 40000))
    a.send(b"xy")
    settle(env)
    out += [attempt(b.recv, 6, s.MSG_WAITALL), attempt(b.recv, 6)]
    b.setsockopt(1, 20, struct.pack("ll", 0, 0))
    reader = env.spawn(b.recv, 6, s.MSG_WAITALL)
    env.yield_now()
    a.send(b"end")
    a.shutdown(1)
    out.append(reader.join())
    return out


def urgent_bytes(env: Any) -> Any:
    s = env.socket
    _server, a, b = pair(env)
    out: list[Any] = [attempt(b.recv, 1, s.MSG_OOB), env.sys.sendto(a.fileno(), b"", s.MSG_OOB, None, 0)]
    a.send(b"ab")
    a.send(b"cd!", s.MSG_OOB)
    a.send(b"ef")
    settle(env)
    for _ in range(4):
        at_mark = struct.unpack("i", env.fcntl.ioctl(b, 0x8905, bytes(4)))[0]
        unread = struct.unpack("i", env.fcntl.ioctl(b, 0x541B, bytes(4)))[0]
        out += [at_mark, unread, attempt(b.recv, 100, s.MSG_DONTWAIT), attempt(b.recv, 1, s.MSG_OOB)]
    b.setsockopt(1, 10, 1)
    a.send(b"z", s.MSG_OOB)
    settle(env)
    out += [attempt(b.recv, 1, s.MSG_OOB), b.recv(10)]
    a.send(b"1", s.MSG_OOB)
    a.send(b"2", s.MSG_OOB)
    settle(env)
    out += [b.recv(10, s.MSG_DONTWAIT), attempt(b.recv, 10, s.MSG_DONTWAIT)]
    return out


def bytes_left_as_a_message(env: Any) -> Any:
    _server, a, b = pair(env)
    b.setsockopt(TCP, 36, 1)
    a.send(b"0123456789")
    settle(env)
    out: list[Any] = [b.recvmsg(4, 100)[:3], b.recvmsg(6, 100)[:3]]
    a.send(b"x")
    a.shutdown(1)
    settle(env)
    return [*out, b.recvmsg(1, 100)[:3], b.recvmsg(1, 100)[:3]]


def zero_copy(env: Any) -> Any:
    s = env.socket
    ZC, ERRQUEUE = 0x4000000, 0x2000
    _server, a, b = pair(env)
    out: list[Any] = [a.send(b"not asked for", ZC), attempt(a.recvmsg, 10, 100, ERRQUEUE)]
    out += [attempt(a.setsockopt, 1, 60, value) for value in (2, -1, 1)]
    out.append(a.getsockopt(1, 60))
    for data in (b"one", b"", b"two"):
        out.append(a.send(data, ZC))
        settle(env)
        b.recv(100, s.MSG_DONTWAIT) if data else None
    settle(env)
    out += [bits(env, a), so_error(env, a)]
    for _ in range(2):
        found = attempt(a.recvmsg, 10, 100, ERRQUEUE)
        out.append(found if isinstance(found, str) else (found[0], [(c[0], c[1], c[2][:16].hex()) for c in found[1]], found[2]))
    out.append(bits(env, a))
    a.setsockopt(1, 60, 0)
    a.setsockopt(1, 60, 1)
    a.send(b"three", ZC)
    settle(env)
    out.append([c[2][:16].hex() for c in a.recvmsg(10, 100, ERRQUEUE)[1]])
    _s2, _c2, child = pair(env, lambda sock: sock.setsockopt(1, 60, 1))
    out.append(child.getsockopt(1, 60))
    return out


def zero_copy_elsewhere(env: Any) -> Any:
    kinds = ((2, 1), (2, 2), (10, 1), (10, 2), (1, 1), (1, 2), (2, 3))
    out: list[Any] = []
    for family, kind in kinds:
        sock = env.socket.socket(family, kind, 255 if kind == 3 else 0)
        out.append((family, kind, [attempt(sock.setsockopt, 1, 60, value) for value in (1, 2)]))
    return out


def buffers(env: Any) -> Any:
    """What SO_SNDBUF and SO_RCVBUF read back, forced or not, and how a listener's come to its children."""
    out: list[Any] = []
    sock = env.socket.socket()
    out += [sock.getsockopt(1, 7), sock.getsockopt(1, 8)]
    for option in (7, 8, 32, 33):
        for value in (0, 1, 1024, 2303, 4000, 65536, 4194304, 5000000, -1, 0x7FFFFFFF):
            sock.setsockopt(1, option, value)
            out.append((option, value, sock.getsockopt(1, {32: 7, 33: 8}.get(option, option))))
    _server, _client, child = pair(env, lambda s: (s.setsockopt(1, 7, 20000), s.setsockopt(1, 8, 30000)))
    out += [child.getsockopt(1, 7), child.getsockopt(1, 8)]
    fresh = env.socket.socket()
    fresh.setsockopt(1, 18, 100000)
    out += [fresh.getsockopt(1, 8), attempt(fresh.setsockopt, 1, 19, 5), fresh.getsockopt(1, 19)]
    env.setuid(1000)
    out += [attempt(sock.setsockopt, 1, option, 5000) for option in (32, 33)]
    return out


def ioctls_of_streams(env: Any) -> Any:
    server, a, b = pair(env)

    def ask(sock: Any) -> list[Any]:
        found = [attempt(env.fcntl.ioctl, sock, number, bytes(4)) for number in (0x541B, 0x5411, 0x894B, 0x8905)]
        return [int.from_bytes(value, "little") if isinstance(value, bytes) else value for value in found]

    out = [ask(server), ask(a), ask(b), ask(env.socket.socket())]
    a.send(b"12345")
    settle(env)
    out += [ask(a), ask(b)]
    a.shutdown(1)
    settle(env)
    return [*out, ask(a), ask(b)]


def calls_without_a_connection(env: Any) -> Any:
    out: list[Any] = []
    for state in ("fresh", "bound", "listening"):
        sock = env.socket.socket()
        if state != "fresh":
            sock.bind(("127.0.0.1", 0))
        if state == "listening":
            sock.listen(1)
        sock.setblocking(False)
        calls = [
            (sock.recv, 1),
            (sock.send, b"x"),
            (sock.recv, 0),
            (sock.shutdown, 1),
            (sock.getpeername,),
            (env.os.read, sock.fileno(), 0),
        ]
        out.append((state, [attempt(*call) for call in calls], bits(env, sock)))
    return out


def poll_while_opening(env: Any) -> Any:
    """A listener whose queue is full leaves the next client in SYN_SENT."""
    server = env.socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    first = env.socket.socket()
    first.connect(server.getsockname())
    second = env.socket.socket()
    second.setblocking(False)
    out: list[Any] = [attempt(second.connect, server.getsockname()), bits(env, second), attempt(second.send, b"x"), attempt(second.recv, 1)]
    out += [attempt(second.connect, server.getsockname()), so_error(env, second), attempt(second.shutdown, 2), bits(env, second)]
    return out


def filling_the_send_buffer(env: Any) -> Any:
    """Send until the stream is full, then read until it can be written again."""
    out: list[Any] = []
    for sndbuf, piece in ((9216, 1000), (40000, 5000), (200000, 65536)):
        _server, a, b = pair(env, lambda s, size=sndbuf: (s.setsockopt(1, 7, size // 2), s.setsockopt(1, 8, 4096)))
        a.setblocking(False)
        a.setsockopt(TCP, 1, 1)
        sent = 0
        while isinstance(count := attempt(a.send, bytes(piece)), int):
            sent += count
        b.setblocking(False)
        got = 0
        while (
            isinstance(chunk := attempt(b.recv, 1 << 20), bytes) or env.yield_now() or isinstance(chunk := attempt(b.recv, 1 << 20), bytes)
        ):
            got += len(chunk)
        out.append((count, got == sent, bits(env, a)))
    return out


def counting_other_families(env: Any) -> Any:
    """Sockets of every family count as used."""
    out = [env.proc("sockstat").splitlines()[0]]
    keep = []
    for family, kind in ((1, 1), (1, 2), (1, 5), (2, 1), (10, 2)):
        keep.append(env.socket.socket(family, kind))
        out.append(env.proc("sockstat").splitlines()[0])
    keep.append(env.socket.socketpair())
    out.append(env.proc("sockstat").splitlines()[0])
    return out


PROGRAMS = [
    poll_while_opening,
    filling_the_send_buffer,
    counting_other_families,
    poll_without_connection,
    poll_of_a_refused_connect,
    poll_through_a_connection,
    poll_after_shutdowns,
    poll_after_resets,
    poll_after_disconnect,
    poll_and_lowat,
    reading_and_peeking,
    waiting_for_all,
    urgent_bytes,
    bytes_left_as_a_message,
    zero_copy,
    zero_copy_elsewhere,
    buffers,
    ioctls_of_streams,
    calls_without_a_connection,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_streams(program: Any) -> None:
    assert_parity(program)
