"""The general differential fuzzer: random programs of socket calls on the live kernel and on the twin: ./dev fuzz

    ./dev fuzz --minutes 30 --seed 7        stop after this time
    ./dev fuzz --programs 100000            or after so many programs
    ./dev fuzz --resume                     go on where the last campaign of this seed ended

Each program runs in a network namespace of its own and on a freshly booted twin; every result is compared, and at the end every poll
mask, table, counter and sock_diag answer (with every tenth program after each step). A program that differs is asked again, made as
short as possible and written to tests/fuzz/found, where tests/parity/test_fuzz_found.py plays it from then on.

The twin is watched by coverage: a program that reaches lines of the kernel which none reached before is kept, and half of all programs
are changes of kept ones. State is in build/fuzz/SEED.json."""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.coverage import Coverage
from tests.fuzz.differences import agrees, describe, differs, on_twin, save, shorten, signature
from tests.fuzz.live import play_live
from tests.fuzz.player import Program
from tests.fuzz.steps import generate, mutate
from tests.netns import netns_missing

BATCH = 200
EVERY = 10  # one batch in so many is compared after each step
KEPT_MAX = 4000
MUTATED = 0.4  # share of programs that are changes of kept ones
STATE = Path(__file__).parents[2] / "build" / "fuzz"


class Campaign:
    """One campaign: its numbers, its corpus, what it found."""

    def __init__(self, seed: int, coverage: Coverage) -> None:
        self.seed = seed
        self.coverage = coverage
        self.programs = 0
        self.steps = 0
        self.again = 0  # differences that Linux itself did not repeat
        self.kept: list[Program] = []
        self.found: dict[str, Program] = {}  # by signature

    def batch(self) -> None:
        """Play one batch."""
        number = self.programs // BATCH
        every = number % EVERY == EVERY - 1
        programs = [self.make(self.programs + i) for i in range(BATCH)]
        live = play_live(programs, every)
        for program, (host, times) in zip(programs, live, strict=True):
            self.coverage.begin()
            twin = on_twin(program, every)
            if self.coverage.end() and len(self.kept) < KEPT_MAX:
                self.kept.append(program)
            self.steps += len(program)
            if twin != host and (twin[:1] == ["the twin raised"] or not agrees(program, every, host, times)):
                self.judge(program, every)
        self.programs += BATCH

    def make(self, number: int) -> Program:
        """Make the program of a number."""
        rng = random.Random(f"{self.seed}/{number}")
        if self.kept and rng.random() < MUTATED:
            return mutate(rng, rng.choice(self.kept), rng.choice(self.kept))
        return generate(rng)

    def judge(self, program: Program, every: bool) -> None:
        """Ask again; shorten and write what stays."""
        if not differs(program, every):
            self.again += 1
            return
        kind = signature(program)
        if kind in self.found:
            return
        short = shorten(program) if differs(program, replays=4) else program
        self.found[kind] = short
        again = signature(short)
        if again != kind and again in self.found:
            return
        self.found[again] = short
        path = save(short, again)
        print(f"difference: {again}\n{describe(short)}  written to {path.name}\n", flush=True)

    # Going on later

    def store(self) -> None:
        """Write the state."""
        STATE.mkdir(parents=True, exist_ok=True)
        state = {"programs": self.programs, "steps": self.steps, "again": self.again, "kept": self.kept, "found": list(self.found)}
        path = STATE / f"{self.seed}.json"
        path.with_suffix(".new").write_text(json.dumps(state))
        path.with_suffix(".new").replace(path)

    def load(self) -> None:
        """Read the state of an earlier campaign."""
        path = STATE / f"{self.seed}.json"
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text())
            self.programs, self.steps, self.again, self.kept = state["programs"], state["steps"], state["again"], state["kept"]
            self.found = {kind: [] for kind in state["found"]}

    def summary(self, seconds: float) -> str:
        """Say where the campaign stands."""
        rate = f", {self.programs / seconds:.0f} programs a second" if seconds else ""
        parts = [
            f"{self.programs} programs",
            f"{self.steps} steps",
            f"{len(self.found)} kinds of difference",
            f"{self.again} answers that Linux did not repeat",
            f"{self.coverage.count()} lines of the twin's kernel",
            f"{len(self.kept)} kept",
        ]
        return "fuzz: " + ", ".join(parts) + rate


def main() -> int:
    """Play programs until the time or their number is used up."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="stop after this time (5)")
    parser.add_argument("--programs", type=int, default=0, help="stop after so many programs; 0: by time only")
    parser.add_argument("--seed", type=int, default=1, help="of the programs (1)")
    parser.add_argument("--resume", action="store_true", help="go on where the last campaign of this seed ended")
    parser.add_argument("--differences", type=int, default=20, help="stop after so many kinds of difference (20)")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"fuzz: {reason}", file=sys.stderr)
        return 2
    campaign = Campaign(args.seed, Coverage())
    if args.resume:
        campaign.load()
    begun, first = time.monotonic(), campaign.programs
    before = len(campaign.found)
    told = begun
    while time.monotonic() - begun < args.minutes * 60 and len(campaign.found) - before < args.differences:
        if args.programs and campaign.programs - first >= args.programs:
            break
        campaign.batch()
        if time.monotonic() - told > 60:
            told = time.monotonic()
            campaign.store()
            print(campaign.summary(told - begun if not first else 0), flush=True)
    campaign.store()
    print(campaign.summary(time.monotonic() - begun if not first else 0))
    return 1 if len(campaign.found) > before else 0


if __name__ == "__main__":
    raise SystemExit(main())
