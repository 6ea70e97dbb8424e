"""Ping sockets: ICMP echo without privileges, icmp(7) (Linux: net/ipv4/ping.c).

The port of the address is the echo identifier; the kernel fills it in, and hands replies and errors with it to the socket.
IPv6 echoes are in ipv6/ping.py."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.datagram import rcv_drop_reason, skb_free_datagram, skb_recv_datagram, sock_queue_rcv_skb
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb, kfree_skb_reason
from twinsock.kernel.net.core.sock import (
    SOCK_BINDADDR_LOCK,
    SOCK_BINDPORT_LOCK,
    SOCK_BROADCAST,
    Proto,
    Sock,
    lock_sock,
    release_sock,
    sk_common_release,
)
from twinsock.kernel.net.core.sock_cmsg import sock_recv_cmsgs
from twinsock.kernel.net.core.sock_mem import skb_queue_purge_err, skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.ipv4.af_inet import inet_addr_valid_or_nonlocal
from twinsock.kernel.net.ipv4.datagram import ip4_datagram_connect, udp_disconnect
from twinsock.kernel.net.ipv4.fib_frontend import inet_addr_type, ipv4_is_multicast
from twinsock.kernel.net.ipv4.icmp import icmp_err_convert, icmp_out_count
from twinsock.kernel.net.ipv4.inet_ops import sockaddr_in
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR, InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import (
    inet_iif,
    ip_cmsg_recv,
    ip_cmsg_send,
    ip_icmp_error,
    ip_local_error,
    ip_recv_error,
    ipcm_init_sk,
)
from twinsock.kernel.net.ipv4.ip_output import InetCork, ip_append_data, ip_make_pending_skb, ip_send_skb
from twinsock.kernel.net.ipv4.ip_sockglue import ip_getsockopt, ip_setsockopt
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow, ipv4_update_pmtu, sk_dst_set
from twinsock.uapi.errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EDESTADDRREQ,
    EHOSTUNREACH,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOENT,
    ENOIOCTLCMD,
    EOPNOTSUPP,
    EPROTO,
    EREMOTEIO,
)
from twinsock.uapi.icmp import (
    ICMP_DEST_UNREACH,
    ICMP_ECHO,
    ICMP_FRAG_NEEDED,
    ICMP_PARAMETERPROB,
    ICMP_REDIRECT,
    ICMP_SOURCE_QUENCH,
    ICMP_TIME_EXCEEDED,
)
from twinsock.uapi.in_ import IP_PMTUDISC_DONT, IPPROTO_ICMP
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_MULTICAST
from twinsock.uapi.snmp import IPSTATS_MIB_OUTDISCARDS, IPSTATS_MIB_OUTNOROUTES
from twinsock.uapi.socket import AF_INET, AF_UNSPEC, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_OOB, MSG_PROBE, MSG_TRUNC
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire.icmp import ICMP_HEADER_LEN, Icmphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

PING_HTABLE_SIZE: Final = 64


class PingSock(InetSock):
    """A ping socket: `sk_num` is its identifier."""

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.ping_hashed = False

    def sk_destruct(self) -> None:
        """Free what waits in the queues."""
        queue = self.sk_receive_queue
        while queue:
            kfree_skb(queue.popleft())
        skb_queue_purge_err(self)


class PingTable:
    """`struct ping_table`: the sockets that have an identifier, newest first; one table for both families."""

    def __init__(self) -> None:
        self.hash: list[list[PingSock]] = [[] for _ in range(PING_HTABLE_SIZE)]
        self.rover = 0

    def slot(self, net: Net, ident: int) -> list[PingSock]:
        """Return the chain of an identifier."""
        return self.hash[ident & (PING_HTABLE_SIZE - 1)]

    def lookup(self, net: Net, family: int, ident: int, daddr: int, v6_daddr: bytes, dif: int) -> PingSock | None:
        """Find the socket that sent the echo with this identifier from the address that was answered."""
        for sk in self.slot(net, ident):
            if sk.sk_net is not net or sk.sk_num != ident or sk.sk_family != family:
                continue
            if family == AF_INET:
                if sk.sk_rcv_saddr and sk.sk_rcv_saddr != daddr:
                    continue
            elif any(sk.sk_v6_rcv_saddr) and sk.sk_v6_rcv_saddr != v6_daddr:
                continue
            if sk.sk_bound_dev_if and sk.sk_bound_dev_if != dif:
                continue
            return sk
        return None

    def sockets(self, net: Net, family: int) -> list[tuple[int, Sock]]:
        """List the sockets as /proc/net/icmp does: (bucket number, socket)."""
        found: list[tuple[int, Sock]] = []
        for bucket in range(PING_HTABLE_SIZE):
            for sk in self.hash[bucket]:
                if sk.sk_net is net and sk.sk_family == family:
                    found.append((bucket, sk))
        return found


class PingProto(Proto):
    """`ping_prot`."""

    def __init__(self, name: str, obj_size: int, table: PingTable) -> None:
        super().__init__(name, obj_size)
        self.ping_table = table

    def may_create(self, task: Task, sk: Sock) -> int:
        """net.ipv4.ping_group_range must hold one of the task's groups."""
        low, high = sk.sk_net.ipv4.ping_group_range
        for gid in [task.cred.egid, *task.cred.groups]:
            if low <= gid <= high:
                return 0
        return -EACCES

    def close(self, task: Task | None, sk: Sock, timeout_ns: int) -> None:
        """ping_close()."""
        sk_common_release(sk)

    def get_port(self, sk: Sock, snum: int) -> int:
        """ping_get_port(): own an identifier, 0: the next free one."""
        assert isinstance(sk, PingSock)
        return ping_get_port(self, sk, snum)

    def unhash(self, sk: Sock) -> None:
        """Give the identifier back."""
        if isinstance(sk, PingSock) and sk.ping_hashed:
            self.ping_table.slot(sk.sk_net, sk.sk_num).remove(sk)
            sk.ping_hashed = False
            sk.sk_num = 0
            sk.inet_sport = 0
            sk.sk_net.sock_prot_inuse_add(self, -1)

    def bind(self, task: Task, sk: Sock, addr: bytes) -> int:
        """ping_bind()."""
        assert isinstance(sk, PingSock)
        lock_sock(sk)
        err = self.bind_addr(sk, addr)
        if not err:
            err = self.bind_ident(sk, addr[2] << 8 | addr[3])
        release_sock(sk)
        return err

    def bind_addr(self, sk: PingSock, addr: bytes) -> int:
        """ping_check_bind_addr(), and store the address: 0 or -errno."""
        if len(addr) < 16:
            return -EINVAL
        saddr = int.from_bytes(addr[4:8], "big")
        family = addr[0] | addr[1] << 8
        if family != AF_INET and (family != AF_UNSPEC or saddr):
            return -EAFNOSUPPORT
        net = sk.sk_net
        type_ = inet_addr_type(net, saddr) if saddr else 0
        if saddr and (not inet_addr_valid_or_nonlocal(net, sk, saddr, type_) or type_ in (RTN_MULTICAST, RTN_BROADCAST)):
            return -EADDRNOTAVAIL
        if sk.sk_num:
            return -EINVAL
        sk.sk_rcv_saddr = sk.inet_saddr = saddr
        return 0

    def bind_ident(self, sk: PingSock, ident: int) -> int:
        """Own the identifier that goes with the address: 0 or -EADDRINUSE, and the address is forgotten."""
        if self.get_port(sk, ident):
            self.clear_addr(sk)
            return -EADDRINUSE
        if self.has_addr(sk):
            sk.sk_userlocks |= SOCK_BINDADDR_LOCK
        if ident:
            sk.sk_userlocks |= SOCK_BINDPORT_LOCK
        sk.inet_sport = sk.sk_num
        sk.sk_daddr = 0
        sk.sk_dport = 0
        sk_dst_set(sk, None)
        return 0

    def has_addr(self, sk: PingSock) -> bool:
        """Tell whether the socket is bound to an address."""
        return sk.sk_rcv_saddr != 0

    def clear_addr(self, sk: PingSock) -> None:
        """Forget the address."""
        sk.sk_rcv_saddr = sk.inet_saddr = 0

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """ip4_datagram_connect()."""
        assert isinstance(sk, InetSock)
        return ip4_datagram_connect(sk, addr)

    def disconnect(self, sk: Sock, flags: int) -> int:
        """udp_disconnect()."""
        assert isinstance(sk, InetSock)
        return udp_disconnect(sk)

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """ping_v4_sendmsg()."""
        assert isinstance(sk, PingSock)
        return ping_v4_sendmsg(task, sk, msg)

    def recvmsg(self, task: Task, sk: Sock, msg: Msghdr, flags: int) -> int:
        """ping_recvmsg()."""
        assert isinstance(sk, PingSock)
        return self.receive(task, sk, msg, flags)

    def receive(self, task: Task, sk: PingSock, msg: Msghdr, flags: int) -> int:
        """Receive an echo reply, ICMP header included: bytes or -errno."""
        if flags & MSG_OOB:
            return -EOPNOTSUPP
        if flags & MSG_ERRQUEUE:
            return self.recv_error(sk, msg)
        err, skb = skb_recv_datagram(task, sk, flags)
        if skb is None:
            return err
        copied = min(skb.len, msg.size)
        if copied < skb.len:
            msg.out_flags |= MSG_TRUNC
        msg.chunks.append(skb.data[skb.offset : skb.offset + copied])
        sock_recv_cmsgs(msg, sk, skb)
        self.describe(sk, msg, skb)
        skb_free_datagram(sk, skb)
        return copied

    def describe(self, sk: PingSock, msg: Msghdr, skb: SkBuff) -> None:
        """Say where a reply came from."""
        if skb.nh4 is not None:
            msg.name = sockaddr_in(skb.nh4.saddr, 0)
            ip_cmsg_recv(msg, sk, skb)

    def recv_error(self, sk: PingSock, msg: Msghdr) -> int:
        """Receive from the error queue."""
        return ip_recv_error(sk, msg)

    def ioctl(self, sk: Sock, cmd: int) -> tuple[int, int]:
        """There is none."""
        return -ENOIOCTLCMD, 0

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """ip_setsockopt()."""
        assert isinstance(sk, InetSock)
        return ip_setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """ip_getsockopt()."""
        assert isinstance(sk, InetSock)
        return ip_getsockopt(task, sk, level, optname, optval, optlen)


def ping_get_port(prot: PingProto, sk: PingSock, ident: int) -> int:
    """Own an identifier: 0, or 1 when it is taken or none is free."""
    table = prot.ping_table
    if ident == 0:
        candidate = (table.rover + 1) & 0xFFFF
        for _ in range(1 << 16):
            candidate = candidate or 1
            if not any(other.sk_num == candidate for other in table.slot(sk.sk_net, candidate)):
                table.rover = candidate
                ident = candidate
                break
            candidate = (candidate + 1) & 0xFFFF
        if ident == 0:
            return 1
    else:
        for other in table.slot(sk.sk_net, ident):
            if other.sk_num == ident and other is not sk and (not other.sk_reuse or not sk.sk_reuse):
                return 1
    sk.sk_num = ident
    if not sk.ping_hashed:
        sk.ping_hashed = True
        table.slot(sk.sk_net, ident).insert(0, sk)
        sk.sk_net.sock_prot_inuse_add(prot, 1)
    return 0


# Sending


def ping_common_sendmsg(msg: Msghdr, echo: int) -> int:
    """Check what every ping message must be: 0 or -errno."""
    length = msg.remaining()
    if length > 0xFFFF:
        return -EMSGSIZE
    if length < ICMP_HEADER_LEN:
        return -EINVAL
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    return 0 if msg.data[msg.offset] == echo and msg.data[msg.offset + 1] == 0 else -EINVAL


def ping_v4_sendmsg(task: Task, sk: PingSock, msg: Msghdr) -> int:
    """Send an echo request: bytes or -errno."""
    length = msg.remaining()
    err = ping_common_sendmsg(msg, ICMP_ECHO)
    if err:
        return err
    daddr = sk.sk_daddr
    if msg.name is not None:
        if len(msg.name) < 16:
            return -EINVAL
        if msg.name[0] | msg.name[1] << 8 != AF_INET:
            return -EAFNOSUPPORT
        daddr = int.from_bytes(msg.name[4:8], "big")
    elif sk.sk_state != TCP_ESTABLISHED:
        return -EDESTADDRREQ
    ipc, sockc = ipcm_init_sk(sk)
    if msg.control:
        err = ip_cmsg_send(task, sk, msg, ipc, sockc, False)
        if err:
            return err
    if ipc.opt is None:
        ipc.opt = sk.inet_opt
    fl4 = Flowi4(daddr, ipc.addr, sk.sk_protocol)
    if ipv4_is_multicast(daddr):
        ipc.oif = ipc.oif or sk.mc_index
        fl4.saddr = fl4.saddr or sk.mc_addr
    else:
        ipc.oif = ipc.oif or sk.uc_index
    fl4.oif = ipc.oif
    fl4.mark = ipc.mark
    net = sk.sk_net
    err, rt = ip_route_output_flow(net, fl4, sk)
    if err or rt is None:
        if err == -ENETUNREACH:
            net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
        return err
    if rt.type == RTN_BROADCAST and not sk.sock_flag(SOCK_BROADCAST):
        return -EACCES
    header = msg.take(ICMP_HEADER_LEN)
    if msg.flags & MSG_PROBE:
        return length
    cork = InetCork()
    err = ip_append_data(sk, cork, msg.take(length - ICMP_HEADER_LEN), ICMP_HEADER_LEN, ipc, rt)
    if err == -EMSGSIZE:
        ip_local_error(sk, EMSGSIZE, fl4.daddr, sk.sk_dport, rt.get_mtu())
    if not err:
        err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
        net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += err != 0
    if err:
        return err
    skb = ip_make_pending_skb(sk, cork, fl4)
    skb.h = Icmphdr(ICMP_ECHO, 0, sk.inet_sport << 16 | header[6] << 8 | header[7])
    skb_set_owner_w(skb, sk)
    icmp_out_count(net, ICMP_ECHO)
    err = ip_send_skb(net, skb)
    return err or length


# Receiving


class PingHook(NetProtocol):
    """What ICMP calls: replies, and errors about our requests."""

    def __init__(self, table: PingTable) -> None:
        self.table = table

    def handler(self, skb: SkBuff) -> int:
        """ping_rcv()."""
        h, iph, dev = skb.h, skb.nh4, skb.dev
        if isinstance(h, Icmphdr) and iph is not None and dev is not None:
            sk = self.table.lookup(dev.net, AF_INET, h.id(), iph.daddr, b"", inet_iif(skb))
            if sk is not None:
                skb.ipi_ifindex = inet_iif(skb)
                ping_queue(sk, skb)
                return 0
        kfree_skb_reason(skb, dropreason.NO_SOCKET)
        return 0

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        """ping_err()."""
        iph, dev = skb.nh4, skb.dev
        data = skb.payload()
        if iph is None or dev is None or len(data) < ICMP_HEADER_LEN or data[0] != ICMP_ECHO or data[1] != 0:
            return 0
        sk = self.table.lookup(dev.net, AF_INET, data[4] << 8 | data[5], iph.saddr, b"", dev.ifindex)
        if sk is None:
            return -ENOENT
        err, harderr = _error_of(sk, skb, type_, code, info)
        if not sk.inet_test_bit(INET_FLAGS_RECVERR):
            if not harderr or sk.sk_state != TCP_ESTABLISHED:
                return 0
        else:
            ip_icmp_error(sk, skb, 0, err, 0, info)
        sk.sk_err = err
        sk.sk_error_report()
        return 0


def ping_queue(sk: PingSock, skb: SkBuff) -> None:
    """Queue a reply with its ICMP header."""
    data = skb.l4_bytes()
    skb.data = data
    skb.offset = 0
    skb.len = len(data)
    skb.h = None
    err = sock_queue_rcv_skb(sk, skb, data)
    if err < 0:
        kfree_skb_reason(skb, rcv_drop_reason(err))


def _error_of(sk: PingSock, skb: SkBuff, type_: int, code: int, info: int) -> tuple[int, bool]:
    iph = skb.nh4
    if type_ == ICMP_TIME_EXCEEDED:
        return EHOSTUNREACH, False
    if type_ in (ICMP_SOURCE_QUENCH, ICMP_REDIRECT):
        return EREMOTEIO, False
    if type_ == ICMP_PARAMETERPROB:
        return EPROTO, True
    if type_ != ICMP_DEST_UNREACH:
        return 0, False
    if code == ICMP_FRAG_NEEDED and iph is not None:
        ipv4_update_pmtu(sk.sk_net, iph.daddr, iph.saddr, info, sk.sk_bound_dev_if, IPPROTO_ICMP)
        return (EMSGSIZE, True) if sk.pmtudisc != IP_PMTUDISC_DONT else (0, False)
    return icmp_err_convert[code] if code < len(icmp_err_convert) else (EHOSTUNREACH, False)
