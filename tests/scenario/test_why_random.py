"""Random sockets on one port of the live kernel, random questions about it: prediction and kernel have to agree each time."""

import contextlib
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.scenario.why_kit import why

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]

PORT = 5000
FOUR = ("0.0.0.0", "127.0.0.1", "127.0.0.2")
SIX = ("::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1")
USERS = (0, 0, 65534)


def make(rng: random.Random, kind: int) -> socket.socket | None:
    """Make a socket with random options and bind it; None if the kernel refuses."""
    family = rng.choice((socket.AF_INET, socket.AF_INET6))
    sock = socket.socket(family, kind)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        sock.setsockopt(socket.SOL_SOCKET, option, rng.randrange(2))
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, rng.randrange(2))
    if rng.randrange(4) == 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    os.fchown(sock.fileno(), rng.choice(USERS), -1)
    try:
        sock.bind((rng.choice(FOUR if family == socket.AF_INET else SIX), PORT))
    except OSError:
        sock.close()
        return None
    return sock


def advance(rng: random.Random, sock: socket.socket, kept: list[socket.socket]) -> None:
    """Bring a bound TCP socket into a random state: bound, listening, with a child, or only the child or its TIME_WAIT left."""
    stage = rng.randrange(5)
    if stage == 0:
        return
    try:
        sock.listen(4)
    except OSError:
        return
    if stage == 1:
        return
    name = sock.getsockname()[0]
    target = {"0.0.0.0": "127.0.0.1", "::": "::1", "::ffff:0.0.0.0": "::ffff:127.0.0.1"}.get(name, name)
    client = socket.socket(sock.family)
    client.settimeout(1)
    kept.append(client)
    try:
        client.connect((target, PORT))
        sock.settimeout(0.2)  # another listener may have got the connection
        child, _peer = sock.accept()
    except OSError:
        return
    kept.append(child)
    if stage >= 3:
        kept.remove(sock)
        sock.close()
    if stage == 4:
        child.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            client.recv(1)
        client.close()
        with contextlib.suppress(OSError):
            child.recv(1)
        child.close()


def question(rng: random.Random, protocol: str, reuseport: bool) -> list[str]:
    """Make a random command line."""
    host = rng.choice([*FOUR, *(f"[{address}]" for address in SIX)])
    words = [f"{protocol}://{host}:{PORT}"]
    words += [name for name in ("--reuseaddr", "--bind-only") if rng.randrange(2)]
    if reuseport:
        words.append("--reuseport")
    if host.startswith("["):
        words += rng.choice(([], ["--v6only"], ["--no-v6only"]))
    if rng.randrange(4) == 0:
        words += ["--device", "lo"]
    if rng.randrange(3) == 0:
        words += ["--uid", "65534"]
    return words


@pytest.mark.parametrize("seed", range(12))
def test_every_prediction_about_random_sockets_comes_true(in_netns: Runner, seed: int) -> None:
    def program() -> None:
        rng = random.Random(seed)
        protocol = "udp" if seed % 3 == 2 else "tcp"
        kept: list[socket.socket] = []
        for _number in range(rng.randrange(1, 5)):
            sock = make(rng, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
            if sock is not None:
                kept.append(sock)
                if protocol == "tcp":
                    advance(rng, sock, kept)
        for number in range(12):
            # The kernel's bucket remembers who bound last with SO_REUSEPORT, so a proven question with it comes last.
            words = question(rng, protocol, number == 11)
            try:
                why(*words)
            except AssertionError as wrong:
                raise AssertionError(f"seed {seed}: twinsock why {' '.join(words)}: {wrong}") from None

    in_netns(program, timeout=60.0)
