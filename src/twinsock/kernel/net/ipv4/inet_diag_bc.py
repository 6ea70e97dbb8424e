"""Filter programs of inet_diag dumps: the check before they run, and the run (Linux: inet_diag_bc_audit() and inet_diag_bc_run() of
net/ipv4/inet_diag.c).

An operation names two distances: `yes` and `no`. A program accepts when it ends exactly at its end."""

from __future__ import annotations

from twinsock.uapi.errno import EINVAL, EPERM
from twinsock.uapi.inet_diag import (
    INET_DIAG_BC_AUTO,
    INET_DIAG_BC_CGROUP_COND,
    INET_DIAG_BC_D_COND,
    INET_DIAG_BC_D_EQ,
    INET_DIAG_BC_D_GE,
    INET_DIAG_BC_D_LE,
    INET_DIAG_BC_DEV_COND,
    INET_DIAG_BC_JMP,
    INET_DIAG_BC_MARK_COND,
    INET_DIAG_BC_NOP,
    INET_DIAG_BC_S_COND,
    INET_DIAG_BC_S_EQ,
    INET_DIAG_BC_S_GE,
    INET_DIAG_BC_S_LE,
)
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


_OP: Final = 4
_HOSTCOND: Final = 8
_MAPPED: Final = bytes(10) + b"\xff\xff"
_PORT_OPS: Final[tuple[int, ...]] = (
    INET_DIAG_BC_S_EQ,
    INET_DIAG_BC_S_GE,
    INET_DIAG_BC_S_LE,
    INET_DIAG_BC_D_EQ,
    INET_DIAG_BC_D_GE,
    INET_DIAG_BC_D_LE,
)


class DiagEntry:
    """`struct inet_diag_entry`: what a program may ask of a socket."""

    def __init__(self) -> None:
        self.family = 0
        self.saddr = b""
        self.daddr = b""
        self.sport = 0
        self.dport = 0
        self.ifindex = 0
        self.mark = 0
        self.cgroup_id = 0
        self.bound_port = False  # bind(2) chose its port


def _u16(code: bytes, at: int) -> int:
    return int.from_bytes(code[at : at + 2], "little")


def _u32(code: bytes, at: int) -> int:
    return int.from_bytes(code[at : at + 4], "little")


def _host_len(family: int) -> int:
    """Return the bytes of a condition's address, -1 for a family it cannot have."""
    if family == AF_INET:
        return 4
    if family == AF_INET6:
        return 16
    return 0 if family == AF_UNSPEC else -1


def _min_len(code: bytes, at: int, left: int, net_admin: bool) -> int:
    """Return the bytes that an operation takes at least, or -errno when it is not well formed."""
    op = code[at]
    need = _OP
    if op in (INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND):
        need = _OP + _HOSTCOND
        if left < need:
            return -EINVAL
        size = _host_len(code[at + _OP])
        if size < 0 or left < need + size or code[at + _OP + 1] > 8 * size:
            return -EINVAL
        return need + size
    if op == INET_DIAG_BC_MARK_COND:
        if not net_admin:
            return -EPERM
        need = _OP + 8
    elif op == INET_DIAG_BC_CGROUP_COND:
        need = _OP + 8
    elif op == INET_DIAG_BC_DEV_COND or op in _PORT_OPS:
        need = _OP + 4
    elif op not in (INET_DIAG_BC_AUTO, INET_DIAG_BC_JMP, INET_DIAG_BC_NOP):
        return -EINVAL
    return need if left >= need else -EINVAL


def _lands_on_an_operation(code: bytes, target: int) -> bool:
    """Tell whether following the `yes` distances from the start meets the target."""
    at = 0
    while at < len(code):
        if at == target:
            return True
        step = code[at + 1]
        if step < _OP or step & 3 or at + step > target:
            return False
        at += step
    return False


def inet_diag_bc_audit(code: bytes, net_admin: bool) -> int:
    """Check a program: 0, -EINVAL, or -EPERM for a question about marks without CAP_NET_ADMIN."""
    if len(code) < _OP:
        return -EINVAL
    at = 0
    while at < len(code):
        left = len(code) - at
        if left < _OP:
            return -EINVAL
        need = _min_len(code, at, left, net_admin)
        if need < 0:
            return need
        yes, no = code[at + 1], _u16(code, at + 2)
        if code[at] != INET_DIAG_BC_NOP:
            if no < need or no > left + 4 or no & 3:
                return -EINVAL
            if no < left and not _lands_on_an_operation(code, at + no):
                return -EINVAL
        if yes < need or yes > left + 4 or yes & 3:
            return -EINVAL
        at += yes
    return 0 if at == len(code) else -EINVAL


def _bits_match(a: bytes, b: bytes, bits: int) -> bool:
    whole = bits >> 3
    if a[:whole] != b[:whole]:
        return False
    rest = bits & 7
    return rest == 0 or (a[whole] ^ b[whole]) >> 8 - rest == 0


def _host_matches(code: bytes, at: int, entry: DiagEntry, local: bool) -> bool:
    family, prefix = code[at], code[at + 1]
    port = int.from_bytes(code[at + 4 : at + 8], "little", signed=True)
    wanted = code[at + 8 :]
    address = entry.saddr if local else entry.daddr
    if port not in (-1, entry.sport if local else entry.dport):
        return False
    if family not in (AF_UNSPEC, entry.family):
        mapped = entry.family == AF_INET6 and family == AF_INET and address[:12] == _MAPPED
        return mapped and _bits_match(address[12:], wanted, prefix)
    return prefix == 0 or _bits_match(address, wanted, prefix)


def _is_true(code: bytes, at: int, entry: DiagEntry) -> bool:
    """Judge one operation."""
    op = code[at]
    if op in _PORT_OPS:
        port = entry.sport if op in (INET_DIAG_BC_S_EQ, INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE) else entry.dport
        value = _u16(code, at + _OP + 2)
        if op in (INET_DIAG_BC_S_EQ, INET_DIAG_BC_D_EQ):
            return port == value
        return port >= value if op in (INET_DIAG_BC_S_GE, INET_DIAG_BC_D_GE) else port <= value
    if op == INET_DIAG_BC_JMP:
        return False
    if op == INET_DIAG_BC_AUTO:
        return not entry.bound_port
    if op in (INET_DIAG_BC_S_COND, INET_DIAG_BC_D_COND):
        return _host_matches(code, at + _OP, entry, op == INET_DIAG_BC_S_COND)
    if op == INET_DIAG_BC_DEV_COND:
        return entry.ifindex == _u32(code, at + _OP)
    if op == INET_DIAG_BC_MARK_COND:
        return entry.mark & _u32(code, at + _OP + 4) == _u32(code, at + _OP)
    if op == INET_DIAG_BC_CGROUP_COND:
        return entry.cgroup_id == int.from_bytes(code[at + _OP : at + _OP + 8], "little")
    return True


def inet_diag_bc_run(code: bytes, entry: DiagEntry) -> bool:
    """Tell whether a program that passed the check accepts a socket."""
    at = 0
    while at < len(code):
        at += code[at + 1] if _is_true(code, at, entry) else _u16(code, at + 2)
    return at == len(code)
