"""Finding losses and recovering from them (Linux: net/ipv4/tcp_recovery.c and the second half of tcp_input.c).

RFC 8985 (RACK), RFC 6675, RFC 6582 (NewReno), RFC 5682 (F-RTO), RFC 3522 and RFC 3708 (undo by timestamps and D-SACK).

    Open --SACK, dupack--> Disorder --loss found--> Recovery --all acked--> Open
      |  --ECN echo--> CWR --> Open                 any --timeout--> Loss --> Open
"""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_csk import ICSK_TIME_REO_TIMEOUT, ICSK_TIME_RETRANS, inet_csk_reset_xmit_timer
from twinsock.kernel.net.ipv4.tcp_cong import (
    CA_EVENT_LOSS,
    ca_ops,
    tcp_ca_event,
    tcp_current_ssthresh,
    tcp_cwnd_reduction,
    tcp_ecn_queue_cwr,
    tcp_end_cwnd_reduction,
    tcp_enter_cwr,
    tcp_in_cwnd_reduction,
    tcp_init_cwnd_reduction,
    tcp_set_ca_state,
)
from twinsock.kernel.net.ipv4.tcp_output import tcp_current_mss, tcp_fragment
from twinsock.kernel.net.ipv4.tcp_retransmit import tcp_mark_skb_lost, tcp_mtup_probe_failed, tcp_xmit_retransmit_queue
from twinsock.kernel.net.ipv4.tcp_rto import TCP_TIMEOUT_MIN_US, tcp_min_rtt, tcp_rearm_rto
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CA_CWR,
    TCP_CA_DISORDER,
    TCP_CA_LOSS,
    TCP_CA_OPEN,
    TCP_CA_RECOVERY,
    TCP_ECN_QUEUE_CWR,
    TCP_RACK_RECOVERY_THRESH,
    TCPCB_EVER_RETRANS,
    TCPCB_LOST,
    TCPCB_RETRANS,
    TCPCB_SACKED_ACKED,
    TCPCB_SACKED_RETRANS,
    TcpSkb,
    TcpSock,
    after,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    tcp_jiffies32,
    tcp_packets_in_flight,
    tcp_wnd_end,
    usecs_to_jiffies,
)
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPDSACKUNDO,
    LINUX_MIB_TCPFULLUNDO,
    LINUX_MIB_TCPLOSSPROBERECOVERY,
    LINUX_MIB_TCPLOSSUNDO,
    LINUX_MIB_TCPPARTIALUNDO,
    LINUX_MIB_TCPRENORECOVERY,
    LINUX_MIB_TCPRENOREORDER,
    LINUX_MIB_TCPSACKRECOVERY,
    LINUX_MIB_TCPSACKRENEGING,
    LINUX_MIB_TCPSACKREORDER,
    LINUX_MIB_TCPSPURIOUSRTOS,
    LINUX_MIB_TCPTSREORDER,
)
from twinsock.uapi.tcp import TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# what an acknowledgement did, collected while it is processed
FLAG_DATA: Final = 0x01
FLAG_WIN_UPDATE: Final = 0x02
FLAG_DATA_ACKED: Final = 0x04
FLAG_RETRANS_DATA_ACKED: Final = 0x08
FLAG_SYN_ACKED: Final = 0x10
FLAG_DATA_SACKED: Final = 0x20
FLAG_ECE: Final = 0x40
FLAG_LOST_RETRANS: Final = 0x80
FLAG_SLOWPATH: Final = 0x100
FLAG_ORIG_SACK_ACKED: Final = 0x200
FLAG_SND_UNA_ADVANCED: Final = 0x400
FLAG_DSACKING_ACK: Final = 0x800
FLAG_SET_XMIT_TIMER: Final = 0x1000
FLAG_SACK_RENEGING: Final = 0x2000
FLAG_UPDATE_TS_RECENT: Final = 0x4000
FLAG_NO_CHALLENGE_ACK: Final = 0x8000
FLAG_ACK_MAYBE_DELAYED: Final = 0x10000
FLAG_DSACK_TLP: Final = 0x20000

FLAG_ACKED: Final = FLAG_DATA_ACKED | FLAG_SYN_ACKED
FLAG_NOT_DUP: Final = FLAG_DATA | FLAG_WIN_UPDATE | FLAG_ACKED
FLAG_CA_ALERT: Final = FLAG_DATA_SACKED | FLAG_ECE | FLAG_DSACKING_ACK
FLAG_FORWARD_PROGRESS: Final = FLAG_ACKED | FLAG_DATA_SACKED

REXMIT_NONE: Final = 0
REXMIT_LOST: Final = 1
REXMIT_NEW: Final = 2

TCP_RACK_NO_DUPTHRESH: Final = 4
TCP_RACK_STATIC_REO_WND: Final = 2


def tcp_count_delivered(sk: TcpSock, delivered: int, ece_ack: bool) -> None:
    """Count segments that reached the peer."""
    sk.delivered += delivered
    if ece_ack:
        sk.delivered_ce += delivered


def tcp_highest_sack_seq(sk: TcpSock) -> int:
    """Return the sequence number behind the highest selectively acknowledged segment."""
    if not sk.sacked_out:
        return sk.snd_una
    if sk.highest_sack is None:
        return sk.snd_nxt
    return sk.highest_sack.seq


def tcp_tsopt_ecr_before(sk: TcpSock, when: int) -> bool:
    """Tell whether the peer echoes a timestamp from before `when`."""
    return sk.rx_opt.saw_tstamp and sk.rx_opt.rcv_tsecr != 0 and before(sk.rx_opt.rcv_tsecr, when)


def tcp_skb_spurious_retrans(sk: TcpSock, skb: TcpSkb) -> bool:
    """Tell whether the acknowledgement is for the original of a segment that was sent again."""
    if not skb.sacked & TCPCB_RETRANS:
        return False
    return tcp_tsopt_ecr_before(sk, (skb.skb_mstamp_us // 1000 + sk.tsoffset) & M32)


def tcp_left_out(sk: TcpSock) -> int:
    """Return the segments that are not in the network any more."""
    return sk.sacked_out + sk.lost_out


# ---- RACK


def _sent_after(t1: int, t2: int, seq1: int, seq2: int) -> bool:
    return t1 > t2 or (t1 == t2 and after(seq1, seq2))


def tcp_rack_reo_wnd(sk: TcpSock) -> int:
    """Return the reordering window in microseconds, RFC 8985 6.2 step 4."""
    if not sk.reord_seen:
        if sk.icsk_ca_state >= TCP_CA_RECOVERY:
            return 0
        if sk.sacked_out >= sk.reordering and not sk.sk_net.ipv4.sysctl_tcp_recovery & TCP_RACK_NO_DUPTHRESH:
            return 0
    return min((tcp_min_rtt(sk) >> 2) * sk.rack_reo_wnd_steps, sk.srtt_us >> 3)


def tcp_rack_skb_timeout(sk: TcpSock, skb: TcpSkb, reo_wnd: int) -> int:
    """Return the microseconds until the segment counts as lost."""
    return sk.rack_rtt_us + reo_wnd - (sk.tcp_mstamp - skb.skb_mstamp_us)


def tcp_rack_detect_loss(sk: TcpSock) -> int:
    """Mark segments sent well before the newest delivered one; return the microseconds until the next look, 0 for none."""
    reo_wnd = tcp_rack_reo_wnd(sk)
    reo_timeout = 0
    skb = sk.tcp_rtx_queue.head
    while skb is not None:
        sacked = skb.sacked
        if not skb.rack_listed or sacked & TCPCB_SACKED_ACKED or (sacked & TCPCB_LOST and not sacked & TCPCB_SACKED_RETRANS):
            skb = skb.next
            continue
        if _sent_after(sk.rack_mstamp, skb.skb_mstamp_us, sk.rack_end_seq, skb.end_seq):
            remaining = tcp_rack_skb_timeout(sk, skb, reo_wnd)
            if remaining <= 0:
                tcp_mark_skb_lost(sk, skb)
                skb.rack_listed = False  # Linux: judged once for each time it is sent, also when an undo clears the mark
            else:
                reo_timeout = max(reo_timeout, remaining)
        skb = skb.next
    return reo_timeout


def tcp_rack_mark_lost(sk: TcpSock) -> bool:
    """Look for losses after new deliveries; tell whether the reordering timer was armed."""
    if not sk.rack_advanced:
        return False
    sk.rack_advanced = False
    timeout = tcp_rack_detect_loss(sk)
    if timeout:
        inet_csk_reset_xmit_timer(sk, ICSK_TIME_REO_TIMEOUT, usecs_to_jiffies(sk, timeout + TCP_TIMEOUT_MIN_US), sk.icsk_rto)
    return timeout != 0


def tcp_rack_advance(sk: TcpSock, sacked: int, end_seq: int, xmit_time: int) -> None:
    """Note a delivered segment, RFC 8985 6.2 step 2; a retransmission faster than the minimum round trip tells nothing."""
    rtt_us = max(sk.tcp_mstamp - xmit_time, 0)
    if rtt_us < tcp_min_rtt(sk) and sacked & TCPCB_RETRANS:
        return
    sk.rack_advanced = True
    sk.rack_rtt_us = rtt_us
    if _sent_after(xmit_time, sk.rack_mstamp, end_seq, sk.rack_end_seq):
        sk.rack_mstamp = xmit_time
        sk.rack_end_seq = end_seq


def tcp_rack_reo_timeout(sk: TcpSock) -> None:
    """The reordering timer ran: what is still missing is lost."""
    prior_inflight = tcp_packets_in_flight(sk)
    lost = sk.lost
    tcp_rack_detect_loss(sk)
    if prior_inflight != tcp_packets_in_flight(sk):
        if sk.icsk_ca_state != TCP_CA_RECOVERY:
            tcp_enter_recovery(sk, False)
            tcp_cwnd_reduction(sk, 1, sk.lost - lost, False)
        tcp_xmit_retransmit_queue(sk)
    if sk.icsk_pending != ICSK_TIME_RETRANS:
        tcp_rearm_rto(sk)


def tcp_rack_update_reo_wnd(sk: TcpSock, prior_delivered: int) -> None:
    """Widen the reordering window once per round trip with D-SACKs; return to one step after 16 recoveries without."""
    if sk.sk_net.ipv4.sysctl_tcp_recovery & TCP_RACK_STATIC_REO_WND or not prior_delivered:
        return
    if prior_delivered < sk.rack_last_delivered:
        sk.rack_dsack_seen = False
    if sk.rack_dsack_seen:
        sk.rack_reo_wnd_steps = min(0xFF, sk.rack_reo_wnd_steps + 1)
        sk.rack_dsack_seen = False
        sk.rack_last_delivered = sk.delivered
        sk.rack_reo_wnd_persist = TCP_RACK_RECOVERY_THRESH
    elif not sk.rack_reo_wnd_persist:
        sk.rack_reo_wnd_steps = 1


def tcp_newreno_mark_lost(sk: TcpSock, snd_una_advanced: bool) -> None:
    """Without SACK: three duplicates, or a partial acknowledgement in recovery, mean that the head is lost, RFC 6582."""
    state = sk.icsk_ca_state
    if not ((state < TCP_CA_RECOVERY and sk.sacked_out >= sk.reordering) or (state == TCP_CA_RECOVERY and snd_una_advanced)):
        return
    skb = sk.tcp_rtx_queue.head
    if skb is None or skb.sacked & TCPCB_LOST:
        return
    mss = skb.gso_size
    if skb.pcount > 1 and skb.len > mss:
        tcp_fragment(sk, sk.tcp_rtx_queue, skb, mss, mss)
    tcp_mark_skb_lost(sk, skb)


def tcp_identify_packet_loss(sk: TcpSock, ack_flag: int) -> int:
    """Mark what is lost; return the flags, changed."""
    if sk.tcp_rtx_queue.head is None:
        return ack_flag
    if not sk.rx_opt.sack_ok:
        tcp_newreno_mark_lost(sk, bool(ack_flag & FLAG_SND_UNA_ADVANCED))
        return ack_flag
    prior_retrans = sk.retrans_out
    if tcp_rack_mark_lost(sk):
        ack_flag &= ~FLAG_SET_XMIT_TIMER
    if prior_retrans > sk.retrans_out:
        ack_flag |= FLAG_LOST_RETRANS
    return ack_flag


# ---- reordering, and Reno's imitation of SACK


def tcp_check_sack_reordering(sk: TcpSock, low_seq: int, ts: bool) -> None:
    """Learn how far segments overtake each other from one that was late and not lost."""
    fack = tcp_highest_sack_seq(sk)
    if not before(low_seq, fack):
        return
    metric = (fack - low_seq) & M32
    mss = sk.mss_cache
    if metric > sk.reordering * mss and mss:
        sk.reordering = min((metric + mss - 1) // mss, sk.sk_net.ipv4.sysctl_tcp_max_reordering)
    sk.reord_seen += 1
    sk.sk_net.net_statistics[LINUX_MIB_TCPTSREORDER if ts else LINUX_MIB_TCPSACKREORDER] += 1


def _limit_reno_sacked(sk: TcpSock) -> bool:
    holes = min(max(sk.lost_out, 1), sk.packets_out)
    if sk.sacked_out + holes > sk.packets_out:
        sk.sacked_out = sk.packets_out - holes
        return True
    return False


def _check_reno_reordering(sk: TcpSock, addend: int) -> None:
    if not _limit_reno_sacked(sk):
        return
    sk.reordering = min(sk.packets_out + addend, sk.sk_net.ipv4.sysctl_tcp_max_reordering)
    sk.reord_seen += 1
    sk.sk_net.net_statistics[LINUX_MIB_TCPRENOREORDER] += 1


def tcp_add_reno_sack(sk: TcpSock, num_dupack: int, ece_ack: bool) -> None:
    """Count duplicate acknowledgements as segments that left the network."""
    if num_dupack:
        prior = sk.sacked_out
        sk.sacked_out += num_dupack
        _check_reno_reordering(sk, 0)
        delivered = sk.sacked_out - prior
        if delivered > 0:
            tcp_count_delivered(sk, delivered, ece_ack)


def tcp_remove_reno_sacks(sk: TcpSock, acked: int, ece_ack: bool) -> None:
    """Take acknowledged segments off Reno's count."""
    if acked > 0:
        tcp_count_delivered(sk, max(acked - sk.sacked_out, 1), ece_ack)
        sk.sacked_out = 0 if acked - 1 >= sk.sacked_out else sk.sacked_out - (acked - 1)
    _check_reno_reordering(sk, acked)


# ---- undoing a reduction that was a mistake


def tcp_any_retrans_done(sk: TcpSock) -> bool:
    """Tell whether anything in flight was sent more than once."""
    head = sk.tcp_rtx_queue.head
    return sk.retrans_out != 0 or (head is not None and bool(head.sacked & TCPCB_EVER_RETRANS))


def tcp_retrans_stamp_cleanup(sk: TcpSock) -> None:
    """Forget when retransmission began, if nothing in flight was sent again."""
    if not tcp_any_retrans_done(sk):
        sk.retrans_stamp = 0


def tcp_packet_delayed(sk: TcpSock) -> bool:
    """Tell whether the original arrived: an echo older than the first retransmission, or nothing was sent again."""
    if sk.retrans_stamp:
        return tcp_tsopt_ecr_before(sk, sk.retrans_stamp)
    return sk.sk_state != TCP_SYN_SENT


def tcp_may_undo(sk: TcpSock) -> bool:
    """Tell whether the last reduction proved needless."""
    return sk.undo_marker != 0 and (sk.undo_retrans == 0 or tcp_packet_delayed(sk))


def tcp_undo_cwnd_reduction(sk: TcpSock, unmark_loss: bool) -> None:
    """Return to the window before the reduction."""
    if unmark_loss:
        skb = sk.tcp_rtx_queue.head
        while skb is not None:
            skb.sacked &= ~TCPCB_LOST
            skb = skb.next
        sk.lost_out = 0
        sk.retransmit_skb_hint = None
    if sk.prior_ssthresh:
        sk.snd_cwnd = ca_ops(sk).undo_cwnd(sk)
        if sk.prior_ssthresh > sk.snd_ssthresh:
            sk.snd_ssthresh = sk.prior_ssthresh
            sk.ecn_flags &= ~TCP_ECN_QUEUE_CWR
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk.undo_marker = 0
    sk.rack_advanced = True


def _non_sack_preventing_reopen(sk: TcpSock) -> bool:
    """Without SACK the old state is held until something above high_seq is acknowledged, RFC 6582 3.2 step 1."""
    if sk.snd_una == sk.high_seq and not sk.rx_opt.sack_ok:
        tcp_retrans_stamp_cleanup(sk)
        return True
    return False


def tcp_try_undo_recovery(sk: TcpSock) -> bool:
    """End recovery or loss, undone if it was needless; true when the state must be held a little longer."""
    stats = sk.sk_net.net_statistics
    if tcp_may_undo(sk):
        tcp_undo_cwnd_reduction(sk, False)
        stats[LINUX_MIB_TCPLOSSUNDO if sk.icsk_ca_state == TCP_CA_LOSS else LINUX_MIB_TCPFULLUNDO] += 1
    elif sk.rack_reo_wnd_persist:
        sk.rack_reo_wnd_persist -= 1
    if _non_sack_preventing_reopen(sk):
        return True
    tcp_set_ca_state(sk, TCP_CA_OPEN)
    sk.is_sack_reneg = False
    return False


def tcp_try_undo_dsack(sk: TcpSock) -> bool:
    """Undo when every retransmission was reported as a duplicate, RFC 3708."""
    if sk.undo_marker and sk.undo_retrans == 0:
        sk.rack_reo_wnd_persist = min(TCP_RACK_RECOVERY_THRESH, sk.rack_reo_wnd_persist + 1)
        tcp_undo_cwnd_reduction(sk, False)
        sk.sk_net.net_statistics[LINUX_MIB_TCPDSACKUNDO] += 1
        return True
    return False


def tcp_try_undo_loss(sk: TcpSock, frto_undo: bool) -> bool:
    """Undo a timeout that was spurious."""
    if not frto_undo and not tcp_may_undo(sk):
        return False
    tcp_undo_cwnd_reduction(sk, True)
    stats = sk.sk_net.net_statistics
    stats[LINUX_MIB_TCPLOSSUNDO] += 1
    if frto_undo:
        stats[LINUX_MIB_TCPSPURIOUSRTOS] += 1
    sk.icsk_retransmits = 0
    if _non_sack_preventing_reopen(sk):
        return True
    if frto_undo or sk.rx_opt.sack_ok:
        tcp_set_ca_state(sk, TCP_CA_OPEN)
        sk.is_sack_reneg = False
    return True


def tcp_try_undo_partial(sk: TcpSock, prior_snd_una: int) -> bool:
    """In recovery: a hole was filled by a delayed original. True: neither mark nor send more."""
    if sk.undo_marker and tcp_packet_delayed(sk):
        tcp_check_sack_reordering(sk, prior_snd_una, True)
        if sk.retrans_out:
            return True
        tcp_retrans_stamp_cleanup(sk)
        tcp_undo_cwnd_reduction(sk, True)
        sk.sk_net.net_statistics[LINUX_MIB_TCPPARTIALUNDO] += 1
        tcp_try_keep_open(sk)
    return False


# ---- entering and leaving recovery


def tcp_init_undo(sk: TcpSock) -> None:
    """Remember what an undo needs."""
    sk.undo_marker = sk.snd_una
    sk.undo_retrans = sk.retrans_out
    if sk.tlp_high_seq and sk.tlp_retrans:
        sk.undo_retrans += 1
    if not sk.undo_retrans:
        sk.undo_retrans = -1


def tcp_enter_recovery(sk: TcpSock, ece_ack: bool) -> None:
    """Begin fast recovery."""
    stats = sk.sk_net.net_statistics
    stats[LINUX_MIB_TCPSACKRECOVERY if sk.rx_opt.sack_ok else LINUX_MIB_TCPRENORECOVERY] += 1
    tcp_retrans_stamp_cleanup(sk)
    sk.prior_ssthresh = 0
    tcp_init_undo(sk)
    if not tcp_in_cwnd_reduction(sk):
        if not ece_ack:
            sk.prior_ssthresh = tcp_current_ssthresh(sk)
        tcp_init_cwnd_reduction(sk)
    tcp_set_ca_state(sk, TCP_CA_RECOVERY)


def _timeout_mark_lost(sk: TcpSock) -> None:
    head = sk.tcp_rtx_queue.head
    is_reneg = head is not None and bool(head.sacked & TCPCB_SACKED_ACKED)
    if is_reneg:
        sk.sk_net.net_statistics[LINUX_MIB_TCPSACKRENEGING] += 1
        sk.sacked_out = 0
        sk.is_sack_reneg = True
    elif not sk.rx_opt.sack_ok:
        sk.sacked_out = 0
    skb = head
    while skb is not None:
        if is_reneg:
            skb.sacked &= ~TCPCB_SACKED_ACKED
        elif skb is not head and sk.rx_opt.sack_ok and tcp_rack_skb_timeout(sk, skb, 0) > 0:
            skb = skb.next
            continue
        tcp_mark_skb_lost(sk, skb)
        skb = skb.next
    sk.retransmit_skb_hint = None


def tcp_enter_loss(sk: TcpSock) -> None:
    """A timeout: believe the flight lost and start over with one segment, RFC 5681 3.1, RFC 5682 2.1."""
    ipv4 = sk.sk_net.ipv4
    new_recovery = sk.icsk_ca_state < TCP_CA_RECOVERY
    _timeout_mark_lost(sk)
    if (
        sk.icsk_ca_state <= TCP_CA_DISORDER
        or not after(sk.high_seq, sk.snd_una)
        or (sk.icsk_ca_state == TCP_CA_LOSS and not sk.icsk_retransmits)
    ):
        sk.prior_ssthresh = tcp_current_ssthresh(sk)
        sk.prior_cwnd = sk.snd_cwnd
        sk.snd_ssthresh = ca_ops(sk).ssthresh(sk)
        tcp_ca_event(sk, CA_EVENT_LOSS)
        tcp_init_undo(sk)
    sk.snd_cwnd = tcp_packets_in_flight(sk) + 1
    sk.snd_cwnd_cnt = 0
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    if sk.icsk_ca_state <= TCP_CA_DISORDER and sk.sacked_out >= ipv4.sysctl_tcp_reordering:
        sk.reordering = min(sk.reordering, ipv4.sysctl_tcp_reordering)
    tcp_set_ca_state(sk, TCP_CA_LOSS)
    sk.high_seq = sk.snd_nxt
    sk.tlp_high_seq = 0
    tcp_ecn_queue_cwr(sk)
    sk.frto = bool(ipv4.sysctl_tcp_frto) and (new_recovery or sk.icsk_retransmits != 0) and not sk.mtup_probe_size


def tcp_process_loss(sk: TcpSock, flag: int, num_dupack: int) -> int:
    """Process an acknowledgement after a timeout; return REXMIT_*."""
    recovered = not before(sk.snd_una, sk.high_seq)
    if (flag & FLAG_SND_UNA_ADVANCED or sk.fastopen_rsk is not None) and tcp_try_undo_loss(sk, False):
        return REXMIT_NONE
    if sk.frto:
        if flag & FLAG_ORIG_SACK_ACKED and tcp_try_undo_loss(sk, True):
            return REXMIT_NONE
        if after(sk.snd_nxt, sk.high_seq):
            if flag & FLAG_DATA_SACKED or num_dupack:
                sk.frto = False
        elif flag & FLAG_SND_UNA_ADVANCED and not recovered:
            sk.high_seq = sk.snd_nxt
            if sk.sk_write_queue.head is not None and after(tcp_wnd_end(sk), sk.snd_nxt):
                return REXMIT_NEW
            sk.frto = False
    if recovered:
        tcp_try_undo_recovery(sk)
        return REXMIT_NONE
    if not sk.rx_opt.sack_ok:
        if after(sk.snd_nxt, sk.high_seq) and num_dupack:
            tcp_add_reno_sack(sk, num_dupack, bool(flag & FLAG_ECE))
        elif flag & FLAG_SND_UNA_ADVANCED:
            sk.sacked_out = 0
    return REXMIT_LOST


def tcp_try_keep_open(sk: TcpSock) -> None:
    """Open, or Disorder while something is missing or was sent again."""
    state = TCP_CA_DISORDER if tcp_left_out(sk) or tcp_any_retrans_done(sk) else TCP_CA_OPEN
    if sk.icsk_ca_state != state:
        tcp_set_ca_state(sk, state)
        sk.high_seq = sk.snd_nxt


def tcp_try_to_open(sk: TcpSock, flag: int) -> None:
    """No loss: return towards Open, or enter CWR for ECN."""
    tcp_retrans_stamp_cleanup(sk)
    if flag & FLAG_ECE:
        tcp_enter_cwr(sk)
    if sk.icsk_ca_state != TCP_CA_CWR:
        tcp_try_keep_open(sk)


def _check_sack_reneging(sk: TcpSock, flag: int) -> bool:
    """A head that was selectively but never cumulatively acknowledged: the peer dropped it; let the timer decide soon."""
    if flag & FLAG_SACK_RENEGING and flag & FLAG_SND_UNA_ADVANCED:
        clock = sk.sk_net.kernel.clock
        delay = max(usecs_to_jiffies(sk, sk.srtt_us >> 4), clock.msecs_to_jiffies(10))
        inet_csk_reset_xmit_timer(sk, ICSK_TIME_RETRANS, delay, sk.icsk_rto_max)
        return True
    return False


def tcp_fastretrans_alert(sk: TcpSock, prior_snd_una: int, num_dupack: int, flag: int) -> tuple[int, int]:
    """Run the recovery state machine for a suspicious acknowledgement; return (flags, REXMIT_*)."""
    ece_ack = bool(flag & FLAG_ECE)
    if not sk.packets_out and sk.sacked_out:
        sk.sacked_out = 0
    if ece_ack:
        sk.prior_ssthresh = 0
    if _check_sack_reneging(sk, flag):
        return flag & ~FLAG_SET_XMIT_TIMER, REXMIT_NONE
    state = sk.icsk_ca_state
    if state == TCP_CA_OPEN:
        sk.retrans_stamp = 0
    elif not before(sk.snd_una, sk.high_seq):
        if state == TCP_CA_CWR:
            if sk.snd_una != sk.high_seq:
                tcp_end_cwnd_reduction(sk)
                tcp_set_ca_state(sk, TCP_CA_OPEN)
        elif state == TCP_CA_RECOVERY:
            if not sk.rx_opt.sack_ok:
                sk.sacked_out = 0
            if tcp_try_undo_recovery(sk):
                return flag, REXMIT_NONE
            tcp_end_cwnd_reduction(sk)
    if sk.icsk_ca_state == TCP_CA_RECOVERY:
        return _alert_in_recovery(sk, prior_snd_una, num_dupack, flag)
    if sk.icsk_ca_state == TCP_CA_LOSS:
        rexmit = tcp_process_loss(sk, flag, num_dupack)
        if sk.icsk_ca_state != TCP_CA_LOSS:
            tcp_update_rto_time(sk)
        flag = tcp_identify_packet_loss(sk, flag)
        if not (sk.icsk_ca_state == TCP_CA_OPEN or flag & FLAG_LOST_RETRANS):
            return flag, rexmit
    return _alert_in_open(sk, num_dupack, flag)


def _alert_in_recovery(sk: TcpSock, prior_snd_una: int, num_dupack: int, flag: int) -> tuple[int, int]:
    ece_ack = bool(flag & FLAG_ECE)
    if not flag & FLAG_SND_UNA_ADVANCED:
        if not sk.rx_opt.sack_ok:
            tcp_add_reno_sack(sk, num_dupack, ece_ack)
    elif tcp_try_undo_partial(sk, prior_snd_una):
        return flag, REXMIT_NONE
    if tcp_try_undo_dsack(sk):
        tcp_try_to_open(sk, flag)
    flag = tcp_identify_packet_loss(sk, flag)
    if sk.icsk_ca_state != TCP_CA_RECOVERY:
        if not sk.lost_out:
            return flag, REXMIT_NONE
        tcp_enter_recovery(sk, ece_ack)
    return flag, REXMIT_LOST


def _alert_in_open(sk: TcpSock, num_dupack: int, flag: int) -> tuple[int, int]:
    ece_ack = bool(flag & FLAG_ECE)
    if not sk.rx_opt.sack_ok:
        if flag & FLAG_SND_UNA_ADVANCED:
            sk.sacked_out = 0
        tcp_add_reno_sack(sk, num_dupack, ece_ack)
    if sk.icsk_ca_state <= TCP_CA_DISORDER:
        tcp_try_undo_dsack(sk)
    flag = tcp_identify_packet_loss(sk, flag)
    if not sk.lost_out:
        tcp_try_to_open(sk, flag)
        return flag, REXMIT_NONE
    if sk.icsk_ca_state < TCP_CA_CWR and sk.mtup_probe_size and sk.snd_una == sk.mtup_probe_seq_start:
        # RFC 4821 7.6.2: the loss of a probe does not mean congestion
        tcp_mtup_probe_failed(sk)
        sk.snd_cwnd += 1
        tcp_simple_retransmit(sk)
        return flag, REXMIT_NONE
    tcp_enter_recovery(sk, ece_ack)
    return flag, REXMIT_LOST


def tcp_update_rto_time(sk: TcpSock) -> None:
    """Add the time spent in timeouts to TCP_INFO's statistics."""
    if sk.rto_stamp:
        sk.total_rto_time += sk.tcp_mstamp // 1000 - sk.rto_stamp
        sk.rto_stamp = 0


def tcp_process_tlp_ack(sk: TcpSock, ack: int, flag: int) -> None:
    """Judge a tail loss probe by the acknowledgement that covers it, RFC 8985 7.4."""
    if before(ack, sk.tlp_high_seq):
        return
    if not sk.tlp_retrans or flag & FLAG_DSACK_TLP:
        sk.tlp_high_seq = 0
    elif after(ack, sk.tlp_high_seq):
        tcp_init_cwnd_reduction(sk)
        tcp_set_ca_state(sk, TCP_CA_CWR)
        tcp_end_cwnd_reduction(sk)
        tcp_try_keep_open(sk)
        sk.sk_net.net_statistics[LINUX_MIB_TCPLOSSPROBERECOVERY] += 1
    elif not flag & (FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DATA_SACKED):
        sk.tlp_high_seq = 0


def tcp_simple_retransmit(sk: TcpSock) -> None:
    """Send again, without blaming congestion, what is too large for the path, RFC 1191 6.4."""
    mss = tcp_current_mss(sk)
    if sk.syn_data and sk.sk_state == TCP_SYN_SENT:
        mss = -1  # data in the SYN that was too large is sent again whatever its size
    skb = sk.tcp_rtx_queue.head
    while skb is not None:
        if (skb.gso_size if skb.pcount > 1 else skb.len) > mss:
            tcp_mark_skb_lost(sk, skb)
        skb = skb.next
    if not sk.lost_out:
        return
    if not sk.rx_opt.sack_ok:
        _limit_reno_sacked(sk)
    if sk.icsk_ca_state != TCP_CA_LOSS:
        sk.high_seq = sk.snd_nxt
        sk.snd_ssthresh = tcp_current_ssthresh(sk)
        sk.prior_ssthresh = 0
        sk.undo_marker = 0
        tcp_set_ca_state(sk, TCP_CA_LOSS)
    tcp_xmit_retransmit_queue(sk)
