"""IPv6 routing (Linux: net/ipv6/route.c, ip6_fib.c, fib6_rules.c).

Tables local and main, longest prefix, then metric; source address selection is addrconf's.
Left out: router preferences, multipath, redirects, subtrees by source."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import LOOPBACK_IFINDEX, dev_get_by_index
from twinsock.kernel.net.core.dst import NO_METRICS, RTCF_LOCAL, Dst
from twinsock.kernel.net.core.rtnl_notify import rtnl_has_listeners, rtnl_notify
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.ipv4.fib_table import PmtuException
from twinsock.uapi.errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EEXIST,
    EHOSTUNREACH,
    EINVAL,
    ENETDOWN,
    ENETUNREACH,
    ENODEV,
    ENOENT,
    ESRCH,
)
from twinsock.uapi.if_ import IFF_UP
from twinsock.uapi.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import (
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTAX_HOPLIMIT,
    RTAX_MTU,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_ANYCAST,
    RTN_BLACKHOLE,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTNLGRP_IPV6_ROUTE,
    RTPROT_BOOT,
)
from twinsock.uapi.snmp import IPSTATS_MIB_OUTNOROUTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock

IPV6_MIN_MTU: Final = 1280
IP6_MAX_MTU: Final = 0xFFFF + 40
IP6_RT_PRIO_USER: Final = 1024
IP6_RT_PRIO_ADDRCONF: Final = 256
_CACHE_MAX: Final = 4096

_IN_NONE: Final = 0
_IN_LOCAL: Final = 1
_IN_MC: Final = 2
_IN_FORWARD: Final = 3
_IN_ERROR: Final = 4


class Flowi6:
    """`struct flowi6`: the flow that a route is asked for; the lookup fills in `saddr`."""

    def __init__(
        self, daddr: bytes = IN6ADDR_ANY, saddr: bytes = IN6ADDR_ANY, proto: int = 0, sport: int = 0, dport: int = 0, oif: int = 0
    ) -> None:
        self.daddr = daddr
        self.saddr = saddr
        self.proto = proto
        self.sport = sport
        self.dport = dport
        self.oif = oif
        self.iif = LOOPBACK_IFINDEX
        self.mark = 0
        self.flowlabel = 0  # traffic class and flow label
        self.uid = 0
        self.flags = 0
        self.srcprefs = 0


class Ip6Handlers:
    """What the layers above routing do with a packet; `ip6_init` puts the real one into place."""

    def input(self, skb: SkBuff) -> int:
        """Take a packet for this host."""
        raise NotImplementedError

    def mc_input(self, skb: SkBuff) -> int:
        """Take a multicast packet if this host listens."""
        raise NotImplementedError

    def forward(self, skb: SkBuff) -> int:
        """Pass a packet on."""
        raise NotImplementedError

    def error(self, skb: SkBuff, error: int) -> int:
        """Refuse a packet that arrived."""
        raise NotImplementedError

    def error_out(self, skb: SkBuff, error: int) -> int:
        """Refuse a packet of our own."""
        raise NotImplementedError

    def output(self, skb: SkBuff) -> int:
        """Send a packet out."""
        raise NotImplementedError


class Fib6Info:
    """`struct fib6_info`: a route in a table."""

    def __init__(self, dst: bytes, plen: int, dev: NetDevice | None, type_: int = RTN_UNICAST) -> None:
        self.dst = dst
        self.plen = plen
        self.dev = dev
        self.type = type_
        self.gw = b""
        self.metric = IP6_RT_PRIO_USER
        self.protocol = RTPROT_BOOT
        self.metrics = NO_METRICS
        self.prefsrc = b""
        self.table = RT_TABLE_MAIN

    def error(self) -> int:
        """Return the errno that the route's type means, 0 for none."""
        if self.type == RTN_BLACKHOLE:
            return EINVAL
        if self.type == RTN_PROHIBIT:
            return EACCES
        if self.type == RTN_THROW:
            return EAGAIN
        return EHOSTUNREACH if self.type == RTN_UNREACHABLE else 0


class Fib6Config:
    """`struct fib6_config`: a request to add or delete a route."""

    def __init__(self, dst: bytes, dst_len: int) -> None:
        self.dst = dst
        self.dst_len = dst_len
        self.table = RT_TABLE_MAIN
        self.type = RTN_UNICAST
        self.protocol = RTPROT_BOOT
        self.oif = 0
        self.gw = b""
        self.metric = 0
        self.prefsrc = b""
        self.metrics: list[int] | None = None
        self.nlflags = NLM_F_CREATE | NLM_F_EXCL


class Rt6Info(Dst):
    """`struct rt6_info`: an IPv6 route for one destination."""

    def __init__(self, dev: NetDevice, handlers: Ip6Handlers, daddr: bytes) -> None:
        super().__init__(dev)
        self.handlers = handlers
        self.genid = self.net.ipv6.rt_genid
        self.daddr = daddr
        self.gateway = b""
        self.input_kind = _IN_NONE
        self.idev_ifindex = dev.ifindex  # the device whose address it is, when `dev` is lo
        self.prefsrc = b""
        self.plen = 128
        self.fi: Fib6Info | None = None  # the route of a table that it comes from

    def nexthop(self) -> bytes:
        """Return the address that the frame goes to."""
        return self.gateway or self.daddr

    def input(self, skb: SkBuff) -> int:
        """Take a packet that arrived along this route."""
        kind = self.input_kind
        if kind == _IN_LOCAL:
            return self.handlers.input(skb)
        if kind == _IN_MC:
            return self.handlers.mc_input(skb)
        if kind == _IN_FORWARD:
            return self.handlers.forward(skb)
        return self.handlers.error(skb, self.error or ENETUNREACH)

    def output(self, skb: SkBuff) -> int:
        """Send a packet along this route."""
        if self.error:
            return self.handlers.error_out(skb, self.error)
        return self.handlers.output(skb)

    def check(self) -> bool:
        """Tell whether the tables have not changed since."""
        return self.genid == self.net.ipv6.rt_genid

    def get_mtu(self) -> int:
        """Return what fits without fragmentation, learned exceptions included, ip6_mtu()."""
        fib = self.net.ipv6.fib
        if fib is not None and fib.exceptions:
            found = fib.exceptions.get(self.daddr)
            if found is not None:
                if self.net.kernel.clock.now_ns < found.expires_ns:
                    return min(found.pmtu, IP6_MAX_MTU)
                del fib.exceptions[self.daddr]
        mtu = self.metrics[RTAX_MTU]
        if not mtu:
            idev = self.dev.ip6_ptr
            mtu = IPV6_MIN_MTU if idev is None else idev.mtu6
        return min(mtu, IP6_MAX_MTU)

    def default_advmss(self) -> int:
        """Return the MSS that fits the MTU."""
        mss = max(self.get_mtu() - 60, self.net.ipv6.ip6_rt_min_advmss)
        return 65535 if mss > 65535 - 20 else mss

    def hoplimit(self) -> int:
        """Return the hop limit for packets along this route, ip6_dst_hoplimit()."""
        given = self.metrics[RTAX_HOPLIMIT]
        if given:
            return given
        idev = self.dev.ip6_ptr
        if idev is not None:
            return idev.cnf.hop_limit
        conf = self.net.ipv6.devconf_all
        return 64 if conf is None else conf.hop_limit

    def update_pmtu(self, mtu: int) -> None:
        """Learn a smaller path MTU, rt6_update_pmtu(); one below 1280 is not believed."""
        if self.locked(RTAX_MTU):
            return
        if mtu < IPV6_MIN_MTU or mtu >= self.get_mtu():
            return
        fib = self.net.ipv6.fib
        assert fib is not None
        expires = self.net.kernel.clock.now_ns + self.net.ipv6.ip6_rt_mtu_expires_ms * 1_000_000
        fib.exceptions[self.daddr] = PmtuException(mtu, False, expires)


class Fib6Table:
    """`struct fib6_table`."""

    def __init__(self) -> None:
        self.by_len: list[dict[int, list[Fib6Info]] | None] = [None] * 129
        self.lens: list[int] = []  # longest first

    def lookup(self, daddr: bytes, oif: int, strict: bool) -> Fib6Info | None:
        """Find the longest match; `strict` limits it to device `oif`, otherwise that device is preferred."""
        value = int.from_bytes(daddr, "big")
        for plen in self.lens:
            prefixes = self.by_len[plen]
            routes = None if prefixes is None else prefixes.get(value >> (128 - plen))
            if routes is None:
                continue
            best = _choose(routes, oif, strict)
            if best is not None:
                return best
        return None

    def insert(self, fi: Fib6Info) -> None:
        """Enter a route by its metric."""
        prefixes = self.by_len[fi.plen]
        if prefixes is None:
            prefixes = {}
            self.by_len[fi.plen] = prefixes
            self.lens.append(fi.plen)
            self.lens.sort(reverse=True)
        key = int.from_bytes(fi.dst, "big") >> (128 - fi.plen)
        routes = prefixes.setdefault(key, [])
        index = len(routes)
        while index > 0 and routes[index - 1].metric > fi.metric:
            index -= 1
        routes.insert(index, fi)

    def remove(self, fi: Fib6Info) -> None:
        """Take a route out."""
        prefixes = self.by_len[fi.plen]
        if prefixes is None:
            return
        key = int.from_bytes(fi.dst, "big") >> (128 - fi.plen)
        routes = prefixes[key]
        routes.remove(fi)
        if not routes:
            del prefixes[key]
            if not prefixes:
                self.by_len[fi.plen] = None
                self.lens.remove(fi.plen)

    def routes_of(self, dst: bytes, plen: int) -> list[Fib6Info]:
        """List the routes of one prefix."""
        prefixes = self.by_len[plen]
        if prefixes is None:
            return []
        return prefixes.get(int.from_bytes(dst, "big") >> (128 - plen), [])

    def all_routes(self) -> list[Fib6Info]:
        """List all routes by prefix."""
        found: list[Fib6Info] = []
        for plen in self.lens:
            prefixes = self.by_len[plen]
            if prefixes is not None:
                for routes in prefixes.values():
                    found.extend(routes)
        found.sort(key=_dump_key)
        return found


class Fib6Tables:
    """The IPv6 routing of one namespace."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.tables: dict[int, Fib6Table] = {RT_TABLE_LOCAL: Fib6Table(), RT_TABLE_MAIN: Fib6Table()}
        self.local = self.tables[RT_TABLE_LOCAL]
        self.main = self.tables[RT_TABLE_MAIN]
        self.exceptions: dict[bytes, PmtuException] = {}
        self.input_cache: dict[bytes, Rt6Info] = {}

    def lookup(self, daddr: bytes, oif: int, strict: bool) -> Fib6Info | None:
        """Ask local, then main; a throw route ends the search of its table."""
        found = self.local.lookup(daddr, oif, strict)
        if found is None or found.type == RTN_THROW:
            found = self.main.lookup(daddr, oif, strict)
        return found

    def flush_cache(self) -> None:
        """Make every held route look itself up again."""
        self.net.ipv6.rt_genid += 1
        self.input_cache.clear()

    def add(self, fi: Fib6Info) -> None:
        """Enter a route."""
        tb = self.tables.get(fi.table)
        if tb is None:
            tb = Fib6Table()
            self.tables[fi.table] = tb
        tb.insert(fi)
        self.flush_cache()
        self._inet6_rt_notify(RTM_NEWROUTE, fi, NLM_F_CREATE)

    def remove(self, fi: Fib6Info) -> None:
        """Take a route out."""
        self.tables[fi.table].remove(fi)
        self.flush_cache()
        self._inet6_rt_notify(RTM_DELROUTE, fi, 0)

    def _inet6_rt_notify(self, type_: int, fi: Fib6Info, flags: int) -> None:
        """Tell of a route that came or went."""
        if rtnl_has_listeners(self.net, RTNLGRP_IPV6_ROUTE):
            from twinsock.kernel.net.ipv6.rtnl_getroute import rt6_fill_node

            rtnl_notify(self.net, RTNLGRP_IPV6_ROUTE, type_, rt6_fill_node(fi.table, fi).emit(), flags)

    def ifdown(self, dev: NetDevice) -> None:
        """Remove the routes over a device that goes down, rt6_disable_ip()."""
        for tb in self.tables.values():
            for fi in tb.all_routes():
                if fi.dev is dev:
                    tb.remove(fi)
        self.flush_cache()


def ip6_route_output(net: Net, sk: Sock | None, fl6: Flowi6) -> Rt6Info:
    """Find the way for a packet of ours; the result's `error` says when there is none."""
    fib = net.ipv6.fib
    handlers = net.kernel.ip6_handlers
    lo = net.loopback_dev
    assert fib is not None and handlers is not None and lo is not None
    strict = bool(fl6.oif) and (_need_strict(fl6.daddr) or fl6.saddr == IN6ADDR_ANY)
    if sk is not None and sk.sk_bound_dev_if:
        strict = True
    if _need_strict(fl6.daddr):
        strict = True
    fi = fib.lookup(fl6.daddr, fl6.oif, strict)
    if fi is None:
        rt = Rt6Info(lo, handlers, fl6.daddr)
        rt.error = ENETUNREACH
        return rt
    return _make_rt(net, fi, fl6.daddr, handlers)


def ip6_dst_lookup_flow(net: Net, fl6: Flowi6, sk: Sock | None) -> tuple[int, Rt6Info | None]:
    """Find the way and the source address: (0, route) or (-errno, None)."""
    from twinsock.kernel.net.ipv6.addrconf import ipv6_dev_get_saddr

    if net.ipv6.fib is None or net.kernel.ip6_handlers is None or net.loopback_dev is None:
        return -ENETUNREACH, None
    rt = ip6_route_output(net, sk, fl6)
    if rt.error:
        if rt.error == ENETUNREACH:
            net.ip6_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
        return -rt.error, None
    if fl6.saddr == IN6ADDR_ANY:
        if rt.prefsrc:
            fl6.saddr = rt.prefsrc
        else:
            dev = dev_get_by_index(net, rt.idev_ifindex)
            saddr = ipv6_dev_get_saddr(net, dev, fl6.daddr, fl6.srcprefs)
            if not saddr:
                return -ENETUNREACH if fl6.daddr[0] != 0xFF else -EADDRNOTAVAIL, None
            fl6.saddr = saddr
    if fl6.saddr[:12] == _MAPPED and fl6.daddr[:12] != _MAPPED and fl6.daddr != IN6ADDR_ANY:
        return -EAFNOSUPPORT, None
    return 0, rt


ip6_route_output_flow = ip6_dst_lookup_flow

_MAPPED: Final = bytes(10) + b"\xff\xff"


def _make_rt(net: Net, fi: Fib6Info, daddr: bytes, handlers: Ip6Handlers) -> Rt6Info:
    lo = net.loopback_dev
    assert lo is not None
    dev = fi.dev or lo
    local = fi.type in (RTN_LOCAL, RTN_ANYCAST)
    rt = Rt6Info(lo if local else dev, handlers, daddr)
    rt.type = fi.type
    rt.idev_ifindex = dev.ifindex
    rt.metrics = fi.metrics
    rt.gateway = fi.gw
    rt.prefsrc = fi.prefsrc
    rt.error = fi.error()
    rt.plen = fi.plen
    rt.fi = fi
    if local:
        rt.rt_flags = RTCF_LOCAL
        rt.input_kind = _IN_LOCAL
    elif fi.type == RTN_MULTICAST:
        rt.input_kind = _IN_MC
    else:
        rt.input_kind = _IN_FORWARD
    return rt


def ip6_route_input(skb: SkBuff, dev: NetDevice) -> None:
    """Give a received packet its route."""
    net = dev.net
    hdr = skb.nh6
    fib = net.ipv6.fib
    handlers = net.kernel.ip6_handlers
    assert hdr is not None and fib is not None and handlers is not None
    cached = fib.input_cache.get(hdr.daddr)
    if cached is not None and cached.iif == dev.ifindex and cached.genid == net.ipv6.rt_genid:
        skb.dst = cached
        return
    daddr = hdr.daddr
    if daddr[0] == 0xFF:
        rt = Rt6Info(dev, handlers, daddr)
        rt.type = RTN_MULTICAST
        rt.input_kind = _IN_MC
    else:
        fi = fib.lookup(daddr, dev.ifindex, _need_strict(daddr))
        if fi is None:
            rt = Rt6Info(dev, handlers, daddr)
            rt.error = ENETUNREACH
            rt.input_kind = _IN_ERROR
        else:
            rt = _make_rt(net, fi, daddr, handlers)
            if rt.error:
                rt.input_kind = _IN_ERROR
    rt.iif = dev.ifindex
    if len(fib.input_cache) >= _CACHE_MAX:
        fib.input_cache.clear()
    fib.input_cache[daddr] = rt
    skb.dst = rt


def ip6_route_add(net: Net, cfg: Fib6Config) -> int:
    """Add a route, `ip -6 route add`: 0 or -errno."""
    fib = net.ipv6.fib
    if fib is None or cfg.dst_len > 128:
        return -EINVAL
    dev: NetDevice | None = None
    if cfg.oif:
        dev = dev_get_by_index(net, cfg.oif)
        if dev is None:
            return -ENODEV
    if cfg.type in (RTN_BLACKHOLE, RTN_PROHIBIT, RTN_THROW, RTN_UNREACHABLE):
        dev = net.loopback_dev
    elif cfg.gw:
        err, dev = _check_gateway(fib, cfg, dev)
        if err:
            return err
    if dev is None:
        return -ENODEV
    if not dev.flags & IFF_UP:
        return -ENETDOWN
    shift = 128 - cfg.dst_len
    prefix = (int.from_bytes(cfg.dst, "big") >> shift << shift).to_bytes(16, "big")
    fi = Fib6Info(prefix, cfg.dst_len, dev, cfg.type)
    fi.gw = cfg.gw
    fi.metric = cfg.metric or IP6_RT_PRIO_USER
    fi.protocol = cfg.protocol
    fi.prefsrc = cfg.prefsrc
    fi.table = cfg.table
    if cfg.metrics is not None:
        fi.metrics = cfg.metrics
    tb = fib.tables.get(cfg.table)
    if tb is not None:
        for other in tb.routes_of(prefix, cfg.dst_len):
            if other.metric == fi.metric:
                if cfg.nlflags & NLM_F_REPLACE:
                    tb.remove(other)
                    break
                if cfg.nlflags & NLM_F_EXCL or (other.dev is dev and other.gw == fi.gw):
                    return -EEXIST
    if not cfg.nlflags & NLM_F_CREATE and not cfg.nlflags & NLM_F_REPLACE:
        return -ENOENT
    fib.add(fi)
    return 0


def ip6_route_del(net: Net, cfg: Fib6Config) -> int:
    """Delete the first route that matches, `ip -6 route del`: 0 or -ESRCH."""
    fib = net.ipv6.fib
    tb = None if fib is None else fib.tables.get(cfg.table)
    if fib is None or tb is None or cfg.dst_len > 128:
        return -ESRCH
    for fi in tb.routes_of(cfg.dst, cfg.dst_len):
        if cfg.oif and (fi.dev is None or fi.dev.ifindex != cfg.oif):
            continue
        if (cfg.gw and fi.gw != cfg.gw) or (cfg.metric and fi.metric != cfg.metric):
            continue
        fib.remove(fi)
        return 0
    return -ESRCH


def ip6_update_pmtu(net: Net, daddr: bytes, mtu: int, oif: int) -> None:
    """Learn a path MTU for the way to `daddr`."""
    rt = ip6_route_output(net, None, Flowi6(daddr, oif=oif))
    if not rt.error:
        rt.update_pmtu(mtu)


def _check_gateway(fib: Fib6Tables, cfg: Fib6Config, dev: NetDevice | None) -> tuple[int, NetDevice | None]:
    """Check that a gateway is a neighbour, not one of our own addresses: (0, device) or (-errno, None)."""
    if cfg.gw[0] == 0xFF:
        return -EINVAL, None
    if cfg.gw[:2] == b"\xfe\x80":
        return (-EINVAL, None) if dev is None else (0, dev)
    found = fib.lookup(cfg.gw, cfg.oif, bool(cfg.oif))
    if found is None or found.gw:
        return -EHOSTUNREACH, None
    if found.type == RTN_LOCAL:
        return -EINVAL, None
    if found.dev is None or found.type != RTN_UNICAST:
        return -EHOSTUNREACH, None
    return 0, found.dev


def _need_strict(daddr: bytes) -> bool:
    """Tell whether an address means nothing without its device, rt6_need_strict()."""
    first = daddr[0]
    if first == 0xFF:
        return daddr[1] & 15 in (1, 2)
    return (first == 0xFE and daddr[1] & 0xC0 == 0x80) or daddr == _LOOPBACK6


_LOOPBACK6: Final = bytes(15) + b"\x01"


def _choose(routes: list[Fib6Info], oif: int, strict: bool) -> Fib6Info | None:
    first: Fib6Info | None = None
    for fi in routes:
        if fi.dev is not None and not fi.dev.flags & IFF_UP:
            continue
        if not oif or (fi.dev is not None and fi.dev.ifindex == oif):
            return fi
        if (first is None and not strict) or (fi.type in (RTN_LOCAL, RTN_ANYCAST) and oif == LOOPBACK_IFINDEX and first is None):
            first = fi
    return first


def _dump_key(fi: Fib6Info) -> int:
    return (int.from_bytes(fi.dst, "big") << 8 | fi.plen) << 32 | fi.metric
