"""Answering a SYN (Linux: tcp_conn_request() of net/ipv4/tcp_input.c; sheet 03, 3.3; RFC 9293 3.10.7.2, RFC 4987)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SOCK_RCVBUF_LOCK
from twinsock.kernel.net.ipv4.inet_hashtables import inet_ehash_insert
from twinsock.kernel.net.ipv4.syncookies import cookie_init_sequence
from twinsock.kernel.net.ipv4.tcp_cong import ca_ops
from twinsock.kernel.net.ipv4.tcp_control import tcp_mss_clamp, tcp_select_initial_window
from twinsock.kernel.net.ipv4.tcp_minisocks import ReqskTimer, inet_csk_reqsk_queue_add, tcp_listendrop
from twinsock.kernel.net.ipv4.tcp_output import tcp_full_space
from twinsock.kernel.net.ipv4.tcp_rto import tcp_timeout_init
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpRequestSock, TcpSkb, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import BOOT_NS
from twinsock.uapi.rtnetlink import RTAX_INITRWND, RTAX_WINDOW
from twinsock.uapi.snmp import (
    LINUX_MIB_LISTENOVERFLOWS,
    LINUX_MIB_TCPREQQFULLDOCOOKIES,
    LINUX_MIB_TCPREQQFULLDROP,
)
from twinsock.uapi.tcp import TCP_NEW_SYN_RECV
from twinsock.wire.tcp import TCPHDR_CWR, TCPHDR_ECE, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dst import Dst

TCP_MSS_DEFAULT: Final = 536


class RequestOps:
    """`struct tcp_request_sock_ops`: what differs between IPv4 and IPv6 when a SYN is answered."""

    mss_clamp = TCP_MSS_DEFAULT

    def new_request(self, sk: TcpSock, skb: TcpSkb) -> TcpRequestSock:
        """Make a request with the packet's addresses."""
        raise NotImplementedError

    def route_req(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> Dst | None:
        """Return the route of the SYN-ACK."""
        raise NotImplementedError

    def init_seq(self, skb: TcpSkb, req: TcpRequestSock) -> int:
        """Return the initial sequence number."""
        raise NotImplementedError

    def init_ts_off(self, req: TcpRequestSock) -> int:
        """Return the offset of the connection's timestamps."""
        raise NotImplementedError

    def peer_is_proven(self, req: TcpRequestSock, dst: Dst) -> bool:
        """Tell whether the metrics cache knows the peer."""
        return False


def reqsk_queue_is_full(sk: TcpSock) -> bool:
    """Tell whether the SYN queue takes no more."""
    return sk.icsk_accept_queue.qlen > sk.sk_max_ack_backlog


def sk_acceptq_is_full(sk: TcpSock) -> bool:
    """Tell whether the accept queue takes no more."""
    return sk.sk_ack_backlog > sk.sk_max_ack_backlog


def _tcp_syn_flood_action(sk: TcpSock) -> bool:
    """The SYN queue is full: tell whether a cookie is to be sent; say so once per listener."""
    net = sk.sk_net
    queue = sk.icsk_accept_queue
    syncookies = net.ipv4.sysctl_tcp_syncookies
    want_cookie = syncookies != 0
    net.net_statistics[LINUX_MIB_TCPREQQFULLDOCOOKIES if want_cookie else LINUX_MIB_TCPREQQFULLDROP] += 1
    if syncookies != 2 and not queue.synflood_warned:
        queue.synflood_warned = True
        action = "Sending cookies" if want_cookie else "Dropping request"
        net.kernel.log.append(f"TCP: request_sock_TCP: Possible SYN flooding on port {sk.sk_num}. {action}.")
    return want_cookie


def _drop_syn(sk: TcpSock, skb: TcpSkb, counter: str) -> None:
    tcp_listendrop(sk)
    trace = sk.sk_net.kernel.trace
    if trace is not None:
        trace.syn_dropped(skb, counter)


def tcp_conn_request(ops: RequestOps, sk: TcpSock, skb: TcpSkb) -> None:
    """Decide about a SYN at a listener: drop, request, cookie, or Fast Open child."""
    net = sk.sk_net
    syncookies = net.ipv4.sysctl_tcp_syncookies
    isn = skb.tcp_tw_isn
    want_cookie = False
    if not isn and (syncookies == 2 or reqsk_queue_is_full(sk)):
        want_cookie = _tcp_syn_flood_action(sk)
        if not want_cookie:
            _drop_syn(sk, skb, "TCPReqQFullDrop")
            return
    if sk_acceptq_is_full(sk):
        net.net_statistics[LINUX_MIB_LISTENOVERFLOWS] += 1
        _drop_syn(sk, skb, "ListenOverflows")
        return
    req = ops.new_request(sk, skb)
    req.syncookie = want_cookie
    tcp_openreq_init(req, sk, skb, ops.mss_clamp)
    dst = ops.route_req(sk, skb, req)
    if dst is None:
        _drop_syn(sk, skb, "ListenDrops")
        return
    if req.tstamp_ok:
        req.ts_off = ops.init_ts_off(req)
    if not want_cookie and not isn:
        max_syn = net.ipv4.sysctl_max_syn_backlog
        if not syncookies and max_syn - sk.icsk_accept_queue.qlen < max_syn >> 2 and not ops.peer_is_proven(req, dst):
            _drop_syn(sk, skb, "ListenDrops")
            return
        isn = ops.init_seq(skb, req)
    tcp_ecn_create_request(req, skb, sk)
    if want_cookie:
        isn = cookie_init_sequence(req, skb)
        if not req.tstamp_ok:
            req.ecn_ok = False
    req.snt_isn = isn
    req.syn_tos = skb.dsfield
    tcp_openreq_init_rwin(req, sk, dst)
    _answer(ops, sk, skb, req, want_cookie)


def _answer(ops: RequestOps, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, want_cookie: bool) -> None:
    af_ops = sk.icsk_af_ops
    th = skb.th
    assert th is not None
    foc: bytes | None = None
    child: TcpSock | None = None
    if not want_cookie:
        if sk.save_syn:
            with_link = sk.save_syn == 2 and skb.dev is not None and (skb.dev.is_loopback() or skb.dev.has_link_addr())
            req.saved_syn = (_link_header(skb) if with_link else b"") + skb.saved_headers()
        child, foc = sk.fastopen_ops.try_fastopen(sk, skb, req)
    if child is not None:
        af_ops.send_synack(child, req, foc, th.fastopen_exp, skb)
        if inet_csk_reqsk_queue_add(sk, req, child) is not None:
            sk.sk_data_ready()
        return
    if want_cookie:
        af_ops.send_synack(sk, req, foc, th.fastopen_exp, skb)
        return
    req.timeout = tcp_timeout_init(sk)
    inet_csk_reqsk_queue_hash_add(sk, req)
    af_ops.send_synack(sk, req, foc, th.fastopen_exp, skb)


def _link_header(skb: TcpSkb) -> bytes:
    """Return the Ethernet header that a SYN came with, as far as the twin knows it: zeros and the kind of packet."""
    return bytes(12) + (b"\x86\xdd" if skb.nh6 is not None else b"\x08\x00")


def inet_csk_reqsk_queue_hash_add(sk: TcpSock, req: TcpRequestSock) -> None:
    """Put a request into the table of connections and start its timer."""
    clock = sk.sk_net.kernel.clock
    timer = ReqskTimer(req)
    req.rsk_timer = timer
    clock.mod_timer(timer, clock.jiffies() + req.timeout)
    req.sk_state = TCP_NEW_SYN_RECV
    inet_ehash_insert(req)
    sk.icsk_accept_queue.qlen += 1
    sk.icsk_accept_queue.young += 1


def tcp_openreq_init(req: TcpRequestSock, sk: TcpSock, skb: TcpSkb, mss_clamp: int) -> None:
    """Take the options of a SYN that the sysctls and the kind of answer allow."""
    th = skb.th
    assert th is not None
    ipv4 = sk.sk_net.ipv4
    user_mss = sk.rx_opt.user_mss
    mss = mss_clamp
    if th.mss:
        mss = user_mss if user_mss and user_mss < th.mss else th.mss
    req.rcv_isn = skb.seq
    req.rcv_nxt = (skb.seq + 1) & M32
    saw_ts = th.ts and bool(ipv4.sysctl_tcp_timestamps)
    req.tstamp_ok = saw_ts
    req.ts_recent = th.tsval if saw_ts else 0
    if not req.syncookie or saw_ts:
        req.sack_ok = th.sack_ok and bool(ipv4.sysctl_tcp_sack)
        if th.wscale >= 0 and ipv4.sysctl_tcp_window_scaling:
            req.wscale_ok = True
            req.snd_wscale = min(th.wscale, 14)
    req.mss = mss
    req.ir_mark = skb.mark if ipv4.sysctl_tcp_fwmark_accept else sk.sk_mark
    req.snt_tsval_first = 0


def tcp_ecn_create_request(req: TcpRequestSock, skb: TcpSkb, sk: TcpSock) -> None:
    """Agree to ECN if the SYN asks for it properly, RFC 3168 6.1.1."""
    th = skb.th
    assert th is not None
    if th.flags & (TCPHDR_ECE | TCPHDR_CWR) != TCPHDR_ECE | TCPHDR_CWR:
        return
    ect = skb.dsfield & 3 != 0
    ecn_ok = sk.sk_net.ipv4.sysctl_tcp_ecn != 0
    ca = sk.ca
    if ((not ect or _reserved(th)) and ecn_ok) or (ca is not None and ca_ops(sk).needs_ecn):
        req.ecn_ok = True


def _reserved(th: Tcphdr) -> bool:
    return bool(th.flags & 0xE00)


def tcp_openreq_init_rwin(req: TcpRequestSock, sk: TcpSock, dst: Dst) -> None:
    """Choose the window that the SYN-ACK offers."""
    full_space = tcp_full_space(sk)
    mss = tcp_mss_clamp(sk, dst.advmss())
    clamp = sk.window_clamp or dst.metric(RTAX_WINDOW)
    if sk.sk_userlocks & SOCK_RCVBUF_LOCK and (clamp > full_space or clamp == 0):
        clamp = full_space
    init_rcv_wnd = dst.metric(RTAX_INITRWND)
    if init_rcv_wnd and full_space < init_rcv_wnd * mss:
        full_space = init_rcv_wnd * mss
    mss -= 12 if req.tstamp_ok else 0
    picked = tcp_select_initial_window(sk, full_space, mss, clamp, req.wscale_ok, init_rcv_wnd)
    req.rcv_wnd, req.window_clamp, req.rcv_wscale = picked


def cookie_init_rwin(req: TcpRequestSock, sk: TcpSock, dst: Dst) -> None:
    """Choose the first window of a connection that a cookie remembered: whole segments of the peer's size, as cookie_v4_check() does."""
    full_space = tcp_full_space(sk)
    clamp = sk.window_clamp or dst.metric(RTAX_WINDOW)
    if sk.sk_userlocks & SOCK_RCVBUF_LOCK and (clamp > full_space or clamp == 0):
        clamp = full_space
    picked = tcp_select_initial_window(sk, full_space, req.mss, clamp, req.wscale_ok, dst.metric(RTAX_INITRWND))
    req.rcv_wnd, req.window_clamp, req.rcv_wscale = picked


def secure_seq_clock(sk_now_ns: int) -> int:
    """Return the part of an initial sequence number that advances with time, one per 64 ns, RFC 6528."""
    return (sk_now_ns + BOOT_NS) >> 6 & M32
