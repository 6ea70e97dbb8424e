"""What a socket of another process is set to: its descriptor is copied, asked with getsockopt(2), and closed at once."""

from __future__ import annotations

import _socket

from twinsock.host.pidfd import open_copy

_SO_TYPE, _SO_PROTOCOL, _SO_DOMAIN, _SO_REUSEADDR, _SO_REUSEPORT = 3, 38, 39, 2, 15
_IPPROTO_IPV6, _IPV6_V6ONLY, _AF_INET6 = 41, 26, 10


class SocketSettings:
    """Type, protocol and the flags that decide about bind(2)."""

    def __init__(self, fd: int) -> None:
        """Ask a descriptor. Raises OSError if it is no socket."""
        sock = _socket.socket(fileno=fd)
        try:
            level = _socket.SOL_SOCKET
            self.family = sock.getsockopt(level, _SO_DOMAIN)
            self.type = sock.getsockopt(level, _SO_TYPE)
            self.protocol = sock.getsockopt(level, _SO_PROTOCOL)
            self.reuseaddr = bool(sock.getsockopt(level, _SO_REUSEADDR))
            self.reuseport = bool(sock.getsockopt(level, _SO_REUSEPORT))
            self.v6only = sock.getsockopt(_IPPROTO_IPV6, _IPV6_V6ONLY) if self.family == _AF_INET6 else -1
            self.local = sock.getsockname()
        finally:
            sock.detach()


def settings_of(pid: int, fd: int) -> SocketSettings:
    """Look at a descriptor of a process. Raises OSError if it cannot be copied or is no socket."""
    from os import close

    copy = open_copy(pid, fd)
    try:
        return SocketSettings(copy)
    finally:
        close(copy)
