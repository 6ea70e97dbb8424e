"""eventfd(2) (Linux: fs/eventfd.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, get_unused_fd_flags, put_unused_fd
from twinsock.kernel.fs.select import PollTable, poll_wait
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.uapi.errno import EAGAIN, EINVAL, ENFILE, ERESTARTSYS
from twinsock.uapi.fcntl import O_CLOEXEC, O_NONBLOCK, O_RDWR
from twinsock.uapi.timerfd import EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

_U64_MAX: Final = 0xFFFFFFFFFFFFFFFF
ANON_INODE_DEV: Final = 14


class EventFdFile(File):
    """A counter with a wait queue."""

    def __init__(self, kernel: Kernel, count: int, flags: int) -> None:
        super().__init__(kernel, O_RDWR | (flags & O_NONBLOCK))
        self.count = count
        self.semaphore = bool(flags & EFD_SEMAPHORE)
        self.wqh = WaitQueueHead()
        kernel.eventfd_id += 1
        self.id = kernel.eventfd_id

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Take the count (or one, as a semaphore); wait while it is 0."""
        if count < 8:
            return -EINVAL, b""
        wait = TaskWait(task, exclusive=True)
        while self.count == 0:
            if self.f_flags & O_NONBLOCK:
                return -EAGAIN, b""
            if task.signal_pending():
                return -ERESTARTSYS, b""
            self.wqh.prepare_to_wait(wait)
            task.schedule_timeout(-1)
            self.wqh.finish_wait(wait)
        value = 1 if self.semaphore else self.count
        self.count -= value
        if self.wqh.active():
            self.wqh.wake_up(0x4)
        return 8, value.to_bytes(8, "little")

    def write(self, task: Task, data: bytes) -> int:
        """Add to the count; wait while it would overflow."""
        if len(data) < 8:
            return -EINVAL
        value = int.from_bytes(data[:8], "little")
        if value == _U64_MAX:
            return -EINVAL
        wait = TaskWait(task, exclusive=True)
        while _U64_MAX - self.count <= value:
            if self.f_flags & O_NONBLOCK:
                return -EAGAIN
            if task.signal_pending():
                return -ERESTARTSYS
            self.wqh.prepare_to_wait(wait)
            task.schedule_timeout(-1)
            self.wqh.finish_wait(wait)
        self.count += value
        if self.wqh.active():
            self.wqh.wake_up(0x1)
        return 8

    def poll(self, wait: PollTable | None) -> int:
        """Readable above 0, writable unless full."""
        poll_wait(self.wqh, wait)
        mask = 0x1 if self.count > 0 else 0
        if self.count == _U64_MAX:
            mask |= 0x8
        if self.count < _U64_MAX - 1:
            mask |= 0x4
        return mask

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
        return "anon_inode:[eventfd]"

    def show_fdinfo(self) -> str:
        """Return the count, the identity and the kind."""
        return f"eventfd-count: {self.count:16x}\neventfd-id: {self.id}\neventfd-semaphore: {int(self.semaphore)}\n"


def sys_eventfd2(task: Task, count: int, flags: int) -> int:
    """eventfd(2)."""
    if flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE):
        return -EINVAL
    fd = get_unused_fd_flags(task, flags & O_CLOEXEC)
    if fd < 0:
        return fd
    if alloc_empty_file(task):
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, EventFdFile(task.kernel, count & 0xFFFFFFFF, flags))
    return fd
