"""Which netlink protocols a host has, and who answers them (Linux: the initcalls of sock_diag, inet_diag, unix_diag, rtnetlink)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkInput
from twinsock.kernel.net.core.sock_diag import SockDiagInput
from twinsock.kernel.net.ipv4.inet_diag import InetDiag
from twinsock.kernel.net.ipv4.tcp_diag import TcpDiag
from twinsock.kernel.net.ipv4.udp_diag import RawDiag, UdpDiag
from twinsock.kernel.net.netlink.af_netlink import netlink_init
from twinsock.kernel.net.unix.unix_diag import UnixDiag
from twinsock.uapi.in_ import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel


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
    return diag


def netlink_protocols_init(kernel: Kernel) -> None:
    """Register AF_NETLINK with every protocol."""
    inputs: list[tuple[int, NetlinkInput]] = [(NETLINK_SOCK_DIAG, sock_diag_input())]
    netlink_init(kernel, inputs)
