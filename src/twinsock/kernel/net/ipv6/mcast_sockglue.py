"""MCAST_JOIN_GROUP and its kin for IPv6, RFC 3678 5 (Linux: the ipv6_mcast_* functions of net/ipv6/ipv6_sockglue.c)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv6.mcast_sock import ip6_mc_msfilter, ip6_mc_source, ipv6_sock_mc_drop, ipv6_sock_mc_join
from twinsock.uapi import in_
from twinsock.uapi.errno import EADDRINUSE, EADDRNOTAVAIL, EFAULT, EINVAL, ENOBUFS, ENODEV
from twinsock.uapi.socket import AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

GROUP_REQ: Final = 136
GROUP_SOURCE_REQ: Final = 264
GROUP_FILTER_HEAD: Final = 144
SOCKADDR_STORAGE: Final = 128
_MLD_MAX_MSF: Final = 64


def _family(data: bytes, at: int) -> int:
    return data[at] | data[at + 1] << 8


def ipv6_mcast_option(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set one of the protocol-independent multicast options: 0 or -errno."""
    if optname in (in_.MCAST_JOIN_GROUP, in_.MCAST_LEAVE_GROUP):
        return _join_leave(sk, optname, optval, optlen)
    if optname == in_.MCAST_MSFILTER:
        return _filter(sk, optval, optlen)
    if optlen < GROUP_SOURCE_REQ:
        return -EINVAL
    if optval is None or len(optval) < GROUP_SOURCE_REQ:
        return -EFAULT
    if _family(optval, 8) != AF_INET6 or _family(optval, 136) != AF_INET6:
        return -EADDRNOTAVAIL
    ifindex = int.from_bytes(optval[:4], "little")
    group, source = optval[16:32], optval[144:160]
    if optname == in_.MCAST_JOIN_SOURCE_GROUP:
        err = ipv6_sock_mc_join(sk, ifindex, group, in_.MCAST_INCLUDE)
        if err and err != -EADDRINUSE:
            return err
    mode = in_.MCAST_EXCLUDE if optname in (in_.MCAST_BLOCK_SOURCE, in_.MCAST_UNBLOCK_SOURCE) else in_.MCAST_INCLUDE
    return ip6_mc_source(sk, optname in (in_.MCAST_BLOCK_SOURCE, in_.MCAST_JOIN_SOURCE_GROUP), mode, ifindex, group, source)


def _join_leave(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < GROUP_REQ:
        return -EINVAL
    if optval is None or len(optval) < GROUP_REQ:
        return -EFAULT
    if _family(optval, 8) != AF_INET6:
        return -EADDRNOTAVAIL
    ifindex = int.from_bytes(optval[:4], "little")
    if optname == in_.MCAST_JOIN_GROUP:
        return ipv6_sock_mc_join(sk, ifindex, optval[16:32])
    return ipv6_sock_mc_drop(sk, ifindex, optval[16:32])


def _filter(sk: InetSock, optval: bytes | None, optlen: int) -> int:
    if optlen < GROUP_FILTER_HEAD:
        return -EINVAL
    if optlen > sk.sk_net.core.sysctl_optmem_max:
        return -ENOBUFS
    if optval is None or len(optval) < optlen:
        return -EFAULT
    count = int.from_bytes(optval[140:144], "little")
    if count >= 0x1FFFFFF or count > _MLD_MAX_MSF:
        return -ENOBUFS
    if GROUP_FILTER_HEAD + SOCKADDR_STORAGE * count > optlen:
        return -EINVAL
    if _family(optval, 8) != AF_INET6:
        return -EINVAL
    sources = [optval[at + 8 : at + 24] for at in range(GROUP_FILTER_HEAD, GROUP_FILTER_HEAD + SOCKADDR_STORAGE * count, SOCKADDR_STORAGE)]
    return ip6_mc_msfilter(sk, int.from_bytes(optval[:4], "little"), optval[16:32], int.from_bytes(optval[136:140], "little"), sources)


def ipv6_get_msfilter(sk: InetSock, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read MCAST_MSFILTER: (0 or -errno, struct group_filter)."""
    np = sk.pinet6
    if optlen < GROUP_FILTER_HEAD or np is None:
        return -EINVAL, b""
    if _family(optval, 8) != AF_INET6:
        return -EADDRNOTAVAIL, b""
    group = optval[16:32]
    ifindex = int.from_bytes(optval[:4], "little")
    if group[0] != 0xFF:
        return -EINVAL, b""
    room = int.from_bytes(optval[140:144], "little")
    for mc in np.mc_list:
        if mc.ifindex == ifindex and mc.addr == group:
            out = optval[:136] + mc.sfmode.to_bytes(4, "little") + len(mc.sources).to_bytes(4, "little")
            for source in mc.sources[:room]:
                out += AF_INET6.to_bytes(2, "little") + bytes(6) + source + bytes(SOCKADDR_STORAGE - 24)
            return 0, out
    return (-ENODEV if not ifindex else -EADDRNOTAVAIL), b""
