"""UDP's port rules, automatic ports and tables."""

from tests.unit.test_bind_rules import Host, Recorder, sockaddr
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.ipv4.adopt import adopt_udp, new_socket, new_udp_sock, set_addresses
from twinsock.kernel.net.ipv4.af_inet import inet_bind
from twinsock.kernel.net.ipv4.bind_observer import RULE_NO_SHARED_FLAG, RULE_OTHER_UID
from twinsock.kernel.net.ipv4.udp_table import UdpPortSock, udp_autobind, udp_lib_rehash, udp_lib_unhash, udp_table
from twinsock.uapi.errno import EADDRINUSE, EAGAIN
from twinsock.uapi.socket import AF_INET, AF_INET6


def udp(host: Host, reuse: int = 0, reuseport: int = 0, uid: int = 0, family: int = AF_INET) -> Socket:
    sk = new_udp_sock(host.net, family)
    sk.sk_reuse, sk.sk_reuseport = reuse, reuseport
    sock = new_socket(host.task, sk)
    sk.sk_uid = uid
    return sock


def port_sock(sock: Socket) -> UdpPortSock:
    assert isinstance(sock.sk, UdpPortSock)
    return sock.sk


def bind(host: Host, sock: Socket, addr: str, port: int) -> int:
    return inet_bind(host.task, sock, sockaddr(addr, port))


def test_a_plain_second_bind_is_refused_and_the_path_is_told() -> None:
    host = Host()
    first = udp(host)
    assert bind(host, first, "0.0.0.0", 53) == 0
    assert bind(host, udp(host, reuse=1), "127.0.0.1", 53) == -EADDRINUSE
    assert host.observer.seen == [(first.sk, RULE_NO_SHARED_FLAG)]
    assert host.observer.path == ["udp_lib_lport_inuse", "udp_lib_get_port", "udp_v4_get_port", "__inet_bind", "inet_bind_sk", "inet_bind"]


def test_the_first_mate_met_hides_older_owners() -> None:
    for order, result in (((0, 1), -EADDRINUSE), ((1, 0), 0)):
        host = Host()
        pair = [udp(host, reuse=1, reuseport=1), udp(host, reuse=1)]
        for i in order:
            assert bind(host, pair[i], "127.0.0.1", 53) == 0
        assert bind(host, udp(host, reuseport=1), "127.0.0.1", 53) == result


def test_reuseport_of_another_user_is_refused() -> None:
    host = Host()
    assert bind(host, udp(host, reuseport=1, uid=1000), "0.0.0.0", 53) == 0
    assert bind(host, udp(host, reuseport=1), "0.0.0.0", 53) == -EADDRINUSE
    assert host.observer.seen[-1][1] == RULE_OTHER_UID


def test_automatic_ports_fill_the_range_then_fail() -> None:
    host = Host()
    ipv4 = host.net.ipv4
    ipv4.ip_local_ports_low, ipv4.ip_local_ports_high = 40000, 40009
    ipv4.sysctl_local_reserved_ports = [(40003, 40004)]
    ports = set()
    for _ in range(8):
        sock = udp(host)
        assert bind(host, sock, "127.0.0.1", 0) == 0
        ports.add(port_sock(sock).sk_num)
    assert ports == set(range(40000, 40010)) - {40003, 40004}
    assert bind(host, udp(host), "127.0.0.1", 0) == -EADDRINUSE
    assert host.observer.exhausted == (40000, 40009)
    assert bind(host, udp(host), "127.0.0.2", 0) == 0
    assert udp_autobind(port_sock(udp(host))) == -EAGAIN


def test_an_unbound_socket_gets_a_port_for_sending() -> None:
    host = Host()
    sk = port_sock(udp(host))
    assert udp_autobind(sk) == 0
    assert 32768 <= sk.sk_num <= 60999 and sk.inet_sport == sk.sk_num


def test_the_table_grows_and_empties() -> None:
    host = Host()
    host.net.bind_observer = None
    socks = [port_sock(udp(host, reuseport=1, family=AF_INET6 if i % 2 else AF_INET)) for i in range(300)]
    for i, sk in enumerate(socks):
        assert adopt_udp(sk, 1000 + i // 3) == 0
    table = udp_table(host.net)
    assert table.count == 300 and len(table.hash) >= 256 and table.owners_of[1000] == 3
    for sk in socks:
        udp_lib_unhash(sk)
    assert table.count == 0 and table.owners_of == {} and not any(head.count for head in table.hash)
    assert all(slot.first is None for slot in table.hash2)


def test_many_owners_of_a_port_are_asked_by_address() -> None:
    host = Host()
    for i in range(1, 13):
        assert bind(host, udp(host), f"127.0.0.{i}", 53) == 0
    host.net.bind_observer = seen = Recorder()
    assert bind(host, udp(host), "127.0.0.5", 53) == -EADDRINUSE
    assert len(seen.seen) < 12
    assert bind(host, udp(host), "127.0.0.99", 53) == 0
    assert bind(host, udp(host), "0.0.0.0", 53) == -EADDRINUSE


def test_connect_moves_a_socket_to_the_chain_of_its_address_and_out_of_its_group() -> None:
    host = Host()
    sk = port_sock(udp(host, reuseport=1))
    adopt_udp(sk, 53)
    assert sk.sk_reuseport_cb is not None
    before = sk.udp_portaddr_hash
    set_addresses(sk, bytes([127, 0, 0, 1]))
    udp_lib_rehash(sk)
    assert sk.udp_portaddr_hash != before and sk.sk_reuseport_cb is None
