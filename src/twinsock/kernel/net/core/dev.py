"""`struct net_device` and the path of a packet through it (Linux: net/core/dev.c)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.skbuff import SkBuff


class NetDevice:
    """A network device; drivers subclass it and override `xmit`."""

    def __init__(self, net: "Net", name: str, ifindex: int, mtu: int, type_: int) -> None:
        self.net = net
        self.name = name
        self.ifindex = ifindex
        self.mtu = mtu
        self.type = type_  # ARPHRD_*
        self.flags = 0  # IFF_*
        self.l3mdev_master = 0  # ifindex of the VRF it is enslaved to

    def xmit(self, skb: "SkBuff") -> int:
        """Put a packet on the wire."""
        raise NotImplementedError

    def netif_receive_skb(self, skb: "SkBuff") -> None:
        """Take a packet that arrived (softirq context)."""
        raise NotImplementedError
