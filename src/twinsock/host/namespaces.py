"""Network namespaces of the live kernel: finding them, and doing something inside one, network_namespaces(7).

A namespace lives as long as a process, a bind mount, an open `ns/net` descriptor or a socket refers to it; each of the
four is looked for. Where /proc/PID/ns/net may not be read, the inode of /proc/PID/net/tcp still tells namespaces
apart. Left out: namespaces that only a socket in flight, an io_uring or a kernel module holds.
"""

from __future__ import annotations

import os

from twinsock.host.procfs import read_file
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.sched import CLONE_NEWNET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_PIDS_KEPT = 8
_NAMED = "/run/netns"
_CANNOT_ENTER = "its sockets are hidden, needs CAP_SYS_ADMIN"


class Namespace:
    """One network namespace, as found."""

    def __init__(self, inode: int) -> None:
        self.inode = inode  # of nsfs; minus the inode of /proc/PID/net/tcp where permission hides it
        self.cookie = 0  # SO_NETNS_COOKIE, 0 if not known
        self.names: list[str] = []  # of `ip netns`, and the paths of other bind mounts
        self.pids: list[int] = []  # the lowest few
        self.pid_count = 0
        self.holders: list[str] = []  # "mount /run/netns/x", "fd 5 of pid 42", "socket fd 7 of pid 42"
        self.accessible = False  # it can be entered, and so its sockets can be dumped
        self.reason = _CANNOT_ENTER  # if not: why not
        self.own = False  # the caller is in it
        self.paths: list[str] = []  # where it can be opened
        self.sockets: list[tuple[int, int]] = []  # (pid, fd) of sockets that are in it

    def label(self) -> str:
        """Name it in a sentence."""
        if self.inode > 0:
            name = f" ({self.names[0]})" if self.names else ""
            return f"network namespace {self.inode}{name}"
        return f"the network namespace of pid {self.pids[0]}" if self.pids else "a hidden network namespace"

    def open(self) -> int:
        """Open the namespace and return the descriptor. Raises OSError if every way is gone or refused."""
        error = OSError(ENOENT, f"{self.label()} is gone")
        for path in self.paths + [f"/proc/{pid}/ns/net" for pid in self.pids]:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as refused:
                error = error if isinstance(error, PermissionError) else refused
                continue
            if os.fstat(fd).st_ino == self.inode:
                return fd
            os.close(fd)
        for pid, number in self.sockets:
            try:
                fd = namespace_of_socket(pid, number)
            except OSError as refused:
                error = error if isinstance(error, PermissionError) else refused
                continue
            if os.fstat(fd).st_ino == self.inode:
                return fd
            os.close(fd)
        raise error


def own_inode() -> int:
    """Tell the calling thread's network namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def netns_of_process(pid: int) -> int:
    """Tell a process's network namespace as `find_namespaces` numbers it. Raises OSError if there is no such process."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except PermissionError:
        number = _proc_inode(pid)
    if number == _proc_inode("thread-self"):
        return own_inode()
    for namespace in find_namespaces():
        if namespace.inode > 0 and namespace.pids:
            try:
                if _proc_inode(namespace.pids[0]) == number:
                    return namespace.inode
            except OSError:
                continue
    return -number


def _proc_inode(pid: int | str) -> int:
    """Give the number that tells namespaces apart where `ns/net` may not be read. Raises OSError."""
    return os.stat(f"/proc/{pid}/net/tcp").st_ino


def in_namespace(fd: int, function: Callable[[], T]) -> T:
    """Run a function in a thread that has entered the namespace, so that the caller never moves; raises what it raises."""
    from twinsock.host.libc import setns

    def enter_and_run() -> T:
        setns(fd, CLONE_NEWNET)
        return function()

    return in_thread(enter_and_run)


def in_thread(function: Callable[[], T]) -> T:
    """Run a function in a thread of its own and wait for it; raises what it raises."""
    import _thread

    results: list[T] = []
    errors: list[BaseException] = []
    finished = _thread.allocate_lock()
    finished.acquire()

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            finished.release()

    _thread.start_new_thread(body, ())
    finished.acquire()
    if errors:
        raise errors[0]
    return results[0]


def find_namespaces(deep: bool = False) -> list[Namespace]:
    """List the namespaces of processes and mounts; with `deep` also those of threads, descriptors and sockets only.

    The caller's own comes first. Processes that vanish meanwhile are no error.
    """
    search = _Search()
    search.processes()
    search.mounts()
    if deep:
        search.descriptors()
    search.name_hidden()
    found = sorted(search.found.values(), key=lambda namespace: (not namespace.own, namespace.inode))
    _try_entering(found)
    return found


def process_numbers() -> list[int]:
    """List the processes of /proc, lowest first."""
    return sorted([int(name) for name in os.listdir("/proc") if name.isdecimal()])


class _Search:
    """What has been found so far."""

    def __init__(self) -> None:
        self.found: dict[int, Namespace] = {}
        self.pids = process_numbers()
        self.mount_namespaces: dict[int, int] = {}  # mount namespace -> a process in it
        self.hidden: dict[int, list[int]] = {}  # inode of /proc/PID/net/tcp -> processes
        mine = self.get(own_inode())
        mine.own = True
        mine.accessible = True
        mine.reason = ""
        mine.paths.append("/proc/thread-self/ns/net")

    def get(self, inode: int) -> Namespace:
        """Find or make a namespace's entry."""
        namespace = self.found.get(inode)
        if namespace is None:
            namespace = self.found[inode] = Namespace(inode)
        return namespace

    def processes(self) -> None:
        """Sort the processes by namespace."""
        for pid in self.pids:
            try:
                inode = os.stat(f"/proc/{pid}/ns/net").st_ino
                self.mount_namespaces.setdefault(os.stat(f"/proc/{pid}/ns/mnt").st_ino, pid)
            except PermissionError:
                self._hidden_process(pid)
                continue
            except OSError:
                continue
            _add_pid(self.get(inode), pid)

    def _hidden_process(self, pid: int) -> None:
        try:
            number = _proc_inode(pid)
        except OSError:
            return
        self.hidden.setdefault(number, []).append(pid)

    def name_hidden(self) -> None:
        """Give the processes whose namespace may not be read to known namespaces, or to entries of their own."""
        if not self.hidden:
            return
        known: dict[int, Namespace] = {}
        for namespace in self.found.values():
            for pid in [os.getpid()] if namespace.own else namespace.pids:
                try:
                    known[_proc_inode(pid)] = namespace
                    break
                except OSError:
                    continue
        for number, pids in self.hidden.items():
            namespace = known.get(number) or self.get(-number)
            for pid in pids:
                _add_pid(namespace, pid)

    def mounts(self) -> None:
        """Find the names of `ip netns`, and nsfs mounts in every mount namespace that can be seen."""
        for pid in ["thread-self", *self.mount_namespaces.values()]:
            try:
                text = read_file(f"/proc/{pid}/mountinfo")
            except OSError:
                continue
            if b" - nsfs " not in text:
                continue
            for inode, point in nsfs_mounts(text):
                namespace = self.get(inode)
                path = point if pid == "thread-self" else f"/proc/{pid}/root{point}"
                short = point.removeprefix("/var")
                name = short.removeprefix(_NAMED + "/")
                if name not in namespace.names and short not in namespace.names:
                    namespace.names.append(name)
                    namespace.holders.append(f"mount {point}")
                if path not in namespace.paths:
                    namespace.paths.append(path)

    def descriptors(self) -> None:
        """Find namespaces that only a thread, a descriptor of `ns/net`, or a socket refers to."""
        sockets: dict[int, tuple[int, int]] = {}  # inode -> (process, descriptor)
        for pid in self.pids:
            self._threads(pid)
            folder = f"/proc/{pid}/fd"
            try:
                numbers = os.listdir(folder)
            except OSError:
                continue
            for number in numbers:
                try:
                    link = os.readlink(f"{folder}/{number}")
                except OSError:
                    continue
                if link.startswith("net:["):
                    self._held(int(link[5:-1]), f"fd {number} of pid {pid}", f"{folder}/{number}")
                elif link.startswith("socket:["):
                    sockets[int(link[8:-1])] = (pid, int(number))
        self._sockets(sockets)

    def _sockets(self, sockets: dict[int, tuple[int, int]]) -> None:
        """Find the namespaces of sockets that are in no table of a namespace found so far."""
        listed: set[int] = set()
        for namespace in self.found.values():
            try:
                fd = namespace.open()
            except OSError:
                continue
            _add_listed(listed, fd)
        for inode, (pid, number) in sockets.items():
            if inode in listed:
                continue
            try:
                fd = namespace_of_socket(pid, number)
            except OSError:
                continue
            namespace = self.get(os.fstat(fd).st_ino)
            if namespace.pid_count or namespace.paths or namespace.sockets:
                os.close(fd)
            else:
                _add_listed(listed, fd)
            if not namespace.pid_count and len(namespace.holders) < _PIDS_KEPT:
                namespace.holders.append(f"socket fd {number} of pid {pid}")
                namespace.sockets.append((pid, number))

    def _threads(self, pid: int) -> None:
        try:
            if os.stat(f"/proc/{pid}/task").st_nlink <= 3:  # one thread
                return
            for tid in os.listdir(f"/proc/{pid}/task"):
                path = f"/proc/{pid}/task/{tid}/ns/net"
                inode = os.stat(path).st_ino
                if not self.get(inode).pid_count:
                    self._held(inode, f"thread {tid} of pid {pid}", path)
        except OSError:
            return

    def _held(self, inode: int, holder: str, path: str) -> None:
        namespace = self.get(inode)
        if len(namespace.holders) < _PIDS_KEPT:
            namespace.holders.append(holder)
            namespace.paths.append(path)


def _add_listed(listed: set[int], fd: int) -> None:
    """Add the sockets that a namespace's tables list, and close its descriptor."""
    from twinsock.host.census import listed_inodes

    try:
        listed |= in_namespace(fd, listed_inodes)
    except OSError:
        pass
    finally:
        os.close(fd)


def _add_pid(namespace: Namespace, pid: int) -> None:
    namespace.pid_count += 1
    if len(namespace.pids) < _PIDS_KEPT:
        namespace.pids.append(pid)


def nsfs_mounts(mountinfo: bytes) -> list[tuple[int, str]]:
    """Find the network namespaces mounted in a /proc/PID/mountinfo: (inode, mount point) each."""
    found: list[tuple[int, str]] = []
    for line in mountinfo.split(b"\n"):
        if b" - nsfs " not in line:
            continue
        words = line.split(b" ")
        root = words[3]
        if root.startswith(b"net:[") and root[5:-1].isdigit():
            found.append((int(root[5:-1]), unescape(words[4])))
    return found


def unescape(word: bytes) -> str:
    r"""Undo /proc's octal escapes: `\040` is a space."""
    if b"\\" not in word:
        return os.fsdecode(word)
    parts = word.split(b"\\")
    text = parts[0]
    for part in parts[1:]:
        if len(part) >= 3 and part[:3].isdigit():
            text += bytes([int(part[:3], 8) & 255]) + part[3:]
        else:
            text += b"\\" + part
    return os.fsdecode(text)


def namespace_of_socket(pid: int, number: int) -> int:
    """Open the namespace of another process's socket, through a short-lived copy of it. Raises OSError."""
    import fcntl

    from twinsock.host.libc import SYS_PIDFD_GETFD, call
    from twinsock.uapi.sockios import SIOCGSKNS

    pidfd = os.pidfd_open(pid)
    try:
        copy = call("syscall", SYS_PIDFD_GETFD, pidfd, number, 0)
    finally:
        os.close(pidfd)
    try:
        return fcntl.ioctl(copy, SIOCGSKNS)
    finally:
        os.close(copy)


def _try_entering(namespaces: list[Namespace]) -> None:
    """Enter each namespace in one thread, to see which can be entered, and read their cookies there."""
    import _socket

    from twinsock.host.libc import setns
    from twinsock.host.userns import open_owner
    from twinsock.uapi.socket import SO_NETNS_COOKIE, SOL_SOCKET
    from twinsock.wire.netlink import U64

    def cookie() -> int:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        try:
            return int(U64.unpack(sock.getsockopt(SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])
        except OSError:
            return 0
        finally:
            sock.close()

    def enter_all() -> None:
        for namespace in others:
            try:
                fd = namespace.open()
            except PermissionError:
                continue
            except OSError as error:
                namespace.reason = f"it cannot be opened: {error.strerror}"
                continue
            try:
                setns(fd, CLONE_NEWNET)
                namespace.accessible = True
                namespace.reason = ""
                namespace.cookie = cookie()
            except PermissionError:
                user_fd = open_owner(fd)
                if user_fd >= 0:
                    os.close(user_fd)
                    namespace.accessible = True
                    namespace.reason = ""
            except OSError as error:
                namespace.reason = f"it cannot be entered: {error.strerror}"
            finally:
                os.close(fd)

    others = [namespace for namespace in namespaces if not namespace.own and namespace.inode > 0]
    for namespace in namespaces:
        if namespace.own:
            namespace.cookie = cookie()
    if others:
        in_thread(enter_all)


def read_through_process(namespace: Namespace, name: str) -> bytes | None:
    """Read a file of a namespace's /proc/net through one of its processes; None if none of them will do."""
    for pid in namespace.pids:
        try:
            text = read_file(f"/proc/{pid}/net/{name}")
            # Only now is it sure that the process was not replaced, or moved, before the file was opened.
            if namespace.inode > 0:
                if os.stat(f"/proc/{pid}/ns/net").st_ino == namespace.inode:
                    return text
            elif _proc_inode(pid) == -namespace.inode:
                return text
        except OSError:
            continue
    return None
