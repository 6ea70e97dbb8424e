"""What the modules os, fcntl, io and builtins do with the twin's descriptors, its /proc, its /etc and the paths of its sockets.

A call on a descriptor of the twin goes to the twin, any other one to the real module. The real descriptors below 1024 are taken by
place holders, so that files which the program opens get numbers beyond those of the twin. A socket's path stands in the twin's tree,
whose directories are made as the real ones are found."""

import builtins
import fcntl
import io
import os
import posix
import resource
import stat
import sys
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

from twinsock.kernel.fs import namei
from twinsock.kernel.fs.proc.root import proc_read, proc_write
from twinsock.runtime.leaf import resolver
from twinsock.runtime.process import REAL_FD_MIN, REAL_NUMBERS, Process, process

_BY_FD = """
    close read write readv writev pread pwrite lseek ftruncate fsync fstat fchown fchmod set_blocking get_blocking
    get_inheritable set_inheritable eventfd_read eventfd_write
"""
_NO_DEVICE = ("/dev/vsock", "/dev/vhost-vsock")  # of address families which the twin lacks
_WHOLE = "pipe pipe2 eventfd memfd_create closerange splice"  # of the twin whatever the arguments are
_PATHS = "unlink remove stat lstat chmod access"
FD_MAX = 1 << 16  # the most descriptors that a process of the simulation may have
REAL: dict[str, Callable[..., Any]] = {}
_SET_REAL_LIMITS = resource.setrlimit
_GET_REAL_LIMITS = resource.getrlimit


def _real_limits() -> tuple[int, int]:
    return _GET_REAL_LIMITS(resource.RLIMIT_NOFILE)


def reserve(limit: int = REAL_FD_MIN) -> None:
    """Take every real descriptor below a limit that is free, with one that can neither be read nor written. Raises OSError."""
    _allow_real(limit)
    first = os.open("/", os.O_PATH | os.O_CLOEXEC)
    fd = first
    while fd < limit:
        fd = os.dup(first)
    os.close(fd)


def _allow_real(limit: int) -> None:
    """Have the real process allowed as many descriptors of its own beyond those. Raises OSError."""
    soft, hard = _real_limits()
    wanted = max(4 * REAL_FD_MIN, limit + 2 * REAL_FD_MIN)
    if soft < wanted and (hard == resource.RLIM_INFINITY or hard > soft):
        _SET_REAL_LIMITS(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
    if _real_limits()[0] < limit + REAL_FD_MIN:
        raise OSError(24, f"the limit of open files is {_real_limits()[0]}: `ulimit -n {wanted}` lets the simulation run")


def make_room(host: Process, limit: int) -> None:
    """Let a process of the simulation have descriptors up to a limit beyond 1024: real files get numbers above it. Raises OSError."""
    limit = min(limit, FD_MAX)
    if limit > REAL_NUMBERS.start:
        start = REAL_NUMBERS.start
        used = [int(name) for name in os.listdir("/proc/self/fd") if int(name) >= start]
        calls = {name: REAL.get(name, getattr(os, name)) for name in ("open", "dup", "close")}
        _allow_real(limit)
        first = calls["open"]("/", os.O_PATH | os.O_CLOEXEC)
        taken = [first]
        while taken[-1] < limit:
            taken.append(calls["dup"](first))
        REAL_NUMBERS.low |= {fd for fd in used if fd < limit and fd != first and _is_open(fd)}
        calls["close"](taken[-1])
        REAL_NUMBERS.start = limit
    files = host.first.files
    assert files is not None
    for fd in sorted(REAL_NUMBERS.low):
        if fd >= len(files.open_fds) or not files.open_fds[fd]:
            files.alloc_fd(fd, fd + 1, 0)


def _is_open(fd: int) -> bool:
    """Tell whether a real descriptor exists; that of the directory which was just listed does not."""
    try:
        REAL.get("fstat", os.fstat)(fd)
    except OSError:
        return False
    return True


def _install_resource() -> None:
    """Have the limit of descriptors be that of the simulated process."""

    def own(which: int, pid: int = 0) -> bool:
        return which == resource.RLIMIT_NOFILE and pid in (0, process().first.tgid)

    def get(which: int, /) -> tuple[int, int]:
        """getrlimit(2)."""
        task = process().first
        if own(which):
            return task.rlim_cur[which], task.rlim_max[which]
        found: tuple[int, int] = REAL["getrlimit"](which)
        return found

    def put(which: int, limits: Any, /) -> None:
        """setrlimit(2)."""
        if not own(which):
            REAL["setrlimit"](which, limits)
            return
        host = process()
        soft, hard = (FD_MAX if limit == resource.RLIM_INFINITY else int(limit) for limit in limits)
        if soft > hard:
            raise ValueError("current limit exceeds maximum limit")
        make_room(host, soft)
        for task in host.kernel.tasks:
            if task.tgid == host.first.tgid and task.set_rlimit(which, soft, hard) < 0:
                raise ValueError("not allowed to raise maximum limit")

    def both(pid: int, which: int, limits: Any = None, /) -> Any:
        """prlimit(2)."""
        if not own(which, pid):
            return REAL["prlimit"](pid, which) if limits is None else REAL["prlimit"](pid, which, limits)
        old = get(which)
        if limits is not None:
            put(which, limits)
        return old

    module: Any = resource
    REAL.update(getrlimit=module.getrlimit, setrlimit=module.setrlimit, prlimit=module.prlimit)
    module.getrlimit, module.setrlimit, module.prlimit = get, put, both


def install() -> None:
    """Replace the calls."""
    reserve()
    _install_resource()
    Process.mirror_path = mirror
    for name in _BY_FD.split():
        _replace_by_fd(name)
    for name in _PATHS.split():
        _replace_by_path(name)
    for name in _WHOLE.split():
        _put(name, _of_twin(name))
    ours: dict[str, Callable[..., Any]] = {
        "dup": lambda fd, /: process().os.dup(fd) if process().owns(fd) else REAL["dup"](_checked(process(), fd)),
        "dup2": lambda fd, fd2, inheritable=True: _dup2(process(), fd, fd2, inheritable),
        "sendfile": lambda out_fd, in_fd, offset, count, *rest: _sendfile(process(), out_fd, in_fd, offset, count),
        "urandom": lambda size, /: process().random_bytes(size),
        "getrandom": lambda size, flags=0: process().random_bytes(size),
        "getpid": lambda: process().first.tgid,
        "getppid": lambda: 1,
        "kill": lambda pid, signo, /: _kill(process(), pid, signo),
        "uname": lambda: _uname(process()),
        "fdopen": fdopen,
        "isatty": lambda fd, /: False if process().owns(fd) else REAL["isatty"](fd),
    }
    for name, call in ours.items():
        _put(name, call)
    for module in (io, builtins):
        module.open = _opener(io.open)  # type: ignore[attr-defined]
    _install_fcntl()


def fdopen(fd: int, *args: Any, **kw: Any) -> Any:
    """Open a descriptor, os.fdopen()."""
    if not isinstance(fd, int):
        raise TypeError(f"invalid fd type ({type(fd)}, expected integer)")
    return builtins.open(fd, *args, **kw)


def _put(name: str, call: Callable[..., Any]) -> None:
    """Replace a function of os and posix."""
    if not hasattr(os, name):
        return
    REAL[name] = getattr(os, name)
    if isinstance(call, FunctionType):
        call.__name__ = call.__qualname__ = name
    for module in (os, posix):
        if hasattr(module, name):
            setattr(module, name, call)


def _checked(host: Process, fd: int) -> int:
    """Refuse the number of a place holder. Raises OSError."""
    if fd > 2 and fd not in REAL_NUMBERS:
        host.need(fd)
    return fd


def _of_twin(name: str) -> Callable[..., Any]:
    """Make the function that calls the twin's whatever its arguments are."""
    return lambda *args, **kw: getattr(process().os, name)(*args, **kw)


def _replace_by_fd(name: str) -> None:
    real = getattr(os, name)

    def call(fd: Any, *args: Any, **kw: Any) -> Any:
        host = process()
        if host.owns(fd):
            return getattr(host.os, name)(fd, *args, **kw)
        if isinstance(fd, int) and fd > 2 and fd not in REAL_NUMBERS:
            host.need(fd)
        return real(fd, *args, **kw)

    _put(name, call)


def _dup2(host: Process, fd: int, fd2: int, inheritable: bool) -> int:
    if host.owns(fd):
        if fd2 < 3:
            raise PermissionError(1, f"os.dup2(): {fd2} is the real standard stream, it cannot become a descriptor of the twin")
        return int(host.os.dup2(fd, fd2, inheritable))
    return int(REAL["dup2"](_checked(host, fd), fd2, inheritable))


def _sendfile(host: Process, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """sendfile(2); from a real file to the twin by reading."""
    if host.owns(in_fd):
        return int(host.os.sendfile(out_fd, in_fd, offset, count))
    if not host.owns(out_fd):
        return int(REAL["sendfile"](out_fd, in_fd, offset, count))
    data = os.pread(in_fd, min(count, 1 << 18), os.lseek(in_fd, 0, 1) if offset is None else offset)
    sent = host.os.write(out_fd, data) if data else 0
    if offset is None:
        os.lseek(in_fd, sent, 1)
    return int(sent)


def _kill(host: Process, pid: int, signo: int) -> None:
    if pid in (0, host.first.tgid):
        if signo:
            host.first.send_signal(int(signo))
            host.check(0)
        return
    host.os.kill(pid, int(signo))


def _uname(host: Process) -> Any:
    found = REAL["uname"]()
    return type(found)((found.sysname, host.hostname, found.release, found.version, found.machine))


# Paths


def mirror(host: Process, path: bytes) -> None:
    """Make the directories of a socket's path in the twin's tree where they really exist; the working directory likewise."""
    cwd = os.fsencode(os.getcwd())
    _directories(host, cwd)
    namei.sys_chdir(host.first, cwd)
    for task in host.kernel.tasks:
        if task.tgid == host.first.tgid:
            task.cwd = host.first.cwd
    _directories(host, os.path.dirname(os.path.join(cwd, path)))


def _directories(host: Process, path: bytes) -> None:
    full = b""
    for part in os.path.normpath(path).split(b"/"):
        if not part:
            continue
        full += b"/" + part
        if namei.sys_stat(host.first, full)[0] < 0 and REAL["stat"](full):
            namei.sys_mkdir(host.first, full, 0o777)


def _socket_at(host: Process, path: Any) -> bytes | None:
    """Return the absolute path if a socket of the twin is there."""
    if isinstance(path, int):
        return None
    try:
        raw = os.path.join(os.fsencode(os.getcwd()), os.fsencode(path))
    except TypeError:
        return None
    if b"\0" in raw or host.kernel.rootfs is None:
        return None
    err, inode = namei.sys_lstat(host.first, raw)
    return raw if err == 0 and inode is not None and inode.is_sock() else None


def _replace_by_path(name: str) -> None:
    real = getattr(os, name)

    def call(path: Any, *args: Any, **kw: Any) -> Any:
        host = process()
        if name == "stat" and host.owns(path):
            return _stat_result(host.os.fstat(path))
        raw = None if kw.get("dir_fd") is not None else _socket_at(host, path)
        if raw is None:
            return real(path, *args, **kw)
        result = getattr(host.os, name)(raw, *args)
        return _stat_result(result) if name in ("stat", "lstat") else result

    _put(name, call)


def _stat_result(found: Any) -> os.stat_result:
    mode = found.st_mode if stat.S_IFMT(found.st_mode) else found.st_mode | stat.S_IFSOCK
    return os.stat_result((mode, found.st_ino, 0, found.st_nlink, found.st_uid, found.st_gid, found.st_size, 0, 0, 0))


# Files


class TwinFile(io.RawIOBase):
    """A descriptor of the twin as a raw file: what open(fd) and os.fdopen(fd) stand on."""

    def __init__(self, host: Process, fd: int, mode: str, closefd: bool) -> None:
        super().__init__()
        self._host, self._fd, self._closefd = host, fd, closefd
        self.mode = mode
        self.name = fd

    def fileno(self) -> int:
        """Return the descriptor."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return self._fd

    def readable(self) -> bool:
        """Tell whether the mode allows reading."""
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        """Tell whether the mode allows writing."""
        return "r" not in self.mode or "+" in self.mode

    def readinto(self, buffer: Any) -> int | None:
        """Read once; None if nothing is there and the descriptor does not block."""
        view = memoryview(buffer).cast("B")
        try:
            data = self._host.os.read(self._fd, len(view))
        except BlockingIOError:
            return None
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int | None:
        """Write once."""
        try:
            return int(self._host.os.write(self._fd, data))
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close, the descriptor too unless that was not wanted."""
        if not self.closed:
            super().close()
            if self._closefd:
                self._host.os.close(self._fd)


def _opener(real: Callable[..., Any]) -> Callable[..., Any]:
    """Make the function open()."""

    def open(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kw: Any) -> Any:
        """Open a file, a descriptor of the twin, or what names the simulated host."""
        host = process()
        if isinstance(file, int) and not isinstance(file, bool):
            if host.owns(file):
                return _open_fd(host, file, mode, buffering, *args, **kw)
            _checked(host, file)
        elif file in _NO_DEVICE:
            raise FileNotFoundError(2, os.strerror(2), file)
        elif isinstance(file, str) and file.startswith(("/proc/", "/etc/host")):
            data = _text_of(host, file, mode)
            if data is not None:
                raw: Any = data
                return raw if "b" in mode else io.TextIOWrapper(raw, *args, **kw)
        return real(file, mode, buffering, *args, **kw)

    return open


def _open_fd(host: Process, fd: int, mode: str, buffering: int, *args: Any, **kw: Any) -> Any:
    closefd = kw.pop("closefd", True)
    kind = mode.replace("b", "").replace("t", "")
    raw = TwinFile(host, fd, kind, closefd)
    if buffering == 0:
        if "b" not in mode:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 1) else buffering
    buffered: Any
    if "+" in kind:
        buffered = io.BufferedRWPair(raw, raw, size)
    else:
        buffered = io.BufferedReader(raw, size) if "r" in kind else io.BufferedWriter(raw, size)
    if "b" in mode:
        return buffered
    text = io.TextIOWrapper(buffered, *args, **kw)
    if buffering == 1:
        text.reconfigure(line_buffering=True)
    return text


class _SysctlFile(io.BytesIO):
    """A file of /proc/sys that is written when it is closed."""

    def __init__(self, host: Process, path: str) -> None:
        super().__init__()
        self._host, self._path = host, path

    def close(self) -> None:
        """Hand over what was written. Raises OSError."""
        if not self.closed:
            data = self.getvalue()
            super().close()
            if data:
                self._host.check(min(proc_write(self._host.task, self._path, data), 0))


def _text_of(host: Process, path: str, mode: str) -> io.BytesIO | None:
    """Return what a file that names the host holds; None where the real one does."""
    if path in ("/etc/hosts", "/etc/hostname"):
        if "r" not in mode or "+" in mode:
            return None
        return io.BytesIO((resolver.hosts_text() if path == "/etc/hosts" else host.hostname + "\n").encode())
    for own in ("/proc/self/", "/proc/thread-self/", f"/proc/{host.first.tgid}/"):
        if path.startswith(own + "net/"):
            path = "/proc/" + path.removeprefix(own)
    if not path.startswith(("/proc/net/", "/proc/sys/net/")):
        return None
    if "r" in mode and "+" not in mode:
        err, text = proc_read(host.task, path)
        if err < 0:
            raise OSError(-err, os.strerror(-err), path)
        return io.BytesIO(text)
    return _SysctlFile(host, path)


def _install_fcntl() -> None:
    real = SimpleNamespace(fcntl=fcntl.fcntl, ioctl=fcntl.ioctl)

    def number(fd: Any) -> int:
        return fd if isinstance(fd, int) else int(fd.fileno())

    def twin_fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
        host, fd = process(), number(fd)
        return host.fcntl.fcntl(fd, cmd, arg) if host.owns(fd) else real.fcntl(_checked(host, fd), cmd, arg)

    def twin_ioctl(fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True, /) -> Any:
        host, fd = process(), number(fd)
        if host.owns(fd):
            return host.fcntl.ioctl(fd, request, arg, mutate_flag)
        return real.ioctl(_checked(host, fd), request, arg, mutate_flag)

    module: Any = sys.modules["fcntl"]
    module.fcntl, module.ioctl = twin_fcntl, twin_ioctl
