"""Internet sockets by column: messages whose attributes are of the same kinds, lengths and order are a table.

What a column holds is cut out of the kernel's bytes in one go, and only if somebody asks for it.
"""

from __future__ import annotations

from sys import byteorder

from twinsock.inspect.tcp_info import PLACES
from twinsock.uapi.inet_diag import INET_DIAG_INFO
from twinsock.uapi.netlink import NLMSG_HDRLEN
from twinsock.wire.inet_diag import MSG_SIZE
from twinsock.wire.netlink import NLA_TYPE, NLATTR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twinsock.inspect.stream import Run

_ATTRIBUTES = NLMSG_HDRLEN + MSG_SIZE
TIMER, RETRANSMITS = 18, 19
EXPIRES, UID, INODE, COOKIE = 68, 80, 84, 60
"""Places of fields in a message, which begins with its netlink header."""


class Columns:
    """Messages of one layout; `places` has the start and length of each attribute's value in a message."""

    def __init__(self, stride: int, data: bytes) -> None:
        """Read the layout off the first message. The stride is a multiple of four bytes."""
        self.stride = stride
        self.data = data
        self.count = len(data) // stride
        self.places: dict[int, tuple[int, int]] = {}
        for at in attribute_places(data, stride):
            size, type_ = NLATTR.unpack_from(data, at)
            self.places[type_ & NLA_TYPE] = (at + 4, size - 4)

    def bytes_at(self, at: int) -> list[int]:
        """Cut out one byte of each message."""
        return list(self.data[at :: self.stride])

    def halves(self, at: int) -> list[int]:
        """Cut out sixteen bits of each message."""
        with memoryview(self.data) as view, view.cast("H") as halves:
            return halves[at // 2 :: self.stride // 2].tolist()

    def words(self, at: int) -> list[int]:
        """Cut out one word of each message."""
        with memoryview(self.data) as view, view.cast("I") as words:
            return words[at // 4 :: self.stride // 4].tolist()

    def longs(self, at: int) -> list[int]:
        """Cut out 64 bits of each message, which attributes align to 32."""
        if not self.stride & 7 and not at & 7:
            with memoryview(self.data) as view, view.cast("Q") as longs:
                return longs[at // 8 :: self.stride // 8].tolist()
        pairs = zip(self.words(at), self.words(at + 4), strict=True)
        return [
            int.from_bytes(first.to_bytes(4, byteorder) + second.to_bytes(4, byteorder), byteorder) if second else first
            for first, second in pairs
        ]

    def slices(self, at: int, size: int) -> list[bytes]:
        """Cut a piece out of each message."""
        data = self.data
        return [data[start : start + size] for start in range(at, len(data), self.stride)]

    def values(self, attribute: int) -> list[bytes]:
        """Give the values of an attribute that the layout has."""
        return self.slices(*self.places[attribute])

    def info(self, name: str) -> list[int]:
        """Cut out a number of tcp_info that is 16 bits or longer; zeros where this kernel has none of that name."""
        start, length = self.places.get(INET_DIAG_INFO, (0, 0))
        at, size = PLACES[name]
        if at + size > length:
            return [0] * self.count
        return (self.words if size == 4 else self.longs if size == 8 else self.halves)(start + at)


def attribute_places(data: bytes, stride: int) -> list[int]:
    """Find where the attributes of the first message begin."""
    found: list[int] = []
    at = _ATTRIBUTES
    while at + 4 <= stride:
        size = NLATTR.unpack_from(data, at)[0]
        if size < 4 or at + size > stride:
            break
        found.append(at)
        at += size + 3 & ~3
    return found


def alike(found: Iterable[Run]) -> Iterator[tuple[bytes, Run]]:
    """Cut runs into runs of one layout, in order, each with a name of its layout."""
    for stride, data in found:
        name = _layout(stride, data)
        if name:
            yield name, (stride, data)
            continue
        padding = bytes(-stride & 3)
        for start in range(0, len(data), stride):
            piece = data[start : start + stride] + padding
            yield _layout(len(piece), piece), (len(piece), piece)


def _layout(stride: int, data: bytes) -> bytes:
    """Name the layout that all messages of a run have; empty if they differ."""
    if stride & 3:
        return b""
    name = stride.to_bytes(4, "little")
    places = attribute_places(data, stride)
    with memoryview(data) as view, view.cast("I") as words:
        for at in places:
            heads = words[at // 4 :: stride // 4].tolist()
            if heads.count(heads[0]) != len(heads):
                return b""
            name += data[at : at + 4]
    return name
