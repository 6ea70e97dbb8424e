"""The verdict about a UNIX socket's name: bind(2), listen(2) and connect(2) of unix(7).

The twin's own calls give the errno (unix_twin.py); here it is put into words.
"""

from __future__ import annotations

from twinsock.explain.blockers import add_holders
from twinsock.explain.report import FAILS, Blocker, Remedy, Report
from twinsock.explain.rules import who
from twinsock.explain.unix_twin import UnixTwin
from twinsock.explain.words import join_words, quote, show_target, stop_commands, task_notes
from twinsock.inspect.facts import NOTHING, SOCKET
from twinsock.inspect.unix import format_name
from twinsock.uapi.errno import EACCES, EADDRINUSE, EAGAIN, ECONNREFUSED, ENOENT, ENOTDIR, EPERM, EPROTOTYPE, EROFS
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
    errno = UnixTwin(snapshot).ask()
    if not errno:
        report.rule = "free"
        report.sentence = f"the abstract name {name} is free in this network namespace: it will succeed."
        if any(record.accepted for record in snapshot.sockets):
            report.notes.append("connections that were accepted at this name live on; they do not own it")
        return
    _fail(report, "bind", errno, "listener", "", ["__sys_bind", "unix_bind", "unix_bind_abstract"])
    for record in snapshot.sockets:
        if record.type == snapshot.question.type and not record.accepted:
            _add(report, snapshot, record, "An abstract name belongs to one socket of its type until that socket is closed.")
    report.sentence = f"{_phrase(report.blockers[0])} has the abstract name {name}."
    _stop(report)
    report.remedies.append(Remedy("use another name", "abstract names have no file: nothing can be removed", False))


def _bind_path(report: Report, snapshot: UnixSnapshot) -> None:
    """A path must not exist, and its folder must exist and be writable."""
    path = format_name(snapshot.question.path)
    where = ["__sys_bind", "unix_bind", "unix_bind_bsd"]
    if snapshot.error:  # the host's own walk has failed, for whoever runs this
        _hidden(report, snapshot, where)
        return
    twin = UnixTwin(snapshot)
    errno = twin.ask()
    if not errno:
        report.rule = "free"
        report.sentence = f"nothing is at {path}, and {snapshot.folder} is writable: it will succeed."
    elif errno == EADDRINUSE:
        _taken_path(report, snapshot, path, where)
    elif errno == ENOTDIR:
        _fail(report, "bind", ENOTDIR, "no-folder", f"{snapshot.folder} is not a directory.", [*where, "start_creating_path"])
    elif errno == ENOENT:
        _fail(report, "bind", ENOENT, "no-folder", f"the directory {snapshot.folder} does not exist.", [*where, "start_creating_path"])
        report.remedies.append(Remedy(f"mkdir -p {quote(snapshot.folder)}", "or RuntimeDirectory= in the unit", True))
    elif errno == EROFS:
        _fail(report, "bind", EROFS, "read-only", f"{snapshot.folder} is on a file system that is mounted read-only.", where)
    else:
        _forbidden(report, snapshot, twin, errno, where)


def _taken_path(report: Report, snapshot: UnixSnapshot, path: str, where: list[str]) -> None:
    """Something is at the path."""
    _fail(report, "bind", EADDRINUSE, "", "", [*where, "start_creating_path"])
    if snapshot.kind != SOCKET:
        report.rule = "not-a-socket"
        report.sentence = f"{path} exists and is a {snapshot.kind}: bind() makes the file itself and takes no existing one."
        report.remedies.append(Remedy("use another path", f"unless the {snapshot.kind} can go", False))
    elif snapshot.sockets:
        _live_path(report, snapshot, path)
    else:
        _stale_path(report, snapshot, path)


def _forbidden(report: Report, snapshot: UnixSnapshot, twin: UnixTwin, errno: int, where: list[str]) -> None:
    """A folder may not be searched, or not be written to."""
    name = who(snapshot.task, snapshot.question)
    closed = twin.closed_folder()
    if closed is not None:
        folder = snapshot.folder if closed is snapshot.folders[-1] else twin.path_of(closed)
        sentence = f"{name} may not search {folder} (mode {closed.mode:04o}, owner uid {closed.uid})."
        _fail(report, "bind", errno, "permission", sentence, [*where, "start_creating_path"])
    else:
        sentence = f"{name} may not create files in {snapshot.folder} (mode {snapshot.folder_mode:04o}, owner uid {snapshot.folder_uid})."
        _fail(report, "bind", errno, "permission", sentence, [*where, "vfs_mknod"])
    report.remedies.append(Remedy("RuntimeDirectory=NAME", f"in its unit: a directory under /run that {name} owns", False))
    report.remedies.append(Remedy("use another directory", f"one that {name} may write to", False))


def _hidden(report: Report, snapshot: UnixSnapshot, where: list[str]) -> None:
    """The path cannot be looked at."""
    sentence = f"{snapshot.folder} cannot be searched by {who(snapshot.task, snapshot.question)}."
    _fail(report, "bind", snapshot.error or EACCES, "permission", sentence, [*where, "start_creating_path"])


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
    if snapshot.error and snapshot.kind == NOTHING and not question.path.startswith(b"\0"):
        _fail(report, "connect", snapshot.error, "no-path", f"{name} cannot be reached.", where)
        return
    errno = UnixTwin(snapshot).ask()
    if not errno:
        report.rule = "listening"
        report.sentence = f"somebody listens on {name}: connect() will succeed."
        return
    living = [record for record in snapshot.sockets if not record.accepted]
    if errno == ENOENT or (errno == EACCES and snapshot.kind == NOTHING):
        _fail(report, "connect", errno, "no-path", f"{name} does not exist.", where)
    elif errno == EACCES:
        sentence = f"{who(snapshot.task, question)} may not write to {name} (mode {snapshot.mode:04o}, owner uid {snapshot.uid})."
        _fail(report, "connect", errno, "permission", sentence, where)
    elif errno == EPROTOTYPE:
        other = living[0]
        sentence = f"{name} is a {_TYPES.get(other.type, '')} socket, not a {_TYPES.get(question.type, '')} one."
        _fail(report, "connect", errno, "other-type", sentence, where)
        _add(report, snapshot, other, "The types must agree.")
    elif errno == EAGAIN:
        server = next(record for record in living if record.type == question.type)
        sentence = f"the queue of {name} is full: {server.rqueue} clients wait, the backlog is {server.wqueue}; connect() blocks."
        _fail(report, "connect", errno, "queue-full", sentence, where)
        _add(report, snapshot, server, "Its program does not accept().")
    elif errno == EPERM:
        sentence = f"the socket at {name} is connected to another one, and takes datagrams of that one only."
        _fail(report, "connect", errno, "connected", sentence, where)
        _add(report, snapshot, living[0], "A connected datagram socket belongs to its peer.")
    else:
        _refused(report, snapshot, name, where)


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
