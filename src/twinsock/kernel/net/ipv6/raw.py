"""RAW sockets over IPv6, RFC 3542 3 (Linux: net/ipv6/raw.c): payloads only, unless IPV6_HDRINCL."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.datagram import rcv_drop_reason, skb_free_datagram, skb_recv_datagram, sock_queue_rcv_skb
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.protocol import RawHook
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb, kfree_skb_reason, skb_clone, skb_head_truesize
from twinsock.kernel.net.core.sock import IN6ADDR_ANY, Proto
from twinsock.kernel.net.core.sock_cmsg import sock_recv_cmsgs
from twinsock.kernel.net.core.sock_mem import skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.ipv4.inet_hashtables import LOOPBACK4_IPV6, MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_DONTFRAG,
    INET_FLAGS_FREEBIND,
    INET_FLAGS_HDRINCL,
    INET_FLAGS_RECVERR6,
    INET_FLAGS_RTALERT,
    INET_FLAGS_TRANSPARENT,
)
from twinsock.kernel.net.ipv4.ip_output import InetCork, ip_flush_pending_frames
from twinsock.kernel.net.ipv4.raw import RAW_HTABLE_SIZE, SOL_RAW, RawProto, RawSock
from twinsock.kernel.net.ipv6.datagram import LOOPBACK6, ip6_datagram_connect_v6_only
from twinsock.kernel.net.ipv6.icmp import icmpv6_err_convert, icmpv6_out_count
from twinsock.kernel.net.ipv6.inet6_ops import ipv6_iface_scope_id, needs_scope_id, sockaddr_in6
from twinsock.kernel.net.ipv6.ip6_cmsg import (
    Ipcm6,
    ip6_datagram_recv_common_ctl,
    ip6_datagram_recv_specific_ctl,
    ip6_datagram_send_ctl,
    ipv6_icmp_error,
    ipv6_local_error,
    ipv6_recv_error,
    ipv6_recv_rxpmtu,
)
from twinsock.kernel.net.ipv6.ip6_output import ip6_append_data, ip6_make_pending_skb, ip6_send_skb
from twinsock.kernel.net.ipv6.ipv6_sockglue import ipv6_getsockopt, ipv6_setsockopt
from twinsock.kernel.net.ipv6.mcast_sock import inet6_mc_check
from twinsock.kernel.net.ipv6.route import Flowi6, Rt6Info, ip6_dst_lookup_flow, ip6_update_pmtu
from twinsock.uapi import in6
from twinsock.uapi.errno import (
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EDESTADDRREQ,
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENODEV,
    ENOPROTOOPT,
    EOPNOTSUPP,
)
from twinsock.uapi.icmpv6 import ICMPV6_PKT_TOOBIG
from twinsock.uapi.in6 import IPPROTO_ICMPV6, IPPROTO_MH
from twinsock.uapi.in_ import IPPROTO_IPV6, IPPROTO_RAW, IPPROTO_UDP
from twinsock.uapi.snmp import (
    IPSTATS_MIB_INHDRERRORS,
    IPSTATS_MIB_INRECEIVES,
    IPSTATS_MIB_INTRUNCATEDPKTS,
    IPSTATS_MIB_OUTDISCARDS,
    IPSTATS_MIB_OUTREQUESTS,
)
from twinsock.uapi.socket import AF_INET6, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_MORE, MSG_OOB, MSG_PROBE, MSG_TRUNC
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED
from twinsock.wire import ip6 as wire_ip6
from twinsock.wire.l4 import csum_fold, ones_sum, pseudo_sum6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.sched.task import Task

SOL_ICMPV6: Final = 58
ICMPV6_FILTER: Final = 1


class Raw6Sock(RawSock):
    """`struct raw6_sock`."""

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.checksum = protocol == IPPROTO_ICMPV6  # IPV6_CHECKSUM: compute and verify at `offset`
        self.offset = 2 if protocol == IPPROTO_ICMPV6 else 0
        self.icmp6_filter = bytes(32)  # bit n of the little-endian words drops type n
        self.ra_value = -1  # IPV6_ROUTER_ALERT, -1: not asked for
        self.fl6: Flowi6 | None = None
        self.hlimit = -1
        self.first_header = 0


class Raw6Proto(RawProto):
    """`rawv6_prot`."""

    def bind(self, task: Task, sk: Sock, addr: bytes) -> int:
        """rawv6_bind()."""
        assert isinstance(sk, Raw6Sock)
        return rawv6_bind(sk, addr)

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """ip6_datagram_connect_v6_only()."""
        assert isinstance(sk, Raw6Sock)
        return ip6_datagram_connect_v6_only(sk, addr)

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """rawv6_sendmsg()."""
        assert isinstance(sk, Raw6Sock)
        return rawv6_sendmsg(task, sk, msg)

    def recvmsg(self, task: Task, sk: Sock, msg: Msghdr, flags: int) -> int:
        """rawv6_recvmsg()."""
        assert isinstance(sk, Raw6Sock)
        return rawv6_recvmsg(task, sk, msg, flags)

    def router_alert6(self, sk: Sock, value: int) -> int:
        """ip6_ra_control()."""
        assert isinstance(sk, Raw6Sock)
        if sk.sk_num != IPPROTO_RAW:
            return -ENOPROTOOPT
        if value >= 0 and sk.ra_value >= 0:
            return -EADDRINUSE
        if value < 0 and sk.ra_value < 0:
            return -ENOBUFS
        sk.ra_value = value
        sk.inet_assign_bit(INET_FLAGS_RTALERT, value != 0)
        return 0

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """rawv6_setsockopt()."""
        assert isinstance(sk, Raw6Sock)
        if level == SOL_ICMPV6:
            if sk.sk_num != IPPROTO_ICMPV6:
                return -EOPNOTSUPP
            return _set_icmp6_filter(sk, optname, optval, optlen)
        if level == SOL_RAW or (level == IPPROTO_IPV6 and optname in (in6.IPV6_CHECKSUM, in6.IPV6_HDRINCL)):
            return _set_raw(sk, level, optname, optval, optlen)
        return ipv6_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """rawv6_getsockopt()."""
        assert isinstance(sk, Raw6Sock)
        if level == SOL_ICMPV6:
            if sk.sk_num != IPPROTO_ICMPV6:
                return -EOPNOTSUPP, b""
            if optname != ICMPV6_FILTER:
                return -ENOPROTOOPT, b""
            return (-EINVAL, b"") if optlen < 0 else (0, sk.icmp6_filter[:optlen])
        if level == SOL_RAW or (level == IPPROTO_IPV6 and optname in (in6.IPV6_CHECKSUM, in6.IPV6_HDRINCL)):
            return _get_raw(sk, optname, optlen)
        return ipv6_getsockopt(task, sk, level, optname, optval, optlen)


def _set_icmp6_filter(sk: Raw6Sock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optname != ICMPV6_FILTER:
        return -ENOPROTOOPT
    size = min(optlen, 32)
    if optval is None or len(optval) < size:
        sk.icmp6_filter = bytes(size) + sk.icmp6_filter[size:]
        return -EFAULT
    sk.icmp6_filter = optval[:size] + sk.icmp6_filter[size:]
    return 0


def _set_raw(sk: Raw6Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < 4:
        return -EINVAL
    if optval is None or len(optval) < 4:
        return -EFAULT
    val = int.from_bytes(optval[:4], "little", signed=True)
    if optname == in6.IPV6_HDRINCL:
        sk.inet_assign_bit(INET_FLAGS_HDRINCL, val != 0)
        return 0
    if optname != in6.IPV6_CHECKSUM:
        return -ENOPROTOOPT
    if (sk.sk_num == IPPROTO_ICMPV6 and level == IPPROTO_IPV6) or (val > 0 and val & 1):
        return -EINVAL
    sk.checksum = val >= 0
    sk.offset = max(val, 0)
    return 0


def _get_raw(sk: Raw6Sock, optname: int, optlen: int) -> tuple[int, bytes]:
    if optname == in6.IPV6_HDRINCL:
        val = 1 if sk.inet_test_bit(INET_FLAGS_HDRINCL) else 0
    elif optname == in6.IPV6_CHECKSUM:
        val = sk.offset if sk.checksum else -1
    else:
        return -ENOPROTOOPT, b""
    return 0, (val & 0xFFFFFFFF).to_bytes(4, "little")[: optlen if 0 <= optlen < 4 else 4]


def rawv6_bind(sk: Raw6Sock, addr: bytes) -> int:
    """Choose the local address: 0 or -errno."""
    np = sk.pinet6
    assert np is not None
    if len(addr) < 24 or addr[0] | addr[1] << 8 != AF_INET6:
        return -EINVAL
    saddr = addr[8:24]
    if saddr[:12] == MAPPED_PREFIX:
        return -EADDRNOTAVAIL
    if sk.sk_state != TCP_CLOSE:
        return -EINVAL
    if saddr != IN6ADDR_ANY:
        err = _check_bind(sk, addr, saddr)
        if err:
            return err
    sk.sk_rcv_saddr = sk.inet_saddr = 0 if saddr == IN6ADDR_ANY else LOOPBACK4_IPV6
    sk.sk_v6_rcv_saddr = saddr
    if saddr[0] != 0xFF:
        np.saddr = saddr
    return 0


def _check_bind(sk: Raw6Sock, addr: bytes, saddr: bytes) -> int:
    net = sk.sk_net
    if needs_scope_id(saddr):
        scope_id = int.from_bytes(addr[24:28], "little") if len(addr) >= 28 else 0
        if scope_id:
            sk.sk_bound_dev_if = scope_id
        if not sk.sk_bound_dev_if:
            return -EINVAL
    if sk.sk_bound_dev_if and not net.addrs.dev_exists(sk.sk_bound_dev_if):
        return -ENODEV
    nonlocal_ok = net.ipv6.sysctl_ip_nonlocal_bind or sk.inet_test_bit(INET_FLAGS_FREEBIND) or sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
    if saddr[0] != 0xFF and not nonlocal_ok and not net.addrs.ipv6_chk_addr(saddr, sk.sk_bound_dev_if):
        return -EADDRNOTAVAIL
    return 0


# Sending

_PROBED: Final[dict[int, int]] = {IPPROTO_ICMPV6: 2, IPPROTO_MH: 4}  # bytes of a message that are looked at before it is routed


def rawv6_sendmsg(task: Task, sk: Raw6Sock, msg: Msghdr) -> int:
    """Send a payload, or with IPV6_HDRINCL a packet: bytes or -errno."""
    np = sk.pinet6
    assert np is not None
    length = msg.remaining()
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    ipc6 = Ipcm6(sk)
    fl6 = Flowi6()
    fl6.proto = sk.sk_num
    if msg.name is not None:
        name = msg.name
        if len(name) < 24:
            return -EINVAL
        if name[0] | name[1] << 8 not in (0, AF_INET6):
            return -EAFNOSUPPORT
        proto = name[2] << 8 | name[3]
        if proto and proto != sk.sk_num and sk.sk_num != IPPROTO_RAW:
            return -EINVAL
        if proto > 255:
            return -EINVAL
        fl6.proto = proto or sk.sk_num
        fl6.daddr = name[8:24]
        if np.sndflow:
            ipc6.flowinfo = int.from_bytes(name[4:8], "big") & 0x0FFFFFFF
        if len(name) >= 28 and needs_scope_id(fl6.daddr):
            ipc6.oif = int.from_bytes(name[24:28], "little")
    else:
        if sk.sk_state != TCP_ESTABLISHED:
            return -EDESTADDRREQ
        fl6.daddr = sk.sk_v6_daddr
        ipc6.flowinfo = np.flow_label
    ipc6.oif = ipc6.oif or sk.sk_bound_dev_if
    if msg.control:
        err = ip6_datagram_send_ctl(task, sk, msg.control, ipc6)
        if err:
            return err
    if not sk.inet_test_bit(INET_FLAGS_HDRINCL) and length < _PROBED.get(fl6.proto, 0):
        return -EFAULT  # rawv6_probe_proto_opt(): what begins the message is part of the flow
    err, rt = _raw6_route(sk, ipc6, fl6)
    if rt is None:
        return err
    if sk.inet_test_bit(INET_FLAGS_HDRINCL):
        err = rawv6_send_hdrinc(task, sk, msg, fl6, rt)
    else:
        err = _raw6_append(sk, msg, fl6, rt, ipc6)
    return err or length


def _raw6_route(sk: Raw6Sock, ipc6: Ipcm6, fl6: Flowi6) -> tuple[int, Rt6Info | None]:
    np = sk.pinet6
    assert np is not None
    if fl6.daddr == IN6ADDR_ANY:
        fl6.daddr = LOOPBACK6
    fl6.saddr = ipc6.saddr if ipc6.saddr != IN6ADDR_ANY else np.saddr
    fl6.oif = ipc6.oif or (np.mcast_oif if fl6.daddr[0] == 0xFF else np.ucast_oif)
    fl6.mark = ipc6.ipc.mark
    fl6.flowlabel = ipc6.flowinfo
    fl6.srcprefs = np.srcprefs
    return ip6_dst_lookup_flow(sk.sk_net, fl6, sk)


def rawv6_send_hdrinc(task: Task, sk: Raw6Sock, msg: Msghdr, fl6: Flowi6, rt: Rt6Info) -> int:
    """Send a packet whose header the program wrote."""
    length = msg.remaining()
    if length > rt.dev.mtu:
        ipv6_local_error(sk, EMSGSIZE, fl6.daddr, 0, rt.dev.mtu)
        return -EMSGSIZE
    if length < wire_ip6.IP6_HEADER_LEN:
        return -EINVAL
    if msg.flags & MSG_PROBE:
        return 0
    err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
    if err:
        sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        return err
    skb = SkBuff(msg.take(length))
    skb.truesize = skb_head_truesize(length + 47)
    hdr, payload_len = wire_ip6.parse(skb.data)
    mib = sk.sk_net.ip6_statistics
    if hdr is None or payload_len + wire_ip6.IP6_HEADER_LEN > length:
        mib[IPSTATS_MIB_OUTREQUESTS] += 1
        if rt.dev.is_loopback():  # no receiver takes it
            mib[IPSTATS_MIB_INRECEIVES] += 1
            mib[IPSTATS_MIB_INHDRERRORS if hdr is None else IPSTATS_MIB_INTRUNCATEDPKTS] += 1
        return 0
    skb.nh6 = hdr
    skb.pull(wire_ip6.IP6_HEADER_LEN)
    skb.len = payload_len
    skb.dst = rt
    skb_set_owner_w(skb, sk)
    err = ip6_send_skb(sk.sk_net, skb)
    return 0 if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR6) else err


def _raw6_append(sk: Raw6Sock, msg: Msghdr, fl6: Flowi6, rt: Rt6Info, ipc6: Ipcm6) -> int:
    np = sk.pinet6
    assert np is not None
    cork: InetCork = sk.cork
    if msg.flags & MSG_PROBE:
        return 0
    if cork.dst is None:
        sk.fl6 = fl6
        sk.hlimit = ipc6.hlimit
        ipc6.ipc.opt = ipc6.exthdrs(np, fl6.proto) or None
        sk.first_header = ipc6.first_header
    ipc6.ipc.tos = ipc6.tclass
    dontfrag = sk.inet_test_bit(INET_FLAGS_DONTFRAG) if ipc6.dontfrag < 0 else ipc6.dontfrag > 0
    err = ip6_append_data(sk, cork, msg.take(msg.remaining()), 0, ipc6.ipc, rt, dontfrag)
    if err == -EMSGSIZE and not dontfrag:
        ipv6_local_error(sk, EMSGSIZE, fl6.daddr, 0, rt.get_mtu() - len(cork.opt))
    if not err and sk.sk_wmem_alloc > 2 * sk.sk_sndbuf:
        sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        err = -ENOBUFS
    if err:
        ip_flush_pending_frames(cork)
        return err
    return 0 if msg.flags & MSG_MORE else rawv6_push_pending_frames(sk)


def rawv6_push_pending_frames(sk: Raw6Sock) -> int:
    """Put the checksum in and send: 0 or -errno."""
    fl6 = sk.fl6
    assert fl6 is not None
    skb = ip6_make_pending_skb(sk, sk.cork, fl6)
    hdr = skb.nh6
    assert hdr is not None
    if sk.hlimit >= 0:
        hdr.hop_limit = sk.hlimit
    if hdr.exthdrs:
        hdr.nexthdr = sk.first_header
    if sk.checksum:
        if sk.offset >= skb.len - 1:
            kfree_skb(skb)
            return -EINVAL
        start = sk.offset
        data = skb.payload()
        data = data[:start] + bytes(2) + data[start + 2 :]
        check = csum_fold(pseudo_sum6(fl6.saddr, fl6.daddr, fl6.proto, len(data)) + ones_sum(data))
        if check == 0 and fl6.proto == IPPROTO_UDP:
            check = 0xFFFF
        skb.data = data[:start] + check.to_bytes(2, "big") + data[start + 2 :]
        skb.offset = 0
    if fl6.proto == IPPROTO_ICMPV6 and skb.len:
        icmpv6_out_count(sk.sk_net, skb.data[skb.offset])
    skb_set_owner_w(skb, sk)
    err = ip6_send_skb(sk.sk_net, skb)
    return 0 if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR6) else err


# Receiving


def rawv6_recvmsg(task: Task, sk: Raw6Sock, msg: Msghdr, flags: int) -> int:
    """Receive a payload: bytes or -errno."""
    np = sk.pinet6
    assert np is not None
    if flags & MSG_OOB:
        return -EOPNOTSUPP
    if flags & MSG_ERRQUEUE:
        return ipv6_recv_error(sk, msg)
    if np.rxpmtu:
        return ipv6_recv_rxpmtu(sk, msg)
    err, skb = skb_recv_datagram(task, sk, flags)
    if skb is None:
        return err
    copied = min(skb.len, msg.size)
    if copied < skb.len:
        msg.out_flags |= MSG_TRUNC
    msg.chunks.append(skb.data[skb.offset : skb.offset + copied])
    if skb.nh6 is not None:
        scope_id = ipv6_iface_scope_id(skb.nh6.saddr, skb.ipi_ifindex)
        msg.name = sockaddr_in6(skb.nh6.saddr, 0, 0, scope_id)
    sock_recv_cmsgs(msg, sk, skb)
    if np.rxopt:
        ip6_datagram_recv_common_ctl(msg, sk, skb)
        ip6_datagram_recv_specific_ctl(msg, sk, skb)
    result = skb.len if flags & MSG_TRUNC else copied
    skb_free_datagram(sk, skb)
    return result


class RawHook6(RawHook):
    """What the network layer calls."""

    def __init__(self, prot: Raw6Proto) -> None:
        self.prot = prot

    def local_deliver(self, skb: SkBuff, protocol: int) -> bool:
        """ipv6_raw_deliver(): copies for every socket that matches."""
        hdr, dev = skb.nh6, skb.dev
        if hdr is None or dev is None or dev.net.inum not in self.prot.tables:
            return False
        delivered = False
        dif = skb.iif or dev.ifindex
        sk = self.prot.table(dev.net)[protocol & (RAW_HTABLE_SIZE - 1)].first
        while sk is not None:
            after = sk.sk_next
            if isinstance(sk, Raw6Sock) and raw_v6_match(sk, protocol, hdr.saddr, hdr.daddr, dif):
                delivered = True
                data = skb.l4_bytes()
                if protocol != IPPROTO_ICMPV6 or not icmpv6_filter(sk, data):
                    rawv6_rcv(sk, skb, data, dif)
            sk = after
        return delivered

    def icmp_error(self, skb: SkBuff, protocol: int, type_: int, code: int, info: int) -> None:
        """raw6_icmp_error()."""
        hdr, dev = skb.nh6, skb.dev
        if hdr is None or dev is None or dev.net.inum not in self.prot.tables:
            return
        dif = skb.iif or dev.ifindex
        sk = self.prot.table(dev.net)[protocol & (RAW_HTABLE_SIZE - 1)].first
        while sk is not None:
            if isinstance(sk, Raw6Sock) and raw_v6_match(sk, protocol, hdr.daddr, hdr.saddr, dif):
                rawv6_err(sk, skb, type_, code, info)
            sk = sk.sk_next


def raw_v6_match(sk: Raw6Sock, num: int, raddr: bytes, laddr: bytes, dif: int) -> bool:
    """Tell whether a packet from raddr to laddr is for a socket."""
    if sk.sk_num != num or sk.sk_v6_daddr not in (IN6ADDR_ANY, raddr):
        return False
    if sk.sk_bound_dev_if and sk.sk_bound_dev_if != dif:
        return False
    if sk.sk_v6_rcv_saddr == IN6ADDR_ANY or sk.sk_v6_rcv_saddr == laddr:
        return True
    return laddr[0] == 0xFF and inet6_mc_check(sk, laddr, raddr)


def icmpv6_filter(sk: Raw6Sock, data: bytes) -> bool:
    """Tell whether ICMP6_FILTER drops a message."""
    if not data:
        return True
    type_ = data[0]
    word = int.from_bytes(sk.icmp6_filter[type_ >> 5 << 2 : (type_ >> 5 << 2) + 4], "little")
    return bool(word >> (type_ & 31) & 1)


def rawv6_rcv(sk: Raw6Sock, skb: SkBuff, data: bytes, dif: int) -> None:
    """Verify the checksum if asked to, and queue a copy of the payload."""
    hdr = skb.nh6
    assert hdr is not None
    if (
        sk.checksum
        and not sk.inet_test_bit(INET_FLAGS_HDRINCL)
        and (pseudo_sum6(hdr.saddr, hdr.daddr, sk.sk_num, len(data)) + ones_sum(data)) % 0xFFFF
    ):
        sk.sk_drops += 1
        kfree_skb_reason(skb_clone(skb), dropreason.SKB_CSUM)
        return
    copy = skb_clone(skb)
    copy.data = data
    copy.offset = 0
    copy.len = len(data)
    copy.ipi_ifindex = dif
    err = sock_queue_rcv_skb(sk, copy, data)
    if err < 0:
        kfree_skb_reason(copy, rcv_drop_reason(err))


def rawv6_err(sk: Raw6Sock, quote: SkBuff, type_: int, code: int, info: int) -> None:
    """Take an ICMPv6 error about a packet that the socket may have sent."""
    recverr = sk.inet_test_bit(INET_FLAGS_RECVERR6)
    np = sk.pinet6
    hdr = quote.nh6
    if np is None or hdr is None or (not recverr and sk.sk_state != TCP_ESTABLISHED):
        return
    err, harderr = icmpv6_err_convert(type_, code)
    if type_ == ICMPV6_PKT_TOOBIG:
        ip6_update_pmtu(sk.sk_net, hdr.daddr, info, sk.sk_bound_dev_if)
        harderr = np.pmtudisc == in6.IPV6_PMTUDISC_DO
    if recverr:
        ipv6_icmp_error(sk, quote, 0, err, 0, info)
    if recverr or harderr:
        sk.sk_err = err
        sk.sk_error_report()
