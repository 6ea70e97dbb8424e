"""Blocking calls on UNIX sockets that a signal interrupts, and sockets that outlive their files."""

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.unix.af_unix import UnixFamily
from twinsock.kernel.net.unix.unix_sock import netns_unix
from twinsock.kernel.sched.task import Task
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import EINTR, ENFILE, ERESTARTSYS
from twinsock.uapi.signal import SIGUSR1
from twinsock.uapi.socket import AF_UNIX, SO_RCVTIMEO_OLD, SO_SNDTIMEO_OLD, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET

NAME = b"\1\0\0name"
TYPES = (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET)


class Kick(Timer):
    """Sends a signal when virtual time comes."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def fire(self) -> None:
        self.task.send_signal(SIGUSR1)


def make_task(kick_after_ns: int = 0) -> Task:
    task = start_kernel().new_task("test")
    if kick_after_ns:
        clock = task.kernel.clock
        clock.hrtimer_start(Kick(task), clock.now_ns + kick_after_ns)
    return task


def pair(task: Task, type_: int) -> tuple[int, int]:
    fds: list[int] = []
    assert calls.sys_socketpair(task, AF_UNIX, type_, 0, fds) == 0
    return fds[0], fds[1]


def bound(task: Task, type_: int) -> int:
    fd = calls.sys_socket(task, AF_UNIX, type_, 0)
    assert calls.sys_bind(task, fd, NAME, len(NAME)) == 0
    return fd


def limit(task: Task, fd: int, option: int) -> None:
    """Give calls on a socket a minute."""
    assert calls.sys_setsockopt(task, fd, SOL_SOCKET, option, (60).to_bytes(8, "little") + bytes(8), 16) == 0


def test_receive_interrupted_by_a_signal_restarts_unless_it_has_a_timeout() -> None:
    for type_ in TYPES:
        task = make_task(1000)
        _, fd = pair(task, type_)
        assert calls.sys_recvfrom(task, fd, 1, 0, None)[0] == -ERESTARTSYS
        limit(task, fd, SO_RCVTIMEO_OLD)
        assert calls.sys_recvfrom(task, fd, 1, 0, None)[0] == -EINTR


def test_send_interrupted_by_a_signal_reports_what_went_before() -> None:
    task = make_task(1000)
    fd, _ = pair(task, SOCK_STREAM)
    assert calls.sys_send(task, fd, bytes(1_000_000), 0) == 219264
    assert calls.sys_send(task, fd, b"x", 0) == -ERESTARTSYS
    limit(task, fd, SO_SNDTIMEO_OLD)
    assert calls.sys_send(task, fd, b"x", 0) == -EINTR


def test_sender_to_a_full_receiver_is_interrupted_by_a_signal() -> None:
    task = make_task(1000)
    bound(task, SOCK_DGRAM)
    fd = calls.sys_socket(task, AF_UNIX, SOCK_DGRAM, 0)
    for _ in range(11):
        assert calls.sys_sendto(task, fd, b"x", 0, NAME, len(NAME)) == 1
    assert calls.sys_sendto(task, fd, b"x", 0, NAME, len(NAME)) == -ERESTARTSYS


def test_connect_and_accept_are_interrupted_by_a_signal() -> None:
    for type_ in (SOCK_STREAM, SOCK_SEQPACKET):
        task = make_task(1000)
        listener = bound(task, type_)
        assert calls.sys_listen(task, listener, 0) == 0
        assert calls.sys_accept(task, listener, None) == -ERESTARTSYS
        first, second = (calls.sys_socket(task, AF_UNIX, type_, 0) for _ in range(2))
        assert calls.sys_connect(task, first, NAME, len(NAME)) == 0
        assert calls.sys_connect(task, second, NAME, len(NAME)) == -ERESTARTSYS


def test_twice_as_many_sockets_as_files_may_be_are_too_many() -> None:
    task = make_task()
    task.kernel.file_max = 5
    made = []
    while (fd := calls.sys_socket(task, AF_UNIX, SOCK_STREAM, 0)) >= 0:
        made.append(fd)
    assert (len(made), fd) == (10, -ENFILE)


def test_sockets_are_counted_by_protocol_until_their_last_message_is_read() -> None:
    task = make_task()
    family = task.kernel.net_families[AF_UNIX]
    assert isinstance(family, UnixFamily)
    a, b = pair(task, SOCK_STREAM)
    inuse = task.net.prot_inuse
    assert calls.sys_send(task, a, b"x", 0) == 1
    assert sys_close(task, a) == 0
    assert inuse[family.stream_proto.inuse_idx] == 2
    assert sys_close(task, b) == 0
    assert (inuse[family.stream_proto.inuse_idx], inuse[family.dgram_proto.inuse_idx]) == (0, 0)
    assert [chain for chain in netns_unix(task.net).buckets if chain] == []
