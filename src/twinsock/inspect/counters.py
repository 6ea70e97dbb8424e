"""The kernel's counters as text: /proc/net/snmp, netstat and sockstat, by name, because each release has other columns."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort


def parse_snmp(text: bytes) -> dict[str, dict[str, int]]:
    """Parse pairs of lines `Group: names` and `Group: values`; what is no number is left out."""
    groups: dict[str, dict[str, int]] = {}
    names: list[str] = []
    named = ""
    for line in text.decode("ascii", "replace").splitlines():
        title, colon, rest = line.partition(":")
        words = rest.split()
        if not colon or not words:
            continue
        if not words[0].lstrip("-").isdecimal():
            named, names = title, words
        elif named == title:
            group = groups.setdefault(title, {})
            for name, word in zip(names, words, strict=False):
                if word.lstrip("-").isdecimal():
                    group[name] = int(word)
    return groups


def parse_sockstat(text: bytes) -> dict[str, dict[str, int]]:
    """Parse lines `TCP: inuse 5 orphan 0`; what is no number is left out."""
    groups: dict[str, dict[str, int]] = {}
    for line in text.decode("ascii", "replace").splitlines():
        title, colon, rest = line.partition(":")
        words = rest.split()
        if colon:
            pairs = zip(words[0::2], words[1::2], strict=False)
            groups[title] = {name: int(value) for name, value in pairs if value.isdecimal()}
    return groups


def tcp_ext(port: KernelPort, netns: int = 0) -> dict[str, int]:
    """Read the TcpExt counters of a namespace. Raises OSError."""
    return parse_snmp(port.read("/proc/net/netstat", netns)).get("TcpExt", {})


def sockstat(port: KernelPort, netns: int = 0) -> dict[str, dict[str, int]]:
    """Read sockstat, and sockstat6 where there is IPv6. Raises OSError."""
    groups = parse_sockstat(port.read("/proc/net/sockstat", netns))
    try:
        six = port.read("/proc/net/sockstat6", netns)
    except OSError:
        return groups
    return groups | parse_sockstat(six)
