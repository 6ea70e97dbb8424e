"""Building and sending segments: windows, MSS, Nagle, TSO sizing, the send loop (Linux: net/ipv4/tcp_output.c).

RFC 9293 3.7, 3.8.6, RFC 7323, RFC 1122 4.2.3.4. Retransmission is in tcp_retransmit.py; SYN, FIN, RST and bare
acknowledgements are in tcp_control.py; left out: TCP small queues (D-tcp-1)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_NOMEM,
    ICSK_TIME_LOSS_PROBE,
    inet_csk_ack_scheduled,
    inet_csk_clear_delack_timer,
)
from twinsock.kernel.net.ipv4.tcp_cong import (
    CA_EVENT_CWND_RESTART,
    CA_EVENT_TX_START,
    tcp_ca_event,
    tcp_current_ssthresh,
    tcp_ecn_send,
    tcp_enter_cwr,
    tcp_in_cwnd_reduction,
    tcp_is_cwnd_limited,
)
from twinsock.kernel.net.ipv4.tcp_rto import tcp_check_probe_timer, tcp_min_rtt, tcp_rearm_rto, tcp_schedule_loss_probe
from twinsock.kernel.net.ipv4.tcp_sndbuf import sk_nospace, tcp_check_space, tcp_under_memory_pressure
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    SKB_TRUESIZE_HEAD,
    TCP_CA_OPEN,
    TCP_CA_RECOVERY,
    TCP_CHRONO_BUSY,
    TCP_CHRONO_RWND_LIMITED,
    TCP_CHRONO_SNDBUF_LIMITED,
    TCP_INIT_CWND,
    TCP_NAGLE_CORK,
    TCP_NAGLE_PUSH,
    TCPCB_LOST,
    TCPCB_SACKED_ACKED,
    TCPCB_SACKED_RETRANS,
    SkbList,
    TcpSkb,
    TcpSock,
    after,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    BOOT_NS,
    sk_wmem_queued_add,
    tcp_chrono_start,
    tcp_chrono_stop,
    tcp_jiffies32,
    tcp_mstamp_refresh,
    tcp_packets_in_flight,
    tcp_time_stamp_ts,
    tcp_urg_mode,
    tcp_wnd_end,
)
from twinsock.kernel.net.ipv4.tcp_timestamp import tcp_tx_stamps
from twinsock.uapi.errno import ENOMEM
from twinsock.uapi.rtnetlink import RTAX_INITCWND
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPACKCOMPRESSED,
    LINUX_MIB_TCPFROMZEROWINDOWADV,
    LINUX_MIB_TCPORIGDATASENT,
    LINUX_MIB_TCPTOZEROWINDOWADV,
    LINUX_MIB_TCPWANTZEROWINDOWADV,
    LINUX_MIB_TCPWQUEUETOOBIG,
    TCP_MIB_OUTSEGS,
)
from twinsock.uapi.tcp import TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED
from twinsock.wire.tcp import (
    TCPHDR_ACK,
    TCPHDR_FIN,
    TCPHDR_PSH,
    TCPHDR_SYN,
    TCPHDR_URG,
    Tcphdr,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_TCP_OPTION_SPACE: Final = 40
TCP_MTU_PROBE_CWND_MIN: Final = 11


# ---- windows


def tcp_win_from_space(sk: TcpSock, space: int) -> int:
    """Return how much payload fits in `space` bytes of memory, by the ratio seen so far."""
    return space * sk.scaling_ratio >> 8


def tcp_space_from_win(sk: TcpSock, win: int) -> int:
    """Return the memory that `win` bytes of payload need."""
    return (win << 8) // sk.scaling_ratio


def tcp_space(sk: TcpSock) -> int:
    """Return the window that free receive memory allows."""
    return tcp_win_from_space(sk, sk.sk_rcvbuf - sk.sk_backlog_len - sk.sk_rmem_alloc)


def tcp_full_space(sk: TcpSock) -> int:
    """Return the window that an empty receive queue would allow."""
    return tcp_win_from_space(sk, sk.sk_rcvbuf)


def tcp_receive_window(sk: TcpSock) -> int:
    """Return what is left of the window last advertised."""
    win = (sk.rcv_wup + sk.rcv_wnd - sk.rcv_nxt) & M32
    return 0 if win > 0x7FFFFFFF else win


def tcp_adjust_rcv_ssthresh(sk: TcpSock) -> None:
    """Shrink the window's growth limit under memory pressure."""
    sk.rcv_ssthresh = min(sk.rcv_ssthresh, 4 * sk.advmss)
    unused = sk.sk_rcvbuf - sk.sk_rmem_alloc
    if unused > 0:
        sk.rcv_ssthresh = max(sk.rcv_ssthresh, tcp_win_from_space(sk, unused))


def tcp_window_to_offer(sk: TcpSock) -> int:
    """Return the window that ought to be advertised, receiver's silly window avoidance included, RFC 9293 3.8.6.2.2."""
    mss = sk.ack_rcv_mss
    free_space = tcp_space(sk)
    allowed_space = free_space
    full_space = min(sk.window_clamp, tcp_full_space(sk))
    if mss > full_space:
        mss = full_space
        if mss <= 0:
            return 0
    wscale = sk.rx_opt.rcv_wscale
    if wscale and sk.sk_net.ipv4.sysctl_tcp_shrink_window:
        return _window_that_may_shrink(sk, mss, free_space, full_space)
    if free_space < full_space >> 1:
        sk.ack_quick = 0
        if tcp_under_memory_pressure(sk):
            tcp_adjust_rcv_ssthresh(sk)
        free_space = (free_space >> wscale) << wscale if free_space > 0 else 0
        if free_space < allowed_space >> 4 or free_space < mss:
            return 0
    free_space = min(free_space, sk.rcv_ssthresh)
    if wscale:
        window = (free_space + (1 << wscale) - 1) >> wscale << wscale
    else:
        window = sk.rcv_wnd
        if window <= free_space - mss or window > free_space:
            window = free_space // mss * mss
        elif mss == full_space and free_space > window + (full_space >> 1):
            window = free_space
    return window


def _window_that_may_shrink(sk: TcpSock, mss: int, allowed_space: int, full_space: int) -> int:
    """Return the window to offer with tcp_shrink_window: a multiple of the scale, which memory limits strictly."""
    scale = 1 << sk.rx_opt.rcv_wscale
    free_space = allowed_space - allowed_space % scale
    if free_space < full_space >> 1:
        sk.ack_quick = 0
        if tcp_under_memory_pressure(sk):
            tcp_adjust_rcv_ssthresh(sk)
        if free_space < allowed_space >> 4 or free_space < mss or free_space < scale:
            return 0
    if free_space > sk.rcv_ssthresh:
        free_space = sk.rcv_ssthresh + -sk.rcv_ssthresh % scale
    return free_space


def tcp_select_window(sk: TcpSock) -> int:
    """Choose the window field of a segment and remember what was promised."""
    stats = sk.sk_net.net_statistics
    old_win = sk.rcv_wnd
    if sk.ack_pending & ICSK_ACK_NOMEM:
        sk.rcv_wnd = 0
        sk.rcv_wup = sk.rcv_nxt
        return 0
    wscale = sk.rx_opt.rcv_wscale
    cur_win = tcp_receive_window(sk)
    new_win = tcp_window_to_offer(sk)
    if new_win < cur_win:
        # RFC 9293 3.8.6: never take back what was promised
        if not sk.sk_net.ipv4.sysctl_tcp_shrink_window or not wscale:
            if new_win == 0:
                stats[LINUX_MIB_TCPWANTZEROWINDOWADV] += 1
            new_win = (cur_win + (1 << wscale) - 1) >> wscale << wscale
    sk.rcv_wnd = new_win
    sk.rcv_wup = sk.rcv_nxt
    if not wscale and sk.sk_net.ipv4.sysctl_tcp_workaround_signed_windows:
        new_win = min(new_win, 32767)
    else:
        new_win = min(new_win, 65535 << wscale)
    new_win >>= wscale
    if new_win == 0:
        sk.pred_wnd = -1
        if old_win:
            stats[LINUX_MIB_TCPTOZEROWINDOWADV] += 1
    elif old_win == 0:
        stats[LINUX_MIB_TCPFROMZEROWINDOWADV] += 1
    return new_win


# ---- segment sizes


def tcp_established_options_len(sk: TcpSock) -> int:
    """Return the option bytes of an ordinary segment."""
    size = 12 if sk.rx_opt.tstamp_ok else 0
    eff_sacks = len(sk.selective_acks) + (1 if sk.duplicate_sack is not None else 0)
    if eff_sacks:
        remaining = MAX_TCP_OPTION_SPACE - size
        if remaining >= 12:
            size += 4 + 8 * min(eff_sacks, (remaining - 4) // 8)
    return size


def tcp_mtu_to_mss_raw(sk: TcpSock, pmtu: int) -> int:
    """Return the payload of a segment without options on a path of `pmtu`."""
    mss = pmtu - sk.icsk_af_ops.net_header_len - 20
    mss = min(mss, sk.rx_opt.mss_clamp) - sk.icsk_ext_hdr_len
    return max(mss, sk.sk_net.ipv4.sysctl_tcp_min_snd_mss)


def tcp_mtu_to_mss(sk: TcpSock, pmtu: int) -> int:
    """Return the payload of a segment with the connection's constant options on a path of `pmtu`."""
    return tcp_mtu_to_mss_raw(sk, pmtu) - (sk.tcp_header_len - 20)


def tcp_mss_to_mtu(sk: TcpSock, mss: int) -> int:
    """Return the packet size that carries `mss` bytes."""
    return mss + sk.tcp_header_len + sk.icsk_ext_hdr_len + sk.icsk_af_ops.net_header_len


def tcp_mtup_init(sk: TcpSock) -> None:
    """Prepare path MTU probing, RFC 4821."""
    ipv4 = sk.sk_net.ipv4
    sk.mtup_enabled = ipv4.sysctl_tcp_mtu_probing > 1
    sk.mtup_search_high = sk.rx_opt.mss_clamp + 20 + sk.icsk_af_ops.net_header_len
    sk.mtup_search_low = tcp_mss_to_mtu(sk, ipv4.sysctl_tcp_base_mss)
    sk.mtup_probe_size = 0
    if sk.mtup_enabled:
        sk.mtup_probe_timestamp = tcp_jiffies32(sk)


def tcp_bound_to_half_wnd(sk: TcpSock, size: int) -> int:
    """Limit a segment to half the largest window the peer ever offered."""
    cutoff = sk.max_window >> 1 if sk.max_window > 536 else sk.max_window
    if cutoff and size > cutoff:
        return max(cutoff, 68 - sk.tcp_header_len)
    return size


def tcp_sync_mss(sk: TcpSock, pmtu: int) -> int:
    """Recompute the MSS for a path MTU."""
    if sk.mtup_search_high > pmtu:
        sk.mtup_search_high = pmtu
    mss_now = tcp_bound_to_half_wnd(sk, tcp_mtu_to_mss(sk, pmtu))
    sk.icsk_pmtu_cookie = pmtu
    if sk.mtup_enabled:
        mss_now = min(mss_now, tcp_mtu_to_mss(sk, sk.mtup_search_low))
    sk.mss_cache = mss_now
    return mss_now


def tcp_current_mss(sk: TcpSock) -> int:
    """Return the payload of a full segment now, options included in the count."""
    mss_now = sk.mss_cache
    dst = sk.sk_dst_cache
    if dst is not None and dst.mtu != sk.icsk_pmtu_cookie:
        mss_now = tcp_sync_mss(sk, dst.mtu)
    header_len = tcp_established_options_len(sk) + 20
    return mss_now - (header_len - sk.tcp_header_len)


def tcp_xmit_size_goal(sk: TcpSock, mss_now: int, large_allowed: bool) -> int:
    """Return how large a segment of the write queue may grow: a whole number of MSS up to half the peer's window."""
    if not large_allowed:
        return mss_now
    new_size_goal = tcp_bound_to_half_wnd(sk, sk.sk_gso_max_size)
    size_goal = sk.xmit_size_goal_segs * mss_now
    if new_size_goal < size_goal or new_size_goal >= size_goal + mss_now:
        sk.xmit_size_goal_segs = min(new_size_goal // mss_now, sk.gso_segs_max)
        size_goal = sk.xmit_size_goal_segs * mss_now
    return max(size_goal, mss_now)


def tcp_send_mss(sk: TcpSock, oob: bool) -> tuple[int, int]:
    """Return (MSS, size goal) for appending data."""
    mss_now = tcp_current_mss(sk)
    return mss_now, tcp_xmit_size_goal(sk, mss_now, not oob)


def tcp_set_skb_tso_segs(skb: TcpSkb, mss_now: int) -> int:
    """Set how many segments a write-queue segment makes on the wire."""
    if skb.len <= mss_now:
        skb.gso_size = 0
        skb.pcount = 1
        return 1
    skb.gso_size = mss_now
    skb.pcount = (skb.len + mss_now - 1) // mss_now
    return skb.pcount


def tcp_init_tso_segs(skb: TcpSkb, mss_now: int) -> int:
    """Set the segment count where it is stale."""
    if not skb.pcount or (skb.pcount > 1 and skb.gso_size != mss_now):
        return tcp_set_skb_tso_segs(skb, mss_now)
    return skb.pcount


def tcp_tso_segs(sk: TcpSock, mss_now: int) -> int:
    """Return the segments of one burst: about a millisecond at the pacing rate, more on short paths."""
    nbytes = sk.sk_pacing_rate >> 10
    r = tcp_min_rtt(sk) >> sk.sk_net.ipv4.sysctl_tcp_tso_rtt_log
    if r < 32:
        nbytes += sk.sk_gso_max_size >> r
    nbytes = min(nbytes, sk.sk_gso_max_size)
    return min(max(nbytes // mss_now, sk.sk_net.ipv4.sysctl_tcp_min_tso_segs), sk.gso_segs_max)


# ---- cutting and trimming


def tcp_adjust_pcount(sk: TcpSock, skb: TcpSkb, decr: int) -> None:
    """Correct all counts after a sent segment changed its number of packets by `-decr`."""
    sk.packets_out -= decr
    if skb.sacked & TCPCB_SACKED_ACKED:
        sk.sacked_out -= decr
    if skb.sacked & TCPCB_SACKED_RETRANS:
        sk.retrans_out -= decr
    if skb.sacked & TCPCB_LOST:
        sk.lost_out -= decr
    if not sk.rx_opt.sack_ok and decr > 0:
        sk.sacked_out -= min(sk.sacked_out, decr)


def tcp_fragment(sk: TcpSock, queue: SkbList, skb: TcpSkb, length: int, mss_now: int) -> int:
    """Cut `skb` after `length` payload bytes; the rest becomes a new segment behind it: 0 or -ENOMEM."""
    limit = sk.sk_sndbuf + 2 * 65536
    if sk.sk_wmem_queued >> 1 > limit and queue is sk.tcp_rtx_queue and skb is not queue.head and skb is not queue.tail:
        sk.sk_net.net_statistics[LINUX_MIB_TCPWQUEUETOOBIG] += 1
        return -ENOMEM
    skb.linearize()
    nlen = skb.len - length
    buff = TcpSkb(skb.data, skb.offset + length, nlen)
    buff.truesize = SKB_TRUESIZE_HEAD + nlen
    if skb.nr_frags:
        both = skb.nr_frags + 1  # the fragment at the cut is shared
        buff.nr_frags = max(both * nlen // (nlen + length), 1)
        skb.nr_frags = max(both - buff.nr_frags, 1)
    skb.truesize -= nlen
    sk_wmem_queued_add(sk, SKB_TRUESIZE_HEAD)
    skb.len = length
    buff.seq = (skb.seq + length) & M32
    buff.end_seq = skb.end_seq
    skb.end_seq = buff.seq
    flags = skb.tcp_flags
    skb.tcp_flags = flags & ~(TCPHDR_FIN | TCPHDR_PSH)
    buff.tcp_flags = flags
    buff.sacked = skb.sacked
    buff.eor = skb.eor
    skb.eor = False
    buff.skb_mstamp_us = skb.skb_mstamp_us
    buff.rack_listed = skb.rack_listed
    buff.tstamp_ns = skb.tstamp_ns
    _tcp_fragment_tstamp(skb, buff)
    if skb.zc is not None:
        buff.zc = skb.zc
        skb.zc.refcnt += 1
    old_factor = skb.pcount
    tcp_set_skb_tso_segs(skb, mss_now)
    tcp_set_skb_tso_segs(buff, mss_now)
    buff.in_flight = skb.in_flight
    buff.is_app_limited = skb.is_app_limited
    buff.delivered = skb.delivered
    buff.delivered_ce = skb.delivered_ce
    buff.first_tx_mstamp = skb.first_tx_mstamp
    buff.delivered_mstamp = skb.delivered_mstamp
    if not before(sk.snd_nxt, buff.end_seq):
        diff = old_factor - skb.pcount - buff.pcount
        if diff:
            tcp_adjust_pcount(sk, skb, diff)
    queue.insert_after(skb, buff)
    return 0


def _tcp_fragment_tstamp(skb: TcpSkb, buff: TcpSkb) -> None:
    """A wanted timestamp stays with the half that holds its byte."""
    if (skb.tx_flags or skb.txstamp_ack) and not before(skb.tskey, buff.seq):
        buff.tx_flags = skb.tx_flags
        buff.tskey = skb.tskey
        buff.txstamp_ack = skb.txstamp_ack
        skb.tx_flags = 0
        skb.txstamp_ack = False


def tcp_trim_head(sk: TcpSock, skb: TcpSkb, length: int) -> None:
    """Drop acknowledged bytes from the front of a sent segment."""
    skb.linearize()
    skb.offset += length
    skb.len -= length
    skb.seq = (skb.seq + length) & M32
    skb.truesize -= length
    sk_wmem_queued_add(sk, -length)
    if skb.pcount > 1:
        tcp_set_skb_tso_segs(skb, skb.gso_size)


# ---- putting one segment on the wire


def tcp_skb_clone(skb: TcpSkb) -> TcpSkb:
    """Make the packet that travels: it shares the payload with the segment that stays in the queue."""
    skb.linearize()
    nskb = TcpSkb(skb.data, skb.offset, skb.len)
    nskb.seq = skb.seq
    nskb.end_seq = skb.end_seq
    nskb.tcp_flags = skb.tcp_flags
    nskb.pcount = skb.pcount
    nskb.gso_size = skb.gso_size
    nskb.gso_segs = skb.pcount
    nskb.truesize = skb.truesize
    if skb.zc is None:
        nskb.nr_frags = skb.nr_frags
        nskb.origin = skb
    else:  # loopback, veth and TUN copy pinned pages before anybody else sees them
        nskb.nr_frags = (skb.len + 4095) // 4096
    return nskb


def _fill_established_options(sk: TcpSock, th: Tcphdr) -> None:
    if sk.rx_opt.tstamp_ok:
        th.ts = True
        th.tsval = tcp_time_stamp_ts(sk)
        th.tsecr = sk.rx_opt.ts_recent
    dsack = sk.duplicate_sack
    if dsack is not None or sk.selective_acks:
        room = (MAX_TCP_OPTION_SPACE - (12 if th.ts else 0) - 4) // 8
        blocks = sk.selective_acks[:]
        if dsack is not None:
            blocks.insert(0, dsack)
        th.sacks = blocks[:room]
        sk.duplicate_sack = None


def _fill_syn_options(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    """Offer what the sysctls allow, or, on a SYN-ACK of a simultaneous open, answer what the peer offered."""
    ipv4 = sk.sk_net.ipv4
    room = MAX_TCP_OPTION_SPACE - 4
    th.mss = tcp_advertise_mss(sk)
    if ipv4.sysctl_tcp_timestamps:
        th.ts = True
        th.tsval = (skb.skb_mstamp_us // 1000 + sk.tsoffset) & M32
        th.tsecr = sk.rx_opt.ts_recent
        room -= 12
    if ipv4.sysctl_tcp_window_scaling:
        th.wscale = sk.rx_opt.rcv_wscale
        room -= 4
    if ipv4.sysctl_tcp_sack:
        th.sack_ok = True
        if not th.ts:
            room -= 4
    req = sk.fastopen_req
    if req is not None and req.cookie is not None:
        need = len(req.cookie) + (4 if req.cookie_exp else 2)
        need = (need + 3) & ~3
        if room >= need:
            th.fastopen = req.cookie
            th.fastopen_exp = req.cookie_exp
            sk.syn_fastopen = True
            sk.syn_fastopen_exp = req.cookie_exp


def tcp_advertise_mss(sk: TcpSock) -> int:
    """Return the MSS to announce; a smaller one of the route is remembered."""
    dst = sk.sk_dst_cache
    mss = sk.advmss
    if dst is not None:
        metric = dst.advmss()
        if metric < mss:
            mss = metric
            sk.advmss = mss
    return mss


def _fill_urgent(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    if tcp_urg_mode(sk) and before(skb.seq, sk.snd_up):
        if before(sk.snd_up, (skb.seq + 0x10000) & M32):
            th.urg_ptr = (sk.snd_up - skb.seq) & M32
            th.flags |= TCPHDR_URG
        elif after((skb.seq + 0xFFFF) & M32, sk.snd_nxt):
            th.urg_ptr = 0xFFFF
            th.flags |= TCPHDR_URG


def tcp_transmit_skb(sk: TcpSock, skb: TcpSkb, clone_it: bool) -> int:
    """__tcp_transmit_skb(): give a segment its header, hand it to IP: 0 or -errno. `clone_it`: the segment itself stays in a queue."""
    prior_wstamp = sk.tcp_wstamp_ns
    sk.tcp_wstamp_ns = max(sk.tcp_wstamp_ns, sk.tcp_clock_cache)
    skb.tstamp_ns = sk.tcp_wstamp_ns
    skb.skb_mstamp_us = sk.tcp_wstamp_ns // 1000
    skb.rack_listed = True
    flags = skb.tcp_flags
    th = Tcphdr(sk.inet_sport, sk.sk_dport, skb.seq, sk.rcv_nxt, flags)
    if flags & TCPHDR_SYN:
        _fill_syn_options(sk, skb, th)
        th.window = min(sk.rcv_wnd, 65535)
    else:
        _fill_established_options(sk, th)
        if skb.pcount > 1:
            th.flags |= TCPHDR_PSH
        th.window = tcp_select_window(sk)
    if not flags & TCPHDR_ACK:
        th.ack_seq = 0
    _fill_urgent(sk, skb, th)
    nskb = tcp_skb_clone(skb) if clone_it else skb
    nskb.h = th
    nskb.th = th
    nskb.sk = sk
    if not flags & TCPHDR_SYN:
        tcp_ecn_send(sk, skb, th)
    if flags & TCPHDR_ACK:
        tcp_event_ack_sent(sk)
    if skb.len:
        tcp_event_data_sent(sk)
        sk.data_segs_out += skb.pcount
        sk.bytes_sent += skb.len
    pcount = max(skb.pcount, 1)
    if after(skb.end_seq, sk.snd_nxt) or skb.seq == skb.end_seq:
        sk.sk_net.tcp_statistics[TCP_MIB_OUTSEGS] += pcount
    sk.segs_out += pcount
    nskb.gso_segs = pcount
    nskb.tstamp_ns = 0
    if skb.tx_flags:
        tcp_tx_stamps(sk, skb, nskb)
    err = sk.icsk_af_ops.queue_xmit(sk, nskb)
    if err > 0:
        tcp_enter_cwr(sk)
        err = 0 if err == 2 else err  # NET_XMIT_CN counts as sent
    if err == 0 and clone_it:
        tcp_update_skb_after_send(sk, skb, prior_wstamp)
        tcp_rate_skb_sent(sk, skb)
    return err


def tcp_update_skb_after_send(sk: TcpSock, skb: TcpSkb, prior_wstamp: int) -> None:
    """Advance the earliest departure time where the socket is paced."""
    if sk.pacing_status:
        rate = sk.sk_pacing_rate
        if rate < (1 << 62) - 1 and sk.data_segs_out >= 10:
            len_ns = skb.len * 1_000_000_000 // max(rate, 1)
            credit = sk.tcp_wstamp_ns - prior_wstamp
            len_ns -= min(len_ns // 2, credit)
            sk.tcp_wstamp_ns += len_ns


def tcp_rate_skb_sent(sk: TcpSock, skb: TcpSkb) -> None:
    """Note the delivery state at sending time, for rate samples (draft-cheng-iccrg-delivery-rate-estimation)."""
    if not sk.packets_out:
        sk.first_tx_mstamp = skb.skb_mstamp_us
        sk.delivered_mstamp = skb.skb_mstamp_us
    skb.first_tx_mstamp = sk.first_tx_mstamp
    skb.delivered_mstamp = sk.delivered_mstamp
    skb.delivered = sk.delivered
    skb.delivered_ce = sk.delivered_ce
    skb.is_app_limited = sk.app_limited != 0


def tcp_event_ack_sent(sk: TcpSock) -> None:
    """An acknowledgement left: nothing is owed any more."""
    if sk.compressed_ack:
        sk.sk_net.net_statistics[LINUX_MIB_TCPACKCOMPRESSED] += sk.compressed_ack
        sk.compressed_ack = 0
        if sk.compressed_ack_timer is not None:
            sk.sk_net.kernel.clock.del_timer(sk.compressed_ack_timer)
    tcp_dec_quickack_mode(sk)
    inet_csk_clear_delack_timer(sk)


def tcp_dec_quickack_mode(sk: TcpSock) -> None:
    """Use up one quick acknowledgement if one was owed; the last one inflates the delay estimate again."""
    if sk.ack_quick and inet_csk_ack_scheduled(sk):
        if sk.ack_quick <= 1:
            sk.ack_quick = 0
            sk.ack_ato = sk.sk_net.kernel.clock.hz // 25
        else:
            sk.ack_quick -= 1


def tcp_event_data_sent(sk: TcpSock) -> None:
    """Data leaves: restart after idle, note interactivity."""
    now = tcp_jiffies32(sk)
    if tcp_packets_in_flight(sk) == 0:
        tcp_ca_event(sk, CA_EVENT_TX_START)
    sk.lsndtime = now
    if now - sk.ack_lrcvtime < sk.ack_ato:
        if sk.ack_pingpong < 255:
            sk.ack_pingpong += 1


def tcp_slow_start_after_idle_check(sk: TcpSock) -> None:
    """Decay the window after an idle period, RFC 5681 4.1, RFC 2861."""
    if not sk.sk_net.ipv4.sysctl_tcp_slow_start_after_idle or sk.packets_out:
        return
    if tcp_jiffies32(sk) - sk.lsndtime > sk.icsk_rto:
        tcp_cwnd_restart(sk, tcp_jiffies32(sk) - sk.lsndtime)


def tcp_cwnd_restart(sk: TcpSock, delta: int) -> None:
    """Halve the window for each timeout spent idle, not below the initial one."""
    restart_cwnd = tcp_init_cwnd(sk)
    cwnd = sk.snd_cwnd
    tcp_ca_event(sk, CA_EVENT_CWND_RESTART)
    sk.snd_ssthresh = tcp_current_ssthresh(sk)
    restart_cwnd = min(restart_cwnd, cwnd)
    delta -= sk.icsk_rto
    while delta > 0 and cwnd > restart_cwnd:
        cwnd >>= 1
        delta -= sk.icsk_rto
    sk.snd_cwnd = max(cwnd, restart_cwnd)
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk.snd_cwnd_used = 0


def tcp_init_cwnd(sk: TcpSock) -> int:
    """Return the initial window in segments, RFC 6928; the route may override it."""
    metric = sk.sk_dst_cache.metric(RTAX_INITCWND) if sk.sk_dst_cache is not None else 0
    return min(metric or TCP_INIT_CWND, sk.snd_cwnd_clamp)


# ---- deciding whether to send


def tcp_cwnd_test(sk: TcpSock) -> int:
    """Return how many segments the congestion window lets go in one burst, 0 for none."""
    in_flight = tcp_packets_in_flight(sk)
    cwnd = sk.snd_cwnd
    if in_flight >= cwnd:
        return 0
    return min(max(cwnd >> 1, 1), cwnd - in_flight)


def tcp_snd_wnd_test(sk: TcpSock, skb: TcpSkb, cur_mss: int) -> bool:
    """Tell whether the (first) segment fits the peer's window."""
    end_seq = skb.end_seq
    if skb.len > cur_mss:
        end_seq = (skb.seq + cur_mss) & M32
    return not after(end_seq, tcp_wnd_end(sk))


def tcp_minshall_check(sk: TcpSock) -> bool:
    """Tell whether a small segment is still unacknowledged (Minshall's Nagle)."""
    return after(sk.snd_sml, sk.snd_una) and not after(sk.snd_sml, sk.snd_nxt)


def tcp_nagle_check(partial: bool, sk: TcpSock, nonagle: int) -> bool:
    """Tell whether a partial segment must wait, RFC 1122 4.2.3.4."""
    if not partial:
        return False
    if nonagle & TCP_NAGLE_CORK:
        return True
    return not nonagle and sk.packets_out > 0 and tcp_minshall_check(sk)


def tcp_nagle_test(sk: TcpSock, skb: TcpSkb, cur_mss: int, nonagle: int) -> bool:
    """Tell whether Nagle's rule lets `skb` go."""
    if nonagle & TCP_NAGLE_PUSH:
        return True
    if tcp_urg_mode(sk) or skb.tcp_flags & TCPHDR_FIN:
        return True
    return not tcp_nagle_check(skb.len < cur_mss, sk, nonagle)


def tcp_tso_should_defer(sk: TcpSock, skb: TcpSkb, max_segs: int) -> int:
    """Decide whether a larger burst is worth waiting for: 0 send, 1 wait, 2 wait (window of the network), 3 wait (peer's)."""
    if sk.icsk_ca_state >= TCP_CA_RECOVERY:
        return 0
    if sk.tcp_clock_cache - sk.tcp_wstamp_ns - 1_000_000 > 0:
        return 0
    in_flight = tcp_packets_in_flight(sk)
    send_win = (tcp_wnd_end(sk) - skb.seq) & M32
    cong_win = (sk.snd_cwnd - in_flight) * sk.mss_cache
    limit = min(send_win, cong_win)
    if limit >= max_segs * sk.mss_cache:
        return 0
    if skb is not sk.sk_write_queue.tail and limit >= skb.len:
        return 0
    win_divisor = sk.sk_net.ipv4.sysctl_tcp_tso_win_divisor
    if win_divisor:
        if limit >= min(sk.snd_wnd, sk.snd_cwnd * sk.mss_cache) // win_divisor:
            return 0
    elif limit > 3 * sk.mss_cache:
        return 0
    head = sk.tcp_rtx_queue.head
    if head is None:
        return 0
    srtt_in_ns = 125 * sk.srtt_us
    how_far_is_the_ack = head.skb_mstamp_us * 1000 + srtt_in_ns - sk.tcp_clock_cache
    if how_far_is_the_ack - min(srtt_in_ns >> 1, 1_000_000) > 0:
        return 0
    if cong_win < send_win:
        if cong_win <= skb.len:
            return 2
    elif send_win <= skb.len:
        return 3
    if skb.tcp_flags & TCPHDR_FIN or skb.eor:
        return 0
    return 1


def tcp_mss_split_point(sk: TcpSock, skb: TcpSkb, mss_now: int, max_segs: int, nonagle: int) -> int:
    """Return where to cut a large segment so that it fits both windows and leaves no needless small tail."""
    window = (tcp_wnd_end(sk) - skb.seq) & M32
    max_len = mss_now * max_segs
    if max_len <= window and skb is not sk.sk_write_queue.tail:
        return max_len
    needed = min(skb.len, window)
    if max_len <= needed:
        return max_len
    partial = needed % mss_now
    if tcp_nagle_check(partial != 0, sk, nonagle):
        return needed - partial
    return needed


def tcp_grow_skb(sk: TcpSock, skb: TcpSkb, amount: int) -> None:
    """Fill a segment from the next one where both are still unsent and may be joined."""
    nxt = skb.next
    if nxt is None or skb.eor or skb.zc is not None or nxt.zc is not None or (nxt.tcp_flags & TCPHDR_FIN and nxt.len == 0):
        return
    count = min(amount, nxt.len)
    if count <= 0 or (nxt.eor and count < nxt.len):
        return
    if skb.tx_flags or nxt.tx_flags:
        return
    nxt.linearize()
    piece = nxt.data[nxt.offset : nxt.offset + count]
    skb.append(piece)
    skb.truesize += count
    skb.end_seq = (skb.end_seq + count) & M32
    nxt.offset += count
    nxt.len -= count
    nxt.seq = (nxt.seq + count) & M32
    nxt.truesize -= count
    if nxt.len == 0:
        skb.tcp_flags |= nxt.tcp_flags
        skb.eor = nxt.eor
        skb.end_seq = nxt.end_seq
        sk_wmem_queued_add(sk, -nxt.truesize)
        sk.sk_write_queue.remove(nxt)


def tcp_pacing_check(sk: TcpSock) -> bool:
    """Tell whether pacing holds the next segment back; the timer that ends the wait is armed then."""
    if not sk.pacing_status or sk.tcp_wstamp_ns <= sk.tcp_clock_cache:
        return False
    timer = sk.pacing_timer
    if timer is not None and not timer.pending():
        sk.sk_net.kernel.clock.hrtimer_start(timer, sk.tcp_wstamp_ns - BOOT_NS)
    return True


def tcp_event_new_data_sent(sk: TcpSock, skb: TcpSkb) -> None:
    """Move a segment from the write queue to the retransmit queue."""
    prior_packets = sk.packets_out
    sk.snd_nxt = skb.end_seq
    sk.sk_write_queue.remove(skb)
    sk.tcp_rtx_queue.append(skb)
    if sk.highest_sack is None:
        sk.highest_sack = skb
    sk.packets_out += skb.pcount
    if not prior_packets or sk.icsk_pending == ICSK_TIME_LOSS_PROBE:
        tcp_rearm_rto(sk)
    sk.sk_net.net_statistics[LINUX_MIB_TCPORIGDATASENT] += skb.pcount
    tcp_check_space(sk)


def tcp_cwnd_application_limited(sk: TcpSock) -> None:
    """Shrink a window that the application did not use for a timeout, RFC 2861."""
    if sk.icsk_ca_state == TCP_CA_OPEN and not sk_nospace(sk):
        init_win = tcp_init_cwnd(sk)
        win_used = max(sk.snd_cwnd_used, init_win)
        if win_used < sk.snd_cwnd:
            sk.snd_ssthresh = tcp_current_ssthresh(sk)
            sk.snd_cwnd = (sk.snd_cwnd + win_used) >> 1
        sk.snd_cwnd_used = 0
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)


def tcp_cwnd_validate(sk: TcpSock, is_cwnd_limited: bool) -> None:
    """Track whether the congestion window is in use."""
    if not before(sk.snd_una, sk.cwnd_usage_seq) or is_cwnd_limited or (not sk.is_cwnd_limited and sk.packets_out > sk.max_packets_out):
        sk.is_cwnd_limited = is_cwnd_limited
        sk.max_packets_out = sk.packets_out
        sk.cwnd_usage_seq = sk.snd_nxt
    if tcp_is_cwnd_limited(sk):
        sk.snd_cwnd_used = 0
        sk.snd_cwnd_stamp = tcp_jiffies32(sk)
        return
    if sk.packets_out > sk.snd_cwnd_used:
        sk.snd_cwnd_used = sk.packets_out
    if sk.sk_net.ipv4.sysctl_tcp_slow_start_after_idle and tcp_jiffies32(sk) - sk.snd_cwnd_stamp >= sk.icsk_rto:
        tcp_cwnd_application_limited(sk)
    if sk.sk_write_queue.head is None and sk_nospace(sk) and (sk.sk_state == TCP_ESTABLISHED or sk.sk_state == TCP_CLOSE_WAIT):
        tcp_chrono_start(sk, TCP_CHRONO_SNDBUF_LIMITED)


def _write_one(sk: TcpSock, skb: TcpSkb, mss_now: int, quota: int, nonagle: int, push_one: int, max_segs: int) -> tuple[int, bool]:
    """Try to send the head of the write queue: (0 sent, 1 stop, 2 stop: network's window, 3 stop: peer's window)."""
    missing = quota * mss_now - skb.len
    if missing > 0:
        tcp_grow_skb(sk, skb, missing)
    tso_segs = tcp_set_skb_tso_segs(skb, mss_now)
    if not tcp_snd_wnd_test(sk, skb, mss_now):
        return 3, False
    is_last = skb is sk.sk_write_queue.tail
    if tso_segs == 1:
        if not tcp_nagle_test(sk, skb, mss_now, nonagle if is_last else TCP_NAGLE_PUSH):
            return 1, False
    elif not push_one:
        defer = tcp_tso_should_defer(sk, skb, max_segs)
        if defer:
            return defer, False
    limit = mss_now
    if tso_segs > 1 and not tcp_urg_mode(sk):
        limit = tcp_mss_split_point(sk, skb, mss_now, quota, nonagle)
    if skb.len > limit and tcp_fragment(sk, sk.sk_write_queue, skb, limit, mss_now):
        return 1, False
    if tcp_transmit_skb(sk, skb, True):
        return 1, False
    return 0, True


def tcp_write_xmit(sk: TcpSock, mss_now: int, nonagle: int, push_one: int) -> bool:
    """Send what windows, Nagle and pacing allow; true when data waits with nothing in flight (a probe is needed).

    `push_one`: 1 sends one segment at most, 2 one loss probe that may exceed the congestion window by one."""
    sent_pkts = 0
    is_cwnd_limited = False
    is_rwnd_limited = False
    tcp_mstamp_refresh(sk)
    if not push_one:
        probed = tcp_mtu_probe(sk)
        if probed == 0:
            return False
        if probed > 0:
            sent_pkts = 1
    max_segs = tcp_tso_segs(sk, mss_now)
    skb = sk.sk_write_queue.head
    while skb is not None:
        if tcp_pacing_check(sk):
            break
        quota = tcp_cwnd_test(sk)
        if not quota:
            if push_one == 2:
                quota = 1
            else:
                break
        quota = min(quota, max_segs)
        verdict, _ = _write_one(sk, skb, mss_now, quota, nonagle, push_one, max_segs)
        if verdict:
            is_cwnd_limited = is_cwnd_limited or verdict == 2
            is_rwnd_limited = verdict == 3
            break
        tcp_event_new_data_sent(sk, skb)
        if skb.len < skb.pcount * mss_now:
            sk.snd_sml = skb.end_seq
        sent_pkts += skb.pcount
        if push_one:
            break
        skb = sk.sk_write_queue.head
    if is_rwnd_limited:
        tcp_chrono_start(sk, TCP_CHRONO_RWND_LIMITED)
    else:
        tcp_chrono_stop(sk, TCP_CHRONO_RWND_LIMITED)
    is_cwnd_limited = is_cwnd_limited or tcp_packets_in_flight(sk) >= sk.snd_cwnd
    if sent_pkts or is_cwnd_limited:
        tcp_cwnd_validate(sk, is_cwnd_limited)
    if sent_pkts:
        if tcp_in_cwnd_reduction(sk):
            sk.prr_out += sent_pkts
        if push_one != 2:
            tcp_schedule_loss_probe(sk, False)
        return False
    return not sk.packets_out and sk.sk_write_queue.head is not None


# ---- probing for a larger path MTU, RFC 4821


def tcp_mtu_probe(sk: TcpSock) -> int:
    """Send one segment larger than the MSS when the search says so: 1 sent, 0 wait for room, -1 go on as usual."""
    if not sk.mtup_enabled or sk.mtup_probe_size or sk.icsk_ca_state != TCP_CA_OPEN or sk.snd_cwnd < TCP_MTU_PROBE_CWND_MIN:
        return -1
    if sk.selective_acks or sk.duplicate_sack is not None:
        return -1
    mss_now = tcp_current_mss(sk)
    probe_size = tcp_mtu_to_mss(sk, (sk.mtup_search_high + sk.mtup_search_low) >> 1)
    interval = sk.mtup_search_high - sk.mtup_search_low
    if probe_size > tcp_mtu_to_mss(sk, sk.mtup_search_high) or interval < sk.sk_net.ipv4.sysctl_tcp_probe_threshold:
        _tcp_mtu_check_reprobe(sk)
        return -1
    # enough must follow the probe to notice its loss without a timeout
    size_needed = probe_size + (sk.reordering + 1) * sk.mss_cache
    if (sk.write_seq - sk.snd_nxt) & M32 < size_needed or sk.snd_wnd < size_needed:
        return -1
    if after((sk.snd_nxt + size_needed) & M32, tcp_wnd_end(sk)):
        return 0
    in_flight = tcp_packets_in_flight(sk)
    if in_flight + 2 > sk.snd_cwnd:
        return 0 if in_flight else -1
    if not _can_coalesce_send_queue_head(sk, probe_size) or tcp_pacing_check(sk):
        return -1
    return _send_mtu_probe(sk, mss_now, probe_size)


def _tcp_mtu_check_reprobe(sk: TcpSock) -> None:
    """Reopen the search when the probe interval is over."""
    now = tcp_jiffies32(sk)
    if now - sk.mtup_probe_timestamp < sk.sk_net.ipv4.sysctl_tcp_probe_interval * sk.sk_net.kernel.clock.hz:
        return
    sk.mtup_probe_size = 0
    sk.mtup_search_high = sk.rx_opt.mss_clamp + 20 + sk.icsk_af_ops.net_header_len
    sk.mtup_search_low = tcp_mss_to_mtu(sk, tcp_current_mss(sk))
    sk.mtup_probe_timestamp = now


def _can_coalesce_send_queue_head(sk: TcpSock, length: int) -> bool:
    """Tell whether the first `length` unsent bytes may travel as one segment."""
    skb = sk.sk_write_queue.head
    while skb is not None and length > skb.len:
        nxt = skb.next
        if skb.tx_flags or nxt is None or skb.eor or skb.zc is not None or nxt.zc is not None:
            return False
        length -= skb.len
        skb = nxt
    return True


def _send_mtu_probe(sk: TcpSock, mss_now: int, probe_size: int) -> int:
    """Cut the probe off the front of the write queue and send it; it costs one segment of the congestion window until it is answered."""
    skb = sk.sk_write_queue.head
    assert skb is not None
    while skb.len < probe_size:
        before_len = skb.len
        tcp_grow_skb(sk, skb, probe_size - skb.len)
        if skb.len == before_len:
            return -1
    if skb.len > probe_size and tcp_fragment(sk, sk.sk_write_queue, skb, probe_size, mss_now):
        return -1
    tcp_set_skb_tso_segs(skb, skb.len)
    if tcp_transmit_skb(sk, skb, True):
        return -1
    sk.snd_cwnd -= 1
    tcp_event_new_data_sent(sk, skb)
    sk.mtup_probe_size = tcp_mss_to_mtu(sk, skb.len)
    sk.mtup_probe_seq_start = skb.seq
    sk.mtup_probe_seq_end = skb.end_seq
    return 1


def tcp_push_pending_frames(sk: TcpSock, cur_mss: int, nonagle: int) -> None:
    """__tcp_push_pending_frames(): send what can be sent; arm the zero-window probe timer if nothing could."""
    if sk.sk_state == TCP_CLOSE:
        return
    if tcp_write_xmit(sk, cur_mss, nonagle, 0):
        tcp_check_probe_timer(sk)


def tcp_push_one(sk: TcpSock, mss_now: int) -> None:
    """Send the head of the write queue alone, while more data is being copied in."""
    tcp_write_xmit(sk, mss_now, TCP_NAGLE_PUSH, 1)


# ---- queueing


def tcp_queue_skb(sk: TcpSock, skb: TcpSkb) -> None:
    """Append a prepared segment to the write queue."""
    sk.write_seq = skb.end_seq
    sk.sk_write_queue.append(skb)
    sk_wmem_queued_add(sk, skb.truesize)


def tcp_busy(sk: TcpSock) -> None:
    """Something waits to be sent: the connection is busy."""
    tcp_chrono_start(sk, TCP_CHRONO_BUSY)
