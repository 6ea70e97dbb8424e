"""The sentence that answers the question, and a stable short name for the cause."""

from __future__ import annotations

from twinsock.explain.blockers import interface
from twinsock.explain.report import UNKNOWN
from twinsock.explain.words import join_words, show_endpoint
from twinsock.inspect.address import format_address
from twinsock.uapi.capability import CAP_NET_BIND_SERVICE
from twinsock.uapi.errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EINVAL,
    EMFILE,
    ENFILE,
    ENODEV,
    EPERM,
    ERRNO_NAMES,
)
from twinsock.uapi.rtnetlink import IFA_F_DADFAILED, IFA_F_TENTATIVE
from twinsock.uapi.socket import AF_INET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Blocker, Report
    from twinsock.explain.twin import Attempt
    from twinsock.inspect.facts import Question, Snapshot, TaskRecord


def describe(report: Report, snapshot: Snapshot, attempt: Attempt) -> None:
    """Set the report's rule and sentence."""
    question = report.question
    where = show_endpoint(question.address, question.port, question.zone)
    name = who(snapshot.task, question)
    if attempt.errno == EADDRINUSE:
        _in_use(report, snapshot, attempt, where)
    elif attempt.errno == EACCES:
        start = snapshot.sysctls.unprivileged_port_start
        report.rule = "privileged-port"
        report.sentence = f"ports below {start} need CAP_NET_BIND_SERVICE (capability {CAP_NET_BIND_SERVICE}), which {name} does not have."
    elif attempt.errno == EADDRNOTAVAIL:
        _not_available(report, snapshot)
    elif attempt.errno == ENODEV:
        report.rule = "no-device"
        report.sentence = f"there is no interface {snapshot.missing_device or question.device or question.zone} in this network namespace."
    elif attempt.errno == EPERM:
        report.rule = "not-permitted"
        report.sentence = f"{name} may not do this: {attempt.call} needs CAP_NET_RAW or CAP_NET_ADMIN."
    elif attempt.errno == EMFILE:
        report.rule = "descriptor-limit"
        report.sentence = f"{name} has {snapshot.task.fds_open} descriptors open, and its limit (RLIMIT_NOFILE) is {snapshot.task.fds_max}."
    elif attempt.errno == ENFILE:
        report.rule = "file-limit"
        report.sentence = no_files_left(snapshot.task)
    elif attempt.errno == EINVAL:
        _invalid(report)
    else:
        report.rule = "other"
        report.sentence = f"{attempt.call}() fails with {ERRNO_NAMES.get(attempt.errno, str(attempt.errno))}."


def no_files_left(task: TaskRecord) -> str:
    """Say that the machine is full."""
    return f"the machine has {task.files_open} files open, and fs.file-max is {task.files_max}: only CAP_SYS_ADMIN gets another one."


def who(task: TaskRecord, question: Question) -> str:
    """Name the task that asks."""
    if question.pid:
        return f"{task.comm} (pid {task.pid})"
    return f"uid {question.uid}" if question.uid >= 0 else f"uid {task.uid}"


def _in_use(report: Report, snapshot: Snapshot, attempt: Attempt, where: str) -> None:
    """Say who has the address."""
    if not report.question.port:
        report.rule = "range-exhausted"
        low, high = attempt.range
        report.sentence = f"every port of the automatic range {low}-{high} that could be tried is taken."
        return
    blockers = report.blockers
    if not blockers:
        report.rule = "in-use"
        report.sentence = f"{where} is taken."
        return
    first = blockers[0]
    report.rule = _rule_of(first, attempt.call)
    others = len(blockers) - 1
    more = f", and {others} more {'is' if others == 1 else 'are'} in the way" if others else ""
    report.sentence = f"{_holder_phrase(first)} {_does(first)} {first.local}{more}."
    if report.question.held >= 0:
        local = show_endpoint(snapshot.sockets[report.question.held].local, report.question.port)
        report.sentence = (
            f"{snapshot.task.comm} (pid {snapshot.task.pid}) has bound {local} already (descriptor {report.question.held_fd}), and its "
            f"listen() is refused: {report.sentence} Sockets with SO_REUSEADDR share a port only until one of them listens."
        )
    if report.result == UNKNOWN:
        report.sentence = f"refused, unless the socket in the way had {report.unless}, which needs root to see. " + report.sentence


def _rule_of(first: Blocker, call: str) -> str:
    """Name the cause by the first socket in the way."""
    if call == "listen":
        return "second-listen"
    if first.rule == "other-user":
        return "reuseport-other-user"
    names = {"LISTEN": "listener", "BOUND": "bound", "TIME_WAIT": "time-wait", "FIN_WAIT2": "time-wait"}
    if first.state in names:
        return names[first.state]
    return "outgoing-connection" if any("outgoing" in fact for fact in first.facts) else "connection"


def _holder_phrase(blocker: Blocker) -> str:
    """Name who holds a socket, at the beginning of a sentence."""
    if blocker.holders:
        names = []
        for holder in blocker.holders:
            name = f"{holder.comm} (pid {holder.pid})"
            if name not in names:
                names.append(name)
        return join_words(names[:3] if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more processes"])
    if blocker.state in ("TIME_WAIT", "FIN_WAIT2"):
        return "a closed connection"
    return f"a socket of uid {blocker.uid}" if blocker.uid >= 0 else "a socket"


def _does(blocker: Blocker) -> str:
    """Say what the holder does with its address."""
    many = len({holder.pid for holder in blocker.holders}) > 1
    if blocker.state == "LISTEN":
        return "listen on" if many else "listens on"
    if blocker.state in ("TIME_WAIT", "FIN_WAIT2"):
        return f"is still in {blocker.state} on"
    if blocker.state == "BOUND":
        return "have bound" if many else "has bound"
    return f"{'have' if many else 'has'} a connection ({blocker.state}) from"


def _not_available(report: Report, snapshot: Snapshot) -> None:
    """Say why an address cannot be used."""
    question = report.question
    shown = format_address(question.address)
    report.rule = "not-local"
    report.sentence = f"{shown} is no address of this network namespace."
    for local in snapshot.addresses:
        ifname = interface(snapshot, local.index)
        if local.address == question.address and local.flags & IFA_F_DADFAILED:
            report.rule = "duplicate-address"
            report.sentence = f"{shown} on {ifname} was found to be in use by another machine (duplicate address detection failed)."
            return
        if local.address == question.address and local.flags & IFA_F_TENTATIVE:
            report.rule = "tentative-address"
            report.sentence = f"{shown} on {ifname} is tentative: the check that no other machine has it still runs."
            return
        if local.address == question.address:
            report.sentence = f"{shown} belongs to {ifname}, not to the interface that the socket is tied to."
    loopback = question.address == bytes(15) + b"\1" or (question.family == AF_INET and question.address[0] == 127)
    if loopback and report.rule == "not-local":
        report.rule = "no-loopback"
        report.sentence = f"the interface lo has no address {shown} in this network namespace: it is down, or the address was removed."


def _invalid(report: Report) -> None:
    """Say what the kernel does not accept about the address."""
    question = report.question
    shown = format_address(question.address)
    report.rule = "invalid-address"
    if question.is_mapped():
        report.sentence = f"{shown} is an IPv4 address, and the socket is IPv6 only (IPV6_V6ONLY)."
    elif question.address[:1] == b"\xff":
        report.sentence = f"{shown} is a multicast address; TCP does not bind to those, and link-local ones need an interface."
    elif question.address[:2] == b"\xfe\x80":
        report.sentence = f"{shown} is link-local: it needs its interface, as in [{shown}%eth0], or SO_BINDTODEVICE."
    else:
        report.sentence = "the kernel does not accept this address."
