"""Sockets of virtual machines (AF_VSOCK) and of XDP (AF_XDP) as the kernel reports them, vsock(7).

Many kernels have the sockets and no sock_diag handler for them: then the answer is NotAvailable, with the sentence.
"""

from __future__ import annotations

from twinsock.inspect.ask import ask_all, no_handler
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.xdp_diag import XDP_DIAG_INFO, XDP_DIAG_UID, XDP_SHOW_INFO
from twinsock.wire import vsock_diag, xdp_diag
from twinsock.wire.netlink import U32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

ANY = 0xFFFFFFFF  # VMADDR_CID_ANY, VMADDR_PORT_ANY


class VsockRecord:
    """One AF_VSOCK socket: context id and port of both ends, ANY for none."""

    __slots__ = ("cookie", "inode", "local", "local_port", "netns", "remote", "remote_port", "shutdown", "state", "type")

    def __init__(self, type_: int, state: int, inode: int) -> None:
        self.type = type_  # SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
        self.state = state  # TCP_*
        self.inode = inode
        self.cookie = 0
        self.netns = 0
        self.shutdown = 0
        self.local = ANY
        self.local_port = ANY
        self.remote = ANY
        self.remote_port = ANY


class XdpRecord:
    """One AF_XDP socket. What was not reported is None."""

    __slots__ = ("cookie", "ifindex", "inode", "netns", "queue", "type", "uid")

    def __init__(self, type_: int, inode: int) -> None:
        self.type = type_  # SOCK_RAW
        self.inode = inode
        self.cookie = 0
        self.netns = 0
        self.ifindex: int | None = None
        self.queue: int | None = None
        self.uid: int | None = None


def parse_vsock(data: Buffer, start: int, end: int) -> VsockRecord | None:
    """Make a record of the vsock_diag reply between two offsets; None if it is too short."""
    msg = vsock_diag.parse_msg(data, start, end)
    if msg is None:
        return None
    record = VsockRecord(msg.type, msg.state, msg.inode)
    record.cookie = msg.cookie
    record.shutdown = msg.shutdown
    record.local, record.local_port = msg.src_cid, msg.src_port
    record.remote, record.remote_port = msg.dst_cid, msg.dst_port
    return record


def parse_xdp(data: Buffer, start: int, end: int) -> XdpRecord | None:
    """Make a record of the xdp_diag reply between two offsets; None if it is too short."""
    msg = xdp_diag.parse_msg(data, start, end)
    if msg is None:
        return None
    record = XdpRecord(msg.type, msg.inode)
    record.cookie = msg.cookie
    for type_, value in msg.attributes:
        if type_ == XDP_DIAG_INFO and len(value) >= 8:
            record.ifindex, record.queue = xdp_diag.INFO.unpack_from(value, 0)
        elif type_ == XDP_DIAG_UID and len(value) >= 4:
            record.uid = U32.unpack_from(value, 0)[0]
    return record


def vsock_sockets(port: KernelPort, states: int = 0xFFFFFFFF, netns: int = 0) -> list[VsockRecord]:
    """List the AF_VSOCK sockets. Raises OSError and NotAvailable."""
    payload = vsock_diag.VsockDiagReq(states).emit()
    try:
        found = ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, payload, parse_vsock, netns)
    except OSError as error:
        raise no_handler(error, "VSOCK") from None
    for record in found:
        record.netns = netns
    return found


def xdp_sockets(port: KernelPort, netns: int = 0) -> list[XdpRecord]:
    """List the AF_XDP sockets of a namespace. Raises OSError and NotAvailable."""
    payload = xdp_diag.XdpDiagReq(XDP_SHOW_INFO).emit()
    try:
        found = ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, payload, parse_xdp, netns)
    except OSError as error:
        raise no_handler(error, "XDP") from None
    for record in found:
        record.netns = netns
    return found
