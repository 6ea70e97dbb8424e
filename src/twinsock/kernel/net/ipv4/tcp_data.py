"""Receiving data: the receive queue, the out-of-order queue, SACK blocks, window growth, urgent data, when to acknowledge
(Linux: net/ipv4/tcp_input.c; RFC 9293 3.10.7.4, RFC 2018, RFC 2883, RFC 5681 4.2, RFC 6093)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.fs.file import send_sigurg
from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.net import SOCK_WAKE_URG
from twinsock.kernel.net.core.skbuff import kfree_skb_reason
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SOCK_DEAD,
    SOCK_DONE,
    SOCK_RCVBUF_LOCK,
    SOCK_URGINLINE,
)
from twinsock.kernel.net.core.sock_mem import sk_mem_charge, sk_mem_uncharge, sk_rmem_schedule
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_NOMEM,
    ICSK_ACK_NOW,
    ICSK_ACK_PUSHED,
    ICSK_ACK_PUSHED2,
    inet_csk_ack_scheduled,
    inet_csk_enter_pingpong_mode,
    inet_csk_exit_pingpong_mode,
    inet_csk_in_pingpong_mode,
    inet_csk_schedule_ack,
)
from twinsock.kernel.net.ipv4.tcp_control import tcp_send_ack, tcp_send_delayed_ack
from twinsock.kernel.net.ipv4.tcp_output import (
    tcp_adjust_rcv_ssthresh,
    tcp_current_mss,
    tcp_push_pending_frames,
    tcp_receive_window,
    tcp_space,
    tcp_space_from_win,
    tcp_win_from_space,
    tcp_window_to_offer,
)
from twinsock.kernel.net.ipv4.tcp_sndbuf import tcp_check_space, tcp_under_memory_pressure
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    MAX_SKB_FRAGS,
    SKB_TRUESIZE_HEAD,
    TCP_ACK_DEFERRED,
    TCP_ECN_DEMAND_CWR,
    TCP_ECN_OK,
    TCP_ECN_SEEN,
    TCP_MAX_QUICKACKS,
    TCP_NUM_SACKS,
    TCP_URG_NOTYET,
    TCP_URG_VALID,
    TcpSkb,
    TcpSock,
    after,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    tcp_drop_reason,
    tcp_fast_path_check,
    tcp_jiffies32,
    tcp_mstamp_refresh,
    tcp_set_state,
    tcp_time_stamp_ts,
)
from twinsock.kernel.net.ipv4.tcp_timewait import tcp_time_wait
from twinsock.uapi.errno import EINVAL
from twinsock.uapi.rtnetlink import RTAX_QUICKACK
from twinsock.uapi.snmp import (
    LINUX_MIB_DELAYEDACKLOST,
    LINUX_MIB_OFOPRUNED,
    LINUX_MIB_PRUNECALLED,
    LINUX_MIB_RCVPRUNED,
    LINUX_MIB_TCPDSACKOFOSENT,
    LINUX_MIB_TCPDSACKOLDSENT,
    LINUX_MIB_TCPOFODROP,
    LINUX_MIB_TCPOFOMERGE,
    LINUX_MIB_TCPOFOQUEUE,
    LINUX_MIB_TCPRCVCOALESCE,
    LINUX_MIB_TCPRCVCOLLAPSED,
    LINUX_MIB_TCPRCVQDROP,
    LINUX_MIB_TCPZEROWINDOWDROP,
)
from twinsock.uapi.tcp import (
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_SYN_RECV,
    TCP_TIME_WAIT,
)
from twinsock.wire.tcp import TCPHDR_CWR, TCPHDR_FIN, TCPHDR_PSH, TCPHDR_SYN, TCPHDR_URG, Tcphdr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_FASTRETRANS_THRESH: Final = 3
MAX_TCP_OPTION_SPACE: Final = 40
INET_ECN_CE: Final = 3
POLL_PRI: Final = 5
SOCK_MIN_RCVBUF: Final = 2304


# ---- quick acknowledgements


def tcp_incr_quickack(sk: TcpSock, max_quickacks: int) -> None:
    """Acknowledge the next segments at once, about half a window of them."""
    quickacks = sk.rcv_wnd // (2 * sk.ack_rcv_mss) or 2
    quickacks = min(quickacks, max_quickacks)
    if quickacks > sk.ack_quick:
        sk.ack_quick = quickacks


def tcp_enter_quickack_mode(sk: TcpSock, max_quickacks: int) -> None:
    """Acknowledge quickly: something unusual happened."""
    tcp_incr_quickack(sk, max_quickacks)
    inet_csk_exit_pingpong_mode(sk)
    sk.ack_ato = sk.sk_net.kernel.clock.hz // 25


def tcp_in_quickack_mode(sk: TcpSock) -> bool:
    """Tell whether acknowledgements are sent without delay."""
    dst = sk.sk_dst_cache
    if dst is not None and dst.metric(RTAX_QUICKACK):
        return True
    return sk.ack_quick > 0 and not inet_csk_in_pingpong_mode(sk)


def tcp_ack_snd_check(sk: TcpSock) -> None:
    """Acknowledge now or later, if an acknowledgement is owed."""
    if inet_csk_ack_scheduled(sk):
        _tcp_ack_snd_check(sk, True)


def _tcp_ack_snd_check(sk: TcpSock, ofo_possible: bool) -> None:
    ipv4 = sk.sk_net.ipv4
    unacked = (sk.rcv_nxt - sk.rcv_wup) & M32
    if (
        (unacked > sk.ack_rcv_mss and ((sk.rcv_nxt - sk.copied_seq) & M32 < sk.sk_rcvlowat or tcp_window_to_offer(sk) >= sk.rcv_wnd))
        or tcp_in_quickack_mode(sk)
        or sk.ack_pending & ICSK_ACK_NOW
    ):
        if sk.sk_owned_by_user and ipv4.sysctl_tcp_backlog_ack_defer:
            sk.tsq_flags |= TCP_ACK_DEFERRED
            return
        tcp_send_ack(sk)
        return
    if not ofo_possible or not sk.out_of_order_queue:
        tcp_send_delayed_ack(sk)
        return
    if not sk.rx_opt.sack_ok or sk.compressed_ack >= ipv4.sysctl_tcp_comp_sack_nr:
        tcp_send_ack(sk)
        return
    if sk.compressed_ack_rcv_nxt != sk.rcv_nxt:
        sk.compressed_ack_rcv_nxt = sk.rcv_nxt
        sk.dup_ack_counter = 0
    if sk.dup_ack_counter < TCP_FASTRETRANS_THRESH:
        sk.dup_ack_counter += 1
        tcp_send_ack(sk)
        return
    sk.compressed_ack += 1
    timer = sk.compressed_ack_timer
    if timer is None or timer.pending():
        return
    rtt = sk.rcv_rtt_us
    if sk.srtt_us and sk.srtt_us < rtt:
        rtt = sk.srtt_us
    delay = min(ipv4.sysctl_tcp_comp_sack_delay_ns, rtt * (1000 >> 3) // 20)
    clock = sk.sk_net.kernel.clock
    clock.hrtimer_start(timer, clock.now_ns + delay + ipv4.sysctl_tcp_comp_sack_slack_ns)


def tcp_data_snd_check(sk: TcpSock) -> None:
    """An acknowledgement may have opened the window: send, and wake writers."""
    if sk.sk_write_queue.head is not None:
        tcp_push_pending_frames(sk, tcp_current_mss(sk), sk.nonagle)
    tcp_check_space(sk)


# ---- learning about the peer's segments, and growing the window


def tcp_measure_rcv_mss(sk: TcpSock, skb: TcpSkb) -> None:
    """Estimate the peer's segment size, and how much memory a byte of payload costs."""
    lss = sk.ack_last_seg_size
    sk.ack_last_seg_size = 0
    length = skb.gso_size or skb.len
    if length >= sk.ack_rcv_mss:
        if length != sk.ack_rcv_mss:
            old_ratio = sk.scaling_ratio
            sk.scaling_ratio = min((skb.len << 8) // max(skb.truesize, 1), 255) or 1
            if old_ratio != sk.scaling_ratio:
                tcp_set_window_clamp(sk, tcp_win_from_space(sk, sk.sk_rcvbuf))
                sk.rcvq_space = min(sk.rcvq_space, sk.window_clamp)
        sk.ack_rcv_mss = min(length, sk.advmss)
        if skb.len == sk.ack_rcv_mss and skb.tcp_flags & TCPHDR_PSH:
            sk.ack_pending |= ICSK_ACK_PUSHED
        return
    th = skb.th
    length += th.header_len() if th is not None else 20
    remnant = skb.tcp_flags & (TCPHDR_FIN | TCPHDR_SYN | TCPHDR_URG | TCPHDR_PSH)
    if length >= 536 + 20 or (length >= 88 + 20 and not remnant):
        length -= sk.tcp_header_len
        sk.ack_last_seg_size = length
        if length == lss:
            sk.ack_rcv_mss = length
            return
    if sk.ack_pending & ICSK_ACK_PUSHED:
        sk.ack_pending |= ICSK_ACK_PUSHED2
    sk.ack_pending |= ICSK_ACK_PUSHED


def tcp_set_window_clamp(sk: TcpSock, val: int) -> int:
    """Limit the window; 0 takes the limit away from a closed socket: 0 or -EINVAL."""
    if not val:
        if sk.sk_state != TCP_CLOSE:
            return -EINVAL
        sk.window_clamp = 0
        return 0
    old = sk.window_clamp
    new = max(val, SOCK_MIN_RCVBUF // 2)
    if new == old:
        return 0
    sk.window_clamp = new
    if new < old:
        sk.rcv_ssthresh = min(sk.rcv_ssthresh, new)
    else:
        sk.rcv_ssthresh = max(min(sk.rcv_wnd, new), sk.rcv_ssthresh)
    return 0


def tcp_rcv_rtt_update(sk: TcpSock, sample: int, win_dep: bool) -> None:
    """Fold a receiver-side round-trip sample in; window-dependent samples only ever lower it."""
    new_sample = sk.rcv_rtt_us
    m = sample
    if new_sample:
        if win_dep:
            m <<= 3
            new_sample = min(new_sample, m)
        else:
            new_sample += m - (new_sample >> 3)
    else:
        new_sample = m << 3
    sk.rcv_rtt_us = new_sample


def tcp_rcv_rtt_measure(sk: TcpSock) -> None:
    """Measure a round trip as the time in which the peer filled one window."""
    if sk.rcv_rtt_time:
        if before(sk.rcv_nxt, sk.rcv_rtt_seq):
            return
        tcp_rcv_rtt_update(sk, max(sk.tcp_mstamp - sk.rcv_rtt_time, 1), True)
    sk.rcv_rtt_seq = (sk.rcv_nxt + sk.rcv_wnd) & M32
    sk.rcv_rtt_time = sk.tcp_mstamp


def tcp_rcv_rtt_measure_ts(sk: TcpSock, skb: TcpSkb) -> None:
    """Measure a round trip by the peer's echo of our timestamp."""
    if sk.rx_opt.rcv_tsecr == sk.rcv_rtt_last_tsecr or not sk.rx_opt.saw_tstamp:
        return
    sk.rcv_rtt_last_tsecr = sk.rx_opt.rcv_tsecr
    if (skb.end_seq - skb.seq) & M32 >= sk.ack_rcv_mss:
        delta = (tcp_time_stamp_ts(sk) - sk.rx_opt.rcv_tsecr) & M32
        if delta < 0x7FFFFFFF // 1000:
            tcp_rcv_rtt_update(sk, max(delta, 1) * 1000, False)


def tcp_grow_window(sk: TcpSock, skb: TcpSkb, adjust: bool) -> None:
    """Let the advertised window grow if segments like this one will fit the buffer."""
    room = min(sk.window_clamp, tcp_space(sk)) - sk.rcv_ssthresh
    if room <= 0:
        return
    if tcp_under_memory_pressure(sk):
        tcp_adjust_rcv_ssthresh(sk)
        return
    truesize = skb.truesize
    if adjust and truesize == SKB_TRUESIZE_HEAD + skb.len:
        truesize = skb.len
    if tcp_win_from_space(sk, truesize) <= skb.len:
        incr = 2 * sk.advmss
    else:
        incr = _grow_window_slow(sk, skb.len, truesize)
    if incr:
        incr = max(incr, 2 * skb.len)
        sk.rcv_ssthresh += min(room, incr)
        sk.ack_quick |= 1


def _grow_window_slow(sk: TcpSock, length: int, truesize: int) -> int:
    truesize = tcp_win_from_space(sk, truesize) >> 1
    window = tcp_win_from_space(sk, sk.sk_net.ipv4.sysctl_tcp_rmem[2]) >> 1
    while sk.rcv_ssthresh <= window:
        if truesize <= length:
            return 2 * sk.ack_rcv_mss
        truesize >>= 1
        window >>= 1
    return 0


def tcp_event_data_recv(sk: TcpSock, skb: TcpSkb) -> None:
    """Data arrived in order: owe an acknowledgement and adapt its delay to the peer's rhythm."""
    inet_csk_schedule_ack(sk)
    tcp_measure_rcv_mss(sk, skb)
    tcp_rcv_rtt_measure(sk)
    now = tcp_jiffies32(sk)
    ato_min = sk.sk_net.kernel.clock.hz // 25
    if not sk.ack_ato:
        tcp_incr_quickack(sk, TCP_MAX_QUICKACKS)
        sk.ack_ato = ato_min
    else:
        m = now - sk.ack_lrcvtime
        if m <= ato_min // 2:
            sk.ack_ato = (sk.ack_ato >> 1) + ato_min // 2
        elif m < sk.ack_ato:
            sk.ack_ato = min((sk.ack_ato >> 1) + m, sk.icsk_rto)
        elif m > sk.icsk_rto:
            tcp_incr_quickack(sk, TCP_MAX_QUICKACKS)
    sk.ack_lrcvtime = now
    tcp_ecn_check_ce(sk, skb)
    if skb.len >= 128:
        tcp_grow_window(sk, skb, True)


def tcp_ecn_check_ce(sk: TcpSock, skb: TcpSkb) -> None:
    """Note congestion marks, and their sender's answer, RFC 3168 6.1.3."""
    ecn = skb.dsfield & 3
    if ecn == 0:
        # a retransmission is sent without ECT: acknowledge it quickly once ECT was seen
        if sk.ecn_flags & TCP_ECN_SEEN:
            tcp_enter_quickack_mode(sk, 2)
    elif ecn == INET_ECN_CE:
        if sk.ecn_flags & (TCP_ECN_OK | TCP_ECN_DEMAND_CWR) == TCP_ECN_OK:
            tcp_enter_quickack_mode(sk, 2)
            sk.ecn_flags |= TCP_ECN_DEMAND_CWR
        sk.ecn_flags |= TCP_ECN_SEEN
    else:
        sk.ecn_flags |= TCP_ECN_SEEN


def tcp_ecn_accept_cwr(sk: TcpSock, skb: TcpSkb) -> None:
    """The sender reduced its window: stop echoing."""
    if skb.tcp_flags & TCPHDR_CWR:
        sk.ecn_flags &= ~TCP_ECN_DEMAND_CWR
        if skb.seq != skb.end_seq:
            sk.ack_pending |= ICSK_ACK_NOW


# ---- receive buffer


def tcp_rcvbuf_grow(sk: TcpSock, newval: int) -> None:
    """Dynamic right-sizing: make the buffer hold what the program reads per round trip, doubled, plus growth."""
    oldval = sk.rcvq_space
    sk.rcvq_space = newval
    ipv4 = sk.sk_net.ipv4
    if not ipv4.sysctl_tcp_moderate_rcvbuf or sk.sk_userlocks & SOCK_RCVBUF_LOCK:
        return
    rcvwin = newval << 1
    rcvwin += rcvwin * (newval - oldval) // max(oldval, 1) << 1
    if sk.out_of_order_queue:
        rcvwin += (sk.out_of_order_queue[-1].end_seq - sk.rcv_nxt) & M32
    rcvbuf = min(tcp_space_from_win(sk, rcvwin), ipv4.sysctl_tcp_rmem[2])
    if rcvbuf > sk.sk_rcvbuf:
        sk.sk_rcvbuf = rcvbuf
        sk.window_clamp = tcp_win_from_space(sk, rcvbuf)


def tcp_rcv_space_adjust(sk: TcpSock) -> None:
    """The program read: once per round trip, compare with what it read in the one before."""
    tcp_mstamp_refresh(sk)
    time = sk.tcp_mstamp - sk.rcvq_time
    if time < sk.rcv_rtt_us >> 3 or sk.rcv_rtt_us == 0:
        return
    copied = (sk.copied_seq - sk.rcvq_seq) & M32
    copied -= (sk.rcv_nxt - sk.copied_seq) & M32
    if copied > sk.rcvq_space:
        tcp_rcvbuf_grow(sk, copied)
    sk.rcvq_seq = sk.copied_seq
    sk.rcvq_time = sk.tcp_mstamp


def tcp_can_ingest(sk: TcpSock) -> bool:
    """Tell whether the receive buffer takes another segment: it may be overdrawn by one."""
    return sk.sk_rmem_alloc <= sk.sk_rcvbuf


def tcp_clamp_window(sk: TcpSock) -> None:
    """Too much arrived: allow the excess once, then close the window."""
    sk.ack_quick = 0
    rmem2 = sk.sk_net.ipv4.sysctl_tcp_rmem[2]
    if sk.sk_rcvbuf < rmem2 and not sk.sk_userlocks & SOCK_RCVBUF_LOCK and not tcp_under_memory_pressure(sk):
        sk.sk_rcvbuf = max(sk.sk_rcvbuf, min(sk.sk_rmem_alloc, rmem2))
    if sk.sk_rmem_alloc > sk.sk_rcvbuf:
        sk.rcv_ssthresh = min(sk.window_clamp, 2 * sk.advmss)


def tcp_try_rmem_schedule(sk: TcpSock, skb: TcpSkb) -> bool:
    """Make room for a segment; false when it must be dropped."""
    if not tcp_can_ingest(sk) and not tcp_prune_queue(sk, skb):
        return False
    return sk_rmem_schedule(sk, skb.truesize)


def tcp_prune_queue(sk: TcpSock, in_skb: TcpSkb) -> bool:
    """Compact the queues, then throw out-of-order data away; tell whether there is room now."""
    stats = sk.sk_net.net_statistics
    stats[LINUX_MIB_PRUNECALLED] += 1
    tcp_clamp_window(sk)
    if tcp_can_ingest(sk):
        return True
    tcp_collapse(sk)
    if tcp_can_ingest(sk):
        return True
    tcp_prune_ofo_queue(sk, in_skb)
    if tcp_can_ingest(sk):
        return True
    stats[LINUX_MIB_RCVPRUNED] += 1
    sk.pred_wnd = -1
    return False


def tcp_collapse(sk: TcpSock) -> None:
    """Copy wasteful segments of the receive queue together: each keeps its payload and a fair share of a page's overhead."""
    stats = sk.sk_net.net_statistics
    queue = sk.sk_receive_queue
    if not queue:
        return
    for skb in queue:
        assert isinstance(skb, TcpSkb)
        tight = skb.len + skb.len * 320 // 3776 + 1
        if skb.charged > tight and tcp_win_from_space(sk, skb.charged) > skb.len:
            sk.sk_rmem_alloc -= skb.charged - tight
            sk_mem_uncharge(sk, skb.charged - tight)
            skb.charged = tight
            stats[LINUX_MIB_TCPRCVCOLLAPSED] += 1


def tcp_prune_ofo_queue(sk: TcpSock, in_skb: TcpSkb) -> bool:
    """Drop out-of-order segments behind the new one, in steps of an eighth of the buffer."""
    ofo = sk.out_of_order_queue
    pruned = False
    goal = sk.sk_rcvbuf >> 3
    while ofo:
        skb = ofo[-1]
        if after(in_skb.seq, skb.seq):
            break
        pruned = True
        ofo.pop()
        tcp_unset_owner_r(sk, skb)
        tcp_drop_reason(sk, skb, dropreason.TCP_OFO_QUEUE_PRUNE)
        goal -= skb.charged
        if not ofo or goal <= 0:
            if tcp_can_ingest(sk) and not tcp_under_memory_pressure(sk):
                break
            goal = sk.sk_rcvbuf >> 3
    if pruned:
        sk.sk_net.net_statistics[LINUX_MIB_OFOPRUNED] += 1
        sk.selective_acks = []
    return pruned


# ---- SACK blocks that we send


def tcp_dsack_set(sk: TcpSock, seq: int, end_seq: int) -> None:
    """Report a duplicate with the next acknowledgement."""
    if sk.rx_opt.sack_ok and sk.sk_net.ipv4.sysctl_tcp_dsack:
        mib = LINUX_MIB_TCPDSACKOLDSENT if before(seq, sk.rcv_nxt) else LINUX_MIB_TCPDSACKOFOSENT
        sk.sk_net.net_statistics[mib] += 1
        sk.duplicate_sack = (seq, end_seq)


def tcp_dsack_extend(sk: TcpSock, seq: int, end_seq: int) -> None:
    """Report another duplicate, joined with the pending report where they touch."""
    dsack = sk.duplicate_sack
    if dsack is None:
        tcp_dsack_set(sk, seq, end_seq)
        return
    joined = _sack_joined(dsack, seq, end_seq)
    if joined is not None:
        sk.duplicate_sack = joined


def _sack_joined(block: tuple[int, int], seq: int, end_seq: int) -> tuple[int, int] | None:
    start, end = block
    if after(seq, end) or after(start, end_seq):
        return None
    return (seq if before(seq, start) else start, end_seq if after(end_seq, end) else end)


def tcp_sack_new_ofo_skb(sk: TcpSock, seq: int, end_seq: int) -> None:
    """Put the block that contains the new segment first, RFC 2018 4."""
    blocks = sk.selective_acks
    for i in range(len(blocks)):
        joined = _sack_joined(blocks[i], seq, end_seq)
        if joined is not None:
            if i >= 2:
                tcp_sack_compress_send_ack(sk)
            del blocks[i]
            blocks.insert(0, joined)
            _sack_maybe_coalesce(sk)
            return
    if len(blocks) >= 2:
        tcp_sack_compress_send_ack(sk)
    if len(blocks) >= TCP_NUM_SACKS:
        blocks.pop()
    blocks.insert(0, (seq, end_seq))


def tcp_sack_compress_send_ack(sk: TcpSock) -> None:
    """Send the acknowledgement that compression held back: its blocks are about to be lost."""
    if not sk.compressed_ack:
        return
    timer = sk.compressed_ack_timer
    if timer is not None:
        sk.sk_net.kernel.clock.del_timer(timer)
    sk.compressed_ack -= 1
    tcp_send_ack(sk)


def _sack_maybe_coalesce(sk: TcpSock) -> None:
    blocks = sk.selective_acks
    i = 1
    while i < len(blocks):
        joined = _sack_joined(blocks[0], blocks[i][0], blocks[i][1])
        if joined is not None:
            blocks[0] = joined
            del blocks[i]
        else:
            i += 1


def tcp_sack_remove(sk: TcpSock) -> None:
    """Forget blocks that the cumulative acknowledgement covers."""
    if not sk.out_of_order_queue:
        sk.selective_acks = []
        return
    blocks = sk.selective_acks
    i = 0
    while i < len(blocks):
        if not before(sk.rcv_nxt, blocks[i][0]):
            del blocks[i]
        else:
            i += 1


# ---- queues


def tcp_set_owner_r(sk: TcpSock, skb: TcpSkb) -> None:
    """Charge a segment to the receive buffer."""
    skb.sk = sk
    skb.charged = skb.truesize
    sk.sk_rmem_alloc += skb.charged
    sk_mem_charge(sk, skb.charged)


def tcp_unset_owner_r(sk: TcpSock, skb: TcpSkb) -> None:
    """Take a segment off the receive buffer's charge."""
    sk.sk_rmem_alloc -= skb.charged
    sk_mem_uncharge(sk, skb.charged)


def tcp_rcv_nxt_update(sk: TcpSock, seq: int) -> None:
    """Advance what was received."""
    sk.bytes_received += (seq - sk.rcv_nxt) & M32
    sk.rcv_nxt = seq


def tcp_queue_rcv(sk: TcpSock, skb: TcpSkb) -> None:
    """Append an in-order segment to the receive queue, coalescing it with the last one where Linux can."""
    queue = sk.sk_receive_queue
    if queue is None:
        queue = sk.sk_receive_queue = deque()
    tail = queue[-1] if queue else None
    if isinstance(tail, TcpSkb) and not skb.len and skb.tcp_flags & TCPHDR_FIN and (tail.origin is None or tail.origin.freed):
        # Measured: 6.18, tests/parity/test_tcp_campaign.py: a FIN behind acknowledged data is taken by the read that ends at the data
        sk.sk_net.net_statistics[LINUX_MIB_TCPRCVCOALESCE] += 1
        tcp_rcv_nxt_update(sk, skb.end_seq)
        tail.tcp_flags |= TCPHDR_FIN
        tail.end_seq = skb.end_seq
        return
    tcp_rcv_nxt_update(sk, skb.end_seq)
    if isinstance(tail, TcpSkb) and tcp_try_coalesce(sk, tail, skb):
        return
    queue.append(skb)
    tcp_set_owner_r(sk, skb)


def tcp_try_coalesce(sk: TcpSock, to: TcpSkb, skb: TcpSkb) -> bool:
    """Join a segment whose payload lies in fragments with the one before it, which its sender must have freed; tell whether it was."""
    if not skb.nr_frags or to.nr_frags + skb.nr_frags > MAX_SKB_FRAGS or (to.origin is not None and not to.origin.freed):
        return False
    delta = skb.truesize - SKB_TRUESIZE_HEAD
    to.append(skb.payload())
    to.end_seq = skb.end_seq
    to.tcp_flags |= skb.tcp_flags & TCPHDR_FIN
    to.nr_frags += skb.nr_frags
    to.charged += delta
    sk.sk_rmem_alloc += delta
    sk_mem_charge(sk, delta)
    if skb.has_rxtstamp:
        to.has_rxtstamp = True
        to.tstamp_ns = skb.tstamp_ns
    sk.sk_net.net_statistics[LINUX_MIB_TCPRCVCOALESCE] += 1
    return True


def tcp_data_ready(sk: TcpSock) -> None:
    """Wake readers once SO_RCVLOWAT bytes are there, or the buffer is nearly full."""
    if tcp_epollin_ready(sk, sk.sk_rcvlowat) or sk.sock_flag(SOCK_DONE):
        sk.sk_data_ready()


def tcp_rmem_pressure(sk: TcpSock) -> bool:
    """Tell whether the receive buffer is almost full."""
    if tcp_under_memory_pressure(sk):
        return True
    rcvbuf = sk.sk_rcvbuf
    return sk.sk_rmem_alloc > rcvbuf - (rcvbuf >> 3)


def tcp_epollin_ready(sk: TcpSock, target: int) -> bool:
    """Tell whether poll(2) may say IN for unread data."""
    avail = (sk.rcv_nxt - sk.copied_seq) & M32
    if avail == 0 or avail > 0x7FFFFFFF:
        return False
    return avail >= target or tcp_rmem_pressure(sk) or tcp_receive_window(sk) <= sk.ack_rcv_mss


def tcp_data_queue(sk: TcpSock, skb: TcpSkb) -> None:
    """Take the payload and FIN of an acceptable segment, RFC 9293 3.10.7.4 seventh and eighth."""
    stats = sk.sk_net.net_statistics
    if skb.seq == skb.end_seq:
        return
    sk.duplicate_sack = None
    if skb.seq == sk.rcv_nxt:
        if tcp_receive_window(sk) == 0 and (skb.len or not skb.tcp_flags & TCPHDR_FIN):
            stats[LINUX_MIB_TCPZEROWINDOWDROP] += 1
            _out_of_window(sk, skb, dropreason.TCP_ZEROWINDOW)
            return
        _queue_and_out(sk, skb)
        return
    if not after(skb.end_seq, sk.rcv_nxt):
        stats[LINUX_MIB_DELAYEDACKLOST] += 1
        tcp_dsack_set(sk, skb.seq, skb.end_seq)
        _out_of_window(sk, skb, dropreason.TCP_OLD_DATA)
        return
    if not before(skb.seq, (sk.rcv_nxt + tcp_receive_window(sk)) & M32):
        _out_of_window(sk, skb, dropreason.TCP_OVERWINDOW)
        return
    if before(skb.seq, sk.rcv_nxt):
        tcp_dsack_set(sk, skb.seq, sk.rcv_nxt)
        if not tcp_receive_window(sk):
            stats[LINUX_MIB_TCPZEROWINDOWDROP] += 1
            _out_of_window(sk, skb, dropreason.TCP_ZEROWINDOW)
            return
        _queue_and_out(sk, skb)
        return
    tcp_data_queue_ofo(sk, skb)


def _out_of_window(sk: TcpSock, skb: TcpSkb, reason: str) -> None:
    tcp_enter_quickack_mode(sk, TCP_MAX_QUICKACKS)
    inet_csk_schedule_ack(sk)
    tcp_drop_reason(sk, skb, reason)


def _queue_and_out(sk: TcpSock, skb: TcpSkb) -> None:
    if not tcp_try_rmem_schedule(sk, skb):
        sk.ack_pending |= ICSK_ACK_NOMEM | ICSK_ACK_NOW
        inet_csk_schedule_ack(sk)
        sk.sk_data_ready()
        if sk.sk_receive_queue and skb.len:
            sk.sk_net.net_statistics[LINUX_MIB_TCPRCVQDROP] += 1
            tcp_drop_reason(sk, skb, dropreason.PROTO_MEM)
            return
    had_ofo = bool(sk.out_of_order_queue)
    tcp_queue_rcv(sk, skb)
    if skb.len:
        tcp_event_data_recv(sk, skb)
    if skb.tcp_flags & TCPHDR_FIN:
        tcp_fin(sk)
    if had_ofo and sk.out_of_order_queue:
        tcp_ofo_queue(sk)
        if not sk.out_of_order_queue:
            sk.ack_pending |= ICSK_ACK_NOW  # RFC 5681 4.2: a filled gap is acknowledged at once
    if sk.selective_acks:
        tcp_sack_remove(sk)
    tcp_fast_path_check(sk)
    if not sk.sock_flag(SOCK_DEAD):
        tcp_data_ready(sk)


def tcp_ofo_queue(sk: TcpSock) -> None:
    """Move what has become contiguous to the receive queue."""
    dsack_high = sk.rcv_nxt
    ofo = sk.out_of_order_queue
    while ofo:
        skb = ofo[0]
        if after(skb.seq, sk.rcv_nxt):
            break
        if before(skb.seq, dsack_high):
            dsack = dsack_high
            if before(dsack_high, skb.end_seq):
                dsack_high = skb.end_seq
            tcp_dsack_extend(sk, skb.seq, dsack)
        del ofo[0]
        tcp_unset_owner_r(sk, skb)
        if not after(skb.end_seq, sk.rcv_nxt):
            tcp_drop_reason(sk, skb, dropreason.TCP_OFO_DROP)
            continue
        tcp_queue_rcv(sk, skb)
        if skb.tcp_flags & TCPHDR_FIN:
            tcp_fin(sk)
            break


def tcp_data_queue_ofo(sk: TcpSock, skb: TcpSkb) -> None:
    """Keep a segment that arrived early, RFC 9293 3.10.7.4; cut nothing, but report overlaps by D-SACK."""
    stats = sk.sk_net.net_statistics
    if not tcp_try_rmem_schedule(sk, skb):
        stats[LINUX_MIB_TCPOFODROP] += 1
        sk.sk_data_ready()
        tcp_drop_reason(sk, skb, dropreason.PROTO_MEM)
        return
    tcp_measure_rcv_mss(sk, skb)
    sk.pred_wnd = -1
    inet_csk_schedule_ack(sk)
    sk.rcv_ooopack += max(1, skb.gso_segs)
    stats[LINUX_MIB_TCPOFOQUEUE] += 1
    seq, end_seq = skb.seq, skb.end_seq
    if not sk.out_of_order_queue:
        if sk.rx_opt.sack_ok:
            sk.selective_acks = [(seq, end_seq)]
        sk.out_of_order_queue.append(skb)
        kept = True
    else:
        kept = _ofo_insert(sk, skb)
        if sk.rx_opt.sack_ok:
            tcp_sack_new_ofo_skb(sk, seq, end_seq)
    if not kept:
        return
    if sk.rx_opt.sack_ok:
        tcp_grow_window(sk, skb, False)
    tcp_set_owner_r(sk, skb)
    if sk.sk_socket is not None:
        tcp_rcvbuf_grow(sk, sk.rcvq_space)


def _ofo_insert(sk: TcpSock, skb: TcpSkb) -> bool:
    """Insert by sequence number; false when everything in it was there already."""
    stats = sk.sk_net.net_statistics
    ofo = sk.out_of_order_queue
    i = len(ofo)
    while i > 0 and before(skb.seq, ofo[i - 1].seq):
        i -= 1
    if i > 0:
        prev = ofo[i - 1]
        if before(skb.seq, prev.end_seq):
            if not after(skb.end_seq, prev.end_seq):
                stats[LINUX_MIB_TCPOFOMERGE] += 1
                tcp_dsack_set(sk, skb.seq, skb.end_seq)
                tcp_drop_reason(sk, skb, dropreason.TCP_OFOMERGE)
                return False
            if after(skb.seq, prev.seq):
                tcp_dsack_set(sk, skb.seq, prev.end_seq)
            else:
                tcp_dsack_extend(sk, prev.seq, prev.end_seq)
                stats[LINUX_MIB_TCPOFOMERGE] += 1
                tcp_unset_owner_r(sk, prev)
                tcp_drop_reason(sk, prev, dropreason.TCP_OFOMERGE)
                i -= 1
                del ofo[i]
    ofo.insert(i, skb)
    i += 1
    while i < len(ofo) and after(skb.end_seq, ofo[i].seq):
        nxt = ofo[i]
        if before(skb.end_seq, nxt.end_seq):
            tcp_dsack_extend(sk, nxt.seq, skb.end_seq)
            break
        tcp_dsack_extend(sk, nxt.seq, nxt.end_seq)
        stats[LINUX_MIB_TCPOFOMERGE] += 1
        tcp_unset_owner_r(sk, nxt)
        tcp_drop_reason(sk, nxt, dropreason.TCP_OFOMERGE)
        del ofo[i]
    return True


def tcp_fin(sk: TcpSock) -> None:
    """The peer will send no more, RFC 9293 3.10.7.4 eighth."""
    inet_csk_schedule_ack(sk)
    sk.sk_shutdown |= RCV_SHUTDOWN
    sk.sock_set_flag(SOCK_DONE)
    state = sk.sk_state
    if state in (TCP_SYN_RECV, TCP_ESTABLISHED):
        tcp_set_state(sk, TCP_CLOSE_WAIT)
        inet_csk_enter_pingpong_mode(sk)
    elif state == TCP_FIN_WAIT1:
        tcp_send_ack(sk)
        tcp_set_state(sk, TCP_CLOSING)
    elif state == TCP_FIN_WAIT2:
        tcp_send_ack(sk)
        tcp_time_wait(sk, TCP_TIME_WAIT, 0)
    for skb in sk.out_of_order_queue:
        tcp_unset_owner_r(sk, skb)
        kfree_skb_reason(skb, dropreason.NOT_SPECIFIED)
    sk.out_of_order_queue = []
    if sk.rx_opt.sack_ok:
        sk.duplicate_sack = None
        sk.selective_acks = []
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_state_change()


# ---- urgent data


def tcp_urg(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    """Process the urgent pointer, RFC 6093."""
    if th.flags & TCPHDR_URG:
        _check_urg(sk, th)
    if sk.urg_data == TCP_URG_NOTYET:
        ptr = (sk.urg_seq - th.seq) & M32
        if th.flags & TCPHDR_SYN:
            ptr = (ptr - 1) & M32
        if ptr < skb.len:
            sk.urg_data = TCP_URG_VALID | skb.data[skb.offset + ptr]
            if not sk.sock_flag(SOCK_DEAD):
                sk.sk_data_ready()


def sk_send_sigurg(sk: TcpSock) -> None:
    """Send SIGURG to the owner of the file, fcntl(2) F_SETOWN."""
    sock = sk.sk_socket
    if sock is not None and sock.file is not None and send_sigurg(sock.file):
        sk.sk_wake_async(SOCK_WAKE_URG, POLL_PRI)


def _check_urg(sk: TcpSock, th: Tcphdr) -> None:
    ptr = th.urg_ptr
    if ptr and not sk.sk_net.ipv4.sysctl_tcp_stdurg:
        ptr -= 1  # Linux: the pointer means the byte behind the urgent one (BSD's reading) unless tcp_stdurg
    ptr = (ptr + th.seq) & M32
    if after(sk.copied_seq, ptr) or before(ptr, sk.rcv_nxt):
        return
    if sk.urg_data and not after(ptr, sk.urg_seq):
        return
    sk_send_sigurg(sk)
    queue = sk.sk_receive_queue
    if sk.urg_seq == sk.copied_seq and sk.urg_data and not sk.sock_flag(SOCK_URGINLINE) and sk.copied_seq != sk.rcv_nxt:
        # the old urgent byte stands at the read position: it is skipped
        sk.copied_seq = (sk.copied_seq + 1) & M32
        if queue:
            first = queue[0]
            if isinstance(first, TcpSkb) and not before(sk.copied_seq, first.end_seq):
                queue.popleft()
                tcp_unset_owner_r(sk, first)
    sk.urg_data = TCP_URG_NOTYET
    sk.urg_seq = ptr
    sk.pred_wnd = -1
