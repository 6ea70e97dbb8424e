"""The event log of a simulation: every turn of a task, every frame, every fault, in the order in which they happened.

Its checksum says whether two runs were the same; its end is drawn when a run failed."""

import zlib
from collections import deque

from twinsock.kernel.drivers.switch import SENT, FrameObserver, Lane
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.time.timer import Clock
from twinsock.runtime.baton import BatonTask
from twinsock.uapi.if_ import ETH_P_ARP
from twinsock.wire.icmp import Icmphdr
from twinsock.wire.tcp import Tcphdr

KEPT = 200  # frames for the picture
_FLAGS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x20, "U"), (0x40, "E"), (0x80, "W"), (0x10, "."))


class FrameLine:
    """One frame: when, from whom to whom, what it was, what became of it."""

    def __init__(self, number: int, at_ns: int, source: str, dest: str, text: str, fate: str) -> None:
        self.number = number
        self.at_ns = at_ns
        self.source = source
        self.dest = dest
        self.text = text
        self.fate = fate
        self.end_ns = -1


class Journal(FrameObserver):
    """Collects events; `keep` keeps each as a line of text."""

    def __init__(self, clock: Clock, keep: bool = False) -> None:
        self.clock = clock
        self.crc = 0
        self.events = 0
        self.frames: deque[FrameLine] = deque(maxlen=KEPT)
        self.under_way: dict[int, FrameLine] = {}
        self.frame_count = 0
        self.story: list[str] | None = [] if keep else None

    def add(self, text: str) -> None:
        """Enter an event."""
        line = f"{self.clock.now_ns} {text}"
        self.crc = zlib.crc32(line.encode("utf-8", "replace"), self.crc)
        self.events += 1
        if self.story is not None:
            self.story.append(line)

    def turn(self, task: BatonTask, host: str) -> None:
        """Enter that a task runs."""
        self.add(f"{host} task {task.pid} runs")

    def frame(self, lane: Lane, skb: SkBuff, fate: str) -> None:
        """Enter what became of a frame."""
        source, dest = lane.source.label, lane.dest.label
        text = describe(skb)
        self.add(f"{source} > {dest} {text} {fate}")
        if fate != SENT:
            known = self.under_way.pop(id(skb), None)
            if known is not None:
                known.fate, known.end_ns = fate, self.clock.now_ns
                return
        self.frame_count += 1
        entry = FrameLine(self.frame_count, self.clock.now_ns, source, dest, text, fate)
        self.frames.append(entry)
        if fate == SENT:
            self.under_way[id(skb)] = entry


def describe(skb: SkBuff) -> str:
    """Say what a frame is, about as tcpdump(8) does."""
    h = skb.h
    proto = skb.transport() if skb.nh6 is not None else skb.nh4.protocol if skb.nh4 is not None else 0
    if isinstance(h, Tcphdr):
        return f"{h.source} > {h.dest} {tcp_text(h, skb.len)}"
    if skb.protocol == ETH_P_ARP:
        return "ARP"
    if proto == 17:
        return f"{h.source} > {h.dest} UDP, length {skb.len}" if h is not None else f"UDP fragment, length {skb.len}"
    if proto in (1, 58):
        return f"ICMP type {h.type} code {h.code}" if isinstance(h, Icmphdr) else "ICMP"
    return f"proto {proto or hex(skb.protocol)}, length {skb.len}"


def tcp_text(h: Tcphdr, length: int) -> str:
    """Say what a segment is."""
    flags = "".join(letter for bit, letter in _FLAGS if h.flags & bit)
    text = f"[{flags}] seq {h.seq}"
    if length:
        text += f":{(h.seq + length) & 0xFFFFFFFF}"
    if h.flags & 0x10:
        text += f" ack {h.ack_seq}"
    text += f" win {h.window}"
    return text + (f" length {length}" if length else "")
