"""Tasks of one simulation as real threads under a baton: exactly one runs, the others wait for it.

A task gives the baton away only when it sleeps (`schedule_timeout`), yields or ends. The next one is the task that has been runnable
longest; when nobody can run, virtual time moves to the next timer; when there is none either, the simulation is deadlocked and the
error names who waits in which call."""

import _thread
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType

from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.sched.task import Cred, Task
from twinsock.kernel.time.timer import Clock, Timer


class Deadlock(BaseException):
    """Every task sleeps and no timer is armed; no program's `except Exception` is meant to catch it."""


class Killed(BaseException):
    """Unwinds a task whose simulation is over."""


class _SleepTimer(Timer):
    """Ends one sleep."""

    def __init__(self, task: "BatonTask") -> None:
        super().__init__()
        self.task = task

    def fire(self) -> None:
        self.task.timed_out = True
        self.task.wake_up_process()


class BatonTask(Task):
    """A task that hands the baton over when it sleeps."""

    def __init__(self, baton: "Baton", kernel: Kernel, net: Net, cred: Cred, pid: int, comm: str) -> None:
        super().__init__(kernel, net, None, cred, pid, comm)
        self.baton = baton
        self.go = _thread.allocate_lock()  # held: the task waits for the baton
        self.go.acquire()
        self.timed_out = False
        self.queued = False  # in the run queue
        self.frame: FrameType | None = None  # where it sleeps, for the deadlock report
        self.error: BaseException | None = None
        self.done = False
        self.ident = 0  # of the thread
        self.cpu_ns = 0  # processor time used
        self.owner: object = None  # the process that it belongs to, where programs run unmodified
        self.stopped = False  # by SIGSTOP, so to speak: woken, it waits until it is continued
        self.missed = False  # it would have run meanwhile
        self.timer = _SleepTimer(self)

    def schedule_timeout(self, timeout_ns: int) -> int:
        """Sleep and let others run; return the nanoseconds left of `timeout_ns` (-1: for ever)."""
        clock = self.kernel.clock
        self.kernel.do_softirq()
        if self.runnable or self.signal_pending():
            self.runnable = True
            return timeout_ns
        deadline = -1 if timeout_ns < 0 else clock.now_ns + timeout_ns
        self.timed_out = False
        if deadline >= 0:
            clock.hrtimer_start(self.timer, deadline)
        self.baton.switch_away(self)
        clock.del_timer(self.timer)
        self.runnable = True
        if timeout_ns < 0:
            return timeout_ns
        return 0 if self.timed_out else max(deadline - clock.now_ns, 0)

    def wake_up_process(self) -> bool:
        """Make the task runnable and queue it behind those that are."""
        was_asleep = not self.runnable
        self.runnable = True
        if was_asleep:
            self.baton.enqueue(self)
        return was_asleep

    def copy_from_user(self, address: int, size: int) -> bytes | None:
        """Read this process's own memory: programs hand over pointers that ctypes made."""
        try:
            with open("/proc/self/mem", "rb", buffering=0) as memory:
                memory.seek(address)
                data = memory.read(size)
        except (OSError, OverflowError):
            return None
        return data if len(data) == size else None

    def copy_to_user(self, address: int, data: bytes) -> bool:
        """Write this process's own memory."""
        try:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:
                memory.seek(address)
                return memory.write(data) == len(data)
        except (OSError, OverflowError):
            return False


class BatonWatch:
    """Hears of each turn of a simulation."""

    def turn(self, task: BatonTask) -> None:
        """Take note that a task is about to run. What this raises ends the simulation."""
        raise NotImplementedError


class Outside:
    """What a runtime has beside the simulation: the real clock and real files, or a way out of a deadlock."""

    def idle(self, baton: "Baton") -> bool:
        """Nobody can run: wait for what comes before the next timer; True if that may have changed something."""
        return False

    def look(self, baton: "Baton") -> None:
        """Somebody can run: let happen what is due outside, without waiting."""

    def deadlock(self, baton: "Baton") -> bool:
        """Nobody can run and no timer is armed: True if somebody was woken."""
        return False


class Baton:
    """The scheduler of one simulation; several kernels may share its clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.run_queue: deque[BatonTask] = deque()
        self.current: BatonTask | None = None
        self.sleeping: list[BatonTask] = []
        self.main = _thread.allocate_lock()
        self.main.acquire()
        self.failure: BaseException | None = None
        self.over = False
        self.alive = 0
        self.until: BatonTask | None = None
        self.threads: list[threading.Thread] = []
        self.watch: BatonWatch | None = None
        self.outside: Outside | None = None
        self.switches = 0

    def enqueue(self, task: BatonTask) -> None:
        """Let a woken task run when its turn comes."""
        if task.stopped:
            task.missed = True
        elif not task.queued and task is not self.current and not task.done:
            task.queued = True
            self.run_queue.append(task)

    def spawn(self, task: BatonTask, body: Callable[[], None]) -> None:
        """Start a thread for a task; it runs when its turn comes."""
        self.alive += 1

        def run() -> None:
            task.go.acquire()
            try:
                if not self.over:
                    body()
            except Killed:
                pass
            except BaseException as error:
                task.error = error
            finally:
                task.done = True
                self.alive -= 1
                if not self.over:
                    self._next(task)

        thread = threading.Thread(target=run, name=f"{task.comm}[{task.pid}]", daemon=True)
        self.threads.append(thread)
        thread.start()
        task.ident = thread.ident or 0
        self.enqueue(task)

    def run(self, until: BatonTask | None = None) -> None:
        """Run until `until` has ended (None: every task); raise what made the simulation fail. Tasks left over are unwound."""
        self.drive(until)
        self.over = True
        for task in [*self.sleeping, *(task for task in self.run_queue if task not in self.sleeping)]:
            task.go.release()
        for thread in self.threads:
            thread.join(5)
        if self.failure is not None:
            raise self.failure

    def drive(self, until: BatonTask | None) -> None:
        """Run until `until` has ended or the simulation failed (`failure`); leave the other tasks where they are."""
        self.until = until
        self._next(None)
        self.main.acquire()

    def switch_away(self, task: BatonTask) -> None:
        """Hand the baton over and come back when it is this task's turn again."""
        task.frame = sys._getframe(2)
        self.sleeping.append(task)
        if task.runnable:
            self.enqueue(task)
        self._next(task)
        task.go.acquire()
        if self.over:
            raise Killed
        self.sleeping.remove(task)
        task.frame = None

    def stop(self, task: BatonTask) -> None:
        """Let a task run no further than to its next sleep until it is continued."""
        task.stopped = True
        if task.queued:
            self.run_queue.remove(task)
            task.queued = False
            task.missed = True

    def cont(self, task: BatonTask) -> None:
        """Let a stopped task run again."""
        task.stopped = False
        if task.missed:
            task.missed = False
            self.enqueue(task)

    def abandon(self, task: BatonTask) -> None:
        """Let a task never run again and unwind nothing; the task with the baton goes on until it calls `vanish`."""
        if task.done:
            return
        task.done = True
        self.alive -= 1
        self.clock.del_timer(task.timer)
        if task.queued:
            self.run_queue.remove(task)
            task.queued = False
        if task in self.sleeping:
            self.sleeping.remove(task)

    def vanish(self, task: BatonTask) -> None:
        """Hand the baton over for good."""
        self._next(None)
        task.go.acquire()
        raise Killed

    def fail(self, error: BaseException) -> None:
        """End the simulation at the next turn."""
        if self.failure is None:
            self.failure = error

    def yield_now(self, task: BatonTask) -> None:
        """Let every other runnable task run first."""
        if self.run_queue:
            task.runnable = True
            self.current = None
            self.enqueue(task)
            self.switch_away(task)

    def _next(self, leaving: BatonTask | None) -> None:
        """Give the baton to the next runnable task, moving time when there is none."""
        self.current = None
        if leaving is not None and leaving.done and leaving is self.until:
            self.main.release()
            return
        try:
            if self.outside is not None:
                self.outside.look(self)
            while not self.run_queue or self.failure is not None:
                if self.failure is not None or self.alive == 0:
                    self.main.release()
                    return
                for host in self.clock.hosts:
                    host.do_softirq()
                if self.run_queue:
                    break
                if self.outside is not None and self.outside.idle(self):
                    continue
                if not self.clock.run_next(-1) and (self.outside is None or not self.outside.deadlock(self)):
                    raise Deadlock(self._who_waits())
            task = self.run_queue.popleft()
            task.queued = False
            if self.watch is not None:
                self.watch.turn(task)
        except BaseException as error:
            self.failure = error
            self.main.release()
            return
        self.switches += 1
        self.current = task
        task.kernel.cpu = task.cpu
        task.go.release()

    def _who_waits(self) -> str:
        lines = [f"  {task.comm}[{task.pid}] waits in {_where(task.frame)}" for task in self.sleeping]
        return "deadlock: no task can run and no timer is armed\n" + "\n".join(lines)


def _where(frame: FrameType | None) -> str:
    """Name the system call and the program's line that a task sleeps in."""
    names = []
    method = ""  # of the runtime that the program called: says what is known where compiled functions leave no frames
    for entry in reversed(traceback.extract_stack(frame)):
        if "/twinsock/" in entry.filename.replace("\\", "/"):
            if entry.filename != __file__ and entry.name != "body":
                method = entry.name
            if entry.name.startswith("sys_"):
                names.append(entry.name)
        else:
            names.append(f"{entry.filename}:{entry.lineno} ({entry.name})")
            break
    if method and len(names) == 1:
        names.insert(0, method)
    return ", called at ".join(names) or "?"
