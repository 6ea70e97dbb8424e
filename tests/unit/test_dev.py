"""`./dev`: the interpreter it chooses, the benches it reads, the lines it says when something is missing."""

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    """The script as a module."""
    loader = importlib.machinery.SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _fake_python(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + body + "\n")
    path.chmod(0o755)
    return path


def test_a_shim_without_an_interpreter_behind_it_is_passed_over(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_python(tmp_path / "shims", "python3.12", "echo 'command not found' >&2; exit 127")
    _fake_python(tmp_path / "bin", "python3.12", "echo 3.12; echo /opt/real/python3.12")
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    assert dev.find_python("3.12") == "/opt/real/python3.12"
    assert dev.find_python("3.13") == ""


def test_pyenv_versions_are_found_though_not_on_path(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _fake_python(tmp_path / "versions/3.13.0/bin", "python3.13", 'echo 3.13; echo "$0"')
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert dev.find_python("3.13") == str(real)


def test_an_old_python_goes_on_with_a_newer_one_or_says_what_is_missing(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(dev.sys, "version_info", (3, 8, 18))
    monkeypatch.setattr(dev.os, "execv", lambda path, args: calls.append([path, *args[1:]]))
    monkeypatch.setattr(dev.sys, "argv", ["./dev", "test"])
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(dev.Stop, match=r"needs Python 3\.11 or newer: this one is 3\.8, .* on PATH"):
        dev.continue_with_a_new_enough_python()
    _fake_python(tmp_path, "python3.11", "echo 3.11; echo /usr/bin/python3.11")
    with pytest.raises(dev.Stop):  # the real execv does not return
        dev.continue_with_a_new_enough_python()
    assert calls[0] == ["/usr/bin/python3.11", str(ROOT / "dev"), "test"]


def test_a_bench_result_is_the_last_line_of_its_output(dev: ModuleType) -> None:
    results = dev._bench_results('warming up\n[{"name": "dump", "ratio": 12.345, "peer": "ss", "goal": 10}]\n')
    row = dev._bench_row(Path("bench/bench_dump.py"), results[0])
    assert row == ["dump", "dump", "12.35x", "10.00x", "ss", "met"]
    row = dev._bench_row(Path("bench/bench_dump.py"), {"name": "dump", "ratio": 9.9, "goal": 10})
    assert row == ["dump", "dump", "9.90x", "10.00x", "", "missed"]
    row = dev._bench_row(Path("bench/bench_dump.py"), {"name": "dump", "ratio": 9.9})
    assert row == ["dump", "dump", "9.90x", "", "", ""]


@pytest.mark.slow
def test_the_tally_counts_steps_and_tests_and_fails_with_either(dev: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "test_three.py"
    program.write_text('"""Three."""\nimport pytest\ndef test_a(): pass\ndef test_b(): assert False\ndef test_c(): pytest.skip(\'no\')\n')
    tally = dev.Tally()
    assert tally.step("true", [sys.executable, "-c", ""])
    assert tally.close() == 0
    assert not tally.pytest("three", sys.executable, ["--rootdir", str(tmp_path), "-c", "/dev/null", str(program)])
    assert tally.close() == 1
    assert capfd.readouterr().out.endswith("failed: three\nskipped: 1, each with its reason above\n2 passed, 1 failed\n")
    assert not tally.step("false", [sys.executable, "-c", "raise SystemExit(3)"])
    assert tally.failed == 2


@pytest.mark.slow
def test_no_test_collected_is_a_failure_unless_expected(dev: ModuleType, tmp_path: Path) -> None:
    empty = ["--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    tally = dev.Tally()
    assert tally.pytest("empty", sys.executable, empty, may_be_empty=True)
    assert not tally.pytest("empty", sys.executable, empty)
    assert tally.failed == 1


def test_an_unknown_bench_is_refused_in_one_line(dev: ModuleType) -> None:
    with pytest.raises(dev.Stop, match=r"there is no bench/nothing_\*\.py"):
        dev._chosen("bench/nothing_*.py", "nothing_", [])
    with pytest.raises(dev.Stop, match="no such name: nothing"):
        dev._chosen("tests/arch/test_*.py", "test_", ["nothing"])
    assert dev._chosen("tests/arch/test_*.py", "test_", ["sizes"]) == [ROOT / "tests/arch/test_sizes.py"]


def test_the_script_starts_and_lists_its_commands() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "dev"), "help"], capture_output=True, text=True)
    assert done.returncode == 0
    for command in ("setup", "test", "lint", "check", "bench", "campaign"):
        assert f"\n    {command} " in done.stdout


def test_trace_takes_its_options_before_and_behind_the_program() -> None:
    for words in (["--only", "listen", "--depth", "2", "examples/echo.py"], ["examples/echo.py", "--only=listen", "--depth=2"]):
        done = subprocess.run([sys.executable, "dev", "trace", *words], capture_output=True, text=True, cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == ["hello", "program[2]  sys_listen() = 0", "  __sys_listen"]
