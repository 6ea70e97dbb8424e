"""SYN cookies: a sequence number that remembers the SYN (Linux: net/ipv4/syncookies.c; RFC 4987 3.6; sheet 03, 3.4).

The number holds a keyed hash of the connection, a minute counter in its top byte and the index of an MSS class. The hash is
SipHash, the layout is Linux's; nobody but the host itself reads a cookie. Left out: BPF cookies."""

from __future__ import annotations

from twinsock.kernel.lib.siphash import siphash
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpRequestSock, TcpSkb
from twinsock.uapi.snmp import LINUX_MIB_SYNCOOKIESSENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

COOKIEBITS: Final = 24
COOKIEMASK: Final = (1 << COOKIEBITS) - 1
MAX_SYNCOOKIE_AGE: Final = 2
_MSSTAB4: Final[tuple[int, ...]] = (536, 1300, 1440, 1460)
_MSSTAB6: Final[tuple[int, ...]] = (1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60)
TSBITS: Final = 6
TSMASK: Final = (1 << TSBITS) - 1
TS_OPT_WSCALE_MASK: Final = 0xF
TS_OPT_SACK: Final = 0x10
TS_OPT_ECN: Final = 0x20


def _minute(net: Net) -> int:
    """Return the counter that ages cookies: one per 60 s."""
    return net.kernel.clock.jiffies() // (60 * net.kernel.clock.hz)


def _hash(net: Net, addrs: bytes, sport: int, dport: int, count: int, which: int) -> int:
    data = addrs + sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (count & M32).to_bytes(4, "big") + bytes((which,))
    return siphash(net.kernel.syncookie_secret, data) & M32


def _addrs(req: TcpRequestSock) -> bytes:
    if req.ir_v6:
        return req.sk_v6_daddr + req.sk_v6_rcv_saddr
    return req.sk_daddr.to_bytes(4, "big") + req.sk_rcv_saddr.to_bytes(4, "big")


def cookie_init_sequence(req: TcpRequestSock, skb: TcpSkb) -> int:
    """Return the cookie for a SYN; the request's MSS becomes the class that the cookie can hold."""
    net = req.sk_net
    table = _MSSTAB6 if req.ir_v6 else _MSSTAB4
    index = len(table) - 1
    while index and req.mss < table[index]:
        index -= 1
    req.mss = table[index]
    net.net_statistics[LINUX_MIB_SYNCOOKIESSENT] += 1
    count = _minute(net)
    addrs = _addrs(req)
    one = _hash(net, addrs, req.sk_dport, req.sk_num, 0, 0)
    two = _hash(net, addrs, req.sk_dport, req.sk_num, count, 1)
    return (one + skb.seq + (count << COOKIEBITS) + ((two + index) & COOKIEMASK)) & M32


def check_cookie(req: TcpRequestSock, cookie: int, sseq: int) -> int:
    """Return the MSS that a cookie stands for, 0 when it is none of ours or too old."""
    net = req.sk_net
    addrs = _addrs(req)
    one = _hash(net, addrs, req.sk_dport, req.sk_num, 0, 0)
    cookie = (cookie - one - sseq) & M32
    count = _minute(net)
    diff = (count - (cookie >> COOKIEBITS)) & (M32 >> COOKIEBITS)
    if diff >= MAX_SYNCOOKIE_AGE:
        return 0
    two = _hash(net, addrs, req.sk_dport, req.sk_num, count - diff, 1)
    index = (cookie - two) & COOKIEMASK
    table = _MSSTAB6 if req.ir_v6 else _MSSTAB4
    return table[index] if index < len(table) else 0


def cookie_timestamp_decode(net: Net, req: TcpRequestSock, tsecr: int, has_ts: bool) -> bool:
    """Read window scale, SACK and ECN from the echoed timestamp; false when they contradict the sysctls."""
    if not has_ts:
        return True
    if not net.ipv4.sysctl_tcp_timestamps:
        return False
    options = tsecr
    req.sack_ok = bool(options & TS_OPT_SACK)
    if req.sack_ok and not net.ipv4.sysctl_tcp_sack:
        return False
    req.tstamp_ok = True
    req.ecn_ok = bool(options & TS_OPT_ECN) and net.ipv4.sysctl_tcp_ecn != 0
    if options & TS_OPT_WSCALE_MASK == TS_OPT_WSCALE_MASK:
        return True
    req.wscale_ok = True
    req.snd_wscale = options & TS_OPT_WSCALE_MASK
    return bool(net.ipv4.sysctl_tcp_window_scaling)
