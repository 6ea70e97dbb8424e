"""HostPort on the live kernel: sockets that the test made, in fresh namespaces, against what sock_diag says of them."""

import contextlib
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns import fresh_netns, run_in_netns, unshare_net
from twinsock.host.libc import call, setns
from twinsock.host.namespaces import own_inode
from twinsock.host.port import HostPort
from twinsock.inspect.address import format_endpoint
from twinsock.inspect.links import get_addresses, get_links, get_local_routes, route_type
from twinsock.inspect.netlink_sockets import SHOW_ALL as NETLINK_ALL
from twinsock.inspect.netlink_sockets import netlink_sockets
from twinsock.inspect.packet import SHOW_ALL as PACKET_ALL
from twinsock.inspect.packet import packet_sockets
from twinsock.inspect.port import NotAvailable
from twinsock.inspect.procnet import proc_sockets
from twinsock.inspect.records import SocketRecord
from twinsock.inspect.sockets import find_again, inet_sockets, visible_sockets
from twinsock.inspect.sysctl import bind_sysctls
from twinsock.inspect.table import socket_table
from twinsock.inspect.unix import SHOW_ALL as UNIX_ALL
from twinsock.inspect.unix import find_unix_again, is_file, unix_sockets, unix_sockets_of_file, unix_sockets_of_name
from twinsock.inspect.virtual import vsock_sockets, xdp_sockets
from twinsock.uapi.inet_diag import INET_DIAG_BC_D_EQ, INET_DIAG_BC_S_EQ, INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE
from twinsock.uapi.rtnetlink import RTN_BROADCAST, RTN_LOCAL
from twinsock.uapi.sched import CLONE_NEWNET
from twinsock.wire.inet_diag import bc_and, bc_autobound, bc_cgroup, bc_device, bc_host, bc_not, bc_or, bc_port

pytestmark = pytest.mark.root

NOBODY = 65534
TCP, UDP, UDPLITE, RAW, MPTCP = 6, 17, 136, 255, 262
ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT = 1, 2, 3, 4, 5, 6
CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN = 7, 8, 9, 10
LOOPBACK = b"\x7f\0\0\1"


def listener(port: int = 0, host: str = "127.0.0.1", backlog: int = 3) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(backlog)
    return sock


def pair(server: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(server.getsockname())
    return client, server.accept()[0]


def by_state(records: list[SocketRecord]) -> dict[int, list[SocketRecord]]:
    found: dict[int, list[SocketRecord]] = {}
    for record in records:
        found.setdefault(record.state, []).append(record)
    return found


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Drop root for a while, keeping it saved."""
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    call("prctl", 4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: our own /proc/PID stays ours
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def test_every_tcp_state_that_can_be_made_is_reported() -> None:
    def program() -> dict[int, list[tuple[bool, int]]]:
        keep: list[Any] = []
        server = listener(8000)
        keep.append(pair(server))  # ESTABLISHED, both ends
        client, accepted = pair(server)
        client.shutdown(socket.SHUT_WR)  # FIN_WAIT2 and CLOSE_WAIT
        keep += [client, accepted]
        client, accepted = pair(server)
        client.close()
        accepted.close()  # TIME_WAIT
        bound = socket.socket()
        bound.bind(("127.0.0.1", 8001))
        keep.append(bound)
        # A deferred listener keeps the request until there is data, although the client is connected.
        deferred = listener(8002)
        deferred.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        keep += [deferred, socket.create_connection(("127.0.0.1", 8002))]
        # A neighbour that never answers, and then a loopback that is down: nobody acknowledges a SYN or a FIN.
        subprocess.run("ip link add v0 type veth; ip link set veth0 up; ip link set v0 up", shell=True, check=True)
        subprocess.run("ip addr add 10.7.0.1/24 dev v0", shell=True, check=True)
        syn = socket.socket()
        syn.setblocking(False)
        assert syn.connect_ex(("10.7.0.2", 8000)) == errno.EINPROGRESS
        one, other = pair(server)
        last, last_other = pair(server)
        last_other.shutdown(socket.SHUT_WR)
        assert last.recv(1) == b""
        subprocess.run("ip link set lo down", shell=True, check=True)
        one.shutdown(socket.SHUT_WR)
        last.shutdown(socket.SHUT_WR)
        keep += [one, other, last, last_other, syn]
        port = HostPort()
        records = inet_sockets(port, socket.AF_INET, TCP)
        return {
            state: [(find_again(port, record) is not None, record.local_port) for record in found]
            for state, found in by_state(records).items()
        }

    states = run_in_netns(program)
    assert {ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN} == set(states)
    assert [port for _again, port in states[CLOSE]] == [8001]
    assert sorted(port for _again, port in states[LISTEN]) == [8000, 8002]
    assert [port for _again, port in states[SYN_RECV]] == [8002]
    assert all(again for found in states.values() for again, _port in found)


def test_records_tell_what_the_program_set() -> None:
    def program() -> None:
        port = HostPort()
        server = listener(8000, backlog=7)
        socket.create_connection(("127.0.0.1", 8000)).detach()
        (record,) = inet_sockets(port, socket.AF_INET, TCP, 1 << LISTEN)
        assert (record.local, record.local_port, record.rqueue, record.wqueue) == (LOOPBACK, 8000, 1, 7)
        assert record.inode == os.fstat(server.fileno()).st_ino
        assert record.cookie == int.from_bytes(server.getsockopt(socket.SOL_SOCKET, 57, 8), "little")
        assert (record.uid, record.v6only, record.ifindex) == (0, False, 0)
        six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        six.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 77)
        six.bind(("::", 53))
        (record,) = inet_sockets(port, socket.AF_INET6, UDP)
        assert (record.local, record.local_port, record.v6only, record.state) == (bytes(16), 53, True, CLOSE)
        assert (record.mark, record.ifindex) == (77, 1)
        shown = inet_sockets(port, socket.AF_INET, TCP, 1 << ESTABLISHED, ext=1 << 1 | 1 << 3 | 1 << 6)[0]
        assert shown.tcp_info is not None
        assert len(shown.tcp_info) >= 232
        assert shown.congestion
        assert shown.skmeminfo is not None

    run_in_netns(program)


def test_filters_run_in_the_kernel() -> None:
    def program() -> None:
        port = HostPort()
        keep = [listener(number) for number in range(8000, 8010)]
        client = socket.create_connection(("127.0.0.1", 8003))
        keep.append(client)

        def local_ports(bytecode: bytes, states: int = 1 << LISTEN) -> list[int]:
            found = inet_sockets(port, socket.AF_INET, TCP, states, bytecode=bytecode)
            return sorted(record.local_port for record in found)

        some = bc_and(bc_port(INET_DIAG_BC_S_GE, 8002), bc_port(INET_DIAG_BC_S_LE, 8004))
        assert local_ports(some) == [8002, 8003, 8004]
        assert local_ports(bc_or(bc_port(INET_DIAG_BC_S_EQ, 8001), some)) == [8001, 8002, 8003, 8004]
        assert local_ports(bc_not(some)) == [8000, 8001, 8005, 8006, 8007, 8008, 8009]
        assert local_ports(bc_and(bc_not(some), bc_port(INET_DIAG_BC_S_LE, 8005))) == [8000, 8001, 8005]
        assert local_ports(bc_host(True, socket.AF_INET, LOOPBACK, 32, 8006)) == [8006]
        assert local_ports(bc_host(True, socket.AF_INET, b"\x7f\1\0\0", 8)) == list(range(8000, 8010))
        assert local_ports(bc_host(True, socket.AF_INET, b"\x7f\1\0\0", 16)) == []
        assert local_ports(bc_device(1)) == []
        assert local_ports(bc_device(0)) == list(range(8000, 8010))
        established = 1 << ESTABLISHED
        assert local_ports(bc_port(INET_DIAG_BC_D_EQ, 8003), established) == [client.getsockname()[1]]
        assert local_ports(bc_autobound(), established) == [8003, client.getsockname()[1]]
        assert local_ports(bc_autobound()) == []
        cgroup = inet_sockets(port, socket.AF_INET, TCP, 1 << LISTEN)[0].cgroup
        assert cgroup is not None
        assert len(local_ports(bc_cgroup(cgroup))) == 10
        assert local_ports(bc_cgroup(cgroup + 1_000_000)) == []
        assert [r.state for r in inet_sockets(port, socket.AF_INET, TCP, remote_port=8003)] == [ESTABLISHED]
        assert {r.local_port for r in inet_sockets(port, socket.AF_INET, TCP, local_port=8003)} == {8003}
        six = [socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        for sock in six:
            sock.bind(("::1", 8003))
        both = inet_sockets(port, socket.AF_UNSPEC, TCP, local_port=8003)
        assert sorted((r.family, r.state) for r in both) == [(2, ESTABLISHED), (2, LISTEN), (10, CLOSE)]
        assert [r.family for r in inet_sockets(port, socket.AF_UNSPEC, UDP, local_port=8003)] == [10]

    run_in_netns(program)


def test_one_walk_gives_both_families_and_the_columns_agree_with_the_records() -> None:
    def program() -> None:
        port = HostPort()
        server = listener(8000, backlog=200)
        keep: list[Any] = [server]
        for number in range(150):
            client, accepted = pair(server)
            if number % 3 == 0:
                client.close()
                accepted.close()
            keep += [client, accepted]
        six = socket.socket(socket.AF_INET6)
        six.bind(("::1", 8001))
        keep.append(six)
        table = socket_table(port)
        records = inet_sockets(port, socket.AF_INET, TCP) + inet_sockets(port, socket.AF_INET6, TCP)
        assert len(table) == len(records) == 1 + 200 + 50 + 1
        assert sorted(table.column("inode")) == sorted(r.inode for r in records)
        assert sorted(table.column("state")) == sorted(r.state for r in records)
        assert sorted(table.column("local_port")) == sorted(r.local_port for r in records)
        assert {r.cookie for r in table.records()} == {r.cookie for r in records}
        assert {r.family for r in table.records()} == {socket.AF_INET, socket.AF_INET6}

    run_in_netns(program)


@pytest.mark.needs("ss")
def test_ss_prints_the_same_sockets() -> None:
    def program() -> tuple[list[str], list[str]]:
        server = listener(8000, backlog=50)
        keep: list[Any] = [server, listener(8001, "0.0.0.0")]
        for _number in range(20):
            keep += pair(server)
        dual = socket.create_server(("::", 8002), family=socket.AF_INET6, dualstack_ipv6=True)
        only = socket.create_server(("::", 8003), family=socket.AF_INET6)
        keep += [dual, only, socket.create_connection(("127.0.0.1", 8002))]
        text = subprocess.run(["ss", "-H", "-tan"], check=True, capture_output=True, text=True).stdout
        names = {ESTABLISHED: "ESTAB", LISTEN: "LISTEN", CLOSE: "UNCONN", TIME_WAIT: "TIME-WAIT"}
        records = [r for r in socket_table(HostPort()).records() if r.state != CLOSE]
        ours = [
            f"{names[r.state]} {r.rqueue} {r.wqueue} {format_endpoint(r.local, r.local_port, r.v6only)} "
            f"{format_endpoint(r.remote, r.remote_port, r.v6only)}"
            for r in records
        ]
        return sorted(" ".join(line.split()[:5]) for line in text.splitlines()), sorted(ours)

    theirs, ours = run_in_netns(program)
    assert ours == theirs
    assert len(ours) > 40


def test_mptcp_udplite_and_raw_sockets_are_found() -> None:
    def program() -> None:
        port = HostPort()
        keep: list[Any] = []
        notes: list[str] = []
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        keep.append(raw)
        (record,) = visible_sockets(port, socket.AF_INET, RAW, notes)
        assert (record.protocol, record.local_port, record.inode) == (RAW, 1, os.fstat(raw.fileno()).st_ino)
        assert all("RAW sockets are from /proc" in note for note in notes)
        with contextlib.suppress(OSError):
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP)
            server.bind(("127.0.0.1", 8000))
            server.listen()
            keep.append(server)
            (record,) = inet_sockets(port, socket.AF_INET, MPTCP)
            assert (record.local_port, record.state, record.inode) == (8000, LISTEN, os.fstat(server.fileno()).st_ino)
        with contextlib.suppress(OSError):
            lite = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDPLITE)
            lite.bind(("127.0.0.1", 8000))
            keep.append(lite)
            assert [r.local_port for r in inet_sockets(port, socket.AF_INET, UDPLITE)] == [8000]

    run_in_netns(program)


def test_proc_and_sock_diag_agree_where_both_speak() -> None:
    def program() -> None:
        port = HostPort()
        server = listener(8000)
        client, accepted = pair(server)
        client.send(b"abc")
        six = socket.create_server(("::1", 8001), family=socket.AF_INET6)
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("127.0.0.1", 53))

        def essence(r: SocketRecord) -> tuple[Any, ...]:
            return r.state, r.local, r.local_port, r.remote, r.remote_port, r.rqueue, r.timer, r.uid, r.inode

        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in (TCP, UDP):
                theirs = sorted(map(essence, proc_sockets(port, family, protocol)))
                assert theirs == sorted(map(essence, inet_sockets(port, family, protocol)))
        assert len(accepted.recv(3)) == 3
        six.close()

    run_in_netns(program)


def test_unix_sockets_show_names_files_peers_and_queues(tmp_path: Any) -> None:
    def program() -> None:
        port = HostPort()
        path = os.fsencode(tmp_path / "server")
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(5)
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        abstract.bind(b"\0name\0x")
        inode = {name: os.fstat(s.fileno()).st_ino for name, s in (("s", server), ("c", client), ("a", abstract))}
        notes: list[str] = []
        found = {record.inode: record for record in unix_sockets(port, show=UNIX_ALL, notes=notes)}
        assert notes == []
        stat = os.stat(path)
        record = found[inode["s"]]
        assert (record.state, record.name, record.type) == (LISTEN, path, socket.SOCK_STREAM)
        assert (record.rqueue, record.wqueue, record.waiting) == (1, 5, [inode["c"]])
        assert is_file(record, stat.st_ino, stat.st_dev)
        assert not is_file(record, stat.st_ino + 1, stat.st_dev)
        assert (found[inode["c"]].state, found[inode["c"]].name, found[inode["c"]].peer) == (ESTABLISHED, None, 0)
        assert (found[inode["a"]].name, found[inode["a"]].uid) == (b"\0name\0x", 0)
        assert [r.inode for r in unix_sockets_of_file(port, stat.st_ino, stat.st_dev)] == [inode["s"]]
        assert unix_sockets_of_file(port, stat.st_ino + 1, stat.st_dev, path) == []
        assert unix_sockets_of_file(port, stat.st_ino, stat.st_dev + 1) == []
        assert [r.inode for r in unix_sockets_of_file(port, stat.st_ino, stat.st_dev + 1, path)] == [inode["s"]]
        assert [r.inode for r in unix_sockets_of_name(port, path)] == [inode["s"]]
        assert [r.inode for r in unix_sockets_of_name(port, b"\0name\0x")] == [inode["a"]]
        again = find_unix_again(port, record)
        assert again is not None
        assert (again.inode, again.rqueue) == (inode["s"], 1)
        abstract.close()
        assert find_unix_again(port, found[inode["a"]]) is None
        accepted = server.accept()[0]
        found = {record.inode: record for record in unix_sockets(port, show=UNIX_ALL)}
        assert found[inode["c"]].peer == os.fstat(accepted.fileno()).st_ino

    run_in_netns(program)


def test_packet_and_netlink_sockets_are_listed() -> None:
    def program() -> None:
        port = HostPort()
        packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        packet.bind(("lo", 0x0800))
        (record,) = packet_sockets(port, PACKET_ALL)
        assert (record.type, record.num, record.ifindex) == (socket.SOCK_RAW, 0x0800, 1)
        assert (record.inode, record.uid) == (os.fstat(packet.fileno()).st_ino, 0)
        route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        route.bind((0, 1 | 1 << 4))
        (mine,) = [r for r in netlink_sockets(port, NETLINK_ALL) if r.inode == os.fstat(route.fileno()).st_ino]
        assert (mine.protocol, mine.portid, mine.groups) == (0, route.getsockname()[0], [1, 5])

    run_in_netns(program)


def test_virtual_sockets_are_listed_or_said_to_be_unavailable() -> None:
    port = HostPort()
    for ask, name in ((vsock_sockets, "VSOCK"), (xdp_sockets, "XDP")):
        try:
            assert isinstance(ask(port), list)
        except NotAvailable as missing:
            assert missing.strerror == f"this kernel has no sock_diag handler for {name} sockets"
    port.close()


def test_links_addresses_and_local_routes_tell_what_is_local() -> None:
    def program() -> None:
        port = HostPort()
        commands = """
            ip link add v0 type veth peer name v1; ip addr add 10.7.0.1/24 dev v0; ip link set v0 up; ip link set v1 up
            ip addr add fd00::5/64 dev v0
        """
        subprocess.run(commands, shell=True, check=True)
        links = get_links(port)
        assert (links.name(1), links.by_name["v0"].kind, links.vrf_of(1), links.name(99)) == ("lo", "veth", 0, "if99")
        local = get_local_routes(port, socket.AF_INET)
        assert route_type(local, b"\x0a\7\0\1") == RTN_LOCAL
        assert route_type(local, b"\x7f\1\2\3") == RTN_LOCAL
        assert route_type(local, b"\x0a\7\0\xff") == RTN_BROADCAST
        assert route_type(local, b"\x0a\6\0\1") == 0
        assert get_local_routes(port, socket.AF_INET, 4242) == []
        six = {a.address: a for a in get_addresses(port, socket.AF_INET6)}
        assert six[bytes(15) + b"\1"].why_unusable() == ""
        tentative = six[bytes([0xFD]) + bytes(14) + b"\5"]
        assert tentative.why_unusable() == "duplicate address detection is still running"
        assert {(a.family, a.address) for a in get_addresses(port)} >= {(2, LOOPBACK), (2, b"\x0a\7\0\1")}

    run_in_netns(program)


def test_sysctls_are_those_of_the_namespace_asked_about() -> None:
    def configure() -> None:
        for name, value in (
            ("net/ipv4/ip_local_port_range", "2000 3000"),
            ("net/ipv4/ip_local_reserved_ports", "2500,2600-2610"),
            ("net/core/somaxconn", "77"),
        ):
            with open(f"/proc/sys/{name}", "w") as file:
                file.write(value)

    with fresh_netns() as namespace:
        namespace.run(configure)
        holder = start_in(namespace.enter)
        try:
            values = bind_sysctls(HostPort(), namespace.inode)
        finally:
            holder()
    assert (values.port_range, values.reserved, values.somaxconn) == ((2000, 3000), [(2500, 2500), (2600, 2610)], 77)
    assert values.is_reserved(2605)
    assert not values.is_reserved(2611)


def start_in(enter: Callable[[], object], then: Callable[[], object] | None = None) -> Callable[[], None]:
    """Start a process that enters a namespace, runs `then` and waits; give a function that ends it."""
    ready, started = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            enter()
            kept = then() if then is not None else None
            os.write(started, b"1")
            threading.Event().wait(30)
            del kept
        finally:
            os._exit(0)
    os.close(started)
    assert os.read(ready, 1) == b"1"
    os.close(ready)

    def end() -> None:
        os.kill(pid, 9)
        os.waitpid(pid, 0)

    return end


def test_a_namespace_without_process_is_found_by_the_socket_that_keeps_it() -> None:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    inodes, tell = os.pipe()

    def only_a_socket() -> Any:
        unshare_net()
        server = listener(6666)
        os.write(tell, b"%d" % own_inode())
        setns(home, CLONE_NEWNET)
        os.close(home)
        return server

    end = start_in(lambda: None, only_a_socket)
    try:
        inode = int(os.read(inodes, 32))
        port = HostPort()
        assert inode not in [namespace.inode for namespace in port.namespaces()]
        (found,) = [namespace for namespace in port.namespaces(deep=True) if namespace.inode == inode]
        assert (found.pids, found.accessible) == ([], True)
        assert found.holders[0].startswith("socket fd ")
        assert [r.local_port for r in inet_sockets(port, socket.AF_INET, TCP, netns=inode)] == [6666]
        assert own_inode() != inode
        port.close()
    finally:
        end()
        os.close(home)
        os.close(inodes)
        os.close(tell)


def test_a_namespace_without_process_is_found_by_the_descriptor_that_keeps_it() -> None:
    with fresh_netns() as namespace:
        port = HostPort()
        (found,) = [each for each in port.namespaces(deep=True) if each.inode == namespace.inode]
        assert any(f"fd {namespace.net_fd} of pid {os.getpid()}" == holder for holder in found.holders)
        namespace.run(lambda: None)
        assert inet_sockets(port, socket.AF_INET, TCP, netns=namespace.inode) == []
        assert b"local_address" in port.read("/proc/net/tcp", namespace.inode)
        port.close()


def test_a_named_namespace_is_found_and_a_vanished_one_is_said_to_be_gone() -> None:
    name = f"twinsock-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        port = HostPort()
        (found,) = [each for each in port.namespaces() if name in each.names]
        assert found.accessible
        assert found.cookie > 0
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    with pytest.raises(ProcessLookupError) as caught:
        inet_sockets(port, socket.AF_INET, TCP, netns=found.inode)
    assert str(found.inode) in str(caught.value)
    with pytest.raises(ProcessLookupError):
        port.read("/proc/sys/net/core/somaxconn", 77)


def test_without_permission_another_namespace_is_seen_through_proc_and_the_rest_is_said() -> None:
    def program(inode: int, holder: int) -> None:
        with as_nobody():
            port = HostPort()
            (hidden,) = [each for each in port.namespaces() if holder in each.pids]
            assert hidden.inode < 0
            assert not hidden.accessible
            assert "CAP_SYS_ADMIN" in hidden.reason
            notes: list[str] = []
            found = visible_sockets(port, socket.AF_INET, TCP, notes, netns=hidden.inode)
            assert [record.local_port for record in found] == [7777]
            (note,) = notes
            assert "without those that are only bound" in note
            assert "CAP_SYS_ADMIN" in note
            with pytest.raises(PermissionError):
                bind_sysctls(port, hidden.inode)
            assert port.netns_of(holder) == hidden.inode
            assert inode not in [each.inode for each in port.namespaces()]
            mine = listener(8888)
            assert 8888 in [record.local_port for record in inet_sockets(port, socket.AF_INET, TCP)]
            mine.close()

    with fresh_netns() as namespace:
        reader, writer = os.pipe()
        end = start_in(namespace.enter, lambda: (listener(7777), os.write(writer, b"%d" % os.getpid())))
        try:
            run_in_netns(program, namespace.inode, int(os.read(reader, 32)))
        finally:
            end()
            os.close(reader)
            os.close(writer)


def test_an_answer_left_half_read_does_not_disturb_the_next_question() -> None:
    def program() -> None:
        port = HostPort()
        keep = [listener(number) for number in range(2000, 2600)]
        from twinsock.wire.inet_diag import InetDiagReq
        from twinsock.wire.netlink import nlmsg

        request = nlmsg(20, 0x301, InetDiagReq(socket.AF_INET, TCP).emit())
        for _view in port.netlink(4, request):
            assert len(inet_sockets(port, socket.AF_INET, TCP, local_port=2000)) == 1
            break
        assert len(inet_sockets(port, socket.AF_INET, TCP)) == len(keep)

    run_in_netns(program)


def test_the_maker_of_a_user_namespace_sees_into_its_network_without_root() -> None:
    def rootless() -> Any:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", 4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an execve
        unshare_net()
        server = socket.socket()
        server.bind(("0.0.0.0", 5555))  # bound only: /proc would not show it
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
            file.write("2000 3000")
        return server

    def program(pid: int) -> None:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        call("prctl", 4, 1, 0, 0, 0)
        port = HostPort()
        (found,) = [each for each in port.namespaces() if pid in each.pids]
        assert (found.accessible, found.reason, found.own) == (True, "", False)
        assert port.netns_of(pid) == found.inode
        assert port.netns_of(os.getpid()) == own_inode()
        assert [r.local_port for r in inet_sockets(port, socket.AF_INET, TCP, netns=found.inode)] == [5555]
        assert bind_sysctls(port, found.inode).port_range == (2000, 3000)
        with pytest.raises(FileNotFoundError):
            port.read("/proc/sys/net/ipv4/no_such_thing", found.inode)
        port.close()

    reader, writer = os.pipe()

    def tell_and_stay() -> Any:
        kept = rootless()
        os.write(writer, b"%d" % os.getpid())
        return kept

    end = start_in(lambda: None, tell_and_stay)
    try:
        run_in_netns(program, int(os.read(reader, 32)))
    finally:
        end()
        os.close(reader)
        os.close(writer)


def test_a_socket_is_found_again_among_others_with_its_address() -> None:
    def program() -> None:
        port = HostPort()
        keep: list[socket.socket] = []
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for _number in range(3):
                sock = socket.socket(socket.AF_INET, kind)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("127.0.0.1", 7000))
                keep.append(sock)
        keep[0].listen()
        keep[1].listen()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(("127.0.0.1", 7000))
        keep.append(client)
        for protocol, count in ((TCP, 3), (UDP, 4)):
            records = inet_sockets(port, socket.AF_INET, protocol)
            again = [find_again(port, record) for record in records]
            assert [r.cookie for r in again if r is not None] == [r.cookie for r in records]
            assert len(records) == count
        client.close()
        assert find_again(port, records[[r.remote_port for r in records].index(7000)]) is None

    run_in_netns(program)
