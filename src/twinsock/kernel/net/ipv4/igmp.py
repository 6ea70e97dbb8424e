"""Which multicast groups a device listens to, RFC 3376 2 and 3 (Linux: net/ipv4/igmp.c).

Left out: sending reports and answering queries (D-ip-1)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_mc_add, dev_mc_del
from twinsock.uapi.errno import EADDRNOTAVAIL
from twinsock.uapi.in_ import INADDR_ALLHOSTS_GROUP, IPPROTO_IGMP, MCAST_EXCLUDE, MCAST_INCLUDE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.ipv4.devinet import InDevice


class IpSfList:
    """`struct ip_sf_list`: one source, and how many sockets include or exclude it."""

    def __init__(self, inaddr: int) -> None:
        self.inaddr = inaddr
        self.include = 0
        self.exclude = 0


class IpMcList:
    """`struct ip_mc_list`: one group on one device. The filter mode is EXCLUDE as long as one socket excludes."""

    def __init__(self, multiaddr: int) -> None:
        self.multiaddr = multiaddr
        self.users = 0
        self.include_users = 0
        self.exclude_users = 0
        self.sources: list[IpSfList] = []


def ip_mc_find(in_dev: InDevice, addr: int) -> IpMcList | None:
    """Find a group of a device."""
    for im in in_dev.mc_list:
        if im.multiaddr == addr:
            return im
    return None


def ip_mc_inc_group(in_dev: InDevice, addr: int, mode: int = MCAST_EXCLUDE) -> None:
    """Let one more user listen to a group; with mode INCLUDE it starts with no source."""
    im = ip_mc_find(in_dev, addr)
    if im is None:
        im = IpMcList(addr)
        in_dev.mc_list.insert(0, im)
        ip_mc_filter_add(in_dev, addr)
    im.users += 1
    if mode == MCAST_EXCLUDE:
        im.exclude_users += 1
    else:
        im.include_users += 1


def _mac_of(addr: int) -> bytes:
    """Return the link address of a group, RFC 1112 6.4."""
    return b"\x01\x00\x5e" + (addr & 0x7FFFFF).to_bytes(3, "big")


def ip_mc_filter_add(in_dev: InDevice, addr: int) -> None:
    """Let the device take a group's frames."""
    if in_dev.dev.has_link_addr() and not in_dev.dev.is_loopback():
        dev_mc_add(in_dev.dev, _mac_of(addr))


def ip_mc_filter_del(in_dev: InDevice, addr: int) -> None:
    """End `ip_mc_filter_add`."""
    if in_dev.dev.has_link_addr() and not in_dev.dev.is_loopback():
        dev_mc_del(in_dev.dev, _mac_of(addr))


def ip_mc_dec_group(in_dev: InDevice, addr: int, mode: int = MCAST_EXCLUDE) -> None:
    """Let one user less listen to a group."""
    im = ip_mc_find(in_dev, addr)
    if im is None:
        return
    im.users -= 1
    if mode == MCAST_EXCLUDE:
        im.exclude_users -= 1
    else:
        im.include_users -= 1
    if im.users == 0:
        in_dev.mc_list.remove(im)
        ip_mc_filter_del(in_dev, addr)


def ip_mc_add_src(in_dev: InDevice, addr: int, mode: int, sources: list[int]) -> int:
    """Count sources that a user includes or excludes: 0 or -EADDRNOTAVAIL without such a group."""
    im = ip_mc_find(in_dev, addr)
    if im is None:
        return -EADDRNOTAVAIL
    for inaddr in sources:
        source = _source(im, inaddr)
        if source is None:
            source = IpSfList(inaddr)
            im.sources.append(source)
        if mode == MCAST_INCLUDE:
            source.include += 1
        else:
            source.exclude += 1
    return 0


def ip_mc_del_src(in_dev: InDevice, addr: int, mode: int, sources: list[int]) -> int:
    """Undo `ip_mc_add_src`."""
    im = ip_mc_find(in_dev, addr)
    if im is None:
        return -EADDRNOTAVAIL
    for inaddr in sources:
        source = _source(im, inaddr)
        if source is None:
            return -EADDRNOTAVAIL
        if mode == MCAST_INCLUDE:
            source.include -= 1
        else:
            source.exclude -= 1
        if not source.include and not source.exclude:
            im.sources.remove(source)
    return 0


def ip_check_mc(in_dev: InDevice, mc_addr: int, src_addr: int, proto: int) -> bool:
    """Tell whether a device wants a group's packets from a source."""
    im = ip_mc_find(in_dev, mc_addr)
    if im is None:
        return False
    if proto == IPPROTO_IGMP or not src_addr or mc_addr == INADDR_ALLHOSTS_GROUP:
        return True
    source = _source(im, src_addr)
    if source is not None:
        return source.include > 0 or (im.exclude_users > 0 and source.exclude != im.exclude_users)
    return im.exclude_users > 0


def _source(im: IpMcList, inaddr: int) -> IpSfList | None:
    for source in im.sources:
        if source.inaddr == inaddr:
            return source
    return None
