"""Every name of the leaf modules of this Python exists on the twin; each call does there what it does on the kernel, or is fenced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).parent / "programs" / "surface.py"
FENCED = {"_socket.socket.sendmsg_afalg": "Escape None"}  # what the twin says instead, by name
pytestmark = pytest.mark.slow


def lines(*command: str) -> dict[str, str]:
    """Run the program; return what each call did, by name."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command, str(PROGRAM)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return dict(line.partition(": ")[::2] for line in done.stdout.splitlines())


def test_every_name_of_the_leaf_modules_does_on_the_twin_what_it_does_on_the_kernel() -> None:
    kernel, twin = lines(), lines("-m", "twinsock", "run")
    assert [name for name, did in kernel.items() if did.startswith("no call here")] == []
    assert {name: twin.get(name, "missing") for name in FENCED if name in kernel} == FENCED
    assert [(name, did, twin.get(name, "missing")) for name, did in kernel.items() if name not in FENCED and twin.get(name) != did] == []
