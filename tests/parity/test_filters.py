"""Classic BPF: which programs are accepted, and what they keep of a packet; random programs from a fixed seed."""

import ctypes
import random
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity

pytestmark = [pytest.mark.root]

DATA = bytes(range(3, 67))
CODES = (0x00, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x80, 0x01, 0x61, 0x81, 0xB1, 0x02, 0x03, 0x04, 0x0C, 0x14, 0x1C, 0x24, 0x2C, 0x34)
CODES += (0x3C, 0x44, 0x4C, 0x54, 0x5C, 0x64, 0x6C, 0x74, 0x7C, 0x84, 0x94, 0x9C, 0xA4, 0xAC, 0x05, 0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D)
CODES += (0x45, 0x4D, 0x06, 0x16, 0x07, 0x87)
INTERESTING = (0, 1, 2, 3, 4, 15, 16, 17, 31, 32, 60, 61, 63, 64, 65, 255, 2**31, 2**32 - 1)
ANCILLARY = tuple(0xFFFFF000 + offset for offset in range(0, 68, 4))


def attach(env: Any, fd: int, program: bytes, length: int | None = None, size: int = 16) -> int:
    memory = ctypes.create_string_buffer(program, max(len(program), 1))
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8 if length is None else length, ctypes.addressof(memory))
    return env.sys.setsockopt(fd, 1, 26, fprog[:size], size)


def insn(code: int, jt: int, jf: int, k: int) -> bytes:
    return struct.pack("=HBBI", code, jt, jf, k)


def accepted_opcodes(env: Any) -> Any:
    fd = env.sys.socket(1, 2, 0)
    ret = insn(6, 0, 0, 100)
    single = [attach(env, fd, insn(code, 0, 0, 1) + ret) for code in (*range(256), 0x100, 0x1006, 0xFFFF)]
    operands = []
    for code in (0x34, 0x94, 0x64, 0x74, 0x60, 0x61, 0x02, 0x03, 0x05, 0x20, 0x28, 0x30, 0x40, 0x80):
        operands += [attach(env, fd, insn(0x02, 0, 0, 1) + insn(code, 0, 0, k) + ret) for k in (*INTERESTING, *ANCILLARY)]
    jumps = [attach(env, fd, insn(0x15, jt, jf, 0) + ret + ret) for jt in (0, 1, 2, 255) for jf in (0, 1, 2, 255)]
    shapes = [attach(env, fd, b""), attach(env, fd, ret, 0), attach(env, fd, ret * 4096), attach(env, fd, ret * 4097)]
    shapes += [attach(env, fd, insn(0, 0, 0, 1)), attach(env, fd, ret, 1, 15), attach(env, fd, ret, 1, 8)]
    return [single, operands, jumps, shapes]


def scratch_memory_is_checked(env: Any) -> Any:
    fd = env.sys.socket(1, 2, 0)
    ret, load, store = insn(6, 0, 0, 9), insn(0x60, 0, 0, 3), insn(0x02, 0, 0, 3)
    jump = insn(0x15, 0, 1, 7)
    programs = [
        load + ret,
        store + load + ret,
        jump + store + load + ret,
        jump + store + ret + load + ret,
        insn(5, 0, 0, 1) + store + load + ret,
    ]
    programs.append(store + jump + ret + load + ret)
    return [attach(env, fd, program) for program in programs]


def filtered_connection(env: Any, program: bytes, payloads: tuple[int, ...]) -> Any:
    """Filter one end of a connection, send to it, and tell what arrived and how many segments the socket dropped."""
    server = env.socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    client = env.socket.socket()
    client.connect(server.getsockname())
    child, _peer = server.accept()
    out = [attach(env, child.fileno(), program)]
    for size in payloads:
        client.send(bytes(range(size)))
        env.yield_now()
        try:
            out.append(child.recv(100, 0x40).hex())
        except BlockingIOError:
            out.append("nothing")
    drops = struct.unpack("=9I", child.getsockopt(1, 55, 36))[8]
    for sock in (client, child):
        sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
        sock.close()
    return [out, min(drops, 1)]


def filters_of_connections(env: Any) -> Any:
    ret = insn(6, 0, 0, 0)
    ports = insn(0x28, 0, 0, 0) + insn(0x15, 0, 1, 1) + ret + insn(6, 0, 0, 0xFFFF)
    pushed = insn(0x30, 0, 0, 13) + insn(0x45, 0, 1, 8) + ret + insn(6, 0, 0, 0xFFFF)
    return [filtered_connection(env, program, (5, 10)) for program in (ret, insn(6, 0, 0, 0xFFFF), ports, pushed)]


def what_filters_keep(env: Any, seed: int) -> Any:
    rng = random.Random(seed)
    out = []
    for _ in range(150):
        length = rng.randrange(1, 12)
        program = b""
        for pc in range(length):
            code = rng.choice(CODES)
            k = rng.choice(INTERESTING) if rng.random() < 0.6 else rng.randrange(70)
            if code & 7 == 5:
                k = rng.randrange(length - pc) if code == 5 else k
            elif code & 7 in (2, 3) or code & 0xE7 in (0x60, 0x61):
                k &= 15
            left = length - pc
            program += insn(code, rng.randrange(left), rng.randrange(left), k)
        program += insn(rng.choice((6, 0x16)), 0, 0, rng.choice((0, 1, 5, 40, 100)))
        _, (a, b) = env.sys.socketpair(1, 2, 0)
        row: list[Any] = [attach(env, a, program), env.sys.getsockopt(a, 1, 55, 36)[1][24:28]]
        row.append(env.sys.sendto(b, DATA, 0x40, None, 0))
        row.append(env.sys.recvfrom(a, 100, 0x40))
        out.append(row)
        env.sys.close(a)
        env.sys.close(b)
    return out


def locking_and_detaching(env: Any) -> Any:
    _, (a, b) = env.sys.socketpair(1, 2, 0)
    sys = env.sys
    keep = insn(6, 0, 0, 4)
    out: list[Any] = [
        sys.setsockopt(a, 1, 27, bytes(4), 4),
        attach(env, a, keep),
        sys.getsockopt(a, 1, 26, 0),
        sys.getsockopt(a, 1, 26, 100),
    ]
    out += [sys.getsockopt(a, 1, 55, 36), sys.sendto(b, DATA, 0x40, None, 0), sys.recvfrom(a, 100, 0x40)]
    out += [sys.setsockopt(a, 1, 44, b"\1\0\0\0", 4), sys.setsockopt(a, 1, 44, b"\1\0\0\0", 4), sys.setsockopt(a, 1, 44, bytes(4), 4)]
    out += [attach(env, a, keep), sys.setsockopt(a, 1, 27, bytes(4), 4), sys.getsockopt(a, 1, 44, 4)]
    out += [attach(env, b, keep * 2), attach(env, b, keep), sys.getsockopt(b, 1, 55, 36)[1][24:28], sys.setsockopt(b, 1, 27, bytes(4), 4)]
    out += [sys.getsockopt(b, 1, 55, 36)[1][24:28], sys.setsockopt(b, 1, 27, bytes(4), 4)]
    _, (c, d) = env.sys.socketpair(1, 1, 0)
    out += [attach(env, c, insn(6, 0, 0, 0)), sys.sendto(d, b"stream", 0x40, None, 0), sys.recvfrom(c, 100, 0x40)]
    return out


@pytest.mark.parametrize(
    "program", [accepted_opcodes, scratch_memory_is_checked, locking_and_detaching], ids=lambda program: program.__name__
)
def test_twin_and_host_agree_on_filters(program: Any) -> None:
    assert_parity(program)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_programs_keep_the_same_bytes(seed: int) -> None:
    assert_parity(what_filters_keep, seed)


def test_filters_of_connections_see_segments_from_the_tcp_header_on() -> None:
    assert_parity(filters_of_connections)
