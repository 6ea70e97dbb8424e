"""Options of level IPPROTO_IPV6, ipv6(7), RFC 3493, RFC 3542 (Linux: do_ipv6_setsockopt(), do_ipv6_getsockopt() of
net/ipv6/ipv6_sockglue.c).

Left out: flow label leases beyond their checks, multicast routing, netfilter's options, IPsec policies."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.sock import lock_sock, release_sock
from twinsock.kernel.net.core.sock_mem import skb_queue_purge_err
from twinsock.kernel.net.ipv4 import inet_sock as f
from twinsock.kernel.net.ipv4.inet_sock import InetSock, Ipv6Pinfo
from twinsock.kernel.net.ipv4.ip_sockglue import ip_getsockopt, ip_setsockopt, xfrm_user_policy
from twinsock.kernel.net.ipv4.route import sk_dst_check
from twinsock.kernel.net.ipv6 import ip6_cmsg as c
from twinsock.kernel.net.ipv6.ip6_cmsg import Ipcm6, ip6_datagram_send_ctl, routing_header_ok
from twinsock.kernel.net.ipv6.ip6_flowlabel import ipv6_flowlabel_get, ipv6_flowlabel_opt
from twinsock.kernel.net.ipv6.mcast_sock import ipv6_sock_ac_drop, ipv6_sock_ac_join, ipv6_sock_mc_drop, ipv6_sock_mc_join
from twinsock.kernel.net.ipv6.mcast_sockglue import ipv6_get_msfilter, ipv6_mcast_option
from twinsock.uapi import in6, in_
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_RAW
from twinsock.uapi.errno import (
    EADDRNOTAVAIL,
    EBUSY,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOPROTOOPT,
    ENOTCONN,
    EPERM,
    EPROTO,
)
from twinsock.uapi.in_ import IPPROTO_IP, IPPROTO_IPV6
from twinsock.uapi.socket import AF_INET, SOCK_RAW, SOCK_STREAM
from twinsock.uapi.tcp import TCP_ESTABLISHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_MASK32: Final = 0xFFFFFFFF
_NOT_HERE: Final = 1
_MIN_MTU: Final = 1280
_MTUINFO: Final = 32

# options that are a bit of Ipv6Pinfo.rxopt
_RX_BITS: Final[dict[int, int]] = {
    in6.IPV6_RECVPKTINFO: c.RXINFO,
    in6.IPV6_2292PKTINFO: c.RXOINFO,
    in6.IPV6_RECVHOPLIMIT: c.RXHLIM,
    in6.IPV6_2292HOPLIMIT: c.RXOHLIM,
    in6.IPV6_RECVRTHDR: c.SRCRT,
    in6.IPV6_2292RTHDR: c.OSRCRT,
    in6.IPV6_RECVHOPOPTS: c.HOPOPTS,
    in6.IPV6_2292HOPOPTS: c.OHOPOPTS,
    in6.IPV6_RECVDSTOPTS: c.DSTOPTS,
    in6.IPV6_2292DSTOPTS: c.ODSTOPTS,
    in6.IPV6_RECVTCLASS: c.RXTCLASS,
    in6.IPV6_FLOWINFO: c.RXFLOW,
    in6.IPV6_RECVPATHMTU: c.RXPMTU,
    in6.IPV6_RECVORIGDSTADDR: c.RXORIGDSTADDR,
    in6.IPV6_RECVFRAGSIZE: c.RECVFRAGSIZE,
}
# options that are a bit of inet_flags
_BITS: Final[dict[int, int]] = {
    in6.IPV6_MULTICAST_LOOP: f.INET_FLAGS_MC6_LOOP,
    in6.IPV6_MULTICAST_ALL: f.INET_FLAGS_MC6_ALL,
    in6.IPV6_RECVERR: f.INET_FLAGS_RECVERR6,
    in6.IPV6_RECVERR_RFC4884: f.INET_FLAGS_RECVERR6_RFC4884,
    in6.IPV6_DONTFRAG: f.INET_FLAGS_DONTFRAG,
    in6.IPV6_ROUTER_ALERT_ISOLATE: f.INET_FLAGS_RTALERT_ISOLATE,
    in6.IPV6_TRANSPARENT: f.INET_FLAGS_TRANSPARENT,
    in6.IPV6_FREEBIND: f.INET_FLAGS_FREEBIND,
    in6.IPV6_AUTOFLOWLABEL: f.INET_FLAGS_AUTOFLOWLABEL,
}
_EXTHDRS: Final = (in6.IPV6_HOPOPTS, in6.IPV6_RTHDRDSTOPTS, in6.IPV6_RTHDR, in6.IPV6_DSTOPTS)
_ANY_LENGTH: Final = (in6.IPV6_DONTFRAG, in6.IPV6_AUTOFLOWLABEL, in6.IPV6_RECVFRAGSIZE)  # a short value is 0


def ipv6_setsockopt(task: Task, sk: InetSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of level IPPROTO_IPV6, or IPPROTO_IP except on RAW sockets: 0 or -errno."""
    if level == IPPROTO_IP and sk.sk_type != SOCK_RAW:
        return ip_setsockopt(task, sk, level, optname, optval, optlen)
    if level != IPPROTO_IPV6:
        return -ENOPROTOOPT
    return do_ipv6_setsockopt(task, sk, optname, optval, optlen)


def do_ipv6_setsockopt(task: Task, sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option: 0 or -errno."""
    np = sk.pinet6
    if np is None:
        return -ENOPROTOOPT
    val = 0
    if optlen >= 4:
        if optval is None or len(optval) < 4:
            return -EFAULT
        val = int.from_bytes(optval[:4], "little", signed=True)
    if optname in _RX_BITS:
        if optlen < 4 and optname not in _ANY_LENGTH:
            return -EINVAL
        np.rxopt = np.rxopt | _RX_BITS[optname] if val else np.rxopt & ~_RX_BITS[optname]
        return 0
    if optname in _BITS:
        return _set_bit(task, sk, optname, val, optlen)
    ret = _set_int(sk, np, optname, val, optlen)
    if ret != _NOT_HERE:
        return ret
    lock_sock(sk)
    ret = _set_structured(task, sk, np, optname, val, optval, optlen)
    release_sock(sk)
    return ret


def _set_bit(task: Task, sk: InetSock, optname: int, val: int, optlen: int) -> int:
    if optname == in6.IPV6_TRANSPARENT and val:
        user_ns = sk.sk_net.user_ns
        if not task.ns_capable(user_ns, CAP_NET_ADMIN) and not task.ns_capable(user_ns, CAP_NET_RAW):
            return -EPERM
    if optlen < 4 and optname not in _ANY_LENGTH:
        return -EINVAL
    if optname in (in6.IPV6_MULTICAST_LOOP, in6.IPV6_RECVERR_RFC4884) and val not in (0, 1):
        return -EINVAL
    sk.inet_assign_bit(_BITS[optname], val != 0)
    if optname == in6.IPV6_RECVERR and not val:
        skb_queue_purge_err(sk)
    if optname == in6.IPV6_AUTOFLOWLABEL:
        sk.inet_assign_bit(f.INET_FLAGS_AUTOFLOWLABEL_SET, True)
    return 0


def _set_int(sk: InetSock, np: Ipv6Pinfo, optname: int, val: int, optlen: int) -> int:
    if optname in (in6.IPV6_UNICAST_HOPS, in6.IPV6_MULTICAST_HOPS, in6.IPV6_MINHOPCOUNT, in6.IPV6_TCLASS):
        return _set_byte(sk, np, optname, val, optlen)
    if optname == in6.IPV6_MTU:
        if optlen < 4 or (val and val < _MIN_MTU):
            return -EINVAL
        np.frag_size = val
    elif optname == in6.IPV6_MTU_DISCOVER:
        if optlen < 4 or val < in6.IPV6_PMTUDISC_DONT or val > in6.IPV6_PMTUDISC_OMIT:
            return -EINVAL
        np.pmtudisc = val
    elif optname == in6.IPV6_FLOWINFO_SEND:
        if optlen < 4:
            return -EINVAL
        np.sndflow = 1 if val else 0
    elif optname == in6.IPV6_ADDR_PREFERENCES:
        return -EINVAL if optlen < 4 else ip6_sock_set_addr_preferences(np, val)
    elif optname == in6.IPV6_MULTICAST_IF:
        return _set_multicast_if(sk, np, val, optlen)
    elif optname == in6.IPV6_UNICAST_IF:
        return _set_unicast_if(sk, np, val, optlen)
    else:
        return _NOT_HERE
    return 0


def _set_byte(sk: InetSock, np: Ipv6Pinfo, optname: int, val: int, optlen: int) -> int:
    if optname == in6.IPV6_MULTICAST_HOPS and sk.sk_type == SOCK_STREAM:
        return -ENOPROTOOPT
    low = 0 if optname == in6.IPV6_MINHOPCOUNT else -1
    if optlen < 4 or not low <= val <= 255:
        return -EINVAL
    if optname == in6.IPV6_UNICAST_HOPS:
        np.hop_limit = val
    elif optname == in6.IPV6_MULTICAST_HOPS:
        np.mcast_hops = 1 if val == -1 else val
    elif optname == in6.IPV6_MINHOPCOUNT:
        np.min_hopcount = val
    else:
        val = max(val, 0)
        np.tclass = val & ~3 | np.tclass & 3 if sk.sk_type == SOCK_STREAM else val
    return 0


def ip6_sock_set_addr_preferences(np: Ipv6Pinfo, val: int) -> int:
    """Set what source address selection prefers, RFC 5014: 0, -EINVAL for contradictions."""
    pref = val & (in6.IPV6_PREFER_SRC_PUBLIC | in6.IPV6_PREFER_SRC_TMP | in6.IPV6_PREFER_SRC_COA)
    kinds = val & (in6.IPV6_PREFER_SRC_PUBLIC | in6.IPV6_PREFER_SRC_TMP | in6.IPV6_PREFER_SRC_PUBTMP_DEFAULT)
    if kinds & (kinds - 1):
        return -EINVAL
    if val & in6.IPV6_PREFER_SRC_HOME and val & in6.IPV6_PREFER_SRC_COA:
        return -EINVAL
    if val & in6.IPV6_PREFER_SRC_CGA and val & in6.IPV6_PREFER_SRC_NONCGA:
        return -EINVAL
    np.srcprefs = pref
    return 0


def _set_multicast_if(sk: InetSock, np: Ipv6Pinfo, val: int, optlen: int) -> int:
    if sk.sk_type == SOCK_STREAM:
        return -ENOPROTOOPT
    if optlen < 4:
        return -EINVAL
    if val:
        dev = dev_get_by_index(sk.sk_net, val)
        if dev is None:
            return -ENODEV
        if sk.sk_bound_dev_if and sk.sk_bound_dev_if not in (val, dev.l3mdev_master):
            return -EINVAL
    np.mcast_oif = val
    return 0


def _set_unicast_if(sk: InetSock, np: Ipv6Pinfo, val: int, optlen: int) -> int:
    if optlen != 4:
        return -EINVAL
    ifindex = int.from_bytes((val & _MASK32).to_bytes(4, "little"), "big")
    if ifindex == 0:
        np.ucast_oif = 0
        return 0
    if dev_get_by_index(sk.sk_net, ifindex) is None:
        return -EADDRNOTAVAIL
    if sk.sk_bound_dev_if:
        return -EINVAL
    np.ucast_oif = ifindex
    return 0


def _set_structured(task: Task, sk: InetSock, np: Ipv6Pinfo, optname: int, val: int, optval: bytes | None, optlen: int) -> int:
    if optname == in6.IPV6_ADDRFORM:
        return _set_addrform(sk, val, optlen)
    if optname == in6.IPV6_V6ONLY:
        if optlen < 4 or sk.sk_num:
            return -EINVAL
        sk.sk_ipv6only = 1 if val else 0
        return 0
    if optname in _EXTHDRS:
        return _set_exthdr(task, sk, np, optname, optval, optlen)
    if optname == in6.IPV6_PKTINFO:
        return _set_pktinfo(sk, np, optval, optlen)
    if optname == in6.IPV6_2292PKTOPTIONS:
        return _set_pktoptions(task, sk, np, optval, optlen)
    if optname in (in6.IPV6_ADD_MEMBERSHIP, in6.IPV6_DROP_MEMBERSHIP, in6.IPV6_JOIN_ANYCAST, in6.IPV6_LEAVE_ANYCAST):
        return _set_membership(task, sk, optname, optval, optlen)
    if in_.MCAST_JOIN_GROUP <= optname <= in_.MCAST_MSFILTER:
        return ipv6_mcast_option(sk, optname, optval, optlen)
    if optname == in6.IPV6_ROUTER_ALERT:
        return -EINVAL if optlen < 4 else sk.sk_prot.router_alert6(sk, val)
    if optname == in6.IPV6_FLOWLABEL_MGR:
        return ipv6_flowlabel_opt(optval, optlen)
    if optname in (in6.IPV6_IPSEC_POLICY, in6.IPV6_XFRM_POLICY):
        return xfrm_user_policy(task, sk, optname, optval, optlen)
    return -ENOPROTOOPT


def _set_addrform(sk: InetSock, val: int, optlen: int) -> int:
    """Turn a socket that is connected to a mapped address into an AF_INET one."""
    if optlen < 4 or val != AF_INET:
        return -EINVAL
    if sk.sk_type == SOCK_RAW or sk.sk_protocol not in (in_.IPPROTO_TCP, in_.IPPROTO_UDP, in_.IPPROTO_UDPLITE):
        return -ENOPROTOOPT
    if sk.sk_prot.is_corked(sk):
        return -EBUSY
    if sk.sk_state != TCP_ESTABLISHED:
        return -ENOTCONN
    if sk.sk_ipv6only or sk.sk_v6_daddr[:12] != bytes(10) + b"\xff\xff":
        return -EADDRNOTAVAIL
    return sk.sk_prot.become_ipv4(sk)


def _set_exthdr(task: Task, sk: InetSock, np: Ipv6Pinfo, optname: int, optval: bytes | None, optlen: int) -> int:
    """IPV6_HOPOPTS and the like: a header that goes with every packet, RFC 3542 4."""
    if optname != in6.IPV6_RTHDR and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_RAW):
        return -EPERM
    header = b""
    if optlen:
        if optlen < 8 or optlen & 7 or optlen > 8 * 255:
            return -EINVAL
        if optval is None or len(optval) < optlen:
            return -EFAULT
        header = optval[: (optval[1] + 1) * 8]
        if len(header) > optlen or (optval[1] + 1) * 8 > optlen:
            return -EINVAL
        if optname == in6.IPV6_RTHDR and not routing_header_ok(header):
            return -EINVAL
    if optname == in6.IPV6_HOPOPTS:
        np.hopopt = header
    elif optname == in6.IPV6_RTHDRDSTOPTS:
        np.dst0opt = header
    elif optname == in6.IPV6_RTHDR:
        np.srcrt = header
    else:
        np.dst1opt = header
    return 0


def _set_pktinfo(sk: InetSock, np: Ipv6Pinfo, optval: bytes | None, optlen: int) -> int:
    if optlen < 20 or optval is None:
        return -EINVAL
    if len(optval) < 20:
        return -EFAULT
    ifindex = int.from_bytes(optval[16:20], "little")
    if sk.sk_bound_dev_if and ifindex and ifindex != sk.sk_bound_dev_if:
        return -EINVAL
    np.sticky_pktinfo_ifindex = ifindex
    np.sticky_pktinfo_addr = optval[:16]
    return 0


def _set_pktoptions(task: Task, sk: InetSock, np: Ipv6Pinfo, optval: bytes | None, optlen: int) -> int:
    """IPV6_2292PKTOPTIONS: control messages that hold for every packet."""
    # Twin: D-ip-9: their memory is not charged.
    if optlen == 0:
        np.hopopt = np.dst0opt = np.srcrt = np.dst1opt = b""
        return 0
    if optlen > 64 * 1024:
        return -EINVAL
    if optval is None or len(optval) < optlen:
        return -EFAULT
    msg = Msghdr()
    msg.control = optval[:optlen]
    ipc6 = Ipcm6(sk)
    err = ip6_datagram_send_ctl(task, sk, msg.control, ipc6)
    if err:
        return err
    np.hopopt, np.dst0opt, np.srcrt, np.dst1opt = ipc6.hopopt or b"", ipc6.dst0opt, ipc6.srcrt, ipc6.dst1opt
    return 0


def _set_membership(task: Task, sk: InetSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < 20:
        return -EINVAL
    multicast = optname in (in6.IPV6_ADD_MEMBERSHIP, in6.IPV6_DROP_MEMBERSHIP)
    if multicast and sk.inet_test_bit(f.INET_FLAGS_IS_ICSK):
        return -EPROTO
    if optval is None or len(optval) < 20:
        return -EFAULT
    addr = optval[:16]
    ifindex = int.from_bytes(optval[16:20], "little", signed=True)
    if optname == in6.IPV6_ADD_MEMBERSHIP:
        return ipv6_sock_mc_join(sk, ifindex, addr)
    if optname == in6.IPV6_DROP_MEMBERSHIP:
        return ipv6_sock_mc_drop(sk, ifindex, addr)
    if optname == in6.IPV6_JOIN_ANYCAST:
        return ipv6_sock_ac_join(task, sk, ifindex, addr)
    return ipv6_sock_ac_drop(sk, ifindex, addr)


# Reading


def ipv6_getsockopt(task: Task, sk: InetSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option of level IPPROTO_IPV6, or IPPROTO_IP except on RAW sockets: (0 or -errno, value)."""
    if level == IPPROTO_IP and sk.sk_type != SOCK_RAW:
        return ip_getsockopt(task, sk, level, optname, optval, optlen)
    if level != IPPROTO_IPV6:
        return -ENOPROTOOPT, b""
    np = sk.pinet6
    if np is None:
        return -ENOPROTOOPT, b""
    return do_ipv6_getsockopt(sk, np, optname, optval, optlen)


def do_ipv6_getsockopt(sk: InetSock, np: Ipv6Pinfo, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option: (0 or -errno, value)."""
    if optname == in_.MCAST_MSFILTER:
        return ipv6_get_msfilter(sk, optval, optlen)
    if optname == in6.IPV6_2292PKTOPTIONS:
        return (0, b"") if sk.sk_type == SOCK_STREAM else (-ENOPROTOOPT, b"")
    if optname in _EXTHDRS:
        headers = {
            in6.IPV6_HOPOPTS: np.hopopt,
            in6.IPV6_RTHDRDSTOPTS: np.dst0opt,
            in6.IPV6_RTHDR: np.srcrt,
            in6.IPV6_DSTOPTS: np.dst1opt,
        }
        return 0, headers[optname][: optlen if optlen >= 0 else 2048]
    if optname == in6.IPV6_PATHMTU:
        if 0 <= optlen < _MTUINFO:
            return -EINVAL, b""
        dst = sk_dst_check(sk)
        mtu = 0 if dst is None else dst.mtu
        return (-ENOTCONN, b"") if not mtu else (0, bytes(28) + mtu.to_bytes(4, "little"))
    if optname == in6.IPV6_FLOWLABEL_MGR:
        return ipv6_flowlabel_get(optval, optlen)
    err, val = _get_value(sk, np, optname)
    if err:
        return err, b""
    return 0, (val & _MASK32).to_bytes(4, "little")[: optlen if 0 <= optlen < 4 else 4]


def _get_value(sk: InetSock, np: Ipv6Pinfo, optname: int) -> tuple[int, int]:
    if optname in _RX_BITS:
        return 0, 1 if np.rxopt & _RX_BITS[optname] else 0
    if optname == in6.IPV6_AUTOFLOWLABEL:
        return 0, 1 if ip6_autoflowlabel(sk) else 0
    if optname in _BITS:
        return 0, 1 if sk.inet_test_bit(_BITS[optname]) else 0
    if optname == in6.IPV6_ADDRFORM:
        if sk.sk_protocol not in (in_.IPPROTO_TCP, in_.IPPROTO_UDP, in_.IPPROTO_UDPLITE):
            return -ENOPROTOOPT, 0
        return (-ENOTCONN, 0) if sk.sk_state != TCP_ESTABLISHED else (0, sk.sk_family)
    if optname == in6.IPV6_MTU:
        dst = sk_dst_check(sk)
        mtu = 0 if dst is None else dst.mtu
        return (0, mtu) if mtu else (-ENOTCONN, 0)
    if optname == in6.IPV6_UNICAST_HOPS:
        return 0, np.hop_limit if np.hop_limit >= 0 else _default_hops(sk)
    return _get_plain(sk, np, optname)


def _default_hops(sk: InetSock) -> int:
    dst = sk_dst_check(sk)
    if dst is not None:
        return dst.hoplimit()
    conf = sk.sk_net.ipv6.devconf_all
    return 64 if conf is None else conf.hop_limit


def _get_plain(sk: InetSock, np: Ipv6Pinfo, optname: int) -> tuple[int, int]:
    values = {
        in6.IPV6_V6ONLY: sk.sk_ipv6only,
        in6.IPV6_TCLASS: np.tclass,
        in6.IPV6_MULTICAST_HOPS: np.mcast_hops,
        in6.IPV6_MULTICAST_IF: np.mcast_oif,
        in6.IPV6_UNICAST_IF: int.from_bytes(np.ucast_oif.to_bytes(4, "big"), "little"),
        in6.IPV6_MTU_DISCOVER: np.pmtudisc,
        in6.IPV6_FLOWINFO_SEND: np.sndflow,
        in6.IPV6_ADDR_PREFERENCES: _preferences(np),
        in6.IPV6_MINHOPCOUNT: np.min_hopcount,
        in6.IPV6_ROUTER_ALERT: 1 if sk.inet_test_bit(f.INET_FLAGS_RTALERT) else 0,
    }
    return (0, values[optname]) if optname in values else (-ENOPROTOOPT, 0)


def _preferences(np: Ipv6Pinfo) -> int:
    val = np.srcprefs & (in6.IPV6_PREFER_SRC_TMP | in6.IPV6_PREFER_SRC_PUBLIC) or in6.IPV6_PREFER_SRC_PUBTMP_DEFAULT
    return val | (in6.IPV6_PREFER_SRC_COA if np.srcprefs & in6.IPV6_PREFER_SRC_COA else in6.IPV6_PREFER_SRC_HOME)


def ip6_autoflowlabel(sk: InetSock) -> bool:
    """Tell whether packets get a flow label of their own, RFC 6437; net.ipv6.auto_flowlabels says so unless the socket does."""
    mode = sk.sk_net.ipv6.sysctl_auto_flowlabels
    if not sk.inet_test_bit(f.INET_FLAGS_AUTOFLOWLABEL_SET):
        return mode in (1, 3)
    return mode != 0 and sk.inet_test_bit(f.INET_FLAGS_AUTOFLOWLABEL)
