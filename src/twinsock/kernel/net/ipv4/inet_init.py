"""Registers the datagram and raw protocols of AF_INET (Linux: the part of inet_init() in net/ipv4/af_inet.c that concerns sockets)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import proto_register
from twinsock.kernel.net.ipv4.inet_create import INET_PROTOSW_PERMANENT, INET_PROTOSW_REUSE, InetProtosw, inet_register_protosw
from twinsock.kernel.net.ipv4.inet_ops import InetDgramOps, InetSockrawOps
from twinsock.kernel.net.ipv4.ping import PingHook, PingProto, PingSock, PingTable
from twinsock.kernel.net.ipv4.raw import RawHook4, RawProto, RawSock
from twinsock.kernel.net.ipv4.udp import UdpProto, UdpSock
from twinsock.kernel.net.ipv4.udp_input import UdpProtocol
from twinsock.kernel.net.ipv4.udp_recv import UdpInput4
from twinsock.uapi.in_ import IPPROTO_ICMP, IPPROTO_IP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET, SOCK_DGRAM, SOCK_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.inet_sock import InetSock

UDP_MEM: Final = (190854, 254473, 381708)  # pages; what Linux computes from the memory of a host


class UdpProtosw(InetProtosw):
    """UDP or UDP-Lite."""

    prot: UdpProto

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """Make the protocol socket."""
        return UdpSock(net, family, self.prot, self.type, protocol)


def udp_register(kernel: Kernel, family: int, prot: UdpProto, answer: UdpProtosw) -> None:
    """Register a protocol of UDP's kind for a family."""
    answer.prot = prot
    proto_register(kernel, prot)
    inet_register_protosw(kernel, family, answer)


class RawProtosw(InetProtosw):
    """RAW, for any protocol."""

    prot: RawProto

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """Make the protocol socket."""
        return RawSock(net, family, self.prot, self.type, protocol)


class PingProtosw(InetProtosw):
    """ICMP or ICMPv6 echoes."""

    prot: PingProto

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """Make the protocol socket."""
        return PingSock(net, family, self.prot, self.type, protocol)


def inet_init(kernel: Kernel) -> None:
    """Register UDP, RAW, ping and UDP-Lite sockets."""
    udp_input = UdpInput4()
    udp = UdpProto("UDP", 1344, udp_input)
    udp.sysctl_mem = list(UDP_MEM)
    udp_register(kernel, AF_INET, udp, UdpProtosw(SOCK_DGRAM, IPPROTO_UDP, InetDgramOps(), INET_PROTOSW_PERMANENT))
    kernel.inet_protos[IPPROTO_UDP] = UdpProtocol(IPPROTO_UDP)
    raw = RawProto("RAW", 1152)
    proto_register(kernel, raw)
    raw_answer = RawProtosw(SOCK_RAW, IPPROTO_IP, InetSockrawOps(), INET_PROTOSW_REUSE)
    raw_answer.prot = raw
    inet_register_protosw(kernel, AF_INET, raw_answer)
    kernel.raw_hook4 = RawHook4(raw)
    table = PingTable()
    ping = PingProto("PING", 1016, table)
    proto_register(kernel, ping)
    ping_answer = PingProtosw(SOCK_DGRAM, IPPROTO_ICMP, InetSockrawOps(), INET_PROTOSW_REUSE)
    ping_answer.prot = ping
    inet_register_protosw(kernel, AF_INET, ping_answer)
    kernel.ping_hook4 = PingHook(table)
    lite = UdpProto("UDP-Lite", 1344, udp_input)
    lite.sysctl_mem = udp.sysctl_mem
    lite.counters = udp.counters
    udp_register(kernel, AF_INET, lite, UdpProtosw(SOCK_DGRAM, IPPROTO_UDPLITE, InetDgramOps(), INET_PROTOSW_PERMANENT))
    kernel.inet_protos[IPPROTO_UDPLITE] = UdpProtocol(IPPROTO_UDPLITE)
