"""`struct tcp_info` and what congestion controls add to it, as numbers by the names of <linux/tcp.h>, tcp(7).

Older kernels give a shorter structure: what they do not tell is missing. Times are in the kernel's units: microseconds
for rto, ato, rtt, rttvar, rcv_rtt, min_rtt, busy_time, rwnd_limited and sndbuf_limited, milliseconds for last_*.
"""

from __future__ import annotations

from struct import Struct

_BYTES = Struct("=8B")
_WORDS = (
    *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
    *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu", "rcv_ssthresh", "rtt", "rttvar"),
    *("snd_ssthresh", "snd_cwnd", "advmss", "reordering", "rcv_rtt", "rcv_space", "total_retrans"),
)
# (first offset, format of one, names): groups of equal fields behind one another
_GROUPS = (
    (8, "I", _WORDS),
    (104, "Q", ("pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received")),
    (136, "I", ("segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out")),
    (160, "Q", ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
    (192, "I", ("delivered", "delivered_ce")),
    (200, "Q", ("bytes_sent", "bytes_retrans")),
    (216, "I", ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd", "rcv_wnd", "rehash")),
    (240, "H", ("total_rto", "total_rto_recoveries")),
    (244, "I", ("total_rto_time",)),
)
_SIZES = {"H": 2, "I": 4, "Q": 8}
_FIELDS = tuple([(at + i * _SIZES[kind], Struct("=" + kind), name) for at, kind, names in _GROUPS for i, name in enumerate(names)])
PLACES = {name: (at, kind.size) for at, kind, name in _FIELDS}
"""Offset and size of each number."""
_WHOLE = Struct("=8B" + "".join([f"{len(names)}{kind}" for _at, kind, names in _GROUPS]))
_NAMES = tuple([name for _at, _kind, names in _GROUPS for name in names])
_BBR = Struct("=5I")
_DCTCP = Struct("=2H3I")


def parse_tcp_info(data: bytes) -> dict[str, int]:
    """Decode INET_DIAG_INFO of a TCP socket; empty if it is too short for any."""
    if len(data) < 8:
        return {}
    state, ca_state, retransmits, probes, backoff, options, scales, limited = _BYTES.unpack_from(data, 0)
    info = {
        "state": state,
        "ca_state": ca_state,
        "retransmits": retransmits,
        "probes": probes,
        "backoff": backoff,
        "options": options,
        "snd_wscale": scales & 15,
        "rcv_wscale": scales >> 4,
        "app_limited": limited & 1,
        "fastopen_client_fail": limited >> 1 & 3,
    }
    if len(data) >= _WHOLE.size:
        info.update(zip(_NAMES, _WHOLE.unpack_from(data, 0)[8:], strict=True))
        return info
    for offset, kind, name in _FIELDS:
        if offset + kind.size > len(data):
            break
        info[name] = kind.unpack_from(data, offset)[0]
    return info


def parse_bbr(data: bytes) -> dict[str, int]:
    """Decode INET_DIAG_BBRINFO: bandwidth in bytes a second, min_rtt in microseconds, gains in 1/256."""
    if len(data) < _BBR.size:
        return {}
    low, high, min_rtt, pacing_gain, cwnd_gain = _BBR.unpack_from(data, 0)
    return {"bw": high << 32 | low, "min_rtt": min_rtt, "pacing_gain": pacing_gain, "cwnd_gain": cwnd_gain}


def parse_dctcp(data: bytes) -> dict[str, int]:
    """Decode INET_DIAG_DCTCPINFO."""
    if len(data) < _DCTCP.size:
        return {}
    return dict(zip(("enabled", "ce_state", "alpha", "ab_ecn", "ab_tot"), _DCTCP.unpack_from(data, 0), strict=True))
