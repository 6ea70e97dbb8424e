"""`--wait`: ask again until the address is free, as seldom as the sockets in the way allow."""

from __future__ import annotations

from twinsock.explain.report import OK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.explain.report import Report
    from twinsock.inspect.port import KernelPort

SHORTEST_S = 0.05
LONGEST_S = 1.0


def wait_until_free(port: KernelPort, examine: Callable[[], Report], report: Report, limit: str) -> Report:
    """Ask until the answer is yes or the time is up; `limit` is in seconds, empty: for ever."""
    deadline = port.now_ns() + int(float(limit) * 1e9) if limit else 0
    pause = SHORTEST_S
    while report.result != OK:
        step = min(pause, LONGEST_S)
        pause *= 1.5
        expiring = [blocker.lasts_ms for blocker in report.blockers]
        if expiring and min(expiring) >= 0:
            step = max(min(expiring) / 1000, SHORTEST_S)  # TIME_WAIT ends when its timer says so
        if limit:
            left = (deadline - port.now_ns()) / 1e9
            if left <= 0:
                return report
            step = min(step, left)
        port.sleep(step)
        report = examine()
    return report
