"""TCP header and options, RFC 9293 3.1, 3.2, RFC 7323, RFC 2018, RFC 7413 (kind 34 and the experimental 254/0xF989).

Options are emitted in Linux's order; a parsed header keeps its option bytes, so what passes through is not rearranged.
Left out: MD5 and TCP-AO signatures (their presence is noted, nothing more)."""

from __future__ import annotations

from struct import Struct

from twinsock.wire.l4 import L4Header, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCPHDR_FIN: Final = 0x01
TCPHDR_SYN: Final = 0x02
TCPHDR_RST: Final = 0x04
TCPHDR_PSH: Final = 0x08
TCPHDR_ACK: Final = 0x10
TCPHDR_URG: Final = 0x20
TCPHDR_ECE: Final = 0x40
TCPHDR_CWR: Final = 0x80
TCPHDR_AE: Final = 0x100

TCPOPT_NOP: Final = 1
TCPOPT_EOL: Final = 0
TCPOPT_MSS: Final = 2
TCPOPT_WINDOW: Final = 3
TCPOPT_SACK_PERM: Final = 4
TCPOPT_SACK: Final = 5
TCPOPT_TIMESTAMP: Final = 8
TCPOPT_MD5SIG: Final = 19
TCPOPT_FASTOPEN: Final = 34
TCPOPT_EXP: Final = 254
TCPOPT_FASTOPEN_MAGIC: Final = 0xF989

TCP_HEADER_LEN: Final = 20
_FIXED: Final = Struct("!HHIIHHHH")
_U16: Final = Struct("!H")
_TS: Final = Struct("!II")


class Tcphdr(L4Header):
    """A parsed TCP header; ports, sequence numbers and the raw 16-bit window are ints in host order."""

    def __init__(self, source: int = 0, dest: int = 0, seq: int = 0, ack_seq: int = 0, flags: int = 0, window: int = 0) -> None:
        super().__init__(source, dest)
        self.seq = seq
        self.ack_seq = ack_seq
        self.flags = flags  # TCPHDR_*
        self.window = window
        self.urg_ptr = 0
        self.mss = 0  # 0: no such option
        self.wscale = -1  # -1: no such option
        self.sack_ok = False
        self.ts = False
        self.tsval = 0
        self.tsecr = 0
        self.sacks: list[tuple[int, int]] | None = None
        self.fastopen: bytes | None = None  # b"" asks for a cookie
        self.fastopen_exp = False  # the cookie travels, or came, in the experimental option
        self.md5 = False
        self.options: bytes | None = None  # exact option bytes of a parsed header

    def has(self, flag: int) -> bool:
        """Tell whether any of the bits `flag` is set."""
        return bool(self.flags & flag)

    def options_len(self) -> int:
        """Return the bytes that the options take, padding included."""
        if self.options is not None:
            return len(self.options)
        size = 4 if self.mss else 0
        if self.ts:
            size += 12
        elif self.sack_ok:
            size += 4
        if self.wscale >= 0:
            size += 4
        if self.sacks:
            size += 4 + 8 * len(self.sacks)
        if self.fastopen is not None:
            size += (len(self.fastopen) + (4 if self.fastopen_exp else 2) + 3) & ~3
        return size

    def header_len(self) -> int:
        """Return the header's bytes with its options."""
        return TCP_HEADER_LEN + self.options_len()

    def to_bytes(self, payload: bytes, pseudo_sum: int) -> bytes:
        """Give header and payload as bytes; `pseudo_sum` is the sum over the pseudo header."""
        return emit(self, payload, pseudo_sum)


def emit_options(th: Tcphdr) -> bytes:
    """Give the option bytes in the order Linux writes them."""
    if th.options is not None:
        return th.options
    parts: list[bytes] = []
    if th.mss:
        parts.append(b"\x02\x04" + _U16.pack(th.mss))
    if th.ts:
        parts.append((b"\x04\x02\x08\x0a" if th.sack_ok else b"\x01\x01\x08\x0a") + _TS.pack(th.tsval, th.tsecr))
    elif th.sack_ok:
        parts.append(b"\x01\x01\x04\x02")
    if th.wscale >= 0:
        parts.append(bytes((1, 3, 3, th.wscale)))
    if th.sacks:
        parts.append(bytes((1, 1, 5, 2 + 8 * len(th.sacks))))
        for start, end in th.sacks:
            parts.append(_TS.pack(start, end))
    cookie = th.fastopen
    if cookie is not None:
        if th.fastopen_exp:
            option = bytes((TCPOPT_EXP, 4 + len(cookie))) + _U16.pack(TCPOPT_FASTOPEN_MAGIC) + cookie
        else:
            option = bytes((TCPOPT_FASTOPEN, 2 + len(cookie))) + cookie
        parts.append(option + b"\x01" * (-len(option) % 4))
    return b"".join(parts)


def emit(th: Tcphdr, payload: bytes = b"", pseudo_sum: int = 0) -> bytes:
    """Give the segment's bytes; `pseudo_sum` is the ones-complement sum of the pseudo header (`wire.l4.pseudo_sum4`)."""
    options = emit_options(th)
    doff = (TCP_HEADER_LEN + len(options)) >> 2
    word = doff << 12 | th.flags
    head = _FIXED.pack(th.source, th.dest, th.seq, th.ack_seq, word, th.window, 0, th.urg_ptr) + options
    total = (pseudo_sum + ones_sum(head) + ones_sum(payload)) % 0xFFFF
    check = 0xFFFF - total
    if th.csum_bad:
        check ^= 0x5555
    return head[:16] + _U16.pack(check) + head[18:] + payload


def parse(data: bytes, offset: int = 0, length: int = -1, pseudo_sum: int = -1) -> Tcphdr | None:
    """Parse a segment's header; None when the bytes are no TCP header. With `pseudo_sum` the checksum is verified."""
    size = len(data) - offset if length < 0 else length
    if size < TCP_HEADER_LEN:
        return None
    source, dest, seq, ack_seq, word, window, check, urg_ptr = _FIXED.unpack_from(data, offset)
    doff = (word >> 12) * 4
    if doff < TCP_HEADER_LEN or doff > size:
        return None
    th = Tcphdr(source, dest, seq, ack_seq, word & 0xFFF, window)
    th.check = check
    th.urg_ptr = urg_ptr
    th.options = data[offset + TCP_HEADER_LEN : offset + doff]
    if th.options:
        _parse_options(th, th.options)
    if pseudo_sum >= 0:
        th.csum_bad = (pseudo_sum + ones_sum(data[offset : offset + size])) % 0xFFFF != 0
    return th


def _parse_options(th: Tcphdr, opts: bytes) -> None:
    """Note every well-formed option; a malformed one ends the list, RFC 9293 3.1."""
    i = 0
    end = len(opts)
    while i < end:
        kind = opts[i]
        if kind == TCPOPT_EOL:
            return
        if kind == TCPOPT_NOP:
            i += 1
            continue
        if i + 1 >= end:
            return
        size = opts[i + 1]
        if size < 2 or i + size > end:
            return
        _parse_option(th, kind, opts, i + 2, size - 2)
        i += size


def _parse_option(th: Tcphdr, kind: int, opts: bytes, i: int, size: int) -> None:
    if kind == TCPOPT_MSS:
        if size == 2:
            th.mss = opts[i] << 8 | opts[i + 1]
    elif kind == TCPOPT_WINDOW:
        if size == 1:
            th.wscale = opts[i]
    elif kind == TCPOPT_TIMESTAMP:
        if size == 8:
            th.ts = True
            th.tsval, th.tsecr = _TS.unpack_from(opts, i)
    elif kind == TCPOPT_SACK_PERM:
        if size == 0:
            th.sack_ok = True
    elif kind == TCPOPT_SACK:
        if size >= 8 and size % 8 == 0:
            blocks: list[tuple[int, int]] = []
            for k in range(i, i + size, 8):
                start, stop = _TS.unpack_from(opts, k)
                blocks.append((start, stop))
            th.sacks = blocks
    elif kind == TCPOPT_MD5SIG:
        th.md5 = True
    elif kind == TCPOPT_FASTOPEN:
        th.fastopen = opts[i : i + size]
        th.fastopen_exp = False
    elif kind == TCPOPT_EXP:
        if size >= 2 and opts[i] << 8 | opts[i + 1] == TCPOPT_FASTOPEN_MAGIC:
            th.fastopen = opts[i + 2 : i + size]
            th.fastopen_exp = True
