"""Slots of SO_REUSEPORT groups as members leave, stop and return: a classic BPF program that names a slot shows who sits in it."""

import ctypes
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bind_oracle import ADDRESSES, Config, TwinHost
from tests.netns import run_in_netns
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.sock import Sock

pytestmark = pytest.mark.root

SO_ATTACH_REUSEPORT_CBPF = 51
PORT = 5000
CONFIG = Config(ADDRESSES[1], 0, 1, "")
Step = tuple[str, int]


def steps(seed: int, is_udp: bool) -> list[Step]:
    """Return a random history of up to six members."""
    rng = random.Random(seed)
    found: list[Step] = []
    alive: list[int] = []
    stopped: list[int] = []
    for number in range(14):
        kind = rng.choice(["join", "join", "leave"] if is_udp else ["join", "join", "leave", "stop", "return"])
        if kind == "join" and len(alive) + len(stopped) < 6:
            found.append(("join", number))
            alive.append(number)
        elif kind == "leave" and len(alive) > 1:
            found.append(("leave", alive.pop(rng.randrange(len(alive)))))
        elif kind == "stop" and len(alive) > 1:
            stopped.append(alive.pop(rng.randrange(len(alive))))
            found.append(("stop", stopped[-1]))
        elif kind == "return" and stopped:
            alive.append(stopped.pop(rng.randrange(len(stopped))))
            found.append(("return", alive[-1]))
    return found


class LiveGroup:
    """A group on the live kernel."""

    def __init__(self, is_udp: bool) -> None:
        self.is_udp = is_udp
        self.members: dict[int, socket.socket] = {}
        self.listening: list[int] = []

    def play(self, step: Step) -> None:
        kind, number = step
        if kind == "join":
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if self.is_udp else socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", PORT))
            sock.setblocking(False)
            self.members[number] = sock
        if kind in ("join", "return"):
            if not self.is_udp:
                self.members[number].listen()
            self.listening.append(number)
            return
        self.listening.remove(number)
        if kind == "leave":
            self.members.pop(number).close()
        else:
            self.members[number].shutdown(socket.SHUT_RDWR)

    def slots(self) -> list[int]:
        """Return who gets what is sent to slot 0, 1, ..."""
        return [self._receiver_of(index) for index in range(len(self.listening))]

    def _receiver_of(self, index: int) -> int:
        code = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, index))  # BPF_RET | BPF_K
        program = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(code))
        self.members[self.listening[0]].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if self.is_udp else socket.SOCK_STREAM) as client:
            client.connect(("127.0.0.1", PORT))
            if self.is_udp:
                client.send(b"x")
            for number in self.listening:
                receive: Callable[[], Any] = self.members[number].accept
                if self.is_udp:
                    receive = lambda sock=self.members[number]: sock.recv(10)  # noqa: E731
                try:
                    got = receive()
                except BlockingIOError:
                    continue
                if not self.is_udp:
                    got[0].close()
                return number
        return -1


def live_history(seed: int, is_udp: bool, migrate: int) -> list[list[int]]:
    """Return the slots after each step."""
    Path("/proc/sys/net/ipv4/tcp_migrate_req").write_text(str(migrate))
    group = LiveGroup(is_udp)
    history = []
    for step in steps(seed, is_udp):
        group.play(step)
        history.append(group.slots())
    return history


def twin_history(seed: int, is_udp: bool, migrate: int) -> list[list[int]]:
    """Return the same from the twin."""
    host = TwinHost()
    host.net.ipv4.sysctl_tcp_migrate_req = migrate
    members: dict[int, Socket] = {}
    history = []
    last: Sock | None = None
    for kind, number in steps(seed, is_udp):
        if kind == "join":
            members[number] = host.create(CONFIG, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM)
            assert host.bind(members[number], CONFIG.address, PORT) == 0
        if kind in ("join", "return"):
            assert is_udp or host.listen(members[number]) == 0
            last = members[number].sk
        elif kind == "stop":
            assert host.unlisten(members[number]) == 0
        else:
            gone = members.pop(number)
            host.close(gone)
            if gone.sk is last:
                last = next(s.sk for s in members.values() if s.sk is not None and s.sk.sk_reuseport_cb is not None)
        assert last is not None
        group = last.sk_reuseport_cb
        if group is None or last not in group.socks:
            group = next(s.sk.sk_reuseport_cb for s in members.values() if s.sk is not None and s.sk.sk_head is not None)
        assert group is not None
        numbers = {id(sock.sk): number for number, sock in members.items()}
        history.append([numbers[id(sk)] for sk in group.socks])
    return history


@pytest.mark.slow
@pytest.mark.parametrize(("is_udp", "migrate"), [(True, 0), (False, 0), (False, 1)])
def test_slots_are_as_on_linux_after_each_step(is_udp: bool, migrate: int) -> None:
    for seed in range(12):
        assert twin_history(seed, is_udp, migrate) == run_in_netns(live_history, seed, is_udp, migrate), f"seed {seed}"
