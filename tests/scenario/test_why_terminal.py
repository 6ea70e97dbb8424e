"""`why` as a person sees it: on a terminal of 80 and of 60 columns, as an ordinary user, and while things vanish."""

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest

import twinsock.host.port
import twinsock.inspect.gather
from tests.arch.sources import ROOT
from tests.netns import unshare_net
from tests.scenario.test_why_causes import NOBODY, as_nobody, child_with
from tests.scenario.why_kit import LOOPBACK, bound, listener, port_of, time_wait, why_text
from twinsock.ui import cli

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns: int, *argv: str, **environment: str) -> str:
    """Run the command on a terminal of its own and give what it wrote there."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            os.environ.update({"TERM": "xterm", **environment})
            sys.stdout = os.fdopen(1, "w")
            cli.main(["why", *argv])
            sys.stdout.flush()
        finally:
            os._exit(0)
    written = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(terminal)
    os.waitpid(pid, 0)
    return written.decode().replace("\r\n", "\n")


def too_long(text: str, columns: int) -> list[str]:
    """List the lines that do not fit."""
    return [line for line in COLOUR.sub("", text).splitlines() if len(line) > columns]


@pytest.mark.parametrize("columns", [80, 60])
def test_every_line_fits_the_terminal(in_netns: Runner, columns: int) -> None:
    def program() -> None:
        port = str(time_wait())
        six = listener("::", 8080, socket.SO_REUSEADDR, family=socket.AF_INET6, v6only=0)
        client = socket.create_connection(("::1", 8080))
        bound("127.0.0.2", 9090)
        for argv in (
            *(["8080"], ["tcp://[::]:8080"], [port, "--reuseaddr", "--prove"], ["9090"], ["8080", "--uid", str(NOBODY)]),
            *(["80", "--uid", str(NOBODY)], ["[2001:db8:1111:2222:3333:4444:5555:6666]:8080"], ["unix:/run/" + "x" * 40]),
            *(["--connect", "127.0.0.1:1"], ["0", "--reuseport"], ["7"], [str(port_of(client))]),
        ):
            text = on_terminal(columns, *argv)
            assert text and "Traceback" not in text
            assert too_long(text, columns) == [], argv
        assert six.fileno() >= 0

    in_netns(program)


def test_the_help_fits_eighty_columns_and_shows_examples() -> None:
    text = on_terminal(80, "--help")
    assert too_long(text, 79) == []
    for example in ("twinsock why 8080 --pid", "twinsock why --connect", "twinsock why unix:"):
        assert example in text


def test_colour_only_on_a_terminal_that_wants_it(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080)
        assert "\x1b[" in on_terminal(80, "8080")
        assert "\x1b[" not in on_terminal(80, "8080", NO_COLOR="1")
        assert "\x1b[" not in on_terminal(80, "8080", TERM="dumb")
        assert "\x1b[" not in on_terminal(80, "8080", "--no-color")
        assert "\x1b[" not in why_text("8080")[1]
        assert server.fileno() >= 0

    in_netns(program)


def test_an_ordinary_user_gets_an_answer_to_every_form_and_is_told_what_is_hidden(in_netns: Runner) -> None:
    def program() -> None:
        forms = (
            *(["8080"], ["tcp://127.0.0.1:8080", "--reuseaddr"], ["tcp://[::]:80"], ["udp://[::]:53", "--v6only"], ["53/udp"]),
            *(["mptcp://:8443"], ["unix:/run/none.sock"], ["unix:@abstract"], ["--connect", "127.0.0.1:8080"], ["0", "--reuseport"]),
            *(["8080", "--device", "lo"], ["8080", "--json"], ["8080", "--prove"], ["8080", "--pid", str(os.getpid())]),
            *(["8080", "--uid", "0"], ["8080", "--netns", "1"], ["8080", "--netns", str(os.getpid())]),
        )
        with child_with(lambda: listener("0.0.0.0", 8080)):
            for argv in forms:
                code, out, err = as_nobody(lambda argv=argv: why_text(*argv))  # type: ignore[misc]
                assert code in (0, 1, 2, 3), argv
                assert len(err.splitlines()) == (1 if code == 2 or not out else 0), (argv, err)
            code, out, err = as_nobody(lambda: why_text("8080", "--reuseport"))
            assert (code, err) == (3 if "cannot tell" in out else 1, "")
            assert "hidden" in out and "sudo twinsock why" in out

    in_netns(program)


STEPS = [
    (twinsock.inspect.gather, "bind_sysctls"),
    (twinsock.inspect.gather, "add_sockets"),
    (twinsock.inspect.gather, "read_addresses"),
    (twinsock.inspect.gather, "find_mptcp"),
    (twinsock.host.port.HostPort, "owners"),
    (twinsock.host.port.HostPort, "reuse_flags"),
]


@pytest.mark.parametrize(("place", "name"), STEPS, ids=[name for _place, name in STEPS])
@pytest.mark.parametrize("option", ["--pid", "--netns"])
def test_a_process_that_vanishes_in_the_middle_leaves_a_clear_answer(
    in_netns: Runner, monkeypatch: pytest.MonkeyPatch, place: object, name: str, option: str
) -> None:
    real = getattr(place, name)

    def program() -> None:
        def serve() -> socket.socket:
            unshare_net()
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            return listener(LOOPBACK, 8080)

        with child_with(serve) as pid:

            def vanish(*args: Any, **named: Any) -> Any:
                os.kill(pid, signal.SIGKILL)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                return real(*args, **named)

            monkeypatch.setattr(place, name, vanish)
            code, out, err = why_text("127.0.0.1:8080", option, str(pid))
            monkeypatch.undo()
            assert code in (0, 1, 2, 3)
            assert (len(err.splitlines()) == 1 and not out) if code == 2 or not out else not err

    in_netns(program)


def test_garbage_is_one_line_and_exit_code_two() -> None:
    for argv in (["8080x"], ["99999"], ["tcp://1.2.3.4.5:1"], ["udp://[::g]:1"], ["8080", "--pid", "x"], ["8080", "--nope"], ["unix:"], []):
        command = [sys.executable, "-m", "twinsock", "why", *argv]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT / "src")})
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1, argv
