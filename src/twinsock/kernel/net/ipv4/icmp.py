"""ICMP, RFC 792, RFC 1122 3.2.2, RFC 1812 4.3 (Linux: net/ipv4/icmp.c).

`icmp_rcv` answers echoes and timestamps and hands errors to the protocols; `icmp_send` makes errors, within two rate limits.
Left out: following redirects (D-ip-3), address masks, extended echo (RFC 8335)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_MULTICAST
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import PACKET_HOST, SkBuff, consume_skb, kfree_skb_reason, skb_head_truesize
from twinsock.kernel.net.ipv4.fib_frontend import inet_addr_type
from twinsock.kernel.net.ipv4.ip_options_rcv import ip_options_compile, ip_options_echo, ip_options_record
from twinsock.kernel.time.timer import NSEC_PER_MSEC, NSEC_PER_SEC
from twinsock.uapi.errno import ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP
from twinsock.uapi.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_ECHO,
    ICMP_ECHOREPLY,
    ICMP_FRAG_NEEDED,
    ICMP_PARAMETERPROB,
    ICMP_REDIRECT,
    ICMP_SOURCE_QUENCH,
    ICMP_TIME_EXCEEDED,
    ICMP_TIMESTAMP,
    ICMP_TIMESTAMPREPLY,
)
from twinsock.uapi.in_ import IPPROTO_ICMP
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST
from twinsock.uapi.snmp import (
    ICMP_MIB_INADDRMASKREPS,
    ICMP_MIB_INADDRMASKS,
    ICMP_MIB_INCSUMERRORS,
    ICMP_MIB_INDESTUNREACHS,
    ICMP_MIB_INECHOREPS,
    ICMP_MIB_INECHOS,
    ICMP_MIB_INERRORS,
    ICMP_MIB_INMSGS,
    ICMP_MIB_INPARMPROBS,
    ICMP_MIB_INREDIRECTS,
    ICMP_MIB_INSRCQUENCHS,
    ICMP_MIB_INTIMEEXCDS,
    ICMP_MIB_INTIMESTAMPREPS,
    ICMP_MIB_INTIMESTAMPS,
    ICMP_MIB_OUTDESTUNREACHS,
    ICMP_MIB_OUTECHOREPS,
    ICMP_MIB_OUTECHOS,
    ICMP_MIB_OUTMSGS,
    ICMP_MIB_OUTPARMPROBS,
    ICMP_MIB_OUTRATELIMITGLOBAL,
    ICMP_MIB_OUTRATELIMITHOST,
    ICMP_MIB_OUTREDIRECTS,
    ICMP_MIB_OUTTIMEEXCDS,
    ICMP_MIB_OUTTIMESTAMPREPS,
    ICMP_MIB_OUTTIMESTAMPS,
)
from twinsock.wire import icmp as wire_icmp
from twinsock.wire import ip as wire_ip
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.ip import IP_OFFSET, Iphdr
from twinsock.wire.l4 import ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

NR_ICMP_TYPES: Final = 18
_IP_PMTUDISC_DONT: Final = 0
_XRLIM_BURST_FACTOR: Final = 6
_IN_MIB: Final[dict[int, int]] = {
    ICMP_ECHOREPLY: ICMP_MIB_INECHOREPS,
    ICMP_DEST_UNREACH: ICMP_MIB_INDESTUNREACHS,
    ICMP_SOURCE_QUENCH: ICMP_MIB_INSRCQUENCHS,
    ICMP_REDIRECT: ICMP_MIB_INREDIRECTS,
    ICMP_ECHO: ICMP_MIB_INECHOS,
    ICMP_TIME_EXCEEDED: ICMP_MIB_INTIMEEXCDS,
    ICMP_PARAMETERPROB: ICMP_MIB_INPARMPROBS,
    ICMP_TIMESTAMP: ICMP_MIB_INTIMESTAMPS,
    ICMP_TIMESTAMPREPLY: ICMP_MIB_INTIMESTAMPREPS,
    17: ICMP_MIB_INADDRMASKS,
    18: ICMP_MIB_INADDRMASKREPS,
}
_OUT_MIB: Final[dict[int, int]] = {
    ICMP_ECHOREPLY: ICMP_MIB_OUTECHOREPS,
    ICMP_DEST_UNREACH: ICMP_MIB_OUTDESTUNREACHS,
    ICMP_REDIRECT: ICMP_MIB_OUTREDIRECTS,
    ICMP_ECHO: ICMP_MIB_OUTECHOS,
    ICMP_TIME_EXCEEDED: ICMP_MIB_OUTTIMEEXCDS,
    ICMP_PARAMETERPROB: ICMP_MIB_OUTPARMPROBS,
    ICMP_TIMESTAMP: ICMP_MIB_OUTTIMESTAMPS,
    ICMP_TIMESTAMPREPLY: ICMP_MIB_OUTTIMESTAMPREPS,
}
# errno and whether it is fatal, by code of "destination unreachable"
icmp_err_convert: Final[list[tuple[int, bool]]] = [
    (ENETUNREACH, False),
    (EHOSTUNREACH, False),
    (ENOPROTOOPT, True),
    (ECONNREFUSED, True),
    (EMSGSIZE, False),
    (EOPNOTSUPP, False),
    (ENETUNREACH, True),
    (EHOSTDOWN, True),
    (ENONET, True),
    (ENETUNREACH, True),
    (EHOSTUNREACH, True),
    (ENETUNREACH, False),
    (EHOSTUNREACH, False),
    (EHOSTUNREACH, True),
    (EHOSTUNREACH, True),
    (EHOSTUNREACH, True),
]


class IcmpPeer:
    """The tokens of one destination, inetpeer."""

    def __init__(self, now: int) -> None:
        self.tokens_ms = 0
        self.last_ns = now


class IcmpState:
    """Rate limits of one namespace (the global one is per namespace since 6.13)."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.credit = 0
        self.stamp_ns = -1
        self.peers: dict[int, IcmpPeer] = {}

    def global_allow(self) -> bool:
        """Tell whether there is a token left: icmp_msgs_per_sec come in, icmp_msgs_burst at most are kept."""
        net = self.net
        now = net.kernel.clock.now_ns
        rate = net.ipv4.sysctl_icmp_msgs_per_sec
        burst = net.ipv4.sysctl_icmp_msgs_burst
        if self.stamp_ns < 0:
            self.credit = burst
            self.stamp_ns = now
        elapsed = min(now - self.stamp_ns, NSEC_PER_SEC)
        if elapsed >= NSEC_PER_SEC // 50:
            fresh = rate * elapsed // NSEC_PER_SEC
            if fresh:
                self.stamp_ns = now
                self.credit = min(self.credit + fresh, burst)
        return self.credit > 0

    def consume(self) -> None:
        """Take a token."""
        self.credit -= 1

    def peer_allow(self, daddr: int) -> bool:
        """Take icmp_ratelimit ms from a destination's bucket, inet_peer_xrlim_allow()."""
        timeout = self.net.ipv4.sysctl_icmp_ratelimit
        if timeout == 0:
            return True
        now = self.net.kernel.clock.now_ns
        peer = self.peers.get(daddr)
        if peer is None:
            peer = IcmpPeer(now - 60 * NSEC_PER_SEC)
            self.peers[daddr] = peer
        tokens = min(peer.tokens_ms + (now - peer.last_ns) // NSEC_PER_MSEC, _XRLIM_BURST_FACTOR * timeout)
        peer.last_ns = now
        allowed = tokens >= timeout
        peer.tokens_ms = tokens - timeout if allowed else tokens
        return allowed


class IcmpProtocol(NetProtocol):
    """Protocol 1."""

    def handler(self, skb: SkBuff) -> int:
        """Receive a message."""
        return icmp_rcv(skb)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an error about one of our messages: echo requests belong to ping sockets."""
        data = skb.payload()
        if not data or skb.dev is None or skb.nh4 is None:
            return 0
        if data[0] != ICMP_ECHOREPLY:
            ping = skb.dev.net.kernel.ping_hook4
            return 0 if ping is None else ping.err_handler(skb, type_, code, info)
        if type_ == ICMP_DEST_UNREACH and code == ICMP_FRAG_NEEDED:
            from twinsock.kernel.net.ipv4.route import ipv4_update_pmtu

            ipv4_update_pmtu(skb.dev.net, skb.nh4.daddr, 0, info, 0, IPPROTO_ICMP)
        return 0


def icmp_rcv(skb: SkBuff) -> int:
    """Count, verify and act on a message for this host."""
    dev = skb.dev
    iph = skb.nh4
    assert dev is not None and iph is not None
    net = dev.net
    mib = net.icmp_statistics
    mib[ICMP_MIB_INMSGS] += 1
    h = skb.h
    if h is None:
        h = wire_icmp.parse(skb.data, skb.offset, skb.len)
        if h is not None:
            skb.pull(8)
            skb.h = h
    if not isinstance(h, Icmphdr):
        wrong_sum = ones_sum(skb.payload()) != 0
        if wrong_sum:
            mib[ICMP_MIB_INCSUMERRORS] += 1
        mib[ICMP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.ICMP_CSUM if wrong_sum else dropreason.PKT_TOO_SMALL)
        return 0
    if h.csum_bad:
        mib[ICMP_MIB_INCSUMERRORS] += 1
        mib[ICMP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.ICMP_CSUM)
        return 0
    net.icmpmsg_statistics[h.type & 0xFF] += 1
    slot = _IN_MIB.get(h.type, -1)
    if slot >= 0:
        mib[slot] += 1
    dst = skb.dst
    if dst is not None and dst.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST):
        if h.type in (ICMP_ECHO, ICMP_TIMESTAMP) and net.ipv4.sysctl_icmp_echo_ignore_broadcasts:
            mib[ICMP_MIB_INERRORS] += 1
            kfree_skb_reason(skb, dropreason.INVALID_PROTO)
            return 0
        if h.type not in (ICMP_ECHO, ICMP_TIMESTAMP, 17, 18):
            mib[ICMP_MIB_INERRORS] += 1
            kfree_skb_reason(skb, dropreason.INVALID_PROTO)
            return 0
    if h.type > NR_ICMP_TYPES:
        mib[ICMP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.UNHANDLED_PROTO)
        return 0
    reason = ""
    if h.type == ICMP_ECHO:
        if not net.ipv4.sysctl_icmp_echo_ignore_all:
            icmp_reply(skb, Icmphdr(ICMP_ECHOREPLY, 0, h.un), skb.payload())
    elif h.type == ICMP_TIMESTAMP:
        reason = _timestamp(skb, h, mib)
    elif h.type in (ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB, ICMP_SOURCE_QUENCH, ICMP_REDIRECT):
        reason = _unreach(net, skb, h, mib)
    elif h.type == ICMP_ECHOREPLY:
        ping = net.kernel.ping_hook4
        if ping is not None:
            return ping.handler(skb)
        reason = dropreason.NO_SOCKET
    if reason:
        kfree_skb_reason(skb, reason)
    else:
        consume_skb(skb)
    return 0


def _timestamp(skb: SkBuff, h: Icmphdr, mib: list[int]) -> str:
    """Answer with milliseconds since midnight UT, RFC 792: "" or a drop reason."""
    data = skb.payload()
    if len(data) < 12 or skb.dev is None:
        mib[ICMP_MIB_INERRORS] += 1
        return dropreason.PKT_TOO_SMALL
    clock = skb.dev.net.kernel.clock
    ms = (clock.now_ns + clock.realtime_offset_ns) // NSEC_PER_MSEC % 86_400_000
    stamp = ms.to_bytes(4, "big")
    icmp_reply(skb, Icmphdr(ICMP_TIMESTAMPREPLY, 0, h.un), data[:4] + stamp + stamp)
    return ""


def _unreach(net: Net, skb: SkBuff, h: Icmphdr, mib: list[int]) -> str:
    """Take an error, look into the quoted header and tell its protocol: "" or a drop reason."""
    parsed = wire_ip.parse(skb.data, skb.offset, skb.len, False)
    inner = parsed.iph
    outer = skb.nh4
    if inner is None or outer is None:
        mib[ICMP_MIB_INERRORS] += 1
        return dropreason.NOT_SPECIFIED
    info = 0
    if h.type == ICMP_DEST_UNREACH:
        code = h.code & 15
        if code == ICMP_FRAG_NEEDED:
            if net.ipv4.sysctl_ip_no_pmtu_disc in (1, 2):
                info = 0
            else:
                info = h.mtu()
            if net.ipv4.sysctl_ip_no_pmtu_disc == 2:
                return ""
        if h.code > 15:
            return ""
    elif h.type == ICMP_PARAMETERPROB:
        info = h.un >> 24
    if not net.ipv4.sysctl_icmp_ignore_bogus_error_responses and inet_addr_type(net, inner.daddr) == RTN_BROADCAST:
        return ""
    if skb.len < parsed.header_len + 8:
        mib[ICMP_MIB_INERRORS] += 1
        return ""
    quote = SkBuff(skb.data, skb.offset + parsed.header_len, skb.len - parsed.header_len)
    quote.dev = skb.dev
    quote.protocol = skb.protocol
    quote.nh4 = inner
    quote.outer = skb
    quote.iif = skb.iif
    hook = net.kernel.raw_hook4
    if hook is not None:
        hook.icmp_error(quote, inner.protocol, h.type, h.code, info)
    handler = net.inet_protos[inner.protocol]
    if handler is not None:
        handler.err_handler(quote, h.type, h.code, info)
    return ""


def icmp_reply(skb: SkBuff, h: Icmphdr, payload: bytes) -> None:
    """Answer a query; the address that was asked answers."""
    from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow

    dev = skb.dev
    iph = skb.nh4
    dst = skb.dst
    assert dev is not None and iph is not None and dst is not None
    net = dev.net
    if len(payload) > 0xFFFF - 28 or not _global_ok(net, h.type, h.code, dev.is_loopback()):
        return
    daddr = iph.saddr
    saddr = 0 if dst.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST) else iph.daddr
    fl4 = Flowi4(daddr, saddr, IPPROTO_ICMP)
    fl4.oif = _link_scope_oif(daddr, dev.ifindex)
    fl4.tos = iph.tos & 0x1E
    err, rt = ip_route_output_flow(net, fl4, None)
    if err or rt is None:
        return
    if _peer_ok(net, rt.dev.is_loopback(), fl4.daddr, h.type, h.code):
        options = b""
        if iph.options:
            options = ip_options_echo(iph.options, ip_options_compile(iph.options))
            options = ip_options_record(options, ip_options_compile(options), fl4.saddr, net.kernel.clock, True)
        _push(net, h, payload, fl4.saddr, fl4.daddr, rt, iph.tos, options)


def _link_scope_oif(daddr: int, ifindex: int) -> int:
    return ifindex if daddr >> 28 == 14 else 0


def icmp_send(skb_in: SkBuff, type_: int, code: int, info: int) -> None:
    """Complain to the sender of a packet, unless RFC 1122 3.2.2 or a rate limit forbids it. `info` is MTU or pointer."""
    from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow

    iph = skb_in.nh4
    dst = skb_in.dst
    if iph is None or dst is None:
        return
    net = dst.net
    if skb_in.pkt_type != PACKET_HOST or dst.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST):
        return
    if iph.frag_off & IP_OFFSET:
        return
    quoted = skb_in.l3_bytes()
    if type_ in (ICMP_DEST_UNREACH, ICMP_TIME_EXCEEDED, ICMP_PARAMETERPROB, ICMP_REDIRECT) and iph.protocol == IPPROTO_ICMP:
        first = quoted[iph.header_len()] if len(quoted) > iph.header_len() else -1
        if first not in (ICMP_ECHOREPLY, ICMP_ECHO, ICMP_TIMESTAMP, ICMP_TIMESTAMPREPLY, 17, 18, 15, 16):
            return
    loop = skb_in.dev is not None and skb_in.dev.is_loopback()
    if not _global_ok(net, type_, code, loop):
        return
    saddr = iph.daddr
    if dst.type != RTN_LOCAL and not dst.rt_flags & 0x80000000:
        saddr = 0
    tos = (iph.tos & 0x1E) | 0xC0
    fl4 = Flowi4(iph.saddr, saddr, IPPROTO_ICMP)
    fl4.tos = tos
    err, rt = ip_route_output_flow(net, fl4, None)
    if err or rt is None:
        return
    if not _peer_ok(net, rt.dev.is_loopback(), fl4.daddr, type_, code):
        return
    room = min(rt.get_mtu(), 576) - 28
    if room <= 20:
        return
    un = info << 24 if type_ == ICMP_PARAMETERPROB else info & 0xFFFF
    _push(net, Icmphdr(type_, code, un), quoted[:room], fl4.saddr, fl4.daddr, rt, tos, b"")


def _push(net: Net, h: Icmphdr, payload: bytes, saddr: int, daddr: int, rt: object, tos: int, options: bytes) -> None:
    """Build and send a message, icmp_push_reply()."""
    from twinsock.kernel.net.ipv4.ip_output import IPSKB_IGNORE_DF, ip_select_ident, ip_send_skb
    from twinsock.kernel.net.ipv4.route import Rtable

    assert isinstance(rt, Rtable)
    skb = SkBuff(payload)
    skb.truesize = skb_head_truesize(len(payload) + 28 + 31)
    skb.h = h
    skb.dst = rt
    skb.mark = 0
    skb.ip_flags |= IPSKB_IGNORE_DF
    iph = Iphdr(saddr, daddr, IPPROTO_ICMP)
    iph.tos = tos
    iph.ttl = 1 if rt.type == RTN_MULTICAST else rt.hoplimit()
    iph.options = options
    skb.nh4 = iph
    ip_select_ident(net, skb, None, 1)
    icmp_out_count(net, h.type)
    ip_send_skb(net, skb)


def icmp_out_count(net: Net, type_: int) -> None:
    """Count a sent message; ping and raw sockets call it, too."""
    net.icmp_statistics[ICMP_MIB_OUTMSGS] += 1
    net.icmpmsg_statistics[256 + (type_ & 0xFF)] += 1
    slot = _OUT_MIB.get(type_, -1)
    if slot >= 0:
        net.icmp_statistics[slot] += 1


def _limited(net: Net, type_: int, code: int) -> bool:
    """Tell whether a message is subject to rate limits: path MTU messages never, others by icmp_ratemask."""
    if type_ > NR_ICMP_TYPES:
        return False
    if type_ == ICMP_DEST_UNREACH and code == ICMP_FRAG_NEEDED:
        return False
    return bool(net.ipv4.sysctl_icmp_ratemask >> type_ & 1)


def _global_ok(net: Net, type_: int, code: int, loopback: bool) -> bool:
    state = net.ipv4.icmp
    if not _limited(net, type_, code) or loopback or state is None:
        return True
    if state.global_allow():
        return True
    net.icmp_statistics[ICMP_MIB_OUTRATELIMITGLOBAL] += 1
    return False


def _peer_ok(net: Net, loopback: bool, daddr: int, type_: int, code: int) -> bool:
    state = net.ipv4.icmp
    if not _limited(net, type_, code) or loopback or state is None:
        return True
    if state.peer_allow(daddr):
        state.consume()
        return True
    net.icmp_statistics[ICMP_MIB_OUTRATELIMITHOST] += 1
    return False


def icmp_error_errno(type_: int, code: int) -> tuple[int, bool]:
    """Return (errno, fatal) for an error message, as datagram sockets report it."""
    if type_ == ICMP_DEST_UNREACH:
        return icmp_err_convert[code] if code < len(icmp_err_convert) else (EHOSTUNREACH, False)
    if type_ == ICMP_PARAMETERPROB:
        return 71, True  # EPROTO
    if type_ == ICMP_SOURCE_QUENCH:
        return 0, False
    return EHOSTUNREACH, False
