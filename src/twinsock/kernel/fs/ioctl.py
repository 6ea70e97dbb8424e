"""ioctl(2): what every file answers (Linux: fs/ioctl.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, fget, fput
from twinsock.uapi.errno import EBADF, EFAULT, ENOIOCTLCMD, ENOTTY
from twinsock.uapi.fcntl import O_ASYNC, O_NONBLOCK
from twinsock.uapi.sockios import FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIOQSIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


def user_int(arg: bytes | None) -> tuple[int, int]:
    """Read an int that the caller points to: (0 or -EFAULT, value)."""
    if arg is None or len(arg) < 4:
        return -EFAULT, 0
    return 0, int.from_bytes(arg[:4], "little", signed=True)


def sys_ioctl(task: Task, fd: int, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
    """ioctl(2): (result or -errno, what is written back); `arg` is what the pointer shows, None a bad one."""
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    ret, out = do_vfs_ioctl(task, file, fd, cmd, arg)
    if ret == -ENOIOCTLCMD:
        ret, out = file.unlocked_ioctl(task, cmd, arg)
        if ret == -ENOIOCTLCMD:
            ret = -ENOTTY
    fput(file, task)
    return ret, out


def do_vfs_ioctl(task: Task, file: File, fd: int, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
    """Answer what every file answers, or -ENOIOCTLCMD."""
    files = task.files
    if cmd in (FIOCLEX, FIONCLEX):
        if files is not None:
            files.close_on_exec[fd] = cmd == FIOCLEX
        return 0, b""
    if cmd == FIONBIO:
        err, on = user_int(arg)
        if err == 0:
            file.f_flags = file.f_flags | O_NONBLOCK if on else file.f_flags & ~O_NONBLOCK
        return err, b""
    if cmd == FIOASYNC:
        return ioctl_fioasync(task, file, fd, arg), b""
    if cmd == FIOQSIZE:
        return -ENOTTY, b""
    return -ENOIOCTLCMD, b""


def ioctl_fioasync(task: Task, file: File, fd: int, arg: bytes | None) -> int:
    """FIOASYNC: switch O_ASYNC."""
    err, on = user_int(arg)
    if err:
        return err
    flag = O_ASYNC if on else 0
    if (flag ^ file.f_flags) & O_ASYNC:
        err = file.fasync(task, fd, bool(on)) if file.can_fasync() else -ENOTTY
        if err == 0:
            file.f_flags = (file.f_flags & ~O_ASYNC) | flag
    return err
