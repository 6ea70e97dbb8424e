"""UDP's tables and port rules (Linux: the udp_table and udp_lib_get_port() parts of net/ipv4/udp.c, with the IPv6 callers).

    hash   port           -> sockets, newest first (AF_INET6 with SO_REUSEPORT: last), linked by sk_next
    hash2  port, address  -> sockets, linked by udp_next2; asked instead when one port has many owners

Sending and receiving are in udp.py, which a question about bind(2) does not load."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import IN6ADDR_ANY, HlistHead, Proto, Sock, SockCommon, sk_add_node, sk_add_node_tail, sk_del_node_init
from twinsock.kernel.net.core.sock_reuseport import reuseport_add_sock, reuseport_alloc, reuseport_detach_sock
from twinsock.kernel.net.ipv4.bind_observer import (
    PASS_ADDRESS,
    PASS_DEVICE,
    PASS_REUSEADDR,
    PASS_REUSEPORT,
    PASS_SELF,
    RULE_IN_GROUP,
    RULE_NO_SHARED_FLAG,
    RULE_OTHER_UID,
    SHORTCUT_GROUP_MATE,
)
from twinsock.kernel.net.ipv4.inet_connection_sock import (
    inet_is_local_reserved_port,
    inet_rcv_saddr_overlap,
    inet_sk_get_local_port_range,
)
from twinsock.kernel.net.ipv4.inet_hashtables import is_any, local_key, portaddr_hash
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.uapi.errno import EADDRINUSE, EAGAIN
from twinsock.uapi.in_ import IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_MIN_SIZE: Final = 16
_MANY_OWNERS: Final = 10  # Twin: D-bind-2: beyond this many owners of a port a specific address asks hash2


class UdpHslot2:
    """A chain of hash2."""

    def __init__(self) -> None:
        self.first: UdpPortSock | None = None


class UdpPortSock(InetSock):
    """The part of `struct udp_sock` that the tables use."""

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.udp_portaddr_hash = 0
        self.udp_slot2: UdpHslot2 | None = None
        self.udp_next2: UdpPortSock | None = None
        self.udp_prev2: UdpPortSock | None = None


class UdpTable:
    """`struct udp_table`: the UDP sockets of one namespace that own a port."""

    def __init__(self, net: Net) -> None:
        self.secret = net.kernel.prng.u32()
        self.hash: list[HlistHead] = [HlistHead() for _ in range(_MIN_SIZE)]
        self.hash2: list[UdpHslot2] = [UdpHslot2() for _ in range(_MIN_SIZE)]
        self.count = 0
        self.owners_of: dict[int, int] = {}  # port -> number of sockets

    def slot(self, port: int) -> HlistHead:
        """Return the chain of a port."""
        return self.hash[port & (len(self.hash) - 1)]

    def slot2(self, portaddr_hash_: int) -> UdpHslot2:
        """Return the chain of a port on an address."""
        return self.hash2[portaddr_hash_ & (len(self.hash2) - 1)]

    def portaddr_hash(self, sk: SockCommon, port: int) -> int:
        """Return the hash of `port` on the socket's address."""
        is_v4, saddr, v6_saddr = local_key(sk)
        return portaddr_hash(self.secret, is_v4, saddr, v6_saddr, port)

    def null_hash(self, port: int) -> int:
        """Return the hash of `port` on the wildcard."""
        return portaddr_hash(self.secret, True, 0, IN6ADDR_ANY, port)


def udp_table(net: Net, protocol: int = IPPROTO_UDP) -> UdpTable:
    """Return the namespace's table of UDP or of UDP-Lite, making it on first use."""
    table = net.udplite_table if protocol == IPPROTO_UDPLITE else net.udp_table
    if table is None:
        table = UdpTable(net)
        if protocol == IPPROTO_UDPLITE:
            net.udplite_table = table
        else:
            net.udp_table = table
    return table


class UdpPortProto(Proto):
    """The methods of UDP's `struct proto` that deal with ports."""

    def get_port(self, sk: Sock, snum: int) -> int:
        """Own local port `snum` (0: choose one)."""
        assert isinstance(sk, UdpPortSock)
        return udp_lib_get_port(sk, snum)

    def put_port(self, sk: Sock) -> None:
        """Give the port back."""
        self.unhash(sk)

    def unhash(self, sk: Sock) -> None:
        """Leave the tables and give the port back."""
        assert isinstance(sk, UdpPortSock)
        udp_lib_unhash(sk)


def udp_lib_get_port(sk: UdpPortSock, snum: int) -> int:
    """Make `sk` the owner of port `snum` (0: of an automatic one): 0 or -EADDRINUSE."""
    table = udp_table(sk.sk_net, sk.sk_protocol)
    port = snum
    if port == 0:
        port = _find_open_port(sk, table)
        refused = port == 0
    else:
        refused = udp_lib_port_in_use(sk, table, port)
    if refused or not _enter(sk, table, port):
        observer = sk.sk_net.bind_observer
        if observer is not None:
            if snum:
                by = "udp_lib_lport_inuse2" if _asks_hash2(sk, table, snum) else "udp_lib_lport_inuse"
                observer.refused(sk, by, -EADDRINUSE)
            observer.refused(sk, "udp_lib_get_port", -EADDRINUSE)
            observer.refused(sk, "udp_v6_get_port" if sk.sk_family == AF_INET6 else "udp_v4_get_port", -EADDRINUSE)
        return -EADDRINUSE
    return 0


def udp_adopt(sk: UdpPortSock, port: int) -> int:
    """Make `sk` the owner of a port without a check: 0 or -EADDRINUSE when its SO_REUSEPORT group refuses it."""
    return 0 if _enter(sk, udp_table(sk.sk_net, sk.sk_protocol), port) else -EADDRINUSE


def udp_autobind(sk: UdpPortSock) -> int:
    """Give an unbound socket a port for connect(2) or sendto(2): 0 or -EAGAIN."""
    if sk.sk_num == 0:
        if udp_lib_get_port(sk, 0):
            return -EAGAIN
        sk.inet_sport = sk.sk_num
    return 0


def udp_lib_port_in_use(sk: UdpPortSock, table: UdpTable, port: int) -> bool:
    """Tell whether the first owner that counts refuses `sk`: one that merely has SO_REUSEPORT in common ends the search too."""
    if _asks_hash2(sk, table, port):
        own, null = table.slot2(table.portaddr_hash(sk, port)), table.slot2(table.null_hash(port))
        return _in_use2(sk, own, port) or (null is not own and _in_use2(sk, null, port))
    owner = table.slot(port).first
    while owner is not None:
        if owner.sk_num == port:
            verdict = _judge(sk, owner)
            if verdict > 0:
                return True
            if verdict == PASS_REUSEPORT:
                return False
        owner = owner.sk_next
    return False


def _asks_hash2(sk: UdpPortSock, table: UdpTable, port: int) -> bool:
    """Tell whether a specific address meets so many owners that only those of its own and of the wildcard are asked."""
    is_v4, saddr, v6_saddr = local_key(sk)
    return table.owners_of.get(port, 0) > _MANY_OWNERS and not is_any(is_v4, saddr, v6_saddr)


def _in_use2(sk: UdpPortSock, slot: UdpHslot2, port: int) -> bool:
    owner = slot.first
    while owner is not None:
        if owner.sk_num == port:
            verdict = _judge(sk, owner)
            if verdict > 0:
                return True
            if verdict == PASS_REUSEPORT:
                return False
        owner = owner.udp_next2
    return False


def _judge(sk: UdpPortSock, owner: SockCommon) -> int:
    """Judge one owner of the port and tell the observer: a RULE_* above 0 that refuses, or a PASS_* below."""
    verdict = udp_conflict(sk, owner)
    observer = sk.sk_net.bind_observer
    if observer is not None and verdict != PASS_SELF:
        observer.owner_seen(sk, owner, owner.sk_num, verdict)
        if verdict == PASS_REUSEPORT:
            observer.shortcut(sk, owner.sk_num, SHORTCUT_GROUP_MATE)
    return verdict


def udp_conflict(sk: UdpPortSock, owner: SockCommon) -> int:
    """Judge one owner of the port: both having SO_REUSEADDR excuses, and both SO_REUSEPORT for one user."""
    if owner is sk:
        return PASS_SELF
    dev = sk.sk_bound_dev_if
    if dev and owner.sk_bound_dev_if and dev != owner.sk_bound_dev_if:
        return PASS_DEVICE
    if not inet_rcv_saddr_overlap(sk, owner):
        return PASS_ADDRESS
    if sk.sk_reuse and owner.sk_reuse:
        return PASS_REUSEADDR
    if not sk.sk_reuseport or not owner.sk_reuseport:
        return RULE_NO_SHARED_FLAG
    if sk.sk_reuseport_cb is not None:
        return RULE_IN_GROUP
    return PASS_REUSEPORT if isinstance(owner, Sock) and owner.sk_uid == sk.sk_uid else RULE_OTHER_UID


def _find_open_port(sk: UdpPortSock, table: UdpTable) -> int:
    """Choose a port for bind(2) with port 0, or return 0: a random start, then steps that reach the whole range."""
    net = sk.sk_net
    low, high, _ = inet_sk_get_local_port_range(sk)
    mask = len(table.hash) - 1
    first = low + net.kernel.prng.below(high - low + 1)
    stride = (net.kernel.prng.u32() | 1) * (mask + 1) & 0xFFFF
    for lead in range(first, first + mask + 1):
        if low + ((lead - low) & mask) > high:
            continue  # no port of the range is in this chain
        port = begin = lead & 0xFFFF
        while True:
            if low <= port <= high and not _disputed(sk, table, port) and not inet_is_local_reserved_port(net, port):
                return port
            port = (port + stride) & 0xFFFF
            if port == begin:
                break
    if net.bind_observer is not None:
        net.bind_observer.range_exhausted(sk, low, high)
    return 0


def _disputed(sk: UdpPortSock, table: UdpTable, port: int) -> bool:
    """Tell whether any owner of the port refuses `sk`."""
    owner = table.slot(port).first
    while owner is not None:
        if owner.sk_num == port and udp_conflict(sk, owner) > 0:
            return True
        owner = owner.sk_next
    return False


def _enter(sk: UdpPortSock, table: UdpTable, port: int) -> bool:
    """Put the socket into both tables; False if its group refuses it."""
    sk.sk_num = port
    sk.udp_portaddr_hash = table.portaddr_hash(sk, port)
    if sk.sk_head is not None:
        return True
    if sk.sk_reuseport and udp_reuseport_add_sock(sk, table.slot(port)):
        sk.sk_num = 0
        return False
    if table.count >= len(table.hash):
        _grow(table)
    at_tail = sk.sk_reuseport != 0 and sk.sk_family == AF_INET6
    if at_tail:
        sk_add_node_tail(sk, table.slot(port))
    else:
        sk_add_node(sk, table.slot(port))
    _enter2(sk, table.slot2(sk.udp_portaddr_hash), at_tail)
    table.count += 1
    table.owners_of[port] = table.owners_of.get(port, 0) + 1
    sk.sk_net.sock_prot_inuse_add(sk.sk_prot, 1)
    return True


def udp_reuseport_add_sock(sk: UdpPortSock, head: HlistHead) -> int:
    """Join the SO_REUSEPORT group of an owner with the same address, device and user, or begin one: 0 or -errno."""
    is_v4, saddr, v6_saddr = local_key(sk)
    inany = is_any(is_v4, saddr, v6_saddr)
    other = head.first
    while other is not None:
        if isinstance(other, UdpPortSock) and other is not sk and _same_group(sk, other):
            return reuseport_add_sock(sk, other, inany)
        other = other.sk_next
    return reuseport_alloc(sk, inany)


def _same_group(sk: UdpPortSock, other: UdpPortSock) -> bool:
    if other.sk_num != sk.sk_num or other.sk_family != sk.sk_family or other.sk_ipv6only != sk.sk_ipv6only:
        return False
    if not other.sk_reuseport or other.sk_bound_dev_if != sk.sk_bound_dev_if or other.sk_uid != sk.sk_uid:
        return False
    return local_key(other) == local_key(sk)


def udp_lib_unhash(sk: UdpPortSock) -> None:
    """Leave the tables and the group, and give the port back."""
    if sk.sk_head is None:
        return
    table = udp_table(sk.sk_net, sk.sk_protocol)
    reuseport_detach_sock(sk)
    sk_del_node_init(sk)
    _leave2(sk)
    table.count -= 1
    left = table.owners_of[sk.sk_num] - 1
    if left:
        table.owners_of[sk.sk_num] = left
    else:
        del table.owners_of[sk.sk_num]
    sk.sk_num = 0
    sk.sk_net.sock_prot_inuse_add(sk.sk_prot, -1)


def udp_lib_rehash(sk: UdpPortSock) -> None:
    """Move to the chain of the local address, which connect(2) or a disconnect has changed."""
    table = udp_table(sk.sk_net, sk.sk_protocol)
    new = table.portaddr_hash(sk, sk.sk_num)
    if sk.sk_head is None:
        return
    if sk.sk_reuseport_cb is not None:
        reuseport_detach_sock(sk)
    if table.slot2(new) is not sk.udp_slot2:
        _leave2(sk)
        _enter2(sk, table.slot2(new), False)
    sk.udp_portaddr_hash = new


def _enter2(sk: UdpPortSock, slot: UdpHslot2, at_tail: bool) -> None:
    sk.udp_slot2 = slot
    last = slot.first
    if last is None or not at_tail:
        sk.udp_prev2 = None
        sk.udp_next2 = last
        if last is not None:
            last.udp_prev2 = sk
        slot.first = sk
        return
    while last.udp_next2 is not None:
        last = last.udp_next2
    last.udp_next2 = sk
    sk.udp_prev2 = last
    sk.udp_next2 = None


def _leave2(sk: UdpPortSock) -> None:
    slot, after, before = sk.udp_slot2, sk.udp_next2, sk.udp_prev2
    if slot is None:
        return
    if before is None:
        slot.first = after
    else:
        before.udp_next2 = after
    if after is not None:
        after.udp_prev2 = before
    sk.udp_slot2 = None
    sk.udp_next2 = None
    sk.udp_prev2 = None


def _grow(table: UdpTable) -> None:
    """Double both tables; chains keep their order."""
    old, old2 = table.hash, table.hash2
    table.hash = [HlistHead() for _ in range(len(old) * 2)]
    table.hash2 = [UdpHslot2() for _ in range(len(old2) * 2)]
    for head in old:
        members: list[SockCommon] = []
        sk = head.first
        while sk is not None:
            members.append(sk)
            sk = sk.sk_next
        for member in reversed(members):
            sk_add_node(member, table.slot(member.sk_num))
    for slot in old2:
        members2: list[UdpPortSock] = []
        sk2 = slot.first
        while sk2 is not None:
            members2.append(sk2)
            sk2 = sk2.udp_next2
        for member2 in reversed(members2):
            _enter2(member2, table.slot2(member2.udp_portaddr_hash), False)
