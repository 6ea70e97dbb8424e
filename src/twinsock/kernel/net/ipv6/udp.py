"""UDP and UDP-Lite over IPv6 (Linux: net/ipv6/udp.c): sending, receiving, lookup, errors. Mapped addresses go to ipv4/udp.py."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_UDP6_RECVMSG, BPF_CGROUP_UDP6_SENDMSG, cgroup_bpf_run_filter_sock_addr
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb
from twinsock.kernel.net.core.sock import IN6ADDR_ANY, SOCK_ZEROCOPY, Sock
from twinsock.kernel.net.core.sock_mem import skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.core.zerocopy import msg_zerocopy_begin, msg_zerocopy_done
from twinsock.kernel.net.ipv4.inet_hashtables import MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_ops import InetDgramOps
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_DONTFRAG, INET_FLAGS_RECVERR6, InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import ip_cmsg_recv
from twinsock.kernel.net.ipv4.route import sk_dst_check, sk_dst_set
from twinsock.kernel.net.ipv4.udp import (
    UdpCork,
    UdpProto,
    UdpSock,
    udp_charge_cork,
    udp_drop_cork,
    udp_header,
    udp_push_cork,
    udp_send_failed,
    udp_sendmsg,
)
from twinsock.kernel.net.ipv4.udp_offload import udp_check_gso, udp_cmsg_send
from twinsock.kernel.net.ipv4.udp_options import udp_lib_getsockopt, udp_lib_setsockopt
from twinsock.kernel.net.ipv4.udp_recv import UdpInput4, udp_copy, udp_finish, udp_gro_cmsg, udp_take
from twinsock.kernel.net.ipv6.datagram import LOOPBACK6, MAPPED_LOOPBACK, ip6_datagram_connect
from twinsock.kernel.net.ipv6.inet6_ops import ipv6_iface_scope_id, needs_scope_id, sockaddr_in6
from twinsock.kernel.net.ipv6.ip6_cmsg import (
    Ipcm6,
    ip6_datagram_recv_common_ctl,
    ip6_datagram_recv_specific_ctl,
    ip6_datagram_send_ctl,
    ipv6_local_error,
    ipv6_local_rxpmtu,
    ipv6_recv_error,
    ipv6_recv_rxpmtu,
)
from twinsock.kernel.net.ipv6.ip6_output import ip6_append_data, ip6_make_pending_skb, ip6_send_skb
from twinsock.kernel.net.ipv6.ipv6_sockglue import ipv6_getsockopt, ipv6_setsockopt
from twinsock.kernel.net.ipv6.route import Flowi6, Rt6Info, ip6_dst_lookup_flow
from twinsock.uapi.errno import EAFNOSUPPORT, EDESTADDRREQ, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS
from twinsock.uapi.in_ import IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.snmp import IPSTATS_MIB_OUTDISCARDS, IPSTATS_MIB_OUTREQUESTS, UDP_MIB_OUTDATAGRAMS, UDP_MIB_SNDBUFERRORS
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_MORE, MSG_PROBE, MSG_ZEROCOPY
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire.ip6 import IP6_HEADER_LEN
from twinsock.wire.udp import UDP_HEADER_LEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


class UdpCork6(UdpCork):
    """A datagram over IPv6 that is being put together."""

    def __init__(self, dport: int, fl6: Flowi6) -> None:
        super().__init__(AF_INET6, dport)
        self.fl6 = fl6
        self.hlimit = -1
        self.first_header = 0
        self.dontfrag = False


class UdpProto6(UdpProto):
    """`udpv6_prot` and `udplitev6_prot`."""

    prot4: UdpProto | None = None  # what IPV6_ADDRFORM turns a socket's protocol into
    ops4: InetDgramOps | None = None

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """udpv6_connect()."""
        assert isinstance(sk, InetSock)
        return ip6_datagram_connect(sk, addr)

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """udpv6_sendmsg()."""
        assert isinstance(sk, UdpSock)
        return udpv6_sendmsg(task, sk, msg)

    def push_cork(self, sk: UdpSock, cork: UdpCork) -> int:
        """udp_v6_push_pending_frames()."""
        return udp_v6_push_cork(sk, cork) if isinstance(cork, UdpCork6) else udp_push_cork(sk, cork)

    def is_corked(self, sk: Sock) -> bool:
        """Tell whether a datagram is being put together."""
        return isinstance(sk, UdpSock) and sk.pending is not None

    def become_ipv4(self, sk: Sock) -> int:
        """IPV6_ADDRFORM."""
        sock = sk.sk_socket
        if not isinstance(sk, UdpSock) or sock is None or self.prot4 is None or self.ops4 is None:
            return -EINVAL
        sk.sk_net.sock_prot_inuse_add(self, -1)
        sk.sk_net.sock_prot_inuse_add(self.prot4, 1)
        sk.sk_prot = self.prot4
        sk.udp_prot = self.prot4
        sock.ops = self.ops4
        sk.sk_family = AF_INET
        sk.pinet6 = None
        return 0


class UdpInput6(UdpInput4):
    """The receiving half of an AF_INET6 socket."""

    def recvmsg(self, task: Task, sk: UdpSock, msg: Msghdr, flags: int) -> int:
        """udpv6_recvmsg()."""
        return udpv6_recvmsg(task, sk, msg, flags)

    def setsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """udpv6_setsockopt()."""
        if level in (IPPROTO_UDP, IPPROTO_UDPLITE):
            return udp_lib_setsockopt(sk, optname, optval, optlen)
        return ipv6_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """udpv6_getsockopt()."""
        if level in (IPPROTO_UDP, IPPROTO_UDPLITE):
            return udp_lib_getsockopt(sk, optname, optlen)
        return ipv6_getsockopt(task, sk, level, optname, optval, optlen)


def udp6_mib(sk: UdpSock) -> list[int]:
    """Return the counters of the socket's protocol over IPv6."""
    return sk.sk_net.udplite6_statistics if sk.is_udplite else sk.sk_net.udp6_statistics


# Sending


class _Dest6:
    """Where a datagram goes; `family` AF_INET hands it to IPv4, 0 means that the name says nothing."""

    def __init__(self) -> None:
        self.family = 0
        self.addr = IN6ADDR_ANY
        self.port = 0
        self.flowinfo = 0
        self.scope_id = 0


def _dest_of(sk: UdpSock, name: bytes) -> tuple[int, _Dest6]:
    dest = _Dest6()
    if len(name) < 2:
        return -EINVAL, dest
    family = name[0] | name[1] << 8
    if family == AF_INET:
        dest.family = AF_INET
    elif family == AF_INET6:
        if len(name) < 24:
            return -EINVAL, dest
        dest.family = AF_INET6
        dest.addr = name[8:24]
        dest.port = name[2] << 8 | name[3]
        dest.flowinfo = int.from_bytes(name[4:8], "big")
        dest.scope_id = int.from_bytes(name[24:28], "little") if len(name) >= 28 else 0
        np = sk.pinet6
        if dest.addr == IN6ADDR_ANY and np is not None and np.saddr[:12] == MAPPED_PREFIX:
            dest.addr = MAPPED_LOOPBACK
    elif family != AF_UNSPEC:
        return -EINVAL, dest
    return 0, dest


def udpv6_sendmsg(task: Task, sk: UdpSock, msg: Msghdr) -> int:
    """Send one datagram, or a piece of one, sendto(2): bytes or -errno."""
    np = sk.pinet6
    assert np is not None
    dest = _Dest6()
    pending = sk.pending
    if msg.name is not None:
        err, dest = _dest_of(sk, msg.name)
        if err:
            return err
        if dest.family == 0:
            msg.name = None
        elif dest.family == AF_INET:
            return -ENETUNREACH if sk.sk_ipv6only else udp_sendmsg(task, sk, msg)
    elif pending is None:
        if sk.sk_state != TCP_ESTABLISHED:
            return -EDESTADDRREQ
        dest.addr = sk.sk_v6_daddr
    if dest.addr[:12] == MAPPED_PREFIX:
        port = dest.port if dest.family else sk.sk_dport
        msg.name = AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + dest.addr[12:16] + bytes(8)
        return -ENETUNREACH if sk.sk_ipv6only else udp_sendmsg(task, sk, msg)
    length = msg.remaining()
    if pending is not None:
        if pending.family == AF_INET:
            return udp_sendmsg(task, sk, msg)
        if not isinstance(pending, UdpCork6) or not isinstance(pending.dst, Rt6Info):
            return -EAFNOSUPPORT
        return _append6(task, sk, msg, length, 0, Ipcm6(sk), pending.dst, pending)
    return _send_new(task, sk, msg, dest, length)


def _send_new(task: Task, sk: UdpSock, msg: Msghdr, dest: _Dest6, length: int) -> int:
    np = sk.pinet6
    assert np is not None
    ipc6 = Ipcm6(sk)
    ipc6.ipc.gso_size = sk.udp_gso_size
    if dest.family:
        if dest.port == 0:
            return -EINVAL
        ipc6.flowinfo = dest.flowinfo & 0x0FFFFFFF if np.sndflow else 0
        if dest.scope_id and needs_scope_id(dest.addr):
            ipc6.oif = dest.scope_id
        connected = False
    else:
        if sk.sk_state != TCP_ESTABLISHED:
            return -EDESTADDRREQ
        dest.port, dest.addr = sk.sk_dport, sk.sk_v6_daddr
        ipc6.flowinfo = np.flow_label
        connected = True
    ipc6.oif = ipc6.oif or sk.sk_bound_dev_if or np.sticky_pktinfo_ifindex
    if msg.control:
        err, others = udp_cmsg_send(msg, ipc6.ipc)
        if not err and others:
            err = ip6_datagram_send_ctl(task, sk, msg.control, ipc6)
        if err:
            return err
        connected = False
    err, rt, fl6 = _route6(sk, ipc6, dest, connected)
    if rt is None:
        return err
    cork = UdpCork6(dest.port, fl6)
    cork.hlimit = ipc6.hlimit
    ipc6.ipc.opt = ipc6.exthdrs(np, sk.sk_protocol) or None
    cork.first_header = ipc6.first_header
    ipc6.ipc.tos = ipc6.tclass
    cork.dontfrag = sk.inet_test_bit(INET_FLAGS_DONTFRAG) if ipc6.dontfrag < 0 else ipc6.dontfrag > 0
    return _append6(task, sk, msg, length, UDP_HEADER_LEN, ipc6, rt, cork)


def _route6(sk: UdpSock, ipc6: Ipcm6, dest: _Dest6, connected: bool) -> tuple[int, Rt6Info | None, Flowi6]:
    """Find the way: (0, route, flow with both addresses) or (-errno, None, flow)."""
    np = sk.pinet6
    assert np is not None
    saddr = ipc6.saddr
    if saddr == IN6ADDR_ANY:
        saddr = np.saddr if np.saddr != IN6ADDR_ANY else np.sticky_pktinfo_addr
    fl6 = Flowi6(LOOPBACK6 if dest.addr == IN6ADDR_ANY else dest.addr, saddr, sk.sk_protocol, sk.inet_sport, dest.port)
    if not connected and sk.sk_net.kernel.cgroup_bpf is not None:
        addr = sockaddr_in6(fl6.daddr, dest.port, 0, dest.scope_id)
        err, addr = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UDP6_SENDMSG, addr)
        if err < 0:
            return err, None, fl6
        dest.port = fl6.dport = addr[2] << 8 | addr[3]
        fl6.daddr = addr[8:24]
        if not dest.port:
            return -EINVAL, None, fl6
    oif = ipc6.oif
    if not oif:
        oif = np.mcast_oif if fl6.daddr[0] == 0xFF else np.ucast_oif
    fl6.oif = oif
    fl6.mark = ipc6.ipc.mark
    fl6.flowlabel = ipc6.flowinfo
    fl6.srcprefs = np.srcprefs
    fl6.uid = sk.sk_uid
    if connected:
        held = sk_dst_check(sk)
        if isinstance(held, Rt6Info) and np.daddr_cache == fl6.daddr and fl6.oif in (0, held.dev.ifindex):
            return 0, held, fl6
    err, rt = ip6_dst_lookup_flow(sk.sk_net, fl6, sk)
    if rt is not None and connected:
        sk_dst_set(sk, rt)
        np.daddr_cache = fl6.daddr
    return err, rt, fl6


def _append6(task: Task, sk: UdpSock, msg: Msghdr, length: int, transhdrlen: int, ipc6: Ipcm6, rt: Rt6Info, cork: UdpCork6) -> int:
    """Add bytes to a datagram; send it unless it is corked: bytes or -errno."""
    zero_copy = bool(msg.flags & MSG_ZEROCOPY and sk.sock_flag(SOCK_ZEROCOPY))
    err = msg_zerocopy_begin(task, sk, length) if zero_copy else 0
    if not err:
        err = _append_and_send6(task, sk, msg, length, transhdrlen, ipc6, rt, cork)
        if zero_copy:
            msg_zerocopy_done(sk, err)
    return length if not err else udp_send_failed(sk, err, udp6_mib(sk))


def _append_and_send6(task: Task, sk: UdpSock, msg: Msghdr, length: int, transhdrlen: int, ipc6: Ipcm6, rt: Rt6Info, cork: UdpCork6) -> int:
    if msg.flags & MSG_PROBE:
        return 0
    err = ip6_append_data(sk, cork, msg.take(length), transhdrlen, ipc6.ipc, rt, cork.dontfrag)
    if err == -EMSGSIZE:
        mtu = min(rt.get_mtu(), 0xFFFF + IP6_HEADER_LEN) - len(cork.opt)
        if cork.dontfrag:
            ipv6_local_rxpmtu(sk, cork.fl6.daddr, mtu)
        else:
            ipv6_local_error(sk, EMSGSIZE, cork.fl6.daddr, cork.dport, mtu)
    if not err and transhdrlen:
        err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
        sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += err != 0
    if err:
        udp_drop_cork(sk, cork)
        return err
    if sk.corkflag or msg.flags & MSG_MORE:
        udp_charge_cork(sk, cork)
        return 0
    return udp_v6_push_cork(sk, cork)


def udp_v6_push_cork(sk: UdpSock, cork: UdpCork6) -> int:
    """Send a datagram over IPv6: 0 or -errno."""
    sk.pending = None
    sk.sk_wmem_alloc -= cork.charged
    cork.charged = 0
    fragsize = cork.fragsize
    skb = ip6_make_pending_skb(sk, cork, cork.fl6)
    hdr = skb.nh6
    assert hdr is not None
    if cork.hlimit >= 0:
        hdr.hop_limit = cork.hlimit
    if hdr.exthdrs:
        hdr.nexthdr = cork.first_header
    if skb.gso_size:
        err = udp_check_gso(skb, hdr.header_len() + UDP_HEADER_LEN, fragsize, sk.no_check6_tx != 0, sk.is_udplite)
        if err:
            sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTREQUESTS] += 1  # Linux: counted when the packet was made
            kfree_skb(skb)
            return err
    skb.h = udp_header(sk, skb.len, cork.dport)
    if sk.no_check6_tx and not sk.is_udplite:
        skb.h.no_check = True
    skb_set_owner_w(skb, sk)
    err = ip6_send_skb(sk.sk_net, skb)
    mib = udp6_mib(sk)
    if err:
        if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR6):
            mib[UDP_MIB_SNDBUFERRORS] += 1
            err = 0
    else:
        mib[UDP_MIB_OUTDATAGRAMS] += 1
    return err


# Receiving


def udpv6_recvmsg(task: Task, sk: UdpSock, msg: Msghdr, flags: int) -> int:
    """Receive a datagram of either family, recvmsg(2): bytes or -errno."""
    np = sk.pinet6
    assert np is not None
    if flags & MSG_ERRQUEUE:
        return ipv6_recv_error(sk, msg)
    if np.rxpmtu:
        return ipv6_recv_rxpmtu(sk, msg)
    err, skb, off = udp_take(task, sk, flags)
    if skb is None:
        return err
    copied = udp_copy(sk, msg, skb, off, flags)
    _name_of(msg, skb)
    if msg.name:
        _, msg.name = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UDP6_RECVMSG, msg.name)
    udp_gro_cmsg(sk, msg, skb)
    if np.rxopt:
        ip6_datagram_recv_common_ctl(msg, sk, skb)
    if skb.nh4 is not None:
        ip_cmsg_recv(msg, sk, skb)
    elif np.rxopt:
        ip6_datagram_recv_specific_ctl(msg, sk, skb)
    return udp_finish(sk, skb, off, copied, flags)


def _name_of(msg: Msghdr, skb: SkBuff) -> None:
    h = skb.h
    if h is None:
        return
    if skb.nh4 is not None:
        msg.name = sockaddr_in6(MAPPED_PREFIX + skb.nh4.saddr.to_bytes(4, "big"), h.source)
    elif skb.nh6 is not None:
        scope_id = ipv6_iface_scope_id(skb.nh6.saddr, skb.ipi_ifindex)
        msg.name = sockaddr_in6(skb.nh6.saddr, h.source, 0, scope_id)
