"""Each program of a cgroup in each of its variants: IPv6, addresses told, UNIX streams, options, the end of a socket."""

import errno
import socket
import struct

import pytest

from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.kernel.bpf import cgroup
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.net.core.sock import Sock
from twinsock.kernel.net.socket import (
    UserSockaddr,
    sys_accept4,
    sys_bind,
    sys_connect,
    sys_getpeername,
    sys_getsockname,
    sys_getsockopt,
    sys_listen,
    sys_recvfrom,
    sys_sendto,
    sys_setsockopt,
    sys_socket,
    sys_socketpair,
)
from twinsock.kernel.sched.task import Task
from twinsock.uapi.socket import AF_INET6, SOCK_DGRAM, SOCK_STREAM


def addr4(port: int, host: str = "127.0.0.1") -> bytes:
    return struct.pack("=H", 2) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def addr6(port: int, host: str = "::1") -> bytes:
    return struct.pack("=H", 10) + struct.pack("!HI", port, 0) + socket.inet_pton(socket.AF_INET6, host) + bytes(4)


class Programs(cgroup.CgroupBpf):
    """Answers and addresses by attach type; remembers what it was asked, and values of options."""

    def __init__(self, errors: dict[int, int] | None = None, rewrite: dict[int, bytes] | None = None) -> None:
        self.errors = errors or {}
        self.rewrite = rewrite or {}
        self.asked: list[int] = []
        self.options: list[tuple[int, int, int, bytes]] = []

    def sock(self, sk: Sock, atype: int) -> int:
        self.asked.append(atype)
        return self.errors.get(atype, 0)

    def sock_addr(self, sk: Sock, atype: int, uaddr: bytes) -> tuple[int, bytes]:
        self.asked.append(atype)
        return self.errors.get(atype, 0), self.rewrite.get(atype, uaddr)

    def setsockopt(self, sk: Sock, level: int, optname: int, optval: bytes) -> tuple[int, bytes]:
        self.options.append((level, optname, 0, optval))
        return self.errors.get(cgroup.BPF_CGROUP_SETSOCKOPT, 0), self.rewrite.get(cgroup.BPF_CGROUP_SETSOCKOPT, optval)

    def getsockopt(self, sk: Sock, level: int, optname: int, retval: int, optval: bytes) -> tuple[int, bytes]:
        self.options.append((level, optname, retval, optval))
        return self.errors.get(cgroup.BPF_CGROUP_GETSOCKOPT, retval), self.rewrite.get(cgroup.BPF_CGROUP_GETSOCKOPT, optval)


@pytest.fixture
def task() -> Task:
    kernel = start_kernel()
    net_init_loopback(kernel.init_net)
    return kernel.new_task()


def name_of(task: Task, fd: int, peer: bool = False) -> bytes:
    name = UserSockaddr()
    assert (sys_getpeername if peer else sys_getsockname)(task, fd, name) == 0
    return name.addr


@pytest.mark.parametrize("type_", [SOCK_STREAM, SOCK_DGRAM])
def test_bind6_refuses_rewrites_and_waives_the_capability(task: Task, type_: int) -> None:
    fd = sys_socket(task, AF_INET6, type_, 0)
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET6_BIND: -errno.EPERM})
    assert sys_bind(task, fd, addr6(5000), 28) == -errno.EPERM
    assert sys_bind(task, fd, addr6(5000), 23) == -errno.EINVAL
    task.cred.cap_effective = 0
    task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_INET6_BIND: addr6(80)})
    assert sys_bind(task, fd, addr6(5000), 28) == -errno.EACCES
    waive = {cgroup.BPF_CGROUP_INET6_BIND: cgroup.BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE}
    programs = task.kernel.cgroup_bpf = Programs(waive, {cgroup.BPF_CGROUP_INET6_BIND: addr6(80)})
    assert sys_bind(task, fd, addr6(5000), 28) == 0
    assert programs.asked == [cgroup.BPF_CGROUP_INET6_BIND, cgroup.BPF_CGROUP_INET6_POST_BIND]
    assert name_of(task, fd) == addr6(80)


@pytest.mark.parametrize("type_", [SOCK_STREAM, SOCK_DGRAM])
def test_post_bind6_gives_the_port_back(task: Task, type_: int) -> None:
    first, second = sys_socket(task, AF_INET6, type_, 0), sys_socket(task, AF_INET6, type_, 0)
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET6_POST_BIND: -errno.EPERM})
    assert sys_bind(task, first, addr6(5000), 28) == -errno.EPERM
    task.kernel.cgroup_bpf = None
    assert sys_bind(task, second, addr6(5000), 28) == 0


def test_connect6_refuses_and_rewrites_streams_and_datagrams(task: Task) -> None:
    listener = sys_socket(task, AF_INET6, SOCK_STREAM, 0)
    assert sys_bind(task, listener, addr6(7000), 28) == 0
    assert sys_listen(task, listener, 5) == 0
    for type_ in (SOCK_STREAM, SOCK_DGRAM):
        fd = sys_socket(task, AF_INET6, type_, 0)
        task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET6_CONNECT: -errno.EPERM})
        assert sys_connect(task, fd, addr6(9), 28) == -errno.EPERM
        task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_INET6_CONNECT: addr6(7000)})
        assert sys_connect(task, fd, addr6(9), 28) == 0
        task.kernel.cgroup_bpf = None
        assert name_of(task, fd, peer=True) == addr6(7000)


def test_sendmsg6_and_recvmsg6_refuse_and_rewrite(task: Task) -> None:
    here, there = sys_socket(task, AF_INET6, SOCK_DGRAM, 0), sys_socket(task, AF_INET6, SOCK_DGRAM, 0)
    assert sys_bind(task, there, addr6(7001), 28) == 0
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_UDP6_SENDMSG: -errno.EPERM})
    assert sys_sendto(task, here, b"x", 0, addr6(9), 28) == -errno.EPERM
    rewrite = {cgroup.BPF_CGROUP_UDP6_SENDMSG: addr6(7001), cgroup.BPF_CGROUP_UDP6_RECVMSG: addr6(53, "2001:db8::8")}
    programs = task.kernel.cgroup_bpf = Programs({}, rewrite)
    assert sys_sendto(task, here, b"x", 0, addr6(9), 28) == 1
    sender = UserSockaddr()
    assert sys_recvfrom(task, there, 10, 0, sender) == (1, b"x")
    assert sender.addr == addr6(53, "2001:db8::8")
    assert programs.asked == [cgroup.BPF_CGROUP_UDP6_SENDMSG, cgroup.BPF_CGROUP_UDP6_RECVMSG]


def test_a_connected_datagram_socket_is_not_asked_for_each_message(task: Task) -> None:
    for family, address in ((2, addr4(9)), (AF_INET6, addr6(9))):
        fd = sys_socket(task, family, SOCK_DGRAM, 0)
        assert sys_connect(task, fd, address, len(address)) == 0
        programs = task.kernel.cgroup_bpf = Programs()
        assert sys_sendto(task, fd, b"x", 0, None, 0) == 1
        task.kernel.cgroup_bpf = None
        assert set(programs.asked) <= {cgroup.BPF_CGROUP_INET_INGRESS}


@pytest.mark.parametrize(
    ("family", "address", "other", "own", "peer"),
    [
        (2, addr4(7000), addr4(1, "192.0.2.1"), cgroup.BPF_CGROUP_INET4_GETSOCKNAME, cgroup.BPF_CGROUP_INET4_GETPEERNAME),
        (10, addr6(7000), addr6(1, "2001:db8::1"), cgroup.BPF_CGROUP_INET6_GETSOCKNAME, cgroup.BPF_CGROUP_INET6_GETPEERNAME),
    ],
)
def test_programs_say_which_names_a_socket_has(task: Task, family: int, address: bytes, other: bytes, own: int, peer: int) -> None:
    listener, client = sys_socket(task, family, SOCK_STREAM, 0), sys_socket(task, family, SOCK_STREAM, 0)
    assert sys_bind(task, listener, address, len(address)) == 0
    assert sys_listen(task, listener, 5) == 0
    assert sys_connect(task, client, address, len(address)) == 0
    task.kernel.cgroup_bpf = Programs({}, {own: other})
    assert (name_of(task, client), name_of(task, client, peer=True)) == (other, address)
    task.kernel.cgroup_bpf = Programs({}, {peer: other})
    assert name_of(task, client, peer=True) == other
    accepted = UserSockaddr()
    assert sys_accept4(task, listener, accepted, 0) >= 0
    assert accepted.addr == other


def test_senders_of_unix_messages_are_renamed(task: Task) -> None:
    name, hidden = b"\1\0\0sender", b"\1\0\0hidden"
    for type_ in (SOCK_STREAM, SOCK_DGRAM):
        fds: list[int] = []
        assert sys_socketpair(task, 1, type_, 0, fds) == 0
        assert sys_bind(task, fds[0], name + bytes((type_,)), len(name) + 1) == 0
        assert sys_sendto(task, fds[0], b"x", 0, None, 0) == 1
        programs = task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_UNIX_RECVMSG: hidden})
        sender = UserSockaddr()
        assert sys_recvfrom(task, fds[1], 9, 0, sender) == (1, b"x")
        task.kernel.cgroup_bpf = None
        assert (sender.addr, programs.asked) == (hidden, [cgroup.BPF_CGROUP_UNIX_RECVMSG])


def test_a_program_changes_what_setsockopt_sets(task: Task) -> None:
    fd = sys_socket(task, 2, SOCK_DGRAM, 0)
    programs = task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_SETSOCKOPT: struct.pack("=i", 7)})
    assert sys_setsockopt(task, fd, 1, 12, struct.pack("=i", 3), 4) == 0  # SO_PRIORITY
    assert programs.options == [(1, 12, 0, struct.pack("=i", 3))]
    task.kernel.cgroup_bpf = None
    assert sys_getsockopt(task, fd, 1, 12, bytes(4), 4) == (0, struct.pack("=i", 7))
    task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_SETSOCKOPT: b"\1"})  # shorter than an int
    assert sys_setsockopt(task, fd, 1, 12, struct.pack("=i", 3), 4) == -errno.EINVAL


def test_a_program_changes_what_getsockopt_says(task: Task) -> None:
    fd = sys_socket(task, 2, SOCK_STREAM, 0)
    programs = task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_GETSOCKOPT: struct.pack("=i", 99)})
    assert sys_getsockopt(task, fd, 1, 3, bytes(4), 4) == (0, struct.pack("=i", 99))
    assert programs.options == [(1, 3, 0, struct.pack("=i", SOCK_STREAM))]
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_GETSOCKOPT: -errno.EPERM})
    assert sys_getsockopt(task, fd, 1, 3, bytes(4), 4)[0] == -errno.EPERM
    programs = task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_GETSOCKOPT: 0}, {cgroup.BPF_CGROUP_GETSOCKOPT: b"answer"})
    assert sys_getsockopt(task, fd, 1, 9999, bytes(6), 6) == (0, b"answer")  # an option that the kernel does not know
    assert programs.options[0][2] == -errno.ENOPROTOOPT


def test_the_end_of_an_internet_socket_is_told_once(task: Task) -> None:
    fds = [sys_socket(task, family, type_, 0) for family in (2, 10) for type_ in (SOCK_STREAM, SOCK_DGRAM)]
    fds.append(sys_socket(task, 1, SOCK_STREAM, 0))
    programs = task.kernel.cgroup_bpf = Programs()
    for fd in fds:
        assert sys_close(task, fd) == 0
    assert programs.asked == [cgroup.BPF_CGROUP_INET_SOCK_RELEASE] * 4


def test_creating_ipv6_sockets_is_refused_before_a_descriptor_is_made(task: Task) -> None:
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET_SOCK_CREATE: -errno.EPERM})
    assert sys_socket(task, AF_INET6, SOCK_STREAM, 0) == -errno.EPERM
    assert sys_socket(task, AF_INET6, SOCK_STREAM, 99) == -errno.EPROTONOSUPPORT
    task.kernel.cgroup_bpf = None
    assert sys_socket(task, AF_INET6, SOCK_STREAM, 0) == 0
