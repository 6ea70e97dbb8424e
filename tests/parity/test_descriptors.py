"""Descriptors, pipes, eventfd and epoll over them: the same program on the live kernel and on the twin."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = [pytest.mark.root]


def lowest_free_numbers(env: Any) -> Any:
    os = env.os
    out: list[Any] = [os.pipe(), os.pipe()]
    os.close(4)
    out.append(os.dup(3))
    out.append(attempt(os.dup2, 5, 20))
    out.append(env.sys.fcntl(3, 0, 10))
    out.append(env.sys.fcntl(3, 0, 1024))
    out.append(env.sys.fcntl(3, 0, -1))
    out.append(env.sys.fcntl(3, 1030, 10))
    out.append([env.sys.fcntl(fd, 1, 0) for fd in (3, 4, 5, 6, 10, 11, 20, 21)])
    out.append([env.sys.fcntl(fd, 3, 0) for fd in (3, 5, 6, 20)])
    out.append([env.sys.dup2(3, 3), env.sys.dup2(99, 99), env.sys.dup2(3, 5000), env.sys.dup2(3, -1)])
    out.append([env.sys.dup3(3, 3, 0), env.sys.dup3(3, 30, 1), env.sys.dup3(3, 30, 0o2000000), env.sys.fcntl(30, 1, 0)])
    out.append([env.sys.close(30), env.sys.close(30), env.sys.close(-1)])
    env.sys.set_nofile(12)
    out.append([attempt(os.dup, 3), attempt(os.dup, 3), attempt(os.dup, 3), attempt(os.pipe)])
    out.append([env.sys.dup2(3, 12), env.sys.fcntl(3, 0, 12), env.sys.fcntl(3, 0, 11)])
    return out


def pipe_reads_and_writes(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    out: list[Any] = [attempt(os.write, w, b"hello"), attempt(os.write, w, b" world"), os.read(r, 3), os.read(r, 100)]
    os.set_blocking(r, False)
    os.set_blocking(w, False)
    out.append(attempt(os.read, r, 1))
    out.append([attempt(os.write, r, b"x"), attempt(os.read, w, 1), attempt(os.read, r, 0), attempt(os.write, w, b"")])
    out.append([attempt(os.write, w, b"a" * 70000), attempt(os.write, w, b"b"), attempt(os.write, w, b"b" * 4096)])
    out.append(env.fcntl.ioctl(r, 0x541B, b"\0" * 4))
    out.append([len(os.read(r, 4095)), attempt(os.write, w, b"c"), len(os.read(r, 1)), attempt(os.write, w, b"c" * 5000)])
    out.append([env.sys.fcntl(w, 1032, 0), env.sys.fcntl(w, 1031, 5000), env.sys.fcntl(w, 1031, 100000), env.sys.fcntl(w, 1031, 0)])
    out.append([attempt(os.lseek, r, 0, 0), attempt(os.pread, r, 1, 0), attempt(os.ftruncate, w, 0), attempt(os.fsync, w)])
    os.close(r)
    out.append(attempt(os.write, w, b"x"))
    return out


def pipe_ends_that_close(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    os.write(w, b"rest")
    os.close(w)
    out = [os.read(r, 2), os.read(r, 10), os.read(r, 10), os.fstat(r).st_mode, os.fstat(r).st_size, os.fstat(r).st_nlink]
    poll = env.select.poll()
    poll.register(r, 0x3FFF)
    out.append(poll.poll(0))
    return out


def poll_bits_of_pipes(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    os.set_blocking(w, False)
    poll = env.select.poll()
    poll.register(r, 0x3FFF)
    poll.register(w, 0x3FFF)
    out = [poll.poll(0)]
    os.write(w, b"x")
    out.append(poll.poll(0))
    attempt(os.write, w, b"y" * 100000)
    out.append(poll.poll(0))
    out.append(env.select.select([r], [w], [r, w], 0))
    os.read(r, 4096)
    out.append(poll.poll(0))
    os.close(r)
    out.append(poll.poll(0))
    out.append(attempt(env.select.select, [r], [], [], 0))
    return out


def eventfd_counts_and_semaphores(env: Any) -> Any:
    os = env.os
    e = os.eventfd(3, os.O_NONBLOCK)
    s = os.eventfd(2, os.O_NONBLOCK | 1)
    out = [os.eventfd_read(e), attempt(os.eventfd_read, e), os.eventfd_read(s), os.eventfd_read(s), attempt(os.eventfd_read, s)]
    out.append([attempt(os.write, e, b"1234"), attempt(os.read, e, 7), attempt(os.write, e, b"\xff" * 8)])
    os.eventfd_write(e, 2**64 - 2)
    poll = env.select.poll()
    poll.register(e, 0x3FFF)
    poll.register(s, 0x3FFF)
    out.append(poll.poll(0))
    out.append(attempt(os.eventfd_write, e, 1))
    out.append(os.eventfd_read(e))
    out.append(poll.poll(0))
    out.append([attempt(os.eventfd, 0, 2), attempt(os.lseek, e, 0, 0), env.sys.fcntl(e, 3, 0), env.sys.fcntl(e, 1, 0)])
    return out


def epoll_level_edge_and_oneshot(env: Any) -> Any:
    os, select = env.os, env.select
    out: list[Any] = []
    for extra in (0, select.EPOLLET, select.EPOLLONESHOT):
        r, w = os.pipe()
        ep = select.epoll()
        ep.register(r, select.EPOLLIN | extra)
        out.append(ep.poll(0))
        os.write(w, b"ab")
        out += [ep.poll(0), ep.poll(0)]
        os.read(r, 1)
        out.append(ep.poll(0))
        os.write(w, b"c")
        out += [ep.poll(0), ep.poll(0)]
        ep.modify(r, select.EPOLLIN | extra)
        out += [ep.poll(0), ep.poll(0)]
        os.close(w)
        out += [ep.poll(0), ep.poll(0)]
        ep.close()
    return out


def epoll_ctl_errors(env: Any) -> Any:
    r, w = env.os.pipe()
    ep, other = env.sys.epoll_create1(0), env.sys.epoll_create1(0)
    add, delete, mod = 1, 2, 3
    exclusive, oneshot, rdhup = 1 << 28, 1 << 30, 0x2000
    ctl = env.sys.epoll_ctl
    return [
        [env.sys.epoll_create1(1), ctl(99, add, 98, 1), ctl(ep, add, 98, 1), ctl(r, add, w, 1), ctl(ep, add, ep, 1)],
        [ctl(ep, mod, r, 1), ctl(ep, delete, r, 1), ctl(ep, add, r, 1), ctl(ep, add, r, 1), ctl(ep, 7, r, 1), ctl(ep, delete, r, None)],
        [ctl(ep, add, r, None), ctl(ep, add, r, 1 | exclusive | oneshot), ctl(ep, add, r, 1 | exclusive | rdhup)],
        [ctl(ep, add, r, 1 | exclusive), ctl(ep, mod, r, 1), ctl(ep, delete, r, 1), ctl(ep, add, r, 1), ctl(ep, mod, r, 1 | exclusive)],
        [ctl(ep, add, other, 1 | exclusive), ctl(ep, add, other, 1), ctl(other, add, ep, 1), ctl(other, add, w, 4)],
        [ctl(99, add, r, None), ctl(ep, add, 99, None), ctl(ep, delete, 99, None)],
    ]


def epoll_nests_to_a_depth(env: Any) -> Any:
    r, w = env.os.pipe()
    chain = [env.sys.epoll_create1(0) for _ in range(8)]
    out = [env.sys.epoll_ctl(chain[0], 1, r, 1)]
    out += [env.sys.epoll_ctl(chain[i + 1], 1, chain[i], 1) for i in range(7)]
    out.append(env.sys.epoll_ctl(chain[0], 1, chain[3], 1))
    poll = env.select.poll()
    for fd in chain:
        poll.register(fd, 0x3FFF)
    out.append(poll.poll(0))
    env.os.write(w, b"x")
    out.append(poll.poll(0))
    env.os.read(r, 1)
    out.append(poll.poll(0))
    return out


def epoll_entry_belongs_to_the_file(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    ep = env.select.epoll()
    ep.register(r, 1)
    copy = os.dup(r)
    os.close(r)
    os.write(w, b"x")
    out = [[(mask) for _, mask in ep.poll(0)], attempt(ep.unregister, r), attempt(ep.register, copy, 1), len(ep.poll(0))]
    os.close(copy)
    out.append(ep.poll(0))
    return out


def waiting_threads_are_woken(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    first, second = env.spawn(os.read, r, 2), env.spawn(os.read, r, 2)
    env.yield_now()
    os.write(w, b"ab")
    env.yield_now()
    os.write(w, b"cd")
    return sorted([first.join(), second.join()])


def a_full_pipe_blocks_its_writer(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()
    writer = env.spawn(os.write, w, b"z" * 100000)
    total = 0
    while total < 100000:
        total += len(os.read(r, 30000))
    return [writer.join(), total]


def children_have_their_own_descriptors(env: Any) -> Any:
    os = env.os
    r, w = os.pipe()

    def child() -> Any:
        os.close(r)
        os.write(w, b"from the child")
        return [attempt(os.read, r, 1), os.dup(w)]

    got = env.fork(child).join()
    os.close(w)
    return [got, os.read(r, 100), os.read(r, 100)]


PROGRAMS = [
    lowest_free_numbers,
    pipe_reads_and_writes,
    pipe_ends_that_close,
    poll_bits_of_pipes,
    eventfd_counts_and_semaphores,
    epoll_level_edge_and_oneshot,
    epoll_ctl_errors,
    epoll_nests_to_a_depth,
    epoll_entry_belongs_to_the_file,
    waiting_threads_are_woken,
    a_full_pipe_blocks_its_writer,
    children_have_their_own_descriptors,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_descriptors(program: Any) -> None:
    assert_parity(program)
