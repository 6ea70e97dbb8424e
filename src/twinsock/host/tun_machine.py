"""The live kernel as a machine for packetdrill scripts: a network namespace of its own with one TUN device.

What goes out is seen by a packet socket, which gives the kernel's own times and whole super-packets; what comes in is written to the
device. The calling process moves into the new namespace, so it should be a child that ends with the script."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable

from twinsock.host.tun_calls import HostCalls
from twinsock.wire.l4 import csum_fold, pseudo_sum4, pseudo_sum6

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x1, 0x1000, 0x4000
_OFFLOADS = 0x1 | 0x2 | 0x4 | 0x8  # checksum, TSO over IPv4 and IPv6, TSO with ECN
_VNET_HDR = struct.Struct("=BBHHHH")
_NEEDS_CSUM, _GSO_TCPV4, _GSO_TCPV6 = 1, 1, 4
_SO_TIMESTAMPNS = 35
_PACKET_OUTGOING = 4
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MONOTONIC_COARSE = 6
_START_AFTER_TICK_NS = 250_000
_SPIN_NS = 60_000
_SLEEPS_WITHIN_S = 0.05
_CONGESTION = "net/ipv4/tcp_congestion_control"
_SYSCTLS = ("net/ipv4/", "net/ipv6/", "net/core/")


def unshare_net() -> None:
    """Move the process into a network namespace of its own; inside a user namespace unless it is privileged. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"no network namespace can be had: {os.strerror(error)}")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


class HostMachine:
    """The live kernel, in a fresh namespace; one for each process. Raises OSError when something is not to be had."""

    def __init__(self, local: bytes, remote: bytes, mtu: int, hz: int = 250) -> None:
        self.tick_ns = 1_000_000_000 // hz
        unshare_net()
        self.sys = HostCalls()
        self.packets: deque[tuple[int, bytes]] = deque()
        self._setup(local, remote, mtu)
        gc.disable()
        with contextlib.suppress(OSError, PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # times are what scripts are about

    def _setup(self, local: bytes, remote: bytes, mtu: int) -> None:
        six = len(local) == 16
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
        fcntl.ioctl(self.tun, _TUNSETOFFLOAD, _OFFLOADS)
        family = socket.AF_INET6 if six else socket.AF_INET
        ours, theirs = socket.inet_ntop(family, local), socket.inet_ntop(family, remote)
        self._ip("link set lo up")
        self._ip(f"link set tun0 up mtu {mtu}")
        if six:
            self._ip(f"-6 address add {ours}/48 dev tun0 nodad")
            self._ip(f"-6 route add {theirs}/128 dev tun0")
        else:
            self._ip(f"address add {ours}/16 dev tun0")
            self._ip(f"route add {theirs} dev tun0")
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.tap.bind(("tun0", 3))
        self.tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.tap.setblocking(False)

    def _ip(self, arguments: str) -> None:
        done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True)
        if done.returncode:
            raise OSError(1, f"ip {arguments}: {done.stderr.strip()}")

    def run(self, program: Callable[[], None]) -> None:
        """Run a program, beginning a quarter of a millisecond after a tick; raise what it raises."""
        program()

    def align(self) -> None:
        """Wait for a quarter of a millisecond after a tick."""
        ticked = time.clock_gettime_ns(_MONOTONIC_COARSE)
        late = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - ticked
        self.sleep_until(self.now_ns() + 2 * self.tick_ns - late % self.tick_ns + _START_AFTER_TICK_NS)

    # Time and packets

    def dropped(self) -> list[str]:
        """Return nothing: other users' packets would be among them."""
        return []

    def now_ns(self) -> int:
        """Return the time, CLOCK_REALTIME as the kernel stamps packets with it."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME)

    def realtime_ns(self) -> int:
        """Return what to add for CLOCK_REALTIME."""
        return 0

    def sleep_until(self, when_ns: int) -> None:
        """Let time pass."""
        self._drain()
        while True:
            left = when_ns - self.now_ns()
            if left <= 0:
                break
            if left > _SPIN_NS:
                time.sleep((left - _SPIN_NS) / 1e9)

    def inject(self, data: bytes, gso_size: int) -> None:
        """Let a packet come in."""
        header = bytes(10)
        if gso_size:
            six = data[0] >> 4 == 6
            start = 40 if six else (data[0] & 15) * 4
            total = len(data) - start
            if six:
                pseudo = pseudo_sum6(data[8:24], data[24:40], 6, total)
            else:
                pseudo = pseudo_sum4(int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big"), 6, total)
            check = csum_fold(pseudo) ^ 0xFFFF
            hdr_len = start + (data[start + 12] >> 4) * 4
            header = _VNET_HDR.pack(_NEEDS_CSUM, _GSO_TCPV6 if six else _GSO_TCPV4, hdr_len, gso_size, start, 16)
            data = data[: start + 16] + check.to_bytes(2, "big") + data[start + 18 :]
        os.write(self.tun, header + data)
        self._drain()

    def _drain(self) -> None:
        """Empty the device's queue: the packet socket has seen it all."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.tun, 1 << 17):
                pass

    def next_packet(self, deadline_ns: int) -> tuple[int, bytes] | None:
        """Wait for a packet that goes out."""
        while not self.packets:
            self._drain()
            if self._receive():
                continue
            left = deadline_ns - self.now_ns()
            if left <= 0:
                return None
            select.select([self.tap.fileno(), self.tun], [], [], left / 1e9)
        return self.packets.popleft()

    def _receive(self) -> bool:
        try:
            data, control, _flags, address = self.tap.recvmsg(1 << 17, 256)
        except BlockingIOError:
            return False
        if address[2] == _PACKET_OUTGOING:
            stamp = self.now_ns()
            for level, type_, value in control:
                if (level, type_) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                    seconds, nanoseconds = struct.unpack_from("=qq", value)
                    stamp = seconds * 1_000_000_000 + nanoseconds
            self.packets.append((stamp, data))
        return True

    def start(self, call: Callable[[], None]) -> HostPending:
        """Make a call in a second thread and wait until that sleeps or is done."""
        pending = HostPending(self, call)
        limit = time.monotonic() + _SLEEPS_WITHIN_S
        while not pending.sleeps() and time.monotonic() < limit:
            time.sleep(0.0001)
        return pending

    # Settings

    def sysctl_read(self, path: str) -> str | int:
        """Read a setting."""
        return self.read_file(_setting(path))

    def sysctl_write(self, path: str, text: str) -> int:
        """Write a setting of the namespace; what belongs to the whole machine is left alone."""
        name = _setting(path)
        if not path.startswith(_SYSCTLS):
            now = self.read_file(name)
            return 0 if isinstance(now, str) and now.strip() == text.strip() else -1
        try:
            with open(name, "w") as file:
                file.write(text)
        except OSError as error:
            if path == _CONGESTION and error.errno == 1:
                return self._congestion_control(text.strip())
            return -(error.errno or 1)
        return 0

    def _congestion_control(self, name: str) -> int:
        """Give each socket what a namespace may not have as its default: 0 or -ENOENT."""
        available = self.read_file("/proc/sys/net/ipv4/tcp_available_congestion_control")
        if isinstance(available, int) or name not in available.split():
            return -2
        self.sys.congestion = name.encode()
        return 0

    def read_file(self, path: str) -> str | int:
        """Read a file: its text, or -errno."""
        try:
            with open(path, errors="replace") as file:
                return file.read()
        except OSError as error:
            return -(error.errno or 1)

    def make_file(self, path: str, size: int) -> int:
        """Make a file of zeros below /tmp, or remove it."""
        if os.path.dirname(os.path.realpath(path)) != "/tmp":
            return -1
        try:
            if size < 0:
                os.unlink(path)
            else:
                with open(path, "wb") as file:
                    file.write(bytes(size))
        except OSError as error:
            return -(error.errno or 1)
        return 0

    def counters(self) -> dict[str, int]:
        """Return the counters as nstat(8) names them."""
        found: dict[str, int] = {}
        for path in ("/proc/net/snmp", "/proc/net/netstat"):
            text = self.read_file(path)
            lines = text.splitlines() if isinstance(text, str) else []
            for names, values in zip(lines[::2], lines[1::2], strict=False):
                group = names.partition(":")[0]
                found.update({group + name: int(value) for name, value in zip(names.split()[1:], values.split()[1:], strict=False)})
        return found

    def tool(self, argv: list[str]) -> int:
        """Run `ip`, `tc` or `ethtool` in the namespace."""
        if argv[0] == "ethtool":
            return self._ethtool(argv[1:])
        try:
            return subprocess.run(argv, capture_output=True).returncode
        except OSError:
            return 127

    def _ethtool(self, words: list[str]) -> int:
        """ethtool -K tun0 tso off gso off, by the ioctls behind it."""
        commands = {"tso": 0x1F, "gso": 0x24, "gro": 0x2C, "sg": 0x19, "tx": 0x17}
        if words[:1] != ["-K"] or len(words) % 2 or any(name not in commands for name in words[2::2]):
            return 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for name, value in zip(words[2::2], words[3::2], strict=True):
                request = ctypes.create_string_buffer(struct.pack("=II", commands[name], value == "on"), 8)
                ifreq = struct.pack("16sQ16x", words[1].encode(), ctypes.addressof(request))
                try:
                    fcntl.ioctl(sock, 0x8946, ifreq)  # SIOCETHTOOL
                except OSError:
                    return 1
        return 0


def _setting(path: str) -> str:
    if path.startswith("module/"):
        return "/sys/module/tcp_cubic/parameters/" + path.removeprefix("module/")
    return "/proc/sys/" + path


class HostPending:
    """A call in the second thread."""

    def __init__(self, machine: HostMachine, call: Callable[[], None]) -> None:
        self.machine = machine
        self.tid = 0
        self.thread = threading.Thread(target=self._body, args=(call,), daemon=True)
        self.thread.start()

    def _body(self, call: Callable[[], None]) -> None:
        self.tid = threading.get_native_id()
        call()

    def sleeps(self) -> bool:
        """Tell whether the thread waits in the kernel, or has ended."""
        if not self.thread.is_alive():
            return True
        try:
            with open(f"/proc/self/task/{self.tid}/stat") as file:
                stat = file.read()
        except OSError:
            return False
        if stat.rpartition(")")[2].split()[0] != "S":
            return False
        with contextlib.suppress(OSError), open(f"/proc/self/task/{self.tid}/syscall") as file:
            return not file.read().startswith("202 ")  # futex: it waits for the interpreter, not for the kernel
        return True

    def done(self) -> bool:
        """Tell whether the call has returned."""
        return not self.thread.is_alive()

    def wait(self, deadline_ns: int) -> bool:
        """Wait until it returns, or the deadline."""
        self.thread.join(max((deadline_ns - self.machine.now_ns()) / 1e9, 0.001))
        return self.done()
