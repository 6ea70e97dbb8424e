"""Namespaces as files: /proc/PID/ns/net, SIOCGSKNS, setns(2), unshare(2) (Linux: fs/nsfs.c, kernel/nsproxy.c).

An open descriptor keeps its network namespace alive. Left out (D-ns-1): namespaces of other kinds. A namespace is gone at once with its
last reference."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, fget, fput, get_unused_fd_flags, put_unused_fd
from twinsock.kernel.net.core.net_namespace import Net, get_net, put_net
from twinsock.uapi.errno import EBADF, EINVAL, ENFILE, ENOTTY, EPERM
from twinsock.uapi.fcntl import O_CLOEXEC
from twinsock.uapi.sched import CLONE_NEWNET, CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

NS_GET_USERNS: Final = 0xB701
NS_GET_PARENT: Final = 0xB702
NS_GET_NSTYPE: Final = 0xB703
NS_GET_OWNER_UID: Final = 0xB704
NSFS_DEV: Final = 3
_CAP_SYS_ADMIN: Final = 21
_UNSHARE_FLAGS: Final = CLONE_NEWNET


class NsFile(File):
    """A descriptor of a namespace."""

    def __init__(self, kernel: Kernel, nstype: int, inum: int) -> None:
        super().__init__(kernel, 0)
        self.nstype = nstype  # CLONE_NEW*
        self.inum = inum

    def getattr(self) -> Kstat:
        """Return the nsfs inode, whose number names the namespace."""
        stat = Kstat(self.inum, 0o100444, 0, 0)
        stat.dev = NSFS_DEV
        return stat

    def ino(self) -> int:
        """Return the inode number."""
        return self.inum

    def can_poll(self) -> bool:
        """Namespaces never become ready: epoll does not take them."""
        return False

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return f"{'net' if self.nstype == CLONE_NEWNET else 'user'}:[{self.inum}]"

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """There is nothing to read."""
        return -EINVAL, b""

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """ioctl_ns(2)."""
        if cmd == NS_GET_NSTYPE:
            return self.nstype, b""
        if cmd in (NS_GET_PARENT, NS_GET_OWNER_UID):
            return -EINVAL, b""
        return -ENOTTY, b""


class NetNsFile(NsFile):
    """A descriptor of a network namespace; it holds a reference."""

    def __init__(self, net: Net) -> None:
        super().__init__(net.kernel, CLONE_NEWNET, net.inum)
        self.net = get_net(net)

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """ioctl_ns(2)."""
        if cmd != NS_GET_USERNS:
            return super().unlocked_ioctl(task, cmd, arg)
        owner = self.net.user_ns
        if owner.inum == 0:
            owner.inum = self.kernel.new_ns_inode()
        return _install(task, NsFile(self.kernel, CLONE_NEWUSER, owner.inum)), b""

    def release(self, task: Task | None) -> int:
        """Drop the reference; the last one destroys the namespace."""
        put_net(self.net)
        return 0


def open_related_ns(task: Task, net: Net) -> int:
    """Open a descriptor of a network namespace: the descriptor, or -EMFILE, -ENFILE."""
    return _install(task, NetNsFile(net))


def _install(task: Task, file: NsFile) -> int:
    fd = get_unused_fd_flags(task, O_CLOEXEC)
    err = fd
    if fd >= 0 and alloc_empty_file(task):
        put_unused_fd(task, fd)
        err = -ENFILE
    if err < 0:
        file.release(task)
        return err
    fd_install(task, fd, file)
    return fd


def sys_unshare(task: Task, flags: int) -> int:
    """unshare(2): a network namespace of one's own: 0, -EINVAL for other flags, -EPERM."""
    if flags & ~_UNSHARE_FLAGS:
        return -EINVAL
    return task.kernel.unshare_net(task) if flags else 0


def sys_setns(task: Task, fd: int, nstype: int) -> int:
    """setns(2): enter the namespace of a descriptor: 0 or -errno."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    if not isinstance(file, NsFile) or (nstype and nstype != file.nstype):
        err = -EINVAL
    elif isinstance(file, NetNsFile):
        err = task.kernel.setns(task, file.net)
    else:
        err = -EPERM if not task.ns_capable(task.cred.user_ns, _CAP_SYS_ADMIN) else -EINVAL  # its own user namespace
    fput(file, task)
    return err
