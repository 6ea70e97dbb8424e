"""Socket system calls of the whole host that fail, without BPF: the tracepoints syscalls:sys_enter_* and sys_exit_*.

They give numbers and pointers. What a pointer showed at is read from the caller's memory afterwards, if it still looks like
a socket address; the caller may have written there since, so such an address is marked as read late. The tracing instance
is removed at the end; that of a killed run by the next. Needs CAP_SYS_ADMIN and CONFIG_FTRACE_SYSCALLS, any architecture.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import ENOSYS

from twinsock.host.syscalls import Call
from twinsock.host.tracefs import TraceInstance, arguments_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.host.tracefs import TraceEvent

_BEGUN_MAX = 4096
_ADDRESS_BYTES = 112  # sockaddr_un is the longest
_SHORTEST = {1: 3, 2: 16, 10: 24}  # bytes of an address by its family: AF_UNIX with a name, AF_INET, AF_INET6


class FailedCalls:
    """A tracing instance that shows these calls; `fileno()` can be polled."""

    def __init__(self, names: Sequence[str]) -> None:
        """Start watching. Raises OSError."""
        self._begun: dict[int, TraceEvent] = {}  # thread -> the call that it is in; the oldest first
        self._pipe = -1
        self._trace = TraceInstance()
        try:
            for name in names:
                for event, condition in ((f"sys_enter_{name}", ""), (f"sys_exit_{name}", "ret < 0")):
                    if not self._trace.enable(f"syscalls/{event}", condition):
                        raise OSError(ENOSYS, "the kernel has no events of system calls (CONFIG_FTRACE_SYSCALLS)")
            self._wake_at_once()
            self._pipe = self._trace.start()
        except OSError:
            self.close()
            raise

    def _wake_at_once(self) -> None:
        """Let poll(2) return with the first event: else the buffer is to be half full. Linux 5.0."""
        with suppress(OSError):
            self._trace.write("buffer_percent", "0")

    def fileno(self) -> int:
        """Give the descriptor that is readable when calls have begun or failed."""
        return self._pipe

    def read(self) -> list[Call]:
        """Take the calls that failed since the last look."""
        calls: list[Call] = []
        for event in self._trace.read():
            if event.name.endswith("->"):
                begin = self._begun.pop(event.tid, None)
                if begin is not None and begin.name + " ->" == event.name:
                    calls.append(_call(begin, event))
            elif event.name.startswith("sys_"):
                self._begun.pop(event.tid, None)
                self._begun[event.tid] = event
                if len(self._begun) > _BEGUN_MAX:
                    del self._begun[next(iter(self._begun))]
        return calls

    def close(self) -> None:
        """Stop; nothing is left in the kernel."""
        self._trace.close()


def _call(begin: TraceEvent, end: TraceEvent) -> Call:
    """Make the record of a call that has failed."""
    name = begin.name.removeprefix("sys_")
    given = [*arguments_of(begin.text).values(), 0, 0, 0]
    pid = process_of(end.tid)
    address = b""
    if name in ("bind", "connect"):
        address = _address(pid, given[1], min(given[2] & 0xFFFFFFFF, _ADDRESS_BYTES))
    result = arguments_of(end.text).get("ret", 0)
    result -= 1 << 64 if result >= 1 << 63 else 0
    call = Call(name, (end.time_ns, pid << 32 | end.tid, result, 0, given[0], given[1], given[2], end.command.encode(), address))
    call.late_address = True
    return call


def process_of(tid: int) -> int:
    """Find the process of a thread; the thread itself if it is gone."""
    try:
        with open(f"/proc/{tid}/status") as file:
            for line in file:
                if line.startswith("Tgid:"):
                    return int(line[5:])
    except OSError:
        pass
    return tid


def _address(pid: int, place: int, length: int) -> bytes:
    """Read a socket address out of a process; nothing if it is gone, or is no address any more."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), length, place)
    except (OSError, OverflowError):
        return b""
    shortest = _SHORTEST.get(int.from_bytes(data[:2], "little"), _ADDRESS_BYTES)  # other families need no guess
    return data if len(data) == length >= shortest else b""
