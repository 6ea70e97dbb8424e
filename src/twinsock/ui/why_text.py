"""The answer of `twinsock why` as text."""

from __future__ import annotations

from twinsock.explain.report import FAILS, OK
from twinsock.explain.words import show_ms
from twinsock.uapi.errno import EADDRINUSE, ERRNO_NAMES
from twinsock.ui.term import BOLD, CYAN, DIM, GREEN, RED, YELLOW, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Blocker, Report, Variant
    from twinsock.ui.term import Paper

BLOCKERS_SHOWN = 6
LABEL_WIDTH = 42


def draw(paper: Paper, report: Report) -> None:
    """Write the whole answer."""
    _headline(paper, report)
    if report.blockers:
        paper.title("In the way")
        for blocker in report.blockers[:BLOCKERS_SHOWN]:
            _blocker(paper, blocker)
        if len(report.blockers) > BLOCKERS_SHOWN:
            paper.line(f"  and {len(report.blockers) - BLOCKERS_SHOWN} more")
    if report.path and report.result != OK:
        paper.title("Where the kernel decides")
        paper.prose(" > ".join(report.path))
    if _worth_a_table(report):
        paper.title("With other options")
        for variant in report.variants:
            _variant(paper, variant)
    if report.remedies:
        paper.title("What helps")
        for number, remedy in enumerate(report.remedies, 1):
            paper.prose(remedy.action, 5, f"  {number}.", CYAN)
            paper.prose(remedy.text, 5)
    if report.elsewhere:
        paper.title("In other network namespaces (no conflict)")
        for line in report.elsewhere:
            paper.prose(line)
    if report.notes:
        paper.title("Notes")
        for line in report.notes:
            paper.prose(line)
    if report.proof:
        paper.title("Proof")
        paper.prose(report.proof, 2, "", GREEN if report.proof_agrees else RED)


def _worth_a_table(report: Report) -> bool:
    """Tell whether options make a difference, or people would think so."""
    outcomes = {(variant.result, variant.errno) for variant in report.variants}
    return len(outcomes) > 1 or (report.errno == EADDRINUSE and bool(outcomes))


def _headline(paper: Paper, report: Report) -> None:
    """Write the verdict and its sentence."""
    if report.result == OK:
        verdict = paper.paint("can be reached" if report.question.connect else "free", BOLD, GREEN)
    elif report.result == FAILS:
        verdict = paper.paint(f"{report.call}() fails: {ERRNO_NAMES.get(report.errno, str(report.errno))}", BOLD, RED)
    else:
        verdict = paper.paint(f"cannot tell: {report.call}() may fail with {ERRNO_NAMES.get(report.errno, '')}", BOLD, YELLOW)
    target = clean(report.target)
    gap = "  " if not paper.width or len(target) + 40 <= paper.width else "\n  "
    paper.line(paper.paint(target, BOLD) + gap + verdict)
    paper.prose(report.sentence)


def _blocker(paper: Paper, blocker: Blocker) -> None:
    """Write one socket in the way."""
    times = f" ({blocker.count} alike)" if blocker.count > 1 else ""
    peer = f" to {blocker.remote}" if blocker.remote else ""
    device = f" on {blocker.device}" if blocker.device else ""
    lasts = f", {show_ms(blocker.lasts_ms)} left" if blocker.lasts_ms >= 0 else ""
    if paper.width and len(blocker.state + blocker.local + peer + device + times + lasts) + 3 > paper.width:
        paper.prose(f"{blocker.state} {blocker.local}{peer}{device}{times}{lasts}", 4, " ")
    else:
        paper.line(f"  {paper.paint(blocker.state, BOLD)} {clean(blocker.local)}{peer}{device}{times}{lasts}")
    for holder in blocker.holders[:BLOCKERS_SHOWN]:
        since = f", running for {show_ms(holder.running_ms)}" if holder.running_ms >= 0 else ""
        unit = f", {holder.unit}" if holder.unit else ""
        paper.prose(f"{holder.comm} (pid {holder.pid}) descriptor {holder.fd}, uid {holder.uid}{unit}{since}", 4)
        if holder.parents:
            paper.prose("started by " + ", ".join(holder.parents), 6, "", DIM)
        if holder.command and holder.command != holder.comm:
            room = paper.width - 6 if paper.width else len(holder.command)
            shown = clean(holder.command)
            paper.line("      " + paper.paint(shown if len(shown) <= room else shown[: room - 3] + "...", DIM))
    if blocker.ghost:
        paper.prose(blocker.ghost, 4)
    paper.prose(blocker.why, 4)
    if blocker.facts:
        paper.prose("; ".join(blocker.facts), 4, "", DIM)


def _variant(paper: Paper, variant: Variant) -> None:
    """Write one row of the table of options."""
    if variant.result == OK:
        outcome, colour = "works", GREEN
    elif variant.result == FAILS:
        outcome, colour = f"{ERRNO_NAMES.get(variant.errno, '')} at {variant.call}()", RED
    else:
        outcome, colour = "cannot tell", YELLOW
    here = "  <- asked" if variant.asked else ""
    gap = " "
    if paper.width and LABEL_WIDTH + 3 + len(outcome + here) > paper.width:
        gap = "\n    "
    paper.line(
        f"  {variant.label:<{LABEL_WIDTH}}".rstrip(" " if gap != " " else "") + gap + paper.paint(outcome, colour) + paper.paint(here, DIM)
    )
