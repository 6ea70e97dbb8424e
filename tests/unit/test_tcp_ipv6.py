"""TCP over IPv6 and over IPv4 with AF_INET6 sockets."""

from tests.unit.tcpworld import World, sockaddr
from twinsock.kernel.net.socket import UserSockaddr, sys_bind, sys_connect, sys_getpeername, sys_getsockname, sys_socket
from twinsock.uapi.socket import AF_INET6, SOCK_NONBLOCK, SOCK_STREAM
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED

LOOP6 = bytes(15) + b"\x01"
MAPPED = bytes(10) + b"\xff\xff\x7f\0\0\x01"
EINPROGRESS = -115


def sockaddr6(port: int, addr: bytes = LOOP6) -> bytes:
    return AF_INET6.to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(4) + addr + bytes(4)


def socket6(w: World) -> int:
    return sys_socket(w.task, AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0)


def listener(w: World, addr: bytes) -> int:
    fd = socket6(w)
    assert sys_bind(w.task, fd, sockaddr6(5001, addr), 28) == 0
    assert w.listen(fd) == 0
    return fd


def names(w: World, fd: int) -> tuple[bytes, bytes]:
    own, peer = UserSockaddr(128), UserSockaddr(128)
    assert sys_getsockname(w.task, fd, own) == 0
    assert sys_getpeername(w.task, fd, peer) == 0
    return own.addr[8:24], peer.addr[8:24]


def test_a_connection_over_ipv6_carries_data_both_ways() -> None:
    w = World()
    lfd = listener(w, LOOP6)
    cfd = socket6(w)
    assert sys_connect(w.task, cfd, sockaddr6(5001), 28) == EINPROGRESS
    sfd = w.accept(lfd)
    assert sfd >= 0
    assert w.sk(cfd).sk_state == w.sk(sfd).sk_state == TCP_ESTABLISHED
    assert names(w, cfd) == names(w, sfd) == (LOOP6, LOOP6)
    assert w.send(cfd, b"six") == 3
    assert w.recv(sfd, 10) == b"six"
    assert w.send(sfd, bytes(100_000)) > 0
    assert isinstance(w.recv(cfd, 10), bytes)
    assert w.close(sfd) == 0
    assert w.recv(cfd, 200_000) != b""


def test_a_dual_stack_listener_accepts_ipv4() -> None:
    w = World()
    lfd = listener(w, bytes(16))
    cfd = w.socket()
    assert w.connect(cfd, 5001) == EINPROGRESS
    sfd = w.accept(lfd)
    assert sfd >= 0
    assert names(w, sfd) == (MAPPED, MAPPED)
    assert w.send(cfd, b"four") == 4
    assert w.recv(sfd, 10) == b"four"
    assert w.close(cfd) == 0
    assert w.recv(sfd, 10) == b""


def test_an_ipv6_socket_connects_to_a_mapped_address() -> None:
    w = World()
    lfd = w.socket()
    assert w.bind(lfd, 5001) == 0
    assert w.listen(lfd) == 0
    cfd = socket6(w)
    assert sys_connect(w.task, cfd, sockaddr6(5001, MAPPED), 28) == EINPROGRESS
    sfd = w.accept(lfd)
    assert sfd >= 0
    assert names(w, cfd) == (MAPPED, MAPPED)
    assert w.send(sfd, b"x") == 1
    assert w.recv(cfd, 10) == b"x"


def test_a_closed_port_refuses_over_ipv6() -> None:
    w = World()
    fd = socket6(w)
    assert sys_connect(w.task, fd, sockaddr6(9), 28) == EINPROGRESS
    assert w.sk(fd).sk_state == TCP_CLOSE
    assert w.so_error(fd) == 111


def test_an_ipv4_address_is_no_ipv6_address() -> None:
    w = World()
    fd = socket6(w)
    assert sys_connect(w.task, fd, sockaddr(9), 16) == -22
    assert sys_connect(w.task, fd, sockaddr(9) + bytes(12), 28) == -97


def test_an_ipv6_connection_ends_in_time_wait() -> None:
    w = World()
    lfd = listener(w, LOOP6)
    cfd = socket6(w)
    assert sys_connect(w.task, cfd, sockaddr6(5001), 28) == EINPROGRESS
    sfd = w.accept(lfd)
    assert w.close(cfd) == 0
    assert w.close(sfd) == 0
    w.run(50)
    assert w.net.ipv4.tw_count == 1
    w.run(65_000)
    assert w.net.ipv4.tw_count == 0
