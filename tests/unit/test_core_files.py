"""Timers as files, control messages, filters, namespaces and signals: direct calls."""

import errno
import struct

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl, sys_epoll_pwait2
from twinsock.kernel.fs.file import sys_close, sys_close_range
from twinsock.kernel.fs.pipe import sys_pipe2
from twinsock.kernel.fs.proc.fd import proc_fd_link, proc_readfd, seq_show
from twinsock.kernel.fs.read_write import sys_read, sys_write
from twinsock.kernel.fs.select import Pollfd, sys_poll, sys_ppoll
from twinsock.kernel.fs.splice import sys_tee
from twinsock.kernel.fs.timerfd import sys_timerfd_create, sys_timerfd_gettime, sys_timerfd_settime
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.net_namespace import PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.scm import for_each_cmsghdr
from twinsock.kernel.net.socket import sys_socket
from twinsock.kernel.sched.task import UserNamespace
from twinsock.uapi.signal import SIGUSR1

MS = 1_000_000


def test_a_periodic_timer_counts_what_was_missed() -> None:
    task = start_kernel().new_task()
    fd = sys_timerfd_create(task, 1, 0)
    assert sys_timerfd_settime(task, fd, 0, 10 * MS, 4 * MS) == (0, 0, 0)
    assert sys_timerfd_gettime(task, fd) == (0, 10 * MS, 4 * MS)
    assert sys_read(task, fd, 8) == (8, struct.pack("=Q", 1))
    assert task.kernel.clock.now_ns == 10 * MS
    task.kernel.clock.advance_to(23 * MS)
    assert sys_poll(task, [Pollfd(fd, 1)], 0) == 1
    assert sys_read(task, fd, 8) == (8, struct.pack("=Q", 3))
    assert sys_timerfd_settime(task, fd, 0, 0, 0) == (0, 3 * MS, 4 * MS)
    assert sys_timerfd_gettime(task, fd) == (0, 0, 0)


def test_timerfd_refuses_unknown_clocks_flags_and_files() -> None:
    task = start_kernel().new_task()
    assert sys_timerfd_create(task, 2, 0) == -errno.EINVAL
    assert sys_timerfd_create(task, 1, 1) == -errno.EINVAL
    fds: list[int] = []
    sys_pipe2(task, fds, 0)
    assert sys_timerfd_settime(task, fds[0], 0, 1, 0)[0] == -errno.EINVAL
    assert sys_timerfd_settime(task, 99, 0, 1, 0)[0] == -errno.EBADF
    assert sys_timerfd_settime(task, fds[0], 4, 1, 0)[0] == -errno.EINVAL


def test_epoll_waits_for_a_timer_in_virtual_time() -> None:
    task = start_kernel().new_task()
    fd = sys_timerfd_create(task, 1, 0)
    ep = sys_epoll_create1(task, 0)
    assert sys_epoll_ctl(task, ep, 1, fd, EpollEvent(1, 77)) == 0
    sys_timerfd_settime(task, fd, 0, 3_600_000 * MS, 0)
    events: list[EpollEvent] = []
    assert sys_epoll_pwait2(task, ep, events, 4, 5 * MS, -1) == 0
    assert task.kernel.clock.now_ns == 5 * MS
    assert sys_epoll_pwait2(task, ep, events, 4, -1, -1) == 1
    assert (events[0].data, events[0].events, task.kernel.clock.now_ns) == (77, 1, 3_600_000 * MS)
    assert sys_epoll_pwait2(task, ep, events, 4, -2, -1) == -errno.EINVAL


def test_a_signal_mask_holds_for_the_wait_only() -> None:
    task = start_kernel().new_task()
    fds: list[int] = []
    sys_pipe2(task, fds, 0)
    task.send_signal(SIGUSR1)
    assert sys_ppoll(task, [Pollfd(fds[0], 1)], 5 * MS, 1 << SIGUSR1) == 0
    assert sys_ppoll(task, [Pollfd(fds[0], 1)], 5 * MS, -1) == -514
    assert task.syscall_interrupted(-514, 1 << SIGUSR1) == -errno.EINTR
    assert task.syscall_interrupted(-512, 0) == 0


def test_tee_copies_and_leaves() -> None:
    task = start_kernel().new_task()
    a: list[int] = []
    b: list[int] = []
    sys_pipe2(task, a, 0)
    sys_pipe2(task, b, 0)
    sys_write(task, a[1], b"hello")
    assert sys_tee(task, a[0], b[1], 3, 0) == 3
    assert sys_read(task, b[0], 10) == (3, b"hel")
    assert sys_read(task, a[0], 10) == (5, b"hello")
    assert sys_tee(task, a[0], a[1], 3, 0) == -errno.EINVAL


def test_fdinfo_and_links_of_a_process() -> None:
    task = start_kernel().new_task()
    fds: list[int] = []
    sys_pipe2(task, fds, 0o2000000)
    assert proc_readfd(task) == [0, 1]
    assert proc_fd_link(task, 0) == proc_fd_link(task, 1)
    assert seq_show(task, 1).startswith("pos:\t0\nflags:\t02000001\n")
    assert sys_close_range(task, 0, 100, 0) == 0
    assert proc_readfd(task) == []
    assert sys_close(task, 0) == -errno.EBADF


def test_control_messages_end_where_a_length_does_not_fit() -> None:
    good = struct.pack("=Qii", 20, 1, 2) + b"data" + bytes(4)
    err, found = for_each_cmsghdr(good + good)
    assert (err, [cmsg.data for cmsg in found]) == (0, [b"data", b"data"])
    assert for_each_cmsghdr(struct.pack("=Qii", 15, 1, 2))[0] == -errno.EINVAL
    assert for_each_cmsghdr(struct.pack("=Qii", 17, 1, 2))[0] == -errno.EINVAL
    assert for_each_cmsghdr(b"short")[1] == []


def test_a_control_message_that_does_not_fit_is_cut_and_marked() -> None:
    msg = Msghdr()
    msg.control_room = 30
    msg.put_cmsg(1, 2, b"123456")
    assert (len(msg.control), msg.out_flags) == (24, 0)
    msg.put_cmsg(1, 2, b"x")
    assert msg.out_flags & 8


def test_a_namespace_ends_with_its_last_reference() -> None:
    class Watch(PernetOperations):
        def __init__(self) -> None:
            self.log: list[str] = []

        def init(self, net: object) -> None:
            self.log.append("init")

        def exit(self, net: object) -> None:
            self.log.append("exit")

    kernel = start_kernel()
    watch = Watch()
    register_pernet_subsys(kernel, watch)
    task = kernel.new_task()
    assert kernel.unshare_net(task) == 0
    net = task.net
    fd = sys_socket(task, 1, 1, 0)
    assert kernel.setns(task, kernel.init_net) == 0
    assert (watch.log, len(kernel.nets), net.sockets_used) == (["init", "init"], 2, 1)
    sys_close(task, fd)
    assert (watch.log, len(kernel.nets)) == (["init", "init", "exit"], 1)


def test_a_new_namespace_starts_with_defaults() -> None:
    kernel = start_kernel()
    task = kernel.new_task()
    task.net.core.sysctl_somaxconn = 99
    kernel.unshare_net(task)
    assert task.net.core.sysctl_somaxconn == 4096
    task.cred.cap_effective = 0
    assert kernel.unshare_net(task) == -errno.EPERM


def test_the_maker_of_a_user_namespace_is_capable_in_it() -> None:
    kernel = start_kernel()
    task = kernel.new_task(uid=1000)
    child = UserNamespace(kernel.init_user_ns, owner=1000)
    assert task.ns_capable(child, 12)
    assert not task.capable(12)
    assert not task.ns_capable(UserNamespace(kernel.init_user_ns, owner=1001), 12)


def test_every_protocol_and_family_is_registered_once() -> None:
    kernel = start_kernel()
    names = [prot.name for prot in kernel.protos]
    assert sorted(names) == sorted(set(names))
