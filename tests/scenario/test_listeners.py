"""`twinsock listeners` against listeners that are made to be ill."""

import os
import resource
import signal
import socket
import tempfile
import threading
import time
from typing import Any

import pytest

from tests.netns import run_in_netns
from tests.scenario.tool_kit import (
    LOOPBACK,
    RST,
    become_nobody,
    child,
    connecting,
    drain_loopback,
    give_up,
    here,
    listening,
    send_segment,
    tool,
    tool_text,
    until,
    write,
)

pytestmark = [pytest.mark.root, pytest.mark.slow]


def listeners(*argv: str) -> dict[str, Any]:
    """Run the command for this namespace and give its part of the answer, with the exit code."""
    answer = tool("listeners", "--netns", here(), *argv)
    (space,) = answer["namespaces"]
    space["exit_code"] = answer["exit_code"]
    return dict(space)


def one(space: dict[str, Any], sock: socket.socket) -> dict[str, Any]:
    """Find a socket's row."""
    (found,) = [row for row in space["listeners"] if row["inode"] == os.fstat(sock.fileno()).st_ino]
    return dict(found)


def counter(space: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [share for share in space["counters"] if share["name"] == name]
    return dict(found)


def listen_overflows() -> int:
    with open("/proc/net/netstat") as file:
        names, values = [line.split() for line in file.read().splitlines()[:2]]
    return int(values[names.index("ListenOverflows")])


def test_a_listener_without_clients_is_healthy() -> None:
    def body() -> None:
        with listening(5) as sock:
            space = listeners()
            row = one(space, sock)
            assert (space["exit_code"], row["verdict"], row["queue"], row["limit"], row["drops"]) == (0, "ok", 0, 5, 0)
            assert row["owners"][0]["pid"] == os.getpid()
            assert space["counters"] == []

    run_in_netns(body)


def test_an_overflowing_listener_is_named_with_its_drops_and_the_age_of_its_queue() -> None:
    def body() -> None:
        start = time.monotonic()
        sock = listening(2)
        clients = connecting(sock, 5)
        assert one(listeners(), sock)["verdict"] == "full"
        assert until(lambda: listen_overflows() >= 4)  # the refused clients have sent their SYN again
        overflows, space = 0, listeners()
        while overflows != listen_overflows():  # not while they do so once more
            overflows, space = listen_overflows(), listeners()
        row = one(space, sock)
        assert space["exit_code"] == 1
        assert (row["queue"], row["limit"]) == (3, 2)
        assert 1000 <= row["oldest_ms"] <= (time.monotonic() - start) * 1000
        assert row["drops"] == overflows >= 4
        share = counter(space, "ListenOverflows")
        assert (share["value"], share["exact"], share["unattributed"]) == (overflows, True, 0)
        assert share["of"] == [{"cookie": row["cookie"], "part": overflows}]
        assert {finding["rule"] for finding in row["findings"]} == {"full", "drops"}
        assert len(clients) == 5

    run_in_netns(body)


def test_a_queue_that_nobody_takes_from_is_stalled_before_it_is_full() -> None:
    def body() -> None:
        start = time.monotonic()
        sock = listening(8)
        clients = connecting(sock, 2)
        verdict = one(listeners(), sock)["verdict"]
        assert verdict == "ok" or time.monotonic() - start > 1
        clients[0].send(b"data does not make the wait look shorter")
        time.sleep(1.1)
        clients[0].send(b"more")
        row = one(listeners(), sock)
        assert (row["verdict"], row["queue"]) == ("stalled", 2)
        sock.accept()
        sock.accept()
        assert one(listeners(), sock)["verdict"] == "ok"

    run_in_netns(body)


def test_the_stuck_member_of_a_reuseport_group_is_told_from_the_others() -> None:
    def body() -> None:
        first = listening(1, socket.SO_REUSEPORT)
        rest = [listening(64, socket.SO_REUSEPORT, address=first.getsockname()) for _ in range(3)]
        kept: list[socket.socket] = []

        def serve(sock: socket.socket) -> None:
            while True:
                kept.append(sock.accept()[0])

        for sock in rest:
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
        kept += connecting(first, 60)
        assert until(lambda: one(listeners(), first)["verdict"] == "stuck-member")
        space = listeners()
        row = one(space, first)
        assert (row["verdict"], row["members"], row["queue"]) == ("stuck-member", 4, 2)
        assert row["drops"] > 0
        assert "1/4" in row["findings"][0]["sentence"]
        assert [one(space, sock)["verdict"] for sock in rest] == ["ok"] * 3
        assert any("tcp_migrate_req" in remedy["action"] for remedy in row["findings"][0]["remedies"])

    run_in_netns(body)


def test_drops_of_a_listener_that_is_gone_stay_unattributed() -> None:
    def body() -> None:
        gone = listening(0)
        clients = connecting(gone, 3)
        give_up(clients)
        with listening(5):
            gone.close()
            share = counter(listeners(), "ListenDrops")
            assert share["value"] == share["unattributed"] == 2
            assert share["of"] == []
            assert "gone" in share["why"]
        assert len(clients) == 3

    run_in_netns(body)


def test_stray_segments_are_no_lost_connections() -> None:
    def body() -> None:
        with listening(5) as sock:
            for _ in range(3):
                send_segment(sock.getsockname()[1], RST)
            drain_loopback()
            space = listeners()
            assert (one(space, sock)["drops"], one(space, sock)["verdict"]) == (3, "strays")
            assert (space["exit_code"], space["counters"]) == (0, [])

    run_in_netns(body)


def test_a_window_tells_drops_per_second_from_old_ones() -> None:
    def body() -> None:
        sock = listening(0)
        clients = connecting(sock, 2)
        sock.accept()
        row = one(listeners("--for", "0.3"), sock)
        assert row["drops"] == 1
        assert (row["drops_meanwhile"], row["findings"][-1]["rule"]) == (0, "has-dropped")
        client = connecting(sock, 1)
        really_sleep = time.sleep

        def sleep_and_connect(seconds: float) -> None:
            clients.extend(connecting(sock, 3))
            really_sleep(seconds)

        start = time.monotonic()
        time.sleep = sleep_and_connect
        row = one(listeners("--for", "300ms"), sock)
        assert row["drops_meanwhile"] >= 3
        assert 0.3 <= row["drops_meanwhile"] / row["drops_per_second"] <= time.monotonic() - start
        assert "drops" in {finding["rule"] for finding in row["findings"]}
        assert len(client) == 1

    run_in_netns(body)


def test_a_stopped_owner_is_named() -> None:
    def body() -> None:
        sock = listening(5)
        with child(lambda: None) as pid:
            inode = os.fstat(sock.fileno()).st_ino
            address = sock.getsockname()
            sock.close()
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            client = socket.create_connection(address)
            (row,) = [row for row in listeners()["listeners"] if row["inode"] == inode]
            client.close()
        assert row["verdict"] == "stopped"
        assert row["findings"][0]["remedies"][0]["action"] == f"kill -CONT {pid}"

    run_in_netns(body)


def test_an_owner_at_its_descriptor_limit_is_named() -> None:
    def body() -> None:
        sock = listening(5)

        def fill() -> list[int]:
            os.closerange(32, 1024)  # what the shell has handed down
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
            kept = []
            while True:
                try:
                    kept.append(os.dup(0))
                except OSError:
                    return kept

        with child(fill) as pid:
            sock.close()
            rows = listeners()["listeners"]
        (row,) = rows
        assert row["verdict"] == "fd-limit"
        assert (row["owners"][0]["pid"], row["owners"][0]["fds_open"], row["owners"][0]["fds_max"]) == (pid, 32, 32)

    run_in_netns(body)


def test_a_limit_that_somaxconn_has_cut_is_told() -> None:
    def body() -> None:
        write("/proc/sys/net/core/somaxconn", "7")
        with listening(1000) as cut, listening(3) as chosen:
            space = listeners()
            assert (one(space, cut)["limit"], one(space, cut)["verdict"], one(space, cut)["at_somaxconn"]) == (7, "clamped", True)
            assert one(space, chosen)["verdict"] == "ok"
            assert (space["exit_code"], space["somaxconn"]) == (0, 7)

    run_in_netns(body)


@pytest.mark.parametrize("cookies", [0, 1])
def test_half_open_connections_are_counted_and_a_full_syn_queue_is_told(cookies: int) -> None:
    def body() -> None:
        write("/proc/sys/net/ipv4/tcp_syncookies", str(cookies))
        sock = listening(2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        other = listening(2)
        clients = connecting(sock, 6)
        give_up(clients)
        space = listeners()
        row = one(space, sock)
        assert (row["syn_recv"], one(space, other)["syn_recv"]) == (3, 0)
        assert "syn-queue-full" in {finding["rule"] for finding in row["findings"]}
        share = counter(space, "TCPReqQFullDoCookies" if cookies else "TCPReqQFullDrop")
        assert share["value"] == 3
        assert share["of"] == [{"cookie": row["cookie"], "part": 3}]
        assert space["exit_code"] == 1
        assert (row["queue"], row["verdict"]) == ((3, "full") if cookies else (0, "syn-queue-full"))  # cookies need no request
        assert len(clients) == 6

    run_in_netns(body)


@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_listener_whose_queue_stands_is_told(abstract: bool) -> None:
    def body() -> None:
        with tempfile.TemporaryDirectory() as folder:
            name = "\0twinsock-test" if abstract else folder + "/s"
            server = socket.socket(socket.AF_UNIX)
            server.bind(name)
            server.listen(1)
            clients = []
            for _ in range(2):
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                assert client.connect_ex(name) == 0
                clients.append(client)
            space = listeners("--unix")
            row = one(space, server)
            assert (row["protocol"], row["address"]) == ("unix", name.replace("\0", "@"))
            assert (row["queue"], row["limit"], row["verdict"], row["drops"]) == (2, 1, "full", None)
            assert "does not call accept()" in row["findings"][0]["sentence"]
            server.accept()
            server.accept()
            assert one(listeners(), server)["verdict"] == "ok"
            assert listeners("--tcp")["listeners"] == []

    run_in_netns(body)


def test_a_listener_in_an_unread_message_is_told() -> None:
    def body() -> None:
        sock = listening(5)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(ours, [b"x"], [sock.fileno()])
            sock.close()
            (unsearched,) = listeners()["listeners"]
            (row,) = listeners("--ghosts")["listeners"]
        assert (unsearched["verdict"], unsearched["ghost"], unsearched["owners"]) == ("ok", None, [])
        assert (row["verdict"], row["ghost"]["kind"]) == ("in-flight", "in flight")

    run_in_netns(body)


def test_nobody_sees_queues_and_is_told_what_is_hidden() -> None:
    def body() -> None:
        sock = listening(0)
        clients = connecting(sock, 2)

        def as_nobody() -> None:
            become_nobody()
            code, out, err = tool_text("listeners")
            assert err == ""
            assert code == 1
            assert "full" in out
            assert "hidden" in out

        with child(as_nobody):
            assert len(clients) == 2

    run_in_netns(body)


def test_drops_of_listeners_that_were_not_asked_for_are_not_taken_for_lost_ones() -> None:
    def body() -> None:
        dropping = listening(0)
        clients = connecting(dropping, 3)
        give_up(clients)
        with listening(5) as quiet:
            space = listeners(str(quiet.getsockname()[1]))
            assert [row["verdict"] for row in space["listeners"]] == ["ok"]
            assert (counter(space, "ListenDrops")["value"], counter(space, "ListenDrops")["unattributed"]) == (2, 0)
        assert len(clients) == 3

    run_in_netns(body)


def test_words_choose_ports_and_paths() -> None:
    def body() -> None:
        with listening(5) as first, listening(5):
            port = first.getsockname()[1]
            answer = tool("listeners", "--netns", here(), str(port))
            assert [row["address"] for row in answer["namespaces"][0]["listeners"]] == [f"{LOOPBACK}:{port}"]
            assert tool("listeners", "--netns", here(), "/nowhere")["namespaces"][0]["listeners"] == []

    run_in_netns(body)


@pytest.mark.parametrize(
    "argv",
    [
        ["--bogus"],
        ["--tpc"],
        ["http"],
        ["0"],
        ["65536"],
        ["--netns", "no-such-namespace"],
        ["--netns"],
        ["--for", "soon"],
        ["--for", "0"],
        ["--for", "1", "--watch", "1"],
        ["--json=1"],
        ["\x1b[31m"],
        ["--netns", "a\nb"],
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = tool_text("listeners", *argv)
    assert (code, out) == (2, "")
    assert err.startswith("twinsock listeners: ")
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err


def test_help_names_every_option() -> None:
    code, out, _err = tool_text("listeners", "--help")
    assert code == 0
    for name in ("--sick", "--for SECONDS", "--watch [SECONDS]", "--netns NAME", "--json", "-x, --unix", "exit codes"):
        assert name in out
    assert max(len(line) for line in out.splitlines()) < 130
