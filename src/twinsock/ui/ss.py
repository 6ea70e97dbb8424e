"""`twinsock ss`: sockets as ss(8) lists them, and what it lacks: other namespaces, reuse flags, ghosts, units, JSON."""

from __future__ import annotations

import sys

from twinsock.ui.args import UsageError
from twinsock.ui.asked import live_kernel
from twinsock.ui.ss_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinsock.ui.asked import Asked
    from twinsock.ui.ss_data import Record
    from twinsock.ui.ss_options import Options
    from twinsock.ui.ss_run import View

USAGE_EXIT = 2
_RECORD_FORMATS = ("json", "csv", "parquet", "sort", "group-by")


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        options = parse(argv)
        if options.has("help"):
            from twinsock.ui.ss_help import help_text

            print(help_text(), end="")
            return 0
        if options.has("version"):
            print("twinsock " + str(sys.modules["twinsock"].__version__))
            return 0
        return _run(options, kernel or live_kernel())
    except UsageError as error:
        print(f"twinsock ss: {error}", file=sys.stderr)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"twinsock ss: {error.strerror or error}", file=sys.stderr)
    return USAGE_EXIT


def _run(options: Options, kernel: Asked) -> int:
    """Ask and write. Raises UsageError and OSError."""
    from gc import disable

    from twinsock.ui.ss_run import View

    if kernel.live:
        disable()  # nothing here has cycles, and hundreds of thousands of rows would be walked again and again
    if sum([options.has(name) for name in ("json", "csv", "parquet")]) > 1:
        raise UsageError("one of --json, --csv and --parquet at a time")
    view = View(kernel.port, options)
    spaces = _namespaces(view)
    if options.has("summary"):
        return _summary(view, spaces)
    if options.has("processes", "threads", "unit", "ghosts"):
        view.owners = view.port.owners()
    if options.has(*_RECORD_FORMATS):
        _write_records(view, spaces)
    else:
        _write_plain(view, spaces)
    if view.owners is not None and view.owners.hidden and not options.has("json"):
        view.note(f"{view.owners.hidden} processes are hidden: needs root or CAP_SYS_PTRACE to see what they hold")
    sys.stdout.flush()
    for note in view.notes:
        print(f"twinsock ss: {note}", file=sys.stderr)
    return 0


def _namespaces(view: View) -> list[tuple[int, str]]:
    """List the namespaces to look into, with what they are called in a column. Raises UsageError."""
    options = view.options
    if "net" in options.values:
        from twinsock.ui.netns import find_namespace

        if options.has("all-netns"):
            raise UsageError("--net and --all-netns contradict each other")
        return [(find_namespace(view.port, options.values["net"]), "")]
    if not options.has("all-netns"):
        return [(0, "")]
    spaces: list[tuple[int, str]] = []
    for space in view.port.namespaces(True):
        name = space.names[0].rpartition("/")[2] if space.names else "own" if space.own else str(space.inode)
        if space.accessible or space.own:
            spaces.append((0 if space.own else space.inode, name))
        else:
            view.note(f"{space.label()} is not shown: {space.reason}")
    return spaces


def _write_plain(view: View, spaces: list[tuple[int, str]]) -> None:
    from twinsock.ui.ss_run import fill
    from twinsock.ui.ss_sheet import Sheet

    options = view.options
    several_states = options.states & (options.states - 1)
    sheet = Sheet(netid=_several_tables(options), state=several_states != 0, header=not options.has("no-header"))
    for netns, label in spaces:
        if options.has("all-netns"):
            sheet.set_label(label)
        fill(sheet, view, netns)
    sys.stdout.writelines(sheet.texts())


def _several_tables(options: Options) -> bool:
    return len(options.tables) > 1


def _all_records(view: View, spaces: list[tuple[int, str]]) -> Iterator[Record]:
    from twinsock.ui.ss_data import records

    for netns, label in spaces:
        yield from records(view, netns, label)


def _write_records(view: View, spaces: list[tuple[int, str]]) -> None:
    """Write JSON, CSV, Parquet, counts or a sorted table. Raises UsageError."""
    from twinsock.ui import ss_formats

    values = view.options.values
    found = _all_records(view, spaces)
    what = "sockets"
    if "group-by" in values:
        if "parquet" in values:
            raise UsageError("--parquet writes sockets, not counts")
        found = ss_formats.grouped(found, values["group-by"])
        what = "groups"
    elif "sort" in values:
        found = iter(ss_formats.ordered(found, values["sort"]))
    header = not view.options.has("no-header")
    if view.options.has("json"):
        ss_formats.write_json(view, found, what)
    elif view.options.has("csv"):
        ss_formats.write_csv(found, header)
    elif "parquet" in values:
        ss_formats.write_parquet(values["parquet"], found)
    elif "group-by" in values:
        ss_formats.write_table(found, header)
    else:
        ss_formats.write_table(map(ss_formats.short_record, found), header)


def _summary(view: View, spaces: list[tuple[int, str]]) -> int:
    from twinsock.ui.ss_summary import summary, summary_text

    if view.options.has("json"):
        from json import dumps

        print(
            dumps(
                {
                    "schema": "twinsock.ss-summary/1",
                    "namespaces": [{"netns": name or None, **summary(view.port, netns)} for netns, name in spaces],
                }
            )
        )
        return 0
    for netns, label in spaces:
        print((f"{label}:\n" if label else "") + summary_text(summary(view.port, netns)), end="")
    return 0
