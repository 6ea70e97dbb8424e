"""MSG_ZEROCOPY: ids of sends and their notifications (Linux: msg_zerocopy_*() of net/core/skbuff.c; sheet 05, 5.6).

For datagrams, whose data is copied before the send returns, so that the notification comes at once and says COPIED."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.skbuff import SkbDestructor, SkBuff, SockExtendedErr
from twinsock.kernel.net.core.sock import Sock
from twinsock.kernel.net.core.sock_mem import sock_kfree_s
from twinsock.uapi.capability import CAP_IPC_LOCK
from twinsock.uapi.errno import ENOBUFS
from twinsock.uapi.errqueue import SO_EE_CODE_ZEROCOPY_COPIED, SO_EE_ORIGIN_ZEROCOPY
from twinsock.uapi.resource import RLIMIT_MEMLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

ZEROCOPY_COST: Final = 832  # option memory of a notification
_MASK32: Final = 0xFFFFFFFF


class _SockOfree(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Give the option memory of a notification back."""
        if skb.sk is not None:
            sock_kfree_s(skb.sk, skb.truesize)


_sock_ofree: Final[SkbDestructor] = _SockOfree()


def mm_account_pinned_pages(task: Task, size: int) -> int:
    """Count the pages of a send against RLIMIT_MEMLOCK of its user: how many, or -ENOBUFS; none with CAP_IPC_LOCK."""
    if not size or task.capable(CAP_IPC_LOCK):
        return 0
    locked = task.kernel.locked_vm
    pages = (size >> 12) + 2
    total = locked.get(task.cred.uid, 0) + pages
    if total > task.rlim_cur[RLIMIT_MEMLOCK] >> 12:
        return -ENOBUFS
    locked[task.cred.uid] = total
    return pages


def mm_unaccount_pinned_pages(kernel: Kernel, uid: int, pages: int) -> None:
    """Give pages back."""
    if pages:
        kernel.locked_vm[uid] = kernel.locked_vm.get(uid, 0) - pages


def msg_zerocopy_begin(task: Task, sk: Sock, size: int) -> int:
    """Pay for a notification: 0, or -ENOBUFS beyond optmem_max or RLIMIT_MEMLOCK."""
    if sk.sk_omem_alloc + ZEROCOPY_COST > sk.sk_net.core.sysctl_optmem_max:
        return -ENOBUFS
    pages = mm_account_pinned_pages(task, size)
    if pages < 0:
        return pages
    mm_unaccount_pinned_pages(task.kernel, task.cred.uid, pages)  # a datagram is copied, and its pages free again, at once
    sk.sk_omem_alloc += ZEROCOPY_COST
    return 0


def msg_zerocopy_done(sk: Sock, err: int) -> None:
    """End a send whose data was copied: queue its notification, joined to the newest one if their ids follow each other."""
    if err:
        sk.sk_omem_alloc -= ZEROCOPY_COST
        return
    ident = sk.sk_zckey
    sk.sk_zckey = (ident + 1) & _MASK32
    queue = sk.sk_error_queue
    if queue is None:
        queue = sk.sk_error_queue = deque()
    newest = queue[-1].ee if queue else None
    if newest is not None and newest.ee_origin == SO_EE_ORIGIN_ZEROCOPY and (newest.ee_data + 1) & _MASK32 == ident:
        newest.ee_data = ident
        sk.sk_omem_alloc -= ZEROCOPY_COST
    else:
        skb = SkBuff()
        skb.truesize = ZEROCOPY_COST
        skb.sk = sk
        skb.destructor = _sock_ofree
        skb.ee = SockExtendedErr(0, SO_EE_ORIGIN_ZEROCOPY, 0, SO_EE_CODE_ZEROCOPY_COPIED, ident, ident)
        queue.append(skb)
    if not sk.sock_flag(0):
        sk.sk_error_report()
