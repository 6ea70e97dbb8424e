"""Interface ioctls, netdevice(7), on every kind of socket: reading, configuring, errors and their order."""

import struct
import subprocess
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from twinsock.kernel.drivers.veth import veth_newlink
from twinsock.uapi import sockios

pytestmark = [pytest.mark.root]

LO, V0, NONE = b"lo", b"v0", b"nope"
KINDS = ((2, 2), (2, 1), (10, 2), (1, 1), (1, 2))  # AF_INET, AF_INET6 and AF_UNIX sockets


def make_veth(env: Any, name: str = "v0", peer: str = "v1") -> None:
    """Add a pair of devices with known link addresses to the program's namespace."""
    macs = ("02:00:00:00:00:01", "02:00:00:00:00:02")
    if env.kind == "host":
        command = f"ip link add {name} address {macs[0]} type veth peer name {peer} address {macs[1]}"
        subprocess.run(command.split(), check=True, capture_output=True)
        return
    err, *ends = veth_newlink(env.task.net, name, env.task.net, peer)
    assert err == 0
    for end, mac in zip(ends, macs, strict=True):
        end.dev_addr = bytes.fromhex(mac.replace(":", ""))


def ifreq(name: bytes, rest: bytes = b"") -> bytes:
    return name.ljust(16, b"\0") + rest.ljust(24, b"\0")


def sockaddr(host: str, family: int = 2, port: int = 0) -> bytes:
    return struct.pack("=H", family) + struct.pack("!H", port) + bytes(int(part) for part in host.split(".")) + bytes(8)


def ioctl(env: Any, fd: Any, name: str, arg: bytes) -> Any:
    """Return what an ioctl gives or its errno; the address of an interface in the fields behind the name."""
    result = attempt(env.fcntl.ioctl, fd, getattr(sockios, name), arg)
    return result if isinstance(result, str) else result[: len(arg)].hex()


GETS = [
    "SIOCGIFNAME",
    "SIOCGIFFLAGS",
    "SIOCGIFADDR",
    "SIOCGIFDSTADDR",
    "SIOCGIFBRDADDR",
    "SIOCGIFNETMASK",
    "SIOCGIFMETRIC",
    "SIOCGIFMEM",
    "SIOCGIFMTU",
    "SIOCGIFENCAP",
    "SIOCGIFHWADDR",
    "SIOCGIFSLAVE",
    "SIOCGIFINDEX",
    "SIOCGIFPFLAGS",
    "SIOCGIFCOUNT",
    "SIOCGIFTXQLEN",
    "SIOCGIFMAP",
    "SIOCOUTQNSD",
    "SIOCRTMSG",
    "SIOCSIFLINK",
]


def reads(env: Any, uid: int) -> Any:
    make_veth(env)
    socks = [env.socket.socket(*kind) for kind in KINDS]
    if uid:
        env.setuid(uid)
    out = []
    for kind, sock in zip(KINDS, socks, strict=True):
        for name in GETS:
            for device in (LO, V0, NONE, b"", b"lo:1", b"x" * 15, b"x" * 16):
                out.append((kind, name, device, ioctl(env, sock, name, ifreq(device))))
        out += [
            (kind, "index", index, ioctl(env, sock, "SIOCGIFNAME", ifreq(b"", struct.pack("i", index)))) for index in (0, 1, 2, 3, 9, -1)
        ]
    return out


@pytest.mark.parametrize("uid", [0, 1000])
def test_every_reading_ioctl_answers_alike_on_every_kind_of_socket(uid: int) -> None:
    assert_parity(reads, uid)


SETS = (
    ("SIOCSIFFLAGS", struct.pack("h", 0x1)),
    ("SIOCSIFFLAGS", struct.pack("h", 0x1 | 0x100)),
    ("SIOCSIFFLAGS", struct.pack("h", 0)),
    ("SIOCSIFMTU", struct.pack("i", 1400)),
    ("SIOCSIFMTU", struct.pack("i", 67)),
    ("SIOCSIFMTU", struct.pack("i", 65536)),
    ("SIOCSIFMTU", struct.pack("i", -1)),
    ("SIOCSIFMTU", struct.pack("i", 1000)),
    ("SIOCSIFTXQLEN", struct.pack("i", 5)),
    ("SIOCSIFTXQLEN", struct.pack("i", -1)),
    ("SIOCSIFMETRIC", struct.pack("i", 1)),
    ("SIOCSIFHWADDR", struct.pack("=H", 1) + bytes.fromhex("020000000099")),
    ("SIOCSIFHWADDR", struct.pack("=H", 772) + bytes.fromhex("020000000099")),
    ("SIOCSIFHWADDR", struct.pack("=H", 1) + bytes.fromhex("010000000099")),
    ("SIOCSIFHWADDR", struct.pack("=H", 1) + bytes(6)),
    ("SIOCSIFHWBROADCAST", struct.pack("=H", 1) + b"\xff" * 6),
    ("SIOCSIFADDR", sockaddr("10.1.2.3")),
    ("SIOCSIFADDR", sockaddr("10.1.2.4", 10)),
    ("SIOCSIFADDR", sockaddr("224.0.0.1")),
    ("SIOCSIFNETMASK", sockaddr("255.255.0.0")),
    ("SIOCSIFNETMASK", sockaddr("255.0.255.0")),
    ("SIOCSIFBRDADDR", sockaddr("10.1.2.255")),
    ("SIOCSIFDSTADDR", sockaddr("10.1.2.9")),
    ("SIOCSIFMAP", bytes(24)),
    ("SIOCADDMULTI", struct.pack("=H", 0) + bytes.fromhex("01005e000001")),
    ("SIOCSIFPFLAGS", bytes(4)),
    ("SIOCSIFSLAVE", bytes(4)),
    ("SIOCSIFMEM", bytes(4)),
    ("SIOCSIFENCAP", bytes(4)),
)


def state(env: Any, sock: Any, device: bytes) -> Any:
    names = (
        "SIOCGIFFLAGS",
        "SIOCGIFADDR",
        "SIOCGIFBRDADDR",
        "SIOCGIFNETMASK",
        "SIOCGIFDSTADDR",
        "SIOCGIFMTU",
        "SIOCGIFHWADDR",
        "SIOCGIFTXQLEN",
    )
    found = [ioctl(env, sock, name, ifreq(device)) for name in names]
    if len(found[0]) > 32:  # IFF_RUNNING of a device without a peer: Linux takes it away some time after the device came up
        found[0] = f"{int(found[0][32:36], 16) & ~0x4000:04x}"
    return found


def sets(env: Any, device: bytes, uid: int, kind: tuple[int, int]) -> Any:
    make_veth(env)
    sock = env.socket.socket(*kind)
    reader = env.socket.socket(2, 2)
    if uid:
        env.setuid(uid)
    return [(name, rest, ioctl(env, sock, name, ifreq(device, rest))[:64], state(env, reader, device)) for name, rest in SETS]


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("kind", [(2, 2), (1, 1)])
@pytest.mark.parametrize("device", [LO, V0, NONE])
def test_every_configuring_ioctl_does_the_same(device: bytes, uid: int, kind: tuple[int, int]) -> None:
    assert_parity(sets, device, uid, kind)


def names(env: Any, kind: tuple[int, int]) -> Any:
    make_veth(env)
    sock = env.socket.socket(*kind)
    out = []
    wanted = (b"eth9", b"v1", b"a/b", b"a b", b".", b"", b"eth%d", b"lo", b"x" * 15)
    for old in (V0, b"eth9", b"eth0", LO, NONE):
        out += [(old, new, ioctl(env, sock, "SIOCSIFNAME", ifreq(old, new))) for new in wanted]
    out.append(ioctl(env, sock, "SIOCSIFFLAGS", ifreq(b"v1", struct.pack("h", 1))))
    out.append(ioctl(env, sock, "SIOCSIFNAME", ifreq(b"v1", b"up1")))
    return out


def test_renaming_follows_the_same_rules() -> None:
    assert_parity(names, (2, 2))


def aliases(env: Any) -> Any:
    """Give a device several addresses through labels, as ifconfig(8) did."""
    make_veth(env)
    sock = env.socket.socket(2, 2)
    out: list[Any] = [ioctl(env, sock, "SIOCSIFFLAGS", ifreq(V0, struct.pack("h", 1)))]
    for label, host in ((b"v0", "10.0.0.1"), (b"v0:1", "10.0.0.2"), (b"v0:2", "192.168.7.1"), (b"v0:1", "10.0.0.3"), (b"v0", "172.16.0.1")):
        out.append((label, host, ioctl(env, sock, "SIOCSIFADDR", ifreq(label, sockaddr(host)))))
        for which in (b"v0", b"v0:1", b"v0:2", b"v0:3"):
            out.append((which, [ioctl(env, sock, name, ifreq(which)) for name in ("SIOCGIFADDR", "SIOCGIFNETMASK", "SIOCGIFBRDADDR")]))
    out.append(ioctl(env, sock, "SIOCSIFADDR", ifreq(b"v0:2", sockaddr("0.0.0.0"))))
    out.append(ioctl(env, sock, "SIOCSIFFLAGS", ifreq(b"v0:1", struct.pack("h", 0))))
    out += [ioctl(env, sock, "SIOCGIFADDR", ifreq(which)) for which in (b"v0", b"v0:1", b"v0:2")]
    return out


def test_labels_carry_addresses_of_their_own() -> None:
    assert_parity(aliases)


def conf(env: Any, kind: tuple[int, int], room: int | None) -> Any:
    """SIOCGIFCONF: the interfaces that have an IPv4 address, in a buffer of the caller's."""
    import ctypes

    make_veth(env)
    config = env.socket.socket(2, 2)
    ioctl(env, config, "SIOCSIFADDR", ifreq(V0, sockaddr("10.0.0.1")))
    sock = env.socket.socket(*kind)
    buffer = ctypes.create_string_buffer(400)
    size = 0 if room is None else room
    ifconf = struct.pack("iiQ", size, 0, 0 if room is None else ctypes.addressof(buffer))
    result = attempt(env.fcntl.ioctl, sock, sockios.SIOCGIFCONF, ifconf)
    return result[:4].hex() if isinstance(result, bytes) else result, buffer.raw.hex()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("room", [None, 0, 39, 40, 79, 80, 400, -1])
def test_siocgifconf_lists_the_addresses_that_fit(kind: tuple[int, int], room: int | None) -> None:
    assert_parity(conf, kind, room)


def rtentry(dst: str, mask: str, gateway: str = "", flags: int = 1, metric: int = 0) -> bytes:
    head = bytes(8) + sockaddr(dst) + (sockaddr(gateway) if gateway else bytes(16)) + sockaddr(mask)
    return (head + struct.pack("HhQQh", flags, 0, 0, 0, metric)).ljust(120, b"\0")


ROUTES = (
    ("SIOCADDRT", rtentry("10.9.0.0", "255.255.0.0", "10.0.0.2", 3)),
    ("SIOCADDRT", rtentry("10.9.0.0", "255.255.0.0", "10.0.0.2", 3)),
    ("SIOCADDRT", rtentry("10.9.0.0", "255.255.0.0", "99.0.0.2", 3)),
    ("SIOCADDRT", rtentry("10.9.0.1", "255.255.0.0", "10.0.0.2", 3)),
    ("SIOCADDRT", rtentry("10.9.0.1", "255.255.255.255", "10.0.0.2", 7)),
    ("SIOCADDRT", rtentry("10.9.0.0", "255.0.255.0", "10.0.0.2", 3)),
    ("SIOCADDRT", rtentry("10.8.0.0", "255.255.0.0", "", 1)),
    ("SIOCADDRT", rtentry("10.8.0.0", "255.255.0.0", "", 3)),
    ("SIOCADDRT", rtentry("10.7.0.0", "255.255.0.0", "", 0x200)),
    ("SIOCADDRT", rtentry("0.0.0.0", "0.0.0.0", "10.0.0.2", 3, 6)),
    ("SIOCDELRT", rtentry("0.0.0.0", "0.0.0.0", "10.0.0.2", 3, 6)),
    ("SIOCDELRT", rtentry("0.0.0.0", "0.0.0.0", "10.0.0.2", 3, 6)),
    ("SIOCDELRT", rtentry("10.9.0.0", "255.255.0.0", "10.0.0.3", 3)),
    ("SIOCDELRT", rtentry("10.9.0.0", "255.255.0.0", "10.0.0.2", 3)),
)


def routes(env: Any, uid: int, kind: tuple[int, int]) -> Any:
    make_veth(env)
    config = env.socket.socket(2, 2)
    ioctl(env, config, "SIOCSIFADDR", ifreq(V0, sockaddr("10.0.0.1")))
    ioctl(env, config, "SIOCSIFNETMASK", ifreq(V0, sockaddr("255.255.255.0")))
    ioctl(env, config, "SIOCSIFFLAGS", ifreq(V0, struct.pack("h", 1)))
    ioctl(env, config, "SIOCSIFFLAGS", ifreq(b"v1", struct.pack("h", 1)))
    sock = env.socket.socket(*kind)
    if uid:
        env.setuid(uid)
    out = [(name, attempt(env.fcntl.ioctl, sock, getattr(sockios, name), arg)) for name, arg in ROUTES]
    reached = []
    for host in ("10.9.1.1", "10.9.0.1", "10.8.0.1", "10.7.0.1", "11.0.0.1", "10.0.0.2"):
        probe = env.socket.socket(2, 2)
        reached.append((host, attempt(probe.connect, (host, 9)), attempt(probe.getsockname)[0]))
    return [result if isinstance(result, str) else "ok" for _, result in out], reached


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("kind", [(2, 2), (2, 1), (1, 1)])
def test_routes_are_added_and_deleted_by_ioctl(uid: int, kind: tuple[int, int]) -> None:
    assert_parity(routes, uid, kind)
