"""`twinsock leaks` against programs that really forget to close."""

import os
import resource
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.netns import run_in_netns
from tests.scenario.tool_kit import LOOPBACK, become_nobody, child, here, listening, tool, tool_text, until

pytestmark = [pytest.mark.root, pytest.mark.slow]


def leaks(*argv: str) -> dict[str, Any]:
    """Run the command for this process, or as told, and give its one row with the exit code."""
    answer = tool("leaks", *(argv if argv and argv[0].isdecimal() else (here(), *argv)), "--netns", here())
    (row,) = answer["processes"]
    row["exit_code"] = answer["exit_code"]
    return dict(row)


def rules(row: dict[str, Any]) -> dict[str, str]:
    return {finding["rule"]: finding["level"] for finding in row["findings"]}


def connected(server: socket.socket) -> socket.socket:
    client = socket.socket()
    client.connect(server.getsockname())
    return client


def abandoned(count: int) -> list[socket.socket]:
    """Make connections whose other end has closed: CLOSE_WAIT."""
    server = listening(8)
    kept = []
    for _ in range(count):
        client = connected(server)
        served = server.accept()[0]
        served.close()
        kept.append(client)
    server.close()
    return kept


def dead(count: int) -> list[socket.socket]:
    """Make connections that were reset, with the descriptor still open."""
    server = listening(8)
    kept = []
    for _ in range(count):
        client = connected(server)
        served = server.accept()[0]
        served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served.close()
        kept.append(client)
    server.close()
    return kept


def test_a_tidy_process_leaks_nothing() -> None:
    def body() -> None:
        with listening(5):
            row = leaks()
            assert (row["exit_code"], row["findings"]) == (0, [])

    run_in_netns(body)


def test_close_wait_is_told_with_its_age() -> None:
    def body() -> None:
        start = time.monotonic()
        kept = abandoned(3)
        row = leaks()
        assert (row["exit_code"], rules(row)) == (0, {"close-wait": "note"})
        time.sleep(1.2)
        row = leaks("--older", "1")
        assert (row["exit_code"], rules(row)) == (1, {"close-wait": "wrong"})
        assert {one["fd"] for one in row["close_wait"]} == {sock.fileno() for sock in kept}
        longest_ms = (time.monotonic() - start) * 1000
        assert all(1100 <= one["age_ms"] <= longest_ms for one in row["close_wait"])
        assert "3 of them" in row["findings"][0]["sentence"]

    run_in_netns(body)


def test_data_that_came_before_does_not_make_close_wait_older() -> None:
    def body() -> None:
        server = listening(8)
        client = connected(server)
        served = server.accept()[0]
        served.send(b"hello")
        time.sleep(0.6)
        closed = time.monotonic()
        served.close()
        time.sleep(0.3)
        (one,) = leaks()["close_wait"]
        assert 290 <= one["age_ms"] <= (time.monotonic() - closed) * 1000 + 10
        assert one["unread_bytes"] == 6  # the FIN counts
        client.close()

    run_in_netns(body)


def test_dead_sockets_are_found_though_no_table_lists_them() -> None:
    def body() -> None:
        kept = dead(2)
        refused = socket.socket()
        with pytest.raises(ConnectionRefusedError):
            refused.connect((LOOPBACK, 1))
        row = leaks()
        assert {one["fd"] for one in row["dead"]} == {sock.fileno() for sock in (*kept, refused)}
        assert (row["never_bound"], rules(row)) == ([], {"dead": "note"})
        more = dead(10)
        assert rules(leaks()) == {"dead": "wrong"}
        assert len(more) == 10

    run_in_netns(body)


def test_a_thousand_sockets_that_were_never_bound_are_found() -> None:
    def body() -> None:
        kept = [socket.socket(socket.AF_INET, (socket.SOCK_STREAM, socket.SOCK_DGRAM)[at % 2]) for at in range(1000)]
        row = leaks()
        assert {one["fd"] for one in row["never_bound"]} == {sock.fileno() for sock in kept}
        assert (rules(row)["never-bound"], row["exit_code"]) == ("wrong", 1)
        assert "1000 sockets" in row["findings"][0]["sentence"]

    run_in_netns(body)


def test_descriptors_near_the_limit_are_told() -> None:
    def body() -> None:
        def fill() -> list[int]:
            used = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, used + 20))
            return [os.dup(0) for _ in range(18)]

        with child(fill) as pid:
            row = leaks(str(pid))
        assert 0 <= row["fds_max"] - row["fds_open"] < 5
        assert row["findings"][0]["rule"] in ("near-fd-limit", "fd-limit")

    run_in_netns(body)


def test_a_listener_that_a_child_of_another_program_has_is_told() -> None:
    def body() -> None:
        sleep = shutil.which("sleep")
        assert sleep is not None
        with listening(5) as sock:
            os.set_inheritable(sock.fileno(), True)
            heir = subprocess.Popen([sleep, "60"], close_fds=False)
            try:
                assert until(lambda: Path(f"/proc/{heir.pid}/comm").read_text() == "sleep\n")
                row = leaks(str(heir.pid))
            finally:
                heir.kill()
                heir.wait()
            assert rules(row) == {"inherited-listener": "note"}
            (one,) = row["inherited"]
            assert (one["fd"], one["maker"]["pid"]) == (sock.fileno(), os.getpid())
            assert one["listener"] == f"tcp {LOOPBACK}:{sock.getsockname()[1]}"

    run_in_netns(body)


def test_workers_of_one_program_may_share_a_listener() -> None:
    def body() -> None:
        with listening(5), child(lambda: None) as pid:
            assert leaks(str(pid))["inherited"] == []

    run_in_netns(body)


def test_growth_is_told_with_the_time_that_is_left() -> None:
    def body() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, 500))
        kept = abandoned(2)
        really_sleep = time.sleep

        def sleep_and_leak(seconds: float) -> None:
            kept.extend(abandoned(20))
            really_sleep(seconds)

        time.sleep = sleep_and_leak
        row = leaks("--for", "100ms")
        assert row["growth"]["close_wait"] == 20
        assert row["growth"]["fds"] >= 20
        assert rules(row)["grows"] == "wrong"
        (finding,) = [finding for finding in row["findings"] if finding["rule"] == "grows"]
        assert "limit of 500" in finding["sentence"]

    run_in_netns(body)


def test_nobody_sees_its_own_leaks_and_is_told_what_is_hidden() -> None:
    def body() -> None:
        def as_nobody() -> None:
            become_nobody()
            kept = abandoned(1) + dead(1)
            row = leaks()
            assert (len(row["close_wait"]), len(row["dead"]), len(kept)) == (1, 1, 2)
            code, out, err = tool_text("leaks")
            assert (code, err) == (3, "")
            assert "CAP_SYS_PTRACE" in out

        with child(as_nobody):
            pass

    run_in_netns(body)


@pytest.mark.parametrize("argv", [["abc"], ["0"], ["4194304"], ["1", "1"], ["--for", "x"], ["--older"], ["--bogus"], ["-1"]])
def test_bad_input_gives_one_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = tool_text("leaks", *argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
