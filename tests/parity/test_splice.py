"""sendfile, splice and memory files between files, pipes and sockets."""

from typing import Any

import pytest

from tests.parity.harness import assert_parity, attempt

pytestmark = [pytest.mark.root]


def memory_files(env: Any) -> Any:
    os = env.os
    fd = os.memfd_create("m")
    out: list[Any] = [os.write(fd, b"hello world"), os.lseek(fd, 0, 0), os.read(fd, 5), os.read(fd, 100), os.read(fd, 100)]
    out += [os.pread(fd, 3, 2), os.pwrite(fd, b"XY", 20), os.fstat(fd).st_size, os.pread(fd, 100, 8), attempt(os.pread, fd, 1, -1)]
    out += [attempt(os.lseek, fd, -1, 0), attempt(os.lseek, fd, -2, 2), attempt(os.lseek, fd, 5, 1), attempt(os.lseek, fd, 0, 9)]
    out += [attempt(os.lseek, fd, 3, 3), attempt(os.lseek, fd, 3, 4), attempt(os.lseek, fd, 100, 3)]
    out += [attempt(os.ftruncate, fd, 4), os.pread(fd, 100, 0), attempt(os.ftruncate, fd, 6), os.pread(fd, 100, 0), attempt(os.fsync, fd)]
    stat = os.fstat(fd)
    out += [stat.st_mode, stat.st_nlink, stat.st_size, env.fdlink(fd), env.sys.fcntl(fd, 3, 0), env.sys.fcntl(fd, 1, 0)]
    poll = env.select.poll()
    poll.register(fd, 0x3FFF)
    out += [poll.poll(0), env.sys.epoll_ctl(env.sys.epoll_create1(0), 1, fd, 1), attempt(os.memfd_create, "x", 64)]
    return out


def sendfile_combinations(env: Any) -> Any:
    os = env.os
    data = bytes(range(256)) * 20
    file = os.memfd_create("m")
    os.write(file, data)
    os.lseek(file, 100, 0)
    a, b = env.socket.socketpair()
    r, w = os.pipe()
    send = os.sendfile
    out: list[Any] = [send(a.fileno(), file, None, 50), os.lseek(file, 0, 1), b.recv(1000) == data[100:150]]
    out += [send(a.fileno(), file, 10, 20), os.lseek(file, 0, 1), b.recv(1000) == data[10:30]]
    out += [send(w, file, 0, 3000), len(os.read(r, 10000)), send(a.fileno(), file, 5100, 1000), len(b.recv(5000))]
    out += [send(a.fileno(), file, 6000, 10), send(a.fileno(), file, None, 0)]
    out += [attempt(send, a.fileno(), b.fileno(), None, 1), attempt(send, a.fileno(), r, None, 1), attempt(send, a.fileno(), r, 0, 1)]
    out += [attempt(send, r, file, 0, 1), attempt(send, 99, file, 0, 1), attempt(send, w, 99, 0, 1), attempt(send, w, w, 0, 1)]
    out += [attempt(send, a.fileno(), file, -1, 5)]
    return out


def splice_combinations(env: Any) -> Any:
    os = env.os
    file = os.memfd_create("m")
    os.write(file, b"0123456789" * 10)
    a, b = env.socket.socketpair()
    r, w = os.pipe()
    r2, w2 = os.pipe()
    splice = os.splice
    out: list[Any] = [attempt(splice, file, w, 20, 5), os.read(r, 100)]
    os.lseek(file, 0, 0)
    out += [attempt(splice, file, w, 7), attempt(splice, r, a.fileno(), 100), b.recv(100), os.lseek(file, 0, 1)]
    a.send(b"from the socket")
    out += [attempt(splice, b.fileno(), w, 100), os.read(r, 100)]
    os.write(w, b"pipe to pipe")
    out += [attempt(splice, r, w2, 5), os.read(r2, 100), os.read(r, 100)]
    os.write(w, b"into the file")
    out += [attempt(splice, r, file, 4, None, 2), attempt(splice, r, file, 100, None, 50), os.pread(file, 100, 0)]
    out += [attempt(splice, r, w, 1), attempt(splice, file, a.fileno(), 1), attempt(splice, r, w2, 1, 0), attempt(splice, file, r, 1)]
    out += [attempt(splice, r, w2, 1, None, None, 64), attempt(splice, r, w2, 0), attempt(splice, r, w2, 1, None, None, 2)]
    out += [attempt(splice, 99, w, 1), attempt(splice, file, 99, 1), attempt(splice, a.fileno(), w, 1, 0)]
    out.append(attempt(splice, b.fileno(), w, 10, None, None, 2))
    os.close(w)
    out.append(attempt(splice, r, a.fileno(), 10))
    os.close(r2)
    out.append(attempt(splice, file, w2, 10, 0))
    return out


def splice_of_a_tcp_socket(env: Any) -> Any:
    """Splicing stops before the urgent byte, wherever that is kept, and the socket's own O_NONBLOCK decides about waiting."""
    os, socket = env.os, env.socket
    out: list[Any] = []
    r, w = os.pipe()
    for inline in (0, 1):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        out.append(attempt(os.splice, listener.fileno(), w, 10))
        listener.listen(1)
        out.append(attempt(os.splice, listener.fileno(), w, 10))
        client = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
        server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, inline)
        for data, flags in ((b"abc", 0), (b"X", socket.MSG_OOB), (b"defgh", 0)):
            client.send(data, flags)
        env.yield_now()
        splice = lambda size, flags=0, server=server: attempt(os.splice, server.fileno(), w, size, None, None, flags)  # noqa: E731
        out += [splice(2), splice(10), splice(10), splice(10, 2), os.read(r, 100)]
        server.setblocking(False)
        out += [
            splice(10),
            attempt(server.recv, 10, socket.MSG_OOB),
            splice(10),
            attempt(server.recv, 2),
            splice(2),
            splice(100),
            os.read(r, 9),
        ]
        out += [splice(10), splice(10, 2)]
        server.settimeout(None)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(8) + (20_000).to_bytes(8, "little"))
        out += [splice(10), splice(10, 2)]
        client.send(b"more")
        client.send(b"Y", socket.MSG_OOB)
        client.shutdown(1)
        env.yield_now()
        out += [splice(10), splice(10), attempt(server.recv, 10), splice(10), os.read(r, 100)]
        server.close()
        client.close()
    return out


PROGRAMS = [memory_files, sendfile_combinations, splice_combinations, splice_of_a_tcp_socket]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_twin_and_host_agree_on_moving_bytes(program: Any) -> None:
    assert_parity(program)
