"""Copies of other processes' sockets: pidfd_getfd(2), and what a copy can be asked.

Needs ptrace access to the process (same user, or CAP_SYS_PTRACE). A copy keeps the socket alive, so each is closed
before the function returns. Source: pidfd_open(2), pidfd_getfd(2), unix(7) for MSG_PEEK of SCM_RIGHTS.
"""

from __future__ import annotations

import _socket as sockets
import os
from _socket import (
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_PEEK,
    SCM_RIGHTS,
    SO_DOMAIN,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOL_SOCKET,
)
from errno import EPERM

_NR_PIDFD_GETFD = 438
_SCM_MAX_FD = 253
_PEEK_BYTES = 1 << 20

REUSEADDR_BIT = 1
REUSEPORT_BIT = 2
V6ONLY_BIT = 4


class PidFd:
    """A handle on one process from which descriptors are copied."""

    def __init__(self, pid: int) -> None:
        """Open the process; raises OSError if it is gone."""
        self.pid = pid
        self._fd = os.pidfd_open(pid, 0)

    def close(self) -> None:
        """Give the handle back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def getfd(self, fd: int) -> int:
        """Copy a descriptor, pidfd_getfd(2): the new descriptor (close-on-exec), or a negative errno."""
        from twinsock.host.bpf import syscall

        return syscall(_NR_PIDFD_GETFD, self._fd, fd, 0)


def reuse_bits_of_copies(holders: list[tuple[int, int, int]]) -> dict[int, int]:
    """Map socket inodes to SO_REUSEADDR=1 | SO_REUSEPORT=2 | IPV6_V6ONLY=4, given (pid, fd, inode) of their holders.

    What cannot be copied, or is no longer that socket, is left out.
    """
    found: dict[int, int] = {}
    handles: dict[int, PidFd] = {}
    try:
        for pid, fd, inode in holders:
            try:
                handle = handles.get(pid) or handles.setdefault(pid, PidFd(pid))
                copy = handle.getfd(fd)
                if copy < 0:
                    continue
                try:
                    if os.fstat(copy).st_ino == inode:
                        found[inode] = _reuse_bits_of(copy)
                finally:
                    os.close(copy)
            except OSError:
                continue
    finally:
        for handle in handles.values():
            handle.close()
    return found


def _reuse_bits_of(fd: int) -> int:
    sock = sockets.socket(fileno=fd)
    try:
        bits = REUSEADDR_BIT if sock.getsockopt(SOL_SOCKET, SO_REUSEADDR) else 0
        if sock.getsockopt(SOL_SOCKET, SO_REUSEPORT):
            bits |= REUSEPORT_BIT
        if sock.getsockopt(SOL_SOCKET, SO_DOMAIN) == AF_INET6 and sock.getsockopt(IPPROTO_IPV6, IPV6_V6ONLY):
            bits |= V6ONLY_BIT
        return bits
    finally:
        sock.detach()


def open_copy(pid: int, fd: int) -> int:
    """Copy one descriptor of a process; raises OSError with the kernel's errno. The caller closes it."""
    handle = PidFd(pid)
    try:
        copy = handle.getfd(fd)
    finally:
        handle.close()
    if copy < 0:
        why = "needs CAP_SYS_PTRACE or the same user" if copy == -EPERM else os.strerror(-copy)
        raise OSError(-copy, f"descriptor {fd} of pid {pid} cannot be copied: {why}")
    return copy


def peek_passed_inodes(pid: int, fd: int) -> list[int]:
    """List the inodes of the sockets in the first message with descriptors that waits in a UNIX socket.

    The message stays in the queue. Empty if the socket cannot be copied or has no such message.
    """
    try:
        copy = open_copy(pid, fd)
    except OSError:
        return []
    sock = sockets.socket(fileno=copy)
    inodes: list[int] = []
    try:
        room = sockets.CMSG_SPACE(4 * _SCM_MAX_FD)
        flags = MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC
        _data, messages, _flags, _address = sock.recvmsg(_PEEK_BYTES, room, flags)
        for level, kind, payload in messages:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                for passed in memoryview(payload[: len(payload) // 4 * 4]).cast("i"):
                    inodes.append(os.fstat(passed).st_ino)
                    os.close(passed)
    except OSError:
        return inodes
    finally:
        sock.close()
    return inodes
