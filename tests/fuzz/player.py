"""Plays a program of socket calls on one kernel, through raw calls, and tells what came of each step.

A program is a list of steps, each `[task, name, argument, ...]` of plain values, so that it can be written as JSON. Descriptors stand in
slots; a task that was forked has copies. Addresses are descriptions (see `Player.address`). The kernel is an object with `sys(task)`,
`fork`, `sysctl`, `proc` and, for programs with a wire, `inject` and `sent`: tests/fuzz/live.py and tests/fuzz/twin.py.

Not compared: numbers of ephemeral ports (named in order of appearance), inodes, cookies, remaining timer ticks, order of rows."""

import errno
import socket
import struct
from typing import Any

from twinsock.parity.packets import Lines
from twinsock.parity.proctext import GLOBAL, NUMBERS, TABLES, pairs_of_lines

Step = list[Any]
Program = list[Step]

SLOTS = 6
PORT = 5000
NONBLOCK, CLOEXEC = 0o4000, 0o2000000
DONTWAIT, NOSIGNAL = 0x40, 0x4000
POLL_ALL = 0x1 | 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000
EPHEMERAL = range(32768, 61000)
SOL_SOCKET, SOL_IP, SOL_TCP, SOL_IPV6 = 1, 0, 6, 41
TIMESTAMPS = ((1, 29), (1, 35), (1, 37), (1, 63), (1, 64), (1, 65))
PROC_FILES = ("sockstat", "sockstat6", "snmp", "netstat", "snmp6", *TABLES, "unix", "packet", "netlink")
# D-tcp-9: how far Linux gets on its shortcuts, which depends on pages, on flow hashes and on who holds which lock for how long
INTERNAL = (
    "TcpExt TCPHPHits",
    "TcpExt TCPHPAcks",
    "TcpExt TCPPureAcks",
    "TcpExt TCPBacklogCoalesce",
    "TcpExt TcpDuplicateDataRehash",
    "TcpExt TcpTimeoutRehash",
)
# D-tcp-10: options of IPv6 which make a stream keep a copy of the last segment
LATCHED = (2, 3, 4, 5, 8, 11, 49, 51, 53, 54, 56, 57, 58, 59, 60, 66, 68, 74, 77)
SETTLE_MS = 12  # some ticks, less than a delayed acknowledgement
LOCAL, REMOTE = "10.7.0.1", "10.7.0.2"  # of the TUN device, and beyond it


class Player:
    """One run."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.fds: dict[int, list[int]] = {0: [-1] * SLOTS}
        self.ports: dict[int, str] = {}
        self.lines = Lines(self.port_name)
        self.times: list[int] = []
        self.netlink = False  # a netlink socket was made

    def play(self, program: Program, every: bool = False, pace: list[int] | None = None) -> list[Any]:
        """Play every step: its result; with `every` also what can be observed after it. At the end everything is looked at.

        `times` gets the instant of each look in nanoseconds; `pace` has such instants of another run, to wait for."""
        out: list[Any] = []
        for number, step in enumerate(program):
            if pace is not None:
                self.kernel.wait_until(pace[number] - pace[0])
            self.times.append(self.kernel.now_ns())
            try:
                result = self.step(step)
            except OSError as error:  # of the interpreter's own doing, as a sysctl's file
                result = errno.errorcode.get(error.errno or 0, "?")
            out.append((result, self.observe()) if every else result)
        if pace is not None:
            self.kernel.wait_until(pace[len(program)] - pace[0])
        self.times.append(self.kernel.now_ns())
        out.append(self.observe())
        return out

    def step(self, step: Step) -> Any:
        """Play one step."""
        task, name, *args = step
        if task not in self.fds:
            return "no such task"
        return getattr(self, "do_" + name)(task, *args)

    def close(self) -> None:
        """Close everything."""
        for task, slots in self.fds.items():
            for fd in dict.fromkeys(slots):
                if fd >= 0:
                    self.kernel.sys(task).close(fd)

    # Names for what the kernel chose

    def port_name(self, number: int) -> Any:
        """Name an ephemeral port in order of appearance; others speak for themselves."""
        return self.ports.setdefault(number, f"port{len(self.ports)}") if number in EPHEMERAL else number

    def known_port(self, number: int) -> Any:
        """Name a port of a table: one that no call ever told has no name of its own."""
        return self.ports.get(number, "port") if number in EPHEMERAL else number

    def result(self, ret: int) -> Any:
        """Show a result: a number, or the name of the errno."""
        return ret if ret >= 0 else errno.errorcode.get(-ret, ret)

    def name(self, raw: bytes) -> Any:
        """Show an address that the kernel gave."""
        if len(raw) < 2:
            return raw.hex()
        family = struct.unpack_from("=H", raw)[0]
        if family == 2 and len(raw) >= 8:
            return 2, socket.inet_ntoa(raw[4:8]), self.port_name(struct.unpack_from("!H", raw, 2)[0]), len(raw)
        if family == 10 and len(raw) >= 24:
            port = self.port_name(struct.unpack_from("!H", raw, 2)[0])
            return 10, socket.inet_ntop(10, raw[8:24]), port, raw[4:8].hex(), raw[24:28].hex()
        if family == 1 and len(raw) == 8 and raw[2:3] == b"\0":
            return 1, "automatic"  # sixteen bits that Linux draws by chance
        if family == 10 and len(raw) >= 4:
            return 10, self.port_name(struct.unpack_from("!H", raw, 2)[0]), raw[4:].hex()
        if family == 16:
            return 16, "pid" if any(raw[4:8]) else 0, raw[8:12].hex()
        return family, raw[2:].hex()

    def address(self, task: int, spec: Any) -> bytes | None:
        """Pack an address: null, [4 or 6, text, port, scope], ["un", hex], ["nl", pid, groups], ["of", slot], ["raw", hex],
        or [address, "cut", length]."""
        if spec is None:
            return None
        if len(spec) == 3 and spec[1] == "cut":
            return (self.address(task, spec[0]) or b"").ljust(spec[2], b"\0")[: spec[2]]
        kind = spec[0]
        if kind == 4:
            return struct.pack("=H", 2) + struct.pack("!H", _port(spec[2])) + socket.inet_aton(spec[1]) + bytes(8)
        if kind == 6:
            return struct.pack("=HHI16sI", 10, socket.htons(_port(spec[2])), 0, socket.inet_pton(10, spec[1]), spec[3])
        if kind == "un":
            return struct.pack("=H", 1) + bytes.fromhex(spec[1])
        if kind == "nl":
            return struct.pack("=HHII", 16, 0, spec[1], spec[2])
        if kind == "of":
            return bytes(self.kernel.sys(task).getsockname(self.fd(task, spec[1]), 110)[1])
        return bytes.fromhex(spec[1])

    def fd(self, task: int, slot: int) -> int:
        """Return the descriptor of a slot, -1 when it is empty."""
        return self.fds[task][slot]

    def keep(self, task: int, slot: int, fd: int) -> Any:
        """Put a new descriptor into a slot, whose old one is closed; show its number."""
        if fd < 0:
            return self.result(fd)
        old, self.fds[task][slot] = self.fds[task][slot], fd
        if old >= 0:
            self.kernel.sys(task).close(old)
        return fd

    # Steps

    def do_socket(self, task: int, slot: int, family: int, type_: int, protocol: int) -> Any:
        self.netlink |= family == 16
        return self.keep(task, slot, self.kernel.sys(task).socket(family, type_ | NONBLOCK, protocol))

    def do_socketpair(self, task: int, slot: int, other: int, family: int, type_: int) -> Any:
        self.netlink |= family == 16
        ret, fds = self.kernel.sys(task).socketpair(family, type_ | NONBLOCK, 0)
        if ret == 0:
            return self.keep(task, slot, fds[0]), self.keep(task, other, fds[1])
        return self.result(ret)

    def do_bind(self, task: int, slot: int, spec: Any) -> Any:
        raw = self.address(task, spec)
        return self.result(self.kernel.sys(task).bind(self.fd(task, slot), raw, 16 if raw is None else len(raw)))

    def do_connect(self, task: int, slot: int, spec: Any) -> Any:
        raw = self.address(task, spec)
        return self.result(self.kernel.sys(task).connect(self.fd(task, slot), raw, 16 if raw is None else len(raw)))

    def do_listen(self, task: int, slot: int, backlog: int) -> Any:
        return self.result(self.kernel.sys(task).listen(self.fd(task, slot), backlog))

    def do_accept(self, task: int, slot: int, new: int, flags: int) -> Any:
        fd, raw, length = self.kernel.sys(task).accept4(self.fd(task, slot), flags | NONBLOCK, 110)
        return (self.keep(task, new, fd), self.name(raw), length) if fd >= 0 else self.result(fd)

    def do_shutdown(self, task: int, slot: int, how: int) -> Any:
        return self.result(self.kernel.sys(task).shutdown(self.fd(task, slot), how))

    def do_close(self, task: int, slot: int) -> Any:
        fd, self.fds[task][slot] = self.fds[task][slot], -1
        return self.result(self.kernel.sys(task).close(fd))

    def do_dup(self, task: int, slot: int, new: int) -> Any:
        return self.keep(task, new, self.kernel.sys(task).fcntl(self.fd(task, slot), 0, 0))

    def do_send(self, task: int, slot: int, size: int, flags: int, spec: Any) -> Any:
        raw = self.address(task, spec)
        data = bytes(range(97, 123)) * (size // 26 + 1)
        args = (data[:size], flags | DONTWAIT | NOSIGNAL, raw, 0 if raw is None else len(raw))
        return self.result(self.kernel.sys(task).sendto(self.fd(task, slot), *args))

    def do_recv(self, task: int, slot: int, size: int, flags: int, control: int) -> Any:
        ret, data, raw, msg_flags, cmsgs = self.kernel.sys(task).recvmsg(self.fd(task, slot), size, flags | DONTWAIT, control)
        if ret < 0:
            return self.result(ret)
        if data[:1] in (b"\x45", b"\x60") or data[12:14] in (b"\x08\0", b"\x86\xdd"):
            data = bytes(len(data))  # a packet: identification, sequence numbers and checksums are chance
        shown = data.hex() if len(data) <= 40 else (data[:20].hex(), len(data), sum(data))
        return ret, shown, self.name(raw), msg_flags, _controls(cmsgs)

    def do_set(self, task: int, slot: int, level: int, option: int, value: str, length: int) -> Any:
        if level == SOL_IPV6 and option in LATCHED:
            ret, kind = self.kernel.sys(task).getsockopt(self.fd(task, slot), SOL_SOCKET, 3, 4)
            if ret == 0 and kind[0] == 1:
                return "left out"
        return self.result(self.kernel.sys(task).setsockopt(self.fd(task, slot), level, option, bytes.fromhex(value), length))

    def do_get(self, task: int, slot: int, level: int, option: int, length: int) -> Any:
        ret, value = self.kernel.sys(task).getsockopt(self.fd(task, slot), level, option, length)
        return self.result(ret) if ret < 0 else value.hex()

    def do_name(self, task: int, slot: int, room: int) -> Any:
        ret, raw, length = self.kernel.sys(task).getsockname(self.fd(task, slot), room)
        return self.result(ret) if ret < 0 else (self.name(raw), length)

    def do_peer(self, task: int, slot: int, room: int) -> Any:
        ret, raw, length = self.kernel.sys(task).getpeername(self.fd(task, slot), room)
        return self.result(ret) if ret < 0 else (self.name(raw), length)

    def do_poll(self, task: int, slots: list[int], events: int) -> Any:
        ret, found = self.kernel.sys(task).poll([(self.fd(task, slot), events) for slot in slots], 0)
        return self.result(ret), found

    def do_epoll(self, task: int, slot: int) -> Any:
        return self.keep(task, slot, self.kernel.sys(task).epoll_create1(0))

    def do_ctl(self, task: int, slot: int, op: int, target: int, events: int | None) -> Any:
        return self.result(self.kernel.sys(task).epoll_ctl(self.fd(task, slot), op, self.fd(task, target), events))

    def do_wait(self, task: int, slot: int, room: int) -> Any:
        ret, events = self.kernel.sys(task).epoll_wait(self.fd(task, slot), room, 0)
        return self.result(ret), sorted(events)

    def do_ioctl(self, task: int, slot: int, request: int) -> Any:
        ret, value = self.kernel.sys(task).ioctl(self.fd(task, slot), request, bytes(4))
        return self.result(ret) if ret < 0 else (ret, value.hex())

    def do_fork(self, task: int, new: int) -> Any:
        if new in self.fds:
            return "exists"
        self.kernel.fork(task, new)
        self.kernel.settle(SETTLE_MS)  # starting a thread takes longer than a tick
        self.fds[new] = list(self.fds[task])
        return 0

    def do_settle(self, task: int) -> None:
        self.kernel.settle(SETTLE_MS)

    def do_exit(self, task: int) -> Any:
        if task == 0:
            return "stays"
        self.kernel.exit(task)
        del self.fds[task]
        return 0

    def do_setuid(self, task: int, uid: int) -> Any:
        return self.result(self.kernel.sys(task).setuid(uid))

    def do_unshare(self, task: int) -> Any:
        return self.result(self.kernel.sys(task).unshare(0x40000000)) if task else "stays"

    def do_sysctl(self, task: int, name: str, value: str) -> Any:
        return self.result(self.kernel.sysctl(name, value))

    def do_inject(self, task: int, packet: str) -> Any:
        """Let a packet come in from the wire; ports of ours are filled in where it names a slot."""
        self.kernel.inject(bytes.fromhex(packet))
        return self.sent()

    def do_segment(self, task: int, slot: int, sport: int, flags: int, seq: int, ack: int, window: int, size: int) -> Any:
        """Let a TCP segment come in for the socket of a slot, or for a port."""
        return self.kernel.segment(self, task, slot, sport, flags, seq, ack, window, size)

    def sent(self) -> Any:
        """Show what the kernel sent over the wire meanwhile."""
        return [self.lines.line(packet)[1] for packet in self.kernel.sent()]

    # Looking

    def observe(self) -> dict[str, Any]:
        """Look at everything: poll masks, the tables, the counters, sock_diag."""
        found: dict[str, Any] = {}
        for task, slots in self.fds.items():
            open_slots = [slot for slot in range(SLOTS) if slots[slot] >= 0]
            if open_slots:
                ret, masks = self.kernel.sys(task).poll([(slots[slot], POLL_ALL) for slot in open_slots], 0)
                found[f"poll {task}"] = (ret, list(zip(open_slots, masks, strict=True)))
        for name in PROC_FILES:
            found[name] = self.table(name, self.kernel.proc(name))
        if self.netlink:
            found["sockstat"].pop("sockets used", None)  # Linux counts a closed netlink socket until a grace period has passed
        for (family, protocol), answer in self.kernel.diag().items():
            found[f"sock_diag {family} {protocol}"] = sorted(repr(_diag(self, message)) for message in answer)
        return found

    def table(self, name: str, text: str) -> Any:
        """Return the content of a file of /proc/net without what may differ."""
        if name in ("snmp", "netstat"):
            return {key: value for key, value in pairs_of_lines(text).items() if value and key not in INTERNAL}
        if name in NUMBERS:
            return _numbers(name, text)
        found: list[Any] = []
        for line in text.splitlines()[1:]:
            cells = line.split(None, 7) if name == "unix" else line.split()
            if name == "unix":
                path = cells[7] if len(cells) > 7 else ""
                found.append((*cells[1:6], "@automatic" if len(path) == 6 and path[0] == "@" and path != "@00000" else path))
            elif name == "packet":
                found.append(tuple(cells[1:8]))
            elif name == "netlink":
                if cells[2] != "0":
                    found.append((cells[1], cells[3], cells[4], cells[5], cells[6], cells[8]))
            else:
                ends = [(cell.rpartition(":")[0], self.known_port(int(cell.rpartition(":")[2], 16))) for cell in cells[1:3]]
                timer = cells[5].partition(":")[0]
                rest = () if cells[3] == "06" else (cells[7], cells[12] if name not in ("tcp", "tcp6") else "")
                found.append((*ends, cells[3], cells[4], timer, rest))
        return sorted(found, key=repr)


def _port(number: int) -> int:
    """Ports of a program are small numbers: 0 is none, 1 to 9 its own, others are meant."""
    return PORT + number if 1 <= number < 10 else number


def _numbers(name: str, text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        words = line.split()
        if name == "snmp6":
            if words[1] != "0":
                found[words[0]] = int(words[1])
            continue
        group = words[0].rstrip(":")
        for key, value in zip(words[1::2], words[2::2], strict=False):
            if f"{group} {key}" not in GLOBAL:
                found[f"{group} {key}"] = int(value)
    return found


def _controls(raw: bytes) -> list[Any]:
    """Show control messages; times are left out, and so are process numbers."""
    found: list[Any] = []
    at = 0
    while at + 16 <= len(raw):
        length, level, type_ = struct.unpack_from("=Qii", raw, at)
        data = raw[at + 16 : at + length]
        if (level, type_) in TIMESTAMPS:
            data = b""
        elif (level, type_) == (1, 2):
            data = data[4:]
        found.append((level, type_, data.hex()))
        at += max((length + 7) & ~7, 16)
    return found


def _diag(player: Player, body: bytes) -> Any:
    """Show one answer of inet_diag without cookie, inode and remaining ticks."""
    family, state, timer, retrans = body[:4]
    sport, dport = struct.unpack_from("!HH", body, 4)
    source, dest, device = body[8:24].hex(), body[24:40].hex(), body[40:44].hex()
    rqueue, wqueue, uid = struct.unpack_from("=III", body, 56)
    attributes = []
    at = 72
    while at + 4 <= len(body):
        length, type_ = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        if type_ not in (2, 15, 21, 22):  # INFO has times, the others numbers of sockets and cgroups
            attributes.append((type_, body[at + 4 : at + length].hex()))
        at += (length + 3) & ~3
    ends = (source, player.known_port(sport), dest, player.known_port(dport), device)
    return family, state, timer, retrans, ends, rqueue, wqueue, uid, sorted(attributes)
