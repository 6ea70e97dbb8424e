"""Smaller files of /proc/net: groups and filters of devices, packet types, queues, and tables that stay empty here
(Linux: net/core/net-procfs.c, dev_addr_lists.c, igmp.c, ipv6/anycast.c, ip6_flowlabel.c, ipmr.c, ip6mr.c, route.c, sched/sch_api.c).

Twin: D-proc-4: tables that show Linux's own data structures are left out."""

from __future__ import annotations

from twinsock.kernel.net.packet.af_packet import packet_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.net_namespace import Net

EXTRA_FILES: Final[tuple[str, ...]] = (
    *("anycast6", "dev_mcast", "ip6_flowlabel", "ip6_mr_cache", "ip6_mr_vif", "ip_mr_cache", "ip_mr_vif", "mcfilter"),
    *("psched", "ptype", "rt_acct", "rt_cache", "softnet_stat"),
)
_RT_CACHE_HEAD: Final = (
    "Iface\tDestination\tGateway \tFlags\t\tRefCnt\tUse\tMetric\tSource\t\tMTU\tWindow\tIRTT\tTOS\tHHRef\tHHUptod\tSpecDst"
)
# Tables that nothing in the twin fills: there is no multicast routing, no cache of routes, no flow label is leased.
_EMPTY: Final[dict[str, str]] = {
    "ip6_flowlabel": "Label S Owner  Users  Linger Expires  Dst                              Opt\n",
    "ip6_mr_cache": "Group                            Origin                           Iif      Pkts  Bytes     Wrong  Oifs\n",
    "ip6_mr_vif": "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags\n",
    "ip_mr_cache": "Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n",
    "ip_mr_vif": "Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote\n",
    "psched": "000003e8 00000040 000f4240 3b9aca00\n",
    "rt_acct": "\0" * 4096,
    "rt_cache": f"{_RT_CACHE_HEAD:<127}\n",
}
_ETH_P_ALL: Final = 3
_SOCK_PACKET: Final = 10
_BASE: Final[tuple[tuple[int, str], ...]] = ((0x0800, "ip_rcv"), (0x0806, "arp_rcv"), (0x86DD, "ipv6_rcv"))


def extra_text(net: Net, name: str) -> str | None:
    """Return one of these files, or None when there is none of that name."""
    if name in _EMPTY:
        return _EMPTY[name]
    if name == "anycast6":
        return ac6_seq_text(net)
    if name == "dev_mcast":
        return dev_mc_seq_text(net)
    if name == "mcfilter":
        return igmp_mcf_seq_text(net)
    if name == "ptype":
        return ptype_seq_text(net)
    return softnet_seq_text(net) if name == "softnet_stat" else None


def _ifindex(dev: NetDevice) -> int:
    return dev.ifindex


def ac6_seq_text(net: Net) -> str:
    """Return /proc/net/anycast6."""
    text = ""
    for dev in sorted(net.dev_base, key=_ifindex):
        seen: list[bytes] = []
        joined = [] if dev.ip6_ptr is None else dev.ip6_ptr.ac_list
        for addr in joined:
            if addr not in seen:
                seen.append(addr)
                text += f"{dev.ifindex:<4d} {dev.name:<15} {addr.hex()} {joined.count(addr):5d}\n"
    return text


def dev_mc_seq_text(net: Net) -> str:
    """Return /proc/net/dev_mcast: the link addresses of groups, in order of joining."""
    text = ""
    for dev in sorted(net.dev_base, key=_ifindex):
        for addr, users in dev.mc.items():
            text += f"{dev.ifindex:<4d} {dev.name:<15} {users:<5d} {0:<5d} {addr.hex()}\n"
    return text


def igmp_mcf_seq_text(net: Net) -> str:
    """Return /proc/net/mcfilter: sources that are included or excluded."""
    text = "Idx Device        MCA        SRC    INC    EXC\n"
    for dev in sorted(net.dev_base, key=_ifindex):
        for group in [] if dev.ip_ptr is None else dev.ip_ptr.mc_list:
            for one in group.sources:
                text += f"{dev.ifindex:3d} {dev.name[:6]:>6} 0x{group.multiaddr:08x} 0x{one.inaddr:08x} {one.include:6d} {one.exclude:6d}\n"
    return text


def ptype_seq_text(net: Net) -> str:
    """Return /proc/net/ptype: packet sockets that see everything, then what takes frames by their type."""
    text = "Type Device      Function\n"
    bound: list[str] = []
    unbound: list[str] = []
    typed: list[str] = []
    for sk in packet_sockets(net):
        if not sk.running:
            continue
        func = "packet_rcv_spkt" if sk.sk_type == _SOCK_PACKET else "packet_rcv"
        if sk.num == _ETH_P_ALL:
            dev = "" if sk.dev is None else sk.dev.name
            (bound if dev else unbound).append(f"ALL  {dev:<8} {func}\n")
        elif sk.dev is None:
            typed.append(f"{sk.num:04x} {'':<8} {func}\n")
    return text + "".join(bound + unbound + typed) + "".join([f"{type_:04x} {'':<8} {func}\n" for type_, func in _BASE])


def softnet_seq_text(net: Net) -> str:
    """Return /proc/net/softnet_stat of the one processor: packets processed, dropped; how many wait."""
    kernel = net.kernel
    waiting = 0 if kernel.input_pkt_queue is None else len(kernel.input_pkt_queue)
    columns = [kernel.softnet_queued - waiting, kernel.softnet_dropped, *[0] * 9, waiting, 0, waiting, 0]
    return " ".join([f"{column:08x}" for column in columns]) + "\n"
