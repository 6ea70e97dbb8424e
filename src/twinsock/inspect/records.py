"""SocketRecord: one TCP, UDP, UDPLITE, MPTCP or RAW socket as the kernel reports it, sock_diag(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.inet_diag import (
    INET_DIAG_CGROUP_ID,
    INET_DIAG_CONG,
    INET_DIAG_INFO,
    INET_DIAG_MARK,
    INET_DIAG_SHUTDOWN,
    INET_DIAG_SKMEMINFO,
    INET_DIAG_SKV6ONLY,
    INET_DIAG_SOCKOPT,
)
from twinsock.wire.inet_diag import parse_msg
from twinsock.wire.netlink import U32, U64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.wire.netlink import Buffer

# Bits of INET_DIAG_SOCKOPT, its two bytes read little-endian.
SOCKOPT_RECVERR = 1 << 0
SOCKOPT_IS_ICSK = 1 << 1
SOCKOPT_FREEBIND = 1 << 2
SOCKOPT_HDRINCL = 1 << 3
SOCKOPT_MC_LOOP = 1 << 4
SOCKOPT_TRANSPARENT = 1 << 5
SOCKOPT_MC_ALL = 1 << 6
SOCKOPT_NODEFRAG = 1 << 7
SOCKOPT_BIND_ADDRESS_NO_PORT = 1 << 8
SOCKOPT_RECVERR_RFC4884 = 1 << 9
SOCKOPT_DEFER_CONNECT = 1 << 10

_SKMEMINFO = Struct("=9I")


class SocketRecord:
    """One socket. Addresses are 4 or 16 bytes in network order; times are milliseconds."""

    __slots__ = (
        "cgroup",
        "congestion",
        "cookie",
        "expires_ms",
        "family",
        "ifindex",
        "inode",
        "local",
        "local_port",
        "mark",
        "netns",
        "protocol",
        "remote",
        "remote_port",
        "retransmits",
        "rqueue",
        "shutdown",
        "skmeminfo",
        "sockopt",
        "state",
        "tcp_info",
        "timer",
        "uid",
        "v6only",
        "wqueue",
    )

    def __init__(self, family: int, protocol: int, state: int) -> None:
        self.family = family  # AF_INET or AF_INET6
        self.protocol = protocol  # IPPROTO_TCP, UDP, UDPLITE, MPTCP or RAW, whose local_port is its protocol
        self.state = state  # TCP_*; a TCP socket in TCP_CLOSE is bound and neither listening nor connected
        self.local = b""
        self.local_port = 0
        self.remote = b""
        self.remote_port = 0
        self.ifindex = 0  # of SO_BINDTODEVICE; 0: any
        self.v6only: bool | None = False  # SO_V6ONLY; None: /proc does not tell
        self.uid = 0
        self.inode = 0  # 0: no file (requests, queued children, orphans, TIME_WAIT)
        self.cookie = 0
        self.timer = 0  # 0 none, 1 retransmit, 2 keepalive, 3 TIME_WAIT, 4 zero-window probe
        self.expires_ms = 0
        self.retransmits = 0
        self.rqueue = 0  # listener: waiting in the accept queue
        self.wqueue = 0  # listener: limit of the accept queue, -1: /proc does not tell
        self.netns = 0  # the inode that was asked; 0: the caller's namespace
        self.mark: int | None = None  # None: needs CAP_NET_ADMIN, or the state has none
        self.cgroup: int | None = None
        self.sockopt: int | None = None
        self.shutdown = 0  # RCV_SHUTDOWN 1, SEND_SHUTDOWN 2
        self.skmeminfo: tuple[int, ...] | None = None  # SK_MEMINFO_*
        self.tcp_info: bytes | None = None
        self.congestion: str | None = None


def parse_record(data: Buffer, start: int, end: int, protocol: int, netns: int) -> SocketRecord | None:
    """Make a record of the inet_diag reply between two offsets; None if it is too short."""
    msg = parse_msg(data, start, end)
    if msg is None:
        return None
    record = SocketRecord(msg.family, protocol, msg.state)
    record.local = msg.src
    record.local_port = msg.sport
    record.remote = msg.dst
    record.remote_port = msg.dport
    record.ifindex = msg.ifindex
    record.uid = msg.uid
    record.inode = msg.inode
    record.cookie = msg.cookie
    record.timer = msg.timer
    record.expires_ms = msg.expires
    record.retransmits = msg.retrans
    record.rqueue = msg.rqueue
    record.wqueue = msg.wqueue
    record.netns = netns
    for type_, value in msg.attributes:
        _take(record, type_, value)
    return record


def _take(record: SocketRecord, type_: int, value: bytes) -> None:
    """Store one attribute in its field."""
    size = len(value)
    if type_ == INET_DIAG_SHUTDOWN and size >= 1:
        record.shutdown = value[0]
    elif type_ == INET_DIAG_SKV6ONLY and size >= 1:
        record.v6only = value[0] != 0
    elif type_ == INET_DIAG_CGROUP_ID and size >= 8:
        record.cgroup = U64.unpack_from(value, 0)[0]
    elif type_ == INET_DIAG_SOCKOPT and size >= 2:
        record.sockopt = value[0] | value[1] << 8
    elif type_ == INET_DIAG_MARK and size >= 4:
        record.mark = U32.unpack_from(value, 0)[0]
    elif type_ == INET_DIAG_INFO:
        record.tcp_info = value
    elif type_ == INET_DIAG_SKMEMINFO and size >= _SKMEMINFO.size:
        record.skmeminfo = _SKMEMINFO.unpack_from(value, 0)
    elif type_ == INET_DIAG_CONG:
        record.congestion = value.rstrip(b"\0").decode("ascii", "replace")
