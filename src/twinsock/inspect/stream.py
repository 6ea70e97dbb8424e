"""Internet sockets as the kernel's own bytes, in the kernel's order: what a long table is made from without records.

A dump is cut into runs: neighbouring messages of one length, so that a run is a table with `stride` bytes a row. Unlike
`SocketTable` the order stays. Both families of TCP come from one walk (AF_UNSPEC), IPv4 put first as two walks would.
"""

from __future__ import annotations

from struct import Struct
from sys import byteorder

from twinsock.inspect.ask import ATTEMPTS, interrupted, no_handler
from twinsock.inspect.filter import Subject
from twinsock.inspect.port import DumpInterrupted
from twinsock.inspect.sockets import protocol_name
from twinsock.uapi.errno import EINVAL
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import INET_DIAG_CGROUP_ID, INET_DIAG_MARK, TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_HDRLEN
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.wire.inet_diag import MSG_SIZE, InetDiagReq, parse_msg
from twinsock.wire.netlink import nlmsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twinsock.inspect.filter import Condition
    from twinsock.inspect.port import KernelPort

_LEAST = NLMSG_HDRLEN + MSG_SIZE
_TYPES = (SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK)
_HEAD = Struct("=IH")
_FAMILY = NLMSG_HDRLEN

Run = tuple[int, bytes]
"""(stride, messages)"""


def runs(
    port: KernelPort,
    families: Sequence[int],
    protocol: int,
    states: int,
    ext: int = 0,
    bytecode: bytes = b"",
    netns: int = 0,
) -> list[Run]:
    """Dump the sockets of a protocol, IPv4 before IPv6. Raises OSError and NotAvailable."""
    found: list[Run] = []
    if protocol == IPPROTO_TCP and AF_INET in families and AF_INET6 in families:
        six: list[Run] = []
        for stride, data in _dump(port, AF_UNSPEC, protocol, states, ext, bytecode, netns):
            kinds = data[_FAMILY::stride]
            if kinds.count(AF_INET) == len(kinds):
                found.append((stride, data))
            elif kinds.count(AF_INET6) == len(kinds):
                six.append((stride, data))
            else:
                rows = range(len(kinds))
                for family, out in ((AF_INET, found), (AF_INET6, six)):
                    out.append((stride, b"".join([data[row * stride : row * stride + stride] for row in rows if kinds[row] == family])))
        return found + six
    for family in families:
        found += _dump(port, family, protocol, states, ext, bytecode, netns)
    return found


def _dump(port: KernelPort, family: int, protocol: int, states: int, ext: int, bytecode: bytes, netns: int) -> list[Run]:
    """Ask once; again if the kernel's tables changed meanwhile."""
    request = InetDiagReq(family, protocol, states, ext)
    request.bytecode = bytecode
    flags = NLM_F_REQUEST | NLM_F_DUMP
    if family == AF_UNSPEC:
        message = nlmsg(TCPDIAG_GETSOCK, flags, request.emit_compat())
    else:
        message = nlmsg(SOCK_DIAG_BY_FAMILY, flags, request.emit())
    for _attempt in range(ATTEMPTS):
        found: list[Run] = []
        try:
            for view in port.netlink(NETLINK_SOCK_DIAG, message, netns):
                _cut(view.tobytes(), found)
            return found
        except DumpInterrupted:
            continue
        except OSError as error:
            raise no_handler(error, protocol_name(protocol)) from None
    raise interrupted()


def _cut(data: bytes, found: list[Run]) -> None:
    """Cut a datagram into runs of equally long socket messages."""
    size = len(data)
    position = 0
    while position + _LEAST <= size:
        stride, type_ = _HEAD.unpack_from(data, position)
        if stride < NLMSG_HDRLEN or position + stride > size:
            return
        start = position
        # A stride that repeats at the far end of the rest mostly repeats in between: one comparison settles it.
        count = (size - position) // stride
        head = data[position : position + 6]
        if stride & 3 == 0 and _all_equal(data, position, stride, count, head):
            position += count * stride
        else:
            position += stride
            while data[position : position + 6] == head and position + stride <= size:
                position += stride
        if type_ in _TYPES and stride >= _LEAST:
            found.append((stride, data[start:position]))
        position += -stride & 3  # padding of the last message


def _all_equal(data: bytes, start: int, stride: int, count: int, head: bytes) -> bool:
    """Tell whether each of `count` messages begins with the same length and type."""
    stop = start + count * stride
    for at in (0, 1, 4, 5):
        if data[start + at : stop : stride].count(head[at]) != count:
            return False
    return data[stop - stride + 2 : stop - stride + 4] == head[2:4]


def dump_kept(
    port: KernelPort,
    families: Sequence[int],
    protocol: int,
    states: int,
    ext: int,
    program: bytes | None,
    condition: Condition | None,
    netns: int = 0,
) -> list[Run]:
    """Dump the sockets that fulfil a condition: by its bytecode, or compared here where the kernel has none for it.

    `program` is None if it is too long for the kernel. Raises OSError and NotAvailable.
    """
    if program is not None:
        try:
            return runs(port, families, protocol, states, ext, program, netns)
        except OSError as error:
            if error.errno != EINVAL or not program:
                raise
    assert condition is not None
    return kept(runs(port, families, protocol, states, ext, b"", netns), condition)


def kept(found: Sequence[Run], condition: Condition) -> list[Run]:
    """Keep the messages of sockets that fulfil a condition. Which ports were chosen by the kernel no message tells."""
    left: list[Run] = []
    for stride, data in found:
        for start in range(0, len(data), stride):
            piece = data[start : start + stride]
            for sock in sockets([(stride, piece)], 0, 0):
                if condition.matches(sock.subject()):
                    left.append((stride, piece))
    return left


class InetSocket:
    """One message with its attributes by number, for what a plain table has no column for."""

    def __init__(self, protocol: int, netns: int) -> None:
        self.protocol = protocol
        self.netns = netns
        self.family = 0
        self.state = 0
        self.timer = 0
        self.retransmits = 0
        self.local = b""
        self.remote = b""
        self.local_port = 0
        self.remote_port = 0
        self.ifindex = 0
        self.cookie = 0
        self.expires_ms = 0
        self.rqueue = 0
        self.wqueue = 0
        self.uid = 0
        self.inode = 0
        self.attributes: dict[int, bytes] = {}

    def subject(self) -> Subject:
        """Give what a filter looks at."""
        subject = Subject(self.family, self.local, self.local_port, self.remote, self.remote_port)
        subject.ifindex = self.ifindex
        subject.mark = int.from_bytes(self.attributes.get(INET_DIAG_MARK, b""), byteorder)
        subject.cgroup = int.from_bytes(self.attributes.get(INET_DIAG_CGROUP_ID, b""), byteorder)
        return subject


def consumed(found: list[Run]) -> Iterator[Run]:
    """Give the runs in order and let each go: a dump with all attributes is as large as the text made of it."""
    found.reverse()
    while found:
        yield found.pop()


def sockets(found: Iterable[Run], protocol: int, netns: int) -> Iterator[InetSocket]:
    """Decode every message, one after the other."""
    for stride, data in found:
        for start in range(0, len(data), stride):
            msg = parse_msg(data, start + NLMSG_HDRLEN, start + stride)
            if msg is None:
                continue
            sock = InetSocket(protocol, netns)
            sock.family = msg.family
            sock.state = msg.state
            sock.timer = msg.timer
            sock.retransmits = msg.retrans
            sock.local = msg.src
            sock.remote = msg.dst
            sock.local_port = msg.sport
            sock.remote_port = msg.dport
            sock.ifindex = msg.ifindex
            sock.cookie = msg.cookie
            sock.expires_ms = msg.expires
            sock.rqueue = msg.rqueue
            sock.wqueue = msg.wqueue
            sock.uid = msg.uid
            sock.inode = msg.inode
            sock.attributes = dict(msg.attributes)
            yield sock
