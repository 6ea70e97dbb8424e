"""Inodes of /proc: made anew at each look, with numbers that stay (Linux: fs/proc/generic.c, fs/proc/inode.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat
from twinsock.kernel.fs.namei import MAY_WRITE, PROC_DEV, Inode, d_path, generic_permission
from twinsock.kernel.fs.seq_file import SeqFile, SeqInode
from twinsock.uapi.errno import EACCES, EPERM
from twinsock.uapi.stat import S_IFDIR, S_IFLNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

_FIRST_INO: Final = 0xF0010000


class ProcSuper:
    """What the inodes of one kernel's /proc share: their numbers, by what they stand for."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._numbers: dict[str, int] = {}

    def ino(self, key: str) -> int:
        """Return the number of what a key names, given at the first look."""
        return self._numbers.setdefault(key, _FIRST_INO + len(self._numbers))


class ProcInode(SeqInode):
    """Something in /proc; `key` names it for good."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, mode: int, key: str) -> None:
        super().__init__(sb.ino(key), mode, 0, 0)
        self.i_dev = PROC_DEV
        self.sb = sb
        self.parent = parent
        self.name = name.encode("latin-1")
        self.key = key

    def name_in(self, parent: Inode) -> bytes:
        """Return its name."""
        return self.name

    def path(self) -> str:
        """Return its path."""
        return d_path(self).decode("latin-1")

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """Directories are opened as all are, files as a sequence of records."""
        if self.is_dir():
            return 0, None
        return 0, SeqFile(self.sb.kernel, self, flags)

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Modes stay; owners may be set and mean nothing (proc_setattr)."""
        return -EPERM if mode >= 0 else 0

    def getattr(self) -> Kstat:
        """Tell what stat(2) tells: nothing in /proc has a size, but for links."""
        stat = Kstat(self.i_ino, self.i_mode, self.i_uid, self.i_gid)
        stat.dev = self.i_dev
        stat.nlink = self.nlink
        stat.size = self.size()
        stat.blksize = 1024
        return stat

    def size(self) -> int:
        """Return st_size."""
        return 0


class ProcDir(ProcInode):
    """A directory whose names are known."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, key: str, mode: int = 0o555) -> None:
        super().__init__(sb, parent, name, S_IFDIR | mode, key)
        self.nlink = 2

    def names(self, task: Task) -> list[str]:
        """List the names, in the order in which they are shown."""
        return []

    def readdir(self, task: Task) -> tuple[list[tuple[int, bytes, Inode]], int]:
        """List (position, name, inode)."""
        rows: list[tuple[int, bytes, Inode]] = []
        for name in self.names(task):
            raw = name.encode("latin-1")
            inode = self.lookup(task, raw)
            if inode is not None:
                rows.append((2 + len(rows), raw, inode))
        return rows, 2 + len(rows)


class ProcSymlink(ProcInode):
    """A link whose text is fixed while it is looked at."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, target: str, key: str) -> None:
        super().__init__(sb, parent, name, S_IFLNK | 0o777, key)
        self.data = bytearray(target.encode("latin-1"))

    def size(self) -> int:
        """Return the length of the text: only `net` is a link that is always there."""
        return len(self.data) if self.name == b"net" else 0


class ReadOnlyInode(ProcInode):
    """A file that not even root may open for writing."""

    def permission(self, task: Task, mask: int) -> int:
        """Check access: 0 or -EACCES."""
        return -EACCES if mask & MAY_WRITE else generic_permission(task, self, mask)
