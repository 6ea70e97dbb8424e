"""read(2), write(2) and their kin (Linux: fs/read_write.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import FMODE_READ, FMODE_WRITE, File, fget, fput
from twinsock.uapi.errno import EBADF, EFAULT, EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

MAX_RW_COUNT: Final = 0x7FFFF000
UIO_MAXIOV: Final = 1024


def vfs_read(task: Task, file: File, count: int) -> tuple[int, bytes]:
    """Read from an open file."""
    if not file.f_mode & FMODE_READ:
        return -EBADF, b""
    if count < 0:
        return -EINVAL, b""
    return file.read(task, min(count, MAX_RW_COUNT))


def vfs_write(task: Task, file: File, data: bytes) -> int:
    """Write to an open file."""
    if not file.f_mode & FMODE_WRITE:
        return -EBADF
    return file.write(task, data if len(data) <= MAX_RW_COUNT else data[:MAX_RW_COUNT])


def sys_read(task: Task, fd: int, count: int) -> tuple[int, bytes]:
    """read(2): (bytes or -errno, data)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    ret, data = vfs_read(task, file, count)
    fput(file, task)
    return ret, data


def sys_write(task: Task, fd: int, data: bytes | None) -> int:
    """write(2): bytes or -errno."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = -EFAULT if data is None else vfs_write(task, file, data)
    fput(file, task)
    return ret


def sys_readv(task: Task, fd: int, sizes: list[int]) -> tuple[int, bytes]:
    """readv(2): (bytes or -errno, the data in order)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    ret, data = -EBADF, b""
    if file.f_mode & FMODE_READ:
        total = 0
        for size in sizes:
            total = -1 if size < 0 or total < 0 else total + size
        if len(sizes) > UIO_MAXIOV or total < 0:
            ret = -EINVAL
        elif total == 0:
            ret = 0
        else:
            ret, data = vfs_read(task, file, total)
    fput(file, task)
    return ret, data


def sys_writev(task: Task, fd: int, vec: list[bytes]) -> int:
    """writev(2): bytes or -errno."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    if not file.f_mode & FMODE_WRITE:
        ret = -EBADF
    elif len(vec) > UIO_MAXIOV:
        ret = -EINVAL
    else:
        data = b"".join(vec)
        ret = vfs_write(task, file, data) if data or not vec else 0
        if not vec:
            ret = 0
    fput(file, task)
    return ret


def sys_pread64(task: Task, fd: int, count: int, pos: int) -> tuple[int, bytes]:
    """pread(2): only files with positions have it."""
    if pos < 0:
        return -EINVAL, b""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    ret, data = file.pread(task, count, pos)
    fput(file, task)
    return ret, data


def sys_pwrite64(task: Task, fd: int, data: bytes, pos: int) -> int:
    """pwrite(2): only files with positions have it."""
    if pos < 0:
        return -EINVAL
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = file.pwrite(task, data, pos)
    fput(file, task)
    return ret


def sys_lseek(task: Task, fd: int, offset: int, whence: int) -> int:
    """lseek(2)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = file.llseek(task, offset, whence) if 0 <= whence <= 4 else -EINVAL
    fput(file, task)
    return ret


def sys_ftruncate(task: Task, fd: int, length: int) -> int:
    """ftruncate(2)."""
    if length < 0:
        return -EINVAL
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = file.ftruncate(task, length)
    fput(file, task)
    return ret


def sys_fsync(task: Task, fd: int) -> int:
    """fsync(2)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = file.fsync(task)
    fput(file, task)
    return ret
