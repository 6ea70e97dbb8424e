"""Loading UNIX sockets that exist elsewhere, to ask bind(2) and connect(2) about their names.

    init_names(net)                                         enough for bind(2); connect(2) takes af_unix_init()
    sk = adopt_unix(net, SOCK_STREAM, b"\\0name")            or with a path and its inode
    sk.sk_state, sk.sk_max_ack_backlog, ... = ...
    fill_queue(sk, 3)

Linux has no such file: its sockets were made where they are."""

from __future__ import annotations

from twinsock.kernel.net.core.sock import Proto
from twinsock.kernel.net.unix.names import (
    unix_abstract_hash,
    unix_bsd_hash,
    unix_insert_bsd_socket,
    unix_insert_socket,
    unix_unbound_hash,
)
from twinsock.kernel.net.unix.unix_sock import NetnsUnix, UnixAddress, UnixSkb, UnixSock, UnixState, netns_unix
from twinsock.uapi.socket import AF_UNIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.kernel.fs.namei import Inode
    from twinsock.kernel.net.core.net_namespace import Net

_FAMILY = AF_UNIX.to_bytes(2, "little")


def init_names(net: Net) -> None:
    """Give a namespace the tables of names alone."""
    net.unx = NetnsUnix(UnixState(net.kernel))


def new_unix_sock(net: Net, type_: int) -> UnixSock:
    """Make a socket without a name, which can own one and nothing else."""
    unx = netns_unix(net)
    sk = UnixSock(net, Proto("UNIX", 0), type_, unx.state)
    unix_insert_socket(unx, sk, unix_unbound_hash(unx.state, type_))
    return sk


def adopt_unix(net: Net, type_: int, name: bytes, inode: Inode | None = None) -> UnixSock:
    """Make a socket that has an abstract name (NUL first), or the path of an inode, without asking."""
    addr = sockaddr_un(name)
    unx = netns_unix(net)
    sk = UnixSock(net, Proto("UNIX", 0), type_, unx.state)
    sk.path = inode
    sk.addr = UnixAddress(addr, unix_abstract_hash(addr, type_) if inode is None else unix_bsd_hash(inode))
    unix_insert_socket(unx, sk, sk.addr.hash)
    unix_insert_bsd_socket(sk.state, sk)
    return sk


def sockaddr_un(name: bytes) -> bytes:
    """Write a path, or NUL and an abstract name, as bind(2) and connect(2) take it."""
    return _FAMILY + name + (b"" if name[:1] == b"\0" else b"\0")


def fill_queue(sk: UnixSock, count: int) -> None:
    """Let so many connections wait for accept(2)."""
    for _ in range(count):
        sk.receive_queue.append(UnixSkb(b"", 0, 0))
