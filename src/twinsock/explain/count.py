"""Every counter of sockstat and sockstat6 in terms of sockets that can be found, and what is left over.

Which counters are global: TCP orphan, alloc and mem, UDP mem. The rest belong to one network namespace. Linux counts
struct socks, not descriptors: a connection in an accept queue counts, a half-open one and a TIME_WAIT one do not.
"""

from __future__ import annotations

from twinsock.inspect.owners import GONE, KERNEL
from twinsock.uapi.in_ import IPPROTO_ICMP, IPPROTO_MPTCP, IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_TIME_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.inspect.findings import CensusKey, CountSnapshot, CountSpace

PAGE = 4096
HERE = "namespace"
GLOBAL = "global"
_ICMPV6 = 58
_QUEUED = (TCP_ESTABLISHED, TCP_CLOSE_WAIT)
_FAMILIES = {"": AF_INET, "6": AF_INET6}
_OWN_TABLES = ("TCP", "UDP", "UDP-Lite", "UDPLITE", "RAW", "PING", "UNIX", "UNIX-STREAM", "PACKET", "NETLINK", "MPTCP")


class Part:
    """Some of a counter's sockets."""

    def __init__(self, count: int, kind: str, text: str) -> None:
        self.count = count
        self.kind = kind  # short name, stable
        self.text = text


class Field:
    """One counter and what it is made of."""

    def __init__(self, name: str, value: int, scope: str) -> None:
        self.name = name  # "TCP inuse"
        self.value = value
        self.scope = scope
        self.parts: list[Part] = []
        self.tolerance = 0  # how far off the counter itself may be
        self.moving = 0  # by how much it changed while the sockets were counted
        self.explains = True  # False: nothing that can be listed stands behind it

    def add(self, count: int, kind: str, text: str) -> None:
        """Add a part, unless it is empty."""
        if count:
            self.parts.append(Part(count, kind, text))

    def unaccounted(self) -> int:
        """Give what is left over; negative: more was found than was counted."""
        if not self.explains:
            return 0
        rest = self.value - sum([part.count for part in self.parts])
        return 0 if abs(rest) <= self.tolerance else rest


class TcpCount:
    """The TCP sockets of one namespace and of one family, or both."""

    def __init__(self, space: CountSpace, families: tuple[int, ...]) -> None:
        census = space.census

        def count(wanted: Callable[[CensusKey], bool]) -> int:
            return census.count(IPPROTO_TCP, lambda key: key[1] in families and wanted(key))

        self.time_wait = count(lambda key: key[3] and key[2] == TCP_TIME_WAIT)
        self.fin_wait = count(lambda key: key[3] and key[2] != TCP_TIME_WAIT)
        self.requests = count(lambda key: key[2] == TCP_SYN_RECV and not key[4])
        self.listening = count(lambda key: key[2] == TCP_LISTEN)
        self.bound = count(lambda key: key[2] == TCP_CLOSE)
        self.connected = count(lambda key: key[4] and key[2] not in (TCP_LISTEN, TCP_CLOSE) and not key[3])
        self.queued = count(lambda key: not key[4] and key[2] in _QUEUED)
        self.orphans = count(lambda key: not key[4] and not key[3] and key[2] not in (*_QUEUED, TCP_LISTEN, TCP_CLOSE, TCP_SYN_RECV))
        lost = [one for one in space.unlisted if one.protocol == IPPROTO_TCP and one.family in families]
        self.unbound = len([one for one in lost if not one.local_port])
        self.dead = len(lost) - self.unbound
        self.queued_dead = max(census.waiting - self.queued, 0) if len(families) > 1 else 0

    def in_table(self, field: Field) -> None:
        """Add the parts of `inuse`."""
        field.add(self.listening, "listening", "listening")
        field.add(self.connected, "connected", "connected or connecting, with a descriptor")
        field.add(self.queued, "accept-queue", "in accept queues: no program has them yet")
        field.add(self.orphans, "orphan", "orphans: closed, the kernel finishes the connection")

    def outside(self, field: Field) -> None:
        """Add the parts that `alloc` and `used` have more."""
        field.add(self.bound, "bound", "bound only: bind() without listen() or connect()")
        field.add(self.unbound, "unbound", "never bound: socket() and no more")
        field.add(self.dead, "dead", "dead: reset, refused or shut down, descriptor still open")
        field.add(self.queued_dead, "accept-queue-dead", "in accept queues, reset by the other side")


BOTH = (AF_INET, AF_INET6)


def count_fields(snapshot: CountSnapshot, space: CountSpace) -> list[Field]:
    """Explain the counters of one namespace."""
    fields: list[Field] = []
    both = TcpCount(space, BOTH)
    for title, values in space.after.items():
        for name, value in values.items():
            if (title == "TCP" and name in ("orphan", "alloc", "mem")) or (title, name) == ("UDP", "mem"):
                continue  # global
            field = Field(f"{title} {name}", value, HERE)
            field.moving = value - space.before.get(title, {}).get(name, 0)
            if title == "sockets":
                _used(field, space, both)
            elif title in ("TCP", "TCP6") and name == "inuse":
                TcpCount(space, (_FAMILIES[title[3:]],)).in_table(field)
            elif title == "TCP" and name == "tw":
                field.add(both.time_wait, "time-wait", "TIME_WAIT, of IPv4 and IPv6 together")
                field.add(both.fin_wait, "fin-wait-2", "FIN_WAIT2 of closed sockets: small sockets as in TIME_WAIT")
            elif title.startswith("FRAG"):
                field.explains = False
                what = "datagrams that wait for their other fragments" if name == "inuse" else "bytes held for them"
                field.parts = [Part(value, "fragments", what)] if value else []
            else:
                _datagram(field, space, title)
            fields.append(field)
    return fields


def _datagram(field: Field, space: CountSpace, title: str) -> None:
    """Explain UDP, UDPLITE and RAW."""
    family = AF_INET6 if title.endswith("6") else AF_INET
    name = title.removesuffix("6")
    protocol = {"UDP": IPPROTO_UDP, "UDPLITE": IPPROTO_UDPLITE, "RAW": IPPROTO_RAW}.get(name)
    if protocol is None:
        field.explains = False
        return
    found = space.census.count(protocol, lambda key: key[1] == family)
    text = "raw sockets" if protocol == IPPROTO_RAW else "with a port"
    field.add(found, "raw" if protocol == IPPROTO_RAW else "with-port", text)


def _used(field: Field, space: CountSpace, tcp: TcpCount) -> None:
    """Explain `sockets: used`."""
    census = space.census
    for part, kind, text in (
        (tcp.listening, "tcp-listening", "TCP listening"),
        (tcp.connected, "tcp-connected", "TCP connected or connecting, with a descriptor"),
        (tcp.queued, "tcp-accept-queue", "TCP in accept queues: no program has them yet"),
        (tcp.queued_dead, "tcp-accept-queue-dead", "TCP in accept queues, reset by the other side"),
        (tcp.orphans, "tcp-orphan", "TCP orphans: closed, the kernel finishes the connection"),
        (tcp.bound, "tcp-bound", "TCP bound only: bind() without listen() or connect()"),
        (tcp.unbound, "tcp-unbound", "TCP never bound: socket() and no more"),
        (tcp.dead, "tcp-dead", "TCP dead: reset, refused or shut down, descriptor still open"),
    ):
        field.add(part, kind, text)
    for protocol, kind, name in ((IPPROTO_UDP, "udp", "UDP"), (IPPROTO_UDPLITE, "udplite", "UDP-Lite")):
        field.add(census.count(protocol) - _kernels(space, protocol), kind, f"{name} with a port")
        field.add(_unlisted(space, protocol), kind + "-unbound", f"{name} without port")
    field.add(census.count(IPPROTO_RAW), "raw", "RAW")
    pings = (IPPROTO_ICMP, _ICMPV6)
    field.add(sum([census.count(protocol) for protocol in pings]), "ping", "ping sockets")
    field.add(sum([_unlisted(space, protocol) for protocol in pings]), "ping-unbound", "ping sockets without id")
    mptcp = space.protocols.get("MPTCP", 0) + space.protocols.get("MPTCPv6", 0)
    field.add(mptcp, "mptcp", "MPTCP, above the TCP sockets that they use")
    field.add(space.bound_mptcp, "mptcp-bound", "MPTCP, bound only")
    field.add(_unlisted(space, IPPROTO_MPTCP), "mptcp-unbound", "MPTCP never bound, or dead")
    streams = sum([count for key, count in census.unix.items() if key[0] == SOCK_STREAM])
    field.add(streams, "unix-stream", "UNIX stream")
    field.add(sum(census.unix.values()) - streams, "unix-other", "UNIX datagram and seqpacket")
    field.add(census.packet, "packet", "packet")
    field.add(census.netlink - space.askers, "netlink", "netlink with a port id")
    field.add(space.askers, "self", "netlink of this command, which asks")
    lost = [one for one in space.unlisted if one.family not in (AF_INET, AF_INET6, AF_UNIX, AF_PACKET)]
    netlink = len([one for one in lost if one.family == AF_NETLINK])
    field.add(netlink, "netlink-unbound", "netlink without port id")
    for name, count in space.protocols.items():
        if not name.startswith(_OWN_TABLES):
            field.add(count, name.lower(), f"{name} (by /proc/net/protocols: no table lists them)")


def _kernels(space: CountSpace, protocol: int) -> int:
    """Count the kernel's own sockets (tunnels, nfsd), which belong to no `used`."""
    return len([1 for inode, kind in space.ghosts.items() if kind == KERNEL and space.census.inodes.get(inode) == protocol])


def _unlisted(space: CountSpace, protocol: int) -> int:
    return len([1 for one in space.unlisted if one.protocol == protocol and one.family in BOTH])


def ghosts_of(space: CountSpace) -> dict[str, int]:
    """Count the sockets that are in a table and in no descriptor table, by kind."""
    kinds: dict[str, int] = {}
    for kind in space.ghosts.values():
        if kind != GONE:
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def global_fields(snapshot: CountSnapshot) -> list[Field]:
    """Explain the counters that are the same in every namespace; the caller's own is the last one read."""
    spaces = snapshot.spaces
    if not spaces:
        return []
    values = spaces[-1].after
    before = spaces[0].before
    orphan = Field("TCP orphan", values.get("TCP", {}).get("orphan", 0), GLOBAL)
    alloc = Field("TCP alloc", values.get("TCP", {}).get("alloc", 0), GLOBAL)
    for space in spaces:
        tcp = TcpCount(space, BOTH)
        where = f" in {space.label}"
        orphan.add(tcp.orphans, "orphan", "closed, the kernel finishes the connection" + where)
        alloc.add(tcp.listening + tcp.connected, "in-use", "listening or connected, with a descriptor" + where)
        alloc.add(tcp.queued + tcp.queued_dead, "accept-queue", "in accept queues" + where)
        alloc.add(tcp.orphans, "orphan", "orphans" + where)
        alloc.add(tcp.bound, "bound", "bound only" + where)
        alloc.add(tcp.unbound, "unbound", "never bound" + where)
        alloc.add(tcp.dead, "dead", "dead, descriptor still open" + where)
    fields = [orphan, alloc, _memory(snapshot, "TCP", IPPROTO_TCP), _memory(snapshot, "UDP", IPPROTO_UDP)]
    for field in fields:
        title, _, name = field.name.partition(" ")
        field.moving = field.value - before.get(title, {}).get(name, 0)
    return fields


def _memory(snapshot: CountSnapshot, title: str, protocol: int) -> Field:
    """Explain a memory counter: pages, of which each CPU may hold back some."""
    field = Field(f"{title} mem", snapshot.spaces[-1].after.get(title, {}).get("mem", 0), GLOBAL)
    charged = sum([space.census.memory[protocol] for space in snapshot.spaces])
    field.tolerance = snapshot.reserve_pages
    field.add(-(-charged // PAGE), "charged", f"pages that sockets are charged for; the counter may be off by {field.tolerance}")
    return field


def may_linger(fields: list[Field]) -> bool:
    """Tell whether a socket that was just closed may still be counted, so that a later look explains more.

    Measured on 6.18: of all families only netlink sockets leave `used` after an RCU grace period, by 16 ms in the middle
    and some 100 ms under load; they leave every table and /proc/net/protocols at once.
    """
    return any(field.name == "sockets used" and field.unaccounted() > 0 for field in fields)


def hints(snapshot: CountSnapshot, field: Field) -> list[str]:
    """Say what the rest of a counter may be."""
    rest = field.unaccounted()
    found: list[str] = []
    if not rest:
        return found
    if field.moving:
        found.append(f"it changed by {field.moving:+d} while the sockets were counted")
    if snapshot.hidden_processes and rest > 0 and field.name in ("sockets used", "TCP alloc"):
        found.append(
            f"{snapshot.hidden_processes} processes hide their descriptors (needs CAP_SYS_PTRACE): sockets without a port are theirs"
        )
    if snapshot.hidden_spaces and field.scope == GLOBAL and rest > 0:
        found.append(f"{snapshot.hidden_spaces} namespaces cannot be entered (needs CAP_SYS_ADMIN)")
    if snapshot.homeless and field.scope == GLOBAL and rest > 0:
        found.append(f"{snapshot.homeless} sockets belong to namespaces that no process or name holds: try --deep")
    if not found and rest > 0 and field.name == "TCP orphan":
        found.append("orphans keep a namespace that has lost its processes, and nothing leads there")
    elif not found and rest > 0 and field.name == "TCP alloc" and rest == _orphans_left(snapshot):
        found.append("as many as the orphans that are left over")
    elif not found and rest > 0 and field.name in ("sockets used", "TCP alloc"):
        lingering = ", or netlink sockets that were just closed" if field.name == "sockets used" else ""
        found.append("sockets without port in unread SCM_RIGHTS messages or io_urings, or in use by a system call right now" + lingering)
    return found


def _orphans_left(snapshot: CountSnapshot) -> int:
    """Count the orphans that no namespace lists."""
    return snapshot.spaces[-1].after.get("TCP", {}).get("orphan", 0) - sum([TcpCount(space, BOTH).orphans for space in snapshot.spaces])


def exit_code(fields: list[Field], hidden: bool) -> int:
    """0 all is explained, 1 something is left over, 3 something is left over and something is hidden."""
    if not any(field.unaccounted() for field in fields):
        return 0
    return 3 if hidden else 1
