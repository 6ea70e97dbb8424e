"""Counters of IPv6 as text: /proc/net/sockstat6 and snmp6 (Linux: net/ipv6/proc.c; sheet 07, 7.5)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.proc import sock_prot_inuse_get
from twinsock.uapi.snmp import ICMP6_NAMES, ICMP6MSG_NAMES, IP6_SLOTS, UDP_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net

_OUT = 256


def sockstat6_seq_show(net: Net) -> str:
    """Return /proc/net/sockstat6."""
    fqdir = net.ipv6.fqdir
    return (
        f"TCP6: inuse {sock_prot_inuse_get(net, 'TCPv6')}\n"
        f"UDP6: inuse {sock_prot_inuse_get(net, 'UDPv6')}\n"
        f"UDPLITE6: inuse {sock_prot_inuse_get(net, 'UDPLITEv6')}\n"
        f"RAW6: inuse {sock_prot_inuse_get(net, 'RAWv6')}\n"
        f"FRAG6: inuse {0 if fqdir is None else fqdir.nqueues()} memory {0 if fqdir is None else fqdir.mem}\n"
    )


def _line(name: str, value: int) -> str:
    return f"{name:<32}\t{value}\n"


def snmp6_seq_show(net: Net) -> str:
    """Return /proc/net/snmp6."""
    lines = [_line("Ip6" + name, net.ip6_statistics[slot]) for name, slot in IP6_SLOTS]
    lines += [_line("Icmp6" + name, value) for name, value in zip(ICMP6_NAMES, net.icmp6_statistics, strict=True)]
    counts = net.icmp6msg_statistics
    lines += _icmp6msg(counts)
    lines += [_line("Udp6" + name, value) for name, value in zip(UDP_NAMES, net.udp6_statistics, strict=True)]
    for name, value in zip(UDP_NAMES, net.udplite6_statistics, strict=True):
        if name != "IgnoredMulti":
            lines.append(_line("UdpLite6" + name, value))
    return "".join(lines)


def _icmp6msg(counts: list[int]) -> list[str]:
    """Return the lines by message type: those with a name always, others and bare numbers once they were seen."""
    lines = []
    for base, prefix in ((0, "Icmp6In"), (_OUT, "Icmp6Out")):
        lines += [_line(prefix + name, counts[base + type_]) for type_, name in ICMP6MSG_NAMES]
    for type_ in range(512):
        if counts[type_]:
            lines.append(_line(f"Icmp6{'Out' if type_ >= _OUT else 'In'}Type{type_ & 255}", counts[type_]))
    return lines
