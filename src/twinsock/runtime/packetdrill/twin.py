"""The twin as a machine for scripts: a host with one TUN device, in virtual time."""

from collections import deque
from collections.abc import Callable

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.drivers.tap import TunDevice, TunWire
from twinsock.kernel.fs.proc.root import proc_read
from twinsock.kernel.net.core.dev import dev_open, dev_set_mtu, register_netdevice
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.ipv4.devinet import InIfaddr, inet_insert_ifa
from twinsock.kernel.net.ipv4.fib_frontend import fib_newroute
from twinsock.kernel.net.ipv4.fib_table import FibConfig
from twinsock.kernel.net.ipv6.addrconf import inet6_addr_add
from twinsock.kernel.net.ipv6.route import Fib6Config, ip6_route_add
from twinsock.kernel.net.sysctl_net import sysctl_read, sysctl_write
from twinsock.kernel.time.timer import Clock
from twinsock.runtime.drops import DropLog
from twinsock.runtime.facade import Handle, TwinEnv
from twinsock.runtime.packetdrill.config import Config
from twinsock.runtime.packetdrill.twin_calls import TwinCalls
from twinsock.runtime.packetdrill.twin_tools import counters, make_file, run_tool, segments
from twinsock.uapi.errno import EINVAL
from twinsock.uapi.rtnetlink import IFA_F_NODAD

# What an event costs in virtual time, so that a packet and the answer to it are not simultaneous.
EVENT_COST_NS = 10_000
_START_AFTER_JIFFY_NS = 250_000
_BOOT_JIFFIES = 2500


class TwinMachine:
    """One simulated host; use it for one script."""

    def __init__(self, config: Config, seed: int = 1) -> None:
        self.config = config
        self.kernel = start_kernel(seed, Clock(0, config.hz))
        self.clock = self.kernel.clock
        self.clock.advance_to(_BOOT_JIFFIES * self.clock.jiffy_ns)
        self.net = self.kernel.init_net
        self.drops = DropLog()
        self.kernel.trace = self.drops
        self.packets: deque[tuple[int, bytes]] = deque()
        self.waiting = False
        self.tso = True
        self.dev = self._device()
        self.env = TwinEnv(self.kernel)
        self.sys = TwinCalls(self.env)

    def _device(self) -> TunDevice:
        config = self.config
        net = self.net
        dev = TunDevice(net, "tun0", _Wire(self), mtu=config.mtu)
        _must(register_netdevice(dev))
        local, remote = config.addresses()
        local4 = local if len(local) == 4 else bytes((192, 168, 0, 1))
        _must(inet_insert_ifa(dev, InIfaddr(int.from_bytes(local4, "big"), 16 if local4[:2] == b"\xc0\xa8" else 24)))
        _must(dev_open(dev))
        _must(dev_set_mtu(dev, config.mtu))
        if len(local) == 4:
            route = FibConfig(int.from_bytes(remote, "big"), 32)
            route.oif = dev.ifindex
            _must(fib_newroute(net, route))
        else:
            _must(inet6_addr_add(dev, local, 48, IFA_F_NODAD))
            route6 = Fib6Config(remote, 128)
            route6.oif = dev.ifindex
            _must(ip6_route_add(net, route6))
        return dev

    def run(self, program: Callable[[], None]) -> None:
        """Run a program as the host's first task; raise what it raises."""
        self.env.run(lambda env: program())

    def align(self) -> None:
        """Wait for a quarter of a millisecond after a tick."""
        tick = (self.clock.now_ns // self.clock.jiffy_ns + 1) * self.clock.jiffy_ns
        self.sleep_until(tick + _START_AFTER_JIFFY_NS)

    # Time and packets

    def dropped(self) -> list[str]:
        """Return a line for each dropped packet."""
        return self.drops.lines

    def now_ns(self) -> int:
        """Return the time."""
        return self.clock.now_ns

    def realtime_ns(self) -> int:
        """Return what to add for CLOCK_REALTIME."""
        return self.clock.realtime_offset_ns

    def sleep_until(self, when_ns: int) -> None:
        """Let time pass: at least what an event costs."""
        self.env.sleep_ns(max(when_ns - self.clock.now_ns, EVENT_COST_NS))

    def inject(self, data: bytes, gso_size: int) -> None:
        """Let a packet come in."""
        header = 40 if data[0] >> 4 == 4 else 60
        segments = -(-(len(data) - header) // gso_size) if gso_size else 0
        self.dev.deliver(data, gso_size, segments)

    def transmitted(self, data: bytes, gso_size: int) -> None:
        """Take a packet that goes out; a device without TSO gets its segments."""
        pieces = [data] if self.tso or not gso_size else segments(data, gso_size)
        self.packets.extend([(self.clock.now_ns, piece) for piece in pieces])
        if self.waiting:
            self.env.first.wake_up_process()

    def next_packet(self, deadline_ns: int) -> tuple[int, bytes] | None:
        """Wait for a packet that goes out."""
        task = self.env.first
        while not self.packets:
            left = deadline_ns - self.clock.now_ns
            if left <= 0:
                return None
            self.waiting = True
            task.prepare_to_sleep()
            task.schedule_timeout(left)
            self.waiting = False
        return self.packets.popleft()

    def start(self, call: Callable[[], None]) -> "TwinPending":
        """Make a call in a second task and let it run until it sleeps."""
        pending = TwinPending(self, self.env.spawn(call))
        self.env.sleep_ns(EVENT_COST_NS)
        return pending

    # Settings

    def sysctl_read(self, path: str) -> str | int:
        """Read a setting."""
        err, text = sysctl_read(self.env.task, path)
        return err if err else text

    def sysctl_write(self, path: str, text: str) -> int:
        """Write a setting."""
        if path == "module/hystart_detect":
            if not text.isdecimal():
                return -EINVAL
            self.kernel.cubic_hystart_detect = int(text)
            return 0
        return sysctl_write(self.env.task, path, text.encode())

    def read_file(self, path: str) -> str | int:
        """Read a file of /proc."""
        err, text = proc_read(self.env.task, path)
        return err if err else text.decode()

    def make_file(self, path: str, size: int) -> int:
        """Make a file of zeros, or remove it."""
        return make_file(self.env, path, size)

    def counters(self) -> dict[str, int]:
        """Return the counters as nstat(8) names them."""
        return counters(self.net)

    def tool(self, argv: list[str]) -> int:
        """Do what `ip`, `tc` or `ethtool` does."""
        if argv[0] == "ethtool":
            return self._ethtool(argv[1:])
        return run_tool(self.net, self.dev, argv)

    def _ethtool(self, words: list[str]) -> int:
        """ethtool -K tun0 tso on|off gso on|off: whether super-packets reach the device whole."""
        if words[:2] != ["-K", "tun0"] or len(words) % 2:
            return 1
        for name, value in zip(words[2::2], words[3::2], strict=True):
            if name == "tso":
                self.tso = value == "on"
            elif name != "gso":
                return 1
        return 0


class TwinPending:
    """A call in the second task."""

    def __init__(self, machine: TwinMachine, handle: Handle) -> None:
        self.machine = machine
        self.handle = handle

    def done(self) -> bool:
        """Tell whether it has returned."""
        return self.handle.ended

    def wait(self, deadline_ns: int) -> bool:
        """Wait until it returns, or the deadline."""
        machine = self.machine
        while not self.handle.ended and machine.clock.now_ns < deadline_ns:
            machine.env.sleep_ns(min(deadline_ns - machine.clock.now_ns, machine.clock.jiffy_ns))
        return self.handle.ended


class _Wire(TunWire):
    """Hands over what the device sends."""

    def __init__(self, machine: TwinMachine) -> None:
        self.machine = machine

    def transmit(self, dev: TunDevice, skb: SkBuff) -> None:
        self.machine.transmitted(dev.frame(skb), skb.gso_size)


def _must(err: int) -> None:
    if err:
        raise RuntimeError(f"the device cannot be set up: error {-err}")
