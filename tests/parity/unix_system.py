"""One set of system calls for UNIX programs, made on the live kernel or on the twin.

A program is a function of a `System`. Calls return what the kernel returns; an error is the errno's name as a string, so that
results compare as they are. Descriptors are plain numbers. `both(program)` runs it on both and returns the two results.

    def program(k: System) -> list[object]:
        a, b = k.socketpair(STREAM)
        return [k.send(a, b"x"), k.recv(b, 10), k.poll(b)]
"""

import ctypes
import errno
import os
import resource
import select
import shutil
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.asleep import wait_for_thread
from tests.netns import run_in_netns, run_promptly
from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs import namei
from twinsock.kernel.fs.eventfd import sys_eventfd2
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl, sys_epoll_wait
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.file import FilesStruct, sys_close, sys_dup
from twinsock.kernel.fs.ioctl import sys_ioctl
from twinsock.kernel.fs.open import sys_fchmod
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.unix.diag import unix_diag_dump, unix_diag_get_exact, unix_seq_text
from twinsock.kernel.sched.task import Cred, Task
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.unix_diag import UnixDiagMsg, UnixDiagReq, parse_msg

STREAM, DGRAM, SEQPACKET = 1, 2, 5
NONBLOCK = 0o4000
ALL_BITS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000
SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS, SCM_PIDFD = 1, 1, 2, 4
NOBODY = 65534

Result = Any
Program = Callable[["System"], Result]


def un(path: str | bytes) -> bytes:
    """Build a sockaddr_un: a path with its NUL, or an abstract name (first byte NUL) as it is."""
    raw = path.encode("latin-1") if isinstance(path, str) else path
    return struct.pack("H", 1) + raw + (b"" if raw[:1] == b"\0" else b"\0")


def cmsg(level: int, kind: int, data: bytes) -> bytes:
    """Build one control message."""
    return struct.pack("Qii", 16 + len(data), level, kind) + data + bytes(-len(data) % 8)


def rights(*fds: int) -> bytes:
    """Build SCM_RIGHTS."""
    return cmsg(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))


def creds(pid: int, uid: int, gid: int) -> bytes:
    """Build SCM_CREDENTIALS."""
    return cmsg(SOL_SOCKET, SCM_CREDENTIALS, struct.pack("iII", pid, uid, gid))


class Received:
    """What recvmsg(2) gave."""

    def __init__(self, ret: int, data: bytes, control: bytes, flags: int, name: bytes) -> None:
        self.ret, self.data, self.flags, self.name = ret, data, flags, name
        self.cmsgs: list[tuple[int, int, bytes]] = []
        at = 0
        while at + 16 <= len(control):
            length, level, kind = struct.unpack_from("Qii", control, at)
            if length < 16:
                break
            self.cmsgs.append((level, kind, control[at + 16 : at + length]))
            at += (length + 7) & ~7
        self.raw_control = len(control)

    def fds(self) -> list[int]:
        """Return the descriptors that came."""
        found: list[int] = []
        for level, kind, data in self.cmsgs:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                found += struct.unpack(f"{len(data) // 4}i", data)
        return found

    def shape(self) -> Result:
        """Return everything but the numbers of descriptors."""
        short = [(level, kind, len(data) if kind in (SCM_RIGHTS, SCM_PIDFD) else data) for level, kind, data in self.cmsgs]
        return (self.ret, self.data, short, self.flags, self.name, self.raw_control)


class System:
    """The calls; subclasses make them."""

    pid = 0

    def socketpair(self, type_: int, protocol: int = 0) -> tuple[int, int]:
        """Make a pair that must succeed."""
        pair = self.pair(type_, protocol)
        assert isinstance(pair, list), pair
        return pair[0], pair[1]

    def listener(self, type_: int, name: str | bytes, backlog: int = 5) -> int:
        """Make a listening socket that must succeed."""
        fd = int(self.socket(type_))
        assert self.bind(fd, un(name)) == 0
        assert self.listen(fd, backlog) == 0
        return fd

    def bound(self, type_: int, name: str | bytes) -> int:
        """Make a bound socket that must succeed."""
        fd = int(self.socket(type_))
        result = self.bind(fd, un(name))
        assert result == 0, result
        return fd

    def client(self, type_: int, name: str | bytes) -> int:
        """Make a connected socket that must succeed."""
        fd = int(self.socket(type_))
        result = self.connect(fd, un(name))
        assert result == 0, result
        return fd

    def getint(self, fd: int, optname: int) -> Result:
        """Read an int option of SOL_SOCKET."""
        got = self.getsockopt(fd, SOL_SOCKET, optname, 4)
        return struct.unpack("i", got)[0] if isinstance(got, bytes) and len(got) == 4 else got

    def setint(self, fd: int, optname: int, value: int) -> Result:
        """Set an int option of SOL_SOCKET."""
        return self.setsockopt(fd, SOL_SOCKET, optname, struct.pack("i", value))

    def message(self, fd: int, size: int, room: int = 0, flags: int = 0) -> Result:
        """Receive with recvmsg(2): everything but the numbers of descriptors."""
        got = self.recvmsg(fd, size, room, flags)
        return got if isinstance(got, str) else got.shape()

    def attach_filter(self, fd: int, code: list[tuple[int, int, int, int]]) -> Result:
        """Attach a classic BPF program, SO_ATTACH_FILTER."""
        raw = b"".join(struct.pack("HBBI", *insn) for insn in code)
        return self.setsockopt(fd, SOL_SOCKET, 26, self.fprog(len(code), raw))

    def peercred(self, fd: int) -> Result:
        """Read SO_PEERCRED with the own pid shown as 1."""
        got = self.getsockopt(fd, SOL_SOCKET, 17, 12)
        if not isinstance(got, bytes):
            return got
        pid, uid, gid = struct.unpack("iii", got)
        return (1 if pid == self.pid else pid, uid, gid)

    # every call that the two systems make
    def socket(self, type_: int, protocol: int = 0, family: int = 1) -> Result: ...
    def pair(self, type_: int, protocol: int = 0, family: int = 1) -> Result: ...
    def bind(self, fd: int, addr: bytes) -> Result: ...
    def connect(self, fd: int, addr: bytes) -> Result: ...
    def listen(self, fd: int, backlog: int) -> Result: ...
    def accept(self, fd: int, flags: int = 0) -> Result: ...
    def shutdown(self, fd: int, how: int) -> Result: ...
    def getsockname(self, fd: int) -> Result: ...
    def getpeername(self, fd: int) -> Result: ...
    def send(self, fd: int, data: bytes, flags: int = 0) -> Result: ...
    def sendto(self, fd: int, data: bytes, addr: bytes, flags: int = 0) -> Result: ...
    def recv(self, fd: int, size: int, flags: int = 0) -> Result: ...
    def recvfrom(self, fd: int, size: int, flags: int = 0) -> Result: ...
    def sendmsg(self, fd: int, data: bytes, control: bytes = b"", flags: int = 0, addr: bytes = b"") -> Result: ...
    def recvmsg(self, fd: int, size: int, room: int = 0, flags: int = 0) -> Any: ...
    def read(self, fd: int, size: int) -> Result: ...
    def write(self, fd: int, data: bytes) -> Result: ...
    def setsockopt(self, fd: int, level: int, optname: int, value: bytes) -> Result: ...
    def getsockopt(self, fd: int, level: int, optname: int, size: int) -> Result: ...
    def ioctl(self, fd: int, cmd: int) -> Result: ...
    def poll(self, fd: int, events: int = ALL_BITS, timeout_ms: int = 0) -> Result: ...
    def close(self, fd: int) -> Result: ...
    def dup(self, fd: int) -> Result: ...
    def fcntl(self, fd: int, cmd: int, arg: int = 0) -> Result: ...
    def fdinfo(self, fd: int) -> Result: ...
    def fchmod(self, fd: int, mode: int) -> Result: ...
    def unlink(self, path: str) -> Result: ...
    def rename(self, old: str, new: str) -> Result: ...
    def link(self, old: str, new: str) -> Result: ...
    def mkdir(self, path: str, mode: int = 0o755) -> Result: ...
    def rmdir(self, path: str) -> Result: ...
    def symlink(self, target: str, path: str) -> Result: ...
    def touch(self, path: str) -> Result: ...
    def chmod(self, path: str, mode: int) -> Result: ...
    def chown(self, path: str, uid: int, gid: int) -> Result: ...
    def stat(self, path: str) -> Result: ...
    def umask(self, mask: int) -> Result: ...
    def seteuid(self, uid: int, ruid: int = 0) -> None: ...
    def limit_files(self, limit: int) -> None: ...
    def signals(self) -> Result: ...
    def later(self, delay_ms: int, func: Callable[["System"], object]) -> None: ...
    def now_ms(self) -> float: ...
    def max_dgram_qlen(self, value: int) -> None: ...
    def proc_net_unix(self) -> str: ...
    def ino(self, fd: int) -> int: ...
    def diag(self, req: UnixDiagReq, dump: bool = True) -> Any: ...
    def file_ino(self, path: str) -> int: ...
    def read_only(self) -> None: ...
    def unshare(self) -> None: ...
    def fprog(self, count: int, raw: bytes) -> bytes: ...
    def epoll(self, fd: int, events: int) -> int: ...
    def epoll_wait(self, epfd: int, timeout_ms: int = 0) -> Result: ...


# The live kernel

_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


def _ret(value: int) -> Result:
    return value if value >= 0 else errno.errorcode[ctypes.get_errno()]


def _try(func: Callable[..., Any], *args: Any) -> Result:
    try:
        value = func(*args)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return 0 if value is None else value


class Host(System):
    """The Linux we are on, through libc."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.hits: list[int] = []
        self.epolls: dict[int, select.epoll] = {}
        self.threads: list[threading.Thread] = []
        run_promptly()
        signal.signal(signal.SIGPIPE, self._on_signal)
        signal.signal(signal.SIGURG, self._on_signal)
        signal.signal(signal.SIGIO, self._on_signal)

    def _on_signal(self, signo: int, frame: object) -> None:
        self.hits.append(signo)

    def socket(self, type_: int, protocol: int = 0, family: int = 1) -> Result:
        return _ret(_libc.socket(family, type_, protocol))

    def pair(self, type_: int, protocol: int = 0, family: int = 1) -> Result:
        fds = (ctypes.c_int * 2)()
        ret = _ret(_libc.socketpair(family, type_, protocol, fds))
        return list(fds) if ret == 0 else ret

    def bind(self, fd: int, addr: bytes) -> Result:
        return _ret(_libc.bind(fd, addr, len(addr)))

    def connect(self, fd: int, addr: bytes) -> Result:
        return _ret(_libc.connect(fd, addr, len(addr)))

    def listen(self, fd: int, backlog: int) -> Result:
        return _ret(_libc.listen(fd, backlog))

    def accept(self, fd: int, flags: int = 0) -> Result:
        return _ret(_libc.accept4(fd, None, None, flags))

    def shutdown(self, fd: int, how: int) -> Result:
        return _ret(_libc.shutdown(fd, how))

    def getsockname(self, fd: int) -> Result:
        return self._name(_libc.getsockname, fd)

    def getpeername(self, fd: int) -> Result:
        return self._name(_libc.getpeername, fd)

    def _name(self, func: Any, fd: int) -> Result:
        buffer = ctypes.create_string_buffer(128)
        length = ctypes.c_uint(128)
        ret = _ret(func(fd, buffer, ctypes.byref(length)))
        return buffer.raw[: length.value] if ret == 0 else ret

    def send(self, fd: int, data: bytes, flags: int = 0) -> Result:
        return _ret(_libc.send(fd, data, ctypes.c_size_t(len(data)), flags))

    def sendto(self, fd: int, data: bytes, addr: bytes, flags: int = 0) -> Result:
        return _ret(_libc.sendto(fd, data, ctypes.c_size_t(len(data)), flags, addr, len(addr)))

    def recv(self, fd: int, size: int, flags: int = 0) -> Result:
        buffer = ctypes.create_string_buffer(size + 1)
        ret = _ret(_libc.recv(fd, buffer, ctypes.c_size_t(size), flags))
        return ret if isinstance(ret, str) else (ret, buffer.raw[: min(ret, size)])

    def recvfrom(self, fd: int, size: int, flags: int = 0) -> Result:
        buffer = ctypes.create_string_buffer(size + 1)
        name = ctypes.create_string_buffer(128)
        length = ctypes.c_uint(128)
        ret = _ret(_libc.recvfrom(fd, buffer, ctypes.c_size_t(size), flags, name, ctypes.byref(length)))
        return ret if isinstance(ret, str) else (ret, buffer.raw[: min(ret, size)], name.raw[: length.value])

    def sendmsg(self, fd: int, data: bytes, control: bytes = b"", flags: int = 0, addr: bytes = b"") -> Result:
        hdr = self._header(ctypes.create_string_buffer(data, len(data) + 1), len(data))
        keep = [ctypes.create_string_buffer(control, len(control) + 1), ctypes.create_string_buffer(addr, len(addr) + 1)]
        if control:
            hdr.control, hdr.controllen = ctypes.cast(keep[0], ctypes.c_void_p).value, len(control)
        if addr:
            hdr.name, hdr.namelen = ctypes.cast(keep[1], ctypes.c_void_p).value, len(addr)
        return _ret(_libc.sendmsg(fd, ctypes.byref(hdr), flags))

    def recvmsg(self, fd: int, size: int, room: int = 0, flags: int = 0) -> Any:
        buffer = ctypes.create_string_buffer(size + 1)
        hdr = self._header(buffer, size)
        control = ctypes.create_string_buffer(room + 1)
        name = ctypes.create_string_buffer(128)
        if room:
            hdr.control, hdr.controllen = ctypes.cast(control, ctypes.c_void_p).value, room
        hdr.name, hdr.namelen = ctypes.cast(name, ctypes.c_void_p).value, 128
        ret = _ret(_libc.recvmsg(fd, ctypes.byref(hdr), flags))
        if isinstance(ret, str):
            return ret
        data = buffer.raw[: min(ret, size)]
        return Received(ret, data, control.raw[: hdr.controllen], hdr.flags, name.raw[: hdr.namelen])

    def _header(self, buffer: Any, size: int) -> Any:
        iov = _Iovec(ctypes.cast(buffer, ctypes.c_void_p).value, size)
        hdr = _Msghdr()
        hdr.iov, hdr.iovlen = ctypes.pointer(iov), 1
        hdr.keep = (iov, buffer)
        return hdr

    def read(self, fd: int, size: int) -> Result:
        return _try(os.read, fd, size)

    def write(self, fd: int, data: bytes) -> Result:
        return _try(os.write, fd, data)

    def setsockopt(self, fd: int, level: int, optname: int, value: bytes) -> Result:
        return _ret(_libc.setsockopt(fd, level, optname, value, len(value)))

    def getsockopt(self, fd: int, level: int, optname: int, size: int) -> Result:
        buffer = ctypes.create_string_buffer(size + 1)
        length = ctypes.c_uint(size)
        ret = _ret(_libc.getsockopt(fd, level, optname, buffer, ctypes.byref(length)))
        return buffer.raw[: length.value] if ret == 0 else ret

    def ioctl(self, fd: int, cmd: int) -> Result:
        value = ctypes.create_string_buffer(64)
        ret = _ret(_libc.ioctl(fd, ctypes.c_ulong(cmd), value))
        return struct.unpack_from("i", value.raw)[0] if ret == 0 else ret

    def poll(self, fd: int, events: int = ALL_BITS, timeout_ms: int = 0) -> Result:
        pollfd = ctypes.create_string_buffer(struct.pack("ihh", fd, events, 0), 8)
        ret = _ret(_libc.poll(pollfd, ctypes.c_ulong(1), timeout_ms))
        return ret if isinstance(ret, str) else struct.unpack("ihh", pollfd.raw)[2]

    def close(self, fd: int) -> Result:
        return _ret(_libc.close(fd))

    def dup(self, fd: int) -> Result:
        return _ret(_libc.dup(fd))

    def fcntl(self, fd: int, cmd: int, arg: int = 0) -> Result:
        return _ret(_libc.fcntl(fd, cmd, ctypes.c_long(arg)))

    def fdinfo(self, fd: int) -> Result:
        with open(f"/proc/self/fdinfo/{fd}") as text:
            return [line for line in text if line.startswith("scm_fds")]

    def fchmod(self, fd: int, mode: int) -> Result:
        return _try(os.fchmod, fd, mode)

    def unlink(self, path: str) -> Result:
        return _try(os.unlink, path)

    def rename(self, old: str, new: str) -> Result:
        return _try(os.rename, old, new)

    def link(self, old: str, new: str) -> Result:
        return _ret(_libc.link(old.encode(), new.encode()))

    def mkdir(self, path: str, mode: int = 0o755) -> Result:
        return _try(os.mkdir, path, mode)

    def rmdir(self, path: str) -> Result:
        return _try(os.rmdir, path)

    def symlink(self, target: str, path: str) -> Result:
        return _try(os.symlink, target, path)

    def touch(self, path: str) -> Result:
        return _try(os.mknod, path, 0o100644)

    def chmod(self, path: str, mode: int) -> Result:
        return _try(os.chmod, path, mode)

    def chown(self, path: str, uid: int, gid: int) -> Result:
        return _try(os.chown, path, uid, gid)

    def stat(self, path: str) -> Result:
        found = _try(os.stat, path)
        return found if isinstance(found, str) else (found.st_mode, found.st_uid, found.st_gid, found.st_nlink)

    def umask(self, mask: int) -> Result:
        return os.umask(mask)

    def seteuid(self, uid: int, ruid: int = 0) -> None:
        os.seteuid(0)
        os.setegid(0)
        if uid:
            os.setgroups([])
            os.setresgid(ruid or -1, uid, -1)
            os.setresuid(ruid or -1, uid, 0)
        else:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)

    def limit_files(self, limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def signals(self) -> Result:
        time.sleep(0)
        return sorted(set(self.hits))

    def later(self, delay_ms: int, func: Callable[[System], object]) -> None:
        caller = threading.get_native_id()

        def act() -> None:
            time.sleep(delay_ms / 1000)
            wait_for_thread(caller)  # on a busy machine it may come late to the call that sleeps
            func(self)

        thread = threading.Thread(target=act)
        thread.start()
        self.threads.append(thread)

    def now_ms(self) -> float:
        return time.monotonic() * 1000

    def max_dgram_qlen(self, value: int) -> None:
        with open("/proc/sys/net/unix/max_dgram_qlen", "w") as knob:
            knob.write(str(value))

    def proc_net_unix(self) -> str:
        with open("/proc/self/net/unix") as text:
            return text.read()

    def ino(self, fd: int) -> int:
        return os.fstat(fd).st_ino

    def file_ino(self, path: str) -> int:
        return os.stat(path).st_ino

    def diag(self, req: UnixDiagReq, dump: bool = True) -> Any:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as link:
            body = req.emit()
            flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
            link.send(struct.pack("IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body)
            found = []
            while True:
                data = link.recv(1 << 20)
                at = 0
                while at < len(data):
                    length, kind = struct.unpack_from("IH", data, at)
                    if kind == NLMSG_ERROR:
                        return errno.errorcode[-struct.unpack_from("i", data, at + 16)[0]]
                    if kind == NLMSG_DONE:
                        return found
                    found.append(parse_msg(data, at + 16, at + length))
                    at += (length + 3) & ~3
                if not dump:
                    return found

    def read_only(self) -> None:
        here = os.getcwd().encode()
        for args in ((None, b"/", 0x44000), (here, here, 0x1000), (None, here, 0x1021)):
            if args[2] == 0x44000:
                assert _libc.unshare(0x20000) == 0
            assert _libc.mount(args[0] or b"none", args[1], None, ctypes.c_ulong(args[2]), None) == 0
        os.chdir(here)

    def unshare(self) -> None:
        assert _libc.unshare(0x40000000) == 0

    def fprog(self, count: int, raw: bytes) -> bytes:
        self.program = ctypes.create_string_buffer(raw, len(raw))
        return struct.pack("HxxxxxxP", count, ctypes.addressof(self.program))

    def epoll(self, fd: int, events: int) -> int:
        epoll = select.epoll()
        epoll.register(fd, events)
        self.epolls[epoll.fileno()] = epoll
        return epoll.fileno()

    def epoll_wait(self, epfd: int, timeout_ms: int = 0) -> Result:
        return [events for _fd, events in self.epolls[epfd].poll(timeout_ms / 1000)]


def _run_on_host(program: Program) -> Result:
    where = tempfile.mkdtemp(dir="/tmp")
    os.chmod(where, 0o777)
    os.chdir(where)
    os.umask(0o022)
    try:
        host = Host()
        result = program(host)
        for thread in host.threads:
            thread.join()
        return result
    finally:
        os.seteuid(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        os.chdir("/")
        _libc.umount2(where.encode(), 2)  # what read_only() mounted
        shutil.rmtree(where, ignore_errors=True)


# The twin


class _Later(Timer):
    def __init__(self, func: Callable[[System], object], system: System) -> None:
        super().__init__()
        self.func = func
        self.system = system

    def fire(self) -> None:
        self.func(self.system)


class _ProgramTask(Task):
    """A task with one piece of memory that pointers inside structures may point to."""

    ADDRESS = 0x1000
    memory = b""

    def copy_from_user(self, address: int, size: int) -> bytes | None:
        return self.memory[:size] if address == self.ADDRESS else None


class Twin(System):
    """The twin, one process; `later` runs another thread of it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.pid = task.pid

    def socket(self, type_: int, protocol: int = 0, family: int = 1) -> Result:
        return _name_of(calls.sys_socket(self.task, family, type_, protocol))

    def pair(self, type_: int, protocol: int = 0, family: int = 1) -> Result:
        fds: list[int] = []
        ret = calls.sys_socketpair(self.task, family, type_, protocol, fds)
        return fds if ret == 0 else _name_of(ret)

    def bind(self, fd: int, addr: bytes) -> Result:
        return _name_of(calls.sys_bind(self.task, fd, addr, len(addr)))

    def connect(self, fd: int, addr: bytes) -> Result:
        return _name_of(calls.sys_connect(self.task, fd, addr, len(addr)))

    def listen(self, fd: int, backlog: int) -> Result:
        return _name_of(calls.sys_listen(self.task, fd, backlog))

    def accept(self, fd: int, flags: int = 0) -> Result:
        return _name_of(calls.sys_accept4(self.task, fd, None, flags))

    def shutdown(self, fd: int, how: int) -> Result:
        return _name_of(calls.sys_shutdown(self.task, fd, how))

    def getsockname(self, fd: int) -> Result:
        user = calls.UserSockaddr()
        ret = calls.sys_getsockname(self.task, fd, user)
        return user.addr if ret == 0 else _name_of(ret)

    def getpeername(self, fd: int) -> Result:
        user = calls.UserSockaddr()
        ret = calls.sys_getpeername(self.task, fd, user)
        return user.addr if ret == 0 else _name_of(ret)

    def send(self, fd: int, data: bytes, flags: int = 0) -> Result:
        return _name_of(calls.sys_send(self.task, fd, data, flags))

    def sendto(self, fd: int, data: bytes, addr: bytes, flags: int = 0) -> Result:
        return _name_of(calls.sys_sendto(self.task, fd, data, flags, addr, len(addr)))

    def recv(self, fd: int, size: int, flags: int = 0) -> Result:
        ret, data = calls.sys_recvfrom(self.task, fd, size, flags, None)
        return _name_of(ret) if ret < 0 else (ret, data)

    def recvfrom(self, fd: int, size: int, flags: int = 0) -> Result:
        user = calls.UserSockaddr()
        ret, data = calls.sys_recvfrom(self.task, fd, size, flags, user)
        return _name_of(ret) if ret < 0 else (ret, data, user.addr)

    def sendmsg(self, fd: int, data: bytes, control: bytes = b"", flags: int = 0, addr: bytes = b"") -> Result:
        user = calls.UserMsghdr()
        user.iov = [data]
        user.control, user.controllen = control, len(control)
        if addr:
            user.name, user.namelen = addr, len(addr)
        return _name_of(calls.sys_sendmsg(self.task, fd, user, flags))

    def recvmsg(self, fd: int, size: int, room: int = 0, flags: int = 0) -> Any:
        user = calls.UserMsghdr()
        user.room = size
        user.control, user.controllen = (b"" if room else None), room
        user.out_name = calls.UserSockaddr()
        ret = calls.sys_recvmsg(self.task, fd, user, flags)
        if ret < 0:
            return _name_of(ret)
        return Received(ret, user.data, user.control or b"", user.flags, user.out_name.addr)

    def read(self, fd: int, size: int) -> Result:
        from twinsock.kernel.fs.read_write import sys_read

        ret, data = sys_read(self.task, fd, size)
        return _name_of(ret) if ret < 0 else data

    def write(self, fd: int, data: bytes) -> Result:
        from twinsock.kernel.fs.read_write import sys_write

        return _name_of(sys_write(self.task, fd, data))

    def setsockopt(self, fd: int, level: int, optname: int, value: bytes) -> Result:
        return _name_of(calls.sys_setsockopt(self.task, fd, level, optname, value, len(value)))

    def getsockopt(self, fd: int, level: int, optname: int, size: int) -> Result:
        ret, value = calls.sys_getsockopt(self.task, fd, level, optname, bytes(size), size)
        return value if ret == 0 else _name_of(ret)

    def ioctl(self, fd: int, cmd: int) -> Result:
        ret, value = sys_ioctl(self.task, fd, cmd, bytes(64))
        return _name_of(ret) if ret < 0 else struct.unpack_from("i", value)[0] if value else ret

    def poll(self, fd: int, events: int = ALL_BITS, timeout_ms: int = 0) -> Result:
        pollfd = Pollfd(fd, events)
        ret = sys_poll(self.task, [pollfd], timeout_ms)
        return _name_of(ret) if ret < 0 else pollfd.revents

    def close(self, fd: int) -> Result:
        return _name_of(sys_close(self.task, fd))

    def dup(self, fd: int) -> Result:
        return _name_of(sys_dup(self.task, fd))

    def fcntl(self, fd: int, cmd: int, arg: int = 0) -> Result:
        return _name_of(sys_fcntl(self.task, fd, cmd, arg))

    def fdinfo(self, fd: int) -> Result:
        assert self.task.files is not None
        file = self.task.files.lookup(fd)
        assert file is not None
        return [line + "\n" for line in file.show_fdinfo().splitlines() if line.startswith("scm_fds")]

    def fchmod(self, fd: int, mode: int) -> Result:
        return _name_of(sys_fchmod(self.task, fd, mode))

    def unlink(self, path: str) -> Result:
        return _name_of(namei.sys_unlink(self.task, path.encode()))

    def rename(self, old: str, new: str) -> Result:
        return _name_of(namei.sys_rename(self.task, old.encode(), new.encode()))

    def link(self, old: str, new: str) -> Result:
        return _name_of(namei.sys_link(self.task, old.encode(), new.encode()))

    def mkdir(self, path: str, mode: int = 0o755) -> Result:
        return _name_of(namei.sys_mkdir(self.task, path.encode(), mode))

    def rmdir(self, path: str) -> Result:
        return _name_of(namei.sys_rmdir(self.task, path.encode()))

    def symlink(self, target: str, path: str) -> Result:
        return _name_of(namei.sys_symlink(self.task, target.encode(), path.encode()))

    def touch(self, path: str) -> Result:
        return _name_of(namei.sys_mknod(self.task, path.encode(), 0o100644))

    def chmod(self, path: str, mode: int) -> Result:
        return _name_of(namei.sys_chmod(self.task, path.encode(), mode))

    def chown(self, path: str, uid: int, gid: int) -> Result:
        return _name_of(namei.sys_chown(self.task, path.encode(), uid, gid))

    def stat(self, path: str) -> Result:
        ret, inode = namei.sys_stat(self.task, path.encode())
        return _name_of(ret) if inode is None else (inode.i_mode, inode.i_uid, inode.i_gid, inode.nlink)

    def umask(self, mask: int) -> Result:
        return namei.sys_umask(self.task, mask)

    def seteuid(self, uid: int, ruid: int = 0) -> None:
        cred = self.task.cred
        cred.uid, cred.gid = ruid, ruid
        cred.euid = cred.fsuid = cred.egid = cred.fsgid = uid
        cred.cap_effective = 0 if uid else (1 << 41) - 1

    def limit_files(self, limit: int) -> None:
        self.task.rlim_cur[7] = limit

    def signals(self) -> Result:
        return sorted(info.si_signo for info in self.task.pending_signals or [])

    def later(self, delay_ms: int, func: Callable[[System], object]) -> None:
        kernel = self.task.kernel
        other = Task(kernel, self.task.net, self.task.files, self.task.cred, self.pid, "later")
        kernel.clock.hrtimer_start(_Later(func, Twin(other)), kernel.clock.now_ns + delay_ms * 1_000_000)

    def now_ms(self) -> float:
        return self.task.kernel.clock.now_ns / 1_000_000

    def max_dgram_qlen(self, value: int) -> None:
        assert self.task.net.unx is not None
        self.task.net.unx.sysctl_max_dgram_qlen = value

    def proc_net_unix(self) -> str:
        return unix_seq_text(self.task.net)

    def ino(self, fd: int) -> int:
        assert self.task.files is not None
        file = self.task.files.lookup(fd)
        assert file is not None
        return file.ino()

    def file_ino(self, path: str) -> int:
        inode = namei.sys_stat(self.task, path.encode())[1]
        assert inode is not None
        return inode.i_ino

    def diag(self, req: UnixDiagReq, dump: bool = True) -> Any:
        if dump:
            return [self._through_wire(msg) for msg in unix_diag_dump(self.task.net, req)]
        err, msg = unix_diag_get_exact(self.task.net, req)
        return _name_of(err) if msg is None else [self._through_wire(msg)]

    def _through_wire(self, msg: UnixDiagMsg) -> Any:
        data = msg.emit()
        return parse_msg(data, 0, len(data))

    def fprog(self, count: int, raw: bytes) -> bytes:
        assert isinstance(self.task, _ProgramTask)
        self.task.memory = raw
        return struct.pack("HxxxxxxQ", count, _ProgramTask.ADDRESS)

    def unshare(self) -> None:
        assert self.task.kernel.unshare_net(self.task) == 0

    def read_only(self) -> None:
        namei.rootfs(self.task.kernel).read_only = True

    def epoll(self, fd: int, events: int) -> int:
        epfd = sys_epoll_create1(self.task, 0)
        assert sys_epoll_ctl(self.task, epfd, 1, fd, EpollEvent(events, fd)) == 0
        return epfd

    def epoll_wait(self, epfd: int, timeout_ms: int = 0) -> Result:
        events: list[EpollEvent] = []
        ret = sys_epoll_wait(self.task, epfd, events, 10, timeout_ms)
        return [event.events for event in events] if ret >= 0 else _name_of(ret)


def _name_of(ret: int) -> Result:
    return ret if ret >= 0 else errno.errorcode[-ret]


def _run_on_twin(program: Program) -> Result:
    kernel = start_kernel(seed=1)
    task = kernel.adopt_task(_ProgramTask(kernel, kernel.init_net, FilesStruct(), Cred(0, 0, kernel.init_user_ns), 2, "program"))
    task.handled_signals = 1 << 23 | 1 << 29
    assert namei.sys_mkdir(task, b"/tmp/d", 0o777) == 0
    assert namei.sys_chmod(task, b"/tmp/d", 0o777) == 0
    assert namei.sys_chdir(task, b"/tmp/d") == 0
    for _fd in range(3):  # standard input, output and error
        sys_eventfd2(task, 0, 0)
    return program(Twin(task))


def both(program: Program) -> tuple[Result, Result]:
    """Run a program on the live kernel in a fresh network namespace, then on the twin."""
    return run_in_netns(_run_on_host, program), _run_on_twin(program)


def same(program: Program) -> Result:
    """Run a program on both and require the same result, which is returned for tests that also say what it is."""
    host, twin = both(program)
    assert twin == host, _first_difference(host, twin)
    return host


def _first_difference(host: Result, twin: Result, where: str = "result") -> str:
    if isinstance(host, list | tuple) and isinstance(twin, list | tuple) and len(host) == len(twin):
        for i, (left, right) in enumerate(zip(host, twin, strict=True)):
            if left != right:
                return _first_difference(left, right, f"{where}[{i}]")
    return f"{where}: the live kernel gives {host!r}, the twin {twin!r}"
