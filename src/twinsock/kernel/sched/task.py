"""Tasks: what a system call needs to know of its caller, and the one place where the core sleeps (Linux: kernel/sched/core.c, cred.h).

The core sleeps only through `Task.schedule_timeout`. This base class drives the shared clock itself, which is right for a
program with a single task; a runtime with several tasks overrides it and hands the processor to another one."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from twinsock.kernel.fs.file import FilesStruct
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net

MAX_SCHEDULE_TIMEOUT: Final = -1
CAP_FULL_SET: Final = (1 << 41) - 1
RLIM_NLIMITS: Final = 16
_RLIM_INFINITY: Final = (1 << 62) - 1  # stands for RLIM_INFINITY inside the core, where ints stay below 2**62


class UserNamespace:
    """A user namespace: its parent and the uid that made it decide who is capable in it."""

    def __init__(self, parent: "UserNamespace | None" = None, owner: int = 0) -> None:
        self.parent = parent
        self.owner = owner
        self.level: int = 0 if parent is None else parent.level + 1


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


class Task:
    """A thread of a simulated process, seen from the kernel."""

    def __init__(self, kernel: "Kernel", net: "Net", files: "FilesStruct | None", cred: Cred, pid: int, comm: str) -> None:
        self.kernel = kernel
        self.net = net
        self.files = files
        self.cred = cred
        self.pid = pid
        self.tgid = pid
        self.comm = comm
        self.rlim_cur = [_RLIM_INFINITY] * RLIM_NLIMITS
        self.rlim_max = [_RLIM_INFINITY] * RLIM_NLIMITS
        self.umask = 0o022
        self.cpu = 0
        self.exiting = False
        self.pending_signals: list[int] | None = None
        self.blocked_signals = 0
        self.runnable = True

    def schedule_timeout(self, timeout_ns: int) -> int:
        """Sleep until woken, a signal, or `timeout_ns` (MAX_SCHEDULE_TIMEOUT: for ever); return the nanoseconds left.

        The caller has put itself on a wait queue and called `prepare_to_sleep` before its last look at the condition."""
        clock = self.kernel.clock
        deadline = -1 if timeout_ns < 0 else clock.now_ns + timeout_ns
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

    def signal_pending(self) -> bool:
        """Tell whether an unblocked signal waits for the task."""
        return bool(self.pending_signals)

    def send_signal(self, signo: int) -> None:
        """Queue a signal unless the task ignores it (the runtime decides what it does)."""
        if self.pending_signals is None:
            self.pending_signals = []
        self.pending_signals.append(signo)
        self.wake_up_process()

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
            if ns.parent is cred.user_ns and ns.owner == cred.euid:
                return True
            if ns.level <= cred.user_ns.level:
                return False
            ns = ns.parent
        return False
