"""`struct sock_common`, `struct sock`, `struct proto` (Linux: include/net/sock.h, net/core/sock.c).

One chain of classes: SockCommon > Sock > InetSock > InetConnectionSock > TcpSock, and beside Sock the small sockets
InetTimewaitSock and RequestSock. IPv4 addresses are ints in host order (127.0.0.1 is 0x7F000001), IPv6 addresses are 16 bytes,
ports are ints in host order."""

from collections import deque
from typing import TYPE_CHECKING, Final

from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import EINVAL, EOPNOTSUPP
from twinsock.uapi.tcp import TCP_CLOSE

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock_reuseport import SockReuseport
    from twinsock.kernel.net.ipv4.inet_hashtables import Inet2BindBucket, InetBindBucket
    from twinsock.kernel.sched.task import Task

# sk_flags bits, enum sock_flags
SOCK_DEAD: Final = 0
SOCK_DONE: Final = 1
SOCK_URGINLINE: Final = 2
SOCK_KEEPOPEN: Final = 3
SOCK_LINGER: Final = 4
SOCK_DESTROY: Final = 5
SOCK_BROADCAST: Final = 6
SOCK_TIMESTAMP: Final = 7
SOCK_ZAPPED: Final = 8
SOCK_USE_WRITE_QUEUE: Final = 9
SOCK_DBG: Final = 10
SOCK_RCVTSTAMP: Final = 11
SOCK_RCVTSTAMPNS: Final = 12
SOCK_LOCALROUTE: Final = 13
SOCK_MEMALLOC: Final = 14
SOCK_TIMESTAMPING_RX_SOFTWARE: Final = 15
SOCK_FASYNC: Final = 16
SOCK_RXQ_OVFL: Final = 17
SOCK_ZEROCOPY: Final = 18
SOCK_WIFI_STATUS: Final = 19
SOCK_NOFCS: Final = 20
SOCK_FILTER_LOCKED: Final = 21
SOCK_SELECT_ERR_QUEUE: Final = 22
SOCK_RCU_FREE: Final = 23
SOCK_TXTIME: Final = 24
SOCK_XDP: Final = 25
SOCK_TSTAMP_NEW: Final = 26
SOCK_RCVMARK: Final = 27
SOCK_RCVPRIORITY: Final = 28

# sk_userlocks
SOCK_SNDBUF_LOCK: Final = 1
SOCK_RCVBUF_LOCK: Final = 2
SOCK_BINDADDR_LOCK: Final = 4
SOCK_BINDPORT_LOCK: Final = 8
SOCK_CONNECT_BIND: Final = 16

# sk_shutdown
RCV_SHUTDOWN: Final = 1
SEND_SHUTDOWN: Final = 2
SHUTDOWN_MASK: Final = 3

# sk_reuse
SK_NO_REUSE: Final = 0
SK_CAN_REUSE: Final = 1
SK_FORCE_REUSE: Final = 2

IN6ADDR_ANY: Final = bytes(16)


class HlistHead:
    """`struct hlist_head` of a chain of sockets that are linked by `sk_next` and `sk_prev`."""

    def __init__(self) -> None:
        self.first: SockCommon | None = None
        self.count = 0


class SockCommon:
    """`struct sock_common`: what the lookup tables need; shared by full, request and TIME_WAIT sockets."""

    def __init__(self, net: "Net", family: int) -> None:
        self.sk_net = net
        self.sk_family = family
        self.sk_state = TCP_CLOSE
        self.sk_reuse = SK_NO_REUSE
        self.sk_reuseport = 0
        self.sk_ipv6only = 0
        self.sk_bound_dev_if = 0
        self.sk_daddr = 0
        self.sk_rcv_saddr = 0
        self.sk_dport = 0
        self.sk_num = 0  # local port, or a raw socket's protocol
        self.sk_v6_daddr = IN6ADDR_ANY
        self.sk_v6_rcv_saddr = IN6ADDR_ANY
        self.sk_cookie = 0
        self.sk_hash = -1  # 4-tuple hash while in the established table, else -1
        self.sk_refcnt = 1
        # sk_node: its place in the established, listening or UDP chain `sk_head`
        self.sk_head: HlistHead | None = None
        self.sk_next: SockCommon | None = None
        self.sk_prev: SockCommon | None = None
        # sk_bind_node: its place among the owners of a TCP port
        self.icsk_bind_hash: InetBindBucket | None = None
        self.icsk_bind2_hash: Inet2BindBucket | None = None
        self.sk_bind_next: SockCommon | None = None
        self.sk_bind_prev: SockCommon | None = None

    def sock_gen_cookie(self) -> int:
        """Return SO_COOKIE, which is given on the first question."""
        if self.sk_cookie == 0:
            self.sk_cookie = self.sk_net.kernel.gen_cookie()
        return self.sk_cookie


def sk_add_node(sk: SockCommon, head: HlistHead) -> None:
    """Put a socket at the front of a chain."""
    first = head.first
    sk.sk_next = first
    sk.sk_prev = None
    if first is not None:
        first.sk_prev = sk
    head.first = sk
    head.count += 1
    sk.sk_head = head


def sk_add_node_tail(sk: SockCommon, head: HlistHead) -> None:
    """Put a socket at the end of a chain."""
    last = head.first
    if last is None:
        sk_add_node(sk, head)
        return
    while last.sk_next is not None:
        last = last.sk_next
    last.sk_next = sk
    sk.sk_prev = last
    sk.sk_next = None
    head.count += 1
    sk.sk_head = head


def sk_del_node_init(sk: SockCommon) -> bool:
    """Take a socket out of its chain; tell whether it was in one."""
    head = sk.sk_head
    if head is None:
        return False
    after, before = sk.sk_next, sk.sk_prev
    if before is None:
        head.first = after
    else:
        before.sk_next = after
    if after is not None:
        after.sk_prev = before
    head.count -= 1
    sk.sk_head = None
    sk.sk_next = None
    sk.sk_prev = None
    return True


class Proto:
    """`struct proto`: what a protocol does for its sockets; one object per kernel, with the protocol's global counters."""

    def __init__(self, name: str, obj_size: int) -> None:
        self.name = name
        self.obj_size = obj_size  # the column of /proc/net/protocols
        self.inuse_idx = -1  # index into Net.prot_inuse, given at registration
        self.sockets_allocated = 0
        self.memory_allocated = 0  # pages
        self.orphan_count = 0
        self.memory_pressure = 0
        self.max_header = 0

    def close(self, task: "Task | None", sk: "Sock", timeout_ns: int) -> None:
        """Close the socket, lingering up to `timeout_ns`."""
        raise NotImplementedError

    def connect(self, task: "Task", sk: "Sock", addr: bytes) -> int:
        """Start a connection, or set the peer."""
        return -EOPNOTSUPP

    def disconnect(self, sk: "Sock", flags: int) -> int:
        """Undo connect(2)."""
        return -EOPNOTSUPP

    def init_sock(self, sk: "Sock") -> int:
        """Initialise protocol fields of a new socket."""
        return 0

    def destroy(self, sk: "Sock") -> None:
        """Free protocol resources of a dying socket."""

    def shutdown(self, sk: "Sock", how: int) -> None:
        """Shut a direction down (`how` in RCV_SHUTDOWN / SEND_SHUTDOWN bits)."""

    def setsockopt(self, task: "Task", sk: "Sock", level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """Set a protocol option."""
        return -EOPNOTSUPP

    def getsockopt(self, task: "Task", sk: "Sock", level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """Read a protocol option."""
        return -EOPNOTSUPP, b""

    def ioctl(self, sk: "Sock", cmd: int) -> tuple[int, int]:
        """Answer SIOCINQ and the like: (0 or -errno, value)."""
        return -EINVAL, 0

    def sendmsg(self, task: "Task", sk: "Sock", msg: "Msghdr") -> int:
        """Send."""
        return -EOPNOTSUPP

    def recvmsg(self, task: "Task", sk: "Sock", msg: "Msghdr", flags: int) -> int:
        """Receive."""
        return -EOPNOTSUPP

    def bind(self, task: "Task", sk: "Sock", addr: bytes) -> int:
        """Protocols with their own bind (RAW) override this; `has_bind` says so."""
        return -EOPNOTSUPP

    def backlog_rcv(self, sk: "Sock", skb: "SkBuff") -> int:
        """Process a packet that came while a task held the socket."""
        return 0

    def release_cb(self, sk: "Sock") -> None:
        """Do what was deferred while a task held the socket."""

    def hash(self, sk: "Sock") -> int:
        """Enter the lookup tables."""
        return 0

    def unhash(self, sk: "Sock") -> None:
        """Leave the lookup tables."""

    def get_port(self, sk: "Sock", snum: int) -> int:
        """Own local port `snum` (0: choose one): 0, or -errno as EADDRINUSE."""
        return 0

    def put_port(self, sk: "Sock") -> None:
        """Give the local port back."""


class Sock(SockCommon):
    """`struct sock`: a protocol socket."""

    def __init__(self, net: "Net", family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family)
        self.sk_prot = prot
        self.sk_prot_creator = prot
        self.sk_type = type_
        self.sk_protocol = protocol
        self.sk_socket: Socket | None = None
        self.sk_uid = 0
        self.sk_flags = 0  # bits: enum sock_flags
        self.sk_userlocks = 0
        self.sk_shutdown = 0
        self.sk_err = 0
        self.sk_err_soft = 0
        self.sk_lingertime_ns = 0
        self.sk_priority = 0
        self.sk_mark = 0
        self.sk_no_check_tx = 0
        self.sk_no_check_rx = 0
        self.sk_rcvbuf = net.kernel.sysctl_rmem_default  # bytes
        self.sk_sndbuf = net.kernel.sysctl_wmem_default  # bytes
        self.sk_rcvlowat = 1
        self.sk_rcvtimeo_ns = MAX_SCHEDULE_TIMEOUT
        self.sk_sndtimeo_ns = MAX_SCHEDULE_TIMEOUT
        self.sk_rmem_alloc = 0  # truesize in the receive queue
        self.sk_wmem_alloc = 0  # truesize handed to lower layers (UDP) or queued at the peer (UNIX); without Linux's initial 1
        self.sk_wmem_queued = 0  # truesize of write and retransmit queue
        self.sk_omem_alloc = 0  # option memory
        self.sk_forward_alloc = 0
        self.sk_drops = 0
        self.sk_peek_off = -1
        self.sk_receive_queue: deque[SkBuff] | None = None  # allocated by the first packet
        self.sk_error_queue: deque[SkBuff] | None = None
        self.sk_backlog: deque[SkBuff] | None = None
        self.sk_backlog_len = 0
        self.sk_owned_by_user = False
        self.sk_ack_backlog = 0
        self.sk_max_ack_backlog = 0
        self.sk_reuseport_cb: SockReuseport | None = None
        self.sk_incoming_cpu = -1
        self.sk_ll_usec = 0
        self.sk_pacing_rate = (1 << 62) - 1
        self.sk_max_pacing_rate = (1 << 62) - 1
        self.sk_tsflags = 0
        self.sk_tskey = 0
        self.sk_bind_phc = 0
        self.sk_stamp_ns = -1
        self.sk_timer: Timer | None = None
        self.sk_peer_pid = 0
        self.sk_peer_uid = -1
        self.sk_peer_gid = -1
        self.sk_filter: object | None = None
        self.sk_in_used = False  # counted in Net.sockets_used

    def sock_flag(self, bit: int) -> bool:
        """Tell whether flag `bit` of enum sock_flags is set."""
        return bool(self.sk_flags >> bit & 1)

    def sock_set_flag(self, bit: int) -> None:
        """Set flag `bit`."""
        self.sk_flags |= 1 << bit

    def sock_reset_flag(self, bit: int) -> None:
        """Clear flag `bit`."""
        self.sk_flags &= ~(1 << bit)

    def sock_i_uid(self) -> int:
        """Return the owner of the socket inode, 0 without one (fchown(2) changes it)."""
        return self.sk_socket.i_uid if self.sk_socket is not None else 0

    def sock_i_ino(self) -> int:
        """Return the inode number, 0 without a file."""
        return self.sk_socket.i_ino if self.sk_socket is not None else 0

    # Wake-ups: the three callbacks that protocols call and families override.

    def sk_state_change(self) -> None:
        """Wake everybody: the state changed."""
        if self.sk_socket is not None:
            self.sk_socket.wq.wake_up(0, 0)

    def sk_data_ready(self) -> None:
        """Wake readers: EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND."""
        if self.sk_socket is not None:
            self.sk_socket.wq.wake_up(0x1 | 0x2 | 0x40 | 0x80)

    def sk_write_space(self) -> None:
        """Wake writers when at least half of the send buffer is free: EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND."""
        if self.sk_socket is not None and self.sk_wmem_alloc << 1 <= self.sk_sndbuf:
            self.sk_socket.wq.wake_up(0x4 | 0x100 | 0x200)

    def sk_error_report(self) -> None:
        """Wake everybody with EPOLLERR."""
        if self.sk_socket is not None:
            self.sk_socket.wq.wake_up(0x8)

    def sk_destruct(self) -> None:
        """Last words of the family when the last reference goes."""


def sock_hold(sk: SockCommon) -> None:
    """Take a reference."""
    sk.sk_refcnt += 1


def sock_error(sk: Sock) -> int:
    """Fetch and clear the pending error: 0 or -errno."""
    err = sk.sk_err
    sk.sk_err = 0
    return -err
