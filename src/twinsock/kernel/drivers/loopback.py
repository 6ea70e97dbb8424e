"""The loopback device (Linux: drivers/net/loopback.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import LOOPBACK_IFINDEX, NetDevice, eth_type_trans, netif_rx, register_netdevice
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.skbuff import SkBuff, skb_orphan
from twinsock.uapi.if_ import ARPHRD_LOOPBACK, IFF_LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel


class LoopbackDev(NetDevice):
    """`lo`: what it sends it receives, on the same host, in the next softirq."""

    def __init__(self, net: Net) -> None:
        super().__init__(net, "lo", LOOPBACK_IFINDEX, 65536, ARPHRD_LOOPBACK)
        self.flags = IFF_LOOPBACK
        self.min_mtu = 0
        self.max_mtu = 0
        self.broadcast = bytes(6)
        self.tx_queue_len = 1000

    def xmit(self, skb: SkBuff) -> int:
        """Hand the packet to our own input queue; it is nobody's charge from here on, and keeps its route."""
        if skb.sk is not None:
            skb_orphan(skb)
        eth_type_trans(skb, self)
        size = skb.l3_len()
        if netif_rx(skb):
            stats = self.stats
            stats.rx_packets += 1
            stats.tx_packets += 1
            stats.rx_bytes += size
            stats.tx_bytes += size
        return 0


class _LoopbackNetOps(PernetOperations):
    def init(self, net: Net) -> None:
        dev = LoopbackDev(net)
        net.ifindex = LOOPBACK_IFINDEX
        net.loopback_dev = dev
        register_netdevice(dev)

    def exit(self, net: Net) -> None:
        while net.dev_base:
            net.dev_base[-1].dellink()
        net.loopback_dev = None


def loopback_init(kernel: Kernel) -> None:
    """Give every namespace its `lo`, down."""
    register_pernet_subsys(kernel, _LoopbackNetOps())
