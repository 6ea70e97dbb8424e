"""/proc/PID and /proc/PID/task/TID: what the twin knows of a task (Linux: fs/proc/base.c, array.c).

Left out (D-proc-3): memory, scheduling, the executable; cmdline is the command's name, environ is empty."""

from __future__ import annotations

from twinsock.kernel.fs.file import File
from twinsock.kernel.fs.namei import Inode, d_path, rootfs
from twinsock.kernel.fs.proc.fd import FdDir, table_size
from twinsock.kernel.fs.proc.generic import ProcDir, ProcInode, ProcSuper
from twinsock.kernel.fs.proc.namespaces import NsDir
from twinsock.kernel.fs.proc.proc_net import NetDir
from twinsock.kernel.fs.proc.ptrace import may_access
from twinsock.kernel.fs.seq_file import SeqFile
from twinsock.uapi.errno import EACCES, EINVAL, ESRCH
from twinsock.uapi.stat import S_IFLNK, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_INFINITY: Final = (1 << 62) - 1
_NS_PER_TICK: Final = 10_000_000
_COMM_MAX: Final = 15
_CAP_BITS: Final = 41
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


# In the order in which a listing shows them; the directory of a thread has no `task`.
_DIRS: Final[tuple[str, ...]] = ("task", "fd", "fdinfo", "ns", "net")
_FILES: Final[tuple[str, ...]] = ("status", "limits", "comm", "cmdline", "stat", "cgroup")
_LINKS: Final[tuple[str, ...]] = ("cwd", "root")
_ENTRIES: Final[tuple[str, ...]] = (*_DIRS, "status", "limits", "comm", "cmdline", "stat", *_LINKS, "cgroup")


def find_task(task: Task, name: str) -> Task | None:
    """Return the task that /proc/NAME stands for: a number, self or thread-self."""
    if name in ("self", "thread-self"):
        return task
    for other in task.kernel.tasks:
        if name.isdecimal() and other.pid == int(name):
            return other
    return None


class TgidDir(ProcDir):
    """/proc/PID, or with `thread` /proc/PID/task/TID."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task, thread: bool) -> None:
        super().__init__(sb, parent, str(task.pid), f"{task.pid}/{'thread' if thread else ''}")
        self.task = task
        self.thread = thread
        self.nlink = 8 if thread else 9
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def names(self, task: Task) -> list[str]:
        """List what there is of a task."""
        return [] if self.task.exiting else [name for name in _ENTRIES if name != "task" or not self.thread]

    def is_dead(self) -> bool:
        """Tell whether the task has ended."""
        return self.task.exiting

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a file, a directory or a link."""
        text = name.decode("latin-1")
        if self.task.exiting or text not in _ENTRIES:
            return None
        if text in _FILES:
            return TaskFile(self.sb, self, text, self.task)
        if text in _LINKS:
            return TaskLink(self.sb, self, text, self.task)
        if text == "net":
            return NetDir(self.sb, self, text, self.task.net)
        if text == "ns":
            return NsDir(self.sb, self, self.task)
        if text == "task":
            return None if self.thread else TaskDir(self.sb, self, self.task)
        return FdDir(self.sb, self, self.task, text == "fdinfo")


class TaskDir(ProcDir):
    """/proc/PID/task: the threads of a process."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task) -> None:
        super().__init__(sb, parent, "task", f"{task.tgid}/task")
        self.task = task
        self.nlink = 2 + len(self._threads())
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def _threads(self) -> list[Task]:
        return [other for other in self.sb.kernel.tasks if other.tgid == self.task.tgid]

    def names(self, task: Task) -> list[str]:
        """List the threads."""
        return [str(other.pid) for other in self._threads()]

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a thread."""
        for other in self._threads():
            if str(other.pid) == name.decode("latin-1"):
                return TgidDir(self.sb, self, other, True)
        return None


class TaskLink(ProcInode):
    """/proc/PID/cwd and root."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, task: Task) -> None:
        super().__init__(sb, parent, name, S_IFLNK | 0o777, f"{task.pid}/{name}")
        self.task = task
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def _target(self) -> Inode:
        cwd = self.task.cwd
        return rootfs(self.sb.kernel).root if cwd is None or self.name == b"root" else cwd

    def get_link(self, task: Task) -> tuple[int, bytes]:
        """Return the path."""
        return (0, d_path(self._target())) if may_access(task, self.task) else (-EACCES, b"")

    def jump(self, task: Task) -> tuple[int, Inode | None]:
        """Go there."""
        return (0, self._target()) if may_access(task, self.task) else (-EACCES, None)


class TaskFile(ProcInode):
    """A file of a task."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, task: Task) -> None:
        super().__init__(sb, parent, name, S_IFREG | (0o644 if name == "comm" else 0o444), f"{task.pid}/{name}")
        self.task = task
        self.what = name
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """The name of the command can be written."""
        return 0, CommFile(self, flags) if self.what == "comm" else SeqFile(self.sb.kernel, self, flags)

    def records(self) -> tuple[int, list[bytes]]:
        """Make the text."""
        text = None if self.task.exiting else pid_text(self.task, self.what)
        return (-ESRCH, []) if text is None else (0, [text.encode("latin-1")])


class CommFile(SeqFile):
    """/proc/PID/comm."""

    def __init__(self, inode: TaskFile, flags: int) -> None:
        super().__init__(inode.sb.kernel, inode, flags)
        self.task = inode.task

    def write(self, task: Task, data: bytes) -> int:
        """Give the task another name, of 15 bytes at most: its own process may."""
        if task.tgid != self.task.tgid:
            return -EINVAL
        self.task.comm = data[:_COMM_MAX].split(b"\0")[0].decode("latin-1")
        return len(data)


def pid_text(task: Task, name: str) -> str | None:
    """Return a file of /proc/PID, or None when there is none of that name."""
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
    threads = len([other for other in task.kernel.tasks if other.tgid == task.tgid])
    groups = "".join([f"{group} " for group in sorted(cred.groups)])
    pending = 0
    for info in task.pending_signals or []:
        pending |= 1 << info.si_signo
    signals = (("SigPnd", pending), ("ShdPnd", 0), ("SigBlk", task.blocked_signals), ("SigIgn", task.ignored_signals))
    lines = [
        f"Name:\t{task.comm}",
        f"Umask:\t{task.umask:04o}",
        f"State:\t{'R (running)' if task.runnable else 'S (sleeping)'}",
        *(f"Tgid:\t{task.tgid}", "Ngid:\t0", f"Pid:\t{task.pid}", f"PPid:\t{task.ppid}", "TracerPid:\t0"),
        f"Uid:\t{cred.uid}\t{cred.euid}\t{cred.suid}\t{cred.fsuid}",
        f"Gid:\t{cred.gid}\t{cred.egid}\t{cred.sgid}\t{cred.fsgid}",
        f"FDSize:\t{table_size(task)}",
        f"Groups:\t{groups or ' '}",
        *(f"NStgid:\t{task.tgid}", f"NSpid:\t{task.pid}", f"NSpgid:\t{task.pgrp}", f"NSsid:\t{task.pgrp}", "Kthread:\t0"),
        *(f"Threads:\t{threads}", "SigQ:\t0/0"),
        *[f"{name}:\t{bits >> 1:016x}" for name, bits in (*signals, ("SigCgt", task.handled_signals))],
        *(f"CapInh:\t{0:016x}", f"CapPrm:\t{cred.cap_effective:016x}", f"CapEff:\t{cred.cap_effective:016x}"),
        *(f"CapBnd:\t{(1 << _CAP_BITS) - 1:016x}", f"CapAmb:\t{0:016x}", "NoNewPrivs:\t0", "Seccomp:\t0", "Seccomp_filters:\t0"),
    ]
    return "\n".join(lines) + "\n"
