"""Putting IPv4 fragments together, RFC 791 3.2, RFC 815 (Linux: net/ipv4/ip_fragment.c)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import RTCF_LOCAL
from twinsock.kernel.net.core.skbuff import PACKET_HOST, SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.net.ipv4.icmp import icmp_send
from twinsock.kernel.net.ipv4.inet_fragment import FRAG_DUP, FRAG_OK, INET_FRAG_FIRST_IN, INET_FRAG_LAST_IN, FqdirBase, Fragment, FragQueue
from twinsock.uapi.icmp import ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED
from twinsock.uapi.snmp import (
    IPSTATS_MIB_REASMFAILS,
    IPSTATS_MIB_REASMOKS,
    IPSTATS_MIB_REASMOVERLAPS,
    IPSTATS_MIB_REASMREQDS,
    IPSTATS_MIB_REASMTIMEOUT,
)
from twinsock.wire.ip import IP_DF, IP_MF, IP_OFFSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_IPQ_SIZE: Final = 200  # what the kernel charges for the queue itself


class Ipq(FragQueue):
    """`struct ipq`: one datagram."""

    def __init__(self, fqdir: FqdirBase, saddr: int, daddr: int, ident: int, protocol: int, iif: int) -> None:
        super().__init__(fqdir)
        self.saddr = saddr
        self.daddr = daddr
        self.ident = ident
        self.protocol = protocol
        self.iif = iif
        self.max_df_size = 0

    def expire(self) -> None:
        """Count the failure, and tell the sender if its first fragment came, RFC 1122 3.3.2."""
        net = self.fqdir.net
        self.kill()
        net.ip_statistics[IPSTATS_MIB_REASMFAILS] += 1
        net.ip_statistics[IPSTATS_MIB_REASMTIMEOUT] += 1
        if self.flags & INET_FRAG_FIRST_IN and self.pieces:
            head = self.pieces[0].skb
            if head.dst is not None and head.dst.rt_flags & RTCF_LOCAL and head.pkt_type == PACKET_HOST:
                icmp_send(head, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0)
        self.discard(dropreason.FRAG_REASM_TIMEOUT)


def ip_defrag(net: Net, skb: SkBuff) -> SkBuff | None:
    """Take a fragment; give the whole packet back when this was the last one missing."""
    iph = skb.nh4
    fqdir = net.ipv4.fqdir
    assert iph is not None and fqdir is not None
    mib = net.ip_statistics
    mib[IPSTATS_MIB_REASMREQDS] += 1
    qp = _find(fqdir, skb)
    if qp is None:
        mib[IPSTATS_MIB_REASMFAILS] += 1
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return None
    if not _queue(net, qp, skb):
        return None
    if not qp.complete():
        return None
    return _reassemble(net, qp, skb)


def _find(fqdir: FqdirBase, skb: SkBuff) -> Ipq | None:
    iph = skb.nh4
    assert iph is not None
    for queue in fqdir.queues:
        if (
            isinstance(queue, Ipq)
            and queue.ident == iph.id
            and queue.saddr == iph.saddr
            and queue.daddr == iph.daddr
            and queue.protocol == iph.protocol
        ):
            return queue
    qp = Ipq(fqdir, iph.saddr, iph.daddr, iph.id, iph.protocol, skb.iif)
    return qp if fqdir.add(qp, _IPQ_SIZE) else None


def _queue(net: Net, qp: Ipq, skb: SkBuff) -> bool:
    """Enter a fragment; tell whether it was used."""
    iph = skb.nh4
    assert iph is not None
    mib = net.ip_statistics
    start = (iph.frag_off & IP_OFFSET) * 8
    more = bool(iph.frag_off & IP_MF)
    if skb.h is not None:
        data = skb.l4_bytes()
        skb.data, skb.offset, skb.len, skb.h = data, 0, len(data), None
    end = start + skb.len
    bad = False
    if not more:
        if end < qp.len or (qp.flags & INET_FRAG_LAST_IN and end != qp.len):
            bad = True
        else:
            qp.flags |= INET_FRAG_LAST_IN
            qp.len = end
    else:
        if end & 7:
            end &= ~7
            skb.len = end - start
        if end > qp.len:
            if qp.flags & INET_FRAG_LAST_IN:
                bad = True
            else:
                qp.len = end
    if bad or end == start:
        qp.kill()
        mib[IPSTATS_MIB_REASMFAILS] += 1
        qp.discard("")
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return False
    verdict = qp.insert(Fragment(skb, start, end))
    if verdict == FRAG_DUP:
        kfree_skb_reason(skb, dropreason.DUP_FRAG)
        return False
    if verdict != FRAG_OK:
        mib[IPSTATS_MIB_REASMOVERLAPS] += 1
        qp.kill()
        mib[IPSTATS_MIB_REASMFAILS] += 1
        qp.discard("")
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return False
    qp.ecn |= 1 << (iph.tos & 3)
    size = skb.len + iph.header_len()
    qp.max_size = max(qp.max_size, size)
    if iph.frag_off & IP_DF:
        qp.max_df_size = max(qp.max_df_size, size)
    return True


def _reassemble(net: Net, qp: Ipq, last: SkBuff) -> SkBuff | None:
    """Make one packet of all pieces, with the first one's header."""
    mib = net.ip_statistics
    first = qp.pieces[0].skb
    iph = first.nh4
    assert iph is not None
    ecn = _ecn_of(qp.ecn)
    if qp.len + iph.header_len() > 65535 or ecn < 0:
        qp.kill()
        mib[IPSTATS_MIB_REASMFAILS] += 1
        qp.discard("")
        return None
    whole = SkBuff(qp.join())
    for piece in qp.pieces:
        whole.truesize += piece.skb.truesize
    whole.dev = last.dev
    whole.protocol = last.protocol
    whole.pkt_type = first.pkt_type
    whole.dst = last.dst
    whole.iif = last.iif
    whole.mark = first.mark
    whole.tstamp_ns = last.tstamp_ns
    whole.mac_dest = first.mac_dest
    whole.mac_source = first.mac_source
    whole.frag_max_size = qp.max_size
    head = iph.copy()
    head.frag_off = IP_DF if qp.max_df_size == qp.max_size and iph.frag_off & IP_DF else 0
    head.tos |= ecn
    whole.nh4 = head
    qp.kill()
    mib[IPSTATS_MIB_REASMOKS] += 1
    for piece in qp.pieces:
        consume_skb(piece.skb)
    qp.pieces = []
    return whole


def _ecn_of(seen: int) -> int:
    """Combine the fragments' ECN fields, RFC 3168 5.3: the bits to add, or -1 for a mixture that is dropped.

    `seen` has bit 0 for not-ECT, 1 for ECT(1), 2 for ECT(0), 3 for CE."""
    if not seen & 8:
        return 0
    return -1 if seen & 1 else 3
