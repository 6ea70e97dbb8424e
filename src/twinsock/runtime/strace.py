"""`twinsock run --trace`: every system call of the program, one line each when it has ended, as strace(1) shows them.

    [    0.000000] 2 socket(2, 0x80001, 0) = 3
    [    0.000000] 2 connect(3, ('127.0.0.1', 7)) = 0 <0.000100>

In front the virtual seconds since boot at which the call began and the task, behind a call that waited how long. Data is shown as its
length, so that a trace is the same each time even where OpenSSL's random numbers are in it."""

from __future__ import annotations

import errno
import sys
from types import ModuleType

from twinsock.kernel.fs.eventpoll import EpollEvent
from twinsock.kernel.fs.select import FdSet, Pollfd
from twinsock.kernel.net.socket import UserMsghdr, UserSockaddr
from twinsock.kernel.sched.task import Task
from twinsock.runtime import sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

_ADDRESSED = ("bind", "connect", "sendto")
_RESTARTS = {512: "ERESTARTSYS", 514: "ERESTARTNOHAND"}


class Strace:
    """Writes the calls of one simulation."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.made: dict[int, Callable[..., Any]] = {}  # by id of the function
        self.inside: set[int] = set()  # tasks that are in a call

    def attach(self) -> None:
        """Wrap the system calls wherever the runtime has a name for them."""
        for name, module in sorted(sys.modules.items()):
            if name.startswith("twinsock.runtime.") and isinstance(module, ModuleType):
                for key, value in list(vars(module).items()):
                    if key == "calls" and isinstance(value, ModuleType):
                        setattr(module, key, self._module(value))
                    elif key.startswith("sys_") and callable(value):
                        setattr(module, key, self._wrapped(key, value))

    def _module(self, module: ModuleType) -> ModuleType:
        copy = ModuleType(module.__name__)
        for key, value in vars(module).items():
            setattr(copy, key, self._wrapped(key, value) if key.startswith("sys_") and callable(value) else value)
        return copy

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        if id(call) in self.made:
            return self.made[id(call)]
        shown = name.removeprefix("sys_")

        def traced(task: Task, *args: Any) -> Any:
            if task.pid in self.inside:
                return call(task, *args)
            clock = task.kernel.clock
            begin = clock.now_ns
            before = [_show(shown, i, arg) for i, arg in enumerate(args)]
            self.inside.add(task.pid)
            try:
                result = call(task, *args)
            finally:
                self.inside.discard(task.pid)
            after = [_after(arg, text) for arg, text in zip(args, before, strict=True)]
            waited = clock.now_ns - begin
            took = f" <{waited / 1e9:.6f}>" if waited else ""
            self.out.write(f"[{begin / 1e9:12.6f}] {task.pid} {shown}({', '.join(after)}) = {_result(result)}{took}\n")
            return result

        self.made[id(call)] = traced
        return traced

    def end(self, text: str) -> None:
        """Write the last line."""
        self.out.write(f"+++ {text} +++\n")
        self.out.flush()


def _show(call: str, position: int, arg: object) -> str:
    """Show an argument before the call."""
    if isinstance(arg, bytes) and call in _ADDRESSED and position in (1, 3):
        return repr(sockaddr.unpack(arg))
    if isinstance(arg, bytes | bytearray | memoryview):
        return f"{len(arg)} bytes"
    if isinstance(arg, bool) or arg is None or isinstance(arg, str):
        return repr(arg)
    if isinstance(arg, int):
        return str(arg) if -4096 < arg < 65536 else hex(arg)
    if isinstance(arg, FdSet):
        return f"{arg.readfds or []}, {arg.writefds or []}, {arg.exceptfds or []}"
    if isinstance(arg, EpollEvent):
        return hex(arg.events)
    if isinstance(arg, UserMsghdr):
        return f"{sum(len(piece) for piece in arg.iov)} bytes" if arg.iov else "message"
    return "..."


def _after(arg: object, before: str) -> str:
    """Show an argument which the call has filled."""
    if isinstance(arg, UserSockaddr):
        return repr(sockaddr.unpack(arg.addr)) if arg.addr else "None"
    if isinstance(arg, FdSet):
        return f"{before} -> {arg.readfds or []}, {arg.writefds or []}, {arg.exceptfds or []}"
    if isinstance(arg, list):
        return "[" + ", ".join(_item(item) for item in arg) + "]"
    return before


def _item(item: object) -> str:
    if isinstance(item, Pollfd):
        return f"{item.fd}:{item.events:#x}->{item.revents:#x}"
    if isinstance(item, EpollEvent):
        return f"{item.data}:{item.events:#x}"
    return str(item) if isinstance(item, int) else f"{len(item)} bytes" if isinstance(item, bytes) else "..."


def _result(result: object) -> str:
    """Show what a call returned: a number, an errno's name."""
    value = result[0] if isinstance(result, tuple) and result else result
    if not isinstance(value, int):
        return "..." if value is not None else "0"
    if value >= 0:
        return str(value)
    return f"-1 {errno.errorcode.get(-value) or _RESTARTS.get(-value) or -value}"
