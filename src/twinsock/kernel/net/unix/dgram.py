"""Datagrams and sequenced packets over UNIX sockets (Linux: net/unix/af_unix.c, unix_dgram_* and unix_seqpacket_*; unix(7)).

A sender waits in `peer_wait` of a receiver whose queue is longer than net.unix.max_dgram_qlen."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import (
    BPF_CGROUP_UNIX_CONNECT,
    BPF_CGROUP_UNIX_RECVMSG,
    BPF_CGROUP_UNIX_SENDMSG,
    cgroup_bpf_run_filter_sock_addr,
)
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.scm import ScmCookie, scm_destroy, scm_recv, scm_send
from twinsock.kernel.net.core.skbuff import kfree_skb
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SK_SCM_RIGHTS,
    SOCK_DEAD,
    SOCK_RCVTSTAMP,
    sock_error,
    sock_hold,
    sock_put,
    sock_rcvtimeo,
    sock_sndtimeo,
)
from twinsock.kernel.net.core.sock_cmsg import ktime_get_real, sock_recv_timestamp
from twinsock.kernel.net.core.sock_mem import sock_alloc_send_pskb
from twinsock.kernel.net.unix.names import unix_autobind, unix_copy_addr, unix_find_other, unix_validate_addr
from twinsock.kernel.net.unix.scm import (
    scm_stat_add,
    scm_stat_del,
    unix_detach_fds,
    unix_maybe_add_creds,
    unix_peek_fds,
    unix_scm_to_skb,
    unix_skb_to_scm,
)
from twinsock.kernel.net.unix.skb import unix_alloc_skb, unix_purge_queue
from twinsock.kernel.net.unix.unix_sock import WRITE_KEY, UnixSkb, UnixSock, unix_may_passcred, unix_recvq_full, unix_sk
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.kernel.security import security_unix_may_send
from twinsock.uapi.errno import EAGAIN, ECONNREFUSED, ECONNRESET, EMSGSIZE, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE
from twinsock.uapi.socket import AF_UNSPEC, MSG_DONTWAIT, MSG_OOB, MSG_PEEK, MSG_TRUNC, SOCK_SEQPACKET
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Msghdr, Socket
    from twinsock.kernel.sched.task import Task

_HEADROOM: Final = 32  # what SO_SNDBUF must hold beside a message
_PAGE: Final = 4096
_ALLOC_MAX: Final = 16064  # linear part beyond which pages are added
_FRAGS_MAX: Final = 17 * _PAGE
_READ_KEY: Final = 0x1 | 0x8  # receiver_wake_function(): EPOLLIN, EPOLLERR
_RESTART: Final = 1


def unix_may_send(sk: UnixSock, other: UnixSock) -> bool:
    """Tell whether `other` takes messages of `sk`: it is connected to nobody else."""
    return other.peer is None or other.peer is sk


# connect


def unix_dgram_connect(task: Task, sk: UnixSock, addr: bytes) -> int:
    """Set, change or (AF_UNSPEC) remove the peer, connect(2)."""
    if len(addr) < 2:
        return -22  # EINVAL
    if int.from_bytes(addr[:2], "little") == AF_UNSPEC:
        _set_peer(sk, None)
        return 0
    err = unix_validate_addr(addr)
    if err:
        return err
    err, addr = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UNIX_CONNECT, addr)
    if err < 0:
        return err
    if unix_may_passcred(sk) and sk.addr is None:
        err = unix_autobind(sk)
        if err:
            return err
    err, other = unix_find_other(task, sk.sk_net, addr, sk.sk_type)
    if other is None:
        return err
    if not unix_may_send(sk, other):
        return -EPERM
    err = security_unix_may_send(sk, other)
    if err:
        return err
    other.sk_state = TCP_ESTABLISHED
    sk.sk_state = TCP_ESTABLISHED
    _set_peer(sk, other)
    return 0


def _set_peer(sk: UnixSock, other: UnixSock | None) -> None:
    old = sk.peer
    if other is not None:
        sock_hold(other)
    sk.peer = other
    if old is None:
        return
    if other is None:
        sk.sk_state = TCP_CLOSE
    unix_dgram_peer_wake_disconnect_wakeup(sk, old)
    if other is not old:
        unix_dgram_disconnected(sk, old)
        if old.peer is None:
            old.sk_state = TCP_CLOSE
    sock_put(old)


def unix_dgram_disconnected(sk: UnixSock, other: UnixSock) -> None:
    """Throw away what the old peer sent, and tell it when it was connected back."""
    if sk.receive_queue:
        unix_purge_queue(sk)
        sk.peer_wait.wake_up(WRITE_KEY)
        if not sk.sock_flag(SOCK_DEAD) and other.peer is sk:
            other.sk_err = ECONNRESET
            other.sk_error_report()


# Waiting for room at the receiver


def unix_wait_for_peer(task: Task, other: UnixSock, timeo: int) -> int:
    """Sleep until the receiver has room or is gone; return what is left of the time."""
    wait = TaskWait(task, True)
    other.peer_wait.prepare_to_wait(wait)
    if not other.sock_flag(SOCK_DEAD) and not other.sk_shutdown & RCV_SHUTDOWN and unix_recvq_full(other):
        timeo = task.schedule_timeout(timeo)
    other.peer_wait.finish_wait(wait)
    return timeo


def unix_dgram_peer_wake_me(sk: UnixSock, other: UnixSock) -> bool:
    """Ask for a wake-up when the full receiver has room again; tell whether it is full."""
    wake = sk.peer_wake
    connected = wake.other is None
    if connected:
        wake.other = other
        other.peer_wait.add(wake)
    if unix_recvq_full(other) and not other.sock_flag(SOCK_DEAD):
        return True
    if connected:
        unix_dgram_peer_wake_disconnect(sk, other)
    return False


def unix_dgram_peer_wake_disconnect(sk: UnixSock, other: UnixSock) -> bool:
    """Give up waiting for a receiver; tell whether that was under way."""
    wake = sk.peer_wake
    if wake.other is not other:
        return False
    other.peer_wait.remove(wake)
    wake.other = None
    return True


def unix_dgram_peer_wake_disconnect_wakeup(sk: UnixSock, other: UnixSock) -> None:
    """Give up waiting for a receiver, and let pollers look again."""
    if unix_dgram_peer_wake_disconnect(sk, other) and sk.sk_socket is not None:
        sk.sk_socket.wq.wake_up(WRITE_KEY)


# send


def unix_dgram_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    """sendmsg(2) on a datagram socket: the length or -errno."""
    scm = ScmCookie()
    err = scm_send(task, sock, msg, scm, False)
    if err < 0:
        return err
    err = _dgram_send(task, unix_sk(sock), msg, scm)
    scm_destroy(scm, task)
    return err


def unix_seqpacket_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    """sendmsg(2) on a connected SOCK_SEQPACKET; an address is ignored."""
    sk = unix_sk(sock)
    err = sock_error(sk)
    if err:
        return err
    if sk.sk_state != TCP_ESTABLISHED:
        return -ENOTCONN
    msg.name = None
    return unix_dgram_sendmsg(task, sock, msg)


def _dgram_send(task: Task, sk: UnixSock, msg: Msghdr, scm: ScmCookie) -> int:
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    if msg.name:
        err = unix_validate_addr(msg.name)
        if err:
            return err
        err, msg.name = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UNIX_SENDMSG, msg.name)
        if err < 0:
            return err
    if unix_may_passcred(sk) and sk.addr is None:
        err = unix_autobind(sk)
        if err:
            return err
    length = len(msg.data)
    if length > sk.sk_sndbuf - _HEADROOM:
        return -EMSGSIZE
    noblock = bool(msg.flags & MSG_DONTWAIT)
    err = sock_alloc_send_pskb(task, sk, noblock)
    if err:
        return err
    if not msg.name and sk.peer is None:
        return -ENOTCONN
    paged = 0
    if length > _ALLOC_MAX:
        paged = (min(length - _ALLOC_MAX, _FRAGS_MAX) + _PAGE - 1) & -_PAGE
    skb = unix_alloc_skb(sk, msg.data, 0, length, min(paged, length))
    err = unix_scm_to_skb(task, scm, skb, True)
    if err < 0:
        kfree_skb(skb)
        return err
    return _deliver(task, sk, msg, skb, sock_sndtimeo(sk, noblock))


def _deliver(task: Task, sk: UnixSock, msg: Msghdr, skb: UnixSkb, timeo: int) -> int:
    """Find the receiver, wait for room, queue; free the message when that fails."""
    while True:
        other = sk.peer
        if msg.name:
            err, other = unix_find_other(task, sk.sk_net, msg.name, sk.sk_type)
            if other is None:
                kfree_skb(skb)
                return err
        elif other is None:
            kfree_skb(skb)
            return -ECONNRESET
        if other.sk_filter is not None:
            keep = sk_filter_trim_cap(other, skb, skb.payload(), 1)
            if keep < 0:  # dropped in silence
                kfree_skb(skb)
                return len(msg.data)
            skb.len = keep
        sock_hold(other)
        err, timeo = _try_deliver(task, sk, other, skb, timeo, not msg.name)
        sock_put(other)
        if err == _RESTART:
            continue
        if err < 0:
            kfree_skb(skb)
            return err
        return len(msg.data)


def _try_deliver(task: Task, sk: UnixSock, other: UnixSock, skb: UnixSkb, timeo: int, to_peer: bool) -> tuple[int, int]:
    """Queue the message at `other`: (0, -errno or _RESTART, what is left of the time)."""
    if not unix_may_send(sk, other):
        return -EPERM, timeo
    if other.sock_flag(SOCK_DEAD):
        return _peer_is_dead(sk, other), timeo
    if other.sk_shutdown & RCV_SHUTDOWN:
        return -EPIPE, timeo
    if skb.fp is not None and not other.sk_scm_recv_flags & SK_SCM_RIGHTS:
        return -EPERM, timeo
    if sk.sk_type != SOCK_SEQPACKET:
        err = security_unix_may_send(sk, other)
        if err:
            return err, timeo
    if other is not sk and other.peer is not sk and unix_recvq_full(other):
        if timeo:
            left = unix_wait_for_peer(task, other, timeo)
            if task.signal_pending():
                return sock_intr_errno(timeo), left
            return _RESTART, left
        if sk.peer is not other or unix_dgram_peer_wake_me(sk, other):
            return -EAGAIN, timeo
    if other.sock_flag(SOCK_RCVTSTAMP):
        skb.tstamp_ns = ktime_get_real(other)
    unix_maybe_add_creds(task, skb, sk, other)
    scm_stat_add(other, skb)
    other.receive_queue.append(skb)
    other.sk_data_ready()
    return 0, timeo


def _peer_is_dead(sk: UnixSock, other: UnixSock) -> int:
    if sk.sk_type == SOCK_SEQPACKET:
        return -EPIPE
    if sk.peer is not other:
        return _RESTART
    sk.peer = None
    unix_dgram_peer_wake_disconnect_wakeup(sk, other)
    sk.sk_state = TCP_CLOSE
    unix_dgram_disconnected(sk, other)
    sock_put(other)
    return -ECONNREFUSED


# receive


def unix_seqpacket_recvmsg(task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
    """recvmsg(2) on a SOCK_SEQPACKET."""
    if unix_sk(sock).sk_state != TCP_ESTABLISHED:
        return -ENOTCONN
    return unix_dgram_recvmsg(task, sock, msg, flags)


def unix_dgram_recvmsg(task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
    """recvmsg(2): the bytes of one message, or -errno."""
    sk = unix_sk(sock)
    if flags & MSG_OOB:
        return -EOPNOTSUPP
    err, index, skip = _wait_for_datagram(task, sk, flags)
    if index < 0:
        if err == -EAGAIN and sk.sk_type == SOCK_SEQPACKET and sk.sk_shutdown & RCV_SHUTDOWN:
            err = 0
        return err
    skb = sk.receive_queue[index]
    if flags & MSG_PEEK:
        skb.peeked = True
    else:
        del sk.receive_queue[index]
        sk.peer_wait.wake_up(WRITE_KEY)
    unix_copy_addr(msg, skb.sk)
    if msg.name:
        _, msg.name = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UNIX_RECVMSG, msg.name)
    left = skb.len - skip
    size = msg.size
    if size > left:
        size = left
    elif size < left:
        msg.out_flags |= MSG_TRUNC
    if size:
        start = skb.offset + skip
        msg.chunks.append(skb.data[start : start + size])
    if sk.sock_flag(SOCK_RCVTSTAMP):
        sock_recv_timestamp(msg, sk, skb)
    scm = ScmCookie()
    unix_skb_to_scm(skb, scm)
    if flags & MSG_PEEK:
        if sk.sk_peek_off >= 0:
            sk.sk_peek_off += size
        unix_peek_fds(scm, skb)
    else:
        if sk.sk_peek_off >= 0:
            sk.sk_peek_off = max(0, sk.sk_peek_off - skb.len)
        scm_stat_del(sk, skb)
        unix_detach_fds(scm, skb)
        kfree_skb(skb)
    scm_recv(task, sock, msg, scm)
    return left if flags & MSG_TRUNC else size


def _wait_for_datagram(task: Task, sk: UnixSock, flags: int) -> tuple[int, int, int]:
    """Wait for a message: (0, place in the queue, bytes to skip), or (-errno, -1, 0)."""
    timeo = sock_rcvtimeo(sk, bool(flags & MSG_DONTWAIT))
    while True:
        err = sock_error(sk)
        if err:
            return err, -1, 0
        index, skip = _find_datagram(sk, flags)
        if index >= 0:
            return 0, index, skip
        if timeo == 0:
            return -EAGAIN, -1, 0
        err, timeo = wait_for_more_packets(task, sk, timeo)
        if err <= 0:
            return err, -1, 0


def _find_datagram(sk: UnixSock, flags: int) -> tuple[int, int]:
    """Return the message to read and where in it to start, SO_PEEK_OFF of socket(7); -1: none."""
    skip = sk.sk_peek_off if flags & MSG_PEEK and sk.sk_peek_off >= 0 else 0
    peeking = bool(flags & MSG_PEEK) and sk.sk_peek_off >= 0
    for index in range(len(sk.receive_queue)):
        skb = sk.receive_queue[index]
        if peeking and skip >= skb.len and (skip or skb.peeked):
            skip -= skb.len
            continue
        return index, skip
    return -1, 0


def wait_for_more_packets(task: Task, sk: UnixSock, timeo: int) -> tuple[int, int]:
    """Sleep until the queue changes: (1, time left), or (0 at end of file or -errno, 0)."""
    sock = sk.sk_socket
    if sock is None:
        return -EAGAIN, 0
    wait = TaskWait(task, True, _READ_KEY)
    length = len(sk.receive_queue)
    sock.wq.prepare_to_wait(wait)
    err = 1
    if len(sk.receive_queue) == length:
        if sk.sk_err:
            err = sock_error(sk)
        elif sk.sk_shutdown & RCV_SHUTDOWN:
            err = 0
        elif task.signal_pending():
            err = sock_intr_errno(timeo)
        else:
            timeo = task.schedule_timeout(timeo)
    sock.wq.finish_wait(wait)
    return err, timeo
