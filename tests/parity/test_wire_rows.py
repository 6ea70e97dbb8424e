"""What the tables and counters tell while a hand-made peer holds a connection in each of its states: /proc/net/tcp column by column,
inet_diag, sockstat, and the counters of listeners, aborts and TIME_WAIT."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.parity.test_tcp_wire import NOT_COUNTED, same
from tests.tcpwire import HostWire, TwinWire, Wire, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.needs("ip", "sysctl")]

SYN = {"mss": 1000, "sack_ok": True, "wscale": 7}
RUNS = 8  # orphans and allocations of other programs count too
Result = list[object]


def rows(w: Wire) -> Result:
    """Return /proc/net/tcp: the text of each line without inode and pointer, then timer, rto and ato in milliseconds."""
    found: Result = []
    for line in w.proc("tcp").splitlines()[1:]:
        words = line.split()
        timer, when = words[5].split(":")
        words[5] = timer
        words[9] = "inode" if int(words[9]) else "0"
        words[11] = ""
        estimates = [float(int(word) * 10) for word in words[12:14]]
        del words[12:14]
        text = " ".join(words).replace(f":{w.local_port:04X}", ":local").replace(f":{w.remote_port:04X}", ":remote")
        found += [text, float(int(when, 16) * 10), *estimates]
    return found


def sockstat(w: Wire) -> dict[str, int]:
    words = w.proc("sockstat").split()
    return {name: int(words[words.index(name) + 1]) for name in ("used", "inuse", "orphan", "tw", "alloc")}


def syn(w: Wire, port: int, **options: Any) -> None:
    """Begin a connection from another port of the peer."""
    w.remote_port, w.local_isn = port, None
    w.inject("S", **(SYN | options))
    w.run(2)


def child(w: Wire, lfd: int, port: int, **options: Any) -> int:
    """Finish the handshake and accept."""
    syn(w, port, **options)
    w.inject(".", 1, 1)
    w.run(2)
    return w.accept(lfd)


# /proc/net/tcp


def listener_and_request(w: Wire) -> Result:
    lfd = w.listen(7)
    out = [rows(w)]
    syn(w, 40001)
    out.append(rows(w))
    w.run(1100)
    out.append(rows(w))
    w.inject(".", 1, 1)
    w.run(2)
    return [*out, rows(w), w.accept(lfd) >= 0, rows(w)]


def syn_is_sent(w: Wire) -> Result:
    w.connect()
    w.run(2)
    out = [rows(w)]
    w.run(1100)
    return [*out, rows(w)]


def crossed_syns(w: Wire) -> Result:
    w.connect()
    w.run(2)
    w.inject("S", **SYN)
    w.run(2)
    return [rows(w)]


def data_waits(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    out = [rows(w)]
    w.inject("P.", 1, 1, 100, win=500)
    w.run(2)
    out.append(rows(w))
    w.recv(fd, 60)
    w.run(60)
    out.append(rows(w))
    w.send(fd, 1500)
    w.run(2)
    out.append(rows(w))
    w.inject(".", 101, 1501, win=500)
    w.run(2)
    return [*out, rows(w)]


def retransmitting(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.send(fd, 1000)
    w.run(900)
    return [rows(w)]


def probing_a_closed_window(w: Wire) -> Result:
    fd = w.established(win=500, **SYN)
    w.inject(".", 1, 1, win=0)
    w.run(2)
    w.send(fd, 100)
    w.run(2)
    out = [rows(w)]
    w.run(300)
    return [*out, rows(w)]


def keeping_alive(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.setsockopt(fd, 6, 4, 1)
    w.setsockopt(fd, 1, 9, 1)
    w.run(2)
    out = [rows(w)]
    w.run(1100)
    return [*out, rows(w)]


def closing_first(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.shutdown(fd, 1)
    w.run(2)
    out = [rows(w)]
    w.inject(".", 1, 2)
    w.run(2)
    out.append(rows(w))
    w.inject("F.", 1, 2)
    w.run(2)
    return [*out, rows(w)]


def closing_at_once(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.shutdown(fd, 1)
    w.run(2)
    w.inject("F.", 1, 1)
    w.run(2)
    return [rows(w)]


def closing_second(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.inject("P.", 1, 1, 10)
    w.inject("F.", 11, 1)
    w.run(60)
    out = [rows(w)]
    w.recv(fd, 10)
    out.append(rows(w))
    w.shutdown(fd, 1)
    w.run(2)
    return [*out, rows(w)]


def orphans(w: Wire) -> Result:
    fd = w.established(**SYN)
    w.close(fd)
    w.run(2)
    out = [rows(w)]
    w.inject(".", 1, 2)
    w.run(2)
    out.append(rows(w))
    w.inject("F.", 1, 2)
    w.run(2)
    return [*out, rows(w)]


# sockstat


class Deltas:
    """What each event changes in sockstat, one after the other."""

    def __init__(self, w: Wire) -> None:
        w.run(60)  # until what configured the device is gone
        self.w = w
        self.out: Result = []
        self.last = sockstat(w)

    def note(self, event: str) -> None:
        now = sockstat(self.w)
        self.out.append((event, {name: now[name] - self.last[name] for name in now if now[name] != self.last[name]}))
        self.last = now


def counted_from_listen_to_time_wait(w: Wire) -> Result:
    deltas = Deltas(w)
    lfd = w.listen()
    deltas.note("socket, bind, listen")
    syn(w, 40001)
    deltas.note("SYN arrives")
    w.inject(".", 1, 1)
    w.run(2)
    deltas.note("final ACK")
    fd = w.accept(lfd)
    deltas.note("accept")
    w.close(fd)
    w.run(2)
    deltas.note("close, FIN not acknowledged")
    w.inject(".", 1, 2)
    w.run(2)
    deltas.note("FIN acknowledged")
    w.inject("F.", 1, 2)
    w.run(2)
    deltas.note("FIN of the peer")
    fd = child(w, lfd, 40002)
    deltas.note("another connection")
    w.close(fd)
    w.inject(".", 1, 2)
    w.run(2)
    deltas.note("an orphan in FIN_WAIT2")
    w.inject("R", 1)
    w.run(2)
    deltas.note("RST for it")
    return deltas.out


def counted_with_a_descriptor(w: Wire) -> Result:
    deltas = Deltas(w)
    lfd = w.listen()
    fd = child(w, lfd, 40003)
    w.shutdown(fd, 1)
    w.inject(".", 1, 2)
    w.run(2)
    deltas.note("FIN_WAIT2")
    w.inject("F.", 1, 2)
    w.run(2)
    deltas.note("TIME_WAIT")
    w.close(fd)
    deltas.note("its descriptor closed")
    fd = child(w, lfd, 40004)
    w.inject("F.", 1, 1)
    w.run(2)
    w.close(fd)
    w.run(2)
    deltas.note("LAST_ACK")
    w.inject(".", 2, 2)
    w.run(2)
    deltas.note("passive close done")
    fd = child(w, lfd, 40005)
    deltas.note("another connection")
    w.inject("R", 1)
    w.run(2)
    deltas.note("RST")
    w.close(fd)
    deltas.note("then closed")
    return deltas.out


def counted_listener_and_client(w: Wire) -> Result:
    deltas = Deltas(w)
    lfd = w.listen()
    for port in (40006, 40007):
        syn(w, port)
        w.inject(".", 1, 1)
        w.run(2)
    deltas.note("two children wait")
    w.close(lfd)
    w.run(2)
    deltas.note("the listener closed")
    fd = w.connect()
    deltas.note("SYN_SENT")
    w.run(2)
    w.inject("R.", 0, 1)
    w.run(2)
    deltas.note("refused")
    w.close(fd)
    deltas.note("closed")
    return deltas.out


def mini_socket_ends(w: Wire) -> Result:
    lfd = w.listen()
    fd = child(w, lfd, 40001)
    w.setsockopt(fd, 6, 8, 1)
    w.close(fd)
    w.inject(".", 1, 2)
    w.run(2)
    before = sockstat(w)["tw"]
    w.run(1500)
    return [before, sockstat(w)["tw"]]


# counters


def opens_and_failures(w: Wire) -> Result:
    lfd = w.listen()
    fd = child(w, lfd, 40001)
    w.inject("R", 1)
    w.run(2)
    w.close(fd)
    syn(w, 40002)
    w.inject("R", 1)
    w.run(2)
    syn(w, 40003)
    w.inject("S", 5, **SYN)
    w.run(2)
    refused = w.connect()
    w.run(2)
    w.inject("R.", 0, 1)
    w.run(2)
    w.close(refused)
    fd = child(w, lfd, 40004)
    w.inject("F.", 1, 1)
    w.run(2)
    w.inject("R", 2)
    w.run(2)
    return [w.counters()]


def accept_queue_overflows(w: Wire) -> Result:
    w.listen(0)
    for port in (40001, 40002, 40003):
        syn(w, port)
        w.inject(".", 1, 1)
        w.run(2)
    return [w.counters(), rows(w)]


def abort_on_overflow(w: Wire) -> Result:
    w.sysctl("ipv4/tcp_abort_on_overflow", "1")
    w.listen(0)
    for port in (40001, 40002):
        syn(w, port)
    for port in (40001, 40002):
        w.remote_port = port
        w.run(2)
    return [w.counters()]


def _fill_requests(w: Wire, cookies: str) -> Result:
    w.sysctl("ipv4/tcp_syncookies", cookies)
    w.sysctl("ipv4/tcp_max_syn_backlog", "4")
    w.listen(4)
    for port in range(40001, 40012):
        syn(w, port)
    return [w.counters()]


def full_syn_queue_without_cookies(w: Wire) -> Result:
    return _fill_requests(w, "0")


def full_syn_queue_with_cookies(w: Wire) -> Result:
    return _fill_requests(w, "1")


def cookies_always(w: Wire) -> Result:
    w.sysctl("ipv4/tcp_syncookies", "2")
    lfd = w.listen()
    syn(w, 40001)
    w.inject(".", 1, 1)
    w.run(2)
    out: Result = [w.accept(lfd) >= 0]
    syn(w, 40002)
    w.inject(".", 1, 99)
    w.run(2)
    return [*out, w.accept(lfd), w.counters()]


def deferred_accept(w: Wire) -> Result:
    lfd = w.listen()
    w.setsockopt(lfd, 6, 9, 1)
    syn(w, 40001)
    w.inject(".", 1, 1)
    w.run(2)
    return [w.accept(lfd), w.counters()]


def aborts(w: Wire) -> Result:
    lfd = w.listen()
    fd = child(w, lfd, 40001)
    w.setsockopt_linger_zero(fd)
    w.close(fd)
    fd = child(w, lfd, 40002)
    w.inject("P.", 1, 1, 100)
    w.run(2)
    w.close(fd)
    fd = child(w, lfd, 40003)
    w.close(fd)
    w.run(2)
    w.inject("P.", 1, 1, 100)
    w.run(2)
    fd = child(w, lfd, 40004)
    w.setsockopt(fd, 6, 8, -1)
    w.close(fd)
    w.inject(".", 1, 2)
    w.run(2)
    fd = child(w, lfd, 40005)
    w.setsockopt(fd, 6, 18, 300)
    w.send(fd, 100)
    w.run(1500)
    return [w.counters()]


def time_waits(w: Wire) -> Result:
    w.sysctl("ipv4/tcp_max_tw_buckets", "1")
    lfd = w.listen()
    for port, linger2 in ((40001, 0), (40002, 1), (40003, 0)):
        fd = child(w, lfd, port)
        if linger2:
            w.setsockopt(fd, 6, 8, linger2)
        w.close(fd)
        w.run(2)
        w.inject(".", 1, 2)
        w.run(2)
        if not linger2:
            w.inject("F.", 1, 2)
            w.run(2)
    return [w.counters(), sockstat(w)["tw"]]


def killed_mini_sockets(w: Wire) -> Result:
    lfd = w.listen()
    for port, linger2 in ((40001, 1), (40002, 3), (40003, 5)):
        fd = child(w, lfd, port)
        w.setsockopt(fd, 6, 8, linger2)
        w.close(fd)
        w.inject(".", 1, 2)
        w.run(2)
    return [w.counters()]


def recycled_time_wait(w: Wire) -> Result:
    """The only automatic port is in TIME_WAIT: connect(2) takes it once the delay is over."""
    w.sysctl("ipv4/ip_local_port_range", "50000 50000")
    w.sysctl("ipv4/tcp_tw_reuse", "1")
    w.sysctl("ipv4/tcp_tw_reuse_delay", "100")
    fd = w.connect()
    w.run(2)
    w.inject("S.", 0, 1, mss=1000, ts=True, tsval=100, tsecr=0)
    w.run(2)
    w.shutdown(fd, 1)
    w.run(2)
    w.inject("F.", 1, 2, ts=True, tsval=101, tsecr=0)
    w.run(2)
    w.close(fd)
    before = [w.counters().get("TcpExt:" + name, 0) for name in ("TW", "TWRecycled")]
    w.run(300)
    w.local_isn = None
    w.connect()
    w.run(2)
    return [before, rows(w), w.counters()]


def challenges(w: Wire) -> Result:
    lfd = w.listen()
    child(w, lfd, 40001)
    w.inject("S", 1, **SYN)
    w.run(2)
    w.inject("R", 500)
    w.run(2)
    w.inject(".", 1, 90000)
    w.run(2)
    w.inject("P.", 900000, 1, 100)
    w.run(2)
    w.inject("R", 900000)
    w.run(2)
    return [w.counters()]


def migrated_requests(w: Wire) -> Result:
    """Two listeners in a group; the one with a request and a waiting child is closed."""
    w.sysctl("ipv4/tcp_migrate_req", "1")
    first = w.listen_shared()
    syn(w, 40001)
    w.inject(".", 1, 1)
    w.run(2)
    syn(w, 40002)
    second = w.listen_shared()
    w.close(first)
    w.run(2)
    w.inject(".", 1, 1)
    w.run(2)
    out: Result = [w.accept(second) >= 0, w.accept(second) >= 0]
    syn(w, 40003)
    w.close(second)
    w.inject(".", 1, 1)
    w.run(2)
    return [*out, w.counters()]


def requests_that_stay(w: Wire) -> Result:
    """The same without the sysctl, and without a group."""
    first = w.listen_shared()
    syn(w, 40001)
    w.inject(".", 1, 1)
    w.run(2)
    syn(w, 40002)
    second = w.listen_shared()
    w.close(first)
    w.run(2)
    w.inject(".", 1, 1)
    w.run(2)
    out: Result = [w.accept(second), w.counters()]
    w.close(second)
    alone = w.listen()
    syn(w, 40003)
    w.inject(".", 1, 1)
    w.run(2)
    syn(w, 40004)
    w.close(alone)
    w.inject(".", 1, 1)
    w.run(2)
    return [*out, w.counters()]


TABLES = [
    *(listener_and_request, syn_is_sent, crossed_syns, data_waits, retransmitting, probing_a_closed_window, keeping_alive, closing_first),
    *(
        closing_at_once,
        closing_second,
        orphans,
        counted_from_listen_to_time_wait,
        counted_with_a_descriptor,
        counted_listener_and_client,
        mini_socket_ends,
    ),
]
COUNTERS = [
    *(opens_and_failures, accept_queue_overflows, abort_on_overflow, full_syn_queue_without_cookies, full_syn_queue_with_cookies),
    *(
        cookies_always,
        deferred_accept,
        aborts,
        time_waits,
        killed_mini_sockets,
        recycled_time_wait,
        challenges,
        migrated_requests,
        requests_that_stay,
    ),
]


def told(scenario: Callable[[Wire], Result]) -> Callable[[Wire], Result]:
    """Return what a scenario sees, counters without those that depend on the device's driver."""

    def tell(w: Wire) -> Result:
        found: Result = []
        for part in scenario(w):
            found.append({name: part[name] for name in part if name not in NOT_COUNTED} if isinstance(part, dict) else part)
        return found

    return tell


@pytest.mark.parametrize("scenario", TABLES + COUNTERS, ids=lambda f: f.__name__)
def test_tables_and_counters_tell_the_same_of_a_hand_made_peer(scenario: Callable[[Wire], Result]) -> None:
    got = told(scenario)(TwinWire())
    want: Result = []
    for _ in range(RUNS):
        want = on_host(told(scenario), HostWire)
        if same(got, want, 100.0):
            return
    assert got == want
