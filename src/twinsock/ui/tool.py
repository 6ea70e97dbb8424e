"""What the tools share: options from a table, help, namespaces, looking again and again, JSON, one line for what fails."""

from __future__ import annotations

import sys

from twinsock.uapi.errno import EACCES, ENOENT, EPERM
from twinsock.ui.args import UsageError, decimal, is_number, parse, printable
from twinsock.ui.asked import live_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.explain.findings import Finding
    from twinsock.inspect.gather import Files
    from twinsock.inspect.port import KernelPort, Namespace
    from twinsock.ui.args import Args
    from twinsock.ui.asked import Asked
    from twinsock.ui.term import Paper

    Option = tuple[str, str, str, str]

USAGE_EXIT = 2
HIDDEN_EXIT = 3

# (short, long, name of its value, help); a value in brackets may be left out. Parser, help and shell completion use it.
NETNS: Option = ("", "netns", "NAME", "in this network namespace: a name of `ip netns`, a pid or an inode number")
ALL_NETNS: Option = ("", "all-netns", "", "in every network namespace that can be entered")
DEEP: Option = ("", "deep", "", "look for namespaces that only a descriptor or a socket holds, too (slow)")
WATCH: Option = ("", "watch", "[SECONDS]", "look again and again, every 2 seconds if not said otherwise")
FOR: Option = ("", "for", "SECONDS", "look twice, so far apart, and judge by what happened in between (30, 30s, 2m)")
COMMON: tuple[Option, ...] = (
    ("", "json", "", "one JSON document (a line for each look with --watch)"),
    ("", "no-color", "", "no colour"),
    ("h", "help", "", "this text"),
)
WATCH_S = 2.0


class Tool:
    """One run of a command: its options, the kernel it asks, what it could not see."""

    def __init__(self, name: str, args: Args, port: KernelPort, files: Files) -> None:
        self.name = name
        self.args = args
        self.port = port
        self.files = files
        self.notes: list[str] = []
        self.hidden_processes = 0  # whose descriptors may not be read
        self.hidden = False  # a namespace or table that was asked for could not be seen

    def note(self, sentence: str) -> None:
        """Keep a sentence for the end, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def namespaces(self, everywhere: bool) -> list[Namespace]:
        """List the namespaces to look at: the one that was named, all that can be entered, or the caller's. Raises UsageError."""
        args = self.args
        if "--netns" in args.values:
            from twinsock.ui.netns import find_namespace

            if args.has("--all-netns"):
                raise UsageError("--netns and --all-netns contradict each other")
            inode = find_namespace(self.port, args.values["--netns"])
            found = [one for one in self.port.namespaces() if one.inode == inode]
            found = found or [one for one in self.port.namespaces(True) if one.inode == inode]
        else:
            found = list(self.port.namespaces(args.has("--deep")))
            if not everywhere and not args.has("--all-netns"):
                found = [one for one in found if one.own]
        for one in found:
            if not one.accessible and not is_gone(one):
                self.hidden = True
                self.note(f"{one.label()}: {one.reason}")
        return [one for one in found if one.accessible]


def is_gone(namespace: Namespace) -> bool:
    """Tell whether a namespace ended between being found and being entered: that is no error."""
    from os import strerror

    return not namespace.accessible and strerror(ENOENT) in namespace.reason


def run(name: str, argv: list[str], options: tuple[Option, ...], help_text: str, work: Callable[[Tool], int], kernel: Asked | None) -> int:
    """Parse, open the kernel (the live one if none is given), do the work once; what fails becomes one line."""
    try:
        args = parse_options(argv, options)
        if args.has("--help"):
            sys.stdout.write(help_with_options(help_text, options))
            return 0
        return _with_kernel(name, args, work, kernel or live_kernel())
    except UsageError as error:
        print(f"twinsock {name}: {error}", file=sys.stderr)
        return USAGE_EXIT


def parse_options(argv: list[str], options: tuple[Option, ...]) -> Args:
    """Parse a command line by a table of options; short names become long ones. Raises UsageError."""
    longs = {"-" + short: "--" + long for short, long, _value, _text in options if short}
    flags = tuple(["--" + long for _short, long, value, _text in options if not value])
    optional = tuple(["--" + long for _short, long, value, _text in options if value.startswith("[")])
    valued = tuple(["--" + long for _short, long, value, _text in options if value and not value.startswith("[")])
    words: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            words += argv[index:]
            break
        words.append(longs.get(word, word))
    return parse(words, flags, valued, optional)


def help_with_options(text: str, options: tuple[Option, ...]) -> str:
    """Put the options into a help text, in place of the line OPTIONS."""
    rows = []
    for short, long, value, meaning in options:
        name = ("-" + short + ", " if short else "") + "--" + long + (" " + value if value else "")
        rows.append(f"  {name:<22} {meaning}")
    return text.replace("OPTIONS\n", "\n".join(rows) + "\n")


def _with_kernel(name: str, args: Args, work: Callable[[Tool], int], kernel: Asked) -> int:
    """Give the work a kernel to ask."""
    try:
        return work(Tool(name, args, kernel.port, kernel.files))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"twinsock {name}: {' '.join(str(error.strerror or error).split())}", file=sys.stderr)
        return HIDDEN_EXIT if error.errno in (EPERM, EACCES) else USAGE_EXIT
    finally:
        kernel.port.close()


def seconds_of(text: str, what: str) -> float:
    """Read a duration: 30, 0.5, 30s, 2m, 1h. Raises UsageError."""
    number, factor = text, 1.0
    for unit, size in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.endswith(unit):
            number, factor = text[: -len(unit)], size
            break
    if not is_number(number) or len(number) > 8 or not 0 < float(number) * factor <= 7 * 86400:
        raise UsageError(f"{what} takes a time such as 10, 0.5, 30s or 2m, not {printable(text)}")
    return float(number) * factor


def pid_of(port: KernelPort, word: str) -> int:
    """Read the number of a process that exists. Raises UsageError."""
    pid = decimal(word, "a process", 4194304)
    if pid:
        try:
            port.read(f"/proc/{pid}/stat")
            return pid
        except PermissionError:
            return pid
        except OSError:
            pass
    raise UsageError(f"there is no process {pid}")


def no_words(args: Args) -> None:
    """Refuse words where only options are taken. Raises UsageError."""
    if args.words:
        raise UsageError(f"{printable(args.words[0])} is too much: there are only options")


def look_again(tool: Tool, look: Callable[[], int]) -> int:
    """Look once, or every so often with --watch until ^C; gives the last look's exit code. Raises UsageError."""
    if "--watch" not in tool.args.values:
        return look()
    given = tool.args.values["--watch"]
    pause = seconds_of(given, "--watch") if given else WATCH_S
    clear = sys.stdout.isatty() and not tool.args.has("--json")
    code = 0
    try:
        while True:
            if clear:
                sys.stdout.write("\x1b[H\x1b[J")
            code = look()
            sys.stdout.flush()
            tool.port.sleep(pause)
            tool.notes.clear()
            if not clear and not tool.args.has("--json"):
                sys.stdout.write("\n")
    except KeyboardInterrupt:
        return code


def paper(tool: Tool) -> Paper:
    """Take a sheet of paper for standard output."""
    from twinsock.ui.term import paper_for_stdout

    return paper_for_stdout(tool.args.has("--no-color"))


def write_paper(tool: Tool, sheet: Paper) -> None:
    """Write what is on the paper, and what could not be seen below it."""
    if tool.notes:
        sheet.title("Not seen")
        for note in tool.notes:
            sheet.prose(note, 4, "  *")
    text = sheet.text().lstrip("\n")
    sys.stdout.write(text if text.strip() else "")


def write_json(tool: Tool, schema: str, code: int, answer: dict[str, object]) -> None:
    """Write one JSON document, on one line with --watch."""
    from json import dumps

    document = {"schema": f"twinsock.{schema}/1", "exit_code": code, **answer, "notes": tool.notes}
    indent = None if "--watch" in tool.args.values else 2
    # Names of processes and files need not be UTF-8: what is not is escaped.
    sys.stdout.write(dumps(document, indent=indent) + "\n")


def finding_json(finding: Finding) -> dict[str, object]:
    """Write a finding."""
    from twinsock.explain.findings import LEVELS

    remedies = [{"action": action, "text": text} for action, text in finding.remedies]
    return {"level": LEVELS[finding.level], "rule": finding.rule, "sentence": finding.sentence, "remedies": remedies}


def draw_finding(sheet: Paper, finding: Finding, indent: int = 4) -> None:
    """Write a finding and what helps."""
    from twinsock.explain.findings import WRONG
    from twinsock.ui.term import CYAN, RED, YELLOW

    mark = " " * (indent - 2) + ("!" if finding.level == WRONG else "-")
    sheet.prose(finding.sentence, indent, mark, RED if finding.level == WRONG else YELLOW)
    for action, text in finding.remedies:
        from twinsock.ui.term import clean

        sheet.line(" " * (indent + 2) + sheet.paint(clean(action), CYAN))
        sheet.prose(text, indent + 4)
