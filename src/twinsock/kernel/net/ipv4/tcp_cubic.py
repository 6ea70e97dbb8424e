"""CUBIC with HyStart (Linux: net/ipv4/tcp_cubic.c; RFC 9438, Ha and Rhee, "Hybrid Slow Start for High-Bandwidth and
Long-Distance Networks"). Time is in units of 1/1024 s, C is 410/1024 of a segment per cubed second, beta is 717/1024."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.tcp_cong import (
    CA_EVENT_TX_START,
    TcpCongestionOps,
    tcp_cong_avoid_ai,
    tcp_in_slow_start,
    tcp_is_cwnd_limited,
    tcp_slow_start,
)
from twinsock.kernel.net.ipv4.tcp_sock import M32, TCP_CA_LOSS, TcpSock, after
from twinsock.kernel.net.ipv4.tcp_state import tcp_jiffies32, usecs_to_jiffies
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPHYSTARTDELAYCWND,
    LINUX_MIB_TCPHYSTARTDELAYDETECT,
    LINUX_MIB_TCPHYSTARTTRAINCWND,
    LINUX_MIB_TCPHYSTARTTRAINDETECT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BETA: Final = 717
BETA_SCALE: Final = 1024
CUBE_RTT_SCALE: Final = 410
CUBE_FACTOR: Final = (1 << 40) // 410
FRIENDLY_SCALE: Final = 15  # 8 * (1 + beta) / (3 * (1 - beta))
HYSTART_MIN_SAMPLES: Final = 8
HYSTART_LOW_WINDOW: Final = 16
HYSTART_ACK_DELTA_US: Final = 2000
HYSTART_DELAY_MIN_US: Final = 4000
HYSTART_DELAY_MAX_US: Final = 16000
HYSTART_ACK_TRAIN: Final = 1
HYSTART_DELAY: Final = 2


def cubic_root(a: int) -> int:
    """Return the integer cube root."""
    if a < 1:
        return 0
    x = 1 << ((a.bit_length() + 2) // 3)
    while True:
        y = (2 * x + a // (x * x)) // 3
        if y >= x:
            return x
        x = y


class TcpCubic(TcpCongestionOps):
    """`struct bictcp`."""

    name = "cubic"

    def __init__(self) -> None:
        self.hystart = True
        self.hystart_detect = HYSTART_ACK_TRAIN | HYSTART_DELAY
        self._reset()
        self.round_start = 0
        self.end_seq = 0
        self.last_ack = 0
        self.curr_rtt = M32
        self.sample_cnt = 0

    def _reset(self) -> None:
        self.cnt = 0
        self.last_max_cwnd = 0
        self.last_cwnd = 0
        self.last_time = 0
        self.origin_point = 0
        self.k = 0
        self.delay_min = 0
        self.epoch_start = 0
        self.ack_cnt = 0
        self.tcp_cwnd = 0
        self.found = False

    def _hystart_reset(self, sk: TcpSock) -> None:
        self.round_start = self.last_ack = sk.tcp_mstamp
        self.end_seq = sk.snd_nxt
        self.curr_rtt = M32
        self.sample_cnt = 0

    def init(self, sk: TcpSock) -> None:
        """Start controlling `sk`."""
        self._reset()
        self.hystart_detect = sk.sk_net.kernel.cubic_hystart_detect
        if self.hystart:
            self._hystart_reset(sk)

    def cwnd_event(self, sk: TcpSock, event: int) -> None:
        """After idling, shift the curve so that the idle time does not count."""
        if event == CA_EVENT_TX_START:
            now = tcp_jiffies32(sk)
            delta = now - sk.lsndtime
            if self.epoch_start and delta > 0:
                self.epoch_start = min(self.epoch_start + delta, now)

    def ssthresh(self, sk: TcpSock) -> int:
        """Return the threshold after a loss; fast convergence gives way to new flows, RFC 9438 4.7."""
        self.epoch_start = 0
        cwnd = sk.snd_cwnd
        if cwnd < self.last_max_cwnd:
            self.last_max_cwnd = cwnd * (BETA_SCALE + BETA) // (2 * BETA_SCALE)
        else:
            self.last_max_cwnd = cwnd
        return max(cwnd * BETA // BETA_SCALE, 2)

    def set_state(self, sk: TcpSock, new_state: int) -> None:
        """A timeout forgets the curve."""
        if new_state == TCP_CA_LOSS:
            self._reset()
            self._hystart_reset(sk)

    def cong_avoid(self, sk: TcpSock, ack: int, acked: int) -> None:
        """Grow the window."""
        if not tcp_is_cwnd_limited(sk):
            return
        if tcp_in_slow_start(sk):
            acked = tcp_slow_start(sk, acked)
            if not acked:
                return
        self._update(sk, sk.snd_cwnd, acked)
        tcp_cong_avoid_ai(sk, self.cnt, acked)

    def _update(self, sk: TcpSock, cwnd: int, acked: int) -> None:
        """Compute how many acknowledged segments grow the window by one, RFC 9438 4.2 to 4.5."""
        self.ack_cnt += acked
        now = tcp_jiffies32(sk)
        hz = sk.sk_net.kernel.clock.hz
        if self.last_cwnd == cwnd and now - self.last_time <= hz // 32:
            return
        if not (self.epoch_start and now == self.last_time):
            self.last_cwnd = cwnd
            self.last_time = now
            self._aim(sk, cwnd, acked, now, hz)
        delta = (cwnd * FRIENDLY_SCALE) >> 3
        while self.ack_cnt > delta:
            self.ack_cnt -= delta
            self.tcp_cwnd += 1
        if self.tcp_cwnd > cwnd:
            self.cnt = min(self.cnt, cwnd // (self.tcp_cwnd - cwnd))
        self.cnt = max(self.cnt, 2)

    def _aim(self, sk: TcpSock, cwnd: int, acked: int, now: int, hz: int) -> None:
        if self.epoch_start == 0:
            self.epoch_start = now
            self.ack_cnt = acked
            self.tcp_cwnd = cwnd
            if self.last_max_cwnd <= cwnd:
                self.k = 0
                self.origin_point = cwnd
            else:
                self.k = cubic_root(CUBE_FACTOR * (self.last_max_cwnd - cwnd))
                self.origin_point = self.last_max_cwnd
        t = ((now - self.epoch_start + usecs_to_jiffies(sk, self.delay_min)) << 10) // hz
        offs = min(abs(t - self.k), 1 << 17)
        delta = (CUBE_RTT_SCALE * offs * offs * offs) >> 40
        target = self.origin_point - delta if t < self.k else self.origin_point + delta
        self.cnt = cwnd // (target - cwnd) if target > cwnd else 100 * cwnd
        if self.last_max_cwnd == 0 and self.cnt > 20:
            self.cnt = 20

    def pkts_acked(self, sk: TcpSock, pkts_acked: int, rtt_us: int, in_flight: int) -> None:
        """Track the minimum delay; look for the end of slow start."""
        if rtt_us < 0:
            return
        now = tcp_jiffies32(sk)
        if self.epoch_start and now - self.epoch_start < sk.sk_net.kernel.clock.hz:
            return
        delay = rtt_us or 1
        if self.delay_min == 0 or self.delay_min > delay:
            self.delay_min = delay
        if not self.found and tcp_in_slow_start(sk) and self.hystart:
            self._hystart_update(sk, delay)

    def _hystart_update(self, sk: TcpSock, delay: int) -> None:
        if after(sk.snd_una, self.end_seq):
            self._hystart_reset(sk)
        if sk.snd_cwnd < HYSTART_LOW_WINDOW:
            return
        stats = sk.sk_net.net_statistics
        if self.hystart_detect & HYSTART_ACK_TRAIN:
            now = sk.tcp_mstamp
            if now - self.last_ack <= HYSTART_ACK_DELTA_US:
                self.last_ack = now
                threshold = self.delay_min + _ack_delay(sk)
                if not sk.pacing_status:
                    threshold >>= 1
                if now - self.round_start > threshold:
                    self.found = True
                    stats[LINUX_MIB_TCPHYSTARTTRAINDETECT] += 1
                    stats[LINUX_MIB_TCPHYSTARTTRAINCWND] += sk.snd_cwnd
                    sk.snd_ssthresh = sk.snd_cwnd
        if self.hystart_detect & HYSTART_DELAY:
            if self.curr_rtt > delay:
                self.curr_rtt = delay
            if self.sample_cnt < HYSTART_MIN_SAMPLES:
                self.sample_cnt += 1
            elif self.curr_rtt > self.delay_min + min(max(self.delay_min >> 3, HYSTART_DELAY_MIN_US), HYSTART_DELAY_MAX_US):
                self.found = True
                stats[LINUX_MIB_TCPHYSTARTDELAYDETECT] += 1
                stats[LINUX_MIB_TCPHYSTARTDELAYCWND] += sk.snd_cwnd
                sk.snd_ssthresh = sk.snd_cwnd


def _ack_delay(sk: TcpSock) -> int:
    """Return how long aggregation on the way may hold acknowledgements together."""
    rate = sk.sk_pacing_rate
    return min(1000, sk.sk_gso_max_size * 4 * 1_000_000 // rate) if rate else 0
