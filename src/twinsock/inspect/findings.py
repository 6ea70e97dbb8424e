"""Plain records that the tools gather through a KernelPort, and that `explain` judges. Times are milliseconds."""

from __future__ import annotations

from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.inspect.facts import Snapshot
    from twinsock.inspect.owners import OwnerTable, Unlisted
    from twinsock.inspect.records import SocketRecord
    from twinsock.inspect.table import Group
    from twinsock.inspect.unix import UnixRecord

    Key = tuple[bytes, bytes, int]
    Sockstat = dict[str, dict[str, int]]

UNKNOWN = -1


class ProcessFacts:
    """A process that holds sockets, as far as it may be looked at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.comm = ""
        self.unit = ""  # systemd unit or container
        self.state = ""  # the letter of /proc/PID/stat: R, S, D, T, t, Z
        self.fds_open = UNKNOWN
        self.fds_max = UNKNOWN  # RLIMIT_NOFILE, soft

    def at_fd_limit(self) -> bool:
        """Tell whether its next descriptor will be refused."""
        return 0 <= self.fds_max <= self.fds_open


class Listener:
    """One listening socket: TCP if `tcp` is set, else UNIX."""

    def __init__(self, netns: int, tcp: SocketRecord | None, unix: UnixRecord | None) -> None:
        self.netns = netns
        self.tcp = tcp
        self.unix = unix
        self.inode = 0
        self.cookie = 0
        self.queue = UNKNOWN  # waiting for accept()
        self.limit = UNKNOWN  # full when queue > limit; UNKNOWN: /proc does not tell
        self.drops = UNKNOWN  # over its life; UNIX has none: clients wait or get EAGAIN
        self.syn_recv = 0  # half-open connections, of its REUSEPORT group together
        self.oldest_ms = UNKNOWN  # how long the oldest in the queue has waited
        self.stands_ms = 0  # how long its queue was watched without anybody being taken
        self.waiting: list[int] = []  # UNIX: inodes of the clients in the queue
        self.members = 1  # listeners with this very address: a REUSEPORT group
        self.owners: list[ProcessFacts] = []
        self.ghost = ""  # why no process holds it, a sentence
        self.ghost_kind = ""
        self.device = ""

    def is_full(self) -> bool:
        """Tell whether the next client finds no room."""
        return self.limit >= 0 and self.queue > self.limit


class ListenSpace:
    """The listeners of one network namespace and its counters."""

    def __init__(self, netns: int, label: str, own: bool) -> None:
        self.netns = netns
        self.label = label
        self.own = own
        self.somaxconn = UNKNOWN
        self.syncookies = UNKNOWN  # net.ipv4.tcp_syncookies
        self.counters: dict[str, int] = {}  # TcpExt
        self.listeners: list[Listener] = []
        self.others: list[Listener] = []  # those that were not asked for
        self.time_ns = 0


class WaitingClose:
    """A connection in CLOSE_WAIT."""

    def __init__(self, record: SocketRecord, fd: int, age_ms: int) -> None:
        self.record = record
        self.fd = fd
        self.age_ms = age_ms  # UNKNOWN where the kernel does not tell


class InheritedListener:
    """A listener that a process holds beside the program that made it."""

    def __init__(self, what: SocketRecord | str, fd: int, maker_pid: int, maker_comm: str) -> None:
        self.what = what  # a TCP socket, or the name of a UNIX one
        self.fd = fd
        self.maker_pid = maker_pid
        self.maker_comm = maker_comm


class LeakProcess:
    """What one process may have forgotten."""

    def __init__(self, facts: ProcessFacts) -> None:
        self.facts = facts
        self.closing: list[WaitingClose] = []
        self.dead: dict[int, int] = {}  # inode -> descriptor
        self.unbound: dict[int, int] = {}
        self.inherited: list[InheritedListener] = []


class LeakSnapshot:
    """All processes that hold sockets, at one moment."""

    def __init__(self, time_ns: int) -> None:
        self.time_ns = time_ns
        self.processes: dict[int, LeakProcess] = {}
        self.hidden = False  # a namespace could not be read
        self.hidden_processes = 0


class DestinationUse:
    """Connections from one source address to one destination whose port connect(2) chose. IPv4 addresses are 4 bytes."""

    def __init__(self, source: bytes, address: bytes, port: int) -> None:
        self.source = source
        self.address = address
        self.port = port
        self.used = 0
        self.time_wait = 0  # of these


class RangeFacts:
    """Who uses the automatic range of a namespace."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot  # its sockets are those that matter, not all
        self.owned: set[int] = set()  # ports that somebody listens on or has bound
        self.used_ports = 0
        self.listening = 0  # ports by owner, each once
        self.bound = 0
        self.server_side = 0
        self.connected = 0
        self.destinations: list[DestinationUse] = []
        self.others: dict[Key, list[Group]] = {}  # (source, address, port) -> connections beside the snapshot's, each like one of them


CensusKey = tuple[int, int, int, bool, bool]
"""(protocol, family, state, timer is that of TIME_WAIT, has an inode)"""


class Census:
    """What the tables of one namespace list."""

    def __init__(self, netns: int) -> None:
        self.netns = netns  # as asked: 0 is the caller's
        self.inet: dict[CensusKey, int] = {}
        self.unix: dict[tuple[int, int, bool], int] = {}  # (type, state, has an inode) -> count
        self.packet = 0
        self.netlink = 0  # those of programs; the kernel's own have port 0
        self.askers: list[int] = []  # inodes of the sock_diag sockets among them, where a census asks
        self.inodes: dict[int, int] = {}  # inode -> IPPROTO_*, or minus the address family
        self.waiting = 0  # in accept queues of TCP listeners, by their own word
        self.bound: list[int] = []  # inodes of TCP sockets that are only bound
        self.memory = {IPPROTO_TCP: 0, IPPROTO_UDP: 0}  # bytes charged
        self.notes: list[str] = []  # what could not be asked
        self.refused = False

    def count(self, protocol: int, wanted: Callable[[CensusKey], bool] | None = None) -> int:
        """Count the sockets of a protocol, or those of them that are wanted."""
        return sum([count for key, count in self.inet.items() if key[0] == protocol and (wanted is None or wanted(key))])


class CountSpace:
    """One namespace."""

    def __init__(self, netns: int, label: str, own: bool, wanted: bool) -> None:
        self.netns = netns
        self.label = label
        self.own = own
        self.wanted = wanted  # it is to be shown; the others are read because some counters are global
        self.before: Sockstat = {}
        self.after: Sockstat = {}
        self.protocols: dict[str, int] = {}  # /proc/net/protocols: name -> sockets
        self.census = Census(netns)
        self.unlisted: list[Unlisted] = []  # sockets with a descriptor that are in no table
        self.bound_mptcp = 0  # MPTCP sockets above TCP sockets that are only bound: no table lists them
        self.askers = 0  # netlink sockets of this very command
        self.ghosts: dict[int, str] = {}  # inode that is in a table and in no descriptor table -> kind


class CountSnapshot:
    """All namespaces that could be read."""

    def __init__(self) -> None:
        self.spaces: list[CountSpace] = []
        self.hidden_spaces = 0
        self.hidden_processes = 0
        self.homeless = 0  # sockets with a descriptor, in no table, of a namespace that was not read
        self.reserve_pages = 0  # what all CPUs together may hold back of the memory counters
        self.owners: OwnerTable | None = None
