"""The world outside the simulation, as far as a program on the twin waits for it: real files in select, poll and epoll, the real clock
of `twinsock run --realtime`, and what becomes of a deadlock.

Nobody looks at the real world while a task can run. When none can: a real file that is ready wakes who waits for it; otherwise virtual
time moves on, and only when no timer is armed the process really waits. With `realtime` it waits until the next timer's instant too,
and the virtual clock is the real one since boot."""

from __future__ import annotations

import select
import stat
import time
from os import fstat

from twinsock.kernel.sched.task import Siginfo
from twinsock.runtime.baton import Baton, Outside
from twinsock.runtime.leaf.os_calls import REAL
from twinsock.runtime.leaf.real_file import RealFile
from twinsock.runtime.process import DEADLOCK_SIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.runtime.process import Process
    from twinsock.runtime.tap import Tap

_DEADLOCKS_MAX = 1000  # without time moving between them, before the program is given up
_POLL, _EPOLL = select.poll, select.epoll
_MONOTONIC_NS, _TIME_NS = time.monotonic_ns, time.time_ns


class World(Outside):
    """The real world of one `twinsock run`."""

    def __init__(self, host: Process, realtime: bool = False) -> None:
        self.host = host
        self.realtime = realtime
        self.files: dict[int, RealFile] = {}  # those that somebody has waited for, by their number
        self.start_ns = _MONOTONIC_NS() - host.kernel.clock.now_ns
        self.tap: Tap | None = None
        self.deadlocks = 0
        self.deadlock_ns = -1
        if realtime:
            host.kernel.clock.realtime_offset_ns = _TIME_NS() - host.kernel.clock.now_ns

    # What the scheduler asks

    def idle(self, baton: Baton) -> bool:
        """Wake who waits for a real file that is ready; wait for it, or for the next instant, as far as that is right."""
        waited = [file for file in self.files.values() if file.wq.active()]
        if self._wake(waited, 0) and baton.run_queue:
            return True
        next_ns = baton.clock.next_event_ns()
        if self.realtime:
            self._sleep(waited, next_ns)
            return bool(waited) or next_ns >= 0 or self.tap is not None
        if next_ns >= 0 or not waited:
            return False
        self._wake(waited, -1)
        return bool(baton.run_queue)

    def _sleep(self, waited: list[RealFile], next_ns: int) -> None:
        """Wait for the real clock to reach a timer, or for a file."""
        if not waited and next_ns < 0 and self.tap is None:
            return
        left_ns = -1 if next_ns < 0 else max(self.start_ns + next_ns - _MONOTONIC_NS(), 0)
        self._wake(waited, -1 if left_ns < 0 else -(-left_ns // 1_000_000))
        self.sync()

    def sync(self) -> None:
        """Move the virtual clock to the real one."""
        if self.realtime:
            self.host.kernel.clock.advance_to(_MONOTONIC_NS() - self.start_ns)
            if self.tap is not None:
                self.tap.receive()

    def _wake(self, waited: list[RealFile], timeout_ms: int) -> bool:
        """Poll real files and wake who waits for those that are ready."""
        if not waited and (timeout_ms == 0 or (timeout_ms < 0 and self.tap is None)):
            return False
        poll = _POLL()
        if self.tap is not None:
            poll.register(self.tap.fd, select.POLLIN)
        for file in waited:
            poll.register(file.fd, 0x7)
        ready = dict(poll.poll(timeout_ms))
        for file in waited:
            if file.fd in ready:
                file.wq.wake_up(ready[file.fd])
        return bool(ready)

    def deadlock(self, baton: Baton) -> bool:
        """Have the main thread raise Deadlock out of the call in which it waits."""
        now = baton.clock.now_ns
        self.deadlocks = self.deadlocks + 1 if now == self.deadlock_ns else 1
        self.deadlock_ns = now
        if self.deadlocks > _DEADLOCKS_MAX or self.host.first not in baton.sleeping:
            return False
        from twinsock.runtime.runner import deadlock_text

        self.host.deadlock = deadlock_text(self.host)
        self.host.first.send_siginfo(Siginfo(DEADLOCK_SIGNAL))
        return bool(baton.run_queue)

    # Files

    def admit(self, fd: int) -> None:
        """Have the twin know a real file by its number. Raises OSError where there is none."""
        known = self.files.get(fd)
        files = self.host.first.files
        assert files is not None
        try:
            found = fstat(fd)
        except OSError:
            if known is not None:
                self._forget(fd)
            raise
        identity = (found.st_dev, found.st_ino)
        if known is not None and known.identity == identity:
            return
        if known is not None or fd < 3:  # the first three numbers have place holders
            self._forget(fd)
        file = RealFile(self.host.kernel, fd, REAL, owned=False)
        file.identity = identity
        file.pollable = not stat.S_ISREG(found.st_mode) and _epoll_takes(fd)
        files.alloc_fd(fd, fd + 1, 0)
        files.fd[fd] = file
        self.files[fd] = file

    def _forget(self, fd: int) -> None:
        self.files.pop(fd, None)
        files = self.host.first.files
        assert files is not None
        files.put_unused_fd(fd)


def _epoll_takes(fd: int) -> bool:
    """Ask the real epoll whether one can wait for a file."""
    with _EPOLL() as probe:
        try:
            probe.register(fd, 0)
        except OSError:
            return False
    return True
