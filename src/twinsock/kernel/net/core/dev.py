"""`struct net_device` and the path of a packet through it (Linux: net/core/dev.c, net/sched/sch_generic.c).

Out: `dev_queue_xmit` > queueing discipline > `dev_hard_start_xmit` > `NetDevice.xmit`. In: `netif_rx` > `Kernel.input_pkt_queue` >
`netif_receive_skb` > `PacketType.func`. Left out: hardware queues, bridges, VLANs, GRO."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.rtnl_notify import rtmsg_ifinfo
from twinsock.kernel.net.core.skbuff import (
    PACKET_BROADCAST,
    PACKET_HOST,
    PACKET_LOOPBACK,
    PACKET_MULTICAST,
    PACKET_OTHERHOST,
    SkBuff,
    kfree_skb_reason,
)
from twinsock.kernel.net.core.tstamp import TX_SCHED, TX_SOFTWARE, skb_tstamp_tx
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import EBUSY, EEXIST, EINVAL, ENETDOWN
from twinsock.uapi.errqueue import SCM_TSTAMP_SCHED, SCM_TSTAMP_SND
from twinsock.uapi.if_ import ETH_P_802_2, ETH_P_802_3, IFF_LOOPBACK, IFF_LOWER_UP, IFF_RUNNING, IFF_UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.protocol import PacketTap
    from twinsock.kernel.net.ipv4.devinet import InDevice
    from twinsock.kernel.net.ipv6.addrconf import Inet6Dev

NETDEV_UP: Final = 1
NETDEV_DOWN: Final = 2
NETDEV_CHANGE: Final = 4
NETDEV_REGISTER: Final = 5
NETDEV_UNREGISTER: Final = 6
NETDEV_CHANGEMTU: Final = 7
NETDEV_CHANGENAME: Final = 8

NET_XMIT_SUCCESS: Final = 0
NET_XMIT_DROP: Final = 1
NET_XMIT_CN: Final = 2

LOOPBACK_IFINDEX: Final = 1
_NO_MAC: Final = bytes(6)
_ETH_P_802_3_MIN: Final = 0x600


class NetdevNotifier:
    """Hears of devices that come, go or change; registered in `Kernel.netdev_chain`."""

    def call(self, event: int, dev: NetDevice) -> None:
        """Take a NETDEV_* event."""
        raise NotImplementedError


class DevStats:
    """`struct rtnl_link_stats64`: the columns of /proc/net/dev."""

    def __init__(self) -> None:
        self.rx_packets = 0
        self.tx_packets = 0
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.rx_errors = 0
        self.tx_errors = 0
        self.rx_dropped = 0
        self.tx_dropped = 0
        self.multicast = 0
        self.rx_otherhost_dropped = 0


class Qdisc:
    """`struct Qdisc`: a queueing discipline, tc(8). `dequeue` gives what may leave now."""

    kind = "noqueue"

    def __init__(self, dev: NetDevice) -> None:
        self.dev = dev
        self.qlen = 0
        self.backlog = 0  # bytes
        self.drops = 0
        self.overlimits = 0
        self.packets = 0
        self.bytes = 0
        self.watchdog: QdiscWatchdog | None = None

    def enqueue(self, skb: SkBuff) -> int:
        """Take a packet: NET_XMIT_SUCCESS, or NET_XMIT_DROP when it was thrown away."""
        raise NotImplementedError

    def dequeue(self) -> SkBuff | None:
        """Give the next packet whose time has come; arms the watchdog when one has to wait."""
        raise NotImplementedError

    def reset(self) -> None:
        """Throw away everything queued."""
        if self.watchdog is not None:
            self.dev.net.kernel.clock.del_timer(self.watchdog)

    def run(self) -> None:
        """Send what may leave, qdisc_run()."""
        skb = self.dequeue()
        while skb is not None:
            self.packets += skb.gso_segs or 1
            self.bytes += qdisc_pkt_len(skb)
            dev_hard_start_xmit(skb, self.dev)
            skb = self.dequeue()

    def watch(self, when_ns: int) -> None:
        """Run again at `when_ns`, qdisc_watchdog_schedule_ns()."""
        if self.watchdog is None:
            self.watchdog = QdiscWatchdog(self)
        if self.watchdog.seq == 0 or self.watchdog.expires_ns != when_ns:
            self.dev.net.kernel.clock.hrtimer_start(self.watchdog, when_ns)

    def drop(self, skb: SkBuff) -> int:
        """Throw a packet away and count it."""
        self.drops += 1
        kfree_skb_reason(skb, dropreason.QDISC_DROP)
        return NET_XMIT_DROP


class QdiscWatchdog(Timer):
    """Wakes a queueing discipline when the next packet may leave."""

    def __init__(self, qdisc: Qdisc) -> None:
        super().__init__()
        self.qdisc = qdisc

    def fire(self) -> None:
        """Send what may leave."""
        self.qdisc.run()


@mypyc_attr(allow_interpreted_subclasses=True)
class NetDevice:
    """A network device; drivers subclass it and override `xmit`."""

    kind = ""  # IFLA_INFO_KIND

    def __init__(self, net: Net, name: str, ifindex: int, mtu: int, type_: int) -> None:
        self.net = net
        self.name = name
        self.ifindex = ifindex
        self.mtu = mtu
        self.type = type_  # ARPHRD_*
        self.flags = 0  # IFF_*
        self.l3mdev_master = 0  # ifindex of the VRF it is enslaved to
        self.min_mtu = 68
        self.max_mtu = 65535
        self.dev_addr = _NO_MAC  # b"" for devices without link addresses
        self.broadcast = b"\xff" * 6
        self.hard_header_len = 14
        self.tx_queue_len = 1000
        self.gso_max_size = 65536
        self.gso_max_segs = 65535
        self.carrier = True
        self.link_peer: NetDevice | None = None
        self.qdisc: Qdisc | None = None  # None: noqueue
        self.stats = DevStats()
        self.ip_ptr: InDevice | None = None
        self.ip6_ptr: Inet6Dev | None = None
        self.promiscuity = 0  # users that want every frame
        self.allmulti = 0  # users that want every group's frames
        self.ptype_all: list[PacketTap] | None = None  # captures and packet sockets on this device
        self.mc: dict[bytes, int] = {}  # link addresses of groups -> users, in order of joining

    def xmit(self, skb: SkBuff) -> int:
        """Put a packet on the wire."""
        raise NotImplementedError

    def has_link_addr(self) -> bool:
        """Tell whether frames carry an Ethernet header."""
        return self.hard_header_len == 14

    def is_up(self) -> bool:
        """Tell whether the interface is administratively up."""
        return bool(self.flags & IFF_UP)

    def is_loopback(self) -> bool:
        """Tell whether this is the loopback device."""
        return bool(self.flags & IFF_LOOPBACK)

    def open(self) -> int:
        """Driver's part of `ip link set up`: 0 or -errno."""
        return 0

    def stop(self) -> None:
        """Driver's part of `ip link set down`."""

    def dellink(self) -> None:
        """Remove the device, `ip link del`, and whatever goes with it."""
        unregister_netdevice(self)

    def netif_receive_skb(self, skb: SkBuff) -> None:
        """Take a packet that arrived (softirq context)."""
        skb.iif = self.ifindex
        net = self.net
        if self.ptype_all is not None or net.ptype_all is not None:
            _deliver_taps(skb, self, False)
        if not self.flags & IFF_UP:
            kfree_skb_reason(skb, dropreason.DEV_READY)
            return
        ptype = net.kernel.ptype_base.get(skb.protocol)
        if ptype is None:
            self.stats.rx_dropped += 1
            kfree_skb_reason(skb, dropreason.UNHANDLED_PROTO)
            return
        ptype.func(skb, self)


def dev_queue_xmit(skb: SkBuff) -> int:
    """Send a packet that has all its headers out of `skb.dev`; what it causes at once on this host has happened on return."""
    dev = skb.dev
    assert dev is not None
    if not dev.flags & IFF_UP:
        kfree_skb_reason(skb, dropreason.DEV_READY)
        dev.stats.tx_dropped += 1
        return -ENETDOWN
    if skb.tx_flags & TX_SCHED:
        skb_tstamp_tx(skb, SCM_TSTAMP_SCHED)
    qdisc = dev.qdisc
    if qdisc is None:
        rc = dev_hard_start_xmit(skb, dev)
    else:
        rc = qdisc.enqueue(skb)
        qdisc.run()
    kernel = dev.net.kernel
    if not kernel.in_softirq:
        kernel.do_softirq()
    return rc


def dev_hard_start_xmit(skb: SkBuff, dev: NetDevice) -> int:
    """Show a packet to the taps and give it to the driver."""
    if dev.ptype_all is not None or dev.net.ptype_all is not None:
        _deliver_taps(skb, dev, True)
    if skb.tx_flags:
        if skb.tx_flags & TX_SOFTWARE:
            skb_tstamp_tx(skb, SCM_TSTAMP_SND)
        skb.tx_flags = 0
    return dev.xmit(skb)


def netif_rx(skb: SkBuff) -> bool:
    """Queue a received packet for the softirq of this host; tell whether there was room."""
    dev = skb.dev
    assert dev is not None
    kernel = dev.net.kernel
    if kernel.input_pkt_queue is None:
        kernel.input_pkt_queue = deque()
    if len(kernel.input_pkt_queue) > kernel.netdev_max_backlog:
        dev.stats.rx_dropped += 1
        kernel.softnet_dropped += 1
        kfree_skb_reason(skb, dropreason.CPU_BACKLOG)
        return False
    kernel.input_pkt_queue.append(skb)
    kernel.softnet_queued += 1
    return True


def eth_type_trans(skb: SkBuff, dev: NetDevice) -> None:
    """Say by its link address who a frame is for (PACKET_*), and by its header what it holds when a program wrote it."""
    if skb.mac_proto >= 0:
        skb.protocol = _eth_protocol(skb)
    dest = skb.mac_dest
    if not dest or dest == dev.dev_addr:
        skb.pkt_type = PACKET_HOST
    elif dest[0] & 1:
        skb.pkt_type = PACKET_BROADCAST if dest == dev.broadcast else PACKET_MULTICAST
    else:
        skb.pkt_type = PACKET_OTHERHOST


def _eth_protocol(skb: SkBuff) -> int:
    """Return the protocol of a frame whose third field may be a length, IEEE 802.3."""
    if skb.mac_proto >= _ETH_P_802_3_MIN:
        return skb.mac_proto
    return ETH_P_802_3 if skb.data[skb.offset : skb.offset + 2] == b"\xff\xff" else ETH_P_802_2


def dev_loopback_xmit(skb: SkBuff) -> int:
    """Give a copy of an outgoing multicast or broadcast back to this host."""
    skb.pkt_type = PACKET_LOOPBACK
    netif_rx(skb)
    dev = skb.dev
    if dev is not None and not dev.net.kernel.in_softirq:
        dev.net.kernel.do_softirq()
    return 0


def qdisc_pkt_len(skb: SkBuff) -> int:
    """Return the bytes a packet takes on an Ethernet-like wire, link headers of all its segments included."""
    header = skb.dev.hard_header_len if skb.dev is not None else 14
    size = skb.l3_len() + header
    if skb.gso_size and skb.gso_segs > 1 and skb.h is not None:
        size += (skb.gso_segs - 1) * (skb.l3_len() - skb.len + header)
    return size


# The life of a device.


def dev_new_index(net: Net) -> int:
    """Give the next interface index of a namespace."""
    net.ifindex += 1
    return net.ifindex


def dev_new_mac(net: Net) -> bytes:
    """Give a locally administered link address, another one at each call on this kernel."""
    kernel = net.kernel
    kernel.next_mac += 1
    return (0x020000000000 | kernel.host_id << 16 | kernel.next_mac & 0xFFFF).to_bytes(6, "big")


def register_netdevice(dev: NetDevice) -> int:
    """Enter a device into its namespace: 0, -EEXIST for a taken name, -EINVAL for a bad one."""
    net = dev.net
    if not dev_valid_name(dev.name):
        return -EINVAL
    if dev_get_by_name(net, dev.name) is not None:
        return -EEXIST
    if dev.ifindex == 0:
        dev.ifindex = dev_new_index(net)
    elif dev_get_by_index(net, dev.ifindex) is not None:
        return -EBUSY
    net.dev_base.append(dev)
    call_netdevice_notifiers(NETDEV_REGISTER, dev)
    rtmsg_ifinfo(dev)
    return 0


def unregister_netdevice(dev: NetDevice) -> None:
    """Take a device out of its namespace, closing it first."""
    dev_close(dev)
    call_netdevice_notifiers(NETDEV_UNREGISTER, dev)
    if dev in dev.net.dev_base:
        dev.net.dev_base.remove(dev)
        rtmsg_ifinfo(dev, True)


def dev_valid_name(name: str) -> bool:
    """Tell whether a name may be an interface's."""
    if not 0 < len(name) < 16 or name in (".", ".."):
        return False
    return all(not (c in "/:" or c.isspace()) for c in name)


def dev_get_by_index(net: Net, ifindex: int) -> NetDevice | None:
    """Find a device by its index."""
    for dev in net.dev_base:
        if dev.ifindex == ifindex:
            return dev
    return None


def dev_get_by_name(net: Net, name: str) -> NetDevice | None:
    """Find a device by its name."""
    for dev in net.dev_base:
        if dev.name == name:
            return dev
    return None


def dev_open(dev: NetDevice) -> int:
    """Bring a device up, `ip link set up`: 0 or -errno."""
    if dev.flags & IFF_UP:
        return 0
    err = dev.open()
    if err:
        return err
    dev.flags |= IFF_UP
    netif_carrier_update(dev)
    rtmsg_ifinfo(dev)
    call_netdevice_notifiers(NETDEV_UP, dev)
    return 0


def dev_close(dev: NetDevice) -> None:
    """Take a device down, `ip link set down`."""
    if not dev.flags & IFF_UP:
        return
    dev.flags &= ~(IFF_UP | IFF_RUNNING | IFF_LOWER_UP)
    dev.stop()
    if dev.qdisc is not None:
        dev.qdisc.reset()
    rtmsg_ifinfo(dev)
    call_netdevice_notifiers(NETDEV_DOWN, dev)


def dev_mc_add(dev: NetDevice, addr: bytes) -> None:
    """Let one more user listen to a link address."""
    dev.mc[addr] = dev.mc.get(addr, 0) + 1


def dev_mc_del(dev: NetDevice, addr: bytes) -> None:
    """Let one user less listen to a link address."""
    users = dev.mc.get(addr, 0) - 1
    if users > 0:
        dev.mc[addr] = users
    elif users == 0:
        del dev.mc[addr]


def netif_carrier_update(dev: NetDevice) -> None:
    """Set the running flags from the state of device and link."""
    up = dev.flags & IFF_UP and dev.carrier
    if up:
        dev.flags |= IFF_RUNNING | IFF_LOWER_UP
    else:
        dev.flags &= ~(IFF_RUNNING | IFF_LOWER_UP)


def dev_set_mtu(dev: NetDevice, mtu: int) -> int:
    """Change the MTU, `ip link set mtu`: 0 or -EINVAL outside the device's limits."""
    if mtu < dev.min_mtu or (dev.max_mtu and mtu > dev.max_mtu):
        return -EINVAL
    if mtu != dev.mtu:
        dev.mtu = mtu
        call_netdevice_notifiers(NETDEV_CHANGEMTU, dev)
        rtmsg_ifinfo(dev)
    return 0


def dev_set_qdisc(dev: NetDevice, qdisc: Qdisc | None) -> None:
    """Replace the queueing discipline, `tc qdisc replace dev X root ...`; what the old one held is lost."""
    if dev.qdisc is not None:
        dev.qdisc.reset()
    dev.qdisc = qdisc


def dev_add_tap(dev: NetDevice, tap: PacketTap) -> None:
    """Show a device's packets to a capture or packet socket."""
    if dev.ptype_all is None:
        dev.ptype_all = []
    dev.ptype_all.append(tap)


def dev_remove_tap(dev: NetDevice, tap: PacketTap) -> None:
    """End `dev_add_tap`."""
    if dev.ptype_all is not None and tap in dev.ptype_all:
        dev.ptype_all.remove(tap)
        if not dev.ptype_all:
            dev.ptype_all = None


def call_netdevice_notifiers(event: int, dev: NetDevice) -> None:
    """Tell everybody of a NETDEV_* event."""
    for notifier in dev.net.kernel.netdev_chain:
        notifier.call(event, dev)


def _deliver_taps(skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
    taps = dev.ptype_all
    if taps is not None:
        for tap in list(taps):
            tap.deliver(skb, dev, outgoing)
    everywhere = dev.net.ptype_all
    if everywhere is not None:
        for tap in list(everywhere):
            tap.deliver(skb, dev, outgoing)
