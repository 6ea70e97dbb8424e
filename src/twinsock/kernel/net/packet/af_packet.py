"""AF_PACKET sockets: frames of a device, with or without their link header, packet(7) (Linux: net/packet/af_packet.c).

Left out: rings that programs map into their memory (D-packet-1), segmentation of what is sent with PACKET_VNET_HDR (D-packet-2)."""

from __future__ import annotations

from twinsock.kernel.net.core.datagram import datagram_poll, skb_free_datagram, skb_recv_datagram
from twinsock.kernel.net.core.dev import (
    NETDEV_DOWN,
    NETDEV_UNREGISTER,
    NETDEV_UP,
    NetDevice,
    NetdevNotifier,
    dev_get_by_index,
    dev_get_by_name,
)
from twinsock.kernel.net.core.net import Msghdr, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.sock import Proto, proto_register, sk_alloc, sock_init_data, sock_orphan, sock_put
from twinsock.kernel.net.core.sock_cmsg import sock_recv_cmsgs, sock_recv_errqueue
from twinsock.kernel.net.packet.fanout import fanout_release
from twinsock.kernel.net.packet.options import packet_flush_mclist, packet_getsockopt, packet_mc_device_gone, packet_setsockopt
from twinsock.kernel.net.packet.packet_sock import (
    SOCKADDR_LL_SIZE,
    FanoutTable,
    PacketSkb,
    PacketSock,
    register_prot_hook,
    unregister_prot_hook,
)
from twinsock.kernel.net.packet.send import packet_sendmsg_spkt, packet_snd
from twinsock.kernel.net.packet.vnet_hdr import vnet_hdr_from_skb
from twinsock.kernel.net.socket import sock_register
from twinsock.uapi.capability import CAP_NET_RAW
from twinsock.uapi.errno import EINVAL, ENETDOWN, ENODEV, ENOIOCTLCMD, ENOPROTOOPT, EOPNOTSUPP, EPERM, ESOCKTNOSUPPORT
from twinsock.uapi.if_packet import (
    PACKET_AUXDATA,
    PACKET_TX_TIMESTAMP,
    TP_STATUS_CSUMNOTREADY,
    TP_STATUS_USER,
)
from twinsock.uapi.socket import (
    AF_PACKET,
    MSG_DONTWAIT,
    MSG_ERRQUEUE,
    MSG_PEEK,
    MSG_TRUNC,
    SOCK_DGRAM,
    SOCK_PACKET,
    SOCK_RAW,
    SOL_PACKET,
)
from twinsock.uapi.sockios import SIOCINQ, SIOCOUTQ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

_OBJ_SIZE: Final = 1600
_SOCKADDR_SIZE: Final = 16
_RECV_FLAGS: Final = MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_ERRQUEUE | 0x80000000


class PacketProto(Proto):
    """`packet_proto`, and the fanout groups of the kernel."""

    def __init__(self) -> None:
        super().__init__("PACKET", _OBJ_SIZE)
        self.fanouts = FanoutTable()


class PacketNotifier(NetdevNotifier):
    """`packet_notifier`."""

    def call(self, event: int, dev: NetDevice) -> None:
        """Stop sockets of a device that goes, start those of one that comes up."""
        if event not in (NETDEV_DOWN, NETDEV_UNREGISTER, NETDEV_UP):
            return
        for po in packet_sockets(dev.net):
            if event == NETDEV_UNREGISTER:
                packet_mc_device_gone(po, dev.ifindex)
            if po.ifindex != dev.ifindex:
                continue
            if event == NETDEV_UP:
                if po.num:
                    register_prot_hook(po)
                continue
            if po.running:
                unregister_prot_hook(po)
                po.sk_err = ENETDOWN
                po.sk_error_report()
            if event == NETDEV_UNREGISTER:
                po.ifindex = -1
                po.dev = None


def packet_sockets(net: Net) -> list[PacketSock]:
    """Return the packet sockets of a namespace in order of creation."""
    return [sk for sk in net.packet_socks if isinstance(sk, PacketSock)]


def pkt_sk(sock: Socket) -> PacketSock:
    """Return the packet socket behind a socket of the family."""
    sk = sock.sk
    assert isinstance(sk, PacketSock)
    return sk


class PacketFamily(NetProtoFamily):
    """`packet_family_ops`."""

    family = AF_PACKET

    def __init__(self, prot: PacketProto) -> None:
        self.prot = prot
        self.ops = PacketOps()
        self.ops_spkt = PacketOpsSpkt()

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """packet_create()."""
        if not task.ns_capable(net.user_ns, CAP_NET_RAW):
            return -EPERM
        if sock.type not in (SOCK_DGRAM, SOCK_RAW, SOCK_PACKET):
            return -ESOCKTNOSUPPORT
        sock.ops = self.ops_spkt if sock.type == SOCK_PACKET else self.ops
        po = PacketSock(net, self.prot, sock.type, self.prot.fanouts)
        sk_alloc(po, kern)
        sock_init_data(sock, po)
        po.num = _ntohs(protocol)
        net.packet_socks.append(po)
        net.sock_prot_inuse_add(self.prot, 1)
        if po.num:
            register_prot_hook(po)
        return 0


def _ntohs(value: int) -> int:
    return (value & 0xFF) << 8 | value >> 8 & 0xFF


class PacketOps(ProtoOps):
    """`packet_ops`."""

    family = AF_PACKET

    def release(self, task: Task | None, sock: Socket) -> int:
        """close(2)."""
        po = sock.sk
        if not isinstance(po, PacketSock):
            return 0
        po.sk_net.packet_socks.remove(po)
        po.sk_net.sock_prot_inuse_add(po.sk_prot, -1)
        unregister_prot_hook(po)
        packet_flush_mclist(po)
        fanout_release(po)
        po.dev = None
        sock_orphan(po)
        sock_put(po)
        return 0

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2): choose device and protocol."""
        if len(addr) < SOCKADDR_LL_SIZE or int.from_bytes(addr[:2], "little") != AF_PACKET:
            return -EINVAL
        po = pkt_sk(sock)
        dev = None
        if po.fanout is not None:
            return -EINVAL
        ifindex = int.from_bytes(addr[4:8], "little", signed=True)
        if ifindex:
            dev = dev_get_by_index(po.sk_net, ifindex)
            if dev is None:
                return -ENODEV
        return packet_do_bind(po, dev, int.from_bytes(addr[2:4], "big"))

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2)."""
        if peer:
            return -EOPNOTSUPP, b""
        po = pkt_sk(sock)
        head = AF_PACKET.to_bytes(2, "little") + po.num.to_bytes(2, "big") + (po.ifindex & 0xFFFFFFFF).to_bytes(4, "little")
        dev = dev_get_by_index(po.sk_net, po.ifindex)
        if dev is None:
            return 0, head + bytes(4)
        return 0, head + dev.type.to_bytes(2, "little") + bytes((0, len(dev.dev_addr))) + dev.dev_addr

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """poll(2)."""
        return datagram_poll(file, sock, wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """ioctl(2)."""
        return packet_ioctl(task, pkt_sk(sock), cmd, arg)

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """SOL_PACKET options."""
        if level != SOL_PACKET:
            return -ENOPROTOOPT
        return packet_setsockopt(task, pkt_sk(sock), optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """SOL_PACKET options."""
        if level != SOL_PACKET:
            return -ENOPROTOOPT, b""
        return packet_getsockopt(pkt_sk(sock), optname, optval, optlen)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """sendmsg(2)."""
        return packet_snd(task, pkt_sk(sock), msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """recvmsg(2)."""
        return packet_recvmsg(task, pkt_sk(sock), msg, flags)

    def mmap(self, task: Task, sock: Socket, prot: int) -> int:
        """mmap(2): there is no ring."""
        return -EINVAL


class PacketOpsSpkt(PacketOps):
    """`packet_ops_spkt`: the addresses of SOCK_PACKET."""

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2) to a device by name."""
        if len(addr) != _SOCKADDR_SIZE:
            return -EINVAL
        po = pkt_sk(sock)
        dev = dev_get_by_name(po.sk_net, addr[2:].split(b"\0")[0].decode("latin-1"))
        return -ENODEV if dev is None else packet_do_bind(po, dev, 0)

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2)."""
        if peer:
            return -EOPNOTSUPP, b""
        po = pkt_sk(sock)
        dev = dev_get_by_index(po.sk_net, po.ifindex)
        name = b"" if dev is None else dev.name.encode("latin-1")[:13]
        return 0, AF_PACKET.to_bytes(2, "little") + name.ljust(14, b"\0")

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """There are none."""
        return -EOPNOTSUPP

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """There are none."""
        return -EOPNOTSUPP, b""

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """sendmsg(2)."""
        return packet_sendmsg_spkt(task, pkt_sk(sock), msg)

    def mmap(self, task: Task, sock: Socket, prot: int) -> int:
        """mmap(2): there are no rings here."""
        return -ENODEV


def packet_do_bind(po: PacketSock, dev: NetDevice | None, proto: int) -> int:
    """Listen on a device (None: on all) for a protocol (0: the one it has); a device that is down is a pending error, not a refusal."""
    proto = proto or po.num
    if po.num == proto and po.dev is dev:
        return 0
    unregister_prot_hook(po)
    po.num = proto
    po.dev = dev
    po.ifindex = 0 if dev is None else dev.ifindex
    if proto == 0:
        return 0
    if dev is None or dev.is_up():
        register_prot_hook(po)
    else:
        po.sk_err = ENETDOWN
        po.sk_error_report()
    return 0


def packet_ioctl(task: Task, po: PacketSock, cmd: int, arg: bytes) -> tuple[int, bytes]:
    """SIOCOUTQ: truesize under way; SIOCINQ: the length of the next frame."""
    if cmd == SIOCOUTQ:
        return 0, po.sk_wmem_alloc.to_bytes(4, "little")
    if cmd == SIOCINQ:
        size = po.sk_receive_queue[0].len if po.sk_receive_queue else 0
        return 0, size.to_bytes(4, "little")
    return -ENOIOCTLCMD, b""


def packet_recvmsg(task: Task, po: PacketSock, msg: Msghdr, flags: int) -> int:
    """Receive a frame: bytes or -errno."""
    if flags & ~_RECV_FLAGS:
        return -EINVAL
    if flags & MSG_ERRQUEUE:
        return sock_recv_errqueue(po, msg, SOL_PACKET, PACKET_TX_TIMESTAMP)
    err, skb = skb_recv_datagram(task, po, flags)
    if skb is None:
        return err
    assert isinstance(skb, PacketSkb)
    room = msg.size
    head = b""
    if po.vnet_hdr_sz:
        if room < po.vnet_hdr_sz:
            skb_free_datagram(po, skb)
            return -EINVAL
        head = vnet_hdr_from_skb(skb, po.vnet_hdr_sz)
        msg.chunks.append(head)
        room -= len(head)
    copied = min(skb.len, room)
    if copied < skb.len:
        msg.out_flags |= MSG_TRUNC
    msg.chunks.append(skb.data[skb.offset : skb.offset + copied])
    sock_recv_cmsgs(msg, po, skb)
    msg.name = skb.name
    if po.auxdata:
        msg.put_cmsg(SOL_PACKET, PACKET_AUXDATA, _auxdata(skb))
    result = len(head) + (skb.len if flags & MSG_TRUNC else copied)
    skb_free_datagram(po, skb)
    return result


def _auxdata(skb: PacketSkb) -> bytes:
    """Return `struct tpacket_auxdata`; there is no VLAN."""
    status = TP_STATUS_USER
    if skb.csum_start >= 0:
        status |= TP_STATUS_CSUMNOTREADY
    head = status.to_bytes(4, "little") + skb.origlen.to_bytes(4, "little") + skb.len.to_bytes(4, "little")
    return head + bytes(2) + skb.net_offset.to_bytes(2, "little") + bytes(4)


def packet_init(kernel: Kernel) -> None:
    """Register the family."""
    prot = PacketProto()
    proto_register(kernel, prot)
    sock_register(kernel, PacketFamily(prot))
    kernel.netdev_chain.append(PacketNotifier())
