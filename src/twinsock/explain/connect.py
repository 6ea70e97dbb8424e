"""The verdict about connect(2): route, local port, and, if the other end is this host, whether somebody answers there.

The port is chosen by the twin's inet_hash_connect() and the listener by its inet_lookup_listener(); the route is the
live kernel's own answer.
"""

from __future__ import annotations

from twinsock.explain.blockers import describe
from twinsock.explain.remedies import offer_range
from twinsock.explain.report import FAILS, OK, Remedy, Report
from twinsock.explain.rules import no_files_left
from twinsock.explain.twin import AdoptedHost
from twinsock.explain.words import doubt_programs, join_words, show_endpoint, show_target, state_of, task_notes
from twinsock.inspect.address import format_address
from twinsock.uapi.errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAGAIN,
    ECONNREFUSED,
    EINVAL,
    ENETUNREACH,
    ENFILE,
    ENODEV,
    ERRNO_NAMES,
    ETIMEDOUT,
)
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Snapshot
    from twinsock.inspect.records import SocketRecord

OWNERS_SHOWN = 3


def explain_connect(snapshot: Snapshot) -> Report:
    """Answer a question about connect(2) to an internet address."""
    question = snapshot.question
    report = Report(question)
    report.target = show_target(question)
    report.notes = [*snapshot.hidden, *task_notes(snapshot.task)]
    report.call = "connect"
    host = AdoptedHost(snapshot)
    if not _before(report, snapshot) or not _route(report, snapshot):
        return report
    attempt = host.connect()
    if attempt.errno:
        _no_port(report, snapshot, attempt.errno, attempt.path)
        return report
    report.port = attempt.port
    if snapshot.way.type == RTN_LOCAL:
        _other_end(report, snapshot, host)
        if report.result == OK:
            doubt_programs(report, snapshot.task)
        return report
    report.rule = "way-out"
    source = format_address(snapshot.way.source) if snapshot.way.source else "its address"
    device = _device(snapshot)
    report.sentence = (
        f"on this side nothing is in the way: it leaves from {source} by {device}. Whether the other host answers is not known here."
    )
    return report


def _fail(report: Report, errno: int, rule: str, sentence: str, path: list[str]) -> None:
    """Set a failure of connect(2)."""
    report.result = FAILS
    report.errno = errno
    report.rule = rule
    report.sentence = sentence
    report.path = path


def _device(snapshot: Snapshot) -> str:
    """Name the interface that a packet would leave by."""
    links = snapshot.links
    return links.name(snapshot.way.device) if links is not None else f"if{snapshot.way.device}"


def _before(report: Report, snapshot: Snapshot) -> bool:
    """Check what comes before connect(2): the descriptor and the interface."""
    task = snapshot.task
    errno, path = AdoptedHost(snapshot).descriptor_refused(snapshot.question)
    if errno == ENFILE:
        _fail(report, ENFILE, "file-limit", no_files_left(task), path)
        report.call = "socket"
    elif errno:
        sentence = f"{task.comm} (pid {task.pid}) has {task.fds_open} descriptors open, and its limit (RLIMIT_NOFILE) is {task.fds_max}."
        _fail(report, errno, "descriptor-limit", sentence, path)
        report.call = "socket"
    elif snapshot.missing_device:
        sentence = f"there is no interface {snapshot.missing_device} in this network namespace."
        if snapshot.missing_device == snapshot.question.device:
            _fail(report, ENODEV, "no-device", sentence, ["__sys_setsockopt", "sock_bindtoindex"])
            report.call = "setsockopt"
        else:
            _fail(report, EINVAL, "no-device", sentence, ["__sys_connect"])
    return not report.errno


def _route(report: Report, snapshot: Snapshot) -> bool:
    """Check the route."""
    way = snapshot.way
    shown = format_address(way.address)
    udp = snapshot.question.protocol == IPPROTO_UDP
    path = ["__sys_connect", "__ip4_datagram_connect" if udp else "tcp_v4_connect", "ip_route_connect"]
    if len(way.address) == 16:
        path = ["__sys_connect", "__ip6_datagram_connect" if udp else "tcp_v6_connect", "ip6_dst_lookup_flow"]
    if snapshot.question.is_mapped() and snapshot.question.v6only == 1:
        _fail(report, ENETUNREACH, "v6only", f"an IPv6-only socket cannot reach the IPv4 address {shown}.", path)
    elif way.address[:2] == b"\xfe\x80" and not (snapshot.zone_index or snapshot.device_index):
        _fail(report, EINVAL, "needs-zone", f"{shown} is link-local: it needs its interface, as in [{shown}%eth0].", path)
    elif way.errno:
        reason = (
            "there is no route to" if way.errno == ENETUNREACH else f"the routing table refuses ({ERRNO_NAMES.get(way.errno, way.errno)})"
        )
        _fail(report, way.errno, "no-route", f"{reason} {shown}.", path)
        report.remedies.append(Remedy(f"ip route get {shown}", "shows what the routing table says", False))
        report.remedies.append(Remedy(f"ip route add {shown} via GATEWAY", "if a gateway is known", False))
    elif way.type == RTN_MULTICAST and not udp:
        _fail(report, ENETUNREACH, "multicast", f"{shown} is a multicast address; TCP reaches single hosts only.", path)
    elif way.type == RTN_BROADCAST and not udp:
        _fail(report, ENETUNREACH, "broadcast", f"{shown} is a broadcast address; TCP reaches single hosts only.", path)
    elif way.type == RTN_BROADCAST:
        _fail(report, EACCES, "broadcast", f"{shown} is a broadcast address.", path)
        report.remedies.append(Remedy("setsockopt(SOL_SOCKET, SO_BROADCAST, 1)", "before connect()", False))
    return not report.errno


def _no_port(report: Report, snapshot: Snapshot, errno: int, path: list[str]) -> None:
    """No local port is left for this destination."""
    low, high = snapshot.sysctls.port_range
    question = snapshot.question
    way = snapshot.way
    here = [
        record for record in snapshot.sockets if record.remote_port == question.port and record.remote[-len(way.address) :] == way.address
    ]
    waiting = [record for record in here if record.timer == 3]
    name = ERRNO_NAMES.get(errno, "")
    if errno not in (EADDRNOTAVAIL, EAGAIN):
        _fail(report, errno, "other", f"connect() fails with {name}.", path)
        return
    sentence = (
        f"no port of the automatic range {low}-{high} is left for {show_endpoint(way.address, question.port)}: "
        f"{len(here)} connections go there"
        + (f", {len(waiting)} of them in TIME_WAIT" if waiting else "")
        + f", and other sockets own {len({r.local_port for r in snapshot.sockets} - {r.local_port for r in here})} ports."
    )
    _fail(report, errno, "range-exhausted", sentence, path)
    offer_range(report, snapshot)
    if waiting and snapshot.sysctls.tcp_tw_reuse != 1:
        text = f"lets new connections take ports whose TIME_WAIT is older than {snapshot.sysctls.tcp_tw_reuse_delay_ms:,} ms"
        report.remedies.append(Remedy("sysctl -w net.ipv4.tcp_tw_reuse=1", text, False))
    report.remedies.append(Remedy("keep connections open and use them again", "each closed one occupies its port for 60 s", False))


def _other_end(report: Report, snapshot: Snapshot, host: AdoptedHost) -> None:
    """The other end is this host: does somebody answer?"""
    question = snapshot.question
    where = show_endpoint(snapshot.way.address, question.port)
    if question.protocol == IPPROTO_UDP:
        report.rule = "local"
        report.sentence = f"connect() of a UDP socket succeeds whether or not somebody has {where}."
        if not snapshot.servers:
            report.notes.append(f"nobody has {where}: the first send() will bring ECONNREFUSED to the next call")
        return
    index = host.listener()
    if index < 0:
        _nobody(report, snapshot, where)
        return
    server = snapshot.servers[index]
    if server.rqueue > server.wqueue:
        version = "v6" if len(snapshot.way.address) == 16 else "v4"
        sentence = (
            f"the accept queue of {where} is full ({server.rqueue} wait, the limit is {server.wqueue}): "
            "its SYN packets are dropped until the program calls accept()."
        )
        _fail(report, ETIMEDOUT, "accept-queue-full", sentence, [f"tcp_{version}_rcv", f"tcp_{version}_conn_request", "tcp_conn_request"])
        _add(report, snapshot, server, "It does not accept connections fast enough.")
        return
    report.rule = "listening"
    report.sentence = f"{_who(snapshot, server)} listens there: connect() will succeed."


def _nobody(report: Report, snapshot: Snapshot, where: str) -> None:
    """Nobody listens at the destination; somebody may be near."""
    near = [record for record in snapshot.servers if record.state == TCP_LISTEN]
    bound = [record for record in snapshot.servers if record.state != TCP_LISTEN]
    version = "v6" if len(snapshot.way.address) == 16 else "v4"
    lookup = "__inet6_lookup_skb" if version == "v6" else "__inet_lookup_skb"
    path = [f"tcp_{version}_rcv", lookup, f"tcp_{version}_send_reset"]
    _fail(report, ECONNREFUSED, "nobody-listens", f"nobody listens on {where}.", path)
    for record in near:
        _add(report, snapshot, record, "It listens on another address or interface, which does not cover the one that is called.")
        report.remedies.append(Remedy(f"connect to {show_endpoint(record.local, record.local_port)}", "that is where it listens", False))
    for record in bound:
        _add(report, snapshot, record, "It has bound the port and has not called listen() yet.")


def _add(report: Report, snapshot: Snapshot, record: SocketRecord, why: str) -> None:
    """Add a server as what is in the way."""
    blocker = describe(snapshot, record, -1, 0, 1)
    blocker.why = why
    blocker.rule = report.rule
    blocker.facts = [f"{record.rqueue} wait, limit {record.wqueue}"] if state_of(record) == "LISTEN" else []
    report.blockers.append(blocker)


def _who(snapshot: Snapshot, record: SocketRecord) -> str:
    """Name a server's processes."""
    owners = snapshot.owners.owners_of(record.inode) if snapshot.owners is not None and record.inode else []
    names = list(dict.fromkeys([f"{owner.comm} (pid {owner.pid})" for owner in owners]))
    return join_words(names[:OWNERS_SHOWN]) if names else "somebody"
