"""One plain program that makes every call of a TCP connection, for comparing call paths, and how two paths compare."""

from typing import Any

CALLS = ("socket", "bind", "listen", "connect", "accept4", "sendto", "recvfrom", "close")


def every_call(env: Any) -> bytes:
    """Open, use and close one TCP connection over loopback."""
    socket = env.socket
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(3)
    client = socket.socket()
    client.connect(server.getsockname())
    child, _ = server.accept()
    client.send(b"x" * 10)
    data = child.recv(10)
    client.close()
    child.close()
    server.close()
    return bytes(data)


def plain(name: str) -> str:
    """Return a function's name without what the compiler added and without the underscores that tell its variants apart."""
    for end in ("_noprof", "_rcu"):
        name = name.removesuffix(end)
    return name.split(".")[0].strip("_")


def is_within(path: tuple[str, ...], wanted: list[str]) -> bool:
    """Tell whether the names of `wanted` occur in `path` in this order."""
    rest = iter(plain(name) for name in path)
    return all(name in rest for name in wanted)
