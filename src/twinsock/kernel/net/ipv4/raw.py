"""RAW sockets over IPv4, raw(7) (Linux: net/ipv4/raw.c).

They get copies of whole packets, header included, before the transport does; they send payloads of their protocol, or whole packets
with IP_HDRINCL."""

from __future__ import annotations

from twinsock.kernel.net.core.datagram import rcv_drop_reason, skb_free_datagram, skb_recv_datagram, sock_queue_rcv_skb
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.protocol import RawHook
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb, kfree_skb_reason, skb_clone, skb_head_truesize
from twinsock.kernel.net.core.sock import (
    SOCK_BROADCAST,
    SOCK_LOCALROUTE,
    HlistHead,
    Proto,
    Sock,
    lock_sock,
    release_sock,
    sk_add_node,
    sk_common_release,
    sk_del_node_init,
)
from twinsock.kernel.net.core.sock_cmsg import sock_recv_cmsgs
from twinsock.kernel.net.core.sock_mem import skb_queue_purge_err, skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.core.tstamp import sock_tx_timestamp
from twinsock.kernel.net.ipv4.af_inet import inet_addr_valid_or_nonlocal
from twinsock.kernel.net.ipv4.datagram import ip4_datagram_connect, udp_disconnect
from twinsock.kernel.net.ipv4.fib_frontend import inet_addr_type, ipv4_is_multicast
from twinsock.kernel.net.ipv4.icmp import icmp_out_count
from twinsock.kernel.net.ipv4.igmp_sock import ip_mc_sf_allow
from twinsock.kernel.net.ipv4.inet_ops import sockaddr_in
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_HDRINCL, INET_FLAGS_RECVERR, INET_FLAGS_RTALERT, InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import (
    inet_iif,
    ip_cmsg_recv,
    ip_cmsg_send,
    ip_icmp_error,
    ip_local_error,
    ip_recv_error,
    ipcm_init_sk,
    ipv4_pktinfo_prepare,
)
from twinsock.kernel.net.ipv4.ip_options import first_hop, source_routed
from twinsock.kernel.net.ipv4.ip_output import (
    InetCork,
    IpcmCookie,
    ip_append_data,
    ip_flush_pending_frames,
    ip_make_pending_skb,
    ip_select_ident,
    ip_send_skb,
    ip_sk_use_pmtu,
)
from twinsock.kernel.net.ipv4.ip_sockglue import ip_getsockopt, ip_setsockopt
from twinsock.kernel.net.ipv4.route import Flowi4, Rtable, ip_route_output_flow, sk_dst_set
from twinsock.kernel.net.ipv4.udp_input import icmp4_sock_error
from twinsock.uapi.errno import (
    EACCES,
    EADDRINUSE,
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EDESTADDRREQ,
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENOIOCTLCMD,
    ENOPROTOOPT,
    EOPNOTSUPP,
)
from twinsock.uapi.icmp import ICMP_FILTER
from twinsock.uapi.in_ import IPPROTO_ICMP, IPPROTO_RAW, IPPROTO_UDP
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_MULTICAST
from twinsock.uapi.snmp import IPSTATS_MIB_OUTDISCARDS
from twinsock.uapi.socket import AF_INET, AF_UNSPEC, MSG_DONTROUTE, MSG_DONTWAIT, MSG_ERRQUEUE, MSG_MORE, MSG_OOB, MSG_PROBE, MSG_TRUNC
from twinsock.uapi.sockios import SIOCINQ, SIOCOUTQ
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED
from twinsock.wire import ip as wire_ip
from twinsock.wire.l4 import pseudo_sum4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

SOL_RAW: Final = 255
RAW_HTABLE_SIZE: Final = 256


class RawSock(InetSock):
    """`struct raw_sock`."""

    def __init__(self, net: Net, family: int, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.filter = 0  # ICMP_FILTER: bit n drops ICMP type n
        self.cork = InetCork()
        self.cork_fl4: Flowi4 | None = None
        self.router_alert = False

    def sk_destruct(self) -> None:
        """Free what waits in the queues."""
        queue = self.sk_receive_queue
        while queue:
            kfree_skb(queue.popleft())
        skb_queue_purge_err(self)


class RawProto(Proto):
    """`raw_prot`."""

    def __init__(self, name: str, obj_size: int) -> None:
        super().__init__(name, obj_size)
        self.tables: dict[int, list[HlistHead]] = {}  # by namespace: `struct raw_hashinfo`

    def table(self, net: Net) -> list[HlistHead]:
        """Return the sockets of a namespace by protocol."""
        table = self.tables.get(net.inum)
        if table is None:
            table = self.tables[net.inum] = [HlistHead() for _ in range(RAW_HTABLE_SIZE)]
        return table

    def sockets(self, net: Net) -> list[tuple[int, Sock]]:
        """List the sockets as /proc/net/raw does: (bucket number, socket)."""
        found: list[tuple[int, Sock]] = []
        if net.inum in self.tables:
            for bucket in range(RAW_HTABLE_SIZE):
                sk = self.tables[net.inum][bucket].first
                while sk is not None:
                    if isinstance(sk, Sock):
                        found.append((bucket, sk))
                    sk = sk.sk_next
        return found

    def hash(self, sk: Sock) -> int:
        """raw_hash_sk()."""
        sk_add_node(sk, self.table(sk.sk_net)[sk.sk_num & (RAW_HTABLE_SIZE - 1)])
        sk.sk_net.sock_prot_inuse_add(self, 1)
        return 0

    def unhash(self, sk: Sock) -> None:
        """raw_unhash_sk()."""
        if sk_del_node_init(sk):
            sk.sk_net.sock_prot_inuse_add(self, -1)

    def close(self, task: Task | None, sk: Sock, timeout_ns: int) -> None:
        """raw_close()."""
        sk_common_release(sk)

    def destroy(self, sk: Sock) -> None:
        """raw_destroy()."""
        assert isinstance(sk, RawSock)
        ip_flush_pending_frames(sk.cork)

    def bind(self, task: Task, sk: Sock, addr: bytes) -> int:
        """raw_bind()."""
        assert isinstance(sk, RawSock)
        lock_sock(sk)
        err = raw_bind(sk, addr)
        release_sock(sk)
        return err

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """ip4_datagram_connect()."""
        assert isinstance(sk, InetSock)
        return ip4_datagram_connect(sk, addr)

    def disconnect(self, sk: Sock, flags: int) -> int:
        """udp_disconnect(): a raw socket leaves its table for good, since nobody bound a port."""
        assert isinstance(sk, InetSock)
        return udp_disconnect(sk)

    def ioctl(self, sk: Sock, cmd: int) -> tuple[int, int]:
        """SIOCOUTQ: truesize under way; SIOCINQ: the length of the next packet."""
        if cmd == SIOCOUTQ:
            return 0, sk.sk_wmem_alloc
        if cmd == SIOCINQ:
            return 0, sk.sk_receive_queue[0].len if sk.sk_receive_queue else 0
        return -ENOIOCTLCMD, 0

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """raw_sendmsg()."""
        assert isinstance(sk, RawSock)
        return raw_sendmsg(task, sk, msg)

    def recvmsg(self, task: Task, sk: Sock, msg: Msghdr, flags: int) -> int:
        """raw_recvmsg()."""
        assert isinstance(sk, RawSock)
        return raw_recvmsg(task, sk, msg, flags)

    def router_alert(self, sk: Sock, on: bool) -> int:
        """ip_ra_control()."""
        assert isinstance(sk, RawSock)
        if sk.sk_num == IPPROTO_RAW:
            return -EINVAL
        if on == sk.router_alert:
            return -EADDRINUSE if on else -ENOBUFS
        sk.router_alert = on
        sk.inet_assign_bit(INET_FLAGS_RTALERT, on)
        return 0

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """raw_setsockopt()."""
        assert isinstance(sk, RawSock)
        if level != SOL_RAW:
            return ip_setsockopt(task, sk, level, optname, optval, optlen)
        if optname != ICMP_FILTER:
            return -ENOPROTOOPT
        if sk.sk_num != IPPROTO_ICMP:
            return -EOPNOTSUPP
        size = min(optlen, 4)
        old = sk.filter.to_bytes(4, "little")
        if optval is None or len(optval) < size:
            sk.filter = int.from_bytes(bytes(size) + old[size:], "little")  # what could not be read became zero
            return -EFAULT
        sk.filter = int.from_bytes(optval[:size] + old[size:], "little")
        return 0

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """raw_getsockopt()."""
        assert isinstance(sk, RawSock)
        if level != SOL_RAW:
            return ip_getsockopt(task, sk, level, optname, optval, optlen)
        if optname != ICMP_FILTER:
            return -ENOPROTOOPT, b""
        if sk.sk_num != IPPROTO_ICMP:
            return -EOPNOTSUPP, b""
        return (-EINVAL, b"") if optlen < 0 else (0, sk.filter.to_bytes(4, "little")[:optlen])


def raw_bind(sk: RawSock, addr: bytes) -> int:
    """Choose the local address: 0 or -errno; the family is not looked at."""
    if sk.sk_state != TCP_CLOSE or len(addr) < 16:
        return -EINVAL
    saddr = int.from_bytes(addr[4:8], "big")
    net = sk.sk_net
    type_ = inet_addr_type(net, saddr)
    if not inet_addr_valid_or_nonlocal(net, sk, saddr, type_):
        return -EADDRNOTAVAIL
    sk.sk_rcv_saddr = saddr
    sk.inet_saddr = 0 if type_ in (RTN_MULTICAST, RTN_BROADCAST) else saddr
    sk_dst_set(sk, None)
    return 0


# Sending


def raw_sendmsg(task: Task, sk: RawSock, msg: Msghdr) -> int:
    """Send a payload, or with IP_HDRINCL a packet: bytes or -errno."""
    length = msg.remaining()
    if length > 0xFFFF:
        return -EMSGSIZE
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    hdrincl = sk.inet_test_bit(INET_FLAGS_HDRINCL)
    daddr = sk.sk_daddr
    if msg.name:
        if len(msg.name) < 16:
            return -EINVAL
        if msg.name[0] | msg.name[1] << 8 not in (AF_INET, AF_UNSPEC):
            return -EAFNOSUPPORT
        daddr = int.from_bytes(msg.name[4:8], "big")
    elif sk.sk_state != TCP_ESTABLISHED:
        return -EDESTADDRREQ
    ipc, sockc = ipcm_init_sk(sk)
    if hdrincl:
        ipc.protocol = IPPROTO_RAW
    if msg.control:
        err = ip_cmsg_send(task, sk, msg, ipc, sockc, False)
        if err:
            return err
    if ipc.opt is None:
        ipc.opt = sk.inet_opt
    if ipc.opt and hdrincl:
        return -EINVAL
    if not hdrincl and sk.sk_protocol == IPPROTO_ICMP and length < 2:
        return -EFAULT  # raw_probe_proto_opt(): type and code are part of the flow
    err, rt, fl4 = _raw_route(sk, msg, ipc, daddr, hdrincl)
    if rt is None:
        return err
    if hdrincl:
        err = raw_send_hdrinc(task, sk, fl4, msg, rt, ipc)
    else:
        err = _raw_append(sk, fl4, msg, rt, ipc)
    return err or length


def _raw_route(sk: RawSock, msg: Msghdr, ipc: IpcmCookie, daddr: int, hdrincl: bool) -> tuple[int, Rtable | None, Flowi4]:
    net = sk.sk_net
    fl4 = Flowi4(daddr, ipc.addr, ipc.protocol if hdrincl else sk.sk_protocol)
    if ipc.opt and first_hop(ipc.opt):
        if not daddr:
            return -EINVAL, None, fl4
        fl4.daddr = first_hop(ipc.opt)
        ipc.opt = source_routed(ipc.opt, daddr)
    if msg.flags & MSG_DONTROUTE or sk.sock_flag(SOCK_LOCALROUTE):
        fl4.scope = 253  # RT_SCOPE_LINK
    if ipv4_is_multicast(daddr):
        ipc.oif = ipc.oif or sk.mc_index
        fl4.saddr = fl4.saddr or sk.mc_addr
    else:
        ipc.oif = ipc.oif or sk.uc_index
    fl4.oif = ipc.oif
    fl4.mark = ipc.mark
    fl4.tos = ipc.tos if ipc.tos >= 0 else sk.tos
    err, rt = ip_route_output_flow(net, fl4, sk)
    if err or rt is None:
        return err, None, fl4
    if rt.type == RTN_BROADCAST and not sk.sock_flag(SOCK_BROADCAST):
        return -EACCES, None, fl4
    return 0, rt, fl4


def _raw_append(sk: RawSock, fl4: Flowi4, msg: Msghdr, rt: Rtable, ipc: IpcmCookie) -> int:
    cork = sk.cork
    if msg.flags & MSG_PROBE:
        return 0
    if cork.dst is None:
        sk.cork_fl4 = fl4
    mtu = cork.fragsize or (rt.get_mtu() if ip_sk_use_pmtu(sk.pmtudisc) else rt.dev.mtu)
    err = ip_append_data(sk, cork, msg.take(msg.remaining()), 0, ipc, rt)
    if err == -EMSGSIZE:
        ip_local_error(sk, EMSGSIZE, fl4.daddr, sk.sk_dport, mtu - len(ipc.opt or b""))
    if not err and sk.sk_wmem_alloc > 2 * sk.sk_sndbuf:
        sk.sk_net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        err = -ENOBUFS  # Linux: without a transport header nobody waits, and no pending error is fetched
    if err:
        ip_flush_pending_frames(cork)
        return err
    if msg.flags & MSG_MORE:
        return 0
    skb = ip_make_pending_skb(sk, cork, sk.cork_fl4 or fl4)
    if skb.nh4 is not None and skb.nh4.protocol == IPPROTO_ICMP and skb.len:
        icmp_out_count(sk.sk_net, skb.data[skb.offset])
    skb_set_owner_w(skb, sk)
    err = ip_send_skb(sk.sk_net, skb)
    return 0 if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR) else err


def raw_send_hdrinc(task: Task, sk: RawSock, fl4: Flowi4, msg: Msghdr, rt: Rtable, ipc: IpcmCookie) -> int:
    """Send a packet whose header the program wrote: the kernel fills in length, checksum, a zero source and a zero id."""
    net = sk.sk_net
    length = msg.remaining()
    if length > rt.dev.mtu:
        ip_local_error(sk, EMSGSIZE, fl4.daddr, sk.sk_dport, rt.dev.mtu)
        return -EMSGSIZE
    if length < wire_ip.IP_HEADER_LEN:
        return -EINVAL
    if msg.flags & MSG_PROBE:
        return 0
    err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
    if err:
        net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        return err
    data = msg.take(length)
    header_len = (data[0] & 15) * 4
    if header_len > length or header_len < wire_ip.IP_HEADER_LEN:
        net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
        return -EINVAL
    skb = SkBuff(data)
    skb.truesize = skb_head_truesize(length + 31)
    skb.dst = rt
    skb.mark = ipc.mark
    skb.priority = ipc.priority
    sock_tx_timestamp(sk, skb, ipc.tsflags, ipc.ts_opt_id)
    iph = wire_ip.Iphdr(int.from_bytes(data[12:16], "big") or fl4.saddr, int.from_bytes(data[16:20], "big"), data[9])
    iph.tos, iph.ttl = data[1], data[8]
    iph.id = data[4] << 8 | data[5]
    iph.frag_off = data[6] << 8 | data[7]
    iph.options = data[20:header_len]
    skb.nh4 = iph
    skb.pull(header_len)
    if not iph.id:
        ip_select_ident(net, skb, None, 1)
    if iph.protocol == IPPROTO_ICMP and skb.len:
        icmp_out_count(net, skb.data[skb.offset])
    skb_set_owner_w(skb, sk)
    skb.protocol = 0x0800
    err = rt.output(skb)
    if err > 0:
        err = 0 if err == 2 else -ENOBUFS
    if err:
        net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += 1
    return 0 if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR) else err


# Receiving


def raw_recvmsg(task: Task, sk: RawSock, msg: Msghdr, flags: int) -> int:
    """Receive a packet with its header: bytes or -errno."""
    if flags & MSG_OOB:
        return -EOPNOTSUPP
    if flags & MSG_ERRQUEUE:
        return ip_recv_error(sk, msg)
    err, skb = skb_recv_datagram(task, sk, flags)
    if skb is None:
        return err
    copied = min(skb.len, msg.size)
    if copied < skb.len:
        msg.out_flags |= MSG_TRUNC
    msg.chunks.append(skb.data[skb.offset : skb.offset + copied])
    sock_recv_cmsgs(msg, sk, skb)
    if skb.nh4 is not None:
        msg.name = sockaddr_in(skb.nh4.saddr, 0)
    ip_cmsg_recv(msg, sk, skb)
    result = skb.len if flags & MSG_TRUNC else copied
    skb_free_datagram(sk, skb)
    return result


class RawHook4(RawHook):
    """What the network layer calls."""

    def __init__(self, prot: RawProto) -> None:
        self.prot = prot

    def local_deliver(self, skb: SkBuff, protocol: int) -> bool:
        """raw_v4_input(): copies for every socket that matches."""
        iph = skb.nh4
        dev = skb.dev
        if iph is None or dev is None or dev.net.inum not in self.prot.tables:
            return False
        delivered = False
        dif = inet_iif(skb)
        sk = self.prot.table(dev.net)[protocol & (RAW_HTABLE_SIZE - 1)].first
        while sk is not None:
            after = sk.sk_next
            if isinstance(sk, RawSock) and raw_v4_match(sk, protocol, iph.saddr, iph.daddr, dif):
                delivered = True
                data = raw_bytes4(skb)
                if not (protocol == IPPROTO_ICMP and icmp_filter(sk, data)) and ip_mc_sf_allow(sk, iph.daddr, iph.saddr, dif, 0):
                    raw_rcv(sk, skb, data)
            sk = after
        return delivered

    def icmp_error(self, skb: SkBuff, protocol: int, type_: int, code: int, info: int) -> None:
        """raw_icmp_error()."""
        iph = skb.nh4
        dev = skb.dev
        if iph is None or dev is None or dev.net.inum not in self.prot.tables:
            return
        sk = self.prot.table(dev.net)[protocol & (RAW_HTABLE_SIZE - 1)].first
        while sk is not None:
            if isinstance(sk, RawSock) and raw_v4_match(sk, protocol, iph.daddr, iph.saddr, dev.ifindex):
                raw_err(sk, skb, type_, code, info)
            sk = sk.sk_next


def raw_v4_match(sk: RawSock, num: int, raddr: int, laddr: int, dif: int) -> bool:
    """Tell whether a packet from raddr to laddr is for a socket."""
    if sk.sk_num != num or (sk.sk_daddr and sk.sk_daddr != raddr) or (sk.sk_rcv_saddr and sk.sk_rcv_saddr != laddr):
        return False
    return not sk.sk_bound_dev_if or sk.sk_bound_dev_if == dif


def icmp_filter(sk: RawSock, data: bytes) -> bool:
    """Tell whether ICMP_FILTER drops a message."""
    at = (data[0] & 15) * 4
    if at >= len(data):
        return True
    return data[at] < 32 and bool(sk.filter >> data[at] & 1)


def raw_bytes4(skb: SkBuff) -> bytes:
    """Return the packet as a raw socket sees it: a checksum that the loopback device never computed is the pseudo header's sum."""
    data = skb.l3_bytes()
    iph = skb.nh4
    dev = skb.dev
    if skb.h is None or iph is None or dev is None or not dev.is_loopback():
        return data
    at = iph.header_len() + (6 if iph.protocol == IPPROTO_UDP else 16)
    if iph.protocol in (IPPROTO_UDP, 6) and not getattr(skb.h, "no_check", False) and not skb.gso_size:
        body = len(data) - iph.header_len()
        total = pseudo_sum4(iph.saddr, iph.daddr, iph.protocol, body)
        return data[:at] + (total or 0xFFFF).to_bytes(2, "big") + data[at + 2 :]
    return data


def raw_rcv(sk: RawSock, skb: SkBuff, data: bytes) -> None:
    """Queue a copy of a packet."""
    copy = skb_clone(skb)
    copy.data = data
    copy.offset = 0
    copy.len = len(data)
    copy.h = None
    copy.addr_offset = (data[0] & 15) * 4
    ipv4_pktinfo_prepare(sk, copy, False)
    err = sock_queue_rcv_skb(sk, copy, data)
    if err < 0:
        kfree_skb_reason(copy, rcv_drop_reason(err))


def raw_err(sk: RawSock, quote: SkBuff, type_: int, code: int, info: int) -> None:
    """Take an ICMP error about a packet that the socket may have sent."""
    recverr = sk.inet_test_bit(INET_FLAGS_RECVERR)
    if not recverr and sk.sk_state != TCP_ESTABLISHED:
        return
    err, harderr = icmp4_sock_error(sk, quote, type_, code, info)
    if type_ == 3 and code == 4 and not err:
        err, harderr = EMSGSIZE, False
    if not err:
        return
    if recverr:
        ip_icmp_error(sk, quote, 0, err, 0, info)
    if recverr or harderr:
        sk.sk_err = err
        sk.sk_error_report()
