"""Gather who uses the ports of a namespace's automatic range: every TCP and UDP socket whose local port lies in it.

A busy client has a hundred thousand connections. They are counted by columns, and of those that are alike to every
question asked later one for each port becomes a record: a wildcard bind() meets them all alike, connect() asks who made
the port's owners, and single connections only matter to their own destination.
"""

from __future__ import annotations

from twinsock.inspect.facts import FLAGS_UNKNOWN, MAPPED_PREFIX, Question, Snapshot, TaskRecord
from twinsock.inspect.findings import DestinationUse, RangeFacts
from twinsock.inspect.gather_connect import find_way
from twinsock.inspect.sysctl import bind_sysctls
from twinsock.inspect.table import Group, SocketTable, socket_table
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN
from twinsock.wire.inet_diag import bc_and, bc_autobound, bc_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinsock.inspect.findings import Key
    from twinsock.inspect.port import KernelPort

_ALL = 0xFFFFFFFF
_FAMILIES = (AF_INET, AF_INET6)
_TIMER_TIME_WAIT = 3


def take_range(port: KernelPort, netns: int, protocol: int, top: int, to: Question | None = None) -> RangeFacts:
    """Read the sockets of the range, and the way to a destination if one is asked about. Raises OSError and NotAvailable.

    Every connection to the `top` most used destinations, and to the one asked about, is kept, most as their bytes.
    """
    question = Question() if to is None else to.copy()
    question.protocol = protocol
    question.connect = True
    question.netns = netns
    snapshot = Snapshot(question, TaskRecord(0))
    snapshot.netns = netns
    snapshot.now_ns = port.now_ns()
    snapshot.sysctls = bind_sysctls(port, netns)
    low, high = snapshot.sysctls.port_range
    here = bc_and(bc_port(INET_DIAG_BC_S_GE, low), bc_port(INET_DIAG_BC_S_LE, high))
    table = socket_table(port, _FAMILIES, (protocol,), _ALL, (netns,), 0, here)
    facts = RangeFacts(snapshot)
    facts.used_ports = len(set(table.column("local_port")))
    automatic: set[int] = set()
    asked: set[Key] = set()
    if protocol == IPPROTO_TCP:
        automatic = _automatic(port, netns, bc_and(here, bc_autobound()))
        _count(facts, table, automatic)
        asked = {(one.source, one.address, one.port) for one in facts.destinations[:top]}
        if to is not None:
            snapshot.way = find_way(port, snapshot)
            asked.add((snapshot.way.source, snapshot.way.address, to.port))
    _keep(facts, table, automatic, asked)
    return facts


def _automatic(port: KernelPort, netns: int, bytecode: bytes) -> set[int]:
    """Give the cookies of the connections whose port the kernel chose."""
    found: set[int] = set()
    for family in _FAMILIES:
        for group in socket_table(port, (family,), (IPPROTO_TCP,), _ALL, (netns,), 0, bytecode).groups:
            found.update([cookie for *_rest, cookie in _rows(group)])
    return found


def _rows(group: Group) -> Iterator[tuple[int, int, int, Key, int, int, int]]:
    """Give family, state, timer, (source, destination, its port), local port, interface and cookie of each row."""
    local_ports = group.column("local_port")
    remote_ports = group.column("remote_port")
    for row, local_port, remote_port in zip(group.fields(), local_ports, remote_ports, strict=True):
        family, state, timer, _retransmits, local, remote, ifindex, cookie, *_rest = row
        if family == AF_INET:
            local, remote = local[:4], remote[:4]
        elif remote[:12] == MAPPED_PREFIX:
            local, remote = local[12:], remote[12:]
        yield family, state, timer, (local, remote, remote_port), local_port, ifindex, cookie


def _count(facts: RangeFacts, table: SocketTable, automatic: set[int]) -> None:
    """Sort the ports by who owns them, the strictest owner decides, and count connections by destination."""
    listening: set[int] = set()
    bound: set[int] = set()
    others: set[int] = set()
    for group in table.groups:
        for number, state in zip(group.column("local_port"), group.column("state"), strict=True):
            if state == TCP_LISTEN:
                listening.add(number)
            elif state == TCP_CLOSE:
                bound.add(number)
    facts.owned = listening | bound
    made: set[int] = set()
    uses: dict[Key, DestinationUse] = {}
    for group in table.groups:
        for _family, state, timer, key, number, _ifindex, cookie in _rows(group):
            if state in (TCP_LISTEN, TCP_CLOSE):
                continue
            if cookie not in automatic or number in facts.owned:
                others.add(number)
                continue
            made.add(number)
            use = uses.get(key)
            if use is None:
                use = uses[key] = DestinationUse(*key)
            use.used += 1
            use.time_wait += timer == _TIMER_TIME_WAIT
    facts.listening = len(listening)
    facts.bound = len(bound - listening)
    facts.server_side = len(others - facts.owned)
    facts.connected = len(made - others - facts.owned)
    facts.destinations = sorted(uses.values(), key=lambda one: (-one.used, one.address, one.port))


def _keep(facts: RangeFacts, table: SocketTable, automatic: set[int], asked: set[Key]) -> None:
    """Make records of the sockets that matter; of alike connections to a destination that is asked about keep the bytes."""
    snapshot = facts.snapshot
    seen: set[tuple[int, int, int, bool]] = set()
    for group in table.groups:
        stride = group.stride
        more: dict[Key, Group] = {}
        for row, (family, state, _timer, key, number, ifindex, cookie) in enumerate(_rows(group)):
            made = cookie in automatic and number not in facts.owned
            alike = (number, ifindex, family, made)
            # IPv6 sockets that are bound may be for IPv6 only: each is kept.
            if alike in seen and not (family == AF_INET6 and state in (TCP_LISTEN, TCP_CLOSE)):
                if key in asked:
                    kept = more.get(key)
                    if kept is None:
                        kept = more[key] = Group(group.netns, group.protocol, stride)
                    kept.data += group.data[row * stride : (row + 1) * stride]
                continue
            seen.add(alike)
            if made:
                snapshot.connect_made.add(len(snapshot.sockets))
            snapshot.sockets.append(group.record(row))
            snapshot.counts.append(1)
            snapshot.flags.append(FLAGS_UNKNOWN)
        for key, kept in more.items():
            facts.others.setdefault(key, []).append(kept)
