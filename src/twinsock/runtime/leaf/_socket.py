"""The module _socket: class socket with every method of the C one, calling the twin's system calls.

As in C, no method calls another public one, since subclasses (socket.socket, ssl.SSLSocket) override them; `__slots__` without
`__weakref__`, since socket.socket adds that. Constants are those of the interpreter's own module. Left out: addresses of families
which the twin lacks, and sendmsg_afalg()."""

import _socket as real
import os
import struct
import warnings
from collections.abc import Callable
from typing import Any

from twinsock.kernel.fs.fcntl import sys_fcntl
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net import socket as calls
from twinsock.kernel.sched.task import ERESTARTNOHAND
from twinsock.runtime.leaf import address as addresses
from twinsock.runtime.leaf import os_calls, real_file, resolver
from twinsock.runtime.process import REAL_NUMBERS, Escape, Process, process
from twinsock.runtime.serial import hash_by_number
from twinsock.uapi.errno import EAGAIN, EBADF, EINPROGRESS, EINTR, EISCONN, ENOTSOCK, ERESTARTSYS
from twinsock.uapi.fcntl import F_GETFL, F_SETFL, O_NONBLOCK
from twinsock.uapi.socket import SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET

_POLLIN = 0x1
_POLLOUT = 0x4
_TYPE_MASK = 15
_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)
_F_DUPFD_CLOEXEC = 1030
_SO_TYPE, _SO_PROTOCOL, _SO_DOMAIN = 3, 38, 39
_MAX_TIMEOUT_S = 9223372036
_UNSET = object()
error = OSError
timeout = TimeoutError
herror = real.herror
gaierror = real.gaierror

getaddrinfo = resolver.getaddrinfo
getnameinfo = resolver.getnameinfo
gethostbyname = resolver.gethostbyname
gethostbyname_ex = resolver.gethostbyname_ex
gethostbyaddr = resolver.gethostbyaddr
gethostname = resolver.gethostname
sethostname = resolver.sethostname
if_nameindex = resolver.if_nameindex
if_nametoindex = resolver.if_nametoindex
if_indextoname = resolver.if_indextoname


def _deadline(host: Process, seconds: float) -> int:
    """Convert a timeout to an instant, rounding up."""
    return host.kernel.clock.now_ns - int(-seconds * 1_000_000_000 // 1)


def _seconds(value: Any) -> float | None:
    """Check a timeout. Raises TypeError, ValueError, OverflowError."""
    if value is None:
        return None
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")
    seconds = float(value)
    if seconds != seconds:
        raise ValueError("Invalid value NaN (not a number)")
    if abs(seconds) > _MAX_TIMEOUT_S:
        raise OverflowError("timeout doesn't fit into C timeval" if seconds > 0 else "timestamp too large to convert to C _PyTime_t")
    if seconds < 0:
        raise ValueError("Timeout value out of range")
    return seconds


def _int(value: Any) -> int:
    """Convert as PyArg's "i" does."""
    number = value.__index__() if hasattr(value, "__index__") else _not_an_int(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise OverflowError("signed integer is " + ("less than minimum" if number < 0 else "greater than maximum"))
    return int(number)


def _not_an_int(value: object) -> int:
    raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")


def _bytes(data: Any) -> bytes:
    """Copy a buffer. Raises TypeError."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    try:
        return memoryview(data).tobytes()
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not '{type(data).__name__}'") from None


def _room(buffer: Any) -> memoryview:
    """View a buffer that is written to. Raises TypeError."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise TypeError(f"a read-write bytes-like object is required, not '{type(buffer).__name__}'") from None
    if view.readonly:
        raise TypeError(f"read-write bytes-like object expected, not {type(buffer).__name__}")
    return view.cast("B")


class Socket:
    """A socket of the twin."""

    __slots__ = ("_family", "_fd", "_proto", "_timeout_s", "_twinsock_number", "_type")
    __hash__ = hash_by_number

    def __new__(cls, *args: object, **kw: object) -> "Socket":
        """Make the object, which has no descriptor yet."""
        self = object.__new__(cls)
        self._fd = -1
        self._timeout_s = process().default_timeout
        self._family, self._type, self._proto = 0, 0, 0
        return self

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None) -> None:
        host = process()
        self._timeout_s = host.default_timeout
        if fileno is None:
            self._family = real.AF_INET if family == -1 else _int(family)
            kind = real.SOCK_STREAM if type == -1 else _int(type)
            self._proto = 0 if proto == -1 else _int(proto)
            self._fd = host.check(calls.sys_socket(host.task, self._family, kind | SOCK_CLOEXEC, self._proto))
        else:
            kind = self._adopt(host, fileno, family, type, proto)
        self._type = kind & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)
        if kind & SOCK_NONBLOCK:
            self._timeout_s = 0.0
        elif self._timeout_s is not None and fileno is None:
            self._set_nonblock(True)

    def _adopt(self, host: Process, fileno: Any, family: int, type_: int, proto: int) -> int:
        """Take over a descriptor: what is not told is asked; return the type. Raises OSError, TypeError, ValueError."""
        if isinstance(fileno, float):
            raise TypeError("integer argument expected, got float")
        fd = fileno.__index__() if hasattr(fileno, "__index__") else _not_an_int(fileno)
        if fd < 0:
            raise ValueError("negative file descriptor")
        if not host.owns(fd) and host.is_real(fd):
            os.fstat(fd)
            raise OSError(ENOTSOCK, os.strerror(ENOTSOCK))
        host.need(fd)
        self._fd = fd
        try:
            name = calls.UserSockaddr()
            ret = calls.sys_getsockname(host.task, fd, name)
            if ret < 0 and family == -1:
                host.check(ret)
            self._family = self._option(host, _SO_DOMAIN) if family == -1 else _int(family)
            kind = self._option(host, _SO_TYPE) if type_ == -1 else _int(type_)
            self._proto = self._option(host, _SO_PROTOCOL) if proto == -1 else _int(proto)
            if ret < 0:
                host.check(ret)
        except BaseException:
            self._fd = -1
            raise
        return kind

    def __repr__(self) -> str:
        return f"<socket object, fd={self._fd}, family={self._family:d}, type={self._type:d}, proto={self._proto}>"

    def __del__(self) -> None:
        if self._fd != -1:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            fd, self._fd = self._fd, -1
            sys_close(process().task, fd)

    def _option(self, host: Process, optname: int) -> int:
        err, value = calls.sys_getsockopt(host.task, self._fd, SOL_SOCKET, optname, bytes(4), 4)
        host.check(err)
        return int.from_bytes(value, "little")

    @property
    def family(self) -> int:
        """The address family."""
        return self._family

    @property
    def type(self) -> int:
        """The type, without flags."""
        return self._type

    @property
    def proto(self) -> int:
        """The protocol."""
        return self._proto

    # Timeouts

    @property
    def timeout(self) -> float | None:
        """The timeout in seconds, None: none."""
        return self._timeout_s

    def _set_nonblock(self, on: bool) -> None:
        host = process()
        flags = host.check(sys_fcntl(host.task, self._fd, F_GETFL, 0))
        host.check(sys_fcntl(host.task, self._fd, F_SETFL, flags | O_NONBLOCK if on else flags & ~O_NONBLOCK))

    def settimeout(self, value: Any, /) -> None:
        """None blocks, 0 does not, more waits at most so many seconds."""
        seconds = _seconds(value)
        self._timeout_s = seconds
        self._set_nonblock(seconds is not None)

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds."""
        return self._timeout_s

    def setblocking(self, flag: Any, /) -> None:
        """Block, or not."""
        block = bool(flag.__index__() if hasattr(flag, "__index__") else _not_an_int(flag))
        self._timeout_s = None if block else 0.0
        self._set_nonblock(not block)

    def getblocking(self) -> bool:
        """Tell whether calls may wait."""
        return self._timeout_s is None or self._timeout_s > 0

    def _call(self, events: int, call: Callable[[], int]) -> int:
        """Make a call within the timeout, polling for `events` first as the C module does."""
        host = process()
        if not self._timeout_s:
            ret = call()
            while ret in _INTERRUPTED:
                host.deliver_signals()
                ret = call()
            if ret == -EAGAIN:
                host.look()
            else:
                host.spins = 0
            return host.check(ret)
        deadline = _deadline(host, self._timeout_s)
        while True:
            self._wait(host, events, deadline)
            ret = host.restart(call)
            if ret != -EAGAIN:
                return host.check(ret)

    def _cut(self, size: int) -> int:
        """Return how much of a stream a call may transfer where a simulation makes calls go wrong. Raises BlockingIOError."""
        faults = process().faults
        if faults is None or self._type != SOCK_STREAM:
            return size
        if self._timeout_s == 0 and faults.again():
            process().check(-EAGAIN)
        return faults.cut(size)

    def _wait(self, host: Process, events: int, deadline_ns: int) -> None:
        """Wait for poll bits until an instant. Raises TimeoutError."""
        host.spins = 0
        while True:
            left_ms = -(-(deadline_ns - host.kernel.clock.now_ns) // 1_000_000)
            ready = 0 if left_ms < 0 else sys_poll(host.task, [Pollfd(self._fd, events)], left_ms)
            if ready == 0:
                raise TimeoutError("timed out")
            if ready > 0:
                return
            if ready not in _INTERRUPTED:
                host.check(ready)
            host.deliver_signals()

    # Names and connections

    def bind(self, address: Any, /) -> None:
        """bind(2)."""
        host = process()
        raw = addresses.pack(host, self._family, address, "bind")
        host.check(calls.sys_bind(host.task, self._fd, raw, len(raw)))

    def listen(self, backlog: Any = 128, /) -> None:
        """listen(2)."""
        host = process()
        host.check(calls.sys_listen(host.task, self._fd, max(_int(backlog), 0)))

    def _accept(self) -> tuple[int, object]:
        """accept4(2): (descriptor, address of the peer)."""
        peer = calls.UserSockaddr()
        host = process()
        if host.faults is not None and host.faults.accept_delay_ns:
            host.sleep_ns(host.faults.accept_delay_ns)
        fd = self._call(_POLLIN, lambda: calls.sys_accept4(process().task, self._fd, peer, SOCK_CLOEXEC))
        return fd, addresses.unpack(peer.addr, self._family)

    def connect(self, address: Any, /) -> None:
        """connect(2), waiting as long as the timeout says."""
        process().check(-self._connect(address, "connect"))

    def connect_ex(self, address: Any, /) -> int:
        """connect(2): 0 or the errno."""
        try:
            return self._connect(address, "connect_ex")
        except TimeoutError:
            return EAGAIN

    def _connect(self, address: Any, caller: str) -> int:
        host = process()
        raw = addresses.pack(host, self._family, address, caller)
        host.spins = 0
        ret = calls.sys_connect(host.task, self._fd, raw, len(raw))
        interrupted = ret in _INTERRUPTED
        if interrupted:
            host.deliver_signals()
        if (interrupted and self._timeout_s != 0) or (ret == -EINPROGRESS and self._timeout_s):
            self._wait(host, _POLLOUT, _deadline(host, self._timeout_s or 1e9))
            err = self._option(host, SO_ERROR)
            return 0 if err == EISCONN else err
        return -ret

    def getsockname(self) -> object:
        """getsockname(2)."""
        host = process()
        name = calls.UserSockaddr()
        host.check(calls.sys_getsockname(host.task, self._fd, name))
        return addresses.unpack(name.addr, self._family)

    def getpeername(self) -> object:
        """getpeername(2)."""
        host = process()
        name = calls.UserSockaddr()
        host.check(calls.sys_getpeername(host.task, self._fd, name))
        return addresses.unpack(name.addr, self._family)

    # Data

    def send(self, data: Any, flags: Any = 0, /) -> int:
        """send(2)."""
        raw, bits = _bytes(data), _int(flags)
        raw = raw[: self._cut(len(raw))]
        return self._call(_POLLOUT, lambda: calls.sys_send(process().task, self._fd, raw, bits))

    def sendall(self, data: Any, flags: Any = 0, /) -> None:
        """Send everything within the timeout."""
        raw, bits = _bytes(data), _int(flags)
        host = process()
        limit = self._timeout_s
        deadline = _deadline(host, limit) if limit else 0
        pos = 0
        while True:
            rest = raw[pos:] if pos else raw

            def call(rest: bytes = rest) -> int:
                return calls.sys_send(process().task, self._fd, rest, bits)

            if limit:
                self._wait(host, _POLLOUT, deadline)
                ret = host.restart(call)
                pos += 0 if ret == -EAGAIN else host.check(ret)
            else:
                pos += self._call(_POLLOUT, call)
            if pos >= len(raw):
                return

    def sendto(self, data: Any, *args: Any) -> int:
        """sendto(2): (data, address) or (data, flags, address)."""
        if len(args) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        raw = _bytes(data)
        bits, address = (0, args[0]) if len(args) == 1 else (_int(args[0]), args[1])
        addr = addresses.pack(process(), self._family, address, "sendto")
        return self._call(_POLLOUT, lambda: calls.sys_sendto(process().task, self._fd, raw, bits, addr, len(addr)))

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: Any = 0, address: Any = None, /) -> int:
        """sendmsg(2)."""
        try:
            pieces = [_bytes(piece) for piece in iter(buffers)]
        except TypeError as problem:
            if hasattr(buffers, "__iter__"):
                raise
            raise TypeError("sendmsg() argument 1 must be an iterable") from problem
        control, adopted = _control(process(), ancdata)
        bits = _int(flags)
        addr = None if address is None else addresses.pack(process(), self._family, address, "sendmsg")

        def call() -> int:
            umsg = calls.UserMsghdr()
            umsg.iov = pieces
            umsg.control, umsg.controllen = control, len(control)
            if addr is not None:
                umsg.name, umsg.namelen = addr, len(addr)
            return calls.sys_sendmsg(process().task, self._fd, umsg, bits)

        try:
            return self._call(_POLLOUT, call)
        finally:
            for fd in adopted:
                sys_close(process().task, fd)

    def sendmsg_afalg(self, *args: object, **kw: object) -> int:
        """Refuse: the twin has no AF_ALG."""
        raise Escape("socket.sendmsg_afalg(): the twin has no AF_ALG sockets; use hashlib or a cipher library instead")

    def recv(self, bufsize: Any, flags: Any = 0, /) -> bytes:
        """recv(2)."""
        size = bufsize.__index__() if hasattr(bufsize, "__index__") else _not_an_int(bufsize)
        if size < 0:
            raise ValueError("negative buffersize in recv")
        return self._receive(size, _int(flags), None)

    def _receive(self, size: int, flags: int, addr: calls.UserSockaddr | None) -> bytes:
        box = [b""]
        if not flags:
            size = self._cut(size)

        def call() -> int:
            ret, box[0] = calls.sys_recvfrom(process().task, self._fd, size, flags, addr)
            return ret

        ret = self._call(_POLLIN, call)
        return box[0].ljust(min(ret, size), b"\0")

    def recvfrom(self, bufsize: Any, flags: Any = 0, /) -> tuple[bytes, object]:
        """recvfrom(2): (data, address)."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        addr = calls.UserSockaddr()
        data = self._receive(bufsize, _int(flags), addr)
        return data, addresses.unpack(addr.addr, self._family)

    def _into(self, name: str, buffer: Any, nbytes: int, flags: int, addr: calls.UserSockaddr | None) -> int:
        """Receive into a buffer."""
        view = _room(buffer)
        if nbytes < 0:
            raise ValueError(f"negative buffersize in {name}")
        if nbytes > len(view):
            short = "nbytes is greater than the length of the buffer" if addr is not None else "buffer too small for requested bytes"
            raise ValueError(short)
        data = self._receive(nbytes or len(view), flags, addr)
        view[: len(data)] = data
        return len(data)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """recv(2) into a buffer."""
        return self._into("recv_into", buffer, nbytes, _int(flags), None)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, object]:
        """recvfrom(2) into a buffer."""
        addr = calls.UserSockaddr()
        count = self._into("recvfrom_into", buffer, nbytes, _int(flags), addr)
        return count, addresses.unpack(addr.addr, self._family)

    def recvmsg(self, bufsize: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """recvmsg(2): (data, control messages, msg_flags, address)."""
        if _int(bufsize) < 0:
            raise ValueError("negative buffer size in recvmsg()")
        return self._recvmsg(bufsize, ancbufsize, _int(flags))

    def _recvmsg(self, size: int, ancbufsize: Any, flags: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        if not 0 <= _int(ancbufsize) <= 0x7FFFFFFF:
            raise ValueError("invalid ancillary data buffer length")
        box: list[calls.UserMsghdr] = []

        def call() -> int:
            umsg = calls.UserMsghdr()
            umsg.room = size
            umsg.control, umsg.controllen = (b"", ancbufsize) if ancbufsize else (None, 0)
            umsg.out_name = calls.UserSockaddr()
            box[:] = [umsg]
            return calls.sys_recvmsg(process().task, self._fd, umsg, flags)

        self._call(_POLLIN, call)
        umsg = box[0]
        name = b"" if umsg.out_name is None else umsg.out_name.addr
        return umsg.data, _split(umsg.control or b""), umsg.flags, addresses.unpack(name, self._family)

    def recvmsg_into(self, buffers: Any, ancbufsize: Any = 0, flags: Any = 0, /) -> tuple[int, list[tuple[int, int, bytes]], int, object]:
        """recvmsg(2) into several buffers: (bytes, control messages, msg_flags, address)."""
        try:
            views = [_room(buffer) for buffer in iter(buffers)]
        except TypeError as problem:
            if hasattr(buffers, "__iter__"):
                raise
            raise TypeError("recvmsg_into() argument 1 must be an iterable") from problem
        data, ancdata, msg_flags, address = self._recvmsg(sum(len(view) for view in views), ancbufsize, _int(flags))
        pos = 0
        for view in views:
            part = data[pos : pos + len(view)]
            view[: len(part)] = part
            pos += len(part)
        return len(data), ancdata, msg_flags, address

    # Options and the descriptor

    def setsockopt(self, level: int, optname: int, value: Any, optlen: Any = _UNSET, /) -> None:
        """setsockopt(2): an int, bytes, or None with a length."""
        host = process()
        raw: bytes | None
        if value is None:
            if optlen is _UNSET:
                raise TypeError("socket.setsockopt() requires 4 arguments when the third argument is None")
            raw, size = None, _int(optlen)
        elif optlen is not _UNSET:
            raise TypeError("socket.setsockopt() only takes 4 arguments when the third argument is None")
        else:
            raw = struct.pack("=i", _int(value)) if hasattr(value, "__index__") else _bytes(value)
            size = len(raw)
        host.check(calls.sys_setsockopt(host.task, self._fd, _int(level), _int(optname), raw, size))

    def getsockopt(self, level: int, optname: int, buflen: Any = 0, /) -> int | bytes:
        """getsockopt(2): an int, or `buflen` bytes at most."""
        host = process()
        room = _int(buflen)
        if not 0 <= room <= 1024:
            raise OSError("getsockopt buflen out of range")
        err, value = calls.sys_getsockopt(host.task, self._fd, _int(level), _int(optname), bytes(room or 4), room or 4)
        host.check(err)
        return value if room else int.from_bytes(value.ljust(4, b"\0"), "little", signed=True)

    def shutdown(self, how: int, /) -> None:
        """shutdown(2)."""
        host = process()
        host.check(calls.sys_shutdown(host.task, self._fd, _int(how)))

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self._fd

    def detach(self) -> int:
        """Forget the descriptor without closing it."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """close(2); a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            host = process()
            ret = sys_close(host.task, fd)
            if ret < 0 and ret != -104:  # ECONNRESET says nothing about the descriptor
                host.check(ret)


Socket.__name__ = Socket.__qualname__ = "socket"
Socket.__module__ = "_socket"
socket = SocketType = Socket


def _control(host: Process, ancdata: Any) -> tuple[bytes, list[int]]:
    """Pack control messages, without padding behind the last one; real files that are passed get numbers of the twin, which are
    returned to be closed. Raises TypeError."""
    adopted: list[int] = []
    try:
        items = list(iter(ancdata))
    except TypeError:
        raise TypeError("sendmsg() argument 2 must be an iterable") from None
    control = b""
    for item in items:
        if not isinstance(item, tuple) or len(item) != 3:
            raise TypeError("[sendmsg() ancillary data items] must be tuple of length 3")
        data = _bytes(item[2])
        if item[0] == SOL_SOCKET and item[1] == real.SCM_RIGHTS:
            data = _pass(host, data, adopted)
        control += bytes(-len(control) % 8) + struct.pack("=Qii", 16 + len(data), _int(item[0]), _int(item[1])) + data
    return control, adopted


def _pass(host: Process, data: bytes, adopted: list[int]) -> bytes:
    """Replace real descriptors in an SCM_RIGHTS message. Raises OSError."""
    count = len(data) // 4
    fds = list(struct.unpack_from(f"={count}i", data))
    for i, fd in enumerate(fds):
        if fd in REAL_NUMBERS:
            fds[i] = host.check(real_file.adopt(host.task, fd, os_calls.REAL))
            adopted.append(fds[i])
    return struct.pack(f"={count}i", *fds) + data[count * 4 :]


def _split(control: bytes) -> list[tuple[int, int, bytes]]:
    found = []
    pos = 0
    while pos + 16 <= len(control):
        length, level, type_ = struct.unpack_from("=Qii", control, pos)
        found.append((level, type_, control[pos + 16 : pos + length]))
        pos += (length + 7) & ~7
    return found


def socketpair(family: int = real.AF_UNIX, type: int = real.SOCK_STREAM, proto: int = 0, /) -> tuple[Socket, Socket]:
    """socketpair(2)."""
    host = process()
    fds: list[int] = []
    host.check(calls.sys_socketpair(host.task, _int(family), _int(type) | SOCK_CLOEXEC, _int(proto), fds))
    return Socket(family, type, proto, fds[0]), Socket(family, type, proto, fds[1])


def close(fd: int, /) -> None:
    """Close a socket's descriptor."""
    host = process()
    number = fd.__index__() if hasattr(fd, "__index__") else _not_an_int(fd)
    host.need(number)
    host.check(sys_close(host.task, number))


def dup(fd: int, /) -> int:
    """Duplicate a socket's descriptor."""
    host = process()
    if not host.owns(fd):
        raise OSError(EBADF, os.strerror(EBADF))
    return host.check(sys_fcntl(host.task, fd, _F_DUPFD_CLOEXEC, 0))


def getdefaulttimeout() -> float | None:
    """Return the timeout that new sockets get."""
    return process().default_timeout


def setdefaulttimeout(value: Any, /) -> None:
    """Set the timeout that new sockets get."""
    process().default_timeout = _seconds(value)
