"""`struct unix_sock`, `struct unix_address`, what a message carries, and the state of the family (Linux: include/net/af_unix.h,
include/net/netns/unix.h)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.fs.file import File, fput
from twinsock.kernel.net.core.net import SOCK_WAKE_SPACE, Socket
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import POLL_OUT, SK_SCM_CREDENTIALS, SK_SCM_PIDFD, Proto, Sock
from twinsock.kernel.sched.wait import WaitQueueEntry, WaitQueueHead
from twinsock.uapi.poll import POLLOUT, POLLWRBAND, POLLWRNORM
from twinsock.uapi.socket import AF_UNIX
from twinsock.uapi.tcp import TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.namei import Inode
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.unix.garbage import UnixEdge

UNIX_HASH_MOD: Final = 255
UNIX_HASH_SIZE: Final = 512  # unnamed sockets and those with a path below 256, abstract names above
WRITE_KEY: Final = POLLOUT | POLLWRNORM | POLLWRBAND


class UnixAddress:
    """A name that sockets share: the whole sockaddr_un, family included."""

    def __init__(self, name: bytes, hash_: int) -> None:
        self.name = name
        self.hash = hash_  # chain of Net.unx.buckets

    def is_abstract(self) -> bool:
        """Tell whether the name lives in the namespace, not in the file system."""
        return self.name[2:3] == b"\0"

    def path(self) -> bytes:
        """Return the path as the program wrote it."""
        return self.name[2:-1] if self.name[-1:] == b"\0" else self.name[2:]


class ScmFpList:
    """`struct scm_fp_list`: descriptors on their way; `edges` stand in the graph while the message is queued."""

    def __init__(self, files: list[File], uid: int) -> None:
        self.files = files
        self.uid = uid  # whose in-flight count they weigh on
        self.inflight = False
        self.edges: list[UnixEdge] = []


class UnixSkb(SkBuff):
    """A message, or in a listener's queue a connection that waits for accept(2)."""

    def __init__(self, data: bytes, offset: int, length: int) -> None:
        super().__init__(data, offset, length)
        self.pid = 0  # credentials of the sender; 0: none were asked for
        self.uid = -1
        self.gid = -1
        self.fp: ScmFpList | None = None
        self.consumed = 0  # bytes read already
        self.peeked = False
        self.newsk: UnixSock | None = None  # the connection


class UnixSock(Sock):
    """`struct unix_sock`."""

    def __init__(self, net: Net, prot: Proto, type_: int, state: UnixState) -> None:
        super().__init__(net, AF_UNIX, prot, type_, 0)
        self.state = state
        self.addr: UnixAddress | None = None
        self.path: Inode | None = None
        self.peer: UnixSock | None = None
        self.listener: UnixSock | None = None  # the socket in whose queue this connection waits
        self.u_hash = 0  # chain of Net.unx.buckets it is in
        self.receive_queue: deque[UnixSkb] = deque()  # sk_receive_queue
        self.peer_wait = WaitQueueHead()  # senders and connectors that wait for room in the queue
        self.peer_wake = PeerWake(self)
        self.oob_skb: UnixSkb | None = None
        self.inq_len = 0  # unread bytes of a stream
        self.recvmsg_inq = False  # SO_INQ
        self.scm_stat_nr_fds = 0
        self.out_edges: list[UnixEdge] = []  # one for each of its descriptors in flight (struct unix_vertex)
        self.gc_live = False

    def sk_write_space(self) -> None:
        """Wake writers when at most a quarter of the send buffer is in use (unix_write_space)."""
        sock = self.sk_socket
        if sock is not None and unix_writable(self):
            sock.wq.wake_up(WRITE_KEY)
            self.sk_wake_async(SOCK_WAKE_SPACE, POLL_OUT)

    def sk_destruct(self) -> None:
        """Uncount the socket (unix_sock_destructor)."""
        self.sk_net.sock_prot_inuse_add(self.sk_prot, -1)
        self.state.nr_socks -= 1


class PeerWake(WaitQueueEntry):
    """Stands in the `peer_wait` of a full receiver and passes its wake-up on to those who poll the sender."""

    def __init__(self, owner: UnixSock) -> None:
        super().__init__()
        self.owner = owner
        self.other: UnixSock | None = None

    def wake(self, key: int) -> int:
        """Leave the queue and wake the sender's pollers (unix_dgram_peer_wake_relay)."""
        if self.other is not None:
            self.other.peer_wait.remove(self)
            self.other = None
        if self.owner.sk_socket is not None:
            self.owner.sk_socket.wq.wake_up(key)
        return 0


class NetnsUnix:
    """`struct netns_unix`: the names of one namespace."""

    def __init__(self, state: UnixState) -> None:
        self.state = state
        self.buckets: list[list[UnixSock]] = [[] for _ in range(UNIX_HASH_SIZE)]  # newest first
        self.sysctl_max_dgram_qlen = 10


class UnixState:
    """What all namespaces of a kernel share: sockets by inode, descriptors in flight."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.nr_socks = 0
        self.bsd_socket_buckets: list[list[UnixSock]] = [[] for _ in range(UNIX_HASH_MOD + 1)]  # newest first
        self.unbound_seq = 0  # stands for the address that Linux hashes unnamed sockets by
        self.unix_tot_inflight = 0  # sockets in flight, counted once per descriptor
        self.user_inflight: dict[int, int] = {}  # descriptors in flight by uid
        self.vertices: list[UnixSock] = []  # sockets in flight, in order of arrival
        self.maybe_cyclic = False
        self.gc_in_progress = False
        self._to_put: list[File] = []
        self.putting = False

    def delayed_fput(self, files: list[File]) -> None:
        """Drop references to files one after the other, whatever closing them sets free in turn."""
        self._to_put += files
        if self.putting:
            return
        self.putting = True
        while self._to_put:
            todo = self._to_put
            self._to_put = []
            for file in todo:
                fput(file, None)
        self.putting = False


def delayed_fput_busy(state: UnixState) -> bool:
    """Tell whether files that `delayed_fput` took are still to be closed."""
    return state.putting


def unix_sk(sock: Socket) -> UnixSock:
    """Return the UNIX socket behind a socket of the family."""
    sk = sock.sk
    assert isinstance(sk, UnixSock)
    return sk


def unix_writable(sk: UnixSock) -> bool:
    """Tell whether poll reports room: at most a quarter of the send buffer in use."""
    return sk.sk_state != TCP_LISTEN and sk.sk_wmem_alloc << 2 <= sk.sk_sndbuf


def unix_may_passcred(sk: Sock) -> bool:
    """Tell whether the socket asked for credentials or a pidfd with each message."""
    return bool(sk.sk_scm_recv_flags & (SK_SCM_CREDENTIALS | SK_SCM_PIDFD))


def unix_recvq_full(sk: UnixSock) -> bool:
    """Tell whether the queue holds more than its backlog."""
    return len(sk.receive_queue) > sk.sk_max_ack_backlog


def unix_skb_len(skb: UnixSkb) -> int:
    """Return the unread bytes of a stream's message."""
    return skb.len - skb.consumed


def netns_unix(net: Net) -> NetnsUnix:
    """Return the family's part of a namespace."""
    unx = net.unx
    assert unx is not None, "the family is not registered"
    return unx
