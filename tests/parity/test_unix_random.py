"""Random programs on pairs of UNIX sockets: urgent bytes, peeks, offsets, descriptors and shutdown in any order, on both kernels."""

import random

import pytest

from tests.parity.unix_system import DGRAM, NONBLOCK, SEQPACKET, STREAM, System, rights, same, un

pytestmark = [pytest.mark.root, pytest.mark.slow]

OOB, PEEK, DONTWAIT, NOSIGNAL, WAITALL, TRUNC = 1, 2, 0x40, 0x4000, 0x100, 0x20
INQ, OUTQ, ATMARK = 0x541B, 0x5411, 0x8905
ROUNDS = 40


def _look(k: System, a: int, b: int) -> list[object]:
    """Tell everything that can be seen of one end without changing it."""
    return [k.poll(b), k.ioctl(b, INQ), k.ioctl(b, ATMARK), k.ioctl(a, OUTQ), k.fdinfo(b), k.getint(b, 42)]


def _urgent_step(k: System, rng: random.Random, a: int, b: int) -> object:
    what = rng.randrange(14)
    size = rng.choice((0, 1, 1, 2, 3, 9))
    data = bytes(rng.choices(b"abcdefgh", k=size))
    peek = rng.choice((0, 0, PEEK))
    if what < 4:
        return ("send", k.send(a, data, DONTWAIT | NOSIGNAL))
    if what < 7:
        return ("send oob", k.send(a, data, OOB | DONTWAIT | NOSIGNAL))
    if what < 11:
        got = k.recvmsg(b, size, 0, DONTWAIT | peek)
        return ("recv", size, peek, got if isinstance(got, str) else (got.ret, got.data, got.flags))
    if what < 13:
        got = k.recvmsg(b, max(size, 1), 0, OOB | peek)
        return ("recv oob", peek, got if isinstance(got, str) else (got.ret, got.data, got.flags))
    return ("inline", k.setint(b, 10, rng.randrange(2)))


@pytest.mark.parametrize("seed", range(60))
def test_urgent_bytes_in_random_order_look_alike_on_both_kernels(seed: int) -> None:
    def program(k: System) -> object:
        rng = random.Random(seed)
        out: list[object] = []
        for _ in range(3):
            a, b = k.socketpair(STREAM)
            if seed % 3 == 2:
                k.setint(b, 42, 0)
            for _ in range(ROUNDS):
                out += [_urgent_step(k, rng, a, b), _look(k, a, b)]
            k.close(b)
            out += [k.poll(a), k.recv(a, 1), k.recv(a, 1)]
        return out

    same(program)


def _message_step(k: System, rng: random.Random, a: int, b: int) -> object:
    what = rng.randrange(13)
    size = rng.choice((0, 1, 3, 9))
    data = bytes(rng.choices(b"abcdefgh", k=size))
    flags = DONTWAIT | NOSIGNAL | rng.choice((0, 0, PEEK, TRUNC, PEEK | TRUNC))
    if what < 4:
        return ("send", k.send(a, data, DONTWAIT | NOSIGNAL))
    if what < 7:
        return ("sendmsg", k.sendmsg(a, data, rights(*[a] * rng.randrange(4)), DONTWAIT | NOSIGNAL))
    if what < 11:
        got = k.recvmsg(b, size, rng.choice((0, 20, 24, 100)), flags)
        if isinstance(got, str):
            return ("recv", got)
        for fd in got.fds():
            k.close(fd)
        return ("recv", got.shape())
    if what < 12:
        return ("peek off", k.setint(b, 42, rng.choice((-1, 0, 2, 5))))
    option = rng.choice((18, 7, 83))
    return ("option", option, k.setint(b if option != 7 else a, option, rng.choice((0, 1, 4, 4000))))


@pytest.mark.parametrize("type_", [STREAM, DGRAM, SEQPACKET])
@pytest.mark.parametrize("seed", range(25))
def test_messages_with_descriptors_in_random_order_look_alike_on_both_kernels(seed: int, type_: int) -> None:
    def program(k: System) -> object:
        rng = random.Random(seed)
        out: list[object] = []
        for _ in range(2):
            a, b = k.socketpair(type_)
            for _ in range(ROUNDS):
                out += [_message_step(k, rng, a, b), _look(k, a, b)]
            k.shutdown(a, rng.randrange(3))
            for _ in range(10):
                out += [_message_step(k, rng, a, b), _look(k, a, b)]
            k.close(a)
            out += [k.poll(b), k.recv(b, 9, DONTWAIT), k.recv(b, 9, DONTWAIT)]
        return out

    same(program)


NAMES = ("a", "b", "a/c", "b/c", "a/", "b/.", "a/..", "link", "link/c", "a/c/d", ".", "a//c", "dangling", "")
MODES = (0o777, 0o755, 0o700, 0o1777, 0o000, 0o2775, 0o711)


def _file_step(k: System, rng: random.Random, fds: list[int]) -> object:
    what = rng.randrange(15)
    name, other = rng.choice(NAMES), rng.choice(NAMES)
    calls = [
        ("mkdir", lambda: k.mkdir(name, rng.choice(MODES))),
        ("rmdir", lambda: k.rmdir(name)),
        ("touch", lambda: k.touch(name)),
        ("unlink", lambda: k.unlink(name)),
        ("rename", lambda: k.rename(name, other)),
        ("rename", lambda: k.rename(name, other)),
        ("link", lambda: k.link(name, other)),
        ("symlink", lambda: k.symlink(other, name)),
        ("chmod", lambda: k.chmod(name, rng.choice(MODES))),
        ("chown", lambda: k.chown(name, rng.choice((-1, 0, 1000)), rng.choice((-1, 0, 1000)))),
        ("umask", lambda: k.umask(rng.choice((0o022, 0, 0o077)))),
        ("user", lambda: k.seteuid(rng.choice((0, 1000, 2000)))),
        ("bind", lambda: k.bind(rng.choice(fds), un(name))),
        ("bind", lambda: k.bind(k.socket(DGRAM), un(name))),
        ("send", lambda: k.sendto(fds[0], b"x", un(name), DONTWAIT)),
    ]
    verb, call = calls[what]
    return (verb, name, other, call())


@pytest.mark.parametrize("seed", range(60))
def test_paths_in_random_order_look_alike_on_both_kernels(seed: int) -> None:
    def program(k: System) -> object:
        rng = random.Random(seed)
        fds = [int(k.socket(DGRAM)) for _ in range(20)]
        out: list[object] = []
        for _ in range(120):
            out.append(_file_step(k, rng, fds))
            out.append([k.stat(name) for name in ("a", "b", "a/c", "b/c", "link")])
        return out

    same(program)


ADDRESSES = (un("\0one"), un("\0two"), un("one"), un("two"), b"\1\0", b"\0\0")


def _socket_step(k: System, rng: random.Random, fds: list[int]) -> object:
    what = rng.randrange(20)
    fd = rng.choice(fds)
    addr = rng.choice(ADDRESSES)
    if what < 3:
        type_ = rng.choice((STREAM, STREAM, DGRAM, SEQPACKET))
        fds.append(int(k.socket(type_ | NONBLOCK)))
        return ("socket", type_)
    if what < 4:
        a, b = k.socketpair(rng.choice((STREAM, DGRAM, SEQPACKET)) | NONBLOCK)
        fds += [a, b]
        return "pair"
    if what < 6 and len(fds) > 3:
        fds.remove(fd)
        return ("close", k.close(fd))
    if what == 7:
        got = k.accept(fd, NONBLOCK)
        if isinstance(got, int):
            fds.append(got)
            return "accepted"
        return ("accept", got)
    calls = {
        6: lambda: k.listen(fd, rng.randrange(3)),
        8: lambda: k.bind(fd, addr) if addr != b"\1\0" else None,
        9: lambda: k.bind(fd, addr) if addr != b"\1\0" else None,
        10: lambda: k.connect(fd, addr),
        11: lambda: k.connect(fd, addr),
        12: lambda: k.connect(fd, addr),
        13: lambda: k.send(fd, b"data", NOSIGNAL),
        14: lambda: k.send(fd, b"more", NOSIGNAL),
        15: lambda: k.sendto(fd, b"to", addr, NOSIGNAL),
        16: lambda: k.recvfrom(fd, 3),
        17: lambda: k.recvfrom(fd, 9),
        18: lambda: k.shutdown(fd, rng.randrange(3)),
        19: lambda: k.unlink(rng.choice(("one", "two"))),
    }
    return (what, addr, calls[what]() if what in calls else None)


def _look_at_all(k: System, fds: list[int]) -> list[object]:
    return [(k.poll(fd), k.getsockname(fd), k.getpeername(fd), k.ioctl(fd, INQ), k.ioctl(fd, OUTQ), k.getint(fd, 30)) for fd in fds]


@pytest.mark.parametrize("seed", range(60))
def test_connections_in_random_order_look_alike_on_both_kernels(seed: int) -> None:
    def program(k: System) -> object:
        rng = random.Random(seed)
        fds = [int(k.socket(type_ | NONBLOCK)) for type_ in (STREAM, STREAM, DGRAM, SEQPACKET)]
        out: list[object] = []
        for _ in range(150):
            out += [_socket_step(k, rng, fds), _look_at_all(k, fds)]
        return out

    same(program)
