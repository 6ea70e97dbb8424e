"""packet_diag: AF_PACKET sockets by sock_diag (Linux: net/packet/diag.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32
from twinsock.kernel.net.core.sock_diag import SockDiagHandler
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.kernel.net.packet.af_packet import PacketSock, packet_sockets
from twinsock.uapi.errno import EINVAL, EOPNOTSUPP
from twinsock.uapi.if_packet import PACKET_AUXDATA, PACKET_ORIGDEV
from twinsock.uapi.packet_diag import (
    PACKET_DIAG_INFO,
    PACKET_DIAG_MCLIST,
    PACKET_DIAG_MEMINFO,
    PACKET_DIAG_UID,
    PACKET_SHOW_INFO,
    PACKET_SHOW_MCLIST,
    PACKET_SHOW_MEMINFO,
    PDI_AUXDATA,
    PDI_ORIGDEV,
    PDI_RUNNING,
)
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.packet_diag import INFO, PacketDiagMsg, parse_req


class PacketDiag(SockDiagHandler):
    """`packet_diag_handler`."""

    def dump(self, req: NetlinkRequest) -> int:
        """List the packet sockets; there is no question for one."""
        asked = parse_req(req.payload)
        if asked is None or req.payload[1]:
            return -EINVAL
        if not req.wants_dump():
            return -EOPNOTSUPP
        messages = [req.part(SOCK_DIAG_BY_FAMILY, _fill(sk, asked.show).emit()) for sk in packet_sockets(req.net)]
        return req.start_dump(messages, True)


def _fill(sk: PacketSock, show: int) -> PacketDiagMsg:
    attributes: list[tuple[int, bytes]] = []
    if show & PACKET_SHOW_INFO:
        flags = PDI_RUNNING if sk.running else 0
        flags |= PDI_AUXDATA if sk.option(PACKET_AUXDATA) else 0
        flags |= PDI_ORIGDEV if sk.option(PACKET_ORIGDEV) else 0
        attributes.append((PACKET_DIAG_INFO, INFO.pack(sk.ifindex, 0, 0, 0, 0, flags)))
        attributes.append((PACKET_DIAG_UID, nla_u32(sk.sock_i_uid())))
    if show & PACKET_SHOW_MCLIST:
        rows = [
            nla_u32(known.ifindex)
            + nla_u32(known.count)
            + known.type.to_bytes(2, "little")
            + len(known.addr).to_bytes(2, "little")
            + (known.addr + bytes(32))[:32]
            for known in reversed(sk.memberships)
        ]
        attributes.append((PACKET_DIAG_MCLIST, b"".join(rows)))
    if show & PACKET_SHOW_MEMINFO:
        attributes.append((PACKET_DIAG_MEMINFO, b"".join([nla_u32(value) for value in sk_get_meminfo(sk)])))
    return PacketDiagMsg(sk.sk_type, sk.num, sk.sock_i_ino(), sk.sock_gen_cookie(), attributes)
