"""`twinsock count` against sockets of every kind: nothing is left over in a namespace of one's own."""

import contextlib
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.netns import run_in_netns
from tests.scenario.tool_kit import LOOPBACK, become_nobody, child, connecting, drain_loopback, here, listening, tool, tool_text, until

pytestmark = [pytest.mark.root, pytest.mark.slow]
IPPROTO_MPTCP = 262
Fields = dict[str, dict[str, Any]]


def count(netns: str) -> Fields:
    """Run the command for a namespace: name of a counter -> what is said about it."""
    answer = tool("count", "--netns", netns)
    (space,) = answer["namespaces"]
    return {field["name"]: field for field in space["fields"]} | {"ghosts": space["ghosts"], "holders": space["unlisted_holders"]}


def count_until(settled: Callable[[Fields], bool], netns: str = "") -> Fields:
    """Count until what is found is settled and explained; after ten seconds, give what was counted last.

    The netlink socket of an earlier count stays in "used" for an RCU grace period, which has no limit on a busy machine.
    """
    looks: list[Fields] = []

    def look() -> bool:
        looks.append(count(netns or here()))
        return settled(looks[-1])

    until(look)
    return looks[-1]


def count_settled(used: dict[str, int], netns: str = "") -> Fields:
    """Count until "sockets used" has these parts and all is explained."""
    return count_until(lambda fields: parts(fields["sockets used"]) == used and all_explained(fields), netns)


def parts(field: dict[str, Any]) -> dict[str, int]:
    return {part["kind"]: part["count"] for part in field["parts"]}


def all_explained(fields: Fields) -> bool:
    return all(not field["unaccounted"] for name, field in fields.items() if name not in ("ghosts", "holders"))


def test_an_empty_namespace_counts_nothing() -> None:
    def body() -> None:
        fields = count_settled({"self": 1})
        assert parts(fields["sockets used"]) == {"self": 1}
        assert fields["sockets used"]["value"] == 1
        assert all_explained(fields)
        assert {"TCP inuse", "TCP tw", "UDP6 inuse", "FRAG memory"} <= set(fields)

    run_in_netns(body)


def test_every_state_of_tcp_is_told_apart() -> None:
    def body() -> None:
        kept: list[socket.socket] = [socket.socket() for _ in range(7)]  # never bound
        bound = socket.socket()
        bound.bind((LOOPBACK, 0))
        server = listening(8)
        kept += connecting(server, 3)
        accepted = [server.accept()[0] for _ in range(2)]  # one stays in the queue
        accepted[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted[0].close()  # its client is dead now
        accepted[1].close()  # FIN_WAIT2, a small socket
        reset = connecting(server, 1)[0]
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()  # dies in the accept queue
        drain_loopback()
        expected = {
            "tcp-listening": 1,
            "tcp-connected": 2,
            "tcp-accept-queue": 1,
            "tcp-accept-queue-dead": 1,
            "tcp-bound": 1,
            "tcp-unbound": 7,
            "tcp-dead": 1,
            "self": 1,
        }
        fields = count_settled(expected)
        assert all_explained(fields), fields
        assert parts(fields["sockets used"]) == expected
        assert fields["sockets used"]["value"] == 15
        assert parts(fields["TCP tw"]) == {"fin-wait-2": 1}
        assert parts(fields["TCP inuse"]) == {"listening": 1, "connected": 2, "accept-queue": 1}
        assert len(kept) == 10

    run_in_netns(body)


def test_every_family_and_protocol_is_told_apart() -> None:
    def body() -> None:
        kept: list[object] = [socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]
        for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
            for kind, protocol in ((socket.SOCK_DGRAM, 0), (socket.SOCK_DGRAM, 136)):
                sock = socket.socket(family, kind, protocol)
                sock.bind((address, 0))
                kept += [sock, socket.socket(family, kind, protocol)]
            kept.append(socket.socket(family, socket.SOCK_RAW, 255))
            kept.append(listening(3) if family == socket.AF_INET else socket.create_server((address, 0), family=family))
        kept.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        netlink.bind((0, 0))
        kept += [netlink, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)]
        expected = dict.fromkeys(
            ("unix-stream", "unix-other", "udp", "udp-unbound", "udplite", "udplite-unbound", "raw", "tcp-listening"), 2
        )
        expected |= dict.fromkeys(("packet", "netlink-unbound", "netlink", "self"), 1)
        fields = count_settled(expected)
        assert all_explained(fields), fields
        used = parts(fields["sockets used"])
        assert used == expected
        for name in ("UDP inuse", "UDP6 inuse", "UDPLITE inuse", "RAW inuse", "RAW6 inuse", "TCP inuse", "TCP6 inuse"):
            assert fields[name]["value"] == 1

    run_in_netns(body)


def test_mptcp_sockets_are_counted_with_the_tcp_sockets_below_them() -> None:
    def body() -> None:
        try:
            server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        except OSError as error:
            pytest.skip(f"no MPTCP here: {error.strerror}")
        server.bind((LOOPBACK, 0))
        server.listen()
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        client.connect(server.getsockname())
        accepted, _peer = server.accept()
        fresh = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        bound.bind((LOOPBACK, 0))
        fields = count_until(all_explained)
        assert all_explained(fields), fields
        used = parts(fields["sockets used"])
        assert (used["mptcp"], used["mptcp-unbound"], used["mptcp-bound"], used["tcp-bound"]) == (3, 1, 1, 1)
        for sock in (server, client, accepted, fresh, bound):
            sock.close()

    run_in_netns(body)


def test_a_thousand_sockets_that_were_never_bound_are_found_with_their_process() -> None:
    def body() -> None:
        kept = [socket.socket() for _ in range(1000)]
        fields = count_settled({"tcp-unbound": 1000, "self": 1})
        assert parts(fields["sockets used"]) == {"tcp-unbound": 1000, "self": 1}
        assert all_explained(fields)
        assert fields["holders"] == [{"pid": os.getpid(), "comm": fields["holders"][0]["comm"], "count": 1000}]
        alloc = tool("count")["global"][1]  # of all namespaces
        assert alloc["name"] == "TCP alloc"
        assert alloc["value"] >= sum([part["count"] for part in alloc["parts"] if part["kind"] == "unbound"]) >= 1000
        assert len(kept) == 1000

    run_in_netns(body)


def test_a_ghost_in_a_message_is_counted_and_named() -> None:
    def body() -> None:
        sock = listening(5)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(ours, [b"x"], [sock.fileno()])
            sock.close()
            fields = count_until(all_explained)
            assert all_explained(fields)
            assert fields["ghosts"] == {"in flight": 1}

    run_in_netns(body)


def test_an_unbound_socket_in_a_message_is_left_over_with_a_hint() -> None:
    def body() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            sock = socket.socket()
            socket.send_fds(ours, [b"x"], [sock.fileno()])
            sock.close()
            hint = "SCM_RIGHTS"

            def settled(fields: dict[str, dict[str, Any]]) -> bool:
                used = fields["sockets used"]
                return used["unaccounted"] == 1 and hint in used["hints"][0]  # not "it changed while the sockets were counted"

            field = count_until(settled)["sockets used"]
            assert field["unaccounted"] == 1
            assert hint in field["hints"][0]

    run_in_netns(body)


def test_a_tunnels_own_socket_is_in_no_used() -> None:
    def body() -> None:
        for command in ("ip link add vx type vxlan id 1 dev lo dstport 4789", "ip link set vx up"):
            made = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip("no vxlan device here: " + made.stderr.strip())
        fields = count_until(lambda fields: fields["UDP inuse"]["value"] == 1 and all_explained(fields))
        assert fields["UDP inuse"]["value"] == 1
        assert fields["ghosts"] == {"kernel": 1}
        assert all_explained(fields), fields

    run_in_netns(body)


def test_time_wait_counts_only_as_such() -> None:
    def body() -> None:
        server = listening(5)
        for _ in range(4):
            client = socket.create_connection(server.getsockname())
            served = server.accept()[0]
            client.close()
            served.recv(1)
            served.close()
        drain_loopback()
        fields = count_settled({"tcp-listening": 1, "self": 1})
        assert parts(fields["TCP tw"]) == {"time-wait": 4}
        assert parts(fields["sockets used"]) == {"tcp-listening": 1, "self": 1}
        assert all_explained(fields)

    run_in_netns(body)


def test_nobody_is_told_whose_sockets_are_hidden() -> None:
    def body() -> None:
        kept = [socket.socket() for _ in range(3)]

        def as_nobody() -> None:
            for sock in kept:
                sock.close()
            become_nobody()
            field = count_until(lambda fields: fields["sockets used"]["unaccounted"] == 3)["sockets used"]
            assert (tool("count")["exit_code"], field["unaccounted"]) == (3, 3)
            assert "CAP_SYS_PTRACE" in field["hints"][0]

        with child(as_nobody):
            assert len(kept) == 3

    run_in_netns(body)


def test_two_namespaces_are_counted_apart() -> None:
    def body() -> None:
        kept = [socket.socket() for _ in range(3)]
        own = count_settled({"tcp-unbound": 3, "self": 1})
        assert own["sockets used"]["value"] == 4

        def other() -> socket.socket:
            from tests.netns import unshare_net

            unshare_net()
            return socket.socket()

        with child(other) as pid:
            used = count_settled({"tcp-unbound": 1, "self": 1}, str(pid))["sockets used"]
            assert (used["value"], used["unaccounted"]) == (2, 0)
        assert len(kept) == 3

    run_in_netns(body)


@pytest.mark.parametrize("argv", [["8080"], ["--bogus"], ["--netns", "nowhere"], ["--watch=soon"], ["--all-netns", "--netns", "1"]])
def test_bad_input_gives_one_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = tool_text("count", *argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


def test_the_text_names_parts_and_the_whole_machine() -> None:
    def body() -> None:
        with contextlib.closing(listening(3)):
            count_settled({"tcp-listening": 1, "self": 1})
            looks: list[tuple[int, str, str]] = []

            def look() -> bool:
                looks.append(tool_text("count", "--netns", here()))
                return "sockets: used 2" in looks[-1][1]

            until(look)
        code, out, err = looks[-1]
        assert err == ""
        assert code in (0, 1)
        assert "sockets: used 2" in out
        assert "TCP listening" in out
        assert "the whole machine" in out

    run_in_netns(body)
