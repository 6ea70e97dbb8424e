"""TUN and TAP: devices whose wire is an object outside the kernel (Linux: drivers/net/tun.c).

A TUN device carries IP packets, a TAP device Ethernet frames. What the kernel sends goes to `TunWire.transmit`; `deliver` brings
bytes in."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import NetDevice, dev_new_mac, eth_type_trans, netif_rx
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason, skb_head_truesize, skb_orphan
from twinsock.uapi.if_ import (
    ARPHRD_ETHER,
    ARPHRD_NONE,
    ETH_P_IP,
    ETH_P_IPV6,
    IFF_BROADCAST,
    IFF_MULTICAST,
    IFF_NOARP,
    IFF_POINTOPOINT,
)
from twinsock.wire.ethernet import ETH_HEADER_LEN, Ethhdr
from twinsock.wire.ethernet import parse as parse_eth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TUN_HEADROOM: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True)
class TunWire:
    """The far side of a device."""

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        """Take a packet that the kernel sent; `dev.frame(skb)` gives its bytes. A packet with `gso_size` stands for several."""
        raise NotImplementedError


class TunDevice(NetDevice):
    """A device for a program that wants to see packets; `ethernet` makes it a TAP."""

    kind = "tun"

    def __init__(self, net: Net, name: str, wire: TunWire, ethernet: bool = False, mtu: int = 1500) -> None:
        super().__init__(net, name, 0, mtu, ARPHRD_ETHER if ethernet else ARPHRD_NONE)
        self.wire = wire
        self.ethernet = ethernet
        self.tx_queue_len = 1000 if ethernet else 500
        if ethernet:
            self.flags = IFF_BROADCAST | IFF_MULTICAST
            self.dev_addr = dev_new_mac(net)
        else:
            self.flags = IFF_POINTOPOINT | IFF_NOARP | IFF_MULTICAST
            self.dev_addr = b""
            self.hard_header_len = 0

    def xmit(self, skb: SkBuff) -> int:
        """Give a packet to the far side."""
        if skb.sk is not None:
            skb_orphan(skb)
        self.stats.tx_packets += 1
        self.stats.tx_bytes += skb.l3_len() + self.hard_header_len
        self.wire.transmit(self, skb)
        return 0

    def frame(self, skb: SkBuff) -> bytes:
        """Give a packet's bytes as they stand on this device's wire."""
        if self.ethernet:
            return Ethhdr(skb.mac_dest, skb.mac_source, skb.protocol).emit() + skb.l3_bytes()
        return skb.l3_bytes()

    def deliver(self, data: bytes, gso_size: int = 0, gso_segs: int = 0) -> bool:
        """Let bytes arrive from the far side, and process them; tell whether they were taken."""
        offset = 0
        if self.ethernet:
            eth = parse_eth(data)
            if eth is None:
                self.stats.rx_errors += 1
                return False
            offset = ETH_HEADER_LEN
            skb = SkBuff(data, offset)
            skb.mac_dest = eth.dest
            skb.mac_source = eth.source
            skb.protocol = eth.proto
        else:
            version = data[0] >> 4 if data else 0
            if version not in (4, 6):
                self.stats.rx_dropped += 1
                return False
            skb = SkBuff(data)
            skb.protocol = ETH_P_IP if version == 4 else ETH_P_IPV6
        skb.truesize = skb_head_truesize(len(data) + _TUN_HEADROOM)
        skb.gso_size = gso_size
        skb.gso_segs = gso_segs
        return self.deliver_skb(skb)

    def deliver_skb(self, skb: SkBuff) -> bool:
        """Let a packet arrive that was put together elsewhere (`protocol` set), and process it."""
        if not self.is_up():
            self.stats.rx_dropped += 1
            kfree_skb_reason(skb, dropreason.DEV_READY)
            return False
        skb.dev = self
        size = skb.l3_len() + self.hard_header_len
        eth_type_trans(skb, self)
        taken = netif_rx(skb)
        if taken:
            self.stats.rx_packets += 1
            self.stats.rx_bytes += size
        self.net.kernel.do_softirq()
        return taken
