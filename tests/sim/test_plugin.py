"""The pytest plugin and `twinsock sweep`, as their users see them: files of scenarios given to processes of their own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # each starts pytest anew, on a machine that may be busy
ROOT = Path(__file__).resolve().parents[2]
HEAD = "import socket, threading, time, random, os\nimport pytest, twinsock\nfrom twinsock import sim\n"
UNLUCKY = """
@twinsock.test(seeds=40)
def test_unlucky():
    def serve():
        listener = socket.create_server(("", 80))
        while True:
            listener.accept()[0].close()
    sim.conditions(loss=0.4)
    sim.host("server", serve)
    client = sim.host("client")
    sim.sleep(1)
    print("asking")
    client.call(socket.create_connection, ("server", 80))
    assert sim.now() < 1.5, "it took too long"
"""


def run_pytest(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file."""
    (folder / "test_it.py").write_text(HEAD + text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "twinsock.pytest_plugin", "-p", "no:cacheprovider", "test_it.py", *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False)


def test_a_failure_names_its_seed_and_how_to_replay_it_and_shows_the_state_of_the_world(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, UNLUCKY)
    assert done.returncode == 1
    for part in ("failed: AssertionError: it took too long", "replay it: pytest test_it.py::test_unlucky --twinsock-seed", "pending tasks"):
        assert part in done.stdout
    for part in ("host server", "LISTEN", "TcpExtTCPTimeouts", "last packets", "lost", "first difference from seed", "asking"):
        assert part in done.stdout
    seed = done.stdout.partition("--twinsock-seed ")[2].split()[0]
    again = run_pytest(tmp_path, UNLUCKY, "--twinsock-seed", seed, "--twinsock-pcap", "out.pcapng")
    assert again.returncode == 1
    assert done.stdout.partition("last packets")[2].partition("first difference")[0].strip() in again.stdout
    assert (tmp_path / "out.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


def test_a_scenario_that_is_not_deterministic_is_found(tmp_path: Path) -> None:
    text = "@twinsock.test(seeds=2)\ndef test_it():\n    sim.sleep(int(os.readlink('/proc/self')) % 1000)  # the real process\n"
    done = run_pytest(tmp_path, text, "--check-determinism")
    assert done.returncode == 1, done.stdout
    assert "is not deterministic" in done.stdout
    good = run_pytest(tmp_path, UNLUCKY.replace("assert", "assert True or"), "--check-determinism", "--twinsock-seeds", "3")
    assert good.returncode == 0, good.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@twinsock.test\ndef test_it():\n    threading.Event().wait()\n", "Deadlock"),
        ("@twinsock.test(wall_limit=1)\ndef test_it():\n    while True: pass\n", "busy loop"),
        ("@twinsock.test(time_limit=5)\ndef test_it():\n    time.sleep(6)\n", "not at its end after 5 s"),
        ("@twinsock.test\ndef test_it():\n    sim.host('a', lambda: 1 / 0)\n    sim.sleep(1)\n", "ZeroDivisionError"),
        (
            "@twinsock.test\ndef test_it():\n    sim.always(lambda: sim.now() < 1, 'early')\n    time.sleep(3)\n    time.sleep(3)\n",
            "early does not hold",
        ),
        ("@twinsock.test\ndef test_it():\n    sim.eventually(lambda: False, within=3)\n", "was not true within 3"),
        ("@twinsock.test\ndef test_it(tmp_path):\n    pass\n", "the fixture 'tmp_path' lives outside"),
        ("@twinsock.test\ndef test_it():\n    os.fork()\n", "os.fork() would leave the simulation"),
        ("import nothing_like_that\n@twinsock.test\ndef test_it():\n    pass\n", "nothing_like_that"),
        ("@twinsock.test\ndef test_it():\n    value = 3\n    assert value == 4\n", "assert 3 == 4"),
    ],
)
def test_what_goes_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    done = run_pytest(tmp_path, text)
    assert done.returncode in (1, 2)
    assert message in done.stdout


def test_skips_classes_and_wrong_options_are_understood(tmp_path: Path) -> None:
    text = "class TestIt:\n    @twinsock.test(seeds=3)\n    def test_in_a_class(self, sim):\n        assert sim.now == 0\n"
    text += "@twinsock.test\ndef test_skipped():\n    pytest.skip('not today')\n"
    done = run_pytest(tmp_path, text, "-rs")
    assert "1 passed, 1 skipped" in done.stdout
    assert "not today" in done.stdout
    assert "which with --twinsock-seed" in run_pytest(tmp_path, text, "--twinsock-pcap", "x").stderr


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `twinsock sweep`."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "twinsock", "sweep", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow")
def test_a_sweep_lists_failing_seeds_and_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(HEAD + UNLUCKY)
    done = sweep(tmp_path, "test_it.py", "--seeds", "20")
    assert done.returncode == 1
    assert "20 runs known, 20 of them now" in done.stdout
    assert "replay: pytest" in done.stdout
    again = sweep(tmp_path, "test_it.py::test_unlucky", "--seeds", "25")
    assert "25 runs known, 5 of them now" in again.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if "sweep" in path.name) == ["sweep-test_it.parquet"]


def test_a_sweep_with_wrong_arguments_says_so(tmp_path: Path) -> None:
    for arguments, message in (
        ([], "which file?"),
        (["nothing.py"], "no such file"),
        (["a.py", "--seed"], "did you mean --seeds"),
        (["a.py", "--seeds", "many"], "--seeds"),
    ):
        done = sweep(tmp_path, *arguments)
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1)
