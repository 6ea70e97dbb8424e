"""Creating and counting, row by row: what every family adds to sockstat, another family by IPV6_ADDRFORM, what other namespaces see,
memory in pages, names of protocols, what a new namespace inherits."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, assert_parity_of_prompt_runs, attempt

pytestmark = [pytest.mark.root]

CLONE_NEWNET = 0x40000000
LO = "127.0.0.1"


def stat(env: Any) -> dict[str, int]:
    """Return sockstat and sockstat6: group and name, number."""
    found = {}
    for name in ("sockstat", "sockstat6"):
        for line in env.proc(name).splitlines():
            group, *words = line.split()
            found |= {group + key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
    return found


def moved(env: Any, before: dict[str, int]) -> dict[str, int]:
    """Return what changed, without what belongs to the whole machine."""
    now = stat(env)
    names = [name for name in now if name not in ("TCP:alloc", "TCP:orphan", "TCP:mem", "UDP:mem")]
    return {name: now[name] - before[name] for name in names if now[name] != before[name]}


def until(env: Any, condition: Any) -> None:
    """Wait until something holds, five seconds at most."""
    for _ in range(500):
        if condition():
            return
        env.time.sleep(0.01)


def every_family(env: Any) -> Any:
    out: list[Any] = []
    kept = []
    start = stat(env)
    for family, kind, protocol in (
        *((1, 1, 0), (1, 2, 0), (1, 5, 0), (2, 1, 0), (2, 2, 0), (2, 2, 136), (2, 3, 200), (10, 1, 0), (10, 2, 0), (10, 2, 136)),
        *((10, 3, 200), (16, 3, 0), (16, 2, 4), (17, 3, 0), (17, 2, 0x300)),
    ):
        before = stat(env)
        kept.append(env.socket.socket(family, kind, protocol))
        out.append((family, kind, protocol, moved(env, before)))
    before = stat(env)
    pair = env.socket.socketpair()
    out.append(moved(env, before))
    for sock in (*pair, *kept):
        sock.close()
    until(env, lambda: not moved(env, start))  # Linux frees some kinds after a grace period
    return [*out, moved(env, start)]


def listening_twice(env: Any) -> Any:
    sock = env.socket.socket()
    before = stat(env)
    sock.bind((LO, 6000))
    out = [moved(env, before)]
    sock.listen(1)
    out.append(moved(env, before))
    sock.listen(5)
    out.append(moved(env, before))
    sock.close()
    return [*out, moved(env, before)]


def mapped_peers(env: Any) -> Any:
    """An IPv4 client of a dual listener; a v4-mapped client; TIME_WAIT of either; then IPV6_ADDRFORM."""
    before = stat(env)
    listener = env.socket.socket(10, 1)
    listener.bind(("::", 6000))
    listener.listen(5)
    out: list[Any] = [moved(env, before)]
    client = env.socket.socket()
    client.connect((LO, 6000))
    child = listener.accept()[0]
    out.append(moved(env, before))
    child.close()
    env.yield_now()
    client.close()
    env.yield_now()
    out.append(moved(env, before))
    mapped = env.socket.socket(10, 1)
    mapped.connect(("::ffff:127.0.0.1", 6000))
    child = listener.accept()[0]
    out.append(moved(env, before))
    for value in (10, 17, 2, 2):
        out.append((value, attempt(mapped.setsockopt, 41, 1, value), moved(env, before)))
    out += [mapped.getsockopt(1, 39), mapped.getpeername(), mapped.send(b"hello"), child.recv(10)]
    out += [attempt(mapped.setsockopt, 41, 26, 1), attempt(mapped.getsockopt, 41, 26), env.proc("tcp6").count(":1770")]
    mapped.close()
    env.yield_now()
    child.close()
    env.yield_now()
    return [*out, moved(env, before)]


def addrform_is_refused(env: Any) -> Any:
    out: list[Any] = []
    listener = env.socket.socket(10, 1)
    listener.bind(("::1", 6000))
    listener.listen(5)
    for kind, protocol in ((1, 0), (2, 0), (2, 136), (3, 200)):
        sock = env.socket.socket(10, kind, protocol)
        out.append(attempt(sock.setsockopt, 41, 1, 2))
        if kind != 3:
            sock.bind(("::ffff:127.0.0.1", 0))
        out.append(attempt(sock.setsockopt, 41, 1, 2))
        other = env.socket.socket(10, kind, protocol)
        attempt(other.connect, ("::1", 6000))
        out += [attempt(other.setsockopt, 41, 1, 2), attempt(other.setsockopt, 41, 1, 2), other.getsockopt(1, 39)]
        only = env.socket.socket(10, kind, protocol)
        out += [attempt(only.setsockopt, 41, 26, 1), attempt(only.setsockopt, 41, 1, 2)]
    four = env.socket.socket()
    return [*out, attempt(four.setsockopt, 41, 1, 2), attempt(listener.setsockopt, 41, 1, 2)]


def another_namespace(env: Any) -> Any:
    """Sixty sockets elsewhere are seen here in `alloc` alone."""
    here = env.sys.open_netns()
    for _ in range(20):  # other programs make sockets too
        before = stat(env)
        env.sys.unshare(CLONE_NEWNET)
        kept = [env.socket.socket() for _ in range(60)] + [env.socket.socket(2, 2) for _ in range(10)]
        inside = stat(env)
        env.sys.setns(here, CLONE_NEWNET)
        grown = stat(env)["TCP:alloc"] - before["TCP:alloc"]
        if 30 < grown < 90:
            break
    return [moved(env, before), 30 < grown < 90, inside["sockets:used"], inside["TCP:inuse"], len(kept)]


def pages_are_counted_late(env: Any) -> Any:
    """A little queued memory may not be shown at all; eight mebibytes are, but for the reserves of the processors."""
    reader, sender = env.socket.socket(2, 2), env.socket.socket(2, 2)
    reader.setsockopt(1, 33, 32 << 20)
    reader.bind((LO, 6000))
    out: list[Any] = []
    before = stat(env)["UDP:mem"]
    for count in (10, 180):
        for _ in range(count):
            sender.sendto(b"x" * 60000, (LO, 6000))
        pages = (struct.unpack("=9I", reader.getsockopt(1, 55, 36))[0] + 4095) // 4096
        shown = stat(env)["UDP:mem"] - before
        out.append((pages, -700 < shown - pages < 700, shown > 1000))
    reader.close()
    until(env, lambda: stat(env)["UDP:mem"] - before < 700)
    return [*out, stat(env)["UDP:mem"] - before < 700]


def files_tell_their_protocol(env: Any) -> Any:
    """The attribute system.sockprotoname of every kind of socket."""
    out: list[Any] = []
    name = "system.sockprotoname"
    for family, kind, protocol in (
        (1, 1, 0),
        (1, 2, 0),
        (2, 1, 0),
        (2, 2, 0),
        (2, 2, 136),
        (2, 3, 1),
        (10, 1, 0),
        (10, 2, 0),
        (16, 3, 0),
        (17, 3, 0),
    ):
        fd = env.socket.socket(family, kind, protocol).detach()
        out.append((family, kind, protocol, attempt(env.os.getxattr, fd, name), attempt(env.os.listxattr, fd)))
        others = ("system.other", "user.x", "security.x", "trusted.x", "x", "", "a" * 300)
        out += [attempt(env.os.getxattr, fd, other) for other in others]
        for other in (name, *others):
            out += [attempt(env.os.setxattr, fd, other, b"x"), attempt(env.os.removexattr, fd, other)]
    pipe = env.os.pipe()[0]
    out += [attempt(env.os.getxattr, pipe, other) for other in (name, "user.x")] + [attempt(env.os.listxattr, pipe)]
    env.setuid(65534)
    out += [attempt(env.os.getxattr, fd, other) for other in (name, "user.x", "trusted.x", "x")]
    out += [attempt(env.os.setxattr, fd, other, b"x") for other in (name, "user.x", "trusted.x", "security.x", "x")]
    return [*out, attempt(env.os.getxattr, 99, name), attempt(env.os.setxattr, 99, name, b""), attempt(env.os.listxattr, 99)]


def a_new_namespace_inherits_nothing(env: Any) -> Any:
    names = {
        "core/somaxconn": "99",
        "core/optmem_max": "30000",
        "ipv4/tcp_rmem": "4096 8192 16384",
        "ipv4/tcp_wmem": "4096 8192 16384",
        "unix/max_dgram_qlen": "3",
        "ipv4/tcp_max_syn_backlog": "55",
        "ipv4/tcp_fin_timeout": "9",
        "ipv4/ip_local_port_range": "40000 40019",
        "ipv4/ip_unprivileged_port_start": "80",
        "ipv4/ip_local_reserved_ports": "40001",
        "ipv4/tcp_syncookies": "0",
    }
    fresh = [env.sysctl(name) for name in names]
    written = [(env.sysctl(name, value), env.sysctl(name)) for name, value in names.items()]
    env.sys.unshare(CLONE_NEWNET)
    return [written, fresh == [env.sysctl(name) for name in names], fresh]


PROGRAMS = (
    *(every_family, listening_twice, mapped_peers, addrform_is_refused, another_namespace, pages_are_counted_late),
    *(files_tell_their_protocol, a_new_namespace_inherits_nothing),
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_creating_and_counting_is_the_same_on_both_kernels(program: Any) -> None:
    if program is pages_are_counted_late:
        assert_parity_of_prompt_runs(program)  # the memory of other programs counts too
    else:
        assert_parity(program)
