"""xdp_diag requests and replies, `<linux/xdp_diag.h>`, sock_diag(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.socket import AF_XDP
from twinsock.wire.netlink import Buffer, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

INFO: Final = Struct("=II")  # XDP_DIAG_INFO: interface, queue
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
_REQ: Final = Struct("=BxxxIIQ")
_MSG: Final = Struct("=BBxxIQ")


class XdpDiagReq:
    """`struct xdp_diag_req`: what to show of every XDP socket."""

    def __init__(self, show: int) -> None:
        self.show: int = show  # XDP_SHOW_*

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        return _REQ.pack(AF_XDP, 0, self.show, NO_COOKIE)


def parse_req(data: Buffer) -> XdpDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < _REQ.size:
        return None
    return XdpDiagReq(_REQ.unpack_from(data, 0)[2])


class XdpDiagMsg:
    """`struct xdp_diag_msg` with its attributes: one socket."""

    def __init__(self, type_: int, inode: int, cookie: int, attributes: list[tuple[int, bytes]]) -> None:
        self.type: int = type_  # SOCK_RAW
        self.inode: int = inode
        self.cookie: int = cookie
        self.attributes: list[tuple[int, bytes]] = attributes

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        return _MSG.pack(AF_XDP, self.type, self.inode, self.cookie) + nlattrs(self.attributes)


def parse_msg(data: Buffer, start: int, end: int) -> XdpDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < _MSG.size:
        return None
    _family, type_, inode, cookie = _MSG.unpack_from(data, start)
    return XdpDiagMsg(type_, inode, cookie, parse_attributes(data, start + _MSG.size, end))
