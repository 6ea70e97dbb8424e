"""From text to a `Script`: options, events and their times, system calls and their arguments."""

import re

from twinsock.runtime.packetdrill.constants import constant
from twinsock.runtime.packetdrill.cursor import Cursor, ScriptError
from twinsock.runtime.packetdrill.packet_parser import parse_packet
from twinsock.runtime.packetdrill.script import (
    ABSOLUTE,
    ANY_TIME,
    OUTBOUND,
    RELATIVE,
    Call,
    CodeEvent,
    Either,
    Event,
    EventTime,
    Expr,
    Field,
    Items,
    Num,
    PacketEvent,
    Script,
    ShellEvent,
    Str,
    Struct,
    SyscallEvent,
)

_OPTION = re.compile(r"--[A-Za-z]\w*(?:=(?:\"[^\"\n]*\"|`[^`]*`|[^\s]+))?")
_ERRNO = re.compile(r"E[A-Z0-9]+")
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)")


def parse_options(text: str) -> list[tuple[str, str]]:
    """Read the options at the head of a script only: they may change how the rest reads."""
    cursor = Cursor(text, {})
    return _options(cursor)


def parse_script(text: str, definitions: dict[str, str], ip_version: int = 4) -> Script:
    """Read a script. Raises ScriptError, with the line."""
    script = Script()
    cursor = Cursor(text, definitions)
    script.options = _options(cursor)
    if cursor.looking_at("`"):
        script.init = _shell(cursor, EventTime(ABSOLUTE))
    while not cursor.at_end():
        if cursor.looking_at("`"):
            script.cleanup = _shell(cursor, EventTime(ABSOLUTE))
            if not cursor.at_end():
                raise cursor.error("a command without a time stands only at the beginning and at the end")
            break
        script.events.append(_event(cursor, ip_version))
    _check_times(script)
    return script


def _options(cursor: Cursor) -> list[tuple[str, str]]:
    found = []
    while cursor.looking_at("--"):
        word = cursor.match(_OPTION)
        if word is None:
            raise cursor.error("expected an option")
        name, _, value = word[2:].partition("=")
        found.append((name, value.strip('"`')))
    return found


def _check_times(script: Script) -> None:
    last = 0
    for index, event in enumerate(script.events):
        time = event.time
        if index == 0 and (time.kind == ANY_TIME or time.start_ns != 0) and time.kind != RELATIVE:
            raise ScriptError(event.line, "the first event must be at time 0")
        if time.kind == ABSOLUTE:
            if time.start_ns < last:
                raise ScriptError(event.line, "time goes backwards here")
            last = time.start_ns


def _event(cursor: Cursor, ip_version: int) -> Event:
    time = _time(cursor)
    cursor.skip_space()
    start = cursor.pos
    line = cursor.line()
    event: Event
    if cursor.looking_at("`"):
        event = _shell(cursor, time)
    elif cursor.looking_at("%{"):
        event = CodeEvent(line, time, "%{ }%")
        cursor.pos += 2
        event.code = cursor.until("}%", "the code")
    elif cursor.looking_at("<") or cursor.looking_at(">"):
        event = PacketEvent(line, time, "")
        parse_packet(cursor, event, ip_version)
    elif cursor.peek_word():
        event = _syscall(cursor, time, line)
    else:
        raise cursor.error("expected a system call, a packet, a command or code")
    event.text = " ".join(cursor.text[start : cursor.pos].split())
    _check_kind(event)
    return event


def _check_kind(event: Event) -> None:
    time = event.time
    if time.return_ns >= 0 and not isinstance(event, SyscallEvent):
        raise ScriptError(event.line, "only a system call has a time of return")
    if time.kind == ANY_TIME or time.end_ns >= 0:
        if not isinstance(event, PacketEvent) or event.direction != OUTBOUND:
            raise ScriptError(event.line, "only a packet that comes out may have a range of times, or any time")


def _time(cursor: Cursor) -> EventTime:
    if cursor.accept("*"):
        return EventTime(ANY_TIME)
    relative = cursor.accept("+")
    time = EventTime(RELATIVE if relative else ABSOLUTE, cursor.seconds())
    if cursor.accept("~"):
        if cursor.accept("+") != relative:
            raise cursor.error("both ends of a range are relative, or none is")
        time.end_ns = cursor.seconds()
        if time.end_ns < time.start_ns:
            raise cursor.error("the range of times is empty")
    elif cursor.accept("..."):
        cursor.accept("+")
        time.return_ns = cursor.seconds()
        if time.return_ns < time.start_ns:
            raise cursor.error("the call returns before it starts")
    return time


def _shell(cursor: Cursor, time: EventTime) -> ShellEvent:
    cursor.expect("`")
    event = ShellEvent(cursor.line(), time, "")
    event.command = cursor.until("`", "the command")
    event.text = "`" + " ".join(event.command.split()) + "`"
    return event


def _syscall(cursor: Cursor, time: EventTime, line: int) -> SyscallEvent:
    event = SyscallEvent(line, time, "")
    event.name = cursor.word("a system call")
    cursor.expect("(")
    event.args = _list(cursor, ")")
    cursor.expect("=")
    if cursor.accept("..."):
        event.result = None
    else:
        value = _expr(cursor)
        if not isinstance(value, Num):
            raise cursor.error("the result is a number")
        event.result = value.value
    event.errno = cursor.match(_ERRNO) or ""
    while cursor.looking_at("("):
        cursor.parenthesised()
    return event


def _list(cursor: Cursor, end: str) -> list[Expr]:
    items: list[Expr] = []
    if cursor.accept(end):
        return items
    while True:
        items.append(_expr(cursor))
        if cursor.accept(end):
            return items
        cursor.expect(",")


def _expr(cursor: Cursor) -> Expr:
    first = _simple(cursor)
    if cursor.peek_word() != "or":
        return first
    choices = [first]
    while cursor.accept_word("or"):
        choices.append(_simple(cursor))
    return Either(choices)


def _simple(cursor: Cursor) -> Expr:
    if cursor.accept("..."):
        return Expr()
    if cursor.looking_at_string():
        return Str(cursor.string())
    if cursor.accept("["):
        return Items(_list(cursor, "]"))
    if cursor.accept("{"):
        return _struct(cursor)
    if cursor.looking_at_integer() or cursor.peek_word():
        return _number_or_call(cursor)
    raise cursor.error("expected an argument")


def _number_or_call(cursor: Cursor) -> Expr:
    start = cursor.pos
    value = 0
    while True:
        word = cursor.peek_word()
        if word:
            cursor.pos += len(word)
            if cursor.looking_at("(") and word not in cursor.definitions:
                cursor.pos += 1
                return Call(word, _list(cursor, ")"))
            text = cursor.definitions.get(word, word)
            if text.startswith('"'):
                return Str(text.strip('"').encode())
            if _NUMBER.fullmatch(text):
                value |= int(text, 0)
            else:
                known = constant(text)
                if known is None:
                    cursor.pos = start
                    raise cursor.error(f"no constant is called {text}")
                value |= known
        else:
            value |= cursor.integer("a number")
        if not cursor.accept("|"):
            return Num(value, cursor.text[start : cursor.pos].strip())


def _struct(cursor: Cursor) -> Struct:
    fields: list[Field] = []
    if cursor.accept("}"):
        return Struct(fields)
    while True:
        fields.append(_field(cursor))
        if cursor.accept("}"):
            return Struct(fields)
        cursor.expect(",")


def _field(cursor: Cursor) -> Field:
    word = cursor.peek_word()
    start = cursor.pos
    if word:
        cursor.pos += len(word)
        size: Expr | None = None
        if cursor.accept("("):
            args = _list(cursor, ")")
            size = args[0] if args else None
        if cursor.accept("="):
            return Field(word, size, _expr(cursor))
        cursor.pos = start
    return Field("", None, _expr(cursor))
