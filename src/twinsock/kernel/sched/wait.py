"""Wait queues (Linux: kernel/sched/wait.c)."""

from __future__ import annotations

from twinsock.kernel.sched.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

WQ_FLAG_EXCLUSIVE: Final = 1


class WaitQueueEntry:
    """One waiter; subclasses override `wake` (epoll items, tasks)."""

    def __init__(self) -> None:
        self.flags = 0

    def wake(self, key: int) -> int:
        """React to a wake-up with poll bits `key` (0 = unspecified); a true value counts against exclusive wake-ups."""
        raise NotImplementedError


class TaskWait(WaitQueueEntry):
    """A sleeping task. It leaves the queue when it is woken, as autoremove_wake_function() does; `key_mask` names the poll
    bits it cares for (0: every wake-up)."""

    def __init__(self, task: Task, exclusive: bool = False, key_mask: int = 0) -> None:
        super().__init__()
        self.task = task
        self.key = 0
        self.key_mask = key_mask
        self.head: WaitQueueHead | None = None  # the queue it is in
        if exclusive:
            self.flags = WQ_FLAG_EXCLUSIVE

    def wake(self, key: int) -> int:
        """Wake the task."""
        if key and self.key_mask and not key & self.key_mask:
            return 0
        self.key |= key
        if not self.task.wake_up_process():
            return 0
        if self.head is not None:
            self.head.remove(self)
            self.head = None
        return 1


class WaitQueueHead:
    """Waiters in wake-up order: non-exclusive ones first, exclusive ones in order of arrival behind them."""

    def __init__(self) -> None:
        self.entries: list[WaitQueueEntry] | None = None  # allocated by the first waiter

    def add(self, entry: WaitQueueEntry) -> None:
        """Add a waiter: at the front, or at the tail when it is exclusive."""
        if self.entries is None:
            self.entries = []
        if entry.flags & WQ_FLAG_EXCLUSIVE:
            self.entries.append(entry)
        else:
            self.entries.insert(0, entry)

    def remove(self, entry: WaitQueueEntry) -> None:
        """Remove a waiter if it is there."""
        entries = self.entries
        if entries is None:
            return
        for i in range(len(entries)):
            if entries[i] is entry:
                del entries[i]
                return

    def active(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self.entries)

    def wake_up(self, key: int = 0, nr_exclusive: int = 1) -> None:
        """Wake every non-exclusive waiter and up to `nr_exclusive` exclusive ones (0 = all)."""
        if not self.entries:
            return
        for entry in self.entries[:]:
            exclusive = entry.flags & WQ_FLAG_EXCLUSIVE
            if entry.wake(key) and exclusive:
                nr_exclusive -= 1
                if nr_exclusive == 0:
                    return

    def prepare_to_wait(self, wait: TaskWait) -> None:
        """Queue the task unless it still is, and mark it as sleeping; the condition is to be looked at after this."""
        if wait.head is None:
            wait.head = self
            self.add(wait)
        wait.task.prepare_to_sleep()

    def finish_wait(self, wait: TaskWait) -> None:
        """Stop waiting."""
        wait.task.runnable = True
        if wait.head is not None:
            self.remove(wait)
            wait.head = None
