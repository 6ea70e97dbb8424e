"""Which lines of the twin's kernel have run: sys.monitoring where the interpreter has it (3.12), each line told once; before that
sys.settrace on one program in fifty, since it slows the twin down tenfold."""

import random
import sys
from types import CodeType, FrameType
from typing import Any

KERNEL = "/twinsock/kernel/"
TOOL = 3
SAMPLE = 50


class Coverage:
    """Counts lines; `begin` and `end` enclose a program, and `end` tells whether it reached new ones."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int]] = set()
        self.before = 0
        self.rng = random.Random(1)
        self.tracing = False
        self.monitoring: Any = getattr(sys, "monitoring", None)
        if self.monitoring is not None:
            self.monitoring.use_tool_id(TOOL, "fuzz")
            self.monitoring.register_callback(TOOL, self.monitoring.events.LINE, self._line)
            self.monitoring.set_events(TOOL, self.monitoring.events.LINE)

    def _line(self, code: CodeType, line: int) -> Any:
        if KERNEL in code.co_filename:
            self.lines.add((code.co_filename, line))
        return self.monitoring.DISABLE

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        name = frame.f_code.co_filename
        if KERNEL not in name:
            return None
        lines = self.lines

        def local(frame: FrameType, event: str, arg: object) -> Any:
            lines.add((name, frame.f_lineno))
            return local

        return local

    def begin(self) -> None:
        """A program starts."""
        self.before = len(self.lines)
        self.tracing = self.monitoring is None and self.rng.randrange(SAMPLE) == 0
        if self.tracing:
            sys.settrace(self._trace)

    def end(self) -> bool:
        """A program has ended: tell whether it reached lines that none reached before."""
        if self.tracing:
            sys.settrace(None)
        return len(self.lines) > self.before

    def count(self) -> int:
        """Return how many lines were reached."""
        return len(self.lines)

    def close(self) -> None:
        """Watch no longer."""
        if self.monitoring is not None:
            self.monitoring.set_events(TOOL, 0)
            self.monitoring.free_tool_id(TOOL)
