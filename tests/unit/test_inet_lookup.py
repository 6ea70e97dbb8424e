"""Which listener gets a connection."""

from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.ipv4.adopt import adopt_tcp, new_tcp_sock, set_addresses
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock
from twinsock.kernel.net.ipv4.inet_lookup import inet6_lookup_listener, inet_lookup_listener
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_LISTEN

HERE = 0x0A000001
HERE_BYTES = bytes([10, 0, 0, 1])
HERE6 = bytes(15) + b"\x05"


def listener(net: Net, local: bytes, device: int = 0, v6only: int = 0, reuseport: int = 0) -> InetConnectionSock:
    sk = new_tcp_sock(net, AF_INET if len(local) == 4 else AF_INET6)
    sk.sk_state = TCP_LISTEN
    sk.sk_bound_dev_if, sk.sk_ipv6only, sk.sk_reuseport = device, v6only, reuseport
    set_addresses(sk, local)
    adopt_tcp(sk, 80)
    return sk


def test_a_specific_address_comes_before_a_device_and_ipv4_before_dual_stack() -> None:
    net = Kernel(1).init_net
    dual = listener(net, bytes(16))
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 80, 2, 0) is dual
    wildcard = listener(net, bytes(4))
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 80, 2, 0) is wildcard
    on_device = listener(net, bytes(4), device=2)
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 80, 2, 0) is on_device
    specific = listener(net, HERE_BYTES)
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 80, 2, 0) is specific
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 81, 2, 0) is None


def test_v6only_and_foreign_devices_do_not_listen_to_ipv4() -> None:
    net = Kernel(1).init_net
    listener(net, bytes(16), v6only=1)
    listener(net, bytes(4), device=3)
    assert inet_lookup_listener(net, None, 0, 1, 5000, HERE, 80, 2, 0) is None


def test_ipv6_prefers_the_specific_address() -> None:
    net = Kernel(1).init_net
    wildcard, specific = listener(net, bytes(16)), listener(net, HERE6, v6only=1)
    assert inet6_lookup_listener(net, None, 0, HERE6, 5000, HERE6, 80, 2, 0) is specific
    assert inet6_lookup_listener(net, None, 0, HERE6, 5000, bytes(15) + b"\x09", 80, 2, 0) is wildcard


def test_a_group_spreads_connections_and_keeps_each_four_tuple() -> None:
    net = Kernel(1).init_net
    group = [listener(net, bytes(4), reuseport=1) for _ in range(4)]
    chosen = [inet_lookup_listener(net, None, 0, HERE, port, HERE, 80, 2, 0) for port in range(1000, 1400)]
    again = [inet_lookup_listener(net, None, 0, HERE, port, HERE, 80, 2, 0) for port in range(1000, 1400)]
    assert chosen == again
    assert all(60 < chosen.count(member) < 140 for member in group)
