"""Sockets that no table lists: never bound, or dead since the other side reset them. Only a copy of the descriptor tells.

pidfd_getfd(2) needs ptrace access to the holder. A copy is asked a few options and closed at once: such a socket has no
connection that the copy could keep open. Linux: a dead TCP socket keeps the port that getsockname(2) shows.
"""

from __future__ import annotations

import _socket as sockets
import os

from twinsock.host.pidfd import PidFd
from twinsock.inspect.owners import Unlisted
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.socket import AF_INET, AF_INET6, SO_NETNS_COOKIE, SOL_SOCKET
from twinsock.uapi.tcp import TCP_CLOSE, TCP_INFO
from twinsock.wire.netlink import U64


def describe(holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
    """Describe each socket, given (tid, fd, inode); those that may not be copied, or are another file by now, are left out."""
    found: dict[int, Unlisted] = {}
    handles: dict[int, PidFd | None] = {}
    for tid, fd, inode in holders:
        if tid not in handles:
            handles[tid] = _open(tid)
        handle = handles[tid]
        if handle is None:
            continue
        copy = handle.getfd(fd)
        if copy < 0:
            continue
        try:
            if os.fstat(copy).st_ino == inode:
                found[inode] = _ask(copy, inode)
                found[inode].pid, found[inode].fd = tid, fd
        except OSError:
            found.pop(inode, None)
        finally:
            os.close(copy)
    for handle in handles.values():
        if handle is not None:
            handle.close()
    return found


def _open(tid: int) -> PidFd | None:
    try:
        return PidFd(tid)
    except OSError:
        return None


def _ask(fd: int, inode: int) -> Unlisted:
    """Ask a copy. Raises OSError."""
    sock = sockets.socket(fileno=fd)
    try:
        family = sock.getsockopt(SOL_SOCKET, sockets.SO_DOMAIN)
        kind = sock.getsockopt(SOL_SOCKET, sockets.SO_TYPE)
        socket = Unlisted(inode, family, kind, sock.getsockopt(SOL_SOCKET, sockets.SO_PROTOCOL))
        if family in (AF_INET, AF_INET6):
            socket.local_port = int(sock.getsockname()[1])
            if socket.protocol == IPPROTO_TCP:
                socket.is_closed = sock.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] == TCP_CLOSE
        try:
            socket.netns_cookie = int(U64.unpack(sock.getsockopt(SOL_SOCKET, SO_NETNS_COOKIE, 8))[0])
        except OSError:
            socket.netns_cookie = 0
        return socket
    finally:
        sock.detach()
