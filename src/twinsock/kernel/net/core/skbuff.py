"""`struct sk_buff` (Linux: include/linux/skbuff.h, net/core/skbuff.c).

A packet in flight carries parsed headers (`nh`, `h`) and a view of its payload: bytes, offset, length. Nobody copies the
payload on the wire; real bytes appear only where `wire` is asked for them (packet sockets, pcap, TAP, raw sockets)."""

from __future__ import annotations

from twinsock.uapi.if_ import ETH_P_IP, ETH_P_IPV6
from twinsock.wire.ip6 import skip_exthdrs
from twinsock.wire.l4 import pseudo_sum4, pseudo_sum6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.dst import Dst
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.wire.ip import Iphdr
    from twinsock.wire.ip6 import Ipv6hdr
    from twinsock.wire.l4 import L4Header

PACKET_HOST: Final = 0
PACKET_BROADCAST: Final = 1
PACKET_MULTICAST: Final = 2
PACKET_OTHERHOST: Final = 3
PACKET_OUTGOING: Final = 4
PACKET_LOOPBACK: Final = 5

# ip_flags
IPSKB_FORWARDED: Final = 1
IPSKB_REROUTED: Final = 16
IPSKB_DOREDIRECT: Final = 32
IPSKB_FRAG_PMTU: Final = 64

_SKB_STRUCT: Final = 256  # bytes of the sk_buff itself
_SHARED_INFO: Final = 320
_SMALL_HEAD: Final = 576


class SkbDestructor:
    """Gives the memory charge of a packet back when it is freed or changes hands."""

    def destruct(self, skb: SkBuff) -> None:
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
        self.ipi_ifindex = 0  # IP_PKTINFO as it was when the packet was queued
        self.ipi_spec_dst = 0
        self.mac_dest = b""  # link addresses, b"": none yet
        self.mac_source = b""
        self.mac_proto = -1  # EtherType of a header that a program wrote, -1: `protocol`
        self.ip_flags = 0  # IPSKB_*: what happened to it on the way
        self.frag_max_size = 0  # size of the largest fragment it was put together from
        self.outer: SkBuff | None = None  # a quoted packet: the ICMP message that quotes it
        self.tx_flags = 0  # stamps wanted of it: TX_SCHED, TX_SOFTWARE of tstamp.py
        self.tskey = 0  # what its stamps are known by
        self.comment = ""  # for captures: what the simulation did to it

    def payload(self) -> bytes:
        """Return the payload as bytes of its own."""
        if self.offset == 0 and self.len == len(self.data):
            return self.data
        return self.data[self.offset : self.offset + self.len]

    def receive(self) -> None:
        """Hand the packet to the stack of the device it arrived on (softirq context)."""
        if self.dev is not None:
            self.dev.netif_receive_skb(self)

    def l4_len(self) -> int:
        """Return the bytes behind the network header: transport header and payload."""
        return self.len if self.h is None else self.len + self.h.header_len()

    def l3_len(self) -> int:
        """Return the bytes from the network header on, which is what Linux calls `skb->len` below the transport."""
        size = self.len
        h = self.h
        if h is not None:
            size += h.header_len()
        nh4 = self.nh4
        if nh4 is not None:
            return size + 20 + len(nh4.options)
        nh6 = self.nh6
        return size if nh6 is None else size + 40 + len(nh6.exthdrs)

    def l4_bytes(self) -> bytes:
        """Give transport header and payload as bytes, with checksums."""
        h = self.h
        payload = self.payload()
        if h is None:
            return payload
        size = len(payload) + h.header_len()
        pseudo = 0
        if self.nh4 is not None:
            pseudo = pseudo_sum4(self.nh4.saddr, self.nh4.daddr, self.nh4.protocol, size)
        elif self.nh6 is not None:
            pseudo = pseudo_sum6(self.nh6.saddr, self.nh6.daddr, self.transport(), size)
        return h.to_bytes(payload, pseudo)

    def l4_pseudo_sum(self) -> int:
        """Return the sum over the pseudo header of a transport packet whose payload still holds its header."""
        if self.nh4 is not None:
            return pseudo_sum4(self.nh4.saddr, self.nh4.daddr, self.nh4.protocol, self.len)
        if self.nh6 is not None:
            return pseudo_sum6(self.nh6.saddr, self.nh6.daddr, self.transport(), self.len)
        return 0

    def l3_bytes(self) -> bytes:
        """Give the packet as bytes from the network header on."""
        body = self.l4_bytes()
        if self.nh4 is not None:
            return self.nh4.emit(len(body)) + body
        if self.nh6 is not None:
            return self.nh6.emit(len(body)) + body
        return body

    def transport(self) -> int:
        """Return the transport protocol number, behind extension headers too (-1: none to be found)."""
        if self.nh4 is not None:
            return self.nh4.protocol
        if self.nh6 is not None:
            return skip_exthdrs(self.nh6.nexthdr, self.nh6.exthdrs)[0] if self.nh6.exthdrs else self.nh6.nexthdr
        return -1

    def linearize(self) -> None:
        """Turn the packet into bytes from the network header on; whoever gets it parses and verifies it."""
        data = self.l3_bytes()
        if self.nh4 is not None:
            self.protocol = ETH_P_IP
        elif self.nh6 is not None:
            self.protocol = ETH_P_IPV6
        self.data = data
        self.offset = 0
        self.len = len(data)
        self.nh4 = None
        self.nh6 = None
        self.h = None

    def pull(self, count: int) -> None:
        """Take `count` bytes off the front of the payload."""
        self.offset += count
        self.len -= count


class SockExtendedErr:
    """`struct sock_extended_err`: an entry of an error queue, recvmsg(2) with MSG_ERRQUEUE."""

    def __init__(self, errno: int, origin: int, type_: int, code: int, info: int, data: int) -> None:
        self.ee_errno = errno
        self.ee_origin = origin
        self.ee_type = type_
        self.ee_code = code
        self.ee_info = info
        self.ee_data = data
        self.opt_stats = False  # the data is SCM_TIMESTAMPING_OPT_STATS

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


def skb_clone(skb: SkBuff) -> SkBuff:
    """Return another packet with the same headers and payload, charged to nobody."""
    other = SkBuff(skb.data, skb.offset, skb.len)
    other.truesize = skb.truesize
    other.dev = skb.dev
    other.protocol = skb.protocol
    other.pkt_type = skb.pkt_type
    other.tstamp_ns = skb.tstamp_ns
    other.mark = skb.mark
    other.priority = skb.priority
    other.nh4 = skb.nh4
    other.nh6 = skb.nh6
    other.h = skb.h
    other.dst = skb.dst
    other.gso_size = skb.gso_size
    other.gso_segs = skb.gso_segs
    other.iif = skb.iif
    other.mac_dest = skb.mac_dest
    other.mac_source = skb.mac_source
    other.mac_proto = skb.mac_proto
    other.ip_flags = skb.ip_flags
    other.frag_max_size = skb.frag_max_size
    other.comment = skb.comment
    return other


def kfree_skb_reason(skb: SkBuff, reason: str) -> None:
    """Drop a packet for a reason of net/core/dropreason.py."""
    trace = skb.dev.net.kernel.trace if skb.dev is not None else None
    if trace is not None:
        trace.kfree_skb(skb, reason)
    kfree_skb(skb)


def skb_head_truesize(size: int) -> int:
    """Return what a packet with a linear buffer of `size` bytes is charged, alloc_skb()."""
    needed = ((size + 63) & ~63) + _SHARED_INFO
    if needed <= _SMALL_HEAD:
        return _SKB_STRUCT + _SMALL_HEAD
    bucket = 1024
    while bucket < needed:
        bucket <<= 1
    return _SKB_STRUCT + bucket
