"""The shell commands of scripts, without a shell: the dozen programs that set up a test, on whatever kernel the script runs."""

import os
import re
import shlex
from collections.abc import Callable

from twinsock.runtime.packetdrill.machine import Machine

_ARITHMETIC = re.compile(r"\$\(\(([0-9+*\s-]*)\)\)")
_RESTORE = re.compile(r"/tmp/sysctl_restore_\S*\.sh")
_FILE_BYTES_MAX = 1 << 24
_DEPTH_MAX = 4


class ShellError(Exception):
    """A command that is not known here, or that makes no sense."""


class Result:
    """Exit code and output of a command."""

    def __init__(self, code: int, output: str = "") -> None:
        self.code = code
        self.output = output


class Shell:
    """Runs the commands of one script."""

    def __init__(self, machine: Machine, folder: str) -> None:
        self.machine = machine
        self.folder = folder
        self.saved: list[tuple[str, str]] = []  # what set_sysctls.py changed
        self.shown: dict[str, int] = {}  # what nstat showed last
        self.depth = 0
        self.complaint = ""
        self.commands: dict[str, Callable[[list[str]], Result]] = {
            "sysctl": self._sysctl,
            "echo": self._echo,
            "cat": self._cat,
            "grep": lambda argv: self._grep(argv, ""),
            "nstat": self._nstat,
            "dd": self._dd,
            "rm": self._rm,
            "true": lambda argv: Result(0),
            "false": lambda argv: Result(1),
            "ip": self._tool,
            "tc": self._tool,
            "ethtool": self._tool,
        }

    def run(self, text: str) -> int:
        """Run a script's commands; give the exit code of the last one. Raises ShellError."""
        code = 0
        text = text.replace("\\\n", " ")
        for line in text.splitlines():
            line = _strip_comment(line).strip()
            if line:
                code = self._run_line(line)
        return code

    def _run_line(self, line: str) -> int:
        code = 0
        run_next = True
        for piece in re.split(r"(\|\||&&|;)", line):
            if piece == "||":
                run_next = code != 0
            elif piece == "&&":
                run_next = code == 0
            elif piece == ";":
                run_next = True
            elif piece.strip() and run_next:
                code = self._pipeline(piece)
        return code

    def _pipeline(self, text: str) -> int:
        result = Result(0)
        for index, part in enumerate(text.split("|")):
            argv, target = self._words(part)
            if not argv:
                continue
            if index and os.path.basename(argv[0]) == "grep":
                result = self._grep(argv, result.output)
            else:
                result = self._command(argv)
            if target:
                path = target.removeprefix("/proc/sys/")
                code = self._write(path if path != target else target, result.output)
                result = Result(code)
        return result.code

    def _words(self, text: str) -> tuple[list[str], str]:
        """Split a command into words; redirections go, except one into a file of /proc or /sys, which is given apart."""
        text = _ARITHMETIC.sub(lambda match: str(_calculate(match.group(1))), text)
        text = text.replace("${PPID}", str(os.getpid())).replace("$PPID", str(os.getpid()))
        text = re.sub(r"&>|2>&1|2>", " > ", text.replace("2>&1", " "))
        try:
            lexer = shlex.shlex(text, posix=True, punctuation_chars=">")
            lexer.whitespace_split = True
            lexer.commenters = ""
            words = list(lexer)
        except ValueError as error:
            raise ShellError(f"{text.strip()!r}: {error}") from None
        argv, target = [], ""
        index = 0
        while index < len(words):
            if words[index].strip(">") == "" and words[index]:
                name = words[index + 1] if index + 1 < len(words) else ""
                target = "" if name == "/dev/null" else name
                index += 2
                continue
            argv.append(words[index])
            index += 1
        return argv, target

    def _command(self, argv: list[str]) -> Result:
        name = argv[0]
        if _RESTORE.fullmatch(name):
            return self._restore()
        base = os.path.basename(name)
        if base == "set_sysctls.py":
            return self._set_sysctls(argv[1:])
        if base.endswith(".sh"):
            return self._script(name)
        command = self.commands.get(base)
        if command is None:
            raise ShellError(f"the command {name!r} is not known here; known are {', '.join(sorted(self.commands))}")
        return command([base, *argv[1:]])

    def _script(self, name: str) -> Result:
        path = os.path.join(self.folder, name)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(_FILE_BYTES_MAX)
        except OSError as error:
            raise ShellError(f"{name}: {error.strerror}") from None
        if self.depth >= _DEPTH_MAX:
            raise ShellError(f"{name}: scripts call one another too deeply")
        self.depth += 1
        self.run(text)
        self.depth -= 1
        return Result(0)

    # Settings

    def _write(self, path: str, text: str) -> int:
        ret = self.machine.sysctl_write(path.strip("/"), text.strip()) if not path.startswith("/") else self._write_file(path, text)
        if ret:
            self.complaint = f"{path} = {text.strip()}: {os.strerror(-ret)}"
        return 1 if ret else 0

    def _write_file(self, path: str, text: str) -> int:
        if path.startswith("/sys/module/tcp_cubic/parameters/"):
            return self.machine.sysctl_write("module/" + path.rpartition("/")[2], text.strip())
        raise ShellError(f"nothing may be written to {path}")

    def _sysctl(self, argv: list[str]) -> Result:
        code, output = 0, ""
        for word in argv[1:]:
            if word.startswith("-"):
                continue
            name, equals, value = word.partition("=")
            path = name if "/" in name else name.replace(".", "/")
            if equals:
                code |= self._write(path, value)
            else:
                text = self.machine.sysctl_read(path)
                code |= isinstance(text, int)
                output += f"{name} = {text}"
        return Result(code, output)

    def _set_sysctls(self, words: list[str]) -> Result:
        self.saved.clear()
        for word in words:
            name, _, value = word.partition("=")
            path = name.removeprefix("/proc/sys/")
            text = self.machine.sysctl_read(path)
            if isinstance(text, str):
                self.saved.append((path, text.strip()))
            self._write(path, value)
        return Result(0)

    def _restore(self) -> Result:
        for path, text in self.saved:
            self._write(path, text)
        self.saved.clear()
        return Result(0)

    # Text

    def _echo(self, argv: list[str]) -> Result:
        return Result(0, " ".join(argv[1:]) + "\n")

    def _cat(self, argv: list[str]) -> Result:
        output, code = "", 0
        for name in argv[1:]:
            text = self.machine.read_file(name)
            if isinstance(text, int):
                code = 1
            else:
                output += text
        return Result(code, output)

    def _grep(self, argv: list[str], piped: str) -> Result:
        words = [word for word in argv[1:] if not word.startswith("-")]
        if not words:
            raise ShellError("grep needs a pattern")
        text = self._cat(["cat", *words[1:]]).output if len(words) > 1 else piped
        found = [line for line in text.splitlines() if re.search(words[0], line)]
        if "-v" in argv:
            found = [line for line in text.splitlines() if not re.search(words[0], line)]
        return Result(0 if found else 1, "".join([line + "\n" for line in found]))

    def _nstat(self, argv: list[str]) -> Result:
        counters = self.machine.counters()
        output = ""
        for name, value in counters.items():
            moved = value - self.shown.get(name, 0)
            if moved:
                output += f"{name:<32}{moved:<16} 0.0\n"
        self.shown = counters
        return Result(0, output)

    # Files and devices

    def _dd(self, argv: list[str]) -> Result:
        options = dict(word.split("=", 1) for word in argv[1:] if "=" in word)
        size = int(options.get("bs", "512")) * int(options.get("count", "0"))
        if options.get("if") != "/dev/zero" or not 0 <= size <= _FILE_BYTES_MAX:
            raise ShellError("dd makes files of zeros only: if=/dev/zero, of=FILE, bs=N, count=N")
        return Result(1 if self.machine.make_file(options.get("of", ""), size) else 0)

    def _rm(self, argv: list[str]) -> Result:
        for name in argv[1:]:
            if not name.startswith("-"):
                self.machine.make_file(name, -1)
        return Result(0)

    def _tool(self, argv: list[str]) -> Result:
        return Result(self.machine.tool(argv))


def _strip_comment(line: str) -> str:
    quoted = ""
    for index, char in enumerate(line):
        if quoted:
            quoted = "" if char == quoted else quoted
        elif char in "\"'":
            quoted = char
        elif char == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index]
    return line


def _calculate(text: str) -> int:
    """Multiply and add what stands in $(( ))."""
    total = 0
    for term in text.replace("-", "+-").split("+"):
        if term.strip():
            product = 1
            for factor in term.split("*"):
                product *= int(factor.strip())
            total += product
    return total
