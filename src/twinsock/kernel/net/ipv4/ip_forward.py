"""Passing IPv4 packets on, RFC 1812 5 (Linux: net/ipv4/ip_forward.c). Left out: sending redirects (D-ip-3)."""

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.skbuff import IPSKB_FORWARDED, PACKET_HOST, SkBuff, kfree_skb_reason, skb_orphan
from twinsock.kernel.net.ipv4.devinet import inet_select_addr
from twinsock.kernel.net.ipv4.icmp import icmp_send
from twinsock.kernel.net.ipv4.ip_options_rcv import ip_options_compile, ip_options_record
from twinsock.kernel.net.ipv4.ip_output import IPSKB_IGNORE_DF, ip_dst_mtu_maybe_forward, ip_output
from twinsock.kernel.net.ipv4.route import Rtable
from twinsock.uapi.errno import EACCES, EHOSTUNREACH, ENETUNREACH
from twinsock.uapi.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_EXC_TTL,
    ICMP_FRAG_NEEDED,
    ICMP_HOST_UNREACH,
    ICMP_NET_UNREACH,
    ICMP_PKT_FILTERED,
    ICMP_TIME_EXCEEDED,
)
from twinsock.uapi.rtnetlink import RT_SCOPE_UNIVERSE
from twinsock.uapi.snmp import (
    IPSTATS_MIB_FORWDATAGRAMS,
    IPSTATS_MIB_FRAGFAILS,
    IPSTATS_MIB_INADDRERRORS,
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_INNOROUTES,
)
from twinsock.wire.ip import IP_DF

_TOS2PRIO = (0, 1, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)


def ip_forward(skb: SkBuff) -> int:
    """Decrement the TTL and send a packet along its route."""
    rt = skb.dst
    iph = skb.nh4
    assert isinstance(rt, Rtable) and iph is not None and skb.dev is not None
    net = skb.dev.net
    if skb.pkt_type != PACKET_HOST:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 1
    skb_orphan(skb)
    if iph.ttl <= 1:
        net.ip_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0)
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return 1
    skb.ip_flags |= IPSKB_FORWARDED
    net.ip_statistics[IPSTATS_MIB_FORWDATAGRAMS] += 1
    mtu = ip_dst_mtu_maybe_forward(rt, skb)
    if _exceeds(skb, mtu):
        net.ip_statistics[IPSTATS_MIB_FRAGFAILS] += 1
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
        return 1
    head = iph.copy()
    head.ttl = iph.ttl - 1
    if iph.options:
        found = ip_options_compile(iph.options)
        addr = inet_select_addr(rt.dev, rt.nexthop(), RT_SCOPE_UNIVERSE, net)
        head.options = ip_options_record(iph.options, found, addr, net.kernel.clock)
    skb.nh4 = head
    skb.priority = _TOS2PRIO[head.tos >> 1 & 15]
    return ip_output(skb)


def _exceeds(skb: SkBuff, mtu: int) -> bool:
    iph = skb.nh4
    assert iph is not None
    if not iph.frag_off & IP_DF or skb.ip_flags & IPSKB_IGNORE_DF:
        return False
    size = skb.l3_len()
    if skb.gso_size:
        size = size - skb.len + skb.gso_size
    return size > mtu


def ip_error(skb: SkBuff) -> int:
    """Refuse a packet that no route takes: count it, and as a router say so."""
    rt = skb.dst
    assert isinstance(rt, Rtable) and skb.dev is not None
    dev = skb.dev
    mib = dev.net.ip_statistics
    in_dev = dev.ip_ptr
    error = rt.error
    if error == 0 or in_dev is None:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    reason = dropreason.NOT_SPECIFIED
    if not in_dev.forwarding():
        if error == EHOSTUNREACH:
            mib[IPSTATS_MIB_INADDRERRORS] += 1
            reason = dropreason.IP_INADDRERRORS
        elif error == ENETUNREACH:
            mib[IPSTATS_MIB_INNOROUTES] += 1
            reason = dropreason.IP_INNOROUTES
    elif error == EHOSTUNREACH:
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0)
    elif error == ENETUNREACH:
        mib[IPSTATS_MIB_INNOROUTES] += 1
        reason = dropreason.IP_INNOROUTES
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_NET_UNREACH, 0)
    elif error == EACCES:
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PKT_FILTERED, 0)
    kfree_skb_reason(skb, reason)
    return 0
