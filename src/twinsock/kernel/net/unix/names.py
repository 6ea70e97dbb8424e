"""Names of UNIX sockets: the tables, bind(2), and finding the socket behind a name (Linux: net/unix/af_unix.c; unix(7)).

Abstract names belong to a network namespace and a type; a path belongs to the file system and holds one socket."""

from __future__ import annotations

from twinsock.kernel.fs.namei import MAY_WRITE, inode_permission, kern_path, sys_unlink, vfs_mknod
from twinsock.kernel.net.core.sock import sock_hold, sock_put
from twinsock.kernel.net.unix.unix_sock import UNIX_HASH_MOD, NetnsUnix, UnixAddress, UnixSock, netns_unix
from twinsock.uapi.errno import EADDRINUSE, ECONNREFUSED, EEXIST, EINVAL, ENOSPC, EPROTOTYPE
from twinsock.uapi.socket import AF_UNIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from twinsock.kernel.fs.namei import Inode
    from twinsock.kernel.net.core.net import Msghdr
    from twinsock.kernel.net.core.net_namespace import Net
    from twinsock.kernel.net.core.sock import Sock
    from twinsock.kernel.net.unix.unix_sock import UnixState
    from twinsock.kernel.sched.task import Task

SOCKADDR_UN_SIZE: Final = 110
_FAMILY: Final = AF_UNIX.to_bytes(2, "little")
_AUTOBIND_MASK: Final = 0xFFFFF


def unix_validate_addr(addr: bytes) -> int:
    """Check length and family of an address: 0 or -EINVAL."""
    if len(addr) <= 2 or len(addr) > SOCKADDR_UN_SIZE or addr[:2] != _FAMILY:
        return -EINVAL
    return 0


def unix_path(addr: bytes) -> bytes:
    """Return the path in an address: up to the first NUL."""
    end = addr.find(b"\0", 2)
    return addr[2:] if end < 0 else addr[2:end]


def unix_copy_addr(msg: Msghdr, sk: Sock | None) -> None:
    """Give the receiver the sender's name, if it has one."""
    if isinstance(sk, UnixSock) and sk.addr is not None:
        msg.name = sk.addr.name


# Chains


def unix_abstract_hash(name: bytes, type_: int) -> int:
    """Return the chain of an abstract name, above all others: its Internet checksum folded, and the type."""
    total = 0
    for i in range(0, len(name) - 1, 2):
        total += name[i] | name[i + 1] << 8
    if len(name) & 1:
        total += name[-1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    hash_ = ~total & 0xFFFF
    hash_ ^= hash_ >> 8
    return UNIX_HASH_MOD + 1 + ((hash_ ^ type_) & UNIX_HASH_MOD)


def unix_bsd_hash(inode: Inode) -> int:
    """Return the chain of a socket inode, among those of sockets without a name."""
    return inode.i_ino & UNIX_HASH_MOD


def unix_unbound_hash(state: UnixState, type_: int) -> int:
    """Return a chain for a socket without a name."""
    # Twin: D-unix-2: Linux hashes its address.
    state.unbound_seq += 1
    hash_ = state.unbound_seq * 0x9E3779B1 & 0xFFFFFFFF
    hash_ ^= hash_ >> 16
    hash_ ^= hash_ >> 8
    return (hash_ ^ type_) & UNIX_HASH_MOD


def unix_insert_socket(unx: NetnsUnix, sk: UnixSock, hash_: int) -> None:
    """Enter a socket into a chain; the table holds a reference."""
    sk.u_hash = hash_
    unx.buckets[hash_].insert(0, sk)
    sock_hold(sk)


def unix_remove_socket(unx: NetnsUnix, sk: UnixSock) -> None:
    """Take a socket out of its chain."""
    if _remove(unx.buckets[sk.u_hash], sk):
        sock_put(sk)


def unix_insert_bsd_socket(state: UnixState, sk: UnixSock) -> None:
    """Let the socket be found by its inode."""
    if sk.path is not None:
        state.bsd_socket_buckets[sk.path.i_ino & UNIX_HASH_MOD].insert(0, sk)


def unix_remove_bsd_socket(state: UnixState, sk: UnixSock) -> None:
    """Stop the socket from being found by its inode."""
    if sk.path is not None:
        _remove(state.bsd_socket_buckets[sk.path.i_ino & UNIX_HASH_MOD], sk)


def _remove(chain: list[UnixSock], sk: UnixSock) -> bool:
    for i in range(len(chain)):
        if chain[i] is sk:
            del chain[i]
            return True
    return False


def _unix_find_socket_byname(unx: NetnsUnix, name: bytes, hash_: int, type_: int) -> UnixSock | None:
    for sk in unx.buckets[hash_]:
        if sk.sk_type == type_ and sk.addr is not None and sk.addr.name == name:
            return sk
    return None


def unix_find_socket_byinode(state: UnixState, inode: Inode) -> UnixSock | None:
    """Return the socket bound to an inode."""
    for sk in state.bsd_socket_buckets[inode.i_ino & UNIX_HASH_MOD]:
        if sk.path is inode:
            return sk
    return None


def unix_find_other(task: Task, net: Net, addr: bytes, type_: int) -> tuple[int, UnixSock | None]:
    """Find the socket that an address names: (0, socket) or -errno."""
    if addr[2]:
        return _unix_find_bsd(task, net, addr, type_)
    other = _unix_find_socket_byname(netns_unix(net), addr, unix_abstract_hash(addr, type_), type_)
    return (-ECONNREFUSED, None) if other is None else (0, other)


def _unix_find_bsd(task: Task, net: Net, addr: bytes, type_: int) -> tuple[int, UnixSock | None]:
    err, inode = kern_path(task, unix_path(addr))
    if inode is None:
        return err, None
    err = inode_permission(task, inode, MAY_WRITE)
    if err:
        return err, None
    if not inode.is_sock():
        return -ECONNREFUSED, None
    other = unix_find_socket_byinode(netns_unix(net).state, inode)
    if other is None:
        return -ECONNREFUSED, None
    if other.sk_type != type_:
        return -EPROTOTYPE, None
    return 0, other


# bind


def unix_bind(task: Task, sk: UnixSock, addr: bytes) -> int:
    """bind(2)."""
    if addr == _FAMILY:
        return unix_autobind(sk)
    err = unix_validate_addr(addr)
    if err:
        return err
    return unix_bind_bsd(task, sk, addr) if addr[2] else unix_bind_abstract(sk, addr)


def unix_bind_bsd(task: Task, sk: UnixSock, addr: bytes) -> int:
    """Make a socket inode and own it."""
    path = unix_path(addr)
    sock = sk.sk_socket
    mode = 0o140777 if sock is None else sock.i_mode
    err, inode = vfs_mknod(task, path, mode & ~task.umask)
    if inode is None:
        return -EADDRINUSE if err == -EEXIST else err
    if sk.addr is not None:
        sys_unlink(task, path)
        return -EINVAL
    sk.path = inode
    _unix_set_addr_hash(sk, UnixAddress(_FAMILY + path + b"\0", unix_bsd_hash(inode)))
    unix_insert_bsd_socket(sk.state, sk)
    return 0


def unix_bind_abstract(sk: UnixSock, addr: bytes) -> int:
    """Own a name in the namespace."""
    if sk.addr is not None:
        return -EINVAL
    hash_ = unix_abstract_hash(addr, sk.sk_type)
    if _unix_find_socket_byname(netns_unix(sk.sk_net), addr, hash_, sk.sk_type) is not None:
        return -EADDRINUSE
    _unix_set_addr_hash(sk, UnixAddress(addr, hash_))
    return 0


def unix_autobind(sk: UnixSock) -> int:
    """Own the next free of the names NUL + 5 hexadecimal digits, from a random one on: 0 or -ENOSPC."""
    if sk.addr is not None:
        return 0
    unx = netns_unix(sk.sk_net)
    last = sk.sk_net.kernel.prng.u32() & _AUTOBIND_MASK
    number = last
    while True:
        number = (number + 1) & _AUTOBIND_MASK
        name = _FAMILY + f"\0{number:05x}".encode()
        hash_ = unix_abstract_hash(name, sk.sk_type)
        if _unix_find_socket_byname(unx, name, hash_, sk.sk_type) is None:
            _unix_set_addr_hash(sk, UnixAddress(name, hash_))
            return 0
        if number == last:
            return -ENOSPC


def _unix_set_addr_hash(sk: UnixSock, addr: UnixAddress) -> None:
    """Give the socket its name and move it to the name's chain."""
    unx = netns_unix(sk.sk_net)
    sock_hold(sk)
    unix_remove_socket(unx, sk)
    sk.addr = addr
    unix_insert_socket(unx, sk, addr.hash)
    sock_put(sk)
