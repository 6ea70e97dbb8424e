"""The same segments to the twin and to the live kernel over TUN: the same answers at the same instants."""

from collections.abc import Callable

import pytest

from tests.tcpwire import HostWire, TwinWire, Wire, on_host

SYN = {"mss": 1000, "sack_ok": True, "wscale": 7}
Result = list[object]
HOST_RUNS = 5  # what timers count shifts with the host's instants
# Twin: D-tcp-2, the SACK counters; the rest depends on how much room the driver of the device leaves in its buffers
NOT_COUNTED = ("TcpExt:TCPSackShifted", "TcpExt:TCPSackMerged", "TcpExt:TCPSackShiftFallback", "TcpExt:TCPRcvCoalesce")
OF_BUFFERS = ("Tcp:OutSegs", "TcpExt:PruneCalled", "TcpExt:TCPHPHits", "TcpExt:TCPWantZeroWindowAdv")


def handshake(w: Wire) -> Result:
    lfd = w.listen()
    w.inject("S", **SYN)
    w.run(2)
    w.inject(".", 1, 1)
    w.run(2)
    fd = w.accept(lfd)
    return [w.take(), fd >= 0, w.info(fd)]


def data_is_acknowledged(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.", 1, 1, 1000)
    w.run(60)
    w.inject("P.", 1001, 1, 500)
    w.run(60)
    got = w.recv(fd, 5000)
    w.run(60)
    return [w.take(), got, w.info(fd)]


def slow_start_sends_two_for_each_acknowledged(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 30000)
    w.run(5)
    out: Result = [w.take()]
    for acked in (2001, 6001, 10001, 30001):
        w.run(15)
        w.inject(".", 1, acked, win=500)
        w.run(5)
        out.append(w.take())
    out.append(w.info(fd))
    return out


def lost_segment_is_retransmitted_after_sack(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 10000)
    w.run(20)
    out: Result = [w.take()]
    w.inject(".", 1, 1, win=500, sacks=[(1001, 2001)])
    w.inject(".", 1, 1, win=500, sacks=[(1001, 3001)])
    w.inject(".", 1, 1, win=500, sacks=[(1001, 4001)])
    w.run(5)
    out += [w.take(), w.info(fd)]
    w.run(10)
    w.inject(".", 1, 10001, win=500)
    w.run(5)
    out += [w.take(), w.info(fd)]
    return out


def timeout_backs_off(w: Wire) -> Result:
    fd = w.established(win=500, mss=1000, wscale=7)
    w.send(fd, 1000)
    w.run(1500)
    out: Result = [w.take(), w.info(fd)]
    w.inject(".", 1, 1001, win=500)
    w.run(5)
    out += [w.take(), w.info(fd)]
    return out


def tail_loss_probe_then_timeout(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 3000)
    w.run(900)
    return [w.take(), w.info(fd)]


def out_of_order_data_is_reported(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.", 2001, 1, 1000)
    w.run(2)
    w.inject("P.", 4001, 1, 1000)
    w.run(2)
    w.inject("P.", 2001, 1, 1000)
    w.run(2)
    w.inject("P.", 1, 1, 2000)
    w.run(2)
    w.inject("P.", 3001, 1, 1000)
    w.run(60)
    return [w.take(), w.recv(fd, 9999)]


def nagle_holds_the_second_small_write(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 10)
    w.send(fd, 20)
    w.run(5)
    out: Result = [w.take()]
    w.inject(".", 1, 11, win=500)
    w.run(5)
    out.append(w.take())
    return out


def challenge_acks(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("R", 100)
    w.run(2)
    w.inject("S", 1)
    w.run(2)
    w.run(510)
    w.inject("S", 1)
    w.run(2)
    w.inject(".", 1, 5000)
    w.run(2)
    w.run(510)
    w.inject(".", 1, 5000)
    w.run(2)
    w.inject("R", 1)
    w.run(2)
    return [w.take(), w.recv(fd, 1)]


def close_sequence(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.shutdown(fd, 1)
    w.run(5)
    out: Result = [w.take(), w.info(fd)[0]]
    w.inject(".", 1, 2)
    w.run(2)
    out.append(w.info(fd)[0])
    w.inject("F.", 1, 2)
    w.run(5)
    out += [w.take(), w.info(fd)[0]]
    w.inject("F.", 1, 2)
    w.run(5)
    out.append(w.take())
    return out


def data_for_an_orphan_is_reset(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.close(fd)
    w.run(5)
    w.inject("P.", 1, 2, 100)
    w.run(5)
    return [w.take()]


def zero_window_is_probed(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 2000)
    w.run(5)
    w.inject(".", 1, 2001, win=0)
    w.run(5)
    w.send(fd, 3000)
    w.run(800)
    out: Result = [w.take()]
    w.inject(".", 1, 2001, win=500)
    w.run(5)
    out.append(w.take())
    return out


def active_open_and_crossed_syn(w: Wire) -> Result:
    fd = w.connect()
    w.run(5)
    out: Result = [w.take()]
    w.inject("S", mss=1000)
    w.run(5)
    out += [w.take(), w.info(fd)[0]]
    w.inject("S.", 0, 1, mss=1000)
    w.run(5)
    out += [w.take(), w.info(fd)[0]]
    return out


def a_bad_ack_in_syn_sent_draws_a_reset(w: Wire) -> Result:
    fd = w.connect()
    w.run(5)
    w.take()
    w.inject("S.", 0, 100, mss=1000)
    w.run(30)
    out: Result = [w.take(), w.info(fd)[0]]
    w.inject("R.", 0, 1)
    w.run(2)
    out += [w.recv(fd, 1)]
    return out


def segments_without_a_connection(w: Wire) -> Result:
    w.listen()
    for flags, length in ((".", 0), ("R", 0), ("F", 0), ("F.", 0), ("P.", 10), ("P", 10), ("SF", 0), ("S.", 0)):
        w.inject(flags, 5, 7, length)
        w.run(2)
    w.local_port = 81
    for flags, length in (("S", 0), ("S", 10), (".", 0), ("R", 0), ("F", 0), ("F.", 0), ("P", 10), ("SF", 0)):
        w.inject(flags, 5, 7, length)
        w.run(2)
    return [w.take()]


def half_open_connection(w: Wire) -> Result:
    w.listen()
    w.inject("S", **SYN)
    w.run(2)
    w.inject("S", **SYN)
    w.run(2)
    w.inject("S", **SYN)
    w.run(2)
    w.inject(".", 1, 99)
    w.run(2)
    w.inject(".", 200000, 1)
    w.run(2)
    w.inject("S", 5, **SYN)
    w.run(2)
    w.inject(".", 1, 1)
    w.run(2)
    return [w.take()]


def urgent_pointer(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 100)
    w.send(fd, 10, 1)
    w.run(5)
    w.inject(".", 1, 101, win=500)
    w.run(5)
    return [w.take()]


def two_losses_recover_with_rate_reduction(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 20000)
    w.run(20)
    out: Result = [w.take()]
    w.inject(".", 1, 1, win=500, sacks=[(1001, 2001)])
    w.inject(".", 1, 1, win=500, sacks=[(1001, 3001)])
    w.inject(".", 1, 1, win=500, sacks=[(1001, 4001)])
    w.run(4)
    for right in (6001, 7001, 8001, 9001, 10001):
        w.inject(".", 1, 1, win=500, sacks=[(5001, right), (1001, 4001)])
        w.run(4)
        out += [w.take(), w.info(fd)]
    w.inject(".", 1, 4001, win=500, sacks=[(5001, 10001)])
    w.run(4)
    w.inject(".", 1, 12001, win=500)
    w.run(4)
    out += [w.take(), w.info(fd)]
    return out


def reordered_segments_are_not_retransmitted_for_long(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 10000)
    w.run(40)
    w.take()
    w.inject(".", 1, 1, win=500, sacks=[(1001, 2001)])
    w.run(3)
    w.inject(".", 1, 2001, win=500)
    w.run(3)
    out: Result = [w.take(), w.info(fd)]
    w.inject(".", 1, 2001, win=500, sacks=[(3001, 6001)])
    w.run(3)
    w.inject(".", 1, 10001, win=500)
    w.run(3)
    out += [w.take(), w.info(fd)]
    return out


def spurious_timeout_is_undone_by_frto(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 10000)
    w.run(500)
    out: Result = [w.take(), w.info(fd)]
    w.inject(".", 1, 1001, win=500)
    w.run(3)
    w.inject(".", 1, 3001, win=500)
    w.run(3)
    w.inject(".", 1, 10001, win=500)
    w.run(3)
    out += [w.take(), w.info(fd)]
    return out


def dsack_undoes_a_recovery(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 10000)
    w.run(20)
    w.inject(".", 1, 1, win=500, sacks=[(1001, 4001)])
    w.run(4)
    w.inject(".", 1, 4001, win=500)
    w.run(4)
    w.inject(".", 1, 4001, win=500, sacks=[(1, 1001)])
    w.run(4)
    return [w.take(), w.info(fd)]


def newreno_without_sack(w: Wire) -> Result:
    fd = w.established(win=500, mss=1000, wscale=7)
    w.send(fd, 20000)
    w.run(20)
    w.take()
    out: Result = []
    for _ in range(5):
        w.inject(".", 1, 1, win=500)
        w.run(3)
        out += [w.take(), w.info(fd)]
    w.inject(".", 1, 4001, win=500)
    w.run(3)
    out += [w.take(), w.info(fd)]
    w.inject(".", 1, 12001, win=500)
    w.run(3)
    out += [w.take(), w.info(fd)]
    return out


def segments_beyond_and_before_the_window(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.", 1, 1, 1000)
    w.run(2)
    w.inject("P.", 1, 1, 1000)
    w.run(2)
    w.inject("P.", 501, 1, 1000)
    w.run(2)
    w.inject("P.", 900001, 1, 1000)
    w.run(2)
    w.inject(".", 0, 1)
    w.run(2)
    w.inject("P.", 1501, 0, 10)
    w.run(60)
    return [w.take(), w.recv(fd, 9999)]


def a_small_reader_closes_the_window(w: Wire) -> Result:
    fd = w.established(**SYN)
    seq = 1
    for _ in range(70):
        w.inject(".", seq, 1, 1000)
        seq += 1000
        w.run(0.2)
    w.run(60)
    got = [text for _, text in w.take()][-1]
    total = w.recv(fd, 1000000)
    w.run(60)
    return [got, total, [text for _, text in w.take()][-1]]


def a_syn_is_sent_again_linearly(w: Wire) -> Result:
    w.connect()
    w.run(3300)
    return [w.take()]


def linger_zero_resets(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.send(fd, 100)
    w.run(2)
    w.inject("P.", 1, 101, 10)
    w.run(2)
    w.close(fd)
    w.run(2)
    w.inject(".", 11, 101)
    w.run(2)
    return [w.take()]


def keepalive_probes_an_idle_peer(w: Wire) -> Result:
    fd = w.established(**SYN)
    for name, value in ((4, 1), (5, 1), (6, 2)):
        w.setsockopt(fd, 6, name, value)
    w.setsockopt(fd, 1, 9, 1)
    w.run(3500)
    return [w.take(), w.recv(fd, 1)]


def cork_holds_a_partial_segment(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.setsockopt(fd, 6, 3, 1)
    w.send(fd, 1500)
    w.run(5)
    out: Result = [w.take()]
    w.setsockopt(fd, 6, 3, 0)
    w.run(5)
    out.append(w.take())
    return out


def host_unreachable_ends_a_connect(w: Wire) -> Result:
    fd = w.connect()
    w.run(5)
    w.icmp(3, 1, 0)
    w.run(2)
    return [w.take(), w.info(fd)[0], w.recv(fd, 1)]


def host_unreachable_is_soft_once_connected(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 1000)
    w.run(2)
    w.icmp(3, 1, 1)
    w.run(2)
    return [w.take(), w.info(fd)[0], w.recv(fd, 1)]


def fragmentation_needed_shrinks_segments(w: Wire) -> Result:
    fd = w.established(win=500, mss=1460, sack_ok=True, wscale=7)
    w.send(fd, 5840)
    w.run(2)
    out: Result = [[text for _, text in w.take()]]
    w.icmp(3, 4, 1, 1200)
    w.run(3)
    out += [[text for _, text in w.take()], w.info(fd)]
    w.inject(".", 1, 1161, win=500)
    w.run(3)
    out += [[text for _, text in w.take()]]
    return out


def host_unreachable_takes_a_step_of_the_backoff_back(w: Wire) -> Result:
    fd = w.established(win=500, mss=1000, wscale=7)
    w.send(fd, 500)
    w.run(1100)
    out: Result = [w.take(), w.info(fd)]
    w.icmp(3, 1, 1)
    w.run(1000)
    out += [w.take(), w.info(fd)]
    w.icmp(3, 0, 501)
    w.icmp(3, 3, 1)
    w.run(300)
    return [*out, w.take(), w.info(fd)]


def ecn_server(w: Wire) -> Result:
    out: Result = []
    for setting in ("0", "1", "2"):
        w.sysctl("ipv4/tcp_ecn", setting)
        for flags, tos in (("SEW", 0), ("SE", 0), ("SW", 0), ("SEW", 2)):
            w.remote_port += 1
            w.local_isn = None
            fd = w.established_by(flags, tos, **SYN)
            out.append([text for _, text in w.take()])
            w.send(fd, 1000)
            w.run(2)
            w.inject("P.", 1, 1, 1000, tos=3)
            w.inject("P.E", 1001, 1001, 1000, tos=2)
            w.run(60)
            w.send(fd, 1000)
            w.run(2)
            w.inject("P.W", 2001, 1001, 1000, tos=2)
            w.run(60)
            out += [[text for _, text in w.take()], w.info(fd)]
            w.setsockopt_linger_zero(fd)
            w.close(fd)
            w.run(2)
            w.take()
    return out


def ecn_client(w: Wire) -> Result:
    out: Result = []
    port = 8100
    for setting in ("0", "1", "2"):
        w.sysctl("ipv4/tcp_ecn", setting)
        for flags in ("S.", "S.E"):  # Twin: D-tcp-9: ECE and CWR together
            port += 1
            w.local_isn = None
            fd = w.connect(port)
            w.run(2)
            w.inject(flags, 0, 1, **SYN)
            w.run(2)
            w.send(fd, 3000)
            w.run(2)
            w.inject(".E", 1, 2001, tos=0)
            w.run(2)
            w.send(fd, 1000)
            w.run(2)
            out += [[text for _, text in w.take()], w.info(fd)]
            w.setsockopt_linger_zero(fd)
            w.close(fd)
            w.run(2)
            w.take()
    return out


SCENARIOS: list[Callable[[Wire], Result]] = [
    handshake,
    data_is_acknowledged,
    slow_start_sends_two_for_each_acknowledged,
    lost_segment_is_retransmitted_after_sack,
    timeout_backs_off,
    tail_loss_probe_then_timeout,
    out_of_order_data_is_reported,
    nagle_holds_the_second_small_write,
    challenge_acks,
    close_sequence,
    data_for_an_orphan_is_reset,
    zero_window_is_probed,
    active_open_and_crossed_syn,
    a_bad_ack_in_syn_sent_draws_a_reset,
    segments_without_a_connection,
    half_open_connection,
    urgent_pointer,
    two_losses_recover_with_rate_reduction,
    reordered_segments_are_not_retransmitted_for_long,
    spurious_timeout_is_undone_by_frto,
    dsack_undoes_a_recovery,
    newreno_without_sack,
    segments_beyond_and_before_the_window,
    a_small_reader_closes_the_window,
    a_syn_is_sent_again_linearly,
    linger_zero_resets,
    keepalive_probes_an_idle_peer,
    cork_holds_a_partial_segment,
    host_unreachable_ends_a_connect,
    host_unreachable_is_soft_once_connected,
    fragmentation_needed_shrinks_segments,
    host_unreachable_takes_a_step_of_the_backoff_back,
    ecn_server,
    ecn_client,
]


Told = tuple[Result, dict[str, int]]


def told(scenario: Callable[[Wire], Result]) -> Callable[[Wire], Told]:
    """Return what a scenario sees, and which counters of TCP it moves."""

    def tell(wire: Wire) -> Told:
        result = scenario(wire)
        ignored = NOT_COUNTED + (OF_BUFFERS if scenario is a_small_reader_closes_the_window else ())
        return result, {name: value for name, value in wire.counters().items() if name not in ignored}

    return tell


def same(a: object, b: object, tolerance_ms: float = 25.0) -> bool:
    """Compare results; instants, the floats, may differ a little."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= tolerance_ms + 0.03 * max(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, tolerance_ms) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("ip", "sysctl")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_the_twin_answers_as_the_live_kernel(scenario: Callable[[Wire], Result]) -> None:
    got, counted = told(scenario)(TwinWire())
    want, host_counted = on_host(told(scenario), HostWire)
    assert same(got, want), f"\n twin {got}\n host {want}"
    for _ in range(HOST_RUNS):
        if counted == host_counted:
            return
        host_counted = on_host(told(scenario), HostWire)[1]
    names = {name for name in {*counted, *host_counted} if counted.get(name, 0) != host_counted.get(name, 0)}
    raise AssertionError({name: f"twin {counted.get(name, 0)}, host {host_counted.get(name, 0)}" for name in sorted(names)})
