"""Python's address tuples and the bytes of struct sockaddr, with the checks and messages of the C module _socket."""

import os
import socket as real
import struct
from typing import Any

from twinsock.runtime import sockaddr
from twinsock.runtime.leaf import resolver
from twinsock.runtime.process import Process
from twinsock.uapi.socket import AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX


def pack(host: Process, family: int, address: Any, caller: str) -> bytes:
    """Return the sockaddr of an address. Raises what the C module raises, with the method's name."""
    if family == AF_UNIX:
        return _unix(host, address)
    if family == AF_INET:
        return _inet(address, caller)
    if family == AF_INET6:
        return _inet6(address, caller)
    if family == AF_NETLINK:
        if not isinstance(address, tuple):
            raise TypeError(f"{caller}(): AF_NETLINK address must be tuple, not {type(address).__name__}")
        pid, groups = address
        return struct.pack("=HHII", AF_NETLINK, 0, pid, groups)
    if family == AF_PACKET:
        return _packet(address, caller)
    raise OSError(f"{caller}(): bad family")


def _port(port: Any, caller: str) -> int:
    number = port.__index__() if hasattr(port, "__index__") else _not_an_int(port)
    if not 0 <= number <= 65535:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    return int(number)


def _not_an_int(value: object) -> int:
    raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")


def _name(value: Any, family: str) -> str:
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("ascii")
    if not isinstance(value, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(value).__name__}")
    if "\0" in value:
        raise TypeError("host name must not contain null character")
    try:
        return value if value.isascii() else value.encode("idna").decode("ascii")
    except UnicodeError:
        raise TypeError("encoding of hostname failed") from None


def _inet(address: Any, caller: str) -> bytes:
    if not isinstance(address, tuple):
        raise TypeError(f"{caller}(): AF_INET address must be tuple, not {type(address).__name__}")
    if len(address) != 2:
        raise TypeError("AF_INET address must be a pair (host, port)")
    name = _name(address[0], "AF_INET")
    port = _port(address[1], caller)
    return struct.pack("=H", AF_INET) + struct.pack("!H", port) + resolver.address4(name) + bytes(8)


def _inet6(address: Any, caller: str) -> bytes:
    if not isinstance(address, tuple):
        raise TypeError(f"{caller}(): AF_INET6 address must be tuple, not {type(address).__name__}")
    if not 2 <= len(address) <= 4:
        raise TypeError("AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])")
    name = _name(address[0], "AF_INET6")
    port = _port(address[1], caller)
    flow = address[2] if len(address) > 2 else 0
    if not 0 <= flow <= 0xFFFFF:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    scope = address[3] if len(address) > 3 else 0
    packed, named_scope = resolver.address6(name)
    return struct.pack("=H", AF_INET6) + struct.pack("!HI", port, flow) + packed + struct.pack("=I", scope or named_scope)


def _unix(host: Process, address: Any) -> bytes:
    if isinstance(address, str):
        path = os.fsencode(address)
    elif isinstance(address, bytes | bytearray | memoryview):
        path = bytes(address)
    else:
        raise TypeError(f"a bytes-like object is required, not '{type(address).__name__}'")
    if path and path[0]:
        if len(path) >= 108:
            raise OSError("AF_UNIX path too long")
        host.mirror(path)
        path += b"\0"
    elif len(path) > 108:
        raise OSError("AF_UNIX path too long")
    return struct.pack("=H", AF_UNIX) + path


def _packet(address: Any, caller: str) -> bytes:
    if not isinstance(address, tuple):
        raise TypeError(f"{caller}(): AF_PACKET address must be tuple, not {type(address).__name__}")
    name, proto, pkttype, hatype, haddr = address + (0, 0, b"")[len(address) - 2 :]
    if not 0 <= proto <= 65535:
        raise OverflowError(f"{caller}(): proto must be 0-65535.")
    index = resolver.if_nametoindex(name)
    packed: bytes = (
        struct.pack("=H", AF_PACKET)
        + struct.pack("!H", proto)
        + struct.pack("=iHBB", index, hatype, pkttype, len(haddr))
        + haddr.ljust(8, b"\0")
    )
    return packed


def unpack(data: bytes, family: int = 0) -> object:
    """Return the address as the socket module shows it: a tuple, a path, None for no address."""
    if len(data) < 2:
        return None if not data else ""
    kind = struct.unpack_from("=H", data)[0]
    if kind == AF_PACKET and len(data) >= 12:
        proto = struct.unpack_from("!H", data, 2)[0]
        index, hatype, pkttype, halen = struct.unpack_from("=iHBB", data, 4)
        return resolver.if_name(index), proto, pkttype, hatype, data[12 : 12 + halen]
    if kind == AF_INET6 and len(data) >= 28:
        port, flow = struct.unpack_from("!HI", data, 2)
        return real.inet_ntop(real.AF_INET6, data[8:24]), port, flow & 0xFFFFF, struct.unpack_from("=I", data, 24)[0]
    if kind == AF_UNIX:
        path = data[2:]
        return path if path and path[0] == 0 else os.fsdecode(path.partition(b"\0")[0])
    return sockaddr.unpack(data)
