"""Routing decisions (Linux: net/ipv4/route.c, include/net/route.h).

`ip_route_output_flow` for what this host sends, `ip_route_input` for what arrives. Both give an `Rtable`. Left out: multicast
routing, redirects (received ones are ignored)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import LOOPBACK_IFINDEX, dev_get_by_index
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_DOREDIRECT, RTCF_LOCAL, RTCF_MULTICAST
from twinsock.kernel.net.core.dst import Dst as Dst
from twinsock.kernel.net.core.skbuff import IPSKB_DOREDIRECT, SkBuff
from twinsock.kernel.net.ipv4.devinet import inet_select_addr, ip_dev_find
from twinsock.kernel.net.ipv4.fib_frontend import (
    fib_validate_source,
    ipv4_is_local_multicast,
    ipv4_is_loopback,
    ipv4_is_multicast,
)
from twinsock.kernel.net.ipv4.fib_table import FibInfo, FibResult, FibTables, PmtuException
from twinsock.kernel.net.ipv4.igmp import ip_check_mc
from twinsock.uapi.errno import EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, EXDEV
from twinsock.uapi.in_ import INADDR_BROADCAST, INADDR_LOOPBACK, IPPROTO_IGMP
from twinsock.uapi.rtnetlink import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTAX_HOPLIMIT,
    RTAX_MTU,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    RTN_UNREACHABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock

IP_MAX_MTU: Final = 0xFFFF
FLOWI_FLAG_ANYSRC: Final = 1


class Flowi4:
    """`struct flowi4`: the flow that a route is asked for; the lookup fills in `saddr` (and `daddr` for 0.0.0.0)."""

    def __init__(self, daddr: int = 0, saddr: int = 0, proto: int = 0, sport: int = 0, dport: int = 0, oif: int = 0) -> None:
        self.daddr = daddr
        self.saddr = saddr
        self.proto = proto
        self.sport = sport
        self.dport = dport
        self.oif = oif
        self.iif = LOOPBACK_IFINDEX
        self.mark = 0
        self.tos = 0
        self.scope = RT_SCOPE_UNIVERSE
        self.uid = 0
        self.flags = 0  # FLOWI_FLAG_*


class RtHandlers:
    """What the layers above routing do with a packet; `ip_init` puts the real one into place, so that routes need not import them."""

    def local_deliver(self, skb: SkBuff) -> int:
        """Take a packet for this host."""
        raise NotImplementedError

    def forward(self, skb: SkBuff) -> int:
        """Pass a packet on."""
        raise NotImplementedError

    def error(self, skb: SkBuff) -> int:
        """Refuse a packet."""
        raise NotImplementedError

    def discard(self, skb: SkBuff) -> int:
        """Throw a packet away that came back to a host that does not listen."""
        raise NotImplementedError

    def output(self, skb: SkBuff) -> int:
        """Send a packet out."""
        raise NotImplementedError

    def mc_output(self, skb: SkBuff) -> int:
        """Send a multicast or broadcast that this host may want, too."""
        raise NotImplementedError


_IN_NONE: Final = 0
_IN_LOCAL: Final = 1
_IN_FORWARD: Final = 2
_IN_ERROR: Final = 3


class Rtable(Dst):
    """`struct rtable`: an IPv4 route for one destination."""

    def __init__(self, dev: NetDevice, handlers: RtHandlers, daddr: int) -> None:
        super().__init__(dev)
        self.handlers = handlers
        self.genid = self.net.ipv4.rt_genid
        self.daddr = daddr
        self.rt_gateway = 0  # 0: the destination is on the link
        self.input_kind = _IN_NONE
        self.mc_loop = False

    def nexthop(self) -> int:
        """Return the address that the frame goes to."""
        return self.rt_gateway or self.daddr

    def input(self, skb: SkBuff) -> int:
        """Take a packet that arrived along this route."""
        kind = self.input_kind
        if kind == _IN_LOCAL:
            return self.handlers.local_deliver(skb)
        if kind == _IN_FORWARD:
            return self.handlers.forward(skb)
        if kind == _IN_ERROR:
            return self.handlers.error(skb)
        return self.handlers.discard(skb)

    def output(self, skb: SkBuff) -> int:
        """Send a packet along this route."""
        if self.mc_loop:
            return self.handlers.mc_output(skb)
        return self.handlers.output(skb)

    def check(self) -> bool:
        """Tell whether the tables have not changed since."""
        return self.genid == self.net.ipv4.rt_genid

    def get_mtu(self) -> int:
        """Return what fits without fragmentation, learned exceptions included, ipv4_mtu()."""
        fib = self.net.ipv4.fib
        if fib is not None and fib.exceptions:
            found = _live_exception(fib, self.daddr)
            if found is not None:
                return min(found.pmtu, IP_MAX_MTU)
        return min(self.metrics[RTAX_MTU] or self.dev.mtu, IP_MAX_MTU)

    def locked(self, which: int) -> bool:
        """Tell whether the metric is fixed."""
        if which == RTAX_MTU:
            fib = self.net.ipv4.fib
            if fib is not None and fib.exceptions:
                found = _live_exception(fib, self.daddr)
                if found is not None and found.locked:
                    return True
        return super().locked(which)

    def default_advmss(self) -> int:
        """Return the MSS that fits the MTU, 256 at least."""
        return min(max(self.get_mtu() - 40, self.net.ipv4.ip_rt_min_advmss), IP_MAX_MTU - 40)

    def hoplimit(self) -> int:
        """Return the TTL for packets along this route, ip4_dst_hoplimit()."""
        return self.metrics[RTAX_HOPLIMIT] or self.net.ipv4.sysctl_ip_default_ttl

    def update_pmtu(self, mtu: int) -> None:
        """Learn a smaller path MTU, ip_rt_update_pmtu(): below the floor the path stays locked at the floor."""
        if super().locked(RTAX_MTU):
            return
        old = self.get_mtu()
        if old < mtu:
            return
        net = self.net
        locked = False
        if mtu < net.ipv4.ip_rt_min_pmtu:
            locked = True
            mtu = min(old, net.ipv4.ip_rt_min_pmtu)
        assert net.ipv4.fib is not None
        expires = net.kernel.clock.now_ns + net.ipv4.ip_rt_mtu_expires_ms * 1_000_000
        net.ipv4.fib.exceptions[self.daddr] = PmtuException(mtu, locked, expires)


def ip_route_output_flow(net: Net, fl4: Flowi4, sk: Sock | None) -> tuple[int, Rtable | None]:
    """Find the way for a packet of ours: (0, route) or (-errno, None); `fl4.saddr` is filled in."""
    fib = net.ipv4.fib
    handlers = net.kernel.rt_handlers
    if fib is None or handlers is None:
        return -ENETUNREACH, None
    err, dev_out = _check_given(net, fl4)
    if err:
        return err, None
    if dev_out is not None and (fl4.flags & _FLOWI_MAKE_NOW):
        fl4.flags &= ~_FLOWI_MAKE_NOW
        return _mkroute_output(fl4, RTN_UNICAST, None, dev_out, handlers)
    if not fl4.daddr:
        fl4.daddr = fl4.saddr
        if not fl4.daddr:
            fl4.daddr = INADDR_LOOPBACK
            fl4.saddr = INADDR_LOOPBACK
        lo = net.loopback_dev
        return (-ENETUNREACH, None) if lo is None else _mkroute_output(fl4, RTN_LOCAL, None, lo, handlers)
    err, res = fib.lookup(fl4.daddr, fl4.oif)
    if err or res is None:
        if fl4.oif and dev_out is not None:
            # A device was named: what has no route is taken to be on its link.
            if not fl4.saddr:
                fl4.saddr = inet_select_addr(dev_out, 0, RT_SCOPE_LINK, net)
            return _mkroute_output(fl4, RTN_UNICAST, None, dev_out, handlers)
        return err, None
    if res.type == RTN_LOCAL:
        if not fl4.saddr:
            fl4.saddr = res.fi.prefsrc or fl4.daddr
        lo = net.loopback_dev
        if lo is None:
            return -ENETUNREACH, None
        err, rt = _mkroute_output(fl4, RTN_LOCAL, res, lo, handlers)
        if rt is not None and res.fi.dev is not None:
            rt.iif = res.fi.dev.ifindex  # Linux: what travels over lo seems to come in where the address is
        return err, rt
    if not fl4.saddr:
        fl4.saddr = fib_result_prefsrc(net, res)
    if res.fi.dev is None:
        return -ENETUNREACH, None
    return _mkroute_output(fl4, res.type, res, res.fi.dev, handlers)


_FLOWI_MAKE_NOW: Final = 1 << 30


def _check_given(net: Net, fl4: Flowi4) -> tuple[int, NetDevice | None]:
    """Check the source and device that the flow names; _FLOWI_MAKE_NOW says that no lookup is needed."""
    saddr = fl4.saddr
    daddr = fl4.daddr
    if saddr:
        if ipv4_is_multicast(saddr) or saddr == INADDR_BROADCAST:
            return -EINVAL, None
        if fl4.oif == 0 and (ipv4_is_multicast(daddr) or daddr == INADDR_BROADCAST):
            dev = ip_dev_find(net, saddr)
            if dev is None:
                return -ENETUNREACH, None
            fl4.oif = dev.ifindex
            fl4.flags |= _FLOWI_MAKE_NOW
            return 0, dev
        if not fl4.flags & FLOWI_FLAG_ANYSRC and ip_dev_find(net, saddr) is None:
            return -ENETUNREACH, None
    if not fl4.oif:
        return 0, None
    dev = dev_get_by_index(net, fl4.oif)
    if dev is None:
        return -ENODEV, None
    if not dev.is_up() or dev.ip_ptr is None:
        return -ENETUNREACH, None
    if ipv4_is_local_multicast(daddr) or daddr == INADDR_BROADCAST or fl4.proto == IPPROTO_IGMP:
        if not saddr:
            fl4.saddr = inet_select_addr(dev, 0, RT_SCOPE_LINK, net)
        fl4.flags |= _FLOWI_MAKE_NOW
        return 0, dev
    if not saddr:
        if ipv4_is_multicast(daddr):
            fl4.saddr = inet_select_addr(dev, 0, fl4.scope, net)
        elif not daddr:
            fl4.saddr = inet_select_addr(dev, 0, RT_SCOPE_HOST, net)
    return 0, dev


def fib_result_prefsrc(net: Net, res: FibResult) -> int:
    """Return the source address that a route prefers."""
    fi = res.fi
    if fi.prefsrc:
        return fi.prefsrc
    return inet_select_addr(fi.dev, fi.gw, fi.scope, net)


def _mkroute_output(fl4: Flowi4, type_: int, res: FibResult | None, dev: NetDevice, handlers: RtHandlers) -> tuple[int, Rtable | None]:
    in_dev = dev.ip_ptr
    if in_dev is None:
        return -EINVAL, None
    daddr = fl4.daddr
    if ipv4_is_loopback(fl4.saddr) and not dev.is_loopback() and not in_dev.route_localnet():
        return -EINVAL, None
    if daddr == INADDR_BROADCAST:
        type_ = RTN_BROADCAST
    elif ipv4_is_multicast(daddr):
        type_ = RTN_MULTICAST
    fi: FibInfo | None = None if res is None else res.fi
    flags = RTCF_LOCAL if dev.is_loopback() else 0
    if type_ == RTN_BROADCAST:
        flags |= RTCF_BROADCAST | RTCF_LOCAL
        fi = None
    elif type_ == RTN_MULTICAST:
        flags |= RTCF_MULTICAST | RTCF_LOCAL
        if not ip_check_mc(in_dev, daddr, fl4.saddr, fl4.proto):
            flags &= ~RTCF_LOCAL
        if res is not None and res.prefixlen < 4:
            fi = None
    rt = Rtable(dev, handlers, daddr)
    rt.type = type_
    rt.rt_flags = flags
    if flags & RTCF_LOCAL:
        rt.input_kind = _IN_LOCAL
    if flags & (RTCF_BROADCAST | RTCF_MULTICAST) and flags & RTCF_LOCAL and not dev.is_loopback():
        rt.mc_loop = True
    if fi is not None:
        rt.metrics = fi.metrics
        if fi.gw and type_ == RTN_UNICAST:
            rt.rt_gateway = fi.gw
    return 0, rt


# Packets that arrive.


def ip_route_input(skb: SkBuff, dev: NetDevice) -> str:
    """Give a received packet its route (`skb.dst`): "" or the reason for which to drop it."""
    net = dev.net
    iph = skb.nh4
    fib = net.ipv4.fib
    assert iph is not None and fib is not None
    key = iph.daddr << 32 | iph.saddr
    cached = fib.input_cache.get(key)
    if cached is not None and cached.iif == dev.ifindex and cached.genid == net.ipv4.rt_genid:
        skb.dst = cached
        return ""
    reason, rt = _route_input_slow(fib, skb, iph.daddr, iph.saddr, dev)
    skb.dst = rt
    if rt is not None:
        rt.iif = dev.ifindex
        if not rt.rt_flags & (RTCF_MULTICAST | RTCF_BROADCAST | RTCF_DOREDIRECT) and rt.error == 0:
            fib.cache_input(key, rt)
    return reason


def _route_input_slow(fib: FibTables, skb: SkBuff, daddr: int, saddr: int, dev: NetDevice) -> tuple[str, Rtable | None]:
    net = dev.net
    in_dev = dev.ip_ptr
    handlers = net.kernel.rt_handlers
    if in_dev is None or handlers is None:
        return dropreason.NOT_SPECIFIED, None
    if ipv4_is_multicast(daddr):
        return _route_input_mc(skb, daddr, saddr, dev, handlers)
    if ipv4_is_multicast(saddr) or saddr == INADDR_BROADCAST:
        return dropreason.IP_INVALID_SOURCE, None
    if daddr == INADDR_BROADCAST or (saddr == 0 and daddr == 0):
        return _brd_input(fib, daddr, saddr, dev, handlers)
    if saddr == 0:
        return dropreason.IP_INVALID_SOURCE, None
    if daddr == 0:
        return dropreason.IP_INVALID_DEST, None
    if not dev.is_loopback() and not in_dev.route_localnet():
        if ipv4_is_loopback(daddr):
            return dropreason.IP_LOCALNET, None
        if ipv4_is_loopback(saddr):
            return dropreason.IP_LOCALNET, None
    err, res = fib.lookup(daddr)
    if err or res is None:
        if not in_dev.forwarding():
            err = -EHOSTUNREACH
        return "", _error_route(dev, handlers, daddr, -err)
    if res.type == RTN_BROADCAST:
        return _brd_input(fib, daddr, saddr, dev, handlers)
    if res.type == RTN_LOCAL:
        verdict = fib_validate_source(fib, saddr, dev, in_dev)
        if verdict < 0:
            return _source_reason(verdict), None
        rt = Rtable(dev, handlers, daddr)
        rt.type = RTN_LOCAL
        rt.rt_flags = RTCF_LOCAL
        rt.input_kind = _IN_LOCAL
        return "", rt
    if not in_dev.forwarding():
        return "", _error_route(dev, handlers, daddr, EHOSTUNREACH)
    if res.type != RTN_UNICAST or res.fi.dev is None:
        return dropreason.IP_INVALID_DEST, None
    verdict = fib_validate_source(fib, saddr, dev, in_dev)
    if verdict < 0:
        return _source_reason(verdict), None
    rt = Rtable(res.fi.dev, handlers, daddr)
    rt.type = RTN_UNICAST
    rt.metrics = res.fi.metrics
    rt.rt_gateway = res.fi.gw
    rt.input_kind = _IN_FORWARD
    if res.fi.dev is dev and verdict == 0 and in_dev.cnf.send_redirects:
        rt.rt_flags |= RTCF_DOREDIRECT
        skb.ip_flags |= IPSKB_DOREDIRECT
    return "", rt


def _route_input_mc(skb: SkBuff, daddr: int, saddr: int, dev: NetDevice, handlers: RtHandlers) -> tuple[str, Rtable | None]:
    in_dev = dev.ip_ptr
    assert in_dev is not None
    iph = skb.nh4
    assert iph is not None
    if not ip_check_mc(in_dev, daddr, saddr, iph.protocol):
        return dropreason.NOT_SPECIFIED, None
    if ipv4_is_multicast(saddr) or saddr == INADDR_BROADCAST:
        return dropreason.IP_INVALID_SOURCE, None
    if ipv4_is_loopback(saddr) and not dev.is_loopback() and not in_dev.route_localnet():
        return dropreason.IP_LOCALNET, None
    if saddr == 0 and not ipv4_is_local_multicast(daddr) and iph.protocol != IPPROTO_IGMP:
        return dropreason.IP_INVALID_SOURCE, None
    rt = Rtable(dev, handlers, daddr)
    rt.type = RTN_MULTICAST
    rt.rt_flags = RTCF_MULTICAST | RTCF_LOCAL
    rt.input_kind = _IN_LOCAL
    return "", rt


def _brd_input(fib: FibTables, daddr: int, saddr: int, dev: NetDevice, handlers: RtHandlers) -> tuple[str, Rtable | None]:
    in_dev = dev.ip_ptr
    assert in_dev is not None
    if saddr:
        verdict = fib_validate_source(fib, saddr, dev, in_dev)
        if verdict < 0:
            return _source_reason(verdict), None
    rt = Rtable(dev, handlers, daddr)
    rt.type = RTN_BROADCAST
    rt.rt_flags = RTCF_BROADCAST | RTCF_LOCAL
    rt.input_kind = _IN_LOCAL
    return "", rt


def _error_route(dev: NetDevice, handlers: RtHandlers, daddr: int, error: int) -> Rtable:
    rt = Rtable(dev, handlers, daddr)
    rt.type = RTN_UNREACHABLE
    rt.error = error
    rt.input_kind = _IN_ERROR
    return rt


def _source_reason(verdict: int) -> str:
    return dropreason.IP_RPFILTER if verdict == -EXDEV else dropreason.IP_LOCAL_SOURCE


def sk_dst_check(sk: Sock) -> Dst | None:
    """Return the route that a socket holds, unless the tables have changed since."""
    dst = sk.sk_dst_cache
    if dst is not None and not dst.check():
        sk.sk_dst_cache = None
        return None
    return dst


def sk_dst_set(sk: Sock, dst: Dst | None) -> None:
    """Make a socket hold a route."""
    sk.sk_dst_cache = dst


def ipv4_update_pmtu(net: Net, daddr: int, saddr: int, mtu: int, oif: int, proto: int) -> None:
    """Learn a path MTU for the way to `daddr`, as raw and UDP error handlers do."""
    fl4 = Flowi4(daddr, saddr, proto, oif=oif)
    fl4.flags = FLOWI_FLAG_ANYSRC
    err, rt = ip_route_output_flow(net, fl4, None)
    if err == 0 and rt is not None:
        rt.update_pmtu(mtu)


def _live_exception(fib: FibTables, daddr: int) -> PmtuException | None:
    found = fib.exceptions.get(daddr)
    if found is not None and fib.net.kernel.clock.now_ns >= found.expires_ns:
        del fib.exceptions[daddr]
        return None
    return found
