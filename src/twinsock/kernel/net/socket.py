"""The socket system calls, and the file behind a socket (Linux: net/socket.c; sheet 01, 1.1 to 1.6).

Each `sys_*` returns what the call returns, or a negative errno, after Linux's checks in Linux's order. A user pointer that cannot be
read is `None`. Protocols are reached through `ProtoOps` only. Left out: io_uring and compat entry points."""

from __future__ import annotations

from twinsock.kernel.fs.file import (
    FasyncList,
    File,
    Kstat,
    alloc_empty_file,
    fd_install,
    fget,
    fput,
    get_unused_fd_flags,
    put_unused_fd,
)
from twinsock.kernel.net.core.net import SOCKADDR_STORAGE_SIZE, Msghdr, Socket
from twinsock.kernel.net.core.sock import SOCK_FASYNC, sock_error
from twinsock.kernel.net.core.sock_ioctl import sock_ioctl
from twinsock.kernel.net.core.sockopt import sk_getsockopt, sk_setsockopt
from twinsock.kernel.security import (
    security_socket_accept,
    security_socket_bind,
    security_socket_connect,
    security_socket_create,
    security_socket_getpeername,
    security_socket_getsockname,
    security_socket_getsockopt,
    security_socket_listen,
    security_socket_post_create,
    security_socket_recvmsg,
    security_socket_sendmsg,
    security_socket_setsockopt,
    security_socket_shutdown,
    security_socket_socketpair,
)
from twinsock.uapi.errno import (
    EAFNOSUPPORT,
    EAGAIN,
    EBADF,
    ECONNABORTED,
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENFILE,
    ENOBUFS,
    ENOENT,
    ENOTSOCK,
)
from twinsock.uapi.fcntl import O_NONBLOCK, O_RDWR, SPLICE_F_NONBLOCK
from twinsock.uapi.socket import (
    AF_INET,
    AF_MAX,
    AF_PACKET,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_WAITFORONE,
    SOCK_CLOEXEC,
    SOCK_MAX,
    SOCK_NONBLOCK,
    SOCK_PACKET,
    SOCK_SEQPACKET,
    SOCK_TYPE_MASK,
    SOL_SOCKET,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.net.core.net import NetProtoFamily
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.sched.task import Task

UIO_MAXIOV: Final = 1024
INT_MAX: Final = 0x7FFFFFFF
_UINT_MASK: Final = 0xFFFFFFFF
MSG_CMSG_COMPAT: Final = 0x80000000
# flags that only the kernel itself may set: MSG_SPLICE_PAGES, MSG_SENDPAGE_NOPOLICY, MSG_SENDPAGE_DECRYPTED
MSG_INTERNAL_SENDMSG_FLAGS: Final = 0x8000000 | 0x10000 | 0x100000
SOCKFS_DEV: Final = 8


class UserSockaddr:
    """Where a call writes an address: `room` bytes (None: the length pointer is bad)."""

    def __init__(self, room: int | None = SOCKADDR_STORAGE_SIZE) -> None:
        self.room = room
        self.addr = b""  # what was copied
        self.addrlen = 0  # the length of the whole address


class UserMsghdr:
    """`struct user_msghdr`: what sendmsg(2) and recvmsg(2) take, and what recvmsg(2) hands back."""

    def __init__(self) -> None:
        self.name: bytes | None = None  # sending: the address, None for a null pointer
        self.namelen = 0
        self.iov: list[bytes] | None = []  # sending: the pieces; None: a bad pointer
        self.room = 0  # receiving: bytes that the pieces take
        self.iovlen = 1
        self.control: bytes | None = b""
        self.controllen = 0
        # results of recvmsg(2)
        self.out_name: UserSockaddr | None = None
        self.data = b""
        self.flags = 0
        self.msg_len = 0  # sendmmsg(2), recvmmsg(2)


class SocketFile(File):
    """The file behind a socket: socket_file_ops and the sockfs inode."""

    def __init__(self, kernel: Kernel, sock: Socket, flags: int) -> None:
        super().__init__(kernel, O_RDWR | (flags & O_NONBLOCK))
        self.sock = sock

    def read(self, task: Task, count: int) -> tuple[int, bytes]:
        """read(2)."""
        return sock_read_iter(task, self, count)

    def splice_read(self, task: Task, count: int, flags: int) -> tuple[int, bytes]:
        """sock_splice_read()."""
        msg = Msghdr()
        msg.size = count
        sock = self.sock
        dontwait = self.f_flags & O_NONBLOCK or (flags & SPLICE_F_NONBLOCK and sock.ops.splice_obeys_nonblock)
        ret = sock.ops.splice_read(task, sock, msg, MSG_DONTWAIT if dontwait else 0)
        return (ret, b"") if ret < 0 else (ret, b"".join(msg.chunks))

    def write(self, task: Task, data: bytes) -> int:
        """write(2)."""
        return sock_write_iter(task, self, data)

    def poll(self, wait: PollTable | None) -> int:
        """poll(2)."""
        return sock_poll(self, wait)

    def unlocked_ioctl(self, task: Task, cmd: int, arg: bytes | None) -> tuple[int, bytes]:
        """sock_ioctl()."""
        return sock_ioctl(task, self, self.sock, cmd, arg)

    def fasync(self, task: Task, fd: int, on: bool) -> int:
        """sock_fasync()."""
        sock = self.sock
        sk = sock.sk
        if sk is None:
            return -EINVAL
        if sock.fasync_list is None:
            sock.fasync_list = FasyncList()
        sock.fasync_list.fasync_helper(fd, self, on)
        if sock.fasync_list.files:
            sk.sock_set_flag(SOCK_FASYNC)
        else:
            sock.fasync_list = None
            sk.sock_reset_flag(SOCK_FASYNC)
        return 0

    def can_fasync(self) -> bool:
        """Sockets send SIGIO."""
        return True

    def release(self, task: Task | None) -> int:
        """sock_close()."""
        return sock_close(task, self.sock)

    def getattr(self) -> Kstat:
        """Return the sockfs inode."""
        sock = self.sock
        stat = Kstat(sock.i_ino, sock.i_mode, sock.i_uid, sock.i_gid)
        stat.dev = SOCKFS_DEV
        return stat

    def xattrs(self) -> list[tuple[str, bytes]]:
        """sockfs_xattr_get(): the protocol's name with its NUL."""
        sk = self.sock.sk
        return [] if sk is None else [("system.sockprotoname", sk.sk_prot.name.encode() + b"\0")]

    def setattr_owner(self, uid: int, gid: int) -> int:
        """fchown(2): the new owner also counts in the bind rules."""
        sock = self.sock
        if uid >= 0:
            if sock.sk is None:
                return -ENOENT
            sock.i_uid = uid
            sock.sk.sk_uid = uid
        if gid >= 0:
            sock.i_gid = gid
        return 0

    def setattr_mode(self, mode: int) -> int:
        """fchmod(2)."""
        self.sock.i_mode = (self.sock.i_mode & ~0o7777) | (mode & 0o7777)
        return 0

    def ino(self) -> int:
        """Return the inode number of the socket."""
        return self.sock.i_ino

    def mnt_id(self) -> int:
        """Return sockfs's mount."""
        return SOCKFS_DEV

    def link_target(self) -> str:
        """Return the text of the link in /proc/PID/fd."""
        return f"socket:[{self.sock.i_ino}]"

    def show_fdinfo(self) -> str:
        """Return the family's lines of fdinfo."""
        return self.sock.ops.show_fdinfo(self.sock)

    def mmap(self, task: Task, prot: int) -> int:
        """sock_mmap()."""
        return self.sock.ops.mmap(task, self.sock, prot)


def sock_read_iter(task: Task, file: SocketFile, count: int) -> tuple[int, bytes]:
    """Receive on behalf of read(2); a read of 0 bytes does not look at the socket."""
    if count == 0:
        return 0, b""
    msg = Msghdr()
    msg.size = count
    ret = sock_recvmsg(task, file.sock, msg, MSG_DONTWAIT if file.f_flags & O_NONBLOCK else 0)
    return (ret, b"") if ret < 0 else (ret, b"".join(msg.chunks))


def sock_write_iter(task: Task, file: SocketFile, data: bytes) -> int:
    """Send on behalf of write(2)."""
    sock = file.sock
    msg = Msghdr()
    msg.data = data
    if file.f_flags & O_NONBLOCK:
        msg.flags |= MSG_DONTWAIT
    if sock.type == SOCK_SEQPACKET:
        msg.flags |= MSG_EOR
    return __sock_sendmsg(task, sock, msg)


def sock_poll(file: SocketFile, wait: PollTable | None) -> int:
    """Ask the protocol for its poll bits."""
    return file.sock.ops.poll(file, file.sock, wait)


def sock_from_file(file: File | None) -> Socket | None:
    """Return the socket behind a file, or None when it is something else."""
    return file.sock if isinstance(file, SocketFile) else None


# socket(2), socketpair(2)


def sock_register(kernel: Kernel, family: NetProtoFamily) -> None:
    """Enter a family into the table that socket(2) looks into."""
    kernel.net_families[family.family] = family


def sys_socket(task: Task, family: int, type_: int, protocol: int) -> int:
    """socket(2)."""
    return __sys_socket(task, family, type_, protocol)


def __sys_socket(task: Task, family: int, type_: int, protocol: int) -> int:
    err, sock = __sys_socket_create(task, family, type_, protocol)
    if err < 0 or sock is None:
        return err
    return sock_map_fd(task, sock, type_ & (SOCK_CLOEXEC | SOCK_NONBLOCK))


def __sys_socket_create(task: Task, family: int, type_: int, protocol: int) -> tuple[int, Socket | None]:
    if type_ & ~SOCK_TYPE_MASK & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -EINVAL, None
    return sock_create(task, family, type_ & SOCK_TYPE_MASK, protocol)


def sock_create(task: Task, family: int, type_: int, protocol: int) -> tuple[int, Socket | None]:
    """Make a socket for a program."""
    return __sock_create(task, task.net, family, type_, protocol, 0)


def sock_create_kern(task: Task, net: Net, family: int, type_: int, protocol: int) -> tuple[int, Socket | None]:
    """Make a socket for the kernel itself: not counted, no security hook."""
    return __sock_create(task, net, family, type_, protocol, 1)


def __sock_create(task: Task, net: Net, family: int, type_: int, protocol: int, kern: int) -> tuple[int, Socket | None]:
    kernel = task.kernel
    if family < 0 or family >= AF_MAX:
        return -EAFNOSUPPORT, None
    if type_ < 0 or type_ >= SOCK_MAX:
        return -EINVAL, None
    if family == AF_INET and type_ == SOCK_PACKET:
        line = " uses obsolete (PF_INET,SOCK_PACKET)"
        if not any_log_ends(kernel, line):
            kernel.log.append(task.comm + line)
        family = AF_PACKET
    err = 0 if kern else security_socket_create(task, family, type_, protocol, kern)
    if err:
        return err, None
    sock = sock_alloc(task)
    sock.type = type_
    pf = kernel.net_families[family]
    if pf is None:  # Twin: D-inet-1
        sock_release(task, sock)
        return -EAFNOSUPPORT, None
    err = pf.create(task, net, sock, protocol, kern)
    if err >= 0 and not kern:
        err = security_socket_post_create(task, sock, family, type_, protocol, kern)
    if err < 0:
        sock_release(task, sock)
        return err, None
    return 0, sock


def any_log_ends(kernel: Kernel, text: str) -> bool:
    """Tell whether the kernel has printed a line that ends like this (printk_once)."""
    return any(line.endswith(text) for line in kernel.log)


def sock_alloc(task: Task) -> Socket:
    """Make a socket with its inode; the caller's file system ids own it."""
    sock = sock_alloc_inode()
    sock.i_ino = task.kernel.get_next_ino()
    sock.i_uid = task.cred.fsuid
    sock.i_gid = task.cred.fsgid
    return sock


def sock_alloc_inode() -> Socket:
    """Make the inode with the socket in it."""
    return Socket(0)


def sock_release(task: Task | None, sock: Socket) -> None:
    """Release a socket that has no file."""
    __sock_release(task, sock)


def sock_close(task: Task | None, sock: Socket) -> int:
    """Release a socket whose file is closed."""
    __sock_release(task, sock)
    return 0


def __sock_release(task: Task | None, sock: Socket) -> None:
    sock.ops.release(task, sock)
    sock.sk = None
    sock.file = None


def sock_map_fd(task: Task, sock: Socket, flags: int) -> int:
    """Give a new socket a file and a descriptor, or release it."""
    fd = get_unused_fd_flags(task, flags)
    if fd < 0:
        sock_release(task, sock)
        return fd
    file = sock_alloc_file(task, sock, flags)
    if file is None:
        put_unused_fd(task, fd)
        return -ENFILE
    fd_install(task, fd, file)
    return fd


def sock_alloc_file(task: Task, sock: Socket, flags: int) -> SocketFile | None:
    """Make the file of a socket; the socket is released when fs.file-max forbids it."""
    if alloc_empty_file(task):
        sock_release(task, sock)
        return None
    file = SocketFile(task.kernel, sock, flags)
    sock.file = file
    return file


def sys_socketpair(task: Task, family: int, type_: int, protocol: int, usockvec: list[int] | None) -> int:
    """socketpair(2): 0 with two descriptors in `usockvec`, or -errno."""
    return __sys_socketpair(task, family, type_, protocol, usockvec)


def __sys_socketpair(task: Task, family: int, type_: int, protocol: int, usockvec: list[int] | None) -> int:
    flags = type_ & ~SOCK_TYPE_MASK
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -EINVAL
    fd1 = get_unused_fd_flags(task, flags)
    if fd1 < 0:
        return fd1
    fd2 = get_unused_fd_flags(task, flags)
    if fd2 < 0:
        put_unused_fd(task, fd1)
        return fd2
    err = -EFAULT
    if usockvec is not None:
        usockvec[:] = [fd1, fd2]
        err = _join_pair(task, family, type_ & SOCK_TYPE_MASK, protocol, fd1, fd2, flags)
    if err < 0:
        put_unused_fd(task, fd2)
        put_unused_fd(task, fd1)
    return err


def _join_pair(task: Task, family: int, type_: int, protocol: int, fd1: int, fd2: int, flags: int) -> int:
    err, sock1 = sock_create(task, family, type_, protocol)
    if err < 0 or sock1 is None:
        return err
    err, sock2 = sock_create(task, family, type_, protocol)
    if err < 0 or sock2 is None:
        sock_release(task, sock1)
        return err
    err = security_socket_socketpair(task, sock1, sock2)
    if not err:
        err = sock1.ops.socketpair(task, sock1, sock2)
    if err < 0:
        sock_release(task, sock2)
        sock_release(task, sock1)
        return err
    file1 = sock_alloc_file(task, sock1, flags)
    if file1 is None:
        sock_release(task, sock2)
        return -ENFILE
    file2 = sock_alloc_file(task, sock2, flags)
    if file2 is None:
        fput(file1, task)
        return -ENFILE
    fd_install(task, fd1, file1)
    fd_install(task, fd2, file2)
    return 0


# Addresses


def move_addr_to_kernel(uaddr: bytes | None, ulen: int) -> tuple[int, bytes]:
    """Copy an address in: (0 or -errno, bytes)."""
    if ulen < 0 or ulen > SOCKADDR_STORAGE_SIZE:
        return -EINVAL, b""
    if ulen == 0:
        return 0, b""
    if uaddr is None:
        return -EFAULT, b""
    return 0, uaddr[:ulen]


def move_addr_to_user(kaddr: bytes, user: UserSockaddr | None) -> int:
    """Copy an address out, cut to the room there is."""
    if user is None or user.room is None:
        return -EFAULT
    if user.room < 0:
        return -EINVAL
    user.addr = kaddr[: user.room]
    user.addrlen = len(kaddr)
    return 0


def sys_bind(task: Task, fd: int, umyaddr: bytes | None, addrlen: int) -> int:
    """bind(2)."""
    return __sys_bind(task, fd, umyaddr, addrlen)


def __sys_bind(task: Task, fd: int, umyaddr: bytes | None, addrlen: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    err = -ENOTSOCK
    if sock is not None:
        err, addr = move_addr_to_kernel(umyaddr, addrlen)
        if err >= 0:
            err = __sys_bind_socket(task, sock, addr)
    fput(file, task)
    return err


def __sys_bind_socket(task: Task, sock: Socket, addr: bytes) -> int:
    err = security_socket_bind(task, sock, addr)
    return err or sock.ops.bind(task, sock, addr)


def sys_connect(task: Task, fd: int, uservaddr: bytes | None, addrlen: int) -> int:
    """connect(2)."""
    return __sys_connect(task, fd, uservaddr, addrlen)


def __sys_connect(task: Task, fd: int, uservaddr: bytes | None, addrlen: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    err, addr = move_addr_to_kernel(uservaddr, addrlen)
    if err >= 0:
        err = __sys_connect_file(task, file, addr)
    fput(file, task)
    return err


def __sys_connect_file(task: Task, file: File, addr: bytes) -> int:
    sock = sock_from_file(file)
    if sock is None:
        return -ENOTSOCK
    err = security_socket_connect(task, sock, addr)
    return err or sock.ops.connect(task, sock, addr, file.f_flags)


def sys_getsockname(task: Task, fd: int, usockaddr: UserSockaddr | None) -> int:
    """getsockname(2)."""
    return _getname(task, fd, usockaddr, 0)


def sys_getpeername(task: Task, fd: int, usockaddr: UserSockaddr | None) -> int:
    """getpeername(2)."""
    return _getname(task, fd, usockaddr, 1)


def _getname(task: Task, fd: int, usockaddr: UserSockaddr | None, peer: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    err = -ENOTSOCK
    if sock is not None:
        err = security_socket_getpeername(task, sock) if peer else security_socket_getsockname(task, sock)
        if not err:
            err, addr = sock.ops.getname(sock, peer)
            if err >= 0:
                err = move_addr_to_user(addr, usockaddr)
    fput(file, task)
    return err


# listen(2), accept(2), shutdown(2)


def sys_listen(task: Task, fd: int, backlog: int) -> int:
    """listen(2)."""
    return __sys_listen(task, fd, backlog)


def __sys_listen(task: Task, fd: int, backlog: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    err = -ENOTSOCK if sock is None else __sys_listen_socket(task, sock, backlog)
    fput(file, task)
    return err


def __sys_listen_socket(task: Task, sock: Socket, backlog: int) -> int:
    somaxconn = task.net.core.sysctl_somaxconn if sock.sk is None else sock.sk.sk_net.core.sysctl_somaxconn
    if backlog & _UINT_MASK > somaxconn:
        backlog = somaxconn
    err = security_socket_listen(task, sock, backlog)
    return err or sock.ops.listen(task, sock, backlog)


def sys_accept(task: Task, fd: int, upeer: UserSockaddr | None) -> int:
    """accept(2)."""
    return __sys_accept4(task, fd, upeer, 0)


def sys_accept4(task: Task, fd: int, upeer: UserSockaddr | None, flags: int) -> int:
    """accept4(2): the new descriptor, or -errno; `upeer` None asks for no address."""
    return __sys_accept4(task, fd, upeer, flags)


def __sys_accept4(task: Task, fd: int, upeer: UserSockaddr | None, flags: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = __sys_accept4_file(task, file, upeer, flags)
    fput(file, task)
    return ret


def __sys_accept4_file(task: Task, file: File, upeer: UserSockaddr | None, flags: int) -> int:
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        return -EINVAL
    newfd = get_unused_fd_flags(task, flags)
    if newfd < 0:
        return newfd
    err, newfile = do_accept(task, file, file.f_flags, upeer, flags)
    if newfile is None:
        put_unused_fd(task, newfd)
        return err
    fd_install(task, newfd, newfile)
    return newfd


def do_accept(task: Task, file: File, file_flags: int, upeer: UserSockaddr | None, flags: int) -> tuple[int, File | None]:
    """Wait for a connection and make a file for it: (0 or -errno, file)."""
    sock = sock_from_file(file)
    if sock is None:
        return -ENOTSOCK, None
    newsock = sock_alloc(task)
    newsock.type = sock.type
    newsock.ops = sock.ops
    newfile = sock_alloc_file(task, newsock, flags)
    if newfile is None:
        return -ENFILE, None
    err = security_socket_accept(task, sock, newsock)
    if not err:
        err = sock.ops.accept(task, sock, newsock, file_flags)
    if err >= 0 and upeer is not None:
        err, addr = newsock.ops.getname(newsock, 2)
        err = -ECONNABORTED if err < 0 else move_addr_to_user(addr, upeer)
    if err < 0:
        fput(newfile, task)
        return err, None
    return 0, newfile


def sys_shutdown(task: Task, fd: int, how: int) -> int:
    """shutdown(2)."""
    return __sys_shutdown(task, fd, how)


def __sys_shutdown(task: Task, fd: int, how: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    err = -ENOTSOCK if sock is None else __sys_shutdown_sock(task, sock, how)
    fput(file, task)
    return err


def __sys_shutdown_sock(task: Task, sock: Socket, how: int) -> int:
    err = security_socket_shutdown(task, sock, how)
    return err or sock.ops.shutdown(sock, how)


# Sending


def sock_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    """Send a message on behalf of the kernel or a file."""
    return __sock_sendmsg(task, sock, msg)


def __sock_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    err = security_socket_sendmsg(task, sock, msg, msg.remaining())
    return err or sock_sendmsg_nosec(task, sock, msg)


def sock_sendmsg_nosec(task: Task, sock: Socket, msg: Msghdr) -> int:
    """Hand the message to the protocol."""
    return sock.ops.sendmsg(task, sock, msg)


def sys_send(task: Task, fd: int, buff: bytes | None, flags: int) -> int:
    """send(2)."""
    return __sys_sendto(task, fd, buff, flags, None, 0)


def sys_sendto(task: Task, fd: int, buff: bytes | None, flags: int, addr: bytes | None, addr_len: int) -> int:
    """sendto(2); `addr` None is a null pointer: no address."""
    return __sys_sendto(task, fd, buff, flags, addr, addr_len)


def __sys_sendto(task: Task, fd: int, buff: bytes | None, flags: int, addr: bytes | None, addr_len: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    ret = _sendto_file(task, file, buff, flags, addr, addr_len)
    fput(file, task)
    return ret


def _sendto_file(task: Task, file: File, buff: bytes | None, flags: int, addr: bytes | None, addr_len: int) -> int:
    sock = sock_from_file(file)
    if sock is None:
        return -ENOTSOCK
    msg = Msghdr()
    if addr is not None:
        err, msg.name = move_addr_to_kernel(addr, addr_len)
        if err < 0:
            return err
    if buff is None:
        return -EFAULT
    msg.data = buff
    msg.flags = flags & _UINT_MASK & ~MSG_INTERNAL_SENDMSG_FLAGS
    if file.f_flags & O_NONBLOCK:
        msg.flags |= MSG_DONTWAIT
    return __sock_sendmsg(task, sock, msg)


def sys_sendmsg(task: Task, fd: int, umsg: UserMsghdr | None, flags: int) -> int:
    """sendmsg(2)."""
    return __sys_sendmsg(task, fd, umsg, flags)


def __sys_sendmsg(task: Task, fd: int, umsg: UserMsghdr | None, flags: int) -> int:
    if flags & MSG_CMSG_COMPAT:
        return -EINVAL
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    ret = -ENOTSOCK if sock is None else ___sys_sendmsg(task, sock, file, umsg, flags)
    fput(file, task)
    return ret


def ___sys_sendmsg(task: Task, sock: Socket, file: File, umsg: UserMsghdr | None, flags: int) -> int:
    if umsg is None:
        return -EFAULT
    msg = Msghdr()
    err = _copy_msghdr_from_user(msg, umsg)
    if err < 0:
        return err
    return ____sys_sendmsg(task, sock, file, msg, umsg, flags)


def ____sys_sendmsg(task: Task, sock: Socket, file: File, msg: Msghdr, umsg: UserMsghdr, flags: int) -> int:
    if umsg.controllen > INT_MAX:
        return -ENOBUFS
    if umsg.controllen:
        if umsg.control is None:
            return -EFAULT
        msg.control = umsg.control[: umsg.controllen]
    msg.flags = flags & _UINT_MASK & ~MSG_INTERNAL_SENDMSG_FLAGS
    if file.f_flags & O_NONBLOCK:
        msg.flags |= MSG_DONTWAIT
    return __sock_sendmsg(task, sock, msg)


def _copy_msghdr_from_user(msg: Msghdr, umsg: UserMsghdr) -> int:
    """Check the header and gather what is to be sent."""
    namelen = 0 if umsg.name is None else umsg.namelen
    room = 0 if umsg.out_name is None else umsg.out_name.room
    if namelen < 0 or (room is not None and room < 0):
        return -EINVAL
    if umsg.name is not None and namelen:
        msg.name = umsg.name[: min(namelen, SOCKADDR_STORAGE_SIZE)]
    if umsg.iovlen > UIO_MAXIOV or (umsg.iov is not None and len(umsg.iov) > UIO_MAXIOV):
        return -EMSGSIZE
    if umsg.iov is None:
        return -EFAULT
    iov = umsg.iov
    if len(iov) == 1:
        msg.data = iov[0]
    else:
        msg.data = b"".join(iov)
        msg.iov_ends = ends = []
        total = 0
        for piece in iov:
            total += len(piece)
            ends.append(total)
    msg.size = umsg.room
    return 0


def sys_sendmmsg(task: Task, fd: int, mmsg: list[UserMsghdr], flags: int) -> int:
    """sendmmsg(2): how many were sent, or the first one's -errno."""
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    ret = -ENOTSOCK
    if sock is not None:
        ret = 0
        for umsg in mmsg[:UIO_MAXIOV]:
            sent = ___sys_sendmsg(task, sock, file, umsg, flags)
            if sent < 0:
                ret = ret or sent
                break
            umsg.msg_len = sent
            ret += 1
            if task.signal_pending():
                break
    fput(file, task)
    return ret


# Receiving


def sock_recvmsg(task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
    """Receive a message."""
    err = security_socket_recvmsg(task, sock, msg, msg.size, flags)
    return err or sock.ops.recvmsg(task, sock, msg, flags)


def sys_recvfrom(task: Task, fd: int, size: int, flags: int, addr: UserSockaddr | None) -> tuple[int, bytes]:
    """recvfrom(2): (bytes or -errno, data); MSG_TRUNC may return more than there is data."""
    return __sys_recvfrom(task, fd, size, flags, addr)


def __sys_recvfrom(task: Task, fd: int, size: int, flags: int, addr: UserSockaddr | None) -> tuple[int, bytes]:
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    sock = sock_from_file(file)
    ret = -ENOTSOCK
    msg = Msghdr()
    if sock is not None:
        if file.f_flags & O_NONBLOCK:
            flags |= MSG_DONTWAIT
        msg.size = size
        ret = sock_recvmsg(task, sock, msg, flags & _UINT_MASK)
        if ret >= 0 and addr is not None:
            err = move_addr_to_user(msg.name or b"", addr)
            ret = err if err < 0 else ret
    fput(file, task)
    return (ret, b"") if ret < 0 else (ret, b"".join(msg.chunks))


def sys_recvmsg(task: Task, fd: int, umsg: UserMsghdr | None, flags: int) -> int:
    """recvmsg(2): bytes or -errno; results are in `umsg`."""
    return __sys_recvmsg(task, fd, umsg, flags)


def __sys_recvmsg(task: Task, fd: int, umsg: UserMsghdr | None, flags: int) -> int:
    if flags & MSG_CMSG_COMPAT:
        return -EINVAL
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    ret = -ENOTSOCK if sock is None else ___sys_recvmsg(task, sock, file, umsg, flags)
    fput(file, task)
    return ret


def ___sys_recvmsg(task: Task, sock: Socket, file: File, umsg: UserMsghdr | None, flags: int) -> int:
    if umsg is None:
        return -EFAULT
    msg = Msghdr()
    err = _copy_msghdr_from_user(msg, umsg)
    if err < 0:
        return err
    msg.data = b""
    return ____sys_recvmsg(task, sock, file, msg, umsg, flags)


def ____sys_recvmsg(task: Task, sock: Socket, file: File, msg: Msghdr, umsg: UserMsghdr, flags: int) -> int:
    msg.control_room = 0 if umsg.control is None else umsg.controllen
    msg.out_flags = flags & MSG_CMSG_CLOEXEC
    if file.f_flags & O_NONBLOCK:
        flags |= MSG_DONTWAIT
    ret = sock_recvmsg(task, sock, msg, flags & _UINT_MASK)
    if ret < 0:
        return ret
    if umsg.out_name is not None:
        err = move_addr_to_user(msg.name or b"", umsg.out_name)
        if err < 0:
            return err
    umsg.data = b"".join(msg.chunks)
    umsg.flags = msg.out_flags
    umsg.control = msg.control
    umsg.controllen = len(msg.control)
    return ret


def sys_recvmmsg(task: Task, fd: int, mmsg: list[UserMsghdr], flags: int, timeout_ns: int) -> int:
    """recvmmsg(2): how many came, or -errno; the timeout (-1: none) is looked at after each message."""
    if timeout_ns < -1:
        return -EINVAL
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    ret = -ENOTSOCK if sock is None else _recvmmsg(task, sock, file, mmsg, flags, timeout_ns)
    fput(file, task)
    return ret


def _recvmmsg(task: Task, sock: Socket, file: File, mmsg: list[UserMsghdr], flags: int, timeout_ns: int) -> int:
    sk = sock.sk
    if sk is not None and not flags & MSG_ERRQUEUE:
        err = sock_error(sk)
        if err:
            return err
    deadline = -1 if timeout_ns < 0 else task.kernel.clock.now_ns + timeout_ns
    datagrams = 0
    err = 0
    for umsg in mmsg[:UIO_MAXIOV]:
        err = ___sys_recvmsg(task, sock, file, umsg, flags & ~MSG_WAITFORONE)
        if err < 0:
            break
        umsg.msg_len = err
        datagrams += 1
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        if deadline >= 0 and task.kernel.clock.now_ns >= deadline:
            break
        if umsg.flags & MSG_OOB:
            break
    if datagrams == 0:
        return err
    if err < 0 and err != -EAGAIN and sk is not None:
        sk.sk_err = -err
    return datagrams


# Options


def sys_setsockopt(task: Task, fd: int, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """setsockopt(2); `optval` None is a bad pointer."""
    return __sys_setsockopt(task, fd, level, optname, optval, optlen)


def __sys_setsockopt(task: Task, fd: int, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    file = fget(task, fd)
    if file is None:
        return -EBADF
    sock = sock_from_file(file)
    err = -ENOTSOCK if sock is None else do_sock_setsockopt(task, sock, level, optname, optval, optlen)
    fput(file, task)
    return err


def do_sock_setsockopt(task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Ask the security module and the cgroup's programs, then set the option."""
    if optlen < 0:
        return -EINVAL
    err = security_socket_setsockopt(task, sock, level, optname)
    if err:
        return err
    bpf = task.kernel.cgroup_bpf
    if bpf is not None and sock.sk is not None:
        err, optval = bpf.setsockopt(sock.sk, level, optname, b"" if optval is None else optval[:optlen])
        optlen = len(optval)
        if err:
            return 0 if err > 0 else err
    if level == SOL_SOCKET and not sock.ops.custom_sol_socket:
        return sk_setsockopt(task, sock, optname, optval, optlen)
    return sock.ops.setsockopt(task, sock, level, optname, optval, optlen)


def sys_getsockopt(task: Task, fd: int, level: int, optname: int, optval: bytes | None, optlen: int | None) -> tuple[int, bytes]:
    """getsockopt(2): (0 or -errno, value); `optval` is what the buffer holds on entry, `optlen` its size (None: a bad pointer)."""
    return __sys_getsockopt(task, fd, level, optname, optval, optlen)


def __sys_getsockopt(task: Task, fd: int, level: int, optname: int, optval: bytes | None, optlen: int | None) -> tuple[int, bytes]:
    file = fget(task, fd)
    if file is None:
        return -EBADF, b""
    sock = sock_from_file(file)
    if sock is None:
        fput(file, task)
        return -ENOTSOCK, b""
    err, value = do_sock_getsockopt(task, sock, level, optname, optval, optlen)
    fput(file, task)
    return err, value


def do_sock_getsockopt(task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int | None) -> tuple[int, bytes]:
    """Read the option, then let the cgroup's programs see it."""
    err = security_socket_getsockopt(task, sock, level, optname)
    if err:
        return err, b""
    if optlen is None:
        return -EFAULT, b""
    buffer = b"" if optval is None else optval
    if level == SOL_SOCKET:
        err, value = sk_getsockopt(task, sock, optname, buffer, optlen)
    else:
        err, value = sock.ops.getsockopt(task, sock, level, optname, buffer, optlen)
    if err >= 0 and optval is None and value:
        return -EFAULT, b""
    bpf = task.kernel.cgroup_bpf
    if bpf is not None and sock.sk is not None:
        err, value = bpf.getsockopt(sock.sk, level, optname, err, value)
    return err, value
