"""`twinsock why` beside `python3 -c pass` on this machine, and beside `ss -tanp | grep` with many TCP sockets.

python bench/why.py               the ratio to an interpreter that does nothing (wanted: below 3)
python bench/why.py 100000        also, with that many sockets in a fresh namespace, the ratio to ss (wanted: above 5); root

Each figure is the smallest of several runs, which alternate.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENTRY = "import sys; sys.path.insert(0, {path!r}); from twinsock.ui.cli import main; main()"
ROUNDS = 15
FREE_PORT = "18081"


def seconds(command: list[str]) -> float:
    """Run a command once."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


def smallest(commands: dict[str, list[str]], rounds: int) -> dict[str, float]:
    """Run all commands in turn, several times, and keep each one's best."""
    best = dict.fromkeys(commands, 1e9)
    for _round in range(rounds):
        for name, command in commands.items():
            best[name] = min(best[name], seconds(command))
    return best


def script() -> str:
    """Write the command as an installed one looks, and give its path."""
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"twinsock-bench-{os.getpid()}"
    path.write_text(ENTRY.format(path=str(HERE.parent / "src")))
    return str(path)


def idle(path: str) -> None:
    """Compare with an interpreter that does nothing."""
    best = smallest({"pass": [sys.executable, "-c", "pass"], "why": [sys.executable, path, "why", FREE_PORT]}, ROUNDS)
    print(f"python3 -c pass    {best['pass'] * 1000:7.1f} ms")
    print(f"twinsock why PORT  {best['why'] * 1000:7.1f} ms   {best['why'] / best['pass']:.2f} times (wanted: below 3)")


def crowded(path: str, count: int) -> None:
    """Compare with ss where there are many sockets."""
    command = ["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {sys.executable} {HERE / 'tcp_sockets.py'} {count}"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    try:
        if holder.stdout.readline() != b"ready\n":
            raise SystemExit("the sockets could not be made")
        inside = ["nsenter", "-t", str(holder.pid), "-n"]
        why = [*inside, sys.executable, path, "why", "127.0.1.1:8001"]
        ss = [*inside, "sh", "-c", "ss -tanp | grep 127.0.1.1:8001"]
        best = smallest({"why": why, "ss": ss}, 3)
        print(f"{count} TCP sockets: twinsock why {best['why']:.2f} s, ss -tanp | grep {best['ss']:.2f} s", end="")
        print(f"   {best['ss'] / best['why']:.1f} times faster (wanted: above 5)")
    finally:
        holder.stdin.close()
        holder.wait()


def main() -> None:
    """Measure."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed command has its bytecode
    path = script()
    try:
        idle(path)
        if len(sys.argv) > 1:
            crowded(path, int(sys.argv[1]))
    finally:
        os.unlink(path)


if __name__ == "__main__":
    main()
