"""Playing a script on a machine: each event at its time, and the first thing that is not as written."""

import contextlib

from twinsock.runtime.packetdrill.code import MEMINFO_SIZE, TCP_INFO_SIZE, Block, cc_info_names, meminfo_names, run_blocks, tcp_info_names
from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.runtime.packetdrill.live import Connection
from twinsock.runtime.packetdrill.machine import Machine, Pending
from twinsock.runtime.packetdrill.packets import IPPROTO_ICMP, IPPROTO_ICMPV6, LivePacket, parse_live
from twinsock.runtime.packetdrill.script import (
    ANY_TIME,
    INBOUND,
    RELATIVE,
    CodeEvent,
    Event,
    PacketEvent,
    Script,
    ShellEvent,
    SyscallEvent,
)
from twinsock.runtime.packetdrill.shell import Shell, ShellError
from twinsock.runtime.packetdrill.state import State
from twinsock.runtime.packetdrill.syscalls import Caller
from twinsock.runtime.packetdrill.verify import can_follow, describe, difference, joined
from twinsock.uapi.tcp import TCP_CC_INFO, TCP_INFO

PATIENCE_NS = 2_000_000_000  # how long after its time a packet is waited for
_ANY_TIME_NS = 3600 * 1_000_000_000
_SOL_SOCKET, _SO_MEMINFO, _SOL_TCP = 1, 55, 6


class Failure(ScriptError):
    """The kernel did something else than the script says."""

    def __init__(self, event: Event, time_ns: int, message: str, expected: str = "", got: str = "") -> None:
        super().__init__(event.line, message)
        self.event = event
        self.time_ns = time_ns  # since the script's start
        self.expected = expected
        self.got = got


class _Blocking:
    """The blocking call under way."""

    def __init__(self, event: SyscallEvent, return_ns: int, slack_ns: int) -> None:
        self.event = event
        self.return_ns = return_ns
        self.slack_ns = slack_ns
        self.ended_ns = -1
        self.problem = ""
        self.error: ScriptError | None = None
        self.pending: Pending | None = None


class Player:
    """Plays one script."""

    def __init__(self, script: Script, config: Config, machine: Machine, folder: str) -> None:
        self.script = script
        self.config = config
        self.machine = machine
        self.state = State(config)
        self.caller = Caller(self.state, machine.sys)
        self.shell = Shell(machine, folder)
        self.blocks: list[Block] = []
        self.blocking: _Blocking | None = None
        self.queue: list[LivePacket] = []  # seen and not asked for yet
        self.current: Event | None = None
        self.played = False  # every event has been played
        self.previous: Event | None = None
        self.previous_ns = 0  # the previous event's time, since the start
        self.tolerance_ns = config.tolerance_usecs * 1000

    def play(self) -> None:
        """Play the script to its end. Raises ScriptError, of which Failure is the kernel's."""
        try:
            if self.script.init is not None:
                self._command(self.script.init)
            self.machine.align()
            self.state.start_ns = self.machine.now_ns()
            self.state.start_realtime_ns = self.state.start_ns + self.machine.realtime_ns()
            for event in self.script.events:
                self._event(event)
            self._finish_blocking()
            self.played = True
        finally:
            if self.script.cleanup is not None:
                self._cleanup(self.script.cleanup)
        run_blocks(self.blocks)

    # Time

    def now_ns(self) -> int:
        """Return the time since the script's start."""
        return self.machine.now_ns() - self.state.start_ns

    def _event(self, event: Event) -> None:
        self.current = event
        time = event.time
        base = 0
        if time.kind == RELATIVE:
            chained = isinstance(event, PacketEvent) and event.direction == INBOUND
            chained = chained and isinstance(self.previous, PacketEvent) and self.previous.direction == INBOUND
            base = self.previous_ns if chained else self.now_ns()
        when = base + time.start_ns
        if isinstance(event, PacketEvent) and event.direction != INBOUND:
            self._outbound(event, when, base + time.end_ns if time.end_ns >= 0 else -1)
        else:
            self._wait_for(event, when)
            if isinstance(event, PacketEvent):
                self._inbound(event)
            elif isinstance(event, SyscallEvent):
                self._syscall(event, base)
            elif isinstance(event, CodeEvent):
                self._code(event)
            elif isinstance(event, ShellEvent):
                self._command(event)
            self.previous_ns = when
        self.previous = event
        self._reap()

    def _slack_ns(self, when: int) -> int:
        return max(self.tolerance_ns, int((when - self.previous_ns) * self.config.tolerance_percent / 100))

    def _wait_for(self, event: Event, when: int) -> None:
        self.machine.sleep_until(self.state.start_ns + when)
        self._reap()
        late = self.now_ns() - when
        if late > self._slack_ns(when):
            raise Failure(event, self.now_ns(), f"time: this was to happen at {_seconds(when)}, and it is {_seconds(self.now_ns())}")

    # Events

    def _command(self, event: ShellEvent) -> None:
        self.shell.complaint = ""
        try:
            code = self.shell.run(event.command)
        except (ShellError, ValueError) as error:
            raise ScriptError(event.line, str(error)) from None
        if code:
            raise Failure(event, self.now_ns(), f"the command fails with {code} {self.shell.complaint}".strip())

    def _cleanup(self, event: ShellEvent) -> None:
        """Run the last command; its failure counts only when all else went well."""
        if self.played:
            self._command(event)
        else:
            with contextlib.suppress(ShellError, ValueError):
                self.shell.run(event.command)

    def _code(self, event: CodeEvent) -> None:
        conn = self.state.under_test
        if conn is None or conn.live_fd < 0:
            raise ScriptError(event.line, "code needs a socket under test, and this one has no descriptor yet")
        sys = self.machine.sys
        names: dict[str, int] = {}
        for level, option, size, read in (
            (_SOL_TCP, TCP_INFO, TCP_INFO_SIZE, tcp_info_names),
            (_SOL_TCP, TCP_CC_INFO, 20, cc_info_names),
            (_SOL_SOCKET, _SO_MEMINFO, MEMINFO_SIZE, meminfo_names),
        ):
            ret, data = sys.getsockopt(conn.live_fd, level, option, size)
            if ret == 0:
                names.update(read(data))
        self.blocks.append(Block(event.line, event.code, names))

    def _syscall(self, event: SyscallEvent, base: int) -> None:
        if event.time.return_ns < 0:
            start = self.now_ns()
            problem = self.caller.run(event)
            if problem:
                raise Failure(event, self.now_ns(), f"{event.name}(): {problem}")
            if self.now_ns() - start > self._slack_ns(start):
                raise Failure(event, self.now_ns(), f"{event.name}() was to return at once, and took {_seconds(self.now_ns() - start)}")
            return
        self._finish_blocking()
        return_ns = base + event.time.return_ns
        slack = max(self.tolerance_ns, int((event.time.return_ns - event.time.start_ns) * self.config.tolerance_percent / 100))
        self.blocking = blocking = _Blocking(event, return_ns, slack)
        blocking.pending = self.machine.start(lambda: self._blocking_body(blocking))

    def _blocking_body(self, blocking: _Blocking) -> None:
        """Run in the second task."""
        try:
            blocking.problem = self.caller.run(blocking.event)
        except ScriptError as error:
            blocking.error = error
        blocking.ended_ns = self.now_ns()

    def _reap(self) -> None:
        """Look whether the blocking call has returned as it should."""
        blocking = self.blocking
        if blocking is None or blocking.pending is None or not blocking.pending.done():
            return
        self.blocking = None
        if blocking.error is not None:
            raise blocking.error
        name = blocking.event.name
        if blocking.problem:
            raise Failure(blocking.event, blocking.ended_ns, f"{name}(): {blocking.problem}")
        if abs(blocking.ended_ns - blocking.return_ns) > blocking.slack_ns:
            raise Failure(
                blocking.event,
                blocking.ended_ns,
                f"{name}() was to return at {_seconds(blocking.return_ns)}, not at {_seconds(blocking.ended_ns)}",
            )

    def _finish_blocking(self) -> None:
        blocking = self.blocking
        if blocking is None or blocking.pending is None:
            return
        latest = max(blocking.return_ns + blocking.slack_ns, self.now_ns()) + self.tolerance_ns
        if not blocking.pending.wait(self.state.start_ns + latest):
            name = blocking.event.name
            raise Failure(blocking.event, self.now_ns(), f"{name}() was to return at {_seconds(blocking.return_ns)}, and still waits")
        self._reap()

    def _inbound(self, event: PacketEvent) -> None:
        conn = self.state.connection_for(event)
        if conn is None:
            raise ScriptError(event.line, "no socket is under test that a packet could reach")
        data = conn.build(event, self.config)
        gso_size = 0
        if self.config.mss and event.protocol == "tcp" and event.length > self.config.mss:
            gso_size = self.config.mss
        self.machine.inject(data, gso_size)

    # Packets that must come out

    def _outbound(self, event: PacketEvent, when: int, end: int) -> None:
        conn = self.state.connection_for(event)
        if conn is None:
            raise ScriptError(event.line, "no socket is under test that could send a packet")
        any_time = event.time.kind == ANY_TIME
        deadline = self.now_ns() + _ANY_TIME_NS if any_time else max(when, end, self.now_ns()) + PATIENCE_NS
        packet = self._next(event, conn, deadline)
        if packet is None:
            raise Failure(event, self.now_ns(), "no packet came", event.text)
        conn.learn(event, packet)
        if event.protocol == "tcp":
            packet = self._assemble(event, conn, packet, deadline)
        got_ns = packet.time_ns - self.state.start_ns
        problem = difference(event, packet, conn, self.config)
        if not problem and not any_time:
            problem = self._time_problem(got_ns, when, end)
        if problem:
            raise Failure(event, got_ns, problem, event.text, "> " + describe(packet, conn))
        conn.learn_timestamp(event, packet)
        self.previous_ns = got_ns if any_time else when

    def _time_problem(self, got: int, when: int, end: int) -> str:
        slack = self._slack_ns(when)
        if when - slack <= got <= max(end, when) + slack:
            return ""
        wanted = _seconds(when) if end < 0 else f"{_seconds(when)} to {_seconds(end)}"
        return f"time: expected {wanted}, got {_seconds(got)}"

    def _next(self, event: PacketEvent, conn: Connection, deadline: int) -> LivePacket | None:
        """Wait for the next packet of a connection."""
        while True:
            for index, packet in enumerate(self.queue):
                if self._is_for(event, conn, packet):
                    return self.queue.pop(index)
            self.queue.clear()
            found = self.machine.next_packet(self.state.start_ns + deadline)
            if found is None:
                return None
            self.queue.append(parse_live(*found))

    def _is_for(self, event: PacketEvent, conn: Connection, packet: LivePacket) -> bool:
        if packet.dst != self.config.addresses()[1]:
            return False
        if packet.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
            return event.protocol == "icmp"
        return event.protocol != "icmp" and self.state.belongs(packet, conn)

    def _assemble(self, event: PacketEvent, conn: Connection, first: LivePacket, deadline: int) -> LivePacket:
        """Put packets together until the scripted length is reached."""
        pieces = [first]
        size = len(first.payload)
        if self.config.strict_segments or first.flags & 2 or conn.script_seq(first) != event.seq:
            return first
        while 0 < size < event.length:
            packet = self._next(event, conn, deadline)
            if packet is None:
                break
            if (
                not can_follow(first, size, packet)
                or size + len(packet.payload) > event.length
                or len(pieces[-1].payload) != len(first.payload)
            ):
                self.queue.insert(0, packet)
                break
            pieces.append(packet)
            size += len(packet.payload)
        return joined(pieces)


def _seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:.6f} s"
