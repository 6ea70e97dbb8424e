"""ICMP messages, RFC 792, RFC 1191 (next-hop MTU), RFC 4884 (length of the quoted datagram)."""

from __future__ import annotations

from struct import Struct

from twinsock.wire.l4 import L4Header, csum_fold, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ICMP_HEADER_LEN: Final = 8
_FIXED: Final = Struct("!BBHI")


class Icmphdr(L4Header):
    """An ICMP header: `un` is the second word (id and sequence, gateway, pointer, or next-hop MTU)."""

    def __init__(self, type_: int = 0, code: int = 0, un: int = 0) -> None:
        super().__init__()
        self.type = type_
        self.code = code
        self.un = un

    def header_len(self) -> int:
        """Return eight."""
        return ICMP_HEADER_LEN

    def id(self) -> int:
        """Return the identifier of an echo."""
        return self.un >> 16

    def sequence(self) -> int:
        """Return the sequence number of an echo."""
        return self.un & 0xFFFF

    def mtu(self) -> int:
        """Return the next-hop MTU of "fragmentation needed"."""
        return self.un & 0xFFFF

    def to_bytes(self, payload: bytes, pseudo_sum: int) -> bytes:
        """Give the message's bytes; ICMP has no pseudo header."""
        head = _FIXED.pack(self.type, self.code, 0, self.un)
        check = csum_fold(ones_sum(head) + ones_sum(payload))
        if self.csum_bad:
            check ^= 0x5555
        return head[:2] + check.to_bytes(2, "big") + head[4:] + payload


def parse(data: bytes, offset: int, length: int) -> Icmphdr | None:
    """Parse a message's header and verify its checksum; None when there are fewer than eight bytes."""
    if length < ICMP_HEADER_LEN:
        return None
    type_, code, check, un = _FIXED.unpack_from(data, offset)
    hdr = Icmphdr(type_, code, un)
    hdr.check = check
    hdr.csum_bad = ones_sum(data[offset : offset + length]) != 0
    return hdr
