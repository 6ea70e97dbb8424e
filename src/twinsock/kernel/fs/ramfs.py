"""Open files of the tree in memory: regular files, directories, and O_PATH handles (Linux: fs/ramfs, fs/open.c, do_open of fs/namei.c).

open(2) on a socket inode fails with ENXIO. Left out: mmap, locks."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, get_unused_fd_flags, put_unused_fd
from twinsock.kernel.fs.namei import (
    MAY_READ,
    MAY_WRITE,
    Inode,
    create_file,
    d_path,
    inode_permission,
    kern_path,
    path_lookup,
    rootfs,
)
from twinsock.uapi.errno import EBADF, EEXIST, EINVAL, EISDIR, ELOOP, ENFILE, ENOENT, ENOTDIR, ENXIO
from twinsock.uapi.fcntl import (
    O_ACCMODE,
    O_APPEND,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOFOLLOW,
    O_PATH,
    O_TRUNC,
)
from twinsock.uapi.stat import S_IFMT, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

_SEEK_MAX: Final = 1 << 61
_O_LARGEFILE: Final = 0o100000  # what open(2) adds on 64 bits
MAY_OF_ACCMODE: Final[tuple[int, ...]] = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)


class RamFile(File):
    """An open file of the tree; with O_PATH it only names its inode."""

    def __init__(self, kernel: Kernel, inode: Inode, flags: int) -> None:
        super().__init__(kernel, flags & ~(O_CREAT | O_EXCL | O_TRUNC))
        self.inode = inode
        if flags & O_PATH:
            self.f_mode = 0

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Read from the position on."""
        ret, data = self.pread(task, count, self.f_pos)
        if ret > 0:
            self.f_pos += ret
        return ret, data

    def write(self, task: Task, data: bytes) -> int:
        """Write at the position, or at the end with O_APPEND."""
        if self.f_flags & O_APPEND:
            self.f_pos = len(self.inode.data)
        ret = self.pwrite(task, data, self.f_pos)
        if ret > 0:
            self.f_pos += ret
        return ret

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """Read at an offset."""
        if not self.f_mode:
            return -EBADF, b""
        if self.inode.is_dir():
            return -EISDIR, b""
        data = bytes(self.inode.data[pos : pos + count])
        return len(data), data

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """Write at an offset; a gap is filled with zeros."""
        if not self.f_mode:
            return -EBADF
        content = self.inode.data
        if pos > len(content):
            content += bytes(pos - len(content))
        content[pos : pos + len(data)] = data
        return len(data)

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Move the position, lseek(2)."""
        if not self.f_mode:
            return -EBADF
        size = len(self.inode.data)
        pos = -1
        if self.inode.is_dir() and whence > (2 if self.inode.in_proc() else 1):
            return -EINVAL
        if whence < 3:
            pos = offset + (0, self.f_pos, size)[whence]
        elif 0 <= offset < size:
            pos = offset if whence == 3 else size  # SEEK_DATA, SEEK_HOLE: the file has no holes
        elif offset >= size:
            return -ENXIO
        if pos < 0 or pos > _SEEK_MAX:
            return -EINVAL
        self.f_pos = pos
        return pos

    def ftruncate(self, task: Task, length: int) -> int:
        """ftruncate(2)."""
        if self.inode.is_dir() or not self.f_mode & 2:
            return -EINVAL
        _truncate(self.inode, length)
        return 0

    def fsync(self, task: Task) -> int:
        """fsync(2)."""
        return 0 if self.f_mode else -EBADF

    def is_regular(self) -> bool:
        """Tell whether it has positions that sendfile(2) and splice(2) may name."""
        return self.inode.i_mode & S_IFMT == S_IFREG

    def can_poll(self) -> bool:
        """Regular files and directories have no poll operation."""
        return False

    def getattr(self) -> Kstat:
        """fstat(2)."""
        return self.inode.getattr()

    def link_target(self) -> str:
        """Return the path; a file that has no name any more is shown as the deleted one it is."""
        inode = self.inode
        if inode.is_dir():
            return d_path(inode).decode("latin-1")
        found = _find_name(rootfs(self.kernel).root, inode)
        return (found or inode.last_path + b" (deleted)").decode("latin-1")

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2)."""
        return self.inode.setattr(-1, uid, gid)

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2)."""
        if not self.f_mode:
            return -EBADF
        return self.inode.setattr(mode, -1, -1)

    def ino(self) -> int:
        """Return the inode number."""
        return self.inode.i_ino


def _find_name(root: Inode, wanted: Inode) -> bytes:
    """Find a path of a file, b"" if it has none any more."""
    todo = [(b"", root)]
    while todo:
        path, folder = todo.pop()
        for name, inode in folder.children.items():
            if inode is wanted:
                return path + b"/" + name
            if inode.children:
                todo.append((path + b"/" + name, inode))
    return b""


def _truncate(inode: Inode, length: int) -> None:
    if length < len(inode.data):
        del inode.data[length:]
    else:
        inode.data += bytes(length - len(inode.data))


def sys_open(task: Task, name: bytes, flags: int, mode: int) -> int:
    """open(2): a descriptor or -errno."""
    fd = get_unused_fd_flags(task, flags)
    if fd < 0:
        return fd
    err, inode = _do_open(task, name, flags, mode)
    if inode is None:
        put_unused_fd(task, fd)
        return err
    flags |= _O_LARGEFILE
    file: File | None = None
    if not flags & O_PATH:
        err, file = inode.open(task, flags)
        if err:
            put_unused_fd(task, fd)
            return err
    return _install(task, fd, inode, flags, file)


def dentry_open_path(task: Task, inode: Inode, flags: int) -> int:
    """Open an inode as O_PATH does, without looking at it: a descriptor or -errno."""
    fd = get_unused_fd_flags(task, flags)
    return fd if fd < 0 else _install(task, fd, inode, flags | O_PATH)


def _install(task: Task, fd: int, inode: Inode, flags: int, file: File | None = None) -> int:
    if alloc_empty_file(task):
        if file is not None:
            file.release(task)
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, RamFile(task.kernel, inode, flags) if file is None else file)
    return fd


def _do_open(task: Task, name: bytes, flags: int, mode: int) -> tuple[int, Inode | None]:
    if flags & O_CREAT and not flags & O_PATH:
        err, path = path_lookup(task, name, not flags & (O_NOFOLLOW | O_EXCL))
        if path is None:
            return err, None
        if path.wants_dir:
            return -EISDIR, None
        if path.inode is None:
            return (-ENOENT, None) if path.parent.in_proc() else create_file(task, name, mode & 0o7777 & ~task.umask)
        if flags & O_EXCL:
            return -EEXIST, None
        if path.inode.is_dir():
            return -EISDIR, None
    err, inode = kern_path(task, name, not flags & O_NOFOLLOW)
    if inode is None:
        return err, None
    if flags & O_DIRECTORY and not inode.is_dir():
        return -ENOTDIR, None
    if flags & O_PATH:
        return 0, inode
    if inode.is_link():
        return -ELOOP, None
    return _may_open(task, inode, flags)


def _may_open(task: Task, inode: Inode, flags: int) -> tuple[int, Inode | None]:
    may = MAY_OF_ACCMODE[flags & O_ACCMODE]
    if flags & O_TRUNC:
        may |= MAY_WRITE
    if inode.is_dir() and may & MAY_WRITE:
        return -EISDIR, None
    err = inode_permission(task, inode, may)
    if err:
        return err, None
    if flags & O_TRUNC and not inode.in_proc() and not inode.is_sock():
        _truncate(inode, 0)
    return 0, inode
