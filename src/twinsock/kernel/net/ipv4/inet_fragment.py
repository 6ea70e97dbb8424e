"""What reassembly of IPv4 and IPv6 shares: queues, memory limit, timers (Linux: net/ipv4/inet_fragment.c)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb, kfree_skb_reason
from twinsock.kernel.time.timer import NSEC_PER_SEC, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

INET_FRAG_FIRST_IN: Final = 2
INET_FRAG_LAST_IN: Final = 4
INET_FRAG_COMPLETE: Final = 8

FRAG_OK: Final = 0
FRAG_DUP: Final = 1
FRAG_OVERLAP: Final = 2


class Fragment:
    """One piece: its bytes, and where they belong."""

    def __init__(self, skb: SkBuff, start: int, end: int) -> None:
        self.skb = skb
        self.start = start
        self.end = end


class FragQueue(Timer):
    """`struct inet_frag_queue`: the pieces of one datagram, sorted and without overlap."""

    def __init__(self, fqdir: FqdirBase) -> None:
        super().__init__()
        self.fqdir = fqdir
        self.pieces: list[Fragment] = []
        self.len = 0  # of the datagram as far as known
        self.meat = 0  # bytes that are here
        self.flags = 0  # INET_FRAG_*
        self.mem = 0
        self.max_size = 0
        self.ecn = 0
        self.iif = 0

    def insert(self, piece: Fragment) -> int:
        """Put a piece in its place: FRAG_OK, FRAG_DUP when it is there already, FRAG_OVERLAP."""
        pieces = self.pieces
        i = len(pieces)
        while i > 0 and pieces[i - 1].start > piece.start:
            i -= 1
        if i > 0 and pieces[i - 1].end > piece.start:
            before = pieces[i - 1]
            return FRAG_DUP if piece.start >= before.start and piece.end <= before.end else FRAG_OVERLAP
        if i < len(pieces) and piece.end > pieces[i].start:
            after = pieces[i]
            return FRAG_DUP if piece.start >= after.start and piece.end <= after.end else FRAG_OVERLAP
        pieces.insert(i, piece)
        self.meat += piece.end - piece.start
        self.charge(piece.skb.truesize)
        if piece.start == 0:
            self.flags |= INET_FRAG_FIRST_IN
        return FRAG_OK

    def complete(self) -> bool:
        """Tell whether everything is here."""
        return self.flags & 6 == 6 and self.meat == self.len

    def join(self) -> bytes:
        """Put the pieces' bytes together."""
        return b"".join([piece.skb.payload() for piece in self.pieces])

    def charge(self, size: int) -> None:
        """Count memory."""
        self.mem += size
        self.fqdir.mem += size

    def kill(self) -> None:
        """Leave the table; the memory is given back."""
        if self.flags & INET_FRAG_COMPLETE:
            return
        self.flags |= INET_FRAG_COMPLETE
        self.fqdir.net.kernel.clock.del_timer(self)
        self.fqdir.remove(self)
        self.fqdir.mem -= self.mem
        self.mem = 0

    def discard(self, reason: str) -> None:
        """Drop the pieces; "" when the last one is to blame, and was dropped for it."""
        # Twin: D-ip-8: pieces of what was delivered are not reported
        for piece in self.pieces:
            if reason:
                kfree_skb_reason(piece.skb, reason)
            else:
                consume_skb(piece.skb)
        self.pieces = []

    def expire(self) -> None:
        """Give up: count, tell the sender, drop."""
        raise NotImplementedError

    def fire(self) -> None:
        """Give up when the time is over."""
        self.expire()


class FqdirBase:
    """`struct fqdir`: the datagrams being put together in one namespace; limits are sysctls."""

    def __init__(self, net: Net, timeout_s: int) -> None:
        self.net = net
        self.high_thresh = 4194304
        self.low_thresh = 3145728
        self.timeout = timeout_s * net.kernel.clock.hz  # ticks
        self.max_dist = 64
        self.mem = 0  # FRAG: memory of /proc/net/sockstat
        self.queues: list[FragQueue] = []

    def nqueues(self) -> int:
        """Return how many datagrams wait, "FRAG: inuse"."""
        return len(self.queues)

    def add(self, queue: FragQueue, struct_size: int) -> bool:
        """Start a datagram unless memory is over the limit; tell whether it was."""
        if not self.high_thresh or self.mem > self.high_thresh:
            return False
        self.queues.append(queue)
        queue.charge(struct_size)
        clock = self.net.kernel.clock
        clock.mod_timer_ns(queue, self.timeout * NSEC_PER_SEC // clock.hz)
        return True

    def remove(self, queue: FragQueue) -> None:
        """Take a datagram out of the table."""
        if queue in self.queues:
            self.queues.remove(queue)


def frag_drop(skb: SkBuff) -> None:
    """Drop a piece that cannot be used."""
    kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
