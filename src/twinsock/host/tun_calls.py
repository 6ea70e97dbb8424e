"""System calls of a packetdrill script on the live kernel: through the C library, results as numbers, null pointers possible."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_MAX = 1 << 26
_SOCK_STREAM, _SOL_TCP, _TCP_CONGESTION = 1, 6, 13


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


class _EpollEvent(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("events", ctypes.c_uint32), ("data", ctypes.c_uint64)]


def _ret(value: int) -> int:
    return -ctypes.get_errno() if value < 0 else value


def _iovecs(buffers: list[ctypes.Array[ctypes.c_char]], sizes: list[int]) -> ctypes.Array[_Iovec]:
    array = (_Iovec * max(len(buffers), 1))()
    for index, buffer in enumerate(buffers):
        array[index].base = ctypes.addressof(buffer)
        array[index].len = sizes[index]
    return array


class HostReceived:
    """What recvmsg(2) gave."""

    def __init__(self, ret: int, data: bytes = b"", control: bytes = b"", flags: int = 0) -> None:
        self.ret = ret
        self.data = data
        self.control = control
        self.flags = flags


class HostCalls:
    """The calls; `None` for bytes is a null pointer."""

    def __init__(self) -> None:
        self.kept: list[object] = []  # what zero-copy sends still read
        self.congestion = b""  # the congestion control of every new stream socket, "" for the namespace's

    def socket(self, family: int, type_: int, protocol: int) -> int:
        """socket(2)."""
        fd = _ret(_libc.socket(family, type_, protocol))
        if fd >= 0 and self.congestion and type_ & 15 == _SOCK_STREAM:
            self.setsockopt(fd, _SOL_TCP, _TCP_CONGESTION, self.congestion, len(self.congestion))
        return fd

    def bind(self, fd: int, addr: bytes) -> int:
        """bind(2)."""
        return _ret(_libc.bind(fd, addr, len(addr)))

    def listen(self, fd: int, backlog: int) -> int:
        """listen(2)."""
        return _ret(_libc.listen(fd, backlog))

    def accept(self, fd: int) -> int:
        """accept(2)."""
        return _ret(_libc.accept(fd, None, None))

    def connect(self, fd: int, addr: bytes) -> int:
        """connect(2)."""
        return _ret(_libc.connect(fd, addr, len(addr)))

    def shutdown(self, fd: int, how: int) -> int:
        """shutdown(2)."""
        return _ret(_libc.shutdown(fd, how))

    def close(self, fd: int) -> int:
        """close(2)."""
        return _ret(_libc.close(fd))

    def _buffer(self, size: int) -> ctypes.Array[ctypes.c_char]:
        return ctypes.create_string_buffer(min(max(size, 1), _MAX))

    def _out(self, data: bytes | None) -> ctypes.Array[ctypes.c_char] | None:
        if data is None:
            return None
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self.kept.append(buffer)
        return buffer

    def read(self, fd: int, size: int, null: bool = False) -> tuple[int, bytes]:
        """read(2)."""
        buffer = None if null else self._buffer(size)
        ret = _ret(_libc.read(fd, buffer, ctypes.c_size_t(size)))
        return ret, b"" if buffer is None else buffer.raw[: max(ret, 0)]

    def readv(self, fd: int, sizes: list[int]) -> tuple[int, bytes]:
        """readv(2)."""
        buffers = [self._buffer(size) for size in sizes]
        ret = _ret(_libc.readv(fd, _iovecs(buffers, sizes), len(sizes)))
        whole = b"".join([buffer.raw[:size] for buffer, size in zip(buffers, sizes, strict=True)])
        return ret, whole[: max(ret, 0)]

    def write(self, fd: int, data: bytes | None, size: int) -> int:
        """write(2)."""
        return _ret(_libc.write(fd, self._out(data), ctypes.c_size_t(size)))

    def writev(self, fd: int, data: list[bytes]) -> int:
        """writev(2)."""
        buffers = [ctypes.create_string_buffer(piece, max(len(piece), 1)) for piece in data]
        return _ret(_libc.writev(fd, _iovecs(buffers, [len(piece) for piece in data]), len(data)))

    def recvfrom(self, fd: int, size: int, flags: int, null: bool = False) -> tuple[int, bytes]:
        """recvfrom(2)."""
        buffer = None if null else self._buffer(size)
        ret = _ret(_libc.recvfrom(fd, buffer, ctypes.c_size_t(size), flags, None, None))
        return ret, b"" if buffer is None else buffer.raw[: max(min(ret, size), 0)]

    def sendto(self, fd: int, data: bytes | None, size: int, flags: int, addr: bytes | None) -> int:
        """sendto(2)."""
        return _ret(_libc.sendto(fd, self._out(data), ctypes.c_size_t(size), flags, addr, 0 if addr is None else len(addr)))

    def recvmsg(self, fd: int, sizes: list[int], controllen: int, flags: int) -> HostReceived:
        """recvmsg(2)."""
        buffers = [self._buffer(size) for size in sizes]
        control = ctypes.create_string_buffer(max(controllen, 1))
        array = _iovecs(buffers, sizes)
        msg = _Msghdr(None, 0, ctypes.addressof(array), len(sizes), ctypes.addressof(control), controllen, 0)
        ret = _ret(_libc.recvmsg(fd, ctypes.byref(msg), flags))
        if ret < 0:
            return HostReceived(ret)
        whole = b"".join([buffer.raw[:size] for buffer, size in zip(buffers, sizes, strict=True)])
        return HostReceived(ret, whole[:ret], control.raw[: msg.controllen], msg.flags)

    def sendmsg(self, fd: int, data: list[bytes], control: bytes, flags: int, addr: bytes | None) -> int:
        """sendmsg(2)."""
        buffers = [ctypes.create_string_buffer(piece, max(len(piece), 1)) for piece in data]
        array = _iovecs(buffers, [len(piece) for piece in data])
        self.kept += [buffers, array]
        ctl = ctypes.create_string_buffer(control, max(len(control), 1))
        name = None if addr is None else ctypes.create_string_buffer(addr, len(addr))
        msg = _Msghdr(
            None if name is None else ctypes.addressof(name),
            0 if addr is None else len(addr),
            ctypes.addressof(array),
            len(data),
            ctypes.addressof(ctl) if control else None,
            len(control),
            0,
        )
        return _ret(_libc.sendmsg(fd, ctypes.byref(msg), flags))

    def setsockopt(self, fd: int, level: int, name: int, value: bytes | None, size: int) -> int:
        """setsockopt(2)."""
        return _ret(_libc.setsockopt(fd, level, name, value, size))

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> tuple[int, bytes]:
        """getsockopt(2)."""
        buffer = self._buffer(size)
        length = ctypes.c_int(size)
        ret = _ret(_libc.getsockopt(fd, level, name, buffer, ctypes.byref(length)))
        return ret, buffer.raw[: max(length.value, 0)] if ret == 0 else b""

    def poll(self, fds: list[tuple[int, int]], timeout_ms: int) -> tuple[int, list[int]]:
        """poll(2)."""
        array = (_Pollfd * max(len(fds), 1))()
        for index, (fd, events) in enumerate(fds):
            array[index].fd, array[index].events = fd, events
        ret = _ret(_libc.poll(array, len(fds), timeout_ms))
        return ret, [array[index].revents & 0xFFFF for index in range(len(fds))]

    def epoll_create(self, size: int) -> int:
        """epoll_create(2)."""
        return _ret(_libc.epoll_create(size))

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int, data: int) -> int:
        """epoll_ctl(2)."""
        event = _EpollEvent(events, data)
        return _ret(_libc.epoll_ctl(epfd, op, fd, ctypes.byref(event)))

    def epoll_wait(self, epfd: int, room: int, timeout_ms: int) -> tuple[int, list[tuple[int, int]]]:
        """epoll_wait(2)."""
        array = (_EpollEvent * max(min(room, 1024), 1))()
        ret = _ret(_libc.epoll_wait(epfd, array, room, timeout_ms))
        return ret, [(array[index].events, array[index].data) for index in range(max(ret, 0))]

    def fcntl(self, fd: int, cmd: int, arg: int) -> int:
        """fcntl(2)."""
        return _ret(_libc.fcntl(fd, cmd, ctypes.c_long(arg)))

    def ioctl(self, fd: int, cmd: int) -> tuple[int, int]:
        """ioctl(2) that gives an int."""
        value = ctypes.c_int(0)
        ret = _ret(_libc.ioctl(fd, ctypes.c_ulong(cmd), ctypes.byref(value)))
        return ret, value.value

    def pipe(self) -> tuple[int, int, int]:
        """pipe(2)."""
        array = (ctypes.c_int * 2)()
        ret = _ret(_libc.pipe(array))
        return ret, array[0], array[1]

    def splice(self, fd_in: int, fd_out: int, size: int, flags: int) -> int:
        """splice(2)."""
        return _ret(_libc.splice(fd_in, None, fd_out, None, ctypes.c_size_t(size), flags))

    def sendfile(self, fd_out: int, fd_in: int, offset: int | None, size: int) -> int:
        """sendfile(2)."""
        pointer = None if offset is None else ctypes.byref(ctypes.c_int64(offset))
        return _ret(_libc.sendfile(fd_out, fd_in, pointer, ctypes.c_size_t(size)))

    def open(self, path: bytes, flags: int) -> int:
        """open(2)."""
        try:
            return os.open(path, flags, 0o644)
        except OSError as error:
            return -(error.errno or 0)
