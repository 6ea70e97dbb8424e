"""The texts of /proc/net as comparable values: numbers by name, rows without what differs from run to run.

Left out: slots and order of rows, inodes, kernel addresses, remaining timer ticks and what follows them, and counts that belong to the
whole machine rather than to the namespace (memory, orphans, allocated TCP sockets)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

GLOBAL = ("TCP mem", "TCP orphan", "TCP alloc", "UDP mem", "UDPLITE mem")
TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6")
NUMBERS = ("sockstat", "sockstat6", "snmp", "netstat", "snmp6")
FREE_TIMER = "00"


def numbers(name: str, text: str) -> dict[str, int]:
    """Return the counters of one file by name."""
    if name in ("snmp", "netstat"):
        return pairs_of_lines(text)
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if name == "snmp6":
            found[words[0]] = int(words[1])
            continue
        group = words[0].rstrip(":")
        for key, value in zip(words[1::2], words[2::2], strict=False):
            if f"{group} {key}" not in GLOBAL:
                found[f"{group} {key}"] = int(value)
    return found


def pairs_of_lines(text: str) -> dict[str, int]:
    lines = text.splitlines()
    found: dict[str, int] = {}
    for head, values in zip(lines[::2], lines[1::2], strict=False):
        group, *names = head.split()
        for name, value in zip(names, values.split()[1:], strict=False):
            found[f"{group.rstrip(':')} {name}"] = int(value)
    return found


def rows(name: str, text: str, port: Callable[[int], Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a table, sorted; `port` gives what stands for a port number."""
    if name == "unix":
        return sorted(_unix_row(line) for line in text.splitlines()[1:])
    found: list[tuple[Any, ...]] = []
    for line in text.splitlines()[1:]:
        cells = line.split()
        if name not in TABLES:
            found.append((cells[2], cells[3], cells[4], cells[5], cells[6]))  # type, protocol, interface, running, bytes
            continue
        ends = []
        for cell in cells[1:3]:
            address, _, number = cell.rpartition(":")
            ends += [address, port(int(number, 16))]
        uid = "" if cells[3] == "06" else cells[7]  # nobody owns TIME_WAIT
        found.append((*ends, cells[3], cells[4], cells[5].partition(":")[0], uid))
    return sorted(found, key=repr)


def _unix_row(line: str) -> tuple[Any, ...]:
    cells = line.split(None, 7)
    return (cells[3], cells[4], cells[5], cells[1], cells[7] if len(cells) > 7 else "")
