"""MSG_ZEROCOPY notifications: which calls share one (Linux: net/core/skbuff.c, msg_zerocopy_*; sheet 05, 5.6)."""

from __future__ import annotations

from twinsock.kernel.net.core.zerocopy import mm_account_pinned_pages, mm_unaccount_pinned_pages
from twinsock.kernel.net.ipv4.tcp_sock import M32, ZEROCOPY_OMEM, TcpSkb, TcpSock, UbufInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_CALLS_MAX: Final = 65534
_BYTES_MAX: Final = (1 << 19) - 4096
_TRUESIZE_MIN: Final = 576


def msg_zerocopy_realloc(task: Task, sk: TcpSock, size: int, tail: TcpSkb | None) -> UbufInfo | None:
    """Return the notification for a call: the one of the last unsent segment, extended, or a new one; None without memory."""
    uarg = tail.zc if tail is not None else None
    if uarg is not None and uarg.bytelen + size <= _BYTES_MAX and uarg.calls < _CALLS_MAX:
        if (uarg.id + uarg.calls) & M32 == sk.sk_zckey:
            pages = mm_account_pinned_pages(task, size)
            if pages < 0:
                return None
            uarg.pinned_pages += pages
            uarg.calls += 1
            uarg.bytelen += size
            uarg.refcnt += 1
            sk.sk_zckey = (sk.sk_zckey + 1) & M32
            return uarg
    if sk.sk_omem_alloc + _TRUESIZE_MIN > sk.sk_net.core.sysctl_optmem_max:
        return None
    pages = mm_account_pinned_pages(task, size)
    if pages < 0:
        return None
    sk.sk_omem_alloc += ZEROCOPY_OMEM
    uarg = UbufInfo(sk, sk.sk_zckey)
    uarg.pinned_uid, uarg.pinned_pages = task.cred.uid, pages
    uarg.bytelen = size
    sk.sk_zckey = (sk.sk_zckey + 1) & M32
    return uarg


def msg_zerocopy_abort(sk: TcpSock, uarg: UbufInfo) -> None:
    """A call failed: its number is given back."""
    sk.sk_zckey = (sk.sk_zckey - 1) & M32
    uarg.calls -= 1
    if uarg.calls == 0:
        sk.sk_omem_alloc -= ZEROCOPY_OMEM
        mm_unaccount_pinned_pages(sk.sk_net.kernel, uarg.pinned_uid, uarg.pinned_pages)
    sk.zc_put(uarg)
