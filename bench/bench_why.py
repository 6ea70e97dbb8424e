"""`twinsock why` and the owners of all sockets, beside ss, psutil and an interpreter that does nothing.

    python bench/bench_why.py [--json] [--sockets N] [--rounds N] [--installed FOLDER]

* idle: `why` of a free and of a taken port against `python3 -c pass`, in namespaces where nothing else runs
* crowded: with 100,000 TCP sockets in a network namespace, `why PORT` against `ss -tanp | grep`, and all sockets with
  their owners, in-process, against `ss -tanp` and psutil, by BPF and without

Commands are run as installed with pip (by default into a fresh virtual environment). All runs of a comparison alternate;
a ratio is the median, over the rounds, of the peer's CPU time (user + system, children too) over ours. Needs root.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = str(HERE.parent / "src")
FREE_PORT, TAKEN_PORT = "18081", "18080"
EVERYTHING = """
import sys, time
sys.path.insert(0, sys.argv[1])
def ours(method):
    from twinsock.host.owners import find_owners
    from twinsock.host.port import HostPort
    from twinsock.inspect.table import socket_table
    table = socket_table(HostPort())
    owners = find_owners(None, method=method)
    held = owners.packed_of(table.column("inode"))
    rows = []
    for group in table.groups:
        rows += zip(group.column("local_port"), group.column("remote_port"), group.fields(), held[len(rows):])
    return sum(1 for row in rows if row[3]), len(rows)
def psutil_(_method):
    import psutil
    found = psutil.net_connections("tcp")
    return sum(1 for one in found if one.pid), len(found)
run = psutil_ if sys.argv[2] == "psutil" else ours
__import__("psutil" if run is psutil_ else "twinsock.inspect.table")
wall, cpu = time.perf_counter(), time.process_time()
owned, rows = run(sys.argv[2])
print(time.perf_counter() - wall, time.process_time() - cpu, owned, rows)
"""
SERVER = "import socket,sys; s = socket.create_server(('0.0.0.0', 18080)); print('up', flush=True); sys.stdin.read()"


class Timing:
    """The runs of one command."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def text(self) -> str:
        """Give the medians in milliseconds."""
        return f"wall {statistics.median(self.wall) * 1000:8.1f} ms   CPU {statistics.median(self.cpu) * 1000:8.1f} ms"


def run_once(command: list[str]) -> tuple[float, float]:
    """Run a command to its end: wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_inside(command: list[str]) -> tuple[float, float]:
    """Run a command that measures itself, and check that it saw sockets and owners."""
    wall, cpu, owned, rows = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    if int(owned) < int(rows) * 0.9:
        raise SystemExit(f"{command[-1]}: {owned} of {rows} sockets have an owner")
    return float(wall), float(cpu)


def compare(commands: dict[str, list[str]], rounds: int) -> dict[str, Timing]:
    """Run all commands in turn, several times."""
    timings = {name: Timing() for name in commands}
    for _round in range(rounds):
        for name, command in commands.items():
            wall, cpu = (run_inside if EVERYTHING in command else run_once)(command)
            timings[name].wall.append(wall)
            timings[name].cpu.append(cpu)
    for name, timing in timings.items():
        print(f"  {name:<34} {timing.text()}", flush=True)
    return timings


def ratio(name: str, ours: Timing, peer: Timing, goal: float | None, peer_name: str) -> dict[str, Any]:
    """Compare round by round."""
    cpu = statistics.median(b / a for a, b in zip(ours.cpu, peer.cpu, strict=True))
    wall = statistics.median(b / a for a, b in zip(ours.wall, peer.wall, strict=True))
    return {"name": name, "ratio": round(cpu, 3), "wall_ratio": round(wall, 3), "goal": goal, "peer": peer_name}


def install(folder: str) -> Path:
    """Install the project into a fresh virtual environment, as a user does."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    copy = Path(folder) / "project"
    shutil.copytree(HERE.parent / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "bin"):
        source = HERE.parent / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        elif source.exists():
            shutil.copy(source, copy / name)
    subprocess.run([folder + "/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", str(copy)], check=True)
    return Path(folder)


def idle(venv: Path, rounds: int) -> list[dict[str, Any]]:
    """Compare with an interpreter that does nothing; the namespaces keep the rest of the machine out of sight."""
    print("nothing else running:")
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None and server.stdout is not None and server.stdout.readline() == b"up\n"
        why = [str(venv / "bin/twinsock"), "why"]
        commands = {
            "python3 -c pass": [str(venv / "bin/python3"), "-c", "pass"],
            "twinsock why FREE": [*why, FREE_PORT],
            "twinsock why TAKEN": [*why, TAKEN_PORT],
        }
        found = compare(commands, rounds)
        server.stdin.close()
    empty = found["python3 -c pass"]
    return [
        ratio(f"why of a {kind} port, idle", found[f"twinsock why {kind.upper()}"], empty, 0.333, "python3 -c pass")
        for kind in ("free", "taken")
    ]


def crowded(venv: Path, count: int, rounds: int) -> list[dict[str, Any]]:
    """Compare where there are many sockets."""
    command = [sys.executable, str(HERE / "tcp_sockets.py"), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise SystemExit("the sockets could not be made")
        print(f"{count} TCP sockets:")
        inside = [sys.executable, "-c", EVERYTHING, SOURCE]
        found = compare(
            {
                "twinsock why PORT": [str(venv / "bin/twinsock"), "why", "127.0.1.1:8001"],
                "ss -tanp | grep": ["sh", "-c", "ss -tanp | grep 127.0.1.1:8001"],
                "ss -tanp": ["ss", "-tanp"],
                "sockets and owners, BPF": [*inside, "bpf"],
                "sockets and owners, /proc": [*inside, "proc"],
                "psutil": [*inside, "psutil"],
            },
            rounds,
        )
        holder.stdin.close()
    return [
        ratio("why PORT, cold", found["twinsock why PORT"], found["ss -tanp | grep"], 5, "ss -tanp | grep"),
        ratio("all with owners, BPF", found["sockets and owners, BPF"], found["ss -tanp"], 10, "ss -tanp"),
        ratio("all with owners, /proc", found["sockets and owners, /proc"], found["ss -tanp"], 5, "ss -tanp"),
        ratio("all with owners, BPF", found["sockets and owners, BPF"], found["psutil"], 5, "psutil"),
        ratio("all with owners, /proc", found["sockets and owners, /proc"], found["psutil"], None, "psutil"),
    ]


def inside_namespaces(options: argparse.Namespace, part: str, venv: Path) -> list[dict[str, Any]]:
    """Run one part of this file in fresh namespaces and return its results."""
    fresh = ["unshare", "-n"] if part == "crowded" else ["unshare", "-n", "-p", "-f", "--mount-proc"]
    prepare = "ip link set lo up; "
    if part == "idle":  # names of other network namespaces are mounts
        prepare += "awk '/ nsfs /{print $5}' /proc/self/mountinfo | while read m; do umount $m; done; "
    own = [sys.executable, __file__, "--part", part, "--installed", str(venv), "--sockets", str(options.sockets)]
    own += ["--rounds", str(options.rounds)]
    done = subprocess.run([*fresh, "sh", "-c", prepare + 'exec "$@"', "sh", *own], stdout=subprocess.PIPE, check=True, text=True)
    *lines, last = done.stdout.rstrip("\n").split("\n")
    print("\n".join(lines), flush=True)
    found: list[dict[str, Any]] = json.loads(last)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="the last line is the results")
    parser.add_argument("--sockets", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--installed", help="a virtual environment that has this version")
    parser.add_argument("--part", choices=("idle", "crowded"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    if options.part:
        venv = Path(options.installed)
        found = idle(venv, options.rounds * 4) if options.part == "idle" else crowded(venv, options.sockets, options.rounds)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(options.installed) if options.installed else install(folder)
        found = inside_namespaces(options, "idle", venv)
        found += inside_namespaces(options, "crowded", venv)
    for row in found:
        met = row["goal"] is not None and f"   goal {row['goal']}x " + ("met" if row["ratio"] >= row["goal"] else "missed")
        print(f"{row['name']:<28} {row['ratio']:>7}x {row['peer']}{met or ''}   (wall {row['wall_ratio']}x)")
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
