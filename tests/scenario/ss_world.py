"""Many kinds of sockets in the network namespace of this process, held until standard input ends.

Run in a fresh namespace with `lo` up. It prints one line, "ready", when every socket stands as it shall.
"""

import contextlib
import socket
import sys
import tempfile
from typing import Any

KEEP: list[Any] = []
SO_BINDTODEVICE = 25
IPPROTO_MPTCP = 262
IPPROTO_UDPLITE = 136


def keep(sock: socket.socket) -> socket.socket:
    """Hold a socket for the life of this process."""
    KEEP.append(sock)
    return sock


def listener(family: int, address: tuple[Any, ...], backlog: int = 5, protocol: int = 0, **options: int) -> socket.socket:
    """Make a listener."""
    sock = keep(socket.socket(family, socket.SOCK_STREAM, protocol))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for name, value in options.items():
        if name == "v6only":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, value)
        if name == "reuseport":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, value)
        if name == "device":
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"lo\0")
    sock.bind(address)
    sock.listen(backlog)
    return sock


def pair(server: socket.socket, address: tuple[Any, ...], source: tuple[Any, ...] | None = None) -> tuple[socket.socket, socket.socket]:
    """Connect to a listener and accept."""
    client = keep(socket.socket(server.family, socket.SOCK_STREAM))
    if source is not None:
        client.bind(source)
    client.connect(address)
    accepted, _ = server.accept()
    return client, keep(accepted)


def make_tcp() -> None:
    """Sockets in every TCP state that holds still."""
    any4 = listener(socket.AF_INET, ("0.0.0.0", 8080))
    listener(socket.AF_INET, ("127.0.0.1", 22), 128)
    listener(socket.AF_INET, ("127.0.0.1", 8081), device=1)
    listener(socket.AF_INET, ("127.0.0.1", 8082), reuseport=1)
    listener(socket.AF_INET, ("127.0.0.1", 8082), reuseport=1)
    any6 = listener(socket.AF_INET6, ("::", 8090))
    only6 = listener(socket.AF_INET6, ("::", 8091), v6only=1)
    listener(socket.AF_INET6, ("::1", 443))
    pair(any4, ("127.0.0.1", 8080), ("127.0.0.1", 40001))
    client, accepted = pair(any4, ("127.0.0.1", 8080), ("127.0.0.2", 40002))
    client.send(b"x" * 100)  # unread data
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client, accepted = pair(any4, ("127.0.0.1", 8080), ("127.0.0.1", 40003))
    client.shutdown(socket.SHUT_WR)  # FIN-WAIT-2 and CLOSE-WAIT
    client, accepted = pair(any4, ("127.0.0.1", 8080), ("127.0.0.1", 40004))
    client.close()
    accepted.close()  # TIME-WAIT
    pair(any6, ("::1", 8090), ("::1", 40005))
    pair(only6, ("::1", 8091), ("::1", 40006))
    mapped = keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    mapped.bind(("127.0.0.1", 40007))
    mapped.connect(("127.0.0.1", 8090))
    keep(any6.accept()[0])
    waiting = keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    waiting.bind(("127.0.0.1", 40008))
    waiting.connect(("127.0.0.1", 22))  # in the accept queue
    bound = keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    bound.bind(("127.0.0.1", 7777))
    with contextlib.suppress(OSError):  # a kernel without MPTCP
        listener(socket.AF_INET, ("127.0.0.1", 8083), protocol=IPPROTO_MPTCP)
    syn = keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    syn.bind(("127.0.0.1", 40009))
    syn.setblocking(False)
    full = listener(socket.AF_INET, ("127.0.0.1", 8084), 0)
    filler = keep(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    filler.bind(("127.0.0.1", 40010))
    filler.connect(full.getsockname())
    syn.connect_ex(full.getsockname())  # SYN-SENT: the queue is full


def make_udp() -> None:
    """UDP, UDPLITE, RAW and ping sockets."""
    for family, address, device in (
        (socket.AF_INET, ("0.0.0.0", 53), False),
        (socket.AF_INET, ("127.0.0.1", 5353), True),
        (socket.AF_INET6, ("::", 546), False),
        (socket.AF_INET6, ("::1", 547), False),
    ):
        sock = keep(socket.socket(family, socket.SOCK_DGRAM))
        if device:
            sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"lo\0")
        sock.bind(address)
    client = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    client.bind(("127.0.0.1", 40020))
    client.connect(("127.0.0.1", 53))
    client.send(b"datagram")
    raw = keep(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    raw.bind(("127.0.0.1", 0))
    keep(socket.socket(socket.AF_INET, socket.SOCK_RAW, 255))
    keep(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))


def make_unix(folder: str) -> None:
    """UNIX sockets of each type, named, abstract and unnamed."""
    for kind, name in ((socket.SOCK_STREAM, "stream"), (socket.SOCK_DGRAM, "dgram"), (socket.SOCK_SEQPACKET, "seq")):
        path = f"{folder}/{name}"
        server = keep(socket.socket(socket.AF_UNIX, kind))
        server.bind(path)
        client = keep(socket.socket(socket.AF_UNIX, kind))
        if kind != socket.SOCK_DGRAM:
            server.listen(3)
            client.connect(path)
            keep(server.accept()[0])
            queued = keep(socket.socket(socket.AF_UNIX, kind))
            queued.connect(path)
        else:
            client.connect(path)
            client.send(b"12345")
        KEEP.extend(socket.socketpair(socket.AF_UNIX, kind))
    abstract = keep(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    abstract.bind(b"\0an abstract name")
    abstract.listen(1)
    one, other = socket.socketpair()
    one.send(b"unread")
    one.shutdown(socket.SHUT_WR)
    KEEP.extend((one, other))


def make_others() -> None:
    """Packet and netlink sockets."""
    packet = keep(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    packet.bind(("lo", 3))
    keep(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
    route = keep(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
    route.bind((0, 1))
    keep(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 16)).bind((0, 0))


def main() -> None:
    """Make everything, say so, and wait for the end of standard input."""
    with tempfile.TemporaryDirectory() as folder:
        make_tcp()
        make_udp()
        make_unix(folder)
        make_others()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
