"""Who is in the way: state, owner, how long it lasts, and why it counts as a conflict, in words."""

from __future__ import annotations

from twinsock.explain.report import OK, Blocker, Holder
from twinsock.explain.words import (
    is_time_wait,
    join_words,
    show_endpoint,
    show_ms,
    show_reuse,
    state_of,
)
from twinsock.inspect.address import format_address
from twinsock.inspect.facts import MAPPED_PREFIX, REUSEADDR, REUSEPORT
from twinsock.kernel.net.ipv4.bind_observer import (
    RULE_AUTOMATIC,
    RULE_IN_GROUP,
    RULE_LISTENING,
    RULE_NO_SHARED_FLAG,
    RULE_OTHER_UID,
)
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN, TCP_TIME_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Report
    from twinsock.explain.twin import Attempt
    from twinsock.inspect.facts import Question, Snapshot
    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.records import SocketRecord

RULE_IDS = {
    RULE_NO_SHARED_FLAG: "no-shared-flag",
    RULE_LISTENING: "owner-listens",
    RULE_OTHER_UID: "other-user",
    RULE_IN_GROUP: "already-in-group",
    RULE_AUTOMATIC: "automatic-port",
}
PARENTS_SHOWN = 3
_ORDER = {"LISTEN": 0, "BOUND": 1, "TIME_WAIT": 3, "FIN_WAIT2": 3}
TIME_WAIT_MS = 60_000
_FAKE_IPV4 = "127.0.0.6"  # LOOPBACK4_IPV6


def describe_blockers(report: Report, snapshot: Snapshot, attempt: Attempt) -> None:
    """Add a Blocker for each owner of the port that the twin found in the way."""
    if report.result == OK:
        return
    for index, rule in attempt.hits:
        blocker = describe(snapshot, snapshot.sockets[index], index, rule, snapshot.counts[index])
        report.blockers.append(blocker)
    _merge(report)
    report.blockers.sort(key=lambda blocker: _ORDER.get(blocker.state, 2))  # what listens matters most


def describe(snapshot: Snapshot, record: SocketRecord, index: int, rule: int, count: int) -> Blocker:
    """Describe one socket (`index` -1: none of those of the port) and the rule by which it refuses."""
    blocker = Blocker(index)
    blocker.state = state_of(record)
    blocker.local = show_endpoint(record.local, record.local_port)
    if record.remote_port:
        blocker.remote = show_endpoint(record.remote, record.remote_port)
    blocker.device = interface(snapshot, record.ifindex)
    blocker.netns = snapshot.netns
    blocker.uid = -1 if is_time_wait(record) else record.uid
    blocker.inode = record.inode
    blocker.cookie = record.cookie
    blocker.count = count
    blocker.reuse = snapshot.flags[index] if index >= 0 else -1
    if is_time_wait(record):
        blocker.lasts_ms = record.expires_ms
        if record.state == TCP_TIME_WAIT:
            blocker.since_ms = max(TIME_WAIT_MS - record.expires_ms, 0)
    add_holders(blocker, snapshot.owners, record.inode, snapshot.uptime_ns)
    if not record.inode:
        blocker.ghost = _no_inode(record)
    blocker.rule = RULE_IDS.get(rule, "conflict")
    blocker.why = overlap(snapshot.question, record, blocker.device) + " " + reason(snapshot, record, rule, blocker.reuse)
    blocker.facts = _facts(snapshot, record, blocker)
    return blocker


def describe_elsewhere(snapshot: Snapshot) -> list[str]:
    """Tell of the same port in other namespaces, one line each."""
    lines: list[str] = []
    for other in snapshot.elsewhere:
        record = other.record
        owners = snapshot.elsewhere_owners
        who = ""
        if owners is not None and record.inode:
            names = list(dict.fromkeys([f"{owner.comm} (pid {owner.pid})" for owner in owners.owners_of(record.inode)]))
            who = ": " + join_words(names) if names else ""
        line = f"{state_of(record)} {show_endpoint(record.local, record.local_port)} in {other.namespace}{who}"
        if line not in lines:
            lines.append(line)
    return lines


def _merge(report: Report) -> None:
    """Tell of sockets that differ only in their peer once."""
    kept: list[Blocker] = []
    for blocker in report.blockers:
        pids = [(holder.pid) for holder in blocker.holders]
        for other in kept:
            same = (other.state, other.local, other.device, other.rule, other.reuse, other.ghost)
            if same == (blocker.state, blocker.local, blocker.device, blocker.rule, blocker.reuse, blocker.ghost):
                if pids == [(holder.pid) for holder in other.holders]:
                    other.count += blocker.count
                    other.lasts_ms = max(other.lasts_ms, blocker.lasts_ms)
                    break
        else:
            kept.append(blocker)
    report.blockers = kept


def add_holders(blocker: Blocker, owners: OwnerTable | None, inode: int, uptime_ns: int) -> None:
    """Add the processes that hold a socket, or what keeps it if none does."""
    if owners is None or not inode:
        return
    for owner in owners.owners_of(inode):
        holder = Holder(owner.pid, owner.fd, owner.comm, owner.uid)
        holder.command = " ".join(owner.cmdline)
        holder.unit = owner.unit
        holder.inherited = owner.close_on_exec == 0
        if owner.start_ns >= 0 and uptime_ns:
            holder.running_ms = max(uptime_ns - owner.start_ns, 0) // 1_000_000
        for parent in owners.parents(owner.pid)[:PARENTS_SHOWN]:
            holder.parents.append(f"{parent.comm} (pid {parent.pid})")
        blocker.holders.append(holder)
    ghost = None if blocker.holders else owners.ghost(inode)
    if ghost is not None:
        blocker.ghost = ghost.text
        blocker.ghost_kind = ghost.kind
        blocker.ghost_pid = ghost.pid


def _no_inode(record: SocketRecord) -> str:
    """Say who keeps a socket that has no file."""
    if is_time_wait(record):
        return "no process: the kernel keeps it for the closed connection"
    return "no process: not accepted yet, or closed by its program while the kernel finishes the connection"


def overlap(question: Question, record: SocketRecord, device: str) -> str:
    """Say why the two addresses are the same place."""
    theirs = format_address(record.local)
    mine = format_address(question.address)
    wide_theirs = not any(record.local) or (len(record.local) == 16 and record.local == MAPPED_PREFIX + bytes(4))
    text = ""
    if record.local == question.address:
        text = f"It has the same address{'' if not wide_theirs else ' (' + theirs + ', every address)'}"
    elif wide_theirs:
        both = record.family == AF_INET6 and not record.v6only and record.local[:12] != MAPPED_PREFIX
        text = f"Its address {theirs} covers " + (
            "every IPv6 and, without IPV6_V6ONLY, every IPv4 address" if both else "every IPv4 address"
        )
    elif question.is_wildcard() and len(question.address) == 4 and len(record.local) == 16 and record.local[:12] != MAPPED_PREFIX:
        text = f"It is a dual-stack socket connected over IPv6, and for an IPv4 wildcard the kernel counts it as {_FAKE_IPV4}"
    elif question.is_wildcard():
        dual = question.family == AF_INET6 and len(record.local) == 4
        text = f"Your address {mine} covers its {theirs}" + (" (without IPV6_V6ONLY it means every IPv4 address too)" if dual else "")
    else:
        text = f"Its address {theirs} and yours, {mine}, are the same"
    if question.device and not device:
        text += f", and being bound to no interface it covers {question.device}"
    elif device and not question.device:
        text += f", and without SO_BINDTODEVICE yours covers its interface {device}"
    return text + "."


def reason(snapshot: Snapshot, record: SocketRecord, rule: int, flags: int) -> str:
    """Say why the pair is not excused, for the rule that the twin named."""
    question = snapshot.question
    kind = "it listens" if record.state == TCP_LISTEN else "it is in " + state_of(record)
    if rule == RULE_AUTOMATIC:
        return "A port that the kernel chooses is never one that somebody else has."
    if rule == RULE_LISTENING:
        return "Both have SO_REUSEADDR, but that excuses nobody from a socket that listens."
    if rule == RULE_OTHER_UID:
        return (
            "Both have SO_REUSEPORT, but a port is shared only among sockets of one user: "
            f"it belongs to uid {record.uid}, yours would belong to uid {uid_of(snapshot)}."
        )
    if rule == RULE_IN_GROUP:
        return "Both have SO_REUSEPORT, but yours is in a group already."
    if flags < 0:
        return f"Whether it set SO_REUSEADDR or SO_REUSEPORT is hidden; {kind}."
    return _no_shared_flag(question, record, flags)


def _no_shared_flag(question: Question, record: SocketRecord, flags: int) -> str:
    """Explain a pair without a flag that both have."""
    listens = record.state == TCP_LISTEN
    waits = is_time_wait(record)
    if question.reuseport and not flags & REUSEPORT:
        text = "SO_REUSEPORT counts only if both have it, and it does not."
        if not question.reuseaddr:
            return text
    if question.reuseaddr and not flags & REUSEADDR:
        if listens:
            return "It listens without SO_REUSEPORT, so it shares its port with nobody; SO_REUSEADDR never helps against a listener."
        if waits:
            return (
                "SO_REUSEADDR counts only if both have it: TIME_WAIT keeps the flag of the socket that was closed, "
                "and that one had not set it. The flag in the new server alone does not help."
            )
        return "SO_REUSEADDR counts only if both have it, and it does not."
    if listens:
        shared = " It has SO_REUSEPORT, yours does not." if flags & REUSEPORT else ""
        return "A listening socket shares its port only if both have SO_REUSEPORT and the same user." + shared
    if flags & REUSEADDR and not question.reuseaddr:
        return "It has SO_REUSEADDR, yours does not; both must have it."
    if flags & REUSEPORT and not question.reuseport:
        return "It has SO_REUSEPORT, yours does not; both must have it."
    if record.protocol != IPPROTO_UDP and record.state == TCP_CLOSE:
        return "A port that is bound is taken, whether its owner listens or not."
    return "Neither has SO_REUSEADDR or SO_REUSEPORT."


def uid_of(snapshot: Snapshot) -> int:
    """Give the uid that would own the new socket."""
    return snapshot.question.uid if snapshot.question.uid >= 0 else snapshot.task.uid


def looks_outgoing(snapshot: Snapshot, record: SocketRecord) -> bool:
    """Tell whether a connected socket is a client's: the kernel chose its port, and nobody listens there.

    An accepted connection whose listener is gone looks the same, unless its port is outside the automatic range."""
    if record.state in (TCP_LISTEN, TCP_CLOSE) or not record.remote_port:
        return False
    low, high = snapshot.sysctls.port_range
    if not low <= record.local_port <= high:
        return False
    if snapshot.automatic is not None and not is_time_wait(record) and record.cookie not in snapshot.automatic:
        return False
    return not any(other.state == TCP_LISTEN and other.local_port == record.local_port for other in snapshot.sockets)


def interface(snapshot: Snapshot, index: int) -> str:
    """Name an interface, empty for none."""
    if not index:
        return ""
    return snapshot.links.name(index) if snapshot.links is not None else f"if{index}"


def _facts(snapshot: Snapshot, record: SocketRecord, blocker: Blocker) -> list[str]:
    """Collect what else is worth knowing about the socket."""
    facts = [show_reuse(blocker.reuse)]
    if record.inode and record.inode in snapshot.mptcp:
        facts.append("an MPTCP socket: it owns its port through this TCP socket")
    if record.family == AF_INET6 and not any(record.local):
        facts.append("IPV6_V6ONLY" if record.v6only else "IPv4 too")
    if is_time_wait(record):
        if blocker.since_ms >= 0:
            facts.append(f"began {show_ms(blocker.since_ms)} ago")
    if blocker.state == "BOUND" and record.protocol != IPPROTO_UDP:
        facts.append("bound, not listening: netstat and lsof do not show it")
    if looks_outgoing(snapshot, record):
        if is_time_wait(record):
            facts.append("perhaps an outgoing connection: the port is in the automatic range")
        else:
            facts.append("an outgoing connection: the kernel chose this port for it")
    if len({holder.pid for holder in blocker.holders}) > 1:
        facts.append("one socket, shared: all these processes have to let go of it")
    if any(holder.inherited for holder in blocker.holders):
        facts.append("not close-on-exec: programs that its process starts keep the socket open")
    if snapshot.question.pid and any(holder.pid == snapshot.question.pid for holder in blocker.holders):
        facts.append("held by the process that asks, itself")
    if any(holder.pid == 1 and holder.comm.startswith("systemd") for holder in blocker.holders):
        facts.append("held by systemd: a socket unit")
    return facts
