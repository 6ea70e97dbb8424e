"""vsock_diag requests and replies, `<linux/vm_sockets_diag.h>`, vsock(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.socket import AF_VSOCK
from twinsock.wire.netlink import Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_REQ: Final = Struct("=BxxxIIIQ")
_MSG: Final = Struct("=BBBBIIIIIQ")


class VsockDiagReq:
    """`struct vsock_diag_req`: the states to dump."""

    def __init__(self, states: int) -> None:
        self.states: int = states  # bit 1 << TCP_*

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        return _REQ.pack(AF_VSOCK, self.states, 0, 0, 0)


def parse_req(data: Buffer) -> VsockDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < _REQ.size:
        return None
    return VsockDiagReq(_REQ.unpack_from(data, 0)[1])


class VsockDiagMsg:
    """`struct vsock_diag_msg`: one socket."""

    def __init__(self, type_: int, state: int, inode: int) -> None:
        self.type: int = type_  # SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
        self.state: int = state  # TCP_*
        self.shutdown: int = 0
        self.src_cid: int = 0  # VMADDR_CID_ANY is 0xffffffff
        self.src_port: int = 0
        self.dst_cid: int = 0
        self.dst_port: int = 0
        self.inode: int = inode
        self.cookie: int = 0

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        return _MSG.pack(
            *(AF_VSOCK, self.type, self.state, self.shutdown, self.src_cid, self.src_port),
            *(self.dst_cid, self.dst_port, self.inode, self.cookie),
        )


def parse_msg(data: Buffer, start: int, end: int) -> VsockDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < _MSG.size:
        return None
    _family, type_, state, shutdown, src_cid, src_port, dst_cid, dst_port, inode, cookie = _MSG.unpack_from(data, start)
    msg = VsockDiagMsg(type_, state, inode)
    msg.shutdown = shutdown
    msg.src_cid = src_cid
    msg.src_port = src_port
    msg.dst_cid = dst_cid
    msg.dst_port = dst_port
    msg.cookie = cookie
    return msg
