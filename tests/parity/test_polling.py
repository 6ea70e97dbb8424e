"""poll, select and epoll: what is reported, to whom, in which order; who is woken; timeouts and signals."""

import re
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = [pytest.mark.root]

ET, ONESHOT, EXCLUSIVE, RDHUP = 1 << 31, 1 << 30, 1 << 28, 0x2000


def several_ready_entries_rotate(env: Any) -> Any:
    sys, os = env.sys, env.os
    out: list[Any] = []
    for extra in (0, ET, ONESHOT):
        ep = sys.epoll_create1(0)
        pipes = [os.pipe() for _ in range(5)]
        for r, _ in pipes:
            sys.epoll_ctl(ep, 1, r, 1 | extra)
        for index in (3, 0, 4, 1):
            os.write(pipes[index][1], b"x")
        out.append([sys.epoll_wait(ep, 3, 0), sys.epoll_wait(ep, 2, 0), sys.epoll_wait(ep, 3, 0), sys.epoll_wait(ep, 10, 0)])
        os.write(pipes[2][1], b"x")
        os.read(pipes[0][0], 1)
        out.append([sys.epoll_wait(ep, 3, 0), sys.epoll_wait(ep, 2, 0), sys.epoll_wait(ep, 10, 0)])
        sys.epoll_ctl(ep, 3, pipes[4][0], 1 | extra)
        sys.epoll_ctl(ep, 3, pipes[0][0], 1 | extra)
        out.append([sys.epoll_wait(ep, 1, 0), sys.epoll_wait(ep, 10, 0)])
        sys.epoll_ctl(ep, 2, pipes[4][0], None)
        out.append(sys.epoll_wait(ep, 10, 0))
    return out


def wait_arguments(env: Any) -> Any:
    sys = env.sys
    r, _ = env.os.pipe()
    ep = sys.epoll_create1(0)
    sys.epoll_ctl(ep, 1, r, 1)
    bad = [sys.epoll_wait(ep, 0, 0), sys.epoll_wait(ep, -1, 0), sys.epoll_wait(r, 1, 0), sys.epoll_wait(99, 1, 0), sys.epoll_wait(99, 0, 0)]
    env.sys.set_nofile(8)
    many = [sys.poll([(r, 1)] * 8, 0), sys.poll([(r, 1)] * 9, 0)[0], sys.poll([(-1, 1), (-5, 4), (99, 0), (r, 0)], 0), sys.poll([], 0)]
    return [bad, many]


def events_of_zero_and_private_bits(env: Any) -> Any:
    sys = env.sys
    out: list[Any] = []
    for events in (0, RDHUP, 1, 4, 0x10, ET, ONESHOT, 0xFFFF, ET | 1 | 4 | RDHUP, EXCLUSIVE | 1 | ET):
        _, (a, b) = sys.socketpair(1, 1, 0)
        ep = sys.epoll_create1(0)
        row = [sys.epoll_ctl(ep, 1, a, events), sys.epoll_wait(ep, 5, 0)]
        sys.sendto(b, b"x", 0, None, 0)
        row += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
        sys.recvfrom(a, 10, 0)
        sys.shutdown(b, 1)
        row += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
        sys.close(b)
        row += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
        out.append([events, *[part if isinstance(part, int) else (part[0], [mask for _, mask in part[1]]) for part in row]])
        info = re.sub(r"(ino|sdev):\s*[0-9a-f]+", r"\1", env.fdinfo(ep))
        out.append(re.sub(r"(mnt_id:\t|ino\n)\d*", r"\1", info))
        for fd in (ep, a):
            sys.close(fd)
    return out


def edges_on_a_stream(env: Any) -> Any:
    sys = env.sys
    _, (a, b) = sys.socketpair(1, 1, 0)
    ep = sys.epoll_create1(0)
    sys.epoll_ctl(ep, 1, a, 5 | ET | RDHUP)

    def wait() -> list[int]:
        return [mask for _, mask in sys.epoll_wait(ep, 5, 0)[1]]

    out = [wait(), wait()]
    sys.sendto(b, b"12345", 0, None, 0)
    out += [wait(), wait()]
    sys.recvfrom(a, 2, 0)
    out.append(wait())
    sys.sendto(b, b"6", 0, None, 0)
    sys.sendto(b, b"7", 0, None, 0)
    out += [wait(), wait()]
    sys.epoll_ctl(ep, 3, a, 1 | ET)
    out += [wait(), wait()]
    sys.recvfrom(a, 100, 0)
    out.append(wait())
    sys.shutdown(b, 1)
    out += [wait(), wait()]
    sys.close(b)
    out += [wait(), wait()]
    return out


def same_file_under_two_numbers(env: Any) -> Any:
    sys, os = env.sys, env.os
    r, w = os.pipe()
    copy = os.dup(r)
    ep = sys.epoll_create1(0)
    out = [sys.epoll_ctl(ep, 1, r, 1), sys.epoll_ctl(ep, 1, copy, 1 | ET), sys.epoll_ctl(ep, 1, copy, 1)]
    os.write(w, b"x")
    out += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
    sys.close(r)
    out += [sys.epoll_wait(ep, 5, 0), sys.epoll_ctl(ep, 2, r, None), sys.epoll_ctl(ep, 2, copy, None), sys.epoll_wait(ep, 5, 0)]
    again = os.dup(copy)
    out += [again == r, sys.epoll_ctl(ep, 1, again, 1), sys.epoll_ctl(ep, 2, again, None)]
    sys.close(again)
    sys.close(copy)
    out.append(sys.epoll_wait(ep, 5, 0))
    return out


def nested_edges(env: Any) -> Any:
    sys, os = env.sys, env.os
    r, w = os.pipe()
    inner, outer = sys.epoll_create1(0), sys.epoll_create1(0)
    out = []
    for events in (1, 1 | ET):
        sys.epoll_ctl(inner, 1, r, events)
        sys.epoll_ctl(outer, 1, inner, events)
        os.write(w, b"x")
        out += [sys.poll([(inner, 0xFF), (outer, 0xFF)], 0), sys.epoll_wait(outer, 5, 0), sys.epoll_wait(outer, 5, 0)]
        out += [sys.epoll_wait(inner, 5, 0), sys.epoll_wait(outer, 5, 0), sys.poll([(inner, 1), (outer, 1)], 0)]
        os.read(r, 1)
        out += [sys.poll([(inner, 1), (outer, 1)], 0), sys.epoll_wait(outer, 5, 0)]
        sys.epoll_ctl(outer, 2, inner, None)
        sys.epoll_ctl(inner, 2, r, None)
    return out


def herd(env: Any, events: int, shared: bool) -> Any:
    """Eight threads wait for one connection to a listener; count who is told."""
    listener = env.socket.socket(env.socket.AF_UNIX)
    listener.bind(b"\0herd")
    listener.listen(10)
    count = 8
    one = env.select.epoll()
    instances = [one if shared else env.select.epoll() for _ in range(count)]
    for ep in instances[: 1 if shared else count]:
        ep.register(listener, events)
    handles = [env.spawn(ep.poll, 1.0) for ep in instances]
    env.yield_now()
    client = env.socket.socket(env.socket.AF_UNIX)
    client.connect(b"\0herd")
    return sum(bool(handle.join()) for handle in handles)


def accepting_threads(env: Any) -> Any:
    listener = env.socket.socket(env.socket.AF_UNIX)
    listener.bind(b"\0accept")
    listener.listen(10)
    listener.setsockopt(1, 20, struct.pack("=qq", 1, 0))
    handles = [env.spawn(lambda: env.sys.accept4(listener.fileno(), 0)[0] > 0) for _ in range(4)]
    env.yield_now()
    client = env.socket.socket(env.socket.AF_UNIX)
    client.connect(b"\0accept")
    return sorted(handle.join() for handle in handles)


def pollers_are_all_woken(env: Any) -> Any:
    r, w = env.os.pipe()
    handles = [env.spawn(env.sys.poll, [(r, 1)], 10000) for _ in range(3)]
    handles += [env.spawn(lambda: env.select.select([r], [], [], 10)[0]) for _ in range(2)]
    env.yield_now()
    env.os.write(w, b"x")
    return [handle.join() for handle in handles]


def receive_timeouts(env: Any) -> Any:
    sys = env.sys
    out: list[Any] = []
    for type_ in (1, 2, 5):
        _, (a, b) = sys.socketpair(1, type_, 0)
        sys.setsockopt(a, 1, 20, struct.pack("=qq", 0, 20000), 16)
        start = env.time.monotonic()
        out.append(sys.recvfrom(a, 1, 0))
        out.append(0.015 < env.time.monotonic() - start < 5)
        sys.setsockopt(a, 1, 21, struct.pack("=qq", 0, 20000), 16)
        last = 1000
        while last == 1000:
            last = sys.sendto(a, b"z" * 1000, 0, None, 0)
        out.append(last)
        out.append(sys.recvfrom(b, 10, 0x40)[0])
    listener = sys.socket(1, 1, 0)
    sys.bind(listener, b"\1\0\0t", 4)
    sys.listen(listener, 0)
    sys.setsockopt(listener, 1, 20, struct.pack("=qq", 0, 20000), 16)
    out.append(sys.accept4(listener, 0)[0])
    first, second = sys.socket(1, 1, 0), sys.socket(1, 1, 0)
    sys.setsockopt(second, 1, 21, struct.pack("=qq", 0, 20000), 16)
    out += [sys.connect(first, b"\1\0\0t", 4), sys.connect(second, b"\1\0\0t", 4)]
    sys.setsockopt(first, 1, 20, struct.pack("=qq", -1, 0), 16)
    out.append(sys.recvfrom(first, 1, 0))
    return out


def signals_interrupt(env: Any) -> Any:
    sys = env.sys
    got: list[int] = []
    env.signal.signal(env.signal.SIGUSR1, lambda number, frame: got.append(number))

    def kill_later() -> None:
        env.yield_now()
        env.os.kill(env.os.getpid(), env.signal.SIGUSR1)

    _, (a, _) = sys.socketpair(1, 1, 0)
    r, _ = env.os.pipe()
    ep = sys.epoll_create1(0)
    listener = sys.socket(1, 1, 0)
    sys.bind(listener, b"\1\0\0s", 4)
    sys.listen(listener, 0)
    calls = [
        lambda: sys.recvfrom(a, 1, 0),
        lambda: sys.poll([(r, 1)], 5000),
        lambda: sys.epoll_wait(ep, 1, 5000),
        lambda: sys.accept4(listener, 0)[0],
    ]
    out: list[Any] = []
    for call in calls:
        killer = env.spawn(kill_later)
        out.append(call())
        killer.join()
    return [out, len(got)]


def select_sets(env: Any) -> Any:
    r, w = env.os.pipe()
    a, b = env.socket.socketpair()
    select = env.select.select
    out = [select([r, a], [w, b], [r, a], 0)]
    env.os.write(w, b"x")
    b.close()
    out.append([len(part) for part in select([r, a], [w, a], [r, a], 0)])
    out.append(attempt(select, [50], [], [], 0))
    env.os.close(w)
    out.append(select([r], [], [r], 0))
    start = env.time.monotonic()
    out.append([select([], [], [], 0.02), env.time.monotonic() - start >= 0.02])
    return [part if not isinstance(part, tuple) else [len(p) for p in part] for part in out]


def eventfd_edges(env: Any) -> Any:
    sys, os = env.sys, env.os
    e = os.eventfd(0, os.O_NONBLOCK)
    ep = sys.epoll_create1(0)
    sys.epoll_ctl(ep, 1, e, 5 | ET)
    out = [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
    for _ in range(2):
        os.eventfd_write(e, 1)
        out += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
    os.eventfd_read(e)
    out += [sys.epoll_wait(ep, 5, 0), sys.epoll_wait(ep, 5, 0)]
    return out


PROGRAMS = [
    several_ready_entries_rotate,
    wait_arguments,
    events_of_zero_and_private_bits,
    edges_on_a_stream,
    same_file_under_two_numbers,
    nested_edges,
    accepting_threads,
    pollers_are_all_woken,
    receive_timeouts,
    signals_interrupt,
    select_sets,
    eventfd_edges,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_polling(program: Any) -> None:
    assert_parity(program)


@pytest.mark.slow
@pytest.mark.parametrize(("events", "shared"), [(1, False), (1 | EXCLUSIVE, False), (1 | ET, False), (1 | ET, True)])
def test_one_connection_wakes_as_many_waiters(events: int, shared: bool) -> None:
    assert_parity(herd, events, shared)
