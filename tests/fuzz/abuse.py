"""Abuse: no sequence of calls, bytes, options, segments, requests or files makes the twin raise, hang or leak: ./dev abuse

    ./dev abuse --minutes 10                 each target for ten minutes
    ./dev abuse netlink --seed 3             one target, other cases
    ./dev abuse wire --first 1234 --cases 1  one case again, with its traceback

A target is a function of a random generator. What it raises is a finding; so is a case that takes longer than CASE_SECONDS."""

import argparse
import contextlib
import functools
import io
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.player import LOCAL, REMOTE, SLOTS, Player
from tests.fuzz.steps import SYSCTLS, generate
from tests.fuzz.twin import TwinKernel
from twinsock.kernel.fs.proc.root import proc_read, proc_write
from twinsock.wire.l4 import csum_fold, ones_sum, pseudo_sum4

CASE_SECONDS = 20
PACKETS = Path(__file__).parents[1] / "packet"
EDGES = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    17,
    28,
    63,
    64,
    127,
    128,
    255,
    256,
    1023,
    1024,
    4095,
    4096,
    65535,
    65536,
    1 << 20,
    0x7FFFFFFF,
    -1,
    -2,
    -1 << 31,
)
LINGER_NS = 400 * 1_000_000_000  # everything that a closed socket leaves behind is gone after this


class Hang(Exception):
    """A case took too long."""


class Leak(AssertionError):
    """Something was left behind."""


def _edge(rng: random.Random) -> int:
    return rng.choice(EDGES) if rng.random() < 0.7 else rng.randrange(-1 << 31, 1 << 31)


def _bytes(rng: random.Random, limit: int = 64) -> bytes:
    size = min(abs(_edge(rng)), limit)
    return rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))


# ---- system calls


def calls(rng: random.Random) -> None:
    """System calls with arguments of any kind, sysctl and /proc included; in the end nothing is left."""
    kernel = TwinKernel()
    files = kernel.kernel.nr_files
    player = Player(kernel)
    for step in generate(rng):
        player.step(step)
        for _ in range(rng.randrange(3)):
            _odd_call(rng, kernel, player)
    player.observe()
    player.close()
    for task in list(kernel.tasks):
        if task:
            kernel.exit(task)
    for fd in range(3, 1024):
        kernel.sys(0).close(fd)
    no_leak(kernel, files)


def _odd_call(rng: random.Random, kernel: TwinKernel, player: Player) -> None:
    """Make a call with odd arguments."""
    sys_ = kernel.sys(rng.choice(list(kernel.tasks)))
    fd = rng.choice([*player.fds[0], *(_edge(rng) for _ in range(2))])
    raw = None if rng.random() < 0.1 else _bytes(rng, 160)
    length = rng.choice((len(raw or b""), _edge(rng)))
    level, option = rng.choice((0, 1, 6, 17, 41, 58, 136, 255, 263, 270, _edge(rng))), rng.choice((rng.randrange(300), _edge(rng)))
    if length > len(raw or b"") and raw is not None:
        raw = raw.ljust(min(length, 200), b"\0")
    name = rng.choice(
        ("bind", "connect", "setsockopt", "getsockopt", "ioctl", "sendto", "recvmsg", "fcntl", "epoll", "sysctl", "proc", "socket")
    )
    if name == "bind":
        sys_.bind(fd, raw, min(length, len(raw or b"")))
    elif name == "connect":
        sys_.connect(fd, raw, min(length, len(raw or b"")))
    elif name == "setsockopt":
        sys_.setsockopt(fd, level, option, raw, min(length, len(raw or b"")))
    elif name == "getsockopt":
        sys_.getsockopt(fd, level, option, min(length, 70000))
    elif name == "ioctl":
        sys_.ioctl(
            fd,
            rng.choice((0x8900 + rng.randrange(256), 0x5400 + rng.randrange(128), _edge(rng) & 0xFFFFFFFF)),
            _bytes(rng, 64).ljust(40, b"\0"),
        )
    elif name == "sendto":
        sys_.sendto(fd, _bytes(rng, 70000), rng.randrange(1 << 31) & ~0x4000 | 0x4040, raw, len(raw or b""))
    elif name == "recvmsg":
        sys_.recvmsg(fd, min(abs(_edge(rng)), 1 << 20), rng.randrange(1 << 31) | 0x40, min(abs(_edge(rng)), 1 << 16))
    elif name == "fcntl":
        sys_.fcntl(fd, rng.choice((0, 1, 2, 3, 8, 9, 10, 11, 1024, 1030, 1032, _edge(rng))), min(abs(_edge(rng)), 1000) | 0o4000)
    elif name == "epoll":
        sys_.epoll_ctl(fd, rng.randrange(5), rng.choice(player.fds[0]), rng.choice((None, rng.randrange(1 << 32))))
    elif name == "sysctl":
        path = rng.choice(SYSCTLS)[0]
        text = rng.choice((_bytes(rng, 40), str(_edge(rng)).encode(), b"1 2 3 4 5", b"-", b" ", b"9" * 30))
        proc_write(kernel.tasks[0].task, f"/proc/sys/net/{path}", text)
    elif name == "proc":
        proc_read(
            kernel.tasks[0].task,
            rng.choice(("/proc/net/tcp", "/proc/net/unix", "/proc/self/fdinfo/3", "/proc/net/" + "x" * 9, "", "/", "/proc/sys/net/ipv4")),
        )
    else:
        fresh = sys_.socket(
            rng.choice((rng.randrange(48), _edge(rng))),
            rng.choice((1, 2, 3, 5, 10, _edge(rng))) | 0o4000,
            rng.choice((0, rng.randrange(300), _edge(rng))),
        )
        if fresh >= 0:
            player.keep(0, rng.randrange(SLOTS), fresh)


def no_leak(kernel: TwinKernel, files: int) -> None:
    """Let everything end and look whether the counters are back. Raises Leak."""
    clock = kernel.kernel.clock
    clock.advance_to(clock.now_ns + LINGER_NS)
    used = [line for line in kernel.proc("sockstat").splitlines() if not line.startswith("FRAG")]
    text = " ".join(used).replace("alloc 1", "alloc 1")
    left = [f"{key} {value}" for key, value in _counts(used).items() if value and key not in _KERNEL_OWN]
    if left:
        raise Leak(f"left in sockstat: {', '.join(left)}: {text}")
    if kernel.kernel.nr_files != files:
        raise Leak(f"{kernel.kernel.nr_files - files} open files left")
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix"):
        rows = kernel.proc(table).splitlines()[1:]
        if rows:
            raise Leak(f"a row left in /proc/net/{table}: {rows[0]}")


_KERNEL_OWN = ("TCP: alloc",)  # the socket that answers for nobody


def _counts(lines: list[str]) -> dict[str, int]:
    found = {}
    for line in lines:
        group, *words = line.split()
        for key, value in zip(words[::2], words[1::2], strict=False):
            found[f"{group} {key}"] = int(value)
    return found


# ---- packets


def wire(rng: random.Random) -> None:
    """Packets of any kind arrive at a host with sockets of all kinds."""
    kernel = TwinKernel(wire=True)
    player = Player(kernel)
    files = kernel.kernel.nr_files
    opened: list[list[Any]] = [
        [0, "socket", 0, 2, 1, 0],
        [0, "bind", 0, [4, "0.0.0.0", 1]],
        [0, "listen", 0, 3],
        [0, "socket", 1, 2, 2, 0],
        [0, "bind", 1, [4, "0.0.0.0", 2]],
        [0, "socket", 2, 2, 3, rng.choice((1, 6, 17, 255))],
        [0, "socket", 3, 10, 2, 0],
        [0, "bind", 3, [6, "::", 3, 0]],
        [0, "socket", 4, 2, 1, 0],
        [0, "connect", 4, [4, REMOTE, 80]],
    ]
    for step in opened:
        player.step(step)
    isns = [_isn(packet) for packet in kernel.sent()]
    for _ in range(rng.randint(1, 40)):
        kernel.inject(_packet(rng, isns))
        isns += [_isn(packet) for packet in kernel.sent()]
        if rng.random() < 0.2:
            player.step([0, rng.choice(("recv", "recv")), rng.randrange(5), 5000, 0, 64])
        if rng.random() < 0.1:
            player.step([0, "accept", 0, 5, 0])
        if rng.random() < 0.1:
            kernel.settle(rng.choice((1, 50, 1000, 100000)))
    player.observe()
    for fd in range(3, 64):
        kernel.sys(0).close(fd)
    no_leak(kernel, files)


def _isn(packet: bytes) -> tuple[int, int, int, int]:
    """Return (our port, their port, our sequence number, what we acknowledged) of a segment that was sent."""
    if len(packet) >= 40 and packet[0] == 0x45 and packet[9] == 6:
        sport, dport, seq, ack = struct.unpack_from("!HHII", packet, 20)
        return sport, dport, seq, ack
    return 5001, 40000, 1, 1


def _packet(rng: random.Random, isns: list[tuple[int, int, int, int]]) -> bytes:
    """Make a packet: a likely one, then changed in places."""
    kind = rng.random()
    if kind < 0.05:
        return rng.randbytes(rng.choice((0, 1, 19, 20, 40, 60, 200)))
    protocol = rng.choice((6, 6, 6, 6, 17, 1, 1, rng.randrange(256)))
    if protocol == 6:
        body = _segment(rng, isns)
    elif protocol == 17:
        data = _bytes(rng, 300)
        body = (
            struct.pack(
                "!HHHH", rng.choice((40000, 0, 5002)), rng.choice((5002, 5003, 9)), rng.choice((8 + len(data), _edge(rng) & 0xFFFF)), 0
            )
            + data
        )
    else:
        inner = _ip(rng, LOCAL, REMOTE, 6, struct.pack("!HHI", 5001, 40000, 1) + bytes(12))
        body = struct.pack(
            "!BBHI",
            rng.choice((0, 3, 3, 4, 5, 8, 11, 12, 13, rng.randrange(256))),
            rng.randrange(16),
            0,
            rng.choice((0, 576, 1 << 16, 0xFFFFFFFF)),
        )
        body += rng.choice((inner, inner[:28], _bytes(rng, 64)))
        body = body[:2] + struct.pack("!H", csum_fold(ones_sum(body)) ^ 0xFFFF) + body[4:]
    packet = _ip(rng, REMOTE, LOCAL, protocol, body)
    if rng.random() < 0.15:
        packet = _ip6(rng, body, protocol)
    if rng.random() < 0.3 and packet:
        changed = bytearray(packet)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        packet = bytes(changed)
    return packet[: rng.randrange(len(packet) + 1)] if rng.random() < 0.1 else packet


def _segment(rng: random.Random, isns: list[tuple[int, int, int, int]]) -> bytes:
    ours, theirs, seq, ack = rng.choice(isns[-6:]) if isns else (5001, 40000, 1, 1)
    if rng.random() < 0.3:
        ours, theirs = 5001, 40000 + rng.randrange(3)
    options = b""
    while rng.random() < 0.5 and len(options) < 36:
        options += rng.choice(
            (
                b"\x01",
                b"\x02\x04\x05\xb4",
                b"\x04\x02",
                b"\x03\x03\x07",
                b"\x08\x0a" + rng.randbytes(8),
                b"\x05\x0a" + rng.randbytes(8),
                b"\x22\x0a" + rng.randbytes(8),
                b"\x02\x00",
                b"\xfe\x04\xf9\x89",
                rng.randbytes(4),
            )
        )
    options = options[:40]
    options += bytes(-len(options) % 4)
    flags = rng.choice((2, 0x10, 0x10, 0x18, 0x11, 4, 0x14, 0x12, 0x38, rng.randrange(512)))
    near = (ack + rng.choice((0, 0, 0, 1, -1, 1000, -1000, 1 << 30, 1 << 31))) & 0xFFFFFFFF
    acks = (seq + rng.choice((0, 1, 1, 1, 2, -1, 1000, 1 << 31))) & 0xFFFFFFFF
    data = _bytes(rng, 1400) if rng.random() < 0.5 else b""
    offset = rng.choice((5 + len(options) // 4,) * 9 + (rng.randrange(16),))
    head = struct.pack(
        "!HHIIHHHH", theirs, ours, near, acks, offset << 12 | flags, rng.choice((0, 1, 1000, 65535)), 0, rng.choice((0, 0, 5, 65535))
    )
    body = head + options + data
    if rng.random() < 0.95:
        source, dest = (int.from_bytes(bytes(map(int, text.split("."))), "big") for text in (REMOTE, LOCAL))
        check = csum_fold(pseudo_sum4(source, dest, 6, len(body)) + ones_sum(body)) ^ 0xFFFF
        body = body[:16] + struct.pack("!H", check) + body[18:]
    return body


def _ip(rng: random.Random, source: str, dest: str, protocol: int, body: bytes) -> bytes:
    ends = [bytes(map(int, text.split("."))) for text in (source, dest)]
    if rng.random() < 0.05:
        ends[rng.randrange(2)] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\0\0\1", b"\xe0\0\0\1", b"\x0a\7\0\xff"))
    options = rng.choice(
        (b"",) * 12 + (b"\x83\x07\x04\x7f\0\0\1\0", b"\x07\x07\x04" + bytes(5), b"\x44\x08\x05\0" + bytes(4), rng.randbytes(8))
    )
    offset = rng.choice((0,) * 10 + (0x2000, 0x4000, 0x2001, 1, 0x1FFF, 0x00B9))
    length = rng.choice((20 + len(options) + len(body),) * 12 + (rng.randrange(65536),))
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | (5 + len(options) // 4),
        rng.randrange(256),
        length,
        rng.randrange(4),
        offset,
        rng.choice((64, 64, 1, 0, 255)),
        protocol,
        0,
    )
    head += ends[0] + ends[1] + options
    return head[:10] + struct.pack("!H", csum_fold(ones_sum(head)) ^ 0xFFFF) + head[12:] + body


def _ip6(rng: random.Random, body: bytes, protocol: int) -> bytes:
    for _ in range(rng.randrange(4)):
        next_ = rng.choice((0, 43, 44, 60, 50, 59))
        header = bytes((protocol, rng.choice((0, 0, 1, 255)))) + rng.randbytes(6)
        body, protocol = header + body, next_
    ends = rng.choice((b"\xfe\x80" + bytes(13) + b"\1", bytes(15) + b"\1", b"\xff\2" + bytes(13) + b"\1", rng.randbytes(16)))
    return (
        struct.pack("!IHBB", 6 << 28 | rng.randrange(1 << 20), rng.choice((len(body), len(body), rng.randrange(65536))), protocol, 64)
        + ends
        + ends[::-1]
        + body
    )


# ---- netlink


def netlink(rng: random.Random) -> None:
    """Netlink requests of any kind."""
    kernel = TwinKernel()
    files = kernel.kernel.nr_files
    player = Player(kernel)
    for step in generate(rng)[:6]:
        player.step(step)
    sys_ = kernel.sys(0)
    for protocol in (rng.choice((0, 4)), rng.choice((0, 4, 2))):
        fd = sys_.socket(16, 3 | 0o4000, protocol)
        for _ in range(rng.randint(1, 12)):
            sys_.sendto(fd, _request(rng), 0x40, None, 0)
            for _ in range(3):
                sys_.recvfrom(fd, rng.choice((0, 16, 4096, 65536)), 0x40)
        sys_.close(fd)
    player.close()
    for task in list(kernel.tasks):
        if task:
            kernel.exit(task)
    for fd in range(3, 64):
        sys_.close(fd)
    no_leak(kernel, files)


def _request(rng: random.Random) -> bytes:
    data = b""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        type_ = rng.choice((16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 30, 0, 1, 2, 3, 20, 20, rng.randrange(130), rng.randrange(65536)))
        body = rng.choice((_diag_body(rng), _diag_body(rng), _bytes(rng, 120), bytes(rng.choice((1, 8, 12, 16, 56)))))
        while rng.random() < 0.5:
            value = rng.choice((_bytes(rng, 24), b"lo\0", struct.pack("=I", 1), rng.randbytes(4)))
            body += (
                bytes(-len(body) % 4)
                + struct.pack("=HH", rng.choice((4 + len(value), rng.randrange(65536), 0, 3)), rng.randrange(64))
                + value
            )
        length = rng.choice((16 + len(body),) * 9 + (_edge(rng) & 0xFFFFFFFF,))
        flags = rng.choice((0x301, 0x301, 1, 5, 0x605, rng.randrange(65536)))
        data += struct.pack("=IHHII", length, type_, flags, rng.randrange(1 << 32), rng.randrange(3)) + body
        data += bytes(-len(data) % 4)
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data


def _diag_body(rng: random.Random) -> bytes:
    family = rng.choice((2, 10, 1, 16, 17, 0, rng.randrange(256)))
    head = struct.pack(
        "=BBBBI",
        family,
        rng.choice((6, 17, 136, 1, 255, 58, rng.randrange(256))),
        rng.randrange(256),
        0,
        rng.choice((0xFFF, 0xFFFFFFFF, rng.randrange(1 << 32))),
    )
    body = head + rng.choice((bytes(48), rng.randbytes(48), b"\x13\x89" + bytes(46)))
    if rng.random() < 0.4:
        code = b"".join(
            struct.pack(
                "=BBH", rng.randrange(16), rng.choice((4, 8, 12, rng.randrange(256))), rng.choice((4, 8, 12, 16, rng.randrange(65536)))
            )
            for _ in range(rng.randint(1, 8))
        )
        body += struct.pack("=HH", 4 + len(code), 1) + code
    return body


# ---- files


@functools.cache
def _capture() -> bytes:
    from twinsock.wire.pcapng import DIR_INBOUND, LINKTYPE_RAW, EnhancedPacket, interface_description, section_header

    packets = [EnhancedPacket(0, 1000 + n, bytes(20 + n), 20 + n, DIR_INBOUND, "comment") for n in range(3)]
    return section_header("test") + interface_description("lo", LINKTYPE_RAW, 0) + b"".join(packet.emit() for packet in packets)


def pcapng(rng: random.Random) -> None:
    """Capture files that were damaged."""
    from twinsock.wire.pcapng import parse

    parse(_damaged(rng, _capture()))


def _damaged(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif how == 1:
            changed[at:at] = rng.randbytes(rng.choice((1, 4, 12)))
        elif how == 2:
            del changed[at : at + rng.choice((1, 4, 20))]
        elif at + 4 <= len(changed):
            changed[at : at + 4] = struct.pack("=I", _edge(rng) & 0xFFFFFFFF)
    return bytes(changed)


@functools.cache
def _scripts() -> list[str]:
    return [path.read_text() for path in sorted(PACKETS.glob("*.pkt"))]


def packetdrill(rng: random.Random) -> None:
    """Scripts with words, numbers and lines exchanged: they pass, fail or make no sense."""
    from twinsock.runtime.packetdrill.session import Verdict, prepare
    from twinsock.runtime.packetdrill.twin import TwinMachine

    lines = rng.choice(_scripts()).splitlines(keepends=True)
    other = rng.choice(_scripts())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        how = rng.randrange(6)
        if how == 0:
            lines.insert(at, rng.choice(other.splitlines(keepends=True)))
        elif how == 1 and len(lines) > 1:
            del lines[at]
        elif how == 2:
            words = lines[at].split(" ")
            words[rng.randrange(len(words))] = rng.choice(other.split()) if rng.random() < 0.7 else str(_edge(rng))
            lines[at] = " ".join(words)
        elif how == 3:
            lines[at] = _damaged(rng, lines[at].encode()).decode("latin-1")
        elif how == 4:
            digits = [i for i, char in enumerate(lines[at]) if char.isdigit()]
            if digits:
                i = rng.choice(digits)
                lines[at] = lines[at][:i] + str(_edge(rng)) + lines[at][i + 1 :]
        else:
            lines.insert(at, lines[at])
    with tempfile.NamedTemporaryFile("w", suffix=".pkt", encoding="utf-8", errors="replace") as file:
        file.write("".join(lines).replace("`", ""))  # no commands of a shell
        file.flush()
        prepared = prepare(file.name, "ipv4", [])
        if isinstance(prepared, Verdict):
            return
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            verdict = prepared.play(TwinMachine(prepared.config))
    assert verdict.outcome in ("pass", "fail", "error")


# ---- arguments


_WORDS = """
    8080 0 65535 65536 -1 tcp://127.0.0.1:80 udp://[::]:53 53/udp mptcp://:8443 unix:/run/app.sock unix:@abstract unix:
    tcp:// :80 [::1]:80 [::1 127.0.0.1 localhost:80 1.2.3.4.5:6 tcp://[fe80::1%lo]:80 fe80::1%99 0x50 080
    99999999999999999999 unix-dgram:@x unix:@ [::ffff:1.2.3.4]:1 --reuseaddr --reuseport --v6only --no-v6only --freebind
    --transparent --bind-only --connect --json --no-color --device --device=lo --uid --uid=0 --uid=nobody
    --uid=4294967295 --pid=1 --pid --netns=1 --netns --uid=x --pid=999999999 -- - --bogus --help -h -x é \x1b[31m
"""


def why(rng: random.Random) -> None:
    """Command lines of `twinsock why`: an answer or one line, never a traceback."""
    from twinsock.ui.cli import dispatch

    words = [rng.choice(_WORDS.split()) for _ in range(rng.randint(0, 4))]
    if rng.random() < 0.3:
        words.append("".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(1, 0x3000)))) for _ in range(rng.randint(0, 12))))
    if rng.random() < 0.3 and words:
        words[0] = _damaged(rng, words[0].encode()).decode("latin-1")
    words = [word for word in words if not word.startswith(("--prove", "--wait"))]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dispatch(["why", *words])
    assert code in (0, 1, 2, 3), (code, words)
    assert code != 2 or err.getvalue().count("\n") == 1, (err.getvalue(), words)


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "calls": calls,
    "wire": wire,
    "netlink": netlink,
    "pcapng": pcapng,
    "packetdrill": packetdrill,
    "why": why,
}


def run_case(name: str, seed: int, number: int) -> str:
    """Run one case: "" or its traceback."""

    def late(signo: int, frame: object) -> None:
        raise Hang(f"took more than {CASE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(CASE_SECONDS)
    try:
        TARGETS[name](random.Random(f"{name}/{seed}/{number}"))
    except Exception:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


def main() -> int:
    """Run targets until the time is used up; print each kind of finding once."""
    parser = argparse.ArgumentParser(prog="./dev abuse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help=", ".join(TARGETS) + "; all when none is named")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=0, help="stop after so many; 0: by time only")
    args = parser.parse_args()
    failed = 0
    for name in args.names or TARGETS:
        end = time.monotonic() + args.minutes * 60
        number = args.first
        kinds: dict[str, int] = {}
        while time.monotonic() < end and not (args.cases and number >= args.first + args.cases):
            trouble = run_case(name, args.seed, number)
            if trouble:
                lines = trouble.strip().splitlines()
                kind = lines[-1][:100] + lines[-3].strip()[-60:] if len(lines) > 2 else lines[-1]
                if kind not in kinds:
                    print(f"{name}, case {number}:\n{trouble}", flush=True)
                kinds[kind] = kinds.get(kind, 0) + 1
            number += 1
        failed += len(kinds)
        print(f"abuse: {name}: {number - args.first} cases, {len(kinds)} kinds of finding", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
