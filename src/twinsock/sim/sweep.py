"""`twinsock sweep`: scenarios for very many seeds, on all processors or on a Ray cluster, with the results in one Parquet file."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from twinsock.sim.decorator import Options
from twinsock.ui.args import UsageError, decimal, printable
from twinsock.ui.args import parse as read

HELP = """\
usage: twinsock sweep TEST_FILE.py[::NAME] [options]

Runs the scenarios of a file (functions under @twinsock.test), or one of them, once for each seed, and writes how each run went to a
Parquet file. A sweep that was stopped goes on where it was when the same command is given again.

options
      --seeds N        seeds 0 to N-1 (1000)
      --first N        the first seed, 0 if not said otherwise
      --jobs N         runs side by side; the processors if not given
      --out FILE       the results; sweep-TEST_FILE.parquet if not given
      --ray ADDRESS    spread the runs over a Ray cluster ("auto": the one of this machine); every node needs the file at the same path
      --failures N     stop after so many failed runs (never)
  -h, --help           this text

examples
  twinsock sweep tests/test_store.py --seeds 100000
  twinsock sweep tests/test_store.py::test_no_update_is_lost --ray auto

columns: test seed ok error crc events packets virtual_s wall_s
exit codes: 0 every run passed   1 some failed   2 wrong usage   130 stopped
needs: pip install 'twinsock[sweep]'
"""
FLAGS = ("--help",)
VALUED = ("--seeds", "--first", "--jobs", "--out", "--ray", "--failures")
COLUMNS = ("test", "seed", "ok", "error", "crc", "events", "packets", "virtual_s", "wall_s")
_CHUNK = 50  # seeds that a node of a cluster gets at a time
_SHOWN = 20
Row = dict[str, Any]


class Request:
    """What was asked for."""

    def __init__(self) -> None:
        self.path = ""
        self.only = ""
        self.seeds = 1000
        self.first = 0
        self.jobs = len(os.sched_getaffinity(0))
        self.out = ""
        self.ray = ""
        self.failures = 0


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    if argv and argv[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    try:
        request = parse(argv)
        return sweep(request)
    except UsageError as error:
        print(f"twinsock sweep: {error}", file=sys.stderr)
        return 2


def parse(argv: list[str]) -> Request:
    """Read the arguments. Raises UsageError."""
    request = Request()
    args = read(argv, FLAGS, VALUED)
    if len(args.words) > 1:
        raise UsageError(f"one file at a time: {printable(args.words[0])} or {printable(args.words[1])}?")
    request.path, _, request.only = (args.words or [""])[0].partition("::")
    for name, value in args.values.items():
        if name in ("--out", "--ray"):
            setattr(request, name[2:], value)
        else:
            setattr(request, name[2:], decimal(value, name, 1 << 62))
    if not request.path:
        raise UsageError("which file? twinsock sweep TEST_FILE.py")
    if not os.path.isfile(request.path):
        raise UsageError(f"{printable(request.path)}: no such file")
    if request.seeds < 1 or request.jobs < 1:
        raise UsageError("--seeds and --jobs: 1 at least")
    request.path = os.path.abspath(request.path)
    request.out = os.path.abspath(request.out or f"sweep-{os.path.basename(request.path).removesuffix('.py')}.parquet")
    return request


class Results:
    """What is known of each run: in a text file while the sweep goes on, in the Parquet file at the end."""

    def __init__(self, out: str) -> None:
        self.out = out
        self.partial = out + ".partial"
        self.parquet = _package("pyarrow.parquet", "pyarrow")
        self.rows: dict[tuple[str, int], Row] = {}
        try:
            if os.path.exists(out):
                for row in self.parquet.read_table(out).to_pylist():
                    self.rows[row["test"], row["seed"]] = row
        except Exception as error:
            raise UsageError(f"{printable(out)} cannot be read as the results of a sweep: {error}; name another file with --out") from None
        self._read_partial()
        try:
            self.file = open(self.partial, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UsageError(f"{printable(self.partial)}: {error.strerror}") from None

    def _read_partial(self) -> None:
        with contextlib.suppress(FileNotFoundError), open(self.partial, encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError, KeyError):  # a last line may be half written
                    row = json.loads(line)
                    self.rows[row["test"], row["seed"]] = row

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.rows[row["test"], row["seed"]] = row
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def finish(self) -> None:
        """Write the Parquet file, whole or not at all."""
        self.file.close()
        arrow = _package("pyarrow", "pyarrow")
        rows = [self.rows[key] for key in sorted(self.rows)]
        kinds = [arrow.string(), arrow.int64(), arrow.bool_(), arrow.string(), arrow.int64(), arrow.int64(), arrow.int64()]
        schema = arrow.schema(list(zip(COLUMNS, [*kinds, arrow.float64(), arrow.float64()], strict=True)))
        self.parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), self.out + ".new")
        os.replace(self.out + ".new", self.out)
        os.unlink(self.partial)


def _package(name: str, install: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"needs the package {install}: pip install 'twinsock[sweep]'") from None


def sweep(request: Request) -> int:
    """Run everything that is not known yet."""
    from twinsock.sim.fleet import Fleet, FleetError

    if request.ray:
        _package("ray", "ray")
    _package("pyarrow.parquet", "pyarrow")
    try:
        fleet = Fleet(request.path, _module_name(request.path), _import_path(request.path), _has_pytest())
    except FleetError as error:
        raise UsageError(str(error)) from None
    chosen = [found for found in fleet.scenarios if request.only in ("", found["func"], found["title"])]
    if not chosen:
        there = ", ".join(found["title"] for found in fleet.scenarios) or "none"
        fleet.close()
        raise UsageError(f"no scenario {printable(request.only)} in {printable(request.path)}; there are: {there}")
    try:
        results = Results(request.out)
    except UsageError:
        fleet.close()
        raise
    code = 0
    started = time.monotonic()
    ran = 0
    try:
        for scenario in chosen:
            seeds = range(request.first, request.first + request.seeds)
            todo = [seed for seed in seeds if (scenario["title"], seed) not in results.rows]
            rows = on_ray(request, scenario, todo) if request.ray else here(fleet, scenario, todo, request.jobs)
            for done, row in enumerate(rows, len(seeds) - len(todo) + 1):
                results.add(row)
                ran += 1
                _progress(scenario["title"], done, len(seeds))
                if request.failures and _failed_count(results) >= request.failures:
                    rows.close()  # type: ignore[attr-defined]
                    break
    except KeyboardInterrupt:
        code = 130
    except FleetError as error:
        print(f"twinsock sweep: {error}", file=sys.stderr)
        code = 1
    _progress("", 0, 0)
    with contextlib.suppress(Exception, KeyboardInterrupt):
        fleet.close()
    results.finish()
    return code or summary(request, results, chosen, ran, time.monotonic() - started)


def here(fleet: Any, scenario: dict[str, Any], seeds: Iterable[int], jobs: int) -> Iterator[Row]:
    """Run seeds on this machine."""
    begun = time.monotonic()
    for reply in fleet.run_packed(scenario["func"], scenario["args"], seeds, jobs, _options(scenario)):
        now = time.monotonic()
        yield row_of(scenario["title"], reply, now - begun)
        begun = now


def _options(scenario: dict[str, Any]) -> Options:
    return Options(scenario["seeds"], scenario["time_limit"], scenario["wall_limit"], scenario["allow"])


def row_of(title: str, reply: Row, wall: float) -> Row:
    """Give what is kept of a run."""
    row = {"test": title, "wall_s": round(wall, 6), **{name: reply.get(name) for name in COLUMNS if name not in ("test", "wall_s")}}
    return row


def chunk(path: str, name: str, scenario: dict[str, Any], seeds: list[int]) -> list[Row]:
    """Run some seeds on a node of a cluster, one after the other."""
    from twinsock.sim.fleet import Fleet

    fleet = Fleet(path, name, _import_path(path), _has_pytest())
    try:
        return list(here(fleet, scenario, seeds, 1))
    finally:
        fleet.close()


def on_ray(request: Request, scenario: dict[str, Any], seeds: list[int]) -> Iterator[Row]:
    """Run seeds on a Ray cluster."""
    ray = _package("ray", "ray")
    if not ray.is_initialized():
        try:
            ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            env = {"env_vars": {"PYTHONPATH": os.pathsep.join([ours, os.environ.get("PYTHONPATH", "")])}}
            ray.init(address=request.ray, log_to_driver=False, logging_level="ERROR", runtime_env=env)
        except Exception as error:
            raise UsageError(f"--ray {printable(request.ray)}: {str(error).partition(chr(10))[0]}") from None
    remote = ray.remote(num_cpus=1)(chunk)
    name = _module_name(request.path)
    open_ = [remote.remote(request.path, name, scenario, seeds[at : at + _CHUNK]) for at in range(0, len(seeds), _CHUNK)]
    while open_:
        ready, open_ = ray.wait(open_)
        for rows in ray.get(ready):
            yield from rows


def summary(request: Request, results: Results, chosen: list[dict[str, Any]], ran: int, seconds: float) -> int:
    """Say how it went."""
    titles = {scenario["title"] for scenario in chosen}
    failed = [row for key, row in sorted(results.rows.items()) if key[0] in titles and not row["ok"]]
    total = sum(key[0] in titles for key in results.rows)
    rate = f", {ran / seconds:.0f} a second" if ran and seconds else ""
    print(f"{total} runs known, {ran} of them now in {seconds:.1f} s{rate}; {len(failed)} failed; results in {request.out}")
    for row in failed[:_SHOWN]:
        print(f"  {row['test']}  seed {row['seed']}: {row['error']}")
    if len(failed) > _SHOWN:
        print(f"  and {len(failed) - _SHOWN} more")
    if failed:
        function = failed[0]["test"].replace(".", "::")
        print(f"replay: pytest '{request.path}::{function.partition('[')[0]}' --twinsock-seed {failed[0]['seed']}")
    return 1 if failed else 0


def _failed_count(results: Results) -> int:
    return sum(not row["ok"] for row in results.rows.values())


def _module_name(path: str) -> str:
    return os.path.basename(path).removesuffix(".py")


def _import_path(path: str) -> list[str]:
    return [os.path.dirname(path), *sys.path]


def _has_pytest() -> bool:
    return importlib.util.find_spec("pytest") is not None


def _progress(title: str, done: int, count: int) -> None:
    if not sys.stderr.isatty():
        return
    if count and done % max(count // 200, 1) == 0:
        print(f"\r{title}: {done} of {count} ", end="", file=sys.stderr, flush=True)
    elif not count:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
