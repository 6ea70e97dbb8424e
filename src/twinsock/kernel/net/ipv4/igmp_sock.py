"""Multicast groups of sockets and their source filters, RFC 3376 3 (Linux: the socket part of net/ipv4/igmp.c).

A socket joins a group on one device; the device counts its users in igmp.py."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.sock_mem import sock_kfree_s, sock_kmalloc
from twinsock.kernel.net.ipv4.devinet import InDevice, ip_dev_find
from twinsock.kernel.net.ipv4.fib_frontend import ipv4_is_multicast
from twinsock.kernel.net.ipv4.igmp import ip_mc_add_src, ip_mc_dec_group, ip_mc_del_src, ip_mc_find, ip_mc_inc_group
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_MC_ALL, InetSock, IpMcSocklist
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.uapi.errno import EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENOBUFS, ENODEV, ENOMEM
from twinsock.uapi.in_ import MCAST_EXCLUDE, MCAST_INCLUDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_SOCKLIST_SIZE: Final = 48  # what a membership costs of option memory
_SFLIST_HEAD: Final = 24
_SFBLOCK: Final = 10  # room for sources grows in such steps


class IpMreqn:
    """`struct ip_mreqn`: a group, and the device by address or index."""

    def __init__(self, multiaddr: int, address: int, ifindex: int) -> None:
        self.multiaddr = multiaddr
        self.address = address
        self.ifindex = ifindex


def ip_mc_find_dev(net: Net, imr: IpMreqn) -> InDevice | None:
    """Find the device that a request means, by index, address or route; `imr.ifindex` is filled in."""
    if imr.ifindex:
        dev = dev_get_by_index(net, imr.ifindex)
        return None if dev is None else dev.ip_ptr
    if imr.address:
        dev = ip_dev_find(net, imr.address)
        if dev is None:
            return None
    else:
        err, rt = ip_route_output_flow(net, Flowi4(imr.multiaddr), None)
        dev = None if err or rt is None else rt.dev
    if dev is None:
        return None
    imr.ifindex = dev.ifindex
    return dev.ip_ptr


def ip_mc_join_group(sk: InetSock, imr: IpMreqn, mode: int = MCAST_EXCLUDE) -> int:
    """IP_ADD_MEMBERSHIP: 0, -EADDRINUSE when it is a member already, -ENOBUFS beyond igmp_max_memberships."""
    if not ipv4_is_multicast(imr.multiaddr):
        return -EINVAL
    net = sk.sk_net
    in_dev = ip_mc_find_dev(net, imr)
    if in_dev is None:
        return -ENODEV
    if _membership(sk, imr.multiaddr, imr.ifindex) is not None:
        return -EADDRINUSE
    if len(sk.mc_list) >= net.ipv4.sysctl_igmp_max_memberships or sock_kmalloc(sk, _SOCKLIST_SIZE):
        return -ENOBUFS
    sk.mc_list.insert(0, IpMcSocklist(imr.multiaddr, imr.address, imr.ifindex, mode))
    ip_mc_inc_group(in_dev, imr.multiaddr, mode)
    return 0


def ip_mc_leave_group(sk: InetSock, imr: IpMreqn) -> int:
    """IP_DROP_MEMBERSHIP: 0, -EADDRNOTAVAIL without such a membership."""
    in_dev = ip_mc_find_dev(sk.sk_net, imr)
    if not imr.ifindex and not imr.address and in_dev is None:
        return -ENODEV
    for iml in sk.mc_list:
        if iml.multiaddr != imr.multiaddr:
            continue
        if imr.ifindex:
            if iml.ifindex != imr.ifindex:
                continue
        elif imr.address and imr.address != iml.address:
            continue
        _leave(sk, iml, in_dev)
        sk.mc_list.remove(iml)
        return 0
    return -EADDRNOTAVAIL


def _leave(sk: InetSock, iml: IpMcSocklist, in_dev: InDevice | None) -> None:
    _set_sl_max(sk, iml, -1)
    if in_dev is not None:
        ip_mc_del_src(in_dev, iml.multiaddr, iml.sfmode, iml.sources)
        ip_mc_dec_group(in_dev, iml.multiaddr, iml.sfmode)
    sock_kfree_s(sk, _SOCKLIST_SIZE)


def ip_mc_drop_socket(sk: InetSock) -> None:
    """Leave every group when the socket is closed."""
    for iml in sk.mc_list:
        dev = dev_get_by_index(sk.sk_net, iml.ifindex)
        _leave(sk, iml, None if dev is None else dev.ip_ptr)
    sk.mc_list = []


def ip_mc_source(sk: InetSock, add: bool, omode: int, imr: IpMreqn, source: int) -> int:
    """Add or remove one source of a group's filter: 0 or -errno. The last included source takes the membership with it."""
    if not ipv4_is_multicast(imr.multiaddr):
        return -EINVAL
    in_dev = ip_mc_find_dev(sk.sk_net, imr)
    if in_dev is None:
        return -ENODEV
    pmc = _membership(sk, imr.multiaddr, imr.ifindex)
    if pmc is None:
        return -EINVAL
    if pmc.sfmode != omode:
        if pmc.sl_max >= 0:
            return -EINVAL
        _switch_mode(in_dev, pmc, omode)
    if not add:
        if source not in pmc.sources:
            return -EADDRNOTAVAIL
        if len(pmc.sources) == 1 and omode == MCAST_INCLUDE:
            return ip_mc_leave_group(sk, imr)
        pmc.sources.remove(source)
        ip_mc_del_src(in_dev, imr.multiaddr, omode, [source])
        return 0
    if len(pmc.sources) >= sk.sk_net.ipv4.sysctl_igmp_max_msf:
        return -ENOBUFS
    if source in pmc.sources:
        return -EADDRNOTAVAIL
    if len(pmc.sources) >= pmc.sl_max and _set_sl_max(sk, pmc, max(pmc.sl_max, 0) + _SFBLOCK):
        return -ENOBUFS
    pmc.sources.append(source)
    ip_mc_add_src(in_dev, imr.multiaddr, omode, [source])
    return 0


def ip_mc_msfilter(sk: InetSock, imr: IpMreqn, fmode: int, sources: list[int]) -> int:
    """IP_MSFILTER: replace the whole filter; an empty INCLUDE leaves the group."""
    if not ipv4_is_multicast(imr.multiaddr) or fmode not in (MCAST_INCLUDE, MCAST_EXCLUDE):
        return -EINVAL
    in_dev = ip_mc_find_dev(sk.sk_net, imr)
    if in_dev is None:
        return -ENODEV
    if fmode == MCAST_INCLUDE and not sources:
        return ip_mc_leave_group(sk, imr)
    pmc = _membership(sk, imr.multiaddr, imr.ifindex)
    if pmc is None:
        return -EINVAL
    if _set_sl_max(sk, pmc, len(sources) or -1):
        return -ENOBUFS
    ip_mc_del_src(in_dev, imr.multiaddr, pmc.sfmode, pmc.sources)
    if pmc.sfmode != fmode:
        _switch_mode(in_dev, pmc, fmode)
    pmc.sources = list(sources)
    ip_mc_add_src(in_dev, imr.multiaddr, fmode, pmc.sources)
    return 0


def ip_mc_msfget(sk: InetSock, imr: IpMreqn) -> tuple[int, IpMcSocklist | None]:
    """Find the membership whose filter getsockopt(2) shows: (0 or -errno, membership)."""
    if not ipv4_is_multicast(imr.multiaddr):
        return -EINVAL, None
    if ip_mc_find_dev(sk.sk_net, imr) is None:
        return -ENODEV, None
    pmc = _membership(sk, imr.multiaddr, imr.ifindex)
    return (-EADDRNOTAVAIL, None) if pmc is None else (0, pmc)


def ip_mc_sf_allow(sk: InetSock, loc_addr: int, rmt_addr: int, dif: int, sdif: int) -> bool:
    """Tell whether a socket wants a packet: by its filter, without a membership by IP_MULTICAST_ALL."""
    if not ipv4_is_multicast(loc_addr):
        return True
    for pmc in sk.mc_list:
        if pmc.multiaddr == loc_addr and (pmc.ifindex == dif or (sdif and pmc.ifindex == sdif)):
            return (rmt_addr in pmc.sources) == (pmc.sfmode == MCAST_INCLUDE)
    return sk.inet_test_bit(INET_FLAGS_MC_ALL)


def _membership(sk: InetSock, multiaddr: int, ifindex: int) -> IpMcSocklist | None:
    for pmc in sk.mc_list:
        if pmc.multiaddr == multiaddr and pmc.ifindex == ifindex:
            return pmc
    return None


def _switch_mode(in_dev: InDevice, pmc: IpMcSocklist, mode: int) -> None:
    im = ip_mc_find(in_dev, pmc.multiaddr)
    if im is not None:
        step = 1 if mode == MCAST_EXCLUDE else -1
        im.exclude_users += step
        im.include_users -= step
    pmc.sfmode = mode


def _charge_of(sl_max: int) -> int:
    return 0 if sl_max < 0 else _SFLIST_HEAD + 4 * sl_max


def _set_sl_max(sk: InetSock, pmc: IpMcSocklist, sl_max: int) -> int:
    """Give a filter memory for so many sources (-1: none): 0 or -ENOMEM."""
    old, new = _charge_of(pmc.sl_max), _charge_of(sl_max)
    if new > old and sock_kmalloc(sk, new - old):
        return -ENOMEM
    if old > new:
        sock_kfree_s(sk, old - new)
    pmc.sl_max = sl_max
    return 0
