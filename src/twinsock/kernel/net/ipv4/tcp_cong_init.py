"""Choosing the congestion control of a socket (Linux: net/ipv4/tcp_cong.c)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.tcp_cong import TcpCongestionOps
from twinsock.kernel.net.ipv4.tcp_cubic import TcpCubic
from twinsock.kernel.net.ipv4.tcp_sock import TcpSock
from twinsock.uapi.errno import ENOENT, EPERM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_CA_NAME_MAX: Final = 16
AVAILABLE: Final[tuple[str, ...]] = ("reno", "cubic")


def tcp_ca_find(name: str) -> TcpCongestionOps | None:
    """Make the congestion control of that name, None if there is none."""
    if name == "reno":
        return TcpCongestionOps()
    if name == "cubic":
        return TcpCubic()
    return None


def tcp_assign_congestion_control(sk: TcpSock, name: str = "") -> None:
    """Give a new socket the congestion control `name`, or the namespace's default."""
    sk.ca = tcp_ca_find(name or sk.sk_net.ipv4.tcp_congestion_control) or TcpCongestionOps()


def tcp_set_congestion_control(sk: TcpSock, name: str, free: bool = True) -> int:
    """Change the congestion control, TCP_CONGESTION of tcp(7): 0, -ENOENT, or -EPERM for one that is not free to choose."""
    ca = tcp_ca_find(name)
    if ca is None:
        return -ENOENT
    if not free:
        return -EPERM
    sk.ca_setsockopt = True
    if sk.ca is not None and sk.ca.name == name:
        return 0
    if sk.ca is not None:
        sk.ca.release(sk)
    sk.ca = ca
    if sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
        sk.prior_ssthresh = 0
        ca.init(sk)
    return 0
