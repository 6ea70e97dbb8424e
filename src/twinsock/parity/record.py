"""Notes every socket call of a program, the same way on both kernels: who made it, on which socket, with what, and what came of it.

The recorder stands between the leaf modules (`_socket`, `select`, `os`) and the standard library, so that programs and libraries are
unchanged. It writes one line for each call, a Python literal, so that nothing is lost when the program is killed:

    ("call", thread, name, socket, arguments, outcome, result)

Sockets get labels in the order in which their thread made them (s1, s2, Thread-1:s1), since numbers of descriptors are the
program's business. Outcome is "ok" or the name of the errno or exception; "nothing" is a poll without a result, which depends on time."""

from __future__ import annotations

import errno
import hashlib
import posix
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

BYTES_MAX = 4096  # longer data is noted as its length and a hash
METHODS = """
    bind listen connect connect_ex getsockname getpeername send sendall sendto sendmsg recv recvfrom recvmsg setsockopt getsockopt
    shutdown settimeout setblocking
"""
INTO = ("recv_into", "recvfrom_into")
OS_CALLS = ("read", "write", "set_blocking")


class Recorder:
    """Writes what happens to a descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.labels: dict[int, str] = {}
        self.counts: dict[str, int] = {}
        self.after_call: Callable[[], dict[str, str]] | None = None  # gives the texts of /proc after each call
        self._write = posix.write  # as it is now, before anything is replaced
        self._last: dict[str, str] = {}

    def line(self, *what: Any) -> None:
        """Write one line."""
        data = memoryview((repr(what) + "\n").encode())
        while data:
            data = data[self._write(self.fd, data) :]

    def thread(self) -> str:
        """Name the thread that runs, as the module threading does."""
        threading = sys.modules.get("threading")
        if threading is None:
            return "MainThread"
        thread = threading._active.get(threading.get_ident())
        return "MainThread" if thread is None else str(thread.name)

    def adopt(self, fd: int, kind: str = "s") -> str:
        """Give a new descriptor a label."""
        thread = self.thread()
        key = thread + kind
        self.counts[key] = number = self.counts.get(key, 0) + 1
        label = f"{kind}{number}" if thread == "MainThread" else f"{thread}:{kind}{number}"
        self.labels[fd] = label
        return label

    def label(self, fd: Any) -> str:
        """Give the label of a descriptor or of an object that has one."""
        try:
            number = fd if isinstance(fd, int) else fd.fileno()
        except (OSError, ValueError):
            return "closed"
        return self.labels.get(number, f"descriptor {number}" if number >= 0 else "closed")

    def plain(self, value: Any) -> Any:
        """Make a literal of a value."""
        if value is None or isinstance(value, bool | float | str):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, bytes | bytearray | memoryview):
            data = bytes(value)
            return data if len(data) <= BYTES_MAX else ("bytes", len(data), hashlib.sha1(data).hexdigest())
        if isinstance(value, tuple | list):
            return tuple([self.plain(part) for part in value])
        if hasattr(value, "fileno"):
            return self.label(value)
        return type(value).__name__

    def call(self, name: str, sock: str, args: Any, work: Callable[[], Any], show: Callable[[Any], Any] | None = None) -> Any:
        """Make a call and note it; `show` gives what is noted of its result."""
        try:
            result = work()
        except BaseException as problem:
            self.note(name, sock, args, outcome_of(problem), None)
            raise
        shown = self.plain(result) if show is None else show(result)
        self.note(name, sock, args, "nothing" if shown is NOTHING else "ok", None if shown is NOTHING else shown)
        return result

    def note(self, name: str, sock: str, args: Any, outcome: str, result: Any) -> None:
        """Note one call, and what /proc says after it if that is wanted."""
        self.line("call", self.thread(), name, sock, self.plain(args), outcome, result)
        if self.after_call is not None:
            texts = self.after_call()
            changed = {path: text for path, text in texts.items() if self._last.get(path) != text}
            self._last = texts
            if changed:
                self.line("proc", self.thread(), changed)


NOTHING = object()


def outcome_of(problem: BaseException) -> str:
    """Name what a call raised: the errno of an OSError, else the exception."""
    if isinstance(problem, OSError) and isinstance(problem.errno, int):
        return errno.errorcode.get(problem.errno, str(problem.errno))
    return type(problem).__name__


def wrap_socket_module(recorder: Recorder, leaf: Any) -> ModuleType:
    """Return a module like `_socket` whose sockets are noted."""
    module = ModuleType("_socket", leaf.__doc__)
    module.__dict__.update({name: value for name, value in vars(leaf).items() if not name.startswith("__")})
    cls = _socket_class(recorder, leaf.socket)
    module.__dict__.update(socket=cls, SocketType=cls)

    def socketpair(*args: Any) -> Any:
        def show(pair: Any) -> Any:
            return tuple([recorder.adopt(one.fileno()) for one in pair])

        return recorder.call("socketpair", "", args, lambda: leaf.socketpair(*args), show)

    def dup(fd: int, /) -> int:
        return int(recorder.call("dup", recorder.label(fd), (), lambda: leaf.dup(fd), recorder.adopt))

    def close(fd: int, /) -> None:
        sock = recorder.label(fd)
        recorder.labels.pop(fd, None)
        recorder.call("close", sock, (), lambda: leaf.close(fd))

    def getaddrinfo(host: Any, *args: Any, **kw: Any) -> Any:
        return recorder.call("getaddrinfo", "", (host,), lambda: leaf.getaddrinfo(host, *args, **kw))

    for function in (socketpair, dup, close, getaddrinfo):
        setattr(module, function.__name__, staticmethod(function))
    return module


def _socket_class(recorder: Recorder, base: Any) -> type:
    """Make a class of noted sockets."""

    class Socket(base):  # type: ignore[misc]
        """A socket whose calls are noted."""

        __slots__ = ()

        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None) -> None:
            if fileno is not None:
                base.__init__(self, family, type, proto, fileno)
                if self.fileno() not in recorder.labels:
                    recorder.adopt(self.fileno())
                return

            def make() -> None:
                base.__init__(self, family, type, proto)

            recorder.call("socket", "", (family, type, proto), make, lambda _: recorder.adopt(self.fileno()))

        def _accept(self) -> tuple[int, Any]:
            def show(result: tuple[int, Any]) -> Any:
                return recorder.adopt(result[0]), recorder.plain(result[1])

            answer: tuple[int, Any] = recorder.call("accept", recorder.label(self), (), lambda: base._accept(self), show)
            return answer

        def close(self) -> None:
            """Close and forget the label."""
            sock, fd = recorder.label(self), self.fileno()
            if fd < 0:
                base.close(self)
                return
            recorder.labels.pop(fd, None)
            recorder.call("close", sock, (), lambda: base.close(self))

    for name in METHODS.split():
        setattr(Socket, name, _noted(recorder, base, name))
    for name in INTO:
        setattr(Socket, name, _noted_into(recorder, base, name))
    Socket.__name__ = Socket.__qualname__ = "socket"
    return Socket


def _noted(recorder: Recorder, base: Any, name: str) -> Any:
    original = getattr(base, name)

    def method(self: Any, *args: Any) -> Any:
        return recorder.call(name, recorder.label(self), args, lambda: original(self, *args))

    method.__name__ = name
    return method


def _noted_into(recorder: Recorder, base: Any, name: str) -> Any:
    original = getattr(base, name)

    def method(self: Any, buffer: Any, *args: Any, **kw: Any) -> Any:
        view = memoryview(buffer)

        def show(result: Any) -> Any:
            size = result if isinstance(result, int) else result[0]
            data = recorder.plain(bytes(view.cast("B")[:size]))
            return data if isinstance(result, int) else (data, recorder.plain(result[1]))

        rest = (view.nbytes, *args, *kw.values())
        return recorder.call(name, recorder.label(self), rest, lambda: original(self, buffer, *args, **kw), show)

    method.__name__ = name
    return method


def wrap_select_module(recorder: Recorder, leaf: Any) -> ModuleType:
    """Return a module like `select` whose waits are noted: what was ready, without the timeouts."""
    module = ModuleType("select", leaf.__doc__)
    module.__dict__.update({name: value for name, value in vars(leaf).items() if not name.startswith("__")})

    def select(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None, /) -> Any:
        lists = [list(rlist), list(wlist), list(xlist)]

        def show(found: Any) -> Any:
            labels = tuple([tuple(sorted(recorder.label(one) for one in part)) for part in found])
            return labels if any(labels) else NOTHING

        asked = tuple([tuple(sorted(recorder.label(one) for one in part)) for part in lists])
        return recorder.call("select", "", asked, lambda: leaf.select(*lists, timeout), show)

    def poll() -> Any:
        return _Watched(recorder, "poll", leaf.poll(), "")

    # as in C, no method where a class keeps it
    module.__dict__.update(select=staticmethod(select), epoll=_epoll_class(recorder, leaf), poll=staticmethod(poll))
    return module


class _Watched:
    """A poll object, or an epoll descriptor, whose calls are noted."""

    def __init__(self, recorder: Recorder, kind: str, inner: Any, sock: str) -> None:
        self.recorder, self.kind, self.inner, self.sock = recorder, kind, inner, sock

    def _note(self, name: str, fd: Any, rest: tuple[Any, ...], work: Callable[[], Any]) -> Any:
        return self.recorder.call(f"{self.kind}.{name}", self.sock, (self.recorder.label(fd), *rest), work)

    def register(self, fd: Any, *mask: Any, **kw: Any) -> Any:
        """Watch."""
        return self._note("register", fd, (*mask, *kw.values()), lambda: self.inner.register(fd, *mask, **kw))

    def modify(self, fd: Any, *mask: Any, **kw: Any) -> Any:
        """Watch for something else."""
        return self._note("modify", fd, (*mask, *kw.values()), lambda: self.inner.modify(fd, *mask, **kw))

    def unregister(self, fd: Any) -> Any:
        """Watch no longer."""
        return self._note("unregister", fd, (), lambda: self.inner.unregister(fd))

    def poll(self, *args: Any, **kw: Any) -> Any:
        """Wait."""

        def show(found: Any) -> Any:
            return tuple(sorted((self.recorder.label(fd), int(bits)) for fd, bits in found)) or NOTHING

        return self.recorder.call(f"{self.kind}.poll", self.sock, (), lambda: self.inner.poll(*args, **kw), show)


def _epoll_class(recorder: Recorder, leaf: Any) -> type:
    """Make a class of noted epoll descriptors."""

    class Epoll(_Watched):
        """An epoll descriptor whose calls are noted."""

        def __init__(self, *args: Any, **kw: Any) -> None:
            inner = recorder.call("epoll_create", "", (), lambda: leaf.epoll(*args, **kw), lambda made: recorder.adopt(made.fileno(), "e"))
            super().__init__(recorder, "epoll", inner, recorder.label(inner))

        @classmethod
        def fromfd(cls, fd: int) -> Any:
            """Make an object over a descriptor."""
            self = cls.__new__(cls)
            _Watched.__init__(self, recorder, "epoll", leaf.epoll.fromfd(fd), recorder.label(fd))
            return self

        def __enter__(self) -> Any:
            self.inner.__enter__()
            return self

        def __exit__(self, *args: object) -> None:
            self.close()

        def close(self) -> None:
            """Close."""
            if not self.inner.closed:
                recorder.labels.pop(self.inner.fileno(), None)
                recorder.call("close", self.sock, (), self.inner.close)

        def fileno(self) -> int:
            """Return the descriptor."""
            return int(self.inner.fileno())

        @property
        def closed(self) -> bool:
            """Tell whether it is closed."""
            return bool(self.inner.closed)

    return Epoll


def wrap_os_calls(recorder: Recorder) -> None:
    """Note read(2), write(2), close(2) and pipe(2) of descriptors that have a label."""
    import os

    for name in OS_CALLS:
        setattr(os, name, _noted_os(recorder, name, getattr(os, name)))
    real_close, real_pipe = os.close, os.pipe

    def close(fd: int) -> None:
        sock = recorder.labels.pop(fd, None)
        if sock is None:
            return real_close(fd)
        recorder.call("close", sock, (), lambda: real_close(fd))

    def pipe() -> tuple[int, int]:
        def show(ends: tuple[int, int]) -> Any:
            return tuple([recorder.adopt(end, "pipe") for end in ends])

        ends: tuple[int, int] = recorder.call("pipe", "", (), real_pipe, show)
        return ends

    os.close, os.pipe = close, pipe


def _noted_os(recorder: Recorder, name: str, original: Any) -> Any:
    def function(fd: Any, *args: Any) -> Any:
        if fd not in recorder.labels:
            return original(fd, *args)
        return recorder.call(name, recorder.label(fd), args, lambda: original(fd, *args))

    function.__name__ = name
    return function
