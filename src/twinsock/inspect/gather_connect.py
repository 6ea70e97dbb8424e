"""Gather the facts for a question about connect(2): the route, the local ports in use, and who listens at the other end if it is here.

The kernel itself is asked for the route (RTM_GETROUTE with the destination), so its answer includes rules, VRFs and
prohibitions. Left out: firewalls, and everything beyond this host.
"""

from __future__ import annotations

from twinsock.inspect.facts import Snapshot, Way
from twinsock.inspect.gather import add_sockets, find_devices, read_addresses, read_task, sockets_of_port
from twinsock.inspect.links import parse_route
from twinsock.inspect.sockets import inet_sockets
from twinsock.inspect.sysctl import bind_sysctls
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.inet_diag import INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE
from twinsock.uapi.netlink import NETLINK_ROUTE, NLM_F_REQUEST
from twinsock.uapi.rtnetlink import RTA_DST, RTA_OIF, RTM_GETROUTE, RTM_NEWROUTE, RTN_LOCAL
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN
from twinsock.wire.inet_diag import ALL_STATES, bc_and, bc_autobound, bc_port
from twinsock.wire.netlink import U32, nlattr, nlmsg, spans
from twinsock.wire.rtnetlink import RtMsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Question
    from twinsock.inspect.gather import Files
    from twinsock.inspect.port import KernelPort

_BOUND_INACTIVE = 1 << 13
_LOOPBACK4 = b"\x7f\0\0\1"
_LOOPBACK6 = bytes(15) + b"\1"


def take_connect_snapshot(port: KernelPort, files: Files, question: Question) -> Snapshot:
    """Gather the facts for connect(2) to an internet address. Raises OSError and NotAvailable."""
    snapshot = Snapshot(question, read_task(port, files, question.pid))
    snapshot.hidden += snapshot.task.hidden
    snapshot.now_ns = port.now_ns()
    snapshot.sysctls = bind_sysctls(port, snapshot.netns)
    read_addresses(port, snapshot)
    find_devices(snapshot)
    snapshot.way = find_way(port, snapshot)
    low, high = snapshot.sysctls.port_range
    here = bc_and(bc_port(INET_DIAG_BC_S_GE, low), bc_port(INET_DIAG_BC_S_LE, high))
    add_sockets(port, snapshot, here, keep_all=True)
    if question.protocol != IPPROTO_UDP:
        _mark_automatic(port, snapshot, bc_and(here, bc_autobound()))
    if snapshot.way.type == RTN_LOCAL:
        _find_listeners(port, snapshot)
    return snapshot


def find_way(port: KernelPort, snapshot: Snapshot) -> Way:
    """Ask the kernel which way a packet to the question's address would go."""
    question = snapshot.question
    address = question.address
    if question.is_wildcard():
        address = _LOOPBACK6 if question.family == AF_INET6 and not question.is_mapped() else _LOOPBACK4
    elif question.is_mapped():
        address = address[12:]
    way = Way(address)
    family = AF_INET if len(address) == 4 else AF_INET6
    request = RtMsg(family, 0, 0)
    request.dst_len = len(address) * 8
    request.attributes.append((RTA_DST, address))
    payload = request.emit()
    device = snapshot.device_index or snapshot.zone_index
    if device:
        payload += nlattr(RTA_OIF, U32.pack(device))
    try:
        for view in port.netlink(NETLINK_ROUTE, nlmsg(RTM_GETROUTE, NLM_F_REQUEST, payload), snapshot.netns):
            for type_, _flags, start, end in spans(view):
                route = parse_route(view, start, end) if type_ == RTM_NEWROUTE else None
                if route is not None:
                    way.type, way.source, way.device = route.type, route.source, route.index
    except OSError as error:
        way.errno = error.errno or 0
    return way


def _mark_automatic(port: KernelPort, snapshot: Snapshot, bytecode: bytes) -> None:
    """Find the sockets whose port connect(2) chose: chosen by the kernel, connected, and nobody is bound to it."""
    bound = {record.local_port for record in snapshot.sockets if record.state in (TCP_LISTEN, TCP_CLOSE)}
    chosen: set[int] = set()
    for family in (AF_INET, AF_INET6):
        try:
            found = inet_sockets(port, family, 6, ALL_STATES, snapshot.netns, bytecode=bytecode)
        except OSError:
            continue
        chosen.update([record.cookie for record in found])
    for index, record in enumerate(snapshot.sockets):
        if record.cookie in chosen and record.local_port not in bound:
            snapshot.connect_made.add(index)


def _find_listeners(port: KernelPort, snapshot: Snapshot) -> None:
    """Find who is at the destination's port on this host."""
    question = snapshot.question
    states = ALL_STATES if question.protocol == IPPROTO_UDP else 1 << TCP_LISTEN | _BOUND_INACTIVE
    protocol = IPPROTO_UDP if question.protocol == IPPROTO_UDP else 6
    for family in (AF_INET, AF_INET6):
        try:
            snapshot.servers += sockets_of_port(port, family, protocol, states, snapshot.netns, question.port)
        except OSError:
            continue
    inodes = {record.inode for record in snapshot.servers if record.inode}
    if inodes:
        snapshot.owners = port.owners(inodes)
