"""From a Snapshot to a Report: ask the twin, reason over what cannot be seen, say who is in the way and what helps.

The rules of bind(2) and listen(2) are the twin's; here are only questions and words.
"""

from __future__ import annotations

from twinsock.explain.report import FAILS, OK, UNKNOWN, Report, Variant
from twinsock.explain.twin import AdoptedHost, Attempt
from twinsock.explain.words import doubt_programs, options_of, show_endpoint, show_target, task_notes
from twinsock.inspect.facts import FLAGS_UNKNOWN, REUSEADDR, REUSEPORT, V6ONLY
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.facts import Question, Snapshot

BOTH = REUSEADDR | REUSEPORT
HITS_MAX = 64


class Outcome:
    """What the twin says about a question, over all values that the hidden flags may have."""

    def __init__(self, worst: Attempt, best: Attempt, unless: str) -> None:
        self.worst = worst
        self.best = best
        self.unless = unless

    @property
    def result(self) -> str:
        """Give OK, FAILS or UNKNOWN."""
        if self.worst.errno == self.best.errno:
            return OK if not self.worst.errno else FAILS
        return UNKNOWN


def explain(snapshot: Snapshot) -> Report:
    """Answer the question that a snapshot was taken for."""
    question = snapshot.question
    report = Report(question)
    report.target = show_target(question)
    report.notes = [*snapshot.hidden, *task_notes(snapshot.task)]
    if snapshot.elsewhere:
        from twinsock.explain.blockers import describe_elsewhere

        report.elsewhere = describe_elsewhere(snapshot)
    host = AdoptedHost(snapshot)
    outcome = ask(host, question)
    if question.listen and question.port and snapshot.sockets:
        from twinsock.explain import held

        refused = held.ask_own_listen(report, host) if question.pid else None
        if refused is not None:
            question, outcome = refused
            report.question = snapshot.question = question
        elif outcome.result != OK and not question.pid:
            held.note_waiting(report, snapshot)
    attempt = outcome.worst
    if attempt.hits:
        attempt.hits = all_hits(host, question, attempt)
    report.result = outcome.result
    report.call = attempt.call
    report.errno = attempt.errno
    report.port = attempt.port
    report.path = attempt.path
    report.unless = outcome.unless if report.result == UNKNOWN else ""
    if report.result == OK:
        _describe_success(report)
        doubt_programs(report, snapshot.task)
    else:
        _describe_failure(report, snapshot, host, attempt)
    if question.port and question.held < 0 and (report.result != OK or snapshot.sockets):
        report.variants = variants(host, question, outcome)
    return report


def _describe_success(report: Report) -> None:
    """Say that it will work."""
    question = report.question
    report.rule = "free"
    if not question.port:
        report.sentence = f"bind to port 0 gives a free port, such as {report.port}."
        return
    does = "bind() succeeds." if not question.listen else "bind() and listen() succeed."
    with_what = "" if options_of(question) == "no options" else f" with {options_of(question)}"
    report.sentence = f"{show_endpoint(question.address, question.port, question.zone)} is free{with_what}: {does}"


def _describe_failure(report: Report, snapshot: Snapshot, host: AdoptedHost, attempt: Attempt) -> None:
    """Say who is in the way, by which rule, and what helps."""
    from twinsock.explain import rules
    from twinsock.explain.blockers import describe_blockers
    from twinsock.explain.remedies import find_remedies

    describe_blockers(report, snapshot, attempt)
    rules.describe(report, snapshot, attempt)
    find_remedies(report, snapshot, host, attempt)


def ask(twin: AdoptedHost, question: Question, without: frozenset[int] = frozenset()) -> Outcome:
    """Ask the twin; where flags of other sockets are hidden, ask for every way they may be set."""
    flags = twin.snapshot.flags
    if FLAGS_UNKNOWN not in flags:
        attempt = twin.attempt(question, flags, without)
        return Outcome(attempt, attempt, "")
    worst = twin.attempt(question, _assume(flags, 0), without)
    if not worst.errno:
        return Outcome(worst, worst, "")
    best = twin.attempt(question, _assume(flags, BOTH | V6ONLY), without)
    if best.errno:
        return Outcome(worst, best, "")
    for bit, name in ((V6ONLY, "IPV6_V6ONLY"), (REUSEADDR, "SO_REUSEADDR"), (REUSEPORT, "SO_REUSEPORT")):
        if not twin.attempt(question, _assume(flags, bit), without).errno:
            return Outcome(worst, best, name)
    return Outcome(worst, best, "SO_REUSEADDR and SO_REUSEPORT")


def all_hits(twin: AdoptedHost, question: Question, first: Attempt) -> list[tuple[int, int]]:
    """Find everybody in the way: take those found away, with all that are alike, and ask again."""
    snapshot = twin.snapshot
    flags = _assume(snapshot.flags, 0)
    found: list[tuple[int, int]] = []
    without: frozenset[int] = frozenset()
    attempt = first
    while attempt.hits and attempt.errno == first.errno and len(found) < HITS_MAX:
        found += attempt.hits
        kinds = [_kind(snapshot, index) for index, _rule in attempt.hits]
        gone = {index for index in range(len(snapshot.sockets)) if _kind(snapshot, index) in kinds and index != question.held}
        alike = [index for index in sorted(gone - without) if index not in [hit for hit, _rule in attempt.hits]]
        found += [(index, attempt.hits[kinds.index(_kind(snapshot, index))][1]) for index in alike]
        without |= gone
        attempt = twin.attempt(question, flags, without)
    return found


def _kind(snapshot: Snapshot, index: int) -> tuple[object, ...]:
    """Give what makes two sockets the same to the rules."""
    record = snapshot.sockets[index]
    listens = record.state == TCP_LISTEN
    return record.family, record.local, record.ifindex, record.uid, record.timer == 3, listens, record.v6only, snapshot.flags[index]


def _assume(flags: list[int], value: int) -> list[int]:
    """Replace hidden flags by one value."""
    return [value if known == FLAGS_UNKNOWN else known for known in flags]


def variants(twin: AdoptedHost, question: Question, own: Outcome) -> list[Variant]:
    """Ask what other sets of options would get."""
    found: list[Variant] = []
    wildcard6 = question.family == AF_INET6 and question.is_wildcard() and not question.is_mapped()
    only = [0, 1] if wildcard6 else [question.v6only]
    now = question.v6only if question.v6only >= 0 or not wildcard6 else twin.snapshot.sysctls.bindv6only
    for v6only in only:
        for reuse in (0, REUSEADDR, REUSEPORT, BOTH):
            other = question.copy()
            other.v6only = v6only
            other.reuseaddr = bool(reuse & REUSEADDR)
            other.reuseport = bool(reuse & REUSEPORT)
            variant = Variant(_label(other, wildcard6))
            variant.asked = other.reuseaddr == question.reuseaddr and other.reuseport == question.reuseport and v6only == now
            outcome = own if variant.asked else ask(twin, other)
            variant.result = outcome.result
            variant.errno = outcome.worst.errno
            variant.call = outcome.worst.call
            found.append(variant)
    return found


def _label(question: Question, with_v6only: bool) -> str:
    """Name a set of options."""
    other = question.copy()
    other.freebind = other.transparent = False
    if not with_v6only or not other.v6only:
        other.v6only = -1
    return options_of(other).replace("no options", "none of them")
