"""bind(2) and listen(2) of TCP: the order of checks, the conflict rules and what an observer is told."""

from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.addrs import AddressTable
from twinsock.kernel.net.core.net import Socket
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.sock import SK_FORCE_REUSE, Sock, SockCommon
from twinsock.kernel.net.ipv4.adopt import adopt_tcp, new_socket, new_tcp_sock, new_timewait_sock, set_addresses
from twinsock.kernel.net.ipv4.af_inet import inet_bind
from twinsock.kernel.net.ipv4.bind_observer import (
    PASS_REUSEADDR,
    PASS_REUSEPORT_TIME_WAIT,
    RULE_LISTENING,
    RULE_NO_SHARED_FLAG,
    RULE_OTHER_UID,
    BindObserver,
)
from twinsock.kernel.net.ipv4.inet_connection_sock import InetConnectionSock, inet_csk_listen_start
from twinsock.kernel.net.ipv4.inet_sock import INET_FLAGS_BIND_ADDRESS_NO_PORT
from twinsock.kernel.net.ipv6.af_inet6 import inet6_bind
from twinsock.kernel.sched.task import Cred, Task, UserNamespace
from twinsock.uapi.errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL, ENODEV
from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import RT_SCOPE_HOST, RT_SCOPE_LINK
from twinsock.uapi.socket import AF_INET, AF_INET6
from twinsock.uapi.tcp import TCP_LISTEN

LOOPBACK = bytes([127, 0, 0, 1])


class Recorder(BindObserver):
    def __init__(self) -> None:
        self.seen: list[tuple[SockCommon, int]] = []
        self.path: list[str] = []
        self.exhausted: tuple[int, int] | None = None

    def owner_seen(self, sk: Sock, owner: SockCommon, port: int, verdict: int) -> None:
        self.seen.append((owner, verdict))

    def range_exhausted(self, sk: Sock, low: int, high: int) -> None:
        self.exhausted = (low, high)

    def refused(self, sk: Sock, function: str, err: int) -> None:
        self.path.append(function)


class Host:
    """A namespace with lo, and dummy0 that has 10.1.1.1/24 and fe80::1."""

    def __init__(self, uid: int = 0) -> None:
        kernel = Kernel(1)
        self.net: Net = kernel.init_net
        table = AddressTable()
        table.add_device(1, IFF_LOOPBACK)
        table.add_address4(1, 0x7F000001, 8)
        table.add_address6(1, bytes(15) + b"\x01", RT_SCOPE_HOST)
        table.add_device(2, 0)
        table.add_address4(2, 0x0A010101, 24, 0x0A0101FF)
        table.add_address6(2, bytes.fromhex("fe80000000000000" + "00" * 7 + "01"), RT_SCOPE_LINK)
        self.net.addrs = table
        self.observer = Recorder()
        self.net.bind_observer = self.observer
        self.task = self.login(uid)

    def login(self, uid: int) -> Task:
        return Task(self.net.kernel, self.net, None, Cred(uid, uid, self.net.user_ns), 1, "test")

    def socket(self, family: int = AF_INET, reuse: int = 0, reuseport: int = 0) -> Socket:
        sk = new_tcp_sock(self.net, family)
        sk.sk_reuse = reuse
        sk.sk_reuseport = reuseport
        return new_socket(self.task, sk)

    def bind(self, sock: Socket, addr: str, port: int) -> int:
        return inet_bind(self.task, sock, sockaddr(addr, port))

    def bind6(self, sock: Socket, addr: str, port: int, scope: int = 0) -> int:
        raw = AF_INET6.to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(4) + bytes.fromhex(addr) + scope.to_bytes(4, "little")
        return inet6_bind(self.task, sock, raw)


def sockaddr(addr: str, port: int, family: int = AF_INET) -> bytes:
    return family.to_bytes(2, "little") + port.to_bytes(2, "big") + bytes(map(int, addr.split("."))) + bytes(8)


def csk(sock: Socket) -> InetConnectionSock:
    assert isinstance(sock.sk, InetConnectionSock)
    return sock.sk


LOOPBACK6 = "00" * 15 + "01"
LINK_LOCAL = "fe80" + "00" * 13 + "01"


def test_second_bind_names_the_owner_and_the_path() -> None:
    host = Host()
    first = host.socket()
    assert host.bind(first, "0.0.0.0", 8080) == 0
    assert host.bind(host.socket(reuse=1), "0.0.0.0", 8080) == -EADDRINUSE
    assert host.observer.seen == [(first.sk, RULE_NO_SHARED_FLAG)]
    assert host.observer.path == ["inet_csk_bind_conflict", "inet_csk_get_port", "__inet_bind", "inet_bind_sk", "inet_bind"]


def test_second_bind_to_a_listening_port_is_refused_even_with_reuseaddr() -> None:
    host = Host()
    first = host.socket(reuse=1)
    host.bind(first, "0.0.0.0", 8080)
    assert inet_csk_listen_start(csk(first)) == 0
    assert host.bind(host.socket(reuse=1), "127.0.0.1", 8080) == -EADDRINUSE
    assert host.observer.seen == [(first.sk, RULE_LISTENING)]
    assert host.observer.path[0] == "inet_bhash2_addr_any_conflict"


def test_second_listen_of_two_reuseaddr_owners_is_refused_and_leaves_the_socket_bound() -> None:
    host = Host()
    first, second = host.socket(reuse=1), host.socket(reuse=1)
    assert host.bind(first, "0.0.0.0", 8080) == 0
    assert host.bind(second, "0.0.0.0", 8080) == 0
    assert inet_csk_listen_start(csk(first)) == 0
    assert inet_csk_listen_start(csk(second)) == -EADDRINUSE
    assert csk(second).sk_num == 8080
    first.sk.sk_prot.unhash(first.sk)  # type: ignore[union-attr]
    csk(first).sk_state = 7
    first.sk.sk_prot.put_port(first.sk)  # type: ignore[union-attr]
    assert inet_csk_listen_start(csk(second)) == 0


def test_reuseport_of_another_user_is_refused_unless_in_time_wait() -> None:
    host = Host()
    owner = new_tcp_sock(host.net, AF_INET)
    owner.sk_reuseport = 1
    owner.sk_uid = 1000
    owner.sk_state = TCP_LISTEN
    adopt_tcp(owner, 8080)
    assert host.bind(host.socket(reuseport=1), "127.0.0.1", 8080) == -EADDRINUSE
    assert host.observer.seen[-1] == (owner, RULE_OTHER_UID)
    wait = new_timewait_sock(host.net, AF_INET)
    wait.sk_reuseport = 1
    wait.sk_dport = 40000
    set_addresses(wait, LOOPBACK, LOOPBACK)
    adopt_tcp(wait, 9090)
    assert host.bind(host.socket(reuseport=1), "127.0.0.1", 9090) == 0
    assert host.observer.seen[-1] == (wait, PASS_REUSEPORT_TIME_WAIT)


def test_time_wait_blocks_unless_both_had_reuseaddr() -> None:
    for old_flag, verdict in ((0, RULE_NO_SHARED_FLAG), (1, PASS_REUSEADDR)):
        host = Host()
        wait = new_timewait_sock(host.net, AF_INET)
        wait.sk_reuse = old_flag
        wait.sk_dport = 40000
        set_addresses(wait, LOOPBACK, LOOPBACK)
        adopt_tcp(wait, 8080)
        host.bind(host.socket(reuse=1), "0.0.0.0", 8080)
        assert host.observer.seen == [(wait, verdict)]


def test_checks_of_an_ipv4_bind_come_in_linux_order() -> None:
    host = Host(uid=1000)
    sock = host.socket()
    assert inet_bind(host.task, sock, sockaddr("127.0.0.1", 80)[:15]) == -EINVAL
    assert inet_bind(host.task, sock, sockaddr("127.0.0.1", 80, AF_INET6)) == -EAFNOSUPPORT
    assert host.bind(sock, "10.9.9.9", 80) == -EADDRNOTAVAIL
    assert host.bind(sock, "127.0.0.1", 80) == -EACCES
    assert inet_bind(host.task, sock, sockaddr("0.0.0.0", 8080, 0)) == 0
    assert host.bind(sock, "127.0.0.1", 80) == -EACCES
    assert host.bind(sock, "127.0.0.1", 8081) == -EINVAL


def test_checks_of_an_ipv6_bind_come_in_linux_order() -> None:
    host = Host(uid=1000)
    sock = host.socket(AF_INET6)
    assert host.bind6(sock, "ff02" + "00" * 13 + "01", 80) == -EINVAL
    assert host.bind6(sock, "2001" + "00" * 13 + "01", 80) == -EACCES
    assert host.bind6(sock, "2001" + "00" * 13 + "01", 8080) == -EADDRNOTAVAIL
    assert host.bind6(sock, LINK_LOCAL, 8080) == -EINVAL
    assert host.bind6(sock, LINK_LOCAL, 8080, scope=77) == -ENODEV
    assert host.bind6(sock, LINK_LOCAL, 8080, scope=1) == -EADDRNOTAVAIL
    assert host.bind6(sock, LINK_LOCAL, 8080, scope=2) == 0
    assert csk(sock).sk_bound_dev_if == 2
    assert csk(sock).sk_ipv6only == 1


def test_v6only_is_restored_when_the_bind_fails() -> None:
    host = Host()
    assert host.bind6(host.socket(AF_INET6), LOOPBACK6, 8080) == 0
    second = host.socket(AF_INET6)
    assert host.bind6(second, LOOPBACK6, 8080) == -EADDRINUSE
    assert csk(second).sk_ipv6only == 0
    assert not any(csk(second).sk_v6_rcv_saddr)


def test_an_exhausted_range_is_told_with_its_ends() -> None:
    host = Host()
    host.net.ipv4.ip_local_ports_low = host.net.ipv4.ip_local_ports_high = 40000
    assert host.bind(host.socket(), "0.0.0.0", 0) == 0
    assert host.bind(host.socket(), "0.0.0.0", 0) == -EADDRINUSE
    assert host.observer.exhausted == (40000, 40000)
    assert host.observer.path == ["inet_csk_find_open_port", "inet_csk_get_port", "__inet_bind", "inet_bind_sk", "inet_bind"]


def test_a_vrf_has_ports_of_its_own_unless_tcp_l3mdev_accept_joins_them() -> None:
    for accept in (0, 1):
        host = Host()
        table = host.net.addrs
        assert isinstance(table, AddressTable)
        table.add_device(9, 0, master=9)
        table.add_device(10, 0, master=9)
        host.net.ipv4.sysctl_tcp_l3mdev_accept = accept
        outside, inside, beside = host.socket(), host.socket(), host.socket()
        csk(inside).sk_bound_dev_if = 9
        csk(beside).sk_bound_dev_if = 10
        assert host.bind(inside, "0.0.0.0", 8080) == 0
        assert host.bind(beside, "0.0.0.0", 8080) == 0  # another device of the same VRF
        assert csk(inside).icsk_bind_hash is csk(beside).icsk_bind_hash
        assert host.bind(outside, "0.0.0.0", 8080) == (-EADDRINUSE if accept else 0)


def test_a_capable_user_of_the_namespace_may_bind_a_privileged_port() -> None:
    host = Host(uid=1000)
    host.net.user_ns = UserNamespace(host.net.user_ns, owner=1000)
    assert host.bind(host.socket(), "127.0.0.1", 80) == 0
    host.net.user_ns = UserNamespace(host.net.kernel.init_user_ns, owner=1001)
    assert host.bind(host.socket(), "127.0.0.1", 81) == -EACCES
    host.net.ipv4.sysctl_ip_prot_sock = 81
    assert host.bind(host.socket(), "127.0.0.1", 81) == 0


def test_ip_bind_address_no_port_leaves_the_port_to_listen_and_the_address_open() -> None:
    host = Host()
    sock = host.socket()
    csk(sock).inet_assign_bit(INET_FLAGS_BIND_ADDRESS_NO_PORT, True)
    assert host.bind(sock, "127.0.0.1", 0) == 0
    assert host.bind(sock, "10.1.1.1", 0) == 0
    assert csk(sock).sk_num == 0
    assert inet_csk_listen_start(csk(sock)) == 0
    assert csk(sock).inet_sport == csk(sock).sk_num != 0
    assert csk(sock).sk_rcv_saddr == 0x0A010101


def test_multicast_and_broadcast_are_received_on_but_not_sent_from() -> None:
    host = Host()
    for addr in ("224.0.0.1", "255.255.255.255", "10.1.1.255"):
        sock = host.socket()
        assert host.bind(sock, addr, 8080) == 0
        assert csk(sock).sk_rcv_saddr != 0 and csk(sock).inet_saddr == 0


def test_ip_autobind_reuse_shares_ports_of_reuseaddr_sockets_only() -> None:
    host = Host()
    ipv4 = host.net.ipv4
    ipv4.ip_local_ports_low = ipv4.ip_local_ports_high = 40000
    ipv4.sysctl_ip_autobind_reuse = 1
    assert host.bind(host.socket(reuse=1, reuseport=1), "0.0.0.0", 0) == 0
    assert host.bind(host.socket(reuse=1), "0.0.0.0", 0) == 0
    assert host.bind(host.socket(reuse=1, reuseport=1), "0.0.0.0", 0) == -EADDRINUSE
    assert host.bind(host.socket(), "0.0.0.0", 0) == -EADDRINUSE
    assert host.bind(host.socket(reuseport=1), "0.0.0.0", 0) == -EADDRINUSE


def test_tcp_repair_skips_every_check() -> None:
    host = Host()
    assert host.bind(host.socket(), "0.0.0.0", 8080) == 0
    assert host.bind(host.socket(reuse=SK_FORCE_REUSE), "0.0.0.0", 8080) == 0


def test_a_remembered_reuseport_owner_of_the_mapped_wildcard_does_not_cover_the_dual_one() -> None:
    for family, result in ((AF_INET, 0), (AF_INET6, -EADDRINUSE)):
        host = Host()
        first = host.socket(family, reuseport=1)
        if family == AF_INET:
            assert host.bind(first, "0.0.0.0", 8080) == 0
        else:
            assert host.bind6(first, "00" * 10 + "ffff" + "00" * 4, 8080) == 0
        csk(first).sk_reuseport = 0
        assert host.bind6(host.socket(AF_INET6, reuseport=1), "00" * 16, 8080) == result
