"""Why packets were dropped: the twin's tracepoint beside the live kernel's skb:kfree_skb.

The live side sees only what happens in the thread that writes the packet to a TUN device: it is received before write(2) returns."""

import os
import threading

from tests.tcpwire import HostWire, TwinWire
from twinsock.host.tracefs import TraceInstance
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.trace import Trace


class TwinReasons(Trace):
    """Collects the reasons of a twin."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def kfree_skb(self, skb: SkBuff, reason: str) -> None:
        """Note a reason."""
        self.found.append(reason)

    def take(self) -> list[str]:
        """Return the reasons since the last call."""
        found, self.found = self.found, []
        return found


class HostReasons:
    """Collects the reasons of the live kernel in the calling process and the children that it will have; needs root."""

    def __init__(self) -> None:
        self.instance = TraceInstance()
        self.instance.follow(os.getpid())
        assert self.instance.enable("skb/kfree_skb")
        self.instance.start()

    def take(self) -> list[str]:
        """Return the reasons since the last call, of the calling thread; not those of interrupts that came in between.

        What is written to a TUN device is received by the thread itself; an interrupt handles packets of everybody.
        """
        return [reason for reason, own in self.take_all() if own]

    def take_all(self) -> list[tuple[str, bool]]:
        """Return the reasons since the last call, and whether the thread itself dropped the packet, or an interrupt in it."""
        tid = threading.get_native_id()
        mine = [event for event in self.instance.read(final=True) if event.tid == tid]
        return [(event.text.rpartition("reason: ")[2], event.context[2:3] == ".") for event in mine]

    def close(self) -> None:
        """Leave nothing behind."""
        self.instance.close()


class TwinDrops(TwinWire):
    """A TUN device of the twin that says why it dropped what was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons = TwinReasons()
        self.world.kernel.trace = self.reasons
        self.drops: list[str] = []  # of the last packet: nothing or one reason

    def deliver(self, packet: bytes) -> None:
        """Send a packet to the kernel."""
        self.reasons.take()
        self.dev.deliver(packet)
        self.drops = self.reasons.take()
        self.world.run(0.02)


class HostDrops(HostWire):
    """A TUN device of the live kernel; to be made in a fresh network namespace."""

    def __init__(self, reasons: HostReasons) -> None:
        super().__init__()
        self.reasons = reasons
        self.drops: list[str] = []

    def deliver(self, packet: bytes) -> None:
        """Send a packet to the kernel."""
        self.reasons.take()
        super().deliver(packet)
        self.drops = self.reasons.take()
