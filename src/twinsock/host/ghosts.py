"""Sockets that live in no descriptor table: who keeps them alive.

Three places can hold a socket besides a descriptor: a UNIX socket's receive queue with an SCM_RIGHTS message in it
(`scm_fds:` in the receiver's fdinfo), the fixed files of an io_uring (`UserFiles:` in the ring's fdinfo names each as
`socket:[inode]`), and the kernel itself (a struct socket without a file, which the tcp and udp iterators show). Which
socket is inside an undelivered message is shown by peeking at it through a copy of the receiver (pidfd.py), where that
is permitted. What remains is named by exclusion, with `proven` false.
Left out: BPF maps (sockmap) that pin a socket; kernel sockets in namespaces without process and name; without BPF,
receivers in namespaces that have no process.
"""

from __future__ import annotations

import os

from twinsock.host.processes import pids, read_text, status_field
from twinsock.inspect.owners import GONE, HIDDEN, IN_FLIGHT, IO_URING, KERNEL, NO_FD, Ghost

_RING_LINK = "anon_inode:[io_uring]"
_CAP_SYS_PTRACE = 19
_NET_FILES = (
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "raw",
    "raw6",
    "icmp",
    "icmp6",
    "unix",
    "packet",
    "netlink",
)


class Holder:
    """A descriptor whose file keeps other files alive."""

    def __init__(self, pid: int, fd: int, comm: str, inode: int, files: int) -> None:
        self.pid = pid
        self.fd = fd
        self.comm = comm
        self.inode = inode
        """The receiving socket's inode, 0 for a ring."""
        self.files = files
        """How many files it keeps."""


def find_ghosts(inodes: list[int], hidden: int) -> dict[int, Ghost]:
    """Explain each of these sockets, none of which is in a readable descriptor table."""
    wanted = set(inodes)
    namespaces = _namespaces_of_processes()
    rings: dict[int, Holder] = {}
    receivers: list[Holder] = []
    if not _scan_by_bpf(wanted, rings, receivers):
        unix = _unix_inodes(namespaces)
        for number in pids():
            _scan_process(number, wanted, unix, rings, receivers)
    found: dict[int, Ghost] = {}
    for inode, ring in rings.items():
        found[inode] = Ghost(IO_URING, _ring_text(ring), ring.pid, ring.fd, True)
    rest = [inode for inode in inodes if inode not in found]
    if rest and receivers:
        _find_in_flight(rest, receivers, found)
        rest = [inode for inode in rest if inode not in found]
    if rest:
        _find_kernels_own(rest, found)
        rest = [inode for inode in rest if inode not in found]
    for inode in rest:
        found[inode] = _what_remains(inode, hidden, receivers, namespaces)
    return found


def scm_fds_of(fdinfo: str) -> int:
    """Count the descriptors that wait in a UNIX socket's receive queue."""
    at = fdinfo.find("scm_fds:")
    if at < 0:
        return 0
    words = fdinfo[at + 8 : at + 40].split()
    return int(words[0]) if words and words[0].isdecimal() else 0


def fixed_sockets_of(fdinfo: str) -> list[int]:
    """List the inodes of the sockets among an io_uring's fixed files."""
    at = fdinfo.find("UserFiles:")
    if at < 0:
        return []
    inodes: list[int] = []
    for line in fdinfo[at:].splitlines()[1:]:
        slot, _, target = line.partition(":")
        if not slot.strip().isdecimal():
            break
        target = target.strip()
        if target.startswith("socket:[") and target.endswith("]"):
            inodes.append(int(target[8:-1]))
    return inodes


def _scan_by_bpf(wanted: set[int], rings: dict[int, Holder], receivers: list[Holder]) -> bool:
    """Find rings and receivers by the task_file iterator; False where that is refused."""
    from twinsock.host.bpf import permitted

    if not permitted():
        return False
    from twinsock.host.bpf_iter import files_but_sockets, receivers_of_descriptors

    try:
        for tid, fd, _inode in files_but_sockets():
            _look_at(str(tid), str(fd), wanted, set(), rings, receivers)
        for tid, fd, inode in receivers_of_descriptors():
            _look_at(str(tid), str(fd), wanted, {inode}, rings, receivers)
    except OSError:
        return False
    return True


def _scan_process(number: str, wanted: set[int], unix: set[int], rings: dict[int, Holder], receivers: list[Holder]) -> None:
    """Look for rings that hold a wanted socket, and for receivers among the `unix` sockets."""
    try:
        names = os.listdir("/proc/" + number + "/fd")
    except OSError:
        return
    for name in names:
        _look_at(number, name, wanted, unix, rings, receivers)


def _look_at(number: str, name: str, wanted: set[int], unix: set[int], rings: dict[int, Holder], receivers: list[Holder]) -> None:
    """Note one descriptor if it is a ring that holds a wanted socket, or a UNIX socket that keeps descriptors."""
    folder = "/proc/" + number
    try:
        link = os.readlink(folder + "/fd/" + name)
    except OSError:
        return
    if link == _RING_LINK:
        fixed = fixed_sockets_of(read_text(folder + "/fdinfo/" + name))
        for inode in wanted.intersection(fixed):
            rings[inode] = Holder(int(number), int(name), _comm(number), 0, len(fixed))
    elif unix and link.startswith("socket:["):
        inode = int(link[8:-1])
        count = scm_fds_of(read_text(folder + "/fdinfo/" + name)) if inode in unix else 0
        if count:
            receivers.append(Holder(int(number), int(name), _comm(number), inode, count))


def _namespaces_of_processes() -> dict[int, str]:
    """Map each network namespace (the inode of its /proc/PID/net/tcp) to one process in it."""
    found: dict[int, str] = {}
    for number in pids():
        try:
            found.setdefault(os.stat("/proc/" + number + "/net/tcp").st_ino, number)
        except OSError:
            continue
    return found


def _unix_inodes(namespaces: dict[int, str]) -> set[int]:
    """List the inodes of all UNIX sockets."""
    inodes: set[int] = set()
    for number in namespaces.values():
        for line in read_text("/proc/" + number + "/net/unix").splitlines()[1:]:
            words = line.split(None, 7)
            if len(words) > 6 and words[6].isdecimal():
                inodes.add(int(words[6]))
    return inodes


def _comm(number: str) -> str:
    return read_text("/proc/" + number + "/comm").removesuffix("\n")


def _ring_text(ring: Holder) -> str:
    return f"registered as a fixed file of the io_uring at descriptor {ring.fd} of {ring.comm} (pid {ring.pid})"


def _flight_text(receiver: Holder) -> str:
    return (
        f"in flight in an SCM_RIGHTS message that waits in the UNIX socket at descriptor {receiver.fd} of "
        f"{receiver.comm} (pid {receiver.pid})"
    )


def _find_in_flight(inodes: list[int], receivers: list[Holder], found: dict[int, Ghost]) -> None:
    """Peek into the receivers' queues for these sockets."""
    from twinsock.host.pidfd import peek_passed_inodes

    wanted = set(inodes)
    for receiver in receivers:
        for inode in wanted.intersection(peek_passed_inodes(receiver.pid, receiver.fd)):
            found[inode] = Ghost(IN_FLIGHT, _flight_text(receiver), receiver.pid, receiver.fd, True)


def _find_kernels_own(inodes: list[int], found: dict[int, Ghost]) -> None:
    """Ask the tcp and udp iterators in every namespace for sockets without a file."""
    from twinsock.host.bpf import permitted

    if not permitted():
        return
    from functools import partial

    from twinsock.host.bpf_iter import kernel_sockets
    from twinsock.host.namespaces import find_namespaces, in_namespace

    wanted = set(inodes)
    text = "owned by the kernel: no file is attached to it"
    for namespace in find_namespaces():
        try:
            fd = namespace.open()
        except OSError:
            continue
        try:
            for protocol in ("tcp", "udp"):
                for inode in wanted.intersection(in_namespace(fd, partial(kernel_sockets, protocol))):
                    found[inode] = Ghost(KERNEL, text, -1, -1, True)
        except OSError:
            continue
        finally:
            os.close(fd)


def _what_remains(inode: int, hidden: int, receivers: list[Holder], namespaces: dict[int, str]) -> Ghost:
    """Name the kind by exclusion, and say so."""
    may_look = int(status_field(read_text("/proc/self/status"), "CapEff:") or "0", 16) >> _CAP_SYS_PTRACE & 1
    if not may_look and (hidden or hides_processes(read_text("/proc/self/mounts"))):
        which = f"{hidden} processes cannot be looked into" if hidden else "/proc is mounted with hidepid"
        return Ghost(HIDDEN, f"hidden: needs CAP_SYS_PTRACE ({which})", -1, -1, False)
    if not _is_listed(inode, namespaces):
        return Ghost(GONE, "closed meanwhile, or only bound and in flight", -1, -1, False)
    if len(receivers) == 1:
        return Ghost(IN_FLIGHT, "probably " + _flight_text(receivers[0]), receivers[0].pid, receivers[0].fd, False)
    if receivers:
        text = f"probably in flight in an SCM_RIGHTS message, in one of {len(receivers)} UNIX sockets that have some"
        return Ghost(IN_FLIGHT, text, -1, -1, False)
    text = "in no descriptor table, message or ring that can be seen: the kernel's own, or pinned"
    if hidden:
        text += f", or held by one of {hidden} processes which refuse to be looked into"
    return Ghost(NO_FD, text, -1, -1, False)


def hides_processes(mounts: str) -> bool:
    """Tell whether /proc leaves out other users' processes, mount option hidepid=2."""
    for line in mounts.splitlines():
        words = line.split()
        if len(words) > 3 and words[1] == "/proc":
            options = words[3].split(",")
            if "hidepid=2" in options or "hidepid=invisible" in options or "hidepid=ptraceable" in options:
                return True
    return False


def _is_listed(inode: int, namespaces: dict[int, str]) -> bool:
    """Look for the socket in the /proc/net files of every namespace that has a process."""
    token = str(inode)
    for number in namespaces.values():
        for name in _NET_FILES:
            if has_word(read_text("/proc/" + number + "/net/" + name), token):
                return True
    return False


def has_word(text: str, word: str) -> bool:
    """Tell whether a word stands in the text between blanks."""
    at = text.find(word)
    while at >= 0:
        if not text[at - 1 : at].strip() and not text[at + len(word) : at + len(word) + 1].strip():
            return True
        at = text.find(word, at + 1)
    return False
