"""UDP from the network over IPv6: who gets a datagram, and who learns of an ICMPv6 error (Linux: udpv6_rcv(), __udp6_lib_lookup(),
udpv6_err() of net/ipv6/udp.c)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.ipv4.inet_hashtables import portaddr_hash
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR6
from twinsock.kernel.net.ipv4.udp import UdpSock
from twinsock.kernel.net.ipv4.udp_input import (
    deliver_copies,
    parse_udp,
    select_from_group,
    udp_ehashfn,
    udp_queue_rcv_skb,
    udp_sk_bound_dev_eq,
)
from twinsock.kernel.net.ipv4.udp_table import UdpHslot2, UdpTable, udp_table
from twinsock.kernel.net.ipv6.icmp import icmpv6_err_convert, icmpv6_send
from twinsock.kernel.net.ipv6.ip6_cmsg import ipv6_icmp_error
from twinsock.kernel.net.ipv6.mcast_sock import inet6_mc_check
from twinsock.kernel.net.ipv6.route import ip6_update_pmtu
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.icmpv6 import ICMPV6_DEST_UNREACH, ICMPV6_PKT_TOOBIG, ICMPV6_PORT_UNREACH
from twinsock.uapi.in6 import IPV6_PMTUDISC_DONT, IPV6_PMTUDISC_INTERFACE
from twinsock.uapi.in_ import IPPROTO_UDPLITE
from twinsock.uapi.snmp import ICMP6_MIB_INERRORS, UDP_MIB_INCSUMERRORS, UDP_MIB_INERRORS, UDP_MIB_NOPORTS
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire.l4 import pseudo_sum6
from twinsock.wire.udp import UDP_HEADER_LEN, Udphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net

_ANY = bytes(16)


class Udp6Protocol(NetProtocol):
    """Next headers 17 and 136."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol

    def handler(self, skb: SkBuff) -> int:
        """Receive a datagram."""
        return udp6_rcv(skb, self.protocol)

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an ICMPv6 error."""
        return udp6_err(skb, self.protocol, type_, code, info)


def _mib6(net: Net, protocol: int) -> list[int]:
    return net.udplite6_statistics if protocol == IPPROTO_UDPLITE else net.udp6_statistics


def inet6_iif(skb: SkBuff) -> int:
    """Return the index of the device that a packet came in on."""
    return skb.iif or (0 if skb.dev is None else skb.dev.ifindex)


def compute_score6(sk: UdpSock, saddr: bytes, sport: int, daddr: bytes, hnum: int, dif: int, sdif: int) -> int:
    """Say how well a socket fits a packet, -1 not at all."""
    if sk.sk_num != hnum or sk.sk_family != AF_INET6 or sk.sk_v6_rcv_saddr != daddr:
        return -1
    score = 0
    if sk.sk_dport:
        if sk.sk_dport != sport:
            return -1
        score += 1
    if sk.sk_v6_daddr != _ANY:
        if sk.sk_v6_daddr != saddr:
            return -1
        score += 1
    if not udp_sk_bound_dev_eq(sk, dif, sdif):
        return -1
    if sk.sk_bound_dev_if:
        score += 1
    return score + (sk.sk_incoming_cpu == sk.sk_net.kernel.cpu)


def __udp6_lib_lookup(
    net: Net, saddr: bytes, sport: int, daddr: bytes, hnum: int, dif: int, protocol: int, skb: SkBuff | None
) -> UdpSock | None:
    """Find the socket for a datagram: its address first, then the wildcard."""
    table = udp_table(net, protocol)
    found = _lookup2(_slot6(table, daddr, hnum), net, saddr, sport, daddr, daddr, hnum, dif, protocol, skb)
    if found is not None:
        return found
    return _lookup2(_slot6(table, _ANY, hnum), net, saddr, sport, _ANY, daddr, hnum, dif, protocol, skb)


def _slot6(table: UdpTable, daddr: bytes, hnum: int) -> UdpHslot2:
    return table.slot2(portaddr_hash(table.secret, False, 0, daddr, hnum))


def _lookup2(
    slot: UdpHslot2,
    net: Net,
    saddr: bytes,
    sport: int,
    bound: bytes,
    daddr: bytes,
    hnum: int,
    dif: int,
    protocol: int,
    skb: SkBuff | None,
) -> UdpSock | None:
    result: UdpSock | None = None
    badness = -1
    sk = slot.first
    while sk is not None:
        if isinstance(sk, UdpSock) and sk.sk_protocol == protocol:
            score = compute_score6(sk, saddr, sport, bound, hnum, dif, 0)
            if score > badness:
                badness = score
                result = sk
                group = sk.sk_reuseport_cb
                if sk.sk_state != TCP_ESTABLISHED and sk.sk_reuseport and group is not None:
                    flow = udp_ehashfn(net, int.from_bytes(daddr, "big"), hnum, int.from_bytes(saddr, "big"), sport)
                    chosen = select_from_group(sk, flow, skb)
                    if chosen is not None:
                        result = chosen
                        if not group.has_conns:
                            return chosen
                        badness = compute_score6(chosen, saddr, sport, bound, hnum, dif, 0)
        sk = sk.udp_next2
    return result


def udp6_rcv(skb: SkBuff, protocol: int) -> int:
    """Receive a datagram: find its socket, or say that the port is unreachable."""
    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    net = dev.net
    mib = _mib6(net, protocol)
    h = skb.h
    if h is None:
        h = parse_udp(skb, pseudo_sum6(hdr.saddr, hdr.daddr, protocol, skb.len), protocol)
    if not isinstance(h, Udphdr):
        mib[UDP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.PKT_TOO_SMALL)
        return 0
    no_check = h.no_check and protocol != IPPROTO_UDPLITE
    if hdr.daddr[0] == 0xFF:
        return _mcast_deliver(net, skb, h, protocol)
    sk = __udp6_lib_lookup(net, hdr.saddr, h.source, hdr.daddr, h.dest, inet6_iif(skb), protocol, skb)
    if sk is not None and not (no_check and not sk.no_check6_rx):
        udp_queue_rcv_skb(sk, skb, mib)
        return 0
    if sk is not None or no_check or h.csum_bad:
        mib[UDP_MIB_INCSUMERRORS] += 1
        mib[UDP_MIB_INERRORS] += 1
        kfree_skb_reason(skb, dropreason.UDP_CSUM)
        return 0
    mib[UDP_MIB_NOPORTS] += 1
    icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0)
    kfree_skb_reason(skb, dropreason.NO_SOCKET)
    return 0


def _mcast_deliver(net: Net, skb: SkBuff, h: Udphdr, protocol: int) -> int:
    """Give a multicast to every socket that wants it."""
    hdr = skb.nh6
    assert hdr is not None
    dif = inet6_iif(skb)
    found: list[UdpSock] = []
    sk = udp_table(net, protocol).slot(h.dest).first
    while sk is not None:
        if isinstance(sk, UdpSock) and sk.sk_protocol == protocol and _is_mcast_sock(sk, h, hdr.daddr, hdr.saddr, dif):
            if not (h.no_check and not sk.no_check6_rx):
                found.append(sk)
        sk = sk.sk_next
    deliver_copies(found, skb, _mib6(net, protocol))
    return 0


def _is_mcast_sock(sk: UdpSock, h: Udphdr, loc_addr: bytes, rmt_addr: bytes, dif: int) -> bool:
    if sk.sk_num != h.dest or sk.sk_family != AF_INET6 or (sk.sk_dport and sk.sk_dport != h.source):
        return False
    if sk.sk_v6_daddr not in (_ANY, rmt_addr) or sk.sk_v6_rcv_saddr not in (_ANY, loc_addr):
        return False
    return udp_sk_bound_dev_eq(sk, dif, 0) and inet6_mc_check(sk, loc_addr, rmt_addr)


def udp6_err(quote: SkBuff, protocol: int, type_: int, code: int, info: int) -> int:
    """Tell the sender's socket of an error: always with IPV6_RECVERR, else only a fatal one to a connected socket."""
    dev = quote.dev
    hdr = quote.nh6
    assert dev is not None and hdr is not None
    net = dev.net
    data = quote.payload()
    source, dest = data[0] << 8 | data[1], data[2] << 8 | data[3]
    sk = __udp6_lib_lookup(net, hdr.daddr, dest, hdr.saddr, source, inet6_iif(quote), protocol, None)
    if sk is None:
        net.icmp6_statistics[ICMP6_MIB_INERRORS] += 1
        return -ENOENT
    err, harderr = icmpv6_err_convert(type_, code)
    np = sk.pinet6
    if type_ == ICMPV6_PKT_TOOBIG and np is not None:
        if np.pmtudisc >= IPV6_PMTUDISC_INTERFACE:
            return 0
        ip6_update_pmtu(net, hdr.daddr, info, sk.sk_bound_dev_if)
        harderr = harderr or np.pmtudisc != IPV6_PMTUDISC_DONT
    if not sk.inet_test_bit(INET_FLAGS_RECVERR6):
        if not harderr or sk.sk_state != TCP_ESTABLISHED:
            return 0
    else:
        ipv6_icmp_error(sk, quote, UDP_HEADER_LEN, err, dest, info)
    sk.sk_err = err
    sk.sk_error_report()
    return 0
