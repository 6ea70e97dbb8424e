"""inet_diag for UDP, UDP-Lite and RAW (Linux: net/ipv4/udp_diag.c, raw_diag.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest
from twinsock.kernel.net.core.sock import IN6ADDR_ANY, Sock, SockCommon
from twinsock.kernel.net.ipv4.inet_diag import InetDiagHandler
from twinsock.kernel.net.ipv4.inet_sock import InetSock
from twinsock.kernel.net.ipv4.raw import RawProto
from twinsock.kernel.net.ipv4.udp_input import udp_sockets
from twinsock.uapi.errno import ECONNABORTED, ENOENT, EOPNOTSUPP
from twinsock.uapi.in_ import IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET, AF_INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.wire.inet_diag import InetDiagMsg, InetDiagReq


class UdpDiag(InetDiagHandler):
    """`udp_diag_handler`, `udplite_diag_handler`."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol

    def all(self, req: NetlinkRequest) -> list[SockCommon]:
        """List every socket of the protocol."""
        found: list[SockCommon] = []
        for family in (AF_INET, AF_INET6):
            found += [sk for _, sk in udp_sockets(req.net, self.protocol, family)]
        return found

    def sockets(self, req: NetlinkRequest, asked: InetDiagReq) -> list[SockCommon]:
        """List the sockets in the states asked for."""
        return [sk for sk in self.all(req) if asked.states >> sk.sk_state & 1]

    def find(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find the socket that a datagram would reach: connected to the sender first, then by address, then the wildcard."""
        best: SockCommon | None = None
        best_score = 0
        for sk in self.all(req):
            score = _score(sk, asked)
            if score > best_score:
                best, best_score = sk, score
        return best

    def dump_one(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find the receiver of what `src` sends to `dst`: the other way round than to destroy.

        Measured: 6.18, tests/parity/test_diag_rows.py"""
        asked.src, asked.dst = asked.dst, asked.src
        asked.sport, asked.dport = asked.dport, asked.sport
        return self.find(req, asked)

    def fill_info(self, sk: SockCommon, msg: InetDiagMsg, ext: int, net_admin: bool) -> None:
        """Add the queues."""
        if isinstance(sk, Sock):
            msg.rqueue, msg.wqueue = sk.sk_rmem_alloc - sk.forward_deficit, sk.sk_wmem_alloc

    def destroy(self, req: NetlinkRequest, sk: SockCommon) -> int:
        """Disconnect the socket with ECONNABORTED (udp_abort); RAW sockets too (raw_abort)."""
        if self.protocol == IPPROTO_UDPLITE:
            return -EOPNOTSUPP
        if not isinstance(sk, InetSock):
            return -ENOENT
        sk.sk_err = ECONNABORTED
        sk.sk_error_report()
        sk.sk_prot.disconnect(sk, 0)
        return 0


def _score(sk: SockCommon, asked: InetDiagReq) -> int:
    """Rate a socket as the receiver of what goes from `dst` to `src`, 0: not at all."""
    if sk.sk_family != asked.family or sk.sk_num != asked.sport:
        return 0
    if sk.sk_bound_dev_if not in (0, asked.ifindex) or sk.sk_dport not in (0, asked.dport):
        return 0
    score = 1 + (1 if sk.sk_dport else 0) + (1 if sk.sk_bound_dev_if else 0)
    if sk.sk_family == AF_INET:
        local, remote = sk.sk_rcv_saddr.to_bytes(4, "big"), sk.sk_daddr.to_bytes(4, "big")
        unset = bytes(4)
    else:
        local, remote, unset = sk.sk_v6_rcv_saddr, sk.sk_v6_daddr, IN6ADDR_ANY
    if local not in (unset, asked.src) or remote not in (unset, asked.dst):
        return 0
    return score + (4 if local != unset else 0) + (4 if remote != unset else 0)


class RawDiag(UdpDiag):
    """`raw_diag_handler`: the request's protocol is IPPROTO_RAW, the socket's own stands where ports do."""

    def all(self, req: NetlinkRequest) -> list[SockCommon]:
        """List the RAW sockets of both families."""
        found: list[SockCommon] = []
        for prot in req.net.kernel.protos:
            if isinstance(prot, RawProto):
                found += [sk for _, sk in prot.sockets(req.net)]
        return found

    def find(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find a socket by protocol and addresses."""
        for sk in self.all(req):
            if _score_raw(sk, asked):
                return sk
        return None

    def dump_one(self, req: NetlinkRequest, asked: InetDiagReq) -> SockCommon | None:
        """Find the same."""
        return self.find(req, asked)


def _score_raw(sk: SockCommon, asked: InetDiagReq) -> bool:
    if sk.sk_family != asked.family or sk.sk_bound_dev_if not in (0, asked.ifindex):
        return False
    if sk.sk_family == AF_INET:
        local, remote, unset = sk.sk_rcv_saddr.to_bytes(4, "big"), sk.sk_daddr.to_bytes(4, "big"), bytes(4)
    else:
        local, remote, unset = sk.sk_v6_rcv_saddr, sk.sk_v6_daddr, IN6ADDR_ANY
    return local in (unset, asked.src) and remote in (unset, asked.dst)
