"""sock_diag(7) and /proc/net row by row: one socket asked for, states and extensions bit by bit, privileges, names of counters, hash
buckets, and the words of ss(8)."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness import assert_parity, on_host, on_twin
from tests.parity.prockit import SCENES, ask, diag, diag_row, inode_names
from twinsock.wire.inet_diag import InetDiagReq
from twinsock.wire.netlink import nlmsg

pytestmark = [pytest.mark.root]

LO = bytes((127, 0, 0, 1))
BY_FAMILY, DESTROY, ACK = 20, 21, 4


def busy(env: Any) -> dict[str, Any]:
    """Listeners, queued, connected, bound, orphaned, TIME_WAIT, UDP and raw sockets together."""
    kept: dict[str, Any] = {}
    for scene in ("listeners", "udp_sockets"):
        kept |= {f"{scene}.{name}": sock for name, sock in SCENES[scene](env).items()}
    kept |= {"fresh": env.socket.socket(), "bound": env.socket.socket()}
    kept["bound"].bind(("127.0.0.1", 5009))
    for number, name in enumerate(("open", "waiting", "half", "timewait")):
        listener = env.socket.socket()
        listener.setsockopt(1, 2, 1)
        listener.setsockopt(6, 13, b"cubic")
        listener.bind(("127.0.0.1", 7000 + number))
        listener.listen(5)
        client = env.socket.socket()
        client.setsockopt(6, 13, b"cubic")
        client.connect(("127.0.0.1", 7000 + number))
        kept |= {name + ".listener": listener, name + ".client": client}
        if name != "waiting":
            kept[name + ".child"] = listener.accept()[0]
    kept["open.client"].setsockopt(1, 36, 7)
    kept["open.client"].setsockopt(0, 1, 0x10)
    kept["half.client"].shutdown(1)
    env.time.sleep(0.06)
    kept.pop("timewait.client").close()
    env.time.sleep(0.06)
    kept.pop("timewait.child").close()
    env.yield_now()
    return kept


def each_state(env: Any) -> Any:
    kept = busy(env)
    inodes = inode_names(env, kept)
    return [(bit, diag(env, inodes, 2, 6, 1 << bit)) for bit in range(16)] + [diag(env, inodes, 2, 17, 1 << bit) for bit in (1, 7)]


def each_extension(env: Any) -> Any:
    kept = busy(env)
    inodes = inode_names(env, kept)
    return [(bit, diag(env, inodes, family, 6, ext=1 << bit)) for bit in range(8) for family in (2, 10)]


def nobody_asks(env: Any) -> Any:
    kept = busy(env)
    inodes = inode_names(env, kept)
    env.setuid(65534)
    req = InetDiagReq(2, 6)
    req.src, req.sport = LO, 7000
    return [diag(env, inodes, 2, 6, ext=0xFF), [(m.type, m.payload[:4].hex()) for m in ask(env, 4, DESTROY, ACK, req.emit())]]


def one_socket(env: Any) -> Any:
    kept = busy(env)
    inodes = inode_names(env, kept)
    port = kept["open.client"].getsockname()[1]
    out: list[Any] = []
    for protocol, src, sport, dst, dport in (
        *((6, LO, 7000, b"", 0), (6, LO, port, LO, 7000), (6, LO, 7000, LO, port), (6, LO, 7000, LO, 1), (6, LO, 9, b"", 0)),
        *((6, LO, 5003, b"", 0), (17, LO, 6000, b"", 0), (17, LO, 6001, LO, 9), (17, LO, 9, b"", 0), (136, LO, 6002, b"", 0)),
        *((17, b"", 0, LO, 6000), (17, LO, 9, LO, 6001), (17, LO, 6000, LO, kept["udp_sockets.c"].getsockname()[1])),
        *((17, b"", 0, LO, 9), (17, LO, kept["udp_sockets.c"].getsockname()[1], LO, 6000), (136, b"", 0, LO, 6002)),
        *((1, LO, 1, b"", 0), (99, LO, 1, b"", 0), (6, LO, 5001, b"", 0)),
    ):
        req = InetDiagReq(2, protocol)
        req.src, req.sport, req.dst, req.dport = src, sport, dst, dport
        answers = ask(env, 4, BY_FAMILY, 0, req.emit())
        out.append((protocol, sport if sport < 10000 else 0, dport if dport < 10000 else 0, [diag_row(msg, inodes) for msg in answers]))
    cookie = kept["open.listener"].getsockopt(1, 57, 8)
    for wanted in (cookie, bytes(8), b"\1" * 8, b"\xff" * 8):
        req = InetDiagReq(2, 6)
        req.src, req.sport = LO, 7000
        payload = bytearray(req.emit())
        payload[-8:] = wanted
        out.append([diag_row(msg, inodes) for msg in ask(env, 4, BY_FAMILY, 0, bytes(payload))])
    return out


def odd_requests(env: Any) -> Any:
    """Families and protocols that nobody answers for, short messages, other types."""
    out: list[Any] = []
    for family in (0, 2, 3, 10, 44, 45, 46, 255):
        for protocol in (0, 1, 6, 17, 33, 58, 99, 132):
            for flags in (0, 0x300):
                answers = ask(env, 4, BY_FAMILY, flags, InetDiagReq(family, protocol).emit())
                out.append((family, protocol, flags, [(msg.type, msg.payload[:4].hex()) for msg in answers]))
    for size in (0, 1, 2, 3, 8, 55):
        answers = ask(env, 4, BY_FAMILY, 0x300, InetDiagReq(2, 6).emit()[:size])
        out.append((size, [(msg.type, msg.payload[:4].hex()) for msg in answers]))
    for type_ in (16, 17, 19, 22, 100):
        answers = ask(env, 4, type_, ACK, InetDiagReq(2, 6).emit())
        out.append((type_, [(msg.type, msg.payload[:4].hex()) for msg in answers]))
    return out


def names_of_counters(env: Any) -> Any:
    """Every name in its place; MPTCP's group and names of ICMP types seen apart."""
    groups = {}
    for file in ("snmp", "netstat"):
        for line in env.proc(file).splitlines()[::2]:
            group, *names = line.split()
            groups[group] = names
    constants = env.proc("snmp").splitlines()[[line.startswith("Tcp:") for line in env.proc("snmp").splitlines()].index(True) + 1]
    groups.pop("MPTcpExt:", None)
    groups.pop("IcmpMsg:", None)
    return [groups, constants, [line.split()[0] for line in env.proc("snmp6").splitlines() if not line.startswith("Icmp6InType")]]


def buckets_of_udp(env: Any) -> Any:
    """The number of a line is that of a hash bucket: ports that follow each other are one apart, in any order of creation."""
    kept = []
    for port in (6010, 6001, 6005):
        sock = env.socket.socket(2, 2)
        sock.bind(("127.0.0.1", port))
        kept.append(sock)
    for table in ("udp",):
        rows = {line.split()[1][-4:]: int(line.split()[0][:-1]) for line in env.proc(table).splitlines()[1:]}
    base = rows["1771"]
    return sorted((port, (bucket - base) % 256) for port, bucket in rows.items())


def numbers_of_tcp(env: Any) -> Any:
    """The number of a line counts from 0; listeners come first."""
    kept = busy(env)
    lines = [line.split() for line in env.proc("tcp").splitlines()[1:]]
    states = [words[3] for words in lines]
    last_listener = max(n for n, state in enumerate(states) if state == "0A")
    return [[words[0] for words in lines], last_listener + 1 == states.count("0A"), sorted(states), len(kept)]


PROGRAMS = (each_state, each_extension, nobody_asks, one_socket, odd_requests, names_of_counters, buckets_of_udp, numbers_of_tcp)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_tables_and_diag_do_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)


def information(env: Any) -> bytes:
    """A dump of a connection with everything that ss -i and -e print."""
    server = env.socket.socket()
    server.setsockopt(6, 13, b"cubic")
    server.bind(("127.0.0.1", 7000))
    server.listen(5)
    client = env.socket.socket()
    client.setsockopt(6, 13, b"cubic")
    client.connect(("127.0.0.1", 7000))
    child = server.accept()[0]
    client.setsockopt(1, 9, 1)
    client.send(b"x" * 1000)
    child.recv(10)
    env.time.sleep(0.1)
    client.send(b"y")
    child.recv(2000)
    env.time.sleep(0.06)
    data = b""
    for msg in ask(env, 4, BY_FAMILY, 0x300, InetDiagReq(2, 6, 0xFFF, 0xFF).emit()):
        data += nlmsg(msg.type, msg.flags, msg.payload, 7) if msg.type == BY_FAMILY else b""
    return data + nlmsg(3, 2, bytes(4))


# What depends on the time that passes; in the twin's none passes on loopback, and what is zero is not printed
TIMED = (
    "rtt",
    "rto",
    "ato",
    "minrtt",
    "rcv_rtt",
    "rcv_space",
    "pacing_rate",
    "send",
    "delivery_rate",
    "busy",
    "lastsnd",
    "lastrcv",
    "lastack",
)


@pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss(8)")
@pytest.mark.parametrize("arguments", ["-tin", "-taien", "-tanoi"])
def test_ss_prints_the_same_words_of_a_connection(arguments: str, tmp_path: Path) -> None:
    printed = []
    for dump in (on_host(information), on_twin(information)):
        (tmp_path / "dump").write_bytes(dump)
        environ = {**os.environ, "TCPDIAG_FILE": str(tmp_path / "dump"), "LC_ALL": "C"}
        done = subprocess.run(["ss", arguments], env=environ, capture_output=True, text=True, timeout=20, check=True)
        found = []
        for line in done.stdout.splitlines():
            line = re.sub(r"\b(ino|sk):[0-9a-f]+", r"\1:", line)
            line = re.sub(r":(3[3-9]\d{3}|[45]\d{4}|60\d{3}|32[89]\d\d)\b", ":port", line)
            line = re.sub(r"timer:\((\w+),[^,]*,", r"timer:(\1,", line)
            line = re.sub(r"\b(" + "|".join(TIMED) + r")[: ][\d./]+[a-zA-Z%()\d.]*", "", line)
            found.append(" ".join(line.split()))
        printed.append(sorted(found))
    assert printed[0] == printed[1]
    assert any("cubic" in line for line in printed[0])


def test_a_request_is_read_as_it_is_packed() -> None:
    """The state mask and the cookie stand where the sheet has them."""
    req = InetDiagReq(2, 6, 1 << 10, 3)
    req.src, req.sport = LO, 80
    packed = req.emit()
    assert struct.unpack_from("=BBBxI", packed) == (2, 6, 3, 1 << 10)
    assert packed[8:10] == b"\0P"
    assert packed[-8:] == b"\xff" * 8
