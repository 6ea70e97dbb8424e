"""`struct dst_entry`: where a packet goes next and what that path is like (Linux: include/net/dst.h, net/core/dst.c)."""

from __future__ import annotations

from twinsock.uapi.rtnetlink import RTAX_ADVMSS, RTAX_HOPLIMIT, RTAX_LOCK, RTAX_MAX, RTAX_MTU, RTN_UNICAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.net.core.dev import NetDevice
    from twinsock.kernel.net.core.neighbour import Neighbour
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.skbuff import SkBuff

# Dst.rt_flags
RTCF_DOREDIRECT: Final = 0x01000000
RTCF_BROADCAST: Final = 0x10000000
RTCF_MULTICAST: Final = 0x20000000
RTCF_LOCAL: Final = 0x80000000

NO_METRICS: Final[list[int]] = [0] * (RTAX_MAX + 1)


class Dst:
    """A route as sockets and packets hold it. The base class is the IPv4 kind's and the IPv6 kind's common part.

    `metrics` is indexed by RTAX_*, 0 meaning "not set"; `metric` answers one of them. `mtu` is what the path takes,
    learned exceptions included. A held route stays usable until `check` says otherwise."""

    def __init__(self, dev: NetDevice) -> None:
        self.dev = dev
        self.net: Net = dev.net
        self.error = 0  # positive errno: what a packet that uses it gets
        self.type = RTN_UNICAST
        self.rt_flags = 0  # RTCF_*
        self.metrics = NO_METRICS
        self.genid = 0
        self.pmtu = 0  # learned; 0: none
        self.pmtu_locked = False
        self.pmtu_expires_ns = 0
        self.neigh: Neighbour | None = None  # cached next hop
        self.iif = 0

    def metric(self, which: int) -> int:
        """Return the route's own RTAX_* value, 0 when it has none."""
        return self.metrics[which]

    def locked(self, which: int) -> bool:
        """Tell whether `ip route ... lock` fixed the metric, or PMTU discovery did for the MTU."""
        return bool(self.metrics[RTAX_LOCK] >> which & 1) or (which == RTAX_MTU and self.pmtu_locked)

    @property
    def mtu(self) -> int:
        """Return the path MTU that holds now, dst_mtu()."""
        return self.get_mtu()

    def get_mtu(self) -> int:
        """Compute the path MTU: learned, else the route's, else the device's."""
        if self.pmtu:
            if self.dev.net.kernel.clock.now_ns < self.pmtu_expires_ns:
                return min(self.pmtu, self.dev.mtu) if not self.pmtu_locked else self.pmtu
            self.pmtu = 0
            self.pmtu_locked = False
        mtu = self.metrics[RTAX_MTU]
        return mtu if mtu else self.dev.mtu

    def advmss(self) -> int:
        """Return the MSS to announce, dst_metric_advmss()."""
        return self.metrics[RTAX_ADVMSS] or self.default_advmss()

    def default_advmss(self) -> int:
        """Return what the address family announces without a route metric."""
        raise NotImplementedError

    def hoplimit(self) -> int:
        """Return the route's hop limit, 0 when it sets none."""
        return self.metrics[RTAX_HOPLIMIT]

    def check(self) -> bool:
        """Tell whether the routing tables have not changed under it."""
        raise NotImplementedError

    def update_pmtu(self, mtu: int) -> None:
        """Learn a smaller path MTU, as after "fragmentation needed"."""
        raise NotImplementedError

    def confirm_neigh(self) -> None:
        """Note that the next hop answers, as TCP does on progress, dst_confirm()."""
        if self.neigh is not None:
            self.neigh.confirm()

    def input(self, skb: SkBuff) -> int:
        """Take a packet that arrived along this route."""
        raise NotImplementedError

    def output(self, skb: SkBuff) -> int:
        """Send a packet that has its network header along this route."""
        raise NotImplementedError
