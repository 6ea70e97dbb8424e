"""Writing pcapng captures: section, interface and enhanced packet blocks (draft-ietf-opsawg-pcapng).

Little-endian, nanosecond time stamps, one section. Blocks are given as bytes; who calls decides where they go."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LINKTYPE_NULL: Final = 0
LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
DIR_UNKNOWN: Final = 0
DIR_INBOUND: Final = 1
DIR_OUTBOUND: Final = 2

_BLOCK_SHB: Final = 0x0A0D0D0A
_BLOCK_IDB: Final = 1
_BLOCK_EPB: Final = 6
_OPT_END: Final = b"\0\0\0\0"
_OPT_COMMENT: Final = 1
_OPT_SHB_USERAPPL: Final = 4
_OPT_IF_NAME: Final = 2
_OPT_IF_TSRESOL: Final = 9
_OPT_EPB_FLAGS: Final = 2
_U32X2: Final = Struct("<II")
_EPB: Final = Struct("<IIIII")
_U32: Final = Struct("<I")
_OPT: Final = Struct("<HH")


class EnhancedPacket:
    """One captured packet as written to a file."""

    def __init__(
        self, interface: int, time_ns: int, data: bytes, orig_len: int = -1, direction: int = DIR_UNKNOWN, comment: str = ""
    ) -> None:
        self.interface = interface
        self.time_ns = time_ns  # since the epoch
        self.data = data
        self.orig_len = len(data) if orig_len < 0 else orig_len
        self.direction = direction  # DIR_*
        self.comment = comment

    def emit(self) -> bytes:
        """Give the enhanced packet block."""
        data = self.data
        body = _EPB.pack(self.interface, self.time_ns >> 32 & 0xFFFFFFFF, self.time_ns & 0xFFFFFFFF, len(data), self.orig_len)
        body += data + bytes(-len(data) & 3)
        options = b""
        if self.comment:
            options += _option(_OPT_COMMENT, self.comment.encode())
        if self.direction:
            options += _option(_OPT_EPB_FLAGS, _U32.pack(self.direction))
        return _block(_BLOCK_EPB, body + (options + _OPT_END if options else b""))


def section_header(application: str) -> bytes:
    """Give the block that opens a file."""
    body = _U32.pack(0x1A2B3C4D) + b"\x01\0\0\0" + b"\xff" * 8
    return _block(_BLOCK_SHB, body + _option(_OPT_SHB_USERAPPL, application.encode()) + _OPT_END)


def interface_description(name: str, linktype: int, snaplen: int = 0) -> bytes:
    """Give the block that introduces the next interface (they are numbered from 0 in order)."""
    body = _U32.pack(linktype) + _U32.pack(snaplen)
    options = _option(_OPT_IF_NAME, name.encode()) + _option(_OPT_IF_TSRESOL, b"\x09")
    return _block(_BLOCK_IDB, body + options + _OPT_END)


def parse(data: bytes) -> tuple[list[tuple[str, int]], list[EnhancedPacket]] | None:
    """Read back what this module writes: (interfaces as (name, link type), packets); None for anything else."""
    interfaces: list[tuple[str, int]] = []
    packets: list[EnhancedPacket] = []
    offset = 0
    while offset < len(data):
        if offset + 12 > len(data):
            return None
        type_, size = _U32X2.unpack_from(data, offset)
        if size < 12 or size & 3 or offset + size > len(data) or _U32.unpack_from(data, offset + size - 4)[0] != size:
            return None
        body = data[offset + 8 : offset + size - 4]
        if type_ == _BLOCK_IDB:
            if len(body) < 8:
                return None
            name = b""
            for code, value in _parse_options(body[8:]):
                if code == _OPT_IF_NAME:
                    name = value
            interfaces.append((name.decode("utf-8", "replace"), _U32.unpack_from(body)[0]))
        elif type_ == _BLOCK_EPB:
            if len(body) < _EPB.size:
                return None
            packets.append(_parse_packet(body))
        elif type_ != _BLOCK_SHB:
            return None
        offset += size
    return interfaces, packets


def _parse_packet(body: bytes) -> EnhancedPacket:
    interface, high, low, caplen, orig_len = _EPB.unpack_from(body)
    packet = EnhancedPacket(interface, high << 32 | low, body[20 : 20 + caplen], orig_len)
    for code, value in _parse_options(body[20 + caplen + (-caplen & 3) :]):
        if code == _OPT_COMMENT:
            packet.comment = value.decode("utf-8", "replace")
        elif code == _OPT_EPB_FLAGS and len(value) == 4:
            packet.direction = _U32.unpack(value)[0] & 3
    return packet


def _option(code: int, value: bytes) -> bytes:
    return _OPT.pack(code, len(value)) + value + bytes(-len(value) & 3)


def _parse_options(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    offset = 0
    while offset + 4 <= len(data):
        code, size = _OPT.unpack_from(data, offset)
        if code == 0:
            break
        found.append((code, data[offset + 4 : offset + 4 + size]))
        offset += 4 + size + (-size & 3)
    return found


def _block(type_: int, body: bytes) -> bytes:
    size = len(body) + 12
    return _U32X2.pack(type_, size) + body + _U32.pack(size)
