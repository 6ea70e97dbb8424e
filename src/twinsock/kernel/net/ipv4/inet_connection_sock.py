"""Connection sockets: who may own which port (Linux: net/ipv4/inet_connection_sock.c).

Sections: the classes; listeners; port ownership (bind(2) and the check that listen(2) repeats); automatic ports.
N is the socket being bound; `inet_bind_conflict` judges one owner against it, `inet_csk_get_port` decides. `relax`: flags of the
owner count at all; `share`: SO_REUSEPORT counts."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import (
    IN6ADDR_ANY,
    SK_CAN_REUSE,
    SK_FORCE_REUSE,
    Proto,
    Sock,
    SockCommon,
)
from twinsock.kernel.net.core.sock_reuseport import reuseport_add_sock, reuseport_alloc, reuseport_stop_listen_sock
from twinsock.kernel.net.ipv4.bind_observer import (
    PASS_ADDRESS,
    PASS_DEVICE,
    PASS_REUSEADDR,
    PASS_REUSEPORT,
    PASS_REUSEPORT_TIME_WAIT,
    PASS_SELF,
    RULE_AUTOMATIC,
    RULE_IN_GROUP,
    RULE_LISTENING,
    RULE_NO_SHARED_FLAG,
    RULE_OTHER_UID,
    SHORTCUT_FORCE_REUSE,
    SHORTCUT_REUSEPORT,
)
from twinsock.kernel.net.ipv4.inet_hashtables import (
    MAPPED_PREFIX,
    Inet2BindBucket,
    InetBindBucket,
    InetHashinfo,
    inet_bind2_bucket_find,
    inet_bind_bucket_create,
    inet_bind_bucket_find,
    inet_bind_hash,
    inet_ehash_del,
    inet_ehash_insert,
    inet_lhash2_add,
    inet_lhash2_chain,
    inet_lhash2_del,
    inet_put_port,
    inet_sk_bound_l3mdev,
    is_any,
    local_key,
    tcp_hashinfo,
)
from twinsock.kernel.net.ipv4.inet_sock import InetSock, inet_sk_state_store
from twinsock.uapi.errno import EADDRINUSE
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN, TCP_TIME_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

FASTREUSEPORT_STRICT: Final = 2


class InetConnectionSock(InetSock):
    """`struct inet_connection_sock`: a socket of a protocol with listeners and connections."""

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)


class InetCskProto(Proto):
    """The methods of TCP's `struct proto` that deal with ports and tables."""

    def get_port(self, sk: Sock, snum: int) -> int:
        """Own local port `snum` (0: choose one)."""
        assert isinstance(sk, InetConnectionSock)
        return inet_csk_get_port(sk, snum)

    def put_port(self, sk: Sock) -> None:
        """Give the local port back."""
        assert isinstance(sk, InetConnectionSock)
        inet_put_port(sk)

    def hash(self, sk: Sock) -> int:
        """Enter the table of listeners or of connections."""
        assert isinstance(sk, InetConnectionSock)
        return inet_hash(sk)

    def unhash(self, sk: Sock) -> None:
        """Leave it."""
        assert isinstance(sk, InetConnectionSock)
        inet_unhash(sk)


# ---------------------------------------------------------------- listeners


def inet_csk_listen_start(sk: InetConnectionSock) -> int:
    """Turn a bound or unbound socket into a listener, which repeats the port check, listen(2): 0 or -errno."""
    sk.sk_ack_backlog = 0
    inet_sk_state_store(sk, TCP_LISTEN)
    err = sk.sk_prot.get_port(sk, sk.sk_num)
    if err == 0:
        sk.inet_sport = sk.sk_num
        err = sk.sk_prot.hash(sk)
        if err == 0:
            return 0
    inet_sk_state_store(sk, TCP_CLOSE)
    observer = sk.sk_net.bind_observer
    if observer is not None:
        observer.refused(sk, "inet_csk_listen_start", err)
    return err


def inet_hash(sk: InetConnectionSock) -> int:
    """Enter the table that the state asks for: 0 or -errno from the SO_REUSEPORT group."""
    if sk.sk_state != TCP_LISTEN:
        if sk.sk_state != TCP_CLOSE:
            inet_ehash_insert(sk)
            sk.sk_net.sock_prot_inuse_add(sk.sk_prot, 1)
        return 0
    hinfo = tcp_hashinfo(sk.sk_net)
    if sk.sk_reuseport:
        err = inet_reuseport_add_sock(sk, hinfo)
        if err:
            return err
    inet_lhash2_add(hinfo, sk)
    sk.sk_net.sock_prot_inuse_add(sk.sk_prot, 1)
    return 0


def inet_unhash(sk: InetConnectionSock) -> None:
    """Leave the table of listeners (and the SO_REUSEPORT group) or of connections."""
    if sk.sk_head is None:
        return
    if sk.sk_hash >= 0:
        inet_ehash_del(sk)
    else:
        if sk.sk_reuseport_cb is not None:
            reuseport_stop_listen_sock(sk)
        inet_lhash2_del(tcp_hashinfo(sk.sk_net), sk)
    sk.sk_net.sock_prot_inuse_add(sk.sk_prot, -1)


def inet_reuseport_add_sock(sk: InetConnectionSock, hinfo: InetHashinfo) -> int:
    """Join the group of a listener with the same address, device and user, or begin one: 0 or -errno."""
    key = local_key(sk)
    other = inet_lhash2_chain(hinfo, sk).first
    while other is not None:
        if isinstance(other, InetConnectionSock) and _same_group(sk, other) and local_key(other) == key:
            return reuseport_add_sock(sk, other, is_any(key[0], key[1], key[2]))
        other = other.sk_next
    return reuseport_alloc(sk, is_any(key[0], key[1], key[2]))


def _same_group(sk: InetConnectionSock, other: InetConnectionSock) -> bool:
    if other is sk or not other.sk_reuseport or other.icsk_bind_hash is not sk.icsk_bind_hash:
        return False
    if other.sk_family != sk.sk_family or other.sk_ipv6only != sk.sk_ipv6only:
        return False
    return other.sk_bound_dev_if == sk.sk_bound_dev_if and other.sk_uid == sk.sk_uid


# ---------------------------------------------------------------- port ownership


def inet_csk_get_port(sk: InetConnectionSock, snum: int) -> int:
    """Make `sk` an owner of port `snum` (0: of an automatic one), or repeat the check for listen(2): 0 or -EADDRINUSE."""
    hinfo = tcp_hashinfo(sk.sk_net)
    l3mdev = inet_sk_bound_l3mdev(sk)
    port = snum
    if port == 0:
        port = inet_csk_find_open_port(sk, hinfo, l3mdev)
        if port == 0:
            return _refused(sk, "inet_csk_find_open_port")
    tb = inet_bind_bucket_find(hinfo, port, l3mdev)
    if tb is None:
        tb = inet_bind_bucket_create(hinfo, port, l3mdev)
    elif snum != 0 and not _skips_owners(sk, tb):
        if inet_bhash2_addr_any_conflict(sk, hinfo, tb, True, True):
            return _refused(sk, "inet_bhash2_addr_any_conflict")
        if inet_csk_bind_conflict(sk, hinfo, tb, True, True):
            return _refused(sk, "inet_csk_bind_conflict")
    inet_csk_update_fastreuse(sk, tb)
    if sk.icsk_bind_hash is None:
        inet_bind_hash(hinfo, sk, tb)
    return 0


def _refused(sk: Sock, by: str) -> int:
    observer = sk.sk_net.bind_observer
    if observer is not None:
        observer.refused(sk, by, -EADDRINUSE)
        observer.refused(sk, "inet_csk_get_port", -EADDRINUSE)
    return -EADDRINUSE


def _skips_owners(sk: InetConnectionSock, tb: InetBindBucket) -> bool:
    """Tell whether the bucket's memory alone admits the socket."""
    reason = 0
    if sk.sk_reuse == SK_FORCE_REUSE:
        reason = SHORTCUT_FORCE_REUSE
    elif sk_reuseport_match(tb, sk):
        reason = SHORTCUT_REUSEPORT
    if reason == 0:
        return False
    observer = sk.sk_net.bind_observer
    if observer is not None:
        observer.shortcut(sk, tb.port, reason)
    return True


def sk_reuseport_match(tb: InetBindBucket, sk: InetConnectionSock) -> bool:
    """Tell whether the remembered SO_REUSEPORT owner has the same user and an address that covers the socket's.

    A wildcard covers what it overlaps; any other address covers itself only, and never a wildcard."""
    if tb.fastreuseport <= 0 or not sk.sk_reuseport or sk.sk_reuseport_cb is not None or tb.fastuid != sk.sk_uid:
        return False
    is_v4, saddr, v6_saddr = local_key(sk)
    dual = _is_dual(sk, is_v4, v6_saddr)
    if dual and tb.fast_is_v4 and tb.fast_sk_family == AF_INET6:
        return False  # Measured: 6.18, campaign bind_sequences: ::ffff:0.0.0.0 does not cover ::, which 0.0.0.0 does
    if (tb.fast_is_v4 or tb.fast_dual) and (is_v4 or dual):
        if tb.fast_rcv_saddr == saddr or tb.fast_rcv_saddr == 0:
            return True
    if tb.fast_is_v4 or is_v4:
        return False
    return tb.fast_v6_rcv_saddr == v6_saddr or tb.fast_v6_rcv_saddr == IN6ADDR_ANY


def inet_csk_update_fastreuse(sk: InetConnectionSock, tb: InetBindBucket) -> None:
    """Remember what the new owner allows.

    Linux: since 6.8 no owner sets fastreuse above 0, so SO_REUSEADDR is always looked up at the owners themselves."""
    if not sk.sk_reuse or sk.sk_state == TCP_LISTEN:
        tb.fastreuse = 0
    if not sk.sk_reuseport:
        tb.fastreuseport = 0
    elif not sk_reuseport_match(tb, sk):
        tb.fastreuseport = FASTREUSEPORT_STRICT
        tb.fastuid = sk.sk_uid
        tb.fast_sk_family = sk.sk_family
        tb.fast_is_v4, tb.fast_rcv_saddr, tb.fast_v6_rcv_saddr = local_key(sk)
        tb.fast_dual = _is_dual(sk, tb.fast_is_v4, tb.fast_v6_rcv_saddr)


def _is_dual(sk: SockCommon, is_v4: bool, v6_saddr: bytes) -> bool:
    return not is_v4 and v6_saddr == IN6ADDR_ANY and not sk.sk_ipv6only


def inet_bhash2_addr_any_conflict(sk: InetConnectionSock, hinfo: InetHashinfo, tb: InetBindBucket, relax: bool, share: bool) -> bool:
    """Tell whether an owner with a wildcard refuses `sk`, which has a specific address."""
    is_v4, saddr, v6_saddr = local_key(sk)
    if is_any(is_v4, saddr, v6_saddr):
        return False
    any6 = inet_bind2_bucket_find(hinfo, tb, False, 0, IN6ADDR_ANY)
    if any6 is not None and _bucket_conflict(sk, any6, relax, share):
        return True
    any4 = inet_bind2_bucket_find(hinfo, tb, True, 0, IN6ADDR_ANY) if is_v4 else None
    return any4 is not None and _bucket_conflict(sk, any4, relax, share)


def inet_csk_bind_conflict(sk: InetConnectionSock, hinfo: InetHashinfo, tb: InetBindBucket, relax: bool, share: bool) -> bool:
    """Tell whether an owner of the same address refuses `sk`; when that is a wildcard, whether any owner does."""
    is_v4, saddr, v6_saddr = local_key(sk)
    if not is_any(is_v4, saddr, v6_saddr):
        same = inet_bind2_bucket_find(hinfo, tb, is_v4, saddr, v6_saddr)
        return same is not None and _bucket_conflict(sk, same, relax, share)
    i = len(tb.bhash2)
    while i > 0:
        i -= 1
        if _bucket_conflict(sk, tb.bhash2[i], relax, share):
            return True
    return False


def _bucket_conflict(sk: InetConnectionSock, tb2: Inet2BindBucket, relax: bool, share: bool) -> bool:
    observer = sk.sk_net.bind_observer
    group = sk.sk_reuseport_cb
    joinable = group is None or group.num_closed_socks != 0
    owner = tb2.owners
    while owner is not None:
        verdict = inet_bind_conflict(sk, owner, relax, joinable, share)
        if verdict > 0 and not inet_rcv_saddr_overlap(sk, owner):
            verdict = PASS_ADDRESS
        if observer is not None and verdict != PASS_SELF:
            observer.owner_seen(sk, owner, tb2.tb.port, verdict)
        if verdict > 0:
            return True
        owner = owner.sk_bind_next
    return False


def inet_bind_conflict(sk: InetConnectionSock, owner: SockCommon, relax: bool, joinable: bool, share: bool) -> int:
    """Judge one owner whose address overlaps: a RULE_* above 0 that refuses `sk`, or a PASS_* below.

    Both having SO_REUSEADDR excuses unless the owner listens; both having SO_REUSEPORT excuses the same user, or TIME_WAIT.
    Automatic ports (`share` false) take no excuse, or with ip_autobind_reuse (`relax`) only the first, and not from
    a socket that could form a SO_REUSEPORT group with the owner. `joinable`: `sk` may still enter a group."""
    if owner is sk:
        return PASS_SELF
    dev = sk.sk_bound_dev_if
    if dev and owner.sk_bound_dev_if and dev != owner.sk_bound_dev_if:
        return PASS_DEVICE
    both_reuse = sk.sk_reuse != 0 and owner.sk_reuse != 0
    both_reuseport = sk.sk_reuseport != 0 and owner.sk_reuseport != 0
    mates = both_reuseport and joinable and (owner.sk_state == TCP_TIME_WAIT or _owner_uid(owner) == sk.sk_uid)
    if both_reuse and owner.sk_state != TCP_LISTEN:
        return PASS_REUSEADDR if relax and (share or not mates) else RULE_AUTOMATIC
    if mates:
        if not share:
            return RULE_AUTOMATIC
        return PASS_REUSEPORT_TIME_WAIT if owner.sk_state == TCP_TIME_WAIT else PASS_REUSEPORT
    if both_reuseport:
        return RULE_OTHER_UID if joinable else RULE_IN_GROUP
    return RULE_LISTENING if both_reuse else RULE_NO_SHARED_FLAG


def _owner_uid(owner: SockCommon) -> int:
    return owner.sk_uid if isinstance(owner, Sock) else 0


def inet_rcv_saddr_overlap(sk: SockCommon, other: SockCommon) -> bool:
    """Tell whether one packet could be for both sockets: inet_rcv_saddr_equal() with wildcards.

    AF_INET has an IPv4 part, an IPv6 address an IPv6 part, a mapped address an IPv4 part, a wildcard :: both unless IPV6_V6ONLY.
    Measured: 6.18, campaign bind_sequences: asked by an AF_INET socket, a dual-stack owner that is connected over IPv6 still has
    an IPv4 part, 127.0.0.6, which the wildcard meets."""
    if sk.sk_family != AF_INET6:
        addr, theirs = sk.sk_rcv_saddr, other.sk_rcv_saddr
        return not other.sk_ipv6only and (addr == theirs or addr == 0 or theirs == 0)
    has4, has6, addr4, addr6 = _parts(sk)
    other_has4, other_has6, other4, other6 = _parts(other)
    if has4 and other_has4 and (addr4 == other4 or addr4 == 0 or other4 == 0):
        return True
    return has6 and other_has6 and (addr6 in (other6, IN6ADDR_ANY) or other6 == IN6ADDR_ANY)


def _parts(sk: SockCommon) -> tuple[bool, bool, int, bytes]:
    """Split a bound address into its IPv4 and IPv6 part: (has IPv4, has IPv6, IPv4 address, IPv6 address)."""
    if sk.sk_family != AF_INET6:
        return True, False, sk.sk_rcv_saddr, IN6ADDR_ANY
    addr = sk.sk_v6_rcv_saddr
    if addr == IN6ADDR_ANY:
        return not sk.sk_ipv6only, True, 0, addr
    if addr[:12] == MAPPED_PREFIX:
        return True, False, int.from_bytes(addr[12:], "big"), IN6ADDR_ANY
    return False, True, 0, addr


# ---------------------------------------------------------------- automatic ports


def inet_sk_get_local_port_range(sk: InetSock) -> tuple[int, int, bool]:
    """Return (low, high, narrowed): the namespace's range, narrowed by the halves of IP_LOCAL_PORT_RANGE that lie inside it."""
    ipv4 = sk.sk_net.ipv4
    low, high = ipv4.ip_local_ports_low, ipv4.ip_local_ports_high
    own = sk.local_port_range
    if own == 0:
        return low, high, False
    own_low, own_high = own & 0xFFFF, own >> 16
    new_low = own_low if own_low and low <= own_low <= high else low
    new_high = own_high if own_high and low <= own_high <= high else high
    return new_low, new_high, True


def inet_is_local_reserved_port(net: Net, port: int) -> bool:
    """Tell whether ip_local_reserved_ports keeps a port from automatic choice."""
    for low, high in net.ipv4.sysctl_local_reserved_ports:
        if port < low:
            return False
        if port <= high:
            return True
    return False


def inet_csk_find_open_port(sk: InetConnectionSock, hinfo: InetHashinfo, l3mdev: int) -> int:
    """Choose the port for bind(2) with port 0, or return 0.

    A socket with SO_REUSEADDR looks into the lower half of the range first; each part starts at a random place, and
    gives the ports of the other parity than its first one before the rest."""
    low, high, _ = inet_sk_get_local_port_range(sk)
    relax = False
    while True:
        if sk.sk_reuse == SK_CAN_REUSE and high + 1 - low >= 4:
            middle = low + ((high + 1 - low) >> 2 << 1)
            port = _search_part(sk, hinfo, l3mdev, low, middle, relax) or _search_part(sk, hinfo, l3mdev, middle, high + 1, relax)
        else:
            port = _search_part(sk, hinfo, l3mdev, low, high + 1, relax)
        if port != 0:
            return port
        if relax or not sk.sk_net.ipv4.sysctl_ip_autobind_reuse:
            break
        relax = True
    observer = sk.sk_net.bind_observer
    if observer is not None:
        observer.range_exhausted(sk, low, high)
    return 0


def _search_part(sk: InetConnectionSock, hinfo: InetHashinfo, l3mdev: int, low: int, end: int, relax: bool) -> int:
    """Search [low, end) for a port that no owner disputes; of an odd-sized part one port is never tried."""
    net = sk.sk_net
    size = end - low
    if size > 1:
        size &= ~1
    start = net.kernel.prng.below(size) | 1
    for parity in (0, 1):
        for step in range(0, size, 2):
            port = low + start - parity + step
            if port >= end:
                port -= size
            if inet_is_local_reserved_port(net, port):
                if net.bind_observer is not None:
                    net.bind_observer.port_skipped(sk, port)
                continue
            tb = inet_bind_bucket_find(hinfo, port, l3mdev)
            if tb is None:
                return port
            if not inet_bhash2_addr_any_conflict(sk, hinfo, tb, relax, False) and not inet_csk_bind_conflict(sk, hinfo, tb, relax, False):
                return port
    return 0
