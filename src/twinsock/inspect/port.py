"""KernelPort: the questions that every tool asks, of the live kernel and of the twin alike."""

from __future__ import annotations

from twinsock.wire.netlink import DumpInterrupted

TYPE_CHECKING = False  # the typing module is slow to import, and nothing here needs it when running
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Protocol

    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.records import SocketRecord
    from twinsock.inspect.stream import InetSocket

    class Namespace(Protocol):
        """One network namespace, as found."""

        inode: int  # of nsfs; minus the inode of /proc/PID/net/tcp where permission hides it
        cookie: int  # SO_NETNS_COOKIE, 0 if not known
        names: list[str]  # of `ip netns`, and the paths of bind mounts
        pids: list[int]  # the lowest few
        pid_count: int
        holders: list[str]  # what else keeps it: "mount /run/netns/x", "fd 5 of pid 42", "socket fd 7 of pid 42"
        accessible: bool  # its sockets can be dumped
        reason: str  # if not: why not, and what would help
        own: bool  # the caller is in it

        def label(self) -> str:
            """Name it in a sentence."""
            ...

    class KernelPort(Protocol):
        """One kernel, live or twin. `netns` is a network namespace's inode number; 0 is the caller's namespace."""

        def netlink(self, protocol: int, request: bytes, netns: int = 0) -> Iterator[memoryview]:
            """Send one netlink request and give the datagrams that answer it, each valid until the next is taken.

            The caller walks the messages and skips the types below NLMSG_MIN_TYPE. Raises OSError with the errno of an
            NLMSG_ERROR, EPERM if the namespace cannot be entered, ESRCH if it is gone, and DumpInterrupted when the
            tables changed under a dump.
            """
            ...

        def read(self, path: str, netns: int = 0) -> bytes:
            """Read a file of /proc or /sys as a task in that namespace sees it. Raises OSError."""
            ...

        def netns_of(self, pid: int) -> int:
            """Tell a process's network namespace as `namespaces()` numbers it. Raises OSError if there is no such process."""
            ...

        def namespaces(self, deep: bool = False) -> Sequence[Namespace]:
            """List the namespaces of processes and names; with `deep` also those that only a descriptor holds."""
            ...

        def owners(self, inodes: Collection[int] | None = None) -> OwnerTable:
            """Tell who holds the sockets with these inodes (None: all sockets)."""
            ...

        def reuse_flags(self, netns: int, sockets: Sequence[SocketRecord | InetSocket], v6only: bool = False) -> list[int]:
            """Give each socket's reuse flags: REUSEADDR 1, REUSEPORT 2, with `v6only` also IPV6_V6ONLY 4; -1 where they cannot be seen."""
            ...

        def now_ns(self) -> int:
            """Give the wall clock in nanoseconds."""
            ...

        def sleep(self, seconds: float) -> None:
            """Let time pass between two looks: real time, or the twin's."""
            ...

        def close(self) -> None:
            """Close what the questions have opened."""
            ...


__all__ = ["DumpInterrupted", "NotAvailable"]


class NotAvailable(OSError):
    """The kernel has no handler for this question; `str()` is the sentence for the user."""
