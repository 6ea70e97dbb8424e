"""IPv6 addresses and routes by netlink (Linux: inet6_rtm_newaddr() of net/ipv6/addrconf.c, inet6_rtm_newroute() of route.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index
from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_u32
from twinsock.kernel.net.core.rtnetlink import RtnetlinkInput, RtnlHandler
from twinsock.kernel.net.ipv6.addrconf import Inet6Ifaddr, inet6_addr_add, inet6_addr_del
from twinsock.kernel.net.ipv6.route import Fib6Config, ip6_route_add, ip6_route_del
from twinsock.kernel.net.ipv6.rtnl_getroute import inet6_rtm_getroute, rt6_fill_node
from twinsock.uapi.errno import EEXIST, EINVAL, ENODEV, EOPNOTSUPP
from twinsock.uapi.netlink import NLM_F_EXCL, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import (
    IFA_ADDRESS,
    IFA_FLAGS,
    IFA_LOCAL,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    RTA_TABLE,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWROUTE,
)
from twinsock.uapi.socket import AF_INET6
from twinsock.wire.rtnetlink import IfAddrMsg, parse_ifaddr, parse_rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NLM_F_DUMP_FILTERED: Final = 0x20
_NLM_F_MULTI: Final = 0x2


class Addr6Handler(RtnlHandler):
    """RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR."""

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List the addresses of every device."""
        wanted = int.from_bytes(req.payload[4:8], "little") if req.strict else 0
        found = []
        for dev in sorted(req.net.dev_base, key=_ifindex):
            if dev.ip6_ptr is not None and wanted in (0, dev.ifindex):
                found += [req.part(RTM_NEWADDR, inet6_fill_ifaddr(dev, ifa).emit()) for ifa in dev.ip6_ptr.addr_list]
        return 0, found

    def doit(self, req: NetlinkRequest) -> int:
        """Add or remove an address."""
        msg = parse_ifaddr(req.payload, 0, len(req.payload))
        if msg is None:
            return -EINVAL
        if req.type == RTM_GETADDR:
            return -EOPNOTSUPP
        attributes = dict(msg.attributes)
        addr = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
        if addr is None or len(addr) != 16:
            return -EINVAL
        dev = dev_get_by_index(req.net, msg.index)
        if dev is None:
            return -ENODEV
        if req.type == RTM_DELADDR:
            return inet6_addr_del(dev, addr, msg.prefix)
        known = [] if dev.ip6_ptr is None else [ifa for ifa in dev.ip6_ptr.addr_list if ifa.addr == addr]
        if known and req.flags & (NLM_F_EXCL | NLM_F_REPLACE) != NLM_F_REPLACE:
            return req.refuse(-EEXIST, "address already assigned")
        flags = int.from_bytes(attributes.get(IFA_FLAGS, b"")[:4], "little") or msg.flags
        return inet6_addr_add(dev, addr, msg.prefix, flags)


def _ifindex(dev: NetDevice) -> int:
    return dev.ifindex


def inet6_fill_ifaddr(dev: NetDevice, ifa: Inet6Ifaddr) -> IfAddrMsg:
    """Describe an address."""
    msg = IfAddrMsg(AF_INET6, ifa.prefix_len, ifa.flags & 0xFF, ifa.scope, dev.ifindex)
    msg.attributes.append((IFA_ADDRESS, ifa.addr))
    msg.attributes.append((IFA_FLAGS, nla_u32(ifa.flags)))
    return msg


class Route6Handler(RtnlHandler):
    """RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE."""

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List the routes: main table, then local."""
        asked = parse_rt(req.payload, 0, len(req.payload))
        table = 0
        if asked is not None and req.strict:
            table = asked.table
            for type_, value in asked.attributes:
                if type_ == RTA_TABLE and len(value) >= 4:
                    table = int.from_bytes(value[:4], "little")
        fib = req.net.ipv6.fib
        flags = _NLM_F_MULTI | (_NLM_F_DUMP_FILTERED if req.strict else 0)
        found: list[bytes] = []
        for tb_id in (RT_TABLE_MAIN, RT_TABLE_LOCAL):
            if fib is not None and table in (0, tb_id):
                found += [req.part(RTM_NEWROUTE, rt6_fill_node(tb_id, fi).emit(), flags) for fi in fib.tables[tb_id].all_routes()]
        return 0, found

    def doit(self, req: NetlinkRequest) -> int:
        """Add or delete a route, or tell the way to a destination."""
        msg = parse_rt(req.payload, 0, len(req.payload))
        if msg is None:
            return -EINVAL
        if req.type == RTM_GETROUTE:
            return inet6_rtm_getroute(req, msg)
        attributes = dict(msg.attributes)
        if RTA_DST in attributes and len(attributes[RTA_DST]) < (msg.dst_len + 7) // 8:
            return -EINVAL
        cfg = Fib6Config((attributes.get(RTA_DST, b"") + bytes(16))[:16], msg.dst_len)
        cfg.table = int.from_bytes(attributes.get(RTA_TABLE, b"")[:4], "little") or msg.table or RT_TABLE_MAIN
        cfg.type, cfg.protocol = msg.type, msg.protocol
        cfg.oif = int.from_bytes(attributes.get(RTA_OIF, b"")[:4], "little")
        cfg.gw = attributes.get(RTA_GATEWAY, b"")
        cfg.prefsrc = attributes.get(RTA_PREFSRC, b"")
        cfg.metric = int.from_bytes(attributes.get(RTA_PRIORITY, b"")[:4], "little")
        cfg.nlflags = req.flags
        return ip6_route_del(req.net, cfg) if req.type == RTM_DELROUTE else ip6_route_add(req.net, cfg)


def register_ipv6(rtnl: RtnetlinkInput) -> None:
    """Enter IPv6's messages."""
    addresses, routes = Addr6Handler(), Route6Handler()
    for type_ in (RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR):
        rtnl.register(AF_INET6, type_, addresses)
    for type_ in (RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE):
        rtnl.register(AF_INET6, type_, routes)
