"""/proc/PID/net: the directory of a namespace's tables (Linux: fs/proc/proc_net.c)."""

from __future__ import annotations

from twinsock.kernel.fs.namei import Inode
from twinsock.kernel.fs.proc.generic import ProcDir, ProcSuper, ReadOnlyInode
from twinsock.kernel.fs.proc.net import NET_FOLDERS, net_files, net_folder, proc_net_records
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.uapi.errno import EINVAL
from twinsock.uapi.stat import S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task


class NetDir(ProcDir):
    """/proc/PID/net and the folders in it."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, net: Net, folder: str = "") -> None:
        super().__init__(sb, parent, name, f"net:{net.inum}/{folder}")
        self.net = net
        self.folder = folder
        if not folder:
            self.nlink = 2 + len(NET_FOLDERS)

    def names(self, task: Task) -> list[str]:
        """List the names, the short ones first."""
        names = net_folder(self.net, self.folder) if self.folder else [*net_files(), *NET_FOLDERS]
        return sorted(names, key=_by_length)

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a file or folder."""
        text = name.decode("latin-1")
        if not self.folder and text in NET_FOLDERS:
            return NetDir(self.sb, self, text, self.net, text)
        return NetFile(self.sb, self, text, self.net, self.folder) if text in self.names(task) else None

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """What is set here lasts until the next look."""
        return 0


def _by_length(name: str) -> tuple[int, str]:
    return len(name), name


class NetFile(ReadOnlyInode):
    """A table of a namespace."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, net: Net, folder: str) -> None:
        where = f"{folder}/{name}" if folder else name
        super().__init__(sb, parent, name, S_IFREG | 0o444, f"net:{net.inum}/{where}")
        self.net = net
        self.where = where

    def records(self) -> tuple[int, list[bytes]]:
        """Make the lines."""
        found = proc_net_records(self.net, self.where)
        return (-EINVAL, []) if found is None else (0, found)

    def pollable(self) -> bool:
        """epoll takes it."""
        return True

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """What is set here lasts until the next look."""
        return 0
