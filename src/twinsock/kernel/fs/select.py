"""poll(2) and select(2) (Linux: fs/select.c)."""

from twinsock.kernel.sched.wait import WaitQueueHead


class PollTable:
    """Collects the wait queues that a poll looks at."""

    def poll_wait(self, head: WaitQueueHead) -> None:
        """Register on one wait queue."""
        raise NotImplementedError
