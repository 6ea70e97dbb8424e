"""What rides on UNIX messages while they wait: descriptors in flight and credentials (Linux: net/unix/af_unix.c; unix(7)).

Sending collects a `ScmCookie` from the control data (net/core/scm.py); it is copied into the message with `unix_scm_to_skb`, and
receiving takes it out again."""

from __future__ import annotations

from twinsock.kernel.fs.file import get_file
from twinsock.kernel.net.core.scm import ScmCookie, scm_fp_dup
from twinsock.kernel.net.unix.garbage import unix_add_edges, unix_del_edges
from twinsock.kernel.net.unix.unix_sock import ScmFpList, UnixSkb, UnixSock, UnixState, unix_may_passcred
from twinsock.uapi.capability import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from twinsock.uapi.errno import ETOOMANYREFS
from twinsock.uapi.resource import RLIMIT_NOFILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.sched.task import Task

# Between cookie and message


def unix_scm_to_skb(task: Task, scm: ScmCookie, skb: UnixSkb, send_fds: bool) -> int:
    """Copy the cookie into a message; descriptors only if `send_fds`: 0 or -ETOOMANYREFS."""
    skb.pid = scm.pid
    skb.uid = scm.uid
    skb.gid = scm.gid
    if not scm.fp or not send_fds:
        return 0
    if too_many_unix_fds(task):
        return -ETOOMANYREFS
    skb.fp = ScmFpList([get_file(file) for file in scm.fp], task.cred.uid)
    return 0


def too_many_unix_fds(task: Task) -> bool:
    """Tell whether an unprivileged user has more descriptors in flight than RLIMIT_NOFILE."""
    unx = task.net.unx
    if unx is None or unx.state.user_inflight.get(task.cred.uid, 0) <= task.rlim_cur[RLIMIT_NOFILE]:
        return False
    return not task.capable(CAP_SYS_RESOURCE) and not task.capable(CAP_SYS_ADMIN)


def unix_maybe_add_creds(task: Task, skb: UnixSkb, sk: UnixSock, other: UnixSock) -> None:
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
    if skb.fp is not None:
        scm.fp = skb.fp.files
        skb.fp = None


def unix_peek_fds(scm: ScmCookie, skb: UnixSkb) -> None:
    """Take further references to the descriptors of a message that stays."""
    if skb.fp is not None:
        scm.fp = scm_fp_dup(skb.fp.files)


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
