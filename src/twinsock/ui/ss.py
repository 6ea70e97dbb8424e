"""`twinsock ss`: sockets as ss(8) lists them, and what it lacks: other namespaces, reuse flags, ghosts, units, JSON."""

from __future__ import annotations

import sys

from twinsock.ui.args import UsageError
from twinsock.ui.ss_options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.ui.ss_options import Options

USAGE_EXIT = 2


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    try:
        options = parse(argv)
        if options.has("help"):
            from twinsock.ui.ss_help import help_text

            print(help_text(), end="")
            return 0
        return _run(options)
    except UsageError as error:
        print(f"twinsock ss: {error}", file=sys.stderr)
        return USAGE_EXIT


def _run(options: Options) -> int:
    """Ask and write. Raises UsageError."""
    from twinsock.host.port import HostPort
    from twinsock.ui.ss_run import View, fill
    from twinsock.ui.ss_sheet import Sheet

    view = View(HostPort(), options)
    states = options.states & (options.states - 1)
    sheet = Sheet(netid=len(options.tables) > 1, state=states != 0, header=not options.has("no-header"))
    try:
        if options.has("processes", "threads"):
            view.owners = view.port.owners()
        fill(sheet, view, 0)
    except OSError as error:
        print(f"twinsock ss: {error.strerror or error}", file=sys.stderr)
        return USAGE_EXIT
    sys.stdout.writelines(sheet.texts())
    for note in view.notes:
        print(f"twinsock ss: {note}", file=sys.stderr)
    return 0
