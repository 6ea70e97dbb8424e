"""What classic BPF programs see: bytes counted from the link or network header, values about the packet, on every kind of socket; programs
that choose the member of a SO_REUSEPORT group."""

import ctypes
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity_of_prompt_runs, attempt
from tests.parity.test_filters import attach, insn

pytestmark = [pytest.mark.root]

LL, NET, AD = 0xFFE00000, 0xFFF00000, 0xFFFFF000
LDB, LDH, LDW, LDXI, ADD, AND, RSH, RETA, RETK = 0x30, 0x28, 0x20, 0x01, 0x04, 0x54, 0x74, 0x16, 0x06
KINDS = ("udp", "udp6", "udplite", "raw", "raw6", "unix", "seqpacket", "netlink", "packet", "packet_dgram", "ping")
LO = "127.0.0.1"


def pair(env: Any, kind: str) -> tuple[Any, Any]:
    """Return a receiver, and what makes it receive `data`."""
    s = env.socket
    if kind in ("unix", "seqpacket"):
        a, b = s.socketpair(1, 2 if kind == "unix" else 5)
        return a, b.send
    if kind == "netlink":
        a, b = s.socket(16, 3, 2), s.socket(16, 3, 2)
        a.bind((77, 0))
        return a, lambda data: b.sendto(data, (77, 0))
    if kind == "ping":
        env.sysctl("ipv4/ping_group_range", "0 2147483647")
        a = s.socket(2, 2, 1)
        a.bind((LO, 77))
        return a, lambda data: a.sendto(b"\x08\0\0\0\0\0\0\1" + data, (LO, 0))
    family = 10 if kind.endswith("6") else 2
    host = "::1" if family == 10 else LO
    b = s.socket(family, 2, 136 if kind == "udplite" else 0)
    b.bind((host, 6001))
    sink = s.socket(family, 2, 136 if kind == "udplite" else 0)
    sink.bind((host, 6000))
    env.sink = sink
    if kind.startswith("packet"):
        a = s.socket(17, 3 if kind == "packet" else 2, 0x0008)
    elif kind.startswith("raw"):
        a = s.socket(family, 3, 17)
    else:
        a = sink
    return a, lambda data: b.sendto(data, (host, 6000))


def kept(env: Any, a: Any, send: Any, program: bytes, data: bytes) -> list[Any]:
    """Attach, send, and return the lengths of what arrives."""
    ret = attach(env, a.fileno(), program)
    if ret:
        return [ret]
    attempt(send, data)
    got = []
    while isinstance(found := attempt(a.recv, 1000), bytes):
        got.append(len(found))
    if a is not getattr(env, "sink", a):
        env.sink.setblocking(False)
        attempt(env.sink.recv, 1000)
    return got


def relative_loads(env: Any, kind: str) -> Any:
    """Bytes from the link header, the network header and beyond either end; the byte decides how much is kept."""
    a, send = pair(env, kind)
    a.setblocking(False)
    out: list[Any] = []
    data = bytes(range(256)) * 2
    varying = (1, 2, 3, 46, 47) if kind.endswith("6") else (4, 5, 10, 11, 22, 23, 26, 27)  # labels, identifications, checksums
    unknown = {at + k for k in varying for at in (NET, LL + 14)} if kind not in ("unix", "seqpacket", "netlink") else set()
    places = [LL + k for k in (*range(0, 50, 1), 500, 600, 0x7FFFF)] + [NET + k for k in (*range(50), 500, 600, 0x7FFFF, 0xFEFFF)]
    places += [LL - 1, LL - 20, NET - 1, NET - 14, 0x80000000, 0xFFFFFFFF, AD - 1]
    for place in places:
        program = insn(LDB, 0, 0, place) + insn(ADD, 0, 0, 20) + insn(RETA, 0, 0, 0)
        out.append((hex(place), kept(env, a, send, program, data) if place not in unknown else []))
    for size, code in ((2, LDH), (4, LDW)):
        for place in (LL + 11, LL + 20, NET + 5, NET + 14, NET + 540, NET + 537):
            program = insn(code, 0, 0, place) + insn(AND, 0, 0, 0xFF) + insn(ADD, 0, 0, 20) + insn(RETA, 0, 0, 0)
            out.append((size, hex(place), kept(env, a, send, program, data)))
    indexed = [(NET, 8), (NET - 8, 16), (LL, 22), (LL, 23), (0xFFFFFFF8, 16), (12, 0xFFFFFFFC), (6, NET), (0, NET + 9), (AD, 0), (AD, 4)]
    for place, index in indexed:
        program = insn(LDXI, 0, 0, index) + insn(0x50, 0, 0, place) + insn(ADD, 0, 0, 20) + insn(RETA, 0, 0, 0)
        out.append((hex(place), hex(index), kept(env, a, send, program, data)))
    for place in (NET, NET + 20, LL + 14, NET + 540, 0, 9):
        program = insn(0xB1, 0, 0, place) + insn(0x87, 0, 0, 0) + insn(ADD, 0, 0, 20) + insn(RETA, 0, 0, 0)
        out.append(("msh", hex(place), kept(env, a, send, program, data)))
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_before_the_data_are_seen_alike(kind: str) -> None:
    assert_parity_of_prompt_runs(relative_loads, kind)


def values(env: Any, kind: str) -> Any:
    """Each value about the packet, byte by byte; but for the processor, random numbers and hashes."""
    a, send = pair(env, kind)
    a.setblocking(False)
    out: list[Any] = []
    for what in (0, 4, 8, 12, 16, 20, 24, 28, 40, 44, 48, 52, 60):
        for shift in (0, 8, 16, 24):
            load = insn(LDW, 0, 0, AD + what) + insn(RSH, 0, 0, shift) + insn(AND, 0, 0, 0xFF) + insn(ADD, 0, 0, 20)
            out.append((what, shift, kept(env, a, send, load + insn(RETA, 0, 0, 0), bytes(400))))
    for what in (36, 56):
        program = insn(LDW, 0, 0, AD + what) + insn(AND, 0, 0, 0) + insn(ADD, 0, 0, 30) + insn(RETA, 0, 0, 0)
        out.append((what, kept(env, a, send, program, bytes(400))))
    length = insn(0x80, 0, 0, 0) + insn(AND, 0, 0, 0xFF) + insn(ADD, 0, 0, 20) + insn(RETA, 0, 0, 0)
    return [*out, kept(env, a, send, length, bytes(400))]


@pytest.mark.parametrize("kind", KINDS)
def test_values_about_a_packet_are_seen_alike(kind: str) -> None:
    assert_parity_of_prompt_runs(values, kind)


def attributes_of_netlink(env: Any) -> Any:
    """SKF_AD_NLATTR and SKF_AD_NLATTR_NEST find an attribute's place; the accumulator says where to look, X which one."""
    a, send = pair(env, "netlink")
    a.setblocking(False)
    inner = struct.pack("=HHI", 8, 7, 1) + struct.pack("=HHI", 8, 9, 2)
    data = bytes(16) + struct.pack("=HHI", 8, 3, 5) + struct.pack("=HH", 4 + len(inner), 5) + inner + struct.pack("=HHB3x", 5, 6, 1)
    out: list[Any] = []
    for what in (12, 16):
        for start in (0, 16, 24, 28, 44, 48, 60, 500):
            for wanted in (3, 5, 6, 7, 9, 99):
                program = (
                    insn(LDXI, 0, 0, wanted) + insn(0, 0, 0, start) + insn(LDW, 0, 0, AD + what) + insn(ADD, 0, 0, 1) + insn(RETA, 0, 0, 0)
                )
                out.append((what, start, wanted, kept(env, a, send, program, data)))
    return out


def test_attributes_of_netlink_are_found_alike() -> None:
    assert_parity_of_prompt_runs(attributes_of_netlink)


# SO_ATTACH_REUSEPORT_CBPF


def choose(env: Any, fd: int, program: bytes, size: int = 16) -> int:
    """SO_ATTACH_REUSEPORT_CBPF."""
    memory = ctypes.create_string_buffer(program, max(len(program), 1))
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(memory))
    return env.sys.setsockopt(fd, 1, 51, fprog[:size], size)


def group(env: Any, family: int, kind: int, count: int = 4) -> list[Any]:
    socks = []
    for _ in range(count):
        sock = env.socket.socket(family, kind)
        sock.setsockopt(1, 15, 1)
        sock.bind(("::1" if family == 10 else LO, 6000))
        if kind == 1:
            sock.listen(50)
        sock.setblocking(False)
        socks.append(sock)
    return socks


def receivers(socks: list[Any]) -> list[int]:
    found = []
    for index, sock in enumerate(socks):
        while isinstance(attempt(sock.recv, 100), bytes):
            found.append(index)
    return found


def chosen_datagrams(env: Any, family: int) -> Any:
    socks = group(env, family, 2)
    sender = env.socket.socket(family, 2)
    host = "::1" if family == 10 else LO
    sender.bind((host, 6100))
    out: list[Any] = []
    programs = {
        "payload": insn(LDB, 0, 0, 0) + insn(RETA, 0, 0, 0),
        "second": insn(LDB, 0, 0, 1) + insn(RETA, 0, 0, 0),
        "length": insn(0x80, 0, 0, 0) + insn(AND, 0, 0, 3) + insn(RETA, 0, 0, 0),
        "constant": insn(RETK, 0, 0, 2),
        "network": insn(LDB, 0, 0, NET + (6 if family == 10 else 9)) + insn(AND, 0, 0, 3) + insn(RETA, 0, 0, 0),
        "link": insn(LDB, 0, 0, LL + 13) + insn(AND, 0, 0, 3) + insn(RETA, 0, 0, 0),
        "protocol": insn(LDW, 0, 0, AD) + insn(AND, 0, 0, 3) + insn(RETA, 0, 0, 0),
    }
    for name, program in programs.items():
        row: list[Any] = [choose(env, socks[0].fileno(), program)]
        for data in (b"\0\1", b"\1\2", b"\2\3", b"\3\0"):
            sender.sendto(data, (host, 6000))
            row.append(receivers(socks))
        sender.sendto(b"abc", (host, 6000))
        out.append((name, row, len(receivers(socks))))  # the first two go beyond the group: the hash decides
    choose(env, socks[1].fileno(), programs["payload"])
    sender.sendto(b"\7", (host, 6000))
    first = receivers(socks)
    sender.sendto(b"\7", (host, 6000))
    out.append((len(first), first == receivers(socks)))  # beyond the group: by the hash
    sender.sendto(b"", (host, 6000))
    out.append(len(receivers(socks)))
    late = group(env, family, 2, 1)[0]
    for data in (b"\4", b"\0"):
        sender.sendto(data, (host, 6000))
        out.append(receivers([*socks, late]))
    socks[0].close()
    for data in (b"\0", b"\3", b"\2"):
        sender.sendto(data, (host, 6000))
        out.append(receivers([*socks[1:], late]))
    return out


def chosen_connections(env: Any, family: int) -> Any:
    socks = group(env, family, 1)
    host = "::1" if family == 10 else LO
    out: list[Any] = []
    for slot in (2, 0, 3, 1):
        out.append(choose(env, socks[0].fileno(), insn(RETK, 0, 0, slot)))
        clients = [env.socket.socket(family) for _ in range(3)]
        for client in clients:
            client.connect((host, 6000))
        row = []
        for sock in socks:
            count = 0
            while not isinstance(attempt(sock.accept), str):
                count += 1
            row.append(count)
        out.append(row)
        for client in clients:
            client.close()
    return out


def refused_programs(env: Any) -> Any:
    keep = insn(RETK, 0, 0, 0)
    out: list[Any] = []
    for family, kind in ((2, 1), (2, 2), (10, 2), (1, 2), (2, 3), (17, 3)):
        sock = env.socket.socket(family, kind, 200 if (family, kind) == (2, 3) else 0)
        fd = sock.fileno()
        out += [
            choose(env, fd, keep),
            env.sys.setsockopt(fd, 1, 68, bytes(4), 4),
            attempt(sock.setsockopt, 1, 15, 1),
            choose(env, fd, keep),
        ]
        out += [env.sys.setsockopt(fd, 1, 68, bytes(4), 4), env.sys.setsockopt(fd, 1, 68, bytes(4), 4), choose(env, fd, keep, 15)]
        out += [choose(env, fd, b""), choose(env, fd, insn(0, 0, 0, 1)), choose(env, fd, keep), env.sys.getsockopt(fd, 1, 51, 16)]
        if family in (2, 10) and kind != 3:
            sock.bind(("::1" if family == 10 else LO, 6000 + kind + family))
            out += [choose(env, fd, keep), env.sys.setsockopt(fd, 1, 68, bytes(4), 4)]
    for kind in (1, 2):
        sock = env.socket.socket(2, kind)
        sock.bind((LO, 7000))
        sock.setsockopt(1, 15, 1)
        out.append(choose(env, sock.fileno(), keep))
        if kind == 1:
            other = env.socket.socket(2, kind)
            other.bind((LO, 7001))
            other.listen()
            other.setsockopt(1, 15, 1)
            out.append(choose(env, other.fileno(), keep))
    env.setuid(65534)
    sock = env.socket.socket(2, 2)
    sock.setsockopt(1, 15, 1)
    return [*out, choose(env, sock.fileno(), keep), env.sys.setsockopt(sock.fileno(), 1, 52, bytes(4), 4)]


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("program", [chosen_datagrams, chosen_connections], ids=lambda program: program.__name__)
def test_a_program_chooses_the_same_member(program: Any, family: int) -> None:
    assert_parity_of_prompt_runs(program, family)


def test_programs_that_choose_are_refused_alike() -> None:
    assert_parity_of_prompt_runs(refused_programs)
