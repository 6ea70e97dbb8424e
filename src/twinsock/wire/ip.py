"""IPv4 header, RFC 791."""

from __future__ import annotations

from struct import Struct

from twinsock.wire.l4 import csum_fold, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IP_CE: Final = 0x8000  # reserved bit
IP_DF: Final = 0x4000
IP_MF: Final = 0x2000
IP_OFFSET: Final = 0x1FFF
IP_HEADER_LEN: Final = 20

IPPARSE_OK: Final = 0
IPPARSE_HEADER: Final = 1  # no IPv4 header
IPPARSE_CHECKSUM: Final = 2
IPPARSE_TRUNCATED: Final = 3  # fewer bytes than the header announces

_FIXED: Final = Struct("!BBHHHBBHII")


class Iphdr:
    """A parsed IPv4 header; addresses are ints in host order."""

    def __init__(self, saddr: int, daddr: int, protocol: int) -> None:
        self.saddr = saddr
        self.daddr = daddr
        self.protocol = protocol
        self.tos = 0
        self.ttl = 64
        self.id = 0
        self.frag_off = 0  # flags and offset as on the wire
        self.options = b""  # multiple of four bytes

    def header_len(self) -> int:
        """Return the bytes of the header with its options."""
        return IP_HEADER_LEN + len(self.options)

    def copy(self) -> Iphdr:
        """Return an equal header that may be changed."""
        other = Iphdr(self.saddr, self.daddr, self.protocol)
        other.tos = self.tos
        other.ttl = self.ttl
        other.id = self.id
        other.frag_off = self.frag_off
        other.options = self.options
        return other

    def emit(self, payload_len: int) -> bytes:
        """Give the header's bytes for a packet that carries `payload_len` bytes; one that stands for several may say 0."""
        size = self.header_len()
        total = size + payload_len
        head = _FIXED.pack(
            0x40 | size >> 2,
            self.tos,
            total if total <= 0xFFFF else 0,
            self.id & 0xFFFF,
            self.frag_off,
            self.ttl,
            self.protocol,
            0,
            self.saddr,
            self.daddr,
        )
        head += self.options
        return head[:10] + csum_fold(ones_sum(head)).to_bytes(2, "big") + head[12:]


class ParsedIp:
    """The answer of `parse`: a verdict, and what stands in the header when it is usable."""

    def __init__(self, status: int, iph: Iphdr | None, header_len: int, tot_len: int) -> None:
        self.status = status  # IPPARSE_*
        self.iph = iph
        self.header_len = header_len
        self.tot_len = tot_len  # as announced, header included


def parse(data: bytes, offset: int = 0, length: int = -1, verify: bool = True) -> ParsedIp:
    """Parse the header that starts at `offset`; `verify` asks for the checksum and for all announced bytes to be there."""
    size = len(data) - offset if length < 0 else length
    if size < IP_HEADER_LEN:
        return ParsedIp(IPPARSE_TRUNCATED, None, 0, 0)
    first, tos, tot_len, ident, frag_off, ttl, protocol, _check, saddr, daddr = _FIXED.unpack_from(data, offset)
    ihl = (first & 15) * 4
    if first >> 4 != 4 or ihl < IP_HEADER_LEN:
        return ParsedIp(IPPARSE_HEADER, None, 0, 0)
    if ihl > size:
        return ParsedIp(IPPARSE_TRUNCATED, None, 0, 0)
    iph = Iphdr(saddr, daddr, protocol)
    iph.tos = tos
    iph.ttl = ttl
    iph.id = ident
    iph.frag_off = frag_off
    iph.options = data[offset + IP_HEADER_LEN : offset + ihl]
    status = IPPARSE_OK
    if verify:
        if ones_sum(data[offset : offset + ihl]) != 0:
            status = IPPARSE_CHECKSUM
        elif size < tot_len:
            status = IPPARSE_TRUNCATED
        elif tot_len < ihl:
            status = IPPARSE_HEADER
    return ParsedIp(status, iph, ihl, tot_len)


def parse_addr(text: str) -> int:
    """Turn "192.0.2.1" into an int, or -1 when it is no address."""
    parts = text.split(".")
    if len(parts) != 4:
        return -1
    value = 0
    for part in parts:
        if not part.isdigit() or len(part) > 3 or int(part) > 255:
            return -1
        value = value << 8 | int(part)
    return value


def format_addr(addr: int) -> str:
    """Turn an int into "192.0.2.1"."""
    return f"{addr >> 24 & 255}.{addr >> 16 & 255}.{addr >> 8 & 255}.{addr & 255}"
