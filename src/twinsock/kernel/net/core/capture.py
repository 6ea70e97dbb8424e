"""Recording what a device sends and receives as pcapng, like tcpdump(8) (a tap of `NetDevice.ptype_all`).

Bytes are made here, for captured packets only. On `lo` a packet is recorded once, when it is received."""

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core.dev import NetDevice, dev_add_tap, dev_remove_tap
from twinsock.kernel.net.core.protocol import PacketTap
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.wire.ethernet import Ethhdr
from twinsock.wire.pcapng import (
    DIR_INBOUND,
    DIR_OUTBOUND,
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    EnhancedPacket,
    interface_description,
    section_header,
)

_NO_MAC = bytes(6)


@mypyc_attr(allow_interpreted_subclasses=True)
class CaptureSink:
    """Where a capture's bytes go; the runtime's writes a file."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        raise NotImplementedError


class MemorySink(CaptureSink):
    """Keeps the bytes."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep the next bytes."""
        self.chunks.append(data)

    def getvalue(self) -> bytes:
        """Return everything."""
        return b"".join(self.chunks)


class Capture(PacketTap):
    """One pcapng file over any number of devices, of one host or several."""

    def __init__(self, sink: CaptureSink, snaplen: int = 0, application: str = "twinsock") -> None:
        self.sink = sink
        self.snaplen = snaplen  # bytes kept of a packet, 0: all
        self.devices: list[NetDevice] = []
        sink.write(section_header(application))

    def attach(self, dev: NetDevice, label: str = "") -> None:
        """Record a device under its name, or another one where hosts' names would clash."""
        linktype = LINKTYPE_ETHERNET if dev.has_link_addr() else LINKTYPE_RAW
        self.sink.write(interface_description(label or dev.name, linktype, self.snaplen))
        self.devices.append(dev)
        dev_add_tap(dev, self)

    def detach(self) -> None:
        """Stop recording."""
        for dev in self.devices:
            dev_remove_tap(dev, self)

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Record a packet."""
        if outgoing and dev.is_loopback():
            return
        interface = 0
        while self.devices[interface] is not dev:
            interface += 1
        data = skb.l3_bytes()
        if dev.has_link_addr():
            data = Ethhdr(skb.mac_dest or _NO_MAC, skb.mac_source or _NO_MAC, skb.protocol).emit() + data
        size = len(data)
        if self.snaplen:
            data = data[: self.snaplen]
        clock = dev.net.kernel.clock
        direction = DIR_OUTBOUND if outgoing else DIR_INBOUND
        self.sink.write(EnhancedPacket(interface, clock.now_ns + clock.realtime_offset_ns, data, size, direction, skb.comment).emit())
