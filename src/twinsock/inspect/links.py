"""Interfaces, addresses and local routes of a namespace, rtnetlink(7).

What bind(2) needs to know: whether an address is local, on which interface, whether it may be used yet, and which VRF an
interface belongs to. Left out: routes that are neither local, broadcast, anycast nor multicast.
"""

from __future__ import annotations

from twinsock.inspect.ask import ask_all
from twinsock.uapi.errno import ENOENT
from twinsock.uapi.netlink import NETLINK_ROUTE
from twinsock.uapi.rtnetlink import (
    IFA_ADDRESS,
    IFA_F_DADFAILED,
    IFA_F_OPTIMISTIC,
    IFA_F_TENTATIVE,
    IFA_FLAGS,
    IFA_LOCAL,
    IFLA_ALT_IFNAME,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_PROP_LIST,
    IFLA_VRF_TABLE,
    RT_TABLE_LOCAL,
    RTA_DST,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_TABLE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
)
from twinsock.wire.netlink import U32, nlattr, parse_attributes
from twinsock.wire.rtnetlink import IfAddrMsg, IfInfoMsg, RtMsg, parse_ifaddr, parse_ifinfo, parse_rt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinsock.inspect.port import KernelPort
    from twinsock.wire.netlink import Buffer

_AF_INET = 2


class Link:
    """One interface."""

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.aliases: list[str] = []  # alternative names
        self.flags = 0  # IFF_*
        self.type = 0  # ARPHRD_*
        self.mtu = 0
        self.master = 0  # index of the bridge, bond or VRF that it belongs to
        self.kind = ""  # "vrf", "veth", "bridge", ...; empty for hardware and loopback
        self.vrf_table = 0  # of a VRF: its routing table


class Address:
    """One address of an interface."""

    def __init__(self, family: int, address: bytes, prefix: int, index: int) -> None:
        self.family = family
        self.address = address
        self.prefix = prefix
        self.index = index
        self.scope = 0  # RT_SCOPE_*
        self.flags = 0  # IFA_F_*

    def why_unusable(self) -> str:
        """Say why bind() refuses an address that is there: IPv6 duplicate address detection. Empty if it does not."""
        if self.flags & IFA_F_DADFAILED:
            return "duplicate address detection failed: another host has it"
        if self.flags & IFA_F_TENTATIVE and not self.flags & IFA_F_OPTIMISTIC:
            return "duplicate address detection is still running"
        return ""


class Route:
    """One route of a local table."""

    def __init__(self, family: int, type_: int, dst: bytes, prefix: int) -> None:
        self.family = family
        self.type = type_  # RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST, ...
        self.dst = dst
        self.prefix = prefix
        self.index = 0  # of the interface
        self.table = 0
        self.source = b""  # preferred source address

    def covers(self, address: bytes) -> bool:
        """Tell whether the route leads to an address."""
        return len(address) == len(self.dst) and in_prefix(address, self.dst, self.prefix)


def in_prefix(address: bytes, network: bytes, prefix: int) -> bool:
    """Tell whether the first `prefix` bits agree."""
    shift = len(address) * 8 - prefix
    return int.from_bytes(address, "big") >> shift == int.from_bytes(network, "big") >> shift


class Links:
    """The interfaces of a namespace by index and by name."""

    def __init__(self, links: Sequence[Link]) -> None:
        self.by_index = {link.index: link for link in links}
        self.by_name = {link.name: link for link in links}
        for link in links:
            for alias in link.aliases:
                self.by_name.setdefault(alias, link)

    def name(self, index: int) -> str:
        """Name an interface; `if7` if it is gone."""
        link = self.by_index.get(index)
        return link.name if link is not None else f"if{index}"

    def vrf_of(self, index: int) -> int:
        """Give the index of the VRF that an interface is, or belongs to; 0 if none."""
        for _depth in range(8):
            link = self.by_index.get(index)
            if link is None:
                return 0
            if link.kind == "vrf":
                return link.index
            index = link.master
        return 0


def get_links(port: KernelPort, netns: int = 0) -> Links:
    """Ask for the interfaces of a namespace. Raises OSError."""
    return Links(ask_all(port, NETLINK_ROUTE, RTM_GETLINK, IfInfoMsg(0, 0, 0, 0, 0).emit(), parse_link, netns))


def parse_link(data: Buffer, start: int, end: int) -> Link | None:
    """Make a Link of the message between two offsets; None if it is too short."""
    msg = parse_ifinfo(data, start, end)
    if msg is None:
        return None
    link = Link(msg.index, f"if{msg.index}")
    link.flags = msg.flags
    link.type = msg.type
    for type_, value in msg.attributes:
        if type_ == IFLA_IFNAME:
            link.name = _text(value)
        elif type_ == IFLA_MTU and len(value) >= 4:
            link.mtu = U32.unpack_from(value, 0)[0]
        elif type_ == IFLA_MASTER and len(value) >= 4:
            link.master = U32.unpack_from(value, 0)[0]
        elif type_ == IFLA_PROP_LIST:
            names = parse_attributes(value, 0, len(value))
            link.aliases = [_text(name) for kind, name in names if kind == IFLA_ALT_IFNAME]
        elif type_ == IFLA_LINKINFO:
            _take_info(link, parse_attributes(value, 0, len(value)))
    return link


def _take_info(link: Link, attributes: list[tuple[int, bytes]]) -> None:
    """Store what IFLA_LINKINFO says."""
    for type_, value in attributes:
        if type_ == IFLA_INFO_KIND:
            link.kind = _text(value)
        elif type_ == IFLA_INFO_DATA and link.kind == "vrf":
            for inner, table in parse_attributes(value, 0, len(value)):
                if inner == IFLA_VRF_TABLE and len(table) >= 4:
                    link.vrf_table = U32.unpack_from(table, 0)[0]


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "backslashreplace")


def get_addresses(port: KernelPort, family: int = 0, netns: int = 0) -> list[Address]:
    """Ask for the addresses of a namespace (family 0: both). Raises OSError."""
    return ask_all(port, NETLINK_ROUTE, RTM_GETADDR, IfAddrMsg(family, 0, 0, 0, 0).emit(), parse_address, netns)


def parse_address(data: Buffer, start: int, end: int) -> Address | None:
    """Make an Address of the message between two offsets; None if it has none."""
    msg = parse_ifaddr(data, start, end)
    if msg is None:
        return None
    flags = msg.flags
    found = b""
    for type_, value in msg.attributes:
        if type_ == IFA_LOCAL or (type_ == IFA_ADDRESS and not found):  # on a point-to-point link both are there
            found = value
        elif type_ == IFA_FLAGS and len(value) >= 4:
            flags = U32.unpack_from(value, 0)[0]
    if not found:
        return None
    address = Address(msg.family, found, msg.prefix, msg.index)
    address.scope = msg.scope
    address.flags = flags
    return address


def get_local_routes(port: KernelPort, family: int, table: int = RT_TABLE_LOCAL, netns: int = 0) -> list[Route]:
    """Ask for the routes of the local table, or of a VRF's table. Raises OSError.

    The kernel filters by table; a kernel older than 4.20 sends every table, so the answer is looked through again.
    """
    request = RtMsg(family, table if table < 256 else 0, 0).emit()
    if table >= 256:
        request += nlattr(RTA_TABLE, U32.pack(table))
    try:
        routes = ask_all(port, NETLINK_ROUTE, RTM_GETROUTE, request, parse_route, netns)
    except OSError as error:
        if error.errno == ENOENT:  # a table without routes does not exist
            return []
        raise
    return [route for route in routes if route.table == table and route.family == family]


def parse_route(data: Buffer, start: int, end: int) -> Route | None:
    """Make a Route of the message between two offsets; None if it is too short."""
    msg = parse_rt(data, start, end)
    if msg is None:
        return None
    route = Route(msg.family, msg.type, bytes(4 if msg.family == _AF_INET else 16), msg.dst_len)
    route.table = msg.table
    for type_, value in msg.attributes:
        if type_ == RTA_DST:
            route.dst = value
        elif type_ == RTA_PREFSRC:
            route.source = value
        elif type_ == RTA_OIF and len(value) >= 4:
            route.index = U32.unpack_from(value, 0)[0]
        elif type_ == RTA_TABLE and len(value) >= 4:
            route.table = U32.unpack_from(value, 0)[0]
    return route


def route_type(routes: Sequence[Route], address: bytes) -> int:
    """Find the type of the longest route to an address: RTN_LOCAL, RTN_BROADCAST, ...; 0 if there is none."""
    best: Route | None = None
    for route in routes:
        if route.covers(address) and (best is None or route.prefix > best.prefix):
            best = route
    return best.type if best is not None else 0
