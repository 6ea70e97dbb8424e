"""TwinPort: a simulated host behind the questions of inspect's `KernelPort`, so that every tool for the live kernel runs on it.

Netlink requests go through a netlink socket of the twin's own, made for a task; files are read as that task reads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from twinsock.inspect.owners import GONE, IN_FLIGHT, NO_FD, PACKED_FD_BITS, Ghost, OwnerTable, Process, Unlisted
from twinsock.kernel.fs.namei import rootfs, sys_lstat, sys_stat
from twinsock.kernel.fs.proc.base import find_task
from twinsock.kernel.fs.proc.namespaces import user_ns_inum
from twinsock.kernel.fs.proc.root import proc_read
from twinsock.kernel.net.core.net import Msghdr, Socket
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.ipv4.tcp_diag import bound_tcp_sockets, hashed_tcp_sockets
from twinsock.kernel.net.netlink.af_netlink import nl_sk
from twinsock.kernel.net.socket import SocketFile, sock_create_kern, sock_recvmsg, sock_release, sock_sendmsg
from twinsock.kernel.net.unix.diag import unix_sockets
from twinsock.uapi.errno import EAGAIN, ENOENT, ESRCH
from twinsock.uapi.netlink import (
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_HDRLEN,
)
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_NETLINK, MSG_DONTWAIT, SOCK_RAW
from twinsock.wire.netlink import DumpInterrupted, error_of, spans

if TYPE_CHECKING:
    from twinsock.kernel.fs.file import File, Kstat
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.sock import SockCommon
    from twinsock.kernel.sched.task import Task

_BUFFER = 32768
_PARENTS_MAX = 64


def _os_error(error: int) -> OSError:
    return OSError(-error, os.strerror(-error))


class TwinNamespace:
    """One network namespace of the twin."""

    def __init__(self, net: Net, own: bool) -> None:
        self.inode = net.inum
        self.cookie = net.net_cookie
        self.names: list[str] = []
        self.pids: list[int] = []
        self.pid_count = 0
        self.holders: list[str] = []
        self.accessible = True
        self.reason = ""
        self.own = own

    def label(self) -> str:
        """Name it in a sentence."""
        return f"net:[{self.inode}]"


class TwinProcesses:
    """What an OwnerTable asks about processes, from the twin's task list."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def _task(self, tid: int) -> Task | None:
        for task in self._kernel.tasks:
            if task.pid == tid:
                return task
        return None

    def process(self, pid: int) -> Process:
        """Describe a process."""
        found = Process(pid)
        task = self._task(pid)
        if task is not None:
            found.comm = found.exe = task.comm
            found.cmdline = [task.comm]
            found.ppid = task.ppid
            found.start_ns = task.start_ns
            found.uid = task.cred.uid
            found.cgroup = "/"
        return found

    def comm(self, pid: int) -> str:
        """Name a process's command."""
        task = self._task(pid)
        return "" if task is None else task.comm

    def thread_group(self, tid: int) -> int:
        """Name the process of a thread."""
        task = self._task(tid)
        return tid if task is None else task.tgid

    def close_on_exec(self, tid: int, fd: int) -> int:
        """Tell whether a descriptor is closed by execve(2): 1, 0, -1 unknown."""
        task = self._task(tid)
        if task is None or task.files is None or task.files.lookup(fd) is None:
            return -1
        return int(task.files.close_on_exec[fd])

    def parents(self, pid: int) -> list[Process]:
        """List the chain of parents, nearest first."""
        chain: list[Process] = []
        task = self._task(pid)
        while task is not None and task.ppid and len(chain) < _PARENTS_MAX:
            chain.append(self.process(task.ppid))
            task = self._task(task.ppid)
        return chain

    def ghosts(self, inodes: list[int], hidden: int) -> dict[int, Ghost]:
        """Explain sockets that are in no descriptor table."""
        flying: dict[int, int] = {}
        for net in self._kernel.nets:
            for sk in unix_sockets(net):
                for skb in sk.receive_queue:
                    for file in [] if skb.fp is None else skb.fp.files:
                        flying.setdefault(file.ino(), sk.sock_i_ino())
        alive = {_inode(sk) for net in self._kernel.nets for sk in _all_sockets(net)}
        found: dict[int, Ghost] = {}
        for inode in inodes:
            if inode in flying:
                found[inode] = Ghost(IN_FLIGHT, f"in flight to UNIX socket {flying[inode]}", *self._holder_of(flying[inode]), True)
            elif inode in alive:
                found[inode] = Ghost(NO_FD, "alive, in no descriptor table", -1, -1, True)
            else:
                found[inode] = Ghost(GONE, "closed since the sockets were listed", -1, -1, True)
        return found

    def unlisted(self, holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
        """Describe sockets that no table lists, given (tid, fd, inode)."""
        found: dict[int, Unlisted] = {}
        for tid, fd, inode in holders:
            task = self._task(tid)
            file = None if task is None or task.files is None else task.files.lookup(fd)
            sk = file.sock.sk if isinstance(file, SocketFile) and file.ino() == inode else None
            if sk is not None:
                found[inode] = Unlisted(inode, sk.sk_family, sk.sk_type, sk.sk_protocol)
                found[inode].netns_cookie = sk.sk_net.net_cookie
                found[inode].pid, found[inode].fd = tid, fd
                if sk.sk_family in (AF_INET, AF_INET6):
                    found[inode].local_port = sk.sk_num
        return found

    def _holder_of(self, inode: int) -> tuple[int, int]:
        """Name a process and descriptor that hold a socket, (-1, -1) if none does."""
        for tid, fd, file in open_files(self._kernel):
            if isinstance(file, SocketFile) and file.ino() == inode:
                return self.thread_group(tid), fd
        return -1, -1


def open_files(kernel: Kernel) -> list[tuple[int, int, File]]:
    """List (task, descriptor, file) of every descriptor table once."""
    found = []
    seen: list[object] = []
    for task in kernel.tasks:
        files = task.files
        if files is None or any(files is other for other in seen):
            continue
        seen.append(files)
        for fd in range(len(files.fd)):
            file = files.fd[fd]
            if file is not None:
                found.append((task.tgid, fd, file))
    return found


def _inode(sk: SockCommon) -> int:
    return sk.sock_i_ino() if hasattr(sk, "sock_i_ino") else 0


def _all_sockets(net: Net) -> list[SockCommon]:
    found: list[SockCommon] = [*hashed_tcp_sockets(net, True), *hashed_tcp_sockets(net, False), *bound_tcp_sockets(net)]
    if net.udp_table is not None:
        for head in net.udp_table.hash:
            sk = head.first
            while sk is not None:
                found.append(sk)
                sk = sk.sk_next
    return [*found, *unix_sockets(net)]


class TwinPort:
    """One simulated host, asked by one of its tasks."""

    def __init__(self, kernel: Kernel, task: Task) -> None:
        self.kernel = kernel
        self.task = task

    def netlink(self, protocol: int, request: bytes, netns: int = 0) -> Iterator[memoryview]:
        """Send one netlink request and give the datagrams that answer it.

        Raises OSError (ESRCH if the namespace is gone) and DumpInterrupted."""
        err, sock = sock_create_kern(self.task, self._net(netns), AF_NETLINK, SOCK_RAW, protocol)
        if sock is None:
            raise _os_error(err)
        asker = nl_sk(sock)
        asker.portid, asker.bound = self.task.tgid, True  # in no table: looking changes nothing that is looked at
        try:
            if protocol == NETLINK_ROUTE:
                sock.ops.setsockopt(self.task, sock, 270, 12, (1).to_bytes(4, "little"), 4)  # NETLINK_GET_STRICT_CHK
            yield from self._ask(sock, protocol, request)
        finally:
            sock_release(self.task, sock)

    def _ask(self, sock: Socket, protocol: int, request: bytes) -> Iterator[memoryview]:
        msg = Msghdr()
        msg.data = request
        err = sock_sendmsg(self.task, sock, msg)
        if err < 0:
            raise _os_error(err)
        flags = int.from_bytes(request[6:8], "little")
        dump = flags & NLM_F_DUMP == NLM_F_DUMP
        interrupted = False
        while True:
            data = self._receive(sock)
            if data is None:
                return
            done = False
            multi = False
            for type_, message_flags, start, _end in spans(data):
                interrupted |= bool(message_flags & NLM_F_DUMP_INTR)
                multi |= bool(message_flags & NLM_F_MULTI)
                if type_ in (NLMSG_DONE, NLMSG_ERROR):
                    error = error_of(data, start)
                    if error:
                        raise _os_error(error)
                    if type_ == NLMSG_ERROR:
                        return
                    done = True
            if len(data) >= NLMSG_HDRLEN:
                yield memoryview(data)
            if done and interrupted:
                raise DumpInterrupted
            if done or (not dump and not multi and not flags & NLM_F_ACK):
                return

    def _receive(self, sock: Socket) -> bytes | None:
        """Take the next datagram, None when nothing comes any more."""
        msg = Msghdr()
        msg.size = _BUFFER
        err = sock_recvmsg(self.task, sock, msg, MSG_DONTWAIT)
        if err == -EAGAIN:
            return None
        if err < 0:
            raise _os_error(err)
        return b"".join(msg.chunks)

    def read(self, path: str, netns: int = 0) -> bytes:
        """Read a file of /proc or /sys as a task in that namespace sees it. Raises OSError."""
        own = self.task.net
        self.task.net = self._net(netns)
        err, text = proc_read(self.task, path)
        self.task.net = own
        if err < 0:
            raise OSError(-err, os.strerror(-err), path)
        return text

    def namespaces(self, deep: bool = False) -> Sequence[TwinNamespace]:
        """List the namespaces of tasks; with `deep` also those that only a socket holds."""
        found: list[TwinNamespace] = []
        for net in self.kernel.nets:
            namespace = TwinNamespace(net, net is self.task.net)
            pids = sorted({task.tgid for task in self.kernel.tasks if task.net is net})
            namespace.pids = pids[:5]
            namespace.pid_count = len(pids)
            for tid, fd, file in open_files(self.kernel):
                if isinstance(file, SocketFile) and file.sock.sk is not None and file.sock.sk.sk_net is net and tid not in pids:
                    namespace.holders.append(f"socket fd {fd} of pid {tid}")
            if pids or deep or net.is_init_net():
                found.append(namespace)
        return found

    def netns_of(self, pid: int) -> int:
        """Tell a process's network namespace. Raises OSError if there is no such process."""
        for task in self.kernel.tasks:
            if task.pid == pid:
                return task.net.inum
        raise _os_error(-ESRCH)

    def owners(self, inodes: Collection[int] | None = None) -> OwnerTable:
        """Tell who holds the sockets with these inodes (None: all sockets)."""
        table = OwnerTable(TwinProcesses(self.kernel), "twin")
        facts: dict[int, int] = {}
        for tid, fd, file in open_files(self.kernel):
            if not isinstance(file, SocketFile) or (inodes is not None and file.ino() not in inodes):
                continue
            table.add(file.ino(), tid << PACKED_FD_BITS | fd)
            sk = file.sock.sk
            if sk is not None:
                facts[file.ino()] = sk.sk_net.inum | _reuse(sk, True) << 32
        table.set_facts(list(facts), list(facts.values()))
        return table

    def reuse_flags(self, netns: int, sockets: Sequence[Any], v6only: bool = False) -> list[int]:
        """Give each socket's reuse flags: REUSEADDR 1, REUSEPORT 2, with `v6only` also IPV6_V6ONLY 4; -1 where they cannot be seen."""
        by_cookie = {sk.sk_cookie: sk for sk in _all_sockets(self._net(netns)) if sk.sk_cookie}
        flags = []
        for record in sockets:
            sk = by_cookie.get(record.cookie)
            flags.append(-1 if sk is None else _reuse(sk, v6only))
        return flags

    def now_ns(self) -> int:
        """Give the wall clock in nanoseconds."""
        clock = self.kernel.clock
        return clock.now_ns + clock.realtime_offset_ns

    def sleep(self, seconds: float) -> None:
        """Let the twin's time pass; its other tasks run meanwhile."""
        task = self.task
        deadline = self.kernel.clock.now_ns + int(seconds * 1e9)
        while self.kernel.clock.now_ns < deadline and not task.signal_pending():
            task.prepare_to_sleep()
            task.schedule_timeout(deadline - self.kernel.clock.now_ns)

    def close(self) -> None:
        """Close what the questions have opened: nothing stays open."""

    def _net(self, netns: int) -> Net:
        """Find a namespace by its inode. Raises OSError."""
        if not netns:
            return self.task.net
        for net in self.kernel.nets:
            if net.inum == netns:
                return net
        raise OSError(ESRCH, f"no network namespace {netns} can be found")


class TwinFileStat:
    """The fields of `struct stat` that tools use."""

    def __init__(self, stat: Kstat) -> None:
        self.inode = stat.ino
        self.device = stat.dev
        self.mode = stat.mode
        self.size = stat.size
        self.uid = stat.uid
        self.gid = stat.gid


class TwinFiles:
    """The twin's file system as tools ask for it."""

    def __init__(self, port: TwinPort) -> None:
        self.port = port

    def stat(self, path: str | bytes, follow: bool = True) -> TwinFileStat:
        """Look at a path. Raises OSError."""
        name = path if isinstance(path, bytes) else os.fsencode(path)
        err, inode = sys_stat(self.port.task, name) if follow else sys_lstat(self.port.task, name)
        if inode is None:
            raise _os_error(err)
        return TwinFileStat(inode.getattr())

    def is_read_only(self, path: str | bytes) -> bool:
        """Tell whether the file system of a path is mounted read-only."""
        return rootfs(self.port.kernel).read_only

    def owner_of_namespace(self, path: str) -> int:
        """Give the inode of the user namespace that owns the namespace at a path of /proc/PID/ns. Raises OSError."""
        task = find_task(self.port.task, path.split("/")[2])
        if task is None:
            raise _os_error(-ENOENT)
        return user_ns_inum(task.kernel, task.net.user_ns)

    def cgroup_programs(self, cgroup: str) -> list[str]:
        """Name the BPF hooks of a cgroup: the twin's are Python, and are asked when a call is made."""
        return []

    def held_networks(self, protocols: Collection[str]) -> tuple[set[int], set[int]]:
        """Find what may keep a namespace that is not listed: the twin lists all of them."""
        return set(), set()

    def only_one_network(self) -> bool:
        """Tell whether there is but one network namespace."""
        return len(self.port.kernel.nets) == 1


def _reuse(sk: SockCommon, v6only: bool) -> int:
    flags = (1 if sk.sk_reuse else 0) | (2 if sk.sk_reuseport else 0)
    return flags | (4 if v6only and sk.sk_ipv6only else 0)
