"""ICMPv6, RFC 4443 (Linux: net/ipv6/icmp.c).

`icmpv6_rcv` answers echoes and hands errors to the protocols; `icmp6_send` makes errors, within two rate limits.
Left out: extended echo, node information."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import Dst
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import PACKET_HOST, SkBuff, consume_skb, kfree_skb_reason, skb_head_truesize
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.ipv6.addrconf import ipv6_chk_acast_addr, ipv6_chk_addr
from twinsock.kernel.net.ipv6.route import Flowi6, Rt6Info, ip6_dst_lookup_flow, ip6_update_pmtu
from twinsock.kernel.time.timer import NSEC_PER_MSEC
from twinsock.uapi.errno import EACCES, ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, EPROTO
from twinsock.uapi.icmpv6 import (
    ICMPV6_DEST_UNREACH,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    ICMPV6_PARAMPROB,
    ICMPV6_PKT_TOOBIG,
    ICMPV6_TIME_EXCEED,
    ICMPV6_UNK_OPTION,
    NDISC_REDIRECT,
    NDISC_ROUTER_SOLICITATION,
)
from twinsock.uapi.in6 import IPPROTO_ICMPV6
from twinsock.uapi.snmp import (
    ICMP6_MIB_CSUMERRORS,
    ICMP6_MIB_INERRORS,
    ICMP6_MIB_INMSGS,
    ICMP6_MIB_OUTMSGS,
    ICMP6_MIB_RATELIMITHOST,
)
from twinsock.wire import icmp6 as wire_icmp6
from twinsock.wire import ip6 as wire_ip6
from twinsock.wire.icmp6 import Icmp6hdr
from twinsock.wire.ip6 import IP6_HEADER_LEN, Ipv6hdr, skip_exthdrs
from twinsock.wire.l4 import ones_sum, pseudo_sum6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_IPV6_MIN_MTU: Final = 1280
_XRLIM_BURST_FACTOR: Final = 6


class Icmp6Peer:
    """The tokens of one destination."""

    def __init__(self, now: int) -> None:
        self.tokens_ms = 0
        self.last_ns = now


class Icmp6Protocol(NetProtocol):
    """Next header 58."""

    def handler(self, skb: SkBuff) -> int:
        """Receive a message."""
        return icmpv6_rcv(skb)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an error about one of our messages: echo requests belong to ping sockets."""
        data = skb.payload()
        if skb.dev is None or skb.nh6 is None or not data:
            return 0
        if type_ == ICMPV6_PKT_TOOBIG:
            ip6_update_pmtu(skb.dev.net, skb.nh6.daddr, info, skb.iif)
        ping = skb.dev.net.kernel.ping_hook6
        if data[0] == ICMPV6_ECHO_REQUEST and ping is not None:
            return ping.err_handler(skb, type_, code, info)
        return 0


def icmpv6_rcv(skb: SkBuff) -> int:
    """Count, verify and act on a message for this host."""
    from twinsock.kernel.net.ipv6.ndisc import ndisc_rcv

    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    net = dev.net
    mib = net.icmp6_statistics
    mib[ICMP6_MIB_INMSGS] += 1
    h = skb.h
    if h is None:
        h = wire_icmp6.parse(skb.data, skb.offset, skb.len, pseudo_sum6(hdr.saddr, hdr.daddr, IPPROTO_ICMPV6, skb.len))
        if h is not None:
            skb.pull(8)
            skb.h = h
    if not isinstance(h, Icmp6hdr):
        pseudo = pseudo_sum6(hdr.saddr, hdr.daddr, IPPROTO_ICMPV6, skb.len)
        wrong_sum = (pseudo + ones_sum(skb.payload())) % 0xFFFF != 0
        if wrong_sum:
            mib[ICMP6_MIB_CSUMERRORS] += 1
        mib[ICMP6_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.ICMP_CSUM if wrong_sum else dropreason.PKT_TOO_SMALL)
        return 0
    if h.csum_bad:
        mib[ICMP6_MIB_CSUMERRORS] += 1
        mib[ICMP6_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.ICMP_CSUM)
        return 0
    type_ = h.type
    net.icmp6msg_statistics[type_] += 1
    reason = ""
    if type_ == ICMPV6_ECHO_REQUEST:
        if net.ipv6.sysctl_icmpv6_echo_ignore_all or not icmpv6_echo_reply(skb, h):
            reason = dropreason.NOT_SPECIFIED
    elif type_ == ICMPV6_ECHO_REPLY:
        ping = net.kernel.ping_hook6
        if ping is not None:
            return ping.handler(skb)
        reason = dropreason.NO_SOCKET
    elif type_ in (ICMPV6_DEST_UNREACH, ICMPV6_PKT_TOOBIG, ICMPV6_TIME_EXCEED, ICMPV6_PARAMPROB):
        info = h.un if type_ in (ICMPV6_PKT_TOOBIG, ICMPV6_PARAMPROB) else 0
        reason = icmpv6_notify(net, skb, type_, h.code, info)
        if reason:
            mib[ICMP6_MIB_INERRORS] += 1
    elif NDISC_ROUTER_SOLICITATION <= type_ <= NDISC_REDIRECT:
        reason = ndisc_rcv(skb, h)
    elif type_ < 128:
        # An unknown error message is handed on, RFC 4443 2.4 (a).
        reason = icmpv6_notify(net, skb, type_, h.code, h.un)
    else:
        reason = dropreason.NOT_SPECIFIED
    if reason:
        kfree_skb_reason(skb, reason)
    else:
        consume_skb(skb)
    return 0


def icmpv6_notify(net: Net, skb: SkBuff, type_: int, code: int, info: int) -> str:
    """Tell the protocol of the quoted packet: "", or a drop reason when the quote is too short."""
    data = skb.payload()
    inner, _length = wire_ip6.parse(data)
    if inner is None:
        return dropreason.PKT_TOO_SMALL
    proto, offset = skip_exthdrs(inner.nexthdr, data[IP6_HEADER_LEN:])
    if proto < 0 or len(data) < IP6_HEADER_LEN + offset + 8:
        return dropreason.PKT_TOO_SMALL
    inner.exthdrs = data[IP6_HEADER_LEN : IP6_HEADER_LEN + offset]
    start = IP6_HEADER_LEN + offset
    quote = SkBuff(data, start, len(data) - start)
    quote.dev = skb.dev
    quote.protocol = skb.protocol
    quote.nh6 = inner
    quote.outer = skb
    quote.iif = skb.iif
    handler = net.inet6_protos[proto]
    if handler is not None:
        handler.err_handler(quote, type_, code, info)
    hook = net.kernel.raw_hook6
    if hook is not None:
        hook.icmp_error(quote, proto, type_, code, info)
    return ""


def icmpv6_echo_reply(skb: SkBuff, h: Icmp6hdr) -> bool:
    """Answer an echo request, from the address that was asked; tell whether an answer went out."""
    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    net = dev.net
    multicast = hdr.daddr[0] == 0xFF
    if multicast and net.ipv6.sysctl_icmpv6_echo_ignore_multicast:
        return False
    saddr = hdr.daddr
    anycast = not multicast and ipv6_chk_acast_addr(net, dev, saddr)
    if anycast and net.ipv6.sysctl_icmpv6_echo_ignore_anycast:
        return False
    if multicast or (anycast and not net.ipv6.sysctl_anycast_src_echo_reply):
        saddr = IN6ADDR_ANY
    fl6 = Flowi6(hdr.saddr, saddr, IPPROTO_ICMPV6, oif=_oif_for(hdr.saddr, skb))
    err, rt = ip6_dst_lookup_flow(net, fl6, None)
    if err or rt is None or not _allowed(net, rt, fl6.daddr, ICMPV6_ECHO_REPLY):
        return False
    icmpv6_push(net, Icmp6hdr(ICMPV6_ECHO_REPLY, 0, h.un), skb.payload(), fl6.saddr, fl6.daddr, rt, hdr.tclass)
    return True


def icmpv6_send(skb: SkBuff, type_: int, code: int, info: int) -> None:
    """Complain to the sender of a packet, unless RFC 4443 2.4 (e) or a rate limit forbids it. `info` is MTU or pointer."""
    hdr = skb.nh6
    dst = skb.dst
    dev = skb.dev if skb.dev is not None else (None if dst is None else dst.dev)
    if hdr is None or dev is None:
        return
    net = dev.net
    saddr = IN6ADDR_ANY
    if ipv6_chk_addr(net, hdr.daddr, dev, False) or ipv6_chk_acast_addr(net, dev, hdr.daddr):
        saddr = hdr.daddr
    if hdr.daddr[0] == 0xFF or skb.pkt_type != PACKET_HOST:
        if type_ != ICMPV6_PKT_TOOBIG and not (type_ == ICMPV6_PARAMPROB and code == ICMPV6_UNK_OPTION):
            return
        saddr = IN6ADDR_ANY
    if hdr.saddr == IN6ADDR_ANY or hdr.saddr[0] == 0xFF:
        return
    quoted = skb.l3_bytes()
    proto, offset = skip_exthdrs(hdr.nexthdr, quoted[IP6_HEADER_LEN:])
    if proto == IPPROTO_ICMPV6:
        at = IP6_HEADER_LEN + offset
        if at >= len(quoted) or not quoted[at] & 0x80 or quoted[at] == NDISC_REDIRECT:
            return
    if not _global_allowed(net, type_, dev.is_loopback()):
        return
    fl6 = Flowi6(hdr.saddr, saddr, IPPROTO_ICMPV6, oif=_oif_for(hdr.saddr, skb))
    err, rt = ip6_dst_lookup_flow(net, fl6, None)
    if err and _limited(net, type_):
        net.icmp6_statistics[ICMP6_MIB_RATELIMITHOST] += 1
    if err or rt is None or not _allowed(net, rt, fl6.daddr, type_):
        return
    room = min(rt.get_mtu(), _IPV6_MIN_MTU) - IP6_HEADER_LEN - 8
    icmpv6_push(net, Icmp6hdr(type_, code, info), quoted[:room], fl6.saddr, fl6.daddr, rt, 0)


def icmpv6_param_prob(skb: SkBuff, code: int, pointer: int, reason: str = dropreason.NOT_SPECIFIED) -> None:
    """Say which byte of a packet is wrong, and drop it."""
    icmpv6_send(skb, ICMPV6_PARAMPROB, code, pointer)
    kfree_skb_reason(skb, reason)


def icmpv6_push(
    net: Net, h: Icmp6hdr, payload: bytes, saddr: bytes, daddr: bytes, rt: Dst, tclass: int, hop_limit: int = -1, loop: bool = True
) -> int:
    """Build and send a message; without `loop` this host does not hear its own multicast."""
    from twinsock.kernel.net.ipv6.ip6_output import IPSKB6_IGNORE_DF, IPSKB6_NO_LOOP, ip6_make_flowlabel, ip6_send_skb

    skb = SkBuff(payload)
    skb.truesize = skb_head_truesize(len(payload) + 48 + 31)
    skb.h = h
    skb.dst = rt
    skb.ip_flags |= IPSKB6_IGNORE_DF if loop else IPSKB6_IGNORE_DF | IPSKB6_NO_LOOP
    hdr = Ipv6hdr(saddr, daddr, IPPROTO_ICMPV6)
    hdr.tclass = tclass
    if hop_limit >= 0:
        hdr.hop_limit = hop_limit
    else:
        hdr.hop_limit = 1 if daddr[0] == 0xFF else rt.hoplimit()
    if h.type <= ICMPV6_ECHO_REPLY:
        hdr.flow_label = ip6_make_flowlabel(net, Flowi6(daddr, saddr, IPPROTO_ICMPV6, h.type, h.code))
    skb.nh6 = hdr
    icmpv6_out_count(net, h.type)
    return ip6_send_skb(net, skb)


def icmpv6_out_count(net: Net, type_: int) -> None:
    """Count a sent message."""
    net.icmp6_statistics[ICMP6_MIB_OUTMSGS] += 1
    net.icmp6msg_statistics[256 + type_] += 1


def icmpv6_err_convert(type_: int, code: int) -> tuple[int, bool]:
    """Return (errno, fatal) for an error message, as sockets report it."""
    if type_ == ICMPV6_DEST_UNREACH:
        if code <= 6:
            return _UNREACH[code]
        return EPROTO, True
    if type_ == ICMPV6_PKT_TOOBIG:
        return EMSGSIZE, False
    if type_ == ICMPV6_PARAMPROB:
        return EPROTO, True
    if type_ == ICMPV6_TIME_EXCEED:
        return EHOSTUNREACH, False
    return EPROTO, False


_UNREACH: Final[list[tuple[int, bool]]] = [
    (ENETUNREACH, False),
    (EACCES, True),
    (EHOSTUNREACH, False),
    (EHOSTUNREACH, False),
    (ECONNREFUSED, True),
    (EACCES, True),
    (EACCES, True),
]


def _oif_for(addr: bytes, skb: SkBuff) -> int:
    """Return the device for answers to a link-local address."""
    return skb.iif if addr[0] == 0xFE and addr[1] & 0xC0 == 0x80 else 0


def _limited(net: Net, type_: int) -> bool:
    """Tell whether a message is subject to rate limits: icmp.ratemask, by default all errors but "packet too big"."""
    return any(low <= type_ <= high for low, high in net.ipv6.sysctl_icmpv6_ratemask)


def _global_allowed(net: Net, type_: int, loopback: bool) -> bool:
    state = net.ipv4.icmp
    if loopback or not _limited(net, type_) or state is None:
        return True
    return state.global_allow()


def _allowed(net: Net, rt: Rt6Info, daddr: bytes, type_: int) -> bool:
    """Take icmp.ratelimit ms from a destination's bucket, less behind shorter routes, icmpv6_xrlim_allow()."""
    if not _limited(net, type_) or rt.dev.is_loopback():
        return True
    timeout = net.ipv6.sysctl_icmpv6_ratelimit
    if rt.plen < 128:
        timeout >>= (128 - rt.plen) >> 5
    now = net.kernel.clock.now_ns
    peers = net.kernel.icmp6_peers
    key = net.inum.to_bytes(8, "big") + daddr
    peer = peers.get(key)
    if peer is None:
        peer = Icmp6Peer(now - 60_000 * NSEC_PER_MSEC)
        peers[key] = peer
    tokens = min(peer.tokens_ms + (now - peer.last_ns) // NSEC_PER_MSEC, _XRLIM_BURST_FACTOR * timeout)
    peer.last_ns = now
    allowed = tokens >= timeout
    peer.tokens_ms = tokens - timeout if allowed else tokens
    if allowed and net.ipv4.icmp is not None:
        net.ipv4.icmp.consume()
    if not allowed:
        net.icmp6_statistics[ICMP6_MIB_RATELIMITHOST] += 1
    return allowed
