"""sock_diag for AF_INET and AF_INET6: requests, filter bytecode, replies (Linux: net/ipv4/inet_diag.c; sheet 07, 7.6).

Each protocol adds an `InetDiagHandler` (tcp_diag, udp_diag, raw_diag). Left out: INET_DIAG_REQ_SK_BPF_STORAGES, MD5 keys, and the
numbers of BBR, Vegas and DCTCP, which the twin does not have."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32, nla_u64
from twinsock.kernel.net.core.request_sock import RequestSock
from twinsock.kernel.net.core.sock import SOCK_BINDPORT_LOCK, Sock, SockCommon
from twinsock.kernel.net.core.sock_diag import SockDiagHandler
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.kernel.net.ipv4.inet_diag_bc import DiagEntry, inet_diag_bc_audit, inet_diag_bc_run
from twinsock.kernel.net.ipv4.inet_sock import (
    INET_FLAGS_BIND_ADDRESS_NO_PORT,
    INET_FLAGS_DEFER_CONNECT,
    INET_FLAGS_FREEBIND,
    INET_FLAGS_HDRINCL,
    INET_FLAGS_IS_ICSK,
    INET_FLAGS_MC_ALL,
    INET_FLAGS_MC_LOOP,
    INET_FLAGS_NODEFRAG,
    INET_FLAGS_RECVERR,
    INET_FLAGS_RECVERR_RFC4884,
    INET_FLAGS_TRANSPARENT,
    InetSock,
)
from twinsock.kernel.net.ipv4.inet_timewait_sock import InetTimewaitSock
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EINVAL, ENOENT, EPERM
from twinsock.uapi.inet_diag import (
    INET_DIAG_CGROUP_ID,
    INET_DIAG_CLASS_ID,
    INET_DIAG_MARK,
    INET_DIAG_MEMINFO,
    INET_DIAG_REQ_BYTECODE,
    INET_DIAG_SHUTDOWN,
    INET_DIAG_SKMEMINFO,
    INET_DIAG_SKV6ONLY,
    INET_DIAG_SOCKOPT,
    INET_DIAG_TCLASS,
    INET_DIAG_TOS,
)
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.uapi.tcp import TCP_CLOSE, TCP_LISTEN
from twinsock.wire.inet_diag import REQ_SIZE, InetDiagMsg, InetDiagReq, parse_compat_req, parse_req
from twinsock.wire.netlink import parse_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


CGROUP_ROOT_ID: Final = 1  # every task of the twin is in the root of the cgroup tree (D-diag-1)
_SOCKOPT_BITS: Final[tuple[int, ...]] = (
    INET_FLAGS_RECVERR,
    INET_FLAGS_IS_ICSK,
    INET_FLAGS_FREEBIND,
    INET_FLAGS_HDRINCL,
    INET_FLAGS_MC_LOOP,
    INET_FLAGS_TRANSPARENT,
    INET_FLAGS_MC_ALL,
    INET_FLAGS_NODEFRAG,
    INET_FLAGS_BIND_ADDRESS_NO_PORT,
    INET_FLAGS_RECVERR_RFC4884,
    INET_FLAGS_DEFER_CONNECT,
)


class InetDiagHandler:
    """`struct inet_diag_handler`: the sockets of one protocol."""

    def sockets(self, req: NetlinkRequest, asked: InetDiagReq) -> list[SockCommon]:
        """List the sockets in the states asked for, in the order of the tables."""
        raise NotImplementedError

    def find(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find the socket that a 4-tuple belongs to."""
        raise NotImplementedError

    def dump_one(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find the socket to tell about, which for some protocols is another one than the socket to destroy."""
        return self.find(req, asked)

    def fill_info(self, sk: SockCommon, msg: InetDiagMsg, ext: int, net_admin: bool) -> None:
        """Add queues, timers and the protocol's own attributes."""

    def destroy(self, req: NetlinkRequest, sk: SockCommon) -> int:
        """Close a connection from outside."""
        raise NotImplementedError


class InetDiag(SockDiagHandler):
    """Both Internet families of one kernel."""

    has_destroy = True

    def __init__(self) -> None:
        self.handlers: dict[int, InetDiagHandler] = {}  # by protocol number

    def dump(self, req: NetlinkRequest) -> int:
        """A list, or exactly one socket."""
        asked = parse_req(req.payload)
        if asked is None:
            return -EINVAL
        if req.wants_dump():
            return self._dump(req, asked, asked.bytecode if _has_bytecode(req, REQ_SIZE) else None)
        err, sk = self._find(req, asked, True)
        if sk is None:
            return err
        msg = inet_diag_fill(self.handlers[asked.protocol], sk, asked.ext, req.capable(CAP_NET_ADMIN))
        req.answer(SOCK_DIAG_BY_FAMILY, 0, msg.emit())
        return 0

    def destroy(self, req: NetlinkRequest) -> int:
        """Close the socket that is named."""
        asked = parse_req(req.payload)
        if asked is None:
            return -EINVAL
        err, sk = self._find(req, asked, False)
        if sk is None:
            return err
        if not req.capable(CAP_NET_ADMIN):
            return -EPERM
        return self.handlers[asked.protocol].destroy(req, sk)

    def rcv_compat(self, req: NetlinkRequest) -> int:
        """The request from before address families, which names TCP by its message type."""
        asked = parse_compat_req(req.payload)
        if asked is None:
            return -EINVAL
        if req.wants_dump():
            return self._dump(req, asked, asked.bytecode if asked.bytecode else None)
        err, sk = self._find(req, asked, True)
        if sk is None:
            return err
        msg = inet_diag_fill(self.handlers[asked.protocol], sk, asked.ext, req.capable(CAP_NET_ADMIN))
        req.answer(req.type, 0, msg.emit())
        return 0

    def _find(self, req: NetlinkRequest, asked: InetDiagReq, to_tell: bool) -> tuple[int, SockCommon | None]:
        handler = self.handlers.get(asked.protocol)
        if handler is None:
            return -ENOENT, None
        if asked.family not in (AF_INET, AF_INET6):
            return -EINVAL, None
        sk = handler.dump_one(req, asked) if to_tell else handler.find(req, asked)
        if sk is None or not cookie_matches(sk, asked.cookie):
            return -ENOENT, None
        return 0, sk

    def _dump(self, req: NetlinkRequest, asked: InetDiagReq, bytecode: bytes | None) -> int:
        admin = req.capable(CAP_NET_ADMIN)
        if bytecode is not None:
            err = inet_diag_bc_audit(bytecode, admin)
            if err:
                return err
        handler = self.handlers.get(asked.protocol)
        if handler is None:
            return req.start_dump_failed(-ENOENT)
        messages: list[bytes] = []
        for sk in handler.sockets(req, asked):
            if asked.family not in (AF_UNSPEC, sk.sk_family):
                continue
            if (asked.sport and asked.sport != sk.sk_num) or (asked.dport and asked.dport != sk.sk_dport):
                continue
            if bytecode is not None and not inet_diag_bc_run(bytecode, diag_entry(sk)):
                continue
            messages.append(req.part(req.type, inet_diag_fill(handler, sk, asked.ext, admin).emit()))
        return req.start_dump(messages, True)


def _has_bytecode(req: NetlinkRequest, at: int) -> bool:
    return any(type_ == INET_DIAG_REQ_BYTECODE for type_, _ in parse_attributes(req.payload, at, len(req.payload)))


def cookie_matches(sk: SockCommon, cookie: int) -> bool:
    """Tell whether the cookie asked for is the socket's, or was left open."""
    return cookie == 0xFFFFFFFFFFFFFFFF or sk.sock_gen_cookie() == cookie


def _addresses(sk: SockCommon) -> tuple[bytes, bytes]:
    if sk.sk_family == AF_INET6:
        return sk.sk_v6_rcv_saddr, sk.sk_v6_daddr
    return sk.sk_rcv_saddr.to_bytes(4, "big"), sk.sk_daddr.to_bytes(4, "big")


def diag_entry(sk: SockCommon) -> DiagEntry:
    """Collect what filter bytecode asks of a socket."""
    entry = DiagEntry()
    entry.family = sk.sk_family
    entry.saddr, entry.daddr = _addresses(sk)
    entry.sport, entry.dport = sk.sk_num, sk.sk_dport
    entry.ifindex = sk.sk_bound_dev_if
    entry.mark = socket_mark(sk)
    entry.bound_port = isinstance(sk, Sock) and bool(sk.sk_userlocks & SOCK_BINDPORT_LOCK)
    entry.cgroup_id = CGROUP_ROOT_ID if isinstance(sk, Sock) else 0
    return entry


def socket_mark(sk: SockCommon) -> int:
    """Return the mark of a socket, request or mini-socket."""
    if isinstance(sk, Sock):
        return sk.sk_mark
    if isinstance(sk, RequestSock):
        return sk.ir_mark
    return 0


def inet_diag_fill(handler: InetDiagHandler, sk: SockCommon, ext: int, net_admin: bool) -> InetDiagMsg:
    """Describe one socket."""
    msg = InetDiagMsg(sk.sk_family, sk.sk_state)
    msg.src, msg.dst = _addresses(sk)
    msg.sport, msg.dport = sk.sk_num, sk.sk_dport
    msg.ifindex = sk.sk_bound_dev_if
    msg.cookie = sk.sock_gen_cookie()
    if isinstance(sk, InetSock):
        _fill_attributes(sk, msg, ext, net_admin)
    elif net_admin:
        msg.attributes.append((INET_DIAG_MARK, nla_u32(socket_mark(sk))))
    if isinstance(sk, InetTimewaitSock):
        msg.state = sk.tw_substate
        msg.timer = 3
    handler.fill_info(sk, msg, ext, net_admin)
    return msg


def wants(ext: int, attribute: int) -> bool:
    """Tell whether a request asks for an optional attribute."""
    return bool(ext >> attribute - 1 & 1)


def _fill_attributes(sk: InetSock, msg: InetDiagMsg, ext: int, net_admin: bool) -> None:
    """Add what every full socket has, in Linux's order."""
    attributes = msg.attributes
    attributes.append((INET_DIAG_SHUTDOWN, bytes((sk.sk_shutdown,))))
    if wants(ext, INET_DIAG_TOS):
        attributes.append((INET_DIAG_TOS, bytes((sk.tos,))))
    if sk.sk_family == AF_INET6:
        if wants(ext, INET_DIAG_TCLASS):
            attributes.append((INET_DIAG_TCLASS, bytes((sk.pinet6.tclass if sk.pinet6 is not None else 0,))))
        if sk.sk_state in (TCP_LISTEN, TCP_CLOSE):
            attributes.append((INET_DIAG_SKV6ONLY, bytes((sk.sk_ipv6only,))))
    if net_admin:
        attributes.append((INET_DIAG_MARK, nla_u32(sk.sk_mark)))
    if wants(ext, INET_DIAG_CLASS_ID) or wants(ext, INET_DIAG_TCLASS):
        attributes.append((INET_DIAG_CLASS_ID, nla_u32(sk.sk_priority)))
    attributes.append((INET_DIAG_CGROUP_ID, nla_u64(CGROUP_ROOT_ID)))
    bits = sum([1 << at for at, flag in enumerate(_SOCKOPT_BITS) if sk.inet_test_bit(flag)])
    attributes.append((INET_DIAG_SOCKOPT, bits.to_bytes(2, "little")))
    msg.uid = sk.sock_i_uid()
    msg.inode = sk.sock_i_ino()
    if wants(ext, INET_DIAG_MEMINFO):
        meminfo = (sk.sk_rmem_alloc, sk.sk_wmem_queued, sk.sk_forward_alloc, sk.sk_wmem_alloc)
        attributes.append((INET_DIAG_MEMINFO, b"".join([nla_u32(value) for value in meminfo])))
    if wants(ext, INET_DIAG_SKMEMINFO):
        attributes.append((INET_DIAG_SKMEMINFO, b"".join([nla_u32(value) for value in sk_get_meminfo(sk)])))
