"""Requests: judging the segment that may complete a handshake, and making the child (Linux: net/ipv4/tcp_minisocks.c,
inet_connection_sock.c; RFC 9293 3.10.7.4 for SYN-RECEIVED; sheet 03, 3.4 and 3.5)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.sock import SOCK_DEAD, SOCK_KEEPOPEN, sk_clone
from twinsock.kernel.net.core.sock_reuseport import reuseport_migrate_sock
from twinsock.kernel.net.ipv4.inet_csk import inet_csk_reset_keepalive_timer
from twinsock.kernel.net.ipv4.inet_hashtables import inet_ehash_del
from twinsock.kernel.net.ipv4.inet_sock import inet_sk_state_store
from twinsock.kernel.net.ipv4.tcp_rto import tcp_rtt_estimator, tcp_set_rto, tcp_update_rtt_min
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_ECN_OK,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    after,
    between,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    BOOT_NS,
    inet_csk_destroy_sock,
    reqsk_fastopen_remove,
    tcp_done,
)
from twinsock.kernel.net.ipv4.tcp_timewait import paws_reject, tcp_in_window
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import ECONNRESET
from twinsock.uapi.snmp import (
    LINUX_MIB_EMBRYONICRSTS,
    LINUX_MIB_LISTENDROPS,
    LINUX_MIB_PAWSESTABREJECTED,
    LINUX_MIB_TCPACKSKIPPEDSYNRECV,
    LINUX_MIB_TCPDEFERACCEPTDROP,
    LINUX_MIB_TCPMIGRATEREQFAILURE,
    LINUX_MIB_TCPMIGRATEREQSUCCESS,
    LINUX_MIB_TCPSYNRETRANS,
    LINUX_MIB_TCPTIMEOUTS,
    LINUX_MIB_TSECRREJECTED,
    TCP_MIB_ATTEMPTFAILS,
    TCP_MIB_PASSIVEOPENS,
    TCP_MIB_RETRANSSEGS,
)
from twinsock.uapi.tcp import TCP_LISTEN, TCP_SYN_RECV
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_RST, TCPHDR_SYN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_RTO_MAX_S: Final = 120


def tcp_listendrop(sk: TcpSock) -> None:
    """Count a SYN or a final acknowledgement that a listener dropped."""
    sk.sk_drops += 1
    sk.sk_net.net_statistics[LINUX_MIB_LISTENDROPS] += 1


def listener_of(req: TcpRequestSock) -> TcpSock:
    """Return the listener of a request."""
    listener = req.rsk_listener
    assert isinstance(listener, TcpSock)
    return listener


# ---- the SYN queue


def inet_csk_reqsk_queue_drop(req: TcpRequestSock) -> bool:
    """Take a request out of the table and its listener's count; tell whether it was there."""
    removed = inet_ehash_del(req)
    if req.rsk_timer is not None:
        req.sk_net.kernel.clock.timer_shutdown(req.rsk_timer)
        req.rsk_timer = None
    if removed:
        queue = listener_of(req).icsk_accept_queue
        if req.num_timeout == 0:
            queue.young -= 1
        queue.qlen -= 1
    return removed


def reqsk_timeout(req: TcpRequestSock, max_ticks: int) -> int:
    """Return the current timeout of the SYN-ACK, in ticks."""
    return min(req.timeout << req.num_timeout, max_ticks)


class ReqskTimer(Timer):
    """The SYN-ACK timer of a request."""

    def __init__(self, req: TcpRequestSock) -> None:
        super().__init__()
        self.req = req

    def fire(self) -> None:
        """Send the SYN-ACK again or give up."""
        reqsk_timer_handler(self.req)


def reqsk_timer_handler(req: TcpRequestSock) -> None:
    """The SYN-ACK was not acknowledged in time (sheet 03, 3.5)."""
    listener = listener_of(req)
    net = listener.sk_net
    clock = net.kernel.clock
    if listener.sk_state != TCP_LISTEN:
        moved = reqsk_migrate(req)
        if moved is None:
            inet_csk_reqsk_queue_drop(req)
            return
        listener = moved
    queue = listener.icsk_accept_queue
    max_retries = listener.icsk_syn_retries or net.ipv4.sysctl_tcp_synack_retries
    if queue.qlen << 1 > max(8, listener.sk_max_ack_backlog):
        young = queue.young << 1
        while max_retries > 2:
            if queue.qlen < young:
                break
            max_retries -= 1
            young <<= 1
    defer = queue.rskq_defer_accept
    if not defer:
        expire = req.num_timeout >= max_retries
        resend = True
    else:
        expire = req.num_timeout >= max_retries and (not req.acked or req.num_timeout >= defer)
        resend = not req.acked or req.num_timeout >= defer - 1
    net.net_statistics[LINUX_MIB_TCPTIMEOUTS] += 1
    if not expire and (not resend or tcp_rtx_synack(listener, req) == 0 or req.acked):
        if req.num_timeout == 0:
            queue.young -= 1
        req.num_timeout += 1
        timer = req.rsk_timer
        if timer is not None:
            clock.mod_timer(timer, clock.jiffies() + reqsk_timeout(req, TCP_RTO_MAX_S * clock.hz))
        return
    inet_csk_reqsk_queue_drop(req)


def reqsk_migrate(req: TcpRequestSock) -> TcpSock | None:
    """Move a request to another listener of the group of one that is gone (sheet 03, 3.11)."""
    old = listener_of(req)
    net = old.sk_net
    new = reuseport_migrate_sock(old, req.sk_hash) if net.ipv4.sysctl_tcp_migrate_req else None
    if not isinstance(new, TcpSock):
        return None
    for listener, delta in ((old, -1), (new, 1)):
        queue = listener.icsk_accept_queue
        queue.qlen += delta
        if req.num_timeout == 0:
            queue.young += delta
    req.rsk_listener = new
    net.net_statistics[LINUX_MIB_TCPMIGRATEREQSUCCESS] += 1
    return new


def tcp_rtx_synack(sk: TcpSock, req: TcpRequestSock) -> int:
    """Send the SYN-ACK of a request again: 0 or -errno."""
    err = sk.icsk_af_ops.send_synack(sk, req, None, False, None)
    if err == 0:
        sk.sk_net.tcp_statistics[TCP_MIB_RETRANSSEGS] += 1
        sk.sk_net.net_statistics[LINUX_MIB_TCPSYNRETRANS] += 1
        child = req.sk
        if isinstance(child, TcpSock):
            child.total_retrans += 1
        req.num_retrans += 1
    return err


# ---- judging a segment


def _oow_rate_limited(req: TcpRequestSock, skb: TcpSkb, mib: int) -> bool:
    if skb.seq != skb.end_seq and not skb.tcp_flags & TCPHDR_SYN:
        return False
    net = req.sk_net
    now = net.kernel.clock.jiffies()
    last = req.last_oow_ack_time
    if last and 0 <= now - last < net.ipv4.sysctl_tcp_invalid_ratelimit:
        net.net_statistics[mib] += 1
        return True
    req.last_oow_ack_time = now
    return False


def tcp_check_req(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, fastopen: bool) -> tuple[TcpSock | None, str]:
    """Judge a segment for a request: (the child, `sk` itself to let it judge (a RST follows), or None when done; why it is dropped).

    With `fastopen`, `sk` is the child that exists already."""
    th = skb.th
    assert th is not None
    net = sk.sk_net
    flg = th.flags & (TCPHDR_RST | TCPHDR_SYN | TCPHDR_ACK)
    saw_ts = th.ts and req.tstamp_ok
    reject = False
    tsecr_reject = False
    clock = net.kernel.clock
    if saw_ts:
        if th.tsecr and not fastopen and not req.syncookie:
            now_ts = ((clock.now_ns + BOOT_NS) // 1_000_000 + req.ts_off) & M32
            first = (req.snt_tsval_first or now_ts) & M32
            tsecr_reject = not between(th.tsecr, first, now_ts)
        now_s = clock.now_ns // 1_000_000_000 + 300
        stamp = now_s - reqsk_timeout(req, TCP_RTO_MAX_S * clock.hz) // clock.hz
        reject = paws_reject(req.ts_recent, stamp, th.tsval, now_s, bool(flg & TCPHDR_RST))
    if skb.seq == req.rcv_isn and flg == TCPHDR_SYN and not reject:
        if not _oow_rate_limited(req, skb, LINUX_MIB_TCPACKSKIPPEDSYNRECV) and tcp_rtx_synack(sk, req) == 0:
            expires = clock.jiffies() + reqsk_timeout(req, TCP_RTO_MAX_S * clock.hz)
            if not fastopen and req.rsk_timer is not None and req.rsk_timer.pending():
                clock.mod_timer(req.rsk_timer, expires)
        return None, dropreason.NOT_SPECIFIED
    right = (req.rcv_nxt + req.rcv_wnd) & M32
    if flg & TCPHDR_RST and skb.seq != req.rcv_nxt and tcp_in_window(skb.seq, skb.end_seq, req.rcv_nxt, right):
        # RFC 5961 3.2: a RST that is not exactly at the left edge has to be confirmed
        if not _oow_rate_limited(req, skb, LINUX_MIB_TCPACKSKIPPEDSYNRECV):
            sk.icsk_af_ops.reqsk_send_ack(sk, skb, req)
        return None, dropreason.NOT_SPECIFIED
    if flg & (TCPHDR_ACK | TCPHDR_RST) == TCPHDR_ACK and not fastopen and skb.ack_seq != (req.snt_isn + 1) & M32:
        return sk, ""
    if reject or tsecr_reject or not tcp_in_window(skb.seq, skb.end_seq, req.rcv_nxt, right):
        if not flg & TCPHDR_RST and not _oow_rate_limited(req, skb, LINUX_MIB_TCPACKSKIPPEDSYNRECV):
            sk.icsk_af_ops.reqsk_send_ack(sk, skb, req)
        if reject:
            net.net_statistics[LINUX_MIB_PAWSESTABREJECTED] += 1
            return None, dropreason.TCP_RFC7323_PAWS
        if tsecr_reject:
            net.net_statistics[LINUX_MIB_TSECRREJECTED] += 1
            return None, dropreason.TCP_RFC7323_TSECR
        return None, dropreason.TCP_OVERWINDOW
    if skb.seq == req.rcv_isn:
        flg &= ~TCPHDR_SYN
    if flg & (TCPHDR_RST | TCPHDR_SYN):
        net.tcp_statistics[TCP_MIB_ATTEMPTFAILS] += 1
        _embryonic_reset(sk, skb, req, flg, fastopen)
        return None, dropreason.NOT_SPECIFIED
    if not flg & TCPHDR_ACK:
        return None, dropreason.NOT_SPECIFIED
    if saw_ts and not after(skb.seq, req.rcv_nxt):
        req.ts_recent = th.tsval
    if fastopen:
        return sk, ""
    return _complete(sk, skb, req)


def _complete(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> tuple[TcpSock | None, str]:
    """The final acknowledgement of a handshake: make and queue the child."""
    net = sk.sk_net
    queue = sk.icsk_accept_queue
    if req.num_timeout < queue.rskq_defer_accept and skb.end_seq == (req.rcv_isn + 1) & M32:
        req.acked = True
        net.net_statistics[LINUX_MIB_TCPDEFERACCEPTDROP] += 1
        return None, dropreason.NOT_SPECIFIED
    child = sk.icsk_af_ops.syn_recv_sock(sk, skb, req)
    if not isinstance(child, TcpSock):
        if not net.ipv4.sysctl_tcp_abort_on_overflow:
            req.acked = True
        else:
            _embryonic_reset(sk, skb, req, 0, False)
        return None, dropreason.TCP_LISTEN_OVERFLOW
    synack_rtt_meas(child, req)
    inet_csk_reqsk_queue_drop(req)
    return inet_csk_reqsk_queue_add(sk, req, child), dropreason.NOT_SPECIFIED


def synack_rtt_meas(child: TcpSock, req: TcpRequestSock) -> None:
    """Take the time between SYN-ACK and its acknowledgement, unless the SYN-ACK was sent twice."""
    if not req.num_retrans and req.snt_synack_us:
        rtt_us = max((child.sk_net.kernel.clock.now_ns + BOOT_NS) // 1000 - req.snt_synack_us, 0)
        tcp_update_rtt_min(child, rtt_us, False)
        tcp_rtt_estimator(child, rtt_us)
        tcp_set_rto(child)
        child.icsk_backoff = 0


def _embryonic_reset(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, flg: int, fastopen: bool) -> None:
    if not flg & TCPHDR_RST:
        sk.icsk_af_ops.send_reset(sk, skb)
    elif fastopen:
        reqsk_fastopen_remove(sk, True)
        sk.sk_err = ECONNRESET
        tcp_done(sk)
        if sk.sk_socket is not None:
            sk.sk_error_report()
    if not fastopen and inet_csk_reqsk_queue_drop(req):
        sk.sk_net.net_statistics[LINUX_MIB_EMBRYONICRSTS] += 1


def inet_csk_reqsk_queue_add(sk: TcpSock, req: TcpRequestSock, child: TcpSock) -> TcpSock | None:
    """Put a child into the accept queue; None when the listener is gone."""
    if sk.sk_state != TCP_LISTEN:
        sk.sk_net.net_statistics[LINUX_MIB_TCPMIGRATEREQFAILURE] += 1
        _forget(child)
        return None
    req.sk = child
    sk.icsk_accept_queue.rskq_accept.append(req)
    sk.sk_ack_backlog += 1
    return child


def _forget(child: TcpSock) -> None:
    """Abort a child that nobody will accept."""
    child.sk_prot.disconnect(child, 0)
    child.sock_set_flag(SOCK_DEAD)
    child.sk_prot.counters.orphan_count += 1
    child.sk_orphaned = True
    inet_csk_destroy_sock(child)


# ---- making the child


def tcp_create_openreq_child(newsk: TcpSock, sk: TcpSock, req: TcpRequestSock, skb: TcpSkb) -> None:
    """Fill a child, made with its listener's class, from the listener and the request (sheet 03, 3.12)."""
    th = skb.th
    assert th is not None
    sk_clone(sk, newsk)
    _inherit(newsk, sk)
    newsk.sk_num = req.sk_num
    newsk.inet_sport = req.sk_num
    newsk.sk_dport = req.sk_dport
    newsk.sk_mark = req.ir_mark
    inet_sk_state_store(newsk, TCP_SYN_RECV)
    newsk.rcv_nxt = newsk.rcv_wup = newsk.copied_seq = (req.rcv_isn + 1) & M32
    newsk.segs_in = 1
    start = (req.snt_isn + 1) & M32
    newsk.snd_sml = newsk.snd_una = newsk.snd_nxt = newsk.snd_up = start
    newsk.write_seq = newsk.pushed_seq = start
    newsk.snd_wl1 = req.rcv_isn
    newsk.total_retrans = req.num_retrans
    rx = newsk.rx_opt
    rx.tstamp_ok = req.tstamp_ok
    rx.sack_ok = req.sack_ok
    rx.wscale_ok = req.wscale_ok
    rx.user_mss = sk.rx_opt.user_mss
    newsk.window_clamp = req.window_clamp
    newsk.rcv_ssthresh = req.rcv_wnd
    newsk.rcv_wnd = req.rcv_wnd
    if req.wscale_ok:
        rx.snd_wscale = req.snd_wscale
        rx.rcv_wscale = req.rcv_wscale
    else:
        newsk.window_clamp = min(newsk.window_clamp, 65535)
    newsk.snd_wnd = th.window << rx.snd_wscale
    newsk.max_window = newsk.snd_wnd
    if req.tstamp_ok:
        rx.ts_recent = req.ts_recent
        rx.ts_recent_stamp = sk.sk_net.kernel.clock.now_ns // 1_000_000_000 + 300
        newsk.tcp_header_len = 32
    else:
        newsk.tcp_header_len = 20
    if req.num_timeout:
        newsk.total_rto = req.num_timeout
        newsk.undo_marker = req.snt_isn
        newsk.retrans_stamp = ((req.snt_synack_us // 1000) + req.ts_off) & M32
        newsk.total_rto_recoveries = 1
    newsk.tsoffset = req.ts_off
    if skb.len >= 536 + newsk.tcp_header_len:
        newsk.ack_last_seg_size = skb.len - newsk.tcp_header_len
    rx.mss_clamp = req.mss
    newsk.ecn_flags = TCP_ECN_OK if req.ecn_ok else 0
    newsk.saved_syn = req.saved_syn
    if newsk.sock_flag(SOCK_KEEPOPEN):
        inet_csk_reset_keepalive_timer(newsk, newsk.keepalive_time or sk.sk_net.ipv4.sysctl_tcp_keepalive_time)
    sk.sk_net.tcp_statistics[TCP_MIB_PASSIVEOPENS] += 1


def _inherit(newsk: TcpSock, sk: TcpSock) -> None:
    """Copy the protocol options that a listener hands down."""
    newsk.inet_flags = sk.inet_flags
    newsk.tos = sk.tos
    newsk.uc_ttl = sk.uc_ttl
    newsk.mc_ttl = sk.mc_ttl
    newsk.min_ttl = sk.min_ttl
    newsk.pmtudisc = sk.pmtudisc
    newsk.icsk_rto = sk.icsk_rto
    newsk.icsk_rto_min = sk.icsk_rto_min
    newsk.icsk_rto_max = sk.icsk_rto_max
    newsk.icsk_delack_max = sk.icsk_delack_max
    newsk.icsk_syn_retries = sk.icsk_syn_retries
    newsk.icsk_user_timeout = sk.icsk_user_timeout
    newsk.ack_pingpong = sk.ack_pingpong
    newsk.nonagle = sk.nonagle
    newsk.linger2 = sk.linger2
    newsk.notsent_lowat = sk.notsent_lowat
    newsk.keepalive_time = sk.keepalive_time
    newsk.keepalive_intvl = sk.keepalive_intvl
    newsk.keepalive_probes = sk.keepalive_probes
    newsk.recvmsg_inq = sk.recvmsg_inq
    newsk.thin_lto = sk.thin_lto
    newsk.scaling_ratio = sk.scaling_ratio
    newsk.reordering = sk.sk_net.ipv4.sysctl_tcp_reordering
    newsk.pacing_status = sk.pacing_status
    newsk.fastopen_ops = sk.fastopen_ops
    newsk.save_syn = sk.save_syn
    newsk.ca_setsockopt = sk.ca_setsockopt
    newsk.sk_gso_max_size = sk.sk_gso_max_size
