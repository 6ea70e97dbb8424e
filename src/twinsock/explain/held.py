"""Sockets that are bound already and do not listen yet: what listen(2) on them would get, the second `Address already in use`.

bind(2) lets several sockets share a port by SO_REUSEADDR as long as none listens; listen(2) applies the rules again, and
whoever comes second is refused there. So for a process that has such a socket the question is about its listen().
"""

from __future__ import annotations

from twinsock.explain.report import OK
from twinsock.explain.verdict import ask
from twinsock.explain.words import join_words, show_endpoint
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Report
    from twinsock.explain.twin import AdoptedHost
    from twinsock.explain.verdict import Outcome
    from twinsock.inspect.facts import Question, Snapshot


def own_sockets(snapshot: Snapshot) -> list[tuple[int, int]]:
    """List (index, descriptor) of the asked process's sockets that are bound to the port and do not listen; same address first."""
    question = snapshot.question
    if snapshot.owners is None:
        return []
    found: list[tuple[bool, int, int]] = []
    for index, record in enumerate(snapshot.sockets):
        if record.state == TCP_CLOSE and record.inode:
            fds = [fd for pid, fd in snapshot.owners.pid_fds(record.inode) if pid == question.pid]
            found += [(record.local != question.address, index, fd) for fd in fds[:1]]
    return [(index, fd) for _other, index, fd in sorted(found)]


def ask_own_listen(report: Report, host: AdoptedHost) -> tuple[Question, Outcome] | None:
    """Find a socket of the asked process whose listen() is refused: the question about it and its outcome, else None.

    Where listen() would succeed, a note says so."""
    snapshot = host.snapshot
    for index, fd in own_sockets(snapshot):
        question = snapshot.question.copy()
        question.held, question.held_fd = index, fd
        outcome = ask(host, question)
        if outcome.result != OK:
            return question, outcome
        where = show_endpoint(snapshot.sockets[index].local, question.port)
        name = f"{snapshot.task.comm} (pid {question.pid})"
        report.notes.append(f"{name} has bound {where} already, descriptor {fd}: listen() on that one succeeds")
    return None


def note_waiting(report: Report, snapshot: Snapshot) -> None:
    """Name processes that have bound the port where another one listens: their listen() is refused too."""
    if snapshot.owners is None or not any(record.state == TCP_LISTEN for record in snapshot.sockets):
        return
    listening = {pid for record in snapshot.sockets if record.state == TCP_LISTEN for pid, _fd in snapshot.owners.pid_fds(record.inode)}
    waiting: list[int] = []
    for record in snapshot.sockets:
        if record.state == TCP_CLOSE and record.inode:
            waiting += [pid for pid, _fd in snapshot.owners.pid_fds(record.inode) if pid not in listening and pid not in waiting]
    if not waiting:
        return
    names = [f"{snapshot.owners.source.comm(pid)} (pid {pid})" for pid in waiting[:3]]
    has = "has" if len(waiting) == 1 else "have"
    report.notes.append(
        f"{join_words(names)} {has} bound the same port and {'does' if has == 'has' else 'do'} not listen; whether listen() would succeed "
        f"there: twinsock why {snapshot.question.port} --pid {waiting[0]}"
    )
