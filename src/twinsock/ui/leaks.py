"""`twinsock leaks`: what programs forget to close, grouped by process."""

from __future__ import annotations

from twinsock.ui.args import UsageError, printable
from twinsock.ui.tool import ALL_NETNS, COMMON, DEEP, FOR, NETNS, look_again, pid_of, run, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.findings import Finding
    from twinsock.explain.leaks import Growth
    from twinsock.inspect.findings import LeakProcess, LeakSnapshot
    from twinsock.ui.asked import Asked
    from twinsock.ui.tool import Tool

OPTIONS = (
    ("", "older", "SECONDS", "CLOSE_WAIT is wrong from this age on, 60 seconds if not said otherwise"),
    FOR,
    NETNS,
    ALL_NETNS,
    DEEP,
    *COMMON,
)
HELP = """\
usage: twinsock leaks [PID ...] [options]

What programs forget to close: connections in CLOSE_WAIT and for how long, dead sockets (reset, with the descriptor
still open), sockets that were never bound, descriptors near the limit, listeners that a child has inherited. By process,
in all network namespaces that can be entered; with PID everything about these.

OPTIONS

examples
  twinsock leaks                     who leaks?
  twinsock leaks 4242 --for 30s      does it grow, and when will it hit its limit?
  twinsock leaks --older 5 --json

exit codes: 0 nothing leaks   1 something does   2 wrong usage   3 nothing in what could be seen, the rest is hidden
"""
OLDER_S = 60.0


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    return run("leaks", argv, OPTIONS, HELP, work, kernel)


class Row:
    """One process and what is wrong with it."""

    def __init__(self, process: LeakProcess, findings: list[Finding], growth: Growth | None) -> None:
        self.process = process
        self.findings = findings
        self.growth = growth


def work(tool: Tool) -> int:
    """Look once, or twice with --for. Raises OSError and UsageError."""
    args = tool.args
    older_ms = int(seconds_of(args.values.get("--older", str(OLDER_S)), "--older") * 1000)
    pause = seconds_of(args.values["--for"], "--for") if "--for" in args.values else 0.0
    pids = [pid_of(tool.port, word) for word in args.words]
    if len(pids) != len(set(pids)):
        raise UsageError(f"{printable(args.words[-1])} stands there twice")

    def look() -> int:
        before = [_take(tool, pids)] if pause else []
        if pause:
            tool.port.sleep(pause)
        return _answer(tool, before, _take(tool, pids), older_ms, pids)

    return look_again(tool, look)


def _take(tool: Tool, pids: list[int]) -> LeakSnapshot:
    from twinsock.inspect.gather_leaks import take_leaks

    return take_leaks(tool.port, tool.files, tool.namespaces(True), tool.notes, pids[0] if len(pids) == 1 else 0)


def _answer(tool: Tool, before: list[LeakSnapshot], snapshot: LeakSnapshot, older_ms: int, pids: list[int]) -> int:
    """Judge and write."""
    from twinsock.explain.findings import WRONG
    from twinsock.explain.leaks import growths, judge

    changed = growths(before[0], snapshot) if before else {}
    rows: list[Row] = []
    for pid, process in snapshot.processes.items():
        if pids and pid not in pids:
            continue
        growth = changed.get(pid)
        findings = judge(process, older_ms, growth, bool(pids))
        if findings or pids:
            rows.append(Row(process, findings, growth))
    rows.sort(
        key=lambda row: (-max([finding.level for finding in row.findings], default=0), -len(row.process.closing), row.process.facts.pid)
    )
    wrong = any(finding.level == WRONG for row in rows for finding in row.findings)
    if snapshot.hidden_processes:
        count = "1 process is" if snapshot.hidden_processes == 1 else f"{snapshot.hidden_processes} processes are"
        tool.note(f"the descriptors of {count} hidden (needs CAP_SYS_PTRACE or the same user)")
    code = 1 if wrong else 3 if snapshot.hidden or snapshot.hidden_processes or tool.hidden else 0
    if tool.args.has("--json"):
        from twinsock.ui.tool import write_json

        write_json(tool, "leaks", code, {"processes": [_row_json(row) for row in rows]})
    else:
        _draw(tool, rows)
    return code


def _draw(tool: Tool, rows: list[Row]) -> None:
    from twinsock.explain.findings import WRONG
    from twinsock.ui.columns import Columns
    from twinsock.ui.term import GREEN, RED, YELLOW, Paper
    from twinsock.ui.tool import draw_finding, paper, write_paper

    sheet = paper(tool)
    if not rows:
        sheet.line("nothing leaks")
    else:
        table = Columns("", ">fds", ">limit", ">close-wait", ">dead", ">unbound", "process")
        for row in rows:
            facts = row.process.facts
            word = row.findings[0].rule if row.findings else "ok"
            colour = GREEN if not row.findings else RED if row.findings[0].level == WRONG else YELLOW
            counts = [len(row.process.closing), len(row.process.dead), len(row.process.unbound)]
            fds = ["-" if number < 0 else str(number) for number in (facts.fds_open, facts.fds_max)]
            below = Paper(sheet.colour, sheet.width)
            for finding in row.findings:
                draw_finding(below, finding, 6)
            unit = f" ({facts.unit})" if facts.unit else ""
            table.row(word, *fds, *counts, f"{facts.comm} {facts.pid}{unit}", colour=(colour,), below=below.lines)
        table.draw(sheet)
    write_paper(tool, sheet)


def _row_json(row: Row) -> dict[str, object]:
    """Write one process; the schema is in docs/leaks.md."""
    from twinsock.explain.leaks import what_of
    from twinsock.explain.words import show_endpoint
    from twinsock.ui.tool import finding_json

    process = row.process
    facts = process.facts
    growth = row.growth
    return {
        "pid": facts.pid,
        "comm": facts.comm,
        "unit": facts.unit,
        "fds_open": None if facts.fds_open < 0 else facts.fds_open,
        "fds_max": None if facts.fds_max < 0 else facts.fds_max,
        "close_wait": [
            {
                "fd": one.fd,
                "age_ms": None if one.age_ms < 0 else one.age_ms,
                "local": show_endpoint(one.record.local, one.record.local_port),
                "remote": show_endpoint(one.record.remote, one.record.remote_port),
                "unread_bytes": one.record.rqueue,
                "inode": one.record.inode,
                "cookie": one.record.cookie,
            }
            for one in process.closing
        ],
        "dead": [{"fd": fd, "inode": inode} for inode, fd in process.dead.items()],
        "never_bound": [{"fd": fd, "inode": inode} for inode, fd in process.unbound.items()],
        "inherited": [
            {"fd": one.fd, "listener": what_of(one), "maker": {"pid": one.maker_pid, "comm": one.maker_comm}} for one in process.inherited
        ],
        "growth": None
        if growth is None or growth.is_new
        else {
            "seconds": round(growth.seconds, 3),
            "fds": growth.fds,
            "close_wait": growth.closing,
            "dead": growth.dead,
            "never_bound": growth.unbound,
        },
        "findings": [finding_json(finding) for finding in row.findings],
    }
