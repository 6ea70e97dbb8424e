"""Which packets a twin dropped, and why: the skb:kfree_skb tracepoint as lines of text (`twinsock run --drops`, packetdrill's reports)."""

from collections.abc import Callable

from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.trace import Trace
from twinsock.wire import ip as wire_ip
from twinsock.wire import ip6 as wire_ip6
from twinsock.wire.tcp import Tcphdr
from twinsock.wire.udp import Udphdr

_FLAGS = ((0x02, "S"), (0x01, "F"), (0x04, "R"), (0x08, "P"), (0x10, "."), (0x20, "U"), (0x40, "E"), (0x80, "W"))
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}


class DropLog(Trace):
    """Notes every dropped packet; `say` gets each line as it happens, `lines` keeps the newest ones."""

    def __init__(self, say: Callable[[str], object] | None = None, keep: int = 100) -> None:
        self.say = say
        self.keep = keep
        self.lines: list[str] = []

    def kfree_skb(self, skb: SkBuff, reason: str) -> None:
        """Note a packet: `seconds device packet: REASON`."""
        self._note(skb, reason)

    def syn_dropped(self, skb: SkBuff, counter: str) -> None:
        """Note a SYN that a listener ignored, under the counter that moved."""
        self._note(skb, f"no reason on Linux, counted in {counter}")

    def _note(self, skb: SkBuff, reason: str) -> None:
        dev = skb.dev
        assert dev is not None
        line = f"{dev.net.kernel.clock.now_ns / 1e9:.6f} {dev.name} {describe(skb)}: {reason}"
        if self.say is not None:
            self.say(line)
        self.lines.append(line)
        del self.lines[: -self.keep]


def describe(skb: SkBuff) -> str:
    """Write a packet in a line: addresses, ports, TCP's flags and sequence numbers, length."""
    if skb.nh4 is not None:
        source, dest = wire_ip.format_addr(skb.nh4.saddr), wire_ip.format_addr(skb.nh4.daddr)
    elif skb.nh6 is not None:
        source, dest = wire_ip6.format_addr(skb.nh6.saddr), wire_ip6.format_addr(skb.nh6.daddr)
    else:
        return f"{skb.len} bytes of protocol {skb.protocol:#06x}"
    h = skb.h
    if isinstance(h, Tcphdr):
        flags = "".join([letter for bit, letter in _FLAGS if h.flags & bit]) or "-"
        ack = f" ack {h.ack_seq}" if h.flags & 0x10 else ""
        return f"{source}:{h.source} > {dest}:{h.dest} tcp {flags} {h.seq}:{(h.seq + skb.len) & 0xFFFFFFFF}({skb.len}){ack}"
    if isinstance(h, Udphdr):
        return f"{source}:{h.source} > {dest}:{h.dest} udp ({skb.len})"
    number = skb.transport()
    return f"{source} > {dest} {_NAMES.get(number, f'protocol {number}')} ({skb.len})"
