"""The system calls of scripts: arguments made from what is written, results and what is written back compared."""

from collections.abc import Callable
from struct import pack, unpack_from

from twinsock.runtime.packetdrill.constants import constant, errno_name
from twinsock.runtime.packetdrill.control import check_control, control_room, emit_control
from twinsock.runtime.packetdrill.cursor import ScriptError
from twinsock.runtime.packetdrill.live import LISTENING
from twinsock.runtime.packetdrill.machine import Calls
from twinsock.runtime.packetdrill.script import Call, Either, Expr, Field, Items, Num, Str, Struct, SyscallEvent
from twinsock.runtime.packetdrill.state import State

BUFFER_BYTES_MAX = 1 << 26
_FD_MAKERS = ("socket", "accept", "open", "epoll_create")


class Outcome:
    """What a call gave, and why that is wrong ("" when it is right)."""

    def __init__(self, ret: int, problem: str = "") -> None:
        self.ret = ret
        self.problem = problem


Handler = Callable[["Caller", SyscallEvent], Outcome]


class Caller:
    """Makes the calls of one script on a machine."""

    def __init__(self, state: State, sys: Calls) -> None:
        self.state = state
        self.sys = sys

    def run(self, event: SyscallEvent) -> str:
        """Make a call and compare; give what is wrong, "" for nothing. Raises ScriptError for calls that make no sense."""
        handler = _HANDLERS.get(event.name)
        if handler is None:
            raise ScriptError(event.line, f"no system call is called {event.name}")
        try:
            outcome = handler(self, event)
        except IndexError:
            raise ScriptError(event.line, f"{event.name}() has too few arguments") from None
        return _check_result(event, outcome.ret) or outcome.problem

    # Arguments

    def fd(self, event: SyscallEvent, index: int) -> int:
        """Give the live descriptor of an argument; a number that the script never got is passed as it is."""
        number = self.num(event, index)
        return self.state.fds.get(number, number if number < 0 else 1_000_000 + number)

    def num(self, event: SyscallEvent, index: int) -> int:
        """Give an argument that is a number."""
        return number(event, event.args[index])

    def buffer_missing(self, event: SyscallEvent, index: int) -> bool:
        """Tell whether a buffer is a null pointer: 0 or NULL in place of `...`."""
        arg = event.args[index]
        if isinstance(arg, Num) and arg.value == 0:
            return True
        if type(arg) is not Expr and not isinstance(arg, Str):
            raise ScriptError(event.line, f"{event.name}(): a buffer is ..., or 0 for a null pointer")
        return False

    def payload(self, event: SyscallEvent, index: int, size: int) -> bytes | None:
        """Give what a call sends: zeros, a string, or None for a null pointer."""
        arg = event.args[index]
        check_size(event, size)
        if isinstance(arg, Str):
            return arg.value[:size]
        return None if self.buffer_missing(event, index) else bytes(size)


def check_size(event: SyscallEvent, size: int) -> None:
    """Refuse buffers that nobody has. Raises ScriptError."""
    if not 0 <= size <= BUFFER_BYTES_MAX:
        raise ScriptError(event.line, f"{event.name}(): a buffer has 0 to {BUFFER_BYTES_MAX} bytes, not {size}")


def number(event: SyscallEvent, arg: Expr) -> int:
    """Give the value of a number or of [number]. Raises ScriptError."""
    if isinstance(arg, Items) and len(arg.items) == 1:
        arg = arg.items[0]
    if isinstance(arg, Num):
        return arg.value
    raise ScriptError(event.line, f"{event.name}(): expected a number")


def _check_result(event: SyscallEvent, ret: int) -> str:
    expected = event.result
    if expected is None:
        return ""
    got = f"-1 {errno_name(-ret)}" if ret < 0 else str(ret)
    wanted = f"{expected} {event.errno}".strip()
    if ret >= 0:
        same = expected == ret or (expected >= 0 and event.name in _FD_MAKERS)
        return "" if same else f"result: expected {wanted}, got {got}"
    if expected != -1 or (event.errno and constant(event.errno) != -ret):
        return f"result: expected {wanted}, got {got}"
    return ""


def _socket(caller: Caller, event: SyscallEvent) -> Outcome:
    family = caller.state.config.family() if type(event.args[0]) is Expr else caller.num(event, 0)
    type_ = caller.num(event, 1)
    ret = caller.sys.socket(family, type_, caller.num(event, 2))
    if ret >= 0:
        caller.state.new_socket(_script_fd(event, ret), ret, type_ & 15)
    return Outcome(ret)


def _script_fd(event: SyscallEvent, live: int) -> int:
    return live if event.result is None or event.result < 0 else event.result


def _bind(caller: Caller, event: SyscallEvent) -> Outcome:
    state = caller.state
    port = state.config.bind_port
    ret = caller.sys.bind(caller.fd(event, 0), state.sockaddr(True, port))
    conn = state.sockets.get(caller.num(event, 0))
    if ret == 0 and conn is not None:
        conn.bind_port = port
    return Outcome(ret)


def _listen(caller: Caller, event: SyscallEvent) -> Outcome:
    ret = caller.sys.listen(caller.fd(event, 0), caller.num(event, 1))
    conn = caller.state.sockets.get(caller.num(event, 0))
    if ret == 0 and conn is not None:
        conn.state = LISTENING
    return Outcome(ret)


def _accept(caller: Caller, event: SyscallEvent) -> Outcome:
    ret = caller.sys.accept(caller.fd(event, 0))
    if ret >= 0:
        caller.state.accepted(_script_fd(event, ret), ret)
    return Outcome(ret)


def _connect(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[1]
    addr = bytes(16) if isinstance(arg, Num) and arg.value == 0 else caller.state.sockaddr(False, caller.state.config.connect_port)
    fd = caller.fd(event, 0)
    conn = caller.state.sockets.get(caller.num(event, 0))
    if conn is not None and conn.type == 2:
        conn.remote_port = caller.state.config.connect_port
    return Outcome(caller.sys.connect(fd, addr))


def _shutdown(caller: Caller, event: SyscallEvent) -> Outcome:
    return Outcome(caller.sys.shutdown(caller.fd(event, 0), caller.num(event, 1)))


def _close(caller: Caller, event: SyscallEvent) -> Outcome:
    return Outcome(caller.sys.close(caller.fd(event, 0)))


def _read(caller: Caller, event: SyscallEvent) -> Outcome:
    ret, data = caller.sys.read(caller.fd(event, 0), caller.num(event, 2), caller.buffer_missing(event, 1))
    return Outcome(ret, _not_zero(data))


def _not_zero(data: bytes) -> str:
    return "data: expected zeros" if data.strip(b"\0") else ""


def _write(caller: Caller, event: SyscallEvent) -> Outcome:
    size = caller.num(event, 2)
    return Outcome(caller.sys.write(caller.fd(event, 0), caller.payload(event, 1, size), size))


def _recv(caller: Caller, event: SyscallEvent) -> Outcome:
    null = caller.buffer_missing(event, 1)
    ret, data = caller.sys.recvfrom(caller.fd(event, 0), caller.num(event, 2), caller.num(event, 3), null)
    return Outcome(ret, _not_zero(data))


def _send(caller: Caller, event: SyscallEvent) -> Outcome:
    size = caller.num(event, 2)
    return Outcome(caller.sys.sendto(caller.fd(event, 0), caller.payload(event, 1, size), size, caller.num(event, 3), None))


def _sendto(caller: Caller, event: SyscallEvent) -> Outcome:
    size = caller.num(event, 2)
    arg = event.args[4]
    addr: bytes | None = caller.state.sockaddr(False, caller.state.config.connect_port)
    if isinstance(arg, Num):
        addr = None if arg.text == "NULL" else bytes(16)  # AF_UNSPEC
    data = caller.payload(event, 1, size)
    return Outcome(caller.sys.sendto(caller.fd(event, 0), data, size, caller.num(event, 3), addr))


def _vector(event: SyscallEvent, arg: Expr) -> list[tuple[bool, int]]:
    """Read [{..., n}, ...]: whether a buffer is a null pointer, and its size."""
    if not isinstance(arg, Items):
        raise ScriptError(event.line, f"{event.name}(): expected [{{..., n}}, ...]")
    found = []
    for item in arg.items:
        if not isinstance(item, Struct) or len(item.fields) != 2:
            raise ScriptError(event.line, f"{event.name}(): expected {{..., n}}")
        null = isinstance(item.fields[0].value, Num)
        size = number(event, item.fields[1].value)
        check_size(event, size)
        found.append((null, size))
    return found


def _readv(caller: Caller, event: SyscallEvent) -> Outcome:
    vector = _checked_vector(caller, event)
    ret, data = caller.sys.readv(caller.fd(event, 0), [size for _, size in vector])
    return Outcome(ret, _not_zero(data))


def _writev(caller: Caller, event: SyscallEvent) -> Outcome:
    vector = _checked_vector(caller, event)
    return Outcome(caller.sys.writev(caller.fd(event, 0), [bytes(size) for _, size in vector]))


def _checked_vector(caller: Caller, event: SyscallEvent) -> list[tuple[bool, int]]:
    vector = _vector(event, event.args[1])
    if caller.num(event, 2) != len(vector):
        raise ScriptError(event.line, f"{event.name}(): there are {len(vector)} pieces, not {caller.num(event, 2)}")
    return vector


class _Message:
    """The fields of a written msghdr."""

    def __init__(self, event: SyscallEvent, arg: Expr) -> None:
        if not isinstance(arg, Struct):
            raise ScriptError(event.line, f"{event.name}(): expected {{msg_name(...)=..., msg_iov(1)=[...], msg_flags=...}}")
        self.name: Field | None = None
        self.sizes: list[int] = []
        self.flags = 0
        self.control: list[Expr] | None = None
        for field in arg.fields:
            if field.name == "msg_name":
                self.name = field
            elif field.name == "msg_iov":
                self.sizes = [size for _, size in _vector(event, field.value)]
                if field.size is not None and number(event, field.size) != len(self.sizes):
                    raise ScriptError(
                        event.line, f"{event.name}(): msg_iov says {number(event, field.size)} pieces and has {len(self.sizes)}"
                    )
            elif field.name == "msg_flags":
                self.flags = number(event, field.value)
            elif field.name == "msg_control" and isinstance(field.value, Items):
                self.control = field.value.items
            else:
                raise ScriptError(event.line, f"{event.name}(): a msghdr has no {field.name or 'such field'}")


def _recvmsg(caller: Caller, event: SyscallEvent) -> Outcome:
    message = _Message(event, event.args[1])
    state = caller.state
    room = control_room(message.control or [], event, state)
    got = caller.sys.recvmsg(caller.fd(event, 0), message.sizes, room, caller.num(event, 2))
    if got.ret < 0:
        return Outcome(got.ret)
    problem = _not_zero(got.data)
    if not problem and got.flags != message.flags:
        problem = f"msg_flags: expected {message.flags:#x}, got {got.flags:#x}"
    return Outcome(got.ret, problem or check_control(message.control or [], got.control, event, state))


def _sendmsg(caller: Caller, event: SyscallEvent) -> Outcome:
    message = _Message(event, event.args[1])
    if message.flags:
        raise ScriptError(event.line, "sendmsg(): msg_flags must be 0")
    flags = caller.num(event, 2)
    addr = None
    conn = caller.state.sockets.get(caller.num(event, 0))
    if flags & 0x20000000 or (conn is not None and conn.type == 2 and conn.remote_port == 0):  # MSG_FASTOPEN, or a datagram
        addr = caller.state.sockaddr(False, caller.state.config.connect_port)
    control = emit_control(message.control or [], event, caller.state)
    return Outcome(caller.sys.sendmsg(caller.fd(event, 0), [bytes(size) for size in message.sizes], control, flags, addr))


def _option_bytes(event: SyscallEvent, arg: Expr) -> bytes:
    if isinstance(arg, Str):
        return arg.value
    if isinstance(arg, Items):
        return b"".join([pack("=I", number(event, item) & 0xFFFFFFFF) for item in arg.items])
    if isinstance(arg, Struct) and arg.get("onoff") is not None:
        linger = arg.get("linger")
        return pack("=ii", number(event, arg.get("onoff") or Expr()), 0 if linger is None else number(event, linger))
    if isinstance(arg, Call) and arg.name == "inet6_addr" and isinstance(arg.args[0], Str):
        import socket

        return socket.inet_pton(socket.AF_INET6, arg.args[0].value.decode())
    raise ScriptError(event.line, f"{event.name}(): this is no value of a socket option")


def _setsockopt(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[3]
    value = None if isinstance(arg, Num) and arg.text == "NULL" else _option_bytes(event, arg if not isinstance(arg, Num) else Items([arg]))
    return Outcome(caller.sys.setsockopt(caller.fd(event, 0), caller.num(event, 1), caller.num(event, 2), value, caller.num(event, 4)))


def _getsockopt(caller: Caller, event: SyscallEvent) -> Outcome:
    size = caller.num(event, 4)
    check_size(event, max(size, 0))
    ret, got = caller.sys.getsockopt(caller.fd(event, 0), caller.num(event, 1), caller.num(event, 2), size)
    arg = event.args[3]
    if ret < 0 or type(arg) is Expr:
        return Outcome(ret)
    choices = arg.choices if isinstance(arg, Either) else [arg]
    expected = [_option_bytes(event, choice) for choice in choices]
    if isinstance(arg, Str):
        same = got.rstrip(b"\0") == arg.value.rstrip(b"\0")
        return Outcome(ret, "" if same else f"option: expected {arg.value!r}, got {got!r}")
    if got[: len(expected[0])] not in expected:
        shown = " or ".join([str(unpack_from("=i", value.ljust(4, b"\0"))[0]) for value in expected])
        return Outcome(ret, f"option: expected {shown}, got {unpack_from('=i', got.ljust(4, bytes(1)))[0]}")
    return Outcome(ret)


def _poll(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[0]
    if not isinstance(arg, Items):
        raise ScriptError(event.line, "poll(): expected [{fd=, events=, revents=}, ...]")
    fds, expected = [], []
    for item in arg.items:
        if not isinstance(item, Struct):
            raise ScriptError(event.line, "poll(): expected {fd=, events=, revents=}")
        fd = number(event, item.get("fd") or Expr())
        fds.append((caller.state.fds.get(fd, fd), number(event, item.get("events") or Expr())))
        revents = item.get("revents")
        expected.append(None if revents is None else number(event, revents))
    ret, got = caller.sys.poll(fds, caller.num(event, 2))
    for (fd, _events), wish, bits in zip(fds, expected, got, strict=False):
        if ret >= 0 and wish is not None and wish != bits:
            return Outcome(ret, f"revents of descriptor {fd}: expected {wish:#x}, got {bits:#x}")
    return Outcome(ret)


def _epoll_create(caller: Caller, event: SyscallEvent) -> Outcome:
    ret = caller.sys.epoll_create(caller.num(event, 0))
    if ret >= 0:
        caller.state.fds[_script_fd(event, ret)] = ret
    return Outcome(ret)


def _epoll_event(event: SyscallEvent, arg: Expr) -> tuple[int, int]:
    """Read {events=, fd=}: (events, data)."""
    if not isinstance(arg, Struct):
        raise ScriptError(event.line, f"{event.name}(): expected {{events=, fd=}}")
    data = 0
    for name in ("fd", "ptr", "u32", "u64"):
        value = arg.get(name)
        if value is not None:
            data = number(event, value)
    return number(event, arg.get("events") or Expr()), data


def _epoll_ctl(caller: Caller, event: SyscallEvent) -> Outcome:
    events, data = _epoll_event(event, event.args[3]) if isinstance(event.args[3], Struct) else (0, 0)
    return Outcome(caller.sys.epoll_ctl(caller.fd(event, 0), caller.num(event, 1), caller.fd(event, 2), events, data))


def _epoll_wait(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[1]
    if isinstance(arg, Items) and arg.items:
        arg = arg.items[0]
    expected = _epoll_event(event, arg)
    ret, got = caller.sys.epoll_wait(caller.fd(event, 0), caller.num(event, 2), caller.num(event, 3))
    if ret <= 0:
        return Outcome(ret)
    if got[0] != expected:
        return Outcome(ret, f"event: expected events {expected[0]:#x} of {expected[1]}, got {got[0][0]:#x} of {got[0][1]}")
    return Outcome(ret)


def _fcntl(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = caller.num(event, 2) if len(event.args) > 2 else 0
    return Outcome(caller.sys.fcntl(caller.fd(event, 0), caller.num(event, 1), arg))


def _ioctl(caller: Caller, event: SyscallEvent) -> Outcome:
    ret, got = caller.sys.ioctl(caller.fd(event, 0), caller.num(event, 1))
    if ret < 0 or len(event.args) < 3 or type(event.args[2]) is Expr:
        return Outcome(ret)
    expected = caller.num(event, 2)
    return Outcome(ret, "" if got == expected else f"value: expected {expected}, got {got}")


def _pipe(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[0]
    if not isinstance(arg, Items) or len(arg.items) != 2:
        raise ScriptError(event.line, "pipe(): expected [a, b]")
    ret, reader, writer = caller.sys.pipe()
    if ret == 0:
        caller.state.fds[number(event, arg.items[0])] = reader
        caller.state.fds[number(event, arg.items[1])] = writer
    return Outcome(ret)


def _splice(caller: Caller, event: SyscallEvent) -> Outcome:
    return Outcome(caller.sys.splice(caller.fd(event, 0), caller.fd(event, 2), caller.num(event, 4), caller.num(event, 5)))


def _sendfile(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[2]
    offset = None if isinstance(arg, Num) and arg.text == "NULL" else number(event, arg)
    return Outcome(caller.sys.sendfile(caller.fd(event, 0), caller.fd(event, 1), offset, caller.num(event, 3)))


def _open(caller: Caller, event: SyscallEvent) -> Outcome:
    arg = event.args[0]
    if not isinstance(arg, Str):
        raise ScriptError(event.line, "open(): expected a path in quotes")
    ret = caller.sys.open(arg.value, caller.num(event, 1))
    if ret >= 0:
        caller.state.fds[_script_fd(event, ret)] = ret
    return Outcome(ret)


_HANDLERS: dict[str, Handler] = {
    "socket": _socket,
    "bind": _bind,
    "listen": _listen,
    "accept": _accept,
    "connect": _connect,
    "shutdown": _shutdown,
    "close": _close,
    "read": _read,
    "write": _write,
    "recv": _recv,
    "recvfrom": _recv,
    "send": _send,
    "sendto": _sendto,
    "readv": _readv,
    "writev": _writev,
    "recvmsg": _recvmsg,
    "sendmsg": _sendmsg,
    "setsockopt": _setsockopt,
    "getsockopt": _getsockopt,
    "poll": _poll,
    "epoll_create": _epoll_create,
    "epoll_ctl": _epoll_ctl,
    "epoll_wait": _epoll_wait,
    "fcntl": _fcntl,
    "ioctl": _ioctl,
    "pipe": _pipe,
    "splice": _splice,
    "sendfile": _sendfile,
    "open": _open,
}
