"""`twinsock ports`: the automatic ports of a namespace, who has them, and how many connections are still possible."""

from __future__ import annotations

from twinsock.ui.args import UsageError, decimal
from twinsock.ui.tool import ALL_NETNS, COMMON, DEEP, NETNS, WATCH, look_again, no_words, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.findings import Finding
    from twinsock.explain.ports import Destination, PortUse
    from twinsock.inspect.facts import Question
    from twinsock.inspect.port import Namespace
    from twinsock.ui.asked import Asked
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Tool

OPTIONS = (
    ("", "to", "ADDR:PORT", "how many connections are still possible to this destination"),
    ("", "top", "N", "how many destinations to show, 5 if not said otherwise"),
    WATCH,
    NETNS,
    ALL_NETNS,
    DEEP,
    *COMMON,
)
HELP = """\
usage: twinsock ports [options]

The range of automatic ports (ip_local_port_range): reserved, taken by servers, used per source and destination; how many
connections are still possible, which destination runs out first, and with which error.

OPTIONS

examples
  twinsock ports
  twinsock ports --to 10.0.0.5:5432      how many more connections to the database?
  twinsock ports --all-netns --json

exit codes: 0 there are ports left   1 something has run out   2 wrong usage   3 a namespace is hidden
"""
TOP = 5


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    return run("ports", argv, OPTIONS, HELP, work, kernel)


class Space:
    """The answer for one namespace."""

    def __init__(self, namespace: Namespace, use: PortUse, findings: list[Finding], problem: str) -> None:
        self.namespace = namespace
        self.use = use
        self.findings = findings
        self.problem = problem  # why the destination asked about cannot be reached at all


def work(tool: Tool) -> int:
    """Look, as often as asked. Raises OSError and UsageError."""
    no_words(tool.args)
    top = decimal(tool.args.values.get("--top", str(TOP)), "--top", 1000)
    to = _destination(tool.args.values["--to"]) if "--to" in tool.args.values else None

    def look() -> int:
        from twinsock.explain.findings import WRONG

        spaces: list[Space] = []
        for namespace in tool.namespaces(False):
            try:
                spaces.append(_examine(tool, namespace, top, to))
            except ProcessLookupError:
                continue  # it is gone
            except PermissionError as error:
                tool.hidden = True
                tool.note(f"{namespace.label()}: {error.strerror}")
        wrong = any(space.problem or any(one.level == WRONG for one in space.findings) for space in spaces)
        code = 1 if wrong else 3 if tool.hidden else 0
        if tool.args.has("--json"):
            from twinsock.ui.tool import write_json

            write_json(tool, "ports", code, {"namespaces": [_as_json(space, top) for space in spaces]})
        else:
            _draw(tool, spaces, top, to is not None)
        return code

    return look_again(tool, look)


def _destination(text: str) -> Question:
    """Read ADDR:PORT. Raises UsageError."""
    from twinsock.ui.target import parse_target

    question = parse_target(text if "://" in text else "tcp://" + text, True)
    if question.is_unix() or question.is_wildcard() or not question.port or question.protocol != 6:
        raise UsageError("--to takes a TCP address and port, as in 10.0.0.5:5432 or [2001:db8::1]:443")
    return question


def _examine(tool: Tool, namespace: Namespace, top: int, to: Question | None) -> Space:
    """Read one namespace and work out what is left. Raises OSError."""
    from twinsock.explain.ports import Destination, judge, port_use
    from twinsock.inspect.gather_ports import take_range
    from twinsock.uapi.errno import ERRNO_NAMES

    netns = 0 if namespace.own else namespace.inode
    tcp = take_range(tool.port, netns, 6, max(top, 1), to)
    udp = take_range(tool.port, netns, 17, 0)
    way = tcp.snapshot.way
    wanted: Destination | None = None
    problem = ""
    if to is not None:
        wanted = Destination(way.source, way.address, to.port)
        if way.errno:
            name = ERRNO_NAMES.get(way.errno, str(way.errno))
            problem = f"there is no way to {wanted.name()}: connect() fails with {name} whatever ports are left"
    use = port_use(tcp, udp, max(top, 1), wanted)
    return Space(namespace, use, judge(use, to is not None), problem)


def _draw(tool: Tool, spaces: list[Space], top: int, to: bool) -> None:
    from twinsock.ui.columns import heading
    from twinsock.ui.term import RED
    from twinsock.ui.tool import draw_finding, paper, write_paper

    sheet = paper(tool)
    for space in spaces:
        use = space.use
        heading(sheet, space.namespace.label() + (" (this one)" if space.namespace.own else ""))
        odd = ", an odd number: each attempt leaves one out" if use.odd else ""
        sheet.prose(f"automatic ports {use.low}-{use.high}: {use.size}{odd}; {use.reserved} reserved", 2)
        sheet.prose(
            f"TCP: {use.listening} listening, {use.bound} bound only, {use.server_side} of servers' or bound clients' connections, "
            f"{use.connected} of connect()",
            2,
        )
        sheet.prose(f"left for bind() with port 0: {use.bind_left} ({use.bind_even_left} even), then EADDRINUSE", 2)
        sheet.prose(f"UDP: {use.udp_used} used, {use.udp_left} left, then EAGAIN (bind: EADDRINUSE)", 2)
        _draw_destinations(sheet, use, top)
        if space.problem:
            sheet.prose(space.problem, 4, "  !", RED)
        for finding in space.findings:
            draw_finding(sheet, finding)
    write_paper(tool, sheet)


def _draw_destinations(sheet: Paper, use: PortUse, top: int) -> None:
    from twinsock.inspect.address import format_address
    from twinsock.ui.columns import Columns

    shown = use.destinations[:top]
    if not shown:
        return
    table = Columns("destination", "from", ">used", ">time-wait", ">left", ">even", "then")
    for one in shown:
        left = "-" if one.left < 0 else str(one.left)
        source = format_address(one.source) if one.source else "any"
        table.row(one.name(), source, one.used, one.time_wait, left, one.even_left if one.left >= 0 else "-", one.errno)
    table.draw(sheet)
    if len(use.destinations) > top:
        sheet.line(f"  and {len(use.destinations) - top} more destinations")


def _as_json(space: Space, top: int) -> dict[str, object]:
    """Write one namespace; the schema is in docs/ports.md."""
    from twinsock.inspect.address import format_address
    from twinsock.ui.tool import finding_json

    use = space.use
    return {
        "netns": space.namespace.inode,
        "label": space.namespace.label(),
        "own": space.namespace.own,
        "range": [use.low, use.high],
        "size": use.size,
        "odd_sized": use.odd,
        "reserved": use.reserved,
        "tcp": {
            "listening": use.listening,
            "bound_only": use.bound,
            "connections_of_bound": use.server_side,
            "connect_chosen": use.connected,
        },
        "bind": {"left": use.bind_left, "even_left": use.bind_even_left, "errno": "EADDRINUSE"},
        "udp": {"used": use.udp_used, "left": use.udp_left, "errno_autobind": "EAGAIN", "errno_bind": "EADDRINUSE"},
        "destination_count": len(use.destinations),
        "destinations": [
            {
                "address": format_address(one.address),
                "port": one.port,
                "source": format_address(one.source) if one.source else None,
                "used": one.used,
                "time_wait": one.time_wait,
                "left": None if one.left < 0 else one.left,
                "even_left": None if one.left < 0 else one.even_left,
                "errno": one.errno,
            }
            for one in use.destinations[:top]
        ],
        "problem": space.problem or None,
        "findings": [finding_json(finding) for finding in space.findings],
    }
