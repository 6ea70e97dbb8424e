"""Stream sockets: listen, accept, connect, shutdown (Linux: inet_stream_ops of net/ipv4/af_inet.c, inet_csk_accept())."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET6_CONNECT, cgroup_bpf_run_filter_sock_addr
from twinsock.kernel.net.core.net import (
    SS_CONNECTED,
    SS_CONNECTING,
    SS_DISCONNECTING,
    SS_UNCONNECTED,
    Socket,
)
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    Sock,
    lock_sock,
    release_sock,
    sk_sleep_timeout,
    sock_error,
    sock_graft,
    sock_rcvtimeo,
    sock_sndtimeo,
)
from twinsock.kernel.net.ipv4.devinet_ioctl import inet_config_ioctl
from twinsock.kernel.net.ipv4.inet_connection_sock import inet_csk_listen_start
from twinsock.kernel.net.ipv4.inet_ops import InetOps
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_DEFER_CONNECT,
)
from twinsock.kernel.net.ipv4.ip_cmsg import ip_recv_error
from twinsock.kernel.net.ipv4.tcp import tcp_ioctl, tcp_poll, tcp_recvmsg, tcp_sendmsg, tcp_splice_read
from twinsock.kernel.net.ipv4.tcp_sock import TcpRequestSock, TcpSock
from twinsock.kernel.net.ipv4.tcp_sockopt import tcp_set_rcvlowat, tcp_stream_getsockopt, tcp_stream_setsockopt
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import (
    EAGAIN,
    EALREADY,
    ECONNABORTED,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENOIOCTLCMD,
    ENOTCONN,
)
from twinsock.uapi.fcntl import O_NONBLOCK
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC, MSG_ERRQUEUE, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.sched.task import Task


_SIN_LEN: Final = 16
_SIN6_LEN_RFC2133: Final = 24


class InetStreamOps(InetOps):
    """`inet_stream_ops`."""

    family = AF_INET
    has_peek_off = True

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """inet_stream_connect()."""
        sk = tcp_sk(sock)
        lock_sock(sk)
        err = inet_stream_connect_locked(task, sock, sk, addr, flags, False)
        release_sock(sk)
        return err

    def accept(self, task: Task, sock: Socket, newsock: Socket, flags: int) -> int:
        """accept(2)."""
        return inet_accept(task, tcp_sk(sock), newsock, flags)

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """poll(2)."""
        return tcp_poll(sock, tcp_sk(sock), wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """inet_ioctl()."""
        if self.family == AF_INET:
            ret, out = inet_config_ioctl(tcp_sk(sock).sk_net, task, cmd, arg)
            if ret != -ENOIOCTLCMD:
                return ret, out
        err, value = tcp_ioctl(tcp_sk(sock), cmd)
        return (err, b"") if err else (0, value.to_bytes(4, "little"))

    def listen(self, task: Task, sock: Socket, backlog: int) -> int:
        """inet_listen()."""
        sk = tcp_sk(sock)
        lock_sock(sk)
        err = _inet_listen_sk(sock, sk, backlog)
        release_sock(sk)
        return err

    def shutdown(self, sock: Socket, how: int) -> int:
        """shutdown(2)."""
        sk = sock.sk
        assert sk is not None
        return inet_shutdown(sock, sk, how)

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """sock_common_setsockopt()."""
        return tcp_stream_setsockopt(task, tcp_sk(sock), level, optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """sock_common_getsockopt()."""
        return tcp_stream_getsockopt(task, tcp_sk(sock), level, optname, optval, optlen)

    def set_rcvlowat(self, sk: Sock, val: int) -> int:
        """SO_RCVLOWAT."""
        assert isinstance(sk, TcpSock)
        return tcp_set_rcvlowat(sk, val)

    def set_peek_off(self, sk: Sock, val: int) -> int:
        """SO_PEEK_OFF."""
        sk.sk_peek_off = val
        return 0

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """inet_sendmsg()."""
        return tcp_sendmsg(task, tcp_sk(sock), msg)

    def splice_read(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """tcp_splice_read()."""
        return tcp_splice_read(task, tcp_sk(sock), msg, flags)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """inet_recvmsg()."""
        sk = tcp_sk(sock)
        if flags & MSG_ERRQUEUE:
            return ip_recv_error(sk, msg)
        return tcp_recvmsg(task, sk, msg, flags)


def tcp_sk(sock: Socket) -> TcpSock:
    """Return the TCP socket of a socket."""
    sk = sock.sk
    assert isinstance(sk, TcpSock)
    return sk


# ---- listen and accept


def _inet_listen_sk(sock: Socket, sk: TcpSock, backlog: int) -> int:
    """__inet_listen_sk(): listen, or change the limit: 0 or -errno."""
    if sock.state != SS_UNCONNECTED or sock.type != SOCK_STREAM:
        return -EINVAL
    if sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
        return -EINVAL
    sk.sk_max_ack_backlog = backlog
    if sk.sk_state == TCP_LISTEN:
        return 0
    fastopen = sk.sk_net.ipv4.sysctl_tcp_fastopen
    queue = sk.icsk_accept_queue.fastopenq
    if fastopen & 0x400 and fastopen & 2 and not queue.max_qlen:
        queue.max_qlen = min(backlog, sk.sk_net.core.sysctl_somaxconn)
    sk.icsk_accept_queue.synflood_warned = False
    sk.ack_pending = sk.ack_quick = sk.ack_pingpong = 0
    return inet_csk_listen_start(sk)


def inet_accept(task: Task, sk: TcpSock, newsock: Socket, flags: int) -> int:
    """Give `newsock` the oldest connection of the accept queue: 0 or -errno."""
    lock_sock(sk)
    err, newsk = inet_csk_accept(task, sk, flags)
    release_sock(sk)
    if newsk is None:
        return err
    lock_sock(newsk)
    sock_graft(newsk, newsock)
    newsock.state = SS_CONNECTED
    release_sock(newsk)
    return 0


def inet_csk_accept(task: Task, sk: TcpSock, flags: int) -> tuple[int, TcpSock | None]:
    """Take the oldest connection, waiting for one if the descriptor blocks: (0 or -errno, child)."""
    queue = sk.icsk_accept_queue
    if sk.sk_state != TCP_LISTEN:
        return -EINVAL, None
    if not queue.rskq_accept:
        timeo = sock_rcvtimeo(sk, bool(flags & O_NONBLOCK))
        if not timeo:
            return -EAGAIN, None
        err = inet_csk_wait_for_connect(task, sk, timeo)
        if err:
            return err, None
    req = queue.rskq_accept.popleft()
    sk.sk_ack_backlog -= 1
    newsk = req.sk
    assert isinstance(newsk, TcpSock) and isinstance(req, TcpRequestSock)
    if req.tfo_listener:
        req.sk = None
    return 0, newsk


def inet_csk_wait_for_connect(task: Task, sk: TcpSock, timeo: int) -> int:
    """Wait for a child; acceptors are woken one at a time: 0 or -errno."""
    sock = sk.sk_socket
    if sock is None:
        return -EINVAL
    wait = TaskWait(task, True)
    while True:
        sock.wq.prepare_to_wait(wait)
        if not sk.icsk_accept_queue.rskq_accept:
            timeo = sk_sleep_timeout(task, sk, timeo)
        err = 0
        if sk.icsk_accept_queue.rskq_accept:
            break
        err = -EINVAL
        if sk.sk_state != TCP_LISTEN:
            break
        err = sock_intr_errno(timeo)
        if task.signal_pending():
            break
        err = -EAGAIN
        if not timeo:
            break
    sock.wq.finish_wait(wait)
    return err


# ---- connect


def inet_stream_connect_locked(task: Task, sock: Socket, sk: TcpSock, addr: bytes | None, flags: int, is_sendmsg: bool) -> int:
    """__inet_stream_connect(): connect, or wait for a connection under way: 0 or -errno."""
    if addr is not None:
        if len(addr) < 2:
            return -EINVAL
        if addr[0] | addr[1] << 8 == AF_UNSPEC:
            err = sk.sk_prot.disconnect(sk, flags)
            sock.state = SS_DISCONNECTING if err else SS_UNCONNECTED
            return err
    if sock.state == SS_CONNECTED:
        return -EISCONN
    if sock.state == SS_CONNECTING:
        if sk.inet_test_bit(INET_FLAGS_DEFER_CONNECT):
            err = -EINPROGRESS if is_sendmsg else -EISCONN
        else:
            err = -EALREADY
    elif sock.state == SS_UNCONNECTED:
        if sk.sk_state != TCP_CLOSE:
            return -EISCONN
        err, addr = _pre_connect(sk, addr or b"")
        if err < 0:
            return err
        err = sk.sk_prot.connect(task, sk, addr)
        if err < 0:
            return err
        sock.state = SS_CONNECTING
        if sk.inet_test_bit(INET_FLAGS_DEFER_CONNECT):
            return 0
        err = -EINPROGRESS
    else:
        return -EINVAL
    return _finish_connect(task, sock, sk, flags, err)


def _pre_connect(sk: TcpSock, addr: bytes) -> tuple[int, bytes]:
    """tcp_v4_pre_connect(): let the cgroup's programs refuse or rewrite the destination: (0 or -errno, address)."""
    if sk.sk_net.kernel.cgroup_bpf is None:
        return 0, addr
    is_v6 = sk.sk_family == AF_INET6
    if len(addr) < (_SIN6_LEN_RFC2133 if is_v6 else _SIN_LEN):
        return -EINVAL, addr
    atype = BPF_CGROUP_INET6_CONNECT if is_v6 else BPF_CGROUP_INET4_CONNECT
    return cgroup_bpf_run_filter_sock_addr(sk, atype, addr)


def _finish_connect(task: Task, sock: Socket, sk: TcpSock, flags: int, err: int) -> int:
    timeo = sock_sndtimeo(sk, bool(flags & O_NONBLOCK))
    if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV):
        if not timeo:
            return err
        fo = sk.fastopen_req
        timeo = inet_wait_for_connect(task, sk, timeo, 1 if fo is not None and fo.copied < fo.size else 0)
        if not timeo:
            return err
        if task.signal_pending():
            return sock_intr_errno(timeo)
    if sk.sk_state == TCP_CLOSE:
        err = sock_error(sk) or -ECONNABORTED
        sock.state = SS_UNCONNECTED
        if sk.sk_prot.disconnect(sk, flags):
            sock.state = SS_DISCONNECTING
        return err
    sock.state = SS_CONNECTED
    return 0


def inet_wait_for_connect(task: Task, sk: TcpSock, timeo: int, writebias: int) -> int:
    """Wait until an opening connection is decided; return the time left."""
    sock = sk.sk_socket
    if sock is None:
        return 0
    wait = TaskWait(task)
    sk.write_pending += writebias
    while sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV):
        sock.wq.prepare_to_wait(wait)
        timeo = sk_sleep_timeout(task, sk, timeo)
        if task.signal_pending() or not timeo:
            break
    sock.wq.finish_wait(wait)
    sk.write_pending -= writebias
    return timeo


# ---- the rest


def inet_shutdown(sock: Socket, sk: Sock, how: int) -> int:
    """Shut directions down (sheet 04, 4.11): 0 or -errno."""
    how += 1
    if how & ~3 or not how:
        return -EINVAL
    lock_sock(sk)
    if sock.state == SS_CONNECTING:
        if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV, TCP_CLOSE):
            sock.state = SS_DISCONNECTING
        else:
            sock.state = SS_CONNECTED
    err = 0
    state = sk.sk_state
    if state in (TCP_LISTEN, TCP_SYN_SENT):
        if state == TCP_SYN_SENT or how & RCV_SHUTDOWN:
            err = sk.sk_prot.disconnect(sk, O_NONBLOCK)
            sock.state = SS_DISCONNECTING if err else SS_UNCONNECTED
    else:
        if state == TCP_CLOSE:
            err = -ENOTCONN
        sk.sk_shutdown |= how
        sk.sk_prot.shutdown(sk, how)
    sk.sk_state_change()
    release_sock(sk)
    return err
