"""Adding and deleting routes by request, and the kinds of IPv4 addresses (Linux: net/ipv4/fib_frontend.c)."""

from __future__ import annotations

from twinsock.kernel.net.core.addrs import AddressView
from twinsock.kernel.net.core.dev import NetDevice, dev_get_by_index
from twinsock.kernel.net.ipv4.fib_table import FibConfig, FibTables, fib_check_nh
from twinsock.uapi.errno import EAGAIN, EINVAL, ENODEV, ESRCH, EXDEV
from twinsock.uapi.in_ import INADDR_BROADCAST
from twinsock.uapi.rtnetlink import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RT_SCOPE_NOWHERE,
    RT_SCOPE_UNIVERSE,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.ipv4.devinet import InDevice


class FibAddressView(AddressView):
    """Answers bind(2)'s questions from devices and routing tables."""

    def __init__(self, net: Net) -> None:
        self.net = net

    def dev_exists(self, ifindex: int) -> bool:
        """Tell whether a device has this index."""
        return dev_get_by_index(self.net, ifindex) is not None

    def l3mdev_master_ifindex(self, ifindex: int) -> int:
        """Return the VRF that the device is or belongs to, else 0."""
        dev = dev_get_by_index(self.net, ifindex)
        return 0 if dev is None else dev.l3mdev_master

    def inet_local_type(self, addr: int, l3mdev: int) -> int:
        """Look an address up in the local table.

        Linux: before a namespace has had its first address there is no local table, and every address counts as a broadcast one.
        Measured: 6.18.44, tests/parity/test_namespaces.py.
        """
        fib = self.net.ipv4.fib
        if fib is None or l3mdev:
            return RTN_UNICAST
        if not fib.local.exists:
            return RTN_BROADCAST
        err, res = fib.local.lookup(addr, 0, RT_SCOPE_UNIVERSE)
        return RTN_UNICAST if err or res is None else res.type


def ipv4_is_multicast(addr: int) -> bool:
    """Tell whether an address is in 224.0.0.0/4."""
    return addr >> 28 == 14


def ipv4_is_loopback(addr: int) -> bool:
    """Tell whether an address is in 127.0.0.0/8."""
    return addr >> 24 == 127


def ipv4_is_local_multicast(addr: int) -> bool:
    """Tell whether an address is in 224.0.0.0/24."""
    return addr >> 8 == 0xE00000


def inet_addr_type(net: Net, addr: int) -> int:
    """Return what an address is here: RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST, or RTN_UNICAST for somebody else's."""
    return inet_dev_addr_type(net, None, addr)


def inet_dev_addr_type(net: Net, dev: NetDevice | None, addr: int) -> int:
    """As `inet_addr_type`, counting only what belongs to `dev` when one is given."""
    if addr == 0 or addr == INADDR_BROADCAST:
        return RTN_BROADCAST
    if ipv4_is_multicast(addr):
        return RTN_MULTICAST
    fib = net.ipv4.fib
    if fib is None or not fib.local.exists:
        return RTN_BROADCAST
    err, res = fib.local.lookup(addr, 0, RT_SCOPE_UNIVERSE)
    if err == 0 and res is not None and (dev is None or res.fi.dev is dev):
        return res.type
    return RTN_UNICAST


def fib_newroute(net: Net, cfg: FibConfig) -> int:
    """Add a route, `ip route add`: 0 or -errno."""
    fib = net.ipv4.fib
    if fib is None:
        return -EINVAL
    if cfg.dst_len > 32 or cfg.dst & ~(0xFFFFFFFF << (32 - cfg.dst_len)) & 0xFFFFFFFF:
        return -EINVAL
    _default_scope(cfg)
    dev: NetDevice | None = None
    if cfg.oif:
        dev = dev_get_by_index(net, cfg.oif)
        if dev is None:
            return -ENODEV
    if cfg.prefsrc and inet_addr_type(net, cfg.prefsrc) != RTN_LOCAL and not (cfg.type == RTN_LOCAL and cfg.dst == cfg.prefsrc):
        return -EINVAL
    err, dev = fib_check_nh(fib, cfg, dev)
    if err:
        return err
    return fib.insert(cfg, dev)


def fib_delroute(net: Net, cfg: FibConfig) -> int:
    """Delete the first route that matches, `ip route del`: 0 or -ESRCH."""
    fib = net.ipv4.fib
    if cfg.dst_len > 32:
        return -EINVAL
    return -ESRCH if fib is None else fib.delete(cfg)


def fib_validate_source(fib: FibTables, saddr: int, dev: NetDevice, in_dev: InDevice) -> int:
    """Check a received source address: 0 on a link of ours, 1 behind a gateway, -EINVAL (martian), -EXDEV (rp_filter)."""
    rpf = in_dev.rp_filter()
    if rpf == 0 and fib.local_dev_of(saddr) == 0:
        return 0
    err, res = fib.lookup(saddr)
    if err == 0 and res is not None:
        if res.type != RTN_UNICAST and (res.type != RTN_LOCAL or not in_dev.accept_local()):
            return -EINVAL
        if res.fi.dev is dev:
            return 1 if res.fi.nh_scope < RT_SCOPE_HOST else 0
        if rpf == 1:
            return -EXDEV
        return 0
    if err == -EAGAIN or rpf:
        return -EXDEV
    return 0


def _default_scope(cfg: FibConfig) -> None:
    """Choose the scope as iproute2 does when none is given."""
    if cfg.scope >= 0:
        return
    if cfg.type == RTN_LOCAL:
        cfg.scope = RT_SCOPE_HOST
    elif cfg.type in (RTN_BROADCAST, RTN_MULTICAST) or (cfg.type == RTN_UNICAST and not cfg.gw):
        cfg.scope = RT_SCOPE_LINK
    else:
        cfg.scope = RT_SCOPE_UNIVERSE
    if cfg.scope == RT_SCOPE_NOWHERE:
        cfg.scope = RT_SCOPE_UNIVERSE
