"""The commands for the live kernel run on the twin, as a user types them: why, ss, listeners, count, ports, leaks, ns."""

import contextlib
import io
import json
from typing import Any

import pytest

from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.kernel.net.core.net_namespace import copy_net_ns
from twinsock.runtime.facade import TwinEnv
from twinsock.ui.asked import command_on_twin
from twinsock.ui.cli import HOST_COMMANDS

LO = "127.0.0.1"


def run(program: Any) -> Any:
    """Run `program(env)` on a fresh twin."""
    kernel = start_kernel(1)
    net_init_loopback(kernel.init_net)
    return TwinEnv(kernel).run(program)


def text_of(env: Any, *argv: str) -> tuple[int, str]:
    """Run a command: its exit code and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_on_twin(env, *argv)
    assert not err.getvalue(), err.getvalue()
    return code, out.getvalue()


def answer_of(env: Any, *argv: str) -> tuple[int, Any]:
    """Run a command with --json: its exit code and its document."""
    code, text = text_of(env, *argv, "--json")
    return code, json.loads(text)


def busy(env: Any, backlog: int = 1, clients: int = 3) -> list[Any]:
    """Make a listener whose queue overflows, one accepted connection that the client has closed, and a socket without a name."""
    listener = env.socket.socket()
    listener.bind((LO, 5000))
    listener.listen(backlog)
    made = []
    for _ in range(clients):
        client = env.socket.socket()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((LO, 5000))
        made.append(client)
    accepted, _ = listener.accept()
    made.pop(0).close()
    return [listener, accepted, env.socket.socket(), *made]


def test_every_command_has_help_and_refuses_what_is_wrong_on_the_twin_too() -> None:
    def program(env: Any) -> None:
        for command in HOST_COMMANDS:
            code, text = text_of(env, command, "--help")
            assert code == 0 and "usage" in text.lower()
            with contextlib.redirect_stderr(io.StringIO()):
                assert command_on_twin(env, command, "--no-such-option") == 2
        with pytest.raises(ValueError, match="trace is no command"):
            command_on_twin(env, "trace")

    run(program)


def test_why_names_who_is_in_the_way_and_waits_in_virtual_time() -> None:
    def program(env: Any) -> None:
        sockets = busy(env)
        code, answer = answer_of(env, "why", "5000")
        assert (code, answer["errno"]) == (1, "EADDRINUSE")
        assert {(one["state"], holder["pid"]) for one in answer["blockers"] for holder in one["holders"]} >= {("LISTEN", env.task.pid)}
        code, text = text_of(env, "why", "5000")
        assert code == 1 and f"program (pid {env.task.pid}) listens on {LO}:5000" in text
        before = env.kernel.clock.now_ns
        assert text_of(env, "why", "5000", "--wait", "3")[0] == 1
        assert 3.0e9 <= env.kernel.clock.now_ns - before < 3.1e9
        assert answer_of(env, "why", "5001")[0] == 0
        roomy = env.socket.create_server((LO, 5002))
        assert answer_of(env, "why", "--connect", f"{LO}:5002")[0] == 0 and roomy.fileno() > 0
        assert answer_of(env, "why", "--connect", f"{LO}:5000")[0] == 1  # its queue is full
        assert answer_of(env, "why", "--connect", "10.9.9.9:80")[1]["errno"] == "ENETUNREACH"
        assert answer_of(env, "why", "unix:/tmp/free")[0] == 0
        assert len(sockets) == 5
        with contextlib.redirect_stderr(io.StringIO()):
            assert command_on_twin(env, "why", "5000", "--prove") == 2

    run(program)


def test_ss_lists_summarises_and_filters() -> None:
    def program(env: Any) -> None:
        sockets = busy(env)
        code, text = text_of(env, "ss", "-tlnp")
        assert code == 0 and text.splitlines()[1].split()[:4] == ["LISTEN", "1", "1", f"{LO}:5000"]
        assert f"pid={env.task.pid},fd={sockets[0].fileno()}" in text
        code, answer = answer_of(env, "ss", "-tan", "--all-netns")
        assert code == 0 and {one["state"] for one in answer["sockets"]} >= {"LISTEN", "CLOSE-WAIT", "ESTAB", "SYN-SENT"}
        assert "TCP:   7 (estab 3" in text_of(env, "ss", "-s")[1]

    run(program)


def test_listeners_sees_the_overflow_and_who_does_not_accept() -> None:
    def program(env: Any) -> None:
        sockets = busy(env)
        code, text = text_of(env, "listeners")
        assert code == 1 and "dropped 1 segments over its life" in text and f"program {env.task.pid}" in text
        before = env.kernel.clock.now_ns
        code, answer = answer_of(env, "listeners", "--for", "2")
        assert env.kernel.clock.now_ns - before >= 2_000_000_000
        (listener,) = answer["namespaces"][0]["listeners"]
        assert (listener["queue"], listener["limit"], listener["drops"]) == (2, 1, 1)
        assert next(finding["rule"] for finding in listener["findings"]) == "full"
        assert len(sockets) == 5

    run(program)


def test_listeners_of_unix_sockets() -> None:
    def program(env: Any) -> None:
        listener = env.socket.socket(1, 1)
        listener.bind("/tmp/sock")
        listener.listen(0)
        client = env.socket.socket(1, 1)
        client.connect("/tmp/sock")
        code, answer = answer_of(env, "listeners", "--unix", "/tmp")
        (row,) = answer["namespaces"][0]["listeners"]
        assert (code, row["queue"], row["limit"]) == (1, 1, 0)
        assert client.fileno() > 0

    run(program)


def test_count_explains_every_counter_to_the_last_socket() -> None:
    def program(env: Any) -> None:
        sockets = [*busy(env), env.socket.socket(2, 2), env.socket.socket(16, 3, 0), env.socket.socket(17, 3), *env.socket.socketpair()]
        sockets[5].bind((LO, 6000))
        sockets[6].bind((0, 1))
        code, answer = answer_of(env, "count", "--all-netns")
        fields = {field["name"]: field for space in answer["namespaces"] for field in space["fields"]}
        assert code == 0 and fields["sockets used"]["value"] == 12
        for field in [*fields.values(), *answer["global"]]:
            assert field["unaccounted"] == 0, field
        again = answer_of(env, "count", "--all-netns")[1]
        assert again == answer  # looking changes nothing

    run(program)


def test_ports_counts_what_connect_has_used() -> None:
    def program(env: Any) -> None:
        sockets = busy(env)
        code, answer = answer_of(env, "ports")
        (space,) = answer["namespaces"]
        assert (code, space["destinations"][0]["port"], space["destinations"][0]["used"]) == (0, 5000, 3)
        text = text_of(env, "ports")[1]
        assert "automatic ports 32768-60999" in text and f"{LO}:5000" in text
        code, answer = answer_of(env, "ports", "--to", f"{LO}:5000")
        assert (code, answer["namespaces"][0]["problem"]) == (0, None)
        assert len(sockets) == 5

    run(program)


def test_leaks_finds_what_is_not_closed_and_who_inherited_a_listener() -> None:
    def program(env: Any) -> None:
        sockets = busy(env)
        done = env.fork(lambda: (setattr(env.task, "comm", "worker"), env.time.sleep(1000)))
        env.time.sleep(100)
        code, answer = answer_of(env, "leaks")
        mine = next(row for row in answer["processes"] if row["pid"] == env.task.pid)
        assert code == 1 and mine["close_wait"][0]["age_ms"] >= 100_000 and mine["close_wait"][0]["fd"] == sockets[1].fileno()
        assert mine["never_bound"][0]["fd"] == sockets[2].fileno()
        child = next(row for row in answer["processes"] if row["comm"] == "worker")
        assert [one["maker"]["pid"] for one in child["inherited"]] == [env.task.pid]
        assert answer_of(env, "leaks", str(env.task.pid), "--for", "5")[1]["processes"][0]["growth"]["fds"] == 0
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert command_on_twin(env, "leaks", "999") == 2
        assert "no process 999" in err.getvalue()
        assert done is not None

    run(program)


def test_ns_shows_each_namespace_its_sockets_and_its_changed_sysctls() -> None:
    def program(env: Any) -> None:
        first = busy(env)
        other = copy_net_ns(env.task)
        net_init_loopback(other)
        neighbour = TwinEnv(env.kernel, other, baton=env.baton)
        code, answer = answer_of(env, "ns")
        spaces = {space["netns"]: space for space in answer["namespaces"]}
        assert code == 0 and len(spaces) == 2 and spaces[env.task.net.inum]["own"]
        assert spaces[env.task.net.inum]["sockets"]["tcp"]["LISTEN"] == 1
        assert spaces[other.inum]["process_count"] == 1 and not spaces[other.inum]["own"]
        by_pid = answer_of(env, "ns", str(neighbour.first.pid))[1]["namespaces"]
        assert [space["netns"] for space in by_pid] == [other.inum]
        assert "Recv-Q" in text_of(env, "ss", "-tan", "-N", str(neighbour.first.pid))[1]
        assert len(first) == 5

    run(program)
