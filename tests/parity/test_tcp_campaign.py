"""A sample of the campaign of random TCP programs; tests/campaign/tcp_programs.py has the whole of it."""

import pytest

from tests.campaign import tcp_programs

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.mark.parametrize("numbers", [(0, 200), (600, 100), (850, 50), (2490, 10), (2560, 10), (2640, 10), (2750, 10), (6600, 10)])
def test_random_programs_on_four_sockets_end_as_on_linux(numbers: tuple[int, int]) -> None:
    steps, differences = tcp_programs.compare(*numbers, seed=1)
    assert steps > 100
    assert differences == []


def test_rich_programs_see_the_same_options_queues_memory_and_windows() -> None:
    steps, differences = tcp_programs.compare(0, 100, seed=1, kind="rich")
    assert steps > 1000
    assert differences == []
