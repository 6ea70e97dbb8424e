"""One random life of two hosts per seed, as a log that says everything a program, a capture and a tracer would see.

    python -m tests.sim.event_log --seeds 200      one line per seed: the digest of its log and how long the log is
    python -m tests.sim.event_log --seed 7         the log of one seed

The pure and the compiled build print the same lines: tests/sim/test_both_builds.py."""

import argparse
import hashlib
import sys

from twinsock.kernel.boot import start_kernel
from twinsock.kernel.kernel import Kernel, Prng
from twinsock.kernel.net.core.capture import Capture, MemorySink
from twinsock.kernel.net.core.dev import NetDevice, dev_set_qdisc
from twinsock.kernel.net.core.skbuff import SkBuff
from twinsock.kernel.net.core.sock import SockCommon
from twinsock.kernel.net.sched.sch_netem import NetemQdisc, percent
from twinsock.kernel.trace import Trace
from twinsock.runtime.facade import TwinEnv, TwinSocket
from twinsock.runtime.lab import connect_namespaces, new_namespace, read_proc
from twinsock.uapi.socket import AF_INET

STEPS = 120
TABLES = ("snmp", "netstat", "sockstat", "tcp", "udp", "unix", "dev")


class Log(Trace):
    """Receives tracepoints and everything else."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lines: list[str] = []

    def add(self, text: str) -> None:
        self.lines.append(f"{self.kernel.clock.now_ns} {text}")

    def inet_sock_set_state(self, sk: SockCommon, oldstate: int, newstate: int) -> None:
        self.add(f"state {sk.sk_num}->{sk.sk_dport} {oldstate}->{newstate}")

    def kfree_skb(self, skb: SkBuff, reason: str) -> None:
        self.add(f"drop {reason} {skb.l3_len()}")


class Life:
    """Two hosts, a bad cable, and programs that do whatever the seed says."""

    def __init__(self, seed: int) -> None:
        self.kernel = start_kernel(seed)
        self.prng = Prng(seed * 2 + 1)
        self.log = Log(self.kernel)
        self.kernel.trace = self.log
        self.hosts = [new_namespace(self.kernel), new_namespace(self.kernel)]
        connect_namespaces(self.hosts[0], "10.0.0.1/24", self.hosts[1], "10.0.0.2/24")
        self.sink = MemorySink()
        capture = Capture(self.sink)
        for host in self.hosts:
            ipv4 = host.task.net.ipv4
            ipv4.tcp_congestion_control = ("reno", "cubic")[self.below(2)]
            ipv4.sysctl_tcp_sack = int(self.below(4) > 0)
            ipv4.sysctl_tcp_timestamps = int(self.below(4) > 0)
            ipv4.sysctl_tcp_ecn = self.below(2)
            dev = next(dev for dev in host.task.net.dev_base if dev.name == "eth0")
            self.spoil(dev)
            capture.attach(dev)
        self.listeners: list[TwinSocket] = []
        self.open: list[tuple[TwinEnv, TwinSocket]] = []
        for number, host in enumerate(self.hosts):
            self.listeners.append(host.socket.create_server((f"10.0.0.{number + 1}", 80)))
            self.listeners[-1].setblocking(False)
            udp = host.socket.socket(2, 2)
            udp.bind((f"10.0.0.{number + 1}", 53))
            self.keep(host, udp)

    def below(self, limit: int) -> int:
        return self.prng.below(limit)

    def spoil(self, dev: NetDevice) -> None:
        """Give a device's link delay, loss and more."""
        netem = NetemQdisc(dev)
        netem.latency_ns = 100_000 + self.below(20_000_000)
        netem.jitter_ns = self.below(2) * self.below(netem.latency_ns // 2)
        netem.loss = percent(self.below(8))
        netem.duplicate = percent(self.below(4))
        netem.corrupt = percent(self.below(2))
        netem.rate = self.below(2) * (1_000_000 + self.below(10_000_000))
        dev_set_qdisc(dev, netem)

    def keep(self, host: TwinEnv, sock: TwinSocket) -> None:
        sock.setblocking(False)
        self.open.append((host, sock))

    def run(self) -> list[str]:
        for _ in range(STEPS):
            self.act()
            clock = self.kernel.clock
            clock.advance_to(clock.now_ns + self.below(10_000_000))
        for sock in [sock for _, sock in self.open] + self.listeners:
            sock.close()
        clock.advance_to(clock.now_ns + 200_000_000_000)
        for host in self.hosts:
            for table in TABLES:
                self.log.lines += read_proc(host, table).splitlines()
        self.log.lines += [chunk.hex() for chunk in self.sink.chunks]
        return self.log.lines

    def act(self) -> None:
        """Make one system call and log how it ended."""
        number = len(self.open) - 1 - self.below(min(len(self.open), 10))
        host, sock = self.open[number]
        name, call = self.choose(host, sock)
        try:
            result = call()
        except OSError as error:
            result = f"errno {error.errno}"
        if name == "close":
            del self.open[number]
        self.log.add(f"{number} {name} {result}")

    def choose(self, host: TwinEnv, sock: TwinSocket):
        what = self.below(16)
        size = 1 + self.below(3000 if self.below(3) else 60_000)
        peer = f"10.0.0.{2 - self.hosts.index(host)}"
        if what == 0:
            return "socket", lambda: self.connect(host, peer)
        if what == 1 and len(self.open) > 8:
            return "close", sock.close
        if what == 2 and not self.below(3):
            return "socketpair", lambda: [self.keep(host, end) for end in host.socket.socketpair()]
        if what == 3 and not self.below(3):
            return "shutdown", lambda: sock.shutdown(self.below(3))
        if what == 4:
            return "option", lambda: sock.setsockopt(1, 7 + self.below(2), 1000 + self.below(200_000))
        if what == 5:
            return "nodelay", lambda: sock.setsockopt(6, 1 + 2 * self.below(2), self.below(2))
        if what == 6:
            return "info", lambda: sock.getsockopt(6, 11, 300)
        if what < 9:
            return "accept", lambda: self.accept(host)
        if what < 11 and sock.family == AF_INET:
            return "sendto", lambda: sock.sendto(bytes(size), (peer, 53))
        if what < 13:
            return "send", lambda: sock.send(bytes([self.below(256)]) * size)
        return "recv", lambda: hashlib.sha1(sock.recv(size)).hexdigest()

    def connect(self, host: TwinEnv, peer: str) -> int:
        sock = host.socket.socket()
        self.keep(host, sock)
        return sock.connect_ex((peer, 80 + self.below(20) // 19))

    def accept(self, host: TwinEnv) -> object:
        child, name = self.listeners[self.hosts.index(host)].accept()
        self.keep(host, child)
        return name


def event_log(seed: int) -> list[str]:
    """Return the log of one seed."""
    return Life(seed).run()


def main() -> int:
    """Print digests, or one log."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, help="print the log of this one")
    args = parser.parse_args()
    if args.seed is not None:
        print("\n".join(event_log(args.seed)))
        return 0
    print(f"build {sys.modules[Prng.__module__].__file__}", file=sys.stderr)
    for seed in range(args.seeds):
        lines = event_log(seed)
        print(seed, hashlib.sha256("\n".join(lines).encode()).hexdigest(), len(lines), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
