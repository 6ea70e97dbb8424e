"""TCP Fast Open: cookies, data in the SYN, both ends over loopback."""

from tests.unit.tcpworld import World, sockaddr
from twinsock.kernel.net.ipv4.tcp_fastopen import FastopenContext, fastopen_cookie
from twinsock.kernel.net.socket import sys_sendto, sys_setsockopt
from twinsock.uapi.snmp import (
    LINUX_MIB_TCPFASTOPENACTIVE,
    LINUX_MIB_TCPFASTOPENCOOKIEREQD,
    LINUX_MIB_TCPFASTOPENPASSIVE,
)
from twinsock.uapi.socket import MSG_FASTOPEN
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_KEY, TCP_SYN_SENT

EINPROGRESS, EOPNOTSUPP = -115, -95
KEY = b"".join(word.to_bytes(4, "little") for word in (0xA1A1A1A1, 0xB2B2B2B2, 0xC3C3C3C3, 0xD4D4D4D4))


def server(w: World) -> int:
    fd = w.socket()
    assert w.bind(fd, 5001) == 0
    assert w.listen(fd) == 0
    assert w.setsockopt(fd, 6, TCP_FASTOPEN, 5) == 0
    return fd


def fast(w: World, data: bytes) -> tuple[int, int]:
    fd = w.socket()
    return fd, sys_sendto(w.task, fd, data, MSG_FASTOPEN, sockaddr(5001), 16)


def test_cookies_are_those_that_linux_makes() -> None:
    key = FastopenContext(KEY).keys[0]
    assert fastopen_cookie(key, bytes((192, 0, 2, 1, 192, 168, 0, 1))).hex() == "3021b9d889017eeb"
    client, host = bytes.fromhex("fd3dfa7bd17d"), bytes.fromhex("fd3d0a0b17d6")
    end = bytes(9) + b"\x01"
    assert fastopen_cookie(key, client + end + host + end).hex() == "c1d1e9742a47a9bc"
    zero = FastopenContext(bytes(16)).keys[0]
    assert fastopen_cookie(zero, bytes((192, 0, 2, 1, 192, 168, 0, 1))).hex() == "b7c12350a90dc8f5"


def test_the_first_connection_fetches_a_cookie_and_the_second_sends_data_with_the_syn() -> None:
    w = World()
    w.net.ipv4.sysctl_tcp_fastopen = 3
    lfd = server(w)
    first, got = fast(w, b"hello")
    assert got == EINPROGRESS
    assert w.sk(first).sk_state == TCP_ESTABLISHED
    assert w.mib(LINUX_MIB_TCPFASTOPENCOOKIEREQD) == 1
    assert w.accept(lfd) >= 0
    second, got = fast(w, b"hello")
    assert got == 5
    sfd = w.accept(lfd)
    assert w.recv(sfd, 10) == b"hello"
    assert w.sk(second).sk_state == w.sk(sfd).sk_state == TCP_ESTABLISHED
    assert w.mib(LINUX_MIB_TCPFASTOPENACTIVE) == w.mib(LINUX_MIB_TCPFASTOPENPASSIVE) == 1
    assert w.sk(lfd).icsk_accept_queue.fastopenq.qlen == 0
    assert w.send(sfd, b"answer") == 6
    assert w.recv(second, 10) == b"answer"


def test_a_deferred_connect_waits_for_the_first_data() -> None:
    w = World()
    w.net.ipv4.sysctl_tcp_fastopen = 3
    lfd = server(w)
    assert fast(w, b"x")[1] == EINPROGRESS
    fd = w.socket()
    assert w.setsockopt(fd, 6, TCP_FASTOPEN_CONNECT, 1) == 0
    assert w.connect(fd, 5001) == 0
    assert w.sk(fd).sk_state == TCP_SYN_SENT
    assert w.poll(fd) == 0x104
    assert w.connect(fd, 5001) == -106
    assert w.send(fd, b"later") == 5
    assert w.sk(fd).sk_state == TCP_ESTABLISHED
    assert w.accept(lfd) >= 0
    sfd = w.accept(lfd)
    assert w.recv(sfd, 10) == b"later"


def test_without_the_client_bit_fast_open_is_refused() -> None:
    w = World()
    w.net.ipv4.sysctl_tcp_fastopen = 2
    server(w)
    fd, got = fast(w, b"x")
    assert got == EOPNOTSUPP
    assert w.sk(fd).sk_state == TCP_CLOSE
    assert w.setsockopt(fd, 6, TCP_FASTOPEN_CONNECT, 1) == EOPNOTSUPP


def test_keys_have_sixteen_or_thirty_two_bytes() -> None:
    w = World()
    fd = w.socket()
    assert sys_setsockopt(w.task, fd, 6, TCP_FASTOPEN_KEY, KEY, 16) == 0
    assert w.getsockopt(fd, 6, TCP_FASTOPEN_KEY, 16) == KEY
    assert sys_setsockopt(w.task, fd, 6, TCP_FASTOPEN_KEY, KEY + KEY, 32) == 0
    assert sys_setsockopt(w.task, fd, 6, TCP_FASTOPEN_KEY, KEY, 15) == -22
