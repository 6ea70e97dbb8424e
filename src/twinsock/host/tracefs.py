"""A tracing instance of our own: tracepoints with kernel stacks, and nothing left behind.

tracefs is mounted for this process alone (fsmount(2): in no mount table, gone with the descriptor), and the instance
has the name `twinsock-PID`, so that the next run removes what a killed one left. Linux: kernel/trace, Documentation/trace.
Needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, EPERM

from twinsock.host.libc import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NR_FSOPEN, _NR_FSCONFIG, _NR_FSMOUNT = 430, 431, 432  # the same on every architecture
_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_PREFIX = "twinsock-"
_BUFFER_KB = "2048"


class TraceEvent:
    """One line of trace_pipe with the stack that followed it."""

    def __init__(self, command: str, tid: int, time_ns: int, name: str, text: str) -> None:
        self.command = command
        self.tid = tid
        self.time_ns = time_ns  # CLOCK_MONOTONIC
        self.name = name  # of the tracepoint; sys_bind and sys_bind -> for system calls
        self.text = text
        self.context = ""  # one letter each: interrupts off (b: bottom halves), need to run, in an interrupt (h hard, s soft), depths
        self.stack: list[str] = []  # innermost first


class TraceInstance:
    """tracefs/instances/twinsock-PID, removed by close()."""

    def __init__(self) -> None:
        """Mount, remove what dead runs left, and make the instance. Raises OSError."""
        self._mount = -1
        self._pipe = -1
        self.path = ""
        self._rest = ""
        self._last: TraceEvent | None = None
        try:
            self._mount = _open_tracefs()
            self._root = f"/proc/self/fd/{self._mount}"
            remove_stale(self._root + "/instances")
            path = f"{self._root}/instances/{_PREFIX}{os.getpid()}"
            os.mkdir(path)
            self.path = path
            self.write("buffer_size_kb", _BUFFER_KB)
            self.write("trace_clock", "mono")
        except OSError as error:
            self.close()
            if error.errno in (EPERM, 13):
                raise OSError(EPERM, "tracing needs CAP_SYS_ADMIN (root), and a kernel that is not locked down") from None
            if error.errno == EEXIST:
                raise OSError(EEXIST, f"the tracing instance {_PREFIX}{os.getpid()} exists already") from None
            raise

    def write(self, name: str, text: str) -> None:
        """Write a control file of the instance. Raises OSError."""
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def follow(self, pid: int) -> None:
        """Trace a task, its threads and the children to come."""
        self.write("options/event-fork", "1")
        try:
            tids = os.listdir(f"/proc/{pid}/task")
        except OSError:
            tids = [str(pid)]
        self.write("set_event_pid", " ".join(tids))

    def enable(self, event: str, condition: str = "", stack: bool = False) -> bool:
        """Switch a tracepoint on; False if the kernel has none of that name. Raises OSError."""
        folder = f"events/{event}"
        if not os.path.isdir(f"{self.path}/{folder}"):
            return False
        if condition:
            self.write(f"{folder}/filter", condition)
        if stack:
            self.write(f"{folder}/trigger", "stacktrace" + (f" if {condition}" if condition else ""))
        self.write(f"{folder}/enable", "1")
        return True

    def start(self) -> int:
        """Open the pipe and give its descriptor, which can be polled."""
        self._pipe = os.open(f"{self.path}/trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipe

    def read(self, final: bool = False) -> list[TraceEvent]:
        """Take what is in the pipe. An event waits for the end of its stack, unless this is the final look."""
        text = self._rest
        while True:
            try:
                chunk = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == EBUSY:
                    break
                raise
            if not chunk:
                break
            text += chunk.decode("utf-8", "replace")
        lines = text.split("\n")
        self._rest = "" if final else lines.pop()
        events: list[TraceEvent] = []
        for line in lines:
            if line.startswith(" => "):
                if self._last is not None:
                    self._last.stack.append(_function(line[4:]))
                continue
            event = parse_line(line)
            if event is None:
                continue
            if event.name == "stack":
                continue
            if self._last is not None:
                events.append(self._last)
            self._last = event
        if self._last is not None and (final or not self._rest):
            events.append(self._last)
            self._last = None
        return events

    def close(self) -> None:
        """Remove the instance and let the mount go."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self.path:
            try:
                self.write("tracing_on", "0")
                os.rmdir(self.path)
            except OSError:
                pass  # the next run removes it
            self.path = ""
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1


def remove_stale(folder: str) -> int:
    """Remove the instances of runs that are dead: how many."""
    removed = 0
    for name in os.listdir(folder):
        number = name.removeprefix(_PREFIX)
        if number != name and number.isdecimal() and not os.path.exists(f"/proc/{number}"):
            try:
                os.rmdir(f"{folder}/{name}")
                removed += 1
            except OSError:
                continue  # somebody reads from it
    return removed


def parse_line(line: str) -> TraceEvent | None:
    """Parse `  python3-9035    [001] .....  1234.567890: sys_bind(fd: 0x3, ...)`; None for what is no event."""
    head, colon, rest = line.partition(": ")
    before, bracket, after = head.rpartition(" [")
    if not colon or not bracket or "]" not in after:
        return None
    command, dash, tid = before.strip().rpartition("-")
    stamp = after.split()[-1]
    whole, _dot, part = stamp.partition(".")
    if not dash or not tid.isdecimal() or not whole.isdecimal() or not part.isdecimal():
        return None
    time_ns = int(whole) * 1_000_000_000 + int(part.ljust(9, "0")[:9])
    rest = rest.strip()
    if rest.startswith("<stack trace"):
        return TraceEvent(command, int(tid), time_ns, "stack", "")
    if rest.startswith("sys_"):
        name, arrow, result = rest.partition(" -> ")
        if arrow:
            return TraceEvent(command, int(tid), time_ns, name + " ->", result)
        name, _, arguments = rest.partition("(")
        return TraceEvent(command, int(tid), time_ns, name, arguments.rstrip(")"))
    name, _, text = rest.partition(": ")
    event = TraceEvent(command, int(tid), time_ns, name, text)
    event.context = after.split()[-2]
    return event


def arguments_of(text: str) -> dict[str, int]:
    """Parse `fd: 0x3, backlog: 0x5` or `0x0` of a system call's line."""
    found: dict[str, int] = {}
    for piece in text.split(", "):
        name, _, value = piece.rpartition(": ")
        try:
            found[name or "ret"] = int(value, 0)
        except ValueError:
            continue
    return found


def fields_of(text: str, names: Sequence[str]) -> dict[str, str]:
    """Pick `name=value` words out of a tracepoint's text."""
    found = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals and name in names:
            found[name] = value
    return found


def _function(text: str) -> str:
    """Strip offset and module of a stack's line."""
    return text.split("+", 1)[0].split(" ", 1)[0].strip()


def _open_tracefs() -> int:
    """Give a descriptor of a mount of tracefs that nobody else sees. Raises OSError."""
    context = call("syscall", _NR_FSOPEN, b"tracefs\0", _FSOPEN_CLOEXEC)
    try:
        call("syscall", _NR_FSCONFIG, context, _FSCONFIG_CMD_CREATE, 0, 0, 0)
        return call("syscall", _NR_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0)
    finally:
        os.close(context)
