"""The C constants that scripts may name: those of `uapi`, and a few that only scripts use."""

from types import ModuleType

from twinsock.uapi import (
    capability,
    errno,
    errqueue,
    eventpoll,
    fcntl,
    in6,
    in_,
    net_tstamp,
    poll,
    socket,
    sockios,
    tcp,
    udp,
)

_MORE = {
    "NULL": 0,
    "SOL_IP": 0,
    "SOL_TCP": 6,
    "SOL_UDP": 17,
    "SOL_IPV6": 41,
    "SOL_MPTCP": 284,
    "SHUT_RD": 0,
    "SHUT_WR": 1,
    "SHUT_RDWR": 2,
    "TCP_INFINITE_SSTHRESH": 0x7FFFFFFF,
    "FIONREAD": 0x541B,
    "SIOCINQ": 0x541B,
    "SIOCOUTQ": 0x5411,
    "SIOCOUTQNSD": 0x894B,
    "TCP_CA_Open": 0,
    "TCP_CA_Disorder": 1,
    "TCP_CA_CWR": 2,
    "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
}
NLA_NAMES = {
    "TCP_NLA_PAD": 0,
    "TCP_NLA_BUSY": 1,
    "TCP_NLA_RWND_LIMITED": 2,
    "TCP_NLA_SNDBUF_LIMITED": 3,
    "TCP_NLA_DATA_SEGS_OUT": 4,
    "TCP_NLA_TOTAL_RETRANS": 5,
    "TCP_NLA_PACING_RATE": 6,
    "TCP_NLA_DELIVERY_RATE": 7,
    "TCP_NLA_SND_CWND": 8,
    "TCP_NLA_REORDERING": 9,
    "TCP_NLA_MIN_RTT": 10,
    "TCP_NLA_RECUR_RETRANS": 11,
    "TCP_NLA_DELIVERY_RATE_APP_LMT": 12,
    "TCP_NLA_SNDQ_SIZE": 13,
    "TCP_NLA_CA_STATE": 14,
    "TCP_NLA_SND_SSTHRESH": 15,
    "TCP_NLA_DELIVERED": 16,
    "TCP_NLA_DELIVERED_CE": 17,
    "TCP_NLA_BYTES_SENT": 18,
    "TCP_NLA_BYTES_RETRANS": 19,
    "TCP_NLA_DSACK_DUPS": 20,
    "TCP_NLA_REORD_SEEN": 21,
    "TCP_NLA_SRTT": 22,
    "TCP_NLA_TIMEOUT_REHASH": 23,
    "TCP_NLA_BYTES_NOTSENT": 24,
    "TCP_NLA_EDT": 25,
    "TCP_NLA_TTL": 26,
    "TCP_NLA_REHASH": 27,
}
_MODULES: tuple[ModuleType, ...] = (socket, in_, in6, tcp, udp, errno, errqueue, eventpoll, poll, fcntl, sockios, net_tstamp, capability)


_ALIASES = ("EWOULDBLOCK", "EDEADLOCK", "ENOTSUP")
_ERRNO_NAMES = {value: name for name, value in vars(errno).items() if isinstance(value, int) and name not in _ALIASES}


def constant(name: str) -> int | None:
    """Return the value of a constant, or None."""
    if name in _MORE:
        return _MORE[name]
    if name in NLA_NAMES:
        return NLA_NAMES[name]
    for module in _MODULES:
        value = getattr(module, name, None)
        if isinstance(value, int) and name.isupper():
            return value
    return None


def errno_name(number: int) -> str:
    """Return the name of an errno."""
    return _ERRNO_NAMES.get(number, str(number))
