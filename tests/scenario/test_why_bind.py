"""`why` on the live kernel: each common cause of a refused bind() made for real, and the prediction proven by trying it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.netns import fresh_netns, run_in_netns, unshare_net
from tests.scenario.why_kit import LOOPBACK, actions, bound, listener, outcome, port_of, reset, time_wait, why

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]

REUSEADDR = socket.SO_REUSEADDR
REUSEPORT = socket.SO_REUSEPORT
NOBODY = 65534


def test_a_listener_is_named_with_its_process_and_no_option_helps(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080, REUSEADDR)
        for address in ("8080", "127.0.0.1:8080", "tcp://[::]:8080"):
            answer = why(address, "--reuseaddr")
            assert (answer["result"], answer["errno"], answer["call"], answer["rule"]) == ("fails", "EADDRINUSE", "bind", "listener")
            (blocker,) = answer["blockers"]
            assert blocker["state"] == "LISTEN"
            assert blocker["rule"] == "owner-listens"
            assert [(holder["pid"], holder["fd"]) for holder in blocker["holders"]] == [(os.getpid(), server.fileno())]
            assert f"kill {os.getpid()}" in actions(answer)
            assert "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)" not in actions(answer)
        answer = why("8080")
        assert answer["kernel_path"][0] == "__sys_bind"
        assert answer["kernel_path"][-2:] == ["inet_csk_get_port", "inet_csk_bind_conflict"]
        assert {row["result"] for row in answer["variants"]} == {"fails"}
        assert answer["next_free"] == [8081, 8082, 8083]

    in_netns(program)


def test_a_socket_that_is_bound_and_does_not_listen_is_found(in_netns: Runner) -> None:
    def program() -> None:
        sock = bound("127.0.0.1", 8080)
        answer = why("8080")
        assert answer["rule"] == "bound"
        (blocker,) = answer["blockers"]
        assert (blocker["state"], blocker["rule"]) == ("BOUND", "no-shared-flag")
        assert blocker["holders"][0]["fd"] == sock.fileno()
        assert why("127.0.0.2:8080")["result"] == "ok"

    in_netns(program)


def test_time_wait_of_a_socket_without_the_flag_refuses_even_reuseaddr(in_netns: Runner) -> None:
    def program() -> None:
        port = str(time_wait())
        for options in ([], ["--reuseaddr"], ["--reuseport"]):
            answer = why(port, *options)
            assert (answer["result"], answer["rule"]) == ("fails", "time-wait")
            (blocker,) = answer["blockers"]
            assert (blocker["state"], blocker["reuseaddr"], blocker["holders"]) == ("TIME_WAIT", False, [])
            assert 50_000 < blocker["lasts_ms"] <= 60_000
        assert actions(answer)[0].startswith("twinsock why ") and actions(answer)[0].endswith("--wait")
        assert f"ss -K state time-wait sport = :{port}" in actions(answer)
        assert any("does not help this time" in remedy["text"] for remedy in answer["remedies"])

    in_netns(program)


def test_time_wait_of_a_socket_with_the_flag_is_passed_by_reuseaddr(in_netns: Runner) -> None:
    def program() -> None:
        port = str(time_wait(REUSEADDR))
        answer = why(port)
        assert answer["rule"] == "time-wait"
        assert actions(answer)[0] == "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"
        assert outcome(answer, "SO_REUSEADDR") == "ok"
        assert outcome(answer, "SO_REUSEPORT") == "EADDRINUSE at bind"
        assert why(port, "--reuseaddr")["result"] == "ok"

    in_netns(program)


def test_a_clients_automatic_port_is_recognised_and_reserving_it_is_offered(in_netns: Runner) -> None:
    def program() -> None:
        server = listener(LOOPBACK)
        client = socket.create_connection((LOOPBACK, port_of(server)))
        answer = why(str(port_of(client)))
        assert answer["rule"] == "outgoing-connection"
        (blocker,) = answer["blockers"]
        assert blocker["state"] == "ESTABLISHED"
        assert blocker["remote"] == f"127.0.0.1:{port_of(server)}"
        assert f"sysctl -w net.ipv4.ip_local_reserved_ports={port_of(client)}" in actions(answer)
        assert why(f"127.0.0.2:{port_of(client)}")["result"] == "ok"

    in_netns(program)


def test_a_dual_stack_listener_stands_in_the_way_of_ipv4(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("::", 8080, family=socket.AF_INET6, v6only=0)
        answer = why("127.0.0.1:8080")
        assert answer["rule"] == "listener"
        assert "every IPv4 address" in answer["blockers"][0]["why"]
        assert (answer["blockers"][0]["local"], port_of(server)) == ("[::]:8080", 8080)

    in_netns(program)


def test_an_ipv6_only_listener_leaves_ipv4_free_and_v6only_is_offered(in_netns: Runner) -> None:
    def program() -> None:
        six = listener("::", 8080, family=socket.AF_INET6, v6only=1)
        assert why("8080")["result"] == "ok"
        four = listener("0.0.0.0", 9090)
        answer = why("tcp://[::]:9090")
        assert answer["rule"] == "listener"
        assert actions(answer)[0] == "setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)"
        assert outcome(answer, "IPV6_V6ONLY") == "ok"
        assert why("tcp://[::]:9090", "--v6only")["result"] == "ok"
        assert six.fileno() != four.fileno()

    in_netns(program)


def test_reuseport_of_another_user_is_told_from_that_of_the_same_user(in_netns: Runner) -> None:
    def program() -> None:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, REUSEPORT, 1)
        os.fchown(server.fileno(), NOBODY, -1)
        server.bind(("0.0.0.0", 8080))
        server.listen()
        answer = why("8080", "--reuseport")
        assert answer["rule"] == "reuseport-other-user"
        assert (answer["blockers"][0]["uid"], answer["blockers"][0]["rule"]) == (NOBODY, "other-user")
        assert f"run it as uid {NOBODY}" in actions(answer)
        assert why("8080", "--reuseport", "--uid", str(NOBODY))["result"] == "ok"
        mine = listener("0.0.0.0", 9090, REUSEPORT)
        assert why("9090", "--reuseport")["result"] == "ok"
        assert port_of(mine) == 9090

    in_netns(program)


def test_a_socket_tied_to_an_interface_refuses_one_without_and_passes_another_interface(in_netns: Runner) -> None:
    def program() -> None:
        subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"], check=True)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        sock.bind(("0.0.0.0", 8080))
        answer = why("8080")
        assert (answer["rule"], answer["blockers"][0]["device"]) == ("bound", "lo")
        assert "SO_BINDTODEVICE" in answer["blockers"][0]["why"]
        assert why("8080", "--device", "lo")["result"] == "fails"
        assert why("8080", "--device", "veth0")["result"] == "ok"
        answer = why("8080", "--device", "nope0")
        assert (answer["errno"], answer["call"], answer["rule"]) == ("ENODEV", "setsockopt", "no-device")

    in_netns(program)


def test_a_listener_in_another_namespace_is_no_conflict_and_is_named() -> None:
    with fresh_netns() as there, fresh_netns() as here:
        command = [sys.executable, "-Sc", "import socket,time;s=socket.create_server(('',8080));print('up',flush=True);time.sleep(600)"]
        server = subprocess.Popen(command, preexec_fn=there.enter, stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"up\n"

            def ask() -> Any:
                return why("8080")

            answer = here.run(ask)
            assert answer["result"] == "ok"
            assert any(str(there.inode) in line and f"pid {server.pid}" in line for line in answer["elsewhere"])
            answer = here.run(lambda: why("8080", "--netns", str(there.inode)))
            assert answer["rule"] == "listener"
            assert answer["blockers"][0]["holders"][0]["pid"] == server.pid
            answer = here.run(lambda: why("8080", "--netns", str(server.pid)))
            assert answer["result"] == "fails"
            answer = here.run(lambda: why("8080", "--pid", str(server.pid)))
            assert answer["result"] == "fails"
        finally:
            server.kill()
            server.communicate()


def test_a_privileged_port_is_refused_to_an_ordinary_user(in_netns: Runner) -> None:
    def program() -> None:
        answer = why("80", "--uid", str(NOBODY))
        assert (answer["errno"], answer["rule"]) == ("EACCES", "privileged-port")
        assert "sysctl -w net.ipv4.ip_unprivileged_port_start=80" in actions(answer)
        assert why("80")["result"] == "ok"
        assert why("tcp://[::1]:80", "--uid", str(NOBODY))["errno"] == "EACCES"
        assert why("1024", "--uid", str(NOBODY))["result"] == "ok"

    in_netns(program)


def test_an_address_that_is_not_local_is_refused_and_freebind_offered(in_netns: Runner) -> None:
    def program() -> None:
        for address in ("192.0.2.1:80", "[2001:db8::1]:80"):
            answer = why(address)
            assert (answer["errno"], answer["rule"]) == ("EADDRNOTAVAIL", "not-local")
            assert any("FREEBIND" in action for action in actions(answer))
            assert why(address, "--freebind")["result"] == "ok"
        assert why("127.9.9.9:80")["result"] == "ok"
        assert why("tcp://[::1]:80")["result"] == "ok"
        assert why("udp://224.0.0.1:80")["result"] == "ok"

    in_netns(program)


def test_without_loopback_its_addresses_are_not_local(in_netns: Runner) -> None:
    def program() -> None:
        subprocess.run(["ip", "addr", "flush", "dev", "lo"], check=True)
        for address in ("127.0.0.1:8080", "[::1]:8080"):
            answer = why(address)
            assert (answer["errno"], answer["rule"]) == ("EADDRNOTAVAIL", "no-loopback")
            assert actions(answer)[0] == "ip link set lo up"

    in_netns(program)


def test_before_the_first_address_of_a_namespace_every_ipv4_address_can_be_bound() -> None:
    def program() -> None:
        unshare_net()
        assert why("127.0.0.1:8080")["result"] == "ok"
        assert why("192.0.2.1:8080")["result"] == "ok"
        assert why("[::1]:8080")["rule"] == "no-loopback"

    run_in_netns(program)


def test_ip_transparent_is_refused_to_an_ordinary_user(in_netns: Runner) -> None:
    def program() -> None:
        answer = why("192.0.2.1:8080", "--transparent", "--uid", str(NOBODY))
        assert (answer["errno"], answer["call"]) == ("EPERM", "setsockopt")
        assert why("192.0.2.1:8080", "--transparent")["result"] == "ok"

    in_netns(program)


def test_udp_sockets_share_a_port_only_with_a_common_flag(in_netns: Runner) -> None:
    def program() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, REUSEADDR, 1)
            sock.bind(("0.0.0.0", 5353))
            answer = why("udp://0.0.0.0:5353")
            assert (answer["rule"], answer["errno"]) == ("bound", "EADDRINUSE")
            assert actions(answer)[0] == "setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)"
            assert why("5353/udp", "--reuseaddr")["result"] == "ok"
            assert why("5353/udp", "--reuseport")["result"] == "fails"
        assert why("5353/udp")["result"] == "ok"

    in_netns(program)


def test_an_ipv6_connection_of_a_dual_stack_server_refuses_the_ipv4_wildcard(in_netns: Runner) -> None:
    def program() -> None:
        for v6only, result in ((0, "fails"), (1, "ok")):
            server = listener("::", 8080, family=socket.AF_INET6, v6only=v6only)
            client = socket.create_connection(("::1", 8080))
            child, _peer = server.accept()
            server.close()
            answer = why("8080")
            assert answer["result"] == result
            if result == "fails":
                assert "127.0.0.6" in answer["blockers"][0]["why"]
            assert why("127.0.0.1:8080")["result"] == "ok"
            reset(child)
            client.close()

    in_netns(program)
