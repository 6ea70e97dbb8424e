"""The module _ssl: the interpreter's own OpenSSL, whose sockets are the twin's.

The C code of `SSLContext.wrap_socket` reads and writes a descriptor itself. Here OpenSSL works on memory, and this file moves bytes
between that and the twin's socket as OpenSSL would: one record at a time, five bytes of header first, so that what poll(2) says of
the descriptor and what `pending()` says of the object are what they are on Linux. Waiting, timeouts and their messages are those of
the C module. Left out: OpenSSL's own random numbers are not seeded, and the dates of certificates are held against the real clock
(Twin: D-run-2)."""

import importlib
import weakref
from collections.abc import Callable
from typing import Any

from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net import socket as calls
from twinsock.kernel.sched.task import ERESTARTNOHAND
from twinsock.runtime.leaf._socket import Socket
from twinsock.runtime.leaf.seal import seal
from twinsock.runtime.process import Process, process
from twinsock.uapi.errno import EAGAIN, EINTR, ERESTARTSYS
from twinsock.uapi.socket import MSG_DONTWAIT

real: Any = importlib.import_module("_ssl")
_POLLIN = 0x1
_POLLOUT = 0x4
_RECORD_MAX = 16384  # bytes of data in one record, and so what one SSL_write() takes
_HEADER = 5
_INTERRUPTED = (-ERESTARTSYS, -ERESTARTNOHAND, -EINTR)


def rand_bytes(n: int, /) -> bytes:
    """Give bytes of the simulation's generator."""
    if n < 0:
        raise ValueError("num must be positive")
    return process().random_bytes(n)


RAND_bytes = rand_bytes
rand_bytes.__name__ = rand_bytes.__qualname__ = "RAND_bytes"


class _Wait:
    """How long one operation may wait, as the socket's timeout says when it starts."""

    __slots__ = ("blocking", "deadline_ns", "what")

    def __init__(self, host: Process, sock: Socket, what: str) -> None:
        limit = sock._timeout_s
        self.what = what
        self.blocking = limit != 0.0
        self.deadline_ns = host.kernel.clock.now_ns + int(limit * 1e9) if limit else -1

    def ready(self, host: Process, fd: int, events: int) -> bool:
        """Wait for poll bits; False: the socket does not block. Raises TimeoutError."""
        if not self.blocking:
            return False
        if fd < 0:
            raise real.SSLError("Underlying socket has been closed.")
        host.spins = 0
        while True:
            left = -1 if self.deadline_ns < 0 else -(-(self.deadline_ns - host.kernel.clock.now_ns) // 1_000_000)
            found = 0 if self.deadline_ns >= 0 and left < 0 else sys_poll(host.task, [Pollfd(fd, events)], left)
            if found == 0:
                raise TimeoutError(f"The {self.what} operation timed out")
            if found not in _INTERRUPTED:
                host.check(found)
                return True
            host.deliver_signals()


class TlsSocket:
    """What wrap_socket() works with: OpenSSL's object on memory, and the twin's socket."""

    def __init__(self, sock: Socket, incoming: Any, outgoing: Any, ssl: Any) -> None:
        self._ref = weakref.ref(sock)  # the SSLSocket holds this object
        self._incoming, self._outgoing, self._ssl = incoming, outgoing, ssl
        self._unsent = b""  # taken from OpenSSL, not yet by the socket
        self._header = b""  # of a record that is being read
        self._body = 0  # bytes of it that are still to be read
        self._accepted = 0  # bytes which OpenSSL took from a write() that has to be made again

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    @property
    def _sock(self) -> Socket:
        sock = self._ref()
        if sock is None:
            raise real.SSLError("Underlying socket connection gone")
        return sock

    @property
    def context(self) -> Any:
        """The SSLContext; an SNI callback may set another one."""
        return self._ssl.context

    @context.setter
    def context(self, value: Any) -> None:
        self._ssl.context = value

    @property
    def session(self) -> Any:
        """The session, which may be set before the handshake."""
        return self._ssl.session

    @session.setter
    def session(self, value: Any) -> None:
        self._ssl.session = value

    @property
    def owner(self) -> Any:
        """The SSLSocket that callbacks get."""
        return self._ssl.owner

    @owner.setter
    def owner(self, value: Any) -> None:
        self._ssl.owner = value

    # Operations

    def do_handshake(self) -> None:
        """SSL_do_handshake(3)."""
        self._loop(self._ssl.do_handshake, "handshake")

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        """SSL_read(3): bytes, or how many went into the buffer."""
        if buffer is None:
            if size < 0:
                raise ValueError("size should not be negative")
            return b"" if size == 0 else self._loop(lambda: self._ssl.read(size), "read")
        room = len(memoryview(buffer).cast("B"))
        if room == 0:
            return 0
        count = room if size <= 0 or size > room else size
        return self._loop(lambda: self._ssl.read(count, buffer), "read")

    def write(self, data: Any, /) -> int:
        """SSL_write(3): how many bytes were taken, one record at most."""
        view = memoryview(data).cast("B")
        host = process()
        wait = _Wait(host, self._sock, "write")
        if not self._accepted:
            self._flush(host, wait)
            taken: int = self._loop(lambda: self._ssl.write(view[:_RECORD_MAX]), "write", wait, flush=False)
            self._accepted = taken
        self._flush(host, wait)
        taken, self._accepted = self._accepted, 0
        return taken

    def shutdown(self) -> Socket:
        """SSL_shutdown(3) both ways; return the socket."""
        self._loop(self._ssl.shutdown, "read")
        return self._sock

    # Between memory and the socket

    def _loop(self, call: Callable[[], Any], what: str, wait: _Wait | None = None, flush: bool = True) -> Any:
        """Make a call of OpenSSL, moving bytes as long as it wants more. Raises what it raises, and OSError."""
        host = process()
        wait = wait or _Wait(host, self._sock, what)
        while True:
            try:
                result = call()
            except real.SSLWantReadError:
                self._flush(host, wait)
                self._fill(host, wait)
                continue
            except BaseException:
                self._say_goodbye(host)
                raise
            if flush:
                self._flush(host, wait)
            return result

    def _flush(self, host: Process, wait: _Wait) -> None:
        """Send what OpenSSL made. Raises SSLWantWriteError if the socket neither takes it nor blocks."""
        while True:
            data = self._unsent or self._outgoing.read()
            if not data:
                return
            self._unsent = data
            ret = calls.sys_send(host.task, self._sock._fd, data, MSG_DONTWAIT)
            if ret in _INTERRUPTED:
                host.deliver_signals()
            elif ret == -EAGAIN:
                if not wait.ready(host, self._sock._fd, _POLLOUT):
                    host.look()
                    raise real.SSLWantWriteError(real.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")
            else:
                self._unsent = data[host.check(ret) :]

    def _say_goodbye(self, host: Process) -> None:
        """Send the alert of a call that failed, if the socket takes it at once."""
        data = self._unsent + self._outgoing.read()
        if data:
            calls.sys_send(host.task, self._sock._fd, data, MSG_DONTWAIT)
            self._unsent = b""

    def _fill(self, host: Process, wait: _Wait) -> None:
        """Receive the next piece of a record. Raises SSLWantReadError if nothing is there and the socket does not block."""
        want = self._body or _HEADER - len(self._header)
        while True:
            ret, data = calls.sys_recvfrom(host.task, self._sock._fd, want, MSG_DONTWAIT, None)
            if ret in _INTERRUPTED:
                host.deliver_signals()
            elif ret == -EAGAIN:
                if not wait.ready(host, self._sock._fd, _POLLIN):
                    host.look()
                    raise real.SSLWantReadError(real.SSL_ERROR_WANT_READ, "The operation did not complete (read)")
            else:
                host.check(ret)
                break
        host.spins = 0
        self._took(data[:ret])

    def _took(self, data: bytes) -> None:
        """Hand received bytes to OpenSSL and count where in a record they end."""
        if not data:
            self._incoming.write_eof()
            return
        self._incoming.write(data)
        if self._body:
            self._body -= len(data)
            return
        self._header += data
        if len(self._header) == _HEADER:
            self._body = int.from_bytes(self._header[3:5], "big")
            self._header = b""


class _SSLContext(real._SSLContext):  # type: ignore[misc]
    """The interpreter's context, which wraps sockets of the twin."""

    def _wrap_socket(
        self, sock: Any, server_side: bool, server_hostname: Any = None, *, owner: Any = None, session: Any = None
    ) -> TlsSocket:
        """Make the object behind an SSLSocket."""
        if not isinstance(sock, Socket):
            raise TypeError(f"_wrap_socket() argument 'sock' must be _socket.socket, not {type(sock).__name__}")
        incoming, outgoing = real.MemoryBIO(), real.MemoryBIO()
        ssl = self._wrap_bio(incoming, outgoing, server_side, server_hostname, owner=owner, session=session)
        return TlsSocket(sock, incoming, outgoing, ssl)


_SSLContext.__module__ = TlsSocket.__module__ = "_ssl"
TlsSocket.__name__ = TlsSocket.__qualname__ = "_SSLSocket"
seal(_SSLContext)
