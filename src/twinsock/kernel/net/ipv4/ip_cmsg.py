"""Control messages of level IPPROTO_IP and the error queue, ip(7) (Linux: ip_cmsg_send(), ip_cmsg_recv_offset(), ip_icmp_error(),
ip_local_error(), ip_recv_error() of net/ipv4/ip_sockglue.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import LOOPBACK_IFINDEX
from twinsock.kernel.net.core.dst import RTCF_BROADCAST, RTCF_LOCAL, RTCF_MULTICAST
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.scm import for_each_cmsghdr
from twinsock.kernel.net.core.skbuff import SkBuff, SockExtendedErr, kfree_skb, skb_head_truesize
from twinsock.kernel.net.core.sock_cmsg import SockcmCookie, sock_cmsg_send, sock_recv_timestamp
from twinsock.kernel.net.core.sock_mem import sock_dequeue_err_skb, sock_queue_err_skb
from twinsock.kernel.net.ipv4.devinet import inet_select_addr
from twinsock.kernel.net.ipv4.inet_hashtables import ipv6_addr_v4mapped
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_ORIGDSTADDR,
    INET_FLAGS_PASSSEC,
    INET_FLAGS_PKTINFO,
    INET_FLAGS_RECVERR,
    INET_FLAGS_RECVERR_RFC4884,
    INET_FLAGS_RECVFRAGSIZE,
    INET_FLAGS_RECVOPTS,
    INET_FLAGS_RETOPTS,
    INET_FLAGS_TOS,
    INET_FLAGS_TTL,
    InetSock,
)
from twinsock.kernel.net.ipv4.ip_options import MAX_IPOPTLEN, ip_options_get
from twinsock.kernel.net.ipv4.ip_output import IpcmCookie
from twinsock.kernel.net.ipv4.route import fib_result_prefsrc
from twinsock.uapi import in_
from twinsock.uapi.errno import EAGAIN, EINVAL
from twinsock.uapi.errqueue import SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_LOCAL, SO_EE_ORIGIN_TIMESTAMPING
from twinsock.uapi.in6 import IPV6_PKTINFO
from twinsock.uapi.net_tstamp import SOF_TIMESTAMPING_OPT_CMSG
from twinsock.uapi.rtnetlink import RT_SCOPE_LINK, RTN_UNICAST
from twinsock.uapi.socket import AF_INET, MSG_ERRQUEUE, MSG_TRUNC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.scm import Cmsghdr
    from twinsock.kernel.sched.task import Task

_CMSG_FLAGS: Final = (
    1 << INET_FLAGS_PKTINFO
    | 1 << INET_FLAGS_TTL
    | 1 << INET_FLAGS_TOS
    | 1 << INET_FLAGS_RECVOPTS
    | 1 << INET_FLAGS_RETOPTS
    | 1 << INET_FLAGS_PASSSEC
    | 1 << INET_FLAGS_ORIGDSTADDR
    | 1 << INET_FLAGS_RECVFRAGSIZE
)

# TC_PRIO_* by the four TOS bits of RFC 1349
_TOS2PRIO: Final[tuple[int, ...]] = (0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4)


def rt_tos2priority(tos: int) -> int:
    """Return the SO_PRIORITY that a TOS byte brings."""
    return _TOS2PRIO[(tos & 0x1E) >> 1]


class ErrSkb(SkBuff):
    """An entry of an error queue: its data is what is left of the packet that caused it, `nh4` or `nh6` the header of the complaint."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.daddr4 = 0  # where that packet was sent to
        self.daddr6 = b""
        self.flowinfo = 0
        self.scope_id = 0


def inet_cmsg_flags(sk: InetSock) -> int:
    """Return the flags of options that ask for control messages."""
    return sk.inet_flags & _CMSG_FLAGS


# Sending


def ipcm_init_sk(sk: InetSock) -> tuple[IpcmCookie, SockcmCookie]:
    """Start from what the socket says."""
    ipc = IpcmCookie()
    ipc.oif = sk.sk_bound_dev_if
    ipc.addr = sk.inet_saddr
    ipc.protocol = sk.sk_protocol
    ipc.mark = sk.sk_mark
    ipc.priority = sk.sk_priority
    ipc.tsflags = sk.sk_tsflags
    return ipc, SockcmCookie(sk)


def ip_cmsg_send(task: Task, sk: InetSock, msg: Msghdr, ipc: IpcmCookie, sockc: SockcmCookie, allow_ipv6: bool) -> int:
    """Read the messages of level SOL_SOCKET and IPPROTO_IP: 0 or -errno."""
    bad, cmsgs = for_each_cmsghdr(msg.control)
    for cmsg in cmsgs:
        if allow_ipv6 and cmsg.level == in_.IPPROTO_IPV6 and cmsg.type == IPV6_PKTINFO:
            if len(cmsg.data) < 20 or not ipv6_addr_v4mapped(cmsg.data[:16]):
                return -EINVAL
            ipc.oif = int.from_bytes(cmsg.data[16:20], "little") or ipc.oif
            ipc.addr = int.from_bytes(cmsg.data[12:16], "big")
            continue
        err = sock_cmsg_send(task, sk, [cmsg], sockc)
        if not err and cmsg.level == in_.IPPROTO_IP:
            err = _ip_cmsg(task, sk, cmsg, ipc)
        if err:
            return err
    ipc.mark = sockc.mark
    ipc.tsflags, ipc.ts_opt_id = sockc.tsflags, sockc.ts_opt_id
    if ipc.tos < 0:
        ipc.priority = sockc.priority
    return bad


def _ip_cmsg(task: Task, sk: InetSock, cmsg: Cmsghdr, ipc: IpcmCookie) -> int:
    data = cmsg.data
    if cmsg.type == in_.IP_RETOPTS:
        err, opts = ip_options_get(task, sk.sk_net, data[:MAX_IPOPTLEN])
        if err:
            return err
        ipc.opt = opts
        return 0
    if cmsg.type == in_.IP_PKTINFO:
        if len(data) != 12:
            return -EINVAL
        ipc.oif = int.from_bytes(data[:4], "little") or ipc.oif
        ipc.addr = int.from_bytes(data[4:8], "big")
        return 0
    if cmsg.type == in_.IP_TOS and len(data) == 1:
        val = data[0]
    elif len(data) == 4:
        val = int.from_bytes(data, "little", signed=True)
    else:
        return -EINVAL
    if cmsg.type == in_.IP_TTL and 1 <= val <= 255:
        ipc.ttl = val
    elif cmsg.type == in_.IP_TOS and 0 <= val <= 255:
        ipc.tos = val
        ipc.priority = rt_tos2priority(val)
    elif cmsg.type == in_.IP_PROTOCOL and 1 <= val <= 255:
        ipc.protocol = val
    else:
        return -EINVAL
    return 0


# Receiving


def ipv4_pktinfo_prepare(sk: InetSock, skb: SkBuff, wanted6: bool) -> None:
    """Remember, when a packet is queued, what IP_PKTINFO and IPV6_RECVPKTINFO will report of it."""
    skb.ipi_ifindex = 0
    skb.ipi_spec_dst = 0
    if sk.inet_flags & 1 << INET_FLAGS_PKTINFO or wanted6:
        skb.ipi_ifindex = inet_iif(skb)
        skb.ipi_spec_dst = fib_compute_spec_dst(skb)


def inet_iif(skb: SkBuff) -> int:
    """Return the index of the device that a packet came in on, for a local address the one that has it."""
    dst = skb.dst
    if dst is not None and dst.iif:
        return dst.iif
    if skb.iif:
        return skb.iif
    return LOOPBACK_IFINDEX if skb.dev is None else skb.dev.ifindex


def fib_compute_spec_dst(skb: SkBuff) -> int:
    """Return the local address that answers to a packet should come from."""
    rt = skb.dst
    iph = skb.nh4
    dev = skb.dev
    if iph is None or dev is None:
        return 0
    if rt is not None and rt.rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST | RTCF_LOCAL) == RTCF_LOCAL:
        return iph.daddr
    net = dev.net
    if iph.saddr and net.ipv4.fib is not None:
        err, res = net.ipv4.fib.lookup(iph.saddr)
        if err == 0 and res is not None and res.type == RTN_UNICAST:
            return fib_result_prefsrc(net, res)
        if err == 0 and res is not None:
            return fib_result_prefsrc(net, res) if res.fi.dev is not None else iph.saddr
    return inet_select_addr(dev, iph.saddr, RT_SCOPE_LINK, net)


def ip_cmsg_recv(msg: Msghdr, sk: InetSock, skb: SkBuff) -> None:
    """Give the receiver the control messages it asked for, in the order of their bits."""
    iph = skb.nh4
    flags = sk.inet_flags
    if iph is None:
        return
    if flags & 1 << INET_FLAGS_PKTINFO:
        data = skb.ipi_ifindex.to_bytes(4, "little") + skb.ipi_spec_dst.to_bytes(4, "big") + iph.daddr.to_bytes(4, "big")
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_PKTINFO, data)
    if flags & 1 << INET_FLAGS_TTL:
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_TTL, iph.ttl.to_bytes(4, "little"))
    if flags & 1 << INET_FLAGS_TOS:
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_TOS, bytes((iph.tos,)))
    if flags & 1 << INET_FLAGS_RECVOPTS and iph.options:
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_RECVOPTS, iph.options)
    if flags & 1 << INET_FLAGS_RETOPTS and iph.options:
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_RETOPTS, iph.options)
    port = dest_port(skb) if flags & 1 << INET_FLAGS_ORIGDSTADDR else -1
    if port >= 0:
        data = AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + iph.daddr.to_bytes(4, "big") + bytes(8)
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_ORIGDSTADDR, data)
    if flags & 1 << INET_FLAGS_RECVFRAGSIZE and skb.frag_max_size:
        msg.put_cmsg(in_.IPPROTO_IP, in_.IP_RECVFRAGSIZE, skb.frag_max_size.to_bytes(4, "little"))


def dest_port(skb: SkBuff) -> int:
    """Return what stands where a destination port stands, in an error queue in the quoted payload; -1: too short."""
    if skb.h is not None:
        return skb.h.dest
    at = skb.offset + max(skb.addr_offset, 0)
    return -1 if at + 4 > skb.offset + skb.len else skb.data[at + 2] << 8 | skb.data[at + 3]


# Errors


def ip_icmp_error(sk: InetSock, quote: SkBuff, header_len: int, err: int, port: int, info: int) -> None:
    """Queue an ICMP error (`quote` as for err_handler); `header_len` bytes of transport header are not shown."""
    outer = quote.outer
    iph = quote.nh4
    if outer is None or iph is None:
        return
    entry = ErrSkb(quote.payload()[header_len:])
    h = outer.h
    type_ = int(getattr(h, "type", 0))
    code = int(getattr(h, "code", 0))
    entry.ee = SockExtendedErr(err, SO_EE_ORIGIN_ICMP, type_, code, info, 0)
    entry.truesize = outer.truesize
    entry.nh4 = outer.nh4
    entry.dev = outer.dev
    entry.dst = outer.dst
    entry.tstamp_ns = outer.tstamp_ns
    entry.daddr4 = iph.daddr
    entry.port = port
    if sk.inet_test_bit(INET_FLAGS_RECVERR_RFC4884):
        entry.ee.ee_data = 0
    entry.ipi_ifindex = inet_iif(outer)
    sock_queue_err_skb(sk, entry)


def ip_local_error(sk: InetSock, err: int, daddr: int, port: int, info: int) -> None:
    """Queue an error of our own, as EMSGSIZE with the path MTU, for IP_RECVERR."""
    if not sk.inet_test_bit(INET_FLAGS_RECVERR):
        return
    entry = ErrSkb(b"")
    entry.ee = SockExtendedErr(err, SO_EE_ORIGIN_LOCAL, 0, 0, info, 0)
    entry.truesize = skb_head_truesize(20)
    entry.daddr4 = daddr
    entry.port = port
    sock_queue_err_skb(sk, entry)


def ip_recv_error(sk: InetSock, msg: Msghdr) -> int:
    """Receive from the error queue, recvmsg(2) with MSG_ERRQUEUE: bytes or -EAGAIN."""
    skb = sock_dequeue_err_skb(sk)
    if skb is None:
        return -EAGAIN
    copied = min(skb.len, msg.size)
    if copied < skb.len:
        msg.out_flags |= MSG_TRUNC
    msg.chunks.append(skb.payload()[:copied])
    sock_recv_timestamp(msg, sk, skb)
    ee = skb.ee
    assert ee is not None
    daddr = skb.daddr4 if isinstance(skb, ErrSkb) else 0
    if ee.ee_origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_LOCAL) or skb.port:
        msg.name = AF_INET.to_bytes(2, "little") + skb.port.to_bytes(2, "big") + daddr.to_bytes(4, "big") + bytes(8)
    offender = bytes(16)
    of_stamp = ee.ee_origin == SO_EE_ORIGIN_TIMESTAMPING and sk.sk_tsflags & SOF_TIMESTAMPING_OPT_CMSG
    if (ee.ee_origin == SO_EE_ORIGIN_ICMP or of_stamp) and skb.nh4 is not None:
        offender = AF_INET.to_bytes(2, "little") + bytes(2) + skb.nh4.saddr.to_bytes(4, "big") + bytes(8)
        if inet_cmsg_flags(sk):
            ip_cmsg_recv(msg, sk, skb)
    msg.put_cmsg(in_.IPPROTO_IP, in_.IP_RECVERR, ee.pack() + offender)
    msg.out_flags |= MSG_ERRQUEUE
    kfree_skb(skb)
    return copied
