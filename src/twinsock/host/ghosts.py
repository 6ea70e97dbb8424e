"""Sockets that live in no descriptor table: who keeps them alive.

Three places can hold a socket besides a descriptor: a UNIX socket's receive queue with an SCM_RIGHTS message in it
(`scm_fds:` in the receiver's fdinfo), the fixed files of an io_uring (`UserFiles:` in the ring's fdinfo names each as
`socket:[inode]`), and the kernel itself. The first two are looked for in /proc/PID/fdinfo; which socket is inside an
undelivered message is shown by peeking at it through a copy of the receiver (pidfd.py), where that is permitted.
Left out: registered buffers and BPF maps (sockmap) that pin a socket.
"""

import os

from twinsock.host.processes import pids, read_text
from twinsock.inspect.owners import GONE, HIDDEN, IN_FLIGHT, IO_URING, KERNEL, NO_FD, Ghost

_RING_LINK = "anon_inode:[io_uring]"


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
    rings: dict[int, Holder] = {}
    receivers: list[Holder] = []
    for number in pids():
        _scan_process(number, wanted, rings, receivers)
    found: dict[int, Ghost] = {}
    for inode, ring in rings.items():
        found[inode] = Ghost(IO_URING, _ring_text(ring), ring.pid, ring.fd, True)
    rest = [inode for inode in inodes if inode not in found]
    if rest and receivers:
        _find_in_flight(rest, receivers, found)
        rest = [inode for inode in inodes if inode not in found]
    for inode in rest:
        found[inode] = _what_remains(inode, hidden, receivers)
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


def _scan_process(number: str, wanted: set[int], rings: dict[int, Holder], receivers: list[Holder]) -> None:
    folder = "/proc/" + number
    try:
        names = os.listdir(folder + "/fd")
    except OSError:
        return
    for name in names:
        try:
            link = os.readlink(folder + "/fd/" + name)
        except OSError:
            continue
        if link == _RING_LINK:
            fixed = fixed_sockets_of(read_text(folder + "/fdinfo/" + name))
            for inode in wanted.intersection(fixed):
                rings[inode] = Holder(int(number), int(name), _comm(number), 0, len(fixed))
        elif link.startswith("socket:["):
            count = scm_fds_of(read_text(folder + "/fdinfo/" + name))
            if count:
                receivers.append(Holder(int(number), int(name), _comm(number), int(link[8:-1]), count))


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


def _what_remains(inode: int, hidden: int, receivers: list[Holder]) -> Ghost:
    """Name the kind by exclusion, and say so."""
    known = _still_listed(inode)
    if not known:
        return Ghost(GONE, "closed meanwhile", -1, -1, True)
    if hidden:
        text = f"hidden: needs CAP_SYS_PTRACE ({hidden} processes cannot be looked into as this user)"
        return Ghost(HIDDEN, text, -1, -1, False)
    if known == 2:
        return Ghost(KERNEL, "owned by the kernel: no file is attached to it", -1, -1, True)
    if len(receivers) == 1:
        text = "probably " + _flight_text(receivers[0])
        return Ghost(IN_FLIGHT, text, receivers[0].pid, receivers[0].fd, False)
    if receivers:
        return Ghost(IN_FLIGHT, "probably in flight in one of several SCM_RIGHTS messages", -1, -1, False)
    return Ghost(NO_FD, "in no descriptor table, message or ring that can be seen: the kernel's own, or pinned", -1, -1, False)


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


def _still_listed(inode: int) -> int:
    """Look for the socket in /proc/PID/net of every namespace that has a process: 1 if it is there, else 0."""
    token = f" {inode} "
    seen: set[int] = set()
    for number in pids():
        folder = "/proc/" + number + "/net/"
        try:
            namespace = os.stat(folder + "tcp").st_ino
        except OSError:
            continue
        if namespace in seen:
            continue
        seen.add(namespace)
        for name in _NET_FILES:
            if token in read_text(folder + name).replace("\n", " \n"):
                return 1
    return 0
