"""Really try it: socket, setsockopt, bind and listen (or connect) in a forked child, closed at once.

The child enters the target's network namespace, takes its user, groups, capabilities and cgroup, makes the calls in the
order in which a server makes them, and reports the first that fails. While it holds the address, a filter drops every
packet meant for it, so that it takes no connection away from a SO_REUSEPORT group; a UNIX path it has made is removed.
What cannot be taken over (seccomp filters, Landlock, a security label) is listed in `differences`.
"""

from __future__ import annotations

import _socket as sockets
import os
from functools import partial

from twinsock.host.libc import call, setns
from twinsock.host.processes import read_text, status_field
from twinsock.uapi.errno import EINPROGRESS, EINVAL, ENOENT, ERRNO_NAMES
from twinsock.uapi.in6 import IPV6_FREEBIND, IPV6_TRANSPARENT, IPV6_V6ONLY
from twinsock.uapi.in_ import IP_BIND_ADDRESS_NO_PORT, IP_FREEBIND, IP_TRANSPARENT, IPPROTO_IP
from twinsock.uapi.socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    SO_ATTACH_FILTER,
    SO_BINDTODEVICE,
    SO_ERROR,
    SO_LINGER,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_IPV6,
    SOL_SOCKET,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_KEEPCAPS = 8
_CAPABILITY_VERSION_3 = 0x20080522
_CGROUP2_MOUNTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_DROP_EVERYTHING = b"\x06\0\0\0\0\0\0\0"
_UNSET = -1
_PORT_MAX = 65535


class Attempt:
    """What to try, and as whom; a flag of -1 is left as the kernel sets it."""

    def __init__(self, family: int, kind: int, protocol: int = 0) -> None:
        self.family = family
        self.kind = kind
        """SOCK_STREAM, SOCK_DGRAM, ..."""
        self.protocol = protocol
        self.address: str | None = None
        """Numeric address, with %device for a scope; a path or "@abstract" for AF_UNIX. None: no bind."""
        self.port = 0
        self.reuseaddr = _UNSET
        self.reuseport = _UNSET
        self.v6only = _UNSET
        self.freebind = _UNSET
        self.transparent = _UNSET
        self.bind_address_no_port = _UNSET
        self.device = ""
        self.listen = False
        self.backlog = 1
        self.connect_to: str | None = None
        """Where to connect after bind, without waiting: only what the user asked for."""
        self.connect_port = 0
        self.netns = 0
        """Inode of the network namespace, 0: the caller's, or that of `pid`."""
        self.pid = 0
        """Take namespaces, user, groups, capabilities and cgroup from this process."""
        self.uid = _UNSET
        self.gid = _UNSET
        self.capabilities = _UNSET
        """Effective capabilities to keep, a bit mask; -1: what the change of user leaves."""


class ProveResult:
    """How the attempt ended."""

    def __init__(self, errno: int, call: str, port: int, differences: list[str]) -> None:
        self.errno = errno
        """Positive, 0 if every call succeeded."""
        self.call = call
        """The call that failed ("bind", "setsockopt SO_BINDTODEVICE"), the last one if none did."""
        self.port = port
        """The local port after bind."""
        self.differences = differences
        """In what the child was unlike the target."""

    @property
    def tried(self) -> bool:
        """False if the child could not even take the target's place; then `call` says what was refused."""
        return not self.call.startswith("enter ")

    @property
    def text(self) -> str:
        """Put the result in a few words."""
        if not self.errno:
            return self.call + " succeeded"
        name = ERRNO_NAMES.get(self.errno, str(self.errno))
        return f"{self.call} failed: {name} ({os.strerror(self.errno)})"


class _Refused(Exception):
    """A call that failed in the child."""

    def __init__(self, call: str, errno: int) -> None:
        super().__init__(call)
        self.call = call
        self.errno = errno


def prove(attempt: Attempt) -> ProveResult:
    """Try it in a forked child and tell what the kernel said. Raises OSError if no child can be made."""
    if (attempt.address is not None and not _is_valid(attempt.family, attempt.address)) or (
        attempt.connect_to is not None and not _is_valid(attempt.family, attempt.connect_to)
    ):
        raise OSError(EINVAL, "not a numeric address of this family")
    if not (0 <= attempt.port <= _PORT_MAX and 0 <= attempt.connect_port <= _PORT_MAX):
        raise OSError(EINVAL, "a port is a number from 0 to 65535")
    namespace = _open_namespace(attempt.netns) if attempt.netns else -1
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = _fork()
    if child == 0:
        _run_child(attempt, namespace, writer)
    os.close(writer)
    if namespace >= 0:
        os.close(namespace)
    answer = b""
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    fields = answer.decode("utf-8", "surrogateescape").split("\n")
    if len(fields) < 3:
        raise OSError(EINVAL, "the child died without an answer")
    return ProveResult(int(fields[0]), fields[1], int(fields[2]), [line for line in fields[3:] if line])


def _fork() -> int:
    """Fork; Python 3.12 warns when there are threads, and the child touches nothing that they hold."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _run_child(attempt: Attempt, namespace: int, writer: int) -> None:
    """Do it, write the answer, and leave without running anybody's cleanup."""
    differences: list[str] = []
    error, call_name, port = EINVAL, "enter child", 0
    try:
        _enter(attempt, namespace, differences)
        call_name, port = _try(attempt)
        error = 0
    except _Refused as refused:
        error, call_name = refused.errno, refused.call
    except OSError as refused:
        error = refused.errno or EINVAL
    finally:
        answer = "\n".join((str(error), call_name, str(port), *differences))
        os.write(writer, answer.encode("utf-8", "surrogateescape"))
        os._exit(0)


def _try(attempt: Attempt) -> tuple[str, int]:
    """Make the calls: the name of the last, and the local port. Raises _Refused with the first that fails."""
    flags = SOCK_CLOEXEC | (SOCK_NONBLOCK if attempt.connect_to is not None else 0)
    try:
        sock = sockets.socket(attempt.family, attempt.kind | flags, attempt.protocol)
    except OSError as error:
        raise _Refused("socket", error.errno or EINVAL) from None
    done = "socket"
    port = 0
    try:
        _set_options(sock, attempt)
        if attempt.address is not None:
            done = "bind"
            _bind(sock, attempt)
            port = _port_of(sock, attempt.family)
        if attempt.listen:
            done = "listen"
            sock.listen(attempt.backlog)
            port = _port_of(sock, attempt.family)
        if attempt.connect_to is not None:
            done = "connect"
            _connect(sock, attempt)
            port = _port_of(sock, attempt.family)
    except OSError as error:
        raise _Refused(done, error.errno or EINVAL) from None
    finally:
        sock.close()
    return done, port


def _set_options(sock: sockets.socket, attempt: Attempt) -> None:
    """Set the options that are asked for, in the order of a server that reads its configuration."""
    v6 = attempt.family == AF_INET6
    for name, level, option, value in (
        ("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, attempt.reuseaddr),
        ("SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, attempt.reuseport),
        ("IPV6_V6ONLY", SOL_IPV6, IPV6_V6ONLY, attempt.v6only),
        ("IP_FREEBIND", SOL_IPV6 if v6 else IPPROTO_IP, IPV6_FREEBIND if v6 else IP_FREEBIND, attempt.freebind),
        ("IP_TRANSPARENT", SOL_IPV6 if v6 else IPPROTO_IP, IPV6_TRANSPARENT if v6 else IP_TRANSPARENT, attempt.transparent),
        ("IP_BIND_ADDRESS_NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, attempt.bind_address_no_port),
    ):
        if value != _UNSET:
            _set_option(sock, name, level, option, value)
    if attempt.device:
        _set_option(sock, "SO_BINDTODEVICE", SOL_SOCKET, SO_BINDTODEVICE, os.fsencode(attempt.device) + b"\0")
    if attempt.connect_to is None and attempt.family in (AF_INET, AF_INET6):
        _drop_packets(sock)
    elif attempt.kind == SOCK_STREAM and attempt.family != AF_UNIX:
        _set_option(sock, "SO_LINGER", SOL_SOCKET, SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _set_option(sock: sockets.socket, name: str, level: int, option: int, value: int | bytes) -> None:
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        raise _Refused("setsockopt " + name, error.errno or EINVAL) from None


def _drop_packets(sock: sockets.socket) -> None:
    """Attach a classic BPF program which keeps nothing; that some socket takes none is no failure."""
    from twinsock.host.bpf import pinned_address

    where, _pinned = pinned_address(bytearray(_DROP_EVERYTHING))
    program = (1).to_bytes(8, "little") + where.to_bytes(8, "little")
    try:
        sock.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        return


def _bind(sock: sockets.socket, attempt: Attempt) -> None:
    address = attempt.address or ""
    if attempt.family != AF_UNIX:
        sock.bind(_sockaddr(attempt.family, address, attempt.port))
        return
    path = _unix_name(address)
    sock.bind(path)
    if path[:1] != b"\0":
        os.unlink(path)


def _connect(sock: sockets.socket, attempt: Attempt) -> None:
    """Connect without waiting: EINPROGRESS means that everything local was granted."""
    target = attempt.connect_to or ""
    try:
        if attempt.family == AF_UNIX:
            sock.connect(_unix_name(target))
        else:
            sock.connect(_sockaddr(attempt.family, target, attempt.connect_port))
    except OSError as error:
        if error.errno != EINPROGRESS:
            raise
    late = sock.getsockopt(SOL_SOCKET, SO_ERROR)
    if late:
        raise OSError(late, "")


def _port_of(sock: sockets.socket, family: int) -> int:
    return int(sock.getsockname()[1]) if family in (AF_INET, AF_INET6) else 0


def _unix_name(name: str) -> bytes:
    return b"\0" + os.fsencode(name[1:]) if name.startswith("@") else os.fsencode(name)


def _sockaddr(family: int, address: str, port: int) -> tuple[object, ...]:
    if family == AF_INET:
        return address, port
    host, _, scope = address.partition("%")
    index = 0
    if scope:
        index = int(scope) if scope.isdecimal() else sockets.if_nametoindex(scope)
    return host, port, 0, index


def _is_valid(family: int, address: str) -> bool:
    """Tell whether this is a numeric address, so that nothing asks a name server."""
    if family not in (AF_INET, AF_INET6):
        return family == AF_UNIX
    try:
        sockets.inet_pton(family, address.partition("%")[0] if family == AF_INET6 else address)
    except (OSError, ValueError):
        return False
    return True


def _open_namespace(inode: int) -> int:
    """Open the network namespace with this inode. Raises OSError if it is not to be found or opened."""
    from twinsock.host.namespaces import find_namespaces

    for deep in (False, True):
        for namespace in find_namespaces(deep):
            if namespace.inode == inode:
                return namespace.open()
    raise OSError(ENOENT, f"no network namespace {inode} can be found")


def _enter(attempt: Attempt, namespace: int, differences: list[str]) -> None:
    """Take the target's place. Raises _Refused with a call that starts with "enter"."""
    uid, gid, groups, capabilities = attempt.uid, attempt.gid, list[int](), attempt.capabilities
    user_ns = -1
    if attempt.pid:
        status = read_text(f"/proc/{attempt.pid}/status")
        if not status:
            raise _Refused("enter process", ENOENT)
        uid = _inside_id(attempt.pid, "uid_map", status, "Uid:") if uid == _UNSET else uid
        gid = _inside_id(attempt.pid, "gid_map", status, "Gid:") if gid == _UNSET else gid
        if attempt.uid == _UNSET:
            groups = [int(word) for word in status_field(status, "Groups:").split()]
            if capabilities == _UNSET:
                capabilities = int(status_field(status, "CapEff:") or "0", 16)
        if status_field(status, "Seccomp:") not in ("", "0"):
            differences.append("the process has seccomp filters, which the attempt had not")
        _join_cgroup(attempt.pid, differences)
        user_ns = _enter_namespaces(attempt, namespace < 0, differences)
    if namespace >= 0:
        _step("enter network namespace", lambda: setns(namespace, _CLONE_NEWNET))
    if user_ns >= 0:
        _step("enter group", lambda: os.setgroups(groups))
        _step("enter user namespace", lambda: setns(user_ns, _CLONE_NEWUSER))
    _become(uid, gid, None if user_ns >= 0 else groups, capabilities, differences)


def _enter_namespaces(attempt: Attempt, network: bool, differences: list[str]) -> int:
    """Enter the process's network namespace, and its mounts for a path; return its user namespace if it is another."""
    folder = f"/proc/{attempt.pid}/ns/"
    flags = os.O_RDONLY | os.O_CLOEXEC
    user_ns = -1
    if _link(folder + "user") != _link("/proc/self/ns/user"):
        user_ns = _step("enter user namespace", lambda: os.open(folder + "user", flags))
    mounts = -1
    if attempt.family == AF_UNIX and _link(folder + "mnt") != _link("/proc/self/ns/mnt"):
        mounts = _step("enter mount namespace", lambda: os.open(folder + "mnt", flags))
    elif attempt.family == AF_UNIX and _link(f"/proc/{attempt.pid}/root") not in ("", "/"):
        differences.append("the process has another root directory")
    if network and _link(folder + "net") != _link("/proc/self/ns/net"):
        net = _step("enter network namespace", lambda: os.open(folder + "net", flags))
        _step("enter network namespace", lambda: setns(net, _CLONE_NEWNET))
    if attempt.family == AF_UNIX:
        cwd = _link(f"/proc/{attempt.pid}/cwd")
        if mounts >= 0:
            _step("enter mount namespace", lambda: setns(mounts, _CLONE_NEWNS))
        if cwd:
            _step("enter directory", lambda: os.chdir(cwd))
    return user_ns


def _become(uid: int, gid: int, groups: list[int] | None, capabilities: int, differences: list[str]) -> None:
    """Change user, groups and capabilities, in the order that keeps the right to do so to the end."""
    if gid != _UNSET and (gid != os.getegid() or uid not in (_UNSET, os.geteuid())):
        if groups is not None:
            _step("enter group", partial(os.setgroups, groups))
        _step("enter group", lambda: os.setresgid(gid, gid, gid))
    elif gid == _UNSET and uid not in (_UNSET, os.geteuid()):
        differences.append("the groups are the caller's, not the user's")
    if capabilities != _UNSET:
        call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    if uid not in (_UNSET, os.geteuid()):
        _step("enter user", lambda: os.setresuid(uid, uid, uid))
    if capabilities == _UNSET:
        return
    status = read_text("/proc/self/status")
    permitted = int(status_field(status, "CapPrm:") or "0", 16)
    kept = capabilities & permitted
    if kept != capabilities:
        differences.append(f"capabilities {capabilities & ~permitted:#x} of the process cannot be taken over")
    header = _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    low = (kept & 0xFFFFFFFF).to_bytes(4, "little")
    high = (kept >> 32).to_bytes(4, "little")
    _step("enter capabilities", lambda: call("capset", header, low + low + bytes(4) + high + high + bytes(4)))


def _join_cgroup(pid: int, differences: list[str]) -> None:
    """Join the process's cgroup, whose BPF programs decide about bind and connect."""
    ours = _cgroup2_path(read_text("/proc/self/cgroup"))
    theirs = _cgroup2_path(read_text(f"/proc/{pid}/cgroup"))
    if not theirs or ours == theirs:
        return
    for mount in _CGROUP2_MOUNTS:
        if os.path.exists(mount + "/cgroup.controllers"):
            try:
                fd = os.open(mount + theirs + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                try:
                    os.write(fd, b"0")
                finally:
                    os.close(fd)
                return
            except OSError:
                break
    differences.append("the cgroup of the process could not be joined: its BPF programs had no say")


def _cgroup2_path(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return ""


def _inside_id(pid: int, name: str, status: str, field: str) -> int:
    """Translate the process's effective id into its own user namespace, if that is not ours."""
    words = status_field(status, field).split()
    outside = int(words[1]) if len(words) > 1 else 0
    if _link(f"/proc/{pid}/ns/user") == _link("/proc/self/ns/user"):
        return outside
    for line in read_text(f"/proc/{pid}/{name}").splitlines():
        inner, outer, count = (int(word) for word in line.split())
        if outer <= outside < outer + count:
            return inner + outside - outer
    return outside


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _step(name: str, function: Callable[[], T]) -> T:
    """Run one step of entering; a failure carries its name."""
    try:
        return function()
    except OSError as error:
        raise _Refused(name, error.errno or EINVAL) from None
