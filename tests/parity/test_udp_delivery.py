"""Who gets a datagram: duplicates, connected members, groups, multicast, broadcast, devices, mapped addresses; UDP-Lite."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import add_veth, bits, changes, counters, meminfo, udp

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
RA = (1, 2, 1)
RP = (1, 15, 1)


def who(socks: Any) -> list[Any]:
    """Take one datagram from each socket that has one: (index, data)."""
    found: list[Any] = []
    for index, sock in enumerate(socks):
        while (data := attempt(sock.recv, 100)) != "EAGAIN":
            found.append((index, data))
    return found


def names_of(sock: Any) -> list[str]:
    """Take every datagram of a socket: data and sender's address, sorted."""
    found = []
    while (got := attempt(sock.recvfrom, 100)) != "EAGAIN":
        found.append(str((got[0], got[1][0])))
    return sorted(found)


def last_bound_wins_among_reuseaddr(env: Any, family: int) -> Any:
    host = "::1" if family == 10 else LO
    socks = [udp(env, host, 5000, family=family, options=(RA,)) for _ in range(3)]
    b = udp(env, family=family)
    out = []
    for _ in range(3):
        b.sendto(b"x", (host, 5000))
        out.append(who(socks))
        socks.pop().close()
    return out


def specific_address_wins(env: Any, family: int) -> Any:
    host, any_ = ("::1", "::") if family == 10 else (LO, "0.0.0.0")
    b = udp(env, family=family)
    out = []
    for order in ((host, any_), (any_, host)):
        socks = [udp(env, address, 5000, family=family, options=(RA,)) for address in order]
        b.sendto(b"x", (host, 5000))
        out.append([order[index] for index, _ in who(socks)])
        for sock in socks:
            sock.close()
    return out


def connected_members(env: Any, family: int) -> Any:
    host = "::1" if family == 10 else LO
    b, c = udp(env, host, 6000, family=family), udp(env, host, 6001, family=family)
    out = []
    for option in (RA, RP):
        socks = [udp(env, host, 5000, family=family, options=(option,)) for _ in range(3)]
        socks[1].connect((host, 6000))
        for sender in (b, c, b):
            for _ in range(4):
                sender.sendto(b"x", (host, 5000))
            got = who(socks)
            out.append((len(got), sorted({index == 1 for index, _ in got})))
        for sock in socks:
            sock.close()
    return out


def group_and_later_plain_socket(env: Any) -> Any:
    out = []
    for plain_first in (False, True):
        socks = []
        options = (RA, RP)
        if plain_first:
            socks.append(udp(env, LO, 5000, options=(RA,)))
        socks += [udp(env, LO, 5000, options=options) for _ in range(2)]
        if not plain_first:
            socks.append(udp(env, LO, 5000, options=(RA,)))
        plain = 0 if plain_first else 2
        got = []
        for port in range(6000, 6020):
            b = udp(env, LO, port)
            b.sendto(b"x", (LO, 5000))
            b.close()
            got += [index == plain for index, _ in who(socks)]
        out.append((len(got), sorted(set(got))))
        for sock in socks:
            sock.close()
    return out


def group_is_even_and_steady(env: Any, family: int) -> Any:
    host = "::1" if family == 10 else LO
    socks = [udp(env, host, 5000, family=family, options=(RP,)) for _ in range(4)]
    counts = [0, 0, 0, 0]
    steady = True
    for port in range(6000, 6200):
        b = udp(env, host, port, family=family)
        b.sendto(b"x", (host, 5000))
        first = who(socks)
        b.sendto(b"x", (host, 5000))
        steady = steady and first == who(socks)
        counts[first[0][0]] += 1
        b.close()
    return steady, [25 < count < 80 for count in counts]


def families_of_one_port(env: Any) -> Any:
    out: list[Any] = []
    for v6only in (0, 1):
        four = udp(env, "0.0.0.0", 5000, options=(RA,)) if v6only else None
        six = udp(env, "::", 5000, family=10, options=(RA, (41, 26, v6only)))
        b, c = udp(env), udp(env, family=10)
        row: list[Any] = [
            attempt(b.sendto, b"4", (LO, 5000)),
            attempt(c.sendto, b"6", ("::1", 5000)),
            attempt(c.sendto, b"m", ("::ffff:127.0.0.1", 5000)),
        ]
        row.append(names_of(six))
        if four is not None:
            row.append(names_of(four))
            four.close()
        six.close()
        out.append(row)
    a = udp(env, "::ffff:127.0.0.1", 5001, family=10)
    b = udp(env, LO, 5002)
    b.connect((LO, 5001))
    out += [b.send(b"hi"), a.recvfrom(9), a.getsockname(), attempt(a.sendto, b"r", ("::ffff:127.0.0.1", 5002)), b.recvfrom(9)]
    out += [
        attempt(a.sendto, b"r", ("::1", 5002)),
        attempt(a.connect, ("::1", 5002)),
        attempt(a.connect, ("::ffff:127.0.0.1", 5002)),
        a.getpeername(),
    ]
    out += [attempt(a.send, b"s"), b.recv(9), a.getsockopt(41, 1), attempt(a.setsockopt, 41, 1, 2), a.getsockopt(1, 39), a.getsockname()]
    only = udp(env, family=10, options=((41, 26, 1),))
    out += [attempt(only.sendto, b"m", ("::ffff:127.0.0.1", 5000)), attempt(only.connect, ("::ffff:127.0.0.1", 5000))]
    out.append([counters(env, "Udp"), counters(env, "Udp6")])
    return out


def destinations_of_ipv6(env: Any) -> Any:
    out = []
    for host in (
        "::",
        "::1",
        "2001:db8::1",
        "fe80::1",
        "ff02::1",
        "ff01::1",
        "ff0e::1",
        "::ffff:10.1.1.1",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
    ):
        a = udp(env, family=10)
        out.append((host, attempt(a.sendto, b"x", (host, 5000)), attempt(udp(env, family=10).connect, (host, 5000))))
        out.append(attempt(a.sendto, b"x", (host, 5000, 0, 1)))
        c = udp(env, family=10)
        out.append((attempt(c.connect, (host, 5000, 0, 1)), c.getsockopt(1, 62), c.getsockname()[0], attempt(c.getpeername)))
    a = udp(env, family=10)
    good = b"\x0a\0\x13\x88" + bytes(4) + bytes(15) + b"\1" + bytes(4)
    for addr, length in (
        (good, 28),
        (good, 24),
        (good, 23),
        (good, 2),
        (good, 1),
        (b"\0\0" + good[2:], 28),
        (b"\2\0" + good[2:], 28),
        (b"\7\0" + good[2:], 28),
    ):
        out.append((env.sys.sendto(a.fileno(), b"x", 0, addr, length), env.sys.connect(udp(env, family=10).detach(), addr, length)))
    return out


def multicast_on_veth(env: Any) -> Any:
    index = add_veth(env, "v0", "10.1.1.1", 24)
    group = "232.5.5.5"
    aton = env.socket.inet_aton
    a, b, c, d = (udp(env, "0.0.0.0", 5000, options=(RA,)) for _ in range(4))
    mreq = aton(group) + aton("10.1.1.1")
    out: list[Any] = [attempt(a.setsockopt, 0, 35, mreq), attempt(a.setsockopt, 0, 35, mreq), meminfo(a)[6]]
    out.append(attempt(b.setsockopt, 0, 35, aton(group) + bytes(4) + struct.pack("=i", index)))
    c.setsockopt(0, 49, 0)
    s = udp(env, "10.1.1.1", 6000)
    out.append(attempt(s.sendto, b"one", (group, 5000)))
    out.append(who((a, b, c, d)))
    s.setsockopt(0, 32, aton("10.1.1.1"))
    out += [attempt(s.sendto, b"two", (group, 5000)), who((a, b, c, d))]
    s.setsockopt(0, 34, 0)
    out += [attempt(s.sendto, b"three", (group, 5000)), who((a, b, c, d))]
    s.setsockopt(0, 34, 1)
    source = aton(group) + aton("10.1.1.1") + aton("10.1.1.1")
    out += [attempt(a.setsockopt, 0, 38, source), attempt(a.setsockopt, 0, 38, source), meminfo(a)[6]]
    out += [attempt(s.sendto, b"four", (group, 5000)), who((a, b, c, d)), attempt(a.setsockopt, 0, 39, source)]
    out += [attempt(a.setsockopt, 0, 37, source), attempt(a.setsockopt, 0, 37, source), attempt(a.setsockopt, 0, 40, source)]
    out += [attempt(s.sendto, b"five", (group, 5000)), who((a, b, c, d))]
    out += [
        attempt(d.setsockopt, 0, 39, source),
        attempt(d.setsockopt, 0, 38, source),
        attempt(s.sendto, b"six", (group, 5000)),
        who((a, b, c, d)),
    ]
    out.append(env.sys.getsockopt(d.fileno(), 0, 41, 16))
    out += [attempt(d.setsockopt, 0, 40, source), attempt(d.setsockopt, 0, 36, mreq), attempt(a.setsockopt, 0, 36, mreq), meminfo(a)[6]]
    out += [attempt(b.setsockopt, 0, 36, aton(group) + bytes(4)), attempt(b.setsockopt, 0, 36, mreq)]
    out += [attempt(s.sendto, b"seven", (group, 5000)), who((a, b, c, d)), counters(env, "Udp")]
    return out


def memberships_have_limits(env: Any) -> Any:
    aton = env.socket.inet_aton
    a = udp(env)
    out = []
    for n in range(1, 23):
        out.append(attempt(a.setsockopt, 0, 35, aton(f"239.0.0.{n}") + aton(LO)))
    out.append(meminfo(a)[6])
    for n in range(1, 13):
        out.append(attempt(a.setsockopt, 0, 38, aton("239.0.0.1") + aton(LO) + aton(f"10.0.0.{n}")))
    out.append(meminfo(a)[6])
    filter_ = aton("239.0.0.2") + aton(LO) + struct.pack("=II", 1, 2) + aton("10.0.0.1") + aton("10.0.0.2")
    out += [attempt(a.setsockopt, 0, 41, filter_), env.sys.getsockopt(a.fileno(), 0, 41, 40)]
    out.append(attempt(a.setsockopt, 0, 41, aton("239.0.0.3") + aton(LO) + struct.pack("=II", 1, 11) + bytes(44)))
    out.append(attempt(a.setsockopt, 0, 41, aton("239.0.0.3") + aton(LO) + struct.pack("=II", 7, 1) + bytes(4)))
    out.append(attempt(a.setsockopt, 0, 41, aton("239.0.0.3") + aton(LO) + struct.pack("=II", 1, 0)))
    out.append(attempt(a.setsockopt, 0, 36, aton("239.0.0.3") + aton(LO)))
    for group, device in (("10.1.1.1", LO), ("239.9.9.9", "10.9.9.9"), ("0.0.0.0", LO), ("239.9.9.9", "0.0.0.0")):
        out.append(attempt(a.setsockopt, 0, 35, aton(group) + aton(device)))
    return out


def memberships_of_ipv6(env: Any) -> Any:
    pton = env.socket.inet_pton
    a, b = udp(env, "::", 5000, family=10), udp(env, family=10)
    group = pton(10, "ff15::5")
    out: list[Any] = []
    for addr, index in (
        ("ff15::5", 1),
        ("ff15::5", 1),
        ("ff15::5", 0),
        ("ff15::6", 0),
        ("::1", 1),
        ("ff15::5", 9),
        ("ff02::5", 1),
        ("ff15::7", -1),
    ):
        out.append(attempt(a.setsockopt, 41, 20, pton(10, addr) + struct.pack("=i", index)))
    out.append(meminfo(a)[6])
    b.setsockopt(41, 17, 1)
    out += [attempt(b.sendto, b"x", ("ff15::5", 5000)), who((a,)), attempt(b.sendto, b"x", ("ff15::99", 5000)), who((a,))]
    request = struct.pack("=I4xHHI", 1, 10, 0, 0) + group + bytes(108)
    for name in (45, 42, 42, 45):
        out.append(attempt(a.setsockopt, 41, name, request))
    source = request + struct.pack("=HHI", 10, 0, 0) + pton(10, "::1") + bytes(104)
    for name in (46, 46, 43, 44, 47, 47, 46):
        out.append((name, len(source), attempt(a.setsockopt, 41, name, source), meminfo(a)[6]))
    out += [attempt(b.sendto, b"y", ("ff15::5", 5000)), who((a,))]
    out += [attempt(a.setsockopt, 41, 21, group + struct.pack("=i", 0)), attempt(a.setsockopt, 41, 21, group + struct.pack("=i", 1))]
    out += [attempt(a.setsockopt, 41, 27, pton(10, "2001:db8::9") + struct.pack("=i", 1)), attempt(a.setsockopt, 41, 28, group + bytes(4))]
    return out


def broadcast_on_veth(env: Any) -> Any:
    add_veth(env, "v0", "10.1.1.1", 24)
    socks = [udp(env, address, 5000, options=(RA,)) for address in ("0.0.0.0", "0.0.0.0", "10.1.1.1", "10.1.1.255")]
    socks += [udp(env, "0.0.0.0", 5000, options=(RA, RP)) for _ in range(2)]
    s = udp(env, "10.1.1.1", 6000)
    out: list[Any] = [attempt(s.sendto, b"no", ("10.1.1.255", 5000)), attempt(s.sendto, b"no", ("255.255.255.255", 5000))]
    s.setsockopt(1, 6, 1)
    for host in ("10.1.1.255", "255.255.255.255"):
        out += [attempt(s.sendto, b"yes", (host, 5000)), who(socks)]
    out += [attempt(s.sendto, b"none", ("10.1.1.255", 5999)), counters(env, "Udp"), counters(env, "Icmp")]
    return out


def bound_devices(env: Any) -> Any:
    add_veth(env, "v0", "10.1.1.1", 24)
    out = []
    for device in (b"lo\0", b"v0\0"):
        bound = udp(env, "0.0.0.0", 5000, options=(RA, (1, 25, device)))
        free = udp(env, "0.0.0.0", 5000, options=(RA,))
        s = udp(env)
        for host in (LO, "10.1.1.1"):
            out += [device, host, attempt(s.sendto, b"x", (host, 5000)), who((bound, free))]
        t = udp(env, options=((1, 25, device),))
        for host in (LO, "10.1.1.1", "10.1.1.7", "10.9.9.9"):
            out += [attempt(t.sendto, b"x", (host, 5000)), who((bound, free))]
        bound.close()
        free.close()
    return out


def coverage_of_udplite(env: Any, family: int) -> Any:
    host = "::1" if family == 10 else LO
    out: list[Any] = []
    for send, receive in ((None, None), (0, 0), (8, None), (8, 8), (8, 9), (20, 10), (20, 30), (1, 1), (100, 12), (70000, 0), (0, 70000)):
        a = udp(env, host, 5000, family=family, proto=136)
        b = udp(env, family=family, proto=136)
        row: list[Any] = [send, receive]
        if send is not None:
            row += [attempt(b.setsockopt, 136, 10, send), b.getsockopt(136, 10)]
        if receive is not None:
            row += [attempt(a.setsockopt, 136, 11, receive), a.getsockopt(136, 11)]
        row += [b.sendto(b"0123456789", (host, 5000)), bits(env, a), attempt(a.recv, 100), meminfo(a)[8]]
        out.append(row)
        a.close()
    group = "UdpLite6" if family == 10 else "UdpLite"
    c = udp(env, family=family, proto=136)
    out += [
        c.sendto(b"x", (host, 5999)),
        counters(env, group),
        c.getsockopt(1, 38),
        attempt(c.setsockopt, 136, 103, 5),
        attempt(c.sendto, b"0123456", (host, 5000)),
    ]
    return out


def errors_do_not_cross_protocols(env: Any) -> Any:
    before = counters(env, "Icmp")
    a, b = udp(env, LO, 5000), udp(env, LO, 5000, proto=136)
    out: list[Any] = [a.sendto(b"x", (LO, 5000)), b.sendto(b"y", (LO, 5000)), a.recv(9), b.recv(9)]
    out.append(changes(env, "Icmp", before))
    return out


FAMILIES = [last_bound_wins_among_reuseaddr, specific_address_wins, connected_members, group_is_even_and_steady, coverage_of_udplite]
SINGLE = [
    group_and_later_plain_socket,
    families_of_one_port,
    destinations_of_ipv6,
    multicast_on_veth,
    memberships_have_limits,
    memberships_of_ipv6,
    broadcast_on_veth,
    bound_devices,
    errors_do_not_cross_protocols,
]


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("program", FAMILIES, ids=lambda program: program.__name__)
def test_the_same_socket_gets_the_datagram_over_either_family(program: Any, family: int) -> None:
    assert_parity(program, family)


@pytest.mark.parametrize("program", SINGLE, ids=lambda program: program.__name__)
def test_the_same_socket_gets_the_datagram_on_both_kernels(program: Any) -> None:
    assert_parity(program)
