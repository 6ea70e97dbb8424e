"""ioctl(2) on UNIX sockets (Linux: net/unix/af_unix.c, unix_ioctl)."""

from __future__ import annotations

from twinsock.kernel.fs.ramfs import dentry_open_path
from twinsock.kernel.net.unix.unix_sock import UnixSock, unix_skb_len
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EINVAL, ENOENT, ENOIOCTLCMD, EOPNOTSUPP, EPERM
from twinsock.uapi.fcntl import O_CLOEXEC
from twinsock.uapi.socket import SOCK_SEQPACKET, SOCK_STREAM
from twinsock.uapi.sockios import SIOCATMARK, SIOCINQ, SIOCOUTQ
from twinsock.uapi.tcp import TCP_LISTEN
from twinsock.uapi.un import SIOCUNIXFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


def unix_inq_len(sk: UnixSock) -> int:
    """Return unread bytes (a datagram socket: of the next message), or -EINVAL for a listener."""
    if sk.sk_state == TCP_LISTEN:
        return -EINVAL
    if sk.sk_type == SOCK_STREAM:
        return sk.inq_len
    if sk.sk_type != SOCK_SEQPACKET:
        return sk.receive_queue[0].len if sk.receive_queue else 0
    amount = 0
    for skb in sk.receive_queue:
        amount += unix_skb_len(skb)
    return amount


def unix_outq_len(sk: UnixSock) -> int:
    """Return what the peer has not read yet, in memory charged."""
    return sk.sk_wmem_alloc


def unix_ioctl(task: Task, sk: UnixSock, cmd: int) -> tuple[int, bytes]:
    """SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCUNIXFILE: (0 or -errno, value)."""
    if cmd == SIOCOUTQ:
        return 0, unix_outq_len(sk).to_bytes(4, "little")
    if cmd == SIOCINQ:
        amount = unix_inq_len(sk)
        return (amount, b"") if amount < 0 else (0, amount.to_bytes(4, "little"))
    if cmd == SIOCATMARK:
        if sk.sk_type != SOCK_STREAM:
            return -EOPNOTSUPP, b""
        return 0, int(_at_mark(sk)).to_bytes(4, "little")
    if cmd == SIOCUNIXFILE:
        return unix_open_file(task, sk), b""
    return -ENOIOCTLCMD, b""


def _at_mark(sk: UnixSock) -> bool:
    """Tell whether the next byte is the urgent one, or stood where it was."""
    queue = sk.receive_queue
    if not queue:
        return False
    if queue[0] is sk.oob_skb:
        return True
    if unix_skb_len(queue[0]):
        return False
    return sk.oob_skb is None or (len(queue) > 1 and queue[1] is sk.oob_skb)


def unix_open_file(task: Task, sk: UnixSock) -> int:
    """Open the socket's inode with O_PATH: a descriptor, -EPERM without CAP_NET_ADMIN, -ENOENT without a path."""
    if not task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN):
        return -EPERM
    if sk.path is None:
        return -ENOENT
    return dentry_open_path(task, sk.path, O_CLOEXEC)
