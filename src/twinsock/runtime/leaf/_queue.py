"""The module _queue: SimpleQueue, which waits in virtual time."""

import _queue as real
from collections import deque
from types import GenericAlias
from typing import Any

from twinsock.runtime.leaf._thread import TIMEOUT_MAX, Waiters
from twinsock.runtime.process import process

Empty = real.Empty


class SimpleQueue:
    """A queue without a bound; put() may be called while a get() is under way in the same thread."""

    __class_getitem__: Any = classmethod(GenericAlias)

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiters = Waiters()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item and wake who waits longest; never waits itself."""
        self._items.append(item)
        self._waiters.wake()

    def put_nowait(self, item: Any) -> None:
        """Add an item."""
        self.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item, waiting for one if asked to. Raises Empty, ValueError."""
        if block and timeout is not None:
            if timeout < 0:
                raise ValueError("'timeout' must be a non-negative number")
            if timeout > TIMEOUT_MAX:
                raise OverflowError("timeout value is too large")
        if not self._items:
            host = process()
            if not block:
                host.look()
                raise Empty
            deadline = -1 if timeout is None else host.kernel.clock.now_ns + int(timeout * 1e9)
            while not self._items:
                if not self._waiters.wait(host, deadline):
                    raise Empty
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Take the oldest item. Raises Empty."""
        return self.get(False)

    def empty(self) -> bool:
        """Tell whether there is no item."""
        return not self._items

    def qsize(self) -> int:
        """Count the items."""
        return len(self._items)


SimpleQueue.__module__ = "_queue"
