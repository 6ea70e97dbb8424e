"""inet_diag for TCP: listeners, bound sockets, connections, requests, mini-sockets (Linux: net/ipv4/tcp_diag.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest
from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.sock import SOCK_DEAD, SockCommon, lock_sock, release_sock, sock_hold, sock_put
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_TIME_LOSS_PROBE,
    ICSK_TIME_PROBE0,
    ICSK_TIME_REO_TIMEOUT,
    ICSK_TIME_RETRANS,
)
from twinsock.kernel.net.ipv4.inet_diag import InetDiagHandler, wants
from twinsock.kernel.net.ipv4.inet_hashtables import (
    MAPPED_PREFIX,
    inet6_lookup_established,
    inet_lookup_established,
)
from twinsock.kernel.net.ipv4.inet_lookup import inet6_lookup_listener, inet_lookup_listener
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.kernel.net.ipv4.tcp_close import inet_csk_listen_stop
from twinsock.kernel.net.ipv4.tcp_control import tcp_send_active_reset
from twinsock.kernel.net.ipv4.tcp_info import tcp_get_info
from twinsock.kernel.net.ipv4.tcp_input import tcp_done_with_error
from twinsock.kernel.net.ipv4.tcp_minisocks import inet_csk_reqsk_queue_drop
from twinsock.kernel.net.ipv4.tcp_sock import M32, TcpRequestSock, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import tcp_set_state
from twinsock.kernel.net.ipv4.tcp_timewait import TcpTimewaitSock, inet_twsk_kill
from twinsock.uapi.errno import ECONNABORTED, ENOENT
from twinsock.uapi.inet_diag import INET_DIAG_CONG, INET_DIAG_INFO
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import (
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LISTEN,
    TCP_NEW_SYN_RECV,
    TCP_SYN_RECV,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.time.timer import Timer
    from twinsock.wire.inet_diag import InetDiagMsg, InetDiagReq

_NEED_RESET: Final = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT | 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_SYN_RECV
TCP_BOUND_INACTIVE: Final = 13  # a state for requests only: bound, neither listening nor connected


def hashed_tcp_sockets(net: Net, listening: bool) -> list[SockCommon]:
    """List the listeners, or everything in the table of connections, chain by chain."""
    found: list[SockCommon] = []
    hinfo = net.tcp_hashinfo
    if hinfo is None:
        return found
    for head in hinfo.lhash2 if listening else hinfo.ehash:
        sk = head.first
        while sk is not None:
            found.append(sk)
            sk = sk.sk_next
    return found


def bound_tcp_sockets(net: Net) -> list[SockCommon]:
    """List the sockets that own a port, neither listen nor are connected, in the order of bhash2."""
    found: list[SockCommon] = []
    hinfo = net.tcp_hashinfo
    if hinfo is None:
        return found
    for chain in hinfo.bhash2:
        for bucket in chain:
            sk = bucket.owners
            while sk is not None:
                if sk.sk_state == TCP_CLOSE:
                    found.append(sk)
                sk = sk.sk_bind_next
    return found


def timer_left(sk: SockCommon, timer: Timer | None) -> int:
    """Return the ticks until a timer is due, 0 when it is idle; the wheel may let it fire somewhat later."""
    if timer is None or not timer.pending():
        return 0
    return max(timer.expires - sk.sk_net.kernel.clock.jiffies(), 0)


def tcp_timer(sk: TcpSock) -> tuple[int, int, int]:
    """Return (code of the running timer, ticks until it fires, what it counts)."""
    clock = sk.sk_net.kernel.clock
    if sk.icsk_pending in (ICSK_TIME_RETRANS, ICSK_TIME_REO_TIMEOUT, ICSK_TIME_LOSS_PROBE):
        return 1, max(sk.icsk_timeout - clock.jiffies(), 0), sk.icsk_retransmits
    if sk.icsk_pending == ICSK_TIME_PROBE0:
        return 4, max(sk.icsk_timeout - clock.jiffies(), 0), sk.icsk_probes_out
    timer = sk.icsk_keepalive_timer
    if timer is not None and timer.pending():
        return 2, timer_left(sk, timer), sk.icsk_probes_out
    return 0, 0, 0


def tcp_queues(sk: TcpSock) -> tuple[int, int]:
    """Return (bytes written and not acknowledged, bytes received and not read); SYN and FIN count one each."""
    rx = (sk.rcv_nxt - sk.copied_seq) & M32
    return (sk.write_seq - sk.snd_una) & M32, 0 if rx > 0x7FFFFFFF else rx


class TcpDiag(InetDiagHandler):
    """`tcp_diag_handler`."""

    def sockets(self, req: NetlinkRequest, asked: InetDiagReq) -> list[SockCommon]:
        """List what is in the tables."""
        states = asked.states
        found: list[SockCommon] = []
        if states >> TCP_LISTEN & 1 and not asked.dport:
            found += hashed_tcp_sockets(req.net, True)
        if states >> TCP_BOUND_INACTIVE & 1:
            found += bound_tcp_sockets(req.net)
        if states >> TCP_SYN_RECV & 1:
            states |= 1 << TCP_NEW_SYN_RECV
        for sk in hashed_tcp_sockets(req.net, False):
            state = sk.tw_substate if isinstance(sk, InetTimewaitSock) else sk.sk_state
            if states >> state & 1:
                found.append(sk)
        return found

    def find(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find a connection, or the listener that would get it."""
        src, dst = asked.src, asked.dst
        net = req.net
        if asked.family == AF_INET6 and src[:12] == MAPPED_PREFIX and dst[:12] == MAPPED_PREFIX:
            src, dst = src[12:], dst[12:]
        if len(src) == 4:
            saddr, daddr = int.from_bytes(src, "big"), int.from_bytes(dst, "big")
            found = inet_lookup_established(net, daddr, asked.dport, saddr, asked.sport, asked.ifindex, 0)
            return found or inet_lookup_listener(net, None, 0, daddr, asked.dport, saddr, asked.sport, asked.ifindex, 0)
        found = inet6_lookup_established(net, dst, asked.dport, src, asked.sport, asked.ifindex, 0)
        return found or inet6_lookup_listener(net, None, 0, dst, asked.dport, src, asked.sport, asked.ifindex, 0)

    def fill_info(self, sk: SockCommon, msg: InetDiagMsg, ext: int, net_admin: bool) -> None:
        """Add queues, timer, TCP_INFO and the name of the congestion control."""
        clock = sk.sk_net.kernel.clock
        if isinstance(sk, RequestSock):
            msg.state = TCP_SYN_RECV
            msg.timer = 1
            msg.retrans = sk.num_retrans
            msg.expires = timer_left(sk, sk.rsk_timer) * 1000 // clock.hz
        elif isinstance(sk, TcpTimewaitSock):
            msg.expires = timer_left(sk, sk.tw_timer) * 1000 // clock.hz
        elif isinstance(sk, TcpSock):
            msg.timer, left, msg.retrans = tcp_timer(sk)
            msg.expires = left * 1000 // clock.hz
            if sk.sk_state == TCP_LISTEN:
                msg.rqueue, msg.wqueue = sk.sk_ack_backlog, sk.sk_max_ack_backlog
            else:
                msg.wqueue, msg.rqueue = tcp_queues(sk)
            closed = sk.sk_state == TCP_CLOSE
            if wants(ext, INET_DIAG_INFO) and not closed:
                msg.attributes.append((INET_DIAG_INFO, tcp_get_info(sk).pack()))
            if wants(ext, INET_DIAG_CONG) and not closed and sk.ca is not None:
                msg.attributes.append((INET_DIAG_CONG, sk.ca.name.encode() + b"\0"))

    def destroy(self, req: NetlinkRequest, sk: SockCommon) -> int:
        """Reset a connection, close a listener, forget a request or mini-socket (tcp_abort)."""
        if isinstance(sk, TcpTimewaitSock):
            inet_twsk_kill(sk)
            return 0
        if isinstance(sk, TcpRequestSock):
            inet_csk_reqsk_queue_drop(sk)
            return 0
        if not isinstance(sk, TcpSock) or sk.sk_state == TCP_CLOSE:
            return -ENOENT
        lock_sock(sk)
        sock_hold(sk)
        if sk.sk_state == TCP_LISTEN:
            tcp_set_state(sk, TCP_CLOSE)
            inet_csk_listen_stop(sk)
        if not sk.sock_flag(SOCK_DEAD):
            if _NEED_RESET >> sk.sk_state & 1:
                tcp_send_active_reset(sk)
            tcp_done_with_error(sk, ECONNABORTED)
        release_sock(sk)
        sock_put(sk)
        return 0
