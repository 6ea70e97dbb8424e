"""Programs of a cgroup as Python callables: they refuse, rewrite, and waive."""

import errno
import struct
from collections.abc import Callable

import pytest

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.bpf import cgroup
from twinsock.kernel.net.core.skbuff import SkBuff
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
    sys_shutdown,
    sys_socket,
    sys_socketpair,
)
from twinsock.kernel.sched.task import Task
from twinsock.kernel.security import SecurityOps


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


LISTEN = b"\1\0\0listen"
OTHER = b"\1\0\0other"


def test_a_stream_connects_where_the_program_says_or_not_at_all() -> None:
    task = start_kernel().new_task()
    listener, refused, client = (sys_socket(task, 2, 1, 0) for _ in range(3))
    assert sys_bind(task, listener, addr4(7000), 16) == 0
    assert sys_listen(task, listener, 5) == 0
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_INET4_CONNECT: -errno.EPERM}, {})
    assert sys_connect(task, refused, addr4(7000), 16) == -errno.EPERM
    task.kernel.cgroup_bpf = Programs({}, {cgroup.BPF_CGROUP_INET4_CONNECT: addr4(7000)})
    assert sys_connect(task, client, addr4(9), 16) == 0
    task.kernel.cgroup_bpf = None
    name = UserSockaddr()
    assert sys_getpeername(task, client, name) == 0
    assert name.addr == addr4(7000)


def test_a_datagram_goes_where_the_program_says_and_comes_from_where_it_says() -> None:
    task = start_kernel().new_task()
    here, there = sys_socket(task, 2, 2, 0), sys_socket(task, 2, 2, 0)
    assert sys_bind(task, there, addr4(7001), 16) == 0
    task.kernel.cgroup_bpf = Programs({cgroup.BPF_CGROUP_UDP4_SENDMSG: -errno.EPERM}, {})
    assert sys_sendto(task, here, b"x", 0, addr4(9), 16) == -errno.EPERM
    rewrite = {cgroup.BPF_CGROUP_UDP4_SENDMSG: addr4(7001), cgroup.BPF_CGROUP_UDP4_RECVMSG: addr4(53, 0x08080808)}
    task.kernel.cgroup_bpf = Programs({}, rewrite)
    assert sys_sendto(task, here, b"x", 0, addr4(9), 16) == 1
    sender = UserSockaddr()
    assert sys_recvfrom(task, there, 10, 0, sender) == (1, b"x")
    assert sender.addr == addr4(53, 0x08080808)


def test_unix_sockets_are_refused_and_led_elsewhere() -> None:
    task = start_kernel().new_task()
    listener, client, receiver, sender = (sys_socket(task, 1, kind, 0) for kind in (1, 1, 2, 2))
    assert sys_bind(task, listener, LISTEN, len(LISTEN)) == 0
    assert sys_listen(task, listener, 5) == 0
    assert sys_bind(task, receiver, OTHER, len(OTHER)) == 0
    refuse = {cgroup.BPF_CGROUP_UNIX_CONNECT: -errno.EPERM, cgroup.BPF_CGROUP_UNIX_SENDMSG: -errno.EPERM}
    task.kernel.cgroup_bpf = Programs(refuse, {})
    assert sys_connect(task, client, LISTEN, len(LISTEN)) == -errno.EPERM
    assert sys_connect(task, sender, OTHER, len(OTHER)) == -errno.EPERM
    assert sys_sendto(task, sender, b"x", 0, OTHER, len(OTHER)) == -errno.EPERM
    nowhere = b"\1\0\0nowhere"
    rewrite = {cgroup.BPF_CGROUP_UNIX_CONNECT: LISTEN, cgroup.BPF_CGROUP_UNIX_SENDMSG: OTHER}
    rewrite |= {cgroup.BPF_CGROUP_UNIX_GETPEERNAME: OTHER, cgroup.BPF_CGROUP_UNIX_GETSOCKNAME: nowhere}
    task.kernel.cgroup_bpf = Programs({}, rewrite)
    assert sys_connect(task, client, nowhere, len(nowhere)) == 0
    assert sys_sendto(task, sender, b"x", 0, nowhere, len(nowhere)) == 1
    assert sys_recvfrom(task, receiver, 10, 0, None) == (1, b"x")
    name = UserSockaddr()
    assert sys_getpeername(task, client, name) == 0 and name.addr == OTHER
    assert sys_getsockname(task, client, name) == 0 and name.addr == nowhere


class Guard(SecurityOps):
    """A security module that refuses one hook by name and remembers which were asked."""

    def __init__(self, refused: str) -> None:
        self.refused = refused
        self.asked: list[str] = []


def _hook(name: str) -> Callable[..., int]:
    def ask(self: Guard, *args: object) -> int:
        self.asked.append(name)
        return -errno.EACCES if name == self.refused else 0

    return ask


HOOKS = [name for name in vars(SecurityOps) if name.startswith(("socket_", "unix_"))]
for hook in HOOKS:
    setattr(Guard, hook, _hook(hook))


def every_guarded_call(task: Task) -> list[int]:
    """Make every call that a security module is asked about; return the results."""
    fds: list[int] = []
    results = [sys_socketpair(task, 1, 1, 0, fds)]
    listener, client, receiver, sender = (sys_socket(task, 1, kind | 0x800, 0) for kind in (1, 1, 2, 2))
    results += [listener, sys_bind(task, listener, LISTEN, len(LISTEN)), sys_listen(task, listener, 5)]
    results += [sys_bind(task, receiver, OTHER, len(OTHER)), sys_connect(task, client, LISTEN, len(LISTEN))]
    results += [sys_accept4(task, listener, None, 0), sys_sendto(task, sender, b"x", 0, OTHER, len(OTHER))]
    results += [sys_recvfrom(task, receiver, 10, 0x40, None)[0], sys_getsockname(task, client, UserSockaddr())]
    results += [sys_getpeername(task, client, UserSockaddr()), sys_setsockopt(task, client, 1, 2, b"1234", 4)]
    results += [sys_getsockopt(task, client, 1, 2, bytes(4), 4)[0], sys_shutdown(task, client, 2)]
    return results


@pytest.mark.parametrize("name", ["", *HOOKS])
def test_every_security_hook_is_asked_and_can_refuse(name: str) -> None:
    task = start_kernel().new_task()
    guard = Guard(name)
    task.kernel.security = guard
    results = every_guarded_call(task)
    assert (-errno.EACCES in results) == (name != "")
    if not name:
        assert min(results) >= 0
        assert sorted(set(guard.asked)) == sorted(HOOKS)


def test_packets_are_shown_to_ingress_programs_and_to_no_others() -> None:
    class Watch(cgroup.CgroupBpf):
        seen: list[int] = []

        def skb(self, sk: Sock, skb: SkBuff, atype: int) -> int:
            self.seen.append(atype)
            return -errno.EPERM

    task = start_kernel().new_task()
    here, there = sys_socket(task, 2, 2, 0), sys_socket(task, 2, 2, 0)
    assert sys_bind(task, there, addr4(7001), 16) == 0
    task.kernel.cgroup_bpf = Watch()
    assert sys_sendto(task, here, b"x", 0, addr4(7001), 16) == 1
    assert Watch.seen == [cgroup.BPF_CGROUP_INET_INGRESS]
    assert sys_recvfrom(task, there, 10, 0x40, None)[0] == -errno.EAGAIN
