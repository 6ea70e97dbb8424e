"""Options of level SOL_SOCKET, socket(7) (Linux: net/core/sock.c, sk_setsockopt() and sk_getsockopt(); sheet 01, 1.11 and 05, 5.1).

Integers are checked in Linux's order: unknown devices and short buffers first, then the option's own rule. Left out: busy polling
itself, device memory, MPTCP and AF_XDP specialities."""

from __future__ import annotations

from twinsock.kernel.fs.pidfd import pidfd_prepare
from twinsock.kernel.net.core.dev import dev_get_by_index, dev_get_by_name
from twinsock.kernel.net.core.filter import sk_attach_filter, sk_detach_filter, sk_get_filter, sk_reuseport_attach, sk_reuseport_detach
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.sock import (
    SK_CAN_REUSE,
    SK_NO_REUSE,
    SK_SCM_CREDENTIALS,
    SK_SCM_PIDFD,
    SK_SCM_RIGHTS,
    SK_SCM_SECURITY,
    SOCK_BROADCAST,
    SOCK_DBG,
    SOCK_FILTER_LOCKED,
    SOCK_KEEPOPEN,
    SOCK_LINGER,
    SOCK_LOCALROUTE,
    SOCK_NOFCS,
    SOCK_RCVBUF_LOCK,
    SOCK_RCVMARK,
    SOCK_RCVPRIORITY,
    SOCK_RCVTSTAMP,
    SOCK_RCVTSTAMPNS,
    SOCK_RXQ_OVFL,
    SOCK_SELECT_ERR_QUEUE,
    SOCK_SNDBUF_LOCK,
    SOCK_TIMESTAMP,
    SOCK_TIMESTAMPING_RX_SOFTWARE,
    SOCK_TSTAMP_NEW,
    SOCK_TXTIME,
    SOCK_URGINLINE,
    SOCK_WIFI_STATUS,
    SOCK_ZEROCOPY,
    Sock,
    lock_sock,
    release_sock,
    sock_error,
)
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT
from twinsock.uapi import socket as so
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_RAW
from twinsock.uapi.errno import (
    EACCES,
    EBADF,
    EDOM,
    EFAULT,
    EINVAL,
    ENODATA,
    ENODEV,
    ENOPROTOOPT,
    ENOTCONN,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
)
from twinsock.uapi.in_ import IPPROTO_TCP, IPPROTO_UDP
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SOCK_MIN_SNDBUF: Final = 4608
SOCK_MIN_RCVBUF: Final = 2304
INT_MAX: Final = 0x7FFFFFFF
LONG_MAX: Final = (1 << 63) - 1
IFNAMSIZ: Final = 16
MAX_PACING_UNLIMITED: Final = (1 << 62) - 1  # ~0UL of Linux; the core keeps ints below 2**62
SKF_AD_MAX: Final = 64
_U32: Final = 0xFFFFFFFF
_U64: Final = 0xFFFFFFFFFFFFFFFF
_SOF_MASK: Final = (1 << 19) - 1
_SOF_OPT_ID: Final = 1 << 7
_SOF_OPT_TSONLY: Final = 1 << 11
_SOF_OPT_STATS: Final = 1 << 12
_SOF_BIND_PHC: Final = 1 << 15
_SOF_OPT_ID_TCP: Final = 1 << 16
_SOF_RX_SOFTWARE: Final = 1 << 3

# options that are one bit of sk_flags, written and read as a boolean without any further rule
_FLAG_OPTIONS: Final[dict[int, int]] = {
    so.SO_DONTROUTE: SOCK_LOCALROUTE,
    so.SO_BROADCAST: SOCK_BROADCAST,
    so.SO_OOBINLINE: SOCK_URGINLINE,
    so.SO_RXQ_OVFL: SOCK_RXQ_OVFL,
    so.SO_WIFI_STATUS: SOCK_WIFI_STATUS,
    so.SO_NOFCS: SOCK_NOFCS,
    so.SO_SELECT_ERR_QUEUE: SOCK_SELECT_ERR_QUEUE,
    so.SO_RCVPRIORITY: SOCK_RCVPRIORITY,
    so.SO_RCVMARK: SOCK_RCVMARK,
}
_SCM_OPTIONS: Final[dict[int, int]] = {
    so.SO_PASSCRED: SK_SCM_CREDENTIALS,
    so.SO_PASSSEC: SK_SCM_SECURITY,
    so.SO_PASSPIDFD: SK_SCM_PIDFD,
    so.SO_PASSRIGHTS: SK_SCM_RIGHTS,
}


def sk_is_inet(sk: Sock) -> bool:
    """Tell whether the socket is of AF_INET or AF_INET6."""
    return sk.sk_family in (so.AF_INET, so.AF_INET6)


def sk_is_tcp(sk: Sock) -> bool:
    """Tell whether the socket is a TCP socket."""
    return sk_is_inet(sk) and sk.sk_type == so.SOCK_STREAM and sk.sk_protocol == IPPROTO_TCP


def sk_is_unix(sk: Sock) -> bool:
    """Tell whether the socket is of AF_UNIX."""
    return sk.sk_family == so.AF_UNIX


def sock_valbool_flag(sk: Sock, bit: int, on: bool) -> None:
    """Set or clear a flag."""
    if on:
        sk.sock_set_flag(bit)
    else:
        sk.sock_reset_flag(bit)


# setsockopt(2)


def sk_setsockopt(task: Task, sock: Socket, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of level SOL_SOCKET: 0 or -errno."""
    sk = sock.sk
    if sk is None:
        return -EINVAL
    if optname == so.SO_BINDTODEVICE:
        return sock_setbindtodevice(task, sk, optval, optlen)
    if optlen < 4:
        return -EINVAL
    if optval is None or len(optval) < 4:
        return -EFAULT
    val = int.from_bytes(optval[:4], "little", signed=True)
    ret = _set_lockless(task, sock, sk, optname, val, optval[:optlen])
    if ret != _NOT_HERE:
        return ret
    lock_sock(sk)
    ret = _set_common(task, sk, optname, val)
    if ret == _NOT_HERE:
        ret = _set_structured(task, sock, sk, optname, val, optval[:optlen])
    release_sock(sk)
    return ret


_NOT_HERE: Final = 1  # the option belongs to another group


def _set_lockless(task: Task, sock: Socket, sk: Sock, optname: int, val: int, optval: bytes) -> int:
    net_admin = task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN)
    if optname == so.SO_PRIORITY:
        if not 0 <= val <= 6 and not net_admin and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_RAW):
            return -EPERM
        sk.sk_priority = val & _U32
        return 0
    if optname in (so.SO_TYPE, so.SO_PROTOCOL, so.SO_DOMAIN, so.SO_ERROR):
        return -ENOPROTOOPT
    if optname == so.SO_BUSY_POLL:
        if val < 0:
            return -EINVAL
        sk.sk_ll_usec = val
        return 0
    if optname == so.SO_PREFER_BUSY_POLL:
        if val and not task.capable(CAP_NET_ADMIN):
            return -EPERM
        sk.sk_prefer_busy_poll = 1 if val else 0
        return 0
    if optname == so.SO_BUSY_POLL_BUDGET:
        if val > sk.sk_busy_poll_budget and not task.capable(CAP_NET_ADMIN):
            return -EPERM
        if val < 0 or val > 0xFFFF:
            return -EINVAL
        sk.sk_busy_poll_budget = val
        return 0
    if optname == so.SO_MAX_PACING_RATE:
        rate = val & _U32
        rate = MAX_PACING_UNLIMITED if rate == _U32 else rate
        if len(optval) >= 8:
            rate = int.from_bytes(optval[:8], "little")
        sk.sk_max_pacing_rate = min(rate, MAX_PACING_UNLIMITED)
        sk.sk_pacing_rate = min(sk.sk_pacing_rate, sk.sk_max_pacing_rate)
        return 0
    if optname == so.SO_TXREHASH:
        if not sk_is_tcp(sk):
            return -EOPNOTSUPP
        if val < -1 or val > 1:
            return -EINVAL
        sk.sk_txrehash = sk.sk_net.core.sysctl_txrehash if val < 0 else val
        return 0
    if optname == so.SO_PEEK_OFF:
        return sock.ops.set_peek_off(sk, val)
    if optname == so.SO_DEVMEM_DONTNEED:
        return _devmem_dontneed(sk, optval)
    return _set_scm(sk, optname, val)


def _devmem_dontneed(sk: Sock, optval: bytes) -> int:
    """SO_DEVMEM_DONTNEED: give device memory back; nobody has any."""
    if not sk_is_tcp(sk):
        return -EBADF
    return -EINVAL if len(optval) % 8 or len(optval) > 1024 else 0


def _set_scm(sk: Sock, optname: int, val: int) -> int:
    """SO_PASSCRED and the like, for families that pass such messages."""
    bit = _SCM_OPTIONS.get(optname, 0)
    if not bit:
        return _NOT_HERE
    if optname == so.SO_PASSRIGHTS or optname == so.SO_PASSPIDFD:
        allowed = sk_is_unix(sk)
    else:
        allowed = sk_is_unix(sk) or sk.sk_family == so.AF_NETLINK
    if not allowed:
        return -EOPNOTSUPP
    sk.sk_scm_recv_flags = sk.sk_scm_recv_flags | bit if val else sk.sk_scm_recv_flags & ~bit
    return 0


def _set_common(task: Task, sk: Sock, optname: int, val: int) -> int:
    """Options that are one int."""
    bit = _FLAG_OPTIONS.get(optname, -1)
    if bit >= 0:
        sock_valbool_flag(sk, bit, val != 0)
        return 0
    if optname == so.SO_DEBUG:
        if val and not task.capable(CAP_NET_ADMIN):
            return -EACCES
        sock_valbool_flag(sk, SOCK_DBG, val != 0)
    elif optname == so.SO_REUSEADDR:
        sk.sk_reuse = SK_CAN_REUSE if val else SK_NO_REUSE
    elif optname == so.SO_REUSEPORT:
        if val and not sk_is_inet(sk):
            return -EOPNOTSUPP
        sk.sk_reuseport = 1 if val else 0
    elif optname in (so.SO_SNDBUF, so.SO_RCVBUF, so.SO_SNDBUFFORCE, so.SO_RCVBUFFORCE):
        return _set_buffer(task, sk, optname, val)
    elif optname == so.SO_KEEPALIVE:
        sk.sk_prot.keepalive(sk, val != 0)
        sock_valbool_flag(sk, SOCK_KEEPOPEN, val != 0)
    elif optname == so.SO_NO_CHECK:
        sk.sk_no_check_tx = 1 if val else 0
    elif optname == so.SO_BSDCOMPAT:
        return 0
    elif optname == so.SO_MARK:
        user_ns = sk.sk_net.user_ns
        if not task.ns_capable(user_ns, CAP_NET_RAW) and not task.ns_capable(user_ns, CAP_NET_ADMIN):
            return -EPERM
        sk.sk_mark = val & _U32
    elif optname == so.SO_LOCK_FILTER:
        if sk.sock_flag(SOCK_FILTER_LOCKED) and not val:
            return -EPERM
        sock_valbool_flag(sk, SOCK_FILTER_LOCKED, val != 0)
    elif optname == so.SO_INCOMING_CPU:
        sk.sk_incoming_cpu = val
    elif optname == so.SO_CNX_ADVICE:
        return 0
    elif optname == so.SO_BUF_LOCK:
        if val & ~3:
            return -EINVAL
        sk.sk_userlocks = val | (sk.sk_userlocks & ~3)
    elif optname == so.SO_RESERVE_MEM:
        return -EINVAL if val < 0 else -EOPNOTSUPP  # memory cgroups reserve it; there are none
    else:
        return _NOT_HERE
    return 0


def _set_buffer(task: Task, sk: Sock, optname: int, val: int) -> int:
    kernel = sk.sk_net.kernel
    if optname == so.SO_SNDBUF:
        __sock_set_sndbuf(sk, min(val & _U32, kernel.sysctl_wmem_max))
    elif optname == so.SO_RCVBUF:
        __sock_set_rcvbuf(sk, min(val & _U32, kernel.sysctl_rmem_max))
    else:
        if not task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN):
            return -EPERM
        if optname == so.SO_SNDBUFFORCE:
            __sock_set_sndbuf(sk, max(val, 0))
        else:
            __sock_set_rcvbuf(sk, max(val, 0))
    return 0


def __sock_set_sndbuf(sk: Sock, val: int) -> None:
    val = min(val, INT_MAX // 2)
    sk.sk_userlocks |= SOCK_SNDBUF_LOCK
    sk.sk_sndbuf = max(val * 2, SOCK_MIN_SNDBUF)
    sk.sk_write_space()


def __sock_set_rcvbuf(sk: Sock, val: int) -> None:
    val = min(val, INT_MAX // 2)
    sk.sk_userlocks |= SOCK_RCVBUF_LOCK
    sk.sk_rcvbuf = max(val * 2, SOCK_MIN_RCVBUF)


def _set_structured(task: Task, sock: Socket, sk: Sock, optname: int, val: int, optval: bytes) -> int:
    """Options with a structure, or with side effects."""
    if optname == so.SO_LINGER:
        return _set_linger(sk, val, optval)
    if optname in (so.SO_TIMESTAMP_OLD, so.SO_TIMESTAMP_NEW, so.SO_TIMESTAMPNS_OLD, so.SO_TIMESTAMPNS_NEW):
        sock_set_timestamp(sk, optname, val != 0)
        return 0
    if optname in (so.SO_TIMESTAMPING_OLD, so.SO_TIMESTAMPING_NEW):
        bind_phc = int.from_bytes(optval[4:8], "little", signed=True) if len(optval) == 8 else 0
        return sock_set_timestamping(sk, optname, val, bind_phc)
    if optname == so.SO_RCVLOWAT:
        return sock.ops.set_rcvlowat(sk, INT_MAX if val < 0 else val)
    if optname in (so.SO_RCVTIMEO_OLD, so.SO_RCVTIMEO_NEW):
        err, timeo = sock_set_timeout(sk, optval)
        if not err:
            sk.sk_rcvtimeo_ns = timeo
        return err
    if optname in (so.SO_SNDTIMEO_OLD, so.SO_SNDTIMEO_NEW):
        err, timeo = sock_set_timeout(sk, optval)
        if not err:
            sk.sk_sndtimeo_ns = timeo
        return err
    if optname == so.SO_ATTACH_FILTER:
        if sk_is_tcp(sk) and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN):
            return -EPERM
        return sk_attach_filter(task, sk, optval)
    if optname == so.SO_ATTACH_BPF:
        return _bpf_prog_get(task, val, optval)
    if optname == so.SO_ATTACH_REUSEPORT_CBPF:
        return sk_reuseport_attach(task, sk, optval)
    if optname == so.SO_ATTACH_REUSEPORT_EBPF:
        return _bpf_prog_get(task, val, optval)
    if optname == so.SO_DETACH_REUSEPORT_BPF:
        return sk_reuseport_detach(sk)
    if optname == so.SO_DETACH_FILTER:
        return sk_detach_filter(sk)
    if optname == so.SO_ZEROCOPY:
        return _set_zerocopy(sk, val)
    if optname == so.SO_TXTIME:
        return _set_txtime(task, sk, optval)
    if optname == so.SO_BINDTOIFINDEX:
        return sock_bindtoindex_locked(task, sk, val)
    return -ENOPROTOOPT


def _bpf_prog_get(task: Task, fd: int, optval: bytes) -> int:
    """Look a BPF program up by descriptor; no file of the twin is one."""
    files = task.files
    if len(optval) != 4 or (files is not None and files.lookup(fd) is not None):
        return -EINVAL
    return -EBADF


def _set_linger(sk: Sock, onoff: int, optval: bytes) -> int:
    if len(optval) < 8:
        return -EINVAL
    if not onoff:
        sk.sock_reset_flag(SOCK_LINGER)
        return 0
    seconds = int.from_bytes(optval[4:8], "little", signed=True)
    sk.sk_lingertime_ns = MAX_SCHEDULE_TIMEOUT if seconds < 0 else seconds * 1_000_000_000
    sk.sock_set_flag(SOCK_LINGER)
    return 0


def sock_set_timestamp(sk: Sock, optname: int, on: bool) -> None:
    """SO_TIMESTAMP, SO_TIMESTAMPNS: stamp received packets, in microseconds or nanoseconds, in the old or new layout."""
    if not on:
        sk.sock_reset_flag(SOCK_RCVTSTAMP)
        sk.sock_reset_flag(SOCK_RCVTSTAMPNS)
        return
    sock_valbool_flag(sk, SOCK_TSTAMP_NEW, optname in (so.SO_TIMESTAMP_NEW, so.SO_TIMESTAMPNS_NEW))
    sock_valbool_flag(sk, SOCK_RCVTSTAMPNS, optname in (so.SO_TIMESTAMPNS_OLD, so.SO_TIMESTAMPNS_NEW))
    sk.sock_set_flag(SOCK_RCVTSTAMP)
    sk.sock_set_flag(SOCK_TIMESTAMP)


def sock_set_timestamping(sk: Sock, optname: int, val: int, bind_phc: int) -> int:
    """SO_TIMESTAMPING: which stamps are made and how they are reported."""
    if val & ~_SOF_MASK:
        return -EINVAL
    if val & _SOF_OPT_ID_TCP and not val & _SOF_OPT_ID:
        return -EINVAL
    if val & _SOF_OPT_ID and not sk.sk_tsflags & _SOF_OPT_ID:
        if sk_is_tcp(sk):
            if sk.sk_state in (TCP_CLOSE, TCP_LISTEN):
                return -EINVAL
            sk.sk_tskey = sk.tstamp_key_base(bool(val & _SOF_OPT_ID_TCP))
        else:
            sk.sk_tskey = 0
    if val & _SOF_OPT_STATS and not val & _SOF_OPT_TSONLY:
        return -EINVAL
    if val & _SOF_BIND_PHC:
        dev = dev_get_by_index(sk.sk_net, sk.sk_bound_dev_if)
        return -EOPNOTSUPP if dev is None else -EINVAL  # no device has clocks
    sk.sk_tsflags = val
    sock_valbool_flag(sk, SOCK_TSTAMP_NEW, optname == so.SO_TIMESTAMPING_NEW)
    sock_valbool_flag(sk, SOCK_TIMESTAMPING_RX_SOFTWARE, bool(val & _SOF_RX_SOFTWARE))
    return 0


def sock_set_timeout(sk: Sock, optval: bytes) -> tuple[int, int]:
    """SO_RCVTIMEO, SO_SNDTIMEO: (0 or -errno, ns rounded up to ticks; 0 means for ever, negative seconds do not wait)."""
    if len(optval) < 16:
        return -EINVAL, 0
    seconds = int.from_bytes(optval[:8], "little", signed=True)
    usec = int.from_bytes(optval[8:16], "little", signed=True)
    if usec < 0 or usec >= 1_000_000:
        return -EDOM, 0
    if seconds < 0:
        return 0, 0
    if seconds == 0 and usec == 0:
        return 0, MAX_SCHEDULE_TIMEOUT
    clock = sk.sk_net.kernel.clock
    if seconds >= LONG_MAX // clock.hz - 1:
        return 0, MAX_SCHEDULE_TIMEOUT
    return 0, clock.nsecs_to_jiffies_up(seconds * 1_000_000_000 + usec * 1000) * clock.jiffy_ns


def _set_zerocopy(sk: Sock, val: int) -> int:
    if not sk_is_inet(sk):
        return -EOPNOTSUPP
    if not sk_is_tcp(sk) and not (sk.sk_type == so.SOCK_DGRAM and sk.sk_protocol == IPPROTO_UDP):
        return -EOPNOTSUPP
    if val < 0 or val > 1:
        return -EINVAL
    sock_valbool_flag(sk, SOCK_ZEROCOPY, val != 0)
    return 0


def _set_txtime(task: Task, sk: Sock, optval: bytes) -> int:
    if len(optval) != 8:
        return -EINVAL
    clockid = int.from_bytes(optval[:4], "little", signed=True)
    flags = int.from_bytes(optval[4:8], "little")
    if flags & ~3:
        return -EINVAL
    if clockid != 1 and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN):
        return -EPERM
    if clockid not in (0, 1, 11):
        return -EINVAL
    sk.sock_set_flag(SOCK_TXTIME)
    sk.sk_txtime_clockid = clockid
    sk.sk_txtime_flags = flags
    return 0


def sock_setbindtodevice(task: Task, sk: Sock, optval: bytes | None, optlen: int) -> int:
    """SO_BINDTODEVICE: bind to a device by name; an empty name unbinds."""
    if optlen < 0:
        return -EINVAL
    if optlen and optval is None:
        return -EFAULT
    name = (optval or b"")[: min(optlen, IFNAMSIZ - 1)].split(b"\0")[0]
    index = 0
    if name:
        dev = dev_get_by_name(sk.sk_net, name.decode("latin-1"))
        if dev is None:
            return -ENODEV
        index = dev.ifindex
    lock_sock(sk)
    ret = sock_bindtoindex_locked(task, sk, index)
    release_sock(sk)
    return ret


def sock_bindtoindex_locked(task: Task, sk: Sock, ifindex: int) -> int:
    """Bind to a device by index; changing an existing binding needs CAP_NET_RAW."""
    if sk.sk_bound_dev_if and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_RAW):
        return -EPERM
    if ifindex < 0:
        return -EINVAL
    sk.sk_bound_dev_if = ifindex
    sk.sk_rehash_bound_dev()
    sk.sk_dst_cache = None
    return 0


# getsockopt(2)


def _int(value: int) -> bytes:
    return (value & _U32).to_bytes(4, "little")


def sk_getsockopt(task: Task, sock: Socket, optname: int, buffer: bytes, optlen: int) -> tuple[int, bytes]:
    """Read an option of level SOL_SOCKET: (0 or -errno, value cut to the buffer)."""
    sk = sock.sk
    if sk is None or optlen < 0:
        return -EINVAL, b""
    err, value = _get_int(sock, sk, optname)
    if err == _NOT_HERE:
        err, value = _get_structured(task, sock, sk, optname, optlen)
    if optname == so.SO_GET_FILTER:
        return err, value
    return (err, b"") if err < 0 else (0, value[:optlen])


def _get_int(sock: Socket, sk: Sock, optname: int) -> tuple[int, bytes]:
    value = _NOT_FOUND
    bit = _FLAG_OPTIONS.get(optname, -1)
    if bit >= 0:
        value = 1 if sk.sock_flag(bit) else 0
    elif optname in _SCM_OPTIONS:
        return _get_scm(sk, optname)
    elif optname == so.SO_PEEK_OFF:
        if not sock.ops.has_peek_off:
            return -EOPNOTSUPP, b""
        value = sk.sk_peek_off
    elif optname == so.SO_ERROR:
        value = -sock_error(sk)
        if not value:
            value = sk.sk_err_soft
            sk.sk_err_soft = 0
    elif optname == so.SO_TXREHASH:
        if not sk_is_tcp(sk):
            return -EOPNOTSUPP, b""
        value = sk.sk_txrehash
    else:
        value = _simple_int(sk, optname)
    return (_NOT_HERE, b"") if value == _NOT_FOUND else (0, _int(value))


_NOT_FOUND: Final = 1 << 40


def _simple_int(sk: Sock, optname: int) -> int:
    if optname == so.SO_DEBUG:
        return 1 if sk.sock_flag(SOCK_DBG) else 0
    if optname == so.SO_REUSEADDR:
        return sk.sk_reuse
    if optname == so.SO_REUSEPORT:
        return sk.sk_reuseport
    if optname == so.SO_TYPE:
        return sk.sk_type
    if optname == so.SO_PROTOCOL:
        return sk.sk_protocol
    if optname == so.SO_DOMAIN:
        return sk.sk_family
    if optname == so.SO_SNDBUF:
        return sk.sk_sndbuf
    if optname == so.SO_RCVBUF:
        return sk.sk_rcvbuf
    if optname == so.SO_KEEPALIVE:
        return 1 if sk.sock_flag(SOCK_KEEPOPEN) else 0
    if optname == so.SO_NO_CHECK:
        return sk.sk_no_check_tx
    if optname == so.SO_PRIORITY:
        return sk.sk_priority
    if optname == so.SO_BSDCOMPAT:
        return 0
    if optname == so.SO_RCVLOWAT:
        return sk.sk_rcvlowat
    if optname == so.SO_SNDLOWAT:
        return 1
    if optname == so.SO_ACCEPTCONN:
        return 1 if sk.sk_state == TCP_LISTEN else 0
    return _simple_int_late(sk, optname)


def _simple_int_late(sk: Sock, optname: int) -> int:
    """The options that came with later kernels."""
    if optname == so.SO_MARK:
        return sk.sk_mark
    if optname == so.SO_LOCK_FILTER:
        return 1 if sk.sock_flag(SOCK_FILTER_LOCKED) else 0
    if optname == so.SO_BPF_EXTENSIONS:
        return SKF_AD_MAX
    if optname == so.SO_BUSY_POLL:
        return sk.sk_ll_usec
    if optname == so.SO_PREFER_BUSY_POLL:
        return sk.sk_prefer_busy_poll
    if optname == so.SO_INCOMING_CPU:
        return sk.sk_incoming_cpu
    if optname == so.SO_INCOMING_NAPI_ID:
        return sk.sk_napi_id
    if optname == so.SO_ZEROCOPY:
        return 1 if sk.sock_flag(SOCK_ZEROCOPY) else 0
    if optname == so.SO_BINDTOIFINDEX:
        return sk.sk_bound_dev_if
    if optname == so.SO_BUF_LOCK:
        return sk.sk_userlocks & 3
    if optname == so.SO_RESERVE_MEM:
        return sk.sk_reserved_mem
    if optname in (so.SO_TIMESTAMP_OLD, so.SO_TIMESTAMP_NEW, so.SO_TIMESTAMPNS_OLD, so.SO_TIMESTAMPNS_NEW):
        new = optname in (so.SO_TIMESTAMP_NEW, so.SO_TIMESTAMPNS_NEW)
        nano = optname in (so.SO_TIMESTAMPNS_OLD, so.SO_TIMESTAMPNS_NEW)
        if nano:
            return 1 if sk.sock_flag(SOCK_RCVTSTAMPNS) and sk.sock_flag(SOCK_TSTAMP_NEW) == new else 0
        on = sk.sock_flag(SOCK_RCVTSTAMP) and (new or not sk.sock_flag(SOCK_RCVTSTAMPNS))
        return 1 if on and sk.sock_flag(SOCK_TSTAMP_NEW) == new else 0
    return _NOT_FOUND


def _get_scm(sk: Sock, optname: int) -> tuple[int, bytes]:
    if optname in (so.SO_PASSRIGHTS, so.SO_PASSPIDFD):
        allowed = sk_is_unix(sk)
    else:
        allowed = sk_is_unix(sk) or sk.sk_family == so.AF_NETLINK
    if not allowed:
        return -EOPNOTSUPP, b""
    return 0, _int(1 if sk.sk_scm_recv_flags & _SCM_OPTIONS[optname] else 0)


def _get_structured(task: Task, sock: Socket, sk: Sock, optname: int, optlen: int) -> tuple[int, bytes]:
    if optname == so.SO_LINGER:
        forever = LONG_MAX // sk.sk_net.kernel.clock.hz
        seconds = sk.sk_lingertime_ns // 1_000_000_000 if sk.sk_lingertime_ns >= 0 else forever
        return 0, _int(1 if sk.sock_flag(SOCK_LINGER) else 0) + _int(seconds)
    if optname in (so.SO_TIMESTAMPING_OLD, so.SO_TIMESTAMPING_NEW):
        if optname == so.SO_TIMESTAMPING_NEW and not sk.sock_flag(SOCK_TSTAMP_NEW):
            return 0, bytes(8)
        return 0, _int(sk.sk_tsflags) + _int(sk.sk_bind_phc)
    if optname in (so.SO_RCVTIMEO_OLD, so.SO_RCVTIMEO_NEW):
        return 0, sock_get_timeout(sk.sk_rcvtimeo_ns)
    if optname in (so.SO_SNDTIMEO_OLD, so.SO_SNDTIMEO_NEW):
        return 0, sock_get_timeout(sk.sk_sndtimeo_ns)
    if optname == so.SO_PEERCRED:
        return 0, _int(sk.sk_peer_pid) + _int(sk.sk_peer_uid) + _int(sk.sk_peer_gid)
    if optname == so.SO_PEERPIDFD:
        return _get_peerpidfd(task, sk)
    if optname == so.SO_PEERGROUPS:
        return _get_peergroups(sk, optlen)
    if optname == so.SO_PEERNAME:
        err, addr = sock.ops.getname(sock, 2)
        if err < 0:
            return -ENOTCONN, b""
        return (-EINVAL, b"") if len(addr) < optlen else (0, addr)
    if optname == so.SO_BINDTODEVICE:
        return sock_getbindtodevice(sk, optlen)
    if optname == so.SO_GET_FILTER:
        return sk_get_filter(sk, optlen)
    if optname == so.SO_MAX_PACING_RATE:
        rate = sk.sk_max_pacing_rate
        if optlen >= 8:
            return 0, (_U64 if rate == MAX_PACING_UNLIMITED else rate).to_bytes(8, "little")
        return 0, _int(min(rate, _U32))
    if optname == so.SO_MEMINFO:
        return 0, b"".join([_int(value) for value in sk_get_meminfo(sk)])
    if optname in (so.SO_COOKIE, so.SO_NETNS_COOKIE):
        if optlen < 8 or (optname == so.SO_NETNS_COOKIE and optlen != 8):
            return -EINVAL, b""
        cookie = sk.sock_gen_cookie() if optname == so.SO_COOKIE else sk.sk_net.net_cookie
        return 0, cookie.to_bytes(8, "little")
    if optname == so.SO_TXTIME:
        return 0, _int(sk.sk_txtime_clockid) + _int(sk.sk_txtime_flags)
    return -ENOPROTOOPT, b""


def sock_get_timeout(timeo: int) -> bytes:
    """Return a struct timeval: zero for waiting for ever."""
    if timeo < 0:
        return bytes(16)
    seconds, rest = divmod(timeo, 1_000_000_000)
    return seconds.to_bytes(8, "little") + (rest // 1000).to_bytes(8, "little")


def _get_peerpidfd(task: Task, sk: Sock) -> tuple[int, bytes]:
    if not sk.sk_peer_pid:
        return -ENODATA, b""
    fd = pidfd_prepare(task, sk.sk_peer_pid)
    return (fd, b"") if fd < 0 else (0, _int(fd))


def _get_peergroups(sk: Sock, optlen: int) -> tuple[int, bytes]:
    groups = sk.sk_peer_groups
    if groups is None:
        return -ENODATA, b""
    if optlen < 4 * len(groups):
        return -ERANGE, b""
    return 0, b"".join([_int(gid) for gid in groups])


def sock_getbindtodevice(sk: Sock, optlen: int) -> tuple[int, bytes]:
    """Read SO_BINDTODEVICE: the device's name with its NUL, nothing when unbound."""
    if sk.sk_bound_dev_if == 0:
        return 0, b""
    if optlen < IFNAMSIZ:
        return -EINVAL, b""
    dev = dev_get_by_index(sk.sk_net, sk.sk_bound_dev_if)
    return (-ENODEV, b"") if dev is None else (0, dev.name.encode() + b"\0")


def sk_get_meminfo(sk: Sock) -> list[int]:
    """Return the nine values of SO_MEMINFO, sheet 05, 5.2."""
    return [
        sk.sk_rmem_alloc,
        sk.sk_rcvbuf,
        sk.sk_wmem_alloc,
        sk.sk_sndbuf,
        sk.sk_forward_alloc,
        sk.sk_wmem_queued,
        sk.sk_omem_alloc,
        sk.sk_backlog_len,
        sk.sk_drops,
    ]
