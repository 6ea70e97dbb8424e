"""ARP packets for IPv4 over Ethernet, RFC 826."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ARP_LEN: Final = 28
_FIXED: Final = Struct("!HHBBH6sI6sI")


class ArpPacket:
    """A parsed ARP packet: hardware addresses are six bytes, protocol addresses ints in host order."""

    def __init__(self, op: int, sha: bytes, sip: int, tha: bytes, tip: int) -> None:
        self.op = op
        self.sha = sha
        self.sip = sip
        self.tha = tha
        self.tip = tip

    def emit(self) -> bytes:
        """Give the packet's 28 bytes."""
        return _FIXED.pack(1, 0x0800, 6, 4, self.op, self.sha, self.sip, self.tha, self.tip)


def parse(data: bytes, offset: int = 0) -> ArpPacket | None:
    """Parse a packet; None when it is too short or not IPv4 over Ethernet."""
    if len(data) - offset < ARP_LEN:
        return None
    hrd, pro, hln, pln, op, sha, sip, tha, tip = _FIXED.unpack_from(data, offset)
    if hrd != 1 or pro != 0x0800 or hln != 6 or pln != 4:
        return None
    return ArpPacket(op, sha, sip, tha, tip)
