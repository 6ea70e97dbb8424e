"""Buffers, accounting, zero-copy and errors, row by row, over loopback: what each option reads back, what a segment or datagram is
charged, what pinned pages are counted against, receive flags."""

import resource
import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.test_tcp_programs import bits, pair, settle
from tests.parity.udpkit import counters, meminfo, udp

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
ZEROCOPY, ERRQUEUE, DONTWAIT, PEEK, TRUNC = 0x4000000, 0x2000, 0x40, 2, 0x20
SNDBUF, RCVBUF = 7, 8


def buffers_of_every_kind(env: Any) -> Any:
    """Initial values; what setting reads back; short values; forcing without the privilege."""
    kinds = ((2, 1, 0), (2, 2, 0), (2, 3, 200), (1, 1, 0), (1, 2, 0), (16, 3, 0), (17, 3, 0), (10, 1, 0))
    socks = {kind: env.socket.socket(*kind) for kind in kinds}
    out: list[Any] = []
    for kind, sock in socks.items():
        out.append((kind, [sock.getsockopt(1, option) for option in (SNDBUF, RCVBUF, 18, 19)]))
        for value in (0, 1, 1024, 2303, 4000, 65536, 4194304, 5000000, -1, 0x7FFFFFFF):
            row = []
            for option, read in ((SNDBUF, SNDBUF), (RCVBUF, RCVBUF), (32, SNDBUF), (33, RCVBUF)):
                row += [attempt(sock.setsockopt, 1, option, value), sock.getsockopt(1, read)]
            out.append((value, row))
        out += [attempt(sock.setsockopt, 1, SNDBUF, b"123"), attempt(sock.setsockopt, 1, 19, 5)]
    env.setuid(65534)
    return [*out, [attempt(sock.setsockopt, 1, option, 5000) for sock in socks.values() for option in (32, 33)]]


def segments_are_charged(env: Any) -> Any:
    """What waits unread in a stream, by size of the sends and their number."""
    out: list[Any] = []
    for sizes in ((1,), (1,) * 10, (100,), (1000,), (5000,), (1000, 1000), (30000,)):
        _server, a, b = pair(env)
        a.setsockopt(6, 1, 1)
        for size in sizes:
            a.send(b"x" * size)
            settle(env)
        out.append((sizes, meminfo(b)[:2], meminfo(a)[5], meminfo(b)[7:], struct.unpack("=i", env.fcntl.ioctl(b, 0x541B, bytes(4)))))
        b.recv(100000)
        out.append(meminfo(b)[0])
    return out


def option_memory(env: Any) -> Any:
    """What memberships, sources and filters cost; what a filter that grows costs."""
    sock = udp(env, LO, 5000)
    aton = env.socket.inet_aton
    out: list[Any] = [meminfo(sock)]
    sock.setsockopt(0, 35, aton("239.0.0.1") + aton(LO))
    out.append(meminfo(sock)[6])
    sock.setsockopt(0, 39, aton("239.0.0.2") + aton(LO) + aton("10.0.0.1"))
    out.append(meminfo(sock)[6])
    sock.setsockopt(0, 36, aton("239.0.0.1") + aton(LO))
    out.append(meminfo(sock)[6])
    return out


def fragments_need_room(env: Any) -> Any:
    """A datagram in fragments is refused beyond twice the send buffer; as a single buffer it is not."""
    out: list[Any] = []
    for mtu in (65536, 1500):
        env.fcntl.ioctl(env.socket.socket(2, 2), 0x8922, struct.pack("=16si12x", b"lo", mtu) + bytes(8))
        for family in (2, 10):
            host = LO if family == 2 else "::1"
            reader, sender = udp(env, host, 5000, family=family), udp(env, family=family)
            sender.setsockopt(1, SNDBUF, 4608)
            out.append(
                (mtu, family, [attempt(sender.sendto, b"x" * size, (host, 5000)) for size in (1400, 9000, 12000, 20000, 65507, 65508)])
            )
            reader.close()
            sender.close()
    return out


def receiver_drops(env: Any) -> Any:
    out: list[Any] = []
    for rcvbuf, sizes in ((0, (5000, 1, 1)), (4608, (1000,) * 6), (0, (0,) * 5), (10000, (1, 8000, 1, 2000))):
        reader, sender = udp(env, LO, 5000), udp(env)
        if rcvbuf or sizes[0]:
            reader.setsockopt(1, RCVBUF, rcvbuf)
        for size in sizes:
            sender.sendto(b"x" * size, (LO, 5000))
        got = []
        while isinstance(data := attempt(reader.recv, 10000), bytes):
            got.append(len(data))
        out.append((got, meminfo(reader)[8], counters(env, "Udp")))
        reader.close()
    return out


def default_room(env: Any) -> Any:
    out = []
    for size in (1, 1000):
        reader, sender = udp(env, LO, 5000), udp(env)
        for _ in range(300):
            sender.sendto(b"x" * size, (LO, 5000))
        count = 0
        while isinstance(attempt(reader.recv, 2000), bytes):
            count += 1
        out.append(count)
        reader.close()
    return out


def who_may_copy_nothing(env: Any) -> Any:
    out: list[Any] = []
    for family, kind, protocol in (
        (2, 1, 0),
        (2, 2, 0),
        (10, 2, 0),
        (2, 2, 136),
        (2, 3, 200),
        (1, 1, 0),
        (1, 5, 0),
        (16, 3, 0),
        (17, 3, 0),
    ):
        sock = env.socket.socket(family, kind, protocol)
        out.append((family, kind, [attempt(sock.setsockopt, 1, 60, value) for value in (0, 1, 2, -1)], attempt(sock.getsockopt, 1, 60)))
    server = env.socket.socket()
    server.setsockopt(1, 60, 1)
    server.bind((LO, 6000))
    server.listen(1)
    client = env.socket.socket()
    client.connect((LO, 6000))
    return [*out, server.accept()[0].getsockopt(1, 60), client.getsockopt(1, 60)]


def completion(sock: Any, flags: int = 0) -> Any:
    """Take a notification: bytes, control message, flags, address."""
    got = attempt(sock.recvmsg, 10, 100, ERRQUEUE | flags)
    return got if isinstance(got, str) else (got[0], [(level, type_, data[:16].hex()) for level, type_, data in got[1]], got[2])


def completions_of_datagrams(env: Any) -> Any:
    """Copied at once over loopback, before anybody reads; joined while unread; IPv6 says so at its own level."""
    out: list[Any] = []
    for family, host in ((2, LO), (10, "::1")):
        reader, sender = udp(env, host, 5000, family=family), udp(env, family=family)
        sender.connect((host, 5000))
        out += [sender.send(b"before", ZEROCOPY), completion(sender), attempt(sender.setsockopt, 1, 60, 1)]
        for size in (1000, 0, 20000):
            sender.send(b"x" * size, ZEROCOPY)
        out += [bits(env, sender), sender.getsockopt(1, 4), completion(sender), completion(sender), bits(env, sender)]
        sender.send(b"x" * 1000, ZEROCOPY)
        out += [completion(sender, PEEK), completion(sender), attempt(sender.sendto, b"", ZEROCOPY, (host, 9)), completion(sender)]
        reader.close()
    return out


def ids_of_streams(env: Any) -> Any:
    """Ids are not used up by sends that fail, are empty or ordinary; a partial send uses one."""
    _server, a, b = pair(env, lambda s: (s.setsockopt(1, SNDBUF, 20000), s.setsockopt(1, RCVBUF, 20000)))
    a.setsockopt(1, 60, 1)
    a.setblocking(False)
    out: list[Any] = [attempt(a.send, b"", ZEROCOPY), attempt(a.send, b"plain")]
    calls = 0
    while isinstance(attempt(a.send, b"x" * 9000, ZEROCOPY), int):
        calls += 1
    for _ in range(3):
        calls += isinstance(attempt(a.send, b"x" * 9000, ZEROCOPY), int)
    b.setblocking(False)
    while meminfo(a)[5]:
        attempt(b.recv, 1 << 20)
        env.time.sleep(0.01)
    last = -1
    while not isinstance(entry := completion(a), str):
        fields = struct.unpack("=IBBBBII", bytes.fromhex(entry[1][0][2]))
        out.append((fields[0], fields[1], fields[2], fields[5] == last + 1))
        last = fields[6]
    out.append(last + 1 == calls)
    a.send(b"next", ZEROCOPY)
    while isinstance(entry := completion(a), str):
        env.time.sleep(0.01)
    return [*out, struct.unpack("=II", bytes.fromhex(entry[1][0][2])[8:16])[0] == calls]


def pinned_pages_are_limited(env: Any) -> Any:
    """RLIMIT_MEMLOCK without CAP_IPC_LOCK."""
    _server, a, _b = pair(env)
    a.setsockopt(1, 60, 1)
    if env.kind == "host":
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (8192, 8192))
    else:
        env.task.rlim_cur[8] = 8192
    out: list[Any] = [attempt(a.send, b"x" * 20000, ZEROCOPY)]
    while isinstance(completion(a), str):
        env.time.sleep(0.01)
    env.setuid(65534)
    for size in (20000, 9000, 1000, 4096, 100):
        sent = attempt(a.send, b"x" * size, ZEROCOPY)
        out.append((size, sent))
        while sent == size and isinstance(completion(a), str):
            env.time.sleep(0.01)
    return [*out, attempt(a.send, b"x" * 20000)]


def flags_of_streams(env: Any) -> Any:
    _server, a, b = pair(env)
    b.setblocking(False)
    out: list[Any] = [attempt(b.recv, 0), attempt(b.recv, 5, 0x10000000 | 0x80), attempt(b.recv, 5, ERRQUEUE)]
    a.send(b"0123456789")
    settle(env)
    out += [b.recv(2, PEEK), b.recv(3, PEEK), env.sys.recvfrom(b.fileno(), 4, TRUNC | PEEK)[0], b.recv(2, 0x8), b.recv(2, 0x20000000)]
    out += [env.sys.recvfrom(b.fileno(), 3, TRUNC)[0], b.recv(100), attempt(b.recv, 1)]
    out += [attempt(b.setsockopt, 1, 42, value) for value in (0, 5, -1, -2)] + [b.getsockopt(1, 42)]
    b.setsockopt(1, 42, 0)
    a.send(b"abcdef")
    settle(env)
    out += [b.recv(2, PEEK), b.recv(2, PEEK), b.getsockopt(1, 42), b.recv(3), b.getsockopt(1, 42), b.recv(9, PEEK), b.recv(9)]
    for value in (0, 1, 100, -1, 0x7FFFFFFF):
        out.append((value, attempt(b.setsockopt, 1, 18, value), b.getsockopt(1, 18), b.getsockopt(1, RCVBUF)))
    return out


def flags_of_datagrams(env: Any) -> Any:
    reader, sender = udp(env, LO, 5000), udp(env)
    reader.setsockopt(1, 18, 100)
    out: list[Any] = []
    for data in (b"0123456789", b"", b"abc"):
        for size, flags in ((4, 0), (4, TRUNC), (4, PEEK | TRUNC), (0, 0), (100, 0x100)):
            sender.sendto(data, (LO, 5000))
            out.append((bits(env, reader), env.sys.recvfrom(reader.fileno(), size, flags)))
            while isinstance(attempt(reader.recv, 1), bytes):
                pass
    sender.sendto(b"x" * 10, (LO, 5000))
    got = reader.recvmsg(4)
    return [
        *out,
        got[0],
        got[2],
        attempt(sender.sendto, b"x", 1, (LO, 5000)),
        attempt(reader.recv, 1, 1),
        attempt(reader.recv, 1, ERRQUEUE),
    ]


def urgent_twice(env: Any) -> Any:
    """The mark, in line or not, replaced, lost, empty."""
    out: list[Any] = []
    for inline in (0, 1):
        _server, a, b = pair(env)
        b.setblocking(False)
        b.setsockopt(1, 10, inline)

        def look(sock: Any = b) -> Any:
            mark, unread = (struct.unpack("=i", env.fcntl.ioctl(sock, number, bytes(4)))[0] for number in (0x8905, 0x541B))
            return mark, unread, bits(env, sock)

        out += [attempt(b.recv, 1, 1), a.send(b"", 1), look(), a.send(b"abc", 1)]
        settle(env)
        out += [
            look(),
            attempt(b.recv, 1, 1 | PEEK),
            attempt(b.recv, 9, 1),
            attempt(b.recv, 9, 1),
            look(),
            b.recv(9),
            look(),
            attempt(b.recv, 9),
            look(),
        ]
        a.send(b"x", 1)
        settle(env)
        a.send(b"y", 1)
        settle(env)
        out += [look(), attempt(b.recv, 9), look(), attempt(b.recv, 1, 1), attempt(b.recv, 9), look()]
        a.send(b"12", 1)
        a.send(b"34")
        settle(env)
        out += [look(), attempt(b.recv, 9), look(), attempt(b.recv, 9), look(), attempt(b.recv, 1, 1)]
    return out


PROGRAMS = (
    *(buffers_of_every_kind, segments_are_charged, option_memory, fragments_need_room, receiver_drops, default_room, who_may_copy_nothing),
    *(completions_of_datagrams, ids_of_streams, pinned_pages_are_limited, flags_of_streams, flags_of_datagrams, urgent_twice),
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_buffers_and_flags_are_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)
