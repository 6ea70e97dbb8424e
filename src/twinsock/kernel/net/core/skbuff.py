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


class SkbDestructor:
    """Gives the memory charge of a packet back when it is freed or changes hands."""

    def destruct(self, skb: "SkBuff") -> None:
        """Uncharge `skb.sk`."""
        raise NotImplementedError


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
        self.destructor: SkbDestructor | None = None
        self.users = 1
        self.dropcount = 0  # the receiver's drops when this was queued, SO_RXQ_OVFL
        self.ee: SockExtendedErr | None = None  # in an error queue: what happened
        self.addr_offset = -1  # in an error queue: where the original destination stands in the data
        self.port = 0

    def payload(self) -> bytes:
        """Return the payload as bytes of its own."""
        if self.offset == 0 and self.len == len(self.data):
            return self.data
        return self.data[self.offset : self.offset + self.len]

    def receive(self) -> None:
        """Hand the packet to the stack of the device it arrived on (softirq context)."""
        if self.dev is not None:
            self.dev.netif_receive_skb(self)


class SockExtendedErr:
    """`struct sock_extended_err`: an entry of an error queue, recvmsg(2) with MSG_ERRQUEUE."""

    def __init__(self, errno: int, origin: int, type_: int, code: int, info: int, data: int) -> None:
        self.ee_errno = errno
        self.ee_origin = origin
        self.ee_type = type_
        self.ee_code = code
        self.ee_info = info
        self.ee_data = data

    def pack(self) -> bytes:
        """Return its 16 bytes."""
        head = self.ee_errno.to_bytes(4, "little") + bytes((self.ee_origin, self.ee_type, self.ee_code, 0))
        return head + self.ee_info.to_bytes(4, "little") + self.ee_data.to_bytes(4, "little")


def skb_orphan(skb: SkBuff) -> None:
    """Uncharge whoever owns the packet."""
    destructor = skb.destructor
    if destructor is not None:
        skb.destructor = None
        destructor.destruct(skb)
    skb.sk = None


def skb_get(skb: SkBuff) -> SkBuff:
    """Take a reference."""
    skb.users += 1
    return skb


def kfree_skb(skb: SkBuff) -> None:
    """Drop a reference; the last one gives the memory charge back."""
    skb.users -= 1
    if skb.users <= 0:
        skb_orphan(skb)


def consume_skb(skb: SkBuff) -> None:
    """Drop a reference to a packet that reached its goal."""
    kfree_skb(skb)
