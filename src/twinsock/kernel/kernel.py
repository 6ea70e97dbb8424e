"""A simulated host: its clock, namespaces, global limits and counters (Linux: init/main.c and everything that is one per machine).

`Kernel` knows no protocol; `boot.start_kernel` registers the families. So a question about bind() alone loads little."""

from collections import deque
from typing import TYPE_CHECKING, Final

from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.sched.task import UserNamespace
from twinsock.kernel.time.timer import Clock

if TYPE_CHECKING:
    from twinsock.kernel.net.core.net import NetProtoFamily
    from twinsock.kernel.net.core.skbuff import SkBuff
    from twinsock.kernel.net.core.sock import Proto
    from twinsock.kernel.trace import Trace

_MASK64: Final = (1 << 64) - 1


class Prng:
    """A seeded generator (splitmix64): the same seed gives the same host."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK64

    def u32(self) -> int:
        """Return 32 random bits."""
        return self._next() >> 32

    def below(self, limit: int) -> int:
        """Return a number in [0, limit), as get_random_u32_below()."""
        return (self.u32() * limit) >> 32

    def u64(self) -> int:
        """Return 64 random bits."""
        return self._next()

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK64
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
        return z ^ (z >> 31)


class Work:
    """Something to do in softirq context; subclasses override `run`."""

    def run(self) -> None:
        """Do it."""
        raise NotImplementedError


class Kernel:
    """One host. Hosts of one simulation share a `Clock`."""

    def __init__(self, seed: int = 0, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.prng = Prng(seed)
        self.trace: Trace | None = None
        self.init_user_ns = UserNamespace()
        self.net_families: list[NetProtoFamily | None] = [None] * 46
        self.protos: list[Proto] = []  # in order of registration; /proc/net/protocols shows the newest first
        self.input_pkt_queue: deque[SkBuff] = deque()
        self.softirq_work: deque[Work] = deque()
        self.in_softirq = False
        self.cpu = 0
        self._next_inode = 4026532000
        self._next_sock_inode = 1
        self._next_cookie = 0
        # global limits and counters (sheet 01, 1.7 and 1.10)
        self.file_max = 9223372036854775807 >> 1
        self.nr_open = 1048576
        self.nr_files = 0
        self.sysctl_rmem_default = 212992
        self.sysctl_wmem_default = 212992
        self.sysctl_rmem_max = 4194304
        self.sysctl_wmem_max = 4194304
        self.sysctl_max_skb_frags = 17
        self.nets: list[Net] = []
        self.init_net = Net(self, self.init_user_ns)

    def new_ns_inode(self) -> int:
        """Return the next namespace inode number."""
        self._next_inode += 1
        return self._next_inode

    def get_next_ino(self) -> int:
        """Return the next pseudo file system inode number (32 bits, never 0)."""
        ino = self._next_sock_inode
        self._next_sock_inode = (ino + 1) & 0xFFFFFFFF or 1
        return ino

    def gen_cookie(self) -> int:
        """Return the next socket cookie, made on the first question for it."""
        self._next_cookie += 1
        return self._next_cookie

    def raise_softirq(self, work: Work) -> None:
        """Queue work that runs when the current system call or softirq lets go of the processor."""
        self.softirq_work.append(work)

    def do_softirq(self) -> None:
        """Process queued packets and work unless that is already under way; called wherever Linux re-enables bottom halves."""
        if self.in_softirq:
            return
        self.in_softirq = True
        packets = self.input_pkt_queue
        work = self.softirq_work
        while packets or work:
            if packets:
                packets.popleft().receive()
            else:
                work.popleft().run()
        self.in_softirq = False
