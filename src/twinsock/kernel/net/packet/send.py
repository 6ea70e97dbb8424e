"""Sending frames, packet(7) (Linux: packet_snd() and packet_sendmsg_spkt() of net/packet/af_packet.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index, dev_get_by_name, dev_hard_start_xmit, dev_queue_xmit
from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.scm import for_each_cmsghdr
from twinsock.kernel.net.core.skbuff import SkBuff, skb_head_truesize
from twinsock.kernel.net.core.sock_cmsg import SockcmCookie, sock_cmsg_send
from twinsock.kernel.net.core.sock_mem import skb_set_owner_w, sock_alloc_send_pskb
from twinsock.kernel.net.core.tstamp import sock_tx_timestamp
from twinsock.kernel.net.packet.packet_sock import SOCKADDR_LL_HEAD, SOCKADDR_LL_SIZE, SOCKADDR_PKT_SIZE, PacketSock
from twinsock.kernel.net.packet.vnet_hdr import vnet_hdr_complete
from twinsock.uapi.errno import EINVAL, EMSGSIZE, ENETDOWN, ENOBUFS, ENODEV, ENOTCONN, ENXIO
from twinsock.uapi.if_ import ARPHRD_ETHER, ETH_P_802_2, ETH_P_802_3, ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, IFF_LOOPBACK, IFF_NOARP
from twinsock.uapi.socket import MSG_DONTWAIT, SOCK_DGRAM, SOCK_RAW
from twinsock.wire.ethernet import ETH_HEADER_LEN, Ethhdr
from twinsock.wire.ethernet import parse as parse_eth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_VLAN_HLEN: Final = 4
_ETH_P_8021Q: Final = 0x8100
_NO_MAC: Final = bytes(6)
_SOCKADDR_SIZE: Final = 16
_HEADROOM: Final = 16


def packet_snd(task: Task, po: PacketSock, msg: Msghdr) -> int:
    """Send a frame, or for SOCK_DGRAM what goes behind a header that is made here: bytes or -errno."""
    err, dev, proto, addr = _where_to(po, msg)
    if dev is None:
        return err
    if not dev.is_up():
        return -ENETDOWN
    sockc = SockcmCookie(po)
    if msg.control:
        bad, cmsgs = for_each_cmsghdr(msg.control)
        err = sock_cmsg_send(task, po, cmsgs, sockc) or bad
        if err:
            return err
    length = msg.remaining()
    head = b""
    if po.vnet_hdr_sz:
        if length < po.vnet_hdr_sz:
            return -EINVAL
        head = msg.take(po.vnet_hdr_sz)
        length -= po.vnet_hdr_sz
        if head[1]:  # Twin: D-packet-2
            return -EINVAL
    reserve = dev.hard_header_len if po.sk_type == SOCK_RAW else 0
    if length > dev.mtu + reserve + _VLAN_HLEN:
        return -EMSGSIZE
    err = sock_alloc_send_pskb(task, po, bool(msg.flags & MSG_DONTWAIT))
    if err:
        return err
    frame = msg.take(length)
    if head:
        done = vnet_hdr_complete(head, frame, dev.is_loopback() or dev.kind == "veth")
        if done is None:
            return -EINVAL
        frame = done
    return _packet_xmit(po, dev, proto, addr, frame, sockc) or length + len(head)


def _where_to(po: PacketSock, msg: Msghdr) -> tuple[int, NetDevice | None, int, bytes | None]:
    """Return (-errno, device, protocol, link address) of a message, or of the socket when it has no address."""
    name = msg.name
    if name is None:
        return -ENXIO, po.dev, po.num, None
    if len(name) < SOCKADDR_LL_SIZE or len(name) < name[11] + SOCKADDR_LL_HEAD:
        return -EINVAL, None, 0, None
    dev = dev_get_by_index(po.sk_net, int.from_bytes(name[4:8], "little", signed=True))
    if dev is not None and po.sk_type == SOCK_DGRAM and len(name) < len(dev.dev_addr) + SOCKADDR_LL_HEAD:
        return -EINVAL, None, 0, None
    return -ENXIO, dev, int.from_bytes(name[2:4], "big"), name[12:18]


def _packet_xmit(po: PacketSock, dev: NetDevice, proto: int, addr: bytes | None, frame: bytes, sockc: SockcmCookie) -> int:
    size = len(frame)
    if po.sk_type == SOCK_DGRAM:
        header = dev_hard_header(dev, proto, addr, size)
        if header is None:
            return -EINVAL
        frame = header + frame
    elif size < dev.hard_header_len:
        return -EINVAL
    reserve = dev.hard_header_len if po.sk_type == SOCK_RAW else 0
    if size > dev.mtu + reserve and not _vlan_tagged(dev, frame):
        return -EMSGSIZE
    skb = frame_skb(dev, frame)
    if po.sk_type == SOCK_RAW and proto in (0, ETH_P_ALL):
        proto = max(skb.mac_proto, 0) if dev.has_link_addr() else _ip_version(frame)
    skb.protocol = proto
    return _transmit(po, dev, skb, sockc)


def _vlan_tagged(dev: NetDevice, frame: bytes) -> bool:
    """Tell whether a frame may be four bytes longer than others."""
    return dev.type == ARPHRD_ETHER and int.from_bytes(frame[12:14], "big") == _ETH_P_8021Q


def _transmit(po: PacketSock, dev: NetDevice, skb: SkBuff, sockc: SockcmCookie) -> int:
    skb.priority = sockc.priority
    skb.mark = sockc.mark
    sock_tx_timestamp(po, skb, sockc.tsflags, sockc.ts_opt_id)
    skb_set_owner_w(skb, po)
    if po.qdisc_bypass and dev.qdisc is not None:
        err = dev_hard_start_xmit(skb, dev)
        if not dev.net.kernel.in_softirq:
            dev.net.kernel.do_softirq()
    else:
        err = dev_queue_xmit(skb)
    if err > 0:
        return 0 if err == 2 else -ENOBUFS
    return err


def _ip_version(data: bytes) -> int:
    version = data[0] >> 4 if data else 0
    return ETH_P_IP if version == 4 else ETH_P_IPV6 if version == 6 else 0


def dev_hard_header(dev: NetDevice, proto: int, addr: bytes | None, size: int) -> bytes | None:
    """Make the link header towards an address; None when there is none to put in."""
    if not dev.has_link_addr():
        return b""
    if addr is None:
        if not dev.flags & (IFF_LOOPBACK | IFF_NOARP):
            return None
        addr = _NO_MAC
    third = size if proto in (ETH_P_802_3, ETH_P_802_2) else proto
    return Ethhdr(addr, dev.dev_addr, third & 0xFFFF).emit()


def frame_skb(dev: NetDevice, frame: bytes) -> SkBuff:
    """Make the packet of a frame; what the receiver takes as its protocol stands in `mac_proto`."""
    skb = SkBuff(frame)
    skb.truesize = skb_head_truesize(len(frame) + _HEADROOM)
    skb.dev = dev
    if dev.has_link_addr():
        eth = parse_eth(frame)
        assert eth is not None
        skb.pull(ETH_HEADER_LEN)
        skb.mac_dest, skb.mac_source = eth.dest, eth.source
        skb.mac_proto = eth.proto
    return skb


def packet_sendmsg_spkt(task: Task, po: PacketSock, msg: Msghdr) -> int:
    """Send a frame to a device by name: bytes or -errno."""
    name = msg.name
    if name is None:
        return -ENOTCONN
    if len(name) < _SOCKADDR_SIZE:
        return -EINVAL
    proto = int.from_bytes(name[16:18], "big") if len(name) == SOCKADDR_PKT_SIZE else 0
    dev = dev_get_by_name(po.sk_net, name[2:15].split(b"\0")[0].decode("latin-1"))
    if dev is None:
        return -ENODEV
    if not dev.is_up():
        return -ENETDOWN
    length = msg.remaining()
    if length > dev.mtu + dev.hard_header_len + _VLAN_HLEN:
        return -EMSGSIZE
    if po.sk_wmem_alloc >= po.sk_sndbuf:
        return -ENOBUFS
    frame = msg.take(length)
    if length < dev.hard_header_len:
        return -EINVAL
    if length > dev.mtu + dev.hard_header_len and not _vlan_tagged(dev, frame):
        return -EMSGSIZE
    sockc = SockcmCookie(po)
    if msg.control:
        bad, cmsgs = for_each_cmsghdr(msg.control)
        err = sock_cmsg_send(task, po, cmsgs, sockc) or bad
        if err:
            return err
    skb = frame_skb(dev, frame)
    skb.protocol = proto
    _transmit(po, dev, skb, sockc)
    return length
