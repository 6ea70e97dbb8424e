"""Processing acknowledgements: windows, SACK scoreboard, round-trip samples, congestion control (Linux: net/ipv4/tcp_input.c).

RFC 9293 3.10.7.4 (ACK), RFC 2018, RFC 2883 (D-SACK), RFC 5961 5. Left out: merging of SACKed segments in the retransmit queue
(D-tcp-2)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_csk import ICSK_TIME_PROBE0, inet_csk_clear_xmit_timer
from twinsock.kernel.net.ipv4.tcp_challenge import tcp_send_challenge_ack
from twinsock.kernel.net.ipv4.tcp_cong import ca_ops, tcp_cwnd_reduction, tcp_in_cwnd_reduction
from twinsock.kernel.net.ipv4.tcp_output import (
    tcp_current_mss,
    tcp_fragment,
    tcp_push_pending_frames,
    tcp_set_skb_tso_segs,
    tcp_slow_start_after_idle_check,
    tcp_sync_mss,
    tcp_trim_head,
)
from twinsock.kernel.net.ipv4.tcp_recovery import (
    FLAG_ACK_MAYBE_DELAYED,
    FLAG_ACKED,
    FLAG_CA_ALERT,
    FLAG_DATA,
    FLAG_DATA_ACKED,
    FLAG_DATA_SACKED,
    FLAG_DSACK_TLP,
    FLAG_DSACKING_ACK,
    FLAG_ECE,
    FLAG_FORWARD_PROGRESS,
    FLAG_NO_CHALLENGE_ACK,
    FLAG_NOT_DUP,
    FLAG_ORIG_SACK_ACKED,
    FLAG_RETRANS_DATA_ACKED,
    FLAG_SACK_RENEGING,
    FLAG_SET_XMIT_TIMER,
    FLAG_SLOWPATH,
    FLAG_SND_UNA_ADVANCED,
    FLAG_SYN_ACKED,
    FLAG_UPDATE_TS_RECENT,
    FLAG_WIN_UPDATE,
    REXMIT_NEW,
    REXMIT_NONE,
    tcp_check_sack_reordering,
    tcp_count_delivered,
    tcp_fastretrans_alert,
    tcp_highest_sack_seq,
    tcp_process_tlp_ack,
    tcp_rack_advance,
    tcp_rack_update_reo_wnd,
    tcp_remove_reno_sacks,
    tcp_skb_spurious_retrans,
)
from twinsock.kernel.net.ipv4.tcp_retransmit import tcp_clamp_probe0_to_user_timeout, tcp_mtup_probe_success, tcp_xmit_retransmit_queue
from twinsock.kernel.net.ipv4.tcp_rto import (
    tcp_min_rtt,
    tcp_probe0_when,
    tcp_rearm_rto,
    tcp_reset_xmit_timer,
    tcp_rtt_estimator,
    tcp_schedule_loss_probe,
    tcp_set_rto,
    tcp_update_pacing_rate,
    tcp_update_rtt_min,
)
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CA_LOSS,
    TCP_CA_OPEN,
    TCP_CHRONO_BUSY,
    TCP_ECN_OK,
    TCP_NAGLE_OFF,
    TCPCB_LOST,
    TCPCB_RETRANS,
    TCPCB_SACKED_ACKED,
    TCPCB_SACKED_RETRANS,
    TcpSkb,
    TcpSock,
    after,
    before,
    between,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    tcp_chrono_stop,
    tcp_fast_path_check,
    tcp_jiffies32,
    tcp_packets_in_flight,
    tcp_time_stamp_ts,
    tcp_wmem_free_skb,
    tcp_wnd_end,
)
from twinsock.kernel.net.ipv4.tcp_timestamp import tcp_ack_tstamp
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPDELIVERED,
    LINUX_MIB_TCPDELIVEREDCE,
    LINUX_MIB_TCPDSACKIGNOREDDUBIOUS,
    LINUX_MIB_TCPDSACKIGNOREDNOUNDO,
    LINUX_MIB_TCPDSACKIGNOREDOLD,
    LINUX_MIB_TCPDSACKOFORECV,
    LINUX_MIB_TCPDSACKRECV,
    LINUX_MIB_TCPDSACKRECVSEGS,
    LINUX_MIB_TCPHPACKS,
    LINUX_MIB_TCPPUREACKS,
    LINUX_MIB_TCPSACKDISCARD,
)
from twinsock.uapi.tcp import TCP_SYN_SENT
from twinsock.wire.tcp import TCPHDR_ECE, TCPHDR_SYN, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ACK_OK: Final = 1
ACK_OLD: Final = 0
ACK_TOO_OLD: Final = -1
ACK_UNSENT_DATA: Final = -2
TCP_TS_USEC: Final = 1000


class RateSample:
    """`struct rate_sample` and `struct tcp_sacktag_state`: what one acknowledgement teaches."""

    def __init__(self) -> None:
        self.prior_mstamp = 0
        self.prior_delivered = 0
        self.delivered = 0
        self.interval_us = 0
        self.rtt_us = -1
        self.losses = 0
        self.acked_sacked = 0
        self.prior_in_flight = 0
        self.last_end_seq = 0
        self.is_app_limited = False
        self.is_retrans = False
        self.is_ack_delayed = False
        # SACK tagging
        self.flag = 0
        self.reord = 0
        self.first_sackt = 0
        self.last_sackt = 0
        self.sack_delivered = 0


def tcp_ack(sk: TcpSock, skb: TcpSkb, flag: int) -> int:
    """Process the acknowledgement in a segment: ACK_OK, or ACK_OLD, ACK_TOO_OLD, ACK_UNSENT_DATA."""
    rs = RateSample()
    prior_snd_una = sk.snd_una
    ack_seq = skb.seq
    ack = skb.ack_seq
    prior_packets = sk.packets_out
    delivered = sk.delivered
    lost = sk.lost
    is_reneg = sk.is_sack_reneg
    if before(ack, prior_snd_una):
        # RFC 5961 5.2: an acknowledgement from too far back is not believed
        if before(ack, (prior_snd_una - min(sk.max_window, sk.bytes_acked)) & M32):
            return _unacceptable(sk, flag, ACK_TOO_OLD)
        return _tcp_old_ack(sk, skb, prior_snd_una, flag, rs, delivered)
    if after(ack, sk.snd_nxt):
        return _unacceptable(sk, flag, ACK_UNSENT_DATA)  # Measured: 6.18.44 challenges these, too
    if after(ack, prior_snd_una):
        flag |= FLAG_SND_UNA_ADVANCED
        sk.icsk_retransmits = 0
    prior_fack = tcp_highest_sack_seq(sk) if sk.rx_opt.sack_ok else sk.snd_una
    rs.prior_in_flight = tcp_packets_in_flight(sk)
    if flag & FLAG_UPDATE_TS_RECENT:
        tcp_replace_ts_recent(sk, skb.seq)
    stats = sk.sk_net.net_statistics
    if flag & (FLAG_SLOWPATH | FLAG_SND_UNA_ADVANCED) == FLAG_SND_UNA_ADVANCED:
        sk.snd_wl1 = ack_seq
        tcp_snd_una_update(sk, ack)
        flag |= FLAG_WIN_UPDATE
        stats[LINUX_MIB_TCPHPACKS] += 1
    else:
        if ack_seq != skb.end_seq:
            flag |= FLAG_DATA
        else:
            stats[LINUX_MIB_TCPPUREACKS] += 1
        flag |= tcp_ack_update_window(sk, skb, ack, ack_seq)
        th = skb.th
        if th is not None and th.sacks:
            flag |= tcp_sacktag_write_queue(sk, skb, th.sacks, prior_snd_una, rs)
        if th is not None and tcp_ecn_rcv_ecn_echo(sk, th):
            flag |= FLAG_ECE
        if rs.sack_delivered:
            tcp_count_delivered(sk, rs.sack_delivered, bool(flag & FLAG_ECE))
    sk.sk_err_soft = 0
    sk.icsk_probes_out = 0
    sk.rcv_tstamp = tcp_jiffies32(sk)
    if not prior_packets:
        return _ack_with_nothing_out(sk, ack, prior_snd_una, flag, delivered)
    flag |= tcp_clean_rtx_queue(sk, skb, prior_fack, prior_snd_una, rs, flag)
    tcp_rack_update_reo_wnd(sk, rs.prior_delivered)
    if sk.tlp_high_seq:
        tcp_process_tlp_ack(sk, ack, flag)
    rexmit = REXMIT_NONE
    if not flag & FLAG_NOT_DUP or flag & FLAG_CA_ALERT or sk.icsk_ca_state != TCP_CA_OPEN:
        num_dupack = 0
        if not flag & (FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DSACKING_ACK):
            num_dupack = 1 if flag & FLAG_DATA else max(1, skb.gso_segs)
        flag, rexmit = tcp_fastretrans_alert(sk, prior_snd_una, num_dupack, flag)
    if flag & FLAG_SET_XMIT_TIMER:
        if not tcp_schedule_loss_probe(sk, True):
            tcp_rearm_rto(sk)
    newly = tcp_newly_delivered(sk, delivered, flag)
    rs.is_ack_delayed = bool(flag & FLAG_ACK_MAYBE_DELAYED)
    tcp_rate_gen(sk, newly, sk.lost - lost, is_reneg, rs)
    _tcp_cong_control(sk, ack, newly, flag, rs)
    tcp_xmit_recovery(sk, rexmit)
    return ACK_OK


def _unacceptable(sk: TcpSock, flag: int, result: int) -> int:
    if not flag & FLAG_NO_CHALLENGE_ACK:
        tcp_send_challenge_ack(sk)
    return result


def _ack_with_nothing_out(sk: TcpSock, ack: int, prior_snd_una: int, flag: int, delivered: int) -> int:
    if flag & FLAG_DSACKING_ACK:
        tcp_fastretrans_alert(sk, prior_snd_una, 0, flag)
        tcp_newly_delivered(sk, delivered, flag)
    tcp_ack_probe(sk)
    if sk.tlp_high_seq:
        tcp_process_tlp_ack(sk, ack, flag)
    return ACK_OK


def _tcp_old_ack(sk: TcpSock, skb: TcpSkb, prior_snd_una: int, flag: int, rs: RateSample, delivered: int) -> int:
    """An acknowledgement that was overtaken may still carry news in its SACK blocks."""
    th = skb.th
    if th is not None and th.sacks:
        flag |= tcp_sacktag_write_queue(sk, skb, th.sacks, prior_snd_una, rs)
        if rs.sack_delivered:
            tcp_count_delivered(sk, rs.sack_delivered, False)
        flag, rexmit = tcp_fastretrans_alert(sk, prior_snd_una, 0, flag)
        tcp_newly_delivered(sk, delivered, flag)
        tcp_xmit_recovery(sk, rexmit)
    return ACK_OLD


# ---- windows and timestamps


def tcp_snd_una_update(sk: TcpSock, ack: int) -> None:
    """Advance what is acknowledged."""
    sk.bytes_acked += (ack - sk.snd_una) & M32
    sk.snd_una = ack


def tcp_ack_update_window(sk: TcpSock, skb: TcpSkb, ack: int, ack_seq: int) -> int:
    """Take the peer's window from a segment that is not older than the last update, RFC 9293 3.10.7.4: FLAG_WIN_UPDATE or 0."""
    th = skb.th
    flag = 0
    nwin = th.window if th is not None else 0
    if not skb.tcp_flags & TCPHDR_SYN:
        nwin <<= sk.rx_opt.snd_wscale
    if after(ack, sk.snd_una) or after(ack_seq, sk.snd_wl1) or (ack_seq == sk.snd_wl1 and (nwin > sk.snd_wnd or not nwin)):
        flag = FLAG_WIN_UPDATE
        sk.snd_wl1 = ack_seq
        if sk.snd_wnd != nwin:
            sk.snd_wnd = nwin
            sk.pred_wnd = -1
            tcp_fast_path_check(sk)
            if sk.sk_write_queue.head is not None:
                tcp_slow_start_after_idle_check(sk)
            if nwin > sk.max_window:
                sk.max_window = nwin
                tcp_sync_mss(sk, sk.icsk_pmtu_cookie)
    tcp_snd_una_update(sk, ack)
    return flag


def tcp_store_ts_recent(sk: TcpSock) -> None:
    """Remember the peer's timestamp and when it came."""
    sk.rx_opt.ts_recent = sk.rx_opt.rcv_tsval
    sk.rx_opt.ts_recent_stamp = max(1, ktime_get_seconds(sk))


def ktime_get_seconds(sk: TcpSock) -> int:
    """Return the seconds since boot."""
    return sk.sk_net.kernel.clock.now_ns // 1_000_000_000 + 300


def tcp_paws_check(sk: TcpSock, paws_win: int) -> bool:
    """Tell whether the segment's timestamp is not older than the last one, RFC 7323 5."""
    rx = sk.rx_opt
    d = (rx.ts_recent - rx.rcv_tsval) & M32
    if d > 0x7FFFFFFF:
        d -= 0x100000000
    if d <= paws_win:
        return True
    if ktime_get_seconds(sk) >= rx.ts_recent_stamp + 24 * 86400:
        return True
    # Some peers send SYN-ACKs with timestamp 0
    return not rx.ts_recent


def tcp_replace_ts_recent(sk: TcpSock, seq: int) -> None:
    """Take the timestamp of a segment at the left edge of the window, RFC 7323 4.3."""
    if sk.rx_opt.saw_tstamp and not after(seq, sk.rcv_wup):
        if tcp_paws_check(sk, 0):
            tcp_store_ts_recent(sk)


def tcp_ecn_rcv_ecn_echo(sk: TcpSock, th: Tcphdr) -> bool:
    """Tell whether the peer reports congestion, RFC 3168 6.1.2."""
    return bool(sk.ecn_flags & TCP_ECN_OK) and th.flags & (TCPHDR_ECE | TCPHDR_SYN) == TCPHDR_ECE


# ---- selective acknowledgements


def _sackblock_valid(sk: TcpSock, is_dsack: bool, start: int, end: int) -> bool:
    """Tell whether a block is about data that was sent and not forgotten."""
    if after(end, sk.snd_nxt) or not before(start, end) or not before(start, sk.snd_nxt):
        return False
    if after(start, sk.snd_una):
        return True
    if not is_dsack or not sk.undo_marker or after(end, sk.snd_una):
        return False
    if not before(start, sk.undo_marker):
        return True
    if not after(end, sk.undo_marker):
        return False
    return not before(start, (end - sk.max_window) & M32)


def _dsack_seen(sk: TcpSock, start: int, end: int, rs: RateSample) -> int:
    """Count the segments that a D-SACK reports as received twice; 0 when it cannot be true."""
    dup_segs = 1
    if not before(start, end):
        return 0
    seq_len = (end - start) & M32
    if seq_len > sk.max_window:
        return 0
    if seq_len > sk.mss_cache:
        dup_segs = (seq_len + sk.mss_cache - 1) // sk.mss_cache
    elif sk.tlp_high_seq and sk.tlp_high_seq == end:
        rs.flag |= FLAG_DSACK_TLP
    sk.dsack_dups += dup_segs
    if sk.dsack_dups > sk.total_retrans:
        return 0
    sk.dsack_seen = True
    if sk.reord_seen and not rs.flag & FLAG_DSACK_TLP:
        sk.rack_dsack_seen = True
    rs.flag |= FLAG_DSACKING_ACK
    rs.sack_delivered += dup_segs
    return dup_segs


def _check_dsack(sk: TcpSock, ack_skb: TcpSkb, sacks: list[tuple[int, int]], prior_snd_una: int, rs: RateSample) -> bool:
    """Tell whether the first block is a D-SACK, RFC 2883 4."""
    stats = sk.sk_net.net_statistics
    start, end = sacks[0]
    if before(start, ack_skb.ack_seq):
        stats[LINUX_MIB_TCPDSACKRECV] += 1
    elif len(sacks) > 1 and not after(end, sacks[1][1]) and not before(start, sacks[1][0]):
        stats[LINUX_MIB_TCPDSACKOFORECV] += 1
    else:
        return False
    dup_segs = _dsack_seen(sk, start, end, rs)
    if not dup_segs:
        stats[LINUX_MIB_TCPDSACKIGNOREDDUBIOUS] += 1
        return False
    stats[LINUX_MIB_TCPDSACKRECVSEGS] += dup_segs
    if sk.undo_marker and sk.undo_retrans > 0 and not after(end, prior_snd_una) and after(end, sk.undo_marker):
        sk.undo_retrans = max(0, sk.undo_retrans - dup_segs)
    return True


def _usable_blocks(
    sk: TcpSock, ack_skb: TcpSkb, sacks: list[tuple[int, int]], dsack: bool, prior_snd_una: int
) -> list[tuple[int, int, bool]]:
    stats = sk.sk_net.net_statistics
    blocks: list[tuple[int, int, bool]] = []
    for i in range(len(sacks)):
        start, end = sacks[i]
        dup = i == 0 and dsack
        if not _sackblock_valid(sk, dup, start, end):
            if dup:
                stats[LINUX_MIB_TCPDSACKIGNOREDOLD if sk.undo_marker else LINUX_MIB_TCPDSACKIGNOREDNOUNDO] += 1
            elif ack_skb.ack_seq == sk.snd_una or after(end, sk.snd_una):
                stats[LINUX_MIB_TCPSACKDISCARD] += 1
            continue
        if after(end, prior_snd_una):
            blocks.append((start, end, dup))
    for i in range(1, len(blocks)):
        block = blocks[i]
        k = i
        while k > 0 and after(blocks[k - 1][0], block[0]):
            blocks[k] = blocks[k - 1]
            k -= 1
        blocks[k] = block
    return blocks


def tcp_sacktag_write_queue(sk: TcpSock, ack_skb: TcpSkb, sacks: list[tuple[int, int]], prior_snd_una: int, rs: RateSample) -> int:
    """Mark what the SACK blocks report as received; return the flags gained."""
    rs.flag = 0
    rs.reord = sk.snd_nxt
    if not sk.sacked_out:
        sk.highest_sack = sk.tcp_rtx_queue.head
    dsack = _check_dsack(sk, ack_skb, sacks, prior_snd_una, rs)
    if before(ack_skb.ack_seq, (prior_snd_una - sk.max_window) & M32):
        return 0
    if sk.packets_out:
        for start, end, dup in _usable_blocks(sk, ack_skb, sacks, dsack, prior_snd_una):
            _sacktag_walk(sk, start, end, dup, rs)
        if sk.icsk_ca_state != TCP_CA_LOSS or sk.undo_marker:
            tcp_check_sack_reordering(sk, rs.reord, False)
    return rs.flag


def _sacktag_walk(sk: TcpSock, start: int, end: int, dup: bool, rs: RateSample) -> None:
    skb = sk.tcp_rtx_queue.head
    while skb is not None and before(skb.seq, end):
        if after(skb.end_seq, start):
            in_sack = not after(start, skb.seq) and not before(end, skb.end_seq)
            if not in_sack and skb.pcount > 1:
                in_sack = _match_skb_to_sack(sk, skb, start, end)
            if in_sack:
                _sacktag_one(sk, skb, dup, rs)
                tcp_rate_skb_delivered(sk, skb, rs)
                if not before(skb.seq, tcp_highest_sack_seq(sk)):
                    sk.highest_sack = skb.next
        skb = skb.next


def _match_skb_to_sack(sk: TcpSock, skb: TcpSkb, start: int, end: int) -> bool:
    """Cut a large segment at the MSS boundary nearest to the block's edge; tell whether its first part is in the block."""
    mss = skb.gso_size
    in_sack = not after(start, skb.seq)
    if not in_sack:
        pkt_len = max((start - skb.seq) & M32, mss)
    else:
        pkt_len = (end - skb.seq) & M32
        if pkt_len < mss:
            return False
    if pkt_len > mss:
        new_len = pkt_len // mss * mss
        if not in_sack and new_len < pkt_len:
            new_len += mss
        pkt_len = new_len
    if pkt_len >= skb.len:
        return in_sack
    if tcp_fragment(sk, sk.tcp_rtx_queue, skb, pkt_len, mss):
        return False
    return in_sack


def _sacktag_one(sk: TcpSock, skb: TcpSkb, dup: bool, rs: RateSample) -> None:
    """Mark one segment that a block covers."""
    sacked = skb.sacked
    pcount = skb.pcount
    if dup and sacked & TCPCB_RETRANS:
        if sk.undo_marker and sk.undo_retrans > 0 and after(skb.end_seq, sk.undo_marker):
            sk.undo_retrans = max(0, sk.undo_retrans - pcount)
        if sacked & TCPCB_SACKED_ACKED and before(skb.seq, rs.reord):
            rs.reord = skb.seq
    if not after(skb.end_seq, sk.snd_una):
        return
    if not sacked & TCPCB_SACKED_ACKED:
        if tcp_skb_spurious_retrans(sk, skb):
            return
        tcp_rack_advance(sk, sacked, skb.end_seq, skb.skb_mstamp_us)
        if sacked & TCPCB_SACKED_RETRANS:
            if sacked & TCPCB_LOST:
                sacked &= ~(TCPCB_LOST | TCPCB_SACKED_RETRANS)
                sk.lost_out -= pcount
                sk.retrans_out -= pcount
        else:
            if not sacked & TCPCB_RETRANS:
                _sacked_original(sk, skb, rs)
            if sacked & TCPCB_LOST:
                sacked &= ~TCPCB_LOST
                sk.lost_out -= pcount
        sacked |= TCPCB_SACKED_ACKED
        rs.flag |= FLAG_DATA_SACKED
        sk.sacked_out += pcount
        rs.sack_delivered += pcount
    if dup and sacked & TCPCB_SACKED_RETRANS:
        sacked &= ~TCPCB_SACKED_RETRANS
        sk.retrans_out -= pcount
    skb.sacked = sacked


def _sacked_original(sk: TcpSock, skb: TcpSkb, rs: RateSample) -> None:
    """A segment that was sent once arrived: late if later ones were reported before."""
    if before(skb.seq, tcp_highest_sack_seq(sk)) and before(skb.seq, rs.reord):
        rs.reord = skb.seq
    if not after(skb.end_seq, sk.high_seq):
        rs.flag |= FLAG_ORIG_SACK_ACKED
    if rs.first_sackt == 0:
        rs.first_sackt = skb.skb_mstamp_us
    rs.last_sackt = skb.skb_mstamp_us


# ---- cumulative acknowledgement


class _Cleaned:
    """What removing acknowledged segments found."""

    def __init__(self, reord: int) -> None:
        self.flag = 0
        self.first_ackt = 0
        self.last_ackt = 0
        self.pkts_acked = 0
        self.reord = reord
        self.fully_acked = True


def tcp_clean_rtx_queue(sk: TcpSock, ack_skb: TcpSkb, prior_fack: int, prior_snd_una: int, rs: RateSample, flag: int) -> int:
    """Remove acknowledged segments from the retransmit queue, take samples; return the flags gained."""
    ece_ack = bool(flag & FLAG_ECE)
    prior_sacked = sk.sacked_out
    got = _Cleaned(sk.snd_nxt)
    queue = sk.tcp_rtx_queue
    skb = queue.head
    while skb is not None:
        if not _clean_one(sk, skb, rs, got, ece_ack):
            break
        tcp_ack_tstamp(sk, skb, ack_skb)
        nxt = skb.next
        if skb is sk.retransmit_skb_hint:
            sk.retransmit_skb_hint = None
        if skb is sk.highest_sack:
            sk.highest_sack = nxt
        queue.remove(skb)
        tcp_wmem_free_skb(sk, skb)
        skb = nxt
    if skb is None:
        tcp_chrono_stop(sk, TCP_CHRONO_BUSY)
    if between(sk.snd_up, prior_snd_una, sk.snd_una):
        sk.snd_up = sk.snd_una
    if skb is not None and skb.sacked & TCPCB_SACKED_ACKED:
        got.flag |= FLAG_SACK_RENEGING
    seq_rtt_us, sack_rtt_us, ca_rtt_us = _samples(sk, prior_snd_una, prior_sacked, rs, got, flag)
    rtt_update = tcp_ack_update_rtt(sk, flag | got.flag, seq_rtt_us, sack_rtt_us, ca_rtt_us, rs)
    if got.flag & FLAG_ACKED:
        got.flag |= FLAG_SET_XMIT_TIMER
        if sk.mtup_probe_size and not after(sk.mtup_probe_seq_end, sk.snd_una):
            tcp_mtup_probe_success(sk)
        if not sk.rx_opt.sack_ok:
            tcp_remove_reno_sacks(sk, got.pkts_acked, ece_ack)
            if got.flag & FLAG_RETRANS_DATA_ACKED:
                got.flag &= ~FLAG_ORIG_SACK_ACKED
        elif before(got.reord, prior_fack):
            tcp_check_sack_reordering(sk, got.reord, False)
    elif skb is not None and rtt_update and sack_rtt_us >= 0 and sack_rtt_us > sk.tcp_mstamp - skb.skb_mstamp_us:
        got.flag |= FLAG_SET_XMIT_TIMER
    ca_ops(sk).pkts_acked(sk, got.pkts_acked, rs.rtt_us, rs.prior_in_flight)
    return got.flag


def _samples(sk: TcpSock, prior_snd_una: int, prior_sacked: int, rs: RateSample, got: _Cleaned, flag: int) -> tuple[int, int, int]:
    """Return round trips of (oldest acked, oldest sacked, newest of both) in microseconds, -1 for none."""
    seq_rtt_us = -1
    sack_rtt_us = -1
    ca_rtt_us = -1
    if got.first_ackt and not got.flag & FLAG_RETRANS_DATA_ACKED:
        seq_rtt_us = sk.tcp_mstamp - got.first_ackt
        ca_rtt_us = sk.tcp_mstamp - got.last_ackt
        if (
            got.pkts_acked == 1
            and got.fully_acked
            and not prior_sacked
            and (sk.snd_una - prior_snd_una) & M32 < sk.mss_cache
            and rs.prior_delivered + 1 == sk.delivered
            and not (flag | got.flag) & (FLAG_CA_ALERT | FLAG_SYN_ACKED)
        ):
            got.flag |= FLAG_ACK_MAYBE_DELAYED
    if rs.first_sackt:
        sack_rtt_us = sk.tcp_mstamp - rs.first_sackt
        ca_rtt_us = sk.tcp_mstamp - rs.last_sackt
    return seq_rtt_us, sack_rtt_us, ca_rtt_us


def _clean_one(sk: TcpSock, skb: TcpSkb, rs: RateSample, got: _Cleaned, ece_ack: bool) -> bool:
    """Account one acknowledged segment; false when it, or part of it, stays in the queue."""
    sacked = skb.sacked
    start_seq = skb.seq
    if after(skb.end_seq, sk.snd_una):
        if skb.pcount == 1 or not after(sk.snd_una, skb.seq):
            return False
        acked = _tso_acked(sk, skb)
        if not acked:
            return False
        got.fully_acked = False
    else:
        acked = skb.pcount
    if sacked & TCPCB_RETRANS:
        if sacked & TCPCB_SACKED_RETRANS:
            sk.retrans_out -= acked
        got.flag |= FLAG_RETRANS_DATA_ACKED
    elif not sacked & TCPCB_SACKED_ACKED:
        got.last_ackt = skb.skb_mstamp_us
        if not got.first_ackt:
            got.first_ackt = got.last_ackt
        if before(start_seq, got.reord):
            got.reord = start_seq
        if not after(skb.end_seq, sk.high_seq):
            got.flag |= FLAG_ORIG_SACK_ACKED
    if sacked & TCPCB_SACKED_ACKED:
        sk.sacked_out -= acked
    elif sk.rx_opt.sack_ok:
        tcp_count_delivered(sk, acked, ece_ack)
        if not tcp_skb_spurious_retrans(sk, skb):
            tcp_rack_advance(sk, sacked, skb.end_seq, skb.skb_mstamp_us)
    if sacked & TCPCB_LOST:
        sk.lost_out -= acked
    sk.packets_out -= acked
    got.pkts_acked += acked
    tcp_rate_skb_delivered(sk, skb, rs)
    if skb.tcp_flags & TCPHDR_SYN:
        got.flag |= FLAG_SYN_ACKED
        sk.retrans_stamp = 0
    else:
        got.flag |= FLAG_DATA_ACKED
    return got.fully_acked


def _tso_acked(sk: TcpSock, skb: TcpSkb) -> int:
    """Trim the acknowledged front of a large segment; return how many segments that were."""
    packets = skb.pcount
    tcp_trim_head(sk, skb, (sk.snd_una - skb.seq) & M32)
    if skb.gso_size:
        tcp_set_skb_tso_segs(skb, skb.gso_size)
    return packets - skb.pcount


def tcp_ack_update_rtt(sk: TcpSock, flag: int, seq_rtt_us: int, sack_rtt_us: int, ca_rtt_us: int, rs: RateSample) -> bool:
    """Choose the round-trip sample (Karn: never from what was sent twice, except by timestamp) and update the timeout."""
    if seq_rtt_us < 0:
        seq_rtt_us = sack_rtt_us
    if seq_rtt_us < 0 and sk.rx_opt.saw_tstamp and sk.rx_opt.rcv_tsecr and flag & FLAG_ACKED:
        delta = (tcp_time_stamp_ts(sk) - sk.rx_opt.rcv_tsecr) & M32
        if delta < 0x7FFFFFFF // TCP_TS_USEC:
            seq_rtt_us = ca_rtt_us = max(delta, 1) * TCP_TS_USEC
    rs.rtt_us = ca_rtt_us
    if seq_rtt_us < 0:
        return False
    tcp_update_rtt_min(sk, ca_rtt_us, bool(flag & FLAG_ACK_MAYBE_DELAYED))
    tcp_rtt_estimator(sk, seq_rtt_us)
    tcp_set_rto(sk)
    sk.icsk_backoff = 0
    return True


# ---- rates and congestion control


def tcp_rate_skb_delivered(sk: TcpSock, skb: TcpSkb, rs: RateSample) -> None:
    """Take the rate sample of the segment that was sent last among those delivered."""
    if not skb.delivered_mstamp:
        return
    tx = skb.skb_mstamp_us
    if not rs.prior_delivered or tx > sk.first_tx_mstamp or (tx == sk.first_tx_mstamp and after(skb.end_seq, rs.last_end_seq)):
        rs.prior_delivered = skb.delivered
        rs.prior_mstamp = skb.delivered_mstamp
        rs.is_app_limited = skb.is_app_limited
        rs.is_retrans = bool(skb.sacked & TCPCB_RETRANS)
        rs.last_end_seq = skb.end_seq
        sk.first_tx_mstamp = tx
        rs.interval_us = tx - skb.first_tx_mstamp
    if skb.sacked & TCPCB_SACKED_ACKED:
        skb.delivered_mstamp = 0


def tcp_rate_gen(sk: TcpSock, delivered: int, lost: int, is_sack_reneg: bool, rs: RateSample) -> None:
    """Turn the sample into a delivery rate."""
    if sk.app_limited and sk.delivered > sk.app_limited:
        sk.app_limited = 0
    if delivered:
        sk.delivered_mstamp = sk.tcp_mstamp
    rs.acked_sacked = delivered
    rs.losses = lost
    if not rs.prior_mstamp or is_sack_reneg:
        rs.delivered = -1
        rs.interval_us = -1
        return
    rs.delivered = sk.delivered - rs.prior_delivered
    rs.interval_us = max(rs.interval_us, sk.tcp_mstamp - rs.prior_mstamp)
    if rs.interval_us < tcp_min_rtt(sk):
        rs.interval_us = -1
        return
    if not rs.is_app_limited or rs.delivered * sk.rate_interval_us >= sk.rate_delivered * rs.interval_us:
        sk.rate_delivered = rs.delivered
        sk.rate_interval_us = rs.interval_us
        sk.rate_app_limited = rs.is_app_limited


def tcp_newly_delivered(sk: TcpSock, prior_delivered: int, flag: int) -> int:
    """Count what this acknowledgement delivered."""
    delivered = sk.delivered - prior_delivered
    stats = sk.sk_net.net_statistics
    stats[LINUX_MIB_TCPDELIVERED] += delivered
    if flag & FLAG_ECE:
        stats[LINUX_MIB_TCPDELIVEREDCE] += delivered
    return delivered


def _tcp_cong_control(sk: TcpSock, ack: int, acked_sacked: int, flag: int, rs: RateSample) -> None:
    if tcp_in_cwnd_reduction(sk):
        tcp_cwnd_reduction(sk, acked_sacked, rs.losses, bool(flag & FLAG_SND_UNA_ADVANCED))
    elif flag & (FLAG_FORWARD_PROGRESS if sk.reordering > sk.sk_net.ipv4.sysctl_tcp_reordering else FLAG_DATA_ACKED):
        ca_ops(sk).cong_avoid(sk, ack, acked_sacked)
        sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    tcp_update_pacing_rate(sk)


def tcp_xmit_recovery(sk: TcpSock, rexmit: int) -> None:
    """Send what recovery wants to send, after the window was set."""
    if rexmit == REXMIT_NONE or sk.sk_state == TCP_SYN_SENT:
        return
    if rexmit == REXMIT_NEW:
        tcp_push_pending_frames(sk, tcp_current_mss(sk), TCP_NAGLE_OFF)
        if after(sk.snd_nxt, sk.high_seq):
            return
        sk.frto = False
    tcp_xmit_retransmit_queue(sk)


def tcp_ack_probe(sk: TcpSock) -> None:
    """The window opened, or not: stop or continue zero-window probing."""
    head = sk.sk_write_queue.head
    if head is None:
        return
    if not after(head.end_seq, tcp_wnd_end(sk)):
        sk.icsk_backoff = 0
        sk.icsk_probes_tstamp = 0
        inet_csk_clear_xmit_timer(sk)
    else:
        when = tcp_clamp_probe0_to_user_timeout(sk, tcp_probe0_when(sk, sk.icsk_rto_max))
        tcp_reset_xmit_timer(sk, ICSK_TIME_PROBE0, when, True)
