"""IPv6 header, fragment header and extension headers, RFC 8200; text form of addresses, RFC 5952."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IP6_HEADER_LEN: Final = 40
NEXTHDR_HOP: Final = 0
NEXTHDR_TCP: Final = 6
NEXTHDR_UDP: Final = 17
NEXTHDR_IPV6: Final = 41
NEXTHDR_ROUTING: Final = 43
NEXTHDR_FRAGMENT: Final = 44
NEXTHDR_ESP: Final = 50
NEXTHDR_AUTH: Final = 51
NEXTHDR_ICMP: Final = 58
NEXTHDR_NONE: Final = 59
NEXTHDR_DEST: Final = 60
NEXTHDR_MOBILITY: Final = 135
IP6_MF: Final = 1
IP6_OFFSET: Final = 0xFFF8

_FIXED: Final = Struct("!IHBB16s16s")
_FRAG: Final = Struct("!BBHI")


class Ipv6hdr:
    """A parsed IPv6 header; addresses are 16 bytes. `exthdrs` are the bytes between it and the transport header."""

    def __init__(self, saddr: bytes, daddr: bytes, nexthdr: int) -> None:
        self.saddr = saddr
        self.daddr = daddr
        self.nexthdr = nexthdr  # of the transport, when `exthdrs` is empty; else of the first extension header
        self.tclass = 0
        self.flow_label = 0
        self.hop_limit = 64
        self.exthdrs = b""

    def copy(self) -> Ipv6hdr:
        """Return an equal header that may be changed."""
        other = Ipv6hdr(self.saddr, self.daddr, self.nexthdr)
        other.tclass = self.tclass
        other.flow_label = self.flow_label
        other.hop_limit = self.hop_limit
        other.exthdrs = self.exthdrs
        return other

    def header_len(self) -> int:
        """Return the bytes before the transport header."""
        return IP6_HEADER_LEN + len(self.exthdrs)

    def emit(self, payload_len: int) -> bytes:
        """Give the header's bytes, extension headers included, for a packet that carries `payload_len` bytes behind them."""
        word = 6 << 28 | self.tclass << 20 | self.flow_label
        length = payload_len + len(self.exthdrs)
        length = length if length <= 0xFFFF else 0
        return _FIXED.pack(word, length, self.nexthdr, self.hop_limit, self.saddr, self.daddr) + self.exthdrs


class FragHdr:
    """A fragment header, RFC 8200 4.5; `offset` in bytes."""

    def __init__(self, nexthdr: int, offset: int, more: bool, ident: int) -> None:
        self.nexthdr = nexthdr
        self.offset = offset
        self.more = more
        self.ident = ident

    def emit(self) -> bytes:
        """Give the header's eight bytes."""
        return _FRAG.pack(self.nexthdr, 0, self.offset | (IP6_MF if self.more else 0), self.ident)


def parse(data: bytes, offset: int = 0, length: int = -1) -> tuple[Ipv6hdr | None, int]:
    """Parse the fixed header at `offset`: (header, announced payload length), or (None, 0) when it is none."""
    size = len(data) - offset if length < 0 else length
    if size < IP6_HEADER_LEN:
        return None, 0
    word, payload_len, nexthdr, hop_limit, saddr, daddr = _FIXED.unpack_from(data, offset)
    if word >> 28 != 6:
        return None, 0
    hdr = Ipv6hdr(saddr, daddr, nexthdr)
    hdr.tclass = word >> 20 & 0xFF
    hdr.flow_label = word & 0xFFFFF
    hdr.hop_limit = hop_limit
    return hdr, payload_len


def parse_frag(data: bytes, offset: int = 0) -> FragHdr | None:
    """Parse a fragment header; None when there are fewer than eight bytes."""
    if len(data) - offset < 8:
        return None
    nexthdr, _reserved, frag_off, ident = _FRAG.unpack_from(data, offset)
    return FragHdr(nexthdr, frag_off & IP6_OFFSET, bool(frag_off & IP6_MF), ident)


def skip_exthdrs(nexthdr: int, data: bytes) -> tuple[int, int]:
    """Walk extension headers from the start of `data`: (transport protocol, its offset).

    A fragment header with a non-zero offset, or bytes that end early, give (-1, offset)."""
    offset = 0
    while nexthdr in (NEXTHDR_HOP, NEXTHDR_ROUTING, NEXTHDR_DEST, NEXTHDR_FRAGMENT, NEXTHDR_AUTH):
        if offset + 8 > len(data):
            return -1, offset
        if nexthdr == NEXTHDR_FRAGMENT:
            frag_off = int.from_bytes(data[offset + 2 : offset + 4], "big")
            if frag_off & IP6_OFFSET:
                return -1, offset
            size = 8
        elif nexthdr == NEXTHDR_AUTH:
            size = (data[offset + 1] + 2) * 4
        else:
            size = (data[offset + 1] + 1) * 8
        nexthdr = data[offset]
        offset += size
    if offset > len(data):
        return -1, offset
    return nexthdr, offset


def parse_addr(text: str) -> bytes | None:
    """Turn "2001:db8::1" into 16 bytes, or None when it is no address."""
    tail = text.rsplit(":", 1)[-1]
    if "." in tail:
        parts = tail.split(".")
        if len(parts) != 4 or not all(part.isdigit() and len(part) < 4 and int(part) < 256 for part in parts):
            return None
        n = [int(part) for part in parts]
        text = text[: len(text) - len(tail)] + f"{n[0] << 8 | n[1]:x}:{n[2] << 8 | n[3]:x}"
    halves = text.split("::")
    if len(halves) > 2:
        return None
    head = _groups(halves[0])
    if len(halves) == 1:
        return b"".join(head) if head is not None and len(head) == 8 else None
    last = _groups(halves[1])
    if head is None or last is None or len(head) + len(last) > 7:
        return None
    return b"".join(head) + bytes(2 * (8 - len(head) - len(last))) + b"".join(last)


def format_addr(addr: bytes) -> str:
    """Turn 16 bytes into RFC 5952 text."""
    if addr[:12] == b"\0" * 10 + b"\xff\xff":
        return "::ffff:" + ".".join([str(byte) for byte in addr[12:]])
    groups = [addr[i] << 8 | addr[i + 1] for i in range(0, 16, 2)]
    best = -1
    best_len = 1
    i = 0
    while i < 8:
        j = i
        while j < 8 and groups[j] == 0:
            j += 1
        if j - i > best_len:
            best, best_len = i, j - i
        i = j + 1
    if best < 0:
        return ":".join([f"{group:x}" for group in groups])
    head = ":".join([f"{group:x}" for group in groups[:best]])
    tail = ":".join([f"{group:x}" for group in groups[best + best_len :]])
    return head + "::" + tail


def _groups(text: str) -> list[bytes] | None:
    if not text:
        return []
    out: list[bytes] = []
    for part in text.split(":"):
        if not 1 <= len(part) <= 4 or not all(c in "0123456789abcdefABCDEF" for c in part):
            return None
        out.append(int(part, 16).to_bytes(2, "big"))
    return out
