"""/proc/PID/fd and /proc/PID/fdinfo (Linux: fs/proc/fd.c).

A link in fd is no text: following it leads to the very file, whatever became of its name. Sockets and anonymous files cannot be opened
that way (ENXIO); pipes and files of the tree can, as new descriptions."""

from __future__ import annotations

from twinsock.kernel.fs.file import FMODE_READ, FMODE_WRITE, File, Kstat
from twinsock.kernel.fs.namei import Inode, generic_permission
from twinsock.kernel.fs.nsfs import NetNsFile
from twinsock.kernel.fs.proc.generic import ProcDir, ProcInode, ProcSuper
from twinsock.kernel.fs.proc.proc_sysctl import SysctlFile
from twinsock.kernel.fs.proc.ptrace import may_access
from twinsock.kernel.fs.ramfs import RamFile
from twinsock.kernel.fs.seq_file import SeqFile
from twinsock.uapi.errno import EACCES, ENOENT, ENXIO
from twinsock.uapi.fcntl import O_CLOEXEC
from twinsock.uapi.stat import S_IFLNK, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_FDS_OF_A_WORD: Final = 64
_LINK_SIZE: Final = 64


def proc_readfd(task: Task) -> list[int]:
    """Return the open descriptors in order, as a listing of /proc/PID/fd shows them."""
    files = task.files
    return [] if files is None else [fd for fd in range(len(files.fd)) if files.fd[fd] is not None]


def proc_fd_link(task: Task, fd: int) -> str:
    """Return where the link /proc/PID/fd/N points, "" for a closed number."""
    file = None if task.files is None else task.files.lookup(fd)
    return "" if file is None else file.link_target()


def seq_show(task: Task, fd: int) -> str:
    """Return the text of /proc/PID/fdinfo/N, "" for a closed number."""
    files = task.files
    file = None if files is None else files.lookup(fd)
    if files is None or file is None:
        return ""
    flags = file.f_flags & ~O_CLOEXEC | (O_CLOEXEC if files.close_on_exec[fd] else 0)
    head = f"pos:\t{file.f_pos}\nflags:\t0{flags:o}\nmnt_id:\t{file.mnt_id()}\nino:\t{file.ino()}\n"
    return head + file.show_fdinfo()


def table_size(task: Task) -> int:
    """Return the size of the descriptor table (FDSize of status)."""
    files = task.files
    if files is None:
        return 0
    size = _FDS_OF_A_WORD
    while size < len(files.fd):
        size *= 2
    return size


def _number(name: bytes) -> int:
    """Read a name as a number in the one way in which it is written, -1 if it is none."""
    text = name.decode("latin-1")
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or (len(text) > 1 and text[0] == "0"):
        return -1
    return int(text)


class FdDir(ProcDir):
    """/proc/PID/fd, or fdinfo."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task, info: bool) -> None:
        name = "fdinfo" if info else "fd"
        super().__init__(sb, parent, name, f"{task.pid}/{name}", 0o555 if info else 0o500)
        self.task = task
        self.info = info
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def permission(self, task: Task, mask: int) -> int:
        """The task's own threads may; others by the mode (fd) or as tracers (fdinfo)."""
        if task.tgid == self.task.tgid:
            return 0
        if self.info and not may_access(task, self.task):
            return -EACCES
        return generic_permission(task, self, mask)

    def readdir(self, task: Task) -> tuple[list[tuple[int, bytes, Inode]], int]:
        """List the descriptors."""
        rows: list[tuple[int, bytes, Inode]] = []
        for fd in proc_readfd(self.task):
            name = str(fd).encode()
            inode = self.lookup(task, name)
            if inode is not None:
                rows.append((2 + fd, name, inode))
        return rows, 2 + table_size(self.task)

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a descriptor."""
        fd = _number(name)
        file = None if fd < 0 or self.task.files is None else self.task.files.lookup(fd)
        if file is None:
            return None
        return FdInfo(self.sb, self, self.task, fd) if self.info else FdLink(self.sb, self, self.task, fd, file)

    def is_dead(self) -> bool:
        """Tell whether the task has ended."""
        return self.task.exiting

    def size(self) -> int:
        """Return the number of descriptors, since Linux 6.2."""
        return 0 if self.info else len(proc_readfd(self.task))


class FdLink(ProcInode):
    """/proc/PID/fd/N."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task, fd: int, file: File) -> None:
        mode = (0o500 if file.f_mode & FMODE_READ else 0) | (0o300 if file.f_mode & FMODE_WRITE else 0)
        super().__init__(sb, parent, str(fd), S_IFLNK | mode, f"{task.pid}/fd/{fd}")
        self.task = task
        self.file = file
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def size(self) -> int:
        """Return what lstat(2) says of every such link."""
        return _LINK_SIZE

    def get_link(self, task: Task) -> tuple[int, bytes]:
        """Say what the descriptor is."""
        if not may_access(task, self.task):
            return -EACCES, b""
        return 0, self.file.link_target().encode("latin-1")

    def jump(self, task: Task) -> tuple[int, Inode | None]:
        """Go to the file."""
        if not may_access(task, self.task):
            return -EACCES, None
        file = self.file
        if isinstance(file, (RamFile, SeqFile, SysctlFile)):
            return 0, file.inode
        return 0, FileInode(file)


class FileInode(Inode):
    """What is behind a file that is in no tree."""

    def __init__(self, file: File) -> None:
        stat = file.getattr()
        super().__init__(stat.ino, stat.mode, stat.uid, stat.gid)
        self.i_dev = stat.dev
        self.file = file

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """Open it once more, where that is possible."""
        file = self.file
        if isinstance(file, NetNsFile):
            return 0, NetNsFile(file.net)
        again = file.reopen(task, flags)
        return (-ENXIO, None) if again is None else (0, again)

    def getattr(self) -> Kstat:
        """Tell what fstat(2) tells."""
        return self.file.getattr()

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Change mode and owners."""
        return self.file.setattr_mode(mode) if mode >= 0 else self.file.setattr_owner(uid, gid)


class FdInfo(ProcInode):
    """/proc/PID/fdinfo/N."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task, fd: int) -> None:
        super().__init__(sb, parent, str(fd), S_IFREG | 0o444, f"{task.pid}/fdinfo/{fd}")
        self.task = task
        self.fd = fd
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def records(self) -> tuple[int, list[bytes]]:
        """Make the text."""
        text = seq_show(self.task, self.fd)
        return (0, [text.encode("latin-1")]) if text else (-ENOENT, [])
