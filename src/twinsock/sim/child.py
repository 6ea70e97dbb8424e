"""One run of a scenario in a process of its own."""

import faulthandler
import sys
from collections.abc import Callable
from typing import Any

from twinsock.kernel.net.core.capture import CaptureSink
from twinsock.runtime.baton import Deadlock
from twinsock.sim.report import report
from twinsock.sim.simulation import Simulation, enter


class FileSink(CaptureSink):
    """Writes a capture to a file."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "wb")  # noqa: SIM115

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        self.file.write(data)
        self.file.flush()


def run_one(func: Callable[..., Any], args: list[Any], request: dict[str, Any]) -> dict[str, Any]:
    """Run a scenario and say how it went: what the protocol of `zygote` calls a reply."""
    wall = float(request.get("wall_limit", 60))
    if wall:
        faulthandler.dump_traceback_later(wall, exit=True)
    sim = Simulation(int(request["seed"]), float(request.get("time_limit", 3600)), bool(request.get("keep")))
    sim.allowed = set(request.get("allowed", ()))
    sim.pcap = FileSink(request["pcap"]) if request.get("pcap") else None
    enter(sim)
    error: BaseException | None = None
    try:
        body = sim.execute(func, *[sim if arg is SIM else arg for arg in args])
        error = body.error
        failed = sim.never_failed()
        if error is None and failed:
            error = failed[0].error
    except BaseException as problem:
        error = problem
    faulthandler.cancel_dump_traceback_later()
    reply = {
        "ok": error is None,
        "seed": sim.seed,
        "crc": sim.journal.crc,
        "events": sim.journal.events,
        "packets": sim.journal.frame_count,
        "virtual_s": sim.now,
        "error": "" if error is None else f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        "skipped": type(error).__name__ == "Skipped",
        "report": "",
        "story": sim.journal.story,
    }
    if error is not None and not reply["skipped"]:
        sim.clock.in_timer = False
        sim.baton.current = None
        reply["deadlock"] = isinstance(error, Deadlock)
        try:
            reply["report"] = report(sim, error)
        except Exception as problem:
            reply["report"] = f"{type(error).__name__}: {error}\n(the report failed: {type(problem).__name__}: {problem})\n"
    sys.stdout.flush()
    sys.stderr.flush()
    return reply


SIM = object()  # stands for the simulation among the arguments
