"""`struct virtio_net_hdr` before a frame, PACKET_VNET_HDR (Linux: include/linux/virtio_net.h)."""

from __future__ import annotations

from twinsock.wire.l4 import csum_fold, ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.packet.packet_sock import PacketSkb

VIRTIO_NET_HDR_SIZE: Final = 10
VIRTIO_NET_HDR_MRG_SIZE: Final = 12
VIRTIO_NET_HDR_F_NEEDS_CSUM: Final = 1
_GSO_TCPV4: Final = 1
_GSO_TCPV6: Final = 4
_GSO_UDP_L4: Final = 5
_TCP_CSUM_AT: Final = 16
_IP_HEADER_LEN: Final = 20


def vnet_hdr_from_skb(skb: PacketSkb, size: int) -> bytes:
    """Describe a received frame: which checksum is left to compute, and what segments it stands for."""
    flags = gso_type = hdr_len = 0
    if skb.csum_start >= 0:
        flags = VIRTIO_NET_HDR_F_NEEDS_CSUM
    if skb.gso_size and skb.csum_start >= 0:
        tcp = skb.csum_offset == _TCP_CSUM_AT
        gso_type = _GSO_UDP_L4 if not tcp else _GSO_TCPV4 if skb.protocol == 0x0800 else _GSO_TCPV6
        hdr_len = skb.csum_start + ((skb.data[skb.csum_start + 12] >> 4) * 4 if tcp else 8)
    head = bytes((flags, gso_type)) + hdr_len.to_bytes(2, "little") + (skb.gso_size if gso_type else 0).to_bytes(2, "little")
    start = max(skb.csum_start, 0)
    return (head + start.to_bytes(2, "little") + skb.csum_offset.to_bytes(2, "little")).ljust(size, b"\0")


def vnet_hdr_complete(head: bytes, frame: bytes, by_device: bool) -> bytes | None:
    """Compute the checksum that a sent frame's header asks for, unless the device leaves it; None when it cannot be there."""
    if not head[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM:
        return frame
    start = int.from_bytes(head[6:8], "little")
    at = start + int.from_bytes(head[8:10], "little")
    if start < _IP_HEADER_LEN or at + 2 > len(frame):
        return None
    if by_device:
        return frame
    check = csum_fold(ones_sum(frame[start:])) or 0xFFFF
    return frame[:at] + check.to_bytes(2, "big") + frame[at + 2 :]
