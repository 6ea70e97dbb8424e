"""Multicast and anycast memberships of AF_INET6 sockets, RFC 3493 5.2, RFC 3678 (Linux: the socket parts of net/ipv6/mcast.c, anycast.c).

A source filter holds per socket; devices are not told of it (see mcast.py)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.sock_mem import sock_kfree_s, sock_kmalloc
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_MC6_ALL, InetSock, Ipv6AcSocklist, Ipv6McSocklist
from twinsock.kernel.net.ipv6.addrconf import Inet6Dev, ipv6_anycast_add, ipv6_anycast_del, ipv6_chk_addr
from twinsock.kernel.net.ipv6.mcast import ipv6_dev_mc_dec, ipv6_dev_mc_inc
from twinsock.kernel.net.ipv6.route import Flowi6, ip6_route_output
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EADDRINUSE, EADDRNOTAVAIL, EINVAL, ENOBUFS, ENODEV, ENOENT, ENOMEM, EPERM
from twinsock.uapi.in_ import MCAST_EXCLUDE, MCAST_INCLUDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

_MC_SOCKLIST: Final = 56  # what a membership costs of option memory
_AC_SOCKLIST: Final = 32
_MLD_MAX_MSF: Final = 64
_SFLIST_HEAD: Final = 24
_SFBLOCK: Final = 10


def _device_of(net: Net, addr: bytes, ifindex: int) -> NetDevice | None:
    if ifindex:
        return dev_get_by_index(net, ifindex)
    rt = ip6_route_output(net, None, Flowi6(addr))
    return None if rt.error else rt.dev


def ipv6_sock_mc_join(sk: InetSock, ifindex: int, addr: bytes, mode: int = MCAST_EXCLUDE) -> int:
    """IPV6_ADD_MEMBERSHIP: 0 or -errno."""
    np = sk.pinet6
    if np is None or addr[0] != 0xFF:
        return -EINVAL
    for mc in np.mc_list:
        if (ifindex == 0 or mc.ifindex == ifindex) and mc.addr == addr:
            return -EADDRINUSE
    if sock_kmalloc(sk, _MC_SOCKLIST):
        return -ENOMEM
    dev = _device_of(sk.sk_net, addr, ifindex)
    if dev is None or dev.ip6_ptr is None:
        sock_kfree_s(sk, _MC_SOCKLIST)
        return -ENODEV
    ipv6_dev_mc_inc(dev.ip6_ptr, addr)
    np.mc_list.insert(0, Ipv6McSocklist(addr, dev.ifindex, mode))
    return 0


def ipv6_sock_mc_drop(sk: InetSock, ifindex: int, addr: bytes) -> int:
    """IPV6_DROP_MEMBERSHIP: 0, -EADDRNOTAVAIL without such a membership."""
    np = sk.pinet6
    if np is None or addr[0] != 0xFF:
        return -EINVAL
    for mc in np.mc_list:
        if (ifindex == 0 or mc.ifindex == ifindex) and mc.addr == addr:
            np.mc_list.remove(mc)
            _leave(sk, mc)
            return 0
    return -EADDRNOTAVAIL


def _leave(sk: InetSock, mc: Ipv6McSocklist) -> None:
    dev = dev_get_by_index(sk.sk_net, mc.ifindex)
    if dev is not None and dev.ip6_ptr is not None:
        ipv6_dev_mc_dec(dev.ip6_ptr, mc.addr)
    sock_kfree_s(sk, _MC_SOCKLIST + _charge_of(mc.sl_max))


def ipv6_sock_mc_close(sk: InetSock) -> None:
    """Leave every group when the socket is closed."""
    np = sk.pinet6
    if np is not None:
        for mc in np.mc_list:
            _leave(sk, mc)
        np.mc_list = []


def _idev_of(net: Net, group: bytes, ifindex: int) -> Inet6Dev | None:
    dev = _device_of(net, group, ifindex)
    return None if dev is None else dev.ip6_ptr


def ip6_mc_source(sk: InetSock, add: bool, omode: int, ifindex: int, group: bytes, source: bytes) -> int:
    """Add or remove one source of a group's filter: 0 or -errno."""
    np = sk.pinet6
    if np is None or group[0] != 0xFF:
        return -EINVAL
    idev = _idev_of(sk.sk_net, group, ifindex)
    if idev is None:
        return -ENODEV
    pmc: Ipv6McSocklist | None = None
    for mc in np.mc_list:
        if (not ifindex or mc.ifindex == ifindex) and mc.addr == group:
            pmc = mc
            break
    if pmc is None:
        return -EINVAL
    if pmc.sfmode != omode:
        if pmc.sl_max >= 0:
            return -EINVAL
        pmc.sfmode = omode
    if not add:
        if source not in pmc.sources:
            return -EADDRNOTAVAIL
        if len(pmc.sources) == 1 and omode == MCAST_INCLUDE:
            return ipv6_sock_mc_drop(sk, ifindex, group)
        pmc.sources.remove(source)
        return 0
    if len(pmc.sources) >= _MLD_MAX_MSF:
        return -ENOBUFS
    if source in pmc.sources:
        return -EADDRNOTAVAIL
    if len(pmc.sources) >= pmc.sl_max and _set_sl_max(sk, pmc, max(pmc.sl_max, 0) + _SFBLOCK):
        return -ENOBUFS
    pmc.sources.append(source)
    return 0


def ip6_mc_msfilter(sk: InetSock, ifindex: int, group: bytes, fmode: int, sources: list[bytes]) -> int:
    """MCAST_MSFILTER: replace the whole filter; an empty INCLUDE leaves the group."""
    np = sk.pinet6
    if np is None or group[0] != 0xFF or fmode not in (MCAST_INCLUDE, MCAST_EXCLUDE):
        return -EINVAL
    idev = _idev_of(sk.sk_net, group, ifindex)
    if idev is None:
        return -ENODEV
    if fmode == MCAST_INCLUDE and not sources:
        return ipv6_sock_mc_drop(sk, ifindex, group)
    for mc in np.mc_list:
        if mc.ifindex == ifindex and mc.addr == group:
            if _set_sl_max(sk, mc, len(sources) or -1):
                return -ENOBUFS
            mc.sources = list(sources)
            mc.sfmode = fmode
            return 0
    return -EINVAL


def inet6_mc_check(sk: InetSock, mc_addr: bytes, src_addr: bytes) -> bool:
    """Tell whether a socket wants a multicast: by its filter, without a membership by IPV6_MULTICAST_ALL."""
    np = sk.pinet6
    if np is not None:
        for mc in np.mc_list:
            if mc.addr == mc_addr:
                return (src_addr in mc.sources) == (mc.sfmode == MCAST_INCLUDE)
    return sk.inet_test_bit(INET_FLAGS_MC6_ALL)


def _charge_of(sl_max: int) -> int:
    return 0 if sl_max < 0 else _SFLIST_HEAD + 16 * sl_max


def _set_sl_max(sk: InetSock, pmc: Ipv6McSocklist, sl_max: int) -> int:
    """Give a filter memory for so many sources (-1: none): 0 or -ENOMEM."""
    old, new = _charge_of(pmc.sl_max), _charge_of(sl_max)
    if new > old and sock_kmalloc(sk, new - old):
        return -ENOMEM
    if old > new:
        sock_kfree_s(sk, old - new)
    pmc.sl_max = sl_max
    return 0


# Anycast


def ipv6_sock_ac_join(task: Task, sk: InetSock, ifindex: int, addr: bytes) -> int:
    """IPV6_JOIN_ANYCAST: 0 or -errno."""
    np = sk.pinet6
    net = sk.sk_net
    if not task.ns_capable(net.user_ns, CAP_NET_ADMIN):
        return -EPERM
    if np is None or addr[0] == 0xFF:
        return -EINVAL
    dev = dev_get_by_index(net, ifindex) if ifindex else None
    if ipv6_chk_addr(net, addr, None, False):
        return -EINVAL
    if not ifindex:
        rt = ip6_route_output(net, None, Flowi6(addr))
        if not rt.error:
            dev = rt.dev
        else:
            return -EADDRNOTAVAIL
    if dev is None:
        return -ENODEV
    idev = dev.ip6_ptr
    if idev is None:
        return -ENODEV if ifindex else -EADDRNOTAVAIL
    if not _on_link(idev, addr) and not idev.cnf.forwarding:
        return -EADDRNOTAVAIL
    if sock_kmalloc(sk, _AC_SOCKLIST):
        return -ENOMEM
    ipv6_anycast_add(dev, addr)
    np.ac_list.insert(0, Ipv6AcSocklist(addr, dev.ifindex))
    return 0


def _on_link(idev: Inet6Dev, addr: bytes) -> bool:
    for ifp in idev.addr_list:
        shift = 128 - ifp.prefix_len
        if int.from_bytes(ifp.addr, "big") >> shift == int.from_bytes(addr, "big") >> shift:
            return True
    return False


def ipv6_sock_ac_drop(sk: InetSock, ifindex: int, addr: bytes) -> int:
    """IPV6_LEAVE_ANYCAST: 0, -ENOENT without such a membership."""
    np = sk.pinet6
    if np is not None:
        for ac in np.ac_list:
            if (ifindex == 0 or ac.ifindex == ifindex) and ac.addr == addr:
                np.ac_list.remove(ac)
                _ac_leave(sk, ac)
                return 0
    return -ENOENT


def _ac_leave(sk: InetSock, ac: Ipv6AcSocklist) -> None:
    dev = dev_get_by_index(sk.sk_net, ac.ifindex)
    if dev is not None and dev.ip6_ptr is not None:
        ipv6_anycast_del(dev, ac.addr)
    sock_kfree_s(sk, _AC_SOCKLIST)


def ipv6_sock_ac_close(sk: InetSock) -> None:
    """Leave every anycast address when the socket is closed."""
    np = sk.pinet6
    if np is not None:
        for ac in np.ac_list:
            _ac_leave(sk, ac)
        np.ac_list = []
