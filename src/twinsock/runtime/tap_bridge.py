"""Real time, and devices of the twin joined to TUN and TAP devices of the machine: programs on the twin talk to real ones.

    bridge = TapBridge(env.baton)
    dev = TunDevice(env.task.net, "tun0", bridge)
    bridge.attach(dev, fd, offload=True)        # fd: /dev/net/tun after TUNSETIFF
    env.run(program)                            # time passes as it does outside

With `offload` (IFF_VNET_HDR and TUNSETOFFLOAD with TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6) a packet may stand for several, which is
what makes a bridge of Python fast. Linux: drivers/net/tun.c, include/uapi/linux/virtio_net.h."""

import os
import select
import struct
import time

from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.kernel import Prng
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.runtime.baton import Baton, Outside
from twinsock.wire.l4 import ones_sum, pseudo_sum4, pseudo_sum6
from twinsock.wire.tcp import TCPHDR_CWR, Tcphdr

_VNET_HDR = struct.Struct("=BBHHHH")
_NEEDS_CSUM = 1
_GSO_TCPV4, _GSO_TCPV6, _GSO_ECN = 1, 4, 0x80
_TCP_CHECK_OFFSET = 16
_READ_SIZE = 65536 + 256
_BATCH = 64  # packets taken from a device before programs have a turn
_READ, _WRITE = os.read, os.write  # as they are before a program's calls are the twin's
_LOOK_NS = 200_000  # how often a busy twin looks outside


class _Link:
    """One device and its descriptor."""

    def __init__(self, dev: TunDevice, fd: int, offload: bool) -> None:
        self.dev = dev
        self.fd = fd
        self.offload = offload


class TapLinks(TunWire):
    """Moves packets between devices of the twin and of the machine."""

    def __init__(self) -> None:
        self.links: list[_Link] = []
        self.prng = Prng(1)
        self.loss_in = 0  # of a million packets that come in, how many are lost
        self.lost_in = 0
        self.refused = 0  # packets that the machine did not take

    def attach(self, dev: TunDevice, fd: int, offload: bool = False) -> None:
        """Join a device to a descriptor of /dev/net/tun, which the caller closes in the end."""
        os.set_blocking(fd, False)
        self.links.append(_Link(dev, fd, offload))

    def catch_up(self) -> None:
        """Move time to now, for who keeps it in step with the real one."""

    def read(self, link: _Link) -> None:
        """Take in what has arrived."""
        for _ in range(_BATCH):
            try:
                data = _READ(link.fd, _READ_SIZE)
            except BlockingIOError:
                return
            if self.loss_in and self.prng.below(1_000_000) < self.loss_in:
                self.lost_in += 1
                continue
            self.catch_up()
            if link.offload:
                self._deliver(link.dev, data)
            else:
                link.dev.deliver(data)

    def _deliver(self, dev: TunDevice, data: bytes) -> None:
        flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = _VNET_HDR.unpack_from(data)
        data = data[_VNET_HDR.size :]
        if flags & _NEEDS_CSUM:
            # the field holds the pseudo header's sum: the sum over everything is the checksum
            at = csum_start + csum_offset
            check = 0xFFFF - ones_sum(data[csum_start:])
            data = data[:at] + (check or 0xFFFF).to_bytes(2, "big") + data[at + 2 :]
        segments = -(-(len(data) - hdr_len) // gso_size) if gso_type and gso_size else 0
        dev.deliver(data, gso_size if segments else 0, segments)

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        """Give a packet to the machine."""
        for link in self.links:
            if link.dev is dev:
                frame = dev.frame(skb)
                if link.offload:
                    frame = _with_header(dev, skb, frame)
                try:
                    _WRITE(link.fd, frame)
                except OSError:
                    self.refused += 1
                return


class TapBridge(TapLinks, Outside):
    """Moves the time of a simulation as the real one passes, too."""

    def __init__(self, baton: Baton) -> None:
        super().__init__()
        self.clock = baton.clock
        self.origin_ns = time.monotonic_ns() - self.clock.now_ns
        self.looked_ns = 0
        baton.outside = self

    def idle(self, baton: Baton) -> bool:
        """Wait for the next timer or packet and let it happen."""
        due = self.clock.next_event_ns()
        wait = 1.0 if due < 0 else max(due - self._now(), 0) / 1e9
        self._take(min(wait, 1.0))
        return True

    def look(self, baton: Baton) -> None:
        """Catch up while programs are busy."""
        if self._now() - self.looked_ns > _LOOK_NS:
            self._take(0)

    def catch_up(self) -> None:
        """Move time to now."""
        self.clock.advance_to(self._now())

    def _now(self) -> int:
        return time.monotonic_ns() - self.origin_ns

    def _take(self, wait: float) -> None:
        ready = select.select([link.fd for link in self.links], [], [], wait)[0]
        self.catch_up()
        for link in self.links:
            if link.fd in ready:
                self.read(link)
        self.looked_ns = self._now()


def _with_header(dev: TunDevice, skb: SkBuff, frame: bytes) -> bytes:
    """Put a virtio header before a frame; a segment larger than its `gso_size` is left for the machine to cut."""
    th = skb.h
    if not isinstance(th, Tcphdr) or not skb.gso_size or skb.len <= skb.gso_size:
        return bytes(_VNET_HDR.size) + frame
    size = skb.len + th.header_len()
    start = len(frame) - size
    if skb.nh4 is not None:
        kind, pseudo = _GSO_TCPV4, pseudo_sum4(skb.nh4.saddr, skb.nh4.daddr, 6, size)
    elif skb.nh6 is not None:
        kind, pseudo = _GSO_TCPV6, pseudo_sum6(skb.nh6.saddr, skb.nh6.daddr, 6, size)
    else:
        return bytes(_VNET_HDR.size) + frame
    if th.flags & TCPHDR_CWR:
        kind |= _GSO_ECN
    header = _VNET_HDR.pack(_NEEDS_CSUM, kind, start + th.header_len(), skb.gso_size, start, _TCP_CHECK_OFFSET)
    at = start + _TCP_CHECK_OFFSET
    return header + frame[:at] + (pseudo % 0xFFFF).to_bytes(2, "big") + frame[at + 2 :]
