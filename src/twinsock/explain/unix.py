"""The verdict about a UNIX socket's name: bind(2), listen(2) and connect(2) of unix(7).

Whether a name is taken is the file system's rule, and for abstract names one comparison; the order of the errors is
that of the kernel (measured).
"""

from __future__ import annotations

from twinsock.explain.blockers import add_holders
from twinsock.explain.report import FAILS, Blocker, Remedy, Report
from twinsock.explain.rules import who
from twinsock.explain.words import join_words, quote, show_target, stop_commands, task_notes
from twinsock.inspect.facts import DIRECTORY, NOTHING, SOCKET
from twinsock.inspect.unix import format_name
from twinsock.uapi.capability import CAP_DAC_OVERRIDE
from twinsock.uapi.errno import EACCES, EADDRINUSE, EAGAIN, ECONNREFUSED, ENOENT, ENOTDIR, EPROTOTYPE, EROFS
from twinsock.uapi.socket import SOCK_DGRAM, SOCK_SEQPACKET
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import UnixSnapshot
    from twinsock.inspect.unix import UnixRecord

_TYPES = {1: "stream", SOCK_DGRAM: "datagram", SOCK_SEQPACKET: "seqpacket"}


def explain_unix(snapshot: UnixSnapshot) -> Report:
    """Answer a question about a UNIX socket."""
    question = snapshot.question
    report = Report(question)
    report.target = show_target(question)
    report.notes = [*snapshot.hidden, *task_notes(snapshot.task)]
    report.call = "connect" if question.connect else "listen" if question.listen else "bind"
    if question.connect:
        _connect(report, snapshot)
    elif question.path.startswith(b"\0"):
        _bind_abstract(report, snapshot)
    else:
        _bind_path(report, snapshot)
    return report


def _fail(report: Report, call: str, errno: int, rule: str, sentence: str, path: list[str]) -> None:
    """Set a failure."""
    report.result = FAILS
    report.call = call
    report.errno = errno
    report.rule = rule
    report.sentence = sentence
    report.path = path


def _bind_abstract(report: Report, snapshot: UnixSnapshot) -> None:
    """An abstract name is taken while a socket of the same type has it in this network namespace."""
    name = format_name(snapshot.question.path)
    taken = [record for record in snapshot.sockets if record.type == snapshot.question.type and record.peer in (None, 0)]
    if not taken:
        report.rule = "free"
        report.sentence = f"the abstract name {name} is free in this network namespace: it will succeed."
        return
    _fail(report, "bind", EADDRINUSE, "listener", "", ["__sys_bind", "unix_bind", "unix_bind_abstract"])
    for record in taken:
        _add(report, snapshot, record, "An abstract name belongs to one socket of its type until that socket is closed.")
    report.sentence = f"{_phrase(report.blockers[0])} has the abstract name {name}."
    _stop(report)
    report.remedies.append(Remedy("use another name", "abstract names have no file: nothing can be removed", False))


def _bind_path(report: Report, snapshot: UnixSnapshot) -> None:
    """A path must not exist, and its folder must exist and be writable."""
    path = format_name(snapshot.question.path)
    where = ["__sys_bind", "unix_bind", "unix_bind_bsd"]
    if snapshot.folder_kind != DIRECTORY:
        if snapshot.folder_kind != NOTHING:
            _fail(report, "bind", ENOTDIR, "no-folder", f"{snapshot.folder} is not a directory.", [*where, "start_creating_path"])
        elif snapshot.error == EACCES:
            _hidden(report, snapshot, where)
        else:
            _fail(report, "bind", ENOENT, "no-folder", f"the directory {snapshot.folder} does not exist.", [*where, "start_creating_path"])
            report.remedies.append(Remedy(f"mkdir -p {quote(snapshot.folder)}", "or RuntimeDirectory= in the unit", True))
        return
    if snapshot.error:
        _hidden(report, snapshot, where)
        return
    if snapshot.kind == NOTHING:
        _bind_new_path(report, snapshot, path, where)
        return
    _fail(report, "bind", EADDRINUSE, "", "", [*where, "start_creating_path"])
    if snapshot.kind != SOCKET:
        report.rule = "not-a-socket"
        report.sentence = f"{path} exists and is a {snapshot.kind}: bind() makes the file itself and takes no existing one."
        report.remedies.append(Remedy("use another path", f"unless the {snapshot.kind} can go", False))
    elif snapshot.sockets:
        _live_path(report, snapshot, path)
    else:
        _stale_path(report, snapshot, path)


def _hidden(report: Report, snapshot: UnixSnapshot, where: list[str]) -> None:
    """The path cannot be looked at."""
    sentence = f"{snapshot.folder} cannot be searched by {who(snapshot.task, snapshot.question)}."
    _fail(report, "bind", snapshot.error or EACCES, "permission", sentence, [*where, "start_creating_path"])


def _bind_new_path(report: Report, snapshot: UnixSnapshot, path: str, where: list[str]) -> None:
    """Nothing is at the path: may it be made?"""
    if snapshot.read_only:
        _fail(report, "bind", EROFS, "read-only", f"{snapshot.folder} is on a file system that is mounted read-only.", where)
    elif not _may(snapshot, snapshot.folder_mode, snapshot.folder_uid, snapshot.folder_gid, 3):
        name = who(snapshot.task, snapshot.question)
        sentence = f"{name} may not create files in {snapshot.folder} (mode {snapshot.folder_mode:04o}, owner uid {snapshot.folder_uid})."
        _fail(report, "bind", EACCES, "permission", sentence, [*where, "vfs_mknod"])
        report.remedies.append(Remedy("RuntimeDirectory=NAME", f"in its unit: a directory under /run that {name} owns", False))
        report.remedies.append(Remedy("use another directory", f"one that {name} may write to", False))
    else:
        report.rule = "free"
        report.sentence = f"nothing is at {path}, and {snapshot.folder} is writable: it will succeed."


def _live_path(report: Report, snapshot: UnixSnapshot, path: str) -> None:
    """A living socket has the path."""
    for record in snapshot.sockets:
        _add(report, snapshot, record, "The path exists; bind() refuses every existing path, whoever it belongs to.")
    first = report.blockers[0]
    report.rule = "listener" if first.state == "LISTEN" else "bound"
    report.sentence = f"{_phrase(first)} {'listens on' if first.state == 'LISTEN' else 'has bound'} {path}."
    _stop(report, f" && rm {quote(path)}")
    text = "before bind(): takes the path over, while the old server keeps its connections and goes on without a name"
    report.remedies.append(Remedy(f"unlink({path!r})", text, True))


def _stale_path(report: Report, snapshot: UnixSnapshot, path: str) -> None:
    """The file was left behind."""
    report.rule = "stale-path"
    report.sentence = f"{path} is a socket file that no socket owns any more: its server ended without removing it."
    if snapshot.hidden:
        report.sentence += " (As far as can be seen.)"
    report.remedies.append(Remedy(f"rm {quote(path)}", "nobody listens there: a client gets ECONNREFUSED", not snapshot.hidden))
    report.remedies.append(Remedy(f"unlink({path!r})", "in the server before each bind(), for good", not snapshot.hidden))
    for record in snapshot.former:
        report.notes.append(f"socket {record.inode} was bound to this path too, but its file has been replaced or removed")


def _connect(report: Report, snapshot: UnixSnapshot) -> None:
    """Say what connect() would meet."""
    question = snapshot.question
    name = format_name(question.path)
    where = ["__sys_connect", "unix_dgram_connect" if question.type == SOCK_DGRAM else "unix_stream_connect", "unix_find_other"]
    listening = [record for record in snapshot.sockets if record.state == TCP_LISTEN or question.type == SOCK_DGRAM]
    same = [record for record in listening if record.type == question.type]
    if not question.path.startswith(b"\0"):
        if snapshot.kind == NOTHING:
            errno = EACCES if snapshot.error == EACCES else ENOENT
            _fail(report, "connect", errno, "no-path", f"{name} does not exist.", where)
            return
        if not _may(snapshot, snapshot.mode, snapshot.uid, snapshot.gid, 2):
            sentence = f"{who(snapshot.task, question)} may not write to {name} (mode {snapshot.mode:04o}, owner uid {snapshot.uid})."
            _fail(report, "connect", EACCES, "permission", sentence, where)
            return
        if snapshot.kind == SOCKET and not same and [record for record in snapshot.sockets if record.type != question.type]:
            other = snapshot.sockets[0]
            sentence = f"{name} is a {_TYPES.get(other.type, '')} socket, not a {_TYPES.get(question.type, '')} one."
            _fail(report, "connect", EPROTOTYPE, "other-type", sentence, where)
            _add(report, snapshot, other, "The types must agree.")
            return
    if not same:
        _refused(report, snapshot, name, where)
        return
    server = same[0]
    if question.type != SOCK_DGRAM and server.rqueue is not None and server.wqueue is not None and server.rqueue > server.wqueue:
        sentence = f"the queue of {name} is full: {server.rqueue} clients wait, the backlog is {server.wqueue}; connect() blocks."
        _fail(report, "connect", EAGAIN, "queue-full", sentence, where)
        _add(report, snapshot, server, "Its program does not accept().")
        return
    report.rule = "listening"
    report.sentence = f"somebody listens on {name}: connect() will succeed."


def _refused(report: Report, snapshot: UnixSnapshot, name: str, where: list[str]) -> None:
    """Nobody listens."""
    if snapshot.kind not in (SOCKET, NOTHING):
        sentence = f"{name} is a {snapshot.kind}, not a socket."
    elif snapshot.sockets:
        sentence = f"the socket at {name} does not listen."
    else:
        sentence = f"nobody listens on {name}" + (
            ": the file was left behind by a server that has ended." if snapshot.kind == SOCKET else "."
        )
    _fail(report, "connect", ECONNREFUSED, "nobody-listens", sentence, where)
    for record in snapshot.sockets:
        _add(report, snapshot, record, "It is bound, but it does not listen for this type.")


def _add(report: Report, snapshot: UnixSnapshot, record: UnixRecord, why: str) -> None:
    """Add a socket as blocker."""
    blocker = Blocker(-1)
    blocker.state = "LISTEN" if record.state == TCP_LISTEN else "BOUND" if record.peer is None else "CONNECTED"
    blocker.local = format_name(record.name)
    blocker.netns = record.netns
    blocker.inode = record.inode
    blocker.cookie = record.cookie
    blocker.uid = -1 if record.uid is None else record.uid
    blocker.rule = "name-taken"
    blocker.why = why
    if record.rqueue is not None and record.wqueue is not None and record.state == TCP_LISTEN:
        blocker.facts.append(f"{record.rqueue} clients wait, backlog {record.wqueue}")
    add_holders(blocker, snapshot.owners, record.inode, snapshot.uptime_ns)
    report.blockers.append(blocker)


def _stop(report: Report, then: str = "") -> None:
    """Offer to stop the holders."""
    found = [pair for blocker in report.blockers for pair in stop_commands(blocker)]
    if found:
        actions = list(dict.fromkeys([action for action, _name in found]))
        names = list(dict.fromkeys([name for _action, name in found]))
        report.remedies.append(Remedy(" && ".join(actions) + then, f"stops {join_words(names)}", True))


def _phrase(blocker: Blocker) -> str:
    """Name the holder."""
    names = list(dict.fromkeys([f"{holder.comm} (pid {holder.pid})" for holder in blocker.holders]))
    return join_words(names) if names else "a socket without a process"


def _uid(snapshot: UnixSnapshot) -> int:
    """Give the uid of whoever asks."""
    return snapshot.question.uid if snapshot.question.uid >= 0 else snapshot.task.uid


def _may(snapshot: UnixSnapshot, mode: int, uid: int, gid: int, wanted: int) -> bool:
    """Tell whether the mode bits grant access (4 read, 2 write, 1 search), access control lists left aside."""
    task = snapshot.task
    mine = _uid(snapshot)
    own = mine == task.uid
    if (own and task.capable(CAP_DAC_OVERRIDE)) or (not own and mine == 0):
        return True
    if mine == uid:
        return mode >> 6 & wanted == wanted
    if own and (gid == task.gid or gid in task.groups):
        return mode >> 3 & wanted == wanted
    return mode & wanted == wanted
