"""Which addresses are ours: the questions that bind(2) asks of routes and devices (Linux: net/ipv4/fib_frontend.c, net/ipv6/addrconf.c).

`Net.addrs` answers. The base class knows no address at all; `AddressTable` answers from lists, which whoever builds the
namespace fills: from simulated devices, or from the addresses and local routes of a live host."""

from twinsock.uapi.if_ import IFF_LOOPBACK
from twinsock.uapi.rtnetlink import (
    IFA_F_OPTIMISTIC,
    IFA_F_TENTATIVE,
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
)


class AddressView:
    """What bind(2) needs to know; an `l3mdev` is the ifindex of a VRF device, 0 outside any."""

    def dev_exists(self, ifindex: int) -> bool:
        """Tell whether a device has this index."""
        return False

    def l3mdev_master_ifindex(self, ifindex: int) -> int:
        """Return the VRF that the device is or belongs to, else 0."""
        return 0

    def inet_local_type(self, addr: int, l3mdev: int) -> int:
        """Look an IPv4 address up in the local table (of a VRF: in its table) and return RTN_*, RTN_UNICAST when unknown."""
        return RTN_UNICAST

    def ipv6_chk_addr(self, addr: bytes, ifindex: int) -> bool:
        """Tell whether an IPv6 address is assigned and usable; `ifindex` limits host and link scope to that device, 0: anywhere.

        Tentative addresses do not count, anycast addresses are not assigned."""
        return False


def inet_addr_type(view: AddressView, addr: int, l3mdev: int) -> int:
    """Return the RTN_* type of an IPv4 address."""
    if addr in (0, 0xFFFFFFFF):
        return RTN_BROADCAST
    if addr >> 28 == 0xE:
        return RTN_MULTICAST
    return view.inet_local_type(addr, l3mdev)


class _Device:
    def __init__(self, ifindex: int, flags: int, master: int) -> None:
        self.ifindex = ifindex
        self.flags = flags  # IFF_*
        self.master = master  # VRF it is or belongs to


class _Route4:
    def __init__(self, prefix: int, plen: int, type_: int, l3mdev: int) -> None:
        self.mask = 0xFFFFFFFF << (32 - plen) & 0xFFFFFFFF
        self.prefix = prefix & self.mask
        self.plen = plen
        self.type = type_
        self.l3mdev = l3mdev


class _Address6:
    def __init__(self, ifindex: int, addr: bytes, scope: int, flags: int) -> None:
        self.ifindex = ifindex
        self.addr = addr
        self.scope = scope  # RT_SCOPE_*
        self.flags = flags  # IFA_F_*


class AddressTable(AddressView):
    """Devices, local IPv4 routes and IPv6 addresses in plain lists."""

    def __init__(self) -> None:
        self._devices: list[_Device] = []
        self._routes4: list[_Route4] = []  # longest prefix first
        self._addresses6: list[_Address6] = []

    def add_device(self, ifindex: int, flags: int, master: int = 0) -> None:
        """Add a device with its IFF_* flags; `master` is the VRF it belongs to, itself for a VRF device."""
        self._devices.append(_Device(ifindex, flags, master))

    def add_route4(self, prefix: int, plen: int, type_: int, l3mdev: int = 0) -> None:
        """Add a route of the local table, or of a VRF's table."""
        route = _Route4(prefix, plen, type_, l3mdev)
        at = 0
        while at < len(self._routes4) and self._routes4[at].plen >= plen:
            at += 1
        self._routes4.insert(at, route)

    def add_address4(self, ifindex: int, addr: int, plen: int, broadcast: int = 0) -> None:
        """Assign an address to a device that is up, with the local routes that it brings."""
        device = self._device(ifindex)
        l3mdev = 0 if device is None else device.master
        self.add_route4(addr, 32, RTN_LOCAL, l3mdev)
        if broadcast and broadcast != 0xFFFFFFFF:
            self.add_route4(broadcast, 32, RTN_BROADCAST, l3mdev)
        if plen < 32 and device is not None and device.flags & IFF_LOOPBACK:
            self.add_route4(addr, plen, RTN_LOCAL, l3mdev)
        if plen < 31:
            last = addr | (0xFFFFFFFF >> plen)
            self.add_route4(last, 32, RTN_BROADCAST, l3mdev)

    def add_address6(self, ifindex: int, addr: bytes, scope: int, flags: int = 0) -> None:
        """Assign an IPv6 address with its RT_SCOPE_* and IFA_F_* flags."""
        self._addresses6.append(_Address6(ifindex, addr, scope, flags))

    def dev_exists(self, ifindex: int) -> bool:
        """Tell whether a device has this index."""
        return self._device(ifindex) is not None

    def l3mdev_master_ifindex(self, ifindex: int) -> int:
        """Return the VRF that the device is or belongs to, else 0."""
        device = self._device(ifindex)
        return 0 if device is None else device.master

    def inet_local_type(self, addr: int, l3mdev: int) -> int:
        """Return the type of the longest matching route."""
        for route in self._routes4:
            if addr & route.mask == route.prefix and route.l3mdev == l3mdev:
                return route.type
        return RTN_UNICAST

    def ipv6_chk_addr(self, addr: bytes, ifindex: int) -> bool:
        """Tell whether the address is assigned and usable on the device."""
        l3mdev = self.l3mdev_master_ifindex(ifindex)
        for known in self._addresses6:
            if known.addr != addr:
                continue
            if known.flags & IFA_F_TENTATIVE and not known.flags & IFA_F_OPTIMISTIC:
                continue
            if self.l3mdev_master_ifindex(known.ifindex) != l3mdev:
                continue
            if not ifindex or known.ifindex == ifindex or known.scope not in (RT_SCOPE_LINK, RT_SCOPE_HOST):
                return True
        return False

    def _device(self, ifindex: int) -> _Device | None:
        for device in self._devices:
            if device.ifindex == ifindex:
                return device
        return None
