"""The function graph: which of the twin's kernel functions a program's system calls go through, `./dev trace prog.py`.

The functions of `twinsock.kernel` bear Linux's names, so the interpreter's own profiling hook is the tracer; nothing in the kernel knows
of it (Linux: kernel/trace/trace_functions_graph.c). Works on the pure build only: compiled functions are not profiled.

A function whose docstring begins with `inet_release():` is shown under that name: so the methods of an operations table say which
function of Linux sits in their slot. Helpers of ours (one leading underscore, names without any, lambdas, constructors) are left
out, and what they call moves up to their caller."""

import errno
import json
import os
import re
import sys
import threading
from types import CodeType, FrameType
from typing import Any

from twinsock.kernel.boot import start_kernel
from twinsock.runtime.baton import Deadlock
from twinsock.runtime.facade import KilledBySignal, TwinEnv
from twinsock.runtime.program import ProgramError, load_program

NODES_MAX = 2_000_000
_SLOT = re.compile(r"(\w+)\(\)")
USAGE = """\
usage: ./dev trace [options] PROG.py

Runs a Python program that uses `socket` on a freshly booted twin and prints the call tree of each of its system calls, with the names
that Linux has for the functions. The program: a script, or a file that defines program(env).

  --depth N     print N levels of calls
  --only CALL   print this system call only (socket, bind, ...); may be repeated
  --times       the virtual time of each system call, in microseconds, and how long it slept
  --json        one JSON document: {"calls": [{"task", "start_ns", "end_ns", "name", "result", "calls": [...]}, ...]}
  --seed N      of the twin's random numbers (default 1)

exit codes: 0; 1 the program failed; 2 wrong usage"""


class Call:
    """One entry of a kernel function."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []

    def paths(self) -> list[tuple[str, ...]]:
        """Return the path of names to every call below and to this one, in order of entry."""
        found = []
        stack: list[tuple[Call, tuple[str, ...]]] = [(self, ())]
        while stack:
            call, above = stack.pop()
            path = (*above, call.name)
            found.append(path)
            stack += [(below, path) for below in reversed(call.calls)]
        return found


class Root(Call):
    """A call from outside the kernel: a system call, or what a timer does."""

    def __init__(self, name: str, task: str, start_ns: int) -> None:
        super().__init__(name)
        self.task = task
        self.start_ns = start_ns  # virtual
        self.end_ns = start_ns
        self.result: int | None = None


class FunctionGraph:
    """Records every system call of an environment's program while `run` lasts."""

    def __init__(self, env: TwinEnv) -> None:
        self.env = env
        self.roots: list[Root] = []
        self.cut = False
        self._local = threading.local()
        self._names: dict[Any, str] = {}  # by code object: Linux's name, "" for what is not shown
        self._nodes = 0

    def run(self, program: Any) -> Any:
        """Run `program(env)` and record; return what it returns."""
        threading.setprofile(self._profile)  # for the threads that the environment starts for its tasks
        try:
            return self.env.run(program)
        finally:
            threading.setprofile(None)

    def _name(self, frame: FrameType) -> str:
        """Return the name under which a call is shown, "" for a helper and for what is no part of the kernel."""
        code = frame.f_code
        name = self._names.get(code)
        if name is None:
            module = str(frame.f_globals.get("__name__", ""))
            name = linux_name(code) if module.startswith("twinsock.kernel.") else ""
            self._names[code] = name
        return name

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        if event != "call" and event != "return":
            return
        name = self._name(frame)
        if not name:
            return
        stack: list[Call] = self._local.__dict__.setdefault("stack", [])
        if event == "return":
            call = stack.pop()
            if not stack and isinstance(call, Root):
                call.end_ns = self.env.kernel.clock.now_ns
                value = arg[0] if isinstance(arg, tuple) and arg else arg
                call.result = value if type(value) is int else None
            return
        self._nodes += 1
        if stack and stack[-1].name == name:  # a slot's method and the function it is made of
            call = stack[-1]
        elif stack:
            call = Call(name)
            if self._nodes <= NODES_MAX:
                stack[-1].calls.append(call)
            self.cut = self._nodes > NODES_MAX
        else:
            task = self.env.baton.current
            who = "timer" if task is None else f"{task.comm}[{task.pid}]"
            call = Root(name, who, self.env.kernel.clock.now_ns)
            if is_entry(call.name):
                self.roots.append(call)
        stack.append(call)

    def system_calls(self, only: list[str]) -> list[Root]:
        """Return the recorded calls, of the given names if there are any."""
        wanted = [name.removeprefix("sys_") for name in only]
        return [root for root in self.roots if not wanted or root.name.removeprefix("sys_").rstrip("0123456789") in _stems(wanted)]


def _stems(names: list[str]) -> list[str]:
    return [name.rstrip("0123456789") for name in names]


def is_entry(name: str) -> bool:
    """Tell whether a function is where the kernel is entered: a system call or the clock's tick."""
    return name.startswith("sys_") or name in ("run_next", "do_softirq")


def linux_name(code: CodeType) -> str:
    """Return Linux's name of a function of the kernel, "" for a helper of ours."""
    doc = code.co_consts[0] if code.co_consts else None
    slot = _SLOT.match(doc) if isinstance(doc, str) else None
    if slot is not None:
        return slot[1]
    name = code.co_name
    ours = name.startswith("<") or name.endswith("__") or "_" not in name or (name.startswith("_") and not name.startswith("__"))
    return "" if ours else name


def draw(root: Root, depth: int, times: bool) -> list[str]:
    """Return the lines of one system call's tree; equal neighbours share a line."""
    head = f"{root.task}  {root.name}()" + _result(root.result)
    if times:
        slept = root.end_ns - root.start_ns
        head = f"{root.start_ns / 1000:12.3f} us  {head}" + (f"  slept {slept / 1000:.3f} us" if slept else "")
    return [head, *_draw_calls(root.calls, "  ", depth - 1)]


def _draw_calls(calls: list[Call], indent: str, depth: int) -> list[str]:
    """Return the lines of the calls of one function; the depth of Linux's functions bounds the recursion."""
    if depth == 0:
        return []
    blocks: list[tuple[list[str], int]] = []
    for call in calls:
        lines = [indent + call.name, *_draw_calls(call.calls, indent + "  ", depth - 1)]
        if blocks and blocks[-1][0] == lines:
            blocks[-1] = (lines, blocks[-1][1] + 1)
        else:
            blocks.append((lines, 1))
    out: list[str] = []
    for lines, count in blocks:
        out += [lines[0] + (f"  x{count}" if count > 1 else ""), *lines[1:]]
    return out


def _result(value: int | None) -> str:
    if value is None:
        return ""
    name = errno.errorcode.get(-value, "") if value < 0 else ""
    return f" = {value}" + (f" {name}" if name else "")


def as_json(root: Root, depth: int) -> dict[str, Any]:
    """Return one system call's tree as JSON values."""
    value = {"task": root.task, "start_ns": root.start_ns, "end_ns": root.end_ns, "name": root.name, "result": root.result}
    return value | {"calls": [_call_json(call, depth - 1) for call in root.calls] if depth != 1 else []}


def _call_json(call: Call, depth: int) -> dict[str, Any]:
    return {"name": call.name, "calls": [_call_json(below, depth - 1) for below in call.calls] if depth != 1 else []}


class Options:
    """What the command line asks for."""

    def __init__(self) -> None:
        self.path = ""
        self.depth = -1
        self.only: list[str] = []
        self.times = False
        self.json = False
        self.seed = 1


class UsageError(Exception):
    """One line for the user."""


def parse(argv: list[str]) -> Options:
    """Read the command line. Raises UsageError."""
    options = Options()
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--depth", "--only", "--seed"):
            if not equals:
                if not words:
                    raise UsageError(f"{name} needs a value")
                value = words.pop(0)
            if name == "--only":
                options.only.append(value)
            elif not (value.isascii() and value.isdigit()) or len(value) > 9 or (name == "--depth" and int(value) == 0):
                raise UsageError(f"{name} takes a positive number, not {value!r}")
            else:
                setattr(options, name[2:], int(value))
        elif word in ("--times", "--json"):
            setattr(options, word[2:], True)
        elif word.startswith("-") and word != "-":
            raise UsageError(f"no such option: {word} (./dev trace --help)")
        elif options.path:
            raise UsageError(f"one program at a time: {options.path} or {word}?")
        else:
            options.path = word
    if not options.path:
        raise UsageError("which program? ./dev trace PROG.py")
    return options


def main(argv: list[str]) -> int:
    """Trace a program and return the exit code."""
    if "--help" in argv or "-h" in argv:
        print(USAGE)
        return 0
    try:
        options = parse(argv)
        program = load_program(options.path)
    except (UsageError, ProgramError) as error:
        print(f"trace: {error}", file=sys.stderr)
        return 2
    if not hasattr(start_kernel, "__code__"):
        print("trace: this is the compiled build, whose functions cannot be watched: run it from the source tree", file=sys.stderr)
        return 2
    graph = FunctionGraph(TwinEnv(start_kernel(options.seed)))
    code = 0
    try:
        graph.run(program)
    except ProgramError as error:
        print(f"trace: {error}", file=sys.stderr)
        return 2
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except (Exception, KilledBySignal, Deadlock) as error:
        code = 1
        print(f"trace: {options.path}: {_why(error, options.path)}", file=sys.stderr)
    calls = graph.system_calls(options.only)
    if options.json:
        print(json.dumps({"calls": [as_json(root, options.depth) for root in calls]}))
    else:
        for root in calls:
            print("\n".join(draw(root, options.depth, options.times)))
    if graph.cut:
        print(f"trace: cut after {NODES_MAX} calls", file=sys.stderr)
    if options.only and not calls:
        seen = ", ".join(dict.fromkeys(root.name.removeprefix("sys_") for root in graph.roots))
        print(f"trace: the program never called {' or '.join(options.only)}; it called {seen or 'nothing'}", file=sys.stderr)
    return code


def _why(error: BaseException, path: str) -> str:
    """Say in one line where in the program an error came from."""
    if isinstance(error, Deadlock):
        return str(error)
    line = 0
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_code.co_filename == path:
            line = entry.tb_lineno
        entry = entry.tb_next
    what = f"killed by signal {error.args[0]}" if isinstance(error, KilledBySignal) else f"{type(error).__name__}: {error}"
    return f"line {line}: {what}" if line else what


def run(argv: list[str]) -> int:
    """As `main`, and end quietly when the reader of the output goes away or the user interrupts."""
    try:
        code = main(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:]))
