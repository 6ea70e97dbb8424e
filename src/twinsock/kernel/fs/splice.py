"""sendfile(2), splice(2), tee(2) (Linux: fs/splice.c, fs/read_write.c).

Bytes move through the same read and write operations as everything else; what may be combined, and the order of checks, are
Linux's. Left out: vmsplice(2), moving pages instead of copying."""

from __future__ import annotations

from twinsock.kernel.fs.file import FMODE_READ, FMODE_WRITE, File, fget, fput
from twinsock.kernel.fs.pipe import PipeBuffer, PipeFile
from twinsock.kernel.sched.wait import TaskWait
from twinsock.uapi.errno import EAGAIN, EBADF, EINVAL, EPIPE, ERESTARTSYS, ESPIPE
from twinsock.uapi.fcntl import O_APPEND, O_NONBLOCK
from twinsock.uapi.signal import SIGPIPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SPLICE_F_ALL: Final = 0xF
SPLICE_F_NONBLOCK: Final = 2
_CHUNK: Final = 65536


def sys_sendfile64(task: Task, out_fd: int, in_fd: int, offset: list[int] | None, count: int) -> int:
    """sendfile(2): bytes or -errno; `offset` [position] is used and moved instead of the file's own when given."""
    in_file = fget(task, in_fd)
    if in_file is None:
        return -EBADF
    out_file = fget(task, out_fd)
    if out_file is None or not in_file.f_mode & FMODE_READ:
        ret = -EBADF
    else:
        ret = do_sendfile(task, out_file, in_file, offset, count)
    if out_file is not None:
        fput(out_file, task)
    fput(in_file, task)
    return ret


def do_sendfile(task: Task, out_file: File, in_file: File, offset: list[int] | None, count: int) -> int:
    """Check and copy."""
    if offset is not None and not in_file.is_regular():
        return -ESPIPE
    if offset is not None and offset[0] < 0:
        return -EINVAL
    if not out_file.f_mode & FMODE_WRITE:
        return -EBADF
    if count < 0:
        return -EINVAL
    if out_file.f_flags & O_APPEND:
        return -EINVAL
    if not in_file.is_regular():
        return -EINVAL
    pos = in_file.f_pos if offset is None else offset[0]
    done = 0
    while done < count:
        size, data = in_file.pread(task, min(count - done, _CHUNK), pos)
        if size <= 0:
            break
        ret = out_file.write(task, data)
        if ret <= 0:
            if done == 0:
                done = ret
            break
        pos += ret
        done += ret
        if ret < size:
            break
    if offset is None:
        in_file.f_pos = pos
    else:
        offset[0] = pos
    return done


class SpliceArgs:
    """The arguments of one splice(2): offsets are one-element lists, or None for null pointers."""

    def __init__(self, off_in: list[int] | None, off_out: list[int] | None, size: int, flags: int) -> None:
        self.off_in = off_in
        self.off_out = off_out
        self.size = size
        self.flags = flags


def sys_splice(task: Task, fd_in: int, fd_out: int, args: SpliceArgs) -> int:
    """splice(2): bytes or -errno; one end is a pipe."""
    if args.size == 0:
        return 0
    if args.flags & ~SPLICE_F_ALL:
        return -EINVAL
    in_file = fget(task, fd_in)
    if in_file is None:
        return -EBADF
    out_file = fget(task, fd_out)
    ret = -EBADF if out_file is None else do_splice(task, in_file, out_file, args)
    if out_file is not None:
        fput(out_file, task)
    fput(in_file, task)
    return ret


def do_splice(task: Task, in_file: File, out_file: File, args: SpliceArgs) -> int:
    """Check which end is the pipe, and move."""
    in_pipe = in_file if isinstance(in_file, PipeFile) else None
    out_pipe = out_file if isinstance(out_file, PipeFile) else None
    if (in_pipe is not None and args.off_in is not None) or (out_pipe is not None and args.off_out is not None):
        return -ESPIPE
    if not in_file.f_mode & FMODE_READ or not out_file.f_mode & FMODE_WRITE:
        return -EBADF
    if in_pipe is not None and out_pipe is not None:
        if in_pipe.pipe is out_pipe.pipe:
            return -EINVAL
        return _pipe_to_file(task, in_pipe, out_file, args)
    if in_pipe is not None:
        if args.off_out is not None and not out_file.is_regular():
            return -EINVAL
        if out_file.f_flags & O_APPEND:
            return -EINVAL
        return _pipe_to_file(task, in_pipe, out_file, args)
    if out_pipe is not None:
        if args.off_in is not None and not in_file.is_regular():
            return -EINVAL
        return _file_to_pipe(task, in_file, out_pipe, args)
    return -EINVAL


def _pipe_to_file(task: Task, in_pipe: PipeFile, out_file: File, args: SpliceArgs) -> int:
    """Take from the pipe what the other side takes; wait for the first bytes."""
    pipe = in_pipe.pipe
    err = _wait_pipe(task, in_pipe, args.flags, False)
    if err <= 0:
        return err
    done = 0
    while pipe.bufs and done < args.size:
        buf = pipe.bufs[0]
        chunk = buf.data[: args.size - done]
        if args.off_out is not None:
            ret = out_file.pwrite(task, chunk, args.off_out[0])
            args.off_out[0] += max(ret, 0)
        else:
            ret = out_file.write(task, chunk)
        if ret <= 0:
            return done or ret
        done += ret
        if ret == len(buf.data):
            del pipe.bufs[0]
        else:
            buf.data = buf.data[ret:]
        if ret < len(chunk):
            break
    pipe.wr_wait.wake_up(0x4 | 0x100)
    return done


def _file_to_pipe(task: Task, in_file: File, out_pipe: PipeFile, args: SpliceArgs) -> int:
    """Fill free buffers of the pipe from the file."""
    pipe = out_pipe.pipe
    err = _wait_pipe(task, out_pipe, args.flags, True)
    if err <= 0:
        return err
    room = (pipe.ring_size - len(pipe.bufs)) * 4096
    size = min(args.size, room)
    if args.off_in is not None:
        ret, data = in_file.pread(task, size, args.off_in[0])
        args.off_in[0] += max(ret, 0)
    else:
        ret, data = in_file.splice_read(task, size, args.flags)
    if ret <= 0:
        return ret
    for start in range(0, len(data), 4096):
        pipe.bufs.append(PipeBuffer(data[start : start + 4096], 0, False))
    pipe.rd_wait.wake_up(0x1 | 0x40)
    return len(data)


def _wait_pipe(task: Task, file: PipeFile, flags: int, write: bool) -> int:
    """Wait until the pipe has bytes (`write`: room): 1, 0 at its end, or -errno."""
    pipe = file.pipe
    wait = TaskWait(task, exclusive=True)
    head = pipe.wr_wait if write else pipe.rd_wait
    nonblock = flags & SPLICE_F_NONBLOCK or file.f_flags & O_NONBLOCK
    while True:
        if write and not pipe.readers:
            task.send_signal(SIGPIPE)
            return -EPIPE
        if not pipe.full() if write else bool(pipe.bufs):
            return 1
        if not write and not pipe.writers:
            return 0
        if nonblock:
            return -EAGAIN
        if task.signal_pending():
            return -ERESTARTSYS
        head.prepare_to_wait(wait)
        task.schedule_timeout(-1)
        head.finish_wait(wait)


def sys_tee(task: Task, fd_in: int, fd_out: int, size: int, flags: int) -> int:
    """tee(2): copy bytes from pipe to pipe without taking them."""
    if flags & ~SPLICE_F_ALL:
        return -EINVAL
    if size == 0:
        return 0
    in_file = fget(task, fd_in)
    if in_file is None:
        return -EBADF
    out_file = fget(task, fd_out)
    ret = -EBADF if out_file is None else _do_tee(task, in_file, out_file, size, flags)
    if out_file is not None:
        fput(out_file, task)
    fput(in_file, task)
    return ret


def _do_tee(task: Task, in_file: File, out_file: File, size: int, flags: int) -> int:
    if not in_file.f_mode & FMODE_READ or not out_file.f_mode & FMODE_WRITE:
        return -EBADF
    if not isinstance(in_file, PipeFile) or not isinstance(out_file, PipeFile) or in_file.pipe is out_file.pipe:
        return -EINVAL
    err = _wait_pipe(task, in_file, flags, False)
    if err > 0:
        err = _wait_pipe(task, out_file, flags, True)
    if err <= 0:
        return err
    done = 0
    for buf in in_file.pipe.bufs:
        if done >= size or out_file.pipe.full():
            break
        chunk = buf.data[: size - done]
        out_file.pipe.bufs.append(PipeBuffer(chunk, 0, False))
        done += len(chunk)
    out_file.pipe.rd_wait.wake_up(0x1 | 0x40)
    return done
