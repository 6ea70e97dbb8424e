"""What the benches of the twin share: a worker process per build, CPU seconds as the measure, results for ./dev bench.

CPU seconds of one process, because the machines that this runs on have other things to do; sending and receiving over loopback
happen in the same process on Linux, too. The compiled build is measured where ./dev build made one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "bench" / "history.jsonl"
ROUNDS = 3


def builds() -> dict[str, Path]:
    """Return the builds there are: name and folder."""
    found = {"pure": ROOT / "src"}
    if list((ROOT / "build" / "compiled").glob("twinsock__mypyc.*.so")):
        found["compiled"] = ROOT / "build" / "compiled"
    return found


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, of the best of some rounds."""
    best = 1e9
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def worker(script: str, build: str, *words: str) -> dict[str, float]:
    """Run `script --worker WORDS` on one build and return the figures that it prints."""
    env = os.environ | {"PYTHONPATH": f"{builds()[build]}:{ROOT / 'bench'}", "TWINSOCK_BENCH_BUILD": build}
    command = [sys.executable, script, "--worker", *words]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return {str(name): float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def row(name: str, build: str, figure: float, peer: float, peer_name: str, unit: str, target: float = 0) -> dict[str, object]:
    """Make one result: the ratio is above 1 where the twin is better; `target` is the figure to reach, in the same unit."""
    return {
        "name": f"{name}, {build}: {figure:,.4g} {unit}" + (f" (to reach: {target:,.4g})" if target else ""),
        "figure": figure,
        "unit": unit,
        "ratio": round(figure / peer, 4) if peer else 0.0,
        "goal": None,
        "target": target or None,
        "peer": f"{peer_name}: {peer:,.4g}",
    }


def finish(rows: list[dict[str, object]]) -> None:
    """Print results, as JSON last where ./dev bench asks, and add them to the history with --record."""
    for result in rows:
        print(f"{result['name']:<70} ratio {result['ratio']:<8} {result['peer']}")
    if "--record" in sys.argv:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()
        day = time.strftime("%Y-%m-%d")
        with HISTORY.open("a") as history:
            history.writelines(json.dumps({"day": day, "commit": commit, **result}) + "\n" for result in rows)
    if "--json" in sys.argv:
        print(json.dumps(rows))
