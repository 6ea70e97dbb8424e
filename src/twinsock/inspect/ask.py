"""One question over netlink: every message of the answer, asked again when the kernel's tables changed meanwhile."""

from __future__ import annotations

from twinsock.inspect.port import DumpInterrupted, NotAvailable
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_MIN_TYPE
from twinsock.wire.netlink import nlmsg, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

    T = TypeVar("T")

ATTEMPTS = 8


def ask_all(
    port: KernelPort,
    protocol: int,
    type_: int,
    payload: bytes,
    parse: Callable[[Buffer, int, int], T | None],
    netns: int = 0,
) -> list[T]:
    """Dump, and parse each message's payload, in the kernel's order. Raises OSError."""
    request = nlmsg(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)
    for _attempt in range(ATTEMPTS):
        found: list[T] = []
        try:
            for view in port.netlink(protocol, request, netns):
                for kind, _flags, start, end in spans(view):
                    if kind >= NLMSG_MIN_TYPE:
                        record = parse(view, start, end)
                        if record is not None:
                            found.append(record)
            return found
        except DumpInterrupted:
            continue
    raise interrupted()


def interrupted() -> OSError:
    """Say that a dump never came out whole."""
    from twinsock.uapi.errno import EAGAIN

    return OSError(EAGAIN, f"the kernel's tables changed during each of {ATTEMPTS} dumps")


def no_handler(error: OSError, name: str) -> OSError:
    """Turn a missing sock_diag handler's ENOENT into a sentence; other errors stay."""
    if error.errno == ENOENT:
        return NotAvailable(ENOENT, f"this kernel has no sock_diag handler for {name} sockets")
    return error
