"""Verdicts about listeners, and whose the namespace's counters are, on made-up records."""

import pytest

from twinsock.explain.findings import WRONG
from twinsock.explain.listeners import Window, attribute, judge, share_sentence
from twinsock.inspect.findings import Listener, ListenSpace, ProcessFacts
from twinsock.inspect.records import SocketRecord
from twinsock.uapi.in_ import IPPROTO_TCP
from twinsock.uapi.socket import AF_INET
from twinsock.uapi.tcp import TCP_LISTEN


def listener(port: int, queue: int = 0, limit: int = 128, drops: int = 0) -> Listener:
    record = SocketRecord(AF_INET, IPPROTO_TCP, TCP_LISTEN)
    record.local, record.local_port = bytes(4), port
    one = Listener(1, record, None)
    one.cookie = port
    one.queue, one.limit, one.drops = queue, limit, drops
    return one


def space(*listeners: Listener, **counters: int) -> ListenSpace:
    made = ListenSpace(1, "network namespace 1", True)
    made.listeners = list(listeners)
    made.counters = counters
    made.somaxconn, made.syncookies = 4096, 1
    return made


def rules(one: Listener, where: ListenSpace) -> list[str]:
    return [finding.rule for finding in judge(where, one)]


def test_a_queue_is_full_only_above_its_limit() -> None:
    at, above = listener(80, queue=128), listener(81, queue=129)
    assert rules(at, space(at)) == []
    assert rules(above, space(above)) == ["full"]


def test_a_wait_of_a_second_is_a_stall() -> None:
    one = listener(80, queue=1)
    one.oldest_ms = 999
    assert rules(one, space(one)) == []
    one.oldest_ms = 1000
    assert rules(one, space(one)) == ["stalled"]
    one.members = 3
    assert rules(one, space(one)) == ["stuck-member"]


def test_a_limit_equal_to_the_default_somaxconn_is_not_called_clamped() -> None:
    one = listener(80, limit=4096)
    where = space(one)
    assert rules(one, where) == []
    where.somaxconn = one.limit = 100
    assert rules(one, where) == ["clamped"]


def test_a_listener_is_stopped_only_if_all_its_processes_are() -> None:
    one = listener(80, queue=1)
    one.owners = [ProcessFacts(1), ProcessFacts(2)]
    one.owners[0].state, one.owners[1].state = "T", "S"
    assert rules(one, space(one)) == []
    one.owners[1].state = "T"
    assert rules(one, space(one)) == ["stopped"]


@pytest.mark.parametrize(("opened", "rule"), [(89, None), (91, "near-fd-limit"), (100, "fd-limit")])
def test_descriptors_are_held_against_their_limit(opened: int, rule: str | None) -> None:
    one = listener(80)
    one.owners = [ProcessFacts(7)]
    one.owners[0].fds_open, one.owners[0].fds_max = opened, 100
    assert rules(one, space(one)) == ([rule] if rule else [])


def test_drops_add_up_to_the_counters_or_are_left_over() -> None:
    first, second = listener(80, drops=3), listener(81, drops=4)
    drops, overflows = attribute(space(first, second, ListenDrops=9, ListenOverflows=9))
    for share in (drops, overflows):
        assert [(one.cookie, part) for one, part in share.of] == [(80, 3), (81, 4)]
        assert (share.unattributed, share.exact) == (2, True)
    assert share_sentence(drops).endswith("3 of tcp 0.0.0.0:80, 4 of tcp 0.0.0.0:81, 2 unattributed; of listeners that are gone")


def test_what_listeners_count_beyond_the_namespace_are_strays() -> None:
    one, two = listener(80, drops=5), listener(81, drops=5)
    (share,) = attribute(space(one, two, ListenDrops=6))
    assert (share.unattributed, share.exact) == (0, False)
    assert "stray" in share.why


def test_overflows_among_other_drops_are_at_most_a_listeners_own() -> None:
    one, two = listener(80, drops=5), listener(81, drops=5)
    _drops, overflows = attribute(space(one, two, ListenDrops=10, ListenOverflows=4))
    assert ([part for _one, part in overflows.of], overflows.exact) == ([4, 4], False)


def test_cookies_are_attributed_if_only_one_syn_queue_is_full() -> None:
    full, other = listener(80, limit=2), listener(81, limit=2)
    full.syn_recv = 3
    (share,) = attribute(space(full, other, TCPReqQFullDoCookies=7))
    assert [(one.cookie, part) for one, part in share.of] == [(80, 7)]
    other.syn_recv = 3
    (share,) = attribute(space(full, other, TCPReqQFullDoCookies=7))
    assert (share.of, share.unattributed) == ([], 7)


def test_a_window_counts_only_what_happened_in_it() -> None:
    before, after = space(listener(80, drops=5), ListenDrops=5), space(listener(80, drops=9), listener(81, drops=2), ListenDrops=11)
    before.time_ns, after.time_ns = 0, 2_000_000_000
    window = Window([before], [after])
    old, new = after.listeners
    assert (window.drops(old), window.drops(new), window.seconds) == (4, 2, 2.0)
    (finding,) = judge(after, old, window)
    assert (finding.rule, finding.level) == ("drops", WRONG)
    assert "2.0 a second" in finding.sentence
    (share,) = attribute(after, window)
    assert (share.value, [part for _one, part in share.of]) == (6, [4, 2])
