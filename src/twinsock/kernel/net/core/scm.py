"""Control messages of level SOL_SOCKET that carry descriptors and credentials, unix(7), cmsg(3) (Linux: net/core/scm.c)."""

from __future__ import annotations

from twinsock.kernel.fs.file import File, fd_install, fget, fput, get_file, get_unused_fd_flags
from twinsock.kernel.fs.pidfd import pidfd_prepare
from twinsock.kernel.net.core.net import Msghdr, Socket
from twinsock.kernel.net.core.sock import SK_SCM_CREDENTIALS, SK_SCM_PIDFD
from twinsock.uapi.capability import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
from twinsock.uapi.errno import EBADF, EINVAL, EPERM, ESRCH
from twinsock.uapi.fcntl import O_CLOEXEC
from twinsock.uapi.socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SCM_CREDENTIALS,
    SCM_PIDFD,
    SCM_RIGHTS,
    SOL_SOCKET,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.sched.task import Task

SCM_MAX_FD: Final = 253
CMSG_HDR: Final = 16
OVERFLOW_ID: Final = 65534  # what a credential that nobody set shows as


class Cmsghdr:
    """`struct cmsghdr` with its data."""

    def __init__(self, level: int, type_: int, data: bytes) -> None:
        self.level = level
        self.type = type_
        self.data = data


def for_each_cmsghdr(control: bytes) -> tuple[int, list[Cmsghdr]]:
    """Split control data into messages: (0, or -EINVAL when a length does not fit; the messages before that one)."""
    found: list[Cmsghdr] = []
    pos = 0
    end = len(control)
    while pos + CMSG_HDR <= end:
        length = int.from_bytes(control[pos : pos + 8], "little")
        if length < CMSG_HDR or length > end - pos:
            return -EINVAL, found
        level = int.from_bytes(control[pos + 8 : pos + 12], "little", signed=True)
        type_ = int.from_bytes(control[pos + 12 : pos + 16], "little", signed=True)
        found.append(Cmsghdr(level, type_, control[pos + CMSG_HDR : pos + length]))
        pos += (length + 7) & ~7
    return 0, found


class ScmCookie:
    """`struct scm_cookie`: what a message carries beside its bytes. A pid of 0 and ids of -1 mean that nobody set them."""

    def __init__(self) -> None:
        self.pid = 0
        self.uid = -1
        self.gid = -1
        self.fp: list[File] | None = None


def scm_set_cred(scm: ScmCookie, task: Task) -> None:
    """Let the message carry the task's credentials."""
    scm.pid = task.tgid
    scm.uid = task.cred.uid
    scm.gid = task.cred.gid


def scm_send(task: Task, sock: Socket, msg: Msghdr, scm: ScmCookie, forcecreds: bool) -> int:
    """Read the control data of a message to send: 0 or -errno (then nothing is held)."""
    if forcecreds:
        scm_set_cred(scm, task)
    if not msg.control:
        return 0
    return __scm_send(task, sock, msg, scm)


def __scm_send(task: Task, sock: Socket, msg: Msghdr, scm: ScmCookie) -> int:
    bad, cmsgs = for_each_cmsghdr(msg.control)
    err = 0
    for cmsg in cmsgs:
        if cmsg.level != SOL_SOCKET:
            continue
        if cmsg.type == SCM_RIGHTS and sock.ops.family == AF_UNIX:
            err = scm_fp_copy(task, cmsg, scm)
        elif cmsg.type == SCM_CREDENTIALS:
            err = _copy_creds(task, cmsg, scm)
        else:
            err = -EINVAL
        if err:
            break
    err = err or bad
    if err:
        scm_destroy(scm, task)
    return err


def scm_fp_copy(task: Task, cmsg: Cmsghdr, scm: ScmCookie) -> int:
    """Take a reference to every descriptor of an SCM_RIGHTS message."""
    num = len(cmsg.data) // 4
    if num == 0:
        return 0
    if num > SCM_MAX_FD:
        return -EINVAL
    files = scm.fp if scm.fp is not None else []
    scm.fp = files
    if len(files) + num > SCM_MAX_FD:
        return -EINVAL
    for i in range(num):
        fd = int.from_bytes(cmsg.data[4 * i : 4 * i + 4], "little", signed=True)
        file = fget(task, fd)
        if file is None:
            return -EBADF
        files.append(file)
    return 0


def _copy_creds(task: Task, cmsg: Cmsghdr, scm: ScmCookie) -> int:
    if len(cmsg.data) != 12:
        return -EINVAL
    pid = int.from_bytes(cmsg.data[:4], "little", signed=True)
    uid = int.from_bytes(cmsg.data[4:8], "little")
    gid = int.from_bytes(cmsg.data[8:12], "little")
    if uid == 0xFFFFFFFF or gid == 0xFFFFFFFF:
        return -EINVAL
    err = scm_check_creds(task, pid, uid, gid)
    if err:
        return err
    if pid != task.tgid and not any(other.pid == pid for other in task.kernel.tasks):
        return -ESRCH
    scm.pid, scm.uid, scm.gid = pid, uid, gid
    return 0


def scm_check_creds(task: Task, pid: int, uid: int, gid: int) -> int:
    """Tell whether the task may claim these ids: 0 or -EPERM."""
    cred = task.cred
    user_ns = cred.user_ns
    if pid != task.tgid and not task.ns_capable(user_ns, CAP_SYS_ADMIN):
        return -EPERM
    if uid not in (cred.uid, cred.euid, cred.suid) and not task.ns_capable(user_ns, CAP_SETUID):
        return -EPERM
    if gid not in (cred.gid, cred.egid, cred.sgid) and not task.ns_capable(user_ns, CAP_SETGID):
        return -EPERM
    return 0


def scm_destroy(scm: ScmCookie, task: Task | None) -> None:
    """Let go of the files that a message carried."""
    files = scm.fp
    scm.fp = None
    if files is not None:
        for file in files:
            fput(file, task)


def scm_fp_dup(files: list[File] | None) -> list[File] | None:
    """Take another reference to files in flight, for a message that is looked at with MSG_PEEK."""
    return None if files is None else [get_file(file) for file in files]


def scm_recv(task: Task, sock: Socket, msg: Msghdr, scm: ScmCookie) -> None:
    """Give the receiver what a message carried; what does not fit is closed, and MSG_CTRUNC says so."""
    sk = sock.sk
    wanted = 0 if sk is None else sk.sk_scm_recv_flags
    if msg.control_room == 0:
        if wanted & (SK_SCM_CREDENTIALS | SK_SCM_PIDFD) or scm.fp:
            msg.out_flags |= MSG_CTRUNC
        scm_destroy(scm, task)
        return
    if wanted & SK_SCM_CREDENTIALS:
        uid = OVERFLOW_ID if scm.uid < 0 else scm.uid
        gid = OVERFLOW_ID if scm.gid < 0 else scm.gid
        data = scm.pid.to_bytes(4, "little") + uid.to_bytes(4, "little") + gid.to_bytes(4, "little")
        msg.put_cmsg(SOL_SOCKET, SCM_CREDENTIALS, data)
    if scm.fp is not None:
        scm_detach_fds(task, msg, scm)
    if wanted & SK_SCM_PIDFD:
        scm_pidfd_recv(task, msg, scm)


def scm_max_fds(msg: Msghdr) -> int:
    """Return how many descriptors fit into the control buffer."""
    left = msg.control_room - len(msg.control)
    return 0 if left <= CMSG_HDR else (left - CMSG_HDR) // 4


def scm_detach_fds(task: Task, msg: Msghdr, scm: ScmCookie) -> None:
    """Install the descriptors of an SCM_RIGHTS message, as many as fit."""
    files = scm.fp or []
    flags = O_CLOEXEC if msg.out_flags & MSG_CMSG_CLOEXEC else 0
    data = b""
    for file in files[: scm_max_fds(msg)]:
        fd = get_unused_fd_flags(task, flags)
        if fd < 0:
            break
        fd_install(task, fd, get_file(file))
        data += fd.to_bytes(4, "little")
    if data:
        msg.put_cmsg(SOL_SOCKET, SCM_RIGHTS, data)
    if len(data) < 4 * len(files):
        msg.out_flags |= MSG_CTRUNC
    scm_destroy(scm, task)


def scm_pidfd_recv(task: Task, msg: Msghdr, scm: ScmCookie) -> None:
    """Give the receiver a pidfd of the sender, SO_PASSPIDFD."""
    if not scm.pid:
        return
    if msg.control_room - len(msg.control) < CMSG_HDR + 4:
        msg.out_flags |= MSG_CTRUNC
        return
    fd = pidfd_prepare(task, scm.pid)
    msg.put_cmsg(SOL_SOCKET, SCM_PIDFD, (fd & 0xFFFFFFFF).to_bytes(4, "little"))
