"""Loading sockets that exist elsewhere into the tables, to ask bind(2), listen(2) and connect(2) about them.

    sk = new_tcp_sock(net, AF_INET)             or new_timewait_sock(net, AF_INET), new_udp_sock(net, AF_INET)
    sk.sk_state, sk.sk_reuse, ... = ...
    set_addresses(sk, local, remote)            4 or 16 bytes each, in network order
    adopt_tcp(sk, port)                         adopt_udp(sk, port)

Asking is bind(2) itself, on a socket made the same way:

    sock = new_socket(task, new_tcp_sock(net, AF_INET))
    err = inet_bind(task, sock, sockaddr) or inet_csk_listen_start(sk)

What a port's bucket remembers of its owners is not visible from outside, so an adopted bucket remembers nothing and every
owner is looked at. Linux has no such file: its sockets were made where they are."""

from __future__ import annotations

from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock, InetCskProto, inet_hash
from twinsock.kernel.net.ipv4.inet_hashtables import (
    LOOPBACK4_IPV6,
    MAPPED_PREFIX,
    inet_bind_bucket_create,
    inet_bind_bucket_find,
    inet_bind_hash,
    inet_ehash_del,
    inet_ehash_insert,
    inet_sk_bound_l3mdev,
    sk_is_connect_bind,
    tcp_hashinfo,
)
from twinsock.kernel.net.ipv4.inet_sock import InetSock, Ipv6Pinfo
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.kernel.net.ipv4.udp_table import UdpPortProto, UdpPortSock, udp_adopt
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.socket import AF_INET6, SOCK_DGRAM, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

_TCP: Final = InetCskProto("TCP", 0)
_UDP: Final = UdpPortProto("UDP", 0)


def new_tcp_sock(net: Net, family: int) -> InetConnectionSock:
    """Make an unbound TCP socket that can own ports and nothing else."""
    sk = InetConnectionSock(net, family, _TCP, SOCK_STREAM, IPPROTO_TCP)
    _init_family(sk)
    return sk


def new_udp_sock(net: Net, family: int) -> UdpPortSock:
    """Make an unbound UDP socket that can own ports and nothing else."""
    sk = UdpPortSock(net, family, _UDP, SOCK_DGRAM, IPPROTO_UDP)
    _init_family(sk)
    return sk


def new_timewait_sock(net: Net, family: int) -> InetTimewaitSock:
    """Make a TIME_WAIT mini-socket without a timer."""
    return InetTimewaitSock(net, family)


def new_socket(task: Task, sk: InetSock) -> Socket:
    """Give a protocol socket the socket that system calls take; the task's user owns it."""
    sock = Socket(sk.sk_type)
    sock.sk = sk
    sock.i_uid = task.cred.euid
    sk.sk_socket = sock
    sk.sk_uid = task.cred.euid
    return sock


def set_addresses(sk: SockCommon, local: bytes, remote: bytes = b"") -> None:
    """Set the local and the remote address (b"": none), each 4 or 16 bytes as the family asks."""
    if sk.sk_family == AF_INET6:
        sk.sk_v6_rcv_saddr = local
        sk.sk_rcv_saddr = _ipv4_field(local)
        if remote:
            sk.sk_v6_daddr = remote
            sk.sk_daddr = _ipv4_field(remote)
        return
    sk.sk_rcv_saddr = int.from_bytes(local, "big")
    if remote:
        sk.sk_daddr = int.from_bytes(remote, "big")


def adopt_tcp(sk: SockCommon, port: int) -> int:
    """Make a TCP socket or TIME_WAIT the owner of `port` without asking: 0 or -errno from its SO_REUSEPORT group.

    State, addresses, device, flags and user are set; requests in SYN_RECV own no port and are not for here."""
    hinfo = tcp_hashinfo(sk.sk_net)
    l3mdev = inet_sk_bound_l3mdev(sk)
    tb = inet_bind_bucket_find(hinfo, port, l3mdev)
    if tb is None:
        tb = inet_bind_bucket_create(hinfo, port, l3mdev)
        tb.fastreuse = -1
        tb.fastreuseport = -1
    if not sk_is_connect_bind(sk):
        tb.fastreuse = 0
        tb.fastreuseport = 0
    inet_bind_hash(hinfo, sk, tb)
    if isinstance(sk, InetConnectionSock):
        sk.inet_sport = port
        return inet_hash(sk)
    if sk.sk_state != TCP_CLOSE:
        inet_ehash_insert(sk)
    return 0


def adopt_established(sk: SockCommon, port: int) -> None:
    """Put a connection or TIME_WAIT into the established table alone: its port has owners that are like it."""
    sk.sk_num = port
    inet_ehash_insert(sk)


def forget_established(sk: SockCommon) -> None:
    """Undo adopt_established()."""
    inet_ehash_del(sk)


def adopt_udp(sk: UdpPortSock, port: int) -> int:
    """Make a UDP socket the owner of `port` without asking: 0 or -errno from its SO_REUSEPORT group.

    The one adopted last counts as the one bound last."""
    sk.inet_sport = port
    return udp_adopt(sk, port)


def _init_family(sk: InetSock) -> None:
    if sk.sk_family == AF_INET6:
        sk.pinet6 = Ipv6Pinfo()
        sk.sk_ipv6only = sk.sk_net.ipv6.sysctl_bindv6only


def _ipv4_field(addr: bytes) -> int:
    """Return what the IPv4 field of an IPv6 socket holds."""
    if addr[:12] == MAPPED_PREFIX:
        return int.from_bytes(addr[12:], "big")
    return LOOPBACK4_IPV6 if any(addr) else 0
