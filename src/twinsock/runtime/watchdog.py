"""Names a thread of the program which runs for long without a single call, as `while not ready: pass` does: nobody else can run then,
and virtual time stands still. Counts the processor time that was really used; changes nothing in the simulation."""

from __future__ import annotations

import _thread
import sys
import time
from os import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.runtime.process import Process

_SLEEP, _CPU_S = time.sleep, time.process_time
_LOOKS = 4  # within the time that the watchdog allows


def start_watchdog(host: Process, limit_s: float) -> None:
    """Start watching."""
    from twinsock.runtime.runner import where

    def watch() -> None:
        seen: tuple[int, ...] = ()
        begin_s = 0.0
        named: set[str] = set()
        while True:
            _SLEEP(limit_s / _LOOKS)
            now = (host.baton.switches, host.total_calls + host.calls, host.spins, host.kernel.clock.now_ns)
            if now != seen:
                seen, begin_s = now, _CPU_S()
            task = host.baton.current
            frame = None if task is None else sys._current_frames().get(task.ident)
            if _CPU_S() - begin_s < limit_s or frame is None or task is None:
                continue
            text = where(frame)
            place = text.rpartition("called at ")[2]
            if place not in named:
                named.add(place)
                write(2, f"twinsock run: task {task.pid} has run for {limit_s:g} s without a call, others wait: {place}\n".encode())

    _thread.start_new_thread(watch, ())
