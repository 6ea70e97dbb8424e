"""A file system in memory: where UNIX sockets have their paths (Linux: fs/namei.c, fs/open.c, fs/stat.c, mm/shmem.c).

One tree per `Kernel`, shared by its network namespaces, with /proc mounted in it (proc/root.py). It has directories, regular files,
symbolic links and socket inodes with owner, mode and link count, and refuses what Linux refuses: path_resolution(7).
Left out (D-fs-1): mounts, device files, times, ACLs, quotas."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat
from twinsock.uapi.capability import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
from twinsock.uapi.errno import (
    EACCES,
    EBUSY,
    EEXIST,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    ENXIO,
    EPERM,
    EROFS,
    EXDEV,
)
from twinsock.uapi.stat import S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK, S_IXGRP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

S_ISUID: Final = 0o4000
S_ISGID: Final = 0o2000
S_ISVTX: Final = 0o1000
MAY_EXEC: Final = 1
MAY_WRITE: Final = 2
MAY_READ: Final = 4
NAME_MAX: Final = 255
PATH_MAX: Final = 4096
MAXSYMLINKS: Final = 40
ROOT_DEV: Final = 0x20  # st_dev of the tree
PROC_DEV: Final = 0x15  # st_dev of /proc


class Inode:
    """A file, a directory, a link or a socket; `nlink` counts its names."""

    def __init__(self, ino: int, mode: int, uid: int, gid: int) -> None:
        self.i_ino = ino
        self.i_mode = mode
        self.i_uid = uid
        self.i_gid = gid
        self.nlink = 1
        self.parent: Inode | None = None  # directories: where ".." leads
        self.children: dict[bytes, Inode] = {}  # directories: in order of creation
        self.data = bytearray()  # regular files, and where a link points to
        self.i_dev = ROOT_DEV
        self.last_path = b""  # what it was called when it lost its last name

    def lookup(self, task: Task, name: bytes) -> Inode | None:
        """Directories: find a name."""
        return self.children.get(name)

    def readdir(self, task: Task) -> tuple[list[tuple[int, bytes, Inode]], int]:
        """Directories: list (position, name, inode), and the position behind the last, as getdents64(2) counts them."""
        rows = [(2 + number, name, inode) for number, (name, inode) in enumerate(self.children.items())]
        return rows, 2 + len(rows)

    def get_link(self, task: Task) -> tuple[int, bytes]:
        """Links: (0, where it points to) or (-errno, nothing)."""
        return 0, bytes(self.data)

    def jump(self, task: Task) -> tuple[int, Inode | None]:
        """Links: (0, the inode) where following does not go by the text (nd_jump_link), (-errno, None), or (0, None)."""
        return 0, None

    def permission(self, task: Task, mask: int) -> int:
        """Check access: 0 or -EACCES."""
        return generic_permission(task, self, mask)

    def open(self, task: Task, flags: int) -> tuple[int, File | None]:
        """Open it in a way of its own: (0, file), (-errno, None), or (0, None) for a file of the tree."""
        return (-ENXIO, None) if self.is_sock() else (0, None)

    def setattr(self, mode: int, uid: int, gid: int) -> int:
        """Change mode and owners; -1 leaves a value alone."""
        if mode >= 0:
            self.i_mode = self.i_mode & S_IFMT | mode & 0o7777
        if uid >= 0:
            self.i_uid = uid
        if gid >= 0:
            self.i_gid = gid
        return 0

    def getattr(self) -> Kstat:
        """Tell what stat(2) tells."""
        stat = Kstat(self.i_ino, self.i_mode, self.i_uid, self.i_gid)
        stat.dev = self.i_dev
        stat.nlink = self.nlink
        stat.size = len(self.data)
        stat.blocks = (len(self.data) + 511) >> 9
        return stat

    def name_in(self, parent: Inode) -> bytes:
        """Return a name that it has in a directory."""
        for name, inode in parent.children.items():
            if inode is self:
                return name
        return b""

    def is_dead(self) -> bool:
        """Directories: tell whether it was removed, so that there is nothing to list (IS_DEADDIR)."""
        return self.nlink == 0

    def in_proc(self) -> bool:
        """Tell whether it belongs to /proc, where nothing is made, moved or removed."""
        return self.i_dev == PROC_DEV

    def is_dir(self) -> bool:
        """Tell whether it is a directory."""
        return self.i_mode & S_IFMT == S_IFDIR

    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self.i_mode & S_IFMT == S_IFLNK

    def is_sock(self) -> bool:
        """Tell whether it is a socket."""
        return self.i_mode & S_IFMT == S_IFSOCK


class SuperBlock:
    """The tree of one kernel."""

    def __init__(self, kernel: Kernel, with_proc: bool = True) -> None:
        self.kernel = kernel
        self.read_only = False
        self._last_ino = 1
        self.root = Inode(1, S_IFDIR | 0o755, 0, 0)
        self.root.parent = self.root
        self.root.nlink = 2
        for name, mode in ((b"tmp", 0o1777), (b"run", 0o755), (b"var", 0o755), (b"root", 0o700), (b"home", 0o755)):
            self.add(self.root, name, S_IFDIR | mode, 0, 0)
        if not with_proc:
            return
        from twinsock.kernel.fs.proc.root import ProcRoot

        proc = ProcRoot(kernel, self.root)
        self.root.children[b"proc"] = proc
        self.root.nlink += 1

    def add(self, parent: Inode, name: bytes, mode: int, uid: int, gid: int) -> Inode:
        """Make an inode under a name that is free."""
        self._last_ino += 1
        inode = Inode(self._last_ino, mode, uid, gid)
        parent.children[name] = inode
        if inode.is_dir():
            inode.parent = parent
            inode.nlink = 2
            parent.nlink += 1
        return inode


class Path:
    """A walk's result: the directory, the last name in it and what it stands for (None: nothing yet)."""

    def __init__(self, parent: Inode, last: bytes, inode: Inode | None, wants_dir: bool) -> None:
        self.parent = parent
        self.last = last  # b"" when the path ends in "/", "." or ".."
        self.inode = inode
        self.wants_dir = wants_dir  # a slash follows the last name


def rootfs(kernel: Kernel) -> SuperBlock:
    """Return the tree, made at the first question for it."""
    sb = kernel.rootfs
    if sb is None:
        sb = SuperBlock(kernel)
        kernel.rootfs = sb
    return sb


def inode_permission(task: Task, inode: Inode, mask: int) -> int:
    """Check what the inode asks for: 0, -EACCES, or -EROFS."""
    if mask & MAY_WRITE and rootfs(task.kernel).read_only and not inode.is_sock() and not inode.in_proc():
        return -EROFS
    return inode.permission(task, mask)


def generic_permission(task: Task, inode: Inode, mask: int) -> int:
    """Check the mode bits and capabilities: 0 or -EACCES."""
    cred = task.cred
    bits = inode.i_mode & 0o777
    if cred.fsuid == inode.i_uid:
        bits >>= 6
    elif inode.i_gid == cred.fsgid or inode.i_gid in cred.groups:
        bits >>= 3
    if mask & ~bits & 7 == 0:
        return 0
    if inode.is_dir():
        if not mask & MAY_WRITE and task.capable(CAP_DAC_READ_SEARCH):
            return 0
        return 0 if task.capable(CAP_DAC_OVERRIDE) else -EACCES
    if mask == MAY_READ and task.capable(CAP_DAC_READ_SEARCH):
        return 0
    if (not mask & MAY_EXEC or inode.i_mode & 0o111) and task.capable(CAP_DAC_OVERRIDE):
        return 0
    return -EACCES


def path_lookup(task: Task, name: bytes, follow: bool) -> tuple[int, Path | None]:
    """Walk to the last component; a link in last place is followed if `follow` says so. The last name need not exist."""
    if not name:
        return -ENOENT, None
    if len(name) >= PATH_MAX:
        return -ENAMETOOLONG, None
    root = rootfs(task.kernel).root
    here = root if name[:1] == b"/" or task.cwd is None else task.cwd
    todo = _split(name)
    links = 0
    while True:
        if not here.is_dir():
            return -ENOTDIR, None
        err = inode_permission(task, here, MAY_EXEC) if todo else 0
        if err:
            return err, None
        if not todo:
            return 0, Path(here, b"", here, True)
        part = todo.pop()
        if part == b"":  # what a trailing slash leaves
            continue
        if part in (b".", b".."):
            here = here if part == b"." or here.parent is None else here.parent
            continue
        if len(part) > NAME_MAX:
            return -ENAMETOOLONG, None
        inode = here.lookup(task, part)
        last = not todo or todo == [b""]
        if inode is not None and inode.is_link() and (not last or follow):
            links += 1
            if links > MAXSYMLINKS:
                return -ELOOP, None
            err, landed = inode.jump(task)
            if err:
                return err, None
            if landed is not None:
                if not last:
                    here = landed
                    continue
                return 0, Path(here, part, landed, bool(todo))
            err, target = inode.get_link(task)
            if err:
                return err, None
            todo += _split(target)
            if target[:1] == b"/":
                here = root
            continue
        if last:
            return 0, Path(here, part, inode, bool(todo))
        if inode is None:
            return -ENOENT, None
        here = inode


def _split(name: bytes) -> list[bytes]:
    """Return the components in reverse, b"" first when a slash ends the name."""
    parts = [part for part in name.split(b"/") if part]
    if parts and name.endswith(b"/"):
        parts.append(b"")
    parts.reverse()
    return parts


def kern_path(task: Task, name: bytes, follow: bool = True) -> tuple[int, Inode | None]:
    """Find what a path names: (0, inode), or -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -ENAMETOOLONG."""
    err, path = path_lookup(task, name, follow or name.endswith(b"/"))
    if path is None:
        return err, None
    if path.inode is None:
        return -ENOENT, None
    if path.wants_dir and not path.inode.is_dir():
        return -ENOTDIR, None
    return 0, path.inode


def _create(task: Task, name: bytes, mode: int) -> tuple[int, Inode | None]:
    """Make an inode of type and permissions `mode` under a new name; the caller has taken the umask off."""
    err, path = path_lookup(task, name, False)
    if path is None:
        return err, None
    if path.last == b"" or path.inode is not None:
        return -EEXIST, None
    if path.parent.in_proc() or (path.wants_dir and mode & S_IFMT != S_IFDIR):
        return -ENOENT, None
    sb = rootfs(task.kernel)
    if sb.read_only:
        return -EROFS, None
    err = inode_permission(task, path.parent, MAY_WRITE | MAY_EXEC)
    if err:
        return err, None
    gid = task.cred.fsgid
    if path.parent.i_mode & S_ISGID:
        gid = path.parent.i_gid
        if mode & S_IFMT == S_IFDIR:
            mode |= S_ISGID
    return 0, sb.add(path.parent, path.last, mode, task.cred.fsuid, gid)


def vfs_mknod(task: Task, name: bytes, mode: int) -> tuple[int, Inode | None]:
    """Make a socket inode, as bind(2) does; `mode` includes the type."""
    return _create(task, name, mode)


def create_file(task: Task, name: bytes, mode: int) -> tuple[int, Inode | None]:
    """Make a regular file under a new name."""
    return _create(task, name, S_IFREG | mode)


def sys_mkdir(task: Task, name: bytes, mode: int) -> int:
    """mkdir(2)."""
    return _create(task, name, S_IFDIR | (mode & 0o1777 & ~task.umask))[0]


def sys_symlink(task: Task, target: bytes, name: bytes) -> int:
    """symlink(2)."""
    if not target:
        return -ENOENT
    err, inode = _create(task, name, S_IFLNK | 0o777)
    if inode is not None:
        inode.data = bytearray(target)
    return err


def sys_mknod(task: Task, name: bytes, mode: int) -> int:
    """mknod(2) for regular files and sockets."""
    kind = mode & S_IFMT
    if kind == S_IFDIR:
        return -EPERM
    if kind not in (0, S_IFREG, S_IFSOCK):
        return -EINVAL
    return _create(task, name, (kind or S_IFREG) | (mode & 0o7777 & ~task.umask))[0]


def sys_link(task: Task, oldname: bytes, newname: bytes) -> int:
    """link(2): another name for the same inode."""
    err, inode = kern_path(task, oldname, False)
    if inode is None:
        return err
    err, path = path_lookup(task, newname, False)
    if path is None:
        return err
    if path.last == b"" or path.inode is not None:
        return -EEXIST
    if path.wants_dir or path.parent.in_proc():
        return -ENOENT
    if inode.in_proc():
        return -EXDEV
    if rootfs(task.kernel).read_only:
        return -EROFS
    if not _may_linkat(task, inode):
        return -EPERM
    err = inode_permission(task, path.parent, MAY_WRITE | MAY_EXEC)
    if err:
        return err
    if inode.is_dir():
        return -EPERM
    path.parent.children[path.last] = inode
    inode.nlink += 1
    return 0


def _may_linkat(task: Task, inode: Inode) -> bool:
    """Tell whether fs.protected_hardlinks (1) permits another name: to the owner, or of a plain file that is readable and writable."""
    if task.cred.fsuid == inode.i_uid or task.capable(CAP_FOWNER):
        return True
    mode = inode.i_mode
    if mode & S_IFMT != S_IFREG or mode & S_ISUID or mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP:
        return False
    return inode_permission(task, inode, MAY_READ | MAY_WRITE) == 0


def _may_delete(task: Task, parent: Inode, inode: Inode, as_dir: bool) -> int:
    """Check the directory's permissions, its sticky bit and the kind of the inode."""
    err = inode_permission(task, parent, MAY_WRITE | MAY_EXEC)
    if err:
        return err
    if parent.i_mode & S_ISVTX and task.cred.fsuid not in (inode.i_uid, parent.i_uid) and not task.capable(CAP_FOWNER):
        return -EPERM
    if as_dir != inode.is_dir():
        return -ENOTDIR if as_dir else -EISDIR
    return -EPERM if parent.in_proc() else 0


def sys_unlink(task: Task, name: bytes) -> int:
    """unlink(2)."""
    err, path = path_lookup(task, name, False)
    if path is None:
        return err
    if path.last == b"":
        return -EISDIR
    if rootfs(task.kernel).read_only:
        return -EROFS
    inode = path.inode
    if inode is None:
        return -ENOENT
    if path.wants_dir:
        return -EISDIR if inode.is_dir() else -ENOTDIR
    err = _may_delete(task, path.parent, inode, False)
    if err:
        return err
    vfs_unlink(path.parent, path.last)
    return 0


def vfs_unlink(parent: Inode, name: bytes) -> None:
    """Take a name away."""
    inode = parent.children.pop(name)
    inode.nlink -= 1
    if inode.nlink == 0:
        inode.last_path = d_path(parent).rstrip(b"/") + b"/" + name


def _last_is_special(name: bytes) -> int:
    """Say why rmdir(2) refuses a path that ends in ".", ".." or "/"."""
    last = name.rstrip(b"/").rpartition(b"/")[2]
    if not last:
        return -EBUSY
    return -EINVAL if last == b"." else -ENOTEMPTY


def sys_rmdir(task: Task, name: bytes) -> int:
    """rmdir(2)."""
    err, path = path_lookup(task, name, False)
    if path is None:
        return err
    if path.last == b"":
        return _last_is_special(name)
    if rootfs(task.kernel).read_only:
        return -EROFS
    inode = path.inode
    if inode is None:
        return -ENOENT
    err = _may_delete(task, path.parent, inode, True)
    if err:
        return err
    if inode.children:
        return -ENOTEMPTY
    del path.parent.children[path.last]
    path.parent.nlink -= 1
    inode.nlink = 0
    return 0


def sys_rename(task: Task, oldname: bytes, newname: bytes) -> int:
    """rename(2)."""
    err, old = path_lookup(task, oldname, False)
    if old is None:
        return err
    err, new = path_lookup(task, newname, False)
    if new is None:
        return err
    if old.last == b"" or new.last == b"":
        return -EBUSY
    if old.parent.in_proc() != new.parent.in_proc():
        return -EXDEV
    if rootfs(task.kernel).read_only:
        return -EROFS
    source = old.inode
    if source is None:
        return -ENOENT
    if not source.is_dir() and (old.wants_dir or new.wants_dir):
        return -ENOTDIR
    if _is_inside(new.parent, source):
        return -EINVAL
    target = new.inode
    if target is None and new.parent.in_proc():
        return -ENOENT
    if target is not None and target.is_dir() and _is_inside(old.parent, target):
        return -ENOTEMPTY
    if source is target:
        return 0
    err = _may_delete(task, old.parent, source, source.is_dir())
    if not err:
        err = (
            inode_permission(task, new.parent, MAY_WRITE | MAY_EXEC)
            if target is None
            else _may_delete(task, new.parent, target, source.is_dir())
        )
    if err:
        return err
    if target is not None and target.children:
        return -ENOTEMPTY
    _move(old, new, source)
    return 0


def _move(old: Path, new: Path, source: Inode) -> None:
    target = new.inode
    if target is not None:
        del new.parent.children[new.last]
        target.nlink -= 1
        if target.is_dir():
            target.nlink = 0
            new.parent.nlink -= 1
    del old.parent.children[old.last]
    new.parent.children[new.last] = source
    if source.is_dir():
        source.parent = new.parent
        old.parent.nlink -= 1
        new.parent.nlink += 1


def _is_inside(inode: Inode, directory: Inode) -> bool:
    """Tell whether `inode` is the directory or lies below it."""
    here: Inode | None = inode
    while here is not None:
        if here is directory:
            return True
        if here.parent is here:
            return False
        here = here.parent
    return False


def sys_chmod(task: Task, name: bytes, mode: int) -> int:
    """chmod(2)."""
    err, inode = kern_path(task, name)
    if inode is None:
        return err
    if rootfs(task.kernel).read_only:
        return -EROFS
    if task.cred.fsuid != inode.i_uid and not task.capable(CAP_FOWNER):
        return -EPERM
    return inode.setattr(mode, -1, -1)


def sys_chown(task: Task, name: bytes, uid: int, gid: int) -> int:
    """chown(2); -1 leaves a value alone."""
    err, inode = kern_path(task, name)
    if inode is None:
        return err
    if rootfs(task.kernel).read_only:
        return -EROFS
    cred = task.cred
    if not task.capable(0):  # CAP_CHOWN
        if uid >= 0 and not (cred.fsuid == inode.i_uid == uid):
            return -EPERM
        if gid >= 0 and (cred.fsuid != inode.i_uid or not (gid in (cred.fsgid, inode.i_gid) or gid in cred.groups)):
            return -EPERM
    err = inode.setattr(-1, uid, gid)
    if err:
        return err
    if not inode.is_dir():
        inode.i_mode &= ~0o4000
        if inode.i_mode & S_IXGRP:
            inode.i_mode &= ~S_ISGID
    return 0


def sys_stat(task: Task, name: bytes) -> tuple[int, Inode | None]:
    """stat(2): (0, inode) or -errno."""
    return kern_path(task, name)


def sys_lstat(task: Task, name: bytes) -> tuple[int, Inode | None]:
    """lstat(2): a link itself."""
    return kern_path(task, name, False)


def sys_access(task: Task, name: bytes, mode: int) -> int:
    """access(2) with the ids that count for files (AT_EACCESS)."""
    if mode & ~7:
        return -EINVAL
    err, inode = kern_path(task, name)
    return err if inode is None or not mode else inode_permission(task, inode, mode)


def sys_chdir(task: Task, name: bytes) -> int:
    """chdir(2)."""
    err, inode = kern_path(task, name)
    if inode is None:
        return err
    if not inode.is_dir():
        return -ENOTDIR
    err = inode_permission(task, inode, MAY_EXEC)
    if not err:
        task.cwd = inode
    return err


def sys_umask(task: Task, mask: int) -> int:
    """umask(2): the old mask."""
    old = task.umask
    task.umask = mask & 0o777
    return old


def sys_getdents(task: Task, name: bytes) -> tuple[int, list[bytes]]:
    """List a directory's names in order of creation, as getdents(2) on it would."""
    err, inode = kern_path(task, name)
    if inode is None:
        return err, []
    if not inode.is_dir():
        return -ENOTDIR, []
    err = inode_permission(task, inode, MAY_READ)
    return (err, []) if err else (0, [name for _pos, name, _inode in inode.readdir(task)[0]])


def sys_readlink(task: Task, name: bytes) -> tuple[int, bytes]:
    """readlink(2): (0, where a link points to) or (-errno, nothing)."""
    err, inode = kern_path(task, name, False)
    if inode is None:
        return err, b""
    return inode.get_link(task) if inode.is_link() else (-EINVAL, b"")


def d_path(inode: Inode) -> bytes:
    """Return the path of a directory or file of the tree, as the links in /proc/PID show it."""
    todo: list[tuple[bytes, Inode]] = []
    here: Inode | None = inode
    while here is not None and here.parent is not None and here.parent is not here:
        name = here.name_in(here.parent)
        todo.append((name, here))
        here = here.parent
    todo.reverse()
    return b"/" + b"/".join([name for name, _inode in todo])
