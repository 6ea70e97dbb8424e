"""A simulated host: its clock, namespaces, global limits and counters (Linux: init/main.c and everything that is one per machine).

`Kernel` knows no protocol; `boot.start_kernel` registers the families. So a question about bind() alone loads little."""

from __future__ import annotations

from twinsock.kernel.fs.file import FilesStruct, dup_files, put_files_struct
from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, copy_net_ns, get_net, put_net
from twinsock.kernel.sched.task import Cred, Task, UserNamespace
from twinsock.kernel.time.timer import Clock, SoftirqRunner
from twinsock.uapi.errno import EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Final

    from twinsock.kernel.bpf.cgroup import CgroupBpf
    from twinsock.kernel.fs.namei import SuperBlock
    from twinsock.kernel.net.core.dev import NetdevNotifier
    from twinsock.kernel.net.core.dev_ioctl import GifconfHandler
    from twinsock.kernel.net.core.net import NetProtoFamily
    from twinsock.kernel.net.core.netlink import NetlinkTable
    from twinsock.kernel.net.core.protocol import NetProtocol, PacketType, RawHook
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock import Proto
    from twinsock.kernel.net.ipv4.route import RtHandlers
    from twinsock.kernel.net.ipv4.tcp_sock import TcpFastopenOps
    from twinsock.kernel.net.ipv6.icmp import Icmp6Peer
    from twinsock.kernel.net.ipv6.route import Ip6Handlers
    from twinsock.kernel.security import SecurityOps
    from twinsock.kernel.trace import Trace

_MASK64: Final = (1 << 64) - 1


@mypyc_attr(allow_interpreted_subclasses=True)
class Prng:
    """A seeded generator (splitmix64): the same seed gives the same host."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK64

    def u32(self) -> int:
        """Return 32 random bits."""
        return self._next() >> 32

    def below(self, limit: int) -> int:
        """Return a number in [0, limit), as get_random_u32_below()."""
        return (self.u32() * limit) >> 32

    def u64(self) -> int:
        """Return 64 random bits."""
        return self._next()

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK64
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
        return z ^ (z >> 31)


class Work:
    """Something to do in softirq context; subclasses override `run`."""

    def run(self) -> None:
        """Do it."""
        raise NotImplementedError


class Kernel(SoftirqRunner):
    """One host. Hosts of one simulation share a `Clock`."""

    def __init__(self, seed: int = 0, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.clock.hosts.append(self)
        self.prng = Prng(seed)
        self.trace: Trace | None = None
        self.security: SecurityOps | None = None
        self.cgroup_bpf: CgroupBpf | None = None
        self.log: list[str] = []  # what the kernel prints, as dmesg(1) shows it without the time
        self.rootfs: SuperBlock | None = None  # where UNIX sockets have their paths, made on demand
        self.init_user_ns = UserNamespace()
        self.net_families: list[NetProtoFamily | None] = [None] * 46
        self.netlink: NetlinkTable | None = None  # protocols of AF_NETLINK
        self.protos: list[Proto] = []  # in order of registration; /proc/net/protocols shows the newest first
        self.netdev_chain: list[NetdevNotifier] = []
        self.ptype_base: dict[int, PacketType] = {}  # by EtherType
        self.inet_protos: list[NetProtocol | None] = [None] * 256
        self.inet6_protos: list[NetProtocol | None] = [None] * 256
        self.raw_hook4: RawHook | None = None
        self.raw_hook6: RawHook | None = None
        self.ping_hook4: NetProtocol | None = None  # ICMP sockets: echo replies, errors for echo requests
        self.ping_hook6: NetProtocol | None = None
        self.gifconf: GifconfHandler | None = None
        self.rt_handlers: RtHandlers | None = None  # what IPv4 routes do with packets; set by ip_init
        self.ip6_handlers: Ip6Handlers | None = None
        self.icmp6_peers: dict[bytes, Icmp6Peer] = {}  # rate limits of ICMPv6, by namespace and destination
        self.hash_secret = self.prng.u32()  # keys flow labels
        self.ip_idents: list[int] = []  # counters for IPv4 identifications, filled at the first use
        self.softnet_queued = self.softnet_dropped = 0  # packets that came into input_pkt_queue, and for which it had no room
        self.netdev_max_backlog = 1000  # packets in input_pkt_queue
        self.next_mac = 0  # last link address given to a device, within this host
        self.host_id = len(self.clock.hosts)  # tells the hosts of one simulation apart in link addresses
        self.input_pkt_queue: deque[SkBuff] | None = None  # both allocated by the first user: a kernel that is only asked
        self.softirq_work: deque[Work] | None = None  # about bind() needs neither, nor the import
        self.in_softirq = False
        self.cpu = 0
        self.locked_vm: dict[int, int] = {}  # pages that zero-copy sends pin, by uid
        self._next_inode = 4026532000
        self._next_sock_inode = 1
        self._next_cookie = 0
        self._next_net_cookie = 0
        # global limits and counters (sheet 01, 1.7 and 1.10)
        self.file_max = 9223372036854775807 >> 1
        self.nr_open = 1048576
        self.nr_files = 0
        self.sysctl_rmem_default = 212992
        self.sysctl_wmem_default = 212992
        self.sysctl_rmem_max = 4194304
        self.sysctl_wmem_max = 4194304
        self.sysctl_max_skb_frags = 17
        self.sysctl_mem_pcpu_rsv = 256  # pages
        self.sysctl_tcp_mem = [287832, 383779, 575664]  # pages: of a host with 24 GB
        self.sysctl_udp_mem = [575667, 767559, 1151334]
        self.sysctl_tcp_max_orphans = 131072
        self.tcp_available_cc, self.tcp_allowed_cc = ["reno", "cubic"], ["reno", "cubic"]  # allowed without CAP_NET_ADMIN
        self.cubic_hystart_detect = 3  # parameter of the module tcp_cubic: by ACK trains, by delay
        self.max_user_watches = 231000  # fs.epoll.max_user_watches
        self.epoll_watches = 0
        self.pipe_max_size = 1048576
        self.eventfd_id = 0
        self.anon_inode_ino = 1057  # the one inode behind epoll, eventfd and timerfd descriptors
        secrets = Prng(seed ^ 0x7C9)  # a generator of their own: asking for a secret changes no other random number
        self.tcp_seq_secret = (secrets.u64(), secrets.u64())
        self.tcp_ts_secret = (secrets.u64(), secrets.u64())
        self.syncookie_secret = (secrets.u64(), secrets.u64())
        self.fastopen_ops: TcpFastopenOps | None = None
        self.tasks: list[Task] = []  # in order of creation
        self._next_pid = 0
        self.pernet_list: list[PernetOperations] = []
        self.nets: list[Net] = []
        self.init_net = Net(self, self.init_user_ns)

    def new_ns_inode(self) -> int:
        """Return the next namespace inode number."""
        self._next_inode += 1
        return self._next_inode

    def get_next_ino(self) -> int:
        """Return the next pseudo file system inode number (32 bits, never 0)."""
        ino = self._next_sock_inode
        self._next_sock_inode = (ino + 1) & 0xFFFFFFFF or 1
        return ino

    def gen_cookie(self) -> int:
        """Return the next socket cookie, made on the first question for it."""
        self._next_cookie += 1
        return self._next_cookie

    def gen_net_cookie(self) -> int:
        """Return the next namespace cookie, SO_NETNS_COOKIE of socket(7)."""
        self._next_net_cookie += 1
        return self._next_net_cookie

    def raise_softirq(self, work: Work) -> None:
        """Queue work that runs when the current system call or softirq lets go of the processor."""
        if self.softirq_work is None:
            from collections import deque

            self.softirq_work = deque()
        self.softirq_work.append(work)

    def do_softirq(self) -> None:
        """Process queued packets and work unless that is already under way; called wherever Linux re-enables bottom halves."""
        if self.in_softirq or self.clock.in_timer:
            return
        self.in_softirq = True
        while True:
            packets = self.input_pkt_queue
            if packets:
                packets.popleft().receive()
                continue
            work = self.softirq_work
            if not work:
                break
            work.popleft().run()
        self.in_softirq = False

    def new_task(self, comm: str = "init", uid: int = 0, gid: int = 0, net: Net | None = None) -> Task:
        """Start a process with an empty descriptor table, in `net` or the initial namespace."""
        cred = Cred(uid, gid, self.init_user_ns)
        return self.adopt_task(Task(self, self.init_net if net is None else net, FilesStruct(), cred, self.new_pid(), comm))

    def new_pid(self) -> int:
        """Return the next process number."""
        self._next_pid += 1
        return self._next_pid

    def adopt_task(self, task: Task) -> Task:
        """Enter a task that somebody made (a runtime's subclass of `Task`) into the list of tasks."""
        get_net(task.net)
        self.tasks.append(task)
        return task

    def copy_process(self, parent: Task, child: Task, share_files: bool = False) -> Task:
        """Give `child`, made with a number of its own, what clone(2) hands down: descriptors copied or shared, limits, masks."""
        files = parent.files
        if files is not None:
            if share_files:
                files.count += 1
                child.files = files
            else:
                child.files = dup_files(files)
        child.rlim_cur = list(parent.rlim_cur)
        child.rlim_max = list(parent.rlim_max)
        child.umask = parent.umask
        child.cwd = parent.cwd
        child.pgrp = parent.pgrp
        child.ppid = parent.tgid if child.tgid == child.pid else parent.ppid
        child.blocked_signals = parent.blocked_signals
        child.ignored_signals = parent.ignored_signals
        return self.adopt_task(child)

    def fork(self, parent: Task, comm: str = "") -> Task:
        """Make a child process with copies of everything, fork(2)."""
        cred = parent.cred.copy()
        child = Task(self, parent.net, None, cred, self.new_pid(), comm or parent.comm)
        return self.copy_process(parent, child)

    def do_exit(self, task: Task) -> None:
        """End a task: close what only it had open, leave its namespace, exit(2)."""
        task.exiting = True
        files = task.files
        task.files = None
        if files is not None:
            put_files_struct(files, task)
        for i in range(len(self.tasks)):
            if self.tasks[i] is task:
                del self.tasks[i]
                break
        if task.pid == task.tgid:
            for other in self.tasks:
                if other.ppid == task.pid:
                    other.ppid = 1
        put_net(task.net)

    def unshare_net(self, task: Task) -> int:
        """Give the task a network namespace of its own, unshare(2) with CLONE_NEWNET: 0 or -EPERM."""
        if not task.ns_capable(task.cred.user_ns, 21):
            return -EPERM
        old = task.net
        task.net = copy_net_ns(task)
        put_net(old)
        return 0

    def setns(self, task: Task, net: Net) -> int:
        """Move the task into a namespace, setns(2): 0 or -EPERM."""
        if not task.ns_capable(net.user_ns, 21) or not task.ns_capable(task.cred.user_ns, 21):
            return -EPERM
        get_net(net)
        put_net(task.net)
        task.net = net
        return 0
