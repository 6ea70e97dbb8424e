"""Sockets from the text of /proc/net: where sock_diag has no handler, or a namespace cannot be entered, proc_net(5).

It tells less: bound-only TCP sockets are missing, and so are devices, SO_V6ONLY, cookies, limits of accept queues.
"""

from __future__ import annotations

from struct import Struct

from twinsock.inspect.records import SocketRecord
from twinsock.inspect.unix import UnixRecord
from twinsock.uapi.in_ import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE
from twinsock.uapi.socket import AF_INET6
from twinsock.uapi.tcp import TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinsock.inspect.port import KernelPort

FILES = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", IPPROTO_UDPLITE: "udplite", IPPROTO_RAW: "raw"}
_NATIVE = Struct("=I")
_NETWORK_WORDS = Struct("=4I")
_UNIX_LISTENING = 0x10000


def proc_sockets(port: KernelPort, family: int, protocol: int, netns: int = 0) -> list[SocketRecord]:
    """List the sockets of one of /proc/net's files, in its order. Raises OSError."""
    path = f"/proc/net/{FILES[protocol]}{'6' if family == AF_INET6 else ''}"
    records = parse_inet(port.read(path, netns), family, protocol)
    for record in records:
        record.netns = netns
    return records


def parse_inet(text: bytes, family: int, protocol: int) -> list[SocketRecord]:
    """Parse /proc/net/tcp, udp, udplite, raw or their IPv6 kin; lines that do not parse are left out."""
    found: list[SocketRecord] = []
    for line in text.split(b"\n")[1:]:
        words = line.split()
        if len(words) < 10:
            continue
        try:
            found.append(_parse_line(words, family, protocol))
        except (ValueError, IndexError):
            continue
    return found


def _parse_line(words: list[bytes], family: int, protocol: int) -> SocketRecord:
    """Parse one line. Raises ValueError and IndexError."""
    record = SocketRecord(family, protocol, int(words[3], 16))
    record.local, record.local_port = _endpoint(words[1])
    record.remote, record.remote_port = _endpoint(words[2])
    wqueue, rqueue = words[4].split(b":")
    timer, when = words[5].split(b":")
    record.wqueue = -1 if protocol == IPPROTO_TCP and record.state == TCP_LISTEN else int(wqueue, 16)
    record.rqueue = int(rqueue, 16)
    record.timer = int(timer, 16)
    record.expires_ms = int(when, 16) * 10 if record.timer else 0
    record.retransmits = int(words[6], 16)
    record.uid = int(words[7])
    record.inode = int(words[9])
    record.v6only = None if family == AF_INET6 else False
    return record


def _endpoint(word: bytes) -> tuple[bytes, int]:
    """Parse `0100007F:1F90`: words in host byte order, and a port."""
    address, port = word.split(b":")
    if len(address) == 8:
        return _NATIVE.pack(int(address, 16)), int(port, 16)
    return _NETWORK_WORDS.pack(*[int(address[at : at + 8], 16) for at in range(0, 32, 8)]), int(port, 16)


def parse_unix(text: bytes) -> list[UnixRecord]:
    """Parse /proc/net/unix; lines that do not parse are left out."""
    found: list[UnixRecord] = []
    for line in text.split(b"\n")[1:]:
        words = line.split(None, 7)
        if len(words) < 7:
            continue
        try:
            flags, type_, connected, inode = int(words[3], 16), int(words[4], 16), words[5] == b"03", int(words[6])
        except ValueError:
            continue
        state = TCP_LISTEN if flags & _UNIX_LISTENING else TCP_ESTABLISHED if connected else TCP_CLOSE
        record = UnixRecord(type_, state, inode)
        if len(words) == 8:
            name = words[7]
            record.name = b"\0" + name[1:].replace(b"@", b"\0") if name[:1] == b"@" else name
        found.append(record)
    return found
