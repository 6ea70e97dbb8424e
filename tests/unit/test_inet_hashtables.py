"""Port buckets, the table of connections, and what leaves when an owner leaves."""

from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.sock import SOCK_CONNECT_BIND
from twinsock.kernel.net.ipv4.adopt import adopt_tcp, new_tcp_sock, new_timewait_sock, set_addresses
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock, inet_unhash
from twinsock.kernel.net.ipv4.inet_hashtables import (
    inet6_lookup_established,
    inet_bhash2_reset_saddr,
    inet_bhash2_update_saddr,
    inet_bind_bucket_find,
    inet_ehash_del,
    inet_inherit_port,
    inet_lookup_established,
    inet_put_port,
    inet_twsk_bind_unhash,
    inet_twsk_inherit_port,
    tcp_hashinfo,
)
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_ESTABLISHED, TCP_LISTEN

LOCAL = bytes([127, 0, 0, 1])
LOCAL6 = bytes(15) + b"\x01"


def fresh_net() -> Net:
    return Kernel(7).init_net


def owner(net: Net, port: int, local: bytes = bytes(4), flags: int = 0) -> InetConnectionSock:
    sk = new_tcp_sock(net, AF_INET if len(local) == 4 else AF_INET6)
    sk.sk_userlocks = flags
    set_addresses(sk, local)
    adopt_tcp(sk, port)
    return sk


def connection(net: Net, lport: int, fport: int, local: bytes = LOCAL, remote: bytes = LOCAL) -> InetConnectionSock:
    sk = new_tcp_sock(net, AF_INET if len(local) == 4 else AF_INET6)
    sk.sk_state = TCP_ESTABLISHED
    sk.sk_dport = fport
    set_addresses(sk, local, remote)
    adopt_tcp(sk, lport)
    return sk


def test_a_bucket_goes_with_its_last_owner() -> None:
    net = fresh_net()
    hinfo = tcp_hashinfo(net)
    first, second = owner(net, 8080), owner(net, 8080, LOCAL)
    bucket = inet_bind_bucket_find(hinfo, 8080, 0)
    assert bucket is not None and bucket.nr_owners == 2 and len(bucket.bhash2) == 2
    inet_put_port(first)
    assert inet_bind_bucket_find(hinfo, 8080, 0) is bucket
    inet_put_port(second)
    assert inet_bind_bucket_find(hinfo, 8080, 0) is None
    assert (hinfo.nr_buckets, hinfo.nr_buckets2, first.sk_num) == (0, 0, 0)


def test_a_bucket_returns_to_connect_when_the_last_bound_owner_leaves() -> None:
    net = fresh_net()
    connected = owner(net, 40000, LOCAL, SOCK_CONNECT_BIND)
    bucket = connected.icsk_bind_hash
    assert bucket is not None and (bucket.fastreuse, bucket.fastreuseport) == (-1, -1)
    bound = owner(net, 40000, bytes([127, 0, 0, 9]))
    assert bucket.fastreuse == 0
    inet_put_port(bound)
    assert (bucket.fastreuse, bucket.fastreuseport) == (-1, -1)
    inet_put_port(connected)
    assert not connected.sk_userlocks & SOCK_CONNECT_BIND


def test_mapped_and_plain_ipv4_share_an_address_bucket_and_ipv6_does_not() -> None:
    net = fresh_net()
    plain, mapped, six = owner(net, 80, LOCAL), owner(net, 80, bytes(10) + b"\xff\xff" + LOCAL), owner(net, 80, LOCAL6)
    assert plain.icsk_bind2_hash is mapped.icsk_bind2_hash
    assert six.icsk_bind2_hash is not plain.icsk_bind2_hash
    assert six.icsk_bind_hash is plain.icsk_bind_hash


def test_an_owner_moves_between_address_buckets_as_it_connects_and_disconnects() -> None:
    net = fresh_net()
    sk = owner(net, 80)
    wildcard = sk.icsk_bind2_hash
    inet_bhash2_update_saddr(sk, 0x7F000001, bytes(16))
    assert sk.icsk_bind2_hash is not wildcard and sk.sk_rcv_saddr == 0x7F000001
    inet_bhash2_reset_saddr(sk)
    moved = sk.icsk_bind2_hash
    assert moved is not None and moved.rcv_saddr == 0 and tcp_hashinfo(net).nr_buckets2 == 1


def test_tables_grow_and_keep_everything() -> None:
    net = fresh_net()
    hinfo = tcp_hashinfo(net)
    owners = [owner(net, port) for port in range(1000, 1400)]
    assert len(hinfo.bhash) >= 400 and len(hinfo.bhash2) >= 400
    assert all(inet_bind_bucket_find(hinfo, sk.sk_num, 0) is sk.icsk_bind_hash for sk in owners)
    connections = [connection(net, 80, fport) for fport in range(2000, 2400)]
    for sk in connections:
        assert inet_lookup_established(net, 0x7F000001, sk.sk_dport, 0x7F000001, 80, 1, 0) is sk
    for sk in connections + owners:
        inet_unhash(sk)
        inet_put_port(sk)
    assert (hinfo.nr_established, hinfo.nr_buckets, hinfo.nr_buckets2) == (0, 0, 0)


def test_a_connection_is_found_by_its_four_tuple_family_and_device() -> None:
    net = fresh_net()
    four = connection(net, 80, 4000)
    six = connection(net, 80, 4000, LOCAL6, LOCAL6)
    assert inet_lookup_established(net, 0x7F000001, 4000, 0x7F000001, 80, 1, 0) is four
    assert inet6_lookup_established(net, LOCAL6, 4000, LOCAL6, 80, 1, 0) is six
    assert inet_lookup_established(net, 0x7F000001, 4001, 0x7F000001, 80, 1, 0) is None
    four.sk_bound_dev_if = 2
    assert inet_lookup_established(net, 0x7F000001, 4000, 0x7F000001, 80, 1, 0) is None
    assert inet_lookup_established(net, 0x7F000001, 4000, 0x7F000001, 80, 1, 2) is four


def test_an_accepted_connection_owns_the_port_beside_the_listener() -> None:
    net = fresh_net()
    listener = new_tcp_sock(net, AF_INET)
    listener.sk_state = TCP_LISTEN
    adopt_tcp(listener, 80)
    child = new_tcp_sock(net, AF_INET)
    child.sk_num = 80
    set_addresses(child, LOCAL, LOCAL)
    inet_inherit_port(listener, child)
    assert child.icsk_bind_hash is listener.icsk_bind_hash
    assert child.icsk_bind2_hash is not listener.icsk_bind2_hash


def test_a_time_wait_takes_over_how_the_port_was_come_by() -> None:
    net = fresh_net()
    sk = owner(net, 40000, LOCAL, SOCK_CONNECT_BIND)
    tw = new_timewait_sock(net, AF_INET)
    set_addresses(tw, LOCAL, LOCAL)
    inet_twsk_inherit_port(sk, tw)
    inet_put_port(sk)
    bucket = tw.icsk_bind_hash
    assert tw.tw_connect_bind and bucket is not None and (bucket.nr_owners, bucket.fastreuse) == (1, -1)
    assert not inet_ehash_del(tw)
    inet_twsk_bind_unhash(tw)
    assert tcp_hashinfo(net).nr_buckets == 0
