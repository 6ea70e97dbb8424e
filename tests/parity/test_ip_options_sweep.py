"""Every option number from 0 to 90 at levels IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP and an unknown one: set with many values and
lengths, read back after each, as root and as uid 65534, on UDP, UDP-Lite, RAW and ping sockets of both families."""

import errno
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity

pytestmark = [pytest.mark.root]

KINDS = {
    "tcp": (2, 1, 0),
    "udp": (2, 2, 0),
    "udplite": (2, 2, 136),
    "raw_tcp": (2, 3, 6),
    "raw_icmp": (2, 3, 1),
    "raw_raw": (2, 3, 255),
    "ping": (2, 2, 1),
    "tcp6": (10, 1, 0),
    "udp6": (10, 2, 0),
    "udplite6": (10, 2, 136),
    "raw6_udp": (10, 3, 17),
    "raw6_icmp": (10, 3, 58),
    "raw6_raw": (10, 3, 255),
    "ping6": (10, 2, 58),
}
LEVELS = (0, 41, 17, 136, 255, 58, 77)
# What netfilter's modules answer depends on which of them are loaded: iptables and IPVS at 64 and up, SO_ORIGINAL_DST at 80, ipset at 83
NETFILTER = {0: (*range(64, 70), *range(80, 84)), 41: (64, 65, 68, 69, *range(80, 84))}
VALUES: tuple[tuple[int | None, int], ...] = (
    (0, 4),
    (1, 4),
    (2, 4),
    (-1, 4),
    (255, 4),
    (256, 4),
    (-2, 4),
    (5, 4),
    (6, 4),
    (7, 4),
    (64, 4),
    (1280, 4),
    (65535, 4),
    (65536, 4),
    (1048575, 4),
    (1, 0),
    (1, 1),
    (0, 1),
    (1, 2),
    (1, 3),
    (1, 5),
    (1, 8),
    (1, 12),
    (1, 16),
    (1, 20),
    (1, 28),
    (1, 40),
    (1, 44),
    (1, 136),
    (1, 144),
    (1, 264),
    (None, 4),
    (0, -1),
)
GET_LENGTHS = (0, 1, 2, 3, 4, 5, 8, 20, 32, 64, -1)


def name_of(result: int) -> Any:
    """Return a result, or the errno's name."""
    return errno.errorcode[-result] if result < 0 else result


def readings(env: Any, fd: int, level: int, opt: int) -> list[Any]:
    """Read an option with buffers of many lengths."""
    found = []
    for length in GET_LENGTHS:
        ret, value = env.sys.getsockopt(fd, level, opt, length)
        found.append(name_of(ret) if ret < 0 else value.hex())
    return found


def sweep(env: Any, kind: str, level: int, uid: int) -> Any:
    """Set and read every option number of a level."""
    if kind.startswith("ping"):
        env.sysctl("ipv4/ping_group_range", "0 2147483647")
    socks = {opt: env.sys.socket(*KINDS[kind]) for opt in range(91) if opt not in NETFILTER.get(level, ())}
    if uid:
        env.setuid(uid)
    out: dict[int, Any] = {}
    for opt, fd in socks.items():
        row: list[Any] = [fd > 0, readings(env, fd, level, opt)]
        for value, length in VALUES:
            raw = None if value is None else struct.pack("=i", value) + bytes(300)
            result = name_of(env.sys.setsockopt(fd, level, opt, raw, length))
            got, data = env.sys.getsockopt(fd, level, opt, 32)
            row.append((value, length, result, name_of(got) if got < 0 else data.hex()))
        row.append(readings(env, fd, level, opt))
        out[opt] = row
        env.sys.close(fd)
    return out


@pytest.mark.parametrize("uid", [0, 65534])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_option_number_answers_the_same(kind: str, level: int, uid: int) -> None:
    assert_parity(sweep, kind, level, uid)
