"""Changing a device: flags, name, link addresses (Linux: dev_change_flags(), dev_change_name(), ... of net/core/dev.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import (
    NETDEV_CHANGENAME,
    NetDevice,
    call_netdevice_notifiers,
    dev_close,
    dev_get_by_index,
    dev_get_by_name,
    dev_mc_add,
    dev_mc_del,
    dev_open,
    dev_valid_name,
    register_netdevice,
    unregister_netdevice,
)
from twinsock.kernel.net.core.rtnl_notify import rtmsg_ifinfo
from twinsock.uapi.errno import EADDRNOTAVAIL, EEXIST, EINVAL, ENFILE, ENOENT
from twinsock.uapi.if_ import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    IFF_ALLMULTI,
    IFF_AUTOMEDIA,
    IFF_DEBUG,
    IFF_DYNAMIC,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_NOTRAILERS,
    IFF_PORTSEL,
    IFF_PROMISC,
    IFF_UP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_FREELY: Final = (
    IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_DYNAMIC | IFF_MULTICAST | IFF_PORTSEL | IFF_AUTOMEDIA | IFF_PROMISC | IFF_ALLMULTI
)
_UNITS_MAX: Final = 32768


def dev_change_flags(dev: NetDevice, flags: int) -> int:
    """Set the flags that a user may set, and bring the device up or down: 0 or -errno."""
    dev.flags = (dev.flags & ~_FREELY) | (flags & _FREELY)
    if not (dev.flags ^ flags) & IFF_UP:
        return 0
    if flags & IFF_UP:
        return dev_open(dev)
    dev_close(dev)
    return 0


def dev_change_name(dev: NetDevice, newname: str) -> int:
    """Rename a device; "eth%d" takes the first free number: 0 or -errno."""
    if not dev_valid_name(newname):
        return -EINVAL
    if newname == dev.name:
        return 0
    err, name = dev_get_valid_name(dev.net, newname)
    if err:
        return err
    dev.name = name
    call_netdevice_notifiers(NETDEV_CHANGENAME, dev)
    rtmsg_ifinfo(dev)
    return 0


def dev_get_valid_name(net: Net, name: str) -> tuple[int, str]:
    """Return (0, a free name) or (-errno, nothing)."""
    if "%" not in name:
        return (-EEXIST, "") if dev_get_by_name(net, name) is not None else (0, name)
    if name.count("%") != 1 or "%d" not in name:
        return -EINVAL, ""
    for unit in range(_UNITS_MAX):
        found = name.replace("%d", str(unit))
        if dev_get_by_name(net, found) is None:
            return 0, found
    return -ENFILE, ""


def dev_set_mac_address(dev: NetDevice, family: int, addr: bytes) -> int:
    """Change the link address: 0, -EINVAL for another hardware type, -EADDRNOTAVAIL for a group's or no address."""
    if family != dev.type:
        return -EINVAL
    if dev.type in (ARPHRD_ETHER, ARPHRD_LOOPBACK) and (addr[0] & 1 or not any(addr)):
        return -EADDRNOTAVAIL
    dev.dev_addr = addr
    return 0


def dev_change_net_namespace(dev: NetDevice, net: Net) -> int:
    """Move a device into another namespace, `ip link set DEV netns NS`: 0 or -errno. It arrives down and without addresses."""
    if dev.type == ARPHRD_LOOPBACK:
        return -EINVAL
    if net is dev.net:
        return 0
    if dev_get_by_name(net, dev.name) is not None:
        return -EEXIST
    unregister_netdevice(dev)
    dev.net = net
    if dev_get_by_index(net, dev.ifindex) is not None:
        dev.ifindex = 0
    else:
        net.ifindex = max(net.ifindex, dev.ifindex)
    return register_netdevice(dev)


def dev_mc_add_global(dev: NetDevice, addr: bytes) -> int:
    """Have the device take frames for a group: 0, or -EINVAL when it takes everything or nothing."""
    if dev.type != ARPHRD_ETHER:
        return -EINVAL
    dev_mc_add(dev, addr)
    return 0


def dev_mc_del_global(dev: NetDevice, addr: bytes) -> int:
    """End `dev_mc_add_global` once: 0 or -errno."""
    if dev.type != ARPHRD_ETHER:
        return -EINVAL
    if addr not in dev.mc:
        return -ENOENT
    dev_mc_del(dev, addr)
    return 0
