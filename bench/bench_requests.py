"""Connect, request of 100 bytes, reply of 1,000, close, one after the other: the twin beside Linux's loopback, from Python.

python bench/bench_requests.py [--json] [--record]"""

import json
import sys

from twin_calls import LinuxCalls, TwinCalls, serve_requests
from twin_kit import builds, cpu_seconds, finish, row, worker

COUNT = {"pure": 500, "compiled": 3000}
TARGET = {"pure": 25_000, "compiled": 60_000}


def main() -> None:
    """Measure and print."""
    if "--worker" in sys.argv:
        count = int(sys.argv[-1])
        print(json.dumps({"per_second": count / cpu_seconds(lambda: serve_requests(TwinCalls(), count))}))
        return
    linux = LinuxCalls()
    peer = 3000 / cpu_seconds(lambda: serve_requests(linux, 3000))
    rows = []
    for build in builds():
        figure = worker(__file__, build, str(COUNT[build]))["per_second"]
        rows.append(row("requests", build, figure, peer, "Linux from Python", "/s", TARGET[build]))
    finish(rows)


if __name__ == "__main__":
    main()
