"""`twinsock ss -s`: counts without a list of sockets, from /proc/net/sockstat."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort


def summary(port: KernelPort, netns: int) -> dict[str, dict[str, int]]:
    """Read the counters: {"TCP": {"inuse": 3, "alloc": 5, ...}, "TCP6": ...}. Raises OSError."""
    counters: dict[str, dict[str, int]] = {}
    for name in ("/proc/net/sockstat", "/proc/net/sockstat6"):
        try:
            text = port.read(name, netns).decode()
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in text.splitlines():
            kind, _, rest = line.partition(":")
            words = rest.split()
            counters[kind] = {words[at]: int(words[at + 1]) for at in range(0, len(words) - 1, 2)}
    counters["estab"] = {"now": _established(port.read("/proc/net/snmp", netns).decode())}
    return counters


def _established(snmp: str) -> int:
    """Find Tcp CurrEstab."""
    rows = [line.split() for line in snmp.splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(rows[0], rows[1], strict=False)).get("CurrEstab", "0")) if len(rows) > 1 else 0


def summary_text(counters: dict[str, dict[str, int]]) -> str:
    """Write the counters as ss(8) does."""

    def count(kind: str, name: str = "inuse") -> int:
        return counters.get(kind, {}).get(name, 0)

    timewait = count("TCP", "tw")
    total = count("TCP", "alloc") + timewait
    closed = total - (count("TCP") + count("TCP6") - timewait)
    lines = [
        f"Total: {count('sockets', 'used')}",
        f"TCP:   {total} (estab {count('estab', 'now')}, closed {closed}, orphaned {count('TCP', 'orphan')}, timewait {timewait})",
        "",
        "Transport Total     IP        IPv6",
    ]
    kinds = [(kind, count(kind), count(kind + "6")) for kind in ("RAW", "UDP", "TCP")]
    kinds.append(("INET", sum([four for _kind, four, _six in kinds]), sum([six for _kind, _four, six in kinds])))
    kinds.append(("FRAG", count("FRAG"), count("FRAG6")))
    lines += [f"{kind}\t  {four + six:<9} {four:<9} {six:<9}" for kind, four, six in kinds]
    return "\n".join(lines) + "\n\n"
