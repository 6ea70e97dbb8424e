"""UDP segmentation and its receiving counterpart, UDP_SEGMENT and UDP_GRO of udp(7) (Linux: net/ipv4/udp_offload.c and the option
parts of udp.c).

A packet with `gso_size` stays whole on the loopback device and is cut where it is delivered, unless the receiver asked for UDP_GRO."""

from __future__ import annotations

from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.scm import for_each_cmsghdr
from twinsock.kernel.net.core.skbuff import SkBuff, skb_clone, skb_head_truesize
from twinsock.uapi.errno import EINVAL, EIO, EMSGSIZE
from twinsock.uapi.in_ import IPPROTO_UDP
from twinsock.uapi.udp import UDP_SEGMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.ipv4.ip_output import IpcmCookie

UDP_MAX_SEGMENTS: Final = 128


def udp_cmsg_send(msg: Msghdr, ipc: IpcmCookie) -> tuple[int, bool]:
    """Read the messages of level IPPROTO_UDP: (0 or -EINVAL, whether there are others)."""
    bad, cmsgs = for_each_cmsghdr(msg.control)
    others = False
    for cmsg in cmsgs:
        if cmsg.level != IPPROTO_UDP:
            others = True
        elif cmsg.type != UDP_SEGMENT or len(cmsg.data) != 2:
            return -EINVAL, others
        else:
            ipc.gso_size = int.from_bytes(cmsg.data, "little")
    return bad, others


def udp_check_gso(skb: SkBuff, header_len: int, fragsize: int, no_check: bool, lite: bool) -> int:
    """Tell whether a datagram may be segmented: 0 or -errno. One that fits into a segment needs none."""
    size = skb.gso_size
    if header_len + min(skb.len, size) > fragsize:
        return -EMSGSIZE
    if skb.len > size * UDP_MAX_SEGMENTS or no_check:
        return -EINVAL
    if lite:
        return -EIO
    if skb.len <= size:
        skb.gso_size = 0
        skb.gso_segs = 0
    return 0


def udp_rcv_segment(skb: SkBuff) -> list[SkBuff]:
    """Cut a packet into its segments, for a receiver that takes datagrams one by one."""
    size = skb.gso_size
    segments: list[SkBuff] = []
    at = 0
    while at < skb.len:
        piece = skb_clone(skb)
        piece.offset = skb.offset + at
        piece.len = min(size, skb.len - at)
        piece.gso_size = 0
        piece.gso_segs = 0
        piece.truesize = skb_head_truesize(28 + 31) + piece.len  # headers in the head, data in a page
        piece.ipi_ifindex = skb.ipi_ifindex
        segments.append(piece)
        at += size
    return segments
