"""rtnetlink messages for links, addresses and routes, `<linux/rtnetlink.h>`, rtnetlink(7).

Left out: neighbours, rules, queueing disciplines, and the inside of nested attributes other than IFLA_LINKINFO.
"""

from __future__ import annotations

from struct import Struct

from twinsock.wire.netlink import Buffer, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_IFINFO: Final = Struct("=BxHiII")
_IFADDR: Final = Struct("=BBBBI")
_RT: Final = Struct("=8BI")


class IfInfoMsg:
    """`struct ifinfomsg` with its attributes: one interface, or which interface is asked for."""

    def __init__(self, family: int, type_: int, index: int, flags: int, change: int) -> None:
        self.family: int = family
        self.type: int = type_  # ARPHRD_*
        self.index: int = index
        self.flags: int = flags  # IFF_*
        self.change: int = change
        self.attributes: list[tuple[int, bytes]] = []  # IFLA_*

    def emit(self) -> bytes:
        """Give the message's bytes, without the netlink header."""
        return _IFINFO.pack(self.family, self.type, self.index, self.flags, self.change) + nlattrs(self.attributes)


def parse_ifinfo(data: Buffer, start: int, end: int) -> IfInfoMsg | None:
    """Parse a link message between two offsets; None if it is too short."""
    if end - start < _IFINFO.size:
        return None
    family, type_, index, flags, change = _IFINFO.unpack_from(data, start)
    msg = IfInfoMsg(family, type_, index, flags, change)
    msg.attributes = parse_attributes(data, start + _IFINFO.size, end)
    return msg


class IfAddrMsg:
    """`struct ifaddrmsg` with its attributes: one address of an interface."""

    def __init__(self, family: int, prefix: int, flags: int, scope: int, index: int) -> None:
        self.family: int = family
        self.prefix: int = prefix
        self.flags: int = flags  # the low byte of IFA_F_*; all of them are in IFA_FLAGS
        self.scope: int = scope
        self.index: int = index
        self.attributes: list[tuple[int, bytes]] = []  # IFA_*

    def emit(self) -> bytes:
        """Give the message's bytes, without the netlink header."""
        return _IFADDR.pack(self.family, self.prefix, self.flags, self.scope, self.index) + nlattrs(self.attributes)


def parse_ifaddr(data: Buffer, start: int, end: int) -> IfAddrMsg | None:
    """Parse an address message between two offsets; None if it is too short."""
    if end - start < _IFADDR.size:
        return None
    family, prefix, flags, scope, index = _IFADDR.unpack_from(data, start)
    msg = IfAddrMsg(family, prefix, flags, scope, index)
    msg.attributes = parse_attributes(data, start + _IFADDR.size, end)
    return msg


class RtMsg:
    """`struct rtmsg` with its attributes: one route, or which routes are asked for."""

    def __init__(self, family: int, table: int, type_: int) -> None:
        self.family: int = family
        self.dst_len: int = 0
        self.src_len: int = 0
        self.tos: int = 0
        self.table: int = table  # above 255 it travels in RTA_TABLE
        self.protocol: int = 0  # RTPROT_*
        self.scope: int = 0
        self.type: int = type_  # RTN_*
        self.flags: int = 0
        self.attributes: list[tuple[int, bytes]] = []  # RTA_*

    def emit(self) -> bytes:
        """Give the message's bytes, without the netlink header."""
        return _RT.pack(
            *(self.family, self.dst_len, self.src_len, self.tos),
            *(self.table, self.protocol, self.scope, self.type, self.flags),
        ) + nlattrs(self.attributes)


def parse_rt(data: Buffer, start: int, end: int) -> RtMsg | None:
    """Parse a route message between two offsets; None if it is too short."""
    if end - start < _RT.size:
        return None
    family, dst_len, src_len, tos, table, protocol, scope, type_, flags = _RT.unpack_from(data, start)
    msg = RtMsg(family, table, type_)
    msg.dst_len = dst_len
    msg.src_len = src_len
    msg.tos = tos
    msg.protocol = protocol
    msg.scope = scope
    msg.flags = flags
    msg.attributes = parse_attributes(data, start + _RT.size, end)
    return msg
