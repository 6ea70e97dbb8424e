"""What `ss -e -m -i -o` and their kin write behind the addresses of an internet socket."""

from __future__ import annotations

from struct import Struct
from sys import byteorder

from twinsock.uapi.inet_diag import (
    INET_DIAG_BBRINFO,
    INET_DIAG_CGROUP_ID,
    INET_DIAG_CLASS_ID,
    INET_DIAG_CONG,
    INET_DIAG_DCTCPINFO,
    INET_DIAG_INFO,
    INET_DIAG_MARK,
    INET_DIAG_MEMINFO,
    INET_DIAG_SHUTDOWN,
    INET_DIAG_SKMEMINFO,
    INET_DIAG_SKV6ONLY,
    INET_DIAG_SOCKOPT,
    INET_DIAG_TCLASS,
    INET_DIAG_TOS,
    INET_DIAG_ULP_INFO,
    INET_DIAG_VEGASINFO,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.stream import InetSocket
    from twinsock.ui.ss_run import View

_TIMERS = ("off", "on", "keepalive", "timewait", "persist")
_SKMEM = Struct("=9I")
SKMEM_NAMES = ("r", "rb", "t", "tb", "f", "w", "o", "bl", "d")
_MEM = Struct("=4I")
_U32 = Struct("=I")
_U64 = Struct("=Q")
_ULP_NAME, _ULP_MPTCP = 1, 3
_IPPROTO_TCP, _IPPROTO_UDP = 6, 17
# Bits of INET_DIAG_SOCKOPT in the order in which ss(8) names them.
_SOCKOPTS = (
    *((0, "recverr"), (1, "is_icsk"), (2, "freebind"), (3, "hdrincl"), (4, "mc_loop"), (5, "transparent"), (6, "mc_all")),
    *((7, "nodefrag"), (8, "bind_addr_no_port"), (9, "recverr_rfc4884"), (10, "defer_connect")),
)
_TCPI_OPTIONS = ((0, "ts"), (1, "sack"), (3, "ecn"), (4, "ecnseen"), (5, "fastopen"))
_SIZES = (("mss", "snd_mss"), ("pmtu", "pmtu"), ("rcvmss", "rcv_mss"), ("advmss", "advmss"), ("cwnd", "snd_cwnd"))
_COUNTS = (*("bytes_sent", "bytes_retrans", "bytes_acked", "bytes_received", "segs_out", "segs_in", "data_segs_out", "data_segs_in"),)
_LISTEN = 10
_FAR_SSTHRESH = 0xFFFF
_NO_RATE = (1 << 64) - 1
_NO_RTT = (1 << 32) - 1
_RTO_UNSET_US = 3_000_000
_REORDERING = 3


def extensions(view: View) -> int:
    """Give the bits of the attributes that have to be asked for."""
    options = view.options
    ext = 0
    if options.has("memory"):
        ext |= 1 << INET_DIAG_MEMINFO - 1 | 1 << INET_DIAG_SKMEMINFO - 1
    if options.has("info"):
        ext |= 1 << INET_DIAG_INFO - 1 | 1 << INET_DIAG_VEGASINFO - 1 | 1 << INET_DIAG_CONG - 1
    if options.has("tos"):
        ext |= 1 << INET_DIAG_TOS - 1 | 1 << INET_DIAG_TCLASS - 1
    return ext


def inet_extra(view: View, sock: InetSocket) -> str:
    """Write everything that was asked for."""
    options = view.options
    attributes = sock.attributes
    text = ""
    if options.has("options", "extended") and sock.timer:
        name = _TIMERS[sock.timer] if sock.timer < len(_TIMERS) else "unknown"
        text += f" timer:({name},{duration(sock.expires_ms)},{sock.retransmits})"
    cgroup = ""
    if options.has("extended", "cgroup") and INET_DIAG_CGROUP_ID in attributes:
        cgroup = " cgroup:" + view.cgroup(_U64.unpack(attributes[INET_DIAG_CGROUP_ID])[0])
    if options.has("extended"):
        text += _details(sock, cgroup)
    if options.has("tos"):
        text += _tos(attributes)
    if options.has("cgroup"):
        text += cgroup
    text += view.our_extra(sock.inode, sock.cookie)
    one_line = options.has("oneline")
    if options.has("inet-sockopt") and INET_DIAG_SOCKOPT in attributes:
        bits = int.from_bytes(attributes.get(INET_DIAG_SOCKOPT, b"")[:2], "little")
        names = "".join([" " + name for bit, name in _SOCKOPTS if bits >> bit & 1])
        text += (" " if one_line else "\n\t") + f"inet-sockopt: ({names})"
    if options.has("memory") or (options.has("info") and sock.protocol != _IPPROTO_UDP):
        text += "" if one_line else "\n\t"
        if options.has("memory"):
            text += _memory(attributes)
        if options.has("info") and INET_DIAG_INFO in attributes and sock.protocol == _IPPROTO_TCP:
            text += _tcp_info(view, attributes)
    return text


def duration(ms: int) -> str:
    """Write a timer's rest as ss(8) does: 119min, 1min59sec, 12sec, 1.234ms, 924ms."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    text = ""
    if minutes:
        ms = 0
        text = f"{minutes}min"
        if minutes > 9:
            seconds = 0
    if seconds:
        if seconds > 9:
            ms = 0
        text += f"{seconds}{'.' if ms else 'sec'}"
    if ms:
        text += f"{ms:03}ms"
    return text or "0ms"


def arrows(shutdown: int) -> str:
    """Draw which directions are open: `<->`, `<--` after SHUT_WR, `-->` after SHUT_RD."""
    return ("-" if shutdown & 1 else "<") + "-" + ("-" if shutdown & 2 else ">")


def skmem(data: bytes) -> str:
    """Write SK_MEMINFO_*."""
    return "skmem:({})".format(",".join([f"{name}{word}" for name, word in zip(SKMEM_NAMES, _SKMEM.unpack_from(data, 0), strict=True)]))


def _details(sock: InetSocket, cgroup: str) -> str:
    """Write who made the socket and what it is."""
    text = f" uid:{sock.uid}" if sock.uid else ""
    text += f" ino:{sock.inode} sk:{sock.cookie:x}"
    mark = sock.attributes.get(INET_DIAG_MARK, b"")
    if len(mark) >= 4 and any(mark):
        text += f" fwmark:0x{_U32.unpack_from(mark)[0]:x}"
    text += cgroup
    if INET_DIAG_SKV6ONLY in sock.attributes:
        text += f" v6only:{sock.attributes[INET_DIAG_SKV6ONLY][0]}"
    if INET_DIAG_SHUTDOWN in sock.attributes:
        text += " " + arrows(sock.attributes[INET_DIAG_SHUTDOWN][0])
    return text


def _tos(attributes: dict[int, bytes]) -> str:
    text = ""
    for number, name in ((INET_DIAG_TOS, "tos"), (INET_DIAG_TCLASS, "tclass")):
        if number in attributes:
            text += f" {name}:{_c_hex(attributes[number][0])}"
    if INET_DIAG_CLASS_ID in attributes:
        text += f" class_id:{_c_hex(_U32.unpack_from(attributes[INET_DIAG_CLASS_ID])[0])}"
    return text


def _c_hex(value: int) -> str:
    return hex(value) if value else "0"


def _memory(attributes: dict[int, bytes]) -> str:
    data = attributes.get(INET_DIAG_SKMEMINFO, b"")
    if len(data) >= _SKMEM.size:
        return " " + skmem(data)
    data = attributes.get(INET_DIAG_MEMINFO, b"")
    if len(data) < _MEM.size:
        return ""
    received, queued, forward, sent = _MEM.unpack_from(data)
    return f" mem:(r{received},w{queued},f{forward},t{sent})"


def _ms(us: int) -> str:
    """Write microseconds as milliseconds with six digits."""
    return f"{us / 1000:g}"


def _rate(view: View, bits: float) -> str:
    """Write a rate: in full with -n, else with three digits and a unit."""
    if not view.numeric:
        for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
            if bits > limit:
                return f"{bits / limit:.3g}{unit}"
    return f"{bits:.0f}"


def _tcp_info(view: View, attributes: dict[int, bytes]) -> str:
    """Write tcp_info in the order and with the omissions of ss(8)."""
    from twinsock.inspect.tcp_info import parse_tcp_info

    info = parse_tcp_info(attributes[INET_DIAG_INFO])
    get = info.get
    out: list[str] = []
    if view.options.has("options", "extended"):
        out += [" " + name for bit, name in _TCPI_OPTIONS if info["options"] >> bit & 1]
    if INET_DIAG_CONG in attributes:
        out.append(" " + attributes[INET_DIAG_CONG].rstrip(b"\0").decode("ascii", "replace"))
    if info["options"] & 4:
        out.append(f" wscale:{info['snd_wscale']},{info['rcv_wscale']}")
    if get("rto", 0) not in (0, _RTO_UNSET_US):
        out.append(f" rto:{_ms(info['rto'])}")
    _add(out, "backoff", info["backoff"])
    rtt = get("rtt", 0)
    if rtt:
        out.append(f" rtt:{_ms(rtt)}/{_ms(get('rttvar', 0))}")
    if get("ato", 0):
        out.append(f" ato:{_ms(info['ato'])}")
    for name, key in _SIZES:
        _add(out, name, get(key, 0))
    if get("snd_ssthresh", _FAR_SSTHRESH) < _FAR_SSTHRESH:
        _add(out, "ssthresh", info["snd_ssthresh"])
    out += [f" {key}:{info[key]}" for key in _COUNTS if get(key)]
    out.append(_congestion(view, attributes))
    mss, cwnd = get("snd_mss", 0), get("snd_cwnd", 0)
    if rtt and mss and cwnd:
        out.append(f" send {_rate(view, cwnd * mss * 8 * 1e6 / rtt)}bps")
    for name, key in (("lastsnd", "last_data_sent"), ("lastrcv", "last_data_recv"), ("lastack", "last_ack_recv")):
        _add(out, name, get(key, 0))
    _add_rates(view, out, info)
    _add_losses(out, info)
    out.append(_ulp(attributes))
    return "".join(out)


def _add(out: list[str], name: str, value: int) -> None:
    if value:
        out.append(f" {name}:{value}")


def _add_rates(view: View, out: list[str], info: dict[str, int]) -> None:
    """Add what is paced and delivered, and what limits it."""
    get = info.get
    pacing = get("pacing_rate", 0)
    if pacing and pacing != _NO_RATE:
        text = f" pacing_rate {_rate(view, pacing * 8.0)}bps"
        most = get("max_pacing_rate", 0)
        if most and most != _NO_RATE:
            text += f"/{_rate(view, most * 8.0)}bps"
        out.append(text)
    if get("delivery_rate", 0):
        out.append(f" delivery_rate {_rate(view, info['delivery_rate'] * 8.0)}bps")
    _add(out, "delivered", get("delivered", 0))
    _add(out, "delivered_ce", get("delivered_ce", 0))
    if info["app_limited"]:
        out.append(" app_limited")
    busy = get("busy_time", 0)
    if busy:
        out.append(f" busy:{busy // 1000}ms")
        for key in ("rwnd_limited", "sndbuf_limited"):
            if get(key, 0):
                out.append(f" {key}:{info[key] // 1000}ms({100.0 * info[key] / busy:.1f}%)")


def _add_losses(out: list[str], info: dict[str, int]) -> None:
    """Add what is under way, lost and waiting."""
    get = info.get
    _add(out, "unacked", get("unacked", 0))
    if get("retrans", 0) or get("total_retrans", 0):
        out.append(f" retrans:{info['retrans']}/{info['total_retrans']}")
    _add(out, "lost", get("lost", 0))
    if info["state"] != _LISTEN:
        _add(out, "sacked", get("sacked", 0))
    _add(out, "dsack_dups", get("dsack_dups", 0))
    _add(out, "fackets", get("fackets", 0))
    if get("reordering", _REORDERING) != _REORDERING:
        _add(out, "reordering", info["reordering"])
    _add(out, "reord_seen", get("reord_seen", 0))
    if get("rcv_rtt", 0):
        out.append(f" rcv_rtt:{_ms(info['rcv_rtt'])}")
    _add(out, "rcv_space", get("rcv_space", 0))
    _add(out, "rcv_ssthresh", get("rcv_ssthresh", 0))
    _add(out, "notsent", get("notsent_bytes", 0))
    if get("min_rtt", 0) not in (0, _NO_RTT):
        out.append(f" minrtt:{_ms(info['min_rtt'])}")
    _add(out, "rcv_ooopack", get("rcv_ooopack", 0))
    _add(out, "snd_wnd", get("snd_wnd", 0))


def _congestion(view: View, attributes: dict[int, bytes]) -> str:
    """Write what the congestion control tells of itself."""
    from twinsock.inspect.tcp_info import parse_bbr, parse_dctcp

    if INET_DIAG_DCTCPINFO in attributes:
        dctcp = parse_dctcp(attributes[INET_DIAG_DCTCPINFO])
        if not dctcp.get("enabled"):
            return " dctcp:fallback_mode"
        return " dctcp:(ce_state:{ce_state},alpha:{alpha},ab_ecn:{ab_ecn},ab_tot:{ab_tot})".format(**dctcp)
    bbr = parse_bbr(attributes.get(INET_DIAG_BBRINFO, b""))
    if not bbr:
        return ""
    text = f" bbr:(bw:{_rate(view, bbr['bw'] * 8.0)}bps,mrtt:{_ms(bbr['min_rtt'])}"
    for key in ("pacing_gain", "cwnd_gain"):
        if bbr[key]:
            text += f",{key}:{bbr[key] / 256:g}"
    return text + ")"


def _ulp(attributes: dict[int, bytes]) -> str:
    """Name the upper layer protocol on top of TCP, and describe a subflow of MPTCP."""
    nested = _nested(attributes.get(INET_DIAG_ULP_INFO, b""))
    if _ULP_NAME not in nested:
        return ""
    text = " tcp-ulp-" + nested[_ULP_NAME].rstrip(b"\0").decode("ascii", "replace")
    subflow = {number: int.from_bytes(value, byteorder) for number, value in _nested(nested.get(_ULP_MPTCP, b"")).items()}
    if not subflow:
        return text
    get = subflow.get
    letters = "".join([letter for bit, letter in enumerate("MmJjBbecv") if get(8, 0) >> bit & 1])
    text += f" flags:{letters}" if letters else ""
    text += f" token:{get(1, 0):04x}(id:{get(9, 0)})/{get(2, 0):04x}(id:{get(10, 0)})"
    return text + f" seq:{get(4, 0):x} sfseq:{get(5, 0):x} ssnoff:{get(6, 0):x} maplen:{get(7, 0):x}"


def _nested(data: bytes) -> dict[int, bytes]:
    """Cut nested attributes apart: number -> value."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 2], byteorder)
        if size < 4:
            break
        found[int.from_bytes(data[at + 2 : at + 4], byteorder) & 0x3FFF] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found
