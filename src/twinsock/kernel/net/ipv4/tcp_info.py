"""TCP_INFO: the state of a connection in 280 bytes (Linux: tcp_get_info() of net/ipv4/tcp.c, struct tcp_info of `<linux/tcp.h>`)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.tcp_control import tcp_delack_max
from twinsock.kernel.net.ipv4.tcp_rto import tcp_min_rtt
from twinsock.kernel.net.ipv4.tcp_sock import M32, TCP_ECN_OK, TCP_ECN_SEEN, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import jiffies_to_usecs, tcp_jiffies32
from twinsock.uapi import tcp
from twinsock.uapi.tcp import (
    TCP_LISTEN,
    TCPI_OPT_ECN,
    TCPI_OPT_ECN_SEEN,
    TCPI_OPT_SACK,
    TCPI_OPT_SYN_DATA,
    TCPI_OPT_TFO_CHILD,
    TCPI_OPT_TIMESTAMPS,
    TCPI_OPT_WSCALE,
)
from twinsock.wire.tcp_info import TcpInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_U64: Final = 0xFFFFFFFFFFFFFFFF
_UNLIMITED: Final = (1 << 62) - 1


def tcp_chrono_stats(sk: TcpSock) -> tuple[int, int, int]:
    """Return the ticks that the connection was (busy, limited by the peer's window, limited by the send buffer)."""
    stats = sk.chrono_stat[:]
    if sk.chrono_type:
        stats[sk.chrono_type - 1] += tcp_jiffies32(sk) - sk.tcp_chrono_start
    return stats[0] + stats[1] + stats[2], stats[1], stats[2]


def tcp_compute_delivery_rate(sk: TcpSock) -> int:
    """Return the last delivery rate in bytes per second."""
    if sk.rate_delivered and sk.rate_interval_us:
        return sk.rate_delivered * sk.mss_cache * 1_000_000 // sk.rate_interval_us
    return 0


def _options(sk: TcpSock) -> int:
    rx = sk.rx_opt
    options = 0
    if rx.tstamp_ok:
        options |= TCPI_OPT_TIMESTAMPS
    if rx.sack_ok:
        options |= TCPI_OPT_SACK
    if rx.wscale_ok:
        options |= TCPI_OPT_WSCALE
    if sk.ecn_flags & TCP_ECN_OK:
        options |= TCPI_OPT_ECN
    if sk.ecn_flags & TCP_ECN_SEEN:
        options |= TCPI_OPT_ECN_SEEN
    if sk.syn_data_acked:
        options |= TCPI_OPT_SYN_DATA
    if sk.syn_fastopen_in:
        options |= TCPI_OPT_TFO_CHILD
    return options


def tcp_get_info(sk: TcpSock) -> TcpInfo:
    """Collect what TCP_INFO of tcp(7) tells."""
    info = TcpInfo()
    info.head[0] = sk.sk_state
    rates = info.rates
    rates[0] = _U64 if sk.sk_pacing_rate >= _UNLIMITED else sk.sk_pacing_rate
    rates[1] = _U64 if sk.sk_max_pacing_rate >= _UNLIMITED else sk.sk_max_pacing_rate
    words = info.words
    words[20] = sk.reordering
    words[18] = sk.snd_cwnd
    if sk.sk_state == TCP_LISTEN:
        words[4] = sk.sk_ack_backlog
        words[5] = sk.sk_max_ack_backlog
        return info
    rx = sk.rx_opt
    app_limited = 1 if sk.rate_app_limited else 0
    wscales = rx.snd_wscale | rx.rcv_wscale << 4 if rx.wscale_ok else 0
    flags = app_limited | sk.fastopen_client_fail << 1
    head = [sk.sk_state, sk.icsk_ca_state, sk.icsk_retransmits, sk.icsk_probes_out, sk.icsk_backoff, _options(sk), wscales, flags]
    info.head = head
    now = tcp_jiffies32(sk)
    tick_ms = 1000 // sk.sk_net.kernel.clock.hz
    words[0] = jiffies_to_usecs(sk, sk.icsk_rto)
    words[1] = jiffies_to_usecs(sk, min(sk.ack_ato, tcp_delack_max(sk)))
    words[2] = sk.mss_cache
    words[3] = sk.ack_rcv_mss
    words[4] = sk.packets_out
    words[5] = sk.sacked_out
    words[6] = sk.lost_out
    words[7] = sk.retrans_out
    words[9] = (now - sk.lsndtime) * tick_ms
    words[11] = (now - sk.ack_lrcvtime) * tick_ms
    words[12] = (now - sk.rcv_tstamp) * tick_ms
    words[13] = sk.icsk_pmtu_cookie
    words[14] = sk.rcv_ssthresh
    words[15] = sk.srtt_us >> 3
    words[16] = sk.mdev_us >> 2
    words[17] = sk.snd_ssthresh
    words[19] = sk.advmss
    words[21] = sk.rcv_rtt_us >> 3
    words[22] = sk.rcvq_space
    words[23] = sk.total_retrans
    rates[2] = sk.bytes_acked
    rates[3] = sk.bytes_received
    notsent = (sk.write_seq - sk.snd_nxt) & M32
    notsent = notsent if notsent <= 0x7FFFFFFF else 0
    info.segs = [sk.segs_out, sk.segs_in, notsent, tcp_min_rtt(sk), sk.data_segs_in, sk.data_segs_out]
    busy, rwnd, sndbuf = tcp_chrono_stats(sk)
    limits = [jiffies_to_usecs(sk, busy), jiffies_to_usecs(sk, rwnd), jiffies_to_usecs(sk, sndbuf)]
    info.times = [tcp_compute_delivery_rate(sk), *limits]
    info.delivered = [sk.delivered, sk.delivered_ce]
    info.sent = [sk.bytes_sent, sk.bytes_retrans]
    info.dups = [sk.dsack_dups, sk.reord_seen]
    info.windows = [sk.rcv_ooopack, sk.snd_wnd, sk.rcv_wnd, sk.timeout_rehash]
    info.rtos = [sk.total_rto, sk.total_rto_recoveries, sk.total_rto_time]
    return info


def tcp_get_timestamping_opt_stats(sk: TcpSock, ttl: int) -> bytes:
    """Return the attributes of SCM_TIMESTAMPING_OPT_STATS; `ttl` of the acknowledgement, -1: there is none."""
    info = tcp_get_info(sk)
    in_u64 = [*info.times[1:], sk.data_segs_out, sk.total_retrans, info.rates[0], info.times[0]]
    out = b"".join([_nla(kind, 8, value) for kind, value in enumerate(in_u64, tcp.TCP_NLA_BUSY)])
    out += _nla(tcp.TCP_NLA_SND_CWND, 4, sk.snd_cwnd) + _nla(tcp.TCP_NLA_REORDERING, 4, sk.reordering)
    out += _nla(tcp.TCP_NLA_MIN_RTT, 4, tcp_min_rtt(sk)) + _nla(tcp.TCP_NLA_RECUR_RETRANS, 1, sk.icsk_retransmits)
    out += _nla(tcp.TCP_NLA_DELIVERY_RATE_APP_LMT, 1, info.head[7] & 1) + _nla(tcp.TCP_NLA_SND_SSTHRESH, 4, sk.snd_ssthresh)
    out += _nla(tcp.TCP_NLA_DELIVERED, 4, sk.delivered) + _nla(tcp.TCP_NLA_DELIVERED_CE, 4, sk.delivered_ce)
    out += _nla(tcp.TCP_NLA_SNDQ_SIZE, 4, (sk.write_seq - sk.snd_una) & M32) + _nla(tcp.TCP_NLA_CA_STATE, 1, sk.icsk_ca_state)
    out += _nla(tcp.TCP_NLA_BYTES_SENT, 8, sk.bytes_sent) + _nla(tcp.TCP_NLA_BYTES_RETRANS, 8, sk.bytes_retrans)
    out += _nla(tcp.TCP_NLA_DSACK_DUPS, 4, sk.dsack_dups) + _nla(tcp.TCP_NLA_REORD_SEEN, 4, sk.reord_seen)
    out += _nla(tcp.TCP_NLA_SRTT, 4, sk.srtt_us >> 3) + _nla(tcp.TCP_NLA_TIMEOUT_REHASH, 2, sk.timeout_rehash)
    out += _nla(tcp.TCP_NLA_BYTES_NOTSENT, 4, info.segs[2]) + _nla(tcp.TCP_NLA_EDT, 8, sk.tcp_wstamp_ns)
    if ttl >= 0:
        out += _nla(tcp.TCP_NLA_TTL, 1, ttl)
    return out + _nla(tcp.TCP_NLA_REHASH, 4, sk.timeout_rehash)


def _nla(kind: int, size: int, value: int) -> bytes:
    return (4 + size).to_bytes(2, "little") + kind.to_bytes(2, "little") + value.to_bytes(size, "little") + bytes(-size & 3)
