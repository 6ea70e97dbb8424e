"""Runs an unmodified program on one simulated host, `twinsock run`: the same seed gives the same run.

`settle` has started the interpreter with what makes runs equal. The program is the first task; when it has ended, threads that are no
daemons have, and exit functions ran, the process ends.
Exit codes are the program's own; DEADLOCK when every thread waits for ever."""

import importlib
import os
import sys
import traceback
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.fs.proc.root import proc_write
from twinsock.kernel.net.core.capture import Capture, CaptureSink
from twinsock.kernel.net.core.dev import NETDEV_REGISTER, NetDevice, NetdevNotifier
from twinsock.runtime.baton import BatonTask, Deadlock
from twinsock.runtime.drops import DropLog
from twinsock.runtime.facade import KilledBySignal
from twinsock.runtime.install import install
from twinsock.runtime.outside import World
from twinsock.runtime.process import Process
from twinsock.runtime.settle import Request
from twinsock.runtime.strace import Strace
from twinsock.runtime.tap import Tap, TapError
from twinsock.runtime.watchdog import start_watchdog

DEADLOCK = 124
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARY = os.path.dirname(os.__file__)


class RunError(Exception):
    """The program cannot be started: one line for the user."""


class _FileSink(CaptureSink):
    def __init__(self, path: str) -> None:
        self.file = open(path, "wb")  # noqa: SIM115

    def write(self, data: bytes) -> None:
        self.file.write(data)


class _Record(NetdevNotifier):
    """Writes the packets of every device, or of those that were named, to one file."""

    def __init__(self, sink: _FileSink, devices: list[str]) -> None:
        self.capture = Capture(sink)
        self.devices = devices

    def call(self, event: int, dev: NetDevice) -> None:
        """Attach a device that comes."""
        if event == NETDEV_REGISTER and (not self.devices or dev.name in self.devices):
            self.capture.attach(dev)


class _Run:
    """One run: the host, and what is written beside the program's own output."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.kernel = start_kernel(request.seed)
        self.host = Process(self.kernel, request.seed, request.hostname)
        self.host.allowed = set(request.allowed)
        self.host.first.comm = os.path.basename(request.program)
        self.world = World(self.host, request.realtime)
        self.host.world = self.world
        self.host.baton.outside = self.world
        self.sink: _FileSink | None = None
        self.strace: Strace | None = None

    def prepare(self) -> None:
        """Set sysctls, plug in the TAP device and open the files that will be written. Raises RunError."""
        if self.request.tap:
            try:
                self.world.tap = Tap(self.kernel, self.request.tap, self.request.tap_address)
            except (TapError, ValueError) as error:
                raise RunError(str(error)) from None
        for name, value in self.request.sysctls:
            path = "/proc/sys/" + name.replace(".", "/")
            if proc_write(self.host.first, path, value.encode()) < 0:
                raise RunError(f"--sysctl {name}={value}: the twin has no such setting or does not take this value")
        try:
            if self.request.pcap:
                self.sink = _FileSink(self.request.pcap)
                record = _Record(self.sink, self.request.pcap_devices)
                for dev in self.kernel.init_net.dev_base:
                    record.call(NETDEV_REGISTER, dev)
                self.kernel.netdev_chain.append(record)
            if self.request.trace:
                out = sys.stderr if self.request.trace == "-" else open(self.request.trace, "w")  # noqa: SIM115
                self.strace = Strace(out)
            if self.request.drops:
                drops = sys.stderr if self.request.drops == "-" else open(self.request.drops, "w", buffering=1)  # noqa: SIM115
                self.kernel.trace = DropLog(lambda line: print(line, file=drops))
        except OSError as error:
            raise RunError(f"{error.filename}: {error.strerror}") from None

    def end(self, code: int) -> None:
        """End the process at once: what still sleeps stays asleep."""
        if self.request.at_end is not None:
            self.request.at_end(self.host)
        if self.strace is not None:
            baton = self.host.baton
            self.strace.end(f"exited with {code} after {baton.clock.now_ns / 1e9:.9f} s and {baton.switches} switches of tasks")
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 120
        if self.sink is not None:
            self.sink.file.close()
        os._exit(code)


def run(request: Request) -> int:
    """Run the program and end the process with its exit code. Raises RunError if it cannot start."""
    code = None if request.is_module else _compile(request.program)
    this = _Run(request)
    host = this.host
    this.prepare()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[os.getpid() % len(os.sched_getaffinity(0))]})
    try:
        install(host)
    except OSError as error:
        raise RunError(str(error.strerror)) from None
    if this.strace is not None:
        this.strace.attach()
    host.baton.spawn(host.first, lambda: this.end(_main(request, code)))
    if request.watchdog_s:
        start_watchdog(host, request.watchdog_s)
    try:
        host.baton.drive(host.first)
    except KeyboardInterrupt:
        this.end(130)
    failure = host.baton.failure
    if isinstance(failure, Deadlock):
        print(deadlock_text(host), file=sys.stderr)
        this.end(DEADLOCK)
    failure = failure or host.first.error
    if failure is not None:
        traceback.print_exception(failure)
    this.end(1)
    return 1


def _compile(path: str) -> CodeType:
    """Read the program. Raises RunError."""
    try:
        with open(path, "rb") as file:
            source = file.read()
        return compile(source, path, "exec")
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None
    except SyntaxError as error:
        raise RunError(f"{path}:{error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None


def _main(request: Request, code: CodeType | None) -> int:
    """Run the program, its threads and exit functions; return the exit code."""
    try:
        status = _guarded(lambda: _program(request, code))
        threading = sys.modules.get("threading")
        if threading is not None:
            status = _guarded(threading._shutdown) or status
        import atexit

        return _guarded(atexit._run_exitfuncs) or status
    except KilledBySignal as killed:
        return 128 + int(killed.args[0])


def _guarded(call: Any) -> int:
    """Make a call; return the exit code that its end means and show an exception as the interpreter does."""
    try:
        call()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except KilledBySignal:
        raise
    except Deadlock as stuck:
        print(stuck, file=sys.stderr)
        return DEADLOCK
    except BaseException as problem:
        sys.last_type, sys.last_value = type(problem), problem
        sys.last_traceback = trace = _below(problem.__traceback__)
        sys.excepthook(type(problem), problem.with_traceback(trace), trace)
        return 130 if isinstance(problem, KeyboardInterrupt) else 1
    return 0


def _below(trace: TracebackType | None) -> TracebackType | None:
    """Leave out our own frames above the program."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace


def _program(request: Request, code: CodeType | None) -> None:
    """Become the program's `__main__`."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [request.program, *request.args]
    if code is None:
        runpy: Any = importlib.import_module("runpy")
        sys.path[0] = os.getcwd()
        runpy._run_module_as_main(request.program)
        return
    sys.path[0] = os.path.dirname(os.path.abspath(request.program))
    module.__dict__.update(__file__=request.program, __cached__=None)
    exec(code, module.__dict__)


def deadlock_text(host: Process) -> str:
    """Say who waits where when nobody can ever run again."""
    threading = sys.modules.get("threading")
    names = {} if threading is None else {ident: thread.name for ident, thread in threading._active.items()}
    lines = ["twinsock run: deadlock: every thread waits, and no timer or packet will ever wake one"]
    for task in host.baton.sleeping:
        name = names.get(task.ident) or ("MainThread" if task is host.first else "thread")
        lines.append(f"  {name} (task {task.pid}) waits in {where_it_waits(task)}")
    return "\n".join(lines)


def where_it_waits(task: BatonTask) -> str:
    """Name the call and the program's line that a task waits in."""
    return where(task.frame)


def where(frame: FrameType | None) -> str:
    """Name the call and the program's line of a stack."""
    frames = list(reversed(traceback.extract_stack(frame)))
    outside = [entry for entry in frames if not entry.filename.startswith(_HERE)]
    calls = [entry.name for entry in frames if entry.name.startswith("sys_")]
    mine = next((entry for entry in outside if not entry.filename.startswith((_LIBRARY, "<frozen"))), outside[0] if outside else None)
    library = [entry.name for entry in outside[:1] if entry is not mine]
    sleeps = ["time.sleep" for entry in frames if entry.name == "sleep_ns"]
    what = (calls or sleeps or library or ["a lock"])[0].removeprefix("sys_")
    return what if mine is None else f"{what}(), called at {mine.filename}:{mine.lineno} ({mine.name})"
