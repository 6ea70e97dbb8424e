"""The `twinsock` command: picks the subcommand and imports only what that one needs."""

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    args = sys.argv[1:] if argv is None else argv
    print(f"twinsock: no such command: {args[0] if args else '(none)'}", file=sys.stderr)
    return 2
