"""AF_PACKET sockets on both kernels: who sees which frames, names, options, memberships, sending; netlink_diag and packet_diag."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.prockit import ask
from twinsock.wire.netlink import parse_attributes

pytestmark = [pytest.mark.root]

ALL, IP = 0x0300, 0x0008
SOL_PACKET = 263


def sll(protocol: int, ifindex: int, mac: bytes = b"") -> bytes:
    """Return a sockaddr_ll."""
    return struct.pack("=HHiHBB8s", 17, protocol, ifindex, 0, 0, len(mac), mac)


def frame(data: bytes) -> bytes:
    """Return the frame without its IPv4 identification and checksums, which differ from run to run."""
    at = data.find(b"\x45\x00")
    return data if at < 0 else data[: at + 4] + b"id" + data[at + 6 : at + 10] + b"cs" + data[at + 12 : at + 26] + b"cs" + data[at + 28 :]


def packet(env: Any, type_: int = 3, protocol: int = ALL) -> Any:
    sock = env.socket.socket(17, type_, protocol)
    sock.setblocking(False)
    return sock


def drain(sock: Any) -> list[Any]:
    """Receive everything: frames with protocol, packet type, hardware type and address of the sender."""
    out: list[Any] = []
    while True:
        got = attempt(sock.recvfrom, 2000)
        if isinstance(got, str):
            return [*out, got]
        out.append((frame(got[0]), got[1][1:]))


def ping(env: Any, text: bytes = b"hello", port: int = 6000) -> None:
    """Send one datagram to ourselves."""
    a = env.socket.socket(2, 2)
    a.bind(("127.0.0.1", 6001))
    b = env.socket.socket(2, 2)
    b.bind(("127.0.0.1", port))
    a.sendto(text, ("127.0.0.1", port))
    a.close()
    b.close()


def creation(env: Any) -> Any:
    out = []
    for type_, protocol in ((3, 0), (2, 0), (10, 0), (1, 0), (5, 0), (3, -1), (3, 0x10000), (3, ALL), (4, 0)):
        fd = env.sys.socket(17, type_, protocol)
        out.append(min(fd, 0))
        if fd >= 0:
            env.os.close(fd)
    a = packet(env)
    out += [a.getsockopt(1, 3), a.getsockopt(1, 38), a.getsockopt(1, 39), attempt(a.getpeername)]
    env.setuid(1000)
    return [*out, env.sys.socket(17, 3, 0), env.sys.socket(17, 1, 0), env.sys.socket(2, 10, 0)]


def frames_are_seen(env: Any) -> Any:
    socks = [packet(env), packet(env, 2), packet(env, 3, IP), packet(env, 2, IP), packet(env, 3, 0), packet(env, 3, 0x0608)]
    ping(env)
    return [drain(sock) for sock in socks]


def frames_of_ipv6(env: Any) -> Any:
    a = packet(env, 2)
    b = env.socket.socket(10, 2)
    b.bind(("::1", 6000))
    b.sendto(b"x", ("::1", 6000))
    return [(data[4:40] if isinstance(data, bytes) else data, rest) for data, rest in (row for row in drain(a) if not isinstance(row, str))]


def names(env: Any) -> Any:
    a = packet(env)
    fd = a.fileno()
    out = [a.getsockname()[1:], env.sys.bind(fd, sll(0, 1), 20), a.getsockname()[1:], env.sys.bind(fd, sll(IP, 1), 20), a.getsockname()[1:]]
    out += [env.sys.bind(fd, sll(0, 9), 20), env.sys.bind(fd, sll(0, 1), 19), env.sys.bind(fd, sll(0, 0), 20), a.getsockname()[1:]]
    out += [env.sys.bind(fd, b"\2\0" + sll(0, 1)[2:], 20), env.sys.bind(fd, b"", 0)]
    return out


def bound_sockets_see_their_device(env: Any) -> Any:
    a, b, c = packet(env), packet(env, 3, 0), packet(env)
    out = [env.sys.bind(a.fileno(), sll(IP, 1), 20), env.sys.bind(b.fileno(), sll(ALL, 1), 20)]
    ping(env)
    out += [drain(a), drain(b)]
    out += [env.sys.bind(c.fileno(), sll(0x0608, 0), 20), drain(c)]
    ping(env)
    return [*out, drain(c)]


def statistics(env: Any) -> Any:
    a, b = packet(env), packet(env, 2, IP)
    out = [a.getsockopt(SOL_PACKET, 6, 8)]
    ping(env)
    b.setsockopt(1, 8, 1)
    for number in range(6):
        ping(env, b"x" * 500, 6002 + number)
    return [
        *out,
        a.getsockopt(SOL_PACKET, 6, 8),
        a.getsockopt(SOL_PACKET, 6, 8),
        b.getsockopt(SOL_PACKET, 6, 8),
        b.getsockopt(SOL_PACKET, 6, 4),
    ]


def auxiliary_data(env: Any) -> Any:
    a, b = packet(env), packet(env, 2)
    for sock in (a, b):
        sock.setsockopt(SOL_PACKET, 8, 1)
        sock.setsockopt(SOL_PACKET, 23, 1)
    ping(env)
    out = []
    for sock in (a, b):
        data, control, flags, _ = sock.recvmsg(100, 100)
        out.append((frame(data), control, flags, drain(sock)))
    return out


def cut_frames(env: Any) -> Any:
    a = packet(env)
    ping(env)
    data, _, flags, _ = a.recvmsg(20)
    out = [
        (len(data), flags),
        env.sys.recvfrom(a.fileno(), 10, 0x20)[0],
        attempt(a.recv, 1),
        attempt(a.recv, 1, 1),
        attempt(a.recv, 1, 0x100),
    ]
    ping(env)
    return [*out, len(a.recv(2000, 2)), len(a.recv(2000)), len(a.recv(2000))]


def memberships(env: Any) -> Any:
    a = packet(env)

    def mreq(ifindex: int, type_: int, addr: bytes = b"") -> bytes:
        return struct.pack("=iHH8s", ifindex, type_, len(addr), addr)

    out = []
    for name in (1, 2):
        for value in (
            mreq(1, 1),
            mreq(99, 1),
            mreq(1, 2),
            mreq(1, 0, b"123456"),
            mreq(1, 3, b"123456"),
            mreq(1, 1),
            mreq(1, 1),
            mreq(1, 1)[:15],
        ):
            out.append(attempt(a.setsockopt, SOL_PACKET, name, value))
    return out


def options(env: Any) -> Any:
    a = packet(env)
    out: list[Any] = []
    for name in (0, 1, 2, 3, 4, 8, 9, 20, 23, 25, 99):
        out.append((name, attempt(a.getsockopt, SOL_PACKET, name, 4), attempt(a.setsockopt, SOL_PACKET, name, 1)))
        out.append((attempt(a.getsockopt, SOL_PACKET, name, 4), attempt(a.getsockopt, SOL_PACKET, name, 2)))
    out += [attempt(a.setsockopt, SOL_PACKET, 23, 2), attempt(a.setsockopt, SOL_PACKET, 8, b"x"), attempt(a.setsockopt, 262, 8, 1)]
    return [*out, attempt(a.getsockopt, 262, 8)]


def refusals(env: Any) -> Any:
    a, b, c = packet(env, 3, 0), packet(env, 2, 0), packet(env, 3, ALL)
    env.sys.bind(c.fileno(), sll(ALL, 1), 20)
    out = [attempt(a.listen, 1), attempt(a.shutdown, 1), attempt(a.send, b"x" * 20), attempt(b.send, b"x"), attempt(a.recv, 1)]
    out += [env.sys.connect(a.fileno(), sll(IP, 1), 20), env.sys.socketpair(17, 3, 0)[0]]
    for sock in (a, b):
        for data, addr in (
            (bytes(60), sll(IP, 1)),
            (bytes(10), sll(IP, 1)),
            (bytes(70000), sll(IP, 1, bytes(6))),
            (bytes(60), sll(IP, 9)),
            (bytes(60), sll(IP, 1)[:19]),
            (bytes(60), sll(IP, 1, bytes(6))),
        ):
            out.append(env.sys.sendto(sock.fileno(), data, 0, addr, len(addr)))
    return [*out, attempt(c.send, bytes(60)), attempt(c.send, bytes(13))]


def a_frame_is_sent_and_received(env: Any) -> Any:
    a, b = packet(env, 3, 0xB588), packet(env)
    data = bytes(12) + b"\x88\xb5" + b"payload"
    out = [env.sys.sendto(b.fileno(), data, 0, sll(0xB588, 1, bytes(6)), 20), drain(a), drain(b)]
    c = packet(env, 2, 0)
    return [*out, env.sys.sendto(c.fileno(), b"body", 0, sll(0xB588, 1, b"\1\2\3\4\5\6"), 20), drain(a), drain(b)]


def a_datagram_made_by_hand_arrives(env: Any) -> Any:
    u = env.socket.socket(2, 2)
    u.setblocking(False)
    u.bind(("127.0.0.1", 7000))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 33, 1, 0, 64, 17, 0, b"\x7f\0\0\1", b"\x7f\0\0\1")
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    ip = head + struct.pack("!HHHH", 5, 7000, 13, 0) + b"hello"
    a = packet(env, 3, 0)
    return [env.sys.sendto(a.fileno(), bytes(12) + b"\x08\0" + ip, 0, sll(IP, 1, bytes(6)), 20), attempt(u.recvfrom, 100)]


def listed(env: Any) -> Any:
    socks = [packet(env), packet(env, 2, IP), packet(env, 3, 0)]
    env.sys.bind(socks[1].fileno(), sll(IP, 1), 20)
    env.os.fchown(socks[2].fileno(), 1000, -1)
    ping(env)
    head, *rows = env.proc("packet").splitlines()
    own = [row.split()[1:8] for row in rows]
    return [head, own, len({len(row) for row in rows})]


def diag_of(env: Any, family: int, show: int, size: int, blank: tuple[slice, ...], protocol: int = 0) -> Any:
    rows = []
    for msg in ask(env, 4, 20, 0x300, struct.pack("=BBxxIIQ", family, protocol, 0, show, 0xFFFFFFFFFFFFFFFF)):
        if msg.type != 20:
            rows.append((msg.type, msg.payload[:4].hex()))
            continue
        head = bytearray(msg.payload[:size])
        for part in blank:
            head[part] = bytes(len(head[part]))
        found = [(t, v.hex()) for t, v in parse_attributes(msg.payload, size, len(msg.payload))]
        rows.append((head.hex(), found))
    return rows


def packet_diag(env: Any) -> Any:
    a, b = packet(env), packet(env, 2, IP)
    env.sys.bind(b.fileno(), sll(IP, 1), 20)
    b.setsockopt(SOL_PACKET, 8, 1)
    a.setsockopt(SOL_PACKET, 1, struct.pack("=iHH8s", 1, 1, 0, b""))
    a.setsockopt(SOL_PACKET, 1, struct.pack("=iHH8s", 1, 0, 6, b"123456"))
    ping(env)
    return [diag_of(env, 17, show, 16, (slice(4, 16),)) for show in (0, 1, 2, 16, 19)]


def netlink_diag(env: Any) -> Any:
    a, b = env.socket.socket(16, 3, 2), env.socket.socket(16, 2, 2)
    a.bind((77, 5))
    a.setsockopt(270, 3, 1)
    b.bind((78, 0))
    b.connect((77, 0))
    a.sendto(b"hello", (78, 0))
    b.setsockopt(270, 1, 3)
    found = [sorted(diag_of(env, 16, show, 28, (slice(16, 28),), 2), key=str) for show in (0, 1, 2, 8, 11)]
    return [
        *found,
        diag_of(env, 16, 0, 28, (), 40),
        [(msg.type, msg.payload[:4].hex()) for msg in ask(env, 4, 20, 0, b"\x10\2" + bytes(18))],
    ]


PROGRAMS = (
    *(creation, frames_are_seen, frames_of_ipv6, names, bound_sockets_see_their_device, statistics, auxiliary_data, cut_frames),
    *(memberships, options, refusals, a_frame_is_sent_and_received, a_datagram_made_by_hand_arrives, listed, packet_diag, netlink_diag),
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_packet_program_gives_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
