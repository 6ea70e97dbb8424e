"""`twinsock trace`: the live kernel's way through the socket layer, and every call on it that fails on this host."""

from __future__ import annotations

import sys

from twinsock.ui.args import UsageError, decimal, is_number, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

USAGE_EXIT = 2
FLAGS = ("--failures", "--explain", "--no-stacks", "--json", "--help", "-h")
VALUED = ("--pid", "--seconds")
_PID_MAX = 4194304

HELP = """\
usage: twinsock trace [options] -- COMMAND [ARGUMENT...]
       twinsock trace [options] --pid N
       twinsock trace [options] --failures

Shows the socket system calls of a command or process with arguments and results, the changes of TCP states, and the
kernel functions on the way: socket() > __sys_socket > __sock_create > sock_alloc > sock_alloc_inode

  --pid N          a running process, its threads, and the children it will have
  --failures       every socket(), bind(), listen() and connect() of the host that fails, with address, errno and pid
  --explain        with --failures: what twinsock why says at that instant
  --seconds N      end after N seconds; else with the command, or with ^C
  --no-stacks      system calls only
  --json           one JSON object per line; the schema is in docs/trace.md

examples
  twinsock trace -- python3 -m http.server 8080
  twinsock trace --pid 1234 --seconds 10
  twinsock trace --failures --explain

Needs root: a tracing instance of its own, and a BPF program for addresses. Nothing is left behind.

exit codes: that of COMMAND; 0; 2 wrong usage; 3 not permitted
"""


class Options:
    """What the command line asks for."""

    def __init__(self) -> None:
        self.pid = 0
        self.seconds = -1.0  # endless
        self.command: list[str] = []
        self.given: list[str] = []

    def has(self, name: str) -> bool:
        """Tell whether a switch was given."""
        return name in self.given


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    try:
        options = read_options(argv)
        if options.has("--help") or options.has("-h"):
            print(HELP, end="")
            return 0
        return _run(options)
    except UsageError as error:
        print(f"twinsock trace: {error}", file=sys.stderr)
        return USAGE_EXIT


def read_options(argv: list[str]) -> Options:
    """Read the command line; what follows `--` is the command. Raises UsageError."""
    from twinsock.ui.args import parse

    options = Options()
    cut = argv.index("--") if "--" in argv else len(argv)
    args = parse(argv[:cut], FLAGS, VALUED)
    options.given = args.flags
    options.command = argv[cut + 1 :]
    if args.has("--help") or args.has("-h"):
        return options
    if args.words:
        raise UsageError(f"write -- before the command: twinsock trace -- {printable(args.words[0])}")
    if "--pid" in args.values:
        options.pid = decimal(args.values["--pid"], "--pid", _PID_MAX)
        if not options.pid:
            raise UsageError("there is no process 0")
    if "--seconds" in args.values:
        if not is_number(args.values["--seconds"]):
            raise UsageError(f"--seconds takes a number, not {printable(args.values['--seconds'])}")
        options.seconds = float(args.values["--seconds"])
    wanted = [options.has("--failures"), bool(options.pid), bool(options.command)]
    if sum(wanted) != 1:
        raise UsageError("trace what? Give one of --failures, --pid N, or -- COMMAND (twinsock trace --help)")
    if options.has("--explain") and not options.has("--failures"):
        raise UsageError("--explain belongs to --failures")
    return options


def _run(options: Options) -> int:
    """Choose the mode; a refusal becomes a sentence."""
    from signal import SIGTERM, signal

    signal(SIGTERM, _end)  # so that SIGTERM cleans up like ^C
    try:
        if options.has("--failures"):
            from twinsock.ui.trace_failures import watch_failures

            return watch_failures(options)
        from twinsock.ui.trace_calls import trace_calls

        return trace_calls(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"twinsock trace: {error.strerror or error}", file=sys.stderr)
        return 3 if error.errno in (1, 13) else USAGE_EXIT


def _end(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def until(seconds: float) -> Callable[[], float]:
    """Make a clock that tells the seconds left, -1 for no end."""
    from time import monotonic

    deadline = monotonic() + seconds
    return lambda: max(deadline - monotonic(), 0.0) if seconds >= 0 else -1.0
