"""`twinsock trace --failures`: each socket call of the host that fails, as it happens."""

from __future__ import annotations

import sys

from twinsock.ui.trace import until
from twinsock.ui.trace_text import errno_name, result_text, sockaddr_text, socket_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.explain.report import Report
    from twinsock.host.syscall_events import FailedCalls
    from twinsock.host.syscalls import Call, SyscallWatch
    from twinsock.inspect.facts import Question
    from twinsock.ui.trace import Options

_CALLS = ("socket", "bind", "listen", "connect")
_EINPROGRESS = 115
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_IPPROTO_TCP = 6
_FAMILY_BYTES = {_AF_INET: (4, 8), _AF_INET6: (8, 24)}


def watch_failures(options: Options) -> int:
    """Print failures until the time is up. Raises OSError and KeyboardInterrupt."""
    from select import POLLIN, poll

    left = until(options.seconds)
    watch = _watch()
    try:
        poller = poll()
        poller.register(watch.fileno(), POLLIN)
        if sys.stderr.isatty():
            print("twinsock trace: waiting for calls that fail; ^C ends", file=sys.stderr)
        while left() != 0:
            poller.poll(left() * 1000 if left() >= 0 else None)
            for call in watch.read():
                if call.result != -_EINPROGRESS:
                    _show(call, options)
            sys.stdout.flush()
    finally:
        watch.close()
    return 0


def _watch() -> SyscallWatch | FailedCalls:
    """Start the BPF program, or where it is refused the tracepoints. Raises OSError."""
    from twinsock.host.syscalls import SyscallWatch

    try:
        return SyscallWatch(_CALLS, True)
    except OSError as refused:
        from twinsock.host.syscall_events import FailedCalls

        watch = FailedCalls(_CALLS)
        reason = refused.strerror
    print(
        f"twinsock trace: {reason}: addresses are read after the call, from the caller's memory, where that still can be", file=sys.stderr
    )
    return watch


def _show(call: Call, options: Options) -> None:
    """Print one failure, with its explanation where that is wanted."""
    report = _explained(call) if options.has("--explain") else None
    if options.has("--json"):
        print(_json(call, report))
        return
    from twinsock.ui.term import Paper, clean

    print(f"{_clock()} {clean(call.command)}[{call.pid}] {call.name}({_arguments(call)}) = {result_text(call.result)}")
    if report is not None:
        from twinsock.ui.why_text import draw

        paper = Paper(False, 0)
        draw(paper, report)
        print("\n".join(["    " + line if line else "" for line in paper.lines]))
    elif options.has("--explain") and call.name != "socket":
        print("    it cannot be explained: the process has ended, or the family is not one that why knows")


def _clock() -> str:
    from time import localtime, strftime, time

    now = time()
    return strftime("%H:%M:%S", localtime(now)) + f".{int(now * 1000) % 1000:03}"


def _arguments(call: Call) -> str:
    first, second, third = call.arguments
    if call.name == "socket":
        return socket_arguments(first, second, third)
    if call.name == "listen":
        return f"{first}, {second}"
    if not call.address:
        return f"{first}, ?"
    return f"{first}, {sockaddr_text(call.address, third)}{' (read late)' if call.late_address else ''}"


def _json(call: Call, report: Report | None) -> str:
    from json import dumps

    first, _second, third = call.arguments
    record: dict[str, object] = {
        "schema": "twinsock.trace-failure/1",
        "time_ns": call.time_ns,
        "pid": call.pid,
        "tid": call.tid,
        "command": call.command,
        "call": call.name,
        "errno": errno_name(call.result),
        "fd": None if call.name == "socket" else first,
        "address": sockaddr_text(call.address, third) if call.address else None,
        "address_late": call.late_address if call.address else None,
        "arguments": _arguments(call),
    }
    if report is not None:
        from twinsock.ui.why_json import as_dict

        record["why"] = as_dict(report)
    return dumps(record)


def _explained(call: Call) -> Report | None:
    """Ask `why` about the address, with what the socket is set to; None where there is nothing to ask."""
    from twinsock.inspect.facts import Question
    from twinsock.ui.asked import live_kernel
    from twinsock.ui.why import examine

    question = Question()
    question.pid = call.pid
    question.connect = call.name == "connect"
    if call.name == "socket" or not _take_address(question, call):
        return None
    try:
        return examine(live_kernel(), question)
    except OSError:
        return None  # the process or its namespace is gone


def _take_address(question: Question, call: Call) -> bool:
    """Fill in address, protocol and flags; False if the address is of a family that `why` does not know."""
    from twinsock.host.socket_copy import settings_of

    try:
        settings = settings_of(call.pid, call.arguments[0])
    except OSError:
        settings = None
    if settings is not None:
        question.reuseaddr, question.reuseport = settings.reuseaddr, settings.reuseport
        question.v6only = settings.v6only
        question.protocol = settings.protocol or _IPPROTO_TCP
        question.type = settings.type
    question.listen = question.is_stream() and not question.connect
    data = call.address
    if call.name == "listen":
        return settings is not None and _take_local(question, settings.family, settings.local)
    family = int.from_bytes(data[:2], "little")
    question.family = family
    if family == _AF_UNIX:
        name = data[2 : min(call.arguments[2], 110)]
        question.protocol = 0
        question.path = name if name[:1] == b"\0" else name.partition(b"\0")[0]
        return bool(name)
    if family not in _FAMILY_BYTES:
        return False
    start, end = _FAMILY_BYTES[family]
    question.address = data[start:end]
    question.port = int.from_bytes(data[2:4], "big")
    return True


def _take_local(question: Question, family: int, local: object) -> bool:
    """Fill in the address to which a socket is bound already."""
    from twinsock.inspect.address import parse_address

    if family not in _FAMILY_BYTES or not isinstance(local, tuple):
        return False
    question.family = family
    question.address = parse_address(str(local[0]).partition("%")[0]) or b""
    question.port = int(local[1])
    return bool(question.address)
