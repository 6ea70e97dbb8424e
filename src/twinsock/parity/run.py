"""Runs a program on both sides, each in a process of its own, and compares.

A difference is looked at again: when the host gives another answer in a second run at the same place, the program depends on time or
chance there, and the two kernels cannot be told apart by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from twinsock.parity.compare import Comparison
from twinsock.parity.program import FD_REPORT, Request
from twinsock.parity.report import Report

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Unavailable(Exception):
    """One side cannot run here: one line for the user."""


class Outcome:
    """What a comparison came to."""

    def __init__(self, comparison: Comparison, unstable: bool, runs: int) -> None:
        self.comparison = comparison
        self.unstable = unstable  # the host itself gave another answer there in another run
        self.runs = runs  # of the host


def run_side(module: str, request: Request, timeout_s: float) -> Report:
    """Run one side in a child and read its report. Raises Unavailable."""
    with tempfile.TemporaryFile() as report, tempfile.TemporaryFile() as output:
        env = dict(os.environ, PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, env.get("PYTHONPATH", "")]))
        target = report.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", f"twinsock.parity.{module}", json.dumps(request.__dict__)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            close_fds=False,
            preexec_fn=lambda: os.dup2(target, FD_REPORT, True),
            start_new_session=True,
        )
        trouble = ""
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            trouble = f"did not end within {timeout_s:g} s"
        report.seek(0)
        output.seek(0)
        found = Report(report.read().decode("utf-8", "replace"), output.read().decode("utf-8", "replace"))
    found.trouble = found.trouble or trouble
    if found.exit_code is None and not found.trouble and not found.unavailable:
        found.trouble = f"died with exit code {process.returncode}: {(found.output.strip().splitlines() or ['it said nothing'])[-1]}"
    if found.unavailable:
        raise Unavailable(found.unavailable)
    return found


def compare_program(request: Request, timeout_s: float, runs: int) -> Outcome:
    """Run both sides and compare; look again at a difference. Raises Unavailable."""
    twin = run_side("twin_side", request, timeout_s)
    host = run_side("host_side", request, timeout_s)
    comparison = Comparison(host, twin)
    first = comparison.run()
    done = 1
    while first is not None and not host.trouble and done < runs:
        again = run_side("host_side", request, timeout_s)
        done += 1
        itself = Comparison(host, again).run()
        if itself is not None:
            other = Comparison(again, twin)
            if other.run() is None:
                return Outcome(other, False, done)
            if itself.place() == first.place() or itself.kind == first.kind:
                return Outcome(comparison, True, done)
    return Outcome(comparison, False, done)
