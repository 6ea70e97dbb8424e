"""What /proc/PID says about a process: name, parents, user, start time, executable, unit or container.

Every file may vanish or refuse at any moment; then the field stays empty. Nothing here blocks: links are read, never
followed.
"""

import os

from twinsock.host.units import name_of_process
from twinsock.inspect.owners import Ghost, Process, Unlisted

_NS_PER_S = 1_000_000_000
_O_CLOEXEC = 0o2000000
_PARENTS_MAX = 64


class HostProcesses:
    """The host's ProcessSource: reads /proc on demand and remembers what it read."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._comms: dict[int, str] = {}

    def process(self, pid: int) -> Process:
        """Describe a process; remembered for the life of this object."""
        known = self._processes.get(pid)
        if known is None:
            known = self._processes[pid] = read_process(pid)
        return known

    def comm(self, pid: int) -> str:
        """Name a process's command from /proc/PID/comm."""
        known = self._comms.get(pid)
        if known is None:
            known = self._comms[pid] = read_text(f"/proc/{pid}/comm").removesuffix("\n")
        return known

    def thread_group(self, tid: int) -> int:
        """Name the process of a thread by /proc/TID/status."""
        number = status_field(read_text(f"/proc/{tid}/status"), "Tgid:")
        return int(number) if number.isdecimal() else tid

    def close_on_exec(self, tid: int, fd: int) -> int:
        """Read FD_CLOEXEC from fdinfo: 1, 0, -1 if hidden."""
        return close_on_exec_of(read_text(f"/proc/{tid}/fdinfo/{fd}"))

    def parents(self, pid: int) -> list[Process]:
        """Follow ppid up to pid 1."""
        chain: list[Process] = []
        seen = {pid}
        parent = self.process(pid).ppid
        while parent > 0 and parent not in seen and len(chain) < _PARENTS_MAX:
            seen.add(parent)
            chain.append(self.process(parent))
            parent = chain[-1].ppid
        return chain

    def ghosts(self, inodes: list[int], hidden: int) -> dict[int, Ghost]:
        """Explain sockets that are in no descriptor table."""
        from twinsock.host.ghosts import find_ghosts

        return find_ghosts(inodes, hidden)

    def unlisted(self, holders: list[tuple[int, int, int]]) -> dict[int, Unlisted]:
        """Describe sockets that no table lists, by short-lived copies of their descriptors."""
        from twinsock.host.unlisted import describe

        return describe(holders)


def read_process(pid: int) -> Process:
    """Read what /proc tells about one process."""
    process = Process(pid)
    folder = f"/proc/{pid}"
    process.comm, process.ppid, ticks = parse_stat(read_text(folder + "/stat"))
    if ticks >= 0:
        process.start_ns = ticks * (_NS_PER_S // os.sysconf("SC_CLK_TCK"))
    uids = status_field(read_text(folder + "/status"), "Uid:").split()
    if uids:
        process.uid = int(uids[0])
    process.cmdline = parse_cmdline(read_text(folder + "/cmdline"))
    try:
        process.exe = os.readlink(folder + "/exe")
    except OSError:
        process.exe = ""
    name = name_of_process(read_text(folder + "/cgroup"))
    process.cgroup = name.path
    process.unit = name.unit
    process.user_unit_uid = name.user_unit_uid
    process.container = name.container
    process.engine = name.engine
    process.pod = name.pod
    return process


def parse_stat(text: str) -> tuple[str, int, int]:
    """Take comm, ppid and start time in clock ticks out of /proc/PID/stat; comm may contain blanks and brackets."""
    start = text.find("(")
    end = text.rfind(")")
    if start < 0 or end < start:
        return "", -1, -1
    rest = text[end + 1 :].split()
    if len(rest) < 20:
        return text[start + 1 : end], -1, -1
    return text[start + 1 : end], int(rest[1]), int(rest[19])


def parse_cmdline(text: str) -> list[str]:
    """Split /proc/PID/cmdline; a process that rewrote its title has one element with blanks."""
    if not text:
        return []
    return text.rstrip("\0").split("\0")


def status_field(text: str, name: str) -> str:
    """Return the value of one line of /proc/PID/status, empty if absent."""
    at = text.find("\n" + name)
    if at < 0:
        return ""
    start = at + 1 + len(name)
    end = text.find("\n", start)
    return text[start:end].strip()


def close_on_exec_of(fdinfo: str) -> int:
    """Read the close-on-exec bit out of fdinfo's octal `flags:` line: 1, 0, -1 if there is none."""
    at = fdinfo.find("flags:")
    if at < 0:
        return -1
    words = fdinfo[at + 6 : at + 40].split()
    if not words:
        return -1
    return 1 if int(words[0], 8) & _O_CLOEXEC else 0


def read_text(path: str) -> str:
    """Read a /proc file, empty if it cannot be read; bytes that are no UTF-8 survive as surrogates."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        chunks: list[bytes] = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks).decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    finally:
        os.close(fd)


def pids() -> list[str]:
    """List the numbers of all processes in this pid namespace, as /proc spells them."""
    return [name for name in os.listdir("/proc") if name.isdecimal()]
