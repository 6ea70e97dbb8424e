"""What /proc/PID/fd and /proc/PID/fdinfo say of a descriptor (Linux: fs/proc/fd.c)."""

from __future__ import annotations

from twinsock.uapi.fcntl import O_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


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
