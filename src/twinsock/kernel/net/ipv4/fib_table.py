"""Routing tables of IPv4: longest prefix, then metric (Linux: net/ipv4/fib_trie.c, fib_semantics.c, fib_rules.c).

One hash per prefix length stands for the trie. The rules are the three that every namespace starts with: local, main, default.
Left out: policy rules, multipath, TOS routes (D-ip-2)."""

from __future__ import annotations

from twinsock.kernel.net.core.dst import NO_METRICS, Dst
from twinsock.kernel.net.core.rtnl_notify import rtnl_has_listeners, rtnl_notify
from twinsock.uapi.errno import EACCES, EAGAIN, EEXIST, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, ENOENT, ESRCH
from twinsock.uapi.if_ import IFF_UP
from twinsock.uapi.in_ import INADDR_BROADCAST
from twinsock.uapi.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import (
    IFA_F_NOPREFIXROUTE,
    IFA_F_SECONDARY,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_DEFAULT,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTN_BLACKHOLE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_PROHIBIT,
    RTN_THROW,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    RTNH_F_DEAD,
    RTNH_F_ONLINK,
    RTNLGRP_IPV4_ROUTE,
    RTPROT_BOOT,
    RTPROT_KERNEL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.devinet import InDevice, InIfaddr

_CACHE_MAX: Final = 4096
_MASKS: Final[list[int]] = [0xFFFFFFFF << (32 - n) & 0xFFFFFFFF for n in range(33)]


class FibInfo:
    """`struct fib_info`: what a route says, with its one next hop."""

    def __init__(self) -> None:
        self.type = RTN_UNICAST
        self.scope = RT_SCOPE_UNIVERSE
        self.protocol = RTPROT_BOOT
        self.prefsrc = 0
        self.priority = 0
        self.metrics = NO_METRICS
        self.flags = 0  # RTNH_F_*
        self.dev: NetDevice | None = None  # None for prohibit, unreachable, blackhole, throw
        self.gw = 0
        self.nh_scope = RT_SCOPE_NOWHERE


class FibConfig:
    """`struct fib_config`: a request to add or delete a route, as `ip route` makes it."""

    def __init__(self, dst: int, dst_len: int, table: int = RT_TABLE_MAIN) -> None:
        self.dst = dst
        self.dst_len = dst_len
        self.table = table
        self.type = RTN_UNICAST
        self.scope = -1  # -1: as iproute2 chooses
        self.protocol = RTPROT_BOOT
        self.oif = 0
        self.gw = 0
        self.prefsrc = 0
        self.priority = 0
        self.metrics: list[int] | None = None
        self.flags = 0  # RTNH_F_ONLINK
        self.nlflags = NLM_F_CREATE | NLM_F_EXCL


class FibResult:
    """`struct fib_result`: the route that a lookup found."""

    def __init__(self, fi: FibInfo, prefix: int, prefixlen: int, table: int) -> None:
        self.fi = fi
        self.prefix = prefix
        self.prefixlen = prefixlen
        self.table = table
        self.type = fi.type


class PmtuException:
    """`struct fib_nh_exception`: what was learned about one destination."""

    def __init__(self, pmtu: int, locked: bool, expires_ns: int) -> None:
        self.pmtu = pmtu
        self.locked = locked
        self.expires_ns = expires_ns


class FibTable:
    """`struct fib_table`."""

    def __init__(self, tb_id: int) -> None:
        self.tb_id = tb_id
        self.by_len: list[dict[int, list[FibInfo]] | None] = [None] * 33
        self.lens: list[int] = []  # prefix lengths in use, longest first
        self.exists = False  # Linux makes a table with its first route

    def lookup(self, daddr: int, oif: int, scope: int) -> tuple[int, FibResult | None]:
        """Find the route: (0, result), (-errno, None) for a route that refuses, (-EAGAIN, None) for none."""
        for plen in self.lens:
            prefixes = self.by_len[plen]
            if prefixes is None:
                continue
            prefix = daddr & _MASKS[plen]
            routes = prefixes.get(prefix)
            if routes is None:
                continue
            for fi in routes:
                if fi.flags & RTNH_F_DEAD or fi.scope < scope:
                    continue
                err = _type_error(fi.type)
                if err:
                    return err, None
                if oif and (fi.dev is None or fi.dev.ifindex != oif):
                    continue
                return 0, FibResult(fi, prefix, plen, self.tb_id)
        return -EAGAIN, None

    def insert(self, prefix: int, plen: int, fi: FibInfo, index: int) -> None:
        """Put a route among those of its prefix."""
        self.exists = True
        prefixes = self.by_len[plen]
        if prefixes is None:
            prefixes = {}
            self.by_len[plen] = prefixes
            self.lens.append(plen)
            self.lens.sort(reverse=True)
        routes = prefixes.get(prefix)
        if routes is None:
            prefixes[prefix] = [fi]
        else:
            routes.insert(index, fi)

    def remove(self, prefix: int, plen: int, fi: FibInfo) -> None:
        """Take a route out."""
        prefixes = self.by_len[plen]
        if prefixes is None:
            return
        routes = prefixes[prefix]
        routes.remove(fi)
        if not routes:
            del prefixes[prefix]
            if not prefixes:
                self.by_len[plen] = None
                self.lens.remove(plen)

    def routes_of(self, prefix: int, plen: int) -> list[FibInfo]:
        """List the routes of one prefix, lowest metric first."""
        prefixes = self.by_len[plen]
        return [] if prefixes is None else prefixes.get(prefix, [])

    def all_routes(self) -> list[tuple[int, int, FibInfo]]:
        """List (prefix, length, route) in the order of `ip route show`: by prefix, shorter first."""
        found: list[tuple[int, int, FibInfo]] = []
        for plen in self.lens:
            prefixes = self.by_len[plen]
            if prefixes is not None:
                for prefix, routes in prefixes.items():
                    for fi in routes:
                        found.append((prefix, plen, fi))
        found.sort(key=_dump_key)
        return found


class FibTables:
    """The routing of one namespace: tables, learned exceptions, and a cache for packets that arrive."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.tables: dict[int, FibTable] = {}
        self.exceptions: dict[int, PmtuException] = {}
        self.input_cache: dict[int, Dst] = {}
        self.local = self.table(RT_TABLE_LOCAL)
        self.main = self.table(RT_TABLE_MAIN)

    def table(self, tb_id: int) -> FibTable:
        """Return a table, made on the first question for it."""
        tb = self.tables.get(tb_id)
        if tb is None:
            tb = FibTable(tb_id)
            self.tables[tb_id] = tb
        return tb

    def lookup(self, daddr: int, oif: int = 0, scope: int = RT_SCOPE_UNIVERSE) -> tuple[int, FibResult | None]:
        """Ask local, main and default in turn, fib_lookup(): (0, result) or (-errno, None)."""
        err, res = self.local.lookup(daddr, oif, scope)
        if err != -EAGAIN:
            return err, res
        err, res = self.main.lookup(daddr, oif, scope)
        if err != -EAGAIN:
            return err, res
        default = self.tables.get(RT_TABLE_DEFAULT)
        if default is not None:
            err, res = default.lookup(daddr, oif, scope)
            if err != -EAGAIN:
                return err, res
        return -ENETUNREACH, None

    def local_dev_of(self, addr: int) -> int:
        """Return the index of the device that a local route for `addr` names, 0 for none."""
        err, res = self.local.lookup(addr, 0, RT_SCOPE_UNIVERSE)
        if err or res is None or res.type != RTN_LOCAL or res.fi.dev is None:
            return 0
        return res.fi.dev.ifindex

    def flush_cache(self) -> None:
        """Make every held route look itself up again, rt_cache_flush()."""
        self.net.ipv4.rt_genid += 1
        self.input_cache.clear()

    def cache_input(self, key: int, dst: Dst) -> None:
        """Keep the route of a packet that arrived."""
        if len(self.input_cache) >= _CACHE_MAX:
            self.input_cache.clear()
        self.input_cache[key] = dst

    # Routes that follow from addresses.

    def add_ifaddr(self, ifa: InIfaddr) -> None:
        """Enter the local, broadcast and subnet routes of an address, fib_add_ifaddr()."""
        in_dev = ifa.ifa_dev
        assert in_dev is not None
        dev = in_dev.dev
        primary = ifa
        if ifa.ifa_flags & IFA_F_SECONDARY:
            found = _primary_of(in_dev, ifa)
            if found is None:
                return
            primary = found
        self._magic(True, RTN_LOCAL, ifa.ifa_local, 32, primary, dev)
        if not dev.flags & IFF_UP:
            return
        prefix = ifa.ifa_address & ifa.ifa_mask
        if ifa.ifa_broadcast and ifa.ifa_broadcast != INADDR_BROADCAST:
            self._magic(True, RTN_BROADCAST, ifa.ifa_broadcast, 32, primary, dev)
        if prefix != 0 and not ifa.ifa_flags & IFA_F_SECONDARY and (prefix != ifa.ifa_local or ifa.ifa_prefixlen < 32):
            if not ifa.ifa_flags & IFA_F_NOPREFIXROUTE:
                self._magic(True, RTN_LOCAL if dev.is_loopback() else RTN_UNICAST, prefix, ifa.ifa_prefixlen, primary, dev)
            if ifa.ifa_prefixlen < 31:
                self._magic(True, RTN_BROADCAST, prefix | ~ifa.ifa_mask & 0xFFFFFFFF, 32, primary, dev)

    def del_ifaddr(self, in_dev: InDevice, ifa: InIfaddr) -> None:
        """Take back what `add_ifaddr` entered and no other address needs, fib_del_ifaddr()."""
        dev = in_dev.dev
        primary = ifa
        if ifa.ifa_flags & IFA_F_SECONDARY:
            primary = _primary_of(in_dev, ifa) or ifa
        else:
            prefix = ifa.ifa_address & ifa.ifa_mask
            self._magic(False, RTN_LOCAL if dev.is_loopback() else RTN_UNICAST, prefix, ifa.ifa_prefixlen, ifa, dev)
        wanted_local = False
        broadcast = (ifa.ifa_address & ifa.ifa_mask) | ~ifa.ifa_mask & 0xFFFFFFFF
        wanted_broadcast = ifa.ifa_prefixlen >= 31
        wanted_explicit = not ifa.ifa_broadcast or ifa.ifa_broadcast == broadcast
        for other in in_dev.ifa_list:
            wanted_local = wanted_local or other.ifa_local == ifa.ifa_local
            if other.ifa_prefixlen < 31 and (other.ifa_address & other.ifa_mask) | ~other.ifa_mask & 0xFFFFFFFF == broadcast:
                wanted_broadcast = True
            wanted_explicit = wanted_explicit or other.ifa_broadcast == ifa.ifa_broadcast
        if not wanted_explicit:
            self._magic(False, RTN_BROADCAST, ifa.ifa_broadcast, 32, primary, dev)
        if not wanted_broadcast:
            self._magic(False, RTN_BROADCAST, broadcast, 32, primary, dev)
        if not wanted_local:
            self._magic(False, RTN_LOCAL, ifa.ifa_local, 32, primary, dev)
            self._drop_routes_from(ifa.ifa_local)

    def sync_up(self, dev: NetDevice) -> None:
        """Use a device again."""
        self.flush_cache()

    def disable_ip(self, dev: NetDevice, force: bool) -> None:
        """Remove the routes over a device that went down; its local addresses stay unless it goes away, fib_disable_ip()."""
        for tb in self.tables.values():
            for prefix, plen, fi in tb.all_routes():
                if fi.dev is dev and (force or fi.nh_scope != RT_SCOPE_NOWHERE):
                    tb.remove(prefix, plen, fi)
        self.flush_cache()
        if self.net.ipv4.arp_tbl is not None:
            self.net.ipv4.arp_tbl.ifdown(dev)

    def _magic(self, add: bool, type_: int, prefix: int, plen: int, ifa: InIfaddr, dev: NetDevice) -> None:
        cfg = FibConfig(prefix, plen, RT_TABLE_MAIN if type_ == RTN_UNICAST else RT_TABLE_LOCAL)
        cfg.type = type_
        cfg.protocol = RTPROT_KERNEL
        cfg.oif = dev.ifindex
        cfg.prefsrc = ifa.ifa_local
        cfg.priority = ifa.ifa_rt_priority
        cfg.scope = RT_SCOPE_HOST if type_ == RTN_LOCAL else RT_SCOPE_LINK
        cfg.nlflags = NLM_F_CREATE | NLM_F_APPEND
        if add:
            self.insert(cfg, dev)
        else:
            self.delete(cfg)

    def _drop_routes_from(self, addr: int) -> None:
        """Remove routes whose preferred source is gone, fib_sync_down_addr()."""
        for tb in self.tables.values():
            for prefix, plen, fi in tb.all_routes():
                if fi.prefsrc == addr and not (tb is self.local and prefix == addr):
                    tb.remove(prefix, plen, fi)
        self.flush_cache()

    # Adding and deleting.

    def insert(self, cfg: FibConfig, dev: NetDevice | None) -> int:
        """Enter a checked route among those of its prefix, fib_table_insert()."""
        fi = FibInfo()
        fi.type = cfg.type
        fi.scope = cfg.scope
        fi.protocol = cfg.protocol
        fi.prefsrc = cfg.prefsrc
        fi.priority = cfg.priority
        fi.flags = cfg.flags
        fi.dev = dev
        fi.gw = cfg.gw
        if cfg.metrics is not None:
            fi.metrics = cfg.metrics
        if cfg.gw:
            fi.nh_scope = RT_SCOPE_LINK
        else:
            fi.nh_scope = RT_SCOPE_NOWHERE if cfg.scope >= RT_SCOPE_HOST else RT_SCOPE_HOST
        tb = self.table(cfg.table)
        routes = tb.routes_of(cfg.dst, cfg.dst_len)
        same = [i for i, other in enumerate(routes) if other.priority == cfg.priority]
        if same:
            if cfg.nlflags & NLM_F_EXCL:
                return -EEXIST
            for i in same:
                if _same_route(routes[i], fi):
                    return 0 if cfg.nlflags & NLM_F_REPLACE and i == same[0] else -EEXIST
            if cfg.nlflags & NLM_F_REPLACE:
                routes[same[0]] = fi
                self.flush_cache()
                self._rtmsg_fib(RTM_NEWROUTE, cfg, fi, NLM_F_REPLACE)
                return 0
            index = same[-1] + 1 if cfg.nlflags & NLM_F_APPEND else same[0]
        else:
            index = len([other for other in routes if other.priority < cfg.priority])
        if not cfg.nlflags & NLM_F_CREATE:
            return -ENOENT
        tb.insert(cfg.dst, cfg.dst_len, fi, index)
        self.flush_cache()
        self._rtmsg_fib(RTM_NEWROUTE, cfg, fi, NLM_F_CREATE | (NLM_F_APPEND if same and cfg.nlflags & NLM_F_APPEND else 0))
        return 0

    def _rtmsg_fib(self, type_: int, cfg: FibConfig, fi: FibInfo, flags: int) -> None:
        """Tell of a route that came or went."""
        if rtnl_has_listeners(self.net, RTNLGRP_IPV4_ROUTE):
            from twinsock.kernel.net.ipv4.rtnl_dump import fib_dump_info

            rtnl_notify(self.net, RTNLGRP_IPV4_ROUTE, type_, fib_dump_info(cfg.table, cfg.dst, cfg.dst_len, fi).emit(), flags)

    def delete(self, cfg: FibConfig) -> int:
        """Remove the first route that matches what is given, fib_table_delete(): 0 or -ESRCH."""
        tb = self.tables.get(cfg.table)
        if tb is None:
            return -ESRCH
        for fi in tb.routes_of(cfg.dst, cfg.dst_len):
            if cfg.priority and fi.priority != cfg.priority:
                continue
            if cfg.type and fi.type != cfg.type:
                continue
            if cfg.scope not in (-1, RT_SCOPE_NOWHERE) and fi.scope != cfg.scope:
                continue
            if cfg.prefsrc and fi.prefsrc != cfg.prefsrc:
                continue
            if cfg.oif and (fi.dev is None or fi.dev.ifindex != cfg.oif):
                continue
            if cfg.gw and fi.gw != cfg.gw:
                continue
            tb.remove(cfg.dst, cfg.dst_len, fi)
            self.flush_cache()
            self._rtmsg_fib(RTM_DELROUTE, cfg, fi, 0)
            return 0
        return -ESRCH


def fib_check_nh(fib: FibTables, cfg: FibConfig, dev: NetDevice | None) -> tuple[int, NetDevice | None]:
    """Check gateway and device of a new route: (0, device) or (-errno, None)."""
    if cfg.type in (RTN_BLACKHOLE, RTN_PROHIBIT, RTN_THROW, RTN_UNREACHABLE):
        return (-EINVAL, None) if cfg.gw or cfg.oif else (0, None)
    if cfg.gw:
        if cfg.scope >= RT_SCOPE_LINK:
            return -EINVAL, None
        if cfg.flags & RTNH_F_ONLINK:
            if dev is None:
                return -ENODEV, None
            return (0, dev) if dev.flags & IFF_UP else (-ENETDOWN, None)
        err, res = fib.lookup(cfg.gw, cfg.oif, max(cfg.scope + 1, RT_SCOPE_LINK))
        if err or res is None:
            return err, None
        if res.type not in (RTN_UNICAST, RTN_LOCAL) or res.type == RTN_LOCAL:
            return -EINVAL, None
        out = res.fi.dev
        if out is None:
            return -EINVAL, None
        return (0, out) if out.flags & IFF_UP else (-ENETDOWN, None)
    if dev is None:
        return -ENODEV, None
    if dev.ip_ptr is None:
        return -ENODEV, None
    return (0, dev) if dev.flags & IFF_UP or cfg.type == RTN_LOCAL else (-ENETDOWN, None)


def _type_error(type_: int) -> int:
    if type_ == RTN_UNREACHABLE:
        return -EHOSTUNREACH
    if type_ == RTN_PROHIBIT:
        return -EACCES
    if type_ == RTN_BLACKHOLE:
        return -EINVAL
    return -EAGAIN if type_ == RTN_THROW else 0


def _same_route(a: FibInfo, b: FibInfo) -> bool:
    return (
        a.type == b.type
        and a.scope == b.scope
        and a.dev is b.dev
        and a.gw == b.gw
        and a.prefsrc == b.prefsrc
        and a.protocol == b.protocol
        and a.metrics == b.metrics
    )


def _primary_of(in_dev: InDevice, ifa: InIfaddr) -> InIfaddr | None:
    for other in in_dev.ifa_list:
        if not other.ifa_flags & IFA_F_SECONDARY and other.ifa_mask == ifa.ifa_mask and other.inet_ifa_match(ifa.ifa_local):
            return other
    return None


def _dump_key(route: tuple[int, int, FibInfo]) -> int:
    return route[0] << 6 | route[1]
