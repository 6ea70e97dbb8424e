"""`twinsock count` looks again while something may settle, and only then."""

from typing import Any

import pytest

from twinsock.explain.count import Field
from twinsock.inspect.findings import CountSnapshot, CountSpace
from twinsock.ui import count


class NoTool:
    """Stands for a command without options; its kernel's clock is that of the looks."""

    def __init__(self, port: "Looks") -> None:
        self.port = port

    def namespaces(self, everywhere: bool) -> list[Any]:
        return []


class Looks:
    """Gives one reconciliation after the other, and keeps the time that was slept."""

    def __init__(self, rests: list[dict[str, int]], hidden: int = 0) -> None:
        self.rests = rests
        self.hidden = hidden
        self.taken = 0
        self.now = 0.0

    def reconcile(self, _tool: object, _wanted: object) -> count.Answer:
        rests = self.rests[min(self.taken, len(self.rests) - 1)]
        self.taken += 1
        snapshot = CountSnapshot()
        snapshot.hidden_processes = self.hidden
        answer = count.Answer(snapshot)
        space = CountSpace(1, "one", True, True)
        answer.spaces = [(space, [Field(name, rest, "namespace") for name, rest in rests.items() if name != "TCP alloc"])]
        answer.globals = [Field(name, rest, "global") for name, rest in rests.items() if name == "TCP alloc"]
        return answer

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def now_ns(self) -> int:
        return int(self.now * 1e9)


def steady(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(count, "_reconcile", looks.reconcile)
    return count._steady_answer(NoTool(looks)).rests()  # type: ignore[arg-type]


def test_a_closed_socket_that_lingers_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 1}] * 5 + [{"sockets used": 0}])
    assert steady(looks, monkeypatch) == [0]
    assert (looks.taken, looks.now < 1) == (6, True)


def test_what_stays_left_over_is_told_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 1}])
    assert steady(looks, monkeypatch) == [1]
    assert looks.now == pytest.approx(1.0)
    assert looks.taken < 10


def test_where_processes_are_hidden_the_wait_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 1}], hidden=3)
    assert steady(looks, monkeypatch) == [1]
    assert looks.now == pytest.approx(0.25)


def test_what_cannot_linger_and_does_not_move_is_told_at_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 0, "TCP inuse": 1}])
    assert steady(looks, monkeypatch) == [0, 1]
    assert looks.taken == 2


def test_nothing_left_over_needs_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 0, "TCP alloc": 0}])
    assert steady(looks, monkeypatch) == [0, 0]
    assert looks.taken == 1


def test_an_explained_namespace_counts_more_than_what_moves_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks([{"sockets used": 1, "TCP alloc": 0}, {"sockets used": 0, "TCP alloc": 5}, {"sockets used": 1, "TCP alloc": 5}])
    assert steady(looks, monkeypatch) == [5, 0]  # the counters of the machine come first
