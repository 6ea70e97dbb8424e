"""What a scenario writes for a duration, a delay or a chance, and what a network makes of it."""

import re
from typing import Any

from twinsock.kernel.drivers.switch import LaneQueue
from twinsock.kernel.net.sched.sch_netem import DIST_NORMAL, DIST_PARETO, DIST_UNIFORM, percent

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_RATES = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_ENDLESS_QUEUE = 1_000_000

Duration = float | int | str


def nanoseconds(value: Duration) -> int:
    """Convert seconds, or a text as "20ms", to nanoseconds. Raises ValueError."""
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None or match[2] not in _UNITS:
            raise ValueError(f"{value!r}: a duration is a number of seconds, or a text with one of {', '.join(_UNITS)}, as '20ms'")
        return round(float(match[1]) * _UNITS[match[2]])
    if value < 0:
        raise ValueError(f"{value!r}: a duration cannot be negative")
    return round(value * 1e9)


def bits_per_second(value: float | str) -> int:
    """Convert bits per second, or a text as "10mbit", to bits per second. Raises ValueError."""
    if isinstance(value, str):
        match = _TEXT.fullmatch(value.lower())
        if match is None or match[2] not in _RATES:
            raise ValueError(
                f"{value!r}: a bandwidth is a number of bits per second, or a text with one of {', '.join(_RATES)}, as '10mbit'"
            )
        return round(float(match[1]) * _RATES[match[2]])
    if value < 0:
        raise ValueError(f"{value!r}: a bandwidth cannot be negative")
    return round(value)


class Delay:
    """A distribution of delays, in nanoseconds."""

    def __init__(self, mean_ns: int, spread_ns: int = 0, shape: int = DIST_UNIFORM) -> None:
        self.mean_ns = mean_ns
        self.spread_ns = spread_ns
        self.shape = shape


def uniform(low: Duration, high: Duration) -> Delay:
    """Any delay between two is as likely as any other."""
    first, last = nanoseconds(low), nanoseconds(high)
    if last < first:
        raise ValueError(f"{low!r} to {high!r}: the second must not be the smaller one")
    return Delay((first + last) // 2, (last - first) // 2)


def normal(mean: Duration, deviation: Duration) -> Delay:
    """A bell curve, cut off at four deviations and at 0."""
    return Delay(nanoseconds(mean), nanoseconds(deviation), DIST_NORMAL)


def pareto(mean: Duration, deviation: Duration) -> Delay:
    """Mostly short, sometimes very long."""
    return Delay(nanoseconds(mean), nanoseconds(deviation), DIST_PARETO)


def delay(value: Any) -> Delay:
    """Convert a duration, a pair (low, high) or a Delay."""
    if isinstance(value, Delay):
        return value
    if isinstance(value, tuple):
        if len(value) != 2:
            raise ValueError(f"{value!r}: a latency is a duration, (low, high), normal(mean, deviation) or pareto(mean, deviation)")
        return uniform(*value)
    return Delay(nanoseconds(value))


def chance(name: str, value: float) -> int:
    """Convert a probability between 0 and 1 to netem's 32 bits. Raises ValueError."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}: a probability lies between 0 and 1")
    return percent(value * 100)


NAMES = ("latency", "loss", "duplicate", "reorder", "corrupt", "bandwidth", "queue")


def check(conditions: dict[str, Any]) -> None:
    """Refuse names that no link has. Raises TypeError."""
    unknown = sorted(set(conditions) - set(NAMES))
    if unknown:
        raise TypeError(f"a link has no {', '.join(unknown)}: there are {', '.join(NAMES)}")
    apply(conditions, None)


def apply(conditions: dict[str, Any], queue: LaneQueue | None) -> None:
    """Give a lane conditions; without one only check them. Raises ValueError."""
    late = delay(conditions.get("latency", 0))
    loss = chance("loss", conditions.get("loss", 0))
    duplicate = chance("duplicate", conditions.get("duplicate", 0))
    reorder = chance("reorder", conditions.get("reorder", 0))
    corrupt = chance("corrupt", conditions.get("corrupt", 0))
    rate = bits_per_second(conditions.get("bandwidth", 0)) // 8
    limit = int(conditions.get("queue", 1000 if rate else _ENDLESS_QUEUE))
    if limit < 1:
        raise ValueError(f"queue={limit!r}: a queue holds one packet at least")
    if queue is None:
        return
    queue.latency_ns, queue.jitter_ns, queue.distribution = late.mean_ns, late.spread_ns, late.shape
    queue.loss, queue.duplicate, queue.corrupt, queue.rate, queue.limit = loss, duplicate, corrupt, rate, limit
    queue.reorder = reorder
    queue.gap = 1 if reorder else 0
