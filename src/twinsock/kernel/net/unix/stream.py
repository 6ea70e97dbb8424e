"""Byte streams over UNIX sockets (Linux: net/unix/af_unix.c, unix_stream_*; unix(7)).

Messages stay apart in the queue; reading joins them, except behind descriptors, between credentials and around the urgent byte:

    queue:  "ab"  "c" (urgent)  "d"      recv -> "ab", recv -> "d"; recv(MSG_OOB) -> "c" as long as it is the latest urgent byte

An urgent byte that was read leaves an empty message behind, where reads still stop."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_UNIX_RECVMSG, cgroup_bpf_run_filter_sock_addr
from twinsock.kernel.fs.file import send_sigurg
from twinsock.kernel.net.core.scm import ScmCookie, scm_destroy, scm_recv, scm_send
from twinsock.kernel.net.core.skbuff import kfree_skb
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SK_SCM_RIGHTS,
    SOCK_DEAD,
    SOCK_URGINLINE,
    Sock,
    sock_error,
    sock_rcvlowat,
    sock_rcvtimeo,
)
from twinsock.kernel.net.core.sock_mem import sock_alloc_send_pskb
from twinsock.kernel.net.unix.names import unix_copy_addr
from twinsock.kernel.net.unix.scm import (
    scm_stat_add,
    scm_stat_del,
    unix_detach_fds,
    unix_maybe_add_creds,
    unix_peek_fds,
    unix_scm_to_skb,
    unix_skb_scm_eq,
    unix_skb_to_scm,
)
from twinsock.kernel.net.unix.skb import unix_alloc_skb
from twinsock.kernel.net.unix.unix_sock import UnixSkb, UnixSock, unix_may_passcred, unix_sk, unix_skb_len
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import EAGAIN, ECONNRESET, EFAULT, EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPERM, EPIPE
from twinsock.uapi.signal import SIGPIPE
from twinsock.uapi.socket import MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_WAITALL, SO_INQ, SOL_SOCKET
from twinsock.uapi.tcp import TCP_ESTABLISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Msghdr, Socket
    from twinsock.kernel.sched.task import Task

_PAGE: Final = 4096
_HEAD_MAX: Final = 3776  # linear part; the rest of a message is in pages
_PAGED_MAX: Final = 32768


# send


def unix_stream_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    """sendmsg(2) on a stream: bytes accepted, or -errno."""
    scm = ScmCookie()
    err = scm_send(task, sock, msg, scm, False)
    if err < 0:
        return err
    err, sent = _stream_send(task, unix_sk(sock), msg, scm)
    scm_destroy(scm, task)
    if err == -EPIPE and sent == 0 and not msg.flags & MSG_NOSIGNAL:
        task.send_signal(SIGPIPE)
    return sent or err


def _stream_send(task: Task, sk: UnixSock, msg: Msghdr, scm: ScmCookie) -> tuple[int, int]:
    """Send: (0 or -errno, bytes accepted)."""
    length = len(msg.data)
    if msg.flags & MSG_OOB:
        if length == 0:
            return -EOPNOTSUPP, 0
        length -= 1
    if msg.name:
        return -EISCONN if sk.sk_state == TCP_ESTABLISHED else -EOPNOTSUPP, 0
    other = sk.peer
    if other is None:
        return -ENOTCONN, 0
    if sk.sk_shutdown & SEND_SHUTDOWN:
        return -EPIPE, 0
    sent = 0
    while sent < length:
        size = min(length - sent, (sk.sk_sndbuf >> 1) - 64, _HEAD_MAX + _PAGED_MAX)
        paged = (max(0, size - _HEAD_MAX) + _PAGE - 1) & -_PAGE
        err = _queue(task, sk, other, msg, scm, sent, size, min(size, paged), sent == 0)
        if err < 0:
            return err, sent
        sent += size
    if msg.flags & MSG_OOB:
        err = queue_oob(task, sk, other, msg, scm, sent)
        if err < 0:
            return err, sent
        sent += 1
    return 0, sent


def _queue(task: Task, sk: UnixSock, other: UnixSock, msg: Msghdr, scm: ScmCookie, sent: int, size: int, paged: int, send_fds: bool) -> int:
    """Wait for send memory and put one message into the peer's queue: 0 or -errno."""
    err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
    if err:
        return err
    skb = unix_alloc_skb(sk, msg.data, sent, size, paged)
    err = unix_scm_to_skb(task, scm, skb, send_fds)
    if err == 0:
        err = _may_queue(other, skb)
    if err < 0:
        kfree_skb(skb)
        return err
    unix_maybe_add_creds(task, skb, sk, other)
    scm_stat_add(other, skb)
    other.receive_queue.append(skb)
    other.inq_len += size
    other.sk_data_ready()
    return 0


def _may_queue(other: UnixSock, skb: UnixSkb) -> int:
    if other.sock_flag(SOCK_DEAD) or other.sk_shutdown & RCV_SHUTDOWN:
        return -EPIPE
    if skb.fp is not None and not other.sk_scm_recv_flags & SK_SCM_RIGHTS:
        return -EPERM
    return 0


def queue_oob(task: Task, sk: UnixSock, other: UnixSock, msg: Msghdr, scm: ScmCookie, sent: int) -> int:
    """Send the last byte of a MSG_OOB send as the urgent one: 0 or -errno."""
    err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
    if err:
        return err
    skb = unix_alloc_skb(sk, msg.data, len(msg.data) - 1, 1, 0)
    err = unix_scm_to_skb(task, scm, skb, sent == 0)
    if err == 0:
        err = _may_queue(other, skb)
    if err < 0:
        kfree_skb(skb)
        return err
    unix_maybe_add_creds(task, skb, sk, other)
    scm_stat_add(other, skb)
    other.oob_skb = skb
    other.inq_len += 1
    other.receive_queue.append(skb)
    sk_send_sigurg(other)
    other.sk_data_ready()
    return 0


def sk_send_sigurg(sk: Sock) -> None:
    """Send SIGURG to the owner of the socket's file."""
    sock = sk.sk_socket
    if sock is not None and sock.file is not None and send_sigurg(sock.file):
        sk.sk_wake_async(3, 5)  # SOCK_WAKE_URG, POLL_PRI


# receive


class _Read:
    """One read of a stream under way."""

    def __init__(self, msg: Msghdr, flags: int) -> None:
        self.msg = msg
        self.flags = flags
        self.peek = bool(flags & MSG_PEEK)
        self.size = msg.size  # bytes still wanted
        self.copied = 0
        self.skip = 0  # bytes that SO_PEEK_OFF passes over
        self.check_creds = False
        self.named = False
        self.scm = ScmCookie()


def unix_stream_recvmsg(task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
    """recvmsg(2) on a stream: bytes, or -errno."""
    sk = unix_sk(sock)
    if sk.sk_state != TCP_ESTABLISHED:
        return -EINVAL
    if flags & MSG_OOB:
        return unix_stream_recv_urg(sk, msg, flags)
    return unix_stream_read_generic(task, sock, sk, msg, flags)


def unix_stream_read_generic(task: Task, sock: Socket, sk: UnixSock, msg: Msghdr, flags: int) -> int:
    """Read until enough is there, then write the control data."""
    target = sock_rcvlowat(sk, bool(flags & MSG_WAITALL), msg.size)
    timeo = sock_rcvtimeo(sk, bool(flags & MSG_DONTWAIT))
    read = _Read(msg, flags)
    if read.peek and sk.sk_peek_off >= 0:
        read.skip = sk.sk_peek_off
    err = 0
    while True:
        if sk.sock_flag(SOCK_DEAD):
            err = -ECONNRESET
            break
        last = sk.receive_queue[-1] if sk.receive_queue else None
        skb = _first(sk, read)
        if skb is not None:
            if _take_messages(sk, read, skb):
                break
            if not read.peek:
                if read.size:
                    continue
                break
        if read.copied >= target:
            break
        err = sock_error(sk)
        if err or sk.sk_shutdown & RCV_SHUTDOWN:
            break
        if timeo == 0:
            err = -EAGAIN
            break
        timeo = unix_stream_data_wait(task, sk, timeo, last)
        if task.signal_pending():
            err = sock_intr_errno(timeo)
            scm_destroy(read.scm, task)
            return read.copied or err
    scm_recv(task, sock, msg, read.scm)
    if sk.recvmsg_inq and (read.copied or err == 0):
        msg.put_cmsg(SOL_SOCKET, SO_INQ, sk.inq_len.to_bytes(4, "little"))
    return read.copied or err


def _first(sk: UnixSock, read: _Read) -> UnixSkb | None:
    """Return the message to read next, behind what SO_PEEK_OFF passes over."""
    index = 0
    skb = manage_oob(sk, read, 0)
    if skb is None:
        return None
    if read.skip:
        index = _index(sk, skb)
        while read.skip >= unix_skb_len(skb):
            read.skip -= unix_skb_len(skb)
            index += 1
            if index >= len(sk.receive_queue):
                return None
            skb = sk.receive_queue[index]
    return skb


def _index(sk: UnixSock, skb: UnixSkb) -> int:
    for index in range(len(sk.receive_queue)):
        if sk.receive_queue[index] is skb:
            return index
    return -1


def manage_oob(sk: UnixSock, read: _Read, start: int) -> UnixSkb | None:
    """Return the message at place `start` unless the urgent byte forbids it: reads stop before it and step over it.

    An empty message is where an urgent byte was: reads end there, and the next one takes it away."""
    queue = sk.receive_queue
    if start >= len(queue):
        return None
    skb = queue[start]
    if unix_skb_len(skb) and skb is not sk.oob_skb:
        return skb
    if not unix_skb_len(skb):
        if read.copied and (sk.oob_skb is None or skb is sk.oob_skb):
            return None
        if read.peek:
            start += 1
        else:
            _unlink(sk, start)
        if start >= len(queue):
            return None
        skb = queue[start]
    if skb is not sk.oob_skb:
        return skb
    if read.copied:
        return None
    inline = sk.sock_flag(SOCK_URGINLINE)
    if not read.peek:
        sk.oob_skb = None
        if inline:
            return skb
        _unlink(sk, start)  # Linux: the byte stays counted in SIOCINQ for ever
        return queue[0] if queue else None
    if inline:
        return skb
    return queue[start + 1] if start + 1 < len(queue) else None


def _unlink(sk: UnixSock, index: int) -> None:
    """Take a message out of the queue and free it."""
    skb = sk.receive_queue[index]
    del sk.receive_queue[index]
    scm_stat_del(sk, skb)
    kfree_skb(skb)


def _take_messages(sk: UnixSock, read: _Read, skb: UnixSkb) -> bool:
    """Copy from a message, or when peeking from as many as are wanted; tell whether the read ends here."""
    queue = sk.receive_queue
    index = 0  # of `skb`, when peeking
    while True:
        if read.check_creds:
            if not unix_skb_scm_eq(skb, read.scm):
                return True
        elif unix_may_passcred(sk):
            unix_skb_to_scm(skb, read.scm)
            read.check_creds = True
        if not read.named:
            unix_copy_addr(read.msg, skb.sk)
            if read.msg.name:
                read.msg.name = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UNIX_RECVMSG, read.msg.name)[1]
            read.named = True
        chunk = min(unix_skb_len(skb) - read.skip, read.size)
        if chunk:
            start = skb.offset + skb.consumed + read.skip
            read.msg.chunks.append(skb.data[start : start + chunk])
        read.copied += chunk
        read.size -= chunk
        if not read.peek:
            return _consume(sk, read, skb, chunk)
        if read.scm.fp is None:
            unix_peek_fds(read.scm, skb)
        if sk.sk_peek_off >= 0:
            sk.sk_peek_off += chunk
        if skb.fp is not None:
            return True
        # Linux: a peek walks on when it has all its bytes, up to descriptors or the end of the queue
        read.skip = 0
        while queue[index] is not skb:
            index += 1
        index += 1
        if index >= len(queue):
            return True
        following = manage_oob(sk, read, index)
        if following is None:
            return False
        skb = following


def _consume(sk: UnixSock, read: _Read, skb: UnixSkb, chunk: int) -> bool:
    """Take read bytes out of the queue; tell whether the read ends here."""
    skb.consumed += chunk
    sk.inq_len -= chunk
    if sk.sk_peek_off >= 0:
        sk.sk_peek_off = max(0, sk.sk_peek_off - chunk)
    if skb.fp is not None:
        scm_stat_del(sk, skb)
        unix_detach_fds(read.scm, skb)
    if unix_skb_len(skb):
        return True
    sk.receive_queue.popleft()
    kfree_skb(skb)
    return read.scm.fp is not None


def unix_stream_data_wait(task: Task, sk: UnixSock, timeo: int, last: UnixSkb | None) -> int:
    """Sleep until something new is in the queue, or nothing will come; return what is left of the time."""
    sock = sk.sk_socket
    if sock is None:
        return 0
    wait = TaskWait(task)
    while True:
        sock.wq.prepare_to_wait(wait)
        tail = sk.receive_queue[-1] if sk.receive_queue else None
        if tail is not last or sk.sk_err or sk.sk_shutdown & RCV_SHUTDOWN or task.signal_pending() or timeo == 0:
            break
        timeo = task.schedule_timeout(timeo)
        if sk.sock_flag(SOCK_DEAD):
            break
    sock.wq.finish_wait(wait)
    return timeo


def unix_stream_recv_urg(sk: UnixSock, msg: Msghdr, flags: int) -> int:
    """recv(2) with MSG_OOB: 1, or -EINVAL without an urgent byte."""
    skb = sk.oob_skb
    if sk.sock_flag(SOCK_URGINLINE) or skb is None:
        return -EINVAL
    if not flags & MSG_PEEK:
        sk.oob_skb = None
        sk.inq_len -= 1
        index = _index(sk, skb)
        if index > 0 and not unix_skb_len(sk.receive_queue[index - 1]):
            _unlink(sk, index - 1)
    if msg.size < 1:
        return -EFAULT
    start = skb.offset + skb.consumed
    msg.chunks.append(skb.data[start : start + 1])
    if not flags & MSG_PEEK:
        skb.consumed += 1
    msg.out_flags |= MSG_OOB
    return 1
