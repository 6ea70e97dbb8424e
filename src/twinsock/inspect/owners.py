"""Who holds a socket: processes, the descriptors they hold it by, and the holders that have no descriptor.

One socket has one inode and any number of holders: a descriptor survives fork(2), travels in SCM_RIGHTS and can be
registered with an io_uring, so "the owner" is a list. A socket that is in no descriptor table is a ghost, and a ghost
has a kind. What permission hides is a kind too: nothing here is ever "unknown" without the reason.

The table holds packed integers for the many (100,000 sockets) and builds `Owner` objects for the few that are asked
about, through a `ProcessSource` which reads /proc on the host and the task list on the twin.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol
else:
    Protocol = object

IN_FLIGHT = "in flight"
"""Inside an SCM_RIGHTS message that nobody has received yet."""
IO_URING = "io_uring"
"""Registered as a fixed file of an io_uring, its descriptor closed."""
KERNEL = "kernel"
"""Created by the kernel itself (nfsd, ksmbd, a tunnel): no file is attached to it."""
HIDDEN = "hidden"
"""Some processes cannot be looked into by this user."""
GONE = "gone"
"""Closed since the sockets were listed."""
ORPHAN = "orphan"
"""No inode: the program has closed it and the kernel finishes the connection (TIME_WAIT, FIN_WAIT, LAST_ACK)."""
NO_FD = "no descriptor"
"""Alive, in no descriptor table that could be read, and none of the above could be shown."""

PACKED_FD_BITS = 32
"""A holder is packed as `pid << 32 | fd`."""
PACKED_FD_MASK = 0xFFFFFFFF
THREAD_BIT = 1 << 62
"""Set in a packed holder whose number is a thread id: a thread which has left its process's descriptor table."""


class Process:
    """What is known about one process at the moment it was looked at; an empty string or -1 where it is hidden."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ppid = -1
        self.comm = ""
        self.cmdline: list[str] = []
        self.exe = ""
        self.uid = -1
        self.start_ns = -1
        """Since boot; together with `pid` it names a process for good."""
        self.cgroup = ""
        self.unit = ""
        """systemd unit as `systemctl` takes it, `nginx.service`."""
        self.user_unit_uid = -1
        """The user whose service manager runs `unit`, -1 for the system's."""
        self.container = ""
        """Id or name of the container."""
        self.engine = ""
        """What runs the container: docker, podman, containerd, cri-o, lxc, nspawn, kubernetes."""
        self.pod = ""

    @property
    def unit_or_container(self) -> str:
        """Name the unit or the container in a few characters, empty if there is none."""
        if self.container:
            name = self.container[:12] if len(self.container) == 64 else self.container
            return self.engine + " " + name
        return self.unit


class Owner:
    """One descriptor of one process that refers to the socket."""

    def __init__(self, process: Process, fd: int, tid: int, close_on_exec: int) -> None:
        self.process = process
        self.pid = process.pid
        self.fd = fd
        self.tid = tid
        """Equal to pid, or the thread whose private descriptor table holds the socket."""
        self.close_on_exec = close_on_exec
        """1 or 0, -1 where fdinfo cannot be read. 0 means that children which exec() inherit the socket."""

    @property
    def comm(self) -> str:
        """The process's command name, at most 15 bytes."""
        return self.process.comm

    @property
    def cmdline(self) -> list[str]:
        """The process's argument vector."""
        return self.process.cmdline

    @property
    def exe(self) -> str:
        """Path of the executable, empty if hidden."""
        return self.process.exe

    @property
    def uid(self) -> int:
        """The process's real uid."""
        return self.process.uid

    @property
    def ppid(self) -> int:
        """The parent's pid; 1 after the parent died (or the nearest subreaper's)."""
        return self.process.ppid

    @property
    def start_ns(self) -> int:
        """Nanoseconds since boot."""
        return self.process.start_ns

    @property
    def cgroup(self) -> str:
        """The cgroup path that names the unit or container, else the cgroup v2 path."""
        return self.process.cgroup

    @property
    def unit(self) -> str:
        """The systemd unit, or engine and id of the container."""
        return self.process.unit_or_container


class Ghost:
    """Why a socket is in no descriptor table, and who keeps it alive where that is known."""

    def __init__(self, kind: str, text: str, pid: int, fd: int, proven: bool) -> None:
        self.kind = kind
        self.text = text
        self.pid = pid
        """The process that keeps it alive, -1 if none is known."""
        self.fd = fd
        """The descriptor through which: the receiving UNIX socket, or the ring; else -1."""
        self.proven = proven
        """True if this very socket was seen there, False if it is what remains after everything else was excluded."""


class Unlisted:
    """A socket that is in no table of its namespace, as a copy of its descriptor tells."""

    def __init__(self, inode: int, family: int, type_: int, protocol: int) -> None:
        self.inode = inode
        self.family = family
        self.type = type_
        self.protocol = protocol
        self.local_port = 0
        """0: never bound; else it had a connection, or listened, and has lost it."""
        self.is_closed = True
        """TCP only: it was asked and is in TCP_CLOSE, so no connection has begun since the tables were read."""
        self.netns_cookie = 0
        self.pid = -1
        self.fd = -1


class ProcessSource(Protocol):
    """Where an OwnerTable learns about processes: the host's /proc or the twin's task list."""

    def process(self, pid: int) -> Process:
        """Describe a process (remembered)."""

    def comm(self, pid: int) -> str:
        """Name a process's command: the cheap question."""

    def thread_group(self, tid: int) -> int:
        """Name the process of a thread."""

    def close_on_exec(self, tid: int, fd: int) -> int:
        """Tell whether a descriptor is closed by execve(2): 1, 0, -1 unknown."""

    def parents(self, pid: int) -> list[Process]:
        """List the chain of parents, nearest first, up to pid 1."""

    def ghosts(self, inodes: list[int], hidden: int) -> dict[int, Ghost]:
        """Explain sockets that are in no descriptor table; `hidden` processes could not be looked into."""

    def unlisted(self, holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
        """Describe sockets that no table lists, given (tid, fd, inode); those that may not be looked at are left out."""


class OwnerTable:
    """Socket inode -> its holders."""

    def __init__(self, source: ProcessSource, method: str) -> None:
        self.source = source
        self.method = method
        """How it was found out: "bpf", "proc", or "twin"."""
        self.first: dict[int, int] = {}
        """Inode -> packed holder with the lowest pid."""
        self.more: dict[int, list[int]] = {}
        """Inode -> all packed holders, only for sockets with several."""
        self.hidden = 0
        """Processes whose descriptor table could not be read."""
        self.complete = True
        """False if the search stopped at the first holder of each socket."""
        self._fact_columns: tuple[list[int], list[int]] = ([], [])
        self._facts: dict[int, int] = {}
        self._ghosts: dict[int, Ghost] = {}

    def add(self, inode: int, packed: int) -> None:
        """Note one holder."""
        known = self.first.get(inode)
        if known is None:
            self.first[inode] = packed
            return
        several = self.more.get(inode)
        if several is None:
            self.more[inode] = [known, packed]
        else:
            several.append(packed)

    def add_all(self, inodes: Iterable[int], packed: Iterable[int], count: int) -> None:
        """Note many holders at once, given as two columns of `count` rows; the table must be empty."""
        rows = list(inodes)
        holders = list(packed)
        rows.reverse()
        holders.reverse()
        self.first = dict(zip(rows, holders, strict=True))
        if len(self.first) == count:
            return
        rows.reverse()
        holders.reverse()
        first = self.first
        for inode, holder in zip(rows, holders, strict=True):
            known = first[inode]
            if known != holder:
                several = self.more.get(inode)
                if several is None:
                    self.more[inode] = [known, holder]
                else:
                    several.append(holder)

    def set_facts(self, inodes: list[int], facts: list[int]) -> None:
        """Note what the method saw of the sockets themselves: `netns | reuse bits << 32` for each inode."""
        self._fact_columns = (inodes, facts)
        self._facts = {}

    def _fact(self, inode: int) -> int:
        if not self._facts:
            self._facts = dict(zip(*self._fact_columns, strict=True))
        return self._facts.get(inode, 0)

    def netns_of(self, inode: int) -> int:
        """Tell the inode of the socket's network namespace, 0 if the method does not see it."""
        return self._fact(inode) & 0xFFFFFFFF

    def namespaces(self) -> set[int]:
        """List the network namespaces of all sockets found, those without a process too; empty if not seen."""
        return {fact & 0xFFFFFFFF for fact in self._fact_columns[1]}

    def reuse_of(self, inode: int) -> int:
        """Tell REUSEADDR=1 | REUSEPORT=2 | IPV6_V6ONLY=4 of a socket, -1 if the method does not see it."""
        fact = self._fact(inode)
        return fact >> 32 & 7 if fact else -1

    def pid_fds(self, inode: int) -> list[tuple[int, int]]:
        """List (pid, fd) of every holder: the fast answer for long tables."""
        several = self.more.get(inode)
        if several is None:
            one = self.first.get(inode)
            if one is None:
                return []
            several = [one]
        found: list[tuple[int, int]] = []
        for packed in several:
            tid = (packed & ~THREAD_BIT) >> PACKED_FD_BITS
            pid = self.source.thread_group(tid) if packed & THREAD_BIT else tid
            found.append((pid, packed & PACKED_FD_MASK))
        return sorted(found) if len(found) > 1 else found

    def packed_of(self, inodes: Iterable[int]) -> list[int]:
        """Give the first holder of each of many sockets as `pid << 32 | fd`, 0 where there is none: the column to join."""
        return [self.first.get(inode, 0) for inode in inodes]

    def owners_of(self, inode: int) -> list[Owner]:
        """List the holders of a socket with all that is known about them, lowest pid first."""
        several = self.more.get(inode)
        if several is None:
            one = self.first.get(inode)
            several = [] if one is None else [one]
        owners: list[Owner] = []
        for packed in several:
            tid = (packed & ~THREAD_BIT) >> PACKED_FD_BITS
            fd = packed & PACKED_FD_MASK
            pid = self.source.thread_group(tid) if packed & THREAD_BIT else tid
            owners.append(Owner(self.source.process(pid), fd, tid, self.source.close_on_exec(tid, fd)))
        owners.sort(key=_by_pid_fd)
        return owners

    def quality(self, inode: int) -> str:
        """Say how well the holders are known: "exact", "shared by N", a ghost's kind, or what is missing to see it."""
        holders = self.pid_fds(inode)
        if not holders:
            ghost = self.ghost(inode)
            return "exact" if ghost is None else ghost.text if ghost.kind == HIDDEN else ghost.kind
        pids = {pid for pid, _fd in holders}
        return "exact" if len(pids) == 1 else "shared by " + str(len(pids))

    def ghost(self, inode: int) -> Ghost | None:
        """Explain a socket without holder; None if it has one."""
        if inode in self.first:
            return None
        if inode not in self._ghosts:
            self.explain_ghosts([inode])
        return self._ghosts[inode]

    def explain_ghosts(self, inodes: Iterable[int]) -> None:
        """Explain several sockets without holder in one search."""
        wanted = [inode for inode in inodes if inode not in self.first and inode not in self._ghosts]
        if 0 in wanted:
            wanted = [inode for inode in wanted if inode]
            self._ghosts[0] = Ghost(ORPHAN, "closed by its program, the kernel finishes the connection", -1, -1, True)
        if wanted:
            self._ghosts.update(self.source.ghosts(wanted, self.hidden))

    def unlisted(self, inodes: Iterable[int]) -> dict[int, Unlisted]:
        """Describe sockets that no table lists; those that may not be looked at, or are closed meanwhile, are left out."""
        holders: list[tuple[int, int, int]] = []
        for inode in inodes:
            packed = self.first.get(inode, 0)
            if packed:
                holders.append(((packed & ~THREAD_BIT) >> PACKED_FD_BITS, packed & PACKED_FD_MASK, inode))
        return self.source.unlisted(holders) if holders else {}

    def parents(self, pid: int) -> list[Process]:
        """List the chain of parents of a process, nearest first."""
        return self.source.parents(pid)


def _by_pid_fd(owner: Owner) -> tuple[int, int]:
    return owner.pid, owner.fd
