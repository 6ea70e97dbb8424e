"""`struct socket`, `struct proto_ops`, `struct msghdr` and the family table entry (Linux: include/linux/net.h, socket.h).

System calls in net/socket.py see a protocol only through `ProtoOps`; families see the socket only as `Socket`."""

from __future__ import annotations

from twinsock.kernel.fs.file import FasyncList
from twinsock.kernel.lib.extending import mypyc_attr
from twinsock.kernel.sched.wait import WaitQueueHead
from twinsock.uapi.errno import EINVAL, ENODEV, ENOPROTOOPT, EOPNOTSUPP
from twinsock.uapi.signal import SIGIO, SIGURG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.sched.task import Task

SS_FREE: Final = 0
SS_UNCONNECTED: Final = 1
SS_CONNECTING: Final = 2
SS_CONNECTED: Final = 3
SS_DISCONNECTING: Final = 4

# bits of Socket.flags
SOCK_NOSPACE: Final = 1 << 2
SOCK_PASSCRED_BIT: Final = 1 << 3
SOCK_PASSSEC_BIT: Final = 1 << 4
SOCK_PASSPIDFD_BIT: Final = 1 << 7
SOCK_PASSRIGHTS_BIT: Final = 1 << 8

# how of sock_wake_async()
SOCK_WAKE_IO: Final = 0
SOCK_WAKE_WAITD: Final = 1
SOCK_WAKE_SPACE: Final = 2
SOCK_WAKE_URG: Final = 3

SOCKADDR_STORAGE_SIZE: Final = 128
_PADDING: Final[tuple[bytes, ...]] = (b"", b"\0", b"\0\0", b"\0\0\0", bytes(4), bytes(5), bytes(6), bytes(7))


class Socket:
    """`struct socket`: what the file system knows of a socket. `sk` is None once released."""

    def __init__(self, type_: int) -> None:
        self.state = SS_UNCONNECTED
        self.type = type_
        self.flags = 0
        self.file: File | None = None
        self.sk: Sock | None = None
        self.ops: ProtoOps = _NO_OPS
        self.wq = WaitQueueHead()
        self.fasync_list: FasyncList | None = None
        # the sockfs inode
        self.i_ino = 0
        self.i_uid = 0
        self.i_gid = 0
        self.i_mode = 0o140777


class Msghdr:
    """`struct msghdr` as the kernel sees it.

    Sending: `name`, `control` and `data` (the gathered bytes; `offset` counts what has been taken) are input.
    Receiving: `size` is the room; the protocol appends to `chunks`, sets `name` (None: none), `control` and `out_flags`."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.data: bytes = b""
        self.offset = 0
        self.iov_ends: list[int] | None = None  # where in `data` each piece ends, when it was gathered from several
        self.control: bytes = b""
        self.control_room = 0  # receiving: bytes offered for control messages
        self.flags = 0  # MSG_* of the call
        self.out_flags = 0  # msg_flags handed back
        self.size = 0
        self.chunks: list[bytes] = []
        self.scm_files: list[File] | None = None  # SCM_RIGHTS taken from or for the control data
        self.msg_iocb_nowait = False
        self.inq = -1  # SO_INQ, TCP_INQ: unread bytes to report, -1: none

    def remaining(self) -> int:
        """Return the bytes not yet taken from a message being sent."""
        return len(self.data) - self.offset

    def take(self, count: int) -> bytes:
        """Take the next `count` bytes of a message being sent."""
        start = self.offset
        self.offset = start + count
        return self.data[start : start + count]

    def put_cmsg(self, level: int, type_: int, data: bytes) -> None:
        """Append one control message if it fits, else cut it and set MSG_CTRUNC, cmsg(3)."""
        left = self.control_room - len(self.control)
        if left < 16:
            self.out_flags |= 0x8  # MSG_CTRUNC
            return
        length = 16 + len(data)
        if length > left:
            self.out_flags |= 0x8
            length = left
            data = data[: left - 16]
        header = length.to_bytes(8, "little") + level.to_bytes(4, "little") + type_.to_bytes(4, "little")
        pad = -length % 8
        self.control += header + data + _PADDING[pad if pad < left - length else left - length]


@mypyc_attr(allow_interpreted_subclasses=True)
class ProtoOps:
    """`struct proto_ops`: what a family does for each call; the defaults are the sock_no_* answers."""

    family = 0
    has_peek_off = False  # it has a set_peek_off operation
    splice_obeys_nonblock = False  # splice(2) does not wait with SPLICE_F_NONBLOCK; else only the file's O_NONBLOCK counts
    custom_sol_socket = False  # setsockopt(2) at SOL_SOCKET is the family's business (SOCK_CUSTOM_SOCKOPT)

    def release(self, task: Task | None, sock: Socket) -> int:
        """Let go of the protocol socket; the file is gone, close(2). Without a task nothing may sleep."""
        raise NotImplementedError

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2)."""
        return -EOPNOTSUPP

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """connect(2); `flags` are the file's (O_NONBLOCK)."""
        return -EOPNOTSUPP

    def socketpair(self, task: Task, sock1: Socket, sock2: Socket) -> int:
        """socketpair(2)."""
        return -EOPNOTSUPP

    def accept(self, task: Task, sock: Socket, newsock: Socket, flags: int) -> int:
        """accept(2): give `newsock` the next connection."""
        return -EOPNOTSUPP

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2) (peer 0), getpeername(2) (peer 1); peer 2 is accept's, which tolerates a dead connection."""
        return -EOPNOTSUPP, b""

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """Return the poll(2) bits that hold now, and register `wait` if given."""
        return 0

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """ioctl(2): (result or -errno, bytes handed back)."""
        return -EOPNOTSUPP, b""

    def listen(self, task: Task, sock: Socket, backlog: int) -> int:
        """listen(2); `backlog` is clamped already."""
        return -EOPNOTSUPP

    def shutdown(self, sock: Socket, how: int) -> int:
        """shutdown(2)."""
        return -EOPNOTSUPP

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """setsockopt(2) below SOL_SOCKET; `optval` None is a bad pointer."""
        return -EOPNOTSUPP

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """getsockopt(2) below SOL_SOCKET: (0 or -errno, value); `optval` is what the buffer holds on entry."""
        return -EOPNOTSUPP, b""

    def set_rcvlowat(self, sk: Sock, val: int) -> int:
        """SO_RCVLOWAT; families without their own rule store it."""
        sk.sk_rcvlowat = val or 1
        return 0

    def set_peek_off(self, sk: Sock, val: int) -> int:
        """SO_PEEK_OFF."""
        return -EOPNOTSUPP

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """sendmsg(2): bytes accepted or -errno."""
        return -EOPNOTSUPP

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """recvmsg(2): bytes delivered or -errno."""
        return -EOPNOTSUPP

    def splice_read(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """splice(2) from the socket: bytes delivered or -errno; `flags` may be MSG_DONTWAIT."""
        return self.recvmsg(task, sock, msg, flags)

    def mmap(self, task: Task, sock: Socket, prot: int) -> int:
        """mmap(2)."""
        return -ENODEV

    def show_fdinfo(self, sock: Socket) -> str:
        """Return the family's extra lines of /proc/PID/fdinfo."""
        return ""


@mypyc_attr(allow_interpreted_subclasses=True)
class NetProtoFamily:
    """`struct net_proto_family`: how socket(2) makes one."""

    family = 0

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """Attach a new protocol socket of `sock.type` to `sock` (kern 1: for the kernel itself), or return -errno."""
        return -EINVAL


def sock_wake_async(sock: Socket, how: int, band: int) -> None:
    """Send SIGIO (SIGURG) for an event; `band` is its si_code POLL_*."""
    fasync = sock.fasync_list
    if fasync is None:
        return
    if how == SOCK_WAKE_SPACE:
        if not sock.flags & SOCK_NOSPACE:
            return
        sock.flags &= ~SOCK_NOSPACE
    fasync.kill_fasync(SIGURG if how == SOCK_WAKE_URG else SIGIO, band)


class _NoOps(ProtoOps):
    def release(self, task: Task | None, sock: Socket) -> int:
        return 0

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        return -ENOPROTOOPT


_NO_OPS: Final = _NoOps()
