"""The set of ports that an automatic choice can yield, on the live kernel and on the twin: ./dev campaign bind_ports

Each case fills a small port range with owners at random (bound, listening, connected from automatic ports) and asks for
an automatic port many times: bind(2) with port 0, listen(2) unbound, connect(2) unbound, or bind(2) with
IP_BIND_ADDRESS_NO_PORT and then connect(2). The twin walks through every start of its search instead, so that its set is
exact. Linux may never leave that set; and as it draws at random, it is asked again, up to forty times as often, before a
port that it did not yield counts as a mismatch. A failed connect(2) leaves the start of the next search where it was, so
after one failure nothing else is to be expected.
"""

import argparse
import errno
import random
import socket
import sys
import time
from typing import Any

from tests.bind_oracle import ADDRESSES, OTHER_DEVICE, Config, FixedPrng, LiveHost, TwinHost, all_configs, make_devices
from tests.netns import netns_missing, run_in_netns

CONFIGS = all_configs((0, 0, 1000))
WAYS = ["bind", "bind", "listen", "connect", "NO_PORT", "UDP"]
FIRST_PORT, LAST_PORT = 2000, 60000


class Owner:
    """A socket that takes a port of the range before the questions."""

    def __init__(self, config: Config, port: int, state: str, server: int, gone: bool) -> None:
        self.config = config
        self.port = port
        self.state = state  # bound, LISTEN, automatic (connected from a port that connect(2) chose), TIME_WAIT (of such a one)
        self.server = server
        self.gone = gone  # closed again before the questions


class Case:
    """A port range, its owners and a question."""

    def __init__(self, rng: random.Random, low: int) -> None:
        self.way = rng.choice(WAYS)
        self.low = low + rng.randrange(2)
        self.high = self.low + rng.randrange(12)
        ports = range(self.low, self.high + 1)
        self.reserved = [port for port in ports if rng.random() < 0.15] if rng.random() < 0.4 else []
        self.autobind_reuse = int(rng.random() < 0.3)
        palette = rng.sample(CONFIGS, rng.choice((3, 12, 40)))
        palette.append(rng.choice([config for config in CONFIGS if config.device != OTHER_DEVICE]))
        self.newcomer = rng.choice(palette)
        while self.way in ("connect", "NO_PORT") and self.newcomer.device == OTHER_DEVICE:
            self.newcomer = rng.choice(palette)
        self.server = rng.randrange(2)
        self.own_range = (0, 0)
        if rng.random() < 0.3:
            ends = sorted(rng.randrange(self.low - 2, self.high + 3) for _ in range(2))
            self.own_range = rng.choice([(ends[0], ends[1]), (0, ends[1]), (ends[0], 0)])
        density = rng.choice((0.3, 0.8, 1.5))
        self.owners = [_random_owner(rng, port, self.way, palette) for port in ports for _ in range(3) if rng.random() < density / 3]

    def __repr__(self) -> str:
        owners = ", ".join(f"{o.port}{'(gone)' if o.gone else ''} {o.state} {o.config}" for o in self.owners)
        limits = f"{self.low}-{self.high} own {self.own_range} reserved {self.reserved} autobind_reuse {self.autobind_reuse}"
        return f"{self.way} server {self.server} N {self.newcomer} range {limits} owners [{owners}]"


def _random_owner(rng: random.Random, port: int, way: str, palette: list[Config]) -> Owner:
    states = ["bound"] if way == "UDP" else ["bound", "bound", "LISTEN", "automatic", "automatic", "TIME_WAIT"]
    state = rng.choice(states)
    config = rng.choice(palette)
    while state in ("automatic", "TIME_WAIT") and config.device == OTHER_DEVICE:
        config = rng.choice(palette)
    return Owner(config, port, state, rng.randrange(2), rng.random() < 0.2)


def prepare(host: Any, case: Case) -> tuple[list[int], list[Any], list[Any]]:
    """Set the range and make the owners: (their errnos, what to close, what to forget)."""
    host.configure(case.low, case.high, [], case.autobind_reuse)
    errnos, keep, drop, remains = [], [], [], []
    type_ = socket.SOCK_DGRAM if case.way == "UDP" else socket.SOCK_STREAM
    for owner in case.owners:
        sock = host.create(owner.config, type_)
        other = None
        if owner.state in ("automatic", "TIME_WAIT"):
            host.port_range(sock, owner.port, owner.port)
            err, other = host.connect(sock, owner.config.address.over, owner.server)
            if err == 0 and owner.state == "TIME_WAIT":
                remains.append(host.time_wait(sock, other))
                errnos.append(0)
                continue
        else:
            err = host.bind(sock, owner.config.address, owner.port)
            if err == 0 and owner.state == "LISTEN":
                err = host.listen(sock)
        errnos.append(err)
        (drop if owner.gone else keep).extend(one for one in (sock, other) if one is not None)
    for sock in drop:
        host.close(sock)
    host.configure(case.low, case.high, case.reserved, case.autobind_reuse)
    return errnos, keep, remains


def ask(host: Any, case: Case) -> int:
    """Ask once: the port, or -errno."""
    sock = host.create(case.newcomer, socket.SOCK_DGRAM if case.way == "UDP" else socket.SOCK_STREAM)
    if case.own_range != (0, 0):
        host.port_range(sock, *case.own_range)
    address = case.newcomer.address
    err, other = 0, None
    if case.way in ("bind", "UDP"):
        err = host.bind(sock, address, 0)
    elif case.way == "listen":
        err = host.listen(sock)
    if case.way == "NO_PORT":
        host.no_port(sock)
        err = host.bind(sock, address, 0)
    if case.way in ("connect", "NO_PORT") and err == 0:
        err, other = host.connect(sock, address.over, case.server)
    answer = -err if err else host.port_of(sock)
    host.close(sock)
    if other is not None:
        host.close(other)
    return int(answer)


def twin_answers(case: Case) -> tuple[list[int], list[int]]:
    """Return the owners' errnos and the exact set of answers."""
    host = TwinHost()
    errnos, _, _ = prepare(host, case)
    answers = set()
    for start in range(2 * (case.high - case.low + 1)):
        host.kernel.prng = FixedPrng(start)
        if host.net.tcp_hashinfo is not None:
            host.net.tcp_hashinfo.table_perturb = [start] * 256
        answers.add(ask(host, case))
    return errnos, sorted(answers)


def live_answers(cases: list[tuple[Case, list[int]]]) -> list[tuple[list[int], list[int], int]]:
    """Return the errnos of the owners, the set of answers and how often was asked."""
    host = LiveHost()
    results = []
    for case, expected in cases:
        errnos, keep, _ = prepare(host, case)
        rounds = 6 * (case.high - case.low + 1)
        got: set[int] = set()
        asked = 0
        while asked < rounds or (asked < 40 * rounds and got < set(expected)):
            got.add(ask(host, case))
            asked += 1
        for sock in keep:
            host.close(sock)
        results.append((errnos, sorted(got), asked))
    return results


def compare(first: int, count: int, seed: int, timeout: float = 300.0) -> tuple[int, list[str]]:
    """Compare `count` cases: (questions asked on Linux, a description of each mismatch)."""
    cases = [Case(random.Random(f"{seed}/{n}"), FIRST_PORT + n * 16 % (LAST_PORT - FIRST_PORT)) for n in range(first, first + count)]
    twin = [twin_answers(case) for case in cases]
    questions = [(case, answers) for case, (_, answers) in zip(cases, twin, strict=True)]
    live = run_in_netns(live_answers, questions, setup=make_devices, timeout=timeout)
    mismatches = []
    for n, case, (twin_errnos, expected), (errnos, got, _) in zip(range(first, first + count), cases, twin, live, strict=True):
        if errnos != twin_errnos:
            mismatches.append(f"case {n}: owners: Linux {errnos}, twin {twin_errnos}: {case}")
        elif not (set(got) <= set(expected) and (got == expected or (case.way in ("connect", "NO_PORT") and -errno.EADDRNOTAVAIL in got))):
            mismatches.append(f"case {n}: Linux {got}, twin {expected}: {case}")
    return sum(asked for _, _, asked in live), mismatches


def main() -> int:
    """Compare cases until the time or the attempts are used up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="of the random cases")
    parser.add_argument("--attempts", type=int, default=0, help="stop after so many questions; 0: by time only")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"bind_ports: {reason}", file=sys.stderr)
        return 2
    end = time.monotonic() + args.minutes * 60
    first = attempts = 0
    mismatches: list[str] = []
    while time.monotonic() < end and not (args.attempts and attempts >= args.attempts) and len(mismatches) <= 20:
        asked, wrong = compare(first, 200, args.seed)
        first += 200
        attempts += asked
        mismatches += wrong
    for line in mismatches[:20]:
        print(line)
    print(f"bind_ports: {first} cases over {len(ADDRESSES)} address kinds, {attempts} questions, {len(mismatches)} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    raise SystemExit(main())
