"""What a program sees of its socket while a hand-made peer decides when data is acknowledged: where sending blocks and poll(2) says OUT
again, how buffers grow, when zero-copy sends complete, ICMP errors about TCP, poll bits."""

from collections.abc import Callable

import pytest

from tests.parity.test_tcp_wire import same
from tests.tcpwire import HostWire, TwinWire, Wire, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ip", "sysctl")]

SYN = {"mss": 1460, "sack_ok": True, "wscale": 7}
SO_SNDBUF, SO_RCVBUF, SO_RCVLOWAT, SO_ZEROCOPY = 7, 8, 18, 60
TCP_NODELAY, TCP_NOTSENT_LOWAT = 1, 25
ZEROCOPY, PEEK = 0x4000000, 2
RUNS = 6
Result = list[object]


def integer(w: Wire, fd: int, level: int, name: int) -> int:
    return int.from_bytes(w.getsockopt(fd, level, name, 4), "little")


def queue_state(w: Wire, fd: int) -> tuple[int, int]:
    """Return (bytes charged to the write queue, poll bits)."""
    return w.meminfo(fd)[5], w.poll(fd)


def small_pieces(w: Wire) -> Result:
    """Small sends until the buffer is full; acknowledged piece by piece."""
    out: Result = []
    for sndbuf in (4608, 20000, 100000):
        w.remote_port += 1
        w.local_isn = None
        fd = w.established_again(**SYN)
        w.setsockopt(fd, 1, SO_SNDBUF, sndbuf)
        w.setsockopt(fd, 6, TCP_NODELAY, 1)
        sent = 0
        while (count := w.send(fd, 20)) > 0:
            sent += count
        out += [sent, count, queue_state(w, fd)]
        w.run(2)
        acked = 1
        for _ in range(12):
            acked += 1460
            w.inject(".", 1, min(acked, sent + 1))
            w.run(2)
            out.append(w.poll(fd))
        out.append(w.meminfo(fd)[3])
        w.setsockopt_linger_zero(fd)
        w.close(fd)
    return out


def one_large_send(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.setsockopt(fd, 1, SO_SNDBUF, 4608)
    out: Result = [w.send(fd, 1000000), w.send(fd, 1000000), queue_state(w, fd)]
    w.run(2)
    for acked in (1461, 7301, 14601):
        w.inject(".", 1, acked)
        w.run(2)
        out.append(w.poll(fd))
    return out


def writable_until_two_thirds(w: Wire) -> Result:
    """Blocks of one segment each behind a closed window; acknowledged one by one until poll(2) says OUT."""
    fd = w.established(**SYN)
    w.setsockopt(fd, 1, SO_SNDBUF, 20000)
    w.setsockopt(fd, 6, TCP_NODELAY, 1)
    sent = 0
    out: Result = []
    while (count := w.send(fd, 1460)) > 0:
        sent += count
        out.append((w.meminfo(fd)[5], w.poll(fd)))
    w.run(2)
    acked = 1
    while acked < sent:
        acked += 1460
        w.inject(".", 1, min(acked, sent + 1))
        w.run(2)
        out.append((w.meminfo(fd)[5], w.poll(fd)))
    return out


def unsent_bytes_are_limited(w: Wire) -> Result:
    fd = w.established(win=20, **SYN)
    w.setsockopt(fd, 6, TCP_NODELAY, 1)
    w.setsockopt(fd, 6, TCP_NOTSENT_LOWAT, 5000)
    out: Result = []
    for _ in range(20):
        out.append((w.send(fd, 540), w.poll(fd)))
    w.run(2)
    w.inject(".", 1, 2561, win=20)
    w.run(2)
    return [*out, w.poll(fd)]


def closed_for_sending(w: Wire) -> Result:
    fd = w.established(win=20, **SYN)
    while w.send(fd, 10000) > 0:
        pass
    out: Result = [w.poll(fd), w.shutdown(fd, 1), w.poll(fd), w.send(fd, 1)]
    return out


def buffers_of_a_connection(w: Wire) -> Result:
    """After the handshake, and while nobody reads, and while somebody does."""
    fd = w.established(**SYN)
    out: Result = [integer(w, fd, 1, SO_SNDBUF), integer(w, fd, 1, SO_RCVBUF)]
    seq = 1
    for _ in range(30):
        w.inject("P.", seq, 1, 1460)
        seq += 1460
        w.run(0.2)
    out += [integer(w, fd, 1, SO_RCVBUF), w.recv(fd, 1000000), integer(w, fd, 1, SO_RCVBUF)]
    w.setsockopt(fd, 1, SO_RCVLOWAT, 100000)
    return [*out, integer(w, fd, 1, SO_RCVBUF), integer(w, fd, 1, SO_RCVLOWAT)]


def bytes_for_a_reader(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.setsockopt(fd, 1, SO_RCVLOWAT, 500)
    out: Result = []
    seq = 1
    for size in (100, 300, 99, 1, 50):
        w.inject("P.", seq, 1, size)
        seq += size
        w.run(2)
        out.append(w.poll(fd))
    out += [w.recv(fd, 10), w.poll(fd), w.recv(fd, 100), w.poll(fd)]
    w.inject("F.", seq, 1)
    w.run(2)
    return [*out, w.poll(fd)]


# zero-copy


def zerocopy_socket(w: Wire, **options: object) -> int:
    fd = w.established(**(SYN | options))  # type: ignore[arg-type]
    w.setsockopt(fd, 1, SO_ZEROCOPY, 1)
    w.setsockopt(fd, 6, TCP_NODELAY, 1)
    return fd


def completed_when_acknowledged(w: Wire) -> Result:
    fd = zerocopy_socket(w)
    out: Result = [w.send(fd, 1000, ZEROCOPY), w.send(fd, 0, ZEROCOPY), w.send(fd, 500), w.send(fd, 1000, ZEROCOPY)]
    w.run(2)
    out += [w.error_entry(fd), w.poll(fd)]
    w.inject(".", 1, 501)
    w.run(2)
    out.append(w.error_entry(fd))
    w.inject(".", 1, 1001)
    w.run(2)
    out += [w.poll(fd), w.error(fd), w.error_entry(fd), w.poll(fd)]
    w.inject(".", 1, 2501)
    w.run(2)
    return [*out, w.error_entry(fd, PEEK), w.error_entry(fd), w.poll(fd)]


def completions_are_joined(w: Wire) -> Result:
    fd = zerocopy_socket(w)
    for number in range(3):
        w.send(fd, 1000, ZEROCOPY)
        w.run(2)
        w.inject(".", 1, 1 + 1000 * (number + 1))
        w.run(2)
    return [w.error_entry(fd), w.error_entry(fd)]


def sends_behind_a_closed_window_share(w: Wire) -> Result:
    fd = zerocopy_socket(w, win=0)
    w.inject(".", 1, 1, win=0)
    w.run(2)
    out: Result = [w.send(fd, 2000, ZEROCOPY) for _ in range(8)]
    out.append(w.meminfo(fd)[6])
    w.inject(".", 1, 1, win=500)
    w.run(5)
    w.inject(".", 1, 16001, win=500)
    w.run(5)
    return [*out, w.error_entry(fd), w.error_entry(fd), w.meminfo(fd)[6]]


def option_memory_ends(w: Wire) -> Result:
    w.sysctl("core/optmem_max", "4096")
    fd = zerocopy_socket(w)
    out: Result = []
    for _ in range(7):
        out += [w.send(fd, 100, ZEROCOPY), w.meminfo(fd)[6]]
        w.run(2)
    out.append(w.send(fd, 100))
    w.inject(".", 1, 101)
    w.run(2)
    return [*out, w.meminfo(fd)[6], w.error_entry(fd), w.send(fd, 100, ZEROCOPY)]


def cost_of_one_byte(w: Wire) -> Result:
    fd = zerocopy_socket(w, win=0)
    w.inject(".", 1, 1, win=0)
    w.run(2)
    out: Result = []
    for _ in range(4):
        out += [w.send(fd, 1, ZEROCOPY), w.meminfo(fd)[5]]
    return out


def reset_while_sending(w: Wire) -> Result:
    fd = zerocopy_socket(w)
    w.send(fd, 1000, ZEROCOPY)
    w.run(2)
    w.inject("R", 1)
    w.run(2)
    out: Result = [w.poll(fd), w.send(fd, 10, ZEROCOPY), w.send(fd, 10, ZEROCOPY)]
    return [*out, w.error_entry(fd), w.error_entry(fd), w.poll(fd)]


# ICMP errors about TCP


def unreachable_while_connecting(w: Wire) -> Result:
    out: Result = []
    for recverr in (0, 1):
        fd = w.connect(8080 + recverr)
        w.setsockopt(fd, 0, 11, recverr)
        w.run(2)
        w.icmp(3, 1, 0)
        w.run(2)
        out += [w.info(fd)[0], w.poll(fd), w.error_entry(fd), w.poll(fd), w.error(fd), w.error(fd), w.error_entry(fd), w.poll(fd)]
        w.local_isn = None
    return out


def unreachable_once_connected(w: Wire) -> Result:
    out: Result = []
    for recverr in (0, 1):
        w.remote_port += 1
        w.local_isn = None
        fd = w.established_again(**SYN)
        w.setsockopt(fd, 0, 11, recverr)
        for reader in ("recv", "error"):
            w.send(fd, 100)
            w.run(2)
            w.icmp(3, 1, 1)
            w.run(2)
            out += [w.info(fd)[0], w.poll(fd), w.error_entry(fd)]
            out += [w.recv(fd, 1), w.recv(fd, 1)] if reader == "recv" else []
            out += [w.error(fd), w.error(fd), w.poll(fd)]
        w.setsockopt_linger_zero(fd)
        w.close(fd)
    return out


def errors_and_completions_mix(w: Wire) -> Result:
    fd = zerocopy_socket(w)
    w.setsockopt(fd, 0, 11, 1)
    w.send(fd, 1000, ZEROCOPY)
    w.run(2)
    w.icmp(3, 1, 1)
    w.run(2)
    w.inject(".", 1, 1001)
    w.run(2)
    return [w.poll(fd), w.error_entry(fd), w.error_entry(fd), w.recv(fd, 1), w.recv(fd, 1), w.poll(fd)]


# poll bits


def bits_while_opening(w: Wire) -> Result:
    fd = w.connect()
    out: Result = [w.poll(fd)]
    w.run(2)
    w.inject("S", **SYN)  # type: ignore[arg-type]
    w.run(2)
    out += [w.info(fd)[0], w.poll(fd), w.send(fd, 1), w.recv(fd, 1)]
    w.inject(".", 1, 1)
    w.run(2)
    return [*out, w.info(fd)[0], w.poll(fd)]


def bits_while_closing(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.", 1, 1, 10)
    w.run(2)
    out: Result = [w.poll(fd), w.recv(fd, 10), w.poll(fd)]
    w.inject("F.", 11, 1)
    w.run(2)
    out.append(w.poll(fd))
    w.shutdown(fd, 1)
    w.run(2)
    out += [w.info(fd)[0], w.poll(fd)]
    w.inject("R", 12)
    w.run(2)
    return [*out, w.info(fd)[0], w.poll(fd), w.error(fd), w.poll(fd)]


def fin_then_reset(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("F.", 1, 1)
    w.run(2)
    w.inject("R", 2)
    w.run(2)
    return [w.poll(fd), w.error(fd), w.poll(fd), w.send(fd, 1), w.recv(fd, 1)]


def bits_in_closing(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.shutdown(fd, 1)
    w.run(2)
    out: Result = [w.poll(fd)]
    w.inject("F.", 1, 1)
    w.run(2)
    out += [w.info(fd)[0], w.poll(fd)]
    w.inject(".", 2, 2)
    w.run(2)
    return [*out, w.info(fd)[0], w.poll(fd)]


def urgent_byte(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.U", 1, 1, 10, urg=5)
    w.run(2)
    out: Result = [w.poll(fd), w.recv(fd, 100), w.poll(fd), w.recv(fd, 100), w.poll(fd)]
    return out


SCENARIOS: list[Callable[[Wire], Result]] = [
    *(small_pieces, one_large_send, writable_until_two_thirds, unsent_bytes_are_limited, closed_for_sending, buffers_of_a_connection),
    *(bytes_for_a_reader, completed_when_acknowledged, completions_are_joined, sends_behind_a_closed_window_share, option_memory_ends),
    *(cost_of_one_byte, reset_while_sending, unreachable_while_connecting, unreachable_once_connected, errors_and_completions_mix),
    *(bits_while_opening, bits_while_closing, fin_then_reset, bits_in_closing, urgent_byte),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_a_socket_does_the_same_with_a_hand_made_peer(scenario: Callable[[Wire], Result]) -> None:
    got = scenario(TwinWire())
    want: Result = []
    for _ in range(RUNS):
        want = on_host(scenario, HostWire)
        if same(got, want):
            return
    assert got == want
