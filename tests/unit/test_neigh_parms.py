"""net.*.neigh.*: the defaults of the initial namespace, what devices make of them, and that the times are obeyed."""

from typing import Any

from tests.unit.test_twin_port import run
from twinsock.kernel.net.core.dev import NetDevice
from twinsock.kernel.net.sysctl_net import sysctl_read, sysctl_write
from twinsock.runtime.lab import connect_namespaces, new_namespace
from twinsock.runtime.port import TwinPort
from twinsock.uapi.errno import ENOENT


def value(env: Any, path: str) -> str:
    err, text = sysctl_read(env.task, "net/" + path)
    assert err == 0, path
    return text.strip()


def test_a_default_reaches_devices_that_have_no_value_of_their_own() -> None:
    def program(env: Any, port: TwinPort) -> None:
        for number, which in (("7", "default"), ("9", "lo"), ("11", "default")):
            assert sysctl_write(env.task, f"net/ipv4/neigh/{which}/ucast_solicit", number.encode()) == 0
        assert [value(env, f"ipv4/neigh/{which}/ucast_solicit") for which in ("default", "lo")] == ["11", "9"]
        assert sysctl_write(env.task, "net/ipv6/neigh/default/retrans_time_ms", b"2000") == 0
        assert value(env, "ipv6/neigh/lo/retrans_time") == "500"
        other = new_namespace(env.kernel)
        assert sysctl_read(other.first, "net/ipv4/neigh/default/ucast_solicit")[0] == -ENOENT

    run(program)


def unanswered(env: Any, setting: bytes) -> int:
    """Return after how many virtual nanoseconds a connection to a neighbour that is not there fails."""
    east, west = new_namespace(env.kernel), new_namespace(env.kernel)
    connect_namespaces(east, "10.0.0.1/24", west, "10.0.0.2/24")
    dev: NetDevice = next(dev for dev in east.first.net.dev_base if dev.name == "eth0")
    assert sysctl_write(east.first, f"net/ipv4/neigh/{dev.name}/retrans_time_ms", setting) == 0
    before = env.kernel.clock.now_ns
    udp = east.socket.socket(2, 2)
    udp.setsockopt(0, 11, 1)  # IP_RECVERR
    udp.sendto(b"x", ("10.0.0.9", 7))
    arp = east.first.net.ipv4.arp_tbl
    assert arp is not None
    while not any(neigh.nud_state & 0x20 for neigh in arp.entries()):
        assert env.kernel.clock.run_next(-1)
    return env.kernel.clock.now_ns - before


def test_the_time_between_two_questions_is_obeyed() -> None:
    def program(env: Any, port: TwinPort) -> None:
        assert 2.9e9 <= unanswered(env, b"1000") <= 3.1e9
        assert 0.5e9 <= unanswered(env, b"200") <= 0.7e9

    run(program)
