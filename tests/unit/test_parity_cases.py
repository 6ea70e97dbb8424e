"""The count of parity cases: files find their areas, and there are as many cases as the project promises."""

import pytest

from tests.parity.cases import AREAS, area_of, collected, counted


@pytest.mark.parametrize(
    ("name", "area"),
    [("udp_basic", "UDP and UDP-Lite"), ("udp_crowds", "bind and ports"), ("ip_options_sweep", "socket options"), ("x", "others")],
)
def test_the_longest_beginning_of_a_file_name_decides_its_area(name: str, area: str) -> None:
    assert area_of(f"tests/parity/test_{name}.py") == area


@pytest.mark.slow
def test_there_are_at_least_six_hundred_programs_in_all_areas() -> None:
    found = counted(collected())
    assert set(AREAS) <= set(found)
    assert sum(programs for _, programs in found.values()) >= 600
