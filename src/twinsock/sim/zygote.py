"""Imports a test file once, on top of the twin, and forks a process for each run of one of its functions.

    python -m twinsock.sim.zygote        reads requests from standard input, one JSON object a line, and writes replies likewise

Requests: {"load": PATH, "name": MODULE, "path": [...]} first, then {"id": N, "func": NAME, "args": [...], "seed": N, ...}; a reply has
the request's id. Runs go on side by side: the asker decides how many requests are open at a time."""

import base64
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import pickle
import select
import signal
import sys
import traceback
from typing import Any

from twinsock.runtime.settle import settle

_LIMIT = 1 << 16  # characters of a run's output that are kept
_CHUNK = 1 << 16


class _Run:
    """A forked run."""

    def __init__(self, number: int, pid: int, pipe: int, output: int) -> None:
        self.number = number
        self.pid = pid
        self.pipe = pipe
        self.output = output
        self.data = b""


class _Real:
    """The interpreter's own calls, as they are before the twin replaces them."""

    def __init__(self) -> None:
        self.read, self.write, self.close, self.fork, self.pipe = os.read, os.write, os.close, os.fork, os.pipe
        self.waitpid, self.exit, self.dup2, self.lseek, self.memfd = os.waitpid, os._exit, os.dup2, os.lseek, os.memfd_create
        self.poll = select.poll
        self.kill = os.kill
        self.affinity = os.sched_setaffinity
        self.cpus = sorted(os.sched_getaffinity(0))


def main() -> int:
    """Serve requests until standard input ends."""
    settle(0)
    real = _Real()
    out = os.dup(1)
    os.dup2(2, 1)  # what an import prints must not look like a reply
    zygote = Zygote(real, out)
    return zygote.serve()


class Zygote:
    """The server."""

    def __init__(self, real: _Real, out: int) -> None:
        self.real = real
        self.out = out
        self.module: Any = None
        self.runs: dict[int, _Run] = {}
        self.rest = b""

    def serve(self) -> int:
        """Read requests, collect what runs say."""
        self.poll = poll = self.real.poll()
        poll.register(0, select.POLLIN)
        open_ = True
        while open_ or self.runs:
            for fd, _ in poll.poll():
                if fd == 0:
                    open_ = self._requests()
                    if not open_:
                        poll.unregister(0)
                        for run in self.runs.values():
                            self.real.kill(run.pid, signal.SIGKILL)
                else:
                    self._collect(fd)
        return 0

    def reply(self, answer: dict[str, Any]) -> None:
        """Write a reply."""
        data = json.dumps(answer).encode() + b"\n"
        while data:
            data = data[self.real.write(self.out, data) :]

    def _requests(self) -> bool:
        data = self.real.read(0, _CHUNK)
        self.rest += data
        while b"\n" in self.rest:
            line, _, self.rest = self.rest.partition(b"\n")
            request = json.loads(line)
            if "load" in request:
                self.reply(self.load(request))
            else:
                self._start(request)
        return bool(data)

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put the twin in place and import the file on top."""
        sys.path[:] = request.get("path", sys.path)
        if request.get("rewrite"):
            importlib.import_module("pytest")
        from twinsock.kernel.boot import start_kernel
        from twinsock.runtime.install import install
        from twinsock.runtime.process import Process
        from twinsock.sim import child, simulation  # noqa: F401

        host = Process(start_kernel(0), 0, "import")
        host.allowed = {"fork", *request.get("allowed", ())}
        install(host)
        try:
            self.module = import_file(request["name"], request["load"], bool(request.get("rewrite")))
        except BaseException as error:
            return {"loaded": False, "error": f"{type(error).__name__}: {error}", "report": traceback.format_exc()}
        import gc

        gc.collect()
        gc.freeze()
        gc.disable()
        return {"loaded": True, "scenarios": scenarios(self.module)}

    def _start(self, request: dict[str, Any]) -> None:
        real = self.real
        pipe, end = real.pipe()
        output = real.memfd("output")
        pid = real.fork()
        if pid == 0:
            self._child(request, end, output)
        real.close(end)
        self.runs[pipe] = _Run(int(request["id"]), pid, pipe, output)
        self.poll.register(pipe, select.POLLIN)

    def _child(self, request: dict[str, Any], end: int, output: int) -> None:
        """Run and report; never return."""
        real = self.real
        code = 1
        try:
            real.dup2(output, 1)
            real.dup2(output, 2)
            real.affinity(0, {real.cpus[int(request["id"]) % len(real.cpus)]})
            from twinsock.sim.child import run_one

            func, args = self._function(request)
            data = json.dumps(run_one(func, args, request)).encode()
            while data:
                data = data[real.write(end, data) :]
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            _save_coverage()
            real.exit(code)

    def _function(self, request: dict[str, Any]) -> tuple[Any, list[Any]]:
        """Find the function of a request and make its arguments."""
        from twinsock.sim.child import SIM

        owner, _, name = request["func"].rpartition(".")
        holder: Any = getattr(self.module, owner)() if owner else self.module
        found = getattr(holder, name)
        scenario = getattr(found, "scenario", found)
        found = scenario.__get__(holder) if owner and scenario is not found else scenario
        values = pickle.loads(base64.b64decode(request["args"])) if request.get("args") else []
        return found, [SIM if kind == "sim" else value for kind, value in values]

    def _collect(self, fd: int) -> None:
        """Take what a run wrote; reply when it has ended."""
        run, real = self.runs[fd], self.real
        data = real.read(fd, _CHUNK)
        if data:
            run.data += data
            return
        self.poll.unregister(fd)
        real.close(fd)
        del self.runs[fd]
        _, status = real.waitpid(run.pid, 0)
        real.lseek(run.output, 0, 0)
        text = real.read(run.output, _LIMIT).decode("utf-8", "replace")
        real.close(run.output)
        try:
            answer = json.loads(run.data)
        except ValueError:
            answer = {"ok": False, "error": _how_it_ended(status, text), "report": "", "crc": 0, "events": 0, "packets": 0, "virtual_s": 0}
        self.reply({**answer, "id": run.number, "output": text})


def scenarios(module: Any) -> list[dict[str, Any]]:
    """List the scenarios of a module, each case of a parametrized one for itself."""
    found = []
    for name, value in list(vars(module).items()):
        holders = [("", name, value)]
        if isinstance(value, type):
            holders = [(f"{name}.", inner, member) for inner, member in vars(value).items()]
        for prefix, inner, member in holders:
            options = getattr(member, "twinsock_options", None)
            if options is None or getattr(value, "__module__", "") != module.__name__:
                continue
            for label, values in _cases(member):
                names = list(inspect.signature(member.scenario).parameters)[1 if prefix else 0 :]
                wanted = [("sim", None) if arg == "sim" else ("value", values[arg]) for arg in names if arg == "sim" or arg in values]
                if len(wanted) < len(names):
                    continue
                packed = base64.b64encode(pickle.dumps(wanted)).decode()
                found.append({"func": prefix + inner, "title": prefix + inner + label, "args": packed, **vars(options)})
    return found


def _cases(func: Any) -> list[tuple[str, dict[str, Any]]]:
    """List what `pytest.mark.parametrize` asks for."""
    cases: list[tuple[str, dict[str, Any]]] = [("", {})]
    for mark in getattr(func, "pytestmark", []):
        if mark.name != "parametrize":
            continue
        names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
        more = []
        for label, known in cases:
            for number, entry in enumerate(mark.args[1]):
                row = getattr(entry, "values", None) if type(entry).__name__ == "ParameterSet" else None
                values = row if row is not None else entry if len(names) > 1 else (entry,)
                more.append((f"{label}[{names[0]}{number}]", {**known, **dict(zip(names, values, strict=True))}))
        cases = more
    return cases


def _how_it_ended(status: int, text: str) -> str:
    if "Timeout (" in text:
        return "the run used up its real time (wall_limit): a busy loop? Where it was is in the output below"
    code = os.waitstatus_to_exitcode(status)
    return f"the process of the run ended {'by signal ' + str(-code) if code < 0 else 'with code ' + str(code)}"


def _save_coverage() -> None:
    coverage: Any = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage is not None else None
    if running is not None:
        running.stop()
        running.save()


class _Rewriting(importlib.machinery.SourceFileLoader):
    """Loads a test file with pytest's explanations of failed asserts."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:  # type: ignore[override]
        """Compile the file."""
        import ast

        tree = ast.parse(data, path)
        importlib.import_module("_pytest.assertion.rewrite").rewrite_asserts(
            tree, data if isinstance(data, bytes) else bytes(data, "utf-8"), path
        )
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)

    def get_code(self, fullname: str) -> Any:
        """Compile without the cache of plain code."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def import_file(name: str, path: str, rewrite: bool) -> Any:
    """Import a file under a module's name."""
    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    loader = (_Rewriting if rewrite else importlib.machinery.SourceFileLoader)(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
