"""UDP over loopback: names, delivery, connect and disconnect, errors, buffers, flags: the live kernel and the twin say the same."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import bits, changes, counters, local_port_range, meminfo, udp

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"


def datagrams_cross(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    out: list[Any] = [b.getsockname(), attempt(b.sendto, b"one", (LO, 5000)), b.getsockname(), bits(env, a)]
    out.append(a.recvfrom(10))
    b.sendto(b"", (LO, 5000))
    b.sendto(b"0123456789", (LO, 5000))
    b.sendto(b"0123456789", (LO, 5000))
    out.append([bits(env, a), a.recvfrom(10), a.recvmsg(4), env.sys.recvfrom(a.fileno(), 4, 0x20), attempt(a.recv, 4), bits(env, a)])
    b.sendto(b"abc", (LO, 5000))
    fd = a.fileno()
    out.append([a.recv(2, 2), env.sys.recvfrom(fd, 2, 0x22), a.recvmsg(2, 0, 2), env.sys.recvfrom(fd, 0, 0), attempt(a.recv, 1)])
    return out


def connect_and_disconnect(env: Any) -> Any:
    a, b, c = udp(env, LO, 5000), udp(env), udp(env, LO, 5002)
    out: list[Any] = [attempt(b.getpeername), attempt(b.send, b"x"), attempt(b.connect, (LO, 5000)), b.getpeername(), b.getsockname()]
    out.append([attempt(b.send, b"hi"), a.recv(10), attempt(b.sendto, b"other", (LO, 5002)), c.recv(10)])
    name = b.getsockname()
    out.append([attempt(c.sendto, b"stranger", name), attempt(b.recv, 10), attempt(a.sendto, b"peer", name), attempt(b.recv, 10)])
    out.append([attempt(env.sys.connect, b.fileno(), bytes(16), 16), b.getsockname()[0], attempt(b.getpeername)])
    d = udp(env, "0.0.0.0", 5003)
    d.connect((LO, 5000))
    out.append([d.getsockname(), env.sys.connect(d.fileno(), bytes(2), 2), d.getsockname(), d.getsockname()])
    d.connect((LO, 0))
    out.append([attempt(d.getpeername), attempt(d.send, b"x"), attempt(d.sendto, b"x", (LO, 0))])
    out.append([env.sys.connect(d.fileno(), bytes(1), 1), env.sys.connect(d.fileno(), b"\2\0" + bytes(10), 12)])
    out.append([env.sys.connect(d.fileno(), b"\x0a\0" + bytes(26), 28), d.getsockname(), env.sys.connect(d.fileno(), b"", 0)])
    return out


def bound_device_after_disconnect(env: Any) -> Any:
    a = udp(env)
    a.setsockopt(1, 25, b"lo\0")
    out = [a.getsockopt(1, 62)]
    a.connect((LO, 9))
    out.append([a.getsockopt(1, 62), env.sys.connect(a.fileno(), bytes(2), 2), a.getsockopt(1, 62)])
    return out


def refused_by_icmp(env: Any) -> Any:
    a = udp(env)
    a.connect((LO, 9))
    before = counters(env, "Icmp")
    out: list[Any] = [a.send(b"x"), bits(env, a), attempt(a.send, b"y"), attempt(a.send, b"z"), bits(env, a), attempt(a.recv, 1)]
    out += [attempt(a.recv, 1), a.send(b"x"), a.getsockopt(1, 4), a.getsockopt(1, 4), bits(env, a)]
    b = udp(env)
    out += [b.sendto(b"x", (LO, 9)), bits(env, b), b.getsockopt(1, 4)]
    out.append(changes(env, "Icmp", before))
    out.append(counters(env, "Udp"))
    return out


def errors_of_sendto(env: Any) -> Any:
    a = udp(env)
    out = []
    for size in (65507, 65508, 65535, 65536):
        out.append(attempt(a.sendto, bytes(size), (LO, 5000)))
    fd = a.fileno()
    good = b"\2\0\x13\x88\x7f\0\0\1" + bytes(8)
    for addr, length in (
        (good, 16),
        (good, 15),
        (good, 28),
        (b"\0\0" + good[2:], 16),
        (b"\x0a\0" + good[2:], 16),
        (b"\1\0" + good[2:], 16),
    ):
        out.append(env.sys.sendto(fd, b"x", 0, addr, length))
    for flags in (1, 4, 0x40, 0x80, 0x8000, 0x4000):
        out.append(env.sys.sendto(fd, b"x", flags, good, 16))
    for host in ("10.1.2.3", "255.255.255.255", "127.255.255.255", "224.0.0.5", "0.0.0.0", "240.0.0.1", "0.0.0.1"):
        out.append(attempt(a.sendto, b"x", (host, 5000)))
        out.append(attempt(udp(env).connect, (host, 5000)))
    out.append(attempt(a.listen))
    out.append(attempt(a.accept))
    return out


def shutdown_bits(env: Any) -> Any:
    out: list[Any] = []
    for how in (0, 1, 2, 3, -1):
        a = udp(env, LO, 5000)
        row: list[Any] = [attempt(a.shutdown, how), bits(env, a), attempt(a.sendto, b"x", (LO, 5000)), attempt(a.recv, 1), bits(env, a)]
        a.close()
        b = udp(env, LO, 5000)
        b.connect((LO, 5001))
        row += [attempt(b.shutdown, how), bits(env, b), attempt(b.send, b"x"), attempt(b.recv, 1), bits(env, b)]
        b.close()
        out.append(row)
    return out


def truesize_of_datagrams(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    out = []
    for size in (
        0,
        1,
        100,
        183,
        184,
        185,
        186,
        193,
        194,
        195,
        600,
        1000,
        1472,
        2000,
        3000,
        5000,
        7000,
        10000,
        16000,
        16100,
        20000,
        32768,
        65507,
    ):
        b.sendto(bytes(size), (LO, 5000))
        info = meminfo(a)
        out.append((size, info[0], info[4]))
        a.recv(1)
        out.append(meminfo(a))
    return out


def buffer_fills_and_drops(env: Any) -> Any:
    out = []
    for rcvbuf, size in ((212992 // 2, 1), (212992 // 2, 1000), (1, 5000), (1, 1), (5000, 1000), (20000, 100)):
        a, b = udp(env, LO, 5000), udp(env)
        a.setsockopt(1, 8, rcvbuf)
        before = counters(env, "Udp")
        for _ in range(300):
            b.sendto(bytes(size), (LO, 5000))
        row: list[Any] = [meminfo(a), changes(env, "Udp", before)]
        for _ in range(3):
            a.recv(1)
            row.append(meminfo(a))
            for _ in range(3):
                b.sendto(bytes(size), (LO, 5000))
            row.append(meminfo(a))
        count = 0
        while attempt(a.recv, 1) != "EAGAIN":
            count += 1
        row += [count, meminfo(a), counters(env, "Udp")]
        out.append(row)
        a.close()
    return out


def rxq_ovfl_counts(env: Any) -> Any:
    a, b = udp(env, LO, 5000, options=((1, 8, 1), (1, 40, 1))), udp(env)
    out = []
    for _ in range(6):
        b.sendto(b"x", (LO, 5000))
    for _ in range(2):
        out.append(attempt(a.recvmsg, 10, 100))
    b.sendto(b"y", (LO, 5000))
    out.append(attempt(a.recvmsg, 10, 100))
    return out


def queue_lengths(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    ioctl = env.fcntl.ioctl
    out = [ioctl(a, 0x541B, bytes(4))]
    b.sendto(b"", (LO, 5000))
    b.sendto(b"abc", (LO, 5000))
    out.append([ioctl(a, 0x541B, bytes(4)), ioctl(b, 0x5411, bytes(4))])
    a.recv(1)
    out.append([ioctl(a, 0x541B, bytes(4)), attempt(ioctl, a, 0x894B, bytes(40))])
    return out


def peek_offset(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    out: list[Any] = [a.getsockopt(1, 42)]
    for data in (b"abcdef", b"", b"ghi", b"jklm"):
        b.sendto(data, (LO, 5000))
    a.setsockopt(1, 42, 0)
    for size in (2, 2, 9, 9, 9, 9, 9):
        out.append([attempt(a.recv, size, 2), a.getsockopt(1, 42)])
    out.append([attempt(a.recv, 3), a.getsockopt(1, 42), attempt(a.recv, 9), attempt(a.recv, 9), a.getsockopt(1, 42)])
    a.setsockopt(1, 42, 1)
    out.append(
        [attempt(a.recv, 2, 2), env.sys.recvfrom(a.fileno(), 2, 0x22)[0], a.getsockopt(1, 42), attempt(a.recv, 1), a.getsockopt(1, 42)]
    )
    return out


def corked_pieces(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    b.connect((LO, 5000))
    out: list[Any] = [b.send(b"ab", 0x8000), bits(env, a), meminfo(b)[2], b.send(b"cd", 0x8000), b.send(b"ef"), attempt(a.recv, 9)]
    b.setsockopt(17, 1, 1)
    out += [b.send(b"12"), b.send(b"34"), attempt(a.recv, 9), attempt(b.sendto, b"56", (LO, 5001)), b.getsockopt(17, 1)]
    b.setsockopt(17, 1, 0)
    out += [attempt(a.recv, 9), b.send(b"x", 0x8000), attempt(b.send, bytes(65507)), attempt(a.recv, 9), b.send(b"y"), attempt(a.recv, 9)]
    out += [b.send(b"left", 0x8000), counters(env, "Udp")]
    b.close()
    out.append(attempt(a.recv, 9))
    return out


def errors_in_order(env: Any) -> Any:
    """Socket calls that fail for two reasons."""
    a = udp(env)
    out = [attempt(a.sendto, bytes(70000), (LO, 0)), env.sys.sendto(a.fileno(), bytes(70000), 1, None, 0)]
    out.append(env.sys.sendto(a.fileno(), b"", 1, None, 0))
    out.append([attempt(a.send, b""), env.sys.sendto(a.fileno(), b"", 0, b"\2\0", 2)])
    a.shutdown(2) if attempt(a.connect, (LO, 9)) is None else None
    out.append([attempt(a.sendto, b"", ("10.9.9.9", 1)), attempt(a.send, b"x"), attempt(a.send, bytes(70000))])
    return out


def reading_with_write_and_readv(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env)
    b.connect((LO, 5000))
    out: list[Any] = [env.os.write(b.fileno(), b"file"), env.os.read(a.fileno(), 2), attempt(env.os.read, a.fileno(), 2)]
    out += [b.sendmsg([b"a", b"bc", b""]), a.recv(9), b.sendmsg([]), a.recv(9)]
    return out


def no_check(env: Any) -> Any:
    a, b = udp(env, LO, 5000), udp(env, options=((1, 11, 1),))
    out = [b.sendto(b"x", (LO, 5000)), a.recv(3), b.getsockopt(1, 11)]
    return out


def ports_and_autobind(env: Any) -> Any:
    local_port_range(env, 40000, 40003)
    socks = [udp(env) for _ in range(6)]
    out = [sorted(str(attempt(s.sendto, b"x", (LO, 9))) for s in socks)]
    out.append(sorted(s.getsockname()[1] for s in socks))
    out.append([attempt(udp(env).connect, (LO, 9)), attempt(udp(env).bind, (LO, 0))])
    return out


PROGRAMS = [
    datagrams_cross,
    connect_and_disconnect,
    bound_device_after_disconnect,
    refused_by_icmp,
    errors_of_sendto,
    shutdown_bits,
    truesize_of_datagrams,
    buffer_fills_and_drops,
    rxq_ovfl_counts,
    queue_lengths,
    peek_offset,
    corked_pieces,
    errors_in_order,
    reading_with_write_and_readv,
    no_check,
    ports_and_autobind,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_udp_does_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
