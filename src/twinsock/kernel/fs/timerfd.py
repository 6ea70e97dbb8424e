"""timerfd_create(2) (Linux: fs/timerfd.c). Left out: alarm clocks that wake the machine, TFD_TIMER_CANCEL_ON_SET's event."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, fget, fput, get_unused_fd_flags, put_unused_fd
from twinsock.kernel.fs.select import PollTable, poll_wait
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import EAGAIN, EBADF, EINVAL, ENFILE, EPERM, ERESTARTSYS
from twinsock.uapi.fcntl import O_CLOEXEC, O_NONBLOCK, O_RDWR
from twinsock.uapi.timerfd import (
    CLOCK_BOOTTIME,
    CLOCK_BOOTTIME_ALARM,
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    CLOCK_REALTIME_ALARM,
    TFD_CLOEXEC,
    TFD_NONBLOCK,
    TFD_TIMER_ABSTIME,
    TFD_TIMER_CANCEL_ON_SET,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

ANON_INODE_DEV: Final = 14
_CAP_WAKE_ALARM: Final = 35
_CLOCKS: Final[tuple[int, ...]] = (CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM)


class _TimerfdTimer(Timer):
    def __init__(self, file: TimerFdFile) -> None:
        super().__init__()
        self.file = file

    def fire(self) -> None:
        """Count an expiry and arm the next one."""
        file = self.file
        file.ticks += 1
        if file.interval_ns:
            file.next_ns += file.interval_ns
            file.kernel.clock.hrtimer_start(self, file.next_ns)
        file.wqh.wake_up(0x1, 0)


class TimerFdFile(File):
    """A timer that is read like a file."""

    def __init__(self, kernel: Kernel, clockid: int, flags: int) -> None:
        super().__init__(kernel, O_RDWR | (flags & O_NONBLOCK))
        self.clockid = clockid
        self.ticks = 0
        self.interval_ns = 0
        self.next_ns = 0
        self.settime_flags = 0
        self.timer = _TimerfdTimer(self)
        self.wqh = WaitQueueHead()

    def clock_offset_ns(self) -> int:
        """Return what separates its clock from the monotonic one."""
        return self.kernel.clock.realtime_offset_ns if self.clockid in (CLOCK_REALTIME, CLOCK_REALTIME_ALARM) else 0

    def remaining_ns(self) -> int:
        """Return the time to the next expiry, 0 when disarmed."""
        return max(self.next_ns - self.kernel.clock.now_ns, 0) if self.timer.pending() else 0

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Take the number of expiries; wait for the first."""
        if count < 8:
            return -EINVAL, b""
        self.kernel.clock.advance_to(self.kernel.clock.now_ns)
        wait = TaskWait(task)
        while self.ticks == 0:
            if self.f_flags & O_NONBLOCK:
                return -EAGAIN, b""
            if task.signal_pending():
                return -ERESTARTSYS, b""
            self.wqh.prepare_to_wait(wait)
            task.schedule_timeout(-1)
            self.wqh.finish_wait(wait)
        ticks = self.ticks
        self.ticks = 0
        return 8, ticks.to_bytes(8, "little")

    def poll(self, wait: PollTable | None) -> int:
        """Readable after an expiry."""
        poll_wait(self.wqh, wait)
        return 0x1 if self.ticks else 0

    def release(self, task: Task | None) -> int:
        """Disarm."""
        self.kernel.clock.del_timer(self.timer)
        return 0

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Seeking does nothing (noop_llseek)."""
        return 0

    def getattr(self) -> Kstat:
        """Return the shared anonymous inode."""
        stat = Kstat(self.kernel.anon_inode_ino, 0o600, 0, 0)
        stat.dev = ANON_INODE_DEV
        return stat

    def ino(self) -> int:
        """Return the inode number."""
        return self.kernel.anon_inode_ino

    def mnt_id(self) -> int:
        """Return the mount."""
        return ANON_INODE_DEV

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return "anon_inode:[timerfd]"

    def show_fdinfo(self) -> str:
        """Return clock, expiries, flags, time left and interval."""
        left, every = self.remaining_ns(), self.interval_ns
        return (
            f"clockid: {self.clockid}\nticks: {self.ticks}\nsettime flags: 0{self.settime_flags:o}\n"
            f"it_value: ({left // 1_000_000_000}, {left % 1_000_000_000})\n"
            f"it_interval: ({every // 1_000_000_000}, {every % 1_000_000_000})\n"
        )


def sys_timerfd_create(task: Task, clockid: int, flags: int) -> int:
    """timerfd_create(2)."""
    if flags & ~(TFD_CLOEXEC | TFD_NONBLOCK) or clockid not in _CLOCKS:
        return -EINVAL
    if clockid in (CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM) and not task.capable(_CAP_WAKE_ALARM):
        return -EPERM
    fd = get_unused_fd_flags(task, flags & O_CLOEXEC)
    if fd < 0:
        return fd
    if alloc_empty_file(task):
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, TimerFdFile(task.kernel, clockid, flags))
    return fd


def sys_timerfd_settime(task: Task, fd: int, flags: int, value_ns: int, interval_ns: int) -> tuple[int, int, int]:
    """timerfd_settime(2): (0 or -errno, old time left, old interval); a value of 0 disarms."""
    if flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) or value_ns < 0 or interval_ns < 0:
        return -EINVAL, 0, 0
    file = fget(task, fd)
    if file is None:
        return -EBADF, 0, 0
    if not isinstance(file, TimerFdFile):
        fput(file, task)
        return -EINVAL, 0, 0
    old = (0, file.remaining_ns(), file.interval_ns)
    clock = task.kernel.clock
    clock.del_timer(file.timer)
    file.settime_flags = flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)
    file.ticks = 0
    file.interval_ns = interval_ns
    if value_ns:
        file.next_ns = value_ns - file.clock_offset_ns() if flags & TFD_TIMER_ABSTIME else clock.now_ns + value_ns
        clock.hrtimer_start(file.timer, file.next_ns)
    fput(file, task)
    return old


def sys_timerfd_gettime(task: Task, fd: int) -> tuple[int, int, int]:
    """timerfd_gettime(2): (0 or -errno, time left, interval)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, 0, 0
    if isinstance(file, TimerFdFile):
        ret = (0, file.remaining_ns(), file.interval_ns)
    else:
        ret = (-EINVAL, 0, 0)
    fput(file, task)
    return ret
