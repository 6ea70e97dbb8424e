"""`twinsock parity`: run a program on the live kernel and on the twin, and show where the two differ first."""

from __future__ import annotations

import os
import sys

from twinsock.ui.args import UsageError, decimal, did_you_mean, printable
from twinsock.ui.term import GREEN, RED, clean, paper_for_stdout, wrap
from twinsock.ui.tool import USAGE_EXIT, help_with_options, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.parity.compare import Comparison, Difference
    from twinsock.parity.run import Outcome
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Option

HELP = """\
usage: twinsock parity [options] PROGRAM.py [args]
       twinsock parity [options] -m MODULE [args]
       twinsock parity [options] SCRIPT.pkt

Runs a program on this machine's kernel, in a fresh network namespace, and on the twin, and compares every socket call (arguments,
result, errno), /proc/net at the end, packets, exit code and output. What may differ is not compared: ephemeral ports as numbers,
inodes, remaining timer ticks, order of slots, times. Shows the first difference, both sides next to each other. The program: any
Python program that `twinsock run` runs, a file that defines program(env), or a packetdrill script.

OPTIONS

examples
  twinsock parity server_test.py
  twinsock parity --every-call --sysctl net.ipv4.tcp_syncookies=2 client.py

Exit code: 0 the same, 1 a difference, 2 wrong usage, 3 cannot be compared here, 4 the host itself answers differently each time.
"""
OPTIONS: tuple[Option, ...] = (
    ("", "every-call", "", "read /proc/net after every call, not only at the end (for programs with one thread)"),
    ("", "no-packets", "", "do not compare packets"),
    ("", "sysctl", "NAME=VALUE", "a setting of both hosts, as net.ipv4.tcp_sack=0; may be repeated"),
    ("", "seed", "N", "of the twin and of the module random (0)"),
    ("", "timeout", "SECONDS", "for each side (30)"),
    ("", "runs", "N", "how often the host may run, to see whether a difference is there each time (3)"),
    ("", "json", "", "one JSON document"),
    ("", "no-color", "", "no colour"),
    ("m", "module", "NAME", "run a module, as python -m does"),
    ("h", "help", "", "this text"),
)
SAME, DIFFERS, HIDDEN, UNSTABLE = 0, 1, 3, 4
SCHEMA = "twinsock.parity/1"


class Asked:
    """The command line."""

    def __init__(self) -> None:
        self.program = ""
        self.is_module = False
        self.args: list[str] = []
        self.sysctls: list[tuple[str, str]] = []
        self.seed = 0
        self.timeout_s = 30.0
        self.runs = 3
        self.flags: list[str] = []

    def has(self, name: str) -> bool:
        """Tell whether a switch was given."""
        return name in self.flags


def main(argv: list[str]) -> int:
    """Run the command and give its exit code."""
    try:
        asked = parse(argv)
        if asked.has("--help"):
            sys.stdout.write(help_with_options(HELP, OPTIONS))
            return 0
        if asked.program.endswith(".pkt") and not asked.is_module:
            return _script(asked)
        return _program(asked)
    except UsageError as error:
        print(f"twinsock parity: {error}", file=sys.stderr)
        return USAGE_EXIT


def parse(argv: list[str]) -> Asked:
    """Read options up to the program; what follows is the program's own. Raises UsageError."""
    flags = tuple(["--" + long for _short, long, value, _text in OPTIONS if not value])
    valued = tuple(["--" + long for _short, long, value, _text in OPTIONS if value])
    asked = Asked()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            asked.program, asked.args = word, rest
            return asked
        name, equals, value = {"-m": "--module", "-h": "--help"}.get(word, word).partition("=")
        if name in flags and not equals:
            asked.flags.append(name)
            continue
        if name not in valued:
            raise UsageError(f"no such option: {printable(name)}{did_you_mean(name, flags + valued) or '; see twinsock parity --help'}")
        if not equals:
            if not rest:
                raise UsageError(f"{name} needs a value")
            value = rest.pop(0)
        if name == "--module":
            asked.program, asked.is_module, asked.args = value, True, rest
            return asked
        _option(asked, name, value)
    if not asked.has("--help"):
        raise UsageError("which program? twinsock parity PROGRAM.py")
    return asked


def _option(asked: Asked, name: str, value: str) -> None:
    """Take one option with its value. Raises UsageError."""
    if name == "--sysctl":
        key, equals, text = value.partition("=")
        if not equals or not key.startswith("net."):
            raise UsageError("--sysctl: NAME=VALUE, as net.ipv4.tcp_sack=0")
        asked.sysctls.append((key, text))
    elif name == "--seed":
        asked.seed = decimal(value, "--seed", (1 << 32) - 1)
    elif name == "--timeout":
        asked.timeout_s = seconds_of(value, "--timeout")
    else:
        asked.runs = max(decimal(value, "--runs", 100), 1)


def _program(asked: Asked) -> int:
    """Compare a Python program."""
    from twinsock.parity.program import Request
    from twinsock.parity.run import Unavailable, compare_program

    if not asked.is_module:
        _readable(asked.program)
    request = Request(
        asked.program,
        asked.args,
        asked.is_module,
        asked.seed,
        sysctls=asked.sysctls,
        packets=not asked.has("--no-packets"),
        every_call=asked.has("--every-call"),
    )
    try:
        outcome = compare_program(request, asked.timeout_s, asked.runs)
    except Unavailable as error:
        print(f"twinsock parity: cannot be compared here: {error}", file=sys.stderr)
        return HIDDEN
    first = outcome.comparison.first
    code = SAME if first is None else UNSTABLE if outcome.unstable else DIFFERS
    if asked.has("--json"):
        _write_json(outcome, code)
    else:
        _draw(asked, outcome)
    return code


def _readable(path: str) -> None:
    """Check that a program can be read and compiled. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec")
    except OSError as error:
        raise UsageError(f"{printable(path)}: {error.strerror}") from None
    except SyntaxError as error:
        raise UsageError(f"{printable(path)}:{error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise UsageError(f"{printable(path)}: {error}") from None


def notes(comparison: Comparison) -> list[str]:
    """Say what the comparison could not see."""
    found = []
    if comparison.host.with_user_namespace:
        found.append(
            "without root: the host's side ran in a user namespace of its own, where it is root over the network alone; "
            "what the initial namespace's root may do (and some sysctls) was not compared"
        )
    if comparison.host.trouble.startswith("did not end"):
        found.append(f"Linux {comparison.host.trouble}, and there time is real (--timeout): what it did until then was compared")
    if comparison.host.packets_lost:
        found.append(f"{comparison.host.packets_lost} packets of the host were too many to keep: packets were not compared")
    return found


def _draw(asked: Asked, outcome: Outcome) -> None:
    """Write the answer for people."""
    sheet = paper_for_stdout(asked.has("--no-color"))
    comparison = outcome.comparison
    first = comparison.first
    kernel = f"Linux {comparison.host.kernel}"
    if first is None:
        sheet.line(sheet.paint("same", GREEN) + clean(f"  {asked.program}: {kernel} and the twin agree"))
    elif outcome.unstable:
        sheet.line(
            sheet.paint("open", RED) + clean(f"  {asked.program}: {kernel} itself answers differently from run to run: {first.where}")
        )
    else:
        number = f", call {first.call + 1}" if first.kind == "call" else ""
        sheet.line(sheet.paint("differs", RED) + clean(f"  {asked.program}: {first.where}{number}"))
    if first is not None:
        _draw_difference(sheet, first)
    sheet.line(clean(_summary(comparison)))
    for note in notes(comparison):
        for line in wrap(note, 100):
            sheet.line(clean("  " + line))
    sys.stdout.write(sheet.text())


def _draw_difference(sheet: Paper, first: Difference) -> None:
    if first.before:
        sheet.line("  the same on both, just before:")
        for line in first.before:
            sheet.line(clean(f"    {line}"))
    sheet.line(clean(f"  Linux  {first.host}"))
    sheet.line(clean(f"  twin   {first.twin}"))


def _summary(comparison: Comparison) -> str:
    threads = len(comparison.host.threads())
    parts = [
        f"{comparison.calls} calls of {threads} thread{'' if threads == 1 else 's'}",
        f"{comparison.counters} counters",
        f"{comparison.rows} rows of /proc",
        f"{comparison.packets} packets",
    ]
    return "compared: " + ", ".join(parts)


def _write_json(outcome: Outcome, code: int) -> None:
    import json

    comparison = outcome.comparison
    first = comparison.first
    difference: dict[str, object] | None = None
    if first is not None:
        difference = {"kind": first.kind, "where": first.where, "call": first.call + 1 if first.call >= 0 else None}
        difference |= {"host": first.host, "twin": first.twin, "before": first.before}
    answer = {
        "schema": SCHEMA,
        "code": code,
        "kernel": comparison.host.kernel,
        "same": first is None,
        "stable": not outcome.unstable,
        "host_runs": outcome.runs,
        "compared": {
            "calls": comparison.calls,
            "counters": comparison.counters,
            "rows": comparison.rows,
            "packets": comparison.packets,
        },
        "difference": difference,
        "notes": notes(comparison),
    }
    print(json.dumps(answer))


def _script(asked: Asked) -> int:
    """Compare what both kernels say to a packetdrill script."""
    from twinsock.ui.packetdrill import play_one

    if not os.path.exists(asked.program):
        raise UsageError(f"{printable(asked.program)}: No such file or directory")
    sheet = paper_for_stdout(asked.has("--no-color"))
    verdicts = [play_one(asked.program, "ipv4", [], on_host) for on_host in (True, False)]
    if any(verdict.outcome == "error" for verdict in verdicts):
        raise UsageError(f"{printable(asked.program)}:{verdicts[0].line}: {verdicts[0].message}")
    if verdicts[0].outcome == "unavailable":
        print(f"twinsock parity: cannot be compared here: {verdicts[0].message}", file=sys.stderr)
        return HIDDEN
    shown = [
        "passes" if one.outcome == "pass" else f"fails at line {one.line}: {one.message}" + (f"; got {one.got}" if one.got else "")
        for one in verdicts
    ]
    same = verdicts[0].outcome == verdicts[1].outcome and verdicts[0].line == verdicts[1].line
    if asked.has("--json"):
        import json

        difference = None if same else {"kind": "script", "where": asked.program, "host": shown[0], "twin": shown[1]}
        print(json.dumps({"schema": SCHEMA, "code": int(not same), "same": same, "difference": difference}))
        return SAME if same else DIFFERS
    sheet.line((sheet.paint("same", GREEN) if same else sheet.paint("differs", RED)) + clean(f"  {asked.program}"))
    sheet.line(clean(f"  Linux  {shown[0]}"))
    sheet.line(clean(f"  twin   {shown[1]}"))
    sys.stdout.write(sheet.text())
    return SAME if same else DIFFERS
