"""bpf(2) without a library: raw system calls through `_ctypes`, imported only when needed.

Programs are assembled by bpf_asm.py and verified by the kernel; nothing is pinned, so everything is gone when its
descriptors are closed. Linux: kernel/bpf/syscall.c; layout of `union bpf_attr` in <linux/bpf.h>.
"""

from __future__ import annotations

import os
import sys
from errno import ENOSYS, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NR_BPF = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
}

_NR_KCMP = {"x86_64": 312, "aarch64": 272, "riscv64": 272, "loongarch64": 272, "ppc64le": 354}
_KCMP_FILES = 2

BPF_PROG_LOAD = 5
BPF_LINK_CREATE = 28
BPF_ITER_CREATE = 33
BPF_PROG_TYPE_TRACING = 26
BPF_TRACE_ITER = 28

_CAP_SYS_ADMIN = 21
_CAP_PERFMON = 38
_CAP_BPF = 39
_INIT_PID_NS = 0xEFFFFFFC
_LOG_BYTES = 1 << 18

_syscall: list[Callable[..., int]] = []
_types: list[type] = []


def syscall(number: int, *arguments: int) -> int:
    """Make a raw system call; the result, or a negative errno."""
    import _ctypes

    if not _syscall:
        _load_syscall()
    long = _types[0]
    result = _syscall[0](long(number), *[long(value) for value in arguments])
    return result if result >= 0 else -_ctypes.get_errno()


def _load_syscall() -> None:
    """Look syscall(3) up and make the C types: `_ctypes` alone costs a tenth of ctypes."""
    import _ctypes

    c_long: type = type("c_long", (_ctypes._SimpleCData,), {"_type_": "l"})
    c_char: type = type("c_char", (_ctypes._SimpleCData,), {"_type_": "c"})
    _types.extend((c_long, c_char))

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = c_long

    _syscall.append(Function(_ctypes.dlsym(_ctypes.dlopen("", 0), "syscall")))


def pinned_address(data: bytearray) -> tuple[int, object]:
    """Pin a buffer: its address, and the object that keeps it there."""
    import _ctypes

    if not _syscall:
        _load_syscall()
    array: Any = type("array", (_ctypes.Array,), {"_type_": _types[1], "_length_": len(data)})
    pinned = array.from_buffer(data)
    return _ctypes.addressof(pinned), pinned


def same_descriptor_table(pid: int, tid: int) -> bool:
    """Tell whether two tasks share their descriptor table, kcmp(2); True where that cannot be told."""
    number = _NR_KCMP.get(os.uname().machine)
    return number is None or syscall(number, pid, tid, _KCMP_FILES, 0, 0) <= 0


def permitted() -> bool:
    """Tell whether BPF iterators can be had: capabilities, byte order, first pid namespace, BTF."""
    if sys.byteorder != "little" or os.uname().machine not in _NR_BPF:
        return False
    try:
        with open("/proc/self/status") as file:
            status = file.read()
        at = status.index("CapEff:") + 7
        effective = int(status[at : status.index("\n", at)], 16)
        if not effective >> _CAP_SYS_ADMIN & 1 and not (effective >> _CAP_BPF & 1 and effective >> _CAP_PERFMON & 1):
            return False
        return os.stat("/proc/self/ns/pid").st_ino == _INIT_PID_NS and os.path.exists("/sys/kernel/btf/vmlinux")
    except (OSError, ValueError):
        return False


def load_iterator(code: bytes, btf_id: int, name: str) -> int:
    """Load a BPF_TRACE_ITER program: its descriptor. Raises OSError with the end of the verifier's log."""
    instructions, _code = pinned_address(bytearray(code))
    licence, _licence = pinned_address(bytearray(b"Dual BSD/GPL\0"))
    attr = bytearray(128)
    _put(attr, 0, 4, BPF_PROG_TYPE_TRACING)
    _put(attr, 4, 4, len(code) // 8)
    _put(attr, 8, 8, instructions)
    _put(attr, 16, 8, licence)
    attr[48 : 48 + 15] = name.encode()[:15].ljust(15, b"\0")
    _put(attr, 68, 4, BPF_TRACE_ITER)
    _put(attr, 108, 4, btf_id)
    fd = bpf_call(BPF_PROG_LOAD, attr)
    if fd >= 0:
        return fd
    if fd in (-EPERM, -ENOSYS):
        raise OSError(-fd, "the kernel refuses BPF: needs CAP_BPF and CAP_PERFMON")
    text = bytearray(_LOG_BYTES)
    log, _log = pinned_address(text)
    _put(attr, 24, 4, 1)
    _put(attr, 28, 4, _LOG_BYTES)
    _put(attr, 32, 8, log)
    again = bpf_call(BPF_PROG_LOAD, attr)
    if again >= 0:
        return again
    lines = bytes(text).rstrip(b"\0").decode("utf-8", "replace").strip().splitlines()
    raise OSError(-again, "the verifier refuses " + name + ": " + " | ".join(lines[-4:]))


def open_iterator(program: int, pid: int = 0) -> int:
    """Attach an iterator program and open one run of it for reading; `pid` limits task iterators to one process."""
    attr = bytearray(64)
    _put(attr, 0, 4, program)
    _put(attr, 8, 4, BPF_TRACE_ITER)
    info = bytearray(16)
    where, _info = pinned_address(info)
    if pid:
        _put(info, 4, 4, pid)
        _put(attr, 16, 8, where)
        _put(attr, 24, 4, len(info))
    link = bpf_call(BPF_LINK_CREATE, attr)
    if link < 0:
        raise OSError(-link, "the BPF iterator cannot be attached")
    run = bytearray(8)
    _put(run, 0, 4, link)
    fd = bpf_call(BPF_ITER_CREATE, run)
    os.close(link)
    if fd < 0:
        raise OSError(-fd, "the BPF iterator cannot be opened")
    return fd


def read_all(fd: int) -> bytes:
    """Read a run of an iterator to its end."""
    chunks: list[bytes] = []
    while chunk := os.read(fd, 1 << 17):
        chunks.append(chunk)
    return b"".join(chunks)


def bpf_call(command: int, attr: bytearray) -> int:
    """Call bpf(2): a descriptor or a negative errno."""
    number = _NR_BPF.get(os.uname().machine)
    if number is None:
        return -ENOSYS
    where, _attr = pinned_address(attr)
    return syscall(number, command, where, len(attr))


def _put(attr: bytearray, offset: int, size: int, value: int) -> None:
    attr[offset : offset + size] = value.to_bytes(size, "little")
