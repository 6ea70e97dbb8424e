"""Tasks: what a system call needs to know of its caller, and the one place where the core sleeps (Linux: kernel/sched/core.c,
cred.h, kernel/signal.c, kernel/capability.c).

The core sleeps only through `Task.schedule_timeout`. This base class drives the shared clock itself, which is right for a
program with a single task; a runtime with several tasks overrides it and hands the processor to another one.

A system call that a signal interrupts returns -ERESTARTSYS, -ERESTARTNOHAND or -EINTR, as the call does in Linux; the runtime
runs the handlers and then restarts the call or reports EINTR (`Task.syscall_interrupted`)."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.uapi.capability import CAP_LAST_CAP
from twinsock.uapi.errno import EINTR, EPERM, ERESTARTSYS
from twinsock.uapi.resource import RLIMIT_NOFILE
from twinsock.uapi.signal import SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGURG, SIGWINCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import FilesStruct
    from twinsock.kernel.fs.namei import Inode
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net

MAX_SCHEDULE_TIMEOUT: Final = -1
CAP_FULL_SET: Final = (1 << (CAP_LAST_CAP + 1)) - 1
RLIM_NLIMITS: Final = 16
_RLIM_INFINITY: Final = (1 << 62) - 1  # stands for RLIM_INFINITY inside the core, where ints stay below 2**62
ERESTARTNOHAND: Final = 514  # restarted only when no handler ran
_IGNORED_BY_DEFAULT: Final = 1 << SIGCHLD | 1 << SIGURG | 1 << SIGWINCH | 1 << SIGCONT
_UNBLOCKABLE: Final = 1 << SIGKILL | 1 << SIGSTOP


class UserNamespace:
    """A user namespace: its parent and the uid that made it decide who is capable in it."""

    def __init__(self, parent: UserNamespace | None = None, owner: int = 0) -> None:
        self.parent = parent
        self.owner = owner
        self.level: int = 0 if parent is None else parent.level + 1
        self.inum = 0  # given when somebody opens it


class Cred:
    """Credentials of a task, credentials(7)."""

    def __init__(self, uid: int, gid: int, user_ns: UserNamespace) -> None:
        self.uid = uid
        self.euid = uid
        self.suid = uid
        self.fsuid = uid
        self.gid = gid
        self.egid = gid
        self.sgid = gid
        self.fsgid = gid
        self.groups: list[int] = []
        self.cap_effective = CAP_FULL_SET if uid == 0 else 0
        self.user_ns = user_ns

    def copy(self) -> Cred:
        """Return credentials of the same value, as fork(2) gives the child."""
        new = Cred(self.uid, self.gid, self.user_ns)
        new.euid, new.suid, new.fsuid = self.euid, self.suid, self.fsuid
        new.egid, new.sgid, new.fsgid = self.egid, self.sgid, self.fsgid
        new.groups = list(self.groups)
        new.cap_effective = self.cap_effective
        return new


class Siginfo:
    """`siginfo_t`: a signal waiting for a task."""

    def __init__(self, signo: int, code: int = 0) -> None:
        self.si_signo = signo
        self.si_code = code
        self.si_fd = 0
        self.si_band = 0
        self.si_pid = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class Task:
    """A thread of a simulated process, seen from the kernel."""

    def __init__(self, kernel: Kernel, net: Net, files: FilesStruct | None, cred: Cred, pid: int, comm: str) -> None:
        self.kernel = kernel
        self.net = net
        self.files = files
        self.cred = cred
        self.pid = pid
        self.tgid = pid
        self.pgrp = pid
        self.ppid = 1 if pid > 1 else 0  # whose child the process is; a runtime's first process is init's
        self.start_ns = kernel.clock.now_ns
        self.comm = comm
        self.rlim_cur = [_RLIM_INFINITY] * RLIM_NLIMITS
        self.rlim_max = [_RLIM_INFINITY] * RLIM_NLIMITS
        self.rlim_cur[RLIMIT_NOFILE] = 1024
        self.rlim_max[RLIMIT_NOFILE] = 524288
        self.umask = 0o022
        self.cwd: Inode | None = None  # None: the root directory
        self.cpu = 0
        self.exiting = False
        self.pending_signals: list[Siginfo] | None = None
        self.blocked_signals = 0  # bit n: signal n
        self.ignored_signals = 0  # bit n: its action is SIG_IGN
        self.handled_signals = 0  # bit n: it has a handler
        self.sa_restart = 0  # bit n: the handler was set with SA_RESTART
        self.runnable = True

    def schedule_timeout(self, timeout_ns: int) -> int:
        """Sleep until woken, a signal, or `timeout_ns` (MAX_SCHEDULE_TIMEOUT: for ever); return the nanoseconds left.

        The caller has put itself on a wait queue and called `prepare_to_sleep` before its last look at the condition."""
        clock = self.kernel.clock
        deadline = -1 if timeout_ns < 0 else clock.now_ns + timeout_ns
        self.kernel.do_softirq()
        while not self.runnable and not self.signal_pending():
            if not clock.run_next(deadline):
                if deadline < 0:
                    raise RuntimeError(f"deadlock: task {self.comm}[{self.pid}] sleeps and no timer is armed")
                clock.advance_to(deadline)
                break
        self.runnable = True
        if timeout_ns < 0:
            return timeout_ns
        return max(deadline - clock.now_ns, 0)

    def prepare_to_sleep(self) -> None:
        """Mark the task as sleeping; a wake-up from here on ends the next `schedule_timeout`."""
        self.runnable = False

    def wake_up_process(self) -> bool:
        """Make the task runnable; tell whether it slept."""
        was_asleep = not self.runnable
        self.runnable = True
        return was_asleep

    def copy_from_user(self, address: int, size: int) -> bytes | None:
        """Read the program's memory behind a pointer inside a structure; None is a bad pointer. Runtimes with memory override it."""
        return None

    def copy_to_user(self, address: int, data: bytes) -> bool:
        """Write the program's memory behind a pointer inside a structure; false is a bad pointer. Runtimes with memory override it."""
        return False

    # Signals

    def signal_pending(self) -> bool:
        """Tell whether an unblocked signal waits for the task."""
        pending = self.pending_signals
        if not pending:
            return False
        blocked = self.blocked_signals & ~_UNBLOCKABLE
        return any(not blocked >> info.si_signo & 1 for info in pending)

    def send_signal(self, signo: int) -> None:
        """Queue a signal unless the task ignores it (the runtime decides what it does)."""
        self.send_siginfo(Siginfo(signo))

    def send_siginfo(self, info: Siginfo) -> None:
        """Queue a signal with its siginfo_t: a standard signal once, a real-time signal each time."""
        signo = info.si_signo
        ignored = self.ignored_signals | (_IGNORED_BY_DEFAULT & ~self.handled_signals)
        if ignored >> signo & 1 and not self.blocked_signals >> signo & 1:
            return
        if self.pending_signals is None:
            self.pending_signals = []
        if signo < 32:
            for other in self.pending_signals:
                if other.si_signo == signo:
                    return
        self.pending_signals.append(info)
        if self.signal_pending():
            self.wake_up_process()

    def dequeue_signal(self, mask: int) -> Siginfo | None:
        """Take the lowest pending signal that `mask` does not block."""
        pending = self.pending_signals
        if not pending:
            return None
        best = -1
        for i in range(len(pending)):
            if not mask >> pending[i].si_signo & 1 and (best < 0 or pending[i].si_signo < pending[best].si_signo):
                best = i
        return pending.pop(best) if best >= 0 else None

    def syscall_interrupted(self, err: int, handled: int) -> int:
        """Say what the program sees of an interrupted call after handlers of the signals in `handled` ran.

        Returns 0 when the call is to be made again, else the errno to report, signal(7)."""
        if err == -ERESTARTNOHAND:
            return -EINTR if handled else 0
        if err == -ERESTARTSYS:
            return -EINTR if handled & ~self.sa_restart else 0
        return err

    # Capabilities

    def capable(self, cap: int) -> bool:
        """Tell whether the task has `cap` in the initial user namespace, capabilities(7)."""
        return self.ns_capable(self.kernel.init_user_ns, cap)

    def ns_capable(self, user_ns: UserNamespace, cap: int) -> bool:
        """Tell whether the task has `cap` in `user_ns`, user_namespaces(7)."""
        ns: UserNamespace | None = user_ns
        cred = self.cred
        while ns is not None:
            if ns is cred.user_ns:
                return bool(cred.cap_effective >> cap & 1)
            if ns.level <= cred.user_ns.level:
                return False
            if ns.parent is cred.user_ns and ns.owner == cred.euid:
                return True
            ns = ns.parent
        return False

    def set_rlimit(self, resource: int, cur: int, max_: int) -> int:
        """Set a resource limit, setrlimit(2): 0, or -EPERM when the hard limit would rise without CAP_SYS_RESOURCE."""
        if max_ > self.rlim_max[resource] and not self.capable(24):
            return -EPERM
        if resource == RLIMIT_NOFILE and max_ > self.kernel.nr_open:
            return -EPERM
        self.rlim_cur[resource] = cur
        self.rlim_max[resource] = max_
        return 0


def sock_intr_errno(timeout_ns: int) -> int:
    """Return what a socket call says when a signal ended its wait: restartable only when the wait had no limit."""
    return -ERESTARTSYS if timeout_ns < 0 else -EINTR
