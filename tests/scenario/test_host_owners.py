"""Owners, ghosts and reuse flags of real sockets on the live kernel, in fresh namespaces."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns import fresh_netns, run_in_netns
from twinsock.host.bpf import permitted
from twinsock.host.ghosts import find_ghosts
from twinsock.host.owners import cgroup_folders, find_owners, likely_first, open_fd_counts
from twinsock.host.reuse import reuse_flags
from twinsock.inspect import owners

pytestmark = pytest.mark.root

METHODS = ["proc", "bpf"]
NOBODY = 65534
CLONE_FILES = 0x400
CGROUP2_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
TIME_WAIT = 6
IO_URING_SETUP = 425
IO_URING_REGISTER = 427
IORING_REGISTER_FILES = 2

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "bpf" and not permitted():
        pytest.skip("BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
    return name


@pytest.fixture
def without_bpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinsock.host.bpf.permitted", lambda: False)
    monkeypatch.setattr("twinsock.host.reuse.permitted", lambda: False)


def listener(**options: int) -> socket.socket:
    sock = socket.socket()
    for name, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def inode_of(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


class Child:
    """A forked process which does something and then waits."""

    def __init__(self, work: Callable[[], None]) -> None:
        ready, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                work()
                os.write(done, b"x")
                threading.Event().wait(20)
            finally:
                os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(done)

    def end(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


def test_a_listener_is_found_with_pid_fd_and_process(method: str) -> None:
    with listener() as sock:
        table = find_owners([inode_of(sock)], method=method)
        (owner,) = table.owners_of(inode_of(sock))
        assert (owner.pid, owner.fd, owner.close_on_exec) == (os.getpid(), sock.fileno(), 1)
        assert (owner.uid, owner.ppid, owner.exe) == (os.getuid(), os.getppid(), os.readlink("/proc/self/exe"))
        assert owner.start_ns > 0
        assert [process.pid for process in table.parents(owner.pid)][-1] == 1
        assert table.quality(inode_of(sock)) == "exact"


def test_a_narrow_search_finds_only_what_was_asked(method: str) -> None:
    with listener() as sock, listener() as other:
        table = find_owners([inode_of(sock), 1], method=method)
        assert list(table.first) == [inode_of(sock)]
        assert inode_of(other) not in table.first


def test_hundreds_of_wanted_inodes_are_found(method: str) -> None:
    socks = [socket.socket() for _ in range(700)]
    inodes = [inode_of(sock) for sock in socks]
    for wanted in (inodes[:400], inodes):
        table = find_owners(wanted, method=method)
        assert sorted(table.first) == sorted(wanted)
    for sock in socks:
        sock.close()


def test_a_socket_inherited_over_fork_is_shared(method: str, children: list[Child]) -> None:
    with listener() as sock:
        sock.set_inheritable(True)
        copy = os.dup(sock.fileno())
        children.append(Child(lambda: None))
        table = find_owners(None, method=method)
        found = table.pid_fds(inode_of(sock))
        mine, theirs = os.getpid(), children[0].pid
        assert found == sorted((pid, fd) for pid in (mine, theirs) for fd in (sock.fileno(), copy))
        assert table.quality(inode_of(sock)) == "shared by 2"
        by_fd = {(owner.pid, owner.fd): owner for owner in table.owners_of(inode_of(sock))}
        assert by_fd[theirs, sock.fileno()].close_on_exec == 0
        assert by_fd[theirs, copy].close_on_exec == 1
        assert by_fd[theirs, copy].ppid == mine
        os.close(copy)


def test_both_methods_give_the_same_answer(children: list[Child]) -> None:
    if not permitted():
        pytest.skip("BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
    with listener(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM):
        children.append(Child(lambda: None))
        mine = {os.getpid(), children[0].pid}
        tables = [find_owners(None, method=method) for method in METHODS]
        answers = []
        for table in tables:
            found = {inode: table.pid_fds(inode) for inode in table.first}
            answers.append({inode: holders for inode, holders in found.items() if mine & {pid for pid, _fd in holders}})
        assert len(answers[0]) >= 3
        assert answers[0] == answers[1]


def test_a_thread_with_its_own_descriptors_is_found(method: str) -> None:
    go, found, inodes = threading.Event(), threading.Event(), list[int]()

    def thread() -> None:
        assert _libc.unshare(CLONE_FILES) == 0
        sock = listener()
        inodes.extend((inode_of(sock), threading.get_native_id(), sock.fileno()))
        found.set()
        go.wait(10)
        sock.close()

    worker = threading.Thread(target=thread)
    worker.start()
    found.wait(10)
    inode, tid, fd = inodes
    (owner,) = find_owners([inode], method=method).owners_of(inode)
    everything = find_owners(None, method=method)
    go.set()
    worker.join()
    assert (owner.pid, owner.tid, owner.fd) == (os.getpid(), tid, fd)
    assert everything.first[inode] == owners.THREAD_BIT | tid << 32 | fd


def test_stopping_early_looks_at_the_likely_processes_first(children: list[Child]) -> None:
    children.append(Child(lambda: os.setuid(NOBODY)))
    everyone = [str(os.getppid()), str(os.getpid()), str(children[0].pid)]
    assert likely_first(everyone, [NOBODY], [])[0] == str(children[0].pid)
    with listener() as sock:
        table = find_owners([inode_of(sock)], method="proc", complete=False, uids=[os.getuid()])
        assert len(table.pid_fds(inode_of(sock))) == 1


def test_descriptors_are_counted_without_listing_them() -> None:
    processes, before = open_fd_counts([str(os.getpid())])
    with socket.socket():
        assert open_fd_counts([str(os.getpid())]) == (processes, before + 1)


def test_the_namespace_of_a_socket_is_seen_by_bpf_even_without_process() -> None:
    if not permitted():
        pytest.skip("BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
    with fresh_netns() as ns:
        made: list[socket.socket] = []

        def make() -> None:
            ns.enter()
            made.append(listener(SO_REUSEADDR=1))

        worker = threading.Thread(target=make)
        worker.start()
        worker.join()
        inode = inode_of(made[0])
        table = find_owners([inode], method="bpf")
        assert table.netns_of(inode) == ns.inode
        assert table.reuse_of(inode) == 1
        assert reuse_flags(ns.inode, [Record(made[0], socket.IPPROTO_TCP)]) == [1]
        made[0].close()


# Ghosts


def ghost_of(inode: int, method: str) -> owners.Ghost:
    table = find_owners([inode], method=method)
    ghost = table.ghost(inode)
    assert ghost is not None
    return ghost


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_in_an_undelivered_message_is_in_flight(method: str, kind: socket.SocketKind) -> None:
    sock = listener()
    inode = inode_of(sock)
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [sock.fileno()])
        sock.close()
        ghost = ghost_of(inode, method)
        assert (ghost.kind, ghost.proven) == (owners.IN_FLIGHT, True)
        assert (ghost.pid, ghost.fd) == (os.getpid(), theirs.fileno())
        _data, fds, _flags, _address = socket.recv_fds(theirs, 10, 1)
        assert [os.fstat(fd).st_ino for fd in fds] == [inode]
        os.close(fds[0])


@pytest.mark.usefixtures("without_bpf")
def test_a_socket_in_flight_is_found_without_bpf_too() -> None:
    sock = listener()
    inode = inode_of(sock)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        socket.send_fds(ours, [b"x"], [sock.fileno()])
        sock.close()
        ghost = ghost_of(inode, "proc")
        assert (ghost.kind, ghost.proven, ghost.fd) == (owners.IN_FLIGHT, True, theirs.fileno())


def unaccepted(name: str) -> tuple[socket.socket, socket.socket]:
    """Make a listener with a connection that nobody has accepted."""
    server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    server.bind(name)
    server.listen()
    client.connect(name)
    return server, client


@pytest.mark.parametrize("bpf", [False, True])
def test_a_socket_sent_over_a_connection_nobody_accepted_is_probably_there(bpf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not bpf:
        monkeypatch.setattr("twinsock.host.bpf.permitted", lambda: False)

    def body() -> tuple[str, bool, bool]:
        sock = listener()
        inode = inode_of(sock)
        server, client = unaccepted("\0owners-test")
        with server, client:
            socket.send_fds(client, [b"x"], [sock.fileno()])
            sock.close()
            ghost = ghost_of(inode, "proc")
            return ghost.kind, ghost.proven, (ghost.pid, ghost.fd) == (os.getpid(), server.fileno())

    assert run_in_netns(body) == (owners.IN_FLIGHT, False, True)


def ring_with(fds: list[int]) -> int:
    """Make an io_uring and register these descriptors with it."""
    params = ctypes.create_string_buffer(120)
    ring: int = _libc.syscall(IO_URING_SETUP, 4, params)
    if ring < 0:
        pytest.skip(f"io_uring_setup is refused here: {os.strerror(ctypes.get_errno())}")
    array = (ctypes.c_int * len(fds))(*fds)
    assert _libc.syscall(IO_URING_REGISTER, ring, IORING_REGISTER_FILES, array, len(fds)) == 0
    return ring


def test_a_socket_registered_with_an_io_uring_is_found_in_the_ring(method: str) -> None:
    sock = listener()
    inode = inode_of(sock)
    ring = ring_with([sock.fileno()])
    sock.close()
    ghost = ghost_of(inode, method)
    assert (ghost.kind, ghost.proven, ghost.pid, ghost.fd) == (owners.IO_URING, True, os.getpid(), ring)
    os.close(ring)


def test_a_socket_of_a_tunnel_belongs_to_the_kernel() -> None:
    if not permitted():
        pytest.skip("only the BPF iterators show that a socket has no file")

    def make_tunnel() -> tuple[str, str]:
        for command in ("ip link add vx type vxlan id 1 dev lo dstport 4789", "ip link set vx up"):
            made = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip("no vxlan device here: " + made.stderr.strip())
        with open("/proc/net/udp") as file:
            inode = int(file.read().splitlines()[1].split()[9])
        table = find_owners([inode], method="bpf")
        ghost = table.ghost(inode)
        assert ghost is not None
        return ghost.kind, table.quality(inode)

    assert run_in_netns(make_tunnel) == (owners.KERNEL, owners.KERNEL)


def test_a_socket_that_was_closed_meanwhile_is_gone(method: str) -> None:
    sock = listener()
    inode = inode_of(sock)
    sock.close()
    assert ghost_of(inode, method).kind == owners.GONE


def test_what_permission_hides_is_said_with_the_capability_that_shows_it() -> None:
    def as_nobody(inode: int, inherited: int) -> tuple[int, str, str]:
        os.close(inherited)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        table = find_owners([inode])
        ghost = table.ghost(inode)
        assert ghost is not None
        return table.hidden, ghost.kind, table.quality(inode)

    with listener() as sock:
        hidden, kind, quality = run_in_netns(as_nobody, inode_of(sock), sock.fileno())
    assert hidden > 0
    assert kind == owners.HIDDEN
    assert quality.startswith("hidden: needs CAP_SYS_PTRACE")


def test_nobody_sees_its_own_sockets() -> None:
    def as_nobody() -> tuple[str, bool, list[int]]:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with listener(SO_REUSEPORT=1) as sock:
            table = find_owners([inode_of(sock)])
            (owner,) = table.owners_of(inode_of(sock))
            flags = reuse_flags(0, [Record(sock, socket.IPPROTO_TCP)])
            return table.method, (owner.pid, owner.fd) == (os.getpid(), sock.fileno()), flags

    assert run_in_netns(as_nobody) == ("proc", True, [2])


# Reuse flags


class Record:
    """The fields of a socket's record that tell it from others."""

    def __init__(self, sock: socket.socket, protocol: int, cookie: bool = True) -> None:
        self.family = int(sock.family)
        self.protocol = protocol
        self.state = 7
        name = sock.getsockname()
        self.local = socket.inet_pton(sock.family, name[0])
        self.local_port = name[1]
        self.remote = b"\0" * len(self.local)
        self.remote_port = 0
        self.inode = inode_of(sock)
        self.cookie = struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, 57, 8))[0] if cookie else 0
        if protocol == socket.IPPROTO_TCP:
            self.state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def _flags_of_many() -> list[tuple[int, int]]:
    """Make sockets of many kinds and give (by getsockopt, by reuse_flags) for each."""
    socks: list[tuple[socket.socket, int]] = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind, protocol in ((socket.SOCK_STREAM, socket.IPPROTO_TCP), (socket.SOCK_DGRAM, socket.IPPROTO_UDP)):
            for bits in range(4):
                for listening in (False, True):
                    sock = socket.socket(family, kind)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, bits & 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, bits >> 1)
                    sock.bind((address, 0))
                    if listening and kind == socket.SOCK_STREAM:
                        sock.listen()
                    socks.append((sock, protocol))
    records: list[Any] = [Record(sock, protocol, number % 3 > 0) for number, (sock, protocol) in enumerate(socks)]
    asked = []
    for sock, _protocol in socks:
        asked.append(
            (sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) and 1)
            | (sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) and 2)
        )
    return list(zip(asked, reuse_flags(0, records), strict=True))


def test_bpf_and_getsockopt_agree_on_reuse_flags() -> None:
    if not permitted():
        pytest.skip("BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
    for asked, seen in run_in_netns(_flags_of_many):
        assert asked == seen


@pytest.mark.usefixtures("without_bpf")
def test_copied_descriptors_and_getsockopt_agree_on_reuse_flags() -> None:
    pairs = run_in_netns(_flags_of_many)
    assert {asked for asked, _seen in pairs} == {0, 1, 2, 3}
    for asked, seen in pairs:
        assert asked == seen


def _flags_of_time_wait(reuseaddr: int) -> list[int]:
    server = listener(SO_REUSEADDR=reuseaddr)
    client = socket.create_connection(server.getsockname())
    accepted, _peer = server.accept()
    record: Any = Record(accepted, socket.IPPROTO_TCP, cookie=False)
    record.remote, record.remote_port = record.local, client.getsockname()[1]
    accepted.close()
    client.recv(1)
    client.close()
    server.close()
    record.state, record.inode = TIME_WAIT, 0
    return reuse_flags(0, [record])


@pytest.mark.parametrize("reuseaddr", [0, 1])
def test_the_flag_of_a_time_wait_socket_is_seen_by_bpf(reuseaddr: int) -> None:
    if not permitted():
        pytest.skip("BPF iterators need CAP_BPF and CAP_PERFMON in the first pid namespace")
    assert run_in_netns(_flags_of_time_wait, reuseaddr) == [reuseaddr]


@pytest.mark.usefixtures("without_bpf")
def test_the_flag_of_a_time_wait_socket_is_unknown_without_bpf() -> None:
    assert run_in_netns(_flags_of_time_wait, 1) == [-1]


def test_nothing_is_left_open_by_a_search() -> None:
    def count() -> int:
        with listener() as sock:
            before = len(os.listdir("/proc/self/fd"))
            for method in METHODS if permitted() else ["proc"]:
                find_owners(None, method=method)
                find_owners([inode_of(sock)], method=method)
            reuse_flags(0, [Record(sock, socket.IPPROTO_TCP)])
            find_ghosts([1], 0)
            return len(os.listdir("/proc/self/fd")) - before

    assert run_in_netns(count) == 0


def test_the_processes_of_a_cgroup_are_looked_at_first(children: list[Child]) -> None:
    mount = next((path for path in CGROUP2_MOUNTS if os.path.exists(path + "/cgroup.controllers")), "")
    if not mount:
        pytest.skip("no cgroup v2 here")
    folder = f"{mount}/twinsock-owners-{os.getpid()}"

    def join() -> None:
        with open(folder + "/cgroup.procs", "w") as file:
            file.write("0")

    os.mkdir(folder)
    try:
        children.append(Child(join))
        inode = os.stat(folder).st_ino
        assert cgroup_folders([inode]) == [folder]
        everyone = [str(os.getppid()), str(os.getpid()), str(children[0].pid)]
        assert likely_first(everyone, [], [inode])[0] == str(children[0].pid)
        children.pop().end()
    finally:
        os.rmdir(folder)
