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
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task


def proc_net_text(net: Net, name: str) -> str | None:
    """Return a file of /proc/net, or None when there is none of that name."""
    text = _sockets(net, name)
    if text is None:
        text = _counters(net, name)
    return text if text is not None else _devices(net, name)


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
