"""The two queues of a listener: limits, cookies, overflow, deferred accept (sheet 03, 3.2 to 3.8)."""

from tests.tcpwire import TwinWire
from twinsock.uapi.snmp import (
    LINUX_MIB_EMBRYONICRSTS,
    LINUX_MIB_LISTENDROPS,
    LINUX_MIB_LISTENOVERFLOWS,
    LINUX_MIB_SYNCOOKIESFAILED,
    LINUX_MIB_SYNCOOKIESRECV,
    LINUX_MIB_SYNCOOKIESSENT,
    LINUX_MIB_TCPDEFERACCEPTDROP,
    LINUX_MIB_TCPREQQFULLDOCOOKIES,
    LINUX_MIB_TCPREQQFULLDROP,
    LINUX_MIB_TCPSYNRETRANS,
    LINUX_MIB_TCPTIMEOUTS,
    LINUX_MIB_TCPTIMEWAITOVERFLOW,
)
from twinsock.uapi.tcp import TCP_CLOSE_WAIT, TCP_DEFER_ACCEPT, TCP_ESTABLISHED


def answered(w: TwinWire, count: int, first_port: int = 50000) -> int:
    """Send SYNs from many ports; return how many are answered."""
    total = 0
    for i in range(count):
        w.remote_port = first_port + i
        w.inject("S", mss=1000)
        total += len(w.take())
    return total


def test_without_cookies_backlog_plus_one_requests_fit() -> None:
    for backlog, want in ((0, 1), (3, 4)):
        w = TwinWire()
        w.world.net.ipv4.sysctl_tcp_syncookies = 0
        w.listen(backlog)
        assert answered(w, 10) == want
        assert w.world.mib(LINUX_MIB_TCPREQQFULLDROP) == w.world.mib(LINUX_MIB_LISTENDROPS) == 10 - want


def test_without_cookies_a_quarter_of_the_syn_backlog_stays_free() -> None:
    w = TwinWire()
    w.world.net.ipv4.sysctl_tcp_syncookies = 0
    w.world.net.ipv4.sysctl_max_syn_backlog = 16
    w.listen(40)
    assert answered(w, 60) == 13
    assert w.world.mib(LINUX_MIB_TCPREQQFULLDROP) == 0


def test_with_cookies_every_syn_is_answered_and_a_cookie_completes() -> None:
    w = TwinWire()
    w.world.net.ipv4.sysctl_max_syn_backlog = 16
    lfd = w.listen(40)
    assert answered(w, 60) == 60
    mib = w.world.mib
    assert mib(LINUX_MIB_SYNCOOKIESSENT) == mib(LINUX_MIB_TCPREQQFULLDOCOOKIES) == 60 - 41
    w.inject(".", 1, 1)
    w.inject("P.", 1, 1, 10)
    assert mib(LINUX_MIB_SYNCOOKIESRECV) == 1
    fd = w.accept(lfd)
    assert w.recv(fd, 100) == 10
    w.remote_port = 49999
    w.take()
    w.inject(".", 1, 1)
    assert mib(LINUX_MIB_SYNCOOKIESFAILED) == 1
    assert [text.split()[0] for _, text in w.take()] == ["R"]


def test_cookies_always_store_nothing() -> None:
    w = TwinWire()
    w.world.net.ipv4.sysctl_tcp_syncookies = 2
    lfd = w.listen(1)
    assert answered(w, 5) == 5
    assert w.world.sk(lfd).icsk_accept_queue.qlen == 0
    assert w.world.mib(LINUX_MIB_TCPREQQFULLDOCOOKIES) == 5


def test_a_final_ack_at_a_full_accept_queue_waits_or_resets() -> None:
    for abort in (0, 1):
        w = TwinWire()
        w.world.net.ipv4.sysctl_tcp_abort_on_overflow = abort
        lfd = w.listen(0)
        for port in (50000, 50001):
            w.remote_port = port
            w.inject("S", mss=1000)
        isn = w.local_isn
        w.remote_port = 50001
        w.inject(".", 1, 1)
        w.remote_port = 50000
        w.inject("S", mss=1000)
        w.take()
        w.inject(".", 1, 1)
        mib = w.world.mib
        assert isn is not None
        assert mib(LINUX_MIB_LISTENOVERFLOWS) == 1
        assert len([text for _, text in w.take() if text[0] == "R"]) == abort
        assert mib(LINUX_MIB_EMBRYONICRSTS) == abort
        assert w.accept(lfd) >= 0
        w.inject("P.", 1, 1, 5)
        fd = w.accept(lfd)
        if abort:
            assert fd == -11
        else:
            assert w.recv(fd, 10) == 5


def test_a_syn_ack_is_sent_five_times_more() -> None:
    w = TwinWire()
    lfd = w.listen()
    w.inject("S", mss=1000)
    w.run(70_000)
    seconds = [when / 1000 for when, _ in w.take()]
    assert len(seconds) == 6
    assert all(want <= got < want * 1.03 + 0.01 for got, want in zip(seconds, (0, 1, 3, 7, 15, 31), strict=True))
    assert w.world.mib(LINUX_MIB_TCPSYNRETRANS) == 5
    assert w.world.mib(LINUX_MIB_TCPTIMEOUTS) == 6
    assert w.world.sk(lfd).icsk_accept_queue.qlen == 0


def test_deferred_accept_drops_the_bare_ack() -> None:
    w = TwinWire()
    lfd = w.listen()
    w.setsockopt(lfd, 6, TCP_DEFER_ACCEPT, 2)
    assert w.world.getsockopt(lfd, 6, TCP_DEFER_ACCEPT) == (3).to_bytes(4, "little")
    w.inject("S", mss=1000)
    w.inject(".", 1, 1)
    assert w.world.mib(LINUX_MIB_TCPDEFERACCEPTDROP) == 1
    assert w.accept(lfd) == -11
    w.inject("P.", 1, 1, 10)
    fd = w.accept(lfd)
    assert w.world.sk(fd).sk_state == TCP_ESTABLISHED
    assert w.recv(fd, 20) == 10


def test_a_fin_completes_a_deferred_connection() -> None:
    w = TwinWire()
    lfd = w.listen()
    w.setsockopt(lfd, 6, TCP_DEFER_ACCEPT, 2)
    w.inject("S", mss=1000)
    w.inject("F.", 1, 1)
    fd = w.accept(lfd)
    assert w.world.sk(fd).sk_state == TCP_CLOSE_WAIT


def test_a_new_syn_takes_the_place_of_a_time_wait() -> None:
    w = TwinWire()
    lfd = w.listen()
    w.inject("S", mss=1000)
    w.inject(".", 1, 1)
    fd = w.accept(lfd)
    w.close(fd)
    w.inject("F.", 1, 2)
    assert w.world.net.ipv4.tw_count == 1
    w.take()
    w.isn = 100000
    w.inject("S", mss=1000)
    assert [text.split()[0] for _, text in w.take()] == ["S."]
    assert w.world.net.ipv4.tw_count == 0


def test_the_time_wait_limit_closes_at_once() -> None:
    w = TwinWire()
    w.world.net.ipv4.sysctl_max_tw_buckets = 0
    lfd = w.listen()
    w.inject("S", mss=1000)
    w.inject(".", 1, 1)
    w.close(w.accept(lfd))
    w.inject("F.", 1, 2)
    assert w.world.net.ipv4.tw_count == 0
    assert w.world.mib(LINUX_MIB_TCPTIMEWAITOVERFLOW) == 1
    assert w.world.net.sockets_used == 1
