"""Conditions on sockets: compiled to the kernel's filter bytecode, or evaluated here with the same result.

The kernel compares an IPv4 prefix with v4-mapped addresses too; so does `matches()`. What the kernel cannot know
(names of UNIX sockets) is false for every internet socket, and compiles to a condition that is never true.
"""

from __future__ import annotations

from twinsock.uapi.inet_diag import (
    INET_DIAG_BC_D_EQ,
    INET_DIAG_BC_D_GE,
    INET_DIAG_BC_D_LE,
    INET_DIAG_BC_S_EQ,
    INET_DIAG_BC_S_GE,
    INET_DIAG_BC_S_LE,
)
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.wire.inet_diag import bc_and, bc_autobound, bc_cgroup, bc_device, bc_host, bc_mark, bc_not, bc_or, bc_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
_PORT_MAX: Final = 65535
_BYTECODE_MAX: Final = 60_000  # jumps are 16 bits wide
_OPS = {
    (True, "eq"): INET_DIAG_BC_S_EQ,
    (True, "ge"): INET_DIAG_BC_S_GE,
    (True, "le"): INET_DIAG_BC_S_LE,
    (False, "eq"): INET_DIAG_BC_D_EQ,
    (False, "ge"): INET_DIAG_BC_D_GE,
    (False, "le"): INET_DIAG_BC_D_LE,
}


class Subject:
    """What a condition looks at, of any kind of socket."""

    def __init__(self, family: int, local: bytes, local_port: int, remote: bytes, remote_port: int) -> None:
        self.family = family
        self.local = local
        self.local_port = local_port  # UNIX: inode; netlink: port id
        self.remote = remote
        self.remote_port = remote_port
        self.ifindex = 0
        self.mark = 0
        self.cgroup = 0
        self.local_name = ""  # of UNIX, netlink and packet sockets
        self.remote_name = ""
        self.autobound = False


class Condition:
    """One condition."""

    def matches(self, subject: Subject) -> bool:
        """Tell whether a socket fulfils it."""
        raise NotImplementedError

    def bytecode(self) -> bytes:
        """Give the kernel's program for it; empty accepts everything."""
        raise NotImplementedError


class And(Condition):
    """All of them."""

    def __init__(self, parts: list[Condition]) -> None:
        self.parts = parts

    def matches(self, subject: Subject) -> bool:
        return all(part.matches(subject) for part in self.parts)

    def bytecode(self) -> bytes:
        return _joined([part.bytecode() for part in self.parts], bc_and)


class Or(Condition):
    """One of them at least."""

    def __init__(self, parts: list[Condition]) -> None:
        self.parts = parts

    def matches(self, subject: Subject) -> bool:
        return any(part.matches(subject) for part in self.parts)

    def bytecode(self) -> bytes:
        return _joined([part.bytecode() for part in self.parts], bc_or)


def _joined(programs: list[bytes], join: Callable[[bytes, bytes], bytes]) -> bytes:
    """Join programs pairwise; what would be too long for the kernel's jumps is only strung together, and stays too long."""
    if sum([len(program) + 4 for program in programs]) > _BYTECODE_MAX:
        return b"".join([program + b"\0\0\0\0" for program in programs])
    while len(programs) > 1:
        pairs = [join(programs[at], programs[at + 1]) for at in range(0, len(programs) - 1, 2)]
        programs = pairs + programs[len(pairs) * 2 :]
    return programs[0]


class Not(Condition):
    """The opposite."""

    def __init__(self, inner: Condition) -> None:
        self.inner = inner

    def matches(self, subject: Subject) -> bool:
        return not self.inner.matches(subject)

    def bytecode(self) -> bytes:
        return bc_not(self.inner.bytecode() or _ALWAYS)


class Port(Condition):
    """A comparison with a port: `op` is eq, ge or le."""

    def __init__(self, local: bool, op: str, number: int) -> None:
        self.local = local
        self.op = op
        self.number = number

    def matches(self, subject: Subject) -> bool:
        port = subject.local_port if self.local else subject.remote_port
        return port == self.number if self.op == "eq" else port >= self.number if self.op == "ge" else port <= self.number

    def bytecode(self) -> bytes:
        if self.number > _PORT_MAX:  # the field has 16 bits
            return _ALWAYS if self.op == "le" else _NEVER
        return bc_port(_OPS[self.local, self.op], self.number)


class Host(Condition):
    """An address with a prefix, and a port unless -1."""

    def __init__(self, local: bool, address: bytes, prefix: int, port: int) -> None:
        self.local = local
        self.address = address  # 4 or 16 bytes; empty: any
        self.prefix = prefix
        self.port = port

    def matches(self, subject: Subject) -> bool:
        address, port = (subject.local, subject.local_port) if self.local else (subject.remote, subject.remote_port)
        if self.port >= 0 and port != self.port:
            return False
        if not self.address:
            return True
        if len(address) != len(self.address):
            if len(self.address) != 4 or address[:12] != _MAPPED:
                return False
            address = address[12:]
        shift = len(self.address) * 8 - self.prefix
        return int.from_bytes(address, "big") >> shift == int.from_bytes(self.address, "big") >> shift

    def bytecode(self) -> bytes:
        if not self.address:
            return bc_port(_OPS[self.local, "eq"], self.port) if self.port >= 0 else _ALWAYS
        family = AF_INET if len(self.address) == 4 else AF_INET6
        return bc_host(self.local, family, self.address, self.prefix, self.port)


class Name(Condition):
    """A shell pattern for the name of a UNIX socket."""

    def __init__(self, local: bool, pattern: str) -> None:
        self.local = local
        self.pattern = pattern

    def matches(self, subject: Subject) -> bool:
        from fnmatch import fnmatchcase

        if subject.family in (AF_INET, AF_INET6):
            return False
        return fnmatchcase(subject.local_name if self.local else subject.remote_name, self.pattern)

    def bytecode(self) -> bytes:
        return _NEVER


class Device(Condition):
    """Bound to an interface."""

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex

    def matches(self, subject: Subject) -> bool:
        return subject.ifindex == self.ifindex

    def bytecode(self) -> bytes:
        return bc_device(self.ifindex)


class Mark(Condition):
    """SO_MARK under a mask."""

    def __init__(self, mark: int, mask: int) -> None:
        self.mark = mark
        self.mask = mask

    def matches(self, subject: Subject) -> bool:
        return subject.mark & self.mask == self.mark

    def bytecode(self) -> bytes:
        return bc_mark(self.mark, self.mask)


class Cgroup(Condition):
    """In a cgroup, by the inode of its folder."""

    def __init__(self, number: int) -> None:
        self.number = number

    def matches(self, subject: Subject) -> bool:
        return subject.cgroup == self.number

    def bytecode(self) -> bytes:
        return bc_cgroup(self.number)


class Autobound(Condition):
    """The kernel chose the port or name."""

    def matches(self, subject: Subject) -> bool:
        return subject.autobound

    def bytecode(self) -> bytes:
        return bc_autobound()


_ALWAYS = bc_port(INET_DIAG_BC_S_GE, 0)
_NEVER = bc_not(_ALWAYS)


def compiled(condition: Condition) -> bytes | None:
    """Give a condition's bytecode, None if it is too long for the kernel."""
    program = condition.bytecode()
    return program if len(program) <= _BYTECODE_MAX else None
