"""UnixRecord: one UNIX-domain socket as the kernel reports it, unix_diag, unix(7)."""

from __future__ import annotations

from struct import Struct

from twinsock.inspect.ask import ask_all, no_handler
from twinsock.inspect.port import NotAvailable
from twinsock.uapi.errno import ENOENT, ESTALE
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import SOCK_DGRAM
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.uapi.unix_diag import (
    UDIAG_SHOW_ICONS,
    UDIAG_SHOW_MEMINFO,
    UDIAG_SHOW_NAME,
    UDIAG_SHOW_PEER,
    UDIAG_SHOW_RQLEN,
    UDIAG_SHOW_UID,
    UDIAG_SHOW_VFS,
    UNIX_DIAG_ICONS,
    UNIX_DIAG_MEMINFO,
    UNIX_DIAG_NAME,
    UNIX_DIAG_PEER,
    UNIX_DIAG_RQLEN,
    UNIX_DIAG_SHUTDOWN,
    UNIX_DIAG_UID,
    UNIX_DIAG_VFS,
)
from twinsock.wire.netlink import U32, nlattr, nlmsg, spans
from twinsock.wire.unix_diag import UnixDiagReq, parse_msg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

SHOW_ADDRESS = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS
SHOW_ALL = SHOW_ADDRESS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO | UDIAG_SHOW_UID
ALL_STATES = 0xFFFFFFFF
_PAIR = Struct("=II")
_SKMEMINFO = Struct("=9I")


class UnixRecord:
    """One UNIX-domain socket. What was not asked for, or cannot be told, is None."""

    __slots__ = (
        "accepted",
        "cookie",
        "device",
        "file_inode",
        "inode",
        "name",
        "netns",
        "peer",
        "rqueue",
        "shutdown",
        "skmeminfo",
        "state",
        "type",
        "uid",
        "waiting",
        "wqueue",
    )

    def __init__(self, type_: int, state: int, inode: int) -> None:
        self.type = type_  # SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET
        self.state = state  # TCP_ESTABLISHED connected, TCP_LISTEN, TCP_CLOSE
        self.inode = inode
        self.cookie = 0
        self.netns = 0
        self.accepted = False  # it shares the name of its listener, and does not hinder others from taking it
        self.name: bytes | None = None  # a path, or b"\\0" and an abstract name; None: unnamed
        self.file_inode: int | None = None  # of the path's file, which may since have another name, or none
        self.device: int | None = None  # the file's device, in the kernel's encoding: major << 20 | minor
        self.peer: int | None = None  # inode of the other end; 0: waits to be accepted
        self.waiting: list[int] | None = None  # listener: the inodes of the clients in its queue, 0: already closed
        self.rqueue: int | None = None  # listener: waiting; others: unread bytes
        self.wqueue: int | None = None  # listener: backlog; others: memory of unread bytes at the peer
        self.shutdown = 0
        self.uid: int | None = None
        self.skmeminfo: tuple[int, ...] | None = None


def parse_record(data: Buffer, start: int, end: int) -> UnixRecord | None:
    """Make a record of the unix_diag reply between two offsets; None if it is too short."""
    msg = parse_msg(data, start, end)
    if msg is None:
        return None
    record = UnixRecord(msg.type, msg.state, msg.inode)
    record.cookie = msg.cookie
    for type_, value in msg.attributes:
        _take(record, type_, value)
    return record


def _take(record: UnixRecord, type_: int, value: bytes) -> None:
    """Store one attribute in its field."""
    size = len(value)
    if type_ == UNIX_DIAG_NAME:
        record.name = value if value[:1] == b"\0" else value.rstrip(b"\0")
    elif type_ == UNIX_DIAG_VFS and size >= 8:
        record.file_inode, record.device = _PAIR.unpack_from(value, 0)
    elif type_ == UNIX_DIAG_PEER and size >= 4:
        record.peer = U32.unpack_from(value, 0)[0]
    elif type_ == UNIX_DIAG_ICONS:
        record.waiting = [U32.unpack_from(value, at)[0] for at in range(0, size - 3, 4)]
    elif type_ == UNIX_DIAG_RQLEN and size >= 8:
        record.rqueue, record.wqueue = _PAIR.unpack_from(value, 0)
    elif type_ == UNIX_DIAG_SHUTDOWN and size >= 1:
        record.shutdown = value[0]
    elif type_ == UNIX_DIAG_UID and size >= 4:
        record.uid = U32.unpack_from(value, 0)[0]
    elif type_ == UNIX_DIAG_MEMINFO and size >= _SKMEMINFO.size:
        record.skmeminfo = _SKMEMINFO.unpack_from(value, 0)


def unix_sockets(
    port: KernelPort, states: int = ALL_STATES, show: int = SHOW_ADDRESS, netns: int = 0, notes: list[str] | None = None
) -> list[UnixRecord]:
    """List the UNIX-domain sockets of a namespace; `show` is a set of UDIAG_SHOW_*.

    Where sock_diag has no handler or may not be asked, /proc/net/unix tells less, and a note says so. Raises OSError.
    """
    request = UnixDiagReq(states, show)
    try:
        found = ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request.emit(), parse_record, netns)
    except OSError as error:
        reason = no_handler(error, "UNIX")
        if not isinstance(reason, (NotAvailable, PermissionError)):
            raise
        from twinsock.inspect.procnet import parse_unix

        found = [r for r in parse_unix(port.read("/proc/net/unix", netns)) if states >> r.state & 1]
        if notes is not None:
            notes.append(f"{reason.strerror}; /proc/net/unix tells names only, no files, peers and queues")
    for record in found:
        record.netns = netns
    return found


def mark_accepted(records: list[UnixRecord]) -> None:
    """Tell connections that were accepted at an abstract name from sockets that were bound to it, in a whole dump.

    Measured on 6.18: the kernel's chains of abstract names are the last ones, and an accepted connection stands before
    them, among the sockets without name. Where nothing without an abstract name follows, the other end tells: who
    connects needs no name, who was accepted shares its listener's and, of two with abstract names, stands first. What
    stays open counts as bound.
    """
    by_inode = {record.inode: index for index, record in enumerate(records) if record.inode}
    last_plain = max([index for index, record in enumerate(records) if (record.name or b"/")[:1] != b"\0"], default=-1)
    for index, record in enumerate(records):
        if (record.name or b"/")[:1] != b"\0":
            continue
        if index < last_plain:
            record.accepted = True
        elif record.state == TCP_ESTABLISHED and record.type != SOCK_DGRAM and record.peer in by_inode:
            at = by_inode[record.peer]
            record.accepted = records[at].name is None or (index < at and (records[at].name or b"")[:1] == b"\0")


def unix_sockets_of_file(port: KernelPort, inode: int, device: int, path: bytes = b"", netns: int = 0) -> list[UnixRecord]:
    """List the sockets whose file is the one with this stat(2) inode and device.

    With its path, also those that have this inode and this name: btrfs and some overlays show stat(2) another device
    than sock_diag. Raises OSError and NotAvailable.
    """
    wanted = nlattr(UNIX_DIAG_VFS, _PAIR.pack(inode & 0xFFFFFFFF, 0))[:8]
    found = _containing(port, wanted, SHOW_ADDRESS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID, netns)
    return [record for record in found if is_file(record, inode, device, path)]


def unix_sockets_of_name(port: KernelPort, name: bytes, netns: int = 0) -> list[UnixRecord]:
    """List the sockets bound to a name: a path as it was given, or NUL and an abstract name, and those they accepted.

    Raises OSError and NotAvailable.
    """
    # An abstract name's attribute is known to the byte; a path's may have a NUL at its end.
    wanted = nlattr(UNIX_DIAG_NAME, name)[: 4 + len(name)] if name[:1] == b"\0" else name
    found = _containing(port, wanted, SHOW_ADDRESS | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID, netns)
    return [record for record in found if record.name == name]


def _containing(port: KernelPort, wanted: bytes, show: int, netns: int) -> list[UnixRecord]:
    """List the sockets of those datagrams that have some bytes in them: the others are not even parsed."""
    message = nlmsg(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, UnixDiagReq(ALL_STATES, show).emit())
    found: list[UnixRecord] = []
    try:
        for view in port.netlink(NETLINK_SOCK_DIAG, message, netns):
            if wanted in view.tobytes():
                for type_, _flags, start, end in spans(view):
                    record = parse_record(view, start, end) if type_ == SOCK_DIAG_BY_FAMILY else None
                    if record is not None:
                        record.netns = netns
                        found.append(record)
    except OSError as error:
        raise no_handler(error, "UNIX") from None
    return found


def find_unix_again(port: KernelPort, record: UnixRecord, show: int = SHOW_ALL) -> UnixRecord | None:
    """Look one socket up by inode and cookie: the same socket as it is now, or None if it is gone. Raises OSError."""
    request = UnixDiagReq(ALL_STATES, show, record.inode, record.cookie)
    message = nlmsg(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, request.emit())
    found: UnixRecord | None = None
    try:
        for view in port.netlink(NETLINK_SOCK_DIAG, message, record.netns):
            for type_, _flags, start, end in spans(view):
                if type_ == SOCK_DIAG_BY_FAMILY:
                    found = parse_record(view, start, end)
    except OSError as error:
        if error.errno not in (ENOENT, ESTALE):  # none; another one, by its cookie
            raise
    if found is not None:
        found.netns = record.netns
    return found


def kernel_device(device: int) -> int:
    """Encode a stat(2) device number as unix_diag does: 12 bits of major number, 20 of minor."""
    major = device >> 8 & 0xFFF | device >> 32 & ~0xFFF
    minor = device & 0xFF | device >> 12 & ~0xFF
    return (major << 20 | minor & 0xFFFFF) & 0xFFFFFFFF


def is_file(record: UnixRecord, inode: int, device: int, path: bytes = b"") -> bool:
    """Tell whether a socket's file is the one with this stat(2) inode, and this device or path."""
    if record.file_inode != inode & 0xFFFFFFFF:
        return False
    return record.device == kernel_device(device) or (path != b"" and record.name == path)


def format_name(name: bytes | None) -> str:
    """Show a name as `ss` does: a path, @ and an abstract name (its NUL bytes as @ too), or * for none."""
    if name is None:
        return "*"
    return name.replace(b"\0", b"@").decode("utf-8", "backslashreplace")
