"""Sending again: retransmissions, tail loss probes, zero-window probes (Linux: net/ipv4/tcp_output.c; RFC 6298, 6675, 8985)."""

from __future__ import annotations

from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_TIME_PROBE0,
    ICSK_TIME_REO_TIMEOUT,
    ICSK_TIME_RETRANS,
)
from twinsock.kernel.net.ipv4.tcp_cong import tcp_current_ssthresh, tcp_in_cwnd_reduction
from twinsock.kernel.net.ipv4.tcp_output import (
    tcp_adjust_pcount,
    tcp_current_mss,
    tcp_event_new_data_sent,
    tcp_fragment,
    tcp_mss_to_mtu,
    tcp_pacing_check,
    tcp_set_skb_tso_segs,
    tcp_snd_wnd_test,
    tcp_sync_mss,
    tcp_transmit_skb,
    tcp_trim_head,
    tcp_tso_segs,
    tcp_write_xmit,
)
from twinsock.kernel.net.ipv4.tcp_rto import tcp_probe0_when, tcp_rearm_rto, tcp_reset_xmit_timer
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CA_LOSS,
    TCP_NAGLE_OFF,
    TCPCB_EVER_RETRANS,
    TCPCB_LOST,
    TCPCB_SACKED_ACKED,
    TCPCB_SACKED_RETRANS,
    TcpSkb,
    TcpSock,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    sk_wmem_queued_add,
    tcp_jiffies32,
    tcp_packets_in_flight,
    tcp_urg_mode,
    tcp_wmem_free_skb,
    tcp_wnd_end,
)
from twinsock.uapi.errno import EAGAIN, EHOSTUNREACH, EINVAL, ENOMEM
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPFASTRETRANS,
    LINUX_MIB_TCPLOSSPROBES,
    LINUX_MIB_TCPLOSTRETRANSMIT,
    LINUX_MIB_TCPMTUPFAIL,
    LINUX_MIB_TCPMTUPSUCCESS,
    LINUX_MIB_TCPRETRANSFAIL,
    LINUX_MIB_TCPSLOWSTARTRETRANS,
    LINUX_MIB_TCPSYNRETRANS,
    LINUX_MIB_TCPWINPROBE,
    TCP_MIB_RETRANSSEGS,
)
from twinsock.uapi.tcp import TCP_CLOSE
from twinsock.wire.tcp import TCPHDR_ACK, TCPHDR_CWR, TCPHDR_ECE, TCPHDR_PSH, TCPHDR_SYN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SYN_ECN: Final = TCPHDR_SYN | TCPHDR_ECE | TCPHDR_CWR
TCP_RESOURCE_PROBE_INTERVAL_MS: Final = 500


def tcp_retransmit_once(sk: TcpSock, skb: TcpSkb, segs: int) -> int:
    """Send a segment again, cut to `segs` segments and the window: 0 or -errno. Counts it; the caller marks it."""
    if sk.mtup_probe_size:
        sk.mtup_probe_size = 0
    if before(skb.seq, sk.snd_una):
        if skb.tcp_flags & TCPHDR_SYN:
            skb.tcp_flags &= ~TCPHDR_SYN
            skb.seq = (skb.seq + 1) & M32
        if before(skb.end_seq, sk.snd_una):
            return -EINVAL
        if before(skb.seq, sk.snd_una):
            tcp_trim_head(sk, skb, (sk.snd_una - skb.seq) & M32)
    if sk.icsk_af_ops.rebuild_header(sk):
        return -EHOSTUNREACH
    cur_mss = tcp_current_mss(sk)
    avail_wnd = (tcp_wnd_end(sk) - skb.seq) & M32
    if avail_wnd > 0x7FFFFFFF or avail_wnd == 0:
        if skb.seq != sk.snd_una:
            return -EAGAIN
        avail_wnd = cur_mss
    length = cur_mss * segs
    if length > avail_wnd:
        length = avail_wnd // cur_mss * cur_mss or avail_wnd
    if skb.len > length:
        if tcp_fragment(sk, sk.tcp_rtx_queue, skb, length, cur_mss):
            return -ENOMEM
    else:
        diff = skb.pcount
        tcp_set_skb_tso_segs(skb, cur_mss)
        diff -= skb.pcount
        if diff:
            tcp_adjust_pcount(sk, skb, diff)
        avail_wnd = min(avail_wnd, cur_mss)
        if skb.len < avail_wnd:
            tcp_retrans_try_collapse(sk, skb, avail_wnd)
    if skb.tcp_flags & SYN_ECN == SYN_ECN:
        skb.tcp_flags &= ~(TCPHDR_ECE | TCPHDR_CWR)  # RFC 3168 6.1.1.1: a lost ECN SYN is sent again without
    return _transmit_again(sk, skb)


def _transmit_again(sk: TcpSock, skb: TcpSkb) -> int:
    segs = max(skb.pcount, 1)
    net = sk.sk_net
    net.tcp_statistics[TCP_MIB_RETRANSSEGS] += segs
    if skb.tcp_flags & TCPHDR_SYN:
        net.net_statistics[LINUX_MIB_TCPSYNRETRANS] += 1
    sk.total_retrans += segs
    sk.bytes_retrans += skb.len
    err = tcp_transmit_skb(sk, skb, True)
    if err:
        net.net_statistics[LINUX_MIB_TCPRETRANSFAIL] += segs
    skb.sacked |= TCPCB_EVER_RETRANS
    return err


def tcp_retransmit_skb(sk: TcpSock, skb: TcpSkb, segs: int) -> int:
    """Send a segment again and mark it as retransmitted: 0 or -errno."""
    err = tcp_retransmit_once(sk, skb, segs)
    if err == 0:
        skb.sacked |= TCPCB_SACKED_RETRANS
        sk.retrans_out += skb.pcount
    if not sk.retrans_stamp:
        sk.retrans_stamp = retrans_stamp_of(sk, skb)
    if sk.undo_retrans < 0:
        sk.undo_retrans = 0
    sk.undo_retrans += skb.pcount
    return err


def retrans_stamp_of(sk: TcpSock, skb: TcpSkb) -> int:
    """Return when a segment left, on the clock of the timestamp option."""
    return (skb.skb_mstamp_us // 1000 + sk.tsoffset) & M32


def tcp_can_collapse_to(skb: TcpSkb) -> bool:
    """Tell whether other data may be appended to the segment."""
    return not skb.eor and skb.zc is None


def tcp_retrans_try_collapse(sk: TcpSock, to: TcpSkb, space: int) -> None:
    """Join following small segments into one that is sent again, while they fit `space`."""
    if not sk.sk_net.ipv4.sysctl_tcp_retrans_collapse or to.tcp_flags & TCPHDR_SYN:
        return
    first = True
    while True:
        skb = to.next
        if skb is None or not _can_collapse(sk, skb):
            return
        if not tcp_can_collapse_to(to) or skb.zc is not None:
            return
        space -= skb.len
        if first:
            first = False
            space -= to.len  # what `to` itself takes
            if space < 0:
                return
        elif space < 0:
            return
        if not _collapse_retrans(sk, to, skb):
            return


def _can_collapse(sk: TcpSock, skb: TcpSkb) -> bool:
    if skb.pcount > 1 or skb.is_probe:
        return False
    if skb.sacked & TCPCB_SACKED_ACKED:
        return False
    return skb.tcp_flags & TCPHDR_SYN == 0


def _collapse_retrans(sk: TcpSock, skb: TcpSkb, nxt: TcpSkb) -> bool:
    """Append `nxt` to `skb`, both in the retransmit queue."""
    skb.linearize()
    nxt.linearize()
    if nxt.len:
        skb.data = skb.payload() + nxt.payload()
        skb.offset = 0
        skb.len += nxt.len
        skb.truesize += nxt.len
        sk_wmem_queued_add(sk, nxt.len)
    skb.end_seq = nxt.end_seq
    skb.tcp_flags |= nxt.tcp_flags
    skb.sacked |= nxt.sacked & TCPCB_EVER_RETRANS
    skb.eor = nxt.eor
    if nxt.tx_flags or nxt.txstamp_ack:
        skb.tx_flags |= nxt.tx_flags
        skb.tskey = nxt.tskey
        skb.txstamp_ack = skb.txstamp_ack or nxt.txstamp_ack
    if sk.highest_sack is nxt:
        sk.highest_sack = skb
    if sk.retransmit_skb_hint is nxt:
        sk.retransmit_skb_hint = skb
    tcp_adjust_pcount(sk, nxt, nxt.pcount)
    sk.tcp_rtx_queue.remove(nxt)
    tcp_wmem_free_skb(sk, nxt)
    return True


def tcp_xmit_retransmit_queue(sk: TcpSock) -> None:
    """Send lost segments again as the congestion window allows, oldest first, RFC 6675 5."""
    if not sk.packets_out:
        return
    rtx_head = sk.tcp_rtx_queue.head
    skb = sk.retransmit_skb_hint
    if skb is None:
        skb = rtx_head
    hole: TcpSkb | None = None
    rearm_timer = False
    max_segs = tcp_tso_segs(sk, tcp_current_mss(sk))
    net = sk.sk_net
    while skb is not None:
        if tcp_pacing_check(sk):
            break
        if hole is None:
            sk.retransmit_skb_hint = skb
        segs = min(sk.snd_cwnd - tcp_packets_in_flight(sk), max_segs)
        if segs <= 0 or sk.retrans_out >= sk.lost_out:
            break
        sacked = skb.sacked
        if not sacked & TCPCB_LOST:
            if hole is None and not sacked & (TCPCB_SACKED_RETRANS | TCPCB_SACKED_ACKED):
                hole = skb
            skb = skb.next
            continue
        if sacked & (TCPCB_SACKED_ACKED | TCPCB_SACKED_RETRANS):
            skb = skb.next
            continue
        mib = LINUX_MIB_TCPSLOWSTARTRETRANS if sk.icsk_ca_state == TCP_CA_LOSS else LINUX_MIB_TCPFASTRETRANS
        if tcp_retransmit_skb(sk, skb, segs):
            break
        net.net_statistics[mib] += skb.pcount
        if tcp_in_cwnd_reduction(sk):
            sk.prr_out += skb.pcount
        if skb is rtx_head and sk.icsk_pending != ICSK_TIME_REO_TIMEOUT:
            rearm_timer = True
        skb = skb.next
    if rearm_timer:
        tcp_reset_xmit_timer(sk, ICSK_TIME_RETRANS, sk.icsk_rto, True)


def tcp_send_loss_probe(sk: TcpSock) -> None:
    """Send new data, or the last segment again, to provoke an acknowledgement, RFC 8985 7.3."""
    mss = tcp_current_mss(sk)
    if not sk.tlp_high_seq and _send_probe(sk, mss):
        sk.tlp_high_seq = sk.snd_nxt
        sk.sk_net.net_statistics[LINUX_MIB_TCPLOSSPROBES] += 1
        sk.icsk_pending = 0
    tcp_rearm_rto(sk)


def _send_probe(sk: TcpSock, mss: int) -> bool:
    sk.tlp_retrans = False
    head = sk.sk_write_queue.head
    if head is not None and tcp_snd_wnd_test(sk, head, mss):
        pcount = sk.packets_out
        tcp_write_xmit(sk, mss, TCP_NAGLE_OFF, 2)
        return sk.packets_out > pcount
    skb = sk.tcp_rtx_queue.tail
    if skb is None:
        return False
    pcount = skb.pcount
    if pcount > 1 and skb.len > (pcount - 1) * mss:
        if tcp_fragment(sk, sk.tcp_rtx_queue, skb, (pcount - 1) * mss, mss):
            return False
        nxt = skb.next
        if nxt is None:
            return False
        skb = nxt
    if tcp_retransmit_once(sk, skb, 1):
        return False
    sk.tlp_retrans = True
    return True


# ---- zero-window probes and keepalives


def tcp_xmit_probe_skb(sk: TcpSock, urgent: bool, mib: int) -> int:
    """Send an empty segment with an old sequence number, which the peer must acknowledge: 0 or -errno."""
    skb = TcpSkb()
    skb.seq = (sk.snd_una - (0 if urgent else 1)) & M32
    skb.end_seq = skb.seq
    skb.tcp_flags = TCPHDR_ACK
    skb.pcount = 1
    sk.sk_net.net_statistics[mib] += 1
    return tcp_transmit_skb(sk, skb, False)


def tcp_write_wakeup(sk: TcpSock, mib: int) -> int:
    """Probe: send the piece of data that the window allows, else an empty segment. Below 0: nothing was sent."""
    if sk.sk_state == TCP_CLOSE:
        return -1
    skb = sk.sk_write_queue.head
    if skb is not None and before(skb.seq, tcp_wnd_end(sk)):
        mss = tcp_current_mss(sk)
        seg_size = (tcp_wnd_end(sk) - skb.seq) & M32
        if before(sk.pushed_seq, skb.end_seq):
            sk.pushed_seq = skb.end_seq
        if seg_size < (skb.end_seq - skb.seq) & M32 or skb.len > mss:
            seg_size = min(seg_size, mss)
            skb.tcp_flags |= TCPHDR_PSH
            if tcp_fragment(sk, sk.sk_write_queue, skb, seg_size, mss):
                return -1
        elif not skb.pcount:
            tcp_set_skb_tso_segs(skb, mss)
        if not skb.pcount:
            tcp_set_skb_tso_segs(skb, mss)
        skb.tcp_flags |= TCPHDR_PSH
        err = tcp_transmit_skb(sk, skb, True)
        if not err:
            tcp_event_new_data_sent(sk, skb)
        return err
    if tcp_urg_mode(sk) and before((sk.snd_una + 1) & M32, sk.snd_up) and (sk.snd_up - sk.snd_una) & M32 <= 0xFFFF:
        tcp_xmit_probe_skb(sk, True, mib)
    return tcp_xmit_probe_skb(sk, False, mib)


def tcp_send_probe0(sk: TcpSock) -> None:
    """Send a zero-window probe and arm the next one."""
    net = sk.sk_net
    err = tcp_write_wakeup(sk, LINUX_MIB_TCPWINPROBE)
    if sk.packets_out or sk.sk_write_queue.head is None:
        sk.icsk_probes_out = 0
        sk.icsk_backoff = 0
        sk.icsk_probes_tstamp = 0
        return
    sk.icsk_probes_out += 1
    if err <= 0:
        if sk.icsk_backoff < net.ipv4.sysctl_tcp_retries2:
            sk.icsk_backoff += 1
        timeout = tcp_probe0_when(sk, sk.icsk_rto_max)
    else:
        timeout = net.kernel.clock.msecs_to_jiffies(TCP_RESOURCE_PROBE_INTERVAL_MS)
    timeout = tcp_clamp_probe0_to_user_timeout(sk, timeout)
    tcp_reset_xmit_timer(sk, ICSK_TIME_PROBE0, timeout, True)


def tcp_clamp_probe0_to_user_timeout(sk: TcpSock, when: int) -> int:
    """Shorten a probe interval so that TCP_USER_TIMEOUT is met."""
    if not sk.icsk_user_timeout or not sk.icsk_probes_tstamp:
        return when
    clock = sk.sk_net.kernel.clock
    elapsed = max(clock.jiffies() - sk.icsk_probes_tstamp, 0)
    remaining = clock.msecs_to_jiffies(sk.icsk_user_timeout) - elapsed
    return min(max(remaining, 2), when)


def tcp_mark_skb_lost(sk: TcpSock, skb: TcpSkb) -> None:
    """Believe a segment lost; a lost retransmission may be sent again."""
    sacked = skb.sacked
    if sacked & TCPCB_SACKED_ACKED:
        return
    hint = sk.retransmit_skb_hint
    if hint is None or before(skb.seq, hint.seq):
        sk.retransmit_skb_hint = skb
    if sacked & TCPCB_LOST:
        if sacked & TCPCB_SACKED_RETRANS:
            skb.sacked &= ~TCPCB_SACKED_RETRANS
            sk.retrans_out -= skb.pcount
            sk.sk_net.net_statistics[LINUX_MIB_TCPLOSTRETRANSMIT] += skb.pcount
            sk.lost += skb.pcount
    else:
        sk.lost_out += skb.pcount
        skb.sacked |= TCPCB_LOST
        sk.lost += skb.pcount


def tcp_mtu_probing_on_timeout(sk: TcpSock) -> None:
    """Suspect a black hole after repeated timeouts: enable probing or lower its floor."""
    ipv4 = sk.sk_net.ipv4
    if not ipv4.sysctl_tcp_mtu_probing:
        return
    if not sk.mtup_enabled:
        sk.mtup_enabled = True
        sk.mtup_probe_timestamp = tcp_jiffies32(sk)
    else:
        mss = _mtu_to_mss(sk, sk.mtup_search_low) >> 1
        mss = max(min(ipv4.sysctl_tcp_base_mss, mss), ipv4.sysctl_tcp_mtu_probe_floor, ipv4.sysctl_tcp_min_snd_mss)
        sk.mtup_search_low = tcp_mss_to_mtu(sk, mss)
    tcp_sync_mss(sk, sk.icsk_pmtu_cookie)


def tcp_mtup_probe_failed(sk: TcpSock) -> None:
    """The probe alone was lost: such segments are too large for the path."""
    sk.mtup_search_high = sk.mtup_probe_size - 1
    sk.mtup_probe_size = 0
    sk.sk_net.net_statistics[LINUX_MIB_TCPMTUPFAIL] += 1


def tcp_mtup_probe_success(sk: TcpSock) -> None:
    """The probe arrived: use its size, and keep the congestion window the same in bytes."""
    sk.prior_ssthresh = tcp_current_ssthresh(sk)
    sk.snd_cwnd = max(1, sk.snd_cwnd * tcp_mss_to_mtu(sk, sk.mss_cache) // sk.mtup_probe_size)
    sk.snd_cwnd_cnt = 0
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk.snd_ssthresh = tcp_current_ssthresh(sk)
    sk.mtup_search_low = sk.mtup_probe_size
    sk.mtup_probe_size = 0
    tcp_sync_mss(sk, sk.icsk_pmtu_cookie)
    sk.sk_net.net_statistics[LINUX_MIB_TCPMTUPSUCCESS] += 1


def _mtu_to_mss(sk: TcpSock, mtu: int) -> int:
    return mtu - sk.tcp_header_len - sk.icsk_ext_hdr_len - sk.icsk_af_ops.net_header_len
