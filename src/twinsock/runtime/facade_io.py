"""The modules os, select and fcntl as programs on the twin see them: only what concerns descriptors."""

import os as real_os
import select as real_select
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twinsock.kernel.fs import file as fs_file
from twinsock.kernel.fs.eventfd import sys_eventfd2
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl, sys_epoll_wait
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.ioctl import sys_ioctl
from twinsock.kernel.fs.memfd import sys_memfd_create
from twinsock.kernel.fs.open import sys_fchmod, sys_fchown, sys_newfstat
from twinsock.kernel.fs.pipe import sys_pipe2
from twinsock.kernel.fs.read_write import (
    sys_fsync,
    sys_ftruncate,
    sys_lseek,
    sys_pread64,
    sys_pwrite64,
    sys_read,
    sys_readv,
    sys_write,
    sys_writev,
)
from twinsock.kernel.fs.select import FdSet, Pollfd, sys_poll, sys_select
from twinsock.kernel.fs.splice import SpliceArgs, sys_sendfile64, sys_splice
from twinsock.kernel.fs.xattr import sys_fgetxattr, sys_flistxattr, sys_fremovexattr, sys_fsetxattr
from twinsock.kernel.sched.task import ERESTARTNOHAND
from twinsock.runtime.facade_fs import PathCalls
from twinsock.uapi.errno import EINTR, ERESTARTSYS
from twinsock.uapi.fcntl import F_GETFD, F_GETFL, F_SETFD, F_SETFL, O_CLOEXEC, O_NONBLOCK
from twinsock.uapi.sockios import FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX

if TYPE_CHECKING:
    from twinsock.runtime.facade import TwinEnv

_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)


def fileno_of(obj: Any) -> int:
    """Return the descriptor of an object, or the number itself."""
    return obj if isinstance(obj, int) else int(obj.fileno())


class Stat:
    """What os.fstat() returns, as far as sockets have it."""

    def __init__(self, stat: fs_file.Kstat) -> None:
        self.st_mode = stat.mode
        self.st_ino = stat.ino
        self.st_nlink = stat.nlink
        self.st_uid = stat.uid
        self.st_gid = stat.gid
        self.st_size = stat.size
        self.st_blksize = stat.blksize
        self.st_blocks = stat.blocks


class OsModule(PathCalls):
    """The module os."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("O_", "EFD_", "SEEK_", "POSIX_", "SPLICE_")) or name == "strerror":
            return getattr(real_os, name)
        raise AttributeError(f"the twin's os module has no {name}")

    def close(self, fd: int) -> None:
        """close(2)."""
        self._env.check(fs_file.sys_close(self._env.task, fd))

    def closerange(self, low: int, high: int) -> None:
        """Close [low, high), ignoring what is not open."""
        for fd in range(low, high):
            fs_file.sys_close(self._env.task, fd)

    def dup(self, fd: int) -> int:
        """A duplicate that execve(2) closes, as Python makes them."""
        return self._env.check(sys_fcntl(self._env.task, fd, 1030, 0))

    def dup2(self, fd: int, fd2: int, inheritable: bool = True) -> int:
        """dup2(2), dup3(2)."""
        task = self._env.task
        if inheritable:
            return self._env.check(fs_file.sys_dup2(task, fd, fd2))
        return self._env.check(fs_file.sys_dup3(task, fd, fd2, O_CLOEXEC))

    def read(self, fd: int, n: int) -> bytes:
        """read(2)."""
        box = [b""]

        def call() -> int:
            ret, box[0] = sys_read(self._env.task, fd, n)
            return ret

        self._env.check(self._env.restart(call))
        return box[0]

    def write(self, fd: int, data: Any) -> int:
        """write(2)."""
        raw = bytes(data)
        return self._env.check(self._env.restart(lambda: sys_write(self._env.task, fd, raw)))

    def readv(self, fd: int, buffers: list[bytearray]) -> int:
        """readv(2)."""
        ret, data = sys_readv(self._env.task, fd, [len(buffer) for buffer in buffers])
        self._env.check(ret)
        for buffer in buffers:
            part, data = data[: len(buffer)], data[len(buffer) :]
            buffer[: len(part)] = part
        return ret

    def writev(self, fd: int, buffers: list[bytes]) -> int:
        """writev(2)."""
        return self._env.check(sys_writev(self._env.task, fd, [bytes(buffer) for buffer in buffers]))

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        """pread(2)."""
        ret, data = sys_pread64(self._env.task, fd, n, offset)
        self._env.check(ret)
        return data

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """pwrite(2)."""
        return self._env.check(sys_pwrite64(self._env.task, fd, data, offset))

    def lseek(self, fd: int, pos: int, whence: int) -> int:
        """lseek(2)."""
        return self._env.check(sys_lseek(self._env.task, fd, pos, whence))

    def ftruncate(self, fd: int, length: int) -> None:
        """ftruncate(2)."""
        self._env.check(sys_ftruncate(self._env.task, fd, length))

    def fsync(self, fd: int) -> None:
        """fsync(2)."""
        self._env.check(sys_fsync(self._env.task, fd))

    def fstat(self, fd: int) -> Stat:
        """fstat(2)."""
        err, stat = sys_newfstat(self._env.task, fd)
        self._env.check(err)
        return Stat(stat)

    def getxattr(self, fd: int, name: str) -> bytes:
        """fgetxattr(2)."""
        err, value = sys_fgetxattr(self._env.task, fd, name, 65536)
        self._env.check(err)
        return value

    def listxattr(self, fd: int) -> list[str]:
        """flistxattr(2)."""
        err, names = sys_flistxattr(self._env.task, fd, 65536)
        self._env.check(err)
        return names.decode().split("\0")[:-1]

    def setxattr(self, fd: int, name: str, value: bytes) -> None:
        """fsetxattr(2)."""
        self._env.check(sys_fsetxattr(self._env.task, fd, name))

    def removexattr(self, fd: int, name: str) -> None:
        """fremovexattr(2)."""
        self._env.check(sys_fremovexattr(self._env.task, fd, name))

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """fchown(2)."""
        self._env.check(sys_fchown(self._env.task, fd, uid, gid))

    def fchmod(self, fd: int, mode: int) -> None:
        """fchmod(2)."""
        self._env.check(sys_fchmod(self._env.task, fd, mode))

    def pipe(self) -> tuple[int, int]:
        """pipe2(2) with O_CLOEXEC, as Python makes them."""
        return self.pipe2(O_CLOEXEC)

    def pipe2(self, flags: int) -> tuple[int, int]:
        """pipe2(2)."""
        fds: list[int] = []
        self._env.check(sys_pipe2(self._env.task, fds, flags))
        return fds[0], fds[1]

    def eventfd(self, initval: int, flags: int = O_CLOEXEC) -> int:
        """eventfd(2)."""
        return self._env.check(sys_eventfd2(self._env.task, initval, flags))

    def eventfd_read(self, fd: int) -> int:
        """Take the value."""
        return int.from_bytes(self.read(fd, 8), "little")

    def eventfd_write(self, fd: int, value: int) -> None:
        """Add to the value."""
        self.write(fd, value.to_bytes(8, "little"))

    def memfd_create(self, name: str, flags: int = 1) -> int:
        """memfd_create(2)."""
        return self._env.check(sys_memfd_create(self._env.task, name, flags))

    def sendfile(self, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
        """sendfile(2)."""
        box = None if offset is None else [offset]
        return self._env.check(self._env.restart(lambda: sys_sendfile64(self._env.task, out_fd, in_fd, box, count)))

    def splice(self, src: int, dst: int, count: int, offset_src: int | None = None, offset_dst: int | None = None, flags: int = 0) -> int:
        """splice(2)."""
        boxes = [None if offset is None else [offset] for offset in (offset_src, offset_dst)]
        args = SpliceArgs(boxes[0], boxes[1], count, flags)
        return self._env.check(self._env.restart(lambda: sys_splice(self._env.task, src, dst, args)))

    def set_blocking(self, fd: int, blocking: bool) -> None:
        """Clear or set O_NONBLOCK."""
        flags = self._env.check(sys_fcntl(self._env.task, fd, F_GETFL, 0))
        flags = flags & ~O_NONBLOCK if blocking else flags | O_NONBLOCK
        self._env.check(sys_fcntl(self._env.task, fd, F_SETFL, flags))

    def get_blocking(self, fd: int) -> bool:
        """Tell whether O_NONBLOCK is clear."""
        return not self._env.check(sys_fcntl(self._env.task, fd, F_GETFL, 0)) & O_NONBLOCK

    def get_inheritable(self, fd: int) -> bool:
        """Tell whether execve(2) keeps the descriptor."""
        return not self._env.check(sys_fcntl(self._env.task, fd, F_GETFD, 0)) & 1

    def set_inheritable(self, fd: int, inheritable: bool) -> None:
        """Keep the descriptor over execve(2), or not."""
        self._env.check(sys_fcntl(self._env.task, fd, F_SETFD, 0 if inheritable else 1))

    def getpid(self) -> int:
        """getpid(2)."""
        return self._env.task.tgid

    def getuid(self) -> int:
        """getuid(2)."""
        return self._env.task.cred.uid

    def kill(self, pid: int, signo: int) -> None:
        """kill(2) without a permission check: one user runs the simulated programs."""
        for task in self._env.kernel.tasks:
            if task.pid == pid:
                task.send_signal(signo)
                self._env.check(0)
                return
        raise ProcessLookupError(3, real_os.strerror(3))


class FcntlModule:
    """The module fcntl."""

    def __init__(self, env: "TwinEnv") -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        import fcntl

        if not name.isupper() and not name.startswith("F"):
            raise AttributeError(name)
        return getattr(fcntl, name)

    def fcntl(self, fd: Any, cmd: int, arg: int = 0) -> int:
        """fcntl(2) with an integer argument."""
        return self._env.check(sys_fcntl(self._env.task, fileno_of(fd), cmd, arg))

    def ioctl(self, fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True) -> Any:
        """ioctl(2) with an integer or bytes."""
        task = self._env.task
        number = request & 0xFFFFFFFF
        if isinstance(arg, int):
            raw = None if number not in (FIOCLEX, FIONCLEX) else b""
            if number in (FIONBIO, FIOASYNC):
                raw = None
            ret, _ = sys_ioctl(task, fileno_of(fd), number, raw)
            return self._env.check(ret)
        ret, out = sys_ioctl(task, fileno_of(fd), number, bytes(arg))
        self._env.check(ret)
        whole = out + bytes(arg)[len(out) :]
        if isinstance(arg, bytearray):
            arg[:] = whole
            return ret
        return whole


class SelectModule:
    """The module select."""

    error = OSError

    def __init__(self, env: "TwinEnv") -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("POLL", "EPOLL")):
            return getattr(real_select, name)
        raise AttributeError(f"the twin's select module has no {name}")

    def poll(self) -> "Poll":
        """A polling object."""
        return Poll(self._env)

    def epoll(self, sizehint: int = -1, flags: int = 0) -> "Epoll":
        """An epoll object."""
        return Epoll(self._env)

    def select(self, rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None) -> Any:
        """select(2): the ready ones of each list."""
        lists = [list(rlist), list(wlist), list(xlist)]
        fds = [sorted(fileno_of(obj) for obj in objs) for objs in lists]
        sets = FdSet(list(fds[0]), list(fds[1]), list(fds[2]))
        highest = max([-1, *fds[0], *fds[1], *fds[2]])
        env = self._env
        deadline = None if timeout is None else env.kernel.clock.now_ns + int(timeout * 1e9)
        while True:
            left = -1 if deadline is None else max(deadline - env.kernel.clock.now_ns, 0)
            ret = sys_select(env.task, highest + 1, sets, left)
            if ret not in _INTERRUPTED:
                break
            env.deliver_signals()
        env.check(ret)
        ready = [sets.readfds or [], sets.writefds or [], sets.exceptfds or []]
        return tuple([obj for obj in objs if fileno_of(obj) in found] for objs, found in zip(lists, ready, strict=True))


class Poll:
    """What select.poll() returns."""

    def __init__(self, env: "TwinEnv") -> None:
        self._env = env
        self._events: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = 0x7) -> None:
        """Watch a descriptor."""
        self._events[fileno_of(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """Watch for other events."""
        if fileno_of(fd) not in self._events:
            raise FileNotFoundError(2, real_os.strerror(2))
        self._events[fileno_of(fd)] = eventmask

    def unregister(self, fd: Any) -> None:
        """Stop watching."""
        del self._events[fileno_of(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """poll(2): timeout in milliseconds, None or negative for ever."""
        env = self._env
        forever = timeout is None or timeout < 0
        deadline = env.kernel.clock.now_ns + int((timeout or 0) * 1_000_000)
        while True:
            ufds = [Pollfd(fd, events) for fd, events in self._events.items()]
            left = -1 if forever else max(-(-(deadline - env.kernel.clock.now_ns) // 1_000_000), 0)
            ret = sys_poll(env.task, ufds, left)
            if ret not in _INTERRUPTED:
                break
            env.deliver_signals()
        env.check(ret)
        return [(ufd.fd, ufd.revents) for ufd in ufds if ufd.revents]


class Epoll:
    """What select.epoll() returns."""

    def __init__(self, env: "TwinEnv", fd: int = -1) -> None:
        self._env = env
        self._fd = fd if fd >= 0 else env.check(sys_epoll_create1(env.task, O_CLOEXEC))

    def __enter__(self) -> "Epoll":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    @property
    def closed(self) -> bool:
        """Tell whether it was closed."""
        return self._fd < 0

    def close(self) -> None:
        """close(2)."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._env.check(fs_file.sys_close(self._env.task, fd))

    def _ctl(self, op: int, fd: Any, events: int) -> None:
        number = fileno_of(fd)
        self._env.check(sys_epoll_ctl(self._env.task, self._fd, op, number, EpollEvent(events, number)))

    def register(self, fd: Any, eventmask: int = 0x7) -> None:
        """EPOLL_CTL_ADD."""
        self._ctl(1, fd, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """EPOLL_CTL_MOD."""
        self._ctl(3, fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """EPOLL_CTL_DEL."""
        self._ctl(2, fd, 0)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """epoll_wait(2): timeout in seconds, None or negative for ever."""
        env = self._env
        forever = timeout is None or timeout < 0
        deadline = env.kernel.clock.now_ns + int((timeout or 0) * 1e9)
        room = maxevents if maxevents > 0 else real_select_fd_setsize() - 1
        while True:
            events: list[EpollEvent] = []
            left = -1 if forever else max(-(-(deadline - env.kernel.clock.now_ns) // 1_000_000), 0)
            ret = sys_epoll_wait(env.task, self._fd, events, room, left)
            if ret not in _INTERRUPTED:
                break
            env.deliver_signals()
        env.check(ret)
        return [(event.data, event.events) for event in events]


def real_select_fd_setsize() -> int:
    """Return how many events epoll.poll() takes when it is not told: FD_SETSIZE."""
    return 1024
