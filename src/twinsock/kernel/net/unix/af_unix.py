"""UNIX-domain sockets: the family, its sockets' life, connections (Linux: net/unix/af_unix.c; unix(7)).

The rest of Linux's file stands in names.py (bind), dgram.py, stream.py, scm.py, skb.py and poll.py."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import (
    BPF_CGROUP_UNIX_CONNECT,
    BPF_CGROUP_UNIX_GETPEERNAME,
    BPF_CGROUP_UNIX_GETSOCKNAME,
    cgroup_bpf_run_filter_sock_addr,
)
from twinsock.kernel.net.core.net import SOCK_WAKE_WAITD, SS_CONNECTED, SS_UNCONNECTED, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.skbuff import kfree_skb
from twinsock.kernel.net.core.sock import (
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    Proto,
    Sock,
    proto_register,
    sk_alloc,
    sock_graft,
    sock_hold,
    sock_init_data,
    sock_orphan,
    sock_put,
    sock_rcvtimeo,
    sock_sndtimeo,
)
from twinsock.kernel.net.core.sockopt import sk_setsockopt
from twinsock.kernel.net.socket import sock_register
from twinsock.kernel.net.unix.dgram import (
    unix_dgram_connect,
    unix_dgram_peer_wake_disconnect,
    unix_dgram_recvmsg,
    unix_dgram_sendmsg,
    unix_seqpacket_recvmsg,
    unix_seqpacket_sendmsg,
    unix_wait_for_peer,
    wait_for_more_packets,
)
from twinsock.kernel.net.unix.garbage import unix_schedule_gc
from twinsock.kernel.net.unix.ioctl import unix_ioctl
from twinsock.kernel.net.unix.names import (
    unix_autobind,
    unix_bind,
    unix_find_other,
    unix_insert_socket,
    unix_remove_bsd_socket,
    unix_remove_socket,
    unix_unbound_hash,
    unix_validate_addr,
)
from twinsock.kernel.net.unix.poll import unix_dgram_poll, unix_poll
from twinsock.kernel.net.unix.scm import scm_stat_del
from twinsock.kernel.net.unix.skb import unix_alloc_skb
from twinsock.kernel.net.unix.stream import unix_stream_recvmsg, unix_stream_sendmsg
from twinsock.kernel.net.unix.unix_sock import (
    NetnsUnix,
    UnixSock,
    UnixState,
    netns_unix,
    unix_may_passcred,
    unix_recvq_full,
    unix_sk,
    unix_skb_len,
)
from twinsock.kernel.sched.task import sock_intr_errno
from twinsock.kernel.security import security_unix_stream_connect
from twinsock.uapi.errno import (
    EAGAIN,
    ECONNREFUSED,
    ECONNRESET,
    EFAULT,
    EINVAL,
    EISCONN,
    ENFILE,
    ENOTCONN,
    EOPNOTSUPP,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
)
from twinsock.uapi.fcntl import O_NONBLOCK
from twinsock.uapi.socket import AF_UNIX, SO_INQ, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.sched.task import Task

_FAMILY: Final = AF_UNIX.to_bytes(2, "little")
_OBJ_SIZE: Final = 1152
_POLL_IN: Final = 1
_POLL_HUP: Final = 6


# Registration and creation


class _UnixPernet(PernetOperations):
    def __init__(self, state: UnixState) -> None:
        self.state = state

    def init(self, net: Net) -> None:
        net.unx = NetnsUnix(self.state)


class UnixFamily(NetProtoFamily):
    """The family of one kernel."""

    family = AF_UNIX

    def __init__(self, kernel: Kernel) -> None:
        self.state = UnixState(kernel)
        self.dgram_proto = Proto("UNIX", _OBJ_SIZE)
        self.stream_proto = Proto("UNIX-STREAM", _OBJ_SIZE)

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """socket(2): protocol 0 or 1; SOCK_RAW becomes SOCK_DGRAM."""
        if protocol not in (0, AF_UNIX):
            return -EPROTONOSUPPORT
        sock.state = SS_UNCONNECTED
        if sock.type == SOCK_STREAM:
            sock.ops = UNIX_STREAM_OPS
        elif sock.type in (SOCK_RAW, SOCK_DGRAM):
            sock.type = SOCK_DGRAM
            sock.ops = UNIX_DGRAM_OPS
        elif sock.type == SOCK_SEQPACKET:
            sock.ops = UNIX_SEQPACKET_OPS
        else:
            return -ESOCKTNOSUPPORT
        return 0 if self.create1(net, sock, sock.type, kern) is not None else -ENFILE

    def create1(self, net: Net, sock: Socket | None, type_: int, kern: int) -> UnixSock | None:
        """Make a socket of the family, or None when there are too many (unix_create1)."""
        state = self.state
        if state.nr_socks >= 2 * net.kernel.file_max:
            return None
        state.nr_socks += 1
        prot = self.stream_proto if type_ == SOCK_STREAM else self.dgram_proto
        unx = netns_unix(net)
        sk = UnixSock(net, prot, type_, state)
        sk_alloc(sk, kern)
        sock_init_data(sock, sk)
        sk.sk_max_ack_backlog = unx.sysctl_max_dgram_qlen
        net.sock_prot_inuse_add(prot, 1)
        unix_insert_socket(unx, sk, unix_unbound_hash(state, type_))
        return sk


def af_unix_init(kernel: Kernel) -> UnixFamily:
    """Register the family, its protocols and its part of every namespace."""
    family = UnixFamily(kernel)
    proto_register(kernel, family.dgram_proto)
    proto_register(kernel, family.stream_proto)
    sock_register(kernel, family)
    register_pernet_subsys(kernel, _UnixPernet(family.state))
    return family


def init_peercred(sk: Sock, task: Task) -> None:
    """Remember who made this end, SO_PEERCRED of the other one."""
    cred = task.cred
    sk.sk_peer_pid = task.tgid
    sk.sk_peer_uid = cred.euid
    sk.sk_peer_gid = cred.egid
    sk.sk_peer_groups = list(cred.groups)


def copy_peercred(sk: Sock, peersk: Sock) -> None:
    """Take over what a listener remembered."""
    sk.sk_peer_pid = peersk.sk_peer_pid
    sk.sk_peer_uid = peersk.sk_peer_uid
    sk.sk_peer_gid = peersk.sk_peer_gid
    sk.sk_peer_groups = peersk.sk_peer_groups


# The end


def unix_release_sock(sk: UnixSock, embrion: bool) -> None:
    """End a socket: leave the tables, tell the peer, throw away what waits (`embrion`: it was never accepted)."""
    unx = netns_unix(sk.sk_net)
    unix_remove_socket(unx, sk)
    unix_remove_bsd_socket(sk.state, sk)
    was_listening = sk.sk_state == TCP_LISTEN
    sock_orphan(sk)
    sk.sk_shutdown = SHUTDOWN_MASK
    sk.sk_state = TCP_CLOSE
    sk.path = None
    sk.peer_wait.wake_up(0, 0)
    peer = sk.peer
    sk.peer = None
    sk.oob_skb = None
    if peer is not None:
        if sk.sk_type in (SOCK_STREAM, SOCK_SEQPACKET):
            _tell_peer(sk, peer, embrion)
        unix_dgram_peer_wake_disconnect(sk, peer)
        sock_put(peer)
    while sk.receive_queue:
        skb = sk.receive_queue.popleft()
        newsk = skb.newsk
        if was_listening and newsk is not None:
            newsk.listener = None
            unix_release_sock(newsk, True)
        scm_stat_del(sk, skb)
        kfree_skb(skb)
    state = sk.state
    sock_put(sk)
    if state.unix_tot_inflight:
        unix_schedule_gc(state)


def _tell_peer(sk: UnixSock, peer: UnixSock, embrion: bool) -> None:
    peer.sk_shutdown = SHUTDOWN_MASK
    if embrion or _has_unread(sk):
        peer.sk_err = ECONNRESET
    peer.sk_state_change()
    peer.sk_wake_async(SOCK_WAKE_WAITD, _POLL_HUP)


def _has_unread(sk: UnixSock) -> bool:
    """Tell whether something is lost; a first message without bytes, as of an urgent byte that was read, does not count."""
    queue = sk.receive_queue
    if not queue:
        return False
    return len(queue) > 1 or unix_skb_len(queue[0]) > 0


# Connections


def unix_listen(task: Task, sock: Socket, backlog: int) -> int:
    """listen(2)."""
    if sock.type not in (SOCK_STREAM, SOCK_SEQPACKET):
        return -EOPNOTSUPP
    sk = unix_sk(sock)
    if sk.addr is None:
        return -EINVAL
    if sk.sk_state not in (TCP_CLOSE, TCP_LISTEN):
        return -EINVAL
    if backlog & 0xFFFFFFFF > sk.sk_max_ack_backlog:
        sk.peer_wait.wake_up(0, 0)
    sk.sk_max_ack_backlog = backlog & 0xFFFFFFFF
    sk.sk_state = TCP_LISTEN
    init_peercred(sk, task)
    return 0


def unix_stream_connect(task: Task, sock: Socket, addr: bytes, flags: int) -> int:
    """connect(2) of streams and sequenced packets."""
    err = unix_validate_addr(addr)
    if err:
        return err
    sk = unix_sk(sock)
    err, addr = cgroup_bpf_run_filter_sock_addr(sk, BPF_CGROUP_UNIX_CONNECT, addr)
    if err < 0:
        return err
    if unix_may_passcred(sk) and sk.addr is None:
        err = unix_autobind(sk)
        if err:
            return err
    timeo = sock_sndtimeo(sk, bool(flags & O_NONBLOCK))
    pf = sk.sk_net.kernel.net_families[AF_UNIX]
    assert isinstance(pf, UnixFamily)
    newsk = pf.create1(sk.sk_net, None, sk.sk_type, 0)
    if newsk is None:
        return -ENFILE
    err, other = _find_listener(task, sk, addr, timeo)
    if other is None:
        unix_release_sock(newsk, False)
        return err
    err = security_unix_stream_connect(sk, other, newsk)
    if err:
        unix_release_sock(newsk, False)
        return err
    _join(task, sock, sk, other, newsk)
    return 0


def _find_listener(task: Task, sk: UnixSock, addr: bytes, timeo: int) -> tuple[int, UnixSock | None]:
    """Find the listener and wait for room in its queue: (0, listener) or -errno."""
    while True:
        err, other = unix_find_other(task, sk.sk_net, addr, sk.sk_type)
        if other is None:
            return err, None
        if other.sk_state != TCP_LISTEN or other.sk_shutdown & RCV_SHUTDOWN:
            return -ECONNREFUSED, None
        if unix_recvq_full(other):
            if not timeo:
                return -EAGAIN, None
            timeo = unix_wait_for_peer(task, other, timeo)
            if task.signal_pending():
                return sock_intr_errno(timeo), None
            continue
        if sk.sk_state == TCP_ESTABLISHED:
            return -EISCONN, None
        return (-EINVAL, None) if sk.sk_state != TCP_CLOSE else (0, other)


def _join(task: Task, sock: Socket, sk: UnixSock, other: UnixSock, newsk: UnixSock) -> None:
    """Make `newsk` the other end of `sk`, and queue it at the listener."""
    sock_hold(sk)
    newsk.peer = sk
    newsk.sk_state = TCP_ESTABLISHED
    newsk.listener = other
    newsk.sk_scm_recv_flags = other.sk_scm_recv_flags
    init_peercred(newsk, task)
    newsk.addr = other.addr
    newsk.path = other.path
    copy_peercred(sk, other)
    sock.state = SS_CONNECTED
    sk.sk_state = TCP_ESTABLISHED
    sock_hold(newsk)
    sk.peer = newsk
    skb = unix_alloc_skb(newsk, b"", 0, 0, 0)
    skb.newsk = newsk
    other.receive_queue.append(skb)
    other.sk_data_ready()


def unix_accept(task: Task, sock: Socket, newsock: Socket, flags: int) -> int:
    """accept(2)."""
    sk = unix_sk(sock)
    if sock.type not in (SOCK_STREAM, SOCK_SEQPACKET):
        return -EOPNOTSUPP
    if sk.sk_state != TCP_LISTEN:
        return -EINVAL
    timeo = sock_rcvtimeo(sk, bool(flags & O_NONBLOCK))
    while not sk.receive_queue:
        if timeo == 0:
            return -EAGAIN
        err, timeo = wait_for_more_packets(task, sk, timeo)
        if err <= 0:
            return err or -EINVAL
    skb = sk.receive_queue.popleft()
    newsk = skb.newsk
    assert newsk is not None
    kfree_skb(skb)
    sk.peer_wait.wake_up()
    newsk.listener = None
    newsock.state = SS_CONNECTED
    newsock.ops = sock.ops
    sock_graft(newsk, newsock)
    return 0


def unix_socketpair(task: Task, socka: Socket, sockb: Socket) -> int:
    """socketpair(2)."""
    ska = unix_sk(socka)
    skb = unix_sk(sockb)
    sock_hold(ska)
    sock_hold(skb)
    ska.peer = skb
    skb.peer = ska
    init_peercred(ska, task)
    init_peercred(skb, task)
    ska.sk_state = TCP_ESTABLISHED
    skb.sk_state = TCP_ESTABLISHED
    socka.state = SS_CONNECTED
    sockb.state = SS_CONNECTED
    return 0


def unix_shutdown(sock: Socket, how: int) -> int:
    """shutdown(2): what one end no longer sends, the other no longer receives."""
    if how < 0 or how > 2:
        return -EINVAL
    mode = how + 1
    sk = unix_sk(sock)
    sk.sk_shutdown |= mode
    other = sk.peer
    if other is not None and sk.sk_type in (SOCK_STREAM, SOCK_SEQPACKET):
        peer_mode = 0
        if mode & RCV_SHUTDOWN:
            peer_mode |= SEND_SHUTDOWN
        if mode & SEND_SHUTDOWN:
            peer_mode |= RCV_SHUTDOWN
        other.sk_shutdown |= peer_mode
        other.sk_state_change()
        if peer_mode == SHUTDOWN_MASK:
            other.sk_wake_async(SOCK_WAKE_WAITD, _POLL_HUP)
        elif peer_mode & RCV_SHUTDOWN:
            other.sk_wake_async(SOCK_WAKE_WAITD, _POLL_IN)
    sk.sk_state_change()
    return 0


def unix_set_peek_off(sk: Sock, val: int) -> int:
    """SO_PEEK_OFF of socket(7)."""
    sk.sk_peek_off = val
    return 0


class UnixOps(ProtoOps):
    """What the three types have in common."""

    family = AF_UNIX
    has_peek_off = True

    def release(self, task: Task | None, sock: Socket) -> int:
        """Close."""
        sk = sock.sk
        if isinstance(sk, UnixSock):
            unix_release_sock(sk, False)
        sock.sk = None
        return 0

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """Own a name."""
        return unix_bind(task, unix_sk(sock), addr)

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """Connect to a listener."""
        return unix_stream_connect(task, sock, addr, flags)

    def socketpair(self, task: Task, sock1: Socket, sock2: Socket) -> int:
        """Join two new sockets."""
        return unix_socketpair(task, sock1, sock2)

    def accept(self, task: Task, sock: Socket, newsock: Socket, flags: int) -> int:
        """Take the next connection."""
        return unix_accept(task, sock, newsock, flags)

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """Return the own or the peer's name; the family alone stands for none."""
        sk: UnixSock | None = unix_sk(sock)
        if peer and sk is not None:
            sk = sk.peer
        if sk is None:
            return -ENOTCONN, b""
        atype = BPF_CGROUP_UNIX_GETPEERNAME if peer else BPF_CGROUP_UNIX_GETSOCKNAME
        _, name = cgroup_bpf_run_filter_sock_addr(unix_sk(sock), atype, _FAMILY if sk.addr is None else sk.addr.name)
        return 0, name

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """Return the poll bits."""
        return unix_dgram_poll(unix_sk(sock), sock, wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """Answer SIOCINQ and the like."""
        return unix_ioctl(task, unix_sk(sock), cmd)

    def listen(self, task: Task, sock: Socket, backlog: int) -> int:
        """Start to listen."""
        return unix_listen(task, sock, backlog)

    def shutdown(self, sock: Socket, how: int) -> int:
        """Shut a direction down."""
        return unix_shutdown(sock, how)

    def set_peek_off(self, sk: Sock, val: int) -> int:
        """SO_PEEK_OFF."""
        return unix_set_peek_off(sk, val)

    def show_fdinfo(self, sock: Socket) -> str:
        """Return the line of /proc/PID/fdinfo that counts waiting descriptors."""
        sk = sock.sk
        return f"scm_fds: {sk.scm_stat_nr_fds}\n" if isinstance(sk, UnixSock) else ""


class UnixStreamOps(UnixOps):
    """SOCK_STREAM."""

    splice_obeys_nonblock = True
    custom_sol_socket = True

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """Return the poll bits."""
        return unix_poll(unix_sk(sock), sock, wait)

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """Set SO_INQ, the one option of the family's own."""
        if level != SOL_SOCKET:
            return -EOPNOTSUPP
        if optname != SO_INQ:
            return sk_setsockopt(task, sock, optname, optval, optlen)
        if optlen != 4:
            return -EINVAL
        if optval is None:
            return -EFAULT
        value = int.from_bytes(optval[:4], "little", signed=True)
        if value not in (0, 1):
            return -EINVAL
        unix_sk(sock).recvmsg_inq = value == 1
        return 0

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """Send."""
        return unix_stream_sendmsg(task, sock, msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """Receive."""
        return unix_stream_recvmsg(task, sock, msg, flags)


class UnixDgramOps(UnixOps):
    """SOCK_DGRAM."""

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """Set the peer."""
        return unix_dgram_connect(task, unix_sk(sock), addr)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """Send."""
        return unix_dgram_sendmsg(task, sock, msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """Receive."""
        return unix_dgram_recvmsg(task, sock, msg, flags)


class UnixSeqpacketOps(UnixOps):
    """SOCK_SEQPACKET."""

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """Send."""
        return unix_seqpacket_sendmsg(task, sock, msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """Receive."""
        return unix_seqpacket_recvmsg(task, sock, msg, flags)


UNIX_STREAM_OPS: Final[ProtoOps] = UnixStreamOps()
UNIX_DGRAM_OPS: Final[ProtoOps] = UnixDgramOps()
UNIX_SEQPACKET_OPS: Final[ProtoOps] = UnixSeqpacketOps()
