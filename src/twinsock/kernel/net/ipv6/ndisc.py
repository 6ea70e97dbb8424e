"""Neighbour discovery, RFC 4861, and the probes of duplicate address detection, RFC 4862, RFC 7527 (Linux: net/ipv6/ndisc.c).

Left out: router discovery, redirects (counted, not followed), proxies."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.neighbour import (
    NEIGH_UPDATE_F_OVERRIDE,
    NEIGH_UPDATE_F_WEAK_OVERRIDE,
    Neighbour,
    NeighTable,
)
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.ipv6.addrconf import (
    ALLNODES,
    Inet6Ifaddr,
    addrconf_dad_failure,
    ipv6_chk_addr,
    ipv6_get_lladdr,
)
from twinsock.kernel.net.ipv6.icmp import icmpv6_push, icmpv6_send
from twinsock.kernel.net.ipv6.mcast import addrconf_addr_solict_mult
from twinsock.kernel.net.ipv6.route import Rt6Info
from twinsock.uapi.icmpv6 import ICMPV6_ADDR_UNREACH, ICMPV6_DEST_UNREACH, NDISC_NEIGHBOUR_ADVERTISEMENT, NDISC_NEIGHBOUR_SOLICITATION
from twinsock.uapi.if_ import IFF_LOOPBACK, IFF_NOARP
from twinsock.uapi.rtnetlink import IFA_F_TENTATIVE, NUD_NOARP, NUD_REACHABLE, NUD_STALE, RTN_MULTICAST
from twinsock.wire.icmp6 import (
    NA_OVERRIDE,
    NA_ROUTER,
    NA_SOLICITED,
    ND_OPT_NONCE,
    ND_OPT_SOURCE_LL_ADDR,
    ND_OPT_TARGET_LL_ADDR,
    Icmp6hdr,
    nd_option,
    nd_options,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net

AF_INET6: Final = 10


class NdTable(NeighTable):
    """`nd_tbl`."""

    def __init__(self, net: Net) -> None:
        super().__init__(net, AF_INET6)
        self.parms.locktime_ms = 0

    def constructor(self, neigh: Neighbour) -> None:
        """Know the address of groups without asking."""
        dev = neigh.dev
        if not dev.has_link_addr():
            neigh.nud_state = NUD_NOARP
        elif neigh.key[0] == 0xFF:
            neigh.nud_state = NUD_NOARP
            neigh.ha = b"\x33\x33" + neigh.key[12:]
        elif dev.flags & (IFF_NOARP | IFF_LOOPBACK):
            neigh.nud_state = NUD_NOARP
            neigh.ha = dev.dev_addr

    def solicit(self, neigh: Neighbour, skb: SkBuff | None) -> None:
        """Ask who has the address: the last known owner first, then its group."""
        dev = neigh.dev
        saddr = b""
        if skb is not None and skb.nh6 is not None and ipv6_chk_addr(self.net, skb.nh6.saddr, dev, True):
            saddr = skb.nh6.saddr
        if neigh.probes < neigh.parms.ucast_solicit and neigh.ha:
            ndisc_send_ns(dev, neigh.key, neigh.key, saddr, b"")
        else:
            ndisc_send_ns(dev, neigh.key, addrconf_addr_solict_mult(neigh.key), saddr, b"")

    def error_report(self, neigh: Neighbour, skb: SkBuff) -> None:
        """Say "address unreachable" to whoever sent the packet, ourselves included."""
        icmpv6_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0)
        kfree_skb_reason(skb, dropreason.NEIGH_FAILED)


def ndisc_send_ns(dev: NetDevice, target: bytes, daddr: bytes, saddr: bytes, nonce: bytes) -> None:
    """Send a neighbour solicitation; `saddr` b"" means the device's link-local address, without which nothing is sent.

    A `saddr` of :: makes it a probe of duplicate address detection."""
    if not saddr:
        saddr = ipv6_get_lladdr(dev)
        if not saddr:
            return
    payload = target
    if saddr != IN6ADDR_ANY:
        payload += nd_option(ND_OPT_SOURCE_LL_ADDR, dev.dev_addr)
    if nonce:
        payload += nd_option(ND_OPT_NONCE, nonce)
    _send(dev, Icmp6hdr(NDISC_NEIGHBOUR_SOLICITATION), payload, saddr, daddr)


def ndisc_send_na(dev: NetDevice, daddr: bytes, target: bytes, solicited: bool, override: bool) -> None:
    """Send a neighbour advertisement for an address of ours; one that overrides tells our link address."""
    idev = dev.ip6_ptr
    flags = (NA_SOLICITED if solicited else 0) | (NA_OVERRIDE if override else 0)
    if idev is not None and idev.cnf.forwarding:
        flags |= NA_ROUTER
    payload = target + nd_option(ND_OPT_TARGET_LL_ADDR, dev.dev_addr) if override else target
    _send(dev, Icmp6hdr(NDISC_NEIGHBOUR_ADVERTISEMENT, 0, flags), payload, target, daddr)


def _send(dev: NetDevice, h: Icmp6hdr, payload: bytes, saddr: bytes, daddr: bytes) -> None:
    handlers = dev.net.kernel.ip6_handlers
    assert handlers is not None
    rt = Rt6Info(dev, handlers, daddr)
    if daddr[0] == 0xFF:
        rt.type = RTN_MULTICAST
    icmpv6_push(dev.net, h, payload, saddr, daddr, rt, 0, 255, False)


def ndisc_rcv(skb: SkBuff, h: Icmp6hdr) -> str:
    """Take a neighbour discovery message, from the link (hop limit 255), code 0: "" or a drop reason."""
    hdr = skb.nh6
    assert hdr is not None
    if hdr.hop_limit != 255:
        return dropreason.IPV6_NDISC_HOP_LIMIT
    if h.code != 0:
        return dropreason.IPV6_NDISC_BAD_CODE
    if h.type == NDISC_NEIGHBOUR_SOLICITATION:
        return _recv_ns(skb)
    if h.type == NDISC_NEIGHBOUR_ADVERTISEMENT:
        return _recv_na(skb, h)
    return ""


def _recv_ns(skb: SkBuff) -> str:
    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    data = skb.payload()
    idev = dev.ip6_ptr
    if len(data) < 16:
        return dropreason.PKT_TOO_SMALL
    if data[0] == 0xFF or idev is None:
        return dropreason.NOT_SPECIFIED
    target = data[:16]
    options = nd_options(data[16:])
    if options is None:
        return dropreason.IPV6_NDISC_BAD_OPTIONS
    dad = hdr.saddr == IN6ADDR_ANY
    if dad and hdr.daddr[:13] != b"\xff\x02" + bytes(9) + b"\x01\xff":
        return dropreason.NOT_SPECIFIED
    lladdr = b""
    nonce = b""
    for kind, value in options:
        if kind == ND_OPT_SOURCE_LL_ADDR:
            lladdr = value[:6]
        elif kind == ND_OPT_NONCE:
            nonce = value[:6]
    if dad and lladdr:
        return dropreason.NOT_SPECIFIED
    ifp = _our_address(dev, target)
    if ifp is None:
        return dropreason.IPV6_NDISC_NS_OTHERHOST
    if ifp.flags & IFA_F_TENTATIVE:
        if dad and not (nonce and nonce == ifp.nonce):
            addrconf_dad_failure(ifp)
        return dropreason.NOT_SPECIFIED
    if dad:
        ndisc_send_na(dev, ALLNODES, target, False, True)
        return dropreason.NOT_SPECIFIED
    tbl = dev.net.ipv6.nd_tbl
    assert tbl is not None
    multicast = hdr.daddr[0] == 0xFF
    neigh = tbl.lookup_or_create(hdr.saddr, dev) if lladdr or not multicast else tbl.lookup(hdr.saddr, dev)
    if neigh is not None and lladdr:
        neigh.update(lladdr, NUD_STALE, NEIGH_UPDATE_F_WEAK_OVERRIDE | NEIGH_UPDATE_F_OVERRIDE)
    if neigh is None:
        return dropreason.NOT_SPECIFIED
    ndisc_send_na(dev, hdr.saddr, target, True, multicast)
    return ""


def _recv_na(skb: SkBuff, h: Icmp6hdr) -> str:
    dev = skb.dev
    hdr = skb.nh6
    assert dev is not None and hdr is not None
    data = skb.payload()
    if len(data) < 16:
        return dropreason.PKT_TOO_SMALL
    if data[0] == 0xFF or (hdr.daddr[0] == 0xFF and h.un & NA_SOLICITED):
        return dropreason.NOT_SPECIFIED
    options = nd_options(data[16:])
    if options is None:
        return dropreason.IPV6_NDISC_BAD_OPTIONS
    lladdr = b""
    for kind, value in options:
        if kind == ND_OPT_TARGET_LL_ADDR:
            lladdr = value[:6]
    target = data[:16]
    ifp = _our_address(dev, target)
    if ifp is not None:
        if ifp.flags & IFA_F_TENTATIVE:
            addrconf_dad_failure(ifp)
        return dropreason.NOT_SPECIFIED
    tbl = dev.net.ipv6.nd_tbl
    assert tbl is not None
    neigh = tbl.lookup(target, dev)
    if neigh is None:
        return dropreason.NOT_SPECIFIED
    neigh.is_router = bool(h.un & NA_ROUTER)
    flags = NEIGH_UPDATE_F_WEAK_OVERRIDE | (NEIGH_UPDATE_F_OVERRIDE if h.un & NA_OVERRIDE else 0)
    neigh.update(lladdr, NUD_REACHABLE if h.un & NA_SOLICITED else NUD_STALE, flags)
    return ""


def _our_address(dev: NetDevice, addr: bytes) -> Inet6Ifaddr | None:
    if dev.ip6_ptr is not None:
        for ifp in dev.ip6_ptr.addr_list:
            if ifp.addr == addr:
                return ifp
    return None
