"""NetlinkRecord: one AF_NETLINK socket as the kernel reports it, netlink_diag, netlink(7)."""

from __future__ import annotations

from twinsock.inspect.ask import ask_all, no_handler
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG
from twinsock.uapi.netlink_diag import (
    NDIAG_SHOW_FLAGS,
    NDIAG_SHOW_GROUPS,
    NDIAG_SHOW_MEMINFO,
    NETLINK_DIAG_FLAGS,
    NETLINK_DIAG_GROUPS,
    NETLINK_DIAG_MEMINFO,
)
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.netlink import U32
from twinsock.wire.netlink_diag import NetlinkDiagReq, parse_msg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

SHOW_ALL = NDIAG_SHOW_GROUPS | NDIAG_SHOW_MEMINFO | NDIAG_SHOW_FLAGS


class NetlinkRecord:
    """One netlink socket. What was not asked for is None."""

    __slots__ = (
        "cookie",
        "dst_group",
        "dst_portid",
        "flags",
        "groups",
        "inode",
        "netns",
        "portid",
        "protocol",
        "skmeminfo",
        "state",
        "type",
    )

    def __init__(self, protocol: int, portid: int, inode: int) -> None:
        self.protocol = protocol  # NETLINK_*
        self.portid = portid  # 0: the kernel's own socket
        self.inode = inode  # 0: the kernel's own socket
        self.type = 0
        self.state = 0
        self.dst_portid = 0
        self.dst_group = 0
        self.cookie = 0
        self.netns = 0
        self.groups: list[int] | None = None  # numbers of the multicast groups, from 1
        self.flags: int | None = None  # NDIAG_FLAG_*
        self.skmeminfo: tuple[int, ...] | None = None


def parse_record(data: Buffer, start: int, end: int) -> NetlinkRecord | None:
    """Make a record of the netlink_diag reply between two offsets; None if it is too short."""
    msg = parse_msg(data, start, end)
    if msg is None:
        return None
    record = NetlinkRecord(msg.protocol, msg.portid, msg.inode)
    record.type = msg.type
    record.state = msg.state
    record.dst_portid = msg.dst_portid
    record.dst_group = msg.dst_group
    record.cookie = msg.cookie
    for type_, value in msg.attributes:
        size = len(value)
        if type_ == NETLINK_DIAG_GROUPS:
            record.groups = _bits(value)
        elif type_ == NETLINK_DIAG_FLAGS and size >= 4:
            record.flags = U32.unpack_from(value, 0)[0]
        elif type_ == NETLINK_DIAG_MEMINFO and size >= 36:
            record.skmeminfo = tuple([U32.unpack_from(value, at)[0] for at in range(0, 36, 4)])
    return record


def _bits(mask: bytes) -> list[int]:
    """Number the bits that are set, from 1, in a mask of 32-bit words."""
    found: list[int] = []
    for at in range(0, len(mask) - 3, 4):
        word = U32.unpack_from(mask, at)[0]
        found += [at * 8 + bit + 1 for bit in range(32) if word >> bit & 1]
    return found


def netlink_sockets(port: KernelPort, show: int = NDIAG_SHOW_GROUPS, netns: int = 0, once_each: bool = True) -> list[NetlinkRecord]:
    """List the netlink sockets of a namespace; `show` is a set of NDIAG_SHOW_*. Raises OSError and NotAvailable.

    Measured: 6.18 reports a socket that has joined a multicast group twice; here each comes once if `once_each`.
    """
    request = NetlinkDiagReq(show)
    try:
        found = ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request.emit(), parse_record, netns)
    except OSError as error:
        raise no_handler(error, "NETLINK") from None
    once: dict[int, NetlinkRecord] = {}
    for record in found:
        record.netns = netns
    if not once_each:
        return found
    for record in found:
        once.setdefault(record.cookie, record)
    return list(once.values())
