"""rtnetlink on both kernels: what links, addresses, routes and neighbours look like, and what changing them answers."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity
from tests.parity.prockit import ask
from twinsock.wire.netlink import nlattr, parse_attributes

pytestmark = [pytest.mark.root]

NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR, DELADDR, GETADDR, NEWROUTE, DELROUTE, GETROUTE = 16, 17, 18, 19, 20, 21, 22, 24, 25, 26
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
ACK, DUMP, REPLACE, EXCL, CREATE = 4, 0x300, 0x100, 0x200, 0x400
LINK_ATTRIBUTES = (3, 4, 5, 6, 13, 16, 17, 18, 27, 33, 40, 41, 50, 51)
LO4 = b"\x7f\0\0\1"


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def link(index: int = 0, flags: int = 0, change: int = 0, *attributes: tuple[int, bytes]) -> bytes:
    return bytes(4) + index.to_bytes(4, "little", signed=True) + u32(flags) + u32(change) + tlv(attributes)


def tlv(attributes: tuple[tuple[int, bytes], ...]) -> bytes:
    return b"".join([nlattr(type_, value) for type_, value in attributes])


def addr(family: int, prefix: int, index: int, *attributes: tuple[int, bytes], scope: int = 0) -> bytes:
    return bytes((family, prefix, 0, scope)) + u32(index) + tlv(attributes)


def route(family: int, dst_len: int, type_: int = 1, *attributes: tuple[int, bytes], scope: int = 0) -> bytes:
    return bytes((family, dst_len, 0, 0, 254, 3, scope, type_)) + bytes(4) + tlv(attributes)


def neigh(family: int, index: int, state: int, *attributes: tuple[int, bytes]) -> bytes:
    return bytes((family, 0, 0, 0)) + u32(index) + state.to_bytes(2, "little") + b"\0\1" + tlv(attributes)


def code(env: Any, type_: int, flags: int, payload: bytes) -> list[Any]:
    """Send a request that is acknowledged: the errno, or what came before it."""
    return [msg.payload[:4].hex() if msg.type == 2 else msg.type for msg in ask(env, 0, type_, flags | ACK, payload)]


def shown(env: Any, type_: int, head: int, size: int, keep: tuple[int, ...], family: int = 0, skip: int = 0) -> Any:
    """Dump: headers and the attributes named, sorted."""
    rows = []
    for msg in ask(env, 0, type_, DUMP, bytes((family,)) + bytes(head - 1), (12,)):
        if msg.type in (2, 3):
            rows.append((msg.type, msg.flags, msg.payload.hex()))
            continue
        found = tuple((t, v.hex()) for t, v in parse_attributes(msg.payload, size, len(msg.payload)) if t in keep)
        rows.append((msg.type, msg.flags, msg.payload[skip:size].hex(), found))
    return sorted(rows, key=str)


def make_veth(env: Any, name: bytes = b"va", peer: bytes = b"vb", flags: int = CREATE | EXCL) -> Any:
    data = nlattr(1, link(0, 0, 0, (3, peer + b"\0")))
    return code(env, NEWLINK, flags, link(0, 0, 0, (3, name + b"\0"), (18, nlattr(1, b"veth") + nlattr(2, data))))


def links_are_listed(env: Any) -> Any:
    out = [
        shown(env, GETLINK, 16, 16, LINK_ATTRIBUTES),
        make_veth(env),
        code(env, SETLINK, 0, link(2, 1, 1)),
        code(env, SETLINK, 0, link(3, 1, 1)),
    ]
    settled = tuple(type_ for type_ in LINK_ATTRIBUTES if type_ != 16)  # the live kernel tells the operational state some time later
    return [*out, shown(env, GETLINK, 16, 16, settled)]


def one_link_is_found(env: Any) -> Any:
    out = []
    for payload in (link(1), link(9), link(0), link(0, 0, 0, (3, b"lo\0")), link(0, 0, 0, (3, b"nope\0")), link(-1), b"\0\0", b""):
        out.append(code(env, GETLINK, 0, payload))
    return out


def links_are_made_and_removed(env: Any) -> Any:
    out = [make_veth(env), make_veth(env), make_veth(env, b"vc", b"va"), make_veth(env, b"x" * 16, b"y"), make_veth(env, b"a/b", b"y")]
    unknown = link(0, 0, 0, (3, b"q\0"), (18, nlattr(1, b"nokind")))
    out += [
        code(env, NEWLINK, CREATE, unknown),
        code(env, NEWLINK, 0, unknown),
        code(env, DELLINK, 0, link(1)),
        code(env, DELLINK, 0, link(77)),
    ]
    out += [
        code(env, DELLINK, 0, link(0, 0, 0, (3, b"va\0"))),
        code(env, DELLINK, 0, link(0, 0, 0, (3, b"vb\0"))),
        env.proc("dev").count("\n"),
    ]
    return out


def links_are_changed(env: Any) -> Any:
    make_veth(env)
    out = [code(env, SETLINK, 0, link(2, 0, 0, (4, u32(mtu)))) for mtu in (1400, 67, 68, 65535, 65536)]
    out += [code(env, SETLINK, 0, link(1, 0, 0, (4, u32(mtu)))) for mtu in (100, 65536, 70000)]
    out += [code(env, SETLINK, 0, link(2, 0, 0, (3, name))) for name in (b"lo\0", b"new\0", b"a b\0")]
    out += [
        code(env, SETLINK, 0, link(77, 1, 1)),
        code(env, SETLINK, 0, link(1, 0, 1)),
        env.proc("if_inet6"),
        code(env, SETLINK, 0, link(1, 1, 1)),
    ]
    return [*out, [line.split(":")[0].strip() for line in env.proc("dev").splitlines()[2:]]]


def addresses_are_listed(env: Any) -> Any:
    out = [
        shown(env, GETADDR, 8, 8, (1, 2, 3, 4, 8)),
        shown(env, GETADDR, 8, 8, (1, 2, 3, 4, 8), 2),
        shown(env, GETADDR, 8, 8, (1, 2, 8), 10),
    ]
    code(env, NEWADDR, CREATE | EXCL, addr(2, 24, 1, (2, b"\x0a\1\0\1"), (1, b"\x0a\1\0\1"), (4, b"\x0a\1\0\xff")))
    code(env, NEWADDR, CREATE | EXCL, addr(2, 24, 1, (2, b"\x0a\1\0\2"), (3, b"lo:x\0")))
    return [*out, shown(env, GETADDR, 8, 8, (1, 2, 3, 4, 8), 2), env.proc("route")]


def addresses_are_added_and_removed(env: Any) -> Any:
    ten, ten6 = (2, b"\x0a\1\0\1"), (2, b"\x20\1\x0d\xb8" + bytes(11) + b"\1")
    out = []
    for type_, payload in (
        (NEWADDR, addr(2, 24, 1, ten)),
        (NEWADDR, addr(2, 24, 1, ten)),
        (NEWADDR, addr(2, 33, 1, ten)),
        (NEWADDR, addr(2, 24, 9, ten)),
        (NEWADDR, addr(2, 24, 1)),
        (DELADDR, addr(2, 25, 1, ten)),
        (DELADDR, addr(2, 24, 9, ten)),
        (DELADDR, addr(2, 24, 1, ten)),
        (DELADDR, addr(2, 24, 1, ten)),
        (NEWADDR, addr(10, 64, 1, ten6)),
        (NEWADDR, addr(10, 64, 1, ten6)),
        (NEWADDR, addr(10, 129, 1, ten6)),
        (NEWADDR, addr(10, 64, 9, ten6)),
        (NEWADDR, addr(10, 64, 1)),
        (DELADDR, addr(10, 63, 1, ten6)),
        (DELADDR, addr(10, 64, 1, ten6)),
        (DELADDR, addr(10, 64, 1, ten6)),
        (NEWADDR, addr(9, 64, 1, ten6)),
        (NEWADDR, b"\2\x18"),
    ):
        out.append(code(env, type_, 0 if type_ in (DELADDR, DELROUTE) else CREATE | EXCL, payload))
    out.append(code(env, DELADDR, EXCL, addr(2, 24, 1)))
    return out


def routes_are_listed(env: Any) -> Any:
    keep = (1, 4, 5, 6, 7, 15)
    out = [shown(env, GETROUTE, 12, 12, keep, 2)]
    code(env, NEWROUTE, CREATE, route(2, 16, 1, (1, b"\x0a\2\0\0"), (4, u32(1)), scope=253))
    code(env, NEWROUTE, CREATE, route(2, 16, 7, (1, b"\x0a\3\0\0")))
    code(env, NEWROUTE, CREATE, route(2, 16, 6, (1, b"\x0a\4\0\0"), (6, u32(7))))
    return [*out, shown(env, GETROUTE, 12, 12, keep, 2), env.proc("route")]


def routes_are_added_and_removed(env: Any) -> Any:
    net = (1, b"\x0a\2\0\0")
    out = []
    for type_, payload in (
        (NEWROUTE, route(2, 16, 1, net, (4, u32(1)), scope=253)),
        (NEWROUTE, route(2, 16, 1, net, (4, u32(1)), scope=253)),
        (NEWROUTE, route(2, 8, 1, net, (4, u32(1)), scope=253)),
        (NEWROUTE, route(2, 33, 1, net, (4, u32(1)), scope=253)),
        (NEWROUTE, route(2, 16, 1, net, (4, u32(9)), scope=253)),
        (NEWROUTE, route(2, 24, 1, net, (5, b"\xc0\0\2\1"))),
        (NEWROUTE, route(2, 24, 1, net, (4, u32(1)), (7, b"\xc0\0\2\1"), scope=253)),
        (DELROUTE, route(2, 24, 1, net)),
        (DELROUTE, route(2, 16, 1, net, scope=255)),
        (DELROUTE, route(2, 16, 1, net, scope=255)),
        (NEWROUTE, b"\2\x10"),
    ):
        out.append(code(env, type_, 0 if type_ in (DELADDR, DELROUTE) else CREATE | EXCL, payload))
    out.append(code(env, DELADDR, EXCL, addr(2, 24, 1)))
    return out


def neighbours_are_kept(env: Any) -> Any:
    make_veth(env)
    code(env, SETLINK, 0, link(2, 1, 1))
    code(env, SETLINK, 0, link(3, 1, 1))
    code(env, NEWADDR, CREATE, addr(2, 24, 2, (2, b"\x0a\1\0\1")))
    dst, mac = (1, b"\x0a\1\0\2"), (2, b"\2\0\0\0\0\1")
    out = []
    for type_, flags, payload in (
        (NEWNEIGH, CREATE | EXCL, neigh(2, 2, 0x80, dst, mac)),
        (NEWNEIGH, CREATE | EXCL, neigh(2, 2, 0x80, dst, mac)),
        (NEWNEIGH, CREATE, neigh(2, 9, 0x80, dst, mac)),
        (NEWNEIGH, CREATE, neigh(2, 2, 0x80, mac)),
        (NEWNEIGH, CREATE, neigh(2, 2, 0x80, (1, b"\1\2"), mac)),
        (NEWNEIGH, 0, neigh(2, 2, 0x80, (1, b"\x0a\1\0\3"), mac)),
        (GETNEIGH, 0, neigh(2, 2, 0, dst)),
        (GETNEIGH, 0, neigh(2, 2, 0, dst)[:11] + bytes(1) + tlv((dst,))),
        (DELNEIGH, 0, neigh(2, 2, 0, (1, b"\x0a\1\0\4"))),
    ):
        out.append(code(env, type_, flags, payload))
    out += [env.proc("arp"), shown(env, GETNEIGH, 12, 12, (1, 2, 4), 2)]
    return [*out, code(env, DELNEIGH, 0, neigh(2, 2, 0, dst)), env.proc("arp").count("02:00")]


def files_of_a_fresh_namespace(env: Any) -> Any:
    names = ("dev", "route", "ipv6_route", "if_inet6", "arp", "igmp", "igmp6", "snmp", "snmp6", "sockstat6", "raw", "raw6", "icmp", "icmp6")
    return [(name, env.proc(name)) for name in names]


def files_of_a_pair_of_devices(env: Any) -> Any:
    make_veth(env)
    code(env, NEWADDR, CREATE, addr(2, 24, 2, (2, b"\x0a\1\0\1")))
    code(env, NEWROUTE, CREATE, route(2, 16, 7, (1, b"\x0a\3\0\0")))
    return [env.proc("route"), env.proc("igmp"), env.proc("if_inet6")]


def protocols_of_both(env: Any) -> Any:
    rows = [line.split() for line in env.proc("protocols").splitlines()]
    known = (
        "protocol",
        "UDPv6",
        "TCPv6",
        "UNIX-STREAM",
        "UNIX",
        "UDP-Lite",
        "UDPLITEv6",
        "RAW",
        "RAWv6",
        "PING",
        "PINGv6",
        "UDP",
        "TCP",
        "NETLINK",
    )
    return [row[:3] + row[4:] for row in rows if row[0] in known]


PROGRAMS = (
    *(links_are_listed, one_link_is_found, links_are_made_and_removed, links_are_changed, addresses_are_listed),
    *(addresses_are_added_and_removed, routes_are_listed, routes_are_added_and_removed, neighbours_are_kept),
    *(files_of_a_fresh_namespace, files_of_a_pair_of_devices, protocols_of_both),
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_rtnetlink_program_gives_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
