"""Process file descriptors, pidfd_open(2) (Linux: kernel/pid.c, fs/pidfs.c). Left out: everything one can do with one but poll it."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, get_unused_fd_flags, put_unused_fd
from twinsock.uapi.errno import ENFILE
from twinsock.uapi.fcntl import O_CLOEXEC, O_RDWR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

PIDFS_DEV: Final = 4


class PidFile(File):
    """A descriptor that refers to a process, alive or not."""

    def __init__(self, kernel: Kernel, pid: int) -> None:
        super().__init__(kernel, O_RDWR)
        self.pid = pid
        self.i_ino = kernel.get_next_ino()

    def alive(self) -> bool:
        """Tell whether the process still runs."""
        return any(task.pid == self.pid for task in self.kernel.tasks)

    def poll(self, wait: PollTable | None) -> int:
        """Readable once the process has ended."""
        return 0 if self.alive() else 0x41

    def getattr(self) -> Kstat:
        """Return the pidfs inode."""
        stat = Kstat(self.i_ino, 0o100700, 0, 0)
        stat.dev = PIDFS_DEV
        return stat

    def ino(self) -> int:
        """Return the inode number."""
        return self.i_ino

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return "anon_inode:[pidfd]"

    def show_fdinfo(self) -> str:
        """Return the Pid and NSpid lines."""
        pid = self.pid if self.alive() else -1
        return f"Pid:\t{pid}\nNSpid:\t{pid}\n"


def pidfd_prepare(task: Task, pid: int) -> int:
    """Open a descriptor for a process: the descriptor or -errno."""
    fd = get_unused_fd_flags(task, O_CLOEXEC)
    if fd < 0:
        return fd
    if alloc_empty_file(task):
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, PidFile(task.kernel, pid))
    return fd
