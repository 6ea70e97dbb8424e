"""What each call does to the "inuse" numbers of /proc/net/sockstat and sockstat6, sheet 01, 1.8; blocking calls and signals of UDP."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt
from tests.parity.udpkit import bits, udp

pytestmark = [pytest.mark.root]

NAMES = {"UDP": "UDP", "UDPLITE": "UDP-Lite", "RAW": "RAW", "UDP6": "UDPv6", "UDPLITE6": "UDPLITEv6", "RAW6": "RAWv6"}


def inuse(env: Any) -> dict[str, int]:
    """Return sockets used, and the sockets of each protocol that count as in use."""
    if env.kind == "twin":
        net = env.task.net
        by_name = {prot.name: net.prot_inuse[prot.inuse_idx] for prot in env.kernel.protos}
        return {"used": net.sockets_used, **{name: by_name[proto] for name, proto in NAMES.items()}}
    found = {}
    for path in ("sockstat", "sockstat6"):
        for line in env.proc(path).splitlines():
            name, *fields = line.replace(":", "").split()
            if name == "sockets":
                found["used"] = int(fields[1])
            elif name in NAMES:
                found[name] = int(fields[1])
    return found


def each_call(env: Any, family: int, proto: int) -> Any:
    host = "::1" if family == 10 else "127.0.0.1"
    out: list[Any] = [inuse(env)]
    a = udp(env, family=family, proto=proto)
    out.append(inuse(env))
    a.bind((host, 0))
    out.append(inuse(env))
    b = udp(env, family=family, proto=proto)
    b.connect((host, 9))
    out.append(inuse(env))
    out += [env.sys.connect(b.fileno(), bytes(28), 28), inuse(env)]
    b.bind((host, 5000))
    b.connect((host, 9))
    out += [env.sys.connect(b.fileno(), bytes(28), 28), inuse(env), attempt(b.sendto, b"x", (host, 9)), inuse(env)]
    c = b.dup()
    b.close()
    out.append(inuse(env))
    c.close()
    a.close()
    out.append(inuse(env))
    return out


def raw_sockets(env: Any, family: int) -> Any:
    host = "::1" if family == 10 else "127.0.0.1"
    out: list[Any] = [inuse(env)]
    a = env.socket.socket(family, 3, 200)
    out.append(inuse(env))
    a.connect((host, 0))
    out += [inuse(env), env.sys.connect(a.fileno(), bytes(28), 28), inuse(env)]
    a.close()
    out.append(inuse(env))
    return out


def changed_family(env: Any) -> Any:
    a = udp(env, family=10)
    a.connect(("::ffff:127.0.0.1", 9))
    out: list[Any] = [inuse(env), attempt(a.setsockopt, 41, 1, 2), inuse(env), attempt(a.getpeername)]
    a.close()
    out.append(inuse(env))
    return out


def blocked_receivers(env: Any, how: int) -> Any:
    a = env.socket.socket(2, 2)
    a.bind(("127.0.0.1", 5000))
    a.connect(("127.0.0.1", 5001))
    got: list[Any] = []

    def receiver() -> Any:
        return attempt(a.recv, 10)

    handle = env.spawn(receiver)
    env.yield_now()
    got.append(bits(env, a))
    if how == 3:
        b = udp(env, "127.0.0.1", 5001)
        b.sendto(b"wake", ("127.0.0.1", 5000))
    elif how == 4:
        got.append(attempt(a.send, b"x"))
    else:
        got.append(attempt(a.shutdown, how))
    if how == 1:
        udp(env, "127.0.0.1", 5001).sendto(b"late", ("127.0.0.1", 5000))
    got.append(handle.join())
    return got


def receive_timeouts(env: Any) -> Any:
    import struct

    a = env.socket.socket(2, 2)
    a.setsockopt(1, 20, struct.pack("=qq", 0, 20000))
    before = env.time.monotonic()
    out: list[Any] = [attempt(a.recv, 1)]
    waited = env.time.monotonic() - before
    out.append(0.019 < waited < 5)
    return out


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("proto", [17, 136])
def test_sockstat_moves_the_same_for_each_call(family: int, proto: int) -> None:
    assert_parity(each_call, family, proto)


@pytest.mark.parametrize("family", [2, 10])
def test_sockstat_counts_raw_sockets_the_same(family: int) -> None:
    assert_parity(raw_sockets, family)


def test_a_socket_that_changes_its_family_counts_for_the_other() -> None:
    assert_parity(changed_family)


@pytest.mark.parametrize("how", [0, 1, 2, 3, 4])
def test_a_blocked_receiver_wakes_for_the_same_reasons(how: int) -> None:
    assert_parity(blocked_receivers, how)


def test_a_receive_timeout_ends_the_wait() -> None:
    assert_parity(receive_timeouts)
