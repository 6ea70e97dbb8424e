"""socket(2), socketpair(2) and the descriptor-first order of the other calls: sheet of creation, row by row."""

import re
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt, on_twin

pytestmark = [pytest.mark.root]

NETLINK_XFRM = 6  # D-netlink-2
UNREGISTERED = (0, 3, 4, 5, 9, 11, 12, 18, 19, 22, 25, 27, 45)
FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17}
PROTOCOLS = (-1, 0, 1, 2, 3, 6, 17, 31, 32, 58, 100, 132, 136, 255, 256, 261, 263, 264, 1000)
TYPES = (*range(12), 15, 16, 0x100, 0x7FF, -1, 0x80000 | 1, 0x800 | 2, 0x80801, 0x80802, 0x100001)


def result(value: int) -> int:
    """Descriptors count as success."""
    return min(value, 0)


def need(name: str) -> int:
    family = FAMILIES[name]
    if on_twin(lambda env: env.sys.socket(family, 3 if family in (16, 17) else 1, 0)) < 0:
        pytest.skip(f"the twin has no {name} sockets")
    return family


def unknown_families(env: Any) -> Any:
    out = {}
    for family in (*UNREGISTERED, -1, 46, 47, 100, 2**31 - 1, -(2**31)):
        out[family] = [result(env.sys.socket(family, type_, 0)) for type_ in TYPES]
    return out


def test_families_that_do_not_exist_fail_in_the_same_order() -> None:
    assert_parity(unknown_families)


def types_and_protocols(env: Any, family: int, uid: int) -> Any:
    if uid:
        env.setuid(uid)
    out = {}
    for type_ in TYPES:
        for protocol in PROTOCOLS:
            if (family in (2, 10) and type_ & 15 == 1 and protocol == 262) or (family, protocol) == (16, NETLINK_XFRM):
                continue
            fd = env.sys.socket(family, type_, protocol)
            row: list[Any] = [result(fd)]
            if fd >= 0:
                row += [env.sys.getsockopt(fd, 1, option, 4) for option in (3, 38, 39)]
                row += [env.sys.fcntl(fd, 1, 0), env.sys.fcntl(fd, 3, 0)]
                env.sys.close(fd)
            out[type_, protocol] = row
    return out


@pytest.mark.parametrize("uid", [0, 65534])
@pytest.mark.parametrize("name", FAMILIES)
def test_types_and_protocols_are_accepted_alike(name: str, uid: int) -> None:
    assert_parity(types_and_protocols, need(name), uid)


def pairs(env: Any, family: int) -> Any:
    out = {}
    for type_ in TYPES:
        for protocol in (0, 1, 2, 17) if family == 16 else (0, 1, 2, 6, 17):
            ret, fds = env.sys.socketpair(family, type_, protocol)
            out[type_, protocol] = (ret, fds, [env.sys.fcntl(fd, 3, 0) for fd in fds], [env.sys.fcntl(fd, 1, 0) for fd in fds])
            for fd in fds:
                env.sys.close(fd)
    out["fault"] = [env.sys.socketpair(family, 1, 0, False)[0], env.sys.socketpair(3, 1, 0, False)[0], env.sys.socket(family, 1, 0)]
    return out


@pytest.mark.parametrize("name", FAMILIES)
def test_socketpair_joins_or_refuses_alike(name: str) -> None:
    assert_parity(pairs, need(name))


def full_table(env: Any, family: int) -> Any:
    fd = env.sys.socket(family, 1, 0)
    env.sys.set_nofile(5)
    first = [env.sys.socketpair(family, 1, 0)[0], env.sys.socketpair(3, 1, 0)[0], env.sys.socketpair(family, 0x100, 0)[0]]
    env.sys.set_nofile(4)
    second = [env.sys.socket(family, 1, 0), env.sys.socket(3, 1, 0), env.sys.socket(family, 1, 300), env.sys.socket(family, 77, 0)]
    accepts = [env.sys.accept4(fd, 0)[0], env.sys.accept4(fd, 1)[0], env.sys.accept4(99, 1)[0], env.sys.accept4(0, 0)[0]]
    env.sys.set_nofile(1024)
    return [first, second, accepts, env.sys.accept4(fd, 0)[0], env.sys.socketpair(family, 1, 0)]


@pytest.mark.parametrize("name", ["unix", "inet"])
def test_a_full_table_is_noticed_at_the_same_point(name: str) -> None:
    assert_parity(full_table, need(name))


def other_calls(env: Any, family: int) -> Any:
    sys = env.sys
    pipe, _ = env.os.pipe()
    sock = sys.socket(family, 1, 0)
    addr = struct.pack("=H", family) + bytes(110)
    out: list[Any] = []
    for fd in (999, -1, pipe, sock):
        out.append([sys.accept4(fd, 0x800)[0] if fd != sock else 0, sys.accept4(fd, 1)[0], sys.accept4(fd, -1)[0]])
        out.append([sys.bind(fd, addr, length) for length in (129, -1, 1)] + [sys.bind(fd, None, 4)])
        out.append([sys.connect(fd, addr, length) for length in (129, -1, 1, 0)] + [sys.connect(fd, None, 4)])
        out.append([sys.listen(fd, -1) if fd != sock else 0, sys.shutdown(fd, 7), sys.shutdown(fd, -1), sys.shutdown(fd, 3)])
        out.append([sys.setsockopt(fd, 1, 2, None, -1), sys.setsockopt(fd, 1, 2, None, 2), sys.setsockopt(fd, 77, 1, b"1234", 4)])
        out.append([sys.getsockopt(fd, 1, 2, -1), sys.getsockopt(fd, 77, 1, 4), sys.getsockopt(fd, 77, 1, -1)])
        out.append([sys.getsockname(fd, room) for room in (-1, 0, 1, 2, 4, 110)])
        out.append([sys.getpeername(fd, room) for room in (-1, 0, 2)])
        out.append([sys.sendto(fd, b"x", 0x4000, addr, 129), sys.sendto(fd, b"x", 0x4000, addr, -1), sys.sendto(fd, b"x", 0x4000, None, 0)])
        out.append([sys.recvfrom(fd, 1, 0x40), sys.recvfrom(fd, 0, 0x40)])
    return out


@pytest.mark.parametrize("name", FAMILIES)
def test_other_calls_check_in_the_same_order(name: str) -> None:
    family = need(name)
    if family in (16, 17):
        pytest.skip("no stream sockets")
    assert_parity(other_calls, family)


def the_file_behind(env: Any, family: int, type_: int) -> Any:
    os = env.os
    fd = env.sys.socket(family, type_ | 0x80000, 0)
    stat = os.fstat(fd)
    out: list[Any] = [stat.st_mode, stat.st_nlink, stat.st_size, stat.st_blksize, stat.st_uid, stat.st_gid]
    out.append(env.fdlink(fd) == f"socket:[{stat.st_ino}]")
    info = env.fdinfo(fd)
    out.append([re.sub(r"(mnt_id|ino):\t\d+", r"\1", info), f"ino:\t{stat.st_ino}\n" in info])
    os.set_blocking(fd, False)
    env.sys.fcntl(fd, 2, 0)
    out.append(re.findall("flags:.*", env.fdinfo(fd)))
    out.append([attempt(os.lseek, fd, 0, 0), attempt(os.pread, fd, 1, 0), attempt(os.pwrite, fd, b"x", 0), attempt(os.pread, fd, 1, -1)])
    out.append([attempt(os.ftruncate, fd, 0), attempt(os.fsync, fd), attempt(os.read, fd, 0)])
    out.append([attempt(os.read, fd, 1), attempt(os.write, fd, b"x"), attempt(os.write, fd, b""), attempt(os.writev, fd, [b"", b""])])
    os.fchown(fd, 1234, 4321)
    os.fchmod(fd, 0o600)
    stat = os.fstat(fd)
    out.append([stat.st_mode, stat.st_uid, stat.st_gid, attempt(os.fchown, fd, -1, 5), os.fstat(fd).st_gid])
    next_one = env.sys.socket(family, type_, 0)
    out.append([os.fstat(next_one).st_ino - stat.st_ino > 0, attempt(os.dup, fd) > fd])
    env.setuid(65534)
    out.append([attempt(os.fchown, fd, 65534, -1), attempt(os.fchown, fd, 1234, -1), attempt(os.fchmod, fd, 0o644)])
    mine = env.sys.socket(family, type_, 0)
    out.append([attempt(os.fchown, mine, 65534, 65534), attempt(os.fchown, mine, 65534, 1), attempt(os.fchown, mine, 0, -1)])
    out.append([os.fstat(mine).st_uid, attempt(os.fchmod, mine, 0o7777), os.fstat(mine).st_mode])
    return out


@pytest.mark.parametrize("type_", [1, 2])
@pytest.mark.parametrize("name", ["unix", "inet", "inet6"])
def test_the_file_behind_a_socket_looks_the_same(name: str, type_: int) -> None:
    assert_parity(the_file_behind, need(name), type_)


def flags_and_generic_ioctls(env: Any) -> Any:
    fd = env.sys.socket(1, 1, 0)
    fcntl, sys = env.fcntl, env.sys
    out: list[Any] = []
    for flags in (0, 0o4000, 0o2000, 0o20000, 0o40000, 0o1000000, 0o4, 0o100, 0o10000, -1):
        out.append((flags, sys.fcntl(fd, 4, flags), sys.fcntl(fd, 3, 0)))
    sys.fcntl(fd, 4, 0)
    for request in (0x5451, 0x5450):
        out.append([attempt(fcntl.ioctl, fd, request), sys.fcntl(fd, 1, 0)])
    for request in (0x5421, 0x5452):
        for value in (1, 0):
            out.append([attempt(fcntl.ioctl, fd, request, struct.pack("=i", value)), sys.fcntl(fd, 3, 0)])
    out.append([attempt(fcntl.ioctl, fd, number, bytes(64)) for number in (0x5460, 0x1234, 0x8904, 0x8906, 0x8907, 0x8905)])
    out.append([sys.fcntl(fd, number, 0) for number in (5, 12, 14, 100, 1024, 1025, 1031, 1032, 1033, 1034)])
    return out


def test_flags_and_ioctls_of_every_file_agree() -> None:
    assert_parity(flags_and_generic_ioctls)


def owners_of_sigio(env: Any) -> Any:
    fd = env.sys.socket(1, 1, 0)
    sys = env.sys
    me = env.os.getpid()
    out: list[Any] = [sys.fcntl(fd, 9, 0), sys.fcntl(fd, 8, me), sys.fcntl(fd, 9, 0) == me, sys.fcntl(fd, 8, 0), sys.fcntl(fd, 9, 0)]
    out.append([sys.fcntl(fd, 8, 2**30), sys.fcntl(fd, 8, -(2**31)), sys.fcntl(fd, 8, -(2**30))])
    out.append([sys.fcntl(fd, 10, number) for number in (0, 10, 64, 65, -1)] + [sys.fcntl(fd, 11, 0)])
    return out


def test_owners_of_sigio_are_checked_alike() -> None:
    assert_parity(owners_of_sigio)


def sigio_arrives(env: Any) -> Any:
    got: list[int] = []
    env.signal.signal(env.signal.SIGIO, lambda number, frame: got.append(number))
    a, b = env.socket.socketpair()
    r, w = env.os.pipe()
    out: list[Any] = []
    for fd in (a.fileno(), r):
        env.sys.fcntl(fd, 8, env.os.getpid())
        env.sys.fcntl(fd, 4, 0o20000 | 0o4000)
    b.send(b"x")
    attempt(env.os.read, r, 1)
    out.append(len(got))
    env.os.write(w, b"x")
    attempt(env.os.read, r, 1)
    out.append(len(got))
    env.sys.fcntl(a.fileno(), 4, 0)
    b.send(b"x")
    attempt(env.os.read, r, 1)
    out.append(len(got))
    return out


def test_sigio_arrives_for_sockets_and_pipes() -> None:
    assert_parity(sigio_arrives)
