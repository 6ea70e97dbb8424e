"""Random programs of socket calls, and changes to programs that exist.

A program has a theme (TCP, UDP, UNIX, raw, packet, netlink, mixed), so that its sockets meet each other, and noise of all kinds. Options
are drawn from all numbers of a level but those that docs/deviations.md lists, values from those at edges."""

import random
import struct
from typing import Any

from tests.fuzz.player import LOCAL, REMOTE, SLOTS, SOL_IP, SOL_IPV6, SOL_SOCKET, SOL_TCP, Program, Step

V4 = ("127.0.0.1", "127.0.0.1", "127.0.0.1", "0.0.0.0", "127.0.0.2", "10.9.9.9", "255.255.255.255", "224.0.0.1")
V6 = ("::1", "::1", "::1", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "2001:db8::9", "ff02::1", "fe80::1")
NAMES = ("", "0061", "0062", "00", "006100", "00" + "78" * 107)
STREAM, DGRAM, RAW, RDM, SEQPACKET = 1, 2, 3, 4, 5
THEMES = {
    "tcp": [(2, STREAM, 0), (2, STREAM, 0), (10, STREAM, 0)],
    "udp": [(2, DGRAM, 0), (2, DGRAM, 0), (10, DGRAM, 0), (10, DGRAM, 0), (2, DGRAM, 136)],
    "unix": [(1, STREAM, 0), (1, DGRAM, 0), (1, SEQPACKET, 0)],
    "raw": [(2, RAW, 1), (2, RAW, 17), (2, RAW, 255), (10, RAW, 58), (10, RAW, 17), (2, DGRAM, 1), (10, DGRAM, 58), (2, DGRAM, 0)],
    "netlink": [(16, RAW, 0), (16, DGRAM, 2), (16, RAW, 4)],
    "packet": [(17, RAW, 0x300), (17, DGRAM, 0x8), (2, DGRAM, 0), (17, DGRAM, 0)],
    "mixed": [(2, STREAM, 0), (10, STREAM, 0), (2, DGRAM, 0), (10, DGRAM, 0), (1, STREAM, 0), (1, DGRAM, 0), (2, RAW, 1), (16, RAW, 0)],
}
ODD_SOCKETS = [
    (0, 1, 0),
    (2, 5, 0),
    (2, 1, 17),
    (2, 2, 6),
    (10, 3, 0),
    (2, 3, 0),
    (1, 3, 0),
    (1, 4, 0),
    (46, 1, 0),
    (2, 10, 0),
    (2, 2, 255),
    (2, 1, 6),
    (2, 2, 17),
    (1, 1, 1),
    (1, 1, 2),
    (2, 0, 0),
    (16, 2, 99),
    (2, 6, 0),
]
WEIGHTS = {"tcp": 34, "udp": 22, "unix": 16, "raw": 8, "netlink": 4, "packet": 4, "mixed": 12}

# Options that are not drawn, each with the deviation that says why, or because what they tell is time or chance.
LEFT_OUT: dict[int, dict[int, str]] = {
    SOL_SOCKET: {
        13: "SO_LINGER: drawn by itself, since a blocking close would wait",
        17: "SO_PEERCRED tells a process number",
        28: "SO_PEERNAME gives a port that may be an ephemeral one",
        26: "SO_ATTACH_FILTER reads pointers",
        27: "SO_DETACH_FILTER: with filters",
        33: "SO_RCVBUFFORCE beyond the host's memory",
        32: "SO_SNDBUFFORCE beyond the host's memory",
        50: "SO_ATTACH_BPF: D-bind-3",
        51: "SO_ATTACH_REUSEPORT_CBPF reads pointers",
        52: "SO_ATTACH_REUSEPORT_EBPF: D-bind-3",
        55: "SO_MEMINFO: has memory of the machine",
        56: "SO_INCOMING_NAPI_ID",
        57: "SO_COOKIE is a number of the machine",
        49: "SO_INCOMING_CPU is a processor",
        71: "SO_NETNS_COOKIE is a number of the machine",
        77: "SO_PEERPIDFD makes a descriptor of a process",
        79: "SCM_DEVMEM",
        80: "SO_DEVMEM_DONTNEED",
        78: "SO_DEVMEM_LINEAR",
        31: "SO_PEERSEC needs a policy",
        46: "SO_BUSY_POLL: a processor's own time",
        69: "SO_PREFER_BUSY_POLL",
        70: "SO_BUSY_POLL_BUDGET",
    },
    SOL_IP: {
        17: "IP_XFRM_POLICY: D-netlink-2",
        16: "IP_IPSEC_POLICY: D-netlink-2",
        52: "IP_PROTOCOL gives a port that may be an ephemeral one",
        64: "netfilter",
        65: "netfilter",
        66: "netfilter",
        67: "netfilter",
        80: "netfilter",
        83: "ip_set",
        200: "multicast routing",
        201: "multicast routing",
        202: "multicast routing",
        203: "multicast routing",
    },
    SOL_TCP: {
        11: "TCP_INFO has times",
        14: "TCP_MD5SIG: D-tcp-7",
        19: "TCP_REPAIR: D-tcp-6",
        20: "TCP_REPAIR_QUEUE: D-tcp-6",
        21: "TCP_QUEUE_SEQ: D-tcp-6",
        22: "TCP_REPAIR_OPTIONS: D-tcp-6",
        24: "TCP_TIMESTAMP is time",
        26: "TCP_CC_INFO: of the congestion control",
        29: "TCP_REPAIR_WINDOW: D-tcp-6",
        31: "TCP_ULP: tls is a module",
        32: "TCP_MD5SIG_EXT: D-tcp-7",
        35: "TCP_ZEROCOPY_RECEIVE: D-tcp-8",
        38: "TCP_AO_ADD_KEY: D-tcp-7",
        39: "TCP_AO_DEL_KEY: D-tcp-7",
        40: "TCP_AO_INFO: D-tcp-7",
        41: "TCP_AO_GET_KEYS: D-tcp-7",
        42: "TCP_AO_REPAIR: D-tcp-7",
        43: "TCP_IS_MPTCP",
        44: "TCP_RTO_MAX_MS",
    },
    SOL_IPV6: {
        6: "IPV6_2292PKTOPTIONS: D-ip-9",
        32: "IPV6_FLOWLABEL_MGR: D-udp-1",
        34: "IPV6_IPSEC_POLICY: D-netlink-2",
        35: "IPV6_XFRM_POLICY: D-netlink-2",
        64: "netfilter",
        65: "netfilter",
        68: "netfilter",
        69: "netfilter",
        80: "netfilter",
        200: "multicast routing",
        201: "multicast routing",
        202: "multicast routing",
    },
}
UDP_LEVEL = {17: [1, 10, 11, 12, 101, 102, 103, 104, 0, 9], 136: [10, 11]}
SYSCTLS = (
    ("ipv4/ip_nonlocal_bind", "01"),
    ("ipv4/ip_autobind_reuse", "01"),
    ("ipv4/tcp_syncookies", "012"),
    ("ipv4/tcp_sack", "01"),
    ("ipv4/tcp_window_scaling", "01"),
    ("ipv4/tcp_timestamps", "012"),
    ("ipv4/tcp_abort_on_overflow", "01"),
    ("ipv4/tcp_ecn", "0123"),
    ("ipv4/tcp_fin_timeout", ("60", "1", "0", "-1")),
    ("ipv4/tcp_rfc1337", "01"),
    ("ipv4/tcp_max_syn_backlog", ("1", "128")),
    ("ipv4/tcp_fastopen", ("0", "1", "3", "1027")),
    ("ipv4/tcp_tw_reuse", "012"),
    ("ipv4/tcp_migrate_req", "01"),
    ("ipv4/tcp_max_tw_buckets", ("0", "5000")),
    ("ipv4/ip_unprivileged_port_start", ("0", "1024", "5002")),
    ("ipv4/ip_local_port_range", ("40000 40003", "5003 5004", "60999 32768", "32768 60999", "0 1")),
    ("ipv4/ip_local_reserved_ports", ("40000-40002", "")),
    ("ipv4/ping_group_range", ("0 0", "1 0", "0 2147483647")),
    ("ipv4/ip_default_ttl", ("1", "64", "0", "255")),
    ("ipv4/icmp_echo_ignore_all", "01"),
    ("ipv4/tcp_autocorking", "01"),
    ("ipv4/tcp_keepalive_time", ("7200", "1")),
    ("ipv4/tcp_synack_retries", ("5", "1")),
    ("ipv4/tcp_rmem", ("4096 131072 6291456", "1 2 3", "4096 4096 4096")),
    ("ipv4/tcp_wmem", ("4096 16384 4194304", "4096 4096 4096")),
    ("ipv4/udp_rmem_min", ("4096", "1")),
    ("core/somaxconn", ("0", "1", "4096", "-1")),
    ("ipv6/bindv6only", "01"),
    ("ipv6/ip_nonlocal_bind", "01"),
    ("unix/max_dgram_qlen", ("0", "1", "10")),
)
IOCTLS = (0x541B, 0x5411, 0x894B, 0x8905, 0x8902, 0x8904, 0x5450, 0x5451, 0x894F, 0x1234)
EVENTS = (0x1, 0x4, 0x5, 0x2001, 0x80000001, 0x40000001, 0x10000005, 0x50000001, 0x80000005, 0x2, 0)
MSGS = (0, 0, 0, 0, 0, 0x1, 0x2, 0x20, 0x80, 0x100, 0x8000, 0x4, 0x10, 0x2000, 0x8, 0x200, 0x20000000, 0x10000, 0x40000000, 0x4000000)


class Maker:
    """Makes one program."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.theme = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        self.tasks = [0]
        self.held: dict[int, tuple[int, int, int]] = {}  # what a slot probably holds

    def program(self) -> Program:
        """Make a program."""
        rng = self.rng
        steps: Program = []
        if rng.random() < 0.15:
            steps.append(self.sysctl())
        opening = getattr(self, f"_open_{self.theme}", None)
        if opening is not None and rng.random() < 0.75:
            steps += opening()
        for _ in range(rng.randint(3, 14)):
            steps.append(self.noise())
        return steps

    def noise(self) -> Step:
        """Make one step of any kind."""
        kind = self.rng.choices(_KINDS, _KIND_WEIGHTS)[0]
        step: Step = getattr(self, kind)()
        if self.tasks != [0] and step[1] not in ("fork", "sysctl"):
            step[0] = self.rng.choice(self.tasks)
        return step

    def slot(self) -> int:
        """Choose a slot, most often one that is in use."""
        if self.held and self.rng.random() < 0.94:
            return self.rng.choice(list(self.held))
        return self.rng.randrange(SLOTS)

    def kind_of(self, slot: int) -> tuple[int, int, int]:
        return self.held.get(slot, (2, STREAM, 0))

    # Openings: sockets that talk to each other

    def _open_tcp(self) -> Program:
        rng = self.rng
        six = rng.random() < 0.3
        family, text, wild = (10, "::1", "::") if six else (2, "127.0.0.1", "0.0.0.0")
        at: list[Any] = [6, rng.choice((text, wild)), 1, 0] if six else [4, rng.choice((text, wild)), 1]
        to: list[Any] = [6, text, 1, 0] if six else [4, text, 1]
        if six and rng.random() < 0.3:
            to = [4, "127.0.0.1", 1] if at[1] == "::" else to
        self.held[0], self.held[1] = (family, STREAM, 0), ((2 if to[0] == 4 else family), STREAM, 0)
        steps: Program = [[0, "socket", 0, family, STREAM, 0]]
        if rng.random() < 0.4:
            steps.append(self.set(0))
        steps += [[0, "bind", 0, at], [0, "listen", 0, rng.choice((0, 1, 5))], [0, "socket", 1, self.held[1][0], STREAM, 0]]
        if rng.random() < 0.4:
            steps.append(self.set(1))
        steps.append([0, "connect", 1, to])
        if rng.random() < 0.85:
            self.held[2] = (family, STREAM, 0)
            steps.append([0, "accept", 0, 2, rng.choice((0, 0, 0x80000))])
        return steps

    def _open_udp(self) -> Program:
        rng = self.rng
        six = rng.random() < 0.4
        family = 10 if six else 2
        at: list[Any] = [6, rng.choice(("::1", "::", "::ffff:127.0.0.1")), 1, 0] if six else [4, rng.choice(("127.0.0.1", "0.0.0.0")), 1]
        self.held[0] = self.held[1] = (family, DGRAM, 0)
        steps: Program = [[0, "socket", 0, family, DGRAM, 0], [0, "bind", 0, at], [0, "socket", 1, family, DGRAM, 0]]
        if rng.random() < 0.4:
            steps.append(self.set(rng.choice((0, 1))))
        if rng.random() < 0.5:
            steps.append([0, "connect", 1, ["of", 0]])
        steps.append([0, "send", 1, rng.choice((0, 1, 100, 1500)), 0, rng.choice((["of", 0], None, at))])
        return steps

    def _open_unix(self) -> Program:
        rng = self.rng
        type_ = rng.choice((STREAM, DGRAM, SEQPACKET))
        self.held[0] = self.held[1] = (1, type_, 0)
        if rng.random() < 0.4:
            return [[0, "socketpair", 0, 1, 1, type_]]
        steps: Program = [[0, "socket", 0, 1, type_, 0], [0, "bind", 0, ["un", "0061"]], [0, "socket", 1, 1, type_, 0]]
        if type_ != DGRAM:
            steps.append([0, "listen", 0, rng.choice((0, 1, 5))])
        steps.append([0, "connect", 1, ["un", "0061"]])
        if type_ != DGRAM and rng.random() < 0.8:
            self.held[2] = (1, type_, 0)
            steps.append([0, "accept", 0, 2, 0])
        return steps

    # Steps

    def socket(self) -> Step:
        rng = self.rng
        slot = rng.randrange(SLOTS)
        kind = rng.choice(ODD_SOCKETS) if rng.random() < 0.04 else rng.choice(THEMES[self.theme])
        self.held[slot] = kind
        return [0, "socket", slot, *kind]

    def socketpair(self) -> Step:
        slot, other = self.rng.sample(range(SLOTS), 2)
        type_ = self.rng.choice((STREAM, DGRAM, SEQPACKET))
        self.held[slot] = self.held[other] = (1, type_, 0)
        return [0, "socketpair", slot, other, self.rng.choice((1, 1, 1, 1, 1, 2, 16)), type_]

    def address(self, family: int) -> Any:
        rng = self.rng
        if rng.random() < 0.06:
            family = rng.choice((1, 2, 10, 16))
        port = rng.choice((1, 1, 1, 1, 2, 3, 0, 80))
        spec: Any
        if rng.random() < 0.22:
            spec = ["of", self.slot()]
        elif family == 2:
            spec = [4, rng.choice(V4), port]
        elif family == 10:
            spec = [6, rng.choice(V6), port, rng.choice((0, 0, 0, 1, 99))]
        elif family == 1:
            spec = ["un", rng.choice(NAMES)]
        elif family == 16:
            spec = ["nl", rng.choice((0, 0, 7, 4000000000)), rng.choice((0, 1, 0x80000000))]
        else:
            spec = ["raw", "1100" + rng.choice(("0003", "0800", "0000")) + struct.pack("=I", rng.choice((0, 1, 99))).hex() + "00" * 12]
        if rng.random() < 0.03:
            spec = [spec, "cut", rng.choice((0, 1, 2, 4, 7, 8, 15, 16, 24, 27, 28, 29, 110, 128))]
        return None if rng.random() < 0.005 else spec

    def bind(self) -> Step:
        slot = self.slot()
        return [0, "bind", slot, self.address(self.kind_of(slot)[0])]

    def connect(self) -> Step:
        slot = self.slot()
        spec = ["raw", "00" * 16] if self.rng.random() < 0.15 else self.address(self.kind_of(slot)[0])
        return [0, "connect", slot, spec]

    def listen(self) -> Step:
        return [0, "listen", self.slot(), self.rng.choice((0, 1, 5, -1))]

    def accept(self) -> Step:
        new = self.rng.randrange(SLOTS)
        slot = self.slot()
        self.held[new] = self.kind_of(slot)
        return [0, "accept", slot, new, self.rng.choice((0, 0, 0, 0x80000, 1))]

    def shutdown(self) -> Step:
        return [0, "shutdown", self.slot(), self.rng.choice((0, 1, 1, 2, 2, 3))]

    def close(self) -> Step:
        slot = self.slot()
        self.held.pop(slot, None)
        return [0, "close", slot]

    def dup(self) -> Step:
        slot, new = self.slot(), self.rng.randrange(SLOTS)
        self.held[new] = self.kind_of(slot)
        return [0, "dup", slot, new]

    def send(self) -> Step:
        rng, slot = self.rng, self.slot()
        spec = self.address(self.kind_of(slot)[0]) if rng.random() < (0.3 if self.kind_of(slot)[1] == STREAM else 0.6) else None
        size = rng.choice((0, 1, 1, 10, 100, 100, 1500, 5000, 70000)) if self.theme != "netlink" else rng.choice((0, 1, 15, 16, 20))
        return [0, "send", slot, size, rng.choice(MSGS), spec]

    def recv(self) -> Step:
        rng = self.rng
        return [0, "recv", self.slot(), rng.choice((0, 1, 10, 50, 10000, 100000)), rng.choice(MSGS), rng.choice((0, 0, 16, 24, 256))]

    def option(self, slot: int) -> tuple[int, int]:
        """Choose a level and an option that fit a slot, more or less."""
        rng = self.rng
        family, type_, _ = self.kind_of(slot)
        levels = [SOL_SOCKET, SOL_SOCKET]
        levels += [SOL_IP] if family in (2, 10) else []
        levels += [SOL_IPV6, SOL_IPV6] if family == 10 else []
        levels += [SOL_TCP, SOL_TCP] if type_ == STREAM and family != 1 else []
        if type_ == DGRAM and family in (2, 10) and rng.random() < 0.2:
            level = rng.choice((17, 17, 136))
            return level, rng.choice(UDP_LEVEL[level])
        level = rng.choice(levels) if rng.random() < 0.95 else rng.choice((0, 1, 6, 17, 41, 58, 255, 263, 270))
        while True:
            number = rng.randrange(0, 86)
            if number not in LEFT_OUT.get(level, {}) and level not in (17, 136, 263, 270, 255, 58):
                return level, number
            if level in (17, 136, 263, 270, 255, 58):
                return level, rng.choice((0, 200))

    def set(self, slot: int | None = None) -> Step:
        rng = self.rng
        where = self.slot() if slot is None else slot
        if rng.random() < 0.1:
            return [0, "set", where, SOL_SOCKET, 13, struct.pack("=ii", rng.choice((0, 1)), 0).hex(), 8]
        if rng.random() < 0.35:
            level, option = rng.choice(_LIVELY)
        else:
            level, option = self.option(where)
        value = rng.choice((0, 1, 1, 1, 2, 3, 5, 16, 64, 100, 255, 256, 1000, 1500, 5000, 65535, 65536, -1, -2, 0x7FFFFFFF))
        if (level, option) == (SOL_TCP, 2) and 48 <= value < 536:
            value = 1000  # tiny segments are sent in bursts that depend on measured times
        raw = struct.pack("=i", value)
        if rng.random() < 0.1:
            raw = rng.choice((raw[:1], raw[:2], b"", raw + raw, raw * 4, b"lo\0", b"lo", bytes(16), raw * 5, raw * 11, raw * 32))
        length = len(raw) if rng.random() < 0.97 else rng.choice((0, 1, 3, -1))
        return [0, "set", where, level, option, raw.hex(), min(length, len(raw))]

    def get(self) -> Step:
        slot = self.slot()
        level, option = self.rng.choice(_LIVELY) if self.rng.random() < 0.3 else self.option(slot)
        return [0, "get", slot, level, option, self.rng.choice((4, 4, 4, 4, 1, 2, 0, 8, 16, 40, -1))]

    def name(self) -> Step:
        return [0, "name", self.slot(), self.rng.choice((110, 110, 16, 2, 0))]

    def peer(self) -> Step:
        return [0, "peer", self.slot(), self.rng.choice((110, 110, 16, 2, 0))]

    def poll(self) -> Step:
        slots = [self.slot() for _ in range(self.rng.randint(1, 3))]
        return [0, "poll", slots, self.rng.choice((0x27C7, 0x27C7, 0x1, 0x4, 0))]

    def epoll(self) -> Step:
        slot = self.rng.randrange(SLOTS)
        self.held[slot] = (-1, 0, 0)
        return [0, "epoll", slot]

    def ctl(self) -> Step:
        rng = self.rng
        pools = [slot for slot, kind in self.held.items() if kind[0] == -1]
        if not pools and rng.random() < 0.9:
            return self.epoll()
        slot = rng.choice(pools) if pools else self.slot()
        return [0, "ctl", slot, rng.choice((1, 1, 1, 1, 2, 3, 3, 0)), self.slot(), rng.choice(EVENTS)]

    def wait(self) -> Step:
        pools = [slot for slot, kind in self.held.items() if kind[0] == -1]
        return [0, "wait", self.rng.choice(pools) if pools else self.slot(), self.rng.choice((8, 8, 8, 1, 2, 0, -1))]

    def ioctl(self) -> Step:
        return [0, "ioctl", self.slot(), self.rng.choice(IOCTLS)]

    def fork(self) -> Step:
        task = self.rng.choice((1, 2))
        if task not in self.tasks:
            self.tasks.append(task)
        return [0, "fork", task]

    def exit(self) -> Step:
        if self.tasks == [0]:
            return self.poll()
        return [self.tasks[-1], "exit"]

    def setuid(self) -> Step:
        if self.tasks == [0] and self.rng.random() < 0.8:
            return self.fork()
        return [self.tasks[-1], "setuid", self.rng.choice((0, 1000, 1000, 65534))]

    def unshare(self) -> Step:
        return [self.tasks[-1], "unshare"]

    def settle(self) -> Step:
        return [0, "settle"]

    def sysctl(self) -> Step:
        name, values = self.rng.choice(SYSCTLS)
        return [0, "sysctl", name, self.rng.choice(values)]


_LIVELY = (
    (1, 2),
    (1, 15),
    (1, 15),
    (1, 9),
    (1, 10),
    (1, 18),
    (1, 7),
    (1, 8),
    (1, 6),
    (1, 16),
    (1, 42),
    (1, 4),
    (1, 3),
    (1, 30),
    (1, 47),
    (1, 60),
    (6, 1),
    (6, 3),
    (6, 9),
    (6, 8),
    (6, 2),
    (6, 10),
    (6, 12),
    (6, 13),
    (6, 23),
    (6, 25),
    (6, 18),
    (6, 30),
    (6, 36),
    (0, 1),
    (0, 2),
    (0, 6),
    (0, 8),
    (0, 10),
    (0, 11),
    (0, 12),
    (0, 13),
    (0, 15),
    (0, 19),
    (0, 20),
    (0, 24),
    (0, 50),
    (0, 51),
    (0, 33),
    (0, 34),
    (41, 26),
    (41, 26),
    (41, 49),
    (41, 25),
    (41, 16),
    (41, 18),
    (41, 51),
    (41, 66),
    (41, 67),
    (41, 74),
    (41, 78),
    (41, 23),
    (41, 8),
)
_TABLE = {
    "socket": 7,
    "socketpair": 1,
    "bind": 8,
    "connect": 9,
    "listen": 4,
    "accept": 6,
    "shutdown": 5,
    "close": 5,
    "dup": 2,
    "send": 13,
    "recv": 13,
    "set": 11,
    "get": 6,
    "name": 2,
    "peer": 2,
    "poll": 4,
    "epoll": 1,
    "ctl": 4,
    "wait": 3,
    "ioctl": 3,
    "fork": 1,
    "exit": 1,
    "setuid": 1,
    "settle": 0.5,
    "unshare": 0.3,
    "sysctl": 2,
}
_KINDS, _KIND_WEIGHTS = tuple(_TABLE), tuple(_TABLE.values())


def generate(rng: random.Random) -> Program:
    """Make a program."""
    return Maker(rng).program()


def mutate(rng: random.Random, program: Program, other: Program) -> Program:
    """Change a program: steps go, come, move, repeat, or come from another program."""
    steps = [list(step) for step in program]
    maker = Maker(rng)
    for step in steps:
        if step[1] == "socket":
            maker.held[step[2]] = (step[3], step[4], step[5])
        elif step[1] == "epoll":
            maker.held[step[2]] = (-1, 0, 0)
        elif step[1] == "accept":
            maker.held[step[3]] = maker.kind_of(step[2])
        elif step[1] == "fork" and step[2] not in maker.tasks:
            maker.tasks.append(step[2])
    for _ in range(rng.randint(1, 4)):
        how = rng.randrange(6)
        at = rng.randrange(len(steps) + 1)
        if how <= 1:
            steps.insert(at, maker.noise())
        elif how == 2 and len(steps) > 2:
            del steps[at % len(steps)]
        elif how == 3 and steps:
            steps.insert(at, list(rng.choice(steps)))
        elif how == 4 and other:
            start = rng.randrange(len(other))
            steps[at:at] = [list(step) for step in other[start : start + rng.randint(1, 4)]]
        elif steps:
            steps.append(maker.noise())
    return steps[:26]


assert LOCAL and REMOTE
