"""Goodput over loss x delay x reordering x duplication: twins beside the live kernel, on the same path with the same seeds.

Each point is transferred with several seeds on both sides; medians are compared, and every byte must arrive. Two flows that share
a bottleneck are compared by Jain's index. Meant for a machine that is not busy: the live half runs in real time.
"""

import argparse
import statistics
import sys
import time

from tests.netns import netns_missing
from tests.pathsim import Outcome, Point, on_host, on_twin

POINTS = (
    Point(20, 10, size=6_000_000),
    Point(20, 10, loss=0.5, size=4_000_000),
    Point(20, 10, loss=2, size=2_000_000),
    Point(20, 40, size=5_000_000),
    Point(20, 40, loss=0.5, size=1_500_000),
    Point(20, 40, loss=2, size=600_000),
    Point(20, 10, reorder=1, size=4_000_000),
    Point(20, 10, loss=0.5, duplicate=2, size=4_000_000),
    Point(10, 40, loss=0.5, reorder=1, duplicate=1, size=4_000_000),
    Point(40, 10, loss=0.5, size=4_000_000),
    Point(20, 10, loss=0.5, cc="reno", size=4_000_000),
    Point(20, 40, loss=0.5, cc="reno", size=1_500_000),
    Point(20, 40, limit=60, size=4_000_000),
)
SHARED = (
    Point(20, 10, cc="cubic", flows=2, seconds=8, limit=100),
    Point(20, 10, cc="reno", flows=2, seconds=8, limit=100),
    Point(10, 40, cc="cubic", flows=2, seconds=8, limit=100),
    Point(10, 40, cc="reno", flows=2, seconds=8, limit=100),
)
TOLERANCE = 0.15
UNFAIR = 0.15  # how much Jain's index may differ


def jain(rates: list[float]) -> float:
    """Return Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


def value_of(point: Point, outcome: Outcome) -> float:
    """Return what is compared: goodput in bytes per second, or Jain's index."""
    return jain(outcome.goodputs) if point.flows > 1 else outcome.goodputs[0]


def measure(point: Point, seeds: range) -> tuple[list[float], list[float], bool]:
    """Return the values of the twin and of the live kernel, and whether every byte arrived."""
    twin = [on_twin(point, seed) for seed in seeds]
    live = [on_host(point, seed) for seed in seeds]
    intact = all(outcome.intact for outcome in twin + live)
    return [value_of(point, outcome) for outcome in twin], [value_of(point, outcome) for outcome in live], intact


def spread(values: list[float], scale: float) -> str:
    """Write the median and the range."""
    return f"{statistics.median(values) / scale:.3f} ({min(values) / scale:.3f} to {max(values) / scale:.3f})"


def main() -> int:
    """Measure every point, or those that fit into the time; 1 when a point is off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="begin no further point after this time")
    parser.add_argument("--seed", type=int, default=1, help="the first of the seeds")
    parser.add_argument("--seeds", type=int, default=5, help="how many of them each point gets")
    args = parser.parse_args()
    reason = netns_missing(root_needed=True)
    if reason:
        print(f"tcp_grid: {reason}", file=sys.stderr)
        return 2
    end = time.monotonic() + args.minutes * 60
    seeds = range(args.seed, args.seed + args.seeds)
    print("| path | twin | Linux | difference |\n| --- | --- | --- | --- |")
    failed = done = 0
    for point in POINTS + SHARED:
        if time.monotonic() > end:
            break
        twin, live, intact = measure(point, seeds)
        ours, theirs = statistics.median(twin), statistics.median(live)
        shared = point.flows > 1
        wrong = abs(ours - theirs) > UNFAIR if shared else abs(ours / theirs - 1) > TOLERANCE
        difference = f"{ours - theirs:+.3f}" if shared else f"{(ours / theirs - 1) * 100:+.1f} %"
        remark = " OFF" if wrong else "" if intact else " BYTES ARE WRONG"
        name = f"{point}, two flows, Jain's index" if shared else f"{point}, MB/s"
        scale = 1 if shared else 1e6
        print(f"| {name} | {spread(twin, scale)} | {spread(live, scale)} | {difference}{remark} |", flush=True)
        failed += wrong or not intact
        done += 1
    print(f"\ntcp_grid: {done} points, {len(seeds)} seeds each, {failed} off")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
