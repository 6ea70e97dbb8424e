"""Ping sockets: who may have one, identifiers, echoes, errors; over both IP versions."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import bits, counters, meminfo

pytestmark = [pytest.mark.root]


def host_of(family: int) -> str:
    return "::1" if family == 10 else "127.0.0.1"


def ping(env: Any, family: int) -> Any:
    sock = env.socket.socket(family, 2, 58 if family == 10 else 1)
    sock.setblocking(False)
    return sock


def echo_of(family: int, data: bytes = b"data", type_: int = -1, code: int = 0) -> bytes:
    return struct.pack("!BBHHH", type_ if type_ >= 0 else 128 if family == 10 else 8, code, 0xAAAA, 0x5555, 3) + data


def allow(env: Any, groups: str = "0 2147483647") -> None:
    env.sysctl("ipv4/ping_group_range", groups)


def who_may_have_one(env: Any, family: int) -> Any:
    protocol = 58 if family == 10 else 1
    out: list[Any] = [env.sysctl("ipv4/ping_group_range"), env.sys.socket(family, 2, protocol)]
    for groups in ("0 0", "1 5", "0 65534", "65534 65534"):
        allow(env, groups)
        fd = env.sys.socket(family, 2, protocol)
        out.append((groups, min(fd, 0)))
    env.setuid(65534)
    out.append(min(env.sys.socket(family, 2, protocol), 0))
    return out


def echoes(env: Any, family: int) -> Any:
    allow(env)
    host = host_of(family)
    a, b = ping(env, family), ping(env, family)
    out: list[Any] = [a.getsockname(), bits(env, a), a.bind((host, 77)), a.getsockname(), attempt(a.bind, (host, 78))]
    out += [attempt(a.sendto, echo_of(family), (host, 0)), bits(env, a), a.recvfrom(100), bits(env, b), attempt(a.recv, 1)]
    out += [attempt(b.sendto, echo_of(family, b""), (host, 9)), b.getsockname()[0], [len(b.recv(100)), bits(env, b)]]
    out += [
        attempt(b.bind, (host, 80)),
        attempt(b.connect, (host, 5)),
        attempt(b.getpeername),
        attempt(b.send, echo_of(family, b"conn")),
        len(b.recv(100)),
    ]
    c = ping(env, family)
    out += [attempt(c.bind, (host, 77)), attempt(a.sendto, echo_of(family), (host, 0)), bits(env, a), bits(env, c)]
    d = ping(env, family)
    d.setsockopt(1, 2, 0)
    out += [attempt(d.bind, (host, 77)), d.getsockname(), d.getsockopt(1, 2)]
    out += [attempt(a.sendto, echo_of(family, b"x" * 500), (host, 0)), attempt(c.recvmsg, 5), attempt(c.recvmsg, 5, 0, 0x20), meminfo(a)[0]]
    return out


def what_may_be_sent(env: Any, family: int) -> Any:
    allow(env)
    host = host_of(family)
    a = ping(env, family)
    out: list[Any] = []
    for data in (
        b"",
        b"1234567",
        echo_of(family, b""),
        echo_of(family, b"", 0),
        echo_of(family, b"", 129),
        echo_of(family, b"", -1, 1),
        echo_of(family, b"", 13),
    ):
        out.append(attempt(a.sendto, data, (host, 0)))
        attempt(a.recv, 100)
    for size in (1000, 65499, 65500, 65527, 65528, 70000):
        out.append((size, attempt(a.sendto, echo_of(family, bytes(size)), (host, 0)), len(attempt(a.recv, 70000))))
    out += [attempt(a.send, echo_of(family)), attempt(a.sendto, echo_of(family), 1, (host, 0)), attempt(a.recv, 1, 1)]
    fd = a.fileno()
    addr = b"\x0a\0\0\0" + bytes(4) + bytes(15) + b"\1" + bytes(4) if family == 10 else b"\2\0\0\0\x7f\0\0\1" + bytes(8)
    for name in (addr, addr[:-1], addr[:16], addr[:2], b"\0\0" + addr[2:], b"\1\0" + addr[2:]):
        other = env.socket.socket(family, 2, 58 if family == 10 else 1).detach()
        out.append(
            (
                len(name),
                env.sys.sendto(fd, echo_of(family), 0, name, len(name)),
                env.sys.bind(other, name, len(name)),
                env.sys.connect(other, name, len(name)),
            )
        )
    hosts = (
        ("2001:db8::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "::")
        if family == 10
        else ("10.9.9.9", "255.255.255.255", "224.0.0.9", "0.0.0.0")
    )
    for other_host in hosts:
        out.append(
            (
                other_host,
                attempt(a.sendto, echo_of(family), (other_host, 0)),
                attempt(ping(env, family).bind, (other_host, 5)),
                attempt(ping(env, family).connect, (other_host, 5)),
            )
        )
    out += [attempt(env.fcntl.ioctl, a, 0x541B, bytes(40)), attempt(a.listen), attempt(a.shutdown, 0), bits(env, a)]
    return out


def disconnected(env: Any, family: int) -> Any:
    allow(env)
    host = host_of(family)
    a, b = ping(env, family), ping(env, family)
    a.bind((host, 77))
    a.connect((host, 1))
    out: list[Any] = [a.getsockname(), env.sys.connect(a.fileno(), bytes(28), 28), a.getsockname(), attempt(a.getpeername)]
    b.connect((host, 1))
    out += [env.sys.connect(b.fileno(), bytes(28), 28), b.getsockname(), attempt(b.bind, (host, 90)), b.getsockname()]
    return out


def messages_and_counters(env: Any, family: int) -> Any:
    allow(env)
    host = host_of(family)
    a = ping(env, family)
    a.bind((host, 77))
    for level, name in ((41, 49), (41, 51), (41, 66)) if family == 10 else ((0, 8), (0, 12), (0, 13)):
        a.setsockopt(level, name, 1)
    out: list[Any] = [attempt(a.sendto, echo_of(family), (host, 0)), a.recvmsg(100, 200), counters(env, "Icmp")]
    ttl = (41, 52, struct.pack("=i", 9)) if family == 10 else (0, 2, struct.pack("=i", 9))
    out += [attempt(a.sendmsg, [echo_of(family)], [ttl], 0, (host, 0)), a.recvmsg(100, 200)]
    return out


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize(
    "program", [who_may_have_one, echoes, what_may_be_sent, disconnected, messages_and_counters], ids=lambda p: p.__name__
)
def test_ping_sockets_do_the_same_on_both_kernels(program: Any, family: int) -> None:
    assert_parity(program, family)
