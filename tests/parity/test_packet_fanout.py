"""Groups of packet sockets, and what happens to sockets whose device goes down or away."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_packet_basic import ALL, IP, PRIVATE, add_veth, bits, drain, ll, packet, rows, udp_pair

pytestmark = [pytest.mark.root]

SOL_PACKET = 263
FANOUT = 18


def shares(env: Any, type_: int) -> Any:
    socks = [packet(env, 3, IP) for _ in range(3)]
    out = [attempt(s.setsockopt, SOL_PACKET, FANOUT, type_ << 16 | 7) for s in socks]
    _r, s = udp_pair(env)
    if type_ == 3:
        socks[0].setsockopt(1, 8, 1)
    counts = []
    for number in range(9):
        s.send(b"x" * number)
        counts.append([len(p.recv(2000)) if bits(env, p) & 1 else 0 for p in socks] if type_ == 1 else 0)
    found = [[row[1] for row in drain(env, p) if isinstance(row, tuple)] for p in socks]
    if type_ == 0:
        found = [sorted(len(rows_) for rows_ in found)]  # which member has the flow depends on a secret
    stats = [attempt(p.getsockopt, SOL_PACKET, 21, 24) if type_ != 3 else 0 for p in socks]
    return [out, counts, found, stats, [p.getsockopt(SOL_PACKET, FANOUT) for p in socks], rows(env)]


@pytest.mark.parametrize("type_", [0, 1, 3])
def test_frames_are_shared_alike(type_: int) -> None:
    assert_parity(shares, type_)


def rules(env: Any) -> Any:
    out: list[Any] = []
    a, b, c, d = packet(env, 3, ALL), packet(env, 3, ALL), packet(env, 2, IP), packet(env, 3, 0)
    for s in (d, a, a, b, c, b):
        for value in (0x10005, 0x00005, 0x10001005, 0x11030005, 0x80005, 0x20010009):
            out.append((attempt(s.setsockopt, SOL_PACKET, FANOUT, value), s.getsockopt(SOL_PACKET, FANOUT) & 0xFFFF0000))
    out += [env.sys.bind(a.fileno(), ll(1, ALL), 20), rows(env)]
    a.close()
    b.close()
    return [*out, attempt(c.setsockopt, SOL_PACKET, FANOUT, 0x00005), rows(env)]


def test_groups_are_joined_by_the_same_rules() -> None:
    assert_parity(rules)


def set_flags(env: Any, device: str, flags: int) -> None:
    """Bring a device up or down."""
    s = env.socket.socket(2, 2)
    env.fcntl.ioctl(s.fileno(), 0x8914, struct.pack("=16sH22x", device.encode(), flags))
    s.close()


def down_and_up(env: Any, kind: int) -> Any:
    index = add_veth(env, "veth9", "10.9.0.1", 24)
    s, everywhere = packet(env, kind, PRIVATE), packet(env, kind, PRIVATE)
    name = ll(index, PRIVATE) if kind != 10 else struct.pack("=H14s", 17, b"veth9")
    out: list[Any] = [env.sys.bind(s.fileno(), name, len(name)), rows(env)]
    set_flags(env, "veth9", 0)
    out += [bits(env, s), bits(env, everywhere), rows(env), attempt(s.recv, 9), attempt(s.recv, 9)]
    out += [env.sys.sendto(s.fileno(), bytes(60), 0, ll(index, PRIVATE), 20), env.sys.bind(s.fileno(), name, len(name)), s.getsockopt(1, 4)]
    late = packet(env, kind, PRIVATE)
    out += [env.sys.bind(late.fileno(), name, len(name)), bits(env, late), late.getsockopt(1, 4), rows(env)]
    set_flags(env, "veth9", 1)
    return [*out, rows(env), bits(env, s), bits(env, late)]


@pytest.mark.parametrize("kind", [2, 3, 10])
def test_a_device_that_goes_down_is_an_error_alike(kind: int) -> None:
    assert_parity(down_and_up, kind)
