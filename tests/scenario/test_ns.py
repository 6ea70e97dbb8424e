"""`twinsock ns` against namespaces that are kept in every way there is."""

import os
import shutil
import socket
import subprocess
import threading
from typing import Any

import pytest

from tests.netns import fresh_netns, run_in_netns, unshare_net
from tests.scenario.tool_kit import become_nobody, child, here, listening, tool, tool_text, write

pytestmark = [pytest.mark.root, pytest.mark.slow]


def census(*argv: str) -> dict[int, dict[str, Any]]:
    return {one["netns"]: one for one in tool("ns", *argv)["namespaces"]}


def own_inode() -> int:
    return os.stat("/proc/self/ns/net").st_ino


def test_a_new_namespace_has_no_socket_and_no_changed_sysctl() -> None:
    def body() -> None:
        (one,) = census(here()).values()
        assert (one["netns"], one["own"]) == (own_inode(), True)
        assert os.getpid() in {process["pid"] for process in one["processes"]}
        assert (one["sockets"], one["unlisted_sockets"], one["sysctls"]) == ({}, 0, [])

    run_in_netns(body)


def test_sockets_are_counted_by_protocol_and_state() -> None:
    def body() -> None:
        server = listening(5)
        client = socket.create_connection(server.getsockname())
        kept: list[object] = [server, client, socket.socketpair(), [socket.socket() for _ in range(3)]]
        datagram = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        datagram.bind(("::1", 0))
        (one,) = census(here()).values()
        assert one["sockets"] == {
            "tcp": {"LISTEN": 1, "ESTABLISHED": 1, "waiting for accept": 1},
            "udp6": {"unconnected": 1},
            "unix stream": {"connected": 2},
        }
        assert one["unlisted_sockets"] == 3
        assert len(kept) == 4

    run_in_netns(body)


def test_sysctls_that_were_changed_are_told_with_their_default() -> None:
    def body() -> None:
        write("/proc/sys/net/core/somaxconn", "7")
        write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40019")
        write("/proc/sys/net/unix/max_dgram_qlen", "3")
        (one,) = census(here()).values()
        assert one["sysctls"] == [
            {"name": "net.core.somaxconn", "value": "7", "default": "4096"},
            {"name": "net.ipv4.ip_local_port_range", "value": "40000 40019", "default": "32768 60999"},
            {"name": "net.unix.max_dgram_qlen", "value": "3", "default": "10"},
        ]

    run_in_netns(body)


def test_three_namespaces_with_processes_are_told_apart() -> None:
    def body() -> None:
        def make(port: int) -> socket.socket:
            unshare_net()
            return listening(5, address=("0.0.0.0", port))

        with child(lambda: make(81)) as first, child(lambda: [make(82), listening(5, address=("0.0.0.0", 83))]) as second:
            found = census()
            inodes = [os.stat(f"/proc/{pid}/ns/net").st_ino for pid in (first, second)]
            assert len({own_inode(), *inodes}) == 3
            for pid, inode, count in ((first, inodes[0], 1), (second, inodes[1], 2)):
                assert [process["pid"] for process in found[inode]["processes"]] == [pid]
                assert found[inode]["sockets"]["tcp"] == {"LISTEN": count}
                assert not found[inode]["own"]
            assert census(str(first)).keys() == {inodes[0]}
            assert census(str(inodes[1]), "--quick").keys() == {inodes[1]}

    run_in_netns(body)


@pytest.mark.needs("ip")
def test_a_named_namespace_without_process_is_told_with_its_name() -> None:
    name = f"twinsock-test-{os.getpid()}"
    ip = shutil.which("ip")
    assert ip is not None
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        (one,) = census(name).values()
        assert (one["names"], one["process_count"]) == ([name], 0)
        assert one["holders"] == [f"mount /run/netns/{name}"]
        assert one["netns"] in census("--processless")
        code, out, _err = tool_text("ns", name)
        assert (code, "none" in out, name in out) == (0, True, True)
    finally:
        subprocess.run([ip, "netns", "del", name], check=True)


def test_a_namespace_that_only_a_descriptor_keeps_is_found() -> None:
    with fresh_netns() as ns:
        one = census("--processless")[ns.inode]
        assert one["process_count"] == 0
        assert f"fd {ns.net_fd} of pid {os.getpid()}" in one["holders"]
        assert ns.inode not in census("--quick")


def test_a_namespace_that_only_a_socket_keeps_is_found() -> None:
    def body() -> None:
        made: list[socket.socket] = []
        inodes: list[int] = []

        def make() -> None:
            unshare_net()
            inodes.append(os.stat("/proc/thread-self/ns/net").st_ino)
            made.append(listening(5))

        worker = threading.Thread(target=make)
        worker.start()
        worker.join()
        one = census()[inodes[0]]
        assert one["holders"] == [f"socket fd {made[0].fileno()} of pid {os.getpid()}"]
        assert one["sockets"] == {"tcp": {"LISTEN": 1}}

    run_in_netns(body)


def test_nobody_sees_its_own_namespace_and_is_told_that_others_are_hidden() -> None:
    def body() -> None:
        def as_nobody() -> None:
            become_nobody()
            code, out, err = tool_text("ns")
            assert (code, err) == (3, "")
            assert "(this one)" in out
            assert "CAP_SYS_ADMIN" in out

        with child(as_nobody):
            pass

    run_in_netns(body)


def test_a_namespace_that_ends_meanwhile_is_no_error() -> None:
    def body() -> None:
        from twinsock.inspect import gather_ns

        real = gather_ns.take_census
        pids: list[int] = []

        def end_it_first(port: Any, netns: int = 0) -> Any:
            if netns and pids:
                pid = pids.pop()
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            return real(port, netns)

        gather_ns.take_census = end_it_first  # type: ignore[assignment]
        pid = os.fork()
        if pid == 0:
            unshare_net()
            threading.Event().wait(20)
        while os.stat(f"/proc/{pid}/ns/net").st_ino == own_inode():
            os.sched_yield()
        pids.append(pid)
        code, out, err = tool_text("ns", "--quick")
        assert (code, err) == (0, "")
        assert "(this one)" in out

    run_in_netns(body)


@pytest.mark.parametrize("argv", [["nowhere"], ["0"], ["--bogus"], ["--watch=soon"], ["--quick=1"]])
def test_bad_input_gives_one_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = tool_text("ns", *argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
