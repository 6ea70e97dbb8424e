"""IPv4 addresses of devices (Linux: net/ipv4/devinet.c). `ip address` calls `inet_insert_ifa` and `inet_del_ifa`.

Left out: address lifetimes, labels other than the given one."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import (
    NETDEV_CHANGEMTU,
    NETDEV_CHANGENAME,
    NETDEV_DOWN,
    NETDEV_REGISTER,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NetDevice,
    NetdevNotifier,
    dev_get_by_index,
)
from twinsock.kernel.net.core.rtnl_notify import rtnl_has_listeners, rtnl_notify
from twinsock.kernel.net.ipv4.igmp import IpMcList, ip_mc_dec_group, ip_mc_inc_group
from twinsock.uapi.errno import EADDRNOTAVAIL, EEXIST, EINVAL
from twinsock.uapi.in_ import INADDR_ALLHOSTS_GROUP, INADDR_LOOPBACK
from twinsock.uapi.rtnetlink import (
    IFA_F_PERMANENT,
    IFA_F_SECONDARY,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE,
    RTM_DELADDR,
    RTM_NEWADDR,
    RTNLGRP_IPV4_IFADDR,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

IPV4_MIN_MTU: Final = 68


class Ipv4Devconf:
    """net.ipv4.conf.*: one for `all`, one for `default`, one per device."""

    def __init__(self) -> None:
        self.accept_local = 0
        self.accept_redirects = 1
        self.accept_source_route = 1
        self.arp_accept = 0
        self.arp_announce = 0
        self.arp_filter = 0
        self.arp_ignore = 0
        self.arp_notify = 0
        self.bc_forwarding = 0
        self.drop_gratuitous_arp = 0
        self.drop_unicast_in_l2_multicast = 0
        self.forwarding = 0
        self.ignore_routes_with_linkdown = 0
        self.log_martians = 0
        self.promote_secondaries = 0
        self.proxy_arp = 0
        self.route_localnet = 0
        self.rp_filter = 0
        self.secure_redirects = 1
        self.send_redirects = 1
        self.shared_media = 1
        self.src_valid_mark = 0

    def names(self) -> list[str]:
        """List the files."""
        return [
            "accept_local",
            "accept_redirects",
            "accept_source_route",
            "arp_accept",
            "arp_announce",
            "arp_filter",
            "arp_ignore",
            "arp_notify",
            "bc_forwarding",
            "drop_gratuitous_arp",
            "drop_unicast_in_l2_multicast",
            "forwarding",
            "ignore_routes_with_linkdown",
            "log_martians",
            "promote_secondaries",
            "proxy_arp",
            "route_localnet",
            "rp_filter",
            "secure_redirects",
            "send_redirects",
            "shared_media",
            "src_valid_mark",
        ]

    def copy(self) -> Ipv4Devconf:
        """Return an equal configuration, for a new device."""
        other = Ipv4Devconf()
        other.accept_local = self.accept_local
        other.accept_redirects = self.accept_redirects
        other.accept_source_route = self.accept_source_route
        other.arp_accept = self.arp_accept
        other.arp_announce = self.arp_announce
        other.arp_filter = self.arp_filter
        other.arp_ignore = self.arp_ignore
        other.arp_notify = self.arp_notify
        other.bc_forwarding = self.bc_forwarding
        other.drop_gratuitous_arp = self.drop_gratuitous_arp
        other.drop_unicast_in_l2_multicast = self.drop_unicast_in_l2_multicast
        other.forwarding = self.forwarding
        other.ignore_routes_with_linkdown = self.ignore_routes_with_linkdown
        other.log_martians = self.log_martians
        other.promote_secondaries = self.promote_secondaries
        other.proxy_arp = self.proxy_arp
        other.route_localnet = self.route_localnet
        other.rp_filter = self.rp_filter
        other.secure_redirects = self.secure_redirects
        other.send_redirects = self.send_redirects
        other.shared_media = self.shared_media
        other.src_valid_mark = self.src_valid_mark
        return other


class InIfaddr:
    """`struct in_ifaddr`: one address of a device."""

    def __init__(self, local: int, prefixlen: int, address: int = -1, broadcast: int = 0, scope: int = RT_SCOPE_UNIVERSE) -> None:
        self.ifa_local = local
        self.ifa_address = local if address < 0 else address  # the peer's on point-to-point links
        self.ifa_prefixlen = prefixlen
        self.ifa_mask = inet_make_mask(prefixlen)
        self.ifa_broadcast = broadcast
        self.ifa_scope = scope
        self.ifa_flags = IFA_F_PERMANENT
        self.ifa_label = ""
        self.ifa_rt_priority = 0
        self.ifa_dev: InDevice | None = None

    def inet_ifa_match(self, addr: int) -> bool:
        """Tell whether `addr` is in the subnet."""
        return (addr ^ self.ifa_address) & self.ifa_mask == 0


class InDevice:
    """`struct in_device`: the IPv4 side of a device."""

    def __init__(self, dev: NetDevice, cnf: Ipv4Devconf) -> None:
        self.dev = dev
        self.cnf = cnf
        self.ifa_list: list[InIfaddr] = []  # primaries first
        self.mc_list: list[IpMcList] = []  # newest first

    def forwarding(self) -> bool:
        """IN_DEV_FORWARD."""
        return bool(self.cnf.forwarding)

    def rp_filter(self) -> int:
        """Return the stricter of all and this, IN_DEV_RPFILTER."""
        return max(self.cnf.rp_filter, _all(self.dev.net).rp_filter)

    def route_localnet(self) -> bool:
        """IN_DEV_ROUTE_LOCALNET."""
        return bool(self.cnf.route_localnet or _all(self.dev.net).route_localnet)

    def accept_local(self) -> bool:
        """IN_DEV_ACCEPT_LOCAL."""
        return bool(self.cnf.accept_local or _all(self.dev.net).accept_local)


def inet_forward_change(net: Net, value: int) -> None:
    """Turn forwarding on or off everywhere, net.ipv4.ip_forward and conf.all.forwarding."""
    assert net.ipv4.devconf_all is not None and net.ipv4.devconf_dflt is not None
    net.ipv4.devconf_all.forwarding = value
    net.ipv4.devconf_all.accept_redirects = 0 if value else 1
    net.ipv4.devconf_dflt.forwarding = value
    for dev in net.dev_base:
        if dev.ip_ptr is not None:
            dev.ip_ptr.cnf.forwarding = value
    if net.ipv4.fib is not None:
        net.ipv4.fib.flush_cache()


def inet_make_mask(prefixlen: int) -> int:
    """Return the netmask of a prefix length."""
    return 0xFFFFFFFF << (32 - prefixlen) & 0xFFFFFFFF


def inet_insert_ifa(dev: NetDevice, ifa: InIfaddr) -> int:
    """Add an address to a device, `ip address add`: 0, -EEXIST, -EINVAL for a wrong scope among secondaries."""
    in_dev = dev.ip_ptr
    if in_dev is None:
        return -EINVAL
    ifa.ifa_flags &= ~IFA_F_SECONDARY
    position = 0
    for i, other in enumerate(in_dev.ifa_list):
        if not other.ifa_flags & IFA_F_SECONDARY and ifa.ifa_scope <= other.ifa_scope:
            position = i + 1
        if other.ifa_mask == ifa.ifa_mask and other.inet_ifa_match(ifa.ifa_address):
            if other.ifa_local == ifa.ifa_local:
                return -EEXIST
            if other.ifa_scope != ifa.ifa_scope:
                return -EINVAL
            if not other.ifa_flags & IFA_F_SECONDARY:
                ifa.ifa_flags |= IFA_F_SECONDARY
    if ifa.ifa_flags & IFA_F_SECONDARY:
        position = len(in_dev.ifa_list)
    ifa.ifa_dev = in_dev
    if not ifa.ifa_label:
        ifa.ifa_label = dev.name
    in_dev.ifa_list.insert(position, ifa)
    net = dev.net
    assert net.ipv4.fib is not None
    rtmsg_ifa(dev, ifa)
    net.ipv4.fib.add_ifaddr(ifa)
    return 0


def rtmsg_ifa(dev: NetDevice, ifa: InIfaddr, gone: bool = False) -> None:
    """Tell of an address that came or went."""
    if rtnl_has_listeners(dev.net, RTNLGRP_IPV4_IFADDR):
        from twinsock.kernel.net.ipv4.rtnl import inet_fill_ifaddr

        rtnl_notify(dev.net, RTNLGRP_IPV4_IFADDR, RTM_DELADDR if gone else RTM_NEWADDR, inet_fill_ifaddr(dev, ifa).emit())


def inet_del_ifa(dev: NetDevice, local: int, prefixlen: int) -> int:
    """Remove an address, `ip address del`: 0 or -EADDRNOTAVAIL. A primary takes its secondaries along unless they are promoted."""
    in_dev = dev.ip_ptr
    if in_dev is None:
        return -EINVAL
    victim: InIfaddr | None = None
    for ifa in in_dev.ifa_list:
        if ifa.ifa_local == local and ifa.ifa_prefixlen == prefixlen:
            victim = ifa
            break
    if victim is None:
        return -EADDRNOTAVAIL
    promoted: InIfaddr | None = None
    gone = [victim]
    if not victim.ifa_flags & IFA_F_SECONDARY:
        keep = in_dev.cnf.promote_secondaries or _all(dev.net).promote_secondaries
        for ifa in in_dev.ifa_list:
            if ifa.ifa_flags & IFA_F_SECONDARY and ifa.ifa_mask == victim.ifa_mask and victim.inet_ifa_match(ifa.ifa_address):
                if not keep:
                    gone.append(ifa)
                elif promoted is None:
                    promoted = ifa
    fib = dev.net.ipv4.fib
    assert fib is not None
    gone.reverse()
    for ifa in gone:
        in_dev.ifa_list.remove(ifa)
        rtmsg_ifa(dev, ifa, True)
        fib.del_ifaddr(in_dev, ifa)
    if promoted is not None:
        promoted.ifa_flags &= ~IFA_F_SECONDARY
        rtmsg_ifa(dev, promoted)
        fib.add_ifaddr(promoted)
    return 0


def inet_select_addr(dev: NetDevice | None, dst: int, scope: int, net: Net) -> int:
    """Choose a source address: on `dev`, in the subnet of `dst` if there is one, else anywhere; 0 for none."""
    if dev is not None and dev.ip_ptr is not None:
        addr = 0
        localnet_scope = RT_SCOPE_LINK if dev.ip_ptr.route_localnet() else RT_SCOPE_HOST
        for ifa in dev.ip_ptr.ifa_list:
            if ifa.ifa_flags & IFA_F_SECONDARY:
                continue
            if min(ifa.ifa_scope, localnet_scope) > scope:
                continue
            if not dst or ifa.inet_ifa_match(dst):
                return ifa.ifa_local
            if not addr:
                addr = ifa.ifa_local
        if addr:
            return addr
    for other in net.dev_base:
        if other.ip_ptr is None:
            continue
        for ifa in other.ip_ptr.ifa_list:
            if not ifa.ifa_flags & IFA_F_SECONDARY and ifa.ifa_scope != RT_SCOPE_LINK and ifa.ifa_scope <= scope:
                return ifa.ifa_local
    return 0


def ip_dev_find(net: Net, addr: int) -> NetDevice | None:
    """Find the device that owns a local address; a route of the local table will do, as for 127.0.0.9."""
    for dev in net.dev_base:
        if dev.ip_ptr is not None:
            for ifa in dev.ip_ptr.ifa_list:
                if ifa.ifa_local == addr:
                    return dev
    fib = net.ipv4.fib
    if fib is None:
        return None
    ifindex = fib.local_dev_of(addr)
    return dev_get_by_index(net, ifindex) if ifindex else None


def in_dev_get(dev: NetDevice) -> InDevice | None:
    """Return the IPv4 side of a device."""
    return dev.ip_ptr


def inetdev_changename(in_dev: InDevice) -> None:
    """Let the labels follow a new name; the first address is labelled with the name itself, later ones keep what is behind the colon."""
    for i, ifa in enumerate(in_dev.ifa_list):
        _, colon, rest = ifa.ifa_label.partition(":")
        suffix = "" if i == 0 else colon + rest if colon else f":{i}"
        ifa.ifa_label = (in_dev.dev.name + suffix)[:15]


class InetdevNotifier(NetdevNotifier):
    """inetdev_event() and fib_netdev_event()."""

    def call(self, event: int, dev: NetDevice) -> None:
        """Keep addresses and routes in step with the device."""
        net = dev.net
        fib = net.ipv4.fib
        if fib is None:
            return
        if event == NETDEV_REGISTER:
            if net.ipv4.devconf_dflt is not None and dev.mtu >= IPV4_MIN_MTU:
                dev.ip_ptr = InDevice(dev, net.ipv4.devconf_dflt.copy())
            return
        in_dev = dev.ip_ptr
        if in_dev is None:
            if event == NETDEV_CHANGEMTU and dev.mtu >= IPV4_MIN_MTU and net.ipv4.devconf_dflt is not None:
                dev.ip_ptr = InDevice(dev, net.ipv4.devconf_dflt.copy())
            return
        if event == NETDEV_UP:
            ip_mc_inc_group(in_dev, INADDR_ALLHOSTS_GROUP)
            if dev.is_loopback() and not in_dev.ifa_list:
                inet_insert_ifa(dev, InIfaddr(INADDR_LOOPBACK, 8, scope=RT_SCOPE_HOST))
            else:
                for ifa in in_dev.ifa_list:
                    fib.add_ifaddr(ifa)
            fib.sync_up(dev)
        elif event == NETDEV_DOWN:
            ip_mc_dec_group(in_dev, INADDR_ALLHOSTS_GROUP)
            fib.disable_ip(dev, False)
        elif event == NETDEV_UNREGISTER or (event == NETDEV_CHANGEMTU and dev.mtu < IPV4_MIN_MTU):
            for ifa in list(in_dev.ifa_list):
                if ifa in in_dev.ifa_list:
                    inet_del_ifa(dev, ifa.ifa_local, ifa.ifa_prefixlen)
            fib.disable_ip(dev, True)
            dev.ip_ptr = None
        elif event == NETDEV_CHANGEMTU:
            fib.flush_cache()
        elif event == NETDEV_CHANGENAME:
            inetdev_changename(in_dev)


def _all(net: Net) -> Ipv4Devconf:
    conf = net.ipv4.devconf_all
    assert conf is not None
    return conf
