"""IPv4 receiving, RFC 791, RFC 1122 3.2 (Linux: net/ipv4/ip_input.c).

`ip_rcv` checks the header, `ip_rcv_finish` asks routing, `ip_local_deliver` puts fragments together and calls the transport.
Left out: netfilter, early demultiplexing, multicast forwarding."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_MULTICAST
from twinsock.kernel.net.core.protocol import PacketType
from twinsock.kernel.net.core.skbuff import PACKET_HOST, PACKET_OTHERHOST, SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.net.ipv4.icmp import icmp_send
from twinsock.kernel.net.ipv4.ip_fragment import ip_defrag
from twinsock.kernel.net.ipv4.ip_options_rcv import ip_options_compile, ip_options_record
from twinsock.kernel.net.ipv4.route import ip_route_input
from twinsock.uapi.icmp import ICMP_DEST_UNREACH, ICMP_PARAMETERPROB, ICMP_PROT_UNREACH
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST
from twinsock.uapi.snmp import (
    IPSTATS_MIB_INBCASTOCTETS,
    IPSTATS_MIB_INBCASTPKTS,
    IPSTATS_MIB_INCSUMERRORS,
    IPSTATS_MIB_INDELIVERS,
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_INMCASTOCTETS,
    IPSTATS_MIB_INMCASTPKTS,
    IPSTATS_MIB_INNOECTPKTS,
    IPSTATS_MIB_INOCTETS,
    IPSTATS_MIB_INRECEIVES,
    IPSTATS_MIB_INTRUNCATEDPKTS,
    IPSTATS_MIB_INUNKNOWNPROTOS,
    LINUX_MIB_IPREVERSEPATHFILTER,
)
from twinsock.wire import ip as wire_ip
from twinsock.wire.ip import IP_MF, IP_OFFSET, IPPARSE_CHECKSUM, IPPARSE_HEADER, IPPARSE_TRUNCATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.dev import NetDevice


class IpPacketType(PacketType):
    """Takes EtherType 0x0800."""

    def func(self, skb: SkBuff, dev: NetDevice) -> int:
        """Receive an IPv4 packet."""
        return ip_rcv(skb, dev)


def ip_rcv(skb: SkBuff, dev: NetDevice) -> int:
    """Check a received packet and pass it on to routing."""
    net = dev.net
    if skb.pkt_type == PACKET_OTHERHOST:
        dev.stats.rx_otherhost_dropped += 1
        kfree_skb_reason(skb, dropreason.OTHERHOST)
        return 1
    mib = net.ip_statistics
    mib[IPSTATS_MIB_INRECEIVES] += 1
    mib[IPSTATS_MIB_INOCTETS] += skb.l3_len()
    iph = skb.nh4
    if iph is not None:
        mib[IPSTATS_MIB_INNOECTPKTS + (iph.tos & 3)] += skb.gso_segs or 1
    elif not _parse(skb, mib):
        return 1
    if skb.dst is None:
        reason = ip_route_input(skb, dev)
        if reason:
            if reason == dropreason.IP_RPFILTER:
                net.net_statistics[LINUX_MIB_IPREVERSEPATHFILTER] += 1
            kfree_skb_reason(skb, reason)
            return 1
    dst = skb.dst
    assert dst is not None
    iph = skb.nh4
    if iph is not None and iph.options and not ip_rcv_options(skb, dev):
        return 1
    if dst.type == RTN_MULTICAST:
        mib[IPSTATS_MIB_INMCASTPKTS] += 1
        mib[IPSTATS_MIB_INMCASTOCTETS] += skb.l3_len()
    elif dst.type == RTN_BROADCAST:
        mib[IPSTATS_MIB_INBCASTPKTS] += 1
        mib[IPSTATS_MIB_INBCASTOCTETS] += skb.l3_len()
    elif skb.pkt_type != PACKET_HOST and not dst.rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST):
        in_dev = dev.ip_ptr
        if in_dev is not None and in_dev.cnf.drop_unicast_in_l2_multicast:
            kfree_skb_reason(skb, dropreason.UNICAST_IN_L2_MULTICAST)
            return 1
    return dst.input(skb)


def ip_rcv_options(skb: SkBuff, dev: NetDevice) -> bool:
    """Check a packet's options and record what they ask for; False when it was dropped."""
    iph = skb.nh4
    dst = skb.dst
    assert iph is not None and dst is not None
    found = ip_options_compile(iph.options)
    if found.bad >= 0:
        dev.net.ip_statistics[IPSTATS_MIB_INHDRERRORS] += 1
        icmp_send(skb, ICMP_PARAMETERPROB, 0, found.bad)
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return False
    if found.source_route:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return False
    if (found.rr >= 0 or found.ts >= 0) and dst.type == RTN_LOCAL and not dev.is_loopback():
        skb.nh4 = iph.copy()
        skb.nh4.options = ip_options_record(iph.options, found, iph.daddr, dev.net.kernel.clock)
    return True


def _parse(skb: SkBuff, mib: list[int]) -> bool:
    """Parse the header of a packet that came as bytes, count and drop it when it is broken."""
    parsed = wire_ip.parse(skb.data, skb.offset, skb.len)
    iph = parsed.iph
    status = parsed.status
    if iph is not None:
        mib[IPSTATS_MIB_INNOECTPKTS + (iph.tos & 3)] += skb.gso_segs or 1
    if status == IPPARSE_TRUNCATED and iph is not None:
        mib[IPSTATS_MIB_INTRUNCATEDPKTS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_SMALL)
        return False
    if status == IPPARSE_CHECKSUM:
        mib[IPSTATS_MIB_INCSUMERRORS] += 1
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_CSUM)
        return False
    if iph is None or status == IPPARSE_HEADER:
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return False
    skb.nh4 = iph
    skb.len = parsed.tot_len
    skb.pull(parsed.header_len)
    return True


def ip_local_deliver(skb: SkBuff) -> int:
    """Put fragments together and hand the packet to its protocol."""
    iph = skb.nh4
    assert iph is not None and skb.dev is not None
    if iph.frag_off & (IP_MF | IP_OFFSET):
        whole = ip_defrag(skb.dev.net, skb)
        if whole is None:
            return 0
        skb = whole
        iph = skb.nh4
        assert iph is not None
    ip_protocol_deliver(skb, iph.protocol)
    return 0


def ip_protocol_deliver(skb: SkBuff, protocol: int) -> None:
    """ip_protocol_deliver_rcu(): offer a packet to raw sockets and to the protocol's handler."""
    dev = skb.dev
    assert dev is not None
    net = dev.net
    hook = net.kernel.raw_hook4
    mib = net.ip_statistics
    while True:
        raw = hook is not None and hook.local_deliver(skb, protocol)
        handler = net.inet_protos[protocol]
        if handler is None:
            if raw:
                mib[IPSTATS_MIB_INDELIVERS] += 1
                consume_skb(skb)
            else:
                mib[IPSTATS_MIB_INUNKNOWNPROTOS] += 1
                icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0)
                kfree_skb_reason(skb, dropreason.IP_NOPROTO)
            return
        ret = handler.handler(skb)
        if ret >= 0:
            mib[IPSTATS_MIB_INDELIVERS] += 1
            return
        protocol = -ret
