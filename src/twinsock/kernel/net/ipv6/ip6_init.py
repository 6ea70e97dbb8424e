"""Plugs IPv6 together for a kernel (Linux: the part of inet6_init() in net/ipv6/af_inet6.c that concerns the network layer)."""

from __future__ import annotations

from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.inet_fragment import FqdirBase
from twinsock.kernel.net.ipv6.addrconf import AddrconfNotifier, InetAddressView, Ipv6Devconf
from twinsock.kernel.net.ipv6.icmp import Icmp6Protocol
from twinsock.kernel.net.ipv6.ip6_input import Ip6PacketType, ip6_input, ip6_mc_input, ip6_pkt_drop
from twinsock.kernel.net.ipv6.ip6_output import ip6_forward, ip6_output
from twinsock.kernel.net.ipv6.ndisc import NdTable
from twinsock.kernel.net.ipv6.route import Fib6Tables, Ip6Handlers
from twinsock.uapi.if_ import ETH_P_IPV6
from twinsock.uapi.in6 import IPPROTO_ICMPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel


class _Handlers(Ip6Handlers):
    def input(self, skb: SkBuff) -> int:
        return ip6_input(skb)

    def mc_input(self, skb: SkBuff) -> int:
        return ip6_mc_input(skb)

    def forward(self, skb: SkBuff) -> int:
        return ip6_forward(skb)

    def error(self, skb: SkBuff, error: int) -> int:
        return ip6_pkt_drop(skb, error, False)

    def error_out(self, skb: SkBuff, error: int) -> int:
        return ip6_pkt_drop(skb, error, True)

    def output(self, skb: SkBuff) -> int:
        return ip6_output(skb)


class _Ipv6NetOps(PernetOperations):
    def init(self, net: Net) -> None:
        ipv6 = net.ipv6
        ipv6.devconf_all = Ipv6Devconf()
        ipv6.devconf_all.accept_dad = 0
        ipv6.devconf_dflt = Ipv6Devconf()
        ipv6.fib = Fib6Tables(net)
        ipv6.nd_tbl = NdTable(net)
        ipv6.fqdir = FqdirBase(net, 60)
        net.addrs = InetAddressView(net)


def ip6_init(kernel: Kernel) -> None:
    """Register IPv6, neighbour discovery and ICMPv6. To be called after `ip_init` and before `loopback_init`."""
    kernel.ip6_handlers = _Handlers()
    kernel.netdev_chain.append(AddrconfNotifier())
    register_pernet_subsys(kernel, _Ipv6NetOps())
    kernel.ptype_base[ETH_P_IPV6] = Ip6PacketType()
    kernel.inet6_protos[IPPROTO_ICMPV6] = Icmp6Protocol()
