"""TCP's timers: retransmission, probes, delayed acknowledgement, keepalive (Linux: net/ipv4/tcp_timer.c; RFC 6298, RFC 1122 4.2.3.5-6)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SOCK_DEAD, SOCK_KEEPOPEN
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_TIMER,
    ICSK_TIME_LOSS_PROBE,
    ICSK_TIME_PROBE0,
    ICSK_TIME_REO_TIMEOUT,
    ICSK_TIME_RETRANS,
    inet_csk_ack_scheduled,
    inet_csk_exit_pingpong_mode,
    inet_csk_in_pingpong_mode,
    inet_csk_reset_keepalive_timer,
    inet_csk_reset_xmit_timer,
)
from twinsock.kernel.net.ipv4.tcp_control import tcp_send_ack, tcp_send_active_reset
from twinsock.kernel.net.ipv4.tcp_minisocks import tcp_rtx_synack
from twinsock.kernel.net.ipv4.tcp_output import tcp_current_mss, tcp_write_xmit
from twinsock.kernel.net.ipv4.tcp_recovery import tcp_enter_loss, tcp_rack_reo_timeout
from twinsock.kernel.net.ipv4.tcp_retransmit import (
    tcp_mtu_probing_on_timeout,
    tcp_retransmit_skb,
    tcp_send_loss_probe,
    tcp_send_probe0,
    tcp_write_wakeup,
    tcp_xmit_retransmit_queue,
)
from twinsock.kernel.net.ipv4.tcp_rto import tcp_probe0_base, tcp_set_rto, tcp_timeout_init
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_ACK_DEFERRED,
    TCP_CA_DISORDER,
    TCP_CA_LOSS,
    TCP_CA_RECOVERY,
    TCP_DELACK_TIMER_DEFERRED,
    TCP_MTU_REDUCED_DEFERRED,
    TCP_TSQ_DEFERRED,
    TCP_WRITE_TIMER_DEFERRED,
    TcpSock,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    tcp_clock_us,
    tcp_done,
    tcp_jiffies32,
    tcp_mstamp_refresh,
    tcp_send_head,
    tcp_write_queue_purge,
    usecs_to_jiffies,
)
from twinsock.kernel.net.ipv4.tcp_timewait import TCP_TIMEWAIT_LEN_S, tcp_time_wait
from twinsock.kernel.time.timer import Timer
from twinsock.uapi.errno import ETIMEDOUT
from twinsock.uapi.snmp import (
    LINUX_MIB_DELAYEDACKLOCKED,
    LINUX_MIB_DELAYEDACKS,
    LINUX_MIB_TCPABORTONMEMORY,
    LINUX_MIB_TCPABORTONTIMEOUT,
    LINUX_MIB_TCPKEEPALIVE,
    LINUX_MIB_TCPLOSSFAILURES,
    LINUX_MIB_TCPRENOFAILURES,
    LINUX_MIB_TCPRENORECOVERYFAIL,
    LINUX_MIB_TCPSACKFAILURES,
    LINUX_MIB_TCPSACKRECOVERYFAIL,
    LINUX_MIB_TCPTIMEOUTREHASH,
    LINUX_MIB_TCPTIMEOUTS,
)
from twinsock.uapi.socket import SOCK_TXREHASH_ENABLED
from twinsock.uapi.tcp import TCP_CLOSE, TCP_FIN_WAIT2, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TCP_RESOURCE_PROBE_TICKS: Final = 125


class _SockTimer(Timer):
    def __init__(self, sk: TcpSock) -> None:
        super().__init__()
        self.sk = sk


class _WriteTimer(_SockTimer):
    def fire(self) -> None:
        """Run tcp_write_timer."""
        sk = self.sk
        if sk.sk_owned_by_user:
            sk.tsq_flags |= TCP_WRITE_TIMER_DEFERRED
        else:
            tcp_write_timer_handler(sk)


class _DelackTimer(_SockTimer):
    def fire(self) -> None:
        """Run tcp_delack_timer."""
        sk = self.sk
        if sk.sk_owned_by_user:
            sk.sk_net.net_statistics[LINUX_MIB_DELAYEDACKLOCKED] += 1
            sk.tsq_flags |= TCP_DELACK_TIMER_DEFERRED
        else:
            tcp_delack_timer_handler(sk)


class _KeepaliveTimer(_SockTimer):
    def fire(self) -> None:
        """Run tcp_keepalive_timer."""
        tcp_keepalive_timer(self.sk)


class _CompressedAckTimer(_SockTimer):
    def fire(self) -> None:
        """Send the acknowledgement that was held back (tcp_compressed_ack_kick)."""
        sk = self.sk
        if sk.sk_owned_by_user:
            sk.tsq_flags |= TCP_DELACK_TIMER_DEFERRED
        elif sk.compressed_ack:
            sk.compressed_ack -= 1
            tcp_mstamp_refresh(sk)
            tcp_send_ack(sk)


class _PacingTimer(_SockTimer):
    def fire(self) -> None:
        """Send what pacing held back (tcp_pace_kick)."""
        sk = self.sk
        if sk.sk_owned_by_user:
            sk.tsq_flags |= TCP_TSQ_DEFERRED
        else:
            tcp_tsq_handler(sk)


def tcp_init_xmit_timers(sk: TcpSock) -> None:
    """Make the timers of a socket."""
    sk.icsk_retransmit_timer = _WriteTimer(sk)
    sk.icsk_delack_timer = _DelackTimer(sk)
    sk.icsk_keepalive_timer = _KeepaliveTimer(sk)
    sk.compressed_ack_timer = _CompressedAckTimer(sk)
    sk.pacing_timer = _PacingTimer(sk)


def tcp_tsq_handler(sk: TcpSock) -> None:
    """Continue sending."""
    if sk.sk_state in (1, 4, 8, 9, 11):
        if sk.lost_out > sk.retrans_out and sk.snd_cwnd > sk.packets_out - sk.sacked_out - sk.lost_out + sk.retrans_out:
            tcp_mstamp_refresh(sk)
            tcp_xmit_retransmit_queue(sk)
        tcp_write_xmit(sk, tcp_current_mss(sk), sk.nonagle, 0)


def tcp_release_cb(sk: TcpSock) -> None:
    """Do what timers and packets left for the task that held the socket."""
    flags = sk.tsq_flags
    if not flags:
        return
    sk.tsq_flags = 0
    if flags & TCP_TSQ_DEFERRED:
        tcp_tsq_handler(sk)
    if flags & TCP_WRITE_TIMER_DEFERRED:
        tcp_write_timer_handler(sk)
    if flags & TCP_DELACK_TIMER_DEFERRED:
        tcp_delack_timer_handler(sk)
    if flags & TCP_MTU_REDUCED_DEFERRED:
        sk.icsk_af_ops.mtu_reduced(sk)
    if flags & TCP_ACK_DEFERRED and inet_csk_ack_scheduled(sk):
        tcp_mstamp_refresh(sk)
        tcp_send_ack(sk)


# ---- giving up


def tcp_write_err(sk: TcpSock) -> None:
    """The peer does not answer: end the connection."""
    sk.sk_err = sk.sk_err_soft or ETIMEDOUT
    tcp_write_queue_purge(sk)
    tcp_done(sk)
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_error_report()
    sk.sk_net.net_statistics[LINUX_MIB_TCPABORTONTIMEOUT] += 1


def tcp_out_of_resources(sk: TcpSock, do_reset: bool) -> bool:
    """Kill an orphan where there are too many; tell whether it was."""
    prot = sk.sk_prot
    shift = 0
    if tcp_jiffies32(sk) - sk.lsndtime > 2 * sk.icsk_rto_max or not do_reset:
        shift += 1
    if sk.sk_err_soft:
        shift += 1
    if prot.counters.orphan_count << shift > sk.sk_net.kernel.sysctl_tcp_max_orphans:
        if tcp_jiffies32(sk) - sk.lsndtime <= TCP_TIMEWAIT_LEN_S * sk.sk_net.kernel.clock.hz or (not sk.snd_wnd and not sk.packets_out):
            do_reset = True
        if do_reset:
            tcp_send_active_reset(sk)
        tcp_done(sk)
        sk.sk_net.net_statistics[LINUX_MIB_TCPABORTONMEMORY] += 1
        return True
    return False


def tcp_orphan_retries(sk: TcpSock, alive: bool) -> int:
    """Return how often an orphan retries."""
    retries = sk.sk_net.ipv4.sysctl_tcp_orphan_retries
    if sk.sk_err_soft and not alive:
        return 0
    if retries == 0 and alive:
        return 8
    return retries


def _model_timeout_ms(sk: TcpSock, boundary: int, rto_base: int) -> int:
    """Return the milliseconds that `boundary` retransmissions with backoff take, RFC 1122 4.2.3.1."""
    hz = sk.sk_net.kernel.clock.hz
    rto_max = sk.icsk_rto_max
    thresh = max((rto_max // max(rto_base, 1)).bit_length() - 1, 0)
    if boundary <= thresh:
        ticks = ((2 << boundary) - 1) * rto_base
    else:
        ticks = ((2 << thresh) - 1) * rto_base + (boundary - thresh) * rto_max
    return ticks * 1000 // hz


def retransmits_timed_out(sk: TcpSock, boundary: int, timeout_ms: int) -> bool:
    """Tell whether the peer has been silent for as long as `boundary` retransmissions take (or `timeout_ms`)."""
    if not sk.icsk_retransmits:
        return False
    start_ts = sk.retrans_stamp
    if not timeout_ms:
        rto_base = sk.sk_net.kernel.clock.msecs_to_jiffies(200)
        if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV):
            rto_base = tcp_timeout_init(sk)
        timeout_ms = _model_timeout_ms(sk, boundary, rto_base)
    now = (tcp_clock_us(sk) // 1000 + sk.tsoffset) & M32
    return (now - start_ts - timeout_ms) & M32 <= 0x7FFFFFFF


def tcp_write_timeout(sk: TcpSock) -> bool:
    """Look whether it is time to give up; tell whether the connection ended."""
    ipv4 = sk.sk_net.ipv4
    if sk.sk_state in (TCP_SYN_SENT, TCP_SYN_RECV):
        retry_until = sk.icsk_syn_retries or ipv4.sysctl_tcp_syn_retries
        max_retransmits = retry_until
        if sk.sk_state == TCP_SYN_SENT:
            max_retransmits += ipv4.sysctl_tcp_syn_linear_timeouts
        expired = sk.icsk_retransmits >= max_retransmits
    else:
        if retransmits_timed_out(sk, ipv4.sysctl_tcp_retries1, 0):
            tcp_mtu_probing_on_timeout(sk)
        retry_until = ipv4.sysctl_tcp_retries2
        if sk.sock_flag(SOCK_DEAD):
            alive = sk.icsk_rto < sk.icsk_rto_max
            retry_until = tcp_orphan_retries(sk, alive)
            do_reset = alive or not retransmits_timed_out(sk, retry_until, 0)
            if tcp_out_of_resources(sk, do_reset):
                return True
        expired = False
    if not expired:
        expired = retransmits_timed_out(sk, retry_until, sk.icsk_user_timeout)
    sk.fastopen_ops.detect_blackhole(sk, expired)
    if expired:
        tcp_write_err(sk)
        return True
    if sk.sk_txrehash == SOCK_TXREHASH_ENABLED:  # Linux: sk_rethink_txhash(), another path through the network
        sk.timeout_rehash += 1
        sk.sk_net.net_statistics[LINUX_MIB_TCPTIMEOUTREHASH] += 1
    return False


# ---- retransmission


def tcp_write_timer_handler(sk: TcpSock) -> None:
    """The shared timer ran: do what it was armed for."""
    if sk.sk_state in (TCP_CLOSE, TCP_LISTEN) or not sk.icsk_pending:
        return
    clock = sk.sk_net.kernel.clock
    if sk.icsk_timeout > clock.jiffies():
        if sk.icsk_retransmit_timer is not None:
            clock.mod_timer(sk.icsk_retransmit_timer, sk.icsk_timeout)
        return
    tcp_mstamp_refresh(sk)
    event = sk.icsk_pending
    if event == ICSK_TIME_REO_TIMEOUT:
        tcp_rack_reo_timeout(sk)
    elif event == ICSK_TIME_LOSS_PROBE:
        tcp_send_loss_probe(sk)
    elif event == ICSK_TIME_RETRANS:
        sk.icsk_pending = 0
        tcp_retransmit_timer(sk)
    elif event == ICSK_TIME_PROBE0:
        sk.icsk_pending = 0
        tcp_probe_timer(sk)


def _tcp_clamp_rto_to_user_timeout(sk: TcpSock) -> int:
    if not sk.icsk_user_timeout:
        return sk.icsk_rto
    now = (tcp_clock_us(sk) // 1000 + sk.tsoffset) & M32
    elapsed = (now - sk.retrans_stamp) & M32
    remaining = sk.icsk_user_timeout - elapsed
    if remaining <= 0:
        return 1
    return min(sk.icsk_rto, sk.sk_net.kernel.clock.msecs_to_jiffies(remaining))


def tcp_update_rto_stats(sk: TcpSock) -> None:
    """Count a timeout for TCP_INFO."""
    if not sk.icsk_retransmits:
        sk.total_rto_recoveries += 1
        sk.rto_stamp = sk.tcp_mstamp // 1000
    sk.icsk_retransmits += 1
    sk.total_rto += 1


def _rtx_probe0_timed_out(sk: TcpSock) -> bool:
    """Tell whether a peer with a closed window has been silent for two timeouts' maximum."""
    user_timeout = sk.icsk_user_timeout
    timeout_ms = sk.icsk_rto_max * 2 * 1000 // sk.sk_net.kernel.clock.hz
    now = (tcp_clock_us(sk) // 1000 + sk.tsoffset) & M32
    rtx_delta = (now - (sk.retrans_stamp or now)) & M32
    if user_timeout and rtx_delta > user_timeout:
        return True
    rcv_delta = (sk.icsk_timeout - sk.rcv_tstamp) * 1000 // sk.sk_net.kernel.clock.hz
    return rcv_delta > timeout_ms


def tcp_retransmit_timer(sk: TcpSock) -> None:
    """Nothing was acknowledged for a timeout: send the head again, back off, RFC 6298 5.4-5.6."""
    if sk.fastopen_rsk is not None:
        _fastopen_synack_timer(sk)
        return
    if not sk.packets_out:
        return
    head = sk.tcp_rtx_queue.head
    if head is None:
        return
    net = sk.sk_net
    if not sk.snd_wnd and not sk.sock_flag(SOCK_DEAD) and sk.sk_state not in (TCP_SYN_SENT, TCP_SYN_RECV):
        if _rtx_probe0_timed_out(sk):
            tcp_write_err(sk)
            return
        tcp_enter_loss(sk)
        tcp_retransmit_skb(sk, head, 1)
        _out_reset_timer(sk)
        return
    net.net_statistics[LINUX_MIB_TCPTIMEOUTS] += 1
    if tcp_write_timeout(sk):
        return
    if sk.icsk_retransmits == 0:
        _count_failure(sk)
    tcp_enter_loss(sk)
    tcp_update_rto_stats(sk)
    head = sk.tcp_rtx_queue.head
    if head is not None and tcp_retransmit_skb(sk, head, 1) > 0:
        inet_csk_reset_xmit_timer(sk, ICSK_TIME_RETRANS, TCP_RESOURCE_PROBE_TICKS, sk.icsk_rto_max)
        return
    _out_reset_timer(sk)


def tcp_ld_rto_revert(sk: TcpSock, seq: int) -> None:
    """A router says that the head could not be delivered: the timeout was no congestion, take one step of the backoff back, RFC 6069."""
    if sk.sk_owned_by_user or seq != sk.snd_una or not sk.icsk_retransmits or not sk.icsk_backoff:
        return
    head = sk.tcp_rtx_queue.head
    if head is None:
        return
    sk.icsk_backoff -= 1
    if sk.srtt_us:
        tcp_set_rto(sk)
    else:
        sk.icsk_rto = sk.sk_net.kernel.clock.hz
    sk.icsk_rto = min(sk.icsk_rto << sk.icsk_backoff, sk.icsk_rto_max)
    tcp_mstamp_refresh(sk)
    remaining = sk.icsk_rto - usecs_to_jiffies(sk, sk.tcp_mstamp - head.skb_mstamp_us)
    if remaining > 0:
        inet_csk_reset_xmit_timer(sk, ICSK_TIME_RETRANS, remaining, sk.icsk_rto_max)
    else:
        tcp_retransmit_timer(sk)


def _count_failure(sk: TcpSock) -> None:
    stats = sk.sk_net.net_statistics
    state = sk.icsk_ca_state
    sack = sk.rx_opt.sack_ok
    if state == TCP_CA_RECOVERY:
        stats[LINUX_MIB_TCPSACKRECOVERYFAIL if sack else LINUX_MIB_TCPRENORECOVERYFAIL] += 1
    elif state == TCP_CA_LOSS:
        stats[LINUX_MIB_TCPLOSSFAILURES] += 1
    elif state == TCP_CA_DISORDER or sk.sacked_out:
        stats[LINUX_MIB_TCPSACKFAILURES if sack else LINUX_MIB_TCPRENOFAILURES] += 1


def _out_reset_timer(sk: TcpSock) -> None:
    """Back off: exponentially, or linearly for thin streams and the first SYN retransmissions."""
    ipv4 = sk.sk_net.ipv4
    thin = sk.thin_lto or ipv4.sysctl_tcp_thin_linear_timeouts
    if sk.sk_state == 1 and thin and sk.packets_out < 4 and sk.icsk_retransmits <= 6:
        sk.icsk_backoff = 0
        sk.icsk_rto = min(max((sk.srtt_us >> 3) + sk.rttvar_us, 0) * sk.sk_net.kernel.clock.hz // 1_000_000 + 1, sk.icsk_rto_max)
    elif sk.sk_state != TCP_SYN_SENT or sk.total_rto > ipv4.sysctl_tcp_syn_linear_timeouts:
        sk.icsk_backoff += 1
        sk.icsk_rto = min(sk.icsk_rto << 1, sk.icsk_rto_max)
    inet_csk_reset_xmit_timer(sk, ICSK_TIME_RETRANS, _tcp_clamp_rto_to_user_timeout(sk), sk.icsk_rto_max)


def _fastopen_synack_timer(sk: TcpSock) -> None:
    """Send the SYN-ACK of a Fast Open child again."""
    req = sk.fastopen_rsk
    assert req is not None
    net = sk.sk_net
    net.net_statistics[LINUX_MIB_TCPTIMEOUTS] += 1
    max_retries = sk.icsk_syn_retries or (net.ipv4.sysctl_tcp_synack_retries + 1)
    if req.num_timeout >= max_retries:
        tcp_write_err(sk)
        return
    if sk.icsk_retransmits == 1:
        sk.ack_quick = max(sk.ack_quick, 2)
    tcp_rtx_synack(sk, req)
    req.num_timeout += 1
    tcp_update_rto_stats(sk)
    if not sk.retrans_stamp:
        sk.retrans_stamp = (tcp_clock_us(sk) // 1000 + sk.tsoffset) & M32
    inet_csk_reset_xmit_timer(sk, ICSK_TIME_RETRANS, req.timeout << req.num_timeout, sk.icsk_rto_max)


# ---- zero-window probes


def tcp_probe_timer(sk: TcpSock) -> None:
    """Probe a closed window, RFC 9293 3.8.6.1."""
    net = sk.sk_net
    skb = tcp_send_head(sk)
    if sk.packets_out or skb is None:
        sk.icsk_probes_out = 0
        sk.icsk_probes_tstamp = 0
        return
    clock = net.kernel.clock
    if not sk.icsk_probes_tstamp:
        sk.icsk_probes_tstamp = clock.jiffies()
    elif sk.icsk_user_timeout:
        elapsed = clock.jiffies() - sk.icsk_probes_tstamp
        if elapsed >= clock.msecs_to_jiffies(sk.icsk_user_timeout):
            tcp_write_err(sk)
            return
    max_probes = net.ipv4.sysctl_tcp_retries2
    if sk.sock_flag(SOCK_DEAD):
        alive = min(tcp_probe0_base(sk) << sk.icsk_backoff, 1 << 40) < sk.icsk_rto_max
        max_probes = tcp_orphan_retries(sk, alive)
        if not alive and sk.icsk_backoff >= max_probes:
            tcp_write_err(sk)
            return
        if tcp_out_of_resources(sk, True):
            return
    if sk.icsk_probes_out >= max_probes:
        tcp_write_err(sk)
    else:
        tcp_send_probe0(sk)


# ---- delayed acknowledgement


def tcp_delack_timer_handler(sk: TcpSock) -> None:
    """Acknowledge at last."""
    if sk.sk_state in (TCP_CLOSE, TCP_LISTEN):
        return
    if sk.compressed_ack:
        tcp_mstamp_refresh(sk)
        sk.compressed_ack -= 1
        tcp_send_ack(sk)
        return
    if not sk.ack_pending & ICSK_ACK_TIMER:
        return
    clock = sk.sk_net.kernel.clock
    if sk.ack_timeout > clock.jiffies():
        if sk.icsk_delack_timer is not None:
            clock.mod_timer(sk.icsk_delack_timer, sk.ack_timeout)
        return
    sk.ack_pending &= ~ICSK_ACK_TIMER
    if inet_csk_ack_scheduled(sk):
        if not inet_csk_in_pingpong_mode(sk):
            sk.ack_ato = min(sk.ack_ato << 1, sk.icsk_rto)
        else:
            inet_csk_exit_pingpong_mode(sk)
            sk.ack_ato = clock.hz // 25
        tcp_mstamp_refresh(sk)
        tcp_send_ack(sk)
        sk.sk_net.net_statistics[LINUX_MIB_DELAYEDACKS] += 1


# ---- keepalive


def keepalive_time_when(sk: TcpSock) -> int:
    """Return the idle ticks before the first keepalive."""
    return sk.keepalive_time or sk.sk_net.ipv4.sysctl_tcp_keepalive_time


def tcp_keepalive_timer(sk: TcpSock) -> None:
    """Probe an idle peer; for an orphan in FIN_WAIT2: make it a mini-socket or end it."""
    clock = sk.sk_net.kernel.clock
    hz = clock.hz
    if sk.sk_owned_by_user:
        inet_csk_reset_keepalive_timer(sk, hz // 20)
        return
    if sk.sk_state == TCP_LISTEN:
        return
    tcp_mstamp_refresh(sk)
    if sk.sk_state == TCP_FIN_WAIT2 and sk.sock_flag(SOCK_DEAD):
        if sk.linger2 >= 0:
            tmo = tcp_fin_time_of(sk) - TCP_TIMEWAIT_LEN_S * hz
            if tmo > 0:
                tcp_time_wait(sk, TCP_FIN_WAIT2, tmo)
                return
        tcp_send_active_reset(sk)
        tcp_done(sk)
        return
    if not sk.sock_flag(SOCK_KEEPOPEN) or sk.sk_state in (TCP_CLOSE, TCP_SYN_SENT):
        return
    elapsed = keepalive_time_when(sk)
    if sk.packets_out or sk.sk_write_queue.head is not None:
        inet_csk_reset_keepalive_timer(sk, elapsed)
        return
    elapsed = min(clock.jiffies() - sk.ack_lrcvtime, clock.jiffies() - sk.rcv_tstamp)
    if elapsed < keepalive_time_when(sk):
        inet_csk_reset_keepalive_timer(sk, keepalive_time_when(sk) - elapsed)
        return
    user_timeout = sk.icsk_user_timeout
    probes = sk.keepalive_probes or sk.sk_net.ipv4.sysctl_tcp_keepalive_probes
    if (user_timeout and elapsed >= clock.msecs_to_jiffies(user_timeout) and sk.icsk_probes_out > 0) or (
        not user_timeout and sk.icsk_probes_out >= probes
    ):
        tcp_send_active_reset(sk)
        tcp_write_err(sk)
        return
    if tcp_write_wakeup(sk, LINUX_MIB_TCPKEEPALIVE) <= 0:
        sk.icsk_probes_out += 1
        elapsed = sk.keepalive_intvl or sk.sk_net.ipv4.sysctl_tcp_keepalive_intvl
    else:
        elapsed = TCP_RESOURCE_PROBE_TICKS
    inet_csk_reset_keepalive_timer(sk, elapsed)


def tcp_fin_time_of(sk: TcpSock) -> int:
    """Return how long an orphan stays in FIN_WAIT2, in ticks."""
    fin_timeout = sk.linger2 or sk.sk_net.ipv4.sysctl_tcp_fin_timeout
    return max(fin_timeout, (sk.icsk_rto << 2) - (sk.icsk_rto >> 1))


def tcp_set_keepalive(sk: TcpSock, on: bool) -> None:
    """Start or stop keepalives, SO_KEEPALIVE of socket(7)."""
    if sk.sk_state in (TCP_CLOSE, TCP_LISTEN):
        return
    if on and not sk.sock_flag(SOCK_KEEPOPEN):
        inet_csk_reset_keepalive_timer(sk, keepalive_time_when(sk))
    elif not on and sk.icsk_keepalive_timer is not None:
        sk.sk_net.kernel.clock.del_timer(sk.icsk_keepalive_timer)
