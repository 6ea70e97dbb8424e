"""What both sides share: what is to be run, and how a program starts and ends."""

import os
import sys
import traceback
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

FD_REPORT = 1000  # the report's descriptor: above those that a program gets
SETTLE_S = (
    0.06  # between a call, or the end of a program, and a look at /proc: longer than a delayed acknowledgement, shorter than a timeout
)
PROC_FILES = (
    "sockstat",
    "sockstat6",
    "snmp",
    "netstat",
    "snmp6",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "raw",
    "raw6",
    "icmp",
    "icmp6",
    "unix",
    "packet",
)
# What holds on to a leaf module, forgotten where it is loaded so that the program loads it on top of the recorder.
_FORGET = """
    asyncio concurrent email ftplib http logging multiprocessing selectors smtplib socket socketserver ssl subprocess urllib xmlrpc
"""


class Request:
    """One run of a program."""

    def __init__(
        self,
        path: str,
        args: list[str],
        is_module: bool = False,
        seed: int = 0,
        epoch_s: int = 1_767_225_600,
        sysctls: list[tuple[str, str]] | None = None,
        packets: bool = True,
        every_call: bool = False,
    ) -> None:
        self.path = path
        self.args = args
        self.is_module = is_module
        self.seed = seed
        self.epoch_s = epoch_s
        self.sysctls = [(str(name), str(value)) for name, value in sysctls or []]
        self.packets = packets
        self.every_call = every_call


def forget_stdlib() -> None:
    """Forget modules that hold on to real leaves."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _FORGET.split():
            del sys.modules[name]


def seed_random(seed: int) -> None:
    """Seed the module random."""
    import random

    random.seed(seed)


def run_program(request: Request, at_end: Callable[[object], None]) -> int:
    """Run the program as `__main__`; `at_end` is called when its last line has run. Return its exit code."""
    box: list[object] = [None]
    code = _guarded(lambda: box.__setitem__(0, _execute(request)))
    threading = sys.modules.get("threading")
    if threading is not None:
        code = _guarded(threading._shutdown) or code
    at_end(box[0])
    import atexit

    code = _guarded(atexit._run_exitfuncs) or code
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def _guarded(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException as problem:
        if type(problem).__name__ == "KilledBySignal":
            raise
        traceback.print_exception(type(problem), problem, problem.__traceback__)
        return 1
    return 0


def _execute(request: Request) -> object:
    """Run the file, or the module; a file that defines program(env) is called with the modules that it needs."""
    module: Any = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [request.path, *request.args]
    if request.is_module:
        import runpy

        sys.path[0] = os.getcwd()
        runpy._run_module_as_main(request.path)  # type: ignore[attr-defined]
        return None
    sys.path[0] = os.path.dirname(os.path.abspath(request.path))
    module.__dict__.update(__file__=request.path, __cached__=None)
    with open(request.path, "rb") as file:
        code = compile(file.read(), request.path, "exec")
    exec(code, module.__dict__)
    program = module.__dict__.get("program")
    if not callable(program):
        return None
    names = ("socket", "os", "select", "fcntl", "time", "signal", "threading")
    return program(SimpleNamespace(**{name: __import__(name) for name in names}))
