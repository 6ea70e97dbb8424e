"""Round-trip estimation and the retransmission timeout (Linux: tcp_input.c, include/net/tcp.h; RFC 6298)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_TIME_LOSS_PROBE,
    ICSK_TIME_PROBE0,
    ICSK_TIME_REO_TIMEOUT,
    ICSK_TIME_RETRANS,
    inet_csk_clear_xmit_timer,
    inet_csk_reset_xmit_timer,
)
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpSock, after
from twinsock.kernel.net.ipv4.tcp_state import jiffies_to_usecs, tcp_jiffies32, usecs_to_jiffies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_TIMEOUT_INIT_S: Final = 1
TCP_TIMEOUT_FALLBACK_S: Final = 3
TCP_TIMEOUT_MIN_US: Final = 2000


def tcp_rto_min_us(sk: TcpSock) -> int:
    """Return the smallest variance part of the timeout, in microseconds."""
    return jiffies_to_usecs(sk, sk.icsk_rto_min)


def tcp_timeout_init(sk: TcpSock) -> int:
    """Return the first timeout of a connection, in ticks, RFC 6298 2.1."""
    return min(TCP_TIMEOUT_INIT_S * sk.sk_net.kernel.clock.hz, sk.icsk_rto_max)


def tcp_rtt_estimator(sk: TcpSock, mrtt_us: int) -> None:
    """Fold one measurement into the smoothed time and its deviation, RFC 6298 2 with Linux's asymmetric deviation."""
    m = mrtt_us
    srtt = sk.srtt_us
    if srtt != 0:
        m -= srtt >> 3
        srtt += m
        if m < 0:
            m = -m
            m -= sk.mdev_us >> 2
            if m > 0:  # a falling rtt must not inflate the deviation: gain 1/32 instead of 1/4
                m >>= 3
        else:
            m -= sk.mdev_us >> 2
        sk.mdev_us += m
        if sk.mdev_us > sk.mdev_max_us:
            sk.mdev_max_us = sk.mdev_us
            if sk.mdev_max_us > sk.rttvar_us:
                sk.rttvar_us = sk.mdev_max_us
        if after(sk.snd_una, sk.rtt_seq):
            if sk.mdev_max_us < sk.rttvar_us:
                sk.rttvar_us -= (sk.rttvar_us - sk.mdev_max_us) >> 2
            sk.rtt_seq = sk.snd_nxt
            sk.mdev_max_us = tcp_rto_min_us(sk)
    else:
        srtt = m << 3
        sk.mdev_us = m << 1
        sk.rttvar_us = max(sk.mdev_us, tcp_rto_min_us(sk))
        sk.mdev_max_us = sk.rttvar_us
        sk.rtt_seq = sk.snd_nxt
    sk.srtt_us = max(1, srtt)


def tcp_set_rto(sk: TcpSock) -> None:
    """Compute the timeout from the estimate."""
    sk.icsk_rto = min(usecs_to_jiffies(sk, (sk.srtt_us >> 3) + sk.rttvar_us), sk.icsk_rto_max)


def tcp_update_pacing_rate(sk: TcpSock) -> None:
    """Derive the pacing rate from window and round trip: it sizes TSO bursts even where nothing is paced."""
    rate = sk.mss_cache * (1_000_000 << 3)
    ipv4 = sk.sk_net.ipv4
    if sk.snd_cwnd < sk.snd_ssthresh >> 1:
        rate = rate * ipv4.sysctl_tcp_pacing_ss_ratio // 100
    else:
        rate = rate * ipv4.sysctl_tcp_pacing_ca_ratio // 100
    rate *= max(sk.snd_cwnd, sk.packets_out)
    if sk.srtt_us:
        rate //= sk.srtt_us
    sk.sk_pacing_rate = min(rate, sk.sk_max_pacing_rate)


def tcp_pacing_delay(sk: TcpSock) -> int:
    """Return the ticks until pacing lets the next segment go."""
    delta_ns = sk.tcp_wstamp_ns - sk.tcp_clock_cache
    jiffy = sk.sk_net.kernel.clock.jiffy_ns
    return (delta_ns + jiffy - 1) // jiffy if delta_ns > 0 else 0


def tcp_reset_xmit_timer(sk: TcpSock, what: int, when: int, pace_delay: bool) -> None:
    """Arm the retransmission timer."""
    if pace_delay:
        when += tcp_pacing_delay(sk)
    inet_csk_reset_xmit_timer(sk, what, when, sk.icsk_rto_max)


def tcp_rto_delta_us(sk: TcpSock) -> int:
    """Return the microseconds until the oldest segment's timeout."""
    skb = sk.tcp_rtx_queue.head
    rto_us = jiffies_to_usecs(sk, sk.icsk_rto)
    if skb is None:
        return rto_us
    return skb.skb_mstamp_us + rto_us - sk.tcp_mstamp


def tcp_rearm_rto(sk: TcpSock) -> None:
    """Restart the retransmission timer, RFC 6298 5; time already spent on a loss probe counts."""
    if sk.fastopen_rsk is not None:
        return
    if not sk.packets_out:
        inet_csk_clear_xmit_timer(sk)
        return
    rto = sk.icsk_rto
    if sk.icsk_pending == ICSK_TIME_REO_TIMEOUT or sk.icsk_pending == ICSK_TIME_LOSS_PROBE:
        rto = usecs_to_jiffies(sk, max(tcp_rto_delta_us(sk), 1))
    tcp_reset_xmit_timer(sk, ICSK_TIME_RETRANS, rto, True)


def tcp_min_rtt(sk: TcpSock) -> int:
    """Return the windowed minimum round trip, ~0 before the first sample."""
    return sk.rtt_min[0][1]


def tcp_update_rtt_min(sk: TcpSock, rtt_us: int, is_ack_delayed: bool) -> None:
    """Feed the windowed minimum (Kathleen Nichols' three-slot filter)."""
    if is_ack_delayed and rtt_us > tcp_min_rtt(sk):
        return
    win = sk.sk_net.ipv4.sysctl_tcp_min_rtt_wlen * sk.sk_net.kernel.clock.hz
    now = tcp_jiffies32(sk)
    sample = (now, rtt_us if rtt_us else jiffies_to_usecs(sk, 1))
    s = sk.rtt_min
    if sample[1] <= s[0][1] or now - s[2][0] > win:
        sk.rtt_min = [sample, sample, sample]
        return
    if sample[1] <= s[1][1]:
        s[1] = s[2] = sample
    elif sample[1] <= s[2][1]:
        s[2] = sample
    dt = now - s[0][0]
    if dt > win:
        s[0], s[1], s[2] = s[1], s[2], sample
        if now - s[0][0] > win:
            s[0], s[1], s[2] = s[1], s[2], sample
    elif s[1][0] == s[0][0] and dt > win // 4:
        s[1] = s[2] = sample
    elif s[2][0] == s[1][0] and dt > win // 2:
        s[2] = sample


def tcp_reset_rtt_min(sk: TcpSock) -> None:
    """Forget all round-trip minima."""
    now = tcp_jiffies32(sk)
    sk.rtt_min = [(now, M32), (now, M32), (now, M32)]


def tcp_rto_min_ticks(sk: TcpSock) -> int:
    """Return the smallest timeout in ticks."""
    return sk.icsk_rto_min


def tcp_schedule_loss_probe(sk: TcpSock, advancing_rto: bool) -> bool:
    """Arm the tail loss probe instead of the timeout where that helps, RFC 8985 7.2."""
    if sk.fastopen_rsk is not None:
        return False
    early_retrans = sk.sk_net.ipv4.sysctl_tcp_early_retrans
    if early_retrans != 3 and early_retrans != 4:
        return False
    if not sk.packets_out or not sk.rx_opt.sack_ok or sk.icsk_ca_state not in (0, 2):
        return False
    hz = sk.sk_net.kernel.clock.hz
    if sk.srtt_us:
        timeout_us = sk.srtt_us >> 2
        timeout_us += tcp_rto_min_us(sk) if sk.packets_out == 1 else TCP_TIMEOUT_MIN_US
        timeout = usecs_to_jiffies(sk, timeout_us)
    else:
        timeout = TCP_TIMEOUT_INIT_S * hz
    rto_delta_us = jiffies_to_usecs(sk, sk.icsk_rto) if advancing_rto else tcp_rto_delta_us(sk)
    if rto_delta_us > 0:
        timeout = min(timeout, usecs_to_jiffies(sk, rto_delta_us))
    tcp_reset_xmit_timer(sk, ICSK_TIME_LOSS_PROBE, timeout, True)
    return True


def tcp_probe0_base(sk: TcpSock) -> int:
    """Return the first zero-window probe interval, in ticks."""
    return max(sk.icsk_rto, sk.icsk_rto_min)


def tcp_probe0_when(sk: TcpSock, max_when: int) -> int:
    """Return the probe interval with backoff, RFC 9293 3.8.6.1."""
    when = tcp_probe0_base(sk) << min(sk.icsk_backoff, 20)
    return min(when, max_when)


def tcp_check_probe_timer(sk: TcpSock) -> None:
    """Arm the probe timer: data waits, nothing is in flight."""
    if not sk.packets_out and not sk.icsk_pending:
        tcp_reset_xmit_timer(sk, ICSK_TIME_PROBE0, tcp_probe0_base(sk), True)
