"""Extended attributes of open files (Linux: fs/xattr.c): a socket has one, the name of its protocol.

Left out: attributes that can be set; the files of the twin have none."""

from __future__ import annotations

from twinsock.kernel.fs.file import fget, fput
from twinsock.uapi.capability import CAP_SYS_ADMIN
from twinsock.uapi.errno import EAGAIN, EBADF, ENODATA, EOPNOTSUPP, EPERM, ERANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

XATTR_NAME_MAX: Final = 255


def sys_fgetxattr(task: Task, fd: int, name: str, size: int) -> tuple[int, bytes]:
    """fgetxattr(2): the length or -errno, and the value when there is room for it; a size of 0 asks for the length."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    found = file.xattrs()
    fput(file, task)
    err = _name_ok(name)
    if err:
        return err, b""
    if name.startswith("user.") or (name.startswith("trusted.") and not task.capable(CAP_SYS_ADMIN)):
        return -ENODATA, b""
    for have, value in found:
        if have == name:
            return _given(value, size)
    return -EOPNOTSUPP, b""


def sys_flistxattr(task: Task, fd: int, size: int) -> tuple[int, bytes]:
    """flistxattr(2): the names, each with its NUL."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    names = b"".join(name.encode() + b"\0" for name, _ in file.xattrs())
    fput(file, task)
    return _given(names, size)


def sys_fsetxattr(task: Task, fd: int, name: str) -> int:
    """fsetxattr(2): there is nothing that could be changed."""
    return _refusal(task, fd, name)[0]


def sys_fremovexattr(task: Task, fd: int, name: str) -> int:
    """fremovexattr(2): there is nothing that could be removed. Measured: 6.18, a label of a socket says EAGAIN."""
    err, of_socket = _refusal(task, fd, name)
    return -EAGAIN if err == -EOPNOTSUPP and of_socket and name.startswith("security.") else err


def _refusal(task: Task, fd: int, name: str) -> tuple[int, bool]:
    file = fget(task, fd)
    if file is None:
        return -EBADF, False
    of_socket = bool(file.xattrs())
    fput(file, task)
    err = _name_ok(name)
    if not err and (name.startswith("user.") or (name.startswith(("trusted.", "security.")) and not task.capable(CAP_SYS_ADMIN))):
        err = -EPERM
    return err or -EOPNOTSUPP, of_socket


def _name_ok(name: str) -> int:
    return 0 if 0 < len(name) <= XATTR_NAME_MAX else -ERANGE


def _given(value: bytes, size: int) -> tuple[int, bytes]:
    if size == 0:
        return len(value), b""
    return (-ERANGE, b"") if size < len(value) else (len(value), value)
