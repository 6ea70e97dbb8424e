"""Options of level IPPROTO_IP, ip(7) (Linux: do_ip_setsockopt(), do_ip_getsockopt() of net/ipv4/ip_sockglue.c; sheet 01, 1.11).

Integers may also be given as one byte. Left out: multicast routing (MRT_*), netfilter's options, IPsec policies, which give the
errors of a kernel that has none."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.sock import lock_sock, release_sock
from twinsock.kernel.net.core.sock_mem import skb_queue_purge_err
from twinsock.kernel.net.ipv4 import inet_sock as f
from twinsock.kernel.net.ipv4.devinet import ip_dev_find
from twinsock.kernel.net.ipv4.igmp_sock import IpMreqn, ip_mc_join_group, ip_mc_leave_group, ip_mc_msfget, ip_mc_msfilter, ip_mc_source
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import rt_tos2priority
from twinsock.kernel.net.ipv4.ip_options import MAX_IPOPTLEN, ip_options_get
from twinsock.kernel.net.ipv4.route import sk_dst_check
from twinsock.uapi import in_
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_RAW
from twinsock.uapi.errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    EPROTO,
)
from twinsock.uapi.in6 import IPV6_XFRM_POLICY
from twinsock.uapi.socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_NOT_HERE: Final = 1  # the option belongs to another group
_MASK32: Final = 0xFFFFFFFF
_GROUP_REQ: Final = 136
_GROUP_SOURCE_REQ: Final = 264
_MSFILTER_HEAD: Final = 16
_GROUP_FILTER_HEAD: Final = 144
_SOCKADDR_STORAGE: Final = 128

# options that are one bit, set without any further rule
_BITS: Final[dict[int, int]] = {
    in_.IP_PKTINFO: f.INET_FLAGS_PKTINFO,
    in_.IP_RECVTTL: f.INET_FLAGS_TTL,
    in_.IP_RECVOPTS: f.INET_FLAGS_RECVOPTS,
    in_.IP_RETOPTS: f.INET_FLAGS_RETOPTS,
    in_.IP_RECVTOS: f.INET_FLAGS_TOS,
    in_.IP_PASSSEC: f.INET_FLAGS_PASSSEC,
    in_.IP_RECVORIGDSTADDR: f.INET_FLAGS_ORIGDSTADDR,
    in_.IP_RECVFRAGSIZE: f.INET_FLAGS_RECVFRAGSIZE,
    in_.IP_BIND_ADDRESS_NO_PORT: f.INET_FLAGS_BIND_ADDRESS_NO_PORT,
    in_.IP_CHECKSUM: f.INET_FLAGS_CHECKSUM,
    in_.IP_RECVERR: f.INET_FLAGS_RECVERR,
    in_.IP_RECVERR_RFC4884: f.INET_FLAGS_RECVERR_RFC4884,
    in_.IP_FREEBIND: f.INET_FLAGS_FREEBIND,
    in_.IP_HDRINCL: f.INET_FLAGS_HDRINCL,
    in_.IP_MULTICAST_LOOP: f.INET_FLAGS_MC_LOOP,
    in_.IP_MULTICAST_ALL: f.INET_FLAGS_MC_ALL,
    in_.IP_TRANSPARENT: f.INET_FLAGS_TRANSPARENT,
    in_.IP_NODEFRAG: f.INET_FLAGS_NODEFRAG,
}
_NEED_VALUE: Final = (in_.IP_FREEBIND, in_.IP_MULTICAST_LOOP, in_.IP_MULTICAST_ALL, in_.IP_TRANSPARENT)
_INT_OPTIONS: Final = (
    in_.IP_TOS,
    in_.IP_TTL,
    in_.IP_MTU_DISCOVER,
    in_.IP_ROUTER_ALERT,
    in_.IP_MINTTL,
    in_.IP_UNICAST_IF,
    in_.IP_MULTICAST_TTL,
    in_.IP_LOCAL_PORT_RANGE,
)


def ip_setsockopt(task: Task, sk: InetSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of level IPPROTO_IP: 0 or -errno; other levels are -ENOPROTOOPT."""
    if level != in_.IPPROTO_IP:
        return -ENOPROTOOPT
    return do_ip_setsockopt(task, sk, optname, optval, optlen)


def do_ip_setsockopt(task: Task, sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option: 0 or -errno."""
    val = 0
    if optname in _BITS or optname in _INT_OPTIONS:
        if optlen >= 1:
            size = 4 if optlen >= 4 else 1
            if optval is None or len(optval) < size:
                return -EFAULT
            val = int.from_bytes(optval[:size], "little", signed=size == 4)
        ret = _set_bit(task, sk, optname, val, optlen) if optname in _BITS else _set_int(sk, optname, val, optlen)
        if ret != _NOT_HERE:
            return ret
    lock_sock(sk)
    ret = _set_locked(task, sk, optname, val, optval, optlen)
    release_sock(sk)
    return ret


def _set_bit(task: Task, sk: InetSock, optname: int, val: int, optlen: int) -> int:
    if optname in (in_.IP_HDRINCL, in_.IP_NODEFRAG) and sk.sk_type != SOCK_RAW:
        return -ENOPROTOOPT
    if optname == in_.IP_RECVFRAGSIZE and sk.sk_type not in (SOCK_RAW, SOCK_DGRAM):
        return -EINVAL
    if optname == in_.IP_TRANSPARENT and val:
        user_ns = sk.sk_net.user_ns
        if not task.ns_capable(user_ns, CAP_NET_RAW) and not task.ns_capable(user_ns, CAP_NET_ADMIN):
            return -EPERM
    if optname in _NEED_VALUE and optlen < 1:
        return -EINVAL
    if optname in (in_.IP_MULTICAST_ALL, in_.IP_RECVERR_RFC4884) and val not in (0, 1):
        return -EINVAL
    sk.inet_assign_bit(_BITS[optname], val != 0)
    if optname == in_.IP_RECVERR and not val:
        skb_queue_purge_err(sk)
    return 0


def _set_int(sk: InetSock, optname: int, val: int, optlen: int) -> int:
    if optname in (in_.IP_TTL, in_.IP_MINTTL, in_.IP_MULTICAST_TTL):
        return _set_ttl(sk, optname, val, optlen)
    if optname == in_.IP_TOS:
        ip_sock_set_tos(sk, val)
    elif optname == in_.IP_MTU_DISCOVER:
        if val < in_.IP_PMTUDISC_DONT or val > in_.IP_PMTUDISC_OMIT:
            return -EINVAL
        sk.pmtudisc = val
    elif optname == in_.IP_LOCAL_PORT_RANGE:
        low, high = val & 0xFFFF, val >> 16 & 0xFFFF
        if optlen != 4 or (low and high and low > high):
            return -EINVAL
        sk.local_port_range = val & _MASK32
    else:
        return _NOT_HERE
    return 0


def _set_ttl(sk: InetSock, optname: int, val: int, optlen: int) -> int:
    if optname == in_.IP_MULTICAST_TTL and sk.sk_type == SOCK_STREAM:
        return -EINVAL
    if optlen < 1:
        return -EINVAL
    if optname == in_.IP_TTL:
        if val != -1 and not 1 <= val <= 255:
            return -EINVAL
        sk.uc_ttl = val
        return 0
    if optname == in_.IP_MULTICAST_TTL and val == -1:
        val = 1
    if not 0 <= val <= 255:
        return -EINVAL
    if optname == in_.IP_MINTTL:
        sk.min_ttl = val
    else:
        sk.mc_ttl = val
    return 0


def ip_sock_set_tos(sk: InetSock, val: int) -> None:
    """Set the TOS byte and the priority that goes with it; a stream's ECN bits are TCP's own."""
    val &= 0xFF
    if sk.sk_type == SOCK_STREAM:
        val = val & ~3 | sk.tos & 3
    if sk.tos != val:
        sk.tos = val
        sk.sk_priority = rt_tos2priority(val)
        sk.sk_dst_cache = None


def _set_locked(task: Task, sk: InetSock, optname: int, val: int, optval: bytes | None, optlen: int) -> int:
    if optname == in_.IP_OPTIONS:
        if optlen > MAX_IPOPTLEN:
            return -EINVAL
        if optlen and optval is None:
            return -EFAULT
        err, opts = ip_options_get(task, sk.sk_net, (optval or b"")[:optlen])
        if not err:
            sk.inet_opt = opts or None
        return err
    if optname == in_.IP_UNICAST_IF:
        return _set_unicast_if(sk, val, optlen)
    if optname == in_.IP_MULTICAST_IF:
        return _set_multicast_if(sk, optval, optlen)
    if optname == in_.IP_ROUTER_ALERT:
        return sk.sk_prot.router_alert(sk, val != 0)
    if optname in (in_.IP_IPSEC_POLICY, in_.IP_XFRM_POLICY):
        return xfrm_user_policy(task, sk, optname, optval, optlen)
    if in_.IP_ADD_MEMBERSHIP <= optname <= in_.MCAST_MSFILTER:
        return _set_membership(sk, optname, optval, optlen)
    return -ENOPROTOOPT


def _set_unicast_if(sk: InetSock, val: int, optlen: int) -> int:
    if optlen != 4:
        return -EINVAL
    ifindex = int.from_bytes((val & _MASK32).to_bytes(4, "little"), "big")
    if ifindex == 0:
        sk.uc_index = 0
        return 0
    dev = dev_get_by_index(sk.sk_net, ifindex)
    if dev is None:
        return -EADDRNOTAVAIL
    if sk.sk_bound_dev_if and dev.l3mdev_master != sk.sk_bound_dev_if:
        return -EINVAL
    sk.uc_index = ifindex
    return 0


def _set_multicast_if(sk: InetSock, optval: bytes | None, optlen: int) -> int:
    if sk.sk_type == SOCK_STREAM or optlen < 4:
        return -EINVAL
    size = 12 if optlen >= 12 else 8 if optlen >= 8 else 4
    if optval is None or len(optval) < size:
        return -EFAULT
    address = int.from_bytes(optval[0:4] if size == 4 else optval[4:8], "big")
    ifindex = int.from_bytes(optval[8:12], "little") if size == 12 else 0
    if not ifindex:
        if address == 0:
            sk.mc_index = 0
            sk.mc_addr = 0
            return 0
        dev = ip_dev_find(sk.sk_net, address)
    else:
        dev = dev_get_by_index(sk.sk_net, ifindex)
    if dev is None:
        return -EADDRNOTAVAIL
    if sk.sk_bound_dev_if and sk.sk_bound_dev_if not in (dev.ifindex, dev.l3mdev_master):
        return -EINVAL
    sk.mc_index = dev.ifindex
    sk.mc_addr = address
    return 0


def xfrm_user_policy(task: Task, sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Refuse as a kernel without IPsec policies does."""
    if not task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN):
        return -EPERM
    if optlen <= 0 or optlen > 4096:
        return -EMSGSIZE
    if optval is None:
        return -EFAULT
    own = IPV6_XFRM_POLICY if sk.sk_family == AF_INET6 else in_.IP_XFRM_POLICY
    return -EINVAL if optname == own else -EOPNOTSUPP


# Multicast groups


def _set_membership(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optname in (in_.IP_ADD_MEMBERSHIP, in_.IP_DROP_MEMBERSHIP):
        if sk.inet_test_bit(f.INET_FLAGS_IS_ICSK):
            return -EPROTO
        return _mreq(sk, optname, optval, optlen)
    if optname in (in_.IP_BLOCK_SOURCE, in_.IP_UNBLOCK_SOURCE, in_.IP_ADD_SOURCE_MEMBERSHIP, in_.IP_DROP_SOURCE_MEMBERSHIP):
        if optlen != 12:
            return -EINVAL
        if optval is None or len(optval) < 12:
            return -EFAULT
        imr = IpMreqn(int.from_bytes(optval[0:4], "big"), int.from_bytes(optval[4:8], "big"), 0)
        return _source(sk, optname, imr, int.from_bytes(optval[8:12], "big"))
    if optname == in_.IP_MSFILTER:
        return _msfilter(sk, optval, optlen)
    if optname in (in_.MCAST_JOIN_GROUP, in_.MCAST_LEAVE_GROUP):
        return _group_req(sk, optname, optval, optlen)
    if optname == in_.MCAST_MSFILTER:
        return _group_filter(sk, optval, optlen)
    return _group_source_req(sk, optname, optval, optlen)


def _mreq(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < 8:
        return -EINVAL
    size = 12 if optlen >= 12 else 8
    if optval is None or len(optval) < size:
        return -EFAULT
    ifindex = int.from_bytes(optval[8:12], "little") if size == 12 else 0
    imr = IpMreqn(int.from_bytes(optval[0:4], "big"), int.from_bytes(optval[4:8], "big"), ifindex)
    return ip_mc_join_group(sk, imr) if optname == in_.IP_ADD_MEMBERSHIP else ip_mc_leave_group(sk, imr)


def _source(sk: InetSock, optname: int, imr: IpMreqn, source: int) -> int:
    if optname in (in_.IP_BLOCK_SOURCE, in_.MCAST_BLOCK_SOURCE):
        return ip_mc_source(sk, True, in_.MCAST_EXCLUDE, imr, source)
    if optname in (in_.IP_UNBLOCK_SOURCE, in_.MCAST_UNBLOCK_SOURCE):
        return ip_mc_source(sk, False, in_.MCAST_EXCLUDE, imr, source)
    if optname in (in_.IP_DROP_SOURCE_MEMBERSHIP, in_.MCAST_LEAVE_SOURCE_GROUP):
        return ip_mc_source(sk, False, in_.MCAST_INCLUDE, imr, source)
    err = ip_mc_join_group(sk, imr, in_.MCAST_INCLUDE)
    if err and err != -EADDRINUSE:
        return err
    return ip_mc_source(sk, True, in_.MCAST_INCLUDE, imr, source)


def _msfilter(sk: InetSock, optval: bytes | None, optlen: int) -> int:
    if optlen < _MSFILTER_HEAD:
        return -EINVAL
    if optlen > sk.sk_net.core.sysctl_optmem_max:
        return -ENOBUFS
    if optval is None or len(optval) < optlen:
        return -EFAULT
    count = int.from_bytes(optval[12:16], "little")
    if count >= 0x3FFFFFFC or count > sk.sk_net.ipv4.sysctl_igmp_max_msf:
        return -ENOBUFS
    if _MSFILTER_HEAD + 4 * count > optlen:
        return -EINVAL
    imr = IpMreqn(int.from_bytes(optval[0:4], "big"), int.from_bytes(optval[4:8], "big"), 0)
    sources = [int.from_bytes(optval[at : at + 4], "big") for at in range(16, 16 + 4 * count, 4)]
    return ip_mc_msfilter(sk, imr, int.from_bytes(optval[8:12], "little"), sources)


def _group_req(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < _GROUP_REQ:
        return -EINVAL
    if optval is None or len(optval) < _GROUP_REQ:
        return -EFAULT
    if optval[8] | optval[9] << 8 != AF_INET:
        return -EINVAL
    imr = IpMreqn(int.from_bytes(optval[12:16], "big"), 0, int.from_bytes(optval[0:4], "little"))
    return ip_mc_join_group(sk, imr) if optname == in_.MCAST_JOIN_GROUP else ip_mc_leave_group(sk, imr)


def _group_source_req(sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen != _GROUP_SOURCE_REQ:
        return -EINVAL
    if optval is None or len(optval) < _GROUP_SOURCE_REQ:
        return -EFAULT
    if optval[8] | optval[9] << 8 != AF_INET or optval[136] | optval[137] << 8 != AF_INET:
        return -EADDRNOTAVAIL
    imr = IpMreqn(int.from_bytes(optval[12:16], "big"), 0, int.from_bytes(optval[0:4], "little"))
    return _source(sk, optname, imr, int.from_bytes(optval[140:144], "big"))


def _group_filter(sk: InetSock, optval: bytes | None, optlen: int) -> int:
    if optlen < _GROUP_FILTER_HEAD:
        return -EINVAL
    if optlen > sk.sk_net.core.sysctl_optmem_max:
        return -ENOBUFS
    if optval is None or len(optval) < optlen:
        return -EFAULT
    count = int.from_bytes(optval[140:144], "little")
    if count >= 0x1FFFFFF or count > sk.sk_net.ipv4.sysctl_igmp_max_msf:
        return -ENOBUFS
    if _GROUP_FILTER_HEAD + _SOCKADDR_STORAGE * count > optlen:
        return -EINVAL
    if optval[8] | optval[9] << 8 != AF_INET:
        return -EADDRNOTAVAIL
    sources: list[int] = []
    for at in range(_GROUP_FILTER_HEAD, _GROUP_FILTER_HEAD + _SOCKADDR_STORAGE * count, _SOCKADDR_STORAGE):
        if optval[at] | optval[at + 1] << 8 != AF_INET:
            return -EADDRNOTAVAIL
        sources.append(int.from_bytes(optval[at + 4 : at + 8], "big"))
    imr = IpMreqn(int.from_bytes(optval[12:16], "big"), 0, int.from_bytes(optval[0:4], "little"))
    return ip_mc_msfilter(sk, imr, int.from_bytes(optval[136:140], "little"), sources)


# Reading


def ip_getsockopt(task: Task, sk: InetSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option of level IPPROTO_IP: (0 or -errno, value); other levels are -EOPNOTSUPP."""
    if level != in_.IPPROTO_IP:
        return -EOPNOTSUPP, b""
    if optlen < 0:
        return -EINVAL, b""
    return do_ip_getsockopt(sk, optname, optval, optlen)


def do_ip_getsockopt(sk: InetSock, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option: (0 or -errno, value)."""
    if optname in (in_.IP_MSFILTER, in_.MCAST_MSFILTER):
        return _get_msfilter(sk, optval, optlen) if optname == in_.IP_MSFILTER else _get_group_filter(sk, optval, optlen)
    if optname == in_.IP_OPTIONS:
        return 0, (sk.inet_opt or b"")[:optlen]
    if optname == in_.IP_MULTICAST_IF:
        return 0, sk.mc_addr.to_bytes(4, "big")[:optlen]
    if optname == in_.IP_PKTOPTIONS:
        return _get_pktoptions(sk, optlen)
    if optname == in_.IP_MTU:
        dst = sk_dst_check(sk)
        if dst is None or not dst.mtu:
            return -ENOTCONN, b""
        return 0, _ip_int(dst.mtu, optlen)
    bit = _BITS.get(optname, -1)
    if bit >= 0:
        return 0, _ip_int(1 if sk.inet_test_bit(bit) else 0, optlen)
    known, val = _get_int(sk, optname)
    return (0, _ip_int(val, optlen)) if known else (-ENOPROTOOPT, b"")


def _ip_int(val: int, optlen: int) -> bytes:
    """Give an int; a buffer that is too small for one gets a byte, when the value fits into it."""
    if 0 < optlen < 4 and 0 <= val <= 255:
        return bytes((val,))
    return (val & _MASK32).to_bytes(4, "little")[:optlen]


def _get_int(sk: InetSock, optname: int) -> tuple[bool, int]:
    if optname == in_.IP_TOS:
        return True, sk.tos
    if optname == in_.IP_TTL:
        return True, sk.sk_net.ipv4.sysctl_ip_default_ttl if sk.uc_ttl < 0 else sk.uc_ttl
    if optname == in_.IP_MTU_DISCOVER:
        return True, sk.pmtudisc
    if optname == in_.IP_MINTTL:
        return True, sk.min_ttl
    if optname == in_.IP_MULTICAST_TTL:
        return True, sk.mc_ttl
    if optname == in_.IP_UNICAST_IF:
        return True, int.from_bytes(sk.uc_index.to_bytes(4, "big"), "little")
    if optname == in_.IP_LOCAL_PORT_RANGE:
        return True, sk.local_port_range
    if optname == in_.IP_PROTOCOL:
        return True, sk.sk_num  # Linux: the number that is the protocol of raw sockets alone
    if optname == in_.IP_ROUTER_ALERT:
        return True, 1 if sk.inet_test_bit(f.INET_FLAGS_RTALERT) else 0
    return False, 0


def _get_pktoptions(sk: InetSock, optlen: int) -> tuple[int, bytes]:
    """Give what IP_PKTINFO, IP_RECVTTL and IP_RECVTOS would say of a stream."""
    if sk.sk_type != SOCK_STREAM:
        return -ENOPROTOOPT, b""
    out = b""
    if sk.inet_test_bit(f.INET_FLAGS_PKTINFO):
        data = sk.mc_index.to_bytes(4, "little") + sk.sk_rcv_saddr.to_bytes(4, "big") * 2
        out += _cmsg(in_.IP_PKTINFO, data)
    if sk.inet_test_bit(f.INET_FLAGS_TTL):
        out += _cmsg(in_.IP_TTL, sk.mc_ttl.to_bytes(4, "little"))
    if sk.inet_test_bit(f.INET_FLAGS_TOS):
        out += _cmsg(in_.IP_TOS, sk.rcv_tos.to_bytes(4, "little"))
    return 0, out[:optlen]


def _cmsg(type_: int, data: bytes) -> bytes:
    head = (16 + len(data)).to_bytes(8, "little") + in_.IPPROTO_IP.to_bytes(4, "little") + type_.to_bytes(4, "little")
    return head + data + bytes(-len(data) % 8)


def _get_msfilter(sk: InetSock, optval: bytes, optlen: int) -> tuple[int, bytes]:
    if optlen < _MSFILTER_HEAD:
        return -EINVAL, b""
    imr = IpMreqn(int.from_bytes(optval[0:4], "big"), int.from_bytes(optval[4:8], "big"), 0)
    err, pmc = ip_mc_msfget(sk, imr)
    if pmc is None:
        return err, b""
    room = int.from_bytes(optval[12:16], "little")
    out = optval[0:8] + pmc.sfmode.to_bytes(4, "little") + len(pmc.sources).to_bytes(4, "little")
    return 0, out + b"".join([source.to_bytes(4, "big") for source in pmc.sources[:room]])


def _get_group_filter(sk: InetSock, optval: bytes, optlen: int) -> tuple[int, bytes]:
    if optlen < _GROUP_FILTER_HEAD:
        return -EINVAL, b""
    if optval[8] | optval[9] << 8 != AF_INET:
        return -EINVAL, b""
    room = int.from_bytes(optval[140:144], "little")
    multiaddr = int.from_bytes(optval[12:16], "big")
    ifindex = int.from_bytes(optval[0:4], "little")
    for pmc in sk.mc_list:
        if pmc.multiaddr == multiaddr and pmc.ifindex == ifindex:
            out = optval[:136] + pmc.sfmode.to_bytes(4, "little") + len(pmc.sources).to_bytes(4, "little")
            for source in pmc.sources[:room]:
                out += AF_INET.to_bytes(2, "little") + bytes(2) + source.to_bytes(4, "big") + bytes(_SOCKADDR_STORAGE - 8)
            return 0, out
    return -EADDRNOTAVAIL, b""
