"""sendmsg(2), recvmsg(2) and the calls for several messages on the live kernel, with any header a test wants."""

import ctypes
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_BAD = 8  # an address in the page that is never mapped


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_int),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("hdr", _Msghdr), ("len", ctypes.c_uint)]


class HostMsg:
    """One header with its buffers: the twin's UserMsghdr has the same fields."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.keep: list[Any] = []
        self.hdr = _Msghdr()
        if "room" in spec:
            self.data = ctypes.create_string_buffer(max(spec["room"], 1))
            self.name = ctypes.create_string_buffer(256)
            self.control = ctypes.create_string_buffer(max(spec.get("control_room", 0), 1))
            self._set_iov([(ctypes.addressof(self.data), spec["room"])])
            self.hdr.name, self.hdr.namelen = ctypes.addressof(self.name), spec.get("name_room", 128)
            if spec.get("control_room"):
                self.hdr.control, self.hdr.controllen = ctypes.addressof(self.control), spec["control_room"]
            return
        pieces = spec.get("iov", [b""])
        self._set_iov([(_BAD, 1)] if pieces is None else [(self._pointer(piece), len(piece)) for piece in pieces])
        if spec.get("name") is not None:
            self.hdr.name = self._pointer(spec["name"])
            self.hdr.namelen = spec.get("namelen", len(spec["name"]))
        control = spec.get("control", b"")
        self.hdr.control = _BAD if control is None else self._pointer(control)
        self.hdr.controllen = spec.get("controllen", len(control or b""))

    def _pointer(self, data: bytes) -> int:
        buffer = ctypes.create_string_buffer(data, max(len(data), 1))
        self.keep.append(buffer)
        return ctypes.addressof(buffer)

    def _set_iov(self, pieces: list[tuple[int, int]]) -> None:
        array = (_Iovec * max(len(pieces), 1))(*[_Iovec(base, size) for base, size in pieces])
        self.keep.append(array)
        self.hdr.iov, self.hdr.iovlen = ctypes.addressof(array), len(pieces)

    def received(self, ret: int) -> tuple[int, bytes, bytes, int, int]:
        data = self.data.raw[: min(ret, self.spec["room"])]
        name = self.name.raw[: min(self.hdr.namelen, self.spec.get("name_room", 128))]
        return ret, data, name, self.hdr.namelen, self.hdr.flags, self.control.raw[: self.hdr.controllen]


def _result(ret: int) -> int:
    return -ctypes.get_errno() if ret < 0 else ret


def sendmsg(fd: int, spec: dict[str, Any], flags: int) -> int:
    msg = HostMsg(spec)
    return _result(_libc.sendmsg(fd, ctypes.byref(msg.hdr), ctypes.c_int(flags)))


def recvmsg(fd: int, spec: dict[str, Any], flags: int) -> Any:
    msg = HostMsg(spec)
    ret = _result(_libc.recvmsg(fd, ctypes.byref(msg.hdr), ctypes.c_int(flags)))
    return ret if ret < 0 else msg.received(ret)


def sendmmsg(fd: int, specs: list[dict[str, Any]], flags: int) -> Any:
    msgs = [HostMsg(spec) for spec in specs]
    array = (_Mmsghdr * max(len(msgs), 1))(*[_Mmsghdr(msg.hdr, 0) for msg in msgs])
    ret = _result(_libc.sendmmsg(fd, array, len(msgs), flags))
    return ret, [array[i].len for i in range(max(ret, 0))]


def recvmmsg(fd: int, specs: list[dict[str, Any]], flags: int) -> Any:
    msgs = [HostMsg(spec) for spec in specs]
    array = (_Mmsghdr * max(len(msgs), 1))(*[_Mmsghdr(msg.hdr, 0) for msg in msgs])
    ret = _result(_libc.recvmmsg(fd, array, len(msgs), flags, None))
    out = []
    for i in range(max(ret, 0)):
        msgs[i].hdr = array[i].hdr
        out.append(msgs[i].received(array[i].len))
    return ret, out
