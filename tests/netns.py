"""Fresh network namespaces for tests: run a function inside one and get its result back.

    def program() -> int:
        ...                                     # `lo` is up, nothing else exists
        return err

    assert run_in_netns(program) == errno.EADDRINUSE

The function runs in a forked child of its own session and dies with everything it started. Where several processes
have to share one namespace, `fresh_netns()` gives the namespace itself:

    with fresh_netns() as ns:
        ns.run(start_and_measure)               # a child that has joined it
        subprocess.Popen(..., preexec_fn=ns.enter)

Root unshares the network alone. Others get a user namespace around it where the kernel permits that;
`netns_missing()` says in one line why neither works.
"""

import contextlib
import ctypes
import fcntl
import functools
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("<cQ")


class ChildFailed(AssertionError):
    """The function raised: the message is the child's traceback, `kind` the exception's class name."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Netns:
    """An open network namespace, and the user namespace that owns it when that is not ours."""

    def __init__(self, net_fd: int, user_fd: int | None) -> None:
        self.net_fd = net_fd
        self.user_fd = user_fd

    @property
    def inode(self) -> int:
        """The namespace's number, as in `net:[4026531840]`."""
        return os.fstat(self.net_fd).st_ino

    def enter(self) -> None:
        """Move the calling thread into the namespace: setns(2)."""
        if self.user_fd is not None:
            _check(_libc.setns(self.user_fd, CLONE_NEWUSER), "setns(user)")
        _check(_libc.setns(self.net_fd, CLONE_NEWNET), "setns(net)")

    def run(self, func: Callable[..., T], *args: Any, timeout: float = 20.0) -> T:
        """Run `func(*args)` in a child that has joined the namespace and return its result."""
        return _call_in_child(self.enter, func, args, timeout)


def run_in_netns(func: Callable[..., T], *args: Any, timeout: float = 20.0, setup: Callable[[], object] | None = None) -> T:
    """Run `func(*args)` in a child with a fresh network namespace, `lo` up, and return its result.

    `setup` runs first, in the namespace. The result travels by pickle. An exception becomes `ChildFailed` with the
    child's traceback, `pytest.skip()` stays a skip, and more than `timeout` seconds is a `TimeoutError`.
    """

    def enter() -> None:
        unshare_net()
        set_link_up("lo")
        if setup is not None:
            setup()

    return _call_in_child(enter, func, args, timeout)


@contextlib.contextmanager
def fresh_netns() -> Iterator[Netns]:
    """Yield a fresh network namespace with `lo` up, which lives as long as the block or whoever joined it."""
    ours, theirs = socket.socketpair()
    fds: list[int] = []
    try:
        with_user = _call_in_child(functools.partial(_make_netns, theirs), _has_own_user_ns, (os.getpid(),), 20.0)
        fds = list(socket.recv_fds(ours, 1, 2)[1])
        yield Netns(fds[0], fds[1] if with_user else None)
    finally:
        ours.close()
        theirs.close()
        for fd in fds:
            os.close(fd)


@functools.cache
def netns_missing(root_needed: bool = False) -> str:
    """Say why a fresh network namespace cannot be had here, or return "" when it can."""
    if root_needed and os.geteuid() != 0:
        return "needs root"
    try:
        user_ns = _call_in_child(unshare_net, _has_own_user_ns, (os.getpid(),), 20.0)
    except ChildFailed as exc:
        return "no network namespace to be had: " + str(exc).strip().rsplit("\n", 1)[-1]
    if root_needed and user_ns:
        return "root here may not unshare(CLONE_NEWNET): CAP_SYS_ADMIN is missing"
    return ""


def unshare_net() -> None:
    """Give the calling process a fresh network namespace, in a fresh user namespace when it may not do it otherwise."""
    if _libc.unshare(CLONE_NEWNET) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET), "unshare(CLONE_NEWUSER | CLONE_NEWNET)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def run_promptly() -> None:
    """Let this process and what it starts run before everything else on the machine, where that is permitted.

    For programs whose instants are compared: they shall not show what else the machine does.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def set_link_up(name: str) -> None:
    """Set IFF_UP on an interface of the calling process's namespace: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", name.encode(), 0)
        flags = struct.unpack_from("H", fcntl.ioctl(sock, SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | IFF_UP))


def _make_netns(channel: socket.socket) -> None:
    """Unshare, raise `lo` and send descriptors of both namespaces."""
    unshare_net()
    set_link_up("lo")
    fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "user")]
    socket.send_fds(channel, [b"n"], fds)


def _has_own_user_ns(other_pid: int) -> bool:
    # In a user namespace without rights over the other process its link is unreadable, which is an answer too.
    try:
        theirs = os.readlink(f"/proc/{other_pid}/ns/user")
    except PermissionError:
        return True
    return os.readlink("/proc/self/ns/user") != theirs


def _call_in_child(enter: Callable[[], None], func: Callable[..., T], args: tuple[Any, ...], timeout: float) -> T:
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn about fork beside pytest-xdist's thread
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(writer, enter, func, args)
    os.close(writer)
    pidfd = os.pidfd_open(pid)
    status = 0
    try:
        tag, body = _read_answer(reader, pidfd, timeout)
    finally:
        _kill_descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what was left in the child's session, and the child when it is still there
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it had not come as far as setsid()
        status = os.waitpid(pid, 0)[1]
        os.close(pidfd)
        os.close(reader)
    return _unpack(tag, body, func, timeout, status)


def _unpack(tag: bytes, body: bytes, func: Callable[..., T], timeout: float, status: int) -> T:
    name = getattr(func, "__name__", repr(func))
    if tag == b"r":
        result: T = pickle.loads(body)
        return result
    if tag == b"s":
        import pytest

        pytest.skip(body.decode())
    if tag == b"x":
        kind, _, text = body.decode().partition("\0")
        raise ChildFailed(kind, f"{name}() raised in its network namespace:\n{text}")
    if tag == b"t":
        raise TimeoutError(f"{name}() did not end within {timeout:g} s in its network namespace")
    code = os.waitstatus_to_exitcode(status)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise ChildFailed("Died", f"{name}() died in its network namespace without an answer: {how}")


def _read_answer(reader: int, pidfd: int, timeout: float) -> tuple[bytes, bytes]:
    """Wait for one whole answer, the child's death (tag "d") or the timeout (tag "t")."""
    deadline = time.monotonic() + timeout
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    poller.register(pidfd, select.POLLIN)
    data = bytearray()
    while True:
        left = deadline - time.monotonic()
        events = poller.poll(max(left, 0) * 1000)
        if not events:
            return b"t", b""
        ready = {fd for fd, _ in events}
        if reader in ready:
            chunk = os.read(reader, 1 << 20)
            data += chunk
            if len(data) >= _HEADER.size:
                tag, length = _HEADER.unpack_from(data)
                if len(data) >= _HEADER.size + length:
                    return tag, bytes(data[_HEADER.size :])
            if chunk:
                continue
            poller.unregister(reader)
            ready.discard(reader)
        if pidfd in ready and reader not in ready:
            return b"d", b""


def _child(writer: int, enter: Callable[[], None], func: Callable[..., Any], args: tuple[Any, ...]) -> NoReturn:
    """Run the function, send the answer, take every descendant along: never returns into the test runner."""
    try:
        os.setsid()
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            enter()
            _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            tag, body = b"r", pickle.dumps(func(*args))
        except BaseException as exc:
            kind = type(exc).__name__
            if kind == "Skipped":
                tag, body = b"s", str(exc).encode()
            else:
                tag, body = b"x", f"{kind}\0{traceback.format_exc()}".encode(errors="replace")
        _kill_descendants(os.getpid())
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)  # a subreaper's orphans are its children: whoever gets the answer finds them gone
        sys.stdout.flush()
        sys.stderr.flush()
        view = memoryview(_HEADER.pack(tag, len(body)) + body)
        while view:
            view = view[os.write(writer, view) :]
    finally:
        os._exit(0)


def _kill_descendants(root: int) -> None:
    """Kill every process below `root`; it is a subreaper, so that nothing below it can escape by a double fork."""
    seen: set[int] = set()
    while True:
        found = [pid for pid in _descendants(root) if pid not in seen]
        if not found:
            return
        for pid in found:
            seen.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _descendants(root: int) -> list[int]:
    pids: list[int] = []
    todo = [root]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for tid in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    below = Path(f"/proc/{pid}/task/{tid}/children").read_text().split()
                    todo += map(int, below)
                    pids += map(int, below)
    return pids


def _check(result: int, what: str) -> None:
    if result != 0:
        err = ctypes.get_errno()
        raise OSError(err, f"{what}: {os.strerror(err)}")
