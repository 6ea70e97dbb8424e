"""The prover on the live kernel: every refusal is named by the call and the errno that a real program gets."""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns import fresh_netns, run_in_netns
from twinsock.host.prove import Attempt, ProveResult, prove

pytestmark = pytest.mark.root

NOBODY = 65534
CAP_NET_BIND_SERVICE = 1 << 10
Answer = tuple[int, str]


def tcp(address: str = "127.0.0.1", port: int = 8080, family: int = socket.AF_INET) -> Attempt:
    attempt = Attempt(family, socket.SOCK_STREAM)
    attempt.address = address
    attempt.port = port
    attempt.listen = True
    return attempt


def answer(attempt: Attempt) -> Answer:
    result = prove(attempt)
    return result.errno, result.call


def here(function: Callable[[], Answer]) -> Answer:
    """Run in a fresh namespace."""
    found: Answer = run_in_netns(function)
    return found


def test_a_free_port_is_free_again_afterwards() -> None:
    def body() -> Answer:
        assert answer(tcp()) == (0, "listen")
        with socket.create_server(("127.0.0.1", 8080)):
            return answer(tcp())

    assert here(body) == (errno.EADDRINUSE, "bind")


def test_reuseaddr_gets_in_beside_a_bound_socket_but_not_beside_a_listener() -> None:
    def body() -> Answer:
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(("127.0.0.1", 8080))
            attempt = tcp()
            assert answer(attempt) == (errno.EADDRINUSE, "bind")
            attempt.reuseaddr = 1
            assert answer(attempt) == (0, "listen")
            first.listen()
            return answer(attempt)

    assert here(body) == (errno.EADDRINUSE, "bind")


def test_reuseport_group_of_the_same_user_lets_another_in_and_loses_no_connection() -> None:
    def body() -> Answer:
        with socket.create_server(("127.0.0.1", 8080), reuse_port=True) as server:
            attempt = tcp()
            attempt.reuseport = 1
            assert answer(attempt) == (0, "listen")
            attempt.uid = NOBODY
            assert answer(attempt) == (errno.EADDRINUSE, "bind")
            with socket.create_connection(("127.0.0.1", 8080)):
                server.accept()[0].close()
        return 0, ""

    assert here(body) == (0, "")


def test_an_address_of_nobody_is_refused_unless_freebind() -> None:
    def body() -> Answer:
        attempt = tcp("203.0.113.7")
        assert answer(attempt) == (errno.EADDRNOTAVAIL, "bind")
        attempt.freebind = 1
        assert answer(attempt) == (0, "listen")
        attempt.freebind, attempt.transparent = -1, 1
        return answer(attempt)

    assert here(body) == (0, "listen")


def test_a_low_port_needs_a_capability() -> None:
    def body() -> Answer:
        attempt = tcp(port=80)
        assert answer(attempt) == (0, "listen")
        attempt.uid = attempt.gid = NOBODY
        assert answer(attempt) == (errno.EACCES, "bind")
        attempt.capabilities = CAP_NET_BIND_SERVICE
        return answer(attempt)

    assert here(body) == (0, "listen")


def test_options_that_are_refused_are_named() -> None:
    def body() -> Answer:
        attempt = tcp()
        attempt.device = "nosuch0"
        assert answer(attempt) == (errno.ENODEV, "setsockopt SO_BINDTODEVICE")
        attempt = tcp()
        attempt.transparent = 1
        attempt.uid = attempt.gid = NOBODY
        return answer(attempt)

    assert here(body) == (errno.EPERM, "setsockopt IP_TRANSPARENT")


def test_a_socket_of_an_unknown_protocol_is_refused_by_socket() -> None:
    def body() -> Answer:
        return answer(Attempt(socket.AF_INET, socket.SOCK_STREAM, 200))

    assert here(body) == (errno.EPROTONOSUPPORT, "socket")


def test_dual_stack_stands_in_the_way_of_ipv4_unless_v6only() -> None:
    def body() -> Answer:
        with socket.create_server(("0.0.0.0", 8080)):
            attempt = tcp("::", family=socket.AF_INET6)
            attempt.v6only = 0
            assert answer(attempt) == (errno.EADDRINUSE, "bind")
            attempt.v6only = 1
            return answer(attempt)

    assert here(body) == (0, "listen")


def test_port_zero_tells_the_port_that_was_given() -> None:
    def body() -> Answer:
        result = prove(tcp(port=0))
        assert 32768 <= result.port < 61000
        return result.errno, result.call

    assert here(body) == (0, "listen")


def test_a_unix_path_that_did_not_exist_does_not_exist_afterwards(tmp_path: Path) -> None:
    attempt = Attempt(socket.AF_UNIX, socket.SOCK_STREAM)
    attempt.address = str(tmp_path / "s")
    attempt.listen = True
    assert answer(attempt) == (0, "listen")
    assert list(tmp_path.iterdir()) == []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(attempt.address)
    assert answer(attempt) == (errno.EADDRINUSE, "bind")
    assert list(tmp_path.iterdir()) == [tmp_path / "s"]
    attempt.address = str(tmp_path / "no" / "s")
    assert answer(attempt) == (errno.ENOENT, "bind")


def test_a_stale_path_refuses_connections(tmp_path: Path) -> None:
    attempt = Attempt(socket.AF_UNIX, socket.SOCK_STREAM)
    attempt.connect_to = str(tmp_path / "s")
    assert answer(attempt) == (errno.ENOENT, "connect")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(attempt.connect_to)
        assert answer(attempt) == (errno.ECONNREFUSED, "connect")
        sock.listen()
        assert answer(attempt) == (0, "connect")
    attempt.connect_to = "@nobody-has-this-name"
    assert answer(attempt) == (errno.ECONNREFUSED, "connect")


def test_connect_decides_locally_and_does_not_wait() -> None:
    def body() -> Answer:
        attempt = Attempt(socket.AF_INET, socket.SOCK_STREAM)
        attempt.connect_to, attempt.connect_port = "203.0.113.7", 80
        assert answer(attempt) == (errno.ENETUNREACH, "connect")
        attempt.connect_to = "127.0.0.1"
        assert answer(attempt) == (errno.ECONNREFUSED, "connect")
        with socket.create_server(("127.0.0.1", 80)):
            assert answer(attempt) == (0, "connect")
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001")
            with socket.create_connection(("127.0.0.1", 80)), socket.create_connection(("127.0.0.1", 80)):
                return answer(attempt)

    assert here(body) == (errno.EADDRNOTAVAIL, "connect")


def test_a_name_is_no_address() -> None:
    attempt = tcp("localhost")
    with pytest.raises(OSError, match="not a numeric address"):
        prove(attempt)


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """Start a process as nobody in its own namespace, listening on 8080: (pid, inode of the namespace)."""
    with fresh_netns() as ns:
        ready, done = os.pipe()
        pid = os.fork()
        if pid == 0:
            ns.enter()
            with socket.create_server(("127.0.0.1", 8080)):
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                os.write(done, b"x")
                signal.pause()
        os.read(ready, 1)
        yield pid, ns.inode
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(done)


def test_another_namespace_is_entered_by_its_inode(server: tuple[int, int]) -> None:
    attempt = tcp()
    before = prove(attempt)
    attempt.netns = server[1]
    assert (before.errno, answer(attempt)) == (0, (errno.EADDRINUSE, "bind"))


def test_a_process_lends_its_namespace_user_and_capabilities(server: tuple[int, int]) -> None:
    attempt = tcp()
    attempt.pid = server[0]
    assert answer(attempt) == (errno.EADDRINUSE, "bind")
    attempt.port = 81
    result: ProveResult = prove(attempt)
    assert (result.errno, result.call, result.differences) == (errno.EACCES, "bind", [])
    assert result.text == "bind failed: EACCES (Permission denied)"
    assert result.tried


def test_who_may_not_enter_is_told_so(server: tuple[int, int]) -> None:
    def as_nobody() -> tuple[bool, str]:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        attempt = tcp()
        attempt.pid = os.getppid()
        result = prove(attempt)
        return result.tried, result.text

    tried, text = run_in_netns(as_nobody)
    assert not tried
    assert text.startswith("enter ")
