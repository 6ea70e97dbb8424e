"""Flow label leases, IPV6_FLOWLABEL_MGR (Linux: net/ipv6/ip6_flowlabel.c).

Only what a socket that holds no lease sees: leases are not given (D-udp-4)."""

from typing import TYPE_CHECKING, Final

from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.uapi import in6
from twinsock.uapi.errno import EFAULT, EINVAL, ENOENT, ENOMEM, EPERM, ESRCH

if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task

_FREQ: Final = 32  # sizeof(struct in6_flowlabel_req)


def ipv6_flowlabel_opt(task: "Task", sk: InetSock, optval: bytes | None, optlen: int) -> int:
    """Set IPV6_FLOWLABEL_MGR: -errno."""
    if optlen < _FREQ:
        return -EINVAL
    if optval is None or len(optval) < _FREQ:
        return -EFAULT
    label = int.from_bytes(optval[16:20], "big")
    action, share = optval[20], optval[21]
    flags = optval[22] | optval[23] << 8
    if action == in6.IPV6_FL_A_PUT:
        return -ESRCH
    if action == in6.IPV6_FL_A_RENEW:
        return -ESRCH
    if action != in6.IPV6_FL_A_GET:
        return -EINVAL
    if label & ~0xFFFFF:
        return -EINVAL
    if share not in (1, 2, 3, 255) or ((share == 2 or share == 3) and not flags):
        return -EINVAL
    if optval[0] == 0xFF or (not any(optval[:16]) and share != 255):
        return -EINVAL
    if not flags & in6.IPV6_FL_F_CREATE:
        return -ENOENT
    return -ENOMEM if share != 255 else -EPERM


def ipv6_flowlabel_get(sk: InetSock, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read IPV6_FLOWLABEL_MGR: (-errno, nothing)."""
    if 0 <= optlen < _FREQ or (len(optval) >= _FREQ and optval[20] != in6.IPV6_FL_A_GET):
        return -EINVAL, b""
    return -ENOENT, b""
