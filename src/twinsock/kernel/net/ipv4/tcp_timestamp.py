"""SO_TIMESTAMPING on TCP: when a byte was handed down, left, was acknowledged; receive stamps; TCP_INQ
(Linux: net/ipv4/tcp.c, net/core/skbuff.c, Documentation/networking/timestamping.rst)."""

from __future__ import annotations

from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock_cmsg import sock_recv_timestamp
from twinsock.kernel.net.core.tstamp import TX_SCHED, TX_SOFTWARE, queue_stamp
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpSkb, TcpSock
from twinsock.uapi.errqueue import SCM_TSTAMP_ACK
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
    from twinsock.kernel.net.core.net import Msghdr


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


def tcp_tx_stamps(sk: TcpSock, skb: TcpSkb, nskb: SkBuff) -> None:
    """A marked segment is sent: the packet that carries it reports on its way."""
    nskb.tx_flags = skb.tx_flags
    nskb.tskey = _key(sk, skb)


def tcp_ack_tstamp(sk: TcpSock, skb: TcpSkb, ack_skb: TcpSkb) -> None:
    """Report that the peer acknowledged a marked byte."""
    if skb.txstamp_ack and (sk.snd_una - 1 - skb.tskey) & M32 <= 0x7FFFFFFF:
        alone = sk.sk_tsflags & SOF_TIMESTAMPING_OPT_TSONLY
        queue_stamp(sk, SkBuff() if alone else SkBuff(skb.data, skb.offset, skb.len), SCM_TSTAMP_ACK, _key(sk, skb), _ttl(ack_skb))
        skb.txstamp_ack = False


def _ttl(skb: TcpSkb) -> int:
    if skb.nh4 is not None:
        return skb.nh4.ttl
    return 0 if skb.nh6 is None else skb.nh6.hop_limit


def _key(sk: TcpSock, skb: TcpSkb) -> int:
    return (skb.tskey - sk.sk_tskey) & M32 if sk.sk_tsflags & SOF_TIMESTAMPING_OPT_ID else 0


def tcp_recv_cmsgs(sk: TcpSock, msg: Msghdr, skb: TcpSkb | None, inq: int) -> None:
    """Give the receiver the time of the last segment it read, and the unread bytes (TCP_INQ)."""
    if skb is not None:
        sock_recv_timestamp(msg, sk, skb)
    if inq >= 0:
        msg.put_cmsg(SOL_TCP, TCP_CM_INQ, inq.to_bytes(4, "little"))
