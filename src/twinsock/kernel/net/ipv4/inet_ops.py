"""What bind(2), connect(2), sendmsg(2) and the like do for every AF_INET socket (Linux: net/ipv4/af_inet.c, inet_dgram_ops and
inet_sockraw_ops; AF_INET6 differs in release, bind, getname and ioctl, see ipv6/inet6_ops.py).

Stream sockets subclass `InetOps`, too."""

from __future__ import annotations

from twinsock.kernel.bpf.cgroup import (
    BPF_CGROUP_INET4_CONNECT,
    BPF_CGROUP_INET4_GETPEERNAME,
    BPF_CGROUP_INET4_GETSOCKNAME,
    BPF_CGROUP_INET_SOCK_RELEASE,
    cgroup_bpf_run_filter_sk,
    cgroup_bpf_run_filter_sock_addr,
)
from twinsock.kernel.net.core.datagram import datagram_poll
from twinsock.kernel.net.core.net import Msghdr, ProtoOps, Socket
from twinsock.kernel.net.core.sock import SHUTDOWN_MASK, SOCK_LINGER, Sock, lock_sock, release_sock
from twinsock.kernel.net.ipv4.af_inet import inet_bind
from twinsock.kernel.net.ipv4.devinet_ioctl import inet_config_ioctl
from twinsock.kernel.net.ipv4.igmp_sock import ip_mc_drop_socket
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.uapi.errno import EAGAIN, EINVAL, ENOIOCTLCMD, ENOTCONN
from twinsock.uapi.socket import AF_INET, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE, TCP_SYN_SENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.sched.task import Task


def inet_sk(sock: Socket) -> InetSock:
    """Return the protocol socket."""
    sk = sock.sk
    assert isinstance(sk, InetSock)
    return sk


def sockaddr_in(addr: int, port: int) -> bytes:
    """Give the 16 bytes of a struct sockaddr_in."""
    return AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + addr.to_bytes(4, "big") + bytes(8)


class InetOps(ProtoOps):
    """What all types have in common."""

    family = AF_INET
    bpf_connect = BPF_CGROUP_INET4_CONNECT

    def release(self, task: Task | None, sock: Socket) -> int:
        """inet_release(): leave the groups, then let the protocol close."""
        sk = sock.sk
        if sk is None:
            return 0
        assert isinstance(sk, InetSock)
        if sk.sk_net_refcnt:
            cgroup_bpf_run_filter_sk(sk, BPF_CGROUP_INET_SOCK_RELEASE)
        self.leave_groups(sk)
        timeout = 0
        if sk.sock_flag(SOCK_LINGER) and not (task is not None and task.exiting):
            timeout = sk.sk_lingertime_ns
        sk.sk_prot.close(task, sk, timeout)
        sock.sk = None
        return 0

    def leave_groups(self, sk: InetSock) -> None:
        """Leave every multicast group."""
        ip_mc_drop_socket(sk)

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """inet_bind()."""
        return inet_bind(task, sock, addr)

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """inet_getname()."""
        sk = inet_sk(sock)
        if peer:
            if not sk.sk_dport or (peer == 1 and sk.sk_state in (TCP_CLOSE, TCP_SYN_SENT)):
                return -ENOTCONN, b""
            return _named(sk, BPF_CGROUP_INET4_GETPEERNAME, sockaddr_in(sk.sk_daddr, sk.sk_dport))
        return _named(sk, BPF_CGROUP_INET4_GETSOCKNAME, sockaddr_in(sk.sk_rcv_saddr or sk.inet_saddr, sk.inet_sport))

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """datagram_poll()."""
        return datagram_poll(file, sock, wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """inet_ioctl(): addresses and routes of the namespace; else the protocol answers with an int."""
        sk = inet_sk(sock)
        if self.family == AF_INET:
            ret, out = inet_config_ioctl(sk.sk_net, task, cmd, arg)
            if ret != -ENOIOCTLCMD:
                return ret, out
        err, value = sk.sk_prot.ioctl(sk, cmd)
        return (err, b"") if err < 0 else (0, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def shutdown(self, sock: Socket, how: int) -> int:
        """inet_shutdown() for connectionless sockets: the bits are set even when the answer is ENOTCONN."""
        how += 1
        if how & ~SHUTDOWN_MASK or not how:
            return -EINVAL
        sk = inet_sk(sock)
        lock_sock(sk)
        err = -ENOTCONN if sk.sk_state == TCP_CLOSE else 0
        sk.sk_shutdown |= how
        sk.sk_prot.shutdown(sk, how)
        sk.sk_state_change()
        release_sock(sk)
        return err

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """sock_common_setsockopt()."""
        sk = inet_sk(sock)
        return sk.sk_prot.setsockopt(task, sk, level, optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """sock_common_getsockopt()."""
        sk = inet_sk(sock)
        return sk.sk_prot.getsockopt(task, sk, level, optname, optval, optlen)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """inet_sendmsg(): an unbound socket gets a port first."""
        sk = inet_sk(sock)
        if not sk.sk_num and not sk.sk_prot.no_autobind:
            err = inet_autobind(sk)
            if err:
                return err
        return sk.sk_prot.sendmsg(task, sk, msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """inet_recvmsg()."""
        sk = inet_sk(sock)
        return sk.sk_prot.recvmsg(task, sk, msg, flags)


def _named(sk: InetSock, atype: int, addr: bytes) -> tuple[int, bytes]:
    _, addr = cgroup_bpf_run_filter_sock_addr(sk, atype, addr)
    return 0, addr


def inet_autobind(sk: InetSock) -> int:
    """Give an unbound socket a port: 0 or -EAGAIN."""
    lock_sock(sk)
    err = 0
    if not sk.sk_num:
        if sk.sk_prot.get_port(sk, 0):
            err = -EAGAIN
        else:
            sk.inet_sport = sk.sk_num
    release_sock(sk)
    return err


class InetDatagramOps(InetOps):
    """What datagram, raw and ping sockets have in common."""

    has_peek_off = False

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """inet_dgram_connect(): AF_UNSPEC disconnects."""
        sk = inet_sk(sock)
        if len(addr) < 2:
            return -EINVAL
        if addr[0] | addr[1] << 8 == AF_UNSPEC:
            return sk.sk_prot.disconnect(sk, flags)
        err = sk.sk_prot.pre_connect(sk, addr)
        if err:
            return err
        if sk.sk_net.kernel.cgroup_bpf is not None:
            err, addr = cgroup_bpf_run_filter_sock_addr(sk, self.bpf_connect, addr)
            if err < 0:
                return err
        if not sk.sk_num:
            err = inet_autobind(sk)
            if err:
                return err
        return sk.sk_prot.connect(task, sk, addr)


class InetDgramOps(InetDatagramOps):
    """`inet_dgram_ops`: UDP and UDP-Lite."""

    has_peek_off = True

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """The protocol's own poll, udp_poll()."""
        return inet_sk(sock).sk_prot.poll(file, sock, wait)

    def set_peek_off(self, sk: Sock, val: int) -> int:
        """SO_PEEK_OFF."""
        sk.sk_peek_off = val
        return 0


class InetSockrawOps(InetDatagramOps):
    """`inet_sockraw_ops`: RAW and ping sockets, which bind in their own way."""

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """Let the protocol bind."""
        sk = inet_sk(sock)
        return sk.sk_prot.bind(task, sk, addr)
