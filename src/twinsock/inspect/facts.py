"""The facts behind one answer, as plain records: what is asked, by whom, and all that the kernel says about it.

`inspect.gather` fills a Snapshot through a KernelPort; explain reads it and asks nobody else.
"""

from __future__ import annotations

from twinsock.inspect.sysctl import BindSysctls
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNIX, SOCK_SEQPACKET, SOCK_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.links import Address, Links, Route
    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.records import SocketRecord
    from twinsock.inspect.unix import UnixRecord


FLAGS_UNKNOWN = -1
REUSEADDR = 1
REUSEPORT = 2
V6ONLY = 4
INIT_USER_NS = 0xEFFFFFFD  # inode
CAP_FULL = (1 << 41) - 1
MAPPED_PREFIX = bytes(10) + b"\xff\xff"


class Question:
    """What is asked. Addresses are 4 or 16 bytes in network order."""

    def __init__(self) -> None:
        self.family = AF_INET
        self.protocol = IPPROTO_TCP  # IPPROTO_TCP, UDP or MPTCP; 0 for AF_UNIX
        self.type = SOCK_STREAM  # AF_UNIX only: SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
        self.address = bytes(4)
        self.port = 0
        self.zone = ""  # the interface after '%' in an IPv6 address
        self.path = b""  # AF_UNIX: the path, or NUL and the abstract name
        self.connect = False
        self.reuseaddr = False
        self.reuseport = False
        self.v6only = -1  # 1, 0, or -1: net.ipv6.bindv6only decides
        self.freebind = False
        self.transparent = False
        self.device = ""
        self.listen = True
        self.held = -1  # index into Snapshot.sockets of a socket that is bound already: the question is about its listen()
        self.held_fd = -1  # its descriptor
        self.uid = -1  # -1: the caller's, or that of `pid`
        self.pid = 0  # 0: the caller
        self.netns = 0  # inode of the namespace, 0: the caller's or that of `pid`

    def is_wildcard(self) -> bool:
        """Tell whether the address is 0.0.0.0, :: or ::ffff:0.0.0.0."""
        return not any(self.address) or (self.family == AF_INET6 and self.address == MAPPED_PREFIX + bytes(4))

    def is_mapped(self) -> bool:
        """Tell whether the address is an IPv4 one in IPv6 clothes."""
        return self.family == AF_INET6 and self.address[:12] == MAPPED_PREFIX

    def is_stream(self) -> bool:
        """Tell whether the socket can listen."""
        return self.type in (SOCK_STREAM, SOCK_SEQPACKET) if self.family == AF_UNIX else self.protocol != IPPROTO_UDP

    def is_unix(self) -> bool:
        """Tell whether this is about a UNIX socket."""
        return self.family == AF_UNIX

    def copy(self) -> Question:
        """Give an equal question that can be changed."""
        other = Question()
        other.__dict__.update(self.__dict__)
        return other


class TaskRecord:
    """The task that would make the system calls."""

    def __init__(self, pid: int) -> None:
        self.pid = pid  # 0: the caller
        self.comm = ""
        self.uid = 0  # effective
        self.gid = 0
        self.groups: list[int] = []
        self.caps = 0  # CapEff, as far as it counts in its network namespace
        self.netns = 0  # inode, 0 if hidden
        self.userns = 0
        self.fds_open = -1
        self.fds_max = -1  # soft RLIMIT_NOFILE
        self.files_open = -1  # of the whole machine
        self.files_max = -1  # fs.file-max; -1: not known
        self.seccomp = 0  # 0 off, 1 strict, 2 filters
        self.cgroup = ""  # of cgroup v2
        self.programs: list[str] = []  # BPF hooks of its cgroup
        self.hidden: list[str] = []  # what permission hid, each a sentence

    def capable(self, cap: int) -> bool:
        """Tell whether a capability is in the effective set."""
        return bool(self.caps >> cap & 1)

    def may_be_transparent(self) -> bool:
        """Tell whether IP_TRANSPARENT can be set."""
        return self.capable(CAP_NET_RAW) or self.capable(CAP_NET_ADMIN)

    def is_in_first_userns(self) -> bool:
        """Tell whether its capabilities count for the whole machine; taken to be so where that was not looked up."""
        return self.userns in (0, INIT_USER_NS)

    def may_bind_low_ports(self) -> bool:
        """Tell whether privileged ports are allowed."""
        return self.capable(CAP_NET_BIND_SERVICE)


class Elsewhere:
    """A socket with the same port in another namespace: no conflict, but worth knowing."""

    def __init__(self, namespace: str, record: SocketRecord, pids: list[int]) -> None:
        self.namespace = namespace  # "network namespace 4026532266 (blue)"
        self.record = record
        self.pids = pids  # some processes of that namespace


class Way:
    """Which way a packet to an address would go."""

    def __init__(self, address: bytes) -> None:
        self.address = address  # where it really goes: 0.0.0.0 is 127.0.0.1
        self.errno = 0  # of the lookup: ENETUNREACH, ...
        self.type = 0  # RTN_*
        self.source = b""  # the address it would come from
        self.device = 0


class Snapshot:
    """The facts behind one answer."""

    def __init__(self, question: Question, task: TaskRecord) -> None:
        self.question = question
        self.task = task
        self.netns = question.netns or task.netns
        self.now_ns = 0
        self.uptime_ns = 0
        self.sysctls = BindSysctls()
        self.sockets: list[SocketRecord] = []  # of this port (port 0, connect: of the whole range)
        self.counts: list[int] = []  # how many sockets each of `sockets` stands for
        self.flags: list[int] = []  # REUSEADDR 1, REUSEPORT 2, V6ONLY 4; FLAGS_UNKNOWN
        self.links: Links | None = None  # None: not asked for
        self.addresses: list[Address] = []
        self.routes: list[Route] = []  # of the local table
        self.has_local_table = True  # False: no address was ever set here, and then bind(2) takes every IPv4 address
        self.nearby: list[SocketRecord] = []  # sockets of `nearby_ports`
        self.nearby_ports: list[int] = []  # some ports just above that nobody listens on
        self.device_index = 0  # of question.device
        self.zone_index = 0  # of question.zone
        self.owners: OwnerTable | None = None
        self.elsewhere: list[Elsewhere] = []
        self.elsewhere_owners: OwnerTable | None = None
        self.way = Way(b"")  # connect
        self.servers: list[SocketRecord] = []  # connect: sockets of this host at the destination's port
        self.connect_made: set[int] = set()  # connect: indices of `sockets` whose port connect(2) chose
        self.automatic: set[int] | None = None  # cookies of those of `sockets` whose port the kernel chose; None: not asked
        self.mptcp: list[int] = []  # inodes of those sockets that belong to MPTCP
        self.hidden: list[str] = []  # what permission hid, each a sentence
        self.missing_device = ""


# What is at a UNIX socket's path.
NOTHING = "nothing"
SOCKET = "socket"
FILE = "file"
DIRECTORY = "directory"
SYMLINK = "symbolic link"
OTHER = "device or pipe"


class Folder:
    """A folder on the way to a path; the last one may be another kind of file."""

    def __init__(self, name: bytes, kind: str, mode: int, uid: int, gid: int) -> None:
        self.name = name  # b"" for the root, or for the folder where a relative path begins
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid


class UnixSnapshot:
    """The facts behind one answer about a UNIX socket's name."""

    def __init__(self, question: Question, task: TaskRecord) -> None:
        self.question = question
        self.task = task
        self.netns = question.netns or task.netns
        self.kind = NOTHING  # what is at the path
        self.mode = 0
        self.uid = 0
        self.gid = 0
        self.error = 0  # of looking at the path: EACCES, ELOOP, ENAMETOOLONG, ...
        self.folder = ""
        self.folder_kind = NOTHING
        self.folder_mode = 0
        self.folder_uid = 0
        self.folder_gid = 0
        self.folders: list[Folder] = []  # outermost first, as far as they exist
        self.missing: list[Folder] = []  # names of those that do not
        self.read_only = False
        self.sockets: list[UnixRecord] = []  # those that have this name now
        self.former: list[UnixRecord] = []  # those that had the path, before another file took it
        self.owners: OwnerTable | None = None
        self.uptime_ns = 0
        self.hidden: list[str] = []
