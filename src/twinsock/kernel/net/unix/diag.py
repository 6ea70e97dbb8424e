"""What unix_diag and /proc/net/unix tell of a socket (Linux: net/unix/diag.c, unix_seq_show of net/unix/af_unix.c; sheet 07, 7.3, 7.6)."""

from twinsock.kernel.fs.namei import ROOT_DEV
from twinsock.kernel.net.core.net import SS_CONNECTED, SS_CONNECTING, SS_DISCONNECTING, SS_UNCONNECTED
from twinsock.kernel.net.core.net_namespace import Net
from twinsock.kernel.net.core.sockopt import sk_get_meminfo
from twinsock.kernel.net.unix.ioctl import unix_inq_len, unix_outq_len
from twinsock.kernel.net.unix.unix_sock import UNIX_HASH_SIZE, UnixSock, netns_unix
from twinsock.uapi.errno import EINVAL, ENOENT, ESTALE
from twinsock.uapi.tcp import TCP_ESTABLISHED, TCP_LISTEN
from twinsock.uapi.unix_diag import (
    UDIAG_SHOW_ICONS,
    UDIAG_SHOW_MEMINFO,
    UDIAG_SHOW_NAME,
    UDIAG_SHOW_PEER,
    UDIAG_SHOW_RQLEN,
    UDIAG_SHOW_UID,
    UDIAG_SHOW_VFS,
    UNIX_DIAG_ICONS,
    UNIX_DIAG_MEMINFO,
    UNIX_DIAG_NAME,
    UNIX_DIAG_PEER,
    UNIX_DIAG_RQLEN,
    UNIX_DIAG_SHUTDOWN,
    UNIX_DIAG_UID,
    UNIX_DIAG_VFS,
)
from twinsock.wire.unix_diag import NO_COOKIE, UnixDiagMsg, UnixDiagReq

_ACCEPTCON = 0x10000  # __SO_ACCEPTCON


def unix_sockets(net: Net) -> list[UnixSock]:
    """Return the sockets of a namespace in the order of its table."""
    found: list[UnixSock] = []
    buckets = netns_unix(net).buckets
    for slot in range(UNIX_HASH_SIZE):
        found += buckets[slot]
    return found


# unix_diag


def unix_diag_dump(net: Net, req: UnixDiagReq) -> list[UnixDiagMsg]:
    """Describe the sockets in the states asked for; connections that are not accepted yet have no inode and are left out."""
    return [sk_diag_fill(sk, req.show) for sk in unix_sockets(net) if req.states >> sk.sk_state & 1 and sk.sock_i_ino()]


def unix_diag_get_exact(net: Net, req: UnixDiagReq) -> tuple[int, UnixDiagMsg | None]:
    """Describe the socket with an inode: 0, -EINVAL without an inode, -ENOENT, or -ESTALE when the cookie is another's."""
    if req.inode == 0:
        return -EINVAL, None
    for sk in unix_sockets(net):
        if sk.sock_i_ino() == req.inode:
            if req.cookie not in (NO_COOKIE, sk.sock_gen_cookie()):
                return -ESTALE, None
            return 0, sk_diag_fill(sk, req.show)
    return -ENOENT, None


def sk_diag_fill(sk: UnixSock, show: int) -> UnixDiagMsg:
    """Describe one socket with the attributes asked for, in Linux's order."""
    attributes: list[tuple[int, bytes]] = []
    if show & UDIAG_SHOW_NAME and sk.addr is not None:
        attributes.append((UNIX_DIAG_NAME, sk.addr.name[2:]))
    if show & UDIAG_SHOW_VFS and sk.path is not None:
        attributes.append((UNIX_DIAG_VFS, _u32(sk.path.i_ino) + _u32(ROOT_DEV)))
    if show & UDIAG_SHOW_PEER and sk.peer is not None:
        attributes.append((UNIX_DIAG_PEER, _u32(sk.peer.sock_i_ino())))
    if show & UDIAG_SHOW_ICONS and sk.sk_state == TCP_LISTEN:
        attributes.append((UNIX_DIAG_ICONS, b"".join([_u32(_client_ino(skb.newsk)) for skb in sk.receive_queue])))
    if show & UDIAG_SHOW_RQLEN:
        attributes.append((UNIX_DIAG_RQLEN, _rqlen(sk)))
    if show & UDIAG_SHOW_MEMINFO:
        attributes.append((UNIX_DIAG_MEMINFO, b"".join([_u32(value) for value in sk_get_meminfo(sk)])))
    attributes.append((UNIX_DIAG_SHUTDOWN, bytes((sk.sk_shutdown,))))
    if show & UDIAG_SHOW_UID and sk.sk_socket is not None:
        attributes.append((UNIX_DIAG_UID, _u32(sk.sk_uid)))
    return UnixDiagMsg(sk.sk_type, sk.sk_state, sk.sock_i_ino(), sk.sock_gen_cookie(), attributes)


def _u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def _client_ino(newsk: UnixSock | None) -> int:
    """Return the inode of the client behind a waiting connection, 0 when it has left."""
    return 0 if newsk is None or newsk.peer is None else newsk.peer.sock_i_ino()


def _rqlen(sk: UnixSock) -> bytes:
    if sk.sk_state == TCP_LISTEN:
        return _u32(len(sk.receive_queue)) + _u32(sk.sk_max_ack_backlog)
    return _u32(unix_inq_len(sk)) + _u32(unix_outq_len(sk))


# /proc/net/unix


def unix_seq_text(net: Net) -> str:
    """Return /proc/net/unix."""
    lines = ["Num       RefCount Protocol Flags    Type St Inode Path\n"]
    for number, sk in enumerate(unix_sockets(net), 1):
        lines.append(_unix_seq_show(sk, number))
    return "".join(lines)


def _unix_seq_show(sk: UnixSock, number: int) -> str:
    flags = _ACCEPTCON if sk.sk_state == TCP_LISTEN else 0
    connected = sk.sk_state == TCP_ESTABLISHED
    if sk.sk_socket is not None:
        state = SS_CONNECTED if connected else SS_UNCONNECTED
    else:
        state = SS_CONNECTING if connected else SS_DISCONNECTING
    line = f"{number:016x}: {sk.sk_refcnt:08X} {0:08X} {flags:08X} {sk.sk_type:04X} {state:02X} {sk.sock_i_ino():5d}"
    if sk.addr is not None:
        line += " " + _shown_name(sk.addr.name[2:])
    return line + "\n"


def _shown_name(name: bytes) -> str:
    """Return a path without its NUL, or an abstract name with @ for each NUL."""
    if name[:1] != b"\0":
        return name[:-1].decode("latin-1")
    return name.replace(b"\0", b"@").decode("latin-1")
