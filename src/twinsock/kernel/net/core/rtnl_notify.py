"""Telling listeners of NETLINK_ROUTE what has changed (Linux: rtnl_notify(), rtmsg_ifinfo() of net/core/rtnetlink.c, __neigh_notify()).

Nothing is made up unless a socket is in the group. A change that a request asked for carries the request's number and port."""

from __future__ import annotations

from twinsock.uapi.rtnetlink import RTM_DELLINK, RTM_DELNEIGH, RTM_NEWLINK, RTM_NEWNEIGH, RTNLGRP_LINK, RTNLGRP_NEIGH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.neighbour import Neighbour
    from twinsock.kernel.net.core.net_namespace import Net

_NETLINK_ROUTE: Final = 0


def rtnl_has_listeners(net: Net, group: int) -> bool:
    """Tell whether a socket is in a group."""
    table = net.kernel.netlink
    return table is not None and bool(net.nl_socks) and table.has_listeners(net, _NETLINK_ROUTE, group)


def rtnl_notify(net: Net, group: int, type_: int, payload: bytes, flags: int = 0) -> None:
    """Tell a group."""
    from twinsock.wire.netlink import nlmsg

    table = net.kernel.netlink
    if table is not None:
        request = table.current
        seq, portid = (0, 0) if request is None else (request.seq, request.portid)
        table.broadcast(net, _NETLINK_ROUTE, nlmsg(type_, flags, payload, seq, portid), group, 0)


def rtmsg_ifinfo(dev: NetDevice, gone: bool = False) -> None:
    """Tell of a device that came, changed or went."""
    if rtnl_has_listeners(dev.net, RTNLGRP_LINK):
        from twinsock.kernel.net.core.rtnetlink import rtnl_fill_ifinfo

        rtnl_notify(dev.net, RTNLGRP_LINK, RTM_DELLINK if gone else RTM_NEWLINK, rtnl_fill_ifinfo(dev).emit())


def neigh_notify(neigh: Neighbour, gone: bool = False) -> None:
    """Tell of a neighbour that came, changed or went."""
    net = neigh.dev.net
    if rtnl_has_listeners(net, RTNLGRP_NEIGH):
        from twinsock.kernel.net.core.rtnetlink import neigh_fill_info

        rtnl_notify(net, RTNLGRP_NEIGH, RTM_DELNEIGH if gone else RTM_NEWNEIGH, neigh_fill_info(neigh))
