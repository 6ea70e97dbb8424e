"""Plugs IPv4 together for a kernel (Linux: the part of inet_init() in net/ipv4/af_inet.c that concerns the network layer)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.ipv4.arp import ArpPacketType, ArpTable
from twinsock.kernel.net.ipv4.devinet import InetdevNotifier, Ipv4Devconf
from twinsock.kernel.net.ipv4.devinet_ioctl import InetGifconf
from twinsock.kernel.net.ipv4.fib_frontend import FibAddressView
from twinsock.kernel.net.ipv4.fib_table import FibTables
from twinsock.kernel.net.ipv4.icmp import IcmpProtocol, IcmpState
from twinsock.kernel.net.ipv4.inet_fragment import FqdirBase
from twinsock.kernel.net.ipv4.ip_forward import ip_error, ip_forward
from twinsock.kernel.net.ipv4.ip_input import IpPacketType, ip_local_deliver
from twinsock.kernel.net.ipv4.ip_output import ip_mc_output, ip_output
from twinsock.kernel.net.ipv4.route import RtHandlers
from twinsock.uapi.if_ import ETH_P_ARP, ETH_P_IP
from twinsock.uapi.in_ import IPPROTO_ICMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel


class _Handlers(RtHandlers):
    def local_deliver(self, skb: SkBuff) -> int:
        return ip_local_deliver(skb)

    def forward(self, skb: SkBuff) -> int:
        return ip_forward(skb)

    def error(self, skb: SkBuff) -> int:
        return ip_error(skb)

    def discard(self, skb: SkBuff) -> int:
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
        return 0

    def output(self, skb: SkBuff) -> int:
        return ip_output(skb)

    def mc_output(self, skb: SkBuff) -> int:
        return ip_mc_output(skb)


class _Ipv4NetOps(PernetOperations):
    def init(self, net: Net) -> None:
        ipv4 = net.ipv4
        ipv4.devconf_all = Ipv4Devconf()
        ipv4.devconf_all.accept_source_route = 0
        ipv4.devconf_dflt = Ipv4Devconf()
        ipv4.fib = FibTables(net)
        ipv4.arp_tbl = ArpTable(net)
        ipv4.icmp = IcmpState(net)
        ipv4.fqdir = FqdirBase(net, 30)
        net.addrs = FibAddressView(net)


def ip_init(kernel: Kernel) -> None:
    """Register IPv4, ARP and ICMP. To be called before devices exist: `loopback_init` comes after it."""
    kernel.rt_handlers = _Handlers()
    kernel.gifconf = InetGifconf()
    kernel.netdev_chain.append(InetdevNotifier())
    register_pernet_subsys(kernel, _Ipv4NetOps())
    kernel.ptype_base[ETH_P_IP] = IpPacketType()
    kernel.ptype_base[ETH_P_ARP] = ArpPacketType()
    kernel.inet_protos[IPPROTO_ICMP] = IcmpProtocol()
