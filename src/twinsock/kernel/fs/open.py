"""Owners, modes and status of open files: fchown(2), fchmod(2), fstat(2) (Linux: fs/open.c, fs/attr.c, fs/stat.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, fget, fput
from twinsock.uapi.capability import CAP_CHOWN, CAP_FOWNER
from twinsock.uapi.errno import EBADF, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


def sys_fchown(task: Task, fd: int, uid: int, gid: int) -> int:
    """fchown(2); -1 leaves a value alone."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    err = _chown_ok(task, file, uid, gid)
    if not err:
        err = file.setattr_owner(uid, gid)
    fput(file, task)
    return err


def _chown_ok(task: Task, file: File, uid: int, gid: int) -> int:
    """Check: the owner may keep the uid and give one of its own groups, others need CAP_CHOWN."""
    stat = file.getattr()
    cred = task.cred
    capable = task.capable(CAP_CHOWN)
    if uid >= 0 and not capable and not (cred.fsuid == stat.uid and uid == stat.uid):
        return -EPERM
    if gid >= 0 and not capable:
        if cred.fsuid != stat.uid or not (gid == cred.fsgid or gid in cred.groups or gid == stat.gid):
            return -EPERM
    return 0


def sys_fchmod(task: Task, fd: int, mode: int) -> int:
    """fchmod(2)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    err = -EPERM
    if task.cred.fsuid == file.getattr().uid or task.capable(CAP_FOWNER):
        err = file.setattr_mode(mode)
    fput(file, task)
    return err


def sys_newfstat(task: Task, fd: int) -> tuple[int, Kstat]:
    """fstat(2): (0 or -errno, status)."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, Kstat(0, 0, 0, 0)
    stat = file.getattr()
    fput(file, task)
    return 0, stat
