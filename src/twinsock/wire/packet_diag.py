"""packet_diag requests and replies, `<linux/packet_diag.h>`, sock_diag(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.socket import AF_PACKET
from twinsock.wire.netlink import Buffer, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
INFO: Final = Struct("=6I")  # PACKET_DIAG_INFO: index, version, reserve, copy threshold, timestamp, PDI_* flags
_REQ: Final = Struct("=BBxxIIQ")
_MSG: Final = Struct("=BBHIQ")


class PacketDiagReq:
    """`struct packet_diag_req`: what to show of every packet socket."""

    def __init__(self, show: int, inode: int = 0, cookie: int = NO_COOKIE) -> None:
        self.show: int = show  # PACKET_SHOW_*
        self.inode: int = inode
        self.cookie: int = cookie

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        return _REQ.pack(AF_PACKET, 0, self.inode, self.show, self.cookie)


def parse_req(data: Buffer) -> PacketDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < _REQ.size:
        return None
    _family, _protocol, inode, show, cookie = _REQ.unpack_from(data, 0)
    return PacketDiagReq(show, inode, cookie)


class PacketDiagMsg:
    """`struct packet_diag_msg` with its attributes: one socket."""

    def __init__(self, type_: int, num: int, inode: int, cookie: int, attributes: list[tuple[int, bytes]]) -> None:
        self.type: int = type_  # SOCK_RAW, SOCK_DGRAM
        self.num: int = num  # ETH_P_*, in host order
        self.inode: int = inode
        self.cookie: int = cookie
        self.attributes: list[tuple[int, bytes]] = attributes

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        return _MSG.pack(AF_PACKET, self.type, self.num, self.inode, self.cookie) + nlattrs(self.attributes)


def parse_msg(data: Buffer, start: int, end: int) -> PacketDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < _MSG.size:
        return None
    _family, type_, num, inode, cookie = _MSG.unpack_from(data, start)
    return PacketDiagMsg(type_, num, inode, cookie, parse_attributes(data, start + _MSG.size, end))
