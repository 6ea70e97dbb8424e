"""What packet_diag and /proc/net/packet tell of a socket (Linux: net/packet/diag.c, packet_seq_show() of af_packet.c; sheet 07, 7.4)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest
from twinsock.kernel.net.core.sock_diag import SockDiagHandler
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.kernel.net.packet.af_packet import packet_sockets
from twinsock.kernel.net.packet.packet_sock import PacketSock
from twinsock.uapi import packet_diag as pd
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EINVAL, EOPNOTSUPP
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.packet_diag import INFO, PacketDiagMsg, parse_req

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net

_HEAD = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"


def packet_seq_text(net: Net) -> str:
    """Return /proc/net/packet."""
    lines = [_HEAD]
    for po in packet_sockets(net):
        lines.append(
            f"{len(lines):016x} {_refs(po):<6d} {po.sk_type:<4d} {po.num:04x}   {po.ifindex:<5d} {1 if po.running else 0:1d} "
            f"{po.sk_rmem_alloc:<6d} {po.sock_i_uid():<6d} {po.sock_i_ino():<6d}\n"
        )
    return "".join(lines)


def _refs(po: PacketSock) -> int:
    """Return the references: the table's beside the file's, and one while frames may come."""
    return po.sk_refcnt + 1 + (1 if po.running else 0)


class PacketDiag(SockDiagHandler):
    """`packet_diag_handler`."""

    def dump(self, req: NetlinkRequest) -> int:
        """List the sockets; asking for one is not possible."""
        asked = parse_req(req.payload)
        if asked is None or req.payload[1]:
            return -EINVAL
        if not req.wants_dump():
            return -EOPNOTSUPP
        may_see_filter = req.capable(CAP_NET_ADMIN)
        found = [sk_diag_fill(po, asked.show, may_see_filter) for po in packet_sockets(req.net)]
        return req.start_dump([req.part(SOCK_DIAG_BY_FAMILY, msg.emit()) for msg in found], True)


def sk_diag_fill(po: PacketSock, show: int, may_see_filter: bool) -> PacketDiagMsg:
    """Describe one socket with the attributes asked for, in Linux's order."""
    attributes: list[tuple[int, bytes]] = []
    if show & pd.PACKET_SHOW_INFO:
        attributes.append((pd.PACKET_DIAG_INFO, _info(po)))
        attributes.append((pd.PACKET_DIAG_UID, po.sk_uid.to_bytes(4, "little")))
    if show & pd.PACKET_SHOW_MCLIST:
        attributes.append((pd.PACKET_DIAG_MCLIST, _mclist(po)))
    if show & pd.PACKET_SHOW_FANOUT and po.fanout is not None:
        attributes.append((pd.PACKET_DIAG_FANOUT, (po.fanout.id | po.fanout.type << 16).to_bytes(4, "little")))
    if show & pd.PACKET_SHOW_MEMINFO:
        attributes.append((pd.PACKET_DIAG_MEMINFO, b"".join([value.to_bytes(4, "little") for value in sk_get_meminfo(po)])))
    if show & pd.PACKET_SHOW_FILTER and may_see_filter:
        attributes.append((pd.PACKET_DIAG_FILTER, b"" if po.sk_filter is None else po.sk_filter.raw))
    return PacketDiagMsg(po.sk_type, po.num, po.sock_i_ino(), po.sock_gen_cookie(), attributes)


def _info(po: PacketSock) -> bytes:
    flags = pd.PDI_RUNNING if po.running else 0
    flags |= pd.PDI_AUXDATA if po.auxdata else 0
    flags |= pd.PDI_ORIGDEV if po.origdev else 0
    flags |= pd.PDI_VNETHDR if po.vnet_hdr_sz else 0
    flags |= pd.PDI_LOSS if po.tp_loss else 0
    return INFO.pack(po.ifindex & 0xFFFFFFFF, po.tp_version, po.tp_reserve, po.copy_thresh & 0xFFFFFFFF, po.tp_tstamp & 0xFFFFFFFF, flags)


def _mclist(po: PacketSock) -> bytes:
    """Return an array of `struct packet_diag_mclist`."""
    out = b""
    for entry in po.mclist:
        out += (entry.ifindex & 0xFFFFFFFF).to_bytes(4, "little") + entry.count.to_bytes(4, "little")
        out += entry.type.to_bytes(2, "little") + len(entry.addr).to_bytes(2, "little") + entry.addr.ljust(32, b"\0")
    return out
