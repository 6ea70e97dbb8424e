"""Entering a network namespace whose user namespace is one's own, without root: rootless containers, user_namespaces(7).

setns(2) into such a network namespace needs CAP_SYS_ADMIN in the caller's user namespace too, which comes only with
moving into the other one. A process cannot return from there, so a forked child goes, and sends back what it got.
"""

from __future__ import annotations

import os

from twinsock.uapi.sched import CLONE_NEWNET, CLONE_NEWUSER
from twinsock.uapi.socket import SCM_RIGHTS, SOL_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

NS_GET_USERNS = 0xB701
NS_GET_OWNER_UID = 0xB704


def open_owner(netns_fd: int) -> int:
    """Open the user namespace that owns a network namespace, if the caller made it; -1 otherwise."""
    import fcntl

    try:
        fd = fcntl.ioctl(netns_fd, NS_GET_USERNS)
    except OSError:
        return -1
    uid = bytearray(4)
    try:
        fcntl.ioctl(fd, NS_GET_OWNER_UID, uid)
        if int(memoryview(uid).cast("I")[0]) == os.geteuid():
            if os.fstat(fd).st_ino != os.stat("/proc/thread-self/ns/user").st_ino:
                return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def read_inside(netns_fd: int, user_fd: int, read: Callable[[], bytes]) -> bytes:
    """Run a function that reads something in a child inside both namespaces. Raises OSError, the child's too."""
    return _in_child(netns_fd, user_fd, lambda: (read(), -1))[0]


def socket_inside(netns_fd: int, user_fd: int, family: int, type_: int, protocol: int) -> _socket.socket:
    """Make a socket inside both namespaces. Raises OSError, the child's too."""
    import _socket

    def make() -> tuple[bytes, int]:
        return b"", _socket.socket(family, type_, protocol).detach()

    fd = _in_child(netns_fd, user_fd, make)[1]
    return _socket.socket(family, type_, protocol, fd)


def _in_child(netns_fd: int, user_fd: int, function: Callable[[], tuple[bytes, int]]) -> tuple[bytes, int]:
    """Run a function in a child inside both namespaces, and give its bytes and its descriptor (-1: none)."""
    import _socket

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _serve(theirs, netns_fd, user_fd, function)
        finally:
            os._exit(0)
    theirs.close()
    try:
        head, ancillary, _flags, _address = ours.recvmsg(4, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        parts: list[bytes] = []
        while part := ours.recv(65536):
            parts.append(part)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    fd = -1
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fd = int(memoryview(data).cast("I")[0])
    error = int(memoryview(head).cast("I")[0]) if len(head) == 4 else 5
    if error:
        raise OSError(error, os.strerror(error))
    return b"".join(parts), fd


def _serve(channel: _socket.socket, netns_fd: int, user_fd: int, function: Callable[[], tuple[bytes, int]]) -> None:
    """Move, run the function and send: errno, descriptor, bytes."""
    from struct import pack

    from twinsock.host.libc import setns

    try:
        setns(user_fd, CLONE_NEWUSER)
        setns(netns_fd, CLONE_NEWNET)
        data, fd = function()
    except OSError as error:
        channel.sendall(pack("=I", error.errno or 5))
        return
    ancillary = [(SOL_SOCKET, SCM_RIGHTS, pack("=i", fd))] if fd >= 0 else []
    channel.sendmsg([pack("=I", 0)], ancillary)
    channel.sendall(data)
