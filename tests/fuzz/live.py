"""The live kernel for tests/fuzz/player.py: each program in a network namespace of its own, its tasks threads with descriptors and
credentials of their own.

A process plays many programs: it goes back to a namespace with small tables, and makes the next one from there."""

import ctypes
import fcntl
import gc
import os
import pickle
import queue
import resource
import select
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from tests.fuzz.player import LOCAL, Player, Program
from tests.netns import set_link_up
from tests.parity.host_msg import recvmsg
from tests.parity.host_sys import HostSys

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_FILES, _CLONE_FS, _CLONE_NEWNET = 0x400, 0x200, 0x40000000
_SYS_SETRESUID, _SYS_SETRESGID = 117, 119
_HIGH = 900  # descriptors that are not the program's
DIAGS = ((2, 6), (10, 6), (2, 17), (10, 17))


def diag_request(family: int, protocol: int) -> bytes:
    """Return a request for all sockets of a protocol, with memory, options, and without TCP_INFO."""
    body = struct.pack("=BBBBI48x", family, protocol, 0x7D & ~0x2, 0, 0xFFF)
    return struct.pack("=IHHII", 16 + len(body), 20, 0x301, 1, 0) + body


def diag_answers(chunks: list[bytes]) -> list[bytes]:
    """Cut the answers of a dump into messages."""
    found = []
    for data in chunks:
        at = 0
        while at + 16 <= len(data):
            length, type_ = struct.unpack_from("=IH", data, at)
            if type_ == 20:
                found.append(data[at + 16 : at + length])
            at += (length + 3) & ~3
            if length < 16:
                break
    return found


class LiveSys(HostSys):
    """The raw calls of one task."""

    def recvmsg(self, fd: int, size: int, flags: int, control: int) -> tuple[int, bytes, bytes, int, bytes]:
        got = recvmsg(fd, {"room": size, "control_room": control, "name_room": 128}, flags)
        if isinstance(got, int):
            return got, b"", b"", 0, b""
        ret, data, name, _length, msg_flags, cmsgs = got
        return ret, data, name, msg_flags, cmsgs

    def ioctl(self, fd: int, request: int, value: bytes) -> tuple[int, bytes]:
        buffer = ctypes.create_string_buffer(value, 64)
        ret = _libc.ioctl(fd, ctypes.c_ulong(request), buffer)
        return (-ctypes.get_errno(), b"") if ret < 0 else (ret, buffer.raw[: len(value)])

    def setuid(self, uid: int) -> int:
        """Become a user; the saved numbers stay root's, so that the process can go on to the next program."""
        if os.geteuid() != 0 and uid != os.geteuid():
            return -1
        if _libc.syscall(_SYS_SETRESGID, uid, uid, 0) < 0 or _libc.syscall(_SYS_SETRESUID, uid, uid, 0) < 0:
            return -ctypes.get_errno()
        return 0

    def become_root(self) -> None:
        """Return to root."""
        _libc.syscall(_SYS_SETRESUID, 0, 0, 0)
        _libc.syscall(_SYS_SETRESGID, 0, 0, 0)


class Worker:
    """A task: a thread that makes the calls it is told to."""

    def __init__(self) -> None:
        self.todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        _libc.unshare(_CLONE_FILES | _CLONE_FS)
        self.done.put(None)
        while True:
            call = self.todo.get()
            if call is None:
                os.closerange(0, _HIGH)
                return
            try:
                self.done.put(call())
            except BaseException as error:
                self.done.put(error)

    def run(self, call: Callable[[], Any]) -> Any:
        """Have the task make a call, and wait for it."""
        self.todo.put(call)
        answer = self.done.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def start(self) -> None:
        """Start; the descriptors are copied before this returns."""
        self.thread.start()
        self.done.get()

    def end(self) -> None:
        """End the task and wait until its descriptors are closed."""
        self.todo.put(None)
        self.thread.join()


class TaskSys:
    """The calls of a task that is a thread of its own."""

    def __init__(self, worker: Worker, calls: LiveSys) -> None:
        self._worker = worker
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._calls, name)
        return lambda *args: self._worker.run(lambda: method(*args))


class LiveKernel:
    """One namespace."""

    def __init__(self, wire: bool = False) -> None:
        self.calls = LiveSys()
        self.tasks: dict[int, Any] = {}
        self.tun = _make_tun() if wire else -1
        self.asker = -1

    def sys(self, task: int) -> Any:
        return self.tasks[task] if task else self.calls

    def fork(self, task: int, new: int) -> None:
        worker = Worker()
        if task == 0:
            worker.start()
        else:
            self.tasks[task]._worker.run(worker.start)
        self.tasks[new] = TaskSys(worker, self.calls)

    def settle(self, ms: int) -> None:
        """Let time pass."""
        time.sleep(ms / 1000)

    def now_ns(self) -> int:
        """Return the time."""
        return time.monotonic_ns()

    def exit(self, task: int) -> None:
        self.tasks.pop(task)._worker.end()

    def end(self) -> None:
        """Close what the program left."""
        self.calls.become_root()
        for task in list(self.tasks):
            self.exit(task)
        for fd in (self.tun, self.asker):
            if fd >= 0:
                os.close(fd)
        os.closerange(3, _HIGH)

    def sysctl(self, name: str, value: str) -> int:
        try:
            fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY)
        except OSError as error:
            return -(error.errno or 0)
        try:
            return os.write(fd, value.encode())
        except OSError as error:
            return -(error.errno or 0)
        finally:
            os.close(fd)

    def proc(self, name: str) -> str:
        try:
            fd = os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY)
        except OSError:
            return ""
        data = b""
        while chunk := os.read(fd, 1 << 18):
            data += chunk
        os.close(fd)
        return data.decode("latin-1")

    def diag(self) -> dict[tuple[int, int], list[bytes]]:
        """Ask sock_diag, over one socket that stays."""
        if self.asker < 0:
            self.asker = socket.socket(16, 3, 4).detach()
        found = {}
        for key in DIAGS:
            os.write(self.asker, diag_request(*key))
            chunks: list[bytes] = []
            while not chunks or not _ends(chunks[-1]):
                chunks.append(os.read(self.asker, 1 << 17))
            found[key] = diag_answers(chunks)
        return found

    # The wire

    def inject(self, packet: bytes) -> None:
        os.write(self.tun, packet)

    def sent(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(os.read(self.tun, 1 << 17))
            except BlockingIOError:
                return found


def _write_sysctl(name: str, value: str) -> None:
    fd = os.open(f"/proc/sys/net/{name}", os.O_WRONLY)
    os.write(fd, value.encode())
    os.close(fd)


def _ends(data: bytes) -> bool:
    at = 0
    while at + 16 <= len(data):
        length, type_ = struct.unpack_from("=IH", data, at)
        if type_ in (2, 3):
            return True
        at += (length + 3) & ~3
        if length < 16:
            return True
    return False


def _make_tun() -> int:
    """Make the TUN device and give it its address; the descriptor stays out of the program's way."""
    low = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    tun = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(low)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1 | 0x1000))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for request, text in ((0x8916, LOCAL), (0x891C, "255.255.255.0")):
            address = struct.pack("=HH4s8x", 2, 0, socket.inet_aton(text))
            fcntl.ioctl(sock, request, struct.pack("16s16s8x", b"tun0", address))
    # without link-local addresses no router solicitations and reports go out at their own times
    _write_sysctl("ipv6/conf/tun0/addr_gen_mode", "1")
    set_link_up("tun0")
    return tun


class Arena:
    """A process's place for many programs."""

    def __init__(self) -> None:
        self.base = -1

    def enter(self) -> None:
        """Make the namespace with small tables that all others are made from."""
        for _ in range(2):  # the sizes are those of children
            _check(_libc.unshare(_CLONE_NEWNET))
            set_link_up("lo")
            for name in ("tcp_child_ehash_entries", "udp_child_hash_entries"):
                _write_sysctl(f"ipv4/{name}", "128")
        low = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.base = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.close(low)

    def play(self, program: Program, every: bool) -> tuple[list[Any], list[int]]:
        """Play a program in a fresh namespace: (results, the instant of each step)."""
        if self.base < 0:
            self.enter()
        _check(_libc.setns(self.base, _CLONE_NEWNET))
        _check(_libc.unshare(_CLONE_NEWNET))
        set_link_up("lo")
        _write_sysctl("ipv4/tcp_congestion_control", "reno")
        kernel = LiveKernel(any(step[1] in ("inject", "segment") for step in program))
        try:
            player = Player(kernel)
            return player.play(program, every), player.times
        finally:
            kernel.end()


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def play_live(jobs: list[Program], every: bool = False, timeout_s: float = 300.0) -> list[Any]:
    """Play programs in a child process: (results, the instant of each step) of each. Raises TimeoutError, RuntimeError."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _play_and_end(jobs, every, writer)
    os.close(writer)
    deadline = time.monotonic() + timeout_s
    data = b""
    while True:
        ready = select.select([reader], [], [], max(deadline - time.monotonic(), 0))[0]
        if not ready:
            os.kill(pid, signal.SIGKILL)
        chunk = os.read(reader, 1 << 20) if ready else b""
        if not chunk:
            break
        data += chunk
    os.close(reader)
    os.waitpid(pid, 0)
    if time.monotonic() >= deadline:
        raise TimeoutError(f"{len(jobs)} programs took more than {timeout_s:g} s")
    if not data:
        raise RuntimeError("the process that played the programs died")
    answer = pickle.loads(data)
    if isinstance(answer, str):
        raise RuntimeError(answer)
    found: list[Any] = answer
    return found


def _play_and_end(jobs: list[Program], every: bool, writer: int) -> NoReturn:
    """Play, write the answer, end the process."""
    try:
        high = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        os.closerange(3, _HIGH)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        gc.disable()
        arena = Arena()
        found: Any = []
        try:
            for number, program in enumerate(jobs):
                found.append(arena.play(program, every))
                if number % 100 == 99:
                    gc.collect()
        except BaseException:
            found = f"program {len(found)}: {jobs[len(found)]}\n{traceback.format_exc()}"
        view = memoryview(pickle.dumps(found))
        while view:
            view = view[os.write(high, view) :]
    finally:
        os._exit(0)
