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
