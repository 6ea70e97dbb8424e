"""Wait queues (Linux: kernel/sched/wait.c)."""

from typing import Final

from twinsock.kernel.sched.task import Task

WQ_FLAG_EXCLUSIVE: Final = 1


class WaitQueueEntry:
    """One waiter; subclasses override `wake` (epoll items, tasks)."""

    def __init__(self) -> None:
        self.flags = 0

    def wake(self, key: int) -> int:
        """React to a wake-up with poll bits `key` (0 = unspecified); a true value counts against exclusive wake-ups."""
        raise NotImplementedError


class TaskWait(WaitQueueEntry):
    """A sleeping task."""

    def __init__(self, task: Task, exclusive: bool = False) -> None:
        super().__init__()
        self.task = task
        self.key = 0
        if exclusive:
            self.flags = WQ_FLAG_EXCLUSIVE

    def wake(self, key: int) -> int:
        """Wake the task."""
        self.key |= key
        return 1 if self.task.wake_up_process() else 0


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
            if entry.wake(key) and entry.flags & WQ_FLAG_EXCLUSIVE:
                nr_exclusive -= 1
                if nr_exclusive == 0:
                    return
