"""Kernels with IPv4 and IPv6 for tests of the network layer, and a protocol that remembers what it was given."""

from twinsock.kernel.drivers.loopback import loopback_init
from twinsock.kernel.drivers.veth import VethDev, veth_newlink
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open
from twinsock.kernel.net.core.protocol import NetProtocol
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import Proto
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv4.inet_sock import InetSock, Ipv6Pinfo
from twinsock.kernel.net.ipv4.ip_init import ip_init
from twinsock.kernel.net.ipv4.ip_output import IpcmCookie, ip_make_skb, ip_send_skb
from twinsock.kernel.net.ipv4.route import Flowi4, ip_route_output_flow
from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add
from twinsock.kernel.net.ipv6.ip6_init import ip6_init
from twinsock.kernel.net.ipv6.ip6_output import ip6_make_skb, ip6_send_skb
from twinsock.kernel.net.ipv6.route import Flowi6, ip6_dst_lookup_flow
from twinsock.kernel.time.timer import Clock
from twinsock.uapi.rtnetlink import IFA_F_NODAD
from twinsock.wire.l4 import L4Header


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


def veth_hosts(seed: int = 1) -> tuple[Kernel, VethDev, Kernel, VethDev]:
    """Make two kernels on one clock, joined by a veth pair: 10.0.0.1/24, fd00::1/64 and 10.0.0.2/24, fd00::2/64."""
    clock = Clock()
    a, b = host(clock, seed), host(clock, seed + 1)
    err, left, right = veth_newlink(a.init_net, "eth0", b.init_net, "eth0")
    assert err == 0 and left is not None and right is not None
    for i, dev in ((1, left), (2, right)):
        assert inet_insert_ifa(dev, InIfaddr(0x0A000000 | i, 24)) == 0
        assert dev_open(dev) == 0
    for i, dev in ((1, left), (2, right)):
        assert inet6_addr_add(dev, b"\xfd" + bytes(14) + bytes((i,)), 64, IFA_F_NODAD) == 0
    clock.advance_to(clock.now_ns + 3_000_000_000)  # link-local addresses are past duplicate detection
    return a, left, b, right


def send4(kernel: Kernel, daddr: int, payload: bytes, proto: int = 99, h: L4Header | None = None, pmtudisc: int = 0) -> int:
    """Send a datagram as a raw socket would: 0 or -errno."""
    net = kernel.init_net
    sk = InetSock(net, 2, Proto("TEST", 0), 3, proto)
    sk.pmtudisc = pmtudisc
    fl4 = Flowi4(daddr, 0, proto)
    err, rt = ip_route_output_flow(net, fl4, sk)
    if rt is None:
        return err
    err, skb = ip_make_skb(sk, fl4, payload, 0 if h is None else h.header_len(), IpcmCookie(), rt)
    if skb is None:
        return err
    skb.h = h
    return ip_send_skb(net, skb)


def send6(kernel: Kernel, daddr: bytes, payload: bytes, proto: int = 99, h: L4Header | None = None, oif: int = 0, pmtudisc: int = 1) -> int:
    """Send a datagram over IPv6: 0 or -errno."""
    net = kernel.init_net
    sk = InetSock(net, 10, Proto("TEST", 0), 3, proto)
    sk.pinet6 = Ipv6Pinfo()
    sk.pinet6.pmtudisc = pmtudisc
    fl6 = Flowi6(daddr, proto=proto, oif=oif)
    err, rt = ip6_dst_lookup_flow(net, fl6, sk)
    if rt is None:
        return err
    err, skb = ip6_make_skb(sk, fl6, payload, 0 if h is None else h.header_len(), IpcmCookie(), rt)
    if skb is None:
        return err
    skb.h = h
    return ip6_send_skb(net, skb)
