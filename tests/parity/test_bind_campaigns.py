"""A sample of the bind campaigns against the live kernel; tests/campaign has the whole of them."""

import pytest

from tests.campaign import bind_pairs, bind_ports, bind_sequences

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ip")]


def test_five_thousand_pairs_of_owner_and_newcomer_end_as_on_linux() -> None:
    cases = bind_pairs.sample(5000, seed=6)
    assert len({repr(case) for case in cases}) == 5000
    assert bind_pairs.compare(cases) == []


def test_random_sequences_over_several_sockets_end_as_on_linux() -> None:
    attempts, _, mismatches = bind_sequences.compare(0, 1000, seed=6)
    assert attempts > 3000
    assert mismatches == []


def test_automatic_ports_come_from_the_same_set_as_on_linux() -> None:
    asked, mismatches = bind_ports.compare(0, 100, seed=6)
    assert asked > 2000
    assert mismatches == []
