"""IPv4 sending, RFC 791, RFC 1122 3.3 (Linux: net/ipv4/ip_output.c).

    ip_queue_xmit (TCP) | ip_build_and_send_pkt (SYN-ACK) | ip_send_unicast_reply (RST) | ip_make_skb, ip_push_pending_frames (datagrams)
        > ip_local_out > Rtable.output > ip_output > ip_finish_output > ip_do_fragment > ip_finish_output2 > neighbour > device

Left out: netfilter, tunnels, header options that rewrite the route."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import NET_XMIT_CN, dev_loopback_xmit, dev_queue_xmit
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_LOCAL, RTCF_MULTICAST, Dst
from twinsock.kernel.net.core.skbuff import IPSKB_FRAG_PMTU, SkBuff, consume_skb, kfree_skb_reason, skb_clone, skb_head_truesize
from twinsock.kernel.net.core.tstamp import sock_tx_timestamp
from twinsock.kernel.net.ipv4.icmp import icmp_send
from twinsock.kernel.net.ipv4.route import FLOWI_FLAG_ANYSRC, IP_MAX_MTU, Flowi4, Rtable, ip_route_output_flow, sk_dst_check, sk_dst_set
from twinsock.uapi.errno import EHOSTUNREACH, EINVAL, EMSGSIZE, ENOBUFS
from twinsock.uapi.icmp import ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED
from twinsock.uapi.if_ import ETH_P_IP
from twinsock.uapi.in_ import (
    IP_PMTUDISC_DO,
    IP_PMTUDISC_OMIT,
    IP_PMTUDISC_PROBE,
    IP_PMTUDISC_WANT,
    IPPROTO_TCP,
)
from twinsock.uapi.rtnetlink import RTAX_MTU, RTN_BROADCAST, RTN_MULTICAST
from twinsock.uapi.snmp import (
    IPSTATS_MIB_FRAGCREATES,
    IPSTATS_MIB_FRAGFAILS,
    IPSTATS_MIB_FRAGOKS,
    IPSTATS_MIB_OUTBCASTOCTETS,
    IPSTATS_MIB_OUTBCASTPKTS,
    IPSTATS_MIB_OUTDISCARDS,
    IPSTATS_MIB_OUTMCASTOCTETS,
    IPSTATS_MIB_OUTMCASTPKTS,
    IPSTATS_MIB_OUTNOROUTES,
    IPSTATS_MIB_OUTOCTETS,
    IPSTATS_MIB_OUTREQUESTS,
    IPSTATS_MIB_OUTTRANSMITS,
)
from twinsock.wire.ip import IP_DF, IP_MF, IP_OFFSET, Iphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.inet_sock import InetSock
    from twinsock.wire.l4 import L4Header

IPSKB_IGNORE_DF: Final = 0x10000  # ours, in SkBuff.ip_flags: fragment even though DF is set
IPSKB_MCAST_LOOP: Final = 0x20000  # ours: the sending socket wants its multicasts back
_IDENTS: Final = 2048


def ip_queue_xmit(sk: InetSock, skb: SkBuff, fl4: Flowi4 | None) -> int:
    """Send a packet of a connected socket, whose transport header is `skb.h`: 0 or -errno (EHOSTUNREACH without a route)."""
    net = sk.sk_net
    rt = skb.dst
    if rt is None:
        rt = sk_dst_check(sk)
        if rt is None:
            flow = Flowi4() if fl4 is None else fl4
            flow.daddr = sk.sk_daddr
            flow.saddr = sk.inet_saddr
            flow.proto = sk.sk_protocol
            flow.sport = sk.inet_sport
            flow.dport = sk.sk_dport
            flow.oif = sk.sk_bound_dev_if
            flow.mark = sk.sk_mark
            flow.tos = sk.tos
            flow.uid = sk.sk_uid
            _err, rt = ip_route_output_flow(net, flow, sk)
            if rt is None:
                net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
                kfree_skb_reason(skb, dropreason.IP_OUTNOROUTES)
                return -EHOSTUNREACH
            sk_dst_set(sk, rt)
        skb.dst = rt
    iph = Iphdr(sk.inet_saddr, sk.sk_daddr, sk.sk_protocol)
    iph.tos = sk.tos
    if ip_dont_fragment(sk.pmtudisc, rt) and not skb.ip_flags & IPSKB_IGNORE_DF:
        iph.frag_off = IP_DF
    iph.ttl = sk.uc_ttl if sk.uc_ttl >= 0 else rt.hoplimit()
    if sk.inet_opt:
        iph.options = sk.inet_opt
    skb.nh4 = iph
    ip_select_ident(net, skb, sk, skb.gso_segs or 1)
    skb.priority = sk.sk_priority
    skb.mark = sk.sk_mark
    return ip_local_out(net, skb)


def ip_build_and_send_pkt(skb: SkBuff, sk: InetSock, saddr: int, daddr: int, opt: bytes | None, tos: int = -1) -> int:
    """Send a packet for a connection that is not a socket yet (SYN-ACK); `skb.dst` and `skb.h` are set."""
    rt = skb.dst
    assert rt is not None
    net = sk.sk_net
    iph = Iphdr(saddr, daddr, sk.sk_protocol)
    iph.tos = sk.tos if tos < 0 else tos
    iph.ttl = sk.uc_ttl if sk.uc_ttl >= 0 else rt.hoplimit()
    if opt:
        iph.options = opt
    skb.nh4 = iph
    if ip_dont_fragment(sk.pmtudisc, rt):
        iph.frag_off = IP_DF
        iph.id = 0
    elif sk.sk_protocol == IPPROTO_TCP:
        iph.id = net.kernel.prng.u32() & 0xFFFF
    else:
        iph.id = next_ident(net, iph, 1)
    skb.priority = sk.sk_priority
    if not skb.mark:
        skb.mark = sk.sk_mark
    return ip_local_out(net, skb)


def ip_send_unicast_reply(
    net: Net,
    in_skb: SkBuff,
    h: L4Header,
    protocol: int,
    daddr: int,
    saddr: int,
    oif: int,
    tos: int,
    mark: int = 0,
    payload: bytes = b"",
) -> int:
    """Answer a packet without a socket (RST, ACK of a mini-socket): `saddr` is the address that was spoken to; DF, IP id 0."""
    fl4 = Flowi4(daddr, saddr, protocol, h.source, h.dest, oif)
    fl4.mark = mark
    fl4.tos = tos
    fl4.flags = FLOWI_FLAG_ANYSRC
    err, rt = ip_route_output_flow(net, fl4, None)
    if rt is None:
        return err
    skb = SkBuff(payload)
    skb.truesize = skb_head_truesize(128)
    skb.h = h
    skb.dst = rt
    skb.mark = mark
    skb.tstamp_ns = 0
    iph = Iphdr(saddr, daddr, protocol)
    iph.tos = tos
    iph.frag_off = IP_DF
    iph.ttl = rt.hoplimit()
    skb.nh4 = iph
    return ip_local_out(net, skb)


def ip_local_out(net: Net, skb: SkBuff) -> int:
    """Send a packet that has its header and route: 0, or -errno, or NET_XMIT_*."""
    net.ip_statistics[IPSTATS_MIB_OUTREQUESTS] += 1
    skb.protocol = ETH_P_IP
    dst = skb.dst
    assert dst is not None
    return dst.output(skb)


def ip_send_skb(net: Net, skb: SkBuff) -> int:
    """Send a datagram: 0 or -errno; -ENOBUFS when a queue dropped it, and OutDiscards counts."""
    err = ip_local_out(net, skb)
    if err > 0:
        err = 0 if err == NET_XMIT_CN else -ENOBUFS
    if err:
        net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
    return err


def ip_output(skb: SkBuff) -> int:
    """Send along a unicast route."""
    dst = skb.dst
    assert dst is not None
    skb.dev = dst.dev
    return ip_finish_output(dst.dev.net, skb)


def ip_mc_output(skb: SkBuff) -> int:
    """Send a multicast or broadcast, and give this host its copy."""
    dst = skb.dst
    iph = skb.nh4
    assert dst is not None and iph is not None
    dev = dst.dev
    skb.dev = dev
    if dst.rt_flags & RTCF_MULTICAST:
        if dst.rt_flags & RTCF_LOCAL and (skb.sk is None or skb.ip_flags & IPSKB_MCAST_LOOP):
            _loop_copy(skb)
        if iph.ttl == 0:
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return 0
    if dst.rt_flags & RTCF_BROADCAST:
        _loop_copy(skb)
    return ip_finish_output(dev.net, skb)


def _loop_copy(skb: SkBuff) -> None:
    copy = skb_clone(skb)
    copy.protocol = ETH_P_IP
    dev_loopback_xmit(copy)


def ip_finish_output(net: Net, skb: SkBuff) -> int:
    """Send, in fragments if need be."""
    dst = skb.dst
    assert dst is not None
    if skb.gso_size:
        return ip_finish_output2(net, skb)
    mtu = ip_dst_mtu_maybe_forward(dst, skb)
    if skb.l3_len() > mtu or skb.ip_flags & IPSKB_FRAG_PMTU:
        return ip_fragment(net, skb, mtu)
    return ip_finish_output2(net, skb)


def ip_dst_mtu_maybe_forward(dst: Dst, skb: SkBuff) -> int:
    """Return the MTU that holds for a packet: the path's for our own, the device's for forwarded ones, ip_skb_dst_mtu()."""
    if skb.ip_flags & _IPSKB_FORWARDED and not dst.net.ipv4.sysctl_ip_fwd_use_pmtu:
        route_mtu = dst.metric(RTAX_MTU) if dst.locked(RTAX_MTU) else 0
        return min(route_mtu or dst.dev.mtu, IP_MAX_MTU)
    if skb.ip_flags & IPSKB_USE_DEV_MTU:
        return min(dst.dev.mtu, IP_MAX_MTU)
    return dst.get_mtu()


_IPSKB_FORWARDED: Final = 1
IPSKB_USE_DEV_MTU: Final = 0x40000  # ours: the socket's IP_MTU_DISCOVER ignores learned path MTUs


def ip_finish_output2(net: Net, skb: SkBuff) -> int:
    """Count a packet and give it to the neighbour or straight to the device."""
    dst = skb.dst
    iph = skb.nh4
    assert isinstance(dst, Rtable) and iph is not None
    dev = dst.dev
    mib = net.ip_statistics
    size = skb.l3_len()
    mib[IPSTATS_MIB_OUTTRANSMITS] += 1
    mib[IPSTATS_MIB_OUTOCTETS] += size
    if dst.type == RTN_MULTICAST:
        mib[IPSTATS_MIB_OUTMCASTPKTS] += 1
        mib[IPSTATS_MIB_OUTMCASTOCTETS] += size
    elif dst.type == RTN_BROADCAST:
        mib[IPSTATS_MIB_OUTBCASTPKTS] += 1
        mib[IPSTATS_MIB_OUTBCASTOCTETS] += size
    skb.dev = dev
    if dev.is_loopback():
        if dst.type == RTN_MULTICAST:
            skb.mac_dest = b"\x01\x00\x5e" + (iph.daddr & 0x7FFFFF).to_bytes(3, "big")
        return dev_queue_xmit(skb)
    if not dev.has_link_addr():
        return dev_queue_xmit(skb)
    neigh = dst.neigh
    if neigh is None or neigh.dead:
        tbl = net.ipv4.arp_tbl
        assert tbl is not None
        neigh = tbl.lookup_or_create(dst.nexthop().to_bytes(4, "big"), dev)
        dst.neigh = neigh
    return neigh.resolve_output(skb)


def ip_fragment(net: Net, skb: SkBuff, mtu: int) -> int:
    """Fragment unless DF forbids it; then report EMSGSIZE and "fragmentation needed"."""
    iph = skb.nh4
    assert iph is not None
    if iph.frag_off & IP_DF and not skb.ip_flags & IPSKB_IGNORE_DF:
        net.ip_statistics[IPSTATS_MIB_FRAGFAILS] += 1
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu)
        kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
        return -EMSGSIZE
    if skb.frag_max_size and skb.frag_max_size < mtu:
        mtu = skb.frag_max_size
    return ip_do_fragment(net, skb, mtu)


def ip_do_fragment(net: Net, skb: SkBuff, mtu: int) -> int:
    """Cut a packet into fragments and send them in order, RFC 791 3.2."""
    iph = skb.nh4
    assert iph is not None
    body = skb.l4_bytes()
    mib = net.ip_statistics
    offset = iph.frag_off & IP_OFFSET
    more_behind = iph.frag_off & IP_MF
    sent = 0
    options = iph.options
    while sent < len(body):
        room = (mtu - 20 - len(options)) & ~7
        if room <= 0:
            mib[IPSTATS_MIB_FRAGFAILS] += 1
            kfree_skb_reason(skb, dropreason.PKT_TOO_BIG)
            return -EINVAL
        left = len(body) - sent
        size = left if left <= mtu - 20 - len(options) else room
        piece = skb_clone(skb)
        piece.data = body
        piece.offset = sent
        piece.len = size
        piece.h = None
        piece.gso_size = 0
        piece.gso_segs = 0
        piece.truesize = skb_head_truesize(size + 20 + len(options) + 31)
        head = iph.copy()
        head.options = options
        head.frag_off = (iph.frag_off & IP_DF) | (offset + sent // 8) | (IP_MF if sent + size < len(body) else more_behind)
        piece.nh4 = head
        mib[IPSTATS_MIB_FRAGCREATES] += 1
        err = ip_finish_output2(net, piece)
        if err:
            mib[IPSTATS_MIB_FRAGFAILS] += 1
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return err
        sent += size
        if offset == 0 and sent == size:
            options = _copied_options(options)
    mib[IPSTATS_MIB_FRAGOKS] += 1
    consume_skb(skb)
    return 0


def _copied_options(options: bytes) -> bytes:
    """Blank out the options that only the first fragment carries, RFC 791 3.1, ip_options_fragment()."""
    out = bytearray(options)
    i = 0
    while i < len(out):
        kind = out[i]
        if kind == 0:
            break
        if kind == 1:
            i += 1
            continue
        if i + 1 >= len(out) or out[i + 1] < 2 or i + out[i + 1] > len(out):
            break
        size = out[i + 1]
        if not kind & 0x80:
            for j in range(i, i + size):
                out[j] = 1
        i += size
    return bytes(out)


def ip_dont_fragment(pmtudisc: int, dst: Dst) -> bool:
    """Tell whether packets of a socket with this IP_MTU_DISCOVER carry DF."""
    return pmtudisc == IP_PMTUDISC_DO or (pmtudisc == IP_PMTUDISC_WANT and not dst.locked(RTAX_MTU))


def ip_sk_use_pmtu(pmtudisc: int) -> bool:
    """Tell whether a socket heeds learned path MTUs."""
    return pmtudisc < IP_PMTUDISC_PROBE


def ip_sk_ignore_df(pmtudisc: int) -> bool:
    """Tell whether a socket's packets may be fragmented even though they carry DF."""
    return pmtudisc < IP_PMTUDISC_DO or pmtudisc == IP_PMTUDISC_OMIT


def ip_select_ident(net: Net, skb: SkBuff, sk: InetSock | None, segs: int) -> None:
    """Give a packet its identification: the socket's own count, 0 for an unconnected DF packet, else a hashed count."""
    iph = skb.nh4
    assert iph is not None
    if sk is not None and sk.sk_daddr and (sk.sk_protocol == IPPROTO_TCP or (iph.frag_off & IP_DF and not skb.ip_flags & IPSKB_IGNORE_DF)):
        iph.id = sk.inet_id & 0xFFFF
        sk.inet_id = (sk.inet_id + segs) & 0xFFFF
    elif iph.frag_off & IP_DF and not skb.ip_flags & IPSKB_IGNORE_DF:
        iph.id = 0
    else:
        iph.id = next_ident(net, iph, segs)


def next_ident(net: Net, iph: Iphdr, segs: int) -> int:
    """Draw from the counter that packets between these addresses share."""
    kernel = net.kernel
    if not kernel.ip_idents:
        for _ in range(_IDENTS):
            kernel.ip_idents.append(kernel.prng.u32() & 0xFFFF)
    mix = (iph.daddr * 0x9E3779B1 ^ iph.saddr * 0x85EBCA77 ^ iph.protocol) & 0x3FFFFFFFFFFF
    slot = (mix ^ mix >> 17) % _IDENTS
    ident = kernel.ip_idents[slot]
    kernel.ip_idents[slot] = (ident + segs) & 0xFFFF
    return ident


# Datagrams.


class IpcmCookie:
    """`struct ipcm_cookie`: what sendmsg's control messages, or the socket, say about one datagram."""

    def __init__(self) -> None:
        self.addr = 0  # IP_PKTINFO's source
        self.oif = 0
        self.opt: bytes | None = None
        self.ttl = 0  # 0: the socket's
        self.tos = -1  # -1: the socket's
        self.protocol = 0
        self.gso_size = 0
        self.mark = 0
        self.priority = 0
        self.tsflags = 0
        self.ts_opt_id = -1


class InetCork:
    """`struct inet_cork`: a datagram that is being put together. Empty while `dst` is None."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.length = 0  # bytes behind the IP header, transport header included
        self.truesize = 0
        self.dst: Dst | None = None
        self.opt = b""
        self.fragsize = 0
        self.ttl = 0
        self.tos = -1
        self.mark = 0
        self.priority = 0
        self.gso_size = 0
        self.transhdrlen = 0
        self.tsflags = 0
        self.ts_opt_id = -1


def ip_setup_cork(sk: InetSock, cork: InetCork, ipc: IpcmCookie, rt: Dst) -> int:
    """Start a datagram: 0 or -EINVAL, -ENETUNREACH."""
    mtu = rt.get_mtu() if ip_sk_use_pmtu(sk.pmtudisc) else rt.dev.mtu
    if mtu < 68:
        return -EINVAL
    cork.fragsize = mtu
    cork.opt = ipc.opt or b""
    cork.dst = rt
    cork.gso_size = ipc.gso_size
    cork.ttl = ipc.ttl
    cork.tos = ipc.tos
    cork.mark = ipc.mark
    cork.priority = ipc.priority
    cork.tsflags, cork.ts_opt_id = ipc.tsflags, ipc.ts_opt_id
    return 0


def ip_append_data(sk: InetSock, cork: InetCork, data: bytes, transhdrlen: int, ipc: IpcmCookie, rt: Dst) -> int:
    """Append bytes to a datagram: 0, -EMSGSIZE, or -ENOBUFS when its fragments exceed twice the send buffer.

    `transhdrlen` counts for the first piece only. Waiting for room in the send buffer is the caller's."""
    if cork.dst is None:
        err = ip_setup_cork(sk, cork, ipc, rt)
        if err:
            return err
        cork.length = transhdrlen
        cork.transhdrlen = transhdrlen
        cork.truesize = 0
    err = _check_size(sk, cork, len(data))
    if err:
        ip_flush_pending_frames(cork)
        return err
    cork.length += len(data)
    cork.chunks.append(data)
    headerlen = 20 + len(cork.opt)
    if len(cork.chunks) > 1 and cork.dst is not None and cork.dst.dev.is_loopback() and cork.length <= cork.fragsize - headerlen:
        cork.truesize += len(data)  # a device that gathers: what comes later lies in pages
    else:
        cork.truesize = datagram_truesize(cork.length, cork.fragsize, headerlen, cork.gso_size)
    if cork.length > cork.fragsize - headerlen and not cork.gso_size:
        start = last_piece_at(cork.length, (cork.fragsize - headerlen) & ~7, cork.fragsize - headerlen)
        if cork.length - len(data) <= start and pieces_exceed(sk, datagram_pieces(start, cork.fragsize, headerlen)):
            ip_flush_pending_frames(cork)
            sk.sk_net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
            return -ENOBUFS
    return 0


def last_piece_at(length: int, room: int, last_room: int) -> int:
    """Return where the last fragment of a datagram begins: all but the last carry `room` bytes."""
    start = 0
    while length - start > last_room:
        start += room
    return start


def pieces_exceed(sk: InetSock, truesize: int) -> bool:
    """Tell whether a further fragment is refused: the ones before it fill twice the send buffer.

    Measured: 6.18, tests/parity/test_stream_rows.py; Linux counts the socket's own hold on its memory as one byte."""
    return sk.sk_wmem_alloc + 1 + truesize > 2 * sk.sk_sndbuf


def _check_size(sk: InetSock, cork: InetCork, more: int) -> int:
    """Refuse a datagram that is too long: for IPv4, or for the path when it may not be fragmented."""
    fragheaderlen = 20 + len(cork.opt)
    limit = 0xFFFF if ip_sk_ignore_df(sk.pmtudisc) else cork.fragsize
    if cork.gso_size:
        limit = 0xFFFF
    return -EMSGSIZE if cork.length + more > limit - fragheaderlen else 0


def datagram_truesize(length: int, mtu: int, headerlen: int, gso_size: int) -> int:
    """Return what the buffers of a datagram of `length` bytes behind the IP header are charged, one buffer per fragment."""
    if gso_size:  # headers in the head, data in pages
        return skb_head_truesize(28 + 31) + length - 8
    if length + headerlen <= mtu:
        return _buffer_truesize(length + headerlen)
    start = last_piece_at(length, (mtu - headerlen) & ~7, mtu - headerlen)
    return datagram_pieces(start, mtu, headerlen) + _buffer_truesize(length - start + headerlen)


def datagram_pieces(length: int, mtu: int, headerlen: int) -> int:
    """Return what full fragments that carry `length` bytes together are charged."""
    room = (mtu - headerlen) & ~7
    total = 0
    while length > 0:
        total += _buffer_truesize(room + headerlen)
        length -= room
    return total


def _buffer_truesize(size: int) -> int:
    if size + 31 < 16384 - 320:
        return skb_head_truesize(size + 31)
    return skb_head_truesize(28 + 31) + size - 28


def ip_make_pending_skb(sk: InetSock, cork: InetCork, fl4: Flowi4) -> SkBuff:
    """Finish a datagram: a packet with IP header and route, to which the transport adds its header (`skb.h`)."""
    rt = cork.dst
    assert rt is not None
    net = sk.sk_net
    skb = SkBuff(cork.chunks[0] if len(cork.chunks) == 1 else b"".join(cork.chunks))
    skb.truesize = cork.truesize
    if ip_sk_ignore_df(sk.pmtudisc):
        skb.ip_flags |= IPSKB_IGNORE_DF
    if not ip_sk_use_pmtu(sk.pmtudisc):
        skb.ip_flags |= IPSKB_USE_DEV_MTU
    if sk.inet_test_bit(13):  # INET_FLAGS_MC_LOOP
        skb.ip_flags |= IPSKB_MCAST_LOOP
    iph = Iphdr(fl4.saddr, fl4.daddr, sk.sk_protocol)
    if sk.pmtudisc in (IP_PMTUDISC_DO, IP_PMTUDISC_PROBE) or (
        20 + len(cork.opt) + cork.length <= rt.get_mtu() and ip_dont_fragment(sk.pmtudisc, rt)
    ):
        iph.frag_off = IP_DF
    if cork.ttl != 0:
        iph.ttl = cork.ttl
    elif rt.type == RTN_MULTICAST:
        iph.ttl = sk.mc_ttl
    else:
        iph.ttl = sk.uc_ttl if sk.uc_ttl >= 0 else rt.hoplimit()
    iph.tos = cork.tos if cork.tos >= 0 else sk.tos
    iph.options = cork.opt
    skb.nh4 = iph
    ip_select_ident(net, skb, sk, 1)
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


def ip_make_skb(sk: InetSock, fl4: Flowi4, data: bytes, transhdrlen: int, ipc: IpcmCookie, rt: Dst) -> tuple[int, SkBuff | None]:
    """Make a datagram in one go: (0, packet) or (-errno, None)."""
    cork = InetCork()
    err = ip_append_data(sk, cork, data, transhdrlen, ipc, rt)
    if err:
        return err, None
    return 0, ip_make_pending_skb(sk, cork, fl4)


def ip_flush_pending_frames(cork: InetCork) -> None:
    """Forget a datagram that is being put together."""
    cork.chunks = []
    cork.dst = None
    cork.length = 0


def ip_push_pending_frames(sk: InetSock, cork: InetCork, fl4: Flowi4, h: L4Header | None) -> int:
    """Finish a corked datagram with its transport header and send it: 0 or -errno."""
    skb = ip_make_pending_skb(sk, cork, fl4)
    skb.h = h
    return ip_send_skb(sk.sk_net, skb)
