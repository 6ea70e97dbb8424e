"""Python's address tuples and the bytes of struct sockaddr, as the socket module converts them."""

import socket as real
import struct

from twinsock.uapi.socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_UNSPEC

Address = tuple[object, ...] | str | bytes | int


def pack(family: int, address: object) -> bytes:
    """Return the sockaddr of an address as socket.socket of that family takes it; bytes of AF_UNSPEC pass as they are.

    Raises TypeError for an address of the wrong shape and OSError for a name that cannot be resolved."""
    if family == AF_INET and isinstance(address, tuple):
        host, port = address
        return struct.pack("=H", AF_INET) + struct.pack("!H", port) + _inet4(str(host)) + bytes(8)
    if family == AF_INET6 and isinstance(address, tuple):
        host, port, flow, scope = (*address, 0, 0)[:4]
        packed = real.inet_pton(real.AF_INET6, str(host).partition("%")[0] or "::")
        return struct.pack("=H", AF_INET6) + struct.pack("!HI", port, int(str(flow))) + packed + struct.pack("=I", scope)
    if family == AF_UNIX and isinstance(address, str | bytes):
        path = address.encode() if isinstance(address, str) else address
        if path and path[0]:
            if len(path) >= 108:
                raise OSError("AF_UNIX path too long")
            path += b"\0"
        elif len(path) > 108:
            raise OSError("AF_UNIX path too long")
        return struct.pack("=H", AF_UNIX) + path
    if family == AF_NETLINK and isinstance(address, tuple):
        pid, groups = address
        return struct.pack("=HHII", AF_NETLINK, 0, pid, groups)
    raise TypeError(f"no address of family {family}: {address!r}")


def _inet4(host: str) -> bytes:
    if host == "":
        return bytes(4)
    if host == "<broadcast>":
        return b"\xff" * 4
    return real.inet_aton("127.0.0.1" if host == "localhost" else host)


def unpack(data: bytes) -> object:
    """Return the address as the socket module shows it: a tuple, a path, None for no address."""
    if len(data) < 2:
        return None
    family = struct.unpack_from("=H", data)[0]
    if family == AF_UNSPEC:
        return None
    if family == AF_INET and len(data) >= 8:
        return real.inet_ntoa(data[4:8]), struct.unpack_from("!H", data, 2)[0]
    if family == AF_INET6 and len(data) >= 28:
        port, flow = struct.unpack_from("!HI", data, 2)
        return real.inet_ntop(real.AF_INET6, data[8:24]), port, flow, struct.unpack_from("=I", data, 24)[0]
    if family == AF_UNIX:
        path = data[2:]
        if path and path[0] == 0:
            return path
        return path.partition(b"\0")[0].decode(errors="surrogateescape")
    if family == AF_NETLINK and len(data) >= 12:
        return struct.unpack_from("=II", data, 4)
    if family == AF_PACKET and len(data) >= 12:
        proto = struct.unpack_from("!H", data, 2)[0]
        ifindex, hatype, pkttype, halen = struct.unpack_from("=iHBB", data, 4)
        return ifindex, proto, pkttype, hatype, data[12 : 12 + halen]
    return family, data[2:16]
