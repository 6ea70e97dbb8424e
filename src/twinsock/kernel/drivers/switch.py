"""A switch that joins interfaces of several simulated hosts, and what happens to frames between two of its ports.

Each direction between two ports is a lane with conditions of its own: a netem discipline (delay, jitter, loss, duplicates, order, rate),
cut off, held back, or judged frame by frame. Ports send one frame for each segment, as a network card without merging receives them.
Linux has no such device: a port looks like one end of a veth pair. Left out: VLANs, learning (every port's address is known)."""

from __future__ import annotations

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
)
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.skbuff import SkBuff, consume_skb, kfree_skb_reason, skb_clone, skb_head_truesize, skb_orphan
from twinsock.kernel.net.sched.sch_netem import NetemQdisc
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.if_ import ARPHRD_ETHER, IFF_BROADCAST, IFF_MULTICAST
from twinsock.wire.ip import Iphdr
from twinsock.wire.tcp import Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PASS: Final = -1  # a judge's verdict: on its way as any other frame
DROP: Final = -2  # thrown away; a verdict of 0 or more is a further delay in nanoseconds

SENT: Final = "sent"  # what an observer hears of a frame
ARRIVED: Final = "arrived"
LOST: Final = "lost"  # by the lane's loss or a full queue
CUT: Final = "cut off"
HELD: Final = "held"
REFUSED: Final = "dropped by a rule"
UNPLUGGED: Final = "nobody there"

_FIN: Final = 0x01
_PSH: Final = 0x08
_CWR: Final = 0x80
_FRAME_COST: Final = 78  # bytes of headers that a receiver's buffer holds beside the payload


class FrameJudge:
    """Decides about single frames of a lane."""

    def judge(self, skb: SkBuff) -> int:
        """Return PASS, DROP, or nanoseconds by which the frame is late."""
        raise NotImplementedError


class FrameObserver:
    """Hears of every frame."""

    def frame(self, lane: Lane, skb: SkBuff, fate: str) -> None:
        """Take note of what became of a frame; `fate` is one of the names above."""
        raise NotImplementedError


class SwitchPort(NetDevice):
    """A host's interface."""

    kind = "veth"

    def __init__(self, net: Net, name: str, switch: Switch, mtu: int = 1500) -> None:
        super().__init__(net, name, 0, mtu, ARPHRD_ETHER)
        self.flags = IFF_BROADCAST | IFF_MULTICAST
        self.dev_addr = dev_new_mac(net)
        self.switch = switch
        self.label = ""  # what the simulation calls the host
        self.lanes: list[Lane] = []  # from here to each other port, in order of the ports

    def xmit(self, skb: SkBuff) -> int:
        """Send a packet's frames to the ports that they are for."""
        skb_orphan(skb)
        skb.dst = None
        skb.ip_flags = 0
        skb.mark = 0
        skb.priority = 0
        for piece in segments_of(skb):
            self.stats.tx_packets += 1
            self.stats.tx_bytes += piece.l3_len() + self.hard_header_len
            self._send(piece)
        return 0

    def _send(self, skb: SkBuff) -> None:
        dest = skb.mac_dest
        if dest and not dest[0] & 1:
            for lane in self.lanes:
                if lane.dest.dev_addr == dest:
                    lane.send(skb)
                    return
            kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
            return
        for lane in self.lanes:
            lane.send(skb_clone(skb))
        consume_skb(skb)

    def set_carrier(self, on: bool) -> None:
        """Plug the cable in or pull it out."""
        if self.carrier != on:
            self.carrier = on
            netif_carrier_update(self)
            call_netdevice_notifiers(NETDEV_CHANGE, self)


class Switch:
    """What the ports are plugged into."""

    def __init__(self) -> None:
        self.ports: list[SwitchPort] = []
        self.observer: FrameObserver | None = None

    def plug(self, port: SwitchPort) -> None:
        """Join a port: lanes from it and to it come into being."""
        for other in self.ports:
            port.lanes.append(Lane(self, port, other))
            other.lanes.append(Lane(self, other, port))
        self.ports.append(port)

    def unplug(self, port: SwitchPort) -> None:
        """Take a port away; what is under way to it arrives nowhere."""
        self.ports.remove(port)
        for other in self.ports:
            other.lanes = [lane for lane in other.lanes if lane.dest is not port]
        for lane in port.lanes:
            lane.gone = True
        port.lanes = []

    def lane(self, source: SwitchPort, dest: SwitchPort) -> Lane | None:
        """Find the direction from one port to another."""
        for lane in source.lanes:
            if lane.dest is dest:
                return lane
        return None


class LaneQueue(NetemQdisc):
    """The netem discipline of a lane."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane.source)
        self.lane = lane

    def run(self) -> None:
        """Let every frame whose time has come arrive."""
        skb = self.dequeue()
        while skb is not None:
            self.lane.carry(skb)
            skb = self.dequeue()


class _Late(Timer):
    """A frame that a judge delayed."""

    def __init__(self, lane: Lane, skb: SkBuff) -> None:
        super().__init__()
        self.lane = lane
        self.skb = skb

    def fire(self) -> None:
        """Go on."""
        self.lane.enqueue(self.skb)


class Lane(Timer):
    """One direction between two ports; as a timer it lets frames arrive as the next event of an instant."""

    def __init__(self, switch: Switch, source: SwitchPort, dest: SwitchPort) -> None:
        super().__init__()
        self.switch = switch
        self.source = source
        self.dest = dest
        self.queue = LaneQueue(self)
        self.judges: list[FrameJudge] = []
        self.cuts = 0  # reasons to let nothing through
        self.holds = 0  # reasons to keep everything back
        self.gone = False  # one of the ports was unplugged
        self.held: deque[SkBuff] | None = None
        self.arriving: deque[SkBuff] | None = None

    def send(self, skb: SkBuff) -> None:
        """Take a frame of the source."""
        if self.cuts:
            self._drop(skb, CUT)
            return
        delay = 0
        for judge in self.judges:
            verdict = judge.judge(skb)
            if verdict == DROP:
                self._drop(skb, REFUSED)
                return
            if verdict > 0:
                delay += verdict
        if delay:
            clock = self.source.net.kernel.clock
            clock.hrtimer_start(_Late(self, skb), clock.now_ns + delay)
            return
        self.enqueue(skb)

    def enqueue(self, skb: SkBuff) -> None:
        """Give a frame to the lane's conditions."""
        if self.holds:
            if self.held is None:
                self.held = deque()
            self.held.append(skb)
            self._tell(skb, HELD)
            return
        before = self.queue.drops
        self._tell(skb, SENT)
        self.queue.enqueue(skb)
        if self.queue.drops != before:
            self._tell(skb, LOST)
        self.queue.run()

    def release(self) -> None:
        """Let what was held go on, in its order, once nothing holds it."""
        held = self.held
        if self.holds or held is None:
            return
        self.held = None
        while held:
            self.enqueue(held.popleft())

    def carry(self, skb: SkBuff) -> None:
        """Let a frame arrive as the next event of this instant, so that no host runs inside another one."""
        if self.arriving is None:
            self.arriving = deque()
        self.arriving.append(skb)
        if self.seq == 0:
            clock = self.source.net.kernel.clock
            clock.hrtimer_start(self, clock.now_ns)

    def fire(self) -> None:
        """Let everything arrive that is due."""
        arriving = self.arriving
        while arriving:
            skb = arriving.popleft()
            if self.cuts:
                self._drop(skb, CUT)
            elif self.gone or self.dest not in self.switch.ports or not self.dest.is_up():
                self._drop(skb, UNPLUGGED)
            else:
                self._tell(skb, ARRIVED)
                _receive(skb, self.dest)

    def _drop(self, skb: SkBuff, fate: str) -> None:
        self._tell(skb, fate)
        kfree_skb_reason(skb, dropreason.QDISC_DROP)

    def _tell(self, skb: SkBuff, fate: str) -> None:
        observer = self.switch.observer
        if observer is not None:
            observer.frame(self, skb, fate)


def _receive(skb: SkBuff, dev: SwitchPort) -> None:
    size = skb.l3_len() + dev.hard_header_len
    skb.dev = dev
    eth_type_trans(skb, dev)
    if netif_rx(skb):
        dev.stats.rx_packets += 1
        dev.stats.rx_bytes += size


def segments_of(skb: SkBuff) -> list[SkBuff]:
    """Cut a packet that stands for several TCP segments into those, tcp_gso_segment(); any other one stays whole."""
    size = skb.gso_size
    h = skb.h
    if not size or skb.len <= size or not isinstance(h, Tcphdr):
        return [skb]
    pieces: list[SkBuff] = []
    at = 0
    while at < skb.len:
        piece = skb_clone(skb)
        piece.offset = skb.offset + at
        piece.len = min(size, skb.len - at)
        piece.gso_size = 0
        piece.gso_segs = 0
        piece.truesize = skb_head_truesize(piece.len + _FRAME_COST)
        piece.h = _header_at(h, at, at + size >= skb.len)
        if skb.nh4 is not None:
            piece.nh4 = _iphdr_at(skb.nh4, len(pieces))
        pieces.append(piece)
        at += size
    consume_skb(skb)
    return pieces


def _header_at(h: Tcphdr, at: int, last: bool) -> Tcphdr:
    """Make the header of the segment `at` bytes into the payload."""
    flags = h.flags if at == 0 else h.flags & ~_CWR
    if not last:
        flags &= ~(_FIN | _PSH)
    copy = Tcphdr(h.source, h.dest, (h.seq + at) & 0xFFFFFFFF, h.ack_seq, flags, h.window)
    copy.urg_ptr = h.urg_ptr
    copy.ts = h.ts
    copy.tsval = h.tsval
    copy.tsecr = h.tsecr
    copy.sacks = h.sacks
    copy.options = h.options
    return copy


def _iphdr_at(nh: Iphdr, number: int) -> Iphdr:
    """Make the IPv4 header of a packet's segment: only the identification counts on."""
    copy = nh.copy()
    copy.id = (nh.id + number) & 0xFFFF
    return copy
