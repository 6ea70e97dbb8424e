"""SO_TIMESTAMPING on TCP: when a byte was handed down, left, was acknowledged; receive stamps; TCP_INQ
(Linux: net/ipv4/tcp.c, net/core/skbuff.c, Documentation/networking/timestamping.rst)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.skbuff import SkBuff, SockExtendedErr
from twinsock.kernel.net.core.sock_cmsg import ktime_get_real, sock_recv_timestamp
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpSkb, TcpSock
from twinsock.uapi.errno import ENOMSG
from twinsock.uapi.errqueue import SCM_TSTAMP_ACK, SCM_TSTAMP_SCHED, SCM_TSTAMP_SND, SO_EE_ORIGIN_TIMESTAMPING
from twinsock.uapi.net_tstamp import (
    SOF_TIMESTAMPING_OPT_ID,
    SOF_TIMESTAMPING_OPT_TSONLY,
    SOF_TIMESTAMPING_TX_ACK,
    SOF_TIMESTAMPING_TX_RECORD_MASK,
    SOF_TIMESTAMPING_TX_SCHED,
    SOF_TIMESTAMPING_TX_SOFTWARE,
)
from twinsock.uapi.socket import SOL_TCP
from twinsock.uapi.tcp import TCP_CM_INQ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net import Msghdr

TX_SCHED: Final = 1
TX_SOFTWARE: Final = 2


def tcp_tx_timestamp(sk: TcpSock, tsflags: int) -> None:
    """Mark the last byte of a call for the stamps that its sender wants."""
    skb = sk.sk_write_queue.tail
    if skb is None or not tsflags & SOF_TIMESTAMPING_TX_RECORD_MASK:
        return
    if tsflags & SOF_TIMESTAMPING_TX_SCHED:
        skb.tx_flags |= TX_SCHED
    if tsflags & SOF_TIMESTAMPING_TX_SOFTWARE:
        skb.tx_flags |= TX_SOFTWARE
    if tsflags & SOF_TIMESTAMPING_TX_ACK:
        skb.txstamp_ack = True
    skb.tskey = (skb.seq + skb.len - 1) & M32


def tcp_tx_stamps(sk: TcpSock, skb: TcpSkb) -> None:
    """A marked segment is handed to IP: report that it was scheduled and, the twin's devices being instant, sent."""
    if skb.tx_flags & TX_SCHED:
        _report(sk, skb, SCM_TSTAMP_SCHED)
    if skb.tx_flags & TX_SOFTWARE:
        _report(sk, skb, SCM_TSTAMP_SND)


def tcp_ack_tstamp(sk: TcpSock, skb: TcpSkb) -> None:
    """Report that the peer acknowledged a marked byte."""
    if skb.txstamp_ack and (sk.snd_una - 1 - skb.tskey) & M32 <= 0x7FFFFFFF:
        _report(sk, skb, SCM_TSTAMP_ACK)
        skb.txstamp_ack = False


def _report(sk: TcpSock, skb: TcpSkb, kind: int) -> None:
    key = 0
    if sk.sk_tsflags & SOF_TIMESTAMPING_OPT_ID:
        key = (skb.tskey - sk.sk_tskey) & M32
    note = SkBuff() if sk.sk_tsflags & SOF_TIMESTAMPING_OPT_TSONLY else SkBuff(skb.data, skb.offset, skb.len)
    note.tstamp_ns = ktime_get_real(sk)
    note.ee = SockExtendedErr(ENOMSG, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, kind, key)
    if sk.sk_error_queue is None:
        sk.sk_error_queue = deque()
    sk.sk_error_queue.append(note)
    sk.sk_error_report()


def tcp_recv_cmsgs(sk: TcpSock, msg: Msghdr, skb: TcpSkb | None, inq: int) -> None:
    """Give the receiver the time of the last segment it read, and the unread bytes (TCP_INQ)."""
    if skb is not None:
        sock_recv_timestamp(msg, sk, skb)
    if inq >= 0:
        msg.put_cmsg(SOL_TCP, TCP_CM_INQ, inq.to_bytes(4, "little"))
