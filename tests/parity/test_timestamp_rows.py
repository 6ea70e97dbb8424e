"""Time stamps of what is sent, SO_TIMESTAMPING: which stamps come back by the error queue, with which keys, data and statistics."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity_of_prompt_runs, attempt

pytestmark = [pytest.mark.root]

LO = "127.0.0.1"
TX_HARDWARE, TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, RAW_HARDWARE = 1, 2, 8, 16, 64
OPT_ID, TX_SCHED, TX_ACK, OPT_CMSG, OPT_TSONLY, OPT_STATS, OPT_PKTINFO, OPT_TX_SWHW, OPT_ID_TCP = (
    1 << n for n in (7, 8, 9, 10, 11, 12, 13, 14, 16)
)
SO_TIMESTAMPING, SCM_TS_OPT_ID, SCM_STATS = 37, 81, 54
ERRQUEUE = 0x2000
SETS = {
    "none": 0,
    "generate only": TX_SOFTWARE,
    "report only": SOFTWARE,
    "software": TX_SOFTWARE | SOFTWARE,
    "key": TX_SOFTWARE | SOFTWARE | OPT_ID,
    "alone": TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY,
    "queued": TX_SCHED | SOFTWARE | OPT_ID,
    "both": TX_SCHED | TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY,
    "acknowledged": TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY,
    "all": TX_SCHED | TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY,
    "hardware": TX_HARDWARE | RAW_HARDWARE | OPT_ID | OPT_TSONLY,
    "with addresses": TX_SOFTWARE | SOFTWARE | OPT_CMSG,
    "stream key": TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_ID_TCP | OPT_TSONLY,
}
KINDS = ("udp", "udp6", "connected", "udplite", "raw", "raw6", "packet", "packet_dgram", "ping", "tcp", "tcp6", "unix", "unix_stream")


def show(env: Any, level: int, type_: int, data: bytes) -> Any:
    """Return what a control message says, without the time."""
    if (level, type_) == (1, SO_TIMESTAMPING):
        stamps = struct.unpack("=6q", data)
        return ("stamps", [stamps[n] + stamps[n + 1] > 0 for n in (0, 2, 4)])
    if (level, type_) == (1, SCM_STATS):
        return ("statistics", statistics(data))
    if len(data) >= 16 and (level, type_) in ((0, 11), (41, 25), (263, 9)):
        error, origin, kind, code, _, info, key = struct.unpack_from("=IBBBBII", data)
        return (level, type_, error, origin, kind, code, info, key, len(data), data[16:18])
    return (level, type_, len(data))


TIMED = (1, 2, 3, 6, 7, 10, 22, 25)  # busy and limited times, rates, round trips, the next departure


def statistics(data: bytes) -> list[tuple[int, int, int]]:
    """Return the attributes of SCM_TIMESTAMPING_OPT_STATS: type, length, value where it does not depend on time."""
    found = []
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found.append((kind, size, 0 if kind in TIMED else int.from_bytes(data[4:size], "little")))
        data = data[(size + 3) & ~3 :]
    return found


def notes(env: Any, sock: Any) -> list[Any]:
    """Take everything from the error queue; what acknowledgements bring comes late."""
    if sock.type == 1:
        env.time.sleep(0.06)
    found = []
    while not isinstance(got := attempt(sock.recvmsg, 2000, 1000, ERRQUEUE | 0x40), str):
        found.append((len(got[0]), [show(env, *message) for message in got[1]], got[2]))
    return found


def sender(env: Any, kind: str) -> tuple[Any, Any]:
    """Return a socket and what makes it send."""
    s = env.socket
    env.time.sleep(0.001)  # the twin's clock begins at 0
    host = "::1" if kind.endswith("6") else LO
    family = 10 if kind.endswith("6") else 2
    if kind in ("unix", "unix_stream"):
        a, env.peer = s.socketpair(1, 2 if kind == "unix" else 1)
        return a, a.send
    if kind.startswith("tcp"):
        listener = s.socket(family, 1)
        listener.bind((host, 6000))
        listener.listen()
        a = s.socket(family, 1)
        a.setsockopt(6, 13, b"reno")
        a.connect((host, 6000))
        env.peer = (listener, listener.accept()[0])
        return a, a.send
    env.peer = s.socket(family, 2, 136 if kind == "udplite" else 0)
    env.peer.bind((host, 6000))
    if kind.startswith("packet"):
        a = s.socket(17, 3 if kind == "packet" else 2, 0)
        head = bytes(12) + b"\x08\x00" if kind == "packet" else b""
        inner = b"\x45\0\0\x20\0\0\0\0\x40\xfd\0\0\x7f\0\0\1\x7f\0\0\1"
        name = struct.pack("=HHiHBB8s", 17, 8, 1, 0, 0, 6, b"")
        return a, lambda data: env.sys.sendto(a.fileno(), head + inner + data, 0, name, len(name))
    if kind == "ping":
        env.sysctl("ipv4/ping_group_range", "0 2147483647")
        a = s.socket(2, 2, 1)
        return a, lambda data: a.sendto(b"\x08\0\0\0\0\0\0\1" + data, (LO, 0))
    if kind.startswith("raw"):
        a = s.socket(family, 3, 253)
        return a, lambda data: a.sendto(data, (host, 0))
    a = s.socket(family, 2, 136 if kind == "udplite" else 0)
    if kind == "connected":
        a.connect((host, 6000))
        return a, a.send
    return a, lambda data: a.sendto(data, (host, 6000))


def stamps(env: Any, kind: str) -> Any:
    out: list[Any] = []
    for name, flags in SETS.items():
        a, send = sender(env, kind)
        row: list[Any] = [attempt(a.setsockopt, 1, SO_TIMESTAMPING, flags), a.getsockopt(1, SO_TIMESTAMPING)]
        for size in (10, 20):
            row += [attempt(send, b"x" * size), notes(env, a)]
        row += [a.getsockopt(1, 4), notes(env, a)]
        out.append((name, row))
        a.close()
        for sock in env.peer if isinstance(env.peer, tuple) else (env.peer,):
            sock.close()
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_come_back_alike(kind: str) -> None:
    assert_parity_of_prompt_runs(stamps, kind)


def by_message(env: Any, kind: str) -> Any:
    """A control message asks for stamps of one send, and names its key."""
    a, _ = sender(env, kind)
    a.setsockopt(1, SO_TIMESTAMPING, SOFTWARE | OPT_ID | OPT_TSONLY)
    out: list[Any] = []
    to = () if kind in ("tcp", "connected") else ((LO, 6000),)
    for flags in (0, TX_SOFTWARE, TX_SCHED, TX_SOFTWARE | TX_SCHED, SOFTWARE, OPT_ID, TX_ACK, 1 << 20):
        message = [(1, SO_TIMESTAMPING, struct.pack("=I", flags))]
        out.append((flags, attempt(a.sendmsg, [b"x" * 9], message, 0, *to), notes(env, a)))
    key = (1, SCM_TS_OPT_ID, struct.pack("=I", 777))
    asked = (1, SO_TIMESTAMPING, struct.pack("=I", TX_SOFTWARE))
    for messages in ([key], [asked, key], [key, asked], [(1, SCM_TS_OPT_ID, b"12")], [(1, SO_TIMESTAMPING, b"12")]):
        out.append((attempt(a.sendmsg, [b"y"], messages, 0, *to), notes(env, a)))
    a.setsockopt(1, SO_TIMESTAMPING, SOFTWARE)
    out.append((attempt(a.sendmsg, [b"z"], [asked, key], 0, *to), notes(env, a)))
    return out


@pytest.mark.parametrize("kind", ["udp", "connected", "tcp", "raw"])
def test_messages_ask_for_stamps_alike(kind: str) -> None:
    assert_parity_of_prompt_runs(by_message, kind)


def options(env: Any) -> Any:
    """Which flags are taken, by which sockets."""
    out: list[Any] = []
    for kind in KINDS:
        a, _ = sender(env, kind)
        for flags in [1 << n for n in range(20)] + [OPT_STATS | OPT_TSONLY, OPT_ID_TCP | OPT_ID, -1]:
            out.append((kind, flags, attempt(a.setsockopt, 1, SO_TIMESTAMPING, flags), a.getsockopt(1, SO_TIMESTAMPING)))
        a.close()
        for sock in env.peer if isinstance(env.peer, tuple) else (env.peer,):
            sock.close()
    return out


def test_flags_are_taken_alike() -> None:
    assert_parity_of_prompt_runs(options)


def with_statistics(env: Any) -> Any:
    """SCM_TIMESTAMPING_OPT_STATS: numbers about the connection beside each stamp."""
    a, send = sender(env, "tcp")
    flags = TX_SCHED | TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY | OPT_STATS
    a.setsockopt(1, SO_TIMESTAMPING, flags)
    out = []
    for size in (1000, 10, 30000):
        send(b"x" * size)
        out.append(notes(env, a))
    return out


def test_statistics_have_the_same_attributes() -> None:
    assert_parity_of_prompt_runs(with_statistics)
