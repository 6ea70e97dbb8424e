"""Control messages of UDP sockets, the error queue, MTU rules, segmentation and zero-copy, over both IP versions."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import bits, changes, counters, int_cmsg, meminfo, udp

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
LO6 = "::1"
IP, IP6, UDP = 0, 41, 17
RECV4 = (6, 7, 8, 12, 13, 18, 20, 23, 25)
RECV6 = (2, 3, 4, 5, 8, 11, 49, 51, 53, 56, 58, 60, 66, 74, 77)


def pair(env: Any, family: int, options: Any = ()) -> Any:
    """Return a receiver on port 5000 with options, and a sender."""
    return udp(env, LO6 if family == 10 else LO, 5000, family=family, options=options), udp(env, family=family)


def without_label(received: Any) -> Any:
    """Replace an automatic flow label, which is a hash of secrets, by whether there is one."""
    if isinstance(received, str):
        return received
    data, messages, flags, name = received
    kept = [
        (lv, ty, (raw[0], raw[1] >> 4, any(raw[2:]))) if (lv, ty, len(raw)) == (IP6, 11, 4) else (lv, ty, raw) for lv, ty, raw in messages
    ]
    return data, kept, flags, name


def host_of(family: int) -> str:
    return LO6 if family == 10 else LO


def each_receive_option(env: Any, family: int) -> Any:
    level, names = (IP6, RECV6) if family == 10 else (IP, RECV4)
    out = []
    for name in names:
        a, b = pair(env, family, ((level, name, 1),))
        b.bind((host_of(family), 5001))
        b.sendto(b"x", (host_of(family), 5000))
        out.append((name, without_label(a.recvmsg(10, 200))))
        a.close()
        b.close()
    return out


def all_receive_options_at_once(env: Any, family: int) -> Any:
    level, names = (IP6, RECV6) if family == 10 else (IP, RECV4)
    a, b = pair(env, family, tuple((level, name, 1) for name in names))
    b.bind((host_of(family), 5001))
    b.setsockopt(level, 67 if family == 10 else 1, 0x28)
    b.setsockopt(level, 16 if family == 10 else 2, 77)
    out = []
    for room in (0, 10, 16, 20, 32, 40, 64, 100, 400):
        b.sendto(b"x", (host_of(family), 5000))
        out.append(without_label(a.recvmsg(10, room)))
    return out


def options_set_after_the_packet_came(env: Any, family: int) -> Any:
    a, b = pair(env, family)
    b.bind((host_of(family), 5001))
    b.sendto(b"x", (host_of(family), 5000))
    a.setsockopt(*((IP6, 49, 1) if family == 10 else (IP, 8, 1)))
    a.setsockopt(*((IP6, 51, 1) if family == 10 else (IP, 12, 1)))
    return a.recvmsg(10, 200)


def sending_with_messages(env: Any, family: int) -> Any:
    level = IP6 if family == 10 else IP
    names = RECV6 if family == 10 else (8, 12, 13, 20)
    a, b = pair(env, family, tuple((level, name, 1) for name in names))
    b.bind((host_of(family), 5001))
    target = (host_of(family), 5000)
    good = [int_cmsg(IP, 2, 33), int_cmsg(IP, 1, 0x10), (IP, 1, b"\x08"), (IP, 8, struct.pack("=I4s4s", 1, b"\x7f\0\0\5", bytes(4)))]
    if family == 10:
        good = [int_cmsg(IP6, 52, 33), int_cmsg(IP6, 67, 0x10), (IP6, 50, bytes(15) + b"\1" + struct.pack("=I", 1)), int_cmsg(IP6, 62, 1)]
    out = []
    for message in good:
        out.append((attempt(b.sendmsg, [b"x"], [message], 0, target), without_label(attempt(a.recvmsg, 10, 400))))
    out.append((attempt(b.sendmsg, [b"x"], good, 0, target), without_label(attempt(a.recvmsg, 10, 400))))
    return out


def bad_messages(env: Any, family: int) -> Any:
    a, b = pair(env, family)
    target = (host_of(family), 5000)
    out = []
    for level in (IP, IP6, UDP, 1, 58, 255):
        for type_ in (1, 2, 7, 8, 11, 25, 29, 36, 37, 50, 52, 54, 55, 57, 59, 61, 62, 67, 81, 103):
            row = []
            for data in (b"", b"\1", b"\0\1", struct.pack("=i", -1), struct.pack("=i", 256), struct.pack("=i", 0), bytes(12), bytes(20)):
                row.append(attempt(b.sendmsg, [b"x"], [(level, type_, data)], 0, target))
                attempt(a.recv, 10)
            out.append((level, type_, row))
    return out


def pktinfo_of_foreign_addresses(env: Any, family: int) -> Any:
    a, b = pair(env, family)
    target = (host_of(family), 5000)
    out = []
    for ifindex in (0, 1, 9):
        for addr in ("0.0.0.0", "127.0.0.9", "10.1.1.1", "255.255.255.255"):
            data = struct.pack("=I", ifindex) + env.socket.inet_aton(addr) + bytes(4)
            out.append((attempt(b.sendmsg, [b"x"], [(IP, 8, data)], 0, target), attempt(a.recvfrom, 10)))
        for addr in ("::", "::1", "2001:db8::1", "fe80::1", "::ffff:127.0.0.9"):
            data = env.socket.inet_pton(10, addr) + struct.pack("=I", ifindex)
            out.append((attempt(b.sendmsg, [b"x"], [(IP6, 50, data)], 0, target), attempt(a.recvfrom, 10)))
    return [row[0] for row in out], [row[1] if isinstance(row[1], str) else (row[1][0], row[1][1][0]) for row in out]


def error_queue(env: Any, family: int) -> Any:
    level, recverr = (IP6, 25) if family == 10 else (IP, 11)
    host = host_of(family)
    a = udp(env, host, 5005, family=family, options=((level, recverr, 1),))
    out: list[Any] = [attempt(a.recvmsg, 10, 300, 0x2000)]
    for data in (b"first", b"second", b"t" * 700):
        out.append(attempt(a.sendto, data, (host, 9)))
    out.append([bits(env, a), meminfo(a)[0]])
    for _ in range(4):
        out.append([attempt(a.recvmsg, 600, 300, 0x2000), bits(env, a)])
    out += [a.getsockopt(1, 4), attempt(a.sendto, b"x", (host, 9)), attempt(a.recv, 10), bits(env, a)]
    out += [attempt(a.recvmsg, 0, 20, 0x2000), bits(env, a), a.getsockopt(1, 4)]
    a.connect((host, 10))
    out += [attempt(a.send, b"x"), attempt(a.send, b"y"), attempt(a.send, b"z"), attempt(a.recvmsg, 9, 300, 0x2000)]
    a.setsockopt(level, recverr, 0)
    out += [bits(env, a), attempt(a.recvmsg, 9, 300, 0x2000)]
    return out


def error_queue_with_other_messages(env: Any, family: int) -> Any:
    level, names = (IP6, (25, 49, 51, 66, 74)) if family == 10 else (IP, (11, 8, 12, 13, 20))
    host = host_of(family)
    a = udp(env, host, 5005, family=family, options=tuple((level, name, 1) for name in names))
    out = []
    for room in (400, 100, 48, 20, 0):
        a.sendto(b"data", (host, 9))
        a.getsockopt(1, 4)
        out.append(attempt(a.recvmsg, 2, room, 0x2000))
    return out


def mtu_rules(env: Any, family: int) -> Any:
    level, discover, mtu, recverr = (IP6, 23, 24, 25) if family == 10 else (IP, 10, 14, 11)
    host = host_of(family)
    out = []
    for mode in range(6):
        a, b = pair(env, family)
        b.setsockopt(level, discover, mode)
        b.setsockopt(level, recverr, 1)
        row: list[Any] = [attempt(b.getsockopt, level, mtu)]
        b.connect((host, 5000))
        row.append(attempt(b.getsockopt, level, mtu))
        for size in (1000, 65400, 65487, 65488, 65507, 65508, 65527, 65528, 65536):
            row.append((size, attempt(b.send, bytes(size)), len(a.recv(70000)) if bits(env, a) & 1 else -1))
            row.append(attempt(b.recvmsg, 0, 300, 0x2000))
        out.append(row)
        a.close()
    return out


def dontfrag_and_fragsize(env: Any) -> Any:
    a, b = pair(env, 10)
    b.connect((LO6, 5000))
    out: list[Any] = []
    b.setsockopt(IP6, 62, 1)
    b.setsockopt(IP6, 60, 1)
    for size in (1000, 65000, 65488, 65500):
        out.append((attempt(b.send, bytes(size)), attempt(b.recvmsg, 10, 200)))
        attempt(a.recv, 70000)
    b.setsockopt(IP6, 62, 0)
    b.setsockopt(IP6, 24, 1280)
    a.setsockopt(IP6, 77, 1)
    before = counters(env, "Udp6")
    for size in (1000, 1232, 1233, 5000):
        out.append((attempt(b.send, bytes(size)), [attempt(a.recvmsg, 1, 100)]))
    out.append(changes(env, "Udp6", before))
    return out


def segments(env: Any, family: int) -> Any:
    host = host_of(family)
    out: list[Any] = []
    for gro in (0, 1):
        a, b = pair(env, family, ((UDP, 104, gro),))
        b.connect((host, 5000))
        for size, total in (
            (100, 1000),
            (100, 950),
            (1000, 1000),
            (1000, 999),
            (1, 128),
            (1, 129),
            (500, 64000),
            (65000, 65507),
            (1472, 4000),
        ):
            b.setsockopt(UDP, 103, size)
            row: list[Any] = [size, total, attempt(b.send, bytes(total))]
            while bits(env, a) & 1:
                data, messages, flags, _ = a.recvmsg(70000, 100)
                row.append((len(data), messages, flags))
            out.append(row)
        b.setsockopt(UDP, 103, 0)
        message = (UDP, 103, struct.pack("=H", 200))
        out.append([attempt(b.sendmsg, [bytes(500)], [message]), [len(a.recv(9999)) for _ in range(3 if not gro else 1)]])
        b.setsockopt(1, 11, 1)
        out.append(attempt(b.sendmsg, [bytes(500)], [message]))
        a.close()
        b.close()
    out.append(counters(env, "Udp6" if family == 10 else "Udp"))
    return out


def zero_copy(env: Any, family: int) -> Any:
    host = host_of(family)
    receiver, b = pair(env, family)
    b.connect((host, 5000))
    out: list[Any] = [
        attempt(receiver.recv, 1),
        attempt(b.send, b"plain", 0x4000000),
        bits(env, b),
        [attempt(b.setsockopt, 1, 60, v) for v in (2, -1, 1)],
    ]
    out += [attempt(b.send, b"one", 0x4000000), bits(env, b), attempt(b.recvmsg, 10, 100, 0x2000), b.getsockopt(1, 4)]
    for data in (b"two", b"", b"three", b"four"):
        out.append(attempt(b.send, data, 0x4000000))
    out += [meminfo(b)[6], attempt(b.recvmsg, 10, 100, 0x2000), attempt(b.recvmsg, 10, 100, 0x2000), bits(env, b), meminfo(b)[6]]
    out += [attempt(b.send, bytes(70000), 0x4000000), attempt(b.send, b"five", 0x4000000), attempt(b.recvmsg, 10, 100, 0x2000)]
    return out


def timestamps_are_present(env: Any, family: int) -> Any:
    out = []
    for option in (29, 35, 63, 64):
        a, b = pair(env, family, ((1, option, 1),))
        b.sendto(b"x", (host_of(family), 5000))
        messages = a.recvmsg(10, 100)[1]
        out.append([(level, type_, len(data)) for level, type_, data in messages])
        a.close()
    return out


def mark_and_priority(env: Any, family: int) -> Any:
    a, b = pair(env, family, ((1, 75, 1), (1, 82, 1)))
    b.setsockopt(1, 36, 7)
    b.setsockopt(1, 12, 5)
    host = host_of(family)
    out = []
    for messages in ([], [int_cmsg(1, 36, 9)], [int_cmsg(1, 12, 3)], [int_cmsg(1, 12, 7)]):
        out.append((attempt(b.sendmsg, [b"x"], messages, 0, (host, 5000)), attempt(a.recvmsg, 10, 100)))
    return out


BOTH = [
    each_receive_option,
    all_receive_options_at_once,
    options_set_after_the_packet_came,
    sending_with_messages,
    bad_messages,
    pktinfo_of_foreign_addresses,
    error_queue,
    error_queue_with_other_messages,
    mtu_rules,
    segments,
    zero_copy,
    timestamps_are_present,
    mark_and_priority,
]


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("program", BOTH, ids=lambda program: program.__name__)
def test_messages_of_udp_are_the_same_on_both_kernels(program: Any, family: int) -> None:
    assert_parity(program, family)


def test_what_may_not_be_fragmented_is_reported_the_same() -> None:
    assert_parity(dontfrag_and_fragsize)
