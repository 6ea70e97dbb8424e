"""PacketRecord: one AF_PACKET socket as the kernel reports it, packet_diag, packet(7)."""

from __future__ import annotations

from twinsock.inspect.ask import ask_all, no_handler
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG
from twinsock.uapi.packet_diag import (
    PACKET_DIAG_FANOUT,
    PACKET_DIAG_INFO,
    PACKET_DIAG_MEMINFO,
    PACKET_DIAG_RX_RING,
    PACKET_DIAG_TX_RING,
    PACKET_DIAG_UID,
    PACKET_SHOW_FANOUT,
    PACKET_SHOW_INFO,
    PACKET_SHOW_MEMINFO,
    PACKET_SHOW_RING_CFG,
)
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.netlink import U32
from twinsock.wire.packet_diag import INFO, PacketDiagReq, parse_msg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

SHOW_ALL = PACKET_SHOW_INFO | PACKET_SHOW_RING_CFG | PACKET_SHOW_FANOUT | PACKET_SHOW_MEMINFO


class PacketRecord:
    """One packet socket. What was not asked for is None."""

    __slots__ = (
        "cookie",
        "copy_threshold",
        "fanout",
        "flags",
        "ifindex",
        "inode",
        "netns",
        "num",
        "rx_ring",
        "skmeminfo",
        "tx_ring",
        "type",
        "uid",
        "version",
    )

    def __init__(self, type_: int, num: int, inode: int) -> None:
        self.type = type_  # SOCK_RAW, SOCK_DGRAM
        self.num = num  # ETH_P_*; 3 is all
        self.inode = inode
        self.cookie = 0
        self.netns = 0
        self.ifindex: int | None = None  # 0: every interface
        self.version: int | None = None  # TPACKET_V1 0, V2 1, V3 2
        self.flags: int | None = None  # PDI_*
        self.copy_threshold: int | None = None  # bytes
        self.uid: int | None = None
        self.fanout: int | None = None  # group id
        self.rx_ring = False
        self.tx_ring = False
        self.skmeminfo: tuple[int, ...] | None = None


def parse_record(data: Buffer, start: int, end: int) -> PacketRecord | None:
    """Make a record of the packet_diag reply between two offsets; None if it is too short."""
    msg = parse_msg(data, start, end)
    if msg is None:
        return None
    record = PacketRecord(msg.type, msg.num, msg.inode)
    record.cookie = msg.cookie
    for type_, value in msg.attributes:
        size = len(value)
        if type_ == PACKET_DIAG_INFO and size >= INFO.size:
            record.ifindex, record.version, _reserve, record.copy_threshold, _stamp, record.flags = INFO.unpack_from(value, 0)
        elif type_ == PACKET_DIAG_UID and size >= 4:
            record.uid = U32.unpack_from(value, 0)[0]
        elif type_ == PACKET_DIAG_FANOUT and size >= 4:
            record.fanout = U32.unpack_from(value, 0)[0] & 0xFFFF
        elif type_ == PACKET_DIAG_RX_RING:
            record.rx_ring = True
        elif type_ == PACKET_DIAG_TX_RING:
            record.tx_ring = True
        elif type_ == PACKET_DIAG_MEMINFO and size >= 36:
            record.skmeminfo = tuple([U32.unpack_from(value, at)[0] for at in range(0, 36, 4)])
    return record


def packet_sockets(port: KernelPort, show: int = PACKET_SHOW_INFO, netns: int = 0) -> list[PacketRecord]:
    """List the packet sockets of a namespace; `show` is a set of PACKET_SHOW_*. Raises OSError and NotAvailable."""
    request = PacketDiagReq(show)
    try:
        found = ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request.emit(), parse_record, netns)
    except OSError as error:
        raise no_handler(error, "PACKET") from None
    for record in found:
        record.netns = netns
    return found
