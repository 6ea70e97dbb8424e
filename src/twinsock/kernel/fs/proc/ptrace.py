"""Who may look into a task (Linux: ptrace_may_access() of kernel/ptrace.c, with PTRACE_MODE_READ_FSCREDS)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_CAP_SYS_PTRACE: Final = 19


def may_access(task: Task, other: Task) -> bool:
    """Tell whether `task` may read what only tracers see of `other`: itself, the same user throughout, or CAP_SYS_PTRACE."""
    if task.tgid == other.tgid:
        return True
    mine, its = task.cred, other.cred
    uids = (its.uid, its.euid, its.suid)
    gids = (its.gid, its.egid, its.sgid)
    if uids == (mine.fsuid,) * 3 and gids == (mine.fsgid,) * 3:
        return True
    return task.ns_capable(its.user_ns, _CAP_SYS_PTRACE)
