"""System calls as numbers: `env.sys` of a program that wants to pass what the socket module never would (bad pointers, odd lengths).

Every method returns the result or -errno; `None` is a pointer that cannot be read or written."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from twinsock.kernel.fs import file as fs_file
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl, sys_epoll_wait
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.ioctl import sys_ioctl
from twinsock.kernel.fs.nsfs import open_related_ns, sys_setns, sys_unshare
from twinsock.kernel.fs.readdir import sys_getdents64
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net import socket as calls
from twinsock.kernel.sched.task import ERESTARTNOHAND
from twinsock.uapi.errno import EINTR, ERESTARTSYS
from twinsock.uapi.resource import RLIMIT_NOFILE

if TYPE_CHECKING:
    from twinsock.runtime.facade import TwinEnv

_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)


class TwinSys:
    """The raw calls on the twin."""

    def __init__(self, env: "TwinEnv") -> None:
        self._env = env

    def _restart(self, call: Callable[[], int]) -> int:
        """Make a call; run the handlers of signals that interrupt it, and make it again if they are to be restarted."""
        env = self._env
        while True:
            ret = call()
            if ret not in _INTERRUPTED:
                if env.task.pending_signals:
                    env.deliver_signals()
                return ret
            ret = env.task.syscall_interrupted(ret, env.deliver_signals())
            if ret:
                return ret

    def socket(self, family: int, type_: int, protocol: int) -> int:
        """socket(2)."""
        return calls.sys_socket(self._env.task, family, type_, protocol)

    def socketpair(self, family: int, type_: int, protocol: int, vec: bool = True) -> tuple[int, list[int]]:
        """socketpair(2): (0 or -errno, descriptors)."""
        fds: list[int] = []
        ret = calls.sys_socketpair(self._env.task, family, type_, protocol, fds if vec else None)
        return ret, fds if ret == 0 else []

    def bind(self, fd: int, addr: bytes | None, length: int) -> int:
        """bind(2)."""
        return calls.sys_bind(self._env.task, fd, addr, length)

    def connect(self, fd: int, addr: bytes | None, length: int) -> int:
        """connect(2)."""
        return self._restart(lambda: calls.sys_connect(self._env.task, fd, addr, length))

    def listen(self, fd: int, backlog: int) -> int:
        """listen(2)."""
        return calls.sys_listen(self._env.task, fd, backlog)

    def shutdown(self, fd: int, how: int) -> int:
        """shutdown(2)."""
        return calls.sys_shutdown(self._env.task, fd, how)

    def accept4(self, fd: int, flags: int, room: int | None = None) -> tuple[int, bytes, int]:
        """accept4(2): (descriptor or -errno, address, its whole length); `room` None asks for no address."""
        peer = None if room is None else calls.UserSockaddr(room)
        ret = self._restart(lambda: calls.sys_accept4(self._env.task, fd, peer, flags))
        return (ret, b"", 0) if peer is None or ret < 0 else (ret, peer.addr, peer.addrlen)

    def getsockname(self, fd: int, room: int) -> tuple[int, bytes, int]:
        """getsockname(2): (0 or -errno, address, its whole length)."""
        name = calls.UserSockaddr(room)
        ret = calls.sys_getsockname(self._env.task, fd, name)
        return ret, name.addr, name.addrlen

    def getpeername(self, fd: int, room: int) -> tuple[int, bytes, int]:
        """getpeername(2): (0 or -errno, address, its whole length)."""
        name = calls.UserSockaddr(room)
        ret = calls.sys_getpeername(self._env.task, fd, name)
        return ret, name.addr, name.addrlen

    def sendto(self, fd: int, data: bytes, flags: int, addr: bytes | None, length: int) -> int:
        """sendto(2)."""
        return self._restart(lambda: calls.sys_sendto(self._env.task, fd, data, flags, addr, length))

    def recvfrom(self, fd: int, size: int, flags: int) -> tuple[int, bytes]:
        """recvfrom(2) without an address: (result or -errno, data)."""
        box = [b""]

        def call() -> int:
            ret, box[0] = calls.sys_recvfrom(self._env.task, fd, size, flags, None)
            return ret

        ret = self._restart(call)
        return ret, box[0][: max(ret, 0)]

    def setsockopt(self, fd: int, level: int, optname: int, value: bytes | None, length: int) -> int:
        """setsockopt(2)."""
        return calls.sys_setsockopt(self._env.task, fd, level, optname, value, length)

    def getsockopt(self, fd: int, level: int, optname: int, length: int) -> tuple[int, bytes]:
        """getsockopt(2): (0 or -errno, value)."""
        return calls.sys_getsockopt(self._env.task, fd, level, optname, bytes(max(length, 0)), length)

    def fcntl(self, fd: int, cmd: int, arg: int) -> int:
        """fcntl(2)."""
        return sys_fcntl(self._env.task, fd, cmd, arg)

    def ioctl(self, fd: int, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """ioctl(2) with a buffer: (result or -errno, what the buffer holds then)."""
        return sys_ioctl(self._env.task, fd, cmd, arg)

    def close(self, fd: int) -> int:
        """close(2)."""
        return fs_file.sys_close(self._env.task, fd)

    def dup2(self, fd: int, newfd: int) -> int:
        """dup2(2)."""
        return fs_file.sys_dup2(self._env.task, fd, newfd)

    def dup3(self, fd: int, newfd: int, flags: int) -> int:
        """dup3(2)."""
        return fs_file.sys_dup3(self._env.task, fd, newfd, flags)

    def epoll_create1(self, flags: int) -> int:
        """epoll_create1(2)."""
        return sys_epoll_create1(self._env.task, flags)

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int | None) -> int:
        """epoll_ctl(2); `events` None is a null pointer."""
        event = None if events is None else EpollEvent(events, fd)
        return sys_epoll_ctl(self._env.task, epfd, op, fd, event)

    def poll(self, fds: list[tuple[int, int]], timeout_ms: int) -> tuple[int, list[int]]:
        """poll(2): (result, the revents)."""
        ufds = [Pollfd(fd, events) for fd, events in fds]
        ret = self._restart(lambda: sys_poll(self._env.task, ufds, timeout_ms))
        return ret, [ufd.revents for ufd in ufds]

    def epoll_wait(self, epfd: int, maxevents: int, timeout_ms: int) -> tuple[int, list[tuple[int, int]]]:
        """epoll_wait(2): (result, the (data, events) of each)."""
        events: list[EpollEvent] = []
        ret = self._restart(lambda: sys_epoll_wait(self._env.task, epfd, events, maxevents, timeout_ms))
        return ret, [(event.data, event.events) for event in events]

    def getdents64(self, fd: int, count: int) -> tuple[int, list[tuple[int, int, bytes]]]:
        """getdents64(2): (bytes or -errno, (where the next begins, type, name) of each)."""
        ret, entries = sys_getdents64(self._env.task, fd, count)
        return ret, [(entry.d_off, entry.d_type, entry.d_name) for entry in entries]

    def unshare(self, flags: int) -> int:
        """unshare(2)."""
        return sys_unshare(self._env.task, flags)

    def setns(self, fd: int, nstype: int) -> int:
        """setns(2)."""
        return sys_setns(self._env.task, fd, nstype)

    def open_netns(self) -> int:
        """Open /proc/self/ns/net."""
        return open_related_ns(self._env.task, self._env.task.net)

    def set_nofile(self, limit: int) -> int:
        """Set the soft RLIMIT_NOFILE."""
        self._env.task.rlim_cur[RLIMIT_NOFILE] = limit
        return 0
