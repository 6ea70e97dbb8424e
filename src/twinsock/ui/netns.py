"""The network namespace that a user names: by `ip netns`, by a process in it, or by its inode number."""

from __future__ import annotations

from twinsock.ui.args import UsageError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort


def find_namespace(port: KernelPort, text: str) -> int:
    """Find a network namespace by name, by a process in it, or by its inode number. Raises UsageError."""
    known = port.namespaces()
    for namespace in known:
        if text in namespace.names or any(name.rpartition("/")[2] == text for name in namespace.names):
            return namespace.inode
    if text.isascii() and text.isdecimal() and len(text) < 12:
        number = int(text)
        for namespace in known:
            if namespace.inode == number:
                return number
        inode = _namespace_of_process(port, number)
        if inode:
            return inode
        if any(namespace.inode == number for namespace in port.namespaces(True)):
            return number
    raise UsageError(f"there is no network namespace {printable(text)}: neither a name of `ip netns`, nor a process, nor an inode number")


def _namespace_of_process(port: KernelPort, pid: int) -> int:
    """Find the network namespace of a process, 0 if there is none. Raises UsageError if it is hidden."""
    try:
        inode = port.netns_of(pid)
    except OSError:
        return 0
    if inode < 0:
        raise UsageError(f"the network namespace of process {pid} is hidden: needs CAP_SYS_PTRACE or the same user")
    return inode
