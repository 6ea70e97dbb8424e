"""`twinsock completion SHELL`: completion for bash, zsh and fish, made from the tables that the parsers use.

A command's module has FLAGS, VALUED and OPTIONAL, or a table OPTIONS with short names and help (that of `ss` is elsewhere).
"""

from __future__ import annotations

import sys

from twinsock.ui.args import did_you_mean, printable

USAGE_EXIT = 2
SHELLS = ("bash", "zsh", "fish")
HELP = """\
usage: twinsock completion bash|zsh|fish

Prints a script that completes commands, options and some values.

  bash   twinsock completion bash > ~/.local/share/bash-completion/completions/twinsock
  zsh    twinsock completion zsh > "${fpath[1]}/_twinsock"
  fish   twinsock completion fish > ~/.config/fish/completions/twinsock.fish
"""

Option = tuple[str, str, bool, str]
"""Short name or "", long name with its dashes, takes a value, help."""


def main(argv: list[str]) -> int:
    """Print the script and return the exit code."""
    if argv and argv[0] in ("--help", "-h"):
        print(HELP, end="")
        return 0
    if len(argv) != 1 or argv[0] not in SHELLS:
        wrong = f"{printable(argv[0])}{did_you_mean(argv[0], SHELLS)}; " if argv else ""
        print(f"twinsock completion: {wrong}write one of {', '.join(SHELLS)}", file=sys.stderr)
        return USAGE_EXIT
    print({"bash": bash, "zsh": zsh, "fish": fish}[argv[0]](), end="")
    return 0


def commands() -> dict[str, str]:
    """Give every command with its help."""
    from twinsock.ui.cli import COMMANDS

    return {name: text for name, (_module, text) in COMMANDS.items()}


def options_of(command: str) -> list[Option]:
    """Give a command's options, sorted by long name."""
    from twinsock.ui.cli import COMMANDS

    if command == "ss":
        from twinsock.ui.ss_options import OPTIONS

        found = [(f"-{short}" if short else "", f"--{long}", bool(value), text) for short, long, value, text in OPTIONS]
    else:
        module = __import__(COMMANDS[command][0], fromlist=["main"])
        table = getattr(module, "OPTIONS", ())
        if table:
            found = [(f"-{short}" if short else "", f"--{long}", bool(value), text) for short, long, value, text in table]
            return sorted(found, key=lambda option: option[1])
        flags = [name for name in getattr(module, "FLAGS", ()) if name.startswith("--")]
        found = [("", name, False, "") for name in flags]
        found += [("", name, True, "") for name in (*getattr(module, "VALUED", ()), *getattr(module, "OPTIONAL", ()))]
        if "--help" not in flags:
            found.append(("", "--help", False, ""))
    return sorted(found, key=lambda option: option[1])


def values_of(command: str, option: str) -> list[str]:
    """Give what may follow an option; empty if it is free."""
    if command != "ss":
        return []
    from twinsock.ui import ss_options

    if option in ("--family", "-f"):
        return list(ss_options.FAMILIES)
    if option in ("--query", "--socket", "-A"):
        return list(ss_options.QUERIES)
    if option in ("--sort", "--group-by"):
        from twinsock.ui.ss_data import COLUMNS

        return list(COLUMNS)
    return []


def words_of(command: str) -> list[str]:
    """Give the words that are no options: states and conditions of ss, shells of completion."""
    if command == "completion":
        return list(SHELLS)
    if command != "ss":
        return []
    from twinsock.ui.ss_options import STATES

    return ["state", "exclude", "src", "dst", "sport", "dport", "dev", "fwmark", "cgroup", "autobound", "and", "or", "not", *STATES]


def bash() -> str:
    """Make the script for bash."""
    cases = []
    for command in commands():
        options = options_of(command)
        names = [name for short, long, _valued, _text in options for name in (short, long) if name]
        lines = [f"    {command})", '      case "$previous" in']
        for short, long, valued, _text in options:
            if valued:
                pattern = "|".join([name for name in (short, long) if name])
                values = values_of(command, long)
                reply = f'COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$word"))' if values else "compopt -o default; COMPREPLY=()"
                lines.append(f"        {pattern}) {reply}; return ;;")
        lines += [
            "      esac",
            '      if [[ $word == -* ]]; then words="' + " ".join(names) + '"; else words="' + " ".join(words_of(command)) + '"; fi ;;',
        ]
        cases.append("\n".join(lines))
    return (
        "_twinsock() {\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""\n'
        "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
        f'    words="{" ".join(commands())} --help --version"\n'
        '  else\n  case "${COMP_WORDS[1]}" in\n' + "\n".join(cases) + "\n  esac\n  fi\n"
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))\n'
        "}\n"
        "complete -F _twinsock twinsock\n"
    )


def zsh() -> str:
    """Make the script for zsh."""
    lines = ["#compdef twinsock", "_twinsock() {", "  local -a choices", "  if (( CURRENT == 2 )); then", "    choices=("]
    lines += [f"      {_quoted(name + ':' + text)}" for name, text in commands().items()]
    lines += ["    )", "    _describe command choices", "    return", "  fi", '  case "$words[2]" in']
    for command in commands():
        lines.append(f"    {command})")
        specs = []
        for short, long, valued, text in options_of(command):
            values = values_of(command, long)
            tail = f":value:({' '.join(values)})" if values else ":value:_files" if valued else ""
            shown = text.replace("[", "(").replace("]", ")").replace(":", " -")
            specs += [_quoted(f"*{name}[{shown}]{tail}") for name in (short, long) if name]
        words = words_of(command)
        specs.append(_quoted(f"*:word:({' '.join(words)})") if words else _quoted("*:argument:_files"))
        lines.append("      shift words; (( CURRENT-- ))")
        lines.append("      _arguments " + " \\\n        ".join(specs) + " ;;")
    lines += ["  esac", "}", '_twinsock "$@"']
    return "\n".join(lines) + "\n"


def fish() -> str:
    """Make the script for fish."""
    lines = ["complete -c twinsock -f"]
    for name, text in commands().items():
        lines.append(f"complete -c twinsock -n __fish_use_subcommand -a {name} -d {_quoted(text)}")
        for short, long, valued, help_ in options_of(name):
            line = f"complete -c twinsock -n '__fish_seen_subcommand_from {name}' -l {long[2:]}"
            line += f" -s {short[1:]}" if short else ""
            values = values_of(name, long)
            line += f" -x -a {_quoted(' '.join(values))}" if values else " -r" if valued else ""
            lines.append(line + (f" -d {_quoted(help_)}" if help_ else ""))
        words = words_of(name)
        if words:
            lines.append(f"complete -c twinsock -n '__fish_seen_subcommand_from {name}' -a {_quoted(' '.join(words))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
