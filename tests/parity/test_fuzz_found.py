"""Programs on which the live kernel and the twin once differed, and a short run of the fuzzer that found them."""

import json
import os
import random
from pathlib import Path

import pytest

from tests.fuzz.differences import FOUND, describe, differs, on_twin
from tests.fuzz.live import play_live
from tests.fuzz.steps import generate, mutate
from tests.netns import netns_missing

pytestmark = pytest.mark.root

FILES = sorted(FOUND.glob("*.json"))
PROGRAMS = int(os.environ.get("TWINSOCK_FUZZ_PROGRAMS", "150"))  # in each of the runs below


@pytest.fixture(autouse=True)
def namespaces() -> None:
    """Skip where no network namespace is to be had."""
    reason = netns_missing(root_needed=True)
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_program_that_once_differed_does_so_no_more(path: Path) -> None:
    program = json.loads(path.read_text())["program"]
    assert not differs(program), describe(program)


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_meet_the_same_kernel_twice(seed: int) -> None:
    made = [generate(random.Random(f"ci {seed}/{number}")) for number in range(PROGRAMS // 2)]
    made += [mutate(random.Random(f"ci {seed}/mutated {number}"), program, made[-1 - number]) for number, program in enumerate(made)]
    every = seed == 0
    made = made[::6] if every else made
    live = play_live(made, every)
    wrong = [program for program, (host, _) in zip(made, live, strict=True) if on_twin(program, every) != host]
    confirmed = [program for program in wrong if differs(program, every)]
    assert not confirmed, "\n".join(describe(program) for program in confirmed[:3])
