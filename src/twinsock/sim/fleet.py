"""Runs of a scenario, many at a time: asks a `zygote` for them and hands out what they say."""

import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterable
from typing import Any

from twinsock.sim.decorator import Options

_EPHEMERAL = 32768
Reply = dict[str, Any]


class FleetError(Exception):
    """The test file cannot be imported on the twin, or the process that runs it has died."""


class Fleet:
    """One test file, loaded in a process that forks a run for each seed."""

    def __init__(self, path: str, name: str, import_path: Iterable[str], rewrite: bool, allow: Iterable[str] = ()) -> None:
        self.path = path
        self._next = 0
        self._rest = b""
        self._unwanted: set[int] = set()  # requests whose asker has gone
        env = dict(os.environ)
        ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        env["PYTHONPATH"] = os.pathsep.join([ours, *filter(None, [env.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "twinsock.sim.zygote"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0)
        self._send({"load": path, "name": name, "path": list(import_path), "rewrite": rewrite, "allowed": list(allow)})
        answer = self._reply()
        self.scenarios: list[dict[str, Any]] = answer.get("scenarios", [])
        if not answer.get("loaded"):
            self.close()
            raise FleetError(f"{path} cannot be imported on the twin: {answer['error']}\n{answer['report']}")

    def close(self) -> None:
        """End the process and its runs."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise FleetError(f"{self.path}: the process that runs its scenarios has died; what it said is above") from None

    def _reply(self) -> Reply:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise FleetError(f"{self.path}: the process that runs its scenarios has died; what it said is above")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        reply: Reply = json.loads(line)
        return reply

    def run(
        self, func: str, args: list[tuple[str, Any]], seeds: Iterable[int], jobs: int, options: Options, **more: Any
    ) -> Generator[Reply, None, None]:
        """Run a scenario for seeds, `jobs` at a time, and give the replies as they come; closing the iterator stops asking for more.

        `args`: pairs ("sim", None) or ("value", an object that can be pickled)."""
        return self.run_packed(func, base64.b64encode(pickle.dumps(args)).decode(), seeds, jobs, options, **more)

    def run_packed(
        self, func: str, packed: str, seeds: Iterable[int], jobs: int, options: Options, **more: Any
    ) -> Generator[Reply, None, None]:
        """The same with arguments as the process that holds the file wrote them."""
        limits = {"time_limit": options.time_limit, "wall_limit": options.wall_limit, "allowed": options.allow}
        open_: dict[int, int] = {}
        todo = iter(seeds)
        ended = False
        try:
            while True:
                while not ended and len(open_) < jobs:
                    seed = next(todo, None)
                    if seed is None:
                        ended = True
                        break
                    self._next += 1
                    open_[self._next] = seed
                    self._send({"id": self._next, "func": func, "args": packed, "seed": seed, **limits, **more})
                if not open_:
                    return
                reply = self._reply()
                if reply["id"] in self._unwanted:
                    self._unwanted.discard(reply["id"])
                    continue
                reply["seed"] = open_.pop(reply["id"])
                yield reply
        finally:
            self._unwanted.update(open_)


def first_difference(passed: list[str], failed: list[str]) -> str:
    """Show where two event logs part."""
    for number, (one, other) in enumerate(zip(passed, failed, strict=False)):
        if one != other:
            return _difference(number, one, other)
    if len(passed) == len(failed):
        return ""
    number = min(len(passed), len(failed))
    end = "(the end)"
    return _difference(number, passed[number] if number < len(passed) else end, failed[number] if number < len(failed) else end)


def _difference(number: int, one: str, other: str) -> str:
    return f"event {number}\n    one   {_moment(one)}\n    other {_moment(other)}"


def _moment(line: str) -> str:
    when, _, text = line.partition(" ")
    return f"{int(when) / 1e9:.6f} s  {text}" if when.isdigit() else line


def story(lines: list[str]) -> list[str]:
    """Leave out of an event log what differs from seed to seed without telling anything: times, turns of tasks, sequence numbers."""
    told = []
    for line in lines:
        when, _, text = line.partition(" ")
        if text.endswith(" runs") or " ARP " in text or " ICMP " in text:
            continue
        told.append(f"{when} {_without_numbers(text)}")
    return told


def _without_numbers(text: str) -> str:
    words = text.split(" ")
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        if word in ("seq", "ack", "win"):
            skip = True
        else:
            kept.append("PORT" if word.isdigit() and int(word) >= _EPHEMERAL else word)
    return " ".join(kept)


def story_difference(passed: list[str], failed: list[str]) -> str:
    """Show the first thing that happened in a failed run otherwise than in one that passed, whatever the times."""
    ours, theirs = story(passed), story(failed)
    for one, other in zip(ours, theirs, strict=False):
        if one.partition(" ")[2] != other.partition(" ")[2]:
            return f"    passed {_moment(one)}\n    failed {_moment(other)}"
    return ""


def log_lines(reply: Reply) -> list[str]:
    """Return the event log of a run that was asked to keep it."""
    lines: list[str] = reply.get("story") or []
    return lines
