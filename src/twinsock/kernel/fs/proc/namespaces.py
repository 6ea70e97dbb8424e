"""/proc/PID/ns: the namespaces of a task (Linux: fs/proc/namespaces.c). Of the kinds only `net` and `user` exist (D-ns-1)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat
from twinsock.kernel.fs.namei import MAY_WRITE, Inode
from twinsock.kernel.fs.nsfs import NSFS_DEV, NetNsFile, NsFile
from twinsock.kernel.fs.proc.generic import ProcDir, ProcInode, ProcSuper
from twinsock.kernel.fs.proc.ptrace import may_access
from twinsock.uapi.errno import EACCES, EPERM
from twinsock.uapi.sched import CLONE_NEWUSER
from twinsock.uapi.stat import S_IFLNK, S_IFREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task, UserNamespace

_INIT_USER_NS = 0xEFFFFFFD


def user_ns_inum(kernel: Kernel, user_ns: UserNamespace) -> int:
    """Return the number of a user namespace; the first one has Linux's."""
    if user_ns is kernel.init_user_ns:
        return _INIT_USER_NS
    if user_ns.inum == 0:
        user_ns.inum = kernel.new_ns_inode()
    return user_ns.inum


class NsDir(ProcDir):
    """/proc/PID/ns."""

    def __init__(self, sb: ProcSuper, parent: Inode, task: Task) -> None:
        super().__init__(sb, parent, "ns", f"{task.pid}/ns", 0o511)
        self.task = task
        self.i_uid, self.i_gid = task.cred.euid, task.cred.egid

    def names(self, task: Task) -> list[str]:
        """List the kinds of namespaces."""
        return ["net", "user"] if may_access(task, self.task) else []

    def permission(self, task: Task, mask: int) -> int:
        """Whoever may not trace the task may not list; going through is checked at each link."""
        return super().permission(task, mask) if may_access(task, self.task) or not mask & 4 else -EACCES

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Find a kind."""
        return NsLink(self.sb, self, name.decode("latin-1"), self.task) if name in (b"net", b"user") else None


class NsLink(ProcInode):
    """A link to a namespace."""

    def __init__(self, sb: ProcSuper, parent: Inode, name: str, task: Task) -> None:
        super().__init__(sb, parent, name, S_IFLNK | 0o777, f"{task.pid}/ns/{name}")
        self.task = task
        self.kind = name

    def target(self) -> Inode:
        """Return the namespace's own inode."""
        return NsInode(self.sb.kernel, self.task, self.kind)

    def get_link(self, task: Task) -> tuple[int, bytes]:
        """Return "net:[number]"."""
        if not may_access(task, self.task):
            return -EACCES, b""
        return 0, f"{self.kind}:[{self.target().i_ino}]".encode()

    def jump(self, task: Task) -> tuple[int, Inode | None]:
        """Go to the namespace."""
        return (0, self.target()) if may_access(task, self.task) else (-EACCES, None)


class NsInode(Inode):
    """A namespace as a file of nsfs."""

    def __init__(self, kernel: Kernel, task: Task, kind: str) -> None:
        number = task.net.inum if kind == "net" else user_ns_inum(kernel, task.cred.user_ns)
        super().__init__(number, S_IFREG | 0o444, 0, 0)
        self.i_dev = NSFS_DEV
        self.kernel = kernel
        self.task = task
        self.kind = kind

    def permission(self, task: Task, mask: int) -> int:
        """It cannot be written."""
        return -EPERM if mask & MAY_WRITE else 0

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """Hold the namespace."""
        file = NetNsFile(self.task.net) if self.kind == "net" else NsFile(self.kernel, CLONE_NEWUSER, self.i_ino)
        file.f_flags = flags
        return 0, file

    def getattr(self) -> Kstat:
        """Tell what stat(2) tells."""
        stat = Kstat(self.i_ino, self.i_mode, 0, 0)
        stat.dev = NSFS_DEV
        return stat

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Nothing can be set."""
        return -EPERM
