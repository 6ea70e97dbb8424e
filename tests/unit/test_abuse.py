"""A short run of each abuse target: `./dev abuse` runs them for as long as you like."""

import pytest

from tests.fuzz.abuse import TARGETS, run_case

CASES = {"calls": 25, "wire": 25, "netlink": 25, "pcapng": 400, "packetdrill": 60, "why": 30}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_makes_no_sense_makes_the_twin_raise_hang_or_leak(name: str) -> None:
    for number in range(CASES[name]):
        trouble = run_case(name, 7, number)
        assert not trouble, f"./dev abuse {name} --seed 7 --first {number} --cases 1\n{trouble}"
