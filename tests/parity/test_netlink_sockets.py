"""AF_NETLINK sockets on both kernels: creation, names, groups, options, acknowledgements, errors, dumps, messages between programs."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.prockit import ask
from twinsock.wire.inet_diag import InetDiagReq
from twinsock.wire.netlink import nlmsg, parse_messages

pytestmark = [pytest.mark.root]

ROUTE, USERSOCK, DIAG = 0, 2, 4
PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, MEMBERSHIPS, CAP_ACK, EXT_ACK, STRICT = 3, 4, 5, 9, 10, 11, 12


def nl(env: Any, protocol: int = USERSOCK, type_: int = 3) -> Any:
    sock = env.socket.socket(16, type_, protocol)
    sock.setblocking(False)
    return sock


def created(env: Any) -> Any:
    out = []
    for type_, protocol in ((1, 0), (2, 0), (3, 0), (5, 0), (3, 2), (3, 4), (3, 31), (3, 32), (3, -1), (3, 17), (10, 0)):
        fd = env.sys.socket(16, type_, protocol)
        out.append(min(fd, 0))
        if fd >= 0:
            env.os.close(fd)
    return out


def named(env: Any) -> Any:
    a, b, c = nl(env), nl(env), nl(env)
    out: list[Any] = [a.getsockname(), attempt(a.bind, (77, 0)), a.getsockname(), attempt(a.bind, (77, 0)), attempt(a.bind, (78, 0))]
    out += [attempt(b.bind, (77, 0)), attempt(b.bind, (0, 5)), b.getsockname()[1], attempt(c.bind, (0, 0x80000000)), c.getsockname()[1]]
    out += [attempt(b.bind, (b.getsockname()[0], 2)), b.getsockname()[1], b.getsockname()[0] != c.getsockname()[0]]
    fd = nl(env).detach()
    for addr in (b"", b"\x10", b"\x10\0" + bytes(9), b"\x02\0" + bytes(10), b"\x10\0" + bytes(20)):
        out.append(env.sys.bind(fd, addr, len(addr)))
    return out


def connected(env: Any) -> Any:
    a, b = nl(env), nl(env)
    a.bind((77, 0))
    b.bind((78, 0))
    out: list[Any] = [attempt(a.connect, (78, 0)), a.getpeername(), attempt(a.send, b"hello"), attempt(b.recvfrom, 10)]
    out += [attempt(b.sendto, b"back", (77, 0)), attempt(a.recvfrom, 10)]
    c = nl(env)
    c.bind((79, 0))
    out += [attempt(c.sendto, b"x", (77, 0)), attempt(c.sendto, b"x", (99, 0)), attempt(c.sendto, b"x", (78, 0)), attempt(b.recvfrom, 10)]
    out += [env.sys.connect(a.fileno(), bytes(2), 2), a.getpeername(), attempt(c.sendto, b"y", (77, 0)), attempt(a.recvfrom, 10)]
    fd = a.fileno()
    for addr in (b"\x10", b"\x10\0", b"\x02\0" + bytes(10), b"\x10\0" + bytes(10)):
        out.append(env.sys.connect(fd, addr, len(addr)))
    return out


def groups(env: Any) -> Any:
    a, b, c = nl(env), nl(env), nl(env)
    for sock in (a, b):
        sock.setsockopt(270, 1, 3)
        sock.setsockopt(270, 1, 17)
    b.setsockopt(270, PKTINFO, 1)
    c.bind((77, 0))
    out: list[Any] = [a.getsockname(), attempt(c.sendto, b"nobody bound", (0, 4))]
    a.bind((78, 0))
    b.bind((79, 0))
    out += [a.getsockname(), a.getsockopt(270, MEMBERSHIPS, 16), attempt(c.sendto, b"all", (78, 4)), attempt(a.recvfrom, 20)]
    out += [attempt(a.recvfrom, 20), attempt(b.recvmsg, 20, 100), attempt(b.setsockopt, 270, 2, 3), b.getsockname()]
    out += [attempt(c.sendto, b"again", (78, 4)), attempt(a.recvfrom, 20), attempt(b.recvfrom, 20)]
    for value in (0, 1, 32, 33, 64, 1000):
        out.append(attempt(c.setsockopt, 270, 1, value))
    return out


def options(env: Any) -> Any:
    out: list[Any] = []
    sock = nl(env, ROUTE)
    for name in range(14):
        if name == MEMBERSHIPS:
            continue  # Linux writes only whole words of the list: the rest of the buffer is the caller's
        out.append((name, attempt(sock.getsockopt, 270, name, 4), attempt(sock.setsockopt, 270, name, 1)))
        out.append((attempt(sock.getsockopt, 270, name, 4), attempt(sock.getsockopt, 270, name, 2), attempt(sock.getsockopt, 270, name, 0)))
    out += [env.sys.setsockopt(sock.fileno(), 270, 3, b"\1", 1), env.sys.setsockopt(sock.fileno(), 270, 3, None, 4)]
    out += [
        attempt(sock.getsockopt, 271, 3),
        attempt(sock.setsockopt, 271, 3, 1),
        attempt(sock.getsockopt, 1, 38),
        attempt(sock.getsockopt, 1, 3),
    ]
    return out


def refusals(env: Any) -> Any:
    sock = nl(env)
    out = [
        attempt(sock.listen, 1),
        attempt(sock.shutdown, 2),
        attempt(sock.send, b""),
        attempt(sock.send, b"x"),
        attempt(sock.send, b"x", 1),
    ]
    out += [attempt(sock.recv, 1, 1), attempt(sock.recv, 1), env.sys.socketpair(16, 3, 0)[0], attempt(sock.sendto, b"x" * 300000, (5, 0))]
    out += [
        env.sys.sendto(sock.fileno(), b"x", 0, b"\x10\0" + bytes(4), 6),
        env.sys.sendto(sock.fileno(), b"x", 0, b"\2\0" + bytes(10), 12),
    ]
    return out


def unprivileged(env: Any) -> Any:
    a, b, c = nl(env, ROUTE), nl(env, USERSOCK), nl(env, DIAG)
    env.setuid(1000)
    out = [attempt(a.setsockopt, 270, 1, 5), attempt(b.setsockopt, 270, 1, 5), attempt(c.setsockopt, 270, 1, 1), attempt(b.bind, (0, 4))]
    out += [attempt(a.sendto, b"x", (5, 0)), attempt(b.sendto, b"x", (5, 0)), attempt(c.sendto, b"x", (5, 0)), attempt(a.connect, (0, 1))]
    out += [attempt(a.setsockopt, 270, 8, 1), attempt(b.connect, (5, 0))]
    for type_, payload in ((16, bytes(16)), (20, bytes(8)), (24, bytes(12)), (28, bytes(12)), (17, bytes(16))):
        out.append([(msg.type, msg.payload[:4].hex()) for msg in ask(env, ROUTE, type_, 4, payload)])
    out.append([(msg.type, msg.payload[:4].hex()) for msg in ask(env, DIAG, 21, 4, InetDiagReq(2, 6).emit())])
    return out


def truncated(env: Any) -> Any:
    a, b = nl(env), nl(env)
    a.bind((77, 0))
    b.sendto(b"0123456789", (77, 0))
    b.sendto(b"0123456789", (77, 0))
    b.sendto(b"abc", (77, 0))
    out = [
        attempt(env.sys.recvfrom, a.fileno(), 4, 0x20),
        attempt(a.recvmsg, 4),
        attempt(a.recv, 2, 2),
        attempt(a.recv, 10),
        attempt(a.recv, 1),
    ]
    return [part[:3] if isinstance(part, tuple) else part for part in out]


def acknowledged(env: Any) -> Any:
    out = []
    for choice in ((), (CAP_ACK,), (EXT_ACK,), (CAP_ACK, EXT_ACK)):
        for protocol, type_, flags, payload in (
            (DIAG, 20, 4, InetDiagReq(2, 6).emit()),
            (DIAG, 30, 0, b"\2\6\0\0"),
            (DIAG, 20, 0, b"\2"),
            (DIAG, 20, 0x300, b"\2\6"),
            (DIAG, 20, 0x304, InetDiagReq(2, 6).emit()),
            (DIAG, 20, 0x300, InetDiagReq(2, 99).emit()),
            (DIAG, 20, 0, bytes((99, 0, 0, 0))),
            (DIAG, 20, 0, bytes((11, 0, 0, 0))),
            (DIAG, 3, 4, b""),
            (DIAG, 21, 4, b"\1\0" + bytes(22)),
            (ROUTE, 5, 4, b""),
            (ROUTE, 18, 4, b""),
            (ROUTE, 18, 4, bytes(16)),
            (ROUTE, 200, 0, bytes(16)),
            (ROUTE, 19, 4, bytes(4) + b"\x63\0\0\0" + bytes(8)),
        ):
            out.append([(msg.type, msg.flags, msg.seq, msg.payload.hex()) for msg in ask(env, protocol, type_, flags, payload, choice)])
    return out


def several_messages(env: Any) -> Any:
    sock = nl(env, DIAG)
    bad, control, no_request = nlmsg(30, 5, b"\2\6\0\0", 1), nlmsg(3, 5, b"", 2), nlmsg(20, 4, b"\2\6\0\0", 3)
    out = []
    for data in (bad + control + no_request, bad + b"\x04\0\0\0" * 4, bad + b"\xff\0\0\0" + bytes(12), bad[:15], bad + b"abc", bytes(16)):
        out.append(attempt(sock.send, data))
        while True:
            answer = attempt(sock.recv, 1000)
            if isinstance(answer, str):
                break
            out.append([(msg.type, msg.flags, msg.seq, msg.payload[:4].hex()) for msg in parse_messages(answer)])
    return out


def dumps_come_in_parts(env: Any) -> Any:
    socks = [env.socket.socket() for _ in range(200)]
    for number, sock in enumerate(socks):
        sock.bind(("127.0.0.1", 5000 + number))
    out = []
    for room in (65536, 8192, 4096, 1000):
        sock = nl(env, DIAG)
        sock.send(nlmsg(20, 0x301, InetDiagReq(2, 6).emit(), 9))
        busy = nlmsg(20, 0x301, InetDiagReq(2, 6).emit(), 10)
        out.append(attempt(sock.send, busy))
        sizes = []
        while True:
            data = attempt(sock.recv, room)
            if isinstance(data, str):
                break
            sizes.append((len(data), [msg.type for msg in parse_messages(data)][-1:]))
        out.append(sizes)
    return out


def overrun(env: Any) -> Any:
    out: list[Any] = []
    for quiet in (0, 1):
        a, b = nl(env), nl(env)
        a.setsockopt(1, 8, 2000)
        a.setsockopt(270, NO_ENOBUFS, quiet)
        a.bind((77, 2))
        for _ in range(20):
            out.append(attempt(b.sendto, b"x" * 500, (12345, 2)))
        poll = env.select.poll()
        poll.register(a.fileno(), 0x3FFF)
        out.append(poll.poll(0)[0][1])
        count = 0
        for _ in range(20):
            got = attempt(a.recv, 1000)
            out.append(got if isinstance(got, str) else len(got))
            count += not isinstance(got, str)
        out += [count, attempt(b.sendto, b"y", (77, 0)), attempt(a.recv, 10)]
        a.close()
        b.close()
    return out


def full_queue_blocks_a_sender(env: Any) -> Any:
    a, b = nl(env), nl(env)
    a.setsockopt(1, 8, 2000)
    a.bind((77, 0))
    out = [attempt(b.sendto, b"x" * 500, (77, 0)) for _ in range(8)]
    poll = env.select.poll()
    poll.register(b.fileno(), 4)
    out.append([event for _, event in poll.poll(0)])
    out.append(len(a.recv(1000)))
    out.append(attempt(b.sendto, b"x" * 500, (77, 0)))
    return out


def credentials(env: Any) -> Any:
    a, b = nl(env), nl(env)
    a.setsockopt(1, 16, 1)
    a.bind((77, 0))
    b.sendto(b"x", (77, 0))
    data, control, flags, _ = a.recvmsg(10, 100)
    out = [(data, [(level, type_, struct.unpack("=3i", value)[1:]) for level, type_, value in control], flags)]
    c = nl(env, DIAG)
    c.setsockopt(1, 16, 1)
    c.send(nlmsg(30, 1, b"\2\6\0\0", 1))
    data, control, flags, name = c.recvmsg(100, 100)
    return [*out, control, flags, name]


def listed(env: Any) -> Any:
    a, b, c = nl(env), nl(env, ROUTE), nl(env, DIAG)
    a.bind((77, 5))
    b.setsockopt(270, 1, 1)
    b.bind((78, 0))
    a.sendto(b"hello", (77, 0))
    rows = [line.split()[1:9] for line in env.proc("netlink").splitlines()]
    own = [row for row in rows if row[1] in ("Pid", "77", "78")]
    kernel = [row for row in rows if row[0] in ("0", "4") and row[1] == "0"]
    return [sorted(own), sorted(kernel), {len(line) for line in env.proc("netlink").splitlines()[1:]} == {88} or "width", c.fileno() > 0]


PROGRAMS = (
    *(created, named, connected, groups, options, refusals, unprivileged, truncated, acknowledged, several_messages),
    *(dumps_come_in_parts, overrun, full_queue_blocks_a_sender, credentials, listed),
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_netlink_program_gives_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
