"""Inodes of the sockets that a namespace's own tables list: what need not be asked one descriptor at a time."""

from __future__ import annotations

from struct import Struct

from twinsock.host.netlink import NetlinkSocket
from twinsock.uapi.inet_diag import TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NETLINK_SOCK_DIAG, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_MIN_TYPE
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.wire.inet_diag import ALL_STATES, InetDiagReq
from twinsock.wire.netlink import DumpInterrupted, nlmsg, spans
from twinsock.wire.netlink_diag import NetlinkDiagReq
from twinsock.wire.packet_diag import PacketDiagReq
from twinsock.wire.unix_diag import UnixDiagReq

_INODE = Struct("=I")
_INET, _UNIX, _PACKET, _NETLINK = 68, 4, 4, 16  # where a reply has the inode
_UDP, _UDPLITE, _TCP = 17, 136, 6


def listed_inodes() -> set[int]:
    """Collect the inodes of the calling thread's namespace. What has no handler, or fails, is simply not in it."""
    found: set[int] = set()
    questions = [(TCPDIAG_GETSOCK, InetDiagReq(AF_UNSPEC, _TCP).emit_compat(), _INET)]
    for protocol in (_UDP, _UDPLITE):
        for family in (AF_INET, AF_INET6):
            questions.append((SOCK_DIAG_BY_FAMILY, InetDiagReq(family, protocol).emit(), _INET))
    questions.append((SOCK_DIAG_BY_FAMILY, UnixDiagReq(ALL_STATES, 0).emit(), _UNIX))
    questions.append((SOCK_DIAG_BY_FAMILY, PacketDiagReq(0).emit(), _PACKET))
    questions.append((SOCK_DIAG_BY_FAMILY, NetlinkDiagReq(0).emit(), _NETLINK))
    sock = NetlinkSocket(NETLINK_SOCK_DIAG)
    try:
        for type_, payload, offset in questions:
            try:
                for view in sock.ask(nlmsg(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)):
                    for kind, _flags, start, end in spans(view):
                        if kind >= NLMSG_MIN_TYPE and start + offset + 4 <= end:
                            found.add(_INODE.unpack_from(view, start + offset)[0])
            except (OSError, DumpInterrupted):
                continue
    finally:
        sock.close()
    return found
