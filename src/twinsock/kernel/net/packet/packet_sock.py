"""`struct packet_sock`, and how frames reach it, packet(7) (Linux: net/packet/internal.h, packet_rcv() of af_packet.c).

A socket of protocol ETH_P_ALL sees what a device sends and receives, of another protocol what it receives. A checksum that Linux leaves
to the device is the pseudo header's sum in the frame, on loopback and veth."""

from __future__ import annotations

from twinsock.kernel.net.core.datagram import __sock_queue_rcv_skb as sock_queue_unfiltered
from twinsock.kernel.net.core.datagram import skb_queue_purge
from twinsock.kernel.net.core.dev import NetDevice, dev_add_tap, dev_remove_tap
from twinsock.kernel.net.core.filter import bpf_prog_run
from twinsock.kernel.net.core.protocol import PacketTap
from twinsock.kernel.net.core.skbuff import PACKET_LOOPBACK, PACKET_OUTGOING, SkBuff, skb_head_truesize
from twinsock.kernel.net.core.sock import Proto, Sock
from twinsock.kernel.net.core.sock_mem import skb_queue_purge_err
from twinsock.uapi.if_ import ETH_P_ALL
from twinsock.uapi.socket import AF_PACKET, SOCK_DGRAM, SOCK_PACKET
from twinsock.wire.ethernet import ETH_HEADER_LEN, Ethhdr
from twinsock.wire.l4 import pseudo_sum4, pseudo_sum6
from twinsock.wire.tcp import Tcphdr
from twinsock.wire.udp import Udphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.packet.fanout import PacketFanout

SOCKADDR_LL_SIZE: Final = 20
SOCKADDR_LL_HEAD: Final = 12
SOCKADDR_PKT_SIZE: Final = 18
_NO_MAC: Final = bytes(6)


class PacketMclist:
    """`struct packet_mclist`: one membership of a socket."""

    def __init__(self, ifindex: int, type_: int, addr: bytes) -> None:
        self.ifindex = ifindex
        self.type = type_  # PACKET_MR_*
        self.addr = addr
        self.count = 1


class FanoutTable:
    """Every fanout group of the kernel, the newest first."""

    def __init__(self) -> None:
        self.groups: list[PacketFanout] = []
        self.next_id = 0  # for groups without a number of their own; Linux counts over all namespaces


class PacketSkb(SkBuff):
    """A frame in a receive queue, with what recvmsg(2) tells of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.name = b""  # struct sockaddr_ll or sockaddr_pkt
        self.origlen = 0
        self.net_offset = 0  # of the network header
        self.csum_start = -1  # where the checksum begins that the device would compute, -1: nowhere
        self.csum_offset = 0


class PacketSock(Sock):
    """`struct packet_sock`."""

    def __init__(self, net: Net, prot: Proto, type_: int, fanouts: FanoutTable) -> None:
        super().__init__(net, AF_PACKET, prot, type_, 0)
        self.num = 0  # ETH_P_*
        self.ifindex = 0  # -1: the device is gone
        self.dev: NetDevice | None = None
        self.running = False
        self.hook: PacketHook = PacketHook(self)
        self.mclist: list[PacketMclist] = []
        self.fanout: PacketFanout | None = None
        self.fanouts = fanouts
        self.tp_packets = 0
        self.tp_drops = 0
        self.copy_thresh = 0
        self.tp_version = 0
        self.tp_reserve = 0
        self.tp_loss = 0
        self.tp_tstamp = 0
        self.tp_tx_has_off = 0
        self.auxdata = 0
        self.origdev = 0
        self.vnet_hdr_sz = 0
        self.qdisc_bypass = 0
        self.ignore_outgoing = 0

    def sk_destruct(self) -> None:
        """Empty the queues (packet_sock_destruct)."""
        skb_queue_purge(self.sk_receive_queue)
        skb_queue_purge_err(self)


class PacketHook(PacketTap):
    """`prot_hook` of a socket."""

    def __init__(self, po: PacketSock) -> None:
        self.po = po

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Give the socket a copy of a frame that it asked for."""
        po = self.po
        if hook_wants(po, skb, outgoing) and not (outgoing and skb.sk is po):
            packet_rcv(po, skb, dev, outgoing)


def hook_wants(po: PacketSock, skb: SkBuff, outgoing: bool) -> bool:
    """Tell whether a frame is of the socket's protocol and direction."""
    if skb.pkt_type == PACKET_LOOPBACK and not outgoing:
        return False
    if outgoing:
        return po.num == ETH_P_ALL and not po.ignore_outgoing
    return po.num in (ETH_P_ALL, skb.protocol)


def register_prot_hook(po: PacketSock) -> None:
    """Let frames reach the socket."""
    if not po.running:
        po.running = True
        if po.fanout is not None:
            po.fanout.link(po)
        else:
            hook_add(po.sk_net, po.dev, po.hook)


def unregister_prot_hook(po: PacketSock) -> None:
    """Let no more frames reach the socket."""
    if po.running:
        po.running = False
        if po.fanout is not None:
            po.fanout.unlink(po)
        else:
            hook_remove(po.sk_net, po.dev, po.hook)


def hook_add(net: Net, dev: NetDevice | None, hook: PacketTap) -> None:
    """Let a hook see a device's frames, or everybody's (dev_add_pack)."""
    if dev is not None:
        dev_add_tap(dev, hook)
        return
    if net.ptype_all is None:
        net.ptype_all = []
    net.ptype_all.append(hook)


def hook_remove(net: Net, dev: NetDevice | None, hook: PacketTap) -> None:
    """End `hook_add`."""
    if dev is not None:
        dev_remove_tap(dev, hook)
    elif net.ptype_all is not None and hook in net.ptype_all:
        net.ptype_all.remove(hook)
        if not net.ptype_all:
            net.ptype_all = None


# Frames


def packet_rcv(po: PacketSock, skb: SkBuff, dev: NetDevice, outgoing: bool) -> bool:
    """Filter a frame and queue a copy; tell whether it was queued."""
    frame, header_len, csum_start, csum_offset = frame_bytes(skb, dev)
    whole, link_len = frame, header_len
    if po.sk_type == SOCK_DGRAM:
        frame = frame[header_len:]
        csum_start -= header_len
        header_len = 0
    copy = PacketSkb(frame)
    copy.protocol = skb.protocol
    copy.pkt_type = PACKET_OUTGOING if outgoing else skb.pkt_type
    copy.mark, copy.priority = skb.mark, skb.priority
    copy.gso_size = skb.gso_size
    copy.dev = dev
    copy.tstamp_ns = skb.tstamp_ns or dev.net.kernel.clock.now_ns + dev.net.kernel.clock.realtime_offset_ns
    copy.truesize = skb.truesize or skb_head_truesize(len(frame))
    copy.origlen = len(frame)
    copy.net_offset = header_len
    copy.csum_start, copy.csum_offset = csum_start, csum_offset
    spkt = po.sk_type == SOCK_PACKET
    copy.name = sockaddr_pkt(skb, dev) if spkt else sockaddr_ll(skb, dev, copy.pkt_type)
    keep = len(frame)
    if po.sk_filter is not None:
        copy.sk = po
        keep = bpf_prog_run(po.sk_filter, copy, frame, whole, link_len)
        copy.sk = None
    if keep == 0:  # Linux: an empty frame looks like one that the filter refused
        return False
    copy.len = min(keep, copy.len)
    if sock_queue_unfiltered(po, copy) < 0:
        po.tp_drops += not spkt
        return False
    po.tp_packets += not spkt
    return True


def frame_bytes(skb: SkBuff, dev: NetDevice) -> tuple[bytes, int, int, int]:
    """Return a frame, the length of its link header, and where a checksum that is left to the device begins and stands (-1: none)."""
    data = skb.l3_bytes()
    start, offset = partial_csum(skb, dev)
    if start >= 0:
        size = len(data) - start
        if skb.nh4 is not None:
            total = pseudo_sum4(skb.nh4.saddr, skb.nh4.daddr, skb.nh4.protocol, size)
        else:
            assert skb.nh6 is not None
            total = pseudo_sum6(skb.nh6.saddr, skb.nh6.daddr, skb.transport(), size)
        at = start + offset
        data = data[:at] + (total or 0xFFFF).to_bytes(2, "big") + data[at + 2 :]
    if not dev.has_link_addr():
        return data, 0, start, offset
    head = Ethhdr(skb.mac_dest or _NO_MAC, skb.mac_source or _NO_MAC, skb.protocol if skb.mac_proto < 0 else skb.mac_proto).emit()
    return head + data, ETH_HEADER_LEN, start + ETH_HEADER_LEN if start >= 0 else -1, offset


def partial_csum(skb: SkBuff, dev: NetDevice) -> tuple[int, int]:
    """Tell where the transport header begins whose checksum was never computed, and the field's place in it; (-1, 0) if it was."""
    h = skb.h
    if h is None or not (dev.is_loopback() or dev.kind == "veth"):
        return -1, 0
    if isinstance(h, Udphdr):
        if h.no_check or h.coverage >= 0:
            return -1, 0
        offset = 6
    elif isinstance(h, Tcphdr):
        offset = 16
    else:
        return -1, 0
    if skb.nh4 is not None:
        return skb.nh4.header_len(), offset
    return (-1, 0) if skb.nh6 is None else (40 + len(skb.nh6.exthdrs), offset)


def sockaddr_ll(skb: SkBuff, dev: NetDevice, pkt_type: int) -> bytes:
    """Return where a frame came from, `struct sockaddr_ll`."""
    halen = 6 if dev.has_link_addr() else 0
    addr = (skb.mac_source or _NO_MAC)[:halen]
    head = AF_PACKET.to_bytes(2, "little") + skb.protocol.to_bytes(2, "big") + dev.ifindex.to_bytes(4, "little")
    return head + dev.type.to_bytes(2, "little") + bytes((pkt_type, halen)) + addr.ljust(8, b"\0")


def sockaddr_pkt(skb: SkBuff, dev: NetDevice) -> bytes:
    """Return where a frame came from, `struct sockaddr_pkt`."""
    name = dev.name.encode("latin-1")[:13].ljust(14, b"\0")
    return dev.type.to_bytes(2, "little") + name + skb.protocol.to_bytes(2, "big")
