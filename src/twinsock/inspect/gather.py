"""Gather the facts for one Question through a KernelPort.

Only what the question needs is asked: the sockets of one port (compared in the kernel), a handful of sysctls, the type
of one address. Connected sockets that are alike to bind(2) (same local address, state class, interface, user) are kept
as a few samples and a count, so that a server with 100,000 connections costs one pass over them.
"""

from __future__ import annotations

from twinsock.inspect.ask import ATTEMPTS, ask_all, interrupted, no_handler
from twinsock.inspect.facts import FLAGS_UNKNOWN, INIT_USER_NS, Elsewhere, Snapshot, TaskRecord
from twinsock.inspect.port import DumpInterrupted, NotAvailable
from twinsock.inspect.records import parse_record
from twinsock.inspect.sockets import inet_sockets, protocol_name
from twinsock.inspect.sysctl import bind_sysctls
from twinsock.uapi.errno import ENOENT, EPERM, ESRCH
from twinsock.uapi.in_ import IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.inet_diag import INET_DIAG_BC_S_EQ, INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NETLINK_ROUTE, NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN
from twinsock.wire.inet_diag import ALL_STATES, MSG_SIZE, InetDiagReq, bc_and, bc_autobound, bc_or, bc_port
from twinsock.wire.netlink import nlmsg, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol

    from twinsock.inspect.facts import Question
    from twinsock.inspect.port import KernelPort, Namespace
    from twinsock.inspect.records import SocketRecord

    class FileStat(Protocol):
        """The fields of `struct stat` that are used."""

        inode: int
        device: int
        mode: int
        size: int
        uid: int
        gid: int

    class Files(Protocol):
        """The file system, live or simulated."""

        def stat(self, path: str | bytes, follow: bool = True) -> FileStat:
            """Look at a path. Raises OSError."""
            ...

        def is_read_only(self, path: str | bytes) -> bool:
            """Tell whether the file system of a path is mounted read-only. Raises OSError."""
            ...

        def owner_of_namespace(self, path: str) -> int:
            """Give the inode of the user namespace that owns the namespace at a path of /proc/PID/ns. Raises OSError."""
            ...

        def cgroup_programs(self, cgroup: str) -> list[str]:
            """Name the BPF hooks of a cgroup that have a say in bind(2) and connect(2). Raises OSError."""
            ...

        def held_networks(self, protocols: Collection[str]) -> tuple[set[int], set[int]]:
            """Find what may keep a network namespace in which no process is: inodes of sockets of these protocols, and of namespaces."""
            ...

        def only_one_network(self) -> bool:
            """Tell whether there is but one network namespace, as far as a cheap look tells."""
            ...


SAMPLES_MAX = 32
_PROTOCOL_NAMES = {IPPROTO_TCP: ("TCP", "TCPv6", "MPTCP", "MPTCPv6"), IPPROTO_UDP: ("UDP", "UDPv6")}
"""As /proc/net/protocols has them."""
_TIMER_TIME_WAIT = 3
_NO_INODE = bytes(4)
_CONNECTED = ALL_STATES & ~(1 << TCP_LISTEN | 1 << TCP_CLOSE | 1 << 13)
_SOCKET_TYPES = (SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK)
NEARBY_PORTS = 24
CANDIDATES = 6


def take_snapshot(port: KernelPort, files: Files, question: Question) -> Snapshot:
    """Gather the facts for a question about an internet address. Raises OSError and NotAvailable."""
    snapshot = Snapshot(question, read_task(port, files, question.pid))
    snapshot.hidden += snapshot.task.hidden
    snapshot.now_ns = port.now_ns()
    snapshot.sysctls = bind_sysctls(port, snapshot.netns)
    if question.device or question.zone or not question.is_wildcard():
        read_addresses(port, snapshot)
        find_devices(snapshot)
    if not question.port:
        low, high = snapshot.sysctls.port_range
        here = bc_and(bc_port(INET_DIAG_BC_S_GE, low), bc_port(INET_DIAG_BC_S_LE, high))
        add_sockets(port, snapshot, here)
    else:
        add_sockets(port, snapshot, _port_and_perhaps_the_next(port, snapshot))
    return snapshot


def _port_and_perhaps_the_next(port: KernelPort, snapshot: Snapshot) -> bytes:
    """Give the filter for the sockets of the port. Raises OSError.

    A walk over TCP's table of connections takes milliseconds on an empty machine too, and the listeners are elsewhere: if
    one has the port, who has the ports above is asked in the same walk."""
    question = snapshot.question
    here = bc_port(INET_DIAG_BC_S_EQ, question.port)
    if question.protocol == IPPROTO_UDP:
        return here
    upward = bc_and(bc_port(INET_DIAG_BC_S_GE, question.port), bc_port(INET_DIAG_BC_S_LE, _last_near(question)))
    found = inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, 1 << TCP_LISTEN, snapshot.netns, bytecode=upward)
    busy = {record.local_port for record in found}
    more = _candidates(snapshot, busy) if question.port in busy else b""
    return bc_or(here, more) if more else here


def complete(port: KernelPort, snapshot: Snapshot) -> None:
    """Add what only matters once there are sockets of this port: their reuse flags and owners, and other addresses."""
    if not snapshot.sockets or not snapshot.question.port:
        return
    snapshot.owners = port.owners({record.inode for record in snapshot.sockets if record.inode})
    snapshot.flags = port.reuse_flags(snapshot.netns, snapshot.sockets, v6only=True)
    snapshot.uptime_ns = uptime_ns(port)
    find_free_ports(port, snapshot)
    if snapshot.links is None and _need_addresses(snapshot):
        read_addresses(port, snapshot)
    if snapshot.question.protocol != IPPROTO_UDP:
        if any(record.state == TCP_LISTEN for record in snapshot.sockets):
            find_mptcp(port, snapshot)
        elif any(record.remote_port for record in snapshot.sockets):
            find_automatic(port, snapshot)


def _need_addresses(snapshot: Snapshot) -> bool:
    """Tell whether interfaces or other addresses matter: not where a socket has every address already."""
    return any(record.ifindex for record in snapshot.sockets) or all(any(record.local) for record in snapshot.sockets)


def find_automatic(port: KernelPort, snapshot: Snapshot) -> None:
    """Find out which of the sockets have a port that the kernel chose."""
    number = snapshot.question.port
    snapshot.automatic = set()
    wanted = bc_and(bc_port(INET_DIAG_BC_S_EQ, number), bc_autobound())
    for family in (AF_INET, AF_INET6):
        try:
            found = inet_sockets(port, family, IPPROTO_TCP, _CONNECTED, snapshot.netns, bytecode=wanted)
        except OSError:
            continue
        snapshot.automatic.update([record.cookie for record in found])


def look_elsewhere(port: KernelPort, files: Files, snapshot: Snapshot) -> None:
    """Find servers with the same port in the other network namespaces that can be entered."""
    question = snapshot.question
    namespaces = _other_namespaces(port, files, snapshot)
    states = ALL_STATES if question.protocol == IPPROTO_UDP else 1 << TCP_LISTEN
    hidden = 0
    inodes: set[int] = set()
    for namespace in namespaces:
        if namespace.inode == snapshot.netns or (namespace.own and not snapshot.netns):
            continue
        if not namespace.accessible:
            hidden += 1
            continue
        for family in (AF_INET, AF_INET6):
            try:
                found = sockets_of_port(port, family, _table(question), states, namespace.inode, question.port)
            except OSError:
                continue  # it vanished meanwhile, or has no such family
            for record in found:
                inodes.add(record.inode)
                snapshot.elsewhere.append(Elsewhere(namespace.label(), record, namespace.pids))
    inodes.discard(0)
    if inodes:
        snapshot.elsewhere_owners = port.owners(inodes)
    if hidden:
        count = "1 other network namespace is" if hidden == 1 else f"{hidden} other network namespaces are"
        snapshot.hidden.append(f"{count} hidden (needs CAP_SYS_ADMIN); sockets there are no conflict")


def _other_namespaces(port: KernelPort, files: Files, snapshot: Snapshot) -> Sequence[Namespace]:
    """List the namespaces; those in which no process is, only if there are signs of any: the search for them takes longer."""
    protocol = _table(snapshot.question)
    sockets, spaces = files.held_networks(_PROTOCOL_NAMES[protocol])
    sockets -= {record.inode for record in snapshot.sockets}
    namespaces: Sequence[Namespace] = () if files.only_one_network() else port.namespaces()
    if not sockets and not spaces:
        return namespaces
    if spaces.issubset({namespace.inode for namespace in namespaces} or {files.stat("/proc/self/ns/net").inode}):
        for netns in {0, *[namespace.inode for namespace in namespaces if namespace.accessible]}:
            try:
                sockets -= {record.inode for record in inet_sockets(port, AF_UNSPEC, protocol, netns=netns)}
            except OSError:
                continue
        if not sockets:
            return namespaces
    return port.namespaces(True)


def find_mptcp(port: KernelPort, snapshot: Snapshot) -> None:
    """Find out which of the sockets are subflows or listeners of MPTCP: they share the inode."""
    if not _uses_mptcp(port, snapshot.netns):
        return
    for family in (AF_INET, AF_INET6):
        try:
            found = inet_sockets(port, family, IPPROTO_MPTCP, netns=snapshot.netns, local_port=snapshot.question.port)
        except OSError:
            return
        snapshot.mptcp += [record.inode for record in found if record.inode]


def _uses_mptcp(port: KernelPort, netns: int) -> bool:
    """Tell whether a namespace has MPTCP sockets by the count in /proc/net/protocols, cheaper than looking for them."""
    try:
        text = port.read("/proc/net/protocols", netns)
    except OSError:
        return True
    rows = [line.split() for line in text.split(b"\n") if line.startswith(b"MPTCP")]
    return any(len(row) < 3 or row[2] != b"0" for row in rows)


def sockets_of_port(port: KernelPort, family: int, protocol: int, states: int, netns: int, number: int) -> list[SocketRecord]:
    """List the sockets with a local port. Raises OSError.

    Measured: 6.18 does not compare the port of bound-only sockets with the request's, but with the bytecode's."""
    return inet_sockets(port, family, protocol, states, netns, bytecode=bc_port(INET_DIAG_BC_S_EQ, number))


def _table(question: Question) -> int:
    """Give the protocol whose table the port is in: MPTCP listens through TCP sockets."""
    return IPPROTO_TCP if question.protocol == IPPROTO_MPTCP else question.protocol


def find_devices(snapshot: Snapshot) -> None:
    """Find the indices of the interfaces that the question names."""
    question = snapshot.question
    if question.device:
        snapshot.device_index = _index_of(snapshot, question.device)
    if question.zone:
        snapshot.zone_index = int(question.zone) if question.zone.isdecimal() else _index_of(snapshot, question.zone)


def _index_of(snapshot: Snapshot, name: str) -> int:
    """Find an interface by name, 0 if there is none, which is noted."""
    link = snapshot.links.by_name.get(name) if snapshot.links is not None else None
    if link is None:
        snapshot.missing_device = name
        return 0
    return link.index


def read_addresses(port: KernelPort, snapshot: Snapshot) -> None:
    """Read interfaces, addresses, and the IPv4 routes that make an address local."""
    from twinsock.inspect.links import get_addresses, get_links

    try:
        snapshot.links = get_links(port, snapshot.netns)
        snapshot.addresses = get_addresses(port, 0, snapshot.netns)
        question = snapshot.question
        if not question.is_wildcard() and (question.family == AF_INET or question.is_mapped()):
            _read_local_routes(port, snapshot)
    except OSError as error:
        snapshot.hidden.append(f"the interfaces and addresses cannot be read: {error.strerror}")


def _read_local_routes(port: KernelPort, snapshot: Snapshot) -> None:
    """Read the local table, which does not exist before the first address of the namespace was set. Raises OSError."""
    from twinsock.inspect.links import parse_route
    from twinsock.uapi.rtnetlink import RT_TABLE_LOCAL, RTM_GETROUTE
    from twinsock.wire.rtnetlink import RtMsg

    request = RtMsg(AF_INET, RT_TABLE_LOCAL, 0).emit()
    try:
        found = ask_all(port, NETLINK_ROUTE, RTM_GETROUTE, request, parse_route, snapshot.netns)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        snapshot.has_local_table = False
        return
    snapshot.routes = [route for route in found if route.table == RT_TABLE_LOCAL]


def add_sockets(port: KernelPort, snapshot: Snapshot, bytecode: bytes, keep_all: bool = False) -> None:
    """Add the sockets that the bytecode accepts; `keep_all`: those that are alike too. Raises OSError.

    Both families of TCP come from one walk over the kernel's tables, with the request of Linux 2.6."""
    protocol = _table(snapshot.question)
    for family in (AF_UNSPEC,) if protocol == IPPROTO_TCP else (AF_INET, AF_INET6):
        request = InetDiagReq(family, protocol, ALL_STATES)
        request.bytecode = bytecode
        if family == AF_UNSPEC:
            message = nlmsg(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, request.emit_compat())
        else:
            message = nlmsg(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, request.emit())
        samples = _dump(port, snapshot, message, protocol, family, (1 << 32) if keep_all else SAMPLES_MAX)
        wanted = snapshot.question.port
        for record, count in zip(samples.records, samples.counts, strict=True):
            if wanted and record.local_port != wanted and not keep_all:
                snapshot.nearby.append(record)
            else:
                snapshot.sockets.append(record)
                snapshot.counts.append(count)
                snapshot.flags.append(FLAGS_UNKNOWN)


def find_free_ports(port: KernelPort, snapshot: Snapshot) -> None:
    """Look at the ports just above: the first without listener (a cheap question), and who else has those."""
    question = snapshot.question
    if snapshot.nearby_ports or question.port == 65535:
        return
    here = bc_and(bc_port(INET_DIAG_BC_S_GE, question.port + 1), bc_port(INET_DIAG_BC_S_LE, _last_near(question)))
    states = ALL_STATES if question.protocol == IPPROTO_UDP else 1 << TCP_LISTEN
    try:
        found = inet_sockets(port, AF_UNSPEC, _table(question), states, snapshot.netns, bytecode=here)
        wanted = _candidates(snapshot, {record.local_port for record in found})
        if wanted:
            add_sockets(port, snapshot, wanted)
    except OSError:
        snapshot.nearby_ports = []


def _last_near(question: Question) -> int:
    return min(question.port + NEARBY_PORTS, 65535)


def _candidates(snapshot: Snapshot, busy: set[int]) -> bytes:
    """Choose some of the ports just above that are not busy; gives the filter for them, empty if there is none."""
    question = snapshot.question
    near = range(question.port + 1, _last_near(question) + 1)
    snapshot.nearby_ports = [number for number in near if number not in busy][:CANDIDATES]
    wanted = b""
    for number in snapshot.nearby_ports:
        one = bc_port(INET_DIAG_BC_S_EQ, number)
        wanted = bc_or(wanted, one) if wanted else one
    return wanted


def _dump(port: KernelPort, snapshot: Snapshot, message: bytes, protocol: int, family: int, keep: int) -> _Samples:
    """Dump once, again if the tables changed meanwhile. Raises OSError."""
    for _attempt in range(ATTEMPTS):
        samples = _Samples(protocol, snapshot.netns, keep)
        try:
            for view in port.netlink(NETLINK_SOCK_DIAG, message, snapshot.netns):
                samples.take(view)
            return samples
        except DumpInterrupted:
            continue
        except OSError as error:
            found = no_handler(error, protocol_name(protocol))
            if family == AF_INET6 and isinstance(found, NotAvailable):
                return samples
            raise found from None
    raise interrupted()


class _Samples:
    """The sockets of one dump, with those that are alike counted instead of kept."""

    def __init__(self, protocol: int, netns: int, keep: int) -> None:
        self.keep = keep
        self.protocol = protocol
        self.netns = netns
        self.records: list[SocketRecord] = []
        self.counts: list[int] = []
        self._seen: dict[tuple[object, ...], int] = {}
        self._last: dict[tuple[object, ...], int] = {}

    def take(self, view: memoryview) -> None:
        """Look at one datagram's messages."""
        seen = self._seen
        data = bytes(view)
        for type_, _flags, start, end in spans(data):
            if type_ not in _SOCKET_TYPES or end - start < MSG_SIZE:
                continue
            state = data[start + 1]
            if state in (TCP_LISTEN, TCP_CLOSE):
                self._keep(data, start, end)
                continue
            waits = data[start + 2] == _TIMER_TIME_WAIT
            # family, local port, local address, interface, user, state class, whether a program holds it
            alike = (
                *(data[start], data[start + 4 : start + 6], data[start + 8 : start + 24], data[start + 40 : start + 44]),
                *(data[start + 64 : start + 68], waits, data[start + 68 : start + 72] == _NO_INODE),
            )
            number = seen.get(alike, 0)
            seen[alike] = number + 1
            if number < self.keep:
                self._last[alike] = len(self.records)
                self._keep(data, start, end)
                continue
            index = self._last[alike]
            self.counts[index] += 1
            if waits:
                self._keep_longest(data, start, end, index)

    def _keep(self, data: bytes, start: int, end: int) -> None:
        record = parse_record(data, start, end, self.protocol, self.netns)
        if record is not None:
            self.records.append(record)
            self.counts.append(1)

    def _keep_longest(self, data: bytes, start: int, end: int, index: int) -> None:
        """Among TIME_WAIT sockets the last to expire decides how long it lasts."""
        record = parse_record(data, start, end, self.protocol, self.netns)
        if record is not None and record.expires_ms > self.records[index].expires_ms:
            self.records[index] = record


def uptime_ns(port: KernelPort) -> int:
    """Tell how long the machine has been up, 0 if that cannot be read."""
    try:
        return int(float(port.read("/proc/uptime").split()[0]) * 1_000_000_000)
    except (OSError, ValueError, IndexError):
        return 0


def read_task(port: KernelPort, files: Files, pid: int) -> TaskRecord:
    """Read about a process, or the caller if `pid` is 0. Raises OSError if there is none."""
    folder = f"/proc/{pid}" if pid else "/proc/self"
    task = TaskRecord(pid)
    fields = _fields(port.read(folder + "/status").decode("utf-8", "replace"))
    if fields.get("State", "").startswith(("Z", "X")):
        raise OSError(ESRCH, f"process {pid} has ended")
    task.comm = fields.get("Name", "")
    task.uid = _second(fields.get("Uid", ""))
    task.gid = _second(fields.get("Gid", ""))
    task.groups = [int(word) for word in fields.get("Groups", "").split() if word.isdecimal()]
    task.caps = int(fields.get("CapEff", "0") or "0", 16)
    task.seccomp = int(fields.get("Seccomp", "0") or "0")
    if not pid:
        return task
    try:
        task.netns = files.stat(folder + "/ns/net").inode
        task.userns = files.stat(folder + "/ns/user").inode
        owner = files.owner_of_namespace(folder + "/ns/net")
        if owner != task.userns and task.userns != INIT_USER_NS:
            task.caps = 0  # they count only in namespaces that its own user namespace or a child owns
    except OSError as error:
        if files.stat(folder + "/net/tcp").inode != files.stat("/proc/self/net/tcp").inode:
            raise OSError(EPERM, f"the network namespace of process {pid} is hidden: needs CAP_SYS_PTRACE or the same user") from None
        task.hidden.append(f"the user namespace of process {pid} cannot be read ({error.strerror}); it is taken to be yours")
    _read_limits(port, files, folder, task)
    _read_file_limit(port, files, folder, task)
    if task.cgroup:
        try:
            task.programs = files.cgroup_programs(task.cgroup)
        except OSError as error:
            task.hidden.append(f"whether BPF programs of its cgroup refuse sockets cannot be read: {error.strerror} (needs CAP_NET_ADMIN)")
    return task


def _read_limits(port: KernelPort, files: Files, folder: str, task: TaskRecord) -> None:
    """Read descriptor use and limit, and the cgroup; what is hidden stays -1 or empty."""
    try:
        task.fds_open = files.stat(folder + "/fd").size
        for line in port.read(folder + "/limits").decode().splitlines():
            if line.startswith("Max open files"):
                task.fds_max = int(line.split()[3])
        for line in port.read(folder + "/cgroup").decode("utf-8", "surrogateescape").splitlines():
            if line.startswith("0::"):
                task.cgroup = line[3:]
    except (OSError, ValueError, IndexError):
        return


def _read_file_limit(port: KernelPort, files: Files, folder: str, task: TaskRecord) -> None:
    """Read how many files the machine has open and may have; the limit does not bind the administrator of the first user namespace."""
    try:
        words = port.read("/proc/sys/fs/file-nr").split()
        task.files_open, task.files_max = int(words[0]), int(words[2])
        if task.files_open >= task.files_max:
            task.userns = files.stat(folder + "/ns/user").inode
    except (OSError, ValueError, IndexError):
        return


def _fields(status: str) -> dict[str, str]:
    """Split /proc/PID/status."""
    fields: dict[str, str] = {}
    for line in status.splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def _second(value: str) -> int:
    """Take the effective id out of "real effective saved fs"."""
    words = value.split()
    return int(words[1]) if len(words) > 1 else 0
