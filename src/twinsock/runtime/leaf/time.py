"""The module time: every clock is the virtual one.

Formatting is the interpreter's own, with virtual time where it would take the time of day."""

import time as real
from types import SimpleNamespace
from typing import Any

from twinsock.runtime.baton import BatonTask
from twinsock.runtime.process import process

struct_time = real.struct_time
mktime = real.mktime
strptime = real.strptime
tzset = real.tzset
_REALTIME = (real.CLOCK_REALTIME, real.CLOCK_TAI)
_KNOWN = (*_REALTIME, real.CLOCK_MONOTONIC, real.CLOCK_MONOTONIC_RAW, real.CLOCK_BOOTTIME)
_THREAD_CLOCK = 6  # in the low bits of a clock's number, with the task's number in the others


def monotonic_ns() -> int:
    """Nanoseconds since boot."""
    host = process()
    host.look()
    return host.kernel.clock.now_ns


def time_ns() -> int:
    """Nanoseconds since the epoch."""
    host = process()
    return monotonic_ns() + host.kernel.clock.realtime_offset_ns + host.skew_ns


def monotonic() -> float:
    """Seconds since boot."""
    return monotonic_ns() / 1e9


def time() -> float:
    """Seconds since the epoch."""
    return time_ns() / 1e9


perf_counter = monotonic
perf_counter_ns = monotonic_ns


def process_time_ns() -> int:
    """Nanoseconds of processor time which the process used: what busy loops were charged."""
    host = process()
    host.look()
    return host.cpu_ns


def thread_time_ns() -> int:
    """Nanoseconds of processor time which the thread used."""
    host = process()
    host.look()
    return host.task.cpu_ns


def process_time() -> float:
    """Seconds of processor time which the process used."""
    return process_time_ns() / 1e9


def thread_time() -> float:
    """Seconds of processor time which the thread used."""
    return thread_time_ns() / 1e9


def pthread_getcpuclockid(thread_id: int) -> int:
    """Return the clock of a thread's processor time, pthread_getcpuclockid(3). Raises OSError."""
    for task in process().kernel.tasks:
        if isinstance(task, BatonTask) and task.ident == thread_id:
            return ~task.pid << 3 | _THREAD_CLOCK
    raise OSError(3, "No such process")


def _cpu_clock(clk_id: int) -> int:
    """Read a clock of processor time. Raises OSError."""
    if clk_id == real.CLOCK_PROCESS_CPUTIME_ID:
        return process_time_ns()
    if clk_id == real.CLOCK_THREAD_CPUTIME_ID:
        return thread_time_ns()
    for task in process().kernel.tasks:
        if clk_id < 0 and clk_id & 7 == _THREAD_CLOCK and isinstance(task, BatonTask) and task.pid == ~(clk_id >> 3):
            return task.cpu_ns
    raise OSError(22, "Invalid argument")


def sleep(seconds: Any, /) -> None:
    """Sleep in virtual time."""
    if not hasattr(seconds, "__float__") and not hasattr(seconds, "__index__"):
        raise TypeError(f"'{type(seconds).__name__}' object cannot be interpreted as an integer")
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds > 9.2e9:
        raise OverflowError("timestamp too large to convert to C _PyTime_t")
    host = process()
    host.spins = 0 if seconds else host.spins
    host.sleep_ns(int(seconds * 1e9))


def clock_gettime_ns(clk_id: int) -> int:
    """clock_gettime(2)."""
    if clk_id in _REALTIME:
        return time_ns()
    return monotonic_ns() if clk_id in _KNOWN else _cpu_clock(clk_id)


def clock_gettime(clk_id: int) -> float:
    """clock_gettime(2) in seconds."""
    return clock_gettime_ns(clk_id) / 1e9


def clock_getres(clk_id: int) -> float:
    """clock_getres(2)."""
    clock_gettime_ns(clk_id)
    return 1e-9


def clock_settime_ns(clk_id: int, value: int) -> None:
    """clock_settime(2): the host's time of day jumps."""
    if clk_id != real.CLOCK_REALTIME:
        raise OSError(22, "Invalid argument")
    clock = process().kernel.clock
    clock.realtime_offset_ns = value - clock.now_ns


def clock_settime(clk_id: int, value: float) -> None:
    """clock_settime(2) in seconds."""
    clock_settime_ns(clk_id, int(value * 1e9))


def get_clock_info(name: Any) -> Any:
    """Describe a clock."""
    info = real.get_clock_info(name)
    return SimpleNamespace(implementation=info.implementation, monotonic=info.monotonic, adjustable=info.adjustable, resolution=1e-9)


def localtime(seconds: float | None = None) -> Any:
    """Convert to local time."""
    return real.localtime(time() if seconds is None else seconds)


def gmtime(seconds: float | None = None) -> Any:
    """Convert to UTC."""
    return real.gmtime(time() if seconds is None else seconds)


def ctime(seconds: float | None = None) -> str:
    """Format local time."""
    return real.ctime(time() if seconds is None else seconds)


def asctime(*tuple_: Any) -> str:
    """Format a tuple, local time if there is none."""
    return real.asctime(*tuple_) if tuple_ else real.asctime(localtime())


def strftime(format: str, *tuple_: Any) -> str:
    """Format a tuple, local time if there is none."""
    return real.strftime(format, *tuple_) if tuple_ else real.strftime(format, localtime())
