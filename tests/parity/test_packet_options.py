"""Options of SOL_PACKET: every number with many values and lengths, rings, memberships, statistics, time stamps, headers of virtio."""

import errno
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_packet_basic import ALL, IP, PRIVATE, add_veth, bits, blank, drain, ll, meminfo, packet, rows, udp_pair

pytestmark = [pytest.mark.root]

SOL_PACKET = 263
KINDS = {"raw": 3, "dgram": 2, "packet": 10}
VALUES = (0, 1, 2, 3, 4, 10, 12, -1, 255, 256, 4096, 65535, 0x10000, 0x20005, 0x30001, 0x60002, 0x80007, 0x10000001, 0x20000000, 2**31 - 1)
LENGTHS = (0, 1, 2, 3, 4, 5, 8, 12, 16, 20, 24, 28, 40)
MEMBERSHIPS = (1, 2)


def name_of(result: int) -> Any:
    """Return a result, or the errno's name."""
    return errno.errorcode[-result] if result < 0 else result


def sweep(env: Any, kind: str, opt: int, level: int) -> Any:
    """Set and read one option number on fresh sockets."""
    out: list[Any] = []
    for value in VALUES:
        fd = env.sys.socket(17, KINDS[kind], 0x0300)
        for length in (-1, *LENGTHS):
            raw = struct.pack("=i", value) + bytes(60)
            result = name_of(env.sys.setsockopt(fd, level, opt, raw, length))
            if opt == 18 and value == 0x20000000:
                continue  # the number is the host's next one
            out.append((value, length, result, readings(env, fd, level, opt, (4,))))
        if opt != 18 or value != 0x20000000:
            out.append(readings(env, fd, level, opt, (-1, *LENGTHS)))
        out.append(name_of(env.sys.setsockopt(fd, level, opt, None, 4)))
        env.sys.close(fd)
    return out


def readings(env: Any, fd: int, level: int, opt: int, lengths: tuple[int, ...]) -> list[Any]:
    """Read an option with buffers of many lengths."""
    out = []
    for length in lengths:
        ret, value = env.sys.getsockopt(fd, level, opt, length)
        out.append(name_of(ret) if ret < 0 else value.hex())
    return out


@pytest.mark.parametrize("opt", range(-1, 28))
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_number_answers_the_same(kind: str, opt: int) -> None:
    assert_parity(sweep, kind, opt, SOL_PACKET)


@pytest.mark.parametrize("level", [0, 17, 255, 262])
def test_other_levels_are_refused_alike(level: int) -> None:
    for kind in KINDS:
        assert_parity(sweep, kind, 1, level)


def mreqs(env: Any, device: str) -> Any:
    index = 1 if device == "lo" else add_veth(env, "veth9", "10.9.0.1", 24)
    s = packet(env, 3, ALL)
    out: list[Any] = []
    for opt in (1, 1, 2, 2, 2):
        for type_ in range(6):
            for alen in (0, 1, 5, 6, 7, 8, 9, 32):
                for length in (15, 16, 20, 40, 44):
                    raw = struct.pack("=iHH", index, type_, alen) + b"\x33\x33\0\0\0\1" + bytes(40)
                    out.append((opt, type_, alen, length, name_of(env.sys.setsockopt(s.fileno(), SOL_PACKET, opt, raw, length))))
        out.append(name_of(env.sys.setsockopt(s.fileno(), SOL_PACKET, opt, struct.pack("=iHH8x", 99, 1, 0), 16)))
    return out


@pytest.mark.parametrize("device", ["lo", "veth"])
def test_memberships_of_devices_answer_alike(device: str) -> None:
    assert_parity(mreqs, device)


def ring_values(env: Any) -> Any:
    out = []
    for version in (0, 1, 2):
        for block_size, block_nr, frame_size, frame_nr in (
            *((0, 0, 0, 0), (0, 0, 0, 1), (4096, 0, 2048, 0), (0, 1, 2048, 2), (100, 1, 2048, 2), (4096, 1, 16, 256), (4096, 1, 24, 2)),
            *((4096, 1, 2040, 2), (4096, 1, 2048, 3), (4096, 1, 8192, 0), (-4096, 1, 2048, 2), (4096, 1, 50, 2), (6000, 1, 2048, 2)),
            *((4096, 1, 48, 85), (4096, 1, 32, 128), (4096, 1, 0, 0), (4096, 2, 2048, 2)),
        ):
            for opt in (5, 13):
                for size in (15, 16, 28):
                    s = packet(env, 3, 0)
                    s.setsockopt(SOL_PACKET, 10, version)
                    raw = struct.pack("=iiii", block_size, block_nr, frame_size, frame_nr) + bytes(12)
                    ret = name_of(env.sys.setsockopt(s.fileno(), SOL_PACKET, opt, raw, size))
                    out.append((version, block_size, block_nr, frame_size, frame_nr, opt, size, ret))
                    s.close()
    return out


def test_bad_rings_are_refused_alike() -> None:
    assert_parity(ring_values)


def counting(env: Any, version: int) -> Any:
    p = packet(env, 3, IP)
    p.setsockopt(SOL_PACKET, 10, version)
    r, s = udp_pair(env)
    p.setsockopt(1, 8, 2000)
    out = [meminfo(p)]
    for size in (1, 100, 900, 1000, 3000, 1, 1, 1):
        s.send(bytes(size))
        r.recv(5000)
        out.append(meminfo(p))
    out.append(readings(env, p.fileno(), SOL_PACKET, 6, (4, 8, 12, 16)))
    out.append(drain(env, p))
    s.send(b"x")
    p.setsockopt(1, 40, 1)
    s.send(b"y")
    return [*out, drain(env, p), readings(env, p.fileno(), SOL_PACKET, 6, (8, 8)), meminfo(p), rows(env)]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_frames_and_drops_are_counted_alike(version: int) -> None:
    assert_parity(counting, version)


def headers(env: Any, size: int, kind: str) -> Any:
    p = packet(env, KINDS[kind], ALL)
    out = [attempt(p.setsockopt, SOL_PACKET, 24, size), attempt(p.setsockopt, SOL_PACKET, 8, 1)]
    _r, s = udp_pair(env)
    for data in (b"", b"hello", b"x" * 999):
        s.send(data)
        out.append(drain(env, p))
    s.setsockopt(17, 103, 100)
    s.send(b"g" * 250)
    out.append(drain(env, p))
    s.send(b"cut")
    out += [blank(b) if isinstance(b, bytes) else b for b in (attempt(p.recv, length) for length in (5, 9, 10, 12, 20))]
    out += [attempt(p.getsockopt, SOL_PACKET, 15, 4), attempt(p.getsockopt, SOL_PACKET, 24, 4)]
    watch = packet(env, 3, PRIVATE)
    frame = bytes(12) + struct.pack("!H", PRIVATE) + b"\x12\x34\0\0payload"
    for head in (bytes(12), b"\1\0" + struct.pack("=HHHH", 0, 0, 14, 2) + bytes(2), b"\1\0" + struct.pack("=HHHH", 0, 0, 20, 2) + bytes(2)):
        for cut in (0, 9, size, size + 13, size + len(frame)):
            data = head[:size] + frame
            out.append((cut, name_of(env.sys.sendto(p.fileno(), data[:cut], 0, ll(1, PRIVATE), 20)), drain(env, watch)))
    return out


@pytest.mark.parametrize("size", [0, 10, 12])
@pytest.mark.parametrize("kind", ["raw", "dgram"])
def test_virtio_headers_and_auxiliary_data_agree(kind: str, size: int) -> None:
    assert_parity(headers, size, kind)


def filters(env: Any, kind: str) -> Any:
    import ctypes

    out = []
    for insns in (
        ((0x06, 0, 0, 0),),
        ((0x06, 0, 0, 20),),
        ((0x30, 0, 0, 0), (0x16, 0, 0, 0)),
        ((0x80, 0, 0, 0), (0x16, 0, 0, 0)),
        ((0x28, 0, 0, 0xFFFFF000), (0x15, 0, 1, 0x800), (0x06, 0, 0, 30), (0x06, 0, 0, 0)),
        ((0x20, 0, 0, 0xFFFFF004), (0x15, 0, 1, 4), (0x06, 0, 0, 30), (0x06, 0, 0, 0)),
        ((0x20, 0, 0, 0xFFFFF008), (0x16, 0, 0, 0)),
    ):
        p = packet(env, KINDS[kind], ALL)
        raw = b"".join(struct.pack("=HBBI", *insn) for insn in insns)
        buffer = ctypes.create_string_buffer(raw, len(raw))
        prog = struct.pack("=HxxxxxxQ", len(insns), ctypes.addressof(buffer))
        out.append(attempt(p.setsockopt, 1, 26, prog))
        r, s = udp_pair(env)
        s.send(b"hello")
        out += [drain(env, p), readings(env, p.fileno(), SOL_PACKET, 6, (8,)), meminfo(p)[8]]
        for sock in (p, r, s):
            sock.close()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_filters_keep_the_same_of_frames(kind: str) -> None:
    assert_parity(filters, kind)


def stamps(env: Any, kind: str) -> Any:
    out = []
    for option in (29, 35, 63, 64):
        p = packet(env, KINDS[kind], ALL)
        p.setsockopt(1, option, 1)
        r, s = udp_pair(env)
        s.send(b"hello")
        for row in drain(env, p):
            out.append([(c[0], c[1], len(c[2])) for c in row[2]] if isinstance(row, tuple) else row)
        out.append(bits(env, p))
        for sock in (p, r, s):
            sock.close()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_time_stamps_come_alike(kind: str) -> None:
    assert_parity(stamps, kind)
