"""`ip route get` on both kernels: RTM_GETROUTE for one destination."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity
from tests.parity.prockit import ask
from tests.parity.test_netlink_route import (
    CREATE,
    EXCL,
    GETROUTE,
    LO4,
    NEWADDR,
    NEWROUTE,
    SETLINK,
    addr,
    code,
    link,
    make_veth,
    route,
    tlv,
    u32,
)
from twinsock.wire.netlink import parse_attributes

pytestmark = [pytest.mark.root]

RTA_DST, RTA_SRC, RTA_OIF, RTA_PREFSRC, RTA_CACHEINFO, RTA_MARK, RTA_UID, RTA_PROTO = 1, 2, 4, 7, 12, 16, 25, 27
NEW = CREATE | EXCL
UNREACHABLE, PROHIBIT, BLACKHOLE, THROW = 7, 8, 6, 9
FIB_MATCH, LOOKUP_TABLE = 0x2000, 0x1000


def get(family: int, length: int, *attributes: tuple[int, bytes], src_len: int = 0, table: int = 0, flags: int = 0) -> bytes:
    return bytes((family, length, src_len, 0, table, 0, 0, 0)) + u32(flags) + tlv(attributes)


def told(env: Any, payload: bytes) -> Any:
    """Return the errno, or header and attributes; of the cache only that it is told."""
    (msg,) = ask(env, 0, GETROUTE, 0, payload)
    if msg.type == 2:
        return msg.payload[:4].hex()
    found = [
        (type_, len(value) if type_ == RTA_CACHEINFO else value.hex())
        for type_, value in parse_attributes(msg.payload, 12, len(msg.payload))
    ]
    return msg.flags, msg.payload[:12].hex(), found


def v4(*parts: int) -> bytes:
    return bytes(parts)


def v6(head: int, last: int) -> bytes:
    return head.to_bytes(2, "big") + bytes(13) + bytes((last,))


def world(env: Any) -> None:
    make_veth(env)
    code(env, NEWADDR, NEW, addr(2, 24, 2, (2, v4(10, 0, 0, 1)), (1, v4(10, 0, 0, 1))))
    code(env, NEWADDR, NEW, addr(10, 64, 2, (2, v6(0xFD00, 1)), (8, u32(0x02))))
    code(env, SETLINK, 0, link(2, 1, 1))
    code(env, SETLINK, 0, link(3, 1, 1))
    code(env, NEWROUTE, NEW, route(2, 16, 1, (1, v4(10, 1, 0, 0)), (5, v4(10, 0, 0, 2))))
    for third, type_ in ((7, UNREACHABLE), (8, BLACKHOLE), (9, PROHIBIT), (10, THROW)):
        code(env, NEWROUTE, NEW, route(2, 16, type_, (1, v4(10, third, 0, 0))))
    code(env, NEWROUTE, NEW, route(10, 64, 1, (1, v6(0xFD01, 0)), (5, v6(0xFD00, 2))))
    for third, type_ in ((0xFD07, UNREACHABLE), (0xFD08, BLACKHOLE), (0xFD09, PROHIBIT)):
        code(env, NEWROUTE, NEW, route(10, 64, type_, (1, v6(third, 0))))
    settle(env)


def settle(env: Any) -> None:
    """Wait until the link counts as up and its own address as local: the live kernel works that out some time later."""
    for _ in range(1000):
        own = told(env, get(10, 128, (RTA_DST, v6(0xFD00, 1))))
        match = told(env, get(10, 128, (RTA_DST, v6(0xFD00, 5)), flags=FIB_MATCH))
        if own[1][14:16] == "02" and match[1][16:18] == "00":
            return
        env.time.sleep(0.01)


def ways4(env: Any) -> Any:
    world(env)
    out: list[Any] = []
    targets = ((10, 0, 0, 1), (10, 0, 0, 5), (10, 1, 2, 3), (8, 8, 8, 8), (0, 0, 0, 0), (10, 0, 0, 255), (127, 9, 9, 9), (10, 0, 0, 0))
    for target in (*targets, (10, 7, 1, 1), (10, 8, 1, 1), (10, 9, 1, 1), (10, 10, 1, 1), (127, 0, 0, 1)):
        out.append((target, told(env, get(2, 32, (RTA_DST, v4(*target))))))
    there = (RTA_DST, v4(10, 1, 2, 3))
    for oif in (1, 2, 3, 99):
        out.append((oif, told(env, get(2, 32, there, (RTA_OIF, u32(oif))))))
        out.append((oif, told(env, get(2, 32, (RTA_DST, v4(8, 8, 8, 8)), (RTA_OIF, u32(oif))))))
    for source in (v4(10, 0, 0, 1), v4(1, 2, 3, 4), LO4, v4(224, 0, 0, 1)):
        out.append((source, told(env, get(2, 32, there, (RTA_SRC, source), src_len=32))))
    for flags in (LOOKUP_TABLE, FIB_MATCH):
        for target in (v4(10, 1, 2, 3), LO4, v4(10, 0, 0, 5), v4(8, 8, 8, 8)):
            out.append((flags, target, told(env, get(2, 32, (RTA_DST, target), flags=flags))))
    out.append(told(env, get(2, 32, there, (RTA_MARK, u32(7)), (RTA_UID, u32(1000)), (RTA_PROTO, b"\6"))))
    out += [told(env, get(2, 24, there)), told(env, get(2, 0)), told(env, get(2, 32)), told(env, b"\2\0\0")]
    return out


def ways6(env: Any) -> Any:
    world(env)
    out: list[Any] = []
    loopback = bytes(15) + b"\1"
    for target in (
        loopback,
        v6(0xFD00, 1),
        v6(0xFD00, 5),
        v6(0xFD01, 9),
        v6(0x2001, 1),
        v6(0xFD07, 1),
        v6(0xFD08, 1),
        v6(0xFD09, 1),
        bytes(16),
    ):
        out.append((target, told(env, get(10, 128, (RTA_DST, target)))))
    for oif in (1, 2, 99):
        out.append((oif, told(env, get(10, 128, (RTA_DST, v6(0xFD00, 5)), (RTA_OIF, u32(oif))))))
    for source in (v6(0xFD00, 1), v6(0xFD00, 77)):
        out.append((source, told(env, get(10, 128, (RTA_DST, v6(0xFD01, 5)), (RTA_SRC, source), src_len=128))))
    for target in (v6(0xFD01, 5), loopback, v6(0xFD00, 5)):
        out.append((target, told(env, get(10, 128, (RTA_DST, target), flags=FIB_MATCH))))
    return [*out, told(env, get(10, 0)), told(env, get(10, 128)), told(env, get(10, 64, (RTA_DST, v6(0xFD01, 5))))]


def strictly(env: Any) -> Any:
    world(env)
    out = []
    here = (RTA_DST, v4(10, 0, 0, 1))
    requests = (get(2, 24, here), get(2, 32, here), get(2, 0, here), get(2, 32, here, table=254), get(2, 32, here, flags=1), get(2, 0))
    there = (RTA_DST, v6(0xFD01, 5))
    for payload in (*requests, get(10, 64, there), get(10, 128, there), get(10, 128, there, table=254)):
        (msg,) = ask(env, 0, GETROUTE, 0, payload, (12,))
        out.append(msg.payload[:4].hex() if msg.type == 2 else msg.payload[:8].hex())
    return out


@pytest.mark.parametrize("program", [ways4, ways6, strictly])
def test_the_way_to_a_destination_is_told_alike(program: Any) -> None:
    assert_parity(program)
