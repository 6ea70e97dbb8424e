"""Kernels with IPv4 and IPv6 for tests of the network layer, and a protocol that remembers what it was given."""

from twinsock.kernel.drivers.loopback import loopback_init
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.ip_init import ip_init
from twinsock.kernel.net.ipv6.ip6_init import ip6_init
from twinsock.kernel.time.timer import Clock


class Recorder(NetProtocol):
    """Keeps every packet and every error."""

    def __init__(self) -> None:
        self.packets: list[SkBuff] = []
        self.errors: list[tuple[SkBuff, int, int, int]] = []

    def handler(self, skb: SkBuff) -> int:
        self.packets.append(skb)
        return 0

    def err_handler(self, skb: SkBuff, type_: int, code: int, info: int) -> int:
        self.errors.append((skb, type_, code, info))
        return 0


def host(clock: Clock | None = None, seed: int = 1) -> Kernel:
    """Make a kernel with `lo` up."""
    kernel = Kernel(seed, clock)
    ip_init(kernel)
    ip6_init(kernel)
    loopback_init(kernel)
    lo = kernel.init_net.loopback_dev
    assert lo is not None
    dev_open(lo)
    return kernel
