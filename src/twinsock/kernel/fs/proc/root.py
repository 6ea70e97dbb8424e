"""/proc by path: which text a task reads under which name (Linux: fs/proc/root.c, fs/proc/base.c, fs/proc/proc_sysctl.c).

proc_read(task, "/proc/net/tcp")                (0, b"  sl  local_address ...")
proc_write(task, "/proc/sys/net/core/somaxconn", b"128")"""

from __future__ import annotations

from twinsock.kernel.fs.proc.base import find_task, pid_text
from twinsock.kernel.fs.proc.net import proc_net_text
from twinsock.kernel.net.sysctl_net import sysctl_read, sysctl_write
from twinsock.uapi.errno import EACCES, ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


def proc_read(task: Task, path: str) -> tuple[int, bytes]:
    """Read a whole file: (0, its text) or (-errno, nothing)."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] != ["proc"]:
        return -ENOENT, b""
    if parts[1:2] == ["sys"]:
        err, text = sysctl_read(task, "/".join(parts[2:]))
        return err, text.encode("latin-1")
    if parts[1:2] == ["net"] and len(parts) == 3:
        found = proc_net_text(task.net, parts[2])
        return (-ENOENT, b"") if found is None else (0, found.encode("latin-1"))
    other = find_task(task, parts[1]) if len(parts) > 2 else None
    if other is not None:
        text_of = proc_net_text(other.net, parts[3]) if parts[2] == "net" and len(parts) == 4 else pid_text(other, parts[2:])
        if text_of is not None:
            return 0, text_of.encode("latin-1")
    return -ENOENT, b""


def proc_write(task: Task, path: str, text: bytes) -> int:
    """Write a sysctl at offset 0: bytes or -errno."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["proc", "sys"]:
        err = sysctl_write(task, "/".join(parts[2:]), text)
        return err if err < 0 else len(text)
    return -EACCES if proc_read(task, path)[0] == 0 else -ENOENT
