"""The module _thread: threads are tasks of the twin, locks wait in virtual time. `_local` and the excepthook are the interpreter's own,
since every task is a thread of the interpreter too."""

import _thread as real
import sys
from typing import Any

from twinsock.runtime.baton import BatonTask
from twinsock.runtime.process import Process, process
from twinsock.runtime.serial import hash_by_number

error = RuntimeError
TIMEOUT_MAX = real.TIMEOUT_MAX
_local = real._local
_excepthook = real._excepthook
_ExceptHookArgs = real._ExceptHookArgs
get_ident = real.get_ident
stack_size = real.stack_size
_NEW: Any = object.__new__
_SIGINT = 2
_CLOSED = sys.hexversion < 0x030D0000
_sentinels: dict[int, "Lock"] = {}


def _timeout_ns(blocking: bool, timeout: float) -> int:
    """Check acquire()'s arguments and convert them: -1 waits for ever, 0 not at all."""
    if not blocking:
        if timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        return 0
    if timeout == -1:
        return -1
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return int(timeout * 1e9)


class Waiters:
    """Tasks that wait for a lock, first come first served."""

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: list[BatonTask] = []

    def wait(self, host: Process, deadline_ns: int) -> bool:
        """Sleep until woken; False: the time is over."""
        task = host.task
        left = -1 if deadline_ns < 0 else deadline_ns - host.kernel.clock.now_ns
        if left == 0 or left < -1:
            return False
        self.tasks.append(task)
        try:
            host.wait(task, left)
        finally:
            if task in self.tasks:
                self.tasks.remove(task)
        return True

    def wake(self) -> None:
        """Wake the one that waits longest."""
        if self.tasks:
            self.tasks.pop(0).wake_up_process()


class Lock:
    """What allocate_lock() returns."""

    __slots__ = ("__weakref__", "_locked", "_twinsock_number", "_waiters")
    __hash__ = hash_by_number
    _locked: bool
    _waiters: Waiters | None

    def __new__(cls) -> "Lock":
        """Refuse before Python 3.13, as in C: allocate_lock() makes these."""
        if _CLOSED:
            raise TypeError("cannot create '_thread.lock' instances")
        return allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, waiting for it if asked to."""
        if not self._locked and blocking and timeout == -1:
            self._locked = True
            return True
        timeout_ns = _timeout_ns(blocking, timeout)
        if not self._locked:
            self._locked = True
            return True
        host = process()
        if not timeout_ns:
            host.look()
            return False
        deadline = -1 if timeout_ns < 0 else host.kernel.clock.now_ns + timeout_ns
        if self._waiters is None:
            self._waiters = Waiters()
        while self.locked():
            if not self._waiters.wait(host, deadline):
                return False
        self._locked = True
        return True

    __enter__ = acquire
    acquire_lock = acquire

    def release(self) -> None:
        """Let go of the lock."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        if self._waiters is not None:
            self._waiters.wake()

    release_lock = release

    def __exit__(self, *args: object) -> None:
        self.release()

    def locked(self) -> bool:
        """Tell whether somebody holds the lock."""
        return self._locked

    locked_lock = locked

    def _at_fork_reinit(self) -> None:
        self._locked = False
        self._waiters = None

    def __repr__(self) -> str:
        state = "locked" if self._locked else "unlocked"
        return f"<{state} {type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>"


class RLock:
    """A lock that its holder may take again."""

    __slots__ = ("__weakref__", "_count", "_owner", "_twinsock_number", "_waiters")
    __hash__ = hash_by_number

    def __init__(self) -> None:
        self._owner = 0
        self._count = 0
        self._waiters: Waiters | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock once more, waiting for it if asked to."""
        me = get_ident()
        if self._owner == me:
            self._count += 1
            return True
        timeout_ns = _timeout_ns(blocking, timeout)
        if self._count:
            host = process()
            if not timeout_ns:
                host.look()
                return False
            deadline = -1 if timeout_ns < 0 else host.kernel.clock.now_ns + timeout_ns
            if self._waiters is None:
                self._waiters = Waiters()
            while self._count:
                if not self._waiters.wait(host, deadline):
                    return False
        self._owner = me
        self._count = 1
        return True

    __enter__ = acquire

    def release(self) -> None:
        """Let go of the lock once."""
        if self._owner != get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = 0
            if self._waiters is not None:
                self._waiters.wake()

    def __exit__(self, *args: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self._owner == get_ident()

    def _release_save(self) -> tuple[int, int]:
        if not self._count:
            raise RuntimeError("cannot release un-acquired lock")
        state = (self._count, self._owner)
        self._count = 1
        self._owner = get_ident()
        self.release()
        return state

    def _acquire_restore(self, state: tuple[int, int]) -> None:
        self.acquire()
        self._count, self._owner = state

    def _recursion_count(self) -> int:
        return self._count if self._owner == get_ident() else 0

    def _at_fork_reinit(self) -> None:
        self.__init__()  # type: ignore[misc]

    def __repr__(self) -> str:
        state = "locked" if self._count else "unlocked"
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{state} {kind} object owner={self._owner} count={self._count} at {id(self):#x}>"


Lock.__name__ = Lock.__qualname__ = "lock"
Lock.__module__ = RLock.__module__ = "_thread"
LockType = lock = Lock


def allocate_lock() -> Lock:
    """Make a lock."""
    made: Lock = _NEW(Lock)
    made._locked = False
    made._waiters = None
    return made


allocate = allocate_lock


def start_new_thread(function: Any, args: Any, kwargs: Any = None) -> int:
    """Start a thread and return its identifier."""
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    named = kwargs or {}

    def body() -> None:
        try:
            function(*args, **named)
        except SystemExit:
            pass
        except Exception as problem:
            _report(function, problem)
        finally:
            sentinel = _sentinels.pop(get_ident(), None)
            if sentinel is not None and sentinel.locked():
                sentinel.release()

    task = process().start_thread(body)
    return task.ident


class ThreadHandle:
    """What start_joinable_thread() returns (Python 3.13): waits for the end of a thread."""

    __slots__ = ("_daemon", "_done", "_ident", "_waiters")

    def __init__(self) -> None:
        self._ident = 0
        self._done = False
        self._daemon = True
        self._waiters = Waiters()

    @property
    def ident(self) -> int:
        """The thread's identifier, 0 before it was started."""
        return self._ident

    def is_done(self) -> bool:
        """Tell whether the thread has ended."""
        return self._done

    def _set_done(self) -> None:
        self._done = True
        while self._waiters.tasks:
            self._waiters.wake()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, at most so many seconds; a negative number waits for ever. Raises RuntimeError."""
        if not self._ident:
            raise RuntimeError("thread not started")
        if not self._done and self._ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        host = process()
        deadline = -1 if timeout is None or timeout < 0 else host.kernel.clock.now_ns + int(timeout * 1e9)
        while not self._done and self._waiters.wait(host, deadline):
            pass

    def __repr__(self) -> str:
        return f"<_thread._ThreadHandle object: ident={self._ident}>"


ThreadHandle.__name__ = ThreadHandle.__qualname__ = "_ThreadHandle"
ThreadHandle.__module__ = "_thread"
_ThreadHandle = ThreadHandle
_joinable: list[ThreadHandle] = []  # of threads that are no daemons


def start_joinable_thread(function: Any, handle: ThreadHandle | None = None, daemon: bool = True) -> ThreadHandle:
    """Start a thread and return what waits for it."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    made = ThreadHandle() if handle is None else handle
    if made._ident:
        raise RuntimeError("thread already started")

    def body() -> None:
        try:
            function()
        finally:
            if not daemon:
                _joinable.remove(made)
            made._set_done()

    if not daemon:
        _joinable.append(made)
    made._ident = start_new_thread(body, ())
    return made


def _make_thread_handle(ident: int) -> ThreadHandle:
    made = ThreadHandle()
    made._ident = ident
    return made


def _get_main_thread_ident() -> int:
    return process().first.ident


def _shutdown() -> None:
    """Wait for every thread that is no daemon."""
    while _joinable:
        _joinable[0].join()


def daemon_threads_allowed() -> bool:
    """Tell that daemon threads may be started."""
    return True


def _is_main_interpreter() -> bool:
    return True


def _report(function: object, problem: BaseException) -> None:
    """Show what ended a thread, as the interpreter does."""

    class Unraisable:
        exc_type = type(problem)
        exc_value = problem
        exc_traceback = problem.__traceback__
        err_msg = "Exception ignored in thread started by"
        object = function

    sys.unraisablehook(Unraisable)  # type: ignore[arg-type]


start_new = start_new_thread


def get_native_id() -> int:
    """Return the task's number, gettid(2)."""
    return process().task.pid


def exit() -> None:
    """End the thread."""
    raise SystemExit


exit_thread = exit


def interrupt_main(signum: int = 2) -> None:
    """Send the main thread a signal."""
    if not 0 < signum < 65:
        raise ValueError("signal number out of range")
    host = process()
    handler = host.python_handlers.get(signum)
    if callable(handler) or (handler is None and signum == _SIGINT):
        host.first.send_signal(signum)
        if host.task is host.first:
            host.deliver_signals()


def _count() -> int:
    return process().thread_count


def _set_sentinel() -> Lock:
    sentinel = allocate_lock()
    _sentinels[get_ident()] = sentinel
    return sentinel
