"""Holds two reports against each other and finds the first difference.

Order: the calls of each thread, what /proc said after each (when it was asked), what the program returned, /proc at the end, packets
of each flow, the exit code, the output. Ephemeral ports are equal when the same one stands for the same one everywhere."""

from __future__ import annotations

from twinsock.parity.packets import Lines
from twinsock.parity.proctext import NUMBERS, numbers, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinsock.parity.report import Call, Report

EPHEMERAL = range(32768, 61000)
TAPPED = ("TcpExt TCPRcvCoalesce", "TcpExt TCPBacklogCoalesce")  # a packet socket that looks on keeps segments from being joined
_NONE_WAITED = "nothing"


class Difference:
    """One place where two runs differ."""

    def __init__(self, kind: str, where: str, host: str, twin: str, before: list[str] | None = None, call: int = -1) -> None:
        self.kind = kind  # call, proc, result, packets, exit, output
        self.where = where
        self.host = host
        self.twin = twin
        self.before = before or []  # the calls before it, equal on both sides
        self.call = call  # number of the call in its thread, -1: none

    def place(self) -> tuple[str, str, int]:
        """Return what tells whether two differences are at one place."""
        return self.kind, self.where, self.call


class Ports:
    """Which ephemeral port of the twin stands for which one of the host."""

    def __init__(self) -> None:
        self.twin_of: dict[int, int] = {}
        self.host_of: dict[int, int] = {}

    def equal(self, host: int, twin: int) -> bool:
        """Tell whether two ports are equal, or become so now."""
        if host not in EPHEMERAL or twin not in EPHEMERAL:
            return host == twin
        return self.twin_of.setdefault(host, twin) == twin and self.host_of.setdefault(twin, host) == host

    def on_host(self, number: int) -> Any:
        """Return what stands for a port of the host."""
        return self.twin_of.get(number, "ephemeral") if number in EPHEMERAL else number

    def on_twin(self, number: int) -> Any:
        """Return what stands for a port of the twin."""
        return number if number not in EPHEMERAL or number in self.host_of else "ephemeral"


class Comparison:
    """What was compared, and the first difference."""

    def __init__(self, host: Report, twin: Report) -> None:
        self.host, self.twin = host, twin
        self.ports = Ports()
        self.calls = 0
        self.counters = 0
        self.rows = 0
        self.packets = 0
        self.first: Difference | None = None

    def run(self) -> Difference | None:
        """Compare everything up to the first difference."""
        for step in (self._calls, self._result, self._end, self._packets, self._exit, self._output):
            self.first = step()
            if self.first is not None:
                break
        return self.first

    # Calls

    def _calls(self) -> Difference | None:
        found: list[tuple[int, Difference]] = []
        for thread in dict.fromkeys([*self.host.threads(), *self.twin.threads()]):
            mine = [(number, call) for number, call in enumerate(self.host.calls) if call.thread == thread and _counts(call)]
            theirs = [call for call in self.twin.calls if call.thread == thread and _counts(call)]
            difference = self._thread(thread, [call for _, call in mine], theirs)
            if difference is not None:
                at = mine[difference.call][0] if difference.call < len(mine) else len(self.host.calls)
                found.append((at, difference))
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def _thread(self, thread: str, host: list[Call], twin: list[Call]) -> Difference | None:
        for number in range(max(len(host), len(twin))):
            if number >= len(host) or number >= len(twin):
                left = [
                    text(calls[number]) if number < len(calls) else _no_more(side) for calls, side in ((host, self.host), (twin, self.twin))
                ]
                return Difference("call", thread, left[0], left[1], _texts(host, number), number)
            a, b = host[number], twin[number]
            self.calls += 1
            same = (a.name, a.sock, a.outcome) == (b.name, b.sock, b.outcome) and self._equal(a.args, b.args)
            if not same or not self._equal_result(a, b):
                return Difference("call", thread, text(a), text(b), _texts(host, number), number)
            for name in dict.fromkeys([*a.proc, *b.proc]):
                found = self._proc(name, a.proc, b.proc)
                if found is not None:
                    found.before = _texts(host, number + 1)
                    found.where += f" after call {number + 1} of {thread}"
                    found.call = number
                    return found
        return None

    def _equal_result(self, a: Call, b: Call) -> bool:
        if a.name == "getsockopt" and isinstance(a.result, bytes) and isinstance(b.result, bytes) and len(a.result) > 60:
            return len(a.result) == len(b.result)  # structures with times in them, as TCP_INFO
        return self._equal(a.result, b.result)

    def _equal(self, host: Any, twin: Any) -> bool:
        if isinstance(host, tuple) and isinstance(twin, tuple):
            if len(host) != len(twin):
                return False
            if len(host) in (2, 4) and isinstance(host[0], str) and isinstance(host[1], int) and isinstance(twin[1], int):
                return bool(host[0] == twin[0]) and self.ports.equal(host[1], twin[1]) and host[2:] == twin[2:]
            return all(self._equal(a, b) for a, b in zip(host, twin, strict=True))
        if isinstance(host, bytes) and isinstance(twin, bytes) and host != twin:
            for mine, theirs in self.ports.twin_of.items():
                host = host.replace(str(mine).encode(), str(theirs).encode())
        return type(host) is type(twin) and bool(host == twin)

    # What is left at the end

    def _result(self) -> Difference | None:
        if self._equal(self.host.result, self.twin.result):
            return None
        return Difference("result", "what program(env) returned", repr(self.host.result), repr(self.twin.result))

    def _end(self) -> Difference | None:
        if self.host.trouble or self.twin.trouble or not self.host.proc or not self.twin.proc:
            return None
        for name in self.host.proc:
            found = self._proc(name, self.host.proc, self.twin.proc)
            if found is not None:
                found.where += " at the end"
                return found
        return None

    def _proc(self, name: str, host: dict[str, str], twin: dict[str, str]) -> Difference | None:
        if name not in twin or name not in host:
            return None
        if name in NUMBERS:
            mine, theirs = numbers(name, host[name]), numbers(name, twin[name])
            if name == "sockstat":  # without our own packet socket
                mine["sockets used"] -= bool(self.host.capture_inode)
                theirs["sockets used"] -= bool(self.twin.capture_inode)
            common = [key for key in mine if key in theirs and not (self.host.capture_inode and key in TAPPED)]
            self.counters += len(common)
            wrong = [key for key in common if mine[key] != theirs[key]]
            if wrong:
                shown = [", ".join(f"{key} {side[key]}" for key in wrong) for side in (mine, theirs)]
                return Difference("proc", f"/proc/net/{name}", shown[0], shown[1])
            return None
        mine_rows = rows(name, _without(host[name], self.host.capture_inode), self.ports.on_host)
        their_rows = rows(name, _without(twin[name], self.twin.capture_inode), self.ports.on_twin)
        self.rows += len(mine_rows)
        if mine_rows == their_rows:
            return None
        only = [row for row in mine_rows if row not in their_rows], [row for row in their_rows if row not in mine_rows]
        shown = ["; ".join(" ".join(map(str, row)) for row in part) or "(no such row)" for part in only]
        return Difference("proc", f"/proc/net/{name}", shown[0], shown[1])

    def _packets(self) -> Difference | None:
        if self.host.packets_lost or self.host.trouble or self.twin.trouble:
            return None
        flows: list[dict[str, list[str]]] = []
        for report, port in ((self.host, self.ports.on_host), (self.twin, self.ports.on_twin)):
            lines = Lines(port)
            flow: dict[str, list[str]] = {}
            for packet in report.packets:
                name, line = lines.line(packet)
                flow.setdefault(name, []).append(line)
            flows.append(flow)
        host, twin = flows
        for name in dict.fromkeys([*host, *twin]):
            mine, theirs = host.get(name, []), twin.get(name, [])
            for number in range(max(len(mine), len(theirs))):
                a = mine[number] if number < len(mine) else "(no more packets)"
                b = theirs[number] if number < len(theirs) else "(no more packets)"
                self.packets += 1
                if a != b:
                    return Difference("packets", f"packet {number + 1} of {name}", a, b, mine[max(number - 3, 0) : number])
        return None

    def _exit(self) -> Difference | None:
        shown = [report.trouble or f"exit code {report.exit_code}" for report in (self.host, self.twin)]
        return None if shown[0] == shown[1] else Difference("exit", "how the program ended", shown[0], shown[1])

    def _output(self) -> Difference | None:
        mine, theirs = self.host.output, self.twin.output
        for ours, other in self.ports.twin_of.items():
            mine = mine.replace(str(ours), str(other))
        if mine == theirs:
            return None
        for number, (a, b) in enumerate(zip([*mine.splitlines(), ""], [*theirs.splitlines(), ""], strict=False), start=1):
            if a != b:
                return Difference("output", f"line {number} of the output", a, b)
        return Difference("output", "the output", f"{len(mine)} characters", f"{len(theirs)} characters")


def _counts(call: Call) -> bool:
    """Tell whether a call takes part: a wait that ended with nothing depends on time alone."""
    return call.outcome != _NONE_WAITED


def _without(table: str, inode: int) -> str:
    """Drop the row of our own packet socket."""
    if not inode:
        return table
    return "\n".join(line for line in table.splitlines() if line.split()[-1:] != [str(inode)])


def _no_more(report: Report) -> str:
    return "(no more calls" + (f": {report.trouble.splitlines()[0]})" if report.trouble else ")")


def _texts(calls: list[Call], end: int) -> list[str]:
    return [text(call) for call in calls[max(end - 4, 0) : end]]


def text(call: Call) -> str:
    """Show a call as a line."""
    what = f"{call.sock}.{call.name}" if call.sock else call.name
    args = ", ".join(_short(part) for part in call.args) if isinstance(call.args, tuple) else _short(call.args)
    outcome = _short(call.result) if call.outcome == "ok" else call.outcome
    return f"{what}({args}) = {outcome}"


def _short(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 3 and value[0] == "bytes":
        return f"<{value[1]} bytes {value[2][:8]}>"
    shown = repr(value)
    return shown if len(shown) <= 70 else shown[:60] + f"... ({len(shown)} characters)"
