"""TCP over IPv6, and AF_INET6 sockets over IPv4 (Linux: net/ipv6/tcp_ipv6.c, inet6_stream_ops of af_inet6.c)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import Dst
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.core.sock import IN6ADDR_ANY, Sock, proto_register
from twinsock.kernel.net.ipv4.af_inet_stream import InetStreamOps, tcp_sk
from twinsock.kernel.net.ipv4.inet_create import inet_register_protosw
from twinsock.kernel.net.ipv4.inet_csk import InetConnectionSockAfOps, InetCsk
from twinsock.kernel.net.ipv4.inet_hash_connect import inet_hash_connect
from twinsock.kernel.net.ipv4.inet_hashtables import (
    LOOPBACK4_IPV6,
    MAPPED_PREFIX,
    inet6_lookup_established,
    inet_bhash2_update_saddr,
    inet_ehash_insert,
    inet_inherit_port,
)
from twinsock.kernel.net.ipv4.inet_lookup import inet6_lookup_listener
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR6, INET_FLAGS_TRANSPARENT, InetSock
from twinsock.kernel.net.ipv4.route import sk_dst_check, sk_dst_set
from twinsock.kernel.net.ipv4.syncookies import check_cookie, cookie_timestamp_decode
from twinsock.kernel.net.ipv4.tcp import tcp_recvmsg
from twinsock.kernel.net.ipv4.tcp_control import tcp_connect, tcp_make_synack
from twinsock.kernel.net.ipv4.tcp_init import TcpProto, TcpProtosw, as_tcp
from twinsock.kernel.net.ipv4.tcp_ipv4 import (
    AF_OPS4,
    Tcp4AfOps,
    clone_pinet6,
    cookie_child,
    secure_tcp_seq,
    secure_tcp_ts_off,
    tcp_child_finish,
    tcp_connect_failed,
    tcp_deliver,
    tcp_icmp_error,
    tcp_init_sock_fields,
    tcp_rcv_request,
    tcp_req_err,
    tcp_skb_from,
    tcp_v4_connect_to,
    tcp_v4_syn_recv_sock,
)
from twinsock.kernel.net.ipv4.tcp_minisocks import tcp_create_openreq_child, tcp_listendrop
from twinsock.kernel.net.ipv4.tcp_output import tcp_sync_mss
from twinsock.kernel.net.ipv4.tcp_recovery import tcp_simple_retransmit
from twinsock.kernel.net.ipv4.tcp_request import RequestOps, sk_acceptq_is_full, tcp_conn_request
from twinsock.kernel.net.ipv4.tcp_sock import M32, TCP_MTU_REDUCED_DEFERRED, TcpRequestSock, TcpSkb, TcpSock, between
from twinsock.kernel.net.ipv4.tcp_sockopt import tcp_stream_getsockopt, tcp_stream_setsockopt
from twinsock.kernel.net.ipv4.tcp_state import BOOT_NS, tcp_set_state
from twinsock.kernel.net.ipv4.tcp_timer import tcp_ld_rto_revert
from twinsock.kernel.net.ipv4.tcp_timewait import (
    TCP_TW_ACK,
    TCP_TW_RST,
    TCP_TW_SYN,
    TcpTimewaitSock,
    inet_twsk_kill,
    tcp_timewait_state_process,
)
from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind
from twinsock.kernel.net.ipv6.inet6_ops import inet6_getname, inet6_leave_groups
from twinsock.kernel.net.ipv6.ip6_cmsg import ipv6_recv_error
from twinsock.kernel.net.ipv6.ip6_output import inet6_csk_xmit, ip6_send_unicast_reply, ip6_xmit
from twinsock.kernel.net.ipv6.ipv6_sockglue import ipv6_getsockopt, ipv6_setsockopt
from twinsock.kernel.net.ipv6.route import Flowi6, Rt6Info, ip6_dst_lookup_flow
from twinsock.uapi.errno import EACCES, EAFNOSUPPORT, ECONNREFUSED, EHOSTUNREACH, EINVAL, ENETUNREACH, EPROTO
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.snmp import (
    ICMP_MIB_INERRORS,
    LINUX_MIB_LISTENOVERFLOWS,
    LINUX_MIB_LOCKDROPPEDICMPS,
    LINUX_MIB_OUTOFWINDOWICMPS,
    LINUX_MIB_SYNCOOKIESFAILED,
    LINUX_MIB_SYNCOOKIESRECV,
    TCP_MIB_INSEGS,
    TCP_MIB_OUTRSTS,
    TCP_MIB_OUTSEGS,
)
from twinsock.uapi.socket import AF_INET, AF_INET6, MSG_ERRQUEUE, SOL_TCP
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_RST, TCPHDR_SYN, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

MSS_CLAMP6: Final = 1280 - 40 - 20
LOOPBACK6: Final = bytes(15) + b"\x01"
_UNREACH_ERRNO: Final[tuple[int, ...]] = (ENETUNREACH, EACCES, EHOSTUNREACH, EHOSTUNREACH, ECONNREFUSED, EACCES, EACCES)


# ---- sending without a socket


def _reply(net: Net, skb: TcpSkb, rep: Tcphdr, oif: int, tclass: int) -> None:
    hdr = skb.nh6
    assert hdr is not None
    if not oif and (hdr.daddr[0] == 0xFE and hdr.daddr[1] & 0xC0 == 0x80) and skb.dev is not None:
        oif = skb.dev.ifindex
    net.tcp_statistics[TCP_MIB_OUTSEGS] += 1
    ip6_send_unicast_reply(net, rep, IPPROTO_TCP, hdr.saddr, hdr.daddr, oif, tclass)


def tcp_v6_send_reset(sk: Sock | TcpTimewaitSock | None, skb: TcpSkb, net: Net) -> None:
    """Answer a segment with a RST."""
    th = skb.th
    hdr = skb.nh6
    assert th is not None and hdr is not None
    if th.flags & TCPHDR_RST or hdr.daddr[0] == 0xFF:
        return
    rep = Tcphdr(th.dest, th.source, 0, 0, TCPHDR_RST)
    if th.flags & TCPHDR_ACK:
        rep.seq = th.ack_seq
    else:
        rep.flags |= TCPHDR_ACK
        rep.ack_seq = skb.end_seq
    net.tcp_statistics[TCP_MIB_OUTRSTS] += 1
    _reply(net, skb, rep, sk.sk_bound_dev_if if sk is not None else 0, hdr.tclass & 0xFC)


def _send_ack(net: Net, skb: TcpSkb, rep: Tcphdr, stamps: tuple[int, int] | None, oif: int, tclass: int) -> None:
    if stamps is not None:
        rep.ts = True
        rep.tsval, rep.tsecr = stamps
    _reply(net, skb, rep, oif, tclass)


# ---- requests and address family operations


class Tcp6RequestOps(RequestOps):
    """Requests over IPv6."""

    mss_clamp = MSS_CLAMP6

    def new_request(self, sk: TcpSock, skb: TcpSkb) -> TcpRequestSock:
        """Make a request with the packet's addresses."""
        hdr, th = skb.nh6, skb.th
        assert hdr is not None and th is not None
        req = TcpRequestSock(sk.sk_net, AF_INET6, sk)
        req.ir_v6 = True
        req.sk_v6_rcv_saddr = hdr.daddr
        req.sk_v6_daddr = hdr.saddr
        req.sk_num = th.dest
        req.sk_dport = th.source
        req.sk_bound_dev_if = sk.sk_bound_dev_if
        req.ir_iif = skb.iif
        req.no_srccheck = sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
        return req

    def route_req(self, sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> Dst | None:
        """Return the route of the SYN-ACK."""
        return inet6_csk_route_req(sk, req)[0]

    def init_seq(self, skb: TcpSkb, req: TcpRequestSock) -> int:
        """Return the initial sequence number."""
        return secure_tcp_seq(req.sk_net, req.sk_v6_rcv_saddr + req.sk_v6_daddr, req.sk_num, req.sk_dport)

    def init_ts_off(self, req: TcpRequestSock) -> int:
        """Return the offset of the connection's timestamps."""
        return secure_tcp_ts_off(req.sk_net, req.sk_v6_rcv_saddr + req.sk_v6_daddr)


def inet6_csk_route_req(sk: TcpSock, req: TcpRequestSock) -> tuple[Dst | None, Flowi6]:
    """Find the way back to the peer of a request."""
    fl6 = Flowi6(req.sk_v6_daddr, req.sk_v6_rcv_saddr, IPPROTO_TCP, req.sk_num, req.sk_dport, req.sk_bound_dev_if)
    fl6.mark = req.ir_mark
    _err, rt = ip6_dst_lookup_flow(req.sk_net, fl6, sk)
    return rt, fl6


REQUEST_OPS6: Final = Tcp6RequestOps()


class MappedAfOps(Tcp4AfOps):
    """`ipv6_mapped`: an AF_INET6 socket connected over IPv4.

    Linux: a socket that was connected over IPv4 once keeps these operations when it connects over IPv6 later; its SYNs reach nobody."""

    def queue_xmit(self, sk: InetCsk, skb: SkBuff) -> int:
        """Send a segment of a socket."""
        if isinstance(sk.sk_dst_cache, Rt6Info):
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return 0
        return super().queue_xmit(sk, skb)


class Tcp6AfOps(InetConnectionSockAfOps):
    """`ipv6_specific`; a dual-stack listener also answers for IPv4."""

    net_header_len = 40
    family = AF_INET6

    def queue_xmit(self, sk: InetCsk, skb: SkBuff) -> int:
        """Send a segment of a socket."""
        return inet6_csk_xmit(sk, skb)

    def rebuild_header(self, sk: InetCsk) -> int:
        """Find a route if the one held is not valid any more."""
        if sk_dst_check(sk) is not None:
            return 0
        pinfo = sk.pinet6
        saddr = pinfo.saddr if pinfo is not None else sk.sk_v6_rcv_saddr
        fl6 = Flowi6(sk.sk_v6_daddr, saddr, IPPROTO_TCP, sk.inet_sport, sk.sk_dport, sk.sk_bound_dev_if)
        fl6.mark = sk.sk_mark
        err, rt = ip6_dst_lookup_flow(sk.sk_net, fl6, sk)
        if rt is None:
            return err or -EHOSTUNREACH
        sk_dst_set(sk, rt)
        return 0

    def mtu_reduced(self, sk: InetCsk) -> None:
        """Learn the smaller path MTU that an ICMPv6 message reported."""
        assert isinstance(sk, TcpSock)
        tcp_v6_mtu_reduced(sk)

    def conn_request(self, sk: InetCsk, skb: SkBuff) -> int:
        """Answer a SYN."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb)
        hdr = skb.nh6
        if hdr is None:
            return AF_OPS4.conn_request(sk, skb)
        if hdr.daddr[0] == 0xFF:
            tcp_listendrop(sk)
            return 0
        tcp_conn_request(REQUEST_OPS6, sk, skb)
        return 0

    def syn_recv_sock(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> InetCsk | None:
        """Make the child."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb) and isinstance(req, TcpRequestSock)
        if not req.ir_v6:
            return tcp_v4_syn_recv_sock(sk, skb, req, MAPPED_OPS)
        return tcp_v6_syn_recv_sock(sk, skb, req)

    def send_synack(self, sk: InetCsk, req: RequestSock, foc: bytes | None, foc_exp: bool, syn: SkBuff | None) -> int:
        """Send a request's SYN-ACK."""
        assert isinstance(sk, TcpSock) and isinstance(req, TcpRequestSock)
        if not req.ir_v6:
            return AF_OPS4.send_synack(sk, req, foc, foc_exp, syn)
        dst, fl6 = inet6_csk_route_req(sk, req)
        if dst is None:
            return -1
        skb = tcp_make_synack(sk, req, dst.advmss(), foc, foc_exp)
        if not req.snt_tsval_first and skb.th is not None and req.tstamp_ok:
            req.snt_tsval_first = skb.th.tsval
        skb.dst = dst
        tclass = sk.pinet6.tclass if sk.pinet6 is not None else 0
        if sk.sk_net.ipv4.sysctl_tcp_reflect_tos:
            tclass = (req.syn_tos & 0xFC) | (tclass & 3)
        err = ip6_xmit(sk, skb, fl6, skb.mark, None, tclass & 0xFC, sk.sk_priority)
        return 0 if err > 0 else err

    def cookie_check(self, sk: InetCsk, skb: SkBuff) -> InetCsk | None:
        """See whether an ACK carries a cookie."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb)
        if skb.nh6 is None:
            return AF_OPS4.cookie_check(sk, skb)
        return tcp_v6_cookie_check(sk, skb)

    def route_for(self, sk: InetCsk, req: RequestSock) -> Dst | None:
        """Return the route to a request's peer."""
        assert isinstance(sk, TcpSock) and isinstance(req, TcpRequestSock)
        return inet6_csk_route_req(sk, req)[0] if req.ir_v6 else AF_OPS4.route_for(sk, req)

    def send_reset(self, sk: InetCsk | None, skb: SkBuff) -> None:
        """Answer with a RST."""
        assert isinstance(skb, TcpSkb) and skb.dev is not None
        if skb.nh6 is None:
            AF_OPS4.send_reset(sk, skb)
        else:
            tcp_v6_send_reset(sk, skb, skb.dev.net)

    def reqsk_send_ack(self, sk: InetCsk, skb: SkBuff, req: RequestSock) -> None:
        """Acknowledge for a request."""
        assert isinstance(sk, TcpSock) and isinstance(skb, TcpSkb) and isinstance(req, TcpRequestSock)
        th, hdr = skb.th, skb.nh6
        if hdr is None or th is None:
            AF_OPS4.reqsk_send_ack(sk, skb, req)
            return
        seq = (req.snt_isn + 1) & M32 if sk.sk_state == TCP_LISTEN else sk.snd_nxt
        now = ((sk.sk_net.kernel.clock.now_ns + BOOT_NS) // 1_000_000 + req.ts_off) & M32
        rep = Tcphdr(th.dest, th.source, seq, req.rcv_nxt, TCPHDR_ACK, req.rcv_wnd >> req.rcv_wscale)
        _send_ack(sk.sk_net, skb, rep, (now, req.ts_recent) if req.tstamp_ok else None, sk.sk_bound_dev_if, hdr.tclass)


AF_OPS6: Final = Tcp6AfOps()
MAPPED_OPS: Final = MappedAfOps()


def tcp_v6_syn_recv_sock(sk: TcpSock, skb: TcpSkb, req: TcpRequestSock) -> TcpSock | None:
    """Make the child of a request over IPv6; None when the accept queue is full or there is no route."""
    net = sk.sk_net
    if sk_acceptq_is_full(sk):
        net.net_statistics[LINUX_MIB_LISTENOVERFLOWS] += 1
        tcp_listendrop(sk)
        return None
    dst = inet6_csk_route_req(sk, req)[0]
    if dst is None:
        tcp_listendrop(sk)
        return None
    newsk = TcpSock(net, AF_INET6, sk.sk_prot, sk.sk_type, sk.sk_protocol)
    tcp_init_sock_fields(newsk)
    newsk.icsk_af_ops = AF_OPS6
    tcp_create_openreq_child(newsk, sk, req, skb)
    newsk.pinet6 = clone_pinet6(sk)
    newsk.pinet6.saddr = req.sk_v6_rcv_saddr
    newsk.sk_v6_daddr = req.sk_v6_daddr
    newsk.sk_v6_rcv_saddr = req.sk_v6_rcv_saddr
    newsk.sk_rcv_saddr = LOOPBACK4_IPV6
    newsk.sk_daddr = LOOPBACK4_IPV6
    newsk.inet_saddr = LOOPBACK4_IPV6
    newsk.sk_bound_dev_if = req.sk_bound_dev_if
    newsk.pinet6.mcast_oif, newsk.pinet6.mcast_hops = req.ir_iif, skb.hop
    sk_dst_set(newsk, dst)
    tcp_child_finish(newsk, sk, dst)
    inet_inherit_port(sk, newsk)
    inet_ehash_insert(newsk)
    net.sock_prot_inuse_add(newsk.sk_prot, 1)
    return newsk


def tcp_v6_cookie_check(sk: TcpSock, skb: TcpSkb) -> TcpSock | None:
    """See whether an ACK at a listener carries a cookie: the child, the listener itself when not, None to drop."""
    th = skb.th
    assert th is not None
    net = sk.sk_net
    if th.flags & (TCPHDR_SYN | TCPHDR_RST) or not th.flags & TCPHDR_ACK or not net.ipv4.sysctl_tcp_syncookies:
        return sk
    if net.ipv4.sysctl_tcp_syncookies != 2 and not sk.icsk_accept_queue.synflood_warned:
        return sk
    req = REQUEST_OPS6.new_request(sk, skb)
    req.syncookie = True
    mss = check_cookie(req, (skb.ack_seq - 1) & M32, (skb.seq - 1) & M32)
    if not mss:
        net.net_statistics[LINUX_MIB_SYNCOOKIESFAILED] += 1
        return sk
    net.net_statistics[LINUX_MIB_SYNCOOKIESRECV] += 1
    has_ts = th.ts and th.tsecr != 0
    if has_ts:
        req.ts_off = REQUEST_OPS6.init_ts_off(req)
    if not cookie_timestamp_decode(net, req, (th.tsecr - req.ts_off) & M32, has_ts):
        return sk
    return cookie_child(sk, skb, req, mss)


# ---- receiving


def tcp_v6_rcv(raw: SkBuff) -> int:
    """Take a segment that arrived over IPv6."""
    assert raw.dev is not None
    net = raw.dev.net
    net.tcp_statistics[TCP_MIB_INSEGS] += 1  # Measured: 6.18, tests/fuzz/found: a packet that stands for several counts once
    skb = tcp_skb_from(raw, net)
    if skb is None:
        return 0
    hdr, th = skb.nh6, skb.th
    assert hdr is not None and th is not None
    dif = skb.iif or raw.dev.ifindex
    sdif = raw.dev.l3mdev_master
    for _attempt in range(4):
        sk = inet6_lookup_established(net, hdr.saddr, th.source, hdr.daddr, th.dest, dif, sdif)
        if sk is None:
            sk = inet6_lookup_listener(net, skb, th.header_len(), hdr.saddr, th.source, hdr.daddr, th.dest, dif, sdif)
        if sk is None:
            tcp_v6_send_reset(None, skb, net)
            kfree_skb_reason(skb, dropreason.NO_SOCKET)
            return 0
        if isinstance(sk, TcpTimewaitSock):
            listener = _timewait(sk, skb, net, dif, sdif)
            if listener is not None:
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


def _timewait(tw: TcpTimewaitSock, skb: TcpSkb, net: Net, dif: int, sdif: int) -> TcpSock | None:
    """Answer for a mini-socket; a listener is returned when a new SYN takes the place."""
    hdr, th = skb.nh6, skb.th
    assert hdr is not None and th is not None
    verdict, isn, reason = tcp_timewait_state_process(tw, skb)
    if verdict == TCP_TW_SYN:
        sk2 = inet6_lookup_listener(net, skb, th.header_len(), hdr.saddr, th.source, hdr.daddr, th.dest, dif, sdif)
        if isinstance(sk2, TcpSock):
            inet_twsk_kill(tw)
            skb.tcp_tw_isn = isn
            return sk2
        verdict = TCP_TW_ACK
    if verdict == TCP_TW_ACK:
        rep = Tcphdr(th.dest, th.source, tw.tw_snd_nxt, tw.tw_rcv_nxt, TCPHDR_ACK, tw.tw_rcv_wnd >> tw.tw_rcv_wscale)
        stamps = (tw.tsval(), tw.tw_ts_recent) if tw.tw_ts_recent_stamp else None
        _send_ack(net, skb, rep, stamps, tw.sk_bound_dev_if, 0)
    elif verdict == TCP_TW_RST:
        tcp_v6_send_reset(tw, skb, net)
        inet_twsk_kill(tw)
    kfree_skb_reason(skb, reason or dropreason.NOT_SPECIFIED)
    return None


class TcpProtocol6(NetProtocol):
    """Protocol 6 over IPv6."""

    def handler(self, skb: SkBuff) -> int:
        """Take a segment."""
        return tcp_v6_rcv(skb)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an ICMPv6 error."""
        return tcp_v6_err(skb, type_, code, info)


def tcp_v6_err(skb: SkBuff, type_: int, code: int, info: int) -> int:
    """React to an ICMPv6 error about one of our segments."""
    hdr = skb.nh6
    assert hdr is not None and skb.dev is not None
    net = skb.dev.net
    quoted = skb.payload()
    sport, dport = int.from_bytes(quoted[0:2], "big"), int.from_bytes(quoted[2:4], "big")
    seq = int.from_bytes(quoted[4:8], "big")
    sk = inet6_lookup_established(net, hdr.daddr, dport, hdr.saddr, sport, skb.iif or skb.dev.ifindex, 0)
    if sk is None:
        net.icmp6_statistics[ICMP_MIB_INERRORS] += 1
        return -2
    if isinstance(sk, TcpRequestSock):
        tcp_req_err(sk, seq, type_ in (3, 4) or (type_ == 1 and code not in (4,)))
        return 0
    if not isinstance(sk, TcpSock):
        return 0
    if sk.sk_owned_by_user and type_ != 2:
        net.net_statistics[LINUX_MIB_LOCKDROPPEDICMPS] += 1
    if sk.sk_state == TCP_CLOSE:
        return 0
    snd_una = sk.fastopen_rsk.snt_isn if sk.fastopen_rsk is not None else sk.snd_una
    if sk.sk_state != TCP_LISTEN and not between(seq, snd_una, sk.snd_nxt):
        net.net_statistics[LINUX_MIB_OUTOFWINDOWICMPS] += 1
        return 0
    if type_ == 2:
        if sk.sk_state != TCP_LISTEN:
            sk.mtu_info = info
            if sk.sk_owned_by_user:
                sk.tsq_flags |= TCP_MTU_REDUCED_DEFERRED
            else:
                tcp_v6_mtu_reduced(sk)
        return 0
    err = EPROTO
    if type_ == 1 and code == 0 and sk.fastopen_rsk is None:
        tcp_ld_rto_revert(sk, seq)
    if type_ == 1:
        err = _UNREACH_ERRNO[code] if code < len(_UNREACH_ERRNO) else EPROTO
    elif type_ == 3:
        err = EHOSTUNREACH
    tcp_icmp_error(sk, err, sk.inet_test_bit(INET_FLAGS_RECVERR6))
    return 0


def tcp_v6_mtu_reduced(sk: TcpSock) -> None:
    """The path takes less than we sent: cut what is in flight again, RFC 8201."""
    if sk.sk_state in (TCP_LISTEN, TCP_CLOSE) or sk.icsk_af_ops.rebuild_header(sk):
        return
    dst = sk.sk_dst_cache
    if dst is None:
        return
    dst.update_pmtu(max(sk.mtu_info, 1280))
    if sk.icsk_pmtu_cookie > dst.mtu:
        tcp_sync_mss(sk, dst.mtu)
        tcp_simple_retransmit(sk)


# ---- connecting


def tcp_v6_connect(task: Task, sk: TcpSock, addr: bytes) -> int:
    """Start a connection to a `struct sockaddr_in6`: 0 or -errno (sheet 04, 4.1)."""
    if len(addr) < 24:
        return -EINVAL
    if addr[0] | addr[1] << 8 != AF_INET6:
        return -EAFNOSUPPORT
    dport = addr[2] << 8 | addr[3]
    daddr = addr[8:24]
    if daddr == IN6ADDR_ANY:
        mapped = sk.sk_v6_rcv_saddr[:12] == MAPPED_PREFIX
        daddr = MAPPED_PREFIX + b"\x7f\0\0\x01" if mapped else LOOPBACK6
    if daddr[0] == 0xFF:
        return -ENETUNREACH
    if daddr[0] == 0xFE and daddr[1] & 0xC0 == 0x80:
        scope = int.from_bytes(addr[24:28], "little") if len(addr) >= 28 else 0
        if scope:
            if sk.sk_bound_dev_if and sk.sk_bound_dev_if != scope:
                return -EINVAL
            sk.sk_bound_dev_if = scope
        if not sk.sk_bound_dev_if:
            return -EINVAL
    rx = sk.rx_opt
    if rx.ts_recent_stamp and sk.sk_v6_daddr != daddr:
        rx.ts_recent = rx.ts_recent_stamp = 0
        sk.write_seq = 0
    sk.sk_v6_daddr = daddr
    if daddr[:12] == MAPPED_PREFIX:
        return _connect_mapped(sk, daddr, dport)
    return _connect6(sk, daddr, dport)


def _connect_mapped(sk: TcpSock, daddr: bytes, dport: int) -> int:
    bound = sk.sk_v6_rcv_saddr
    if sk.sk_ipv6only or (bound != IN6ADDR_ANY and bound[:12] != MAPPED_PREFIX):
        return -ENETUNREACH
    sk.icsk_af_ops = MAPPED_OPS
    err = tcp_v4_connect_to(sk, int.from_bytes(daddr[12:], "big"), dport)
    if err:
        sk.icsk_af_ops = AF_OPS6
    else:
        sk.sk_v6_daddr = MAPPED_PREFIX + sk.sk_daddr.to_bytes(4, "big")
        if sk.pinet6 is not None:
            sk.pinet6.saddr = sk.sk_v6_rcv_saddr
    return err


def _connect6(sk: TcpSock, daddr: bytes, dport: int) -> int:
    net = sk.sk_net
    pinfo = sk.pinet6
    assert pinfo is not None
    saddr = sk.sk_v6_rcv_saddr
    fl6 = Flowi6(daddr, saddr, IPPROTO_TCP, sk.inet_sport, dport, sk.sk_bound_dev_if)
    fl6.mark = sk.sk_mark
    err, rt = ip6_dst_lookup_flow(net, fl6, sk)
    if rt is None:
        return err
    if saddr[:12] == MAPPED_PREFIX:
        return -EAFNOSUPPORT
    if saddr == IN6ADDR_ANY:
        inet_bhash2_update_saddr(sk, LOOPBACK4_IPV6, fl6.saddr)
    pinfo.saddr = fl6.saddr
    sk.inet_saddr = LOOPBACK4_IPV6
    sk.sk_daddr = LOOPBACK4_IPV6
    sk.sk_dport = dport
    sk.rx_opt.mss_clamp = MSS_CLAMP6
    tcp_set_state(sk, TCP_SYN_SENT)
    err = inet_hash_connect(sk)
    if not err:
        sk_dst_set(sk, rt)
        pair = pinfo.saddr + daddr
        if not sk.write_seq:
            sk.write_seq = secure_tcp_seq(net, pair, sk.inet_sport, dport)
        sk.tsoffset = secure_tcp_ts_off(net, pair)
        deferred, err = sk.fastopen_ops.defer_connect(sk)
        if not deferred and not err:
            err = tcp_connect(sk)
    if err:
        tcp_connect_failed(sk)
    return err


# ---- sockets


class Tcp6Proto(TcpProto):
    """`tcpv6_prot`."""

    prot4: TcpProto | None = None  # what IPV6_ADDRFORM turns a socket's protocol into

    def init_sock(self, sk: Sock) -> int:
        """Initialise a new socket."""
        err = super().init_sock(sk)
        as_tcp(sk).icsk_af_ops = AF_OPS6
        return err

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """connect(2)."""
        return tcp_v6_connect(task, as_tcp(sk), addr)

    def become_ipv4(self, sk: Sock) -> int:
        """IPV6_ADDRFORM."""
        sock, csk = sk.sk_socket, as_tcp(sk)
        if sock is None or self.prot4 is None:
            return -EINVAL
        sk.sk_net.sock_prot_inuse_add(self, -1)
        sk.sk_net.sock_prot_inuse_add(self.prot4, 1)
        csk.sk_prot = self.prot4
        csk.icsk_af_ops = AF_OPS4
        sock.ops = STREAM_OPS4
        csk.sk_family = AF_INET
        csk.pinet6 = None
        return 0


STREAM_OPS4: Final = InetStreamOps()


class Inet6StreamOps(InetStreamOps):
    """`inet6_stream_ops`."""

    family = AF_INET6

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2)."""
        return inet6_bind(task, sock, addr)

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2), getpeername(2)."""
        return inet6_getname(sock, peer)

    def leave_groups(self, sk: InetSock) -> None:
        """Leave every multicast group."""
        inet6_leave_groups(sk)

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """setsockopt(2) below SOL_SOCKET."""
        sk = tcp_sk(sock)
        if level != SOL_TCP:
            return ipv6_setsockopt(task, sk, level, optname, optval, optlen)
        return tcp_stream_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """getsockopt(2) below SOL_SOCKET."""
        sk = tcp_sk(sock)
        if level != SOL_TCP:
            return ipv6_getsockopt(task, sk, level, optname, optval, optlen)
        return tcp_stream_getsockopt(task, sk, level, optname, optval, optlen)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """recvmsg(2)."""
        sk = tcp_sk(sock)
        if flags & MSG_ERRQUEUE:
            return ipv6_recv_error(sk, msg)
        return tcp_recvmsg(task, sk, msg, flags)


def tcpv6_init(kernel: Kernel) -> Tcp6Proto:
    """Register TCP over IPv6; IPv4's is registered before."""
    prot = Tcp6Proto("TCPv6", 2432)
    prot.sysctl_mem = kernel.sysctl_tcp_mem
    for prot4 in kernel.protos:
        if prot4.name == "TCP" and isinstance(prot4, TcpProto):
            prot.counters = prot4.counters
            prot.prot4 = prot4
    proto_register(kernel, prot)
    inet_register_protosw(kernel, AF_INET6, TcpProtosw(prot, Inet6StreamOps()))
    kernel.inet6_protos[IPPROTO_TCP] = TcpProtocol6()
    return prot
