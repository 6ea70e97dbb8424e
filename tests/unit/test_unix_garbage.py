"""Sockets in flight: what the collector frees and what it keeps, in one kernel without a live one beside it."""

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.unix.unix_sock import netns_unix
from twinsock.kernel.sched.task import Task

STREAM, DGRAM = 1, 2


def make_task() -> Task:
    return start_kernel().new_task("test")


def pair(task: Task, type_: int = STREAM) -> tuple[int, int]:
    fds: list[int] = []
    assert calls.sys_socketpair(task, 1, type_, 0, fds) == 0
    return fds[0], fds[1]


def send_fds(task: Task, fd: int, *fds: int) -> int:
    msg = calls.UserMsghdr()
    msg.iov = [b"x"]
    data = b"".join(number.to_bytes(4, "little") for number in fds)
    msg.control = (16 + len(data)).to_bytes(8, "little") + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + data
    msg.controllen = len(msg.control)
    return calls.sys_sendmsg(task, fd, msg, 0)


def close(task: Task, *fds: int) -> None:
    for fd in fds:
        assert sys_close(task, fd) == 0


def test_two_sockets_in_each_other_s_queue_are_freed_when_nobody_has_them_open() -> None:
    task = make_task()
    state = netns_unix(task.net).state
    a, a2 = pair(task)
    b, b2 = pair(task)
    assert send_fds(task, a2, b) == 1
    assert send_fds(task, b2, a) == 1
    assert state.unix_tot_inflight == 2
    close(task, a, b, a2, b2)
    assert (state.unix_tot_inflight, state.nr_socks, task.kernel.nr_files, state.vertices) == (0, 0, 0, [])
    assert not state.maybe_cyclic
    assert state.user_inflight == {0: 0}


def test_cycle_with_one_end_open_stays_until_that_is_closed() -> None:
    task = make_task()
    state = netns_unix(task.net).state
    a, a2 = pair(task)
    b, b2 = pair(task)
    send_fds(task, a2, b)
    send_fds(task, b2, a)
    close(task, b, a2, b2)
    assert state.unix_tot_inflight == 2
    assert state.maybe_cyclic
    close(task, a)
    assert (state.unix_tot_inflight, task.kernel.nr_files) == (2, 2)  # no socket was released: nothing looked
    close(task, *pair(task))
    assert (state.unix_tot_inflight, state.nr_socks, task.kernel.nr_files) == (0, 0, 0)


def test_descriptors_in_flight_are_counted_and_uncounted_by_user() -> None:
    task = make_task()
    state = netns_unix(task.net).state
    a, b = pair(task, DGRAM)
    for _ in range(3):
        send_fds(task, a, a, b)
    assert (state.user_inflight, state.unix_tot_inflight) == ({0: 6}, 6)
    assert calls.sys_recvfrom(task, b, 9, 0, None) == (1, b"x")
    assert (state.user_inflight, state.unix_tot_inflight) == ({0: 4}, 4)
    close(task, a, b)
    close(task, *pair(task))
    assert (state.user_inflight, state.unix_tot_inflight, state.nr_socks) == ({0: 0}, 0, 0)


def test_namespace_of_the_last_socket_counts_nothing_afterwards() -> None:
    task = make_task()
    assert task.kernel.unshare_net(task) == 0
    a, b = pair(task)
    assert task.net.sockets_used == 2
    send_fds(task, a, b)
    close(task, a, b)
    close(task, *pair(task))
    assert task.net.sockets_used == 0
    assert [len(chain) for chain in netns_unix(task.net).buckets if chain] == []
