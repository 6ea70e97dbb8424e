"""`why` on the live kernel: the causes that are hard to see, each made for real; verdict, who is in the way, rule."""

import ast
import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns import fresh_netns
from tests.scenario.test_host_owners import ring_with
from tests.scenario.why_kit import LOOPBACK, actions, bound, listener, outcome, port_of, time_wait, why, why_text

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]

REUSEADDR = socket.SO_REUSEADDR
REUSEPORT = socket.SO_REUSEPORT
IPPROTO_MPTCP = 262
NOBODY = 65534
CLONE_NEWNET = 0x40000000


def setns(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


@contextlib.contextmanager
def child_with(prepare: Callable[[], object]) -> Iterator[int]:
    """Fork a child that prepares something and keeps it until the end of the block; gives its pid."""
    ready, ready_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kept = prepare()
            os.write(ready_writer, b"x")
            signal.pause()
            del kept
        finally:
            os._exit(1)
    os.close(ready_writer)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def as_nobody(function: Callable[[], object]) -> Any:
    """Call a function as an ordinary user; its result has to be a literal."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become_nobody()
            os.write(writer, repr(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return ast.literal_eval(text)


def test_a_second_listen_is_refused_and_the_question_with_pid_says_so(in_netns: Runner) -> None:
    def program() -> None:
        first = bound("0.0.0.0", 8080, REUSEADDR)

        def second() -> socket.socket:
            first.close()
            return bound("127.0.0.1", 8080, REUSEADDR)

        with child_with(second) as pid:
            answer = why("8080", "--reuseaddr", "--pid", str(pid))
            assert answer["result"] == "ok"
            assert any("listen() on that one succeeds" in note for note in answer["notes"])
            first.listen()
            answer = why("8080", "--pid", str(pid), prove=False)
            assert (answer["result"], answer["call"], answer["errno"]) == ("fails", "listen", "EADDRINUSE")
            assert (answer["rule"], answer["question"]["own_fd"] >= 0) == ("second-listen", True)
            assert "has bound 127.0.0.1:8080 already" in answer["sentence"]
            assert answer["kernel_path"][0] == "__sys_listen"
            (blocker,) = answer["blockers"]
            assert (blocker["state"], blocker["holders"][0]["pid"]) == ("LISTEN", os.getpid())
            assert f"kill {os.getpid()}" in actions(answer)
            answer = why("8080", "--reuseaddr")
            assert (answer["call"], answer["rule"]) == ("bind", "listener")
            assert any(f"--pid {pid}" in note for note in answer["notes"])
            again = why("8080", "--pid", str(pid), "--bind-only")
            assert (again["call"], again["question"]["own_fd"]) == ("bind", None)

    in_netns(program)


def test_a_listener_that_only_an_io_uring_holds_is_a_ghost(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("0.0.0.0", 8080)
        ring = ring_with([server.fileno()])
        server.close()
        answer = why("8080")
        (blocker,) = answer["blockers"]
        assert (answer["rule"], blocker["holders"]) == ("listener", [])
        assert (blocker["ghost"]["kind"], blocker["ghost"]["pid"]) == ("io_uring", os.getpid())
        assert f"kill {os.getpid()}" in actions(answer)
        os.close(ring)

    in_netns(program)


def test_an_mptcp_listener_is_named_as_one_and_mptcp_can_be_asked_about(in_netns: Runner) -> None:
    def program() -> None:
        try:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        except OSError as error:
            pytest.skip(f"no MPTCP here: {error}")
        assert why("mptcp://0.0.0.0:8080")["result"] == "ok"
        server.bind(("0.0.0.0", 8080))
        assert why("8080")["rule"] == "bound"
        server.listen()
        for target in ("8080", "mptcp://0.0.0.0:8080", "mptcp://[::]:8080"):
            answer = why(target)
            assert answer["rule"] == "listener"
            (blocker,) = answer["blockers"]
            assert any("MPTCP" in fact for fact in blocker["facts"])
            assert [(holder["pid"], holder["fd"]) for holder in blocker["holders"]] == [(os.getpid(), server.fileno())]

    in_netns(program)


def test_a_tentative_ipv6_address_cannot_be_bound_yet(in_netns: Runner) -> None:
    def program() -> None:
        subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"], check=True)
        for name in ("veth0", "veth1"):
            with open(f"/proc/sys/net/ipv6/conf/{name}/dad_transmits", "w") as file:
                file.write("1000")
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        subprocess.run(["ip", "addr", "add", "2001:db8::1/64", "dev", "veth0"], check=True)
        answer = why("[2001:db8::1]:8080")
        assert (answer["errno"], answer["rule"]) == ("EADDRNOTAVAIL", "tentative-address")
        assert "veth0" in answer["sentence"]
        subprocess.run(["ip", "addr", "add", "2001:db8::2/64", "dev", "veth0", "nodad"], check=True)
        assert why("[2001:db8::2]:8080")["result"] == "ok"

    in_netns(program)


def test_a_udp_port_of_a_tunnel_belongs_to_the_kernel(in_netns: Runner) -> None:
    def program() -> None:
        for command in ("ip link add vx type vxlan id 1 dev lo dstport 4789", "ip link set vx up"):
            made = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip("no vxlan device here: " + made.stderr.strip())
        answer = why("udp://0.0.0.0:4789")
        assert answer["result"] == "fails"
        assert answer["blockers"][0]["ghost"]["kind"] == "kernel"
        assert not any(action.startswith("kill ") for action in actions(answer))

    in_netns(program)


def test_a_member_of_another_user_keeps_a_group_closed(in_netns: Runner) -> None:
    def program() -> None:
        kept = [listener("0.0.0.0", 8080, REUSEPORT), listener("127.0.0.2", 8080, REUSEPORT)]
        stranger = socket.socket()
        stranger.setsockopt(socket.SOL_SOCKET, REUSEPORT, 1)
        os.fchown(stranger.fileno(), NOBODY, -1)
        stranger.bind(("127.0.0.3", 9090))
        stranger.listen()
        assert why("8080", "--reuseport")["result"] == "ok"
        assert why("8080", "--reuseport", "--uid", str(NOBODY))["rule"] == "reuseport-other-user"
        answer = why("127.0.0.3:9090", "--reuseport")
        assert (answer["rule"], answer["blockers"][0]["uid"]) == ("reuseport-other-user", NOBODY)
        assert why("127.0.0.4:9090", "--reuseport")["result"] == "ok"
        assert len(kept) == 2

    in_netns(program)


def test_several_sockets_in_the_way_are_all_named_and_have_to_go_together(in_netns: Runner) -> None:
    def program() -> None:
        with child_with(lambda: listener("127.0.0.1", 8080)) as one, child_with(lambda: bound("127.0.0.2", 8080)) as two:
            answer = why("8080")
            assert answer["result"] == "fails"
            assert {holder["pid"] for blocker in answer["blockers"] for holder in blocker["holders"]} == {one, two}
            assert "1 more is in the way" in answer["sentence"]
            (together,) = [action for action in actions(answer) if action.startswith("kill ")]
            assert sorted(together.split(" && ")) == sorted([f"kill {one}", f"kill {two}"])

    in_netns(program)


def test_time_wait_and_a_new_listener_on_another_address_are_both_in_the_way(in_netns: Runner) -> None:
    def program() -> None:
        port = time_wait()
        server = listener("127.0.0.9", port, REUSEADDR)
        answer = why(str(port), "--reuseaddr")
        assert sorted(blocker["state"] for blocker in answer["blockers"]) == ["LISTEN", "TIME_WAIT"]
        assert not any("--wait" in action for action in actions(answer))
        assert port_of(server) == port

    in_netns(program)


def test_sockets_of_a_vrf_are_apart_from_those_without(in_netns: Runner) -> None:
    def program() -> None:
        made = subprocess.run(["ip", "link", "add", "red", "type", "vrf", "table", "10"], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip("no VRF here: " + made.stderr.strip())
        subprocess.run(["ip", "link", "set", "red", "up"], check=True)
        inside = socket.socket()
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"red")
        inside.bind(("0.0.0.0", 8080))
        inside.listen()
        assert why("8080")["result"] == "ok"
        answer = why("8080", "--device", "red")
        assert (answer["rule"], answer["blockers"][0]["device"]) == ("listener", "red")
        outside = listener("0.0.0.0", 9090)
        assert why("9090", "--device", "red")["result"] == "ok"
        assert port_of(outside) == 9090

    in_netns(program)


def test_udp_wildcard_and_one_address_and_the_two_families_exclude_each_other(in_netns: Runner) -> None:
    def program() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            four.bind((LOOPBACK, 5353))
            assert why("udp://0.0.0.0:5353")["rule"] == "bound"
            assert why("udp://127.0.0.2:5353")["result"] == "ok"
            assert why("udp://[::]:5353")["rule"] == "bound"
            answer = why("udp://[::]:5353", "--v6only")
            assert answer["result"] == "ok"
            six.bind(("::", 5454))
            answer = why("udp://0.0.0.0:5454")
            assert answer["rule"] == "bound" and outcome(answer, "SO_REUSEADDR").startswith("EADDRINUSE")

    in_netns(program)


def test_a_socket_of_pid_one_of_a_container_is_not_taken_for_a_socket_unit() -> None:
    code = (
        "import socket,os,sys,subprocess;s=socket.create_server(('0.0.0.0',8080));sys.path.insert(0,sys.argv[1]);"
        "from twinsock.ui.cli import dispatch;dispatch(['why','8080','--json'])"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + "/src"
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert '"pid": 1,' in done.stdout
    assert '"kill 1"' in done.stdout
    assert "systemctl" not in done.stdout


def test_a_process_whose_namespace_is_hidden_is_not_answered_for_another(in_netns: Runner) -> None:
    def program() -> None:
        with fresh_netns() as there, child_with(there.enter) as pid:
            code, out, err = as_nobody(lambda: why_text("8080", "--pid", str(pid)))
            assert (code, out) == (3, "")
            assert "CAP_SYS_" in err and len(err.splitlines()) == 1

    in_netns(program)


def test_a_socket_call_beyond_the_limit_is_foreseen_for_the_caller_too(in_netns: Runner) -> None:
    def program() -> None:
        with child_with(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))) as pid:
            answer = why("udp://127.0.0.1:53", "--pid", str(pid), prove=False)
            assert (answer["call"], answer["errno"], answer["rule"]) == ("socket", "EMFILE", "descriptor-limit")

    in_netns(program)


def test_a_namespace_that_only_has_a_name_is_named_as_the_place_of_a_listener(in_netns: Runner) -> None:
    name = f"twinsock-test-{os.getpid()}"

    def program() -> None:
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        setns(there)
        server = listener("0.0.0.0", 8080)
        setns(own)
        answer = why("8080")
        assert answer["result"] == "ok"
        assert any(f"({name})" in line and f"pid {os.getpid()}" in line for line in answer["elsewhere"])
        answer = why("8080", "--netns", name)
        assert answer["blockers"][0]["holders"][0]["fd"] == server.fileno()

    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        in_netns(program)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
