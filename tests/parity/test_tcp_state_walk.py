"""Each state of a connection meets each kind of segment: replies, drop reason and the state after it are the live kernel's.

A kind is flags x sequence position x acknowledgement position, RFC 9293 3.10.7 taken as a table."""

from collections.abc import Iterator

import pytest

from tests.dropwire import HostDrops, HostReasons, TwinDrops
from tests.tcpwire import PORT, on_host

STATES = (
    "listen",
    "request",
    "established",
    "fin_wait1",
    "fin_wait2",
    "close_wait",
    "last_ack",
    "closing",
    "time_wait",
    "orphan_fin_wait2",
    "syn_sent",
)
FLAGS = (".", "P.", "F.", "FP.", "R", "R.", "S", "S.", "F", "P", "")
SEQUENCES = (0, -1, 20, 100_000_000)  # from what is expected: exact, just before, inside the window, far outside
ACKS = (0, -1, 50)  # from what is acceptable: exact, old, of unsent data
SYN = {"mss": 1000, "sack_ok": True, "wscale": 7}

Case = tuple[str, str, int, int]
DropWire = TwinDrops | HostDrops
Result = tuple[list[str], list[str], int, int]


def open_in(w: DropWire, lfd: int, state: str, port: int) -> tuple[int, int, int]:
    """Bring a connection into a state; return (descriptor or -1, next sequence number, acceptable acknowledgement)."""
    w.local_port = PORT
    w.local_isn = None
    if state == "syn_sent":
        return w.connect(port), 0, 1
    w.remote_port = port
    if state == "listen":
        return -1, 0, 0
    w.inject("S", **SYN)
    w.run(1)
    if state == "request":
        return -1, 1, 1
    w.inject(".", 1, 1)
    w.run(1)
    fd = w.accept(lfd)
    assert fd >= 0, (state, port, fd)
    seq, ack = 1, 1
    if state in ("close_wait", "last_ack"):
        w.inject("F.", 1, 1)
        w.run(9)  # until the FIN is acknowledged
        seq = 2
    if state in ("fin_wait1", "fin_wait2", "closing", "last_ack", "time_wait"):
        w.shutdown(fd, 1)
        w.run(1)
        ack = 2
    if state in ("fin_wait2", "time_wait"):
        w.inject(".", seq, 2)
        w.run(1)
    if state in ("closing", "time_wait"):
        w.inject("F.", 1, 1 if state == "closing" else 2)
        w.run(1)
        seq = 2
    if state == "orphan_fin_wait2":
        w.close(fd)
        w.run(1)
        w.inject(".", 1, 2)
        w.run(1)
        return -1, 1, 2
    return fd, seq, ack


def walk(w: DropWire, cases: list[Case]) -> list[Result]:
    """Return, for each case, the replies, why the segment was dropped, the state after and the socket's drops (0: no descriptor)."""
    lfd = w.listen(500)
    results: list[Result] = []
    for number, (state, flags, dseq, dack) in enumerate(cases):
        fd, seq, ack = open_in(w, lfd, state, 20000 + number)
        w.run(1)
        w.take()
        w.inject(flags, seq + dseq, ack + dack, 10 if "P" in flags else 0)
        drops = w.drops
        w.run(2 if state in ("last_ack", "fin_wait1", "closing", "syn_sent") else 9)
        replies = [text for _, text in w.take()]
        after, counted = (w.info(fd)[0], w.meminfo(fd)[8]) if fd >= 0 else (0, 0)
        results.append((replies, drops, after, counted))
        if fd >= 0:
            w.setsockopt_linger_zero(fd)
            w.close(fd)
        elif state == "request":
            w.inject("R", 1)
        while (left := w.accept(lfd)) >= 0:
            w.setsockopt_linger_zero(left)
            w.close(left)
        w.run(0.3)
        w.take()
    return results


def cases_of(state: str) -> list[Case]:
    return [(state, flags, dseq, dack) for flags in FLAGS for dseq in SEQUENCES for dack in ACKS]


@pytest.fixture(scope="module")
def reasons() -> Iterator[HostReasons]:
    reasons = HostReasons()
    yield reasons
    reasons.close()


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.needs("ip", "sysctl")
@pytest.mark.parametrize("state", STATES)
def test_every_segment_in_every_state(state: str, reasons: HostReasons) -> None:
    got = walk(TwinDrops(), cases_of(state))
    want = on_host(lambda wire: walk(wire, cases_of(state)), lambda: HostDrops(reasons))
    wrong = [(case, a, b) for case, a, b in zip(cases_of(state), got, want, strict=True) if a != b]
    assert not wrong, f"{len(wrong)} of {len(got)}: " + "".join(f"\n{case}\n  twin {a}\n  host {b}" for case, a, b in wrong[:12])
