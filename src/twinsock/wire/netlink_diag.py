"""netlink_diag requests and replies, `<linux/netlink_diag.h>`, sock_diag(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.netlink_diag import NDIAG_PROTO_ALL
from twinsock.uapi.socket import AF_NETLINK
from twinsock.wire.netlink import Buffer, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
_REQ: Final = Struct("=BBxxIIQ")
_MSG: Final = Struct("=BBBBIIIIQ")


class NetlinkDiagReq:
    """`struct netlink_diag_req`: what to show of the sockets of one netlink protocol, or of all."""

    def __init__(self, show: int, protocol: int = NDIAG_PROTO_ALL, inode: int = 0, cookie: int = NO_COOKIE) -> None:
        self.show: int = show  # NDIAG_SHOW_*
        self.protocol: int = protocol
        self.inode: int = inode
        self.cookie: int = cookie

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        return _REQ.pack(AF_NETLINK, self.protocol, self.inode, self.show, self.cookie)


def parse_req(data: Buffer) -> NetlinkDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < _REQ.size:
        return None
    _family, protocol, inode, show, cookie = _REQ.unpack_from(data, 0)
    return NetlinkDiagReq(show, protocol, inode, cookie)


class NetlinkDiagMsg:
    """`struct netlink_diag_msg` with its attributes: one socket."""

    def __init__(self, protocol: int, portid: int, inode: int, attributes: list[tuple[int, bytes]]) -> None:
        self.type: int = 3  # SOCK_RAW or SOCK_DGRAM
        self.protocol: int = protocol  # NETLINK_*
        self.state: int = 0  # TCP_CLOSE, or TCP_ESTABLISHED with a destination
        self.portid: int = portid
        self.dst_portid: int = 0
        self.dst_group: int = 0
        self.inode: int = inode
        self.cookie: int = 0
        self.attributes: list[tuple[int, bytes]] = attributes

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        return _MSG.pack(
            *(AF_NETLINK, self.type, self.protocol, self.state, self.portid, self.dst_portid, self.dst_group),
            *(self.inode, self.cookie),
        ) + nlattrs(self.attributes)


def parse_msg(data: Buffer, start: int, end: int) -> NetlinkDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < _MSG.size:
        return None
    _family, type_, protocol, state, portid, dst_portid, dst_group, inode, cookie = _MSG.unpack_from(data, start)
    msg = NetlinkDiagMsg(protocol, portid, inode, parse_attributes(data, start + _MSG.size, end))
    msg.type = type_
    msg.state = state
    msg.dst_portid = dst_portid
    msg.dst_group = dst_group
    msg.cookie = cookie
    return msg
