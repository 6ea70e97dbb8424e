"""Routing decisions (Linux: net/ipv4/route.c)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinsock.kernel.net.core.dev import NetDevice


class Dst:
    """`struct dst_entry`: where a packet goes next and what that path is like."""

    def __init__(self, dev: "NetDevice") -> None:
        self.dev = dev
        self.mtu = dev.mtu
        self.error = 0
