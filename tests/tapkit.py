"""A twin beside real programs: a namespace of the live kernel with a TUN or TAP device, whose other end is a twin in real time.

The real side is 10.9.0.1 and fd09::1, the twin 10.9.0.2 and fd09::2."""

import fcntl
import hashlib
import os
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.drivers.tap import TunDevice
from twinsock.kernel.net.core.dev import dev_open, dev_set_qdisc, register_netdevice
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add
from twinsock.kernel.net.sched.sch_netem import NetemQdisc, percent
from twinsock.runtime.facade import TwinEnv
from twinsock.runtime.tap_bridge import TapBridge
from twinsock.uapi.rtnetlink import IFA_F_NODAD

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 1, 2, 0x1000, 0x4000
TUN_F_CSUM_TSO = 0x1 | 0x2 | 0x4
REAL, TWIN = "10.9.0.1", "10.9.0.2"
CHUNK = 1 << 18


def pattern(size: int) -> bytes:
    """Return bytes that tell a wrong order."""
    words = b"".join([struct.pack(">I", n) for n in range(16384)])
    return (words * (size // len(words) + 1))[:size]


class Beside:
    """The twin and its real neighbour; to be made in a fresh network namespace."""

    def __init__(self, ethernet: bool = False, offload: bool = True, loss: float = 0.0) -> None:
        self.tun = os.open("/dev/net/tun", os.O_RDWR)
        flags = (IFF_TAP if ethernet else IFF_TUN) | IFF_NO_PI | (IFF_VNET_HDR if offload else 0)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"twin0", flags))
        if offload:
            fcntl.ioctl(self.tun, TUNSETOFFLOAD, TUN_F_CSUM_TSO)
        commands = f"ip address add {REAL}/24 dev twin0 && ip link set twin0 up && ip address add fd09::1/64 dev twin0 nodad"
        subprocess.run(commands, shell=True, check=True)
        self.env = TwinEnv(start_kernel(1))
        self.bridge = TapBridge(self.env.baton)
        self.bridge.loss_in = int(loss * 10_000)
        net = self.env.kernel.init_net
        self.dev = TunDevice(net, "eth0", self.bridge, ethernet)
        assert register_netdevice(self.dev) == 0
        assert inet_insert_ifa(self.dev, InIfaddr(10 << 24 | 9 << 16 | 2, 24)) == 0
        assert dev_open(self.dev) == 0
        assert inet6_addr_add(self.dev, bytes.fromhex("fd09") + bytes(13) + b"\2", 64, IFA_F_NODAD) == 0
        self.netem = NetemQdisc(self.dev, 10_000)
        if loss:
            self.netem.loss = percent(loss)
            dev_set_qdisc(self.dev, self.netem)
        self.bridge.attach(self.dev, self.tun, offload)
        self.deadline = time.monotonic() + 3600
        self.programs: list[subprocess.Popen[bytes]] = []

    def run(self, program: Callable[["Beside"], Any]) -> Any:
        """Run a program on the twin to its end."""
        try:
            return self.env.run(lambda env: program(self))
        finally:
            for popen in self.programs:
                popen.kill()
                popen.wait()
            os.close(self.tun)

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a real program."""
        popen = subprocess.Popen(argv, stdin=options.pop("stdin", subprocess.DEVNULL), **options)
        self.programs.append(popen)
        return popen

    def wait(self, popen: subprocess.Popen[bytes]) -> int:
        """Let the twin go on until a real program has ended; return its exit code."""
        while popen.poll() is None:
            self.env.sleep_ns(2_000_000)
        return popen.returncode

    def connect(self, port: int, address: str = REAL) -> Any:
        """Connect to a real server that may not listen yet."""
        for _ in range(5000):
            sock = self.env.socket.socket()
            try:
                sock.connect((address, port))
            except ConnectionRefusedError:
                sock.close()
                self.env.sleep_ns(10_000_000)
            else:
                return sock
        raise TimeoutError(f"nothing listens at port {port}")

    def listen(self, port: int) -> Any:
        """Listen on the twin."""
        sock = self.env.socket.socket()
        sock.setsockopt(1, 2, 1)
        sock.bind((TWIN, port))
        sock.listen(5)
        return sock


def send_all(sock: Any, size: int, block: bytes) -> str:
    """Send `size` bytes, `block` over and over; return their SHA-256."""
    digest = hashlib.sha256()
    while size:
        piece = block[: min(size, len(block))]
        digest.update(piece)
        size -= len(piece)
        view = memoryview(piece)
        while view:
            view = view[sock.send(bytes(view[:CHUNK])) :]
    return digest.hexdigest()


def receive_all(sock: Any, size: int = -1, begun: bytes = b"") -> tuple[int, str]:
    """Receive `size` bytes, or everything: (how many, their SHA-256)."""
    digest = hashlib.sha256(begun)
    got = len(begun)
    while size < 0 or got < size:
        piece = sock.recv(CHUNK)
        if not piece:
            break
        digest.update(piece)
        got += len(piece)
    return got, digest.hexdigest()


def digest_of(size: int, block: bytes) -> str:
    """Return the SHA-256 of what `send_all` sends."""
    digest = hashlib.sha256()
    while size:
        piece = block[: min(size, len(block))]
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def read_head(sock: Any) -> tuple[str, bytes]:
    """Read an HTTP message up to the empty line: (head, what came after it)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def serve_http(beside: Beside, listener: Any, size: int, block: bytes, requests: int) -> list[tuple[str, int, str]]:
    """Answer HTTP requests on the twin: GET gives `size` bytes, PUT takes them; return (method, bytes, SHA-256) of each."""
    done = []
    for _ in range(requests):
        sock, _peer = listener.accept()
        head, rest = read_head(sock)
        method = head.split()[0]
        if method == "PUT":
            length = int(head.lower().partition("content-length:")[2].split()[0])
            if "100-continue" in head.lower():
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            done.append((method, *receive_all(sock, length, rest)))
            sock.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        else:
            sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode())
            done.append((method, size, send_all(sock, size, block)))
        sock.close()
    return done
