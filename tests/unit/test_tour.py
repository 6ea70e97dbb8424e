"""docs/tour.md and the examples are true: the functions exist, a byte passes them in this order, and the output is the real one."""

import ast
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

from tests.call_paths import every_call
from twinsock.kernel.boot import start_kernel
from twinsock.runtime.facade import TwinEnv

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "src" / "twinsock" / "kernel"
TOUR = (ROOT / "docs" / "tour.md").read_text()
README = (ROOT / "README.md").read_text()
EXAMPLE = ROOT / "examples" / "boot_a_kernel.py"
ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| ([^|]+) \|", re.MULTILINE)
STOPS = [(path, re.findall(r"`(\w+)`", who)) for _, path, who in ROW.findall(TOUR)]


def calls_of_one_byte() -> list[tuple[str, str]]:
    """Return (file, function) of everything the kernel enters while a program sends and receives."""
    seen: list[tuple[str, str]] = []

    def profile(frame: FrameType, event: str, arg: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(KERNEL):
            seen.append((str(path.relative_to(KERNEL)), frame.f_code.co_name))

    threading.setprofile(profile)
    try:
        TwinEnv(start_kernel(1)).run(every_call)
    finally:
        threading.setprofile(None)
    return seen


def test_the_tour_has_twelve_stops_whose_functions_are_where_it_says() -> None:
    assert len(STOPS) == 12
    for path, names in STOPS:
        tree = ast.parse((KERNEL / path).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert names and set(names) <= defined, path


@pytest.mark.pure
def test_a_byte_passes_the_stops_in_the_order_of_the_tour() -> None:
    calls = calls_of_one_byte()
    calls = calls[calls.index(("net/socket.py", "sys_send")) :]
    position = 0
    for path, names in STOPS:
        for name in names:
            assert (path, name) in calls[position:], f"{path}: {name} is not entered after the stops before it"
            position = calls.index((path, name), position)


def test_the_tour_and_the_readme_show_the_example_as_it_is_and_its_output_as_it_comes() -> None:
    assert f"```python\n{EXAMPLE.read_text()}```\n" in TOUR
    assert f"```python\n{EXAMPLE.read_text()}```\n" in README
    done = subprocess.run([sys.executable, str(EXAMPLE)], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"```\n{done.stdout}```\n" in TOUR
    assert f"```\n{done.stdout}```\n" in README


def test_the_newcomers_example_has_at_most_twenty_lines() -> None:
    lines = EXAMPLE.read_text().split('"""\n', 1)[1].splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 20
