"""Every option number from 0 to 50 at level IPPROTO_TCP: set with many values and lengths and read back after each, as root and as
uid 65534, on sockets of both families that are closed, listening and connected.

What is not compared: the values of clocks and measurements (only their lengths; tests/parity/test_tcp_wire.py compares TCP_INFO),
TCP_MD5SIG (D-tcp-7), and as root TCP_REPAIR (D-tcp-6)."""

import errno
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity

pytestmark = [pytest.mark.root]

LEVEL = 6
TCP_INFO, TCP_CC_INFO, TCP_TIMESTAMP = 11, 26, 24
TCP_MD5SIG, TCP_REPAIR, TCP_MD5SIG_EXT = 14, 19, 32
VALUES: tuple[tuple[int | None, int], ...] = (
    *((value, 4) for value in (0, 1, 2, 3, -1, -2, 5, 9, 64, 87, 88, 127, 128, 200, 255, 256, 536, 999, 1000, 1280)),
    *(
        (value, 4)
        for value in (4000, 8000, 32767, 32768, 40000, 65535, 65536, 120000, 120001, 200000, 200001, 1048576, 2**31 - 1, -(2**31))
    ),
    *((1, length) for length in (0, 1, 2, 3, 5, 8, 12, 16, 20, 28, 32, 40, 64, 136, 216, 264)),
    (None, 4),
    (None, 16),
    (None, 0),
    (0, -1),
)
GET_LENGTHS = (0, 1, 2, 3, 4, 5, 8, 15, 16, 20, 32, 64, -1)


def name_of(result: int) -> Any:
    """Return a result, or the errno's name."""
    return errno.errorcode[-result] if result < 0 else result


def readings(env: Any, fd: int, opt: int) -> list[Any]:
    """Read an option with buffers of many lengths."""
    found = []
    for length in GET_LENGTHS:
        ret, value = env.sys.getsockopt(fd, LEVEL, opt, length)
        found.append(name_of(ret) if ret < 0 else shown(opt, value))
    return found


def shown(opt: int, value: bytes) -> Any:
    """Return a value as it is compared: of clocks and measurements only the length."""
    return len(value) if opt in (TCP_INFO, TCP_CC_INFO, TCP_TIMESTAMP) else value.hex()


def address(family: int, port: int) -> bytes:
    """Return the loopback address of a family."""
    if family == 2:
        return struct.pack("=H", 2) + struct.pack("!H4s8x", port, b"\x7f\0\0\1")
    return struct.pack("=H", 10) + struct.pack("!HI16s", port, 0, bytes(15) + b"\1") + bytes(4)


def sockets(env: Any, family: int, state: str, port: int) -> tuple[int, list[int]]:
    """Make a socket in a state: (the socket, those that go with it)."""
    fd = env.sys.socket(family, 1, 0)
    addr = address(family, port)
    assert env.sys.setsockopt(fd, LEVEL, 13, b"reno", 4) == 0
    if state == "close":
        return fd, []
    if state == "listen":
        assert env.sys.bind(fd, addr, len(addr)) == 0
        assert env.sys.listen(fd, 5) == 0
        return fd, []
    listener = env.sys.socket(family, 1, 0)
    assert env.sys.bind(listener, addr, len(addr)) == 0
    assert env.sys.listen(listener, 5) == 0
    assert env.sys.connect(fd, addr, len(addr)) == 0
    return fd, [listener, env.sys.accept4(listener, 0)[0]]


def sweep(env: Any, family: int, state: str, first: int, last: int, uid: int) -> Any:
    """Set and read every option number."""
    env.sysctl("ipv4/tcp_congestion_control", "reno")
    skipped = (TCP_MD5SIG, TCP_MD5SIG_EXT) if uid else (TCP_MD5SIG, TCP_MD5SIG_EXT, TCP_REPAIR)
    socks = {opt: sockets(env, family, state, 5000 + opt) for opt in range(first, last) if opt not in skipped}
    if uid:
        env.setuid(uid)
    out: dict[int, Any] = {}
    for opt, (fd, others) in socks.items():
        row: list[Any] = [fd > 0, readings(env, fd, opt)]
        for value, length in VALUES:
            raw = None if value is None else struct.pack("=i", value) + bytes(300)
            result = name_of(env.sys.setsockopt(fd, LEVEL, opt, raw, length))
            got, data = env.sys.getsockopt(fd, LEVEL, opt, 64)
            row.append((value, length, result, name_of(got) if got < 0 else shown(opt, data)))
        row.append(readings(env, fd, opt))
        out[opt] = row
        for one in (fd, *others):
            env.sys.close(one)
    return out


@pytest.mark.parametrize("uid", [0, 65534])
@pytest.mark.parametrize("state", ["close", "listen", "established"])
@pytest.mark.parametrize("family", [2, 10])
def test_every_option_number_of_tcp_answers_the_same(family: int, state: str, uid: int) -> None:
    assert_parity(sweep, family, state, 0, 51, uid)
