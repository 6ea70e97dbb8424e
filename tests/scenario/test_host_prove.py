"""The prover on the live kernel: every refusal is named by the call and the errno that a real program gets."""

import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns import fresh_netns, run_in_netns
from twinsock.host.bpf import BPF_LINK_CREATE, BPF_PROG_LOAD, pinned_address, syscall
from twinsock.host.prove import Attempt, ProveResult, prove

pytestmark = pytest.mark.root

NOBODY = 65534
CAP_NET_BIND_SERVICE = 1 << 10
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
NR_BPF = 321
BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18
BPF_CGROUP_INET4_BIND = 8
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


def test_a_port_beyond_the_last_is_refused_before_anything_is_tried() -> None:
    with pytest.raises(OSError, match="0 to 65535"):
        prove(tcp(port=65536))


@pytest.mark.parametrize("name", ["x" * 200, "a\0b", "", "\udc80"])
def test_odd_paths_and_devices_get_an_errno(name: str) -> None:
    def body() -> Answer:
        attempt = tcp()
        attempt.device = name or "%"
        assert prove(attempt).errno in (errno.ENODEV, errno.EINVAL)
        attempt = Attempt(socket.AF_UNIX, socket.SOCK_STREAM)
        attempt.connect_to = "/" + name
        return (prove(attempt).errno > 0 and 1) or 0, ""

    assert here(body) == (1, "")


def test_a_process_in_its_own_user_namespace_may_bind_a_low_port_there() -> None:
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc = ctypes.CDLL(None)
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, so that it may write its own maps
        made = libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
        if made:
            Path("/proc/self/uid_map").write_text(f"0 {NOBODY} 1")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"0 {NOBODY} 1")
        os.write(done, b"y" if made else b"n")
        signal.pause()
    try:
        if os.read(ready, 1) == b"n":
            pytest.skip("user namespaces are not to be had here")
        attempt = tcp("0.0.0.0", port=80)
        attempt.pid = pid
        result = prove(attempt)
        assert (result.errno, result.call, result.differences) == (0, "listen", [])
        attempt.uid = 1
        assert not prove(attempt).tried
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(done)


def refuse_bind_in(cgroup: Path) -> int:
    """Attach a BPF program to a cgroup which refuses every bind() of IPv4; closing the link takes it away."""
    code, _code = pinned_address(bytearray.fromhex("b700000000000000 9500000000000000"))
    licence, _licence = pinned_address(bytearray(b"GPL\0"))
    load = bytearray(struct.pack("IIQQ", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, 2, code, licence).ljust(128, b"\0"))
    struct.pack_into("I", load, 68, BPF_CGROUP_INET4_BIND)
    where, _load = pinned_address(load)
    program = syscall(NR_BPF, BPF_PROG_LOAD, where, len(load))
    if program < 0:
        pytest.skip("cgroup BPF is refused here: " + os.strerror(-program))
    folder = os.open(cgroup, os.O_RDONLY)
    where, _link = pinned_address(bytearray(struct.pack("III", program, folder, BPF_CGROUP_INET4_BIND).ljust(64, b"\0")))
    link = syscall(NR_BPF, BPF_LINK_CREATE, where, 64)
    os.close(program)
    os.close(folder)
    assert link >= 0, os.strerror(-link)
    return link


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test knows one number of bpf(2)")
def test_a_cgroup_program_refuses_for_the_processes_of_its_cgroup(server: tuple[int, int]) -> None:
    mounts = [Path(mount) for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")]
    mount = next((mount for mount in mounts if (mount / "cgroup.controllers").exists()), None)
    if mount is None:
        pytest.skip("no cgroup v2 here")
    cgroup = mount / f"twinsock-test-{os.getpid()}"
    cgroup.mkdir()
    try:
        home = Path(f"/proc/{server[0]}/cgroup").read_text().rsplit("0::", 1)[1].strip()
        (cgroup / "cgroup.procs").write_text(str(server[0]))
        link = refuse_bind_in(cgroup)
        attempt = tcp(port=8081)
        attempt.pid = server[0]
        refused = prove(attempt)
        os.close(link)
        allowed = prove(attempt)
        (mount / home.lstrip("/") / "cgroup.procs").write_text(str(server[0]))
    finally:
        cgroup.rmdir()
    assert (refused.errno, refused.call) == (errno.EPERM, "bind")
    assert (allowed.errno, allowed.call) == (0, "listen")
