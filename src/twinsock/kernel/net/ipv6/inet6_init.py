"""Registers the datagram and raw protocols of AF_INET6 (Linux: inet6_init() in net/ipv6/af_inet6.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import proto_register
from twinsock.kernel.net.ipv4.inet_create import INET_PROTOSW_PERMANENT, INET_PROTOSW_REUSE, InetProtosw, inet_register_protosw
from twinsock.kernel.net.ipv4.inet_init import PingProtosw, UdpProtosw, udp_register
from twinsock.kernel.net.ipv4.inet_ops import InetDgramOps
from twinsock.kernel.net.ipv4.ping import PingHook, PingTable
from twinsock.kernel.net.ipv4.udp import UdpProto
from twinsock.kernel.net.ipv6.inet6_ops import Inet6DgramOps, Inet6SockrawOps
from twinsock.kernel.net.ipv6.ping import Ping6Proto, PingHook6
from twinsock.kernel.net.ipv6.raw import Raw6Proto, Raw6Sock, RawHook6
from twinsock.kernel.net.ipv6.udp import UdpInput6, UdpProto6
from twinsock.kernel.net.ipv6.udp_input import Udp6Protocol
from twinsock.uapi.in6 import IPPROTO_ICMPV6
from twinsock.uapi.in_ import IPPROTO_IP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET6, SOCK_DGRAM, SOCK_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.inet_sock import InetSock


class Raw6Protosw(InetProtosw):
    """RAW over IPv6, for any protocol."""

    prot: Raw6Proto

    def new_sock(self, net: Net, family: int, protocol: int) -> InetSock:
        """Make the protocol socket."""
        return Raw6Sock(net, family, self.prot, self.type, protocol)


def inet6_init(kernel: Kernel) -> None:
    """Register UDP, UDP-Lite, RAW and ping sockets over IPv6; after `inet_init`."""
    udp_input = UdpInput6()
    for name, name4, protocol in (("UDPv6", "UDP", IPPROTO_UDP), ("UDPLITEv6", "UDP-Lite", IPPROTO_UDPLITE)):
        prot = UdpProto6(name, 1472, udp_input)
        for prot4 in kernel.protos:
            if prot4.name == name4 and isinstance(prot4, UdpProto):
                prot.prot4 = prot4
                prot.sysctl_mem = prot4.sysctl_mem
                prot.counters = prot4.counters
        prot.ops4 = InetDgramOps()
        udp_register(kernel, AF_INET6, prot, UdpProtosw(SOCK_DGRAM, protocol, Inet6DgramOps(), INET_PROTOSW_PERMANENT))
        kernel.inet6_protos[protocol] = Udp6Protocol(protocol)
    raw = Raw6Proto("RAWv6", 1344)
    proto_register(kernel, raw)
    raw_answer = Raw6Protosw(SOCK_RAW, IPPROTO_IP, Inet6SockrawOps(), INET_PROTOSW_REUSE)
    raw_answer.prot = raw
    inet_register_protosw(kernel, AF_INET6, raw_answer)
    kernel.raw_hook6 = RawHook6(raw)
    hook4 = kernel.ping_hook4
    table = hook4.table if isinstance(hook4, PingHook) else PingTable()
    ping = Ping6Proto("PINGv6", 1344, table)
    proto_register(kernel, ping)
    ping_answer = PingProtosw(SOCK_DGRAM, IPPROTO_ICMPV6, Inet6SockrawOps(), INET_PROTOSW_REUSE)
    ping_answer.prot = ping
    inet_register_protosw(kernel, AF_INET6, ping_answer)
    kernel.ping_hook6 = PingHook6(table)
