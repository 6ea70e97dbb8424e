"""The twin answers inspect's questions: sockets by netlink, files of /proc, owners."""

from typing import Any

from twinsock.inspect.procnet import proc_sockets
from twinsock.inspect.records import SocketRecord
from twinsock.inspect.table import SocketTable
from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.port import TwinPort
from twinsock.uapi.socket import AF_INET
from twinsock.wire.inet_diag import ALL_STATES, InetDiagReq


def run(program: Any) -> Any:
    """Run `program(env, port)` on a fresh twin."""
    kernel = start_kernel(1)
    net_init_loopback(kernel.init_net)
    env = TwinEnv(kernel)
    return env.run(lambda env: program(env, TwinPort(kernel, env.task)))


def tcp_records(port: TwinPort) -> list[SocketRecord]:
    """List every TCP socket over IPv4."""
    table = SocketTable()
    table.ask(port, InetDiagReq(AF_INET, 6, ALL_STATES, 0xFF))
    assert table.notes == []
    return list(table.records())


def test_a_dump_of_tcp_lists_listeners_bound_sockets_and_connections() -> None:
    def program(env: Any, port: TwinPort) -> None:
        listener = env.socket.socket()
        listener.bind(("127.0.0.1", 5000))
        listener.listen(5)
        client = env.socket.socket()
        client.connect(("127.0.0.1", 5000))
        bound = env.socket.socket()
        bound.bind(("127.0.0.1", 5001))
        found = [(record.state, record.local_port, record.rqueue, record.wqueue) for record in tcp_records(port)]
        assert [row[0] for row in sorted(found)] == [1, 1, 7, 10]
        assert sorted(found)[2:] == [(7, 5001, 0, 0), (10, 5000, 1, 5)]

    run(program)


def test_files_of_proc_list_the_same_connections_as_netlink() -> None:
    def program(env: Any, port: TwinPort) -> None:
        listener = env.socket.socket()
        listener.bind(("127.0.0.1", 5000))
        listener.listen(5)
        client = env.socket.socket()
        client.connect(("127.0.0.1", 5000))
        by_text = [(record.state, record.local_port, record.inode) for record in proc_sockets(port, AF_INET, 6)]
        assert by_text == [(record.state, record.local_port, record.inode) for record in tcp_records(port)]

    run(program)


def test_owners_are_the_descriptors_that_hold_a_socket() -> None:
    def program(env: Any, port: TwinPort) -> None:
        listener = env.socket.socket()
        listener.bind(("127.0.0.1", 5000))
        listener.listen(5)
        copy = env.os.dup(listener.fileno())
        inode = tcp_records(port)[0].inode
        owners = port.owners().owners_of(inode)
        assert [(owner.pid, owner.fd) for owner in owners] == [(env.task.pid, listener.fileno()), (env.task.pid, copy)]

    run(program)


def test_descriptors_in_a_message_are_in_flight() -> None:
    def program(env: Any, port: TwinPort) -> None:
        a, b = env.socket.socketpair()
        udp = env.socket.socket(2, 2)
        inode = env.os.fstat(udp.fileno()).st_ino
        a.sendmsg([b"x"], [(1, 1, udp.fileno().to_bytes(4, "little"))])
        udp.close()
        ghost = port.owners().ghost(inode)
        assert ghost is not None
        assert (ghost.kind, ghost.pid, ghost.fd) == ("in flight", env.task.pid, b.fileno())

    run(program)
