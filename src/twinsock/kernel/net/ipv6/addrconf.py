"""IPv6 addresses of devices, duplicate address detection, choice of a source address (Linux: net/ipv6/addrconf.c; RFC 4862, RFC 6724).

Left out: router advertisements and solicitations (D-ip-5), temporary addresses, lifetimes."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import (
    NETDEV_CHANGE,
    NETDEV_CHANGEMTU,
    NETDEV_DOWN,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NetDevice,
    NetdevNotifier,
    dev_get_by_index,
)
from twinsock.kernel.net.core.rtnl_notify import rtnl_has_listeners, rtnl_notify
from twinsock.kernel.net.ipv4.fib_frontend import FibAddressView
from twinsock.kernel.net.ipv6.mcast import Ifmcaddr6, addrconf_addr_solict_mult, ipv6_dev_mc_dec, ipv6_dev_mc_inc
from twinsock.kernel.net.ipv6.route import IP6_RT_PRIO_ADDRCONF, IPV6_MIN_MTU, Fib6Info
from twinsock.kernel.time.timer import NSEC_PER_MSEC, Timer
from twinsock.uapi.errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENODEV
from twinsock.uapi.if_ import IFF_NOARP
from twinsock.uapi.rtnetlink import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_NODAD,
    IFA_F_NOPREFIXROUTE,
    IFA_F_OPTIMISTIC,
    IFA_F_PERMANENT,
    IFA_F_TENTATIVE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_SITE,
    RT_SCOPE_UNIVERSE,
    RT_TABLE_LOCAL,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTN_ANYCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTNLGRP_IPV6_IFADDR,
    RTPROT_KERNEL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

LOOPBACK6: Final = bytes(15) + b"\x01"
ALLNODES: Final = b"\xff\x02" + bytes(13) + b"\x01"
ALLNODES_INTERFACE: Final = b"\xff\x01" + bytes(13) + b"\x01"
ALLROUTERS: Final = b"\xff\x02" + bytes(13) + b"\x02"

# scopes of RFC 4291 2.7, which order source addresses
SCOPE_INTERFACE: Final = 1
SCOPE_LINK: Final = 2
SCOPE_SITE: Final = 5
SCOPE_GLOBAL: Final = 14

# RFC 6724 2.1: prefix, length, label
_LABELS: Final[list[tuple[bytes, int, int]]] = [
    (LOOPBACK6, 128, 0),
    (bytes(10) + b"\xff\xff", 96, 4),
    (bytes(12), 96, 3),
    (b"\x20\x01\x00\x00", 32, 6),
    (b"\x20\x01\x00\x10", 28, 7),
    (b"\x3f\xfe", 16, 12),
    (b"\x20\x02", 16, 2),
    (b"\xfe\xc0", 10, 11),
    (b"\xfc\x00", 7, 5),
]
_DEFAULT_LABEL: Final = 1


class Ipv6Devconf:
    """net.ipv6.conf.*: one for `all`, one for `default`, one per device."""

    def __init__(self) -> None:
        self.forwarding = 0
        self.hop_limit = 64
        self.mtu6 = 1280
        self.accept_redirects = 1
        self.accept_source_route = 0
        self.accept_dad = 1
        self.dad_transmits = 1
        self.disable_ipv6 = 0
        self.optimistic_dad = 0
        self.drop_unicast_in_l2_multicast = 0
        self.keep_addr_on_down = 0
        self.enhanced_dad = 1
        self.use_oif_addrs_only = 0

    def names(self) -> list[str]:
        """List the files."""
        return [
            "accept_dad",
            "accept_redirects",
            "accept_source_route",
            "dad_transmits",
            "disable_ipv6",
            "drop_unicast_in_l2_multicast",
            "enhanced_dad",
            "forwarding",
            "hop_limit",
            "keep_addr_on_down",
            "mtu",
            "optimistic_dad",
            "use_oif_addrs_only",
        ]

    def copy(self) -> Ipv6Devconf:
        """Return an equal configuration, for a new device."""
        other = Ipv6Devconf()
        other.forwarding = self.forwarding
        other.hop_limit = self.hop_limit
        other.accept_redirects = self.accept_redirects
        other.accept_source_route = self.accept_source_route
        other.accept_dad = self.accept_dad
        other.dad_transmits = self.dad_transmits
        other.disable_ipv6 = self.disable_ipv6
        other.optimistic_dad = self.optimistic_dad
        other.drop_unicast_in_l2_multicast = self.drop_unicast_in_l2_multicast
        other.keep_addr_on_down = self.keep_addr_on_down
        other.enhanced_dad = self.enhanced_dad
        other.use_oif_addrs_only = self.use_oif_addrs_only
        return other


class Inet6Ifaddr(Timer):
    """`struct inet6_ifaddr`: one address of a device, and the timer of its duplicate address detection."""

    def __init__(self, idev: Inet6Dev, addr: bytes, prefix_len: int, flags: int) -> None:
        super().__init__()
        self.idev = idev
        self.addr = addr
        self.prefix_len = prefix_len
        self.flags = flags  # IFA_F_*
        self.scope = ipv6_addr_scope_rt(addr)
        self.probes_left = 0
        self.started = False
        self.nonce = b""
        self.route: Fib6Info | None = None

    def fire(self) -> None:
        """Send the next probe, or be sure that nobody else has the address."""
        addrconf_dad_work(self)


class Inet6Dev:
    """`struct inet6_dev`: the IPv6 side of a device."""

    def __init__(self, dev: NetDevice, cnf: Ipv6Devconf) -> None:
        self.dev = dev
        self.cnf = cnf
        self.mtu6 = dev.mtu
        self.addr_list: list[Inet6Ifaddr] = []  # by scope, widest first; newest first within one
        self.mc_list: list[Ifmcaddr6] = []
        self.ac_list: list[bytes] = []  # joined anycast addresses
        self.addr_gen_mode = 0  # 0 EUI-64 (random without a link address), 1 none
        self.ready = False  # IF_READY: the link has been there since the device came up

    def enabled(self) -> bool:
        """Tell whether IPv6 is on here."""
        return not self.cnf.disable_ipv6


class InetAddressView(FibAddressView):
    """Answers bind(2)'s questions for both families."""

    def ipv6_chk_addr(self, addr: bytes, ifindex: int) -> bool:
        """Tell whether an address is assigned and usable, on one device or (wider than link scope) anywhere."""
        dev = dev_get_by_index(self.net, ifindex) if ifindex else None
        return ipv6_chk_addr(self.net, addr, dev, False)


def ipv6_addr_scope(addr: bytes) -> int:
    """Return the scope of RFC 4291."""
    if addr[0] == 0xFF:
        return addr[1] & 15
    if addr == LOOPBACK6 or (addr[0] == 0xFE and addr[1] & 0xC0 == 0x80):
        return SCOPE_LINK
    if addr[0] == 0xFE and addr[1] & 0xC0 == 0xC0:
        return SCOPE_SITE
    return SCOPE_GLOBAL


def ipv6_addr_scope_rt(addr: bytes) -> int:
    """Return the scope as rtnetlink shows it."""
    if addr == LOOPBACK6:
        return RT_SCOPE_HOST
    scope = ipv6_addr_scope(addr)
    if scope == SCOPE_LINK:
        return RT_SCOPE_LINK
    return RT_SCOPE_SITE if scope == SCOPE_SITE else RT_SCOPE_UNIVERSE


def inet6_addr_add(dev: NetDevice, addr: bytes, prefix_len: int, flags: int = 0) -> int:
    """Add an address, `ip -6 address add`: 0, -EEXIST, -EINVAL, -ENODEV; duplicate detection starts."""
    if prefix_len > 128 or addr[0] == 0xFF:
        return -EINVAL if prefix_len > 128 else -EADDRNOTAVAIL
    idev = dev.ip6_ptr
    if idev is None or not idev.enabled():
        return -ENODEV
    for known in idev.addr_list:
        if known.addr == addr:
            return -EEXIST
    ifp = Inet6Ifaddr(idev, addr, prefix_len, (flags | IFA_F_PERMANENT) | IFA_F_TENTATIVE)
    _insert(idev, ifp)
    if not flags & IFA_F_NOPREFIXROUTE:
        _prefix_route(ifp)
    if idev.ready:
        addrconf_dad_start(ifp)
    else:
        _join_solicited(ifp)
    return 0


def inet6_addr_del(dev: NetDevice, addr: bytes, prefix_len: int) -> int:
    """Remove an address, `ip -6 address del`: 0 or -EADDRNOTAVAIL."""
    idev = dev.ip6_ptr
    if idev is None:
        return -ENODEV
    for ifp in idev.addr_list:
        if ifp.addr == addr and ifp.prefix_len == prefix_len:
            _remove(ifp)
            idev.addr_list.remove(ifp)
            _drop_prefix_route(ifp)
            return 0
    return -EADDRNOTAVAIL


def ipv6_chk_addr(net: Net, addr: bytes, dev: NetDevice | None, strict: bool) -> bool:
    """Tell whether an address is assigned and past duplicate detection; `strict` keeps wider scopes to `dev`, too."""
    for other in net.dev_base:
        idev = other.ip6_ptr
        if idev is None:
            continue
        for ifp in idev.addr_list:
            if ifp.addr != addr or (ifp.flags & IFA_F_TENTATIVE and not ifp.flags & IFA_F_OPTIMISTIC):
                continue
            if dev is None or other is dev or not (ifp.scope in (RT_SCOPE_LINK, RT_SCOPE_HOST) or strict):
                return True
    return False


def ipv6_chk_acast_addr(net: Net, dev: NetDevice | None, addr: bytes) -> bool:
    """Tell whether an address is one of our anycast addresses."""
    for other in net.dev_base:
        idev = other.ip6_ptr
        if idev is None or (dev is not None and other is not dev):
            continue
        if addr in idev.ac_list:
            return True
    return False


def ipv6_anycast_add(dev: NetDevice, addr: bytes) -> None:
    """Join an anycast address."""
    idev = dev.ip6_ptr
    assert idev is not None
    idev.ac_list.append(addr)
    fi = Fib6Info(addr, 128, dev, RTN_ANYCAST)
    fi.table = RT_TABLE_LOCAL
    fi.metric = 0
    fi.protocol = RTPROT_KERNEL
    assert dev.net.ipv6.fib is not None
    dev.net.ipv6.fib.add(fi)
    ipv6_dev_mc_inc(idev, addrconf_addr_solict_mult(addr))


def ipv6_anycast_del(dev: NetDevice, addr: bytes) -> None:
    """Leave an anycast address."""
    idev = dev.ip6_ptr
    fib = dev.net.ipv6.fib
    if idev is None or fib is None or addr not in idev.ac_list:
        return
    idev.ac_list.remove(addr)
    if addr not in idev.ac_list:
        for fi in list(fib.local.routes_of(addr, 128)):
            if fi.type == RTN_ANYCAST and fi.dev is dev:
                fib.remove(fi)
    ipv6_dev_mc_dec(idev, addrconf_addr_solict_mult(addr))


def addrconf_forward_change(net: Net, value: int) -> None:
    """Turn forwarding on or off everywhere, net.ipv6.conf.all.forwarding."""
    assert net.ipv6.devconf_all is not None and net.ipv6.devconf_dflt is not None
    net.ipv6.devconf_all.forwarding = value
    net.ipv6.devconf_dflt.forwarding = value
    for dev in net.dev_base:
        if dev.ip6_ptr is not None:
            dev_forward_change(dev.ip6_ptr, value)


def dev_forward_change(idev: Inet6Dev, value: int) -> None:
    """Turn forwarding on or off on a device: a router listens to ff02::2 and has the anycast addresses of its subnets."""
    changed = bool(idev.cnf.forwarding) != bool(value)
    idev.cnf.forwarding = value
    if not changed:
        return
    if value:
        ipv6_dev_mc_inc(idev, ALLROUTERS)
    else:
        ipv6_dev_mc_dec(idev, ALLROUTERS)
    for ifp in idev.addr_list:
        if ifp.prefix_len >= 127 or ifp.flags & IFA_F_TENTATIVE:
            continue
        prefix = _prefix_of(ifp.addr, ifp.prefix_len)
        if value:
            ipv6_anycast_add(idev.dev, prefix)
        else:
            ipv6_anycast_del(idev.dev, prefix)


def dev_disable_change(idev: Inet6Dev, old: int, new: int) -> None:
    """Forget a device's addresses and routes when IPv6 was disabled on it; begin again when it was enabled."""
    if bool(old) == bool(new):
        return
    if new:
        _dev_down(idev, False)
    elif idev.dev.is_up() and idev.dev.carrier and not idev.ready:
        _dev_up(idev)


def ipv6_get_lladdr(dev: NetDevice) -> bytes:
    """Return a usable link-local address of a device, b"" for none."""
    if dev.ip6_ptr is not None:
        for ifp in dev.ip6_ptr.addr_list:
            if ifp.scope == RT_SCOPE_LINK and not ifp.flags & IFA_F_TENTATIVE:
                return ifp.addr
    return b""


def ipv6_dev_get_saddr(net: Net, dev: NetDevice | None, daddr: bytes, prefs: int) -> bytes:
    """Choose a source address, RFC 6724 5; b"" when there is none."""
    scope = ipv6_addr_scope(daddr)
    limited = dev is not None and (daddr[0] == 0xFF or scope <= SCOPE_LINK)
    if dev is not None and dev.ip6_ptr is not None and dev.ip6_ptr.cnf.use_oif_addrs_only:
        limited = True
    best: Inet6Ifaddr | None = None
    for other in net.dev_base:
        idev = other.ip6_ptr
        if idev is None or (limited and other is not dev) or not idev.enabled():
            continue
        if not limited and scope == SCOPE_SITE and dev is not None and other is not dev and daddr[0] != 0xFF:
            continue
        for ifp in idev.addr_list:
            if ifp.flags & IFA_F_TENTATIVE and not ifp.flags & IFA_F_OPTIMISTIC:
                continue
            if best is None or _better(ifp, best, daddr, scope, dev):
                best = ifp
    return b"" if best is None else best.addr


def _better(a: Inet6Ifaddr, b: Inet6Ifaddr, daddr: bytes, scope: int, dev: NetDevice | None) -> bool:
    """Tell whether `a` beats `b`: same address, scope, not deprecated, outgoing device, label, longest common prefix."""
    if (a.addr == daddr) != (b.addr == daddr):
        return a.addr == daddr
    score_a = _scope_score(a.addr, scope)
    score_b = _scope_score(b.addr, scope)
    if score_a != score_b:
        return score_a > score_b
    if bool(a.flags & IFA_F_DEPRECATED) != bool(b.flags & IFA_F_DEPRECATED):
        return not a.flags & IFA_F_DEPRECATED
    on_a = dev is None or a.idev.dev is dev
    on_b = dev is None or b.idev.dev is dev
    if on_a != on_b:
        return on_a
    label = _label(daddr)
    if (_label(a.addr) == label) != (_label(b.addr) == label):
        return _label(a.addr) == label
    return min(_common_prefix(a.addr, daddr), a.prefix_len) > min(_common_prefix(b.addr, daddr), b.prefix_len)


def _scope_score(addr: bytes, wanted: int) -> int:
    """Prefer the smallest scope that reaches; among those too small, the largest."""
    scope = 1 if addr == LOOPBACK6 else ipv6_addr_scope(addr)
    return 256 - scope if scope >= wanted else scope - 256


def _label(addr: bytes) -> int:
    value = int.from_bytes(addr, "big")
    for prefix, plen, label in _LABELS:
        if value >> (128 - plen) == int.from_bytes(prefix + bytes(16 - len(prefix)), "big") >> (128 - plen):
            return label
    return _DEFAULT_LABEL


def _common_prefix(a: bytes, b: bytes) -> int:
    return 128 - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


# Duplicate address detection.


def addrconf_dad_start(ifp: Inet6Ifaddr) -> None:
    """Join the address's group and, where the device wants it, look for duplicates after a random delay."""
    idev = ifp.idev
    dev = idev.dev
    net = dev.net
    conf_all = net.ipv6.devconf_all
    assert conf_all is not None
    _join_solicited(ifp)
    no_dad = (
        dev.flags & IFF_NOARP
        or dev.is_loopback()
        or not dev.has_link_addr()
        or (conf_all.accept_dad < 1 and idev.cnf.accept_dad < 1)
        or not ifp.flags & IFA_F_TENTATIVE
        or ifp.flags & IFA_F_NODAD
    )
    if no_dad:
        addrconf_dad_completed(ifp)
        return
    ifp.probes_left = idev.cnf.dad_transmits
    ifp.nonce = b""
    if conf_all.enhanced_dad or idev.cnf.enhanced_dad:
        ifp.nonce = net.kernel.prng.u64().to_bytes(8, "big")[:6]
    net.kernel.clock.mod_timer_ns(ifp, net.kernel.prng.below(1000) * NSEC_PER_MSEC)


def _join_solicited(ifp: Inet6Ifaddr) -> None:
    """Listen to what asks for the address, addrconf_join_solict(): from the moment it is there, be the device up or not."""
    if not ifp.started and not ifp.idev.dev.is_loopback():
        ipv6_dev_mc_inc(ifp.idev, addrconf_addr_solict_mult(ifp.addr))
        ifp.started = True


def addrconf_dad_work(ifp: Inet6Ifaddr) -> None:
    """Send a probe, or finish when all have gone unanswered."""
    from twinsock.kernel.net.ipv6.ndisc import ndisc_send_ns

    if ifp.probes_left == 0:
        addrconf_dad_completed(ifp)
        return
    ifp.probes_left -= 1
    dev = ifp.idev.dev
    dev.net.kernel.clock.mod_timer_ns(ifp, 1000 * NSEC_PER_MSEC)
    ndisc_send_ns(dev, ifp.addr, addrconf_addr_solict_mult(ifp.addr), bytes(16), ifp.nonce)


def addrconf_dad_completed(ifp: Inet6Ifaddr) -> None:
    """Use the address."""
    dev = ifp.idev.dev
    dev.net.kernel.clock.del_timer(ifp)
    ifp.flags &= ~(IFA_F_TENTATIVE | IFA_F_OPTIMISTIC | IFA_F_DADFAILED)
    inet6_ifa_notify(ifp)
    _insert_local_route(ifp)
    if ifp.idev.cnf.forwarding and ifp.prefix_len < 127:
        ipv6_anycast_add(dev, _prefix_of(ifp.addr, ifp.prefix_len))


def addrconf_dad_failure(ifp: Inet6Ifaddr) -> None:
    """Keep the address unused: somebody else has it."""
    net = ifp.idev.dev.net
    net.kernel.clock.del_timer(ifp)
    ifp.flags |= IFA_F_TENTATIVE | IFA_F_DADFAILED
    inet6_ifa_notify(ifp)


def inet6_ifa_notify(ifp: Inet6Ifaddr, gone: bool = False) -> None:
    """Tell of an address that can be used now, or never, or that went."""
    dev = ifp.idev.dev
    if rtnl_has_listeners(dev.net, RTNLGRP_IPV6_IFADDR):
        from twinsock.kernel.net.ipv6.rtnl import inet6_fill_ifaddr

        rtnl_notify(dev.net, RTNLGRP_IPV6_IFADDR, RTM_DELADDR if gone else RTM_NEWADDR, inet6_fill_ifaddr(dev, ifp).emit())


# Routes that follow from addresses.


def _insert(idev: Inet6Dev, ifp: Inet6Ifaddr) -> None:
    """Keep the list in the order of scopes, widest first, new ones before old ones."""
    scope = ipv6_addr_scope(ifp.addr)
    index = 0
    while index < len(idev.addr_list) and ipv6_addr_scope(idev.addr_list[index].addr) > scope:
        index += 1
    idev.addr_list.insert(index, ifp)


def _remove(ifp: Inet6Ifaddr) -> None:
    fib = ifp.idev.dev.net.ipv6.fib
    assert fib is not None
    ifp.idev.dev.net.kernel.clock.del_timer(ifp)
    inet6_ifa_notify(ifp, True)
    if ifp.started:
        ipv6_dev_mc_dec(ifp.idev, addrconf_addr_solict_mult(ifp.addr))
        ifp.started = False
    if ifp.route is not None:
        if ifp.route in fib.local.routes_of(ifp.addr, 128):
            fib.remove(ifp.route)
        ifp.route = None


def _insert_local_route(ifp: Inet6Ifaddr) -> None:
    net = ifp.idev.dev.net
    if ifp.route is not None or net.ipv6.fib is None:
        return
    fi = Fib6Info(ifp.addr, 128, ifp.idev.dev, RTN_LOCAL)
    fi.table = RT_TABLE_LOCAL
    fi.metric = 0
    fi.protocol = RTPROT_KERNEL
    ifp.route = fi
    net.ipv6.fib.add(fi)


def _prefix_of(addr: bytes, plen: int) -> bytes:
    shift = 128 - plen
    return (int.from_bytes(addr, "big") >> shift << shift).to_bytes(16, "big")


def _prefix_route(ifp: Inet6Ifaddr) -> None:
    dev = ifp.idev.dev
    if ifp.prefix_len >= 128 or not dev.is_up():
        return
    fib = dev.net.ipv6.fib
    assert fib is not None
    prefix = _prefix_of(ifp.addr, ifp.prefix_len)
    for known in fib.main.routes_of(prefix, ifp.prefix_len):
        if known.dev is dev and known.protocol == RTPROT_KERNEL:
            return
    fi = Fib6Info(prefix, ifp.prefix_len, dev)
    fi.metric = IP6_RT_PRIO_ADDRCONF
    fi.protocol = RTPROT_KERNEL
    fib.add(fi)


def _drop_prefix_route(ifp: Inet6Ifaddr) -> None:
    dev = ifp.idev.dev
    fib = dev.net.ipv6.fib
    assert fib is not None
    prefix = _prefix_of(ifp.addr, ifp.prefix_len)
    for other in ifp.idev.addr_list:
        if other.prefix_len == ifp.prefix_len and _prefix_of(other.addr, other.prefix_len) == prefix:
            return
    for fi in list(fib.main.routes_of(prefix, ifp.prefix_len)):
        if fi.dev is dev and fi.protocol == RTPROT_KERNEL:
            fib.remove(fi)


def _multicast_route(dev: NetDevice) -> None:
    fib = dev.net.ipv6.fib
    assert fib is not None
    fi = Fib6Info(b"\xff" + bytes(15), 8, dev, RTN_MULTICAST)
    fi.table = RT_TABLE_LOCAL
    fi.metric = IP6_RT_PRIO_ADDRCONF
    fi.protocol = RTPROT_KERNEL
    fib.add(fi)


def eui64_link_local(mac: bytes) -> bytes:
    """Return the link-local address that follows from a link address, RFC 4291 appendix A."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


class AddrconfNotifier(NetdevNotifier):
    """addrconf_notify()."""

    def call(self, event: int, dev: NetDevice) -> None:
        """Keep addresses and routes in step with the device."""
        ipv6 = dev.net.ipv6
        if ipv6.devconf_dflt is None or ipv6.fib is None:
            return
        if event == NETDEV_REGISTER:
            if dev.mtu >= IPV6_MIN_MTU:
                idev = Inet6Dev(dev, ipv6.devconf_dflt.copy())
                if dev.is_loopback() or not dev.has_link_addr():
                    idev.cnf.accept_dad = -1
                dev.ip6_ptr = idev
                ipv6_dev_mc_inc(idev, ALLNODES_INTERFACE)
                ipv6_dev_mc_inc(idev, ALLNODES)
            return
        found = dev.ip6_ptr
        if found is None:
            return
        if event == NETDEV_UP or (event == NETDEV_CHANGE and dev.is_up()):
            if dev.carrier and not found.ready:
                _dev_up(found)
        elif event == NETDEV_DOWN:
            _dev_down(found, False)
        elif event == NETDEV_UNREGISTER:
            _dev_down(found, True)
            dev.ip6_ptr = None
        elif event == NETDEV_CHANGEMTU:
            if dev.mtu < IPV6_MIN_MTU:
                _dev_down(found, True)
                dev.ip6_ptr = None
            else:
                found.mtu6 = dev.mtu
            ipv6.fib.flush_cache()


def _dev_up(idev: Inet6Dev) -> None:
    dev = idev.dev
    if not idev.enabled():
        return
    idev.ready = True
    if dev.is_loopback():
        if not idev.addr_list:
            _insert(idev, Inet6Ifaddr(idev, LOOPBACK6, 128, IFA_F_PERMANENT))
    else:
        _multicast_route(dev)
        if idev.addr_gen_mode == 0 and not _has_link_local(idev):
            if dev.has_link_addr():
                link_local = eui64_link_local(dev.dev_addr)
            else:
                link_local = b"\xfe\x80" + bytes(6) + dev.net.kernel.prng.u64().to_bytes(8, "big")
            ifp = Inet6Ifaddr(idev, link_local, 64, IFA_F_PERMANENT | IFA_F_TENTATIVE)
            _insert(idev, ifp)
    for ifp in list(idev.addr_list):
        if not ifp.flags & IFA_F_NOPREFIXROUTE:
            _prefix_route(ifp)
        addrconf_dad_start(ifp)


def _has_link_local(idev: Inet6Dev) -> bool:
    count = 0
    for ifp in idev.addr_list:
        if ifp.scope == RT_SCOPE_LINK:
            count += 1
    return count > 0


def _dev_down(idev: Inet6Dev, gone: bool) -> None:
    """Remove routes and, as Linux does without keep_addr_on_down, all addresses, addrconf_ifdown()."""
    net = idev.dev.net
    fib = net.ipv6.fib
    assert fib is not None
    idev.ready = False
    for ifp in idev.addr_list:
        _remove(ifp)
    fib.ifdown(idev.dev)
    if gone or not idev.cnf.keep_addr_on_down:
        idev.addr_list = []
    if net.ipv6.nd_tbl is not None:
        net.ipv6.nd_tbl.ifdown(idev.dev)
