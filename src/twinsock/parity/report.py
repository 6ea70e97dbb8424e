"""What one side noted of a run, read back from its lines."""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Call:
    """One call of the program: who made it, on what, with what, and what came of it."""

    def __init__(self, thread: str, name: str, sock: str, args: Any, outcome: str, result: Any) -> None:
        self.thread = thread
        self.name = name
        self.sock = sock
        self.args = args
        self.outcome = outcome  # "ok", "nothing" for a wait in vain, or the name of the errno or exception
        self.result = result
        self.proc: dict[str, str] = {}  # texts of /proc that were others after this call than before


class Report:
    """One side's run."""

    def __init__(self, text: str, output: str) -> None:
        self.output = output
        self.kernel = ""
        self.with_user_namespace = False
        self.calls: list[Call] = []
        self.result: Any = None
        self.proc: dict[str, str] = {}  # when the last line of the program had run
        self.capture_inode = 0
        self.packets: list[bytes] = []
        self.packets_lost = 0
        self.exit_code: int | None = None  # None: it did not get there
        self.trouble = ""  # why the side could not run, or did not end
        self.unavailable = ""
        for line in text.splitlines():
            self._read(line)

    def _read(self, line: str) -> None:
        """Take one line."""
        try:
            kind, *rest = ast.literal_eval(line)
        except (ValueError, SyntaxError):
            return  # the last line of a process that was killed
        if kind == "call":
            self.calls.append(Call(*rest))
        elif kind == "proc":
            mine = [call for call in self.calls if call.thread == rest[0]]
            if mine:
                mine[-1].proc = rest[1]
        elif kind == "kernel":
            self.kernel, self.with_user_namespace = rest
        elif kind == "result":
            self.result = rest[0]
        elif kind == "end":
            self.proc = rest[0]
        elif kind == "capture":
            self.capture_inode = rest[0]
        elif kind == "packets":
            self.packets, self.packets_lost = rest
        elif kind == "exit":
            self.exit_code = rest[0]
        elif kind == "unavailable":
            self.unavailable = rest[0]
        else:
            self.trouble = rest[0]

    def threads(self) -> list[str]:
        """Name the threads, in order of their first call."""
        return list(dict.fromkeys(call.thread for call in self.calls))
