"""`twinsock up`: an unmodified Python program on a simulated host that this machine can reach, in real time."""

from __future__ import annotations

import sys

from twinsock.ui import run
from twinsock.ui.args import UsageError, did_you_mean, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.runtime.settle import Request

HELP = """\
usage: twinsock up --tap NAME --address ADDRESS/LENGTH [options] -- PROGRAM.py [args]
       twinsock up --tap NAME --address ADDRESS/LENGTH [options] -- -m MODULE [args]

Runs a Python program on a simulated host, as `twinsock run` does, but in real time and behind a TAP device of this machine: curl, ping,
iperf3 and nc talk to the program through the twin's TCP, and the program to servers here. The device disappears with the process.

options
      --tap NAME          the device to make, as twin0
      --address A/LEN     the simulated host's address, as 10.7.0.2/24; this machine gets the first one of the network that is free
      --seed N, --host NAME, --sysctl NAME=VALUE, --pcap FILE, --pcap-device NAME, --trace FILE, --allow WHAT
                          as in twinsock run
  -h, --help              this text

examples
  twinsock up --tap twin0 --address 10.7.0.2/24 -- -m http.server 8000      then: curl http://10.7.0.2:8000/
  unshare -Urn twinsock up --tap twin0 --address 10.7.0.2/24 -- client.py   without root, in a namespace of its own

needs CAP_NET_ADMIN in the namespace where it runs
exit codes: the program's own   2 wrong usage
"""
FLAGS = ("--help", "--ss")
VALUED = ("--tap", "--address", *[name for name in run.VALUED if name != "--watchdog"])


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    try:
        if argv and argv[0] in ("-h", "--help"):
            print(HELP, end="")
            return 0
        from twinsock.runtime.settle import Request, settle

        request = Request()
        parse(argv, request)
    except UsageError as error:
        print(f"twinsock up: {error}", file=sys.stderr)
        return 2
    settle(request.seed & 0xFFFFFFFF)
    from twinsock.runtime.runner import RunError
    from twinsock.runtime.runner import run as run_program

    try:
        return run_program(request)
    except RunError as error:
        print(f"twinsock up: {printable(str(error))}", file=sys.stderr)
        return 2


def parse(argv: list[str], request: Request) -> None:
    """Read the options before the program, and the program as `twinsock run` does. Raises UsageError."""
    rest = list(argv)
    own: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word == "-m" or not word.startswith("-"):
            rest.insert(0, word)
            break
        name, equals, value = word.partition("=")
        if name not in VALUED:
            if name in FLAGS:
                own.append(name)
                continue
            raise UsageError(f"no such option: {printable(name)}{did_you_mean(name, VALUED) or '; see twinsock up --help'}")
        if not equals:
            if not rest:
                raise UsageError(f"{name}: a value is missing")
            value = rest.pop(0)
        if name == "--tap":
            request.tap = value
        elif name == "--address":
            request.tap_address = value
        else:
            own += [name, value]
    if not rest:
        raise UsageError("which program? twinsock up --tap twin0 --address 10.7.0.2/24 -- PROGRAM.py")
    run.parse([*own, *rest], request)
    if not request.tap or not request.tap_address:
        raise UsageError(
            f"{'--address' if request.tap else '--tap'} is missing: twinsock up --tap twin0 --address 10.7.0.2/24 -- PROGRAM.py"
        )
    from twinsock.runtime.tap import parse_network

    try:
        parse_network(request.tap_address)
    except ValueError as error:
        raise UsageError(f"--address {printable(str(error))}") from None
    request.realtime = True
    request.watchdog_s = 0
