"""Reading and writing numbers as text in /proc/sys (Linux: kernel/sysctl.c, proc_dointvec() and its kin).

A table entry names the object and the field that hold the value, its kind and its range. A write is what write(2) hands over at
offset 0; parsing errors are EINVAL, and what was parsed before the error stays, as in Linux. Left out: writes at other offsets
(ignored there, since sysctl_writes_strict is 1)."""

from __future__ import annotations

from twinsock.uapi.errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# kinds
INT: Final = 0  # proc_dointvec, proc_dointvec_minmax: one or more ints
U8: Final = 1  # proc_dou8vec_minmax
UINT: Final = 2  # proc_douintvec, proc_douintvec_minmax
ULONG: Final = 3  # proc_doulongvec_minmax
JIFFIES: Final = 4  # proc_dointvec_jiffies: seconds as text, ticks in the field
MS_JIFFIES: Final = 5  # proc_dointvec_ms_jiffies: milliseconds as text, ticks in the field
MSECS: Final = 11  # the same, but the field holds milliseconds (whole ticks)
PORT_RANGE: Final = 6  # ip_local_port_range
PRIV_PORT: Final = 7  # ip_unprivileged_port_start
BITMAP: Final = 8  # proc_do_large_bitmap: ranges of numbers
PING_RANGE: Final = 9  # ping_group_range
SECONDS: Final = 13  # seconds as text, milliseconds in the field
USERHZ: Final = 14  # hundredths of a second as text, milliseconds in the field
TICKS: Final = 15  # ticks as text, milliseconds in the field
QUEUE: Final = 16  # packets of an Ethernet's size as text, bytes in the field
ACTION: Final = 17  # nothing to read: a write does something
FILE_NR: Final = 18  # fs.file-nr: files, 0, the most
NAMES: Final = 19  # words
FASTOPEN_KEY: Final = 12  # four or eight words in hexadecimal
STRING: Final = 10  # proc_dostring with a check of its own

INT_MIN: Final = -0x80000000
INT_MAX: Final = 0x7FFFFFFF
UINT_MAX: Final = 0xFFFFFFFF
ULONG_MAX: Final = (1 << 64) - 1
_SPACE: Final = b" \t\n\v\f\r"
_NUMBER_MAX: Final = 21


class CtlTable:
    """`struct ctl_table`: one file below /proc/sys."""

    def __init__(self, path: str, holder: str, field: str, kind: int = INT, low: int = INT_MIN, high: int = INT_MAX) -> None:
        self.path = path
        self.holder = holder  # which object of the namespace or kernel has the field
        self.field = field
        self.kind = kind
        self.low = low
        self.high = high
        self.mode = 0o644
        self.global_only = False  # exists in the initial namespace only
        self.child_mode = 0o644  # mode in other namespaces


class NumberParser:
    """Takes numbers off the front of a text."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.pos = 0
        self.negative = False
        self.value = 0

    def skip_spaces(self) -> None:
        """Skip white space."""
        while self.pos < len(self.text) and self.text[self.pos] in _SPACE:
            self.pos += 1

    def at_end(self) -> bool:
        """Tell whether nothing is left."""
        return self.pos >= len(self.text)

    def get_long(self, allowed: bytes) -> bool:
        """Read a number in C's notation that ends at the end or before a character of `allowed`."""
        pos = self.pos
        text = self.text
        self.negative = pos < len(text) and text[pos] == 0x2D
        if self.negative:
            pos += 1
        if pos >= len(text) or not 0x30 <= text[pos] <= 0x39:
            return False
        base = 10
        if text[pos] == 0x30:
            base = 8
            if pos + 2 < len(text) and text[pos + 1] in b"xX" and _digit(text[pos + 2]) < 16:
                base = 16
                pos += 2
        value = 0
        while pos < len(text) and _digit(text[pos]) < base:
            value = value * base + _digit(text[pos])
            pos += 1
        if value > ULONG_MAX or pos - self.pos > _NUMBER_MAX or (pos < len(text) and text[pos] not in allowed):
            return False
        self.pos = pos
        self.value = value
        return True


def _digit(char: int) -> int:
    if 0x30 <= char <= 0x39:
        return char - 0x30
    lower = char | 0x20
    return lower - 0x61 + 10 if 0x61 <= lower <= 0x7A else 99


def write_ints(text: bytes, values: list[int], entry: CtlTable, scale: int) -> int:
    """Parse one number for each place of `values`: 0 or -EINVAL; places parsed before an error keep their new value."""
    parser = NumberParser(text)
    first = True
    for i in range(len(values)):
        parser.skip_spaces()
        if parser.at_end():
            break
        if not parser.get_long(_SPACE):
            return -EINVAL
        value = -parser.value if parser.negative else parser.value
        if not INT_MIN <= value <= INT_MAX or not entry.low <= value <= entry.high:
            return -EINVAL
        if scale > 1 and value * scale > INT_MAX:
            return -EINVAL
        values[i] = value * scale
        first = False
    return -EINVAL if first else 0


def write_uint(text: bytes, values: list[int], entry: CtlTable) -> int:
    """Parse one number that cannot be negative: 0 or -EINVAL."""
    parser = NumberParser(text)
    parser.skip_spaces()
    if parser.at_end() or not parser.get_long(_SPACE) or parser.negative:
        return -EINVAL
    high = min(entry.high, 255) if entry.kind == U8 else entry.high
    if parser.value > UINT_MAX or not max(entry.low, 0) <= parser.value <= high:
        return -EINVAL
    values[0] = parser.value
    return 0


def write_userhz(text: bytes, values: list[int], hz: int) -> int:
    """Parse hundredths of a second into milliseconds, by way of 32 bits of ticks: 0 or -EINVAL."""
    parser = NumberParser(text)
    parser.skip_spaces()
    if parser.at_end() or not parser.get_long(_SPACE):
        return -EINVAL
    ticks = parser.value * hz // 100 & 0xFFFFFFFF
    if ticks > INT_MAX:
        ticks -= 1 << 32
    values[0] = (-ticks if parser.negative else ticks) * 1000 // hz
    return 0


def write_msecs(text: bytes, values: list[int]) -> int:
    """Parse one number of milliseconds, of which 32 bits count: 0 or -EINVAL."""
    parser = NumberParser(text)
    parser.skip_spaces()
    if parser.at_end() or not parser.get_long(_SPACE) or parser.value & 0x80000000:
        return -EINVAL
    if parser.negative and parser.value:
        return -EINVAL
    values[0] = parser.value & INT_MAX
    return 0


def write_ulongs(text: bytes, values: list[int], entry: CtlTable) -> int:
    """Parse unsigned longs: 0 or -EINVAL."""
    parser = NumberParser(text)
    first = True
    for i in range(len(values)):
        parser.skip_spaces()
        if parser.at_end():
            break
        if not parser.get_long(_SPACE):
            return -EINVAL
        first = False
        if parser.negative or not max(entry.low, 0) <= parser.value <= entry.high:
            return -EINVAL
        values[i] = parser.value
    return -EINVAL if first else 0


def parse_bitmap(text: bytes, limit: int) -> tuple[int, list[tuple[int, int]]]:
    """Parse a list of numbers and ranges such as "1,5-9": (0 or -EINVAL, sorted ranges without overlap)."""
    parser = NumberParser(text)
    ranges: list[tuple[int, int]] = []
    parser.skip_spaces()
    while not parser.at_end():
        if not parser.get_long(b",-\n") or parser.negative or parser.value >= limit:
            return -EINVAL, []
        low = high = parser.value
        if not parser.at_end() and parser.text[parser.pos] == 0x2D:
            parser.pos += 1
            if not parser.get_long(b",\n") or parser.negative or parser.value >= limit or parser.value < low:
                return -EINVAL, []
            high = parser.value
        ranges.append((low, high))
        if not parser.at_end():
            parser.pos += 1
    return 0, merge_ranges(ranges)


def merge_ranges(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges and join those that touch."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def format_bitmap(ranges: list[tuple[int, int]]) -> str:
    """Show ranges as the kernel does."""
    return ",".join([str(low) if low == high else f"{low}-{high}" for low, high in ranges]) + "\n"


def format_ints(values: list[int]) -> str:
    """Show numbers as the kernel does: tabs between, a newline behind."""
    return "\t".join([str(value) for value in values]) + "\n"
