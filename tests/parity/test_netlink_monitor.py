"""What `ip monitor` hears on both kernels: links, addresses, routes and neighbours that come, change and go."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity
from tests.parity.test_netlink_route import (
    CREATE,
    DELADDR,
    DELLINK,
    DELNEIGH,
    DELROUTE,
    EXCL,
    NEWADDR,
    NEWNEIGH,
    NEWROUTE,
    SETLINK,
    addr,
    code,
    link,
    make_veth,
    neigh,
    route,
    u32,
)
from twinsock.wire.netlink import parse_attributes

pytestmark = [pytest.mark.root]

NEW = CREATE | EXCL
LINK, NEIGH, IFADDR4, ROUTE4, IFADDR6, ROUTE6 = 1, 3, 5, 7, 9, 11
HEADS = {16: 16, 20: 8, 24: 12, 28: 12}
KEEP = {16: (3, 4), 20: (1, 2, 3, 4), 24: (1, 4, 5, 6, 7, 15), 28: (1, 2)}
SOL_NETLINK, ADD_MEMBERSHIP = 270, 1


def listen(env: Any, *groups: int) -> Any:
    """Open a socket that hears what is told to the groups."""
    sock = env.socket.socket(16, 3, 0)
    sock.bind((0, 0))
    sock.setblocking(False)
    for group in groups:
        sock.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    return sock


def heard(env: Any, sock: Any) -> list[Any]:
    """Return what came: group, type, header, and the attributes that name things."""
    found = []
    while True:
        try:
            data, _anc, _flags, sender = sock.recvmsg(65536)
        except BlockingIOError:
            return found
        at = 0
        while at < len(data):
            size, type_ = int.from_bytes(data[at : at + 4], "little"), int.from_bytes(data[at + 4 : at + 6], "little")
            kind = type_ & ~3
            head = HEADS[kind]
            start = at + 16
            attributes = [(t, v.hex()) for t, v in parse_attributes(data, start + head, at + size) if t in KEEP[kind]]
            header = data[start : start + head]
            if kind == 16:
                header = header[4:8] + (header[8] & 1).to_bytes(1, "little")  # the index, and whether it is up
            found.append((sender[1], type_, header.hex(), attributes))
            at += size + 3 & ~3


def heard_later(env: Any, sock: Any) -> list[Any]:
    """As `heard`, waiting for the first: the live kernel makes an IPv6 address ready some time later."""
    for _ in range(1000):
        found = heard(env, sock)
        if found:
            return found
        env.time.sleep(0.01)
    return []


def once(rows: list[Any]) -> list[Any]:
    """Leave out what repeats the row before it: the live kernel tells some changes of links several times."""
    return [row for number, row in enumerate(rows) if not number or row != rows[number - 1]]


def addresses(env: Any) -> Any:
    sock = listen(env, IFADDR4, ROUTE4, IFADDR6)
    out = []
    for type_, flags, payload in (
        (NEWADDR, NEW, addr(2, 24, 1, (2, b"\x0a\1\0\1"), (1, b"\x0a\1\0\1"))),
        (NEWADDR, NEW, addr(2, 24, 1, (2, b"\x0a\1\0\2"), (1, b"\x0a\1\0\2"))),
        (NEWADDR, NEW, addr(2, 24, 1, (2, b"\x0a\1\0\2"), (1, b"\x0a\1\0\2"))),
        (DELADDR, 0, addr(2, 24, 1, (2, b"\x0a\1\0\1"))),
        (DELADDR, 0, addr(2, 24, 1, (2, b"\x0a\1\0\\9"))),
    ):
        out.append((code(env, type_, flags, payload), heard(env, sock)))
    for type_, flags in ((NEWADDR, NEW), (DELADDR, 0)):
        answer = code(env, type_, flags, addr(10, 64, 1, (2, b"\xfd" + bytes(14) + b"\1"), (8, u32(2))))
        out.append((answer, heard_later(env, sock)))
    return out


def routes(env: Any) -> Any:
    sock = listen(env, ROUTE4, ROUTE6)
    ten, deep = (1, b"\x0a\2\0\0"), (1, b"\xfd" + bytes(15))
    out = []
    for type_, flags, payload in (
        (NEWROUTE, NEW, route(2, 16, 1, ten, (4, u32(1)), scope=253)),
        (NEWROUTE, NEW, route(2, 16, 1, ten, (4, u32(1)), scope=253)),
        (NEWROUTE, 0x100, route(2, 16, 1, ten, (4, u32(1)), (7, b"\x7f\0\0\1"), scope=253)),
        (DELROUTE, 0, route(2, 16, 1, ten, scope=253)),
        (DELROUTE, 0, route(2, 16, 1, ten, scope=253)),
        (NEWROUTE, NEW, route(10, 64, 1, deep, (4, u32(1)))),
        (DELROUTE, 0, route(10, 64, 1, deep)),
        (NEWROUTE, NEW, route(10, 64, 7, deep)),
        (DELROUTE, 0, route(10, 64, 7, deep)),
    ):
        out.append((code(env, type_, flags, payload), heard(env, sock)))
    return out


def links(env: Any) -> Any:
    sock = listen(env, LINK)
    out = [(make_veth(env), once(heard(env, sock)))]
    for type_, flags, payload in (
        (SETLINK, 0, link(2, 0, 0, (4, u32(1400)))),
        (SETLINK, 0, link(2, 0, 0, (3, b"other\0"))),
        (SETLINK, 0, link(1, 0, 1)),
        (SETLINK, 0, link(1, 1, 1)),
        (SETLINK, 0, link(1, 1, 1)),
        (DELLINK, 0, link(2)),
    ):
        out.append((code(env, type_, flags, payload), once(heard(env, sock))))
    return out


def neighbours(env: Any) -> Any:
    make_veth(env)
    code(env, NEWADDR, NEW, addr(2, 24, 2, (2, b"\x0a\1\0\1"), (1, b"\x0a\1\0\1")))
    code(env, SETLINK, 0, link(2, 1, 1))
    code(env, SETLINK, 0, link(3, 1, 1))
    sock = listen(env, NEIGH)
    one = (1, b"\x0a\1\0\7")
    out = []
    for type_, flags, payload in (
        (NEWNEIGH, NEW, neigh(2, 2, 0x80, one, (2, b"\2\0\0\0\0\1"))),
        (NEWNEIGH, 0x100 | CREATE, neigh(2, 2, 0x80, one, (2, b"\2\0\0\0\0\2"))),
        (NEWNEIGH, 0x100 | CREATE, neigh(2, 2, 0x80, one, (2, b"\2\0\0\0\0\2"))),
        (DELNEIGH, 0, neigh(2, 2, 0, one)),
        (DELNEIGH, 0, neigh(2, 2, 0, (1, b"\x0a\1\0\x09"))),
    ):
        out.append((code(env, type_, flags, payload), heard(env, sock)))
    return out


def down_and_up(env: Any) -> Any:
    """What going down takes along, and what coming up brings back."""
    sock = listen(env, LINK, ROUTE4, IFADDR4, IFADDR6)
    code(env, NEWADDR, NEW, addr(2, 24, 1, (2, b"\x0a\1\0\1"), (1, b"\x0a\1\0\1")))
    code(env, NEWROUTE, NEW, route(2, 16, 1, (1, b"\x0a\2\0\0"), (5, b"\x0a\1\0\2")))
    heard(env, sock)
    out = []
    for flag in (0, 1):
        code(env, SETLINK, 0, link(1, flag, 1))
        rows = heard(env, sock)
        while not rows or rows[-1][0] != 256:  # ::1 goes and comes at the end
            rows += heard_later(env, sock)
        out.append(once(rows))
    return out


def made_by_ioctl(env: Any) -> Any:
    """A change that came in by ioctl(2) is told too."""
    sock = listen(env, LINK, IFADDR4)
    with env.socket.socket(2, 2) as asker:
        request = b"lo".ljust(16, b"\0") + u32(1300) + bytes(20)
        env.fcntl.ioctl(asker.fileno(), 0x8922, request)
        request = b"lo:1".ljust(16, b"\0") + b"\2\0\0\0\x0a\7\0\1" + bytes(16)
        env.fcntl.ioctl(asker.fileno(), 0x8916, request)
    return once(heard(env, sock))


@pytest.mark.parametrize("program", [addresses, routes, links, neighbours, down_and_up, made_by_ioctl])
def test_what_is_told_of_a_change_is_the_same(program: Any) -> None:
    assert_parity(program)
