"""IPv4 header options of sockets, RFC 791 3.1 (Linux: net/ipv4/ip_options.c).

Checked as the kernel checks what a program sets; a source route names the first hop, which routing then asks for."""

from __future__ import annotations

from twinsock.uapi.capability import CAP_NET_RAW
from twinsock.uapi.errno import EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

MAX_IPOPTLEN: Final = 40
_END: Final = 0
_NOOP: Final = 1
_RR: Final = 7
_TIMESTAMP: Final = 68
_CIPSO: Final = 134
_LSRR: Final = 131
_SSRR: Final = 137
_RA: Final = 148


def ip_options_get(task: Task, net: Net, data: bytes) -> tuple[int, bytes]:
    """Check options that a program gives: (0 or -EINVAL, options padded to words)."""
    if len(data) > MAX_IPOPTLEN:
        return -EINVAL, b""
    opts = bytearray(data + bytes(-len(data) % 4))
    privileged = task.ns_capable(net.user_ns, CAP_NET_RAW)
    at = 0
    route_seen = False
    while at < len(opts):
        kind = opts[at]
        if kind == _END:
            opts[at:] = bytes(len(opts) - at)
            break
        if kind == _NOOP:
            at += 1
            continue
        if len(opts) - at < 2:
            return -EINVAL, b""
        size = opts[at + 1]
        if size < 2 or size > len(opts) - at:
            return -EINVAL, b""
        option = opts[at : at + size]
        if kind in (_LSRR, _SSRR):
            if size < 3 or option[2] != 4 or size < 7 or (size - 3) & 3 or route_seen:
                return -EINVAL, b""
            route_seen = True
        elif not _option_ok(kind, size, option, privileged):
            return -EINVAL, b""
        at += size
    return 0, bytes(opts)


def _option_ok(kind: int, size: int, option: bytearray, privileged: bool) -> bool:
    if kind == _RR:
        return size >= 3 and option[2] >= 4 and (option[2] > size or option[2] + 3 <= size)
    if kind == _TIMESTAMP:
        return _timestamp_ok(size, option)
    if kind == _RA:
        return size >= 4
    return privileged


def _timestamp_ok(size: int, option: bytearray) -> bool:
    if size < 4 or option[2] < 5:
        return False
    if option[2] > size:
        return option[3] >> 4 != 15
    flag = option[3] & 15
    need = 3 if flag == 0 else 7
    return option[2] + need <= size


def first_hop(opts: bytes) -> int:
    """Return the address that a source route sends a packet to first, 0 without a source route."""
    at = 0
    while at < len(opts) and opts[at] != _END:
        if opts[at] == _NOOP:
            at += 1
            continue
        size = opts[at + 1]
        if opts[at] in (_LSRR, _SSRR) and size >= 7:
            return int.from_bytes(opts[at + 3 : at + 7], "big")
        at += size
    return 0


def is_strict_route(opts: bytes) -> bool:
    """Tell whether a strict source route is among the options."""
    at = 0
    while at < len(opts) and opts[at] != _END:
        if opts[at] == _NOOP:
            at += 1
            continue
        if opts[at] == _SSRR:
            return True
        at += opts[at + 1]
    return False


def source_routed(opts: bytes, daddr: int) -> bytes:
    """Return the options as they go on the wire: the first hop is taken out, the destination becomes the last one."""
    out = bytearray(opts)
    at = 0
    while at < len(out) and out[at] != _END:
        if out[at] == _NOOP:
            at += 1
            continue
        size = out[at + 1]
        if out[at] in (_LSRR, _SSRR) and size >= 7:
            out[at + 3 : at + size] = out[at + 7 : at + size] + daddr.to_bytes(4, "big")
            break
        at += size
    return bytes(out)
