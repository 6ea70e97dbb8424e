"""TCP over loopback in virtual time: opening, data, closing, errors. Figures are those of Linux 6.18.44."""

from tests.unit.tcpworld import World
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.uapi.snmp import (
    LINUX_MIB_LISTENDROPS,
    LINUX_MIB_LISTENOVERFLOWS,
    LINUX_MIB_TCPABORTONCLOSE,
    LINUX_MIB_TCPRCVCOALESCE,
    TCP_MIB_ACTIVEOPENS,
    TCP_MIB_ATTEMPTFAILS,
    TCP_MIB_CURRESTAB,
    TCP_MIB_ESTABRESETS,
    TCP_MIB_OUTRSTS,
    TCP_MIB_PASSIVEOPENS,
)
from twinsock.uapi.tcp import (
    TCP_CLOSE,
    TCP_CLOSE_WAIT,
    TCP_ESTABLISHED,
    TCP_FIN_WAIT1,
    TCP_FIN_WAIT2,
    TCP_LISTEN,
    TCP_SYN_SENT,
)

EAGAIN, EPIPE, ECONNRESET, ECONNREFUSED, EINPROGRESS, EALREADY, EISCONN, ENOTCONN = -11, -32, -104, -111, -115, -114, -106, -107


def drain(w: World, fd: int) -> bytes:
    data = b""
    while True:
        piece = w.recv(fd, 65536)
        if isinstance(piece, int) or not piece:
            return data
        data += piece


def test_a_connection_opens_in_one_instant() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.sk(cfd).sk_state == w.sk(sfd).sk_state == TCP_ESTABLISHED
    assert w.port(cfd) == w.port(sfd, peer=True)
    assert w.poll(cfd) == w.poll(sfd) == 0x104
    assert w.tcp_mib(TCP_MIB_ACTIVEOPENS) == w.tcp_mib(TCP_MIB_PASSIVEOPENS) == 1
    assert w.tcp_mib(TCP_MIB_CURRESTAB) == 2


def test_bytes_arrive_once_and_in_order() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    data = bytes(range(256)) * 4000
    sent = 0
    got = b""
    while sent < len(data):
        n = w.send(cfd, data[sent:])
        assert n > 0 or n == EAGAIN
        sent += max(n, 0)
        got += drain(w, sfd)
        w.run(1)
    w.run(300)
    got += drain(w, sfd)
    assert got == data


def test_an_unread_connection_takes_what_linux_takes() -> None:
    w = World()
    w.net.ipv4.tcp_congestion_control = "reno"
    _lfd, cfd, sfd = w.pair()
    assert sk_get_meminfo(w.sk(cfd))[3] == 2626560
    sent = 0
    while True:
        n = w.send(cfd, bytes(65536))
        if n < 0:
            break
        sent += n
    w.run(1000)
    assert (sent, w.sk(cfd).sk_wmem_queued) == (2625024, 2539776)
    assert (w.sk(sfd).sk_rmem_alloc, w.sk(sfd).rcv_nxt - w.sk(sfd).copied_seq) == (131840, 128512)
    assert w.mib(LINUX_MIB_TCPRCVCOALESCE) == 1


def test_small_sends_to_an_idle_reader_are_charged_as_one_segment() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    for _ in range(10):
        assert w.send(cfd, b"x") == 1
        w.run(50)
    assert w.sk(sfd).sk_rmem_alloc == 842


def test_closing_one_end_leaves_a_time_wait_for_a_minute() -> None:
    w = World()
    lfd, cfd, sfd = w.pair()
    assert w.shutdown(cfd, 1) == 0
    assert w.send(cfd, b"x") == EPIPE
    assert w.recv(sfd, 10) == b""
    assert w.sk(sfd).sk_state == TCP_CLOSE_WAIT
    w.run(50)
    assert w.sk(cfd).sk_state == TCP_FIN_WAIT2
    assert w.poll(sfd) == 0x2145
    assert w.close(sfd) == 0
    assert w.sk(cfd).sk_state == TCP_CLOSE
    assert w.recv(cfd, 10) == b""
    assert w.net.ipv4.tw_count == 1
    assert w.close(cfd) == w.close(lfd) == 0
    w.run(59_000)
    assert w.net.ipv4.tw_count == 1
    w.run(3_000)
    assert w.net.ipv4.tw_count == 0
    assert w.net.sockets_used == 0


def test_close_with_unread_data_resets() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.send(cfd, b"unread") == 6
    assert w.close(sfd) == 0
    assert w.mib(LINUX_MIB_TCPABORTONCLOSE) == 1
    assert w.tcp_mib(TCP_MIB_OUTRSTS) == 1
    assert w.tcp_mib(TCP_MIB_ESTABRESETS) == 2
    assert w.poll(cfd) == 0x215D
    assert w.recv(cfd, 10) == ECONNRESET
    assert w.recv(cfd, 10) == b""
    assert w.send(cfd, b"x") == EPIPE
    assert w.poll(cfd) == 0x2155


def test_a_closed_port_refuses_and_the_socket_can_try_again() -> None:
    w = World()
    fd = w.socket()
    assert w.connect(fd, 9) == EINPROGRESS
    assert w.sk(fd).sk_state == TCP_CLOSE
    assert w.poll(fd) == 0x215D
    assert w.connect(fd, 9) == ECONNREFUSED
    assert w.tcp_mib(TCP_MIB_ATTEMPTFAILS) == 1
    assert w.connect(fd, 9) == EINPROGRESS
    assert w.so_error(fd) == 111
    assert w.so_error(fd) == 0
    assert w.connect(fd, 9) == -103


def test_a_blocking_connect_returns_the_refusal() -> None:
    w = World()
    fd = w.socket(nonblock=False)
    assert w.connect(fd, 9) == ECONNREFUSED
    assert w.poll(fd) == 0x114


def test_connecting_twice_says_so() -> None:
    w = World()
    _lfd, cfd, _sfd = w.pair()
    assert w.connect(cfd, 5001) == 0
    assert w.connect(cfd, 5001) == EISCONN


def test_a_full_accept_queue_drops_the_syn() -> None:
    w = World()
    lfd = w.socket()
    assert w.bind(lfd, 5001) == 0
    assert w.listen(lfd, 1) == 0
    clients = [w.socket() for _ in range(3)]
    assert [w.connect(fd, 5001) for fd in clients] == [EINPROGRESS] * 3
    assert [w.sk(fd).sk_state for fd in clients] == [TCP_ESTABLISHED, TCP_ESTABLISHED, TCP_SYN_SENT]
    assert w.mib(LINUX_MIB_LISTENOVERFLOWS) == w.mib(LINUX_MIB_LISTENDROPS) == 1
    assert w.connect(clients[2], 5001) == EALREADY
    assert w.accept(lfd) >= 0
    w.run(1100)
    assert w.sk(clients[2]).sk_state == TCP_ESTABLISHED


def test_an_unanswered_connect_times_out_after_ten_retries() -> None:
    w = World()
    lfd = w.socket()
    assert w.bind(lfd, 5001) == 0
    assert w.listen(lfd, 0) == 0
    first, second = w.socket(), w.socket()
    assert w.connect(first, 5001) == EINPROGRESS
    start = w.kernel.clock.now_ns
    assert w.connect(second, 5001) == EINPROGRESS
    while w.sk(second).sk_state == TCP_SYN_SENT:
        w.run(100)
    assert 133 < (w.kernel.clock.now_ns - start) / 1e9 < 140
    assert w.sk(second).total_retrans == 10
    assert w.so_error(second) == 110


def test_shutting_a_listener_down_resets_its_queue_and_lets_it_listen_again() -> None:
    w = World()
    lfd = w.socket()
    assert w.bind(lfd, 5001) == 0
    assert w.listen(lfd) == 0
    cfd = w.socket()
    assert w.connect(cfd, 5001) == EINPROGRESS
    assert w.poll(lfd) == 0x41
    assert w.shutdown(lfd, 1) == 0
    assert w.sk(lfd).sk_state == TCP_LISTEN
    assert w.shutdown(lfd, 0) == 0
    assert w.recv(cfd, 1) == ECONNRESET
    assert w.shutdown(lfd, 0) == ENOTCONN
    assert w.listen(lfd) == 0


def test_a_socket_can_connect_to_itself() -> None:
    w = World()
    fd = w.socket()
    assert w.bind(fd, 4000) == 0
    assert w.connect(fd, 4000) == EINPROGRESS
    assert w.sk(fd).sk_state == TCP_ESTABLISHED
    assert w.port(fd) == w.port(fd, peer=True) == 4000
    assert w.send(fd, b"echo") == 4
    assert w.recv(fd, 10) == b"echo"
    assert w.shutdown(fd, 1) == 0
    assert w.sk(fd).sk_state == TCP_CLOSE
    assert w.net.ipv4.tw_count == 1


def test_disconnecting_resets_the_peer() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    from twinsock.kernel.net.socket import sys_connect

    assert sys_connect(w.task, cfd, bytes(16), 16) == 0
    assert w.sk(cfd).sk_state == TCP_CLOSE
    assert w.poll(cfd) == 0x11C
    assert w.recv(cfd, 1) == ECONNRESET
    assert w.recv(sfd, 1) == ECONNRESET
    assert w.connect(cfd, 5001) == EINPROGRESS


def test_an_orphan_without_answer_goes_after_its_retries() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    sk = w.sk(cfd)
    w.kernel.inet_protos[6] = None  # the wire is cut
    assert w.close(cfd) == 0
    assert sk.sk_state == TCP_FIN_WAIT1
    w.run(300_000)
    assert sk.sk_state == TCP_CLOSE
    assert w.close(sfd) == 0


def test_peeking_leaves_the_data() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.send(cfd, b"abcdef") == 6
    assert w.recv(sfd, 3, 2) == b"abc"
    assert w.recv(sfd, 10) == b"abcdef"


def test_an_urgent_byte_is_read_out_of_band() -> None:
    w = World()
    _lfd, cfd, sfd = w.pair()
    assert w.send(cfd, b"abX", 1) == 3
    assert w.poll(sfd) & 2
    assert w.recv(sfd, 10) == b"ab"
    assert w.recv(sfd, 10, 1) == b"X"
    assert w.recv(sfd, 10, 1) == -22
    assert w.send(cfd, b"cd") == 2
    assert w.recv(sfd, 10) == b"cd"
