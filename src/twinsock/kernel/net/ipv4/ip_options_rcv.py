"""Options of received IPv4 packets, RFC 791 3.1, RFC 1122 3.2.1.8 (Linux: net/ipv4/ip_options.c; what
sockets set is in ip_options.py).

Malformed ones are found, routes and times recorded. Source routes are refused, as Linux does unless accept_source_route says otherwise
(D-ip-4: that sysctl is not heeded, and CIPSO labels are not looked at)."""

from __future__ import annotations

from twinsock.kernel.time.timer import NSEC_PER_MSEC, Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IPOPT_END: Final = 0
IPOPT_NOOP: Final = 1
IPOPT_RR: Final = 7
IPOPT_TIMESTAMP: Final = 0x44
IPOPT_LSRR: Final = 0x83
IPOPT_SSRR: Final = 0x89
_TS_ONLY: Final = 0
_TS_AND_ADDR: Final = 1
_TS_PRESPEC: Final = 3
_IP_HEADER: Final = 20


class IpOptions:
    """What `ip_options_compile` found; offsets into the option bytes, -1 for none."""

    def __init__(self) -> None:
        self.bad = -1  # where the first mistake stands, counted from the start of the IP header
        self.rr = -1
        self.ts = -1
        self.source_route = False


def ip_options_compile(options: bytes) -> IpOptions:
    """Check options one by one up to the first mistake."""
    found = IpOptions()
    i = 0
    while i < len(options):
        kind = options[i]
        if kind == IPOPT_END:
            break
        if kind == IPOPT_NOOP:
            i += 1
            continue
        if i + 1 >= len(options) or options[i + 1] < 2 or i + options[i + 1] > len(options):
            found.bad = _IP_HEADER + i
            break
        size = options[i + 1]
        wrong = -1
        if kind == IPOPT_RR:
            wrong = _check_pointer(options, i, size, 3, 4, 4)
            found.rr = i
        elif kind == IPOPT_TIMESTAMP:
            wrong = _check_timestamp(options, i, size)
            found.ts = i
        elif kind in (IPOPT_LSRR, IPOPT_SSRR):
            wrong = 1 if size < 3 else (2 if options[i + 2] < 4 else -1)
            found.source_route = True
        if wrong >= 0:
            found.bad = _IP_HEADER + i + wrong
            break
        i += size
    return found


def ip_options_record(options: bytes, found: IpOptions, addr: int, clock: Clock, answering: bool = False) -> bytes:
    """Enter our address and the time where a packet asks for them and there is room; an answer does not count that there is none."""
    out = bytearray(options)
    if found.rr >= 0:
        at = found.rr
        pointer = out[at + 2]
        if pointer <= out[at + 1]:
            out[at + pointer - 1 : at + pointer + 3] = addr.to_bytes(4, "big")
            out[at + 2] = pointer + 4
    if found.ts >= 0 and not (answering and out[found.ts + 2] > out[found.ts + 1]):
        _record_time(out, found.ts, addr, clock)
    return bytes(out)


def ip_options_echo(options: bytes, found: IpOptions) -> bytes:
    """Give the options of an answer: recorded routes and times go back to who asked."""
    out = b""
    if found.rr >= 0:
        out += options[found.rr : found.rr + options[found.rr + 1]]
    if found.ts >= 0:
        out += options[found.ts : found.ts + options[found.ts + 1]]
    return out + bytes(-len(out) & 3)


def _check_pointer(options: bytes, i: int, size: int, least: int, first: int, step: int) -> int:
    """Check length and pointer of a recording option: the offset of the mistake, or -1."""
    if size < least:
        return 1
    pointer = options[i + 2]
    if pointer < first:
        return 2
    return 2 if pointer <= size and pointer + step - 1 > size else -1


def _check_timestamp(options: bytes, i: int, size: int) -> int:
    if size < 4:
        return 1
    flag = options[i + 3] & 15
    wrong = _check_pointer(options, i, size, 4, 5, 8 if flag in (_TS_AND_ADDR, _TS_PRESPEC) else 4)
    if wrong < 0 and options[i + 2] > size and flag != _TS_PRESPEC and options[i + 3] >> 4 == 15:
        return 3
    return wrong


def _record_time(out: bytearray, at: int, addr: int, clock: Clock) -> None:
    pointer = out[at + 2]
    size = out[at + 1]
    flag = out[at + 3] & 15
    if pointer > size:
        if flag != _TS_PRESPEC:
            out[at + 3] = (out[at + 3] + 0x10) & 0xFF
        return
    spot = at + pointer - 1
    if flag == _TS_AND_ADDR:
        out[spot : spot + 4] = addr.to_bytes(4, "big")
        spot += 4
    elif flag == _TS_PRESPEC:
        if bytes(out[spot : spot + 4]) != addr.to_bytes(4, "big"):
            return
        spot += 4
    elif flag != _TS_ONLY:
        return
    ms = (clock.now_ns + clock.realtime_offset_ns) // NSEC_PER_MSEC % 86_400_000
    out[spot : spot + 4] = ms.to_bytes(4, "big")
    out[at + 2] = pointer + (4 if flag == _TS_ONLY else 8)
