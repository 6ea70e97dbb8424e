"""SocketTable: a hundred thousand sockets as the kernel's own bytes, in columns that are decoded when asked for.

A dump's messages mostly have one length, so a datagram of them is a table already: column k is every length-th word.

    | header | family state .. | ports | addresses | .. | uid | inode | attributes |    one message, `stride` bytes
    | header | family state .. | ports | addresses | .. | uid | inode | attributes |    the next

Messages of other lengths (TIME_WAIT has no attributes) are sorted by length as they arrive. Rows are therefore ordered
by namespace, protocol and length, and only within these as the kernel gave them.
"""

from __future__ import annotations

from struct import Struct

from twinsock.inspect.ask import ATTEMPTS, interrupted, no_handler
from twinsock.inspect.port import DumpInterrupted, NotAvailable
from twinsock.inspect.records import parse_record
from twinsock.inspect.sockets import protocol_name
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_HDRLEN
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.wire.inet_diag import ALL_STATES, MSG_SIZE, InetDiagReq
from twinsock.wire.netlink import nlmsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twinsock.inspect.port import KernelPort
    from twinsock.inspect.records import SocketRecord

_SOCKET_TYPES = (SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK)
_SOCKET_TYPE_BYTES = {Struct("=H").pack(type_) for type_ in _SOCKET_TYPES}
_LEAST = NLMSG_HDRLEN + MSG_SIZE
# name -> (offset in the message, bytes); 2 means a port in network order
_COLUMNS = {
    "family": (16, 1),
    "state": (17, 1),
    "timer": (18, 1),
    "retransmits": (19, 1),
    "local_port": (20, 2),
    "remote_port": (22, 2),
    "ifindex": (56, 4),
    "expires_ms": (68, 4),
    "rqueue": (72, 4),
    "wqueue": (76, 4),
    "uid": (80, 4),
    "inode": (84, 4),
}


class Group:
    """The messages of one namespace, protocol and length."""

    def __init__(self, netns: int, protocol: int, stride: int) -> None:
        self.netns = netns
        self.protocol = protocol
        self.stride = stride
        self.data = bytearray()

    def __len__(self) -> int:
        return len(self.data) // self.stride

    def column(self, name: str) -> list[int]:
        """Decode one field of every message."""
        offset, size = _COLUMNS[name]
        with memoryview(self.data) as view:
            if size == 1:
                return view[offset :: self.stride].tolist()
            if size == 4:
                with view.cast("I") as words:
                    return words[offset // 4 :: self.stride // 4].tolist()
            from array import array
            from sys import byteorder

            with view.cast("H") as halves:
                ports = array("H", halves[offset // 2 :: self.stride // 2].tobytes())
            if byteorder == "little":
                ports.byteswap()
            return ports.tolist()

    def fields(self) -> Iterator[tuple[int, int, int, int, bytes, bytes, int, int, int, int, int, int, int]]:
        """Decode everything but the ports.

        Each row: family, state, timer, retransmits, local and remote address in 16 bytes, ifindex, cookie, expires_ms,
        rqueue, wqueue, uid, inode.
        """
        return Struct(f"=16x4B4x16s16sIQ5I{self.stride - _LEAST}x").iter_unpack(self.data)

    def record(self, row: int) -> SocketRecord:
        """Decode one message whole, attributes too."""
        start = row * self.stride
        found = parse_record(self.data, start + NLMSG_HDRLEN, start + self.stride, self.protocol, self.netns)
        assert found is not None
        return found


class SocketTable:
    """Sockets of several dumps."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.notes: list[str] = []  # what could not be asked, as sentences

    def __len__(self) -> int:
        return sum([len(group) for group in self.groups])

    def column(self, name: str) -> list[int]:
        """Decode one field of every row: state, local_port, inode, ... Raises KeyError for others."""
        values: list[int] = []
        for group in self.groups:
            values += group.column(name)
        return values

    def record(self, row: int) -> SocketRecord:
        """Decode one row. Raises IndexError."""
        for group in self.groups:
            if 0 <= row < len(group):
                return group.record(row)
            row -= len(group)
        raise IndexError("no such row")

    def records(self) -> Iterator[SocketRecord]:
        """Decode every row, one after the other."""
        for group in self.groups:
            for row in range(len(group)):
                yield group.record(row)

    def ask(self, port: KernelPort, request: InetDiagReq, netns: int = 0) -> None:
        """Add the sockets that a request describes. Raises OSError.

        A missing handler, a namespace that may not be entered and one that is gone become notes.
        """
        if request.family == AF_UNSPEC:
            message = nlmsg(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP, request.emit_compat())
        else:
            message = nlmsg(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, request.emit())
        for _attempt in range(ATTEMPTS):
            groups: dict[int, Group] = {}
            try:
                for view in port.netlink(NETLINK_SOCK_DIAG, message, netns):
                    _sort_in(groups, view, request, netns)
            except DumpInterrupted:
                continue
            except OSError as error:
                explained = no_handler(error, protocol_name(request.protocol))
                if not isinstance(explained, (NotAvailable, PermissionError, ProcessLookupError)):
                    raise
                if explained.strerror not in self.notes:
                    self.notes.append(str(explained.strerror))
                return
            self.groups += groups.values()
            return
        raise interrupted()


def socket_table(
    port: KernelPort,
    families: Sequence[int] = (AF_INET, AF_INET6),
    protocols: Sequence[int] = (6,),
    states: int = ALL_STATES,
    namespaces: Sequence[int] = (0,),
    ext: int = 0,
    bytecode: bytes = b"",
) -> SocketTable:
    """Dump every socket of some families, protocols and namespaces. Raises OSError.

    Both families of TCP come from one walk over the kernel's tables, with the request of Linux 2.6 (AF_UNSPEC).
    """
    table = SocketTable()
    for netns in namespaces:
        for protocol in protocols:
            both = protocol == IPPROTO_TCP and AF_INET in families and AF_INET6 in families
            for family in (AF_UNSPEC,) if both else families:
                request = InetDiagReq(family, protocol, states, ext)
                request.bytecode = bytecode
                table.ask(port, request, netns)
    return table


def _sort_in(groups: dict[int, Group], view: memoryview, request: InetDiagReq, netns: int) -> None:
    """Add a datagram's socket messages to the group of their length."""
    end = len(view) & ~3
    with view[:end].cast("I") as words:
        offset = _equal_run(words) << 2
        if offset:
            _group(groups, request, netns, words[0]).data += view[:offset]
        if offset < end:
            with words[offset >> 2 :] as rest:
                pieces = _split(view[offset:end].tobytes(), rest)
            for stride, parts in pieces.items():
                if stride >= _LEAST:
                    _group(groups, request, netns, stride).data += b"".join(parts)


def _split(data: bytes, words: memoryview) -> dict[int, list[bytes]]:
    """Sort messages by length; `words` are the same data. Each length is checked once, not each message."""
    pieces: dict[int, list[bytes]] = {}
    position = 0
    size = len(data)
    stride = 0
    while position < size:
        stride = words[position >> 2]
        stop = position + stride
        try:
            pieces[stride].append(data[position:stop])
        except KeyError:
            if stride < NLMSG_HDRLEN or stride & 3:
                break
            pieces[stride] = [data[position:stop]]
        position = stop
    if position > size and stride in pieces:  # the last one is cut
        pieces[stride].pop()
    for stride, parts in pieces.items():
        kinds = {part[4:6] for part in parts}
        if not kinds <= _SOCKET_TYPE_BYTES:
            pieces[stride] = [part for part in parts if part[4:6] in _SOCKET_TYPE_BYTES]
    return pieces


def _group(groups: dict[int, Group], request: InetDiagReq, netns: int, stride: int) -> Group:
    """Find or make the group of a length."""
    group = groups.get(stride)
    if group is None:
        group = groups[stride] = Group(netns, request.protocol, stride)
    return group


def _equal_run(words: memoryview) -> int:
    """Give the end, in words, of a run of equally long socket messages that fills the datagram; 0 if it does not.

    What is shorter than one more message may follow: it is the end of the dump.
    """
    if len(words) < _LEAST >> 2 or words[0] < _LEAST or words[0] & 3 or words[1] & 0xFFFF not in _SOCKET_TYPES:
        return 0
    step = words[0] >> 2
    count = len(words) // step
    stop = count * step
    for field in (0, 1):
        column = words[field:stop:step].tobytes()
        if column != column[:4] * count:
            return 0
    return stop
