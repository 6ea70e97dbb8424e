"""Control messages that any family may take or give: marks, priorities, drops, time stamps, the error queue (Linux: net/socket.c
sock_recv_cmsgs() and __sock_recv_timestamp(), net/core/sock.c __sock_cmsg_send(), sock_recv_errqueue()).

Time stamps are CLOCK_REALTIME of the simulated host. Left out: hardware stamps, SCM_TIMESTAMPING_PKTINFO."""

from __future__ import annotations

from twinsock.kernel.net.core.net import Msghdr
from twinsock.kernel.net.core.scm import Cmsghdr
from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb
from twinsock.kernel.net.core.sock import (
    SOCK_RCVMARK,
    SOCK_RCVPRIORITY,
    SOCK_RCVTSTAMP,
    SOCK_RCVTSTAMPNS,
    SOCK_RXQ_OVFL,
    SOCK_TSTAMP_NEW,
    SOCK_TXTIME,
    Sock,
)
from twinsock.kernel.net.core.sock_mem import sock_dequeue_err_skb
from twinsock.uapi import socket as so
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_RAW
from twinsock.uapi.errno import EAGAIN, EINVAL, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SOF_TX_RECORD_MASK: Final = 0x303 | 1 << 18
_SOF_SOFTWARE: Final = 1 << 4
_SOF_RX_SOFTWARE: Final = 1 << 3
_SOF_OPT_ID: Final = 1 << 7
_SOF_OPT_RX_FILTER: Final = 1 << 17


class SockcmCookie:
    """`struct sockcm_cookie`: what control messages ask of one packet."""

    def __init__(self, sk: Sock) -> None:
        self.mark = sk.sk_mark
        self.priority = sk.sk_priority
        self.tsflags = sk.sk_tsflags
        self.transmit_time = 0
        self.ts_opt_id = -1


def sock_cmsg_send(task: Task, sk: Sock, cmsgs: list[Cmsghdr], sockc: SockcmCookie) -> int:
    """Read the SOL_SOCKET messages of a packet to send: 0 or -errno."""
    for cmsg in cmsgs:
        if cmsg.level != so.SOL_SOCKET:
            continue
        err = __sock_cmsg_send(task, sk, cmsg, sockc)
        if err:
            return err
    return 0


def __sock_cmsg_send(task: Task, sk: Sock, cmsg: Cmsghdr, sockc: SockcmCookie) -> int:
    data = cmsg.data
    value = int.from_bytes(data[:4], "little")
    user_ns = sk.sk_net.user_ns
    privileged = task.ns_capable(user_ns, CAP_NET_RAW) or task.ns_capable(user_ns, CAP_NET_ADMIN)
    if cmsg.type == so.SO_MARK:
        if not privileged:
            return -EPERM
        if len(data) != 4:
            return -EINVAL
        sockc.mark = value
    elif cmsg.type in (so.SO_TIMESTAMPING_OLD, so.SO_TIMESTAMPING_NEW):
        if len(data) != 4 or value & ~SOF_TX_RECORD_MASK:
            return -EINVAL
        sockc.tsflags = (sockc.tsflags & ~SOF_TX_RECORD_MASK) | value
    elif cmsg.type == so.SCM_TXTIME:
        if not sk.sock_flag(SOCK_TXTIME) or len(data) != 8:
            return -EINVAL
        sockc.transmit_time = int.from_bytes(data, "little") & (1 << 62) - 1
    elif cmsg.type == so.SCM_TS_OPT_ID:
        if sk.sk_type == so.SOCK_STREAM or len(data) != 4 or not sk.sk_tsflags & _SOF_OPT_ID:
            return -EINVAL
        sockc.ts_opt_id = value
    elif cmsg.type == so.SO_PRIORITY:
        if len(data) != 4:
            return -EINVAL
        if value > 6 and not privileged:
            return -EPERM
        sockc.priority = value
    elif cmsg.type not in (so.SCM_RIGHTS, so.SCM_CREDENTIALS):
        return -EINVAL
    return 0


def ktime_get_real(sk: Sock) -> int:
    """Return the wall clock in ns."""
    clock = sk.sk_net.kernel.clock
    return clock.now_ns + clock.realtime_offset_ns


def _timespec(ns: int) -> bytes:
    return (ns // 1_000_000_000).to_bytes(8, "little") + (ns % 1_000_000_000).to_bytes(8, "little")


def sock_recv_cmsgs(msg: Msghdr, sk: Sock, skb: SkBuff) -> None:
    """Give the receiver what it asked to know of a packet."""
    sock_recv_timestamp(msg, sk, skb)
    if sk.sock_flag(SOCK_RXQ_OVFL) and skb.dropcount:
        msg.put_cmsg(so.SOL_SOCKET, so.SO_RXQ_OVFL, skb.dropcount.to_bytes(4, "little"))
    if sk.sock_flag(SOCK_RCVMARK):
        msg.put_cmsg(so.SOL_SOCKET, so.SO_MARK, skb.mark.to_bytes(4, "little"))
    if sk.sock_flag(SOCK_RCVPRIORITY):
        msg.put_cmsg(so.SOL_SOCKET, so.SO_PRIORITY, skb.priority.to_bytes(4, "little"))


def sock_recv_timestamp(msg: Msghdr, sk: Sock, skb: SkBuff) -> None:
    """Report when the packet came, or remember it for SIOCGSTAMP."""
    wants = sk.sock_flag(SOCK_RCVTSTAMP)
    if wants or (sk.sk_tsflags & _SOF_SOFTWARE and (sk.sk_tsflags & _SOF_RX_SOFTWARE or skb.ee is not None)):
        __sock_recv_timestamp(msg, sk, skb)
    elif sk.sock_flag(7):
        sk.sk_stamp_ns = skb.tstamp_ns


def __sock_recv_timestamp(msg: Msghdr, sk: Sock, skb: SkBuff) -> None:
    new = sk.sock_flag(SOCK_TSTAMP_NEW)
    if sk.sock_flag(SOCK_RCVTSTAMP):
        if skb.tstamp_ns == 0:
            skb.tstamp_ns = ktime_get_real(sk)
        stamp = skb.tstamp_ns
        if sk.sock_flag(SOCK_RCVTSTAMPNS):
            msg.put_cmsg(so.SOL_SOCKET, so.SO_TIMESTAMPNS_NEW if new else so.SCM_TIMESTAMPNS, _timespec(stamp))
        else:
            data = (stamp // 1_000_000_000).to_bytes(8, "little") + (stamp % 1_000_000_000 // 1000).to_bytes(8, "little")
            msg.put_cmsg(so.SOL_SOCKET, so.SO_TIMESTAMP_NEW if new else so.SCM_TIMESTAMP, data)
    flags = sk.sk_tsflags
    if flags & _SOF_SOFTWARE and skb.tstamp_ns:
        if flags & _SOF_RX_SOFTWARE or skb.ee is not None or not flags & _SOF_OPT_RX_FILTER:
            type_ = so.SO_TIMESTAMPING_NEW if new else so.SCM_TIMESTAMPING
            msg.put_cmsg(so.SOL_SOCKET, type_, _timespec(skb.tstamp_ns) + bytes(32))
            if skb.ee is not None and skb.ee.opt_stats:
                msg.put_cmsg(so.SOL_SOCKET, so.SCM_TIMESTAMPING_OPT_STATS, skb.payload())


def sock_recv_errqueue(sk: Sock, msg: Msghdr, level: int, type_: int) -> int:
    """Receive from the error queue, recvmsg(2) with MSG_ERRQUEUE: bytes or -EAGAIN."""
    skb = sock_dequeue_err_skb(sk)
    if skb is None:
        return -EAGAIN
    copied = min(skb.len, msg.size)
    if copied < skb.len:
        msg.out_flags |= so.MSG_TRUNC
    msg.chunks.append(skb.payload()[:copied])
    sock_recv_timestamp(msg, sk, skb)
    if skb.ee is not None:
        msg.put_cmsg(level, type_, skb.ee.pack())
    msg.out_flags |= so.MSG_ERRQUEUE
    kfree_skb(skb)
    return copied
