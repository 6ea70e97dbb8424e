"""Security module hooks of the socket layer (Linux: security/security.c, include/linux/lsm_hook_defs.h).

`Kernel.security` is None, or an object whose methods may refuse a call with a negative errno. A test or a simulation subclasses
`SecurityOps`."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net import Msghdr, Socket
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.sched.task import Task


@mypyc_attr(allow_interpreted_subclasses=True)
class SecurityOps:
    """The hooks; each returns 0 to permit or -errno to refuse."""

    def socket_create(self, task: Task, family: int, type_: int, protocol: int, kern: int) -> int:
        """Before socket(2) allocates anything."""
        return 0

    def socket_post_create(self, task: Task, sock: Socket, family: int, type_: int, protocol: int, kern: int) -> int:
        """After the family made its socket."""
        return 0

    def socket_socketpair(self, task: Task, socka: Socket, sockb: Socket) -> int:
        """Before the two are joined."""
        return 0

    def socket_bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2)."""
        return 0

    def socket_connect(self, task: Task, sock: Socket, addr: bytes) -> int:
        """connect(2)."""
        return 0

    def socket_listen(self, task: Task, sock: Socket, backlog: int) -> int:
        """listen(2), after the clamp."""
        return 0

    def socket_accept(self, task: Task, sock: Socket, newsock: Socket) -> int:
        """accept(2), before waiting."""
        return 0

    def socket_sendmsg(self, task: Task, sock: Socket, msg: Msghdr, size: int) -> int:
        """Every way of sending."""
        return 0

    def socket_recvmsg(self, task: Task, sock: Socket, msg: Msghdr, size: int, flags: int) -> int:
        """Every way of receiving."""
        return 0

    def socket_getsockname(self, task: Task, sock: Socket) -> int:
        """getsockname(2)."""
        return 0

    def socket_getpeername(self, task: Task, sock: Socket) -> int:
        """getpeername(2)."""
        return 0

    def socket_getsockopt(self, task: Task, sock: Socket, level: int, optname: int) -> int:
        """getsockopt(2)."""
        return 0

    def socket_setsockopt(self, task: Task, sock: Socket, level: int, optname: int) -> int:
        """setsockopt(2)."""
        return 0

    def socket_shutdown(self, task: Task, sock: Socket, how: int) -> int:
        """shutdown(2)."""
        return 0

    def unix_stream_connect(self, sk: Sock, other: Sock, newsk: Sock) -> int:
        """A UNIX stream connection is about to be made."""
        return 0

    def unix_may_send(self, sock: Socket, other: Socket) -> int:
        """A UNIX datagram is about to go to `other`."""
        return 0


def security_socket_create(task: Task, family: int, type_: int, protocol: int, kern: int) -> int:
    """Ask whether the socket may be made."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_create(task, family, type_, protocol, kern)


def security_socket_post_create(task: Task, sock: Socket, family: int, type_: int, protocol: int, kern: int) -> int:
    """Ask whether the socket may stay."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_post_create(task, sock, family, type_, protocol, kern)


def security_socket_socketpair(task: Task, socka: Socket, sockb: Socket) -> int:
    """Ask whether the two may be joined."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_socketpair(task, socka, sockb)


def security_socket_bind(task: Task, sock: Socket, addr: bytes) -> int:
    """Ask whether the address may be bound."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_bind(task, sock, addr)


def security_socket_connect(task: Task, sock: Socket, addr: bytes) -> int:
    """Ask whether the peer may be connected to."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_connect(task, sock, addr)


def security_socket_listen(task: Task, sock: Socket, backlog: int) -> int:
    """Ask whether the socket may listen."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_listen(task, sock, backlog)


def security_socket_accept(task: Task, sock: Socket, newsock: Socket) -> int:
    """Ask whether a connection may be accepted."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_accept(task, sock, newsock)


def security_socket_sendmsg(task: Task, sock: Socket, msg: Msghdr, size: int) -> int:
    """Ask whether the message may be sent."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_sendmsg(task, sock, msg, size)


def security_socket_recvmsg(task: Task, sock: Socket, msg: Msghdr, size: int, flags: int) -> int:
    """Ask whether a message may be received."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_recvmsg(task, sock, msg, size, flags)


def security_socket_getsockname(task: Task, sock: Socket) -> int:
    """Ask whether the name may be read."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_getsockname(task, sock)


def security_socket_getpeername(task: Task, sock: Socket) -> int:
    """Ask whether the peer's name may be read."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_getpeername(task, sock)


def security_socket_getsockopt(task: Task, sock: Socket, level: int, optname: int) -> int:
    """Ask whether the option may be read."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_getsockopt(task, sock, level, optname)


def security_socket_setsockopt(task: Task, sock: Socket, level: int, optname: int) -> int:
    """Ask whether the option may be set."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_setsockopt(task, sock, level, optname)


def security_socket_shutdown(task: Task, sock: Socket, how: int) -> int:
    """Ask whether the socket may be shut down."""
    ops = task.kernel.security
    return 0 if ops is None else ops.socket_shutdown(task, sock, how)


def security_unix_stream_connect(sk: Sock, other: Sock, newsk: Sock) -> int:
    """Ask whether a UNIX stream may be connected."""
    ops = sk.sk_net.kernel.security
    return 0 if ops is None else ops.unix_stream_connect(sk, other, newsk)


def security_unix_may_send(sk: Sock, other: Sock) -> int:
    """Ask whether a UNIX datagram may be sent."""
    ops = sk.sk_net.kernel.security
    if ops is None or sk.sk_socket is None or other.sk_socket is None:
        return 0
    return ops.unix_may_send(sk.sk_socket, other.sk_socket)
