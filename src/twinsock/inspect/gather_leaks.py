"""Gather what a program may have forgotten to close, process by process.

* CLOSE_WAIT: the other side has closed, this one has not. Since when: no ACK has come since the one with the FIN.
* Dead sockets (reset, refused) and sockets that were never bound are in no table: a copy of the descriptor tells.
* Listeners that several programs hold: a child has inherited the descriptor.
"""

from __future__ import annotations

from twinsock.inspect.census import take_census
from twinsock.inspect.findings import InheritedListener, LeakProcess, LeakSnapshot, WaitingClose
from twinsock.inspect.process_facts import ProcessBook
from twinsock.inspect.sockets import inet_sockets
from twinsock.inspect.tcp_info import parse_tcp_info
from twinsock.inspect.unix import format_name, unix_sockets
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import INET_DIAG_INFO
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE_WAIT, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.inspect.gather import Files
    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.port import KernelPort, Namespace
    from twinsock.inspect.records import SocketRecord

_INIT = 1


def take_leaks(port: KernelPort, files: Files, namespaces: Sequence[Namespace], notes: list[str], only_pid: int = 0) -> LeakSnapshot:
    """Look at every process that holds sockets, or at one. Raises OSError."""
    snapshot = LeakSnapshot(port.now_ns())
    closing: list[SocketRecord] = []
    listening: dict[int, SocketRecord | str] = {}
    listed: set[int] = set()
    for namespace in namespaces:
        netns = 0 if namespace.own else namespace.inode
        try:
            closing += inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, 1 << TCP_CLOSE_WAIT, netns, ext=1 << (INET_DIAG_INFO - 1))
            for record in inet_sockets(port, AF_UNSPEC, IPPROTO_TCP, 1 << TCP_LISTEN, netns):
                listening[record.inode] = record
            for unix in unix_sockets(port, 1 << TCP_LISTEN, netns=netns):
                if unix.state == TCP_LISTEN:
                    listening[unix.inode] = format_name(unix.name)
            listed.update(take_census(port, netns).inodes)
        except PermissionError as error:
            notes.append(f"{namespace.label()}: {error.strerror}")
            snapshot.hidden = True
        except ProcessLookupError:
            continue
    owners = port.owners(None)
    snapshot.hidden_processes = owners.hidden
    book = ProcessBook(port, files, owners)
    _add_closing(snapshot, closing, owners, book, only_pid)
    _add_unlisted(snapshot, listed, owners, book, only_pid)
    _add_inherited(snapshot, listening, owners, book, only_pid)
    _add_everybody(snapshot, owners, book, only_pid)
    return snapshot


def _process(snapshot: LeakSnapshot, book: ProcessBook, pid: int) -> LeakProcess:
    found = snapshot.processes.get(pid)
    if found is None:
        found = snapshot.processes[pid] = LeakProcess(book.get(pid))
    return found


def _add_closing(snapshot: LeakSnapshot, closing: list[SocketRecord], owners: OwnerTable, book: ProcessBook, only_pid: int) -> None:
    for record in closing:
        if not record.inode:
            continue  # waits to be accepted
        info = parse_tcp_info(record.tcp_info or b"")
        age = info.get("last_ack_recv", -1)
        for pid, fd in owners.pid_fds(record.inode):
            if not only_pid or pid == only_pid:
                _process(snapshot, book, pid).closing.append(WaitingClose(record, fd, age))
                break


def _add_unlisted(snapshot: LeakSnapshot, listed: set[int], owners: OwnerTable, book: ProcessBook, only_pid: int) -> None:
    """Add sockets that no table lists; those of namespaces that could not be read are not told from them by TCP alone."""
    alone = [inode for inode in owners.first if inode not in listed]
    for socket in owners.unlisted(alone).values():
        if socket.family not in (AF_INET, AF_INET6):
            continue
        for pid, _fd in owners.pid_fds(socket.inode):
            if not only_pid or pid == only_pid:
                process = _process(snapshot, book, pid)
                if not socket.local_port:
                    process.unbound[socket.inode] = socket.fd
                elif socket.protocol == IPPROTO_TCP and socket.is_closed:
                    process.dead[socket.inode] = socket.fd
                break


def _add_inherited(
    snapshot: LeakSnapshot, listening: dict[int, SocketRecord | str], owners: OwnerTable, book: ProcessBook, only_pid: int
) -> None:
    """Find listeners that processes of several programs hold; what pid 1 hands out is meant so."""
    for inode, what in listening.items():
        if len(owners.pid_fds(inode)) < 2:
            continue
        holders = owners.owners_of(inode)
        if len({holder.exe for holder in holders}) < 2 or any(holder.pid == _INIT for holder in holders):
            continue
        first = min(holders, key=lambda holder: (holder.start_ns, holder.pid))
        seen = {first.pid}
        for holder in holders:
            if holder.exe == first.exe or holder.pid in seen or (only_pid and holder.pid != only_pid):
                continue
            seen.add(holder.pid)
            found = InheritedListener(what, holder.fd, first.pid, first.comm)
            _process(snapshot, book, holder.pid).inherited.append(found)


def _add_everybody(snapshot: LeakSnapshot, owners: OwnerTable, book: ProcessBook, only_pid: int) -> None:
    """Add the processes that hold sockets, for the use of their descriptors."""
    if only_pid:
        _process(snapshot, book, only_pid)
        return
    pids = {packed >> 32 & 0x3FFFFFFF for packed in owners.first.values()}
    for several in owners.more.values():
        pids.update([packed >> 32 & 0x3FFFFFFF for packed in several])
    for tid in sorted(pids):
        if tid not in snapshot.processes:
            _process(snapshot, book, owners.source.thread_group(tid))
