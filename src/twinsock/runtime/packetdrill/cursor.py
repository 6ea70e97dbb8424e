"""Reading a script's text: white space, comments, words, numbers, strings; positions for messages."""

import re

_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)")
_TIME = re.compile(r"\d+\.\d+|\.\d+|\d+(?:\.(?![.\d]))?")
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_ESCAPES = {b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class ScriptError(Exception):
    """What is wrong with a script or with what the kernel did; `line` is 0 when no line is to blame."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class Cursor:
    """A place in a script's text. Every reading method skips white space and comments first."""

    def __init__(self, text: str, definitions: dict[str, str]) -> None:
        self.text = text
        self.pos = 0
        self.definitions = definitions

    def line(self) -> int:
        """Return the number of the current line."""
        return self.text.count("\n", 0, self.pos) + 1

    def error(self, message: str) -> ScriptError:
        """Make the error for this place."""
        rest = self.text[self.pos : self.pos + 20].split("\n")[0]
        found = f"; found {rest!r}" if rest else "; found the end of the text"
        return ScriptError(self.line(), message + found)

    def skip_space(self) -> None:
        """Go to the next token."""
        match = _SPACE.match(self.text, self.pos)
        if match:
            self.pos = match.end()

    def at_end(self) -> bool:
        """Tell whether only white space is left."""
        self.skip_space()
        return self.pos >= len(self.text)

    def looking_at(self, literal: str) -> bool:
        """Tell whether a piece of punctuation comes next."""
        self.skip_space()
        return self.text.startswith(literal, self.pos)

    def accept(self, literal: str) -> bool:
        """Take a piece of punctuation if it comes next."""
        if not self.looking_at(literal):
            return False
        self.pos += len(literal)
        return True

    def expect(self, literal: str) -> None:
        """Take a piece of punctuation. Raises ScriptError."""
        if not self.accept(literal):
            raise self.error(f"expected {literal!r}")

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Take what a pattern matches here."""
        self.skip_space()
        match = pattern.match(self.text, self.pos)
        if match is None:
            return None
        self.pos = match.end()
        return match.group()

    def peek_word(self) -> str:
        """Return the word that comes next, "" when there is none, without taking it."""
        self.skip_space()
        match = _WORD.match(self.text, self.pos)
        return match.group() if match else ""

    def accept_word(self, word: str) -> bool:
        """Take a word if it comes next."""
        if self.peek_word() != word:
            return False
        self.pos += len(word)
        return True

    def word(self, what: str) -> str:
        """Take a word. Raises ScriptError."""
        found = self.match(_WORD)
        if found is None:
            raise self.error(f"expected {what}")
        return found

    def defined_word(self, what: str) -> str:
        """Take a word, or what the definitions put in its place. Raises ScriptError."""
        word = self.word(what)
        return self.definitions.get(word, word)

    def integer(self, what: str) -> int:
        """Take an integer, or a word that is defined as one. Raises ScriptError."""
        word = self.peek_word()
        if word in self.definitions and _INTEGER.fullmatch(self.definitions[word]):
            self.pos += len(word)
            return int(self.definitions[word], 0)
        found = self.match(_INTEGER)
        if found is None:
            raise self.error(f"expected {what}")
        return _to_int(found)

    def looking_at_integer(self) -> bool:
        """Tell whether an integer comes next."""
        self.skip_space()
        return _INTEGER.match(self.text, self.pos) is not None

    def seconds(self) -> int:
        """Take a time in seconds; give nanoseconds. Raises ScriptError."""
        found = self.match(_TIME)
        if found is None:
            raise self.error("expected a time in seconds")
        whole, _, part = found.partition(".")
        return int(whole or "0") * 1_000_000_000 + int((part + "000000000")[:9])

    def looking_at_string(self) -> bool:
        """Tell whether a string comes next."""
        return self.looking_at('"')

    def string(self) -> bytes:
        """Take one or several adjacent strings. Raises ScriptError."""
        parts = []
        while self.looking_at_string():
            match = _STRING.match(self.text, self.pos)
            if match is None:
                raise self.error("the string has no end")
            self.pos = match.end()
            parts.append(unescape(match.group(1)))
        if not parts:
            raise self.error("expected a string")
        return b"".join(parts)

    def until(self, end: str, what: str) -> str:
        """Take everything up to `end`, which is taken, too. Raises ScriptError."""
        stop = self.text.find(end, self.pos)
        if stop < 0:
            raise self.error(f"{what} has no end")
        found = self.text[self.pos : stop]
        self.pos = stop + len(end)
        return found

    def parenthesised(self) -> str:
        """Take a balanced text in parentheses and give what is inside. Raises ScriptError."""
        self.expect("(")
        start, depth = self.pos, 1
        while self.pos < len(self.text):
            char = self.text[self.pos]
            depth += (char == "(") - (char == ")")
            self.pos += 1
            if depth == 0:
                return self.text[start : self.pos - 1]
        raise self.error("a parenthesis has no end")


def _to_int(text: str) -> int:
    return int(text, 16) if "x" in text.lower() else int(text)


def unescape(text: str) -> bytes:
    """Replace the escapes of a string."""

    def one(match: "re.Match[bytes]") -> bytes:
        body: bytes = match.group(1)
        if body[:1] == b"x" and len(body) > 1:
            return bytes((int(body[1:], 16),))
        return _ESCAPES.get(body, body)

    return _ESCAPE.sub(one, text.encode("utf-8", "surrogateescape"))
