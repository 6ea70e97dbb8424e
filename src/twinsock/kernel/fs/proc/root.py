"""/proc itself, and reading and writing by path (Linux: fs/proc/root.c, fs/proc/self.c, fs/proc/thread_self.c).

proc_read(task, "/proc/net/tcp")                (0, b"  sl  local_address ...")
proc_write(task, "/proc/sys/net/core/somaxconn", b"128")"""

from __future__ import annotations

from twinsock.kernel.fs.namei import MAY_READ, MAY_WRITE, PROC_DEV, Inode, inode_permission, kern_path
from twinsock.kernel.fs.proc.base import TgidDir
from twinsock.kernel.fs.proc.generic import ProcDir, ProcSuper, ProcSymlink
from twinsock.kernel.fs.proc.machine import MACHINE_FILES, MachineFile
from twinsock.kernel.fs.proc.proc_sysctl import SysDir
from twinsock.kernel.fs.seq_file import SeqInode
from twinsock.uapi.errno import EACCES, EINVAL, ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

_PROC_ROOT_INO: Final = 1


class ProcRoot(ProcDir):
    """/proc: what the machine tells, and a directory for each process."""

    def __init__(self, kernel: Kernel, parent: Inode) -> None:
        super().__init__(ProcSuper(kernel), parent, "proc", "root")
        self.i_ino = _PROC_ROOT_INO

    def names(self, task: Task) -> list[str]:
        """List files and links, then the processes."""
        pids = sorted({other.tgid for other in self.sb.kernel.tasks})
        return ["net", "sys", *MACHINE_FILES, "self", "thread-self", *[str(pid) for pid in pids]]

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a name; threads are found by their number, though they are not listed."""
        text = name.decode("latin-1")
        if text == "self":
            return ProcSymlink(self.sb, self, text, str(task.tgid), "self")
        if text == "thread-self":
            return ProcSymlink(self.sb, self, text, f"{task.tgid}/task/{task.pid}", "thread-self")
        if text == "net":
            return ProcSymlink(self.sb, self, text, "self/net", "net")
        if text == "sys":
            return SysDir(self.sb, self, text, "", None)
        if text in MACHINE_FILES:
            return MachineFile(self.sb, self, text)
        for other in self.sb.kernel.tasks:
            if str(other.pid) == text:
                return TgidDir(self.sb, self, other, False)
        return None


def proc_read(task: Task, path: str) -> tuple[int, bytes]:
    """Read a whole file: (0, its text) or (-errno, nothing)."""
    err, inode = _find(task, path, MAY_READ)
    if inode is None:
        return err, b""
    err, file = inode.open(task, 0)
    if file is None:
        return err, b""
    if isinstance(inode, SeqInode) and not inode.is_dir():
        err, records = inode.records()
        if err or records:
            return err, b"".join(records)
    ret, text = file.read(task, 1 << 30)
    return min(ret, 0), text


def proc_write(task: Task, path: str, text: bytes) -> int:
    """Write a file at offset 0: bytes or -errno."""
    err, inode = _find(task, path, MAY_WRITE)
    if inode is None:
        return err
    err, file = inode.open(task, 1)
    return err or -EINVAL if file is None else file.write(task, text)


def _find(task: Task, path: str, mask: int) -> tuple[int, Inode | None]:
    """Find a file of /proc that the task may use so."""
    err, inode = kern_path(task, path.encode("latin-1"))
    if inode is None or inode.i_dev != PROC_DEV:
        return err or -ENOENT, None
    if inode.is_dir():
        return -EACCES if mask == MAY_WRITE else -ENOENT, None
    err = inode_permission(task, inode, mask)
    return (err, None) if err else (0, inode)
