"""UDP from the network: who gets a datagram, and who learns of an ICMP error (Linux: udp_rcv(), __udp4_lib_lookup(), udp_err() of
net/ipv4/udp.c; sheet 02, 2.10 "Delivery among duplicates").

Left out: early demultiplexing, encapsulation, BPF socket lookup."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_MULTICAST
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb, kfree_skb_reason, skb_clone
from twinsock.kernel.net.core.sock_reuseport import reuseport_select_sock
from twinsock.kernel.net.ipv4.icmp import icmp_err_convert, icmp_send
from twinsock.kernel.net.ipv4.igmp_sock import ip_mc_sf_allow
from twinsock.kernel.net.ipv4.inet_hashtables import portaddr_hash
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR, InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import inet_iif, ip_icmp_error, ipv4_pktinfo_prepare
from twinsock.kernel.net.ipv4.route import ipv4_update_pmtu
from twinsock.kernel.net.ipv4.udp import UdpSock
from twinsock.kernel.net.ipv4.udp_offload import udp_rcv_segment
from twinsock.kernel.net.ipv4.udp_recv import __udp_enqueue_schedule_skb, udp_datagram_bytes
from twinsock.kernel.net.ipv4.udp_table import UdpHslot2, UdpPortSock, UdpTable, udp_table
from twinsock.uapi.errno import EHOSTUNREACH, EMSGSIZE, ENOENT, ENOMEM, EPROTO
from twinsock.uapi.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_FRAG_NEEDED,
    ICMP_PARAMETERPROB,
    ICMP_PORT_UNREACH,
    ICMP_REDIRECT,
    ICMP_SOURCE_QUENCH,
)
from twinsock.uapi.in_ import IP_PMTUDISC_DONT, IPPROTO_UDPLITE
from twinsock.uapi.snmp import (
    ICMP_MIB_INERRORS,
    UDP_MIB_IGNOREDMULTI,
    UDP_MIB_INCSUMERRORS,
    UDP_MIB_INERRORS,
    UDP_MIB_MEMERRORS,
    UDP_MIB_NOPORTS,
    UDP_MIB_RCVBUFERRORS,
)
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire import udp as wire_udp
from twinsock.wire.l4 import pseudo_sum4
from twinsock.wire.udp import UDP_HEADER_LEN, Udphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock

_ANY6: Final = bytes(16)
ETH_HLEN: Final = 14
GSO_MAX_SIZE: Final = 65536


class UdpProtocol(NetProtocol):
    """Protocols 17 and 136 over IPv4."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol

    def handler(self, skb: SkBuff) -> int:
        """Receive a datagram."""
        return udp4_rcv(skb, self.protocol)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an ICMP error."""
        return udp4_err(skb, self.protocol, type_, code, info)


def _mib4(net: Net, protocol: int) -> list[int]:
    return net.udplite_statistics if protocol == IPPROTO_UDPLITE else net.udp_statistics


# Lookup


def udp_sk_bound_dev_eq(sk: UdpPortSock, dif: int, sdif: int) -> bool:
    """Tell whether a socket takes packets from a device (`sdif`: the port of a VRF)."""
    bound = sk.sk_bound_dev_if
    if not bound:
        return not sdif or bool(sk.sk_net.ipv4.sysctl_udp_l3mdev_accept)
    return bound in (dif, sdif)


def compute_score(sk: UdpPortSock, saddr: int, sport: int, daddr: int, hnum: int, dif: int, sdif: int) -> int:
    """Say how well a socket fits a packet, -1 not at all: being connected and being bound to the device count."""
    if sk.sk_num != hnum or sk.sk_ipv6only or sk.sk_rcv_saddr != daddr:
        return -1
    score = 2 if sk.sk_family == AF_INET else 1
    if sk.sk_daddr:
        if sk.sk_daddr != saddr:
            return -1
        score += 4
    if sk.sk_dport:
        if sk.sk_dport != sport:
            return -1
        score += 4
    if not udp_sk_bound_dev_eq(sk, dif, sdif):
        return -1
    if sk.sk_bound_dev_if:
        score += 4
    return score + (sk.sk_incoming_cpu == sk.sk_net.kernel.cpu)


def udp_ehashfn(net: Net, laddr: int, lport: int, faddr: int, fport: int) -> int:
    """Return the 32-bit hash of a flow, which chooses the member of a SO_REUSEPORT group."""
    value = (laddr * 0x9E3779B1 ^ faddr * 0x85EBCA77 ^ (lport << 16 | fport) * 0xC2B2AE3D ^ udp_table(net).secret) & 0xFFFFFFFF
    value ^= value >> 15
    value = value * 0x2C1B3C6D & 0xFFFFFFFF
    value ^= value >> 12
    return value * 0x297A2D39 & 0xFFFFFFFF


def __udp4_lib_lookup(
    net: Net, saddr: int, sport: int, daddr: int, hnum: int, dif: int, sdif: int, protocol: int, skb: SkBuff | None
) -> UdpSock | None:
    """Find the socket for a datagram from saddr:sport to daddr:hnum: its address first, then the wildcard."""
    table = udp_table(net, protocol)
    found = _lookup2(_slot4(table, daddr, hnum), net, saddr, sport, daddr, daddr, hnum, dif, sdif, protocol, skb)
    if found is not None:
        return found
    return _lookup2(_slot4(table, 0, hnum), net, saddr, sport, 0, daddr, hnum, dif, sdif, protocol, skb)


def _slot4(table: UdpTable, daddr: int, hnum: int) -> UdpHslot2:
    return table.slot2(portaddr_hash(table.secret, True, daddr, _ANY6, hnum))


def _lookup2(
    slot: UdpHslot2,
    net: Net,
    saddr: int,
    sport: int,
    bound: int,
    daddr: int,
    hnum: int,
    dif: int,
    sdif: int,
    protocol: int,
    skb: SkBuff | None,
) -> UdpSock | None:
    result: UdpSock | None = None
    badness = 0
    sk = slot.first
    while sk is not None:
        if isinstance(sk, UdpSock) and sk.sk_protocol == protocol:
            score = compute_score(sk, saddr, sport, bound, hnum, dif, sdif)
            if score > badness:
                badness = score
                result = sk
                group = sk.sk_reuseport_cb
                if sk.sk_state != TCP_ESTABLISHED and sk.sk_reuseport and group is not None:
                    chosen = select_from_group(sk, udp_ehashfn(net, daddr, hnum, saddr, sport), skb)
                    if chosen is not None:
                        result = chosen
                        if not group.has_conns:
                            return chosen
                        badness = compute_score(chosen, saddr, sport, bound, hnum, dif, sdif)
        sk = sk.udp_next2
    return result


def select_from_group(sk: UdpSock, hash_: int, skb: SkBuff | None) -> UdpSock | None:
    """Let the SO_REUSEPORT group of a socket choose."""
    chosen = reuseport_select_sock(sk, hash_, skb, UDP_HEADER_LEN)
    return chosen if isinstance(chosen, UdpSock) else None


# Receiving


def udp4_rcv(skb: SkBuff, protocol: int) -> int:
    """udp_rcv(): find a datagram's socket, or say that the port is unreachable."""
    dev = skb.dev
    iph = skb.nh4
    assert dev is not None and iph is not None
    net = dev.net
    mib = _mib4(net, protocol)
    h = skb.h
    if h is None:
        h = parse_udp(skb, pseudo_sum4(iph.saddr, iph.daddr, protocol, skb.len), protocol)
    if not isinstance(h, Udphdr):
        mib[UDP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_SMALL)
        return 0
    dst = skb.dst
    if dst is not None and dst.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST):
        return __udp4_lib_mcast_deliver(net, skb, h, protocol)
    sk = __udp4_lib_lookup(net, iph.saddr, h.source, iph.daddr, h.dest, inet_iif(skb), 0, protocol, skb)
    if sk is not None:
        udp_queue_rcv_skb(sk, skb, mib)
        return 0
    if h.csum_bad:
        mib[UDP_MIB_INCSUMERRORS] += 1
        mib[UDP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.UDP_CSUM)
        return 0
    mib[UDP_MIB_NOPORTS] += 1
    icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0)
    kfree_skb_reason(skb, dropreason.NO_SOCKET)
    return 0


def parse_udp(skb: SkBuff, pseudo_sum: int, protocol: int) -> Udphdr | None:
    """Parse the header of a packet that came as bytes and cut what is behind the datagram; None when it is broken."""
    lite = protocol == IPPROTO_UDPLITE
    h = wire_udp.parse(skb.data, skb.offset, skb.len, -1, lite)
    if h is None:
        return None
    if lite:
        if h.coverage and not UDP_HEADER_LEN <= h.coverage <= skb.len:
            return None
        if h.no_check:
            return None
    else:
        size = h.len
        if size == 0 and skb.nh6 is not None:
            size = skb.len
        if size > skb.len or size < UDP_HEADER_LEN:
            return None
        pseudo_sum = (pseudo_sum + 0xFFFF * 2 - skb.len % 0xFFFF + size) % 0xFFFF
        skb.len = size
    checked = wire_udp.parse(skb.data, skb.offset, skb.len, pseudo_sum, lite)
    if checked is None:
        return None
    skb.pull(UDP_HEADER_LEN)
    skb.h = checked
    return checked


def udp_queue_rcv_skb(sk: UdpSock, skb: SkBuff, mib: list[int]) -> None:
    """Give a datagram to its socket, cut into segments unless it asked for UDP_GRO; a device cuts what exceeds its gso_max_size."""
    if not skb.gso_size or (sk.gro_enabled and skb.l3_len() + ETH_HLEN < GSO_MAX_SIZE):
        udp_queue_rcv_one_skb(sk, skb, mib)
        return
    for segment in udp_rcv_segment(skb):
        udp_queue_rcv_one_skb(sk, segment, mib)
    consume_skb(skb)


def udp_queue_rcv_one_skb(sk: UdpSock, skb: SkBuff, mib: list[int]) -> None:
    """Check coverage and filter, then queue, or count why not."""
    h = skb.h
    if sk.is_udplite and isinstance(h, Udphdr) and not udplite_accepts(sk, h, skb.len):
        _drop(sk, skb, mib, dropreason.NOT_SPECIFIED)
        return
    if sk.sk_filter is not None or sk.sk_net.kernel.cgroup_bpf is not None:
        if isinstance(h, Udphdr) and h.csum_bad:
            mib[UDP_MIB_INCSUMERRORS] += 1
            _drop(sk, skb, mib, dropreason.UDP_CSUM)
            return
        data = udp_datagram_bytes(skb)
        keep = sk_filter_trim_cap(sk, skb, data, UDP_HEADER_LEN)
        if keep < 0:
            _drop(sk, skb, mib, dropreason.SOCKET_FILTER)
            return
        skb.len -= len(data) - keep
    if skb.nh4 is not None:
        ipv4_pktinfo_prepare(sk, skb, sk.pinet6 is not None and bool(sk.pinet6.rxopt & 1))
    elif skb.dev is not None:
        skb.ipi_ifindex = skb.iif or skb.dev.ifindex
    err = __udp_enqueue_schedule_skb(sk, skb)
    if err < 0:
        mib[UDP_MIB_RCVBUFERRORS if err == -ENOMEM else UDP_MIB_MEMERRORS] += 1
        mib[UDP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.SOCKET_RCVBUFF if err == -ENOMEM else dropreason.PROTO_MEM)


def udplite_accepts(sk: UdpSock, h: Udphdr, length: int) -> bool:
    """Tell whether a packet covers as much as the socket demands, UDPLITE_RECV_CSCOV."""
    covered = h.coverage if h.coverage > 0 else length + UDP_HEADER_LEN
    if not sk.pcrlen_set or covered >= length + UDP_HEADER_LEN:
        return True
    return sk.pcrlen != 0 and covered >= sk.pcrlen


def _drop(sk: UdpSock, skb: SkBuff, mib: list[int], reason: str) -> None:
    mib[UDP_MIB_INERRORS] += 1
    sk.sk_drops += 1
    kfree_skb_reason(skb, reason)


def __udp4_lib_mcast_deliver(net: Net, skb: SkBuff, h: Udphdr, protocol: int) -> int:
    """Give a multicast or broadcast to every socket that wants it."""
    iph = skb.nh4
    assert iph is not None
    dif = inet_iif(skb)
    mib = _mib4(net, protocol)
    found: list[UdpSock] = []
    sk = udp_table(net, protocol).slot(h.dest).first
    while sk is not None:
        if isinstance(sk, UdpSock) and sk.sk_protocol == protocol and _is_mcast_sock(sk, h, iph.daddr, iph.saddr, dif):
            found.append(sk)
        sk = sk.sk_next
    deliver_copies(found, skb, mib)
    return 0


def deliver_copies(found: list[UdpSock], skb: SkBuff, mib: list[int]) -> None:
    """Queue a copy for every socket; the first one gets the packet itself, last."""
    for sk in found[1:]:
        copy = skb_clone(skb)
        copy.dev = skb.dev
        udp_queue_rcv_skb(sk, copy, mib)
    if found:
        udp_queue_rcv_skb(found[0], skb, mib)
    else:
        mib[UDP_MIB_IGNOREDMULTI] += 1
        consume_skb(skb)


def _is_mcast_sock(sk: UdpSock, h: Udphdr, loc_addr: int, rmt_addr: int, dif: int) -> bool:
    if sk.sk_num != h.dest or sk.sk_ipv6only or (sk.sk_daddr and sk.sk_daddr != rmt_addr):
        return False
    if (sk.sk_dport and sk.sk_dport != h.source) or (sk.sk_rcv_saddr and sk.sk_rcv_saddr != loc_addr):
        return False
    return udp_sk_bound_dev_eq(sk, dif, 0) and ip_mc_sf_allow(sk, loc_addr, rmt_addr, dif, 0)


# ICMP errors


def udp4_err(quote: SkBuff, protocol: int, type_: int, code: int, info: int) -> int:
    """Tell the sender's socket of an error: always with IP_RECVERR, else only a fatal one to a connected socket."""
    dev = quote.dev
    iph = quote.nh4
    assert dev is not None and iph is not None
    net = dev.net
    data = quote.payload()
    source, dest = data[0] << 8 | data[1], data[2] << 8 | data[3]
    sk = __udp4_lib_lookup(net, iph.daddr, dest, iph.saddr, source, dev.ifindex, 0, protocol, None)
    if sk is None:
        net.icmp_statistics[ICMP_MIB_INERRORS] += 1
        return -ENOENT
    err, harderr = icmp4_sock_error(sk, quote, type_, code, info)
    if not err:
        return 0
    if not sk.inet_test_bit(INET_FLAGS_RECVERR):
        if not harderr or sk.sk_state != TCP_ESTABLISHED:
            return 0
    else:
        ip_icmp_error(sk, quote, UDP_HEADER_LEN, err, dest, info)
    sk.sk_err = err
    sk.sk_error_report()
    return 0


def icmp4_sock_error(sk: InetSock, quote: SkBuff, type_: int, code: int, info: int) -> tuple[int, bool]:
    """Return (errno, fatal) of an ICMP error for a datagram socket; errno 0: not its business."""
    iph = quote.nh4
    assert iph is not None
    if type_ in (ICMP_SOURCE_QUENCH, ICMP_REDIRECT):
        return 0, False
    if type_ == ICMP_PARAMETERPROB:
        return EPROTO, True
    if type_ != ICMP_DEST_UNREACH:
        return EHOSTUNREACH, False
    if code == ICMP_FRAG_NEEDED:
        ipv4_update_pmtu(sk.sk_net, iph.daddr, iph.saddr, info, sk.sk_bound_dev_if, sk.sk_protocol)
        return (0, False) if sk.pmtudisc == IP_PMTUDISC_DONT else (EMSGSIZE, True)
    if code < len(icmp_err_convert):
        return icmp_err_convert[code]
    return EHOSTUNREACH, False


# For /proc/net/udp and udp_diag


def udp_sockets(net: Net, protocol: int, family: int) -> list[tuple[int, Sock]]:
    """List the sockets that own a port as /proc/net/udp does: (bucket number, socket), bucket by bucket."""
    found: list[tuple[int, Sock]] = []
    table = net.udplite_table if protocol == IPPROTO_UDPLITE else net.udp_table
    if table is None:
        return found
    for bucket in range(len(table.hash)):
        sk = table.hash[bucket].first
        while sk is not None:
            if isinstance(sk, UdpSock) and sk.sk_protocol == protocol and sk.sk_family == family:
                found.append((bucket, sk))
            sk = sk.sk_next
    return found
