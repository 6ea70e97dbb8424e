"""memfd_create(2): a regular file in memory, the source and target of sendfile(2) and splice(2) (Linux: mm/memfd.c, mm/shmem.c).

Left out: seals, huge pages, mappings."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat, alloc_empty_file, fd_install, get_unused_fd_flags, put_unused_fd
from twinsock.uapi.errno import EINVAL, ENFILE, ENXIO
from twinsock.uapi.fcntl import O_APPEND, O_CLOEXEC, O_RDWR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

MFD_CLOEXEC: Final = 1
MFD_ALLOW_SEALING: Final = 2
MFD_NOEXEC_SEAL: Final = 8
MFD_EXEC: Final = 16
SHMEM_DEV: Final = 1
O_LARGEFILE: Final = 0o100000
_NAME_MAX: Final = 249


class MemFile(File):
    """An unlinked file whose bytes are in memory."""

    def __init__(self, kernel: Kernel, name: str, uid: int, gid: int) -> None:
        super().__init__(kernel, O_RDWR | O_LARGEFILE)
        self.name = name
        self.content = bytearray()
        self.i_ino = kernel.get_next_ino()
        self.stat = Kstat(self.i_ino, 0o100777, uid, gid)

    def is_regular(self) -> bool:
        """It is a regular file."""
        return True

    def can_poll(self) -> bool:
        """epoll refuses regular files."""
        return False

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Read at the position and move it."""
        data = bytes(self.content[self.f_pos : self.f_pos + count])
        self.f_pos += len(data)
        return len(data), data

    def write(self, task: Task, data: bytes) -> int:
        """Write at the position (O_APPEND: at the end) and move it."""
        if self.f_flags & O_APPEND:
            self.f_pos = len(self.content)
        written = self.pwrite(task, data, self.f_pos)
        self.f_pos += written
        return written

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """Read at a position."""
        data = bytes(self.content[pos : pos + count])
        return len(data), data

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """Write at a position, with zeros before it if need be."""
        if not data:
            return 0
        if pos > len(self.content):
            self.content.extend(bytes(pos - len(self.content)))
        self.content[pos : pos + len(data)] = data
        return len(data)

    def ftruncate(self, task: Task, length: int) -> int:
        """Cut the file, or fill it with zeros."""
        if length < len(self.content):
            del self.content[length:]
        else:
            self.content.extend(bytes(length - len(self.content)))
        return 0

    def fsync(self, task: Task) -> int:
        """Nothing to do."""
        return 0

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE."""
        size = len(self.content)
        if whence in (3, 4):
            if offset < 0 or offset >= size:
                return -ENXIO
            pos = offset if whence == 3 else size
        else:
            pos = offset + (0 if whence == 0 else self.f_pos if whence == 1 else size)
        if pos < 0:
            return -EINVAL
        self.f_pos = pos
        return pos

    def getattr(self) -> Kstat:
        """fstat(2)."""
        self.stat.dev = SHMEM_DEV
        self.stat.nlink = 0
        self.stat.size = len(self.content)
        self.stat.blocks = (len(self.content) + 4095) // 4096 * 8
        return self.stat

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2)."""
        self.stat.uid = uid if uid >= 0 else self.stat.uid
        self.stat.gid = gid if gid >= 0 else self.stat.gid
        return 0

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2)."""
        self.stat.mode = 0o100000 | (mode & 0o7777)
        return 0

    def ino(self) -> int:
        """Return the inode number."""
        return self.i_ino

    def mnt_id(self) -> int:
        """Return the mount."""
        return SHMEM_DEV

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return f"/memfd:{self.name} (deleted)"


def sys_memfd_create(task: Task, name: str, flags: int) -> int:
    """memfd_create(2)."""
    if flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC) or len(name) > _NAME_MAX:
        return -EINVAL
    fd = get_unused_fd_flags(task, O_CLOEXEC if flags & MFD_CLOEXEC else 0)
    if fd < 0:
        return fd
    if alloc_empty_file(task):
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, MemFile(task.kernel, name, task.cred.fsuid, task.cred.fsgid))
    return fd
