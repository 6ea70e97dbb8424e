"""NETLINK_ROUTE: links and neighbours, and the table in which address families enter theirs, rtnetlink(7)
(Linux: net/core/rtnetlink.c, net/core/neighbour.c).

Left out: queueing disciplines, rules, VLANs, statistics filters (D-rtnl-1). Listeners hear of changes by rtnl_notify.py."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import (
    NetDevice,
    dev_close,
    dev_get_by_index,
    dev_get_by_name,
    dev_open,
    dev_set_mtu,
    dev_valid_name,
)
from twinsock.kernel.net.core.neighbour import NEIGH_UPDATE_F_ADMIN, NEIGH_UPDATE_F_OVERRIDE, NUD_VALID, Neighbour, NeighTable
from twinsock.kernel.net.core.netlink import NetlinkInput, NetlinkRequest, nla_string, nla_u32, nla_u64
from twinsock.kernel.net.core.rtnl_notify import rtmsg_ifinfo
from twinsock.uapi.capability import CAP_NET_ADMIN
from twinsock.uapi.errno import EBUSY, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ERANGE
from twinsock.uapi.if_ import IFF_LOOPBACK, IFF_UP
from twinsock.uapi.netlink import NLM_F_BULK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from twinsock.uapi.rtnetlink import (
    IFLA_ADDRESS,
    IFLA_CARRIER,
    IFLA_GROUP,
    IFLA_GSO_MAX_SEGS,
    IFLA_GSO_MAX_SIZE,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_LINKMODE,
    IFLA_MASTER,
    IFLA_MAX_MTU,
    IFLA_MIN_MTU,
    IFLA_MTU,
    IFLA_OPERSTATE,
    IFLA_QDISC,
    IFLA_TXQLEN,
    NDA_DST,
    NDA_LLADDR,
    NDA_PROBES,
    NUD_FAILED,
    NUD_PERMANENT,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_SETLINK,
)
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_UNSPEC
from twinsock.wire.netlink import nlattrs, parse_attributes
from twinsock.wire.rtnetlink import IfInfoMsg, parse_ifinfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.net_namespace import Net

_RTM_BASE: Final = 16
_RTM_MAX: Final = 123
_KIND_GET: Final = 2
_KIND_DEL: Final = 1
_IFNAME_MAX: Final = 15
_IFINFO_SIZE: Final = 16
_NDMSG_SIZE: Final = 12
_RTNLGRP_MAX: Final = 38
_IFLA_BROADCAST: Final = 2
_IFLA_STATS: Final = 7
_IFLA_STATS64: Final = 23
_RTN_UNICAST: Final = 1
_OPER_UNKNOWN, _OPER_DOWN, _OPER_LOWERLAYERDOWN, _OPER_UP = 0, 2, 3, 6


class RtnlHandler:
    """`struct rtnl_link`: what a family does with one kind of message."""

    def doit(self, req: NetlinkRequest) -> int:
        """Take a request for one thing: 0 or -errno."""
        return -EOPNOTSUPP

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List: (0 or -errno, messages)."""
        return -EOPNOTSUPP, []


class RtnlLinkOps:
    """`struct rtnl_link_ops`: how a kind of virtual device is made."""

    def newlink(self, req: NetlinkRequest, name: str, mtu: int, data: bytes) -> int:
        """Make a device: 0 or -errno."""
        return -EOPNOTSUPP

    def dellink(self, dev: NetDevice) -> None:
        """Remove a device."""


class RtnetlinkInput(NetlinkInput):
    """The kernel's end."""

    def __init__(self) -> None:
        super().__init__(_RTNLGRP_MAX, nonroot_recv=True)
        self.link_ops: dict[str, RtnlLinkOps] = {}
        self._handlers: dict[int, RtnlHandler] = {}  # by family << 16 | type
        links = LinkHandler(self)
        for type_ in (RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK):
            self.register(AF_UNSPEC, type_, links)
        neighbours = NeighHandler()
        for type_ in (RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH):
            self.register(AF_UNSPEC, type_, neighbours)

    def register(self, family: int, type_: int, handler: RtnlHandler) -> None:
        """Enter a family's handler of a kind of message (rtnl_register)."""
        self._handlers[family << 16 | type_] = handler

    def families(self, type_: int) -> list[RtnlHandler]:
        """List the handlers of a kind of message that belong to an address family."""
        found = [self._handlers.get(family << 16 | type_) for family in (AF_INET, AF_INET6)]
        return [handler for handler in found if handler is not None]

    def rcv_msg(self, req: NetlinkRequest) -> int:
        """Take a request (rtnetlink_rcv_msg)."""
        if not _RTM_BASE <= req.type <= _RTM_MAX:
            return -EOPNOTSUPP
        if not req.payload:
            return 0
        family = req.payload[0]
        get = req.type & 3 == _KIND_GET
        if not get and not req.capable(CAP_NET_ADMIN):
            return -EPERM
        if req.type & 3 == _KIND_DEL and req.flags & NLM_F_BULK:
            return req.refuse(-EOPNOTSUPP, "Bulk delete is not supported")
        handler = self._handlers.get(family << 16 | req.type) or self._handlers.get(req.type)
        if get and req.wants_dump():
            return self._dump(req, family, handler)
        if handler is None:
            return -EOPNOTSUPP
        table = req.net.kernel.netlink
        if table is None or get:
            return handler.doit(req)
        table.current = req
        err = handler.doit(req)
        table.current = None
        return err

    def _dump(self, req: NetlinkRequest, family: int, handler: RtnlHandler | None) -> int:
        handlers = [handler] if handler is not None else []
        if handler is None and family == AF_UNSPEC:
            handlers = self.families(req.type)
        if not handlers:
            return -EOPNOTSUPP
        messages: list[bytes] = []
        for each in handlers:
            err, found = each.dumpit(req)
            if err:
                return err
            messages += found
        return req.start_dump(messages, True)


# Links


class LinkHandler(RtnlHandler):
    """RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK."""

    def __init__(self, rtnl: RtnetlinkInput) -> None:
        self.rtnl = rtnl

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List every device."""
        if req.strict and len(req.payload) < _IFINFO_SIZE:
            return req.refuse(-EINVAL, "Invalid header for link dump"), []
        devices = sorted(req.net.dev_base, key=_ifindex)
        return 0, [req.part(RTM_NEWLINK, rtnl_fill_ifinfo(dev).emit()) for dev in devices]

    def doit(self, req: NetlinkRequest) -> int:
        """Show, change, make or remove one device."""
        msg = parse_ifinfo(req.payload, 0, len(req.payload))
        if msg is None:
            return -EINVAL
        attributes = dict(msg.attributes)
        name = _text(attributes.get(IFLA_IFNAME, b""))
        if len(name) > _IFNAME_MAX:
            return -ERANGE
        dev: NetDevice | None = None
        if msg.index > 0:
            dev = dev_get_by_index(req.net, msg.index)
        elif IFLA_IFNAME in attributes:
            dev = dev_get_by_name(req.net, name)
        elif req.type != RTM_NEWLINK:
            return -EINVAL
        if req.type == RTM_NEWLINK:
            return self._newlink(req, msg, dev, name, attributes)
        if dev is None:
            return -ENODEV
        if req.type == RTM_GETLINK:
            req.answer(RTM_NEWLINK, 0, rtnl_fill_ifinfo(dev).emit())
            return 0
        if req.type == RTM_DELLINK:
            ops = self.rtnl.link_ops.get(dev.kind)
            if ops is None:
                return -EOPNOTSUPP
            ops.dellink(dev)
            return 0
        return _do_setlink(req, dev, msg, name, attributes)

    def _newlink(self, req: NetlinkRequest, msg: IfInfoMsg, dev: NetDevice | None, name: str, attributes: dict[int, bytes]) -> int:
        if dev is not None:
            if req.flags & NLM_F_EXCL:
                return -EEXIST
            return _do_setlink(req, dev, msg, name, attributes)
        if not req.flags & NLM_F_CREATE:
            return -ENODEV
        info = attributes.get(IFLA_LINKINFO, b"")
        inner = dict(parse_attributes(info, 0, len(info)))
        ops = self.rtnl.link_ops.get(_text(inner.get(IFLA_INFO_KIND, b"")))
        if ops is None:
            return req.refuse(-EOPNOTSUPP, "Unknown device type")
        if name and not dev_valid_name(name):
            return -EINVAL
        mtu = int.from_bytes(attributes.get(IFLA_MTU, b"")[:4], "little")
        return ops.newlink(req, name, mtu, inner.get(IFLA_INFO_DATA, b""))


def _ifindex(dev: NetDevice) -> int:
    return dev.ifindex


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode("latin-1")


def _do_setlink(req: NetlinkRequest, dev: NetDevice, msg: IfInfoMsg, name: str, attributes: dict[int, bytes]) -> int:
    """Change a device: MTU, name, address, up and down."""
    if IFLA_MTU in attributes:
        err = dev_set_mtu(dev, int.from_bytes(attributes[IFLA_MTU][:4], "little"))
        if err:
            return err
    if name and name != dev.name:
        if not dev_valid_name(name):
            return -EINVAL
        if dev_get_by_name(req.net, name) is not None:
            return -EEXIST
        if dev.flags & IFF_UP and dev.flags & IFF_LOOPBACK:
            return -EBUSY
        dev.name = name
        rtmsg_ifinfo(dev)
    if IFLA_ADDRESS in attributes:
        if len(attributes[IFLA_ADDRESS]) < len(dev.dev_addr):
            return -EINVAL
        dev.dev_addr = attributes[IFLA_ADDRESS][: len(dev.dev_addr)]
        rtmsg_ifinfo(dev)
    change = msg.change or 0xFFFFFFFF
    if (msg.flags or msg.change) and change & IFF_UP:
        if msg.flags & IFF_UP:
            return dev_open(dev)
        dev_close(dev)
    return 0


def _operstate(dev: NetDevice) -> int:
    if dev.is_loopback():
        return _OPER_UNKNOWN if dev.is_up() else _OPER_DOWN
    if not dev.is_up():
        return _OPER_DOWN
    return _OPER_UP if dev.carrier else _OPER_LOWERLAYERDOWN


def rtnl_fill_ifinfo(dev: NetDevice) -> IfInfoMsg:
    """Describe a device."""
    msg = IfInfoMsg(AF_UNSPEC, dev.type, dev.ifindex, dev.flags, 0)
    add = msg.attributes.append
    add((IFLA_IFNAME, nla_string(dev.name)))
    add((IFLA_TXQLEN, nla_u32(dev.tx_queue_len)))
    add((IFLA_OPERSTATE, bytes((_operstate(dev),))))
    add((IFLA_LINKMODE, b"\0"))
    add((IFLA_MTU, nla_u32(dev.mtu)))
    add((IFLA_MIN_MTU, nla_u32(dev.min_mtu)))
    add((IFLA_MAX_MTU, nla_u32(dev.max_mtu)))
    add((IFLA_GROUP, nla_u32(0)))
    add((IFLA_GSO_MAX_SEGS, nla_u32(dev.gso_max_segs)))
    add((IFLA_GSO_MAX_SIZE, nla_u32(dev.gso_max_size)))
    if dev.l3mdev_master:
        add((IFLA_MASTER, nla_u32(dev.l3mdev_master)))
    add((IFLA_CARRIER, b"\1" if dev.carrier else b"\0"))
    add((IFLA_ADDRESS, dev.dev_addr))
    add((_IFLA_BROADCAST, dev.broadcast))
    stats = dev.stats
    counters = (
        *(stats.rx_packets, stats.tx_packets, stats.rx_bytes, stats.tx_bytes, stats.rx_errors, stats.tx_errors),
        *(stats.rx_dropped, stats.tx_dropped, stats.multicast, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    add((_IFLA_STATS64, b"".join([nla_u64(value) for value in counters]) + nla_u64(stats.rx_otherhost_dropped)))
    add((_IFLA_STATS, b"".join([nla_u32(value) for value in counters])))
    if dev.kind:
        add((IFLA_LINKINFO, nlattrs([(IFLA_INFO_KIND, nla_string(dev.kind))])))
    if dev.link_peer is not None:
        add((IFLA_LINK, nla_u32(dev.link_peer.ifindex)))
    add((IFLA_QDISC, nla_string("noqueue" if dev.qdisc is None else dev.qdisc.kind)))
    return msg


# Neighbours


class NeighHandler(RtnlHandler):
    """RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH."""

    def dumpit(self, req: NetlinkRequest) -> tuple[int, list[bytes]]:
        """List the neighbours of the family asked for, or of both."""
        found: list[bytes] = []
        for table in _tables(req.net, req.payload[0]):
            found += [req.part(RTM_NEWNEIGH, neigh_fill_info(neigh)) for neigh in table.entries()]
        return 0, found

    def doit(self, req: NetlinkRequest) -> int:
        """Add or remove an entry."""
        data = req.payload
        if len(data) < _NDMSG_SIZE:
            return -EINVAL
        if req.type == RTM_GETNEIGH and (data[8:10] != b"\0\0" or data[11]):
            return req.refuse(-EINVAL, "Invalid values in header for neighbor get request")
        attributes = dict(parse_attributes(data, _NDMSG_SIZE, len(data)))
        if NDA_DST not in attributes:
            return req.refuse(-EINVAL, "Network address not specified")
        dev = dev_get_by_index(req.net, int.from_bytes(data[4:8], "little", signed=True))
        if dev is None:
            return -ENODEV
        tables = _tables(req.net, data[0])
        if data[0] not in (AF_INET, AF_INET6) or not tables:
            return -EOPNOTSUPP
        key = attributes[NDA_DST]
        if len(key) != (4 if data[0] == AF_INET else 16):
            return req.refuse(-EINVAL, "Invalid network address")
        neigh = tables[0].lookup(key, dev)
        if req.type != RTM_NEWNEIGH:
            if neigh is None:
                return -ENOENT
            if req.type == RTM_GETNEIGH:
                req.answer(RTM_NEWNEIGH, 0, neigh_fill_info(neigh))
            else:
                neigh.update(b"", NUD_FAILED, NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_ADMIN)
                tables[0].delete(neigh)
            return 0
        if neigh is None:
            if not req.flags & NLM_F_CREATE:
                return -ENOENT
            neigh = tables[0].lookup_or_create(key, dev)
        elif req.flags & NLM_F_EXCL:
            return -EEXIST
        state = int.from_bytes(data[8:10], "little") or NUD_PERMANENT
        override = NEIGH_UPDATE_F_OVERRIDE if req.flags & NLM_F_REPLACE or not neigh.nud_state & NUD_VALID else 0
        neigh.update(attributes.get(NDA_LLADDR, b""), state, NEIGH_UPDATE_F_ADMIN | override)
        return 0


def _tables(net: Net, family: int) -> list[NeighTable]:
    both = ((AF_INET, net.ipv4.arp_tbl), (AF_INET6, net.ipv6.nd_tbl))
    return [table for owner, table in both if table is not None and family in (AF_UNSPEC, owner)]


def neigh_fill_info(neigh: Neighbour) -> bytes:
    """Describe a neighbour: `struct ndmsg` and its attributes."""
    family = AF_INET if len(neigh.key) == 4 else AF_INET6
    head = bytes((family, 0, 0, 0)) + neigh.dev.ifindex.to_bytes(4, "little")
    head += neigh.nud_state.to_bytes(2, "little") + bytes((0, _RTN_UNICAST))
    attributes = [(NDA_DST, neigh.key)]
    if neigh.nud_state & NUD_VALID and neigh.ha:
        attributes.append((NDA_LLADDR, neigh.ha))
    attributes.append((NDA_PROBES, nla_u32(neigh.probes)))
    return head + nlattrs(attributes)
