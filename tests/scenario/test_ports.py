"""`twinsock ports` against ranges that are really exhausted: what it says is left is what the kernel still gives."""

import errno
import socket
from typing import Any

import pytest

from tests.netns import run_in_netns
from tests.scenario.tool_kit import LOOPBACK, become_nobody, child, here, listening, tool, tool_text, until, write

pytestmark = [pytest.mark.root, pytest.mark.slow]
RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVED = "/proc/sys/net/ipv4/ip_local_reserved_ports"
SERVER = (LOOPBACK, 7000)


def ports(*argv: str) -> dict[str, Any]:
    answer = tool("ports", "--netns", here(), *argv)
    (space,) = answer["namespaces"]
    space["exit_code"] = answer["exit_code"]
    return dict(space)


def left_for(address: str, port: int) -> int:
    (one,) = ports("--to", f"{address}:{port}")["destinations"]
    return int(one["left"])


def connect_until_refused(address: tuple[str, int], kept: list[socket.socket]) -> tuple[int, int]:
    """Connect until no port is left: how many were made, and the errno."""
    made = 0
    while True:
        sock = socket.socket()
        kept.append(sock)
        try:
            sock.connect(address)
        except OSError as error:
            return made, error.errno or 0
        made += 1


def bind_until_refused(kind: int, kept: list[socket.socket]) -> tuple[int, int]:
    made = 0
    while True:
        sock = socket.socket(socket.AF_INET, kind)
        kept.append(sock)
        try:
            sock.bind(("0.0.0.0", 0))
        except OSError as error:
            return made, error.errno or 0
        made += 1


def test_connections_to_one_destination_are_counted_down_to_eaddrnotavail() -> None:
    def body() -> None:
        write(RANGE, "40000 40019")
        write(RESERVED, "40003,40010-40011")
        server, other = listening(64, address=SERVER), listening(64, address=(LOOPBACK, 7001))
        kept = [listening(5, address=(LOOPBACK, 40006)), socket.socket()]
        kept[1].bind(("127.0.0.9", 40009))
        first = socket.create_connection(SERVER)
        space = ports()
        assert (space["range"], space["size"], space["reserved"]) == ([40000, 40019], 20, 3)
        assert space["tcp"] == {"listening": 1, "bound_only": 1, "connections_of_bound": 0, "connect_chosen": 1}
        predicted = left_for(*SERVER)
        assert predicted == 20 - 3 - 2 - 1
        assert left_for(LOOPBACK, 7001) == predicted + 1
        assert connect_until_refused(SERVER, kept) == (predicted, errno.EADDRNOTAVAIL)
        space = ports()
        assert space["exit_code"] == 1
        (one,) = space["destinations"]
        assert (one["address"], one["port"], one["source"], one["used"], one["left"]) == (*SERVER, LOOPBACK, 15, 0)
        assert one["errno"] == "EADDRNOTAVAIL"
        assert space["findings"][0]["rule"] == "destination-exhausted"
        assert left_for(LOOPBACK, 7001) == connect_until_refused((LOOPBACK, 7001), kept)[0] == 15
        for sock in (server, other, first):
            sock.close()

    run_in_netns(body)


def test_bind_with_port_0_is_counted_down_to_eaddrinuse() -> None:
    def body() -> None:
        write(RANGE, "40000 40019")
        write(RESERVED, "40003")
        server = listening(64, address=SERVER)
        kept: list[socket.socket] = [server]
        for _ in range(4):
            client = socket.socket()
            client.connect(SERVER)
            kept.append(client)
        predicted = ports()["bind"]["left"]
        assert predicted == 20 - 1 - 4
        assert bind_until_refused(socket.SOCK_STREAM, kept) == (predicted, errno.EADDRINUSE)
        space = ports()
        assert (space["bind"]["left"], space["exit_code"]) == (0, 1)
        assert "bind-exhausted" in {finding["rule"] for finding in space["findings"]}

    run_in_netns(body)


def test_udp_is_counted_down_to_eagain() -> None:
    def body() -> None:
        write(RANGE, "40000 40009")
        kept = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
        kept[0].bind((LOOPBACK, 40004))
        predicted = ports()["udp"]["left"]
        assert predicted == 9
        assert bind_until_refused(socket.SOCK_DGRAM, kept) == (predicted, errno.EADDRINUSE)
        space = ports()
        assert (space["udp"]["used"], space["udp"]["left"]) == (10, 0)
        assert "udp-exhausted" in {finding["rule"] for finding in space["findings"]}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(BlockingIOError):
            sock.connect((LOOPBACK, 9))
        assert len(kept) == 11

    run_in_netns(body)


def test_a_range_of_three_never_gives_its_last_port() -> None:
    def body() -> None:
        write(RANGE, "40000 40002")
        kept = [listening(64, address=SERVER)]
        assert ports()["odd_sized"]
        predicted, bindable = left_for(*SERVER), ports()["bind"]["left"]
        assert predicted == bindable == 2
        assert connect_until_refused(SERVER, kept) == (predicted, errno.EADDRNOTAVAIL)

    run_in_netns(body)


def test_of_an_odd_sized_range_an_attempt_may_miss_the_last_free_port() -> None:
    def body() -> None:
        write(RANGE, "40000 40008")
        kept = [listening(64, address=SERVER)]
        assert left_for(*SERVER) == 9
        made, error = connect_until_refused(SERVER, kept)
        assert (made in (8, 9), error) == (True, errno.EADDRNOTAVAIL)
        assert left_for(*SERVER) == 9 - made

    run_in_netns(body)


@pytest.mark.parametrize(("reuse", "waiting_helps"), [(0, False), (1, True), (2, True)])
def test_time_wait_counts_as_the_sysctl_says(reuse: int, waiting_helps: bool) -> None:
    def body() -> None:
        write(RANGE, "40000 40003")
        write("/proc/sys/net/ipv4/tcp_tw_reuse", str(reuse))
        write("/proc/sys/net/ipv4/tcp_tw_reuse_delay", "3000")
        server = listening(64, address=SERVER)
        kept: list[socket.socket] = []
        for _ in range(2):
            client = socket.socket()
            client.connect(SERVER)
            served = server.accept()[0]
            client.close()
            served.recv(1)
            served.close()
        assert left_for(*SERVER) == 2
        until(lambda: left_for(*SERVER) == 4, 10 if waiting_helps else 3.3)
        predicted = left_for(*SERVER)
        assert predicted == (4 if waiting_helps else 2)
        (one,) = ports("--to", f"{LOOPBACK}:7000")["destinations"]
        assert (one["used"], one["time_wait"]) == (2, 2)
        assert connect_until_refused(SERVER, kept) == (predicted, errno.EADDRNOTAVAIL)

    run_in_netns(body)


def test_a_clients_own_address_counts_by_itself() -> None:
    def body() -> None:
        write(RANGE, "40000 40009")
        kept = [listening(64, address=("0.0.0.0", 7000))]
        for last in (1, 2):
            for _ in range(3 * last):
                sock = socket.socket()
                sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                sock.bind((f"127.0.0.{last}", 0))
                sock.connect(SERVER)
                kept.append(sock)
        found = {one["source"]: (one["used"], one["left"]) for one in ports()["destinations"]}
        assert found == {"127.0.0.1": (3, 7), "127.0.0.2": (6, 4)}
        assert ports()["destinations"][0]["source"] == "127.0.0.2"  # runs out first

    run_in_netns(body)


def test_ipv6_destinations_are_counted() -> None:
    def body() -> None:
        write(RANGE, "40000 40009")
        kept = [socket.create_server(("::1", 7000), family=socket.AF_INET6, backlog=64)]
        made = 0
        assert left_for("[::1]", 7000) == 10
        while made < 4:
            sock = socket.socket(socket.AF_INET6)
            sock.connect(("::1", 7000))
            kept.append(sock)
            made += 1
        assert left_for("[::1]", 7000) == 6
        (one,) = ports()["destinations"]
        assert (one["address"], one["source"], one["used"]) == ("::1", "::1", 4)

    run_in_netns(body)


def test_a_destination_without_route_is_told() -> None:
    def body() -> None:
        space = ports("--to", "192.0.2.1:80")
        assert space["exit_code"] == 1
        assert "ENETUNREACH" in space["problem"]

    run_in_netns(body)


def test_nobody_may_ask_about_the_range() -> None:
    def body() -> None:
        write(RANGE, "40000 40019")

        def as_nobody() -> None:
            become_nobody()
            code, out, err = tool_text("ports", "--to", f"{LOOPBACK}:80")
            assert (code, err) == (0, "")
            assert "40000-40019: 20" in out

        with child(as_nobody):
            pass

    run_in_netns(body)


@pytest.mark.parametrize(
    "argv",
    [["--to", "nonsense"], ["--to", "0.0.0.0:80"], ["--to", "10.0.0.1"], ["--to"], ["--top", "x"], ["8080"], ["--to", "udp://1.2.3.4:5"]],
)
def test_bad_input_gives_one_line_and_exit_code_2(argv: list[str]) -> None:
    code, out, err = tool_text("ports", *argv)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
