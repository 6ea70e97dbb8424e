"""TIME_WAIT and FIN_WAIT2 mini-sockets (Linux: net/ipv4/tcp_minisocks.c, inet_timewait_sock.c; RFC 9293 3.10.7.4, RFC 6191)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.net.ipv4.inet_hashtables import (
    inet_ehash_del,
    inet_ehash_insert,
    inet_twsk_bind_unhash,
    inet_twsk_inherit_port,
)
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_TRANSPARENT
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.kernel.net.ipv4.tcp_output import tcp_receive_window
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpSkb, TcpSock, after, before, sdiff
from twinsock.kernel.net.ipv4.tcp_state import BOOT_NS, tcp_done
from twinsock.kernel.time.timer import NO_TIMER, Timer
from twinsock.uapi.snmp import (
    LINUX_MIB_PAWSTIMEWAIT,
    LINUX_MIB_TCPACKSKIPPEDFINWAIT2,
    LINUX_MIB_TCPACKSKIPPEDTIMEWAIT,
    LINUX_MIB_TCPTIMEWAITOVERFLOW,
    LINUX_MIB_TIMEWAITED,
    LINUX_MIB_TIMEWAITKILLED,
)
from twinsock.uapi.tcp import TCP_FIN_WAIT2, TCP_TIME_WAIT
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_FIN, TCPHDR_RST, TCPHDR_SYN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_TIMEWAIT_LEN_S: Final = 60

TCP_TW_SUCCESS: Final = 0
TCP_TW_RST: Final = 1
TCP_TW_ACK: Final = 2
TCP_TW_SYN: Final = 3


class TcpTimewaitSock(InetTimewaitSock):
    """`struct tcp_timewait_sock`: enough of a connection to answer for it."""

    def __init__(self, sk: TcpSock) -> None:
        super().__init__(sk.sk_net, sk.sk_family)
        self.sk_prot = sk.sk_prot
        self.sk_reuse = sk.sk_reuse
        self.sk_reuseport = sk.sk_reuseport
        self.sk_ipv6only = sk.sk_ipv6only
        self.sk_bound_dev_if = sk.sk_bound_dev_if
        self.sk_daddr = sk.sk_daddr
        self.sk_rcv_saddr = sk.sk_rcv_saddr
        self.sk_dport = sk.sk_dport
        self.sk_num = sk.sk_num
        self.sk_v6_daddr = sk.sk_v6_daddr
        self.sk_v6_rcv_saddr = sk.sk_v6_rcv_saddr
        self.tw_rcv_wscale = sk.rx_opt.rcv_wscale
        self.tw_rcv_nxt = sk.rcv_nxt
        self.tw_snd_nxt = sk.snd_nxt
        self.tw_rcv_wnd = tcp_receive_window(sk)
        self.tw_ts_recent = sk.rx_opt.ts_recent
        self.tw_ts_recent_stamp = sk.rx_opt.ts_recent_stamp if sk.rx_opt.tstamp_ok else 0
        self.tw_ts_offset = sk.tsoffset
        self.tw_last_oow_ack_time = 0
        self.tw_mark = sk.sk_mark
        self.tw_tos = sk.tos
        self.tw_priority = sk.sk_priority
        self.tw_transparent = sk.inet_test_bit(INET_FLAGS_TRANSPARENT)
        self.tw_timer: Timer = _TwTimer(self)

    def twsk_unique(self, sk: SockCommon, automatic: bool) -> bool:
        """Tell whether a new connection may take the place; it then starts above the old one's sequence space, RFC 6191."""
        if not super().twsk_unique(sk, automatic):
            return False
        if isinstance(sk, TcpSock):
            sk.write_seq = (self.tw_snd_nxt + 65535 + 2) & M32 or 1
            sk.rx_opt.ts_recent = self.tw_ts_recent
            sk.rx_opt.ts_recent_stamp = self.tw_ts_recent_stamp
        return True

    def deschedule(self) -> None:
        """Stop the timer of a mini-socket whose place was taken."""
        self.sk_net.kernel.clock.timer_shutdown(self.tw_timer)
        self.tw_timer = NO_TIMER
        self.sk_net.ipv4.tw_count -= 1

    def schedule(self, ticks: int) -> None:
        """Let it live for `ticks` from now."""
        clock = self.sk_net.kernel.clock
        clock.mod_timer(self.tw_timer, clock.jiffies() + ticks)

    def tsval(self) -> int:
        """Return the value for the timestamp option."""
        return ((self.sk_net.kernel.clock.now_ns + BOOT_NS) // 1_000_000 + self.tw_ts_offset) & M32


class _TwTimer(Timer):
    def __init__(self, tw: TcpTimewaitSock) -> None:
        super().__init__()
        self.tw = tw

    def fire(self) -> None:
        """Its time is over (tw_timer_handler)."""
        inet_twsk_kill(self.tw)


def inet_twsk_kill(tw: TcpTimewaitSock) -> None:
    """Remove a mini-socket from all tables."""
    if inet_ehash_del(tw):
        inet_twsk_bind_unhash(tw)
        tw.deschedule()


def tcp_time_wait(sk: TcpSock, state: int, timeo: int) -> None:
    """Replace a connection by a mini-socket in `state` (TIME_WAIT, or FIN_WAIT2 for `timeo` ticks)."""
    net = sk.sk_net
    hz = net.kernel.clock.hz
    if net.ipv4.tw_count < net.ipv4.sysctl_max_tw_buckets:
        net.ipv4.tw_count += 1
        tw = TcpTimewaitSock(sk)
        tw.tw_substate = state
        tw.tw_entry_ns = net.kernel.clock.now_ns
        inet_twsk_inherit_port(sk, tw)
        inet_ehash_insert(tw)
        if inet_ehash_del(sk):
            net.sock_prot_inuse_add(sk.sk_prot, -1)
        timeo = max(timeo, (sk.icsk_rto << 2) - (sk.icsk_rto >> 1))
        if state == TCP_TIME_WAIT:
            timeo = TCP_TIMEWAIT_LEN_S * hz
        net.net_statistics[LINUX_MIB_TIMEWAITKILLED if timeo <= 4 * hz else LINUX_MIB_TIMEWAITED] += 1
        tw.schedule(timeo)
    else:
        net.net_statistics[LINUX_MIB_TCPTIMEWAITOVERFLOW] += 1
    tcp_done(sk)


def tcp_in_window(seq: int, end_seq: int, s_win: int, e_win: int) -> bool:
    """Tell whether a segment touches the window [s_win, e_win)."""
    if seq == s_win:
        return True
    if after(end_seq, s_win) and before(seq, e_win):
        return True
    return seq == e_win and seq == end_seq


def paws_reject(ts_recent: int, ts_recent_stamp: int, rcv_tsval: int, now_s: int, rst: bool) -> bool:
    """Tell whether a segment of a connection without socket is too old, RFC 7323 5."""
    if sdiff(ts_recent, rcv_tsval) <= 0 or now_s >= ts_recent_stamp + 24 * 86400 or not ts_recent:
        return False
    # a RST must not be refused for a clock that restarted
    return not (rst and now_s >= ts_recent_stamp + 60)


def _oow_rate_limit(tw: TcpTimewaitSock, skb: TcpSkb, mib: int) -> int:
    net = tw.sk_net
    now = net.kernel.clock.jiffies()
    if skb.seq == skb.end_seq or skb.tcp_flags & TCPHDR_SYN:
        last = tw.tw_last_oow_ack_time
        if last and now - last < net.ipv4.sysctl_tcp_invalid_ratelimit:
            net.net_statistics[mib] += 1
            return TCP_TW_SUCCESS
        tw.tw_last_oow_ack_time = now
    return TCP_TW_ACK


def tcp_timewait_state_process(tw: TcpTimewaitSock, skb: TcpSkb) -> tuple[int, int, str]:
    """Judge a segment for a mini-socket: (TCP_TW_*, initial sequence number for TCP_TW_SYN, why the segment is dropped)."""
    th = skb.th
    assert th is not None
    net = tw.sk_net
    now_s = net.kernel.clock.now_ns // 1_000_000_000 + 300
    saw_ts = th.ts and tw.tw_ts_recent_stamp != 0
    rst = bool(th.flags & TCPHDR_RST)
    reject = saw_ts and paws_reject(tw.tw_ts_recent, tw.tw_ts_recent_stamp, th.tsval, now_s, rst)
    reason = dropreason.TCP_RFC7323_TW_PAWS if reject else dropreason.NOT_SPECIFIED
    hz = net.kernel.clock.hz
    if tw.tw_substate == TCP_FIN_WAIT2:
        return _in_fin_wait2(tw, skb, reject, saw_ts, now_s), 0, reason
    if not reject and skb.seq == tw.tw_rcv_nxt and (skb.seq == skb.end_seq or rst):
        if rst:
            if not net.ipv4.sysctl_tcp_rfc1337:
                inet_twsk_kill(tw)
                return TCP_TW_SUCCESS, 0, reason
        else:
            tw.schedule(TCP_TIMEWAIT_LEN_S * hz)
        if saw_ts:
            tw.tw_ts_recent = th.tsval
            tw.tw_ts_recent_stamp = now_s
        return TCP_TW_SUCCESS, 0, reason
    if th.flags & (TCPHDR_SYN | TCPHDR_RST | TCPHDR_ACK) == TCPHDR_SYN and not reject:
        if after(skb.seq, tw.tw_rcv_nxt) or (saw_ts and sdiff(tw.tw_ts_recent, th.tsval) < 0):
            return TCP_TW_SYN, (tw.tw_snd_nxt + 65535 + 2) & M32 or 1, ""
    if reject:
        net.net_statistics[LINUX_MIB_PAWSTIMEWAIT] += 1
    if rst:
        return TCP_TW_SUCCESS, 0, reason
    if reject or th.flags & TCPHDR_ACK:
        tw.schedule(TCP_TIMEWAIT_LEN_S * hz)
    return _oow_rate_limit(tw, skb, LINUX_MIB_TCPACKSKIPPEDTIMEWAIT), 0, reason


def _in_fin_wait2(tw: TcpTimewaitSock, skb: TcpSkb, reject: bool, saw_ts: bool, now_s: int) -> int:
    th = skb.th
    assert th is not None
    if reject or not tcp_in_window(skb.seq, skb.end_seq, tw.tw_rcv_nxt, (tw.tw_rcv_nxt + tw.tw_rcv_wnd) & M32):
        return _oow_rate_limit(tw, skb, LINUX_MIB_TCPACKSKIPPEDFINWAIT2)
    if th.flags & TCPHDR_RST:
        inet_twsk_kill(tw)
        return TCP_TW_SUCCESS
    if th.flags & TCPHDR_SYN and not before(skb.seq, tw.tw_rcv_nxt):
        return TCP_TW_RST
    if not th.flags & TCPHDR_ACK or not after(skb.end_seq, tw.tw_rcv_nxt) or skb.end_seq == skb.seq:
        return TCP_TW_SUCCESS
    if not th.flags & TCPHDR_FIN or skb.end_seq != (tw.tw_rcv_nxt + 1) & M32:
        return TCP_TW_RST
    tw.tw_substate = TCP_TIME_WAIT
    tw.tw_rcv_nxt = skb.end_seq
    if saw_ts:
        tw.tw_entry_ns = tw.sk_net.kernel.clock.now_ns
        tw.tw_ts_recent = th.tsval
        tw.tw_ts_recent_stamp = now_s
    tw.schedule(TCP_TIMEWAIT_LEN_S * tw.sk_net.kernel.clock.hz)
    return TCP_TW_ACK
