"""The same seeds live the same lives on the pure and on the compiled build."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = 200
COMPILED = ROOT / "build" / "compiled"


@pytest.mark.slow
def test_two_hundred_seeds_give_identical_event_logs_on_both_builds() -> None:
    if not list(COMPILED.glob("twinsock__mypyc.*.so")):
        pytest.skip("there is no compiled build: ./dev build")
    for source in ROOT.glob("src/twinsock/**/*.py"):
        copy = COMPILED / source.relative_to(ROOT / "src")
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            pytest.skip("the compiled build is older than the source: ./dev build")
    running = []
    for folder in (ROOT / "src", COMPILED):
        env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
        command = [sys.executable, "-m", "tests.sim.event_log", "--seeds", str(SEEDS)]
        running.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    (pure, pure_build), (compiled, compiled_build) = [process.communicate() for process in running]
    assert "kernel.py" in pure_build and ".so" in compiled_build
    assert len(pure.splitlines()) == SEEDS
    assert pure.splitlines() == compiled.splitlines()


@pytest.mark.slow
def test_one_seed_gives_one_log_and_another_seed_another() -> None:
    from tests.sim.event_log import event_log

    assert event_log(3) == event_log(3) != event_log(4)
