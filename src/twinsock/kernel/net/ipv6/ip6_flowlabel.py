"""Flow label leases, IPV6_FLOWLABEL_MGR (Linux: net/ipv6/ip6_flowlabel.c).

Only what a socket that holds no lease sees: leases are not given (D-udp-1)."""

from __future__ import annotations

from twinsock.uapi import in6
from twinsock.uapi.errno import EFAULT, EINVAL, ENOENT, ENOMEM, ESRCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_FREQ: Final = 32  # sizeof(struct in6_flowlabel_req)


def ipv6_flowlabel_opt(optval: bytes | None, optlen: int) -> int:
    """Set IPV6_FLOWLABEL_MGR: -errno."""
    if optlen < _FREQ:
        return -EINVAL
    if optval is None or len(optval) < _FREQ:
        return -EFAULT
    action, share = optval[20], optval[21]
    if action in (in6.IPV6_FL_A_PUT, in6.IPV6_FL_A_RENEW):
        return -ESRCH
    if action != in6.IPV6_FL_A_GET or share not in (1, 2, 3, 255) or not any(optval[:16]):
        return -EINVAL
    if int.from_bytes(optval[16:20], "big") & ~0xFFFFF:
        return -EINVAL
    if not optval[22] & in6.IPV6_FL_F_CREATE:
        return -ENOENT
    return -ENOMEM  # Twin: D-udp-1


def ipv6_flowlabel_get(optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read IPV6_FLOWLABEL_MGR: (-errno, nothing)."""
    if 0 <= optlen < _FREQ or (len(optval) >= _FREQ and optval[20] != in6.IPV6_FL_A_GET):
        return -EINVAL, b""
    return -ENOENT, b""
