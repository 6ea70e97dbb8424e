"""Programs on stock packages, run again and again: the same seed gives the same system calls, output and number of switches.

    python tests/sim/identical_runs.py                       every program of tests/sim/programs, 30 times each
    python tests/sim/identical_runs.py --times 5 trio_echo   one of them, five times

Needs the packages of the extra `packages` in the interpreter which runs this; a program whose package is missing is left out by name.
Exit code 1 if two runs of a program differ."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).resolve().parent / "programs"
NEEDS = {
    "aiohttp_web": ("aiohttp",),
    "uvicorn_httpx": ("uvicorn", "starlette", "httpx"),
    "requests_http": ("requests",),
    "redis_socketserver": ("redis",),
    "trio_echo": ("trio",),
    "websockets_chat": ("websockets",),
}


def names() -> list[str]:
    """Return the programs' names."""
    return sorted(path.stem for path in PROGRAMS.glob("*.py"))


def missing(name: str) -> list[str]:
    """Return the packages that a program needs and that are not installed."""
    return [package for package in NEEDS.get(name, ()) if find_spec(package) is None]


def run_once(name: str, seed: int = 0) -> tuple[str, str, int]:
    """Run a program on the twin: (hash of its trace and output, output with errors, lines of the trace)."""
    with tempfile.TemporaryDirectory(prefix="identical-") as folder:
        trace = os.path.join(folder, "trace.txt")
        command = [
            sys.executable,
            "-m",
            "twinsock",
            "run",
            "--seed",
            str(seed),
            "--watchdog",
            "0",
            "--trace",
            trace,
            str(PROGRAMS / f"{name}.py"),
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=env, capture_output=True, timeout=300, check=False)
        calls = Path(trace).read_bytes() if os.path.exists(trace) else b""
    digest = hashlib.sha256(calls + done.stdout + done.stderr + bytes([done.returncode & 0xFF])).hexdigest()
    return digest, (done.stdout + done.stderr).decode(errors="replace"), calls.count(b"\n")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="*", help="names without .py; all if none is given")
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    differ = False
    for name in args.programs or names():
        if missing(name):
            print(f"{name:20} left out: {', '.join(missing(name))} not installed")
            continue
        begin = time.monotonic()
        runs = [run_once(name, args.seed) for _ in range(args.times)]
        digests = [digest for digest, _, _ in runs]
        same = digests.count(max(set(digests), key=digests.count))
        differ = differ or same != args.times
        seconds = (time.monotonic() - begin) / args.times
        print(f"{name:20} {same} of {args.times} identical, {runs[0][2]} calls, {seconds:.1f} s each", flush=True)
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main())
