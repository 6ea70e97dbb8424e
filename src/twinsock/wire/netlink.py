"""Netlink messages and attributes: `struct nlmsghdr`, `struct nlattr`, `struct nlmsgerr`, netlink(7), RFC 3549.

Integers are in host byte order, as on the socket. Left out: the extended acknowledgement's attributes.
"""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.netlink import NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NLMSGHDR: Final = Struct("=IHHII")  # length, type, flags, sequence, port id
NLATTR: Final = Struct("=HH")  # length, type
U32: Final = Struct("=I")
U64: Final = Struct("=Q")
S32: Final = Struct("=i")
NLA_TYPE: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

Buffer = bytes | bytearray | memoryview


class DumpInterrupted(Exception):
    """The kernel's tables changed during a dump (NLM_F_DUMP_INTR), or a message did not fit: ask again."""


class NlMsg:
    """One message: its header's fields and the bytes after the header."""

    def __init__(self, type_: int, flags: int, seq: int, portid: int, payload: bytes) -> None:
        self.type: int = type_
        self.flags: int = flags
        self.seq: int = seq
        self.portid: int = portid
        self.payload: bytes = payload

    def emit(self) -> bytes:
        """Give the message's bytes, padded to four."""
        return nlmsg(self.type, self.flags, self.payload, self.seq, self.portid)


def nlmsg(type_: int, flags: int, payload: bytes, seq: int = 0, portid: int = 0) -> bytes:
    """Put a header before a payload."""
    size = NLMSG_HDRLEN + len(payload)
    return NLMSGHDR.pack(size, type_, flags, seq, portid) + payload + b"\0" * (-size & 3)


def nlattr(type_: int, value: bytes) -> bytes:
    """Emit one attribute, padded to four bytes."""
    return NLATTR.pack(4 + len(value), type_) + value + b"\0" * (-len(value) & 3)


def nlattrs(attributes: list[tuple[int, bytes]]) -> bytes:
    """Emit attributes one after the other."""
    return b"".join([nlattr(type_, value) for type_, value in attributes])


def nlmsg_error(error: int, request: bytes, seq: int, portid: int) -> bytes:
    """Emit an NLMSG_ERROR for a request; `error` is a negative errno, or 0 for an acknowledgement."""
    return nlmsg(NLMSG_ERROR, 0, S32.pack(error) + request, seq, portid)


def nlmsg_done(flags: int, seq: int, portid: int) -> bytes:
    """Emit the end of a dump."""
    return nlmsg(NLMSG_DONE, flags, S32.pack(0), seq, portid)


def spans(data: Buffer) -> list[tuple[int, int, int, int]]:
    """Find the messages of a datagram: (type, flags, start of payload, end of payload) each.

    What stands behind a broken header is ignored, as netlink readers do.
    """
    found: list[tuple[int, int, int, int]] = []
    offset = 0
    end = len(data)
    while offset + NLMSG_HDRLEN <= end:
        size, type_, flags, _seq, _portid = NLMSGHDR.unpack_from(data, offset)
        if size < NLMSG_HDRLEN or offset + size > end:
            break
        found.append((type_, flags, offset + NLMSG_HDRLEN, offset + size))
        offset += size + 3 & ~3
    return found


def parse_messages(data: Buffer) -> list[NlMsg]:
    """Parse the messages of a datagram."""
    found: list[NlMsg] = []
    for type_, flags, start, end in spans(data):
        _size, _type, _flags, seq, portid = NLMSGHDR.unpack_from(data, start - NLMSG_HDRLEN)
        found.append(NlMsg(type_, flags, seq, portid, bytes(data[start:end])))
    return found


def parse_attributes(data: Buffer, offset: int, end: int) -> list[tuple[int, bytes]]:
    """Parse the attributes between two offsets; the type comes without its two flag bits."""
    found: list[tuple[int, bytes]] = []
    while offset + 4 <= end:
        size, type_ = NLATTR.unpack_from(data, offset)
        if size < 4 or offset + size > end:
            break
        found.append((type_ & NLA_TYPE, bytes(data[offset + 4 : offset + size])))
        offset += size + 3 & ~3
    return found


def error_of(data: Buffer, start: int) -> int:
    """Read the negative errno of an NLMSG_ERROR or NLMSG_DONE whose payload starts there (0: no error)."""
    if start + 4 > len(data):
        return 0
    error: int = S32.unpack_from(data, start)[0]
    return error
