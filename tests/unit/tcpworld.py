"""Kernels with TCP over loopback for tests: one call per system call, errors as negative numbers."""

from tests.unit.ipworld import host
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.ipv4.tcp_init import tcp_init
from twinsock.kernel.net.ipv4.tcp_sock import TcpSock
from twinsock.kernel.net.ipv6.tcp_ipv6 import tcpv6_init
from twinsock.kernel.net.socket import (
    UserSockaddr,
    sock_from_file,
    sys_accept4,
    sys_bind,
    sys_connect,
    sys_getpeername,
    sys_getsockname,
    sys_getsockopt,
    sys_listen,
    sys_recvfrom,
    sys_send,
    sys_setsockopt,
    sys_shutdown,
    sys_socket,
)
from twinsock.kernel.sched.task import Task
from twinsock.kernel.time.timer import Clock
from twinsock.uapi.socket import AF_INET, SOCK_NONBLOCK, SOCK_STREAM

LOCALHOST = 0x7F000001


def sockaddr(port: int, addr: int = LOCALHOST) -> bytes:
    return b"\x02\x00" + port.to_bytes(2, "big") + addr.to_bytes(4, "big") + bytes(8)


class World:
    """A host, a program on it, and its system calls."""

    def __init__(self, seed: int = 1, clock: Clock | None = None) -> None:
        self.kernel: Kernel = host(clock, seed)
        tcp_init(self.kernel)
        tcpv6_init(self.kernel)
        self.net = self.kernel.init_net
        self.task: Task = self.kernel.new_task()

    def socket(self, nonblock: bool = True) -> int:
        return sys_socket(self.task, AF_INET, SOCK_STREAM | (SOCK_NONBLOCK if nonblock else 0), 0)

    def bind(self, fd: int, port: int, addr: int = LOCALHOST) -> int:
        return sys_bind(self.task, fd, sockaddr(port, addr), 16)

    def listen(self, fd: int, backlog: int = 10) -> int:
        return sys_listen(self.task, fd, backlog)

    def connect(self, fd: int, port: int, addr: int = LOCALHOST) -> int:
        return sys_connect(self.task, fd, sockaddr(port, addr), 16)

    def accept(self, fd: int) -> int:
        return sys_accept4(self.task, fd, None, SOCK_NONBLOCK)

    def send(self, fd: int, data: bytes, flags: int = 0) -> int:
        return sys_send(self.task, fd, data, flags)

    def recv(self, fd: int, size: int, flags: int = 0) -> int | bytes:
        err, data = sys_recvfrom(self.task, fd, size, flags, None)
        return err if err < 0 else data

    def shutdown(self, fd: int, how: int) -> int:
        return sys_shutdown(self.task, fd, how)

    def close(self, fd: int) -> int:
        return sys_close(self.task, fd)

    def setsockopt(self, fd: int, level: int, name: int, value: int) -> int:
        return sys_setsockopt(self.task, fd, level, name, value.to_bytes(4, "little", signed=value < 0), 4)

    def getsockopt(self, fd: int, level: int, name: int, size: int = 4) -> int | bytes:
        err, value = sys_getsockopt(self.task, fd, level, name, bytes(size), size)
        return err if err < 0 else value

    def so_error(self, fd: int) -> int:
        value = self.getsockopt(fd, 1, 4)
        assert isinstance(value, bytes)
        return int.from_bytes(value, "little")

    def poll(self, fd: int, events: int = 0x23FF) -> int:
        pfd = Pollfd(fd, events)
        sys_poll(self.task, [pfd], 0)
        return pfd.revents

    def port(self, fd: int, peer: bool = False) -> int:
        user = UserSockaddr(128)
        err = (sys_getpeername if peer else sys_getsockname)(self.task, fd, user)
        return err if err < 0 else int.from_bytes(user.addr[2:4], "big")

    def sk(self, fd: int) -> TcpSock:
        files = self.task.files
        assert files is not None
        sock = sock_from_file(files.fd[fd])
        assert sock is not None and isinstance(sock.sk, TcpSock)
        return sock.sk

    def run(self, ms: float) -> None:
        """Let virtual time pass."""
        clock = self.kernel.clock
        clock.advance_to(clock.now_ns + int(ms * 1_000_000))

    def mib(self, index: int) -> int:
        return self.net.net_statistics[index]

    def tcp_mib(self, index: int) -> int:
        return self.net.tcp_statistics[index]

    def pair(self, port: int = 5001) -> tuple[int, int, int]:
        """Return (listener, client, server) of a connection over loopback."""
        lfd = self.socket()
        assert self.bind(lfd, port) == 0
        assert self.listen(lfd) == 0
        cfd = self.socket()
        assert self.connect(cfd, port) == -115
        sfd = self.accept(lfd)
        assert sfd >= 0, sfd
        return lfd, cfd, sfd
