"""Time stamps of packets on their way out, SO_TIMESTAMPING (Linux: sock_tx_timestamp() and __skb_tstamp_tx() of net/core/skbuff.c).

A packet is marked where it is made; it reports when it reaches the queue of a device (SCHED) and when the driver takes it (SND). The twin's
devices have no clock, so that hardware stamps are never made."""

from __future__ import annotations

from twinsock.kernel.net.core.skbuff import SkBuff, SockExtendedErr
from twinsock.kernel.net.core.sock_mem import sock_queue_err_skb
from twinsock.uapi.errno import ENOMSG
from twinsock.uapi.errqueue import SO_EE_ORIGIN_TIMESTAMPING
from twinsock.uapi.if_ import ETH_P_IP, ETH_P_IPV6
from twinsock.uapi.net_tstamp import (
    SOF_TIMESTAMPING_OPT_ID,
    SOF_TIMESTAMPING_OPT_STATS,
    SOF_TIMESTAMPING_OPT_TSONLY,
    SOF_TIMESTAMPING_TX_HARDWARE,
    SOF_TIMESTAMPING_TX_SCHED,
    SOF_TIMESTAMPING_TX_SOFTWARE,
)
from twinsock.wire.ethernet import Ethhdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.sock import Sock

TX_SCHED: Final = 1
TX_SOFTWARE: Final = 2
_M32: Final = 0xFFFFFFFF


def sock_tx_timestamp(sk: Sock, skb: SkBuff, tsflags: int, ts_opt_id: int) -> None:
    """Mark a packet for the stamps that its sender wants; its key is the one named (`ts_opt_id`, -1: none) or the socket's next."""
    if tsflags & SOF_TIMESTAMPING_TX_SCHED:
        skb.tx_flags |= TX_SCHED
    if tsflags & SOF_TIMESTAMPING_TX_SOFTWARE:
        skb.tx_flags |= TX_SOFTWARE
    wanted = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_HARDWARE
    if tsflags & wanted and tsflags & SOF_TIMESTAMPING_OPT_ID:
        if ts_opt_id >= 0:
            skb.tskey = ts_opt_id
        else:
            skb.tskey = sk.sk_tskey
            sk.sk_tskey = (sk.sk_tskey + 1) & _M32


def skb_tstamp_tx(skb: SkBuff, kind: int) -> None:
    """Report a stamp of a marked packet to its sender: the packet from its link header on, or the stamp alone."""
    sk = skb.sk
    if sk is None:
        return
    if sk.sk_tsflags & SOF_TIMESTAMPING_OPT_TSONLY:
        queue_stamp(sk, SkBuff(), kind, skb.tskey)
        return
    note = SkBuff(_link_bytes(skb))
    note.dev = skb.dev
    note.nh4, note.nh6 = skb.nh4, skb.nh6
    note.truesize = skb.truesize
    queue_stamp(sk, note, kind, skb.tskey)


def queue_stamp(sk: Sock, note: SkBuff, kind: int, key: int, ttl: int = -1) -> None:
    """Put a stamp into the error queue of the sender, with numbers about its connection if it wants them."""
    stats = sk.sk_prot.timestamping_opt_stats(sk, ttl) if sk.sk_tsflags & SOF_TIMESTAMPING_OPT_STATS else b""
    if stats:
        note = SkBuff(stats)
    clock = sk.sk_net.kernel.clock
    note.tstamp_ns = clock.now_ns + clock.realtime_offset_ns
    note.ee = SockExtendedErr(ENOMSG, SO_EE_ORIGIN_TIMESTAMPING, 0, 0, kind, key)
    note.ee.opt_stats = bool(stats)
    sock_queue_err_skb(sk, note)


def _link_bytes(skb: SkBuff) -> bytes:
    data = skb.l3_bytes()
    dev = skb.dev
    if dev is None or not dev.has_link_addr():
        return data
    proto = ETH_P_IP if skb.nh4 is not None else ETH_P_IPV6 if skb.nh6 is not None else skb.protocol
    return Ethhdr(skb.mac_dest or bytes(6), skb.mac_source or bytes(6), proto if skb.mac_proto < 0 else skb.mac_proto).emit() + data
