"""Random sequences over several sockets, on the live kernel and on the twin: ./dev campaign bind_sequences

Each sequence has two ports of its own and up to six TCP or twenty-four UDP sockets that are created, bound, made to listen, connected,
accepted from, closed, left in TIME_WAIT, given other flags, another user or another device, in any order. The twin plays first and
writes the errno of each step; Linux plays the same steps and has to agree.
"""

import argparse
import random
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.bind_oracle import ADDRESSES, DEVICES, OTHER_DEVICE, Address, Config, LiveHost, TwinHost, all_configs, make_devices
from tests.netns import netns_missing, run_in_netns

FIRST_PORT, LAST_PORT = 2000, 30000
CONFIGS = all_configs((0, 0, 1000))
TCP_STEPS = ["create", "create", "bind", "bind", "bind", "listen", "listen", "unlisten", "connect", "child", "time_wait", "close"]
UDP_STEPS = ["create", "create", "create", "bind", "bind", "bind", "bind", "connect_udp", "close"]
CHANGES = ["toggle", "toggle", "fchown", "device"]

Step = tuple[Any, ...]


class Slot:
    """A socket of a sequence, and what the generator has to know to make sensible steps."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.address: Address | None = None  # bound to
        self.port = 0
        self.device = config.device
        self.state = "CLOSE"


class Palette:
    """The few kinds of sockets that one sequence uses, so that they meet each other; a crowd gets along by SO_REUSEADDR."""

    def __init__(self, rng: random.Random, crowd: bool) -> None:
        self.addresses = rng.sample(range(len(ADDRESSES)), rng.choice((2, 3, 8)))
        self.devices = rng.choice(([""], ["", "lo"], DEVICES))
        few = [ADDRESSES[n] for n in self.addresses]
        fitting = [
            n for n, config in enumerate(CONFIGS) if config.address in few and config.device in self.devices and config.reuse >= crowd
        ]
        self.configs = rng.sample(fitting, min(len(fitting), rng.choice((2, 4, 300))))


class Player:
    """Plays steps on one of the hosts."""

    def __init__(self, host: Any, is_udp: bool) -> None:
        self.host = host
        self.type = socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM
        self.socks: dict[int, Any] = {}
        self.others: dict[int, Any] = {}  # the other ends of connections
        self.remains: list[Any] = []
        self.calls: dict[str, Callable[..., int]] = {
            "create": self._create,
            "bind": lambda i, a, port: self.host.bind(self.socks[i], ADDRESSES[a], port),
            "listen": lambda i: self.host.listen(self.socks[i]),
            "unlisten": lambda i: self.host.unlisten(self.socks[i]),
            "connect": self._connect,
            "connect_udp": lambda i, over: self.host.connect_udp(self.socks[i], over) or 0,
            "child": self._child,
            "time_wait": self._time_wait,
            "close": self._close,
            "toggle": lambda i, r, p: self.host.toggle(self.socks[i], r, p) or 0,
            "fchown": lambda i, uid: self.host.fchown(self.socks[i], uid) or 0,
            "device": lambda i, device: self.host.bindtodevice(self.socks[i], device) or 0,
        }

    def play(self, step: Step) -> int:
        """Play one step: 0 or errno."""
        return self.calls[step[0]](*step[1:])

    def end(self) -> None:
        """Close everything."""
        for sock in [*self.socks.values(), *self.others.values()]:
            if sock is not None:
                self.host.close(sock)
        for remains in self.remains:
            self.host.forget(remains)

    def _create(self, i: int, config: int) -> int:
        self.socks[i] = self.host.create(CONFIGS[config], self.type)
        return 0

    def _connect(self, i: int, over: str, server: int) -> int:
        err, self.others[i] = self.host.connect(self.socks[i], over, server)
        return int(err)

    def _child(self, i: int, new: int, over: str) -> int:
        self.socks[new], self.others[new] = self.host.child_of(self.socks[i], over)
        return 0

    def _time_wait(self, i: int) -> int:
        self.remains.append(self.host.time_wait(self.socks.pop(i), self.others.pop(i)))
        return 0

    def _close(self, i: int) -> int:
        self.host.close(self.socks.pop(i))
        other = self.others.pop(i, None)
        if other is not None:
            self.host.close(other)
        return 0


def generate(rng: random.Random, twin: TwinHost, port: int, is_udp: bool) -> list[tuple[Step, int]]:
    """Play a random sequence on the twin: its steps and their results."""
    player = Player(twin, is_udp)
    slots: dict[int, Slot] = {}
    done: list[tuple[Step, int]] = []
    kinds = (UDP_STEPS if is_udp else TCP_STEPS) + CHANGES
    crowd = is_udp and rng.random() < 0.4
    limit = 24 if crowd else 14 if is_udp else 6
    palette = Palette(rng, crowd)
    for number in range(rng.randint(8, 120 if crowd else 60 if is_udp else 24)):
        step = _next_step(rng, rng.choice(kinds), slots, number, port, limit, palette)
        if step is None:
            continue
        err = player.play(step)
        done.append((step, err))
        _note(slots, step, err)
    player.end()
    return done


def _next_step(rng: random.Random, kind: str, slots: dict[int, Slot], number: int, port: int, limit: int, palette: Palette) -> Step | None:
    """Return a step of this kind, or None when nothing is there to take it."""
    if kind == "create":
        return ("create", number, rng.choice(palette.configs)) if len(slots) < limit else None
    wanted = {"unlisten": ["LISTEN"], "child": ["LISTEN"], "connect": ["CLOSE"], "connect_udp": ["CLOSE"], "time_wait": ["connected"]}
    fitting = [i for i, slot in slots.items() if slot.state in wanted.get(kind, [slot.state])]
    if not fitting:
        return None
    i = rng.choice(fitting)
    slot = slots[i]
    if kind == "bind":
        family = slot.config.address.family
        usable = [n for n in palette.addresses if ADDRESSES[n].family == family]
        return ("bind", i, rng.choice(usable), port + (rng.random() < 0.2))
    if kind == "toggle":
        crowded = limit > 14 and rng.random() < 0.7
        return ("toggle", i, 1 if crowded else rng.randrange(2), rng.randrange(2))
    if kind == "fchown":
        return ("fchown", i, rng.choice((0, 1000)))
    if kind == "device":
        return None if slot.state == "connected" else ("device", i, rng.choice(palette.devices))
    if kind in ("connect", "connect_udp", "child"):
        if slot.address is None or slot.device == OTHER_DEVICE:
            return None
        over = slot.address.over
        if slot.address.text == "::" and slot.config.address.v6only:
            over = "::1"
        if kind == "child":
            if any(other is not slot and other.state == "LISTEN" and other.port == slot.port for other in slots.values()):
                return None  # who would get the connection is another question
            return ("child", i, number, over)
        return ("connect", i, over, rng.randrange(2)) if kind == "connect" else ("connect_udp", i, over)
    if kind == "listen" and slot.address is None and rng.random() < 0.9:
        return None
    return (kind, i)


def _note(slots: dict[int, Slot], step: Step, err: int) -> None:
    """Follow what a step did."""
    kind, i = step[0], step[1]
    if kind == "create":
        slots[i] = Slot(CONFIGS[step[2]])
    elif kind in ("close", "time_wait"):
        del slots[i]
    elif err == 0 and kind == "bind":
        slots[i].address, slots[i].port = ADDRESSES[step[2]], step[3]
    elif err == 0 and kind == "listen":
        slots[i].state = "LISTEN"
    elif kind == "unlisten":
        slots[i].state = "CLOSE"
    elif err == 0 and kind in ("connect", "connect_udp"):
        slots[i].state = "connected"
    elif kind == "child":
        slots[step[2]] = child = Slot(slots[i].config)
        child.state, child.device = "connected", slots[i].device
    elif kind == "device":
        slots[i].device = step[2]


def replay(sequences: list[tuple[bool, list[tuple[Step, int]]]]) -> list[list[int]]:
    """Play the steps on the live kernel, each sequence up to its first difference: the results."""
    host = LiveHost()
    results = []
    for is_udp, steps in sequences:
        player = Player(host, is_udp)
        got: list[int] = []
        for step, expected in steps:
            got.append(player.play(step))
            if got[-1] != expected:
                break
        player.end()
        results.append(got)
    return results


def compare(first: int, count: int, seed: int, timeout: float = 300.0) -> tuple[int, int, list[str]]:
    """Play `count` sequences: (steps that bind or listen, all steps, a description of each mismatch)."""
    sequences = []
    twin = TwinHost()
    for n in range(first, first + count):
        rng = random.Random(f"{seed}/{n}")
        port = FIRST_PORT + n * 2 % (LAST_PORT - FIRST_PORT)
        is_udp = n % 3 == 0
        sequences.append((is_udp, generate(rng, twin, port, is_udp)))
    live = run_in_netns(replay, sequences, setup=make_devices, timeout=timeout)
    mismatches = []
    for n, ((is_udp, steps), got) in enumerate(zip(sequences, live, strict=True), start=first):
        last = len(got) - 1
        if last >= 0 and got[last] != steps[last][1]:
            trail = "".join(f"\n    {step} {err}" for step, err in steps[: last + 1])
            mismatches.append(f"sequence {n} ({'UDP' if is_udp else 'TCP'}): Linux {got[last]}, twin {steps[last][1]} at the end of{trail}")
    attempts = sum(step[0] in ("bind", "listen", "connect") for _, steps in sequences for step, _ in steps)
    return attempts, sum(len(steps) for _, steps in sequences), mismatches


def main() -> int:
    """Play sequences until the time or the attempts are used up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="of the random sequences")
    parser.add_argument("--attempts", type=int, default=0, help="stop after so many bind, listen and connect calls; 0: by time only")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"bind_sequences: {reason}", file=sys.stderr)
        return 2
    end = time.monotonic() + args.minutes * 60
    first = attempts = steps = 0
    mismatches: list[str] = []
    while time.monotonic() < end and not (args.attempts and attempts >= args.attempts):
        more, all_steps, wrong = compare(first, 2000, args.seed)
        first += 2000
        attempts += more
        steps += all_steps
        mismatches += wrong
        if len(mismatches) > 20:
            break
    for line in mismatches[:20]:
        print(line)
    print(f"bind_sequences: {first} sequences, {steps} steps, {attempts} attempts, {len(mismatches)} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    raise SystemExit(main())
