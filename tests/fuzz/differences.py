"""Finding, confirming and shortening programs on which the live kernel and the twin differ."""

import hashlib
import json
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.live import play_live
from tests.fuzz.player import Program
from tests.fuzz.twin import play_on_twin

REPLAYS = 8  # a program counts as different when Linux never agrees with the twin in so many runs
PHASES_MS = (0, 1, 2, 3)
PUNCTUAL_NS = 25_000_000
FOUND = Path(__file__).parent / "found"


def on_twin(program: Program, every: bool = False, pace: list[int] | None = None, phase_ns: int = 0) -> list[Any]:
    """Play on the twin; what it raises is an answer, too, and never the right one."""
    try:
        return play_on_twin(program, every, pace, phase_ns)
    except Exception:
        return ["the twin raised", traceback.format_exc()]


def agrees(program: Program, every: bool, host: list[Any], times: list[int]) -> bool:
    """Tell whether the twin answers as Linux did when its time passes as it did there, whatever the phase of the ticks."""
    return any(on_twin(program, every, times, phase_ms * 1_000_000) == host for phase_ms in PHASES_MS)


def differs(program: Program, every: bool = False, replays: int = REPLAYS) -> bool:
    """Tell whether Linux, asked again and again, never answers as the twin does."""
    twin = on_twin(program, every)
    if twin[:1] == ["the twin raised"]:
        return True
    punctual = False
    for count in (1, replays - 1):
        hosts = play_live([program] * count, every)
        if any(host == twin or agrees(program, every, host, times) for host, times in hosts):
            return False
        punctual |= any(is_punctual(program, times) for _, times in hosts)
    return punctual


def is_punctual(program: Program, times: list[int]) -> bool:
    """Tell whether Linux was quick enough for its answer to count against the twin: round trips take no time there."""
    waits = sum(step[1] in ("fork", "settle") for step in program)
    return times[-1] - times[0] < PUNCTUAL_NS + waits * 20_000_000


def shorten(program: Program) -> Program:
    """Delete steps, then simplify what is left, while the difference stays."""
    steps = [list(step) for step in program]
    size = max(len(steps) // 2, 1)
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if shorter and differs(shorter, replays=4):
                steps = shorter
            else:
                at += size
        size //= 2
    for number, step in enumerate(steps):
        for simpler in _simpler(step):
            trial = [*steps[:number], simpler, *steps[number + 1 :]]
            if differs(trial, replays=4):
                steps = trial
                break
    return steps


def _simpler(step: list[Any]) -> list[list[Any]]:
    """Give simpler forms of a step."""
    name = step[1]
    if name == "send":
        return [[*step[:3], size, flags, step[5]] for size, flags in ((1, 0), (step[3], 0), (1, step[4])) if [size, flags] != step[3:5]]
    if name == "recv":
        return [[*step[:3], step[3], flags, control] for flags, control in ((0, 0), (step[4], 0)) if [flags, control] != step[4:]]
    return []


def describe(program: Program) -> str:
    """Say where the two differ first, and after which steps."""
    twin = on_twin(program)
    if twin[:1] == ["the twin raised"]:
        return f"the twin raised\n{twin[1]}" + _steps(program)
    for host, _ in play_live([program] * 3):
        for step, theirs, ours in zip([*program, "at the end"], host, twin, strict=True):
            if theirs != ours:
                return f"{step}\n{_difference(theirs, ours)}" + _steps(program)
    return "no difference"


def _difference(theirs: Any, ours: Any) -> str:
    if not isinstance(theirs, dict):
        return f"  Linux {theirs}\n  twin  {ours}\n"
    lines = []
    for key in theirs:
        a, b = theirs[key], ours.get(key)
        if a == b:
            continue
        if isinstance(a, dict):
            a, b = {k: v for k, v in a.items() if b.get(k) != v}, {k: v for k, v in b.items() if a.get(k) != v}
        elif isinstance(a, list):
            a, b = [x for x in a if x not in b] or len(a), [x for x in b if x not in a] or len(b)
        lines.append(f"  {key}: Linux {a}\n  {' ' * len(key)}  twin  {b}\n")
    return "".join(lines)


def _steps(program: Program) -> str:
    return "".join(f"    {json.dumps(step)}\n" for step in program)


def signature(program: Program) -> str:
    """Name the kind of a difference, so that one kind is reported once: the step or the counters that differ."""
    twin = on_twin(program)
    if twin[:1] == ["the twin raised"]:
        return "raised " + twin[1].strip().splitlines()[-1][:80]
    host = play_live([program])[0][0]
    for step, theirs, ours in zip([*program, "end"], host, twin, strict=True):
        if theirs == ours:
            continue
        if not isinstance(theirs, dict):
            option = step[3:5] if step[1] in ("set", "get", "ioctl") else ""
            shown = [value if isinstance(value, str) else type(value).__name__ for value in (theirs, ours)]
            return f"{step[1]} {option} {shown[0]} {shown[1]}"
        wrong = [key for key in theirs if theirs[key] != ours.get(key)]
        part = theirs[wrong[0]]
        if isinstance(part, dict):
            other = ours[wrong[0]]
            return wrong[0] + " " + " ".join(sorted(key for key in {**part, **other} if part.get(key) != other.get(key)))[:120]
        return " ".join(wrong)
    return "none"


def save(program: Program, what: str) -> Path:
    """Write a program as a parity test: tests/parity/test_fuzz_found.py plays every file of the folder."""
    FOUND.mkdir(exist_ok=True)
    digest = hashlib.sha1(json.dumps(program).encode()).hexdigest()[:10]
    path = FOUND / f"{digest}.json"
    path.write_text(json.dumps({"what": what, "program": program}, indent=1) + "\n")
    return path
