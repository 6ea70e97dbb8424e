"""Open files and descriptor tables (Linux: fs/file.c, fs/file_table.c, include/linux/fs.h).

A descriptor table always gives the lowest free number. A file lives as long as somebody holds a reference: descriptors, calls
under way, SCM_RIGHTS messages. Left out: files on a disk."""

from __future__ import annotations

from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.sched.task import Siginfo
from twinsock.uapi.capability import CAP_SYS_ADMIN
from twinsock.uapi.errno import EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOTTY, ESPIPE
from twinsock.uapi.fcntl import O_ACCMODE, O_CLOEXEC, O_WRONLY
from twinsock.uapi.resource import RLIMIT_NOFILE
from twinsock.uapi.signal import SIGIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

FMODE_READ: Final = 1
FMODE_WRITE: Final = 2
DEFAULT_POLLMASK: Final = 0x145  # EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM

# F_SETOWN_EX owner types
F_OWNER_TID: Final = 0
F_OWNER_PID: Final = 1
F_OWNER_PGRP: Final = 2

# si_code of SIGIO and the poll bits that go with it, in order of the code
POLL_IN: Final = 1
_BAND: Final[tuple[int, ...]] = (0, 0x41, 0x304, 0x443, 0x8, 0x82, 0x18)


class Kstat:
    """`struct kstat`: what fstat(2) tells."""

    def __init__(self, ino: int, mode: int, uid: int, gid: int) -> None:
        self.dev = 0
        self.ino = ino
        self.mode = mode
        self.nlink = 1
        self.uid = uid
        self.gid = gid
        self.rdev = 0
        self.size = 0
        self.blksize = 4096
        self.blocks = 0


class FownStruct:
    """`struct fown_struct`: who gets SIGIO."""

    def __init__(self) -> None:
        self.pid_type = F_OWNER_PID
        self.pid = 0  # 0: nobody
        self.signum = 0
        self.uid = 0
        self.euid = 0


class FileWatcher:
    """An epoll entry, as the watched file sees it."""

    def eventpoll_release(self) -> None:
        """The file is gone: forget it."""
        raise NotImplementedError


@mypyc_attr(allow_interpreted_subclasses=True)
class File:
    """`struct file`: an open file description; subclasses override the file operations."""

    def __init__(self, kernel: Kernel, flags: int) -> None:
        self.kernel = kernel
        self.f_flags = flags
        accmode = flags & O_ACCMODE
        self.f_mode: int = FMODE_WRITE if accmode == O_WRONLY else FMODE_READ if accmode == 0 else FMODE_READ | FMODE_WRITE
        self.f_count = 1
        self.f_pos = 0
        self.f_owner: FownStruct | None = None
        self.f_ep: list[FileWatcher] | None = None  # epoll entries that watch this file

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """read(2): (bytes or -errno, data)."""
        return -EINVAL, b""

    def write(self, task: Task, data: bytes) -> int:
        """write(2): bytes or -errno."""
        return -EINVAL

    def splice_read(self, task: Task, count: int, flags: int) -> tuple[int, bytes]:
        """Give splice(2) up to `count` bytes; `flags` are the call's."""
        return self.read(task, count)

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """pread(2)."""
        return -ESPIPE, b""

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """pwrite(2)."""
        return -ESPIPE

    def ftruncate(self, task: Task, length: int) -> int:
        """ftruncate(2)."""
        return -EINVAL

    def fsync(self, task: Task) -> int:
        """fsync(2)."""
        return -EINVAL

    def poll(self, wait: PollTable | None) -> int:
        """Return the poll(2) bits that hold now, and register `wait` if given."""
        return DEFAULT_POLLMASK

    def can_poll(self) -> bool:
        """Tell whether epoll accepts the file (it has a poll operation)."""
        return True

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """ioctl(2): (result or -errno, bytes handed back); `arg` None is a bad pointer."""
        return -ENOTTY, b""

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """lseek(2)."""
        return -ESPIPE

    def fasync(self, task: Task, fd: int, on: bool) -> int:
        """Start or stop sending SIGIO, O_ASYNC of open(2)."""
        return -ENOTTY

    def is_regular(self) -> bool:
        """Tell whether it is a regular file, with positions."""
        return False

    def can_fasync(self) -> bool:
        """Tell whether O_ASYNC does anything here."""
        return False

    def can_odirect(self) -> bool:
        """Tell whether O_DIRECT may be set."""
        return False

    def pipe_fcntl(self, task: Task, cmd: int, arg: int) -> int:
        """F_SETPIPE_SZ, F_GETPIPE_SZ of fcntl(2)."""
        return -EBADF

    def setfl(self, task: Task, flags: int) -> int:
        """Check what F_SETFL asks for."""
        return 0

    def release(self, task: Task | None) -> int:
        """Let go of what is behind the file: its last reference went."""
        return 0

    def getattr(self) -> Kstat:
        """fstat(2)."""
        return Kstat(0, 0, 0, 0)

    def xattrs(self) -> list[tuple[str, bytes]]:
        """List the extended attributes: names and values."""
        return []

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2) after the permission check; -1 leaves a value alone."""
        return 0

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2) after the permission check."""
        return 0

    def ino(self) -> int:
        """Return the inode number."""
        return 0

    def mnt_id(self) -> int:
        """Return the mount that fdinfo shows."""
        return 0

    def link_target(self) -> str:
        """Return what /proc/PID/fd/N points to."""
        return ""

    def reopen(self, task: Task, flags: int) -> File | None:
        """Open what is behind it once more, through /proc/PID/fd; None where that cannot be."""
        return None

    def show_fdinfo(self) -> str:
        """Return the lines of /proc/PID/fdinfo/N below pos, flags, mnt_id and ino."""
        return ""

    def mmap(self, task: Task, prot: int) -> int:
        """mmap(2)."""
        return -ENODEV


class FilesStruct:
    """`struct files_struct`: a process's descriptors, shared by its threads."""

    def __init__(self) -> None:
        self.count = 1  # tasks that share it
        self.fd: list[File | None] = []
        self.open_fds: list[bool] = []  # number taken, with or without a file yet
        self.close_on_exec: list[bool] = []
        self.next_fd = 0  # every lower number is taken

    def alloc_fd(self, start: int, end: int, flags: int) -> int:
        """Reserve the lowest free number in [start, end), or return -EMFILE."""
        fd = max(start, self.next_fd)
        size = len(self.open_fds)
        while fd < size and self.open_fds[fd]:
            fd += 1
        if fd >= end:
            return -EMFILE
        while len(self.open_fds) <= fd:
            self.fd.append(None)
            self.open_fds.append(False)
            self.close_on_exec.append(False)
        if start <= self.next_fd:
            self.next_fd = fd + 1
        self.open_fds[fd] = True
        self.close_on_exec[fd] = bool(flags & O_CLOEXEC)
        return fd

    def put_unused_fd(self, fd: int) -> None:
        """Give a number back."""
        self.open_fds[fd] = False
        self.fd[fd] = None
        self.close_on_exec[fd] = False
        if fd < self.next_fd:
            self.next_fd = fd

    def lookup(self, fd: int) -> File | None:
        """Return the file behind a number."""
        if 0 <= fd < len(self.fd):
            return self.fd[fd]
        return None


def alloc_empty_file(task: Task) -> int:
    """Count a new file against fs.file-max: 0 or -ENFILE (CAP_SYS_ADMIN passes)."""
    kernel = task.kernel
    if kernel.nr_files >= kernel.file_max and not task.capable(CAP_SYS_ADMIN):
        return -ENFILE
    kernel.nr_files += 1
    return 0


def get_unused_fd_flags(task: Task, flags: int) -> int:
    """Reserve the lowest free descriptor below RLIMIT_NOFILE, or return -EMFILE."""
    if task.files is None:
        return -EMFILE
    return task.files.alloc_fd(0, task.rlim_cur[RLIMIT_NOFILE], flags)


def put_unused_fd(task: Task, fd: int) -> None:
    """Give a reserved descriptor back."""
    if task.files is not None:
        task.files.put_unused_fd(fd)


def fd_install(task: Task, fd: int, file: File) -> None:
    """Put a file behind a reserved descriptor; the table owns the reference from here on."""
    if task.files is not None:
        task.files.fd[fd] = file


def fget(task: Task, fd: int) -> File | None:
    """Return the file behind a descriptor with a reference taken (fput gives it back), or None for EBADF."""
    if task.files is None:
        return None
    file = task.files.lookup(fd)
    if file is not None:
        file.f_count += 1
    return file


def get_file(file: File) -> File:
    """Take a reference."""
    file.f_count += 1
    return file


def fput(file: File, task: Task | None) -> int:
    """Drop a reference; the last one closes the file and returns what its release said."""
    file.f_count -= 1
    if file.f_count > 0:
        return 0
    return __fput(file, task)


def __fput(file: File, task: Task | None) -> int:
    eps = file.f_ep
    if eps is not None:
        for epi in eps[:]:
            epi.eventpoll_release()
    if file.can_fasync() and task is not None:
        file.fasync(task, -1, False)
    err = file.release(task)
    file.kernel.nr_files -= 1
    return err


def file_close_fd(task: Task, fd: int) -> File | None:
    """Take a file out of the table."""
    files = task.files
    if files is None:
        return None
    file = files.lookup(fd)
    if file is not None:
        files.put_unused_fd(fd)
    return file


def sys_close(task: Task, fd: int) -> int:
    """close(2)."""
    file = file_close_fd(task, fd)
    if file is None:
        return -EBADF
    fput_close_sync(file, task)
    return 0


def fput_close_sync(file: File, task: Task) -> None:
    """Drop the reference that a descriptor held; what the release says is lost, as in Linux."""
    file.f_count -= 1
    if file.f_count == 0:
        __fput(file, task)


def sys_close_range(task: Task, first: int, last: int, flags: int) -> int:
    """close_range(2): CLOSE_RANGE_UNSHARE (2) and CLOSE_RANGE_CLOEXEC (4)."""
    if flags & ~6 or first > last:
        return -EINVAL
    if flags & 2 and task.files is not None and task.files.count > 1:
        old = task.files
        task.files = dup_files(old)
        put_files_struct(old, task)
    files = task.files
    if files is None:
        return 0
    for fd in range(max(first, 0), min(last + 1, len(files.fd))):
        if flags & 4:
            files.close_on_exec[fd] = files.open_fds[fd]
        else:
            sys_close(task, fd)
    return 0


def sys_dup(task: Task, fildes: int) -> int:
    """dup(2)."""
    file = fget(task, fildes)
    if file is None:
        return -EBADF
    fd = get_unused_fd_flags(task, 0)
    if fd < 0:
        fput(file, task)
        return fd
    fd_install(task, fd, file)
    return fd


def sys_dup2(task: Task, oldfd: int, newfd: int) -> int:
    """dup2(2)."""
    if oldfd == newfd:
        files = task.files
        return oldfd if files is not None and files.lookup(oldfd) is not None else -EBADF
    return ksys_dup3(task, oldfd, newfd, 0)


def sys_dup3(task: Task, oldfd: int, newfd: int, flags: int) -> int:
    """dup3(2)."""
    return ksys_dup3(task, oldfd, newfd, flags)


def ksys_dup3(task: Task, oldfd: int, newfd: int, flags: int) -> int:
    """Make `newfd` the same file as `oldfd`, closing what was there."""
    if flags & ~O_CLOEXEC:
        return -EINVAL
    if oldfd == newfd:
        return -EINVAL
    files = task.files
    if files is None or newfd < 0 or newfd >= task.rlim_cur[RLIMIT_NOFILE]:
        return -EBADF
    file = files.lookup(oldfd)
    if file is None:
        return -EBADF
    old = files.lookup(newfd)
    if old is None and newfd < len(files.open_fds) and files.open_fds[newfd]:
        return -16  # EBUSY: reserved by a call under way
    if old is None:
        files.alloc_fd(newfd, newfd + 1, flags)
    files.close_on_exec[newfd] = bool(flags & O_CLOEXEC)
    files.fd[newfd] = get_file(file)
    if old is not None:
        fput(old, task)
    return newfd


def f_dupfd(task: Task, start: int, file: File, flags: int) -> int:
    """F_DUPFD of fcntl(2): the lowest free number from `start` on; the caller keeps its own reference."""
    limit = task.rlim_cur[RLIMIT_NOFILE]
    if start < 0 or start >= limit or task.files is None:
        return -EINVAL
    fd = task.files.alloc_fd(start, limit, flags)
    if fd >= 0:
        fd_install(task, fd, get_file(file))
    return fd


def dup_files(old: FilesStruct) -> FilesStruct:
    """Copy a descriptor table, as fork(2) does."""
    new = FilesStruct()
    new.fd = list(old.fd)
    new.close_on_exec = list(old.close_on_exec)
    new.open_fds = [file is not None for file in old.fd]
    for file in old.fd:
        if file is not None:
            file.f_count += 1
    return new


def put_files_struct(files: FilesStruct, task: Task) -> None:
    """Stop using a descriptor table; its last user closes everything in order of number."""
    files.count -= 1
    if files.count > 0:
        return
    for fd in range(len(files.fd)):
        file = files.fd[fd]
        if file is not None:
            files.put_unused_fd(fd)
            fput(file, task)


def do_close_on_exec(task: Task) -> None:
    """Close what execve(2) closes."""
    files = task.files
    if files is None:
        return
    for fd in range(len(files.fd)):
        if files.close_on_exec[fd]:
            sys_close(task, fd)


# SIGIO


class FasyncList:
    """The open files that want SIGIO from one object, newest first."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self.fds: list[int] = []

    def fasync_helper(self, fd: int, file: File, on: bool) -> int:
        """Add or remove a file: 1 when that changed something."""
        for i in range(len(self.files)):
            if self.files[i] is file:
                if on:
                    self.fds[i] = fd
                    return 0
                del self.files[i]
                del self.fds[i]
                return 1
        if not on:
            return 0
        self.files.insert(0, file)
        self.fds.insert(0, fd)
        return 1

    def kill_fasync(self, sig: int, code: int) -> None:
        """Send SIGIO (or SIGURG) to the owners."""
        for i in range(len(self.files)):
            fown = self.files[i].f_owner
            # SIGURG goes to owners with their own signal through send_sigurg() only.
            if fown is not None and fown.pid and not (sig == 23 and fown.signum == 0):
                send_sigio(self.files[i], self.fds[i], code)


def send_sigio(file: File, fd: int, code: int) -> None:
    """Signal the owner of a file, F_SETOWN and F_SETSIG of fcntl(2)."""
    fown = file.f_owner
    if fown is None:
        return
    for task in _owner_tasks(file.kernel, fown):
        if not _sigio_perm(task, fown):
            continue
        if fown.signum:
            info = Siginfo(fown.signum, code)
            info.si_fd = fd
            info.si_band = _BAND[code]
            task.send_siginfo(info)
        else:
            task.send_signal(SIGIO)


def send_sigurg(file: File) -> int:
    """Send SIGURG to the owner of a file: 1 when there is one."""
    fown = file.f_owner
    if fown is None or not fown.pid:
        return 0
    for task in _owner_tasks(file.kernel, fown):
        if _sigio_perm(task, fown):
            task.send_signal(23)
    return 1


def _owner_tasks(kernel: Kernel, fown: FownStruct) -> list[Task]:
    found: list[Task] = []
    for task in kernel.tasks:
        if fown.pid_type == F_OWNER_TID:
            if task.pid == fown.pid:
                found.append(task)
        elif fown.pid_type == F_OWNER_PID:
            if task.tgid == fown.pid and task.pid == task.tgid:
                found.append(task)
        elif task.pgrp == fown.pid and task.pid == task.tgid:
            found.append(task)
    return found


def _sigio_perm(task: Task, fown: FownStruct) -> bool:
    cred = task.cred
    return fown.euid == 0 or fown.euid in (cred.suid, cred.uid) or fown.uid in (cred.suid, cred.uid)
