"""UDP and UDP-Lite sockets, RFC 768, RFC 3828: sending, connecting, closing (Linux: net/ipv4/udp.c, udplite.c; sheets 04, 4.8 and 05).

    udp_sendmsg > udp_send_skb > ip_send_skb            udp_push_pending_frames when corked
Receiving is in udp_input.py (from the network) and udp_recv.py (to the program), ports in udp_table.py, options in udp_options.py,
segmentation in udp_offload.py. The IPv6 side is ipv6/udp.py. Left out: encapsulation (UDP_ENCAP is stored, not acted upon: D-udp-2)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.bpf.cgroup import BPF_CGROUP_UDP4_SENDMSG, cgroup_bpf_run_filter_sock_addr
from twinsock.kernel.net.core.net import SOCK_NOSPACE, Msghdr, Socket
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb
from twinsock.kernel.net.core.sock import SOCK_BROADCAST, SOCK_LOCALROUTE, SOCK_ZEROCOPY, Sock, sk_common_release
from twinsock.kernel.net.core.sock_mem import skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.core.zerocopy import msg_zerocopy_begin, msg_zerocopy_done
from twinsock.kernel.net.ipv4.datagram import ip4_datagram_connect, udp_disconnect
from twinsock.kernel.net.ipv4.fib_frontend import ipv4_is_multicast
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_RECVERR, InetSock
from twinsock.kernel.net.ipv4.ip_cmsg import ip_cmsg_send, ip_local_error, ipcm_init_sk
from twinsock.kernel.net.ipv4.ip_options import first_hop, is_strict_route, source_routed
from twinsock.kernel.net.ipv4.ip_output import (
    InetCork,
    IpcmCookie,
    ip_append_data,
    ip_flush_pending_frames,
    ip_make_pending_skb,
    ip_send_skb,
    ip_sk_use_pmtu,
)
from twinsock.kernel.net.ipv4.route import Flowi4, Rtable, ip_route_output_flow, sk_dst_check, sk_dst_set
from twinsock.kernel.net.ipv4.udp_offload import udp_check_gso, udp_cmsg_send
from twinsock.kernel.net.ipv4.udp_table import UdpPortProto, UdpPortSock, udp_lib_rehash, udp_lib_unhash
from twinsock.uapi.errno import (
    EACCES,
    EAFNOSUPPORT,
    EDESTADDRREQ,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOBUFS,
    ENOIOCTLCMD,
    EOPNOTSUPP,
)
from twinsock.uapi.in_ import INADDR_BROADCAST, IPPROTO_UDPLITE
from twinsock.uapi.rtnetlink import RT_SCOPE_LINK, RTN_BROADCAST
from twinsock.uapi.snmp import IPSTATS_MIB_OUTDISCARDS, IPSTATS_MIB_OUTNOROUTES, UDP_MIB_OUTDATAGRAMS, UDP_MIB_SNDBUFERRORS
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC, MSG_DONTROUTE, MSG_DONTWAIT, MSG_MORE, MSG_OOB, MSG_PROBE, MSG_ZEROCOPY
from twinsock.uapi.sockios import SIOCINQ, SIOCOUTQ
from twinsock.uapi.tcp import TCP_ESTABLISHED
from twinsock.wire.udp import UDP_HEADER_LEN, Udphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task


class UdpCork(InetCork):
    """A datagram that is being put together, and where it goes."""

    def __init__(self, family: int, dport: int) -> None:
        super().__init__()
        self.family = family  # AF_INET, AF_INET6
        self.dport = dport
        self.saddr4 = 0
        self.daddr4 = 0
        self.charged = 0  # send memory that it holds while the program may add to it


class UdpSock(UdpPortSock):
    """`struct udp_sock`, also for UDP-Lite."""

    def __init__(self, net: Net, family: int, prot: UdpProto, type_: int, protocol: int) -> None:
        super().__init__(net, family, prot, type_, protocol)
        self.udp_prot = prot
        self.is_udplite = protocol == IPPROTO_UDPLITE
        self.pending: UdpCork | None = None  # a datagram that is being put together
        self.corkflag = 0
        self.encap_type = 0
        self.udp_gso_size = 0
        self.gro_enabled = 0
        self.no_check6_tx = 0
        self.no_check6_rx = 0
        self.pcslen = 0  # UDP-Lite: checksum coverage sent and demanded; the set bits say whether they were given
        self.pcrlen = 0
        self.pcslen_set = False
        self.pcrlen_set = False
        self.reader_queue: deque[SkBuff] = deque()  # taken over from sk_receive_queue in one go
        self.forward_deficit = 0  # truesize of packets that were read and are still charged
        self.forward_threshold = self.sk_rcvbuf >> 2

    def sk_destruct(self) -> None:
        """Free what waits in the queues."""
        self.udp_prot.input.destruct(self)


class UdpInput:
    """The receiving half, which udp_init puts into place: it imports this module, so this one cannot import it."""

    def destruct(self, sk: UdpSock) -> None:
        """Free the queues."""

    def recvmsg(self, task: Task, sk: UdpSock, msg: Msghdr, flags: int) -> int:
        """Receive."""
        return -EOPNOTSUPP

    def first_packet_length(self, sk: UdpSock) -> int:
        """Return the length of the next good datagram, -1 without one."""
        return -1

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """Return the poll bits."""
        return 0

    def setsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """Set an option of any level."""
        return -EOPNOTSUPP

    def getsockopt(self, task: Task, sk: UdpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """Read an option of any level."""
        return -EOPNOTSUPP, b""


class UdpProto(UdpPortProto):
    """`udp_prot` and `udplite_prot`."""

    def __init__(self, name: str, obj_size: int, udp_input: UdpInput) -> None:
        super().__init__(name, obj_size)
        self.input = udp_input

    def close(self, task: Task | None, sk: Sock, timeout_ns: int) -> None:
        """Close at once."""
        sk_common_release(sk)

    def destroy(self, sk: Sock) -> None:
        """Forget a corked datagram."""
        assert isinstance(sk, UdpSock)
        udp_flush_pending_frames(sk)

    def connect(self, task: Task, sk: Sock, addr: bytes) -> int:
        """udp_connect()."""
        assert isinstance(sk, InetSock)
        return ip4_datagram_connect(sk, addr)

    def disconnect(self, sk: Sock, flags: int) -> int:
        """udp_disconnect()."""
        assert isinstance(sk, InetSock)
        return udp_disconnect(sk)

    def push_cork(self, sk: UdpSock, cork: UdpCork) -> int:
        """Send a datagram that was put together in pieces: 0 or -errno."""
        return udp_push_cork(sk, cork)

    def rehash(self, sk: Sock) -> None:
        """The local address changed."""
        assert isinstance(sk, UdpPortSock)
        udp_lib_rehash(sk)

    def unhash(self, sk: Sock) -> None:
        """Leave the tables."""
        assert isinstance(sk, UdpPortSock)
        udp_lib_unhash(sk)

    def ioctl(self, sk: Sock, cmd: int) -> tuple[int, int]:
        """SIOCOUTQ: truesize under way; SIOCINQ: the length of the next datagram, udp(7)."""
        assert isinstance(sk, UdpSock)
        if cmd == SIOCOUTQ:
            return 0, sk.sk_wmem_alloc
        if cmd == SIOCINQ:
            return 0, max(0, self.input.first_packet_length(sk))
        return -ENOIOCTLCMD, 0

    def sendmsg(self, task: Task, sk: Sock, msg: Msghdr) -> int:
        """udp_sendmsg()."""
        assert isinstance(sk, UdpSock)
        return udp_sendmsg(task, sk, msg)

    def recvmsg(self, task: Task, sk: Sock, msg: Msghdr, flags: int) -> int:
        """udp_recvmsg()."""
        assert isinstance(sk, UdpSock)
        return self.input.recvmsg(task, sk, msg, flags)

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """udp_poll()."""
        return self.input.poll(file, sock, wait)

    def setsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """udp_setsockopt()."""
        assert isinstance(sk, UdpSock)
        return self.input.setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sk: Sock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """udp_getsockopt()."""
        assert isinstance(sk, UdpSock)
        return self.input.getsockopt(task, sk, level, optname, optval, optlen)

    def sysctl_wmem_min(self, net: Net) -> int:
        """udp_wmem_min."""
        return net.ipv4.sysctl_udp_wmem_min

    def sysctl_rmem_min(self, net: Net) -> int:
        """udp_rmem_min."""
        return net.ipv4.sysctl_udp_rmem_min


def udp_mib(sk: UdpSock) -> list[int]:
    """Return the counters of the socket's protocol over IPv4."""
    return sk.sk_net.udplite_statistics if sk.is_udplite else sk.sk_net.udp_statistics


# Sending


def udp_sendmsg(task: Task, sk: UdpSock, msg: Msghdr) -> int:
    """Send one datagram, or a piece of one, sendto(2): bytes or -errno."""
    length = msg.remaining()
    if length > 0xFFFF:
        return -EMSGSIZE
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    pending = sk.pending
    if pending is not None:
        if pending.family != AF_INET or not isinstance(pending.dst, Rtable):
            return -EINVAL
        return _append(task, sk, msg, length, 0, IpcmCookie(), pending.dst, pending)
    daddr, dport = sk.sk_daddr, sk.sk_dport
    connected = msg.name is None
    if msg.name is not None:
        err, daddr, dport = _dest_of(msg.name)
        if err:
            return err
    elif sk.sk_state != TCP_ESTABLISHED:
        return -EDESTADDRREQ
    ipc, sockc = ipcm_init_sk(sk)
    ipc.gso_size = sk.udp_gso_size
    if msg.control:
        err, need_ip = udp_cmsg_send(msg, ipc)
        if not err and need_ip:
            err = ip_cmsg_send(task, sk, msg, ipc, sockc, sk.sk_family == AF_INET6)
        if err < 0:
            return err
        connected = False
    if ipc.opt is None:
        ipc.opt = sk.inet_opt
    if not connected and sk.sk_net.kernel.cgroup_bpf is not None:
        err, daddr, dport = _bpf_dest(sk, daddr, dport)
        if err < 0:
            return err
    err, rt, fl4 = _udp_route(sk, msg, ipc, daddr, dport, connected)
    if rt is None:
        return err
    if ipc.opt and first_hop(ipc.opt):
        ipc.opt = source_routed(ipc.opt, daddr)
    cork = UdpCork(AF_INET, dport)
    cork.saddr4, cork.daddr4 = fl4.saddr, fl4.daddr
    return _append(task, sk, msg, length, UDP_HEADER_LEN, ipc, rt, cork)


def _dest_of(name: bytes) -> tuple[int, int, int]:
    if len(name) < 16:
        return -EINVAL, 0, 0
    if name[0] | name[1] << 8 not in (AF_INET, AF_UNSPEC):
        return -EAFNOSUPPORT, 0, 0
    port = name[2] << 8 | name[3]
    return 0 if port else -EINVAL, int.from_bytes(name[4:8], "big"), port


def _bpf_dest(sk: UdpSock, daddr: int, dport: int) -> tuple[int, int, int]:
    addr = AF_INET.to_bytes(2, "little") + dport.to_bytes(2, "big") + daddr.to_bytes(4, "big") + bytes(8)
    err, addr = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UDP4_SENDMSG, addr)
    if err < 0:
        return err, 0, 0
    port = addr[2] << 8 | addr[3]
    return 0 if port else -EINVAL, int.from_bytes(addr[4:8], "big"), port


def _udp_route(sk: UdpSock, msg: Msghdr, ipc: IpcmCookie, daddr: int, dport: int, connected: bool) -> tuple[int, Rtable | None, Flowi4]:
    """Find the way: (0, route, flow with both addresses) or (-errno, None, flow)."""
    net = sk.sk_net
    fl4 = Flowi4(daddr, ipc.addr, sk.sk_protocol, sk.inet_sport, dport)
    if ipc.opt:
        hop = first_hop(ipc.opt)
        if hop:
            if not daddr:
                return -EINVAL, None, fl4
            fl4.daddr = hop
            connected = False
    link_scope = msg.flags & MSG_DONTROUTE or sk.sock_flag(SOCK_LOCALROUTE) or (ipc.opt is not None and is_strict_route(ipc.opt))
    if link_scope:
        fl4.scope = RT_SCOPE_LINK
        connected = False
    if ipv4_is_multicast(daddr):
        ipc.oif = ipc.oif or sk.mc_index
        fl4.saddr = fl4.saddr or sk.mc_addr
        connected = False
    elif not ipc.oif or (daddr == INADDR_BROADCAST and sk.uc_index and not sk.sk_bound_dev_if):
        ipc.oif = ipc.oif or sk.uc_index
    if connected:
        held = sk_dst_check(sk)
        if isinstance(held, Rtable):
            fl4.saddr, fl4.daddr = sk.inet_saddr, sk.sk_daddr
            return 0, held, fl4
    fl4.oif = ipc.oif
    fl4.mark = ipc.mark
    fl4.tos = ipc.tos if ipc.tos >= 0 else sk.tos
    fl4.uid = sk.sk_uid
    err, rt = ip_route_output_flow(net, fl4, sk)
    if err or rt is None:
        if err == -ENETUNREACH:
            net.ip_statistics[IPSTATS_MIB_OUTNOROUTES] += 1
        return err, None, fl4
    if rt.type == RTN_BROADCAST and not sk.sock_flag(SOCK_BROADCAST):
        return -EACCES, None, fl4
    if connected:
        sk_dst_set(sk, rt)
    return 0, rt, fl4


def _append(task: Task, sk: UdpSock, msg: Msghdr, length: int, transhdrlen: int, ipc: IpcmCookie, rt: Rtable, cork: UdpCork) -> int:
    """Add bytes to a datagram; send it unless it is corked: bytes or -errno."""
    corked = sk.corkflag or msg.flags & MSG_MORE
    zero_copy = bool(msg.flags & MSG_ZEROCOPY and sk.sock_flag(SOCK_ZEROCOPY))
    err = msg_zerocopy_begin(task, sk, length) if zero_copy else 0
    if not err:
        err = _append_and_send(task, sk, msg, length, transhdrlen, ipc, rt, cork, bool(corked))
        if zero_copy:
            msg_zerocopy_done(sk, err)
    if not err:
        return length
    return udp_send_failed(sk, err, udp_mib(sk))


def _append_and_send(
    task: Task, sk: UdpSock, msg: Msghdr, length: int, transhdrlen: int, ipc: IpcmCookie, rt: Rtable, cork: UdpCork, corked: bool
) -> int:
    if msg.flags & MSG_PROBE:
        return 0  # Linux: ip_make_skb() and ip_append_data() go no further
    mtu = cork.fragsize or (rt.get_mtu() if ip_sk_use_pmtu(sk.pmtudisc) else rt.dev.mtu)
    err = ip_append_data(sk, cork, msg.take(length), transhdrlen, ipc, rt)
    if err == -EMSGSIZE:
        ip_local_error(sk, EMSGSIZE, cork.daddr4, sk.sk_dport, mtu - len(ipc.opt or b""))
    if not err and transhdrlen:
        err = sock_alloc_send_pskb(task, sk, bool(msg.flags & MSG_DONTWAIT))
        sk.sk_net.ip_statistics[IPSTATS_MIB_OUTDISCARDS] += err != 0
    if err:
        udp_drop_cork(sk, cork)
        return err
    if corked:
        udp_charge_cork(sk, cork)
        return 0
    return udp_push_cork(sk, cork)


def udp_send_failed(sk: UdpSock, err: int, mib: list[int]) -> int:
    """Count a send that found no memory or room; return the error."""
    sock = sk.sk_socket
    if err == -ENOBUFS or (sock is not None and sock.flags & SOCK_NOSPACE):
        mib[UDP_MIB_SNDBUFERRORS] += 1
    return err


def udp_charge_cork(sk: UdpSock, cork: UdpCork) -> None:
    """Let the program add to a datagram; what it takes is charged to the send buffer."""
    sk.pending = cork
    sk.sk_wmem_alloc += cork.truesize - cork.charged
    cork.charged = cork.truesize


def udp_drop_cork(sk: UdpSock, cork: UdpCork) -> None:
    """Forget a datagram."""
    if sk.pending is cork:
        sk.pending = None
    sk.sk_wmem_alloc -= cork.charged
    cork.charged = 0
    ip_flush_pending_frames(cork)


def udp_flush_pending_frames(sk: UdpSock) -> None:
    """Forget the pending datagram."""
    if sk.pending is not None:
        udp_drop_cork(sk, sk.pending)


def udp_push_pending_frames(sk: UdpSock) -> int:
    """udp_push_pending_frames(): send the pending datagram: 0 or -errno."""
    return 0 if sk.pending is None else sk.udp_prot.push_cork(sk, sk.pending)


def udp_push_cork(sk: UdpSock, cork: UdpCork) -> int:
    """Send a datagram over IPv4: 0 or -errno."""
    sk.pending = None
    sk.sk_wmem_alloc -= cork.charged
    cork.charged = 0
    fl4 = Flowi4(cork.daddr4, cork.saddr4, sk.sk_protocol)
    skb = ip_make_pending_skb(sk, cork, fl4)
    return udp_send_skb(sk, skb, cork.dport, cork.fragsize)


def udp_send_skb(sk: UdpSock, skb: SkBuff, dport: int, fragsize: int) -> int:
    """Put the UDP header on and send: 0 or -errno; a full queue counts and is no error without IP_RECVERR."""
    iph = skb.nh4
    assert iph is not None
    if skb.gso_size:
        err = udp_check_gso(skb, iph.header_len() + UDP_HEADER_LEN, fragsize, sk.sk_no_check_tx != 0, sk.is_udplite)
        if err:
            kfree_skb(skb)
            return err
    skb.h = udp_header(sk, skb.len, dport)
    if sk.sk_no_check_tx and not sk.is_udplite:
        skb.h.no_check = True
    skb_set_owner_w(skb, sk)
    err = ip_send_skb(sk.sk_net, skb)
    mib = udp_mib(sk)
    if err:
        if err == -ENOBUFS and not sk.inet_test_bit(INET_FLAGS_RECVERR):
            mib[UDP_MIB_SNDBUFERRORS] += 1
            err = 0
    else:
        mib[UDP_MIB_OUTDATAGRAMS] += 1
    return err


def udp_header(sk: UdpSock, length: int, dport: int) -> Udphdr:
    """Make the header of a datagram of `length` bytes, for UDP-Lite with the coverage that was asked for."""
    h = Udphdr(sk.inet_sport, dport)
    if sk.is_udplite:
        size = length + UDP_HEADER_LEN
        h.coverage = sk.pcslen if sk.pcslen_set and 0 < sk.pcslen < size else size
    return h
