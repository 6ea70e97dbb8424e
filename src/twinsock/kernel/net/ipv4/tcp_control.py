"""Segments that carry no stream data: acknowledgements, SYN, SYN-ACK, FIN, RST (Linux: net/ipv4/tcp_output.c).

RFC 9293 3.8.6.3 and RFC 1122 4.2.3.2 (delayed acknowledgements), RFC 7413 4.1 (data in the SYN)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SOCK_DONE, SOCK_RCVBUF_LOCK
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_PUSHED,
    ICSK_ACK_SCHED,
    ICSK_ACK_TIMER,
    ICSK_TIME_RETRANS,
    inet_csk_in_pingpong_mode,
)
from twinsock.kernel.net.ipv4.tcp_cong import ca_ops
from twinsock.kernel.net.ipv4.tcp_output import (
    MAX_TCP_OPTION_SPACE,
    tcp_current_mss,
    tcp_full_space,
    tcp_mtu_to_mss_raw,
    tcp_mtup_init,
    tcp_push_pending_frames,
    tcp_queue_skb,
    tcp_sync_mss,
    tcp_transmit_skb,
)
from twinsock.kernel.net.ipv4.tcp_rto import tcp_reset_xmit_timer, tcp_timeout_init
from twinsock.kernel.net.ipv4.tcp_sndbuf import tcp_under_memory_pressure
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    SKB_TRUESIZE_HEAD,
    TCP_CHRONO_BUSY,
    TCP_ECN_OK,
    TCP_MAX_WSCALE,
    TCP_NAGLE_OFF,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    before,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    BOOT_NS,
    sk_wmem_queued_add,
    tcp_chrono_start,
    tcp_mstamp_refresh,
    tcp_time_stamp_ts,
    tcp_wnd_end,
    tcp_write_queue_purge,
    usecs_to_jiffies,
)
from twinsock.uapi.errno import ECONNREFUSED, EHOSTUNREACH
from twinsock.uapi.rtnetlink import RTAX_INITRWND, RTAX_WINDOW
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPORIGDATASENT,
    TCP_MIB_ACTIVEOPENS,
    TCP_MIB_OUTRSTS,
    TCP_MIB_OUTSEGS,
)
from twinsock.uapi.tcp import TCP_CLOSE
from twinsock.wire.tcp import (
    TCPHDR_ACK,
    TCPHDR_CWR,
    TCPHDR_ECE,
    TCPHDR_FIN,
    TCPHDR_PSH,
    TCPHDR_RST,
    TCPHDR_SYN,
    Tcphdr,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

U16_MAX: Final = 0xFFFF
TCP_TS_BITS_MASK: Final = 0x3F


def init_nondata_skb(seq: int, flags: int) -> TcpSkb:
    """tcp_init_nondata_skb(): make a segment without payload; SYN and FIN take one sequence number."""
    skb = TcpSkb()
    skb.seq = seq
    skb.end_seq = (seq + 1) & M32 if flags & (TCPHDR_SYN | TCPHDR_FIN) else seq
    skb.tcp_flags = flags
    skb.pcount = 1
    skb.truesize = SKB_TRUESIZE_HEAD
    return skb


# ---- acknowledgements


def tcp_acceptable_seq(sk: TcpSock) -> int:
    """Return a sequence number that the peer accepts: behind all sent data, but inside its window."""
    wnd_end = tcp_wnd_end(sk)
    if not before(wnd_end, sk.snd_nxt):
        return sk.snd_nxt
    if sk.rx_opt.wscale_ok and (sk.snd_nxt - wnd_end) & M32 < 1 << sk.rx_opt.rcv_wscale:
        return sk.snd_nxt
    return wnd_end


def tcp_send_ack(sk: TcpSock) -> None:
    """Acknowledge now."""
    if sk.sk_state == TCP_CLOSE:
        return
    skb = init_nondata_skb(tcp_acceptable_seq(sk), TCPHDR_ACK)
    tcp_transmit_skb(sk, skb, False)


def tcp_delack_max(sk: TcpSock) -> int:
    """Return the longest delay of an acknowledgement, in ticks."""
    return min(sk.icsk_delack_max, max(sk.icsk_rto_min, 2) - 1)


def tcp_send_delayed_ack(sk: TcpSock) -> None:
    """Acknowledge a little later, hoping for data or a second segment to acknowledge with it."""
    clock = sk.sk_net.kernel.clock
    hz = clock.hz
    ato = sk.ack_ato
    delack_min = hz // 25
    if ato > delack_min:
        max_ato = hz // 2
        if inet_csk_in_pingpong_mode(sk) or sk.ack_pending & ICSK_ACK_PUSHED:
            max_ato = hz // 5
        if sk.srtt_us:
            max_ato = min(max_ato, max(usecs_to_jiffies(sk, sk.srtt_us >> 3), delack_min))
        ato = min(ato, max_ato)
    ato = min(ato, tcp_delack_max(sk))
    now = clock.jiffies()
    timeout = now + ato
    if sk.ack_pending & ICSK_ACK_TIMER:
        if sk.ack_timeout <= now + (ato >> 2):
            tcp_send_ack(sk)
            return
        timeout = min(timeout, sk.ack_timeout)
    sk.ack_pending |= ICSK_ACK_SCHED | ICSK_ACK_TIMER
    sk.ack_timeout = timeout
    if sk.icsk_delack_timer is not None:
        clock.mod_timer(sk.icsk_delack_timer, timeout)


# ---- ending


def tcp_send_fin(sk: TcpSock) -> None:
    """Queue a FIN: on the last unsent segment, else on one of its own."""
    queue = sk.sk_write_queue
    tskb = queue.tail
    in_rtx = False
    if tskb is None and tcp_under_memory_pressure(sk):
        tskb = sk.tcp_rtx_queue.tail
        in_rtx = True
    if tskb is not None:
        tskb.tcp_flags |= TCPHDR_FIN
        tskb.end_seq = (tskb.end_seq + 1) & M32
        sk.write_seq = (sk.write_seq + 1) & M32
        if in_rtx:
            sk.snd_nxt = (sk.snd_nxt + 1) & M32
            return
    else:
        tcp_queue_skb(sk, init_nondata_skb(sk.write_seq, TCPHDR_ACK | TCPHDR_FIN))
    tcp_push_pending_frames(sk, tcp_current_mss(sk), TCP_NAGLE_OFF)


def tcp_send_active_reset(sk: TcpSock) -> None:
    """Abort the connection towards the peer."""
    sk.sk_net.tcp_statistics[TCP_MIB_OUTRSTS] += 1
    skb = init_nondata_skb(tcp_acceptable_seq(sk), TCPHDR_ACK | TCPHDR_RST)
    tcp_mstamp_refresh(sk)
    tcp_transmit_skb(sk, skb, False)


# ---- opening


def tcp_select_initial_window(
    sk: TcpSock, space: int, mss: int, window_clamp: int, wscale_ok: bool, init_rcv_wnd: int
) -> tuple[int, int, int]:
    """Choose (window, clamp, window scale) for a new connection with `space` bytes of room."""
    ipv4 = sk.sk_net.ipv4
    space = max(space, 0)
    if window_clamp == 0:
        window_clamp = U16_MAX << TCP_MAX_WSCALE
    space = min(space, window_clamp)
    if space > mss:
        space = space // mss * mss
    rcv_wnd = min(space, 32767) if ipv4.sysctl_tcp_workaround_signed_windows else space
    if init_rcv_wnd:
        rcv_wnd = min(rcv_wnd, init_rcv_wnd * mss)
    wscale = 0
    if wscale_ok:
        space = min(max(space, ipv4.sysctl_tcp_rmem[2], sk.sk_net.kernel.sysctl_rmem_max), window_clamp)
        wscale = min(max(space.bit_length() - 1 - 15, 0), TCP_MAX_WSCALE)
    return rcv_wnd, min(U16_MAX << wscale, window_clamp), wscale


def tcp_mss_clamp(sk: TcpSock, mss: int) -> int:
    """Return `mss`, or TCP_MAXSEG where that is less."""
    user_mss = sk.rx_opt.user_mss
    return user_mss if user_mss and user_mss < mss else mss


def tcp_initialize_rcv_mss(sk: TcpSock) -> None:
    """Guess how large the peer's segments will be."""
    hint = min(sk.advmss, sk.mss_cache, sk.rcv_wnd // 2, 536)
    sk.ack_rcv_mss = max(hint, 88)


def tcp_connect_init(sk: TcpSock) -> None:
    """Set everything that a connection starts with before its SYN."""
    dst = sk.sk_dst_cache
    ipv4 = sk.sk_net.ipv4
    sk.tcp_header_len = 32 if ipv4.sysctl_tcp_timestamps else 20
    if sk.rx_opt.user_mss:
        sk.rx_opt.mss_clamp = sk.rx_opt.user_mss
    sk.max_window = 0
    tcp_mtup_init(sk)
    if dst is not None:
        tcp_sync_mss(sk, dst.mtu)
        if not sk.window_clamp:
            sk.window_clamp = dst.metric(RTAX_WINDOW)
        sk.advmss = tcp_mss_clamp(sk, dst.advmss())
    tcp_initialize_rcv_mss(sk)
    full = tcp_full_space(sk)
    if sk.sk_userlocks & SOCK_RCVBUF_LOCK and (sk.window_clamp > full or sk.window_clamp == 0):
        sk.window_clamp = full
    init_rcv_wnd = dst.metric(RTAX_INITRWND) if dst is not None else 0
    mss = sk.advmss - (sk.tcp_header_len - 20 if sk.rx_opt.ts_recent_stamp else 0)
    window_scaling = bool(ipv4.sysctl_tcp_window_scaling)
    picked = tcp_select_initial_window(sk, full, mss, sk.window_clamp, window_scaling, init_rcv_wnd)
    sk.rcv_wnd, sk.window_clamp, sk.rx_opt.rcv_wscale = picked
    sk.rcv_ssthresh = sk.rcv_wnd
    sk.sk_err = 0
    sk.sock_reset_flag(SOCK_DONE)
    sk.snd_wnd = 0
    sk.snd_wl1 = 0
    tcp_write_queue_purge(sk)
    sk.snd_una = sk.snd_sml = sk.snd_up = sk.snd_nxt = sk.write_seq
    sk.rcv_nxt = 0
    sk.rcv_wup = 0
    sk.copied_seq = 0
    sk.icsk_rto = tcp_timeout_init(sk)
    sk.icsk_retransmits = 0
    tcp_clear_retrans(sk)


def tcp_clear_retrans(sk: TcpSock) -> None:
    """Forget all retransmission bookkeeping."""
    sk.retrans_out = 0
    sk.lost_out = 0
    sk.undo_marker = 0
    sk.undo_retrans = -1
    sk.sacked_out = 0
    sk.rto_stamp = 0
    sk.total_rto = 0
    sk.total_rto_recoveries = 0
    sk.total_rto_time = 0


def tcp_connect_queue_skb(sk: TcpSock, skb: TcpSkb) -> None:
    """Account a segment that is sent with, or as, the SYN."""
    skb.end_seq = (skb.end_seq + skb.len) & M32
    sk_wmem_queued_add(sk, skb.truesize)
    sk.write_seq = skb.end_seq
    sk.packets_out += skb.pcount


def tcp_ecn_send_syn(sk: TcpSock, skb: TcpSkb) -> None:
    """Ask for ECN where the sysctl or the congestion control wants it, RFC 3168 6.1.1."""
    sk.ecn_flags = 0
    if sk.sk_net.ipv4.sysctl_tcp_ecn == 1 or ca_ops(sk).needs_ecn:
        skb.tcp_flags |= TCPHDR_ECE | TCPHDR_CWR
        sk.ecn_flags = TCP_ECN_OK


def tcp_connect(sk: TcpSock) -> int:
    """Send the SYN: 0 or -errno."""
    if sk.icsk_af_ops.rebuild_header(sk):
        return -EHOSTUNREACH
    tcp_connect_init(sk)
    buff = init_nondata_skb(sk.write_seq, TCPHDR_SYN)
    tcp_mstamp_refresh(sk)
    sk.retrans_stamp = tcp_time_stamp_ts(sk)
    tcp_connect_queue_skb(sk, buff)
    tcp_ecn_send_syn(sk, buff)
    sk.tcp_rtx_queue.append(buff)
    err = tcp_send_syn_data(sk, buff) if sk.fastopen_req is not None else tcp_transmit_skb(sk, buff, True)
    if err == -ECONNREFUSED:
        return err
    sk.snd_nxt = sk.write_seq
    sk.pushed_seq = sk.write_seq
    head = sk.sk_write_queue.head
    if head is not None:
        sk.snd_nxt = head.seq
        sk.pushed_seq = head.seq
    sk.sk_net.tcp_statistics[TCP_MIB_ACTIVEOPENS] += 1
    tcp_reset_xmit_timer(sk, ICSK_TIME_RETRANS, sk.icsk_rto, False)
    return 0


def tcp_send_syn_data(sk: TcpSock, syn: TcpSkb) -> int:
    """Send the SYN with data if a cookie allows it, else ask for a cookie, RFC 7413 4.1.1: 0 or -errno."""
    fo = sk.fastopen_req
    assert fo is not None
    sk.rx_opt.mss_clamp = sk.advmss
    checked, mss_clamp = sk.fastopen_ops.cookie_check(sk, fo)
    sk.rx_opt.mss_clamp = tcp_mss_clamp(sk, mss_clamp)
    if checked:
        tcp_sync_mss(sk, sk.icsk_pmtu_cookie)
        space = tcp_mtu_to_mss_raw(sk, sk.icsk_pmtu_cookie) - MAX_TCP_OPTION_SPACE
        space = min(space, fo.size)
        data = TcpSkb(fo.data, 0, space)
        data.truesize = SKB_TRUESIZE_HEAD + space
        data.seq = syn.seq
        data.end_seq = syn.end_seq
        data.tcp_flags = syn.tcp_flags
        data.pcount = 1
        if fo.zc is not None and space:
            data.zc = fo.zc
            fo.zc.refcnt += 1
        if space:
            tcp_chrono_start(sk, TCP_CHRONO_BUSY)
        fo.copied = space
        tcp_connect_queue_skb(sk, data)
        err = tcp_transmit_skb(sk, data, True)
        syn.skb_mstamp_us = data.skb_mstamp_us
        syn.rack_listed = True
        data.seq = (data.seq + 1) & M32
        data.tcp_flags = TCPHDR_ACK | TCPHDR_PSH
        if not err:
            sk.syn_data = fo.copied > 0
            sk.tcp_rtx_queue.append(data)
            sk.sk_net.net_statistics[LINUX_MIB_TCPORIGDATASENT] += 1
        else:
            sk.sk_write_queue.append(data)
            sk.packets_out -= data.pcount
        fo.cookie = None
        return err
    if fo.cookie:
        fo.cookie = b""
    err = tcp_transmit_skb(sk, syn, True)
    if err:
        sk.syn_fastopen = False
    fo.cookie = None
    return err


def tcp_send_synack(sk: TcpSock) -> int:
    """Answer the peer's SYN with ours in a simultaneous open, RFC 9293 3.5 figure 7: 0 or -errno."""
    skb = sk.tcp_rtx_queue.head
    if skb is None or not skb.tcp_flags & TCPHDR_SYN:
        return -14
    if not skb.tcp_flags & TCPHDR_ACK:
        skb.tcp_flags |= TCPHDR_ACK
        skb.tcp_flags &= ~TCPHDR_CWR
        if sk.ecn_flags & TCP_ECN_OK:
            skb.tcp_flags |= TCPHDR_ECE
        else:
            skb.tcp_flags &= ~TCPHDR_ECE
    return tcp_transmit_skb(sk, skb, True)


def tcp_make_synack(sk: TcpSock, req: TcpRequestSock, advmss: int, foc: bytes | None, foc_exp: bool) -> TcpSkb:
    """Build the SYN-ACK of a request."""
    now_us = (sk.sk_net.kernel.clock.now_ns + BOOT_NS) // 1000
    th = Tcphdr(req.sk_num, req.sk_dport, req.snt_isn, req.rcv_nxt, TCPHDR_SYN | TCPHDR_ACK, min(req.rcv_wnd, 65535))
    if req.ecn_ok:
        th.flags |= TCPHDR_ECE
    room = MAX_TCP_OPTION_SPACE - 4
    th.mss = tcp_mss_clamp(sk, advmss)
    if req.wscale_ok:
        th.wscale = req.rcv_wscale
        room -= 4
    if req.tstamp_ok:
        th.ts = True
        ts = now_us // 1000
        th.tsval = (cookie_init_timestamp(req, ts) if req.syncookie else ts) + req.ts_off & M32
        th.tsecr = req.ts_recent
        room -= 12
    if req.sack_ok:
        th.sack_ok = True
        if not th.ts:
            room -= 4
    if foc is not None and (len(foc) + (4 if foc_exp else 2) + 3) & ~3 <= room:
        th.fastopen = foc
        th.fastopen_exp = foc_exp
    skb = init_nondata_skb(req.snt_isn, TCPHDR_SYN | TCPHDR_ACK)
    skb.h = th
    skb.th = th
    skb.mark = req.ir_mark
    skb.gso_segs = 1
    if not req.snt_synack_us:
        req.snt_synack_us = now_us
    sk.sk_net.tcp_statistics[TCP_MIB_OUTSEGS] += 1
    return skb


def cookie_init_timestamp(req: TcpRequestSock, ts: int) -> int:
    """Hide what a SYN cookie cannot hold in the low bits of a timestamp that is not in the future."""
    options = req.snd_wscale if req.wscale_ok else 0xF
    if req.sack_ok:
        options |= 0x10
    if req.ecn_ok:
        options |= 0x20
    stamped = ts & ~TCP_TS_BITS_MASK | options
    return stamped - (1 << 6) if stamped > ts else stamped
