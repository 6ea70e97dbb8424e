"""Packet sockets: creation, names, bind, sending and receiving frames on loopback and veth."""

import errno
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import add_veth, bits, meminfo

pytestmark = [pytest.mark.root]

ALL = 3
IP = 0x0800
PRIVATE = 0x88B5  # IEEE 802 local experimental EtherType
TYPES = {"raw": 3, "dgram": 2, "packet": 10}


def ll(ifindex: int, proto: int = 0, addr: bytes = bytes(8), halen: int = 6, family: int = 17) -> bytes:
    """Return a struct sockaddr_ll."""
    return struct.pack("=H", family) + struct.pack("!H", proto) + struct.pack("=iHBB", ifindex, 0, 0, halen) + addr.ljust(8, b"\0")


def name_of(result: int) -> Any:
    """Return a result, or the errno's name."""
    return errno.errorcode[-result] if result < 0 else result


def packet(env: Any, type_: int, proto: int = ALL, ifindex: int | None = None) -> Any:
    """Make a non-blocking packet socket, bound to a device if one is given."""
    s = env.socket.socket(17, type_, struct.unpack("=H", struct.pack("!H", proto))[0])
    s.setblocking(False)
    if ifindex is not None:
        assert env.sys.bind(s.fileno(), ll(ifindex, proto), 20) == 0
    return s


def blank(data: bytes) -> str:
    """Return a frame in hex without IPv4's identification and header checksum."""
    for at in (0, 10, 12, 14, 24, 26):
        if data[at : at + 2] == b"\x45\0":
            parts = (data[: at + 4], bytes(len(data[at + 4 : at + 6])), data[at + 6 : at + 10], bytes(len(data[at + 10 : at + 12])))
            return (b"".join(parts) + data[at + 12 :]).hex()
    return data.hex()


def mac(env: Any, device: str) -> bytes:
    """Return a device's link address."""
    s = env.socket.socket(2, 2)
    found = env.fcntl.ioctl(s.fileno(), 0x8927, device.encode().ljust(40, b"\0"))
    s.close()
    return bytes(found[18:24])


def hide(value: Any, addr: bytes) -> Any:
    """Replace a random link address in results."""
    if isinstance(value, bytes):
        return value.replace(addr, b"random")
    if isinstance(value, str):
        return value.replace(addr.hex(), "random")
    if isinstance(value, list | tuple):
        return [hide(part, addr) for part in value]
    return value


def drain(env: Any, s: Any, size: int = 3000, flags: int = 0) -> list[Any]:
    """Receive everything that waits."""
    out = []
    for _ in range(50):
        got = attempt(s.recvmsg, size, 500, flags)
        if isinstance(got, str):
            out.append(got)
            return out
        data, control, msg_flags, address = got
        out.append((blank(data), len(data), control, msg_flags, shown(env, address)))
    return out


def shown(env: Any, address: Any) -> Any:
    """Return an address with the number of its device, and zero instead of a random link address."""
    if address and isinstance(address[0], str):
        import socket

        address = (socket.if_nametoindex(address[0]) if address[0] else 0, *address[1:])
    return address


def udp_pair(env: Any, host: str = "127.0.0.1") -> tuple[Any, Any]:
    """Make two UDP sockets, the second one connected to the first."""
    r = env.socket.socket(2, 2)
    r.bind((host, 7000))
    s = env.socket.socket(2, 2)
    s.bind((host, 7001))
    s.connect((host, 7000))
    return r, s


def udp_on_loopback(env: Any, kind: str, proto: int) -> Any:
    p = packet(env, TYPES[kind], proto)
    out: list[Any] = [bits(env, p)]
    r, s = udp_pair(env)
    s.send(b"hello")
    s.send(b"")
    out += [bits(env, p), meminfo(p), drain(env, p), meminfo(p), r.recv(10)]
    s.send(b"x" * 100)
    out += [drain(env, p, 50), bits(env, p)]
    s.send(b"y" * 100)
    out += [drain(env, p, 50, 0x20)]
    s.send(b"z" * 3)
    out += [attempt(lambda: len(p.recv(2000, 2))), drain(env, p, 0)]
    return out


@pytest.mark.parametrize("proto", [ALL, IP, PRIVATE, 0])
@pytest.mark.parametrize("kind", TYPES)
def test_a_datagram_on_loopback_is_seen_by_packet_sockets_alike(kind: str, proto: int) -> None:
    assert_parity(udp_on_loopback, kind, proto)


def bind_calls(env: Any, kind: str) -> Any:
    index = add_veth(env, "veth9", "10.9.0.1", 24)
    s = packet(env, TYPES[kind], 0)
    fd = s.fileno()
    out: list[Any] = [(name_of(env.sys.getsockname(fd, 64)[0]), env.sys.getsockname(fd, 64)[1][:10].hex())]
    for proto, ifindex in ((ALL, 1), (0, 0), (IP, 0), (0, 1), (0, 99), (IP, -1), (PRIVATE, index), (0, index), (0, 0)):
        for length in (0, 1, 2, 12, 16, 18, 19, 20, 21, 32):
            ret = env.sys.bind(fd, ll(ifindex, proto) + bytes(20), length)
            name = env.sys.getsockname(fd, 64)
            out.append((proto, ifindex, length, name_of(ret), name[0], name[1][:12].hex(), name[2]))
        out.append((name_of(env.sys.bind(fd, ll(ifindex, proto, family=2), 20)), s.getsockopt(1, 4), bits(env, s)))
        out.append((rows(env), name_of(env.sys.getpeername(fd, 64)[0])))
    for device in (b"lo", b"veth9", b"none", b"", b"veth9p"):
        ret = env.sys.bind(fd, struct.pack("=H", 17) + device.ljust(14, b"\0"), 16)
        out.append((device, name_of(ret), env.sys.getsockname(fd, 64)[1][:12].hex(), env.sys.getsockname(fd, 3), rows(env)))
    return out


def rows(env: Any) -> list[Any]:
    """Return /proc/net/packet without pointers and inodes."""
    return [line.split()[1:-1] for line in env.proc("packet").splitlines()]


@pytest.mark.parametrize("kind", TYPES)
def test_bind_and_names_agree(kind: str) -> None:
    assert_parity(bind_calls, kind)


def other_calls(env: Any, kind: str) -> Any:
    s = packet(env, TYPES[kind], ALL)
    fd = s.fileno()
    out: list[Any] = [name_of(env.sys.connect(fd, ll(1), 20)), name_of(env.sys.listen(fd, 1)), name_of(env.sys.accept4(fd, 0)[0])]
    out += [name_of(env.sys.shutdown(fd, how)) for how in (0, 1, 2, 3)]
    out += [attempt(s.recv, 10, flags) for flags in (0, 1, 2, 4, 0x40, 0x100, 0x2000, 0x40000000, 0x10000)]
    out += [attempt(s.send, b"x" * 60, flags) for flags in (0, 1, 0x40, 0x4000)]
    return out


@pytest.mark.parametrize("kind", TYPES)
def test_calls_of_connections_are_refused_alike(kind: str) -> None:
    assert_parity(other_calls, kind)


def spkt(device: bytes, proto: int, length: int = 18) -> bytes:
    """Return a struct sockaddr_pkt."""
    return (struct.pack("=H", 17) + device.ljust(14, b"\0") + struct.pack("!H", proto) + bytes(10))[:length]


def sends(env: Any, kind: str, device: str) -> Any:
    index = 1 if device == "lo" else add_veth(env, "veth9", "10.9.0.1", 24)
    peer = 1 if device == "lo" else index - 1
    type_ = TYPES[kind]
    s = packet(env, type_, 0)
    watch = packet(env, 3, ALL, peer)
    dgram = packet(env, 2, PRIVATE, peer)
    drain(env, watch)
    frame = b"\xff" * 6 + b"\x02" * 6 + struct.pack("!H", PRIVATE) + b"payload"
    out: list[Any] = [name_of(env.sys.sendto(s.fileno(), frame, 0, None, 0))]
    addresses = {length: (ll(index, PRIVATE, b"\x04" * 6)[:length], length) for length in (0, 2, 11, 12, 16, 17, 18, 19, 20)}
    for length, (raw, size) in addresses.items():
        out.append(
            (length, name_of(env.sys.sendto(s.fileno(), frame, 0, raw.ljust(20, b"\0"), size)), drain(env, watch), drain(env, dgram))
        )
    for proto in (0, ALL, IP, 4, 1, 0x86DD):
        for kinds in (
            frame,
            frame[:12] + b"\0\x07payload",
            frame[:12] + b"\0\x07\xff\xff",
            frame[:14],
            frame[:13],
            b"",
            frame[:12] + b"\x08\0",
        ):
            for target in (ll(index, proto, b"\x04" * 6), ll(index, proto, b"\xff" * 6), spkt(device.encode(), proto)):
                ret = env.sys.sendto(s.fileno(), kinds, 0, target, len(target))
                out.append((proto, kinds.hex(), len(target), name_of(ret), drain(env, watch), drain(env, dgram)))
    for target in (ll(77, IP), ll(0, IP), ll(-1, IP), ll(index, IP, halen=8), ll(index, IP, halen=9), ll(index, IP, halen=0)):
        out.append(name_of(env.sys.sendto(s.fileno(), frame, 0, target, 20)))
    for name in (b"none", b"", b"lolololololololo"):
        out.append(name_of(env.sys.sendto(s.fileno(), frame, 0, spkt(name, IP), 18)))
    mtu = 65536 if device == "lo" else 1500
    for size in (mtu - 1, mtu, mtu + 1, mtu + 4, mtu + 5, mtu + 13, mtu + 14, mtu + 15, mtu + 18, mtu + 19):
        for third in (b"\x88\xb5", b"\x81\0"):
            data = b"\x02" * 12 + third + bytes(size - 14)
            for target in (ll(index, PRIVATE), spkt(device.encode(), PRIVATE)):
                ret = env.sys.sendto(s.fileno(), data, 0, target, len(target))
                out.append((size, third, len(target), name_of(ret), len(drain(env, watch)), len(drain(env, dgram))))
    return out if device == "lo" else hide(out, mac(env, "veth9"))


@pytest.mark.parametrize("device", ["lo", "veth"])
@pytest.mark.parametrize("kind", TYPES)
def test_sent_frames_arrive_alike(kind: str, device: str) -> None:
    assert_parity(sends, kind, device)
