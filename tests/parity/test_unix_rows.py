"""What the sheet of UNIX sockets says beside what the other files of UNIX sockets try: refusals, urgent bytes on every type, credentials
that outlive their process, the protocols' table, and what ss(8) prints."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt, on_host, on_twin
from tests.parity.unix_system import DGRAM, SEQPACKET, STREAM, System, same, un

pytestmark = pytest.mark.root

OOB, PEEK, DONTWAIT = 1, 2, 0x40


def test_urgent_bytes_exist_on_streams_alone() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            a, b = k.socketpair(type_)
            out += [k.send(a, b"ab", OOB), k.recv(b, 1, OOB | PEEK), k.recv(b, 1, OOB), k.recv(b, 1, OOB), k.recv(b, 9, DONTWAIT)]
            out += [k.send(a, b"", OOB), k.recv(b, 1, OOB), k.send(a, b"peek"), k.recv(b, 2, PEEK), k.recv(b, 9, PEEK), k.recv(b, 9)]
        return out

    same(program)


def test_accept_and_listen_are_refused_by_type_and_state() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            unbound, bound = k.socket(type_), k.bound(type_, f"\0{type_}")
            pair, _ = k.socketpair(type_)
            out += [[k.accept(fd), k.listen(fd, 1)] for fd in (unbound, pair, bound)]
            out.append([k.accept(fd, 0x800) for fd in (unbound, pair)])
        return out

    same(program)


def test_full_size_messages_and_one_byte_more() -> None:
    def program(k: System) -> object:
        out = []
        for type_ in (STREAM, DGRAM, SEQPACKET):
            for size in (212960, 212961):
                a, b = k.socketpair(type_)
                out.append((type_, size, k.send(a, b"x" * size, DONTWAIT), k.poll(b)))
            a, b = k.socketpair(type_)
            many = 0
            while k.send(a, b"x", DONTWAIT) == 1:
                many += 1
            out.append((many, len(k.recv(b, 300)[1])))
        return out

    same(program)


def credentials_stay(env: Any) -> Any:
    """The client sees who listened, the server who connected, also after either changed or went away."""
    listener = env.socket.socket(1)
    listener.bind("\0stay")
    listener.listen()

    def child() -> Any:
        env.setuid(1234, 4321)
        client = env.socket.socket(1)
        client.connect("\0stay")
        return struct.unpack("=3i", client.getsockopt(1, 17, 12))[1:]

    seen = env.fork(child).join()
    accepted = listener.accept()[0]
    pid, uid, gid = struct.unpack("=3i", accepted.getsockopt(1, 17, 12))
    a, b = env.socket.socketpair()
    env.setuid(65534)
    late = [struct.unpack("=3i", sock.getsockopt(1, 17, 12))[1:] for sock in (a, b, accepted)]
    inet = env.socket.socket(2, 1)
    return [seen, pid > 0, uid, gid, late, struct.unpack("=3i", inet.getsockopt(1, 17, 12)), attempt(a.setsockopt, 1, 17, bytes(12))]


def protocols_are_named(env: Any) -> Any:
    """Streams are a protocol of their own; names follow the type."""
    kept = [env.socket.socket(1, kind) for kind in (1, 2, 3, 5)]
    kept += [*env.socket.socketpair(1, 1), *env.socket.socketpair(1, 5)]
    rows = {line.split()[0]: line.split()[2] for line in env.proc("protocols").splitlines()}
    names = []
    if env.kind == "host":
        names = [env.os.getxattr(f"/proc/self/fd/{sock.fileno()}", "system.sockprotoname") for sock in kept[:4]]
        assert names == [b"UNIX-STREAM\0", b"UNIX\0", b"UNIX\0", b"UNIX\0"]
    return [rows["UNIX-STREAM"], rows["UNIX"], [sock.getsockopt(1, 3) for sock in kept]]


@pytest.mark.parametrize("program", [credentials_stay, protocols_are_named])
def test_unix_program_gives_the_same_on_both_kernels(program: Any) -> None:
    assert_parity(program)


def busy(env: Any) -> Any:
    """Sockets in every state that ss(8) tells apart; what it reads."""
    kept = [env.socket.socket(1, kind) for kind in (1, 2, 5)]
    for kind in (1, 5):
        listener = env.socket.socket(1, kind)
        listener.bind(f"\0listen{kind}")
        listener.listen(3)
        clients = [env.socket.socket(1, kind) for _ in range(2)]
        for client in clients:
            client.connect(f"\0listen{kind}")
            client.send(b"hello")
        kept += [listener, *clients, listener.accept()[0]]
    receiver, sender = env.socket.socket(1, 2), env.socket.socket(1, 2)
    receiver.bind("\0receiver")
    sender.connect("\0receiver")
    sender.send(b"12345")
    kept += [receiver, sender, *env.socket.socketpair(1, 2)]
    return env.proc("unix"), {env.os.fstat(sock.fileno()).st_ino: f"socket{n}" for n, sock in enumerate(kept)}


@pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss(8)")
@pytest.mark.parametrize("arguments", ["-xa", "-xl", "-x", "-xae"])
def test_ss_prints_the_unix_table_of_both_kernels_alike(arguments: str, tmp_path: Path) -> None:
    printed = []
    for text, names in (on_host(busy), on_twin(busy)):
        (tmp_path / "unix").write_text(text)
        environ = {**os.environ, "PROC_NET_UNIX": str(tmp_path / "unix"), "LC_ALL": "C"}
        done = subprocess.run(["ss", "-n", arguments], env=environ, capture_output=True, text=True, timeout=20, check=True)
        known = re.compile(r"\b(" + "|".join(map(str, names)) + r")\b")
        lines = [known.sub(lambda found: names[int(found[0])], line) for line in done.stdout.splitlines()]  # noqa: B023
        printed.append(sorted(" ".join(line.split()) for line in lines))
    assert len(printed[0]) > 3
    assert printed[0] == printed[1]


def test_a_path_serves_one_socket_and_its_name_outlives_it() -> None:
    def program(k: System) -> object:
        stream = k.bound(STREAM, "s")
        out = [k.bind(k.socket(DGRAM), un("s")), k.close(stream), k.bind(k.socket(DGRAM), un("s")), k.unlink("s")]
        return [*out, k.bind(k.socket(DGRAM), un("s")), k.bind(k.socket(DGRAM), un("\0s")), k.bind(k.socket(STREAM), un("\0s"))]

    same(program)
