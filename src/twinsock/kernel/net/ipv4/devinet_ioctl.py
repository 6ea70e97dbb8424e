"""IPv4 addresses and routes by ioctl, netdevice(7), rtnetlink's elder: what inet_ioctl() answers for every IPv4 socket
(Linux: devinet_ioctl() of net/ipv4/devinet.c, ip_rt_ioctl() of net/ipv4/fib_frontend.c).

Left out: ARP ioctls; MTU, window and initial RTT of a struct rtentry."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_name
from twinsock.kernel.net.core.dev_change import dev_change_flags
from twinsock.kernel.net.core.dev_ioctl import IFREQ_SIZE, GifconfHandler, ifr_name
from twinsock.kernel.net.ipv4.devinet import InDevice, InIfaddr, inet_del_ifa, inet_insert_ifa, inet_make_mask
from twinsock.kernel.net.ipv4.fib_frontend import fib_delroute, fib_newroute, inet_addr_type, ipv4_is_loopback
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EFAULT, EINVAL, ENOBUFS, ENODEV, ENOIOCTLCMD, EPERM
from twinsock.uapi.if_ import IFF_BROADCAST, IFF_POINTOPOINT, IFF_UP, IFNAMSIZ
from twinsock.uapi.rtnetlink import RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RTN_UNICAST, RTN_UNREACHABLE
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.sockios import (
    SIOCADDRT,
    SIOCDELRT,
    SIOCGIFADDR,
    SIOCGIFBRDADDR,
    SIOCGIFDSTADDR,
    SIOCGIFNETMASK,
    SIOCGIFPFLAGS,
    SIOCRTMSG,
    SIOCSIFADDR,
    SIOCSIFBRDADDR,
    SIOCSIFDSTADDR,
    SIOCSIFFLAGS,
    SIOCSIFNETMASK,
    SIOCSIFPFLAGS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

RTF_GATEWAY: Final = 0x2
RTF_HOST: Final = 0x4
RTF_REJECT: Final = 0x200
_RTENTRY_SIZE: Final = 120
_GETS: Final[tuple[int, ...]] = (SIOCGIFADDR, SIOCGIFBRDADDR, SIOCGIFDSTADDR, SIOCGIFNETMASK)
_SETS: Final[tuple[int, ...]] = (SIOCSIFADDR, SIOCSIFBRDADDR, SIOCSIFDSTADDR, SIOCSIFNETMASK)


def inet_config_ioctl(net: Net, task: Task, cmd: int, arg: bytes) -> tuple[int, bytes]:
    """Answer the ioctls of routes and addresses: (0 or -errno, what is written back); -ENOIOCTLCMD when it is none of them."""
    if cmd in (SIOCADDRT, SIOCDELRT):
        return ip_rt_ioctl(net, task, cmd, arg), b""
    if cmd in (SIOCRTMSG, SIOCGIFPFLAGS, SIOCSIFPFLAGS):
        return -EINVAL, b""
    if cmd in _GETS or cmd in _SETS or cmd == SIOCSIFFLAGS:
        return (-EFAULT, b"") if len(arg) < IFREQ_SIZE else devinet_ioctl(net, task, cmd, arg)
    return -ENOIOCTLCMD, b""


def devinet_ioctl(net: Net, task: Task, cmd: int, arg: bytes) -> tuple[int, bytes]:
    """Read or change one address of a device, named by its label."""
    family = int.from_bytes(arg[16:18], "little")
    addr = int.from_bytes(arg[20:24], "big")
    if cmd not in _GETS:
        if not task.ns_capable(net.user_ns, CAP_NET_ADMIN):
            return -EPERM, b""
        if cmd != SIOCSIFFLAGS and family != AF_INET:
            return -EINVAL, b""
    label = ifr_name(arg)
    dev = dev_get_by_name(net, label.split(":")[0])
    if dev is None:
        return -ENODEV, b""
    ifa = _find(dev.ip_ptr, label, addr if cmd in _GETS and family == AF_INET else -1)
    if ifa is None and cmd not in (SIOCSIFADDR, SIOCSIFFLAGS):
        return -EADDRNOTAVAIL, b""
    if cmd == SIOCSIFFLAGS:
        return _set_flags(dev, ifa, ":" in label, family), b""
    if cmd == SIOCSIFADDR:
        return _set_addr(dev, ifa, label, addr), b""
    assert ifa is not None
    if cmd in _SETS:
        return _change(dev, ifa, cmd, addr), b""
    shown = ifa.ifa_local
    if cmd == SIOCGIFBRDADDR:
        shown = ifa.ifa_broadcast
    elif cmd == SIOCGIFDSTADDR:
        shown = ifa.ifa_address
    elif cmd == SIOCGIFNETMASK:
        shown = ifa.ifa_mask
    return 0, arg[:16] + _sockaddr(shown) + arg[32:]


def inet_abc_len(addr: int) -> int:
    """Return the prefix length of an address's class, -1 where addresses belong to nobody."""
    if addr >> 24 == 0 or addr == 0xFFFFFFFF:
        return 0
    if addr >> 31 == 0:
        return 8
    if addr >> 30 == 2:
        return 16
    return 24 if addr >> 29 == 6 else -1


def bad_mask(mask: int, addr: int) -> bool:
    """Tell whether a mask has holes, or the address bits outside it."""
    hosts = ~mask & 0xFFFFFFFF
    return bool(addr & hosts) or bool(hosts & (hosts + 1))


def _find(in_dev: InDevice | None, label: str, local: int) -> InIfaddr | None:
    """Find an address by label, rather one with this local address if it is not negative."""
    found: InIfaddr | None = None
    if in_dev is not None:
        for ifa in in_dev.ifa_list:
            if ifa.ifa_label == label:
                if ifa.ifa_local == local:
                    return ifa
                if found is None:
                    found = ifa
    return found


def _sockaddr(addr: int) -> bytes:
    return AF_INET.to_bytes(2, "little") + bytes(2) + addr.to_bytes(4, "big") + bytes(8)


def _set_flags(dev: NetDevice, ifa: InIfaddr | None, is_alias: bool, flags: int) -> int:
    if not is_alias:
        return dev_change_flags(dev, flags)
    if ifa is None:
        return -EADDRNOTAVAIL
    return 0 if flags & IFF_UP else inet_del_ifa(dev, ifa.ifa_local, ifa.ifa_prefixlen)


def _set_addr(dev: NetDevice, old: InIfaddr | None, label: str, addr: int) -> int:
    """SIOCSIFADDR: put the address of a label, with its class's netmask, in place of the old one."""
    if inet_abc_len(addr) < 0:
        return -EINVAL
    if dev.ip_ptr is None:
        return -ENOBUFS
    if old is not None:
        if old.ifa_local == addr:
            return 0
        inet_del_ifa(dev, old.ifa_local, old.ifa_prefixlen)
    if not addr:
        return 0
    ifa = InIfaddr(addr, 32)
    ifa.ifa_label = label
    if not dev.flags & IFF_POINTOPOINT:
        _set_prefix(ifa, inet_abc_len(addr))
        if dev.flags & IFF_BROADCAST:
            ifa.ifa_broadcast = addr | ~ifa.ifa_mask & 0xFFFFFFFF
    if ipv4_is_loopback(addr):
        ifa.ifa_scope = RT_SCOPE_HOST
    return inet_insert_ifa(dev, ifa)


def _set_prefix(ifa: InIfaddr, prefixlen: int) -> None:
    ifa.ifa_prefixlen = prefixlen
    ifa.ifa_mask = inet_make_mask(prefixlen)


def _change(dev: NetDevice, ifa: InIfaddr, cmd: int, addr: int) -> int:
    """Take an address out, change its broadcast, peer or mask, and put it back: 0 or -errno."""
    current = ifa.ifa_broadcast if cmd == SIOCSIFBRDADDR else ifa.ifa_address if cmd == SIOCSIFDSTADDR else ifa.ifa_mask
    if addr == current:
        return 0
    if (cmd == SIOCSIFNETMASK and bad_mask(addr, 0)) or (cmd == SIOCSIFDSTADDR and inet_abc_len(addr) < 0):
        return -EINVAL
    inet_del_ifa(dev, ifa.ifa_local, ifa.ifa_prefixlen)
    if cmd == SIOCSIFBRDADDR:
        ifa.ifa_broadcast = addr
    elif cmd == SIOCSIFDSTADDR:
        ifa.ifa_address = addr
    else:
        derived = ifa.ifa_local | ~ifa.ifa_mask & 0xFFFFFFFF
        _set_prefix(ifa, addr.bit_count())
        if dev.flags & IFF_BROADCAST and ifa.ifa_prefixlen < 31 and ifa.ifa_broadcast == derived:
            ifa.ifa_broadcast = ifa.ifa_local | ~addr & 0xFFFFFFFF
    return inet_insert_ifa(dev, ifa)


class InetGifconf(GifconfHandler):
    """inet_gifconf()."""

    def inet_gifconf(self, net: Net) -> list[bytes]:
        """Return one struct ifreq for each IPv4 address of the namespace."""
        entries: list[bytes] = []
        for dev in net.dev_base:
            if dev.ip_ptr is not None:
                for ifa in dev.ip_ptr.ifa_list:
                    entries.append(ifa.ifa_label.encode().ljust(IFNAMSIZ, b"\0") + _sockaddr(ifa.ifa_local) + bytes(8))
        return entries


# ---- routes


def ip_rt_ioctl(net: Net, task: Task, cmd: int, arg: bytes) -> int:
    """SIOCADDRT, SIOCDELRT with a struct rtentry: 0 or -errno."""
    if not task.ns_capable(net.user_ns, CAP_NET_ADMIN):
        return -EPERM
    if len(arg) < _RTENTRY_SIZE:
        return -EFAULT
    err, cfg = rtentry_to_fib_config(net, task, cmd, arg)
    if cfg is None:
        return err
    return fib_newroute(net, cfg) if cmd == SIOCADDRT else fib_delroute(net, cfg)


def rtentry_to_fib_config(net: Net, task: Task, cmd: int, arg: bytes) -> tuple[int, FibConfig | None]:
    """Read a struct rtentry: (0, route) or (-errno, None)."""
    if _family(arg, 8) != AF_INET:
        return -EAFNOSUPPORT, None
    flags = int.from_bytes(arg[56:58], "little")
    addr, gateway, mask = _addr(arg, 8), _addr(arg, 24), _addr(arg, 40)
    plen = 32
    if not flags & RTF_HOST:
        if _family(arg, 40) != AF_INET and (mask or _family(arg, 40)):
            return -EAFNOSUPPORT, None
        if bad_mask(mask, addr):
            return -EINVAL, None
        plen = mask.bit_count()
    cfg = FibConfig(addr, plen)
    metric = int.from_bytes(arg[80:82], "little", signed=True)
    if metric:
        cfg.priority = metric - 1
    if flags & RTF_REJECT:
        cfg.scope = RT_SCOPE_HOST
        cfg.type = RTN_UNREACHABLE
        return 0, cfg
    err = _take_device(net, task, cfg, int.from_bytes(arg[88:96], "little"))
    if err:
        return err, None
    if _family(arg, 24) == AF_INET and gateway:
        cfg.gw = gateway
        if flags & RTF_GATEWAY and inet_addr_type(net, gateway) == RTN_UNICAST:
            cfg.scope = RT_SCOPE_UNIVERSE
    if cmd == SIOCDELRT:
        return 0, cfg
    if flags & RTF_GATEWAY and not cfg.gw:
        return -EINVAL, None
    if cfg.scope < 0:
        cfg.scope = RT_SCOPE_LINK
    return 0, cfg


def _family(arg: bytes, at: int) -> int:
    return int.from_bytes(arg[at : at + 2], "little")


def _addr(arg: bytes, at: int) -> int:
    return int.from_bytes(arg[at + 4 : at + 8], "big")


def _take_device(net: Net, task: Task, cfg: FibConfig, pointer: int) -> int:
    """Set the device that rt_dev points to the name of: 0 or -errno."""
    if not pointer:
        return 0
    name = task.copy_from_user(pointer, IFNAMSIZ - 1)
    if name is None:
        return -EFAULT
    label = ifr_name(name)
    dev = dev_get_by_name(net, label.split(":")[0])
    if dev is None:
        return -ENODEV
    cfg.oif = dev.ifindex
    if ":" in label:
        ifa = _find(dev.ip_ptr, label, -1)
        if ifa is None:
            return -ENODEV
        cfg.prefsrc = ifa.ifa_local
    return 0
