"""Descriptors in flight against a naive model: a socket lives while an open descriptor leads to it, over whatever queues."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.unix.unix_sock import netns_unix
from twinsock.kernel.sched.task import Task

PAIRS = 4
STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2 * PAIRS - 1), st.lists(st.integers(0, 2 * PAIRS - 1), min_size=1, max_size=3)),
    st.tuples(st.just("close"), st.integers(0, 2 * PAIRS - 1), st.just([0])),
    st.tuples(st.just("drop"), st.integers(0, 2 * PAIRS - 1), st.just([0])),
)


class Naive:
    """Queues of lists of ends; end 2n is connected to end 2n + 1."""

    def __init__(self) -> None:
        self.open: set[int] = set(range(2 * PAIRS))
        self.dead: set[int] = set()
        self.queues: dict[int, list[list[int]]] = {end: [] for end in range(2 * PAIRS)}

    def send(self, end: int, ends: list[int]) -> bool:
        """Send; finding the peer gone throws away what it sent before."""
        if end ^ 1 in self.dead:
            self.queues[end] = []
            return False
        self.queues[end ^ 1].append(ends)
        return True

    def alive(self) -> set[int]:
        """Return what can be reached from open descriptors."""
        found: set[int] = set()
        todo = sorted(self.open)
        while todo:
            end = todo.pop()
            if end not in found:
                found.add(end)
                todo += [inner for message in self.queues[end] for inner in message]
        return found

    def bury(self) -> None:
        """Take what cannot be reached away, with its queues."""
        alive = self.alive()
        self.dead = set(range(2 * PAIRS)) - alive
        for end in self.dead:
            self.queues[end] = []

    def in_flight(self) -> int:
        return sum(len(message) for queue in self.queues.values() for message in queue)


def _control(fds: list[int]) -> bytes:
    data = b"".join(fd.to_bytes(4, "little") for fd in fds)
    return (16 + len(data)).to_bytes(8, "little") + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + data


def _send(task: Task, fd: int, fds: list[int]) -> int:
    msg = calls.UserMsghdr()
    msg.iov = [b"x"]
    msg.control = _control(fds)
    msg.controllen = len(msg.control)
    return calls.sys_sendmsg(task, fd, msg, 0x40)


def _collect(task: Task) -> None:
    """Close a socket for good, which makes the collector look."""
    fd = calls.sys_socket(task, 1, 1, 0)
    assert sys_close(task, fd) == 0


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=40), st.booleans())
def test_collector_keeps_exactly_what_open_descriptors_lead_to(steps: list[tuple[str, int, list[int]]], eager: bool) -> None:
    task = start_kernel().new_task("test")
    state = netns_unix(task.net).state
    fds: list[int] = []
    for _ in range(PAIRS):
        both: list[int] = []
        assert calls.sys_socketpair(task, 1, 2, 0, both) == 0
        fds += both
    naive = Naive()
    for what, end, ends in steps:
        if end not in naive.open:
            continue
        if what == "send":
            ends = [other for other in ends if other in naive.open]
            if ends:
                assert naive.send(end, ends) == (_send(task, fds[end], [fds[other] for other in ends]) == 1)
        elif what == "close":
            assert sys_close(task, fds[end]) == 0
            naive.open.discard(end)
        elif naive.queues[end]:
            assert calls.sys_recvfrom(task, fds[end], 9, 0x40, None) == (1, b"x")
            naive.queues[end].pop(0)
        if eager:
            _collect(task)
            naive.bury()
            assert (state.unix_tot_inflight, task.kernel.nr_files) == (naive.in_flight(), len(naive.alive()))
        elif what == "close":
            _collect(task)
            naive.bury()
    _collect(task)
    naive.bury()
    assert (state.unix_tot_inflight, task.kernel.nr_files) == (naive.in_flight(), len(naive.alive()))
    for end in sorted(naive.open):
        assert sys_close(task, fds[end]) == 0
    _collect(task)
    assert (state.unix_tot_inflight, state.nr_socks, task.kernel.nr_files) == (0, 0, 0)
