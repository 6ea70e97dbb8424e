"""Interface ioctls, netdevice(7) (Linux: net/core/dev_ioctl.c). Those about IPv4 addresses are in net/ipv4/devinet_ioctl.py.

Left out (D-dev-1): hardware time stamps, ethtool, bridges, bonds, media."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index, dev_get_by_name, dev_set_mtu
from twinsock.kernel.net.core.dev_change import (
    dev_change_flags,
    dev_change_name,
    dev_mc_add_global,
    dev_mc_del_global,
    dev_set_mac_address,
)
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EFAULT, EINVAL, ENODEV, ENOIOCTLCMD, EOPNOTSUPP, EPERM
from twinsock.uapi.if_ import IFNAMSIZ
from twinsock.uapi.sockios import (
    SIOCADDMULTI,
    SIOCDELMULTI,
    SIOCGIFFLAGS,
    SIOCGIFHWADDR,
    SIOCGIFINDEX,
    SIOCGIFMAP,
    SIOCGIFMETRIC,
    SIOCGIFMTU,
    SIOCGIFNAME,
    SIOCGIFSLAVE,
    SIOCGIFTXQLEN,
    SIOCSIFFLAGS,
    SIOCSIFHWADDR,
    SIOCSIFHWBROADCAST,
    SIOCSIFMAP,
    SIOCSIFMETRIC,
    SIOCSIFMTU,
    SIOCSIFNAME,
    SIOCSIFSLAVE,
    SIOCSIFTXQLEN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

IFREQ_SIZE: Final = 40
_READING: Final[tuple[int, ...]] = (
    SIOCGIFFLAGS,
    SIOCGIFMETRIC,
    SIOCGIFMTU,
    SIOCGIFHWADDR,
    SIOCGIFSLAVE,
    SIOCGIFMAP,
    SIOCGIFINDEX,
    SIOCGIFTXQLEN,
)
_WRITING: Final[tuple[int, ...]] = (
    SIOCSIFFLAGS,
    SIOCSIFMETRIC,
    SIOCSIFMTU,
    SIOCSIFHWADDR,
    SIOCSIFSLAVE,
    SIOCSIFMAP,
    SIOCADDMULTI,
    SIOCDELMULTI,
    SIOCSIFHWBROADCAST,
    SIOCSIFTXQLEN,
    SIOCSIFNAME,
)


def ifr_name(arg: bytes) -> str:
    """Return the name that a struct ifreq begins with."""
    return arg[: IFNAMSIZ - 1].split(b"\0")[0].decode("latin-1")


def dev_ioctl(net: Net, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
    """Answer an interface ioctl: (0 or -errno, struct ifreq); -ENOIOCTLCMD when it is none."""
    if cmd != SIOCGIFNAME and cmd not in _READING and cmd not in _WRITING:
        return -ENOIOCTLCMD, b""
    if arg is None or len(arg) < IFREQ_SIZE:
        return -EFAULT, b""
    if cmd == SIOCGIFNAME:
        named = dev_get_by_index(net, int.from_bytes(arg[16:20], "little"))
        return (-ENODEV, b"") if named is None else (0, named.name.encode().ljust(IFNAMSIZ, b"\0") + arg[16:])
    if cmd in _WRITING and not task.ns_capable(net.user_ns, CAP_NET_ADMIN):
        return -EPERM, b""
    dev = dev_get_by_name(net, ifr_name(arg).split(":")[0])
    if dev is None:
        return -ENODEV, b""
    if cmd in _WRITING:
        return dev_ifsioc(dev, cmd, arg), b""
    if cmd == SIOCGIFSLAVE:
        return -EINVAL, b""
    value = dev_ifsioc_locked(dev, cmd)
    return 0, arg[:16] + value + arg[16 + len(value) :]


def dev_ifsioc_locked(dev: NetDevice, cmd: int) -> bytes:
    """Return the field that a reading ioctl fills in."""
    if cmd == SIOCGIFFLAGS:
        return (dev.flags & 0xFFFF).to_bytes(2, "little")
    if cmd == SIOCGIFMTU:
        return dev.mtu.to_bytes(4, "little")
    if cmd == SIOCGIFINDEX:
        return dev.ifindex.to_bytes(4, "little")
    if cmd == SIOCGIFTXQLEN:
        return dev.tx_queue_len.to_bytes(4, "little")
    if cmd == SIOCGIFHWADDR:
        return dev.type.to_bytes(2, "little") + dev.dev_addr.ljust(14, b"\0")
    return bytes(24 if cmd == SIOCGIFMAP else 4)


def dev_ifsioc(dev: NetDevice, cmd: int, arg: bytes) -> int:
    """Do what a configuring ioctl asks: 0 or -errno."""
    number = int.from_bytes(arg[16:20], "little", signed=True)
    family = int.from_bytes(arg[16:18], "little")
    if cmd == SIOCSIFFLAGS:
        return dev_change_flags(dev, family)
    if cmd == SIOCSIFMTU:
        return dev_set_mtu(dev, number)
    if cmd == SIOCSIFNAME:
        return dev_change_name(dev, arg[16:31].split(b"\0")[0].decode("latin-1"))
    if cmd == SIOCSIFTXQLEN:
        if number < 0:
            return -EINVAL
        dev.tx_queue_len = number
        return 0
    if cmd == SIOCSIFHWADDR:
        return dev_set_mac_address(dev, family, arg[18:24])
    if cmd == SIOCSIFHWBROADCAST:
        if family != dev.type:
            return -EINVAL
        dev.broadcast = arg[18:24]
        return 0
    if cmd == SIOCSIFSLAVE:
        return -EINVAL
    if cmd in (SIOCSIFMETRIC, SIOCSIFMAP):
        return -EOPNOTSUPP
    if family != 0:  # SIOCADDMULTI and SIOCDELMULTI want AF_UNSPEC
        return -EINVAL
    return dev_mc_add_global(dev, arg[18:24]) if cmd == SIOCADDMULTI else dev_mc_del_global(dev, arg[18:24])


class GifconfHandler:
    """What lists a namespace's addresses for SIOCGIFCONF; set by IPv4 (`Kernel.gifconf`)."""

    def inet_gifconf(self, net: Net) -> list[bytes]:
        """Return one struct ifreq for each address."""
        raise NotImplementedError


def dev_ifconf(net: Net, task: Task, arg: bytes | None) -> tuple[int, bytes]:
    """SIOCGIFCONF: copy the entries that fit; without a buffer say how long they are: (0 or -errno, struct ifconf)."""
    if arg is None or len(arg) < 16:
        return -EFAULT, b""
    room = int.from_bytes(arg[:4], "little", signed=True)
    address = int.from_bytes(arg[8:16], "little")
    handler = net.kernel.gifconf
    entries = [] if handler is None else handler.inet_gifconf(net)
    total = len(entries) * IFREQ_SIZE
    if address:
        total = min(total, max(room, 0) // IFREQ_SIZE * IFREQ_SIZE)
        if total and not task.copy_to_user(address, b"".join(entries)[:total]):
            return -EFAULT, b""
    return 0, total.to_bytes(4, "little") + arg[4:]
