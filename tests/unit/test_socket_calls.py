"""socket(2) and its kin against a family made for the test: order of checks, descriptors, hooks."""

import errno

import pytest

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.file import sys_close, sys_dup, sys_dup2
from twinsock.kernel.net.core.net import Msghdr, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.sock import Proto, Sock, proto_register, sk_alloc, sk_common_release, sock_init_data
from twinsock.kernel.net.socket import (
    UserSockaddr,
    sock_register,
    sys_accept4,
    sys_bind,
    sys_connect,
    sys_getsockopt,
    sys_listen,
    sys_recvfrom,
    sys_send,
    sys_setsockopt,
    sys_socket,
    sys_socketpair,
)
from twinsock.kernel.sched.task import Task
from twinsock.kernel.security import SecurityOps
from twinsock.uapi.resource import RLIMIT_NOFILE

AF_TEST = 9


class EchoProto(Proto):
    """Does nothing but live and die."""


class EchoOps(ProtoOps):
    """A family whose sockets return what they were sent."""

    def __init__(self) -> None:
        self.family = AF_TEST

    def release(self, task: Task | None, sock: Socket) -> int:
        if sock.sk is not None:
            sk_common_release(sock.sk)
        return 0

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        return len(addr)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        self.data = msg.take(msg.remaining())
        return len(self.data)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        msg.chunks.append(self.data[: msg.size])
        return len(msg.chunks[0])


class EchoFamily(NetProtoFamily):
    def __init__(self) -> None:
        self.family = AF_TEST
        self.prot = EchoProto("ECHO", 100)

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        if protocol:
            return -errno.EPROTONOSUPPORT
        sock.ops = EchoOps()
        sock_init_data(sock, sk_alloc(Sock(net, AF_TEST, self.prot, sock.type, protocol), kern))
        return 0


@pytest.fixture
def task() -> Task:
    kernel = start_kernel(seed=1)
    family = EchoFamily()
    proto_register(kernel, family.prot)
    sock_register(kernel, family)
    return kernel.new_task("test")


@pytest.mark.parametrize(
    ("family", "type_", "protocol", "want"),
    [
        (AF_TEST, -1, 0, errno.EINVAL),
        (100, 0x100, 0, errno.EINVAL),
        (46, 11, 0, errno.EAFNOSUPPORT),
        (-1, 1, 0, errno.EAFNOSUPPORT),
        (3, 11, 0, errno.EINVAL),
        (3, 1, 0, errno.EAFNOSUPPORT),
        (AF_TEST, 1, 5, errno.EPROTONOSUPPORT),
    ],
)
def test_the_first_failing_check_of_socket_decides(task: Task, family: int, type_: int, protocol: int, want: int) -> None:
    task.rlim_cur[RLIMIT_NOFILE] = 0
    assert sys_socket(task, family, type_, protocol) == -want


def test_a_full_table_is_found_after_creation_and_leaves_no_count(task: Task) -> None:
    task.rlim_cur[RLIMIT_NOFILE] = 0
    assert sys_socket(task, AF_TEST, 1, 0) == -errno.EMFILE
    assert task.net.sockets_used == 0


def test_a_full_table_comes_first_in_socketpair(task: Task) -> None:
    task.rlim_cur[RLIMIT_NOFILE] = 1
    assert sys_socketpair(task, 3, 1, 0, []) == -errno.EMFILE
    task.rlim_cur[RLIMIT_NOFILE] = 2
    assert sys_socketpair(task, 3, 1, 0, None) == -errno.EFAULT
    assert sys_socketpair(task, 3, 1, 0, []) == -errno.EAFNOSUPPORT
    assert sys_socketpair(task, AF_TEST, 1, 0, []) == -errno.EOPNOTSUPP
    assert task.net.sockets_used == 0
    assert sys_socket(task, AF_TEST, 1, 0) == 0


def test_the_file_limit_of_the_host_binds_those_without_privilege(task: Task) -> None:
    task.kernel.file_max = 0
    assert sys_socket(task, AF_TEST, 1, 0) == 0
    task.cred.cap_effective = 0
    assert sys_socket(task, AF_TEST, 1, 0) == -errno.ENFILE
    assert sys_socket(task, AF_TEST, 1, 7) == -errno.EPROTONOSUPPORT


def test_accept_reserves_its_descriptor_before_it_looks_at_the_socket(task: Task) -> None:
    fd = sys_socket(task, AF_TEST, 1, 0)
    assert sys_accept4(task, 99, None, -1) == -errno.EBADF
    assert sys_accept4(task, fd, None, 1) == -errno.EINVAL
    task.rlim_cur[RLIMIT_NOFILE] = 1
    assert sys_accept4(task, fd, None, 0) == -errno.EMFILE
    task.rlim_cur[RLIMIT_NOFILE] = 2
    assert sys_accept4(task, fd, UserSockaddr(), 0) == -errno.EOPNOTSUPP


def test_addresses_are_copied_in_before_the_protocol_sees_them(task: Task) -> None:
    fd = sys_socket(task, AF_TEST, 1, 0)
    assert sys_bind(task, fd, b"x" * 200, 129) == -errno.EINVAL
    assert sys_bind(task, fd, b"", -1) == -errno.EINVAL
    assert sys_bind(task, fd, None, 4) == -errno.EFAULT
    assert sys_bind(task, fd, None, 0) == 0
    assert sys_bind(task, fd, b"abcdef", 4) == 4
    assert sys_connect(task, 99, None, 200) == -errno.EBADF
    assert sys_connect(task, fd, None, 200) == -errno.EINVAL
    assert sys_connect(task, fd, b"ab", 2) == -errno.EOPNOTSUPP
    assert sys_listen(task, fd, 5) == -errno.EOPNOTSUPP


def test_a_socket_lives_until_its_last_descriptor_goes(task: Task) -> None:
    fd = sys_socket(task, AF_TEST, 1, 0)
    copy = sys_dup(task, fd)
    assert sys_dup2(task, fd, 10) == 10
    assert [sys_close(task, fd), sys_close(task, copy)] == [0, 0]
    assert task.net.sockets_used == 1
    assert sys_send(task, 10, b"hello", 0) == 5
    assert sys_recvfrom(task, 10, 3, 0, None) == (3, b"hel")
    assert sys_close(task, 10) == 0
    assert task.net.sockets_used == 0
    assert sys_close(task, 10) == -errno.EBADF


def test_a_security_module_can_refuse_a_bind(task: Task) -> None:
    class NoBind(SecurityOps):
        def socket_bind(self, task: Task, sock: Socket, addr: bytes) -> int:
            return -errno.EACCES

    fd = sys_socket(task, AF_TEST, 1, 0)
    task.kernel.security = NoBind()
    assert sys_bind(task, fd, b"ab", 2) == -errno.EACCES


def test_buffer_sizes_are_clamped_and_doubled_and_have_a_floor(task: Task) -> None:
    fd = sys_socket(task, AF_TEST, 1, 0)

    def buffer(option: int, value: int) -> int:
        assert sys_setsockopt(task, fd, 1, option, value.to_bytes(4, "little", signed=True), 4) == 0
        return int.from_bytes(sys_getsockopt(task, fd, 1, option, b"", 4)[1], "little")

    assert [buffer(7, value) for value in (0, 2303, 4000, -1)] == [4608, 4608, 8000, 8388608]
    assert [buffer(8, value) for value in (0, 2303, 65536, 0x7FFFFFFF)] == [2304, 4606, 131072, 8388608]
    assert sys_getsockopt(task, fd, 1, 7, b"", 2) == (0, b"\0\0")
    assert sys_getsockopt(task, fd, 1, 200, b"", 4)[0] == -errno.ENOPROTOOPT


def test_families_and_protocols_that_the_twin_leaves_out_are_refused_as_by_a_kernel_built_without_them() -> None:
    task = start_kernel().new_task()  # D-inet-1
    for family in (40, 44):  # AF_VSOCK, AF_XDP
        assert sys_socket(task, family, 1, 0) == -errno.EAFNOSUPPORT
    assert sys_socket(task, 2, 1, 262) == sys_socket(task, 10, 1, 262) == -errno.EPROTONOSUPPORT  # MPTCP
