"""unix_diag requests and replies, `<linux/unix_diag.h>`, sock_diag(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.socket import AF_UNIX
from twinsock.wire.netlink import Buffer, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
_REQ: Final = Struct("=BBxxIIIQ")
_MSG: Final = Struct("=BBBxIQ")


class UnixDiagReq:
    """`struct unix_diag_req`: which states to dump and what to show, or with an inode exactly which socket."""

    def __init__(self, states: int, show: int, inode: int = 0, cookie: int = NO_COOKIE) -> None:
        self.states: int = states  # bit 1 << TCP_*
        self.show: int = show  # UDIAG_SHOW_*
        self.inode: int = inode
        self.cookie: int = cookie

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        return _REQ.pack(AF_UNIX, 0, self.states, self.inode, self.show, self.cookie)


def parse_req(data: Buffer) -> UnixDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < _REQ.size:
        return None
    _family, _protocol, states, inode, show, cookie = _REQ.unpack_from(data, 0)
    return UnixDiagReq(states, show, inode, cookie)


class UnixDiagMsg:
    """`struct unix_diag_msg` with its attributes: one socket."""

    def __init__(self, type_: int, state: int, inode: int, cookie: int, attributes: list[tuple[int, bytes]]) -> None:
        self.type: int = type_  # SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
        self.state: int = state
        self.inode: int = inode
        self.cookie: int = cookie
        self.attributes: list[tuple[int, bytes]] = attributes

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        return _MSG.pack(AF_UNIX, self.type, self.state, self.inode, self.cookie) + nlattrs(self.attributes)


def parse_msg(data: Buffer, start: int, end: int) -> UnixDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < _MSG.size:
        return None
    _family, type_, state, inode, cookie = _MSG.unpack_from(data, start)
    return UnixDiagMsg(type_, state, inode, cookie, parse_attributes(data, start + _MSG.size, end))
