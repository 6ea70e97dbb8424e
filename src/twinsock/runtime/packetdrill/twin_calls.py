"""System calls of a script on the twin."""

from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create, sys_epoll_ctl, sys_epoll_wait
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.ioctl import sys_ioctl
from twinsock.kernel.fs.pipe import sys_pipe2
from twinsock.kernel.fs.ramfs import sys_open
from twinsock.kernel.fs.read_write import sys_read, sys_readv, sys_write, sys_writev
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.fs.splice import SpliceArgs, sys_sendfile64, sys_splice
from twinsock.kernel.net import socket as calls
from twinsock.kernel.sched.task import Task
from twinsock.runtime.facade import TwinEnv
from twinsock.uapi.errno import EFAULT
from twinsock.uapi.socket import MSG_PEEK


class TwinReceived:
    """What recvmsg(2) gave."""

    def __init__(self, ret: int, msg: calls.UserMsghdr) -> None:
        self.ret = ret
        self.data = msg.data
        self.control = msg.control or b""
        self.flags = msg.flags


class TwinCalls:
    """The calls, made by the task that runs."""

    def __init__(self, env: TwinEnv) -> None:
        self._env = env

    @property
    def _task(self) -> Task:
        return self._env.task

    def socket(self, family: int, type_: int, protocol: int) -> int:
        """socket(2)."""
        return calls.sys_socket(self._task, family, type_, protocol)

    def bind(self, fd: int, addr: bytes) -> int:
        """bind(2)."""
        return calls.sys_bind(self._task, fd, addr, len(addr))

    def listen(self, fd: int, backlog: int) -> int:
        """listen(2)."""
        return calls.sys_listen(self._task, fd, backlog)

    def accept(self, fd: int) -> int:
        """accept(2)."""
        return calls.sys_accept(self._task, fd, calls.UserSockaddr())

    def connect(self, fd: int, addr: bytes) -> int:
        """connect(2)."""
        return calls.sys_connect(self._task, fd, addr, len(addr))

    def shutdown(self, fd: int, how: int) -> int:
        """shutdown(2)."""
        return calls.sys_shutdown(self._task, fd, how)

    def close(self, fd: int) -> int:
        """close(2)."""
        return sys_close(self._task, fd)

    def read(self, fd: int, size: int, null: bool = False) -> tuple[int, bytes]:
        """read(2)."""
        if null:
            return self.recvfrom(fd, size, 0, True)
        return sys_read(self._task, fd, size)

    def readv(self, fd: int, sizes: list[int]) -> tuple[int, bytes]:
        """readv(2)."""
        return sys_readv(self._task, fd, sizes)

    def write(self, fd: int, data: bytes | None, size: int) -> int:
        """write(2)."""
        return sys_write(self._task, fd, data)

    def writev(self, fd: int, data: list[bytes]) -> int:
        """writev(2)."""
        return sys_writev(self._task, fd, data)

    def recvfrom(self, fd: int, size: int, flags: int, null: bool = False) -> tuple[int, bytes]:
        """recvfrom(2); copying to a null pointer fails, and takes nothing."""
        if null:
            ret, _data = calls.sys_recvfrom(self._task, fd, size, flags | MSG_PEEK, None)
            return (-EFAULT if ret > 0 else ret), b""
        return calls.sys_recvfrom(self._task, fd, size, flags, None)

    def sendto(self, fd: int, data: bytes | None, size: int, flags: int, addr: bytes | None) -> int:
        """sendto(2)."""
        return calls.sys_sendto(self._task, fd, data, flags, addr, 0 if addr is None else len(addr))

    def recvmsg(self, fd: int, sizes: list[int], controllen: int, flags: int) -> TwinReceived:
        """recvmsg(2)."""
        msg = calls.UserMsghdr()
        msg.room = sum(sizes)
        msg.iovlen = len(sizes)
        msg.control = bytes(controllen)
        msg.controllen = controllen
        ret = calls.sys_recvmsg(self._task, fd, msg, flags)
        return TwinReceived(ret, msg)

    def sendmsg(self, fd: int, data: list[bytes], control: bytes, flags: int, addr: bytes | None) -> int:
        """sendmsg(2)."""
        msg = calls.UserMsghdr()
        msg.iov = data
        msg.iovlen = len(data)
        msg.control = control
        msg.controllen = len(control)
        msg.name = addr
        msg.namelen = 0 if addr is None else len(addr)
        return calls.sys_sendmsg(self._task, fd, msg, flags)

    def setsockopt(self, fd: int, level: int, name: int, value: bytes | None, size: int) -> int:
        """setsockopt(2)."""
        return calls.sys_setsockopt(self._task, fd, level, name, value, size)

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> tuple[int, bytes]:
        """getsockopt(2)."""
        return calls.sys_getsockopt(self._task, fd, level, name, bytes(max(size, 0)), size)

    def poll(self, fds: list[tuple[int, int]], timeout_ms: int) -> tuple[int, list[int]]:
        """poll(2)."""
        ufds = [Pollfd(fd, events) for fd, events in fds]
        ret = sys_poll(self._task, ufds, timeout_ms)
        return ret, [ufd.revents for ufd in ufds]

    def epoll_create(self, size: int) -> int:
        """epoll_create(2)."""
        return sys_epoll_create(self._task, size)

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int, data: int) -> int:
        """epoll_ctl(2)."""
        return sys_epoll_ctl(self._task, epfd, op, fd, EpollEvent(events, data))

    def epoll_wait(self, epfd: int, room: int, timeout_ms: int) -> tuple[int, list[tuple[int, int]]]:
        """epoll_wait(2)."""
        events: list[EpollEvent] = []
        ret = sys_epoll_wait(self._task, epfd, events, room, timeout_ms)
        return ret, [(event.events, event.data) for event in events]

    def fcntl(self, fd: int, cmd: int, arg: int) -> int:
        """fcntl(2)."""
        return sys_fcntl(self._task, fd, cmd, arg)

    def ioctl(self, fd: int, cmd: int) -> tuple[int, int]:
        """ioctl(2)."""
        ret, out = sys_ioctl(self._task, fd, cmd, bytes(4))
        return ret, int.from_bytes(out[:4], "little", signed=True)

    def pipe(self) -> tuple[int, int, int]:
        """pipe(2)."""
        fds: list[int] = []
        ret = sys_pipe2(self._task, fds, 0)
        return (ret, fds[0], fds[1]) if ret == 0 else (ret, -1, -1)

    def splice(self, fd_in: int, fd_out: int, size: int, flags: int) -> int:
        """splice(2)."""
        return sys_splice(self._task, fd_in, fd_out, SpliceArgs(None, None, size, flags))

    def sendfile(self, fd_out: int, fd_in: int, offset: int | None, size: int) -> int:
        """sendfile(2)."""
        return sys_sendfile64(self._task, fd_out, fd_in, None if offset is None else [offset], size)

    def open(self, path: bytes, flags: int) -> int:
        """open(2)."""
        return sys_open(self._task, path, flags, 0o644)
