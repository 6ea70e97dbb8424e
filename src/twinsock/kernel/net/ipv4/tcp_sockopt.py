"""Socket options of TCP (Linux: do_tcp_setsockopt() and do_tcp_getsockopt() of net/ipv4/tcp.c; tcp(7))."""

from typing import TYPE_CHECKING

from twinsock.kernel.net.core.sock import SOCK_RCVBUF_LOCK
from twinsock.kernel.net.core.sock_cmsg import sock_recv_errqueue
from twinsock.kernel.net.ipv4.tcp_sock import TcpSock
from twinsock.uapi.errno import ENOPROTOOPT, EOPNOTSUPP

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.sched.task import Task


def inet_recv_error(sk: TcpSock, msg: "Msghdr") -> int:
    """Receive from the error queue, recvmsg(2) with MSG_ERRQUEUE."""
    level, type_ = (0, 11) if sk.sk_family == 2 else (41, 25)
    return sock_recv_errqueue(sk, msg, level, type_)


def tcp_set_rcvlowat(sk: TcpSock, val: int) -> int:
    """Set SO_RCVLOWAT, at most half of the largest receive buffer; an unlocked buffer grows to twice the mark."""
    locked = bool(sk.sk_userlocks & SOCK_RCVBUF_LOCK)
    val = min(val, (sk.sk_rcvbuf if locked else sk.sk_net.ipv4.sysctl_tcp_rmem[2]) >> 1)
    sk.sk_rcvlowat = val or 1
    if not locked and val << 1 > sk.sk_rcvbuf:
        sk.sk_rcvbuf = val << 1
    return 0


def tcp_stream_setsockopt(task: "Task", sk: TcpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """setsockopt(2) below SOL_SOCKET."""
    return -ENOPROTOOPT


def tcp_stream_getsockopt(task: "Task", sk: TcpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """getsockopt(2) below SOL_SOCKET."""
    return -EOPNOTSUPP, b""
