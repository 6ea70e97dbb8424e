"""epoll(7) (Linux: fs/eventpoll.c; sheet 06, 6.5 and 6.6).

    watched file's wait queue --ep_poll_callback--> ready list --ep_send_events--> the caller
                                                     |  level: back to the tail, so that the next caller sees it too
                                                     +--> wakes one sleeper of the epoll instance, and those who poll it

An entry belongs to the open file and the number it was registered under. Left out: busy polling."""

from __future__ import annotations

from twinsock.kernel.fs.file import (
    File,
    FileWatcher,
    Kstat,
    alloc_empty_file,
    fd_install,
    fget,
    fput,
    get_unused_fd_flags,
    put_unused_fd,
)
from twinsock.kernel.fs.select import PollTable, poll_wait, vfs_poll
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT
from twinsock.kernel.sched.wait import WQ_FLAG_EXCLUSIVE, TaskWait, WaitQueueEntry, WaitQueueHead
from twinsock.uapi.errno import EBADF, EEXIST, EFAULT, EINTR, EINVAL, ELOOP, ENFILE, ENOENT, ENOSPC, EPERM
from twinsock.uapi.eventpoll import (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLWAKEUP,
)
from twinsock.uapi.fcntl import O_CLOEXEC, O_RDWR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

EP_PRIVATE_BITS: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
EPOLLINOUT_BITS: Final = EPOLLIN | EPOLLOUT
EPOLLEXCLUSIVE_OK_BITS: Final = EPOLLINOUT_BITS | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
EP_MAX_NESTS: Final = 4
EP_MAX_EVENTS: Final = 0x7FFFFFFF // 12
ANON_INODE_DEV: Final = 14
_CAP_BLOCK_SUSPEND: Final = 36


class EpollEvent:
    """`struct epoll_event`."""

    def __init__(self, events: int, data: int) -> None:
        self.events = events & 0xFFFFFFFF
        self.data = data


class Epitem(FileWatcher):
    """`struct epitem`: one watched file."""

    def __init__(self, ep: EventPoll, file: File, fd: int, event: EpollEvent) -> None:
        self.ep = ep
        self.file = file
        self.fd = fd
        self.event = event
        self.pwqlist: list[EppollEntry] = []
        self.ready = False  # in the ready list

    def eventpoll_release(self) -> None:
        """The watched file is closed: forget it."""
        ep_remove(self.ep, self)


class EppollEntry(WaitQueueEntry):
    """`struct eppoll_entry`: the entry's place in one wait queue of the watched file."""

    def __init__(self, epi: Epitem, head: WaitQueueHead) -> None:
        super().__init__()
        self.epi = epi
        self.head = head

    def wake(self, key: int) -> int:
        """React to the watched file's wake-up."""
        return ep_poll_callback(self.epi, key)


class EpPqueue(PollTable):
    """`struct ep_pqueue`: registers an entry on the queues that its file names."""

    def __init__(self, epi: Epitem, key: int) -> None:
        super().__init__(key)
        self.epi = epi

    def poll_wait(self, head: WaitQueueHead) -> None:
        """ep_ptable_queue_proc()."""
        pwq = EppollEntry(self.epi, head)
        if self.epi.event.events & EPOLLEXCLUSIVE:
            pwq.flags = WQ_FLAG_EXCLUSIVE
        self.epi.pwqlist.append(pwq)
        head.add(pwq)


class EventPoll:
    """`struct eventpoll`: one epoll instance."""

    def __init__(self, kernel: Kernel, uid: int) -> None:
        self.kernel = kernel
        self.uid = uid
        self.file: EventPollFile | None = None
        self.items: list[Epitem] = []  # in order of file number and address in Linux; here of number
        self.rdllist: list[Epitem] = []
        self.ovflist: list[Epitem] | None = None  # became ready while events are being handed out
        self.wq = WaitQueueHead()  # epoll_wait(2)
        self.poll_wait_head = WaitQueueHead()  # poll(2) on the epoll descriptor

    def find(self, file: File, fd: int) -> Epitem | None:
        """Return the entry of a file and number."""
        for epi in self.items:
            if epi.file is file and epi.fd == fd:
                return epi
        return None

    def events_available(self) -> bool:
        """Tell whether something may be ready."""
        return bool(self.rdllist)

    def wake_up(self, key: int) -> None:
        """Wake one sleeper, and whoever polls this instance."""
        if self.wq.active():
            self.wq.wake_up(key)
        if self.poll_wait_head.active():
            self.poll_wait_head.wake_up(EPOLLIN, 0)


class EventPollFile(File):
    """The file behind an epoll descriptor."""

    def __init__(self, kernel: Kernel, ep: EventPoll) -> None:
        super().__init__(kernel, O_RDWR)
        self.ep = ep
        ep.file = self
        self.i_ino = kernel.anon_inode_ino

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """ep_eventpoll_ioctl(): busy polling alone, which the twin has not."""
        return -EINVAL, b""

    def poll(self, wait: PollTable | None) -> int:
        """Readable when an entry is ready (asked one by one)."""
        ep = self.ep
        poll_wait(ep.poll_wait_head, wait)
        for epi in ep.rdllist[:]:
            if ep_item_poll(epi, None):
                return 0x41
            if epi.ready:
                ep.rdllist.remove(epi)
                epi.ready = False
        return 0

    def release(self, task: Task | None) -> int:
        """Forget every entry."""
        for epi in self.ep.items[:]:
            ep_remove(self.ep, epi)
        self.ep.file = None
        return 0

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Seeking does nothing (noop_llseek)."""
        return 0

    def getattr(self) -> Kstat:
        """Return the shared anonymous inode."""
        stat = Kstat(self.i_ino, 0o600, 0, 0)
        stat.dev = ANON_INODE_DEV
        return stat

    def ino(self) -> int:
        """Return the inode number."""
        return self.i_ino

    def mnt_id(self) -> int:
        """Return the mount."""
        return ANON_INODE_DEV

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return "anon_inode:[eventpoll]"

    def show_fdinfo(self) -> str:
        """Return one line per entry."""
        lines = ""
        for epi in self.ep.items:
            stat = epi.file.getattr()
            lines += f"tfd: {epi.fd:8d} events: {epi.event.events:8x} data: {epi.event.data:16x} "
            lines += f" pos:{epi.file.f_pos} ino:{stat.ino:x} sdev:{stat.dev:x}\n"
        return lines


def sys_epoll_create(task: Task, size: int) -> int:
    """epoll_create(2)."""
    return do_epoll_create(task, 0) if size > 0 else -EINVAL


def sys_epoll_create1(task: Task, flags: int) -> int:
    """epoll_create1(2)."""
    return do_epoll_create(task, flags)


def do_epoll_create(task: Task, flags: int) -> int:
    """Make an epoll instance: the descriptor or -errno."""
    if flags & ~EPOLL_CLOEXEC:
        return -EINVAL
    fd = get_unused_fd_flags(task, flags & O_CLOEXEC)
    if fd < 0:
        return fd
    if alloc_empty_file(task):
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, EventPollFile(task.kernel, EventPoll(task.kernel, task.cred.uid)))
    return fd


def sys_epoll_ctl(task: Task, epfd: int, op: int, fd: int, event: EpollEvent | None) -> int:
    """epoll_ctl(2)."""
    if op != EPOLL_CTL_DEL and event is None:
        return -EFAULT
    return do_epoll_ctl(task, epfd, op, fd, event)


def do_epoll_ctl(task: Task, epfd: int, op: int, fd: int, event: EpollEvent | None) -> int:
    """Look both descriptors up and do it."""
    file = fget(task, epfd)
    if file is None:
        return -EBADF
    tfile = fget(task, fd)
    err = -EBADF if tfile is None else _ctl_files(task, file, tfile, op, fd, event)
    if tfile is not None:
        fput(tfile, task)
    fput(file, task)
    return err


def _ctl_files(task: Task, file: File, tfile: File, op: int, fd: int, event: EpollEvent | None) -> int:
    if not tfile.can_poll():
        return -EPERM
    if op != EPOLL_CTL_DEL and event is not None and event.events & EPOLLWAKEUP and not task.capable(_CAP_BLOCK_SUSPEND):
        event.events &= ~EPOLLWAKEUP
    if file is tfile or not isinstance(file, EventPollFile):
        return -EINVAL
    if op != EPOLL_CTL_DEL and event is not None and event.events & EPOLLEXCLUSIVE:
        if op == EPOLL_CTL_MOD:
            return -EINVAL
        if op == EPOLL_CTL_ADD and (isinstance(tfile, EventPollFile) or event.events & ~EPOLLEXCLUSIVE_OK_BITS):
            return -EINVAL
    ep = file.ep
    if op == EPOLL_CTL_ADD and isinstance(tfile, EventPollFile) and ep_loop_check(ep, tfile.ep):
        return -ELOOP
    epi = ep.find(tfile, fd)
    if op == EPOLL_CTL_ADD and event is not None:
        if epi is not None:
            return -EEXIST
        event.events |= EPOLLERR | EPOLLHUP
        return ep_insert(task, ep, event, tfile, fd)
    if op == EPOLL_CTL_DEL:
        if epi is None:
            return -ENOENT
        ep_remove(ep, epi)
        return 0
    if op == EPOLL_CTL_MOD and event is not None:
        if epi is None:
            return -ENOENT
        if not epi.event.events & EPOLLEXCLUSIVE:
            event.events |= EPOLLERR | EPOLLHUP
            ep_modify(ep, epi, event)
            return 0
    return -EINVAL


def ep_loop_check(ep: EventPoll, to: EventPoll) -> bool:
    """Tell whether watching `to` would make a loop or too deep a nest."""
    down = _depth_below(to, ep, 0)
    if down > EP_MAX_NESTS:
        return True
    return down + 1 + _depth_above(ep, 0) > EP_MAX_NESTS


def _depth_below(ep: EventPoll, forbidden: EventPoll, depth: int) -> int:
    """Return how many instances are nested below `ep`, more than the limit for a loop."""
    if ep is forbidden or depth > EP_MAX_NESTS:
        return EP_MAX_NESTS + 1
    deepest = 0
    for epi in ep.items:
        file = epi.file
        if isinstance(file, EventPollFile):
            deepest = max(deepest, _depth_below(file.ep, forbidden, depth + 1) + 1)
    return deepest


def _depth_above(ep: EventPoll, depth: int) -> int:
    """Return how many instances watch `ep`, one above the other."""
    if depth > EP_MAX_NESTS:
        return depth
    highest = 0
    watchers = ep.file.f_ep if ep.file is not None else None
    for watcher in watchers or []:
        if isinstance(watcher, Epitem):
            highest = max(highest, _depth_above(watcher.ep, depth + 1) + 1)
    return highest


def ep_insert(task: Task, ep: EventPoll, event: EpollEvent, tfile: File, fd: int) -> int:
    """Watch a file: 0 or -errno."""
    kernel = ep.kernel
    if kernel.epoll_watches >= kernel.max_user_watches:
        return -ENOSPC
    kernel.epoll_watches += 1
    epi = Epitem(ep, tfile, fd, event)
    if tfile.f_ep is None:
        tfile.f_ep = []
    tfile.f_ep.insert(0, epi)
    _insert_sorted(ep, epi)
    pt = EpPqueue(epi, 0)
    revents = ep_item_poll(epi, pt)
    if revents and not epi.ready:
        ep.rdllist.append(epi)
        epi.ready = True
        ep.wake_up(0)
    return 0


def _insert_sorted(ep: EventPoll, epi: Epitem) -> None:
    for i in range(len(ep.items)):
        if ep.items[i].fd > epi.fd:
            ep.items.insert(i, epi)
            return
    ep.items.append(epi)


def ep_remove(ep: EventPoll, epi: Epitem) -> None:
    """Stop watching a file."""
    for pwq in epi.pwqlist:
        pwq.head.remove(pwq)
    epi.pwqlist = []
    watchers = epi.file.f_ep
    if watchers is not None:
        for i in range(len(watchers)):
            if watchers[i] is epi:
                del watchers[i]
                break
    for i in range(len(ep.items)):
        if ep.items[i] is epi:
            del ep.items[i]
            ep.kernel.epoll_watches -= 1
            break
    if epi.ready:
        ep.rdllist.remove(epi)
        epi.ready = False


def ep_modify(ep: EventPoll, epi: Epitem, event: EpollEvent) -> None:
    """Change what an entry waits for, and look at once."""
    epi.event = event
    if ep_item_poll(epi, None) and not epi.ready:
        ep.rdllist.append(epi)
        epi.ready = True
        ep.wake_up(0)


def ep_item_poll(epi: Epitem, pt: PollTable | None) -> int:
    """Ask the watched file for the bits that the entry wants."""
    if pt is not None:
        pt.key = epi.event.events
    return vfs_poll(epi.file, pt) & epi.event.events


def ep_poll_callback(epi: Epitem, key: int) -> int:
    """The watched file woke its queue: 1 when that counts against its exclusive waiters."""
    ep = epi.ep
    events = epi.event.events
    woken = 0
    if not events & ~EP_PRIVATE_BITS:
        return 1 if not events & EPOLLEXCLUSIVE else 0
    if key and not key & events:
        return 1 if not events & EPOLLEXCLUSIVE else 0
    if ep.ovflist is not None:
        if epi not in ep.ovflist:
            ep.ovflist.insert(0, epi)
    elif not epi.ready:
        ep.rdllist.append(epi)
        epi.ready = True
    if ep.wq.active():
        if events & EPOLLEXCLUSIVE:
            wanted = key & EPOLLINOUT_BITS
            if wanted == 0 or (wanted == EPOLLIN and events & EPOLLIN) or (wanted == EPOLLOUT and events & EPOLLOUT):
                woken = 1
        ep.wq.wake_up(key)
    if ep.poll_wait_head.active():
        ep.poll_wait_head.wake_up(EPOLLIN, 0)
    return woken if events & EPOLLEXCLUSIVE else 1


def sys_epoll_wait(task: Task, epfd: int, events: list[EpollEvent] | None, maxevents: int, timeout_msecs: int) -> int:
    """epoll_wait(2): how many events were put into `events`, or -errno."""
    timeout_ns = MAX_SCHEDULE_TIMEOUT if timeout_msecs < 0 else timeout_msecs * 1_000_000
    return do_epoll_wait(task, epfd, events, maxevents, timeout_ns)


def sys_epoll_pwait2(task: Task, epfd: int, events: list[EpollEvent] | None, maxevents: int, timeout_ns: int, sigmask: int) -> int:
    """epoll_pwait2(2), epoll_pwait(2): `timeout_ns` -1 waits for ever; `sigmask` -1 leaves the mask alone."""
    if timeout_ns < -1:
        return -EINVAL
    old = task.blocked_signals
    if sigmask >= 0:
        task.blocked_signals = sigmask
    ret = do_epoll_wait(task, epfd, events, maxevents, timeout_ns)
    task.blocked_signals = old
    return ret


def do_epoll_wait(task: Task, epfd: int, events: list[EpollEvent] | None, maxevents: int, timeout_ns: int) -> int:
    """Check the arguments and wait."""
    file = fget(task, epfd)
    if file is None:
        return -EBADF
    if maxevents <= 0 or maxevents > EP_MAX_EVENTS:
        ret = -EINVAL
    elif events is None:
        ret = -EFAULT
    elif not isinstance(file, EventPollFile):
        ret = -EINVAL
    else:
        ret = ep_poll(task, file.ep, events, maxevents, timeout_ns)
    fput(file, task)
    return ret


def ep_poll(task: Task, ep: EventPoll, events: list[EpollEvent], maxevents: int, timeout_ns: int) -> int:
    """Hand out what is ready, or sleep until something is."""
    deadline = -1 if timeout_ns <= 0 else task.kernel.clock.now_ns + timeout_ns
    timed_out = timeout_ns == 0
    eavail = ep.events_available()
    while True:
        if eavail:
            res = ep_send_events(ep, events, maxevents)
            if res:
                return res
        if timed_out:
            return 0
        if task.signal_pending():
            return -EINTR
        wait = TaskWait(task, exclusive=True)
        ep.wq.prepare_to_wait(wait)
        eavail = ep.events_available()
        if not eavail:
            left = -1 if deadline < 0 else max(deadline - task.kernel.clock.now_ns, 0)
            timed_out = task.schedule_timeout(left) == 0
        eavail = True
        if wait.head is not None and timed_out:
            eavail = ep.events_available()
        ep.wq.finish_wait(wait)


def ep_send_events(ep: EventPoll, events: list[EpollEvent], maxevents: int) -> int:
    """Ask every ready entry again and hand out what holds; a level entry goes back to the tail."""
    txlist = ep.rdllist
    ep.rdllist = []
    ep.ovflist = []
    for epi in txlist:
        epi.ready = False
    count = taken = 0
    back: list[Epitem] = []
    for epi in txlist:
        if count >= maxevents:
            break
        taken += 1
        revents = ep_item_poll(epi, None)
        if not revents:
            continue
        events.append(EpollEvent(revents, epi.event.data))
        count += 1
        if epi.event.events & EPOLLONESHOT:
            epi.event.events &= EP_PRIVATE_BITS
        elif not epi.event.events & EPOLLET:
            back.append(epi)
    _ep_done_scan(ep, txlist[taken:], back)
    return count


def _ep_done_scan(ep: EventPoll, rest: list[Epitem], back: list[Epitem]) -> None:
    """Rebuild the ready list: what was not looked at, what is level, what became ready meanwhile."""
    late = ep.ovflist or []
    ep.ovflist = None
    # before: rdllist []          after: [rest ... | level entries handed out ... | late ...]
    for group in (rest, back, late):
        for epi in group:
            if not epi.ready:
                epi.ready = True
                ep.rdllist.append(epi)
    if ep.rdllist and ep.wq.active():
        ep.wq.wake_up(0)
