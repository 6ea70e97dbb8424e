"""What the parity programs about /proc/net and sock_diag share: scenes with sockets in every state, and tables without what
differs from run to run (pointers, inodes, ports chosen by the kernel, numbers of lines and chains)."""

import contextlib
from collections.abc import Callable
from typing import Any

from twinsock.uapi.inet_diag import INET_DIAG_INFO, TCPDIAG_GETSOCK
from twinsock.uapi.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from twinsock.uapi.sock_diag import SOCK_DIAG_BY_FAMILY
from twinsock.wire.inet_diag import ALL_STATES, InetDiagReq, parse_msg
from twinsock.wire.netlink import NlMsg, nlmsg, parse_messages

LO = "127.0.0.1"
EPHEMERAL = range(32768, 61000)
INET_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6")
_SYN_RECV, _TIME_WAIT = "03", "06"


class Names:
    """Names for numbers, in order of appearance."""

    def __init__(self) -> None:
        self.known: dict[Any, str] = {}

    def port(self, number: int) -> str:
        """Name an ephemeral port; others speak for themselves."""
        return self.known.setdefault(number, "port") if number in EPHEMERAL else str(number)


def _end(text: str) -> str:
    address, port = text.split(":")
    return f"{address}:{Names().port(int(port, 16))}"


def inet_row(line: str, inodes: dict[int, str]) -> str:
    """Return a line of an inet table without number, pointer and ephemeral ports; references only where no timer counts."""
    words = line.split()
    words[0] = ""
    words[1], words[2] = _end(words[1]), _end(words[2])
    words[9] = inodes.get(int(words[9]), words[9])
    words[11] = ""
    connected = len(words) > 13 and words[3] != "0A"
    timer, when = words[5].split(":")
    if timer != "00":
        words[5] = f"{timer}:{'soon' if int(when, 16) < 7000 else 'later'}"
    if connected:
        words[10] = words[13] = words[14] = ""
    return " ".join(words)


def inet_table(env: Any, name: str, inodes: dict[int, str]) -> tuple[str, tuple[str, ...]]:
    """Return the head line and the sorted rows of one of INET_TABLES."""
    lines = env.proc(name).split("\n")[:-1]
    widths = {len(line) for line in lines}
    return f"{lines[0]}| {sorted(widths) if name in ('tcp', 'udp', 'udplite', 'icmp') else ''}", tuple(
        sorted([inet_row(line, inodes) for line in lines[1:]])
    )


def inode_names(env: Any, sockets: dict[str, Any]) -> dict[int, str]:
    """Name the inodes of a scene's sockets."""
    return {env.os.fstat(sock.fileno()).st_ino: name for name, sock in sockets.items() if sock.fileno() >= 0}


def ask(env: Any, protocol: int, type_: int, flags: int, payload: bytes, options: tuple[int, ...] = ()) -> list[NlMsg]:
    """Send one netlink request and collect what answers it until NLMSG_DONE, an error or silence."""
    sock = env.socket.socket(16, 3, protocol)
    sock.setblocking(False)
    for option in options:
        sock.setsockopt(270, option, 1)
    sock.send(nlmsg(type_, flags | NLM_F_REQUEST, payload, 7))
    found: list[NlMsg] = []
    while True:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            break
        found += parse_messages(data)
        if any(msg.type in (NLMSG_DONE, NLMSG_ERROR) for msg in found):
            break
    sock.close()
    return found


def diag_row(msg: NlMsg, inodes: dict[int, str]) -> Any:
    """Return what an inet_diag reply says, without cookie and times."""
    if msg.type in (NLMSG_DONE, NLMSG_ERROR):
        return (msg.type, msg.flags, msg.payload[:4].hex())
    d = parse_msg(msg.payload, 0, len(msg.payload))
    assert d is not None
    names = Names()
    ends = (d.src.hex(), names.port(d.sport), d.dst.hex(), names.port(d.dport))
    attributes = tuple((t, len(v) if t == INET_DIAG_INFO else v.hex()) for t, v in d.attributes)
    numbers = (d.ifindex, d.expires > 0, d.rqueue, d.wqueue, d.uid, inodes.get(d.inode, str(d.inode)))
    return (msg.type, msg.flags, d.family, d.state, d.timer, d.retrans, *ends, *numbers, d.cookie > 0, attributes)


def diag(env: Any, inodes: dict[int, str], family: int, protocol: int, states: int = ALL_STATES, ext: int = 0, code: bytes = b"") -> Any:
    """Dump by inet_diag: sorted rows, and how the dump ended."""
    req = InetDiagReq(family, protocol, states, ext)
    req.bytecode = code
    type_, payload = (TCPDIAG_GETSOCK, req.emit_compat()) if family == 0 else (SOCK_DIAG_BY_FAMILY, req.emit())
    rows = [diag_row(msg, inodes) for msg in ask(env, 4, type_, NLM_F_DUMP, payload)]
    return tuple(sorted(rows[:-1], key=str)), rows[-1]


# Scenes: each returns the sockets it keeps open, by name.


def _listener(env: Any, port: int = 5000, family: int = 2, backlog: int = 5, host: str | None = None) -> Any:
    sock = env.socket.socket(family, 1)
    sock.setsockopt(1, 2, 1)
    sock.setsockopt(6, 13, b"cubic")
    sock.bind((host if host is not None else LO if family == 2 else "::1", port))
    sock.listen(backlog)
    return sock


def _client(env: Any, port: int = 5000, host: str = LO, family: int = 2) -> Any:
    sock = env.socket.socket(family, 1)
    sock.setsockopt(6, 13, b"cubic")
    sock.connect((host, port))
    return sock


def nothing(env: Any) -> dict[str, Any]:
    return {}


def fresh_and_bound(env: Any) -> dict[str, Any]:
    a, b, c = env.socket.socket(), env.socket.socket(), env.socket.socket(10, 1)
    b.bind((LO, 5001))
    c.bind(("::", 5002))
    return {"a": a, "b": b, "c": c}


def listeners(env: Any) -> dict[str, Any]:
    any4 = _listener(env, 5003, host="0.0.0.0", backlog=0)
    return {"l": _listener(env), "l6": _listener(env, 5001, 10, 7), "dual": _listener(env, 5002, 10, 9, "::"), "any4": any4}


def queued(env: Any) -> dict[str, Any]:
    return {"l": _listener(env), "c1": _client(env), "c2": _client(env)}


def connected(env: Any) -> dict[str, Any]:
    found = {"l": _listener(env), "c": _client(env)}
    found["a"] = found["l"].accept()[0]
    return found


def unread(env: Any) -> dict[str, Any]:
    found = connected(env)
    found["c"].send(b"hello")
    found["a"].send(b"x" * 100)
    env.yield_now()
    return found


def _until_fin_wait2(env: Any) -> None:
    """Wait for the acknowledgement of a FIN, which may be delayed, and come late on a busy machine."""
    for _ in range(200):
        env.time.sleep(0.06)
        if any(line.split()[3] == "05" for line in env.proc("tcp").split("\n")[1:-1]):
            break


def half_closed(env: Any) -> dict[str, Any]:
    found = connected(env)
    found["c"].shutdown(1)
    _until_fin_wait2(env)
    return found


def orphan_in_fin_wait2(env: Any) -> dict[str, Any]:
    found = connected(env)
    found.pop("c").close()
    _until_fin_wait2(env)
    return found


def time_wait(env: Any) -> dict[str, Any]:
    found = connected(env)
    found.pop("c").close()
    _until_fin_wait2(env)
    found.pop("a").close()
    env.yield_now()
    return found


def refused(env: Any) -> dict[str, Any]:
    sock = env.socket.socket()
    with contextlib.suppress(ConnectionRefusedError):
        sock.connect((LO, 9))
    return {"c": sock}


def reset(env: Any) -> dict[str, Any]:
    found = connected(env)
    found["c"].setsockopt(1, 13, (1).to_bytes(4, "little") + bytes(4))
    found.pop("c").close()
    env.yield_now()
    return found


def other_owner(env: Any) -> dict[str, Any]:
    found = queued(env)
    env.os.fchown(found["l"].fileno(), 1000, 1000)
    env.os.fchown(found["c1"].fileno(), 1001, -1)
    return found


def udp_sockets(env: Any) -> dict[str, Any]:
    a, b, c, d = (env.socket.socket(2, 2) for _ in range(4))
    a.bind((LO, 6000))
    b.bind(("0.0.0.0", 6001))
    c.connect((LO, 6000))
    for size in (0, 1, 5, 1000):
        c.send(b"x" * size)
    e = env.socket.socket(2, 2, 136)
    e.bind((LO, 6002))
    return {"a": a, "b": b, "c": c, "d": d, "e": e}


def udp6_sockets(env: Any) -> dict[str, Any]:
    a, b, c = (env.socket.socket(10, 2) for _ in range(3))
    a.bind(("::", 6000))
    b.setsockopt(41, 26, 1)
    b.bind(("::1", 6001))
    c.connect(("::1", 6000))
    c.send(b"12345")
    e = env.socket.socket(10, 2, 136)
    e.bind(("::1", 6002))
    return {"a": a, "b": b, "c": c, "e": e}


def udp_drops(env: Any) -> dict[str, Any]:
    a, b = env.socket.socket(2, 2), env.socket.socket(2, 2)
    a.setsockopt(1, 8, 1)
    a.bind((LO, 6000))
    for _ in range(5):
        b.sendto(b"x" * 1000, (LO, 6000))
    return {"a": a, "b": b}


def raw_sockets(env: Any) -> dict[str, Any]:
    a, b, c = env.socket.socket(2, 3, 255), env.socket.socket(2, 3, 1), env.socket.socket(10, 3, 58)
    b.bind((LO, 0))
    d = env.socket.socket(2, 3, 99)
    d.connect((LO, 0))
    d.send(b"hello")
    return {"a": a, "b": b, "c": c, "d": d}


def ping_sockets(env: Any) -> dict[str, Any]:
    env.sysctl("ipv4/ping_group_range", "0 2147483647")
    a, b = env.socket.socket(2, 2, 1), env.socket.socket(10, 2, 58)
    a.bind((LO, 77))
    b.bind(("::1", 78))
    return {"a": a, "b": b}


def ipv6_connection(env: Any) -> dict[str, Any]:
    found = {"l": _listener(env, 5000, 10, 4), "c": _client(env, 5000, "::1", 10)}
    found["a"] = found["l"].accept()[0]
    return found


def mapped_connection(env: Any) -> dict[str, Any]:
    found = {"l": _listener(env, 5000, 10, 4, "::"), "c": _client(env)}
    found["a"] = found["l"].accept()[0]
    return found


def bound_to_device(env: Any) -> dict[str, Any]:
    a, b = env.socket.socket(2, 2), env.socket.socket()
    for sock in (a, b):
        sock.setsockopt(1, 25, b"lo\0")
        sock.setsockopt(1, 36, 7)
    a.bind(("0.0.0.0", 6000))
    b.setsockopt(6, 13, b"cubic")
    b.bind(("0.0.0.0", 5000))
    b.listen(1)
    return {"a": a, "b": b}


SCENES: dict[str, Callable[[Any], dict[str, Any]]] = {
    scene.__name__: scene
    for scene in (
        *(nothing, fresh_and_bound, listeners, queued, connected, unread, half_closed, orphan_in_fin_wait2, time_wait),
        *(refused, reset, other_owner, udp_sockets, udp6_sockets, udp_drops, raw_sockets, ping_sockets, ipv6_connection),
        *(mapped_connection, bound_to_device),
    )
}
