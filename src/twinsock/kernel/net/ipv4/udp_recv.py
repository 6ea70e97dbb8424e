"""UDP's receive queue: charging, waiting, reading, polling (Linux: the recvmsg half of net/ipv4/udp.c; sheets 05, 5.4, 5.8 and 06, 6.2).

    softirq  -> sk_receive_queue  -> (all at once, when the reader runs dry) -> reader_queue -> recvmsg(2)

What was read is uncharged in steps of a quarter of the buffer, or when the reader queue is empty."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_UDP4_RECVMSG, cgroup_bpf_run_filter_sock_addr
from twinsock.kernel.net.core.datagram import __skb_wait_for_more_packets, datagram_poll, sock_skb_set_dropcount
from twinsock.kernel.net.core.net import Msghdr, Socket
from twinsock.kernel.net.core.skbuff import SkbDestructor, SkBuff, consume_skb, kfree_skb, skb_orphan
from twinsock.kernel.net.core.sock import RCV_SHUTDOWN, SK_MEM_QUANTUM, SOCK_DEAD, Sock, sock_error
from twinsock.kernel.net.core.sock_cmsg import sock_recv_cmsgs
from twinsock.kernel.net.core.sock_mem import (
    SK_MEM_RECV,
    __sk_mem_raise_allocated,
    __sk_mem_reduce_allocated,
    skb_queue_purge_err,
)
from twinsock.kernel.net.ipv4.inet_ops import sockaddr_in
from twinsock.kernel.net.ipv4.ip_cmsg import ip_cmsg_recv, ip_recv_error
from twinsock.kernel.net.ipv4.udp import UdpInput, UdpSock, udp_mib
from twinsock.kernel.net.ipv4.udp_options import udp_getsockopt, udp_setsockopt
from twinsock.uapi.errno import EAGAIN, ENOBUFS, ENOMEM
from twinsock.uapi.fcntl import O_NONBLOCK
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.snmp import UDP_MIB_INCSUMERRORS, UDP_MIB_INDATAGRAMS, UDP_MIB_INERRORS
from twinsock.uapi.socket import MSG_DONTWAIT, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC
from twinsock.uapi.udp import UDP_GRO
from twinsock.wire.udp import UDP_HEADER_LEN, Udphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.sched.task import Task

_INT_MAX: Final = 0x7FFFFFFF
_PEEKED: Final = 0x80000  # ours, in SkBuff.ip_flags: an empty datagram that MSG_PEEK has shown
_PAGE_SHIFT: Final = 12


class _UdpRmemRelease(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Uncharge a datagram that is thrown away unread."""
        if isinstance(skb.sk, UdpSock):
            udp_rmem_release(skb.sk, skb.truesize, False)


_udp_rfree: Final[SkbDestructor] = _UdpRmemRelease()


class UdpInput4(UdpInput):
    """The receiving half of an AF_INET socket."""

    def destruct(self, sk: UdpSock) -> None:
        """udp_destruct_common()."""
        for queue in (sk.reader_queue, sk.sk_receive_queue):
            while queue:
                kfree_skb(queue.popleft())
        udp_rmem_release(sk, 0, False)
        skb_queue_purge_err(sk)

    def recvmsg(self, task: Task, sk: UdpSock, msg: Msghdr, flags: int) -> int:
        """udp_recvmsg()."""
        return udp_recvmsg(task, sk, msg, flags)

    def first_packet_length(self, sk: UdpSock) -> int:
        """first_packet_length()."""
        return first_packet_length(sk)

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """udp_poll()."""
        return udp_poll(file, sock, wait)

    def setsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """udp_setsockopt()."""
        return udp_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """udp_getsockopt()."""
        return udp_getsockopt(task, sk, level, optname, optval, optlen)


def __udp_enqueue_schedule_skb(sk: UdpSock, skb: SkBuff) -> int:
    """Queue a datagram: 0, -ENOMEM when the buffer is full (an empty one takes any size), -ENOBUFS beyond udp_mem."""
    size = skb.truesize
    rmem = sk.sk_rmem_alloc
    if rmem + size > sk.sk_rcvbuf and (rmem or sk.sk_rcvbuf > _INT_MAX >> 1):
        sk.sk_drops += 1
        return -ENOMEM
    if size > sk.sk_forward_alloc:
        delta = size - sk.sk_forward_alloc
        pages = (delta + SK_MEM_QUANTUM - 1) >> _PAGE_SHIFT
        if not __sk_mem_raise_allocated(sk, delta, pages, SK_MEM_RECV):
            sk.sk_drops += 1
            return -ENOBUFS
        sk.sk_forward_alloc += pages << _PAGE_SHIFT
    sk.sk_forward_alloc -= size
    sk.sk_rmem_alloc += size
    skb_orphan(skb)
    skb.sk = sk
    skb.destructor = _udp_rfree
    sock_skb_set_dropcount(sk, skb)
    queue = sk.sk_receive_queue
    if queue is None:
        queue = sk.sk_receive_queue = deque()
    queue.append(skb)
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_data_ready()
    return 0


def udp_rmem_release(sk: UdpSock, size: int, partial: bool) -> None:
    """Uncharge `size` bytes, or (`partial`) only remember them while the reader has more to read and little is owed."""
    if partial:
        sk.forward_deficit += size
        size = sk.forward_deficit
        if size < sk.sk_rcvbuf >> 2 and sk.reader_queue:
            return
    else:
        size += sk.forward_deficit
    sk.forward_deficit = 0
    sk.sk_forward_alloc += size
    pages = (sk.sk_forward_alloc - partial) >> _PAGE_SHIFT
    sk.sk_forward_alloc -= pages << _PAGE_SHIFT
    if pages:
        __sk_mem_reduce_allocated(sk, pages)
    sk.sk_rmem_alloc -= size


def _consumed(sk: UdpSock, skb: SkBuff) -> None:
    """Free a datagram that was read."""
    if skb.destructor is not None and skb.users == 1:
        skb.destructor = None
        skb.sk = None
        udp_rmem_release(sk, skb.truesize, True)
    consume_skb(skb)


def _checksum_ok(skb: SkBuff) -> bool:
    return not (isinstance(skb.h, Udphdr) and skb.h.csum_bad)


def _mib_of(sk: UdpSock, skb: SkBuff) -> list[int]:
    """Return the counters for a packet in a queue: those of its own IP version."""
    if skb.nh6 is None:
        return udp_mib(sk)
    return sk.sk_net.udplite6_statistics if sk.is_udplite else sk.sk_net.udp6_statistics


def _splice(sk: UdpSock) -> None:
    """Take the receive queue over."""
    queue = sk.sk_receive_queue
    if queue:
        sk.reader_queue.extend(queue)
        queue.clear()


def first_packet_length(sk: UdpSock) -> int:
    """Return the length of the next good datagram, throwing bad ones away; -1 without one."""
    if not sk.reader_queue:
        _splice(sk)
    while sk.reader_queue:
        skb = sk.reader_queue[0]
        if _checksum_ok(skb):
            return skb.len
        sk.reader_queue.popleft()
        _count_bad(sk, skb)
        kfree_skb(skb)
        if not sk.reader_queue:
            _splice(sk)
    return -1


def _count_bad(sk: UdpSock, skb: SkBuff) -> None:
    mib = _mib_of(sk, skb)
    mib[UDP_MIB_INCSUMERRORS] += 1
    mib[UDP_MIB_INERRORS] += 1
    sk.sk_drops += 1


def udp_poll(file: File, sock: Socket, wait: PollTable | None) -> int:
    """Return the poll bits: a datagram with a bad checksum does not count."""
    mask = datagram_poll(file, sock, wait)
    sk = sock.sk
    if not isinstance(sk, UdpSock):
        return mask
    if sk.reader_queue:
        mask |= 0x1 | 0x40
    blocks = not file.f_flags & O_NONBLOCK  # only a blocking reader must be sure of what it will find
    if mask & 0x40 and blocks and not sk.sk_shutdown & RCV_SHUTDOWN and first_packet_length(sk) == -1:
        mask &= ~(0x1 | 0x40)
    return mask


def __skb_recv_udp(task: Task, sk: UdpSock, flags: int, off: int) -> tuple[int, SkBuff | None, int]:
    """Take the next datagram, waiting for it: (0 or -errno, packet, offset inside it); (0, None, 0) is end of file."""
    timeo = 0 if flags & MSG_DONTWAIT else sk.sk_rcvtimeo_ns
    while True:
        err = sock_error(sk)
        if err:
            return err, None, 0
        skb, offset = _try_recv(sk, flags, off)
        if skb is not None:
            return 0, skb, offset
        if timeo == 0:
            return -EAGAIN, None, 0
        err, timeo = __skb_wait_for_more_packets(task, sk, timeo)
        if err:
            return min(err, 0), None, 0


def _try_recv(sk: UdpSock, flags: int, off: int) -> tuple[SkBuff | None, int]:
    if not flags & MSG_PEEK:
        if not sk.reader_queue:
            _splice(sk)
        return (sk.reader_queue.popleft(), 0) if sk.reader_queue else (None, 0)
    _splice_if_short(sk, off)
    for skb in sk.reader_queue:
        if sk.sk_peek_off >= 0 and off >= skb.len and (off or skb.ip_flags & _PEEKED):
            off -= skb.len
            continue
        if not skb.len:
            skb.ip_flags |= _PEEKED
        skb.users += 1
        return skb, off
    return None, 0


def _splice_if_short(sk: UdpSock, off: int) -> None:
    """Take the receive queue over when what is there has been peeked at already."""
    if sk.sk_peek_off >= 0:
        for skb in sk.reader_queue:
            if off < skb.len or (not off and not skb.ip_flags & _PEEKED):
                return
            off -= skb.len
    elif sk.reader_queue:
        return
    _splice(sk)


def udp_recvmsg(task: Task, sk: UdpSock, msg: Msghdr, flags: int) -> int:
    """Receive a datagram, recvmsg(2): bytes or -errno."""
    if flags & MSG_ERRQUEUE:
        return ip_recv_error(sk, msg)
    err, skb, off = udp_take(task, sk, flags)
    if skb is None:
        return err
    copied = udp_copy(sk, msg, skb, off, flags)
    iph = skb.nh4
    if iph is not None and skb.h is not None:
        _, msg.name = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UDP4_RECVMSG, sockaddr_in(iph.saddr, skb.h.source))
    udp_gro_cmsg(sk, msg, skb)
    ip_cmsg_recv(msg, sk, skb)
    return udp_finish(sk, skb, off, copied, flags)


def udp_take(task: Task, sk: UdpSock, flags: int) -> tuple[int, SkBuff | None, int]:
    """Take or look at the next datagram whose checksum is right: (0 or -errno, packet, offset)."""
    while True:
        off = max(sk.sk_peek_off, 0) if flags & MSG_PEEK else 0
        err, skb, off = __skb_recv_udp(task, sk, flags, off)
        if skb is None or _checksum_ok(skb):
            return err, skb, off
        _drop_bad(sk, skb, flags)


def _drop_bad(sk: UdpSock, skb: SkBuff, flags: int) -> None:
    if flags & MSG_PEEK and skb in sk.reader_queue:
        sk.reader_queue.remove(skb)
        kfree_skb(skb)
    _count_bad(sk, skb)
    kfree_skb(skb)


def udp_copy(sk: UdpSock, msg: Msghdr, skb: SkBuff, off: int, flags: int) -> int:
    """Copy what fits and count the datagram; return the bytes copied."""
    copied = min(msg.size, skb.len - off)
    if copied < skb.len - off:
        msg.out_flags |= MSG_TRUNC
    start = skb.offset + off
    msg.chunks.append(skb.data[start : start + copied] if off or copied < skb.len else skb.payload())
    if not flags & MSG_PEEK:
        _mib_of(sk, skb)[UDP_MIB_INDATAGRAMS] += 1
    sock_recv_cmsgs(msg, sk, skb)
    return copied


def udp_gro_cmsg(sk: UdpSock, msg: Msghdr, skb: SkBuff) -> None:
    """Tell the size of the segments that were delivered together."""
    if sk.gro_enabled and skb.gso_size:
        msg.put_cmsg(IPPROTO_UDP, UDP_GRO, skb.gso_size.to_bytes(4, "little"))


def udp_finish(sk: UdpSock, skb: SkBuff, off: int, copied: int, flags: int) -> int:
    """Free the datagram and move SO_PEEK_OFF; return what recvmsg(2) says."""
    result = skb.len if flags & MSG_TRUNC else copied
    if sk.sk_peek_off >= 0:
        sk.sk_peek_off = sk.sk_peek_off + result if flags & MSG_PEEK else max(sk.sk_peek_off - result, 0)
    _consumed(sk, skb)
    return result


def udp_datagram_bytes(skb: SkBuff) -> bytes:
    """Return what a socket filter sees of a datagram: UDP header and payload."""
    h = skb.h
    if not isinstance(h, Udphdr):
        return skb.payload()
    size = skb.len + UDP_HEADER_LEN
    head = h.source.to_bytes(2, "big") + h.dest.to_bytes(2, "big") + (size & 0xFFFF).to_bytes(2, "big") + h.check.to_bytes(2, "big")
    return head + skb.payload()


def is_udp(sk: Sock | None) -> bool:
    """Tell whether a socket is of UDP or UDP-Lite."""
    return isinstance(sk, UdpSock)
