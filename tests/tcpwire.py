"""A TCP socket beside a TUN device: the test plays the peer, on the twin in virtual time or on the live kernel.

A scenario is a function of a `Wire`; what it returns must be equal on both sides, instants within a tolerance. Sequence numbers
are relative to the two initial ones, as packetdrill has them."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from tests.netns import run_in_netns, run_promptly
from twinsock.kernel.net.socket import UserMsghdr, sys_recvmsg, sys_setsockopt
from twinsock.wire.ip import Iphdr
from twinsock.wire.l4 import ones_sum, pseudo_sum4
from twinsock.wire.tcp import (
    TCPHDR_ACK,
    TCPHDR_CWR,
    TCPHDR_ECE,
    TCPHDR_FIN,
    TCPHDR_PSH,
    TCPHDR_RST,
    TCPHDR_SYN,
    TCPHDR_URG,
    Tcphdr,
    emit,
    parse,
)

LOCAL, REMOTE = 0xC0A80001, 0xC0A80002
PORT = 8080
LETTERS = {
    "S": TCPHDR_SYN,
    "F": TCPHDR_FIN,
    "R": TCPHDR_RST,
    "P": TCPHDR_PSH,
    ".": TCPHDR_ACK,
    "U": TCPHDR_URG,
    "E": TCPHDR_ECE,
    "W": TCPHDR_CWR,
}
M32 = 0xFFFFFFFF
TCP_FASTOPEN_CONNECT = 30
ALL_EVENTS = 0x3FFF
MSG_ERRQUEUE = 0x2000

Sent = tuple[float, str]
T = TypeVar("T")
LATE_MS = 5.0
RUNS_MAX = 20


def flags_of(text: str) -> int:
    value = 0
    for letter in text:
        value |= LETTERS[letter]
    return value


class Wire:
    """What the two sides have in common."""

    def __init__(self) -> None:
        self.remote_port = 40000
        self.local_port = PORT
        self.isn = 0
        self.local_isn: int | None = None
        self.sent: list[Sent] = []
        self.lfd = -1  # the listener of established()

    # what the sides implement
    def now_ms(self) -> float:
        raise NotImplementedError

    def deliver(self, packet: bytes) -> None:
        raise NotImplementedError

    def run(self, ms: float) -> None:
        """Let time pass and collect what the kernel sends."""
        raise NotImplementedError

    # the peer's verbs
    def inject(
        self, flags: str, seq: int = 0, ack: int = 0, length: int = 0, win: int = 65535, urg: int = 0, tos: int = 0, **options: object
    ) -> None:
        """Send a segment to the kernel."""
        bits = flags_of(flags)
        th = Tcphdr(self.remote_port, self.local_port, (self.isn + seq) & M32, 0, bits, win)
        if bits & TCPHDR_ACK:
            th.ack_seq = ((self.local_isn or 0) + ack) & M32
        th.urg_ptr = urg
        for name, value in options.items():
            if name == "sacks":
                assert isinstance(value, list)
                base = self.local_isn or 0
                value = [((base + a) & M32, (base + b) & M32) for a, b in value]
            setattr(th, name, value)
        payload = bytes(length)
        raw = emit(th, payload, pseudo_sum4(REMOTE, LOCAL, 6, th.header_len() + length))
        iph = Iphdr(REMOTE, LOCAL, 6)
        iph.ttl = 64
        iph.tos = tos
        self.deliver(iph.emit(len(raw)) + raw)

    def icmp(self, type_: int, code: int, seq: int, mtu: int = 0) -> None:
        """Complain about the kernel's segment that began at `seq`."""
        start = ((self.local_isn or 0) + seq) & M32
        quoted = Iphdr(LOCAL, REMOTE, 6).emit(40)
        quoted += struct.pack("!HHI", self.local_port, self.remote_port, start)
        body = struct.pack("!BBHHH", type_, code, 0, 0, mtu) + quoted
        check = 0xFFFF - ones_sum(body)
        body = body[:2] + struct.pack("!H", check) + body[4:]
        self.deliver(Iphdr(REMOTE, LOCAL, 1).emit(len(body)) + body)

    def note(self, packet: bytes, when_ms: float) -> None:
        """Write a packet that the kernel sent as one line."""
        header = (packet[0] & 15) * 4
        if packet[9] != 6:
            return
        th = parse(packet, header)
        assert th is not None
        size = len(packet) - header - th.header_len()
        if th.dest != self.remote_port:
            return
        if th.flags & TCPHDR_SYN:
            self.local_isn = th.seq
        base = 0 if th.flags & TCPHDR_RST and th.flags & TCPHDR_ACK and th.seq == 0 else self.local_isn or 0
        flags = "".join(letter for letter, bit in LETTERS.items() if th.flags & bit)
        seq = (th.seq - base) & M32 if not th.flags & TCPHDR_SYN else 0
        text = f"{flags} {seq}:{(seq + size) & M32}({size})"
        if th.flags & TCPHDR_ACK:
            text += f" ack {(th.ack_seq - self.isn) & M32}"
        text += f" win {th.window}"
        if th.mss:
            text += f" mss {th.mss}"
        if th.sack_ok:
            text += " sackOK"
        if th.wscale >= 0:
            text += f" wscale {th.wscale}"
        if th.sacks:
            text += " sack " + " ".join(f"{(a - self.isn) & M32}:{(b - self.isn) & M32}" for a, b in th.sacks)
        if packet[1] & 3:
            text += f" ecn {packet[1] & 3}"
        self.sent.append((when_ms, text))

    def take(self) -> list[Sent]:
        """Return what was sent since the last call, instants from the start of the scenario."""
        out, self.sent = self.sent, []
        return out

    # the program's verbs, errors as negative numbers
    def listen(self, backlog: int = 5) -> int:
        raise NotImplementedError

    def listen_shared(self) -> int:
        """Listen with SO_REUSEPORT."""
        raise NotImplementedError

    def accept(self, fd: int) -> int:
        raise NotImplementedError

    def connect(self, port: int = 8080) -> int:
        raise NotImplementedError

    def connect_fast(self, port: int = 8080) -> tuple[int, int]:
        """Connect with TCP_FASTOPEN_CONNECT; return the descriptor and what connect(2) said."""
        raise NotImplementedError

    def send(self, fd: int, size: int, flags: int = 0) -> int:
        raise NotImplementedError

    def recv(self, fd: int, size: int) -> int:
        raise NotImplementedError

    def close(self, fd: int) -> None:
        raise NotImplementedError

    def shutdown(self, fd: int, how: int) -> int:
        raise NotImplementedError

    def setsockopt(self, fd: int, level: int, name: int, value: int) -> None:
        raise NotImplementedError

    def setsockopt_linger_zero(self, fd: int) -> None:
        """Make close(2) abort."""
        raise NotImplementedError

    def info(self, fd: int) -> tuple[int, ...]:
        """Return (state, ca_state, options, unacked, sacked, lost, retrans, snd_cwnd, total_retrans)."""
        raw = self.raw_info(fd)
        words = struct.unpack_from("=24I", raw, 8)
        return (raw[0], raw[1], raw[5], words[4], words[5], words[6], words[7], words[18], words[23])

    def raw_info(self, fd: int) -> bytes:
        return self.getsockopt(fd, 6, 11, 280)

    def meminfo(self, fd: int) -> tuple[int, ...]:
        """Return SO_MEMINFO: nine numbers, the last is the packets that the socket dropped."""
        return struct.unpack("=9I", self.getsockopt(fd, 1, 55, 36))

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> bytes:
        raise NotImplementedError

    def poll(self, fd: int) -> int:
        """Return the poll bits of a descriptor, all asked for."""
        raise NotImplementedError

    def error(self, fd: int) -> int:
        """Read SO_ERROR."""
        return int.from_bytes(self.getsockopt(fd, 1, 4, 4), "little")

    def error_entry(self, fd: int, flags: int = 0) -> tuple[object, ...] | int:
        """Take one entry of the error queue: bytes, (level, type, sock_extended_err), flags; -errno when there is none."""
        raise NotImplementedError

    def proc(self, name: str) -> str:
        """Return the text of /proc/net/<name>."""
        raise NotImplementedError

    def sysctl(self, path: str, value: str) -> None:
        """Write /proc/sys/net/<path>."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """Return the counters of TCP that are not zero, by group and name."""
        found = {}
        for name in ("snmp", "netstat"):
            lines = self.proc(name).splitlines()
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                group, *words = names.split()
                if group in ("Tcp:", "TcpExt:"):
                    found |= {group + word: int(value) for word, value in zip(words, values.split()[1:], strict=True) if int(value)}
        return found

    def established_by(self, flags: str, tos: int = 0, **options: object) -> int:
        """Accept a connection whose SYN has these flags and this type of service; the SYN-ACK can be taken."""
        lfd = self.listen()
        self.inject(flags, tos=tos, **options)
        self.run(20)
        self.inject(".", 1, 1)
        self.run(2)
        fd = self.accept(lfd)
        assert fd >= 0, fd
        self.close(lfd)
        return fd

    def established(self, win: int = 65535, **options: object) -> int:
        """Accept a connection from the peer and forget the packets of the handshake."""
        self.lfd = self.listen()
        return self.established_again(win, **options)

    def established_again(self, win: int = 65535, **options: object) -> int:
        """Accept one more connection, from the peer's next port."""
        lfd = self.lfd = self.listen() if self.lfd < 0 else self.lfd
        self.inject("S", win=win, **options)
        self.run(20)
        self.inject(".", 1, 1, win=win)
        self.run(2)
        fd = self.accept(lfd)
        assert fd >= 0, fd
        self.take()
        return fd


class TwinWire(Wire):
    """The twin's side."""

    def __init__(self) -> None:
        super().__init__()
        from tests.unit.tcpworld import World
        from twinsock.kernel.drivers.tap import TunDevice, TunWire
        from twinsock.kernel.net.core.dev import dev_open, register_netdevice
        from twinsock.kernel.net.core.skbuff import SkBuff
        from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa

        wire = self

        class Far(TunWire):
            def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
                wire.segment(skb.l3_bytes(), skb.gso_size)

        self.world = World()
        self.world.net.ipv4.tcp_congestion_control = "reno"
        self.dev = TunDevice(self.world.net, "tun0", Far())
        register_netdevice(self.dev)
        assert inet_insert_ifa(self.dev, InIfaddr(LOCAL, 24)) == 0
        assert dev_open(self.dev) == 0
        self.start = self.world.kernel.clock.now_ns

    def segment(self, packet: bytes, gso_size: int) -> None:
        """Cut a packet that stands for several, as a device or the stack above it does."""
        th = parse(packet, 20)
        assert th is not None
        payload = packet[20 + th.header_len() :]
        now = self.now_ms()
        if not gso_size or len(payload) <= gso_size:
            self.note(packet, now)
            return
        last_flags = th.flags
        for i in range(0, len(payload), gso_size):
            th.flags = last_flags if i + gso_size >= len(payload) else last_flags & ~(TCPHDR_PSH | TCPHDR_FIN)
            self.note(packet[:20] + emit(th, payload[i : i + gso_size]), now)
            th.seq = (th.seq + gso_size) & M32

    def now_ms(self) -> float:
        return (self.world.kernel.clock.now_ns - self.start) / 1e6

    def deliver(self, packet: bytes) -> None:
        self.dev.deliver(packet)
        self.world.run(0.02)  # no two segments arrive in one instant

    def run(self, ms: float) -> None:
        self.world.run(ms)

    def listen(self, backlog: int = 5) -> int:
        fd = self.world.socket()
        assert self.world.bind(fd, PORT, LOCAL) == 0
        assert self.world.listen(fd, backlog) == 0
        return fd

    def listen_shared(self) -> int:
        fd = self.world.socket()
        assert self.world.setsockopt(fd, 1, 15, 1) == 0
        assert self.world.bind(fd, PORT, LOCAL) == 0
        assert self.world.listen(fd, 5) == 0
        return fd

    def accept(self, fd: int) -> int:
        return self.world.accept(fd)

    def connect(self, port: int = 8080) -> int:
        fd = self.world.socket()
        self.remote_port = port
        assert self.world.connect(fd, port, REMOTE) == -115
        self.local_port = self.world.port(fd)
        return fd

    def connect_fast(self, port: int = 8080) -> tuple[int, int]:
        fd = self.world.socket()
        self.remote_port = port
        assert self.world.setsockopt(fd, 6, TCP_FASTOPEN_CONNECT, 1) == 0
        said = self.world.connect(fd, port, REMOTE)
        self.local_port = self.world.port(fd)
        return fd, said

    def send(self, fd: int, size: int, flags: int = 0) -> int:
        return self.world.send(fd, bytes(size), flags)

    def recv(self, fd: int, size: int) -> int:
        got = self.world.recv(fd, size)
        return got if isinstance(got, int) else len(got)

    def close(self, fd: int) -> None:
        self.world.close(fd)

    def shutdown(self, fd: int, how: int) -> int:
        return self.world.shutdown(fd, how)

    def setsockopt(self, fd: int, level: int, name: int, value: int) -> None:
        assert self.world.setsockopt(fd, level, name, value) == 0

    def setsockopt_linger_zero(self, fd: int) -> None:
        assert sys_setsockopt(self.world.task, fd, 1, 13, struct.pack("ii", 1, 0), 8) == 0

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> bytes:
        raw = self.world.getsockopt(fd, level, name, size)
        assert isinstance(raw, bytes)
        return raw

    def poll(self, fd: int) -> int:
        return self.world.poll(fd, ALL_EVENTS)

    def error_entry(self, fd: int, flags: int = 0) -> tuple[object, ...] | int:
        umsg = UserMsghdr()
        umsg.room, umsg.control, umsg.controllen = 2000, b"", 512
        ret = sys_recvmsg(self.world.task, fd, umsg, MSG_ERRQUEUE | flags)
        if ret < 0:
            return ret
        control, found, at = umsg.control or b"", [], 0
        while at + 16 <= len(control):
            size, level, type_ = struct.unpack_from("=Qii", control, at)
            found.append((level, type_, control[at + 16 : at + 32].hex()))
            at += size + 7 & ~7
        return ret, found, umsg.flags

    def proc(self, name: str) -> str:
        from twinsock.kernel.fs.proc.net import read_proc_net

        return str(read_proc_net(self.world.task, name))

    def sysctl(self, path: str, value: str) -> None:
        from twinsock.kernel.net.sysctl_net import sysctl_write

        assert sysctl_write(self.world.task, f"net/{path}", value.encode()) == 0


class HostWire(Wire):
    """The live kernel's side; to be made in a fresh network namespace.

    It runs on one CPU, where the timers of its sockets run too, and knows by how much it was late at worst.
    """

    def __init__(self) -> None:
        super().__init__()
        run_promptly()
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))} if os.getpid() & 1 else {max(os.sched_getaffinity(0))})
        self.late_ms = 0.0
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, 0x400454CA, struct.pack("16sH", b"tun0", 0x1001))
        commands = ["ip addr add 192.168.0.1/24 dev tun0", "ip link set tun0 up", "sysctl -qw net.ipv4.tcp_congestion_control=reno"]
        subprocess.run(" && ".join(commands), shell=True, check=True)
        self.socks: dict[int, socket.socket] = {}
        self.start = self.due = time.monotonic()

    def now_ms(self) -> float:
        return (time.monotonic() - self.start) * 1000

    def deliver(self, packet: bytes) -> None:
        os.write(self.tun, packet)

    def run(self, ms: float) -> None:
        begin = time.monotonic()
        end = begin + ms / 1000
        while True:
            left = end - time.monotonic()
            ready = select.select([self.tun], [], [], max(left, 0))[0]
            if not ready and left <= 0:
                # Late is what the program's own steps took since the last wait, and what this wait took beyond its time.
                self.late_ms = max(self.late_ms, (begin - self.due) * 1000, -left * 1000)
                self.due = time.monotonic()
                return
            if ready:
                packet = os.read(self.tun, 65536)
                if packet[0] >> 4 == 4:
                    self.note(packet, self.now_ms())

    def keep(self, sock: socket.socket) -> int:
        sock.setblocking(False)
        self.socks[sock.fileno()] = sock
        return sock.fileno()

    def listen(self, backlog: int = 5) -> int:
        sock = socket.socket()
        sock.bind(("192.168.0.1", PORT))
        sock.listen(backlog)
        return self.keep(sock)

    def listen_shared(self) -> int:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("192.168.0.1", PORT))
        sock.listen(5)
        return self.keep(sock)

    def accept(self, fd: int) -> int:
        try:
            return self.keep(self.socks[fd].accept()[0])
        except OSError as error:
            return -(error.errno or 0)

    def connect(self, port: int = 8080) -> int:
        sock = socket.socket()
        fd = self.keep(sock)
        self.remote_port = port
        assert sock.connect_ex(("192.168.0.2", port)) == 115
        self.local_port = sock.getsockname()[1]
        return fd

    def connect_fast(self, port: int = 8080) -> tuple[int, int]:
        sock = socket.socket()
        fd = self.keep(sock)
        self.remote_port = port
        sock.setsockopt(6, TCP_FASTOPEN_CONNECT, 1)
        said = -sock.connect_ex(("192.168.0.2", port))
        self.local_port = sock.getsockname()[1]
        return fd, said

    def send(self, fd: int, size: int, flags: int = 0) -> int:
        try:
            return self.socks[fd].send(bytes(size), flags)
        except OSError as error:
            return -(error.errno or 0)

    def recv(self, fd: int, size: int) -> int:
        try:
            return len(self.socks[fd].recv(size))
        except OSError as error:
            return -(error.errno or 0)

    def close(self, fd: int) -> None:
        self.socks.pop(fd).close()

    def shutdown(self, fd: int, how: int) -> int:
        try:
            self.socks[fd].shutdown(how)
            return 0
        except OSError as error:
            return -(error.errno or 0)

    def setsockopt(self, fd: int, level: int, name: int, value: int) -> None:
        self.socks[fd].setsockopt(level, name, value)

    def setsockopt_linger_zero(self, fd: int) -> None:
        self.socks[fd].setsockopt(1, 13, struct.pack("ii", 1, 0))

    def getsockopt(self, fd: int, level: int, name: int, size: int) -> bytes:
        return self.socks[fd].getsockopt(level, name, size)

    def poll(self, fd: int) -> int:
        poller = select.poll()
        poller.register(fd, ALL_EVENTS)
        found = poller.poll(0)
        return found[0][1] if found else 0

    def error_entry(self, fd: int, flags: int = 0) -> tuple[object, ...] | int:
        try:
            data, control, got, _ = self.socks[fd].recvmsg(2000, 512, MSG_ERRQUEUE | flags)
        except OSError as error:
            return -(error.errno or 0)
        return len(data), [(level, type_, value[:16].hex()) for level, type_, value in control], got

    def proc(self, name: str) -> str:
        with open(f"/proc/net/{name}") as file:
            return file.read()

    def sysctl(self, path: str, value: str) -> None:
        with open(f"/proc/sys/net/{path}", "w") as file:
            file.write(value)

    def stop(self) -> None:
        """Close everything."""
        for sock in self.socks.values():
            sock.close()
        os.close(self.tun)


W = TypeVar("W", bound=HostWire)


def on_host(scenario: Callable[[W], T], make: Callable[[], W]) -> T:
    """Run a scenario on the live kernel in a fresh namespace, again while the machine kept it from being punctual.

    Whether a run counts does not depend on its result; of runs that were all late the least late counts.
    """

    def body() -> tuple[T, float]:
        wire = make()
        try:
            return scenario(wire), wire.late_ms
        finally:
            wire.stop()

    best: tuple[T, float] | None = None
    for _ in range(RUNS_MAX):
        run = run_in_netns(body, timeout=60.0)
        if best is None or run[1] < best[1]:
            best = run
        if best[1] <= LATE_MS:
            break
    assert best is not None
    return best[0]
