"""A client of TCP Fast Open that suspects a middlebox of dropping its data opens without data for a while, RFC 7413 7.1."""

from collections.abc import Callable

import pytest

from tests.parity.test_tcp_wire import same
from tests.tcpwire import HostWire, TwinWire, Wire, on_host

TCP_USER_TIMEOUT = 18
SYN = {"mss": 1000, "sack_ok": True, "wscale": 7}
RUNS = 5  # a host that is busy shifts instants
Result = list[object]

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "sysctl")]


def start(w: Wire) -> None:
    """Send data in the SYN without a cookie; be suspicious for a second."""
    w.sysctl("ipv4/tcp_fastopen", "5")
    w.sysctl("ipv4/tcp_fastopen_blackhole_timeout_sec", "1")


def opened(w: Wire, port: int) -> tuple[int, list[object]]:
    """Connect with ten bytes for the SYN; return the descriptor, what the calls said and what was sent."""
    w.local_isn = None
    fd, said = w.connect_fast(port)
    sent = w.send(fd, 10)
    w.run(5)
    return fd, [said, sent, [text for _, text in w.take()], w.counters().get("TcpExt:TCPFastOpenBlackhole", 0)]


def syn_with_data_is_never_answered(w: Wire) -> Result:
    """The last timeout of a SYN with data counts: one second without, then with data again."""
    start(w)
    fd, first = opened(w, 8081)
    w.setsockopt(fd, 6, TCP_USER_TIMEOUT, 1100)
    w.run(1500)
    out: Result = [first, [text for _, text in w.take()], w.error(fd)]
    _, second = opened(w, 8082)
    w.run(1200)
    w.take()
    return [*out, second, opened(w, 8083)[1], w.counters()]


def only_the_fin_arrives(w: Wire) -> Result:
    """The bytes before the FIN never came: the connection's end counts."""
    start(w)
    fd, first = opened(w, 8081)
    w.inject("S.", 0, 11, **SYN)
    w.run(5)
    w.inject("F.", 1001, 11)
    w.run(5)
    out: Result = [first, [text for _, text in w.take()], w.info(fd)[0], w.counters().get("TcpExt:TCPFastOpenBlackhole", 0)]
    w.setsockopt_linger_zero(fd)
    w.close(fd)
    w.run(5)
    w.take()
    return [*out, opened(w, 8082)[1], w.counters()]


def reset_out_of_order(w: Wire) -> Result:
    """A reset that is not the next byte, before any data: answered with a challenge, and suspicious."""
    start(w)
    fd, first = opened(w, 8081)
    w.inject("S.", 0, 11, **SYN)
    w.run(5)
    w.inject("R", 100)
    w.run(5)
    return [first, [text for _, text in w.take()], w.info(fd)[0], opened(w, 8082)[1], w.counters()]


def data_came_before(w: Wire) -> Result:
    """With data received neither the reset nor the FIN is suspicious."""
    start(w)
    fd, first = opened(w, 8081)
    w.inject("S.", 0, 11, **SYN)
    w.run(5)
    w.inject("P.", 1, 11, 20)
    w.run(60)
    w.inject("R", 100)
    w.inject("F.", 1001, 11)
    w.run(5)
    out: Result = [first, [text for _, text in w.take()]]
    w.setsockopt_linger_zero(fd)
    w.close(fd)
    w.run(5)
    w.take()
    return [*out, opened(w, 8082)[1], w.counters()]


def silence_after_the_handshake(w: Wire) -> Result:
    """Three timeouts in a row count however much was acknowledged before."""
    start(w)
    fd, first = opened(w, 8081)
    w.inject("S.", 0, 11, mss=1000)
    w.run(5)
    w.send(fd, 3000)
    w.run(5)
    w.inject(".", 1, 3011)
    w.run(5)
    w.send(fd, 500)
    w.run(5)
    w.take()
    w.run(1900)
    return [first, w.take(), w.info(fd)[0], opened(w, 8082)[1], w.counters()]


def not_suspicious_by_default(w: Wire) -> Result:
    """The sysctl is 0: nothing is counted and data is sent with the next SYN."""
    w.sysctl("ipv4/tcp_fastopen", "5")
    _, first = opened(w, 8081)
    w.inject("S.", 0, 11, **SYN)
    w.run(5)
    w.inject("R", 100)
    w.run(5)
    w.take()
    return [first, opened(w, 8082)[1], w.counters()]


SCENARIOS = [
    *(syn_with_data_is_never_answered, only_the_fin_arrives, reset_out_of_order, data_came_before),
    *(silence_after_the_handshake, not_suspicious_by_default),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_a_suspicious_client_opens_without_data_for_a_while(scenario: Callable[[Wire], Result]) -> None:
    got = scenario(TwinWire())
    want: Result = []
    for _ in range(RUNS):
        want = on_host(scenario, HostWire)
        if same(got, want):
            return
    assert got == want  # says where they differ
