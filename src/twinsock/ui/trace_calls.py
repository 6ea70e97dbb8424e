"""`twinsock trace -- COMMAND` and `--pid N`: system calls from tracefs, their addresses from BPF, and the kernel's stacks."""

from __future__ import annotations

import os
import sys

from twinsock.host.syscall_events import process_of
from twinsock.host.tracefs import TraceInstance, arguments_of, fields_of
from twinsock.ui.trace import until
from twinsock.ui.trace_text import Tree, errno_name, path_of, result_text, shutdown_name, sockaddr_text, socket_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.host.syscalls import Call, SyscallWatch
    from twinsock.host.tracefs import TraceEvent
    from twinsock.ui.trace import Options

_CALLS = ("socket", "socketpair", "bind", "listen", "accept", "accept4", "connect", "shutdown", "close")
_CACHES = (
    *("sock_inode_cache", "TCP", "TCPv6", "UDP", "UDPv6", "RAW", "RAWv6", "UNIX", "UNIX-STREAM", "MPTCP", "PING"),
    *("request_sock_TCP", "request_sock_TCPv6", "tw_sock_TCP", "tw_sock_TCPv6", "tcp_bind_bucket"),
)
_STATE_FIELDS = ("family", "protocol", "sport", "dport", "saddr", "daddr", "saddrv6", "daddrv6", "oldstate", "newstate")
_LOOK_MS = 50
_SAME_CALL_NS = 2_000_000
_NO_ADDRESS = "?"


class Tracer:
    """Joins the events of each thread to calls and prints them."""

    def __init__(self, options: Options, watch: SyscallWatch | None) -> None:
        self.options = options
        self.watch = watch
        self.begun: dict[int, TraceEvent] = {}  # thread -> the call that it is in
        self.inside: dict[int, list[TraceEvent]] = {}  # thread -> what happened since
        self.addresses: list[Call] = []
        self.sockets: set[tuple[int, int]] = set()  # (process, descriptor)
        self.groups: dict[int, int] = {}

    def take(self, events: list[TraceEvent]) -> None:
        """Digest what the pipe gave."""
        if self.watch is not None:
            self.addresses += self.watch.read()
        for event in events:
            if not event.name.startswith("sys_"):
                self.inside.setdefault(event.tid, []).append(event)
            elif event.name.endswith("->"):
                self._ended(event)
            else:
                self._alone(event.tid)
                self.begun[event.tid] = event
        del self.addresses[:-256]

    def flush(self) -> None:
        """Print what belongs to no call that ended: work of the kernel after it, or in an exit."""
        for tid in list(self.inside):
            self._alone(tid)

    def _alone(self, tid: int) -> None:
        happened = self.inside.pop(tid, [])
        if happened:
            self._show(happened[0], "", "", None, None, happened)

    def _ended(self, event: TraceEvent) -> None:
        begin = self.begun.pop(event.tid, None)
        name = event.name[4:-3]
        if begin is None or begin.name != "sys_" + name:
            return
        happened = self.inside.pop(event.tid, [])
        result = arguments_of(event.text).get("ret", 0)
        result -= 1 << 64 if result >= 1 << 63 else 0
        group = self._group(event.tid)
        given = arguments_of(begin.text)
        fd = _signed(given.get("fd", -1))
        if name == "close" and (group, fd) not in self.sockets and not happened:
            return
        self._remember(name, group, fd, result)
        address = self._address(name, event, given)
        self._show(event, name, _arguments(name, given, address), result, address, happened)

    def _remember(self, name: str, group: int, fd: int, result: int) -> None:
        """Keep the set of descriptors that are sockets, so that other closes are left out."""
        if name in ("socket", "accept", "accept4") and result >= 0:
            self.sockets.add((group, result))
        elif name == "close":
            self.sockets.discard((group, fd))
        else:
            self.sockets.add((group, fd))

    def _group(self, tid: int) -> int:
        """Find the process of a thread, once."""
        if tid not in self.groups:
            self.groups[tid] = process_of(tid)
        return self.groups[tid]

    def _address(self, name: str, event: TraceEvent, given: dict[str, int]) -> str | None:
        """Find the address of a bind or connect: the BPF program saw the same call return at the same time."""
        if name not in ("bind", "connect"):
            return None
        for call in self.addresses:
            if call.tid == event.tid and call.name == name and abs(call.time_ns - event.time_ns) < _SAME_CALL_NS:
                self.addresses.remove(call)
                return sockaddr_text(call.address, given.get("addrlen", 0))
        return _NO_ADDRESS

    def _show(
        self, event: TraceEvent, name: str, arguments: str, result: int | None, address: str | None, happened: list[TraceEvent]
    ) -> None:
        from twinsock.ui.term import clean

        if self.options.has("--json"):
            print(_json(event, self._group(event.tid), name, arguments, result, address, happened))
            return
        stamp = f"{event.time_ns // 1_000_000_000}.{event.time_ns // 1000 % 1_000_000:06}"
        who = f"{stamp} {clean(event.command)}[{event.tid}]"
        print(f"{who} {name}({arguments}) = {result_text(result)}" if result is not None else f"{who} in the kernel")
        if not self.options.has("--no-stacks"):
            tree = Tree("")
            for inner in happened:
                path = path_of(inner.stack)
                tree.add(path or ["?"], _label(inner))
            for child in tree.below:
                for line in child.lines():
                    print("    " + line)
        else:
            for inner in happened:
                if inner.name == "inet_sock_set_state":
                    print("    " + _label(inner))


def trace_calls(options: Options) -> int:
    """Trace a command or a process until it ends. Raises OSError and KeyboardInterrupt."""
    from select import POLLIN, poll

    instance = TraceInstance()
    watch: SyscallWatch | None = None
    child: Child | None = None
    try:
        try:
            from twinsock.host.syscalls import SyscallWatch

            watch = SyscallWatch(("bind", "connect"), False, options.pid)
        except OSError as error:
            print(f"twinsock trace: addresses are not shown: {error.strerror}", file=sys.stderr)
        child = Child(options.command) if options.command else None
        pid = child.pid if child is not None else options.pid
        pidfd = _open_process(pid)
        instance.follow(pid)
        _enable(instance, options)
        tracer = Tracer(options, watch)
        poller = poll()
        instance.start()
        poller.register(pidfd, POLLIN)
        if child is not None:
            child.go()
        left = until(options.seconds)
        over = False
        while not over and left() != 0:
            wait = _LOOK_MS if left() < 0 else min(_LOOK_MS, left() * 1000)
            over = bool(poller.poll(wait))
            tracer.take(instance.read(over))
            sys.stdout.flush()
        tracer.take(instance.read(True))
        tracer.flush()
        sys.stdout.flush()
        return child.result() if child is not None else 0
    finally:
        if child is not None:
            child.end()
        if watch is not None:
            watch.close()
        instance.close()


def _open_process(pid: int) -> int:
    """Get a handle on a process, readable when it ends. Raises OSError."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise OSError(3, f"there is no process {pid}") from None


def _enable(instance: TraceInstance, options: Options) -> None:
    """Switch the tracepoints on. Raises OSError if the kernel has none for system calls."""
    if not options.has("--no-stacks"):
        instance.enable("kmem/kmem_cache_alloc", " || ".join([f'name == "{name}"' for name in _CACHES]), True)
    instance.enable("sock/inet_sock_set_state", "", not options.has("--no-stacks"))
    seen = [instance.enable(f"syscalls/sys_exit_{name}") and instance.enable(f"syscalls/sys_enter_{name}") for name in _CALLS]
    if not any(seen):
        raise OSError(38, "this kernel has no tracepoints for system calls (CONFIG_FTRACE_SYSCALLS)")


class Child:
    """The command: forked, waiting until it is traced."""

    def __init__(self, command: list[str]) -> None:
        reader, self._writer = os.pipe()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._become(command, reader)
        os.close(reader)

    def _become(self, command: list[str], reader: int) -> None:
        """Run the command once the parent says so; a closed pipe means that it never will."""
        from signal import SIG_DFL, SIGPIPE, SIGTERM, signal

        code = 127
        try:
            os.close(self._writer)
            signal(SIGTERM, SIG_DFL)
            signal(SIGPIPE, SIG_DFL)
            if os.read(reader, 1):
                os.execvp(command[0], command)
        except OSError as error:
            code = 126 if isinstance(error, PermissionError) else 127
            os.write(2, f"twinsock trace: cannot run {command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(code)

    def go(self) -> None:
        """Let it run."""
        os.write(self._writer, b"g")
        os.close(self._writer)
        self._writer = -1

    def result(self) -> int:
        """Give its exit code, 128 + N for signal N; 0 if it still runs."""
        if not self._has_ended() or self._status is None:
            return 0
        code = os.waitstatus_to_exitcode(self._status)
        return code if code >= 0 else 128 - code

    def _has_ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def end(self) -> None:
        """End it if it still runs."""
        from signal import SIGKILL, SIGTERM
        from time import sleep

        if self._writer >= 0:
            os.close(self._writer)
        for number in (SIGTERM, SIGKILL):
            for look in range(20):
                if self._has_ended():
                    return
                if not look:
                    os.kill(self.pid, number)
                sleep(0.02)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _arguments(name: str, given: dict[str, int], address: str | None) -> str:
    """Write the arguments of a call."""
    fd = _signed(given.get("fd", 0))
    if name in ("socket", "socketpair"):
        return socket_arguments(given.get("family", 0), given.get("type", 0), _signed(given.get("protocol", 0)))
    if name in ("bind", "connect"):
        return f"{fd}, {address}"
    if name == "listen":
        return f"{fd}, {_signed(given.get('backlog', 0))}"
    if name == "shutdown":
        return f"{fd}, {shutdown_name(given.get('how', 0))}"
    return str(fd)


def _label(event: TraceEvent) -> str:
    """Say what happened at the end of a stack."""
    if event.name == "kmem_cache_alloc":
        return "new " + fields_of(event.text, ("name",)).get("name", "?")
    state = _state(event)
    return f"{state['local']} -> {state['remote']} {state['old']} => {state['new']}"


def _state(event: TraceEvent) -> dict[str, str]:
    fields = fields_of(event.text, _STATE_FIELDS)
    ends = []
    for address, address6, port in (("saddr", "saddrv6", "sport"), ("daddr", "daddrv6", "dport")):
        host = fields.get(address, "?") if fields.get("family") == "AF_INET" else f"[{fields.get(address6, '?')}]"
        ends.append(f"{host}:{fields.get(port, '?')}")
    old, new = (fields.get(name, "?").removeprefix("TCP_") for name in ("oldstate", "newstate"))
    return {"protocol": fields.get("protocol", "?").removeprefix("IPPROTO_"), "local": ends[0], "remote": ends[1], "old": old, "new": new}


def _json(
    event: TraceEvent, pid: int, name: str, arguments: str, result: int | None, address: str | None, happened: list[TraceEvent]
) -> str:
    from json import dumps

    inner = []
    for item in happened:
        what: dict[str, object] = {"event": item.name, "time_ns": item.time_ns, "functions": path_of(item.stack)}
        if item.name == "kmem_cache_alloc":
            what["object"] = fields_of(item.text, ("name",)).get("name")
        else:
            what["state"] = _state(item)
        inner.append(what)
    record = {
        "schema": "twinsock.trace/1",
        "time_ns": event.time_ns,
        "pid": pid,
        "tid": event.tid,
        "command": event.command,
        "call": name or None,
        "arguments": arguments or None,
        "address": address if address != _NO_ADDRESS else None,
        "result": result,
        "errno": errno_name(result) if result is not None and result < 0 else None,
        "inside": inner,
    }
    return dumps(record)
