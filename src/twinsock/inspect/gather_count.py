"""Gather what `count` holds against each other: the kernel's counters, and the sockets that can be found.

Counters are read before and after the sockets: where they differ, the namespace was moving meanwhile.
"""

from __future__ import annotations

from twinsock.inspect.census import take_census, with_handler
from twinsock.inspect.counters import sockstat
from twinsock.inspect.findings import CountSnapshot, CountSpace
from twinsock.inspect.sysctl import read_number
from twinsock.uapi.in_ import IPPROTO_MPTCP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.port import KernelPort, Namespace

PCPU_RESERVE_PAGES = 256


def take_count(port: KernelPort, namespaces: Sequence[Namespace], wanted: Sequence[int], notes: list[str]) -> CountSnapshot:
    """Read everything once. `wanted` are the namespaces to show. Raises OSError."""
    snapshot = CountSnapshot()
    cookies: dict[int, CountSpace] = {}
    for namespace in namespaces:
        netns = 0 if namespace.own else namespace.inode
        space = CountSpace(namespace.inode, namespace.label(), namespace.own, namespace.inode in wanted)
        try:
            with_handler(port, netns)  # opens the socket that asks, and says if the namespace is gone
            space.before = sockstat(port, netns)
            space.protocols = parse_protocols(port.read("/proc/net/protocols", netns))
            space.census = take_census(port, netns, True)
        except PermissionError:
            snapshot.hidden_spaces += 1
            continue
        except ProcessLookupError:
            continue
        notes += [note for note in space.census.notes if note not in notes]
        snapshot.spaces.append(space)
        cookies[namespace.cookie] = space
    owners = snapshot.owners = port.owners(None)
    snapshot.hidden_processes = owners.hidden
    _sort_in(port, snapshot, owners, cookies)
    for space in snapshot.spaces:
        try:
            space.after = sockstat(port, 0 if space.own else space.netns)
        except OSError:
            space.after = space.before
    snapshot.reserve_pages = _cpus(port) * read_number(port, "net/core/mem_pcpu_rsv", PCPU_RESERVE_PAGES)
    return snapshot


def parse_protocols(text: bytes) -> dict[str, int]:
    """Parse /proc/net/protocols to name -> sockets."""
    found: dict[str, int] = {}
    for line in text.decode("ascii", "replace").splitlines()[1:]:
        words = line.split()
        if len(words) > 2 and words[2].isdecimal():
            found[words[0]] = int(words[2])
    return found


def _cpus(port: KernelPort) -> int:
    """Count the processors."""
    try:
        text = port.read("/proc/stat").decode("ascii", "replace")
    except OSError:
        return 1
    return max(len([line for line in text.splitlines() if line.startswith("cpu") and line[3:4].isdecimal()]), 1)


def _own_pid(port: KernelPort) -> int:
    """Tell which process asks, as the kernel that is asked numbers it; 0 if it does not say."""
    try:
        return int(port.read("/proc/self/stat").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _sort_in(port: KernelPort, snapshot: CountSnapshot, owners: OwnerTable, cookies: dict[int, CountSpace]) -> None:
    """Give each namespace its sockets without table, and its sockets without descriptor."""
    listed: set[int] = set()
    own = _own_pid(port)
    for space in snapshot.spaces:
        listed.update(space.census.inodes)
        space.askers = len([1 for inode in space.census.askers if any(pid == own for pid, _fd in owners.pid_fds(inode))])
    alone = [inode for inode in owners.first if inode not in listed]
    for socket in owners.unlisted(alone).values():
        home = cookies.get(socket.netns_cookie)
        if home is None:
            snapshot.homeless += 1
        else:
            home.unlisted.append(socket)
    for space in snapshot.spaces:
        if space.wanted:
            space.bound_mptcp = len([1 for one in owners.unlisted(space.census.bound).values() if one.protocol == IPPROTO_MPTCP])
    if owners.hidden:
        return  # whose descriptors are hidden cannot be told from those that have none
    without = {inode: space for space in snapshot.spaces if space.wanted for inode in space.census.inodes if inode not in owners.first}
    owners.explain_ghosts(without)
    for inode, space in without.items():
        ghost = owners.ghost(inode)
        if ghost is not None:
            space.ghosts[inode] = ghost.kind
