"""Random programs of 14 to 30 calls on four TCP sockets over loopback: what every call returned and, at the end, the rows of
/proc/net/tcp and tcp6, on the twin and on the live kernel.

    python -m tests.campaign.tcp_programs --minutes 5 --seed 1
    python -m tests.campaign.tcp_programs --minutes 60 --state /var/tmp/tcp.json      # goes on where it stopped
    python -m tests.campaign.tcp_programs --seed 3 --first 6061 --programs 1          # one program again

A program is plain data made from a seed. Both kernels run it through the same interpreter: non-blocking descriptors, and time that
passes only at `settle`. The host plays all programs of a batch in one namespace with shifted
ports; a program whose results differ is played again in a fresh namespace, and if it still differs it is made as short as possible.

What is not compared: numbers of ephemeral ports (they get names in order of appearance), order of rows, remaining timer ticks, inodes
and addresses of sockets, congestion columns. Among listeners that share a port by SO_REUSEPORT the kernels choose by secret
hashes, so no two of them listen on one port here."""

import argparse
import errno
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.campaign import tcp_rich
from tests.campaign.tcp_rich import RichSteps
from tests.netns import netns_missing, run_in_netns, set_link_up, unshare_net
from tests.parity.harness import TestedTwinEnv
from tests.parity.host_sys import HostSys

Step = tuple[Any, ...]
Program = list[Step]

SLOTS = 4
PORTS = 4  # of one program: the shift between programs in one namespace
FIRST_PORT, LAST_PORT = 2000, 30000
NONBLOCK = 0o4000
SOL_SOCKET, SOL_TCP, SOL_IPV6 = 1, 6, 41
SETTLE_MS = 5
END_MS = 60
TRIALS = 12
PLAYS = 3  # that must all differ
MINIMISE_SECONDS = 60
TELL_SECONDS = 15
LATE_SECONDS = 0.15  # a host that needed longer let timers of 200 ms come near
ADDRESSES = {
    2: ("127.0.0.1", "127.0.0.2", "0.0.0.0", "10.9.9.9"),
    10: ("::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "2001:db8::9"),
}
OPTIONS: dict[str, tuple[int, int, tuple[bytes, ...]]] = {
    "reuseaddr": (SOL_SOCKET, 2, (b"\1\0\0\0", b"\0\0\0\0")),
    "v6only": (SOL_IPV6, 26, (b"\1\0\0\0", b"\0\0\0\0")),
    "linger0": (SOL_SOCKET, 13, (b"\1\0\0\0\0\0\0\0",)),
    "nodelay": (SOL_TCP, 1, (b"\1\0\0\0",)),
    "cork": (SOL_TCP, 3, (b"\1\0\0\0", b"\0\0\0\0")),
    "keepalive": (SOL_SOCKET, 9, (b"\1\0\0\0",)),
    "defer": (SOL_TCP, 9, (b"\1\0\0\0",)),
    "linger2": (SOL_TCP, 8, (b"\xff\xff\xff\xff", b"\1\0\0\0")),
    "oobinline": (SOL_SOCKET, 10, (b"\1\0\0\0",)),
    "rcvlowat": (SOL_SOCKET, 18, (b"\x0a\0\0\0", b"\1\0\0\0")),
}
POLL_ALL = 0x1 | 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x2000
MSG_OOB, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_MORE = 0x1, 0x2, 0x100, 0x20, 0x8000


def packed(family: int, text: str, port: int) -> bytes:
    """Return a sockaddr; the text decides between the families."""
    if ":" not in text:
        return struct.pack("=H", 2) + struct.pack("!H4B8x", port, *map(int, text.split(".")))
    import socket

    return struct.pack("=H", 10) + struct.pack("!HI16s", port, 0, socket.inet_pton(socket.AF_INET6, text)) + bytes(4)


class Player:
    """Runs a program through the raw calls of one kernel."""

    def __init__(self, calls: Any, port: int, settle: Callable[[int], None]) -> None:
        self.calls = calls
        self.port = port
        self.settle = settle
        self.fds: list[int] = [-1] * SLOTS
        self.names: dict[int, str] = {}
        self.steps: dict[str, Callable[..., Any]] = {
            "socket": self._socket,
            "set": self._set,
            "bind": lambda i, a, p: self._err(self.calls.bind(self.fds[i], *self._to(a, p))),
            "connect": lambda i, a, p: self._err(self.calls.connect(self.fds[i], *self._to(a, p))),
            "unspec": lambda i: self._err(self.calls.connect(self.fds[i], bytes(16), 16)),
            "listen": lambda i, n: self._err(self.calls.listen(self.fds[i], n)),
            "accept": self._accept,
            "shutdown": lambda i, how: self._err(self.calls.shutdown(self.fds[i], how)),
            "send": lambda i, n, flags: self._err(self.calls.sendto(self.fds[i], b"x" * n, flags | 0x4000, None, 0)),
            "recv": self._recv,
            "name": lambda i: self._named(self.calls.getsockname(self.fds[i], 28)),
            "peer": lambda i: self._named(self.calls.getpeername(self.fds[i], 28)),
            "error": self._error,
            "poll": lambda i: self.calls.poll([(self.fds[i], POLL_ALL)], 0)[1],
            "close": self._close,
            "settle": lambda: self.settle(SETTLE_MS),
            "inq": self._state,
            "pause": lambda ms: self.settle(ms),
        }
        self.rich = RichSteps(calls, self.fds, self._to)
        self.steps.update(self.rich.steps)

    def play(self, program: Program) -> list[Any]:
        """Run every step; after those that give a port, note its name."""
        out = []
        for step in program:
            out.append(self.steps[step[0]](*step[1:]))
            if step[0] in ("listen", "connect", "bind", "accept", "fast"):
                fd = self.fds[step[-1] if step[0] == "accept" else step[1]]
                self._named(self.calls.getsockname(fd, 28))
                self._named(self.calls.getpeername(fd, 28))
        return out

    def end(self) -> None:
        """Close everything, with resets."""
        for fd in self.fds:
            if fd >= 0:
                self.calls.setsockopt(fd, SOL_SOCKET, 13, b"\1\0\0\0\0\0\0\0", 8)
                self.calls.close(fd)
        self.fds[:] = [-1] * SLOTS
        self.rich.end()

    def port_name(self, port: int) -> str:
        """Name a port: those of the program by their number in it, others in order of appearance."""
        if self.port <= port < self.port + PORTS:
            return f"P{port - self.port}"
        if port == 0:
            return "0"
        return self.names.setdefault(port, f"E{len(self.names)}")

    def _err(self, result: int) -> Any:
        return errno.errorcode[-result] if result < 0 else result

    def _to(self, text: str, port: int) -> tuple[bytes, int]:
        addr = packed(0, text, 0 if port < 0 else self.port + port)
        return addr, len(addr)

    def _named(self, answer: tuple[int, bytes, int]) -> Any:
        ret, addr, length = answer
        if ret < 0:
            return errno.errorcode[-ret]
        family = struct.unpack_from("=H", addr)[0]
        port = struct.unpack_from("!H", addr, 2)[0]
        body = addr[4:8] if family == 2 else addr[8:24]
        return family, length, body.hex(), self.port_name(port)

    def _socket(self, i: int, family: int) -> Any:
        if self.fds[i] >= 0:
            self.calls.close(self.fds[i])
        self.fds[i] = self.calls.socket(family, 1 | NONBLOCK, 0)
        return self.fds[i] >= 0

    def _set(self, i: int, name: str, which: int) -> Any:
        level, opt, values = OPTIONS[name]
        value = values[which % len(values)]
        return self._err(self.calls.setsockopt(self.fds[i], level, opt, value, len(value)))

    def _accept(self, i: int, new: int) -> Any:
        fd, addr, length = self.calls.accept4(self.fds[i], NONBLOCK, 28)
        if fd < 0:
            return errno.errorcode[-fd]
        if self.fds[new] >= 0:
            self.calls.close(self.fds[new])
        self.fds[new] = fd
        return self._named((0, addr, length))

    def _recv(self, i: int, size: int, flags: int) -> Any:
        ret, data = self.calls.recvfrom(self.fds[i], size, flags)
        return errno.errorcode[-ret] if ret < 0 else (ret, len(data.strip(b"\0")) if not flags & MSG_TRUNC else 0)

    def _error(self, i: int) -> Any:
        ret, data = self.calls.getsockopt(self.fds[i], SOL_SOCKET, 4, 4)
        return errno.errorcode[-ret] if ret < 0 else data.hex()

    def _state(self, i: int) -> Any:
        ret, data = self.calls.getsockopt(self.fds[i], SOL_TCP, 11, 1)
        return errno.errorcode[-ret] if ret < 0 else data[0]

    def _close(self, i: int) -> Any:
        ret = self.calls.close(self.fds[i])
        self.fds[i] = -1
        return self._err(ret)


def rows(player: Player, text: str) -> list[Any]:
    """Return the rows of /proc/net/tcp of the ports of a program: addresses, state, queues, timer kind."""
    found = []
    for line in text.splitlines()[1:]:
        cell = line.split()
        (laddr, lport), (raddr, rport) = (part.rsplit(":", 1) for part in cell[1:3])
        ports = int(lport, 16), int(rport, 16)
        if not any(player.port <= port < player.port + PORTS or port in player.names for port in ports):
            continue
        state, queues, timer = cell[3], cell[4], cell[5].split(":")[0]
        if state == "06":
            continue  # TIME_WAIT may be handed over, expire or be reused by programs before
        found.append((laddr, player.port_name(ports[0]), raddr, player.port_name(ports[1]), state, queues, timer))
    return sorted(found)


# ---- making programs


def make(kind: str, seed: int, number: int) -> Program:
    """Make a program of a kind: "calls", or "rich" (tcp_rich.py)."""
    rng = random.Random(f"{seed}/{number}")
    return generate(rng) if kind == "calls" else tcp_rich.generate(rng, SLOTS, ADDRESSES)


def profile(kind: str, seed: int, number: int) -> list[tuple[str, str]]:
    """Return the settings of the namespace that a program runs in."""
    return [("ipv4/tcp_congestion_control", "reno")] + (tcp_rich.profile(seed, number) if kind == "rich" else [])


def generate(rng: random.Random) -> Program:
    """Make a program of calls: most start with a listener and clients, the rest is noise."""
    program: Program = []
    family = rng.choice((2, 2, 10))
    if rng.random() < 0.7:
        program += _opening(rng, family)
    length = rng.randint(14, 30)
    while len(program) < length:
        program.append(_noise(rng, family, _open_slots(program)))
    return program


def _open_slots(program: Program) -> list[int]:
    """Return the slots that probably hold a socket."""
    held = [False] * SLOTS
    for step in program:
        if step[0] == "socket":
            held[step[1]] = True
        elif step[0] == "accept":
            held[step[2]] = True
        elif step[0] == "close":
            held[step[1]] = False
    return [i for i in range(SLOTS) if held[i]]


def _opening(rng: random.Random, family: int) -> Program:
    there = ADDRESSES[family][0]
    at = rng.choice((there, ADDRESSES[family][2 if family == 2 else 1]))
    steps: Program = [("socket", 0, family), ("set", 0, "reuseaddr", 0)]
    if rng.random() < 0.3:
        steps.append(("set", 0, rng.choice(tuple(OPTIONS)), 0))
    steps += [("bind", 0, at, 0), ("listen", 0, rng.choice((0, 1, 5))), ("socket", 1, family)]
    if rng.random() < 0.3:
        steps.append(("set", 1, rng.choice(tuple(OPTIONS)), 0))
    if rng.random() < 0.2:
        steps.append(("bind", 1, there, rng.choice((-1, 1))))
    steps.append(("connect", 1, there, 0))
    if rng.random() < 0.8:
        steps.append(("accept", 0, 2))
    if rng.random() < 0.4:
        steps += [("send", rng.choice((1, 2)), 100, 0)]
    if rng.random() < 0.4:
        steps += [("socket", 3, family), ("connect", 3, there, 0)]
    return steps


def _noise(rng: random.Random, family: int, held: list[int]) -> Step:
    i = rng.choice(held) if held and rng.random() < 0.95 else rng.randrange(SLOTS)
    if rng.random() < 0.1:
        family = 12 - family
    kind = rng.choices(*zip(*_WEIGHTS, strict=True))[0]
    if kind == "socket":
        return ("socket", rng.randrange(SLOTS), family)
    if kind == "set":
        return ("set", i, rng.choice(tuple(OPTIONS)), rng.randrange(2))
    if kind in ("bind", "connect"):
        return (kind, i, rng.choice(ADDRESSES[family]) if rng.random() < 0.5 else ADDRESSES[family][0], rng.choice((0, 0, 0, 1, 2, -1)))
    if kind == "listen":
        return ("listen", i, rng.choice((0, 1, 5)))
    if kind == "accept":
        return ("accept", i, rng.randrange(SLOTS))
    if kind == "shutdown":
        return ("shutdown", i, rng.choice((0, 1, 1, 2, 2, 3)))
    if kind == "send":
        return ("send", i, rng.choice((0, 1, 100, 100, 5000)), rng.choice((0, 0, 0, 0, MSG_OOB, MSG_MORE)))
    if kind == "recv":
        return ("recv", i, rng.choice((0, 1, 50, 10000)), rng.choice((0, 0, 0, MSG_PEEK, MSG_OOB, MSG_WAITALL, MSG_TRUNC)))
    if kind == "settle":
        return ("settle",)
    return (kind, i)


_WEIGHTS = (
    ("socket", 5),
    ("set", 8),
    ("bind", 7),
    ("connect", 9),
    ("unspec", 3),
    ("listen", 5),
    ("accept", 6),
    ("shutdown", 7),
    ("send", 12),
    ("recv", 12),
    ("name", 3),
    ("peer", 3),
    ("error", 5),
    ("poll", 12),
    ("close", 6),
    ("settle", 2),
    ("inq", 4),
)


# ---- the two kernels


def small_tables() -> None:
    """Move on into a namespace with 128 chains of its own: the default table takes long to read."""
    _write_sysctl("ipv4/tcp_child_ehash_entries", "128")
    unshare_net()
    set_link_up("lo")


def host_runs(jobs: list[tuple[Program, int]], settings: list[tuple[str, str]]) -> list[Any]:
    """Play programs one after another in this namespace: (results, rows at the end, seconds) of each."""
    small_tables()
    calls = HostSys()
    for path, value in settings:
        _write_sysctl(path, value)
    out = []
    for start in range(0, len(jobs), 20):
        players = []
        begin = time.monotonic()
        for program, port in jobs[start : start + 20]:
            player = Player(calls, port, _host_settle)
            players.append((player, player.play(program)))
        select.select([], [], [], END_MS / 1000)
        text = _read("tcp") + _read("tcp6").split("\n", 1)[1]
        for player, results in players:
            out.append((results, rows(player, text), time.monotonic() - begin))
        for player, _ in players:
            player.end()
    return out


def _host_settle(ms: int) -> None:
    time.sleep(ms / 1000)


def _write_sysctl(path: str, value: str) -> None:
    with open(f"/proc/sys/net/{path}", "w") as file:
        file.write(value)


def _read(name: str) -> str:
    fd = os.open(f"/proc/net/{name}", os.O_RDONLY)
    chunks = []
    while chunk := os.read(fd, 1 << 16):
        chunks.append(chunk)
    os.close(fd)
    return b"".join(chunks).decode()


def twin_run(program: Program, port: int, settings: list[tuple[str, str]]) -> Any:
    """Play a program on a fresh twin."""
    env = TestedTwinEnv(1)

    def body(env: Any) -> Any:
        for path, value in settings:
            env.sysctl(path, value)

        def settle(ms: int) -> None:
            env.sys.poll([], ms)

        player = Player(env.sys, port, settle)
        results = player.play(program)
        settle(END_MS)
        return results, rows(player, env.proc("tcp") + env.proc("tcp6").split("\n", 1)[1])

    return env.run(body)


def differs(host: Any, twin: Any) -> str:
    """Say where two runs differ first; "" where they do not."""
    for number, (theirs, ours) in enumerate(zip(host[0], twin[0], strict=True)):
        if theirs != ours:
            return f"step {number}: Linux {theirs}, twin {ours}"
    if host[1] != twin[1]:
        only_host = [row for row in host[1] if row not in twin[1]]
        only_twin = [row for row in twin[1] if row not in host[1]]
        return f"rows: Linux {only_host}, twin {only_twin}"
    return ""


def fresh_difference(program: Program, settings: list[tuple[str, str]]) -> str:
    """Play a program in a fresh namespace and say where it differs, every time; runs in which the machine was busy do not count."""
    twin = twin_run(program, FIRST_PORT, settings)
    late = LATE_SECONDS + sum(step[1] for step in program if step[0] == "pause") / 1000
    found = ""
    played = 0
    for _ in range(TRIALS):
        host = run_in_netns(host_runs, [(program, FIRST_PORT)], settings)[0]
        if host[2] > late:
            continue
        found = differs(host, twin)
        played += 1
        if not found or played == PLAYS:
            return found
    return ""


def minimise(program: Program, settings: list[tuple[str, str]]) -> Program:
    """Delete steps while the difference stays, for a minute."""
    size = max(len(program) // 4, 1)
    end = time.monotonic() + MINIMISE_SECONDS
    while size:
        at = 0
        while at < len(program):
            if time.monotonic() > end:
                return program
            shorter = program[:at] + program[at + size :]
            if shorter and fresh_difference(shorter, settings):
                program = shorter
            else:
                at += size
        size //= 2
    return program


def fewer_settings(program: Program, settings: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out settings while the difference stays."""
    for pair in settings[1:]:
        without = [other for other in settings if other != pair]
        if fresh_difference(program, without):
            settings = without
    return settings


def compare(first: int, count: int, seed: int, kind: str = "calls") -> tuple[int, list[str]]:
    """Play `count` programs: (steps played, a description of each confirmed difference)."""
    steps, found = 0, []
    while count > 0:
        size = min(count, tcp_rich.BLOCK - first % tcp_rich.BLOCK)
        more, wrong = _compare_block(first, size, seed, kind)
        steps += more
        found += wrong
        first += size
        count -= size
    return steps, found


def _compare_block(first: int, count: int, seed: int, kind: str) -> tuple[int, list[str]]:
    settings = profile(kind, seed, first)
    jobs = []
    for number in range(first, first + count):
        jobs.append((make(kind, seed, number), FIRST_PORT + number * PORTS % (LAST_PORT - FIRST_PORT)))
    live = run_in_netns(host_runs, jobs, settings, timeout=300.0)
    found = []
    for number, ((program, port), host) in enumerate(zip(jobs, live, strict=True), start=first):
        if differs(host, twin_run(program, port, settings)) and fresh_difference(program, settings):
            short = minimise(program, settings)
            few = fewer_settings(short, settings)
            trail = "".join(f"\n    {step}" for step in short)
            found.append(f"program {number}: {fresh_difference(short, few)}\n    with {few}{trail}")
    return sum(len(program) for program, _ in jobs), found


class Progress:
    """Where a campaign stands, kept in a file so that it can go on another day."""

    def __init__(self, path: str, kind: str, seed: int) -> None:
        self.path = path
        self.key = f"{kind}/{seed}"
        self.all: dict[str, dict[str, Any]] = {}
        if path and os.path.exists(path):
            with open(path) as file:
                self.all = json.load(file)
        self.state = self.all.setdefault(self.key, {"next": 0, "steps": 0, "found": []})

    def add(self, played: int, steps: int, found: list[str]) -> None:
        """Note what was played, and write it down."""
        self.state["next"] += played
        self.state["steps"] += steps
        self.state["found"] += found
        if self.path:
            with open(self.path + ".new", "w") as file:
                json.dump(self.all, file, indent=1)
            os.replace(self.path + ".new", self.path)


def main() -> int:
    """Play programs until the time or their number is used up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="of the programs")
    parser.add_argument("--kind", choices=("calls", "rich"), default="rich", help="of the programs")
    parser.add_argument("--first", type=int, default=-1, help="number of the first program")
    parser.add_argument("--programs", type=int, default=0, help="stop after so many; 0: by time only")
    parser.add_argument("--differences", type=int, default=10, help="stop after so many differences")
    parser.add_argument("--state", default="", metavar="FILE", help="keep the place in FILE, and go on there")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"tcp_programs: {reason}", file=sys.stderr)
        return 2
    progress = Progress(args.state, args.kind, args.seed)
    first = progress.state["next"] if args.first < 0 else args.first
    begin = told = time.monotonic()
    played = steps = 0
    found: list[str] = []
    most = args.programs or 1 << 40
    while time.monotonic() < begin + args.minutes * 60 and len(found) < args.differences and played < most:
        size = min(tcp_rich.BLOCK - (first + played) % tcp_rich.BLOCK, most - played)
        more, wrong = compare(first + played, size, args.seed, args.kind)
        played += size
        steps += more
        found += wrong
        progress.add(size if args.first < 0 else 0, more, wrong)
        for line in wrong:
            print(line, flush=True)
        if time.monotonic() > told + TELL_SECONDS:
            told = time.monotonic()
            print(
                f"  {first + played} programs, {len(found)} differences, {played / (told - begin):.0f} a second",
                file=sys.stderr,
                flush=True,
            )
    total = f"; {progress.state['next']} of seed {args.seed} so far" if args.state else ""
    print(f"tcp_programs: {played} {args.kind} programs, {steps} steps, {len(found)} differences{total}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
