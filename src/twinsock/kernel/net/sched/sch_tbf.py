"""Token bucket filter: a rate with bursts (Linux: net/sched/sch_tbf.c, tc-tbf(8)). Left out: peakrate."""

from twinsock.kernel.net.core.dev import NetDevice, qdisc_pkt_len
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.sched.sch_fifo import BfifoQdisc
from twinsock.kernel.time.timer import NSEC_PER_SEC


class TbfQdisc(BfifoQdisc):
    """`tbf rate BYTES_PER_SECOND burst BYTES limit BYTES`. Tokens are counted in nanoseconds of sending."""

    kind = "tbf"

    def __init__(self, dev: NetDevice, rate: int, burst: int, limit: int) -> None:
        super().__init__(dev, limit)
        self.rate = rate  # bytes per second
        self.burst = burst
        self.buffer_ns = burst * NSEC_PER_SEC // rate
        self.tokens_ns = self.buffer_ns
        self.stamp_ns = dev.net.kernel.clock.now_ns

    def enqueue(self, skb: SkBuff) -> int:
        """Take a packet; one that can never pass the bucket is dropped."""
        if qdisc_pkt_len(skb) > self.burst:
            return self.drop(skb)
        return super().enqueue(skb)

    def dequeue(self) -> SkBuff | None:
        """Give the next packet when there are tokens for it."""
        skb = self.peek()
        if skb is None:
            return None
        now = self.dev.net.kernel.clock.now_ns
        cost = qdisc_pkt_len(skb) * NSEC_PER_SEC // self.rate
        tokens = min(self.tokens_ns + now - self.stamp_ns, self.buffer_ns) - cost
        if tokens < 0:
            self.overlimits += 1
            self.watch(now - tokens)
            return None
        self.tokens_ns = tokens
        self.stamp_ns = now
        return super().dequeue()
