"""SOL_PACKET options and memberships, packet(7) (Linux: packet_setsockopt(), packet_getsockopt(), packet_mc_add() of af_packet.c).

Rings are checked as Linux checks them, and then there is no memory for one (D-packet-1)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index, dev_mc_add, dev_mc_del
from twinsock.kernel.net.packet.fanout import fanout_add, fanout_set_data
from twinsock.kernel.net.packet.packet_sock import PacketMclist, PacketSock
from twinsock.kernel.net.packet.vnet_hdr import VIRTIO_NET_HDR_MRG_SIZE, VIRTIO_NET_HDR_SIZE
from twinsock.uapi import if_packet as pkt
from twinsock.uapi.errno import EFAULT, EINVAL, ENODEV, ENOMEM, ENOPROTOOPT
from twinsock.uapi.socket import SOCK_RAW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

TPACKET_V1: Final = 0
TPACKET_V2: Final = 1
TPACKET_V3: Final = 2
_TPACKET_HDR_LEN: Final[tuple[int, ...]] = (32, 32, 48)
_TPACKET_ALIGN: Final[tuple[int, ...]] = (52, 52, 68)  # header and struct sockaddr_ll: the least that fits a frame
_MREQ_SIZE: Final = 16
_MREQ_HEAD: Final = 8
_INT_MAX: Final = 0x7FFFFFFF
_PAGE: Final = 4096
_FLAGS: Final[tuple[int, ...]] = (
    pkt.PACKET_AUXDATA,
    pkt.PACKET_ORIGDEV,
    pkt.PACKET_LOSS,
    pkt.PACKET_TX_HAS_OFF,
    pkt.PACKET_QDISC_BYPASS,
)
_LENIENT: Final[tuple[int, ...]] = (pkt.PACKET_AUXDATA, pkt.PACKET_ORIGDEV, pkt.PACKET_VNET_HDR, pkt.PACKET_VNET_HDR_SZ)


def packet_setsockopt(task: Task, po: PacketSock, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option: 0 or -errno."""
    if optname in (pkt.PACKET_ADD_MEMBERSHIP, pkt.PACKET_DROP_MEMBERSHIP):
        return _membership(po, optname, optval, optlen)
    if optname in (pkt.PACKET_RX_RING, pkt.PACKET_TX_RING):
        return _ring(po, optval, optlen)
    if optname == pkt.PACKET_FANOUT:
        return _fanout(po, optval, optlen)
    if optname == pkt.PACKET_FANOUT_DATA:
        return fanout_set_data(task, po, optval, optlen)
    if optname not in _SETTABLE:
        return -ENOPROTOOPT
    if optname in (pkt.PACKET_VNET_HDR, pkt.PACKET_VNET_HDR_SZ) and po.sk_type != SOCK_RAW:
        return -EINVAL
    if optlen < 4 or (optlen != 4 and optname not in _LENIENT):
        return -EINVAL
    if optval is None or len(optval) < 4:
        return -EFAULT
    return _set_int(po, optname, int.from_bytes(optval[:4], "little", signed=True))


_SETTABLE: Final[tuple[int, ...]] = (
    *_FLAGS,
    pkt.PACKET_COPY_THRESH,
    pkt.PACKET_VERSION,
    pkt.PACKET_RESERVE,
    pkt.PACKET_VNET_HDR,
    pkt.PACKET_VNET_HDR_SZ,
    pkt.PACKET_TIMESTAMP,
    pkt.PACKET_IGNORE_OUTGOING,
)


def _set_int(po: PacketSock, optname: int, val: int) -> int:
    if optname in _FLAGS:
        _set_flag(po, optname, 1 if val else 0)
    elif optname == pkt.PACKET_COPY_THRESH:
        po.copy_thresh = val
    elif optname == pkt.PACKET_VERSION:
        if val not in (TPACKET_V1, TPACKET_V2, TPACKET_V3):
            return -EINVAL
        po.tp_version = val
    elif optname == pkt.PACKET_RESERVE:
        if val < 0:
            return -EINVAL
        po.tp_reserve = val
    elif optname == pkt.PACKET_VNET_HDR:
        po.vnet_hdr_sz = VIRTIO_NET_HDR_SIZE if val else 0
    elif optname == pkt.PACKET_VNET_HDR_SZ:
        if val not in (0, VIRTIO_NET_HDR_SIZE, VIRTIO_NET_HDR_MRG_SIZE):
            return -EINVAL
        po.vnet_hdr_sz = val
    elif optname == pkt.PACKET_TIMESTAMP:
        po.tp_tstamp = val
    else:
        if val not in (0, 1):
            return -EINVAL
        po.ignore_outgoing = val
    return 0


def _set_flag(po: PacketSock, optname: int, val: int) -> None:
    if optname == pkt.PACKET_AUXDATA:
        po.auxdata = val
    elif optname == pkt.PACKET_ORIGDEV:
        po.origdev = val
    elif optname == pkt.PACKET_LOSS:
        po.tp_loss = val
    elif optname == pkt.PACKET_TX_HAS_OFF:
        po.tp_tx_has_off = val
    else:
        po.qdisc_bypass = val


def packet_getsockopt(po: PacketSock, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option: (0 or -errno, value)."""
    if optlen < 0:
        return -EINVAL, b""
    if optname == pkt.PACKET_STATISTICS:
        return 0, _statistics(po)[:optlen]
    if optname == pkt.PACKET_ROLLOVER_STATS:
        if po.fanout is None or not po.fanout.rolls_over():
            return -EINVAL, b""
        return 0, po.fanout.rollover_stats(po)[:optlen]
    if optname == pkt.PACKET_HDRLEN:
        if optlen < 4:
            return -EINVAL, b""
        version = int.from_bytes(optval[:4], "little")
        if version > TPACKET_V3:
            return -EINVAL, b""
        return 0, _TPACKET_HDR_LEN[version].to_bytes(4, "little")
    err, val = _get_int(po, optname)
    return (err, b"") if err else (0, (val & 0xFFFFFFFF).to_bytes(4, "little")[:optlen])


def _statistics(po: PacketSock) -> bytes:
    """Return `struct tpacket_stats` (version 3: with the number of freezes) and start anew."""
    packets, drops = po.tp_packets + po.tp_drops, po.tp_drops
    po.tp_packets = po.tp_drops = 0
    stats = packets.to_bytes(4, "little") + drops.to_bytes(4, "little")
    return stats + bytes(4) if po.tp_version == TPACKET_V3 else stats


def _get_int(po: PacketSock, optname: int) -> tuple[int, int]:
    if optname == pkt.PACKET_AUXDATA:
        return 0, po.auxdata
    if optname == pkt.PACKET_ORIGDEV:
        return 0, po.origdev
    if optname == pkt.PACKET_VNET_HDR:
        return 0, 1 if po.vnet_hdr_sz else 0
    if optname == pkt.PACKET_VNET_HDR_SZ:
        return 0, po.vnet_hdr_sz
    if optname == pkt.PACKET_COPY_THRESH:
        return 0, po.copy_thresh
    if optname == pkt.PACKET_VERSION:
        return 0, po.tp_version
    if optname == pkt.PACKET_RESERVE:
        return 0, po.tp_reserve
    if optname == pkt.PACKET_LOSS:
        return 0, po.tp_loss
    if optname == pkt.PACKET_TIMESTAMP:
        return 0, po.tp_tstamp
    if optname == pkt.PACKET_FANOUT:
        return 0, 0 if po.fanout is None else po.fanout.word()
    if optname == pkt.PACKET_TX_HAS_OFF:
        return 0, po.tp_tx_has_off
    if optname == pkt.PACKET_QDISC_BYPASS:
        return 0, po.qdisc_bypass
    if optname == pkt.PACKET_IGNORE_OUTGOING:
        return 0, po.ignore_outgoing
    return -ENOPROTOOPT, 0


def _fanout(po: PacketSock, optval: bytes | None, optlen: int) -> int:
    if optlen not in (4, 8):
        return -EINVAL
    if optval is None or len(optval) < optlen:
        return -EFAULT
    word = int.from_bytes(optval[:4], "little")
    limit = int.from_bytes(optval[4:8], "little") if optlen == 8 else 0
    return fanout_add(po, word & 0xFFFF, word >> 16, limit)


# Rings


def _ring(po: PacketSock, optval: bytes | None, optlen: int) -> int:
    size = 28 if po.tp_version == TPACKET_V3 else 16
    if optlen < size:
        return -EINVAL
    if optval is None or len(optval) < size:
        return -EFAULT
    block_size, block_nr, frame_size, frame_nr = [int.from_bytes(optval[at : at + 4], "little") for at in (0, 4, 8, 12)]
    if not block_nr:
        return -EINVAL if frame_nr else 0
    least = _TPACKET_ALIGN[po.tp_version] + po.tp_reserve
    if block_size == 0 or block_size > _INT_MAX or block_size % _PAGE:
        return -EINVAL
    if frame_size < least or frame_size % 16 or frame_size > block_size:
        return -EINVAL
    if block_size // frame_size * block_nr != frame_nr:
        return -EINVAL
    return -ENOMEM  # Twin: D-packet-1


# Memberships


def _membership(po: PacketSock, optname: int, optval: bytes | None, optlen: int) -> int:
    if optlen < _MREQ_SIZE:
        return -EINVAL
    size = min(optlen, 40)
    if optval is None or len(optval) < size:
        return -EFAULT
    ifindex = int.from_bytes(optval[:4], "little", signed=True)
    type_ = int.from_bytes(optval[4:6], "little")
    alen = int.from_bytes(optval[6:8], "little")
    if size < alen + _MREQ_HEAD:
        return -EINVAL
    addr = optval[8 : 8 + alen]
    if optname == pkt.PACKET_ADD_MEMBERSHIP:
        return packet_mc_add(po, ifindex, type_, addr)
    return packet_mc_drop(po, ifindex, type_, addr)


def packet_mc_add(po: PacketSock, ifindex: int, type_: int, addr: bytes) -> int:
    """Ask a device for more frames: 0 or -errno."""
    dev = dev_get_by_index(po.sk_net, ifindex)
    if dev is None:
        return -ENODEV
    if len(addr) > len(dev.dev_addr):
        return -EINVAL
    for entry in po.mclist:
        if entry.ifindex == ifindex and entry.type == type_ and entry.addr == addr:
            entry.count += 1
            return 0
    err = packet_dev_mc(dev, type_, addr, 1)
    if not err:
        po.mclist.insert(0, PacketMclist(ifindex, type_, addr))
    return err


def packet_mc_drop(po: PacketSock, ifindex: int, type_: int, addr: bytes) -> int:
    """End a membership; one that does not exist is no error."""
    for entry in po.mclist:
        if entry.ifindex == ifindex and entry.type == type_ and entry.addr == addr:
            entry.count -= 1
            if not entry.count:
                po.mclist.remove(entry)
                dev = dev_get_by_index(po.sk_net, ifindex)
                if dev is not None:
                    packet_dev_mc(dev, type_, addr, -1)
            return 0
    return 0


def packet_dev_mc(dev: NetDevice, type_: int, addr: bytes, what: int) -> int:
    """Count a membership in the device: 0 or -EINVAL."""
    if type_ == pkt.PACKET_MR_PROMISC:
        dev.promiscuity += what
    elif type_ == pkt.PACKET_MR_ALLMULTI:
        dev.allmulti += what
    elif type_ in (pkt.PACKET_MR_MULTICAST, pkt.PACKET_MR_UNICAST):
        if len(addr) != len(dev.dev_addr):
            return -EINVAL
        if type_ == pkt.PACKET_MR_MULTICAST and what > 0:
            dev_mc_add(dev, addr)
        elif type_ == pkt.PACKET_MR_MULTICAST and addr in dev.mc:
            dev_mc_del(dev, addr)
    return 0


def packet_flush_mclist(po: PacketSock) -> None:
    """End every membership of a socket that closes."""
    while po.mclist:
        entry = po.mclist.pop(0)
        dev = dev_get_by_index(po.sk_net, entry.ifindex)
        if dev is not None:
            packet_dev_mc(dev, entry.type, entry.addr, -1)


def packet_mc_device_gone(po: PacketSock, ifindex: int) -> None:
    """Forget the memberships of a device that is unregistered."""
    po.mclist = [entry for entry in po.mclist if entry.ifindex != ifindex]
