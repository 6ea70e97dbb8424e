"""How many parity cases there are, by area: python -m tests.parity.cases, or ./dev cases.

A case is one collected test: a program with its arguments that runs on the live kernel and on the twin. Where many tests read one run (the
tables of a scene), the column of programs counts the run once. What the campaigns draw at random is not counted."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.parity.prockit import SCENES

ROOT = Path(__file__).parents[2]
# Beginnings of the files' names; the longest that fits decides
AREAS: dict[str, tuple[str, ...]] = {
    "socket(), files, descriptors": ("socket_calls", "create_", "descriptors", "splice", "messages"),
    "namespaces and sysctls": ("namespaces", "sysctls"),
    "bind and ports": ("bind_", "reuseport_", "tw_reuse", "udp_crowds"),
    "UDP and UDP-Lite": ("udp_",),
    "RAW and ping": ("raw_",),
    "UNIX": ("unix_",),
    "socket options": ("ip_options", "sol_socket", "tcp_options"),
    "waiting": ("poll", "timers"),
    "buffers, zero-copy, filters": ("stream_", "filter", "timestamp"),
    "netlink and interface ioctls": ("netlink_", "dev_"),
    "packet sockets": ("packet_",),
    "/proc, sock_diag, ss": ("proc_", "diag_"),
    "the network layer": ("ip_", "drop_"),
    "TCP": ("tcp_", "wire_"),
    "the function graph": ("call_",),
}
SCENE_FILES = ("proc_inet", "proc_ss")
OTHER = "others"


def collected() -> list[str]:
    """Return the names of all parity tests, as pytest collects them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/parity"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-2000:] + done.stderr)
    return [line for line in done.stdout.splitlines() if "::" in line]


def area_of(path: str) -> str:
    """Return the area that a test file belongs to."""
    stem = Path(path).stem.removeprefix("test_")
    fits = [(len(beginning), area) for area, beginnings in AREAS.items() for beginning in beginnings if stem.startswith(beginning)]
    return max(fits, default=(0, OTHER))[1]


def counted(nodes: list[str]) -> dict[str, tuple[int, int]]:
    """Return (cases, programs) of each area."""
    files = Counter(node.partition("::")[0] for node in nodes)
    found: dict[str, tuple[int, int]] = {}
    for path, cases in files.items():
        stem = Path(path).stem.removeprefix("test_")
        programs = len(SCENES) if stem in SCENE_FILES else cases
        have = found.get(area_of(path), (0, 0))
        found[area_of(path)] = (have[0] + cases, have[1] + programs)
    return found


def main() -> int:
    """Print the table."""
    found = counted(collected())
    print(f"{'area':34}{'cases':>8}{'programs':>10}")
    for area in [*AREAS, OTHER]:
        if area in found:
            print(f"{area:34}{found[area][0]:8}{found[area][1]:10}")
    print(f"{'all':34}{sum(cases for cases, _ in found.values()):8}{sum(programs for _, programs in found.values()):10}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
