"""Finding: one thing that a tool noticed, how bad it is, and what helps."""

from __future__ import annotations

NOTE = 1
WRONG = 2
LEVELS = {NOTE: "note", WRONG: "wrong"}


class Finding:
    """A verdict in words."""

    def __init__(self, level: int, rule: str, sentence: str) -> None:
        self.level = level
        self.rule = rule  # short name, stable
        self.sentence = sentence
        self.remedies: list[tuple[str, str]] = []  # (a command or a line of code, what it does)

    def help(self, action: str, text: str) -> None:
        """Add what helps."""
        self.remedies.append((action, text))
