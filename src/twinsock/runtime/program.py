"""Runs a program file on a twin: `import socket` in it gives the twin's module, and so for os, select, fcntl, time, signal, threading.

    load_program("prog.py")(env)

A file that defines `program(env)` is called with the environment; any other one is run from top to bottom as a script. Modules that the
file imports besides are the real ones; those that would open sockets of the host are refused with their name. Left out: other modules
of the standard library on top of the twin, and of `threading` everything but Thread."""

import builtins
from collections.abc import Callable
from types import CodeType
from typing import Any

from twinsock.runtime.facade import Handle, TwinEnv

# standard library modules that would reach past the twin to the host's sockets, descriptors or processes
FENCED = [
    "_socket",
    "asyncio",
    "concurrent",
    "ctypes",
    "ftplib",
    "http",
    "imaplib",
    "multiprocessing",
    "poplib",
    "pty",
    "selectors",
    "smtplib",
    "socketserver",
    "ssl",
    "subprocess",
    "telnetlib",
    "urllib",
    "xmlrpc",
]


class ProgramError(Exception):
    """The file cannot be run: one line for the user."""


class TwinThread:
    """threading.Thread: a task of the same simulated process."""

    def __init__(self, group: None = None, target: Callable[..., Any] | None = None, name: str | None = None, **kw: Any) -> None:
        self._env: TwinEnv | None = None
        self._target = target
        self._args = tuple(kw.get("args", ()))
        self._kwargs = dict(kw.get("kwargs") or {})
        self._handle: Handle | None = None
        self.name = name or "Thread"
        self.daemon = bool(kw.get("daemon"))

    def run(self) -> None:
        """Call the target."""
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def start(self) -> None:
        """Start the task."""
        if self._handle is not None:
            raise RuntimeError("threads can only be started once")
        assert self._env is not None
        self._handle = self._env.spawn(self.run)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self._handle is None:
            raise RuntimeError("cannot join thread before it is started")
        self._handle.join()

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._handle is not None and not self._handle.ended


class ThreadingModule:
    """The module threading, as far as Thread."""

    def __init__(self, env: TwinEnv) -> None:
        class Thread(TwinThread):
            """threading.Thread on this twin."""

            def __init__(self, *args: Any, **kw: Any) -> None:
                super().__init__(*args, **kw)
                self._env = env

        self.Thread = Thread

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the twin's threading module has no {name}")


def load_program(path: str) -> Callable[[TwinEnv], Any]:
    """Read a program file; return what runs it on an environment. Raises ProgramError."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        code = compile(source, path, "exec")
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror}") from None
    except SyntaxError as error:
        raise ProgramError(f"{path}:{error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise ProgramError(f"{path}: {error}") from None
    return lambda env: _run(env, path, code)


def _run(env: TwinEnv, path: str, code: CodeType) -> Any:
    """Execute the file's code with the twin's modules behind its imports."""
    threading = ThreadingModule(env)
    modules = {name: getattr(env, name) for name in ("socket", "os", "select", "fcntl", "time", "signal")} | {"threading": threading}

    def import_(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and name in modules:
            return modules[name]
        if level == 0 and name.split(".")[0] in FENCED:
            ours = ", ".join(modules)
            raise ProgramError(f"{path} imports {name}, which would use the host's sockets: on the twin there are {ours}")
        return builtins.__import__(name, globals, locals, fromlist, level)

    names = dict(vars(builtins))
    names["__import__"] = import_
    scope: dict[str, Any] = {"__name__": "__main__", "__file__": path, "__builtins__": names}
    exec(code, scope)
    program = scope.get("program")
    return program(env) if callable(program) else None
