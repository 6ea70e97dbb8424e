"""The memory of UNIX messages: what each is charged, and what freeing it sets free (Linux: net/core/skbuff.c, net/unix/af_unix.c).

Measured: 6.18, SIOCOUTQ of a sender for every size around each step (tests/parity/test_unix_limits.py)."""

from __future__ import annotations

from twinsock.kernel.net.core.skbuff import SkbDestructor, SkBuff, kfree_skb
from twinsock.kernel.net.core.sock_mem import sock_wfree
from twinsock.kernel.net.unix.scm import scm_stat_del, unix_skb_free_fds
from twinsock.kernel.net.unix.unix_sock import UnixSkb, UnixSock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SKB_SIZE: Final = 256  # the header structure
_SHARED_INFO: Final = 320  # at the end of each linear part
_LINEAR_MIN: Final = 512
_PAGE: Final = 4096


class _UnixDestruct(SkbDestructor):
    def destruct(self, skb: SkBuff) -> None:
        """Drop the descriptors, then give the sender its memory back (unix_destruct_scm)."""
        if isinstance(skb, UnixSkb) and isinstance(skb.sk, UnixSock):
            unix_skb_free_fds(skb.sk.state, skb)
        sock_wfree.destruct(skb)


_UNIX_DESTRUCT: Final[SkbDestructor] = _UnixDestruct()


def unix_truesize(linear: int, paged: int) -> int:
    """Return what a message of `linear` bytes and `paged` bytes in pages is charged."""
    size = _LINEAR_MIN
    while size < linear + _SHARED_INFO:
        size <<= 1
    return _SKB_SIZE + size + ((paged + _PAGE - 1) & -_PAGE)


def unix_alloc_skb(sk: UnixSock, data: bytes, offset: int, length: int, paged: int) -> UnixSkb:
    """Make a message out of a part of `data` and charge it to the sender."""
    skb = UnixSkb(data, offset, length)
    skb.truesize = unix_truesize(length - paged, paged)
    skb.sk = sk
    skb.destructor = _UNIX_DESTRUCT
    sk.sk_wmem_alloc += skb.truesize
    return skb


def unix_purge_queue(sk: UnixSock) -> None:
    """Throw away every message that waits at a socket."""
    while sk.receive_queue:
        skb = sk.receive_queue.popleft()
        scm_stat_del(sk, skb)
        kfree_skb(skb)
