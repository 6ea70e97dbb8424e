"""Receive queues of datagram sockets: queueing, waiting, peeking, polling (Linux: net/core/datagram.c, sock_queue_rcv_skb() of sock.c)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.fs.select import PollTable, poll_requested_events, poll_wait
from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.net import SOCK_NOSPACE, Socket
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_DEAD,
    SOCK_RXQ_OVFL,
    SOCK_SELECT_ERR_QUEUE,
    Sock,
    sock_error,
)
from twinsock.kernel.net.core.sock_mem import sk_rmem_schedule, skb_set_owner_r
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import EAGAIN, ENOBUFS, ENOMEM, ENOTCONN, EPERM
from twinsock.uapi.socket import MSG_DONTWAIT, MSG_PEEK, SOCK_SEQPACKET, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.fs.file import File
    from twinsock.kernel.sched.task import Task

_READ_KEYS = 0x1 | 0x8  # a sleeping reader cares for EPOLLIN and EPOLLERR


def sock_queue_rcv_skb(sk: Sock, skb: SkBuff, data: bytes) -> int:
    """Filter a packet (`data`: the bytes the filter sees) and queue it: 0, or -errno and the caller drops it."""
    if sk.sk_filter is not None or sk.sk_net.kernel.cgroup_bpf is not None:
        keep = sk_filter_trim_cap(sk, skb, data, 1)
        if keep < 0:
            return keep
        if keep < len(data):
            skb.len = max(skb.len - (len(data) - keep), 0)
    return __sock_queue_rcv_skb(sk, skb)


def rcv_drop_reason(err: int) -> str:
    """Return why sock_queue_rcv_skb() did not take a packet."""
    if err == -EPERM:
        return dropreason.SOCKET_FILTER
    return dropreason.SOCKET_RCVBUFF if err == -ENOMEM else dropreason.PROTO_MEM


def __sock_queue_rcv_skb(sk: Sock, skb: SkBuff) -> int:
    if sk.sk_rmem_alloc >= sk.sk_rcvbuf:
        sk.sk_drops += 1
        return -ENOMEM
    if not sk_rmem_schedule(sk, skb.truesize):
        sk.sk_drops += 1
        return -ENOBUFS
    skb.dev = None
    skb_set_owner_r(skb, sk)
    sock_skb_set_dropcount(sk, skb)
    if sk.sk_receive_queue is None:
        sk.sk_receive_queue = deque()
    sk.sk_receive_queue.append(skb)
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_data_ready()
    return 0


def sock_skb_set_dropcount(sk: Sock, skb: SkBuff) -> None:
    """Remember in the packet how many were dropped before it, SO_RXQ_OVFL."""
    skb.dropcount = sk.sk_drops if sk.sock_flag(SOCK_RXQ_OVFL) else 0


def skb_recv_datagram(task: Task, sk: Sock, flags: int) -> tuple[int, SkBuff | None]:
    """Take (or with MSG_PEEK look at) the next packet, waiting for it: (0 or -errno, packet); (0, None) is end of file."""
    timeo = 0 if flags & MSG_DONTWAIT else sk.sk_rcvtimeo_ns
    while True:
        err = sock_error(sk)
        if err:
            return err, None
        skb, _ = __skb_try_recv_from_queue(sk, flags, max(sk.sk_peek_off, 0) if flags & MSG_PEEK else 0)
        if skb is not None:
            return 0, skb
        if timeo == 0:
            return -EAGAIN, None
        err, timeo = __skb_wait_for_more_packets(task, sk, timeo)
        if err < 0:
            return err, None
        if err > 0:
            return 0, None


def __skb_try_recv_from_queue(sk: Sock, flags: int, off: int) -> tuple[SkBuff | None, int]:
    """Return the packet that holds byte `off` of the queue, and the offset inside it; without MSG_PEEK it leaves the queue."""
    queue = sk.sk_receive_queue
    if not queue:
        return None, off
    if not flags & MSG_PEEK:
        return queue.popleft(), 0
    for skb in queue:
        if off >= skb.len and (off or skb.len == 0) and sk.sk_peek_off >= 0:
            if off >= skb.len and (skb.len or off):
                off -= skb.len
                continue
        skb.users += 1
        return skb, off
    return None, off


def __skb_wait_for_more_packets(task: Task, sk: Sock, timeo: int) -> tuple[int, int]:
    """Sleep until something came: (0 look again, 1 end of file, or -errno; time left)."""
    sock = sk.sk_socket
    if sock is None:
        return -ENOTCONN, timeo
    wait = TaskWait(task, exclusive=True, key_mask=_READ_KEYS)
    sock.wq.prepare_to_wait(wait)
    err = sock_error(sk)
    if not err and not sk.sk_receive_queue:
        if sk.sk_shutdown & RCV_SHUTDOWN:
            err = 1
        elif sk.sk_type in (SOCK_SEQPACKET, SOCK_STREAM) and sk.sk_state not in (TCP_ESTABLISHED, TCP_LISTEN):
            err = -ENOTCONN
        elif task.signal_pending():
            err = sock_intr_errno(timeo)
        else:
            timeo = task.schedule_timeout(timeo)
    sock.wq.finish_wait(wait)
    return err, timeo


def skb_free_datagram(sk: Sock, skb: SkBuff) -> None:
    """Let go of a packet that was received or looked at."""
    consume_skb(skb)


def skb_kill_datagram(sk: Sock, skb: SkBuff, flags: int) -> int:
    """Throw away a packet found bad while receiving; with MSG_PEEK it leaves the queue first, unless somebody was faster."""
    err = 0
    if flags & MSG_PEEK:
        err = -2
        queue = sk.sk_receive_queue
        if queue is not None:
            for i in range(len(queue)):
                if queue[i] is skb:
                    del queue[i]
                    consume_skb(skb)
                    err = 0
                    break
    sk.sk_drops += 1
    consume_skb(skb)
    return err


def skb_queue_purge(queue: deque[SkBuff] | None) -> None:
    """Free every packet of a queue."""
    while queue:
        consume_skb(queue.popleft())


def datagram_poll(file: File, sock: Socket, wait: PollTable | None) -> int:
    """Return the poll bits of a datagram socket, sheet 06, 6.2."""
    sk = sock.sk
    poll_wait(sock.wq, wait)
    if sk is None:
        return 0
    mask = 0
    if sk.sk_err or sk.sk_error_queue:
        mask |= 0x8 | (0x2 if sk.sock_flag(SOCK_SELECT_ERR_QUEUE) else 0)
    if sk.sk_shutdown & RCV_SHUTDOWN:
        mask |= 0x2000 | 0x1 | 0x40
    if sk.sk_shutdown == SHUTDOWN_MASK:
        mask |= 0x10
    if sk.sk_receive_queue:
        mask |= 0x1 | 0x40
    if sk.sk_type in (SOCK_SEQPACKET, SOCK_STREAM):
        if sk.sk_state == TCP_CLOSE:
            mask |= 0x10
        if sk.sk_state == TCP_SYN_SENT:
            return mask
    if sk.sock_writeable():
        mask |= 0x4 | 0x100 | 0x200
    elif poll_requested_events(wait) & 0x304:
        sock.flags |= SOCK_NOSPACE
    return mask
