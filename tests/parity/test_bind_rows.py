"""bind(2) row by row, through the system calls: order of checks, kinds of addresses, state afterwards, truth table, cached flags,
automatic ports. The campaigns beside this file try the same rules at random."""

import struct
from itertools import pairwise
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import add_veth

pytestmark = [pytest.mark.root]

LO, OTHER = "127.0.0.1", "127.0.0.2"
V4, V6, TCP, UDP = 2, 10, 1, 2
REUSEADDR, REUSEPORT, BINDTODEVICE, BINDTOIFINDEX = 2, 15, 25, 62
FREEBIND, TRANSPARENT, NO_PORT, PORT_RANGE = 15, 19, 24, 51
V6ONLY = 26
FLAGS = {"-": (), "R": (REUSEADDR,), "P": (REUSEPORT,), "RP": (REUSEADDR, REUSEPORT)}
NAMES = ["0.0.0.0", LO, OTHER, "::", "::/only", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.1"]
RANGE = "ipv4/ip_local_port_range"


def make(env: Any, name: str = LO, type_: int = TCP, flags: str = "-") -> Any:
    """Make a socket of the family of an address, with the flags of a row of the truth table."""
    sock = env.socket.socket(V6 if ":" in name else V4, type_)
    for option in FLAGS[flags]:
        sock.setsockopt(1, option, 1)
    if ":" in name:
        sock.setsockopt(41, V6ONLY, int(name.endswith("/only")))
    return sock


def bind(sock: Any, name: str, port: int) -> Any:
    """Bind, and return None or the errno's name."""
    return attempt(sock.bind, (name.removesuffix("/only"), port))


def sockaddr(name: str, port: int) -> bytes:
    import socket

    if ":" in name:
        return struct.pack("=HH", V6, socket.htons(port)) + bytes(4) + socket.inet_pton(V6, name) + bytes(4)
    return struct.pack("=HH", V4, socket.htons(port)) + socket.inet_aton(name) + bytes(8)


def own_range(low: int, high: int) -> bytes:
    return struct.pack("=I", low | high << 16)


def over(name: str) -> str:
    """Return the address that a socket of this name connects over."""
    plain = {"0.0.0.0": LO, "::": "::ffff:127.0.0.1", "::/only": "::1", "::ffff:0.0.0.0": "::ffff:127.0.0.1"}
    return plain.get(name, name)


def order_of_checks(env: Any, family: int, type_: int) -> Any:
    here, far, any_ = ("::1", "2001:db8::9", "::") if family == V6 else (LO, "192.0.2.9", "0.0.0.0")
    sys, pipe = env.sys, env.os.pipe()[0]
    good = sockaddr(here, 6000)
    wrong = struct.pack("=H", 1) + good[2:]
    out: list[Any] = [sys.bind(999, good, 200), sys.bind(pipe, good, 200), sys.bind(pipe, None, 16)]
    states: dict[str, Any] = {name: env.socket.socket(family, type_) for name in ("fresh", "bound", "listening", "connected")}
    for number, name in enumerate(("bound", "listening", "connected")):
        states[name].bind((here, 7000 + number))
    if type_ == TCP:
        states["listening"].listen()
        states["connected"].connect((here, 7001))
    else:
        states["connected"].connect((here, 7000))
    env.setuid(65534)
    for name, sock in states.items():
        fd = sock.fileno()
        row = [sys.bind(fd, good, length) for length in (-1, 0, 1, 2, len(good) - 1, 129)] + [sys.bind(fd, None, len(good))]
        row += [sys.bind(fd, wrong, len(good)), sys.bind(fd, b"\0\0" + good[2:], len(good))]
        row += [sys.bind(fd, sockaddr(*end), len(good)) for end in ((far, 80), (far, 6000), (here, 80), (any_, 80))]
        row += [sys.bind(fd, sockaddr("ff02::1" if family == V6 else "224.0.0.1", 80), len(good))]
        out.append((name, row, sock.getsockname()[1]))
        out.append([sys.bind(fd, sockaddr(here, 7000), len(good)), sys.bind(fd, good, len(good)), sys.bind(fd, good, len(good))])
    return out


@pytest.mark.parametrize("type_", [TCP, UDP])
@pytest.mark.parametrize("family", [V4, V6])
def test_checks_come_in_the_same_order_in_every_state(family: int, type_: int) -> None:
    assert_parity(order_of_checks, family, type_)


def special_addresses(env: Any) -> Any:
    add_veth(env, "v0", "10.1.1.1", 24)
    out: list[Any] = []
    for type_ in (TCP, UDP):
        for name in ("224.0.0.5", "255.255.255.255", "10.1.1.255", "127.255.255.255", "10.1.1.0", "240.0.0.1", "0.0.0.1", "10.1.1.2"):
            sock = make(env, type_=type_)
            row = [bind(sock, name, 6000), sock.getsockname()]
            if type_ == UDP and row[0] is None:
                row += [attempt(sock.connect, (LO, 9)), sock.getsockname(), attempt(sock.getpeername)]
            row.append(attempt(sock.close))
            for option in (NO_PORT, FREEBIND, TRANSPARENT):
                free = make(env, type_=type_)
                free.setsockopt(0, option, 1)
                row += [bind(free, name, 6000), free.getsockname(), attempt(free.close)]
            out.append((name, row))
        tied = make(env, type_=type_)
        tied.setsockopt(1, BINDTODEVICE, b"v0\0")
        out.append([bind(tied, LO, 6001), tied.getsockname()])
    return out


def link_local_addresses(env: Any) -> Any:
    index = add_veth(env, "v0", "fe80::77", 64)
    out: list[Any] = []
    for type_ in (TCP, UDP):
        for host, scope, device in (
            *(("fe80::77", 0, b""), ("fe80::77", index, b""), ("fe80::77", 0, b"v0\0"), ("fe80::77", 0, b"lo\0")),
            *(("fe80::77", index, b"lo\0"), ("fe80::77", 99, b""), ("fe80::78", index, b""), ("fe80::77", 1, b"v0\0")),
            *(("::1", index, b""), ("::1", 99, b"lo\0"), ("::1", 0, b"v0\0"), ("ff02::5", 0, b""), ("ff02::5", index, b"")),
            *(("ff05::5", 0, b""), ("ff02::5", 0, b"v0\0"), ("::127.0.0.1", 0, b"")),
        ):
            sock = make(env, "::", type_)
            if device:
                sock.setsockopt(1, BINDTODEVICE, device)
            answer = attempt(sock.bind, (host, 6000, 0, scope))
            tied = {index: "v0", 1: "lo", 0: "", 99: "unknown"}[sock.getsockopt(1, BINDTOIFINDEX)]
            name = sock.getsockname()
            row = (name[0].split("%")[0], name[1], name[2], name[3] == index, name[3] > 0)
            out.append((type_, host, scope == index, device, answer, tied, row, sock.getsockopt(41, V6ONLY)))
            sock.close()
    return out


def anycast_addresses(env: Any) -> Any:
    index = add_veth(env, "v0", "2001:db8::1", 64)
    probe = make(env, "::", UDP)
    member = env.socket.inet_pton(V6, "2001:db8::99") + struct.pack("=i", index)
    out: list[Any] = [attempt(probe.setsockopt, 41, 27, member)]
    for type_ in (TCP, UDP):
        out += [bind(make(env, "::", type_), name, 6000) for name in ("2001:db8::99", "2001:db8::", "2001:db8::1", "2001:db8::2")]
    env.sysctl("ipv6/conf/all/forwarding", "1")
    out += [bind(make(env, "::", UDP), name, 6001) for name in ("2001:db8::99", "2001:db8::", "2001:db8::1")]
    for level, option in ((41, 78), (0, FREEBIND), (41, 75)):
        sock = make(env, "::", UDP)
        sock.setsockopt(level, option, 1)
        out.append((bind(sock, "2001:db8::", 6002 + option), bind(make(env, "::", UDP), "2001:db8:5::1", 6100)))
    return out


def v6only_after_bind(env: Any) -> Any:
    out: list[Any] = []
    for type_ in (TCP, UDP):
        for name in ("::1", "::", "::ffff:127.0.0.1", "2001:db8::5", "::1"):
            sock = make(env, name, type_)
            row = [sock.getsockopt(41, V6ONLY), bind(sock, name, 6000), sock.getsockopt(41, V6ONLY)]
            row += [attempt(sock.setsockopt, 41, V6ONLY, value) for value in (0, 1)] + [sock.getsockopt(41, V6ONLY)]
            out.append((type_, name, row))
            sock.close()
        mapped = make(env, "::/only", type_)
        out += [bind(mapped, "::ffff:127.0.0.1", 6000), bind(mapped, "::1", 6000)]
    env.sysctl("ipv6/bindv6only", "1")
    fresh = env.socket.socket(V6, TCP)
    out += [fresh.getsockopt(41, V6ONLY), attempt(fresh.setsockopt, 41, V6ONLY, 0), fresh.getsockopt(41, V6ONLY)]
    return out


def afterwards(env: Any) -> Any:
    out: list[Any] = []
    for type_ in (TCP, UDP):
        owner = make(env, type_=type_)
        out += [bind(owner, LO, 6000), owner.getsockname()]
        loser = make(env, type_=type_)
        out += [bind(loser, LO, 6000), loser.getsockname(), bind(loser, OTHER, 6000), loser.getsockname(), bind(loser, OTHER, 6001)]
        for port in (0, 6005):
            sock = make(env, type_=type_)
            out += [
                bind(sock, "0.0.0.0", port),
                attempt(sock.connect, (LO, 9)),
                sock.getsockname(),
                env.sys.connect(sock.fileno(), bytes(16), 16),
            ]
            out.append(sock.getsockname())
    return out


def bound_without_a_port(env: Any) -> Any:
    out: list[Any] = []
    server = make(env)
    server.bind((LO, 6000))
    server.listen()
    for way in ("bind", "connect", "listen"):
        sock = make(env)
        sock.setsockopt(0, NO_PORT, 1)
        out += [bind(sock, LO, 0), sock.getsockname(), bind(sock, OTHER, 0), sock.getsockname(), bind(sock, LO, 0)]
        if way == "bind":
            out += [bind(sock, OTHER, 6001), bind(sock, OTHER, 6002), bind(sock, OTHER, 0)]
        elif way == "connect":
            out.append(attempt(sock.connect, (LO, 6000)))
        else:
            out.append(attempt(sock.listen))
        name = sock.getsockname()
        out.append((name[0], name[1] > 0))
    datagram = make(env, type_=UDP)
    datagram.setsockopt(0, NO_PORT, 1)
    out += [bind(datagram, LO, 0), datagram.getsockname(), bind(datagram, OTHER, 0), datagram.getsockname()]
    out += [attempt(datagram.sendto, b"x", (LO, 9)), datagram.getsockname()[1] > 0, bind(datagram, LO, 6003)]
    return out


def devices_after_bind(env: Any) -> Any:
    add_veth(env, "v0", "10.1.1.1", 24)
    one, two = make(env), make(env)
    one.setsockopt(1, BINDTODEVICE, b"lo\0")
    two.setsockopt(1, BINDTODEVICE, b"v0\0")
    out: list[Any] = [bind(one, "0.0.0.0", 6000), bind(two, "0.0.0.0", 6000), attempt(two.setsockopt, 1, BINDTODEVICE, b"lo\0")]
    out += [attempt(one.listen), attempt(two.listen), attempt(one.setsockopt, 1, BINDTODEVICE, b"\0"), bind(make(env), LO, 6000)]
    out += [
        attempt(one.setsockopt, 1, BINDTODEVICE, b"none\0"),
        attempt(one.setsockopt, 1, BINDTOIFINDEX, 99),
        one.getsockopt(1, BINDTOIFINDEX),
    ]
    env.setuid(65534)
    out += [
        attempt(two.setsockopt, 1, BINDTODEVICE, b"v0\0"),
        attempt(one.setsockopt, 1, BINDTODEVICE, b"v0\0"),
        attempt(one.setsockopt, 1, 25, b""),
    ]
    out += [
        attempt(one.setsockopt, 0, TRANSPARENT, 1),
        attempt(one.setsockopt, 0, FREEBIND, 1),
        attempt(one.setsockopt, 1, BINDTOIFINDEX, 1),
    ]
    return out


def second_check_in_listen(env: Any) -> Any:
    out: list[Any] = []
    for flags, uid in (("R", 0), ("P", 0), ("P", 1000), ("RP", 0), ("RP", 1000)):
        one, two = make(env, flags=flags), make(env, flags=flags)
        env.os.fchown(two.fileno(), uid, -1)
        row = [bind(one, LO, 6000), bind(two, LO, 6000), attempt(one.listen), attempt(two.listen), two.getsockname()]
        row += [one.close(), attempt(two.listen), bind(two, LO, 6001)]
        two.close()
        out.append(row)
    fresh, named = make(env), make(env)
    named.setsockopt(0, NO_PORT, 1)
    named.bind((OTHER, 0))
    out += [attempt(fresh.listen), fresh.getsockname()[0], attempt(named.listen), named.getsockname()[0]]
    return out


def bucket_comes_back(env: Any) -> Any:
    env.sysctl(RANGE, "40000 40000")
    servers = [make(env, name) for name in (LO, OTHER)]
    for server, name in zip(servers, (LO, OTHER), strict=True):
        server.bind((name, 6000))
        server.listen()
    first, second, third, spoiler = (make(env) for _ in range(4))
    out: list[Any] = [attempt(first.connect, (LO, 6000)), first.getsockname(), bind(spoiler, "127.0.0.9", 40000)]
    out += [attempt(second.connect, (OTHER, 6000)), second.getsockname(), attempt(spoiler.close)]
    out += [attempt(third.connect, (OTHER, 6000)), third.getsockname(), bind(make(env), LO, 40000), bind(make(env), "127.0.0.9", 40000)]
    return out


def new_listeners(env: Any) -> Any:
    out: list[Any] = []
    port = 6000
    for old in ("-", "R"):
        for new in ("-", "R"):
            for child in ("lives", "waits"):
                port += 1
                listener = make(env, flags=old)
                listener.bind(("0.0.0.0", port))
                listener.listen()
                client = make(env)
                client.connect((LO, port))
                accepted = listener.accept()[0]
                listener.close()
                if child == "waits":
                    accepted.close()
                    env.yield_now()
                    client.close()
                    env.yield_now()
                for name in ("0.0.0.0", OTHER, LO, "::", "::/only", "::1"):
                    newcomer = make(env, name, flags=new)
                    out.append((old, new, child, name, bind(newcomer, name, port)))
                    newcomer.close()
    return out


def automatic_client_port(env: Any) -> Any:
    out: list[Any] = []
    server = make(env)
    server.bind((LO, 6000))
    server.listen(50)
    for mine in ("-", "R"):
        for new in ("-", "R"):
            for name in ("0.0.0.0", LO, OTHER):
                client = make(env, flags=mine)
                client.setsockopt(0, PORT_RANGE, own_range(40000, 40001))
                newcomer = make(env, flags=new)
                answer = (attempt(client.connect, (LO, 6000)), bind(newcomer, name, client.getsockname()[1]))
                out.append((mine, new, name, answer))
                newcomer.close()
                client.setsockopt(1, 13, struct.pack("=ii", 1, 0))
                client.close()
    return out


PROGRAMS = [
    *(special_addresses, link_local_addresses, anycast_addresses, v6only_after_bind, afterwards, bound_without_a_port),
    *(devices_after_bind, second_check_in_listen, bucket_comes_back, new_listeners, automatic_client_port),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_binding_does_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)


# Who may share a port


def in_state(env: Any, state: str, name: str, flags: str, port: int) -> list[Any]:
    """Make an owner of a port in a state; return what has to stay open. The first is the owner itself, when it still exists."""
    owner = make(env, name, flags=flags)
    assert bind(owner, name, port) is None
    if state == "bound":
        return [owner]
    if state in ("LISTEN", "child"):
        owner.listen()
        if state == "LISTEN":
            return [owner]
        peer = env.socket.socket(V6 if over(name) == "::1" else V4)
        peer.connect((over(name).removeprefix("::ffff:"), port))
        child = owner.accept()[0]
        owner.close()
        return [child, peer]
    plain = over(name).removeprefix("::ffff:")
    server = make(env, plain)
    server.bind((plain, port + 20000))
    if state == "SYN_SENT":
        owner.setblocking(False)
        server.listen(0)
        fill = [env.socket.socket(server.family) for _ in range(2)]
        for sock in fill:
            sock.setblocking(False)
            attempt(sock.connect, (plain, port + 20000))
        env.yield_now()
        attempt(owner.connect, (over(name), port + 20000))
        return [owner, server, *fill]
    server.listen()
    owner.connect((over(name), port + 20000))
    peer = server.accept()[0]
    if state == "CLOSE_WAIT":
        peer.shutdown(1)
    elif state == "TIME_WAIT":
        owner.close()
        env.yield_now()
        peer.close()
        env.yield_now()
    return [owner, server, peer]


STATES = ("bound", "LISTEN", "SYN_SENT", "ESTABLISHED", "CLOSE_WAIT", "child", "TIME_WAIT")


def truth_table(env: Any, state: str) -> Any:
    out = {}
    port = 6000
    for owner in FLAGS:
        port += 1
        kept = in_state(env, state, LO, owner, port)
        for new in FLAGS:
            for uid in (0, 1000):
                newcomer = make(env, flags=new)
                env.os.fchown(newcomer.fileno(), uid, -1)
                out[new, owner, uid] = bind(newcomer, LO, port)
                newcomer.close()
        for sock in kept:
            sock.close()
    return out


@pytest.mark.parametrize("state", STATES)
def test_flags_excuse_by_the_same_truth_table(state: str) -> None:
    assert_parity(truth_table, state)


def address_matrix(env: Any, state: str) -> Any:
    out = {}
    for number, owner in enumerate(NAMES):
        port = 6000 + number
        kept = in_state(env, state, owner, "-", port)
        for name in NAMES:
            newcomer = make(env, name)
            out[owner, name] = bind(newcomer, name, port)
            newcomer.close()
        for sock in kept:
            sock.close()
    return out


@pytest.mark.parametrize("state", ["bound", "LISTEN", "ESTABLISHED", "child", "TIME_WAIT"])
def test_addresses_overlap_by_the_same_matrix(state: str) -> None:
    assert_parity(address_matrix, state)


def udp_table(env: Any) -> Any:
    out = {}
    for number, owner in enumerate(NAMES):
        for connected in (False, True):
            port = 6000 + 2 * number + connected
            sock = make(env, owner, UDP)
            assert bind(sock, owner, port) is None
            if connected:
                sock.connect((over(owner), 9))
            for name in NAMES:
                newcomer = make(env, name, UDP)
                out[owner, connected, name] = bind(newcomer, name, port)
                newcomer.close()
    port = 7000
    for owner in FLAGS:
        port += 1
        sock = make(env, type_=UDP, flags=owner)
        assert bind(sock, LO, port) is None
        for new in FLAGS:
            for uid in (0, 1000):
                newcomer = make(env, type_=UDP, flags=new)
                env.os.fchown(newcomer.fileno(), uid, -1)
                out[new, owner, uid] = bind(newcomer, LO, port)
                newcomer.close()
    return out


def test_datagram_sockets_share_by_the_same_table() -> None:
    assert_parity(udp_table)


def toggles(env: Any, option: int, before: int, listening: bool) -> Any:
    """A is bound with or without a flag, then changes it; B with the flag and C without bind the same port; B listens."""
    out: list[Any] = []
    for name in (LO, "0.0.0.0"):
        a, b, c = make(env), make(env), make(env)
        a.setsockopt(1, option, before)
        out.append(bind(a, name, 6000))
        if listening:
            out.append(attempt(a.listen))
        a.setsockopt(1, option, 1 - before)
        b.setsockopt(1, option, 1)
        out += [bind(b, name, 6000), bind(c, name, 6000), attempt(b.listen)]
        d = make(env)
        d.setsockopt(1, option, 1)
        out += [bind(d, name, 6000), attempt(d.listen)]
        for sock in (a, b, c, d):
            sock.close()
    return out


@pytest.mark.parametrize("listening", [False, True])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("option", [REUSEADDR, REUSEPORT])
def test_a_flag_changed_after_bind_counts_alike(option: int, before: int, listening: bool) -> None:
    assert_parity(toggles, option, before, listening)


# Automatic ports


def drawn(env: Any, count: int, flags: str = "-", name: str = LO, type_: int = TCP, own: bytes = b"") -> list[Any]:
    """Bind `count` sockets to port 0, keep them open, and return their ports or errno names."""
    socks, got = [], []
    for _ in range(count):
        sock = make(env, name, type_, flags)
        if own:
            sock.setsockopt(0, PORT_RANGE, own)
        answer = bind(sock, name, 0)
        got.append(sock.getsockname()[1] if answer is None else answer)
        socks.append(sock)
    env.kept = [*getattr(env, "kept", []), *socks]
    return got


def release(env: Any) -> None:
    for sock in env.kept:
        sock.close()
    env.kept = []


def circular(ports: list[Any]) -> bool:
    """Tell whether ports rise in steps of two, turning over once at most."""
    falls = sum(b < a for a, b in pairwise(ports))
    steps = sum(b - a == 2 for a, b in pairwise(ports))
    return falls <= 1 and steps + falls == len(ports) - 1


def order_of_ports(env: Any) -> Any:
    out: list[Any] = []
    env.sysctl(RANGE, "40000 40019")
    for flags in ("-", "P"):
        in_turn: list[bool] = []
        for _ in range(3):
            got = drawn(env, 22, flags)
            out.append([sorted(got[:10]), sorted(got[10:20]), got[20:]])
            in_turn += [circular(got[:10]), circular(got[10:20])]
            release(env)
        out.append(all(in_turn))  # each attempt starts anywhere: one in 300 rows is in order by chance
        if flags == "-":
            drawn(env, 22, flags)
            out.append([drawn(env, 1, name="0.0.0.0"), attempt(make(env).bind, (LO, 0)), 40000 <= drawn(env, 1, name=OTHER)[0] < 40020])
        release(env)
    for flags in ("R", "RP"):
        got = drawn(env, 22, flags)
        out.append([sorted(got[:5]), sorted(got[5:10]), sorted(got[10:15]), sorted(got[15:20]), got[20:]])
        release(env)
    env.sysctl(RANGE, "40001 40020")
    got = drawn(env, 21)
    out.append([sorted(got[:10]), sorted(got[10:20]), got[20:]])
    release(env)
    return out


def sharing_when_full(env: Any) -> Any:
    out: list[Any] = []
    env.sysctl(RANGE, "40000 40003")
    env.sysctl("ipv4/ip_autobind_reuse", "1")
    for flags in FLAGS:
        got = drawn(env, 9, flags)
        out.append((flags, sorted(got[:4]), [port if isinstance(port, str) else "shared" for port in got[4:]]))
        release(env)
    return out


def odd_ranges(env: Any) -> Any:
    out: list[Any] = []
    env.sysctl(RANGE, "40000 40002")
    for flags in ("-", "R"):
        for _ in range(8):
            out.append(sorted(map(str, drawn(env, 3, flags))))
            release(env)
    env.sysctl(RANGE, "40000 40000")
    out.append(drawn(env, 2))
    release(env)
    env.sysctl(RANGE, "40001 40005")
    seen = set()
    for _ in range(60):
        seen |= {str(port) for port in drawn(env, 5)}
        release(env)
    out.append(sorted(seen))
    return out


def reserved_ports(env: Any) -> Any:
    env.sysctl(RANGE, "40000 40005")
    out: list[Any] = [env.sysctl("ipv4/ip_local_reserved_ports", "40001,40004-40005\n")]
    for type_ in (TCP, UDP):
        out.append(sorted(map(str, drawn(env, 4, type_=type_))))
        out.append(bind(make(env, type_=type_), LO, 40004))
        release(env)
    out += [env.sysctl("ipv4/ip_local_reserved_ports", ""), env.sysctl("ipv4/ip_local_reserved_ports")]
    out += [env.sysctl("ipv4/ip_local_reserved_ports", "\n"), env.sysctl("ipv4/ip_local_reserved_ports")]
    return out


def ranges_of_a_socket(env: Any) -> Any:
    env.sysctl(RANGE, "40000 40019")
    out: list[Any] = []
    few, all_ = (6, 12), (22, 1)  # sockets at a time, how often
    for low, high, (count, times) in (
        *((40004, 40006, few), (50000, 50003, all_), (39000, 40001, few), (0, 40002, few)),
        *((40018, 0, few), (40018, 50000, few), (0, 0, all_), (40001, 40001, few)),
    ):
        for type_ in (TCP, UDP):
            seen = set()
            for _ in range(times):
                seen |= set(map(str, drawn(env, count, type_=type_, own=own_range(low, high))))
                release(env)
            out.append((low, high, type_, sorted(seen)))
    sock = make(env)
    for low, high in ((5, 4), (4, 5), (0, 5), (5, 0), (0, 0), (65535, 65535)):
        answer = attempt(sock.setsockopt, 0, PORT_RANGE, own_range(low, high))
        out.append((low, high, answer, sock.getsockopt(0, PORT_RANGE, 4)))
    return out


def datagram_ports(env: Any) -> Any:
    env.sysctl(RANGE, "40000 40019")
    out: list[Any] = []
    got = drawn(env, 21, type_=UDP)
    out.append(
        (sorted(got[:20]), got[20:], attempt(make(env, type_=UDP).connect, (LO, 9)), attempt(make(env, type_=UDP).sendto, b"x", (LO, 9)))
    )
    release(env)
    for flags in ("R", "P", "RP"):
        got = drawn(env, 40, flags, type_=UDP)
        out.append((flags, all(isinstance(port, int) and 40000 <= port < 40020 for port in got), len(set(got)) > 8))
        release(env)
    return out


PORT_PROGRAMS = [order_of_ports, sharing_when_full, odd_ranges, reserved_ports, ranges_of_a_socket, datagram_ports]


@pytest.mark.parametrize("program", PORT_PROGRAMS, ids=lambda program: program.__name__)
def test_automatic_ports_come_by_the_same_rules(program: Any) -> None:
    assert_parity(program)
