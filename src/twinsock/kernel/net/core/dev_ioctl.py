"""Interface ioctls, netdevice(7) (Linux: net/core/dev_ioctl.c). Left out: hardware time stamps, ethtool, bridges, bonds, media."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index, dev_get_by_name
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EFAULT, ENODEV, ENOIOCTLCMD, EOPNOTSUPP, EPERM
from twinsock.uapi.sockios import (
    SIOCGIFFLAGS,
    SIOCGIFINDEX,
    SIOCGIFMAP,
    SIOCGIFMETRIC,
    SIOCGIFMTU,
    SIOCGIFNAME,
    SIOCOUTQNSD,
    SIOCSIFMAP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

IFNAMSIZ: Final = 16
IFREQ_SIZE: Final = 40


def dev_ioctl(net: Net, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
    """Answer an ioctl on an interface, or -ENOIOCTLCMD."""
    if not SIOCGIFNAME <= cmd <= SIOCSIFMAP or cmd == SIOCOUTQNSD:
        return -ENOIOCTLCMD, b""
    if arg is None or len(arg) < IFREQ_SIZE:
        return -EFAULT, b""
    if cmd == SIOCGIFNAME:
        dev = dev_get_by_index(net, int.from_bytes(arg[16:20], "little"))
        return (-ENODEV, b"") if dev is None else (0, dev.name.encode().ljust(IFNAMSIZ, b"\0") + arg[16:])
    dev = dev_get_by_name(net, arg[: IFNAMSIZ - 1].split(b"\0")[0].split(b":")[0].decode("latin-1"))
    value = dev_ifsioc_get(dev, cmd)
    if value is not None:
        return (-ENODEV, b"") if dev is None else (0, arg[:16] + value + arg[16 + len(value) :])
    if not task.ns_capable(net.user_ns, CAP_NET_ADMIN):
        return -EPERM, b""
    return (-ENODEV, b"") if dev is None else (-EOPNOTSUPP, b"")


def dev_ifsioc_get(dev: NetDevice | None, cmd: int) -> bytes | None:
    """Return the field that a reading ioctl fills in, None for any other ioctl."""
    flags = mtu = ifindex = 0
    if dev is not None:
        flags, mtu, ifindex = dev.flags, dev.mtu, dev.ifindex
    if cmd == SIOCGIFFLAGS:
        return (flags & 0xFFFF).to_bytes(2, "little")
    if cmd == SIOCGIFMTU:
        return mtu.to_bytes(4, "little")
    if cmd == SIOCGIFINDEX:
        return ifindex.to_bytes(4, "little")
    if cmd == SIOCGIFMETRIC:
        return bytes(4)
    if cmd == SIOCGIFMAP:
        return bytes(24)
    return None
