"""socket + bind + close, and one more bind to a port with many owners: the twin beside Linux, from Python.

python bench/bench_bind.py [--json] [--record]"""

import json
import sys

from twin_calls import PORT, LinuxCalls, TwinCalls, bind_and_close
from twin_kit import builds, cpu_seconds, finish, row, worker

OWNERS = (1, 10, 100, 1000, 10_000)
COUNT = {"pure": 3000, "compiled": 20_000, "linux": 20_000}


def growth(env: object) -> dict[str, float]:
    """Return binds per second to a port that so many sockets with SO_REUSEPORT own already."""
    assert isinstance(env, LinuxCalls | TwinCalls)
    found = {}
    kept: list[object] = []
    for owners in OWNERS:
        while len(kept) < owners:
            kept.append(env.bound(PORT + 2, True))
        found[str(owners)] = 100 / cpu_seconds(lambda: [env.close(env.bound(PORT + 2, True)) for _ in range(100)])  # type: ignore[arg-type]
    for sock in kept:
        env.close(sock)  # type: ignore[arg-type]
    return found


def figures(env: object, count: int) -> dict[str, float]:
    """Return everything of one kernel."""
    return {"plain": count / cpu_seconds(lambda: bind_and_close(env, count)), **growth(env)}


def main() -> None:
    """Measure and print."""
    if "--worker" in sys.argv:
        print(json.dumps(figures(TwinCalls(), int(sys.argv[-1]))))
        return
    linux = figures(LinuxCalls(), COUNT["linux"])
    rows = []
    for build in builds():
        twin = worker(__file__, build, str(COUNT[build]))
        rows.append(row("socket + bind + close", build, twin["plain"], linux["plain"], "Linux from Python", "/s", linux["plain"] / 1.5))
        for owners in map(str, OWNERS):
            rows.append(row(f"bind beside {owners} owners", build, twin[owners], linux[owners], "Linux from Python", "/s"))
    finish(rows)


if __name__ == "__main__":
    main()
