"""`struct sock_common`, `struct sock`, `struct proto` (Linux: include/net/sock.h, net/core/sock.c).

One chain of classes: SockCommon > Sock > InetSock > InetConnectionSock > TcpSock, and beside Sock the small sockets
InetTimewaitSock and RequestSock. IPv4 addresses are ints in host order (127.0.0.1 is 0x7F000001), IPv6 addresses are 16 bytes,
ports are ints in host order."""

from __future__ import annotations

from twinsock.kernel.fs.file import POLL_IN
from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core.net import SOCK_WAKE_IO, SOCK_WAKE_SPACE, SOCK_WAKE_WAITD, Socket, sock_wake_async
from twinsock.kernel.net.core.net_namespace import get_net, put_net
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import EINVAL, ENOBUFS, ENOPROTOOPT, EOPNOTSUPP
from twinsock.uapi.socket import SOCK_TXREHASH_DEFAULT
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.dst import Dst
    from twinsock.kernel.net.core.filter import SkFilter
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

SK_RMEM_DEFAULT: Final = 212992  # net.core.rmem_default of a kernel that was just booted, bytes
SK_WMEM_DEFAULT: Final = 212992

# sk_scm_recv_flags
SK_SCM_CREDENTIALS: Final = 1
SK_SCM_SECURITY: Final = 2
SK_SCM_PIDFD: Final = 4
SK_SCM_RIGHTS: Final = 8

POLL_OUT: Final = 2
POLL_ERR: Final = 4
SK_MEM_QUANTUM: Final = 4096
IN6ADDR_ANY: Final = bytes(16)


class HlistHead:
    """`struct hlist_head` of a chain of sockets that are linked by `sk_next` and `sk_prev`."""

    def __init__(self) -> None:
        self.first: SockCommon | None = None
        self.count = 0


class SockCommon:
    """`struct sock_common`: what the lookup tables need; shared by full, request and TIME_WAIT sockets."""

    # defaults: what a socket never changes takes no room in it
    sk_v6_daddr = IN6ADDR_ANY
    sk_v6_rcv_saddr = IN6ADDR_ANY
    sk_cookie = 0

    def __init__(self, net: Net, family: int) -> None:
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


class ProtoCounters:
    """What the protocols of one transport count together, for all namespaces: TCP and TCPv6 share one, as UDP and its kin do."""

    def __init__(self) -> None:
        self.sockets_allocated = 0
        self.memory_allocated = 0  # pages
        self.orphan_count = 0
        self.memory_pressure = 0
        self.per_cpu_fw_alloc = [0, 0]  # pages charged on a processor and not yet in memory_allocated


@mypyc_attr(allow_interpreted_subclasses=True)
class Proto:
    """`struct proto`: what a protocol does for its sockets; one object per kernel, with the protocol's global counters."""

    def __init__(self, name: str, obj_size: int) -> None:
        self.name = name
        self.obj_size = obj_size  # the column of /proc/net/protocols
        self.inuse_idx = -1  # index into Net.prot_inuse, given at registration
        self.counters = ProtoCounters()
        self.max_header = 0
        self.sysctl_mem: list[int] | None = None  # min, pressure, max in pages; None: no accounting
        self.no_autobind = False
        self.memory_pressures_mib = -1  # LINUX_MIB_*MEMORYPRESSURES, -1: none

    def close(self, task: Task | None, sk: Sock, timeout_ns: int) -> None:
        """Close the socket, lingering up to `timeout_ns`."""
        raise NotImplementedError

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """Start a connection, or set the peer."""
        return -EOPNOTSUPP

    def pre_connect(self, sk: Sock, addr: bytes) -> int:
        """Check the address before the cgroup's programs see it: 0 or -errno."""
        return 0

    def disconnect(self, sk: Sock, flags: int) -> int:
        """Undo connect(2)."""
        return -EOPNOTSUPP

    def init_sock(self, sk: Sock) -> int:
        """Initialise protocol fields of a new socket."""
        return 0

    def may_create(self, task: Task, sk: Sock) -> int:
        """Tell whether the task may have such a socket: 0 or -errno; asked last of all when it is made."""
        return 0

    def destroy(self, sk: Sock) -> None:
        """Free protocol resources of a dying socket."""

    def shutdown(self, sk: Sock, how: int) -> None:
        """Shut a direction down (`how` in RCV_SHUTDOWN / SEND_SHUTDOWN bits)."""

    def keepalive(self, sk: Sock, on: bool) -> None:
        """SO_KEEPALIVE was set."""

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """Set a protocol option."""
        return -EOPNOTSUPP

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """Read a protocol option."""
        return -EOPNOTSUPP, b""

    def ioctl(self, sk: Sock, cmd: int) -> tuple[int, int]:
        """Answer SIOCINQ and the like: (0 or -errno, value)."""
        return -EINVAL, 0

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """Send."""
        return -EOPNOTSUPP

    def recvmsg(self, task: Task, sk: Sock, msg: Msghdr, flags: int) -> int:
        """Receive."""
        return -EOPNOTSUPP

    def bind(self, task: Task, sk: Sock, addr: bytes) -> int:
        """Protocols with their own bind (RAW, ping) override this."""
        return -EOPNOTSUPP

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """Return the poll(2) bits, for protocols with rules of their own."""
        return 0

    def router_alert(self, sk: Sock, on: bool) -> int:
        """IP_ROUTER_ALERT: only RAW sockets take such packets."""
        return -EINVAL

    def router_alert6(self, sk: Sock, value: int) -> int:
        """IPV6_ROUTER_ALERT: only RAW sockets take such packets."""
        return -ENOPROTOOPT

    def is_corked(self, sk: Sock) -> bool:
        """Tell whether a datagram is being put together."""
        return False

    def timestamping_opt_stats(self, sk: Sock, ttl: int) -> bytes:
        """Return the numbers that go with a stamp, SOF_TIMESTAMPING_OPT_STATS; `ttl` of the acknowledgement, -1: there is none."""
        return b""

    def become_ipv4(self, sk: Sock) -> int:
        """IPV6_ADDRFORM: turn an AF_INET6 socket into an AF_INET one: 0 or -errno."""
        return -ENOPROTOOPT

    def backlog_rcv(self, sk: Sock, skb: SkBuff) -> int:
        """Process a packet that came while a task held the socket."""
        return 0

    def release_cb(self, sk: Sock) -> None:
        """Do what was deferred while a task held the socket."""

    def hash(self, sk: Sock) -> int:
        """Enter the lookup tables."""
        return 0

    def unhash(self, sk: Sock) -> None:
        """Leave the lookup tables."""

    def rehash(self, sk: Sock) -> None:
        """Move within the lookup tables: the local address changed."""

    def get_port(self, sk: Sock, snum: int) -> int:
        """Own local port `snum` (0: choose one): 0, or -errno as EADDRINUSE."""
        return 0

    def put_port(self, sk: Sock) -> None:
        """Give the local port back."""

    def sysctl_wmem_min(self, net: Net) -> int:
        """Return the send buffer below which memory is granted under pressure."""
        return SK_MEM_QUANTUM

    def sysctl_rmem_min(self, net: Net) -> int:
        """Return the receive buffer below which memory is granted under pressure."""
        return SK_MEM_QUANTUM

    def leave_memory_pressure(self) -> None:
        """Memory is below its minimum again."""
        self.counters.memory_pressure = 0

    def enter_memory_pressure(self, sk: Sock) -> None:
        """Memory is above the pressure mark."""
        if not self.counters.memory_pressure:
            if self.memory_pressures_mib >= 0:
                sk.sk_net.net_statistics[self.memory_pressures_mib] += 1
            self.counters.memory_pressure = 1


class Sock(SockCommon):
    """`struct sock`: a protocol socket."""

    # defaults: what a socket never changes takes no room in it
    sk_dst_cache: Dst | None = None
    sk_socket: Socket | None = None
    sk_uid = 0
    sk_flags = 0  # bits: enum sock_flags
    sk_userlocks = 0
    sk_shutdown = 0
    sk_err = 0
    sk_err_soft = 0
    sk_lingertime_ns = 0
    sk_priority = 0
    sk_mark = 0
    sk_no_check_tx = 0
    sk_no_check_rx = 0
    sk_rcvlowat = 1
    sk_rmem_alloc = 0  # truesize in the receive queue
    forward_deficit = 0  # of it: what was read from a UDP socket and is still charged
    sk_wmem_alloc = 0  # truesize handed to lower layers (UDP) or queued at the peer (UNIX); without Linux's initial 1
    sk_wmem_queued = 0  # truesize of write and retransmit queue
    sk_omem_alloc = 0  # option memory
    sk_forward_alloc = 0
    sk_drops = 0
    sk_peek_off = -1
    sk_receive_queue: deque[SkBuff] | None = None  # allocated by the first packet
    sk_error_queue: deque[SkBuff] | None = None
    sk_backlog: deque[SkBuff] | None = None
    sk_backlog_len = 0
    sk_owned_by_user = False
    sk_ack_backlog = 0
    sk_max_ack_backlog = 0
    sk_reuseport_cb: SockReuseport | None = None
    sk_incoming_cpu = -1
    sk_ll_usec = 0
    sk_tsflags = 0
    sk_tskey = 0
    sk_bind_phc = 0
    sk_stamp_ns = -1
    sk_timer: Timer | None = None
    sk_peer_pid = 0
    sk_peer_uid = -1
    sk_peer_gid = -1
    sk_filter: SkFilter | None = None
    sk_net_refcnt = False  # counted in Net.sockets_used, and keeps its namespace alive
    sk_free_pending = False  # unreferenced, but packets under way are still charged to it
    sk_peer_groups: list[int] | None = None
    sk_prefer_busy_poll = 0
    sk_busy_poll_budget = 0
    sk_reserved_mem = 0
    sk_napi_id = 0
    sk_txtime_clockid = 0
    sk_txtime_flags = 0
    sk_zckey = 0
    sk_rcvbuf = SK_RMEM_DEFAULT  # bytes
    sk_sndbuf = SK_WMEM_DEFAULT  # bytes
    sk_rcvtimeo_ns = MAX_SCHEDULE_TIMEOUT
    sk_sndtimeo_ns = MAX_SCHEDULE_TIMEOUT
    sk_pacing_rate = (1 << 62) - 1
    sk_max_pacing_rate = (1 << 62) - 1
    sk_scm_recv_flags = SK_SCM_RIGHTS  # what recvmsg(2) passes on: credentials, security, pidfd, rights
    sk_txrehash = SOCK_TXREHASH_DEFAULT

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family)
        self.sk_prot = prot
        self.sk_prot_creator = prot
        self.sk_type = type_
        self.sk_protocol = protocol
        kernel = net.kernel
        if kernel.sysctl_rmem_default != SK_RMEM_DEFAULT:
            self.sk_rcvbuf = kernel.sysctl_rmem_default
        if kernel.sysctl_wmem_default != SK_WMEM_DEFAULT:
            self.sk_sndbuf = kernel.sysctl_wmem_default

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
        sock = self.sk_socket
        if sock is not None:
            sock.wq.wake_up(0x1 | 0x2 | 0x40 | 0x80)
            self.sk_wake_async(SOCK_WAKE_WAITD, POLL_IN)

    def sk_write_space(self) -> None:
        """Wake writers when at least half of the send buffer is free: EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND."""
        sock = self.sk_socket
        if sock is not None and self.sk_wmem_alloc << 1 <= self.sk_sndbuf:
            sock.wq.wake_up(0x4 | 0x100 | 0x200)
            if self.sock_writeable():
                self.sk_wake_async(SOCK_WAKE_SPACE, POLL_OUT)

    def sk_error_report(self) -> None:
        """Wake everybody with EPOLLERR."""
        sock = self.sk_socket
        if sock is not None:
            sock.wq.wake_up(0x8)
            self.sk_wake_async(SOCK_WAKE_IO, POLL_ERR)

    def sk_wake_async(self, how: int, band: int) -> None:
        """Send SIGIO to those who asked for it with O_ASYNC."""
        if self.sk_flags >> SOCK_FASYNC & 1 and self.sk_socket is not None:
            sock_wake_async(self.sk_socket, how, band)

    def sock_writeable(self) -> bool:
        """Tell whether a datagram socket has room: less than half of the send buffer under way."""
        return self.sk_wmem_alloc < self.sk_sndbuf >> 1

    def sk_rehash_bound_dev(self) -> None:
        """The device it is bound to changed: enter the lookup tables anew where they depend on it."""

    def tstamp_key_base(self, relative_to_write: bool) -> int:
        """Return the stream position from which SOF_TIMESTAMPING_OPT_ID counts."""
        return 0

    def sk_destruct(self) -> None:
        """Last words of the family when the last reference goes."""


def sock_hold(sk: SockCommon) -> None:
    """Take a reference."""
    sk.sk_refcnt += 1


def sock_put(sk: Sock) -> None:
    """Drop a reference; the last one frees the socket."""
    sk.sk_refcnt -= 1
    if sk.sk_refcnt == 0:
        sk_free(sk)


def sock_error(sk: Sock) -> int:
    """Fetch and clear the pending error: 0 or -errno."""
    err = sk.sk_err
    sk.sk_err = 0
    return -err


def proto_register(kernel: Kernel, prot: Proto) -> None:
    """Enter a protocol into the kernel's list and give it a counter in every namespace."""
    prot.inuse_idx = len(kernel.protos)
    kernel.protos.append(prot)


def sk_alloc(sk: Sock, kern: int) -> Sock:
    """Count a new protocol socket; one for a program (kern 0) also keeps its namespace alive."""
    if not kern:
        sk.sk_net_refcnt = True
        get_net(sk.sk_net)
        sk.sk_net.sockets_used += 1
    return sk


def sock_init_data(sock: Socket | None, sk: Sock) -> None:
    """Join the protocol socket and the socket, and set what every socket starts with."""
    sk.sk_socket = sock
    sk.sock_set_flag(SOCK_ZAPPED)
    if sock is not None:
        sk.sk_type = sock.type
        sk.sk_uid = sock.i_uid
        sock.sk = sk


def sk_clone(sk: Sock, newsk: Sock) -> None:
    """Give a child, made with its parent's class, namespace and protocol, the options that it inherits."""
    newsk.sk_reuse = sk.sk_reuse
    newsk.sk_reuseport = sk.sk_reuseport
    newsk.sk_ipv6only = sk.sk_ipv6only
    newsk.sk_bound_dev_if = sk.sk_bound_dev_if
    newsk.sk_uid = sk.sk_uid
    newsk.sk_flags = sk.sk_flags & ~(1 << SOCK_DONE)
    newsk.sk_userlocks = sk.sk_userlocks & ~(SOCK_BINDPORT_LOCK | SOCK_CONNECT_BIND)
    newsk.sk_shutdown = sk.sk_shutdown
    newsk.sk_lingertime_ns = sk.sk_lingertime_ns
    newsk.sk_mark = sk.sk_mark
    newsk.sk_no_check_tx, newsk.sk_no_check_rx = sk.sk_no_check_tx, sk.sk_no_check_rx
    newsk.sk_rcvbuf, newsk.sk_sndbuf = sk.sk_rcvbuf, sk.sk_sndbuf
    newsk.sk_rcvlowat = sk.sk_rcvlowat
    newsk.sk_rcvtimeo_ns, newsk.sk_sndtimeo_ns = sk.sk_rcvtimeo_ns, sk.sk_sndtimeo_ns
    newsk.sk_peek_off = sk.sk_peek_off
    newsk.sk_incoming_cpu = sk.sk_incoming_cpu
    newsk.sk_ll_usec = sk.sk_ll_usec
    newsk.sk_prefer_busy_poll, newsk.sk_busy_poll_budget = sk.sk_prefer_busy_poll, sk.sk_busy_poll_budget
    newsk.sk_pacing_rate, newsk.sk_max_pacing_rate = sk.sk_pacing_rate, sk.sk_max_pacing_rate
    newsk.sk_tsflags, newsk.sk_bind_phc = sk.sk_tsflags, sk.sk_bind_phc
    newsk.sk_scm_recv_flags = sk.sk_scm_recv_flags
    newsk.sk_txrehash = sk.sk_txrehash
    newsk.sk_txtime_clockid, newsk.sk_txtime_flags = sk.sk_txtime_clockid, sk.sk_txtime_flags
    newsk.sk_filter = sk.sk_filter
    sk_alloc(newsk, 0 if sk.sk_net_refcnt else 1)


def sk_free(sk: Sock) -> None:
    """Free an unreferenced socket, as soon as nothing under way is charged to it."""
    if sk.sk_wmem_alloc:
        sk.sk_free_pending = True
        return
    __sk_free(sk)


def __sk_free(sk: Sock) -> None:
    if sk.sk_net_refcnt:
        sk.sk_net.sockets_used -= 1
    sk.sk_destruct()
    sk.sk_filter = None
    if sk.sk_net_refcnt:
        sk.sk_net_refcnt = False
        put_net(sk.sk_net)


def sk_common_release(sk: Sock) -> None:
    """Release a connectionless socket: destroy, leave the tables, orphan, drop the reference."""
    sk.sk_prot.destroy(sk)
    sk.sk_prot.unhash(sk)
    sock_orphan(sk)
    sock_put(sk)


def sock_orphan(sk: Sock) -> None:
    """Cut the protocol socket off from its file."""
    sk.sock_set_flag(SOCK_DEAD)
    sk.sk_socket = None


def sock_graft(sk: Sock, parent: Socket) -> None:
    """Give an accepted protocol socket its file."""
    parent.sk = sk
    sk.sk_socket = parent
    sk.sk_uid = parent.i_uid


# The socket lock. Tasks give the processor away only in schedule_timeout(), and never with the lock: it is therefore never
# contended between tasks; it keeps softirqs out.


def lock_sock(sk: Sock) -> None:
    """Take the socket for a task; packets go to its backlog from here on."""
    assert not sk.sk_owned_by_user
    sk.sk_owned_by_user = True


def release_sock(sk: Sock) -> None:
    """Process the backlog and what was deferred, and let the socket go."""
    if sk.sk_backlog:
        __release_sock(sk)
    kernel = sk.sk_net.kernel
    in_softirq = kernel.in_softirq
    kernel.in_softirq = True  # what release_cb sends is answered after the lock is free, not into the backlog
    sk.sk_prot.release_cb(sk)
    sk.sk_owned_by_user = False
    kernel.in_softirq = in_softirq
    kernel.do_softirq()


def __release_sock(sk: Sock) -> None:
    backlog = sk.sk_backlog
    while backlog:
        sk.sk_prot.backlog_rcv(sk, backlog.popleft())
    sk.sk_backlog_len = 0


def sock_owned_by_user(sk: Sock) -> bool:
    """Tell whether a task holds the socket."""
    return sk.sk_owned_by_user


def sk_add_backlog(sk: Sock, skb: SkBuff, limit: int) -> int:
    """Keep a packet until the task lets go: 0, or -ENOBUFS when backlog and receive queue exceed `limit` bytes."""
    if sk.sk_backlog_len + sk.sk_rmem_alloc > limit:
        return -ENOBUFS
    if sk.sk_backlog is None:
        from collections import deque

        sk.sk_backlog = deque()
    sk.sk_backlog.append(skb)
    sk.sk_backlog_len += skb.truesize
    return 0


def sk_sleep_timeout(task: Task, sk: Sock, timeout_ns: int) -> int:
    """Sleep without the socket: release it, schedule, take it again; return what is left of the time."""
    release_sock(sk)
    left = task.schedule_timeout(timeout_ns)
    lock_sock(sk)
    return left


def sock_rcvtimeo(sk: Sock, noblock: bool) -> int:
    """Return how long a receive may wait, in ns."""
    return 0 if noblock else sk.sk_rcvtimeo_ns


def sock_sndtimeo(sk: Sock, noblock: bool) -> int:
    """Return how long a send may wait, in ns."""
    return 0 if noblock else sk.sk_sndtimeo_ns


def sock_rcvlowat(sk: Sock, waitall: bool, length: int) -> int:
    """Return how many bytes a receive of `length` waits for."""
    low = length if waitall else min(sk.sk_rcvlowat, length)
    return low or 1
