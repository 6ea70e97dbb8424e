"""The module select: select, poll and epoll on the twin's descriptors, and on real ones (files, standard streams) beside them.

A simulation which has no real world (several hosts) refuses real descriptors: with EPERM in epoll, by name in the other two."""

import select as real
from contextlib import nullcontext, suppress
from typing import Any

from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl, sys_epoll_wait
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.select import FdSet, Pollfd, sys_poll, sys_select
from twinsock.kernel.sched.task import ERESTARTNOHAND
from twinsock.runtime.process import Escape, Process, process
from twinsock.uapi.errno import EINTR, ENOENT, ERESTARTSYS
from twinsock.uapi.fcntl import O_CLOEXEC

error = OSError
_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)
_FD_SETSIZE = 1024
_MAX_S = 9.2e9


def fileno(obj: Any) -> int:
    """Return the descriptor of an object, as PyObject_AsFileDescriptor does. Raises TypeError, ValueError."""
    if isinstance(obj, int):
        fd = int(obj)
    else:
        method = getattr(obj, "fileno", None)
        if method is None:
            raise TypeError("argument must be an int, or have a fileno() method.")
        fd = method()
        if not isinstance(fd, int):
            raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    if fd > 0x7FFFFFFF:
        raise OverflowError("Python int too large to convert to C int")
    return fd


def _simulated(host: Process, fd: int, caller: str) -> None:
    """Have the twin know a real descriptor, if there is a real world. Raises Escape, OSError."""
    if not host.owns(fd) and host.is_real(fd):
        if host.world is not None:
            host.world.admit(fd)
            return
        raise Escape(
            f"{caller}() on descriptor {fd}, which is a real file or terminal: read it without waiting, or from a thread of its own"
        )


def _number(timeout: Any) -> float:
    if not hasattr(timeout, "__float__") and not hasattr(timeout, "__index__"):
        raise TypeError("timeout must be a float or None")
    value = float(timeout)
    if value != value:
        raise ValueError("Invalid value NaN (not a number)")
    if abs(value) > _MAX_S:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    return value


def select(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> tuple[list[Any], list[Any], list[Any]]:
    """select(2): the ready ones of each list."""
    host = process()
    seconds = None if timeout is None else _number(timeout)
    if seconds is not None and seconds < 0:
        raise ValueError("timeout must be non-negative")
    pairs: list[list[tuple[int, Any]]] = []
    for objs in (rlist, wlist, xlist):
        try:
            items = iter(objs)
        except TypeError:
            raise TypeError("arguments 1-3 must be sequences") from None
        pairs.append([(fileno(obj), obj) for obj in items])
    numbers = [sorted({fd for fd, _ in row}) for row in pairs]
    highest = max([-1, *numbers[0], *numbers[1], *numbers[2]])
    if any(fd >= _FD_SETSIZE and (host.world is None or not host.is_real(fd)) for row in numbers for fd in row):
        raise ValueError("filedescriptor out of range in select()")
    for fd in [*numbers[0], *numbers[1], *numbers[2]]:
        _simulated(host, fd, "select.select")
    clock = host.kernel.clock
    deadline = None if seconds is None else clock.now_ns - int(-seconds * 1e9 // 1)
    host.collect()
    while True:
        sets = FdSet(list(numbers[0]), list(numbers[1]), list(numbers[2]))
        left = -1 if deadline is None else max(deadline - clock.now_ns, 0)
        _spin(host, left)
        ret = sys_select(host.task, highest + 1, sets, left)
        if ret not in _INTERRUPTED:
            break
        host.deliver_signals()
    host.check(ret)
    ready = [sets.readfds or [], sets.writefds or [], sets.exceptfds or []]
    found = [[obj for fd, obj in row if fd in good] for row, good in zip(pairs, ready, strict=True)]
    return found[0], found[1], found[2]


def _spin(host: Process, left_ns: int) -> None:
    """Count a look that does not wait."""
    if left_ns == 0:
        host.look()
    else:
        host.spins = 0


class _Poll:
    """What poll() returns."""

    _events: dict[int, int]
    _polling: bool

    def __new__(cls) -> "_Poll":
        """Refuse, as in C: poll() makes these."""
        raise TypeError("cannot create 'select.poll' instances")

    def register(self, fd: Any, eventmask: int = 0x7, /) -> None:
        """Watch a descriptor."""
        self._events[fileno(fd)] = _mask(eventmask)

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Watch for other events."""
        number = fileno(fd)
        bits = _mask(eventmask)
        if number not in self._events:
            raise OSError(ENOENT, "No such file or directory")
        self._events[number] = bits

    def unregister(self, fd: Any, /) -> None:
        """Stop watching."""
        del self._events[fileno(fd)]

    def poll(self, timeout: Any = None, /) -> list[tuple[int, int]]:
        """poll(2): timeout in milliseconds, None or negative for ever."""
        host = process()
        millis = -1.0 if timeout is None else _number(timeout)
        if millis > 0x7FFFFFFF:
            raise OverflowError("timeout is too large")
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        for fd in self._events:
            with suppress(OSError) if host.world is not None else nullcontext():  # POLLNVAL says that there is none
                _simulated(host, fd, "poll.poll")
        self._polling = True
        try:
            return self._wait(host, millis)
        finally:
            self._polling = False

    def _wait(self, host: Process, millis: float) -> list[tuple[int, int]]:
        clock = host.kernel.clock
        deadline = clock.now_ns - int(-millis // 1) * 1_000_000
        host.collect()
        while True:
            ufds = [Pollfd(fd, events) for fd, events in self._events.items()]
            left = -1 if millis < 0 else max(-(-(deadline - clock.now_ns) // 1_000_000), 0)
            _spin(host, left)
            ret = sys_poll(host.task, ufds, left)
            if ret not in _INTERRUPTED:
                break
            host.deliver_signals()
        host.check(ret)
        return [(ufd.fd, ufd.revents) for ufd in ufds if ufd.revents]


def _mask(value: Any) -> int:
    if not hasattr(value, "__index__"):
        raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")
    number = int(value.__index__())
    if number < 0:
        raise ValueError("value must be positive")
    if number > 0xFFFF:
        raise OverflowError("Python int too large for C unsigned short")
    return number


def poll() -> _Poll:
    """Make a polling object."""
    made: _Poll = object.__new__(_Poll)
    made._events, made._polling = {}, False
    return made


class Epoll:
    """An epoll descriptor."""

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        if sizehint != -1 and sizehint <= 0:
            raise ValueError("sizehint must be positive or -1")
        if flags & ~O_CLOEXEC:
            raise OSError(22, "Invalid argument")
        host = process()
        self._fd = host.check(sys_epoll_create1(host.task, O_CLOEXEC))

    @classmethod
    def fromfd(cls, fd: int, /) -> "Epoll":
        """Make an object over a descriptor that exists."""
        self = cls.__new__(cls)
        self._fd = fd
        return self

    def __enter__(self) -> "Epoll":
        self._open()
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            fd, self._fd = self._fd, -1
            sys_close(process().task, fd)

    def _open(self) -> int:
        if self._fd < 0:
            raise ValueError("I/O operation on closed epoll object")
        return self._fd

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._open()

    @property
    def closed(self) -> bool:
        """Tell whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """close(2)."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            host = process()
            host.check(sys_close(host.task, fd))

    def _ctl(self, op: int, fd: Any, events: int) -> None:
        host = process()
        epfd, number = self._open(), fileno(fd)
        if host.world is not None and op == 1:
            _simulated(host, number, "epoll.register")
        elif host.world is None and not host.owns(number) and host.is_real(number):
            raise PermissionError(
                1, f"Operation not permitted: descriptor {number} is a real file, and epoll on the twin waits for the twin only"
            )
        host.check(sys_epoll_ctl(host.task, epfd, op, number, EpollEvent(events, number)))

    def register(self, fd: Any, eventmask: int = 0x7) -> None:
        """EPOLL_CTL_ADD."""
        self._ctl(1, fd, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """EPOLL_CTL_MOD."""
        self._ctl(3, fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """EPOLL_CTL_DEL."""
        self._ctl(2, fd, 0)

    def poll(self, timeout: Any = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """epoll_wait(2): timeout in seconds, None or negative for ever."""
        host = process()
        epfd = self._open()
        seconds = -1.0 if timeout is None else _number(timeout)
        if maxevents == 0 or maxevents < -1:
            raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
        clock = host.kernel.clock
        deadline = clock.now_ns - int(-seconds * 1e9 // 1)
        room = maxevents if maxevents > 0 else _FD_SETSIZE - 1
        host.collect()
        while True:
            events: list[EpollEvent] = []
            left = -1 if seconds < 0 else max(-(-(deadline - clock.now_ns) // 1_000_000), 0)
            _spin(host, left)
            ret = sys_epoll_wait(host.task, epfd, events, room, left)
            if ret not in _INTERRUPTED:
                break
            host.deliver_signals()
        host.check(ret)
        return [(event.data, event.events) for event in events]


Epoll.__name__ = Epoll.__qualname__ = "epoll"
_Poll.__name__ = _Poll.__qualname__ = "poll"
_Poll.__module__ = Epoll.__module__ = "select"
epoll = Epoll
PIPE_BUF = real.PIPE_BUF
