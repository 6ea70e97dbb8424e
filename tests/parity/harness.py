"""Runs one plain program on the live kernel and on the twin and compares what it returns.

    def program(env):
        a, b = env.socket.socketpair()
        a.send(b"x")
        return b.recv(10)

    def test_bytes_cross_a_socketpair():
        assert_parity(program)

`env.socket`, `env.os`, `env.select`, `env.fcntl`, `env.time`, `env.signal` are the modules: real ones on the host, where the program
runs in a forked child with a fresh network namespace, and the twin's. Further:

    env.kind            "host" or "twin"
    env.sys             raw system calls that return -errno (tests/parity/host_sys.py)
    env.spawn(f, *args) a thread; its `join()` returns what f returned
    env.fork(f, *args)  a child process with copies of the descriptors; on the twin f sees the same Python objects
    env.yield_now()     let every other task run until it sleeps
    env.setuid(uid)     become that user (root, without capabilities afterwards)
    env.sysctl(path[, value])   read or write /proc/sys/net/<path>; an error is returned as -errno
    env.proc(path)      the text of /proc/net/<path>
    env.fdinfo(fd), env.fdlink(fd)   what /proc/self/fdinfo/<fd> and /proc/self/fd/<fd> say
    attempt(f, *args)   the result, or the name of the errno

What differs from run to run is normalised: ephemeral ports become "port#1", "port#2", ... in order of appearance. Inodes, pids and
times are the program's own business."""

import ctypes
import errno
import os
import pickle
import resource
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tests.asleep import wait_for_others
from tests.netns import netns_missing, run_in_netns, run_promptly
from tests.parity.host_sys import HostSys
from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.kernel.fs.proc.fd import proc_fd_link, seq_show
from twinsock.kernel.net.core.net_namespace import copy_net_ns
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.facade_sys import TwinSys

EPHEMERAL = range(32768, 61000)
YIELD_SECONDS = 0.03


class HostHandle:
    """A thread of the program."""

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._box: list[Any] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(func, args), daemon=True)
        self._thread.start()

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self._box.append(func(*args))
        except BaseException as error:
            self._error = error

    def join(self) -> Any:
        self._thread.join(10)
        if self._error is not None:
            raise self._error
        return self._box[0]


class HostChild:
    """A forked child of the program."""

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reader)
            try:
                answer = (True, func(*args))
            except BaseException as error:
                answer = (False, repr(error))
            os.write(writer, pickle.dumps(answer))
            os._exit(0)
        os.close(writer)
        self._reader = reader

    def join(self) -> Any:
        data = b""
        while chunk := os.read(self._reader, 65536):
            data += chunk
        os.close(self._reader)
        os.waitpid(self.pid, 0)
        ok, value = pickle.loads(data)
        if not ok:
            raise RuntimeError(value)
        return value


class HostEnv:
    """The live kernel as a program sees it."""

    kind = "host"

    def __init__(self) -> None:
        import fcntl
        import select
        import signal
        import socket

        self.socket, self.os, self.select, self.fcntl, self.time, self.signal = socket, os, select, fcntl, time, signal
        self.sys = HostSys()
        run_promptly()

    def spawn(self, func: Callable[..., Any], *args: Any) -> HostHandle:
        return HostHandle(func, args)

    def fork(self, func: Callable[..., Any], *args: Any) -> HostChild:
        return HostChild(func, args)

    def yield_now(self) -> None:
        wait_for_others(YIELD_SECONDS)

    def setuid(self, uid: int, gid: int | None = None) -> None:
        gid = uid if gid is None else gid
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    def sysctl(self, path: str, value: str | None = None) -> str | int:
        try:
            with open(f"/proc/sys/net/{path}", "r" if value is None else "w") as file:
                if value is None:
                    return file.read()
                return file.write(value)
        except OSError as error:
            return -(error.errno or 0)

    def fdinfo(self, fd: int) -> str:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return file.read()

    def fdlink(self, fd: int) -> str:
        return os.readlink(f"/proc/self/fd/{fd}")

    def proc(self, path: str) -> str:
        with open(f"/proc/net/{path}") as file:
            return file.read()


class TestedTwinEnv(TwinEnv):
    """The twin with what the harness adds."""

    def __init__(self, seed: int) -> None:
        kernel = start_kernel(seed)
        net = copy_net_ns(kernel.tasks[0])
        net_init_loopback(net)
        super().__init__(kernel, net)
        self.sys = TwinSys(self)

    def sysctl(self, path: str, value: str | None = None) -> str | int:
        from twinsock.kernel.net.sysctl_net import sysctl_read, sysctl_write

        if value is None:
            err, text = sysctl_read(self.task, f"net/{path}")
            return err if err < 0 else text
        err = sysctl_write(self.task, f"net/{path}", value.encode())
        return err if err < 0 else len(value)

    def fdinfo(self, fd: int) -> str:
        return seq_show(self.task, fd)

    def fdlink(self, fd: int) -> str:
        return proc_fd_link(self.task, fd)

    def proc(self, path: str) -> str:
        from twinsock.kernel.fs.proc.net import read_proc_net  # type: ignore[import-not-found,unused-ignore]

        return str(read_proc_net(self.task, path))


def attempt(func: Callable[..., Any], *args: Any) -> Any:
    """Return the result, or the errno's name when it fails."""
    try:
        return func(*args)
    except TimeoutError as error:
        return errno.errorcode[error.errno] if error.errno else "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))


def normalise(value: Any, ports: dict[int, str] | None = None) -> Any:
    """Replace ephemeral ports in address tuples by names in order of appearance; make tuples of lists."""
    names = {} if ports is None else ports
    if isinstance(value, tuple) and len(value) in (2, 4) and isinstance(value[0], str) and isinstance(value[1], int):
        if value[1] in EPHEMERAL:
            return (value[0], names.setdefault(value[1], f"port#{len(names) + 1}"), *value[2:])
        return value
    if isinstance(value, list | tuple):
        return tuple(normalise(part, names) for part in value)
    if isinstance(value, dict):
        return {key: normalise(part, names) for key, part in value.items()}
    return value


def on_host(program: Callable[..., Any], *args: Any) -> Any:
    """Run `program(env, *args)` on the live kernel in a fresh network namespace."""
    reason = netns_missing(root_needed=True)
    if reason:
        pytest.skip(reason)

    return run_in_netns(_in_clean_process, program, args)


def _in_clean_process(program: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Fork once more, so that the program's first descriptor is 3, as on the twin; its answer travels over a high one."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = 1000
        os.dup2(writer, answer)
        os.closerange(3, answer)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # stay dumpable after setuid, so that /proc/self stays readable
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            data = pickle.dumps((True, program(HostEnv(), *args)))
        except BaseException:
            data = pickle.dumps((False, traceback.format_exc()))
        view = memoryview(data)
        while view:
            view = view[os.write(answer, view) :]
        os._exit(0)
    os.close(writer)
    data = b""
    while chunk := os.read(reader, 1 << 20):
        data += chunk
    os.waitpid(pid, 0)
    if not data:
        raise AssertionError("the program died without an answer")
    ok, value = pickle.loads(data)
    if not ok:
        raise AssertionError(f"the program raised on the host:\n{value}")
    return value


def on_twin(program: Callable[..., Any], *args: Any, seed: int = 1) -> Any:
    """Run `program(env, *args)` on a freshly booted twin."""
    return TestedTwinEnv(seed).run(lambda env: program(env, *args))


def assert_parity(program: Callable[..., Any], *args: Any) -> Any:
    """Fail unless both kernels give the same results; return them."""
    host = normalise(on_host(program, *args))
    twin = normalise(on_twin(program, *args))
    differences = list(diff("", host, twin))
    assert not differences, "host and twin differ:\n" + "\n".join(differences[:40])
    return host


def assert_parity_of_prompt_runs(program: Callable[..., Any], *args: Any, runs: int = 4) -> Any:
    """The same for programs that look at once for what they sent: a busy machine may deliver late, so what differs in every run counts."""
    for _ in range(runs - 1):
        try:
            return assert_parity(program, *args)
        except AssertionError:
            continue
    return assert_parity(program, *args)


def diff(where: str, host: Any, twin: Any) -> list[str]:
    """Return one line for each place where two results differ."""
    if isinstance(host, tuple) and isinstance(twin, tuple) and len(host) == len(twin):
        return [line for i, (a, b) in enumerate(zip(host, twin, strict=True)) for line in diff(f"{where}[{i}]", a, b)]
    if isinstance(host, dict) and isinstance(twin, dict) and host.keys() == twin.keys():
        return [line for key in host for line in diff(f"{where}[{key!r}]", host[key], twin[key])]
    return [] if host == twin and type(host) is type(twin) else [f"{where}: host {host!r}, twin {twin!r}"]
