"""Network emulation: delay, loss, duplication, reordering, corruption, rate (Linux: net/sched/sch_netem.c, tc-netem(8)).

Probabilities are fractions of 2**32, as in Linux's interface; `percent` converts. Randomness comes from a generator of the
discipline's own, seeded by the host's, so that a packet more elsewhere does not change what happens here.
Left out (D-ip-6): slots, the four-state loss model, the inner discipline, ECN marking instead of loss."""

from __future__ import annotations

import heapq

from twinsock.kernel.kernel import Prng
from twinsock.kernel.net.core.dev import NET_XMIT_SUCCESS, NetDevice, Qdisc, qdisc_pkt_len
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb, skb_clone, skb_orphan
from twinsock.kernel.time.timer import NSEC_PER_SEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

DIST_UNIFORM: Final = 0
DIST_NORMAL: Final = 1
DIST_PARETO: Final = 2
DIST_PARETONORMAL: Final = 3

LOSS_RANDOM: Final = 0
LOSS_GILBERT_ELLIOTT: Final = 1

_ALL: Final = (1 << 32) - 1
_SCALE: Final = 8192  # of a distribution's standard deviation


def percent(value: float) -> int:
    """Turn percent into a probability of 32 bits."""
    return min(int(value / 100 * _ALL + 0.5), _ALL)


class Correlated:
    """`struct crndstate`: random numbers, each leaning on the one before by `rho`."""

    def __init__(self, rho: int = 0) -> None:
        self.rho = rho
        self.last = 0

    def draw(self, prng: Prng) -> int:
        """Return 32 bits."""
        value = prng.u32()
        if self.rho:
            value = (value * (_ALL - self.rho) + self.last * self.rho) >> 32
            self.last = value
        return value


class NetemQdisc(Qdisc):
    """One discipline; set its fields before or after it is attached, as `tc qdisc change` does."""

    kind = "netem"

    def __init__(self, dev: NetDevice, limit: int = 1000) -> None:
        super().__init__(dev)
        self.limit = limit  # packets
        self.latency_ns = 0
        self.jitter_ns = 0
        self.delay_cor = Correlated()
        self.distribution = DIST_UNIFORM
        self.loss = 0
        self.loss_cor = Correlated()
        self.loss_model = LOSS_RANDOM
        self.ge_p = 0  # good to bad
        self.ge_r = 0  # bad to good
        self.ge_h = _ALL  # loss in the bad state ("1-h" of tc)
        self.ge_k1 = 0  # loss in the good state ("1-k" of tc)
        self.ge_bad = False
        self.duplicate = 0
        self.dup_cor = Correlated()
        self.reorder = 0
        self.reorder_cor = Correlated()
        self.gap = 0
        self.counter = 0
        self.corrupt = 0
        self.corrupt_cor = Correlated()
        self.rate = 0  # bytes per second
        self.packet_overhead = 0
        self.prng = Prng(dev.net.kernel.prng.u64())
        self.last_tail_ns = 0  # when the last packet in the queue leaves
        self._heap: list[tuple[int, int, SkBuff]] = []  # (time to send, order, packet)
        self._order = 0
        self._early = 0

    def enqueue(self, skb: SkBuff) -> int:
        """Decide a packet's fate: how many copies go on, and when."""
        count = 1
        if self.duplicate and self.duplicate >= self.dup_cor.draw(self.prng):
            count += 1
        if self._loss_event():
            count -= 1
        if count == 0:
            self.drop(skb)
            return NET_XMIT_SUCCESS
        if (self.latency_ns or self.jitter_ns or self.rate) and skb.sk is not None:
            skb_orphan(skb)
        if count == 2:
            copy = skb_clone(skb)
            copy.comment = "netem: duplicate"
            saved = self.duplicate
            self.duplicate = 0
            self.enqueue(copy)
            self.duplicate = saved
        if self.corrupt and self.corrupt >= self.corrupt_cor.draw(self.prng):
            self._flip_bit(skb)
        if self.qlen >= self.limit:
            return self.drop(skb)
        self.qlen += 1
        self.backlog += qdisc_pkt_len(skb)
        self._schedule(skb)
        return NET_XMIT_SUCCESS

    def dequeue(self) -> SkBuff | None:
        """Give the next packet whose time has come."""
        heap = self._heap
        if not heap:
            return None
        when = heap[0][0]
        if when > self.dev.net.kernel.clock.now_ns:
            self.watch(when)
            return None
        skb = heapq.heappop(heap)[2]
        self.qlen -= 1
        self.backlog -= qdisc_pkt_len(skb)
        return skb

    def reset(self) -> None:
        """Throw everything away."""
        super().reset()
        for entry in self._heap:
            consume_skb(entry[2])
        self._heap = []
        self.qlen = 0
        self.backlog = 0

    def _schedule(self, skb: SkBuff) -> None:
        now = self.dev.net.kernel.clock.now_ns
        if self.gap == 0 or self.counter < self.gap - 1 or self.reorder < self.reorder_cor.draw(self.prng):
            delay = self._delay()
            start = now
            if self.rate:
                if self._heap:
                    delay = max(delay - (self.last_tail_ns - now), 0)
                    start = self.last_tail_ns
                delay += (qdisc_pkt_len(skb) + self.packet_overhead) * NSEC_PER_SEC // self.rate
            when = start + max(delay, 0)
            self.counter += 1
            self._order += 1
            self.last_tail_ns = max(self.last_tail_ns, when) if self._heap else when
            heapq.heappush(self._heap, (when, self._order, skb))
        else:
            # Sent at once, before everything that waits: this is what puts packets out of order.
            self.counter = 0
            skb.comment = "netem: ahead of its turn"
            self._early -= 1
            heapq.heappush(self._heap, (min(now, self._heap[0][0]) if self._heap else now, self._early, skb))

    def _delay(self) -> int:
        """Draw a delay around the latency, tabledist()."""
        sigma = self.jitter_ns
        if sigma == 0:
            return self.latency_ns
        value = self.delay_cor.draw(self.prng)
        if self.distribution == DIST_UNIFORM:
            return value % (2 * sigma) + self.latency_ns - sigma
        return self.latency_ns + sigma * self._sample(value) // _SCALE

    def _sample(self, value: int) -> int:
        """Return a deviate of mean 0 and deviation 1, times 8192, cut off at four deviations as tc's tables are."""
        kind = self.distribution
        deviate = 0.0
        if kind != DIST_PARETO:
            total = value >> 16
            for _ in range(11):
                total += self.prng.u32() >> 16
            deviate = total / 65536 - 6.0
        if kind != DIST_NORMAL:
            pareto = (((value + 1) / 4294967296.0) ** (-1.0 / 3.0) - 1.5) / 0.8660254
            deviate = pareto if kind == DIST_PARETO else 0.25 * deviate + 0.75 * pareto
        return int(min(max(deviate, -4.0), 4.0) * _SCALE)

    def _loss_event(self) -> bool:
        if self.loss_model == LOSS_RANDOM:
            return self.loss > 0 and self.loss >= self.loss_cor.draw(self.prng)
        if self.ge_bad:
            if self.prng.u32() < self.ge_r:
                self.ge_bad = False
            return self.prng.u32() < self.ge_h
        if self.prng.u32() < self.ge_p:
            self.ge_bad = True
        return self.prng.u32() < self.ge_k1

    def _flip_bit(self, skb: SkBuff) -> None:
        """Turn the packet into bytes and flip one bit behind the link header."""
        skb.linearize()
        data = bytearray(skb.data)
        if data:
            data[self.prng.below(len(data))] ^= 1 << self.prng.below(8)
        skb.data = bytes(data)
        skb.comment = "netem: corrupt"
