"""A table: columns as wide as their widest cell, numbers to the right, the last column cut where the terminal ends."""

from __future__ import annotations

from twinsock.ui.term import BOLD, DIM, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.ui.term import Paper

_SHORTEST_CELL = 12


class Columns:
    """Rows under headings; a heading that begins with `>` stands to the right, with its cells."""

    def __init__(self, *headings: str) -> None:
        self.right = [heading.startswith(">") for heading in headings]
        self.headings = [heading.lstrip(">") for heading in headings]
        self.rows: list[tuple[list[str], tuple[str, ...], list[str]]] = []

    def row(self, *cells: object, colour: tuple[str, ...] = (), below: Sequence[str] = ()) -> None:
        """Add a row; `colour` is for its first cell, and `below` are finished lines that follow it."""
        self.rows.append(([clean(str(cell)) for cell in cells], colour, list(below)))

    def draw(self, paper: Paper, indent: int = 2) -> None:
        """Write the table."""
        cells = [self.headings, *[row for row, _colour, _below in self.rows]]
        widths = [max([len(row[at]) for row in cells]) for at in range(len(self.headings))]
        used = indent + sum(widths) + 2 * (len(widths) - 1)
        if paper.width and used > paper.width:
            self._narrow(widths, used - paper.width)
        paper.line(paper.paint(self._line(self.headings, widths, indent), DIM))
        for row, colour, below in self.rows:
            line = self._line(row, widths, indent)
            if colour:
                first = line[: indent + widths[0]]
                line = paper.paint(first, *colour) + line[len(first) :]
            paper.line(line)
            paper.lines += below

    def _narrow(self, widths: list[int], excess: int) -> None:
        """Take from the widest columns of text what the paper is too narrow for."""
        while excess > 0:
            widest = max([at for at in range(len(widths)) if not self.right[at]], key=lambda at: widths[at])
            if widths[widest] <= _SHORTEST_CELL:
                return
            widths[widest] -= 1
            excess -= 1

    def _line(self, row: list[str], widths: list[int], indent: int) -> str:
        parts = []
        for at, cell in enumerate(row):
            width = widths[at]
            if len(cell) > width:
                cell = cell[: width - 1] + "~"
            parts.append(cell.rjust(width) if self.right[at] else cell.ljust(width))
        return (" " * indent + "  ".join(parts)).rstrip()


def heading(paper: Paper, text: str) -> None:
    """Write the title of a table, after an empty line."""
    paper.line()
    paper.line(paper.paint(clean(text), BOLD))
