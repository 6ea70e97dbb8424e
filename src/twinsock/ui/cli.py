"""The `twinsock` command: picks the subcommand and imports only what that one needs."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.ui.asked import Asked

COMMANDS = {
    "why": ("twinsock.ui.why", "why can (or could) an address not be bound or reached, and what helps"),
    "ss": ("twinsock.ui.ss", "sockets as ss(8) lists them, and what it lacks"),
    "trace": ("twinsock.ui.trace", "the kernel's way through the socket layer, live; every socket call that fails"),
    "listeners": ("twinsock.ui.listeners", "health of every listening socket: queue, drops, who does not accept"),
    "completion": ("twinsock.ui.completion", "completion for bash, zsh and fish"),
    "count": ("twinsock.ui.count", "the kernel's socket counters, explained by the sockets that exist"),
    "run": ("twinsock.ui.run", "an unmodified Python program on a simulated host, in virtual time"),
    "up": ("twinsock.ui.up", "the same in real time, behind a TAP device: curl, ping and iperf3 of this machine talk to it"),
    "leaks": ("twinsock.ui.leaks", "what programs forget to close: CLOSE_WAIT, dead and unused sockets, inherited listeners"),
    "ports": ("twinsock.ui.ports", "automatic ports: who has them, how many connections are left, which error comes then"),
    "ns": ("twinsock.ui.ns", "network namespaces: who holds each, its sockets, the sysctls that were changed"),
    "parity": ("twinsock.ui.parity", "a program on this kernel and on the twin, and where the two differ first"),
    "sweep": ("twinsock.sim.sweep", "scenarios under @twinsock.test for very many seeds, here or on a Ray cluster"),
    "packetdrill": ("twinsock.ui.packetdrill", "scripts of system calls and packets, on the twin or on the live kernel"),
}
HOST_COMMANDS = ("why", "ss", "listeners", "count", "ports", "leaks", "ns")  # those that ask a kernel, live or twin


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code; without `argv` it is the process's own command line, and ends the process."""
    if argv is not None:
        return dispatch(argv)
    import gc
    import os

    gc.disable()  # for a command that lives a blink, collecting costs more than it frees
    code = dispatch(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 141
    os._exit(code)  # taking the interpreter apart would take as long as the answer


def dispatch(args: list[str]) -> int:
    """Find the subcommand."""
    if not args:
        print(usage(), end="", file=sys.stderr)
        return 2
    name = args[0]
    if name in ("--help", "-h", "help"):
        if len(args) > 1 and args[1] in COMMANDS:
            return run(args[1], ["--help"])
        print(usage(), end="")
        return 0
    if name in ("--version", "-V"):
        from twinsock.uapi import errno

        build = "pure Python" if errno.__file__.endswith(".py") else "compiled"
        print(f"twinsock {sys.modules['twinsock'].__version__} ({build})")
        return 0
    if name not in COMMANDS:
        from twinsock.ui.args import did_you_mean, printable

        hint = did_you_mean(name, tuple(COMMANDS)) or "; see twinsock --help"
        print(f"twinsock: no such command: {printable(name)}{hint}", file=sys.stderr)
        return 2
    return run(name, args[1:])


def run(name: str, args: list[str], kernel: Asked | None = None) -> int:
    """Import a subcommand and run it, on another kernel than the live one if that is given; ^C and closed pipes end it politely."""
    try:
        main = __import__(COMMANDS[name][0], fromlist=["main"]).main
        code: int = main(args) if kernel is None else main(args, kernel)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's last flush is silent
        return 141


def usage() -> str:
    """Give the text of `twinsock --help`."""
    lines = ["usage: twinsock COMMAND [...]      twinsock COMMAND --help", ""]
    lines += [f"  {name:<11} {text}" for name, (_module, text) in COMMANDS.items()]
    return "\n".join(lines) + "\n"
