"""`struct sk_buff` (Linux: include/linux/skbuff.h, net/core/skbuff.c).

A packet in flight carries parsed headers (`nh`, `h`) and a view of its payload: bytes, offset, length. Nobody copies the
payload on the wire; real bytes appear only where `wire` is asked for them (packet sockets, pcap, TAP, raw sockets)."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.net.ipv4.route import Dst
    from twinsock.wire.ip import Iphdr
    from twinsock.wire.ip6 import Ipv6hdr
    from twinsock.wire.l4 import L4Header

PACKET_HOST: Final = 0
PACKET_BROADCAST: Final = 1
PACKET_MULTICAST: Final = 2
PACKET_OTHERHOST: Final = 3
PACKET_OUTGOING: Final = 4
PACKET_LOOPBACK: Final = 5


class SkBuff:
    """A packet, or a piece of a stream, with the memory it is charged for (`truesize`)."""

    def __init__(self, data: bytes = b"", offset: int = 0, length: int = -1) -> None:
        self.data = data
        self.offset = offset
        self.len = len(data) - offset if length < 0 else length
        self.truesize = 0
        self.sk: Sock | None = None  # who is charged
        self.dev: NetDevice | None = None
        self.protocol = 0  # ETH_P_*
        self.pkt_type = PACKET_HOST
        self.tstamp_ns = 0
        self.mark = 0
        self.priority = 0
        self.nh4: Iphdr | None = None
        self.nh6: Ipv6hdr | None = None
        self.h: L4Header | None = None  # transport header; each protocol knows its subclass
        self.dst: Dst | None = None
        self.gso_size = 0
        self.gso_segs = 0
        self.iif = 0  # device it came in on

    def payload(self) -> bytes:
        """Return the payload as bytes of its own."""
        if self.offset == 0 and self.len == len(self.data):
            return self.data
        return self.data[self.offset : self.offset + self.len]

    def receive(self) -> None:
        """Hand the packet to the stack of the device it arrived on (softirq context)."""
        if self.dev is not None:
            self.dev.netif_receive_skb(self)

    def destructor(self) -> None:
        """Give the memory charge back to the socket; subclasses know how."""
