"""TCP over IPv4: receiving, replies without a socket, connecting, ICMP errors (Linux: net/ipv4/tcp_ipv4.c)."""

from __future__ import annotations

from twinsock.kernel.lib.hash32 import keyed_hash32
from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_MULTICAST, Dst
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.core.sock import SockCommon, sk_add_backlog
from twinsock.kernel.net.ipv4.inet_csk import InetConnectionSockAfOps, InetCsk
from twinsock.kernel.net.ipv4.inet_hash_connect import inet_hash_connect
from twinsock.kernel.net.ipv4.inet_hashtables import (
    MAPPED_PREFIX,
    inet_bhash2_reset_saddr,
    inet_bhash2_update_saddr,
    inet_ehash_insert,
    inet_inherit_port,
    inet_lookup_established,
)
from twinsock.kernel.net.ipv4.inet_lookup import inet_lookup_listener
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR, INET_FLAGS_TRANSPARENT, Ipv6Pinfo
from twinsock.kernel.net.ipv4.ip_cmsg import ip_icmp_error
from twinsock.kernel.net.ipv4.ip_output import ip_build_and_send_pkt, ip_queue_xmit, ip_send_unicast_reply
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow, sk_dst_check, sk_dst_set
from twinsock.kernel.net.ipv4.syncookies import check_cookie, cookie_timestamp_decode
from twinsock.kernel.net.ipv4.tcp_cong_init import tcp_assign_congestion_control
from twinsock.kernel.net.ipv4.tcp_control import (
    tcp_connect,
    tcp_initialize_rcv_mss,
    tcp_make_synack,
    tcp_mss_clamp,
)
from twinsock.kernel.net.ipv4.tcp_input import (
    tcp_child_process,
    tcp_done_with_error,
    tcp_rcv_established,
    tcp_rcv_state_process,
)
from twinsock.kernel.net.ipv4.tcp_minisocks import (
    inet_csk_reqsk_queue_add,
    inet_csk_reqsk_queue_drop,
    listener_of,
    reqsk_migrate,
    tcp_check_req,
    tcp_create_openreq_child,
    tcp_listendrop,
)
from twinsock.kernel.net.ipv4.tcp_output import tcp_sync_mss
from twinsock.kernel.net.ipv4.tcp_recovery import tcp_simple_retransmit
from twinsock.kernel.net.ipv4.tcp_request import (
    RequestOps,
    cookie_init_rwin,
    secure_seq_clock,
    sk_acceptq_is_full,
    tcp_conn_request,
)
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_MTU_REDUCED_DEFERRED,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    before,
    between,
)
from twinsock.kernel.net.ipv4.tcp_state import BOOT_NS, tcp_drop_reason, tcp_set_state
from twinsock.kernel.net.ipv4.tcp_timer import tcp_init_xmit_timers, tcp_ld_rto_revert
from twinsock.kernel.net.ipv4.tcp_timewait import (
    TCP_TW_ACK,
    TCP_TW_RST,
    TCP_TW_SYN,
    TcpTimewaitSock,
    inet_twsk_kill,
    tcp_timewait_state_process,
)
from twinsock.uapi.errno import EAFNOSUPPORT, EHOSTUNREACH, EINVAL, ENETUNREACH, EPROTO
from twinsock.uapi.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_FRAG_NEEDED,
    ICMP_HOST_UNREACH,
    ICMP_NET_UNREACH,
    ICMP_PARAMETERPROB,
    ICMP_TIME_EXCEEDED,
)
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.rtnetlink import RTAX_MTU
from twinsock.uapi.snmp import (
    ICMP_MIB_INERRORS,
    IPSTATS_MIB_OUTNOROUTES,
    LINUX_MIB_LISTENOVERFLOWS,
    LINUX_MIB_LOCKDROPPEDICMPS,
    LINUX_MIB_OUTOFWINDOWICMPS,
    LINUX_MIB_SYNCOOKIESFAILED,
    LINUX_MIB_SYNCOOKIESRECV,
    LINUX_MIB_TCPBACKLOGCOALESCE,
    LINUX_MIB_TCPBACKLOGDROP,
    LINUX_MIB_TCPMINTTLDROP,
    TCP_MIB_ATTEMPTFAILS,
    TCP_MIB_INCSUMERRORS,
    TCP_MIB_INERRS,
    TCP_MIB_INSEGS,
    TCP_MIB_OUTRSTS,
    TCP_MIB_OUTSEGS,
)
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import (
    TCP_CLOSE,
    TCP_ESTABLISHED,
    TCP_LISTEN,
    TCP_SYN_RECV,
    TCP_SYN_SENT,
)
from twinsock.wire.tcp import (
    TCP_HEADER_LEN,
    TCPHDR_ACK,
    TCPHDR_CWR,
    TCPHDR_ECE,
    TCPHDR_FIN,
    TCPHDR_PSH,
    TCPHDR_RST,
    TCPHDR_SYN,
    TCPHDR_URG,
    Tcphdr,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

# What an ICMP destination unreachable means: (errno, whether it ends a connection), by code
ICMP_ERR_CONVERT: Final[tuple[int, ...]] = (101, 113, 92, 111, 90, 95, 101, 112, 64, 101, 113, 101, 113, 113, 113, 113)


def secure_tcp_seq(net: Net, addrs: bytes, sport: int, dport: int) -> int:
    """Return an initial sequence number: a keyed hash of the connection plus a clock, RFC 6528."""
    data = addrs + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    return (keyed_hash32(net.kernel.tcp_seq_secret, data) + secure_seq_clock(net.kernel.clock.now_ns)) & M32


def secure_tcp_ts_off(net: Net, addrs: bytes) -> int:
    """Return the offset of a connection's timestamps."""
    if net.ipv4.sysctl_tcp_timestamps != 1:
        return 0
    return keyed_hash32(net.kernel.tcp_ts_secret, addrs)


def addr_pair(a: int, b: int) -> bytes:
    """Return two IPv4 addresses as bytes."""
    return a.to_bytes(4, "big") + b.to_bytes(4, "big")


# ---- sending without a socket


def tcp_v4_send_reset(sk: SockCommon | None, skb: TcpSkb, net: Net) -> None:
    """Answer a segment with a RST, RFC 9293 3.5.2."""
    th = skb.th
    iph = skb.nh4
    assert th is not None and iph is not None
    if th.flags & TCPHDR_RST:
        return
    if sk is None and skb.dst is not None and skb.dst.type != 2:
        return
    rep = Tcphdr(th.dest, th.source, 0, 0, TCPHDR_RST)
    if th.flags & TCPHDR_ACK:
        rep.seq = th.ack_seq
    else:
        rep.flags |= TCPHDR_ACK
        rep.ack_seq = skb.end_seq
    net.tcp_statistics[TCP_MIB_OUTSEGS] += 1
    net.tcp_statistics[TCP_MIB_OUTRSTS] += 1
    oif = sk.sk_bound_dev_if if sk is not None else 0
    ip_send_unicast_reply(net, skb, rep, IPPROTO_TCP, iph.saddr, iph.daddr, oif, iph.tos & 0xFC)


def _tcp_v4_send_ack(net: Net, skb: TcpSkb, seq: int, ack: int, win: int, tsval: int, tsecr: int, has_ts: bool, oif: int, tos: int) -> None:
    th = skb.th
    iph = skb.nh4
    assert th is not None and iph is not None
    rep = Tcphdr(th.dest, th.source, seq, ack, TCPHDR_ACK, min(win, 65535))
    if has_ts:
        rep.ts = True
        rep.tsval = tsval
        rep.tsecr = tsecr
    net.tcp_statistics[TCP_MIB_OUTSEGS] += 1
    ip_send_unicast_reply(net, skb, rep, IPPROTO_TCP, iph.saddr, iph.daddr, oif, tos)


def tcp_v4_timewait_ack(tw: TcpTimewaitSock, skb: TcpSkb) -> None:
    """Acknowledge for a mini-socket."""
    win = tw.tw_rcv_wnd >> tw.tw_rcv_wscale
    has_ts = tw.tw_ts_recent_stamp != 0
    _tcp_v4_send_ack(tw.sk_net, skb, tw.tw_snd_nxt, tw.tw_rcv_nxt, win, tw.tsval(), tw.tw_ts_recent, has_ts, tw.sk_bound_dev_if, tw.tw_tos)


# ---- requests


class Tcp4RequestOps(RequestOps):
    """Requests over IPv4."""

    def new_request(self, sk: TcpSock, skb: TcpSkb) -> TcpRequestSock:
        """Make a request with the packet's addresses."""
        iph = skb.nh4
        th = skb.th
        assert iph is not None and th is not None
        req = TcpRequestSock(sk.sk_net, sk.sk_family, sk)
        req.sk_rcv_saddr = iph.daddr
        req.sk_daddr = iph.saddr
        if sk.sk_family == AF_INET6:
            req.sk_v6_rcv_saddr = MAPPED_PREFIX + iph.daddr.to_bytes(4, "big")
            req.sk_v6_daddr = MAPPED_PREFIX + iph.saddr.to_bytes(4, "big")
        req.sk_num = th.dest
        req.sk_dport = th.source
        req.sk_bound_dev_if = sk.sk_bound_dev_if
        req.ir_iif = skb.iif
        req.no_srccheck = sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
        return req

    def route_req(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> Dst | None:
        """Return the route of the SYN-ACK."""
        return inet_csk_route_req(sk, req)

    def init_seq(self, skb: TcpSkb, req: TcpRequestSock) -> int:
        """Return the initial sequence number."""
        return secure_tcp_seq(req.sk_net, addr_pair(req.sk_rcv_saddr, req.sk_daddr), req.sk_num, req.sk_dport)

    def init_ts_off(self, req: TcpRequestSock) -> int:
        """Return the offset of the connection's timestamps."""
        return secure_tcp_ts_off(req.sk_net, addr_pair(req.sk_rcv_saddr, req.sk_daddr))


def inet_csk_route_req(sk: TcpSock, req: TcpRequestSock) -> Dst | None:
    """Find the way back to the peer of a request."""
    fl4 = Flowi4(req.sk_daddr, req.sk_rcv_saddr, IPPROTO_TCP, req.sk_num, req.sk_dport, req.sk_bound_dev_if)
    fl4.mark = req.ir_mark
    fl4.tos = sk.tos
    err, rt = ip_route_output_flow(req.sk_net, fl4, sk)
    if rt is None:
        req.sk_net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
    return rt if not err else None


REQUEST_OPS4: Final = Tcp4RequestOps()


class Tcp4AfOps(InetConnectionSockAfOps):
    """`ipv4_specific`."""

    def queue_xmit(self, sk: InetCsk, skb: SkBuff) -> int:
        """Send a segment of a socket."""
        return ip_queue_xmit(sk, skb, None)

    def rebuild_header(self, sk: InetCsk) -> int:
        """Find a route if the one held is not valid any more."""
        if sk_dst_check(sk) is not None:
            return 0
        fl4 = Flowi4(sk.sk_daddr, sk.inet_saddr, IPPROTO_TCP, sk.inet_sport, sk.sk_dport, sk.sk_bound_dev_if)
        fl4.mark = sk.sk_mark
        fl4.tos = sk.tos
        err, rt = ip_route_output_flow(sk.sk_net, fl4, sk)
        if rt is None:
            return err or -EHOSTUNREACH
        sk_dst_set(sk, rt)
        return 0

    def mtu_reduced(self, sk: InetCsk) -> None:
        """Learn the smaller path MTU that an ICMP message reported."""
        assert isinstance(sk, TcpSock)
        tcp_v4_mtu_reduced(sk)

    def conn_request(self, sk: InetCsk, skb: SkBuff) -> int:
        """tcp_v4_conn_request(): answer a SYN, unless it was sent to many."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb)
        if skb.dst is not None and skb.dst.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST):
            tcp_listendrop(sk)
            return 0
        tcp_conn_request(REQUEST_OPS4, sk, skb)
        return 0

    def syn_recv_sock(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> InetCsk | None:
        """tcp_v4_syn_recv_sock(): make the child."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb) and isinstance(req, TcpRequestSock)
        return tcp_v4_syn_recv_sock(sk, skb, req, None)

    def send_synack(self, sk: InetCsk, req: RequestSock, foc: bytes | None, foc_exp: bool, syn: SkBuff | None) -> int:
        """tcp_v4_send_synack(): send a request's SYN-ACK."""
        assert isinstance(sk, TcpSock) and isinstance(req, TcpRequestSock)
        dst = inet_csk_route_req(sk, req)
        if dst is None:
            return -1
        skb = tcp_make_synack(sk, req, dst.advmss(), foc, foc_exp)
        if not req.snt_tsval_first and skb.th is not None and req.tstamp_ok:
            req.snt_tsval_first = skb.th.tsval
        skb.dst = dst
        tos = sk.tos
        if sk.sk_net.ipv4.sysctl_tcp_reflect_tos:
            tos = (req.syn_tos & 0xFC) | (tos & 3)
        err = ip_build_and_send_pkt(skb, sk, req.sk_rcv_saddr, req.sk_daddr, req.ir_opt, tos & 0xFC)
        return 0 if err > 0 else err

    def cookie_check(self, sk: InetCsk, skb: SkBuff) -> InetCsk | None:
        """See whether an ACK carries a cookie."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb)
        return tcp_v4_cookie_check(sk, skb)

    def route_for(self, sk: InetCsk, req: RequestSock) -> Dst | None:
        """Return the route to a request's peer."""
        assert isinstance(sk, TcpSock) and isinstance(req, TcpRequestSock)
        return inet_csk_route_req(sk, req)

    def send_reset(self, sk: InetCsk | None, skb: SkBuff) -> None:
        """tcp_v4_send_reset(): answer with a RST."""
        assert isinstance(skb, TcpSkb) and skb.dev is not None
        tcp_v4_send_reset(sk, skb, skb.dev.net)

    def reqsk_send_ack(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> None:
        """tcp_v4_reqsk_send_ack(): acknowledge for a request."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb) and isinstance(req, TcpRequestSock)
        seq = (req.snt_isn + 1) & M32 if sk.sk_state == TCP_LISTEN else sk.snd_nxt
        now = ((sk.sk_net.kernel.clock.now_ns + BOOT_NS) // 1_000_000 + req.ts_off) & M32
        win = req.rcv_wnd >> req.rcv_wscale
        tos = skb.nh4.tos if skb.nh4 is not None else 0
        _tcp_v4_send_ack(sk.sk_net, skb, seq, req.rcv_nxt, win, now, req.ts_recent, req.tstamp_ok, sk.sk_bound_dev_if, tos)


AF_OPS4: Final = Tcp4AfOps()


def tcp_v4_syn_recv_sock(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, mapped: InetConnectionSockAfOps | None) -> TcpSock | None:
    """Make the child of a request and put it into the table; None when the accept queue is full or there is no route.

    `mapped` is for the child of an AF_INET6 listener, whose addresses are IPv4 mapped into IPv6."""
    net = sk.sk_net
    if sk_acceptq_is_full(sk):
        net.net_statistics[LINUX_MIB_LISTENOVERFLOWS] += 1
        tcp_listendrop(sk)
        return None
    dst = inet_csk_route_req(sk, req)
    if dst is None:
        tcp_listendrop(sk)
        return None
    newsk = TcpSock(net, sk.sk_family, sk.sk_prot, sk.sk_type, sk.sk_protocol)
    tcp_init_sock_fields(newsk)
    newsk.icsk_af_ops = sk.icsk_af_ops
    if mapped is not None:
        newsk.icsk_af_ops = mapped
        newsk.pinet6 = clone_pinet6(sk)
        newsk.sk_v6_daddr = MAPPED_PREFIX + req.sk_daddr.to_bytes(4, "big")
        newsk.sk_v6_rcv_saddr = MAPPED_PREFIX + req.sk_rcv_saddr.to_bytes(4, "big")
        newsk.pinet6.saddr = newsk.sk_v6_rcv_saddr
        newsk.pinet6.mcast_oif, newsk.pinet6.mcast_hops = req.ir_iif, skb.hop
    tcp_create_openreq_child(newsk, sk, req, skb)
    newsk.sk_daddr = req.sk_daddr
    newsk.sk_rcv_saddr = req.sk_rcv_saddr
    newsk.inet_saddr = req.sk_rcv_saddr
    newsk.sk_bound_dev_if = req.sk_bound_dev_if
    newsk.inet_opt = req.ir_opt
    newsk.mc_index, newsk.mc_ttl = req.ir_iif, skb.hop
    newsk.rcv_tos = skb.dsfield
    if net.ipv4.sysctl_tcp_reflect_tos:
        newsk.tos = (req.syn_tos & 0xFC) | (newsk.tos & 3)
    newsk.inet_id = net.kernel.prng.u32() & 0xFFFF
    sk_dst_set(newsk, dst)
    tcp_child_finish(newsk, sk, dst)
    inet_inherit_port(sk, newsk)
    inet_ehash_insert(newsk)
    net.sock_prot_inuse_add(newsk.sk_prot, 1)
    return newsk


def clone_pinet6(sk: TcpSock) -> Ipv6Pinfo:
    """Return a copy of a listener's IPv6 options for its child."""
    # Twin: D-tcp-10: no segment is kept for IPV6_2292PKTOPTIONS.
    new = Ipv6Pinfo()
    old = sk.pinet6
    if old is not None:
        new.hop_limit = old.hop_limit
        new.mcast_hops = old.mcast_hops
        new.mcast_oif = old.mcast_oif
        new.ucast_oif = old.ucast_oif
        new.pmtudisc = old.pmtudisc
        new.frag_size = old.frag_size
        new.tclass = old.tclass
        new.min_hopcount = old.min_hopcount
        new.rxopt = old.rxopt
        new.srcprefs = old.srcprefs
        new.sndflow = old.sndflow
    return new


def tcp_child_finish(newsk: TcpSock, sk: TcpSock, dst: Dst) -> None:
    """Give a child its congestion control and segment sizes."""
    tcp_assign_congestion_control(newsk, sk.ca.name if sk.ca_setsockopt and sk.ca is not None else "")
    tcp_sync_mss(newsk, dst.mtu)
    newsk.advmss = tcp_mss_clamp(sk, dst.advmss())
    tcp_initialize_rcv_mss(newsk)
    newsk.sk_prot.counters.sockets_allocated += 1


def tcp_init_sock_fields(sk: TcpSock) -> None:
    """tcp_init_sock(): set what every new TCP socket starts with."""
    net = sk.sk_net
    clock = net.kernel.clock
    ipv4 = net.ipv4
    tcp_init_xmit_timers(sk)
    sk.sk_txrehash = net.core.sysctl_txrehash
    sk.icsk_rto = clock.hz
    sk.icsk_rto_max = clock.msecs_to_jiffies(ipv4.sysctl_tcp_rto_max_ms)
    sk.icsk_rto_min = clock.msecs_to_jiffies((ipv4.sysctl_tcp_rto_min_us + 999) // 1000)
    sk.icsk_delack_max = clock.hz // 5
    sk.mdev_us = 1_000_000
    sk.app_limited = M32
    sk.rate_app_limited = True
    sk.reordering = ipv4.sysctl_tcp_reordering
    sk.sk_sndbuf = ipv4.sysctl_tcp_wmem[1]
    sk.sk_rcvbuf = ipv4.sysctl_tcp_rmem[1]
    if net.kernel.fastopen_ops is not None:
        sk.fastopen_ops = net.kernel.fastopen_ops
    sk.undo_retrans = -1


# ---- cookies


def tcp_v4_cookie_check(sk: TcpSock, skb: TcpSkb) -> TcpSock | None:
    """See whether an ACK at a listener carries a cookie: the child, the listener itself when it does not, None to drop."""
    th = skb.th
    assert th is not None
    net = sk.sk_net
    if th.flags & TCPHDR_SYN or not th.flags & TCPHDR_ACK or th.flags & TCPHDR_RST or not net.ipv4.sysctl_tcp_syncookies:
        return sk
    if net.ipv4.sysctl_tcp_syncookies != 2 and not sk.icsk_accept_queue.synflood_warned:
        return sk
    req = REQUEST_OPS4.new_request(sk, skb)
    req.syncookie = True
    mss = check_cookie(req, (skb.ack_seq - 1) & M32, (skb.seq - 1) & M32)
    if not mss:
        net.net_statistics[LINUX_MIB_SYNCOOKIESFAILED] += 1
        return sk
    net.net_statistics[LINUX_MIB_SYNCOOKIESRECV] += 1
    has_ts = th.ts and th.tsecr != 0
    if has_ts:
        req.ts_off = secure_tcp_ts_off(net, addr_pair(req.sk_rcv_saddr, req.sk_daddr))
    if not cookie_timestamp_decode(net, req, (th.tsecr - req.ts_off) & M32, has_ts):
        return sk
    return cookie_child(sk, skb, req, mss)


def cookie_child(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock, mss: int) -> TcpSock | None:
    """Rebuild the request of a valid cookie and complete it."""
    th = skb.th
    assert th is not None
    req.mss = mss
    req.rcv_isn = (skb.seq - 1) & M32
    req.rcv_nxt = skb.seq
    req.snt_isn = (skb.ack_seq - 1) & M32
    req.ts_recent = th.tsval if req.tstamp_ok else 0
    req.ir_mark = sk.sk_mark
    dst = sk.icsk_af_ops.route_for(sk, req)
    if dst is None:
        return None
    req.snt_synack_us = 0
    cookie_init_rwin(req, sk, dst)
    child = sk.icsk_af_ops.syn_recv_sock(sk, skb, req)
    if not isinstance(child, TcpSock):
        return None
    return inet_csk_reqsk_queue_add(sk, req, child)


# ---- receiving


def tcp_do_rcv(sk: TcpSock, skb: TcpSkb) -> None:
    """tcp_v4_do_rcv(): process a segment for a socket that nobody holds, over IPv6 too."""
    if sk.sk_state == TCP_ESTABLISHED:
        tcp_rcv_established(sk, skb)
        return
    af_ops = sk.icsk_af_ops
    if sk.sk_state == TCP_LISTEN:
        nsk = af_ops.cookie_check(sk, skb)
        if not isinstance(nsk, TcpSock):
            return
        if nsk is not sk:
            _reset_and_drop(nsk, skb, tcp_child_process(sk, nsk, skb))
            sk.sk_data_ready()
            return
    _reset_and_drop(sk, skb, tcp_rcv_state_process(sk, skb))


def _reset_and_drop(sk: TcpSock, skb: TcpSkb, reason: str) -> None:
    """Answer a segment with a RST, if there is a reason to drop it."""
    if reason:
        sk.icsk_af_ops.send_reset(sk, skb)
        kfree_skb_reason(skb, reason)


def tcp_skb_from(skb: SkBuff, net: Net) -> TcpSkb | None:
    """Give a received packet TCP's fields: parse it, verify it, count what is wrong; None when it was dropped."""
    th = skb.h
    if isinstance(th, Tcphdr):
        if isinstance(skb, TcpSkb):
            tskb = skb
        else:
            tskb = _wrap(skb, skb.data, skb.offset, skb.len)
    else:
        parsed = parse(skb.data, skb.offset, skb.len, skb.l4_pseudo_sum())
        if parsed is None:
            net.tcp_statistics[TCP_MIB_INERRS] += 1
            tiny = skb.len >= TCP_HEADER_LEN and skb.data[skb.offset + 12] >> 4 < TCP_HEADER_LEN // 4
            kfree_skb_reason(skb, dropreason.PKT_TOO_SMALL if tiny else dropreason.NOT_SPECIFIED)
            return None
        if parsed.csum_bad:
            net.tcp_statistics[TCP_MIB_INCSUMERRORS] += 1
            net.tcp_statistics[TCP_MIB_INERRS] += 1
            kfree_skb_reason(skb, dropreason.TCP_CSUM)
            return None
        size = parsed.header_len()
        tskb = _wrap(skb, skb.data, skb.offset + size, skb.len - size)
        th = parsed
        tskb.h = parsed
    fill_tcp_cb(tskb, th)
    return tskb


def fill_tcp_cb(tskb: TcpSkb, th: Tcphdr) -> None:
    """Set the fields that TCP's queues work with."""
    flags = th.flags
    tskb.th = th
    tskb.seq = th.seq
    tskb.tcp_flags = flags
    tskb.end_seq = (th.seq + tskb.len + (1 if flags & TCPHDR_SYN else 0) + (1 if flags & TCPHDR_FIN else 0)) & M32
    tskb.ack_seq = th.ack_seq
    tskb.sacked = 0
    tskb.eor = False
    tskb.zc = None
    tskb.tx_flags = 0
    tskb.txstamp_ack = False
    tskb.tcp_tw_isn = 0
    if tskb.nh4 is not None:
        tskb.dsfield = tskb.nh4.tos
        tskb.hop = tskb.nh4.ttl
    elif tskb.nh6 is not None:
        tskb.dsfield = tskb.nh6.tclass
        tskb.hop = tskb.nh6.hop_limit
    tskb.has_rxtstamp = tskb.tstamp_ns != 0


def _wrap(skb: SkBuff, data: bytes, offset: int, length: int) -> TcpSkb:
    tskb = TcpSkb(data, offset, length)
    tskb.truesize = skb.truesize or 2304
    tskb.dev = skb.dev
    tskb.pkt_type = skb.pkt_type
    tskb.tstamp_ns = skb.tstamp_ns
    tskb.mark = skb.mark
    tskb.nh4 = skb.nh4
    tskb.nh6 = skb.nh6
    tskb.h = skb.h
    tskb.dst = skb.dst
    tskb.gso_size = skb.gso_size
    tskb.gso_segs = skb.gso_segs
    tskb.iif = skb.iif
    return tskb


def tcp_v4_rcv(raw: SkBuff) -> int:
    """Take a segment that arrived over IPv4."""
    assert raw.dev is not None
    net = raw.dev.net
    net.tcp_statistics[TCP_MIB_INSEGS] += 1  # Measured: 6.18, tests/fuzz/found: a packet that stands for several counts once
    skb = tcp_skb_from(raw, net)
    if skb is None:
        return 0
    iph, th = skb.nh4, skb.th
    assert iph is not None and th is not None
    dif = skb.iif or raw.dev.ifindex
    sdif = raw.dev.l3mdev_master
    for _attempt in range(4):
        sk = inet_lookup_established(net, iph.saddr, th.source, iph.daddr, th.dest, dif, sdif)
        if sk is None:
            sk = inet_lookup_listener(net, skb, th.header_len(), iph.saddr, th.source, iph.daddr, th.dest, dif, sdif)
        if sk is None:
            tcp_v4_send_reset(None, skb, net)
            kfree_skb_reason(skb, dropreason.NO_SOCKET)
            return 0
        if isinstance(sk, TcpTimewaitSock):
            listener = _tcp_v4_timewait(sk, skb, net, dif, sdif)
            if listener is None:
                return 0
            tcp_deliver(listener, skb)
            return 0
        if isinstance(sk, TcpRequestSock):
            if tcp_rcv_request(sk, skb):
                return 0
            continue
        if isinstance(sk, TcpSock):
            tcp_deliver(sk, skb)
        return 0
    return 0


def _tcp_v4_timewait(tw: TcpTimewaitSock, skb: TcpSkb, net: Net, dif: int, sdif: int) -> TcpSock | None:
    """Answer for a mini-socket; a listener is returned when a new SYN takes the place."""
    verdict, isn, reason = tcp_timewait_state_process(tw, skb)
    if verdict == TCP_TW_SYN:
        iph, th = skb.nh4, skb.th
        assert iph is not None and th is not None
        sk2 = inet_lookup_listener(net, skb, th.header_len(), iph.saddr, th.source, iph.daddr, th.dest, dif, sdif)
        if isinstance(sk2, TcpSock):
            inet_twsk_kill(tw)
            skb.tcp_tw_isn = isn
            return sk2
        verdict = TCP_TW_ACK
    if verdict == TCP_TW_ACK:
        tcp_v4_timewait_ack(tw, skb)
    elif verdict == TCP_TW_RST:
        tcp_v4_send_reset(tw, skb, net)
        inet_twsk_kill(tw)
    kfree_skb_reason(skb, reason or dropreason.NOT_SPECIFIED)
    return None


def tcp_rcv_request(req: TcpRequestSock, skb: TcpSkb) -> bool:
    """Process a segment for a request; false: look the packet up again."""
    sk = listener_of(req)
    if sk.sk_state != TCP_LISTEN:
        moved = reqsk_migrate(req)
        if moved is None:
            inet_csk_reqsk_queue_drop(req)
            return False
        sk = moved
    if not tcp_filter(sk, skb):
        tcp_drop_reason(sk, skb, dropreason.SOCKET_FILTER)
        return True
    nsk, reason = tcp_check_req(sk, skb, req, False)
    if nsk is None:
        tcp_drop_reason(sk, skb, reason)
        return True
    if nsk is sk:
        tcp_deliver(sk, skb)
        return True
    _reset_and_drop(nsk, skb, tcp_child_process(sk, nsk, skb))
    return True


def tcp_filter(sk: TcpSock, skb: TcpSkb) -> bool:
    """Let the socket's filter see the segment from its TCP header on, SO_ATTACH_FILTER; it may cut the payload, or refuse."""
    if sk.sk_filter is None and sk.sk_net.kernel.cgroup_bpf is None:
        return True
    th = skb.th
    assert th is not None
    head = th.header_len()
    keep = sk_filter_trim_cap(sk, skb, skb.l4_bytes(), head)
    if keep < 0:
        return False
    if keep - head < skb.len:
        skb.len = keep - head
        fill_tcp_cb(skb, th)
    return True


def tcp_deliver(sk: TcpSock, skb: TcpSkb) -> None:
    """Give a segment to its socket, or to the backlog while a task holds it."""
    net = sk.sk_net
    if sk.min_ttl and skb.nh4 is not None and skb.hop < sk.min_ttl:
        net.net_statistics[LINUX_MIB_TCPMINTTLDROP] += 1
        tcp_drop_reason(sk, skb, dropreason.TCP_MINTTL)
        return
    if not tcp_filter(sk, skb):
        tcp_drop_reason(sk, skb, dropreason.SOCKET_FILTER)
        return
    skb.sk = None
    if sk.sk_state == TCP_LISTEN:
        sk.sk_prot.backlog_rcv(sk, skb)
        return
    segs = max(1, skb.gso_segs)
    sk.segs_in += segs
    if skb.len:
        sk.data_segs_in += segs
    if not sk.sk_owned_by_user:
        sk.sk_prot.backlog_rcv(sk, skb)
        return
    if _tcp_coalesce_backlog(sk, skb):
        return
    limit = sk.sk_rcvbuf + (sk.sk_sndbuf >> 1) + 64 * 1024
    if sk_add_backlog(sk, skb, limit):
        net.net_statistics[LINUX_MIB_TCPBACKLOGDROP] += 1
        tcp_drop_reason(sk, skb, dropreason.SOCKET_BACKLOG)


def _tcp_coalesce_backlog(sk: TcpSock, skb: TcpSkb) -> bool:
    """Join a bare acknowledgement with the last one in the backlog where they differ in nothing else; tell whether it was.

    The newer acknowledgement and window win. Linux joins data too, which it never can when that comes over loopback."""
    backlog = sk.sk_backlog
    tail = backlog[-1] if backlog else None
    if not isinstance(tail, TcpSkb) or skb.len or tail.len:
        return False
    th, thtail = skb.th, tail.th
    assert th is not None and thtail is not None
    flags, tail_flags = skb.tcp_flags, tail.tcp_flags
    if tail.end_seq != skb.seq or tail.dsfield != skb.dsfield or (flags | tail_flags) & (TCPHDR_SYN | TCPHDR_RST | TCPHDR_URG):
        return False
    if not flags & tail_flags & TCPHDR_ACK or (flags ^ tail_flags) & (TCPHDR_ECE | TCPHDR_CWR):
        return False
    if th.ts != thtail.ts or th.tsval != thtail.tsval or th.tsecr != thtail.tsecr or th.sacks != thtail.sacks:
        return False
    tail.end_seq = skb.end_seq
    if not before(skb.ack_seq, tail.ack_seq):
        tail.ack_seq = thtail.ack_seq = skb.ack_seq
        thtail.window = th.window
    tail.tcp_flags |= flags
    thtail.flags |= th.flags & (TCPHDR_FIN | TCPHDR_PSH)
    if skb.has_rxtstamp:
        tail.has_rxtstamp = True
        tail.tstamp_ns = skb.tstamp_ns
    sk.sk_net.net_statistics[LINUX_MIB_TCPBACKLOGCOALESCE] += 1
    return True


class TcpProtocol4(NetProtocol):
    """Protocol 6 over IPv4."""

    def handler(self, skb: SkBuff) -> int:
        """Take a segment."""
        return tcp_v4_rcv(skb)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an ICMP error."""
        return tcp_v4_err(skb, type_, code, info)


# ---- ICMP errors


def tcp_v4_err(skb: SkBuff, type_: int, code: int, info: int) -> int:
    """React to an ICMP error about one of our segments, RFC 5927, RFC 1122 4.2.3.9."""
    iph = skb.nh4
    assert iph is not None and skb.dev is not None
    net = skb.dev.net
    quoted = skb.payload()
    sport = int.from_bytes(quoted[0:2], "big")
    dport = int.from_bytes(quoted[2:4], "big")
    seq = int.from_bytes(quoted[4:8], "big")
    sk = inet_lookup_established(net, iph.daddr, dport, iph.saddr, sport, skb.iif or skb.dev.ifindex, 0)
    if sk is None:
        net.icmp_statistics[ICMP_MIB_INERRORS] += 1
        return -2
    if isinstance(sk, TcpTimewaitSock):
        return 0
    if isinstance(sk, TcpRequestSock):
        fatal = type_ in (ICMP_PARAMETERPROB, ICMP_TIME_EXCEEDED) or (
            type_ == ICMP_DEST_UNREACH and code in (ICMP_NET_UNREACH, ICMP_HOST_UNREACH)
        )
        tcp_req_err(sk, seq, fatal)
        return 0
    if not isinstance(sk, TcpSock):
        return 0
    if sk.sk_owned_by_user and not (type_ == ICMP_DEST_UNREACH and code == ICMP_FRAG_NEEDED):
        net.net_statistics[LINUX_MIB_LOCKDROPPEDICMPS] += 1
    if sk.sk_state == TCP_CLOSE:
        return 0
    fastopen = sk.fastopen_rsk
    snd_una = fastopen.snt_isn if fastopen is not None else sk.snd_una
    if sk.sk_state != TCP_LISTEN and not between(seq, snd_una, sk.snd_nxt):
        net.net_statistics[LINUX_MIB_OUTOFWINDOWICMPS] += 1
        return 0
    if fastopen is None and type_ == ICMP_DEST_UNREACH and code in (ICMP_NET_UNREACH, ICMP_HOST_UNREACH):
        tcp_ld_rto_revert(sk, seq)
    err = _icmp_errno(sk, type_, code, info)
    if err:
        if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV):  # Linux: without IP_RECVERR too, unlike IPv6
            ip_icmp_error(sk, skb, 0, err, dport, info)
        tcp_icmp_error(sk, err, sk.inet_test_bit(INET_FLAGS_RECVERR))
    return 0


def _icmp_errno(sk: TcpSock, type_: int, code: int, info: int) -> int:
    """Return the errno that a message stands for, 0 when it was dealt with or means nothing."""
    if type_ == ICMP_PARAMETERPROB:
        return EPROTO
    if type_ == ICMP_TIME_EXCEEDED:
        return EHOSTUNREACH
    if type_ != ICMP_DEST_UNREACH or code >= len(ICMP_ERR_CONVERT):
        return 0
    if code == ICMP_FRAG_NEEDED:
        if sk.sk_state != TCP_LISTEN:
            sk.mtu_info = info
            if sk.sk_owned_by_user:
                sk.tsq_flags |= TCP_MTU_REDUCED_DEFERRED
            else:
                tcp_v4_mtu_reduced(sk)
        return 0
    return ICMP_ERR_CONVERT[code]


def tcp_req_err(req: TcpRequestSock, seq: int, fatal: bool) -> None:
    """An ICMP error about a SYN-ACK."""
    if seq != req.snt_isn:
        req.sk_net.net_statistics[LINUX_MIB_OUTOFWINDOWICMPS] += 1
    elif fatal:
        if inet_csk_reqsk_queue_drop(req):
            tcp_listendrop(listener_of(req))


def tcp_icmp_error(sk: TcpSock, err: int, recverr: bool) -> None:
    """Report an ICMP error: it ends an opening connection, and is a soft error for an open one."""
    fastopen = sk.fastopen_rsk
    if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV) and not (fastopen is not None and fastopen.sk is None):
        if not sk.sk_owned_by_user:
            tcp_done_with_error(sk, err)
        else:
            sk.sk_err_soft = err
        return
    if not sk.sk_owned_by_user and recverr:
        sk.sk_err = err
        sk.sk_error_report()
    else:
        sk.sk_err_soft = err


def tcp_v4_mtu_reduced(sk: TcpSock) -> None:
    """The path takes less than we sent: cut what is in flight again, RFC 1191."""
    if sk.sk_state in (TCP_LISTEN, TCP_CLOSE):
        return
    if sk.icsk_af_ops.rebuild_header(sk):
        return
    dst = sk.sk_dst_cache
    if dst is None:
        return
    dst.update_pmtu(sk.mtu_info)
    mtu = dst.mtu
    if sk.pmtudisc != 0 and sk.pmtudisc not in (4, 5) and sk.icsk_pmtu_cookie > mtu and not dst.locked(RTAX_MTU):
        tcp_sync_mss(sk, mtu)
        tcp_simple_retransmit(sk)


# ---- connecting


def tcp_v4_connect(task: Task, sk: TcpSock, addr: bytes) -> int:
    """Start a connection: 0 or -errno (sheet 04, 4.1)."""
    if len(addr) < 16:
        return -EINVAL
    if addr[0] | addr[1] << 8 != AF_INET:
        return -EAFNOSUPPORT
    dport = addr[2] << 8 | addr[3]
    daddr = int.from_bytes(addr[4:8], "big")
    return tcp_v4_connect_to(sk, daddr, dport)


def tcp_v4_connect_to(sk: TcpSock, daddr: int, dport: int) -> int:
    """Start a connection to an IPv4 address: 0 or -errno."""
    net = sk.sk_net
    fl4 = Flowi4(daddr, sk.inet_saddr, IPPROTO_TCP, sk.inet_sport, dport, sk.sk_bound_dev_if)
    fl4.mark = sk.sk_mark
    fl4.tos = sk.tos
    err, rt = ip_route_output_flow(net, fl4, sk)
    if rt is None:
        if err == -ENETUNREACH:
            net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
        return err
    if rt.rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST):
        return -ENETUNREACH
    daddr = fl4.daddr
    if not sk.inet_saddr:
        inet_bhash2_update_saddr(sk, fl4.saddr, MAPPED_PREFIX + fl4.saddr.to_bytes(4, "big"))
        sk.inet_saddr = fl4.saddr
    else:
        sk.sk_rcv_saddr = sk.inet_saddr
    rx = sk.rx_opt
    if rx.ts_recent_stamp and sk.sk_daddr != daddr:
        rx.ts_recent = 0
        rx.ts_recent_stamp = 0
        sk.write_seq = 0
    sk.sk_dport = dport
    sk.sk_daddr = daddr
    rx.mss_clamp = 536
    tcp_set_state(sk, TCP_SYN_SENT)
    err = inet_hash_connect(sk)
    if not err:
        sk_dst_set(sk, rt)
        pair = addr_pair(sk.inet_saddr, daddr)
        if not sk.write_seq:
            sk.write_seq = secure_tcp_seq(net, pair, sk.inet_sport, dport)
        sk.tsoffset = secure_tcp_ts_off(net, pair)
        sk.inet_id = net.kernel.prng.u32() & 0xFFFF
        deferred, err = sk.fastopen_ops.defer_connect(sk)
        if not deferred and not err:
            err = tcp_connect(sk)
    if err:
        tcp_connect_failed(sk)
    return err


def tcp_connect_failed(sk: TcpSock) -> None:
    """Undo a connect(2) that could not send its SYN."""
    stats = sk.sk_net.tcp_statistics
    before = stats[TCP_MIB_ATTEMPTFAILS]
    tcp_set_state(sk, TCP_CLOSE)
    stats[TCP_MIB_ATTEMPTFAILS] = before
    inet_bhash2_reset_saddr(sk)
    sk.sk_dport = 0
