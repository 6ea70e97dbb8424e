"""ICMPv6 messages, RFC 4443, and neighbour discovery's options, RFC 4861."""

from __future__ import annotations

from struct import Struct

from twinsock.wire.l4 import L4Header, csum_fold, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ICMP6_HEADER_LEN: Final = 8
ND_OPT_SOURCE_LL_ADDR: Final = 1
ND_OPT_TARGET_LL_ADDR: Final = 2
ND_OPT_NONCE: Final = 14
NA_ROUTER: Final = 0x80000000
NA_SOLICITED: Final = 0x40000000
NA_OVERRIDE: Final = 0x20000000
_FIXED: Final = Struct("!BBHI")


class Icmp6hdr(L4Header):
    """An ICMPv6 header: `un` is the second word (id and sequence, MTU, pointer, or flags)."""

    def __init__(self, type_: int = 0, code: int = 0, un: int = 0) -> None:
        super().__init__()
        self.type = type_
        self.code = code
        self.un = un

    def header_len(self) -> int:
        """Return eight."""
        return ICMP6_HEADER_LEN

    def id(self) -> int:
        """Return the identifier of an echo."""
        return self.un >> 16

    def sequence(self) -> int:
        """Return the sequence number of an echo."""
        return self.un & 0xFFFF

    def to_bytes(self, payload: bytes, pseudo_sum: int) -> bytes:
        """Give the message's bytes."""
        head = _FIXED.pack(self.type, self.code, 0, self.un)
        check = csum_fold(pseudo_sum + ones_sum(head) + ones_sum(payload))
        if self.csum_bad:
            check ^= 0x5555
        return head[:2] + check.to_bytes(2, "big") + head[4:] + payload


def parse(data: bytes, offset: int, length: int, pseudo_sum: int) -> Icmp6hdr | None:
    """Parse a message's header and verify its checksum; None when there are fewer than eight bytes."""
    if length < ICMP6_HEADER_LEN:
        return None
    type_, code, check, un = _FIXED.unpack_from(data, offset)
    hdr = Icmp6hdr(type_, code, un)
    hdr.check = check
    hdr.csum_bad = (pseudo_sum + ones_sum(data[offset : offset + length])) % 0xFFFF != 0
    return hdr


def nd_option(type_: int, value: bytes) -> bytes:
    """Emit a neighbour discovery option, padded to eight bytes."""
    size = (len(value) + 2 + 7) // 8
    return bytes((type_, size)) + value + bytes(size * 8 - 2 - len(value))


def nd_options(data: bytes) -> list[tuple[int, bytes]] | None:
    """Parse neighbour discovery options; None when one has length zero or runs over the end."""
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(data):
        if offset + 2 > len(data):
            return None
        size = data[offset + 1] * 8
        if size == 0 or offset + size > len(data):
            return None
        found.append((data[offset], data[offset + 2 : offset + size]))
        offset += size
    return found
