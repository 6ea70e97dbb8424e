"""What `ss -e -m -i -o` and their kin write behind the addresses of an internet socket."""

from __future__ import annotations

from itertools import repeat
from struct import Struct
from sys import byteorder

from twinsock.inspect.columns import COOKIE, EXPIRES, INODE, RETRANSMITS, TIMER, UID
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
    from collections.abc import Callable, Iterable, Sequence

    from twinsock.inspect.columns import Columns
    from twinsock.ui.ss_run import View

    _Key = int | bytes | tuple[int, ...]

_TIMERS = ("off", "on", "keepalive", "timewait", "persist")
_SKMEM = Struct("=9I")
SKMEM_NAMES = ("r", "rb", "t", "tb", "f", "w", "o", "bl", "d")
_MEM = Struct("=4I")
_U32 = Struct("=I")
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
_SND_MSS, _SND_CWND = 0, 4  # in _SIZES
_LAST_BYTE = 7  # of those that tcp_info begins with
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


def inet_extra(view: View, rows: Columns, protocol: int) -> list[str]:
    """Write everything that was asked for behind the addresses of sockets of one layout."""
    options = view.options
    places = rows.places
    line = Line(rows.count)
    inodes = rows.words(INODE)
    if view.show_users:
        line.column([view.users(inode) for inode in inodes] if options.has("threads") else view.users_column(inodes))
    if options.has("options", "extended"):
        line.of_tuples((rows.bytes_at(TIMER), rows.words(EXPIRES), rows.bytes_at(RETRANSMITS)), _timer)
    if options.has("extended"):
        _details(view, line, rows, inodes)
    if options.has("tos"):
        _tos(line, rows)
    if options.has("cgroup"):
        _cgroup(view, line, rows)
    if view.ours:
        line.column(list(map(view.our_extra, inodes, rows.longs(COOKIE))))
    break_ = "" if options.has("oneline") else "\n\t"
    if options.has("inet-sockopt") and INET_DIAG_SOCKOPT in places:
        line.text((break_ or " ") + "inet-sockopt: (")
        line.of(rows.halves(places[INET_DIAG_SOCKOPT][0]), lambda bits: "".join([" " + name for bit, name in _SOCKOPTS if bits >> bit & 1]))
        line.text(")")
    if options.has("memory") or (options.has("info") and protocol != _IPPROTO_UDP):
        line.text(break_)
        if options.has("memory"):
            _memory(line, rows)
        if options.has("info") and INET_DIAG_INFO in places and protocol == _IPPROTO_TCP:
            _tcp_info(view, line, rows)
    return line.texts()


class _Made(dict[object, str]):
    """Text of a value, made once: values repeat."""

    def __init__(self, make: Callable[..., str]) -> None:
        self.make = make

    def __missing__(self, key: object) -> str:
        text = self[key] = self.make(key)
        return text


class Line:
    """The cells of many rows from left to right; what is the same in all of them is one text."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._cells: list[Iterable[str]] = []
        self._same = ""

    def text(self, text: str) -> None:
        """Add what every row has."""
        self._same += text

    def column(self, texts: Iterable[str]) -> None:
        """Add a text for each row."""
        self._close_text()
        self._cells.append(texts)

    def _close_text(self) -> None:
        if self._same:
            self._cells.append(repeat(self._same))
            self._same = ""

    def of(self, column: Sequence[_Key], make: Callable[..., str]) -> None:
        """Add what `make` writes of each value."""
        if column.count(column[0]) == self.count:
            self._same += make(column[0])
        else:
            self.column(map(_Made(make).__getitem__, column))

    def of_tuples(self, columns: Sequence[list[int]], make: Callable[..., str]) -> None:
        """Add what `make` writes of the values that several columns have in a row."""
        if all(column.count(column[0]) == self.count for column in columns):
            self._same += make(tuple([column[0] for column in columns]))
        else:
            self.column(map(_Made(make).__getitem__, zip(*columns, strict=True)))

    def number(self, name: str, column: list[int]) -> None:
        """Add ` name:7`; nothing for 0."""
        if any(column):
            self.of(column, lambda value: f" {name}:{value}" if value else "")

    def texts(self) -> list[str]:
        """Give the rows."""
        if not self._cells:
            return [self._same] * self.count
        self._close_text()
        return list(map("".join, zip(*self._cells, strict=False)))


def _timer(key: tuple[int, int, int]) -> str:
    number, expires_ms, retransmits = key
    if not number:
        return ""
    name = _TIMERS[number] if number < len(_TIMERS) else "unknown"
    return f" timer:({name},{duration(expires_ms)},{retransmits})"


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


def _details(view: View, line: Line, rows: Columns, inodes: list[int]) -> None:
    """Write who made the socket and what it is."""
    places = rows.places
    line.number("uid", rows.words(UID))
    line.column([f" ino:{inode} sk:{cookie:x}" for inode, cookie in zip(inodes, rows.longs(COOKIE), strict=True)])
    if places.get(INET_DIAG_MARK, (0, 0))[1] >= _U32.size:
        line.of(rows.words(places[INET_DIAG_MARK][0]), lambda mark: f" fwmark:0x{mark:x}" if mark else "")
    _cgroup(view, line, rows)
    if INET_DIAG_SKV6ONLY in places:
        line.of(rows.bytes_at(places[INET_DIAG_SKV6ONLY][0]), lambda flag: f" v6only:{flag}")
    if INET_DIAG_SHUTDOWN in places:
        line.of(rows.bytes_at(places[INET_DIAG_SHUTDOWN][0]), lambda flags: " " + arrows(flags))


def _cgroup(view: View, line: Line, rows: Columns) -> None:
    if INET_DIAG_CGROUP_ID in rows.places:
        line.of(rows.longs(rows.places[INET_DIAG_CGROUP_ID][0]), lambda number: " cgroup:" + view.cgroup(number))


def _tos(line: Line, rows: Columns) -> None:
    places = rows.places
    if INET_DIAG_TOS in places:
        line.of(rows.bytes_at(places[INET_DIAG_TOS][0]), lambda value: " tos:" + _c_hex(value))
    if INET_DIAG_TCLASS in places:
        line.of(rows.bytes_at(places[INET_DIAG_TCLASS][0]), lambda value: " tclass:" + _c_hex(value))
    if INET_DIAG_CLASS_ID in places:
        line.of(rows.words(places[INET_DIAG_CLASS_ID][0]), lambda value: " class_id:" + _c_hex(value))


def _c_hex(value: int) -> str:
    return hex(value) if value else "0"


def _memory(line: Line, rows: Columns) -> None:
    places = rows.places
    if places.get(INET_DIAG_SKMEMINFO, (0, 0))[1] >= _SKMEM.size:
        line.of(rows.values(INET_DIAG_SKMEMINFO), lambda data: " " + skmem(data))
    elif places.get(INET_DIAG_MEMINFO, (0, 0))[1] >= _MEM.size:
        line.of(rows.values(INET_DIAG_MEMINFO), lambda data: " mem:(r{},w{},f{},t{})".format(*_MEM.unpack_from(data)))


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


def _tcp_info(view: View, line: Line, rows: Columns) -> None:
    """Write tcp_info in the order and with the omissions of ss(8)."""
    info = rows.info
    start, length = rows.places[INET_DIAG_INFO]
    states, backoffs, options, scales, limits = [
        rows.bytes_at(start + at) if length > _LAST_BYTE else [0] * rows.count for at in (0, 4, 5, 6, _LAST_BYTE)
    ]
    if view.options.has("options", "extended"):
        line.of(options, lambda bits: "".join([" " + name for bit, name in _TCPI_OPTIONS if bits >> bit & 1]))
    if INET_DIAG_CONG in rows.places:
        line.of(rows.values(INET_DIAG_CONG), lambda data: " " + data.rstrip(b"\0").decode("ascii", "replace"))
    line.of_tuples((options, scales), lambda key: f" wscale:{key[1] & 15},{key[1] >> 4}" if key[0] & 4 else "")
    line.of(info("rto"), lambda us: f" rto:{_ms(us)}" if us not in (0, _RTO_UNSET_US) else "")
    line.number("backoff", backoffs)
    rtts = info("rtt")
    line.of_tuples((rtts, info("rttvar")), lambda key: f" rtt:{_ms(key[0])}/{_ms(key[1])}" if key[0] else "")
    line.of(info("ato"), lambda us: f" ato:{_ms(us)}" if us else "")
    sizes = [info(key) for _name, key in _SIZES]
    for (name, _key), column in zip(_SIZES, sizes, strict=True):
        line.number(name, column)
    line.of(info("snd_ssthresh"), lambda value: f" ssthresh:{value}" if 0 < value < _FAR_SSTHRESH else "")
    for key in _COUNTS:
        line.number(key, info(key))
    _congestion(view, line, rows)
    line.of_tuples((sizes[_SND_CWND], sizes[_SND_MSS], rtts), lambda key: _sending(view, *key))
    for name, key in (("lastsnd", "last_data_sent"), ("lastrcv", "last_data_recv"), ("lastack", "last_ack_recv")):
        line.number(name, info(key))
    _add_rates(view, line, rows, limits)
    _add_losses(line, rows, states)
    if INET_DIAG_ULP_INFO in rows.places:
        line.of(rows.values(INET_DIAG_ULP_INFO), _ulp)


def _sending(view: View, cwnd: int, mss: int, rtt: int) -> str:
    return f" send {_rate(view, cwnd * mss * 8 * 1e6 / rtt)}bps" if rtt and mss and cwnd else ""


def _add_rates(view: View, line: Line, rows: Columns, limits: list[int]) -> None:
    """Add what is paced and delivered, and what limits it."""
    info = rows.info

    def pacing(key: tuple[int, int]) -> str:
        now, most = key
        if now in (0, _NO_RATE):
            return ""
        text = f" pacing_rate {_rate(view, now * 8.0)}bps"
        return text + (f"/{_rate(view, most * 8.0)}bps" if most not in (0, _NO_RATE) else "")

    line.of_tuples((info("pacing_rate"), info("max_pacing_rate")), pacing)
    line.of(info("delivery_rate"), lambda rate: f" delivery_rate {_rate(view, rate * 8.0)}bps" if rate else "")
    line.number("delivered", info("delivered"))
    line.number("delivered_ce", info("delivered_ce"))
    line.of(limits, lambda bits: " app_limited" if bits & 1 else "")
    line.of_tuples((info("busy_time"), info("rwnd_limited"), info("sndbuf_limited")), _busy)


def _busy(key: tuple[int, int, int]) -> str:
    """Write how long there was something to send, and how much of that time a limit kept it back."""
    busy = key[0]
    if not busy:
        return ""
    text = f" busy:{busy // 1000}ms"
    for name, limited in zip(("rwnd_limited", "sndbuf_limited"), key[1:], strict=True):
        if limited:
            text += f" {name}:{limited // 1000}ms({100.0 * limited / busy:.1f}%)"
    return text


def _add_losses(line: Line, rows: Columns, states: list[int]) -> None:
    """Add what is under way, lost and waiting."""
    info = rows.info
    line.number("unacked", info("unacked"))
    line.of_tuples((info("retrans"), info("total_retrans")), lambda key: " retrans:{}/{}".format(*key) if any(key) else "")
    line.number("lost", info("lost"))
    line.of_tuples((states, info("sacked")), lambda key: f" sacked:{key[1]}" if key[1] and key[0] != _LISTEN else "")
    line.number("dsack_dups", info("dsack_dups"))
    line.number("fackets", info("fackets"))
    line.of(info("reordering"), lambda value: f" reordering:{value}" if value not in (0, _REORDERING) else "")
    line.number("reord_seen", info("reord_seen"))
    line.of(info("rcv_rtt"), lambda us: f" rcv_rtt:{_ms(us)}" if us else "")
    line.number("rcv_space", info("rcv_space"))
    line.number("rcv_ssthresh", info("rcv_ssthresh"))
    line.number("notsent", info("notsent_bytes"))
    line.of(info("min_rtt"), lambda us: f" minrtt:{_ms(us)}" if us not in (0, _NO_RTT) else "")
    line.number("rcv_ooopack", info("rcv_ooopack"))
    line.number("snd_wnd", info("snd_wnd"))


def _congestion(view: View, line: Line, rows: Columns) -> None:
    """Write what the congestion control tells of itself."""
    if INET_DIAG_DCTCPINFO in rows.places:
        line.of(rows.values(INET_DIAG_DCTCPINFO), _dctcp)
    elif INET_DIAG_BBRINFO in rows.places:
        line.of(rows.values(INET_DIAG_BBRINFO), lambda data: _bbr(view, data))


def _dctcp(data: bytes) -> str:
    from twinsock.inspect.tcp_info import parse_dctcp

    dctcp = parse_dctcp(data)
    if not dctcp.get("enabled"):
        return " dctcp:fallback_mode"
    return " dctcp:(ce_state:{ce_state},alpha:{alpha},ab_ecn:{ab_ecn},ab_tot:{ab_tot})".format(**dctcp)


def _bbr(view: View, data: bytes) -> str:
    from twinsock.inspect.tcp_info import parse_bbr

    bbr = parse_bbr(data)
    if not bbr:
        return ""
    text = f" bbr:(bw:{_rate(view, bbr['bw'] * 8.0)}bps,mrtt:{_ms(bbr['min_rtt'])}"
    for key in ("pacing_gain", "cwnd_gain"):
        if bbr[key]:
            text += f",{key}:{bbr[key] / 256:g}"
    return text + ")"


def _ulp(data: bytes) -> str:
    """Name the upper layer protocol on top of TCP, and describe a subflow of MPTCP."""
    nested = _nested(data)
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
