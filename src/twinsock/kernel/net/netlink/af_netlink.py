"""AF_NETLINK sockets: names, groups, datagrams between programs and to the kernel, dumps, acknowledgements, netlink(7)
(Linux: net/netlink/af_netlink.c; RFC 3549).

    program --sendmsg--> NetlinkRequest --> NetlinkInput.rcv_msg --> answers, a dump, an acknowledgement --> its receive queue

Left out: memory-mapped rings, namespaces by id (NETLINK_LISTEN_ALL_NSID is a flag without effect: D-netlink-1),
module loading, the other protocols (D-netlink-2)."""

from __future__ import annotations

from collections import deque

from twinsock.kernel.net.core.datagram import datagram_poll, skb_free_datagram, skb_queue_purge, skb_recv_datagram
from twinsock.kernel.net.core.filter import sk_filter_trim_cap
from twinsock.kernel.net.core.net import Msghdr, NetProtoFamily, ProtoOps, Socket
from twinsock.kernel.net.core.net_namespace import Net, PernetOperations, register_pernet_subsys
from twinsock.kernel.net.core.netlink import GenerationView, NetlinkDump, NetlinkInput, NetlinkRequest, NetlinkTable
from twinsock.kernel.net.core.scm import ScmCookie, scm_destroy, scm_recv, scm_send
from twinsock.kernel.net.core.skbuff import SkBuff, skb_head_truesize
from twinsock.kernel.net.core.sock import (
    SK_SCM_CREDENTIALS,
    Proto,
    Sock,
    proto_register,
    sk_alloc,
    sock_init_data,
    sock_orphan,
    sock_put,
)
from twinsock.kernel.net.core.sock_mem import sock_rmem_free
from twinsock.kernel.net.socket import sock_register
from twinsock.kernel.sched.task import MAX_SCHEDULE_TIMEOUT, sock_intr_errno
from twinsock.kernel.sched.wait import TaskWait, WaitQueueHead
from twinsock.uapi.capability import CAP_NET_ADMIN, CAP_NET_BROADCAST
from twinsock.uapi.errno import (
    EADDRINUSE,
    EAGAIN,
    EBUSY,
    ECONNREFUSED,
    EFAULT,
    EINVAL,
    EMSGSIZE,
    ENOBUFS,
    ENODATA,
    ENOIOCTLCMD,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
    ESOCKTNOSUPPORT,
    ESRCH,
)
from twinsock.uapi.netlink import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NETLINK_LIST_MEMBERSHIPS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
    NETLINK_USERSOCK,
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_DUMP_INTR,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_HDRLEN,
    NLMSG_MIN_TYPE,
    NLMSGERR_ATTR_MSG,
    NLMSGERR_ATTR_OFFS,
)
from twinsock.uapi.socket import AF_NETLINK, AF_UNSPEC, MSG_DONTWAIT, MSG_OOB, MSG_TRUNC, SOCK_DGRAM, SOCK_RAW, SOL_NETLINK
from twinsock.wire.netlink import NLMSGHDR, nlattr, nlmsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.file import File
    from twinsock.kernel.fs.select import PollTable
    from twinsock.kernel.kernel import Kernel
    from twinsock.kernel.sched.task import Task

MAX_LINKS: Final = 32
NETLINK_UNCONNECTED: Final = 0
NETLINK_CONNECTED: Final = 1
_OBJ_SIZE: Final = 1096
_SOCKADDR_NL: Final = 12
_GOODSIZE: Final = 3776  # NLMSG_GOODSIZE: a page without struct skb_shared_info
_DUMP_MAX: Final = 32448  # of a datagram, however large the reader's buffer is
_FLAG_OPTIONS: Final[tuple[int, ...]] = (
    NETLINK_PKTINFO,
    NETLINK_BROADCAST_ERROR,
    NETLINK_NO_ENOBUFS,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
)


class NetlinkSkb(SkBuff):
    """A datagram with its sender."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.portid = 0  # of the sender, 0: the kernel
        self.dst_group = 0
        self.creds_pid = 0
        self.creds_uid = 0
        self.creds_gid = 0


class NetlinkSock(Sock):
    """`struct netlink_sock`."""

    def __init__(self, net: Net, prot: Proto, type_: int, protocol: int) -> None:
        super().__init__(net, AF_NETLINK, prot, type_, protocol)
        self.portid = 0
        self.dst_portid = 0
        self.dst_group = 0
        self.bound = False
        self.connected = False
        self.groups: list[int] = []  # joined, in order of number
        self.ngroups = 0  # size of the bitmap; 0 before the first use
        self.options = 0  # bits by NETLINK_* option
        self.congested = False
        self.dump: NetlinkDump | None = None
        self.max_recvmsg_len = 0
        self.wait = WaitQueueHead()  # senders that wait for room in the queue
        self.kernel_ino = 0  # of the kernel's own socket

    def option(self, optname: int) -> bool:
        """Tell whether a flag option is set."""
        return bool(self.options >> optname & 1)

    def group_word(self) -> int:
        """Return the first 32 groups as bits."""
        return sum([1 << group - 1 for group in self.groups if group <= 32])

    def sk_destruct(self) -> None:
        """Empty the queue (netlink_sock_destruct)."""
        skb_queue_purge(self.sk_receive_queue)


class NetlinkProtocols(NetlinkTable):
    """The protocols of a kernel and `netlink_proto`."""

    def __init__(self) -> None:
        super().__init__()
        self.prot = Proto("NETLINK", _OBJ_SIZE)
        self.rover = -4096  # next port id for those whose process id is taken

    def broadcast(self, net: Net, protocol: int, data: bytes, group: int, exclude: int) -> int:
        """Send the kernel's datagram to a group."""
        return netlink_broadcast(net, protocol, NetlinkSkb(data), exclude, group)

    def has_listeners(self, net: Net, protocol: int, group: int) -> bool:
        """Tell whether a socket is in a group."""
        return any(isinstance(sk, NetlinkSock) and group in sk.groups for sk in net.nl_socks[protocol])


def protocols_of(net: Net) -> NetlinkProtocols:
    """Return the kernel's protocols."""
    table = net.kernel.netlink
    assert isinstance(table, NetlinkProtocols)
    return table


def nl_sk(sock: Socket) -> NetlinkSock:
    """Return the netlink socket behind a socket of the family."""
    sk = sock.sk
    assert isinstance(sk, NetlinkSock)
    return sk


def netlink_sockets(net: Net, protocol: int) -> list[NetlinkSock]:
    """List the sockets of a protocol that have a port id, the kernel's own first."""
    return [sk for sk in net.nl_socks[protocol] if isinstance(sk, NetlinkSock)]


def netlink_lookup(net: Net, protocol: int, portid: int) -> NetlinkSock | None:
    """Find a program's socket by its port id."""
    for sk in netlink_sockets(net, protocol):
        if sk.portid == portid and not sk.kernel_ino:
            return sk
    return None


def netlink_insert(sk: NetlinkSock, portid: int) -> int:
    """Own a port id: 0, -EBUSY with another one already, or -EADDRINUSE."""
    if sk.bound:
        return 0 if sk.portid == portid else -EBUSY
    if netlink_lookup(sk.sk_net, sk.sk_protocol, portid) is not None:
        return -EADDRINUSE
    sk.portid = portid
    sk.bound = True
    sk.sk_net.nl_socks[sk.sk_protocol].append(sk)
    return 0


def netlink_autobind(task: Task, sk: NetlinkSock) -> int:
    """Own the process id as port id, or a number from far away when another socket has it."""
    table = protocols_of(sk.sk_net)
    portid = task.tgid
    while netlink_lookup(sk.sk_net, sk.sk_protocol, portid) is not None:
        if table.rover >= -4096:
            table.rover = -0x80000000 + sk.sk_net.kernel.prng.below(0x80000000 - 4096)
        portid = table.rover & 0xFFFFFFFF
        table.rover = table.rover - 1 if table.rover > -0x80000000 else -4097
    err = netlink_insert(sk, portid)
    return 0 if err == -EBUSY else err


def netlink_input(sk: NetlinkSock) -> NetlinkInput | None:
    """Return the kernel's part of the socket's protocol."""
    return protocols_of(sk.sk_net).inputs[sk.sk_protocol]


def netlink_allowed(task: Task, sk: NetlinkSock, to_send: bool) -> bool:
    """Tell whether the task may join groups, or send to others than the kernel."""
    handler = netlink_input(sk)
    if handler is not None and (handler.nonroot_send if to_send else handler.nonroot_recv):
        return True
    return task.ns_capable(sk.sk_net.user_ns, CAP_NET_ADMIN)


def _parse_nladdr(addr: bytes) -> tuple[int, int]:
    return int.from_bytes(addr[4:8], "little"), int.from_bytes(addr[8:12], "little")


def _emit_nladdr(portid: int, groups: int) -> bytes:
    return AF_NETLINK.to_bytes(2, "little") + bytes(2) + portid.to_bytes(4, "little") + groups.to_bytes(4, "little")


def _first_group(groups: int) -> int:
    """Return the number of the lowest group of a word, 0 for none (ffs)."""
    return (groups & -groups).bit_length()


class NetlinkOps(ProtoOps):
    """`netlink_ops`."""

    family = AF_NETLINK

    def release(self, task: Task | None, sock: Socket) -> int:
        """close(2)."""
        sk = sock.sk
        if isinstance(sk, NetlinkSock):
            chain = sk.sk_net.nl_socks[sk.sk_protocol]
            if sk in chain:
                chain.remove(sk)
            sk.groups = []
            sk.dump = None
            sock_orphan(sk)
            sk.wait.wake_up(0, 0)
            skb_queue_purge(sk.sk_receive_queue)
            sk.sk_net.sock_prot_inuse_add(sk.sk_prot, -1)
            sock_put(sk)
        return 0

    def bind(self, task: Task, sock: Socket, addr: bytes) -> int:
        """bind(2)."""
        sk = nl_sk(sock)
        if len(addr) < _SOCKADDR_NL or int.from_bytes(addr[:2], "little") != AF_NETLINK:
            return -EINVAL
        portid, groups = _parse_nladdr(addr)
        if groups:
            if not netlink_allowed(task, sk, False):
                return -EPERM
            netlink_realloc_groups(sk)
        if sk.bound:
            if portid != sk.portid:
                return -EINVAL
        else:
            err = netlink_insert(sk, portid) if portid else netlink_autobind(task, sk)
            if err:
                return err
        if groups or sk.group_word():
            sk.groups = sorted([group for group in sk.groups if group > 32] + [bit + 1 for bit in range(32) if groups >> bit & 1])
        return 0

    def connect(self, task: Task, sock: Socket, addr: bytes, flags: int) -> int:
        """connect(2): choose where send(2) goes."""
        sk = nl_sk(sock)
        if len(addr) < 2:
            return -EINVAL
        family = int.from_bytes(addr[:2], "little")
        if family == AF_UNSPEC:
            sk.connected = False
            sk.dst_portid = sk.dst_group = 0
            return 0
        if family != AF_NETLINK or len(addr) < _SOCKADDR_NL:
            return -EINVAL
        portid, groups = _parse_nladdr(addr)
        if (portid or groups) and not netlink_allowed(task, sk, True):
            return -EPERM
        err = 0 if sk.bound else netlink_autobind(task, sk)
        if not err:
            sk.connected = True
            sk.dst_portid = portid
            sk.dst_group = _first_group(groups)
        return err

    def getname(self, sock: Socket, peer: int) -> tuple[int, bytes]:
        """getsockname(2), getpeername(2)."""
        sk = nl_sk(sock)
        if peer:
            return 0, _emit_nladdr(sk.dst_portid, 1 << sk.dst_group - 1 if sk.dst_group else 0)
        return 0, _emit_nladdr(sk.portid, sk.group_word())

    def poll(self, file: File, sock: Socket, wait: PollTable | None) -> int:
        """poll(2)."""
        return datagram_poll(file, sock, wait)

    def ioctl(self, task: Task, sock: Socket, cmd: int, arg: bytes) -> tuple[int, bytes]:
        """ioctl(2): only what interfaces answer."""
        return -ENOIOCTLCMD, b""

    def setsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
        """SOL_NETLINK options."""
        return netlink_setsockopt(task, nl_sk(sock), level, optname, optval, optlen)

    def getsockopt(self, task: Task, sock: Socket, level: int, optname: int, optval: bytes, optlen: int) -> tuple[int, bytes]:
        """SOL_NETLINK options."""
        return netlink_getsockopt(nl_sk(sock), level, optname, optlen)

    def sendmsg(self, task: Task, sock: Socket, msg: Msghdr) -> int:
        """sendmsg(2)."""
        return netlink_sendmsg(task, sock, msg)

    def recvmsg(self, task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
        """recvmsg(2)."""
        return netlink_recvmsg(task, sock, msg, flags)


# Options


def netlink_realloc_groups(sk: NetlinkSock) -> None:
    """Make the bitmap of groups."""
    handler = netlink_input(sk)
    sk.ngroups = 32 if handler is None else handler.groups


def netlink_setsockopt(task: Task, sk: NetlinkSock, level: int, optname: int, optval: bytes | None, optlen: int) -> int:
    """Set an option of netlink(7)."""
    if level != SOL_NETLINK:
        return -ENOPROTOOPT
    value = 0
    if optlen >= 4:
        if optval is None:
            return -EFAULT
        value = int.from_bytes(optval[:4], "little")
    if optname in (NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP):
        if not netlink_allowed(task, sk, False):
            return -EPERM
        netlink_realloc_groups(sk)
        if not 0 < value <= sk.ngroups:
            return -EINVAL
        if optname == NETLINK_DROP_MEMBERSHIP:
            sk.groups = [group for group in sk.groups if group != value]
        elif value not in sk.groups:
            sk.groups = sorted([*sk.groups, value])
        return 0
    if optname not in _FLAG_OPTIONS:
        return -ENOPROTOOPT
    if optname == NETLINK_LISTEN_ALL_NSID and not task.ns_capable(sk.sk_net.user_ns, CAP_NET_BROADCAST):
        return -EPERM
    if optname == NETLINK_NO_ENOBUFS and value:
        sk.congested = False
        sk.wait.wake_up(0)
    sk.options = sk.options | 1 << optname if value else sk.options & ~(1 << optname)
    return 0


def netlink_getsockopt(sk: NetlinkSock, level: int, optname: int, optlen: int) -> tuple[int, bytes]:
    """Read an option of netlink(7)."""
    if level != SOL_NETLINK:
        return -ENOPROTOOPT, b""
    if optlen < 0:
        return -EINVAL, b""
    if optname == NETLINK_LIST_MEMBERSHIPS:
        return 0, b"".join(
            [
                sum([1 << group - 1 - base for group in sk.groups if base < group <= base + 32]).to_bytes(4, "little")
                for base in range(0, sk.ngroups, 32)
            ]
        )
    if optname not in _FLAG_OPTIONS:
        return -ENOPROTOOPT, b""
    if optlen < 4:
        return -EINVAL, b""
    return 0, (1 if sk.option(optname) else 0).to_bytes(4, "little")


# Sending


def netlink_sendmsg(task: Task, sock: Socket, msg: Msghdr) -> int:
    """Send a datagram to the kernel, another socket, a group."""
    sk = nl_sk(sock)
    if msg.flags & MSG_OOB:
        return -EOPNOTSUPP
    if not msg.data:
        return -ENODATA
    scm = ScmCookie()
    err = scm_send(task, sock, msg, scm, True)
    if err < 0:
        return err
    err = _sendmsg_scm(task, sk, msg, scm)
    scm_destroy(scm, task)
    return err


def _sendmsg_scm(task: Task, sk: NetlinkSock, msg: Msghdr, scm: ScmCookie) -> int:
    portid, group = sk.dst_portid, sk.dst_group
    name = msg.name
    if name:
        if len(name) < _SOCKADDR_NL or int.from_bytes(name[:2], "little") != AF_NETLINK:
            return -EINVAL
        portid, groups = _parse_nladdr(name)
        group = _first_group(groups)
        if (group or portid) and not netlink_allowed(task, sk, True):
            return -EPERM
    if not sk.bound:
        err = netlink_autobind(task, sk)
        if err:
            return err
    if len(msg.data) > sk.sk_sndbuf - 32:
        return -EMSGSIZE
    skb = NetlinkSkb(msg.data)
    skb.portid = sk.portid
    skb.dst_group = group
    skb.creds_pid, skb.creds_uid, skb.creds_gid = scm.pid, scm.uid, scm.gid
    if group:
        netlink_broadcast(sk.sk_net, sk.sk_protocol, _copy(skb), portid, group, sk)
    return netlink_unicast(task, sk, skb, portid, bool(msg.flags & MSG_DONTWAIT))


def _copy(skb: NetlinkSkb) -> NetlinkSkb:
    other = NetlinkSkb(skb.data)
    other.portid, other.dst_group = skb.portid, skb.dst_group
    other.creds_pid, other.creds_uid, other.creds_gid = skb.creds_pid, skb.creds_uid, skb.creds_gid
    return other


def netlink_unicast(task: Task, ssk: NetlinkSock, skb: NetlinkSkb, portid: int, nonblock: bool) -> int:
    """Send to one port id, waiting for room: bytes or -errno."""
    if portid == 0:
        handler = netlink_input(ssk)
        if handler is None or not handler.has_kernel_socket:
            return -ECONNREFUSED
        netlink_rcv_skb(task, ssk, handler, skb)
        return skb.len
    timeo = 0 if nonblock else ssk.sk_sndtimeo_ns
    while True:
        sk = netlink_lookup(ssk.sk_net, ssk.sk_protocol, portid)
        if sk is None or (sk.connected and sk.dst_portid != ssk.portid):
            return -ECONNREFUSED
        size = skb.len
        if _filtered(sk, skb):
            return size
        if not _queue_full(sk, skb):
            return min(_deliver(sk, skb), 0) or size
        if timeo == 0:
            return -EAGAIN
        wait = TaskWait(task)
        sk.wait.prepare_to_wait(wait)
        if _queue_full(sk, skb) and sk.sk_socket is not None:
            timeo = task.schedule_timeout(MAX_SCHEDULE_TIMEOUT if timeo < 0 else timeo)
        sk.wait.finish_wait(wait)
        if task.signal_pending():
            return sock_intr_errno(timeo)


def _queue_full(sk: NetlinkSock, skb: NetlinkSkb) -> bool:
    """Tell whether a datagram has to wait: it does not fit beside what is there, or some were lost since the last reading."""
    used = sk.sk_rmem_alloc
    return sk.congested or (used > 0 and used + skb_head_truesize(skb.len) > sk.sk_rcvbuf)


def _deliver(sk: NetlinkSock, skb: NetlinkSkb, truesize: int = 0) -> int:
    """Queue a datagram and wake readers (netlink_sendskb)."""
    skb.truesize = truesize or skb_head_truesize(skb.len)
    skb.sk = sk
    skb.destructor = sock_rmem_free
    sk.sk_rmem_alloc += skb.truesize
    if sk.sk_receive_queue is None:
        sk.sk_receive_queue = deque()
    sk.sk_receive_queue.append(skb)
    sk.sk_data_ready()
    return skb.len


def netlink_overrun(sk: NetlinkSock) -> None:
    """A datagram was lost: say so with ENOBUFS, unless NETLINK_NO_ENOBUFS."""
    if not sk.option(NETLINK_NO_ENOBUFS) and not sk.congested:
        sk.congested = True
        sk.sk_err = ENOBUFS
        sk.sk_error_report()
    sk.sk_drops += 1


def netlink_broadcast(net: Net, protocol: int, skb: NetlinkSkb, exclude: int, group: int, ssk: NetlinkSock | None = None) -> int:
    """Give every member of a group a copy but the sender and port `exclude`: 0, -ESRCH when there is none, -ENOBUFS."""
    delivered = failure = 0
    skb.dst_group = group
    for sk in netlink_sockets(net, protocol):
        if sk is ssk or sk.portid == exclude or group not in sk.groups or sk.kernel_ino:
            continue
        if failure:
            netlink_overrun(sk)
            continue
        copy = _copy(skb)
        if _filtered(sk, copy):
            continue
        if _queue_full(sk, copy):
            netlink_overrun(sk)
            failure |= 1 if sk.option(NETLINK_BROADCAST_ERROR) else 0
            continue
        _deliver(sk, copy)
        delivered += 1
    if failure:
        return -ENOBUFS
    return 0 if delivered else -ESRCH


# The kernel's side


def netlink_rcv_skb(task: Task, ssk: NetlinkSock, handler: NetlinkInput, skb: NetlinkSkb) -> None:
    """Take the messages of a datagram one by one and answer each."""
    data = skb.payload()
    while len(data) >= NLMSG_HDRLEN:
        size = int.from_bytes(data[:4], "little")
        if size < NLMSG_HDRLEN or size > len(data):
            return
        req = NetlinkRequest(ssk.sk_net, task, ssk.portid, data[:size])
        req.strict = ssk.option(NETLINK_GET_STRICT_CHK)
        err = 0
        if req.flags & NLM_F_REQUEST and req.type >= NLMSG_MIN_TYPE:
            err = handler.rcv_msg(req)
            if req.dump is not None and not err and ssk.dump is not None:
                req.dump = None
                err = -EBUSY
            for answer in req.answers:
                _to_user(ssk, answer)
            if req.dump is not None and not err:
                ssk.dump = req.dump
                netlink_dump(ssk)
        if err or (req.flags & NLM_F_ACK and req.dump is None):
            netlink_ack(ssk, req, err)
        data = data[size + 3 & ~3 :]


def _filtered(sk: NetlinkSock, skb: NetlinkSkb) -> bool:
    """Let the socket's filter cut a message; tell whether it refused it."""
    keep = sk_filter_trim_cap(sk, skb, skb.data, 1)
    if keep < 0:
        return True
    if keep < skb.len:
        skb.data = skb.data[:keep]
        skb.len = keep
    return False


def _to_user(sk: NetlinkSock, data: bytes) -> None:
    """Send the kernel's datagram to one socket; one that cannot take it hears of the loss."""
    skb = NetlinkSkb(data)
    if _filtered(sk, skb):
        return
    if _queue_full(sk, skb):
        netlink_overrun(sk)
        return
    _deliver(sk, skb)


def netlink_ack(sk: NetlinkSock, req: NetlinkRequest, err: int) -> None:
    """Acknowledge a request, or say why it failed."""
    flags = 0
    quoted = req.data
    if not err or sk.option(NETLINK_CAP_ACK):
        flags = NLM_F_CAPPED
        quoted = quoted[:NLMSG_HDRLEN]
    tlvs = b""
    if sk.option(NETLINK_EXT_ACK) and req.ext_msg:
        tlvs = nlattr(NLMSGERR_ATTR_MSG, req.ext_msg.encode() + b"\0")
        if err and req.ext_offset >= 0:
            tlvs += nlattr(NLMSGERR_ATTR_OFFS, req.ext_offset.to_bytes(4, "little"))
        flags |= NLM_F_ACK_TLVS
    payload = err.to_bytes(4, "little", signed=True) + quoted
    payload += bytes(-len(payload) & 3) + tlvs
    _to_user(sk, nlmsg(NLMSG_ERROR, flags, payload, req.seq, sk.portid))


def netlink_dump(sk: NetlinkSock) -> None:
    """Put the next datagram of the dump into the queue."""
    dump = sk.dump
    if dump is None or sk.sk_rmem_alloc >= sk.sk_rcvbuf:
        return
    room = max(dump.min_alloc, _GOODSIZE)
    if room < sk.max_recvmsg_len:
        room = sk.max_recvmsg_len
    view: GenerationView | None = dump.view
    changed = view is not None and view.generation() != dump.generation
    parts: list[bytes] = []
    size = 0
    while dump.pos < len(dump.messages) and size + len(dump.messages[dump.pos]) <= room:
        part = dump.messages[dump.pos]
        parts.append(_interrupted(part) if changed else part)
        size += len(part)
        dump.pos += 1
    last = dump.pos == len(dump.messages) and not (dump.done_alone and parts) and size + 20 <= room
    if last:
        flags = NLM_F_MULTI | (NLM_F_DUMP_INTR if changed else 0)
        parts.append(nlmsg(NLMSG_DONE, flags, dump.done_errno.to_bytes(4, "little", signed=True), dump.seq, dump.portid))
        sk.dump = None
    skb = NetlinkSkb(b"".join(parts))
    if not _filtered(sk, skb):
        _deliver(sk, skb, skb_head_truesize(room))


def _interrupted(part: bytes) -> bytes:
    """Mark a message of a dump whose tables changed."""
    size, type_, flags, seq, portid = NLMSGHDR.unpack_from(part, 0)
    return NLMSGHDR.pack(size, type_, flags | NLM_F_DUMP_INTR, seq, portid) + part[NLMSG_HDRLEN:]


# Receiving


def netlink_recvmsg(task: Task, sock: Socket, msg: Msghdr, flags: int) -> int:
    """Receive a datagram; reading makes room for more of a dump."""
    sk = nl_sk(sock)
    if flags & MSG_OOB:
        return -EOPNOTSUPP
    err, skb = skb_recv_datagram(task, sk, flags)
    if skb is None:
        _rcv_wake(sk)
        return err
    assert isinstance(skb, NetlinkSkb)
    sk.max_recvmsg_len = min(max(sk.max_recvmsg_len, msg.size), _DUMP_MAX)
    data = skb.payload()
    copied = len(data)
    if msg.size < copied:
        msg.out_flags |= MSG_TRUNC
        copied = msg.size
    msg.chunks.append(data[:copied])
    msg.name = _emit_nladdr(skb.portid, 1 << skb.dst_group - 1 if 0 < skb.dst_group <= 32 else 0)
    if sk.option(NETLINK_PKTINFO):
        msg.put_cmsg(SOL_NETLINK, NETLINK_PKTINFO, skb.dst_group.to_bytes(4, "little"))
    if flags & MSG_TRUNC:
        copied = len(data)
    if sk.sk_scm_recv_flags & SK_SCM_CREDENTIALS:
        scm = ScmCookie()
        scm.pid, scm.uid, scm.gid = skb.creds_pid, skb.creds_uid, skb.creds_gid
        scm_recv(task, sock, msg, scm)
    skb_free_datagram(sk, skb)
    if sk.dump is not None and sk.sk_rmem_alloc <= sk.sk_rcvbuf >> 1:
        netlink_dump(sk)
    _rcv_wake(sk)
    return copied


def _rcv_wake(sk: NetlinkSock) -> None:
    """Let senders go on when the queue is empty."""
    if not sk.sk_receive_queue:
        sk.congested = False
    if not sk.congested:
        sk.wait.wake_up(0)


# Registration


class NetlinkFamily(NetProtoFamily):
    """AF_NETLINK in the table of families."""

    family = AF_NETLINK

    def __init__(self, table: NetlinkProtocols) -> None:
        self.table = table

    def create(self, task: Task, net: Net, sock: Socket, protocol: int, kern: int) -> int:
        """socket(2)."""
        if sock.type not in (SOCK_RAW, SOCK_DGRAM):
            return -ESOCKTNOSUPPORT
        if not 0 <= protocol < MAX_LINKS or self.table.inputs[protocol] is None:
            return -EPROTONOSUPPORT
        sock.ops = _OPS
        sk = NetlinkSock(net, self.table.prot, sock.type, protocol)
        sk_alloc(sk, kern)
        sock_init_data(sock, sk)
        net.sock_prot_inuse_add(sk.sk_prot, 1)
        return 0


_OPS: Final = NetlinkOps()


class _NetlinkPernet(PernetOperations):
    """Gives each namespace the kernel's sockets."""

    def __init__(self, table: NetlinkProtocols) -> None:
        self.table = table

    def init(self, net: Net) -> None:
        net.nl_socks = [[] for _ in range(MAX_LINKS)]
        for protocol in range(MAX_LINKS):
            handler = self.table.inputs[protocol]
            if handler is not None and handler.has_kernel_socket:
                sk = NetlinkSock(net, self.table.prot, SOCK_DGRAM, protocol)
                sk.kernel_ino = net.kernel.new_ns_inode()
                sk.bound = True
                net.nl_socks[protocol].append(sk)


class UsersockInput(NetlinkInput):
    """NETLINK_USERSOCK: programs among themselves."""

    def __init__(self) -> None:
        super().__init__(32, nonroot_send=True)
        self.has_kernel_socket = False


def netlink_init(kernel: Kernel, inputs: list[tuple[int, NetlinkInput]]) -> NetlinkProtocols:
    """Register the family with the kernel's protocols."""
    table = NetlinkProtocols()
    kernel.netlink = table
    table.inputs[NETLINK_USERSOCK] = UsersockInput()
    for protocol, handler in inputs:
        table.inputs[protocol] = handler
    proto_register(kernel, table.prot)
    sock_register(kernel, NetlinkFamily(table))
    register_pernet_subsys(kernel, _NetlinkPernet(table))
    return table
