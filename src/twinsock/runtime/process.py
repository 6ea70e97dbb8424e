"""One simulated process which runs an unmodified Python program: its tasks are threads, its descriptors and signals the twin's.

The leaf modules ask `process()` for the process whose code runs: the one that the task with the baton belongs to. The processes of one
simulation, of one host or of several, share the baton."""

import gc
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from twinsock.kernel.kernel import Kernel, Prng
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT, Cred
from twinsock.kernel.time.timer import Timer
from twinsock.runtime.baton import Baton, BatonTask, Deadlock
from twinsock.runtime.facade import KilledBySignal, TwinEnv
from twinsock.runtime.faults import CallFaults
from twinsock.uapi.errno import EBADF
from twinsock.uapi.signal import SIGINT, SIGKILL

if TYPE_CHECKING:
    from twinsock.runtime.outside import World

EPOCH_NS = 1_767_225_600_000_000_000  # 2026-01-01 00:00:00 UTC, when every simulated host boots
SPIN_FREE = 1000  # looks at the clock, or calls without effect, between two sleeps that cost no time
SPIN_NS = 1000  # what each further one costs at first
SPIN_MAX = 1000  # times that, at most, the longer it goes on
SLICE = 64  # calls after which another task may run
SLICES_FREE = 100  # slices without a sleep that cost no time
DEADLOCK_SIGNAL = 65  # none of Linux's: has the main thread raise what Process.deadlock holds
GC_THRESHOLD = 2000  # new objects before garbage is collected at the next system call
REAL_FD_MIN = 1024  # files which the program opens have numbers from here on, see RealNumbers
ITIMERS = {0: 14, 1: 26, 2: 27}  # which signal a timer sends


class RealNumbers:
    """Which numbers are descriptors of real files: the standard streams, those from `start` on, and `low` ones that were in use when a
    process was allowed more descriptors and `start` moved up."""

    def __init__(self) -> None:
        self.start = REAL_FD_MIN
        self.low: set[int] = set()

    def __contains__(self, fd: object) -> bool:
        return isinstance(fd, int) and (0 <= fd <= 2 or fd >= self.start or fd in self.low)


REAL_NUMBERS = RealNumbers()


class Escape(PermissionError):
    """A call which would leave the simulation; the message names it and the way out."""


def _no_paths(host: "Process", path: bytes) -> None:
    """Mirror nothing: the process has no file system besides the twin's."""


class _ItimerTimer(Timer):
    """setitimer(2), alarm(2)."""

    def __init__(self, owner: "Process", signo: int) -> None:
        super().__init__()
        self.owner = owner
        self.signo = signo
        self.interval_ns = 0

    def fire(self) -> None:
        """Send the signal and arm again."""
        if self.interval_ns:
            self.owner.kernel.clock.hrtimer_start(self, self.owner.kernel.clock.now_ns + self.interval_ns)
        self.owner.first.send_signal(self.signo)


class Process(TwinEnv):
    """A simulated process with the state that the leaf modules share."""

    mirror_path: ClassVar[Callable[["Process", bytes], None]] = _no_paths

    def __init__(self, kernel: Kernel, seed: int, hostname: str, baton: Baton | None = None, uid: int = 0) -> None:
        super().__init__(kernel, None, uid, uid, baton)
        self.hostname = hostname
        self.prng = Prng(seed ^ 0x5EED)
        self.default_timeout: float | None = None
        self.wakeup_fd = -1
        self.python_handlers: dict[int, Any] = {}
        self.thread_count = 0
        self.spins = 0
        self.calls = 0  # since the slice began
        self.total_calls = 0  # up to the last slice
        self.slices = 0  # one after another in which time stood still
        self.slice_ns = 0  # when the last one ended
        self.cpu_ns = 0  # processor time used
        self.deadlock = ""  # who waits where
        self.world: World | None = None  # the real world, if the simulation has one
        self.itimers = {which: _ItimerTimer(self, signo) for which, signo in ITIMERS.items()}
        self.allowed: set[str] = set()
        self.skew_ns = 0  # how far the host's time of day is ahead
        self.names: list[tuple[str, list[str]]] = []  # further lines of /etc/hosts
        self.faults: CallFaults | None = None
        self.killed: Callable[[int], None] | None = None  # ends the process as a signal's default action does, and does not return
        kernel.clock.realtime_offset_ns = EPOCH_NS

    @property
    def task(self) -> BatonTask:
        """The task that runs, if it is one of this process; else the first."""
        current = self.baton.current
        return self.first if current is None or current.owner is not self else current

    def _new_task(self, comm: str, net: Net, cred: Cred, pid: int) -> BatonTask:
        task = super()._new_task(comm, net, cred, pid)
        task.owner = self
        return task

    # Descriptors

    def owns(self, fd: object) -> bool:
        """Tell whether a number is a descriptor of the twin; 0 to 2 are those of the real process."""
        files = self.first.files
        if not isinstance(fd, int) or files is None or not 2 < fd < len(files.fd) or files.fd[fd] is None:
            return False
        return fd < REAL_FD_MIN or fd not in REAL_NUMBERS

    def is_real(self, fd: int) -> bool:
        """Tell whether a number is a real descriptor of the program: a standard stream, or a file that it opened."""
        return fd in REAL_NUMBERS

    def mirror(self, path: bytes) -> None:
        """Make the directories of a socket's path, where they really exist, in the twin's tree."""
        self.mirror_path(path)

    def need(self, fd: int) -> None:
        """Refuse a number that is no descriptor of the twin. Raises OSError."""
        if not self.owns(fd):
            self.check(-EBADF)

    # Time

    def look(self) -> None:
        """Count something that a busy loop does; a program that does nothing else sees time pass and others run."""
        self.spins += 1
        if self.world is not None:
            self.world.sync()
        if self.task.pending_signals:
            self.deliver_signals()
        if self.spins > SPIN_FREE:
            self.charge(SPIN_NS * min(self.spins // SPIN_FREE, SPIN_MAX))

    def check(self, ret: int) -> int:
        """Return a result or raise OSError; a task that makes many calls and never sleeps lets the others run."""
        self.calls += 1
        if self.calls >= SLICE:
            self._end_of_slice()
        return super().check(ret)

    def _end_of_slice(self) -> None:
        """Let others run; once a task only makes calls that never wait, let time pass as well."""
        self.total_calls += self.calls
        self.calls = 0
        now = self.kernel.clock.now_ns
        self.slices = self.slices + 1 if now == self.slice_ns else 0
        self.slice_ns = now
        if self.slices > SLICES_FREE:
            self.charge(SPIN_NS * min(self.slices - SLICES_FREE, SPIN_MAX))
            self.slice_ns = self.kernel.clock.now_ns
        elif self.baton.run_queue and self.baton.current is not None:
            self.baton.yield_now(self.baton.current)

    def charge(self, duration_ns: int) -> None:
        """Use processor time: virtual time passes, and others may run."""
        clock = self.kernel.clock
        if self.world is not None and self.world.realtime:
            self.world.sync()
        else:
            clock.advance_to(clock.now_ns + duration_ns)
        task = self.task
        task.cpu_ns += duration_ns
        self.cpu_ns += duration_ns
        if self.baton.run_queue and self.baton.current is not None:
            self.baton.yield_now(self.baton.current)

    def sleep_ns(self, duration_ns: int) -> None:
        """Sleep in virtual time; a sleep of nothing lets the others run."""
        self.collect()
        if duration_ns > 0:
            super().sleep_ns(duration_ns)
        else:
            self.look()
            self.baton.yield_now(self.task)

    def collect(self) -> None:
        """Collect garbage where finalizers may make system calls; the collector itself is off."""
        if gc.get_count()[0] > GC_THRESHOLD:
            gc.collect(1)

    def wait(self, task: BatonTask, timeout_ns: int = MAX_SCHEDULE_TIMEOUT) -> int:
        """Sleep until somebody wakes the task; run signal handlers; return what is left of the time."""
        self.spins = 0
        task.prepare_to_sleep()
        left = task.schedule_timeout(timeout_ns)
        if task.signal_pending():
            self.deliver_signals()
        return left

    # Signals: handlers run in the main thread. Twin: D-run-4, at its next call

    def deliver_signals(self) -> int:
        """Run handlers of pending signals; return a mask of those that ran."""
        task = self.task
        ran = 0
        while True:
            info = task.dequeue_signal(task.blocked_signals)
            if info is None:
                return ran
            signo = info.si_signo
            if signo == SIGKILL and task is not self.first:
                self.kernel.do_exit(task)
                self.baton.abandon(task)
                self.baton.vanish(task)
            if signo == DEADLOCK_SIGNAL:
                raise Deadlock(self.deadlock)
            handler = self.python_handlers.get(signo)
            if handler is None and signo == SIGINT:
                raise KeyboardInterrupt
            if not callable(handler):
                if handler == 1 or task.ignored_signals >> signo & 1:
                    continue
                if self.killed is not None:
                    self.killed(signo)
                raise KilledBySignal(signo)
            ran |= 1 << signo
            if self.wakeup_fd >= 0:
                self.write_wakeup(signo)
            handler(signo, sys._getframe(1))

    def pause(self) -> None:
        """Wait until a handler ran, pause(2)."""
        task = self.task
        self.spins = 0
        while True:
            task.prepare_to_sleep()
            task.schedule_timeout(MAX_SCHEDULE_TIMEOUT)
            if self.deliver_signals():
                return

    def write_wakeup(self, signo: int) -> None:
        """Write the number to the descriptor of signal.set_wakeup_fd()."""
        from twinsock.kernel.fs.read_write import sys_write

        sys_write(self.task, self.wakeup_fd, bytes([signo]))

    # Threads

    def start_thread(self, body: Callable[[], None]) -> BatonTask:
        """Start a thread which shares everything with its maker."""
        parent = self.task
        child = self._new_task(parent.comm, parent.net, parent.cred, self.kernel.new_pid())
        child.tgid = self.first.tgid
        self.kernel.copy_process(parent, child, share_files=True)
        child.handled_signals = parent.handled_signals
        self.thread_count += 1

        def run() -> None:
            try:
                body()
            finally:
                self.thread_count -= 1
                self.kernel.do_exit(child)

        self.baton.spawn(child, run)
        return child

    def random_bytes(self, size: int) -> bytes:
        """Give bytes of the seeded generator, as os.urandom()."""
        words = [self.prng.u64().to_bytes(8, "little") for _ in range((size + 7) // 8)]
        return b"".join(words)[:size]


_first: list[Process] = []


def install_process(process: Process) -> None:
    """Say whose code runs where no task of the simulation does, and through its baton whose runs where one does."""
    _first[:] = [process]


def process() -> Process:
    """Return the process whose code runs."""
    first = _first[0]
    task = first.baton.current
    if task is None:
        return first
    owner = task.owner
    return owner if isinstance(owner, Process) else first
