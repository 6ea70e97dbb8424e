"""Socket system calls of the whole host as they return: number, arguments, result, address. A BPF program and a ring buffer.

The program runs at the raw tracepoint sys_exit, drops everything but a few system calls (and, on request, what
succeeded), and copies the socket address out of the caller's memory. When its descriptors are closed nothing is left,
also after SIGKILL. Needs CAP_BPF and CAP_PERFMON; x86_64 and aarch64, whose registers it knows.
"""

from __future__ import annotations

import os
from errno import ENOSYS, EPERM
from struct import Struct

from twinsock.host.bpf import BPF_PROG_LOAD, bpf_call, permitted, pinned_address
from twinsock.host.bpf_asm import R0, R1, R2, R3, R4, R7, R8, R9, R10, Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from mmap import mmap

_BPF_MAP_CREATE = 0
_BPF_RAW_TRACEPOINT_OPEN = 17
_BPF_MAP_TYPE_RINGBUF = 27
_BPF_PROG_TYPE_RAW_TRACEPOINT = 17
_KTIME_GET_NS, _GET_CURRENT_PID_TGID, _GET_CURRENT_COMM = 5, 14, 16
_PROBE_READ_USER, _PROBE_READ_KERNEL, _RINGBUF_OUTPUT = 112, 113, 130

NUMBERS = {
    "x86_64": {"socket": 41, "connect": 42, "accept": 43, "bind": 49, "listen": 50, "accept4": 288},
    "aarch64": {"socket": 198, "bind": 200, "listen": 201, "accept": 202, "connect": 203, "accept4": 242},
}
# offsets in struct pt_regs of the call's number and of its first three arguments, which survive until it returns
_REGISTERS = {"x86_64": (120, 112, 104, 96), "aarch64": (280, 272, 8, 16)}

_RING_BYTES = 1 << 18
_BUSY, _DISCARD = 1 << 31, 1 << 30
_ADDRESS_BYTES = 112  # sockaddr_un is the longest
# time in ns since boot, pid << 32 | tid, result, number, three arguments, command, address
_RECORD = Struct(f"=QQqQ3Q16s{_ADDRESS_BYTES}s")
_POSITION = Struct("=Q")
_HEADER = Struct("=I4x")


class Call:
    """One system call that has returned."""

    def __init__(self, name: str, fields: tuple[int, int, int, int, int, int, int, bytes, bytes]) -> None:
        self.name = name
        self.time_ns = fields[0]  # CLOCK_MONOTONIC
        self.pid = fields[1] >> 32
        self.tid = fields[1] & 0xFFFFFFFF
        self.result = fields[2]
        self.arguments = [value & 0xFFFFFFFF for value in fields[4:7]]
        self.command = fields[7].partition(b"\0")[0].decode("utf-8", "replace")
        self.address = fields[8] if name in ("bind", "connect") else b""  # as in memory; addrlen is the third argument
        self.late_address = False  # it was read after the call, and may have been overwritten


class SyscallWatch:
    """A running program and its ring buffer; `fileno()` can be polled."""

    def __init__(self, names: Sequence[str], failures_only: bool, pid: int = 0) -> None:
        """Start watching; `pid` limits it to one process. Raises OSError."""
        machine = os.uname().machine
        if machine not in NUMBERS or not permitted():
            raise OSError(EPERM if machine in NUMBERS else ENOSYS, "watching system calls needs CAP_BPF and CAP_PERFMON (root)")
        self._names = {NUMBERS[machine][name]: name for name in names}
        self._fds: list[int] = []
        self._maps: list[mmap] = []
        try:
            self._start(sorted(self._names), _REGISTERS[machine], failures_only, pid)
        except OSError:
            self.close()
            raise

    def _start(self, numbers: list[int], registers: tuple[int, int, int, int], failures_only: bool, pid: int) -> None:
        from mmap import MAP_SHARED, PAGESIZE, PROT_READ, PROT_WRITE, mmap

        attr = bytearray(64)
        attr[0:4] = _BPF_MAP_TYPE_RINGBUF.to_bytes(4, "little")
        attr[12:16] = _RING_BYTES.to_bytes(4, "little")
        ring = self._keep(bpf_call(_BPF_MAP_CREATE, attr), "the ring buffer")
        program = self._keep(_load(_program(ring, numbers, registers, failures_only, pid)), "the program")
        name, _name = pinned_address(bytearray(b"sys_exit\0"))
        attr = bytearray(16)
        attr[0:8] = name.to_bytes(8, "little")
        attr[8:12] = program.to_bytes(4, "little")
        self._consumer = mmap(ring, PAGESIZE, MAP_SHARED, PROT_READ | PROT_WRITE)
        self._data = mmap(ring, PAGESIZE + 2 * _RING_BYTES, MAP_SHARED, PROT_READ, offset=PAGESIZE)
        self._page = PAGESIZE
        self._maps += [self._consumer, self._data]
        self._keep(bpf_call(_BPF_RAW_TRACEPOINT_OPEN, attr), "the tracepoint sys_exit")

    def _keep(self, fd: int, what: str) -> int:
        if fd < 0:
            raise OSError(-fd, f"the kernel refuses {what}: {os.strerror(-fd)}")
        self._fds.append(fd)
        return fd

    def fileno(self) -> int:
        """Give the descriptor that is readable when calls have returned."""
        return self._fds[0]

    def read(self) -> list[Call]:
        """Take everything out of the ring buffer."""
        calls: list[Call] = []
        at: int = _POSITION.unpack_from(self._consumer, 0)[0]
        end: int = _POSITION.unpack_from(self._data, 0)[0]
        while at < end:
            place = self._page + (at & (_RING_BYTES - 1))
            length: int = _HEADER.unpack_from(self._data, place)[0]
            if length & _BUSY:
                break
            size = length & ~_DISCARD
            if not length & _DISCARD and size >= _RECORD.size:
                fields = _RECORD.unpack_from(self._data, place + _HEADER.size)
                name = self._names.get(fields[3])
                if name is not None:
                    calls.append(Call(name, fields))
            at += _HEADER.size + size + 7 & ~7
        _POSITION.pack_into(self._consumer, 0, at)
        return calls

    def close(self) -> None:
        """Stop; nothing is left in the kernel."""
        for mapping in self._maps:
            mapping.close()
        for fd in reversed(self._fds):
            os.close(fd)
        self._maps, self._fds = [], []


def _program(ring: int, numbers: list[int], registers: tuple[int, int, int, int], failures_only: bool, pid: int) -> bytes:
    """Assemble: r6 the tracepoint's two words (registers, result), r7 registers, r8 result, r9 the call's number."""
    number, first, second, third = registers
    asm = Assembler()
    size = _RECORD.size
    asm.load(8, R7, R1, 0)
    asm.load(8, R8, R1, 8)
    if failures_only:
        asm.op_register("mov", R2, R8)
        asm.op("rsh", R2, 63)
        asm.jump_if("eq", R2, 0, "out")
    for at in range(-size, 0, 8):
        asm.store_constant(8, R10, at, 0)
    _read_register(asm, number, -size + 24, 4 if number == 280 else 8)
    asm.load(8, R9, R10, -size + 24)
    asm.unless_in(R9, numbers, "out")
    asm.call(_GET_CURRENT_PID_TGID)
    asm.store(8, R10, -size + 8, R0)
    if pid:
        asm.op("rsh", R0, 32)
        asm.jump_if("ne", R0, pid, "out")
    asm.store(8, R10, -size + 16, R8)
    for slot, register in enumerate((first, second, third)):
        _read_register(asm, register, -size + 32 + 8 * slot, 8)
    asm.call(_KTIME_GET_NS)
    asm.store(8, R10, -size, R0)
    asm.op_register("mov", R1, R10)
    asm.op("add", R1, -size + 56)
    asm.op("mov", R2, 16)
    asm.call(_GET_CURRENT_COMM)
    machine = NUMBERS[os.uname().machine]
    for name in ("bind", "connect"):
        asm.jump_if32("eq", R9, machine[name], "address")
    asm.jump("send")
    asm.label("address")
    for length in (_ADDRESS_BYTES, 28, 16):  # a short one may stand at the end of a page
        asm.op_register("mov", R1, R10)
        asm.op("add", R1, -_ADDRESS_BYTES)
        asm.op("mov", R2, length)
        asm.load(8, R3, R10, -size + 40)
        asm.call(_PROBE_READ_USER)
        asm.jump_if("eq", R0, 0, "send")
    asm.label("send")
    asm.load_map(R1, ring)
    asm.op_register("mov", R2, R10)
    asm.op("add", R2, -size)
    asm.op("mov", R3, size)
    asm.op("mov", R4, 0)
    asm.call(_RINGBUF_OUTPUT)
    asm.label("out")
    asm.op("mov", R0, 0)
    asm.exit()
    return asm.code()


def _read_register(asm: Assembler, offset: int, place: int, size: int) -> None:
    """Copy a word of pt_regs into the record."""
    asm.op_register("mov", R1, R10)
    asm.op("add", R1, place)
    asm.op("mov", R2, size)
    asm.op_register("mov", R3, R7)
    asm.op("add", R3, offset)
    asm.call(_PROBE_READ_KERNEL)


def _load(code: bytes) -> int:
    """Load the program: a descriptor or a negative errno. Raises OSError with the end of the verifier's log."""
    instructions, _code = pinned_address(bytearray(code))
    licence, _licence = pinned_address(bytearray(b"Dual BSD/GPL\0"))
    text = bytearray(1 << 16)
    log, _log = pinned_address(text)
    attr = bytearray(128)
    attr[0:4] = _BPF_PROG_TYPE_RAW_TRACEPOINT.to_bytes(4, "little")
    attr[4:8] = (len(code) // 8).to_bytes(4, "little")
    attr[8:16] = instructions.to_bytes(8, "little")
    attr[16:24] = licence.to_bytes(8, "little")
    attr[48:57] = b"twinsock\0"
    fd = bpf_call(BPF_PROG_LOAD, attr)
    if fd >= 0 or fd in (-EPERM, -ENOSYS):
        return fd
    attr[24:28] = (1).to_bytes(4, "little")
    attr[28:32] = len(text).to_bytes(4, "little")
    attr[32:40] = log.to_bytes(8, "little")
    fd = bpf_call(BPF_PROG_LOAD, attr)
    if fd >= 0:
        return fd
    lines = bytes(text).rstrip(b"\0").decode("utf-8", "replace").strip().splitlines()
    raise OSError(-fd, "the verifier refuses the program: " + " | ".join(lines[-4:]))
