"""`--wait`: ask again until the address is free, as seldom as the sockets in the way allow."""

from __future__ import annotations

from time import monotonic, sleep

from twinsock.explain.report import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.explain.report import Report

SHORTEST_S = 0.05
LONGEST_S = 1.0


def wait_until_free(examine: Callable[[], Report], report: Report, limit: str) -> Report:
    """Ask until the answer is yes or the time is up; `limit` is in seconds, empty: for ever."""
    deadline = monotonic() + float(limit) if limit else -1.0
    pause = SHORTEST_S
    while report.result != OK:
        step = min(pause, LONGEST_S)
        pause *= 1.5
        expiring = [blocker.lasts_ms for blocker in report.blockers]
        if expiring and min(expiring) >= 0:
            step = max(min(expiring) / 1000, SHORTEST_S)  # TIME_WAIT ends when its timer says so
        if deadline >= 0:
            left = deadline - monotonic()
            if left <= 0:
                return report
            step = min(step, left)
        sleep(step)
        report = examine()
    return report
