"""Who pays for which packet: send, receive and option memory of sockets, and the protocol's global pages (Linux: net/core/sock.c,
include/net/sock.h; sheet 05, 5.2 and 5.5).

    forward_alloc (per socket, bytes)  <-  per_cpu_fw_alloc (per protocol and processor, pages)  <-  memory_allocated (pages, shown)
"""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.net import SOCK_NOSPACE
from twinsock.kernel.net.core.skbuff import SkbDestructor, SkBuff, kfree_skb, skb_orphan
from twinsock.kernel.net.core.sock import SEND_SHUTDOWN, SK_MEM_QUANTUM, Proto, Sock, sk_free, sock_error
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import EAGAIN, ENOMEM, EPIPE
from twinsock.uapi.socket import SOCK_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SK_MEM_SEND: Final = 0
SK_MEM_RECV: Final = 1
_PAGE_SHIFT: Final = 12


class _SockWfree(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Give send memory back (sock_wfree)."""
        sk = skb.sk
        if sk is not None:
            sk.sk_wmem_alloc -= skb.truesize
            if sk.sk_free_pending:
                if sk.sk_wmem_alloc == 0:
                    sk.sk_free_pending = False
                    sk_free(sk)
            else:
                sk.sk_write_space()


class _SockRfree(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Give receive memory back (sock_rfree)."""
        sk = skb.sk
        if sk is not None:
            sk.sk_rmem_alloc -= skb.truesize
            sk_mem_uncharge(sk, skb.truesize)


class _SockRmemFree(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Give receive memory back that was never part of forward_alloc (sock_rmem_free)."""
        if skb.sk is not None:
            skb.sk.sk_rmem_alloc -= skb.truesize


sock_wfree: Final[SkbDestructor] = _SockWfree()
sock_rfree: Final[SkbDestructor] = _SockRfree()
sock_rmem_free: Final[SkbDestructor] = _SockRmemFree()


def skb_set_owner_w(skb: SkBuff, sk: Sock) -> None:
    """Charge a packet to the sender until it is freed."""
    skb_orphan(skb)
    skb.sk = sk
    skb.destructor = sock_wfree
    sk.sk_wmem_alloc += skb.truesize


def skb_set_owner_r(skb: SkBuff, sk: Sock) -> None:
    """Charge a packet to the receiver until it is read."""
    skb_orphan(skb)
    skb.sk = sk
    skb.destructor = sock_rfree
    sk.sk_rmem_alloc += skb.truesize
    sk_mem_charge(sk, skb.truesize)


def sk_has_account(sk: Sock) -> bool:
    """Tell whether the protocol counts its memory."""
    return sk.sk_prot.sysctl_mem is not None


def sk_mem_charge(sk: Sock, size: int) -> None:
    """Take bytes out of what the socket has reserved."""
    if sk_has_account(sk):
        sk.sk_forward_alloc -= size


def sk_mem_uncharge(sk: Sock, size: int) -> None:
    """Put bytes back, and return whole unused pages to the protocol."""
    if sk_has_account(sk):
        sk.sk_forward_alloc += size
        sk_mem_reclaim(sk)


def sk_mem_reclaim(sk: Sock) -> None:
    """Return whole unused pages to the protocol."""
    if not sk_has_account(sk):
        return
    reclaimable = sk.sk_forward_alloc - sk.sk_reserved_mem
    if reclaimable >= SK_MEM_QUANTUM:
        pages = reclaimable >> _PAGE_SHIFT
        sk.sk_forward_alloc -= pages << _PAGE_SHIFT
        __sk_mem_reduce_allocated(sk, pages)


def sk_wmem_schedule(sk: Sock, size: int) -> bool:
    """Make sure that `size` bytes of send memory are reserved."""
    return not sk_has_account(sk) or size <= sk.sk_forward_alloc or __sk_mem_schedule(sk, size - sk.sk_forward_alloc, SK_MEM_SEND)


def sk_forced_mem_schedule(sk: Sock, size: int) -> None:
    """Reserve `size` bytes whatever the limits say."""
    if size > sk.sk_forward_alloc and sk_has_account(sk):
        pages = (size - sk.sk_forward_alloc + SK_MEM_QUANTUM - 1) >> _PAGE_SHIFT
        sk.sk_forward_alloc += pages << _PAGE_SHIFT
        sk_memory_allocated_add(sk, pages)


def sk_rmem_schedule(sk: Sock, size: int) -> bool:
    """Make sure that `size` bytes of receive memory are reserved."""
    return not sk_has_account(sk) or size <= sk.sk_forward_alloc or __sk_mem_schedule(sk, size - sk.sk_forward_alloc, SK_MEM_RECV)


def __sk_mem_schedule(sk: Sock, size: int, kind: int) -> bool:
    pages = (size + SK_MEM_QUANTUM - 1) >> _PAGE_SHIFT
    sk.sk_forward_alloc += pages << _PAGE_SHIFT
    if __sk_mem_raise_allocated(sk, size, pages, kind):
        return True
    sk.sk_forward_alloc -= pages << _PAGE_SHIFT
    return False


def __sk_mem_raise_allocated(sk: Sock, size: int, pages: int, kind: int) -> bool:
    """Charge pages to the protocol, unless its limits forbid it."""
    prot = sk.sk_prot
    limits = prot.sysctl_mem
    if limits is None:
        return True
    sk_memory_allocated_add(sk, pages)
    allocated = prot.counters.memory_allocated
    if allocated <= limits[0]:
        if prot.counters.memory_pressure:
            prot.leave_memory_pressure()
        return True
    if allocated > limits[1]:
        prot.enter_memory_pressure(sk)
    if allocated <= limits[2] and _granted_below_max(sk, kind, limits[2]):
        return True
    if kind == SK_MEM_SEND and sk.sk_type == SOCK_STREAM:
        sk_stream_moderate_sndbuf(sk)
        if sk.sk_wmem_queued + size >= sk.sk_sndbuf:  # below its own limit again: let the caller notice
            return True
    sk_memory_allocated_sub(sk, pages)
    return False


def _granted_below_max(sk: Sock, kind: int, limit: int) -> bool:
    prot = sk.sk_prot
    if kind == SK_MEM_RECV:
        if sk.sk_rmem_alloc < prot.sysctl_rmem_min(sk.sk_net):
            return True
    else:
        low = prot.sysctl_wmem_min(sk.sk_net)
        used = sk.sk_wmem_queued if sk.sk_type == SOCK_STREAM else sk.sk_wmem_alloc
        if used < low:
            return True
    if not prot.counters.memory_pressure:
        return True
    held = sk.sk_wmem_queued + sk.sk_rmem_alloc + sk.sk_forward_alloc
    return limit > prot.counters.sockets_allocated * ((held + SK_MEM_QUANTUM - 1) >> _PAGE_SHIFT)


def sk_stream_moderate_sndbuf(sk: Sock) -> None:
    """Lower an unlocked send buffer to half of what is queued."""
    if not sk.sk_userlocks & 1:
        sk.sk_sndbuf = max(min(sk.sk_sndbuf, sk.sk_wmem_queued >> 1), 4608)


def __sk_mem_reduce_allocated(sk: Sock, pages: int) -> None:
    sk_memory_allocated_sub(sk, pages)
    prot = sk.sk_prot
    if prot.counters.memory_pressure and prot.sysctl_mem is not None and prot.counters.memory_allocated < prot.sysctl_mem[0]:
        prot.leave_memory_pressure()


def sk_memory_allocated_add(sk: Sock, pages: int) -> None:
    """Charge pages to this processor's reserve; a full reserve moves to the shown counter."""
    _account(sk.sk_prot, pages, sk.sk_net.kernel.cpu, sk.sk_net.kernel.sysctl_mem_pcpu_rsv)


def sk_memory_allocated_sub(sk: Sock, pages: int) -> None:
    """Uncharge pages from this processor's reserve."""
    _account(sk.sk_prot, -pages, sk.sk_net.kernel.cpu, sk.sk_net.kernel.sysctl_mem_pcpu_rsv)


def _account(prot: Proto, pages: int, cpu: int, reserve: int) -> None:
    value = prot.counters.per_cpu_fw_alloc[cpu] + pages
    if value >= reserve or value <= -reserve:
        prot.counters.memory_allocated += value
        value = 0
    prot.counters.per_cpu_fw_alloc[cpu] = value


# Sending


def sock_alloc_send_pskb(task: Task, sk: Sock, noblock: bool) -> int:
    """Wait until the send buffer takes another packet: 0 or -errno. The caller then makes the packet and charges it."""
    timeo = sk.sk_sndtimeo_ns if not noblock else 0
    while True:
        err = sock_error(sk)
        if err:
            return err
        if sk.sk_shutdown & SEND_SHUTDOWN:
            return -EPIPE
        if sk.sk_wmem_alloc < sk.sk_sndbuf:
            return 0
        sock = sk.sk_socket
        if sock is not None:
            sock.flags |= SOCK_NOSPACE
        if timeo == 0 or sock is None:
            return -EAGAIN
        if task.signal_pending():
            return sock_intr_errno(timeo)
        timeo = sock_wait_for_wmem(task, sk, timeo)


def sock_wait_for_wmem(task: Task, sk: Sock, timeo: int) -> int:
    """Sleep until packets were freed; return what is left of the time. The caller does not hold the socket lock."""
    wait = TaskWait(task)
    sock = sk.sk_socket
    if sock is None:
        return 0
    while timeo and not task.signal_pending():
        sock.flags |= SOCK_NOSPACE
        sock.wq.prepare_to_wait(wait)
        if sk.sk_wmem_alloc < sk.sk_sndbuf or sk.sk_shutdown & SEND_SHUTDOWN or sk.sk_err:
            break
        timeo = task.schedule_timeout(timeo)
    sock.wq.finish_wait(wait)
    return timeo


def sock_wmalloc_room(sk: Sock, force: bool) -> bool:
    """Tell whether sock_wmalloc() would give a buffer now (`force`: whatever the buffer holds)."""
    return force or sk.sk_wmem_alloc < sk.sk_sndbuf


# Option memory


def sock_kmalloc(sk: Sock, size: int) -> int:
    """Charge option memory: 0, or -ENOMEM beyond net.core.optmem_max."""
    optmem_max = sk.sk_net.core.sysctl_optmem_max
    if size <= optmem_max and sk.sk_omem_alloc + size < optmem_max:
        sk.sk_omem_alloc += size
        return 0
    return -ENOMEM


def sock_kfree_s(sk: Sock, size: int) -> None:
    """Give option memory back."""
    sk.sk_omem_alloc -= size


# The error queue


def sock_queue_err_skb(sk: Sock, skb: SkBuff) -> int:
    """Put an entry into the error queue and say so: 0, or -ENOMEM when the receive buffer is full."""

    if sk.sk_rmem_alloc + skb.truesize >= sk.sk_rcvbuf:
        return -ENOMEM
    skb_orphan(skb)
    skb.sk = sk
    skb.destructor = sock_rmem_free
    sk.sk_rmem_alloc += skb.truesize
    if sk.sk_error_queue is None:
        sk.sk_error_queue = deque()
    sk.sk_error_queue.append(skb)
    if not sk.sk_flags & 1:  # SOCK_DEAD
        sk.sk_error_report()
    return 0


def sock_dequeue_err_skb(sk: Sock) -> SkBuff | None:
    """Take the oldest entry; sk_err becomes the errno of the next one when both came from ICMP."""
    queue = sk.sk_error_queue
    if not queue:
        return None
    skb = queue.popleft()
    icmp_next = bool(queue) and _is_icmp_err_skb(queue[0])
    if icmp_next:
        ee = queue[0].ee
        sk.sk_err = ee.ee_errno if ee is not None else 0
    if _is_icmp_err_skb(skb) and not icmp_next:
        sk.sk_err = 0
    if icmp_next:
        sk.sk_error_report()
    return skb


def _is_icmp_err_skb(skb: SkBuff) -> bool:
    ee = skb.ee
    return ee is not None and ee.ee_origin in (2, 3)


def skb_queue_purge_err(sk: Sock) -> None:
    """Throw the error queue away."""
    queue = sk.sk_error_queue
    while queue:
        kfree_skb(queue.popleft())
