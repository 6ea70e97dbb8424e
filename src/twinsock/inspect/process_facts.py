"""What is asked about the processes that hold sockets: name, unit, state, descriptors in use and their limit.

/proc/PID/fd tells the number of descriptors as its size (Linux 6.2), of other users' processes too.
"""

from __future__ import annotations

from twinsock.inspect.findings import ProcessFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.gather import Files
    from twinsock.inspect.owners import OwnerTable
    from twinsock.inspect.port import KernelPort


class ProcessBook:
    """Processes, each looked at once."""

    def __init__(self, port: KernelPort, files: Files, owners: OwnerTable) -> None:
        self.port = port
        self.files = files
        self.owners = owners
        self._known: dict[int, ProcessFacts] = {}

    def get(self, pid: int) -> ProcessFacts:
        """Look at a process; what is hidden or gone stays empty."""
        facts = self._known.get(pid)
        if facts is None:
            facts = self._known[pid] = self._read(pid)
        return facts

    def of_inode(self, inode: int) -> list[ProcessFacts]:
        """List the processes that hold a socket, each once."""
        pids: list[int] = []
        for pid, _fd in self.owners.pid_fds(inode):
            if pid not in pids:
                pids.append(pid)
        return [self.get(pid) for pid in pids]

    def _read(self, pid: int) -> ProcessFacts:
        facts = ProcessFacts(pid)
        process = self.owners.source.process(pid)
        facts.comm = process.comm
        facts.unit = process.unit_or_container
        folder = f"/proc/{pid}"
        try:
            text = self.port.read(folder + "/stat")
            facts.state = text[text.rfind(b")") + 1 :].split()[0].decode("ascii", "replace")
        except (OSError, IndexError):
            facts.state = ""
        facts.fds_open, facts.fds_max = descriptors(self.port, self.files, pid)
        return facts


def descriptors(port: KernelPort, files: Files, pid: int) -> tuple[int, int]:
    """Give the number of open descriptors and the soft limit, -1 for what cannot be seen."""
    used = most = -1
    try:
        used = files.stat(f"/proc/{pid}/fd").size
        for line in port.read(f"/proc/{pid}/limits").decode("ascii", "replace").splitlines():
            if line.startswith("Max open files"):
                word = line.split()[3]
                most = int(word) if word.isdecimal() else -1
    except (OSError, IndexError):
        pass
    return used, most
