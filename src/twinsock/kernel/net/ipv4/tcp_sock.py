"""`struct tcp_sock`, segments on TCP's queues, sequence arithmetic (Linux: include/linux/tcp.h, include/net/tcp.h).

Sequence numbers are ints in [0, 2**32), compared modulo 2**32 (RFC 9293 3.4). Windows and sequence distances are bytes,
congestion windows are segments, round-trip times are microseconds with Linux's fixed-point scale where named so."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.skbuff import SkbDestructor, SkBuff, SockExtendedErr
from twinsock.kernel.net.core.zerocopy import mm_unaccount_pinned_pages
from twinsock.kernel.net.ipv4.inet_csk import InetCsk
from twinsock.uapi.errno import EOPNOTSUPP
from twinsock.uapi.errqueue import SO_EE_CODE_ZEROCOPY_COPIED, SO_EE_ORIGIN_ZEROCOPY
from twinsock.wire.tcp import Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Proto
    from twinsock.kernel.net.ipv4.tcp_cong import TcpCongestionOps
    from twinsock.kernel.sched.task import Task
    from twinsock.kernel.time.timer import Timer

M32: Final = 0xFFFFFFFF

# sacked bits of a segment in the retransmit queue
TCPCB_SACKED_ACKED: Final = 1
TCPCB_SACKED_RETRANS: Final = 2
TCPCB_LOST: Final = 4
TCPCB_TAGBITS: Final = 7
TCPCB_REPAIRED: Final = 0x10
TCPCB_EVER_RETRANS: Final = 0x80
TCPCB_RETRANS: Final = 0x92

# nonagle
TCP_NAGLE_OFF: Final = 1
TCP_NAGLE_CORK: Final = 2
TCP_NAGLE_PUSH: Final = 4

# icsk_ca_state
TCP_CA_OPEN: Final = 0
TCP_CA_DISORDER: Final = 1
TCP_CA_CWR: Final = 2
TCP_CA_RECOVERY: Final = 3
TCP_CA_LOSS: Final = 4

# ecn_flags
TCP_ECN_OK: Final = 1
TCP_ECN_QUEUE_CWR: Final = 2
TCP_ECN_DEMAND_CWR: Final = 4
TCP_ECN_SEEN: Final = 8

# tsq_flags: work deferred while a task holds the socket
TCP_TSQ_DEFERRED: Final = 1
TCP_WRITE_TIMER_DEFERRED: Final = 2
TCP_DELACK_TIMER_DEFERRED: Final = 4
TCP_MTU_REDUCED_DEFERRED: Final = 8
TCP_ACK_DEFERRED: Final = 16

# chrono_type
TCP_CHRONO_UNSPEC: Final = 0
TCP_CHRONO_BUSY: Final = 1
TCP_CHRONO_RWND_LIMITED: Final = 2
TCP_CHRONO_SNDBUF_LIMITED: Final = 3

TCP_URG_VALID: Final = 0x100
TCP_URG_NOTYET: Final = 0x200
TCP_URG_READ: Final = 0x400

TCP_INFINITE_SSTHRESH: Final = 0x7FFFFFFF
TCP_INIT_CWND: Final = 10
TCP_MAX_QUICKACKS: Final = 16
TCP_MIN_MSS: Final = 88
TCP_MAX_WINDOW: Final = 32767
TCP_MAX_WSCALE: Final = 14
TCP_RMEM_TO_WIN_SCALE: Final = 8
TCP_DEFAULT_SCALING_RATIO: Final = 128  # of 1 << TCP_RMEM_TO_WIN_SCALE
TCP_PAWS_WINDOW: Final = 1
TCP_PAWS_24DAYS: Final = 60 * 60 * 24 * 24
TCP_PAWS_WRAP_S: Final = 60 * 60 * 24 * 24
TCP_RACK_RECOVERY_THRESH: Final = 16
TCP_NUM_SACKS: Final = 4

# head of a segment: bytes of memory that its first byte costs (Measured: sheet 05, 5.2)
SKB_TRUESIZE_HEAD: Final = 832
MAX_SKB_FRAGS: Final = 17
ZEROCOPY_OMEM: Final = 832  # option memory of a zero-copy notification


def before(a: int, b: int) -> bool:
    """Tell whether sequence number `a` precedes `b`."""
    return (a - b) & M32 > 0x7FFFFFFF


def after(a: int, b: int) -> bool:
    """Tell whether sequence number `a` follows `b`."""
    return (b - a) & M32 > 0x7FFFFFFF


def between(seq: int, low: int, high: int) -> bool:
    """Tell whether low <= seq <= high."""
    return (high - low) & M32 >= (seq - low) & M32


def sdiff(a: int, b: int) -> int:
    """Return a - b as a signed 32-bit distance."""
    d = (a - b) & M32
    return d - 0x100000000 if d > 0x7FFFFFFF else d


class TcpSkb(SkBuff):
    """A segment: of the write queue (unsent), the retransmit queue (sent), the wire, or a receive queue.

    An unsent segment that still grows keeps its pieces in `parts`; `linearize` makes one view of them before it is sent."""

    nr_frags = 0  # pieces of memory of an unsent segment
    last_frag_copied = False  # the last of them is ours and grows

    def __init__(self, data: bytes = b"", offset: int = 0, length: int = -1) -> None:
        super().__init__(data, offset, length)
        self.next: TcpSkb | None = None
        self.prev: TcpSkb | None = None
        self.parts: list[bytes] | None = None
        self.th: Tcphdr | None = None
        self.seq = 0
        self.end_seq = 0  # seq + len + SYN + FIN
        self.tcp_flags = 0
        self.ack_seq = 0
        self.sacked = 0
        self.pcount = 0  # segments on the wire, tcp_skb_pcount()
        self.eor = False
        self.is_probe = False
        self.skb_mstamp_us = 0
        self.rack_listed = False  # in `tsorted_sent_queue`: RACK may judge it lost
        self.in_flight = 0
        self.is_app_limited = False
        self.delivered = 0
        self.delivered_ce = 0
        self.first_tx_mstamp = 0
        self.delivered_mstamp = 0
        self.txstamp_ack = False
        self.zc: UbufInfo | None = None  # MSG_ZEROCOPY notification shared by the segments of some calls
        self.dsfield = 0  # received TOS or traffic class
        self.hop = 0  # received TTL or hop limit
        self.has_rxtstamp = False
        self.tcp_tw_isn = 0
        self.origin: TcpSkb | None = None  # received over loopback or veth: the segment in the sender's queue
        self.freed = False  # the sender let go of it
        self.charged = 0  # received: bytes of sk_rmem_alloc it stands for

    def linearize(self) -> None:
        """Join the pieces of a segment that grew by several writes."""
        parts = self.parts
        if parts is not None:
            self.data = b"".join(parts)
            self.offset = 0
            self.parts = None

    def append(self, piece: bytes) -> None:
        """Add payload to an unsent segment."""
        if self.parts is None:
            self.parts = [self.payload()] if self.len else []
        self.parts.append(piece)
        self.len += len(piece)

    def saved_headers(self) -> bytes:
        """Return the network and transport header as bytes, TCP_SAVED_SYN of tcp(7)."""
        size = self.l3_len() - self.len
        return self.l3_bytes()[:size]


class UbufInfo:
    """`struct ubuf_info_msgzc`: the completion that one or several MSG_ZEROCOPY calls wait for."""

    def __init__(self, sk: TcpSock, uid: int) -> None:
        self.sk = sk
        self.id = uid  # first call
        self.calls = 1
        self.bytelen = 0
        self.refcnt = 1
        self.zerocopy = False  # every device of the twin copies, as loopback and TUN do
        self.pinned_uid = 0  # whose locked pages it counts in
        self.pinned_pages = 0


class _Ofree(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Give the option memory of a notification back (sock_ofree)."""
        if skb.sk is not None:
            skb.sk.sk_omem_alloc -= ZEROCOPY_OMEM


_OFREE: Final[SkbDestructor] = _Ofree()


class SkbList:
    """A doubly linked queue of segments in sequence order."""

    def __init__(self) -> None:
        self.head: TcpSkb | None = None
        self.tail: TcpSkb | None = None
        self.qlen = 0

    def append(self, skb: TcpSkb) -> None:
        """Add at the tail."""
        tail = self.tail
        skb.prev = tail
        skb.next = None
        if tail is None:
            self.head = skb
        else:
            tail.next = skb
        self.tail = skb
        self.qlen += 1

    def insert_after(self, where: TcpSkb, skb: TcpSkb) -> None:
        """Insert `skb` behind `where`."""
        nxt = where.next
        skb.prev = where
        skb.next = nxt
        where.next = skb
        if nxt is None:
            self.tail = skb
        else:
            nxt.prev = skb
        self.qlen += 1

    def insert_head(self, skb: TcpSkb) -> None:
        """Insert at the front."""
        head = self.head
        skb.prev = None
        skb.next = head
        if head is None:
            self.tail = skb
        else:
            head.prev = skb
        self.head = skb
        self.qlen += 1

    def remove(self, skb: TcpSkb) -> None:
        """Take `skb` out."""
        prev = skb.prev
        nxt = skb.next
        if prev is None:
            self.head = nxt
        else:
            prev.next = nxt
        if nxt is None:
            self.tail = prev
        else:
            nxt.prev = prev
        skb.prev = None
        skb.next = None
        self.qlen -= 1


class TcpOptionsReceived:
    """`struct tcp_options_received`: what the peer's options say, and what was agreed."""

    def __init__(self) -> None:
        self.ts_recent_stamp = 0  # seconds; 0: ts_recent is void
        self.ts_recent = 0
        self.rcv_tsval = 0
        self.rcv_tsecr = 0
        self.saw_tstamp = False
        self.tstamp_ok = False
        self.dsack = False
        self.wscale_ok = False
        self.sack_ok = False
        self.snd_wscale = 0
        self.rcv_wscale = 0
        self.user_mss = 0
        self.mss_clamp = 0


class TcpFastopenRequest:
    """`struct tcp_fastopen_request`: data that waits for, or travels with, the SYN."""

    def __init__(self, data: bytes, flags: int) -> None:
        self.cookie: bytes | None = None  # b"": ask for one
        self.cookie_exp = False
        self.data = data
        self.size = len(data)
        self.copied = 0
        self.flags = flags
        self.zc: UbufInfo | None = None


class TcpRequestSock(RequestSock):
    """`struct tcp_request_sock`."""

    def __init__(self, net: Net, family: int, listener: TcpSock | None) -> None:
        super().__init__(net, family, listener)
        self.rcv_isn = 0
        self.snt_isn = 0
        self.rcv_nxt = 0
        self.ts_off = 0
        self.snt_tsval_first = 0
        self.snt_synack_us = 0  # when the first SYN-ACK left, 0 after a retransmission
        self.last_oow_ack_time = 0
        self.tfo_listener = False
        self.txhash = 0
        self.syn_tos = 0
        self.pktopts: SkBuff | None = None


class TcpFastopenOps:
    """What Fast Open does at the points where the rest of TCP asks for it (tcp_fastopen.py implements it)."""

    def cookie_check(self, sk: TcpSock, fo: TcpFastopenRequest) -> tuple[bool, int]:
        """Look for a cookie for the peer: (data may travel in the SYN, MSS to assume)."""
        return False, sk.rx_opt.mss_clamp

    def active_disable(self, sk: TcpSock) -> None:
        """Suspect a middlebox that drops data in SYNs."""

    def active_disable_ofo_check(self, sk: TcpSock) -> None:
        """A Fast Open connection ends: look whether only its end ever arrived."""

    def rcv_synack(self, sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> bool:
        """Learn from the SYN-ACK; true when the data must be sent again."""
        return False

    def detect_blackhole(self, sk: TcpSock, expired: bool) -> None:
        """Repeated timeouts after a SYN with data."""

    def synrecv_done(self, sk: TcpSock) -> None:
        """A child made from a SYN is confirmed."""

    def init_key_once(self, sk: TcpSock) -> None:
        """Make the namespace's key unless it has one."""

    def set_net_key(self, net: Net, key: bytes) -> None:
        """Give a namespace its keys, net.ipv4.tcp_fastopen_key."""

    def net_key(self, net: Net) -> bytes:
        """Return a namespace's keys, nothing before there is one."""
        return b""

    def set_key(self, sk: TcpSock, key: bytes) -> int:
        """Give a listener keys of its own, TCP_FASTOPEN_KEY of tcp(7)."""
        return -EOPNOTSUPP

    def get_key(self, sk: TcpSock) -> bytes:
        """Return the keys that TCP_FASTOPEN_KEY gave the socket."""
        return b""

    def sendmsg(self, task: Task, sk: TcpSock, msg: Msghdr, uarg: UbufInfo | None) -> tuple[int, int]:
        """Open a connection with the data of a call: (0 or -errno, bytes sent with the SYN)."""
        return -EOPNOTSUPP, 0

    def defer_connect(self, sk: TcpSock) -> tuple[bool, int]:
        """Let connect(2) wait for the first data: (it does, 0 or -errno)."""
        return False, 0

    def try_fastopen(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> tuple[TcpSock | None, bytes | None]:
        """Make a child from a SYN with a good cookie: (child, cookie to announce)."""
        return None, None


_NO_FASTOPEN: Final = TcpFastopenOps()


class TcpSock(InetCsk):
    """`struct tcp_sock`."""

    # defaults: what a connection never changes takes no room in it
    tcp_header_len = 20
    gso_segs_max = 65535
    pred_wnd = -1  # window field that header prediction expects, -1: there is none (Linux: pred_flags)
    rcv_nxt = 0
    copied_seq = 0
    rcv_wup = 0  # rcv_nxt in the last acknowledgement sent
    rcv_wnd = 0
    rcv_mwnd_seq = 0
    rcv_ssthresh = 0
    window_clamp = 0
    advmss = 0
    scaling_ratio = TCP_DEFAULT_SCALING_RATIO
    rcv_rtt_us = 0  # << 3
    rcv_rtt_seq = 0
    rcv_rtt_time = 0
    rcv_rtt_last_tsecr = 0
    rcvq_space = 0
    rcvq_seq = 0
    rcvq_time = 0
    bytes_received = 0
    segs_in = 0
    data_segs_in = 0
    rcv_ooopack = 0
    urg_seq = 0
    urg_data = 0
    recvmsg_inq = False
    rcv_tstamp = 0
    scm_tstamp_ns = 0
    duplicate_sack: tuple[int, int] | None = None
    compressed_ack = 0
    compressed_ack_rcv_nxt = 0
    dup_ack_counter = 0
    compressed_ack_timer: Timer | None = None
    snd_nxt = 0
    snd_una = 0
    snd_sml = 0  # end of the last small segment sent
    snd_up = 0
    snd_wl1 = 0
    snd_wnd = 0
    max_window = 0
    write_seq = 0
    pushed_seq = 0
    snd_zero_reported = False
    mss_cache = 536
    xmit_size_goal_segs = 0
    lsndtime = 0
    nonagle = 0
    notsent_lowat = 0
    bytes_sent = 0
    bytes_acked = 0
    bytes_retrans = 0
    segs_out = 0
    data_segs_out = 0
    tsoffset = 0
    repair = False
    fastopen_connect = False
    fastopen_no_cookie = False
    write_pending = 0  # tasks that wait to send
    fastopen_req: TcpFastopenRequest | None = None
    fastopen_rsk: TcpRequestSock | None = None
    fastopen_client_fail = 0
    syn_data = False
    syn_data_acked = False
    syn_fastopen = False
    syn_fastopen_exp = False
    syn_fastopen_ch = False
    syn_fastopen_in = False  # passive child made from data in a SYN
    save_syn = 0
    saved_syn: bytes | None = None
    linger2 = 0
    tcp_tx_delay = 0
    tcp_mstamp = 0  # us
    srtt_us = 0  # << 3
    mdev_us = 0
    mdev_max_us = 0
    rttvar_us = 0
    rtt_seq = 0
    retrans_stamp = 0
    undo_marker = 0
    undo_retrans = 0
    total_rto = 0
    total_rto_recoveries = 0
    total_rto_time = 0
    rto_stamp = 0
    timeout_rehash = 0
    dsack_seen = False
    ca: TcpCongestionOps | None = None
    ca_setsockopt = False
    snd_ssthresh = TCP_INFINITE_SSTHRESH
    snd_cwnd = TCP_INIT_CWND
    snd_cwnd_cnt = 0
    snd_cwnd_clamp = M32
    snd_cwnd_used = 0
    snd_cwnd_stamp = 0
    prior_cwnd = 0
    prior_ssthresh = 0
    max_packets_out = 0
    cwnd_usage_seq = 0
    is_cwnd_limited = False
    packets_out = 0
    retrans_out = 0
    sacked_out = 0
    lost_out = 0
    lost = 0
    total_retrans = 0
    reordering = 3
    reord_seen = 0
    is_sack_reneg = False
    high_seq = 0
    tlp_high_seq = 0
    tlp_retrans = False
    frto = False
    ecn_flags = 0
    delivered = 0
    delivered_ce = 0
    app_limited = 0  # 0: not
    rate_app_limited = False
    rate_delivered = 0
    rate_interval_us = 0
    first_tx_mstamp = 0
    delivered_mstamp = 0
    prr_delivered = 0
    prr_out = 0
    rack_mstamp = 0
    rack_rtt_us = 0
    rack_end_seq = 0
    rack_last_delivered = 0
    rack_reo_wnd_steps = 1
    rack_reo_wnd_persist = 0
    rack_dsack_seen = False
    rack_advanced = False
    highest_sack: TcpSkb | None = None
    retransmit_skb_hint: TcpSkb | None = None
    dsack_dups = 0
    last_oow_ack_time = 0
    mtu_info = 0
    tsq_flags = 0
    pacing_status = 0
    tcp_wstamp_ns = 0
    tcp_clock_cache = 0
    pacing_timer: Timer | None = None
    tcp_chrono_start = 0
    chrono_type = TCP_CHRONO_UNSPEC
    keepalive_time = 0
    keepalive_intvl = 0
    keepalive_probes = 0
    thin_lto = False
    cork_autocork = False
    zckey = 0
    sk_orphaned = False

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.sk_write_queue = SkbList()
        self.tcp_rtx_queue = SkbList()
        self.out_of_order_queue: list[TcpSkb] = []  # by seq, no overlap left unresolved
        self.rx_opt = TcpOptionsReceived()
        self.sk_gso_max_size = 65536 - 257
        self.selective_acks: list[tuple[int, int]] = []
        self.fastopen_ops: TcpFastopenOps = _NO_FASTOPEN
        self.rtt_min: list[tuple[int, int]] = [(0, M32), (0, M32), (0, M32)]  # (tick, us): windowed minimum
        self.recv_sack_cache: list[tuple[int, int]] = []
        self.chrono_stat = [0, 0, 0]

    def tstamp_key_base(self, relative_to_write: bool) -> int:
        """Return the byte that SOF_TIMESTAMPING_OPT_ID counts from."""
        return self.write_seq if relative_to_write else self.snd_una

    def zc_put(self, zc: UbufInfo) -> None:
        """Drop one hold on a zero-copy notification; the last one queues it (sheet 05, 5.6)."""
        zc.refcnt -= 1
        if zc.refcnt == 0 and zc.calls:
            self._zerocopy_complete(zc)

    def _zerocopy_complete(self, zc: UbufInfo) -> None:
        """Tell the program that calls `id` to `id + calls - 1` are done with its memory (__msg_zerocopy_callback)."""
        mm_unaccount_pinned_pages(self.sk_net.kernel, zc.pinned_uid, zc.pinned_pages)
        last = (zc.id + zc.calls - 1) & M32
        queue = self.sk_error_queue
        if self.sk_flags & 1:  # SOCK_DEAD: nobody is left to read it
            self.sk_omem_alloc -= ZEROCOPY_OMEM
            return
        if queue:
            ee = queue[-1].ee
            if ee is not None and ee.ee_origin == SO_EE_ORIGIN_ZEROCOPY and (ee.ee_data + 1) & M32 == zc.id:
                ee.ee_data = last
                self.sk_omem_alloc -= ZEROCOPY_OMEM
                self.sk_error_report()
                return
        skb = SkBuff()
        skb.truesize = 0
        skb.sk = self
        skb.destructor = _OFREE
        code = 0 if zc.zerocopy else SO_EE_CODE_ZEROCOPY_COPIED
        skb.ee = SockExtendedErr(0, SO_EE_ORIGIN_ZEROCOPY, 0, code, zc.id, last)
        if queue is None:
            queue = self.sk_error_queue = deque()
        queue.append(skb)
        self.sk_error_report()
