"""ARP, RFC 826, RFC 5227 (Linux: net/ipv4/arp.c). Left out: proxies, arp_accept and arp_announce above 0."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import dev_queue_xmit
from twinsock.kernel.net.core.neighbour import NEIGH_UPDATE_F_OVERRIDE, Neighbour, NeighTable
from twinsock.kernel.net.core.protocol import PacketType
from twinsock.kernel.net.core.skbuff import PACKET_HOST, PACKET_LOOPBACK, PACKET_OTHERHOST, SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.net.ipv4.devinet import inet_select_addr
from twinsock.kernel.net.ipv4.fib_frontend import inet_addr_type, ipv4_is_loopback, ipv4_is_multicast
from twinsock.kernel.net.ipv4.icmp import icmp_send
from twinsock.kernel.time.timer import NSEC_PER_MSEC
from twinsock.uapi.icmp import ICMP_DEST_UNREACH, ICMP_HOST_UNREACH
from twinsock.uapi.if_ import ARPOP_REPLY, ARPOP_REQUEST, ETH_P_ARP, IFF_LOOPBACK, IFF_NOARP, IFF_POINTOPOINT
from twinsock.uapi.rtnetlink import NUD_NOARP, NUD_REACHABLE, NUD_STALE, RT_SCOPE_LINK, RTN_BROADCAST, RTN_LOCAL
from twinsock.wire import arp as wire_arp
from twinsock.wire.arp import ArpPacket
from twinsock.wire.ethernet import ETH_BROADCAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net

AF_INET: Final = 2


class ArpTable(NeighTable):
    """`arp_tbl`."""

    def __init__(self, net: Net) -> None:
        super().__init__(net, AF_INET)

    def constructor(self, neigh: Neighbour) -> None:
        """Know the address of groups and broadcasts without asking."""
        addr = int.from_bytes(neigh.key, "big")
        dev = neigh.dev
        if not dev.has_link_addr():
            neigh.nud_state = NUD_NOARP
        elif ipv4_is_multicast(addr):
            neigh.nud_state = NUD_NOARP
            neigh.ha = b"\x01\x00\x5e" + (addr & 0x7FFFFF).to_bytes(3, "big")
        elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
            neigh.nud_state = NUD_NOARP
            neigh.ha = dev.dev_addr
        elif inet_addr_type(self.net, addr) == RTN_BROADCAST or dev.flags & IFF_POINTOPOINT:
            neigh.nud_state = NUD_NOARP
            neigh.ha = dev.broadcast

    def solicit(self, neigh: Neighbour, skb: SkBuff | None) -> None:
        """Ask who has the address: the last known owner first, then everybody."""
        dev = neigh.dev
        target = int.from_bytes(neigh.key, "big")
        saddr = 0
        if skb is not None and skb.nh4 is not None and inet_addr_type(self.net, skb.nh4.saddr) == RTN_LOCAL:
            saddr = skb.nh4.saddr
        if not saddr:
            saddr = inet_select_addr(dev, target, RT_SCOPE_LINK, self.net)
        if neigh.probes < neigh.parms.ucast_solicit and neigh.ha:
            arp_send(dev, ARPOP_REQUEST, target, saddr, neigh.ha, bytes(6))
        else:
            arp_send(dev, ARPOP_REQUEST, target, saddr, ETH_BROADCAST, bytes(6))

    def error_report(self, neigh: Neighbour, skb: SkBuff) -> None:
        """Say "host unreachable" to whoever sent the packet, ourselves included."""
        icmp_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0)
        kfree_skb_reason(skb, dropreason.NEIGH_FAILED)


class ArpPacketType(PacketType):
    """Takes EtherType 0x0806."""

    def func(self, skb: SkBuff, dev: NetDevice) -> int:
        """Receive a packet."""
        return arp_rcv(skb, dev)


def arp_send(dev: NetDevice, op: int, target: int, saddr: int, dest_hw: bytes, target_hw: bytes) -> None:
    """Send a packet."""
    if dev.flags & IFF_NOARP:
        return
    skb = SkBuff(ArpPacket(op, dev.dev_addr, saddr, target_hw, target).emit())
    skb.truesize = 768
    skb.dev = dev
    skb.protocol = ETH_P_ARP
    skb.mac_dest = dest_hw
    skb.mac_source = dev.dev_addr
    dev_queue_xmit(skb)


def arp_rcv(skb: SkBuff, dev: NetDevice) -> int:
    """Answer requests for our addresses, and learn."""
    if dev.flags & IFF_NOARP or skb.pkt_type in (PACKET_OTHERHOST, PACKET_LOOPBACK):
        consume_skb(skb)
        return 0
    if dev.ip_ptr is None:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    arp = wire_arp.parse(skb.data, skb.offset)
    if arp is None or arp.op not in (ARPOP_REQUEST, ARPOP_REPLY) or ipv4_is_multicast(arp.tip):
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    if ipv4_is_loopback(arp.tip) and not dev.ip_ptr.route_localnet():
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0
    _process(skb, dev, arp)
    consume_skb(skb)
    return 0


def _process(skb: SkBuff, dev: NetDevice, arp: ArpPacket) -> None:
    net = dev.net
    tbl = net.ipv4.arp_tbl
    in_dev = dev.ip_ptr
    assert tbl is not None and in_dev is not None
    if arp.sip == arp.tip and in_dev.cnf.drop_gratuitous_arp:
        return
    if arp.sip == 0:
        # RFC 5227: somebody asks whether the address is free.
        if arp.op == ARPOP_REQUEST and inet_addr_type(net, arp.tip) == RTN_LOCAL and not _ignored(dev, arp):
            arp_send(dev, ARPOP_REPLY, arp.sip, arp.tip, arp.sha, arp.sha)
        return
    if arp.op == ARPOP_REQUEST and _routed_here(net, arp.tip) and not _ignored(dev, arp):
        neigh = tbl.lookup_or_create(arp.sip.to_bytes(4, "big"), dev)
        neigh.update(arp.sha, NUD_STALE, NEIGH_UPDATE_F_OVERRIDE)
        arp_send(dev, ARPOP_REPLY, arp.sip, arp.tip, arp.sha, arp.sha)
        return
    known = tbl.lookup(arp.sip.to_bytes(4, "big"), dev)
    if known is not None:
        now = net.kernel.clock.now_ns
        gratuitous = arp.sip == arp.tip
        override = now > known.updated_ns + known.parms.locktime_ms * NSEC_PER_MSEC or gratuitous
        state = NUD_REACHABLE if arp.op == ARPOP_REPLY and skb.pkt_type == PACKET_HOST else NUD_STALE
        known.update(arp.sha, state, NEIGH_UPDATE_F_OVERRIDE if override else 0)


def _routed_here(net: Net, addr: int) -> bool:
    return inet_addr_type(net, addr) == RTN_LOCAL


def _ignored(dev: NetDevice, arp: ArpPacket) -> bool:
    """Heed arp_ignore: 1 answers only for this device's addresses, 2 also wants the asker in the subnet, 8 never answers."""
    in_dev = dev.ip_ptr
    conf_all = dev.net.ipv4.devconf_all
    assert in_dev is not None and conf_all is not None
    mode = max(in_dev.cnf.arp_ignore, conf_all.arp_ignore)
    if mode == 0:
        return False
    if mode in (1, 2):
        for ifa in in_dev.ifa_list:
            if ifa.ifa_local == arp.tip:
                return mode == 2 and not ifa.inet_ifa_match(arp.sip)
        return True
    return mode == 8
