"""Where layers are plugged together: packet types, transport protocols, raw sockets (Linux: include/net/protocol.h, netdevice.h)."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.skbuff import SkBuff


class PacketType:
    """`struct packet_type`: the network layer that takes frames of one EtherType."""

    def func(self, skb: SkBuff, dev: NetDevice) -> int:
        """Take a received packet."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class NetProtocol:
    """`struct net_protocol`, `struct inet6_protocol`: a transport over IPv4 or IPv6.

    `handler` gets a packet for this host. `skb.nh4` or `skb.nh6` is set. `skb.h` is the transport header when the packet never was
    bytes; when it is None the header is still in the payload, and the handler parses and verifies it.

    `err_handler` gets an ICMP error. `skb.nh4` or `skb.nh6` is the quoted header (our own packet: its source is our address),
    `skb.payload()` the quoted transport bytes, eight at least, and `skb.outer` the ICMP message, whose source is who complains.
    `info` is the next-hop MTU or the pointer. IPv6: `type_` and `code` are ICMPv6's."""

    no_policy = False  # IPv6: INET6_PROTO_NOPOLICY
    final = True  # IPv6: no header follows

    def handler(self, skb: SkBuff) -> int:
        """Take a packet; >= 0 when it was consumed, -N to hand it on to protocol N."""
        raise NotImplementedError

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """Take an ICMP error: 0, or -ENOENT when no socket sent that packet."""
        return 0


@mypyc_attr(allow_interpreted_subclasses=True)
class RawHook:
    """What raw sockets of one address family want of the network layer; registered at `Kernel.raw_hook4` and `raw_hook6`."""

    def local_deliver(self, skb: SkBuff, protocol: int) -> bool:
        """Give copies of a packet to matching raw sockets; tell whether there was one."""
        return False

    def icmp_error(self, skb: SkBuff, protocol: int, type_: int, code: int, info: int) -> None:
        """Report an ICMP error (as for `NetProtocol.err_handler`) to raw sockets."""


class PacketTap:
    """Sees every packet of a device, or of all: packet sockets and captures. Registered in `ptype_all` lists."""

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Look at a packet; it must not be changed."""
        raise NotImplementedError
