"""Extension headers of packets that arrived as bytes, RFC 8200 4 (Linux: net/ipv6/exthdrs.c).

Options are checked for what to do with unknown ones; routing headers with segments left are refused.
Left out: segment routing, mobility."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.ipv6.icmp import icmpv6_param_prob
from twinsock.uapi.icmpv6 import ICMPV6_HDR_FIELD, ICMPV6_UNK_OPTION
from twinsock.uapi.snmp import IPSTATS_MIB_INHDRERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_KNOWN_HOP: Final = (5, 49, 194)  # router alert, IOAM, jumbo
_MAX_OPTIONS: Final = 8
_SOURCE_ROUTES: Final = (3, 4)  # RPL, segment routing: off by sysctl


def ipv6_parse_options(skb: SkBuff, hop_by_hop: bool) -> int:
    """Check a hop-by-hop or destination options header at the start of the payload and move it behind the fixed header.

    Returns the next header, or -1 when the packet was dropped."""
    net = _net(skb)
    size = (skb.data[skb.offset + 1] + 1) * 8 if skb.len >= 8 else 0
    if size == 0 or size > skb.len:
        net.ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IPV6_BAD_EXTHDR)
        return -1
    data = skb.data[skb.offset : skb.offset + size]
    offset = 2
    count = 0
    padding = 0
    while offset < size:
        kind = data[offset]
        if kind == 0:
            padding += 1
            offset += 1
            if padding > 7:
                return _bad(skb)
            continue
        if offset + 2 > size or offset + 2 + data[offset + 1] > size:
            return _bad(skb)
        length = data[offset + 1] + 2
        if kind == 1:
            padding += length
            if padding > 7 or any(data[offset + 2 : offset + length]):
                return _bad(skb)
        else:
            padding = 0
            count += 1
            if count > _MAX_OPTIONS:
                return _bad(skb)
            if not (hop_by_hop and kind in _KNOWN_HOP) and not _unknown(skb, kind, offset):
                return -1
        offset += length
    return _consume(skb, data)


def ipv6_parse_routing(skb: SkBuff) -> int:
    """Step over a routing header without segments left: the next header, or -1 when the packet was refused."""
    net = _net(skb)
    size = (skb.data[skb.offset + 1] + 1) * 8 if skb.len >= 8 else 0
    if size == 0 or size > skb.len:
        net.ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IPV6_BAD_EXTHDR)
        return -1
    data = skb.data[skb.offset : skb.offset + size]
    if data[2] in _SOURCE_ROUTES:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return -1
    if data[3] != 0:
        net.ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        icmpv6_param_prob(skb, ICMPV6_HDR_FIELD, _header_offset(skb) + 2)
        return -1
    return _consume(skb, data)


def _unknown(skb: SkBuff, kind: int, offset: int) -> bool:
    """Do what the two high bits of an unknown option ask for, RFC 8200 4.2; tell whether to go on."""
    action = kind >> 6
    if action == 0:
        return True
    hdr = skb.nh6
    assert hdr is not None
    _net(skb).ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
    if action == 2 or (action == 3 and hdr.daddr[0] != 0xFF):
        icmpv6_param_prob(skb, ICMPV6_UNK_OPTION, _header_offset(skb) + offset, dropreason.UNHANDLED_PROTO)
    else:
        kfree_skb_reason(skb, dropreason.UNHANDLED_PROTO)
    return False


def _bad(skb: SkBuff) -> int:
    _net(skb).ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
    kfree_skb_reason(skb, dropreason.IP_INHDR)
    return -1


def _consume(skb: SkBuff, data: bytes) -> int:
    hdr = skb.nh6
    assert hdr is not None
    hdr.exthdrs += data
    skb.pull(len(data))
    return data[0]


def _header_offset(skb: SkBuff) -> int:
    hdr = skb.nh6
    assert hdr is not None
    return hdr.header_len()


def _net(skb: SkBuff) -> Net:
    assert skb.dev is not None
    return skb.dev.net
