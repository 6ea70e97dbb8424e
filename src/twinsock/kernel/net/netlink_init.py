"""Which netlink protocols a host has, and who answers them (Linux: the initcalls of sock_diag, inet_diag, unix_diag, rtnetlink)."""

from __future__ import annotations

from twinsock.kernel.drivers.veth import VethDev, veth_dellink, veth_newlink
from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_name
from twinsock.kernel.net.core.netlink import NetlinkInput, NetlinkRequest
from twinsock.kernel.net.core.rtnetlink import RtnetlinkInput, RtnlLinkOps
from twinsock.kernel.net.core.sock_diag import SockDiagInput
from twinsock.kernel.net.ipv4.inet_diag import InetDiag
from twinsock.kernel.net.ipv4.rtnl import register_ipv4
from twinsock.kernel.net.ipv4.tcp_diag import TcpDiag
from twinsock.kernel.net.ipv4.udp_diag import RawDiag, UdpDiag
from twinsock.kernel.net.ipv6.rtnl import register_ipv6
from twinsock.kernel.net.netlink.af_netlink import netlink_init
from twinsock.kernel.net.netlink.diag import NetlinkDiag
from twinsock.kernel.net.packet.diag import PacketDiag
from twinsock.kernel.net.unix.unix_diag import UnixDiag
from twinsock.uapi.in_ import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.netlink import NETLINK_ROUTE, NETLINK_SOCK_DIAG
from twinsock.uapi.rtnetlink import IFLA_IFNAME
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX
from twinsock.wire.netlink import parse_attributes
from twinsock.wire.rtnetlink import parse_ifinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net

_VETH_INFO_PEER: Final = 1
_ETH_DATA_LEN: Final = 1500


def sock_diag_input() -> SockDiagInput:
    """Make NETLINK_SOCK_DIAG with the handlers of every family."""
    inet = InetDiag()
    inet.handlers[IPPROTO_TCP] = TcpDiag()
    inet.handlers[IPPROTO_UDP] = UdpDiag(IPPROTO_UDP)
    inet.handlers[IPPROTO_UDPLITE] = UdpDiag(IPPROTO_UDPLITE)
    inet.handlers[IPPROTO_RAW] = RawDiag(IPPROTO_RAW)
    diag = SockDiagInput()
    diag.handlers[AF_INET] = inet
    diag.handlers[AF_INET6] = inet
    diag.inet_compat = inet
    diag.handlers[AF_UNIX] = UnixDiag()
    diag.handlers[AF_NETLINK] = NetlinkDiag()
    diag.handlers[AF_PACKET] = PacketDiag()
    return diag


class VethLinkOps(RtnlLinkOps):
    """`ip link add NAME type veth peer name PEER`."""

    def newlink(self, req: NetlinkRequest, name: str, mtu: int, data: bytes) -> int:
        """Make a pair; the peer is described by an ifinfomsg of its own inside VETH_INFO_PEER."""
        peer_name = ""
        for type_, value in parse_attributes(data, 0, len(data)):
            peer = parse_ifinfo(value, 0, len(value)) if type_ == _VETH_INFO_PEER else None
            if peer is not None:
                peer_name = dict(peer.attributes).get(IFLA_IFNAME, b"").split(b"\0")[0].decode("latin-1")
        names = [name or _free_name(req.net, ""), peer_name or _free_name(req.net, name)]
        err, dev, other = veth_newlink(req.net, names[0], req.net, names[1], mtu or _ETH_DATA_LEN)
        return err if dev is None or other is None else 0

    def dellink(self, dev: NetDevice) -> None:
        """Remove both ends."""
        if isinstance(dev, VethDev):
            veth_dellink(dev)


def _free_name(net: Net, taken: str) -> str:
    """Return the first free name of the kind vethN."""
    number = 0
    while dev_get_by_name(net, f"veth{number}") is not None or f"veth{number}" == taken:
        number += 1
    return f"veth{number}"


def rtnetlink_input() -> RtnetlinkInput:
    """Make NETLINK_ROUTE with the handlers of both families."""
    rtnl = RtnetlinkInput()
    register_ipv4(rtnl)
    register_ipv6(rtnl)
    rtnl.link_ops["veth"] = VethLinkOps()
    return rtnl


def netlink_protocols_init(kernel: Kernel) -> None:
    """Register AF_NETLINK with every protocol."""
    inputs: list[tuple[int, NetlinkInput]] = [(NETLINK_ROUTE, rtnetlink_input()), (NETLINK_SOCK_DIAG, sock_diag_input())]
    netlink_init(kernel, inputs)
