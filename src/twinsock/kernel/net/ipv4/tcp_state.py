"""TCP's state door, its clocks, and what ends a connection (Linux: tcp.c: tcp_set_state, tcp_done; include/net/tcp.h)."""

from __future__ import annotations

from twinsock.kernel.net.core.skbuff import SkBuff, kfree_skb_reason
from twinsock.kernel.net.core.sock import SHUTDOWN_MASK, SOCK_BINDPORT_LOCK, SOCK_DEAD, sock_put
from twinsock.kernel.net.core.sock_mem import sk_forced_mem_schedule, sk_mem_charge, sk_mem_uncharge
from twinsock.kernel.net.ipv4.inet_csk import (
    inet_csk_clear_delack_timer,
    inet_csk_clear_xmit_timer,
    inet_csk_delete_keepalive_timer,
)
from twinsock.kernel.net.ipv4.inet_sock import inet_sk_state_store
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CHRONO_BUSY,
    TCP_CHRONO_UNSPEC,
    SkbList,
    TcpFastopenRequest,
    TcpSkb,
    TcpSock,
)
from twinsock.uapi.snmp import TCP_MIB_ATTEMPTFAILS, TCP_MIB_CURRESTAB, TCP_MIB_ESTABRESETS
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
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BOOT_NS: Final = 300_000_000_000  # the clock's zero is 300 s after boot, so that 0 can mean "never"

# Row = old state, bit = allowed new state. TIME_WAIT is another object: its socket goes to CLOSE.
_LEGAL: Final[tuple[int, ...]] = (
    0,
    1 << TCP_FIN_WAIT1 | 1 << TCP_CLOSE_WAIT | 1 << TCP_CLOSE,  # ESTABLISHED
    1 << TCP_ESTABLISHED | 1 << TCP_SYN_RECV | 1 << TCP_CLOSE,  # SYN_SENT
    1 << TCP_ESTABLISHED | 1 << TCP_FIN_WAIT1 | 1 << TCP_CLOSE_WAIT | 1 << TCP_CLOSE,  # SYN_RECV
    1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSING | 1 << TCP_CLOSE,  # FIN_WAIT1
    1 << TCP_CLOSE,  # FIN_WAIT2
    0,  # TIME_WAIT
    1 << TCP_SYN_SENT | 1 << TCP_LISTEN | 1 << TCP_SYN_RECV | 1 << TCP_CLOSE,  # CLOSE
    1 << TCP_LAST_ACK | 1 << TCP_CLOSE,  # CLOSE_WAIT
    1 << TCP_CLOSE,  # LAST_ACK
    1 << TCP_SYN_RECV | 1 << TCP_CLOSE,  # LISTEN; SYN_RECV: the clone that becomes a child
    1 << TCP_CLOSE,  # CLOSING
)


def tcp_drop_reason(sk: TcpSock, skb: SkBuff, reason: str) -> None:
    """Drop a segment that a socket does not want, for a reason of net/core/dropreason.py, and count it for `ss -m`."""
    sk.sk_drops += 1
    kfree_skb_reason(skb, reason)


def tcp_set_state(sk: TcpSock, state: int) -> None:
    """Change the state: the one door, with its counters and tracepoint."""
    oldstate = sk.sk_state
    assert _LEGAL[oldstate] >> state & 1, f"TCP state {oldstate} cannot become {state}"
    stats = sk.sk_net.tcp_statistics
    if state == TCP_ESTABLISHED:
        stats[TCP_MIB_CURRESTAB] += 1
    elif state == TCP_CLOSE_WAIT:
        if oldstate == TCP_SYN_RECV:
            stats[TCP_MIB_CURRESTAB] += 1
    else:
        counted = oldstate in (TCP_ESTABLISHED, TCP_CLOSE_WAIT)
        if state == TCP_CLOSE:
            if counted:
                stats[TCP_MIB_ESTABRESETS] += 1
            sk.sk_prot.unhash(sk)
            if sk.icsk_bind_hash is not None and not sk.sk_userlocks & SOCK_BINDPORT_LOCK:
                sk.sk_prot.put_port(sk)
        if counted:
            stats[TCP_MIB_CURRESTAB] -= 1
    inet_sk_state_store(sk, state)


def tcp_clock_us(sk: TcpSock) -> int:
    """Return microseconds since boot."""
    return (sk.sk_net.kernel.clock.now_ns + BOOT_NS) // 1000


def tcp_mstamp_refresh(sk: TcpSock) -> None:
    """Take the time once for the work that follows."""
    now = sk.sk_net.kernel.clock.now_ns + BOOT_NS
    sk.tcp_clock_cache = now
    sk.tcp_mstamp = now // 1000


def tcp_jiffies32(sk: TcpSock) -> int:
    """Return the tick counter."""
    return sk.sk_net.kernel.clock.jiffies()


def tcp_time_stamp_ts(sk: TcpSock) -> int:
    """Return the value for the timestamp option: milliseconds plus the connection's offset."""
    return (sk.tcp_mstamp // 1000 + sk.tsoffset) & M32


def usecs_to_jiffies(sk: TcpSock, usecs: int) -> int:
    """Convert microseconds to ticks, rounding up."""
    hz = sk.sk_net.kernel.clock.hz
    return (usecs * hz + 999_999) // 1_000_000


def jiffies_to_usecs(sk: TcpSock, ticks: int) -> int:
    """Convert ticks to microseconds."""
    return ticks * (1_000_000 // sk.sk_net.kernel.clock.hz)


def tcp_send_head(sk: TcpSock) -> TcpSkb | None:
    """Return the first unsent segment."""
    return sk.sk_write_queue.head


def tcp_packets_in_flight(sk: TcpSock) -> int:
    """Return the segments that are believed to be in the network, RFC 6675 pipe."""
    return sk.packets_out - sk.sacked_out - sk.lost_out + sk.retrans_out


def tcp_wnd_end(sk: TcpSock) -> int:
    """Return the sequence number behind the peer's window."""
    return (sk.snd_una + sk.snd_wnd) & M32


def tcp_in_initial_slowstart(sk: TcpSock) -> bool:
    """Tell whether no loss has been seen yet."""
    return sk.snd_ssthresh >= 0x7FFFFFFF


def tcp_chrono_set(sk: TcpSock, new: int) -> None:
    """Close the running stopwatch and start `new`."""
    now = tcp_jiffies32(sk)
    old = sk.chrono_type
    if old > TCP_CHRONO_UNSPEC:
        sk.chrono_stat[old - 1] += now - sk.tcp_chrono_start
    sk.tcp_chrono_start = now
    sk.chrono_type = new


def tcp_chrono_start(sk: TcpSock, type_: int) -> None:
    """Start a stopwatch unless a more specific one runs."""
    if type_ > sk.chrono_type:
        tcp_chrono_set(sk, type_)


def tcp_chrono_stop(sk: TcpSock, type_: int) -> None:
    """Stop a stopwatch; the connection stays busy while it has something to send."""
    if sk.tcp_rtx_queue.head is None and sk.sk_write_queue.head is None:
        tcp_chrono_set(sk, TCP_CHRONO_UNSPEC)
    elif type_ == sk.chrono_type:
        tcp_chrono_set(sk, TCP_CHRONO_BUSY)


def sk_wmem_queued_add(sk: TcpSock, val: int) -> None:
    """Charge the write queue with `val` bytes of memory, whatever the limits say; give them back where it is negative."""
    sk.sk_wmem_queued += val
    if val < 0:
        sk_mem_uncharge(sk, -val)
        return
    sk_forced_mem_schedule(sk, val)
    sk_mem_charge(sk, val)


def tcp_fast_path_on(sk: TcpSock) -> None:
    """Expect the next segment in order, with the window that the peer announces now."""
    sk.pred_wnd = sk.snd_wnd >> sk.rx_opt.snd_wscale


def tcp_fast_path_check(sk: TcpSock) -> None:
    """Turn header prediction on where nothing stands against it."""
    if not sk.out_of_order_queue and sk.rcv_wnd and sk.sk_rmem_alloc < sk.sk_rcvbuf and not sk.urg_data:
        tcp_fast_path_on(sk)


def tcp_urg_mode(sk: TcpSock) -> bool:
    """Tell whether urgent data waits for its acknowledgement."""
    return sk.snd_una != sk.snd_up


def tcp_wmem_free_skb(sk: TcpSock, skb: TcpSkb) -> None:
    """Free a segment of the write or retransmit queue and complete its zero-copy calls."""
    sk_wmem_queued_add(sk, -skb.truesize)
    skb.freed = True
    if skb.zc is not None:
        sk.zc_put(skb.zc)
        skb.zc = None


def tcp_write_queue_purge(sk: TcpSock) -> None:
    """Free everything that was to be sent."""
    tcp_chrono_stop(sk, TCP_CHRONO_BUSY)
    for queue in (sk.sk_write_queue, sk.tcp_rtx_queue):
        skb = queue.head
        while skb is not None:
            nxt = skb.next
            tcp_wmem_free_skb(sk, skb)
            skb = nxt
    sk.sk_write_queue = SkbList()
    sk.tcp_rtx_queue = SkbList()
    sk.highest_sack = None
    sk.retransmit_skb_hint = None
    sk.lost_out = 0
    sk.packets_out = 0
    sk.icsk_backoff = 0


def tcp_clear_xmit_timers(sk: TcpSock) -> None:
    """Disarm every timer of the connection."""
    clock = sk.sk_net.kernel.clock
    if sk.pacing_timer is not None:
        clock.del_timer(sk.pacing_timer)
    if sk.compressed_ack_timer is not None:
        clock.del_timer(sk.compressed_ack_timer)
    inet_csk_clear_xmit_timer(sk)
    if sk.icsk_retransmit_timer is not None:
        clock.del_timer(sk.icsk_retransmit_timer)
    inet_csk_clear_delack_timer(sk)
    inet_csk_delete_keepalive_timer(sk)


def tcp_free_xmit_timers(sk: TcpSock) -> None:
    """Let go of every timer of a connection that is over: without them nothing points back at its socket."""
    clock = sk.sk_net.kernel.clock
    timers = (sk.icsk_retransmit_timer, sk.icsk_delack_timer, sk.icsk_keepalive_timer, sk.pacing_timer, sk.compressed_ack_timer)
    for timer in timers:
        if timer is not None:
            clock.timer_shutdown(timer)
    sk.icsk_retransmit_timer = None
    sk.icsk_delack_timer = None
    sk.icsk_keepalive_timer = None
    sk.pacing_timer = None
    sk.compressed_ack_timer = None


def tcp_done(sk: TcpSock) -> None:
    """End the connection: CLOSE, wake everybody, free an orphan."""
    if sk.sk_state == TCP_SYN_SENT or sk.sk_state == TCP_SYN_RECV:
        sk.sk_net.tcp_statistics[TCP_MIB_ATTEMPTFAILS] += 1
    tcp_set_state(sk, TCP_CLOSE)
    tcp_clear_xmit_timers(sk)
    if sk.fastopen_rsk is not None:
        reqsk_fastopen_remove(sk, False)
    sk.sk_shutdown = SHUTDOWN_MASK
    if not sk.sock_flag(SOCK_DEAD):
        sk.sk_state_change()
    else:
        inet_csk_destroy_sock(sk)


def inet_csk_destroy_sock(sk: TcpSock) -> None:
    """Free an orphan in CLOSE."""
    assert sk.sk_state == TCP_CLOSE
    prot = sk.sk_prot
    prot.destroy(sk)
    if sk.sk_receive_queue is not None:
        sk.sk_receive_queue.clear()
    sk_mem_uncharge(sk, sk.sk_rmem_alloc)
    sk.sk_rmem_alloc = 0
    if sk.sk_orphaned:
        sk.sk_orphaned = False
        prot.counters.orphan_count -= 1
    sock_put(sk)


def reqsk_fastopen_remove(sk: TcpSock, reset: bool) -> None:
    """Detach a Fast Open child from its request; a reset one blocks its place in the queue for a minute (RFC 7413 5.1)."""
    req = sk.fastopen_rsk
    assert req is not None
    sk.fastopen_rsk = None
    listener = req.rsk_listener
    if not isinstance(listener, TcpSock):
        return
    fastopenq = listener.icsk_accept_queue.fastopenq
    fastopenq.qlen -= 1
    req.tfo_listener = False
    if req.sk is not None:  # not accepted yet: the accept queue still needs the request
        return
    if not reset or listener.sk_state != TCP_LISTEN:
        return
    clock = listener.sk_net.kernel.clock
    req.timeout = clock.jiffies() + 60 * clock.hz
    fastopenq.rskq_rst.append(req)
    fastopenq.qlen += 1


def tcp_free_fastopen_req(sk: TcpSock) -> None:
    """Drop the data that waited for a cookie."""
    req = sk.fastopen_req
    if req is not None:
        if req.zc is not None:
            sk.zc_put(req.zc)
        sk.fastopen_req = None


def new_fastopen_req(data: bytes, flags: int) -> TcpFastopenRequest:
    """Make the request that a MSG_FASTOPEN call carries to the SYN."""
    return TcpFastopenRequest(data, flags)
