"""`why --connect` and `why 0` on the live kernel: routes, listeners, queues, and automatic ports that run out."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.why_kit import LOOPBACK, actions, bound, listener, port_of, why

pytestmark = [pytest.mark.root, pytest.mark.slow]
Runner = Callable[..., Any]


def set_range(low: int, high: int) -> None:
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{low} {high}")


def test_port_zero_gives_a_port_until_the_range_is_full(in_netns: Runner) -> None:
    def program() -> None:
        set_range(40000, 40003)
        kept = []
        for _number in range(4):
            answer = why("0")
            assert answer["result"] == "ok"
            assert 40000 <= answer["port"] <= 40003
            kept.append(bound("0.0.0.0", 0))
        answer = why("0")
        assert (answer["errno"], answer["rule"]) == ("EADDRINUSE", "range-exhausted")
        assert any("ip_local_port_range" in action for action in actions(answer))
        assert why("udp://:0")["result"] == "ok"
        kept.pop().close()
        assert why("0")["result"] == "ok"

    in_netns(program)


def test_reserved_ports_are_no_choice_for_port_zero_and_can_be_named(in_netns: Runner) -> None:
    def program() -> None:
        set_range(40000, 40001)
        Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("40000-40001")
        answer = why("0")
        assert answer["rule"] == "range-exhausted"
        assert "sysctl net.ipv4.ip_local_reserved_ports" in actions(answer)
        assert why("40000")["result"] == "ok"

    in_netns(program)


def test_connect_to_a_listener_succeeds_and_to_nobody_is_refused(in_netns: Runner) -> None:
    def program() -> None:
        server = listener("127.0.0.2", 8080)
        answer = why("--connect", "127.0.0.2:8080")
        assert (answer["result"], answer["rule"]) == ("ok", "listening")
        assert str(os.getpid()) in answer["sentence"]
        answer = why("--connect", "127.0.0.1:8080")
        assert (answer["errno"], answer["rule"]) == ("ECONNREFUSED", "nobody-listens")
        assert "connect to 127.0.0.2:8080" in actions(answer)
        assert port_of(server) == 8080

    in_netns(program)


def test_connect_to_a_full_accept_queue_is_foreseen(in_netns: Runner) -> None:
    def program() -> None:
        server = socket.socket()
        server.bind((LOOPBACK, 8080))
        server.listen(0)
        client = socket.create_connection((LOOPBACK, 8080))
        answer = why("--connect", "127.0.0.1:8080", prove=False)
        assert (answer["rule"], answer["errno"]) == ("accept-queue-full", "ETIMEDOUT")
        assert answer["blockers"][0]["holders"][0]["fd"] == server.fileno()
        client.close()

    in_netns(program)


def test_connect_without_a_route_is_unreachable(in_netns: Runner) -> None:
    def program() -> None:
        for address in ("192.0.2.1:80", "[2001:db8::1]:80"):
            answer = why("--connect", address)
            assert (answer["errno"], answer["rule"]) == ("ENETUNREACH", "no-route")
        assert why("--connect", "224.0.0.1:80")["errno"] == "ENETUNREACH"
        subprocess.run(["ip", "route", "add", "prohibit", "198.51.100.0/24"], check=True)
        assert why("--connect", "198.51.100.1:80")["errno"] == "EACCES"

    in_netns(program)


def test_connect_runs_out_of_ports_for_one_destination_only(in_netns: Runner) -> None:
    def program() -> None:
        set_range(40000, 40003)
        server = listener(LOOPBACK, 8080)
        clients = [socket.create_connection((LOOPBACK, 8080)) for _number in range(4)]
        answer = why("--connect", "127.0.0.1:8080")
        assert (answer["errno"], answer["rule"]) == ("EADDRNOTAVAIL", "range-exhausted")
        assert "4 connections go there" in answer["sentence"]
        other = listener(LOOPBACK, 9090)
        assert why("--connect", "127.0.0.1:9090")["result"] == "ok"
        assert len(clients) == 4 and port_of(server) != port_of(other)

    in_netns(program)


def test_ports_that_are_bound_are_lost_to_every_connection(in_netns: Runner) -> None:
    def program() -> None:
        set_range(40000, 40003)
        server = listener(LOOPBACK, 8080)
        kept = [bound("127.0.0.9", port) for port in range(40000, 40004)]
        answer = why("--connect", "127.0.0.1:8080")
        assert answer["errno"] == "EADDRNOTAVAIL"
        kept.pop().close()
        assert why("--connect", "127.0.0.1:8080")["result"] == "ok"
        assert port_of(server) == 8080

    in_netns(program)
