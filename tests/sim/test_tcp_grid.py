"""Transfers between twins over paths that delay, lose, reorder and duplicate: every byte, at the speed that the live kernel had.

The live kernel's figures for the same paths: `./dev campaign tcp_grid`."""

import pytest

from tests.campaign.tcp_grid import jain
from tests.pathsim import Point, on_twin

# path, least and most megabytes per second: a short transfer may be lucky
GRID = (
    (Point(20, 10, size=1_000_000), 1.9, 2.5),
    (Point(20, 10, loss=2, size=400_000), 0.25, 2.4),
    (Point(20, 40, loss=0.5, size=400_000), 0.2, 2.3),
    (Point(20, 10, reorder=1, size=1_000_000), 1.8, 2.5),
    (Point(20, 10, loss=0.5, duplicate=2, size=500_000), 0.6, 2.4),
    (Point(10, 40, loss=0.5, reorder=1, duplicate=1, cc="reno", size=300_000), 0.15, 1.2),
)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "least", "most"), GRID, ids=lambda value: str(value) if isinstance(value, Point) else "")
def test_every_byte_arrives_at_a_plausible_speed(point: Point, least: float, most: float) -> None:
    outcome = on_twin(point, 1)
    assert outcome.intact
    assert least < outcome.goodputs[0] / 1e6 < most


def test_segments_that_overtake_are_judged_lost_once_each() -> None:
    outcome = on_twin(Point(20, 10, reorder=2, size=400_000), 3)
    assert outcome.counters["TcpExtTCPSACKReorder"] > 20
    assert outcome.counters.get("TcpRetransSegs", 0) < 40  # not one for each acknowledgement that fills the hole


@pytest.mark.slow
@pytest.mark.parametrize("cc", ["cubic", "reno"])
def test_two_flows_share_a_bottleneck(cc: str) -> None:
    outcome = on_twin(Point(6, 10, cc=cc, flows=2, seconds=2.5, limit=50), 1)
    assert jain(outcome.goodputs) > 0.9
    assert sum(outcome.goodputs) > 0.9 * 750_000
