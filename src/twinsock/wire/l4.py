"""The common base of transport headers, so that one field of a packet can hold any of them; the Internet checksum, RFC 1071."""


class L4Header:
    """A parsed transport header; TCP, UDP and ICMP subclass it."""

    def __init__(self, source: int = 0, dest: int = 0) -> None:
        self.source = source  # port, host order
        self.dest = dest
        self.check = 0  # 0 with no fault: checksums are computed where bytes appear
        self.csum_bad = False  # arrived with a checksum that does not match

    def header_len(self) -> int:
        """Return the bytes that the header takes with its options."""
        raise NotImplementedError

    def to_bytes(self, payload: bytes, pseudo_sum: int) -> bytes:
        """Give header and payload as bytes; `pseudo_sum` is the sum over the pseudo header."""
        raise NotImplementedError


def ones_sum(data: bytes) -> int:
    """Sum 16-bit words modulo 0xFFFF; an odd byte at the end counts as the high half of a word."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def csum_fold(total: int) -> int:
    """Turn a sum over data that is not all zero into the checksum field."""
    check = 0xFFFF - total % 0xFFFF
    return 0 if check == 0xFFFF else check


def pseudo_sum4(saddr: int, daddr: int, protocol: int, length: int) -> int:
    """Sum the IPv4 pseudo header, RFC 9293 3.1."""
    return ((saddr >> 16) + (saddr & 0xFFFF) + (daddr >> 16) + (daddr & 0xFFFF) + protocol + length) % 0xFFFF


def pseudo_sum6(saddr: bytes, daddr: bytes, protocol: int, length: int) -> int:
    """Sum the IPv6 pseudo header, RFC 8200 8.1."""
    return (ones_sum(saddr) + ones_sum(daddr) + protocol + (length >> 16) + (length & 0xFFFF)) % 0xFFFF
