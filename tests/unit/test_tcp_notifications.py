"""What the error queue tells of sent data: zero-copy completions, transmit stamps. And TCP_INFO, TCP_INQ, options."""

import struct

from tests.unit.tcpworld import World
from twinsock.kernel.net.socket import UserMsghdr, sys_recvmsg
from twinsock.uapi.errqueue import SO_EE_ORIGIN_TIMESTAMPING, SO_EE_ORIGIN_ZEROCOPY
from twinsock.uapi.net_tstamp import (
    SOF_TIMESTAMPING_OPT_ID,
    SOF_TIMESTAMPING_OPT_TSONLY,
    SOF_TIMESTAMPING_SOFTWARE,
    SOF_TIMESTAMPING_TX_ACK,
    SOF_TIMESTAMPING_TX_SCHED,
    SOF_TIMESTAMPING_TX_SOFTWARE,
)
from twinsock.uapi.socket import MSG_ERRQUEUE, MSG_ZEROCOPY, SO_TIMESTAMPING, SO_ZEROCOPY, SOL_SOCKET
from twinsock.uapi.tcp import TCP_CONGESTION, TCP_INFO, TCP_INQ, TCP_MAXSEG, TCP_SYNCNT, TCP_USER_TIMEOUT

EINVAL, EAGAIN = -22, -11


def errqueue(w: World, fd: int) -> tuple[int, ...] | None:
    """Return sock_extended_err of the next entry: (errno, origin, type, code, info, data)."""
    msg = UserMsghdr()
    msg.room = 100
    msg.control = bytes(200)
    msg.controllen = 200
    if sys_recvmsg(w.task, fd, msg, MSG_ERRQUEUE) < 0:
        return None
    control = msg.control
    pos = 0
    while pos + 16 <= len(control):
        size, level, type_ = struct.unpack_from("=QII", control, pos)
        if (level, type_) == (0, 11):
            errno, origin, kind, code, _pad, info, data = struct.unpack_from("=IBBBBII", control, pos + 16)
            return errno, origin, kind, code, info, data
        pos += (size + 7) & ~7
    return ()


def test_zero_copy_calls_complete_in_one_range_when_acknowledged() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.setsockopt(cfd, SOL_SOCKET, SO_ZEROCOPY, 1) == 0
    for _ in range(3):
        assert w.send(cfd, bytes(1000), MSG_ZEROCOPY) == 1000
        w.run(50)
    assert w.poll(cfd) & 8
    assert errqueue(w, cfd) == (0, SO_EE_ORIGIN_ZEROCOPY, 0, 1, 0, 2)
    assert errqueue(w, cfd) is None
    assert w.sk(cfd).sk_omem_alloc == 0
    assert not w.poll(cfd) & 8
    assert w.recv(sfd, 9999) == bytes(3000)


def test_a_zero_copy_flag_without_the_option_is_an_ordinary_send() -> None:
    w = World()
    _lfd, cfd, _sfd = w.pair()
    assert w.send(cfd, b"x", MSG_ZEROCOPY) == 1
    w.run(50)
    assert errqueue(w, cfd) is None


def test_transmit_stamps_come_in_order_with_the_bytes_number() -> None:
    w = World()
    _lfd, cfd, _sfd = w.pair()
    flags = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK
    flags |= SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY
    assert w.setsockopt(cfd, SOL_SOCKET, SO_TIMESTAMPING, flags) == 0
    assert w.send(cfd, b"0123456789") == 10
    w.run(50)
    kinds = []
    while (entry := errqueue(w, cfd)) is not None:
        assert entry[:2] == (42, SO_EE_ORIGIN_TIMESTAMPING)
        assert entry[5] == 9
        kinds.append(entry[4])
    assert kinds == [1, 0, 2]


def test_tcp_info_has_280_bytes_and_tells_the_truth() -> None:
    w = World()
    lfd, cfd, sfd = w.pair()
    assert w.send(cfd, bytes(5000)) == 5000
    w.run(50)
    info = w.getsockopt(cfd, 6, TCP_INFO, 400)
    assert isinstance(info, bytes) and len(info) == 280
    assert info[0] == 1
    assert info[5] & 7 == 7
    assert struct.unpack_from("=Q", info, 120)[0] == 5001
    peer = w.getsockopt(sfd, 6, TCP_INFO, 280)
    assert isinstance(peer, bytes) and struct.unpack_from("=Q", peer, 128)[0] == 5000
    listening = w.getsockopt(lfd, 6, TCP_INFO, 280)
    assert isinstance(listening, bytes) and struct.unpack_from("=2I", listening, 24) == (0, 10)


def test_tcp_inq_reports_what_is_left() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.setsockopt(sfd, 6, TCP_INQ, 1) == 0
    assert w.send(cfd, bytes(100)) == 100
    msg = UserMsghdr()
    msg.room = 40
    msg.control = bytes(64)
    msg.controllen = 64
    assert sys_recvmsg(w.task, sfd, msg, 0) == 40
    assert struct.unpack_from("=QIII", msg.control, 0) == (20, 6, TCP_INQ, 60)


def test_options_refuse_what_linux_refuses() -> None:
    w = World()
    fd = w.socket()
    assert w.setsockopt(fd, 6, TCP_SYNCNT, 0) == w.setsockopt(fd, 6, TCP_SYNCNT, 128) == EINVAL
    assert w.setsockopt(fd, 6, TCP_MAXSEG, 87) == w.setsockopt(fd, 6, TCP_MAXSEG, 32768) == EINVAL
    assert w.setsockopt(fd, 6, TCP_USER_TIMEOUT, -1) == EINVAL
    assert w.setsockopt(fd, 6, 999, 1) == -92
    assert w.getsockopt(fd, 6, 999) == -92
    assert w.getsockopt(fd, 6, TCP_CONGESTION, 16) == b"cubic" + bytes(11)
