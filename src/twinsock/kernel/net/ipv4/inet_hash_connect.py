"""connect(2) and the local port: is the 4-tuple free, and which port is chosen (Linux: the second half of net/ipv4/inet_hashtables.c).

The socket's addresses and remote port are set before. A port is taken when nobody owns it, or when connect(2) made all of its
owners and none has the same 4-tuple; a TIME_WAIT may give its place."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SOCK_CONNECT_BIND
from twinsock.kernel.net.ipv4.inet_connection_sock import (
    InetConnectionSock,
    inet_is_local_reserved_port,
    inet_sk_get_local_port_range,
)
from twinsock.kernel.net.ipv4.inet_hashtables import (
    InetHashinfo,
    inet6_ehashfn,
    inet_bind_bucket_create,
    inet_bind_bucket_find,
    inet_bind_hash,
    inet_ehash_del,
    inet_ehash_insert,
    inet_ehash_twin,
    inet_ehashfn,
    inet_sk_bound_l3mdev,
    inet_twsk_bind_unhash,
    sk_is_v6_flow,
    tcp_hashinfo,
)
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.uapi.errno import EADDRNOTAVAIL
from twinsock.uapi.snmp import LINUX_MIB_TIMEWAITRECYCLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PERTURB_SIZE: Final = 256


def inet_hash_connect(sk: InetConnectionSock) -> int:
    """__inet_hash_connect(): enter the table of connections with the port that is owned, or with an automatic one: 0 or -EADDRNOTAVAIL."""
    if sk.sk_num != 0:
        return _connect_from(sk, sk.sk_num, False)
    low, high, narrowed = inet_sk_get_local_port_range(sk)
    port = _choose_port(sk, low, high, narrowed)
    observer = sk.sk_net.bind_observer
    if port == 0 and observer is not None:
        observer.range_exhausted(sk, low, high)
        observer.refused(sk, "__inet_hash_connect", -EADDRNOTAVAIL)
    return 0 if port else -EADDRNOTAVAIL


def inet_check_established(sk: InetConnectionSock, lport: int, automatic: bool) -> tuple[bool, InetTimewaitSock | None]:
    """__inet_check_established(): tell whether the 4-tuple with local port `lport` is free, and which TIME_WAIT would have to go."""
    other = inet_ehash_twin(sk, lport)
    if other is None:
        return True, None
    if isinstance(other, InetTimewaitSock) and other.twsk_unique(sk, automatic):
        return True, other
    return False, None


def _connect_from(sk: InetConnectionSock, lport: int, automatic: bool) -> int:
    free, tw = inet_check_established(sk, lport, automatic)
    if not free:
        observer = sk.sk_net.bind_observer
        if observer is not None and not automatic:
            by = "__inet6_check_established" if sk_is_v6_flow(sk) else "__inet_check_established"
            observer.refused(sk, by, -EADDRNOTAVAIL)
            observer.refused(sk, "__inet_hash_connect", -EADDRNOTAVAIL)
        return -EADDRNOTAVAIL
    if automatic:
        _own_port(sk, lport)
    sk.sk_num = lport
    sk.inet_sport = lport
    inet_ehash_insert(sk)
    net = sk.sk_net
    net.sock_prot_inuse_add(sk.sk_prot, 1)
    if tw is not None:
        inet_ehash_del(tw)
        inet_twsk_bind_unhash(tw)
        tw.deschedule()
        net.net_statistics[LINUX_MIB_TIMEWAITRECYCLED] += 1
    return 0


def _own_port(sk: InetConnectionSock, port: int) -> None:
    """Make the socket an owner of the port in connect(2)'s own way, which lets other connections share it."""
    hinfo = tcp_hashinfo(sk.sk_net)
    l3mdev = inet_sk_bound_l3mdev(sk)
    tb = inet_bind_bucket_find(hinfo, port, l3mdev)
    if tb is None:
        tb = inet_bind_bucket_create(hinfo, port, l3mdev)
        tb.fastreuse = -1
        tb.fastreuseport = -1
    sk.sk_userlocks |= SOCK_CONNECT_BIND
    inet_bind_hash(hinfo, sk, tb)


def _choose_port(sk: InetConnectionSock, low: int, high: int, narrowed: bool) -> int:
    """Walk the range from a place that depends on the destination, first over the ports of low's parity; 0: none is free.

    With IP_LOCAL_PORT_RANGE the walk takes every port in turn; without, an odd-sized range loses one port."""
    net = sk.sk_net
    hinfo = tcp_hashinfo(net)
    size = high + 1 - low
    step = 1 if narrowed else 2
    if not narrowed and size > 1:
        size &= ~1
    hash_ = _port_offset(hinfo, sk)
    if not hinfo.table_perturb:
        hinfo.table_perturb = [net.kernel.prng.u32() for _ in range(_PERTURB_SIZE)]
    index = hash_ & (_PERTURB_SIZE - 1)
    start = (hinfo.table_perturb[index] + (hash_ >> 8)) % size
    if not narrowed:
        start &= ~1
    passes = 2 if not narrowed and size > 1 else 1
    for parity in range(passes):
        for walked in range(0, size, step):
            port = low + start + parity + walked
            if port > high:
                port -= size
            if not connect_may_use_port(sk, hinfo, port) or _connect_from(sk, port, True):
                continue
            ahead = max(walked, net.kernel.prng.below(8) * step)
            hinfo.table_perturb[index] = (hinfo.table_perturb[index] + ahead + step) & 0xFFFFFFFF
            return port
    return 0


def connect_may_use_port(sk: InetConnectionSock, hinfo: InetHashinfo, port: int) -> bool:
    """Tell whether the port is not reserved and nobody but connect(2) gave it an owner."""
    if inet_is_local_reserved_port(sk.sk_net, port):
        return False
    tb = inet_bind_bucket_find(hinfo, port, inet_sk_bound_l3mdev(sk))
    return tb is None or (tb.fastreuse < 0 and tb.fastreuseport < 0)


def _port_offset(hinfo: InetHashinfo, sk: InetConnectionSock) -> int:
    """Return a keyed hash of both addresses and the remote port: secure_ipv4_port_ephemeral(), RFC 6056 3.3.4."""
    if sk_is_v6_flow(sk):
        return inet6_ehashfn(hinfo, sk.sk_v6_rcv_saddr, 0, sk.sk_v6_daddr, sk.sk_dport)
    return inet_ehashfn(hinfo, sk.sk_rcv_saddr, 0, sk.sk_daddr, sk.sk_dport)
