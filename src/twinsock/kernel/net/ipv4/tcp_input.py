"""The state machine for arriving segments (Linux: net/ipv4/tcp_input.c; RFC 9293 3.10.7, RFC 5961, RFC 7323 5)."""

from __future__ import annotations

from twinsock.kernel.net.core import dropreason
from twinsock.kernel.net.core.sock import SEND_SHUTDOWN, SOCK_DEAD, SOCK_KEEPOPEN
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_TIME_RETRANS,
    inet_csk_in_pingpong_mode,
    inet_csk_reset_keepalive_timer,
    inet_csk_schedule_ack,
)
from twinsock.kernel.net.ipv4.tcp_ack import (
    ACK_TOO_OLD,
    ACK_UNSENT_DATA,
    tcp_ack,
    tcp_paws_check,
    tcp_store_ts_recent,
)
from twinsock.kernel.net.ipv4.tcp_challenge import tcp_oow_rate_limited, tcp_send_challenge_ack
from twinsock.kernel.net.ipv4.tcp_cong import ca_ops
from twinsock.kernel.net.ipv4.tcp_control import tcp_initialize_rcv_mss, tcp_send_ack, tcp_send_fin, tcp_send_synack
from twinsock.kernel.net.ipv4.tcp_data import (
    tcp_ack_snd_check,
    tcp_data_queue,
    tcp_data_ready,
    tcp_data_snd_check,
    tcp_dsack_set,
    tcp_ecn_accept_cwr,
    tcp_enter_quickack_mode,
    tcp_event_data_recv,
    tcp_queue_rcv,
    tcp_rcv_rtt_measure_ts,
    tcp_urg,
)
from twinsock.kernel.net.ipv4.tcp_minisocks import tcp_check_req
from twinsock.kernel.net.ipv4.tcp_output import tcp_full_space, tcp_init_cwnd, tcp_mtup_init, tcp_receive_window, tcp_sync_mss
from twinsock.kernel.net.ipv4.tcp_recovery import FLAG_DATA, FLAG_NO_CHALLENGE_ACK, FLAG_SLOWPATH, FLAG_UPDATE_TS_RECENT
from twinsock.kernel.net.ipv4.tcp_rto import (
    TCP_TIMEOUT_FALLBACK_S,
    tcp_rearm_rto,
    tcp_reset_xmit_timer,
    tcp_rtt_estimator,
    tcp_set_rto,
    tcp_update_pacing_rate,
    tcp_update_rtt_min,
)
from twinsock.kernel.net.ipv4.tcp_sndbuf import tcp_sndbuf_expand
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_ECN_OK,
    TCP_INIT_CWND,
    TCP_MAX_QUICKACKS,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    after,
    before,
    between,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    jiffies_to_usecs,
    tcp_done,
    tcp_drop_reason,
    tcp_fast_path_on,
    tcp_jiffies32,
    tcp_mstamp_refresh,
    tcp_set_state,
    tcp_time_stamp_ts,
    tcp_write_queue_purge,
)
from twinsock.kernel.net.ipv4.tcp_timewait import TCP_TIMEWAIT_LEN_S, tcp_time_wait
from twinsock.uapi.errno import ECONNREFUSED, ECONNRESET, EPIPE
from twinsock.uapi.snmp import (
    LINUX_MIB_BEYONDWINDOW,
    LINUX_MIB_DELAYEDACKLOST,
    LINUX_MIB_PAWSACTIVEREJECTED,
    LINUX_MIB_PAWSESTABREJECTED,
    LINUX_MIB_PAWSOLDACK,
    LINUX_MIB_TCPABORTONDATA,
    LINUX_MIB_TCPACKSKIPPEDPAWS,
    LINUX_MIB_TCPACKSKIPPEDSEQ,
    LINUX_MIB_TCPHPHITS,
    LINUX_MIB_TCPSYNCHALLENGE,
    TCP_MIB_INERRS,
)
from twinsock.uapi.tcp import (
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_CLOSING,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LAST_ACK,
    TCP_LISTEN,
    TCP_SYN_RECV,
    TCP_SYN_SENT,
    TCP_TIME_WAIT,
)
from twinsock.wire.tcp import (
    TCPHDR_ACK,
    TCPHDR_CWR,
    TCPHDR_ECE,
    TCPHDR_FIN,
    TCPHDR_RST,
    TCPHDR_SYN,
    TCPHDR_URG,
    Tcphdr,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

# ---- answering what is not acceptable


def tcp_send_dupack(sk: TcpSock, skb: TcpSkb) -> None:
    """Acknowledge a segment outside the window, with a D-SACK for old data."""
    if skb.seq != skb.end_seq and before(skb.seq, sk.rcv_nxt):
        sk.sk_net.net_statistics[LINUX_MIB_DELAYEDACKLOST] += 1
        tcp_enter_quickack_mode(sk, TCP_MAX_QUICKACKS)
        end_seq = sk.rcv_nxt if after(skb.end_seq, sk.rcv_nxt) else skb.end_seq
        tcp_dsack_set(sk, skb.seq, end_seq)
    tcp_send_ack(sk)


def tcp_done_with_error(sk: TcpSock, err: int) -> None:
    """End the connection with a pending error."""
    sk.sk_err = err
    tcp_write_queue_purge(sk)
    tcp_done(sk)
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_error_report()


def tcp_reset(sk: TcpSock) -> None:
    """Take the peer's RST, RFC 9293 3.10.7.4 second."""
    state = sk.sk_state
    if state == TCP_SYN_SENT:
        err = ECONNREFUSED
    elif state == TCP_CLOSE_WAIT:
        err = EPIPE
    elif state == TCP_CLOSE:
        return
    else:
        err = ECONNRESET
    tcp_done_with_error(sk, err)


# ---- acceptability


def tcp_parse_timestamp(sk: TcpSock, th: Tcphdr) -> bool:
    """Take the timestamp option of an ordinary segment, if timestamps were agreed."""
    rx = sk.rx_opt
    rx.saw_tstamp = th.ts and rx.tstamp_ok
    if rx.saw_tstamp:
        rx.rcv_tsval = th.tsval
        rx.rcv_tsecr = th.tsecr
    return rx.saw_tstamp


def tcp_disordered_ack_check(sk: TcpSock, skb: TcpSkb) -> str:
    """Judge a segment with an old timestamp: "" for a duplicate acknowledgement that was overtaken, else why it is dropped."""
    th = skb.th
    assert th is not None
    if not th.flags & TCPHDR_ACK or skb.seq != skb.end_seq:
        return dropreason.TCP_RFC7323_PAWS
    if skb.seq != sk.rcv_nxt:
        return dropreason.TCP_RFC7323_PAWS_ACK if before(skb.seq, sk.rcv_nxt) else dropreason.TCP_RFC7323_PAWS
    if skb.ack_seq != sk.snd_una or th.window << sk.rx_opt.snd_wscale != sk.snd_wnd:
        return dropreason.TCP_RFC7323_PAWS
    replay_ms = max(sk.icsk_rto * 1000 // sk.sk_net.kernel.clock.hz, 1)
    return dropreason.TCP_RFC7323_PAWS if (sk.rx_opt.ts_recent - sk.rx_opt.rcv_tsval) & M32 > replay_ms else ""


def tcp_sequence(sk: TcpSock, skb: TcpSkb) -> str:
    """Check the sequence number, RFC 9293 3.10.7.4 first: "" or why it is not acceptable."""
    if before(skb.end_seq, sk.rcv_wup):
        return dropreason.TCP_OLD_SEQUENCE
    limit = (sk.rcv_nxt + tcp_receive_window(sk)) & M32
    if not after(skb.end_seq, limit):
        return ""
    fin = 1 if skb.tcp_flags & TCPHDR_FIN else 0
    if not after((skb.end_seq - fin) & M32, limit):
        return ""
    if after(skb.seq, limit):
        return dropreason.TCP_INVALID_SEQUENCE
    return dropreason.TCP_INVALID_END_SEQUENCE if sk.sk_receive_queue else ""


def _reset_check(sk: TcpSock, skb: TcpSkb) -> bool:
    """A RST just before our window, after the peer's FIN, is one it sent before it saw our acknowledgement."""
    return skb.seq == (sk.rcv_nxt - 1) & M32 and sk.sk_state in (TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING)


def tcp_validate_incoming(sk: TcpSock, skb: TcpSkb, th: Tcphdr, count_syn: bool) -> bool:
    """Check timestamp, sequence number, RST and SYN; false when the segment needs no more processing."""
    stats = sk.sk_net.net_statistics
    rst = bool(th.flags & TCPHDR_RST)
    syn = bool(th.flags & TCPHDR_SYN)
    too_old = tcp_parse_timestamp(sk, th) and not tcp_paws_check(sk, 1) and not rst
    reason = tcp_disordered_ack_check(sk, skb) if too_old else ""
    if reason:
        if syn:
            return _syn_challenge(sk, skb, count_syn)
        if reason == dropreason.TCP_RFC7323_PAWS_ACK:
            stats[LINUX_MIB_PAWSOLDACK] += 1
            tcp_drop_reason(sk, skb, reason)
            return False
        stats[LINUX_MIB_PAWSESTABREJECTED] += 1
        if not tcp_oow_rate_limited(sk, skb, LINUX_MIB_TCPACKSKIPPEDPAWS):
            tcp_send_dupack(sk, skb)
        tcp_drop_reason(sk, skb, reason)
        return False
    reason = tcp_sequence(sk, skb)
    if reason:
        if not rst:
            if syn:
                return _syn_challenge(sk, skb, count_syn)
            if reason != dropreason.TCP_OLD_SEQUENCE:
                stats[LINUX_MIB_BEYONDWINDOW] += 1
            if not tcp_oow_rate_limited(sk, skb, LINUX_MIB_TCPACKSKIPPEDSEQ):
                tcp_send_dupack(sk, skb)
        elif _reset_check(sk, skb):
            tcp_reset(sk)
            return False
        tcp_drop_reason(sk, skb, reason)
        return False
    if rst:
        if skb.seq == sk.rcv_nxt or _reset_check(sk, skb) or _rst_above_sack(sk, skb):
            tcp_reset(sk)
            return False
        if sk.syn_fastopen and not sk.data_segs_in and sk.sk_state == TCP_ESTABLISHED:
            sk.fastopen_ops.active_disable(sk)
        tcp_send_challenge_ack(sk)
        tcp_drop_reason(sk, skb, dropreason.TCP_RESET)
        return False
    if syn:
        if (
            sk.sk_state == TCP_SYN_RECV
            and sk.sk_socket is not None
            and th.flags & TCPHDR_ACK
            and (skb.seq + 1) & M32 == skb.end_seq
            and skb.end_seq == sk.rcv_nxt
            and skb.ack_seq == sk.snd_nxt
        ):
            return True  # the SYN-ACK of a crossed open
        return _syn_challenge(sk, skb, count_syn)
    return True


def _syn_challenge(sk: TcpSock, skb: TcpSkb, count_syn: bool) -> bool:
    if count_syn:
        sk.sk_net.tcp_statistics[TCP_MIB_INERRS] += 1
    sk.sk_net.net_statistics[LINUX_MIB_TCPSYNCHALLENGE] += 1
    tcp_send_challenge_ack(sk)
    tcp_drop_reason(sk, skb, dropreason.TCP_INVALID_SYN)
    return False


def _rst_above_sack(sk: TcpSock, skb: TcpSkb) -> bool:
    """A RST behind the highest block that we reported comes from a peer that counts those bytes."""
    if not sk.rx_opt.sack_ok or not sk.selective_acks:
        return False
    highest = sk.selective_acks[0][1]
    for _start, end in sk.selective_acks:
        if after(end, highest):
            highest = end
    return skb.seq == highest


def ack_drop_reason(result: int) -> str:
    """Return why tcp_ack() refused an acknowledgement."""
    if result == ACK_TOO_OLD:
        return dropreason.TCP_TOO_OLD_ACK
    return dropreason.TCP_ACK_UNSENT_DATA if result == ACK_UNSENT_DATA else dropreason.TCP_OLD_ACK


# ---- ESTABLISHED


def _predicted(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> bool:
    """Tell whether the segment is what header prediction expects."""
    # Twin: D-tcp-9: Linux also looks at the memory that is free.
    if th.flags & (TCPHDR_SYN | TCPHDR_RST | TCPHDR_FIN | TCPHDR_URG | TCPHDR_ECE | TCPHDR_CWR) or not th.flags & TCPHDR_ACK:
        return False
    if skb.seq != sk.rcv_nxt or after(skb.ack_seq, sk.snd_nxt) or th.window != sk.pred_wnd:
        return False
    return th.header_len() == sk.tcp_header_len and (not th.ts or not before(th.tsval, sk.rx_opt.ts_recent))


def _predicted_data(sk: TcpSock, skb: TcpSkb) -> None:
    """Take the data that header prediction expected, then the acknowledgement, whatever that says."""
    if sk.rx_opt.saw_tstamp and sk.rcv_nxt == sk.rcv_wup:
        tcp_store_ts_recent(sk)
    tcp_rcv_rtt_measure_ts(sk, skb)
    sk.sk_net.net_statistics[LINUX_MIB_TCPHPHITS] += 1
    tcp_queue_rcv(sk, skb)
    tcp_event_data_recv(sk, skb)
    if skb.ack_seq != sk.snd_una:
        tcp_ack(sk, skb, FLAG_DATA)
        tcp_data_snd_check(sk)
    else:
        sk.snd_wl1 = skb.seq
    tcp_ack_snd_check(sk)
    tcp_data_ready(sk)


def tcp_rcv_established(sk: TcpSock, skb: TcpSkb) -> None:
    """Process a segment in ESTABLISHED."""
    th = skb.th
    assert th is not None
    tcp_mstamp_refresh(sk)
    if not th.flags & (TCPHDR_ACK | TCPHDR_RST | TCPHDR_SYN):
        tcp_drop_reason(sk, skb, dropreason.TCP_FLAGS)
        return
    fast = _predicted(sk, skb, th)
    if not tcp_validate_incoming(sk, skb, th, True):
        return
    if fast and skb.len and skb.truesize <= sk.sk_forward_alloc:
        _predicted_data(sk, skb)
        return
    result = tcp_ack(sk, skb, FLAG_UPDATE_TS_RECENT | (0 if fast else FLAG_SLOWPATH))
    if result < 0 and (not fast or skb.len):  # Linux: header prediction looks at no result
        tcp_drop_reason(sk, skb, ack_drop_reason(result))
        return
    tcp_rcv_rtt_measure_ts(sk, skb)
    tcp_ecn_accept_cwr(sk, skb)
    tcp_urg(sk, skb, th)
    tcp_data_queue(sk, skb)
    if sk.sk_state != TCP_CLOSE:
        tcp_data_snd_check(sk)
        tcp_ack_snd_check(sk)


# ---- becoming established


def tcp_init_metrics(sk: TcpSock) -> None:
    """Start from three seconds where the handshake gave no round trip, RFC 6298 5.7."""
    if sk.srtt_us == 0:
        hz = sk.sk_net.kernel.clock.hz
        sk.rttvar_us = jiffies_to_usecs(sk, TCP_TIMEOUT_FALLBACK_S * hz)
        sk.mdev_us = sk.mdev_max_us = sk.rttvar_us
        sk.icsk_rto = min(TCP_TIMEOUT_FALLBACK_S * hz, sk.icsk_rto_max)


def tcp_init_buffer_space(sk: TcpSock) -> None:
    """Fix the buffers' starting sizes for the connection."""
    if not sk.sk_userlocks & 1:
        tcp_sndbuf_expand(sk)
    tcp_mstamp_refresh(sk)
    sk.rcvq_time = sk.tcp_mstamp
    sk.rcvq_seq = sk.copied_seq
    maxwin = tcp_full_space(sk)
    app_win = sk.sk_net.ipv4.sysctl_tcp_app_win
    if sk.window_clamp >= maxwin:
        sk.window_clamp = maxwin
        if app_win and maxwin > 4 * sk.advmss:
            sk.window_clamp = max(maxwin - (maxwin >> app_win), 4 * sk.advmss)
    if app_win and sk.window_clamp > 2 * sk.advmss and sk.window_clamp + sk.advmss > maxwin:
        sk.window_clamp = max(2 * sk.advmss, maxwin - sk.advmss)
    sk.rcv_ssthresh = min(sk.rcv_ssthresh, sk.window_clamp)
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk.rcvq_space = min(sk.rcv_ssthresh, sk.rcv_wnd, TCP_INIT_CWND * sk.advmss)


def tcp_init_transfer(sk: TcpSock) -> None:
    """Prepare a connection for data, RFC 5681 3.1, RFC 6928."""
    tcp_mtup_init(sk)
    sk.icsk_af_ops.rebuild_header(sk)
    tcp_init_metrics(sk)
    if sk.total_retrans > 1 and sk.undo_marker:
        sk.snd_cwnd = 1
    else:
        sk.snd_cwnd = tcp_init_cwnd(sk)
    sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk.prior_ssthresh = 0
    ca_ops(sk).init(sk)
    tcp_init_buffer_space(sk)


def tcp_finish_connect(sk: TcpSock) -> None:
    """The handshake of an active open is complete."""
    tcp_set_state(sk, TCP_ESTABLISHED)
    sk.ack_lrcvtime = tcp_jiffies32(sk)
    tcp_init_transfer(sk)
    sk.lsndtime = tcp_jiffies32(sk)
    if sk.sock_flag(SOCK_KEEPOPEN):
        inet_csk_reset_keepalive_timer(sk, sk.keepalive_time or sk.sk_net.ipv4.sysctl_tcp_keepalive_time)
    sk.pred_wnd = -1
    if not sk.rx_opt.snd_wscale:
        tcp_fast_path_on(sk)


def tcp_try_undo_spurious_syn(sk: TcpSock) -> None:
    """A SYN or SYN-ACK that was sent again needlessly must not shrink the first window."""
    syn_stamp = sk.retrans_stamp
    rx = sk.rx_opt
    if sk.undo_marker and syn_stamp and rx.saw_tstamp and syn_stamp == rx.rcv_tsecr:
        sk.undo_marker = 0


def tcp_synack_rtt_meas(sk: TcpSock, req: TcpRequestSock) -> None:
    """Take the time between SYN-ACK and its acknowledgement, unless the SYN-ACK was sent twice."""
    if not req.num_retrans and req.snt_synack_us:
        rtt_us = max(sk.sk_net.kernel.clock.now_ns // 1000 + 300_000_000 - req.snt_synack_us, 0)
        tcp_update_rtt_min(sk, rtt_us, False)
        tcp_rtt_estimator(sk, rtt_us)
        tcp_set_rto(sk)
        sk.icsk_backoff = 0


# ---- SYN_SENT


def tcp_rcv_synsent_state_process(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> str | None:
    """Process a segment in SYN_SENT, RFC 9293 3.10.7.3: "" done, a drop reason to send a RST, None to go on with urgent data."""
    rx = sk.rx_opt
    saved_clamp = rx.mss_clamp
    tcp_parse_syn_options(sk, th)
    if th.flags & TCPHDR_ACK:
        if not after(skb.ack_seq, sk.snd_una) or after(skb.ack_seq, sk.snd_nxt):
            if sk.icsk_retransmits == 0:
                tcp_reset_xmit_timer(sk, ICSK_TIME_RETRANS, 2, False)
            return _undo_options(sk, saved_clamp, dropreason.TCP_INVALID_ACK_SEQUENCE)
        if rx.saw_tstamp and rx.rcv_tsecr and not between(rx.rcv_tsecr, sk.retrans_stamp, tcp_time_stamp_ts(sk)):
            sk.sk_net.net_statistics[LINUX_MIB_PAWSACTIVEREJECTED] += 1
            return _undo_options(sk, saved_clamp, dropreason.TCP_RFC7323_PAWS)
        if th.flags & TCPHDR_RST:
            tcp_reset(sk)
            return ""
        if not th.flags & TCPHDR_SYN:
            tcp_drop_reason(sk, skb, dropreason.TCP_FLAGS)
            return _undo_options(sk, saved_clamp, "")
        return _synack_received(sk, skb, th)
    reason = dropreason.NOT_SPECIFIED
    if th.flags & TCPHDR_RST:
        reason = dropreason.TCP_RESET
    elif rx.ts_recent_stamp and rx.saw_tstamp and not tcp_paws_check(sk, 0):
        reason = dropreason.TCP_RFC7323_PAWS
    elif th.flags & TCPHDR_SYN:
        _crossed_syn(sk, skb, th)
        return ""
    tcp_drop_reason(sk, skb, reason)
    return _undo_options(sk, saved_clamp, "")


def _undo_options(sk: TcpSock, saved_clamp: int, result: str) -> str:
    """Forget the options of a segment that was not taken."""
    rx = sk.rx_opt
    rx.tstamp_ok = False
    rx.sack_ok = False
    rx.wscale_ok = False
    rx.snd_wscale = 0
    rx.mss_clamp = saved_clamp
    return result


def tcp_parse_syn_options(sk: TcpSock, th: Tcphdr) -> None:
    """Take the options of a SYN or SYN-ACK, as far as the sysctls allow them."""
    rx = sk.rx_opt
    ipv4 = sk.sk_net.ipv4
    rx.saw_tstamp = False
    rx.sack_ok = False
    if th.mss:
        rx.mss_clamp = rx.user_mss if rx.user_mss and rx.user_mss < th.mss else th.mss
    if th.flags & TCPHDR_SYN and th.wscale >= 0 and ipv4.sysctl_tcp_window_scaling:
        rx.wscale_ok = True
        rx.snd_wscale = min(th.wscale, 14)
    if th.ts and ipv4.sysctl_tcp_timestamps:
        rx.saw_tstamp = True
        rx.rcv_tsval = th.tsval
        rx.rcv_tsecr = th.tsecr
    if th.flags & TCPHDR_SYN and th.sack_ok and ipv4.sysctl_tcp_sack:
        rx.sack_ok = True


def _take_timestamps(sk: TcpSock) -> None:
    if sk.rx_opt.saw_tstamp:
        sk.rx_opt.tstamp_ok = True
        sk.tcp_header_len = 32
        tcp_store_ts_recent(sk)
    else:
        sk.tcp_header_len = 20


# Twin: D-tcp-9: no accurate ECN
def _synack_received(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> str | None:
    rx = sk.rx_opt
    if sk.ecn_flags & TCP_ECN_OK and th.flags & (TCPHDR_ECE | TCPHDR_CWR) != TCPHDR_ECE:
        sk.ecn_flags &= ~TCP_ECN_OK
    sk.snd_wl1 = skb.seq
    tcp_try_undo_spurious_syn(sk)
    tcp_ack(sk, skb, FLAG_SLOWPATH)
    sk.rcv_nxt = (skb.seq + 1) & M32
    sk.rcv_wup = sk.rcv_nxt
    sk.snd_wnd = th.window
    if not rx.wscale_ok:
        rx.snd_wscale = rx.rcv_wscale = 0
        sk.window_clamp = min(sk.window_clamp, 65535)
    if rx.saw_tstamp:
        sk.advmss -= 12
    _take_timestamps(sk)
    tcp_sync_mss(sk, sk.icsk_pmtu_cookie)
    tcp_initialize_rcv_mss(sk)
    sk.copied_seq = sk.rcv_nxt
    tcp_finish_connect(sk)
    fastopen_fail = (sk.syn_fastopen or sk.syn_data) and sk.fastopen_ops.rcv_synack(sk, skb, th)
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_state_change()
    if fastopen_fail:
        return None
    queue = sk.icsk_accept_queue
    if sk.write_pending or queue.rskq_defer_accept or inet_csk_in_pingpong_mode(sk):
        # data will follow soon and carry the acknowledgement
        inet_csk_schedule_ack(sk)
        tcp_enter_quickack_mode(sk, TCP_MAX_QUICKACKS)
        clock = sk.sk_net.kernel.clock
        sk.ack_pending |= 2
        sk.ack_timeout = clock.jiffies() + clock.hz // 5
        if sk.icsk_delack_timer is not None:
            clock.mod_timer(sk.icsk_delack_timer, sk.ack_timeout)
        return ""
    tcp_send_ack(sk)
    return None


def _crossed_syn(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    """Both ends sent a SYN, RFC 9293 3.5 figure 7."""
    tcp_set_state(sk, TCP_SYN_RECV)
    _take_timestamps(sk)
    sk.rcv_nxt = (skb.seq + 1) & M32
    sk.copied_seq = sk.rcv_nxt
    sk.rcv_wup = sk.rcv_nxt
    sk.snd_wnd = th.window
    sk.snd_wl1 = skb.seq
    sk.max_window = sk.snd_wnd
    if sk.ecn_flags & TCP_ECN_OK and th.flags & (TCPHDR_ECE | TCPHDR_CWR) != TCPHDR_ECE | TCPHDR_CWR:
        sk.ecn_flags &= ~TCP_ECN_OK
    tcp_mtup_init(sk)
    tcp_sync_mss(sk, sk.icsk_pmtu_cookie)
    tcp_initialize_rcv_mss(sk)
    tcp_send_synack(sk)


# ---- every other state


def tcp_rcv_state_process(sk: TcpSock, skb: TcpSkb) -> str:
    """Process a segment in any state but ESTABLISHED and TIME_WAIT, RFC 9293 3.10.7: "" done, or a drop reason to answer with a RST."""
    th = skb.th
    assert th is not None
    flags = th.flags
    state = sk.sk_state
    if state == TCP_CLOSE:
        tcp_drop_reason(sk, skb, dropreason.TCP_CLOSE)
        return ""
    if state == TCP_LISTEN:
        if flags & TCPHDR_ACK:
            return dropreason.TCP_FLAGS
        if flags & TCPHDR_RST or not flags & TCPHDR_SYN or flags & TCPHDR_FIN:
            tcp_drop_reason(sk, skb, dropreason.TCP_RESET if flags & TCPHDR_RST else dropreason.TCP_FLAGS)
            return ""
        sk.icsk_af_ops.conn_request(sk, skb)
        return ""
    tcp_mstamp_refresh(sk)
    if state == TCP_SYN_SENT:
        sk.rx_opt.saw_tstamp = False
        queued = tcp_rcv_synsent_state_process(sk, skb, th)
        if queued is not None:
            return queued
        tcp_urg(sk, skb, th)
        tcp_data_snd_check(sk)
        return ""
    sk.rx_opt.saw_tstamp = False
    req = sk.fastopen_rsk
    if req is not None:
        judged, why = tcp_check_req(sk, skb, req, True)
        if judged is None:
            tcp_drop_reason(sk, skb, why)
            return ""
    if not flags & (TCPHDR_ACK | TCPHDR_RST | TCPHDR_SYN):
        tcp_drop_reason(sk, skb, dropreason.TCP_FLAGS)
        return ""
    if not tcp_validate_incoming(sk, skb, th, False):
        return ""
    result = tcp_ack(sk, skb, FLAG_SLOWPATH | FLAG_UPDATE_TS_RECENT | FLAG_NO_CHALLENGE_ACK)
    if result <= 0:
        if sk.sk_state == TCP_SYN_RECV:
            return ack_drop_reason(result)
        if result < 0:
            tcp_send_challenge_ack(sk)
            tcp_drop_reason(sk, skb, ack_drop_reason(result))
            return ""
    answer = _after_ack(sk, skb, th)
    if answer is not None:
        return answer
    tcp_ecn_accept_cwr(sk, skb)
    tcp_urg(sk, skb, th)
    return _data_in_state(sk, skb)


def _after_ack(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> str | None:
    """Move on by what was acknowledged: None to go on with the data, "" done, a drop reason to send a RST."""
    state = sk.sk_state
    if state == TCP_SYN_RECV:
        _synrecv_established(sk, skb, th)
    elif state == TCP_FIN_WAIT1:
        return _fin_wait1_acked(sk, skb)
    elif state == TCP_CLOSING:
        if sk.snd_una == sk.write_seq:
            tcp_time_wait(sk, TCP_TIME_WAIT, 0)
            return ""
    elif state == TCP_LAST_ACK:
        if sk.snd_una == sk.write_seq:
            tcp_done(sk)
            return ""
    return None


def _synrecv_established(sk: TcpSock, skb: TcpSkb, th: Tcphdr) -> None:
    sk.delivered += 1
    req = sk.fastopen_rsk
    if not sk.srtt_us and req is not None:
        tcp_synack_rtt_meas(sk, req)
    if sk.rx_opt.tstamp_ok:
        sk.advmss -= 12
    if req is not None:
        tcp_rcv_synrecv_state_fastopen(sk)
    else:
        tcp_try_undo_spurious_syn(sk)
        sk.retrans_stamp = 0
        tcp_init_transfer(sk)
        sk.copied_seq = sk.rcv_nxt
    tcp_set_state(sk, TCP_ESTABLISHED)
    sk.sk_state_change()
    sk.snd_una = skb.ack_seq
    sk.snd_wnd = th.window << sk.rx_opt.snd_wscale
    sk.snd_wl1 = skb.seq
    tcp_update_pacing_rate(sk)
    sk.lsndtime = tcp_jiffies32(sk)
    tcp_initialize_rcv_mss(sk)
    tcp_fast_path_on(sk)
    if sk.sk_shutdown & SEND_SHUTDOWN:
        tcp_shutdown_send(sk)


def tcp_rcv_synrecv_state_fastopen(sk: TcpSock) -> None:
    """The handshake of a Fast Open child is complete, RFC 7413 4.2.2."""
    sk.fastopen_ops.synrecv_done(sk)
    if not sk.packets_out:
        sk.retrans_stamp = 0
    tcp_rearm_rto(sk)


def tcp_close_state(sk: TcpSock) -> bool:
    """Move to the state that follows from closing the send direction; tell whether a FIN is to be sent."""
    state = sk.sk_state
    if state in (TCP_ESTABLISHED, TCP_SYN_RECV):
        tcp_set_state(sk, TCP_FIN_WAIT1)
        return True
    if state == TCP_CLOSE_WAIT:
        tcp_set_state(sk, TCP_LAST_ACK)
        return True
    if state == TCP_SYN_SENT:
        tcp_set_state(sk, TCP_CLOSE)
    return False


def tcp_shutdown_send(sk: TcpSock) -> None:
    """Close the send direction, shutdown(2) with SHUT_WR."""
    if sk.sk_state in (TCP_ESTABLISHED, TCP_SYN_SENT, TCP_CLOSE_WAIT):
        if tcp_close_state(sk):
            tcp_send_fin(sk)


def tcp_fin_time(sk: TcpSock) -> int:
    """Return how long an orphan stays in FIN_WAIT2, in ticks."""
    fin_timeout = sk.linger2 or sk.sk_net.ipv4.sysctl_tcp_fin_timeout
    return max(fin_timeout, (sk.icsk_rto << 2) - (sk.icsk_rto >> 1))


def _fin_wait1_acked(sk: TcpSock, skb: TcpSkb) -> str | None:
    if sk.fastopen_rsk is not None:
        tcp_rcv_synrecv_state_fastopen(sk)
    if sk.snd_una != sk.write_seq:
        return None
    tcp_set_state(sk, TCP_FIN_WAIT2)
    sk.sk_shutdown |= SEND_SHUTDOWN
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_state_change()
        return None
    stats = sk.sk_net.net_statistics
    if sk.linger2 < 0:
        tcp_done(sk)
        stats[LINUX_MIB_TCPABORTONDATA] += 1
        return dropreason.TCP_ABORT_ON_DATA
    fin = 1 if skb.tcp_flags & TCPHDR_FIN else 0
    if skb.end_seq != skb.seq and after((skb.end_seq - fin) & M32, sk.rcv_nxt):
        if sk.syn_fastopen and fin:
            sk.fastopen_ops.active_disable(sk)
        tcp_done(sk)
        stats[LINUX_MIB_TCPABORTONDATA] += 1
        return dropreason.TCP_ABORT_ON_DATA
    tmo = tcp_fin_time(sk)
    timewait = TCP_TIMEWAIT_LEN_S * sk.sk_net.kernel.clock.hz
    if tmo > timewait:
        inet_csk_reset_keepalive_timer(sk, tmo - timewait)
    elif fin or sk.sk_owned_by_user:
        inet_csk_reset_keepalive_timer(sk, tmo)
    else:
        tcp_time_wait(sk, TCP_FIN_WAIT2, tmo)
        return ""
    return None


def _data_in_state(sk: TcpSock, skb: TcpSkb) -> str:
    """Take the data of a segment where the state allows data: "" done, or a drop reason to answer with a RST."""
    state = sk.sk_state
    queued = False
    if state in (TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK) and not before(skb.seq, sk.rcv_nxt):
        pass
    elif state != TCP_CLOSE and state != TCP_LISTEN:
        if state != TCP_ESTABLISHED and state != TCP_SYN_RECV and sk.sk_shutdown & 1:
            fin = 1 if skb.tcp_flags & TCPHDR_FIN else 0
            if skb.end_seq != skb.seq and after((skb.end_seq - fin) & M32, sk.rcv_nxt):
                sk.sk_net.net_statistics[LINUX_MIB_TCPABORTONDATA] += 1
                tcp_reset(sk)
                return dropreason.TCP_ABORT_ON_DATA
        tcp_data_queue(sk, skb)
        queued = True
    if sk.sk_state != TCP_CLOSE:
        tcp_data_snd_check(sk)
        tcp_ack_snd_check(sk)
    if not queued:
        tcp_drop_reason(sk, skb, dropreason.NOT_SPECIFIED)
    return ""


def tcp_child_process(parent: TcpSock, child: TcpSock, skb: TcpSkb) -> str:
    """Give a new child the segment that completed its handshake: "", or a drop reason to answer with a RST."""
    child.segs_in += max(1, skb.gso_segs)
    if skb.len:
        child.data_segs_in += max(1, skb.gso_segs)
    state = child.sk_state
    reset = tcp_rcv_state_process(child, skb)
    if state == TCP_SYN_RECV and child.sk_state != state:
        parent.sk_data_ready()
    return reset
