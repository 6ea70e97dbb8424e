"""/proc/net: which files there are and who writes them (Linux: fs/proc/proc_net.c and the seq_files beside the protocols)."""

from __future__ import annotations

from twinsock.kernel.fs.proc.devices import (
    arp_seq_text,
    dev_seq_text,
    fib_route_seq_text,
    if6_seq_text,
    igmp6_seq_text,
    igmp_seq_text,
    ipv6_route_seq_text,
)
from twinsock.kernel.fs.proc.extras import EXTRA_FILES, extra_text
from twinsock.kernel.fs.proc.families import netlink_seq_text, ping_seq_text, protocols_seq_text, raw_seq_text
from twinsock.kernel.fs.proc.inet import tcp_seq_text, udp_seq_text
from twinsock.kernel.net.ipv4.proc import netstat_seq_show, snmp_seq_show, sockstat_seq_show
from twinsock.kernel.net.ipv6.proc import snmp6_seq_show, sockstat6_seq_show
from twinsock.kernel.net.packet.diag import packet_seq_text
from twinsock.kernel.net.unix.diag import unix_seq_text
from twinsock.uapi.in_ import IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task


# Files whose whole text is one record; the others come line by line.
_SINGLE: Final[tuple[str, ...]] = ("netstat", "psched", "rt_acct", "snmp", "snmp6", "sockstat", "sockstat6")
_FILES: Final = """
    arp dev icmp icmp6 if_inet6 igmp igmp6 ipv6_route netlink netstat packet protocols raw raw6 route snmp snmp6 sockstat sockstat6
    tcp tcp6 udp udp6 udplite udplite6 unix
"""
NET_FOLDERS: Final[tuple[str, ...]] = ()


def net_files() -> list[str]:
    """List the names in /proc/net, its folders aside."""
    return [*_FILES.split(), *EXTRA_FILES]


def net_folder(net: Net, folder: str) -> list[str]:
    """List the names in a folder of /proc/net."""
    return []


def proc_net_records(net: Net, name: str) -> list[bytes] | None:
    """Return a file of /proc/net as the records in which it is read, or None when there is none of that name."""
    text = proc_net_text(net, name)
    if text is None:
        return None
    if name in _SINGLE:
        return [text.encode("latin-1")]
    records: list[str] = []
    for line in text.splitlines(keepends=True):
        if records and _continues(name, line, len(records)):
            records[-1] += line
        else:
            records.append(line)
    return [record.encode("latin-1") for record in records]


def _continues(name: str, line: str, count: int) -> bool:
    """Tell whether a line belongs to the record before it."""
    if name == "dev":
        return count == 1 and line.startswith(" face")
    return name == "igmp" and line.startswith("\t")


def proc_net_text(net: Net, name: str) -> str | None:
    """Return a file of /proc/net, or None when there is none of that name."""
    text = _sockets(net, name)
    if text is None:
        text = _counters(net, name)
    if text is None:
        text = _devices(net, name)
    return text if text is not None else extra_text(net, name)


def _sockets(net: Net, name: str) -> str | None:
    if name in ("tcp", "tcp6"):
        return tcp_seq_text(net, AF_INET if name == "tcp" else AF_INET6)
    if name in ("udp", "udp6"):
        return udp_seq_text(net, AF_INET if name == "udp" else AF_INET6, IPPROTO_UDP)
    if name in ("udplite", "udplite6"):
        return udp_seq_text(net, AF_INET if name == "udplite" else AF_INET6, IPPROTO_UDPLITE)
    if name in ("raw", "raw6"):
        return raw_seq_text(net, AF_INET if name == "raw" else AF_INET6)
    if name in ("icmp", "icmp6"):
        return ping_seq_text(net, AF_INET if name == "icmp" else AF_INET6)
    if name == "netlink":
        return netlink_seq_text(net)
    if name == "packet":
        return packet_seq_text(net)
    if name == "protocols":
        return protocols_seq_text(net)
    if name == "unix":
        return unix_seq_text(net)
    return None


def _counters(net: Net, name: str) -> str | None:
    if name == "sockstat":
        return sockstat_seq_show(net)
    if name == "sockstat6":
        return sockstat6_seq_show(net)
    if name == "snmp":
        return snmp_seq_show(net)
    if name == "snmp6":
        return snmp6_seq_show(net)
    if name == "netstat":
        return netstat_seq_show(net)
    return None


def _devices(net: Net, name: str) -> str | None:
    if name == "dev":
        return dev_seq_text(net)
    if name == "route":
        return fib_route_seq_text(net)
    if name == "ipv6_route":
        return ipv6_route_seq_text(net)
    if name == "if_inet6":
        return if6_seq_text(net)
    if name == "arp":
        return arp_seq_text(net)
    if name == "igmp":
        return igmp_seq_text(net)
    if name == "igmp6":
        return igmp6_seq_text(net)
    return None


def read_proc_net(task: Task, name: str) -> str:
    """Return a file of the task's /proc/net, "" when there is none of that name."""
    return proc_net_text(task.net, name) or ""
