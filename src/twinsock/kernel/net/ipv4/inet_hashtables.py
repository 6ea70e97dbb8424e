"""TCP's tables: port buckets, listeners, connections (Linux: net/ipv4/inet_hashtables.c, inet6_hashtables.c).

    bhash   port, VRF            -> InetBindBucket, and its list of
    bhash2  port, VRF, address   -> Inet2BindBucket -> owners, linked by sk_bind_next
    lhash2  port, address        -> listeners
    ehash   4-tuple              -> connections and TIME_WAIT

IPv4, and IPv4 mapped into IPv6, are one address space in bhash2 and lhash2; both wildcards share a chain. The tables start
small and double as they fill, so that a namespace with three sockets costs little and one with 100,000 stays fast."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import (
    IN6ADDR_ANY,
    SOCK_CONNECT_BIND,
    HlistHead,
    Sock,
    SockCommon,
    sk_add_node,
    sk_add_node_tail,
    sk_del_node_init,
)
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.uapi.socket import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.inet_sock import InetSock

MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"
LOOPBACK4_IPV6: Final = 0x7F000006  # stands in the IPv4 field of sockets that have an IPv6 address
_MIN_SIZE: Final = 16
_MASK32: Final = 0xFFFFFFFF


class InetBindBucket:
    """`struct inet_bind_bucket`: everything that owns one port, and what is remembered of it."""

    def __init__(self, port: int, l3mdev: int) -> None:
        self.port = port
        self.l3mdev = l3mdev
        self.bhash2: list[Inet2BindBucket] = []  # oldest first
        self.nr_owners = 0
        self.nr_bound = 0  # owners that connect(2) did not make
        self.fastreuse = 0  # -1, with fastreuseport -1: connect(2) made every owner
        self.fastreuseport = 0  # above 0: the fast_* fields describe an owner with SO_REUSEPORT
        self.fastuid = 0
        self.fast_sk_family = 0
        self.fast_is_v4 = False
        self.fast_dual = False
        self.fast_rcv_saddr = 0
        self.fast_v6_rcv_saddr = IN6ADDR_ANY


class Inet2BindBucket:
    """`struct inet_bind2_bucket`: the owners of one port on one local address."""

    def __init__(self, tb: InetBindBucket, is_v4: bool, saddr: int, v6_saddr: bytes) -> None:
        self.tb = tb
        self.is_v4 = is_v4
        self.rcv_saddr = saddr
        self.v6_rcv_saddr = v6_saddr
        self.owners: SockCommon | None = None  # newest first


class InetHashinfo:
    """`struct inet_hashinfo`: the tables of one namespace."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.secret = net.kernel.prng.u32()
        self.bhash: list[list[InetBindBucket]] = [[] for _ in range(_MIN_SIZE)]
        self.nr_buckets = 0
        self.bhash2: list[list[Inet2BindBucket]] = [[] for _ in range(_MIN_SIZE)]
        self.nr_buckets2 = 0
        self.lhash2: list[HlistHead] = [HlistHead() for _ in range(_MIN_SIZE)]
        self.nr_listeners = 0
        self.ehash: list[HlistHead] = [HlistHead() for _ in range(_MIN_SIZE)]
        self.nr_established = 0
        self.table_perturb: list[int] = []  # how far connect(2) has walked, by destination; allocated on first use


def tcp_hashinfo(net: Net) -> InetHashinfo:
    """Return the namespace's TCP tables, making them on first use."""
    hinfo = net.tcp_hashinfo
    if hinfo is None:
        hinfo = net.tcp_hashinfo = InetHashinfo(net)
    return hinfo


# ---------------------------------------------------------------- addresses and hashes


def ipv6_addr_v4mapped(addr: bytes) -> bool:
    """Tell whether an IPv6 address is ::ffff:a.b.c.d."""
    return addr[:12] == MAPPED_PREFIX


def local_key(sk: SockCommon) -> tuple[bool, int, bytes]:
    """Return the bound address as bhash2 sees it: (is IPv4 or mapped, IPv4 address, IPv6 address)."""
    if sk.sk_family != AF_INET6:
        return True, sk.sk_rcv_saddr, IN6ADDR_ANY
    addr = sk.sk_v6_rcv_saddr
    if addr[:12] == MAPPED_PREFIX:
        return True, int.from_bytes(addr[12:], "big"), IN6ADDR_ANY
    return False, 0, addr


def is_any(is_v4: bool, saddr: int, v6_saddr: bytes) -> bool:
    """Tell whether a key of bhash2 is a wildcard's."""
    return saddr == 0 if is_v4 else v6_saddr == IN6ADDR_ANY


def _fold6(addr: bytes) -> int:
    """Mix an IPv6 address into 32 bits."""
    high = int.from_bytes(addr[0:4], "big") * 31 + int.from_bytes(addr[4:8], "big")
    low = int.from_bytes(addr[8:12], "big") * 31 + int.from_bytes(addr[12:16], "big")
    return (high * 131 ^ low) & _MASK32


def _mix(value: int, secret: int) -> int:
    """Spread 32 bits."""
    value = ((value ^ secret) * 0x9E3779B1) & _MASK32
    value ^= value >> 15
    value = (value * 0x85EBCA77) & _MASK32
    return value ^ value >> 13


def portaddr_hash(secret: int, is_v4: bool, saddr: int, v6_saddr: bytes, port: int) -> int:
    """Return the hash of a port on a local address; the wildcards of both families are equal."""
    word = saddr if is_v4 else (0 if v6_saddr == IN6ADDR_ANY else _fold6(v6_saddr))
    return _mix(word, secret) ^ port


def inet_ehashfn(hinfo: InetHashinfo, laddr: int, lport: int, faddr: int, fport: int) -> int:
    """Return the 32-bit hash of an IPv4 connection seen from its local end."""
    return _mix(laddr + _mix(faddr, lport << 16 | fport) & _MASK32, hinfo.secret)


def inet6_ehashfn(hinfo: InetHashinfo, laddr: bytes, lport: int, faddr: bytes, fport: int) -> int:
    """Return the 32-bit hash of an IPv6 connection seen from its local end."""
    return inet_ehashfn(hinfo, _fold6(laddr), lport, _fold6(faddr), fport)


def sk_is_v6_flow(sk: SockCommon) -> bool:
    """Tell whether a connection runs over IPv6 (a mapped one runs over IPv4)."""
    return sk.sk_family == AF_INET6 and sk.sk_v6_daddr[:12] != MAPPED_PREFIX


def _ehash_for(hinfo: InetHashinfo, sk: SockCommon, lport: int) -> int:
    if sk_is_v6_flow(sk):
        return inet6_ehashfn(hinfo, sk.sk_v6_rcv_saddr, lport, sk.sk_v6_daddr, sk.sk_dport)
    return inet_ehashfn(hinfo, sk.sk_rcv_saddr, lport, sk.sk_daddr, sk.sk_dport)


def sk_ehashfn(sk: SockCommon) -> int:
    """Return the hash of a connected socket."""
    return _ehash_for(tcp_hashinfo(sk.sk_net), sk, sk.sk_num)


# ---------------------------------------------------------------- port buckets


def inet_sk_bound_l3mdev(sk: SockCommon) -> int:
    """Return the VRF whose ports the socket uses, 0 outside any."""
    net = sk.sk_net
    if sk.sk_bound_dev_if == 0 or net.ipv4.sysctl_tcp_l3mdev_accept:
        return 0
    return net.addrs.l3mdev_master_ifindex(sk.sk_bound_dev_if)


def inet_bind_bucket_find(hinfo: InetHashinfo, port: int, l3mdev: int) -> InetBindBucket | None:
    """Return the bucket of a port."""
    for tb in hinfo.bhash[port & (len(hinfo.bhash) - 1)]:
        if tb.port == port and tb.l3mdev == l3mdev:
            return tb
    return None


def inet_bind_bucket_create(hinfo: InetHashinfo, port: int, l3mdev: int) -> InetBindBucket:
    """Make the bucket of a port that nobody owns yet."""
    tb = InetBindBucket(port, l3mdev)
    if hinfo.nr_buckets >= len(hinfo.bhash):
        old = hinfo.bhash
        size = len(old) * 2
        hinfo.bhash = [[] for _ in range(size)]
        for chain in old:
            for other in chain:
                hinfo.bhash[other.port & (size - 1)].append(other)
    hinfo.bhash[port & (len(hinfo.bhash) - 1)].append(tb)
    hinfo.nr_buckets += 1
    return tb


def _bhash2_chain(hinfo: InetHashinfo, is_v4: bool, saddr: int, v6_saddr: bytes, port: int) -> list[Inet2BindBucket]:
    return hinfo.bhash2[portaddr_hash(hinfo.secret, is_v4, saddr, v6_saddr, port) & (len(hinfo.bhash2) - 1)]


def inet_bind2_bucket_find(hinfo: InetHashinfo, tb: InetBindBucket, is_v4: bool, saddr: int, v6_saddr: bytes) -> Inet2BindBucket | None:
    """Return the bucket of an address within a port's bucket."""
    for tb2 in _bhash2_chain(hinfo, is_v4, saddr, v6_saddr, tb.port):
        if tb2.tb is tb and tb2.is_v4 == is_v4 and tb2.rcv_saddr == saddr and tb2.v6_rcv_saddr == v6_saddr:
            return tb2
    return None


def _bind2_bucket_get(hinfo: InetHashinfo, tb: InetBindBucket, sk: SockCommon) -> Inet2BindBucket:
    """Find or make the bucket for the socket's address."""
    is_v4, saddr, v6_saddr = local_key(sk)
    tb2 = inet_bind2_bucket_find(hinfo, tb, is_v4, saddr, v6_saddr)
    if tb2 is not None:
        return tb2
    if hinfo.nr_buckets2 >= len(hinfo.bhash2):
        old = hinfo.bhash2
        hinfo.bhash2 = [[] for _ in range(len(old) * 2)]
        for chain in old:
            for other in chain:
                _bhash2_chain(hinfo, other.is_v4, other.rcv_saddr, other.v6_rcv_saddr, other.tb.port).append(other)
    tb2 = Inet2BindBucket(tb, is_v4, saddr, v6_saddr)
    _bhash2_chain(hinfo, is_v4, saddr, v6_saddr, tb.port).append(tb2)
    hinfo.nr_buckets2 += 1
    tb.bhash2.append(tb2)
    return tb2


def _bind2_bucket_leave(hinfo: InetHashinfo, sk: SockCommon, tb2: Inet2BindBucket) -> None:
    """Unlink an owner from its address bucket, which goes when it was the last."""
    after, before = sk.sk_bind_next, sk.sk_bind_prev
    if before is None:
        tb2.owners = after
    else:
        before.sk_bind_next = after
    if after is not None:
        after.sk_bind_prev = before
    sk.sk_bind_next = None
    sk.sk_bind_prev = None
    sk.icsk_bind2_hash = None
    if tb2.owners is None:
        _bhash2_chain(hinfo, tb2.is_v4, tb2.rcv_saddr, tb2.v6_rcv_saddr, tb2.tb.port).remove(tb2)
        hinfo.nr_buckets2 -= 1
        tb2.tb.bhash2.remove(tb2)


def _bind2_bucket_enter(sk: SockCommon, tb2: Inet2BindBucket) -> None:
    first = tb2.owners
    sk.sk_bind_prev = None
    sk.sk_bind_next = first
    if first is not None:
        first.sk_bind_prev = sk
    tb2.owners = sk
    sk.icsk_bind2_hash = tb2


def sk_is_connect_bind(sk: SockCommon) -> bool:
    """Tell whether connect(2) chose the socket's port."""
    if isinstance(sk, InetTimewaitSock):
        return sk.tw_connect_bind
    return isinstance(sk, Sock) and sk.sk_userlocks & SOCK_CONNECT_BIND != 0


def inet_bind_hash(hinfo: InetHashinfo, sk: SockCommon, tb: InetBindBucket) -> None:
    """Make the socket an owner of the port; its address and SOCK_CONNECT_BIND are set already."""
    tb2 = _bind2_bucket_get(hinfo, tb, sk)
    sk.sk_num = tb.port
    sk.icsk_bind_hash = tb
    _bind2_bucket_enter(sk, tb2)
    tb.nr_owners += 1
    if not sk_is_connect_bind(sk):
        tb.nr_bound += 1


def inet_bind_unhash(hinfo: InetHashinfo, sk: SockCommon) -> None:
    """End the socket's ownership; a bucket left to owners made by connect(2) returns to connect(2)."""
    tb, tb2 = sk.icsk_bind_hash, sk.icsk_bind2_hash
    if tb is None or tb2 is None:
        return
    _bind2_bucket_leave(hinfo, sk, tb2)
    sk.icsk_bind_hash = None
    tb.nr_owners -= 1
    if not sk_is_connect_bind(sk):
        tb.nr_bound -= 1
    if tb.nr_owners == 0:
        hinfo.bhash[tb.port & (len(hinfo.bhash) - 1)].remove(tb)
        hinfo.nr_buckets -= 1
    elif tb.nr_bound == 0:
        tb.fastreuse = -1
        tb.fastreuseport = -1


def inet_put_port(sk: InetSock) -> None:
    """Give the port back."""
    inet_bind_unhash(tcp_hashinfo(sk.sk_net), sk)
    sk.sk_userlocks &= ~SOCK_CONNECT_BIND
    sk.sk_num = 0


def inet_twsk_bind_unhash(tw: InetTimewaitSock) -> None:
    """End a mini-socket's ownership of its port."""
    inet_bind_unhash(tcp_hashinfo(tw.sk_net), tw)


def inet_inherit_port(parent: SockCommon, child: SockCommon) -> None:
    """Make an accepted connection an owner of the port it came in on, which a transparent listener need not have."""
    hinfo = tcp_hashinfo(child.sk_net)
    tb = parent.icsk_bind_hash
    if tb is None or tb.port != child.sk_num:
        l3mdev = inet_sk_bound_l3mdev(parent)
        tb = inet_bind_bucket_find(hinfo, child.sk_num, l3mdev) or inet_bind_bucket_create(hinfo, child.sk_num, l3mdev)
    inet_bind_hash(hinfo, child, tb)


def inet_twsk_inherit_port(sk: SockCommon, tw: InetTimewaitSock) -> None:
    """Make a mini-socket an owner beside the connection it replaces, which then gives the port back."""
    tw.tw_connect_bind = sk_is_connect_bind(sk)
    if sk.icsk_bind_hash is not None:
        inet_bind_hash(tcp_hashinfo(sk.sk_net), tw, sk.icsk_bind_hash)


def inet_bhash2_update_saddr(sk: InetSock, saddr: int, v6_saddr: bytes) -> None:
    """Set the local address (`v6_saddr` counts for AF_INET6), moving an owner to the bucket of the new one.

    An IPv6 address that is mapped or a wildcard stands in both fields; any other has LOOPBACK4_IPV6 in `saddr`."""
    tb, tb2 = sk.icsk_bind_hash, sk.icsk_bind2_hash
    hinfo = tcp_hashinfo(sk.sk_net)
    if tb2 is not None:
        _bind2_bucket_leave(hinfo, sk, tb2)
    sk.sk_rcv_saddr = saddr
    if sk.sk_family == AF_INET6:
        sk.sk_v6_rcv_saddr = v6_saddr
    if tb is not None:
        _bind2_bucket_enter(sk, _bind2_bucket_get(hinfo, tb, sk))


def inet_bhash2_reset_saddr(sk: InetSock) -> None:
    """Return the local address to the wildcard."""
    inet_bhash2_update_saddr(sk, 0, IN6ADDR_ANY)
    sk.inet_saddr = 0
    if sk.pinet6 is not None:
        sk.pinet6.saddr = IN6ADDR_ANY


# ---------------------------------------------------------------- chains of listeners and connections


def _rehash(old: list[HlistHead], hash_of: _HashOf) -> list[HlistHead]:
    """Return a table of twice the size; chains keep their order."""
    new = [HlistHead() for _ in range(len(old) * 2)]
    for head in old:
        members: list[SockCommon] = []
        sk = head.first
        while sk is not None:
            members.append(sk)
            sk = sk.sk_next
        for member in reversed(members):
            sk_add_node(member, new[hash_of.of(member) & (len(new) - 1)])
    return new


class _HashOf:
    """Which chain a socket belongs to."""

    def of(self, sk: SockCommon) -> int:
        """Return its hash."""
        return sk.sk_hash


class _ListenHashOf(_HashOf):
    def __init__(self, secret: int) -> None:
        self.secret = secret

    def of(self, sk: SockCommon) -> int:
        is_v4, saddr, v6_saddr = local_key(sk)
        return portaddr_hash(self.secret, is_v4, saddr, v6_saddr, sk.sk_num)


def inet_lhash2_add(hinfo: InetHashinfo, sk: InetSock) -> None:
    """Put a listener into its chain; IPv6 members of groups go to the end, so that IPv4 comes first."""
    if hinfo.nr_listeners >= len(hinfo.lhash2):
        hinfo.lhash2 = _rehash(hinfo.lhash2, _ListenHashOf(hinfo.secret))
    head = inet_lhash2_chain(hinfo, sk)
    if sk.sk_reuseport and sk.sk_family == AF_INET6:
        sk_add_node_tail(sk, head)
    else:
        sk_add_node(sk, head)
    hinfo.nr_listeners += 1


def inet_lhash2_chain(hinfo: InetHashinfo, sk: SockCommon) -> HlistHead:
    """Return the chain a listener belongs to."""
    is_v4, saddr, v6_saddr = local_key(sk)
    return hinfo.lhash2[portaddr_hash(hinfo.secret, is_v4, saddr, v6_saddr, sk.sk_num) & (len(hinfo.lhash2) - 1)]


def inet_lhash2_del(hinfo: InetHashinfo, sk: SockCommon) -> None:
    """Take a listener out of its chain."""
    if sk_del_node_init(sk):
        hinfo.nr_listeners -= 1


def inet_ehash_insert(sk: SockCommon) -> None:
    """Put a connection or mini-socket into the table of connections; addresses and ports are set."""
    hinfo = tcp_hashinfo(sk.sk_net)
    if hinfo.nr_established >= len(hinfo.ehash):
        hinfo.ehash = _rehash(hinfo.ehash, _HashOf())
    sk.sk_hash = _ehash_for(hinfo, sk, sk.sk_num)
    sk_add_node(sk, hinfo.ehash[sk.sk_hash & (len(hinfo.ehash) - 1)])
    hinfo.nr_established += 1


def inet_ehash_del(sk: SockCommon) -> bool:
    """Take a socket out of the table of connections; tell whether it was there."""
    if sk.sk_hash < 0 or not sk_del_node_init(sk):
        return False
    sk.sk_hash = -1
    tcp_hashinfo(sk.sk_net).nr_established -= 1
    return True


def inet_bound_dev_eq(l3mdev_accept: int, bound_dev_if: int, dif: int, sdif: int) -> bool:
    """Tell whether a socket's device admits a packet from `dif`, which is a member of VRF `sdif` (0: none)."""
    if bound_dev_if == 0:
        return sdif == 0 or l3mdev_accept != 0
    return bound_dev_if in (dif, sdif)


def inet_lookup_established(net: Net, saddr: int, sport: int, daddr: int, hnum: int, dif: int, sdif: int) -> SockCommon | None:
    """Find the connection that an IPv4 packet from saddr:sport to daddr:hnum belongs to."""
    hinfo = tcp_hashinfo(net)
    return _ehash_find4(hinfo, inet_ehashfn(hinfo, daddr, hnum, saddr, sport), daddr, hnum, saddr, sport, dif, sdif)


def inet6_lookup_established(net: Net, saddr: bytes, sport: int, daddr: bytes, hnum: int, dif: int, sdif: int) -> SockCommon | None:
    """Find the connection that an IPv6 packet belongs to."""
    hinfo = tcp_hashinfo(net)
    return _ehash_find6(hinfo, inet6_ehashfn(hinfo, daddr, hnum, saddr, sport), daddr, hnum, saddr, sport, dif, sdif)


def _ehash_find4(hinfo: InetHashinfo, hash_: int, laddr: int, lport: int, faddr: int, fport: int, dif: int, sdif: int) -> SockCommon | None:
    accept = hinfo.net.ipv4.sysctl_tcp_l3mdev_accept
    sk = hinfo.ehash[hash_ & (len(hinfo.ehash) - 1)].first
    while sk is not None:
        if sk.sk_hash == hash_ and sk.sk_num == lport and sk.sk_dport == fport:
            if sk.sk_rcv_saddr == laddr and sk.sk_daddr == faddr and inet_bound_dev_eq(accept, sk.sk_bound_dev_if, dif, sdif):
                return sk
        sk = sk.sk_next
    return None


def _ehash_find6(
    hinfo: InetHashinfo, hash_: int, laddr: bytes, lport: int, faddr: bytes, fport: int, dif: int, sdif: int
) -> SockCommon | None:
    accept = hinfo.net.ipv4.sysctl_tcp_l3mdev_accept
    sk = hinfo.ehash[hash_ & (len(hinfo.ehash) - 1)].first
    while sk is not None:
        if sk.sk_hash == hash_ and sk.sk_num == lport and sk.sk_dport == fport and sk.sk_family == AF_INET6:
            if sk.sk_v6_rcv_saddr == laddr and sk.sk_v6_daddr == faddr and inet_bound_dev_eq(accept, sk.sk_bound_dev_if, dif, sdif):
                return sk
        sk = sk.sk_next
    return None


def inet_ehash_twin(sk: SockCommon, lport: int) -> SockCommon | None:
    """Find the connection that has the 4-tuple which `sk` would have with local port `lport`."""
    net = sk.sk_net
    hinfo = tcp_hashinfo(net)
    dif = sk.sk_bound_dev_if
    sdif = net.addrs.l3mdev_master_ifindex(dif) if dif else 0
    hash_ = _ehash_for(hinfo, sk, lport)
    if sk_is_v6_flow(sk):
        return _ehash_find6(hinfo, hash_, sk.sk_v6_rcv_saddr, lport, sk.sk_v6_daddr, sk.sk_dport, dif, sdif)
    return _ehash_find4(hinfo, hash_, sk.sk_rcv_saddr, lport, sk.sk_daddr, sk.sk_dport, dif, sdif)
