"""Gather the facts about a UNIX socket's name: what is at the path, and which socket it belongs to, unix(7)."""

from __future__ import annotations

from twinsock.inspect.facts import DIRECTORY, FILE, NOTHING, OTHER, SOCKET, SYMLINK, Folder, UnixSnapshot
from twinsock.inspect.gather import read_task, uptime_ns
from twinsock.inspect.unix import ALL_STATES, SHOW_ADDRESS, is_file, mark_accepted, unix_sockets
from twinsock.uapi.errno import ENOENT, ENOTDIR
from twinsock.uapi.unix_diag import UDIAG_SHOW_PEER, UDIAG_SHOW_RQLEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Question
    from twinsock.inspect.gather import Files, FileStat
    from twinsock.inspect.port import KernelPort
    from twinsock.inspect.unix import UnixRecord

_KINDS = {0o140000: SOCKET, 0o100000: FILE, 0o040000: DIRECTORY, 0o120000: SYMLINK}
_TYPE_MASK = 0o170000
_SHOW = SHOW_ADDRESS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN


def take_unix_snapshot(port: KernelPort, files: Files, question: Question) -> UnixSnapshot:
    """Gather the facts for a question about a UNIX socket. Raises OSError."""
    snapshot = UnixSnapshot(question, read_task(port, files, question.pid))
    snapshot.hidden += snapshot.task.hidden
    if question.path.startswith(b"\0"):
        records = unix_sockets(port, ALL_STATES, _SHOW, snapshot.netns, snapshot.hidden)
        mark_accepted(records)
        for record in records:
            if record.name == question.path:
                snapshot.sockets.append(record)
    else:
        found = _look_at_path(files, snapshot)
        if found is not None and snapshot.kind == SOCKET:
            _find_holders(port, snapshot, found)
    inodes = {record.inode for record in snapshot.sockets + snapshot.former if record.inode}
    if inodes:
        snapshot.owners = port.owners(inodes)
        snapshot.uptime_ns = uptime_ns(port)
    return snapshot


def _look_at_path(files: Files, snapshot: UnixSnapshot) -> FileStat | None:
    """Look at the path and its folder as the task sees them; gives what stat(2) says of the path."""
    path = snapshot.question.path.split(b"\0")[0]
    base = b""
    if snapshot.question.pid:
        base = b"/proc/%d/%s" % (snapshot.question.pid, b"root" if path.startswith(b"/") else b"cwd/")
    folder = path.rpartition(b"/")[0] or (b"/" if path.startswith(b"/") else b".")
    snapshot.folder = folder.decode("utf-8", "backslashreplace")
    _look_at_folders(files, snapshot, base, folder)
    try:
        around = files.stat(base + folder)
        snapshot.folder_kind = _KINDS.get(around.mode & _TYPE_MASK, OTHER)
        snapshot.folder_mode, snapshot.folder_uid, snapshot.folder_gid = around.mode & 0o7777, around.uid, around.gid
        snapshot.read_only = files.is_read_only(base + folder)
        found = files.stat(base + path, follow=snapshot.question.connect)
    except OSError as error:
        if error.errno not in (ENOENT, ENOTDIR):
            snapshot.error = error.errno or 0
        elif error.errno == ENOTDIR:
            snapshot.folder_kind = FILE
        return None
    snapshot.kind = _KINDS.get(found.mode & _TYPE_MASK, OTHER)
    snapshot.mode, snapshot.uid, snapshot.gid = found.mode & 0o7777, found.uid, found.gid
    return found


def _look_at_folders(files: Files, snapshot: UnixSnapshot, base: bytes, folder: bytes) -> None:
    """Look at each folder on the way: who may search it decides, too."""
    start = b"/" if folder[:1] == b"/" else b"."
    names = [name for name in folder.split(b"/") if name not in (b"", b".")]
    if b".." in names:  # behind a link it leads elsewhere: the last folder stands for all
        start, names = folder, []
    for number in range(len(names) + 1):
        name = names[number - 1] if number else b""
        path = b"/".join([start.rstrip(b"/"), *names[:number]]) or b"/"
        try:
            found = files.stat(base + path)
        except OSError:
            snapshot.missing = [Folder(one, NOTHING, 0, 0, 0) for one in names[max(number - 1, 0) :]]
            return
        kind = _KINDS.get(found.mode & _TYPE_MASK, OTHER)
        snapshot.folders.append(Folder(name, kind, found.mode & 0o7777, found.uid, found.gid))


def _find_holders(port: KernelPort, snapshot: UnixSnapshot, found: FileStat) -> None:
    """Find the sockets that own the path's file, in every namespace: a path is not tied to one."""
    inodes = [namespace.inode for namespace in port.namespaces() if namespace.accessible]
    for netns in inodes or [0]:
        try:
            records = unix_sockets(port, ALL_STATES, _SHOW, netns, snapshot.hidden)
        except OSError as error:
            snapshot.hidden.append(f"the UNIX sockets of network namespace {netns} cannot be listed: {error.strerror}")
            continue
        for record in records:
            if is_file(record, found.inode, found.device) or _is_overlaid(snapshot, record, found):
                snapshot.sockets.append(record)
            elif record.name == snapshot.question.path and record.peer in (None, 0):
                snapshot.former.append(record)
    hidden = sum([1 for namespace in port.namespaces() if not namespace.accessible])
    if hidden and not snapshot.sockets:
        snapshot.hidden.append(f"the sockets of {hidden} network namespaces are hidden (needs CAP_SYS_ADMIN)")


def _is_overlaid(snapshot: UnixSnapshot, record: UnixRecord, found: FileStat) -> bool:
    """Recognise a socket on a file system whose stat(2) gives another device than the kernel's own (overlayfs, btrfs)."""
    if record.file_inode != found.inode & 0xFFFFFFFF or record.name is None:
        return False
    return record.name.rpartition(b"/")[2] == snapshot.question.path.rpartition(b"/")[2]
