"""`@twinsock.test`: marks a function as a scenario which pytest runs once for each seed, on the twin."""

import functools
from collections.abc import Callable, Iterable
from typing import Any


class Options:
    """What the decorator was told."""

    def __init__(self, seeds: int, time_limit: float, wall_limit: float, allow: Iterable[str]) -> None:
        self.seeds = seeds
        self.time_limit = time_limit
        self.wall_limit = wall_limit
        self.allow = list(allow)


class OutsideError(RuntimeError):
    """A scenario was called as if it were an ordinary function."""


def test(
    func: Callable[..., Any] | None = None,
    *,
    seeds: int = 1,
    time_limit: float = 3600.0,
    wall_limit: float = 60.0,
    allow: Iterable[str] = (),
) -> Any:
    """Mark a function, sync or async, as a scenario.

    `seeds`: how many runs, each with another seed and in a process of its own. `time_limit`: virtual seconds, `wall_limit`: real
    seconds for one run. `allow`: doors to the world outside, as `twinsock run --allow`. Raises ValueError."""
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: at least one run")
    options = Options(seeds, time_limit, wall_limit, allow)

    def mark(func: Callable[..., Any]) -> Any:
        @functools.wraps(func)
        def outside(*args: Any, **kw: Any) -> None:
            raise OutsideError(f"{func.__name__} is a scenario: run it with pytest (the plugin comes with twinsock) or `twinsock sweep`")

        outside.scenario = func  # type: ignore[attr-defined]
        outside.twinsock_options = options  # type: ignore[attr-defined]
        return outside

    return mark if func is None else mark(func)


test.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test by itself
