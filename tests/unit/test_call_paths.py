"""The function names under a system call are Linux's, in Linux's order: the function graph is made of them."""

import sys
from collections.abc import Callable
from types import FrameType

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.eventpoll import EpollEvent, sys_epoll_create1, sys_epoll_ctl
from twinsock.kernel.fs.file import sys_close
from twinsock.kernel.fs.select import Pollfd, sys_poll
from twinsock.kernel.net.socket import sys_accept4, sys_bind, sys_listen, sys_send, sys_setsockopt, sys_socket, sys_socketpair


def names_under(call: Callable[[], object]) -> list[str]:
    """Return the names of the functions that a call enters, in order."""
    names: list[str] = []

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return names


def assert_path(call: Callable[[], object], *path: str) -> None:
    """Fail unless the names occur in this order."""
    names = iter(names_under(call))
    missing = [name for name in path if name not in names]
    assert not missing


def test_calls_go_through_the_functions_that_linux_goes_through() -> None:
    task = start_kernel().new_task()
    fds: list[int] = []
    sys_socketpair(task, 1, 1, 0, fds)
    listener = sys_socket(task, 1, 1, 0)
    ep = sys_epoll_create1(task, 0)
    create = ("sys_socket", "__sys_socket", "__sys_socket_create", "sock_create", "__sock_create", "security_socket_create", "sock_alloc")
    assert_path(lambda: sys_socket(task, 1, 1, 0), *create, "sock_alloc_inode", "sock_map_fd", "get_unused_fd_flags", "sock_alloc_file")
    bind = ("__sys_bind", "sock_from_file", "move_addr_to_kernel", "__sys_bind_socket", "security_socket_bind")
    assert_path(lambda: sys_bind(task, listener, b"\1\0\0x", 4), *bind)
    assert_path(lambda: sys_listen(task, listener, 1), "__sys_listen", "__sys_listen_socket", "security_socket_listen")
    accept = ("__sys_accept4", "__sys_accept4_file", "get_unused_fd_flags", "do_accept", "sock_from_file", "sock_alloc", "sock_alloc_file")
    assert_path(lambda: sys_accept4(task, fds[0], None, 0), *accept, "security_socket_accept")
    assert_path(lambda: sys_send(task, fds[0], b"x", 0), "__sys_sendto", "__sock_sendmsg", "sock_sendmsg_nosec", "unix_stream_sendmsg")
    assert_path(lambda: sys_setsockopt(task, fds[0], 1, 2, b"1234", 4), "__sys_setsockopt", "do_sock_setsockopt", "sk_setsockopt")
    assert_path(lambda: sys_poll(task, [Pollfd(fds[0], 1)], 0), "do_sys_poll", "do_poll", "do_pollfd", "vfs_poll", "sock_poll", "unix_poll")
    add = ("do_epoll_ctl", "ep_insert", "ep_item_poll", "vfs_poll", "sock_poll", "unix_poll", "poll_wait")
    assert_path(lambda: sys_epoll_ctl(task, ep, 1, fds[0], EpollEvent(1, 0)), *add)
    close = ("sys_close", "file_close_fd", "fput_close_sync", "__fput", "sock_close", "__sock_release")
    assert_path(lambda: sys_close(task, listener), *close)
