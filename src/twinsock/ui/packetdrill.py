"""`twinsock packetdrill`: run scripts of system calls and packets on the twin, or on the live kernel."""

from __future__ import annotations

import os
import sys

from twinsock.ui.args import UsageError, printable
from twinsock.ui.term import GREEN, RED, clean, paper_for_stdout
from twinsock.ui.tool import USAGE_EXIT, help_with_options, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.runtime.packetdrill.session import Verdict
    from twinsock.ui.args import Args
    from twinsock.ui.term import Paper
    from twinsock.ui.tool import Option

HELP = """\
usage: twinsock packetdrill [options] SCRIPT...

Runs packetdrill scripts: system calls on one side, packets on the other, each at its time. On the twin, which needs neither root nor
a kernel and takes no real time, or with --host on this machine's kernel, in a namespace of its own with a TUN device. A folder stands
for every *.pkt below it. Options in a script count too; these here win.

OPTIONS

Exit code: 0 when every script passes, 1 when one does not, 2 when one makes no sense, 3 when the live kernel cannot be had.
"""
OPTIONS: tuple[Option, ...] = (
    ("", "host", "", "run on the live kernel"),
    ("", "variant", "NAME", "ipv4, ipv4-mapped-ipv6, ipv6, or all of them (ipv4 if not said otherwise)"),
    ("D", "define", "NAME=VALUE", "let a word in the scripts stand for something; several with commas"),
    ("", "tolerance", "MICROSECONDS", "how far off a time may be (4000; 12.5 % of the wait when that is more)"),
    ("", "mss", "BYTES", "let larger packets that come in stand for segments of this size"),
    ("", "mtu", "BYTES", "of the device"),
    ("", "local-ip", "ADDRESS", "the address under test"),
    ("", "remote-ip", "ADDRESS", "the address that packets come from"),
    ("", "strict-segments", "", "no packet of a script stands for several"),
    ("", "ticks", "HZ", "ticks per second of the twin (250)"),
    ("", "junit", "FILE", "write a JUnit report"),
    ("q", "quiet", "", "say only what fails"),
    ("", "no-color", "", "no colour"),
    ("h", "help", "", "this text"),
)
VARIANTS = ("ipv4", "ipv4-mapped-ipv6", "ipv6")
_FROM_OPTION = {
    "--tolerance": "tolerance_usecs",
    "--mss": "mss",
    "--mtu": "mtu",
    "--local-ip": "local_ip",
    "--remote-ip": "remote_ip",
    "--ticks": "hz",
}


def main(argv: list[str]) -> int:
    """Run the command and give its exit code."""
    try:
        args = parse_options(argv, OPTIONS)
        if args.has("--help"):
            sys.stdout.write(help_with_options(HELP, OPTIONS))
            return 0
        return _run(args)
    except UsageError as error:
        print(f"twinsock packetdrill: {error}", file=sys.stderr)
        return USAGE_EXIT


def _run(args: Args) -> int:
    variant = args.values.get("--variant", "ipv4")
    if variant != "all" and variant not in VARIANTS:
        raise UsageError(f"--variant is one of {', '.join(VARIANTS)} or all, not {printable(variant)}")
    paths = find_scripts(args.words)
    options = script_options(args)
    sheet = paper_for_stdout(args.has("--no-color"))
    verdicts: list[Verdict] = []
    for path in paths:
        for one in VARIANTS if variant == "all" else (variant,):
            if _is_for(path, one, len(paths)):
                verdict = play_one(path, one, options, args.has("--host"))
                verdicts.append(verdict)
                _show(sheet, verdict, variant == "all", args.has("--quiet"))
                _flush(sheet)
    _total(sheet, verdicts)
    _flush(sheet)
    if "--junit" in args.values:
        _write_junit(args.values["--junit"], verdicts)
    outcomes = [verdict.outcome for verdict in verdicts]
    return 3 if "unavailable" in outcomes else 2 if "error" in outcomes else 1 if "fail" in outcomes else 0


def _flush(sheet: Paper) -> None:
    """Write what is on the paper, so that slow scripts show their progress."""
    if sheet.lines:
        sys.stdout.write(sheet.text())
        sys.stdout.flush()
        sheet.lines.clear()


def _is_for(path: str, variant: str, count: int) -> bool:
    """Tell whether a script of a folder is meant for a variant: names that end in v4 or v6 say so."""
    stem = path.removesuffix(".pkt")
    if count == 1:
        return True
    return not ((stem.endswith("v6") and variant != "ipv6") or (stem.endswith("v4") and variant == "ipv6"))


def find_scripts(words: list[str]) -> list[str]:
    """List the scripts that words name. Raises UsageError."""
    if not words:
        raise UsageError("which script? (see twinsock packetdrill --help)")
    found: list[str] = []
    for word in words:
        if os.path.isdir(word):
            inside = [os.path.join(folder, name) for folder, _dirs, names in os.walk(word) for name in names if name.endswith(".pkt")]
            if not inside:
                raise UsageError(f"there is no *.pkt below {printable(word)}")
            found += sorted(inside)
        elif os.path.exists(word):
            found.append(word)
        else:
            raise UsageError(f"there is no {printable(word)}")
    return found


def script_options(args: Args) -> list[tuple[str, str]]:
    """Turn options of the command line into those of scripts. Raises UsageError."""
    from twinsock.runtime.packetdrill.config import Config
    from twinsock.runtime.packetdrill.cursor import ScriptError

    options = [(name, args.values[option]) for option, name in _FROM_OPTION.items() if option in args.values]
    if args.has("--strict-segments"):
        options.append(("strict_segments", ""))
    options += [("define", one) for one in args.values.get("--define", "").split(",") if one]
    try:
        Config().apply(options)
    except ScriptError as error:
        raise UsageError(error.message) from None
    return options


def play_one(path: str, variant: str, options: list[tuple[str, str]], on_host: bool) -> Verdict:
    """Read and play one script."""
    from time import monotonic

    from twinsock.runtime.packetdrill.session import Verdict, prepare

    began = monotonic()
    prepared = prepare(path, variant, [*options, ("ip_version", variant)])
    if isinstance(prepared, Verdict):
        return prepared
    if on_host:
        from twinsock.ui.packetdrill_host import play_in_child

        verdict = play_in_child(prepared)
    else:
        from twinsock.runtime.packetdrill.twin import TwinMachine

        verdict = prepared.play(TwinMachine(prepared.config))
    verdict.wall_s = monotonic() - began
    return verdict


def _show(sheet: Paper, verdict: Verdict, with_variant: bool, quiet: bool) -> None:
    """Say what became of one script."""
    name = verdict.path + (f" [{verdict.variant}]" if with_variant else "")
    if verdict.outcome == "pass":
        if not quiet:
            sheet.line(sheet.paint("pass ", GREEN) + f" {clean(name)}")
        return
    word = "FAIL " if verdict.outcome == "fail" else "error"
    place = f":{verdict.line}" if verdict.line else ""
    when = f" at {verdict.time_s:.6f} s" if verdict.time_s >= 0 else ""
    sheet.line(sheet.paint(word, RED) + clean(f" {name}{place}{when}: {verdict.message}"))
    if verdict.expected:
        sheet.line(clean(f"        script: {verdict.expected}"))
        if verdict.got:
            sheet.line(clean(f"        kernel: {verdict.got}"))
    elif verdict.source:
        sheet.line(clean(f"        script: {verdict.source}"))
    for line in verdict.dropped:
        sheet.line(clean(f"        dropped: {line}"))


def _total(sheet: Paper, verdicts: list[Verdict]) -> None:
    passed = sum(verdict.outcome == "pass" for verdict in verdicts)
    if len(verdicts) > 1:
        sheet.line(f"{passed} of {len(verdicts)} pass")


def _write_junit(path: str, verdicts: list[Verdict]) -> None:
    """Write a report as JUnit does. Raises UsageError."""
    from xml.sax.saxutils import quoteattr

    failures = sum(verdict.outcome == "fail" for verdict in verdicts)
    errors = sum(verdict.outcome not in ("pass", "fail") for verdict in verdicts)
    lines = ['<?xml version="1.0" encoding="utf-8"?>']
    lines.append(f'<testsuite name="packetdrill" tests="{len(verdicts)}" failures="{failures}" errors="{errors}">')
    for verdict in verdicts:
        head = (
            f"  <testcase classname={quoteattr(verdict.variant)} name={quoteattr(verdict.path)} time={quoteattr(f'{verdict.wall_s:.3f}')}"
        )
        if verdict.outcome == "pass":
            lines.append(head + "/>")
        else:
            tag = "failure" if verdict.outcome == "fail" else "error"
            text = f"line {verdict.line}: {verdict.message}"
            lines.append(f"{head}><{tag} message={quoteattr(text)}/></testcase>")
    lines.append("</testsuite>")
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise UsageError(f"{printable(path)}: {error.strerror}") from None
