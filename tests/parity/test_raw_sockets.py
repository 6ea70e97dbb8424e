"""RAW sockets: copies, headers written by the program, filters, checksums, errors, options with state; over both IP versions."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import add_veth, bits, counters, int_cmsg, meminfo, udp

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"


def raw(env: Any, protocol: int, family: int = 2, *options: Any) -> Any:
    sock = env.socket.socket(family, 3, protocol)
    sock.setblocking(False)
    for option in options:
        sock.setsockopt(*option)
    return sock


def header(protocol: int, length: int, saddr: str = LO, daddr: str = LO, ident: int = 7, ihl: int = 5, frag: int = 0) -> bytes:
    """Return an IPv4 header without a checksum."""
    import socket

    return struct.pack(
        "!BBHHHBBH4s4s", 0x40 | ihl, 4, length, ident, frag, 33, protocol, 0, socket.inet_aton(saddr), socket.inet_aton(daddr)
    )


def shown(data: Any) -> Any:
    """Blank the identification and the checksum of a received IPv4 packet."""
    return data if isinstance(data, str) or len(data) < 20 else data[:4] + b"\0\0" + data[6:10] + b"\0\0" + data[12:]


def drain(sock: Any) -> list[Any]:
    """Take everything that waits."""
    found = []
    while (got := attempt(sock.recvfrom, 2000)) != "EAGAIN":
        found.append((shown(got[0]), got[1]) if not isinstance(got, str) else got)
    return found


def who_may_have_one(env: Any) -> Any:
    out = []
    for uid in (0, 65534):
        if uid:
            env.setuid(uid)
        for family in (2, 10):
            for type_ in range(12):
                for protocol in (-1, 0, 1, 2, 6, 17, 41, 58, 89, 132, 136, 255, 256, 261, 262, 263, 1000):
                    if (family, type_) == (2, 10) or (type_ == 1 and protocol in (0, 6, 262)):
                        continue
                    fd = env.sys.socket(family, type_, protocol)
                    row = [uid, family, type_, protocol, min(fd, 0)]
                    if fd >= 0:
                        row += [env.sys.getsockopt(fd, 1, opt, 4)[1] for opt in (3, 38, 39, 2)]
                        row += [env.sys.getsockopt(fd, 0, 3, 4), env.sys.getsockname(fd, 28)[1]]
                        env.sys.close(fd)
                    out.append(row)
    return out


def copies_of_udp(env: Any) -> Any:
    r, r2, other = raw(env, 17), raw(env, 17), raw(env, 6)
    a, b = udp(env, LO, 5000), udp(env, LO, 5001)
    out: list[Any] = [r.getsockname(), bits(env, r), meminfo(r)]
    b.sendto(b"hello", (LO, 5000))
    out += [bits(env, r), drain(r), drain(r2), drain(other), a.recv(10)]
    b.sendto(b"nobody", (LO, 5999))
    icmp = raw(env, 1)
    b.sendto(b"nobody", (LO, 5999))
    out += [drain(r), [(d[:10], d[12:22]) for d, _ in drain(icmp)]]
    r.bind((LO, 0))
    r2.bind(("127.0.0.2", 0))
    b.sendto(b"again", (LO, 5000))
    out += [drain(r), drain(r2)]
    r.connect(("127.0.0.9", 0))
    b.sendto(b"third", (LO, 5000))
    out += [drain(r), attempt(r.getpeername), r.getsockname()]
    return out


def payloads_and_headers(env: Any) -> Any:
    r = raw(env, 200)
    s = raw(env, 200)
    out: list[Any] = [
        attempt(s.sendto, b"payload", (LO, 0)),
        drain(r),
        drain(s),
        attempt(s.send, b"x"),
        attempt(s.sendto, b"", (LO, 0)),
        drain(r),
    ]
    out += [
        attempt(s.connect, (LO, 0)),
        attempt(s.send, b"connected"),
        drain(r),
        attempt(s.getpeername),
        attempt(s.sendto, b"x", ("127.0.0.3", 77)),
        drain(r),
    ]
    for size in (65515, 65516, 65535, 65536):
        out.append((size, attempt(s.sendto, bytes(size), (LO, 0)), [len(d) for d, _ in drain(r)]))
    out += [
        attempt(s.send, b"a", 0x8000),
        attempt(s.send, b"b", 0x8000),
        drain(r),
        attempt(s.send, b"c"),
        drain(r),
        attempt(s.send, b"oob", 1),
    ]
    fd = s.fileno()
    good = b"\2\0\0\0\x7f\0\0\1" + bytes(8)
    for addr, length in ((good, 16), (good, 15), (good, 2), (b"\0\0" + good[2:], 16), (b"\x0a\0" + good[2:], 16), (b"\7\0" + good[2:], 16)):
        out.append(
            (
                env.sys.sendto(fd, b"x", 0, addr, length),
                env.sys.bind(raw(env, 201).detach(), addr, length),
                env.sys.connect(raw(env, 201).detach(), addr, length),
            )
        )
    for host in ("10.9.9.9", "255.255.255.255", "224.0.0.9", "0.0.0.0"):
        out.append((attempt(s.sendto, b"x", (host, 0)), attempt(raw(env, 200).bind, (host, 0)), attempt(raw(env, 200).connect, (host, 0))))
    s.setsockopt(0, 2, 9)
    s.setsockopt(0, 1, 0x20)
    drain(r)
    out += [
        attempt(s.sendto, b"ttl", (LO, 0)),
        drain(r),
        counters(env, "Ip").get("INUNKNOWNPROTOS"),
        attempt(s.listen),
        attempt(s.shutdown, 1),
        attempt(s.send, b"x"),
    ]
    return out


def headers_of_the_program(env: Any) -> Any:
    r = raw(env, 200)
    s = raw(env, 255)
    out: list[Any] = [s.getsockopt(0, 3)]
    for packet in (
        header(200, 24) + b"data",
        header(200, 9999) + b"data",
        header(200, 24, "0.0.0.0") + b"data",
        header(200, 24, LO, "127.0.0.9") + b"data",
        header(200, 24, "1.2.3.4") + b"data",
        header(200, 24, LO, LO, 0) + b"data",
        header(200, 28, LO, LO, 7, 6) + bytes(4) + b"data",
        header(200, 24, LO, LO, 7, 15) + b"data",
        header(200, 24, LO, LO, 7, 4) + b"data",
        header(200, 24, LO, LO, 7, 0) + b"data",
        header(200, 24)[:19],
        header(200, 24),
        b"",
    ):
        out.append((attempt(s.sendto, packet, (LO, 0)), drain(r)))
    out.append((attempt(s.sendto, header(200, 65535) + bytes(65515), (LO, 0)), [len(d) for d, _ in drain(r)]))
    t = raw(env, 200, 2, (0, 3, 1))
    out += [attempt(t.sendto, header(200, 24) + b"same", (LO, 0)), drain(r), attempt(t.sendto, b"short", (LO, 0))]
    t.setsockopt(0, 4, b"\1\1\1\1")
    out.append(attempt(t.sendto, header(200, 24) + b"opts", (LO, 0)))
    t.setsockopt(0, 3, 0)
    out += [attempt(t.sendto, b"plain", (LO, 0)), drain(r)]
    return out


def icmp_and_its_filter(env: Any) -> Any:
    r = raw(env, 1)
    out: list[Any] = [r.getsockopt(255, 1)]
    echo = struct.pack("!BBHHH", 8, 0, 0xF7FF - 0x1234 & 0xFFFF, 0x1234, 0) + b""
    total = sum(struct.unpack("!4H", echo[:2] + b"\0\0" + echo[4:]))
    echo = echo[:2] + struct.pack("!H", 0xFFFF - (total & 0xFFFF) - (total >> 16)) + echo[4:]
    for mask in (0, 1, 1 << 8, 1 << 8 | 1, 0xFFFFFFFF, 1 << 3):
        r.setsockopt(255, 1, struct.pack("=I", mask))
        out += [mask, attempt(r.sendto, echo, (LO, 0)), [(d[9], d[12:]) for d, _ in drain(r)], meminfo(r)[8]]
    out.append(counters(env, "Icmp"))
    return out


def drops_and_queue(env: Any) -> Any:
    r, s = raw(env, 200, 2, (1, 8, 1)), raw(env, 200)
    out: list[Any] = [env.fcntl.ioctl(r, 0x541B, bytes(4))]
    for size in (1, 100, 1000, 5000, 1):
        s.sendto(bytes(size), (LO, 0))
        out.append((meminfo(r), env.fcntl.ioctl(r, 0x541B, bytes(4)), len(drain(r)), bits(env, r)))
    for _ in range(6):
        s.sendto(b"x", (LO, 0))
    out += [meminfo(r), attempt(r.recvmsg, 4), env.sys.recvfrom(r.fileno(), 5, 0x20)[0], attempt(r.recv, 4, 2), len(drain(r))]
    return out


def disconnected_for_good(env: Any) -> Any:
    r, s = raw(env, 200), raw(env, 200)
    r.connect((LO, 0))
    out: list[Any] = [env.sys.connect(r.fileno(), bytes(16), 16), r.getsockname(), attempt(s.sendto, b"x", (LO, 0)), drain(r)]
    out += [attempt(r.connect, (LO, 0)), attempt(r.send, b"y"), drain(r), [len(drain(s))]]
    return out


def errors_of_icmp(env: Any) -> Any:
    out: list[Any] = []
    for recverr in (0, 1):
        for connected in (False, True):
            s = raw(env, 202, 2, (0, 11, recverr))
            s.bind((LO, 0))
            t = raw(env, 255)
            if connected:
                s.connect((LO, 0))
            quoted = header(202, 28) + b"01234567"
            for type_, code in ((3, 1), (3, 2), (3, 3), (3, 4), (11, 0), (12, 0), (3, 13)):
                body = struct.pack("!BBHI", type_, code, 0, 1000) + quoted
                total = sum(struct.unpack(f"!{len(body) // 2}H", body))
                total = (total & 0xFFFF) + (total >> 16)
                body = body[:2] + struct.pack("!H", 0xFFFF - (total & 0xFFFF) - (total >> 16)) + body[4:]
                t.sendto(header(1, 20 + len(body)) + body, (LO, 0))
                got = attempt(s.recvmsg, 100, 200, 0x2000)
                out.append(
                    (
                        recverr,
                        connected,
                        type_,
                        code,
                        bits(env, s),
                        got if isinstance(got, str) else (shown(got[0]), got[1:]),
                        s.getsockopt(1, 4),
                    )
                )
            s.close()
    return out


def messages(env: Any) -> Any:
    r = raw(env, 200, 2, (0, 8, 1), (0, 12, 1), (0, 13, 1), (0, 20, 1), (0, 6, 1))
    s = raw(env, 200)
    out = []
    for message in ([], [int_cmsg(0, 2, 5)], [int_cmsg(0, 1, 8)], [int_cmsg(0, 52, 201)], [(0, 7, b"\1\1\1\1")], [int_cmsg(0, 2, 0)]):
        got = (attempt(s.sendmsg, [b"abcdefgh"], message, 0, (LO, 0)), attempt(r.recvmsg, 100, 200))
        out.append((got[0], got[1] if isinstance(got[1], str) else (shown(got[1][0]), got[1][1:])))
    return out


def on_devices(env: Any) -> Any:
    index = add_veth(env, "v0", "10.1.1.1", 24)
    r = raw(env, 200, 2, (1, 25, b"v0\0"))
    s = raw(env, 200, 2, (1, 6, 1))
    out: list[Any] = [index > 1]
    for host in (LO, "10.1.1.1", "10.1.1.255", "224.0.0.1"):
        out += [attempt(s.sendto, b"x", (host, 0)), drain(r), drain(s)]
    return out


def ipv6_payloads(env: Any) -> Any:
    r, s = raw(env, 200, 10, (41, 49, 1), (41, 51, 1)), raw(env, 200, 10)
    out: list[Any] = [
        attempt(s.sendto, b"six", ("::1", 0)),
        attempt(r.recvmsg, 100, 100),
        attempt(s.sendto, b"six", ("::1", 200)),
        attempt(s.sendto, b"six", ("::1", 7)),
    ]
    out += [
        attempt(s.sendto, b"six", ("::1", 256)),
        attempt(s.send, b"x"),
        attempt(s.connect, ("::1", 0)),
        attempt(s.send, b"y"),
        attempt(s.getpeername),
        s.getsockname(),
    ]
    for host in ("::ffff:127.0.0.1", "2001:db8::1", "fe80::1", "ff02::1", "::"):
        out.append(
            (
                host,
                attempt(s.sendto, b"x", (host, 0)),
                attempt(raw(env, 200, 10).bind, (host, 0)),
                attempt(raw(env, 200, 10).connect, (host, 0)),
            )
        )
    good = b"\x0a\0\0\0" + bytes(4) + bytes(15) + b"\1" + bytes(4)
    for addr, length in ((good, 28), (good, 24), (good, 23), (b"\0\0" + good[2:], 28), (b"\2\0" + good[2:], 28)):
        out.append(
            (
                env.sys.sendto(s.fileno(), b"x", 0, addr, length),
                env.sys.bind(raw(env, 201, 10).detach(), addr, length),
                env.sys.connect(raw(env, 201, 10).detach(), addr, length),
            )
        )
    attempt(r.recv, 100)
    c = raw(env, 203, 10, (41, 7, 2))
    d = raw(env, 203, 10)
    out += [
        attempt(d.sendto, b"\0\0\0\0abcd", ("::1", 0)),
        attempt(c.recv, 99),
        meminfo(c)[8],
        attempt(c.sendto, b"\0\0\0\0abcd", ("::1", 0)),
        attempt(c.recv, 99),
    ]
    out += [attempt(c.sendto, b"abc", ("::1", 0)), attempt(c.sendto, b"abcd", ("::1", 0)), attempt(c.recv, 99), meminfo(c)]
    return out


def ipv6_icmp_filter(env: Any) -> Any:
    r = raw(env, 58, 10)
    out: list[Any] = [
        r.getsockopt(58, 1, 40),
        attempt(r.getsockopt, 41, 7),
        attempt(r.setsockopt, 41, 7, 2),
        attempt(r.setsockopt, 255, 7, 2),
        attempt(r.setsockopt, 255, 7, 3),
    ]
    echo = struct.pack("!BBHHH", 128, 0, 0, 0x1234, 1) + b"data"
    for blocked in ((), (128,), (129,), (128, 129)):
        mask = [0] * 8
        for type_ in blocked:
            mask[type_ >> 5] |= 1 << (type_ & 31)
        r.setsockopt(58, 1, struct.pack("=8I", *mask))
        out += [blocked, attempt(r.sendto, echo, ("::1", 0))]
        found = []
        while (got := attempt(r.recvfrom, 100)) != "EAGAIN":
            found.append(got)
        out.append(found)
    return out


def ipv6_headers_of_the_program(env: Any) -> Any:
    r, s = raw(env, 200, 10), raw(env, 255, 10)
    one = bytes(15) + b"\1"
    good = struct.pack("!IHBB", 6 << 28 | 5 << 20, 4, 200, 9) + one + one + b"data"
    out: list[Any] = [attempt(s.getsockopt, 41, 36)]
    for packet in (good, good[:39], good[:40], b"", good[:4] + b"\0\x09" + good[6:]):
        out.append((attempt(s.sendto, packet, ("::1", 0)), attempt(r.recvfrom, 100)))
    t = raw(env, 200, 10, (41, 36, 1))
    out += [attempt(t.sendto, good, ("::1", 0)), attempt(r.recvfrom, 100), attempt(t.recvfrom, 100)]
    return out


PROGRAMS = [
    who_may_have_one,
    copies_of_udp,
    payloads_and_headers,
    headers_of_the_program,
    icmp_and_its_filter,
    drops_and_queue,
    disconnected_for_good,
    errors_of_icmp,
    messages,
    on_devices,
    ipv6_payloads,
    ipv6_icmp_filter,
    ipv6_headers_of_the_program,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_raw_sockets_do_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
