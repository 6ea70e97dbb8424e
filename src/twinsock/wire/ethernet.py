"""Ethernet II header, IEEE 802.3."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ETH_HEADER_LEN: Final = 14
ETH_BROADCAST: Final = b"\xff\xff\xff\xff\xff\xff"


class Ethhdr:
    """A parsed Ethernet header."""

    def __init__(self, dest: bytes, source: bytes, proto: int) -> None:
        self.dest = dest
        self.source = source
        self.proto = proto

    def emit(self) -> bytes:
        """Give the header's fourteen bytes."""
        return self.dest + self.source + self.proto.to_bytes(2, "big")


def parse(data: bytes, offset: int = 0) -> Ethhdr | None:
    """Parse a header; None when there are fewer than fourteen bytes."""
    if len(data) - offset < ETH_HEADER_LEN:
        return None
    return Ethhdr(data[offset : offset + 6], data[offset + 6 : offset + 12], int.from_bytes(data[offset + 12 : offset + 14], "big"))


def is_multicast(addr: bytes) -> bool:
    """Tell whether the group bit is set (broadcast included)."""
    return bool(addr[0] & 1)


def format_addr(addr: bytes) -> str:
    """Turn six bytes into "02:00:00:00:00:01"."""
    return addr.hex(":")
