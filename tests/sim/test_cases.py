"""The case studies of docs/cases: the broken program fails for a seed, with the symptom that its page tells of; the fixed one passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # each starts pytest anew, on a machine that may be busy
ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "docs" / "cases"
SYMPTOMS = {
    "lost_update": "assert",
    "retry_storm": "clients still wait, forty seconds after the partition",
    "accept_queue": "the server's accept queue was full",
    "port_exhaustion": "[Errno 99] Cannot assign requested address",
    "nagle": "43 ms each",
}


def run(name: str, which: str) -> subprocess.CompletedProcess[str]:
    """Run one half of a case."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "twinsock.pytest_plugin", "-p", "no:cacheprovider", "-k", which]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return subprocess.run([*command, str(CASES / f"test_{name}.py")], env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_seed_finds_the_fault_of_a_case(name: str) -> None:
    broken = run(name, "broken")
    assert broken.returncode == 1, broken.stdout
    assert SYMPTOMS[name] in broken.stdout
    assert "--twinsock-seed" in broken.stdout


@pytest.mark.parametrize("name", SYMPTOMS)
def test_the_fixed_version_of_a_case_passes(name: str) -> None:
    fixed = run(name, "fixed")
    assert fixed.returncode == 0, fixed.stdout


def test_every_case_has_a_page_and_every_page_its_case() -> None:
    pages = {path.stem.replace("-", "_") for path in CASES.glob("*.md")} - {"README"}
    assert pages == {path.stem.removeprefix("test_") for path in CASES.glob("test_*.py")} == set(SYMPTOMS)
