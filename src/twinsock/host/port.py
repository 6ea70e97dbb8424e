"""HostPort: the live kernel behind the questions of `KernelPort`."""

from __future__ import annotations

from twinsock.host.netlink import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class HostPort:
    """The Linux that this process runs on. One object serves one thread."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, int], NetlinkSocket] = {}  # (namespace, protocol) -> a socket with nothing unread

    def netlink(self, protocol: int, request: bytes, netns: int = 0) -> Iterator[memoryview]:
        """Send one netlink request and give the datagrams that answer it. Raises OSError and DumpInterrupted."""
        key = (netns, protocol)
        sock = self._idle.pop(key, None) or self._open(netns, protocol)
        try:
            yield from sock.ask(request)
        finally:
            if sock.clean and key not in self._idle:
                self._idle[key] = sock
            else:
                sock.close()

    def read(self, path: str, netns: int = 0) -> bytes:
        """Read a file of /proc or /sys as a task in that namespace sees it. Raises OSError."""
        from twinsock.host.procfs import read_file

        return read_file(path)

    def now_ns(self) -> int:
        """Give the wall clock in nanoseconds."""
        from time import time_ns

        return time_ns()

    def close(self) -> None:
        """Close every socket."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _open(self, netns: int, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(protocol)
