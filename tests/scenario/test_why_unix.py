"""`why unix:` on the live kernel: stale and living paths, other files, folders, abstract names, and connecting."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.why_kit import actions, why

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]
NOBODY = "65534"


def test_a_path_that_a_dead_server_left_is_stale(in_netns: Runner, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")

    def program() -> None:
        assert why(f"unix:{path}")["result"] == "ok"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
        answer = why(f"unix:{path}")
        assert (answer["errno"], answer["rule"]) == ("EADDRINUSE", "stale-path")
        assert actions(answer)[0] == f"rm {path}"
        assert why("--connect", f"unix:{path}")["errno"] == "ECONNREFUSED"
        os.unlink(path)
        assert why(f"unix:{path}")["result"] == "ok"
        assert why("--connect", f"unix:{path}")["errno"] == "ENOENT"

    in_netns(program)


def test_a_path_with_a_living_server_names_it(in_netns: Runner, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")

    def program() -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        answer = why(path)
        assert (answer["rule"], answer["blockers"][0]["state"]) == ("bound", "BOUND")
        server.listen(0)
        answer = why(path)
        assert (answer["rule"], answer["blockers"][0]["state"]) == ("listener", "LISTEN")
        assert answer["blockers"][0]["holders"][0]["pid"] == os.getpid()
        assert why("--connect", path)["result"] == "ok"
        assert why("--connect", f"unix-dgram:{path}")["errno"] == "EPROTOTYPE"

    in_netns(program)


def test_what_is_no_socket_or_has_no_folder_is_told_apart(in_netns: Runner, tmp_path: Path) -> None:
    def program() -> None:
        plain = tmp_path / "plain"
        plain.write_text("x")
        assert why(str(plain))["rule"] == "not-a-socket"
        assert why("--connect", str(plain))["errno"] == "ECONNREFUSED"
        link = tmp_path / "link"
        link.symlink_to("nowhere")
        assert why(str(link))["errno"] == "EADDRINUSE"
        assert why(str(tmp_path / "none" / "x"))["errno"] == "ENOENT"
        assert why(str(plain / "x"))["errno"] == "ENOTDIR"
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o755)
        answer = why(str(closed / "x"), "--uid", NOBODY, prove=False)
        assert (answer["errno"], answer["rule"]) == ("EACCES", "permission")

    in_netns(program)


def test_an_abstract_name_belongs_to_one_socket_of_its_type(in_netns: Runner) -> None:
    def program() -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(b"\0name")
        answer = why("unix:@name")
        assert (answer["errno"], answer["rule"]) == ("EADDRINUSE", "listener")
        assert answer["blockers"][0]["holders"][0]["fd"] == server.fileno()
        assert why("unix-dgram:@name")["result"] == "ok"
        assert why("--connect", "unix:@name")["errno"] == "ECONNREFUSED"

    in_netns(program)


@pytest.mark.parametrize("others", [0, 3])
def test_an_accepted_connection_does_not_own_its_listeners_abstract_name(in_netns: Runner, others: int) -> None:
    def program() -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(b"\0served")
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.bind(b"\0client")
        client.connect(b"\0served")
        unnamed = socket.socket(socket.AF_UNIX)
        unnamed.connect(b"\0served")
        kept = [server.accept()[0] for _ in range(2)] + [socket.socketpair() for _ in range(others)]
        assert why("unix:@served")["rule"] == "listener"
        server.close()
        answer = why("unix:@served")
        assert answer["result"] == "ok"
        assert any("accepted" in note for note in answer["notes"])
        answer = why("unix:@client")
        assert (answer["errno"], answer["blockers"][0]["holders"][0]["fd"]) == ("EADDRINUSE", client.fileno())
        assert len(kept) == 2 + others

    in_netns(program)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("abstract", [False, True])
def test_a_full_queue_is_told(in_netns: Runner, tmp_path: Path, kind: int, abstract: bool) -> None:
    path = str(tmp_path / "full.sock")

    def program() -> None:
        name = "\0full" if abstract else path
        server = socket.socket(socket.AF_UNIX, kind)
        server.bind(name)
        server.listen(1)
        target = ("unix:" if kind == socket.SOCK_STREAM else "unix-seqpacket:") + name.replace("\0", "@")
        clients = []
        for _ in range(2):
            assert why("--connect", target, prove=False)["result"] == "ok"  # a proof would stay in the queue
            clients.append(socket.socket(socket.AF_UNIX, kind))
            clients[-1].connect(name)
        answer = why("--connect", target)
        assert (answer["errno"], answer["rule"]) == ("EAGAIN", "queue-full")
        assert "2 clients wait, the backlog is 1" in answer["sentence"]

    in_netns(program)


def test_a_datagram_socket_with_another_peer_takes_nothing_from_us(in_netns: Runner) -> None:
    def program() -> None:
        taken, peer = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        taken.bind(b"\0taken")
        peer.bind(b"\0peer")
        assert why("--connect", "unix-dgram:@taken")["result"] == "ok"
        taken.connect(b"\0peer")
        answer = why("--connect", "unix-dgram:@taken")
        assert (answer["errno"], answer["rule"]) == ("EPERM", "connected")

    in_netns(program)


def test_a_folder_above_that_may_not_be_searched_is_named(in_netns: Runner, tmp_path: Path) -> None:
    def program() -> None:
        closed = tmp_path / "closed"
        (closed / "open").mkdir(parents=True, mode=0o777)
        (closed / "open").chmod(0o777)
        for folder in [tmp_path, *list(tmp_path.parents)[:-1]]:
            if folder.owner() == "root" and str(folder) != "/tmp":
                folder.chmod(0o755)
        closed.chmod(0o755)
        assert why(str(closed / "open" / "s"), "--uid", NOBODY, prove=False)["result"] == "ok"
        closed.chmod(0o700)
        answer = why(str(closed / "open" / "s"), "--uid", NOBODY, prove=False)
        assert (answer["errno"], answer["rule"]) == ("EACCES", "permission")
        assert f"may not search {closed} " in answer["sentence"]
        assert why(str(closed / "open" / "s"))["result"] == "ok"
        assert why(str(closed / "none" / "s"), "--uid", NOBODY, prove=False)["errno"] == "EACCES"
        assert why(str(tmp_path / "none" / "none" / "s"))["errno"] == "ENOENT"

    in_netns(program)
