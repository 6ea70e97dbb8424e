"""One simulated path, two pairs of hosts on it: twins in virtual time, or the live kernel at both ends in real time.

The path is the twin's own netem discipline in each direction, with the same seed for both pairs. Packets arrive one by one: no
device joins segments on the way."""

import array
import contextlib
import fcntl
import os
import select
import selectors
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from tests.netns import run_in_netns, unshare_net
from tests.unit.ipworld import host
from tests.unit.tcpworld import World
from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.kernel import Kernel
from twinsock.kernel.net.core.dev import dev_open, dev_set_qdisc, register_netdevice
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.sched.sch_netem import NetemQdisc, percent
from twinsock.kernel.net.socket import sys_setsockopt
from twinsock.kernel.net.sysctl_net import sysctl_write
from twinsock.kernel.time.timer import Clock
from twinsock.runtime.packetdrill.twin_tools import counters
from twinsock.wire import ip as wire_ip
from twinsock.wire.l4 import pseudo_sum4
from twinsock.wire.tcp import TCPHDR_CWR, TCPHDR_FIN, TCPHDR_PSH, emit, parse

NET = 0x0A000000
PORT = 5001
CHUNK = 65536
PATTERN = bytes(range(251)) * 1024
TUNSETIFF = 0x400454CA


class Point(NamedTuple):
    """A path and what goes over it. Delay is one way; loss, reordering and duplication are in percent, in both directions."""

    mbit: float = 20.0
    delay_ms: float = 10.0
    loss: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    cc: str = "cubic"
    size: int = 2_000_000  # bytes of each flow
    flows: int = 1
    seconds: float = 0.0  # instead of `size`: count what arrives in this time, after a second
    limit: int = 200  # packets that wait at most
    sysctls: tuple[tuple[str, str], ...] = ()

    def settings(self) -> list[tuple[str, str]]:
        """Return the sysctls of both hosts."""
        return [("net.ipv4.tcp_no_metrics_save", "1"), *self.sysctls]

    def __str__(self) -> str:
        text = f"{self.mbit:g} Mbit/s, {self.delay_ms:g} ms, {self.cc}"
        text += f", queue of {self.limit}" if self.limit != 200 and self.flows == 1 else ""
        for value, name in ((self.loss, "loss"), (self.reorder, "reordered"), (self.duplicate, "duplicated")):
            text += f", {value:g} % {name}" if value else ""
        return text


class Outcome(NamedTuple):
    """What arrived."""

    goodputs: list[float]  # bytes per second of each flow
    intact: bool
    counters: dict[str, int]  # TcpExt and Tcp of the sending host


class Path:
    """Two directions of a path; `out` takes what arrives at the end of one (0: towards the receiver, 1: back)."""

    def __init__(self, point: Point, seed: int, clock: Clock, out: Callable[[int, bytes], None]) -> None:
        self.kernel: Kernel = host(clock, seed)
        self.devs: list[TunDevice] = []
        for direction in range(2):
            dev = TunDevice(self.kernel.init_net, f"path{direction}", _PathEnd(direction, out), mtu=65535)
            register_netdevice(dev)
            dev_open(dev)
            netem = NetemQdisc(dev, point.limit)
            netem.latency_ns = int(point.delay_ms * 1e6)
            netem.rate = int(point.mbit * 1e6 / 8)
            netem.loss = percent(point.loss)
            netem.duplicate = percent(point.duplicate)
            if point.reorder:
                netem.reorder, netem.gap = percent(point.reorder), 1
            dev_set_qdisc(dev, netem)
            self.devs.append(dev)

    def send(self, direction: int, packet: bytes) -> None:
        """Let a packet enter."""
        dev = self.devs[direction]
        skb = SkBuff(packet)
        skb.dev = dev
        assert dev.qdisc is not None
        dev.qdisc.enqueue(skb)
        dev.qdisc.run()


class _PathEnd(TunWire):
    def __init__(self, direction: int, out: Callable[[int, bytes], None]) -> None:
        self.direction, self.out = direction, out

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        """Let a packet leave."""
        self.out(self.direction, skb.payload())


def checksum(flow: int, size: int) -> int:
    """Return the CRC of what a flow sends."""
    crc, offset = 0, flow
    while size:
        piece = PATTERN[offset : offset + min(size, len(PATTERN) - offset)]
        crc = zlib.crc32(piece, crc)
        size -= len(piece)
        offset = 0
    return crc


class Source:
    """The endless bytes of a flow."""

    def __init__(self, flow: int, size: int) -> None:
        self.offset, self.left = flow, size

    def next(self) -> bytes:
        """Return what to send next, without taking it."""
        return PATTERN[self.offset : self.offset + min(CHUNK, self.left)]

    def take(self, count: int) -> None:
        """Note that `count` bytes were sent."""
        self.left -= count
        self.offset = (self.offset + count) % len(PATTERN)


# ---- twins


class _TwinEnd(TunWire):
    """The device of one twin: cuts super-packets, as Linux does for a device that takes none."""

    def __init__(self, direction: int) -> None:
        self.direction = direction
        self.path: Path | None = None

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        """Let packets enter the path."""
        assert self.path is not None
        for packet in segments(skb.l3_bytes(), skb.gso_size):
            self.path.send(self.direction, packet)


def segments(packet: bytes, gso_size: int) -> list[bytes]:
    """Cut a super-packet of TCP over IPv4 into packets with right checksums."""
    th = parse(packet, 20)
    assert th is not None
    payload = packet[20 + th.header_len() :]
    if not gso_size or len(payload) <= gso_size:
        return [packet]
    iph = wire_ip.parse(packet).iph
    assert iph is not None
    found = []
    flags = th.flags
    for offset in range(0, len(payload), gso_size):
        piece = payload[offset : offset + gso_size]
        last = offset + gso_size >= len(payload)
        th.flags = flags & ~(0 if last else TCPHDR_PSH | TCPHDR_FIN) & ~(TCPHDR_CWR if offset else 0)
        size = th.header_len() + len(piece)
        found.append(iph.emit(size) + emit(th, piece, pseudo_sum4(iph.saddr, iph.daddr, 6, size)))
        th.seq = (th.seq + len(piece)) & 0xFFFFFFFF
        iph.id = (iph.id + 1) & 0xFFFF
    return found


class TwinPair:
    """Two twins on a path: 10.0.0.1 sends, 10.0.0.2 receives."""

    def __init__(self, point: Point, seed: int) -> None:
        self.point = point
        self.clock = Clock()
        self.worlds = [World(seed * 2 + i, self.clock) for i in range(2)]
        self.devs: list[TunDevice] = []
        ends = [_TwinEnd(0), _TwinEnd(1)]
        for i, world in enumerate(self.worlds):
            dev = TunDevice(world.net, "tun0", ends[i])
            register_netdevice(dev)
            assert inet_insert_ifa(dev, InIfaddr(NET | (i + 1), 24)) == 0
            assert dev_open(dev) == 0
            self.devs.append(dev)
            for name, value in point.settings():
                assert sysctl_write(world.task, name.replace(".", "/"), value.encode()) == 0, name
        path = Path(point, seed, self.clock, self._arrived)
        ends[0].path = ends[1].path = path

    def _arrived(self, direction: int, packet: bytes) -> None:
        self.devs[1 - direction].deliver(packet)

    def run(self) -> Outcome:
        """Transfer."""
        point = self.point
        a, b = self.worlds
        lfd = _with_cc(b, point.cc)
        assert b.bind(lfd, PORT, NET | 2) == 0
        assert b.listen(lfd) == 0
        size = point.size if not point.seconds else 1 << 40
        sinks: dict[int, list[int]] = {}  # descriptor -> bytes, CRC, time of the last byte
        flows: list[tuple[int, Source]] = []
        for flow in range(point.flows):
            cfd = _with_cc(a, point.cc)
            assert a.connect(cfd, PORT, NET | 2) == -115
            flows.append((cfd, Source(flow, size)))
        start = self.clock.now_ns
        skipped: list[int] = []
        while True:
            assert self.clock.run_next(), "nothing will ever happen again"
            for cfd, source in flows:
                while source.left and a.poll(cfd, 4) & 4:
                    count = a.send(cfd, source.next())
                    if count <= 0:
                        break
                    source.take(count)
            while (sfd := b.accept(lfd)) >= 0:
                sinks[sfd] = [0, 0, 0]
            for sfd, sink in sinks.items():
                while isinstance(piece := b.recv(sfd, CHUNK), bytes) and piece:
                    sink[0] += len(piece)
                    sink[1] = zlib.crc32(piece, sink[1])
                    sink[2] = self.clock.now_ns
            passed = self.clock.now_ns - start
            if point.seconds:
                if not skipped and passed >= 1e9:
                    skipped = [sink[0] for sink in sinks.values()]
                if passed >= (1 + point.seconds) * 1e9:
                    rates = [(sink[0] - before) / point.seconds for sink, before in zip(sinks.values(), skipped, strict=True)]
                    return Outcome(rates, True, self._counters())
            elif len(sinks) == point.flows and all(sink[0] >= size for sink in sinks.values()):
                intact = sorted(sink[1] for sink in sinks.values()) == sorted(checksum(flow, size) for flow in range(point.flows))
                return Outcome([size / (sink[2] - start) * 1e9 for sink in sinks.values()], intact, self._counters())
            assert passed < 600e9, "ten minutes were not enough"

    def _counters(self) -> dict[str, int]:
        return {name: value for name, value in counters(self.worlds[0].net).items() if value}


def _with_cc(world: World, name: str) -> int:
    """Make a socket; not every namespace may have every congestion control as its default."""
    fd = world.socket()
    assert sys_setsockopt(world.task, fd, 6, socket.TCP_CONGESTION, name.encode(), len(name)) == 0
    return fd


def on_twin(point: Point, seed: int) -> Outcome:
    """Transfer between twins."""
    return TwinPair(point, seed).run()


# ---- the live kernel


def on_host(point: Point, seed: int) -> Outcome:
    """Transfer between two namespaces of the live kernel, in real time."""
    return run_in_netns(_live, point, seed, timeout=200.0)


def _open_tun(address: str, point: Point) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", b"tun0", 0x1001))
    words = [f"ip address add {address}/24 dev tun0", "ip link set tun0 up"]
    words += [f"sysctl -qw '{name}={value}'" for name, value in point.settings()]
    subprocess.run(" && ".join(words), shell=True, check=True)
    return tun


def _live(point: Point, seed: int) -> Outcome:
    """Be the path between this namespace and another one."""
    near = _open_tun("10.0.0.1", point)
    ours, theirs = socket.socketpair()
    receiver = os.fork()
    if receiver == 0:
        os.close(near)
        ours.close()
        with contextlib.suppress(BaseException):
            _live_receiver(point, theirs)
        os._exit(0)
    theirs.close()
    word, fds, _flags, _address = socket.recv_fds(ours, 16, 1)
    assert word == b"ready"
    far = fds[0]
    sender = os.fork()
    if sender == 0:
        os.close(near)
        os.close(far)
        with contextlib.suppress(BaseException):
            _live_sender(point)
        os._exit(0)
    with contextlib.suppress(OSError):  # a path that waits for other programs delays
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    tuns = [near, far]
    clock = Clock()
    began = time.monotonic_ns()

    def arrive(direction: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(tuns[1 - direction], packet)

    path = Path(point, seed, clock, arrive)
    answer = b""
    watched = [near, far, ours.fileno()]
    while True:
        due = clock.next_event_ns()
        wait = max(due - (time.monotonic_ns() - began), 0) / 1e9 if due >= 0 else 1.0
        ready = select.select(watched, [], [], wait)[0]
        for direction in (0, 1):
            while tuns[direction] in ready:
                clock.advance_to(time.monotonic_ns() - began)
                try:
                    packet = os.read(tuns[direction], 65536)
                except BlockingIOError:
                    break
                if packet[0] >> 4 == 4:
                    path.send(direction, packet)
        clock.advance_to(time.monotonic_ns() - began)
        if watched[2] in ready:
            answer = ours.recv(4096)
            break
    assert answer, "the receiver died"
    rates = array.array("d")
    rates.frombytes(answer[1:])
    return Outcome(list(rates), answer[0] == 1, host_counters())


def host_counters() -> dict[str, int]:
    """Return the counters of the calling process's namespace as nstat(8) names them."""
    found: dict[str, int] = {}
    for name in ("/proc/net/snmp", "/proc/net/netstat"):
        with open(name) as file:
            lines = file.read().splitlines()
        for keys, values in zip(lines[::2], lines[1::2], strict=True):
            prefix = keys.partition(":")[0]
            for key, value in zip(keys.split()[1:], values.split()[1:], strict=True):
                if int(value):
                    found[prefix + key] = int(value)
    return found


def _live_receiver(point: Point, channel: socket.socket) -> None:
    unshare_net()
    tun = _open_tun("10.0.0.2", point)
    listener = socket.create_server(("10.0.0.2", PORT), backlog=10)
    listener.setsockopt(6, socket.TCP_CONGESTION, point.cc.encode())
    listener.setblocking(False)
    socket.send_fds(channel, [b"ready"], [tun])
    os.close(tun)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    sinks: dict[socket.socket, list[int]] = {}
    size = point.size if not point.seconds else 1 << 40
    start = 0
    skipped: list[int] = []
    while True:
        for key, _events in selector.select():
            if key.fileobj is listener:
                sock = listener.accept()[0]
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
                start = start or time.monotonic_ns() - int(point.delay_ms * 3e6)  # the SYN left so long ago
                sinks[sock] = [0, 0, 0]
                continue
            assert isinstance(key.fileobj, socket.socket)
            piece = key.fileobj.recv(CHUNK)
            sink = sinks[key.fileobj]
            sink[0] += len(piece)
            sink[1] = zlib.crc32(piece, sink[1])
            sink[2] = time.monotonic_ns()
        passed = time.monotonic_ns() - start
        if point.seconds:
            if not skipped and passed >= 1e9:
                skipped = [sink[0] for sink in sinks.values()]
            if passed >= (1 + point.seconds) * 1e9:
                rates = [(sink[0] - before) / point.seconds for sink, before in zip(sinks.values(), skipped, strict=True)]
                channel.send(b"\1" + array.array("d", rates).tobytes())
                return
        elif len(sinks) == point.flows and all(sink[0] >= size for sink in sinks.values()):
            intact = sorted(sink[1] for sink in sinks.values()) == sorted(checksum(flow, size) for flow in range(point.flows))
            rates = [size / (sink[2] - start) * 1e9 for sink in sinks.values()]
            channel.send(bytes([intact]) + array.array("d", rates).tobytes())
            return


def _live_sender(point: Point) -> None:
    selector = selectors.DefaultSelector()
    size = point.size if not point.seconds else 1 << 40
    sources: dict[socket.socket, Source] = {}
    for flow in range(point.flows):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(6, socket.TCP_CONGESTION, point.cc.encode())
        assert sock.connect_ex(("10.0.0.2", PORT)) == 115
        sources[sock] = Source(flow, size)
        selector.register(sock, selectors.EVENT_WRITE)
    while True:
        for key, _events in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            source = sources[key.fileobj]
            source.take(key.fileobj.send(source.next()))
            if not source.left:
                selector.unregister(key.fileobj)
