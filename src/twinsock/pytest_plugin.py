"""The pytest plugin: runs functions under `@twinsock.test` on the twin, once for each seed.

    pytest test_x.py --twinsock-seeds 1000        more seeds than the test asks for
    pytest test_x.py::test_y --twinsock-seed 17   one seed again
    pytest test_x.py --check-determinism          each seed twice; the event logs must be equal

A test's arguments may be `sim` (the simulation) and values of `pytest.mark.parametrize`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twinsock.sim.decorator import Options
    from twinsock.sim.fleet import Fleet, Reply

_OUTPUT_LINES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command line options."""
    group = parser.getgroup("twinsock", "scenarios on simulated hosts")
    group.addoption("--twinsock-seeds", type=_count, default=int(os.environ.get("TWINSOCK_SEEDS", "0") or 0), help="runs of each scenario")
    group.addoption("--twinsock-seed", type=int, default=None, help="run this seed only")
    group.addoption("--twinsock-jobs", type=_count, default=0, help="runs side by side (the processors, if not given)")
    group.addoption("--twinsock-pcap", default="", metavar="FILE", help="write the packets of the run as pcapng; with --twinsock-seed")
    group.addoption("--check-determinism", action="store_true", help="run each seed twice and compare the event logs")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def pytest_configure(config: pytest.Config) -> None:
    """Refuse options that make no sense together."""
    if config.getoption("--twinsock-pcap") and config.getoption("--twinsock-seed") is None:
        raise pytest.UsageError("--twinsock-pcap writes one run: say which with --twinsock-seed N")
    config.stash[_FLEETS] = {}


_FLEETS = pytest.StashKey[dict[str, Any]]()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the processes that hold test files."""
    for fleet in config.stash.get(_FLEETS, {}).values():
        fleet.close()


@pytest.fixture
def sim() -> None:
    """The simulation, for functions under `@twinsock.test`: there it is the `Simulation` of the run."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a scenario for its seeds."""
    options = getattr(pyfuncitem.obj, "twinsock_options", None)
    if options is None:
        return None
    problem = Session(pyfuncitem, options).problem()
    if problem:
        pytest.fail(problem, pytrace=False)
    return True


def _fleet(item: pytest.Function, allow: list[str]) -> Fleet:
    from twinsock.sim.fleet import Fleet

    fleets = item.config.stash[_FLEETS]
    path = str(item.path)
    if path not in fleets:
        for fleet in fleets.values():  # one file at a time
            fleet.close()
        fleets.clear()
        fleets[path] = Fleet(path, item.module.__name__, sys.path, True, allow)
    found: Fleet = fleets[path]
    return found


class Session:
    """The runs of one test."""

    def __init__(self, item: pytest.Function, options: Options) -> None:
        self.item = item
        self.options = options
        self.config = item.config
        cls = item.cls
        self.func = item.originalname if cls is None else f"{cls.__name__}.{item.originalname}"
        self.jobs = self.config.getoption("--twinsock-jobs") or len(os.sched_getaffinity(0))

    def arguments(self) -> list[tuple[str, Any]]:
        """Give what the function is called with. Raises pytest's failure for a fixture."""
        values = getattr(getattr(self.item, "callspec", None), "params", {})
        found: list[tuple[str, Any]] = []
        for name in self.item._fixtureinfo.argnames:
            if name == "sim":
                found.append(("sim", None))
            elif name in values:
                found.append(("value", values[name]))
            else:
                pytest.fail(
                    f"{self.func}: the fixture {name!r} lives outside of the simulation; a scenario takes `sim` and parameters",
                    pytrace=False,
                )
        return found

    def problem(self) -> str:
        """Run everything; return what is to be told of a failure, "" when all went well."""
        from twinsock.sim.fleet import FleetError

        args = self.arguments()
        only = self.config.getoption("--twinsock-seed")
        count = self.config.getoption("--twinsock-seeds") or self.options.seeds
        seeds = range(count) if only is None else [only]
        try:
            self.fleet = _fleet(self.item, self.options.allow)
            if self.config.getoption("--check-determinism"):
                return self.twice(args, list(seeds))
            return self.all(args, list(seeds), only is not None)
        except FleetError as error:
            return str(error)

    def all(self, args: list[tuple[str, Any]], seeds: list[int], single: bool) -> str:
        """Run each seed once."""
        failed: dict[int, Reply] = {}
        passed: list[int] = []
        more = {"pcap": os.path.abspath(self.config.getoption("--twinsock-pcap"))} if self.config.getoption("--twinsock-pcap") else {}
        runs = self.fleet.run(self.func, args, seeds, self.jobs, self.options, **more)
        for reply in runs:
            if reply.get("skipped"):
                runs.close()
                pytest.skip(reply["error"].partition(": ")[2])
            if reply["ok"]:
                passed.append(reply["seed"])
            else:
                failed[reply["seed"]] = reply
                runs.close()
                break
            self.progress(len(passed), len(seeds))
        self.progress(0, 0)
        if not failed:
            return ""
        worst = failed[min(failed)]
        return self.tell(worst, passed, len(seeds), args, single)

    def tell(self, reply: Reply, passed: list[int], count: int, args: list[tuple[str, Any]], single: bool) -> str:
        """Say everything about a failed run."""
        seed = reply["seed"]
        lines = [f"seed {seed} failed: {reply['error']}"]
        if count > 1:
            lines[0] += f" ({len(passed)} of {count} seeds had passed)"
        lines.append(f"replay it: pytest {_quoted(self.item.nodeid)} --twinsock-seed {seed}")
        if reply["report"]:
            lines += ["", reply["report"].rstrip()]
        if passed and not single:
            difference = self.difference(args, max(passed), seed)
            if difference:
                lines += ["", f"first difference from seed {max(passed)}, which passed", difference]
        if reply.get("output", "").strip():
            lines += ["", "what the run printed", *reply["output"].rstrip().splitlines()[-_OUTPUT_LINES:]]
        return "\n".join(lines)

    def difference(self, args: list[tuple[str, Any]], good: int, bad: int) -> str:
        """Compare a run that passed with one that failed."""
        from twinsock.sim.fleet import log_lines, story_difference

        logs = {reply["seed"]: log_lines(reply) for reply in self.fleet.run(self.func, args, [good, bad], 1, self.options, keep=True)}
        return story_difference(logs[good], logs[bad])

    def twice(self, args: list[tuple[str, Any]], seeds: list[int]) -> str:
        """Run each seed twice and compare."""
        from twinsock.sim.fleet import first_difference, log_lines

        prints: dict[int, tuple[int, int]] = {}
        worst: Reply | None = None
        runs = self.fleet.run(self.func, args, [seed for seed in seeds for _ in range(2)], self.jobs, self.options)
        for reply in runs:
            mark = (reply["crc"], reply["events"])
            if prints.setdefault(reply["seed"], mark) != mark:
                seed = reply["seed"]
                runs.close()
                logs = [log_lines(found) for found in self.fleet.run(self.func, args, [seed, seed], 1, self.options, keep=True)]
                shown = first_difference(logs[0], logs[1]) or "the two runs that kept their logs were equal: it does not happen each time"
                return f"seed {seed} gives different runs: the scenario, or what it uses, is not deterministic\nfirst difference: {shown}"
            if not reply["ok"] and not reply.get("skipped"):
                worst = reply if worst is None or reply["seed"] < worst["seed"] else worst
        return "" if worst is None else self.tell(worst, [], 1, args, True)

    def progress(self, done: int, count: int) -> None:
        """Show on a terminal how far it is."""
        if count == 1 or hasattr(self.config, "workerinput") or not sys.__stderr__ or not sys.__stderr__.isatty():
            return
        if count and done % max(count // 100, 1) == 0:
            print(f"\r{self.item.originalname}: {done} of {count} seeds ", end="", file=sys.__stderr__, flush=True)
        elif not count:
            print("\r\x1b[K", end="", file=sys.__stderr__, flush=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
