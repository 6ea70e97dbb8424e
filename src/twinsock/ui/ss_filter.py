"""The filter language of ss(8): words to conditions.

filter    := and { ("or" | "|" | "||") and }
and       := not { ["and" | "&" | "&&"] not }
not       := ("not" | "!") not | "(" filter ")" | predicate
predicate := ("src" | "dst") [op] host | ("sport" | "dport") [op] port | "dev" [op] name | "fwmark" [op] mark[/mask]
             | "cgroup" [op] path | "autobound"
"""

from __future__ import annotations

from twinsock.inspect.address import parse_address
from twinsock.inspect.filter import And, Autobound, Cgroup, Device, Host, Mark, Name, Not, Or, Port
from twinsock.ui.args import UsageError, did_you_mean, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from twinsock.inspect.filter import Condition

_SIGNS = ("||", "&&", "==", "!=", "<=", ">=", "|", "&", "=", "!", "<", ">", "(", ")")
_COMPARE = {
    "=": "eq",
    "==": "eq",
    "eq": "eq",
    "!=": "ne",
    "ne": "ne",
    "neq": "ne",
    "<": "lt",
    "lt": "lt",
    "<=": "le",
    "le": "le",
    "leq": "le",
    ">": "gt",
    "gt": "gt",
    ">=": "ge",
    "ge": "ge",
    "geq": "ge",
}
_PREDICATES = ("src", "dst", "sport", "dport", "dev", "fwmark", "cgroup", "autobound")
_FAMILIES = ("inet6", "inet", "unix", "link", "netlink", "vsock", "xdp")
_DEPTH_MAX = 200


class Parser:
    """Reads one filter; the look-ups of names are given by the caller."""

    def __init__(self, words: list[str], device: Callable[[str], int], cgroup: Callable[[str], int], names: bool) -> None:
        self.tokens = tokens_of(" ".join(words))
        self.position = 0
        self.depth = 0
        self.device = device
        self.cgroup = cgroup
        self.names = names  # addresses are names: only UNIX or netlink sockets are shown

    def parse(self) -> Condition:
        """Read the whole filter. Raises UsageError."""
        found = self._or()
        if self.position < len(self.tokens):
            raise UsageError(f"the filter ends before {printable(self.tokens[self.position])}")
        return found

    def _peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def _take(self, what: str) -> str:
        if self.position >= len(self.tokens):
            raise UsageError(f"the filter lacks {what} at its end")
        self.position += 1
        return self.tokens[self.position - 1]

    def _or(self) -> Condition:
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise UsageError(f"the filter has more than {_DEPTH_MAX} levels of brackets")
        parts = [self._and()]
        while self._peek() in ("or", "|", "||"):
            self.position += 1
            parts.append(self._and())
        self.depth -= 1
        return Or(parts) if len(parts) > 1 else parts[0]

    def _and(self) -> Condition:
        parts = [self._not()]
        while self._peek() not in ("", ")", "or", "|", "||"):
            if self._peek() in ("and", "&", "&&"):
                self.position += 1
            parts.append(self._not())
        return And(parts) if len(parts) > 1 else parts[0]

    def _not(self) -> Condition:
        negative = False
        while self._peek() in ("not", "!"):
            self.position += 1
            negative = not negative
        if self._peek() == "(":
            self.position += 1
            found = self._or()
            if self._take("a )") != ")":
                raise UsageError("the filter lacks a )")
        else:
            found = self._predicate(self._take("a condition"))
        return Not(found) if negative else found

    def _predicate(self, word: str) -> Condition:
        if word == "autobound":
            return Autobound()
        if word not in _PREDICATES:
            hint = did_you_mean(word, _PREDICATES) or f"; a condition begins with {', '.join(_PREDICATES)}"
            raise UsageError(f"no condition begins with {printable(word)}{hint}")
        op = "eq"
        if self._peek() in _COMPARE:
            op = _COMPARE[self._take("a comparison")]
        value = self._take(f"what {word} is compared with")
        if word in ("sport", "dport"):
            return self._port(word == "sport", op, value)
        if op not in ("eq", "ne"):
            raise UsageError(f"{word} can be compared with = and != only")
        found = self._equal(word, value)
        return Not(found) if op == "ne" else found

    def _equal(self, word: str, value: str) -> Condition:
        if word == "dev":
            return Device(self.device(value))
        if word == "cgroup":
            return Cgroup(self.cgroup(value))
        if word == "fwmark":
            mark, slash, mask = value.partition("/")
            return Mark(_number(mark, "fwmark"), _number(mask, "the mask of fwmark") if slash else 0xFFFFFFFF)
        return self._host(word == "src", value)

    def _port(self, local: bool, op: str, value: str) -> Condition:
        family, _, rest = value.partition(":")
        number = _port_number(rest if family in _FAMILIES or not family else value)
        if op == "ne":
            return Not(Port(local, "eq", number))
        if op == "lt":
            return Not(Port(local, "ge", number))
        if op == "gt":
            return Not(Port(local, "le", number))
        return Port(local, op, number)

    def _host(self, local: bool, value: str) -> Condition:
        family, colon, rest = value.partition(":")
        if not colon or family not in _FAMILIES:
            family, rest = "", value
        if family in ("unix", "link", "netlink") or (not family and (self.names or rest[:1] in "/@")):
            return Name(local, rest)
        if family in ("vsock", "xdp"):
            raise UsageError(f"sockets of {family} cannot be filtered by address")
        host, port = _split_port(rest)
        number = _port_number(port) if port and port != "*" else -1
        host, slash, bits = host.partition("/")
        parts: list[Condition] = []
        for address in _addresses(host, family):
            prefix = len(address) * 8
            if slash:
                prefix = _prefix(bits, prefix)
            parts.append(Host(local, address, prefix, number))
        return Or(parts)


def tokens_of(text: str) -> list[str]:
    """Cut a filter into words and signs."""
    tokens: list[str] = []
    for word in text.split():
        start = at = 0
        while at < len(word):
            sign = next((sign for sign in _SIGNS if word.startswith(sign, at)), "")
            if sign and not (sign == "!" and at > start):  # inside a word a ! belongs to a pattern: [!a]
                if at > start:
                    tokens.append(word[start:at])
                tokens.append(sign)
                at = start = at + len(sign)
            else:
                at += 1
        if at > start:
            tokens.append(word[start:])
    return tokens


def _split_port(text: str) -> tuple[str, str]:
    """Split host and port: a.b.c.d:80, [::1]:80, ::1, :80, *."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        slash = ""
        if rest.startswith("/"):
            slash, _, port = rest.partition(":")
            return host + slash, port
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"cannot read the address {printable(text)}; write [::1]:80")
        return host, rest[1:]
    if text.count(":") > 1:
        return text, ""
    host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
    return host, port


def _addresses(host: str, family: str) -> list[bytes]:
    """Give the addresses of a host; an empty one stands for any. Raises UsageError."""
    if host in ("", "*"):
        return [b""]
    address = parse_address(host)
    if address is None and not host.strip("0123456789."):  # 10.1 is 10.1.0.0, as ss has it
        address = parse_address(host + ".0" * (3 - host.count(".")))
    if address is not None:
        return [address]
    import _socket

    try:
        found = _socket.getaddrinfo(host, None, {"inet": 2, "inet6": 10}.get(family, 0), _socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise UsageError(f"there is no host {printable(host)}; write an address, as in dst 10.0.0.0/8") from None
    return [
        _socket.inet_pton(kind, str(name[0]).partition("%")[0]) for kind, _type, _protocol, _canonical, name in found if kind in (2, 10)
    ]


def _prefix(text: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > most:
        raise UsageError(f"a prefix goes from 0 to {most}, not {printable(text)}")
    return int(text)


def _port_number(text: str) -> int:
    """Read a port's number or a service's name. Raises UsageError."""
    if text.isascii() and text.isdecimal() and len(text) < 11:
        return int(text)
    import _socket

    for protocol in ("tcp", "udp"):
        try:
            return _socket.getservbyname(text, protocol)
        except (OSError, UnicodeError, ValueError):
            continue
    raise UsageError(f"there is no service {printable(text)}; write a port's number, as in sport = :80")


def _number(text: str, what: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFFFFFF:
        raise UsageError(f"{what} must be a number of 32 bits, not {printable(text)}")
    return number
