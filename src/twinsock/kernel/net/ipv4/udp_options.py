"""Options of level IPPROTO_UDP and IPPROTO_UDPLITE, udp(7), udplite(7) (Linux: udp_lib_setsockopt(), udp_lib_getsockopt())."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import lock_sock, release_sock
from twinsock.kernel.net.ipv4.ip_sockglue import ip_getsockopt, ip_setsockopt
from twinsock.kernel.net.ipv4.udp import UdpSock, udp_push_pending_frames
from twinsock.uapi import udp
from twinsock.uapi.errno import EFAULT, EINVAL, ENOPROTOOPT
from twinsock.uapi.in_ import IPPROTO_UDP, IPPROTO_UDPLITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_ENCAPS: Final = (0, udp.UDP_ENCAP_ESPINUDP, udp.UDP_ENCAP_L2TPINUDP)


def udp_setsockopt(task: Task, sk: UdpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of any level below SOL_SOCKET: 0 or -errno."""
    if level in (IPPROTO_UDP, IPPROTO_UDPLITE):
        return udp_lib_setsockopt(sk, optname, optval, optlen)
    return ip_setsockopt(task, sk, level, optname, optval, optlen)


def udp_getsockopt(task: Task, sk: UdpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option of any level below SOL_SOCKET: (0 or -errno, value)."""
    if level in (IPPROTO_UDP, IPPROTO_UDPLITE):
        return udp_lib_getsockopt(sk, optname, optlen)
    return ip_getsockopt(task, sk, level, optname, optval, optlen)


def udp_lib_setsockopt(sk: UdpSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of UDP or UDP-Lite: 0 or -errno."""
    if optlen < 4:
        return -EINVAL
    if optval is None or len(optval) < 4:
        return -EFAULT
    val = int.from_bytes(optval[:4], "little", signed=True)
    if optname == udp.UDP_CORK:
        sk.corkflag = 1 if val else 0
        if not val:
            lock_sock(sk)
            udp_push_pending_frames(sk)
            release_sock(sk)
    elif optname == udp.UDP_ENCAP:
        if val not in _ENCAPS:
            return -ENOPROTOOPT
        sk.encap_type = val
    elif optname == udp.UDP_NO_CHECK6_TX:
        sk.no_check6_tx = 1 if val else 0
    elif optname == udp.UDP_NO_CHECK6_RX:
        sk.no_check6_rx = 1 if val else 0
    elif optname == udp.UDP_SEGMENT:
        if val < 0 or val > 0xFFFF:
            return -EINVAL
        sk.udp_gso_size = val
    elif optname == udp.UDP_GRO:
        sk.gro_enabled = 1 if val else 0
    else:
        return _set_coverage(sk, optname, val)
    return 0


def _set_coverage(sk: UdpSock, optname: int, val: int) -> int:
    """UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV: less than the header means the header, RFC 3828 3.1."""
    if not sk.is_udplite or optname not in (udp.UDPLITE_SEND_CSCOV, udp.UDPLITE_RECV_CSCOV):
        return -ENOPROTOOPT
    if val != 0 and val < 8:
        val = 8
    elif val > 0xFFFF:
        val = 0xFFFF
    if optname == udp.UDPLITE_SEND_CSCOV:
        sk.pcslen = val
        sk.pcslen_set = True
    else:
        sk.pcrlen = val
        sk.pcrlen_set = True
    return 0


def udp_lib_getsockopt(sk: UdpSock, optname: int, optlen: int) -> tuple[int, bytes]:
    """Read an option of UDP or UDP-Lite: (0 or -errno, value)."""
    if optlen < 0:
        return -EINVAL, b""
    values = {
        udp.UDP_CORK: sk.corkflag,
        udp.UDP_ENCAP: sk.encap_type,
        udp.UDP_NO_CHECK6_TX: sk.no_check6_tx,
        udp.UDP_NO_CHECK6_RX: sk.no_check6_rx,
        udp.UDP_SEGMENT: sk.udp_gso_size,
        udp.UDP_GRO: sk.gro_enabled,
        udp.UDPLITE_SEND_CSCOV: sk.pcslen,
        udp.UDPLITE_RECV_CSCOV: sk.pcrlen,
    }
    val = values.get(optname, -1)
    return (-ENOPROTOOPT, b"") if val < 0 else (0, val.to_bytes(4, "little")[:optlen])
