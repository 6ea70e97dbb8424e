"""Ping sockets over IPv6 (Linux: net/ipv6/ping.c); what both families share is in ipv4/ping.py."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.core.sock import IN6ADDR_ANY
from twinsock.kernel.net.core.sock_mem import skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.ipv4.inet_hashtables import MAPPED_PREFIX
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_DONTFRAG, INET_FLAGS_FREEBIND, INET_FLAGS_RECVERR6, INET_FLAGS_TRANSPARENT
from twinsock.kernel.net.ipv4.ip_output import InetCork
from twinsock.kernel.net.ipv4.ping import PingProto, PingSock, PingTable, ping_common_sendmsg, ping_queue
from twinsock.kernel.net.ipv6.datagram import ip6_datagram_connect_v6_only
from twinsock.kernel.net.ipv6.icmp import icmpv6_err_convert, icmpv6_out_count
from twinsock.kernel.net.ipv6.inet6_ops import ipv6_iface_scope_id, needs_scope_id, sockaddr_in6
from twinsock.kernel.net.ipv6.ip6_cmsg import (
    Ipcm6,
    ip6_datagram_recv_common_ctl,
    ip6_datagram_recv_specific_ctl,
    ip6_datagram_send_ctl,
    ipv6_icmp_error,
    ipv6_recv_error,
)
from twinsock.kernel.net.ipv6.ip6_output import ip6_append_data, ip6_make_pending_skb, ip6_send_skb
from twinsock.kernel.net.ipv6.ipv6_sockglue import ipv6_getsockopt, ipv6_setsockopt
from twinsock.kernel.net.ipv6.route import Flowi6, ip6_dst_lookup_flow
from twinsock.uapi.errno import EADDRNOTAVAIL, EAFNOSUPPORT, EDESTADDRREQ, EINVAL, ENODEV, ENOENT
from twinsock.uapi.icmpv6 import ICMPV6_ECHO_REQUEST
from twinsock.uapi.in6 import IPPROTO_ICMPV6
from twinsock.uapi.snmp import IPSTATS_MIB_OUTDISCARDS
from twinsock.uapi.socket import AF_INET6, MSG_DONTWAIT, MSG_PROBE
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire.icmp import ICMP_HEADER_LEN
from twinsock.wire.icmp6 import Icmp6hdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.sched.task import Task


class Ping6Proto(PingProto):
    """`pingv6_prot`."""

    def init_sock(self, sk: Sock) -> int:
        """Such a socket knows no IPv4."""
        sk.sk_ipv6only = 1
        return 0

    def bind_addr(self, sk: PingSock, addr: bytes) -> int:
        """ping_check_bind_addr() for IPv6, and store the address: 0 or -errno."""
        np = sk.pinet6
        assert np is not None
        if len(addr) < 28:
            return -EINVAL
        if addr[0] | addr[1] << 8 != AF_INET6:
            return -EAFNOSUPPORT
        saddr = addr[8:24]
        scope_id = int.from_bytes(addr[24:28], "little")
        if saddr != IN6ADDR_ANY:
            err = self._check(sk, saddr, scope_id)
            if err:
                return err
        if sk.sk_num:
            return -EINVAL
        if scope_id and needs_scope_id(saddr):
            sk.sk_bound_dev_if = scope_id
        sk.sk_v6_rcv_saddr = np.saddr = saddr
        return 0

    def _check(self, sk: PingSock, saddr: bytes, scope_id: int) -> int:
        net = sk.sk_net
        if needs_scope_id(saddr) and not scope_id and not sk.sk_bound_dev_if:
            return -EINVAL
        if scope_id and not net.addrs.dev_exists(scope_id):
            return -ENODEV
        nonlocal_ok = net.ipv6.sysctl_ip_nonlocal_bind or sk.inet_test_bit(INET_FLAGS_FREEBIND) or sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
        if saddr[:12] == MAPPED_PREFIX:
            return -EINVAL
        if saddr[0] == 0xFF:
            return -EADDRNOTAVAIL
        return 0 if nonlocal_ok or net.addrs.ipv6_chk_addr(saddr, scope_id) else -EADDRNOTAVAIL

    def has_addr(self, sk: PingSock) -> bool:
        """Tell whether the socket is bound to an address."""
        return sk.sk_v6_rcv_saddr != IN6ADDR_ANY

    def clear_addr(self, sk: PingSock) -> None:
        """Forget the address."""
        sk.sk_v6_rcv_saddr = IN6ADDR_ANY
        if sk.pinet6 is not None:
            sk.pinet6.saddr = IN6ADDR_ANY

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """ip6_datagram_connect_v6_only()."""
        assert isinstance(sk, PingSock)
        return ip6_datagram_connect_v6_only(sk, addr)

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """ping_v6_sendmsg()."""
        assert isinstance(sk, PingSock)
        return ping_v6_sendmsg(task, sk, msg)

    def describe(self, sk: PingSock, msg: Msghdr, skb: SkBuff) -> None:
        """Say where a reply came from."""
        np = sk.pinet6
        if skb.nh6 is None or np is None:
            return
        scope_id = ipv6_iface_scope_id(skb.nh6.saddr, skb.ipi_ifindex)
        msg.name = sockaddr_in6(skb.nh6.saddr, 0, skb.nh6.flow_label if np.sndflow else 0, scope_id)
        if np.rxopt:
            ip6_datagram_recv_common_ctl(msg, sk, skb)
            ip6_datagram_recv_specific_ctl(msg, sk, skb)

    def recv_error(self, sk: PingSock, msg: Msghdr) -> int:
        """Receive from the error queue."""
        return ipv6_recv_error(sk, msg)

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """ipv6_setsockopt()."""
        assert isinstance(sk, PingSock)
        return ipv6_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """ipv6_getsockopt()."""
        assert isinstance(sk, PingSock)
        return ipv6_getsockopt(task, sk, level, optname, optval, optlen)


def _ping_dest(sk: PingSock, msg: Msghdr, ipc6: Ipcm6) -> tuple[int, bytes]:
    name = msg.name
    np = sk.pinet6
    assert np is not None
    if name is None:
        if sk.sk_state != TCP_ESTABLISHED:
            return -EDESTADDRREQ, b""
        ipc6.flowinfo = np.flow_label
        return 0, sk.sk_v6_daddr
    if len(name) < 28:
        return -EINVAL, b""
    if name[0] | name[1] << 8 != AF_INET6:
        return -EAFNOSUPPORT, b""
    daddr = name[8:24]
    scope_id = int.from_bytes(name[24:28], "little")
    if needs_scope_id(daddr) and scope_id:
        ipc6.oif = scope_id
    return 0, daddr


def ping_v6_sendmsg(task: Task, sk: PingSock, msg: Msghdr) -> int:
    """Send an echo request: bytes or -errno."""
    np = sk.pinet6
    assert np is not None
    length = msg.remaining()
    err = ping_common_sendmsg(msg, ICMPV6_ECHO_REQUEST)
    if err:
        return err
    ipc6 = Ipcm6(sk)
    err, daddr = _ping_dest(sk, msg, ipc6)
    if err:
        return err
    ipc6.oif = ipc6.oif or sk.sk_bound_dev_if or np.sticky_pktinfo_ifindex
    if not ipc6.oif:
        ipc6.oif = np.mcast_oif if daddr[0] == 0xFF else np.ucast_oif
    if daddr[:12] == MAPPED_PREFIX or (needs_scope_id(daddr) and not ipc6.oif):
        return -EINVAL
    if sk.sk_bound_dev_if and ipc6.oif != sk.sk_bound_dev_if:
        return -EINVAL
    if msg.control:
        err = ip6_datagram_send_ctl(task, sk, msg.control, ipc6)
        if err:
            return err
    fl6 = Flowi6(daddr, ipc6.saddr if ipc6.saddr != IN6ADDR_ANY else np.saddr, IPPROTO_ICMPV6, oif=ipc6.oif)
    fl6.mark = ipc6.ipc.mark
    fl6.flowlabel = ipc6.flowinfo
    err, rt = ip6_dst_lookup_flow(sk.sk_net, fl6, sk)
    if rt is None:
        return err
    header = msg.take(ICMP_HEADER_LEN)
    if msg.flags & MSG_PROBE:
        return length
    ipc6.ipc.tos = ipc6.tclass
    cork = InetCork()
    dontfrag = sk.inet_test_bit(INET_FLAGS_DONTFRAG) if ipc6.dontfrag < 0 else ipc6.dontfrag > 0
    err = ip6_append_data(sk, cork, msg.take(length - ICMP_HEADER_LEN), ICMP_HEADER_LEN, ipc6.ipc, rt, dontfrag)
    if not err:
        err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
        sk.sk_net.ip6_statistics[IPSTATS_MIB_OUTDISCARDS] += err != 0
    if err:
        return err
    skb = ip6_make_pending_skb(sk, cork, fl6)
    if ipc6.hlimit >= 0 and skb.nh6 is not None:
        skb.nh6.hop_limit = ipc6.hlimit
    skb.h = Icmp6hdr(ICMPV6_ECHO_REQUEST, 0, sk.inet_sport << 16 | header[6] << 8 | header[7])
    skb_set_owner_w(skb, sk)
    icmpv6_out_count(sk.sk_net, ICMPV6_ECHO_REQUEST)
    err = ip6_send_skb(sk.sk_net, skb)
    return err or length


class PingHook6(NetProtocol):
    """What ICMPv6 calls: replies, and errors about our requests."""

    def __init__(self, table: PingTable) -> None:
        self.table = table

    def handler(self, skb: SkBuff) -> int:
        """ping_rcv()."""
        h, hdr, dev = skb.h, skb.nh6, skb.dev
        if isinstance(h, Icmp6hdr) and hdr is not None and dev is not None:
            dif = skb.iif or dev.ifindex
            sk = self.table.lookup(dev.net, AF_INET6, h.id(), 0, hdr.daddr, dif)
            if sk is not None:
                skb.ipi_ifindex = dif
                ping_queue(sk, skb)
                return 0
        kfree_skb_reason(skb, dropreason.NO_SOCKET)
        return 0

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """ping_err()."""
        hdr, dev = skb.nh6, skb.dev
        data = skb.payload()
        if hdr is None or dev is None or len(data) < ICMP_HEADER_LEN or data[0] != ICMPV6_ECHO_REQUEST or data[1] != 0:
            return 0
        sk = self.table.lookup(dev.net, AF_INET6, data[4] << 8 | data[5], 0, hdr.saddr, skb.iif or dev.ifindex)
        if sk is None:
            return -ENOENT
        err, harderr = icmpv6_err_convert(type_, code)
        if not sk.inet_test_bit(INET_FLAGS_RECVERR6):
            if not harderr or sk.sk_state != TCP_ESTABLISHED:
                return 0
        else:
            ipv6_icmp_error(sk, skb, 0, err, 0, info)
        sk.sk_err = err
        sk.sk_error_report()
        return 0
