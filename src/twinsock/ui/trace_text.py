"""System calls and kernel stacks in words: arguments by name, errno by name, addresses, and the tree of who called whom."""

from __future__ import annotations

from twinsock.inspect.address import format_address
from twinsock.uapi.errno import ERRNO_NAMES
from twinsock.uapi.socket import AF_NAMES, SOCK_NAMES

_SOCK_TYPE_MASK = 0xF
_SOCK_FLAGS = ((0x800, "SOCK_NONBLOCK"), (0x80000, "SOCK_CLOEXEC"))
_AF_UNSPEC, _AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 0, 1, 2, 10, 16
_SHUTDOWN_NAMES = ("SHUT_RD", "SHUT_WR", "SHUT_RDWR")
# Frames around the way that is of interest: the entry of a system call, and the tracepoint's own.
_OUTER = ("entry_SYSCALL", "do_syscall_64", "x64_sys_call", "el0", "invoke_syscall", "do_el0_svc", "ret_from_fork")
_INNER = ("trace_event_", "kmem_cache_alloc", "__traceiter_", "perf_trace_")
_CALL_PREFIXES = ("__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_")


def errno_name(result: int) -> str:
    """Name a negative result: -98 is EADDRINUSE."""
    return ERRNO_NAMES.get(-result, f"errno {-result}")


def result_text(result: int) -> str:
    """Write what a call returned: a number, or `-1 EADDRINUSE (Address already in use)`."""
    if result >= 0:
        return str(result)
    from os import strerror

    return f"-1 {errno_name(result)} ({strerror(-result)})"


def socket_arguments(family: int, type_: int, protocol: int) -> str:
    """Write the arguments of socket(2)."""
    base = type_ & _SOCK_TYPE_MASK
    words = [SOCK_NAMES.get(base, str(base))] + [name for bit, name in _SOCK_FLAGS if type_ & bit]
    return f"{AF_NAMES.get(family, family)}, {'|'.join(words)}, {protocol}"


def shutdown_name(how: int) -> str:
    """Name the second argument of shutdown(2)."""
    return _SHUTDOWN_NAMES[how] if 0 <= how < len(_SHUTDOWN_NAMES) else str(how)


def sockaddr_text(data: bytes, length: int) -> str:
    """Write a socket address: 127.0.0.1:80, [::1]:80, /run/x.sock, @abstract, or its family."""
    from twinsock.ui.term import clean

    if length < 2 or len(data) < 2:
        return f"{length} bytes"
    family = int.from_bytes(data[:2], "little")
    port = int.from_bytes(data[2:4], "big")
    if family == _AF_INET and length >= 8:
        return f"{format_address(data[4:8])}:{port}"
    if family == _AF_INET6 and length >= 24:
        scope = int.from_bytes(data[24:28], "little") if length >= 28 else 0
        return f"[{format_address(data[8:24])}{f'%{scope}' if scope else ''}]:{port}"
    if family == _AF_UNIX:
        name = data[2 : min(length, 110)]
        if not name:
            return "(autobind)"
        shown = b"@" + name[1:].replace(b"\0", b"@") if name[0] == 0 else name.partition(b"\0")[0]
        return clean(shown.decode("utf-8", "replace"))
    if family == _AF_NETLINK and length >= 12:
        return f"netlink pid={int.from_bytes(data[4:8], 'little')} groups=0x{int.from_bytes(data[8:12], 'little'):x}"
    return str(AF_NAMES.get(family, f"family {family}"))


def path_of(stack: list[str]) -> list[str]:
    """Turn a kernel stack (innermost first) into the way from the call to what happened: ["socket()", "__sys_socket", ...]."""
    frames = [frame.partition(".")[0] for frame in stack if not frame.startswith(_INNER)]
    frames.reverse()
    while frames and frames[0].startswith(_OUTER):
        frames.pop(0)
    if frames and frames[0].startswith(_CALL_PREFIXES):
        name = frames.pop(0)
        for prefix in _CALL_PREFIXES:
            name = name.removeprefix(prefix)
        frames.insert(0, name + "()")
    return frames


class Tree:
    """Ways that share their beginning, drawn once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels: list[str] = []  # what happened here
        self.below: list[Tree] = []

    def add(self, path: list[str], label: str) -> None:
        """Add one way below this node."""
        node = self
        for name in path:
            found = next((child for child in node.below if child.name == name), None)
            if found is None:
                found = Tree(name)
                node.below.append(found)
            node = found
        node.labels.append(label)

    def lines(self) -> list[str]:
        """Draw: what has one continuation stays on its line, `a > b > c`."""
        text, node = self.name, self
        while len(node.below) == 1 and not node.labels:
            node = node.below[0]
            text = f"{text} > {node.name}" if text else node.name
        if node.labels:
            text += "   " + ", ".join(node.labels)
        drawn = [text] if text else []
        for number, child in enumerate(node.below):
            last = number == len(node.below) - 1
            for row, line in enumerate(child.lines()):
                edge = ("└─ " if last else "├─ ") if row == 0 else ("   " if last else "│  ")
                drawn.append(edge + line)
        return drawn
