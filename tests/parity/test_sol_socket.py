"""Every option number of SOL_SOCKET, set and read with many values and lengths, as root and as nobody, in several states."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, on_twin

pytestmark = [pytest.mark.root]

SOL_SOCKET = 1
OPTIONS = tuple(range(101))
INTS = (0, 1, 2, 3, 4, 7, 100, 2303, 2304, 4000, 4608, 65535, 65536, 4194304, 5000000, 2147483647, -1, -2, -2147483648)
RAW = (b"", b"\1", b"\1\0\0", b"\1\0\0\0\0", bytes(8), b"\1" + bytes(7), b"\1\0\0\0\5\0\0\0", b"\2\0\0\0\1\0\0\0", b"\1\0\0\0\4\0\0\0")
RAW += (struct.pack("=qq", 1, 5000), struct.pack("=qq", 0, 1), struct.pack("=qq", -1, 0), struct.pack("=qq", 3, 999999))
RAW += (
    struct.pack("=qq", 3, 1000000),
    struct.pack("=qq", 2**40, 0),
    struct.pack("=qq", 0, -1),
    bytes(16),
    bytes(40),
    b"lo\0",
    b"lo",
    b"none\0",
)
RAW += (b"\x41\x42", struct.pack("=HxxxxxxQ", 0, 0), struct.pack("=HxxxxxxQ", 1, 0), struct.pack("=HxxxxxxQ", 5000, 4096))
LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 36, 40, -1)

# what a number of the host or of the order of creation decides: SO_COOKIE, SO_NETNS_COOKIE, SO_PEERCRED's pid, SO_INCOMING_NAPI_ID
HIDDEN = (57, 71)

KINDS = {
    "tcp4": (2, 1, 0),
    "tcp6": (10, 1, 0),
    "udp4": (2, 2, 0),
    "udp6": (10, 2, 0),
    "unix_stream": (1, 1, 0),
    "unix_dgram": (1, 2, 0),
    "unix_seqpacket": (1, 5, 0),
    "raw4": (2, 3, 255),
    "netlink": (16, 3, 0),
    "packet": (17, 3, 0),
}


def hide(option: int, value: tuple[int, bytes]) -> Any:
    if option in HIDDEN and value[0] == 0:
        return 0, len(value[1])
    if option == 17 and value[0] == 0:
        return 0, value[1][4:], any(value[1][:4])
    if option == 77 and value[0] == 0:
        return 0, len(value[1])
    return value


def fresh_reads(env: Any, family: int, type_: int, protocol: int) -> Any:
    """Read every option of a new socket into buffers of every length."""
    fd = env.sys.socket(family, type_, protocol)
    return {o: [hide(o, env.sys.getsockopt(fd, SOL_SOCKET, o, length)) for length in LENGTHS] for o in OPTIONS}


def settings(env: Any, family: int, type_: int, protocol: int, uid: int) -> Any:
    """Set every option to every value on a socket of its own, and read it, and what it may change, after each."""
    if uid:
        env.setuid(uid)
    out = {}
    for option in OPTIONS:
        fd = env.sys.socket(family, type_, protocol)
        rows = []
        for value in [struct.pack("=i", number) for number in INTS] + list(RAW):
            ret = env.sys.setsockopt(fd, SOL_SOCKET, option, value, len(value))
            rows.append((value, ret, hide(option, env.sys.getsockopt(fd, SOL_SOCKET, option, 40))))
        rows.append((env.sys.setsockopt(fd, SOL_SOCKET, option, None, 4), env.sys.setsockopt(fd, SOL_SOCKET, option, b"\0" * 4, -1)))
        rows.append([env.sys.getsockopt(fd, SOL_SOCKET, other, 16) for other in (7, 8, 13, 18, 29, 35, 37, 63, 64, 65, 72)])
        out[option] = rows
        env.sys.close(fd)
    return out


def other_levels(env: Any, family: int, type_: int, protocol: int) -> Any:
    """What levels that nobody has answer."""
    fd = env.sys.socket(family, type_, protocol)
    levels = (-1, 3, 5, 100, 200, 256, 300, 1000)
    return [(env.sys.setsockopt(fd, level, 1, b"\1\0\0\0", 4), env.sys.getsockopt(fd, level, 1, 4)) for level in levels]


def pair_reads(env: Any, type_: int) -> Any:
    """Read and set options on a connected UNIX pair."""
    _, fds = env.sys.socketpair(1, type_, 0)
    out = {o: hide(o, env.sys.getsockopt(fds[0], SOL_SOCKET, o, 40)) for o in OPTIONS}
    env.sys.sendto(fds[1], b"x" * 100, 0, None, 0)
    return out, env.sys.getsockopt(fds[0], SOL_SOCKET, 4, 4)


def listener_reads(env: Any, family: int, address: bytes) -> Any:
    """Read options of a listener."""
    fd = env.sys.socket(family, 1, 0)
    out: list[Any] = [env.sys.bind(fd, address, len(address)), env.sys.listen(fd, 5)]
    out.append({o: hide(o, env.sys.getsockopt(fd, SOL_SOCKET, o, 40)) for o in OPTIONS})
    out.append(env.sys.setsockopt(fd, SOL_SOCKET, 37, struct.pack("=i", 1 << 7), 4))
    return out


def supported(kind: str) -> tuple[int, int, int]:
    """Return family, type and protocol, or skip while the twin has no such family."""
    family, type_, protocol = KINDS[kind]
    if on_twin(lambda env: env.sys.socket(family, type_, protocol)) < 0:
        pytest.skip(f"the twin has no {kind} sockets")
    return family, type_, protocol


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_socket_reads_the_same_in_buffers_of_every_length(kind: str) -> None:
    assert_parity(fresh_reads, *supported(kind))


@pytest.mark.slow
@pytest.mark.parametrize("uid", [0, 65534])
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_takes_and_refuses_the_same_values(kind: str, uid: int) -> None:
    if uid and kind in ("raw4", "packet"):
        pytest.skip("nobody cannot make one")
    assert_parity(settings, *supported(kind), uid)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_levels_answer_the_same(kind: str) -> None:
    assert_parity(other_levels, *supported(kind))


@pytest.mark.parametrize("type_", [1, 2, 5])
def test_a_unix_pair_reads_the_same(type_: int) -> None:
    assert_parity(pair_reads, type_)


@pytest.mark.parametrize("address", [b"\1\0\0name", struct.pack("=HHI8x", 2, 0x901F, 0x100007F)], ids=["unix", "inet"])
def test_a_listener_reads_the_same(address: bytes) -> None:
    supported("unix_stream" if address[0] == 1 else "tcp4")
    assert_parity(listener_reads, address[0], address)
