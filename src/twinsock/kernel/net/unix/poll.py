"""Readiness of UNIX sockets (Linux: net/unix/af_unix.c, unix_poll, unix_dgram_poll; sheet 06, 6.3)."""

from __future__ import annotations

from twinsock.kernel.fs.select import poll_requested_events, poll_wait
from twinsock.kernel.net.core.net import SOCK_NOSPACE, Socket
from twinsock.kernel.net.core.sock import RCV_SHUTDOWN, SHUTDOWN_MASK, SOCK_SELECT_ERR_QUEUE
from twinsock.kernel.net.unix.dgram import unix_dgram_peer_wake_me
from twinsock.kernel.net.unix.unix_sock import WRITE_KEY, UnixSock, unix_recvq_full, unix_writable
from twinsock.uapi.poll import POLLERR, POLLHUP, POLLIN, POLLPRI, POLLRDHUP, POLLRDNORM
from twinsock.uapi.socket import SOCK_SEQPACKET
from twinsock.uapi.tcp import TCP_CLOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.select import PollTable

_READABLE: Final = POLLIN | POLLRDNORM


def unix_poll(sk: UnixSock, sock: Socket, wait: PollTable | None) -> int:
    """Return the poll bits of a stream."""
    poll_wait(sock.wq, wait)
    mask = POLLERR if sk.sk_err else 0
    mask |= _shutdown_bits(sk)
    if sk.receive_queue:
        mask |= _READABLE
    if sk.oob_skb is not None:
        mask |= POLLPRI
    if sk.sk_state == TCP_CLOSE:
        mask |= POLLHUP
    if unix_writable(sk):
        mask |= WRITE_KEY
    return mask


def unix_dgram_poll(sk: UnixSock, sock: Socket, wait: PollTable | None) -> int:
    """Return the poll bits of datagrams and sequenced packets; a full peer takes the room away."""
    poll_wait(sock.wq, wait)
    mask = 0
    if sk.sk_err or sk.sk_error_queue:
        mask |= POLLERR | (POLLPRI if sk.sock_flag(SOCK_SELECT_ERR_QUEUE) else 0)
    mask |= _shutdown_bits(sk)
    if sk.receive_queue:
        mask |= _READABLE
    if sk.sk_type == SOCK_SEQPACKET and sk.sk_state == TCP_CLOSE:
        mask |= POLLHUP
    if not poll_requested_events(wait) & WRITE_KEY:
        return mask
    writable = unix_writable(sk)
    other = sk.peer
    if writable and other is not None and other.peer is not sk and unix_recvq_full(other) and unix_dgram_peer_wake_me(sk, other):
        writable = False
    if writable:
        mask |= WRITE_KEY
    else:
        sock.flags |= SOCK_NOSPACE
    return mask


def _shutdown_bits(sk: UnixSock) -> int:
    mask = POLLHUP if sk.sk_shutdown == SHUTDOWN_MASK else 0
    if sk.sk_shutdown & RCV_SHUTDOWN:
        mask |= POLLRDHUP | _READABLE
    return mask
