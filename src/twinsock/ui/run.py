"""`twinsock run`: an unmodified Python program on a simulated host, in virtual time."""

from __future__ import annotations

import sys

from twinsock.ui.args import UsageError, decimal, did_you_mean, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.runtime.facade import TwinEnv
    from twinsock.runtime.settle import Request

HELP = """\
usage: twinsock run [options] PROGRAM.py [args]
       twinsock run [options] -m MODULE [args]

Runs a Python program as it is on a simulated Linux host: sockets, threads, asyncio and time are the twin's. Time is virtual, so
that a sleep costs nothing, and the same seed gives the same run. Files are real ones; what would reach the network or
start other programs is refused by name.

options
      --seed N            the run to make, 0 if not said otherwise
      --host NAME         what the host is called, twin if not said otherwise
      --sysctl NAME=VALUE a setting of the host, as net.core.somaxconn=16; may be repeated
      --pcap FILE         write every packet of every device to a pcapng file
      --pcap-device NAME  only of this device; may be repeated
      --trace FILE        write every system call to a file; - is the standard error output
      --drops FILE        write every dropped packet and Linux's reason for it to a file; - is the standard error output
      --ss                list the host's sockets when the program has ended
      --realtime          time passes as outside, for a program that works with the world outside
      --watchdog SECONDS  name a thread that runs so long without any call (10; 0 never does)
      --allow WHAT        let the program leave the simulation: subprocess, fork, exec, socket or ctypes; may be repeated
  -h, --help              this text

examples
  twinsock run server_test.py
  twinsock run --seed 7 --pcap out.pcapng client.py --verbose
  twinsock run -m unittest tests.test_server

exit codes: the program's own   2 wrong usage   124 deadlock: every thread waits for ever
"""
VALUED = ("--seed", "--host", "--sysctl", "--pcap", "--pcap-device", "--trace", "--drops", "--watchdog", "--allow")
PLAIN = ("--ss", "--realtime")
ESCAPES = ("subprocess", "fork", "exec", "socket", "ctypes")


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
        print(f"twinsock run: {error}", file=sys.stderr)
        return 2
    settle(request.seed & 0xFFFFFFFF)
    from twinsock.runtime.runner import RunError, run

    try:
        return run(request)
    except RunError as error:
        print(f"twinsock run: {printable(str(error))}", file=sys.stderr)
        return 2


def parse(argv: list[str], request: Request) -> None:
    """Read options up to the program; what follows is the program's own. Raises UsageError."""
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-m" or not word.startswith("-"):
            request.is_module = word == "-m"
            if request.is_module and not rest:
                raise UsageError("-m: the name of a module is missing")
            request.program = rest.pop(0) if request.is_module else word
            request.args = rest
            return
        if word in PLAIN:
            flag(request, word)
            continue
        name, equals, value = word.partition("=")
        if name not in VALUED:
            raise UsageError(f"no such option: {printable(name)}{did_you_mean(name, VALUED + PLAIN) or '; see twinsock run --help'}")
        if not equals:
            if not rest:
                raise UsageError(f"{name}: a value is missing")
            value = rest.pop(0)
        option(request, name, value)
    raise UsageError("which program? twinsock run PROGRAM.py or twinsock run -m MODULE")


def flag(request: Request, name: str) -> None:
    """Take one option without a value."""
    if name == "--realtime":
        request.realtime = True
    else:
        request.at_end = list_sockets


def list_sockets(env: TwinEnv) -> None:
    """Write the sockets of the host to the standard error output."""
    from contextlib import redirect_stdout

    from twinsock.ui.asked import command_on_twin

    with redirect_stdout(sys.stderr):
        command_on_twin(env, "ss", "-t", "-u", "-w", "-a", "-n")


def option(request: Request, name: str, value: str) -> None:
    """Take one option. Raises UsageError."""
    if name == "--seed":
        request.seed = decimal(value, "--seed", (1 << 63) - 1)
    elif name == "--host":
        if not value or len(value) > 64 or not all(char.isalnum() or char in "-." for char in value):
            raise UsageError("--host: a name of letters, digits, dots and hyphens, at most 64")
        request.hostname = value
    elif name == "--sysctl":
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise UsageError("--sysctl: NAME=VALUE, as net.core.somaxconn=16")
        request.sysctls.append((key, text))
    elif name == "--pcap":
        request.pcap = value
    elif name == "--pcap-device":
        request.pcap_devices.append(value)
    elif name == "--trace":
        request.trace = value
    elif name == "--drops":
        request.drops = value
    elif name == "--watchdog":
        request.watchdog_s = decimal(value, "--watchdog", 1_000_000)
    elif value in ESCAPES:
        request.allowed.append(value)
    else:
        raise UsageError(f"--allow: one of {', '.join(ESCAPES)}")
