"""epoll(7) on TCP connections, mode by mode, and who is woken when one connection arrives at a TCP listener."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_tcp_programs import bits, pair, settle

pytestmark = [pytest.mark.root]

IN, OUT, ET, ONESHOT, EXCLUSIVE, RDHUP, PRI, WAKEUP = 1, 4, 1 << 31, 1 << 30, 1 << 28, 0x2000, 2, 1 << 29
NONBLOCKING_PEEK = 0x42


def reports(env: Any, ep: int) -> list[int]:
    """Return the bits of every entry that is ready now."""
    return [mask for _, mask in env.sys.epoll_wait(ep, 9, 0)[1]]


def reset(env: Any, sock: Any) -> None:
    sock.setsockopt(1, 13, struct.pack("=ii", 1, 0))
    sock.close()
    settle(env)


def level_and_edge(env: Any) -> Any:
    out: list[Any] = []
    for extra in (0, ET):
        _server, a, b = pair(env)
        ep = env.sys.epoll_create1(0)
        env.sys.epoll_ctl(ep, 1, a.fileno(), IN | OUT | extra)
        out += [reports(env, ep), reports(env, ep)]
        for data in (b"12345", b"6"):
            b.send(data)
            settle(env)
            out += [reports(env, ep), reports(env, ep)]
        a.recv(2)
        out.append(reports(env, ep))
        a.send(b"acknowledged at once")
        settle(env)
        b.recv(100)
        settle(env)
        out.append(reports(env, ep))
        env.sys.epoll_ctl(ep, 3, a.fileno(), IN | OUT | extra)
        out += [reports(env, ep), reports(env, ep)]
        b.shutdown(1)
        settle(env)
        out += [reports(env, ep), reports(env, ep)]
        a.shutdown(1)
        settle(env)
        out += [reports(env, ep), reports(env, ep)]
    return out


def room_after_being_full(env: Any) -> Any:
    out: list[Any] = []
    for extra in (0, ET):
        _server, a, b = pair(env, lambda s: (s.setsockopt(1, 7, 20000), s.setsockopt(1, 8, 20000)))
        ep = env.sys.epoll_create1(0)
        env.sys.epoll_ctl(ep, 1, a.fileno(), OUT | extra)
        out.append(reports(env, ep))
        a.setblocking(False)
        while isinstance(attempt(a.send, bytes(5000)), int):
            pass
        out += [reports(env, ep), bits(env, a)]
        b.setblocking(False)
        while isinstance(attempt(b.recv, 1 << 20), bytes) or (settle(env) or isinstance(attempt(b.recv, NONBLOCKING_PEEK), bytes)):
            pass
        settle(env)
        out += [reports(env, ep), reports(env, ep)]
    return out


def one_shot(env: Any) -> Any:
    _server, a, b = pair(env)
    ep = env.sys.epoll_create1(0)
    env.sys.epoll_ctl(ep, 1, a.fileno(), IN | ONESHOT)
    b.send(b"x")
    settle(env)
    out: list[Any] = [reports(env, ep), reports(env, ep)]
    b.send(b"y")
    settle(env)
    out.append(reports(env, ep))
    env.sys.epoll_ctl(ep, 3, a.fileno(), IN | ONESHOT)
    out += [reports(env, ep), reports(env, ep)]
    reset(env, b)
    out.append(reports(env, ep))
    env.sys.epoll_ctl(ep, 3, a.fileno(), IN | ONESHOT)
    return [*out, reports(env, ep), reports(env, ep)]


def few_events(env: Any) -> Any:
    out: list[Any] = []
    for events in (0, RDHUP, PRI, IN, IN | ET, ET):
        for ending in ("fin", "fins", "reset"):
            _server, a, b = pair(env)
            ep = env.sys.epoll_create1(0)
            row: list[Any] = [env.sys.epoll_ctl(ep, 1, a.fileno(), events), reports(env, ep)]
            if ending == "reset":
                reset(env, b)
            else:
                b.shutdown(1)
                settle(env)
                row.append(reports(env, ep))
            if ending == "fins":
                a.shutdown(1)
                settle(env)
            out.append((events, ending, row, reports(env, ep), reports(env, ep)))
    return out


def exclusive_entries(env: Any) -> Any:
    _server, a, _b = pair(env)
    ep, other = env.sys.epoll_create1(0), env.sys.epoll_create1(0)
    fd = a.fileno()
    out: list[Any] = []
    for bits_ in (IN, OUT, 8, 0x10, ET, WAKEUP, ONESHOT, RDHUP, PRI, 0x40, 0x80, 0x100, 0x400, 0):
        out.append((bits_, env.sys.epoll_ctl(ep, 1, fd, EXCLUSIVE | bits_), env.sys.epoll_ctl(ep, 2, fd, 0)))
    out += [env.sys.epoll_ctl(ep, 1, fd, EXCLUSIVE | IN), env.sys.epoll_ctl(ep, 3, fd, IN), env.sys.epoll_ctl(ep, 3, fd, EXCLUSIVE | IN)]
    out += [env.sys.epoll_ctl(ep, 1, other, EXCLUSIVE | IN), env.sys.epoll_ctl(ep, 1, other, IN), env.sys.epoll_ctl(ep, 2, fd, None)]
    return [*out, env.sys.epoll_ctl(ep, 1, fd, IN), env.sys.epoll_ctl(ep, 3, fd, EXCLUSIVE | IN)]


PROGRAMS = [level_and_edge, room_after_being_full, one_shot, few_events, exclusive_entries]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_epoll_on_a_connection_does_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)


def herd(env: Any, events: int, shared: bool) -> Any:
    """Eight threads wait on epoll for one connection; count who is told."""
    listener = env.socket.socket()
    listener.bind(("127.0.0.1", 6000))
    listener.listen(10)
    one = env.select.epoll()
    instances = [one if shared else env.select.epoll() for _ in range(8)]
    for ep in instances[: 1 if shared else 8]:
        ep.register(listener, events)
    handles = [env.spawn(ep.poll, 0.5) for ep in instances]
    env.yield_now()
    client = env.socket.socket()
    client.connect(("127.0.0.1", 6000))
    return sum(bool(handle.join()) for handle in handles)


@pytest.mark.parametrize(("events", "shared"), [(IN, False), (IN | EXCLUSIVE, False), (IN | ET, False), (IN | ET, True)])
def test_one_tcp_connection_wakes_as_many_waiters(events: int, shared: bool) -> None:
    assert_parity(herd, events, shared)


def accepting_threads(env: Any) -> Any:
    listener = env.socket.socket()
    listener.bind(("127.0.0.1", 6000))
    listener.listen(10)
    listener.setsockopt(1, 20, struct.pack("=qq", 0, 400000))
    handles = [env.spawn(lambda: env.sys.accept4(listener.fileno(), 0)[0] > 0) for _ in range(4)]
    env.yield_now()
    client = env.socket.socket()
    client.connect(("127.0.0.1", 6000))
    return sorted(handle.join() for handle in handles)


def test_one_tcp_connection_is_accepted_by_one_of_four() -> None:
    assert_parity(accepting_threads)
