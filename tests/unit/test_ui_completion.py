"""Shell completion: what the scripts offer is what the parsers accept."""

import shutil
import subprocess

import pytest

from twinsock.ui import completion
from twinsock.ui.cli import COMMANDS
from twinsock.ui.ss_options import OPTIONS


def complete_in_bash(*words: str) -> list[str]:
    """Ask bash what it would offer for the last word."""
    quoted = " ".join([f"'{word}'" for word in words])
    script = completion.bash() + f"\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _twinsock; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_offers_commands_options_and_values() -> None:
    assert complete_in_bash("twinsock", "w") == ["why"]
    assert complete_in_bash("twinsock", "ss", "--list") == ["--listening"]
    assert complete_in_bash("twinsock", "ss", "--family", "net") == ["netlink"]
    assert complete_in_bash("twinsock", "ss", "state", "est") == ["established", "estab"]
    assert complete_in_bash("twinsock", "why", "--reusea") == ["--reuseaddr"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_and_every_option_of_ss_is_in_the_script(shell: str) -> None:
    script = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}[shell]()
    for name in COMMANDS:
        assert name in script
    for _short, long, _value, _help in OPTIONS:
        assert (f"-l {long}" if shell == "fish" else f"--{long}") in script


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_shell_itself_accepts_the_script(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    script = {"bash": completion.bash, "zsh": completion.zsh, "fish": completion.fish}[shell]()
    subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True)


def test_an_unknown_shell_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main(["fsh"]) == 2
    assert "did you mean fish" in capsys.readouterr().err
