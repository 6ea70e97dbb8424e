"""The network of a simulation: one switch, conditions between each two hosts, and the faults that a scenario brings about."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twinsock.kernel.drivers import switch as sw
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.sim import units
from twinsock.sim.journal import Journal, describe
from twinsock.wire.tcp import Tcphdr

if TYPE_CHECKING:
    from twinsock.sim.host import Host

Rule = Callable[["Packet"], Any]
PASS = None
DROP = "drop"


class Packet:
    """What a rule sees of a packet: `source` and `dest` (names of hosts), ports, `protocol` ("tcp", "udp", ...), `flags`, `payload`."""

    def __init__(self, lane: sw.Lane, skb: SkBuff) -> None:
        self.source = lane.source.label
        self.dest = lane.dest.label
        self._skb = skb
        proto = skb.transport()
        self.protocol = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp6"}.get(proto, "arp" if proto < 0 else str(proto))
        self.source_port = skb.h.source if skb.h is not None and proto in (6, 17) else 0
        self.dest_port = skb.h.dest if skb.h is not None and proto in (6, 17) else 0

    @property
    def payload(self) -> bytes:
        """The bytes behind the transport header."""
        return self._skb.payload()

    @property
    def flags(self) -> str:
        """TCP flags as in tcpdump(8), "" for other packets: "S", "S.", ".", "P.", "F.", "R" ..."""
        h = self._skb.h
        return describe(self._skb).partition("[")[2].partition("]")[0] if isinstance(h, Tcphdr) else ""

    def __repr__(self) -> str:
        return f"<Packet {self.source} > {self.dest} {describe(self._skb)}>"


class _Judge(sw.FrameJudge):
    """A rule on one lane."""

    def __init__(self, lane: sw.Lane, rule: Rule) -> None:
        self.lane = lane
        self.rule = rule

    def judge(self, skb: SkBuff) -> int:
        verdict = self.rule(Packet(self.lane, skb))
        if verdict is PASS or verdict is True:
            return sw.PASS
        if verdict == DROP or verdict is False:
            return sw.DROP
        return units.nanoseconds(verdict)


class Fault:
    """Something wrong with the network from now on; `end()`, or the end of the `with` block, repairs it."""

    def __init__(self, network: "Network", text: str, lanes: Callable[[str, str], bool]) -> None:
        self.network = network
        self.text = text
        self.touches = lanes  # (source, dest): does it concern this direction?
        self.active = True

    def put(self, lane: sw.Lane) -> None:
        """Bring it about on a lane."""

    def lift(self, lane: sw.Lane) -> None:
        """Take it from a lane."""

    def end(self) -> None:
        """Repair."""
        self.network.lift(self)

    def __enter__(self) -> "Fault":
        return self

    def __exit__(self, *args: object) -> None:
        self.end()


class Partition(Fault):
    """Nothing gets through, and what is under way is lost."""

    def put(self, lane: sw.Lane) -> None:
        """Cut."""
        lane.cuts += 1

    def lift(self, lane: sw.Lane) -> None:
        """Mend."""
        lane.cuts -= 1


class Hold(Fault):
    """Packets are kept back, and go on in their order when it ends."""

    def put(self, lane: sw.Lane) -> None:
        """Hold."""
        lane.holds += 1

    def lift(self, lane: sw.Lane) -> None:
        """Release."""
        lane.holds -= 1
        lane.release()


class RuleFault(Fault):
    """A function decides packet by packet."""

    def __init__(self, network: "Network", text: str, lanes: Callable[[str, str], bool], rule: Rule) -> None:
        super().__init__(network, text, lanes)
        self.rule = rule

    def put(self, lane: sw.Lane) -> None:
        """Judge its packets."""
        lane.judges.append(_Judge(lane, self.rule))

    def lift(self, lane: sw.Lane) -> None:
        """Judge no more."""
        lane.judges = [judge for judge in lane.judges if not (isinstance(judge, _Judge) and judge.rule is self.rule)]


class Network:
    """Every host has its eth0 on this switch."""

    def __init__(self, journal: Journal) -> None:
        self.switch = sw.Switch()
        self.switch.observer = journal
        self.journal = journal
        self.conditions: dict[str, Any] = {"latency": "500us"}
        self.between: dict[tuple[str, str], dict[str, Any]] = {}
        self.faults: list[Fault] = []

    def lanes(self) -> Iterable[sw.Lane]:
        """Give every direction between two hosts, in order of the hosts."""
        for port in self.switch.ports:
            yield from port.lanes

    def plug(self, port: sw.SwitchPort) -> None:
        """Join a host's interface, under the conditions that hold for it."""
        self.switch.plug(port)
        for lane in self.lanes():
            if port in (lane.source, lane.dest):
                self._dress(lane)
                for fault in self.faults:
                    if fault.touches(lane.source.label, lane.dest.label):
                        fault.put(lane)

    def unplug(self, port: sw.SwitchPort) -> None:
        """Take a host's interface away."""
        self.switch.unplug(port)

    def _dress(self, lane: sw.Lane) -> None:
        own = self.between.get((lane.source.label, lane.dest.label), {})
        units.apply({**self.conditions, **own}, lane.queue)

    def set(self, conditions: dict[str, Any]) -> None:
        """Set conditions of every link that has none of its own."""
        units.check(conditions)
        self.conditions.update(conditions)
        for lane in self.lanes():
            self._dress(lane)
        self.journal.add(f"network {_text(conditions)}")

    def link(self, source: str, dest: str, oneway: bool, conditions: dict[str, Any]) -> None:
        """Set conditions between two hosts, or of the direction from one to the other."""
        units.check(conditions)
        for pair in [(source, dest)] if oneway else [(source, dest), (dest, source)]:
            self.between.setdefault(pair, {}).update(conditions)
        for lane in self.lanes():
            self._dress(lane)
        self.journal.add(f"link {source} {'>' if oneway else '<>'} {dest} {_text(conditions)}")

    def bring(self, fault: Fault) -> Fault:
        """Bring a fault about."""
        self.faults.append(fault)
        for lane in list(self.lanes()):
            if fault.touches(lane.source.label, lane.dest.label):
                fault.put(lane)
        self.journal.add(f"fault {fault.text}")
        return fault

    def lift(self, fault: Fault) -> None:
        """End a fault; a second time does nothing."""
        if not fault.active:
            return
        fault.active = False
        self.faults.remove(fault)
        for lane in list(self.lanes()):
            if fault.touches(lane.source.label, lane.dest.label):
                fault.lift(lane)
        self.journal.add(f"end of {fault.text}")

    def heal(self) -> None:
        """End every fault, and have no link lose, copy, reorder or spoil packets."""
        for fault in list(self.faults):
            self.lift(fault)
        for conditions in [self.conditions, *self.between.values()]:
            for name in ("loss", "duplicate", "reorder", "corrupt"):
                conditions.pop(name, None)
        for lane in self.lanes():
            self._dress(lane)


def _text(conditions: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(conditions.items()))


def names(hosts: "Host | str | Iterable[Host | str]") -> frozenset[str]:
    """Give the names of a host or of several."""
    if isinstance(hosts, str):
        return frozenset((hosts,))
    if hasattr(hosts, "name"):
        return frozenset((str(hosts.name),))
    return frozenset(item if isinstance(item, str) else item.name for item in hosts)


def between(left: Any, right: Any, oneway: bool) -> Callable[[str, str], bool]:
    """Say which directions lie between two groups of hosts; None on the right: everybody else."""
    first = names(left)
    others = None if right is None else names(right)

    def touches(source: str, dest: str) -> bool:
        there = source in first and (dest not in first if others is None else dest in others)
        back = dest in first and (source not in first if others is None else source in others)
        return there or (back and not oneway)

    return touches
