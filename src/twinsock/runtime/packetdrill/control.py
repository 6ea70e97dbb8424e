"""Control messages of sendmsg(2) and recvmsg(2): written, made and compared."""

from struct import pack, unpack_from

from twinsock.runtime.packetdrill.constants import NLA_NAMES
from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.runtime.packetdrill.script import Either, Expr, Num, Struct, SyscallEvent
from twinsock.runtime.packetdrill.state import State

_HEADER = 16
_EE = (("ee_errno", 0, "=I"), ("ee_origin", 4, "B"), ("ee_type", 5, "B"), ("ee_code", 6, "B"), ("ee_info", 8, "=I"), ("ee_data", 12, "=I"))
_NLA_WIDE = (1, 2, 3, 6, 7, 18, 19, 25)  # attributes of eight bytes
_NLA_BYTE = (11, 12, 14, 26)
_NLA_TIMES = (1, 2, 3)
_TIMESTAMPING_SIZE = 48


class _Written:
    """One control message as written."""

    def __init__(self, event: SyscallEvent, expr: Expr) -> None:
        if not isinstance(expr, Struct):
            raise ScriptError(event.line, "expected {cmsg_level=, cmsg_type=, cmsg_data=}")
        self.level = _number(event, expr.get("cmsg_level"))
        self.type = _number(event, expr.get("cmsg_type"))
        data = expr.get("cmsg_data")
        if data is None:
            raise ScriptError(event.line, "a control message needs cmsg_data")
        self.data: Expr = data

    def size(self, state: State) -> int:
        """Return the bytes of data that the kernel will give."""
        if not isinstance(self.data, Struct):
            return 4
        names = [field.name for field in self.data.fields]
        if "scm_sec" in names:
            return _TIMESTAMPING_SIZE
        if "ee_errno" in names:
            return 16 + (16 if state.config.family() == 2 else 28)
        return sum(12 if NLA_NAMES[name] in _NLA_WIDE else 8 for name in names if name in NLA_NAMES)


def _number(event: SyscallEvent, expr: Expr | None) -> int:
    if isinstance(expr, Num):
        return expr.value
    raise ScriptError(event.line, "expected a number in a control message")


def _space(size: int) -> int:
    return _HEADER + (size + 7 & ~7)


def control_room(control: list[Expr], event: SyscallEvent, state: State) -> int:
    """Return the room to offer for the expected messages."""
    return sum(_space(_Written(event, expr).size(state)) for expr in control)


def emit_control(control: list[Expr], event: SyscallEvent, state: State) -> bytes:
    """Make the control buffer of a message to send."""
    out = b""
    for expr in control:
        one = _Written(event, expr)
        data = pack("=i", _number(event, one.data))
        out += (pack("=Qii", _HEADER + len(data), one.level, one.type) + data).ljust(_space(len(data)), b"\0")
    return out


def check_control(control: list[Expr], got: bytes, event: SyscallEvent, state: State) -> str:
    """Compare the messages that came with those expected, one by one; "" when they are as written."""
    offset = 0
    for index, expr in enumerate(control, 1):
        wanted = _Written(event, expr)
        if offset + _HEADER > len(got):
            return f"control message {index}: there is none"
        length, level, type_ = unpack_from("=Qii", got, offset)
        data = got[offset + _HEADER : offset + length]
        offset += _space(max(length - _HEADER, 0))
        if (level, type_) != (wanted.level, wanted.type):
            return f"control message {index}: expected level {wanted.level} type {wanted.type}, got level {level} type {type_}"
        problem = _check_data(wanted.data, data, event, state)
        if problem:
            return f"control message {index}: {problem}"
    if offset < len(got) and got[offset:].strip(b"\0"):
        return "control messages: there are more than expected"
    return ""


def _check_data(wanted: Expr, data: bytes, event: SyscallEvent, state: State) -> str:
    if not isinstance(wanted, Struct):
        got = unpack_from("=i", data.ljust(4, b"\0"))[0]
        return "" if got == _number(event, wanted) else f"expected {_number(event, wanted)}, got {got}"
    if wanted.get("scm_sec") is not None:
        return _check_time(wanted, data, event, state)
    if wanted.get("ee_errno") is not None:
        return _check_error(wanted, data, event)
    return _check_stats(wanted, data, event, state)


def _check_time(wanted: Struct, data: bytes, event: SyscallEvent, state: State) -> str:
    expected = _number(event, wanted.get("scm_sec")) * 1_000_000_000 + _number(event, wanted.get("scm_nsec"))
    if expected == 0:
        return ""
    seconds, nanoseconds = unpack_from("=qq", data.ljust(16, b"\0"))
    got = seconds * 1_000_000_000 + nanoseconds - state.start_realtime_ns
    if abs(got - expected) <= state.config.tolerance_usecs * 1000:
        return ""
    return f"time: expected {expected / 1e9:.6f} s, got {got / 1e9:.6f} s"


def _check_error(wanted: Struct, data: bytes, event: SyscallEvent) -> str:
    whole = data.ljust(16, b"\0")
    for name, offset, form in _EE:
        value = wanted.get(name)
        if value is None:
            continue
        got = unpack_from(form, whole, offset)[0]
        if got != _number(event, value) & 0xFFFFFFFF:
            return f"{name}: expected {_number(event, value)}, got {got}"
    return ""


def _check_stats(wanted: Struct, data: bytes, event: SyscallEvent, state: State) -> str:
    found: dict[int, int] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind] = int.from_bytes(data[offset + 4 : offset + length], "little")
        offset += length + 3 & ~3
    for field in wanted.fields:
        kind = NLA_NAMES.get(field.name, -1)
        if kind < 0:
            return f"no attribute is called {field.name}"
        choices = field.value.choices if isinstance(field.value, Either) else [field.value]
        slack = state.config.tolerance_usecs if kind in _NLA_TIMES else 0
        got = found.get(kind)
        if got is None or not any(abs(got - _number(event, choice)) <= slack for choice in choices):
            return f"{field.name}: expected {' or '.join([str(_number(event, one)) for one in choices])}, got {got}"
    return ""
