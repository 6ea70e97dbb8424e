"""What a script needs of the kernel it runs on: time, a device, system calls, a second task, settings."""

from collections.abc import Callable
from typing import Protocol


class Received(Protocol):
    """What recvmsg(2) gave: the result or -errno, data, control messages, msg_flags."""

    ret: int
    data: bytes
    control: bytes
    flags: int


class Calls(Protocol):
    """System calls: the result or -errno. `None` for bytes is a null pointer."""

    def socket(self, family: int, type_: int, protocol: int) -> int:
        """socket(2)."""

    def bind(self, fd: int, addr: bytes) -> int:
        """bind(2)."""

    def listen(self, fd: int, backlog: int) -> int:
        """listen(2)."""

    def accept(self, fd: int) -> int:
        """accept(2)."""

    def connect(self, fd: int, addr: bytes) -> int:
        """connect(2)."""

    def shutdown(self, fd: int, how: int) -> int:
        """shutdown(2)."""

    def close(self, fd: int) -> int:
        """close(2)."""

    def read(self, fd: int, size: int, null: bool = False) -> tuple[int, bytes]:
        """read(2); `null` gives a null pointer for the buffer."""

    def readv(self, fd: int, sizes: list[int]) -> tuple[int, bytes]:
        """readv(2)."""

    def write(self, fd: int, data: bytes | None, size: int) -> int:
        """write(2)."""

    def writev(self, fd: int, data: list[bytes]) -> int:
        """writev(2)."""

    def recvfrom(self, fd: int, size: int, flags: int, null: bool = False) -> tuple[int, bytes]:
        """recvfrom(2)."""

    def sendto(self, fd: int, data: bytes | None, size: int, flags: int, addr: bytes | None) -> int:
        """sendto(2)."""

    def recvmsg(self, fd: int, sizes: list[int], controllen: int, flags: int) -> Received:
        """recvmsg(2)."""

    def sendmsg(self, fd: int, data: list[bytes], control: bytes, flags: int, addr: bytes | None) -> int:
        """sendmsg(2)."""

    def setsockopt(self, fd: int, level: int, name: int, value: bytes | None, size: int) -> int:
        """setsockopt(2)."""

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> tuple[int, bytes]:
        """getsockopt(2)."""

    def poll(self, fds: list[tuple[int, int]], timeout_ms: int) -> tuple[int, list[int]]:
        """poll(2)."""

    def epoll_create(self, size: int) -> int:
        """epoll_create(2)."""

    def epoll_ctl(self, epfd: int, op: int, fd: int, events: int, data: int) -> int:
        """epoll_ctl(2)."""

    def epoll_wait(self, epfd: int, room: int, timeout_ms: int) -> tuple[int, list[tuple[int, int]]]:
        """epoll_wait(2): (result, the (events, data) of each)."""

    def fcntl(self, fd: int, cmd: int, arg: int) -> int:
        """fcntl(2)."""

    def ioctl(self, fd: int, cmd: int) -> tuple[int, int]:
        """ioctl(2) that gives an int."""

    def pipe(self) -> tuple[int, int, int]:
        """pipe(2): (0 or -errno, both ends)."""

    def splice(self, fd_in: int, fd_out: int, size: int, flags: int) -> int:
        """splice(2) without offsets."""

    def sendfile(self, fd_out: int, fd_in: int, offset: int | None, size: int) -> int:
        """sendfile(2)."""

    def open(self, path: bytes, flags: int) -> int:
        """open(2)."""


class Pending(Protocol):
    """A blocking call under way."""

    def done(self) -> bool:
        """Tell whether it has returned."""

    def wait(self, deadline_ns: int) -> bool:
        """Wait until it returns, at most until then; tell whether it did."""


class Machine(Protocol):
    """A kernel with one TUN device. Times are nanoseconds of its own clock."""

    @property
    def sys(self) -> Calls:
        """The system calls."""

    def run(self, program: Callable[[], None]) -> None:
        """Run a program, with what the machine needs around it; raise what it raises."""

    def align(self) -> None:
        """Wait for the moment at which scripts start: a quarter of a millisecond after a tick."""

    def dropped(self) -> list[str]:
        """Return a line for each packet that was dropped and why, the newest last; none where the kernel does not tell."""

    def now_ns(self) -> int:
        """Return the time."""

    def realtime_ns(self) -> int:
        """Return what to add for CLOCK_REALTIME."""

    def sleep_until(self, when_ns: int) -> None:
        """Let time pass."""

    def inject(self, data: bytes, gso_size: int) -> None:
        """Let a packet come in; it stands for segments of `gso_size` bytes unless that is 0."""

    def next_packet(self, deadline_ns: int) -> tuple[int, bytes] | None:
        """Wait for a packet that goes out: (time, bytes), or None when none came in time."""

    def start(self, call: Callable[[], None]) -> Pending:
        """Make a call in the second task and return when that sleeps or is done."""

    def sysctl_read(self, path: str) -> str | int:
        """Read /proc/sys/<path>: its text, or -errno."""

    def sysctl_write(self, path: str, text: str) -> int:
        """Write /proc/sys/<path>: 0 or -errno."""

    def read_file(self, path: str) -> str | int:
        """Read a file such as /proc/net/tcp: its text, or -errno."""

    def make_file(self, path: str, size: int) -> int:
        """Make a file of zeros, or remove it (size -1): 0 or -errno."""

    def counters(self) -> dict[str, int]:
        """Return the counters that nstat(8) shows, by their names there."""

    def tool(self, argv: list[str]) -> int:
        """Do what `ip`, `tc` or `ethtool` with these arguments does: its exit code."""
