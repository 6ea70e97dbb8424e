"""`twinsock listeners`: the health of every listening socket, TCP and UNIX, with a verdict and what helps."""

from __future__ import annotations

from twinsock.ui.args import UsageError, printable
from twinsock.ui.tool import ALL_NETNS, COMMON, DEEP, FOR, NETNS, WATCH, look_again, run, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.findings import Finding
    from twinsock.explain.listeners import Share, Window
    from twinsock.inspect.findings import Listener, ListenSpace
    from twinsock.ui.asked import Asked
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Tool

OPTIONS = (
    ("t", "tcp", "", "TCP only"),
    ("x", "unix", "", "UNIX only"),
    ("", "ghosts", "", "search for what keeps listeners that no process holds: messages, io_uring, the kernel (slow)"),
    ("", "sick", "", "only those with something to say about"),
    FOR,
    WATCH,
    NETNS,
    ALL_NETNS,
    DEEP,
    *COMMON,
)
HELP = """\
usage: twinsock listeners [PORT|PATH ...] [options]

Health of every listening socket: accept queue now and limit, drops, half-open connections, who holds it; what is wrong
and what helps. All network namespaces that can be entered, unless --netns names one.

OPTIONS

examples
  twinsock listeners                     everything; exit code 1 if something is wrong
  twinsock listeners 8080 --for 10       is port 8080 dropping connections right now?
  twinsock listeners --sick --json       for a monitoring script
  twinsock listeners --watch 1           drops per second
  twinsock listeners --unix /run/        UNIX listeners below /run

exit codes: 0 healthy   1 something is wrong   2 wrong usage   3 nothing wrong in what could be seen, the rest is hidden
"""
HEALTHY, SICK, HIDDEN = 0, 1, 3
UNIX_PAUSE_S = 0.2


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    return run("listeners", argv, OPTIONS, HELP, work, kernel)


class Look:
    """One look at all listeners, and what it means."""

    def __init__(self, spaces: list[ListenSpace], window: Window | None) -> None:
        from twinsock.explain.listeners import attribute, judge

        self.spaces = spaces
        self.window = window
        self.findings: dict[int, list[Finding]] = {}  # id of a listener -> what is wrong with it
        self.shares: list[list[Share]] = []
        for space in spaces:
            for listener in space.listeners:
                self.findings[id(listener)] = judge(space, listener, window)
            self.shares.append(attribute(space, window))

    def exit_code(self, hidden: bool) -> int:
        """Give the exit code."""
        from twinsock.explain.findings import WRONG

        if any(finding.level == WRONG for found in self.findings.values() for finding in found):
            return SICK
        return HIDDEN if hidden else HEALTHY


def work(tool: Tool) -> int:
    """Look, as often as asked. Raises OSError and UsageError."""
    if "--for" in tool.args.values and "--watch" in tool.args.values:
        raise UsageError("--for and --watch contradict each other")
    check_words(tool.args.words)
    pause = seconds_of(tool.args.values["--for"], "--for") if "--for" in tool.args.values else 0.0
    earlier: list[list[ListenSpace]] = []
    if pause:
        earlier.append(gather(tool))
        tool.port.sleep(pause)

    def look() -> int:
        spaces = gather(tool)
        add_holders(tool, spaces)
        result = Look(spaces, _window(tool, spaces, earlier))
        if "--watch" in tool.args.values:
            earlier[:] = [spaces]
        code = result.exit_code(tool.hidden)
        if tool.args.has("--json"):
            from twinsock.ui.listeners_json import as_json
            from twinsock.ui.tool import write_json

            write_json(tool, "listeners", code, as_json(result, tool.args.has("--sick")))
        else:
            _draw(tool, result)
        return code

    return look_again(tool, look)


def check_words(words: list[str]) -> None:
    """Refuse what is neither a port nor a path. Raises UsageError."""
    for word in words:
        if word.isdecimal() and word.isascii():
            if len(word) > 5 or not 0 < int(word) < 65536:
                raise UsageError(f"{printable(word)} is no port")
        elif not word.startswith(("/", "@")):
            raise UsageError(f"{printable(word)} is neither a port nor the beginning of a UNIX path or @name")


def gather(tool: Tool) -> list[ListenSpace]:
    """Read the listeners that are wanted. Raises OSError and UsageError."""
    from twinsock.explain.listeners import name_of
    from twinsock.inspect.gather_listeners import listen_spaces

    args = tool.args
    both = args.has("--tcp") == args.has("--unix")
    known = len(tool.notes)
    namespaces = tool.namespaces(True)
    spaces = listen_spaces(tool.port, namespaces, tool.notes, both or args.has("--tcp"), both or args.has("--unix"))
    tool.hidden = tool.hidden or len(tool.notes) > known
    if args.words:
        ports = {int(word) for word in args.words if word.isdecimal()}
        paths = tuple([word for word in args.words if not word.isdecimal()])
        for space in spaces:
            everyone = space.listeners
            space.listeners = [one for one in everyone if _wanted(one, ports, paths, name_of(one))]
            space.others = [one for one in everyone if not _wanted(one, ports, paths, name_of(one))]
    return spaces


def _wanted(listener: Listener, ports: set[int], paths: tuple[str, ...], name: str) -> bool:
    """Tell whether a listener was asked for."""
    if listener.tcp is not None:
        return listener.tcp.local_port in ports
    return bool(paths) and name.removeprefix("unix ").startswith(paths)


def add_holders(tool: Tool, spaces: list[ListenSpace]) -> None:
    """Find the processes, and say how many could not be looked into."""
    from twinsock.inspect.gather_listeners import add_owners

    owners = add_owners(tool.port, tool.files, spaces, tool.args.has("--ghosts"))
    tool.hidden_processes = owners.hidden
    if owners.hidden:
        count = "1 process is" if owners.hidden == 1 else f"{owners.hidden} processes are"
        tool.note(f"the descriptors of {count} hidden (needs CAP_SYS_PTRACE or the same user)")


def _window(tool: Tool, spaces: list[ListenSpace], earlier: list[list[ListenSpace]]) -> Window | None:
    """Compare with the look before, if there was one; UNIX queues are looked at again at once, for they tell no ages."""
    from twinsock.explain.listeners import Window

    if earlier:
        return Window(earlier[0], spaces)
    waiting = [one for space in spaces for one in space.listeners if one.unix is not None and one.queue > 0]
    if waiting:
        _look_at_unix_again(tool, waiting)
    return None


def _look_at_unix_again(tool: Tool, listeners: list[Listener]) -> None:
    """See whether UNIX queues move: the same client at the head after a while has waited so long."""
    from twinsock.inspect.unix import find_unix_again

    tool.port.sleep(UNIX_PAUSE_S)
    for listener in listeners:
        assert listener.unix is not None
        try:
            again = find_unix_again(tool.port, listener.unix)
        except OSError:
            continue
        if again is not None and again.waiting and again.waiting[:1] == listener.waiting[:1]:
            listener.stands_ms = int(UNIX_PAUSE_S * 1000)


def _draw(tool: Tool, look: Look) -> None:
    """Write the tables."""
    from twinsock.explain.findings import WRONG
    from twinsock.explain.listeners import name_of
    from twinsock.ui.columns import Columns, heading
    from twinsock.ui.term import GREEN, RED, YELLOW
    from twinsock.ui.tool import paper, write_paper

    sheet = paper(tool)
    sick = tool.args.has("--sick")
    shown = 0
    for space, shares in zip(look.spaces, look.shares, strict=True):
        listeners = [one for one in space.listeners if look.findings[id(one)] or not sick]
        if not listeners:
            continue
        shown += len(listeners)
        heading(sheet, space.label + (" (this one)" if space.own else ""))
        table = Columns("", ">queue", ">limit", ">drops", ">syn", "listener", "held by")
        for one in listeners:
            found = look.findings[id(one)]
            word = found[0].rule if found else "ok"
            colour = GREEN if not found else RED if found[0].level == WRONG else YELLOW
            drops = look.window.drops(one) if look.window is not None and one.tcp is not None else one.drops
            cells = [_number(number) for number in (one.queue, one.limit, drops, one.syn_recv if one.tcp is not None else -1)]
            table.row(word, *cells, name_of(one), _holders(one, tool.hidden_processes > 0), colour=(colour,), below=_below(sheet, found))
        table.draw(sheet)
        _draw_shares(sheet, shares)
    if not shown:
        sheet.line("no listener" + (" with anything to say about" if sick else ""))
    write_paper(tool, sheet)


def _number(number: int) -> str:
    return "-" if number < 0 else str(number)


def _holders(listener: Listener, some_hidden: bool) -> str:
    """Name who holds a listener, in a few words."""
    if listener.owners:
        first = listener.owners[0]
        more = f" +{len(listener.owners) - 1}" if len(listener.owners) > 1 else ""
        unit = f" ({first.unit})" if first.unit else ""
        return f"{first.comm} {first.pid}{more}{unit}"
    return listener.ghost_kind or ("hidden" if some_hidden else "no process (--ghosts)")


def _below(sheet: Paper, findings: list[Finding]) -> list[str]:
    """Write the findings as lines that follow a row."""
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import draw_finding

    if not findings:
        return []
    own = Paper(sheet.colour, sheet.width)
    for finding in findings:
        draw_finding(own, finding, 6)
    return own.lines


def _draw_shares(sheet: Paper, shares: list[Share]) -> None:
    """Write whose the namespace's counters are."""
    from twinsock.explain.listeners import share_sentence

    for share in shares:
        sheet.prose(share_sentence(share), 4, "  #")
