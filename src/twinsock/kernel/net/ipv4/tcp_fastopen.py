"""TCP Fast Open, RFC 7413 (Linux: net/ipv4/tcp_fastopen.c, the Fast Open part of tcp_metrics.c; sheet 03, 3.9).

A cookie is SipHash over the addresses of the SYN, client first, under one of up to two keys."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.lib.siphash import siphash
from twinsock.kernel.net.ipv4.af_inet_stream import inet_stream_connect_locked
from twinsock.kernel.net.ipv4.inet_csk import ICSK_TIME_RETRANS, inet_csk_reset_xmit_timer
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_DEFER_CONNECT
from twinsock.kernel.net.ipv4.tcp_cong import tcp_current_ssthresh, tcp_set_ca_state
from twinsock.kernel.net.ipv4.tcp_control import tcp_connect
from twinsock.kernel.net.ipv4.tcp_data import tcp_fin, tcp_queue_rcv
from twinsock.kernel.net.ipv4.tcp_input import tcp_init_transfer
from twinsock.kernel.net.ipv4.tcp_ipv4 import tcp_connect_failed
from twinsock.kernel.net.ipv4.tcp_recovery import tcp_retrans_stamp_cleanup, tcp_try_undo_recovery, tcp_update_rto_time
from twinsock.kernel.net.ipv4.tcp_retransmit import tcp_mark_skb_lost, tcp_xmit_retransmit_queue
from twinsock.kernel.net.ipv4.tcp_rto import tcp_timeout_init
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CA_LOSS,
    TcpFastopenOps,
    TcpFastopenRequest,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    UbufInfo,
)
from twinsock.kernel.net.ipv4.tcp_state import reqsk_fastopen_remove, tcp_free_fastopen_req
from twinsock.uapi.errno import EALREADY, EOPNOTSUPP
from twinsock.uapi.fcntl import O_NONBLOCK
from twinsock.uapi.rtnetlink import RTAX_FASTOPEN_NO_COOKIE
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPFASTOPENACTIVE,
    LINUX_MIB_TCPFASTOPENACTIVEFAIL,
    LINUX_MIB_TCPFASTOPENBLACKHOLE,
    LINUX_MIB_TCPFASTOPENCOOKIEREQD,
    LINUX_MIB_TCPFASTOPENLISTENOVERFLOW,
    LINUX_MIB_TCPFASTOPENPASSIVE,
    LINUX_MIB_TCPFASTOPENPASSIVEALTKEY,
    LINUX_MIB_TCPFASTOPENPASSIVEFAIL,
)
from twinsock.uapi.socket import AF_UNSPEC, MSG_DONTWAIT
from twinsock.uapi.tcp import TCP_SYN_SENT
from twinsock.wire.tcp import TCPHDR_FIN, TCPHDR_SYN, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

TFO_CLIENT_ENABLE: Final = 1
TFO_SERVER_ENABLE: Final = 2
TFO_CLIENT_NO_COOKIE: Final = 4
TFO_SERVER_COOKIE_NOT_REQD: Final = 0x200

TCP_FASTOPEN_COOKIE_MIN: Final = 4
TCP_FASTOPEN_COOKIE_MAX: Final = 16

TFO_COOKIE_UNAVAILABLE: Final = 1
TFO_DATA_NOT_ACKED: Final = 2
TFO_SYN_RETRANSMITTED: Final = 3


class FastopenContext:
    """`struct tcp_fastopen_context`: the primary key and perhaps a backup."""

    def __init__(self, keys: bytes) -> None:
        self.raw = keys
        self.keys: list[tuple[int, int]] = []
        for i in range(0, len(keys), 16):
            self.keys.append((int.from_bytes(keys[i : i + 8], "little"), int.from_bytes(keys[i + 8 : i + 16], "little")))


class FastopenMetrics:
    """What a client remembers of one server."""

    def __init__(self) -> None:
        self.mss = 0
        self.cookie = b""
        self.exp = False
        self.syn_loss = 0
        self.last_syn_loss = 0
        self.try_exp = 0


def fastopen_cookie(key: tuple[int, int], addrs: bytes) -> bytes:
    """Return the cookie for a SYN from and to `addrs` (both addresses as bytes)."""
    return siphash(key, addrs).to_bytes(8, "little")


def tcp_fastopen_context(net: Net, sk: TcpSock | None) -> FastopenContext:
    """Return the keys in use: the listener's own, else the namespace's, made at the first question."""
    if sk is not None:
        own = sk.icsk_accept_queue.fastopenq.ctx
        if isinstance(own, FastopenContext):
            return own
    ctx = net.ipv4.tcp_fastopen_ctx
    if not isinstance(ctx, FastopenContext):
        secret = net.kernel.tcp_seq_secret
        raw = b"".join(siphash(secret, bytes((i,)) + net.inum.to_bytes(8, "little")).to_bytes(8, "little") for i in range(2))
        ctx = FastopenContext(raw)
        net.ipv4.tcp_fastopen_ctx = ctx
    return ctx


def _syn_addrs(req: TcpRequestSock) -> bytes:
    if req.ir_v6:
        return req.sk_v6_daddr + req.sk_v6_rcv_saddr
    return req.sk_daddr.to_bytes(4, "big") + req.sk_rcv_saddr.to_bytes(4, "big")


def _peer_key(sk: TcpSock) -> bytes:
    if sk.icsk_af_ops.family == 10:
        return sk.sk_v6_rcv_saddr + sk.sk_v6_daddr
    return sk.inet_saddr.to_bytes(4, "big") + sk.sk_daddr.to_bytes(4, "big")


def _metrics(sk: TcpSock, create: bool) -> FastopenMetrics | None:
    cache = sk.sk_net.ipv4.tcp_metrics
    found = cache.get(_peer_key(sk))
    if found is None and create:
        found = FastopenMetrics()
        cache[_peer_key(sk)] = found
    return found if isinstance(found, FastopenMetrics) else None


def _no_cookie(sk: TcpSock, flag: int) -> bool:
    dst = sk.sk_dst_cache
    return (
        bool(sk.sk_net.ipv4.sysctl_tcp_fastopen & flag)
        or sk.fastopen_no_cookie
        or (dst is not None and bool(dst.metric(RTAX_FASTOPEN_NO_COOKIE)))
    )


class TcpFastopen(TcpFastopenOps):
    """Fast Open, both ends."""

    # ---- server

    def init_key_once(self, sk: TcpSock) -> None:
        """Make the namespace's key unless it has one."""
        tcp_fastopen_context(sk.sk_net, None)

    def set_net_key(self, net: Net, key: bytes) -> None:
        """Give a namespace its keys."""
        net.ipv4.tcp_fastopen_ctx = FastopenContext(key)

    def net_key(self, net: Net) -> bytes:
        """Return a namespace's keys."""
        ctx = net.ipv4.tcp_fastopen_ctx
        return ctx.raw if isinstance(ctx, FastopenContext) else b""

    def set_key(self, sk: TcpSock, key: bytes) -> int:
        """Give a listener keys of its own."""
        sk.icsk_accept_queue.fastopenq.ctx = FastopenContext(key)
        return 0

    def get_key(self, sk: TcpSock) -> bytes:
        """Return the keys of its own."""
        own = sk.icsk_accept_queue.fastopenq.ctx
        return own.raw if isinstance(own, FastopenContext) else b""

    def try_fastopen(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> tuple[TcpSock | None, bytes | None]:
        """Judge a SYN's cookie: (child or None, cookie to announce)."""
        th = skb.th
        assert th is not None
        net = sk.sk_net
        stats = net.net_statistics
        foc = th.fastopen
        if foc is not None and (len(foc) % 2 or len(foc) not in (0, 4, 6, 8, 10, 12, 14, 16)):
            foc = None
        if foc == b"":
            stats[LINUX_MIB_TCPFASTOPENCOOKIEREQD] += 1
        has_data = skb.end_seq != (skb.seq + 1) & M32
        enabled = net.ipv4.sysctl_tcp_fastopen & TFO_SERVER_ENABLE
        if not enabled or not (has_data or foc is not None) or not _queue_check(sk):
            return None, None
        if _no_cookie(sk, TFO_SERVER_COOKIE_NOT_REQD):
            return self._passive(sk, skb, req, None)
        if foc is None:
            return None, None
        keys = tcp_fastopen_context(net, sk).keys
        addrs = _syn_addrs(req)
        fresh = fastopen_cookie(keys[0], addrs)
        if foc == b"":
            return None, fresh
        for i in range(len(keys)):
            if foc == fastopen_cookie(keys[i], addrs):
                if i:
                    stats[LINUX_MIB_TCPFASTOPENPASSIVEALTKEY] += 1
                return self._passive(sk, skb, req, fresh if i else None)
        stats[LINUX_MIB_TCPFASTOPENPASSIVEFAIL] += 1
        return None, fresh

    def _passive(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, foc: bytes | None) -> tuple[TcpSock | None, bytes | None]:
        stats = sk.sk_net.net_statistics
        child = tcp_fastopen_create_child(sk, skb, req)
        if child is None:
            stats[LINUX_MIB_TCPFASTOPENPASSIVEFAIL] += 1
            return None, foc
        stats[LINUX_MIB_TCPFASTOPENPASSIVE] += 1
        return child, foc

    def synrecv_done(self, sk: TcpSock) -> None:
        """A child made from a SYN is confirmed."""
        if sk.icsk_ca_state == TCP_CA_LOSS and not sk.packets_out:
            tcp_try_undo_recovery(sk)
        tcp_update_rto_time(sk)
        sk.icsk_retransmits = 0
        tcp_retrans_stamp_cleanup(sk)
        reqsk_fastopen_remove(sk, False)

    # ---- client

    def cookie_check(self, sk: TcpSock, fo: TcpFastopenRequest) -> tuple[bool, int]:
        """Look for a cookie for the peer: (data may travel in the SYN, MSS to assume)."""
        mss = sk.rx_opt.mss_clamp
        known = _metrics(sk, False)
        fo.cookie = b""
        if known is not None:
            if known.mss:
                mss = known.mss
            fo.cookie = known.cookie
            fo.cookie_exp = known.exp
            if not known.cookie and known.try_exp == 1:
                fo.cookie_exp = True
        if self._should_disable(sk):
            fo.cookie = None
            return False, mss
        if _no_cookie(sk, TFO_CLIENT_NO_COOKIE):
            fo.cookie = None
            return True, mss
        if fo.cookie:
            return True, mss
        sk.fastopen_client_fail = TFO_COOKIE_UNAVAILABLE
        return False, mss

    def defer_connect(self, sk: TcpSock) -> tuple[bool, int]:
        """TCP_FASTOPEN_CONNECT: with a cookie, connect(2) waits for the first data."""
        if not sk.fastopen_connect or sk.fastopen_req is not None:
            return False, 0
        fo = TcpFastopenRequest(b"", 0)
        if self.cookie_check(sk, fo)[0]:
            sk.inet_assign_bit(INET_FLAGS_DEFER_CONNECT, True)
            return True, 0
        sk.fastopen_req = fo
        return False, 0

    def sendmsg(self, task: Task, sk: TcpSock, msg: Msghdr, uarg: UbufInfo | None) -> tuple[int, int]:
        """Open a connection with the data of a call: (0 or -errno, bytes sent with the SYN)."""
        name = msg.name or b""
        if not sk.sk_net.ipv4.sysctl_tcp_fastopen & TFO_CLIENT_ENABLE or (len(name) >= 2 and name[0] | name[1] << 8 == AF_UNSPEC):
            return -EOPNOTSUPP, 0
        if sk.fastopen_req is not None:
            return -EALREADY, 0
        fo = TcpFastopenRequest(msg.data, msg.flags)
        if uarg is not None:
            fo.zc = uarg
            uarg.refcnt += 1
        sk.fastopen_req = fo
        deferred = sk.inet_test_bit(INET_FLAGS_DEFER_CONNECT)
        if deferred:
            err = tcp_connect(sk)
            if err:
                tcp_connect_failed(sk)
        sock = sk.sk_socket
        assert sock is not None
        flags = O_NONBLOCK if msg.flags & MSG_DONTWAIT else 0
        err = inet_stream_connect_locked(task, sock, sk, None if deferred else msg.name, flags, True)
        copied = fo.copied
        msg.offset += copied
        if sk.fastopen_req is fo:
            tcp_free_fastopen_req(sk)
            sk.inet_assign_bit(INET_FLAGS_DEFER_CONNECT, False)
        return err, copied

    def rcv_synack(self, sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> bool:
        """Learn from the SYN-ACK; true when the data must be sent again."""
        data = sk.tcp_rtx_queue.head if sk.syn_data else None
        cookie = th.fastopen
        if cookie and (len(cookie) % 2 or not TCP_FASTOPEN_COOKIE_MIN <= len(cookie) <= TCP_FASTOPEN_COOKIE_MAX):
            cookie = None
        stats = sk.sk_net.net_statistics
        try_exp = 0
        syn_drop = False
        if not sk.syn_fastopen:
            cookie = None
        elif sk.total_retrans:
            syn_drop = cookie is None and data is not None
        elif cookie is None and not sk.syn_data:
            try_exp = 2 if sk.syn_fastopen_exp else 1
        self._cache_set(sk, th, cookie, syn_drop, try_exp)
        if data is not None:
            sk.fastopen_client_fail = TFO_SYN_RETRANSMITTED if sk.total_retrans else TFO_DATA_NOT_ACKED
            skb_left: TcpSkb | None = data
            while skb_left is not None:
                tcp_mark_skb_lost(sk, skb_left)
                skb_left = skb_left.next
            _non_congestion_loss_retransmit(sk)
            stats[LINUX_MIB_TCPFASTOPENACTIVEFAIL] += 1
            return True
        sk.syn_data_acked = sk.syn_data
        if sk.syn_data_acked:
            stats[LINUX_MIB_TCPFASTOPENACTIVE] += 1
            if sk.delivered > 1:
                sk.delivered -= 1
        tcp_fastopen_add_skb(sk, skb)
        return False

    def _cache_set(self, sk: TcpSock, th: Tcphdr, cookie: bytes | None, syn_lost: bool, try_exp: int) -> None:
        known = _metrics(sk, True)
        if known is None:
            return
        known.mss = th.mss or sk.rx_opt.mss_clamp
        if cookie:
            known.cookie = cookie
            known.exp = th.fastopen_exp
            known.try_exp = 0
        elif try_exp > known.try_exp and not known.cookie:
            known.try_exp = try_exp
        if syn_lost:
            known.syn_loss += 1
            known.last_syn_loss = sk.sk_net.kernel.clock.jiffies()
        else:
            known.syn_loss = 0

    # ---- middleboxes that drop what they do not know, RFC 7413 7.1

    def active_disable(self, sk: TcpSock) -> None:
        """Stop opening connections with data for a while."""
        net = sk.sk_net
        if not net.ipv4.sysctl_tcp_fastopen_blackhole_timeout:
            return
        net.ipv4.tfo_active_disable_stamp = net.kernel.clock.jiffies()
        net.ipv4.tfo_active_disable_times += 1
        net.net_statistics[LINUX_MIB_TCPFASTOPENBLACKHOLE] += 1

    def _should_disable(self, sk: TcpSock) -> bool:
        ipv4 = sk.sk_net.ipv4
        timeout = ipv4.sysctl_tcp_fastopen_blackhole_timeout
        times = ipv4.tfo_active_disable_times
        if not timeout or not times:
            return False
        clock = sk.sk_net.kernel.clock
        if clock.jiffies() < ipv4.tfo_active_disable_stamp + (timeout * clock.hz << min(times - 1, 6)):
            return True
        sk.syn_fastopen_ch = True
        return False

    def active_disable_ofo_check(self, sk: TcpSock) -> None:
        """A connection ends: if only its FIN ever arrived, the data before it was dropped."""
        if not sk.syn_fastopen:
            return
        if not sk.data_segs_in:
            ofo = sk.out_of_order_queue
            if len(ofo) == 1 and ofo[0].tcp_flags & TCPHDR_FIN:
                self.active_disable(sk)
        elif sk.syn_fastopen_ch and sk.sk_net.ipv4.tfo_active_disable_times:
            dst = sk.sk_dst_cache
            if dst is not None and dst.dev is not sk.sk_net.loopback_dev:
                sk.sk_net.ipv4.tfo_active_disable_times = 0

    def detect_blackhole(self, sk: TcpSock, expired: bool) -> None:
        """The third timeout in a row, or the last, of a connection that began with data in its SYN, however much was acknowledged."""
        timeouts = sk.icsk_retransmits
        if (sk.syn_fastopen or sk.syn_data or sk.syn_data_acked) and (timeouts == 2 or (timeouts < 2 and expired)):
            self.active_disable(sk)
            sk.sk_net.net_statistics[LINUX_MIB_TCPFASTOPENACTIVEFAIL] += 1
            if sk.sk_state == TCP_SYN_SENT:
                sk.fastopen_client_fail = TFO_SYN_RETRANSMITTED


def _queue_check(sk: TcpSock) -> bool:
    """Tell whether another unconfirmed child is allowed; reset ones block a place for a while."""
    queue = sk.icsk_accept_queue.fastopenq
    if queue.max_qlen == 0:
        return False
    if queue.qlen >= queue.max_qlen:
        if not queue.rskq_rst or queue.rskq_rst[0].timeout > sk.sk_net.kernel.clock.jiffies():
            sk.sk_net.net_statistics[LINUX_MIB_TCPFASTOPENLISTENOVERFLOW] += 1
            return False
        queue.rskq_rst.popleft()
        queue.qlen -= 1
    return True


def tcp_fastopen_create_child(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> TcpSock | None:
    """Make a child from a SYN and give it the SYN's data, RFC 7413 4.2.2."""
    th = skb.th
    assert th is not None
    child = sk.icsk_af_ops.syn_recv_sock(sk, skb, req)
    if not isinstance(child, TcpSock):
        return None
    sk.icsk_accept_queue.fastopenq.qlen += 1
    child.fastopen_rsk = req
    req.tfo_listener = True
    child.syn_fastopen_in = True
    child.snd_wnd = th.window
    child.max_window = child.snd_wnd
    req.timeout = tcp_timeout_init(child)
    inet_csk_reset_xmit_timer(child, ICSK_TIME_RETRANS, req.timeout, child.icsk_rto_max)
    tcp_init_transfer(child)
    child.rcv_nxt = (skb.seq + 1) & M32
    tcp_fastopen_add_skb(child, skb)
    req.rcv_nxt = child.rcv_nxt
    child.rcv_wup = child.rcv_nxt
    return child


def tcp_fastopen_add_skb(sk: TcpSock, skb: TcpSkb) -> None:
    """Take the data that came with a SYN or SYN-ACK."""
    if skb.end_seq == sk.rcv_nxt:
        return
    data = TcpSkb(skb.data, skb.offset, skb.len)
    data.th = skb.th
    data.truesize = skb.truesize
    data.seq = (skb.seq + 1) & M32
    data.end_seq = skb.end_seq
    data.tcp_flags = skb.tcp_flags & ~TCPHDR_SYN
    sk.segs_in = 0
    sk.segs_in += max(1, skb.gso_segs)
    if data.len:
        sk.data_segs_in += max(1, skb.gso_segs)
    if sk.sk_receive_queue is None:
        sk.sk_receive_queue = deque()
    tcp_queue_rcv(sk, data)
    sk.bytes_received = data.len
    sk.syn_data_acked = True
    if data.tcp_flags & TCPHDR_FIN:
        tcp_fin(sk)


def _non_congestion_loss_retransmit(sk: TcpSock) -> None:
    """Send lost segments again without taking the loss for congestion."""
    if sk.icsk_ca_state != TCP_CA_LOSS:
        sk.high_seq = sk.snd_nxt
        sk.snd_ssthresh = tcp_current_ssthresh(sk)
        sk.prior_ssthresh = 0
        sk.undo_marker = 0
        tcp_set_ca_state(sk, TCP_CA_LOSS)
    tcp_xmit_retransmit_queue(sk)
