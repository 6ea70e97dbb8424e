"""connect(2) and the local port: which is chosen, which 4-tuple is free, which TIME_WAIT gives way."""

from tests.unit.test_bind_rules import Recorder
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.ipv4.adopt import adopt_tcp, new_tcp_sock, new_timewait_sock, set_addresses
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock
from twinsock.kernel.net.ipv4.inet_hash_connect import inet_hash_connect
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.uapi.errno import EADDRNOTAVAIL
from twinsock.uapi.snmp import LINUX_MIB_TIMEWAITRECYCLED
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.tcp import TCP_FIN_WAIT2, TCP_SYN_SENT

HERE = bytes([10, 0, 0, 1])
THERE = bytes([10, 0, 0, 2])
LOOPBACK = bytes([127, 0, 0, 1])


def fresh_net(low: int, high: int) -> Net:
    net = Kernel(3).init_net
    net.ipv4.ip_local_ports_low, net.ipv4.ip_local_ports_high = low, high
    return net


def client(net: Net, dport: int = 80, local: bytes = HERE, remote: bytes = THERE) -> InetConnectionSock:
    sk = new_tcp_sock(net, AF_INET)
    sk.sk_state = TCP_SYN_SENT
    sk.sk_dport = dport
    set_addresses(sk, local, remote)
    return sk


def time_wait(net: Net, port: int, local: bytes = HERE, remote: bytes = THERE, stamps: int = 1) -> InetTimewaitSock:
    tw = new_timewait_sock(net, AF_INET)
    tw.sk_dport = 80
    tw.tw_connect_bind = True
    tw.tw_ts_recent_stamp = stamps
    tw.tw_entry_ns = net.kernel.clock.now_ns
    set_addresses(tw, local, remote)
    adopt_tcp(tw, port)
    return tw


def test_ports_of_the_parity_of_low_come_first_and_all_are_used_once_per_destination() -> None:
    net = fresh_net(40000, 40019)
    socks = [client(net) for _ in range(20)]
    assert all(inet_hash_connect(sk) == 0 for sk in socks)
    ports = [sk.sk_num for sk in socks]
    assert sorted(ports[:10]) == list(range(40000, 40020, 2))
    assert sorted(ports[10:]) == list(range(40001, 40020, 2))
    net.bind_observer = told = Recorder()
    assert inet_hash_connect(client(net)) == -EADDRNOTAVAIL
    assert told.path == ["__inet_hash_connect"] and told.exhausted == (40000, 40019)
    assert inet_hash_connect(client(net, dport=81)) == 0


def test_ports_that_somebody_bound_are_skipped_and_reserved_ones_too() -> None:
    net = fresh_net(40000, 40003)
    bound = new_tcp_sock(net, AF_INET)
    set_addresses(bound, bytes([127, 0, 0, 9]))
    adopt_tcp(bound, 40000)
    net.ipv4.sysctl_local_reserved_ports = [(40001, 40001)]
    first, second = client(net), client(net)
    assert inet_hash_connect(first) == 0 and inet_hash_connect(second) == 0
    assert {first.sk_num, second.sk_num} == {40002, 40003}
    assert inet_hash_connect(client(net)) == -EADDRNOTAVAIL


def test_an_odd_sized_range_loses_a_port_and_ip_local_port_range_does_not() -> None:
    net = fresh_net(40000, 40002)
    assert [inet_hash_connect(client(net)) for _ in range(3)].count(0) == 2
    narrowed = [client(net, dport=81) for _ in range(3)]
    for sk in narrowed:
        sk.local_port_range = 40000 | 40002 << 16
    assert [inet_hash_connect(sk) for sk in narrowed] == [0, 0, 0]


def test_a_bound_port_fails_only_for_the_same_four_tuple() -> None:
    net = fresh_net(40000, 40019)
    results = []
    for dport in (80, 80, 81):
        sk = client(net, dport)
        sk.sk_num = 5000
        results.append(inet_hash_connect(sk))
    assert results == [0, -EADDRNOTAVAIL, 0]


def test_a_named_port_takes_a_time_wait_over_at_once_if_it_had_timestamps() -> None:
    for stamps, result in ((1, 0), (0, -EADDRNOTAVAIL)):
        net = fresh_net(40000, 40019)
        tw = time_wait(net, 5000, stamps=stamps)
        sk = client(net)
        sk.sk_num = 5000
        assert inet_hash_connect(sk) == result
        assert (tw.sk_head is None) == (result == 0)
        assert net.net_statistics[LINUX_MIB_TIMEWAITRECYCLED] == (result == 0)


def answer(reuse: int, local: bytes, age_ms: int, substate: int = 6) -> int:
    net = fresh_net(40000, 40001)
    net.ipv4.sysctl_tcp_tw_reuse = reuse
    for port in (40000, 40001):
        time_wait(net, port, local, local if local == LOOPBACK else THERE).tw_substate = substate
    net.kernel.clock.advance_to(age_ms * 1_000_000)
    return inet_hash_connect(client(net, 80, local, local if local == LOOPBACK else THERE))


def test_an_automatic_port_in_time_wait_asks_tcp_tw_reuse() -> None:
    assert answer(0, HERE, 5000) == -EADDRNOTAVAIL
    assert answer(1, HERE, 300) == -EADDRNOTAVAIL
    assert answer(1, HERE, 1001) == 0
    assert answer(2, HERE, 5000) == -EADDRNOTAVAIL
    assert answer(2, LOOPBACK, 1001) == 0
    assert answer(1, HERE, 1001, TCP_FIN_WAIT2) == -EADDRNOTAVAIL
