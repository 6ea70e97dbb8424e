"""How many ports of the automatic range are left: for connect(2) to one destination, for bind(2) with port 0, for UDP.

The sockets of the range are loaded into the twin, and each port is put to the twin's own rules: connect(2) shares a port
between destinations as long as connect(2) made all its owners, and may take a TIME_WAIT; bind(2) shares with nobody.
Which is taken first: connect(2) begins with the parity of the range's lower end, bind(2) with the other one.
"""

from __future__ import annotations

from twinsock.explain.findings import NOTE, WRONG, Finding
from twinsock.explain.twin import AdoptedHost, tcp_sock_of
from twinsock.explain.words import show_endpoint
from twinsock.inspect.facts import FLAGS_UNKNOWN
from twinsock.kernel.net.ipv4.adopt import adopt_established, forget_established, new_tcp_sock, new_udp_sock, set_addresses
from twinsock.kernel.net.ipv4.inet_connection_sock import (
    inet_bhash2_addr_any_conflict,
    inet_csk_bind_conflict,
    inet_is_local_reserved_port,
)
from twinsock.kernel.net.ipv4.inet_hash_connect import connect_may_use_port, inet_check_established
from twinsock.kernel.net.ipv4.inet_hashtables import inet_bind_bucket_find, tcp_hashinfo
from twinsock.kernel.net.ipv4.udp_table import udp_lib_port_in_use, udp_table
from twinsock.uapi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.findings import RangeFacts
    from twinsock.kernel.net.core.sock import SockCommon

LITTLE = 0.1
_MINUTE_NS = 60_000_000_000


class Destination:
    """Connections from one source address to one destination."""

    def __init__(self, source: bytes, address: bytes, port: int) -> None:
        self.source = source
        self.address = address
        self.port = port
        self.used = 0  # ports of the range in use for it, TIME_WAIT too
        self.time_wait = 0
        self.left = -1  # how many connections are still possible; -1: not computed
        self.even_left = 0  # of these, how many ports are even
        self.errno = "EADDRNOTAVAIL"

    def name(self) -> str:
        """Write it as people do."""
        return show_endpoint(self.address, self.port)


class PortUse:
    """The use of the range in one namespace."""

    def __init__(self, facts: RangeFacts) -> None:
        sysctls = facts.snapshot.sysctls
        low, high = sysctls.port_range
        self.low = low
        self.high = high
        self.size = high - low + 1
        self.reserved = len([1 for port in range(low, high + 1) if sysctls.is_reserved(port)])
        self.odd = self.size % 2 == 1 and self.size > 1  # each attempt leaves one port out, which depends on where it starts
        self.listening = facts.listening  # ports by owner, each counted once
        self.bound = facts.bound
        self.server_side = facts.server_side  # of accepted connections, or bound before they connected
        self.connected = facts.connected  # that connect(2) chose; other destinations may have them too
        self.bind_left = 0
        self.bind_even_left = 0
        self.udp_used = 0
        self.udp_left = 0
        self.destinations: list[Destination] = []


class RangeTwin(AdoptedHost):
    """The sockets of the range in a twin, which is asked about every port."""

    def __init__(self, facts: RangeFacts) -> None:
        snapshot = facts.snapshot
        super().__init__(snapshot)
        self.others = facts.others
        self.net = self._net()
        self.net.kernel.clock.now_ns = _MINUTE_NS
        self.net.ipv4.sysctl_tcp_tw_reuse = snapshot.sysctls.tcp_tw_reuse
        self.net.ipv4.sysctl_tcp_tw_reuse_delay = snapshot.sysctls.tcp_tw_reuse_delay_ms
        self._load(self.net, snapshot.question, snapshot.flags, frozenset())
        low, high = snapshot.sysctls.port_range
        # Of three ports the walk starts at the first or second and ends there; of more, each walk leaves another one out.
        self.ports = range(low, high + 1 - (high - low == 2))

    def connect_left(self, source: bytes, address: bytes, port: int) -> list[int]:
        """List the local ports that connect(2) could still take for a destination."""
        family = AF_INET6 if len(address) == 16 else AF_INET
        sk = new_tcp_sock(self.net, family)
        set_addresses(sk, source or bytes(len(address)), address)
        sk.sk_dport = port
        hinfo = tcp_hashinfo(self.net)
        added: list[SockCommon] = []
        for group in self.others.get((source, address, port), ()):
            for row in range(len(group)):
                record = group.record(row)
                other = tcp_sock_of(self.net, record, FLAGS_UNKNOWN)
                adopt_established(other, record.local_port)
                added.append(other)
        found = [one for one in self.ports if connect_may_use_port(sk, hinfo, one) and inet_check_established(sk, one, True)[0]]
        for other in added:
            forget_established(other)
        return found

    def bind_left(self) -> list[int]:
        """List the ports that bind(2) with port 0 on 0.0.0.0 could still take."""
        sk = new_tcp_sock(self.net, AF_INET)
        hinfo = tcp_hashinfo(self.net)
        found = []
        for port in self.ports:
            if inet_is_local_reserved_port(self.net, port):
                continue
            tb = inet_bind_bucket_find(hinfo, port, 0)
            free = tb is None or not (
                inet_bhash2_addr_any_conflict(sk, hinfo, tb, False, False) or inet_csk_bind_conflict(sk, hinfo, tb, False, False)
            )
            if free:
                found.append(port)
        return found

    def udp_left(self) -> list[int]:
        """List the ports that a UDP socket without options could still get for itself."""
        sk = new_udp_sock(self.net, AF_INET)
        table = udp_table(self.net)
        return [port for port in self.ports if not inet_is_local_reserved_port(self.net, port) and not udp_lib_port_in_use(sk, table, port)]


def port_use(tcp: RangeFacts, udp: RangeFacts, top: int, to: Destination | None = None) -> PortUse:
    """Work out the use of the range; `top` destinations, or the one asked about, are computed to the port."""
    use = PortUse(tcp)
    for found in tcp.destinations:
        one = Destination(found.source, found.address, found.port)
        one.used, one.time_wait = found.used, found.time_wait
        if to is None:
            use.destinations.append(one)
        elif (one.source, one.address, one.port) == (to.source, to.address, to.port):
            to.used, to.time_wait = one.used, one.time_wait
    if to is not None:
        use.destinations = [to]
    twin = RangeTwin(tcp)
    use.bind_left, use.bind_even_left = _even(twin.bind_left())
    for one in use.destinations[:top]:
        one.left, one.even_left = _even(twin.connect_left(one.source, one.address, one.port))
    use.destinations[:top] = sorted(use.destinations[:top], key=lambda one: one.left)
    use.udp_left = len(RangeTwin(udp).udp_left())
    use.udp_used = udp.used_ports
    return use


def _even(ports: list[int]) -> tuple[int, int]:
    """Count ports, and the even ones."""
    return len(ports), len([1 for port in ports if port % 2 == 0])


def judge(use: PortUse, to: bool) -> list[Finding]:
    """Say what runs out, the worst first."""
    found: list[Finding] = []
    room = use.size - use.reserved
    for one in use.destinations:
        if one.left < 0 or one.left > room * LITTLE:
            continue
        text = f"{one.left} of {room} ports are left for {one.name()}"
        if one.source and any(one.source):
            text += f" from {show_endpoint(one.source, 0).rsplit(':', 1)[0]}"
        if one.left:
            text += f": then connect() fails with {one.errno}."
        else:
            text += f": connect() fails with {one.errno}."
        finding = Finding(NOTE if one.left else WRONG, "destination-exhausted" if not one.left else "destination-near", text)
        _offer(finding, use, one)
        found.append(finding)
    if use.bind_left <= room * LITTLE and not to:
        verb = "fails" if not use.bind_left else "then fails"
        text = f"{use.bind_left} of {room} ports are left for bind() with port 0: it {verb} with EADDRINUSE."
        finding = Finding(NOTE if use.bind_left else WRONG, "bind-exhausted" if not use.bind_left else "bind-near", text)
        finding.help("IP_BIND_ADDRESS_NO_PORT", "before bind(address, 0) of clients: connect() chooses the port then, and shares it")
        _offer_range(finding, use)
        found.append(finding)
    if use.udp_left <= room * LITTLE and not to:
        text = (
            f"{use.udp_left} of {room} ports are left for UDP: sendto() and connect() of an unbound socket fail with EAGAIN, "
            "bind() with port 0 with EADDRINUSE."
        )
        finding = Finding(NOTE if use.udp_left else WRONG, "udp-exhausted" if not use.udp_left else "udp-near", text)
        _offer_range(finding, use)
        found.append(finding)
    found.sort(key=lambda finding: -finding.level)
    return found


def _offer(finding: Finding, use: PortUse, one: Destination) -> None:
    """Say what gives a destination more ports."""
    if one.time_wait:
        text = f"{one.time_wait} of them are in TIME_WAIT: lets connect() take those that are older than tcp_tw_reuse_delay"
        finding.help("sysctl -w net.ipv4.tcp_tw_reuse=1", text)
    _offer_range(finding, use)
    finding.help("another source address, or another port or address of the server", "each pair has a range of its own")


def _offer_range(finding: Finding, use: PortUse) -> None:
    """Say how to widen the range."""
    if use.size < 50_000:
        finding.help(
            'sysctl -w net.ipv4.ip_local_port_range="10240 65535"', "widens it; reserve the ports of servers in ip_local_reserved_ports"
        )
