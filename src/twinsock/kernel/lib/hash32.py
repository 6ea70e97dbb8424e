"""Keyed hashes whose arithmetic stays below 62 bits, where compiled integers need no memory.

For what only has to look random to a program: initial sequence numbers and timestamp offsets (Linux: SipHash there, too). Cookies,
which the same key must make the same on Linux, use siphash.py."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_M32: Final = 0xFFFFFFFF
_MULTIPLIER: Final = 0x2C1B3C6D  # below 2**30, odd
_FINISHER: Final = 0x297A2D39


def keyed_hash32(key: tuple[int, int], data: bytes) -> int:
    """Return 32 bits that depend on the key and on every byte of `data`."""
    value = key[0] & _M32
    for pos in range(0, len(data), 4):
        value = ((value ^ int.from_bytes(data[pos : pos + 4], "little")) * _MULTIPLIER) & _M32
        value ^= value >> 15
    value = ((value ^ (key[1] & _M32)) * _FINISHER) & _M32
    return value ^ value >> 16
