"""/proc/net/tcp, udp, udplite, raw, icmp and their IPv6 kin: one line per socket (Linux: tcp4_seq_show of net/ipv4/tcp_ipv4.c,
udp4_seq_show, raw_seq_show, ping_v4_seq_show, ip6_dgram_sock_seq_show; sheet 07, 7.1 and 7.2).

The kernel prints hashed pointers; the twin prints the line's number there (D-proc-1)."""

from __future__ import annotations

from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.net.ipv4.inet_csk import inet_csk_in_pingpong_mode
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.kernel.net.ipv4.tcp_diag import hashed_tcp_sockets, tcp_queues, tcp_timer, timer_left
from twinsock.kernel.net.ipv4.tcp_sock import TcpSock
from twinsock.kernel.net.ipv4.tcp_state import tcp_in_initial_slowstart
from twinsock.kernel.net.ipv4.tcp_timewait import TcpTimewaitSock
from twinsock.kernel.net.ipv4.udp_input import udp_sockets
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_LISTEN, TCP_SYN_RECV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

USER_HZ: Final = 100
_COLUMNS: Final = "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
_TCP_WIDTH: Final = 149
_UDP_WIDTH: Final = 127
_TCP4_HEAD: Final = "  sl  local_address rem_address   " + _COLUMNS
_UDP4_HEAD: Final = "   sl  local_address rem_address   " + _COLUMNS + " ref pointer drops"
RAW4_HEAD: Final = "  sl  local_address rem_address   " + _COLUMNS + " ref pointer drops"
_TCP6_HEAD: Final = "  sl  local_address                         remote_address                        " + _COLUMNS
_DGRAM6_HEAD: Final = _TCP6_HEAD + " ref pointer drops"


def _hex4(addr: int) -> str:
    """Show an IPv4 address as the kernel's word in host order."""
    return f"{int.from_bytes(addr.to_bytes(4, 'big'), 'little'):08X}"


def _hex6(addr: bytes) -> str:
    return "".join([f"{int.from_bytes(addr[at : at + 4], 'little'):08X}" for at in range(0, 16, 4)])


def _ends(sk: SockCommon, sport: int, dport: int) -> str:
    """Show both ends of a socket."""
    if sk.sk_family == AF_INET6:
        return f"{_hex6(sk.sk_v6_rcv_saddr)}:{sport:04X} {_hex6(sk.sk_v6_daddr)}:{dport:04X}"
    return f"{_hex4(sk.sk_rcv_saddr)}:{sport:04X} {_hex4(sk.sk_daddr)}:{dport:04X}"


def _clock_t(sk: SockCommon, ticks: int) -> int:
    """Convert ticks to 1/100 s."""
    return max(ticks, 0) * USER_HZ // sk.sk_net.kernel.clock.hz


def _tcp_refs(sk: TcpSock) -> int:
    """Count references as Linux does, where armed timers and a listener's requests hold one each."""
    queue = sk.icsk_accept_queue
    timers = (sk.icsk_retransmit_timer, sk.icsk_delack_timer, sk.icsk_keepalive_timer)
    requests = queue.qlen + len(queue.rskq_accept)
    return sk.sk_refcnt + requests + len([timer for timer in timers if timer is not None and timer.pending()])


def get_tcp_sock(sk: TcpSock, number: int) -> str:
    """Return the line of a full socket."""
    tx, rx = tcp_queues(sk)
    if sk.sk_state == TCP_LISTEN:
        rx = sk.sk_ack_backlog
    code, left, _ = tcp_timer(sk)
    ssthresh = -1 if tcp_in_initial_slowstart(sk) else sk.snd_ssthresh
    if sk.sk_state == TCP_LISTEN:
        ssthresh = sk.icsk_accept_queue.fastopenq.max_qlen
    quick = sk.ack_quick << 1 | (1 if inet_csk_in_pingpong_mode(sk) else 0)
    return (
        f"{number:4d}: {_ends(sk, sk.inet_sport, sk.sk_dport)} {sk.sk_state:02X} {tx:08X}:{rx:08X} "
        f"{code:02X}:{_clock_t(sk, left):08X} {sk.icsk_retransmits:08X} {sk.sock_i_uid():5d} {sk.icsk_probes_out:8d} {sk.sock_i_ino()} "
        f"{_tcp_refs(sk)} {number:016x} {_clock_t(sk, sk.icsk_rto)} {_clock_t(sk, sk.ack_ato)} {quick} {sk.snd_cwnd} {ssthresh}"
    )


def get_openreq(req: RequestSock, number: int) -> str:
    """Return the line of a connection whose SYN has been answered."""
    uid = 0 if req.rsk_listener is None else req.rsk_listener.sock_i_uid()
    return (
        f"{number:4d}: {_ends(req, req.sk_num, req.sk_dport)} {TCP_SYN_RECV:02X} {0:08X}:{0:08X} "
        f"01:{_clock_t(req, timer_left(req, req.rsk_timer)):08X} {req.num_timeout:08X} {uid:5d} {0:8d} 0 0 {number:016x}"
    )


def get_timewait_sock(tw: InetTimewaitSock, number: int) -> str:
    """Return the line of a mini-socket."""
    left = timer_left(tw, tw.tw_timer) if isinstance(tw, TcpTimewaitSock) else 0
    return (
        f"{number:4d}: {_ends(tw, tw.sk_num, tw.sk_dport)} {tw.tw_substate:02X} {0:08X}:{0:08X} "
        f"03:{_clock_t(tw, left):08X} {0:08X} {0:5d} {0:8d} 0 3 {number:016x}"
    )


def tcp_seq_text(net: Net, family: int) -> str:
    """Return /proc/net/tcp or tcp6."""
    v4 = family == AF_INET
    lines = [f"{_TCP4_HEAD:<{_TCP_WIDTH}}\n" if v4 else _TCP6_HEAD + "\n"]
    number = 0
    for sk in hashed_tcp_sockets(net, True) + hashed_tcp_sockets(net, False):
        if sk.sk_family != family:
            continue
        if isinstance(sk, TcpSock):
            line = get_tcp_sock(sk, number)
        elif isinstance(sk, RequestSock):
            line = get_openreq(sk, number)
        else:
            assert isinstance(sk, InetTimewaitSock)
            line = get_timewait_sock(sk, number)
        lines.append(f"{line:<{_TCP_WIDTH}}\n" if v4 else line + "\n")
        number += 1
    return "".join(lines)


# Datagram sockets


def dgram_line(sk: InetSock, slot: int, sport: int, dport: int, number: int, width: int) -> str:
    """Return the line of a datagram or raw socket; its table holds a reference."""
    rqueue = sk.sk_rmem_alloc - sk.forward_deficit
    return (
        f"{slot:{width}d}: {_ends(sk, sport, dport)} {sk.sk_state:02X} {sk.sk_wmem_alloc:08X}:{rqueue:08X} "
        f"00:{0:08X} {0:08X} {sk.sock_i_uid():5d} {0:8d} {sk.sock_i_ino()} {sk.sk_refcnt + 1} {number:016x} {sk.sk_drops}"
    )


def udp_seq_text(net: Net, family: int, protocol: int) -> str:
    """Return /proc/net/udp, udplite, udp6 or udplite6."""
    v4 = family == AF_INET
    lines = [f"{_UDP4_HEAD:<{_UDP_WIDTH}}\n" if v4 else _DGRAM6_HEAD + "\n"]
    for number, (slot, sk) in enumerate(udp_sockets(net, protocol, family)):
        assert isinstance(sk, InetSock)
        line = dgram_line(sk, slot, sk.inet_sport, sk.sk_dport, number, 5)
        lines.append(f"{line:<{_UDP_WIDTH}}\n" if v4 else line + "\n")
    return "".join(lines)


def dgram6_head() -> str:
    """Return the head line of IPv6 datagram and raw sockets."""
    return _DGRAM6_HEAD + "\n"
