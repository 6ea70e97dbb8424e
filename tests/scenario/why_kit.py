"""What the scenarios of `why` share: the command run in this process, checked against the kernel by --prove, and sockets."""

import contextlib
import io
import json
import socket
import struct
from typing import Any

from twinsock.ui import cli

LOOPBACK = "127.0.0.1"


def why(*argv: str, prove: bool = True) -> dict[str, Any]:
    """Run `twinsock why ... --json`; the prediction has to agree with what the kernel does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["why", *argv, "--json", *(["--prove"] if prove else [])])
    assert out.getvalue(), err.getvalue()
    answer: dict[str, Any] = json.loads(out.getvalue())
    assert answer["exit_code"] == code
    if prove:
        assert answer["proof"]["agrees"], (answer["proof"], answer["sentence"])
    return answer


def why_text(*argv: str) -> tuple[int, str, str]:
    """Run `twinsock why ...` as text: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["why", *argv])
    return code, out.getvalue(), err.getvalue()


def bound(address: str = "0.0.0.0", port: int = 0, *options: int, family: int = socket.AF_INET, v6only: int = -1) -> socket.socket:
    """Make a TCP socket with SOL_SOCKET options set to 1 and bind it."""
    sock = socket.socket(family)
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    if v6only >= 0:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    sock.bind((address, port))
    return sock


def listener(address: str = "0.0.0.0", port: int = 0, *options: int, family: int = socket.AF_INET, v6only: int = -1) -> socket.socket:
    """Make a TCP listener."""
    sock = bound(address, port, *options, family=family, v6only=v6only)
    sock.listen(8)
    return sock


def port_of(sock: socket.socket) -> int:
    """Give a socket's local port."""
    port: int = sock.getsockname()[1]
    return port


def time_wait(*options: int) -> int:
    """Leave a TIME_WAIT behind on a server's port, its listener closed, and give the port."""
    server = listener(LOOPBACK, 0, *options)
    port = port_of(server)
    client = socket.create_connection((LOOPBACK, port))
    child, _peer = server.accept()
    child.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    client.close()
    assert child.recv(1) == b""
    child.close()
    server.close()
    return port


def reset(sock: socket.socket) -> None:
    """Close a connection without TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def actions(answer: dict[str, Any]) -> list[str]:
    """List the commands and code changes that were offered."""
    return [remedy["action"] for remedy in answer["remedies"]]


def outcome(answer: dict[str, Any], options: str) -> str:
    """Look a row of the table of options up: "ok", or "EADDRINUSE at bind"."""
    for row in answer["variants"]:
        if row["options"] == options:
            return "ok" if row["result"] == "ok" else f"{row['errno']} at {row['call']}"
    raise AssertionError(f"no row {options} in {[row['options'] for row in answer['variants']]}")
