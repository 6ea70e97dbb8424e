"""A small argument parser: argparse costs 6 ms, more than all else that an answer needs.

Options may stand anywhere; `--name value` and `--name=value` are the same; `--` ends the options.
"""

from __future__ import annotations


class UsageError(Exception):
    """The command line makes no sense; the message says why and what to write instead."""


class Args:
    """A parsed command line."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.flags: list[str] = []
        self.values: dict[str, str] = {}

    def has(self, name: str) -> bool:
        """Tell whether a switch was given."""
        return name in self.flags


def parse(argv: list[str], flags: tuple[str, ...], valued: tuple[str, ...], optional: tuple[str, ...] = ()) -> Args:
    """Split a command line into words, switches and options with a value.

    `optional` options take the next argument as value only if it is a number. Raises UsageError.
    """
    args = Args()
    index = 0
    while index < len(argv):
        arg = argv[index]
        index += 1
        if arg == "--":
            args.words += argv[index:]
            break
        if not arg.startswith("-") or arg == "-" or arg[1:].isdecimal():
            args.words.append(arg)
            continue
        name, equals, value = arg.partition("=")
        if name in flags:
            if equals:
                raise UsageError(f"{name} takes no value")
            args.flags.append(name)
        elif name in valued:
            if not equals:
                if index >= len(argv):
                    raise UsageError(f"{name} needs a value")
                value = argv[index]
                index += 1
            if not value:
                raise UsageError(f"{name} needs a value")
            args.values[name] = value
        elif name in optional:
            if not equals and index < len(argv) and is_number(argv[index]):
                value = argv[index]
                index += 1
            args.values[name] = value
        else:
            raise UsageError(f"unknown option {printable(name)}{did_you_mean(name, (*flags, *valued, *optional))}")
    return args


def is_number(text: str) -> bool:
    """Tell whether a text is a plain decimal number, with or without a fraction."""
    whole, _, part = text.partition(".")
    return text.isascii() and whole.isdecimal() and (not part or part.isdecimal())


def decimal(text: str, what: str, limit: int) -> int:
    """Read a decimal number from 0 to `limit`. Raises UsageError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 20 or int(text) > limit:
        raise UsageError(f"{what} must be a number from 0 to {limit}, not {printable(text)}")
    return int(text)


def did_you_mean(wrong: str, known: tuple[str, ...]) -> str:
    """Suggest the nearest known name, as the end of a sentence."""
    from difflib import get_close_matches

    near = get_close_matches(wrong, known, 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""


def printable(text: str) -> str:
    """Make a user's text fit for one line of a terminal, quoted if need be."""
    if text and len(text) <= 80 and text.isprintable() and " " not in text:
        return text
    shown = repr(text)
    return shown if len(shown) <= 90 else shown[:80] + "...'"
