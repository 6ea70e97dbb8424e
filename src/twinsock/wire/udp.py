"""UDP header, RFC 768, and UDP-Lite's checksum coverage, RFC 3828."""

from __future__ import annotations

from struct import Struct

from twinsock.wire.l4 import L4Header, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

UDP_HEADER_LEN: Final = 8
_FIXED: Final = Struct("!HHHH")


class Udphdr(L4Header):
    """A parsed UDP or UDP-Lite header."""

    def __init__(self, source: int = 0, dest: int = 0) -> None:
        super().__init__(source, dest)
        self.len = 0  # of header and payload as on the wire; 0 in a packet that never was bytes
        self.no_check = False  # IPv4: sent without a checksum
        self.coverage = -1  # UDP-Lite: bytes covered, 0 all; -1: plain UDP

    def header_len(self) -> int:
        """Return eight."""
        return UDP_HEADER_LEN

    def to_bytes(self, payload: bytes, pseudo_sum: int) -> bytes:
        """Give the datagram's bytes."""
        size = UDP_HEADER_LEN + len(payload)
        third = self.coverage if self.coverage >= 0 else size & 0xFFFF
        head = _FIXED.pack(self.source, self.dest, third, 0)
        if self.no_check:
            return head + payload
        covered = payload if self.coverage <= 0 else payload[: max(self.coverage - UDP_HEADER_LEN, 0)]
        check = 0xFFFF - (pseudo_sum + ones_sum(head) + ones_sum(covered)) % 0xFFFF
        if self.csum_bad:
            check = check % 0xFFFE + 1  # another value, not zero
        return head[:6] + check.to_bytes(2, "big") + payload


def parse(data: bytes, offset: int, length: int, pseudo_sum: int = -1, lite: bool = False) -> Udphdr | None:
    """Parse a header; None when there are fewer than eight bytes. With `pseudo_sum` a non-zero checksum is verified.

    The caller judges `len`: smaller than eight or larger than what is there is an error, trailing bytes are cut."""
    if length < UDP_HEADER_LEN:
        return None
    source, dest, third, check = _FIXED.unpack_from(data, offset)
    uh = Udphdr(source, dest)
    uh.check = check
    if lite:
        uh.coverage = third
        uh.len = length
        covered = length if third == 0 or third > length else third
    else:
        uh.len = third
        covered = min(third, length) if third >= UDP_HEADER_LEN else length
    uh.no_check = check == 0
    if pseudo_sum >= 0 and check != 0:
        uh.csum_bad = (pseudo_sum + ones_sum(data[offset : offset + covered])) % 0xFFFF != 0
    return uh
