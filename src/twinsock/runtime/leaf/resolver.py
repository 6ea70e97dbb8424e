"""Names of hosts and interfaces on the twin: what getaddrinfo(3), gethostbyname(3) and if_nameindex(3) say there.

A simulated host knows `localhost`, itself and the hosts of its /etc/hosts; there is no DNS. Numbers, services and the rules of the
arguments are the C library's own, which is asked with AI_NUMERICHOST only."""

import _socket as real
from typing import Any

from twinsock.runtime.process import process

_NONAME = "Name or service not known"
_FLAGS_OFF = real.AI_ADDRCONFIG | real.AI_CANONNAME


def hosts() -> list[tuple[str, list[str]]]:
    """Return the lines of /etc/hosts: address and names."""
    host = process()
    own = [("127.0.0.1", ["localhost"]), ("::1", ["localhost", "ip6-localhost", "ip6-loopback"])]
    return own + (host.names or [("127.0.1.1", [host.hostname])])


def hosts_text() -> str:
    """Return /etc/hosts."""
    return "".join(f"{address}\t{' '.join(names)}\n" for address, names in hosts())


def _is_number(text: str) -> bool:
    try:
        real.getaddrinfo(text, None, 0, 0, 0, real.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def lookup(name: str, family: int) -> list[str]:
    """Return the addresses of a name, IPv6 first as getaddrinfo(3) sorts loopback. Raises gaierror."""
    wanted = name.lower().rstrip(".")
    found = [address for address, names in hosts() if wanted in [n.lower() for n in names]]
    if wanted.endswith(".localhost"):
        found = ["::1", "127.0.0.1"]
    six = [a for a in found if ":" in a] if family != real.AF_INET else []
    four = [a for a in found if ":" not in a] if family != real.AF_INET6 else []
    if not six and not four:
        if found:
            raise real.gaierror(real.EAI_ADDRFAMILY, "Address family for hostname not supported")
        raise real.gaierror(real.EAI_NONAME, _NONAME)
    return six + four


def _text(host: Any) -> str | None:
    if host is None:
        return None
    if isinstance(host, bytes | bytearray):
        return bytes(host).decode("ascii", "surrogateescape")
    if not isinstance(host, str):
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
    """getaddrinfo(3)."""
    name = _text(host)
    keep = int(flags) & ~_FLAGS_OFF | real.AI_NUMERICHOST
    kind = (int(type), int(proto), keep)
    if name is None or name == "":
        if name == "" and int(flags) & real.AI_NUMERICHOST:
            raise real.gaierror(real.EAI_NONAME, _NONAME)
        if name == "":
            raise real.gaierror(real.EAI_NONAME, _NONAME)
        passive = int(flags) & real.AI_PASSIVE
        order = [real.AF_INET, real.AF_INET6] if passive else [real.AF_INET6, real.AF_INET]
        families = [fam for fam in order if family in (0, fam)]
        if not families or port is None:
            return real.getaddrinfo(None, port, int(family), *kind)
        return [entry for fam in families for entry in real.getaddrinfo(None, port, fam, *kind)]
    if _is_number(name) or int(flags) & real.AI_NUMERICHOST:
        entries = real.getaddrinfo(name, port, int(family), *kind)
    else:
        if family not in (0, real.AF_INET, real.AF_INET6):
            return real.getaddrinfo("127.0.0.1", port, int(family), *kind)
        addresses = lookup(name, family)
        entries = [entry for address in addresses for entry in real.getaddrinfo(address, port, 0, *kind)]
    if int(flags) & real.AI_CANONNAME and entries:
        first = entries[0]
        entries[0] = (*first[:3], name, first[4])
    return entries


def address4(name: str) -> bytes:
    """Return the IPv4 address of a name or number, 4 bytes. Raises gaierror."""
    if name == "":
        return bytes(4)
    if name == "<broadcast>":
        return b"\xff" * 4
    try:
        entries = getaddrinfo(name, None, real.AF_INET)
    except UnicodeError:
        raise real.gaierror(real.EAI_NONAME, _NONAME) from None
    return real.inet_aton(entries[0][4][0])


def address6(name: str) -> tuple[bytes, int]:
    """Return the IPv6 address of a name or number, 16 bytes, and its scope. Raises gaierror."""
    if name == "":
        return bytes(16), 0
    text, _, zone = name.partition("%")
    if zone:
        return real.inet_pton(real.AF_INET6, text), int(zone) if zone.isdigit() else if_nametoindex(zone)
    entry = getaddrinfo(name, None, real.AF_INET6)[0][4]
    return real.inet_pton(real.AF_INET6, entry[0]), entry[3]


def gethostbyname(hostname: Any, /) -> str:
    """gethostbyname(3)."""
    return real.inet_ntoa(address4(_text(hostname) or ""))


def gethostbyname_ex(hostname: Any, /) -> tuple[str, list[str], list[str]]:
    """gethostbyname(3): (name, aliases, addresses)."""
    name = _text(hostname) or ""
    return name, [], [real.inet_ntoa(address4(name))]


def gethostbyaddr(ip_address: Any, /) -> tuple[str, list[str], list[str]]:
    """gethostbyaddr(3): (name, aliases, addresses). Raises herror."""
    text = _text(ip_address) or ""
    address = getaddrinfo(text, None)[0][4][0]
    for known, names in hosts():
        if known == address:
            return names[0], names[1:], [address]
    raise real.herror(1, "Unknown host")


def getnameinfo(sockaddr: Any, flags: int, /) -> tuple[str, str]:
    """getnameinfo(3)."""
    if not isinstance(sockaddr, tuple):
        sockaddr = None  # the traceback keeps this frame, which must not keep the argument
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    if sockaddr and isinstance(sockaddr[0], str) and not _is_number(sockaddr[0]):
        sockaddr = (getaddrinfo(sockaddr[0], None)[0][4][0], *sockaddr[1:])
    host, service = real.getnameinfo(sockaddr, int(flags) & ~real.NI_NAMEREQD | real.NI_NUMERICHOST)
    if int(flags) & real.NI_NUMERICHOST:
        return host, service
    for address, names in hosts():
        if address == host:
            return names[0], service
    if int(flags) & real.NI_NAMEREQD:
        raise real.gaierror(real.EAI_NONAME, _NONAME)
    return host, service


def gethostname() -> str:
    """gethostname(2)."""
    return process().hostname


def sethostname(name: Any, /) -> None:
    """sethostname(2)."""
    text = name.decode() if isinstance(name, bytes) else name
    if len(text) > 64:
        raise OSError(22, "Invalid argument")
    process().hostname = text


def if_nameindex() -> list[tuple[int, str]]:
    """List (index, name) of the interfaces."""
    return [(dev.ifindex, dev.name) for dev in process().task.net.dev_base]


def if_nametoindex(name: Any, /) -> int:
    """Return an interface's index. Raises OSError."""
    if not isinstance(name, str | bytes):
        raise TypeError(f"expected str, bytes or os.PathLike object, not {type(name).__name__}")
    text = name.decode() if isinstance(name, bytes) else name
    for index, known in if_nameindex():
        if known == text:
            return index
    raise OSError("no interface with this name")


def if_indextoname(index: Any, /) -> str:
    """Return an interface's name. Raises OSError."""
    if not hasattr(index, "__index__"):
        raise TypeError(f"'{type(index).__name__}' object cannot be interpreted as an integer")
    if index < 0:
        raise OverflowError("can't convert negative value to unsigned int")
    for number, name in if_nameindex():
        if number == index:
            return name
    raise OSError(6, "No such device or address")


def if_name(index: int) -> str:
    """Return an interface's name, "" where there is none."""
    return next((name for number, name in if_nameindex() if number == index), "")
