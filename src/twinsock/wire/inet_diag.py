"""inet_diag requests, replies and filter bytecode, `<linux/inet_diag.h>`, sock_diag(7).

Ports and addresses are in network order, everything else in host order. Left out: INET_DIAG_REQ_SK_BPF_STORAGES.
"""

from __future__ import annotations

from struct import Struct

from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.inet_diag import (
    INET_DIAG_BC_AUTO,
    INET_DIAG_BC_CGROUP_COND,
    INET_DIAG_BC_D_COND,
    INET_DIAG_BC_DEV_COND,
    INET_DIAG_BC_JMP,
    INET_DIAG_BC_MARK_COND,
    INET_DIAG_BC_S_COND,
    INET_DIAG_REQ_BYTECODE,
    INET_DIAG_REQ_PROTOCOL,
)
from twinsock.wire.netlink import U32, U64, Buffer, nlattr, nlattrs, parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ALL_STATES: Final = 0xFFFFFFFF
NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF
REQ_SIZE: Final = 56
MSG_SIZE: Final = 72

_REQ: Final = Struct("=BBBxI4B16s16sIQ")
# family state timer retransmits | source port, destination port as two bytes each | addresses | interface | cookie |
# expires rqueue wqueue uid inode
_COMPAT_REQ: Final = Struct("=BxxB4B16s16sIQII")
_MSG: Final = Struct("=8B16s16sIQ5I")
_OP: Final = Struct("=BBH")
_HOSTCOND: Final = Struct("=BBxxi")
_ZERO12: Final = b"\0" * 12


class InetDiagReq:
    """`struct inet_diag_req_v2` with its attributes: what to dump, or exactly which socket."""

    def __init__(self, family: int, protocol: int, states: int = ALL_STATES, ext: int = 0) -> None:
        self.family: int = family
        self.protocol: int = protocol  # above 255 it travels in INET_DIAG_REQ_PROTOCOL
        self.ext: int = ext
        self.states: int = states
        self.sport: int = 0
        self.dport: int = 0
        self.src: bytes = b""  # 4 or 16 bytes; empty means zero
        self.dst: bytes = b""
        self.ifindex: int = 0
        self.cookie: int = NO_COOKIE
        self.bytecode: bytes = b""

    def emit(self) -> bytes:
        """Give the request's bytes, without the netlink header."""
        src = (self.src + b"\0" * 16)[:16]
        dst = (self.dst + b"\0" * 16)[:16]
        sport = self.sport
        dport = self.dport
        protocol = self.protocol & 0xFF
        fixed = _REQ.pack(
            *(self.family, protocol, self.ext, self.states, sport >> 8, sport & 255, dport >> 8, dport & 255),
            *(src, dst, self.ifindex, self.cookie),
        )
        if self.protocol > 255:
            fixed += nlattr(INET_DIAG_REQ_PROTOCOL, U32.pack(self.protocol))
        if self.bytecode:
            fixed += nlattr(INET_DIAG_REQ_BYTECODE, self.bytecode)
        return fixed

    def emit_compat(self) -> bytes:
        """Give `struct inet_diag_req` of TCPDIAG_GETSOCK, whose dumps of TCP take both families in one walk."""
        sport = self.sport
        dport = self.dport
        fixed = _COMPAT_REQ.pack(
            *(self.family, self.ext, sport >> 8, sport & 255, dport >> 8, dport & 255),
            *((self.src + b"\0" * 16)[:16], (self.dst + b"\0" * 16)[:16], self.ifindex, self.cookie, self.states, 0),
        )
        if self.bytecode:
            fixed += nlattr(INET_DIAG_REQ_BYTECODE, self.bytecode)
        return fixed


def parse_req(data: Buffer) -> InetDiagReq | None:
    """Parse a request; None if it is too short."""
    if len(data) < REQ_SIZE:
        return None
    family, protocol, ext, states, s1, s0, d1, d0, src, dst, ifindex, cookie = _REQ.unpack_from(data, 0)
    req = InetDiagReq(family, protocol, states, ext)
    size = 16 if family == 10 else 4
    req.sport = s1 << 8 | s0
    req.dport = d1 << 8 | d0
    req.src = src[:size]
    req.dst = dst[:size]
    req.ifindex = ifindex
    req.cookie = cookie
    for type_, value in parse_attributes(data, REQ_SIZE, len(data)):
        if type_ == INET_DIAG_REQ_PROTOCOL and len(value) >= 4:
            req.protocol = U32.unpack_from(value, 0)[0]
        elif type_ == INET_DIAG_REQ_BYTECODE:
            req.bytecode = value
    return req


def parse_compat_req(data: Buffer) -> InetDiagReq | None:
    """Parse `struct inet_diag_req` of TCPDIAG_GETSOCK; None if it is too short."""
    size = _COMPAT_REQ.size
    if len(data) < size:
        return None
    family, ext, s1, s0, d1, d0, src, dst, ifindex, cookie, states, _dbs = _COMPAT_REQ.unpack_from(data, 0)
    req = InetDiagReq(family, IPPROTO_TCP, states, ext)
    length = 16 if family == 10 else 4
    req.sport, req.dport = s1 << 8 | s0, d1 << 8 | d0
    req.src, req.dst = src[:length], dst[:length]
    req.ifindex, req.cookie = ifindex, cookie
    for type_, value in parse_attributes(data, size, len(data)):
        if type_ == INET_DIAG_REQ_BYTECODE:
            req.bytecode = value
    return req


class InetDiagMsg:
    """`struct inet_diag_msg` with its attributes: one socket."""

    def __init__(self, family: int, state: int) -> None:
        self.family: int = family
        self.state: int = state
        self.timer: int = 0
        self.retrans: int = 0
        self.sport: int = 0
        self.dport: int = 0
        self.src: bytes = b""  # 4 bytes for AF_INET, 16 for AF_INET6
        self.dst: bytes = b""
        self.ifindex: int = 0
        self.cookie: int = 0
        self.expires: int = 0  # milliseconds
        self.rqueue: int = 0
        self.wqueue: int = 0
        self.uid: int = 0
        self.inode: int = 0
        self.attributes: list[tuple[int, bytes]] = []

    def emit(self) -> bytes:
        """Give the reply's bytes, without the netlink header."""
        pad = b"" if len(self.src) == 16 else _ZERO12
        sport = self.sport
        dport = self.dport
        return _MSG.pack(
            *(self.family, self.state, self.timer, self.retrans, sport >> 8, sport & 255, dport >> 8, dport & 255),
            *(self.src + pad, self.dst + pad, self.ifindex, self.cookie),
            *(self.expires, self.rqueue, self.wqueue, self.uid, self.inode),
        ) + nlattrs(self.attributes)


def parse_msg(data: Buffer, start: int, end: int) -> InetDiagMsg | None:
    """Parse the reply between two offsets; None if it is too short."""
    if end - start < MSG_SIZE:
        return None
    family, state, timer, retrans, s1, s0, d1, d0, src, dst, ifindex, cookie, *rest = _MSG.unpack_from(data, start)
    msg = InetDiagMsg(family, state)
    size = 16 if family == 10 else 4
    msg.timer = timer
    msg.retrans = retrans
    msg.sport = s1 << 8 | s0
    msg.dport = d1 << 8 | d0
    msg.src = src[:size]
    msg.dst = dst[:size]
    msg.ifindex = ifindex
    msg.cookie = cookie
    msg.expires, msg.rqueue, msg.wqueue, msg.uid, msg.inode = rest
    msg.attributes = parse_attributes(data, start + MSG_SIZE, end)
    return msg


# Filter bytecode. A block accepts by running off its end and refuses by jumping four bytes past it, so that blocks
# combine without knowing each other:
#
#   a and b:  [ a ][ b ]            a's refusals are moved to the end of b
#   a or b:   [ a ][jmp][ b ]       a's refusal lands on b; its acceptance jumps over b
#   not a:    [ a ][jmp]            a's acceptance jumps out, its refusal lands on the end
#
# Linux checks each jump before it runs the program: it must land on an operation, or at most four bytes past the end.


def bc_port(op: int, port: int) -> bytes:
    """Compare a port: `op` is INET_DIAG_BC_S_EQ, S_GE, S_LE, D_EQ, D_GE or D_LE."""
    return _OP.pack(op, 8, 12) + _OP.pack(0, 0, port)


def bc_host(local: bool, family: int, address: bytes, prefix: int, port: int = -1) -> bytes:
    """Compare the local or remote address's first `prefix` bits, and its port unless -1."""
    size = 4 + _HOSTCOND.size + len(address)
    op = INET_DIAG_BC_S_COND if local else INET_DIAG_BC_D_COND
    return _OP.pack(op, size, size + 4) + _HOSTCOND.pack(family, prefix, port) + address


def bc_device(ifindex: int) -> bytes:
    """Accept sockets bound to this interface (0: to none)."""
    return _OP.pack(INET_DIAG_BC_DEV_COND, 8, 12) + U32.pack(ifindex)


def bc_cgroup(cgroup_id: int) -> bytes:
    """Accept sockets of this cgroup (its directory's inode)."""
    return _OP.pack(INET_DIAG_BC_CGROUP_COND, 12, 16) + U64.pack(cgroup_id)


def bc_mark(mark: int, mask: int) -> bytes:
    """Accept sockets whose SO_MARK equals `mark` under `mask` (needs CAP_NET_ADMIN)."""
    return _OP.pack(INET_DIAG_BC_MARK_COND, 12, 16) + U32.pack(mark) + U32.pack(mask)


def bc_autobound() -> bytes:
    """Accept sockets that did not choose their port with bind(): clients, and what listeners accepted."""
    return _OP.pack(INET_DIAG_BC_AUTO, 4, 8)


def bc_and(first: bytes, second: bytes) -> bytes:
    """Accept what both accept."""
    if not first or not second:
        return first or second
    patched = bytearray(first)
    offset = 0
    while offset < len(first):
        op, yes, no = _OP.unpack_from(first, offset)
        if offset + no == len(first) + 4:
            _OP.pack_into(patched, offset, op, yes, no + len(second))
        offset += yes
    return bytes(patched) + second


def bc_or(first: bytes, second: bytes) -> bytes:
    """Accept what either accepts; an empty program accepts everything."""
    if not first or not second:
        return b""
    return first + _OP.pack(INET_DIAG_BC_JMP, 4, 4 + len(second)) + second


def bc_not(program: bytes) -> bytes:
    """Accept what the program refuses."""
    return program + _OP.pack(INET_DIAG_BC_JMP, 4, 8)
