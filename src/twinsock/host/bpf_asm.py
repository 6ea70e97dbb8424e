"""A small assembler for eBPF: instructions, labels, and a membership test that compiles to a binary search.

RFC 9669 defines the instruction set. Only what the iterators of bpf_iter.py use is here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)

SIZE_CODES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_LDX_MEM = 0x61
_STX_MEM = 0x63
_ST_MEM = 0x62
_ALU64 = 0x07
_JMP = 0x05
_JMP32 = 0x06
_X = 0x08
_OPS = {"add": 0x00, "or": 0x40, "and": 0x50, "lsh": 0x60, "rsh": 0x70, "mov": 0xB0}
_CONDITIONS = {"eq": 0x10, "gt": 0x20, "ne": 0x50, "always": 0x00}
_CALL = 0x85
_EXIT = 0x95
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_SCAN_LENGTH = 4


class Assembler:
    """Instructions in order; jumps name labels and are resolved by `code()`."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}
        self._fresh = 0

    def load(self, size: int, dst: int, base: int, offset: int) -> None:
        """dst = *(size *)(base + offset)"""
        self._add(_LDX_MEM | SIZE_CODES[size], dst, base, offset, 0)

    def store(self, size: int, base: int, offset: int, src: int) -> None:
        """*(size *)(base + offset) = src"""
        self._add(_STX_MEM | SIZE_CODES[size], base, src, offset, 0)

    def store_constant(self, size: int, base: int, offset: int, value: int) -> None:
        """*(size *)(base + offset) = value"""
        self._add(_ST_MEM | SIZE_CODES[size], base, 0, offset, value)

    def op(self, name: str, dst: int, value: int) -> None:
        """dst = dst NAME value"""
        self._add(_ALU64 | _OPS[name], dst, 0, 0, value)

    def op_register(self, name: str, dst: int, src: int) -> None:
        """dst = dst NAME src"""
        self._add(_ALU64 | _X | _OPS[name], dst, src, 0, 0)

    def jump(self, label: str) -> None:
        """Go to the label."""
        self._jump(_JMP | _CONDITIONS["always"], 0, 0, label)

    def jump_if(self, condition: str, register: int, value: int, label: str) -> None:
        """Go to the label if the 64-bit register compares so with a signed 32-bit value."""
        self._jump(_JMP | _CONDITIONS[condition], register, value, label)

    def jump_if32(self, condition: str, register: int, value: int, label: str) -> None:
        """Go to the label if the register's lower half compares so with an unsigned 32-bit value."""
        self._jump(_JMP32 | _CONDITIONS[condition], register, value, label)

    def jump_if_equal(self, register: int, other: int, label: str) -> None:
        """Go to the label if both registers are equal."""
        self._jumps.append((len(self._rows), label))
        self._add(_JMP | _X | _CONDITIONS["eq"], register, other, 0, 0)

    def call(self, helper: int) -> None:
        """Call a helper: r0 = helper(r1, ..., r5)."""
        self._add(_CALL, 0, 0, 0, helper)

    def load_map(self, dst: int, fd: int) -> None:
        """dst = the map with this descriptor"""
        self._add(_LD_IMM64, dst, _PSEUDO_MAP_FD, 0, fd)
        self._add(0, 0, 0, 0, 0)

    def exit(self) -> None:
        """Return r0."""
        self._add(_EXIT, 0, 0, 0, 0)

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self._labels[name] = len(self._rows)

    def unless_in(self, register: int, values: Sequence[int], otherwise: str) -> None:
        """Go to `otherwise` unless the lower half of the register is one of these sorted values."""
        hit = self._new_label()
        pending = [(list(values), "")]
        while pending:
            part, name = pending.pop()
            if name:
                self.label(name)
            if len(part) <= _SCAN_LENGTH:
                for value in part:
                    self.jump_if32("eq", register, value, hit)
                self.jump(otherwise)
                continue
            middle = len(part) // 2
            upper = self._new_label()
            self.jump_if32("gt", register, part[middle - 1], upper)
            pending.append((part[middle:], upper))
            pending.append((part[:middle], ""))
        self.label(hit)

    def code(self) -> bytes:
        """Resolve the jumps and give the program's bytes, little endian."""
        rows = list(self._rows)
        for index, name in self._jumps:
            opcode, dst, src, _, value = rows[index]
            rows[index] = (opcode, dst, src, self._labels[name] - index - 1, value)
        out = bytearray()
        for opcode, dst, src, offset, value in rows:
            out += bytes((opcode, src << 4 | dst))
            out += offset.to_bytes(2, "little", signed=True)
            out += (value & 0xFFFFFFFF).to_bytes(4, "little")
        return bytes(out)

    def _new_label(self) -> str:
        self._fresh += 1
        return f".{self._fresh}"

    def _jump(self, opcode: int, register: int, value: int, label: str) -> None:
        self._jumps.append((len(self._rows), label))
        self._add(opcode, register, 0, 0, value)

    def _add(self, opcode: int, dst: int, src: int, offset: int, value: int) -> None:
        self._rows.append((opcode, dst, src, offset, value))
