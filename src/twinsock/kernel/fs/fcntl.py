"""fcntl(2) (Linux: fs/fcntl.c). Left out: locks, leases, seals and write hints, which belong to files on a disk."""

from __future__ import annotations

from twinsock.kernel.fs.file import F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, File, FownStruct, f_dupfd, fget, fput
from twinsock.uapi.errno import EBADF, EFAULT, EINVAL, EPERM, ESRCH
from twinsock.uapi.fcntl import (
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_GETFL,
    F_GETLEASE,
    F_GETOWN,
    F_GETPIPE_SZ,
    F_GETSIG,
    F_SETFD,
    F_SETFL,
    F_SETOWN,
    F_SETPIPE_SZ,
    F_SETSIG,
    F_UNLCK,
    FD_CLOEXEC,
    O_APPEND,
    O_ASYNC,
    O_CLOEXEC,
    O_DIRECT,
    O_NOATIME,
    O_NONBLOCK,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SETFL_MASK: Final = O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME
_LOCKS: Final[tuple[int, ...]] = (5, 6, 7, 36, 37, 38)  # F_GETLK ... F_OFD_SETLKW
_NSIG: Final = 64
_INT_MIN: Final = -0x80000000


def sys_fcntl(task: Task, fd: int, cmd: int, arg: int) -> int:
    """fcntl(2) with an integer argument; F_SETOWN_EX and F_GETOWN_EX have functions of their own."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = do_fcntl(task, fd, cmd, arg, file)
    fput(file, task)
    return ret


def do_fcntl(task: Task, fd: int, cmd: int, arg: int, file: File) -> int:
    """Do one command on a file."""
    files = task.files
    if cmd == F_DUPFD:
        return f_dupfd(task, arg, file, 0)
    if cmd == F_DUPFD_CLOEXEC:
        return f_dupfd(task, arg, file, O_CLOEXEC)
    if cmd == F_GETFD:
        return FD_CLOEXEC if files is not None and files.close_on_exec[fd] else 0
    if cmd == F_SETFD:
        if files is not None:
            files.close_on_exec[fd] = bool(arg & FD_CLOEXEC)
        return 0
    if cmd == F_GETFL:
        return file.f_flags
    if cmd == F_SETFL:
        return setfl(task, fd, file, arg)
    if cmd == F_GETOWN:
        return f_getown(file)
    if cmd == F_SETOWN:
        return f_setown(task, file, arg)
    if cmd == F_GETSIG:
        return 0 if file.f_owner is None else file.f_owner.signum
    if cmd == F_SETSIG:
        if arg < 0 or arg > _NSIG:
            return -EINVAL
        _owner_of(file).signum = arg
        return 0
    if cmd == F_GETLEASE:
        return F_UNLCK
    if cmd in _LOCKS:
        return -EFAULT  # an integer is no pointer to a struct flock
    if cmd in (F_SETPIPE_SZ, F_GETPIPE_SZ):
        return file.pipe_fcntl(task, cmd, arg)
    return -EINVAL


def setfl(task: Task, fd: int, file: File, arg: int) -> int:
    """Change the flags that may change: O_APPEND, O_NONBLOCK, O_ASYNC, O_DIRECT, O_NOATIME."""
    if arg & O_NOATIME and not file.f_flags & O_NOATIME:
        uid = file.getattr().uid
        if task.cred.fsuid != uid and not task.capable(3):
            return -EPERM
    if arg & O_DIRECT and not file.can_odirect():
        return -EINVAL
    err = file.setfl(task, arg)
    if err:
        return err
    if (arg ^ file.f_flags) & O_ASYNC and file.can_fasync():
        err = file.fasync(task, fd, bool(arg & O_ASYNC))
        if err < 0:
            return err
    file.f_flags = (arg & SETFL_MASK) | (file.f_flags & ~SETFL_MASK)
    return 0


def _owner_of(file: File) -> FownStruct:
    if file.f_owner is None:
        file.f_owner = FownStruct()
    return file.f_owner


def f_setown(task: Task, file: File, who: int) -> int:
    """Say who gets SIGIO: a process, or a group when negative, or nobody (0)."""
    if who == _INT_MIN:
        return -EINVAL
    pid_type = F_OWNER_PGRP if who < 0 else F_OWNER_PID
    return set_owner(task, file, pid_type, abs(who))


def set_owner(task: Task, file: File, pid_type: int, pid: int) -> int:
    """Store the owner: 0, or -ESRCH when no such process exists."""
    if pid and not _exists(task, pid_type, pid):
        return -ESRCH
    fown = _owner_of(file)
    fown.pid_type = pid_type
    fown.pid = pid
    fown.uid = task.cred.uid
    fown.euid = task.cred.euid
    return 0


def _exists(task: Task, pid_type: int, pid: int) -> bool:
    for other in task.kernel.tasks:
        if pid_type == F_OWNER_PGRP:
            if other.pgrp == pid:
                return True
        elif other.pid == pid or other.tgid == pid:
            return True
    return False


def f_getown(file: File) -> int:
    """Return who gets SIGIO: a process, or a group when negative."""
    fown = file.f_owner
    if fown is None:
        return 0
    return -fown.pid if fown.pid_type == F_OWNER_PGRP else fown.pid


def sys_fcntl_setown_ex(task: Task, fd: int, pid_type: int, pid: int) -> int:
    """fcntl(2) with F_SETOWN_EX."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    err = -EINVAL
    if pid_type in (F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP):
        err = set_owner(task, file, pid_type, pid)
    fput(file, task)
    return err


def sys_fcntl_getown_ex(task: Task, fd: int) -> tuple[int, int, int]:
    """fcntl(2) with F_GETOWN_EX: (0 or -errno, type, pid)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, 0, 0
    fown = file.f_owner
    fput(file, task)
    if fown is None:
        return 0, F_OWNER_TID, 0
    return 0, fown.pid_type, fown.pid
