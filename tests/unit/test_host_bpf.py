"""The BPF assembler, the BTF reader and its cache, on synthetic data."""

import os
import random
import struct
from pathlib import Path

import pytest

from twinsock.host import btf
from twinsock.host.bpf_asm import R0, R1, R2, R6, Assembler


def run(code: bytes, register: int) -> int:
    """Interpret the few instructions that unless_in() and its surroundings use, with r1 given; returns r0."""
    rows = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
    registers = [0, register]
    at = 0
    while True:
        opcode, _regs, offset, value = rows[at]
        at += 1
        low = registers[1] & 0xFFFFFFFF
        if opcode == 0x95:
            return registers[0]
        if opcode == 0xB7:
            registers[0] = value
        elif opcode == 0x05 or (opcode == 0x16 and low == value & 0xFFFFFFFF) or (opcode == 0x26 and low > value & 0xFFFFFFFF):
            at += offset
        elif opcode not in (0x16, 0x26):
            raise AssertionError(hex(opcode))


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9, 64, 200])
def test_membership_of_a_set_is_exact(count: int) -> None:
    source = random.Random(count)
    values = sorted({source.choice((source.randrange(1 << 32), source.randrange(1000))) for _ in range(count)})
    asm = Assembler()
    asm.unless_in(R1, values, "out")
    asm.op("mov", R0, 1)
    asm.exit()
    asm.label("out")
    asm.op("mov", R0, 0)
    asm.exit()
    code = asm.code()
    tried = {near & 0xFFFFFFFF for value in [*values, 0] for near in (value - 1, value, value + 1)}
    for value in sorted(tried):
        assert run(code, value) == (value in values)


def test_instructions_have_the_encoding_of_rfc_9669() -> None:
    asm = Assembler()
    asm.load(8, R1, R6, 24)
    asm.store(4, R6, -8, R1)
    asm.op_register("mov", R2, R1)
    asm.call(127)
    asm.exit()
    expected = "79611800000000006316f8ff00000000bf12000000000000850000007f0000009500000000000000"
    assert asm.code().hex() == expected


class BtfMaker:
    """Builds a BTF blob."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, name: str, kind: int, size_or_type: int, extra: bytes = b"", length: int = 0, flag: int = 0) -> int:
        self.types += struct.pack("<III", self.name(name), kind << 24 | flag << 31 | length, size_or_type) + extra
        self.count += 1
        return self.count

    def struct(self, name: str, members: list[tuple[str, int, int]], kind: int = 4, flag: int = 0) -> int:
        extra = b"".join(struct.pack("<III", self.name(text), of, at) for text, of, at in members)
        return self.add(name, kind, 64, extra, len(members), flag)

    def blob(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.strings


def test_members_are_found_through_anonymous_unions_typedefs_and_bit_fields() -> None:
    make = BtfMaker()
    number = make.add("int", 1, 4, bytes(4))
    inner = make.struct("", [("deep", number, 32)])
    union = make.struct("", [("x", number, 0), ("", inner, 0)], kind=5)
    named = make.struct("named", [("inum", number, 96)])
    alias = make.add("alias", 8, named)
    make.struct("sock", [("", union, 64), ("ns", alias, 128), ("bits", number, 4 << 24 | 201)], flag=1)
    make.add("bpf_iter_x", 12, number)
    wanted = ("sock.deep", "sock.x", "sock.ns.inum", "sock.bits", "sock.none", "gone.x")
    layout = btf.parse_btf(make.blob(), ("bpf_iter_x", "bpf_iter_y"), wanted)
    assert layout == {"bpf_iter_x": 7, "sock.deep": 96, "sock.x": 64, "sock.ns.inum": 224, "sock.bits": 201}


@pytest.mark.parametrize("blob", [b"", b"\x9f\xeb", bytes(100)])
def test_what_is_no_btf_is_refused(blob: bytes) -> None:
    with pytest.raises(OSError, match="unknown format"):
        btf.parse_btf(blob, (), ())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(btf, "_cache_name", lambda: "btf-test")
    monkeypatch.setattr(btf, "_read_btf", lambda: {"a": 1, "b.c": 2})
    return tmp_path / "twinsock"


def test_the_layout_is_kept_in_a_private_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = btf.kernel_layout()
    monkeypatch.setattr(btf, "_read_btf", dict)
    assert btf.kernel_layout() == first == {"a": 1, "b.c": 2}
    assert [path.name for path in cache.iterdir()] == ["btf-test"]
    assert (cache / "btf-test").stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["a 7\n", "", "a 7\nend", "\0\0\n", "a x\n"])
def test_a_damaged_cache_file_is_not_used(cache: Path, text: str) -> None:
    btf.kernel_layout()
    (cache / "btf-test").write_text(text)
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}


def test_a_cache_that_others_can_write_is_not_used(cache: Path) -> None:
    btf.kernel_layout()
    (cache / "btf-test").write_text("a 7\nend\n")
    assert btf.kernel_layout() == {"a": 7}
    (cache / "btf-test").chmod(0o622)
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}
    (cache / "btf-test").write_text("a 7\nend\n")
    cache.chmod(0o777)
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_somebody_else_is_not_used(cache: Path) -> None:
    btf.kernel_layout()
    (cache / "btf-test").write_text("a 7\nend\n")
    os.chown(cache / "btf-test", 65534, 65534)
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}


def test_a_cache_behind_a_symbolic_link_is_not_used(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_no_cache_folder_is_no_failure(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert btf.kernel_layout() == {"a": 1, "b.c": 2}
    assert not cache.exists()
