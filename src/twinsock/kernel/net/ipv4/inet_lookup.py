"""Which listener gets a SYN (Linux: __inet_lookup_listener() of net/ipv4/inet_hashtables.c, inet6_lookup_listener(); sheet 03, 3.10).

The listeners of the exact address are asked before those of the wildcard. Within one step the best score wins, the first
found among equals; a winner with SO_REUSEPORT lets its group choose."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import IN6ADDR_ANY, HlistHead, Sock
from twinsock.kernel.net.core.sock_reuseport import reuseport_select_sock
from twinsock.kernel.net.ipv4.inet_hashtables import (
    inet6_ehashfn,
    inet_bound_dev_eq,
    inet_ehashfn,
    portaddr_hash,
    tcp_hashinfo,
)
from twinsock.uapi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.skbuff import SkBuff


def inet_lookup_listener(
    net: Net, skb: SkBuff | None, doff: int, saddr: int, sport: int, daddr: int, hnum: int, dif: int, sdif: int
) -> Sock | None:
    """Find the listener for an IPv4 connection from saddr:sport to daddr:hnum."""
    hinfo = tcp_hashinfo(net)
    for addr in (daddr, 0):
        head = hinfo.lhash2[portaddr_hash(hinfo.secret, True, addr, IN6ADDR_ANY, hnum) & (len(hinfo.lhash2) - 1)]
        best = _best4(net, head, addr, hnum, dif, sdif)
        if best is not None:
            return _by_group(best, inet_ehashfn(hinfo, daddr, hnum, saddr, sport), skb, doff)
    return None


def inet6_lookup_listener(
    net: Net, skb: SkBuff | None, doff: int, saddr: bytes, sport: int, daddr: bytes, hnum: int, dif: int, sdif: int
) -> Sock | None:
    """Find the listener for an IPv6 connection."""
    hinfo = tcp_hashinfo(net)
    for addr in (daddr, IN6ADDR_ANY):
        head = hinfo.lhash2[portaddr_hash(hinfo.secret, False, 0, addr, hnum) & (len(hinfo.lhash2) - 1)]
        best = _best6(net, head, addr, hnum, dif, sdif)
        if best is not None:
            return _by_group(best, inet6_ehashfn(hinfo, daddr, hnum, saddr, sport), skb, doff)
    return None


def _by_group(best: Sock, hash_: int, skb: SkBuff | None, doff: int) -> Sock:
    if not best.sk_reuseport:
        return best
    return reuseport_select_sock(best, hash_, skb, doff) or best


def _best4(net: Net, head: HlistHead, addr: int, hnum: int, dif: int, sdif: int) -> Sock | None:
    best: Sock | None = None
    best_score = 0
    sk = head.first
    while sk is not None:
        if isinstance(sk, Sock) and sk.sk_num == hnum and sk.sk_rcv_saddr == addr and not sk.sk_ipv6only:
            score = _device_score(net, sk, dif, sdif)
            if score and sk.sk_family == AF_INET:
                score += 1
            if score > best_score:
                best, best_score = sk, score
        sk = sk.sk_next
    return best


def _best6(net: Net, head: HlistHead, addr: bytes, hnum: int, dif: int, sdif: int) -> Sock | None:
    best: Sock | None = None
    best_score = 0
    sk = head.first
    while sk is not None:
        if isinstance(sk, Sock) and sk.sk_num == hnum and sk.sk_family == AF_INET6 and sk.sk_v6_rcv_saddr == addr:
            score = _device_score(net, sk, dif, sdif)
            if score > best_score:
                best, best_score = sk, score
        sk = sk.sk_next
    return best


def _device_score(net: Net, sk: Sock, dif: int, sdif: int) -> int:
    """Return 0 when the device excludes the packet, 2 when it is the socket's own, else 1; one more for SO_INCOMING_CPU."""
    if not inet_bound_dev_eq(net.ipv4.sysctl_tcp_l3mdev_accept, sk.sk_bound_dev_if, dif, sdif):
        return 0
    score = 2 if sk.sk_bound_dev_if else 1
    return score + 1 if sk.sk_incoming_cpu == net.kernel.cpu else score
