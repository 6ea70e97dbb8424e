"""A pair of virtual Ethernet devices (Linux: drivers/net/veth.c).

The two ends may be in one namespace, in two of one host, or on two hosts that share a clock. Between hosts a frame takes an event of
its own, at the same instant, so that no host runs inside another one. A link's delay and loss are a netem queueing discipline."""

from collections import deque

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.dev import (
    NETDEV_CHANGE,
    NetDevice,
    call_netdevice_notifiers,
    dev_new_mac,
    eth_type_trans,
    netif_carrier_update,
    netif_rx,
    register_netdevice,
    unregister_netdevice,
)
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason, skb_orphan
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.if_ import ARPHRD_ETHER, IFF_BROADCAST, IFF_MULTICAST


class _Wire(Timer):
    """Frames on their way to a device of another host."""

    def __init__(self, dev: "VethDev") -> None:
        super().__init__()
        self.dev = dev
        self.frames: deque[SkBuff] = deque()

    def carry(self, skb: SkBuff) -> None:
        """Let a frame arrive as the next event of this instant."""
        self.frames.append(skb)
        if self.seq == 0:
            clock = self.dev.net.kernel.clock
            clock.hrtimer_start(self, clock.now_ns)

    def fire(self) -> None:
        """Let everything arrive."""
        frames = self.frames
        while frames:
            _receive(frames.popleft(), self.dev)


class VethDev(NetDevice):
    """One end."""

    kind = "veth"

    def __init__(self, net: Net, name: str, mtu: int = 1500) -> None:
        super().__init__(net, name, 0, mtu, ARPHRD_ETHER)
        self.flags = IFF_BROADCAST | IFF_MULTICAST
        self.dev_addr = dev_new_mac(net)
        self.carrier = False
        self.peer: VethDev | None = None
        self.wire: _Wire | None = None  # towards this end, from another host

    def open(self) -> int:
        """The link is there when both ends are up."""
        peer = self.peer
        if peer is not None and peer.is_up():
            self.carrier = True
            peer.carrier = True
            netif_carrier_update(peer)
            call_netdevice_notifiers(NETDEV_CHANGE, peer)
        return 0

    def stop(self) -> None:
        """The other end loses the link."""
        self.carrier = False
        peer = self.peer
        if peer is not None and peer.carrier:
            peer.carrier = False
            netif_carrier_update(peer)
            call_netdevice_notifiers(NETDEV_CHANGE, peer)

    def dellink(self) -> None:
        """Remove both ends."""
        veth_dellink(self)

    def xmit(self, skb: SkBuff) -> int:
        """Hand a frame to the other end, stripped of what only this host knows."""
        peer = self.peer
        size = skb.l3_len() + 14
        if peer is None:
            self.stats.tx_dropped += 1
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return 0
        if skb.sk is not None:
            skb_orphan(skb)
        stats = self.stats
        stats.tx_packets += 1
        stats.tx_bytes += size
        skb.dst = None
        skb.ip_flags = 0
        if peer.net is not self.net:
            skb.mark = 0
            skb.priority = 0
        if peer.net.kernel is self.net.kernel:
            _receive(skb, peer)
        else:
            if peer.wire is None:
                peer.wire = _Wire(peer)
            peer.wire.carry(skb)
        return 0


def veth_newlink(net: Net, name: str, peer_net: Net, peer_name: str, mtu: int = 1500) -> tuple[int, VethDev | None, VethDev | None]:
    """Make a pair, `ip link add NAME type veth peer name PEER`: (0, one end, the other), or (-errno, None, None)."""
    dev = VethDev(net, name, mtu)
    other = VethDev(peer_net, peer_name, mtu)
    dev.peer = other
    other.peer = dev
    dev.link_peer = other
    other.link_peer = dev
    err = register_netdevice(other)
    if err:
        return err, None, None
    err = register_netdevice(dev)
    if err:
        unregister_netdevice(other)
        return err, None, None
    return 0, dev, other


def veth_dellink(dev: VethDev) -> None:
    """Remove both ends, `ip link del`."""
    peer = dev.peer
    dev.peer = None
    unregister_netdevice(dev)
    if peer is not None:
        peer.peer = None
        unregister_netdevice(peer)


def _receive(skb: SkBuff, dev: VethDev) -> None:
    if not dev.is_up():
        dev.stats.rx_dropped += 1
        kfree_skb_reason(skb, dropreason.DEV_READY)
        return
    size = skb.l3_len() + 14
    skb.dev = dev
    eth_type_trans(skb, dev)
    if netif_rx(skb):
        dev.stats.rx_packets += 1
        dev.stats.rx_bytes += size
