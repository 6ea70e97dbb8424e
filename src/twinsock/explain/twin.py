"""Load a live host's sockets into the twin and ask the twin's own bind(2) and listen(2).

Nothing here decides anything: sockets are put into the tables as the kernel reports them, and what inet_bind(),
inet6_bind() and inet_csk_listen_start() return is the answer. What the tables remember of earlier owners beyond their
present flags (a SO_REUSEPORT owner that switched the option off later) cannot be seen from outside and is left out.
"""

from __future__ import annotations

from twinsock.explain.words import TIMER_TIME_WAIT
from twinsock.inspect.facts import CAP_FULL, REUSEADDR, REUSEPORT, V6ONLY
from twinsock.kernel.fs.file import alloc_empty_file
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.addrs import AddressTable
from twinsock.kernel.net.core.sock import SK_CAN_REUSE, SOCK_CONNECT_BIND
from twinsock.kernel.net.ipv4.adopt import (
    adopt_tcp,
    adopt_udp,
    new_socket,
    new_tcp_sock,
    new_timewait_sock,
    new_udp_sock,
    set_addresses,
)
from twinsock.kernel.net.ipv4.bind_observer import BindObserver
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_FREEBIND, INET_FLAGS_TRANSPARENT, InetSock
from twinsock.kernel.sched.task import Cred, Task, UserNamespace
from twinsock.uapi.errno import EMFILE, ENODEV, EPERM
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Question, Snapshot
    from twinsock.inspect.records import SocketRecord
    from twinsock.kernel.net.core.net import Socket
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock, SockCommon

_BACKLOG = 128
_MINUTE_NS = 60_000_000_000  # "now" of the twin: a TIME_WAIT with n seconds left began at second n


class Attempt:
    """How one try on the twin ended."""

    def __init__(self) -> None:
        self.call = ""  # the one that failed, or the last one
        self.errno = 0  # positive
        self.hits: list[tuple[int, int]] = []  # (index into Snapshot.sockets, RULE_*) of who refused
        self.path: list[str] = []  # kernel functions, outermost first
        self.port = 0  # the port that was got
        self.range = (0, 0)  # of an automatic port that was not found

    def fail(self, call: str, errno: int, path: list[str]) -> Attempt:
        """Note a failure."""
        self.call = call
        self.errno = errno
        self.path = path
        return self


class Witness(BindObserver):
    """Remembers who refused and in which functions."""

    def __init__(self, indices: dict[int, int]) -> None:
        self.indices = indices  # id of a socket -> index into Snapshot.sockets
        self.hits: list[tuple[int, int]] = []
        self.functions: list[str] = []
        self.range = (0, 0)

    def owner_seen(self, sk: Sock, owner: SockCommon, port: int, verdict: int) -> None:
        """Remember an owner that refuses."""
        if verdict > 0 and id(owner) in self.indices:
            self.hits.append((self.indices[id(owner)], verdict))

    def range_exhausted(self, sk: Sock, low: int, high: int) -> None:
        """Remember which range was searched."""
        self.range = (low, high)

    def refused(self, sk: Sock, function: str, err: int) -> None:
        """Remember the functions, innermost first."""
        self.functions.append(function)


class AdoptedHost:
    """A snapshot that can be asked any number of times."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._adopted: dict[int, SockCommon] = {}  # of the last try, by index into Snapshot.sockets

    def attempt(self, question: Question, flags: list[int], without: frozenset[int] = frozenset()) -> Attempt:
        """Try the question's calls with these reuse flags of the other sockets, some of which may be left out."""
        attempt = Attempt()
        task = self.snapshot.task
        if question.held >= 0 and question.port == self.snapshot.question.port:
            return self._listen_only(question, flags, without)
        errno, path = self.descriptor_refused(question)
        if errno:
            return attempt.fail("socket", errno, path)
        if self.snapshot.missing_device and self.snapshot.missing_device == question.device:
            return attempt.fail("setsockopt", ENODEV, ["__sys_setsockopt", "sock_bindtoindex"])
        if question.transparent and not (task.may_be_transparent() if question.uid < 0 else not question.uid):
            return attempt.fail("setsockopt", EPERM, ["__sys_setsockopt", "do_ip_setsockopt"])
        net = self._net()
        witness = Witness(self._load(net, question, flags, without))
        net.bind_observer = witness
        self._call(net, question, attempt, witness)
        attempt.hits = witness.hits
        attempt.range = witness.range
        return attempt

    def descriptor_refused(self, question: Question) -> tuple[int, list[str]]:
        """Tell why socket(2) itself would fail, (0, []) if it would not: descriptors of the process, files of the machine."""
        task = self.snapshot.task
        if task.fds_max >= 0 and task.fds_open >= task.fds_max:
            return EMFILE, ["__sys_socket", "get_unused_fd_flags"]
        if task.files_max >= 0 and task.files_open >= task.files_max:
            caller = self._task(Kernel().init_net, question)
            caller.kernel.nr_files, caller.kernel.file_max = task.files_open, task.files_max
            if not task.is_in_first_userns():
                caller.cred.user_ns = UserNamespace(caller.kernel.init_user_ns)
            err = alloc_empty_file(caller)
            if err:
                return -err, ["__sys_socket", "sock_alloc_file", "alloc_file_pseudo", "alloc_empty_file"]
        return 0, []

    def connect(self) -> Attempt:
        """Let the twin choose the local port of a connection to the question's address."""
        attempt = Attempt()
        attempt.call = "connect"
        snapshot = self.snapshot
        question = snapshot.question
        net = self._net()
        net.kernel.clock.now_ns = _MINUTE_NS
        net.ipv4.sysctl_tcp_tw_reuse = snapshot.sysctls.tcp_tw_reuse
        net.ipv4.sysctl_tcp_tw_reuse_delay = snapshot.sysctls.tcp_tw_reuse_delay_ms
        from twinsock.kernel.net.ipv4.inet_hash_connect import inet_hash_connect
        from twinsock.kernel.net.ipv4.udp_table import udp_autobind

        witness = Witness(self._load(net, question, snapshot.flags, frozenset()))
        net.bind_observer = witness
        family = AF_INET6 if len(snapshot.way.address) == 16 else AF_INET
        if question.protocol == IPPROTO_UDP:
            udp = new_udp_sock(net, family)
            err = udp_autobind(udp)
            attempt.port = udp.sk_num
            path = ["__sys_connect", "inet_dgram_connect", "inet_autobind"]
        else:
            sk = new_tcp_sock(net, family)
            sk.sk_bound_dev_if = snapshot.device_index
            set_addresses(sk, snapshot.way.source or bytes(len(snapshot.way.address)), snapshot.way.address)
            sk.sk_dport = question.port
            err = inet_hash_connect(sk)
            attempt.port = sk.sk_num
            path = ["__sys_connect", "tcp_v6_connect" if family == AF_INET6 else "tcp_v4_connect"]
        attempt.range = witness.range
        return attempt.fail("connect", -err, [*path, *reversed(witness.functions)]) if err else attempt

    def listener(self) -> int:
        """Let the twin find the listener for a connection to this host; gives its index in Snapshot.servers, or -1."""
        from twinsock.kernel.net.ipv4.inet_lookup import inet6_lookup_listener, inet_lookup_listener

        snapshot = self.snapshot
        net = self._net()
        indices: dict[int, int] = {}
        for index, record in enumerate(snapshot.servers):
            sk = _adopt_tcp(net, record, 0)
            if sk is not None:
                indices[id(sk)] = index
        far, near = snapshot.way.source or snapshot.way.address, snapshot.way.address
        device = snapshot.way.device
        if len(near) == 16:
            found = inet6_lookup_listener(net, None, 0, far, 1, near, snapshot.question.port, device, 0)
        else:
            source, target = int.from_bytes(far, "big"), int.from_bytes(near, "big")
            found = inet_lookup_listener(net, None, 0, source, 1, target, snapshot.question.port, device, 0)
        return -1 if found is None else indices[id(found)]

    def _call(self, net: Net, question: Question, attempt: Attempt, witness: Witness) -> None:
        """Make the system calls."""
        from twinsock.kernel.net.ipv4.af_inet import inet_bind

        task = self._task(net, question)
        sock = self._new_socket(task, question)
        if question.family == AF_INET6:
            from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind

            err = inet6_bind(task, sock, _sockaddr(question, self.snapshot.zone_index))
        else:
            err = inet_bind(task, sock, _sockaddr(question, 0))
        attempt.call = "bind"
        if err:
            attempt.fail("bind", -err, ["__sys_bind", *reversed(witness.functions)])
            return
        sk = sock.sk
        assert isinstance(sk, InetSock)
        attempt.port = sk.sk_num
        if not question.listen or question.protocol == IPPROTO_UDP:
            return
        self._listen(sk, attempt, witness)

    def _listen_only(self, question: Question, flags: list[int], without: frozenset[int]) -> Attempt:
        """Try listen(2) on a socket that is bound already."""
        attempt = Attempt()
        net = self._net()
        witness = Witness(self._load(net, question, flags, without))
        net.bind_observer = witness
        attempt.port = question.port
        self._listen(self._adopted[question.held], attempt, witness)
        attempt.hits = witness.hits
        return attempt

    def _listen(self, sk: SockCommon, attempt: Attempt, witness: Witness) -> None:
        """Call listen(2)."""
        from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock, inet_csk_listen_start

        assert isinstance(sk, InetConnectionSock)
        sk.sk_max_ack_backlog = _BACKLOG
        err = inet_csk_listen_start(sk)
        attempt.call = "listen"
        if err:
            attempt.fail("listen", -err, ["__sys_listen", "inet_listen", "__inet_listen_sk", *reversed(witness.functions)])

    def _net(self) -> Net:
        """Make a namespace with the host's settings and addresses."""
        snapshot = self.snapshot
        sysctls = snapshot.sysctls
        net = Kernel().init_net
        net.ipv4.sysctl_ip_prot_sock = sysctls.unprivileged_port_start
        net.ipv4.sysctl_ip_nonlocal_bind = sysctls.nonlocal_bind
        net.ipv4.sysctl_ip_autobind_reuse = sysctls.autobind_reuse
        net.ipv4.ip_local_ports_low, net.ipv4.ip_local_ports_high = sysctls.port_range
        net.ipv4.sysctl_local_reserved_ports = sysctls.reserved
        net.ipv6.sysctl_bindv6only = sysctls.bindv6only
        net.ipv6.sysctl_ip_nonlocal_bind = sysctls.nonlocal_bind6
        table = AddressTable()
        links = snapshot.links
        if links is not None:
            for link in links.by_index.values():
                table.add_device(link.index, link.flags, links.vrf_of(link.index))
        for route in snapshot.routes:
            table.add_route4(int.from_bytes(route.dst, "big"), route.prefix, route.type)
        if not snapshot.has_local_table:  # Measured: 6.18 takes every address for a broadcast address then
            table.add_route4(0, 0, RTN_BROADCAST)
        for local in snapshot.addresses:
            if len(local.address) == 16:
                table.add_address6(local.index, local.address, local.scope, local.flags)
            elif not snapshot.routes:
                table.add_route4(int.from_bytes(local.address, "big"), 32, RTN_LOCAL)
        net.addrs = table
        return net

    def _task(self, net: Net, question: Question) -> Task:
        """Make the task that calls."""
        task = self.snapshot.task
        uid = task.uid if question.uid < 0 else question.uid
        cred = Cred(uid, task.gid, net.kernel.init_user_ns)
        if uid == task.uid:
            cred.cap_effective = task.caps
        else:
            cred.cap_effective = CAP_FULL if uid == 0 else 0
        return Task(net.kernel, net, None, cred, 1, "why")

    def _new_socket(self, task: Task, question: Question) -> Socket:
        """Make the socket and set the question's options."""
        sk: InetSock
        if question.protocol == IPPROTO_UDP:
            sk = new_udp_sock(task.net, question.family)
        else:
            sk = new_tcp_sock(task.net, question.family)
        sk.sk_reuse = SK_CAN_REUSE if question.reuseaddr else 0
        sk.sk_reuseport = 1 if question.reuseport else 0
        sk.sk_bound_dev_if = self.snapshot.device_index if question.device else 0
        sk.inet_assign_bit(INET_FLAGS_FREEBIND, question.freebind)
        sk.inet_assign_bit(INET_FLAGS_TRANSPARENT, question.transparent)
        if question.v6only >= 0:
            sk.sk_ipv6only = question.v6only
        return new_socket(task, sk)

    def _load(self, net: Net, question: Question, flags: list[int], without: frozenset[int]) -> dict[int, int]:
        """Put the host's sockets into the tables; gives id of a socket -> index."""
        snapshot = self.snapshot
        indices: dict[int, int] = {}
        udp = question.protocol == IPPROTO_UDP
        if question.port and not question.connect and question.port != snapshot.question.port:
            for record in snapshot.nearby:
                if record.local_port == question.port:
                    _adopt_udp(net, record, 0) if udp else _adopt_tcp(net, record, 0)
            return indices
        order = _by_age(snapshot.sockets) if udp else range(len(snapshot.sockets))
        for index in order:
            if index in without:
                continue
            record = snapshot.sockets[index]
            made = index in snapshot.connect_made
            sk = _adopt_udp(net, record, flags[index]) if udp else _adopt_tcp(net, record, flags[index], made)
            if sk is not None:
                indices[id(sk)] = index
                self._adopted[index] = sk
        self._kept = net  # ids stay valid as long as the sockets live
        return indices


def _adopt_tcp(net: Net, record: SocketRecord, flags: int, connect_made: bool = False) -> SockCommon | None:
    """Make a TCP socket of the host an owner of its port; `connect_made`: connect(2) chose it."""
    if record.state == TCP_SYN_RECV and not record.inode:
        return None  # a request: its listener owns the port
    sk = tcp_sock_of(net, record, flags, connect_made)
    adopt_tcp(sk, record.local_port)
    return sk


def tcp_sock_of(net: Net, record: SocketRecord, flags: int, connect_made: bool = False) -> SockCommon:
    """Make a TCP socket or TIME_WAIT of the twin that is like one of the host, and in no table."""
    if record.timer == TIMER_TIME_WAIT:
        mini = new_timewait_sock(net, record.family)
        mini.tw_substate = record.state
        mini.tw_connect_bind = connect_made
        mini.tw_ts_recent_stamp = 1  # timestamps are on unless both ends agreed otherwise
        mini.tw_entry_ns = record.expires_ms * 1_000_000
        sk: SockCommon = mini
    else:
        whole = new_tcp_sock(net, record.family)
        whole.sk_uid = record.uid
        whole.sk_state = record.state
        if connect_made:
            whole.sk_userlocks = SOCK_CONNECT_BIND
        sk = whole
    _fill(sk, record, flags)
    return sk


def _adopt_udp(net: Net, record: SocketRecord, flags: int) -> SockCommon:
    """Make a UDP socket of the host an owner of its port."""
    sk = new_udp_sock(net, record.family)
    sk.sk_uid = record.uid
    sk.sk_state = record.state
    _fill(sk, record, flags)
    adopt_udp(sk, record.local_port)
    return sk


def _fill(sk: SockCommon, record: SocketRecord, flags: int) -> None:
    """Set what the rules look at."""
    sk.sk_reuse = SK_CAN_REUSE if flags & REUSEADDR else 0
    sk.sk_reuseport = 1 if flags & REUSEPORT else 0
    sk.sk_bound_dev_if = record.ifindex
    sk.sk_dport = record.remote_port
    told = record.state in (TCP_LISTEN, TCP_CLOSE)  # the diag message tells IPV6_V6ONLY only then
    sk.sk_ipv6only = 1 if record.v6only or (flags & V6ONLY and not told and record.family == AF_INET6) else 0
    set_addresses(sk, record.local, record.remote)


def _by_age(records: list[SocketRecord]) -> list[int]:
    """Order UDP sockets oldest first: each family's dump is newest first, and inodes tell the two families' ages."""
    four = [index for index, record in enumerate(records) if record.family != AF_INET6][::-1]
    six = [index for index, record in enumerate(records) if record.family == AF_INET6][::-1]
    merged: list[int] = []
    while four and six:
        older = four if records[four[0]].inode < records[six[0]].inode else six
        merged.append(older.pop(0))
    return merged + four + six


def _sockaddr(question: Question, scope: int) -> bytes:
    """Write the address as bind(2) takes it."""
    port = question.port.to_bytes(2, "big")
    if question.family != AF_INET6:
        return question.family.to_bytes(2, "little") + port + question.address + bytes(8)
    return question.family.to_bytes(2, "little") + port + bytes(4) + question.address + scope.to_bytes(4, "little")
