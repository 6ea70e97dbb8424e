"""Programs of a cgroup as Python callables: they refuse, rewrite, and waive."""

import errno
import struct

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.bpf import cgroup
from twinsock.kernel.net.core.sock import Sock
from twinsock.kernel.net.socket import UserSockaddr, sys_bind, sys_connect, sys_getpeername, sys_getsockname, sys_setsockopt, sys_socket


def addr4(port: int, host: int = 0x7F000001) -> bytes:
    return struct.pack("=H", 2) + struct.pack("!HI8x", port, host)


class Programs(cgroup.CgroupBpf):
    """Answers by attach type; remembers what it was asked."""

    def __init__(self, errors: dict[int, int], rewrite: dict[int, bytes]) -> None:
        self.errors = errors
        self.rewrite = rewrite
        self.asked: list[int] = []

    def sock(self, sk: Sock, atype: int) -> int:
        self.asked.append(atype)
        return self.errors.get(atype, 0)

    def sock_addr(self, sk: Sock, atype: int, uaddr: bytes) -> tuple[int, bytes]:
        self.asked.append(atype)
        return self.errors.get(atype, 0), self.rewrite.get(atype, uaddr)

    def setsockopt(self, sk: Sock, level: int, optname: int, optval: bytes) -> tuple[int, bytes]:
        return self.errors.get(cgroup.BPF_CGROUP_SETSOCKOPT, 0), optval


def test_sock_create_is_refused_and_nothing_stays_counted() -> None:
    task = start_kernel().new_task()
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET_SOCK_CREATE: -errno.EPERM}, {})
    assert sys_socket(task, 2, 2, 0) == -errno.EPERM
    assert task.net.sockets_used == 0
    assert sys_socket(task, 1, 2, 0) == 0


def test_bind_is_refused_rewritten_and_freed_from_the_capability() -> None:
    task = start_kernel().new_task()
    fd = sys_socket(task, 2, 2, 0)
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET4_BIND: -errno.EPERM}, {})
    assert sys_bind(task, fd, addr4(5000), 16) == -errno.EPERM
    assert sys_bind(task, fd, addr4(5000), 15) == -errno.EINVAL
    waive = {cgroup.BPF_CGROUP_INET4_BIND: cgroup.BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE}
    task.kernel.cgroup_bpf = Programs(waive, {cgroup.BPF_CGROUP_INET4_BIND: addr4(80)})
    task.cred.cap_effective = 0
    assert sys_bind(task, fd, addr4(5000), 16) == 0
    name = UserSockaddr()
    task.kernel.cgroup_bpf = None
    assert sys_getsockname(task, fd, name) == 0
    assert name.addr == addr4(80)


def test_post_bind_gives_the_port_back() -> None:
    task = start_kernel().new_task()
    first, second = sys_socket(task, 2, 2, 0), sys_socket(task, 2, 2, 0)
    programs = Programs({cgroup.BPF_CGROUP_INET4_POST_BIND: -errno.EPERM}, {})
    task.kernel.cgroup_bpf = programs
    assert sys_bind(task, first, addr4(5000), 16) == -errno.EPERM
    assert programs.asked == [cgroup.BPF_CGROUP_INET4_BIND, cgroup.BPF_CGROUP_INET4_POST_BIND]
    task.kernel.cgroup_bpf = None
    assert sys_bind(task, second, addr4(5000), 16) == 0


def test_connect_goes_where_the_program_says() -> None:
    task = start_kernel().new_task()
    fd = sys_socket(task, 2, 2, 0)
    task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_INET4_CONNECT: addr4(9)})
    assert sys_connect(task, fd, addr4(7), 16) == 0
    task.kernel.cgroup_bpf = None
    name = UserSockaddr()
    assert sys_getpeername(task, fd, name) == 0
    assert name.addr == addr4(9)


def test_a_program_can_answer_setsockopt_itself() -> None:
    task = start_kernel().new_task()
    fd = sys_socket(task, 1, 2, 0)
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_SETSOCKOPT: 1}, {})
    assert sys_setsockopt(task, fd, 1, 9999, b"", 0) == 0
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_SETSOCKOPT: -errno.EPERM}, {})
    assert sys_setsockopt(task, fd, 1, 2, b"1234", 4) == -errno.EPERM
