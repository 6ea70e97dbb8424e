"""Files whose text is made while it is read, record by record (Linux: fs/seq_file.c).

One read(2) gives whole records as long as they fit into the buffer (a page, more if one record needs more), so a table comes in
pieces of at most 4095 bytes, however large the reader's buffer is.
Twin: D-proc-2: the records are those of the moment when the reader was at the beginning; Linux walks its tables on at each piece."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, Kstat
from twinsock.kernel.fs.namei import Inode
from twinsock.uapi.errno import EBADF, EINVAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

_PAGE_SIZE: Final = 4096


class SeqInode(Inode):
    """An inode behind which records are."""

    def records(self) -> tuple[int, list[bytes]]:
        """Make the records: (0, they) or (-errno, nothing)."""
        return 0, []

    def pollable(self) -> bool:
        """Tell whether epoll takes it."""
        return False

    def path(self) -> str:
        """Return the path that a link in /proc/PID/fd shows."""
        return ""


class SeqFile(File):
    """An open file of that kind (`struct seq_file` and its `struct file`)."""

    def __init__(self, kernel: Kernel, inode: SeqInode, flags: int) -> None:
        super().__init__(kernel, flags & ~0o1300)  # O_CREAT, O_EXCL, O_TRUNC
        self.inode = inode
        self.read_pos = 0
        self._records: list[bytes] = []
        self._index = 0  # of the next record
        self._left = b""  # of the buffer
        self._size = _PAGE_SIZE
        self._started = False

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """Read from the position on."""
        ret, data = self.pread(task, count, self.f_pos)
        if ret > 0:
            self.f_pos += ret
        return ret, data

    def pread(self, task: Task, count: int, pos: int) -> tuple[int, bytes]:
        """Read at an offset (seq_read_iter)."""
        if not self.f_mode & 1:
            return -EBADF, b""
        if pos == 0:
            err = self._restart()
            if err:
                return err, b""
        elif pos != self.read_pos or not self._started:
            err = self._traverse(pos)
            if err:
                return err, b""
        data = self._left[:count]
        self._left = self._left[count:]
        if not self._left and len(data) < count:
            self._fill(count - len(data))
            more = self._left[: count - len(data)]
            self._left = self._left[len(more) :]
            data += more
        self.read_pos = pos + len(data)
        return len(data), data

    def _restart(self) -> int:
        """Make the records anew: 0 or -errno."""
        err, self._records = self.inode.records()
        self._index = 0
        self._left = b""
        self._started = not err
        return err

    def _fill(self, wanted: int) -> None:
        """Put the next records into the buffer: one at least, and more while they fit and are wanted."""
        parts: list[bytes] = []
        size = 0
        while self._index < len(self._records):
            record = self._records[self._index]
            if not size and record:
                while len(record) >= self._size:
                    self._size *= 2
            elif record and (size >= wanted or size + len(record) >= self._size):
                break
            self._index += 1
            parts.append(record)
            size += len(record)
        self._left = b"".join(parts)

    def _traverse(self, offset: int) -> int:
        """Go to an offset from the beginning: 0 or -errno."""
        err = self._restart()
        pos = 0
        while not err and pos < offset and self._index < len(self._records):
            record = self._records[self._index]
            self._index += 1
            if pos + len(record) > offset:
                self._left = record[offset - pos :]
            pos += len(record)
        return err

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """lseek(2): there is no end to count from (seq_lseek)."""
        if whence == 1:
            offset += self.f_pos
        if whence > 1 or offset < 0:
            return -EINVAL
        if offset != self.read_pos or not self._started:
            err = self._traverse(offset)
            if err:
                return err
            self.read_pos = offset
        self.f_pos = offset
        return offset

    def can_poll(self) -> bool:
        """Tell whether epoll takes it: it would always be ready."""
        return self.inode.pollable()

    def getattr(self) -> Kstat:
        """fstat(2)."""
        return self.inode.getattr()

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2)."""
        return self.inode.setattr(-1, uid, gid)

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2)."""
        return self.inode.setattr(mode, -1, -1)

    def ino(self) -> int:
        """Return the inode number."""
        return self.inode.i_ino

    def link_target(self) -> str:
        """Return the path."""
        return self.inode.path()
