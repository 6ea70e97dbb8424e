"""netlink_diag: AF_NETLINK sockets by sock_diag (Linux: net/netlink/diag.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32
from twinsock.kernel.net.core.sock_diag import SockDiagHandler
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.kernel.net.netlink.af_netlink import MAX_LINKS, NetlinkSock, netlink_sockets
from twinsock.uapi.errno import EINVAL, ENOENT, EOPNOTSUPP
from twinsock.uapi.netlink import (
    NETLINK_BROADCAST_ERROR,
    NETLINK_CAP_ACK,
    NETLINK_LISTEN_ALL_NSID,
    NETLINK_NO_ENOBUFS,
    NETLINK_PKTINFO,
)
from twinsock.uapi.netlink_diag import (
    NDIAG_FLAG_BROADCAST_ERROR,
    NDIAG_FLAG_CAP_ACK,
    NDIAG_FLAG_CB_RUNNING,
    NDIAG_FLAG_LISTEN_ALL_NSID,
    NDIAG_FLAG_NO_ENOBUFS,
    NDIAG_FLAG_PKTINFO,
    NDIAG_PROTO_ALL,
    NDIAG_SHOW_FLAGS,
    NDIAG_SHOW_GROUPS,
    NDIAG_SHOW_MEMINFO,
    NETLINK_DIAG_FLAGS,
    NETLINK_DIAG_GROUPS,
    NETLINK_DIAG_MEMINFO,
)
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED
from twinsock.wire.netlink_diag import NetlinkDiagMsg, parse_req

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_FLAGS: Final[tuple[tuple[int, int], ...]] = (
    (NETLINK_PKTINFO, NDIAG_FLAG_PKTINFO),
    (NETLINK_BROADCAST_ERROR, NDIAG_FLAG_BROADCAST_ERROR),
    (NETLINK_NO_ENOBUFS, NDIAG_FLAG_NO_ENOBUFS),
    (NETLINK_LISTEN_ALL_NSID, NDIAG_FLAG_LISTEN_ALL_NSID),
    (NETLINK_CAP_ACK, NDIAG_FLAG_CAP_ACK),
)


class NetlinkDiag(SockDiagHandler):
    """`netlink_diag_handler`."""

    def dump(self, req: NetlinkRequest) -> int:
        """List the netlink sockets of one protocol, or of all; there is no question for one."""
        asked = parse_req(req.payload)
        if asked is None:
            return -EINVAL
        if not req.wants_dump():
            return -EOPNOTSUPP
        if asked.protocol != NDIAG_PROTO_ALL and asked.protocol >= MAX_LINKS:
            return req.start_dump_failed(-ENOENT)
        messages = []
        for protocol in range(MAX_LINKS):
            if asked.protocol in (NDIAG_PROTO_ALL, protocol):
                found = netlink_sockets(req.net, protocol)
                found += [sk for sk in found if sk.groups]  # Linux: members of groups stand in a second list too
                messages += [req.part(SOCK_DIAG_BY_FAMILY, _fill(sk, asked.show).emit()) for sk in found]
        return req.start_dump(messages, True)


def _fill(sk: NetlinkSock, show: int) -> NetlinkDiagMsg:
    attributes: list[tuple[int, bytes]] = []
    if show & NDIAG_SHOW_GROUPS and sk.ngroups:
        size = (sk.ngroups + 63) // 64 * 8
        attributes.append((NETLINK_DIAG_GROUPS, sum([1 << group - 1 for group in sk.groups]).to_bytes(size, "little")))
    if show & NDIAG_SHOW_MEMINFO:
        attributes.append((NETLINK_DIAG_MEMINFO, b"".join([nla_u32(value) for value in sk_get_meminfo(sk)])))
    if show & NDIAG_SHOW_FLAGS:
        flags = NDIAG_FLAG_CB_RUNNING if sk.dump is not None else 0
        for option, flag in _FLAGS:
            flags |= flag if sk.option(option) else 0
        attributes.append((NETLINK_DIAG_FLAGS, nla_u32(flags)))
    msg = NetlinkDiagMsg(sk.sk_protocol, sk.portid, sk.kernel_ino or sk.sock_i_ino(), attributes)
    msg.type = sk.sk_type
    msg.state = TCP_ESTABLISHED if sk.connected else TCP_CLOSE
    msg.dst_portid, msg.dst_group = sk.dst_portid, sk.dst_group
    msg.cookie = sk.sock_gen_cookie()
    return msg
