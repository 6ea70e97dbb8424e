"""Sockets as records with names: for --json, --csv, --parquet, --sort and --group-by."""

from __future__ import annotations

from struct import Struct

from twinsock.inspect.address import format_address
from twinsock.inspect.port import NotAvailable
from twinsock.inspect.stream import consumed, sockets
from twinsock.uapi.inet_diag import (
    INET_DIAG_BBRINFO,
    INET_DIAG_CGROUP_ID,
    INET_DIAG_CONG,
    INET_DIAG_INFO,
    INET_DIAG_MARK,
    INET_DIAG_SHUTDOWN,
    INET_DIAG_SKMEMINFO,
    INET_DIAG_SKV6ONLY,
    INET_DIAG_TCLASS,
    INET_DIAG_TOS,
)
from twinsock.ui import ss_other, ss_run
from twinsock.ui.ss_inet import PROTOCOLS, sockets_from_proc
from twinsock.ui.ss_sheet import STATE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinsock.inspect.stream import InetSocket
    from twinsock.ui.ss_run import View

    Record = dict[str, object]

COLUMNS = (
    *("netns", "netid", "family", "state", "recv_q", "send_q", "local_address", "local_port", "remote_address", "remote_port"),
    *("interface", "uid", "inode", "cookie", "timer", "expires_ms", "retransmits", "cgroup", "mark", "v6only", "shutdown"),
    *("name", "peer_inode", "protocol", "groups", "users", "command", "pid", "unit", "quality", "ghost", "reuseaddr", "reuseport"),
    *("tos", "tclass", "congestion", "skmem", "tcp_info", "bbr"),
)
"""Every record has all of them; None stands for what does not exist, was not asked for, or cannot be seen."""
_TIMERS = {1: "on", 2: "keepalive", 3: "timewait", 4: "persist"}
_SKMEM_NAMES = ("rmem_alloc", "rcvbuf", "wmem_alloc", "sndbuf", "fwd_alloc", "wmem_queued", "optmem", "backlog", "drops")
_SKMEM = Struct("=9I")
_EMPTY: dict[str, object] = dict.fromkeys(COLUMNS)
_FAMILY_NAMES = {2: "inet", 10: "inet6"}


def records(view: View, netns: int, label: str) -> Iterator[Record]:
    """Give each socket of a namespace as a record, in the order of the plain table. Raises OSError."""
    asked: list[str] = []
    for table in view.options.tables:
        kind = table.partition("_")[0]
        if kind in PROTOCOLS:
            yield from _inet_records(view, table, netns, label)
        elif kind not in asked:
            asked.append(kind)
            try:
                yield from _other_records(view, kind, netns, label)
            except OSError as error:
                ss_run.excuse(view, kind.upper(), error)


def _inet_records(view: View, table: str, netns: int, label: str) -> Iterator[Record]:
    try:
        found = sockets(consumed(ss_run.inet_runs(view, table, netns)), PROTOCOLS[table], netns)
    except OSError as error:
        if not isinstance(error, (NotAvailable, PermissionError, ProcessLookupError)):
            raise
        found = sockets_from_proc(view, table, netns, error)
    for sock in view.prepared(found, netns):
        yield _inet_record(view, table, sock, label)


def _inet_record(view: View, table: str, sock: InetSocket, label: str) -> Record:
    attributes = sock.attributes
    record = _start(label, table, _FAMILY_NAMES.get(sock.family, str(sock.family)), STATE_NAMES[sock.state])
    record["recv_q"], record["send_q"] = sock.rqueue, sock.wqueue
    record["local_address"], record["local_port"] = format_address(sock.local), sock.local_port
    record["remote_address"], record["remote_port"] = format_address(sock.remote), sock.remote_port
    record["interface"] = view.device(sock.ifindex, sock.netns) if sock.ifindex else None
    record["uid"] = sock.uid
    record["timer"] = _TIMERS.get(sock.timer)
    if sock.timer:
        record["expires_ms"], record["retransmits"] = sock.expires_ms, sock.retransmits
    if INET_DIAG_CGROUP_ID in attributes:
        record["cgroup"] = view.cgroup(int.from_bytes(attributes[INET_DIAG_CGROUP_ID], "little"))
    if INET_DIAG_MARK in attributes:
        record["mark"] = int.from_bytes(attributes[INET_DIAG_MARK], "little")
    if INET_DIAG_SKV6ONLY in attributes:
        record["v6only"] = bool(attributes[INET_DIAG_SKV6ONLY][0])
    if INET_DIAG_SHUTDOWN in attributes:
        record["shutdown"] = attributes[INET_DIAG_SHUTDOWN][0]
    for number, name in ((INET_DIAG_TOS, "tos"), (INET_DIAG_TCLASS, "tclass")):
        if number in attributes:
            record[name] = attributes[number][0]
    if INET_DIAG_CONG in attributes:
        record["congestion"] = attributes[INET_DIAG_CONG].rstrip(b"\0").decode("ascii", "replace")
    memory = attributes.get(INET_DIAG_SKMEMINFO, b"")
    if len(memory) >= _SKMEM.size:
        record["skmem"] = _skmem(_SKMEM.unpack_from(memory))
    if INET_DIAG_INFO in attributes and table == "tcp":
        from twinsock.inspect.tcp_info import parse_bbr, parse_tcp_info

        record["tcp_info"] = parse_tcp_info(attributes[INET_DIAG_INFO])
        record["bbr"] = parse_bbr(attributes.get(INET_DIAG_BBRINFO, b"")) or None
    _holders(view, record, sock.inode, sock.cookie)
    if view.options.has("reuse"):
        bits = view.reuse(sock.cookie)
        if bits >= 0:
            record["reuseaddr"], record["reuseport"] = bool(bits & 1), bool(bits & 2)
    return record


def _other_records(view: View, kind: str, netns: int, label: str) -> Iterator[Record]:
    if kind == "unix":
        yield from _unix_records(view, netns, label)
    elif kind == "vsock":
        for vsock in ss_run.vsock_records(view, netns):
            record = _start(label, ss_other.VSOCK_TYPES.get(vsock.type, ("", "?"))[1], "vsock", STATE_NAMES[vsock.state])
            record["local_port"], record["remote_port"] = vsock.local_port, vsock.remote_port
            record["local_address"], record["remote_address"] = str(vsock.local), str(vsock.remote)
            _holders(view, record, vsock.inode, vsock.cookie)
            yield record
    elif not view.options.states >> ss_other.CLOSED & 1:
        return
    elif kind == "packet":
        for packet in ss_run.packet_records(view, netns):
            record = _start(label, ss_other.PACKET_TYPES.get(packet.type, ("", "?"))[1], "packet", STATE_NAMES[ss_other.CLOSED])
            record["protocol"] = packet.num
            record["interface"] = view.device(packet.ifindex, netns) if packet.ifindex else None
            record["uid"] = packet.uid
            record["skmem"] = _skmem(packet.skmeminfo)
            record["recv_q"] = packet.skmeminfo[0] if packet.skmeminfo else None
            _holders(view, record, packet.inode, packet.cookie)
            yield record
    elif kind == "netlink":
        for netlink in ss_run.netlink_records(view, netns):
            record = _start(label, "nl", "netlink", STATE_NAMES[ss_other.CLOSED])
            record["protocol"], record["local_port"] = netlink.protocol, netlink.portid
            record["name"] = ss_other.netlink_name(netlink.protocol)
            record["groups"] = netlink.groups
            record["skmem"] = _skmem(netlink.skmeminfo)
            _holders(view, record, netlink.inode, netlink.cookie)
            yield record
    else:
        for xdp in ss_run.xdp_records(view, netns):
            record = _start(label, "xdp", "xdp", STATE_NAMES[ss_other.CLOSED])
            record["interface"] = view.device(xdp.ifindex, netns) if xdp.ifindex else None
            record["uid"] = xdp.uid
            _holders(view, record, xdp.inode, xdp.cookie)
            yield record


def _unix_records(view: View, netns: int, label: str) -> Iterator[Record]:
    from twinsock.inspect.unix import format_name

    for unix in ss_run.unix_records(view, netns):
        record = _start(label, ss_other.UNIX_TYPES.get(unix.type, ("", "?"))[1], "unix", STATE_NAMES[unix.state])
        record["recv_q"], record["send_q"] = unix.rqueue, unix.wqueue
        record["name"] = format_name(unix.name) if unix.name is not None else None
        record["peer_inode"] = unix.peer or None
        record["uid"] = unix.uid
        record["shutdown"] = unix.shutdown
        record["skmem"] = _skmem(unix.skmeminfo)
        _holders(view, record, unix.inode, unix.cookie)
        yield record


def _start(label: str, netid: str, family: str, state: str) -> Record:
    record = _EMPTY.copy()
    record["netns"] = label or None
    record["netid"], record["family"], record["state"] = netid, family, state
    return record


def _holders(view: View, record: Record, inode: int, cookie: int) -> None:
    """Fill in inode, cookie, and who holds the socket where that was asked."""
    record["inode"], record["cookie"] = inode, cookie
    owners = view.owners
    if owners is None or not inode:
        return
    holders = owners.pid_fds(inode)
    record["users"] = [{"command": owners.source.comm(pid), "pid": pid, "fd": fd} for pid, fd in holders]
    if holders:
        record["pid"] = holders[0][0]
        record["command"] = owners.source.comm(holders[0][0])
    if view.options.has("unit"):
        record["unit"] = view.unit(inode) or None
    if view.options.has("ghosts"):
        ghost = view.ghost(inode)
        record["quality"] = owners.quality(inode)
        if ghost is not None:
            pid, fd = (number if number >= 0 else None for number in (ghost.pid, ghost.fd))
            record["ghost"] = {"kind": ghost.kind, "text": ghost.text, "pid": pid, "fd": fd, "proven": ghost.proven}


def _skmem(words: tuple[int, ...] | None) -> dict[str, int] | None:
    return dict(zip(_SKMEM_NAMES, words, strict=False)) if words is not None else None
