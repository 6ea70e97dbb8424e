"""Congestion control: the pluggable interface and Reno (Linux: net/ipv4/tcp_cong.c; RFC 5681, RFC 6582).

Each socket owns one object of a subclass of TcpCongestionOps; the object holds what Linux keeps in icsk_ca_priv."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.tcp_sock import (
    TCP_CA_CWR,
    TCP_CA_RECOVERY,
    TCP_ECN_DEMAND_CWR,
    TCP_ECN_OK,
    TCP_ECN_QUEUE_CWR,
    TcpSkb,
    TcpSock,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import tcp_packets_in_flight
from twinsock.wire.tcp import TCPHDR_CWR, TCPHDR_ECE, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

INET_ECN_ECT_0: Final = 2
INET_ECN_MASK: Final = 3

# cwnd_event
CA_EVENT_TX_START: Final = 0
CA_EVENT_CWND_RESTART: Final = 1
CA_EVENT_COMPLETE_CWR: Final = 2
CA_EVENT_LOSS: Final = 3
CA_EVENT_ECN_NO_CE: Final = 4
CA_EVENT_ECN_IS_CE: Final = 5


class TcpCongestionOps:
    """`struct tcp_congestion_ops` for one socket; the defaults are Reno's."""

    name = "reno"
    needs_ecn = False
    sndbuf_factor = 2

    def init(self, sk: TcpSock) -> None:
        """Start controlling `sk`."""

    def release(self, sk: TcpSock) -> None:
        """Stop controlling `sk`."""

    def ssthresh(self, sk: TcpSock) -> int:
        """Return the slow start threshold after a loss, in segments."""
        return max(sk.snd_cwnd >> 1, 2)

    def cong_avoid(self, sk: TcpSock, ack: int, acked: int) -> None:
        """Grow the window for `acked` newly acknowledged segments."""
        if not tcp_is_cwnd_limited(sk):
            return
        if tcp_in_slow_start(sk):
            acked = tcp_slow_start(sk, acked)
            if not acked:
                return
        tcp_cong_avoid_ai(sk, sk.snd_cwnd, acked)

    def set_state(self, sk: TcpSock, new_state: int) -> None:
        """React to a change of icsk_ca_state."""

    def cwnd_event(self, sk: TcpSock, event: int) -> None:
        """React to CA_EVENT_*."""

    def undo_cwnd(self, sk: TcpSock) -> int:
        """Return the window after a reduction that proved spurious."""
        return max(sk.snd_cwnd, sk.prior_cwnd)

    def pkts_acked(self, sk: TcpSock, pkts_acked: int, rtt_us: int, in_flight: int) -> None:
        """Learn of acknowledged segments and the round trip time (-1: none)."""

    def get_info(self, sk: TcpSock) -> tuple[int, bytes]:
        """Return the INET_DIAG attribute (0: none) and its bytes."""
        return 0, b""


def tcp_in_slow_start(sk: TcpSock) -> bool:
    """Tell whether the window grows exponentially."""
    return sk.snd_cwnd < sk.snd_ssthresh


def tcp_is_cwnd_limited(sk: TcpSock) -> bool:
    """Tell whether the congestion window is what holds the sender back (RFC 7661's question, Linux's rule)."""
    if sk.is_cwnd_limited:
        return True
    if tcp_in_slow_start(sk):
        return sk.snd_cwnd < 2 * sk.max_packets_out
    return False


def tcp_slow_start(sk: TcpSock, acked: int) -> int:
    """Grow by one segment for each acknowledged one up to the threshold; return what is left of `acked`."""
    cwnd = min(sk.snd_cwnd + acked, sk.snd_ssthresh)
    acked -= cwnd - sk.snd_cwnd
    sk.snd_cwnd = min(cwnd, sk.snd_cwnd_clamp)
    return acked


def tcp_cong_avoid_ai(sk: TcpSock, w: int, acked: int) -> None:
    """Grow by one segment for every `w` acknowledged ones."""
    if sk.snd_cwnd_cnt >= w:
        sk.snd_cwnd_cnt = 0
        sk.snd_cwnd += 1
    sk.snd_cwnd_cnt += acked
    if sk.snd_cwnd_cnt >= w:
        delta = sk.snd_cwnd_cnt // w
        sk.snd_cwnd_cnt -= delta * w
        sk.snd_cwnd += delta
    sk.snd_cwnd = min(sk.snd_cwnd, sk.snd_cwnd_clamp)


def ca_ops(sk: TcpSock) -> TcpCongestionOps:
    """Return the socket's congestion control."""
    ca = sk.ca
    assert ca is not None
    return ca


def tcp_ca_event(sk: TcpSock, event: int) -> None:
    """Pass an event to the congestion control."""
    ca = sk.ca
    if ca is not None:
        ca.cwnd_event(sk, event)


def tcp_set_ca_state(sk: TcpSock, ca_state: int) -> None:
    """Change icsk_ca_state; the congestion control hears first."""
    ca_ops(sk).set_state(sk, ca_state)
    sk.icsk_ca_state = ca_state


def tcp_in_cwnd_reduction(sk: TcpSock) -> bool:
    """Tell whether proportional rate reduction runs."""
    return sk.icsk_ca_state == TCP_CA_CWR or sk.icsk_ca_state == TCP_CA_RECOVERY


def tcp_current_ssthresh(sk: TcpSock) -> int:
    """Return the threshold, or three quarters of the window where that is more."""
    if tcp_in_cwnd_reduction(sk):
        return sk.snd_ssthresh
    return max(sk.snd_ssthresh, (sk.snd_cwnd >> 1) + (sk.snd_cwnd >> 2))


def tcp_init_cwnd_reduction(sk: TcpSock) -> None:
    """Begin proportional rate reduction, RFC 6937 3."""
    sk.high_seq = sk.snd_nxt
    sk.tlp_high_seq = 0
    sk.snd_cwnd_cnt = 0
    sk.prior_cwnd = sk.snd_cwnd
    sk.prr_delivered = 0
    sk.prr_out = 0
    sk.snd_ssthresh = ca_ops(sk).ssthresh(sk)
    tcp_ecn_queue_cwr(sk)


def tcp_cwnd_reduction(sk: TcpSock, newly_acked_sacked: int, newly_lost: int, fast_rexmit: bool) -> None:
    """Set the window so that it falls to ssthresh in proportion to what is delivered, RFC 6937 3.1 with PRR-SSRB."""
    if newly_acked_sacked <= 0 or not sk.prior_cwnd:
        return
    in_flight = tcp_packets_in_flight(sk)
    delta = sk.snd_ssthresh - in_flight
    sk.prr_delivered += newly_acked_sacked
    if delta < 0:
        dividend = sk.snd_ssthresh * sk.prr_delivered + sk.prior_cwnd - 1
        sndcnt = dividend // sk.prior_cwnd - sk.prr_out
    else:
        sndcnt = max(sk.prr_delivered - sk.prr_out, newly_acked_sacked)
        if fast_rexmit and not newly_lost:
            sndcnt += 1
        sndcnt = min(delta, sndcnt)
    sndcnt = max(sndcnt, 0 if sk.prr_out else 1)
    sk.snd_cwnd = in_flight + sndcnt


def tcp_end_cwnd_reduction(sk: TcpSock) -> None:
    """Finish the reduction at ssthresh."""
    if sk.snd_ssthresh < 0x7FFFFFFF and (sk.icsk_ca_state == TCP_CA_CWR or sk.undo_marker):
        sk.snd_cwnd = sk.snd_ssthresh
        sk.snd_cwnd_stamp = sk.sk_net.kernel.clock.jiffies()
    tcp_ca_event(sk, CA_EVENT_COMPLETE_CWR)


def tcp_enter_cwr(sk: TcpSock) -> None:
    """Reduce the window for ECN or local congestion."""
    sk.prior_ssthresh = 0
    if sk.icsk_ca_state < TCP_CA_CWR:
        sk.undo_marker = 0
        tcp_init_cwnd_reduction(sk)
        tcp_set_ca_state(sk, TCP_CA_CWR)


def tcp_ecn_queue_cwr(sk: TcpSock) -> None:
    """Tell the peer with the next new data that the window was reduced, RFC 3168 6.1.2."""
    if sk.ecn_flags & 1:
        sk.ecn_flags |= 2


def tcp_ecn_send(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    """Set ECT, CWR and ECE, RFC 3168 6.1."""
    if not sk.ecn_flags & TCP_ECN_OK:
        return
    if skb.len and not before(skb.seq, sk.snd_nxt):
        _set_ecn(sk, INET_ECN_ECT_0)
        if sk.ecn_flags & TCP_ECN_QUEUE_CWR:
            sk.ecn_flags &= ~TCP_ECN_QUEUE_CWR
            th.flags |= TCPHDR_CWR
    else:
        _set_ecn(sk, 0)
    if sk.ecn_flags & TCP_ECN_DEMAND_CWR:
        th.flags |= TCPHDR_ECE


def _set_ecn(sk: TcpSock, bits: int) -> None:
    """Set the ECN bits of the packets to come, INET_ECN_xmit() and INET_ECN_dontxmit()."""
    sk.tos = (sk.tos & ~INET_ECN_MASK) | bits
    if sk.pinet6 is not None:
        sk.pinet6.tclass = (sk.pinet6.tclass & ~INET_ECN_MASK) | bits
