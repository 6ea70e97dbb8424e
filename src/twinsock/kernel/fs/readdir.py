"""Reading a directory through a descriptor, getdents64(2) (Linux: fs/readdir.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, fget, fput
from twinsock.kernel.fs.ramfs import RamFile
from twinsock.uapi.errno import EBADF, EINVAL, ENOENT, ENOTDIR
from twinsock.uapi.fcntl import O_PATH
from twinsock.uapi.stat import S_IFMT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.namei import Inode
    from twinsock.kernel.sched.task import Task

_DIRENT64_SIZE: Final = 19  # up to d_name


class Dirent:
    """`struct linux_dirent64`."""

    def __init__(self, name: bytes, ino: int, off: int, type_: int) -> None:
        self.d_name = name
        self.d_ino = ino
        self.d_off = off  # where the next one begins
        self.d_type = type_  # DT_*

    def reclen(self) -> int:
        """Return its size in the caller's buffer."""
        return (_DIRENT64_SIZE + len(self.d_name) + 1 + 7) & ~7

    def emit(self) -> bytes:
        """Return its bytes."""
        head = self.d_ino.to_bytes(8, "little") + self.d_off.to_bytes(8, "little") + self.reclen().to_bytes(2, "little")
        raw = head + bytes((self.d_type,)) + self.d_name
        return raw + bytes(self.reclen() - len(raw))


def sys_getdents64(task: Task, fd: int, count: int) -> tuple[int, list[Dirent]]:
    """getdents64(2): (bytes or -errno, entries); 0 at the end, -EINVAL when not even one fits."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, []
    err, entries = iterate_dir(task, file, count)
    fput(file, task)
    return err, entries


def iterate_dir(task: Task, file: File, count: int) -> tuple[int, list[Dirent]]:
    """List from the file's position on what fits into `count` bytes."""
    if not isinstance(file, RamFile) or file.f_flags & O_PATH:
        return -EBADF if isinstance(file, RamFile) else -ENOTDIR, []
    inode = file.inode
    if not inode.is_dir():
        return -ENOTDIR, []
    if inode.is_dead():
        return -ENOENT, []
    rows, end = inode.readdir(task)
    first: list[tuple[int, bytes, Inode]] = [(0, b".", inode), (1, b"..", inode if inode.parent is None else inode.parent)]
    rows = first + rows
    found: list[Dirent] = []
    used = 0
    for number, (pos, name, child) in enumerate(rows):
        if pos < file.f_pos:
            continue
        after = rows[number + 1][0] if number + 1 < len(rows) else end
        entry = Dirent(name, child.i_ino, after, (child.i_mode & S_IFMT) >> 12)
        if used + entry.reclen() > count:
            if not found:
                return -EINVAL, []
            break
        used += entry.reclen()
        found.append(entry)
        file.f_pos = after
    return used, found
