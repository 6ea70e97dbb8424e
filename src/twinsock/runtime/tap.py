"""A simulated host behind a TAP device of the real kernel, `twinsock up`: programs of this machine talk to it, and it to them.

The device lives as long as the process: nothing is left behind when it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct

from twinsock.kernel.drivers.tap import TunDevice
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open, register_netdevice
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv4.fib_frontend import fib_newroute
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.runtime.tap_bridge import TapLinks

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x2, 0x1000, 0x4000
_OFFLOADS = 0x1 | 0x2 | 0x4  # checksums, TSO over IPv4 and IPv6
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_IFF_UP = 1


class TapError(Exception):
    """The device cannot be had: one line for the user."""


def parse_network(text: str) -> tuple[int, int]:
    """Read 10.7.0.2/24 as address and prefix length. Raises ValueError."""
    address, slash, length = text.partition("/")
    try:
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")
    except OSError:
        raise ValueError(f"{text!r}: an address is written as 10.7.0.2/24") from None
    if not slash or not length.isdecimal() or not 1 <= int(length) <= 30:
        raise ValueError(f"{text!r}: an address is written as 10.7.0.2/24, with 30 bits at most before the host's own part")
    return number, int(length)


def outer_address(address: int, length: int) -> int:
    """Choose the address of this machine's end: the first one of the network, or the second if the simulated host has the first."""
    base = address & (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return base + 1 if address != base + 1 else base + 2


class Tap(TapLinks):
    """Both ends: the descriptor of the real device, and the simulated host's interface."""

    def __init__(self, kernel: Kernel, name: str, network: str) -> None:
        super().__init__()
        address, length = parse_network(network)
        self.outer = outer_address(address, length)
        self.fd = _open(name)
        try:
            _configure(name, self.outer, length)
        except OSError as error:
            os.close(self.fd)
            raise TapError(f"{name}: cannot be configured: {error.strerror}") from None
        net = kernel.init_net
        self.dev = TunDevice(net, "eth0", self, ethernet=True)
        self.attach(self.dev, self.fd, offload=True)
        err = register_netdevice(self.dev) or inet_insert_ifa(self.dev, InIfaddr(address, length)) or dev_open(self.dev)
        if not err:
            route = FibConfig(0, 0)
            route.gw = self.outer
            err = fib_newroute(net, route)
        if err:
            raise TapError(f"{name}: the simulated host's interface: {os.strerror(-err)}")

    def receive(self) -> None:
        """Take in what has arrived."""
        self.read(self.links[0])


def _open(name: str) -> int:
    """Make the device with a header that lets a packet stand for several. Raises TapError."""
    if not 0 < len(name.encode()) < 16 or "/" in name or " " in name:
        raise TapError(f"{name!r}: the name of a device has 15 characters at most, and neither blanks nor slashes")
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TapError(f"/dev/net/tun: {error.strerror}") from None
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    except OSError as error:
        os.close(fd)
        why = {
            errno.EPERM: "needs CAP_NET_ADMIN: run it as root, or in a namespace of your own (unshare -Urn)",
            errno.EBUSY: "is in use by another process",
            errno.EINVAL: "exists and is no TAP device",
        }
        raise TapError(f"{name}: {why.get(error.errno or 0, error.strerror)}") from None
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
    return fd


def _configure(name: str, address: int, length: int) -> None:
    """Give this machine's end its address and switch it on, unless it has one already. Raises OSError."""
    mask = 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFADDR, _ifreq_address(name, address))
        fcntl.ioctl(sock, _SIOCSIFNETMASK, _ifreq_address(name, mask))
        request = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        flags = struct.unpack_from("16xH", request)[0]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))


def _ifreq_address(name: str, address: int) -> bytes:
    return struct.pack("=16sH2xI16x", name.encode(), socket.AF_INET, socket.htonl(address))
