"""UNIX sockets between processes and threads, with the modules that programs use; sendfile and splice."""

import struct
from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = pytest.mark.root

NAME = "\0parity"


def test_peercred_names_the_process_on_the_other_side() -> None:
    def program(env: Any) -> Any:
        listener = env.socket.socket(env.socket.AF_UNIX)
        listener.bind(NAME)
        listener.listen()

        def child() -> tuple[bool, int]:
            client = env.socket.socket(env.socket.AF_UNIX)
            client.connect(NAME)
            pid, _uid, _gid = struct.unpack("3i", client.getsockopt(1, 17, 12))
            client.send(struct.pack("i", env.os.getpid()))
            return pid == parent, len(client.recv(1))

        parent = env.os.getpid()
        handle = env.fork(child)
        conn, _ = listener.accept()
        pid, uid, gid = struct.unpack("3i", conn.getsockopt(1, 17, 12))
        told = struct.unpack("i", conn.recv(4))[0]
        conn.send(b"x")
        return pid == told, uid, gid, handle.join()

    assert assert_parity(program)[0] is True


def test_descriptor_sent_to_another_process_is_the_same_file() -> None:
    def program(env: Any) -> Any:
        ours, theirs = env.socket.socketpair()
        inner, outer = env.socket.socketpair()

        def child() -> Any:
            data, anc, flags, _ = theirs.recvmsg(10, 100)
            fd = struct.unpack("i", anc[0][2])[0]
            env.os.write(fd, b"from child")
            return data, len(anc), flags

        handle = env.fork(child)
        ours.sendmsg([b"take"], [(1, 1, struct.pack("i", inner.fileno()))])
        return outer.recv(20), handle.join()

    assert_parity(program)


def test_one_connection_wakes_one_of_two_accepting_threads() -> None:
    def program(env: Any) -> Any:
        listener = env.socket.socket(env.socket.AF_UNIX)
        listener.bind(NAME)
        listener.listen()
        done = []

        def wait(number: int) -> None:
            conn, _ = listener.accept()
            done.append(conn)

        threads = [env.spawn(wait, i) for i in range(2)]
        env.yield_now()
        counts = [len(done)]
        for _ in range(2):
            client = env.socket.socket(env.socket.AF_UNIX)
            client.connect(NAME)
            env.yield_now()
            counts.append(len(done))
        for thread in threads:
            thread.join()
        return counts

    assert assert_parity(program) == (0, 1, 2)


def test_two_blocked_datagram_senders_go_on_one_after_the_other() -> None:
    def program(env: Any) -> Any:
        receiver = env.socket.socket(env.socket.AF_UNIX, env.socket.SOCK_DGRAM)
        receiver.bind(NAME)
        filler = env.socket.socket(env.socket.AF_UNIX, env.socket.SOCK_DGRAM)
        for _ in range(11):
            filler.sendto(b"x", NAME)
        done: list[int] = []

        def send(number: int) -> None:
            sock = env.socket.socket(env.socket.AF_UNIX, env.socket.SOCK_DGRAM)
            sock.sendto(b"late", NAME)
            done.append(number)

        threads = [env.spawn(send, i) for i in range(2)]
        env.yield_now()
        counts = [len(done)]
        for _ in range(3):
            receiver.recv(10)
            env.yield_now()
            counts.append(len(done))
        for thread in threads:
            thread.join()
        return counts

    assert_parity(program)


def test_reader_gone_in_another_process_breaks_the_pipe() -> None:
    def program(env: Any) -> Any:
        ours, theirs = (sock.detach() for sock in env.socket.socketpair())

        def child() -> bytes:
            env.os.close(ours)
            return bytes(env.os.read(theirs, 10))

        handle = env.fork(child)
        env.os.close(theirs)
        env.os.write(ours, b"hello")
        first = handle.join()
        env.signal.signal(env.signal.SIGPIPE, env.signal.SIG_IGN)
        env.yield_now()
        return first, attempt(env.os.write, ours, b"x"), attempt(env.os.read, ours, 10)

    assert_parity(program)


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET"])
def test_sendfile_and_splice_move_bytes_through_unix_sockets(kind: str) -> None:
    def program(env: Any) -> Any:
        a, b = env.socket.socketpair(env.socket.AF_UNIX, getattr(env.socket, kind))
        memory = env.os.memfd_create("m")
        env.os.write(memory, b"0123456789" * 100)
        out = [attempt(env.os.sendfile, a.fileno(), memory, 5, 20), b.recv(100)]
        reader, writer = env.os.pipe()
        env.os.write(writer, b"through a pipe")
        out += [attempt(env.os.splice, reader, a.fileno(), 100), b.recv(100)]
        a.send(b"into a pipe")
        out.append(attempt(env.os.splice, b.fileno(), writer, 100))
        if isinstance(out[-1], int):
            out.append(env.os.read(reader, 100))
        b.close()
        env.signal.signal(env.signal.SIGPIPE, env.signal.SIG_IGN)
        return [*out, attempt(env.os.sendfile, a.fileno(), memory, 0, 10)]

    assert_parity(program)


def test_paths_of_the_os_module_reach_the_socket_file() -> None:
    def program(env: Any) -> Any:
        base = f"/tmp/parity-{env.os.getpid()}"
        env.os.mkdir(base)
        env.os.chdir(base)
        sock = env.socket.socket(env.socket.AF_UNIX)
        sock.bind("s")
        out = [oct(env.os.stat("s").st_mode), attempt(env.os.open, "s", 0), env.os.listdir("."), attempt(env.os.open, "none", 0)]
        fd = env.os.open("f", 0o102, 0o600)
        out += [env.os.write(fd, b"text"), env.os.lseek(fd, 1, 0), env.os.read(fd, 9), env.os.stat("f").st_size]
        a, b = env.socket.socketpair()
        out += [env.os.sendfile(a.fileno(), fd, 1, 10), b.recv(9), env.os.sendfile(a.fileno(), fd, None, 10), env.os.pread(fd, 2, 2)]
        out += [env.os.lseek(fd, 0, 0), env.os.sendfile(a.fileno(), fd, None, 2), b.recv(9), env.os.read(fd, 9)]
        env.os.close(fd)
        env.os.rename("s", "t")
        out += [sock.getsockname(), sorted(env.os.listdir(".")), attempt(env.os.rmdir, base)]
        env.os.unlink("t")
        env.os.unlink("f")
        env.os.chdir("/")
        env.os.rmdir(base)
        return out

    assert_parity(program)
