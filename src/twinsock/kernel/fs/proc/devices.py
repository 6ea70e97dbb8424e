"""/proc/net files about devices, addresses, routes and neighbours (Linux: net/core/net-procfs.c, net/ipv4/fib_trie.c, arp.c, igmp.c,
net/ipv6/addrconf.c, route.c, mcast.c).

Left out: fib_trie and fib_triestat, which show the shape of a data structure that the twin does not have; rt_cache, which is empty."""

from __future__ import annotations

from twinsock.kernel.net.core.neighbour import NUD_VALID
from twinsock.kernel.net.ipv4.fib_table import FibInfo
from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import (
    NUD_PERMANENT,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_TABLE_MAIN,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_PROHIBIT,
    RTN_UNREACHABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv6.addrconf import Inet6Ifaddr
    from twinsock.kernel.net.ipv6.route import Fib6Info

_DEV_HEAD: Final = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
)
_ROUTE_HEAD: Final = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
_ROUTE_WIDTH: Final = 127
_RTF_UP: Final = 0x1
_RTF_GATEWAY: Final = 0x2
_RTF_HOST: Final = 0x4
_RTF_REJECT: Final = 0x200
_RTF_NONEXTHOP: Final = 0x200000
_RTF_LOCAL: Final = 0x80000000
_RTAX_MTU: Final = 2
_RTAX_WINDOW: Final = 3
_RTAX_RTT: Final = 4
_RTAX_ADVMSS: Final = 8
_ATF_COM: Final = 2
_ATF_PERM: Final = 4
_PERMANENT: Final = 0x80
_MAF_NOREPORT: Final = 0x8
_MAF_TIMER: Final = 0x4


def _le(addr: int) -> int:
    """Return an address as the kernel's word in host order."""
    return int.from_bytes(addr.to_bytes(4, "big"), "little")


def _dotted(addr: bytes) -> str:
    return ".".join([str(part) for part in addr])


def dev_seq_text(net: Net) -> str:
    """Return /proc/net/dev."""
    text = _DEV_HEAD
    for dev in _oldest_first(net):
        s = dev.stats
        text += (
            f"{dev.name:>6}: {s.rx_bytes:7d} {s.rx_packets:7d} {s.rx_errors:4d} {s.rx_dropped:4d} {0:4d} {0:5d} {0:10d} "
            f"{s.multicast:9d} {s.tx_bytes:8d} {s.tx_packets:7d} {s.tx_errors:4d} {s.tx_dropped:4d} {0:4d} {0:5d} {0:7d} {0:10d}\n"
        )
    return text


def _oldest_first(net: Net) -> list[NetDevice]:
    return sorted(net.dev_base, key=_ifindex)


def _ifindex(dev: NetDevice) -> int:
    return dev.ifindex


def _metric(fi: FibInfo, which: int) -> int:
    return fi.metrics[which]


def fib_route_seq_text(net: Net) -> str:
    """Return /proc/net/route: the main table without local, broadcast and multicast routes."""
    lines = [f"{_ROUTE_HEAD:<{_ROUTE_WIDTH}}\n"]
    fib = net.ipv4.fib
    for prefix, plen, fi in [] if fib is None else fib.table(RT_TABLE_MAIN).all_routes():
        if fi.type in (RTN_BROADCAST, RTN_MULTICAST, RTN_LOCAL):
            continue
        flags = _RTF_UP
        if fi.type in (RTN_UNREACHABLE, RTN_PROHIBIT):
            flags = _RTF_REJECT | _RTF_UP
        if fi.gw:
            flags |= _RTF_GATEWAY
        if plen == 32:
            flags |= _RTF_HOST
        mask = 0xFFFFFFFF << 32 - plen & 0xFFFFFFFF
        advmss = _metric(fi, _RTAX_ADVMSS)
        line = (
            f"{'*' if fi.dev is None else fi.dev.name}\t{_le(prefix):08X}\t{_le(fi.gw):08X}\t{flags:04X}\t0\t0\t{fi.priority}\t"
            f"{_le(mask):08X}\t{advmss + 40 if advmss else 0}\t{_metric(fi, _RTAX_WINDOW)}\t{_metric(fi, _RTAX_RTT) >> 3}"
        )
        lines.append(f"{line:<{_ROUTE_WIDTH}}\n")
    return "".join(lines)


def if6_seq_text(net: Net) -> str:
    """Return /proc/net/if_inet6."""
    text = ""
    for dev in _oldest_first(net):
        for ifa in [] if dev.ip6_ptr is None else dev.ip6_ptr.addr_list:
            text += f"{ifa.addr.hex()} {dev.ifindex:02x} {ifa.prefix_len:02x} {_if6_scope(ifa):02x} {ifa.flags & 0xFF:02x} {dev.name:>8}\n"
    return text


def _if6_scope(ifa: Inet6Ifaddr) -> int:
    if ifa.scope == RT_SCOPE_HOST:
        return 0x10
    return 0x20 if ifa.scope == RT_SCOPE_LINK else 0


def ipv6_route_seq_text(net: Net) -> str:
    """Return /proc/net/ipv6_route; the null entry stands before and behind the local routes, as the root of each table."""
    fib = net.ipv6.fib
    if fib is None:
        return ""
    text = ""
    for routes in (fib.main.all_routes(), fib.local.all_routes()):
        for fi in routes:
            text += _ipv6_route(net, fi)
        if not any(fi.plen == 0 for fi in routes):
            text += _ipv6_null(net)
    return text


def _ipv6_null(net: Net) -> str:
    name = "" if net.loopback_dev is None else net.loopback_dev.name
    flags = _RTF_REJECT | _RTF_NONEXTHOP
    return f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 {flags:08x} {name:>8}\n"


def _ipv6_route(net: Net, fi: Fib6Info) -> str:
    flags = _RTF_UP
    if fi.gw:
        flags |= _RTF_GATEWAY
    if fi.type == RTN_LOCAL:
        flags |= _RTF_LOCAL | _RTF_NONEXTHOP
    if fi.error():
        flags |= _RTF_REJECT
    dev = fi.dev or net.loopback_dev
    gateway = fi.gw.hex() if fi.gw else "0" * 32
    name = "" if dev is None else dev.name
    refs = 2 if fi.type == RTN_LOCAL else 1  # an address holds its route
    return f"{fi.dst.hex()} {fi.plen:02x} {'0' * 32} 00 {gateway} {fi.metric:08x} {refs:08x} 00000000 {flags:08x} {name:>8}\n"


def arp_seq_text(net: Net) -> str:
    """Return /proc/net/arp."""
    text = "IP address       HW type     Flags       HW address            Mask     Device\n"
    table = net.ipv4.arp_tbl
    for neigh in [] if table is None else table.entries():
        flags = _ATF_COM if neigh.nud_state & NUD_VALID else 0
        if neigh.nud_state & NUD_PERMANENT:
            flags = _ATF_PERM | _ATF_COM
        mac = ":".join([f"{byte:02x}" for byte in neigh.ha or bytes(6)])
        text += f"{_dotted(neigh.key):<16} 0x{neigh.dev.type:<10x}0x{flags:<10x}{mac:<17}     *        {neigh.dev.name}\n"
    return text


def igmp_seq_text(net: Net) -> str:
    """Return /proc/net/igmp."""
    text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    for dev in _oldest_first(net):
        groups = [] if dev.ip_ptr is None else dev.ip_ptr.mc_list
        if groups:
            text += f"{dev.ifindex}\t{dev.name:<10}: {len(groups):5d}      V3\n"
        for group in groups:
            text += f"\t\t\t\t{_le(group.multiaddr):08X} {group.users:5d} 0:{0:08X}\t\t0\n"
    return text


def igmp6_seq_text(net: Net) -> str:
    """Return /proc/net/igmp6."""
    text = ""
    for dev in _oldest_first(net):
        for group in [] if dev.ip6_ptr is None else dev.ip6_ptr.mc_list:
            flags = _mld_flags(group.addr, bool(dev.flags & IFF_LOOPBACK))
            text += f"{dev.ifindex:<4d} {dev.name:<15} {group.addr.hex()} {group.users:5d} {flags:08X} 0\n"
    return text


def _mld_flags(addr: bytes, loopback: bool) -> int:
    """Return MAF_* of a group whose reports are out: all-nodes is never reported, nor anything of node scope."""
    if addr[1] & 0xF == 1:
        return _MAF_NOREPORT
    if addr == b"\xff\x02" + bytes(13) + b"\x01":
        return _MAF_NOREPORT | _MAF_TIMER
    return _MAF_TIMER
