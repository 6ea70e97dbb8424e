"""Control messages of level IPPROTO_IPV6 and the error queue, ipv6(7), RFC 3542 (Linux: ip6_datagram_send_ctl(),
ip6_datagram_recv_ctl(), ipv6_icmp_error(), ipv6_local_error(), ipv6_recv_error() of net/ipv6/datagram.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.scm import Cmsghdr, for_each_cmsghdr
from twinsock.kernel.net.core.skbuff import SkBuff, SockExtendedErr, kfree_skb, skb_head_truesize
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.core.sock_cmsg import SockcmCookie, sock_cmsg_send, sock_recv_timestamp
from twinsock.kernel.net.core.sock_mem import sock_dequeue_err_skb, sock_queue_err_skb
from twinsock.kernel.net.ipv4.inet_hashtables import MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_FREEBIND, INET_FLAGS_RECVERR6, INET_FLAGS_TRANSPARENT, InetSock, Ipv6Pinfo
from twinsock.kernel.net.ipv4.ip_cmsg import ErrSkb, dest_port, inet_cmsg_flags, ip_cmsg_recv
from twinsock.kernel.net.ipv4.ip_output import IpcmCookie
from twinsock.kernel.net.ipv6.addrconf import ipv6_chk_addr
from twinsock.kernel.net.ipv6.inet6_ops import ipv6_iface_scope_id, needs_scope_id, sockaddr_in6
from twinsock.uapi import in6
from twinsock.uapi.capability import CAP_NET_RAW
from twinsock.uapi.errno import EAGAIN, EINVAL, ENODEV, EPERM
from twinsock.uapi.errqueue import SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL, SO_EE_ORIGIN_TIMESTAMPING
from twinsock.uapi.in_ import IPPROTO_IPV6
from twinsock.uapi.socket import MSG_ERRQUEUE, MSG_TRUNC
from twinsock.wire.ip6 import NEXTHDR_DEST, NEXTHDR_HOP, NEXTHDR_ROUTING, Ipv6hdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

# bits of Ipv6Pinfo.rxopt
RXINFO: Final = 1 << 0
RXOINFO: Final = 1 << 1
RXHLIM: Final = 1 << 2
RXOHLIM: Final = 1 << 3
SRCRT: Final = 1 << 4
OSRCRT: Final = 1 << 5
HOPOPTS: Final = 1 << 6
OHOPOPTS: Final = 1 << 7
DSTOPTS: Final = 1 << 8
ODSTOPTS: Final = 1 << 9
RXFLOW: Final = 1 << 10
RXTCLASS: Final = 1 << 11
RXPMTU: Final = 1 << 12
RXORIGDSTADDR: Final = 1 << 13
RECVFRAGSIZE: Final = 1 << 14


class Ipcm6:
    """`struct ipcm6_cookie`: what control messages, or the socket, say about one datagram; -1 is unset."""

    def __init__(self, sk: InetSock) -> None:
        np = sk.pinet6
        assert np is not None
        self.ipc = IpcmCookie()
        self.ipc.mark = sk.sk_mark
        self.ipc.priority = sk.sk_priority
        self.ipc.tsflags = sk.sk_tsflags
        self.sockc = SockcmCookie(sk)
        self.oif = 0
        self.saddr = IN6ADDR_ANY
        self.hlimit = -1
        self.tclass = np.tclass
        self.dontfrag = -1
        self.flowinfo = 0
        self.hopopt: bytes | None = None  # None: nothing was said of extension headers
        self.dst0opt = b""
        self.srcrt = b""
        self.dst1opt = b""

    def exthdrs(self, np: Ipv6Pinfo, proto: int) -> bytes:
        """Chain the extension headers, a message's or the sticky ones, before protocol `proto`; b"" without any."""
        if self.hopopt is None and not (self.dst0opt or self.srcrt or self.dst1opt):
            parts = ((NEXTHDR_HOP, np.hopopt), (NEXTHDR_DEST, np.dst0opt if np.srcrt else b""), (NEXTHDR_ROUTING, np.srcrt))
            last = np.dst1opt
        else:
            parts = (
                (NEXTHDR_HOP, self.hopopt or b""),
                (NEXTHDR_DEST, self.dst0opt if self.srcrt else b""),
                (NEXTHDR_ROUTING, self.srcrt),
            )
            last = self.dst1opt
        chain = [(number, data) for number, data in (*parts, (NEXTHDR_DEST, last)) if data]
        out = b""
        for at in range(len(chain)):
            following = chain[at + 1][0] if at + 1 < len(chain) else proto
            out += bytes((following,)) + chain[at][1][1:]
        self.first_header = chain[0][0] if chain else proto
        return out

    first_header = 0


# Sending


def ip6_datagram_send_ctl(task: Task, sk: InetSock, control: bytes, ipc6: Ipcm6) -> int:
    """Read the messages of level SOL_SOCKET and IPPROTO_IPV6: 0 or -errno."""
    bad, cmsgs = for_each_cmsghdr(control)
    for cmsg in cmsgs:
        err = sock_cmsg_send(task, sk, [cmsg], ipc6.sockc)
        if not err and cmsg.level == IPPROTO_IPV6:
            err = _send_ctl(task, sk, cmsg, ipc6)
        if err:
            return err
    ipc6.ipc.mark = ipc6.sockc.mark
    ipc6.ipc.tsflags, ipc6.ipc.ts_opt_id = ipc6.sockc.tsflags, ipc6.sockc.ts_opt_id
    ipc6.ipc.priority = ipc6.sockc.priority
    return bad


def _send_ctl(task: Task, sk: InetSock, cmsg: Cmsghdr, ipc6: Ipcm6) -> int:
    data = cmsg.data
    if cmsg.type in (in6.IPV6_PKTINFO, in6.IPV6_2292PKTINFO):
        return _send_pktinfo(sk, data, ipc6)
    if cmsg.type == in6.IPV6_FLOWINFO:
        if len(data) < 4:
            return -EINVAL
        ipc6.flowinfo = int.from_bytes(data[:4], "big") & 0x0FFFFFFF
        return 0
    if cmsg.type in (in6.IPV6_HOPLIMIT, in6.IPV6_2292HOPLIMIT, in6.IPV6_TCLASS, in6.IPV6_DONTFRAG):
        if len(data) != 4:
            return -EINVAL
        return _send_int(cmsg.type, int.from_bytes(data, "little", signed=True), ipc6)
    return _send_exthdr(task, sk, cmsg.type, data, ipc6)


def _send_int(type_: int, val: int, ipc6: Ipcm6) -> int:
    if type_ == in6.IPV6_DONTFRAG:
        if val not in (0, 1):
            return -EINVAL
        ipc6.dontfrag = val
        return 0
    if not -1 <= val <= 255:
        return -EINVAL
    if type_ == in6.IPV6_TCLASS:
        ipc6.tclass = val
    else:
        ipc6.hlimit = val
    return 0


def _send_pktinfo(sk: InetSock, data: bytes, ipc6: Ipcm6) -> int:
    if len(data) < 20:
        return -EINVAL
    addr = data[:16]
    ifindex = int.from_bytes(data[16:20], "little")
    if ifindex:
        if ipc6.oif and ifindex != ipc6.oif:
            return -EINVAL
        ipc6.oif = ifindex
    dev = None
    net = sk.sk_net
    if ipc6.oif:
        dev = dev_get_by_index(net, ipc6.oif)
        if dev is None:
            return -ENODEV
    elif addr[0] == 0xFE and addr[1] & 0xC0 == 0x80:
        return -EINVAL
    if addr == IN6ADDR_ANY:
        return 0
    nonlocal_ok = net.ipv6.sysctl_ip_nonlocal_bind or sk.inet_test_bit(INET_FLAGS_FREEBIND) or sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
    strict = needs_scope_id(addr)
    if not nonlocal_ok and not ipv6_chk_addr(net, addr, dev if strict else None, strict):
        return -EINVAL
    ipc6.saddr = addr
    return 0


def _send_exthdr(task: Task, sk: InetSock, type_: int, data: bytes, ipc6: Ipcm6) -> int:
    names = (
        in6.IPV6_2292HOPOPTS,
        in6.IPV6_HOPOPTS,
        in6.IPV6_2292DSTOPTS,
        in6.IPV6_DSTOPTS,
        in6.IPV6_RTHDRDSTOPTS,
        in6.IPV6_2292RTHDR,
        in6.IPV6_RTHDR,
    )
    if type_ not in names or (len(data) < 8 and type_ in (in6.IPV6_2292RTHDR, in6.IPV6_RTHDR)) or len(data) < 2:
        return -EINVAL
    size = (data[1] + 1) * 8
    if len(data) < size:
        return -EINVAL
    header = data[:size]
    routing = type_ in (in6.IPV6_2292RTHDR, in6.IPV6_RTHDR)
    if not routing and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_RAW):
        return -EPERM
    if routing:
        if not routing_header_ok(header):
            return -EINVAL
        ipc6.srcrt = header
    elif type_ in (in6.IPV6_2292HOPOPTS, in6.IPV6_HOPOPTS):
        ipc6.hopopt = header
    elif type_ == in6.IPV6_RTHDRDSTOPTS:
        ipc6.dst0opt = header
    else:
        ipc6.dst1opt = header
    return 0


def routing_header_ok(header: bytes) -> bool:
    """Tell whether a program may send a routing header: types 0 and 2 are not sent any more, RFC 5095; 4 is segment routing."""
    return header[2] == 4 and len(header) >= 24 and header[3] <= header[4]


# Receiving


def ip6_datagram_recv_common_ctl(msg: Msghdr, sk: InetSock, skb: SkBuff) -> None:
    """Report the messages that packets of both families bring."""
    np = sk.pinet6
    assert np is not None
    if np.rxopt & RXINFO:
        if skb.nh6 is not None:
            data = skb.nh6.daddr + skb.ipi_ifindex.to_bytes(4, "little")
        elif skb.nh4 is not None:
            data = MAPPED_PREFIX + skb.nh4.daddr.to_bytes(4, "big") + skb.ipi_ifindex.to_bytes(4, "little")
        else:
            return
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_PKTINFO, data)


def ip6_datagram_recv_specific_ctl(msg: Msghdr, sk: InetSock, skb: SkBuff) -> None:
    """Report what only an IPv6 packet has, in Linux's order."""
    np = sk.pinet6
    hdr = skb.nh6
    assert np is not None
    if hdr is None:
        return
    rxopt = np.rxopt
    if rxopt & RXHLIM:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_HOPLIMIT, hdr.hop_limit.to_bytes(4, "little"))
    if rxopt & RXTCLASS:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_TCLASS, hdr.tclass.to_bytes(4, "little"))
    flowinfo = hdr.tclass << 20 | hdr.flow_label
    if rxopt & RXFLOW and flowinfo:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_FLOWINFO, flowinfo.to_bytes(4, "big"))
    for number, header in _headers(hdr):
        if number == NEXTHDR_HOP and rxopt & HOPOPTS:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_HOPOPTS, header)
    for number, header in _headers(hdr):
        if number == NEXTHDR_DEST and rxopt & DSTOPTS:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_DSTOPTS, header)
        elif number == NEXTHDR_ROUTING and rxopt & SRCRT:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_RTHDR, header)
    _recv_old(msg, rxopt, hdr, skb)
    port = dest_port(skb) if rxopt & RXORIGDSTADDR else -1
    if port >= 0:
        scope_id = ipv6_iface_scope_id(hdr.daddr, skb.ipi_ifindex)
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_ORIGDSTADDR, sockaddr_in6(hdr.daddr, port, 0, scope_id))
    if rxopt & RECVFRAGSIZE and skb.frag_max_size:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_RECVFRAGSIZE, skb.frag_max_size.to_bytes(4, "little"))


def _recv_old(msg: Msghdr, rxopt: int, hdr: Ipv6hdr, skb: SkBuff) -> None:
    """Report in the manner of RFC 2292."""
    if rxopt & RXOINFO:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_2292PKTINFO, hdr.daddr + skb.ipi_ifindex.to_bytes(4, "little"))
    if rxopt & RXOHLIM:
        msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_2292HOPLIMIT, hdr.hop_limit.to_bytes(4, "little"))
    for number, header in _headers(hdr):
        if number == NEXTHDR_HOP and rxopt & OHOPOPTS:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_2292HOPOPTS, header)
        elif number == NEXTHDR_DEST and rxopt & ODSTOPTS:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_2292DSTOPTS, header)
        elif number == NEXTHDR_ROUTING and rxopt & OSRCRT:
            msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_2292RTHDR, header)


def _headers(hdr: Ipv6hdr) -> list[tuple[int, bytes]]:
    """Split the extension headers: (number, bytes) each."""
    found: list[tuple[int, bytes]] = []
    number = hdr.nexthdr
    data = hdr.exthdrs
    at = 0
    while at + 8 <= len(data):
        size = (data[at + 1] + 1) * 8
        found.append((number, data[at : at + size]))
        number = data[at]
        at += size
    return found


# Errors


def ipv6_icmp_error(sk: InetSock, quote: SkBuff, header_len: int, err: int, port: int, info: int) -> None:
    """Queue an ICMPv6 error (`quote` as for err_handler); `header_len` bytes of transport header are not shown."""
    outer = quote.outer
    hdr = quote.nh6
    if outer is None or hdr is None or not sk.inet_test_bit(INET_FLAGS_RECVERR6):
        return
    entry = ErrSkb(quote.payload()[header_len:])
    h = outer.h
    entry.ee = SockExtendedErr(err, SO_EE_ORIGIN_ICMP6, int(getattr(h, "type", 0)), int(getattr(h, "code", 0)), info, 0)
    entry.truesize = outer.truesize
    entry.nh6 = outer.nh6
    entry.dev = outer.dev
    entry.tstamp_ns = outer.tstamp_ns
    entry.daddr6 = hdr.daddr
    entry.flowinfo = hdr.flow_label
    entry.port = port
    entry.ipi_ifindex = quote.iif or (0 if outer.dev is None else outer.dev.ifindex)
    sock_queue_err_skb(sk, entry)


def ipv6_local_error(sk: InetSock, err: int, daddr: bytes, port: int, info: int) -> None:
    """Queue an error of our own, as EMSGSIZE with the path MTU, for IPV6_RECVERR."""
    if not sk.inet_test_bit(INET_FLAGS_RECVERR6):
        return
    entry = ErrSkb(b"")
    entry.ee = SockExtendedErr(err, SO_EE_ORIGIN_LOCAL, 0, 0, info, 0)
    entry.truesize = skb_head_truesize(40)
    entry.daddr6 = daddr
    entry.port = port
    sock_queue_err_skb(sk, entry)


def ipv6_recv_error(sk: InetSock, msg: Msghdr) -> int:
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
    np = sk.pinet6
    assert ee is not None and np is not None
    if isinstance(skb, ErrSkb) and (ee.ee_origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, SO_EE_ORIGIN_LOCAL) or skb.port):
        if skb.daddr6:
            flowinfo = skb.flowinfo if np.sndflow else 0
            scope_id = ipv6_iface_scope_id(skb.daddr6, skb.ipi_ifindex)
            msg.name = sockaddr_in6(skb.daddr6, skb.port, flowinfo, scope_id)
        else:
            msg.name = sockaddr_in6(MAPPED_PREFIX + skb.daddr4.to_bytes(4, "big"), skb.port)
    offender = bytes(28)
    if ee.ee_origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6) or (ee.ee_origin == SO_EE_ORIGIN_TIMESTAMPING and skb.dev is not None):
        if np.rxopt:
            ip6_datagram_recv_common_ctl(msg, sk, skb)
        if skb.nh6 is not None:
            scope_id = ipv6_iface_scope_id(skb.nh6.saddr, skb.ipi_ifindex)
            offender = sockaddr_in6(skb.nh6.saddr, 0, 0, scope_id)
            if np.rxopt:
                ip6_datagram_recv_specific_ctl(msg, sk, skb)
        elif skb.nh4 is not None:
            offender = sockaddr_in6(MAPPED_PREFIX + skb.nh4.saddr.to_bytes(4, "big"), 0)
            if inet_cmsg_flags(sk):
                ip_cmsg_recv(msg, sk, skb)
    msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_RECVERR, ee.pack() + offender)
    msg.out_flags |= MSG_ERRQUEUE
    kfree_skb(skb)
    return copied


def ipv6_local_rxpmtu(sk: InetSock, daddr: bytes, mtu: int) -> None:
    """Remember the path MTU for IPV6_RECVPATHMTU."""
    np = sk.pinet6
    if np is not None and np.rxopt & RXPMTU:
        np.rxpmtu = mtu
        np.rxpmtu_daddr = daddr


def ipv6_recv_rxpmtu(sk: InetSock, msg: Msghdr) -> int:
    """Report the remembered path MTU as a control message without data."""
    np = sk.pinet6
    if np is None or not np.rxpmtu:
        return -EAGAIN
    name = sockaddr_in6(np.rxpmtu_daddr, 0)
    msg.name = name
    msg.put_cmsg(IPPROTO_IPV6, in6.IPV6_PATHMTU, name + np.rxpmtu.to_bytes(4, "little"))
    np.rxpmtu = 0
    return 0
