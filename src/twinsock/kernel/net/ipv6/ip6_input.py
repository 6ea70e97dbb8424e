"""IPv6 receiving, RFC 8200 (Linux: net/ipv6/ip6_input.c).

`ipv6_rcv` checks the header, routing decides, `ip6_input` walks the extension headers and calls the transport."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.protocol import PacketType
from twinsock.kernel.net.core.skbuff import PACKET_HOST, PACKET_LOOPBACK, PACKET_OTHERHOST, SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.net.ipv6.addrconf import LOOPBACK6
from twinsock.kernel.net.ipv6.exthdrs import ipv6_parse_options, ipv6_parse_routing
from twinsock.kernel.net.ipv6.icmp import icmpv6_send
from twinsock.kernel.net.ipv6.mcast import ipv6_chk_mcast_addr
from twinsock.kernel.net.ipv6.reassembly import ipv6_frag_rcv
from twinsock.kernel.net.ipv6.route import Rt6Info, ip6_route_input
from twinsock.uapi.errno import EACCES, EINVAL
from twinsock.uapi.icmpv6 import (
    ICMPV6_ADM_PROHIBITED,
    ICMPV6_DEST_UNREACH,
    ICMPV6_NOROUTE,
    ICMPV6_PARAMPROB,
    ICMPV6_UNK_NEXTHDR,
)
from twinsock.uapi.snmp import (
    IPSTATS_MIB_INADDRERRORS,
    IPSTATS_MIB_INDELIVERS,
    IPSTATS_MIB_INDISCARDS,
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_INMCASTOCTETS,
    IPSTATS_MIB_INMCASTPKTS,
    IPSTATS_MIB_INNOECTPKTS,
    IPSTATS_MIB_INNOROUTES,
    IPSTATS_MIB_INOCTETS,
    IPSTATS_MIB_INRECEIVES,
    IPSTATS_MIB_INTRUNCATEDPKTS,
    IPSTATS_MIB_INUNKNOWNPROTOS,
    IPSTATS_MIB_OUTNOROUTES,
)
from twinsock.wire import ip6 as wire_ip6
from twinsock.wire.ip6 import IP6_HEADER_LEN, NEXTHDR_DEST, NEXTHDR_FRAGMENT, NEXTHDR_HOP, NEXTHDR_NONE, NEXTHDR_ROUTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net


class Ip6PacketType(PacketType):
    """Takes EtherType 0x86DD."""

    def func(self, skb: SkBuff, dev: NetDevice) -> int:
        """Receive an IPv6 packet."""
        return ipv6_rcv(skb, dev)


def ipv6_rcv(skb: SkBuff, dev: NetDevice) -> int:
    """Check a received packet and pass it on to routing."""
    net = dev.net
    if skb.pkt_type == PACKET_OTHERHOST:
        dev.stats.rx_otherhost_dropped += 1
        kfree_skb_reason(skb, dropreason.OTHERHOST)
        return 1
    mib = net.ip6_statistics
    mib[IPSTATS_MIB_INRECEIVES] += 1
    mib[IPSTATS_MIB_INOCTETS] += skb.l3_len()
    idev = dev.ip6_ptr
    if idev is None or not idev.enabled():
        mib[IPSTATS_MIB_INDISCARDS] += 1
        kfree_skb_reason(skb, dropreason.IPV6DISABLED)
        return 1
    parsed = skb.nh6 is None
    if parsed and not _parse(net, skb):
        return 1
    hdr = skb.nh6
    assert hdr is not None
    if not parsed:
        mib[IPSTATS_MIB_INNOECTPKTS + (hdr.tclass & 3)] += skb.gso_segs or 1
    if not _addresses_ok(skb, dev):
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return 1
    if parsed and hdr.nexthdr == NEXTHDR_HOP and ipv6_parse_options(skb, True) < 0:
        return 1
    dst = skb.dst
    if dst is None:
        ip6_route_input(skb, dev)
        dst = skb.dst
        assert dst is not None
    elif isinstance(dst, Rt6Info):
        skb.iif = dst.idev_ifindex
    return dst.input(skb)


def _parse(net: Net, skb: SkBuff) -> bool:
    """Parse the header of a packet that came as bytes, count and drop it when it is broken."""
    hdr, payload_len = wire_ip6.parse(skb.data, skb.offset, skb.len)
    if hdr is None:
        net.ip6_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return False
    net.ip6_statistics[IPSTATS_MIB_INNOECTPKTS + (hdr.tclass & 3)] += skb.gso_segs or 1
    if payload_len or hdr.nexthdr != NEXTHDR_HOP:
        if payload_len + IP6_HEADER_LEN > skb.len:
            net.ip6_statistics[IPSTATS_MIB_INTRUNCATEDPKTS] += 1
            kfree_skb_reason(skb, dropreason.PKT_TOO_SMALL)
            return False
        skb.len = payload_len + IP6_HEADER_LEN
    skb.nh6 = hdr
    skb.pull(IP6_HEADER_LEN)
    return True


def _addresses_ok(skb: SkBuff, dev: NetDevice) -> bool:
    """Refuse what may not be on a wire, RFC 4291 2.5.3, 2.7."""
    hdr = skb.nh6
    assert hdr is not None
    if not dev.is_loopback() and (hdr.saddr == LOOPBACK6 or hdr.daddr == LOOPBACK6) and skb.pkt_type != PACKET_LOOPBACK:
        return False
    if hdr.daddr[0] == 0xFF:
        scope = hdr.daddr[1] & 15
        if scope == 0 or (scope == 1 and not dev.is_loopback() and skb.pkt_type != PACKET_LOOPBACK):
            return False
    return hdr.saddr[0] != 0xFF


def ip6_mc_input(skb: SkBuff) -> int:
    """Deliver a multicast packet if the device listens to its group."""
    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    mib = dev.net.ip6_statistics
    mib[IPSTATS_MIB_INMCASTPKTS] += 1
    mib[IPSTATS_MIB_INMCASTOCTETS] += skb.l3_len()
    idev = dev.ip6_ptr
    if idev is None or not ipv6_chk_mcast_addr(idev, hdr.daddr):
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    return ip6_input(skb)


def ip6_input(skb: SkBuff) -> int:
    """Walk the extension headers and hand the packet to its protocol, ip6_protocol_deliver_rcu()."""
    assert skb.dev is not None
    net = skb.dev.net
    hdr = skb.nh6
    assert hdr is not None
    nexthdr = skb.transport()
    pointer = _pointer_of(skb)
    while skb.h is None and nexthdr in (NEXTHDR_DEST, NEXTHDR_ROUTING, NEXTHDR_FRAGMENT):
        if nexthdr == NEXTHDR_FRAGMENT:
            whole = ipv6_frag_rcv(net, skb)
            if whole is None:
                return 0
            skb = whole
            hdr = skb.nh6
            assert hdr is not None
        elif nexthdr == NEXTHDR_DEST:
            if ipv6_parse_options(skb, False) < 0:
                return 0
        elif ipv6_parse_routing(skb) < 0:
            return 0
        nexthdr = skb.transport()
        pointer = _pointer_of(skb)
    mib = net.ip6_statistics
    hook = net.kernel.raw_hook6
    while True:
        raw = hook is not None and nexthdr >= 0 and hook.local_deliver(skb, nexthdr)
        handler = net.inet6_protos[nexthdr] if nexthdr >= 0 else None
        if handler is None:
            if raw or nexthdr == NEXTHDR_NONE:
                mib[IPSTATS_MIB_INDELIVERS] += 1
                if nexthdr == NEXTHDR_NONE:
                    kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
                else:
                    consume_skb(skb)
            else:
                mib[IPSTATS_MIB_INUNKNOWNPROTOS] += 1
                icmpv6_send(skb, ICMPV6_PARAMPROB, ICMPV6_UNK_NEXTHDR, pointer)
                kfree_skb_reason(skb, dropreason.IP_NOPROTO)
            return 0
        ret = handler.handler(skb)
        if ret >= 0:
            mib[IPSTATS_MIB_INDELIVERS] += 1
            return 0
        nexthdr = -ret


def _pointer_of(skb: SkBuff) -> int:
    """Return where the field stands that names the transport, for "unrecognized next header"."""
    hdr = skb.nh6
    assert hdr is not None
    exthdrs = hdr.exthdrs
    if not exthdrs:
        return 6
    offset = 0
    while offset + 8 <= len(exthdrs):
        size = (exthdrs[offset + 1] + 1) * 8
        if offset + size >= len(exthdrs):
            break
        offset += size
    return IP6_HEADER_LEN + offset


def ip6_pkt_drop(skb: SkBuff, error: int, outgoing: bool) -> int:
    """Refuse a packet that no route takes, ip6_pkt_drop(): count, tell the sender, drop."""
    dst = skb.dst
    dev = skb.dev if skb.dev is not None else (None if dst is None else dst.dev)
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    mib = dev.net.ip6_statistics
    if error == EINVAL:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    if outgoing:
        mib[IPSTATS_MIB_OUTNOROUTES] += 1
    else:
        conf = dev.net.ipv6.devconf_all
        if hdr.daddr == bytes(16) or (skb.pkt_type == PACKET_HOST and conf is None):
            mib[IPSTATS_MIB_INADDRERRORS] += 1
        else:
            mib[IPSTATS_MIB_INNOROUTES] += 1
    icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADM_PROHIBITED if error == EACCES else ICMPV6_NOROUTE, 0)
    kfree_skb_reason(skb, dropreason.IP_OUTNOROUTES if outgoing else dropreason.IP_INNOROUTES)
    return 0
