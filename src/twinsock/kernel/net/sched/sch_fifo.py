"""First in, first out, with a limit (Linux: net/sched/sch_fifo.c, tc-pfifo(8), tc-bfifo(8)).

A device sends at once, so a fifo fills only behind another discipline or while its device is stopped."""

from collections import deque

from twinsock.kernel.net.core.dev import NET_XMIT_SUCCESS, NetDevice, Qdisc, qdisc_pkt_len
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb


class PfifoQdisc(Qdisc):
    """`pfifo limit PACKETS`."""

    kind = "pfifo"

    def __init__(self, dev: NetDevice, limit: int = -1) -> None:
        super().__init__(dev)
        self.limit = dev.tx_queue_len if limit < 0 else limit
        self.queue: deque[SkBuff] = deque()

    def full(self, skb: SkBuff) -> bool:
        """Tell whether there is no room."""
        return self.qlen >= self.limit

    def enqueue(self, skb: SkBuff) -> int:
        """Take a packet, or drop it."""
        if self.full(skb):
            return self.drop(skb)
        self.queue.append(skb)
        self.qlen += 1
        self.backlog += qdisc_pkt_len(skb)
        return NET_XMIT_SUCCESS

    def peek(self) -> SkBuff | None:
        """Look at the next packet."""
        return self.queue[0] if self.queue else None

    def dequeue(self) -> SkBuff | None:
        """Give the next packet."""
        if not self.queue:
            return None
        skb = self.queue.popleft()
        self.qlen -= 1
        self.backlog -= qdisc_pkt_len(skb)
        return skb

    def reset(self) -> None:
        """Throw everything away."""
        super().reset()
        while self.queue:
            consume_skb(self.queue.popleft())
        self.qlen = 0
        self.backlog = 0


class BfifoQdisc(PfifoQdisc):
    """`bfifo limit BYTES`."""

    kind = "bfifo"

    def full(self, skb: SkBuff) -> bool:
        """Tell whether there is no room."""
        return self.backlog + qdisc_pkt_len(skb) > self.limit
