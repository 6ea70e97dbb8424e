"""The raw calls of `env.sys` on the live kernel: libc's functions with whatever arguments a test wants to pass."""

import ctypes
import mmap
import os
import resource
import struct
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_BAD = ctypes.c_void_p(8)  # a pointer into the page that is never mapped


def _call(name: str, *args: Any) -> int:
    result = getattr(_libc, name)(*args)
    return -ctypes.get_errno() if result < 0 else result


def _pointer(value: bytes | None) -> Any:
    return _BAD if value is None else ctypes.create_string_buffer(value, max(len(value), 1))


class HostSys:
    """The same methods as the twin's `env.sys`."""

    def getdents64(self, fd: int, count: int) -> tuple[int, list[tuple[int, int, bytes]]]:
        room = ctypes.create_string_buffer(count)
        ret = _libc.syscall(217 if os.uname().machine == "x86_64" else 61, fd, room, count)
        if ret < 0:
            return -ctypes.get_errno(), []
        found, at = [], 0
        while at < ret:
            off, size, kind = struct.unpack_from("<qHB", room.raw, at + 8)
            found.append((off, kind, room.raw[at + 19 : at + size].split(b"\0")[0]))
            at += size
        return ret, found

    def unshare(self, flags: int) -> int:
        return _call("unshare", flags)

    def setns(self, fd: int, nstype: int) -> int:
        return _call("setns", fd, nstype)

    def open_netns(self) -> int:
        return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def socket(self, family: int, type_: int, protocol: int) -> int:
        return _call("socket", family, ctypes.c_int(type_), protocol)

    def socketpair(self, family: int, type_: int, protocol: int, vec: bool = True) -> tuple[int, list[int]]:
        fds = (ctypes.c_int * 2)()
        ret = _call("socketpair", family, ctypes.c_int(type_), protocol, fds if vec else _BAD)
        return ret, list(fds) if ret == 0 else []

    def bind(self, fd: int, addr: bytes | None, length: int) -> int:
        return _call("bind", fd, _pointer(addr), length)

    def connect(self, fd: int, addr: bytes | None, length: int) -> int:
        return _call("connect", fd, _pointer(addr), length)

    def listen(self, fd: int, backlog: int) -> int:
        return _call("listen", fd, ctypes.c_int(backlog))

    def shutdown(self, fd: int, how: int) -> int:
        return _call("shutdown", fd, how)

    def accept4(self, fd: int, flags: int, room: int | None = None) -> tuple[int, bytes, int]:
        if room is None:
            return _call("accept4", fd, None, None, ctypes.c_int(flags)), b"", 0
        ret, addr, length = self._name("accept4", fd, room, ctypes.c_int(flags))
        return (ret, b"", 0) if ret < 0 else (ret, addr, length)

    def getsockname(self, fd: int, room: int) -> tuple[int, bytes, int]:
        return self._name("getsockname", fd, room)

    def getpeername(self, fd: int, room: int) -> tuple[int, bytes, int]:
        return self._name("getpeername", fd, room)

    def _name(self, name: str, fd: int, room: int, *more: Any) -> tuple[int, bytes, int]:
        buffer = ctypes.create_string_buffer(256)
        length = ctypes.c_int(room)
        ret = _call(name, fd, buffer, ctypes.byref(length), *more)
        if ret < 0:
            return ret, b"", 0
        return ret, buffer.raw[: min(room, length.value)], length.value

    def sendto(self, fd: int, data: bytes, flags: int, addr: bytes | None, length: int) -> int:
        return _call("sendto", fd, data, len(data), flags, None if addr is None else _pointer(addr), length)

    def aligned(self, size: int) -> Any:
        """Return zeros at the start of a page, as `data` of sendto."""
        return (ctypes.c_char * size).from_buffer(mmap.mmap(-1, max(size, 1)))

    def recvfrom(self, fd: int, size: int, flags: int) -> tuple[int, bytes]:
        buffer = ctypes.create_string_buffer(max(size, 1))
        ret = _call("recvfrom", fd, buffer, size, flags, None, None)
        return ret, b"" if ret < 0 else buffer.raw[: min(ret, size)]

    def setsockopt(self, fd: int, level: int, optname: int, value: bytes | None, length: int) -> int:
        return _call("setsockopt", fd, level, optname, _pointer(value), ctypes.c_int(length))

    def getsockopt(self, fd: int, level: int, optname: int, length: int) -> tuple[int, bytes]:
        buffer = ctypes.create_string_buffer(max(length, 1) + 64)
        size = ctypes.c_int(length)
        ret = _call("getsockopt", fd, level, optname, buffer, ctypes.byref(size))
        return ret, b"" if ret < 0 else buffer.raw[: size.value]

    def fcntl(self, fd: int, cmd: int, arg: int) -> int:
        return _call("fcntl", fd, cmd, ctypes.c_long(arg))

    def ioctl(self, fd: int, cmd: int, arg: bytes) -> tuple[int, bytes]:
        buffer = ctypes.create_string_buffer(arg, len(arg) + 64)
        ret = _call("ioctl", fd, ctypes.c_ulong(cmd), buffer)
        return ret, buffer.raw[: len(arg)]

    def close(self, fd: int) -> int:
        return _call("close", fd)

    def dup2(self, fd: int, newfd: int) -> int:
        return _call("dup2", fd, newfd)

    def dup3(self, fd: int, newfd: int, flags: int) -> int:
        return _call("dup3", fd, newfd, flags)

    def epoll_create1(self, flags: int) -> int:
        return _call("epoll_create1", flags)

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int | None) -> int:
        event = None if events is None else struct.pack("=Iq", events, fd)
        return _call("epoll_ctl", epfd, op, fd, None if event is None else _pointer(event))

    def poll(self, fds: list[tuple[int, int]], timeout_ms: int) -> tuple[int, list[int]]:
        buffer = ctypes.create_string_buffer(b"".join(struct.pack("=iHH", fd, events, 0) for fd, events in fds), 8 * len(fds) or 1)
        ret = _call("poll", buffer, len(fds), timeout_ms)
        return ret, [struct.unpack_from("=iHH", buffer.raw, 8 * i)[2] for i in range(len(fds))]

    def epoll_wait(self, epfd: int, maxevents: int, timeout_ms: int) -> tuple[int, list[tuple[int, int]]]:
        buffer = ctypes.create_string_buffer(12 * max(maxevents, 1))
        ret = _call("epoll_wait", epfd, buffer, maxevents, timeout_ms)
        return ret, [struct.unpack_from("=Iq", buffer.raw, 12 * i)[::-1] for i in range(max(ret, 0))]

    def set_nofile(self, limit: int) -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return 0
