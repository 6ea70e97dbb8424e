"""sendmsg(2), recvmsg(2), poll(2) and ioctl(2) of TCP (Linux: net/ipv4/tcp.c; sheets 05 and 06)."""

from __future__ import annotations

from twinsock.kernel.fs.select import poll_wait
from twinsock.kernel.net.core.net import SOCK_NOSPACE
from twinsock.kernel.net.core.scm import for_each_cmsghdr
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_DONE,
    SOCK_URGINLINE,
    SOCK_ZEROCOPY,
    __release_sock,
    lock_sock,
    release_sock,
    sk_sleep_timeout,
    sock_error,
    sock_rcvlowat,
    sock_rcvtimeo,
    sock_sndtimeo,
)
from twinsock.kernel.net.core.sock_cmsg import SockcmCookie, sock_cmsg_send
from twinsock.kernel.net.core.sock_mem import sk_forced_mem_schedule, sk_wmem_schedule
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_PUSHED,
    ICSK_ACK_PUSHED2,
    inet_csk_ack_scheduled,
    inet_csk_in_pingpong_mode,
)
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_DEFER_CONNECT
from twinsock.kernel.net.ipv4.tcp_control import tcp_send_ack
from twinsock.kernel.net.ipv4.tcp_data import tcp_epollin_ready, tcp_rcv_space_adjust, tcp_unset_owner_r
from twinsock.kernel.net.ipv4.tcp_output import (
    tcp_push_one,
    tcp_push_pending_frames,
    tcp_receive_window,
    tcp_send_mss,
    tcp_slow_start_after_idle_check,
    tcp_window_to_offer,
)
from twinsock.kernel.net.ipv4.tcp_sndbuf import sk_stream_is_writeable, sk_stream_write_space, tcp_stream_memory_free
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    MAX_SKB_FRAGS,
    SKB_TRUESIZE_HEAD,
    TCP_CHRONO_BUSY,
    TCP_CHRONO_SNDBUF_LIMITED,
    TCP_NAGLE_CORK,
    TCP_NAGLE_OFF,
    TCP_NAGLE_PUSH,
    TCP_URG_READ,
    TCP_URG_VALID,
    TcpSkb,
    TcpSock,
    UbufInfo,
    after,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    sk_wmem_queued_add,
    tcp_chrono_start,
    tcp_chrono_stop,
    tcp_fast_path_check,
    tcp_mstamp_refresh,
    tcp_packets_in_flight,
    tcp_wmem_free_skb,
)
from twinsock.kernel.net.ipv4.tcp_timestamp import tcp_recv_cmsgs, tcp_tx_timestamp
from twinsock.kernel.net.ipv4.tcp_zerocopy import msg_zerocopy_abort, msg_zerocopy_realloc
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import EAGAIN, EINPROGRESS, EINVAL, ENOBUFS, ENOTCONN, EPIPE
from twinsock.uapi.poll import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM
from twinsock.uapi.signal import SIGPIPE
from twinsock.uapi.socket import (
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_FASTOPEN,
    MSG_MORE,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_ZEROCOPY,
)
from twinsock.uapi.sockios import SIOCATMARK, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD
from twinsock.uapi.tcp import TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_FIN, TCPHDR_PSH, TCPHDR_SYN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Final

    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.net.core.net import Msghdr, Socket
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.sched.task import Task

_FLOWING: Final = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT
PAGE_FRAG: Final = 32768  # bytes of copied data in one fragment
FLUSH_BACKLOG_AFTER: Final = 16  # new segments in one call, after which packets that arrived meanwhile are processed
_OPENING: Final = 1 << TCP_SYN_SENT | 1 << TCP_SYN_RECV


# ---- sending


def tcp_sendmsg(task: Task, sk: TcpSock, msg: Msghdr) -> int:
    """Send on a stream, send(2): bytes accepted or -errno."""
    lock_sock(sk)
    ret = tcp_sendmsg_locked(task, sk, msg)
    release_sock(sk)
    return ret


class _Sending:
    """What one call carries through the send loop."""

    def __init__(self, sk: TcpSock, msg: Msghdr) -> None:
        self.msg = msg
        self.flags = msg.flags
        self.timeo = 0
        self.copied = 0
        self.copied_syn = 0
        self.mss_now = 0
        self.size_goal = 0
        self.fresh_skbs = 0  # since the backlog was last looked at
        self.uarg: UbufInfo | None = None
        self.sockc = SockcmCookie(sk)


def tcp_sendmsg_locked(task: Task, sk: TcpSock, msg: Msghdr) -> int:
    """Do tcp_sendmsg's work; the caller holds the socket."""
    call = _Sending(sk, msg)
    flags = call.flags
    size = len(msg.data)
    if flags & MSG_ZEROCOPY and size and sk.sock_flag(SOCK_ZEROCOPY):
        call.uarg = msg_zerocopy_realloc(task, sk, size, sk.sk_write_queue.tail)
        if call.uarg is None:
            return _out_err(task, sk, call, -ENOBUFS)
    if flags & MSG_FASTOPEN or sk.inet_test_bit(INET_FLAGS_DEFER_CONNECT):
        err, call.copied_syn = sk.fastopen_ops.sendmsg(task, sk, msg, call.uarg)
        if err == -EINPROGRESS and call.copied_syn > 0:
            if call.uarg is not None:
                sk.zc_put(call.uarg)
            return call.copied_syn
        if err:
            return _out_err(task, sk, call, err)
    call.timeo = sock_sndtimeo(sk, bool(flags & MSG_DONTWAIT))
    tcp_rate_check_app_limited(sk)
    err = 0
    if not _FLOWING >> sk.sk_state & 1 and sk.fastopen_rsk is None:
        err, call.timeo = sk_stream_wait_connect(task, sk, call.timeo)
    if not err and msg.control:
        err = _send_cmsgs(task, sk, msg, call)
    if not err:
        call.mss_now, call.size_goal = tcp_send_mss(sk, bool(flags & MSG_OOB))
        err = -EPIPE if sk.sk_err or sk.sk_shutdown & SEND_SHUTDOWN else _send_loop(task, sk, call)
    if err and not call.copied + call.copied_syn:
        return _out_err(task, sk, call, err)
    if call.copied:
        tcp_tx_timestamp(sk, call.sockc.tsflags)
        tcp_push(sk, flags, call.mss_now, sk.nonagle)
    if call.uarg is not None:
        sk.zc_put(call.uarg)
    return call.copied + call.copied_syn


def _send_cmsgs(task: Task, sk: TcpSock, msg: Msghdr, call: _Sending) -> int:
    err, cmsgs = for_each_cmsghdr(msg.control)
    return err or sock_cmsg_send(task, sk, cmsgs, call.sockc)


def _out_err(task: Task, sk: TcpSock, call: _Sending, err: int) -> int:
    """Report a failed call: nothing was accepted."""
    if call.uarg is not None:
        msg_zerocopy_abort(sk, call.uarg)
    err = sk_stream_error(task, sk, call.flags, err)
    if err == -EAGAIN and sk.tcp_rtx_queue.head is None and sk.sk_write_queue.head is None:
        sk_stream_write_space(sk)
        tcp_chrono_stop(sk, TCP_CHRONO_SNDBUF_LIMITED)
    return err


def _send_loop(task: Task, sk: TcpSock, call: _Sending) -> int:
    """Copy the message into segments, sending on the way: 0 or -errno."""
    msg = call.msg
    flags = call.flags
    while msg.remaining():
        skb = sk.sk_write_queue.tail
        room = call.size_goal - skb.len if skb is not None else 0
        if skb is not None and room > 0 and not skb.eor and not _takes_fragment(skb, call.uarg):
            tcp_mark_push(sk, skb)
            room = 0
        if skb is None or room <= 0 or skb.eor:
            if not tcp_stream_memory_free(sk, 0) or not _room_for_head(sk):
                err = _wait_for_space(task, sk, call)
                if err:
                    return err
                continue
            if call.fresh_skbs >= FLUSH_BACKLOG_AFTER and sk.sk_backlog:
                call.fresh_skbs = 0
                __release_sock(sk)
                call.mss_now, call.size_goal = tcp_send_mss(sk, bool(flags & MSG_OOB))
                if sk.sk_err or sk.sk_shutdown & SEND_SHUTDOWN:
                    return -EPIPE
                continue
            call.fresh_skbs = call.fresh_skbs % FLUSH_BACKLOG_AFTER + 1
            skb = TcpSkb()
            skb.truesize = SKB_TRUESIZE_HEAD
            tcp_skb_entail(sk, skb)
            room = call.size_goal
        copy = _wmem_schedule(sk, min(room, msg.remaining()))
        if not copy:
            err = _wait_for_space(task, sk, call)
            if err:
                return err
            continue
        if not call.copied:
            skb.tcp_flags &= ~TCPHDR_PSH
        call.copied += _append(sk, skb, call, copy)
        if not msg.remaining():
            if flags & MSG_EOR:
                skb.eor = True
            return 0
        if skb.len < call.size_goal or flags & MSG_OOB:
            continue
        if forced_push(sk):
            tcp_mark_push(sk, skb)
            tcp_push_pending_frames(sk, call.mss_now, TCP_NAGLE_PUSH)
        elif skb is sk.sk_write_queue.head:
            tcp_push_one(sk, call.mss_now)
    return 0


def _room_for_head(sk: TcpSock) -> bool:
    """Reserve memory for a new segment; the first one gets it whatever the limits say."""
    if sk.sk_write_queue.head is None and sk.tcp_rtx_queue.head is None:
        return True
    return sk_wmem_schedule(sk, SKB_TRUESIZE_HEAD)


def _wmem_schedule(sk: TcpSock, copy: int) -> int:
    """Reserve memory for payload: how many of `copy` bytes may be queued; below tcp_wmem's minimum they always may."""
    if sk_wmem_schedule(sk, copy):
        return copy
    left = sk.sk_net.ipv4.sysctl_tcp_wmem[0] - sk.sk_wmem_queued
    if left > 0:
        sk_forced_mem_schedule(sk, min(left, copy))
    return max(min(copy, sk.sk_forward_alloc), 0)


def _takes_fragment(skb: TcpSkb, uarg: UbufInfo | None) -> bool:
    """Tell whether a segment has place for another piece of memory; it waits for one completion only."""
    if uarg is None:
        return (skb.last_frag_copied and skb.zc is None) or skb.nr_frags < MAX_SKB_FRAGS
    return skb.nr_frags < MAX_SKB_FRAGS and (skb.zc is None or skb.zc is uarg)


def _append(sk: TcpSock, skb: TcpSkb, call: _Sending, copy: int) -> int:
    """Add up to `copy` bytes of the message to a segment: how many it took."""
    msg = call.msg
    charge = copy
    if call.uarg is not None:
        copy, pages = _pin(msg, copy, MAX_SKB_FRAGS - skb.nr_frags)
        charge = pages * 4096
        skb.nr_frags += pages
        skb.last_frag_copied = False
        if skb.zc is None:
            skb.zc = call.uarg
            call.uarg.refcnt += 1
    elif not skb.last_frag_copied or skb.zc is not None or copy > PAGE_FRAG:
        skb.nr_frags += (copy + PAGE_FRAG - 1) // PAGE_FRAG
        skb.last_frag_copied = True
    if skb.len == 0 and skb.parts is None:
        skb.data = msg.data
        skb.offset = msg.offset
        skb.len = copy
        msg.offset += copy
    else:
        skb.append(msg.take(copy))
    skb.truesize += charge
    sk_wmem_queued_add(sk, charge)
    sk.write_seq = (sk.write_seq + copy) & M32
    skb.end_seq = (skb.end_seq + copy) & M32
    skb.pcount = 0
    return copy


def _pin(msg: Msghdr, copy: int, room: int) -> tuple[int, int]:
    """Return (bytes, pages) of what the next `copy` bytes of a message pin in at most `room` fragments: one for each page of a piece."""
    taken = pages = 0
    while taken < copy and pages < room:
        start = msg.offset + taken
        count = copy - taken
        base = 0
        if msg.iov_ends is not None:
            for end in msg.iov_ends:
                if end > start:
                    count = min(count, end - start)
                    break
                base = end
        skipped = (start - base) & 4095  # every piece is taken to start a page
        count = min(count, (room - pages) * 4096 - skipped)
        pages += (skipped + count + 4095) // 4096
        taken += count
    return taken, pages


def tcp_skb_entail(sk: TcpSock, skb: TcpSkb) -> None:
    """Start a new segment at the end of the write queue."""
    skb.seq = skb.end_seq = sk.write_seq
    skb.tcp_flags = TCPHDR_ACK
    sk.sk_write_queue.append(skb)
    sk_wmem_queued_add(sk, skb.truesize)
    if sk.nonagle & TCP_NAGLE_PUSH:
        sk.nonagle &= ~TCP_NAGLE_PUSH
    tcp_slow_start_after_idle_check(sk)
    tcp_chrono_start(sk, TCP_CHRONO_BUSY)


def _remove_empty_skb(sk: TcpSock) -> None:
    skb = sk.sk_write_queue.tail
    if skb is not None and skb.seq == skb.end_seq:
        sk.sk_write_queue.remove(skb)
        if sk.sk_write_queue.head is None:
            tcp_chrono_stop(sk, TCP_CHRONO_BUSY)
        tcp_wmem_free_skb(sk, skb)


def _wait_for_space(task: Task, sk: TcpSock, call: _Sending) -> int:
    """The send buffer is full: push what is there, sleep until there is room: 0 or -errno."""
    sock = sk.sk_socket
    if sock is not None:
        sock.flags |= SOCK_NOSPACE
    _remove_empty_skb(sk)
    if call.copied:
        tcp_push(sk, call.flags & ~MSG_MORE, call.mss_now, TCP_NAGLE_PUSH)
    err, call.timeo = sk_stream_wait_memory(task, sk, call.timeo)
    if not err:
        call.mss_now, call.size_goal = tcp_send_mss(sk, bool(call.flags & MSG_OOB))
        if sk.sk_err or sk.sk_shutdown & SEND_SHUTDOWN:
            err = -EPIPE
    return err


def forced_push(sk: TcpSock) -> bool:
    """Tell whether more than half of the peer's window was written since the last PSH."""
    return after(sk.write_seq, (sk.pushed_seq + (sk.max_window >> 1)) & M32)


def tcp_mark_push(sk: TcpSock, skb: TcpSkb) -> None:
    """Set PSH on a segment."""
    skb.tcp_flags |= TCPHDR_PSH
    sk.pushed_seq = sk.write_seq


def tcp_push(sk: TcpSock, flags: int, mss_now: int, nonagle: int) -> None:
    """End of a call: mark PSH and urgent data, then send what may be sent."""
    skb = sk.sk_write_queue.tail
    if skb is None:
        return
    if not flags & MSG_MORE or forced_push(sk):
        tcp_mark_push(sk, skb)
    if flags & MSG_OOB:
        sk.snd_up = sk.write_seq
    if flags & MSG_MORE:
        nonagle = TCP_NAGLE_CORK
    tcp_push_pending_frames(sk, mss_now, nonagle)


def tcp_rate_check_app_limited(sk: TcpSock) -> None:
    """Note that the program, not the network, limits the rate from here on."""
    if (sk.write_seq - sk.snd_nxt) & M32 < sk.mss_cache and tcp_packets_in_flight(sk) < sk.snd_cwnd and sk.lost_out <= sk.retrans_out:
        sk.app_limited = sk.delivered + tcp_packets_in_flight(sk) or 1


def sk_stream_error(task: Task, sk: TcpSock, flags: int, err: int) -> int:
    """Turn EPIPE into the pending error, or into SIGPIPE as well."""
    if err == -EPIPE:
        err = sock_error(sk) or -EPIPE
        if err == -EPIPE and not flags & MSG_NOSIGNAL:
            task.send_signal(SIGPIPE)
    return err


def sk_stream_wait_connect(task: Task, sk: TcpSock, timeo: int) -> tuple[int, int]:
    """Wait until a connection is open: (0 or -errno, time left)."""
    sock = sk.sk_socket
    while True:
        err = sock_error(sk)
        if err:
            return err, timeo
        if not _OPENING >> sk.sk_state & 1:
            if _FLOWING >> sk.sk_state & 1:
                return 0, timeo
            return -EPIPE, timeo
        if timeo == 0 or sock is None:
            return -EAGAIN, timeo
        if task.signal_pending():
            return sock_intr_errno(timeo), timeo
        wait = TaskWait(task)
        sk.write_pending += 1
        sock.wq.prepare_to_wait(wait)
        timeo = sk_sleep_timeout(task, sk, timeo)
        sock.wq.finish_wait(wait)
        sk.write_pending -= 1


def sk_stream_wait_memory(task: Task, sk: TcpSock, timeo: int) -> tuple[int, int]:
    """Wait until the send buffer takes a new segment: (0 or -errno, time left)."""
    sock = sk.sk_socket
    while True:
        if sk.sk_err or sk.sk_shutdown & SEND_SHUTDOWN:
            return -EPIPE, timeo
        if timeo == 0 or sock is None:
            if sock is not None:
                sock.flags |= SOCK_NOSPACE
            return -EAGAIN, timeo
        if task.signal_pending():
            return sock_intr_errno(timeo), timeo
        if tcp_stream_memory_free(sk, 0):
            return 0, timeo
        sock.flags |= SOCK_NOSPACE
        wait = TaskWait(task)
        sk.write_pending += 1
        sock.wq.prepare_to_wait(wait)
        timeo = sk_sleep_timeout(task, sk, timeo)
        sock.wq.finish_wait(wait)
        sk.write_pending -= 1
        if tcp_stream_memory_free(sk, 0) and not sk.sk_err and not sk.sk_shutdown & SEND_SHUTDOWN:
            return 0, timeo


# ---- receiving


class _Reading:
    """What one call carries through the receive loop."""

    def __init__(self, sk: TcpSock, msg: Msghdr, flags: int) -> None:
        self.msg = msg
        self.flags = flags
        self.peek = bool(flags & MSG_PEEK)
        self.left = msg.size
        self.copied = 0
        self.peek_offset = max(sk.sk_peek_off, 0) if self.peek else 0
        self.seq = (sk.copied_seq + self.peek_offset) & M32
        self.urg_hole = 0
        self.stamp_skb: TcpSkb | None = None


def tcp_recvmsg(task: Task, sk: TcpSock, msg: Msghdr, flags: int) -> int:
    """Receive from a stream, recv(2): bytes delivered or -errno."""
    lock_sock(sk)
    if sk.sk_state == TCP_LISTEN:
        ret = -ENOTCONN
        call = None
    elif flags & MSG_OOB:
        ret = tcp_recv_urg(sk, msg, flags)
        call = None
    else:
        call = _Reading(sk, msg, flags)
        ret = _recv_loop(task, sk, call)
    release_sock(sk)
    if call is not None and ret >= 0:
        tcp_recv_cmsgs(sk, msg, call.stamp_skb, tcp_inq_hint(sk) if sk.recvmsg_inq else -1)
    return ret


def tcp_splice_read(task: Task, sk: TcpSock, msg: Msghdr, flags: int) -> int:
    """Give splice(2) what is there before the urgent byte, whose place it never passes: bytes delivered or -errno."""
    lock_sock(sk)
    if sk.sk_state == TCP_LISTEN:
        ret = -ENOTCONN
    elif sk.urg_data and sk.urg_seq == sk.copied_seq and sk.sk_receive_queue:
        _stop, ret = _must_stop(task, sk, _Reading(sk, msg, flags), sock_rcvtimeo(sk, bool(flags & MSG_DONTWAIT)))
    else:
        ret = _recv_loop(task, sk, _Reading(sk, msg, flags))
    release_sock(sk)
    return ret


def _recv_loop(task: Task, sk: TcpSock, call: _Reading) -> int:
    """tcp_recvmsg_locked(): take what is there, or wait: bytes delivered or -errno."""
    flags = call.flags
    timeo = sock_rcvtimeo(sk, bool(flags & MSG_DONTWAIT))
    target = sock_rcvlowat(sk, bool(flags & MSG_WAITALL), call.left)
    while True:
        if sk.urg_data and sk.urg_seq == call.seq:
            if call.copied:
                break
            if task.signal_pending():
                return sock_intr_errno(timeo) if timeo else -EAGAIN
        found = _take_available(sk, call)
        if found == 2 or (not call.left and found):
            break
        if found:
            continue
        if call.copied >= target and not sk.sk_backlog:
            break
        stop, ret = _must_stop(task, sk, call, timeo)
        if stop:
            if not call.copied:
                return ret
            break
        if call.copied >= target:
            __release_sock(sk)
        else:
            tcp_cleanup_rbuf(sk, call.copied)
            timeo = sk_wait_data(task, sk, timeo)
        if call.peek and (call.seq - call.peek_offset - call.copied - call.urg_hole) & M32 != sk.copied_seq:
            call.seq = (sk.copied_seq + call.peek_offset) & M32
        if not call.left:
            break
    tcp_cleanup_rbuf(sk, call.copied)
    return call.copied


def _must_stop(task: Task, sk: TcpSock, call: _Reading, timeo: int) -> tuple[bool, int]:
    """Tell whether waiting is pointless or forbidden, and what to return when nothing was read."""
    if call.copied:
        stop = timeo == 0 or sk.sk_err != 0 or sk.sk_state == TCP_CLOSE or bool(sk.sk_shutdown & RCV_SHUTDOWN) or task.signal_pending()
        return stop, 0
    if sk.sock_flag(SOCK_DONE):
        return True, 0
    if sk.sk_err:
        return True, sock_error(sk)
    if sk.sk_shutdown & RCV_SHUTDOWN:
        return True, 0
    if sk.sk_state == TCP_CLOSE:
        return True, -ENOTCONN
    if timeo == 0:
        return True, -EAGAIN
    if task.signal_pending():
        return True, sock_intr_errno(timeo)
    return False, 0


def _take_available(sk: TcpSock, call: _Reading) -> int:
    """Copy from the segment at the read position: 0 there is none, 1 something was taken, 2 the FIN was reached."""
    queue = sk.sk_receive_queue
    if not queue:
        return 0
    for skb in queue:
        assert isinstance(skb, TcpSkb)
        offset = (call.seq - skb.seq) & M32
        if skb.tcp_flags & TCPHDR_SYN:
            offset = (offset - 1) & M32
        if offset < skb.len:
            return _copy_from(sk, call, queue, skb, offset)
        if skb.tcp_flags & TCPHDR_FIN and offset == skb.len:
            call.seq = (call.seq + 1) & M32
            if not call.peek:
                sk.copied_seq = call.seq
                _eat(sk, queue, skb)
            return 2
        if not call.peek and skb is queue[0] and not before(call.seq, skb.end_seq):
            _eat(sk, queue, skb)
            return 1
    return 0


def _copy_from(sk: TcpSock, call: _Reading, queue: deque[SkBuff], skb: TcpSkb, offset: int) -> int:
    used = min(skb.len - offset, call.left)
    if sk.urg_data:
        urg_offset = (sk.urg_seq - call.seq) & M32
        if urg_offset < used:
            if urg_offset:
                used = urg_offset
            elif not sk.sock_flag(SOCK_URGINLINE):
                call.seq = (call.seq + 1) & M32
                call.urg_hole += 1
                offset += 1
                used -= 1
                if not call.peek:
                    sk.copied_seq = call.seq
    if used:
        if not call.flags & MSG_TRUNC:
            skb.linearize()
            start = skb.offset + offset
            call.msg.chunks.append(skb.data[start : start + used])
        call.seq = (call.seq + used) & M32
        call.copied += used
        call.left -= used
        if call.peek:
            if sk.sk_peek_off >= 0:
                sk.sk_peek_off += used
        else:
            sk.copied_seq = call.seq
            if sk.sk_peek_off >= 0:
                sk.sk_peek_off = max(sk.sk_peek_off - used, 0)
        tcp_rcv_space_adjust(sk)
    if sk.urg_data and after(sk.copied_seq, sk.urg_seq):
        sk.urg_data = 0
        tcp_fast_path_check(sk)
    if skb.has_rxtstamp:
        call.stamp_skb = skb
    if used + offset < skb.len:
        return 1
    if skb.tcp_flags & TCPHDR_FIN:
        call.seq = (call.seq + 1) & M32
        if not call.peek:
            sk.copied_seq = call.seq
            _eat(sk, queue, skb)
        return 2
    if not call.peek:
        _eat(sk, queue, skb)
    return 1


def _eat(sk: TcpSock, queue: deque[SkBuff], skb: TcpSkb) -> None:
    """Free a segment that was read; it is the first of the queue."""
    queue.popleft()
    tcp_unset_owner_r(sk, skb)


def sk_wait_data(task: Task, sk: TcpSock, timeo: int) -> int:
    """Sleep until something happens on the socket; return the time left."""
    sock = sk.sk_socket
    if sock is None:
        return 0
    wait = TaskWait(task)
    sock.wq.prepare_to_wait(wait)
    if not sk.sk_backlog:
        timeo = sk_sleep_timeout(task, sk, timeo)
    else:
        __release_sock(sk)
    sock.wq.finish_wait(wait)
    return timeo


def tcp_cleanup_rbuf(sk: TcpSock, copied: int) -> None:
    """The program has read: acknowledge, or tell the peer that the window has opened a lot."""
    time_to_ack = False
    if inet_csk_ack_scheduled(sk):
        pending = sk.ack_pending
        if (sk.rcv_nxt - sk.rcv_wup) & M32 > sk.ack_rcv_mss or (
            copied > 0
            and (pending & ICSK_ACK_PUSHED2 or (pending & ICSK_ACK_PUSHED and not inet_csk_in_pingpong_mode(sk)))
            and not sk.sk_rmem_alloc
        ):
            time_to_ack = True
    if copied > 0 and not time_to_ack and not sk.sk_shutdown & RCV_SHUTDOWN:
        window_now = tcp_receive_window(sk)
        if 2 * window_now <= sk.window_clamp:
            new_window = tcp_window_to_offer(sk)
            time_to_ack = new_window != 0 and new_window >= 2 * window_now
    if time_to_ack:
        tcp_mstamp_refresh(sk)
        tcp_send_ack(sk)


def tcp_recv_urg(sk: TcpSock, msg: Msghdr, flags: int) -> int:
    """Receive the urgent byte, recv(2) with MSG_OOB (sheet 05, 5.7)."""
    if sk.sock_flag(SOCK_URGINLINE) or not sk.urg_data or sk.urg_data == TCP_URG_READ:
        return -EINVAL
    if sk.sk_state == TCP_CLOSE and not sk.sock_flag(SOCK_DONE):
        return -ENOTCONN
    if sk.urg_data & TCP_URG_VALID:
        byte = sk.urg_data & 0xFF
        if not flags & MSG_PEEK:
            sk.urg_data = TCP_URG_READ
        msg.out_flags |= MSG_OOB
        if msg.size > 0:
            if not flags & MSG_TRUNC:
                msg.chunks.append(bytes((byte,)))
            return 1
        msg.out_flags |= MSG_TRUNC
        return 0
    if sk.sk_state == TCP_CLOSE or sk.sk_shutdown & RCV_SHUTDOWN:
        return 0
    return -EAGAIN


# ---- asking


def tcp_inq(sk: TcpSock) -> int:
    """Return the unread bytes up to the urgent mark, FIONREAD of tcp(7)."""
    if _OPENING >> sk.sk_state & 1:
        return 0
    if sk.sock_flag(SOCK_URGINLINE) or not sk.urg_data or before(sk.urg_seq, sk.copied_seq) or not before(sk.urg_seq, sk.rcv_nxt):
        answ = (sk.rcv_nxt - sk.copied_seq) & M32
        if answ and sk.sock_flag(SOCK_DONE):
            answ -= 1
        return answ
    return (sk.urg_seq - sk.copied_seq) & M32


def tcp_inq_hint(sk: TcpSock) -> int:
    """Return what TCP_INQ reports: unread bytes, 1 for a FIN alone."""
    inq = (sk.rcv_nxt - sk.copied_seq) & M32
    if inq > 0x7FFFFFFF:
        inq = 0
    if inq and sk.sock_flag(SOCK_DONE):
        inq -= 1
    if inq == 0 and sk.sock_flag(SOCK_DONE):
        inq = 1
    return inq


def tcp_ioctl(sk: TcpSock, cmd: int) -> tuple[int, int]:
    """Answer SIOCINQ, SIOCATMARK, SIOCOUTQ, SIOCOUTQNSD: (0 or -errno, value)."""
    if cmd == SIOCATMARK:
        return 0, int(sk.urg_data != 0 and sk.urg_seq == sk.copied_seq)
    if cmd not in (SIOCINQ, SIOCOUTQ, SIOCOUTQNSD):
        return -515, 0
    if sk.sk_state == TCP_LISTEN:
        return -EINVAL, 0
    if cmd == SIOCINQ:
        return 0, tcp_inq(sk)
    if _OPENING >> sk.sk_state & 1:
        return 0, 0
    return 0, (sk.write_seq - (sk.snd_una if cmd == SIOCOUTQ else sk.snd_nxt)) & M32


def tcp_poll(sock: Socket, sk: TcpSock, wait: PollTable | None) -> int:
    """Return the poll(2) bits (sheet 06, 6.1)."""
    poll_wait(sock.wq, wait)
    state = sk.sk_state
    if state == TCP_LISTEN:
        return POLLIN | POLLRDNORM if sk.icsk_accept_queue.rskq_accept else 0
    mask = 0
    if sk.sk_shutdown == SHUTDOWN_MASK or state == TCP_CLOSE:
        mask |= POLLHUP
    if sk.sk_shutdown & RCV_SHUTDOWN:
        mask |= POLLIN | POLLRDNORM | POLLRDHUP
    if state != TCP_SYN_SENT and (state != TCP_SYN_RECV or sk.fastopen_rsk is not None):
        mask |= _poll_flowing(sock, sk)
    elif state == TCP_SYN_SENT and sk.inet_test_bit(INET_FLAGS_DEFER_CONNECT):
        mask |= POLLOUT | POLLWRNORM
    if sk.sk_err or sk.sk_error_queue:
        mask |= POLLERR
    return mask


def _poll_flowing(sock: Socket, sk: TcpSock) -> int:
    mask = 0
    target = sk.sk_rcvlowat or 1
    if sk.urg_data and sk.urg_seq == sk.copied_seq and not sk.sock_flag(SOCK_URGINLINE):
        target += 1
    if tcp_epollin_ready(sk, target):
        mask |= POLLIN | POLLRDNORM
    if not sk.sk_shutdown & SEND_SHUTDOWN:
        if sk_stream_is_writeable(sk):
            mask |= POLLOUT | POLLWRNORM
        else:
            sock.flags |= SOCK_NOSPACE
    else:
        mask |= POLLOUT | POLLWRNORM
    if sk.urg_data & TCP_URG_VALID:
        mask |= POLLPRI
    return mask


def tcp_set_nodelay(sk: TcpSock, on: bool) -> None:
    """Switch Nagle off or on, TCP_NODELAY of tcp(7)."""
    if on:
        sk.nonagle |= TCP_NAGLE_OFF | TCP_NAGLE_PUSH
        push_pending(sk)
    else:
        sk.nonagle &= ~TCP_NAGLE_OFF


def tcp_set_cork(sk: TcpSock, on: bool) -> None:
    """Hold partial segments back, or let them go, TCP_CORK of tcp(7)."""
    if on:
        sk.nonagle |= TCP_NAGLE_CORK
    else:
        sk.nonagle &= ~TCP_NAGLE_CORK
        if sk.nonagle & TCP_NAGLE_OFF:
            sk.nonagle |= TCP_NAGLE_PUSH
        push_pending(sk)


def push_pending(sk: TcpSock) -> None:
    """Send what waits, if the rules allow it now."""
    if sk.sk_write_queue.head is not None:
        tcp_push_pending_frames(sk, tcp_send_mss(sk, False)[0], sk.nonagle)
