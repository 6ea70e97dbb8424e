"""Text for a terminal or a pipe: colour, wrapping, columns, and nothing that a process's name could smuggle in."""

from __future__ import annotations

import os
import sys

BOLD = "1"
DIM = "2"
RED = "31"
GREEN = "32"
YELLOW = "33"
CYAN = "36"
NARROWEST = 40


class Paper:
    """Where the answer is written, line by line."""

    def __init__(self, colour: bool, width: int) -> None:
        self.colour = colour
        self.width = width  # in characters; 0: never wrap
        self.lines: list[str] = []

    def paint(self, text: str, *codes: str) -> str:
        """Colour a text if this paper takes colour."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colour and text and codes else text

    def line(self, text: str = "") -> None:
        """Write one line as it is."""
        self.lines.append(text)

    def title(self, text: str) -> None:
        """Write a section's heading after an empty line."""
        self.lines += ["", self.paint(text, BOLD)]

    def prose(self, text: str, indent: int = 2, first: str = "", *codes: str) -> None:
        """Write a sentence, wrapped and indented; `first` stands in the indentation of its first line."""
        lead = " " * indent if not first else first + " " * max(indent - len(first), 1)
        room = max(self.width - indent, NARROWEST // 2) if self.width else 0
        for row in wrap(clean(text), room):
            self.lines.append(lead + self.paint(row, *codes))
            lead = " " * indent

    def text(self) -> str:
        """Give all that was written."""
        return "\n".join(self.lines) + "\n"


def wrap(text: str, room: int) -> list[str]:
    """Break a text at blanks into rows of at most `room` characters (0: one row); longer words stay whole."""
    if not room:
        return [text]
    rows: list[str] = []
    row = ""
    for word in text.split(" "):
        if row and len(row) + 1 + len(word) > room:
            rows.append(row)
            row = word
        else:
            row = row + " " + word if row else word
    rows.append(row)
    return rows


def clean(text: str) -> str:
    """Replace what is not printable: names of processes and paths come from strangers."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def paper_for_stdout(no_colour: bool) -> Paper:
    """Choose colour and width: as wide as the terminal, plain and unwrapped for a pipe; NO_COLOR is respected."""
    if not sys.stdout.isatty():
        return Paper(False, 0)
    colour = not no_colour and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    try:
        width = os.get_terminal_size(1).columns
    except OSError:
        width = 80
    return Paper(colour, max(width or 80, NARROWEST))
