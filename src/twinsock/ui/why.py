"""`twinsock why`: can this address be bound (or reached), which rule says no, who is in the way, and what helps."""

from __future__ import annotations

import sys

from twinsock.inspect.facts import Question
from twinsock.uapi.errno import EACCES, ENOENT, EPERM, ESRCH
from twinsock.ui.args import UsageError, decimal, is_number, parse, printable
from twinsock.ui.asked import live_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Report
    from twinsock.ui.args import Args
    from twinsock.ui.asked import Asked

FLAGS = (
    *("--reuseaddr", "--reuseport", "--v6only", "--no-v6only", "--freebind", "--transparent"),
    *("--bind-only", "--connect", "--prove", "--json", "--no-color", "--help", "-h"),
)
VALUED = ("--device", "--uid", "--pid", "--netns")
OPTIONAL = ("--wait",)
USAGE_EXIT = 2

HELP = """\
usage: twinsock why ADDRESS [options]

Says whether bind() and listen() on ADDRESS would succeed; if not: which rule
refuses, who is in the way, for how long, and what helps.

examples
  twinsock why 8080                             TCP on 0.0.0.0, for you, here
  twinsock why tcp://127.0.0.1:80 --reuseaddr   if the server set SO_REUSEADDR
  twinsock why udp://[::]:53 --v6only           also 53/udp, mptcp://:8443
  twinsock why 8080 --pid 4242                  as that process would fare
  twinsock why --connect 10.0.0.5:5432          may I connect there?
  twinsock why unix:/run/app.sock               unix:@abstract, unix-dgram:,
                                                unix-seqpacket: too
  twinsock why 0 --reuseport                    a port the kernel chooses
  twinsock why 8080 --wait 60 && ./server       start when it is free

what the socket would set
  --reuseaddr --reuseport    SO_REUSEADDR, SO_REUSEPORT
  --v6only --no-v6only       IPV6_V6ONLY
  --device NAME              SO_BINDTODEVICE
  --freebind --transparent   IP_FREEBIND, IP_TRANSPARENT
  --bind-only                leave listen() out
  --connect                  ask about connect() to ADDRESS instead
who would do it
  --uid NAME|N               as this user, without capabilities unless root
  --pid N                    as this process: its namespace, user,
                             capabilities, limits
  --netns NAME|PID|INODE     in this network namespace
more
  --prove                    really try it, close at once, and compare
  --wait [SECONDS]           return when the address is free (exit 1 if it is
                             not after SECONDS)
  --json                     for programs; docs/why.md is the schema
  --no-color

exit codes: 0 would succeed   1 would fail   2 wrong usage
            3 cannot tell without more permission
"""


def main(argv: list[str], kernel: Asked | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        args = parse(argv, FLAGS, VALUED, OPTIONAL)
        if args.has("--help") or args.has("-h"):
            print(HELP, end="")
            return 0
        question = read_question(args)
        return _answer(question, args, kernel or live_kernel())
    except UsageError as error:
        print(f"twinsock why: {error}", file=sys.stderr)
        return USAGE_EXIT


def read_question(args: Args) -> Question:
    """Make the question out of the command line; names of users are looked up. Raises UsageError."""
    from twinsock.ui.target import FORMS, parse_target

    if not args.words:
        raise UsageError(f"no address; write {FORMS} (twinsock why --help)")
    if len(args.words) > 1:
        raise UsageError(f"one address at a time, please: {printable(args.words[1])} is too much")
    question = parse_target(args.words[0], args.has("--connect"))
    if question.connect and not question.port and not question.is_unix():
        raise UsageError("--connect needs a port other than 0")
    question.reuseaddr = args.has("--reuseaddr")
    question.reuseport = args.has("--reuseport")
    question.freebind = args.has("--freebind")
    question.transparent = args.has("--transparent")
    if args.has("--v6only") and args.has("--no-v6only"):
        raise UsageError("--v6only and --no-v6only contradict each other")
    if args.has("--v6only") or args.has("--no-v6only"):
        from twinsock.uapi.socket import AF_INET6

        if question.family != AF_INET6:
            raise UsageError("--v6only is for IPv6 addresses; write tcp://[::]:PORT")
        question.v6only = 1 if args.has("--v6only") else 0
    question.device = args.values.get("--device", "")
    question.listen = not args.has("--bind-only") and question.is_stream() and not question.connect
    if "--pid" in args.values:
        question.pid = decimal(args.values["--pid"], "--pid", 4194304)
        if not question.pid:
            raise UsageError("there is no process 0")
    if "--uid" in args.values:
        question.uid = _user(args.values["--uid"])
    if args.values.get("--wait") and not is_number(args.values["--wait"]):
        raise UsageError(f"--wait takes seconds, not {printable(args.values['--wait'])}")
    return question


def _user(text: str) -> int:
    """Find a user's number. Raises UsageError."""
    if text.isascii() and text.isdecimal():
        return decimal(text, "--uid", 0xFFFFFFFE)
    from pwd import getpwnam

    try:
        return getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise UsageError(f"there is no user {printable(text)}") from None


def _answer(question: Question, args: Args, kernel: Asked) -> int:
    """Take the snapshot, explain it, write the answer."""
    try:
        report = _report(kernel, question, args)
    except OSError as error:
        print(f"twinsock why: {_problem(question, error)}", file=sys.stderr)
        return 3 if error.errno in (EPERM, EACCES) else USAGE_EXIT
    finally:
        kernel.port.close()
    if args.has("--json"):
        from twinsock.ui.why_json import write_json

        sys.stdout.write(write_json(report))
    else:
        from twinsock.ui.term import paper_for_stdout
        from twinsock.ui.why_text import draw

        paper = paper_for_stdout(args.has("--no-color"))
        draw(paper, report)
        sys.stdout.write(paper.text())
    return report.exit_code()


def _report(kernel: Asked, question: Question, args: Args) -> Report:
    """Make the report that the command line asks for. Raises OSError and UsageError."""
    if "--netns" in args.values:
        from twinsock.ui.netns import find_namespace

        question.netns = find_namespace(kernel.port, args.values["--netns"])
    if args.has("--prove") and not kernel.live:
        raise UsageError("--prove tries the address on the live kernel")
    report = examine(kernel, question)
    if "--wait" in args.values:
        from twinsock.ui.wait import wait_until_free

        report = wait_until_free(kernel.port, lambda: examine(kernel, question), report, args.values["--wait"])
    if args.has("--prove"):
        from twinsock.ui.proof import add_proof

        add_proof(report)
    return report


def examine(kernel: Asked, question: Question) -> Report:
    """Ask the kernel, and then a twin that is filled with what it says. Raises OSError."""
    port, files = kernel.port, kernel.files
    if question.is_unix():
        from twinsock.explain.unix import explain_unix
        from twinsock.inspect.gather_unix import take_unix_snapshot

        return explain_unix(take_unix_snapshot(port, files, question))
    if question.connect:
        from twinsock.explain.connect import explain_connect
        from twinsock.inspect.gather_connect import take_connect_snapshot

        return explain_connect(take_connect_snapshot(port, files, question))
    from twinsock.explain.verdict import explain
    from twinsock.inspect.gather import complete, look_elsewhere, take_snapshot

    snapshot = take_snapshot(port, files, question)
    complete(port, snapshot)
    if question.port:
        look_elsewhere(port, files, snapshot)
    return explain(snapshot)


def _problem(question: Question, error: OSError) -> str:
    """Say in one line what could not be read."""
    if error.errno in (ENOENT, ESRCH) and question.pid:
        return f"there is no process {question.pid}"
    return printable_line(error.strerror or str(error))


def printable_line(text: str) -> str:
    """Keep a message on one line."""
    return " ".join(text.split())
