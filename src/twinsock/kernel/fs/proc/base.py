"""/proc/PID: what the twin knows of a task (Linux: fs/proc/base.c, array.c, fd.c).

Left out: memory, scheduling, the executable and the arguments; cmdline is the command's name."""

from __future__ import annotations

from twinsock.kernel.fs.proc.fd import seq_show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_INFINITY: Final = (1 << 62) - 1
_NS_PER_TICK: Final = 10_000_000
_LIMITS: Final[tuple[tuple[str, str], ...]] = (
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
)


def find_task(task: Task, name: str) -> Task | None:
    """Return the task that /proc/NAME stands for: a number, self or thread-self."""
    if name in ("self", "thread-self"):
        return task
    for other in task.kernel.tasks:
        if name.isdecimal() and other.pid == int(name):
            return other
    return None


def pid_text(task: Task, parts: list[str]) -> str | None:
    """Return a file below /proc/PID, or None when there is none of that name."""
    if len(parts) == 2 and parts[0] == "fdinfo" and parts[1].isdecimal():
        return seq_show(task, int(parts[1])) or None
    if len(parts) != 1:
        return None
    name = parts[0]
    if name == "comm":
        return task.comm + "\n"
    if name == "cmdline":
        return task.comm + "\0"
    if name == "cgroup":
        return "0::/\n"
    if name == "limits":
        return limits_text(task)
    if name == "stat":
        return stat_text(task)
    return status_text(task) if name == "status" else None


def limits_text(task: Task) -> str:
    """Return /proc/PID/limits."""
    text = f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"
    for number, (name, unit) in enumerate(_LIMITS):
        soft, hard = [_limit(limit) for limit in (task.rlim_cur[number], task.rlim_max[number])]
        text += f"{name:<25} {soft:<20} {hard:<20} {unit:<10}\n" if unit else f"{name:<25} {soft:<20} {hard:<20} \n"
    return text


def _limit(value: int) -> str:
    return "unlimited" if value >= _INFINITY else str(value)


def stat_text(task: Task) -> str:
    """Return /proc/PID/stat: number, name, state, parent, group, session, threads and start; the rest is 0."""
    threads = len([other for other in task.kernel.tasks if other.tgid == task.tgid])
    fields = ["0"] * 52
    fields[0], fields[1], fields[2] = str(task.pid), f"({task.comm})", "R" if task.runnable else "S"
    fields[3], fields[4], fields[5], fields[7] = str(task.ppid), str(task.pgrp), str(task.pgrp), "-1"
    fields[17], fields[19], fields[21] = "20", str(threads), str(task.start_ns // _NS_PER_TICK)
    fields[24] = "18446744073709551615"  # rsslim
    fields[37] = "17"  # SIGCHLD
    return " ".join(fields) + "\n"


def status_text(task: Task) -> str:
    """Return the lines of /proc/PID/status that the twin can fill."""
    cred = task.cred
    files = task.files
    size = 0 if files is None else max(64, (len(files.fd) + 63) // 64 * 64)
    threads = len([other for other in task.kernel.tasks if other.tgid == task.tgid])
    groups = "".join([f"{group} " for group in cred.groups])
    caps = f"{cred.cap_effective:016x}"
    return (
        f"Name:\t{task.comm}\nUmask:\t{task.umask:04o}\nState:\t{'R (running)' if task.runnable else 'S (sleeping)'}\n"
        f"Tgid:\t{task.tgid}\nNgid:\t0\nPid:\t{task.pid}\nPPid:\t{task.ppid}\n"
        f"Uid:\t{cred.uid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}\nGid:\t{cred.gid}\t{cred.egid}\t{cred.sgid}\t{cred.fsgid}\n"
        f"FDSize:\t{size}\nGroups:\t{groups or ' '}\nThreads:\t{threads}\nCapEff:\t{caps}\nSeccomp:\t0\n"
    )
