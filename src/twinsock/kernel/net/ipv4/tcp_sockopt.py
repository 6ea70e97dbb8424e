"""Socket options of TCP (Linux: do_tcp_setsockopt() and do_tcp_getsockopt() of net/ipv4/tcp.c; tcp(7)).

Left out: TCP_REPAIR (Twin: D-tcp-6), MD5 and TCP-AO keys (Twin: D-tcp-7), TCP_ULP (no upper-layer protocol exists), mapping pages with
TCP_ZEROCOPY_RECEIVE (Twin: D-tcp-8)."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import SOCK_KEEPOPEN, SOCK_RCVBUF_LOCK, lock_sock, release_sock
from twinsock.kernel.net.ipv4.inet_csk import (
    ICSK_ACK_PUSHED,
    inet_csk_ack_scheduled,
    inet_csk_enter_pingpong_mode,
    inet_csk_exit_pingpong_mode,
    inet_csk_in_pingpong_mode,
    inet_csk_reset_keepalive_timer,
)
from twinsock.kernel.net.ipv4.ip_sockglue import ip_getsockopt, ip_setsockopt
from twinsock.kernel.net.ipv4.tcp import tcp_cleanup_rbuf, tcp_inq, tcp_set_cork, tcp_set_nodelay
from twinsock.kernel.net.ipv4.tcp_cong_init import tcp_set_congestion_control
from twinsock.kernel.net.ipv4.tcp_data import tcp_set_window_clamp
from twinsock.kernel.net.ipv4.tcp_info import tcp_get_info
from twinsock.kernel.net.ipv4.tcp_output import tcp_space_from_win
from twinsock.kernel.net.ipv4.tcp_rto import tcp_set_rto
from twinsock.kernel.net.ipv4.tcp_sndbuf import sk_stream_write_space
from twinsock.kernel.net.ipv4.tcp_sock import M32, TCP_NAGLE_CORK, TCP_NAGLE_OFF, TcpSock
from twinsock.kernel.net.ipv4.tcp_state import jiffies_to_usecs, tcp_clock_us, usecs_to_jiffies
from twinsock.uapi import tcp as opt
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EFAULT, EINVAL, ENOENT, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM
from twinsock.uapi.socket import SOL_TCP
from twinsock.uapi.tcp import TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

MAX_TCP_SYNCNT: Final = 127
MAX_TCP_KEEPIDLE: Final = 32767
MAX_TCP_KEEPCNT: Final = 127
TCP_FIN_TIMEOUT_MAX_S: Final = 120
MAX_TCP_TX_DELAY_US: Final = (1 << 28) - 1
TFO_CLIENT_ENABLE: Final = 1
ZEROCOPY_RECEIVE_MIN: Final = 12
ZEROCOPY_RECEIVE_SIZE: Final = 64
TCP_REPAIR_WINDOW_SIZE: Final = 20


def tcp_set_rcvlowat(sk: TcpSock, val: int) -> int:
    """Set SO_RCVLOWAT; an unlocked receive buffer grows to twice the value."""
    locked = sk.sk_userlocks & SOCK_RCVBUF_LOCK
    cap = sk.sk_rcvbuf >> 1 if locked else sk.sk_net.ipv4.sysctl_tcp_rmem[2] >> 1
    if val < 0:
        val = 0x7FFFFFFF
    val = min(val, cap)
    sk.sk_rcvlowat = val or 1
    avail = (sk.rcv_nxt - sk.copied_seq) & M32
    if avail and avail <= 0x7FFFFFFF and avail >= sk.sk_rcvlowat:
        sk.sk_data_ready()
    if locked:
        return 0
    space = tcp_space_from_win(sk, val)
    if space > sk.sk_rcvbuf:
        sk.sk_rcvbuf = space
        if sk.window_clamp and sk.window_clamp < val:
            sk.window_clamp = val
    return 0


def secs_to_retrans(seconds: int, timeout: int, rto_max: int) -> int:
    """Return how many timeouts with backoff cover `seconds`."""
    res = 0
    if seconds > 0:
        period = timeout
        res = 1
        while seconds > period and res < 255:
            res += 1
            timeout = min(timeout << 1, rto_max)
            period += timeout
    return res


def retrans_to_secs(retrans: int, timeout: int, rto_max: int) -> int:
    """Return the seconds that `retrans` timeouts with backoff take."""
    period = 0
    if retrans > 0:
        period = timeout
        while retrans > 1:
            timeout = min(timeout << 1, rto_max)
            period += timeout
            retrans -= 1
    return period


# ---- setsockopt


def tcp_stream_setsockopt(task: Task, sk: TcpSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """setsockopt(2) below SOL_SOCKET."""
    if level != SOL_TCP:
        return ip_setsockopt(task, sk, level, optname, optval, optlen)
    if optname == opt.TCP_CONGESTION:
        return _set_congestion(task, sk, optval, optlen)
    if optname == opt.TCP_ULP:
        return -EINVAL if optlen < 1 else -EFAULT if optval is None else -ENOENT
    if optname == opt.TCP_FASTOPEN_KEY:
        if optlen not in (16, 32):
            return -EINVAL
        return -EFAULT if optval is None else sk.fastopen_ops.set_key(sk, optval[:optlen])
    if optlen < 4:
        return -EINVAL
    if optval is None:
        return -EFAULT
    val = int.from_bytes(optval[:4], "little", signed=True)
    err = _set_lockless(sk, optname, val)
    if err != 1:
        return err
    lock_sock(sk)
    err = _set_locked(task, sk, optname, val)
    release_sock(sk)
    return err


def _set_congestion(task: Task, sk: TcpSock, optval: bytes | None, optlen: int) -> int:
    if optlen < 1:
        return -EINVAL
    if optval is None:
        return -EFAULT
    name = optval[: min(optlen, 15)].split(b"\0")[0].decode("latin-1")
    free = name in sk.sk_net.kernel.tcp_allowed_cc or task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN)
    lock_sock(sk)
    err = tcp_set_congestion_control(sk, name, free)
    release_sock(sk)
    return err


def _set_lockless(sk: TcpSock, optname: int, val: int) -> int:
    """Set what needs no lock: 0 or -errno; 1: not one of these."""
    clock = sk.sk_net.kernel.clock
    hz = clock.hz
    if optname == opt.TCP_SYNCNT:
        if val < 1 or val > MAX_TCP_SYNCNT:
            return -EINVAL
        sk.icsk_syn_retries = val
    elif optname == opt.TCP_USER_TIMEOUT:
        if val < 0:
            return -EINVAL
        sk.icsk_user_timeout = val
    elif optname == opt.TCP_KEEPINTVL:
        if val < 1 or val > MAX_TCP_KEEPIDLE:
            return -EINVAL
        sk.keepalive_intvl = val * hz
    elif optname == opt.TCP_KEEPCNT:
        if val < 1 or val > MAX_TCP_KEEPCNT:
            return -EINVAL
        sk.keepalive_probes = val
    elif optname == opt.TCP_LINGER2:
        sk.linger2 = -1 if val < 0 else min(val, TCP_FIN_TIMEOUT_MAX_S) * hz
    elif optname == opt.TCP_DEFER_ACCEPT:
        sk.icsk_accept_queue.rskq_defer_accept = secs_to_retrans(val, 1, 120)
    elif optname == opt.TCP_RTO_MAX_MS:
        if val < 1000 or val > 120_000:
            return -EINVAL
        sk.icsk_rto_max = clock.msecs_to_jiffies(val)
    elif optname == opt.TCP_RTO_MIN_US:
        ticks = usecs_to_jiffies(sk, val) if val > 0 else 0
        if ticks > hz // 5 or ticks < 2:
            return -EINVAL
        sk.icsk_rto_min = ticks
    elif optname == opt.TCP_DELACK_MAX_US:
        ticks = usecs_to_jiffies(sk, val) if val > 0 else 0
        if ticks > hz // 5 or ticks < 2:
            return -EINVAL
        sk.icsk_delack_max = ticks
    elif optname == opt.TCP_MAXSEG:
        if val and (val < 88 or val > 32767):
            return -EINVAL
        sk.rx_opt.user_mss = val
    else:
        return 1
    return 0


def _set_locked(task: Task, sk: TcpSock, optname: int, val: int) -> int:
    if optname == opt.TCP_NODELAY:
        tcp_set_nodelay(sk, val != 0)
    elif optname == opt.TCP_CORK:
        tcp_set_cork(sk, val != 0)
    elif optname == opt.TCP_THIN_LINEAR_TIMEOUTS:
        if val < 0 or val > 1:
            return -EINVAL
        sk.thin_lto = bool(val)
    elif optname == opt.TCP_THIN_DUPACK:
        return -EINVAL if val < 0 or val > 1 else 0
    elif optname == opt.TCP_KEEPIDLE:
        return _set_keepidle(sk, val)
    elif optname == opt.TCP_SAVE_SYN:
        if val < 0 or val > 2:
            return -EINVAL
        sk.save_syn = val
    elif optname == opt.TCP_WINDOW_CLAMP:
        return tcp_set_window_clamp(sk, val)
    elif optname == opt.TCP_QUICKACK:
        _set_quickack(sk, val)
    elif optname == opt.TCP_NOTSENT_LOWAT:
        sk.notsent_lowat = val & M32
        sk_stream_write_space(sk)
    elif optname == opt.TCP_INQ:
        if val < 0 or val > 1:
            return -EINVAL
        sk.recvmsg_inq = bool(val)
    elif optname == opt.TCP_TX_DELAY:
        return _set_tx_delay(sk, val)
    elif optname in (opt.TCP_FASTOPEN, opt.TCP_FASTOPEN_CONNECT, opt.TCP_FASTOPEN_NO_COOKIE):
        return _set_fastopen(sk, optname, val)
    else:
        return _refuse(task, sk, optname)
    return 0


def _can_repair(task: Task, sk: TcpSock) -> bool:
    return task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN) and sk.sk_state != TCP_LISTEN


def _refuse(task: Task, sk: TcpSock, optname: int) -> int:
    """Return the errno of an option that cannot be set: those of repair say EPERM outside of it."""
    if optname in (opt.TCP_REPAIR, opt.TCP_REPAIR_QUEUE, opt.TCP_TIMESTAMP, opt.TCP_REPAIR_WINDOW):
        return -EPERM
    if optname == opt.TCP_QUEUE_SEQ:
        return -EINVAL if sk.sk_state == TCP_CLOSE else -EPERM
    if optname == opt.TCP_REPAIR_OPTIONS:
        return -EINVAL
    if optname == opt.TCP_AO_REPAIR and not _can_repair(task, sk):
        return -EPERM
    return -ENOPROTOOPT


def _set_tx_delay(sk: TcpSock, val: int) -> int:
    """Delay departures by `val` us: only the fq discipline does, which the twin has not; the round trip is taken to be longer."""
    if val < 0 or val > MAX_TCP_TX_DELAY_US:
        return -EINVAL
    if sk.srtt_us and val != sk.tcp_tx_delay:
        sk.srtt_us = max(1, sk.srtt_us + ((val - sk.tcp_tx_delay) << 3))
        tcp_set_rto(sk)
    sk.tcp_tx_delay = val
    return 0


def _set_keepidle(sk: TcpSock, val: int) -> int:
    if val < 1 or val > MAX_TCP_KEEPIDLE:
        return -EINVAL
    clock = sk.sk_net.kernel.clock
    sk.keepalive_time = val * clock.hz
    if sk.sock_flag(SOCK_KEEPOPEN) and sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
        now = clock.jiffies()
        elapsed = min(now - sk.ack_lrcvtime, now - sk.rcv_tstamp)
        inet_csk_reset_keepalive_timer(sk, sk.keepalive_time - elapsed if sk.keepalive_time > elapsed else 0)
    return 0


def _set_quickack(sk: TcpSock, val: int) -> None:
    if not val:
        inet_csk_enter_pingpong_mode(sk)
        return
    inet_csk_exit_pingpong_mode(sk)
    if sk.sk_state in (TCP_ESTABLISHED, TCP_CLOSE_WAIT) and inet_csk_ack_scheduled(sk):
        sk.ack_pending |= ICSK_ACK_PUSHED
        tcp_cleanup_rbuf(sk, 1)
        if not val & 1:
            inet_csk_enter_pingpong_mode(sk)


def _set_fastopen(sk: TcpSock, optname: int, val: int) -> int:
    ipv4 = sk.sk_net.ipv4
    if optname == opt.TCP_FASTOPEN:
        if val < 0 or sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
            return -EINVAL
        sk.fastopen_ops.init_key_once(sk)
        sk.icsk_accept_queue.fastopenq.max_qlen = min(val, sk.sk_net.core.sysctl_somaxconn)
        return 0
    if val < 0 or val > 1:
        return -EINVAL
    if optname == opt.TCP_FASTOPEN_NO_COOKIE:
        if sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
            return -EINVAL
        sk.fastopen_no_cookie = bool(val)
        return 0
    if not ipv4.sysctl_tcp_fastopen & TFO_CLIENT_ENABLE:
        return -EOPNOTSUPP
    if sk.sk_state != TCP_CLOSE:
        return -EINVAL
    sk.fastopen_connect = bool(val)
    return 0


# ---- getsockopt


def tcp_stream_getsockopt(task: Task, sk: TcpSock, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
    """getsockopt(2) below SOL_SOCKET: (0 or -errno, value)."""
    if level != SOL_TCP:
        return ip_getsockopt(task, sk, level, optname, optval, optlen)
    if optlen < 0:
        return -EINVAL, b""
    if optname == opt.TCP_INFO:
        return 0, tcp_get_info(sk).pack()[:optlen]
    if optname == opt.TCP_CC_INFO:
        return 0, (sk.ca.get_info(sk)[1] if sk.ca is not None else b"")[:optlen]
    if optname == opt.TCP_CONGESTION:
        name = sk.ca.name if sk.ca is not None else ""
        return 0, (name.encode() + bytes(16))[: min(optlen, 16)]
    if optname == opt.TCP_ULP:
        return 0, b""
    if optname == opt.TCP_FASTOPEN_KEY:
        return 0, sk.fastopen_ops.get_key(sk)[:optlen]
    if optname == opt.TCP_SAVED_SYN:
        return _saved_syn(sk, optlen)
    if optname == opt.TCP_ZEROCOPY_RECEIVE:
        return _zerocopy_receive(task, sk, optval[:optlen])
    if optname in (opt.TCP_REPAIR_QUEUE, opt.TCP_QUEUE_SEQ):
        return -EINVAL, b""
    if optname == opt.TCP_REPAIR_WINDOW:
        return -EPERM if optlen == TCP_REPAIR_WINDOW_SIZE else -EINVAL, b""
    if optname == opt.TCP_AO_REPAIR:
        return -ENOPROTOOPT if _can_repair(task, sk) else -EPERM, b""
    found, val = _get_int(sk, optname)
    if not found:
        found, val = _get_int_late(sk, optname)
    if not found:
        return -ENOPROTOOPT, b""
    return 0, (val & M32).to_bytes(4, "little")[: min(optlen, 4)]


def _zerocopy_receive(task: Task, sk: TcpSock, arg: bytes) -> tuple[int, bytes]:
    """Read by mapping pages, `struct tcp_zerocopy_receive`: nothing can be mapped, so it tells how many bytes to read instead."""
    if len(arg) < ZEROCOPY_RECEIVE_MIN:
        return -EINVAL, b""
    arg = arg[:ZEROCOPY_RECEIVE_SIZE]
    if int.from_bytes(arg[:8], "little") & 4095:
        return -EINVAL, b""
    if sk.sk_state == TCP_LISTEN:
        return -ENOTCONN, b""
    inq = tcp_inq(sk)
    skip = inq.to_bytes(4, "little")
    answer = arg[:8] + bytes(4) + skip + skip + bytes(ZEROCOPY_RECEIVE_SIZE)
    return 0, answer[: len(arg)]


def _saved_syn(sk: TcpSock, optlen: int) -> tuple[int, bytes]:
    saved = sk.saved_syn
    if saved is None:
        return 0, b""
    if optlen < len(saved):
        return -EINVAL, b""
    sk.saved_syn = None
    return 0, saved


def _get_int(sk: TcpSock, optname: int) -> tuple[bool, int]:
    ipv4 = sk.sk_net.ipv4
    hz = sk.sk_net.kernel.clock.hz
    if optname == opt.TCP_MAXSEG:
        user = sk.rx_opt.user_mss
        return True, user if user and sk.sk_state in (TCP_CLOSE, TCP_LISTEN) else sk.mss_cache
    if optname == opt.TCP_NODELAY:
        return True, int(bool(sk.nonagle & TCP_NAGLE_OFF))
    if optname == opt.TCP_CORK:
        return True, int(bool(sk.nonagle & TCP_NAGLE_CORK))
    if optname == opt.TCP_KEEPIDLE:
        return True, (sk.keepalive_time or ipv4.sysctl_tcp_keepalive_time) // hz
    if optname == opt.TCP_KEEPINTVL:
        return True, (sk.keepalive_intvl or ipv4.sysctl_tcp_keepalive_intvl) // hz
    if optname == opt.TCP_KEEPCNT:
        return True, sk.keepalive_probes or ipv4.sysctl_tcp_keepalive_probes
    if optname == opt.TCP_SYNCNT:
        return True, sk.icsk_syn_retries or ipv4.sysctl_tcp_syn_retries
    if optname == opt.TCP_LINGER2:
        val = sk.linger2
        return True, (val or ipv4.sysctl_tcp_fin_timeout) // hz if val >= 0 else val
    if optname == opt.TCP_DEFER_ACCEPT:
        return True, retrans_to_secs(sk.icsk_accept_queue.rskq_defer_accept, 1, 120)
    if optname == opt.TCP_WINDOW_CLAMP:
        return True, sk.window_clamp
    if optname == opt.TCP_QUICKACK:
        return True, int(not inet_csk_in_pingpong_mode(sk))
    if optname == opt.TCP_USER_TIMEOUT:
        return True, sk.icsk_user_timeout
    return False, 0


def _get_int_late(sk: TcpSock, optname: int) -> tuple[bool, int]:
    if optname == opt.TCP_THIN_LINEAR_TIMEOUTS:
        return True, int(sk.thin_lto)
    if optname in (opt.TCP_THIN_DUPACK, opt.TCP_REPAIR, opt.TCP_IS_MPTCP):
        return True, 0
    if optname == opt.TCP_FASTOPEN:
        return True, sk.icsk_accept_queue.fastopenq.max_qlen
    if optname == opt.TCP_FASTOPEN_CONNECT:
        return True, int(sk.fastopen_connect)
    if optname == opt.TCP_FASTOPEN_NO_COOKIE:
        return True, int(sk.fastopen_no_cookie)
    if optname == opt.TCP_TX_DELAY:
        return True, sk.tcp_tx_delay
    if optname == opt.TCP_TIMESTAMP:
        return True, tcp_clock_us(sk) // 1000 + sk.tsoffset
    if optname == opt.TCP_NOTSENT_LOWAT:
        return True, sk.notsent_lowat
    if optname == opt.TCP_INQ:
        return True, int(sk.recvmsg_inq)
    if optname == opt.TCP_SAVE_SYN:
        return True, sk.save_syn
    if optname == opt.TCP_RTO_MAX_MS:
        return True, sk.icsk_rto_max * 1000 // sk.sk_net.kernel.clock.hz
    if optname == opt.TCP_RTO_MIN_US:
        return True, jiffies_to_usecs(sk, sk.icsk_rto_min)
    if optname == opt.TCP_DELACK_MAX_US:
        return True, jiffies_to_usecs(sk, sk.icsk_delack_max)
    return False, 0
