"""poll(2), ppoll(2), select(2), pselect6(2) (Linux: fs/select.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, fget, fput
from twinsock.kernel.sched.task import ERESTARTNOHAND, MAX_SCHEDULE_TIMEOUT, Task
from twinsock.kernel.sched.wait import WaitQueueEntry, WaitQueueHead
from twinsock.uapi.errno import EBADF, EFAULT, EINVAL
from twinsock.uapi.resource import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

POLLIN_SET: Final = 0x40 | 0x80 | 0x1 | 0x10 | 0x8 | 0x20  # what makes a descriptor readable for select(2)
POLLOUT_SET: Final = 0x100 | 0x200 | 0x4 | 0x8 | 0x20
POLLEX_SET: Final = 0x2 | 0x20
_POLLNVAL: Final = 0x20
_ERR_HUP: Final = 0x18


class PollTable:
    """Collects the wait queues that a poll looks at; `key` says which bits the asker wants."""

    def __init__(self, key: int = 0xFFFFFFFF) -> None:
        self.key = key
        self.enabled = True  # False once somebody is ready: nothing more is registered

    def poll_wait(self, head: WaitQueueHead) -> None:
        """Register on one wait queue."""
        raise NotImplementedError


def poll_wait(head: WaitQueueHead, wait: PollTable | None) -> None:
    """Register on a wait queue if this poll still registers."""
    if wait is not None and wait.enabled:
        wait.poll_wait(head)


def poll_requested_events(wait: PollTable | None) -> int:
    """Return the bits the asker wants."""
    return 0xFFFFFFFF if wait is None else wait.key


class PollWqueues(PollTable):
    """`struct poll_wqueues`: one poll or select call under way."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.triggered = False
        self.entries: list[_PollTableEntry] = []
        self.heads: list[WaitQueueHead] = []

    def poll_wait(self, head: WaitQueueHead) -> None:
        """Register on one wait queue with the bits asked for."""
        entry = _PollTableEntry(self, self.key)
        self.entries.append(entry)
        self.heads.append(head)
        head.add(entry)

    def poll_freewait(self) -> None:
        """Leave every queue."""
        for i in range(len(self.entries)):
            self.heads[i].remove(self.entries[i])
        self.task.runnable = True

    def poll_schedule_timeout(self, timeout_ns: int) -> int:
        """Sleep unless something was triggered meanwhile; return what is left of the time."""
        left = timeout_ns
        self.task.prepare_to_sleep()
        if not self.triggered:
            left = self.task.schedule_timeout(timeout_ns)
        self.task.runnable = True
        self.triggered = False
        return left


class _PollTableEntry(WaitQueueEntry):
    def __init__(self, pwq: PollWqueues, key: int) -> None:
        super().__init__()
        self.pwq = pwq
        self.key = key

    def wake(self, key: int) -> int:
        """Wake the poller when the bits concern it (pollwake)."""
        if key and not key & self.key:
            return 0
        self.pwq.triggered = True
        return 1 if self.pwq.task.wake_up_process() else 0


def vfs_poll(file: File, wait: PollTable | None) -> int:
    """Ask a file for its poll bits."""
    return file.poll(wait)


class Pollfd:
    """`struct pollfd`."""

    def __init__(self, fd: int, events: int) -> None:
        self.fd = fd
        self.events = events & 0xFFFF
        self.revents = 0


def sys_poll(task: Task, ufds: list[Pollfd] | None, timeout_msecs: int) -> int:
    """poll(2): the number of descriptors with revents, or -errno; a negative timeout waits for ever."""
    timeout_ns = MAX_SCHEDULE_TIMEOUT if timeout_msecs < 0 else timeout_msecs * 1_000_000
    return do_sys_poll(task, ufds, timeout_ns)


def sys_ppoll(task: Task, ufds: list[Pollfd] | None, timeout_ns: int, sigmask: int) -> int:
    """ppoll(2): `timeout_ns` -1 waits for ever; `sigmask` -1 leaves the mask alone."""
    if timeout_ns < -1:
        return -EINVAL
    old = task.blocked_signals
    if sigmask >= 0:
        task.blocked_signals = sigmask
    ret = do_sys_poll(task, ufds, timeout_ns)
    task.blocked_signals = old
    return ret


def do_sys_poll(task: Task, ufds: list[Pollfd] | None, timeout_ns: int) -> int:
    """Check the array and poll it."""
    if ufds is None:
        return -EFAULT
    if len(ufds) > task.rlim_cur[RLIMIT_NOFILE]:
        return -EINVAL
    table = PollWqueues(task)
    count = do_poll(ufds, table, timeout_ns)
    table.poll_freewait()
    return count


def do_poll(ufds: list[Pollfd], pt: PollWqueues, timeout_ns: int) -> int:
    """Look at every descriptor, sleep, look again."""
    if timeout_ns == 0:
        pt.enabled = False
    while True:
        count = 0
        for pollfd in ufds:
            if do_pollfd(pollfd, pt):
                count += 1
                pt.enabled = False
        pt.enabled = False  # the queues are registered after the first round
        if count:
            return count
        if pt.task.signal_pending():
            return -ERESTARTNOHAND
        if timeout_ns == 0:
            return 0
        timeout_ns = pt.poll_schedule_timeout(timeout_ns)


def do_pollfd(pollfd: Pollfd, pt: PollWqueues) -> int:
    """Fill in revents of one descriptor."""
    if pollfd.fd < 0:
        pollfd.revents = 0
        return 0
    file = fget(pt.task, pollfd.fd)
    if file is None:
        pollfd.revents = _POLLNVAL
        return _POLLNVAL
    wanted = pollfd.events | _ERR_HUP
    pt.key = wanted
    mask = vfs_poll(file, pt) & wanted
    fput(file, pt.task)
    pollfd.revents = mask
    return mask


class FdSet:
    """The three sets of one select(2), as sorted lists of descriptors; None is a null pointer."""

    def __init__(self, readfds: list[int] | None, writefds: list[int] | None, exceptfds: list[int] | None) -> None:
        self.readfds = readfds
        self.writefds = writefds
        self.exceptfds = exceptfds


def sys_select(task: Task, n: int, fds: FdSet, timeout_ns: int) -> int:
    """select(2): the number of bits left in `fds`, which holds the result; `timeout_ns` -1 waits for ever."""
    return core_sys_select(task, n, fds, timeout_ns)


def sys_pselect6(task: Task, n: int, fds: FdSet, timeout_ns: int, sigmask: int) -> int:
    """pselect6(2): `sigmask` -1 leaves the mask alone."""
    old = task.blocked_signals
    if sigmask >= 0:
        task.blocked_signals = sigmask
    ret = core_sys_select(task, n, fds, timeout_ns)
    task.blocked_signals = old
    return ret


def core_sys_select(task: Task, n: int, fds: FdSet, timeout_ns: int) -> int:
    """Check the sets and select."""
    if n < 0 or timeout_ns < -1:
        return -EINVAL
    files = task.files
    if files is not None and n > max(len(files.fd), 64):
        n = max(len(files.fd), 64)
    wanted = [0] * n
    for bit, members in ((1, fds.readfds), (2, fds.writefds), (4, fds.exceptfds)):
        if members is not None:
            for fd in members:
                if fd < n:
                    wanted[fd] |= bit
    for fd in range(n):
        if wanted[fd] and (files is None or files.lookup(fd) is None):
            return -EBADF
    return do_select(task, wanted, fds, timeout_ns)


def do_select(task: Task, wanted: list[int], fds: FdSet, timeout_ns: int) -> int:
    """Look at every descriptor, sleep, look again; `wanted` holds 1 read, 2 write, 4 exception bits."""
    table = PollWqueues(task)
    if timeout_ns == 0:
        table.enabled = False
    readable: list[int] = []
    writable: list[int] = []
    exceptional: list[int] = []
    while True:
        for fd in range(len(wanted)):
            if wanted[fd]:
                mask = _select_poll_one(task, fd, wanted[fd], table)
                if mask & POLLIN_SET and wanted[fd] & 1:
                    readable.append(fd)
                if mask & POLLOUT_SET and wanted[fd] & 2:
                    writable.append(fd)
                if mask & POLLEX_SET and wanted[fd] & 4:
                    exceptional.append(fd)
                if readable or writable or exceptional:
                    table.enabled = False
        table.enabled = False
        if readable or writable or exceptional or timeout_ns == 0:
            break
        if task.signal_pending():
            table.poll_freewait()
            return -ERESTARTNOHAND
        timeout_ns = table.poll_schedule_timeout(timeout_ns)
    table.poll_freewait()
    if fds.readfds is not None:
        fds.readfds = readable
    if fds.writefds is not None:
        fds.writefds = writable
    if fds.exceptfds is not None:
        fds.exceptfds = exceptional
    return len(readable) + len(writable) + len(exceptional)


def _select_poll_one(task: Task, fd: int, wanted: int, table: PollWqueues) -> int:
    file = fget(task, fd)
    if file is None:
        return _POLLNVAL
    table.key = POLLEX_SET | (POLLIN_SET if wanted & 1 else 0) | (POLLOUT_SET if wanted & 2 else 0)
    mask = vfs_poll(file, table)
    fput(file, task)
    return mask
