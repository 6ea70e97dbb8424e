"""Pipes, pipe(7) (Linux: fs/pipe.c).

A pipe is a ring of page-sized buffers; a write of up to PIPE_BUF bytes is atomic. The tail buffer takes more bytes if they fit
into its page (not in packet mode, O_DIRECT). Left out: splicing without a copy, user limits on pipe pages."""

from __future__ import annotations

from twinsock.kernel.fs.file import FasyncList, File, Kstat, alloc_empty_file, fd_install, get_unused_fd_flags, put_unused_fd
from twinsock.kernel.fs.select import PollTable, poll_wait
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.uapi.errno import EAGAIN, EBUSY, EFAULT, EINVAL, ENFILE, ENOIOCTLCMD, EPERM, EPIPE, ERESTARTSYS
from twinsock.uapi.fcntl import F_SETPIPE_SZ, O_ACCMODE, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY
from twinsock.uapi.signal import SIGIO, SIGPIPE
from twinsock.uapi.sockios import FIONREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

PAGE_SIZE: Final = 4096
PIPE_BUF: Final = 4096
PIPE_DEF_BUFFERS: Final = 16
PIPEFS_DEV: Final = 12
_POLL_IN: Final = 1
_POLL_OUT: Final = 2


class PipeBuffer:
    """`struct pipe_buffer`: up to one page."""

    def __init__(self, data: bytes, room: int, packet: bool) -> None:
        self.data = data
        self.room = room  # bytes that still fit behind the data
        self.packet = packet


class PipeInode:
    """`struct pipe_inode_info`: the ring and its two ends."""

    def __init__(self, kernel: Kernel, uid: int, gid: int) -> None:
        self.i_ino = kernel.get_next_ino()
        self.uid = uid
        self.gid = gid
        self.mode = 0o10600
        self.bufs: list[PipeBuffer] = []
        self.ring_size = PIPE_DEF_BUFFERS
        self.readers = 1
        self.writers = 1
        self.rd_wait = WaitQueueHead()
        self.wr_wait = WaitQueueHead()
        self.fasync_readers = FasyncList()
        self.fasync_writers = FasyncList()

    def full(self) -> bool:
        """Tell whether every buffer is in use."""
        return len(self.bufs) >= self.ring_size


class PipeFile(File):
    """One end of a pipe."""

    def __init__(self, kernel: Kernel, pipe: PipeInode, flags: int) -> None:
        super().__init__(kernel, flags)
        self.pipe = pipe
        self.writer = bool(flags & O_WRONLY)

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """pipe_read(): what is there, or wait for the first bytes; 0 when every writer has gone."""
        if count == 0:
            return 0, b""
        pipe = self.pipe
        wait = TaskWait(task, exclusive=True)
        waited = False
        while not pipe.bufs:
            if not pipe.writers:
                return 0, b""
            if self.f_flags & O_NONBLOCK:
                return -EAGAIN, b""
            if task.signal_pending():
                return -ERESTARTSYS, b""
            pipe.rd_wait.prepare_to_wait(wait)
            task.schedule_timeout(-1)
            pipe.rd_wait.finish_wait(wait)
            waited = True
        was_full = pipe.full()
        data = self._take(count)
        if was_full:
            pipe.wr_wait.wake_up(0x4 | 0x100)
        if pipe.bufs and waited:
            pipe.rd_wait.wake_up(0x1 | 0x40)  # exclusive readers pass the rest on
        pipe.fasync_writers.kill_fasync(SIGIO, _POLL_OUT)
        return len(data), data

    def _take(self, count: int) -> bytes:
        """Take up to `count` bytes; a packet ends the read and loses what does not fit."""
        bufs = self.pipe.bufs
        chunks: list[bytes] = []
        while bufs and count:
            buf = bufs[0]
            chunk = buf.data[:count]
            chunks.append(chunk)
            count -= len(chunk)
            if buf.packet:
                del bufs[0]
                break
            if len(chunk) == len(buf.data):
                del bufs[0]
            else:
                buf.data = buf.data[len(chunk) :]
        return b"".join(chunks)

    def write(self, task: Task, data: bytes) -> int:
        """pipe_write(): everything, waiting for room; EPIPE with SIGPIPE when every reader has gone."""
        if not data:
            return 0
        pipe = self.pipe
        if not pipe.readers:
            task.send_signal(SIGPIPE)
            return -EPIPE
        was_empty = not pipe.bufs
        pos = self._merge(data) if not was_empty else 0
        wait = TaskWait(task, exclusive=True)
        waited = False
        while pos < len(data):
            if not pipe.readers:
                task.send_signal(SIGPIPE)
                return pos or -EPIPE
            if not pipe.full():
                pos += self._add(data[pos : pos + PAGE_SIZE])
                continue
            if was_empty or pos:
                pipe.rd_wait.wake_up(0x1 | 0x40)
            if self.f_flags & O_NONBLOCK:
                return pos or -EAGAIN
            if task.signal_pending():
                return pos or -ERESTARTSYS
            pipe.fasync_readers.kill_fasync(SIGIO, _POLL_IN)
            pipe.wr_wait.prepare_to_wait(wait)
            task.schedule_timeout(-1)
            pipe.wr_wait.finish_wait(wait)
            waited = True
            was_empty = not pipe.bufs
        pipe.rd_wait.wake_up(0x1 | 0x40)
        pipe.fasync_readers.kill_fasync(SIGIO, _POLL_IN)
        if waited and not pipe.full():
            pipe.wr_wait.wake_up(0x4 | 0x100)
        return pos

    def _merge(self, data: bytes) -> int:
        """Append the part of a write that does not fill a page to the tail buffer, if all of that part fits."""
        part = len(data) & (PAGE_SIZE - 1)
        tail = self.pipe.bufs[-1]
        if part and not tail.packet and part <= tail.room:
            tail.data += data[:part]
            tail.room -= part
            return part
        return 0

    def _add(self, chunk: bytes) -> int:
        packet = bool(self.f_flags & O_DIRECT)
        self.pipe.bufs.append(PipeBuffer(chunk, PAGE_SIZE - len(chunk), packet))
        return len(chunk)

    def poll(self, wait: PollTable | None) -> int:
        """pipe_poll()."""
        pipe = self.pipe
        mask = 0
        if not self.writer:
            poll_wait(pipe.rd_wait, wait)
            if pipe.bufs:
                mask |= 0x41
            if not pipe.writers:
                mask |= 0x10
        else:
            poll_wait(pipe.wr_wait, wait)
            if not pipe.full():
                mask |= 0x104
            if not pipe.readers:
                mask |= 0x8
        return mask

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """FIONREAD: the bytes in the pipe."""
        if cmd != FIONREAD:
            return -ENOIOCTLCMD, b""
        if arg is None:
            return -EFAULT, b""
        return 0, sum([len(buf.data) for buf in self.pipe.bufs]).to_bytes(4, "little")

    def fasync(self, task: Task, fd: int, on: bool) -> int:
        """O_ASYNC."""
        fasync = self.pipe.fasync_writers if self.writer else self.pipe.fasync_readers
        fasync.fasync_helper(fd, self, on)
        return 0

    def can_fasync(self) -> bool:
        """Pipes send SIGIO."""
        return True

    def can_odirect(self) -> bool:
        """O_DIRECT is packet mode."""
        return True

    def reopen(self, task: Task, flags: int) -> File | None:
        """Open the pipe once more through /proc/PID/fd: at one end; not at both."""
        if flags & O_ACCMODE not in (O_RDONLY, O_WRONLY):
            return None
        again = PipeFile(self.kernel, self.pipe, flags)
        if again.writer:
            self.pipe.writers += 1
        else:
            self.pipe.readers += 1
        return again

    def release(self, task: Task | None) -> int:
        """pipe_release(): tell the other side."""
        pipe = self.pipe
        if self.writer:
            pipe.writers -= 1
        else:
            pipe.readers -= 1
        if bool(pipe.readers) != bool(pipe.writers):
            pipe.rd_wait.wake_up(0x1 | 0x40 | 0x8 | 0x10, 0)
            pipe.wr_wait.wake_up(0x4 | 0x100 | 0x8 | 0x10, 0)
            pipe.fasync_readers.kill_fasync(SIGIO, _POLL_IN)
            pipe.fasync_writers.kill_fasync(SIGIO, _POLL_OUT)
        return 0

    def pipe_fcntl(self, task: Task, cmd: int, arg: int) -> int:
        """F_GETPIPE_SZ, F_SETPIPE_SZ: sizes are powers of two of pages."""
        pipe = self.pipe
        if cmd != F_SETPIPE_SZ:
            return pipe.ring_size * PAGE_SIZE
        size = PAGE_SIZE
        if arg < 0 or arg > 1 << 31:
            return -EINVAL
        while size < arg:
            size *= 2
        slots = size // PAGE_SIZE
        if arg == 0:
            slots = 1
        if slots > pipe.ring_size and size > self.kernel.pipe_max_size and not task.capable(24):
            return -EPERM
        if slots < len(pipe.bufs):
            return -EBUSY
        pipe.ring_size = slots
        pipe.wr_wait.wake_up(0x4 | 0x100)
        return slots * PAGE_SIZE

    def getattr(self) -> Kstat:
        """Return the pipefs inode."""
        pipe = self.pipe
        stat = Kstat(pipe.i_ino, pipe.mode, pipe.uid, pipe.gid)
        stat.dev = PIPEFS_DEV
        return stat

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2)."""
        self.pipe.uid = uid if uid >= 0 else self.pipe.uid
        self.pipe.gid = gid if gid >= 0 else self.pipe.gid
        return 0

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2)."""
        self.pipe.mode = 0o10000 | (mode & 0o7777)
        return 0

    def ino(self) -> int:
        """Return the inode number."""
        return self.pipe.i_ino

    def mnt_id(self) -> int:
        """Return pipefs's mount."""
        return PIPEFS_DEV

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return f"pipe:[{self.pipe.i_ino}]"


def sys_pipe2(task: Task, fildes: list[int] | None, flags: int) -> int:
    """pipe2(2): 0 with the reading and the writing end in `fildes`, or -errno."""
    if flags & ~(O_CLOEXEC | O_NONBLOCK | O_DIRECT):
        return -EINVAL
    if alloc_empty_file(task):
        return -ENFILE
    if alloc_empty_file(task):
        task.kernel.nr_files -= 1
        return -ENFILE
    read_fd = get_unused_fd_flags(task, flags)
    write_fd = read_fd if read_fd < 0 else get_unused_fd_flags(task, flags)
    if write_fd < 0 or fildes is None:
        if read_fd >= 0:
            put_unused_fd(task, read_fd)
        if write_fd >= 0:
            put_unused_fd(task, write_fd)
        task.kernel.nr_files -= 2
        return write_fd if write_fd < 0 else -EFAULT
    pipe = PipeInode(task.kernel, task.cred.fsuid, task.cred.fsgid)
    fd_install(task, read_fd, PipeFile(task.kernel, pipe, O_RDONLY | (flags & O_NONBLOCK)))
    fd_install(task, write_fd, PipeFile(task.kernel, pipe, O_WRONLY | (flags & (O_NONBLOCK | O_DIRECT))))
    fildes[:] = [read_fd, write_fd]
    return 0
