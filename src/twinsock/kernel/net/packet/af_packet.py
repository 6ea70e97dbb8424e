"""AF_PACKET sockets: frames as they pass a device, packet(7) (Linux: net/packet/af_packet.c).

Bytes are made by `wire` when a socket looks. Left out: rings, fanout groups, virtio headers, time stamps by hardware (D-packet-1);
unfinished checksums of packets that never leave the host are shown complete."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.datagram import datagram_poll, skb_free_datagram, skb_queue_purge, skb_recv_datagram
from twinsock.kernel.net.core.dev import NetDevice, dev_add_tap, dev_get_by_index, dev_get_by_name, dev_queue_xmit, dev_remove_tap
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.net import Msghdr, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.protocol import PacketTap
from twinsock.kernel.net.core.skbuff import PACKET_OUTGOING, SkBuff, skb_head_truesize
from twinsock.kernel.net.core.sock import Proto, Sock, proto_register, sk_alloc, sock_init_data, sock_orphan, sock_put
from twinsock.kernel.net.core.sock_mem import sock_rmem_free
from twinsock.kernel.net.socket import sock_register
from twinsock.uapi.capability import CAP_NET_RAW
from twinsock.uapi.errno import (
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENETDOWN,
    ENODEV,
    ENOIOCTLCMD,
    ENOPROTOOPT,
    ENXIO,
    EOPNOTSUPP,
    EPERM,
    ESOCKTNOSUPPORT,
)
from twinsock.uapi.if_ import ETH_P_ALL
from twinsock.uapi.if_packet import (
    PACKET_ADD_MEMBERSHIP,
    PACKET_AUXDATA,
    PACKET_DROP_MEMBERSHIP,
    PACKET_IGNORE_OUTGOING,
    PACKET_ORIGDEV,
    PACKET_QDISC_BYPASS,
    PACKET_STATISTICS,
    TP_STATUS_COPY,
    TP_STATUS_CSUMNOTREADY,
    TP_STATUS_USER,
)
from twinsock.uapi.socket import (
    AF_PACKET,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_PEEK,
    MSG_TRUNC,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
)
from twinsock.wire.ethernet import ETH_HEADER_LEN, Ethhdr
from twinsock.wire.ethernet import parse as parse_ethernet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

SOL_PACKET: Final = 263
_OBJ_SIZE: Final = 1600
_SOCKADDR_LL: Final = 20
_SLL_ADDR: Final = 12
_VLAN: Final = 4
_RECV_FLAGS: Final = MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC | MSG_ERRQUEUE
_FLAG_OPTIONS: Final[tuple[int, ...]] = (PACKET_AUXDATA, PACKET_ORIGDEV, PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING)
_MREQ: Final = 16
_NO_MAC: Final = bytes(6)


class PacketSkb(SkBuff):
    """A frame with what packet(7) tells beside it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.sll = b""
        self.origlen = 0
        self.net_offset = 0
        self.csum_missing = False


class PacketMembership:
    """`struct packet_mclist`: something a socket asked of a device, and how often."""

    def __init__(self, ifindex: int, type_: int, addr: bytes) -> None:
        self.ifindex = ifindex
        self.type = type_
        self.addr = addr
        self.count = 1


class PacketSock(Sock):
    """`struct packet_sock`."""

    def __init__(self, net: Net, prot: Proto, type_: int, num: int) -> None:
        super().__init__(net, AF_PACKET, prot, type_, 0)
        self.num = num  # ETH_P_*; 0: hears nothing
        self.ifindex = 0  # of the device it is bound to, 0: every one
        self.running = False
        self.tap = SocketTap(self)
        self.options = 0  # bits by PACKET_* option
        self.tp_packets = 0
        self.tp_drops = 0
        self.memberships: list[PacketMembership] = []

    def option(self, optname: int) -> bool:
        """Tell whether a flag option is set."""
        return bool(self.options >> optname & 1)

    def sk_destruct(self) -> None:
        """Empty the queue."""
        skb_queue_purge(self.sk_receive_queue)


class SocketTap(PacketTap):
    """The hook of one socket (`prot_hook`)."""

    def __init__(self, sk: PacketSock) -> None:
        self.sk = sk

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Take a copy of a frame that the socket wants; what it sent itself it does not see."""
        sk = self.sk
        if outgoing:
            if sk.num != ETH_P_ALL or skb.sk is sk or sk.option(PACKET_IGNORE_OUTGOING):
                return
        elif sk.num not in (ETH_P_ALL, skb.protocol):
            return
        packet_rcv(sk, skb, dev, outgoing)


def packet_sk(sock: Socket) -> PacketSock:
    """Return the packet socket behind a socket of the family."""
    sk = sock.sk
    assert isinstance(sk, PacketSock)
    return sk


def _emit_sll(protocol: int, dev: NetDevice | None, ifindex: int, pkt_type: int, addr: bytes) -> bytes:
    """Return `struct sockaddr_ll`."""
    head = AF_PACKET.to_bytes(2, "little") + protocol.to_bytes(2, "big") + ifindex.to_bytes(4, "little", signed=True)
    hatype = 0 if dev is None else dev.type
    return head + hatype.to_bytes(2, "little") + bytes((pkt_type, len(addr))) + (addr + bytes(8))[:8]


def packet_rcv(sk: PacketSock, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
    """Filter, cut and queue a copy."""
    data = skb.l3_bytes()
    net_offset = 0
    if sk.sk_type != SOCK_DGRAM and dev.has_link_addr():
        data = Ethhdr(skb.mac_dest or _NO_MAC, skb.mac_source or _NO_MAC, skb.protocol).emit() + data
        net_offset = ETH_HEADER_LEN
    keep = sk_filter_trim_cap(sk, skb, data, 1) if sk.sk_filter is not None else len(data)
    if keep < 0:
        return
    if sk.sk_rmem_alloc >= sk.sk_rcvbuf:
        sk.tp_drops += 1
        sk.sk_drops += 1
        return
    copy = PacketSkb(data[:keep])
    copy.origlen = len(data)
    copy.net_offset = net_offset
    copy.csum_missing = skb.h is not None
    copy.tstamp_ns = skb.tstamp_ns
    pkt_type = PACKET_OUTGOING if outgoing else skb.pkt_type
    copy.sll = _emit_sll(skb.protocol, dev, dev.ifindex, pkt_type, skb.mac_source or _NO_MAC if dev.has_link_addr() else b"")
    copy.truesize = skb.truesize or skb_head_truesize(len(data))
    copy.sk = sk
    copy.destructor = sock_rmem_free
    sk.sk_rmem_alloc += copy.truesize
    sk.tp_packets += 1
    if sk.sk_receive_queue is None:
        sk.sk_receive_queue = deque()
    sk.sk_receive_queue.append(copy)
    sk.sk_data_ready()


# Hooks


def register_prot_hook(sk: PacketSock) -> None:
    """Begin to listen."""
    dev = dev_get_by_index(sk.sk_net, sk.ifindex) if sk.ifindex else None
    if sk.running or not sk.num or (sk.ifindex and (dev is None or not dev.is_up())):
        return
    sk.running = True
    if dev is not None:
        dev_add_tap(dev, sk.tap)
        return
    if sk.sk_net.ptype_all is None:
        sk.sk_net.ptype_all = []
    sk.sk_net.ptype_all.append(sk.tap)


def unregister_prot_hook(sk: PacketSock) -> None:
    """End to listen."""
    if not sk.running:
        return
    sk.running = False
    net = sk.sk_net
    for dev in net.dev_base:
        dev_remove_tap(dev, sk.tap)
    if net.ptype_all is not None and sk.tap in net.ptype_all:
        net.ptype_all.remove(sk.tap)
        if not net.ptype_all:
            net.ptype_all = None


class PacketOps(ProtoOps):
    """`packet_ops`, `packet_ops_spkt`."""

    family = AF_PACKET

    def release(self, task: Task | None, sock: Socket) -> int:
        """close(2)."""
        sk = sock.sk
        if isinstance(sk, PacketSock):
            unregister_prot_hook(sk)
            net = sk.sk_net
            if sk in net.packet_socks:
                net.packet_socks.remove(sk)
            net.sock_prot_inuse_add(sk.sk_prot, -1)
            sock_orphan(sk)
            skb_queue_purge(sk.sk_receive_queue)
            sock_put(sk)
        return 0

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2): choose protocol and device."""
        sk = packet_sk(sock)
        if sk.sk_type == SOCK_PACKET:
            if len(addr) != 16:
                return -EINVAL
            dev = dev_get_by_name(sk.sk_net, addr[2:16].split(b"\0")[0].decode("latin-1"))
            return -ENODEV if dev is None else _do_bind(sk, dev, dev.ifindex, 0)
        if len(addr) < _SOCKADDR_LL or int.from_bytes(addr[:2], "little") != AF_PACKET:
            return -EINVAL
        ifindex = int.from_bytes(addr[4:8], "little", signed=True)
        dev = dev_get_by_index(sk.sk_net, ifindex) if ifindex else None
        if ifindex and dev is None:
            return -ENODEV
        return _do_bind(sk, dev, ifindex, int.from_bytes(addr[2:4], "big"))

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2)."""
        if peer:
            return -EOPNOTSUPP, b""
        sk = packet_sk(sock)
        dev = dev_get_by_index(sk.sk_net, sk.ifindex) if sk.ifindex else None
        addr = b"" if dev is None else dev.dev_addr
        return 0, _emit_sll(sk.num, dev, sk.ifindex, 0, addr)[: _SLL_ADDR + max(len(addr), 0)]

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """poll(2)."""
        return datagram_poll(file, sock, wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """ioctl(2): queue lengths, else what interfaces answer."""
        sk = packet_sk(sock)
        if cmd == 0x5411:  # SIOCOUTQ
            return 0, sk.sk_wmem_alloc.to_bytes(4, "little")
        if cmd == 0x541B:  # SIOCINQ
            size = sk.sk_receive_queue[0].len if sk.sk_receive_queue else 0
            return 0, size.to_bytes(4, "little")
        return -ENOIOCTLCMD, b""

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """SOL_PACKET options."""
        return packet_setsockopt(packet_sk(sock), level, optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """SOL_PACKET options."""
        return packet_getsockopt(packet_sk(sock), level, optname, optlen)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """sendmsg(2)."""
        return packet_snd(packet_sk(sock), msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """recvmsg(2)."""
        return packet_recvmsg(task, packet_sk(sock), msg, flags)


def _do_bind(sk: PacketSock, dev: NetDevice | None, ifindex: int, num: int) -> int:
    unregister_prot_hook(sk)
    sk.num = num or sk.num
    sk.ifindex = ifindex
    register_prot_hook(sk)
    if sk.num and dev is not None and not dev.is_up():
        sk.sk_err = ENETDOWN
        sk.sk_error_report()
    return 0


# Options


def packet_setsockopt(sk: PacketSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of packet(7)."""
    if level != SOL_PACKET:
        return -ENOPROTOOPT
    if optname in (PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP):
        if optlen < _MREQ:
            return -EINVAL
        if optval is None:
            return -EFAULT
        return _membership(sk, optname == PACKET_ADD_MEMBERSHIP, optval)
    if optname not in _FLAG_OPTIONS:
        return -ENOPROTOOPT
    if optlen < 4:
        return -EINVAL
    if optval is None:
        return -EFAULT
    value = int.from_bytes(optval[:4], "little")
    if optname == PACKET_IGNORE_OUTGOING and value > 1:
        return -EINVAL
    sk.options = sk.options | 1 << optname if value else sk.options & ~(1 << optname)
    return 0


def _membership(sk: PacketSock, add: bool, optval: bytes) -> int:
    """Join or leave a group or mode of a device (PACKET_MR_*); leaving what was never joined is no error."""
    ifindex = int.from_bytes(optval[:4], "little", signed=True)
    type_ = int.from_bytes(optval[4:6], "little")
    addr = optval[8 : 8 + min(int.from_bytes(optval[6:8], "little"), 8)]
    for known in sk.memberships:
        if known.ifindex == ifindex and known.type == type_ and known.addr == addr:
            known.count += 1 if add else -1
            if known.count == 0:
                sk.memberships.remove(known)
            return 0
    if not add:
        return 0
    dev = dev_get_by_index(sk.sk_net, ifindex)
    if dev is None:
        return -ENODEV
    if len(addr) > len(dev.dev_addr):
        return -EINVAL
    sk.memberships.append(PacketMembership(ifindex, type_, addr))
    return 0


def packet_getsockopt(sk: PacketSock, level: int, optname: int, optlen: int) -> tuple[int, bytes]:
    """Read an option of packet(7)."""
    if level != SOL_PACKET:
        return -ENOPROTOOPT, b""
    if optlen < 0:
        return -EINVAL, b""
    if optname == PACKET_STATISTICS:
        value = (sk.tp_packets + sk.tp_drops).to_bytes(4, "little") + sk.tp_drops.to_bytes(4, "little")
        sk.tp_packets = sk.tp_drops = 0
        return 0, value[:optlen]
    if optname not in _FLAG_OPTIONS:
        return -ENOPROTOOPT, b""
    return 0, (1 if sk.option(optname) else 0).to_bytes(4, "little")[:optlen]


# Data


def packet_snd(sk: PacketSock, msg: Msghdr) -> int:
    """Send a frame, or with SOCK_DGRAM a packet that gets its frame here."""
    name = msg.name
    ifindex, protocol, dest = sk.ifindex, sk.num, b""
    if name:
        if len(name) < _SOCKADDR_LL or len(name) < _SLL_ADDR + name[11]:
            return -EINVAL
        protocol = int.from_bytes(name[2:4], "big")
        ifindex = int.from_bytes(name[4:8], "little", signed=True)
        dest = name[_SLL_ADDR : _SLL_ADDR + 6]
    dev = dev_get_by_index(sk.sk_net, ifindex)
    if dev is None:
        return -ENXIO
    if not dev.is_up():
        return -ENETDOWN
    framed = sk.sk_type != SOCK_DGRAM and dev.has_link_addr()
    room = dev.mtu + (dev.hard_header_len + _VLAN if framed else 0)
    if len(msg.data) > room:
        return -EMSGSIZE
    skb = SkBuff(msg.data)
    if framed:
        header = parse_ethernet(msg.data)
        if header is None or len(msg.data) < dev.hard_header_len:
            return -EINVAL
        skb.pull(ETH_HEADER_LEN)
        skb.mac_dest, skb.mac_source = header.dest, header.source
        skb.protocol = protocol if name or protocol not in (0, ETH_P_ALL) else header.proto
        if skb.protocol in (0, ETH_P_ALL):
            skb.protocol = header.proto
    else:
        skb.mac_dest, skb.mac_source = dest[:6] or _NO_MAC, dev.dev_addr
        skb.protocol = protocol
    skb.dev = dev
    skb.sk = sk
    skb.truesize = skb_head_truesize(len(msg.data))
    err = dev_queue_xmit(skb)
    return err if err < 0 else len(msg.data)


def packet_recvmsg(task: Task, sk: PacketSock, msg: Msghdr, flags: int) -> int:
    """Receive a frame."""
    if flags & ~_RECV_FLAGS:
        return -EINVAL
    err, skb = skb_recv_datagram(task, sk, flags)
    if skb is None:
        return err
    assert isinstance(skb, PacketSkb)
    data = skb.payload()
    copied = len(data)
    if copied > msg.size:
        copied = msg.size
        msg.out_flags |= MSG_TRUNC
    msg.chunks.append(data[:copied])
    msg.name = skb.sll
    if sk.option(PACKET_AUXDATA):
        status = TP_STATUS_USER | (TP_STATUS_CSUMNOTREADY if skb.csum_missing else 0)
        status |= TP_STATUS_COPY if skb.origlen != len(data) else 0
        numbers = status.to_bytes(4, "little") + skb.origlen.to_bytes(4, "little") + len(data).to_bytes(4, "little")
        msg.put_cmsg(SOL_PACKET, PACKET_AUXDATA, numbers + bytes(2) + skb.net_offset.to_bytes(2, "little") + bytes(4))
    size = len(data)
    skb_free_datagram(sk, skb)
    return size if flags & MSG_TRUNC else copied


# Registration


class PacketFamily(NetProtoFamily):
    """AF_PACKET in the table of families."""

    family = AF_PACKET

    def __init__(self, prot: Proto) -> None:
        self.prot = prot

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """socket(2)."""
        if not task.ns_capable(net.user_ns, CAP_NET_RAW):
            return -EPERM
        if sock.type not in (SOCK_DGRAM, SOCK_RAW, SOCK_PACKET):
            return -ESOCKTNOSUPPORT
        sock.ops = _OPS
        sk = PacketSock(net, self.prot, sock.type, (protocol & 0xFF) << 8 | protocol >> 8 & 0xFF)
        sk_alloc(sk, kern)
        sock_init_data(sock, sk)
        net.packet_socks.append(sk)
        net.sock_prot_inuse_add(sk.sk_prot, 1)
        register_prot_hook(sk)
        return 0


_OPS: Final = PacketOps()


class _PacketPernet(PernetOperations):
    """Gives each namespace its list."""

    def init(self, net: Net) -> None:
        net.packet_socks = []


def packet_init(kernel: Kernel) -> None:
    """Register the family."""
    prot = Proto("PACKET", _OBJ_SIZE)
    proto_register(kernel, prot)
    sock_register(kernel, PacketFamily(prot))
    register_pernet_subsys(kernel, _PacketPernet())


def packet_sockets(net: Net) -> list[PacketSock]:
    """List the packet sockets of a namespace, oldest first."""
    return [sk for sk in net.packet_socks if isinstance(sk, PacketSock)]


def packet_seq_text(net: Net) -> str:
    """Return /proc/net/packet."""
    lines = ["sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"]
    for sk in packet_sockets(net):
        refs = sk.sk_refcnt + (2 if sk.running else 1)  # the list holds one, the hook another
        lines.append(
            f"{len(lines):016x} {refs:<6d} {sk.sk_type:<4d} {sk.num:04x}   {sk.ifindex:<5d} {1 if sk.running else 0:1d} "
            f"{sk.sk_rmem_alloc:<6d} {sk.sock_i_uid():<6d} {sk.sock_i_ino():<6d}\n"
        )
    return "".join(lines)
