"""IPv6 sending, forwarding, fragmenting, RFC 8200 (Linux: net/ipv6/ip6_output.c).

ip6_xmit (TCP) | ip6_send_unicast_reply (RST) | ip6_make_skb, ip6_push_pending_frames (datagrams)
    > ip6_local_out > Rt6Info.output > ip6_output > ip6_fragment > ip6_finish_output2 > neighbour > device"""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import NET_XMIT_CN, dev_loopback_xmit, dev_queue_xmit
from twinsock.kernel.net.core.dst import Dst
from twinsock.kernel.net.core.skbuff import (
    IPSKB_FORWARDED,
    PACKET_HOST,
    SkBuff,
    consume_skb,
    kfree_skb_reason,
    skb_clone,
    skb_head_truesize,
    skb_orphan,
)
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.core.tstamp import sock_tx_timestamp
from twinsock.kernel.net.ipv4.ip_output import (
    IPSKB_MCAST_LOOP,
    IPSKB_USE_DEV_MTU,
    InetCork,
    IpcmCookie,
    ip_flush_pending_frames,
    last_piece_at,
    pieces_exceed,
)
from twinsock.kernel.net.ipv6.icmp import icmpv6_send
from twinsock.kernel.net.ipv6.mcast import ipv6_chk_mcast_addr
from twinsock.kernel.net.ipv6.route import IPV6_MIN_MTU, Flowi6, Rt6Info, ip6_dst_lookup_flow
from twinsock.uapi.errno import EINVAL, EMSGSIZE, ENOBUFS
from twinsock.uapi.icmpv6 import (
    ICMPV6_DEST_UNREACH,
    ICMPV6_EXC_HOPLIMIT,
    ICMPV6_NOT_NEIGHBOUR,
    ICMPV6_PKT_TOOBIG,
    ICMPV6_TIME_EXCEED,
)
from twinsock.uapi.if_ import ETH_P_IPV6
from twinsock.uapi.in6 import (
    IPV6_PMTUDISC_DO,
    IPV6_PMTUDISC_OMIT,
    IPV6_PMTUDISC_PROBE,
)
from twinsock.uapi.snmp import (
    IP6STATS_MIB_INTOOBIGERRORS,
    IPSTATS_MIB_FORWDATAGRAMS,
    IPSTATS_MIB_FRAGCREATES,
    IPSTATS_MIB_FRAGFAILS,
    IPSTATS_MIB_FRAGOKS,
    IPSTATS_MIB_INADDRERRORS,
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_OUTDISCARDS,
    IPSTATS_MIB_OUTMCASTOCTETS,
    IPSTATS_MIB_OUTMCASTPKTS,
    IPSTATS_MIB_OUTOCTETS,
    IPSTATS_MIB_OUTREQUESTS,
    IPSTATS_MIB_OUTTRANSMITS,
)
from twinsock.wire.ip6 import IP6_HEADER_LEN, NEXTHDR_FRAGMENT, FragHdr, Ipv6hdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.inet_sock import InetSock
    from twinsock.wire.l4 import L4Header

IPSKB6_IGNORE_DF: Final = 0x10000  # ours, in SkBuff.ip_flags: may be fragmented
IPSKB6_NO_LOOP: Final = 0x80000  # ours: a multicast that this host must not hear
_MC6_LOOP_BIT: Final = 20  # INET_FLAGS_MC6_LOOP


def ip6_xmit(sk: InetSock, skb: SkBuff, fl6: Flowi6, mark: int, opt: bytes | None, tclass: int, priority: int) -> int:
    """Send a packet of a connection (`skb.h` and `skb.dst` are set): 0 or -errno."""
    rt = skb.dst
    assert rt is not None
    net = rt.net
    hdr = Ipv6hdr(fl6.saddr, fl6.daddr, fl6.proto)
    pinfo = sk.pinet6
    hop_limit = -1 if pinfo is None else pinfo.hop_limit
    hdr.hop_limit = hop_limit if hop_limit >= 0 else rt.hoplimit()
    hdr.tclass = tclass
    hdr.flow_label = ip6_make_flowlabel(net, fl6)
    if opt:
        hdr.exthdrs = opt
    skb.nh6 = hdr
    skb.protocol = ETH_P_IPV6
    skb.priority = priority
    skb.mark = mark
    mtu = rt.get_mtu()
    if skb.l3_len() <= mtu or skb.ip_flags & IPSKB6_IGNORE_DF or skb.gso_size:
        return ip6_local_out(net, skb)
    net.ip6_statistics[IPSTATS_MIB_FRAGFAILS] += 1
    kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
    return -EMSGSIZE


def inet6_csk_xmit(sk: InetSock, skb: SkBuff) -> int:
    """Send a packet of a connected socket along its route: 0 or -errno."""
    from twinsock.kernel.net.ipv4.route import sk_dst_check, sk_dst_set

    fl6 = Flowi6(sk.sk_v6_daddr, sk.sk_v6_rcv_saddr, sk.sk_protocol, sk.inet_sport, sk.sk_dport, sk.sk_bound_dev_if)
    fl6.mark = sk.sk_mark
    pinfo = sk.pinet6
    if pinfo is not None:
        fl6.saddr = pinfo.saddr if pinfo.saddr != IN6ADDR_ANY else sk.sk_v6_rcv_saddr
        fl6.flowlabel = pinfo.flow_label
    rt = sk_dst_check(sk)
    if rt is None:
        err, found = ip6_dst_lookup_flow(sk.sk_net, fl6, sk)
        if found is None:
            kfree_skb_reason(skb, dropreason.IP_OUTNOROUTES)
            return err
        rt = found
        sk_dst_set(sk, rt)
    skb.dst = rt
    return ip6_xmit(sk, skb, fl6, sk.sk_mark, None, 0 if pinfo is None else pinfo.tclass, sk.sk_priority)


def ip6_send_unicast_reply(
    net: Net, h: L4Header, protocol: int, daddr: bytes, saddr: bytes, oif: int, tclass: int, flow_label: int = 0, mark: int = 0
) -> int:
    """Answer a packet without a socket (RST, ACK of a mini-socket): 0 or -errno."""
    fl6 = Flowi6(daddr, saddr, protocol, h.source, h.dest, oif)
    fl6.mark = mark
    err, rt = ip6_dst_lookup_flow(net, fl6, None)
    if rt is None:
        return err
    skb = SkBuff()
    skb.truesize = skb_head_truesize(128)
    skb.h = h
    skb.dst = rt
    skb.mark = mark
    hdr = Ipv6hdr(saddr, daddr, protocol)
    hdr.tclass = tclass
    fl6.flowlabel = flow_label
    hdr.flow_label = ip6_make_flowlabel(net, fl6)
    hdr.hop_limit = rt.hoplimit()
    skb.nh6 = hdr
    return ip6_local_out(net, skb)


def ip6_make_flowlabel(net: Net, fl6: Flowi6) -> int:
    """Return the flow label: the given one, else one made of the flow's addresses and ports, RFC 6437 3."""
    if fl6.flowlabel & 0xFFFFF or not net.ipv6.sysctl_auto_flowlabels:
        return fl6.flowlabel & 0xFFFFF
    value = int.from_bytes(fl6.saddr[8:], "big") ^ int.from_bytes(fl6.daddr[8:], "big") * 3 ^ int.from_bytes(fl6.daddr[:8], "big")
    value ^= (fl6.proto << 32 | fl6.sport << 16 | fl6.dport) * 0x9E3779B1 ^ net.kernel.hash_secret
    value = (value & 0xFFFFFFFF) * 0x85EBCA77 & 0xFFFFFFFFFFFF
    return (value ^ value >> 23) & 0xFFFFF or 1


def ip6_local_out(net: Net, skb: SkBuff) -> int:
    """Send a packet that has its header and route: 0, or -errno, or NET_XMIT_*."""
    net.ip6_statistics[IPSTATS_MIB_OUTREQUESTS] += 1
    skb.protocol = ETH_P_IPV6
    dst = skb.dst
    assert dst is not None
    return dst.output(skb)


def ip6_send_skb(net: Net, skb: SkBuff) -> int:
    """Send a datagram: 0 or -errno; -ENOBUFS when a queue dropped it, and OutDiscards counts."""
    err = ip6_local_out(net, skb)
    if err > 0:
        err = 0 if err == NET_XMIT_CN else -ENOBUFS
    if err:
        net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
    return err


def ip6_output(skb: SkBuff) -> int:
    """Send along a route, in fragments if need be."""
    dst = skb.dst
    assert dst is not None
    dev = dst.dev
    skb.dev = dev
    idev = dev.ip6_ptr
    if idev is None or not idev.enabled():
        dev.net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        kfree_skb_reason(skb, dropreason.IPV6DISABLED)
        return 0
    mtu = idev.mtu6 if skb.ip_flags & (IPSKB_FORWARDED | IPSKB_USE_DEV_MTU) else dst.get_mtu()
    if not skb.gso_size and (skb.l3_len() > mtu or (skb.frag_max_size and skb.l3_len() > skb.frag_max_size)):
        return ip6_fragment(dev.net, skb, mtu)
    return ip6_finish_output2(dev.net, skb)


def ip6_finish_output2(net: Net, skb: SkBuff) -> int:
    """Count a packet, loop multicasts back, and give it to the neighbour or straight to the device."""
    dst = skb.dst
    hdr = skb.nh6
    assert isinstance(dst, Rt6Info) and hdr is not None
    dev = dst.dev
    skb.dev = dev
    mib = net.ip6_statistics
    size = skb.l3_len()
    mib[IPSTATS_MIB_OUTTRANSMITS] += 1
    mib[IPSTATS_MIB_OUTOCTETS] += size
    if hdr.daddr[0] == 0xFF:
        idev = dev.ip6_ptr
        wants = not skb.ip_flags & IPSKB6_NO_LOOP and (skb.sk is None or skb.ip_flags & IPSKB_MCAST_LOOP)
        if not dev.is_loopback() and wants and idev is not None and ipv6_chk_mcast_addr(idev, hdr.daddr):
            copy = skb_clone(skb)
            copy.dst = None
            dev_loopback_xmit(copy)
            if hdr.hop_limit == 0:
                mib[IPSTATS_MIB_OUTDISCARDS] += 1
                consume_skb(skb)
                return 0
        mib[IPSTATS_MIB_OUTMCASTPKTS] += 1
        mib[IPSTATS_MIB_OUTMCASTOCTETS] += size
        if hdr.daddr[1] & 15 <= 1 and not dev.is_loopback():
            consume_skb(skb)
            return 0
    if dev.is_loopback() or not dev.has_link_addr():
        return dev_queue_xmit(skb)
    neigh = dst.neigh
    if neigh is None or neigh.dead:
        tbl = net.ipv6.nd_tbl
        assert tbl is not None
        neigh = tbl.lookup_or_create(dst.nexthop() if hdr.daddr[0] != 0xFF else hdr.daddr, dev)
        dst.neigh = neigh
    return neigh.resolve_output(skb)


def ip6_fragment(net: Net, skb: SkBuff, mtu: int) -> int:
    """Cut a packet of this host into fragments, RFC 8200 4.5; refuse one that is not to be fragmented."""
    hdr = skb.nh6
    assert hdr is not None
    mib = net.ip6_statistics
    if not skb.ip_flags & IPSKB6_IGNORE_DF:
        icmpv6_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu)
        mib[IPSTATS_MIB_FRAGFAILS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
        return -EMSGSIZE
    if skb.frag_max_size and skb.frag_max_size < mtu:
        mtu = max(skb.frag_max_size, IPV6_MIN_MTU)
    body = skb.l4_bytes()
    room = (mtu - hdr.header_len() - 8) & ~7
    if room <= 0:
        mib[IPSTATS_MIB_FRAGFAILS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
        return -EMSGSIZE
    ident = net.kernel.prng.u32() or 1
    transport = skb.transport()
    sent = 0
    while sent < len(body):
        left = len(body) - sent
        size = left if left <= mtu - hdr.header_len() - 8 else room
        piece = skb_clone(skb)
        head = hdr.copy()
        head.nexthdr = NEXTHDR_FRAGMENT if not hdr.exthdrs else hdr.nexthdr
        piece.nh6 = head
        piece.h = None
        piece.data = FragHdr(transport, sent, sent + size < len(body), ident).emit() + body[sent : sent + size]
        piece.offset = 0
        piece.len = size + 8
        piece.truesize = skb_head_truesize(piece.len + hdr.header_len() + 31)
        piece.ip_flags &= ~IPSKB6_IGNORE_DF
        mib[IPSTATS_MIB_FRAGCREATES] += 1
        err = ip6_finish_output2(net, piece)
        if err:
            mib[IPSTATS_MIB_FRAGFAILS] += 1
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return err
        sent += size
    mib[IPSTATS_MIB_FRAGOKS] += 1
    consume_skb(skb)
    return 0


def ip6_forward(skb: SkBuff) -> int:
    """Decrement the hop limit and send a packet along its route."""
    rt = skb.dst
    hdr = skb.nh6
    dev = skb.dev
    assert isinstance(rt, Rt6Info) and hdr is not None and dev is not None
    net = dev.net
    mib = net.ip6_statistics
    idev = dev.ip6_ptr
    conf_all = net.ipv6.devconf_all
    if conf_all is None or idev is None or not (conf_all.forwarding or idev.cnf.forwarding):
        # Linux: a host that does not forward counts InAddrErrors and stays silent.
        mib[IPSTATS_MIB_INADDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INADDRERRORS)
        return -EINVAL
    if skb.pkt_type != PACKET_HOST:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return -EINVAL
    skb_orphan(skb)
    if hdr.hop_limit <= 1:
        icmpv6_send(skb, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0)
        mib[IPSTATS_MIB_INHDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INHDR)
        return -EINVAL
    if hdr.saddr == IN6ADDR_ANY or hdr.saddr[0] == 0xFF:
        mib[IPSTATS_MIB_INADDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INADDRERRORS)
        return -EINVAL
    if hdr.saddr[0] == 0xFE and hdr.saddr[1] & 0xC0 == 0x80 and rt.dev is not dev:
        icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_NOT_NEIGHBOUR, 0)
        mib[IPSTATS_MIB_INADDRERRORS] += 1
        kfree_skb_reason(skb, dropreason.IP_INADDRERRORS)
        return -EINVAL
    mib[IPSTATS_MIB_FORWDATAGRAMS] += 1
    mtu = max(rt.dev.mtu, IPV6_MIN_MTU)
    size = skb.l3_len()
    if skb.gso_size:
        size = size - skb.len + skb.gso_size
    if size > mtu or skb.frag_max_size > mtu:
        icmpv6_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu)
        mib[IP6STATS_MIB_INTOOBIGERRORS] += 1
        mib[IPSTATS_MIB_FRAGFAILS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
        return -EMSGSIZE
    head = hdr.copy()
    head.hop_limit = hdr.hop_limit - 1
    skb.nh6 = head
    skb.ip_flags |= IPSKB_FORWARDED
    return ip6_output(skb)


# Datagrams.


def ip6_sk_ignore_df(pmtudisc: int) -> bool:
    """Tell whether a socket's packets may be fragmented."""
    return pmtudisc < IPV6_PMTUDISC_DO or pmtudisc == IPV6_PMTUDISC_OMIT


def ip6_append_data(sk: InetSock, cork: InetCork, data: bytes, transhdrlen: int, ipc: IpcmCookie, rt: Dst, dontfrag: bool = False) -> int:
    """Append bytes to a datagram: 0, -EMSGSIZE, or -ENOBUFS when its fragments exceed twice the send buffer."""
    pmtudisc = 1 if sk.pinet6 is None else sk.pinet6.pmtudisc
    if cork.dst is None:
        mtu = rt.dev.mtu if pmtudisc >= IPV6_PMTUDISC_PROBE else rt.get_mtu()
        if sk.pinet6 is not None and sk.pinet6.frag_size and sk.pinet6.frag_size < mtu:
            mtu = sk.pinet6.frag_size
        if mtu < IPV6_MIN_MTU:
            return -EINVAL
        cork.fragsize = mtu
        cork.dst = rt
        cork.opt = ipc.opt or b""
        cork.gso_size = ipc.gso_size
        cork.ttl = ipc.ttl
        cork.tos = ipc.tos
        cork.mark = ipc.mark
        cork.priority = ipc.priority
        cork.tsflags, cork.ts_opt_id = ipc.tsflags, ipc.ts_opt_id
        cork.length = transhdrlen
        cork.transhdrlen = transhdrlen
        cork.truesize = 0
    limit = 0xFFFF + IP6_HEADER_LEN if ip6_sk_ignore_df(pmtudisc) or cork.gso_size else cork.fragsize
    if dontfrag:
        limit = cork.fragsize
    if cork.length + len(data) > limit - IP6_HEADER_LEN - len(cork.opt):
        ip_flush_pending_frames(cork)
        return -EMSGSIZE
    cork.length += len(data)
    cork.chunks.append(data)
    headerlen = IP6_HEADER_LEN + len(cork.opt)
    if len(cork.chunks) > 1 and cork.dst.dev.is_loopback() and cork.length <= cork.fragsize - headerlen:
        cork.truesize += len(data)
        return 0
    cork.truesize = _datagram6_truesize(cork.length, cork.fragsize, headerlen, cork.gso_size)
    if cork.length > cork.fragsize - headerlen and not cork.gso_size:
        room = (cork.fragsize - headerlen - 8) & ~7
        start = last_piece_at(cork.length, room, room)
        if cork.length - len(data) <= start and pieces_exceed(sk, start // room * skb_head_truesize(room + headerlen + 8 + 31)):
            ip_flush_pending_frames(cork)
            sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
            return -ENOBUFS
    return 0


def _datagram6_truesize(length: int, mtu: int, headerlen: int, gso_size: int) -> int:
    if gso_size:
        return skb_head_truesize(79) + length - 8
    if length + headerlen <= mtu:
        size = length + headerlen
        return skb_head_truesize(size + 31) if size + 31 < 16064 else skb_head_truesize(79) + size - 48
    room = (mtu - headerlen - 8) & ~7
    total = 0
    while length > 0:
        size = min(length, room)
        total += skb_head_truesize(size + headerlen + 8 + 31)
        length -= size
    return total


def ip6_make_pending_skb(sk: InetSock, cork: InetCork, fl6: Flowi6) -> SkBuff:
    """Finish a datagram: a packet with IPv6 header and route, to which the transport adds its header (`skb.h`)."""
    rt = cork.dst
    assert rt is not None
    pinfo = sk.pinet6
    skb = SkBuff(cork.chunks[0] if len(cork.chunks) == 1 else b"".join(cork.chunks))
    skb.truesize = cork.truesize
    if ip6_sk_ignore_df(1 if pinfo is None else pinfo.pmtudisc):
        skb.ip_flags |= IPSKB6_IGNORE_DF
    if pinfo is not None and pinfo.pmtudisc >= IPV6_PMTUDISC_PROBE:
        skb.ip_flags |= IPSKB_USE_DEV_MTU
    if sk.inet_test_bit(_MC6_LOOP_BIT):
        skb.ip_flags |= IPSKB_MCAST_LOOP
    hdr = Ipv6hdr(fl6.saddr, fl6.daddr, fl6.proto)
    hdr.exthdrs = cork.opt
    if cork.ttl:
        hdr.hop_limit = cork.ttl
    elif fl6.daddr[0] == 0xFF:
        hdr.hop_limit = 1 if pinfo is None else pinfo.mcast_hops
    else:
        hop_limit = -1 if pinfo is None else pinfo.hop_limit
        hdr.hop_limit = hop_limit if hop_limit >= 0 else rt.hoplimit()
    hdr.tclass = cork.tos if cork.tos >= 0 else (0 if pinfo is None else pinfo.tclass)
    hdr.flow_label = ip6_make_flowlabel(sk.sk_net, fl6)
    skb.nh6 = hdr
    skb.priority = cork.priority
    skb.mark = cork.mark
    if cork.tsflags:
        sock_tx_timestamp(sk, skb, cork.tsflags, cork.ts_opt_id)
    skb.dst = rt
    skb.gso_size = cork.gso_size
    if cork.gso_size:
        skb.gso_segs = (skb.len + cork.gso_size - 1) // cork.gso_size
    cork.chunks = []
    cork.dst = None
    cork.length = 0
    return skb


def ip6_make_skb(sk: InetSock, fl6: Flowi6, data: bytes, transhdrlen: int, ipc: IpcmCookie, rt: Dst) -> tuple[int, SkBuff | None]:
    """Make a datagram in one go: (0, packet) or (-errno, None)."""
    cork = InetCork()
    err = ip6_append_data(sk, cork, data, transhdrlen, ipc, rt)
    if err:
        return err, None
    return 0, ip6_make_pending_skb(sk, cork, fl6)


def ip6_push_pending_frames(sk: InetSock, cork: InetCork, fl6: Flowi6, h: L4Header | None) -> int:
    """Finish a corked datagram with its transport header and send it: 0 or -errno."""
    skb = ip6_make_pending_skb(sk, cork, fl6)
    skb.h = h
    return ip6_send_skb(sk.sk_net, skb)
