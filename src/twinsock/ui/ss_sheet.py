"""The plain table of `twinsock ss`: columns as wide as their widest cell, in the manner of ss(8).

Rows are few and irregular (tuples of text), or many and alike: then a batch keeps the kernel's columns as they are and
turns them into text in one go, once the widths are known.
"""

from __future__ import annotations

from array import array
from itertools import chain
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NETID, STATE, RECVQ, SENDQ, LOCAL, LPORT, PEER, PPORT, EXTRA = range(9)
HEADER = ("Netid", "State", "Recv-Q", "Send-Q", "Local Address", ":Port", "Peer Address", ":Port", "Process")
STATE_NAMES = (
    *("UNKNOWN", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK"),
    *("LISTEN", "CLOSING", "SYN-RECV", "UNCONN"),
)

_ROWS_AT_ONCE = 500

Row = tuple[str, str, str, str, str, str, str, str, str]
"""The cells in the order of HEADER; the sign between an address and its port stands before the port."""


class Sheet:
    """Rows and batches in order, and the width of each column."""

    def __init__(self, netid: bool, state: bool, header: bool) -> None:
        self.netid = netid
        self.state = state
        self.header = header
        self.widths = [len(word) if header or word.endswith("-Q") else 0 for word in HEADER]
        self.label = ""  # of the namespace whose rows are added, where a column tells it
        self.label_width = 0
        self.parts: list[tuple[str, list[Row] | Batch]] = []

    def set_label(self, label: str) -> None:
        """Begin the rows of a namespace."""
        self.label = label
        self.label_width = max(self.label_width, len(label), len("Netns"))

    def add(self, row: Row) -> None:
        """Add one row."""
        for column, cell in enumerate(row):
            if len(cell) > self.widths[column]:
                self.widths[column] = len(cell)
        label, last = self.parts[-1] if self.parts else ("", None)
        if isinstance(last, list) and label == self.label:
            last.append(row)
        else:
            self.parts.append((self.label, [row]))

    def add_batch(self, batch: Batch) -> None:
        """Add many rows."""
        batch.measure(self)
        self.parts.append((self.label, batch))

    def widen(self, column: int, width: int) -> None:
        """Make a column at least so wide."""
        self.widths[column] = max(self.widths[column], width)

    def texts(self) -> Iterable[str]:
        """Give the whole table in pieces."""
        if self.header:
            yield self._rows([HEADER], "Netns")
        for label, part in self.parts:
            if isinstance(part, list):
                for start in range(0, len(part), _ROWS_AT_ONCE):
                    yield self._rows(part[start : start + _ROWS_AT_ONCE], label)
            else:
                yield part.text(self, self._lead(label))

    def _lead(self, label: str) -> str:
        return label.ljust(self.label_width) + " " if self.label_width else ""

    def _rows(self, rows: Iterable[Row], label: str) -> str:
        wide = self.widths
        start = self._lead(label).replace("%", "%%")
        start += f"%-{wide[NETID]}s " if self.netid else "%.0s"
        start += f"%-{wide[STATE]}s " if self.state else "%.0s"
        start += f"%-{wide[RECVQ]}s %-{wide[SENDQ]}s %{wide[LOCAL]}s%-{wide[LPORT]}s %{wide[PEER]}s%-{wide[PPORT]}s%-{wide[EXTRA]}s\n"
        return "".join([start % row for row in rows])

    def prefix(self, netid: str, state: int, rqueue: int, wqueue: int) -> str:
        """Give the first columns of a row."""
        wide = self.widths
        text = netid.ljust(wide[NETID]) + " " if self.netid else ""
        text += STATE_NAMES[state].ljust(wide[STATE]) + " " if self.state else ""
        return f"{text}{rqueue:<{wide[RECVQ]}} {wqueue:<{wide[SENDQ]}} "


class Texts(dict[int, str]):
    """Text of a number at a column's width, made once: ports and addresses repeat."""

    def __init__(self, make: Callable[[int], str], width: int, right: bool, after: str = "") -> None:
        self.make = make
        self.width = width
        self.right = right
        self.after = after

    def __missing__(self, key: int) -> str:
        text = self.make(key)
        text = self[key] = (text.rjust(self.width) if self.right else text.ljust(self.width)) + self.after
        return text


class BatchKit:
    """What all batches of one protocol share: the texts of hosts and ports."""

    def __init__(
        self,
        netid: str,
        host: Callable[[int], str],
        port: Callable[[int], str],
        numeric: bool,
        users: Callable[[Sequence[int]], list[str]] | None,
    ) -> None:
        self.netid = netid
        self.host = host
        self.port = port  # with the colon
        self.numeric = numeric  # the largest port is the widest
        self.users = users  # texts of the last column for a column of inodes; None: nothing is shown
        self.texts: tuple[Texts, Texts, Texts, Texts] | None = None

    def at_widths(self, sheet: Sheet) -> tuple[Texts, Texts, Texts, Texts]:
        """Give local hosts, local ports, peer hosts and peer ports at their final widths."""
        if self.texts is None:
            wide = sheet.widths
            end = " " * wide[EXTRA] + "\n" if self.users is None else ""
            self.texts = (
                Texts(self.host, wide[LOCAL], True),
                Texts(self.port, wide[LPORT], False, " "),
                Texts(self.host, wide[PEER], True),
                Texts(self.port, wide[PPORT], False, end),
            )
        return self.texts

    def host_width(self, keys: set[int]) -> int:
        """Tell how wide these hosts are."""
        return max([len(self.host(key)) for key in keys])

    def port_width(self, keys: Sequence[int]) -> int:
        """Tell how wide these ports are."""
        return len(self.port(max(keys))) if self.numeric else max([len(self.port(key)) for key in set(keys)])


class Batch:
    """Runs of IPv4 sockets that are bound to no device: every cell follows from a column of the kernel's message.

    Keys of hosts are the address's word as this machine reads it.
    """

    def __init__(self, kit: BatchKit, stride: int, data: bytes, extras: list[str] | None = None) -> None:
        self.kit = kit
        self.stride = stride
        self.data = data
        self.extras = extras  # texts of the last column; None: the kit makes them of the inodes, if it shows any

    def measure(self, sheet: Sheet) -> None:
        """Make the columns wide enough."""
        kit = self.kit
        for state in set(self.data[17 :: self.stride]):
            sheet.widen(STATE, len(STATE_NAMES[state]))
        for column, word in ((RECVQ, 18), (SENDQ, 19)):
            sheet.widen(column, len(str(max(self._words(word)))))
        for column, word in ((LOCAL, 6), (PEER, 10)):
            sheet.widen(column, kit.host_width(set(self._words(word))))
        for column, half in ((LPORT, 10), (PPORT, 11)):
            sheet.widen(column, kit.port_width(self._ports(half)))
        sheet.widen(NETID, len(kit.netid))
        if kit.users is not None:
            if self.extras is None:
                self.extras = kit.users(self._words(21))
            sheet.widen(EXTRA, max(map(len, self.extras)))

    def text(self, sheet: Sheet, lead: str) -> str:
        """Give the rows."""
        kit = self.kit
        states = self.data[17 :: self.stride]
        rqueues, wqueues = self._words(18), self._words(19)
        prefixes: Iterable[str]
        if not any(rqueues) and not any(wqueues):
            by_state = {state: lead + sheet.prefix(kit.netid, state, 0, 0) for state in set(states)}
            prefixes = map(by_state.__getitem__, states)
        else:
            triples = list(zip(states, rqueues, wqueues, strict=True))
            by_triple = {triple: lead + sheet.prefix(kit.netid, *triple) for triple in set(triples)}
            prefixes = map(by_triple.__getitem__, triples)
        lhost, lport, phost, pport = kit.at_widths(sheet)
        cells: list[Iterable[str]] = [
            prefixes,
            map(lhost.__getitem__, self._words(6)),
            map(lport.__getitem__, self._ports(10)),
            map(phost.__getitem__, self._words(10)),
            map(pport.__getitem__, self._ports(11)),
        ]
        if self.extras is not None:
            wide = sheet.widths[EXTRA]
            cells.append([text.ljust(wide) + "\n" for text in self.extras])
        return "".join(chain.from_iterable(zip(*cells, strict=True)))

    def _words(self, index: int) -> list[int]:
        """Cut out one word of each message."""
        with memoryview(self.data) as view, view.cast("I") as words:
            return words[index :: self.stride // 4].tolist()

    def _ports(self, index: int) -> list[int]:
        """Cut out one port of each message."""
        with memoryview(self.data) as view, view.cast("H") as halves:
            ports = array("H", halves[index :: self.stride // 2].tobytes())
        if byteorder == "little":
            ports.byteswap()
        return ports.tolist()


def is_plain(stride: int, data: bytes, family: int) -> bool:
    """Tell whether a run can be a Batch: one family, IPv4, no device."""
    kinds = data[16::stride]
    if family != kinds[0] or kinds.count(family) != len(kinds) or stride & 3:
        return False
    with memoryview(data) as view, view.cast("I") as words:
        return not any(words[14 :: stride // 4])
