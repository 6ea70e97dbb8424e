"""Which IPv6 multicast groups a device listens to, RFC 3810 (Linux: net/ipv6/mcast.c).

Left out: sending reports, answering queries (D-ip-1); source lists of a group (a source filter holds per socket only)."""

from __future__ import annotations

from twinsock.kernel.net.core.dev import dev_mc_add, dev_mc_del

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.ipv6.addrconf import Inet6Dev


_SCOPE_NODE: Final = 1


class Ifmcaddr6:
    """`struct ifmcaddr6`: one group on one device."""

    def __init__(self, addr: bytes) -> None:
        self.addr = addr
        self.users = 0


def ipv6_dev_mc_inc(idev: Inet6Dev, addr: bytes) -> None:
    """Let one more user listen to a group."""
    for mc in idev.mc_list:
        if mc.addr == addr:
            mc.users += 1
            return
    mc = Ifmcaddr6(addr)
    mc.users = 1
    idev.mc_list.insert(0, mc)
    if addr[1] & 15 > _SCOPE_NODE and idev.dev.has_link_addr() and not idev.dev.is_loopback():
        dev_mc_add(idev.dev, b"\x33\x33" + addr[12:])


def ipv6_dev_mc_dec(idev: Inet6Dev, addr: bytes) -> None:
    """Let one user less listen to a group."""
    for mc in idev.mc_list:
        if mc.addr == addr:
            mc.users -= 1
            if mc.users == 0:
                idev.mc_list.remove(mc)
                if addr[1] & 15 > _SCOPE_NODE and idev.dev.has_link_addr() and not idev.dev.is_loopback():
                    dev_mc_del(idev.dev, b"\x33\x33" + addr[12:])
            return


def ipv6_chk_mcast_addr(idev: Inet6Dev, group: bytes) -> bool:
    """Tell whether a device listens to a group."""
    return any(mc.addr == group for mc in idev.mc_list)


def addrconf_addr_solict_mult(addr: bytes) -> bytes:
    """Return the solicited-node group of an address, RFC 4291 2.7.1."""
    return b"\xff\x02" + bytes(9) + b"\x01\xff" + addr[13:]
