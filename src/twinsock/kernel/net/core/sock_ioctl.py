"""ioctl(2) on sockets: what concerns every socket, then the family, then the interfaces (Linux: net/socket.c, sock_ioctl())."""

from __future__ import annotations

from twinsock.kernel.fs.fcntl import f_getown, f_setown
from twinsock.kernel.fs.file import File
from twinsock.kernel.fs.ioctl import user_int
from twinsock.kernel.fs.nsfs import open_related_ns
from twinsock.kernel.net.core.dev_ioctl import dev_ifconf, dev_ioctl
from twinsock.kernel.net.core.net import Socket
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import ENOENT, ENOIOCTLCMD, ENOTTY, EPERM
from twinsock.uapi.socket import AF_NETLINK, AF_UNIX
from twinsock.uapi.sockios import (
    FIOGETOWN,
    FIOSETOWN,
    SIOCGIFCONF,
    SIOCGPGRP,
    SIOCGSKNS,
    SIOCGSTAMP_NEW,
    SIOCGSTAMP_OLD,
    SIOCGSTAMPNS_NEW,
    SIOCGSTAMPNS_OLD,
    SIOCSPGRP,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_UINT_MASK: Final = 0xFFFFFFFF


def sock_ioctl(task: Task, file: File, sock: Socket, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
    """ioctl(2) on a socket: what concerns every socket, then the family, then the interfaces."""
    sk = sock.sk
    net = task.net if sk is None else sk.sk_net
    if cmd in (FIOSETOWN, SIOCSPGRP):
        err, pid = user_int(arg)
        return (err, b"") if err < 0 else (f_setown(task, file, pid), b"")
    if cmd in (FIOGETOWN, SIOCGPGRP):
        return 0, (f_getown(file) & _UINT_MASK).to_bytes(4, "little")
    if cmd == SIOCGSKNS:
        return (open_related_ns(task, net), b"") if task.ns_capable(net.user_ns, CAP_NET_ADMIN) else (-EPERM, b"")
    if cmd in (SIOCGSTAMP_OLD, SIOCGSTAMPNS_OLD, SIOCGSTAMP_NEW, SIOCGSTAMPNS_NEW):
        if sk is None or sk.sk_family in (AF_UNIX, AF_NETLINK):
            return -ENOTTY, b""
        return sock_gettstamp(sock, cmd in (SIOCGSTAMP_OLD, SIOCGSTAMP_NEW))
    if cmd == SIOCGIFCONF:
        return dev_ifconf(net, task, arg)
    ret, out = sock.ops.ioctl(task, sock, cmd, b"" if arg is None else arg)
    if ret == -ENOIOCTLCMD:
        ret, out = dev_ioctl(net, task, cmd, arg)
    return (-ENOTTY, b"") if ret == -ENOIOCTLCMD else (ret, out)


def sock_gettstamp(sock: Socket, timeval: bool) -> tuple[int, bytes]:
    """SIOCGSTAMP, SIOCGSTAMPNS of socket(7): the time of the last packet passed to the program."""
    sk = sock.sk
    if sk is None:
        return -ENOTTY, b""
    sk.sock_set_flag(7)  # SOCK_TIMESTAMP: from now on packets are stamped
    if sk.sk_stamp_ns == -1:
        return -ENOENT, b""
    if sk.sk_stamp_ns == 0:
        sk.sk_stamp_ns = sk.sk_net.kernel.clock.now_ns + sk.sk_net.kernel.clock.realtime_offset_ns
    seconds, rest = divmod(sk.sk_stamp_ns, 1_000_000_000)
    return 0, seconds.to_bytes(8, "little") + (rest // 1000 if timeval else rest).to_bytes(8, "little")
