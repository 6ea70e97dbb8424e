"""Ask a KernelPort for TCP, UDP, UDPLITE and MPTCP sockets, sock_diag(7)."""

from __future__ import annotations

from twinsock.inspect.ask import ask_all, no_handler
from twinsock.inspect.port import NotAvailable
from twinsock.inspect.records import parse_record
from twinsock.uapi.errno import ENOENT, ESTALE
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.inet_diag import TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_REQUEST
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.wire.inet_diag import ALL_STATES, InetDiagReq
from twinsock.wire.netlink import nlmsg, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort
    from twinsock.inspect.records import SocketRecord
    from twinsock.wire.netlink import Buffer

PROTOCOL_NAMES = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLITE", 255: "RAW", 262: "MPTCP"}


def dump(port: KernelPort, request: InetDiagReq, netns: int = 0) -> list[SocketRecord]:
    """List the sockets that a request describes, in the kernel's order. Raises OSError and NotAvailable.

    AF_UNSPEC means both families, which TCP gives in one walk over its tables.
    """
    if request.family == AF_UNSPEC and request.protocol != IPPROTO_TCP:
        found: list[SocketRecord] = []
        for family in (AF_INET, AF_INET6):
            request.family = family
            found += dump(port, request, netns)
        request.family = AF_UNSPEC
        return found

    def parse(view: Buffer, start: int, end: int) -> SocketRecord | None:
        return parse_record(view, start, end, request.protocol, netns)

    try:
        if request.family == AF_UNSPEC:
            return ask_all(port, NETLINK_SOCK_DIAG, TCPDIAG_GETSOCK, request.emit_compat(), parse, netns)
        return ask_all(port, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request.emit(), parse, netns)
    except OSError as error:
        raise no_handler(error, protocol_name(request.protocol)) from None


def protocol_name(protocol: int) -> str:
    """Name an IP protocol as the tools do."""
    return PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


def inet_sockets(
    port: KernelPort,
    family: int,
    protocol: int,
    states: int = ALL_STATES,
    netns: int = 0,
    local_port: int = 0,
    remote_port: int = 0,
    bytecode: bytes = b"",
    ext: int = 0,
) -> list[SocketRecord]:
    """List sockets of one family, or of both with AF_UNSPEC; ports other than 0 and the bytecode are compared in the kernel.

    `states` has the bit 1 << state for each state wanted, bit 13 for bound-only. `ext` has the bit 1 << (attribute - 1)
    for INET_DIAG_INFO, SKMEMINFO, CONG. Raises OSError and NotAvailable.
    """
    request = InetDiagReq(family, protocol, states, ext)
    request.sport = local_port
    request.dport = remote_port
    request.bytecode = bytecode
    return dump(port, request, netns)


def visible_sockets(
    port: KernelPort, family: int, protocol: int, notes: list[str], states: int = ALL_STATES, netns: int = 0
) -> list[SocketRecord]:
    """List sockets by the best way there is: sock_diag, else /proc/net, else none; notes say what is missing and why.

    Raises OSError for what is neither a missing handler nor a missing permission.
    """
    try:
        return inet_sockets(port, family, protocol, states, netns)
    except ProcessLookupError as gone:  # a namespace may end at any time, and its sockets with it
        _note(notes, str(gone.strerror))
        return []
    except OSError as error:
        if not isinstance(error, (NotAvailable, PermissionError)):
            raise
        reason = str(error.strerror)
    from twinsock.inspect.procnet import FILES, proc_sockets

    name = protocol_name(protocol)
    try:
        found = proc_sockets(port, family, protocol, netns) if protocol in FILES else None
    except OSError:
        found = None
    if found is None:
        note = f"{name} sockets are not shown: {reason}"
    elif protocol == IPPROTO_TCP:
        note = f"TCP sockets are from /proc, without those that are only bound: {reason}"
    else:
        note = f"{name} sockets are from /proc: {reason}"
    _note(notes, note)
    return [record for record in found or [] if states >> record.state & 1]


def _note(notes: list[str], sentence: str) -> None:
    """Say a thing once."""
    if sentence not in notes:
        notes.append(sentence)


def find_again(port: KernelPort, record: SocketRecord) -> SocketRecord | None:
    """Look one socket up by addresses, ports and cookie: the same socket as it is now, or None if it is gone.

    The kernel looks in its tables for one socket of these addresses; where several share them (SO_REUSEPORT), or the
    socket is in no such table (bound only), a dump of the port finds it. Raises OSError.
    """
    request = InetDiagReq(record.family, record.protocol)
    request.sport, request.dport = record.local_port, record.remote_port
    request.src, request.dst = record.local, record.remote
    if record.protocol in (IPPROTO_UDP, IPPROTO_UDPLITE):  # Linux: here source means the sender of a packet to it
        request.sport, request.dport = request.dport, request.sport
        request.src, request.dst = request.dst, request.src
    request.ifindex = record.ifindex
    request.cookie = record.cookie
    message = nlmsg(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, request.emit())
    try:
        for view in port.netlink(NETLINK_SOCK_DIAG, message, record.netns):
            for type_, _flags, start, end in spans(view):
                if type_ == SOCK_DIAG_BY_FAMILY:
                    found = parse_record(view, start, end, record.protocol, record.netns)
                    if found is not None and found.cookie == record.cookie:
                        return found
    except OSError as error:
        if error.errno not in (ENOENT, ESTALE):  # none; another one, by its cookie
            raise
    again = inet_sockets(port, record.family, record.protocol, netns=record.netns, local_port=record.local_port)
    for other in again:
        if other.cookie == record.cookie:
            return other
    return None
