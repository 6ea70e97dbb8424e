"""Why TCP drops a segment: the reason that the live kernel's skb:kfree_skb gives for the same segment.

test_tcp_state_walk.py has every state with every kind of segment, test_ip_wire.py the layers below; here stands what needs a history."""

from collections.abc import Callable, Iterator

import pytest

from tests.dropwire import HostDrops, HostReasons, TwinDrops
from tests.tcpwire import LOCAL, PORT, REMOTE, on_host
from twinsock.wire.ip import Iphdr
from twinsock.wire.l4 import pseudo_sum4
from twinsock.wire.tcp import TCPHDR_SYN, Tcphdr, emit

DropWire = TwinDrops | HostDrops
Scene = Callable[[DropWire], list[list[str]]]
SYN = {"mss": 1000, "sack_ok": True, "wscale": 7}
STAMPED = {"mss": 1000, "sack_ok": True, "wscale": 7, "ts": True, "tsval": 10_000}


def segments(w: DropWire, *parts: tuple[str, int, int, int], **options: object) -> list[list[str]]:
    """Inject segments (flags, seq, ack, length) and return the reasons of each."""
    reasons = []
    for flags, seq, ack, length in parts:
        w.inject(flags, seq, ack, length, **options)
        reasons.append(w.drops)
        w.run(1)
    return reasons


def nobody_listens(w: DropWire) -> list[list[str]]:
    return segments(w, ("S", 0, 0, 0), (".", 1, 1, 0), ("R", 1, 0, 0))


def broken_segments(w: DropWire) -> list[list[str]]:
    w.listen()
    th = Tcphdr(w.remote_port, PORT, 0, 0, TCPHDR_SYN, 65535)
    good = emit(th, b"", pseudo_sum4(REMOTE, LOCAL, 6, 20))
    reasons = []
    for raw in (good[:16] + b"\x12\x34" + good[18:], good[:12], good[:12] + b"\x40" + good[13:], good[:12] + b"\xf0" + good[13:]):
        w.deliver(Iphdr(REMOTE, LOCAL, 6).emit(len(raw)) + raw)
        reasons.append(w.drops)
    return reasons


def out_of_order(w: DropWire) -> list[list[str]]:
    w.established(**SYN)
    return segments(
        w,
        ("P.", 101, 1, 100),
        ("P.", 101, 1, 100),
        ("P.", 121, 1, 20),
        ("P.", 91, 1, 200),
        ("P.", 501, 1, 10),
        ("P.", 1, 1, 600),
        ("P.", 1, 1, 600),
        ("P.", 590, 1, 20),
    )


def fin_ends_what_was_early(w: DropWire) -> list[list[str]]:
    w.established(**SYN)
    return segments(w, ("P.", 201, 1, 100), ("F.", 1, 1, 100))


def zero_window(w: DropWire) -> list[list[str]]:
    fd = w.listen()
    w.setsockopt(fd, 1, 8, 4000)
    w.inject("S", **SYN)
    w.run(20)
    w.inject(".", 1, 1)
    w.run(2)
    assert w.accept(fd) >= 0
    reasons = []
    seq = 1
    for _ in range(12):
        reasons += segments(w, ("P.", seq, 1, 1000))
        seq += 1000
    return reasons


def old_timestamps(w: DropWire) -> list[list[str]]:
    w.established(tsecr=0, **STAMPED)
    reasons = segments(w, ("P.", 1, 1, 10), ts=True, tsval=20_000)
    reasons += segments(w, ("P.", 11, 1, 10), ("S", 11, 1, 0), (".", 11, 1, 0), ("R", 11, 1, 0), ts=True, tsval=15_000)
    return reasons


def overtaken_acknowledgement(w: DropWire) -> list[list[str]]:
    w.established(tsecr=0, **STAMPED)
    reasons = segments(w, (".", 1, 1, 0), ts=True, tsval=10_010)
    return reasons + segments(w, (".", 1, 1, 0), ts=True, tsval=10_005)


def old_acknowledgement(w: DropWire) -> list[list[str]]:
    w.established(tsecr=0, **STAMPED)
    reasons = segments(w, ("P.", 1, 1, 10), ts=True, tsval=10_010)
    return reasons + segments(w, (".", 1, 1, 0), ("P.", 1, 1, 0), ("P.", 1, 1, 10), (".", 50, 1, 0), ts=True, tsval=10_005)


def request_with_old_timestamp(w: DropWire) -> list[list[str]]:
    w.listen()
    w.inject("S", tsecr=0, **STAMPED)
    w.run(2)
    return segments(w, (".", 1, 1, 0), ts=True, tsval=9_000) + segments(w, (".", 1, 1, 0), ts=True, tsval=10_001, tsecr=77)


def full_accept_queue(w: DropWire) -> list[list[str]]:
    w.listen(0)
    reasons = []
    for port in (50001, 50002, 50003):
        w.remote_port = port
        w.local_isn = None
        reasons += segments(w, ("S", 0, 0, 0), **SYN)
    for port in (50001, 50002):
        w.remote_port = port
        w.local_isn = None
        w.inject("S", **SYN)
        w.run(1)
        if w.local_isn is not None:
            reasons += segments(w, (".", 1, 1, 0), ("P.", 1, 1, 10))
    return reasons


def deferred_accept(w: DropWire) -> list[list[str]]:
    w.setsockopt(w.listen(), 6, 9, 5)
    return segments(w, ("S", 0, 0, 0), **SYN) + segments(w, (".", 1, 1, 0), (".", 1, 1, 0), ("P.", 1, 1, 5))


def too_few_hops_left(w: DropWire) -> list[list[str]]:
    fd = w.established(**SYN)
    w.setsockopt(fd, 0, 21, 100)
    return segments(w, ("P.", 1, 1, 10))


def time_wait_with_old_timestamp(w: DropWire) -> list[list[str]]:
    fd = w.established(tsecr=0, **STAMPED)
    w.shutdown(fd, 1)
    w.run(1)
    w.inject("F.", 1, 2, ts=True, tsval=10_010)
    w.run(1)
    reasons = segments(w, ("S", 0, 0, 0), ("P.", 2, 2, 10), ("R", 2, 2, 0), ts=True, tsval=9_000)
    return reasons + segments(w, (".", 2, 2, 0), ts=True, tsval=10_020)


def refused_by_timestamp(w: DropWire) -> list[list[str]]:
    w.connect()
    w.run(1)
    return segments(w, ("S.", 0, 1, 0), ts=True, tsval=5, tsecr=1, mss=1000)


def data_after_close(w: DropWire) -> list[list[str]]:
    w.close(w.established(**SYN))
    return segments(w, ("P.", 1, 1, 10), ("P.", 11, 1, 10))


SCENES: tuple[Scene, ...] = (
    nobody_listens,
    broken_segments,
    out_of_order,
    fin_ends_what_was_early,
    zero_window,
    old_timestamps,
    overtaken_acknowledgement,
    old_acknowledgement,
    request_with_old_timestamp,
    full_accept_queue,
    deferred_accept,
    too_few_hops_left,
    time_wait_with_old_timestamp,
    refused_by_timestamp,
    data_after_close,
)


@pytest.fixture(scope="module")
def reasons() -> Iterator[HostReasons]:
    reasons = HostReasons()
    yield reasons
    reasons.close()


@pytest.mark.root
@pytest.mark.needs("ip", "sysctl")
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_reason_is_linux_s(scene: Scene, reasons: HostReasons) -> None:
    assert scene(TwinDrops()) == on_host(scene, lambda: HostDrops(reasons))
