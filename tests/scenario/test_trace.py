"""`twinsock trace` on the live kernel: what it shows of a program, of failures, and that nothing is left behind."""

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns import Netns, fresh_netns, netns_missing
from twinsock.host.tracefs import TraceInstance

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("trace_prog.py")


def missing() -> str:
    """Say why tracing cannot be tested here."""
    if reason := netns_missing(root_needed=True):
        return reason
    try:
        TraceInstance().close()
    except OSError as error:
        return str(error.strerror)
    return ""


MISSING = missing()
pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
COMMAND = [sys.executable, "-m", "twinsock", "trace"]


@pytest.fixture
def space() -> Iterator[Netns]:
    with fresh_netns() as ns:
        yield ns


def start(ns: Netns, *arguments: str, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}

    def enter() -> None:
        ns.enter()
        if before is not None:
            before()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # where the tests run in the background it is ignored

    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=enter, env=environment
    )


def instances() -> list[str]:
    """List the tracing instances of this project."""
    own = TraceInstance()
    try:
        return [name for name in os.listdir(own.path + "/..") if name.startswith("twinsock-") and name != f"twinsock-{os.getpid()}"]
    finally:
        own.close()


def test_a_command_is_shown_with_arguments_errno_states_and_stacks(space: Netns) -> None:
    with start(space, "--", sys.executable, "-S", str(PROGRAM)) as process:
        text, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3" in text
    assert "socket() > __sys_socket > __sock_create" in text and "sock_alloc > alloc_inode > sock_alloc_inode" in text
    assert "bind(3, 127.0.0.1:8123) = 0" in text
    assert "bind(4, 127.0.0.1:8123) = -1 EADDRINUSE" in text
    assert "listen(3, 5) = 0" in text and "127.0.0.1:8123 -> 0.0.0.0:0 CLOSE => LISTEN" in text
    assert "SYN_SENT => ESTABLISHED" in text and "accept4(3) = " in text
    assert "close() > __fput > sock_close" in text


def test_json_lines_name_the_same_calls(space: Netns) -> None:
    with start(space, "--json", "--", sys.executable, "-S", str(PROGRAM)) as process:
        records = [json.loads(line) for line in process.communicate(timeout=30)[0].splitlines()]
    calls = [record["call"] for record in records if record["call"]]
    assert calls[:6] == ["socket", "socket", "bind", "listen", "bind", "socket"]
    failed = [record for record in records if record["errno"]]
    assert [(record["call"], record["errno"], record["address"]) for record in failed] == [("bind", "EADDRINUSE", "127.0.0.1:8123")]
    listen = next(record for record in records if record["call"] == "listen")
    assert listen["inside"][-1]["state"]["new"] == "LISTEN" and "inet_csk_listen_start" in listen["inside"][-1]["functions"]


def test_the_exit_code_is_that_of_the_command(space: Netns) -> None:
    with start(space, "--", sys.executable, "-S", "-c", "raise SystemExit(7)") as process:
        process.communicate(timeout=30)
    assert process.returncode == 7


def test_failures_of_the_host_are_shown_and_explained(space: Netns) -> None:
    with start(space, "--failures", "--explain", "--json") as process:
        assert process.stdout is not None
        # The program is running once a failure that is repeated shows up.
        provoke = "import socket, time\nwhile True:\n s = socket.socket(); r = socket.socket(); s.bind(('127.0.0.1', 8124)); s.listen()\n"
        provoke += " try: r.bind(('127.0.0.1', 8124))\n except OSError: time.sleep(0.3)\n s.close(); r.close(); time.sleep(0.1)"
        with subprocess.Popen([sys.executable, "-S", "-c", provoke], preexec_fn=space.enter) as failing:
            try:
                while True:
                    record = json.loads(process.stdout.readline())
                    if record["pid"] == failing.pid and "why" in record:
                        break
            finally:
                failing.kill()
                process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (record["call"], record["errno"], record["address"]) == ("bind", "EADDRINUSE", "127.0.0.1:8124")
    assert record["why"]["errno"] == "EADDRINUSE" and record["why"]["blockers"][0]["state"] == "LISTEN"
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_removes_its_instance(space: Netns, number: signal.Signals) -> None:
    with start(space, "--", "sleep", "60") as process:
        name = f"twinsock-{process.pid}"
        wait_for(lambda: name in instances())
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 130 and name not in instances()


def test_the_instance_of_a_killed_run_is_removed_by_the_next(space: Netns) -> None:
    with start(space, "--seconds", "60", "--pid", str(os.getpid())) as process:
        name = f"twinsock-{process.pid}"
        wait_for(lambda: name in instances())
        process.kill()
        process.communicate(timeout=30)
    assert name not in instances()  # each look is a next run


def without_bpf() -> None:
    """Let bpf(2) fail with EPERM from now on, as a container's seccomp profile does."""
    machine = os.uname().machine
    number = {"x86_64": 321, "aarch64": 280}[machine]
    # load the call's number; is it bpf? then EPERM, else go on
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join([struct.pack("=HBBI", *step) for step in steps]))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP


_KEPT_ADDRESS = """
import ctypes, socket, struct, time
libc = ctypes.CDLL(None)
kept = ctypes.create_string_buffer(struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 8125, bytes([127, 0, 0, 1])))
taken = socket.create_server(("127.0.0.1", 8125))
while True:
    other = socket.socket()
    assert libc.bind(other.fileno(), kept, 16) == -1
    time.sleep(0.3)
"""


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the number of bpf(2) is not known")
def test_without_bpf_failures_come_from_tracepoints_and_nothing_is_left_by_a_killed_run(space: Netns) -> None:
    with start(space, "--failures", "--explain", "--json", before=without_bpf) as process:
        name = f"twinsock-{process.pid}"
        assert process.stdout is not None and process.stderr is not None
        assert "addresses are read after the call" in process.stderr.readline()
        with subprocess.Popen([sys.executable, "-S", "-c", _KEPT_ADDRESS], preexec_fn=space.enter) as failing:
            try:
                while True:
                    record = json.loads(process.stdout.readline())
                    if record["pid"] == failing.pid:
                        break
            finally:
                failing.kill()
                process.kill()
        process.communicate(timeout=30)
    assert (record["call"], record["errno"], record["fd"] > 2) == ("bind", "EADDRINUSE", True)
    assert (record["address"], record["address_late"]) == ("127.0.0.1:8125", True)
    assert record["why"]["errno"] == "EADDRINUSE" and record["why"]["blockers"][0]["state"] == "LISTEN"
    assert name not in instances()  # each look is a next run


def wait_for(condition: object) -> None:
    """Wait up to ten seconds."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "trace what?"),
        (["--pid", "0"], "no process 0"),
        (["--pid", "4194303"], "there is no process"),
        (["--failures", "--pid", "1"], "trace what?"),
        (["--explain", "--", "true"], "belongs to --failures"),
        (["true"], "write -- before"),
        (["--seconds", "soon", "--failures"], "takes a number"),
    ],
)
def test_a_senseless_command_line_gets_a_sentence(space: Netns, arguments: list[str], sentence: str) -> None:
    with start(space, *arguments) as process:
        _text, errors = process.communicate(timeout=30)
    assert process.returncode == 2 and sentence in errors and "Traceback" not in errors


def test_a_command_that_does_not_exist_is_said_and_ends_with_127(space: Netns) -> None:
    with start(space, "--", "/nonexistent/program") as process:
        _text, errors = process.communicate(timeout=30)
    assert process.returncode == 127 and "cannot run /nonexistent/program" in errors
