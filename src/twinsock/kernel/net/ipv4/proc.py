"""Counters of a namespace as text: /proc/net/sockstat, snmp and netstat (Linux: net/ipv4/proc.c; sheets 01, 1.7 and 07, 7.5).

Left out (D-mptcp-1): the MPTcpExt lines, which a kernel without MPTCP does not have."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import ProtoCounters
from twinsock.uapi.snmp import (
    ICMP_NAMES,
    IP_NAMES,
    IPEXT_NAMES,
    IPSTATS_MIB_INNOROUTES,
    TCP_NAMES,
    TCPEXT_NAMES,
    UDP_NAMES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Proto

_ICMPMSG_OUT = 256
_MSG_PER_LINE = 16


def protos_named(kernel: Kernel, *names: str) -> list[Proto]:
    """Return the registered protocols with these names."""
    return [prot for prot in kernel.protos if prot.name in names]


def sock_prot_inuse_get(net: Net, name: str) -> int:
    """Return how many sockets of a protocol are in the tables of a namespace."""
    return sum([net.prot_inuse[prot.inuse_idx] for prot in protos_named(net.kernel, name)])


def proto_counters(kernel: Kernel, name: str) -> ProtoCounters:
    """Return what a transport counts for all its protocols."""
    prots = protos_named(kernel, name)
    return prots[0].counters if prots else ProtoCounters()


def sockstat_seq_show(net: Net) -> str:
    """Return /proc/net/sockstat."""
    kernel = net.kernel
    tcp = proto_counters(kernel, "TCP")
    fqdir = net.ipv4.fqdir
    return (
        f"sockets: used {net.sockets_used}\n"
        f"TCP: inuse {sock_prot_inuse_get(net, 'TCP')} orphan {tcp.orphan_count} tw {net.ipv4.tw_count} alloc {tcp.sockets_allocated} "
        f"mem {tcp.memory_allocated}\n"
        f"UDP: inuse {sock_prot_inuse_get(net, 'UDP')} mem {proto_counters(kernel, 'UDP').memory_allocated}\n"
        f"UDPLITE: inuse {sock_prot_inuse_get(net, 'UDP-Lite')}\n"
        f"RAW: inuse {sock_prot_inuse_get(net, 'RAW')}\n"
        f"FRAG: inuse {0 if fqdir is None else fqdir.nqueues()} memory {0 if fqdir is None else fqdir.mem}\n"
    )


def _pair(group: str, names: Sequence[str], values: Sequence[int]) -> str:
    """Return the line of names and the line of values."""
    return f"{group}: {' '.join(names)}\n{group}: {' '.join([str(value) for value in values])}\n"


def _icmpmsg_put(net: Net) -> str:
    """Return the IcmpMsg lines: message types that were seen, sixteen to a line."""
    counts = net.icmpmsg_statistics
    seen = [type_ for type_ in range(512) if counts[type_]]
    text = ""
    for start in range(0, len(seen), _MSG_PER_LINE):
        line = seen[start : start + _MSG_PER_LINE]
        names = "".join([f" {'OutType' if type_ >= _ICMPMSG_OUT else 'InType'}{type_ & 255}" for type_ in line])
        text += f"\nIcmpMsg:{names}\nIcmpMsg:{''.join([f' {counts[type_]}' for type_ in line])}"
    return text


def snmp_seq_show(net: Net) -> str:
    """Return /proc/net/snmp."""
    ipv4 = net.ipv4
    forwarding = 0 if ipv4.devconf_all is None else ipv4.devconf_all.forwarding
    ip = [1 if forwarding else 2, ipv4.sysctl_ip_default_ttl, *net.ip_statistics[2 : len(IP_NAMES)]]
    icmp_pair = _pair("Icmp", ICMP_NAMES, net.icmp_statistics)
    tcp = [1, 200, 120000, -1, *net.tcp_statistics[4:]]
    return (
        _pair("Ip", IP_NAMES, ip)
        + icmp_pair[:-1]
        + _icmpmsg_put(net)
        + "\n"
        + _pair("Tcp", TCP_NAMES, tcp)
        + _pair("Udp", UDP_NAMES, net.udp_statistics)
        + _pair("UdpLite", UDP_NAMES, net.udplite_statistics)
    )


def netstat_seq_show(net: Net) -> str:
    """Return /proc/net/netstat."""
    return _pair("TcpExt", TCPEXT_NAMES, net.net_statistics) + _pair("IpExt", IPEXT_NAMES, net.ip_statistics[IPSTATS_MIB_INNOROUTES:])
