"""`ip -6 route get` (Linux: inet6_rtm_getroute(), rt6_fill_node() of net/ipv6/route.c).

Left out (D-rtnl-1): the way of a packet that arrives (RTA_IIF)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_get_by_index
from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32
from twinsock.kernel.net.ipv4.rtnl_dump import put_metrics
from twinsock.kernel.net.ipv4.rtnl_getroute import number
from twinsock.kernel.net.ipv6.addrconf import ipv6_dev_get_saddr
from twinsock.kernel.net.ipv6.route import Fib6Info, Flowi6, Rt6Info, ip6_route_output
from twinsock.uapi.errno import EINVAL, ENETUNREACH, EOPNOTSUPP
from twinsock.uapi.rtnetlink import (
    RTA_CACHEINFO,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IIF,
    RTA_MARK,
    RTA_OIF,
    RTA_PREF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_SRC,
    RTA_TABLE,
    RTM_F_FIB_MATCH,
    RTM_NEWROUTE,
)
from twinsock.uapi.socket import AF_INET6
from twinsock.wire.rtnetlink import RtMsg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_CLIENTS: Final = 2
_CACHEINFO_SIZE: Final = 32
_ADDRESS: Final = 16


def inet6_rtm_getroute(req: NetlinkRequest, msg: RtMsg) -> int:
    """Answer with the way to one destination: 0 or -errno."""
    if req.strict and (msg.src_len not in (0, 128) or msg.dst_len not in (0, 128) or msg.table or msg.protocol or msg.scope or msg.type):
        return req.refuse(-EINVAL, "ipv6: Invalid values in header for route get request")
    attributes = dict(msg.attributes)
    for type_ in (RTA_DST, RTA_SRC):
        if type_ in attributes and len(attributes[type_]) < _ADDRESS:
            return -EINVAL
    if number(attributes, RTA_IIF):
        return req.refuse(-EOPNOTSUPP, "the way of packets that arrive is not told")
    fl6 = Flowi6(attributes.get(RTA_DST, bytes(_ADDRESS)), attributes.get(RTA_SRC, bytes(_ADDRESS)), oif=number(attributes, RTA_OIF))
    fl6.mark = number(attributes, RTA_MARK)
    if req.net.ipv6.fib is None or req.net.loopback_dev is None:
        return -ENETUNREACH
    rt = ip6_route_output(req.net, None, fl6)
    if rt.error or rt.fi is None:
        return -(rt.error or ENETUNREACH)
    if msg.flags & RTM_F_FIB_MATCH:
        req.answer(RTM_NEWROUTE, 0, rt6_fill_node(rt.fi.table, rt.fi).emit())
    else:
        req.answer(RTM_NEWROUTE, 0, _fill_way(req, rt, rt.fi, fl6).emit())
    return 0


def _fill_way(req: NetlinkRequest, rt: Rt6Info, fi: Fib6Info, fl6: Flowi6) -> RtMsg:
    msg = RtMsg(AF_INET6, fi.table, rt.type)
    msg.dst_len = msg.src_len = 128
    msg.protocol = fi.protocol
    add = msg.attributes.append
    add((RTA_TABLE, nla_u32(fi.table)))
    add((RTA_DST, fl6.daddr))
    add((RTA_SRC, fl6.saddr))
    prefsrc = rt.prefsrc or ipv6_dev_get_saddr(req.net, dev_get_by_index(req.net, rt.idev_ifindex), fl6.daddr, 0)
    if prefsrc:
        add((RTA_PREFSRC, prefsrc))
    put_metrics(msg, rt.metrics)
    add((RTA_PRIORITY, nla_u32(fi.metric)))
    if rt.gateway:
        add((RTA_GATEWAY, rt.gateway))
    add((RTA_OIF, nla_u32(rt.dev.ifindex)))
    add((RTA_CACHEINFO, _CLIENTS.to_bytes(_CACHEINFO_SIZE, "little")))
    add((RTA_PREF, b"\0"))
    return msg


def rt6_fill_node(tb_id: int, fi: Fib6Info) -> RtMsg:
    """Describe a route of a table."""
    msg = RtMsg(AF_INET6, tb_id, fi.type)
    msg.dst_len = fi.plen
    msg.protocol = fi.protocol
    msg.attributes.append((RTA_TABLE, nla_u32(tb_id)))
    if fi.plen:
        msg.attributes.append((RTA_DST, fi.dst))
    if fi.prefsrc:
        msg.attributes.append((RTA_PREFSRC, fi.prefsrc))
    put_metrics(msg, fi.metrics)
    msg.attributes.append((RTA_PRIORITY, nla_u32(fi.metric)))
    if fi.gw:
        msg.attributes.append((RTA_GATEWAY, fi.gw))
    if fi.dev is not None:
        msg.attributes.append((RTA_OIF, nla_u32(fi.dev.ifindex)))
    msg.attributes.append((RTA_CACHEINFO, bytes(_CACHEINFO_SIZE)))
    msg.attributes.append((RTA_PREF, b"\0"))
    return msg
