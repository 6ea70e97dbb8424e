"""Unmodified programs under `twinsock run`, each a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.slow


def run(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `twinsock run` with arguments."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "twinsock", "run", *args]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def run_text(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program given as text."""
    path = folder / "prog.py"
    path.write_text(text)
    return run(*options, str(path))


def test_threads_with_blocking_sockets_talk_and_an_hour_of_sleep_passes_at_once() -> None:
    done = run(str(PROGRAMS / "echo_threads.py"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sorted(lines[:4]) == [f"CLIENT {number}" for number in range(4)]
    assert lines[4:] == ["slept 3600.0"]


def test_asyncio_streams_work_as_they_are() -> None:
    done = run(str(PROGRAMS / "asyncio_streams.py"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sorted(lines[:20]) == sorted(f"LINE {number}" for number in range(20))
    assert lines[20:] == ["slept 3600.0", "thread done"]


def test_http_server_and_urllib_work_and_time_is_virtual() -> None:
    done = run("--host", "web1", str(PROGRAMS / "web.py"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "['path /0', 'path /1', 'path /2', 'path /3', 'path /4']" in done.stdout
    assert "empty after 5.0" in done.stdout
    assert "2026-01-01 2026 web1 " in done.stdout


def test_tls_works_with_blocking_sockets_with_asyncio_and_under_https() -> None:
    done = run(str(PROGRAMS / "tls.py"))
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == "TLSv1.3 True The read operation timed out"
    assert sorted(rest[:2]) == [
        "client: Hostname mismatch, certificate is not valid for 'other.example'.",
        "server: SSLV3_ALERT_BAD_CERTIFICATE",
    ]
    assert rest[2:] == ["TLSv1.3 b'HELLO\\n'", "200 b'/page'"]


@pytest.mark.parametrize("program", ["echo_threads.py", "asyncio_streams.py", "web.py"])
def test_one_seed_gives_the_same_output_each_time(program: str) -> None:
    assert len({run("--seed", "5", str(PROGRAMS / program)).stdout for _ in range(3)}) == 1


def test_another_seed_gives_other_random_numbers() -> None:
    assert len({run("--seed", str(seed), str(PROGRAMS / "web.py")).stdout for seed in range(2)}) == 2


def test_exit_code_is_that_of_the_program(tmp_path: Path) -> None:
    assert run_text(tmp_path, "import sys; sys.exit(7)").returncode == 7
    done = run_text(tmp_path, "raise ValueError('no')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: no"
    assert "twinsock" not in done.stderr


def test_deadlock_is_named_with_the_line_that_waits(tmp_path: Path) -> None:
    done = run_text(tmp_path, "import socket\na, b = socket.socketpair()\na.recv(1)\n")
    assert done.returncode == 124
    assert "deadlock" in done.stderr
    assert "MainThread (task 2) waits in recvfrom(), called at " in done.stderr
    assert "prog.py:3" in done.stderr


@pytest.mark.parametrize(
    "text, call",
    [
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen()"),
        ("import os; os.fork()", "os.fork()"),
        ("import os; os.system('true')", "os.system()"),
        ("import ctypes; ctypes.CDLL(None).socket(2, 1, 0)", "the C function socket()"),
    ],
)
def test_what_would_leave_the_simulation_is_refused_by_name(tmp_path: Path, text: str, call: str) -> None:
    done = run_text(tmp_path, text)
    assert done.returncode == 1
    assert "Escape: " in done.stderr
    assert call in done.stderr
    assert "--allow" in done.stderr


def test_an_allowed_escape_reaches_the_real_world(tmp_path: Path) -> None:
    done = run_text(tmp_path, "import subprocess; print(subprocess.run(['true']).returncode)", "--allow", "subprocess")
    assert (done.stdout, done.returncode) == ("0\n", 0)


def test_a_sysctl_and_a_capture_file_take_effect(tmp_path: Path) -> None:
    text = "print(open('/proc/sys/net/core/somaxconn').read())\nimport socket\nsocket.create_server(('127.0.0.1', 7))\n"
    text += "socket.create_connection(('127.0.0.1', 7))\n"
    done = run_text(tmp_path, text, "--sysctl", "net.core.somaxconn=16", "--pcap", str(tmp_path / "out.pcapng"))
    assert done.stdout == "16\n\n"
    assert (tmp_path / "out.pcapng").read_bytes()[:4] == b"\n\r\r\n"
    assert (tmp_path / "out.pcapng").stat().st_size > 300


@pytest.mark.parametrize(
    "args, words",
    [
        ([], "which program?"),
        (["--sede", "1", "x.py"], "did you mean --seed"),
        (["--seed"], "a value is missing"),
        (["nothing.py"], "nothing.py: No such file or directory"),
        (["--sysctl", "net.core.nothing=1", str(PROGRAMS / "web.py")], "no such setting"),
        (["--allow", "all", "x.py"], "one of subprocess"),
    ],
)
def test_wrong_usage_gives_one_line_and_code_two(args: list[str], words: str) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
