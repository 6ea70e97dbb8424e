"""close(2), shutdown(2), disconnecting, listeners going away (Linux: net/ipv4/tcp.c, inet_connection_sock.c; sheet 04, 4.7, 4.10-4.12)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import (
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_BINDADDR_LOCK,
    SOCK_DEAD,
    SOCK_DONE,
    SOCK_LINGER,
    __release_sock,
    lock_sock,
    release_sock,
    sk_sleep_timeout,
    sock_orphan,
    sock_put,
)
from twinsock.kernel.net.core.sock_mem import sk_mem_uncharge
from twinsock.kernel.net.core.sock_reuseport import reuseport_migrate_sock
from twinsock.kernel.net.ipv4.inet_csk import inet_csk_reset_keepalive_timer
from twinsock.kernel.net.ipv4.inet_hashtables import inet_bhash2_reset_saddr
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_DEFER_CONNECT
from twinsock.kernel.net.ipv4.tcp_cong import tcp_set_ca_state
from twinsock.kernel.net.ipv4.tcp_control import tcp_clear_retrans, tcp_send_active_reset, tcp_send_fin
from twinsock.kernel.net.ipv4.tcp_data import tcp_unset_owner_r
from twinsock.kernel.net.ipv4.tcp_input import tcp_close_state, tcp_fin_time
from twinsock.kernel.net.ipv4.tcp_minisocks import inet_csk_reqsk_queue_add
from twinsock.kernel.net.ipv4.tcp_rto import tcp_reset_rtt_min
from twinsock.kernel.net.ipv4.tcp_sock import (
    M32,
    TCP_CA_OPEN,
    TCP_INFINITE_SSTHRESH,
    TCP_INIT_CWND,
    TcpRequestSock,
    TcpSkb,
    TcpSock,
    after,
)
from twinsock.kernel.net.ipv4.tcp_state import (
    inet_csk_destroy_sock,
    reqsk_fastopen_remove,
    tcp_clear_xmit_timers,
    tcp_free_fastopen_req,
    tcp_set_state,
    tcp_write_queue_purge,
    usecs_to_jiffies,
)
from twinsock.kernel.net.ipv4.tcp_timewait import TCP_TIMEWAIT_LEN_S, tcp_time_wait
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import ECONNRESET
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPABORTONCLOSE,
    LINUX_MIB_TCPABORTONDATA,
    LINUX_MIB_TCPABORTONLINGER,
    LINUX_MIB_TCPABORTONMEMORY,
    LINUX_MIB_TCPMIGRATEREQFAILURE,
    LINUX_MIB_TCPMIGRATEREQSUCCESS,
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
)
from twinsock.wire.tcp import TCPHDR_FIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_NEED_RESET: Final = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT | 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_SYN_RECV
_CLOSING_STATES: Final = (TCP_FIN_WAIT1, TCP_CLOSING, TCP_LAST_ACK)


def tcp_close(task: Task | None, sk: TcpSock, timeout_ns: int) -> None:
    """Let go of a socket, close(2)."""
    lock_sock(sk)
    sk.sk_refcnt += 1
    __tcp_close(task, sk, timeout_ns)
    release_sock(sk)
    sock_put(sk)


def __tcp_close(task: Task | None, sk: TcpSock, timeout_ns: int) -> None:
    """Decide between FIN, RST and silence (sheet 04, 4.12)."""
    stats = sk.sk_net.net_statistics
    sk.sk_shutdown = SHUTDOWN_MASK
    if sk.sk_state == TCP_LISTEN:
        tcp_set_state(sk, TCP_CLOSE)
        inet_csk_listen_stop(sk)
        _adjudge_to_death(sk)
        return
    data_was_unread = _drop_unread(sk)
    if sk.sk_state != TCP_CLOSE:
        if data_was_unread:
            stats[LINUX_MIB_TCPABORTONCLOSE] += 1
            tcp_set_state(sk, TCP_CLOSE)
            tcp_send_active_reset(sk)
        elif sk.sock_flag(SOCK_LINGER) and not sk.sk_lingertime_ns:
            tcp_disconnect(sk)
            stats[LINUX_MIB_TCPABORTONDATA] += 1
        elif tcp_close_state(sk):
            tcp_send_fin(sk)
        if task is not None and timeout_ns:
            sk_stream_wait_close(task, sk, timeout_ns)
    _adjudge_to_death(sk)


def _drop_unread(sk: TcpSock) -> bool:
    """Empty the receive queue; tell whether the program left bytes unread."""
    unread = False
    queue = sk.sk_receive_queue
    while queue:
        skb = queue.popleft()
        assert isinstance(skb, TcpSkb)
        end_seq = skb.end_seq
        if skb.tcp_flags & TCPHDR_FIN:
            end_seq = (end_seq - 1) & M32
        if after(end_seq, sk.copied_seq):
            unread = True
        tcp_unset_owner_r(sk, skb)
    return unread


def sk_stream_wait_close(task: Task, sk: TcpSock, timeout_ns: int) -> None:
    """Linger until our FIN is acknowledged."""
    sock = sk.sk_socket
    if sock is None:
        return
    wait = TaskWait(task)
    while timeout_ns and sk.sk_state in _CLOSING_STATES and not task.signal_pending():
        sock.wq.prepare_to_wait(wait)
        timeout_ns = sk_sleep_timeout(task, sk, timeout_ns)
    sock.wq.finish_wait(wait)


def _adjudge_to_death(sk: TcpSock) -> None:
    """The file is gone: make the connection an orphan, or end it."""
    state = sk.sk_state
    sock_orphan(sk)
    sk.sk_prot.counters.orphan_count += 1
    sk.sk_orphaned = True
    if sk.sk_backlog:
        __release_sock(sk)
    if state != TCP_CLOSE and sk.sk_state == TCP_CLOSE:
        return
    net = sk.sk_net
    if sk.sk_state == TCP_FIN_WAIT2:
        timewait = TCP_TIMEWAIT_LEN_S * net.kernel.clock.hz
        if sk.linger2 < 0:
            tcp_set_state(sk, TCP_CLOSE)
            tcp_send_active_reset(sk)
            net.net_statistics[LINUX_MIB_TCPABORTONLINGER] += 1
        else:
            tmo = tcp_fin_time(sk)
            if tmo > timewait:
                inet_csk_reset_keepalive_timer(sk, tmo - timewait)
            else:
                tcp_time_wait(sk, TCP_FIN_WAIT2, tmo)
                return
    if sk.sk_state != TCP_CLOSE and sk.sk_prot.counters.orphan_count > net.kernel.sysctl_tcp_max_orphans:
        tcp_set_state(sk, TCP_CLOSE)
        tcp_send_active_reset(sk)
        net.net_statistics[LINUX_MIB_TCPABORTONMEMORY] += 1
    if sk.sk_state == TCP_CLOSE:
        if sk.fastopen_rsk is not None:
            reqsk_fastopen_remove(sk, False)
        tcp_clear_xmit_timers(sk)
        inet_csk_destroy_sock(sk)


def tcp_disconnect(sk: TcpSock) -> int:
    """Abort the connection and make the socket usable again, connect(2) with AF_UNSPEC."""
    old_state = sk.sk_state
    if old_state != TCP_CLOSE:
        tcp_set_state(sk, TCP_CLOSE)
    if old_state == TCP_LISTEN:
        inet_csk_listen_stop(sk)
    elif _NEED_RESET >> old_state & 1 or (sk.snd_nxt != sk.write_seq and old_state in (TCP_CLOSING, TCP_LAST_ACK)):
        tcp_send_active_reset(sk)
        sk.sk_err = ECONNRESET
    elif old_state == TCP_SYN_SENT:
        sk.sk_err = ECONNRESET
    tcp_clear_xmit_timers(sk)
    _drop_unread(sk)
    sk_mem_uncharge(sk, sk.sk_rmem_alloc)
    sk.sk_rmem_alloc = 0
    sk.copied_seq = sk.rcv_nxt
    sk.urg_data = 0
    sk.sk_peek_off = -1
    tcp_write_queue_purge(sk)
    sk.fastopen_ops.active_disable_ofo_check(sk)
    sk.out_of_order_queue = []
    sk.sk_dport = 0
    if not sk.sk_userlocks & SOCK_BINDADDR_LOCK:
        inet_bhash2_reset_saddr(sk)
    sk.sk_shutdown = 0
    sk.sock_reset_flag(SOCK_DONE)
    _forget_connection(sk)
    tcp_free_fastopen_req(sk)
    sk.inet_assign_bit(INET_FLAGS_DEFER_CONNECT, False)
    sk.fastopen_client_fail = 0
    sk.sk_error_report()
    return 0


def _forget_connection(sk: TcpSock) -> None:
    """Return every field that belongs to one connection to its start."""
    clock = sk.sk_net.kernel.clock
    sk.srtt_us = 0
    sk.mdev_us = usecs_to_jiffies(sk, 0) or 1_000_000
    sk.rcv_rtt_last_tsecr = 0
    sk.write_seq = (sk.write_seq + sk.max_window + 2) & M32 or 1
    sk.icsk_backoff = 0
    sk.icsk_probes_out = 0
    sk.icsk_probes_tstamp = 0
    sk.icsk_rto = clock.hz
    sk.icsk_retransmits = 0
    sk.snd_ssthresh = TCP_INFINITE_SSTHRESH
    sk.snd_cwnd = TCP_INIT_CWND
    sk.snd_cwnd_cnt = 0
    sk.is_cwnd_limited = False
    sk.max_packets_out = 0
    sk.window_clamp = 0
    sk.delivered = sk.delivered_ce = 0
    tcp_set_ca_state(sk, TCP_CA_OPEN)
    sk.is_sack_reneg = False
    tcp_clear_retrans(sk)
    sk.total_retrans = 0
    sk.ack_pending = sk.ack_quick = sk.ack_pingpong = sk.ack_ato = 0
    sk.ack_rcv_mss = 88
    rx = sk.rx_opt
    rx.tstamp_ok = rx.sack_ok = rx.wscale_ok = rx.saw_tstamp = False
    rx.snd_wscale = rx.rcv_wscale = 0
    rx.ts_recent_stamp = rx.ts_recent = 0
    sk.duplicate_sack = None
    sk.selective_acks = []
    sk.sk_dst_cache = None
    sk.saved_syn = None
    sk.compressed_ack = 0
    sk.segs_in = sk.segs_out = sk.data_segs_in = sk.data_segs_out = 0
    sk.bytes_sent = sk.bytes_acked = sk.bytes_received = sk.bytes_retrans = 0
    sk.dsack_dups = sk.reord_seen = sk.retrans_out = sk.sacked_out = 0
    sk.tlp_high_seq = sk.prior_cwnd = 0
    sk.rack_mstamp = sk.rack_rtt_us = sk.rack_reo_wnd_persist = 0
    sk.rack_advanced = sk.rack_dsack_seen = False
    sk.syn_data = sk.syn_data_acked = sk.syn_fastopen = sk.syn_fastopen_exp = False
    sk.rcv_ooopack = sk.lost = sk.app_limited = sk.rate_delivered = sk.rate_interval_us = 0
    sk.last_oow_ack_time = 0
    sk.pred_wnd = -1
    tcp_reset_rtt_min(sk)


# ---- listeners


def inet_csk_listen_stop(sk: TcpSock) -> None:
    """A listener ends: move its unaccepted children to another member of the group, or reset them (sheet 03, 3.11)."""
    queue = sk.icsk_accept_queue
    stats = sk.sk_net.net_statistics
    while queue.rskq_accept:
        req = queue.rskq_accept.popleft()
        sk.sk_ack_backlog -= 1
        child = req.sk
        assert isinstance(req, TcpRequestSock)
        if not isinstance(child, TcpSock):
            continue
        migrate = sk.sk_net.ipv4.sysctl_tcp_migrate_req
        new = reuseport_migrate_sock(sk, child.sk_hash & M32) if migrate and child.sk_state != TCP_CLOSE else None
        if isinstance(new, TcpSock):
            req.rsk_listener = new
            if inet_csk_reqsk_queue_add(new, req, child) is not None:
                stats[LINUX_MIB_TCPMIGRATEREQSUCCESS] += 1
                new.sk_data_ready()
            else:
                stats[LINUX_MIB_TCPMIGRATEREQFAILURE] += 1
            continue
        inet_child_forget(child, req)
    queue.fastopenq.qlen -= len(queue.fastopenq.rskq_rst)
    queue.fastopenq.rskq_rst.clear()


def inet_child_forget(child: TcpSock, req: TcpRequestSock) -> None:
    """Abort a child that nobody will accept."""
    tcp_disconnect(child)
    child.sock_set_flag(SOCK_DEAD)
    child.sk_prot.counters.orphan_count += 1
    child.sk_orphaned = True
    if req.tfo_listener:
        child.fastopen_rsk = None
        req.tfo_listener = False
    inet_csk_destroy_sock(child)


def tcp_shutdown(sk: TcpSock, how: int) -> None:
    """Close the send direction, shutdown(2)."""
    if how & SEND_SHUTDOWN and sk.sk_state in (TCP_ESTABLISHED, TCP_SYN_SENT, TCP_CLOSE_WAIT):
        if tcp_close_state(sk):
            tcp_send_fin(sk)
