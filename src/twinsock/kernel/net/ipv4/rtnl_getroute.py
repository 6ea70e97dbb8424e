"""`ip route get`: which way a packet would go (Linux: inet_rtm_getroute(), rt_fill_info() of net/ipv4/route.c).

Left out (D-rtnl-1): the way of a packet that arrives (RTA_IIF)."""

from __future__ import annotations

from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32
from twinsock.kernel.net.ipv4.fib_table import FibResult
from twinsock.kernel.net.ipv4.route import Flowi4, Rtable, ip_route_output_flow
from twinsock.kernel.net.ipv4.rtnl_dump import fib_dump_info, put_metrics
from twinsock.uapi.errno import EINVAL, ENETUNREACH, EOPNOTSUPP, ERANGE
from twinsock.uapi.rtnetlink import (
    RT_TABLE_MAIN,
    RTA_CACHEINFO,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IIF,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_SRC,
    RTA_TABLE,
    RTA_UID,
    RTM_F_CLONED,
    RTM_F_FIB_MATCH,
    RTM_F_LOOKUP_TABLE,
    RTM_F_NOTIFY,
    RTM_NEWROUTE,
)
from twinsock.uapi.socket import AF_INET
from twinsock.wire.rtnetlink import RtMsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_POLICY: Final = "Attribute failed policy validation"
_CLIENTS: Final = 2  # who holds the route while it is described
CACHEINFO_SIZE: Final = 32


def number(attributes: dict[int, bytes], type_: int, default: int = 0) -> int:
    """Return an attribute's 32 bits."""
    return int.from_bytes(attributes[type_][:4], "little") if type_ in attributes else default


def inet_rtm_getroute(req: NetlinkRequest, msg: RtMsg) -> int:
    """Answer with the way to one destination: 0 or -errno."""
    err = _valid_getroute_req(req, msg)
    if err:
        return err
    attributes = dict(msg.attributes)
    for type_ in (RTA_DST, RTA_SRC):
        if type_ in attributes and len(attributes[type_]) < 4:
            return req.refuse(-ERANGE, _POLICY)
    if RTA_IIF in attributes and number(attributes, RTA_IIF):
        return req.refuse(-EOPNOTSUPP, "the way of packets that arrive is not told")
    src = int.from_bytes(attributes.get(RTA_SRC, b"")[:4], "big")
    fl4 = Flowi4(int.from_bytes(attributes.get(RTA_DST, b"")[:4], "big"), src, oif=number(attributes, RTA_OIF))
    fl4.proto = attributes.get(RTA_IP_PROTO, b"\0")[0]
    fl4.mark = number(attributes, RTA_MARK)
    fl4.uid = number(attributes, RTA_UID, req.task.cred.uid)
    asked = fl4.daddr
    err, rt = ip_route_output_flow(req.net, fl4, None)
    if rt is None:
        return err
    if rt.error:
        return -rt.error
    if msg.flags & RTM_F_FIB_MATCH:
        return _answer_match(req, asked or fl4.daddr, fl4.oif)
    req.answer(RTM_NEWROUTE, 0, _rt_fill_info(rt, fl4, asked, src).emit())
    return 0


def _valid_getroute_req(req: NetlinkRequest, msg: RtMsg) -> int:
    """Check the header, with NETLINK_GET_STRICT_CHK only: 0 or -EINVAL."""
    if not req.strict:
        return 0
    if msg.src_len not in (0, 32) or msg.dst_len not in (0, 32) or msg.table or msg.protocol or msg.scope or msg.type:
        return req.refuse(-EINVAL, "ipv4: Invalid values in header for route get request")
    if msg.flags & ~(RTM_F_NOTIFY | RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH):
        return req.refuse(-EINVAL, "ipv4: Unsupported rtm_flags for route get request")
    attributes = dict(msg.attributes)
    if (RTA_DST in attributes and not msg.dst_len) or (RTA_SRC in attributes and not msg.src_len):
        return req.refuse(-EINVAL, "ipv4: rtm_src_len and rtm_dst_len must be 32 for IPv4")
    return 0


def _answer_match(req: NetlinkRequest, daddr: int, oif: int) -> int:
    """Answer with the route of the table that decides (RTM_F_FIB_MATCH)."""
    fib = req.net.ipv4.fib
    err, res = (-ENETUNREACH, None) if fib is None else fib.lookup(daddr, oif)
    if res is None:
        return err
    found: FibResult = res
    req.answer(RTM_NEWROUTE, 0, fib_dump_info(RT_TABLE_MAIN, found.prefix, found.prefixlen, found.fi).emit())
    return 0


def _rt_fill_info(rt: Rtable, fl4: Flowi4, asked: int, src: int) -> RtMsg:
    msg = RtMsg(AF_INET, RT_TABLE_MAIN, rt.type)
    msg.dst_len = 32
    msg.flags = rt.rt_flags & 0xFFFF0000 | RTM_F_CLONED
    add = msg.attributes.append
    add((RTA_TABLE, nla_u32(RT_TABLE_MAIN)))
    add((RTA_DST, asked.to_bytes(4, "big")))
    if src:
        msg.src_len = 32
        add((RTA_SRC, src.to_bytes(4, "big")))
    add((RTA_OIF, nla_u32(rt.dev.ifindex)))
    if fl4.saddr != src:
        add((RTA_PREFSRC, fl4.saddr.to_bytes(4, "big")))
    if rt.rt_gateway:
        add((RTA_GATEWAY, rt.rt_gateway.to_bytes(4, "big")))
    put_metrics(msg, rt.metrics)
    if fl4.mark:
        add((RTA_MARK, nla_u32(fl4.mark)))
    add((RTA_UID, nla_u32(fl4.uid)))
    add((RTA_CACHEINFO, _CLIENTS.to_bytes(CACHEINFO_SIZE, "little")))
    return msg
