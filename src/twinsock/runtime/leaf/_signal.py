"""The module _signal: handlers, masks and timers of the simulated process. A handler runs in the main thread, at its next system call.

Left out: signals of the world outside (^C ends the simulation)."""

import importlib
from typing import Any

from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.runtime.process import process
from twinsock.uapi.fcntl import F_GETFL, O_NONBLOCK

real: Any = importlib.import_module("_signal")
SIG_DFL = real.SIG_DFL
SIG_IGN = real.SIG_IGN
NSIG = real.NSIG
ItimerError = real.ItimerError
struct_siginfo = real.struct_siginfo
strsignal = real.strsignal
valid_signals = real.valid_signals
SIGINT = real.SIGINT
_CATCHABLE = (real.SIGKILL, real.SIGSTOP)
_IGNORED_AT_START = (real.SIGPIPE, real.SIGXFSZ)


def default_int_handler(signalnum: int, frame: object, /) -> None:
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


def _check(signalnum: int) -> int:
    number = int(signalnum)
    if not 0 < number < NSIG:
        raise ValueError("signal number out of range")
    return number


def _main_only(what: str) -> None:
    host = process()
    if host.task is not host.first:
        raise ValueError(what)


def signal(signalnum: int, handler: Any, /) -> Any:
    """Set a handler, SIG_IGN or SIG_DFL and return the old one, signal(2)."""
    if not callable(handler) and handler not in (SIG_DFL, SIG_IGN):
        raise TypeError("signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object")
    _main_only("signal only works in main thread of the main interpreter")
    number = _check(signalnum)
    if number in _CATCHABLE:
        raise OSError(22, "Invalid argument")
    host = process()
    old = getsignal(number)
    for task in host.kernel.tasks:
        if task.tgid == host.first.tgid:
            task.ignored_signals &= ~(1 << number)
            task.handled_signals &= ~(1 << number)
            if callable(handler):
                task.handled_signals |= 1 << number
            elif handler == SIG_IGN:
                task.ignored_signals |= 1 << number
    host.check(0)  # those that are pending run the old one
    host.python_handlers[number] = handler
    return old


def getsignal(signalnum: int, /) -> Any:
    """Return the handler of a signal."""
    number = _check(signalnum)
    handlers = process().python_handlers
    if number not in handlers:
        handlers[number] = SIG_IGN if number in _IGNORED_AT_START else default_int_handler if number == SIGINT else SIG_DFL
    return handlers[number]


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """Have each signal's number written to a descriptor; return the one before."""
    _main_only("set_wakeup_fd only works in main thread of the main interpreter")
    host = process()
    if fd != -1 and not host.owns(fd):
        raise ValueError("invalid fd") if not host.is_real(fd) else ValueError(f"the fd {fd} is not one of the twin")
    if fd != -1 and not sys_fcntl(host.task, fd, F_GETFL, 0) & O_NONBLOCK:
        raise ValueError(f"the fd {fd} must be in non-blocking mode")
    old, host.wakeup_fd = host.wakeup_fd, fd
    return old


def raise_signal(signalnum: int, /) -> None:
    """Send the own thread a signal."""
    host = process()
    host.first.send_signal(_check(signalnum))
    host.check(0)


def pthread_kill(thread_id: int, signalnum: int, /) -> None:
    """Send a thread a signal, pthread_kill(3)."""
    host = process()
    number = int(signalnum)
    if number:
        host.first.send_signal(_check(number))
        host.check(0)


def siginterrupt(signalnum: int, flag: bool, /) -> None:
    """Change nothing: the interpreter makes interrupted calls again itself, PEP 475."""
    _check(signalnum)


def pthread_sigmask(how: int, mask: Any, /) -> set[int]:
    """Block or unblock signals for the thread; return those that were blocked."""
    host = process()
    task = host.task
    old = {number for number in range(1, NSIG) if task.blocked_signals >> number & 1}
    bits = 0
    for number in mask:
        bits |= 1 << _check(number)
    if how == real.SIG_BLOCK:
        task.blocked_signals |= bits
    elif how == real.SIG_UNBLOCK:
        task.blocked_signals &= ~bits
    elif how == real.SIG_SETMASK:
        task.blocked_signals = bits
    else:
        raise OSError(22, "Invalid argument")
    host.check(0)
    return old


def sigpending() -> set[int]:
    """Return the signals that wait."""
    return {info.si_signo for info in process().task.pending_signals or []}


def _bits(sigset: Any) -> int:
    bits = 0
    for number in sigset:
        bits |= 1 << _check(number)
    return bits


def _take(bits: int, timeout_ns: int) -> Any:
    """Take a pending signal of a set, waiting for one: its Siginfo, or None when the time is over."""
    host = process()
    task = host.task
    deadline = -1 if timeout_ns < 0 else host.kernel.clock.now_ns + timeout_ns
    was_blocked = task.blocked_signals
    try:
        while True:
            info = task.dequeue_signal(~bits)
            left = -1 if deadline < 0 else deadline - host.kernel.clock.now_ns
            if info is not None or left == 0:
                return info
            task.blocked_signals = was_blocked & ~bits  # so that one of them ends the sleep
            host.spins = 0
            task.prepare_to_sleep()
            task.schedule_timeout(left)
            task.blocked_signals = was_blocked
            if not any(bits >> other.si_signo & 1 for other in task.pending_signals or []):
                host.deliver_signals()
    finally:
        task.blocked_signals = was_blocked


def sigwait(sigset: Any, /) -> int:
    """Wait for a blocked signal and return its number, sigwait(3)."""
    return int(_take(_bits(sigset), -1).si_signo)


def _siginfo(info: Any) -> Any:
    return struct_siginfo((info.si_signo, info.si_code, 0, info.si_pid, 0, 0, info.si_band))


def sigwaitinfo(sigset: Any, /) -> Any:
    """Wait for a blocked signal, sigwaitinfo(2)."""
    return _siginfo(_take(_bits(sigset), -1))


def sigtimedwait(sigset: Any, timeout: float, /) -> Any:
    """Wait for a blocked signal for some seconds, None if there was none, sigtimedwait(2)."""
    if timeout < 0:
        raise ValueError("timeout must be non-negative")
    info = _take(_bits(sigset), int(timeout * 1e9))
    return None if info is None else _siginfo(info)


def pidfd_send_signal(pidfd: int, signalnum: int, siginfo: None = None, flags: int = 0, /) -> None:
    """Refuse: the twin has no descriptors of processes."""
    raise OSError(9, "Bad file descriptor")


def pause() -> None:
    """Wait for a signal that has a handler."""
    process().pause()


def alarm(seconds: int, /) -> int:
    """Have SIGALRM sent after whole seconds, alarm(2)."""
    left, _ = setitimer(real.ITIMER_REAL, seconds)
    return -int(-left // 1)


def setitimer(which: int, seconds: float, interval: float = 0.0, /) -> tuple[float, float]:
    """Have a timer's signal sent after a time and at intervals, setitimer(2): (left, interval) of the timer before."""
    host = process()
    if which not in host.itimers or seconds < 0 or interval < 0:
        raise ItimerError(22, "Invalid argument")
    old = getitimer(which)
    timer = host.itimers[which]
    host.kernel.clock.del_timer(timer)
    timer.interval_ns = int(interval * 1e9)
    if seconds:
        host.kernel.clock.hrtimer_start(timer, host.kernel.clock.now_ns + max(int(seconds * 1e9), 1000))
    return old


def getitimer(which: int, /) -> tuple[float, float]:
    """Return (left, interval) of a timer in seconds, getitimer(2)."""
    host = process()
    if which not in host.itimers:
        raise ItimerError(22, "Invalid argument")
    timer = host.itimers[which]
    left = timer.expires_ns - host.kernel.clock.now_ns if timer.pending() else 0
    return left / 1e9, timer.interval_ns / 1e9
