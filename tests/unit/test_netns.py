"""The test suite's own namespace helper."""

import contextlib
import ctypes
import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.netns import ChildFailed, fresh_netns, run_in_netns

pytestmark = pytest.mark.root


def _bind_twice() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 80))
        first.listen()
        try:
            second.bind(("127.0.0.1", 80))
        except OSError as exc:
            return os.stat("/proc/self/ns/net").st_ino, exc.errno or 0
    return os.stat("/proc/self/ns/net").st_ino, 0


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_function_runs_in_a_namespace_of_its_own_with_loopback_up() -> None:
    inode, err = run_in_netns(_bind_twice)
    assert err == errno.EADDRINUSE
    assert inode != os.stat("/proc/self/ns/net").st_ino


def test_arguments_and_large_results_travel_whole() -> None:
    assert run_in_netns(lambda a, b: a * b, b"x", 3_000_000) == b"x" * 3_000_000


def test_setup_runs_first_and_in_the_same_namespace() -> None:
    knob = Path("/proc/sys/net/ipv4/ip_local_port_range")
    assert run_in_netns(knob.read_text, setup=lambda: knob.write_text("4000 4001")).split() == ["4000", "4001"]
    assert run_in_netns(knob.read_text).split() != ["4000", "4001"]


def test_an_exception_comes_back_with_the_traceback_of_the_child() -> None:
    with pytest.raises(ChildFailed, match="ZeroDivisionError") as caught:
        run_in_netns(lambda: 1 // 0)
    assert caught.value.kind == "ZeroDivisionError"
    assert "test_netns.py" in str(caught.value)


def test_a_skip_in_the_child_is_a_skip_of_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="not today"):
        run_in_netns(lambda: pytest.skip("not today"))


def test_a_child_that_dies_is_reported_with_its_signal() -> None:
    with pytest.raises(ChildFailed, match="signal 9"):
        run_in_netns(lambda: os.kill(os.getpid(), 9))


def test_a_function_that_hangs_is_killed_at_the_timeout() -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.05 s"):
        run_in_netns(time.sleep, 60, timeout=0.05)
    assert time.monotonic() - begin < 5


def test_processes_left_behind_are_killed_even_with_a_session_of_their_own() -> None:
    def leave() -> int:
        read, write = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.setsid()
            orphan = os.fork()
            if orphan == 0:
                time.sleep(60)
                os._exit(0)
            os.write(write, str(orphan).encode())
            os._exit(0)
        os.waitpid(middle, 0)
        return int(os.read(read, 32))

    assert not _is_running(run_in_netns(leave))


def test_several_processes_can_share_one_namespace() -> None:
    with fresh_netns() as ns:
        seen = ns.run(lambda: os.stat("/proc/self/ns/net").st_ino)
        assert seen == ns.inode
        code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 80)); print(s.getsockname()[1])"
        done = subprocess.run([sys.executable, "-c", code], preexec_fn=ns.enter, capture_output=True, text=True)
        assert done.stdout == "80\n"


def test_without_root_a_user_namespace_makes_it_possible() -> None:
    def as_nobody() -> tuple[int, int] | str:
        os.setgid(65534)
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: setuid() gave /proc/self to root
        try:
            return run_in_netns(_bind_twice)
        except ChildFailed as exc:
            return str(exc)

    result = run_in_netns(as_nobody)
    if isinstance(result, str) and "unshare(" in result:
        pytest.skip("this kernel gives no user namespaces to ordinary users")
    assert not isinstance(result, str), result
    assert result[1] == errno.EADDRINUSE


def test_no_descriptor_and_no_process_is_left_in_the_caller() -> None:
    def survey() -> tuple[list[str], list[str]]:
        children: list[str] = []
        for tid in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                children += Path(f"/proc/self/task/{tid}/children").read_text().split()
        return sorted(os.listdir("/proc/self/fd")), children

    before = survey()
    run_in_netns(os.getpid)
    with pytest.raises(TimeoutError):
        run_in_netns(time.sleep, 60, timeout=0.01)
    with fresh_netns() as ns:
        ns.run(os.getpid)
    assert survey() == before
