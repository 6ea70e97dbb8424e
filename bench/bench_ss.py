"""`twinsock ss` against ss(8) with 100,000 TCP sockets in a namespace of their own: ratios of one run, cold, as typed.

    python bench/bench_ss.py [--json] [COUNT] [ROUNDS]

Prints one line per command: the least wall and CPU seconds of both, ours over theirs, and our peak memory.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (("-tan",), ("-tanp",), ("-tan", "sport", "=", ":8001"), ("-ltnp",), ("-tani",), ("-tane",), ("-tanm",), ("-tanieo",))
SLOW = 5.0  # a command that took longer is not repeated


def ours() -> list[str]:
    """Give the command as an installed twinsock runs: the interpreter and the entry point."""
    return [sys.executable, "-c", "from twinsock.ui.cli import main; main()", "ss"]


def measure(command: list[str], rounds: int, fine: tuple[int, ...] = (0,)) -> tuple[float, float, int]:
    """Run a command some times: least wall seconds, least CPU seconds, most KiB; `fine` are its good exit codes."""
    wall, cpu, peak = 1e9, 1e9, 0
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    for _ in range(rounds):
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in fine:
            raise SystemExit(f"{command} failed with {process.returncode}")
        took = time.perf_counter() - start
        wall, cpu, peak = min(wall, took), min(cpu, usage.ru_utime + usage.ru_stime), max(peak, usage.ru_maxrss)
        if took > SLOW:
            break
    return wall, cpu, peak


@contextlib.contextmanager
def many_sockets(count: int) -> Iterator[None]:
    """Enter a fresh namespace and fill it."""
    os.unshare(os.CLONE_NEWNET) if hasattr(os, "unshare") else _unshare()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with subprocess.Popen(
        [sys.executable, str(ROOT / "bench/tcp_sockets.py"), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as maker:
        assert maker.stdin is not None and maker.stdout is not None
        if maker.stdout.readline() != b"ready\n":
            raise SystemExit("the sockets could not be made")
        yield
        maker.stdin.close()


def _unshare() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):
        raise SystemExit("needs root: a network namespace of its own")


def main() -> None:
    """Measure and print."""
    numbers = [int(word) for word in sys.argv[1:] if word != "--json"]
    count = numbers[0] if numbers else 100_000
    rounds = numbers[1] if len(numbers) > 1 else 5
    results: list[dict[str, object]] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with many_sockets(count):
        print(f"{count} TCP sockets, least of {rounds}; seconds: wall (CPU)")
        for arguments in COMMANDS:
            our_wall, our_cpu, peak = measure([*ours(), *arguments], rounds)
            their_wall, their_cpu, _ = measure(["ss", *arguments], rounds)
            print(
                f"ss {' '.join(arguments):<18} twinsock {our_wall:.3f} ({our_cpu:.3f})  ss {their_wall:.3f} ({their_cpu:.3f})  "
                f"ratio {our_wall / their_wall:.2f} ({our_cpu / their_cpu:.2f})  peak {peak / 1024:.0f} MB",
                flush=True,
            )
            name = f"twinsock ss {' '.join(arguments)}"
            results.append({"name": name, "ratio": round(their_cpu / our_cpu, 3), "goal": None, "peer": f"ss {arguments[0]}"})
    if "--json" in sys.argv:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
