"""`twinsock listeners` against `ss -ltnp` with 100,000 TCP sockets in a namespace of their own: ratios of one run, cold, as typed.

    python bench/bench_listeners.py [--json] [COUNT] [ROUNDS]

`ss` lists one namespace; `listeners` looks at all of them, and with --netns at one. Prints the least wall and CPU
seconds, theirs over ours, and our peak memory; the other tools follow without a peer.
"""

import json
import os
import resource
import sys

from bench_ss import many_sockets, measure

OURS = [sys.executable, "-c", "from twinsock.ui.cli import main; main()"]
HEALTH = (0, 1, 3)
OTHERS = ("count", "leaks", "ports", "ns")


def main() -> None:
    """Measure and print."""
    numbers = [int(word) for word in sys.argv[1:] if word != "--json"]
    count = numbers[0] if numbers else 100_000
    rounds = numbers[1] if len(numbers) > 1 else 5
    results: list[dict[str, object]] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with many_sockets(count):
        print(f"{count} TCP sockets, least of {rounds}; seconds: wall (CPU)")
        wall, cpu, _ = measure(["ss", "-ltnp"], rounds)
        print(f"ss -ltnp                         {wall:.3f} ({cpu:.3f})", flush=True)
        for arguments in (["listeners"], ["listeners", "--tcp", "--netns", str(os.getpid())]):
            our_wall, our_cpu, peak = measure([*OURS, *arguments], rounds, HEALTH)
            name = " ".join(arguments[:3])
            results.append({"name": f"twinsock {name}", "ratio": round(cpu / our_cpu, 3), "goal": None, "peer": "ss -ltnp"})
            print(
                f"twinsock {name:<23} {our_wall:.3f} ({our_cpu:.3f})  {wall / our_wall:.1f} ({cpu / our_cpu:.1f}) times as fast"
                f"  peak {peak / 1024:.0f} MB",
                flush=True,
            )
        for name in OTHERS:
            our_wall, our_cpu, peak = measure([*OURS, name], 1, HEALTH)
            print(f"twinsock {name:<23} {our_wall:.3f} ({our_cpu:.3f})  peak {peak / 1024:.0f} MB", flush=True)
    if "--json" in sys.argv:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
