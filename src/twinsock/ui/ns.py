"""`twinsock ns`: every network namespace, who holds it, its sockets, and the sysctls that were changed in it."""

from __future__ import annotations

from twinsock.ui.args import UsageError
from twinsock.ui.tool import COMMON, WATCH, look_again, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.findings import Census
    from twinsock.inspect.gather_ns import NamespaceCensus
    from twinsock.inspect.port import Namespace
    from twinsock.ui.asked import Asked
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Tool

OPTIONS = (
    ("", "quick", "", "only namespaces of processes and names: no search through descriptors"),
    ("", "processless", "", "only those without a process"),
    WATCH,
    *COMMON,
)
HELP = """\
usage: twinsock ns [NAME|PID|INODE ...] [options]

Every network namespace: processes, names, and what else keeps it alive (a bind mount, a descriptor, a thread, a socket);
its sockets by protocol and state; the sysctls that are not as in a new namespace.

OPTIONS

examples
  twinsock ns
  twinsock ns --processless          who keeps namespaces that nobody is in?
  twinsock ns blue 4242 --json

exit codes: 0 all was seen   2 wrong usage   3 something is hidden
"""
STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "bound only",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "SYN_RECV",
}
PROTOCOLS = {6: "tcp", 17: "udp", 136: "udplite", 262: "mptcp", 255: "raw", 1: "ping", 58: "ping6"}
UNIX_TYPES = {1: "stream", 2: "dgram", 5: "seqpacket"}


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    return run("ns", argv, OPTIONS, HELP, work, kernel)


def work(tool: Tool) -> int:
    """Look, as often as asked. Raises OSError and UsageError."""

    def look() -> int:
        from twinsock.inspect.gather_ns import take_namespaces

        found = take_namespaces(tool.port, _chosen(tool), tool.notes)
        hidden = bool(tool.notes) or any(one.hidden for one in found)
        code = 3 if hidden else 0
        if tool.args.has("--json"):
            from twinsock.ui.tool import write_json

            write_json(tool, "ns", code, {"namespaces": [_as_json(one) for one in found]})
        else:
            _draw(tool, found)
        return code

    return look_again(tool, look)


def _chosen(tool: Tool) -> list[Namespace]:
    """List the namespaces that are wanted. Raises UsageError."""
    from twinsock.ui.netns import find_namespace
    from twinsock.ui.tool import is_gone

    words = tool.args.words
    wanted = {find_namespace(tool.port, word) for word in words}
    if 0 in wanted:
        raise UsageError("there is no network namespace 0")
    found: list[Namespace] = [one for one in tool.port.namespaces(not tool.args.has("--quick")) if not is_gone(one)]
    if words:
        found = [one for one in found if one.inode in wanted]
    if tool.args.has("--processless"):
        found = [one for one in found if not one.pid_count and not one.own]
    return found


def socket_counts(census: Census) -> dict[str, dict[str, int]]:
    """Count sockets by protocol and state, by the names that are shown."""
    found: dict[str, dict[str, int]] = {}

    def add(protocol: str, state: str, count: int) -> None:
        states = found.setdefault(protocol, {})
        states[state] = states.get(state, 0) + count

    for (protocol, family, state, _timer, has_inode), count in census.inet.items():
        name = PROTOCOLS.get(protocol, str(protocol)) + ("6" if family == 10 and protocol != 58 else "")
        if protocol not in (6, 262):
            text = "connected" if state == 1 else "unconnected"
        elif state in (1, 8) and not has_inode:
            text = "waiting for accept"
        else:
            text = STATES.get(state, str(state))
        add(name, text, count)
    for (kind, state, _has_inode), count in census.unix.items():
        text = "LISTEN" if state == 10 else "connected" if state == 1 else "unconnected"
        add("unix " + UNIX_TYPES.get(kind, str(kind)), text, count)
    if census.packet:
        add("packet", "open", census.packet)
    others = census.netlink - len(census.askers)
    if others > 0:
        add("netlink", "open", others)
    return found


def _draw(tool: Tool, found: list[NamespaceCensus]) -> None:
    from twinsock.ui.columns import heading
    from twinsock.ui.term import YELLOW
    from twinsock.ui.tool import paper, write_paper

    sheet = paper(tool)
    if not found:
        sheet.line("no network namespace" + (" without a process" if tool.args.has("--processless") else ""))
    for one in found:
        namespace = one.namespace
        heading(sheet, namespace.label() + (" (this one)" if namespace.own else ""))
        if one.processes:
            rest = namespace.pid_count - len(one.processes)
            names = ", ".join([f"{comm or '?'} {pid}" for pid, comm in one.processes]) + (f" and {rest} more" if rest else "")
            sheet.prose(names, 13, "  processes")
        else:
            sheet.prose("none", 13, "  processes", YELLOW)
        if namespace.holders:
            sheet.prose(", ".join(namespace.holders), 13, "  kept by")
        elif not one.processes:
            sheet.prose("nothing that could be found", 13, "  kept by", YELLOW)
        _draw_sockets(sheet, one)
        for name, value, default in one.changed:
            sheet.prose(f"{name} = {value or '(empty)'}, in a new namespace {default or '(empty)'}", 13, "  sysctl")
        for reason in one.hidden:
            sheet.prose(reason, 13, "  hidden", YELLOW)
    write_paper(tool, sheet)


def _draw_sockets(sheet: Paper, one: NamespaceCensus) -> None:
    if one.census is None:
        return
    parts = []
    for protocol, states in sorted(socket_counts(one.census).items()):
        parts.append(f"{protocol}: " + ", ".join([f"{count} {state}" for state, count in sorted(states.items())]))
    if one.unlisted:
        parts.append(f"{one.unlisted} that no table lists (never bound, or dead)")
    sheet.prose("; ".join(parts) or "none", 13, "  sockets")


def _as_json(one: NamespaceCensus) -> dict[str, object]:
    """Write one namespace; the schema is in docs/ns.md."""
    namespace = one.namespace
    return {
        "netns": namespace.inode,
        "cookie": namespace.cookie or None,
        "label": namespace.label(),
        "own": namespace.own,
        "names": namespace.names,
        "process_count": namespace.pid_count,
        "processes": [{"pid": pid, "comm": comm} for pid, comm in one.processes],
        "holders": namespace.holders,
        "sockets": None if one.census is None else socket_counts(one.census),
        "unlisted_sockets": one.unlisted,
        "sysctls": [{"name": name, "value": value, "default": default} for name, value, default in one.changed],
        "hidden": one.hidden,
    }
