"""connect(2) of datagram and raw sockets over IPv6 (Linux: net/ipv6/datagram.c)."""

from twinsock.kernel.net.core.sock import IN6ADDR_ANY, lock_sock, release_sock
from twinsock.kernel.net.ipv4.datagram import ip4_datagram_connect_locked, reuseport_has_conns_set
from twinsock.kernel.net.ipv4.inet_hashtables import LOOPBACK4_IPV6, MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.route import sk_dst_set
from twinsock.kernel.net.ipv6.inet6_ops import needs_scope_id
from twinsock.kernel.net.ipv6.route import Flowi6, ip6_dst_lookup_flow
from twinsock.uapi.errno import EAFNOSUPPORT, EINVAL, ENETUNREACH
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_ESTABLISHED

LOOPBACK6 = bytes(15) + b"\x01"
MAPPED_LOOPBACK = MAPPED_PREFIX + b"\x7f\0\0\x01"
MAPPED_ANY = MAPPED_PREFIX + bytes(4)


def ip6_datagram_connect(sk: InetSock, addr: bytes) -> int:
    """Set the peer: 0 or -errno."""
    lock_sock(sk)
    err = __ip6_datagram_connect(sk, addr)
    release_sock(sk)
    return err


def ip6_datagram_connect_v6_only(sk: InetSock, addr: bytes) -> int:
    """Set the peer of a socket that knows no IPv4: 0 or -errno."""
    if len(addr) < 2 or addr[0] | addr[1] << 8 != AF_INET6:
        return -EAFNOSUPPORT
    return ip6_datagram_connect(sk, addr)


def __ip6_datagram_connect(sk: InetSock, addr: bytes) -> int:
    np = sk.pinet6
    assert np is not None
    family = addr[0] | addr[1] << 8
    if family == AF_INET:
        if sk.sk_ipv6only:
            return -EAFNOSUPPORT
        return _connect_mapped(sk, addr)
    if len(addr) < 24:
        return -EINVAL
    if family != AF_INET6:
        return -EAFNOSUPPORT
    daddr = addr[8:24]
    port = addr[2] << 8 | addr[3]
    flow_label = int.from_bytes(addr[4:8], "big") & 0x0FFFFFFF if np.sndflow else 0
    if daddr == IN6ADDR_ANY:
        daddr = MAPPED_LOOPBACK if sk.sk_v6_rcv_saddr[:12] == MAPPED_PREFIX else LOOPBACK6
    if daddr[:12] == MAPPED_PREFIX:
        if sk.sk_ipv6only:
            return -ENETUNREACH
        return _connect_mapped(sk, AF_INET.to_bytes(2, "little") + addr[2:4] + daddr[12:16] + bytes(8))
    if needs_scope_id(daddr):
        err = _choose_device(sk, addr, daddr)
        if err:
            return err
    old = (sk.sk_v6_daddr, np.flow_label, sk.sk_dport)
    sk.sk_v6_daddr, np.flow_label, sk.sk_dport = daddr, flow_label, port
    err = ip6_datagram_dst_update(sk, True)
    if err:
        sk.sk_v6_daddr, np.flow_label, sk.sk_dport = old
        return err
    sk.sk_daddr = LOOPBACK4_IPV6
    reuseport_has_conns_set(sk.sk_reuseport_cb)
    sk.sk_state = TCP_ESTABLISHED
    return 0


def _choose_device(sk: InetSock, addr: bytes, daddr: bytes) -> int:
    np = sk.pinet6
    assert np is not None
    scope_id = int.from_bytes(addr[24:28], "little") if len(addr) >= 28 else 0
    if scope_id:
        if sk.sk_bound_dev_if and sk.sk_bound_dev_if != scope_id:
            return -EINVAL
        sk.sk_bound_dev_if = scope_id
    if not sk.sk_bound_dev_if and daddr[0] == 0xFF:
        sk.sk_bound_dev_if = np.mcast_oif
    return 0 if sk.sk_bound_dev_if else -EINVAL


def _connect_mapped(sk: InetSock, addr4: bytes) -> int:
    """Connect over IPv4 and show it as mapped addresses."""
    np = sk.pinet6
    assert np is not None
    err = ip4_datagram_connect_locked(sk, addr4)
    if err:
        return err
    sk.sk_v6_daddr = MAPPED_PREFIX + sk.sk_daddr.to_bytes(4, "big")
    if np.saddr in (IN6ADDR_ANY, MAPPED_ANY):
        np.saddr = MAPPED_PREFIX + sk.inet_saddr.to_bytes(4, "big")
    if sk.sk_v6_rcv_saddr in (IN6ADDR_ANY, MAPPED_ANY):
        sk.sk_v6_rcv_saddr = MAPPED_PREFIX + sk.sk_rcv_saddr.to_bytes(4, "big")
        sk.sk_prot.rehash(sk)
    return 0


def ip6_datagram_dst_update(sk: InetSock, fix_sk_saddr: bool) -> int:
    """Look the way to the peer up again; at the first time the local address comes from it: 0 or -errno."""
    np = sk.pinet6
    assert np is not None
    oif = sk.sk_bound_dev_if or np.sticky_pktinfo_ifindex
    if not oif:
        oif = np.mcast_oif if sk.sk_v6_daddr[0] == 0xFF else np.ucast_oif
    fl6 = Flowi6(sk.sk_v6_daddr, np.saddr, sk.sk_protocol, sk.inet_sport, sk.sk_dport, oif)
    fl6.mark = sk.sk_mark
    fl6.srcprefs = np.srcprefs
    err, rt = ip6_dst_lookup_flow(sk.sk_net, fl6, sk)
    if rt is None:
        return err
    if fix_sk_saddr:
        if np.saddr == IN6ADDR_ANY:
            np.saddr = fl6.saddr
        if sk.sk_v6_rcv_saddr == IN6ADDR_ANY:
            sk.sk_v6_rcv_saddr = fl6.saddr
            sk.sk_rcv_saddr = LOOPBACK4_IPV6
            sk.sk_prot.rehash(sk)
    np.daddr_cache = sk.sk_v6_daddr
    sk_dst_set(sk, rt)
    return 0
