"""Putting IPv6 fragments together, RFC 8200 4.5, RFC 5722 (Linux: net/ipv6/reassembly.c)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.net.ipv4.inet_fragment import FRAG_DUP, FRAG_OK, INET_FRAG_FIRST_IN, INET_FRAG_LAST_IN, FqdirBase, Fragment, FragQueue
from twinsock.kernel.net.ipv6.icmp import icmpv6_param_prob, icmpv6_send
from twinsock.uapi.icmpv6 import ICMPV6_EXC_FRAGTIME, ICMPV6_HDR_FIELD, ICMPV6_TIME_EXCEED
from twinsock.uapi.snmp import (
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_REASMFAILS,
    IPSTATS_MIB_REASMOKS,
    IPSTATS_MIB_REASMOVERLAPS,
    IPSTATS_MIB_REASMREQDS,
    IPSTATS_MIB_REASMTIMEOUT,
)
from twinsock.wire.ip6 import NEXTHDR_FRAGMENT, parse_frag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_FQ_SIZE: Final = 184  # what the kernel charges for the queue itself


class Fq6(FragQueue):
    """`struct frag_queue`: one datagram."""

    def __init__(self, fqdir: FqdirBase, saddr: bytes, daddr: bytes, ident: int, nexthdr: int, iif: int) -> None:
        super().__init__(fqdir)
        self.saddr = saddr
        self.daddr = daddr
        self.ident = ident
        self.nexthdr = nexthdr
        self.iif = iif

    def expire(self) -> None:
        """Count the failure, and tell the sender if its first fragment came."""
        net = self.fqdir.net
        self.kill()
        net.ip6_statistics[IPSTATS_MIB_REASMFAILS] += 1
        net.ip6_statistics[IPSTATS_MIB_REASMTIMEOUT] += 1
        if self.flags & INET_FRAG_FIRST_IN and self.pieces:
            icmpv6_send(self.pieces[0].skb, ICMPV6_TIME_EXCEED, ICMPV6_EXC_FRAGTIME, 0)
        self.discard(dropreason.FRAG_REASM_TIMEOUT)


def ipv6_frag_rcv(net: Net, skb: SkBuff) -> SkBuff | None:
    """Take a fragment, whose fragment header starts the payload; give the whole packet back when nothing is missing."""
    hdr = skb.nh6
    fqdir = net.ipv6.fqdir
    assert hdr is not None and fqdir is not None
    mib = net.ip6_statistics
    mib[IPSTATS_MIB_REASMREQDS] += 1
    fh = parse_frag(skb.data, skb.offset) if skb.len >= 8 else None
    if fh is None:
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        icmpv6_param_prob(skb, ICMPV6_HDR_FIELD, hdr.header_len())
        return None
    if fh.offset == 0 and not fh.more:
        # RFC 6946: an atomic fragment is a whole packet.
        hdr.exthdrs += fh.emit()
        skb.pull(8)
        mib[IPSTATS_MIB_REASMOKS] += 1
        return skb
    fq = _find(fqdir, skb, fh.ident, fh.nexthdr)
    if fq is None:
        mib[IPSTATS_MIB_REASMFAILS] += 1
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return None
    hdr.exthdrs += skb.data[skb.offset : skb.offset + 8]
    skb.pull(8)
    if not _queue(net, fq, skb, fh.offset, fh.more):
        return None
    return _reassemble(net, fq, skb) if fq.complete() else None


def _find(fqdir: FqdirBase, skb: SkBuff, ident: int, nexthdr: int) -> Fq6 | None:
    hdr = skb.nh6
    assert hdr is not None
    for queue in fqdir.queues:
        if isinstance(queue, Fq6) and queue.ident == ident and queue.saddr == hdr.saddr and queue.daddr == hdr.daddr:
            return queue
    fq = Fq6(fqdir, hdr.saddr, hdr.daddr, ident, nexthdr, skb.iif)
    return fq if fqdir.add(fq, _FQ_SIZE) else None


def _queue(net: Net, fq: Fq6, skb: SkBuff, start: int, more: bool) -> bool:
    mib = net.ip6_statistics
    hdr = skb.nh6
    assert hdr is not None
    end = start + skb.len
    if end > 65535:
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        icmpv6_param_prob(skb, ICMPV6_HDR_FIELD, hdr.header_len() - 6)
        return False
    bad = False
    if not more:
        if end < fq.len or (fq.flags & INET_FRAG_LAST_IN and end != fq.len):
            bad = True
        else:
            fq.flags |= INET_FRAG_LAST_IN
            fq.len = end
    else:
        if end & 7:
            mib[IPSTATS_MIB_INHDRERRORS] += 1
            icmpv6_param_prob(skb, ICMPV6_HDR_FIELD, 4)
            return False
        if end > fq.len:
            if fq.flags & INET_FRAG_LAST_IN:
                bad = True
            else:
                fq.len = end
    if bad or end == start:
        _fail(net, fq, skb)
        return False
    verdict = fq.insert(Fragment(skb, start, end))
    if verdict == FRAG_DUP:
        kfree_skb_reason(skb, dropreason.DUP_FRAG)
        return False
    if verdict != FRAG_OK:
        # RFC 5722: an overlap makes the whole datagram suspect.
        mib[IPSTATS_MIB_REASMOVERLAPS] += 1
        _fail(net, fq, skb)
        return False
    fq.max_size = max(fq.max_size, skb.len + hdr.header_len())
    if start == 0:
        fq.nexthdr = int(skb.data[skb.offset - 8])
    return True


def _fail(net: Net, fq: Fq6, skb: SkBuff) -> None:
    fq.kill()
    net.ip6_statistics[IPSTATS_MIB_REASMFAILS] += 1
    fq.discard("")
    kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)


def _reassemble(net: Net, fq: Fq6, last: SkBuff) -> SkBuff | None:
    first = fq.pieces[0].skb
    hdr = first.nh6
    assert hdr is not None
    whole = SkBuff(fq.join())
    for piece in fq.pieces:
        whole.truesize += piece.skb.truesize
    whole.dev = last.dev
    whole.protocol = last.protocol
    whole.pkt_type = first.pkt_type
    whole.dst = last.dst
    whole.iif = last.iif
    whole.mark = first.mark
    whole.tstamp_ns = last.tstamp_ns
    whole.frag_max_size = fq.max_size
    head = hdr.copy()
    whole.nh6 = head
    head.exthdrs = head.exthdrs[:-8]
    if head.exthdrs:
        head.exthdrs = _patch_nexthdr(head.exthdrs, fq.nexthdr)
    else:
        head.nexthdr = fq.nexthdr
    fq.kill()
    net.ip6_statistics[IPSTATS_MIB_REASMOKS] += 1
    for piece in fq.pieces:
        consume_skb(piece.skb)
    fq.pieces = []
    return whole


def _patch_nexthdr(exthdrs: bytes, nexthdr: int) -> bytes:
    """Make the last header before the fragment header point at what the fragment header pointed at."""
    offset = 0
    while offset + 8 <= len(exthdrs):
        size = (exthdrs[offset + 1] + 1) * 8
        if exthdrs[offset] == NEXTHDR_FRAGMENT or offset + size >= len(exthdrs):
            return exthdrs[:offset] + bytes((nexthdr,)) + exthdrs[offset + 1 :]
        offset += size
    return exthdrs
