"""What a plain Python program sees of the twin: objects shaped like the modules socket, os, select, fcntl, time and signal.

    env = TwinEnv(kernel)
    results = env.run(program)          # program(env) uses env.socket.socket(...), env.os.close(...), env.select.epoll(), ...

The same program runs on the live kernel with an env whose attributes are the real modules. Calls act for the task that holds the
baton, so that objects may be shared between tasks. Negative errnos of the core become OSError here and nowhere else."""

import os as real_os
import socket as real
import struct
from collections.abc import Callable
from typing import Any

from twinsock.kernel.fs import file as fs_file
from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.sched.task import ERESTARTNOHAND, MAX_SCHEDULE_TIMEOUT, Cred
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.runtime.baton import Baton, BatonTask
from twinsock.runtime.facade_io import FcntlModule, OsModule, SelectModule
from twinsock.runtime.sockaddr import pack, unpack
from twinsock.uapi.errno import EAGAIN, EINPROGRESS, EINTR, EISCONN, ERESTARTSYS
from twinsock.uapi.fcntl import F_GETFL, F_SETFL, O_NONBLOCK, O_RDWR
from twinsock.uapi.signal import SIGPIPE
from twinsock.uapi.socket import AF_INET, SO_ERROR, SO_REUSEADDR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET

_POLLIN = 0x1
_POLLOUT = 0x4
_SOCK_TYPE_MASK = 15
_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)


class KilledBySignal(BaseException):
    """A signal whose default action is to end the process reached a task without a handler."""


class Handle:
    """A task that was started: `join()` waits for it and returns what its function returned, or raises what it raised."""

    def __init__(self, env: "TwinEnv", task: BatonTask) -> None:
        self.env = env
        self.task = task
        self.result: Any = None
        self.ended = False
        self.wq = WaitQueueHead()

    def join(self) -> Any:
        """Wait for the end of the task."""
        while not self.ended:
            wait = TaskWait(self.env.task)
            self.wq.prepare_to_wait(wait)
            self.env.task.schedule_timeout(MAX_SCHEDULE_TIMEOUT)
            self.wq.finish_wait(wait)
            self.env.deliver_signals()
        if self.task.error is not None:
            raise self.task.error
        return self.result


class TwinEnv:
    """One simulated host as a program sees it."""

    kind = "twin"

    def __init__(self, kernel: Kernel, net: Net | None = None, uid: int = 0, gid: int = 0, baton: Baton | None = None) -> None:
        self.kernel = kernel
        self.baton = Baton(kernel.clock) if baton is None else baton
        self.handlers: dict[int, Callable[[int, None], object]] = {}
        self.first = self._new_task("program", net or kernel.init_net, Cred(uid, gid, kernel.init_user_ns), kernel.new_pid())
        self.first.files = fs_file.FilesStruct()
        for fd in range(3):  # standard input, output and error, so that numbers start where a program's do
            self.first.files.alloc_fd(fd, fd + 1, 0)
            self.first.files.fd[fd] = fs_file.File(kernel, O_RDWR)
        kernel.adopt_task(self.first)
        self.socket = SocketModule(self)
        self.os = OsModule(self)
        self.select = SelectModule(self)
        self.fcntl = FcntlModule(self)
        self.time = TimeModule(self)
        self.signal = SignalModule(self)

    @property
    def task(self) -> BatonTask:
        """The task that runs, if it is one of this host."""
        current = self.baton.current
        return self.first if current is None or current.kernel is not self.kernel else current

    def _new_task(self, comm: str, net: Net, cred: Cred, pid: int) -> BatonTask:
        task = BatonTask(self.baton, self.kernel, net, cred, pid, comm)
        task.ignored_signals = 1 << SIGPIPE
        return task

    def run(self, program: Callable[["TwinEnv"], Any]) -> Any:
        """Run `program(env)` to its end, and what it starts meanwhile; return its result or raise what it raised."""
        box: list[Any] = []
        self.baton.spawn(self.first, lambda: box.append(program(self)))
        self.baton.run(self.first)
        if self.first.error is not None:
            raise self.first.error
        return box[0]

    def spawn(self, func: Callable[..., Any], *args: Any) -> Handle:
        """Start a thread of this process: it shares the descriptors."""
        parent = self.task
        child = self._new_task(parent.comm, parent.net, parent.cred, self.kernel.new_pid())
        child.tgid = parent.tgid
        return self._start(parent, child, True, func, args)

    def fork(self, func: Callable[..., Any], *args: Any) -> Handle:
        """Start a child process, which has copies of the descriptors and ends with the function."""
        parent = self.task
        child = self._new_task(parent.comm, parent.net, parent.cred.copy(), self.kernel.new_pid())
        return self._start(parent, child, False, func, args)

    def _start(self, parent: BatonTask, child: BatonTask, shared: bool, func: Callable[..., Any], args: tuple[Any, ...]) -> Handle:
        self.kernel.copy_process(parent, child, share_files=shared)
        child.handled_signals = parent.handled_signals
        handle = Handle(self, child)

        def body() -> None:
            try:
                handle.result = func(*args)
            finally:
                self.kernel.do_exit(child)
                handle.ended = True
                handle.wq.wake_up(0, 0)

        self.baton.spawn(child, body)
        return handle

    def setuid(self, uid: int, gid: int | None = None) -> None:
        """Become another user, without capabilities unless it is root."""
        cred = Cred(uid, uid if gid is None else gid, self.task.cred.user_ns)
        self.task.cred = cred

    def yield_now(self) -> None:
        """Let every other task run until it sleeps."""
        self.sleep_ns(1_000_000)

    def sleep_ns(self, duration_ns: int) -> None:
        """Sleep in virtual time."""
        task = self.task
        deadline = self.kernel.clock.now_ns + duration_ns
        while self.kernel.clock.now_ns < deadline:
            task.prepare_to_sleep()
            task.schedule_timeout(deadline - self.kernel.clock.now_ns)
            if task.signal_pending():
                self.deliver_signals()

    # System calls with signals

    def check(self, ret: int) -> int:
        """Return a result, or raise the OSError of a negative errno after running signal handlers."""
        if self.task.pending_signals:
            self.deliver_signals()
        if ret < 0:
            if ret in (-ERESTARTSYS, -ERESTARTNOHAND):
                ret = -EINTR
            raise OSError(-ret, real_os.strerror(-ret))
        return ret

    def restart(self, call: Callable[[], int]) -> int:
        """Make a call, again as long as a signal interrupts it (PEP 475); a handler that raises ends that."""
        while True:
            ret = call()
            if ret not in _INTERRUPTED:
                return ret
            self.deliver_signals()

    def deliver_signals(self) -> int:
        """Run the handlers of pending signals; return a bit mask of those that ran."""
        task = self.task
        ran = 0
        while True:
            info = task.dequeue_signal(task.blocked_signals)
            if info is None:
                return ran
            handler = self.handlers.get(info.si_signo)
            if handler is not None:
                ran |= 1 << info.si_signo
                handler(info.si_signo, None)
            elif not task.ignored_signals >> info.si_signo & 1:
                raise KilledBySignal(info.si_signo)


class TimeModule:
    """The module time, in virtual time."""

    def __init__(self, env: TwinEnv) -> None:
        self._env = env

    def monotonic(self) -> float:
        """Seconds since boot."""
        return self._env.kernel.clock.now_ns / 1e9

    def monotonic_ns(self) -> int:
        """Nanoseconds since boot."""
        return self._env.kernel.clock.now_ns

    def time(self) -> float:
        """Seconds since the epoch."""
        return (self._env.kernel.clock.now_ns + self._env.kernel.clock.realtime_offset_ns) / 1e9

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self._env.sleep_ns(int(seconds * 1e9))


class SignalModule:
    """The module signal: handlers are those of the one simulated process."""

    SIG_DFL = 0
    SIG_IGN = 1

    def __init__(self, env: TwinEnv) -> None:
        self._env = env

    def __getattr__(self, name: str) -> int:
        import signal as real_signal

        if not name.startswith("SIG"):
            raise AttributeError(name)
        return int(getattr(real_signal, name))

    def signal(self, signo: int, handler: Any) -> None:
        """Set a handler, SIG_IGN or SIG_DFL, signal(2)."""
        for task in [self._env.task, self._env.first]:
            task.ignored_signals &= ~(1 << signo)
            task.handled_signals &= ~(1 << signo)
            if handler == self.SIG_IGN:
                task.ignored_signals |= 1 << signo
            elif handler != self.SIG_DFL:
                task.handled_signals |= 1 << signo
        self._env.handlers.pop(signo, None)
        if callable(handler):
            self._env.handlers[signo] = handler


class SocketModule:
    """The module socket: constants are the real module's, calls go to the twin."""

    error = OSError
    timeout = TimeoutError
    SocketType = property(lambda self: TwinSocket)

    def __init__(self, env: TwinEnv) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name in ("htons", "htonl", "ntohs", "ntohl", "inet_aton", "inet_ntoa", "inet_pton", "inet_ntop"):
            return getattr(real, name)
        if name in ("CMSG_LEN", "CMSG_SPACE"):
            return getattr(real, name)
        raise AttributeError(f"the twin's socket module has no {name}")

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0, fileno: int | None = None) -> "TwinSocket":
        """socket.socket()."""
        if fileno is None:
            fileno = self._env.check(calls.sys_socket(self._env.task, int(family), int(type) | SOCK_CLOEXEC, proto))
            return TwinSocket(self._env, fileno, (int(family), int(type), proto))
        return TwinSocket(self._env, fileno)

    def socketpair(self, family: int = 1, type: int = SOCK_STREAM, proto: int = 0) -> tuple["TwinSocket", "TwinSocket"]:
        """socket.socketpair()."""
        fds: list[int] = []
        self._env.check(calls.sys_socketpair(self._env.task, int(family), int(type) | SOCK_CLOEXEC, proto, fds))
        kind = (int(family), int(type), proto)
        return TwinSocket(self._env, fds[0], kind), TwinSocket(self._env, fds[1], kind)

    def fromfd(self, fd: int, family: int, type: int, proto: int = 0) -> "TwinSocket":
        """socket.fromfd(): a socket object over a duplicate."""
        return TwinSocket(self._env, self._env.os.dup(fd))

    def create_server(self, address: tuple[str, int], *, family: int = AF_INET, backlog: int | None = None) -> "TwinSocket":
        """socket.create_server(): bound with SO_REUSEADDR and listening."""
        sock = self.socket(family)
        try:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(128 if backlog is None else backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def create_connection(self, address: tuple[str, int], timeout: float | None = None) -> "TwinSocket":
        """socket.create_connection() for a literal IPv4 or IPv6 address."""
        sock = self.socket(10 if ":" in address[0] else 2)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock


class TwinSocket:
    """An object with the methods of socket.socket, on the twin."""

    def __init__(self, env: TwinEnv, fd: int, kind: tuple[int, int, int] | None = None) -> None:
        """Wrap a descriptor; `kind`: family, type and protocol where they are known, as after socket()."""
        self._env = env
        self._fd = fd
        self._timeout: float | None = None
        if kind is not None:
            self.family, type_, self.proto = kind
            self.type = type_ & _SOCK_TYPE_MASK
            self._timeout = 0.0 if type_ & SOCK_NONBLOCK else None
            return
        self.family = self._int_option(39)
        self.type = self._int_option(3)
        self.proto = self._int_option(38)
        if sys_fcntl(env.task, fd, F_GETFL, 0) & O_NONBLOCK:
            self._timeout = 0.0

    def _int_option(self, optname: int) -> int:
        err, value = calls.sys_getsockopt(self._env.task, self._fd, SOL_SOCKET, optname, bytes(4), 4)
        self._env.check(err)
        return int.from_bytes(value, "little")

    def __enter__(self) -> "TwinSocket":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    # Timeouts

    def settimeout(self, timeout: float | None) -> None:
        """None blocks, 0 does not, more waits at most so many seconds."""
        self._timeout = None if timeout is None else float(timeout)
        flags = sys_fcntl(self._env.task, self._fd, F_GETFL, 0)
        self._env.check(flags)
        flags = flags & ~O_NONBLOCK if timeout is None else flags | O_NONBLOCK
        self._env.check(sys_fcntl(self._env.task, self._fd, F_SETFL, flags))

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Block, or not."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Tell whether calls may wait."""
        return self._timeout != 0.0

    def _call(self, events: int, call: Callable[[], int]) -> int:
        """Make a call within the timeout, polling for `events` first as the socket module does."""
        env = self._env
        if not self._timeout:
            return env.check(env.restart(call))
        deadline = env.kernel.clock.now_ns + int(self._timeout * 1e9)
        while True:
            self._wait(events, deadline)
            ret = env.restart(call)
            if ret != -EAGAIN:
                return env.check(ret)

    def _wait(self, events: int, deadline_ns: int) -> None:
        env = self._env
        while True:
            left_ms = -(-(deadline_ns - env.kernel.clock.now_ns) // 1_000_000)
            if left_ms < 0:
                raise TimeoutError("timed out")
            pollfd = Pollfd(self._fd, events)
            ready = sys_poll(env.task, [pollfd], left_ms)
            if ready == 0:
                raise TimeoutError("timed out")
            if ready > 0:
                return
            if ready not in _INTERRUPTED:
                env.check(ready)
            env.deliver_signals()

    # Names and connections

    def _addr(self, address: object) -> bytes:
        return pack(self.family, address)

    def bind(self, address: object) -> None:
        """bind(2)."""
        raw = self._addr(address)
        self._env.check(calls.sys_bind(self._env.task, self._fd, raw, len(raw)))

    def listen(self, backlog: int = 128) -> None:
        """listen(2)."""
        self._env.check(calls.sys_listen(self._env.task, self._fd, max(backlog, 0)))

    def accept(self) -> tuple["TwinSocket", object]:
        """accept(2): (socket, address of the peer)."""
        peer = calls.UserSockaddr()
        fd = self._call(_POLLIN, lambda: calls.sys_accept4(self._env.task, self._fd, peer, SOCK_CLOEXEC))
        return TwinSocket(self._env, fd, (self.family, self.type, self.proto)), unpack(peer.addr)

    def connect(self, address: object) -> None:
        """connect(2), waiting as long as the timeout says."""
        self._env.check(-self._connect(address))

    def connect_ex(self, address: object) -> int:
        """connect(2): 0 or the errno."""
        try:
            return self._connect(address)
        except TimeoutError:
            return EAGAIN

    def _connect(self, address: object) -> int:
        env = self._env
        raw = self._addr(address)
        ret = calls.sys_connect(env.task, self._fd, raw, len(raw))
        interrupted = ret in _INTERRUPTED
        if interrupted:
            env.deliver_signals()
        if interrupted or (ret == -EINPROGRESS and self._timeout):
            deadline = env.kernel.clock.now_ns + int((self._timeout or 1e9) * 1e9)
            self._wait(_POLLOUT, deadline)
            err = self._int_option(SO_ERROR)
            return 0 if err == EISCONN else err
        return -ret

    def getsockname(self) -> object:
        """getsockname(2)."""
        name = calls.UserSockaddr()
        self._env.check(calls.sys_getsockname(self._env.task, self._fd, name))
        return unpack(name.addr)

    def getpeername(self) -> object:
        """getpeername(2)."""
        name = calls.UserSockaddr()
        self._env.check(calls.sys_getpeername(self._env.task, self._fd, name))
        return unpack(name.addr)

    # Data

    def send(self, data: Any, flags: int = 0) -> int:
        """send(2)."""
        raw = bytes(data)
        return self._call(_POLLOUT, lambda: calls.sys_send(self._env.task, self._fd, raw, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything."""
        raw = bytes(data)
        while raw:
            raw = raw[self.send(raw, flags) :]

    def sendto(self, data: Any, *args: Any) -> int:
        """sendto(2): (data, address) or (data, flags, address)."""
        raw = bytes(data)
        flags, address = args if len(args) == 2 else (0, args[0])
        addr = self._addr(address)
        return self._call(_POLLOUT, lambda: calls.sys_sendto(self._env.task, self._fd, raw, flags, addr, len(addr)))

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: object = None) -> int:
        """sendmsg(2)."""
        control = b"".join(_cmsg(level, type_, bytes(data)) for level, type_, data in ancdata)
        if ancdata:  # the socket module does not pad behind the last message
            last = 16 + len(bytes(ancdata[-1][2]))
            control = control[: len(control) - (-last % 8)]
        pieces = [bytes(piece) for piece in buffers]

        def call() -> int:
            umsg = calls.UserMsghdr()
            umsg.iov = pieces
            umsg.control, umsg.controllen = control, len(control)
            if address is not None:
                umsg.name = self._addr(address)
                umsg.namelen = len(umsg.name)
            return calls.sys_sendmsg(self._env.task, self._fd, umsg, flags)

        return self._call(_POLLOUT, call)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """recv(2); as in the socket module, no bytes are given without a call."""
        if bufsize == 0:
            return b""
        return self._recvfrom(bufsize, flags, None)

    def _recvfrom(self, bufsize: int, flags: int, addr: calls.UserSockaddr | None) -> bytes:
        box = [b""]

        def call() -> int:
            ret, box[0] = calls.sys_recvfrom(self._env.task, self._fd, bufsize, flags, addr)
            return ret

        ret = self._call(_POLLIN, call)
        return box[0].ljust(min(ret, bufsize), b"\0")

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, object]:
        """recvfrom(2): (data, address)."""
        addr = calls.UserSockaddr()
        data = self._recvfrom(bufsize, flags, addr)
        return data, unpack(addr.addr)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """recv(2) into a buffer."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, object]:
        """recvfrom(2) into a buffer."""
        view = memoryview(buffer).cast("B")
        data, address = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """recvmsg(2): (data, control messages, msg_flags, address)."""
        umsg = calls.UserMsghdr()

        def call() -> int:
            umsg.__init__()  # type: ignore[misc]
            umsg.room = bufsize
            umsg.control, umsg.controllen = (b"", ancbufsize) if ancbufsize else (None, 0)
            umsg.out_name = calls.UserSockaddr()
            return calls.sys_recvmsg(self._env.task, self._fd, umsg, flags)

        self._call(_POLLIN, call)
        name = b"" if umsg.out_name is None else umsg.out_name.addr
        return umsg.data, _split_cmsgs(umsg.control or b""), umsg.flags, unpack(name)

    # Options and the descriptor

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """setsockopt(2): an int, bytes, or None with a length."""
        if value is None:
            raw, size = None, optlen or 0
        else:
            raw = struct.pack("=i", value) if isinstance(value, int) else bytes(value)
            size = len(raw)
        self._env.check(calls.sys_setsockopt(self._env.task, self._fd, level, optname, raw, size))

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """getsockopt(2): an int, or `buflen` bytes at most."""
        err, value = calls.sys_getsockopt(self._env.task, self._fd, level, optname, bytes(buflen or 4), buflen or 4)
        self._env.check(err)
        return value if buflen else int.from_bytes(value.ljust(4, b"\0"), "little", signed=True)

    def shutdown(self, how: int) -> None:
        """shutdown(2)."""
        self._env.check(calls.sys_shutdown(self._env.task, self._fd, how))

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._fd

    def detach(self) -> int:
        """Forget the descriptor without closing it."""
        fd, self._fd = self._fd, -1
        return fd

    def dup(self) -> "TwinSocket":
        """Return an object over a duplicate."""
        return TwinSocket(self._env, self._env.os.dup(self._fd))

    def close(self) -> None:
        """close(2); a second call does nothing."""
        fd = self.detach()
        if fd >= 0:
            self._env.check(fs_file.sys_close(self._env.task, fd))


def _cmsg(level: int, type_: int, data: bytes) -> bytes:
    header = struct.pack("=Qii", 16 + len(data), level, type_)
    return header + data + bytes(-len(data) % 8)


def _split_cmsgs(control: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    pos = 0
    while pos + 16 <= len(control):
        length, level, type_ = struct.unpack_from("=Qii", control, pos)
        found.append((level, type_, control[pos + 16 : pos + length]))
        pos += (length + 7) & ~7
    return found
