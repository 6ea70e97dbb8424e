"""/proc/net/raw, icmp, netlink and protocols (Linux: raw_seq_show, ping_v4_seq_show, netlink_seq_show, proto_seq_printf)."""

from __future__ import annotations

from twinsock.kernel.fs.proc.inet import RAW4_HEAD, dgram6_head, dgram_line
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.ping import PingProto
from twinsock.kernel.net.ipv4.raw import RawProto
from twinsock.kernel.net.netlink.af_netlink import netlink_sockets
from twinsock.uapi.socket import AF_INET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Proto, Sock

_ICMP_WIDTH: Final = 127
_NETLINK_HEAD: Final = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n"
_PROTOCOLS_HEAD: Final = (
    "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n"
)
# name -> (largest header, has a slab cache of its own, which operations Linux's struct proto has)
_PROTO_FACTS: Final[dict[str, tuple[int, bool, str]]] = {
    "PACKET": (0, False, "nnnnnnnnnnnnnnnnnn"),
    "PINGv6": (0, True, "yyynnynnyyyyyynyyn"),
    "RAWv6": (0, True, "yyynyyynyyyyyyyynn"),
    "UDPLITEv6": (0, True, "yyynyyynyyyynnyyyn"),
    "UDPv6": (0, True, "yyynyyynyyyynnyyyn"),
    "TCPv6": (192, True, "yyyyyyyyyyyynyyyyy"),
    "UNIX-STREAM": (0, True, "ynnnnnnnnnnnnnnnnn"),
    "UNIX": (0, True, "ynnnnnnnnnnnnnnnnn"),
    "UDP-Lite": (0, True, "yyynyyynyyyynnyyyn"),
    "PING": (0, True, "yyynnynnyyyyyynyyn"),
    "RAW": (0, True, "yyynyyynyyyyyyyynn"),
    "UDP": (0, True, "yyynyyynyyyynnyyyn"),
    "TCP": (192, True, "yyyyyyyyyyyynyyyyy"),
    "NETLINK": (0, False, "nnnnnnnnnnnnnnnnnn"),
}


def raw_seq_text(net: Net, family: int) -> str:
    """Return /proc/net/raw or raw6."""
    lines = [RAW4_HEAD + "\n" if family == AF_INET else dgram6_head()]
    number = 0
    for prot in net.kernel.protos:
        if isinstance(prot, RawProto):
            for slot, sk in prot.sockets(net):
                if sk.sk_family == family and isinstance(sk, InetSock):
                    width = 4 if family == AF_INET else 5
                    lines.append(dgram_line(sk, slot, sk.sk_num, 0, number, width) + "\n")
                    number += 1
    return "".join(lines)


def ping_seq_text(net: Net, family: int) -> str:
    """Return /proc/net/icmp or icmp6."""
    v4 = family == AF_INET
    head = f"{RAW4_HEAD:<{_ICMP_WIDTH}}\n"
    lines = [head if v4 else dgram6_head()]
    found: list[tuple[int, Sock]] = []
    for prot in net.kernel.protos:
        if isinstance(prot, PingProto) and prot.name == ("PING" if v4 else "PINGv6"):
            found = prot.ping_table.sockets(net, family)
    for number, (slot, sk) in enumerate(found):
        assert isinstance(sk, InetSock)
        line = dgram_line(sk, slot, sk.inet_sport, sk.sk_dport, number, 5)
        lines.append(f"{line:<{_ICMP_WIDTH}}\n" if v4 else line + "\n")
    return "".join(lines)


def netlink_seq_text(net: Net) -> str:
    """Return /proc/net/netlink: sockets with a port id; the kernel's own have none."""
    lines = [_NETLINK_HEAD]
    for protocol in range(len(net.nl_socks)):
        for sk in netlink_sockets(net, protocol):
            lines.append(
                f"{len(lines):016x} {protocol:<3d} {sk.portid:<10d} {sk.group_word():08x} {sk.sk_rmem_alloc:<8d} "
                f"{sk.sk_wmem_alloc:<8d} {1 if sk.dump is not None else 0:<5d} {sk.sk_refcnt + 1:<8d} {sk.sk_drops:<8d} "
                f"{sk.kernel_ino or sk.sock_i_ino():<8d}\n"
            )
    return "".join(lines)


def protocols_seq_text(net: Net) -> str:
    """Return /proc/net/protocols, the newest first."""
    lines = [_PROTOCOLS_HEAD]
    for prot in reversed(net.kernel.protos):
        lines.append(_proto_line(net, prot))
    return "".join(lines)


def _proto_line(net: Net, prot: Proto) -> str:
    max_header, slab, operations = _PROTO_FACTS.get(prot.name, (prot.max_header, True, "n" * 18))
    memory = -1 if prot.sysctl_mem is None else prot.counters.memory_allocated
    pressure = "NI"
    if operations[17] == "y":
        pressure = "yes" if prot.counters.memory_pressure else "no"
    flags = "  ".join(operations)
    return (
        f"{prot.name:<9} {prot.obj_size:4d} {net.prot_inuse[prot.inuse_idx]:6d}  {memory:6d}   {pressure:<3} {max_header:6d}   "
        f"{'yes' if slab else 'no':<3}  {'kernel':<10} {flags}\n"
    )
