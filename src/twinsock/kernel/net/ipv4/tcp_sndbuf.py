"""Room in the send buffer: its growth, and who is woken when there is some again (Linux: tcp_check_space of net/ipv4/tcp_input.c,
sk_stream_* of net/core/stream.c and include/net/sock.h; sheet 05, 5.1 and 5.3)."""

from __future__ import annotations

from twinsock.kernel.net.core.net import SOCK_NOSPACE
from twinsock.kernel.net.core.sock import SOCK_SNDBUF_LOCK
from twinsock.kernel.net.ipv4.tcp_sock import M32, TCP_CHRONO_SNDBUF_LIMITED, TCP_INIT_CWND, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import tcp_chrono_stop, tcp_jiffies32, tcp_packets_in_flight
from twinsock.uapi.poll import POLLOUT, POLLWRNORM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_TCP_HEADER: Final = 192


def tcp_under_memory_pressure(sk: TcpSock) -> bool:
    """Tell whether all TCP sockets together use more than tcp_mem[1]."""
    return bool(sk.sk_prot.counters.memory_pressure)


def sk_nospace(sk: TcpSock) -> bool:
    """Tell whether somebody found the send buffer full and waits for room."""
    sock = sk.sk_socket
    return sock is not None and bool(sock.flags & SOCK_NOSPACE)


def tcp_new_space(sk: TcpSock) -> None:
    """Let an unlocked send buffer grow with the congestion window, and wake writers."""
    if tcp_should_expand_sndbuf(sk):
        tcp_sndbuf_expand(sk)
        sk.snd_cwnd_stamp = tcp_jiffies32(sk)
    sk_stream_write_space(sk)


def sk_stream_write_space(sk: TcpSock) -> None:
    """Wake writers if a third of the buffer is free."""
    sock = sk.sk_socket
    if sock is not None and sk_stream_is_writeable(sk):
        sock.flags &= ~SOCK_NOSPACE
        sock.wq.wake_up(POLLOUT | POLLWRNORM)


def tcp_should_expand_sndbuf(sk: TcpSock) -> bool:
    """Tell whether the send buffer limits the connection."""
    if sk.sk_userlocks & SOCK_SNDBUF_LOCK or tcp_under_memory_pressure(sk):
        return False
    return not tcp_packets_in_flight(sk) >= sk.snd_cwnd


def tcp_sndbuf_expand(sk: TcpSock) -> None:
    """Raise the send buffer to what two (for some congestion controls three) windows of full segments cost (sheet 05, 5.1)."""
    per_mss = max(sk.rx_opt.mss_clamp, sk.mss_cache) + MAX_TCP_HEADER + 320
    size = 1
    while size < per_mss:
        size <<= 1
    per_mss = size + 256
    nr_segs = max(TCP_INIT_CWND, sk.snd_cwnd, sk.reordering + 1)
    ca = sk.ca
    factor = ca.sndbuf_factor if ca is not None else 2
    sndmem = factor * nr_segs * per_mss
    if sk.sk_sndbuf < sndmem:
        sk.sk_sndbuf = min(sndmem, sk.sk_net.ipv4.sysctl_tcp_wmem[2])


def sk_stream_min_wspace(sk: TcpSock) -> int:
    """Return a third of what is queued: less free memory than that does not wake writers."""
    return sk.sk_wmem_queued >> 1


def sk_stream_wspace(sk: TcpSock) -> int:
    """Return the free bytes of the send buffer, negative when it is overdrawn."""
    return sk.sk_sndbuf - sk.sk_wmem_queued


def tcp_notsent_lowat(sk: TcpSock) -> int:
    """Return TCP_NOTSENT_LOWAT, or the sysctl where it is not set."""
    return sk.notsent_lowat or sk.sk_net.ipv4.sysctl_tcp_notsent_lowat


def tcp_stream_memory_free(sk: TcpSock, wake: int) -> bool:
    """Tell whether the amount of unsent data is below the low-water mark (`wake` 1: below half of it)."""
    if sk.sk_wmem_queued >= sk.sk_sndbuf:
        return False
    notsent = (sk.write_seq - sk.snd_nxt) & M32
    return notsent << wake < tcp_notsent_lowat(sk)


def sk_stream_is_writeable(sk: TcpSock) -> bool:
    """Tell whether poll(2) may say OUT."""
    return sk_stream_wspace(sk) >= sk_stream_min_wspace(sk) and tcp_stream_memory_free(sk, 1)


def tcp_check_space(sk: TcpSock) -> None:
    """Wake writers that found the buffer full, once there is room again."""
    sock = sk.sk_socket
    if sock is not None and sock.flags & SOCK_NOSPACE:
        tcp_new_space(sk)
        if not sock.flags & SOCK_NOSPACE:
            tcp_chrono_stop(sk, TCP_CHRONO_SNDBUF_LIMITED)
