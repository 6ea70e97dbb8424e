"""/proc/sys: directories and files (Linux: fs/proc/proc_sysctl.c).

A value is read at offset 0 as a whole, or as much of it as fits: from any other offset there is nothing. A write at another offset
than 0 is taken and ignored (kernel.sysctl_writes_strict is 1). Strings are read and written where the reader is, and a list of ports
that is written at another offset than 0 is added to the one there is."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat
from twinsock.kernel.fs.namei import MAY_READ, MAY_WRITE, Inode
from twinsock.kernel.fs.proc.generic import ProcDir, ProcInode, ProcSuper
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.sysctl_net import (
    net_ctl_permissions,
    sysctl_add_ranges,
    sysctl_find,
    sysctl_folders,
    sysctl_list,
    sysctl_mode,
    sysctl_show,
    sysctl_store,
)
from twinsock.kernel.sysctl import BITMAP, FASTOPEN_KEY, STRING, CtlTable
from twinsock.uapi.errno import EACCES, EBADF, EINVAL, ENOENT, ENXIO, EPERM
from twinsock.uapi.stat import S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

_SEEK_MAX: Final = 1 << 62


class SysDir(ProcDir):
    """A directory below /proc/sys; its path says which entries are in it, the task that looks whose."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, where: str, net: Net | None) -> None:
        super().__init__(sb, parent, name, f"sys:{0 if net is None else net.inum}/{where}")
        self.nlink = 1
        self.where = where  # "net/ipv4/", "" for /proc/sys
        self.net = net  # of the task that came in through /proc/sys/net; None above it

    def _net(self, task: Task) -> Net:
        return task.net if self.net is None else self.net

    def names(self, task: Task) -> list[str]:
        """List what is here, sorted."""
        start = len(self.where)
        found = [path[start:].split("/")[0] for path in self._paths(task) if path.startswith(self.where)]
        return sorted(set(found))

    def _paths(self, task: Task) -> list[str]:
        net = self._net(task)
        return sysctl_list(net) + (sysctl_folders(net) if "net/ipv".startswith(self.where[:7]) else [])

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find an entry or a directory."""
        text = name.decode("latin-1")
        net = self._net(task)
        path = self.where + text
        entry = sysctl_find(net, path)
        if entry is not None:
            return SysFile(self.sb, self, text, entry, net)
        folder = path + "/"
        if any(other.startswith(folder) for other in self._paths(task)):
            return SysDir(self.sb, self, text, folder, net if folder.startswith("net/") else None)
        return None

    def permission(self, task: Task, mask: int) -> int:
        """Anybody may look, nobody may change."""
        return -EACCES if mask & MAY_WRITE else 0

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Nothing can be set."""
        return -EPERM


class SysFile(ProcInode):
    """A value of a namespace."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, entry: CtlTable, net: Net) -> None:
        super().__init__(sb, parent, name, S_IFREG | sysctl_mode(net, entry), f"sys:{net.inum}/{entry.path}")
        self.entry = entry
        self.net = net

    def permission(self, task: Task, mask: int) -> int:
        """Check the mode that the namespace shows."""
        allowed = net_ctl_permissions(task, self.net, self.entry)
        return -EACCES if mask & (MAY_READ | MAY_WRITE | 1) & ~allowed else 0

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """open(2)."""
        return 0, SysctlFile(self, flags)

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Nothing can be set."""
        return -EPERM


class SysctlFile(File):
    """An open value."""

    def __init__(self, inode: SysFile, flags: int) -> None:
        super().__init__(inode.sb.kernel, flags & ~0o1300)
        self.inode = inode

    def entry_is_string(self) -> bool:
        """Tell whether the value is text."""
        return self.inode.entry.kind in (STRING, FASTOPEN_KEY)

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Read from the position on."""
        ret, data = self.pread(task, count, self.f_pos)
        if ret > 0:
            self.f_pos += ret
        return ret, data

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """Read the value."""
        if not self.f_mode & 1:
            return -EBADF, b""
        err = self._gone()
        if err or (pos and not self.entry_is_string()):
            return err, b""
        data = sysctl_show(self.inode.net, self.inode.entry).encode("latin-1")[pos : pos + count]
        return len(data), data

    def write(self, task: Task, data: bytes) -> int:
        """Write at the position."""
        behind = self.entry_is_string() and self.f_pos > len(self._text())
        ret = self.pwrite(task, data, self.f_pos)
        if ret > 0 and not behind:
            self.f_pos += ret
        return ret

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """Write a value."""
        if not self.f_mode & 2:
            return -EBADF
        err = self._gone()
        if err:
            return err
        entry = self.inode.entry
        if self.entry_is_string() and pos:
            known = self._text()
            text = known[:pos] + data if pos <= len(known) else known
        elif entry.kind == BITMAP and pos and data:
            return sysctl_add_ranges(self.inode.net, entry, data) or len(data)
        else:
            text = b"" if pos else data
        if text:
            err = sysctl_store(self.inode.net, entry, text)
        return err if err else len(data)

    def _text(self) -> bytes:
        """Return a string without its newline."""
        return sysctl_show(self.inode.net, self.inode.entry).encode("latin-1").rstrip(b"\n")

    def _gone(self) -> int:
        """Tell whether the entry is still there: its device may have left."""
        return 0 if sysctl_find(self.inode.net, self.inode.entry.path) is not None else -ENOENT

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """lseek(2): the size is 0."""
        if whence == 1:
            offset += self.f_pos
        if whence > 2:
            return -ENXIO if offset >= 0 else -EINVAL  # SEEK_DATA, SEEK_HOLE
        if not 0 <= offset <= _SEEK_MAX:
            return -EINVAL
        self.f_pos = offset
        return offset

    def getattr(self) -> Kstat:
        """fstat(2)."""
        return self.inode.getattr()

    def ino(self) -> int:
        """Return the inode number."""
        return self.inode.i_ino

    def link_target(self) -> str:
        """Return the path."""
        return self.inode.path()
