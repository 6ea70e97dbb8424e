"""Groups of sockets that share an address by SO_REUSEPORT."""

from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Sock
from twinsock.kernel.net.core.sock_reuseport import (
    ReuseportProg,
    SockReuseport,
    reuseport_add_sock,
    reuseport_alloc,
    reuseport_attach_prog,
    reuseport_detach_sock,
    reuseport_migrate_sock,
    reuseport_select_sock,
    reuseport_stop_listen_sock,
    reuseport_update_incoming_cpu,
)
from twinsock.kernel.net.ipv4.adopt import adopt_tcp, new_tcp_sock
from twinsock.kernel.net.ipv4.inet_connection_sock import inet_csk_listen_start, inet_unhash
from twinsock.uapi.errno import EBUSY, EINVAL
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN


class Always(ReuseportProg):
    def __init__(self, index: int) -> None:
        self.index = index

    def run(self, skb: SkBuff, hdr_len: int) -> int:
        return self.index


def listeners(net: Net, count: int) -> list[Sock]:
    socks: list[Sock] = []
    for _ in range(count):
        sk = new_tcp_sock(net, AF_INET)
        sk.sk_reuseport = 1
        sk.sk_state = TCP_LISTEN
        assert adopt_tcp(sk, 80) == 0
        socks.append(sk)
    return socks


def group_of(sk: Sock) -> SockReuseport:
    assert sk.sk_reuseport_cb is not None
    return sk.sk_reuseport_cb


def test_listeners_of_one_user_and_address_form_one_group() -> None:
    net = Kernel(1).init_net
    a, b = listeners(net, 2)
    assert group_of(a) is group_of(b)
    assert group_of(a).bind_inany
    other = new_tcp_sock(net, AF_INET)
    other.sk_reuseport, other.sk_uid, other.sk_state = 1, 1000, TCP_LISTEN
    adopt_tcp(other, 80)
    assert group_of(other) is not group_of(a)


def test_the_last_member_takes_the_slot_of_one_that_leaves() -> None:
    a, b, c = listeners(Kernel(1).init_net, 3)
    group = group_of(a)
    reuseport_detach_sock(a)
    assert group.socks == [c, b]
    assert a.sk_reuseport_cb is None


def test_the_hash_is_scaled_to_the_slots_and_passes_connected_members() -> None:
    a, b = listeners(Kernel(1).init_net, 2)
    assert reuseport_select_sock(a, 0, None, 0) is a
    assert reuseport_select_sock(a, 0xFFFFFFFF, None, 0) is b
    b.sk_state = TCP_ESTABLISHED
    assert reuseport_select_sock(a, 0xFFFFFFFF, None, 0) is a
    a.sk_state = TCP_ESTABLISHED
    assert reuseport_select_sock(a, 0, None, 0) is None


def test_a_program_chooses_and_the_hash_does_beyond_its_slots() -> None:
    a, b = listeners(Kernel(1).init_net, 2)
    assert reuseport_attach_prog(b, Always(1)) == 0
    assert reuseport_select_sock(a, 0, SkBuff(), 0) is b
    assert reuseport_attach_prog(b, Always(2)) == 0
    assert reuseport_select_sock(a, 0, SkBuff(), 0) is a


def test_a_program_needs_so_reuseport_and_makes_a_group_of_one() -> None:
    net = Kernel(1).init_net
    sk = new_tcp_sock(net, AF_INET)
    assert reuseport_attach_prog(sk, Always(0)) == -EINVAL
    sk.sk_reuseport = 1
    assert reuseport_attach_prog(sk, Always(0)) == 0
    assert group_of(sk).socks == [sk]
    assert reuseport_alloc(sk, True) == 0 and group_of(sk).bind_inany


def test_members_on_this_processor_are_preferred() -> None:
    net = Kernel(1).init_net
    a, b = listeners(net, 2)
    reuseport_update_incoming_cpu(b, 0)
    assert reuseport_select_sock(a, 0, None, 0) is b
    reuseport_update_incoming_cpu(b, -1)
    assert reuseport_select_sock(a, 0, None, 0) is a


def test_a_member_of_a_larger_group_cannot_join_another() -> None:
    net = Kernel(1).init_net
    a, _ = listeners(net, 2)
    lone = new_tcp_sock(net, AF_INET)
    assert reuseport_add_sock(a, lone, False) == -EBUSY


def test_a_stopped_listener_leaves_its_group_unless_migration_is_on() -> None:
    net = Kernel(1).init_net
    a, b = listeners(net, 2)
    reuseport_stop_listen_sock(a)
    assert a.sk_reuseport_cb is None
    assert reuseport_migrate_sock(b, 0) is None
    net.ipv4.sysctl_tcp_migrate_req = 1
    reuseport_stop_listen_sock(b)
    assert group_of(b).closed == [b] and group_of(b).num_closed_socks == 1
    assert reuseport_migrate_sock(b, 0) is None


def test_a_stopped_listener_returns_to_its_group_with_migration() -> None:
    net = Kernel(1).init_net
    net.ipv4.sysctl_tcp_migrate_req = 1
    a, b = listeners(net, 2)
    group = group_of(a)
    inet_unhash(a)  # type: ignore[arg-type]
    a.sk_state = TCP_CLOSE
    assert group.socks == [b] and reuseport_migrate_sock(a, 0) is b
    assert inet_csk_listen_start(a) == 0  # type: ignore[arg-type]
    assert group.socks == [b, a] and group.num_closed_socks == 0
