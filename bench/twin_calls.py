"""Programs of the benches, written once for the twin and for Linux: calls that return numbers and bytes and never block."""

from __future__ import annotations

import resource
import socket

PORT = 5001
SETTLE_NS = 61_000_000_000  # TIME_WAIT is over


class LinuxCalls:
    """The live kernel through the socket module."""

    def __init__(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def bound(self, port: int, reuseport: bool = False) -> socket.socket:
        """Open a socket that owns a port (0: any)."""
        sock = socket.socket()
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        return sock

    def server(self) -> socket.socket:
        """Open a listener."""
        sock = self.bound(0)
        sock.listen(4096)
        return sock

    def connection(self, server: socket.socket) -> tuple[socket.socket, socket.socket]:
        """Connect to a listener and accept: (client, its peer)."""
        client = socket.socket()
        client.connect(server.getsockname())
        return client, server.accept()[0]

    def send(self, sock: socket.socket, data: bytes) -> int:
        """Send."""
        return sock.send(data)

    def recv(self, sock: socket.socket, size: int) -> bytes:
        """Receive."""
        return sock.recv(size)

    def close(self, sock: socket.socket) -> None:
        """Close."""
        sock.close()

    def settle(self) -> None:
        """Nothing to do: time passes by itself."""


class TwinCalls:
    """The twin through its system calls."""

    def __init__(self, mtu: int = 65536) -> None:
        from twinsock.kernel.boot import start_kernel
        from twinsock.kernel.fs import file
        from twinsock.kernel.net import socket as calls

        self.kernel = start_kernel(1)
        self.task = self.kernel.tasks[0]
        self.task.rlim_cur[resource.RLIMIT_NOFILE] = self.task.rlim_max[resource.RLIMIT_NOFILE] = 1 << 20
        lo = self.kernel.init_net.loopback_dev
        assert lo is not None
        lo.mtu = mtu
        self.calls = calls
        self.sys_close = file.sys_close
        self.name = self._name(PORT)

    def _name(self, port: int, host: int = 1) -> bytes:
        return b"\x02\x00" + port.to_bytes(2, "big") + b"\x7f\0" + host.to_bytes(2, "big") + bytes(8)

    def bound(self, port: int, reuseport: bool = False, host: int = 1) -> int:
        """Open a socket that owns a port."""
        fd = self.calls.sys_socket(self.task, 2, 1 | 0o4000, 0)
        if reuseport:
            assert self.calls.sys_setsockopt(self.task, fd, 1, 15, b"\1\0\0\0", 4) == 0
        err = self.calls.sys_bind(self.task, fd, self._name(port, host), 16)
        assert err == 0, err
        return fd

    def server(self) -> int:
        """Open a listener."""
        fd = self.bound(PORT)
        assert self.calls.sys_listen(self.task, fd, 4096) == 0
        return fd

    def connection(self, server: int, host: int = 0) -> tuple[int, int]:
        """Connect to a listener and accept: (client, its peer)."""
        calls, task = self.calls, self.task
        client = self.bound(0, host=host) if host else calls.sys_socket(task, 2, 1 | 0o4000, 0)
        err = calls.sys_connect(task, client, self.name, 16)
        assert err in (0, -115), err
        peer = calls.sys_accept4(task, server, None, 0o4000)
        assert peer >= 0, peer
        return client, peer

    def send(self, fd: int, data: bytes) -> int:
        """Send."""
        return self.calls.sys_send(self.task, fd, data, 0)

    def recv(self, fd: int, size: int) -> bytes:
        """Receive; virtual time passes until there is something."""
        while True:
            err, data = self.calls.sys_recvfrom(self.task, fd, size, 0, None)
            if err >= 0:
                return data
            self.kernel.clock.run_next()

    def close(self, fd: int) -> None:
        """Close."""
        self.sys_close(self.task, fd)

    def settle(self) -> None:
        """Let TIME_WAIT pass."""
        self.kernel.clock.advance_to(self.kernel.clock.now_ns + SETTLE_NS)


def serve_requests(env: object, count: int) -> None:
    """Connect, request, reply, close, one after the other."""
    assert isinstance(env, LinuxCalls | TwinCalls)
    request, reply = bytes(100), bytes(1000)
    server = env.server()  # the calls of both environments take what they gave
    for number in range(count):
        client, peer = env.connection(server)  # type: ignore[arg-type]
        env.send(client, request)  # type: ignore[arg-type]
        env.recv(peer, 4096)  # type: ignore[arg-type]
        env.send(peer, reply)  # type: ignore[arg-type]
        env.recv(client, 4096)  # type: ignore[arg-type]
        env.close(client)  # type: ignore[arg-type]
        env.close(peer)  # type: ignore[arg-type]
        if number % 1000 == 999:
            env.settle()
    env.close(server)  # type: ignore[arg-type]


def transfer(env: object, chunks: int, chunk: int = 65536) -> None:
    """Send chunks through one connection and read each of them."""
    assert isinstance(env, LinuxCalls | TwinCalls)
    server = env.server()
    client, peer = env.connection(server)  # type: ignore[arg-type]
    data = bytes(chunk)
    for _ in range(chunks):
        sent = 0
        while sent < chunk:
            sent += env.send(client, data[sent:] if sent else data)  # type: ignore[arg-type]
        left = chunk
        while left:
            left -= len(env.recv(peer, left))  # type: ignore[arg-type]


def bind_and_close(env: object, count: int) -> None:
    """Open, bind, close."""
    assert isinstance(env, LinuxCalls | TwinCalls)
    for _ in range(count):
        env.close(env.bound(PORT + 1))  # type: ignore[arg-type]
