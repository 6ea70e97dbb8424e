"""Groups of packet sockets that share the frames of a device, PACKET_FANOUT of packet(7) (Linux: net/packet/af_packet.c).

The hash is the twin's own (D-packet-3): a flow stays with one member, which one differs from Linux. eBPF is left out."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice
from twinsock.kernel.net.core.filter import SkFilter, bpf_check_classic, bpf_prog_run, parse_insns
from twinsock.kernel.net.core.protocol import PacketTap
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import SOCK_FILTER_LOCKED
from twinsock.kernel.net.packet.packet_sock import PacketSock, frame_bytes, hook_add, hook_remove, hook_wants, packet_rcv
from twinsock.uapi import if_packet as pkt
from twinsock.uapi.errno import EALREADY, EFAULT, EINVAL, ENOMEM, ENOSPC, EPERM
from twinsock.uapi.filter import BPF_MAXINSNS
from twinsock.wire.l4 import ones_sum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_MAX_DEFAULT: Final = 256
_MAX: Final = 1 << 16
_TYPE_MASK: Final = 0xFF
_FPROG_SIZE: Final = 16


class PacketFanout(PacketTap):
    """`struct packet_fanout`."""

    def __init__(self, po: PacketSock, id_: int, type_: int, flags: int, limit: int) -> None:
        self.net = po.sk_net
        self.dev = po.dev
        self.num = po.num
        self.id = id_
        self.type = type_
        self.flags = flags  # of PACKET_FANOUT_FLAG_*, shifted as in the option
        self.limit = limit
        self.members = 0  # sockets that joined, running or not
        self.arr: list[PacketSock] = []
        self.next = 0  # whose turn it is, PACKET_FANOUT_LB
        self.prog: SkFilter | None = None
        self.rolled: dict[int, int] = {}  # frames that other members took over, by inode

    def word(self) -> int:
        """Return what the option reads."""
        return self.id | self.type << 16 | (self.flags >> 8) << 24

    def rolls_over(self) -> bool:
        """Tell whether members count what they pass on."""
        return self.type == pkt.PACKET_FANOUT_ROLLOVER or bool(self.flags & pkt.PACKET_FANOUT_FLAG_ROLLOVER)

    def rollover_stats(self, po: PacketSock) -> bytes:
        """Return `struct tpacket_rollover_stats`: all, huge, failed."""
        return self.rolled.get(po.sock_i_ino(), 0).to_bytes(8, "little") + bytes(16)

    def link(self, po: PacketSock) -> None:
        """Let a member take part; the first one starts the group."""
        self.arr.append(po)
        if len(self.arr) == 1:
            hook_add(self.net, self.dev, self)

    def unlink(self, po: PacketSock) -> None:
        """Let a member rest; the last one takes its place."""
        at = self.arr.index(po)
        self.arr[at] = self.arr[-1]
        self.arr.pop()
        if not self.arr:
            hook_remove(self.net, self.dev, self)

    def deliver(self, skb: SkBuff, dev: NetDevice, outgoing: bool) -> None:
        """Give a frame to one member (packet_rcv_fanout)."""
        if not hook_wants(self.arr[0], skb, outgoing):
            return
        if outgoing and isinstance(skb.sk, PacketSock) and skb.sk.fanout is self:
            return
        at = self.demux(skb, dev)
        if self.rolls_over():
            at = self.rollover(at, skb.truesize, self.type != pkt.PACKET_FANOUT_ROLLOVER)
        packet_rcv(self.arr[at], skb, dev, outgoing)

    def demux(self, skb: SkBuff, dev: NetDevice) -> int:
        """Choose a member."""
        count = len(self.arr)
        if self.type == pkt.PACKET_FANOUT_LB:
            self.next += 1
            return self.next % count
        if self.type == pkt.PACKET_FANOUT_CPU:
            return self.net.kernel.cpu % count
        if self.type == pkt.PACKET_FANOUT_RND:
            return self.net.kernel.prng.below(count)
        if self.type == pkt.PACKET_FANOUT_HASH:
            return flow_hash(skb) % count
        if self.type == pkt.PACKET_FANOUT_CBPF and self.prog is not None:
            frame = frame_bytes(skb, dev)[0]
            start = 14 if dev.has_link_addr() else 0
            return bpf_prog_run(self.prog, skb, frame[start:], frame, start) % count
        return 0

    def rollover(self, at: int, truesize: int, try_self: bool) -> int:
        """Find a member with room, from the chosen one on."""
        count = len(self.arr)
        chosen = self.arr[at]
        if has_room(chosen, truesize) or (count == 1 and try_self):
            return at
        for step in range(1, count):
            other = (at + step) % count
            if has_room(self.arr[other], truesize):
                ino = chosen.sock_i_ino()
                self.rolled[ino] = self.rolled.get(ino, 0) + 1
                return other
        return at


def has_room(po: PacketSock, truesize: int) -> bool:
    """Tell whether the receive queue takes another frame."""
    return po.sk_rmem_alloc + truesize < po.sk_rcvbuf


def flow_hash(skb: SkBuff) -> int:
    """Return a number that all packets of a flow share, in both directions."""
    size = skb.transport()
    ports = ones_sum(skb.l4_bytes()[:4]) if size in (6, 17, 132, 136) else 0
    if skb.nh4 is not None:
        return ports + skb.nh4.saddr + skb.nh4.daddr + size
    if skb.nh6 is not None:
        return ports + ones_sum(skb.nh6.saddr) + ones_sum(skb.nh6.daddr) + size
    return skb.protocol


def fanout_add(po: PacketSock, id_: int, type_flags: int, limit: int) -> int:
    """Join a group, or make it: 0 or -errno."""
    type_ = type_flags & _TYPE_MASK
    flags = type_flags & 0xFF00
    if type_ == pkt.PACKET_FANOUT_ROLLOVER:
        if flags & pkt.PACKET_FANOUT_FLAG_ROLLOVER:
            return -EINVAL
    elif type_ > pkt.PACKET_FANOUT_EBPF:
        return -EINVAL
    if po.fanout is not None:
        return -EALREADY
    groups = po.fanouts.groups
    if flags & pkt.PACKET_FANOUT_FLAG_UNIQUEID:
        if id_:
            return -EINVAL
        id_ = _new_id(po)
        if id_ < 0:
            return -ENOMEM
        flags &= ~pkt.PACKET_FANOUT_FLAG_UNIQUEID
    match = None
    for group in groups:
        if group.id == id_ and group.net is po.sk_net:
            match = group
    if match is None:
        if limit > _MAX:
            return -EINVAL
    elif match.flags != flags or (limit and match.limit != limit):
        return -EINVAL
    if not po.running or (match is not None and (match.type != type_ or match.num != po.num or match.dev is not po.dev)):
        return -EINVAL
    if match is None:
        match = PacketFanout(po, id_, type_, flags, limit or _MAX_DEFAULT)
        groups.insert(0, match)
    if match.members >= match.limit:
        return -ENOSPC
    hook_remove(po.sk_net, po.dev, po.hook)
    po.fanout = match
    match.members += 1
    match.link(po)
    return 0


def _new_id(po: PacketSock) -> int:
    table = po.fanouts
    taken = [group.id for group in table.groups if group.net is po.sk_net]
    for _ in range(1 << 16):
        id_ = table.next_id
        table.next_id = (id_ + 1) & 0xFFFF
        if id_ not in taken:
            return id_
    return -1


def fanout_release(po: PacketSock) -> None:
    """Leave the group; without members it is gone."""
    group = po.fanout
    po.fanout = None
    if group is not None:
        group.members -= 1
        if not group.members:
            po.fanouts.groups.remove(group)


def fanout_set_data(task: Task, po: PacketSock, optval: bytes | None, optlen: int) -> int:
    """PACKET_FANOUT_DATA: give the group its classic BPF program: 0 or -errno."""
    group = po.fanout
    if group is None or group.type not in (pkt.PACKET_FANOUT_CBPF, pkt.PACKET_FANOUT_EBPF):
        return -EINVAL
    if po.sock_flag(SOCK_FILTER_LOCKED):
        return -EPERM
    if group.type == pkt.PACKET_FANOUT_EBPF or optlen != _FPROG_SIZE:
        return -EINVAL
    if optval is None:
        return -EFAULT
    count = int.from_bytes(optval[:2], "little")
    if count == 0 or count > BPF_MAXINSNS:
        return -EINVAL
    raw = task.copy_from_user(int.from_bytes(optval[8:16], "little"), count * 8)
    if raw is None:
        return -EFAULT
    insns = parse_insns(raw)
    err = bpf_check_classic(insns)
    if not err:
        group.prog = SkFilter(insns, raw)
    return err
