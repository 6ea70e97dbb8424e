"""Operations of the socket layer, one after another, for comparing the ways that they take through the kernel."""

from collections.abc import Callable
from typing import Any

LINGER_ZERO = b"\1\0\0\0\0\0\0\0"
DUMP_LINKS = b"\x14\0\0\0\x12\0\1\3\1\0\0\0\0\0\0\0\0\0\0\0"
ECHO = b"\x08\0\xf7\xff\0\0\0\0"

Operation = tuple[str, Callable[[], Any]]


def operations(env: Any) -> list[Operation]:
    """List (name, work); each works on what those before it made."""
    return [*_inet(env, 2, "127.0.0.1", "IPv4"), *_inet(env, 10, "::1", "IPv6"), *_unix(env), *_others(env)]


def _inet(env: Any, family: int, host: str, tag: str) -> list[Operation]:
    made: dict[str, Any] = {}
    socket = env.socket

    def keep(name: str, make: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: made.__setitem__(name, make())

    def refused() -> None:
        made["refused"] = socket.socket(family, 1)
        made["refused"].connect_ex((host, 7999))

    def unreachable() -> None:
        made["lonely"] = socket.socket(family, 2)
        made["lonely"].sendto(b"q", (host, 7998))

    def abort() -> None:
        made["client"].setsockopt(1, 13, LINGER_ZERO)
        made["client"].close()

    return [
        (f"socket() TCP {tag}", keep("listener", lambda: socket.socket(family, 1))),
        (f"bind() TCP {tag}", lambda: made["listener"].bind((host, 7000))),
        (f"listen() TCP {tag}", lambda: made["listener"].listen(5)),
        (f"socket() TCP {tag}, client", keep("client", lambda: socket.socket(family, 1))),
        (f"connect() TCP {tag}", lambda: made["client"].connect((host, 7000))),
        (f"accept() TCP {tag}", keep("child", lambda: made["listener"].accept()[0])),
        (f"send() TCP {tag}", lambda: made["client"].send(b"x" * 10)),
        (f"sendmsg() TCP {tag}", lambda: made["client"].sendmsg([b"y"])),
        (f"recv() TCP {tag}", lambda: made["child"].recv(10)),
        (f"recvmsg() TCP {tag}", lambda: made["child"].recvmsg(10)),
        (f"write() TCP {tag}", lambda: env.os.write(made["child"].fileno(), b"zz")),
        (f"read() TCP {tag}", lambda: env.os.read(made["client"].fileno(), 10)),
        (f"shutdown() TCP {tag}", lambda: made["client"].shutdown(1)),
        (f"close() TCP {tag}, passive", lambda: made["child"].close()),
        (f"close() TCP {tag}, active", lambda: made["client"].close()),
        (f"connect() TCP {tag}, refused", refused),
        (f"socket() TCP {tag}, again", keep("client", lambda: socket.socket(family, 1))),
        (f"connect() TCP {tag}, not accepted", lambda: made["client"].connect((host, 7000))),
        (f"close() TCP {tag}, with a reset", abort),
        (f"close() TCP {tag}, listener", lambda: made["listener"].close()),
        (f"socket() UDP {tag}", keep("server", lambda: socket.socket(family, 2))),
        (f"bind() UDP {tag}", lambda: made["server"].bind((host, 7002))),
        (f"socket() UDP {tag}, client", keep("sender", lambda: socket.socket(family, 2))),
        (f"sendto() UDP {tag}", lambda: made["sender"].sendto(b"q", (host, 7002))),
        (f"recvfrom() UDP {tag}", lambda: made["server"].recvfrom(10)),
        (f"connect() UDP {tag}", lambda: made["sender"].connect((host, 7002))),
        (f"send() UDP {tag}", lambda: made["sender"].send(b"q")),
        (f"recvmsg() UDP {tag}", lambda: made["server"].recvmsg(10)),
        (f"sendto() UDP {tag}, nobody there", unreachable),
        (f"close() UDP {tag}", lambda: made["server"].close()),
    ]


def _unix(env: Any) -> list[Operation]:
    made: dict[str, Any] = {}
    socket = env.socket

    def keep(name: str, make: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: made.__setitem__(name, make())

    return [
        ("socketpair() UNIX stream", keep("pair", socket.socketpair)),
        ("send() UNIX stream", lambda: made["pair"][0].send(b"x")),
        ("recv() UNIX stream", lambda: made["pair"][1].recv(9)),
        ("write() UNIX stream", lambda: env.os.write(made["pair"][0].fileno(), b"x")),
        ("read() UNIX stream", lambda: env.os.read(made["pair"][1].fileno(), 9)),
        ("socket() UNIX datagram", keep("datagram", lambda: socket.socket(1, 2))),
        ("bind() UNIX datagram", lambda: made["datagram"].bind(b"\0operations")),
        ("socket() UNIX datagram, sender", keep("sender", lambda: socket.socket(1, 2))),
        ("sendto() UNIX datagram", lambda: made["sender"].sendto(b"x", b"\0operations")),
        ("recvfrom() UNIX datagram", lambda: made["datagram"].recvfrom(9)),
        ("socket() UNIX stream", keep("listener", lambda: socket.socket(1, 1))),
        ("bind() UNIX stream", lambda: made["listener"].bind(b"\0listener")),
        ("listen() UNIX stream", lambda: made["listener"].listen(3)),
        ("socket() UNIX stream, client", keep("client", lambda: socket.socket(1, 1))),
        ("connect() UNIX stream", lambda: made["client"].connect(b"\0listener")),
        ("accept() UNIX stream", keep("child", lambda: made["listener"].accept()[0])),
        ("socketpair() UNIX seqpacket", keep("packets", lambda: socket.socketpair(1, 5))),
        ("send() UNIX seqpacket", lambda: made["packets"][0].send(b"x")),
        ("recv() UNIX seqpacket", lambda: made["packets"][1].recv(9)),
    ]


def _others(env: Any) -> list[Operation]:
    made: dict[str, Any] = {}
    socket = env.socket

    def keep(name: str, make: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: made.__setitem__(name, make())

    return [
        ("socket() netlink", keep("netlink", lambda: socket.socket(16, 3, 0))),
        ("send() netlink", lambda: made["netlink"].send(DUMP_LINKS)),
        ("recv() netlink", lambda: made["netlink"].recv(65536)),
        ("socket() raw", keep("raw", lambda: socket.socket(2, 3, 1))),
        ("sendto() raw", lambda: made["raw"].sendto(ECHO, ("127.0.0.1", 0))),
        ("recv() raw", lambda: made["raw"].recv(100)),
        ("epoll_create()", keep("epoll", env.select.epoll)),
        ("epoll_ctl() add", lambda: made["epoll"].register(made["raw"].fileno(), 1)),
        ("epoll_ctl() del", lambda: made["epoll"].unregister(made["raw"].fileno())),
    ]
