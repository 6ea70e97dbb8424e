"""connect(2) of datagram and raw sockets over IPv4 (Linux: net/ipv4/datagram.c, udp_disconnect() of udp.c; sheet 04, 4.7 and 4.8)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import IN6ADDR_ANY, SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK, SOCK_BROADCAST, lock_sock, release_sock
from twinsock.kernel.net.ipv4.fib_frontend import ipv4_is_multicast
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow, sk_dst_set
from twinsock.uapi.errno import EACCES, EAFNOSUPPORT, EINVAL, ENETUNREACH
from twinsock.uapi.rtnetlink import RTN_BROADCAST
from twinsock.uapi.snmp import IPSTATS_MIB_OUTNOROUTES
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.sock_reuseport import SockReuseport


def ip4_datagram_connect(sk: InetSock, addr: bytes) -> int:
    """Set the peer: 0 or -errno."""
    lock_sock(sk)
    err = ip4_datagram_connect_locked(sk, addr)
    release_sock(sk)
    return err


def ip4_datagram_connect_locked(sk: InetSock, addr: bytes) -> int:
    """Set the peer of a socket that the caller holds: 0 or -errno."""
    if len(addr) < 16:
        return -EINVAL
    if addr[0] | addr[1] << 8 != AF_INET:
        return -EAFNOSUPPORT
    daddr = int.from_bytes(addr[4:8], "big")
    dport = addr[2] << 8 | addr[3]
    sk_dst_set(sk, None)
    oif = sk.sk_bound_dev_if
    saddr = sk.inet_saddr
    if ipv4_is_multicast(daddr):
        oif = oif or sk.mc_index
        saddr = saddr or sk.mc_addr
    elif not oif:
        oif = sk.uc_index
    fl4 = Flowi4(daddr, saddr, sk.sk_protocol, sk.inet_sport, dport, oif)
    fl4.mark = sk.sk_mark
    fl4.tos = sk.tos
    fl4.uid = sk.sk_uid
    net = sk.sk_net
    err, rt = ip_route_output_flow(net, fl4, sk)
    if err or rt is None:
        if err == -ENETUNREACH:
            net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
        return err
    if rt.type == RTN_BROADCAST and not sk.sock_flag(SOCK_BROADCAST):
        return -EACCES
    if not sk.inet_saddr:
        sk.inet_saddr = fl4.saddr
    if not sk.sk_rcv_saddr:
        sk.sk_rcv_saddr = fl4.saddr
        sk.sk_prot.rehash(sk)
    sk.sk_daddr = fl4.daddr
    sk.sk_dport = dport
    reuseport_has_conns_set(sk.sk_reuseport_cb)
    sk.sk_state = TCP_ESTABLISHED
    sk.inet_id = net.kernel.prng.u32() & 0xFFFF
    sk_dst_set(sk, rt)
    return 0


def reuseport_has_conns_set(group: SockReuseport | None) -> None:
    """Remember that a member of a group is connected: lookups then score every member."""
    if group is not None:
        group.has_conns = True


def udp_disconnect(sk: InetSock) -> int:
    """Forget the peer; what bind(2) was not told returns to nothing: 0."""
    lock_sock(sk)
    __udp_disconnect(sk)
    release_sock(sk)
    return 0


def __udp_disconnect(sk: InetSock) -> None:
    sk.sk_state = TCP_CLOSE
    sk.sk_daddr = 0
    sk.sk_dport = 0
    sk.sk_bound_dev_if = 0
    if not sk.sk_userlocks & SOCK_BINDADDR_LOCK:
        inet_reset_saddr(sk)
        if sk.sk_userlocks & SOCK_BINDPORT_LOCK:
            sk.sk_prot.rehash(sk)
    if not sk.sk_userlocks & SOCK_BINDPORT_LOCK:
        sk.sk_prot.unhash(sk)
        sk.inet_sport = 0
    sk_dst_set(sk, None)


def inet_reset_saddr(sk: InetSock) -> None:
    """Return to the wildcard address."""
    sk.sk_rcv_saddr = 0
    sk.inet_saddr = 0
    if sk.pinet6 is not None:
        sk.sk_v6_rcv_saddr = IN6ADDR_ANY
        sk.pinet6.saddr = IN6ADDR_ANY
