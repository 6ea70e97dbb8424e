"""IPv4 addresses and routes by netlink (Linux: inet_rtm_newaddr() of net/ipv4/devinet.c, inet_rtm_newroute() of fib_frontend.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index
from twinsock.kernel.net.core.netlink import NetlinkRequest, nla_string, nla_u32
from twinsock.kernel.net.core.rtnetlink import RtnetlinkInput, RtnlHandler
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_del_ifa, inet_insert_ifa
from twinsock.kernel.net.ipv4.fib_frontend import fib_delroute, fib_newroute
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.kernel.net.ipv4.rtnl_dump import fib_dump_info
from twinsock.kernel.net.ipv4.rtnl_getroute import inet_rtm_getroute
from twinsock.uapi.errno import EADDRNOTAVAIL, EINVAL, ENODEV, EOPNOTSUPP
from twinsock.uapi.rtnetlink import (
    IFA_ADDRESS,
    IFA_BROADCAST,
    IFA_FLAGS,
    IFA_LABEL,
    IFA_LOCAL,
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
from twinsock.uapi.socket import AF_INET
from twinsock.wire.rtnetlink import IfAddrMsg, parse_ifaddr, parse_rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NLM_F_DUMP_FILTERED: Final = 0x20
_NLM_F_MULTI: Final = 0x2


def _be(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _ip(addr: int) -> bytes:
    return addr.to_bytes(4, "big")


class Addr4Handler(RtnlHandler):
    """RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR."""

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List the addresses of every device."""
        wanted = int.from_bytes(req.payload[4:8], "little") if req.strict else 0
        found = []
        for dev in sorted(req.net.dev_base, key=_ifindex):
            if dev.ip_ptr is not None and wanted in (0, dev.ifindex):
                found += [req.part(RTM_NEWADDR, inet_fill_ifaddr(dev, ifa).emit()) for ifa in dev.ip_ptr.ifa_list]
        return 0, found

    def doit(self, req: NetlinkRequest) -> int:
        """Add or remove an address."""
        msg = parse_ifaddr(req.payload, 0, len(req.payload))
        if msg is None:
            return -EINVAL
        if req.type == RTM_GETADDR:
            return -EOPNOTSUPP
        attributes = dict(msg.attributes)
        dev = dev_get_by_index(req.net, msg.index)
        if req.type == RTM_DELADDR:
            if dev is None:
                return req.refuse(-ENODEV, "ipv4: Device not found")
            victim = _find_ifa(dev, msg.prefix, attributes)
            if victim is None:
                return req.refuse(-EADDRNOTAVAIL, "ipv4: Address not found")
            return inet_del_ifa(dev, victim.ifa_local, victim.ifa_prefixlen)
        if msg.prefix > 32:
            return req.refuse(-EINVAL, "ipv4: Invalid prefix length")
        if IFA_LOCAL not in attributes:
            return req.refuse(-EINVAL, "ipv4: Local address is not supplied")
        if dev is None:
            return req.refuse(-ENODEV, "ipv4: Device not found")
        local = _be(attributes[IFA_LOCAL])
        ifa = InIfaddr(local, msg.prefix, _be(attributes.get(IFA_ADDRESS, attributes[IFA_LOCAL])), scope=msg.scope)
        ifa.ifa_broadcast = _be(attributes.get(IFA_BROADCAST, b""))
        ifa.ifa_label = attributes.get(IFA_LABEL, b"").split(b"\0")[0].decode("latin-1")
        err = inet_insert_ifa(dev, ifa)
        return req.refuse(err, "ipv4: Address already assigned") if err else 0


def _ifindex(dev: NetDevice) -> int:
    return dev.ifindex


def _find_ifa(dev: NetDevice, prefix: int, attributes: dict[int, bytes]) -> InIfaddr | None:
    """Find the first address that has what is given: local address, label, and only beside a peer address the prefix length."""
    for ifa in [] if dev.ip_ptr is None else dev.ip_ptr.ifa_list:
        if IFA_LOCAL in attributes and ifa.ifa_local != _be(attributes[IFA_LOCAL]):
            continue
        if IFA_LABEL in attributes and nla_string(ifa.ifa_label) != attributes[IFA_LABEL]:
            continue
        if IFA_ADDRESS in attributes:
            if ifa.ifa_prefixlen != prefix or not ifa.inet_ifa_match(_be(attributes[IFA_ADDRESS])):
                continue
        return ifa
    return None


def inet_fill_ifaddr(dev: NetDevice, ifa: InIfaddr) -> IfAddrMsg:
    """Describe an address."""
    msg = IfAddrMsg(AF_INET, ifa.ifa_prefixlen, ifa.ifa_flags & 0xFF, ifa.ifa_scope, dev.ifindex)
    msg.attributes.append((IFA_ADDRESS, _ip(ifa.ifa_address)))
    msg.attributes.append((IFA_LOCAL, _ip(ifa.ifa_local)))
    if ifa.ifa_broadcast:
        msg.attributes.append((IFA_BROADCAST, _ip(ifa.ifa_broadcast)))
    msg.attributes.append((IFA_LABEL, nla_string(ifa.ifa_label)))
    msg.attributes.append((IFA_FLAGS, nla_u32(ifa.ifa_flags)))
    return msg


class Route4Handler(RtnlHandler):
    """RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE."""

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List the routes, main table first; with strict checking of one table only if it is named."""
        asked = parse_rt(req.payload, 0, len(req.payload))
        table = 0
        if asked is not None and req.strict:
            table = asked.table
            for type_, value in asked.attributes:
                if type_ == RTA_TABLE and len(value) >= 4:
                    table = int.from_bytes(value[:4], "little")
        fib = req.net.ipv4.fib
        flags = _NLM_F_MULTI | (_NLM_F_DUMP_FILTERED if req.strict else 0)
        found: list[bytes] = []
        for tb_id in sorted([] if fib is None else fib.tables, key=_table_order):
            assert fib is not None
            if table in (0, tb_id):
                rows = fib.tables[tb_id].all_routes()
                found += [req.part(RTM_NEWROUTE, fib_dump_info(tb_id, *row).emit(), flags) for row in rows]
        return 0, found

    def doit(self, req: NetlinkRequest) -> int:
        """Add or delete a route, or tell the way to a destination."""
        msg = parse_rt(req.payload, 0, len(req.payload))
        if msg is None:
            return -EINVAL
        if req.type == RTM_GETROUTE:
            return inet_rtm_getroute(req, msg)
        attributes = dict(msg.attributes)
        table = int.from_bytes(attributes.get(RTA_TABLE, b"")[:4], "little") or msg.table or RT_TABLE_MAIN
        cfg = FibConfig(_be(attributes.get(RTA_DST, b"")), msg.dst_len, table)
        cfg.type, cfg.protocol = msg.type, msg.protocol
        cfg.scope = msg.scope
        cfg.oif = int.from_bytes(attributes.get(RTA_OIF, b"")[:4], "little")
        cfg.gw = _be(attributes.get(RTA_GATEWAY, b""))
        cfg.prefsrc = _be(attributes.get(RTA_PREFSRC, b""))
        cfg.priority = int.from_bytes(attributes.get(RTA_PRIORITY, b"")[:4], "little")
        cfg.flags = msg.flags
        cfg.nlflags = req.flags
        return fib_delroute(req.net, cfg) if req.type == RTM_DELROUTE else fib_newroute(req.net, cfg)


def _table_order(tb_id: int) -> int:
    """Return where a table stands in a dump: main, default, then local."""
    return {254: 0, 253: 1, 255: 2}.get(tb_id, tb_id + 3)


def register_ipv4(rtnl: RtnetlinkInput) -> None:
    """Enter IPv4's messages."""
    addresses, routes = Addr4Handler(), Route4Handler()
    for type_ in (RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR):
        rtnl.register(AF_INET, type_, addresses)
    for type_ in (RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE):
        rtnl.register(AF_INET, type_, routes)
