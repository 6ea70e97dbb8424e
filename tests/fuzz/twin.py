"""The twin for tests/fuzz/player.py: one kernel for each program, tasks without threads."""

from types import SimpleNamespace
from typing import Any

from tests.fuzz.live import DIAGS, diag_answers, diag_request
from tests.fuzz.player import LOCAL, Player, Program
from twinsock.kernel.boot import net_init_loopback, start_kernel
from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.fs.file import File, FilesStruct
from twinsock.kernel.fs.ioctl import sys_ioctl
from twinsock.kernel.fs.proc.net import proc_net_text
from twinsock.kernel.net import socket as calls
from twinsock.kernel.net.core.dev import dev_open, register_netdevice
from twinsock.kernel.net.core.net_namespace import copy_net_ns
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.sysctl_net import sysctl_write
from twinsock.kernel.sched.task import Cred, Task
from twinsock.runtime.facade_sys import TwinSys
from twinsock.uapi.signal import SIGPIPE
from twinsock.wire.ip import parse_addr


class FuzzSys(TwinSys):
    """The raw calls of one task."""

    def __init__(self, task: Task) -> None:
        super().__init__(SimpleNamespace(task=task, deliver_signals=lambda: 0))  # type: ignore[arg-type]
        self.task = task

    def recvmsg(self, fd: int, size: int, flags: int, control: int) -> tuple[int, bytes, bytes, int, bytes]:
        """recvmsg(2)."""
        umsg = calls.UserMsghdr()
        umsg.room = size
        umsg.control, umsg.controllen = (b"", control) if control else (None, 0)
        umsg.out_name = calls.UserSockaddr(128)
        ret = calls.sys_recvmsg(self.task, fd, umsg, flags)
        if ret < 0:
            return ret, b"", b"", 0, b""
        # what MSG_TRUNC throws away stays zero in the buffer
        return ret, umsg.data[:size].ljust(min(ret, size), b"\0"), umsg.out_name.addr, umsg.flags, umsg.control or b""

    def ioctl(self, fd: int, request: int, value: bytes) -> tuple[int, bytes]:
        """ioctl(2)."""
        ret, out = sys_ioctl(self.task, fd, request, value)
        return (ret, b"") if ret < 0 else (ret, (out + value[len(out) :])[: len(value)])

    def setuid(self, uid: int) -> int:
        """setresgid(2), setresuid(2)."""
        old = self.task.cred
        if old.uid != 0 and uid != old.uid:
            return -1
        self.task.cred = Cred(uid, uid, old.user_ns)
        return 0


class Far(TunWire):
    """Keeps what the kernel sends."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        """Keep a packet."""
        self.packets.append(skb.l3_bytes())


class TwinKernel:
    """A freshly booted twin."""

    def __init__(self, wire: bool = False, seed: int = 1) -> None:
        self.kernel = start_kernel(seed)
        self.net = copy_net_ns(self.kernel.tasks[0])
        net_init_loopback(self.net)
        self.net.ipv4.tcp_congestion_control = "reno"
        task = self.kernel.new_task("program", 0, 0, self.net)
        task.ignored_signals = 1 << SIGPIPE
        task.files = FilesStruct()
        for fd in range(3):
            task.files.alloc_fd(fd, fd + 1, 0)
            task.files.fd[fd] = File(self.kernel, 2)
        self.tasks = {0: FuzzSys(task)}
        self.far = Far()
        self.asker = -1
        self.start_ns = self.kernel.clock.now_ns
        if wire:
            self.dev = TunDevice(self.net, "tun0", self.far)
            register_netdevice(self.dev)
            inet_insert_ifa(self.dev, InIfaddr(parse_addr(LOCAL), 24))
            dev_open(self.dev)

    def sys(self, task: int) -> FuzzSys:
        """Give the calls of a task."""
        return self.tasks[task]

    def fork(self, task: int, new: int) -> None:
        """fork(2)."""
        child = self.kernel.fork(self.tasks[task].task)
        self.tasks[new] = FuzzSys(child)

    def settle(self, ms: int) -> None:
        """Let time pass."""
        self.kernel.clock.advance_to(self.kernel.clock.now_ns + ms * 1_000_000)

    def now_ns(self) -> int:
        """Return the time."""
        return self.kernel.clock.now_ns

    def wait_until(self, offset_ns: int) -> None:
        """Let time pass until so long after the start."""
        clock = self.kernel.clock
        if self.start_ns + offset_ns > clock.now_ns:
            clock.advance_to(self.start_ns + offset_ns)

    def exit(self, task: int) -> None:
        """exit(2)."""
        self.kernel.do_exit(self.tasks.pop(task).task)

    def end(self) -> None:
        """Nothing is left."""

    def sysctl(self, name: str, value: str) -> int:
        """Write a sysctl."""
        err = sysctl_write(self.tasks[0].task, f"net/{name}", value.encode())
        return err if err < 0 else len(value)

    def proc(self, name: str) -> str:
        """Read a file of /proc/net."""
        return proc_net_text(self.net, name) or ""

    def diag(self) -> dict[tuple[int, int], list[bytes]]:
        """Ask sock_diag."""
        found: dict[tuple[int, int], list[bytes]] = {}
        sys = self.tasks[0]
        if self.asker < 0:
            self.asker = sys.socket(16, 3 | 0o4000, 4)
        fd = self.asker
        for key in DIAGS:
            sys.sendto(fd, diag_request(*key), 0, None, 0)
            chunks = []
            while True:
                ret, data = sys.recvfrom(fd, 1 << 17, 0x40)
                if ret <= 0:
                    break
                chunks.append(data)
            found[key] = diag_answers(chunks)
        return found

    def inject(self, packet: bytes) -> None:
        """Let a packet come in."""
        self.dev.deliver(packet)

    def sent(self) -> list[bytes]:
        """Return what the kernel sent."""
        found, self.far.packets = self.far.packets, []
        return found


def play_on_twin(program: Program, every: bool, pace: list[int] | None = None, phase_ns: int = 0) -> list[Any]:
    """Play a program on a fresh twin, at the pace of another run if there is one, starting so long after a tick of the clock."""
    kernel = TwinKernel(any(step[1] in ("inject", "segment") for step in program))
    kernel.wait_until(phase_ns)
    kernel.start_ns += phase_ns
    return Player(kernel).play(program, every, pace)
