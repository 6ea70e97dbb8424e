"""Steps, settings and generator of the rich programs of tests/campaign/tcp_programs.py: options and what they read back, TCP_INFO,
queue sizes, edge-triggered epoll, Fast Open, zero-copy, urgent data, large sends, and filters that lose segments.

A block of programs shares a namespace with settings of its own (`profile`), so that timestamps, SACK, window scaling, cookies,
ECN, congestion control and small buffers are met in every combination."""

import ctypes
import errno
import random
import struct
from collections.abc import Callable
from typing import Any

Step = tuple[Any, ...]
Program = list[Step]

SOL_IP, SOL_SOCKET, SOL_TCP, SOL_IPV6 = 0, 1, 6, 41
BLOCK = 200  # programs that share a profile

# Settings of a namespace: each is on with a chance of one in eight.
SETTINGS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("ipv4/tcp_timestamps", "0"),),
    (("ipv4/tcp_sack", "0"),),
    (("ipv4/tcp_window_scaling", "0"),),
    (("ipv4/tcp_syncookies", "2"),),
    (("ipv4/tcp_syncookies", "0"),),
    (("ipv4/tcp_abort_on_overflow", "1"),),
    (("ipv4/tcp_fastopen", "1543"),),  # client and server, neither asks for a cookie, every listener
    (("ipv4/tcp_ecn", "1"),),
    (("ipv4/tcp_rmem", "4096 8192 32768"),),
    (("ipv4/tcp_wmem", "4096 8192 32768"),),
    (("ipv4/tcp_moderate_rcvbuf", "0"),),
    (("ipv4/tcp_autocorking", "0"),),
    (("ipv4/tcp_stdurg", "1"),),
    (("ipv4/tcp_shrink_window", "1"),),
    (("ipv4/tcp_slow_start_after_idle", "0"),),
    (("ipv4/tcp_dsack", "0"),),
    (("ipv4/tcp_early_retrans", "0"),),
    (("ipv4/tcp_recovery", "0"),),
    (("ipv4/tcp_frto", "0"),),
    (("ipv4/tcp_no_metrics_save", "1"),),
    (("ipv4/tcp_tw_reuse", "0"),),
    (("ipv4/tcp_rfc1337", "1"),),
    (("ipv4/tcp_adv_win_scale", "2"),),
    (("ipv4/tcp_app_win", "4"),),
    (("ipv4/tcp_notsent_lowat", "4000"),),
    (("ipv4/tcp_min_tso_segs", "1"),),
    (("ipv4/tcp_backlog_ack_defer", "0"),),
)


def _i(*values: int) -> tuple[bytes, ...]:
    return tuple(struct.pack("=i", value) for value in values)


VALUES: dict[str, tuple[int, int, tuple[bytes, ...]]] = {
    "maxseg": (SOL_TCP, 2, _i(1460, 500, 40000)),
    "keepidle": (SOL_TCP, 4, _i(7200, 100)),
    "keepintvl": (SOL_TCP, 5, _i(75, 1)),
    "keepcnt": (SOL_TCP, 6, _i(9, 1)),
    "keepalive": (SOL_SOCKET, 9, _i(1, 0)),
    "syncnt": (SOL_TCP, 7, _i(1, 3)),
    "clamp": (SOL_TCP, 10, _i(0, 3000, 50000)),
    "quickack": (SOL_TCP, 12, _i(0, 1)),
    "congestion": (SOL_TCP, 13, (b"cubic", b"reno")),
    "user_timeout": (SOL_TCP, 18, _i(0, 5000)),
    "fastopen": (SOL_TCP, 23, _i(1, 5, 0)),
    "lowat": (SOL_TCP, 25, _i(1, 3000, 0)),
    "save_syn": (SOL_TCP, 27, _i(1, 2, 0)),
    "fastopen_connect": (SOL_TCP, 30, _i(1, 0)),
    "no_cookie": (SOL_TCP, 34, _i(1, 0)),
    "inq": (SOL_TCP, 36, _i(1, 0)),
    "thin": (SOL_TCP, 16, _i(1, 0)),
    "nodelay": (SOL_TCP, 1, _i(1, 0)),
    "cork": (SOL_TCP, 3, _i(1, 0)),
    "defer": (SOL_TCP, 9, _i(1, 0)),
    "linger2": (SOL_TCP, 8, _i(-1, 1, 0)),
    "zerocopy": (SOL_SOCKET, 60, _i(1, 0)),
    "sndbuf": (SOL_SOCKET, 7, _i(5000, 20000, 100000)),
    "rcvbuf": (SOL_SOCKET, 8, _i(2304, 5000, 30000)),
    "peek_off": (SOL_SOCKET, 42, _i(0, 3, -1)),
    "rcvlowat": (SOL_SOCKET, 18, _i(1, 10, 5000)),
    "oobinline": (SOL_SOCKET, 10, _i(1, 0)),
    "reuseaddr": (SOL_SOCKET, 2, _i(1, 0)),
    "mark": (SOL_SOCKET, 36, _i(7)),
    "priority": (SOL_SOCKET, 12, _i(3)),
    "device": (SOL_SOCKET, 25, (b"lo\0", b"\0")),
    "tos": (SOL_IP, 1, _i(0x10, 0)),
    "minttl": (SOL_IP, 21, _i(255, 0)),
    "ttl": (SOL_IP, 2, _i(64, 1)),
    "discover": (SOL_IP, 10, _i(0, 2, 3)),
    "recverr": (SOL_IP, 11, _i(1, 0)),
    "noport": (SOL_IP, 24, _i(1, 0)),
    "v6only": (SOL_IPV6, 26, _i(1, 0)),
    "tclass": (SOL_IPV6, 67, _i(0x20)),
    "linger0": (SOL_SOCKET, 13, (b"\1\0\0\0\0\0\0\0", bytes(8))),
}
SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD = 0x541B, 0x5411, 0x8905, 0x894B
MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_EOR, MSG_WAITALL = 0x1, 0x2, 0x20, 0x80, 0x100
MSG_ERRQUEUE, MSG_MORE, MSG_ZEROCOPY, MSG_FASTOPEN, MSG_NOSIGNAL = 0x2000, 0x8000, 0x4000000, 0x20000000, 0x4000
EPOLLET, EPOLLONESHOT = 1 << 31, 1 << 30
INFO_BYTES = ("state", "ca_state", "retransmits", "probes", "backoff", "options", "wscale")
INFO_WORDS = {"snd_mss": 16, "rcv_mss": 20, "unacked": 24, "sacked": 28, "lost": 32, "retrans": 36, "pmtu": 60, "advmss": 84}
MEMORY = {"rmem": 0, "rcvbuf": 1, "sndbuf": 3, "queued": 5, "optmem": 6, "drops": 8}
INFO_WORDS |= {"reordering": 88, "notsent": 144}


def _insn(code: int, jt: int, jf: int, k: int) -> bytes:
    return struct.pack("=HBBI", code, jt, jf, k)


_LEN, _DROP, _KEEP = _insn(0x80, 0, 0, 0), _insn(6, 0, 0, 0), _insn(6, 0, 0, 0xFFFFFFFF)
FILTERS = {
    "all": _DROP,
    "large": _LEN + _insn(0x25, 0, 1, 60) + _DROP + _KEEP,  # segments with more than about thirty bytes
    "small": _LEN + _insn(0x25, 1, 0, 60) + _DROP + _KEEP,
    "hundred": _LEN + _insn(0x15, 0, 1, 132) + _DROP + _KEEP,  # exactly a hundred bytes beside a timestamp
    "flags": _insn(0x30, 0, 0, 13) + _insn(0x45, 0, 1, 1) + _DROP + _KEEP,  # every FIN
}


class RichSteps:
    """The steps that rich programs add to a player (`fds`, `calls`, `_err` and `_to` are the player's)."""

    def __init__(self, calls: Any, fds: list[int], to: Callable[[str, int], tuple[bytes, int]]) -> None:
        self.calls = calls
        self.fds = fds
        self.to = to
        self.aligned: Callable[[int], Any] = getattr(calls, "aligned", bytes)  # memory at the start of a page
        self.epolls: list[int] = [-1] * len(fds)
        self.steps: dict[str, Callable[..., Any]] = {
            "opt": self._opt,
            "get": self._get,
            "info": self._info,
            "mem": self._mem,
            "saved": lambda i: self._length(SOL_TCP, 28, i),
            "ioctl": self._ioctl,
            "fast": self._fast,
            "zsend": lambda i, n: self._err(calls.sendto(fds[i], self.aligned(n), MSG_ZEROCOPY | MSG_NOSIGNAL, None, 0)),
            "errq": lambda i: self._err(calls.recvfrom(fds[i], 100, MSG_ERRQUEUE)[0]),
            "epadd": self._epadd,
            "epwait": self._epwait,
            "filter": self._filter,
            "unfilter": lambda i: self._err(calls.setsockopt(fds[i], SOL_SOCKET, 27, bytes(4), 4)),
        }

    def _err(self, result: int) -> Any:
        return errno.errorcode[-result] if result < 0 else result

    def _opt(self, i: int, name: str, which: int) -> Any:
        level, opt, values = VALUES[name]
        value = values[which % len(values)]
        return self._err(self.calls.setsockopt(self.fds[i], level, opt, value, len(value)))

    def _get(self, i: int, name: str) -> Any:
        level, opt, _values = VALUES[name]
        ret, data = self.calls.getsockopt(self.fds[i], level, opt, 16)
        return self._err(ret) if ret < 0 else data.hex()

    def _length(self, level: int, opt: int, i: int) -> Any:
        ret, data = self.calls.getsockopt(self.fds[i], level, opt, 200)
        return self._err(ret) if ret < 0 else len(data)

    def _info(self, i: int) -> Any:
        ret, data = self.calls.getsockopt(self.fds[i], SOL_TCP, 11, 232)
        if ret < 0:
            return self._err(ret)
        found = dict(zip(INFO_BYTES, data[:7], strict=True))
        found.update({name: struct.unpack_from("=I", data, at)[0] for name, at in INFO_WORDS.items()})
        return found

    def _mem(self, i: int) -> Any:
        ret, data = self.calls.getsockopt(self.fds[i], SOL_SOCKET, 55, 36)
        if ret < 0:
            return self._err(ret)
        words = struct.unpack("=9I", data)
        return {name: words[at] for name, at in MEMORY.items()}

    def _ioctl(self, i: int, cmd: int) -> Any:
        ret, data = self.calls.ioctl(self.fds[i], cmd, bytes(4))
        return self._err(ret) if ret < 0 else struct.unpack("=i", data[:4])[0]

    def _fast(self, i: int, text: str, port: int, size: int) -> Any:
        addr, length = self.to(text, port)
        return self._err(self.calls.sendto(self.fds[i], b"x" * size, MSG_FASTOPEN | MSG_NOSIGNAL, addr, length))

    def _epadd(self, i: int, how: int) -> Any:
        if self.epolls[i] < 0:
            self.epolls[i] = self.calls.epoll_create1(0)
        ret = self.calls.epoll_ctl(self.epolls[i], 1, self.fds[i], 0x2F | how)
        if ret == -errno.EEXIST:
            ret = self.calls.epoll_ctl(self.epolls[i], 3, self.fds[i], 0x2F | how)
        return self._err(ret)

    def _epwait(self, i: int) -> Any:
        ret, events = self.calls.epoll_wait(self.epolls[i], 1, 0)
        return self._err(ret), [hex(bits) for _fd, bits in events]

    def _filter(self, i: int, name: str) -> Any:
        memory = ctypes.create_string_buffer(FILTERS[name])
        fprog = struct.pack("=HxxxxxxQ", len(FILTERS[name]) // 8, ctypes.addressof(memory))
        return self._err(self.calls.setsockopt(self.fds[i], SOL_SOCKET, 26, fprog, len(fprog)))

    def end(self) -> None:
        """Close the epoll descriptors."""
        for epoll in self.epolls:
            if epoll >= 0:
                self.calls.close(epoll)


def profile(seed: int, number: int) -> list[tuple[str, str]]:
    """Return the settings of the block that a program belongs to; a third of the blocks has none."""
    rng = random.Random(f"{seed}/profile/{number // BLOCK}")
    if rng.random() < 0.34:
        return []
    return [pair for pairs in SETTINGS if rng.random() < 0.125 for pair in pairs]


def generate(rng: random.Random, slots: int, addresses: dict[int, tuple[str, ...]]) -> Program:
    """Make a program: a listener and clients with options of their own, then steps that fit what the slots hold."""
    family = rng.choice((2, 2, 10))
    there = addresses[family][0]
    large = rng.random() < 0.4
    program: Program = [("socket", 0, family), ("opt", 0, "reuseaddr", 0), *_options(rng, 0)]
    program += [("bind", 0, rng.choice((there, addresses[family][2 if family == 2 else 1])), 0), ("listen", 0, rng.choice((0, 1, 5)))]
    for slot in (1, 3):
        program += [("socket", slot, family), *_options(rng, slot)]
        if slot == 1 or rng.random() < 0.4:
            if rng.random() < 0.15:
                program.append(("fast", slot, there, 0, rng.choice((0, 1, 100, 3000))))
            else:
                program.append(("connect", slot, there, 0))
    program.append(("accept", 0, 2))
    if rng.random() < 0.4:
        program.append(("epadd", rng.choice((0, 1, 2)), rng.choice((EPOLLET, EPOLLET, 0, EPOLLONESHOT))))
    length = len(program) + rng.randint(10, 26)
    while len(program) < length:
        program += _step(rng, family, slots, addresses)
    if large:  # many small segments are sent in bursts whose sizes depend on microseconds
        return [step for step in program if "maxseg" not in step]
    return [step if step[0] != "send" else ("send", step[1], min(step[2], 1000), step[3]) for step in program if step[0] != "zsend"]


def _options(rng: random.Random, slot: int) -> Program:
    return [("opt", slot, rng.choice(tuple(VALUES)), rng.randrange(5)) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]


_WEIGHTS = (
    ("send", 24),
    ("recv", 20),
    ("zsend", 4),
    ("errq", 2),
    ("poll", 10),
    ("epadd", 3),
    ("epwait", 7),
    ("info", 9),
    ("ioctl", 9),
    ("opt", 12),
    ("get", 6),
    ("saved", 1),
    ("mem", 6),
    ("filter", 4),
    ("unfilter", 3),
    ("fast", 2),
    ("socket", 2),
    ("bind", 2),
    ("connect", 4),
    ("unspec", 2),
    ("listen", 2),
    ("accept", 6),
    ("shutdown", 5),
    ("close", 3),
    ("error", 4),
    ("name", 1),
    ("settle", 5),
    ("pause", 1),
)


def _step(rng: random.Random, family: int, slots: int, addresses: dict[int, tuple[str, ...]]) -> Program:
    kind = rng.choices(*zip(*_WEIGHTS, strict=True))[0]
    i = rng.choice((1, 1, 1, 2, 2, 2, 0, 3))
    if kind == "send":
        size = rng.choice((0, 1, 1, 37, 100, 100, 1000, 5000, 20000, 70000))
        return [("send", i, size, rng.choice((0, 0, 0, 0, 0, MSG_OOB, MSG_MORE, MSG_EOR)))] * rng.choice((1, 1, 1, 2, 4))
    if kind == "recv":
        return [("recv", i, rng.choice((0, 1, 50, 3000, 100000)), rng.choice((0, 0, 0, 0, MSG_PEEK, MSG_OOB, MSG_WAITALL, MSG_TRUNC)))]
    if kind == "zsend":
        return [("opt", i, "zerocopy", 0), ("zsend", i, rng.choice((0, 1, 100, 5000, 20000)))]
    if kind == "epadd":
        return [("epadd", i, rng.choice((EPOLLET, EPOLLET, 0, EPOLLONESHOT)))]
    if kind == "ioctl":
        return [("ioctl", i, rng.choice((SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCOUTQNSD)))]
    if kind in ("opt", "get"):
        name = rng.choice(tuple(VALUES))
        return [("opt", i, name, rng.randrange(5)) if kind == "opt" else ("get", i, name)]
    if kind == "filter":
        return [("filter", i, rng.choice(tuple(FILTERS)))]
    if kind == "fast":
        return [("fast", i, addresses[family][0], 0, rng.choice((0, 1, 100)))]
    if kind == "socket":
        return [("socket", rng.randrange(slots), family if rng.random() < 0.8 else 12 - family)]
    if kind in ("bind", "connect"):
        return [(kind, i, rng.choice(addresses[family]) if rng.random() < 0.3 else addresses[family][0], rng.choice((0, 0, 0, 1, -1)))]
    if kind == "listen":
        return [("listen", i, rng.choice((0, 1, 5)))]
    if kind == "accept":
        return [("accept", 0 if rng.random() < 0.8 else i, rng.choice((2, 2, 3, 1)))]
    if kind == "shutdown":
        return [("shutdown", i, rng.choice((0, 1, 1, 2)))]
    if kind == "settle":
        return [("settle",)]
    if kind == "pause":
        return [("pause", rng.choice((12, 45, 45, 90)))]
    return [(kind, i)]
