"""SO_REUSEADDR and SO_REUSEPORT of other people's sockets, which no diag message and no /proc file shows.

The tcp and udp iterators show them for every socket with a place in a hash table, TIME_WAIT too; the task_file iterator
for those that are only bound; both need CAP_BPF and CAP_PERFMON. Otherwise a copy of the descriptor is asked with
getsockopt(2), which takes ptrace access to the owner; TIME_WAIT has no descriptor and stays unknown.
"""

from __future__ import annotations

from _socket import IPPROTO_TCP, IPPROTO_UDP

from twinsock.host.bpf import permitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol, TypeVar

    from twinsock.inspect.owners import OwnerTable

    T = TypeVar("T")

    class AnySocket(Protocol):
        """What is needed of a socket's record."""

        family: int
        protocol: int
        state: int
        local: bytes
        local_port: int
        remote: bytes
        remote_port: int
        inode: int
        cookie: int


UNKNOWN = -1
REUSE_BITS = 3
_ALL_BITS = 7  # with IPV6_V6ONLY
_PORT_FILTER_MAX = 64
_COPIES_MAX = 64
_ITERATORS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp"}


def reuse_flags(netns: int, sockets: Sequence[AnySocket], owners: OwnerTable | None = None, v6only: bool = False) -> list[int]:
    """Give REUSEADDR=1 | REUSEPORT=2 for each socket of a network namespace (its inode, 0: ours), -1 where unknown.

    With `v6only` also IPV6_V6ONLY=4, which diag messages tell of listeners and bound sockets alone.

    Never raises for want of permission. A socket is recognised by its cookie, else by inode, else by its addresses.
    For a few sockets whose `owners` are known, copies are cheaper than a walk over the kernel's tables.
    """
    flags = [UNKNOWN] * len(sockets)
    if owners is not None and len(sockets) <= _COPIES_MAX:
        _ask_copies(sockets, flags, owners)
    if UNKNOWN in flags and permitted():
        _fill_from_hash_tables(netns, sockets, flags)
        _fill_from_descriptors(sockets, flags)
    _fill_from_copies(sockets, flags)
    return flags if v6only else [bits & REUSE_BITS if bits >= 0 else UNKNOWN for bits in flags]


def _fill_from_hash_tables(netns: int, sockets: Sequence[AnySocket], flags: list[int]) -> None:
    """Ask the tcp and udp iterators inside the namespace."""
    from functools import partial

    from twinsock.host.bpf_iter import reuse_by_cookie

    for protocol, name in _ITERATORS.items():
        rows = [row for row, socket in enumerate(sockets) if socket.protocol == protocol]
        if not rows:
            continue
        ports = {sockets[row].local_port for row in rows}
        narrow = ports if len(ports) <= _PORT_FILTER_MAX else set[int]()
        try:
            by_cookie = _inside(netns, partial(reuse_by_cookie, name, narrow))
        except OSError:
            continue
        for row in rows:
            cookie = sockets[row].cookie
            if cookie and cookie in by_cookie:
                flags[row] = by_cookie[cookie] & _ALL_BITS
        rest = [row for row in rows if not sockets[row].cookie]
        if rest:
            _fill_by_address(netns, name, sockets, rest, flags)


def _fill_by_address(netns: int, name: str, sockets: Sequence[AnySocket], rows: list[int], flags: list[int]) -> None:
    """Recognise sockets without cookie by addresses, ports and state; two that look alike with unequal flags stay unknown."""
    from twinsock.host.bpf_iter import sockets_of_namespace

    ports = {sockets[row].local_port for row in rows}
    try:
        facts = _inside(netns, lambda: sockets_of_namespace(name, ports if len(ports) <= _PORT_FILTER_MAX else ()))
    except OSError:
        return
    seen: dict[tuple[bytes, int, bytes, int, int], int] = {}
    for fact in facts:
        key = (fact.address, fact.port, fact.peer, fact.peer_port, fact.state)
        bits = fact.flags & _ALL_BITS
        seen[key] = bits if seen.get(key, bits) == bits else UNKNOWN
    for row in rows:
        wanted = sockets[row]
        key = (wanted.local, wanted.local_port, wanted.remote, wanted.remote_port, wanted.state)
        flags[row] = seen.get(key, UNKNOWN)


def _fill_from_descriptors(sockets: Sequence[AnySocket], flags: list[int]) -> None:
    """Ask the task_file iterator about sockets that have a file."""
    from twinsock.host.bpf_iter import sockets_of_tasks
    from twinsock.host.processes import HostProcesses
    from twinsock.inspect.owners import OwnerTable

    rows = [row for row, socket in enumerate(sockets) if flags[row] < 0 and socket.inode]
    if not rows:
        return
    table = OwnerTable(HostProcesses(), "bpf")
    try:
        sockets_of_tasks(table, {sockets[row].inode for row in rows})
    except OSError:
        return
    for row in rows:
        bits = table.reuse_of(sockets[row].inode)
        flags[row] = bits & _ALL_BITS if bits >= 0 else UNKNOWN


def _fill_from_copies(sockets: Sequence[AnySocket], flags: list[int]) -> None:
    """Copy the descriptors that can be copied and ask getsockopt(2)."""
    rows = [row for row, socket in enumerate(sockets) if flags[row] < 0 and socket.inode]
    if not rows:
        return
    from twinsock.host.owners import find_owners

    _ask_copies(sockets, flags, find_owners({sockets[row].inode for row in rows}, method="proc", complete=False))


def _ask_copies(sockets: Sequence[AnySocket], flags: list[int], table: OwnerTable) -> None:
    """Fill in what copies of the descriptors in a table tell."""
    from twinsock.host.pidfd import reuse_bits_of_copies

    rows = [row for row, socket in enumerate(sockets) if flags[row] < 0 and socket.inode]
    holders = [(sockets[row].inode, table.pid_fds(sockets[row].inode)[:1]) for row in rows]
    bits = reuse_bits_of_copies([(pid, fd, inode) for inode, found in holders for pid, fd in found])
    for row in rows:
        known = bits.get(sockets[row].inode, UNKNOWN)
        flags[row] = known & _ALL_BITS if known >= 0 else UNKNOWN


def _inside(netns: int, function: Callable[[], T]) -> T:
    """Run a function in the namespace with this inode, in ours if it is 0. Raises OSError."""
    if not netns:
        return function()
    import os

    from twinsock.host.namespaces import find_namespaces, in_namespace, own_inode

    if netns == own_inode():
        return function()
    for deep in (False, True):
        for namespace in find_namespaces(deep):
            if namespace.inode == netns:
                fd = namespace.open()
                try:
                    return in_namespace(fd, function)
                finally:
                    os.close(fd)
    raise OSError(2, f"no network namespace {netns} can be found")
