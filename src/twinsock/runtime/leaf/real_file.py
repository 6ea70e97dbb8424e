"""A real file among the twin's descriptors: one that a program waits for in select, poll or epoll, or sends as SCM_RIGHTS."""

import os
import select
from collections.abc import Callable

from twinsock.kernel.fs.file import File, Kstat, fd_install, get_unused_fd_flags
from twinsock.kernel.fs.select import PollTable, poll_wait
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.sched.task import Task
from twinsock.kernel.sched.wait import WaitQueueHead
from twinsock.uapi.fcntl import O_RDWR

_POLL = select.poll


class RealFile(File):
    """One real open file description; reads and writes go to it."""

    def __init__(self, kernel: Kernel, fd: int, calls: dict[str, Callable[..., object]], owned: bool = True) -> None:
        """Duplicate the descriptor if the file is to be owned; `calls`: the real functions of os."""
        super().__init__(kernel, O_RDWR)
        self.fd: int = calls["dup"](fd) if owned else fd  # type: ignore[assignment]
        self.calls = calls
        self.owned = owned
        self.identity = (0, 0)  # device and inode
        self.pollable = False  # epoll takes it
        self.wq = WaitQueueHead()

    def _try(self, name: str, *args: object) -> tuple[int, object]:
        try:
            return 0, self.calls[name](self.fd, *args)
        except OSError as error:
            return -(error.errno or 5), None

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """read(2)."""
        err, data = self._try("read", count)
        return (len(data), data) if isinstance(data, bytes) else (err, b"")

    def write(self, task: Task, data: bytes) -> int:
        """write(2)."""
        err, done = self._try("write", data)
        return done if isinstance(done, int) else err

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """lseek(2)."""
        err, pos = self._try("lseek", offset, whence)
        return pos if isinstance(pos, int) else err

    def poll(self, wait: PollTable | None) -> int:
        """Ask the real file; runtime/outside.py wakes who waits for it."""
        poll_wait(self.wq, wait)
        asked = _POLL()
        asked.register(self.fd, 0x7)
        return dict(asked.poll(0)).get(self.fd, 0)

    def can_poll(self) -> bool:
        """Tell what the real epoll said."""
        return self.pollable

    def getattr(self) -> Kstat:
        """fstat(2)."""
        found = self._try("fstat")[1]
        if not isinstance(found, os.stat_result):
            return super().getattr()
        stat = Kstat(found.st_ino, found.st_mode, found.st_uid, found.st_gid)
        stat.size = found.st_size
        return stat

    def release(self, task: Task | None) -> int:
        """Close the real descriptor with the last reference."""
        if self.owned:
            self.calls["close"](self.fd)
        return 0


def adopt(task: Task, fd: int, calls: dict[str, Callable[..., object]]) -> int:
    """Give a real descriptor a number of the twin: the number or -errno."""
    file = RealFile(task.kernel, fd, calls)
    number = get_unused_fd_flags(task, 0)
    if number < 0:
        file.release(task)
        return number
    fd_install(task, number, file)
    return number
