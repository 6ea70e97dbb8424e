"""Gather what is known about every listener: queue, limit, drops, half-open connections, who holds it.

How long a connection has waited for accept() is the time since it last sent data: a socket without a program has never
sent any, so that clock still runs from its creation.
"""

from __future__ import annotations

from twinsock.inspect.counters import tcp_ext
from twinsock.inspect.findings import Listener, ListenSpace
from twinsock.inspect.process_facts import ProcessBook
from twinsock.inspect.sockets import inet_sockets, visible_sockets
from twinsock.inspect.sysctl import read_number
from twinsock.inspect.tcp_info import parse_tcp_info
from twinsock.inspect.unix import SHOW_ADDRESS, unix_sockets
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import INET_DIAG_BC_S_EQ, INET_DIAG_INFO, INET_DIAG_SKMEMINFO
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV
from twinsock.uapi.unix_diag import UDIAG_SHOW_ICONS, UDIAG_SHOW_RQLEN, UDIAG_SHOW_UID
from twinsock.wire.inet_diag import bc_or, bc_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.inspect.gather import Files
    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.port import KernelPort, Namespace
    from twinsock.inspect.records import SocketRecord

_DROPS = 8  # SK_MEMINFO_DROPS
_PORTS_IN_A_FILTER = 16
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_NEW_SYN_RECV = 12


def listen_spaces(
    port: KernelPort, namespaces: Sequence[Namespace], notes: list[str], tcp: bool = True, unix: bool = True
) -> list[ListenSpace]:
    """Look at the listeners of each namespace; what cannot be read becomes a note. Raises OSError."""
    spaces: list[ListenSpace] = []
    for namespace in namespaces:
        space = ListenSpace(namespace.inode, namespace.label(), namespace.own)
        netns = 0 if namespace.own else namespace.inode
        space.time_ns = port.now_ns()
        try:
            if tcp:
                _add_tcp(port, space, netns, notes)
            if unix:
                _add_unix(port, space, netns, notes)
        except (PermissionError, ProcessLookupError) as error:
            _note(notes, f"{space.label}: {error.strerror}")
            continue
        spaces.append(space)
    return spaces


def _note(notes: list[str], sentence: str) -> None:
    if sentence not in notes:
        notes.append(sentence)


def _add_tcp(port: KernelPort, space: ListenSpace, netns: int, notes: list[str]) -> None:
    """Add the TCP listeners. Raises OSError."""
    try:
        found = inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, 1 << TCP_LISTEN, netns, ext=1 << (INET_DIAG_SKMEMINFO - 1))
    except OSError:
        found = []
        for family in (AF_INET, AF_INET6):
            found += visible_sockets(port, family, IPPROTO_TCP, notes, 1 << TCP_LISTEN, netns)
    if not found:
        return
    listeners = [_tcp_listener(space.netns, record) for record in found]
    space.listeners += listeners
    try:
        space.somaxconn = read_number(port, "net/core/somaxconn", -1, netns)
        space.syncookies = read_number(port, "net/ipv4/tcp_syncookies", -1, netns)
        space.counters = tcp_ext(port, netns)
    except OSError as error:
        _note(notes, f"{space.label}: its settings and counters are hidden: {error.strerror}")
    match = _Match(listeners)
    match.count_members()
    try:
        _count_requests(port, match, netns)
        _find_oldest(port, match, netns)
    except OSError as error:
        _note(notes, f"{space.label}: half-open connections are not counted: {error.strerror}")
    if any(record.ifindex for record in found):
        from twinsock.inspect.links import get_links

        links = get_links(port, netns)
        for listener in listeners:
            if listener.tcp is not None and listener.tcp.ifindex:
                listener.device = links.name(listener.tcp.ifindex)


def _tcp_listener(netns: int, record: SocketRecord) -> Listener:
    listener = Listener(netns, record, None)
    listener.inode, listener.cookie = record.inode, record.cookie
    listener.queue, listener.limit = record.rqueue, record.wqueue
    if record.skmeminfo is not None:
        listener.drops = record.skmeminfo[_DROPS]
    return listener


class _Match:
    """Which listener a connection came to: the one with its address, else the wildcard."""

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners
        self._groups: dict[tuple[int, bytes], list[Listener]] = {}
        for listener in listeners:
            record = listener.tcp
            assert record is not None
            self._groups.setdefault((record.local_port, _address(record.local)), []).append(listener)

    def count_members(self) -> None:
        """Tell each listener how many have its very address, device and family: only SO_REUSEPORT allows several."""
        for group in self._groups.values():
            alike: dict[tuple[int, int], list[Listener]] = {}
            for listener in group:
                assert listener.tcp is not None
                alike.setdefault((listener.tcp.family, listener.tcp.ifindex), []).append(listener)
            for members in alike.values():
                for listener in members:
                    listener.members = len(members)

    def of(self, record: SocketRecord) -> list[Listener]:
        """Find the listeners of a connection's local address."""
        address = _address(record.local)
        for candidate in (address, bytes(len(address)), bytes(16)):
            group = self._groups.get((record.local_port, candidate))
            if group is not None:
                return group
        return []


def _address(address: bytes) -> bytes:
    """Write an IPv4 address in IPv6 clothes as IPv4."""
    return address[12:] if len(address) == 16 and address[:12] == _MAPPED_PREFIX else address


def _count_requests(port: KernelPort, match: _Match, netns: int) -> None:
    """Count the half-open connections of each listener. Raises OSError."""
    states = 1 << TCP_SYN_RECV | 1 << _NEW_SYN_RECV
    for record in inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, states, netns):
        if not record.inode:
            for listener in match.of(record):
                listener.syn_recv += 1


def _find_oldest(port: KernelPort, match: _Match, netns: int) -> None:
    """Find how long the oldest connection in each queue has waited. Raises OSError."""
    ports = {listener.tcp.local_port for listener in match.listeners if listener.tcp is not None and listener.queue > 0}
    if not ports:
        return
    wanted = b""
    if len(ports) <= _PORTS_IN_A_FILTER:
        for number in sorted(ports):
            one = bc_port(INET_DIAG_BC_S_EQ, number)
            wanted = bc_or(wanted, one) if wanted else one
    states = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT
    found = inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, states, netns, bytecode=wanted, ext=1 << (INET_DIAG_INFO - 1))
    for record in found:
        if record.inode or record.local_port not in ports or record.tcp_info is None:
            continue
        age = parse_tcp_info(record.tcp_info).get("last_data_sent", -1)
        for listener in match.of(record):
            if listener.queue > 0:
                listener.oldest_ms = max(listener.oldest_ms, age)


def _add_unix(port: KernelPort, space: ListenSpace, netns: int, notes: list[str]) -> None:
    """Add the UNIX listeners. Raises OSError."""
    show = SHOW_ADDRESS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID | UDIAG_SHOW_ICONS
    for record in unix_sockets(port, 1 << TCP_LISTEN, show, netns, notes):
        if record.state != TCP_LISTEN:
            continue
        listener = Listener(space.netns, None, record)
        listener.inode, listener.cookie = record.inode, record.cookie
        listener.waiting = record.waiting or []
        listener.queue = len(listener.waiting) if record.rqueue is None else record.rqueue
        listener.limit = -1 if record.wqueue is None else record.wqueue
        space.listeners.append(listener)


def add_owners(port: KernelPort, files: Files, spaces: Sequence[ListenSpace], ghosts: bool) -> OwnerTable:
    """Find who holds the listeners; `ghosts`: and what keeps those that no process holds, a long search.

    Those in whose queue somebody waits are searched for in any case.
    """
    everyone = [listener for space in spaces for listener in space.listeners]
    owners = port.owners({listener.inode for listener in everyone if listener.inode})
    book = ProcessBook(port, files, owners)
    alone: list[Listener] = []
    for listener in everyone:
        listener.owners = book.of_inode(listener.inode)
        if not listener.owners and (ghosts or listener.queue > 0):
            alone.append(listener)
    owners.explain_ghosts([listener.inode for listener in alone])
    for listener in alone:
        ghost = owners.ghost(listener.inode)
        if ghost is not None:
            listener.ghost, listener.ghost_kind = ghost.text, ghost.kind
    return owners
