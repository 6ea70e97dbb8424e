"""HostPort: the live kernel behind the questions of `KernelPort`."""

from __future__ import annotations

from twinsock.host.netlink import NetlinkSocket
from twinsock.uapi.errno import EACCES, ENOENT, EPERM, ESRCH
from twinsock.uapi.socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import TypeVar

    from twinsock.host.namespaces import Namespace
    from twinsock.host.reuse import AnySocket
    from twinsock.inspect.owners import OwnerTable

    T = TypeVar("T")


class HostPort:
    """The Linux that this process runs on. One object serves one thread, which stays in its network namespace."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, int], NetlinkSocket] = {}  # (namespace, protocol) -> a socket with nothing unread
        self._namespaces: dict[int, Namespace] = {}  # those asked for so far
        self._own = 0
        self._owners: OwnerTable | None = None

    def netlink(self, protocol: int, request: bytes, netns: int = 0) -> Iterator[memoryview]:
        """Send one netlink request and give the datagrams that answer it, each valid until the next is taken.

        Raises OSError (EPERM if the namespace cannot be entered, ESRCH if it is gone) and DumpInterrupted.
        """
        key = (netns, protocol)
        sock = self._idle.pop(key, None) or self._open(netns, protocol)
        try:
            yield from sock.ask(request)
        finally:
            if sock.clean and key not in self._idle:
                self._idle[key] = sock
            else:
                sock.close()

    def read(self, path: str, netns: int = 0) -> bytes:
        """Read a file of /proc or /sys as a task in that namespace sees it. Raises OSError.

        /proc/net of another namespace is read through one of its processes, which takes no privilege; its /proc/sys/net
        can only be read inside it.
        """
        from twinsock.host.procfs import read_file

        in_net = path.startswith("/proc/net/")
        if in_net:
            path = "/proc/thread-self" + path[5:]
        if self._is_own(netns) or not (in_net or path.startswith(("/proc/sys/net/", "/sys/class/net/"))):
            return read_file(path)
        namespace = self._namespace(netns)
        if in_net:
            from twinsock.host.namespaces import read_through_process

            found = read_through_process(namespace, path[len("/proc/thread-self/net/") :])
            if found is not None:
                return found
        return self._inside(namespace, lambda: read_file(path), lambda fd, user: read_inside(fd, user, path))

    def namespaces(self, deep: bool = False) -> list[Namespace]:
        """List the namespaces of processes and names; with `deep` also those that only a descriptor holds."""
        from twinsock.host.namespaces import find_namespaces

        found = find_namespaces(deep)
        for namespace in found:
            self._namespaces[namespace.inode] = namespace
        return found

    def netns_of(self, pid: int) -> int:
        """Tell a process's network namespace as `namespaces()` numbers it. Raises OSError if there is no such process."""
        from twinsock.host.namespaces import netns_of_process

        return netns_of_process(pid)

    def owners(self, inodes: Collection[int] | None = None) -> OwnerTable:
        """Tell who holds the sockets with these inodes (None: all sockets)."""
        from twinsock.host.owners import find_owners

        self._owners = find_owners(inodes)
        return self._owners

    def reuse_flags(self, netns: int, sockets: Sequence[AnySocket], v6only: bool = False) -> list[int]:
        """Give each socket's reuse flags: REUSEADDR 1, REUSEPORT 2, with `v6only` also IPV6_V6ONLY 4; -1 where they cannot be seen.

        What the last question about owners found is used, and makes a question about few sockets cheap.
        """
        from twinsock.host.reuse import reuse_flags

        return reuse_flags(0 if self._is_own(netns) else netns, sockets, self._owners, v6only)

    def now_ns(self) -> int:
        """Give the wall clock in nanoseconds."""
        from time import time_ns

        return time_ns()

    def sleep(self, seconds: float) -> None:
        """Let time pass between two looks."""
        from time import sleep

        sleep(seconds)

    def close(self) -> None:
        """Close every socket."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _is_own(self, netns: int) -> bool:
        if not netns:
            return True
        if not self._own:
            from twinsock.host.namespaces import own_inode

            self._own = own_inode()
        return netns == self._own

    def _open(self, netns: int, protocol: int) -> NetlinkSocket:
        if self._is_own(netns):
            return NetlinkSocket(protocol)
        return self._inside(self._namespace(netns), lambda: NetlinkSocket(protocol), lambda fd, user: netlink_inside(fd, user, protocol))

    def _namespace(self, netns: int) -> Namespace:
        """Find a namespace by its inode, looking deeper if it is not where processes and names are."""
        for deep in (False, True):
            if netns in self._namespaces:
                break
            self.namespaces(deep)
        namespace = self._namespaces.get(netns)
        if namespace is None:
            raise OSError(ESRCH, f"no network namespace {netns} can be found")
        return namespace

    def _inside(self, namespace: Namespace, function: Callable[[], T], as_owner: Callable[[int, int], T]) -> T:
        """Run a function inside a namespace, or `as_owner(fd, user namespace)` where only its maker may. Raises OSError."""
        from os import close

        from twinsock.host.namespaces import in_namespace
        from twinsock.host.userns import open_owner

        try:
            fd = namespace.open()
        except OSError as error:
            self._namespaces.pop(namespace.inode, None)
            if error.errno == ENOENT:
                raise OSError(ESRCH, f"{namespace.label()} is gone") from None
            raise _explained(error, namespace) from None
        user_fd = -1
        try:
            return in_namespace(fd, function)
        except OSError as error:
            if error.errno == EPERM:
                user_fd = open_owner(fd)
            if user_fd < 0:
                raise _explained(error, namespace) from None
            return as_owner(fd, user_fd)
        finally:
            close(fd)
            if user_fd >= 0:
                close(user_fd)


def read_inside(fd: int, user_fd: int, path: str) -> bytes:
    """Read a file inside a network namespace that the caller's own user namespace owns."""
    from twinsock.host import userns
    from twinsock.host.procfs import read_file

    return userns.read_inside(fd, user_fd, lambda: read_file(path))


def netlink_inside(fd: int, user_fd: int, protocol: int) -> NetlinkSocket:
    """Make a netlink socket inside a network namespace that the caller's own user namespace owns."""
    from twinsock.host.userns import socket_inside

    return NetlinkSocket(protocol, socket_inside(fd, user_fd, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol))


def _explained(error: OSError, namespace: Namespace) -> OSError:
    """Say which namespace refused, and what would help."""
    if error.errno in (EPERM, EACCES):
        return OSError(EPERM, f"{namespace.label()}: {namespace.reason or 'needs CAP_SYS_ADMIN'}")
    return error
