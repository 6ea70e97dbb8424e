"""Addresses between text and network-order bytes: dotted quads, RFC 4291 2.2 and RFC 5952, and the spellings of ss(8)."""

from __future__ import annotations

_MAPPED = b"\0" * 10 + b"\xff\xff"


def format_address(address: bytes) -> str:
    """Show 4 or 16 bytes; IPv6 as RFC 5952 has it, v4-mapped addresses with a dotted quad."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
    if address[:12] == _MAPPED:
        return "::ffff:" + format_address(address[12:])
    words = [address[at] << 8 | address[at + 1] for at in range(0, 16, 2)]
    start, length = _longest_zeros(words)
    if length < 2:
        return ":".join([f"{word:x}" for word in words])
    if start == 0 and length == 6:
        return "::" + format_address(address[12:])  # ::a.b.c.d, as inet_ntop(3)
    head = ":".join([f"{word:x}" for word in words[:start]])
    return head + "::" + ":".join([f"{word:x}" for word in words[start + length :]])


def _longest_zeros(words: list[int]) -> tuple[int, int]:
    """Find the first longest run of zero words: (start, length)."""
    best_start, best_length, at = 0, 0, 0
    while at < len(words):
        start = at
        while at < len(words) and words[at] == 0:
            at += 1
        if at - start > best_length:
            best_start, best_length = start, at - start
        at += 1
    return best_start, best_length


def format_host(address: bytes, v6only: bool | None = None, device: str = "") -> str:
    """Show an address as ss does: `*` for a dual-stack wildcard, `[::]` for IPv6 alone, `0.0.0.0%eth0` on a device.

    `v6only` is None where it is not known, and then the wildcard is shown as `[::]` too.
    """
    suffix = "%" + device if device else ""
    if len(address) == 4:
        return format_address(address) + suffix
    if v6only is False and not any(address):
        return "*" + suffix
    return f"[{format_address(address)}]{suffix}"


def format_endpoint(address: bytes, port: int, v6only: bool | None = None, device: str = "") -> str:
    """Show address and port, `*` for port 0: `127.0.0.1:80`, `[::1]:80`, `*:80`, `0.0.0.0:*`."""
    return f"{format_host(address, v6only, device)}:{port or '*'}"


def is_wildcard(address: bytes) -> bool:
    """Tell whether an address is 0.0.0.0 or ::."""
    return not any(address)


def is_mapped(address: bytes) -> bool:
    """Tell whether an address is ::ffff:a.b.c.d."""
    return len(address) == 16 and address[:12] == _MAPPED


def unmapped(address: bytes) -> bytes:
    """Give the IPv4 address inside a v4-mapped one; others stay."""
    return address[12:] if is_mapped(address) else address


def parse_address(text: str) -> bytes | None:
    """Parse an IPv4 or IPv6 address without brackets and scope; None if it is neither."""
    if ":" in text:
        return _parse_ip6(text)
    return _parse_ip4(text)


def _parse_ip4(text: str) -> bytes | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    for part in parts:
        if not (part.isascii() and part.isdecimal()) or len(part) > 3 or int(part) > 255:
            return None
        if len(part) > 1 and part[0] == "0":  # once octal, now refused by inet_pton(3)
            return None
    return bytes([int(part) for part in parts])


def _parse_ip6(text: str) -> bytes | None:
    head, gap, tail = text.partition("::")
    if "::" in tail or (gap and tail[:1] == ":"):
        return None
    left = _parse_words(head, not gap)
    right = _parse_words(tail, True) if gap else b""
    if left is None or right is None:
        return None
    missing = 16 - len(left) - len(right)
    if gap:
        return left + bytes(missing) + right if missing >= 2 else None
    return left if missing == 0 else None


def _parse_words(text: str, last: bool) -> bytes | None:
    """Parse words between colons; a dotted quad may stand for the last two where `last` is set."""
    if not text:
        return b""
    found = b""
    parts = text.split(":")
    for number, part in enumerate(parts):
        if "." in part:
            quad = _parse_ip4(part) if last and number == len(parts) - 1 else None
            if quad is None:
                return None
            found += quad
        elif 1 <= len(part) <= 4 and not part.strip("0123456789abcdefABCDEF"):
            found += int(part, 16).to_bytes(2, "big")
        else:
            return None
    return found
