"""Tells when other threads and children sleep, from /proc: what a program on the live kernel waits for, not for a while.

A thread sleeps if it is asleep at two looks and has not run in between. Who looks must itself sleep in between: a thread
that only waits for the interpreter's lock runs then.
"""

import os
import threading
import time
from collections.abc import Callable

LIMIT_S = 10.0
PAUSE_S = 0.003


def run_count(pid: int, tid: int) -> str | None:
    """Say how often a thread has run so far, None while it is running, "" when it is gone."""
    task = f"/proc/{pid}/task/{tid}/"
    try:
        with open(task + "stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
        with open(task + "schedstat") as file:
            runs = file.read().split()[2]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return None if state in "RD" else runs


def wait_for_others(first_pause_s: float = PAUSE_S) -> None:
    """Sleep until every other thread of this process, and of its children, sleeps; ten seconds at most."""
    _wait(_others, first_pause_s)


def wait_for_thread(tid: int) -> None:
    """Sleep until a thread of this process sleeps, or is gone; ten seconds at most."""
    _wait(lambda: run_count(os.getpid(), tid), PAUSE_S)


def _wait(look: Callable[[], object], pause_s: float) -> None:
    end = time.monotonic() + LIMIT_S
    before = None
    while time.monotonic() < end:
        time.sleep(pause_s)
        now = look()
        if now is not None and now == before:
            return
        pause_s, before = PAUSE_S, now


def _others() -> list[str] | None:
    runs: list[str] = []
    todo = [os.getpid()]
    while todo:
        pid = todo.pop()
        try:
            tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")))
        except (FileNotFoundError, ProcessLookupError):
            return None
        for tid in tids:
            try:
                with open(f"/proc/{pid}/task/{tid}/children") as file:
                    todo += map(int, file.read().split())
            except (FileNotFoundError, ProcessLookupError):
                return None
            if tid != threading.get_native_id():
                count = run_count(pid, tid)
                if count is None:
                    return None
                runs.append(f"{tid} {count}")
    return runs
