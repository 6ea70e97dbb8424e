"""Every pair of one owner and one newcomer, on the live kernel and on the twin: ./dev campaign bind_pairs

TCP owners are bound, listening, connected, accepted with the listener closed, or in TIME_WAIT; UDP owners are bound or connected. Each
attempt has an owner of its own on a port of its own, so that no attempt sees what another left behind.
"""

import argparse
import random
import socket
import sys
import time

from tests.bind_oracle import ADDRESSES, OTHER_DEVICE, Config, LiveHost, TwinHost, all_configs, make_devices
from tests.netns import netns_missing, run_in_netns

STATES = ["bound", "LISTEN", "connected", "child", "TIME_WAIT", "UDP bound", "UDP connected"]
FIRST_PORT, LAST_PORT = 2000, 60000


class Case:
    """An owner in a state, and a newcomer that binds the same port."""

    def __init__(self, state: str, owner: Config, newcomer: Config) -> None:
        self.state = state
        self.owner = owner
        self.newcomer = newcomer

    def __repr__(self) -> str:
        return f"O {self.state} {self.owner}, N {self.newcomer}"


def all_cases() -> list[Case]:
    """Return every combination that can exist: nothing connects over the second device, which does not have ::1 either."""
    owners = all_configs()
    newcomers = all_configs((0, 1000))
    cases = []
    for state in STATES:
        for owner in owners:
            if state not in ("bound", "LISTEN", "UDP bound") and owner.device == OTHER_DEVICE:
                continue
            if owner.device == OTHER_DEVICE and owner.address.text == "::1":
                continue
            cases += [Case(state, owner, newcomer) for newcomer in newcomers]
    return cases


def attempt(host: LiveHost | TwinHost, case: Case, port: int) -> int:
    """Make the owner, bind the newcomer, clear away: the newcomer's errno."""
    type_ = socket.SOCK_DGRAM if case.state.startswith("UDP") else socket.SOCK_STREAM
    owner = host.create(case.owner, type_)  # type: ignore[arg-type]
    assert host.bind(owner, case.owner.address, port) == 0  # type: ignore[arg-type]
    leftovers, remains = _bring_into_state(host, case, owner)
    newcomer = host.create(case.newcomer, type_)
    err = host.bind(newcomer, case.newcomer.address, port)  # type: ignore[arg-type]
    for sock in [newcomer, *leftovers]:
        if sock is not None:
            host.close(sock)
    host.forget(remains)
    return err


def _bring_into_state(host: LiveHost | TwinHost, case: Case, owner: object) -> tuple[list[object], object]:
    """Return (sockets to close afterwards, what is left in TIME_WAIT)."""
    over = case.owner.address.over
    state = case.state
    if state == "LISTEN":
        assert host.listen(owner) == 0  # type: ignore[arg-type]
    if state in ("connected", "TIME_WAIT"):
        err, other = host.connect(owner, over)  # type: ignore[arg-type]
        assert err == 0, (case, err)
        if state == "TIME_WAIT":
            return [], host.time_wait(owner, other)  # type: ignore[arg-type, func-returns-value]
        return [owner, other], None
    if state == "child":
        assert host.listen(owner) == 0  # type: ignore[arg-type]
        child, client = host.child_of(owner, over)  # type: ignore[arg-type]
        host.close(owner)  # type: ignore[arg-type]
        return [child, client], None
    if state == "UDP connected":
        host.connect_udp(owner, over)  # type: ignore[arg-type]
    return [owner], None


def run_live(cases: list[Case]) -> list[int]:
    """Try the cases on the live kernel; called in a fresh namespace."""
    host = LiveHost()
    return [attempt(host, case, FIRST_PORT + i % (LAST_PORT - FIRST_PORT)) for i, case in enumerate(cases)]


def run_twin(cases: list[Case]) -> list[int]:
    """Try the cases on the twin."""
    host = TwinHost()
    return [attempt(host, case, FIRST_PORT + i % (LAST_PORT - FIRST_PORT)) for i, case in enumerate(cases)]


def compare(cases: list[Case], timeout: float = 300.0) -> list[str]:
    """Run the cases on both kernels and describe each mismatch."""
    live = run_in_netns(run_live, cases, setup=make_devices, timeout=timeout)
    twin = run_twin(cases)
    return [f"{case}: Linux {a}, twin {b}" for case, a, b in zip(cases, live, twin, strict=True) if a != b]


def sample(count: int, seed: int) -> list[Case]:
    """Return `count` different cases."""
    return random.Random(seed).sample(all_cases(), count)


def main() -> int:
    """Run all cases once, or as many as asked for; shuffled by the seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1, help="order of the attempts")
    parser.add_argument("--attempts", type=int, default=0, help="how many; 0: every combination once")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"bind_pairs: {reason}", file=sys.stderr)
        return 2
    cases = all_cases()
    random.Random(args.seed).shuffle(cases)
    cases = cases[: args.attempts or len(cases)]
    end = time.monotonic() + args.minutes * 60
    done, mismatches = 0, []
    while done < len(cases) and time.monotonic() < end:
        part = cases[done : done + 4000]
        mismatches += compare(part)
        done += len(part)
    for line in mismatches[:50]:
        print(line)
    print(f"bind_pairs: {done} of {len(cases)} attempts over {len(ADDRESSES)} address kinds, {len(mismatches)} mismatches")
    return 1 if mismatches else 0


if __name__ == "__main__":
    raise SystemExit(main())
