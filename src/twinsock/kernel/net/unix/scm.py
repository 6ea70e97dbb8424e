"""What rides on UNIX messages: descriptors, credentials, pidfds (Linux: net/core/scm.c, net/unix/af_unix.c; unix(7)).

Sending collects a `ScmCookie` from the control data; it moves into the message with `unix_scm_to_skb`. Receiving takes it out of
the message and writes control data with `scm_recv_unix`."""

from typing import TYPE_CHECKING, Final

from twinsock.kernel.fs.file import fd_install, fget, get_file, get_unused_fd_flags
from twinsock.kernel.fs.pidfd import pidfd_prepare
from twinsock.kernel.net.core.sock import SK_SCM_CREDENTIALS, SK_SCM_PIDFD
from twinsock.kernel.net.unix.garbage import unix_add_edges, unix_del_edges
from twinsock.kernel.net.unix.unix_sock import ScmFpList, UnixSkb, UnixSock, UnixState, unix_may_passcred
from twinsock.uapi.capability import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from twinsock.uapi.errno import EBADF, EINVAL, EPERM, ESRCH, ETOOMANYREFS
from twinsock.uapi.fcntl import O_CLOEXEC
from twinsock.uapi.resource import RLIMIT_NOFILE
from twinsock.uapi.socket import MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_CREDENTIALS, SCM_PIDFD, SCM_RIGHTS, SOL_SOCKET

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.sched.task import Task

SCM_MAX_FD: Final = 253
OVERFLOW_ID: Final = 65534  # how an id shows that nobody gave
_CMSG_HDR: Final = 16


class ScmCookie:
    """`struct scm_cookie`: control data on its way between a call and a message."""

    def __init__(self) -> None:
        self.pid = 0
        self.uid = -1
        self.gid = -1
        self.fp: ScmFpList | None = None


def scm_send(task: "Task", msg: "Msghdr", scm: ScmCookie) -> int:
    """Read the control data of a message being sent: 0, -EINVAL, -EBADF, -EPERM or -ESRCH."""
    control = msg.control
    offset = 0
    while offset + _CMSG_HDR <= len(control):
        length = int.from_bytes(control[offset : offset + 8], "little")
        if length < _CMSG_HDR or length > len(control) - offset:
            return _fail(task, scm, -EINVAL)
        level = int.from_bytes(control[offset + 8 : offset + 12], "little", signed=True)
        kind = int.from_bytes(control[offset + 12 : offset + 16], "little", signed=True)
        if level == SOL_SOCKET:
            err = _scm_take(task, scm, kind, control[offset + _CMSG_HDR : offset + length])
            if err:
                return _fail(task, scm, err)
        offset += (length + 7) & ~7
    if scm.fp is not None and not scm.fp.files:
        scm.fp = None
    return 0


def _fail(task: "Task", scm: ScmCookie, err: int) -> int:
    scm_destroy(task, scm)
    return err


def _scm_take(task: "Task", scm: ScmCookie, kind: int, data: bytes) -> int:
    if kind == SCM_RIGHTS:
        return scm_fp_copy(task, scm, data)
    if kind != SCM_CREDENTIALS or len(data) != 12:
        return -EINVAL
    pid = int.from_bytes(data[:4], "little", signed=True)
    uid = int.from_bytes(data[4:8], "little")
    gid = int.from_bytes(data[8:], "little")
    if uid == 0xFFFFFFFF or gid == 0xFFFFFFFF:
        return -EINVAL
    if not _scm_check_creds(task, pid, uid, gid):
        return -EPERM
    if not _pid_exists(task, pid):
        return -ESRCH
    scm.pid = pid
    scm.uid = uid
    scm.gid = gid
    return 0


def _scm_check_creds(task: "Task", pid: int, uid: int, gid: int) -> bool:
    """Tell whether the sender may pass these credentials for its own."""
    cred = task.cred
    return (
        (pid == task.tgid or task.ns_capable(cred.user_ns, CAP_SYS_ADMIN))
        and (uid in (cred.uid, cred.euid, cred.suid) or task.ns_capable(cred.user_ns, CAP_SETUID))
        and (gid in (cred.gid, cred.egid, cred.sgid) or task.ns_capable(cred.user_ns, CAP_SETGID))
    )


def _pid_exists(task: "Task", pid: int) -> bool:
    if pid == task.tgid:
        return True
    return any(other.pid == pid or other.tgid == pid for other in task.kernel.tasks)


def scm_fp_copy(task: "Task", scm: ScmCookie, data: bytes) -> int:
    """Take references to the descriptors of SCM_RIGHTS: 0, -EINVAL for too many, or -EBADF."""
    count = len(data) >> 2
    if count == 0:
        return 0
    fpl = scm.fp
    if count > SCM_MAX_FD:
        return -EINVAL
    if fpl is None:
        fpl = ScmFpList([], task.cred.uid)
        scm.fp = fpl
    if len(fpl.files) + count > SCM_MAX_FD:
        return -EINVAL
    for i in range(count):
        file = fget(task, int.from_bytes(data[i * 4 : i * 4 + 4], "little", signed=True))
        if file is None:
            return -EBADF
        fpl.files.append(file)
    return 0


def scm_destroy(task: "Task | None", scm: ScmCookie) -> None:
    """Drop what the cookie still holds."""
    fpl = scm.fp
    if fpl is not None and task is not None:
        scm.fp = None
        _put_files(task, fpl)


def _put_files(task: "Task", fpl: ScmFpList) -> None:
    unx = task.net.unx
    if unx is not None:
        unx.state.delayed_fput(fpl.files)


def scm_fp_dup(fpl: ScmFpList) -> ScmFpList:
    """Return the same files with references of their own."""
    return ScmFpList([get_file(file) for file in fpl.files], fpl.uid)


# Between cookie and message


def unix_scm_to_skb(task: "Task", scm: ScmCookie, skb: UnixSkb, send_fds: bool) -> int:
    """Move the cookie into a message; descriptors only if `send_fds`: 0 or -ETOOMANYREFS."""
    skb.pid = scm.pid
    skb.uid = scm.uid
    skb.gid = scm.gid
    fpl = scm.fp
    if fpl is None or not send_fds:
        return 0
    if too_many_unix_fds(task):
        return -ETOOMANYREFS
    # the message has references of its own; the cookie's are dropped at the end of the call
    skb.fp = scm_fp_dup(fpl)
    return 0


def too_many_unix_fds(task: "Task") -> bool:
    """Tell whether an unprivileged user has more descriptors in flight than RLIMIT_NOFILE."""
    unx = task.net.unx
    if unx is None or unx.state.user_inflight.get(task.cred.uid, 0) <= task.rlim_cur[RLIMIT_NOFILE]:
        return False
    return not task.capable(CAP_SYS_RESOURCE) and not task.capable(CAP_SYS_ADMIN)


def unix_maybe_add_creds(task: "Task", skb: UnixSkb, sk: UnixSock, other: UnixSock) -> None:
    """Put the sender's ids on the message when either side asked for credentials, or may still ask: it is not accepted yet."""
    if skb.pid == 0 and (unix_may_passcred(sk) or unix_may_passcred(other) or other.sk_socket is None):
        skb.pid = task.tgid
        skb.uid = task.cred.uid
        skb.gid = task.cred.gid


def scm_stat_add(sk: UnixSock, skb: UnixSkb) -> None:
    """Count the descriptors of a message that enters the queue of `sk`."""
    fpl = skb.fp
    if fpl is not None:
        sk.scm_stat_nr_fds += len(fpl.files)
        unix_add_edges(sk.state, fpl, sk)


def scm_stat_del(sk: UnixSock, skb: UnixSkb) -> None:
    """Uncount the descriptors of a message that leaves the queue of `sk`."""
    fpl = skb.fp
    if fpl is not None:
        sk.scm_stat_nr_fds -= len(fpl.files)
        unix_del_edges(sk.state, fpl)


def unix_detach_fds(scm: ScmCookie, skb: UnixSkb) -> None:
    """Move the descriptors from the message into the cookie."""
    scm.fp = skb.fp
    skb.fp = None


def unix_skb_free_fds(state: UnixState, skb: UnixSkb) -> None:
    """Drop the descriptors of a message nobody will read."""
    fpl = skb.fp
    if fpl is not None:
        skb.fp = None
        unix_del_edges(state, fpl)
        state.delayed_fput(fpl.files)


def unix_skb_to_scm(skb: UnixSkb, scm: ScmCookie) -> None:
    """Copy the credentials of a message."""
    scm.pid = skb.pid
    scm.uid = skb.uid
    scm.gid = skb.gid


def unix_skb_scm_eq(skb: UnixSkb, scm: ScmCookie) -> bool:
    """Tell whether a message carries the credentials that the cookie holds."""
    return skb.pid == scm.pid and skb.uid == scm.uid and skb.gid == scm.gid


# Receiving


def scm_recv_unix(task: "Task", sk: UnixSock, msg: "Msghdr", scm: ScmCookie, flags: int) -> None:
    """Write the control data of a received message: credentials, descriptors, pidfd, in this order."""
    wanted = sk.sk_scm_recv_flags
    if wanted & SK_SCM_CREDENTIALS:
        uid = OVERFLOW_ID if scm.uid < 0 else scm.uid
        gid = OVERFLOW_ID if scm.gid < 0 else scm.gid
        msg.put_cmsg(
            SOL_SOCKET,
            SCM_CREDENTIALS,
            scm.pid.to_bytes(4, "little") + uid.to_bytes(4, "little") + gid.to_bytes(4, "little"),
        )
    if scm.fp is not None:
        scm_detach_fds(task, msg, scm.fp, flags)
        scm_destroy(task, scm)
    if wanted & SK_SCM_PIDFD:
        _scm_pidfd_recv(task, msg, scm)


def scm_detach_fds(task: "Task", msg: "Msghdr", fpl: ScmFpList, flags: int) -> None:
    """Install as many descriptors as the control buffer and RLIMIT_NOFILE take; MSG_CTRUNC tells that some are lost."""
    room = msg.control_room - len(msg.control)
    fdmax = max(0, room - _CMSG_HDR) >> 2
    o_flags = O_CLOEXEC if flags & MSG_CMSG_CLOEXEC else 0
    data = b""
    count = 0
    while count < min(fdmax, len(fpl.files)):
        fd = get_unused_fd_flags(task, o_flags)
        if fd < 0:
            break
        fd_install(task, fd, get_file(fpl.files[count]))
        data += fd.to_bytes(4, "little")
        count += 1
    if count:
        msg.put_cmsg(SOL_SOCKET, SCM_RIGHTS, data)
    if count < len(fpl.files):
        msg.out_flags |= MSG_CTRUNC


def _scm_pidfd_recv(task: "Task", msg: "Msghdr", scm: ScmCookie) -> None:
    """Give the receiver a descriptor of the sending process."""
    if not scm.pid:
        return
    if msg.control_room - len(msg.control) < _CMSG_HDR + 4:
        msg.out_flags |= MSG_CTRUNC
        return
    fd = pidfd_prepare(task, scm.pid)
    msg.put_cmsg(SOL_SOCKET, SCM_PIDFD, (fd & 0xFFFFFFFF).to_bytes(4, "little"))
